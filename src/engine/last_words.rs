//! What a run wrote last: which part of its node's log is of that run, and which part of that is about its end.

use super::snapshot::ran_ms;
use crate::{
    base::{
        ExitRecord, ExitStatus, Moment,
        recipe::{ProbeKind, Recipe},
    },
    logs::tail::{self, ABOUT_THE_END, LogMark},
    services::classify::Said,
};
use std::{collections::VecDeque, path::Path, time::Duration};

/// Where a node's log stood in its current or last run: at its start, and at looks in its last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct LogMarks {
    start: LogMark,
    /// Oldest first; only the first may be older than what is asked for.
    seen: VecDeque<(Moment, LogMark)>,
}

impl LogMarks {
    /// Those of a run that began with the log at `start`; the default: that is not known.
    pub(super) fn begin(start: LogMark) -> Self {
        Self { start, seen: VecDeque::new() }
    }

    /// Where the log stood when the run began; none: not known, or there was none yet.
    pub(super) fn start(&self) -> Option<LogMark> {
        (self.start != LogMark::default()).then_some(self.start)
    }

    /// A look at the log of the run that goes on.
    pub(super) fn saw(&mut self, now: Moment, mark: LogMark) {
        while self.seen.get(1).is_some_and(|(at, _)| now.since(*at) >= ABOUT_THE_END) {
            self.seen.pop_front();
        }
        self.seen.push_back((now, mark));
    }

    /// The last look that is a minute before `end`; without one the start.
    fn a_minute_before(&self, end: Moment) -> LogMark {
        let early = self.seen.iter().rev().find(|(at, _)| end.since(*at) >= ABOUT_THE_END);
        early.map_or(self.start, |(_, mark)| *mark)
    }
}

/// What a run wrote last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LastWords {
    /// The end of its log.
    pub(super) tail: String,
    /// What of that is about its end; none: all of it.
    about: Option<String>,
    served: bool,
}

impl LastWords {
    /// Reads them in the log's directory, for a run whose end was heard of at `heard`. While it starts everything counts: it may wait
    /// long for what it named first. A run that has served has outlived what it named earlier, but not the word of the signal that
    /// ended it: mysqld writes that as its shutdown begins, may flush for minutes, and ends with 0.
    pub(super) fn read(dir: &Path, marks: &LogMarks, record: &ExitRecord, served: bool, heard: Moment) -> Self {
        let tail = tail::since(dir, marks.start, record.started_at);
        let about = (served && record.status != ExitStatus::Code(0)).then(|| {
            let lately = tail::since(dir, marks.a_minute_before(heard), record.started_at);
            tail::of_the_end(&lately, record.ended_at, tail::written_at(dir)).to_owned()
        });
        Self { tail, about, served }
    }

    /// Those of a run whose log could not be read.
    pub(super) fn unread(served: bool) -> Self {
        Self { tail: String::new(), about: None, served }
    }

    /// Those of a run that had not served.
    #[cfg(test)]
    pub(super) fn of_a_start(tail: String) -> Self {
        Self { tail, about: None, served: false }
    }

    /// What may say why it ended.
    pub(super) fn said(&self) -> Said<'_> {
        let lines = self.about.as_deref().unwrap_or(&self.tail);
        // Both end where the log does, unless somebody wrote in between.
        let outlived = self.tail.strip_suffix(lines).filter(|_| self.about.is_some()).unwrap_or_default();
        Said { lines, served: self.served, outlived }
    }
}

/// Whether a run has got past what only a start ends of. `ready`: whether it was ready; none: nobody knows. Where running is ready,
/// and where nobody knows, its length tells.
pub(super) fn has_served(recipe: &Recipe, ready: Option<bool>, record: &ExitRecord) -> bool {
    let long = ran_ms(record).is_some_and(|ms| Duration::from_millis(ms) >= recipe.restart.healthy_after);
    match ready {
        Some(true) => long || recipe.probe.kind != ProbeKind::None,
        Some(false) => false,
        None => long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Incarnation, Timestamp},
        logs::writer::LogWriter,
        sys::clock,
    };

    const FULL: &str = "dd: writing 'x': No space left on device\n";

    fn record(status: ExitStatus, ran: Duration) -> ExitRecord {
        let ended_at = clock::wall();
        let started_at = Timestamp(ended_at.0 - i64::try_from(ran.as_millis()).unwrap());
        let unseen = super::super::link::unseen_end(Incarnation(1), 10, started_at);
        ExitRecord { status, ended_at, ..unseen }
    }

    fn at(seconds: u64) -> Moment {
        Moment(1_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn lines_without_times_explain_an_end_for_a_minute_or_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), 1 << 20, 9).unwrap();
        let mut marks = LogMarks::begin(LogMark::now(dir.path()));
        let exit = record(ExitStatus::Code(1), Duration::from_secs(500));
        let said = |marks: &LogMarks, served, heard| {
            LastWords::read(dir.path(), marks, &exit, served, at(heard)).said().lines.to_owned()
        };
        log.append(FULL.as_bytes()).unwrap();
        assert_eq!(said(&marks, true, 0), FULL, "nobody has looked yet: the start counts");
        for seconds in (10..=300).step_by(10) {
            marks.saw(at(seconds), LogMark::now(dir.path()));
        }
        assert!(marks.seen.len() < 10, "{}", marks.seen.len());
        log.append(b"it goes on\n").unwrap();
        assert_eq!(said(&marks, true, 305), "it goes on\n", "it has outlived the rest by minutes");
        let words = LastWords::read(dir.path(), &marks, &exit, true, at(305));
        assert_eq!(words.said().outlived, FULL);
        assert_eq!(said(&marks, false, 305), format!("{FULL}it goes on\n"), "it has not served");
        // said between two looks, the last of them just before the end
        log.append(FULL.as_bytes()).unwrap();
        marks.saw(at(310), LogMark::now(dir.path()));
        assert!(said(&marks, true, 315).contains(FULL));
    }

    #[test]
    fn a_run_whose_pid_is_all_that_was_seen_of_it_has_served_when_it_was_long() {
        let mut recipe = crate::services::of_a_command();
        recipe.restart.healthy_after = Duration::from_secs(30);
        let (short, long) = (Duration::from_secs(2), Duration::from_secs(31));
        let served = |recipe: &Recipe, ready, ran| has_served(recipe, ready, &record(ExitStatus::Code(1), ran));
        recipe.probe.kind = ProbeKind::None;
        assert!(!served(&recipe, Some(true), short) && served(&recipe, Some(true), long));
        assert!(!served(&recipe, None, short) && served(&recipe, None, long), "nobody knows");
        recipe.probe.kind = ProbeKind::Notify;
        assert!(served(&recipe, Some(true), short) && !served(&recipe, Some(false), long));
    }
}
