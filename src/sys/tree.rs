//! Filling one directory from names that are not trusted: no link below it is ever followed, nothing there is ever replaced.
//!
//! Every name is walked from the top, one directory at a time, with `O_NOFOLLOW` (openat(2)); the last directory is kept open,
//! because neighbours come one after the other. `openat2` would do it in one call, but containers' filters refuse it.

use super::error::SysError;
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, mkdirat},
    unistd::{linkat, symlinkat},
};
use std::{
    ffi::OsStr,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// A directory that is being filled. Names are relative to it, of plain components only.
#[derive(Debug)]
pub struct Tree {
    top: OwnedFd,
    path: PathBuf,
    /// The directory used last and its name.
    last: Option<(PathBuf, OwnedFd)>,
}

/// What lies at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// A link, or something stranger.
    Other,
}

impl Tree {
    /// Opens a directory for filling.
    pub fn open(path: &Path) -> Result<Self, SysError> {
        let top = File::open(path).map_err(|e| SysError::path("open", path, e))?.into();
        Ok(Self { top, path: path.to_owned(), last: None })
    }

    /// Makes a directory and its parents; fine when it is there. `ENOTDIR` when a file or a link is in the way.
    pub fn directory(&mut self, name: &Path) -> Result<(), SysError> {
        let done = self.walk(name, true).map(drop);
        done.map_err(|e| self.error("make directory", name, e))
    }

    /// Makes a file that was not there, its parents as needed. `EEXIST` when something is there.
    pub fn file(&mut self, name: &Path, mode: u32) -> Result<File, SysError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made =
            self.parent(name, true).and_then(|(dir, leaf)| openat(dir, leaf, flags, Mode::from_bits_truncate(mode)));
        made.map(File::from).map_err(|e| self.error("make", name, e))
    }

    /// Makes a symbolic link that was not there. What it names is the caller's to check.
    pub fn symlink(&mut self, name: &Path, target: &Path) -> Result<(), SysError> {
        let made = self.parent(name, true).and_then(|(dir, leaf)| symlinkat(target, dir, leaf));
        made.map_err(|e| self.error("make link", name, e))
    }

    /// Makes a second name for a file of this tree.
    pub fn hard_link(&mut self, name: &Path, file: &Path) -> Result<(), SysError> {
        let made = (|| {
            let (dir, leaf) = self.parent(file, false)?;
            // The walk to the new name may close the directory of the old one.
            let from = dir.as_fd().try_clone_to_owned().map_err(|e| errno(&e))?;
            let (to, new) = self.parent(name, true)?;
            linkat(from, leaf, to, new, AtFlags::empty())
        })();
        made.map_err(|e| self.error("make link", name, e))
    }

    /// What lies at a name.
    pub fn there(&mut self, name: &Path) -> Result<There, SysError> {
        let found = self.parent(name, false).and_then(|(dir, leaf)| fstatat(dir, leaf, AtFlags::AT_SYMLINK_NOFOLLOW));
        match found {
            Ok(meta) => Ok(match SFlag::from_bits_truncate(meta.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFREG => There::File,
                SFlag::S_IFDIR => There::Directory,
                _ => There::Other,
            }),
            Err(Errno::ENOENT) => Ok(There::Nothing),
            Err(e) => Err(self.error("look at", name, e)),
        }
    }

    /// Sets the mode of a file. Never that of what a link names: the caller has made the name a file ([`Tree::file`]).
    pub fn set_mode(&mut self, name: &Path, mode: u32) -> Result<(), SysError> {
        if self.there(name)? != There::File {
            return Err(self.error("set the mode of", name, Errno::ELOOP));
        }
        // fchmodat knows no NOFOLLOW before Linux 6.6; nobody else writes into this tree between the look and this.
        let set = self
            .parent(name, false)
            .and_then(|(dir, leaf)| fchmodat(dir, leaf, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink));
        set.map_err(|e| self.error("set the mode of", name, e))
    }

    /// The open directory that holds `name`, and its last component.
    fn parent<'n>(&mut self, name: &'n Path, make: bool) -> Result<(&OwnedFd, &'n OsStr), Errno> {
        let leaf = name.file_name().ok_or(Errno::EINVAL)?;
        let parent = name.parent().unwrap_or(Path::new(""));
        Ok((self.walk(parent, make)?, leaf))
    }

    /// Opens a directory, one component after the other.
    fn walk(&mut self, name: &Path, make: bool) -> Result<&OwnedFd, Errno> {
        if name.as_os_str().is_empty() {
            return Ok(&self.top);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != name) {
            let mut at: Option<OwnedFd> = None;
            for part in name.iter() {
                if part == ".." || part == "/" || part == "." {
                    return Err(Errno::EINVAL);
                }
                let dir = at.as_ref().unwrap_or(&self.top);
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let next = match openat(dir, part, flags, Mode::empty()) {
                    Err(Errno::ENOENT) if make => {
                        mkdirat(dir, part, Mode::from_bits_truncate(0o755))?;
                        openat(dir, part, flags, Mode::empty())?
                    }
                    other => other?,
                };
                at = Some(next);
            }
            let Some(found) = at else { return Ok(&self.top) };
            self.last = Some((name.to_owned(), found));
        }
        Ok(self.last.as_ref().map_or(&self.top, |(_, dir)| dir))
    }

    fn error(&self, verb: &str, name: &Path, e: Errno) -> SysError {
        SysError::path(verb, &self.path.join(name), e)
    }
}

fn errno(e: &std::io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        io::Write,
        os::unix::fs::{PermissionsExt, symlink},
    };

    fn tree() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("t")).unwrap();
        let tree = Tree::open(&dir.path().join("t")).unwrap();
        (dir, tree)
    }

    #[test]
    fn files_and_links_come_with_their_parents_and_never_replace_anything() {
        let (dir, mut tree) = tree();
        tree.file(Path::new("a/b/f"), 0o600).unwrap().write_all(b"x").unwrap();
        tree.symlink(Path::new("a/l"), Path::new("b/f")).unwrap();
        tree.hard_link(Path::new("c/g"), Path::new("a/b/f")).unwrap();
        tree.directory(Path::new("a/b")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("t/a/l")).unwrap(), "x");
        assert_eq!(fs::read_to_string(dir.path().join("t/c/g")).unwrap(), "x");
        for taken in ["a/b/f", "a/l", "a/b"] {
            assert_eq!(tree.file(Path::new(taken), 0o600).unwrap_err().errno(), Some(libc::EEXIST), "{taken}");
            assert_eq!(tree.symlink(Path::new(taken), Path::new("x")).unwrap_err().errno(), Some(libc::EEXIST));
        }
        assert_eq!(tree.there(Path::new("a/l")).unwrap(), There::Other);
        assert_eq!(tree.there(Path::new("a/b")).unwrap(), There::Directory);
        assert_eq!(tree.there(Path::new("n/o")).unwrap(), There::Nothing);
    }

    #[test]
    fn a_link_is_never_a_way_out_whoever_made_it() {
        let (dir, mut tree) = tree();
        fs::create_dir(dir.path().join("out")).unwrap();
        fs::write(dir.path().join("out/f"), "x").unwrap();
        symlink("../out", dir.path().join("t/l")).unwrap();
        symlink("../out/f", dir.path().join("t/f")).unwrap();
        for e in [
            tree.file(Path::new("l/new"), 0o600).unwrap_err(),
            tree.directory(Path::new("l")).unwrap_err(),
            tree.directory(Path::new("l/new")).unwrap_err(),
            tree.hard_link(Path::new("mine"), Path::new("l/f")).unwrap_err(),
            tree.set_mode(Path::new("l/f"), 0o777).unwrap_err(),
        ] {
            assert!(matches!(e.errno(), Some(libc::ENOTDIR | libc::ELOOP)), "{e:?}");
        }
        assert_eq!(tree.set_mode(Path::new("f"), 0o777).unwrap_err().errno(), Some(libc::ELOOP));
        assert_eq!(fs::metadata(dir.path().join("out/f")).unwrap().permissions().mode() & 0o111, 0);
        assert_eq!(tree.file(Path::new("../out/new"), 0o600).unwrap_err().errno(), Some(libc::EINVAL));
        assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 1);
    }
}
