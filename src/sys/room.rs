//! Room on disk as a thing: a file that holds some, and how much a directory takes.

use super::{clock, error::SysError};
use crate::base::Moment;
use nix::fcntl::{FallocateFlags, fallocate};
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Makes a file of `bytes` whose blocks are really taken (fallocate(2)): it holds room until it is removed. What is at `path` already
/// is never opened or followed. On a file system that cannot do it nothing is left behind, and nothing is written instead: zeros may
/// be compressed away.
pub fn hold(path: &Path, bytes: u64) -> Result<(), SysError> {
    let failed = |e: io::Error| SysError::path("hold room with", path, e);
    let size = libc::off_t::try_from(bytes).map_err(|e| failed(io::Error::other(e)))?;
    // create_new is O_EXCL: it does not follow a link either (open(2))
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    fallocate(&file, FallocateFlags::empty(), 0, size).map_err(|e| {
        // An empty file would look like one that holds something.
        let _ = fs::remove_file(path);
        failed(e.into())
    })
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
        assert!(hold(&too_much, 1 << 60).is_err() && !too_much.exists());
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
