//! Room on disk as a thing: a file that holds some, and how much a directory takes.

use super::{clock, error::SysError, failpoint::fail_io};
use crate::base::Moment;
use nix::fcntl::{FallocateFlags, fallocate};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Makes a file of `bytes` whose blocks are really taken (fallocate(2)): it holds room until it is removed. It has its name only when
/// it is whole. At `path` there may be nothing, or an empty file ([`give`] has left it); anything else is neither opened nor followed.
/// On a file system that cannot do it nothing is left behind, and nothing is written instead: zeros may be compressed away.
pub fn hold(path: &Path, bytes: u64) -> Result<(), SysError> {
    let failed = |e: io::Error| SysError::path("hold room with", path, e);
    let size = libc::off_t::try_from(bytes).map_err(|e| failed(io::Error::other(e)))?;
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == 0 => {}
        Ok(_) => return Err(failed(io::ErrorKind::AlreadyExists.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    clear(path)?;
    let part = part_of(path);
    let made = || -> io::Result<()> {
        // create_new is O_EXCL: it does not follow a link either (open(2))
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        fail_io!("room.begun", path)?;
        fallocate(&file, FallocateFlags::empty(), 0, size)?;
        fail_io!("room.taken", path)?;
        fs::rename(&part, path)
    };
    made().map_err(|e| {
        let _ = fs::remove_file(&part);
        failed(e)
    })
}

/// Gives the room back and leaves an empty file, which says that it was given. Needs none for that.
pub fn give(path: &Path) -> Result<(), SysError> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path);
    file.and_then(|file| file.set_len(0)).map_err(|e| SysError::path("give back the room of", path, e))
}

/// Removes what a process that was killed in [`hold`] has left.
pub fn clear(path: &Path) -> Result<(), SysError> {
    super::fs::remove_optional(&part_of(path))
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// There is no such file.
    Nothing,
    /// It is empty: it was given back.
    Given,
    /// So many bytes: its length, or its blocks where most of it is a hole.
    Bytes(u64),
}

/// Looks at a file of [`hold`].
pub fn held(path: &Path) -> Held {
    let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
    match meta.map(|meta| (meta.len(), meta.blocks().saturating_mul(512))) {
        None => Held::Nothing,
        Some((0, _)) => Held::Given,
        // A file system may count less than it was asked for, by a little; a hole is no room.
        Some((length, taken)) if taken >= length / 2 => Held::Bytes(length),
        Some((_, taken)) => Held::Bytes(taken.max(1)),
    }
}

/// Whether the file system of a directory takes so many bytes more of this user, their quota included: tried, with a file that has no name
/// (`O_TMPFILE`, open(2)). None: that cannot be tried there.
pub fn takes(dir: &Path, bytes: usize) -> Option<bool> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(dir);
    match file.and_then(|mut file| file.write_all(&vec![0; bytes])) {
        Ok(()) => Some(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Some(false),
        Err(_) => None,
    }
}

/// Bytes on disk of everything below a directory that is on the same file system; none: `until` came first. What cannot be read
/// counts as nothing, links are not followed.
pub fn taken_by(dir: &Path, until: Moment) -> Option<u64> {
    let Ok(top) = fs::symlink_metadata(dir) else { return Some(0) };
    let mut bytes = 0u64;
    let mut open: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        if clock::now() >= until {
            return None;
        }
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() {
                continue;
            }
            // st_blocks counts 512 bytes, whatever the file system's own unit (stat(2))
            bytes = bytes.saturating_add(meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn room_that_is_held_is_really_taken_and_an_existing_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        hold(&path, 3 << 20).unwrap();
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!(meta.len(), 3 << 20);
        assert!(meta.blocks() * 512 >= 3 << 20, "{} blocks", meta.blocks());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        for there in [&path, &link] {
            assert_eq!(hold(there, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert!(!dir.path().join("elsewhere").exists());
        let too_much = dir.path().join("too-much");
        assert!(hold(&too_much, 1 << 60).is_err() && !too_much.exists() && !part_of(&too_much).exists());
    }

    #[test]
    fn whether_there_is_room_is_tried_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(takes(dir.path(), 64 << 10), Some(true));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(takes(&dir.path().join("none"), 1), None);
    }

    #[test]
    fn room_that_was_given_is_known_as_that_and_what_a_killed_process_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        assert_eq!(held(&path), Held::Nothing);
        assert!(give(&path).is_err() && !path.exists());
        // Killed before anything was taken, and before it had its name.
        fs::write(part_of(&path), "").unwrap();
        hold(&path, 2 << 20).unwrap();
        assert_eq!((held(&path), part_of(&path).exists()), (Held::Bytes(2 << 20), false));
        give(&path).unwrap();
        assert_eq!((held(&path), fs::metadata(&path).unwrap().blocks()), (Held::Given, 0));
        hold(&path, 1 << 20).unwrap();
        assert_eq!(held(&path), Held::Bytes(1 << 20));
        let sparse = dir.path().join("sparse");
        fs::File::create(&sparse).unwrap().set_len(1 << 30).unwrap();
        assert!(matches!(held(&sparse), Held::Bytes(bytes) if bytes < 1 << 20), "a hole holds nothing");
    }

    #[test]
    fn what_a_directory_takes_is_counted_in_blocks_and_bounded_in_time() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        hold(&dir.path().join("a/b"), 1 << 20).unwrap();
        // sparse: long, and nearly nothing on disk
        fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        let soon = clock::now() + Duration::from_secs(30);
        let bytes = taken_by(dir.path(), soon).unwrap();
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
        assert_eq!(taken_by(dir.path(), Moment(0)), None);
        assert_eq!(taken_by(&dir.path().join("none"), soon), Some(0));
    }
}
