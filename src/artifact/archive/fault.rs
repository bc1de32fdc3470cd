//! Why an archive was not unpacked: what in it, and which rule.

use super::ArchiveKind;
use crate::sys::error::SysError;
use std::{fmt, io};
use thiserror::Error;

/// Which bound an archive went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Unpacked bytes.
    Bytes,
    /// Entries.
    Entries,
    /// Unpacked bytes for each packed one.
    Ratio,
    /// Memory of the decompressor, bytes.
    Memory,
    /// Bytes of the names that are kept in memory.
    Names,
    /// Bytes of one name or of one extended header.
    Name,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Bytes => "bytes unpacked",
            Bound::Entries => "entries",
            Bound::Ratio => "bytes unpacked for each packed byte",
            Bound::Memory => "bytes of memory for its decompressor",
            Bound::Names => "bytes of names of programs",
            Bound::Name => "bytes in one name",
        })
    }
}

/// An archive was refused or could not be read. What was unpacked before stays where it is: the caller throws it away.
#[derive(Debug, Error)]
pub enum ArchiveFault {
    /// The caller asked to stop.
    #[error("unpacking was cancelled")]
    Cancelled,
    /// The operating system refused something.
    #[error(transparent)]
    System(#[from] SysError),
    /// The source of the archive's bytes failed.
    #[error("the archive cannot be read any further")]
    Read(#[source] io::Error),
    /// Another format than announced, a web page for instance.
    #[error("this is no {kind}: it begins with {begins:?}")]
    Foreign {
        /// What it should be.
        kind: ArchiveKind,
        /// Its first bytes, as far as they can be shown.
        begins: String,
    },
    /// It ends too early.
    #[error("the archive is cut off: it ends after {after} unpacked bytes, in the middle")]
    Truncated {
        /// Unpacked bytes before that.
        after: u64,
    },
    /// The compressed stream is not what was written, or something follows it.
    #[error("the archive is damaged after {after} unpacked bytes")]
    Damaged {
        /// Unpacked bytes before that.
        after: u64,
        /// What the decompressor said.
        source: io::Error,
    },
    /// Not the structure of a tar file or of a Debian package.
    #[error("the archive is malformed at unpacked byte {at}: {what}")]
    Malformed {
        /// Offset in the unpacked stream; in the packed one for a Debian package.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// A part of the format that is not read.
    #[error("the archive has {what}, which is not read here")]
    Unsupported {
        /// Which part.
        what: String,
    },
    /// A name that must not be made.
    #[error("the archive has the name {name:?}, which {why}")]
    Name {
        /// The name as it stands there; what is not UTF-8 replaced.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A link that must not be made.
    #[error("the archive has a link {name:?} to {target:?}, which {why}")]
    Link {
        /// The link.
        name: String,
        /// What it names.
        target: String,
        /// Why not.
        why: &'static str,
    },
    /// An entry that is neither file, directory nor link.
    #[error("the archive has {what} {name:?}; only files, directories and links are unpacked")]
    Special {
        /// Its name.
        name: String,
        /// What it is.
        what: String,
    },
    /// A file that would run with another user's rights.
    #[error("the archive has a file {name:?} of mode {mode:o}: setuid, setgid and sticky are refused")]
    Mode {
        /// Its name.
        name: String,
        /// Its mode.
        mode: u32,
    },
    /// A name for the second time.
    #[error("the archive has {name:?} twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name below something that is no directory: a link of the archive, or a file.
    #[error("the archive has {name:?} below something that is no directory")]
    Through {
        /// The name.
        name: String,
    },
    /// Entries beside the one top directory that was to be taken off.
    #[error("the archive should have everything in one directory, and has {name:?} beside {top:?}")]
    Tops {
        /// The entry.
        name: String,
        /// The first top directory.
        top: String,
    },
    /// More than the bounds allow.
    #[error("the archive goes over a bound: {limit} {bound} are allowed")]
    Over {
        /// Which.
        bound: Bound,
        /// Its value.
        limit: u64,
    },
}

impl ArchiveFault {
    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            ArchiveFault::System(e) if Self::is_full(e) => {
                Some("the disk is full: free some space, then run it again".into())
            }
            ArchiveFault::Truncated { .. } | ArchiveFault::Damaged { .. } => {
                Some("the file did not arrive whole: fetch it again, or from another source".into())
            }
            ArchiveFault::Foreign { .. } => {
                Some("look at what the source gives: a proxy's or a mirror's page instead of the file?".into())
            }
            ArchiveFault::Name { .. }
            | ArchiveFault::Link { .. }
            | ArchiveFault::Special { .. }
            | ArchiveFault::Mode { .. }
            | ArchiveFault::Duplicate { .. }
            | ArchiveFault::Through { .. }
            | ArchiveFault::Over { .. }
            | ArchiveFault::Malformed { .. } => {
                Some("no vendor's archive has this: do not use the file, and ask where it came from".into())
            }
            ArchiveFault::Cancelled
            | ArchiveFault::System(_)
            | ArchiveFault::Read(_)
            | ArchiveFault::Unsupported { .. }
            | ArchiveFault::Tops { .. } => None,
        }
    }

    /// Whether it comes from a full disk.
    pub fn disk_full(&self) -> bool {
        matches!(self, ArchiveFault::System(e) if Self::is_full(e))
    }

    fn is_full(e: &SysError) -> bool {
        matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}
