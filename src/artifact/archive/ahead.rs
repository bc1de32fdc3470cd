//! Decompresses on a thread of its own, some blocks ahead of who writes and digests the files.
//!
//! The decompressor is what an unpacking waits for (xz: 85 MB/s unpacked; SHA-256 and the page cache take 250 MB/s and more
//! here), so nothing else is done on its thread. liblzma's decoder of several threads is not used: it holds whole blocks,
//! packed and unpacked. For `xz -6 -T0`, whose blocks have 24 MiB, that is 39 MiB a thread, so a second one fits under no bound
//! of 64 MB, and the files of vendors that are packed by one thread are one block anyway.

use super::{ArchiveFault, ArchiveKind, BLOCK, Bound, Bounds, deb, stream::Decoder, stream::Intake};
use crate::sys::command::Cancel;
use std::{
    io::Read,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

/// Blocks that are unpacked and not taken yet, at most: 2 MiB even out that files are written in bursts.
const AHEAD: usize = 8;

/// Some of the unpacked stream, or why there is no more of it.
type Piece = Result<Vec<u8>, ArchiveFault>;

/// The end that decompresses.
pub struct Feed {
    full: SyncSender<Piece>,
    /// Blocks to use again.
    empty: Receiver<Vec<u8>>,
}

/// The unpacked stream, as it is read. Never gives more than the bounds allow.
pub struct Decoded<'a> {
    full: Receiver<Piece>,
    empty: SyncSender<Vec<u8>>,
    block: Vec<u8>,
    /// Bytes of the block that were read.
    taken: usize,
    out: u64,
    bounds: &'a Bounds,
    cancel: &'a Cancel,
}

/// Both ends.
pub fn pair<'a>(bounds: &'a Bounds, cancel: &'a Cancel) -> (Feed, Decoded<'a>) {
    let (full, pieces) = sync_channel(AHEAD);
    let (back, empty) = sync_channel(AHEAD);
    let decoded = Decoded { full: pieces, empty: back, block: Vec::new(), taken: 0, out: 0, bounds, cancel };
    (Feed { full, empty }, decoded)
}

impl Feed {
    /// Decompresses all of `input` for the other end; a fault is the last it gets. Ends early when that end is gone.
    pub fn run(self, input: impl Read, kind: ArchiveKind, bounds: &Bounds, cancel: &Cancel) {
        if let Err(fault) = self.archive(input, kind, bounds, cancel) {
            // Whoever is gone has a fault of its own.
            let _ = self.full.send(Err(fault));
        }
    }

    fn archive(
        &self,
        input: impl Read,
        kind: ArchiveKind,
        bounds: &Bounds,
        cancel: &Cancel,
    ) -> Result<(), ArchiveFault> {
        let intake = Intake::new(bounds, cancel);
        let mut packed = intake.open(input, kind)?;
        match kind {
            ArchiveKind::TarGz => self.stream(&mut intake.gzip(packed)),
            ArchiveKind::TarXz => self.stream(&mut intake.xz(packed)?),
            ArchiveKind::Deb => {
                let (packing, size) = deb::find_data(&mut packed, &intake)?;
                let data = packed.by_ref().take(size);
                match packing {
                    deb::Packing::Gzip => self.stream(&mut intake.gzip(data))?,
                    deb::Packing::Xz => self.stream(&mut intake.xz(data)?)?,
                    deb::Packing::Bare => self.stream(&mut intake.bare(data))?,
                }
                deb::pass_rest(&mut packed, size, &intake)
            }
        }
    }

    fn stream(&self, decoder: &mut Decoder<'_>) -> Result<(), ArchiveFault> {
        loop {
            let mut block = self.empty.try_recv().unwrap_or_default();
            block.resize(BLOCK, 0);
            let mut len = 0;
            let ended = loop {
                match decoder.some(&mut block[len..]) {
                    Ok(0) => break Some(Ok(())),
                    Ok(n) => len += n,
                    // What was unpacked before the fault is looked at first: it may hold a worse one.
                    Err(fault) => break Some(Err(fault)),
                }
                if len == BLOCK {
                    break None;
                }
            };
            block.truncate(len);
            if len > 0 && self.full.send(Ok(block)).is_err() {
                return Err(ArchiveFault::Cancelled);
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }
}

impl Decoded<'_> {
    /// Unpacked bytes so far.
    pub fn at(&self) -> u64 {
        self.out
    }

    /// Some bytes; 0 at the end of everything, where the checksums were right.
    pub fn some(&mut self, into: &mut [u8]) -> Result<usize, ArchiveFault> {
        if self.cancel.is_cancelled() {
            return Err(ArchiveFault::Cancelled);
        }
        if self.taken == self.block.len() {
            let used = std::mem::take(&mut self.block);
            self.taken = 0;
            match self.empty.try_send(used) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
            // Nobody sends any more once everything was sent.
            let Ok(piece) = self.full.recv() else { return Ok(0) };
            self.block = piece?;
        }
        let n = into.len().min(self.block.len() - self.taken);
        into[..n].copy_from_slice(&self.block[self.taken..self.taken + n]);
        self.taken += n;
        self.out += n as u64;
        Ok(n)
    }

    /// All bytes of `into`; the end of the stream before that is a cut-off archive.
    pub fn fill(&mut self, mut into: &mut [u8]) -> Result<(), ArchiveFault> {
        while !into.is_empty() {
            match self.some(into)? {
                0 => return Err(ArchiveFault::Truncated { after: self.out }),
                n => into = &mut into[n..],
            }
        }
        Ok(())
    }

    /// Refuses at once what is announced to go over the bound.
    pub fn expect(&self, size: u64) -> Result<(), ArchiveFault> {
        let limit = self.bounds.bytes;
        if size > limit.saturating_sub(self.out) {
            return Err(ArchiveFault::Over { bound: Bound::Bytes, limit });
        }
        Ok(())
    }
}
