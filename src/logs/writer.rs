//! Appends a node's output to `current` and rotates at line ends; block-wise, no work per line.
//!
//! A line of at most `max_bytes` is never cut by a rotation; a longer one is cut where the file reaches twice that, so that
//! the log stays bounded. Nothing is held back: what was appended is in the file. `keep` counts rotated files in both forms,
//! plain and compressed; the writer itself never compresses and needs nobody to keep the bound.
//!
//! A disk that is full costs the oldest rotated files first; with none left, output is dropped and counted, never waited
//! with, and the gap is marked in the log once it can be written again.

use super::names::{self, Rotated, Stamp};
pub use super::names::{CURRENT, rotated_files};
use crate::{
    base::{Moment, Timestamp, units::grouped},
    sys::{
        clock,
        failpoint::{fail_io, fail_point},
    },
};
use memchr::{memchr, memrchr};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// How a line begins that is ours and not the node's.
pub const MARK_PREFIX: &str = "[cdc-supervisor] ";

/// A new file before it takes the place of `current`; not of the log, and overwritten by the next rotation.
const NEXT: &str = ".current.next";

/// While the file cannot be rotated (rename refused) it may grow to so many times `max_bytes`; then output is refused.
const STUCK_FACTOR: u64 = 4;

/// Gaps that follow each other closer than this are reported as one: a disk that has room for a line now and then would
/// flood the event log otherwise. In the log each of them is marked.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// Something the user must know of.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk was full; so many of the oldest rotated files were removed to make room.
    MadeRoom(u32),
    /// Output is being dropped, for this reason.
    Dropping(String),
    /// A gap is over; the words of its mark.
    GapOver(String),
}

/// The writer of one node's log. Its shim has one, or the daemon when the shim died: never both at once (the node's lock).
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    file: File,
    /// Bytes in `file`, and bytes of the log before it.
    size: u64,
    before: u64,
    at_line_start: bool,
    max_bytes: u64,
    keep: usize,
    /// No fewer rotated files than there are: others only remove some.
    rotated: usize,
    last: Stamp,
    lost: Option<Gap>,
    trouble: Vec<Trouble>,
    reported_at: Option<Moment>,
}

/// Output that could not be written.
#[derive(Debug)]
struct Gap {
    bytes: u64,
    since: Timestamp,
    why: String,
    /// The last byte dropped ended a line.
    at_line_end: bool,
    reported: bool,
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

/// Opens a regular file for appending, making it when it is missing; never through a link, and without waiting for the other
/// end of a pipe.
fn open_file(path: &Path, truncate: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        // read: the last byte of an existing file is looked at
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if truncate {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Opens `current`. What lies there and is no file (a directory, a link, a pipe) is put aside under another name.
fn open_current(dir: &Path) -> io::Result<File> {
    let path = dir.join(CURRENT);
    for _ in 0..2 {
        match fs::symlink_metadata(&path) {
            Ok(meta) if !meta.is_file() => put_aside(dir)?,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => fs::create_dir_all(dir)?,
            Err(e) => return Err(e),
        }
        match open_file(&path, false) {
            // replaced between the look and the opening
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) || e.kind() == ErrorKind::IsADirectory => {}
            other => return other,
        }
    }
    open_file(&path, false)
}

/// Renames whatever is called `current` and is not ours. It is somebody's, so it is not removed.
fn put_aside(dir: &Path) -> io::Result<()> {
    let now = clock::wall().0;
    let free = |path: &PathBuf| fs::symlink_metadata(path).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    let aside = (0..).map(|n| dir.join(format!("{CURRENT}.not-ours.{}", now + n))).find(free);
    aside.map_or(Ok(()), |aside| fs::rename(dir.join(CURRENT), aside))
}

fn no_space(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The bare words of an error: `no space left on device`.
fn words(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

impl LogWriter {
    /// Opens `dir/current` for appending, making the directory when it is missing. A last line that a crash left without
    /// its end stays as it is.
    pub fn open(dir: &Path, max_bytes: u64, keep: u32) -> io::Result<Self> {
        let file = open_current(dir)?;
        let rotated = names::rotated(dir)?;
        let last = rotated.last().copied();
        let mut writer = Self {
            dir: dir.to_owned(),
            file,
            size: 0,
            before: last.and_then(|file| file.end).unwrap_or(0),
            at_line_start: true,
            max_bytes: max_bytes.max(1),
            keep: usize::try_from(keep).unwrap_or(usize::MAX),
            rotated: rotated.len(),
            last: last.map(|file| file.stamp).unwrap_or_default(),
            lost: None,
            trouble: Vec::new(),
            reported_at: None,
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

    /// Appends, or drops what the disk does not take: never holds the caller up with a failure. The gap is counted and
    /// marked in the log as soon as it can be written again. What the user must know of is in [`LogWriter::take_trouble`].
    pub fn append_or_drop(&mut self, mut block: &[u8]) {
        if let Some(gap) = &mut self.lost {
            // The rest of a line whose beginning was dropped goes with it.
            let rest = if gap.at_line_end { 0 } else { memchr(b'\n', block).map_or(0, |end| end + 1) };
            gap.bytes += rest as u64;
            // It may be all that came: what comes next is whole.
            gap.at_line_end |= rest > 0;
            if !self.end_gap() {
                return self.lose(&block[rest..]);
            }
            block = &block[rest..];
        }
        let Err((written, error)) = self.put(block) else { return };
        let now = clock::now();
        let reported = self.reported_at.is_none_or(|at| now.since(at) >= REPORT_PAUSE);
        let why = words(&error);
        if reported {
            self.reported_at = Some(now);
            self.trouble.push(Trouble::Dropping(why.clone()));
        }
        self.lost = Some(Gap { bytes: 0, since: clock::wall(), why, at_line_end: true, reported });
        self.lose(&block[written..]);
    }

    /// Marks the gap that is open, if there is one and it can be written; whether none is open any more. For the end of a
    /// node's output, when no further block would try.
    pub fn end_gap(&mut self) -> bool {
        let Some(gap) = &self.lost else { return true };
        let reported = gap.reported;
        let text = format!(
            "{} bytes of output lost between {} and {}: {}",
            grouped(gap.bytes),
            gap.since,
            clock::wall(),
            gap.why
        );
        let place = (self.before, self.size, self.at_line_start);
        if self.mark(&text).is_err() {
            // Half a mark would stay for every attempt.
            if self.before == place.0 && self.file.set_len(place.1).is_ok() {
                (_, self.size, self.at_line_start) = place;
            }
            return false;
        }
        self.lost = None;
        if reported {
            self.trouble.push(Trouble::GapOver(text));
        }
        true
    }

    fn lose(&mut self, bytes: &[u8]) {
        if let (Some(gap), Some(last)) = (&mut self.lost, bytes.last()) {
            gap.bytes += bytes.len() as u64;
            gap.at_line_end = *last == b'\n';
        }
    }

    /// What happened since the last call. Empty, and without cost, as long as all is well.
    pub fn take_trouble(&mut self) -> Vec<Trouble> {
        std::mem::take(&mut self.trouble)
    }

    /// Writes a line of our own, on a line of its own.
    pub fn mark(&mut self, text: &str) -> io::Result<()> {
        let start = if self.at_line_start { "" } else { "\n" };
        self.append(format!("{start}{MARK_PREFIX}{}\n", text.replace('\n', " ")).as_bytes())
    }

    /// Writes all, or says how much was written before the error.
    fn put(&mut self, block: &[u8]) -> Result<(), (usize, io::Error)> {
        self.look_at_file().map_err(|e| (0, e))?;
        let mut done = 0;
        while done < block.len() {
            let rest = &block[done..];
            let n = match cut(self.size, self.at_line_start, self.max_bytes, rest) {
                Cut::Write(n) => n,
                Cut::Rotate => match self.rotate() {
                    Ok(()) => continue,
                    Err(e) if no_space(&e) && self.make_room() => continue,
                    Err(e) => {
                        let room = self.max_bytes.saturating_mul(STUCK_FACTOR).saturating_sub(self.size);
                        match usize::try_from(room).unwrap_or(usize::MAX).min(rest.len()) {
                            0 => return Err((done, e)),
                            n => n,
                        }
                    }
                },
            };
            match self.write(&rest[..n], &mut done) {
                Err(e) if no_space(&e) && self.make_room() => {}
                other => other.map_err(|e| (done, e))?,
            }
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8], done: &mut usize) -> io::Result<()> {
        while let [_, ..] = bytes {
            match fail_io!("log.append").and_then(|()| self.file.write(bytes)) {
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

    /// Somebody removed `current` (or the directory): writing on into the removed file would lose everything. Somebody cut
    /// it: the next rotation goes by what is there.
    fn look_at_file(&mut self) -> io::Result<()> {
        let meta = self.file.metadata()?;
        if meta.nlink() == 0 {
            self.file = open_current(&self.dir)?;
            self.before += self.size;
            return self.measure();
        }
        let Some(gone) = self.size.checked_sub(meta.len()).filter(|gone| *gone > 0) else { return Ok(()) };
        self.before += gone;
        self.measure()?;
        self.mark(&format!("{} bytes of this file were removed by somebody", grouped(gone)))
    }

    /// Removes the oldest rotated file; whether there was one.
    fn make_room(&mut self) -> bool {
        let Ok(files) = names::rotated(&self.dir) else { return false };
        let Some(oldest) = files.first() else { return false };
        if fs::remove_file(self.dir.join(oldest.name())).is_err() {
            return false;
        }
        match self.trouble.last_mut() {
            Some(Trouble::MadeRoom(files)) => *files = files.saturating_add(1),
            _ => self.trouble.push(Trouble::MadeRoom(1)),
        }
        true
    }

    fn rotate(&mut self) -> io::Result<()> {
        let now = u64::try_from(clock::wall().0).unwrap_or(0).min(9_999_999_999_999);
        let Stamp { millis, number } = self.last;
        // 6 digits are used up: only with a clock far in the past
        let stamp = match number {
            _ if now > millis => Stamp { millis: now, number: 0 },
            999_999.. => Stamp { millis: millis + 1, number: 0 },
            _ => Stamp { millis, number: number + 1 },
        };
        let (current, next) = (self.dir.join(CURRENT), self.dir.join(NEXT));
        // The new file first: without one, output goes on into the old one under its old name.
        let file = open_file(&next, true)?;
        fail_point!("log.next-made");
        let moved = match fs::symlink_metadata(&current) {
            Ok(meta) if self.is_ours(&meta)? => {
                let end = Some(self.before + self.size);
                let name = Rotated { stamp, end, packed: false }.name();
                fs::rename(&current, self.dir.join(name)).map(|()| {
                    self.last = stamp;
                    self.rotated += 1;
                })
            }
            Ok(_) => put_aside(&self.dir),
            // renamed by an attempt that got no further, or moved away by somebody
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        fail_point!("log.moved");
        if let Err(e) = moved.and_then(|()| fs::rename(&next, &current)) {
            let _ = fs::remove_file(&next);
            return Err(e);
        }
        fail_point!("log.rotated");
        self.file = file;
        self.before += self.size;
        self.size = 0;
        self.at_line_start = true;
        self.thin_out();
        Ok(())
    }

    fn is_ours(&self, meta: &fs::Metadata) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        Ok((ours.dev(), ours.ino()) == (meta.dev(), meta.ino()))
    }

    /// Removes all but the newest `keep` rotated files, in both their forms.
    fn thin_out(&mut self) {
        if self.rotated <= self.keep {
            return;
        }
        // one that cannot be listed or removed is tried again at the next rotation
        let Ok(files) = names::rotated(&self.dir) else { return };
        let mut stamps: Vec<Stamp> = files.iter().map(|file| file.stamp).collect();
        stamps.dedup();
        let surplus = stamps.len().saturating_sub(self.keep);
        for file in files.iter().take_while(|file| stamps[..surplus].contains(&file.stamp)) {
            let _ = fs::remove_file(self.dir.join(file.name()));
        }
        self.rotated = stamps.len() - surplus;
    }
}

#[cfg(test)]
mod tests;
