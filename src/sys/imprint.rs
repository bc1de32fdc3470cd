//! An imprint of a directory: whether anything in it was written to since another one was taken, without reading a file.
//!
//! Names, kinds, sizes and times of writing (nanoseconds) of everything below it; of directories the names alone, because what else
//! they have follows from what is in them. The boot counts as well: a power cut can keep what was written in place and lose the time
//! of it, which comes to the disk with the next commit (ext4(5), `commit=`), so imprints of two boots never match.

use super::clock;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Takes it, in hex. Names at the top that are `left_out` do not count. Follows no link. What cannot be looked at is an error, for an
/// imprint of a part says nothing about the rest.
pub fn of(dir: &Path, left_out: impl Fn(&str) -> bool) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        // Its length in front, so that no two lists run together into the same bytes.
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(clock::boot_id().as_bytes());
    let mut left: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        let mut entries = fs::read_dir(&next)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if next == dir && entry.file_name().to_str().is_some_and(&left_out) {
                continue;
            }
            let path = entry.path();
            let meta = fs::symlink_metadata(&path)?;
            add(path.strip_prefix(dir).unwrap_or(&path).as_os_str().as_encoded_bytes());
            if meta.is_dir() {
                add(b"directory");
                left.push(path);
                continue;
            }
            add(&(meta.mode() & libc::S_IFMT).to_le_bytes());
            add(&meta.size().to_le_bytes());
            add(&meta.mtime().to_le_bytes());
            add(&meta.mtime_nsec().to_le_bytes());
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn imprint(dir: &Path) -> String {
        of(dir, |name| name.starts_with("ours")).unwrap()
    }

    /// A write whose time is another, however coarse the file system's clock is.
    fn write(path: &Path, text: &str, second: u64) {
        fs::write(path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn whatever_is_written_made_or_removed_below_changes_it() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        fs::create_dir_all(dir.join("a/b")).unwrap();
        write(&dir.join("a/b/f"), "one", 0);
        let mut seen = vec![imprint(dir)];
        let steps: [&dyn Fn(); 7] = [
            &|| write(&dir.join("a/b/f"), "two", 1),
            &|| write(&dir.join("a/b/f"), "longer", 1),
            &|| write(&dir.join("g"), "", 1),
            &|| fs::rename(dir.join("g"), dir.join("h")).unwrap(),
            &|| fs::create_dir(dir.join("empty")).unwrap(),
            &|| std::os::unix::fs::symlink("h", dir.join("link")).unwrap(),
            &|| fs::remove_file(dir.join("h")).unwrap(),
        ];
        for step in steps {
            step();
            let now = imprint(dir);
            assert_eq!(now, imprint(dir));
            assert!(!seen.contains(&now), "after {} steps", seen.len());
            seen.push(now);
        }
    }

    #[test]
    fn what_is_left_out_and_what_is_only_read_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        fs::create_dir(dir.join("a")).unwrap();
        write(&dir.join("a/f"), "one", 0);
        let before = imprint(dir);
        write(&dir.join("ours.json"), "{}", 5);
        fs::read(dir.join("a/f")).unwrap();
        write(&dir.join("a/f"), "one", 0);
        assert_eq!(imprint(dir), before);
        write(&dir.join("a/ours.json"), "{}", 0);
        assert_ne!(imprint(dir), before, "only at the top");
        assert!(of(&dir.join("none"), |_| false).is_err());
    }
}
