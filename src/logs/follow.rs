//! Reads one node's log on and on across rotation, compression and removal: every byte once, in order, or a word about what
//! is missing.

use super::{
    file::{self, LogFile, Which},
    names::{Rotated, Stamp},
    reader::{self, Place, Start},
};
use crate::{base::Timestamp, sys::error::SysError};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// How much is read at once, bytes.
const BLOCK: usize = 64 << 10;

/// Longest part of a line kept together, bytes. Of a longer line the parts come one by one: a log without line ends must not
/// fill the memory.
pub const LINE_MAX: usize = 1 << 20;

/// How often the directory is looked at when the log is rotated under the eyes.
const LOOKS_MAX: usize = 1_000;

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line, or a part of one that is very long.
    Text {
        /// Without the line end.
        bytes: &'a [u8],
        /// It begins a line.
        first: bool,
        /// A line end followed.
        ended: bool,
    },
    /// So many bytes were removed before they could be read.
    Missed(u64),
    /// The rest of a file cannot be read, for this reason.
    Broken(String),
}

/// Reads a log from a start on. It holds the file it reads open, so that file is read to its end whatever becomes of its
/// name.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    start: Start,
    place: Option<Place>,
    block: Vec<u8>,
    unread: Range<usize>,
    /// A part of a line that lies in several blocks, and whether it was handed over.
    line: Vec<u8>,
    handed: bool,
    /// Parts of the line that is read were handed over already.
    in_line: bool,
    /// The file has a successor, so what is not read of it by now is all there will be.
    settled: bool,
    /// Where in the log the file should begin, when something may have been removed before it.
    expected: Option<u64>,
    /// Bytes that were removed before the file that is read.
    missed: u64,
    /// Why the rest of the file before the one that is read was not.
    broken: Option<String>,
}

/// The file behind another, and whether nothing can lie between.
struct Next {
    place: Place,
    adjacent: bool,
}

impl Follower {
    /// A reader of the log in `dir`, which need not exist yet; or of a single file that nobody rotates.
    pub fn new(dir: &Path, start: Start) -> Self {
        Self {
            dir: dir.to_owned(),
            start,
            place: None,
            block: vec![0; BLOCK],
            unread: 0..0,
            line: Vec::new(),
            handed: false,
            in_line: false,
            settled: false,
            expected: None,
            missed: 0,
            broken: None,
        }
    }

    /// The next piece; none when nothing more is there yet.
    #[allow(clippy::should_implement_trait)] // an iterator would end at "none yet", and pieces are lent
    pub fn next(&mut self) -> Result<Option<Piece<'_>>, SysError> {
        if self.handed {
            self.line.clear();
            self.handed = false;
        }
        loop {
            if !self.unread.is_empty() {
                let (from, to) = (self.unread.start, self.unread.end);
                let end = memchr::memchr(b'\n', &self.block[from..to]).map(|end| from + end);
                self.unread.start = end.map_or(to, |end| end + 1);
                if end.is_none() || !self.line.is_empty() {
                    self.line.extend_from_slice(&self.block[from..end.unwrap_or(to)]);
                }
                if let Some(end) = end {
                    let first = !std::mem::replace(&mut self.in_line, false);
                    if self.line.is_empty() {
                        return Ok(Some(Piece::Text { bytes: &self.block[from..end], first, ended: true }));
                    }
                    self.handed = true;
                    return Ok(Some(Piece::Text { bytes: &self.line, first, ended: true }));
                }
                if self.line.len() >= LINE_MAX {
                    return Ok(Some(self.part()));
                }
                continue;
            }
            if let Some(why) = self.broken.take() {
                return Ok(Some(Piece::Broken(why)));
            }
            if self.missed > 0 {
                return Ok(Some(Piece::Missed(std::mem::take(&mut self.missed))));
            }
            if self.place.is_none() {
                self.place = reader::find(&self.dir, self.start)?;
                // A log that begins later is read from its beginning: all of it is new.
                self.start = Start { last: None, since: None };
            }
            let within_a_line = self.is_within_a_line();
            let Some(place) = &mut self.place else { return Ok(None) };
            // Somebody emptied the file in place: what it holds now is new, and a line that had begun goes no further.
            if place.file.plain().is_some() && place.file.length()? < place.file.offset {
                place.file.offset = 0;
                if within_a_line {
                    return Ok(Some(self.end_line()));
                }
            }
            match place.file.read(&mut self.block) {
                Ok(0) => {}
                Ok(got) => {
                    self.unread = 0..got;
                    continue;
                }
                // A damaged file does not keep the rest of the log from being read.
                Err(e) if place.file.plain().is_none() => {
                    self.broken = Some(format!("{e}: {}", e.source));
                    if !self.step()? {
                        self.place = None;
                    }
                    if within_a_line {
                        return Ok(Some(self.end_line()));
                    }
                    continue;
                }
                Err(e) => return Err(e),
            }
            let which = place.file.which()?;
            if which == Which::Current {
                return Ok(None);
            }
            if !self.settled {
                // What came between the read above and the rotation is there now.
                self.settled = which != Which::Stray || self.successor()?.is_some();
                if self.settled {
                    continue;
                }
                return Ok(None);
            }
            if !self.step()? {
                return Ok(None);
            }
            if self.missed > 0 && self.is_within_a_line() {
                return Ok(Some(self.end_line()));
            }
        }
    }

    /// Goes on to the file behind the one that is read; false when there is none yet.
    fn step(&mut self) -> Result<bool, SysError> {
        let Some(next) = self.successor()? else { return Ok(false) };
        let Some(own) = &self.place else { return Ok(false) };
        let own_end = match own.file.which()? {
            Which::Rotated(file) => file.end,
            Which::Current | Which::Stray => None,
        };
        // Between the predecessor and this file: only now, rotated, it says where it began.
        if let (Some(expected), Some(end)) = (self.expected.take(), own_end) {
            // one too damaged to tell its length is told of when it is read
            let begin = end.saturating_sub(own.file.length_or(end.saturating_sub(expected))?);
            self.missed += begin.saturating_sub(expected);
        }
        match (own_end, next.place.file.which()?) {
            (Some(own_end), Which::Rotated(Rotated { end: Some(end), packed, .. })) => {
                let length = next.place.file.length_or(end.saturating_sub(own_end))?;
                let missed = end.saturating_sub(length).saturating_sub(own_end);
                // the length of a compressed file is known modulo 2^32
                self.missed += if packed { missed & u64::from(u32::MAX) } else { missed };
            }
            // Right behind it, as the directory shows; or it will be seen when that one is rotated.
            (own_end, _) => self.expected = own_end.filter(|_| !next.adjacent),
        }
        self.place = Some(next.place);
        self.settled = false;
        Ok(true)
    }

    /// The file behind the one that is read; none when there is none yet.
    fn successor(&self) -> Result<Option<Next>, SysError> {
        let Some(own) = &self.place else { return Ok(None) };
        let behind: Option<Stamp> = match own.file.which()? {
            Which::Rotated(file) => Some(file.stamp),
            Which::Current => return Ok(None),
            Which::Stray => own.older.map(|file| file.stamp),
        };
        for _ in 0..LOOKS_MAX {
            // Opened before the listing: if it is rotated meanwhile, it is in the listing or says so itself.
            let current = LogFile::current(&self.dir)?;
            let files = file::list(&self.dir)?;
            let at = files.partition_point(|file| Some(file.stamp) <= behind);
            let older = at.checked_sub(1).map(|at| files[at]);
            let adjacent = older.map(|file| file.stamp) == behind;
            if let Some(next) = files.get(at) {
                if let Some(file) = LogFile::rotated(&self.dir, *next)? {
                    return Ok(Some(Next { place: Place { file, older }, adjacent }));
                }
                // removed since the listing
                continue;
            }
            match current {
                Some(file) if file.which()? == Which::Current => {
                    return Ok(Some(Next { place: Place { file, older }, adjacent }));
                }
                // rotated since
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The beginning of a line whose end is not there yet, as far as it was not handed over. It counts as read.
    pub fn partial(&mut self) -> Option<Vec<u8>> {
        if self.handed {
            self.line.clear();
            self.handed = false;
        }
        self.in_line |= !self.line.is_empty();
        (!self.line.is_empty()).then(|| std::mem::take(&mut self.line))
    }

    /// Whether [`Follower::partial`] would give something.
    pub fn holds_back(&self) -> bool {
        !self.handed && !self.line.is_empty()
    }

    /// Whether the beginning of the line that is read was handed over already.
    pub fn continues(&self) -> bool {
        self.in_line
    }

    /// When the file that is read was written last: the time of lines that say none.
    pub fn changed(&self) -> Option<Timestamp> {
        self.place.as_ref().and_then(|place| place.file.changed().ok()).map(Timestamp)
    }

    fn is_within_a_line(&self) -> bool {
        self.in_line || !self.line.is_empty()
    }

    /// A part of a line that goes on.
    fn part(&mut self) -> Piece<'_> {
        let first = !std::mem::replace(&mut self.in_line, true);
        self.handed = true;
        Piece::Text { bytes: &self.line, first, ended: false }
    }

    /// The end of a line whose rest is gone.
    fn end_line(&mut self) -> Piece<'_> {
        let first = !std::mem::replace(&mut self.in_line, false);
        self.handed = true;
        Piece::Text { bytes: &self.line, first, ended: true }
    }
}

#[cfg(test)]
mod tests;
