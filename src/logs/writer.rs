//! Appends a node's output to `current` and rotates at line ends; block-wise, no work per line.
//!
//! # Files
//! `current` is the file written to. A full one is renamed to `@<milliseconds since 1970, 13 digits>.<6 digits>.log` beside
//! it ([`rotated_name`]). Names sort by age: within one directory the pair (time, number) always grows, also when the
//! clock is set back. [`rotated_files`] lists them, oldest first.
//!
//! A line of at most `max_bytes` is never cut by a rotation; a longer one is cut where the file reaches twice that, so that
//! the log stays bounded. Nothing is held back: what was appended is in the file.

use crate::sys::clock;
use memchr::{memchr, memrchr};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Name of the file written to.
pub const CURRENT: &str = "current";

/// How a line begins that is ours and not the node's.
pub const MARK_PREFIX: &str = "[cdc-supervisor] ";

/// While the file cannot be rotated (rename refused) it may grow to so many times `max_bytes`; then output is refused.
const STUCK_FACTOR: u64 = 4;

/// The name of a rotated file.
pub fn rotated_name(unix_millis: u64, number: u32) -> String {
    format!("@{unix_millis:013}.{number:06}.log")
}

/// Reads a rotated file's name; none for any other name.
pub fn parse_rotated_name(name: &str) -> Option<(u64, u32)> {
    let (millis, number) = name.strip_prefix('@')?.strip_suffix(".log")?.split_once('.')?;
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(millis, 13) || !digits(number, 6) {
        return None;
    }
    Some((millis.parse().ok()?, number.parse().ok()?))
}

/// The rotated files of a log directory, oldest first; none when there is no such directory.
pub fn rotated_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(stamps(dir)?.into_iter().map(|(millis, number)| dir.join(rotated_name(millis, number))).collect())
}

fn stamps(dir: &Path) -> io::Result<Vec<(u64, u32)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found: Vec<_> = entries.flatten().filter_map(|e| parse_rotated_name(e.file_name().to_str()?)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The writer of one node's log. Its shim has one, or the daemon when the shim died: never both at once (the node's lock).
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    file: File,
    size: u64,
    at_line_start: bool,
    max_bytes: u64,
    keep: usize,
    last: (u64, u32),
    lost: Option<Gap>,
}

/// Output that could not be written.
#[derive(Debug)]
struct Gap {
    bytes: u64,
    why: String,
}

/// What to do next with a block.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// Write so many bytes.
    Write(usize),
    /// Start a new file first.
    Rotate,
}

/// Where a block is cut, given how much is in the file.
fn cut(size: u64, at_line_start: bool, max_bytes: u64, block: &[u8]) -> Cut {
    let bounded = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(block.len());
    let room = bounded(max_bytes.saturating_sub(size));
    if room == block.len() {
        return Cut::Write(room);
    }
    if let Some(end) = memrchr(b'\n', &block[..room]) {
        return Cut::Write(end + 1);
    }
    if at_line_start && size > 0 {
        return Cut::Rotate;
    }
    // the line that has begun in this file may end in it, up to twice the size
    match bounded(max_bytes.saturating_mul(2).saturating_sub(size)) {
        0 => Cut::Rotate,
        limit => Cut::Write(memchr(b'\n', &block[..limit]).map_or(limit, |end| end + 1)),
    }
}

fn open_current(dir: &Path) -> io::Result<File> {
    let open = || {
        // read: the last byte of an existing file is looked at
        OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(dir.join(CURRENT))
    };
    match open() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(dir)?;
            open()
        }
        other => other,
    }
}

impl LogWriter {
    /// Opens `dir/current` for appending, making the directory when it is missing. A last line that a crash left without
    /// its end stays as it is.
    pub fn open(dir: &Path, max_bytes: u64, keep: u32) -> io::Result<Self> {
        let file = open_current(dir)?;
        let last = stamps(dir)?.last().copied().unwrap_or_default();
        let mut writer = Self {
            dir: dir.to_owned(),
            file,
            size: 0,
            at_line_start: true,
            max_bytes: max_bytes.max(1),
            keep: usize::try_from(keep).unwrap_or(usize::MAX),
            last,
            lost: None,
        };
        writer.measure()?;
        Ok(writer)
    }

    fn measure(&mut self) -> io::Result<()> {
        self.size = self.file.metadata()?.len();
        self.at_line_start = match self.size.checked_sub(1) {
            None => true,
            Some(at) => {
                let mut byte = [0];
                self.file.read_exact_at(&mut byte, at)?;
                byte[0] == b'\n'
            }
        };
        Ok(())
    }

    /// Appends. After an error a part may have been written.
    pub fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.put(block).map_err(|(_, e)| e)
    }

    /// Appends, or drops what the disk does not take: never blocks the caller with a failure. The gap is counted and
    /// marked in the log as soon as it can be written again. Returns the error that began a gap, once per gap.
    pub fn append_or_drop(&mut self, block: &[u8]) -> Option<io::Error> {
        if let Some(gap) = &self.lost {
            let text = format!("{} bytes of output were lost here: {}", gap.bytes, gap.why);
            if self.mark(&text).is_err() {
                self.lose(block.len());
                return None;
            }
            self.lost = None;
        }
        let (written, error) = self.put(block).err()?;
        self.lost = Some(Gap { bytes: 0, why: error.to_string() });
        self.lose(block.len() - written);
        Some(error)
    }

    fn lose(&mut self, n: usize) {
        if let Some(gap) = &mut self.lost {
            gap.bytes += n as u64;
        }
    }

    /// Writes a line of our own, on a line of its own.
    pub fn mark(&mut self, text: &str) -> io::Result<()> {
        let start = if self.at_line_start { "" } else { "\n" };
        self.append(format!("{start}{MARK_PREFIX}{}\n", text.replace('\n', " ")).as_bytes())
    }

    /// Writes all, or says how much was written before the error.
    fn put(&mut self, block: &[u8]) -> Result<(), (usize, io::Error)> {
        self.follow_removal().map_err(|e| (0, e))?;
        let mut done = 0;
        while done < block.len() {
            let rest = &block[done..];
            let n = match cut(self.size, self.at_line_start, self.max_bytes, rest) {
                Cut::Write(n) => n,
                Cut::Rotate => match self.rotate() {
                    Ok(()) => continue,
                    Err(e) => {
                        let room = self.max_bytes.saturating_mul(STUCK_FACTOR).saturating_sub(self.size);
                        match usize::try_from(room).unwrap_or(usize::MAX).min(rest.len()) {
                            0 => return Err((done, e)),
                            n => n,
                        }
                    }
                },
            };
            self.write(&rest[..n], &mut done).map_err(|e| (done, e))?;
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8], done: &mut usize) -> io::Result<()> {
        while let [_, ..] = bytes {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.size += n as u64;
                    self.at_line_start = bytes[n - 1] == b'\n';
                    *done += n;
                    bytes = &bytes[n..];
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Somebody removed `current` (or the directory): writing on into the removed file would lose everything.
    fn follow_removal(&mut self) -> io::Result<()> {
        if self.file.metadata()?.nlink() == 0 {
            self.file = open_current(&self.dir)?;
            self.measure()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let now = u64::try_from(clock::wall().0).unwrap_or(0).min(9_999_999_999_999);
        let stamp = if now > self.last.0 { (now, 0) } else { (self.last.0, self.last.1 + 1) };
        // 6 digits are used up: only with a clock far in the past
        let stamp = if stamp.1 > 999_999 { (stamp.0 + 1, 0) } else { stamp };
        match fs::rename(self.dir.join(CURRENT), self.dir.join(rotated_name(stamp.0, stamp.1))) {
            Ok(()) => self.last = stamp,
            // already renamed by an attempt that could not open a new file, or removed
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        self.file = open_current(&self.dir)?;
        self.measure()?;
        let old = rotated_files(&self.dir)?;
        for path in &old[..old.len().saturating_sub(self.keep)] {
            // one that cannot be removed is tried again at the next rotation
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
