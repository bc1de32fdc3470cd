//! Why a run ended: found out away from the dispatcher, because its log is read for it, and within a bound of time. Behind that the exit
//! record alone decides: a disk that stalls is a moment at which nodes die, and at which orders, starts of others and the service
//! manager's watchdog must not wait.

use super::{
    gc_log,
    last_words::{self, LastWords, LogMarks},
    node::Asked,
    places,
};
use crate::{
    base::{
        Cause, ExitRecord, ExitStatus, Layout, Moment,
        outcome::Failure,
        recipe::{Recipe, Stop},
    },
    services::{self, Ended},
    sys::{clock, failpoint::fail_point, room},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// How long the log of a node that has ended may take to be read. It is 64 KiB, most of them written just now: less than a millisecond, or a
/// disk that stalls.
const READ: Duration = Duration::from_secs(2);

/// What nobody who keeps data can do without at a start: some files, a block each.
const START: usize = 64 << 10;

/// An end and all that says why, as it was when the end was heard of: an order that comes later is about the next run.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) layout: Layout,
    pub(super) recipe: Arc<Recipe>,
    /// How the run is stopped.
    pub(super) stop: Stop,
    /// Whether its end was ordered.
    pub(super) asked: Option<Asked>,
    /// Where its log stood.
    pub(super) marks: LogMarks,
    /// Whether it was ready; none: nobody knows.
    pub(super) ready: Option<bool>,
    pub(super) heard: Moment,
    pub(super) record: ExitRecord,
    /// The shim was lost on the way.
    pub(super) shim_lost: bool,
}

/// Why a run ended, with what of it goes on record.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) cause: Cause,
    /// What no restart cures.
    pub(super) failure: Option<Failure>,
    /// What it wrote last.
    pub(super) words: LastWords,
    /// What its garbage collector did last, where memory may have been what it died of.
    pub(super) collections: Vec<String>,
    /// Its log was not read, and that this goes by the exit record alone.
    pub(super) unread: Option<String>,
}

impl Case {
    /// When it is judged without its log.
    pub(super) fn until(&self) -> Moment {
        self.heard + READ
    }

    /// Reads what it wrote last, and judges. Blocks, for as long as the disk does.
    pub(super) fn judge(&self) -> Verdict {
        fail_point!("verdict.reading");
        self.judged(&|dir| room::takes(dir, START))
    }

    /// `takes`: whether a directory takes what a start writes.
    fn judged(&self, takes: &dyn Fn(&Path) -> Option<bool>) -> Verdict {
        let (dir, served) = (self.layout.log_dir(&self.recipe.node), self.served());
        let words = LastWords::read(&dir, &self.marks, &self.record, served, self.heard);
        let mut ended = self.verdict(&words);
        if self.asked.is_none()
            && services::may_be_of_no_room(self.recipe.kind, &ended)
            && let Some(dir) = self.dirs().find(|dir| takes(dir) == Some(false))
        {
            ended = services::of_no_room(&ended, &self.record, &dir);
            ended.failure = ended.failure.map(|failure| failure.of_node(&self.recipe.node));
        }
        let Ended { cause, mut failure, note: _ } = ended;
        if let Some(failure) = failure.as_mut().filter(|failure| services::is_about_owners(failure))
            && let Some(command) = places::own_files(&self.layout, &self.recipe)
        {
            failure.remedy = command;
        }
        let collections = gc_log::last(&self.recipe, cause, self.record.started_at);
        Verdict { cause, failure, words, collections, unread: None }
    }

    /// Judges by the exit record alone. Reads nothing.
    pub(super) fn unread(&self) -> Verdict {
        let words = LastWords::unread(self.served());
        let Ended { cause, failure, note: _ } = self.verdict(&words);
        let why =
            format!("its log could not be read within {} s: why it ended is told by its exit alone", READ.as_secs());
        Verdict { cause, failure, words, collections: Vec::new(), unread: Some(why) }
    }

    fn served(&self) -> bool {
        last_words::has_served(&self.recipe, self.ready, &self.record)
    }

    /// Where it writes.
    fn dirs(&self) -> impl Iterator<Item = PathBuf> {
        let dirs = self.recipe.directories.iter().map(|(dir, _)| dir.clone());
        dirs.chain([self.layout.log_dir(&self.recipe.node)])
    }

    /// What we ordered, what the kernel says, what its log says about it.
    fn verdict(&self, words: &LastWords) -> Ended {
        let plain = |cause| Ended { cause, failure: None, note: None };
        if self.shim_lost {
            return plain(Cause::ShimLost);
        }
        let kind = self.recipe.kind;
        let mut record = self.record.clone();
        let killed = record.status == ExitStatus::Signal(libc::SIGKILL);
        match self.asked {
            Some(Asked::ToDieNow) => return plain(Cause::KilledByOrder),
            Some(asked) if asked.signal_ended_it(&record, kind, self.stop.grace, self.heard) => {
                return plain(Cause::KilledByOrder);
            }
            Some(Asked::ToStop) if killed && record.signals_sent.contains(&libc::SIGKILL) => {
                return plain(Cause::KilledAfterGrace);
            }
            Some(Asked::ToStop | Asked::BySignal(..)) | None => {}
        }
        if let Some(Asked::BySignal(signal, _)) = self.asked {
            // It was too long ago, or the kernel knows better: the same signal now is somebody else's.
            record.signals_sent.retain(|sent| *sent != signal);
        }
        let asked_to_stop = self.asked == Some(Asked::ToStop);
        let mut ended = services::classify(kind, &record, words.said(), asked_to_stop, &self.stop);
        ended.failure = ended.failure.map(|failure| failure.of_node(&self.recipe.node));
        ended
    }
}

/// How long a daemon that begins waits, in all, for the logs of nodes that ended before it.
#[derive(Debug)]
pub(super) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(READ)
    }
}

impl Patience {
    /// Judges, without the log when that takes what is left.
    pub(super) fn judge(&mut self, case: Case) -> Verdict {
        let began = clock::now();
        let case = Arc::new(case);
        let (tell, told) = mpsc::channel();
        let judge = Arc::clone(&case);
        // Nobody listens any more when it took too long; it ends with its read.
        let reads = thread::Builder::new().spawn(move || drop(tell.send(judge.judge())));
        let verdict = reads.ok().and_then(|_| told.recv_timeout(self.0).ok());
        self.0 = self.0.saturating_sub(clock::now().since(began));
        verdict.unwrap_or_else(|| case.unread())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Incarnation, NodeKind};

    /// A command that ended with 1 and wrote that its disk was full.
    fn case(root: &std::path::Path) -> Case {
        let (layout, recipe) = (Layout::new(root), crate::services::of_a_command());
        let dir = layout.log_dir(&recipe.node);
        std::fs::create_dir_all(&dir).unwrap();
        let marks = LogMarks::begin(crate::logs::tail::LogMark::now(&dir));
        std::fs::write(dir.join("current"), "dd: writing 'x': No space left on device\n").unwrap();
        let started_at = clock::wall();
        let unseen = super::super::link::unseen_end(Incarnation(1), 10, started_at);
        let record = ExitRecord { status: ExitStatus::Code(1), ..unseen };
        let (stop, heard) = (recipe.stop.clone(), clock::now());
        let recipe = Arc::new(recipe);
        Case { layout, recipe, stop, asked: None, marks, ready: None, heard, record, shim_lost: false }
    }

    #[test]
    fn an_end_is_judged_by_its_log_and_by_its_exit_alone_where_that_is_not_read_in_time() {
        let root = tempfile::tempdir().unwrap();
        let read = Patience::default().judge(case(root.path()));
        assert_eq!((read.cause, read.unread), (Cause::DiskFull, None));
        assert!(read.failure.is_some_and(|failure| failure.what.contains("No space left")));

        // Nobody writes to this, so whoever opens it for reading waits (fifo(7)).
        let stalled = case(root.path());
        let current = stalled.layout.log_dir(&stalled.recipe.node).join("current");
        std::fs::remove_file(&current).unwrap();
        nix::unistd::mkfifo(&current, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut patience = Patience(Duration::from_millis(20));
        let verdict = patience.judge(stalled);
        assert_eq!((verdict.cause, verdict.failure.as_ref(), verdict.words.said().lines), (Cause::Crashed, None, ""));
        assert!(verdict.unread.is_some_and(|why| why.contains("could not be read")));
        assert_eq!(patience.0, Duration::ZERO, "the next one is not waited for as long again");
        // Its reader goes.
        drop(std::fs::OpenOptions::new().write(true).open(&current).unwrap());
    }

    #[test]
    fn a_broker_that_ends_where_nothing_can_be_written_has_met_the_full_disk_also_when_its_log_did_not_take_that() {
        let ended = |kind, asked, line: &str, is_full: bool| {
            let root = tempfile::tempdir().unwrap();
            let mut case = case(root.path());
            let recipe = Arc::make_mut(&mut case.recipe);
            recipe.kind = kind;
            case.asked = asked;
            let dir = case.layout.log_dir(&case.recipe.node);
            std::fs::write(dir.join("current"), line).unwrap();
            case.judged(&|_| Some(!is_full))
        };
        let (last, broker) = ("2026-11-27T01:02:03.456Z INFO it goes on\n", NodeKind::Broker(1));
        for kind in [broker, NodeKind::Zookeeper, NodeKind::Mysql] {
            let verdict = ended(kind, None, last, true);
            let failure = verdict.failure.unwrap();
            assert_eq!((verdict.cause, failure.cause), (Cause::DiskFull, Cause::DiskFull), "{kind:?}");
            assert!(failure.what.contains("exit 1") && failure.remedy.contains("cdc-supervisor start"), "{failure:?}");
            assert_eq!(ended(kind, None, last, false).cause, Cause::Crashed, "{kind:?}: there is room");
        }
        // A program of somebody's own may need none.
        assert_eq!(ended(NodeKind::Command, None, last, true).cause, Cause::Crashed);
        assert_eq!(ended(broker, Some(Asked::ToStop), last, true).cause, Cause::Crashed);
        let heap = "Terminating due to java.lang.OutOfMemoryError: Java heap space\n";
        assert_eq!(ended(broker, None, heap, true).cause, Cause::Crashed, "it has said why");
    }

    #[test]
    fn what_was_ordered_before_an_end_was_heard_of_explains_it_whenever_it_is_judged() {
        let root = tempfile::tempdir().unwrap();
        let killed = |asked, signals_sent: &[i32]| {
            let record = ExitRecord {
                status: ExitStatus::Signal(libc::SIGKILL),
                signals_sent: signals_sent.to_vec(),
                ..case(root.path()).record
            };
            Case { asked, record, ..case(root.path()) }.judge().cause
        };
        assert_eq!(killed(None, &[]), Cause::KilledByOther);
        assert_eq!(killed(Some(Asked::ToDieNow), &[]), Cause::KilledByOrder);
        assert_eq!(killed(Some(Asked::ToStop), &[libc::SIGTERM, libc::SIGKILL]), Cause::KilledAfterGrace);
        let lost = Case { shim_lost: true, ..case(root.path()) };
        assert_eq!((lost.judge().cause, lost.unread().cause), (Cause::ShimLost, Cause::ShimLost));
    }
}
