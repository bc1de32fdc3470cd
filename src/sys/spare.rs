//! Small files that are written again and again: two of them change places, so that no write makes a file or removes one.
//!
//! ext4 gives the number of a removed file to nobody for a minute, five while the removal is in memory only, and looks at every such
//! number on its way to a free one (`recently_deleted` in fs/ext4/ialloc.c). A start of 200 nodes that removed a file with each of its
//! writes spent a quarter of its processor time on that walk, when there had been other starts shortly before.

use super::{error::SysError, failpoint::fail_io, fs as files};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where the file of the bytes before is kept: `.NAME.spare` beside it.
pub fn spare_of(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.spare", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// Replaces `path` as a whole, as [`files::write_atomic`] does for a crash of the process, and keeps the file of the old bytes for the
/// next write. For a file with one writer at a time.
///
/// Who opened `path` two writes ago and still reads meets new bytes in the old file. Readers of such files are the writer's own
/// program before its first write, or read again what is not whole.
///
/// After a loss of power within a second of the write the file may hold the bytes of two writes ago, or be cut.
pub fn write_in_turn(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SysError> {
    let spare = spare_of(path);
    let written = (|| {
        let mut file = open(&spare, mode)?;
        fail_io!("write.opened", path)?;
        #[cfg(feature = "failpoints")]
        file.write_all(&bytes[..bytes.len() / 2])?;
        #[cfg(feature = "failpoints")]
        let rest = &bytes[bytes.len() / 2..];
        #[cfg(not(feature = "failpoints"))]
        let rest = bytes;
        fail_io!("write.half", path)?;
        file.write_all(rest)?;
        let (has, wanted) = (file.metadata()?.len(), bytes.len() as u64);
        if has > wanted {
            // Never to nothing first: ext4 sends a file to the disk that was cut to nothing and closed (`auto_da_alloc`, ext4(5)).
            file.set_len(wanted)?;
        }
        fail_io!("write.written", path)?;
        files::exchange(&spare, path)?;
        fail_io!("write.renamed", path)
    })();
    // What was begun stays in the spare file, where the next write goes over it.
    written.map_err(|e: io::Error| SysError::path("write", path, e))
}

/// The spare file, at its beginning: ours alone, with this mode. Anything else of its name is removed for a new one.
fn open(spare: &Path, mode: u32) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let there = OpenOptions::new().write(true).custom_flags(flags).open(spare);
    if let Ok(file) = there
        && let Ok(meta) = file.metadata()
        && files::is_single(&meta)
        && meta.uid() == nix::unistd::geteuid().as_raw()
    {
        if meta.permissions().mode() & 0o7777 != mode {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        return Ok(file);
    }
    files::create_new(spare, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn two_files_take_turns_whatever_the_lengths_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut numbers = Vec::new();
        for text in ["first", "second and longer", "third", "", "fifth"] {
            write_in_turn(&path, text.as_bytes(), 0o640).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let meta = fs::metadata(&path).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, 0o640);
            numbers.push(meta.ino());
        }
        assert_eq!(names(dir.path()), [".a.json.spare", "a.json"]);
        // the first write had nothing to change places with, so the second made the other file
        assert_eq!((numbers[0], numbers[1]), (numbers[2], numbers[3]));
        assert_ne!(numbers[0], numbers[1]);
    }

    #[test]
    fn what_is_planted_under_the_spare_name_leads_no_byte_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("a.json"));
        fs::write(&victim, "theirs").unwrap();
        let spare = spare_of(&path);
        let plants: [fn(&Path, &Path); 3] = [
            |victim, spare| std::os::unix::fs::symlink(victim, spare).unwrap(),
            |victim, spare| fs::hard_link(victim, spare).unwrap(),
            |_, spare| nix::unistd::mkfifo(spare, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        ];
        for plant in plants {
            // the first write has nothing to change places with, and leaves none
            let _ = fs::remove_file(&spare);
            plant(&victim, &spare);
            write_in_turn(&path, b"ours", 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
        }
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&spare, Some(12_345), None).unwrap();
            write_in_turn(&path, b"ours again", 0o640).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "a file of another user is not put in place");
        }
    }

    #[test]
    fn a_write_into_a_missing_directory_names_the_path() {
        let e = write_in_turn(Path::new("/nonexistent/x"), b"", 0o600).unwrap_err();
        assert_eq!(e.to_string(), "cannot write /nonexistent/x");
    }
}
