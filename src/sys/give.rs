//! Gives a directory with all that is in it to another user: only what was root's, and nothing that only looks as if it lay there.
//!
//! What the new owner may already write to (the rest of a run that was cut short) could be exchanged while we look, so everything
//! is opened first, never through a link, and looked at and changed by its descriptor.

use super::{error::SysError, fs::by_descriptor};
use nix::{
    fcntl::AtFlags,
    unistd::{Gid, Uid, fchownat},
};
use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Deepest that is gone down: a descriptor each. Data of the products are three deep.
const DEEPEST: usize = 32;

/// Why nothing was given away. All is looked at before the first change.
#[derive(Debug)]
pub enum NotGiven {
    /// This is neither root's nor the new owner's.
    Alien(PathBuf, u32),
    /// This file has another name as well: it may be a file of somebody else's.
    Linked(PathBuf),
    /// Something else is mounted here, or it is a device.
    Strange(PathBuf),
    /// Nothing says whose the directory is ([`give`] itself never says so: its caller knows the mark).
    Unmarked,
    /// It could not be looked at or changed.
    Failed(SysError),
}

/// Gives `dir` and all in it to `uid` and `gid`, itself last, so that one that is cut short is seen and gone on with. Links are given
/// away, not followed. Returns how many files and directories had another owner. Blocks for two looks at each file.
pub fn give(dir: &Path, (uid, gid): (u32, u32)) -> Result<u64, NotGiven> {
    let failed = |e| NotGiven::Failed(SysError::path("change the owner of", dir, e));
    // what the path leads to is root's word (make_dir follows root's links only)
    let top = super::fs::open_dir(dir).map_err(failed)?;
    let device = top.metadata().map_err(failed)?.dev();
    let look = |_: &File, meta: &Metadata, path: &Path| {
        let kind = meta.file_type();
        if meta.uid() != 0 && meta.uid() != uid {
            return Err(NotGiven::Alien(path.to_owned(), meta.uid()));
        }
        if meta.dev() != device || kind.is_block_device() || kind.is_char_device() {
            return Err(NotGiven::Strange(path.to_owned()));
        }
        if !meta.is_dir() && meta.nlink() > 1 {
            return Err(NotGiven::Linked(path.to_owned()));
        }
        Ok(())
    };
    walk(&top, dir, 0, &look)?;
    let given = std::cell::Cell::new(0);
    walk(&top, dir, 0, &|file, meta, path| {
        look(file, meta, path)?;
        if (meta.uid(), meta.gid()) == (uid, gid) {
            return Ok(());
        }
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fchownat(file, "", owner, group, AtFlags::AT_EMPTY_PATH)
            .map_err(|e| NotGiven::Failed(SysError::path("change the owner of", path, e)))?;
        given.set(given.get() + 1);
        Ok(())
    })?;
    Ok(given.get())
}

/// Visits what is in a directory, then the directory.
fn walk(
    dir: &File,
    path: &Path,
    depth: usize,
    visit: &dyn Fn(&File, &Metadata, &Path) -> Result<(), NotGiven>,
) -> Result<(), NotGiven> {
    let failed = |e| NotGiven::Failed(SysError::path("look at", path, e));
    if depth > DEEPEST {
        return Err(failed(io::Error::other("too many directories in each other")));
    }
    for entry in std::fs::read_dir(by_descriptor(dir)).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let path = path.join(&name);
        let failed = |e| NotGiven::Failed(SysError::path("look at", &path, e));
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(by_descriptor(dir).join(&name));
        let file = file.map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() { walk(&file, &path, depth + 1, visit)? } else { visit(&file, &meta, &path)? }
    }
    visit(dir, &dir.metadata().map_err(failed)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::host;
    use std::{
        fs,
        os::unix::fs::{lchown, symlink},
    };

    const THEIRS: (u32, u32) = (12_345, 12_346);

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data/topic-0")).unwrap();
        fs::write(dir.path().join("data/topic-0/0.log"), "x").unwrap();
        fs::write(dir.path().join("outside"), "root's").unwrap();
        symlink("../outside", dir.path().join("data/link")).unwrap();
        dir
    }

    fn owner(path: PathBuf) -> (u32, u32) {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.uid(), meta.gid())
    }

    #[test]
    fn all_in_a_directory_of_roots_is_given_and_what_a_link_leads_to_is_not() {
        if !host::is_root_or_skipped("all_in_a_directory_of_roots_is_given_and_what_a_link_leads_to_is_not") {
            return;
        }
        let dir = tree();
        let data = dir.path().join("data");
        // what one that was cut short had got to
        lchown(data.join("topic-0/0.log"), Some(THEIRS.0), Some(THEIRS.1)).unwrap();
        assert_eq!(give(&data, THEIRS).unwrap(), 3);
        for name in ["", "topic-0", "topic-0/0.log", "link"] {
            assert_eq!(owner(data.join(name)), THEIRS, "{name:?}");
        }
        assert_eq!(owner(dir.path().join("outside")), (0, 0));
        assert_eq!(give(&data, THEIRS).unwrap(), 0);
    }

    #[test]
    fn what_is_somebody_elses_or_has_another_name_is_no_gift_and_nothing_changes() {
        if !host::is_root_or_skipped("what_is_somebody_elses_or_has_another_name_is_no_gift_and_nothing_changes") {
            return;
        }
        let dir = tree();
        let data = dir.path().join("data");
        let untouched = || assert_eq!((owner(data.clone()), owner(data.join("topic-0/0.log"))), ((0, 0), (0, 0)));
        fs::hard_link(dir.path().join("outside"), data.join("z")).unwrap();
        assert!(matches!(give(&data, THEIRS), Err(NotGiven::Linked(path)) if path == data.join("z")));
        untouched();
        fs::remove_file(data.join("z")).unwrap();
        fs::write(data.join("z"), "").unwrap();
        lchown(data.join("z"), Some(777), None).unwrap();
        assert!(matches!(give(&data, THEIRS), Err(NotGiven::Alien(path, 777)) if path == data.join("z")));
        untouched();
        let deep = data.join("d/".repeat(DEEPEST + 1));
        fs::create_dir_all(deep).unwrap();
        fs::remove_file(data.join("z")).unwrap();
        assert!(matches!(give(&data, THEIRS), Err(NotGiven::Failed(_))));
        untouched();
    }
}
