//! Copies of files that share their blocks with the original where the file system can do that, and keep their holes.

use nix::{
    errno::Errno,
    libc,
    unistd::{Whence, lseek},
};
use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
};

/// Bytes per read.
const BLOCK: usize = 256 << 10;

/// `FICLONE` of linux/fs.h, `_IOW(0x94, 9, int)`; btrfs, XFS and bcachefs have it (ioctl_ficlone(2)).
const FICLONE: libc::Ioctl = 0x4004_9409;

/// Makes `target`, which is empty, a file of its own that shares all blocks with `source`; false where that cannot be done
/// (another file system, one without it). Never a hard link: a program that writes in place writes into its own file only.
pub fn share_blocks(source: &File, target: &File) -> bool {
    // SAFETY: both descriptors are open as long as they are borrowed; the request takes a descriptor number and no pointer.
    unsafe { libc::ioctl(target.as_raw_fd(), FICLONE, source.as_raw_fd()) == 0 }
}

/// Copies the first `length` bytes of `source` into the empty `target` and hands all of them, holes as zeros, to `bytes`.
/// Holes stay holes. Returns whether blocks are shared. Fails when the source ends early: somebody writes to it.
pub fn copy_file(source: &File, target: &File, length: u64, bytes: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    let shared = length > 0 && share_blocks(source, target);
    if !shared {
        target.set_len(length)?;
    }
    read_file(source, length, &mut |at, block, is_data| {
        if is_data && !shared {
            target.write_all_at(block, at)?;
        }
        bytes(block);
        Ok(())
    })?;
    Ok(shared)
}

/// Hears bytes of a file: where, which, and whether they are data (not a hole).
pub type Each<'a> = dyn FnMut(u64, &[u8], bool) -> io::Result<()> + 'a;

/// Hands the first `length` bytes of a file to `each`.
pub fn read_file(source: &File, length: u64, each: &mut Each<'_>) -> io::Result<()> {
    let zeros = vec![0; BLOCK];
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    while at < length {
        let data = next(source, at, Whence::SeekData)?.unwrap_or(length).min(length);
        while at < data {
            let part = usize::try_from(data - at).unwrap_or(BLOCK).min(BLOCK);
            each(at, &zeros[..part], false)?;
            at += part as u64;
        }
        let hole =
            if data < length { next(source, data, Whence::SeekHole)?.unwrap_or(length).min(length) } else { data };
        while at < hole {
            let part = usize::try_from(hole - at).unwrap_or(BLOCK).min(BLOCK);
            let read = source.read_at(&mut block[..part], at)?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
            }
            each(at, &block[..read], true)?;
            at += read as u64;
        }
    }
    // What lies behind the end reads like a hole.
    if source.metadata()?.len() < length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
    }
    Ok(())
}

/// The next data or hole at or behind `at`; none: nothing but a hole until the end (ENXIO, lseek(2)).
fn next(file: &File, at: u64, what: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(at).map_err(io::Error::other)?;
    match lseek(file, from, what) {
        Ok(place) => Ok(u64::try_from(place).ok()),
        Err(Errno::ENXIO) => Ok(None),
        // a file system that knows no holes: all is data
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(matches!(what, Whence::SeekData).then_some(at)),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::unix::fs::MetadataExt};

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let dir = tempfile::tempdir().unwrap();
        let source = File::options().read(true).write(true).create_new(true).open(dir.path().join("a")).unwrap();
        source.write_all_at(b"head", 0).unwrap();
        source.write_all_at(b"tail", 8 << 20).unwrap();
        source.set_len(20 << 20).unwrap();
        let length = source.metadata().unwrap().len();
        let path = dir.path().join("b");
        let target = File::options().write(true).create_new(true).open(&path).unwrap();
        let mut seen = Vec::new();
        copy_file(&source, &target, length, &mut |bytes| seen.extend_from_slice(bytes)).unwrap();
        let mut copied = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut copied).unwrap();
        assert!(copied == seen && seen.len() as u64 == length && seen[8 << 20..].starts_with(b"tail"));
        // tmpfs and overlay know holes too; where one does not, the original has none either
        assert!(target.metadata().unwrap().blocks() <= source.metadata().unwrap().blocks() + 16);
    }

    #[test]
    fn a_file_that_gets_shorter_meanwhile_is_an_error_and_an_empty_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "12345").unwrap();
        let source = File::open(&path).unwrap();
        let target = File::create_new(dir.path().join("b")).unwrap();
        assert!(copy_file(&source, &target, 0, &mut |_| panic!("nothing to hand over")).is_ok());
        assert!(read_file(&source, 5, &mut |_, _, _| Ok(())).is_ok());
        assert!(read_file(&source, 9, &mut |_, _, _| Ok(())).is_err());
    }
}
