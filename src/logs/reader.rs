//! The files of one node's log in order of age, and the place in them where reading starts.

use super::stamp::line_time;
use crate::{base::Timestamp, sys::error::SysError};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// The file that is written now.
pub const CURRENT: &str = "current";

/// How much is read at once when looking backwards for line ends, bytes.
const BLOCK: u64 = 64 << 10;

/// How often a directory is listed anew when it changes under the eyes. Two equal listings in a row fail this often
/// only when the log is rotated without pause.
const LISTINGS_MAX: usize = 1_000;

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// At most this many of the last lines; none: all.
    pub last: Option<usize>,
    /// Only what was written at this time or later.
    pub since: Option<Timestamp>,
}

/// A place in the log: an open file, who it is, and how far it was read.
#[derive(Debug)]
pub(super) struct Place {
    pub file: File,
    pub id: FileId,
    pub offset: u64,
}

/// Device and inode: tells a file from its successor of the same name as long as it is held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    pub(super) fn of(meta: &fs::Metadata) -> Self {
        Self { dev: meta.dev(), ino: meta.ino() }
    }
}

/// One file of a listing. `age` sorts rotated files by age; the current one, which has no age yet, comes last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub path: PathBuf,
    pub id: FileId,
    age: (u64, u64),
}

/// The age written in the name of a rotated file, `@MILLIS.SEQ.log` (the form of the log writer); none for other names.
fn age_of(name: &str) -> Option<(u64, u64)> {
    let (millis, seq) = name.strip_prefix('@')?.strip_suffix(".log")?.split_once('.')?;
    Some((millis.parse().ok()?, seq.parse().ok()?))
}

/// The files, oldest first. Empty when there is no log yet.
///
/// One pass over a directory may miss a file that is renamed meanwhile under both its names; two equal passes cannot,
/// since a rename during the first is wholly visible to the second.
pub(super) fn list(dir: &Path) -> Result<Vec<Listed>, SysError> {
    let mut before = list_once(dir)?;
    for _ in 0..LISTINGS_MAX {
        let now = list_once(dir)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

fn list_once(dir: &Path) -> Result<Vec<Listed>, SysError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(SysError::path("read directory", dir, e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| SysError::path("read directory", dir, e))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let age = if name == CURRENT { Some((u64::MAX, u64::MAX)) } else { age_of(name) };
        let Some(age) = age else { continue };
        match fs::metadata(entry.path()) {
            Ok(meta) => files.push(Listed { path: entry.path(), id: FileId::of(&meta), age }),
            // Renamed or removed since the directory was read: the next pass sees it under its new name, or not.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(SysError::path("look at", &entry.path(), e)),
        }
    }
    files.sort_by_key(|file| file.age);
    Ok(files)
}

/// Opens a listed file; none when its name belongs to another file by now.
pub(super) fn open(listed: &Listed) -> Result<Option<File>, SysError> {
    let file = match File::open(&listed.path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(SysError::path("open", &listed.path, e)),
    };
    let meta = file.metadata().map_err(|e| SysError::path("look at", &listed.path, e))?;
    Ok((FileId::of(&meta) == listed.id).then_some(file))
}

/// Finds where to start; none when there is no log yet. Files stay open from the listing on, so a rotation meanwhile
/// moves nothing.
pub(super) fn find(dir: &Path, start: Start) -> Result<Option<Place>, SysError> {
    let mut files = Vec::new();
    for _ in 0..LISTINGS_MAX {
        files.clear();
        let listed = list(dir)?;
        for one in &listed {
            if let Some(file) = open(one)? {
                files.push((one.id, file, one.path.clone()));
            }
        }
        if files.len() == listed.len() {
            break;
        }
    }
    let failed = |path: &PathBuf, e| SysError::path("read", path, e);
    let mut from = (0, 0);
    if let Some(since) = start.since {
        from = first_since(&files, since).map_err(|(at, e)| failed(&files[at].2, e))?;
    }
    if let Some(count) = start.last {
        from = from.max(last_lines(&files, count).map_err(|(at, e)| failed(&files[at].2, e))?);
    }
    let (index, offset) = from;
    Ok(files.into_iter().nth(index).map(|(id, file, _)| Place { file, id, offset }))
}

type Open = (FileId, File, PathBuf);
type InFile = (usize, io::Error);

/// Index and offset of the `count`-th last line; every file ends a line.
fn last_lines(files: &[Open], count: usize) -> Result<(usize, u64), InFile> {
    let mut missing = count;
    let end = |at: usize| files[at].1.metadata().map(|m| m.len()).map_err(|e| (at, e));
    for at in (0..files.len()).rev() {
        let len = end(at)?;
        if missing == 0 {
            return Ok((at, len));
        }
        if let Some(offset) = line_start_from_end(&files[at].1, len, &mut missing).map_err(|e| (at, e))? {
            return Ok((at, offset));
        }
    }
    Ok((0, 0))
}

/// Goes back `missing` lines from `len`; none when the file has fewer, and `missing` is then lowered by what it has.
fn line_start_from_end(file: &File, len: u64, missing: &mut usize) -> io::Result<Option<u64>> {
    let mut block_end = len;
    let mut buffer = Vec::new();
    while block_end > 0 {
        let block_start = block_end.saturating_sub(BLOCK);
        buffer.resize(usize::try_from(block_end - block_start).unwrap_or(0), 0);
        file.read_exact_at(&mut buffer, block_start)?;
        for at in memchr::memrchr_iter(b'\n', &buffer) {
            let after = block_start + at as u64 + 1;
            // The end of the last line begins no other line.
            if after == len {
                continue;
            }
            *missing -= 1;
            if *missing == 0 {
                return Ok(Some(after));
            }
        }
        block_end = block_start;
    }
    // The first line of the file begins at 0, if the file holds anything.
    if len > 0 {
        *missing -= 1;
        if *missing == 0 {
            return Ok(Some(0));
        }
    }
    Ok(None)
}

/// Index and offset of the first line written at `since` or later: by the times of the lines where lines have times, by
/// the files' times of last change where they have none.
fn first_since(files: &[Open], since: Timestamp) -> Result<(usize, u64), InFile> {
    let mut first_candidate = None;
    let mut any_time = false;
    let mut end = (0, 0);
    for (at, (_, file, _)) in files.iter().enumerate() {
        let meta = file.metadata().map_err(|e| (at, e))?;
        end = (at, meta.len());
        if meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000 < since.0 {
            continue;
        }
        first_candidate.get_or_insert((at, 0));
        match first_line_since(file, since, &mut any_time) {
            Ok(Some(offset)) => return Ok((at, offset)),
            Ok(None) => {}
            Err(e) => return Err((at, e)),
        }
    }
    // Lines have times, and all are older: nothing of what is there.
    Ok(if any_time { end } else { first_candidate.unwrap_or(end) })
}

fn first_line_since(mut file: &File, since: Timestamp, any_time: &mut bool) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let (mut offset, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)? as u64;
        if length == 0 {
            return Ok(None);
        }
        if let Some(at) = line_time(&line) {
            *any_time = true;
            if at >= since {
                return Ok(Some(offset));
            }
        }
        offset += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::follow::Follower;

    fn write(dir: &Path, name: &str, text: &str) {
        fs::write(dir.join(name), text).unwrap();
    }

    fn read(dir: &Path, last: Option<usize>, since: Option<&str>) -> Vec<String> {
        let since = since.map(|t| Timestamp::parse(t).unwrap());
        let mut follower = Follower::new(dir, Start { last, since });
        let mut lines = Vec::new();
        follower
            .read(&mut |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            })
            .unwrap();
        lines.extend(follower.rest().map(|rest| String::from_utf8_lossy(&rest).into_owned()));
        lines
    }

    fn three_files() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "@1763867279042.9.log", "a\nb\n");
        write(dir.path(), "@1763867279042.10.log", "c\nd\n");
        write(dir.path(), CURRENT, "e\nf");
        write(dir.path(), "notes.txt", "not of the log\n");
        dir
    }

    #[test]
    fn the_last_lines_come_from_as_many_files_as_needed() {
        let dir = three_files();
        for (n, expected) in [(0, ""), (1, "f"), (2, "ef"), (3, "def"), (4, "cdef"), (6, "abcdef"), (99, "abcdef")] {
            assert_eq!(read(dir.path(), Some(n), None).concat(), expected, "{n}");
        }
        assert_eq!(read(dir.path(), None, None).concat(), "abcdef");
    }

    #[test]
    fn lines_longer_than_a_block_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(200_000);
        write(dir.path(), CURRENT, &format!("first\n{long}\nlast\n"));
        assert_eq!(read(dir.path(), Some(2), None), [long, "last".to_owned()]);
    }

    #[test]
    fn an_empty_line_is_a_line() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), CURRENT, "a\n\n\n");
        assert_eq!(read(dir.path(), Some(2), None), ["", ""]);
        write(dir.path(), CURRENT, "\n");
        assert_eq!(read(dir.path(), Some(5), None), [""]);
    }

    #[test]
    fn a_log_that_is_not_there_yet_has_no_lines() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("none"), Some(5), None).is_empty());
        assert!(read(dir.path(), Some(5), None).is_empty());
        write(dir.path(), CURRENT, "");
        assert!(read(dir.path(), Some(5), None).is_empty());
    }

    #[test]
    fn since_starts_at_the_first_line_of_that_time_and_keeps_what_belongs_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let line = |s: u32| format!("2025-11-23T03:07:{s:02}.000Z line {s}\n\tat of {s}\n");
        write(dir.path(), "@1763867279042.1.log", &(line(1) + &line(2)));
        write(dir.path(), CURRENT, &(line(3) + &line(4)));
        let since = |t| read(dir.path(), None, Some(t)).len();
        assert_eq!(since("2025-11-23T03:07:00Z"), 8);
        assert_eq!(since("2025-11-23T03:07:02Z"), 6);
        assert_eq!(since("2025-11-23T03:07:03.500Z"), 2);
        assert_eq!(since("2025-11-23T04:00:00Z"), 0);
        assert_eq!(read(dir.path(), Some(1), Some("2025-11-23T03:07:02Z")), ["\tat of 4"]);
        assert_eq!(read(dir.path(), Some(99), Some("2025-11-23T03:07:04Z")).len(), 2);
    }

    #[test]
    fn since_goes_by_the_files_times_where_lines_have_none() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "@1763867279042.1.log", "old\n");
        let old = File::options().append(true).open(dir.path().join("@1763867279042.1.log")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_763_867_279)).unwrap();
        write(dir.path(), CURRENT, "new\n");
        assert_eq!(read(dir.path(), None, Some("2025-11-23T04:00:00Z")), ["new"]);
        assert_eq!(read(dir.path(), None, Some("2999-01-01T00:00:00Z")).len(), 0);
    }
}
