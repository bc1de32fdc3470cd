//! The error of the OS seam: which operation, on what, and what the kernel said.

use std::{fmt, io, path::Path};

/// An operation on a named thing failed. The text says the operation and the thing; the source says the kernel's reason.
#[derive(Debug)]
pub struct SysError {
    /// What was being done, as a verb phrase with its operands (`write /r/state/x`, `connect to 127.0.0.1:2181`).
    pub doing: String,
    /// What the kernel said.
    pub source: io::Error,
}

impl SysError {
    /// An error from an operation described in words.
    pub fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { doing: doing.into(), source: source.into() }
    }

    /// An error of an operation on a path.
    pub fn path(verb: &str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::new(format!("{verb} {}", path.display()), source)
    }

    /// The text with the kernel's reason behind it.
    pub fn in_one_line(&self) -> String {
        format!("{self}: {}", self.source)
    }

    /// The kernel's error number, if it was one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The kind of the source.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.doing)
    }
}

impl std::error::Error for SysError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
