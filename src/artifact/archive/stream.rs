//! The decompressors: packed bytes counted on the way in, unpacked ones on the way out, every failure told for what it is.

use super::{ArchiveFault, ArchiveKind, BLOCK, Bound, Bounds};
use crate::sys::command::Cancel;
use flate2::bufread::MultiGzDecoder;
use liblzma::{bufread::XzDecoder, stream as xz};
use std::{
    cell::{Cell, RefCell},
    io::{self, BufRead, BufReader, Cursor, Read},
};

/// The ratio counts from here on: a short text or a sparse file is no bomb.
const RATIO_FROM: u64 = 64 << 20;

/// Bytes that tell the formats apart.
const MAGIC: usize = 8;

/// What is known about the packed side while it is being read.
pub struct Intake<'a> {
    bounds: &'a Bounds,
    cancel: &'a Cancel,
    bytes: Cell<u64>,
    failed: RefCell<Option<io::Error>>,
}

/// The packed bytes, and who counts them.
struct Source<'a, R> {
    input: R,
    intake: &'a Intake<'a>,
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.input.read(into) {
            Ok(n) => {
                self.intake.bytes.set(self.intake.bytes.get() + n as u64);
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                // A decompressor would make it one of its own.
                let kind = e.kind();
                self.intake.failed.replace(Some(e));
                Err(kind.into())
            }
        }
    }
}

impl<'a> Intake<'a> {
    pub fn new(bounds: &'a Bounds, cancel: &'a Cancel) -> Self {
        Self { bounds, cancel, bytes: Cell::new(0), failed: RefCell::new(None) }
    }

    /// Begins to read, and looks whether it is what it should be.
    pub fn open<R: Read + 'a>(&'a self, input: R, kind: ArchiveKind) -> Result<impl BufRead + 'a, ArchiveFault> {
        let mut source = Source { input, intake: self };
        let mut begin = Vec::with_capacity(MAGIC);
        source.by_ref().take(MAGIC as u64).read_to_end(&mut begin).map_err(|e| self.fault(0, e))?;
        let magic: &[u8] = match kind {
            ArchiveKind::TarGz => &[0x1f, 0x8b],
            ArchiveKind::TarXz => &[0xfd, b'7', b'z', b'X', b'Z', 0],
            ArchiveKind::Deb => b"!<arch>\n",
        };
        if !begin.starts_with(magic) {
            if magic.starts_with(&begin) {
                return Err(ArchiveFault::Truncated { after: 0 });
            }
            return Err(ArchiveFault::Foreign { kind, begins: String::from_utf8_lossy(&begin).into_owned() });
        }
        Ok(BufReader::with_capacity(BLOCK, Cursor::new(begin).chain(source)))
    }

    /// gzip: members one after the other (RFC 1952, 2.2), and nothing behind them.
    pub fn gzip<R: BufRead + 'a>(&'a self, packed: R) -> Decoder<'a> {
        self.decoded(MultiGzDecoder::new(packed))
    }

    /// xz: streams one after the other, with padding of zeros in fours (xz file format, 2.2), and nothing behind them.
    pub fn xz<R: BufRead + 'a>(&'a self, packed: R) -> Result<Decoder<'a>, ArchiveFault> {
        let decoder = xz::Stream::new_stream_decoder(self.bounds.memory, xz::CONCATENATED)
            .map_err(|e| self.fault(0, e.into()))?;
        Ok(self.decoded(XzDecoder::new_stream(packed, decoder)))
    }

    /// No compression.
    pub fn bare<R: BufRead + 'a>(&'a self, packed: R) -> Decoder<'a> {
        self.decoded(packed)
    }

    fn decoded<R: Read + 'a>(&'a self, decoder: R) -> Decoder<'a> {
        Decoder { decoder: Box::new(decoder), intake: self, out: 0 }
    }

    /// What a failed read means.
    pub fn fault(&self, after: u64, e: io::Error) -> ArchiveFault {
        if let Some(failed) = self.failed.take() {
            return ArchiveFault::Read(failed);
        }
        let of_xz = e.get_ref().and_then(|e| e.downcast_ref::<xz::Error>());
        match of_xz {
            Some(xz::Error::MemLimit) => ArchiveFault::Over { bound: Bound::Memory, limit: self.bounds.memory },
            _ if e.kind() == io::ErrorKind::UnexpectedEof => ArchiveFault::Truncated { after },
            _ => ArchiveFault::Damaged { after, source: e },
        }
    }

    /// Packed bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Refuses when the caller asked to stop.
    pub fn go_on(&self) -> Result<(), ArchiveFault> {
        if self.cancel.is_cancelled() { Err(ArchiveFault::Cancelled) } else { Ok(()) }
    }
}

/// The decompressor. Never gives more than the bounds allow.
pub struct Decoder<'a> {
    decoder: Box<dyn Read + 'a>,
    intake: &'a Intake<'a>,
    out: u64,
}

impl Decoder<'_> {
    /// Some bytes; 0 at the end of everything, where the checksums were right.
    pub fn some(&mut self, into: &mut [u8]) -> Result<usize, ArchiveFault> {
        self.intake.go_on()?;
        let n = loop {
            match self.decoder.read(into) {
                Ok(n) => break n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.intake.fault(self.out, e)),
            }
        };
        self.out += n as u64;
        let bounds = self.intake.bounds;
        if self.out > bounds.bytes {
            return Err(ArchiveFault::Over { bound: Bound::Bytes, limit: bounds.bytes });
        }
        if self.out > RATIO_FROM && self.out / bounds.ratio.max(1) > self.intake.bytes() {
            return Err(ArchiveFault::Over { bound: Bound::Ratio, limit: bounds.ratio });
        }
        Ok(n)
    }
}
