//! The end of what one run of a node has written, also when the log was rotated meanwhile.

use super::{entries::looks_continued, names, stamp, writer::CURRENT};
use crate::base::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

/// How much of a log's end is read to see why its node ended, bytes.
pub const TAIL: u64 = 64 << 10;

/// A place in a node's log: the file that was `current` and how long it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMark {
    /// Inode of `current`; 0: not known; [`LogMark::NONE_YET`]: there was no file.
    pub inode: u64,
    /// Its length then, bytes.
    pub length: u64,
}

impl LogMark {
    /// No file has this number: the log began after the mark, and all of it is of the run.
    pub const NONE_YET: u64 = u64::MAX;

    /// Where a log stands now.
    pub fn now(dir: &Path) -> Self {
        match std::fs::metadata(dir.join(CURRENT)) {
            Ok(meta) => Self { inode: meta.ino(), length: meta.len() },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self { inode: Self::NONE_YET, length: 0 },
            Err(_) => Self::default(),
        }
    }
}

/// The end of the log in `dir`, as far as it was written since `start`, at most [`TAIL`] bytes; empty when it cannot be
/// read. More in [`since_up_to`].
pub fn since(dir: &Path, start: LogMark, started_at: Timestamp) -> String {
    since_up_to(dir, start, started_at, TAIL)
}

/// The same, of so many bytes. Where the start is not known, files rotated before `started_at` are not of this run, nor is what carries an earlier time.
/// Compressed files are not opened: the newest rotated one never is.
pub fn since_up_to(dir: &Path, start: LogMark, started_at: Timestamp, bytes: u64) -> String {
    let mut seen = Vec::new();
    let mut left = bytes;
    // A part that cannot be read is missing; without any an end is judged by its status alone.
    let mut at_start = read_part(&dir.join(CURRENT), start, &mut left, &mut seen).unwrap_or(false);
    let rotated = names::rotated(dir).unwrap_or_default();
    for file in rotated.iter().rev() {
        let is_marked = start.inode != 0 && start.inode != LogMark::NONE_YET;
        let of_this_run = is_marked || i64::try_from(file.stamp.millis).is_ok_and(|at| at >= started_at.0);
        if at_start || left == 0 || file.packed || !of_this_run {
            break;
        }
        at_start = read_part(&dir.join(file.name()), start, &mut left, &mut seen).unwrap_or(true);
    }
    let bytes: Vec<u8> = seen.into_iter().rev().flat_map(|(_, bytes)| bytes).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if start.inode == 0 { newer(&text, started_at).to_owned() } else { text }
}

/// The part of `text` that carries no time before `started_at`; a line without a time belongs to the one before it. Many programs
/// write whole seconds: a line of the second in which the run began is of the run.
fn newer(text: &str, started_at: Timestamp) -> &str {
    let from = started_at.0 - started_at.0.rem_euclid(1_000);
    let timed = lines(text).filter_map(|(begin, line)| Some((begin, stamp::line_time(line.as_bytes())?)));
    let mut kept = Some(0);
    for (begin, at) in timed {
        kept = if at.0 < from { None } else { kept.or(Some(begin)) };
    }
    kept.map_or("", |begin| &text[begin..])
}

/// Lines with where they begin.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |next, line| {
        let begin = *next;
        *next += line.len();
        Some((begin, line))
    })
}

/// When the log in `dir` was written to last; none: nobody can tell.
pub fn written_at(dir: &Path) -> Option<Timestamp> {
    let meta = std::fs::metadata(dir.join(CURRENT)).ok()?;
    Some(Timestamp(meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000))
}

/// How long before the end of a run that has served its lines are about that end. What goes wrong in a node that serves ends it
/// within seconds (a broker whose log directory fails, mysqld that cannot write its binlog); what it outlived is another matter.
pub const ABOUT_THE_END: Duration = Duration::from_secs(60);

/// Of lines that carry no time, how many are about the end.
const LAST_LINES: usize = 40;

/// The part of `text`, the log of a run that ended at `ended_at`, that is about its end: what was written in the last minute.
///
/// A line without a time belongs to the one before it. Behind lines that are older, and where no line has a time, the time at which
/// the log was written last decides: the last words of a JVM carry none (`Terminating due to java.lang.OutOfMemoryError`), and come
/// after hours in which an idle broker writes nothing. Then it is the last block of them, or the last 40 lines.
///
/// For a run that has served: a disk that was full weeks ago, a topic that was refused in the morning, does not explain its end.
pub fn of_the_end(text: &str, ended_at: Timestamp, written_at: Option<Timestamp>) -> &str {
    let span = i64::try_from(ABOUT_THE_END.as_millis()).unwrap_or(i64::MAX);
    let is_earlier = |at: Timestamp| at.0 < ended_at.0.saturating_sub(span);
    let at_the_end = !written_at.is_some_and(is_earlier);
    let mut begins = Vec::new();
    let mut kept = 0;
    // of the last line that carries a time: whether it is from before the end
    let mut earlier = None;
    // where the last block without a time begins
    let mut block = text.len();
    let mut within = false;
    for (begin, line) in lines(text) {
        begins.push(begin);
        match stamp::line_time(line.as_bytes()) {
            Some(at) => {
                let is_earlier = is_earlier(at);
                if earlier == Some(true) && !is_earlier {
                    kept = begin;
                }
                earlier = Some(is_earlier);
                (block, within) = (text.len(), false);
            }
            None if looks_continued(line.as_bytes()) => within = true,
            // what comes behind a trace begins anew
            None => {
                if within || block == text.len() {
                    block = begin;
                }
                within = false;
            }
        }
    }
    let last = begins.len().checked_sub(LAST_LINES).map_or(0, |first| begins[first]);
    match earlier {
        Some(false) => &text[kept..],
        Some(true) if at_the_end => &text[block.max(last)..],
        None if at_the_end => &text[last..],
        Some(true) | None => "",
    }
}

/// Puts the end of one file before what was read of later ones; whether the run began in it.
fn read_part(path: &Path, start: LogMark, left: &mut u64, seen: &mut Vec<(u64, Vec<u8>)>) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    // Rotated between the two looks.
    if seen.iter().any(|(inode, _)| *inode == meta.ino()) {
        return Ok(false);
    }
    let is_start = meta.ino() == start.inode;
    let from = if is_start { start.length.min(meta.len()) } else { 0 };
    file.seek(SeekFrom::Start(from.max(meta.len().saturating_sub(*left))))?;
    let mut bytes = Vec::new();
    file.take(*left).read_to_end(&mut bytes)?;
    *left = left.saturating_sub(bytes.len() as u64);
    seen.push((meta.ino(), bytes));
    Ok(is_start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::writer::LogWriter;
    use std::fs;

    const LONG_AGO: Timestamp = Timestamp(0);

    fn lines(from: u32, to: u32) -> String {
        (from..to).map(|n| format!("line {n}\n")).collect()
    }

    #[test]
    fn only_what_was_written_since_the_start_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), 1 << 20, 9).unwrap();
        log.append(b"of the run before\n").unwrap();
        let start = LogMark::now(dir.path());
        log.append(b"of this run\n").unwrap();
        assert_eq!(since(dir.path(), start, LONG_AGO), "of this run\n");
        assert_eq!(since(dir.path(), LogMark::default(), LONG_AGO), "of the run before\nof this run\n");
        assert_eq!(since(&dir.path().join("none"), start, LONG_AGO), "");
    }

    #[test]
    fn a_young_file_is_completed_from_the_rotated_ones_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), 100, 99).unwrap();
        log.append(b"of the run before\n").unwrap();
        let start = LogMark::now(dir.path());
        let text = lines(0, 60);
        for line in text.split_inclusive('\n') {
            log.append(line.as_bytes()).unwrap();
        }
        assert!(names::rotated(dir.path()).unwrap().len() >= 4);
        assert_eq!(since(dir.path(), start, LONG_AGO), text);
        // The start is not known: what was rotated before it is another run's.
        assert!(since(dir.path(), LogMark::default(), Timestamp(i64::MAX)).len() <= 100);
        assert!(since(dir.path(), LogMark::default(), LONG_AGO).ends_with(&text));
        // One file in the middle is compressed already: what is behind it is enough.
        let third = names::rotated(dir.path()).unwrap()[2];
        fs::rename(dir.path().join(third.name()), dir.path().join(third.as_packed(true).name())).unwrap();
        let rest = since(dir.path(), start, LONG_AGO);
        assert!(text.ends_with(&rest) && !rest.is_empty() && rest.len() < text.len(), "{rest}");
    }

    #[test]
    fn of_a_run_that_served_only_the_last_minute_is_about_its_end() {
        let end = Timestamp::parse("2026-11-26T10:00:00.000Z").unwrap();
        let long_ago = Timestamp::parse("2026-11-25T03:00:00.000Z").ok();
        let of_the_end = |text: &str| of_the_end(text, end, long_ago).to_owned();
        let old = "2026-11-25T03:00:00.000Z ERROR disk full\n\tat a.stack.trace\n";
        let new = "2026-11-26T09:59:30.000Z WARN heap\nException in thread \"main\"\n";
        assert_eq!(of_the_end(&format!("{old}{new}")), new);
        assert_eq!(of_the_end(old), "", "what it outlived by a day");
        assert_eq!(of_the_end(new), new);
        // the first piece may begin inside a line or a trace
        assert_eq!(of_the_end(&format!("rest of a trace\n{new}")), format!("rest of a trace\n{new}"));
        // a clock that was set back while it ran: what follows the last earlier line counts
        let back = format!("{new}{old}{new}");
        assert_eq!(of_the_end(&back), new);
        assert_eq!(of_the_end(""), "");
    }

    #[test]
    fn the_last_words_behind_a_quiet_hour_need_no_time() {
        let end = Timestamp::parse("2026-11-26T10:00:00.000Z").unwrap();
        let just_now = Timestamp::parse("2026-11-26T09:59:59.000Z").ok();
        let hour_ago = Timestamp::parse("2026-11-26T09:00:00.000Z").ok();
        let old = "2026-11-26T09:00:00.000Z ERROR a log\njava.io.IOException: No space left on device\n\tat a.trace\n";
        let heap = "Terminating due to java.lang.OutOfMemoryError: Java heap space\n";
        assert_eq!(of_the_end(&format!("{old}{heap}"), end, just_now), heap);
        assert_eq!(of_the_end(&format!("{old}{heap}"), end, hour_ago), "");
        let report =
            "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n#  SIGBUS (0x7) at pc=0x0\n";
        assert_eq!(of_the_end(&format!("{old}{report}"), end, just_now), report);
        let thrown = "Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space\n\tat x\n";
        assert_eq!(of_the_end(&format!("{old}{thrown}"), end, just_now), thrown);
        let info = "2026-11-26T09:00:00.000Z INFO x\n";
        assert_eq!(of_the_end(&format!("{old}{info}{heap}"), end, just_now), heap);
        assert_eq!(of_the_end(&format!("{old}{info}"), end, just_now), "");
        let many = format!("{info}{}", lines(0, 100));
        assert_eq!(of_the_end(&many, end, just_now), lines(60, 100));
    }

    #[test]
    fn of_lines_without_a_time_the_last_forty_are_about_the_end_when_they_are_young() {
        let end = Timestamp(1_000_000);
        let text = lines(0, 100);
        assert_eq!(of_the_end(&text, end, Some(Timestamp(999_000))), lines(60, 100));
        assert_eq!(of_the_end(&lines(0, 3), end, None), lines(0, 3));
        assert_eq!(of_the_end(&text, end, Some(Timestamp(900_000))), "");
    }

    #[test]
    fn where_the_start_of_a_run_is_not_known_lines_of_earlier_times_are_not_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), 1 << 20, 9).unwrap();
        let earlier = "2026-11-26T09:00:00.000Z ERROR Socket server failed to bind\n\tat x\n";
        let of_it = "2026-11-26T10:00:00.500Z INFO begins\nsays more\n";
        let started_at = Timestamp::parse("2026-11-26T10:00:00.000Z").unwrap();
        log.append(earlier.as_bytes()).unwrap();
        assert_eq!(since(dir.path(), LogMark::default(), started_at), "");
        log.append(of_it.as_bytes()).unwrap();
        assert_eq!(since(dir.path(), LogMark::default(), started_at), of_it);
    }

    #[test]
    fn what_a_log_says_that_was_not_there_before_is_of_the_run_whatever_time_it_carries() {
        let dir = tempfile::tempdir().unwrap();
        let start = LogMark::now(dir.path());
        assert_eq!(start.inode, LogMark::NONE_YET);
        let mut log = LogWriter::open(dir.path(), 1 << 20, 9).unwrap();
        // of a program that writes another zone's time without saying so
        let said = "2026-11-26 03:00:00 ERROR Address already in use\n";
        log.append(said.as_bytes()).unwrap();
        let started_at = Timestamp::parse("2026-11-26T10:00:00.500Z").unwrap();
        assert_eq!(since(dir.path(), start, started_at), said);
        let of_the_second = "[2026-11-26T10:00:00Z ERROR x] Address already in use\n";
        log.append(of_the_second.as_bytes()).unwrap();
        assert_eq!(since(dir.path(), LogMark::default(), started_at), of_the_second);
    }

    #[test]
    fn no_more_than_the_bound_is_read_and_it_is_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), 40 << 10, 99).unwrap();
        let start = LogMark::now(dir.path());
        let text = lines(0, 20_000);
        log.append(text.as_bytes()).unwrap();
        let read = since(dir.path(), start, LONG_AGO);
        assert_eq!(read.len() as u64, TAIL);
        assert!(text.ends_with(&read));
    }
}
