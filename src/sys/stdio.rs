//! Standard error as a file: which one it is, and another in its place.

use super::error::SysError;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// The length of `path` when it is the file that standard error goes to, bytes; none: it goes elsewhere.
pub fn standard_error_is(path: &Path) -> Option<u64> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let (device, inode, length) = of(io::stderr().as_fd()).ok()?;
    ((device, inode) == (file.dev(), file.ino())).then_some(length)
}

/// Device, inode and length of what a descriptor leads to.
fn of(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<(u64, u64, u64)> {
    let meta = File::from(fd.try_clone_to_owned()?).metadata()?;
    Ok((meta.dev(), meta.ino(), meta.len()))
}

/// A new file for standard error, not in its place yet.
#[derive(Debug)]
pub struct NewLog {
    file: File,
    path: PathBuf,
}

impl NewLog {
    /// Makes it, beside `log`, empty.
    pub fn make(log: &Path) -> Result<Self, SysError> {
        let path = log.with_extension("log.next");
        let made = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW).open(&path);
        let file = made.map_err(|e| SysError::path("make", &path, e))?;
        file.set_len(0).map_err(|e| SysError::path("empty", &path, e))?;
        Ok(Self { file, path })
    }

    /// Gives it the name `log`, and has standard error, and standard output where that goes to the same place, go there.
    pub fn take_over(self, log: &Path) -> Result<(), SysError> {
        let same = of(io::stdout().as_fd()).ok().zip(of(io::stderr().as_fd()).ok()).is_some_and(|(a, b)| a == b);
        fs::rename(&self.path, log).map_err(|e| SysError::path("rename", &self.path, e))?;
        let failed = |e: nix::Error| SysError::path("write standard error to", log, e);
        nix::unistd::dup2_stderr(&self.file).map_err(failed)?;
        if same {
            nix::unistd::dup2_stdout(&self.file).map_err(failed)?;
        }
        Ok(())
    }
}
