//! One node's log as entries with times: a line, or with grouping a line and the lines that belong to it (a stack trace).

use super::{
    follow::{Follower, Piece},
    stamp::line_time,
};
use crate::{
    base::{Timestamp, units::grouped},
    sys::error::SysError,
};
use std::collections::VecDeque;

/// Most bytes of a line that are kept for looking at; of the rest only the length.
const KEPT_MAX: usize = 64 << 10;

/// Most lines of one entry. A program that writes a time once and never again must not become one endless entry.
const LINES_MAX: usize = 1_000;

/// How far the first time is looked for, lines: what is cut off at the beginning is the rest of a stack trace.
const LOOK_AHEAD: usize = 200;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its beginning.
    pub text: Vec<u8>,
    /// Its whole length.
    pub bytes: u64,
    /// Its beginning was shown already.
    pub continued: bool,
    /// Its end is there.
    pub ended: bool,
    /// It is a word of ours about what is missing.
    pub ours: bool,
}

impl Line {
    fn ours(text: String) -> Self {
        Self { bytes: text.len() as u64, text: text.into_bytes(), continued: false, ended: true, ours: true }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = KEPT_MAX.saturating_sub(self.text.len()).min(bytes.len());
        self.text.extend_from_slice(&bytes[..room]);
        self.bytes += bytes.len() as u64;
    }
}

/// Whether a line belongs to the one before by its look alone: the traces of Java and of most others.
pub(super) fn looks_continued(line: &[u8]) -> bool {
    let starts = |word: &str| line.starts_with(word.as_bytes());
    line.first().is_none_or(|b| matches!(b, b' ' | b'\t' | b'\n'))
        || ["Caused by:", "Suppressed:", "..."].into_iter().any(starts)
}

/// Lines that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was written: its own time, or that of the entry before it.
    pub time: Timestamp,
    /// At least one.
    pub lines: Vec<Line>,
    /// It goes on with an entry that was handed over already.
    pub continues: bool,
}

/// The entries of one log, as they come.
#[derive(Debug)]
pub struct Entries {
    follower: Follower,
    group: bool,
    /// A line whose end is not there yet, as far as it was read.
    line: Option<Line>,
    /// Lines read, with their times.
    ready: VecDeque<(Option<Timestamp>, Line)>,
    open: Option<Entry>,
    /// Whether the open entry, or the last one, began with a time of its own.
    stamped: bool,
    time: Option<Timestamp>,
    started: bool,
}

impl Entries {
    /// Of what this follower reads; with `group` lines that belong together come together.
    pub fn new(follower: Follower, group: bool) -> Self {
        Self {
            follower,
            group,
            line: None,
            ready: VecDeque::new(),
            open: None,
            stamped: false,
            time: None,
            started: false,
        }
    }

    /// The next entry; none when nothing more is there. With `all` also what may still go on: the last lines of an entry,
    /// half a line.
    pub fn next(&mut self, all: bool) -> Result<Option<Entry>, SysError> {
        if !self.started {
            self.started = true;
            while self.ready.len() < LOOK_AHEAD
                && self.ready.back().is_none_or(|(time, _)| time.is_none())
                && self.read()?
            {}
            self.time = self.ready.back().and_then(|(time, _)| *time);
        }
        while !self.ready.is_empty() || self.read()? {
            let Some((time, line)) = self.ready.pop_front() else { break };
            if let Some(done) = self.take(time, line) {
                return Ok(Some(done));
            }
        }
        if !all {
            return Ok(None);
        }
        if let Some(mut line) = self.half_a_line() {
            line.ended = false;
            let time = line_time(&line.text).filter(|_| !line.continued);
            if let Some(done) = self.take(time, line) {
                return Ok(Some(done));
            }
        }
        Ok(self.open.take())
    }

    /// Whether [`Entries::next`] with `all` would give more.
    pub fn holds_back(&self) -> bool {
        self.open.is_some() || self.line.is_some() || self.follower.holds_back()
    }

    fn half_a_line(&mut self) -> Option<Line> {
        let continued = self.follower.continues();
        let rest = self.follower.partial();
        let mut line = self.line.take();
        if let Some(rest) = rest {
            line.get_or_insert_with(|| fresh(continued)).add(&rest);
        }
        line
    }

    /// Reads one line; false when there is none.
    fn read(&mut self) -> Result<bool, SysError> {
        loop {
            let line = match self.follower.next()? {
                None => return Ok(false),
                Some(Piece::Missed(bytes)) => {
                    Line::ours(format!("{} bytes were removed before they could be read", grouped(bytes)))
                }
                Some(Piece::Broken(why)) => Line::ours(why),
                Some(Piece::Text { bytes, first, ended }) => {
                    let line = self.line.get_or_insert_with(|| fresh(!first));
                    line.add(bytes);
                    if !ended {
                        continue;
                    }
                    match self.line.take() {
                        Some(line) => line,
                        None => continue,
                    }
                }
            };
            let time = line_time(&line.text).filter(|_| !line.continued && !line.ours);
            self.ready.push_back((time, line));
            return Ok(true);
        }
    }

    /// Adds a line; returns the entry that it ends.
    fn take(&mut self, time: Option<Timestamp>, line: Line) -> Option<Entry> {
        if let Some(time) = time {
            self.time = Some(time);
        }
        let time_now = self.time.or_else(|| self.follower.changed()).unwrap_or_default();
        let belongs = time.is_none() && (self.stamped || line.continued || looks_continued(&line.text));
        if !self.group {
            return Some(Entry { time: time_now, lines: vec![line], continues: belongs });
        }
        if belongs && let Some(open) = self.open.as_mut().filter(|open| open.lines.len() < LINES_MAX) {
            open.lines.push(line);
            return None;
        }
        if !belongs {
            self.stamped = time.is_some();
        }
        self.open.replace(Entry { time: time_now, lines: vec![line], continues: belongs })
    }
}

fn fresh(continued: bool) -> Line {
    Line { text: Vec::new(), bytes: 0, continued, ended: true, ours: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{reader::Start, writer::LogWriter};
    use std::fs;

    fn entries(text: &str, group: bool) -> (tempfile::TempDir, Entries) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("current"), text).unwrap();
        let follower = Follower::new(dir.path(), Start { last: None, since: None });
        (dir, Entries::new(follower, group))
    }

    fn texts(entries: &mut Entries, all: bool) -> Vec<(i64, String)> {
        let mut seen = Vec::new();
        while let Some(entry) = entries.next(all).unwrap() {
            let lines: Vec<_> = entry.lines.iter().map(|l| String::from_utf8_lossy(&l.text).into_owned()).collect();
            seen.push((entry.time.0, lines.join("|")));
        }
        seen
    }

    const TRACE: &str =
        "\tat x\n2025-11-23T03:07:01.000Z one\njava.lang.Oops\n\tat a\nCaused by: b\n2025-11-23T03:07:02.000Z two\n";

    #[test]
    fn lines_without_a_time_have_that_of_the_line_before_and_the_first_that_of_what_follows() {
        let (_dir, mut entries) = entries(TRACE, false);
        let second = |s: i64| Timestamp::parse("2025-11-23T03:07:00Z").unwrap().0 + s * 1_000;
        let times: Vec<i64> = texts(&mut entries, true).iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [1, 1, 1, 1, 1, 2].map(second));
    }

    #[test]
    fn a_trace_stays_with_its_line_when_lines_are_grouped() {
        let (_dir, mut grouped) = entries(TRACE, true);
        let texts: Vec<String> = texts(&mut grouped, true).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts,
            [
                "\tat x",
                "2025-11-23T03:07:01.000Z one|java.lang.Oops|\tat a|Caused by: b",
                "2025-11-23T03:07:02.000Z two"
            ]
        );
    }

    #[test]
    fn lines_of_a_program_that_writes_no_times_stand_alone_but_for_indented_ones() {
        let (dir, mut grouped) = entries("a\nb\n  of b\n\tof b\nc\n", true);
        let seen = texts(&mut grouped, true);
        let lines: Vec<&str> = seen.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(lines, ["a", "b|  of b|\tof b", "c"]);
        let changed = fs::metadata(dir.path().join("current")).unwrap().modified().unwrap();
        let changed = changed.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert!(seen.iter().all(|(time, _)| i128::from(*time) == i128::try_from(changed).unwrap()));
    }

    #[test]
    fn what_may_go_on_is_held_back_until_all_is_wanted_and_its_rest_is_known_as_such() {
        let (dir, mut entries) = entries("2025-11-23T03:07:01.000Z one\nhalf", true);
        assert!(texts(&mut entries, false).is_empty());
        assert!(entries.holds_back());
        let entry = entries.next(true).unwrap().unwrap();
        assert_eq!(entry.lines.iter().map(|l| l.ended).collect::<Vec<_>>(), [true, false]);
        assert_eq!(entries.next(true).unwrap(), None);
        LogWriter::open(dir.path(), 1_000, 1).unwrap().append(b" more\n").unwrap();
        assert!(texts(&mut entries, false).is_empty());
        let entry = entries.next(true).unwrap().unwrap();
        assert!(entry.continues && entry.lines[0].continued && entry.lines[0].text == b" more");
        assert!(!entries.holds_back());
    }

    #[test]
    fn of_a_very_long_line_the_beginning_and_the_length_are_kept() {
        let (_dir, mut entries) = entries(&format!("{}\nnext\n", "x".repeat(5 << 20)), false);
        let line = entries.next(true).unwrap().unwrap().lines.remove(0);
        assert_eq!((line.text.len(), line.bytes), (KEPT_MAX, 5 << 20));
        assert_eq!(entries.next(true).unwrap().unwrap().lines[0].text, b"next");
    }
}
