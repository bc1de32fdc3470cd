//! One file of a log, open for reading from a place on, whether it is compressed or not.

use super::{
    housekeeping::unpacked_length,
    names::{self, CURRENT, Rotated, Stamp},
};
use crate::sys::error::SysError;
use flate2::bufread::MultiGzDecoder;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, ErrorKind, Read},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// How often a directory is listed anew when it changes under the eyes. Two equal listings in a row fail this often
/// only when the log is rotated without pause.
const LISTINGS_MAX: usize = 1_000;

/// Which file of the log an open one is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The one that is written to.
    Current,
    /// A rotated one.
    Rotated(Rotated),
    /// None: somebody removed `current` or moved it away.
    Stray,
}

/// An open file of a log. It is read to its end whatever becomes of its name meanwhile.
#[derive(Debug)]
pub(super) struct LogFile {
    source: Source,
    path: PathBuf,
    /// How far it was read, bytes of the log.
    pub offset: u64,
    /// What it was when it was opened; for one that was rotated then it stays so.
    opened_as: Option<Rotated>,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Packed(Box<MultiGzDecoder<BufReader<File>>>),
}

fn open(path: &Path) -> Result<Option<File>, SysError> {
    let failed = |e| SysError::path("open", path, e);
    // never through a link out of the directory; a pipe without a writer does not hold us up
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        // a link: it is not of the log
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    Ok(file.metadata().map_err(failed)?.is_file().then_some(file))
}

impl LogFile {
    /// Opens the file that is written to; none when there is none.
    pub fn current(dir: &Path) -> Result<Option<Self>, SysError> {
        // the log of the daemon itself is a single file
        if dir.is_file() { Self::current_named(dir) } else { Self::current_named(&dir.join(CURRENT)) }
    }

    fn current_named(path: &Path) -> Result<Option<Self>, SysError> {
        let file = open(path)?;
        Ok(file.map(|file| Self { source: Source::Plain(file), path: path.to_owned(), offset: 0, opened_as: None }))
    }

    /// Opens a rotated file in the form that is there; none when it was removed.
    pub fn rotated(dir: &Path, file: Rotated) -> Result<Option<Self>, SysError> {
        for packed in [false, true] {
            let file = file.as_packed(packed);
            let path = dir.join(file.name());
            let Some(opened) = open(&path)? else { continue };
            let source = if packed {
                Source::Packed(Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, opened))))
            } else {
                Source::Plain(opened)
            };
            return Ok(Some(Self { source, path, offset: 0, opened_as: Some(file) }));
        }
        Ok(None)
    }

    fn file(&self) -> &File {
        match &self.source {
            Source::Plain(file) => file,
            Source::Packed(decoder) => decoder.get_ref().get_ref(),
        }
    }

    /// Reads on; 0 at the end of what is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SysError> {
        let got = loop {
            let got = match &mut self.source {
                Source::Plain(file) => file.read_at(buffer, self.offset),
                Source::Packed(decoder) => decoder.read(buffer),
            };
            match got {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => break other.map_err(|e| self.failed(e))?,
            }
        };
        self.offset += got as u64;
        Ok(got)
    }

    /// An error of reading this file.
    pub fn failed(&self, e: io::Error) -> SysError {
        SysError::path("read", &self.path, e)
    }

    /// Goes to a place; what is compressed can only be read forward to it.
    pub fn go_to(&mut self, offset: u64) -> Result<(), SysError> {
        match &self.source {
            Source::Plain(_) => self.offset = offset,
            Source::Packed(_) => {
                let mut buffer = vec![0; 64 << 10];
                while self.offset < offset {
                    let want = usize::try_from(offset - self.offset).unwrap_or(usize::MAX).min(buffer.len());
                    if self.read(&mut buffer[..want])? == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The uncompressed file for reading anywhere in it; none when it is compressed.
    pub fn plain(&self) -> Option<&File> {
        match &self.source {
            Source::Plain(file) => Some(file),
            Source::Packed(_) => None,
        }
    }

    /// Its length, uncompressed (of a compressed one modulo 2^32).
    pub fn length(&self) -> Result<u64, SysError> {
        match &self.source {
            Source::Plain(file) => file.metadata().map(|m| m.len()).map_err(|e| self.failed(e)),
            // its name may be gone, the descriptor is not
            Source::Packed(_) => {
                let own = PathBuf::from(format!("/proc/self/fd/{}", self.file().as_raw_fd()));
                unpacked_length(&own).map_err(|e| self.failed(e))
            }
        }
    }

    /// The same; `otherwise` for a compressed one that is too damaged to tell.
    pub fn length_or(&self, otherwise: u64) -> Result<u64, SysError> {
        match &self.source {
            Source::Plain(_) => self.length(),
            Source::Packed(_) => Ok(self.length().unwrap_or(otherwise)),
        }
    }

    /// When it was written last, milliseconds since 1970.
    pub fn changed(&self) -> Result<i64, SysError> {
        let meta = self.file().metadata().map_err(|e| self.failed(e))?;
        Ok(meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000)
    }

    /// Which file of the log it is by now. The kernel knows the name under which an open file lies, or lay last
    /// (proc_pid_fd(5)): that tells a rotation from a removal, also when the file was compressed and removed since.
    pub fn which(&self) -> Result<Which, SysError> {
        if let Some(file) = self.opened_as {
            return Ok(Which::Rotated(file));
        }
        let link = PathBuf::from(format!("/proc/self/fd/{}", self.file().as_raw_fd()));
        let target = fs::read_link(&link).map_err(|e| SysError::path("read the link", &link, e))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let bare = name.strip_suffix(" (deleted)").unwrap_or(&name);
        Ok(match Rotated::parse(bare) {
            Some(file) => Which::Rotated(file),
            None if self.path.file_name().is_some_and(|own| own == name.as_ref()) => Which::Current,
            None => Which::Stray,
        })
    }
}

/// The rotated files, oldest first, each once.
///
/// One pass over a directory may miss a file that is renamed meanwhile under both its names; two equal passes cannot,
/// since a rename during the first is wholly visible to the second.
pub(super) fn list(dir: &Path) -> Result<Vec<Rotated>, SysError> {
    if dir.is_file() {
        return Ok(Vec::new());
    }
    let once = || -> Result<Vec<Rotated>, SysError> {
        let mut files = names::rotated(dir).map_err(|e| SysError::path("read directory", dir, e))?;
        files.dedup_by_key(|file| file.stamp);
        Ok(files)
    };
    let stamps = |files: &[Rotated]| files.iter().map(|file| file.stamp).collect::<Vec<Stamp>>();
    let mut before = once()?;
    for _ in 0..LISTINGS_MAX {
        let now = once()?;
        if stamps(&now) == stamps(&before) {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}
