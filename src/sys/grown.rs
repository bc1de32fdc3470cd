//! What has come to a text file since the last look: a file that somebody else writes, and renames to another name when it is full.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Most that is read of one file at a look, bytes: of a file that has grown by more the end counts.
const MOST: u64 = 64 << 10;

/// How far a file was read.
#[derive(Clone, Debug, Default)]
pub struct Grown {
    /// Which file that was: its inode, and the end of its last whole line.
    read: Option<(u64, u64)>,
}

/// What has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Whole lines.
    pub text: String,
    /// Lines before them were passed over.
    pub more_before: bool,
}

impl Grown {
    /// Whether there was no look yet.
    pub fn is_new(&self) -> bool {
        self.read.is_none()
    }

    /// What has come since the last look; at the first one the end of the file. `older` is the name that a full file gets. An error: it is
    /// not there, or no plain file; no link is followed.
    pub fn look(&mut self, path: &Path, older: &Path) -> io::Result<News> {
        let file = open(path)?;
        let meta = file.metadata()?;
        let mut news = News::default();
        let from = match self.read {
            None => 0,
            Some((inode, at)) if inode == meta.ino() && at <= meta.len() => at,
            // It was cut off, or it is another one: the rest of the one before comes first.
            Some((inode, at)) => {
                if inode != meta.ino()
                    && let Ok(before) = open(older)
                    && before.metadata()?.ino() == inode
                {
                    lines(&before, at, before.metadata()?.len(), &mut news)?;
                }
                0
            }
        };
        let end = lines(&file, from, meta.len(), &mut news)?;
        self.read = Some((meta.ino(), end));
        Ok(news)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"));
    }
    Ok(file)
}

/// Adds the whole lines between `from` and `to`, and says where they end.
fn lines(file: &File, from: u64, to: u64, news: &mut News) -> io::Result<u64> {
    let start = from.max(to.saturating_sub(MOST));
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(start)).unwrap_or(0)];
    let mut got = 0;
    while got < bytes.len() {
        match file.read_at(&mut bytes[got..], start + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(got);
    let Some(last) = memchr::memrchr(b'\n', &bytes) else { return Ok(start) };
    let mut whole = &bytes[..=last];
    if start > from {
        news.more_before = true;
        // The first line has lost its beginning.
        let first = memchr::memchr(b'\n', whole).map_or(whole.len(), |at| at + 1);
        whole = &whole[first..];
    }
    news.text.push_str(&String::from_utf8_lossy(whole));
    Ok(start + last as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    #[test]
    fn each_line_is_told_once_when_it_is_whole_also_across_a_full_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, older) = (dir.path().join("gc.log"), dir.path().join("gc.log.0"));
        let mut grown = Grown::default();
        assert!(grown.look(&path, &older).is_err() && grown.is_new());
        let add = |text: &str| {
            let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        add("a\nhalf");
        let mut look = || grown.look(&path, &older).unwrap().text;
        assert_eq!(look(), "a\n");
        assert_eq!(look(), "");
        add(" of b\nc");
        assert_eq!(look(), "half of b\n");
        add("\nd\n");
        fs::rename(&path, &older).unwrap();
        add("e\n");
        assert_eq!(look(), "c\nd\ne\n");
        // the one that was full is the older one still
        assert_eq!(look(), "");
        fs::write(&path, "f\n").unwrap();
        add("g\n");
        assert_eq!(look(), "g\n", "cut off and as long as before: what was told is not told again");
        fs::write(&path, "").unwrap();
        assert_eq!(look(), "");
        add("h\n");
        assert_eq!(look(), "h\n");
    }

    #[test]
    fn of_a_long_file_the_end_is_read_and_no_half_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gc.log");
        let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        fs::write(&path, &text).unwrap();
        let news = Grown::default().look(&path, &dir.path().join("none")).unwrap();
        assert!(news.more_before && (news.text.len() as u64) < MOST);
        assert!(text.ends_with(&news.text) && news.text.starts_with("line "));
        let from = text.len() - news.text.len();
        assert_eq!(text.as_bytes()[from - 1], b'\n');
    }

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, "x\n").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for bad in [&link, &dir.path().to_owned()] {
            assert!(Grown::default().look(bad, &dir.path().join("none")).is_err(), "{}", bad.display());
        }
    }
}
