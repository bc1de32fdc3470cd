//! Finds the place in one node's log where reading starts: at a number of lines from its end, or at a time.
//!
//! A compressed file that is damaged holds nobody up here: it counts as one without lines, and who reads on says what is wrong with it.

use super::{
    file::{self, LogFile},
    names::Rotated,
    stamp::line_time,
};
use crate::{base::Timestamp, sys::error::SysError};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// How much is read at once when looking for line ends, bytes.
const BLOCK: u64 = 64 << 10;

/// Longest beginning of a line in which a time is looked for, bytes.
const HEAD: usize = 64;

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// At most this many of the last lines; none: all.
    pub last: Option<usize>,
    /// Only what was written at this time or later.
    pub since: Option<Timestamp>,
}

/// A place in the log: an open file at an offset, and the newest rotated file that is older than it.
#[derive(Debug)]
pub(super) struct Place {
    pub file: LogFile,
    pub older: Option<Rotated>,
}

/// The log as it was when it was listed. Files are opened as they are needed: what was rotated does not change any more.
struct Shelf<'a> {
    dir: &'a Path,
    rotated: Vec<Rotated>,
    /// Opened before the listing, so that it is in the listing if it was rotated meanwhile, and nothing lies between.
    current: Option<LogFile>,
    /// Number of files, the current one last.
    files: usize,
}

impl Shelf<'_> {
    fn take(dir: &Path) -> Result<Shelf<'_>, SysError> {
        let current = LogFile::current(dir)?;
        let mut rotated = file::list(dir)?;
        if let Some(file::Which::Rotated(own)) = current.as_ref().map(LogFile::which).transpose()? {
            rotated.retain(|file| file.stamp < own.stamp);
        }
        let files = rotated.len() + usize::from(current.is_some());
        Ok(Shelf { dir, rotated, current, files })
    }

    fn open(&mut self, at: usize) -> Result<Option<Place>, SysError> {
        let older = at.checked_sub(1).and_then(|before| self.rotated.get(before)).copied();
        let file = match self.rotated.get(at) {
            Some(rotated) => LogFile::rotated(self.dir, *rotated)?,
            None => self.current.take(),
        };
        Ok(file.map(|file| Place { file, older }))
    }
}

/// Finds where to start; none when there is no log yet.
pub(super) fn find(dir: &Path, start: Start) -> Result<Option<Place>, SysError> {
    let since = match start.since {
        Some(since) => first_since(&mut Shelf::take(dir)?, since)?,
        None => None,
    };
    let lines = match start.last {
        Some(count) => last_lines(&mut Shelf::take(dir)?, count)?,
        None => None,
    };
    match (since, lines) {
        (None, None) => {
            let mut shelf = Shelf::take(dir)?;
            for at in 0..shelf.files {
                if let Some(place) = shelf.open(at)? {
                    return Ok(Some(place));
                }
            }
            Ok(None)
        }
        (Some(a), Some(b)) => later(a, b).map(Some),
        (one, other) => Ok(one.or(other)),
    }
}

fn later(a: Place, b: Place) -> Result<Place, SysError> {
    let key = |place: &Place| -> Result<_, SysError> {
        Ok(match place.file.which()? {
            file::Which::Rotated(file) => (false, Some(file.stamp), place.file.offset),
            file::Which::Current | file::Which::Stray => (true, None, place.file.offset),
        })
    };
    Ok(if key(&a)? > key(&b)? { a } else { b })
}

/// The place of the `count`-th last line.
fn last_lines(shelf: &mut Shelf, count: usize) -> Result<Option<Place>, SysError> {
    let mut missing = count;
    // Whether anything follows the file that is looked at: then the end of its last line begins a line.
    let mut followed = false;
    let mut oldest = None;
    for at in (0..shelf.files).rev() {
        // Removed since the listing: everything older is gone, too.
        let Some(mut place) = shelf.open(at)? else { break };
        let length = place.file.length_or(0)?;
        let start = if missing == 0 {
            From::At(length)
        } else if let Some(file) = place.file.plain() {
            backwards(file, length, missing, followed).map_err(|e| place.file.failed(e))?
        } else {
            match packed_start(shelf.dir, shelf.rotated[at], missing, followed) {
                Ok(start) => start,
                Err(_) => {
                    oldest.get_or_insert(place);
                    continue;
                }
            }
        };
        match start {
            From::At(offset) => {
                place.file.go_to(offset)?;
                return Ok(Some(place));
            }
            From::Before { left, empty } => {
                missing = left;
                followed |= !empty;
                oldest = Some(place);
            }
        }
    }
    // All of it: from the beginning of the oldest file that is there.
    Ok(oldest)
}

/// Where a line begins that was looked for.
enum From {
    At(u64),
    /// In an older file: so many lines are still missing.
    Before {
        left: usize,
        empty: bool,
    },
}

/// Goes back `missing` line beginnings (behind line ends) from `length`. The beginning of the file itself is none: whether a
/// line begins there is known by the end of the file before it.
fn backwards(file: &File, length: u64, mut missing: usize, followed: bool) -> io::Result<From> {
    let mut block_end = length;
    let mut buffer = Vec::new();
    while block_end > 0 {
        let block_start = block_end.saturating_sub(BLOCK);
        buffer.resize(usize::try_from(block_end - block_start).unwrap_or(0), 0);
        file.read_exact_at(&mut buffer, block_start)?;
        for at in memchr::memrchr_iter(b'\n', &buffer) {
            let after = block_start + at as u64 + 1;
            if after == length && !followed {
                continue;
            }
            missing -= 1;
            if missing == 0 {
                return Ok(From::At(after));
            }
        }
        block_end = block_start;
    }
    Ok(From::Before { left: missing, empty: length == 0 })
}

/// The same for a compressed file, which is read forward: once to count, once to find. Needs no memory per line.
fn packed_start(dir: &Path, name: Rotated, missing: usize, followed: bool) -> Result<From, SysError> {
    let (mut starts, mut last) = (0usize, 0);
    let length = line_starts(dir, name, &mut |at| {
        starts += 1;
        last = at;
        true
    })?;
    // The last line end begins no line when nothing follows.
    let counted = starts - usize::from(starts > 0 && last == length && !followed);
    let Some(skip) = counted.checked_sub(missing) else {
        return Ok(From::Before { left: missing - counted, empty: length == 0 });
    };
    let (mut seen, mut found) = (0, 0);
    line_starts(dir, name, &mut |at| {
        found = at;
        seen += 1;
        seen <= skip
    })?;
    Ok(From::At(found))
}

/// Calls `each` with the offset behind every line end until it says no; returns how far it came, the length if to the end.
fn line_starts(dir: &Path, name: Rotated, each: &mut dyn FnMut(u64) -> bool) -> Result<u64, SysError> {
    let Some(mut file) = LogFile::rotated(dir, name)? else { return Ok(0) };
    let mut buffer = vec![0; usize::try_from(BLOCK).unwrap_or(1 << 16)];
    loop {
        let base = file.offset;
        let got = file.read(&mut buffer)?;
        if got == 0 {
            return Ok(base);
        }
        for at in memchr::memchr_iter(b'\n', &buffer[..got]) {
            if !each(base + at as u64 + 1) {
                return Ok(base + at as u64 + 1);
            }
        }
    }
}

/// The place of the first line written at `since` or later: by the times of the lines where lines have times, by the
/// files' times of last change where they have none. None: all of it.
fn first_since(shelf: &mut Shelf, since: Timestamp) -> Result<Option<Place>, SysError> {
    let mut candidate = None;
    let mut any_time = false;
    let mut end = None;
    for at in 0..shelf.files {
        let Some(mut place) = shelf.open(at)? else { continue };
        let length = place.file.length_or(0)?;
        if place.file.changed()? >= since.0 {
            let first = match first_line_since(&mut place.file, since, &mut any_time) {
                // What cannot be read may be of that time: reading begins there, and says so.
                Err(_) if place.file.plain().is_none() => Some(place.file.offset),
                found => found?,
            };
            if let Some(offset) = first {
                // a compressed file cannot be read backward
                let place = match shelf.rotated.get(at) {
                    Some(name) => LogFile::rotated(shelf.dir, *name)?.map(|file| Place { file, ..place }),
                    None => Some(place),
                };
                let Some(mut place) = place else { continue };
                let there = place.file.go_to(offset);
                if place.file.plain().is_some() {
                    there?;
                }
                return Ok(Some(place));
            }
            candidate.get_or_insert((at, place.older));
        }
        if at + 1 == shelf.files && place.file.go_to(length).is_ok() {
            end = Some(place);
        }
    }
    // Lines have times, and all are older: nothing of what is there.
    let Some((at, older)) = candidate.filter(|_| !any_time) else { return Ok(end) };
    match shelf.rotated.get(at) {
        Some(name) => Ok(LogFile::rotated(shelf.dir, *name)?.map(|file| Place { file, older })),
        None => {
            if let Some(place) = &mut end {
                place.file.go_to(0)?;
            }
            Ok(end)
        }
    }
}

/// The offset of the first line of this time or later. Only the beginnings of lines are kept.
fn first_line_since(file: &mut LogFile, since: Timestamp, any_time: &mut bool) -> Result<Option<u64>, SysError> {
    let mut buffer = vec![0; usize::try_from(BLOCK).unwrap_or(1 << 16)];
    let mut head: Vec<u8> = Vec::with_capacity(HEAD);
    let mut line_at = file.offset;
    loop {
        let base = file.offset;
        let got = file.read(&mut buffer)?;
        if got == 0 {
            return Ok(reached(&head, since, any_time).then_some(line_at));
        }
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &buffer[..got]) {
            keep_head(&mut head, &buffer[from..end]);
            if reached(&head, since, any_time) {
                return Ok(Some(line_at));
            }
            head.clear();
            from = end + 1;
            line_at = base + from as u64;
        }
        keep_head(&mut head, &buffer[from..got]);
    }
}

fn keep_head(head: &mut Vec<u8>, bytes: &[u8]) {
    let room = HEAD.saturating_sub(head.len()).min(bytes.len());
    head.extend_from_slice(&bytes[..room]);
}

fn reached(head: &[u8], since: Timestamp, any_time: &mut bool) -> bool {
    let time = line_time(head);
    *any_time |= time.is_some();
    time.is_some_and(|at| at >= since)
}

#[cfg(test)]
mod tests;
