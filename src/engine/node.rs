//! What the engine keeps of one node beside its lifecycle: the recipe, the link to its shim, its tasks, its last exit.

use super::{
    incidents::{MemorySeen, Obituary},
    last_words::LogMarks,
    link::LinkCommand,
    rounds::Look,
    snapshot::LastExit,
    trend::Trend,
    verdict::{Case, Verdict},
};
use crate::{
    base::{
        ExitRecord, ExitStatus, Incarnation, Launched, Moment, NodeKind, Reason, Timestamp,
        ids::ProcessId,
        recipe::{Recipe, Stop},
        stall::Stalls,
    },
    lifecycle::Event,
    logs::tail::LogMark,
    shim::wire::{Credentials, Notified, ShimState},
    sys::{clock, command::Cancel},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// What happened to one node, on its way to the dispatcher.
#[derive(Debug)]
pub(super) enum Happening {
    /// An answer of the prepare task with this number; answers of cancelled ones are dropped.
    Prepared(u64, Event),
    /// A probe attempt of this incarnation ended.
    Probed(Event),
    /// A round has looked at it.
    Looked(Look),
    /// A shim launched its node.
    Spawned(ShimState),
    /// A shim could not launch its node.
    LaunchFailed { incarnation: Incarnation, step: String, errno: i32, text: String },
    /// The main process ended, leftovers live.
    MainEnded(ExitRecord),
    /// The tree is gone.
    Gone {
        record: ExitRecord,
        /// The shim was lost on the way: the daemon saw the end itself.
        shim_lost: bool,
    },
    /// Why the run of this start ended.
    Judged(Incarnation, Box<Verdict>),
    /// The shim died while its node lives.
    ShimLost(Incarnation),
    /// The ZooKeeper session that a broker is registered with, in this run.
    Registered(Incarnation, i64),
    /// A look at that told nothing.
    NotRegistered,
    /// Nothing of it without a shim is being stopped any more.
    OrphanStopped,
    /// The shim says that something is wrong.
    Trouble(String),
}

/// What is looked up for a start while it is prepared: a look may ask over a network, or wait for a disk, and the dispatcher must not.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// As whom it runs, under the name that was looked up.
    pub(super) credentials: Option<(String, Credentials)>,
    /// Where its log stands: nothing is written there until its shim starts.
    pub(super) log: LogMark,
}

/// One node under the engine.
#[derive(Debug)]
pub(super) struct NodeRuntime {
    /// How to run it.
    pub(super) recipe: Arc<Recipe>,
    /// Orders to the task that holds its shim; none while nothing runs.
    pub(super) link: Option<Link>,
    /// The prepare task under way.
    pub(super) prepare: Option<PrepareTask>,
    /// The probing task of the current incarnation.
    pub(super) watch: Option<JoinHandle<()>>,
    /// What preparing has found for its next start.
    pub(super) found: Arc<Mutex<Found>>,
    /// Counts prepare tasks.
    pub(super) prepares: u64,
    /// How its last run ended.
    pub(super) last_exit: Option<LastExit>,
    /// That run on the clock that nobody sets; none: this daemon has not seen its end.
    pub(super) seen_run: Option<SeenRun>,
    /// The ZooKeeper session of its current or last run, when it is a broker; none: not known.
    pub(super) registered: Option<i64>,
    /// Whether somebody ordered the end of the current run (decides how its exit is read).
    pub(super) asked: Option<Asked>,
    /// Why it was last stopped, started or restarted; none: it was wanted up when the daemon began.
    pub(super) reason: Option<Reason>,
    /// Since when its state word is what it is.
    pub(super) since: Timestamp,
    /// The state word that `since` belongs to.
    pub(super) word: &'static str,
    /// When it last became ready in this run.
    pub(super) ready_since: Option<Timestamp>,
    /// The same moment on the clock that nobody sets.
    pub(super) ready_at: Option<Moment>,
    /// When the process of its current or last run was started.
    pub(super) started_at: Option<Timestamp>,
    /// Its memory as last looked at in this run.
    pub(super) memory: Option<MemorySeen>,
    /// Where its memory goes in this run; none: not enough is known.
    pub(super) trend: Option<Trend>,
    /// What held it up in this run; none: it has nothing to do with ZooKeeper sessions, or there was no round yet.
    pub(super) stalls: Option<Stalls>,
    /// It was warned of for its memory, and that is not over.
    pub(super) memory_high: bool,
    /// Limits that do not hold and could not be put right.
    pub(super) unmended: Option<String>,
    /// Its end, while why it ended is being found out.
    pub(super) case: Option<Arc<Case>>,
    /// Ends that were seen and are not on record yet.
    pub(super) obituaries: Vec<Obituary>,
    /// When it was last spawned, for "ready after".
    pub(super) spawned: Option<Moment>,
    /// How long its last start took until ready.
    pub(super) ready_after: Option<Duration>,
    /// The process written to its state file.
    pub(super) process: Option<ProcessId>,
    /// Where its log stood in its current or last run.
    pub(super) log: LogMarks,
    /// It was found running; false once this daemon has started it itself.
    pub(super) adopted: bool,
    /// Troubles the shim reported, newest last, at most eight.
    pub(super) troubles: VecDeque<String>,
    /// What its last start was made of, as written to `run/launched.json`; none: nothing on record.
    pub(super) launched: Option<Arc<Launched>>,
    /// The digest of that; none: not known.
    pub(super) launched_digest: Option<String>,
    /// How the run that is being replaced ends, when the recipe has another way already.
    pub(super) leaving: Option<Stop>,
    /// What of the recipe does not hold for the process that runs; none: all of it holds, or nothing runs.
    pub(super) differs: Option<String>,
}

/// When a run was, on the clock that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenRun {
    /// When its process was started.
    pub(super) began: Option<Moment>,
    /// When its end was heard of.
    pub(super) ended: Moment,
}

impl SeenRun {
    /// How long it was, where the wall clock may have been set since it began; none: what the exit record says, which is exact, holds.
    pub(super) fn measured_ms(self) -> Option<u64> {
        let began = self.began.filter(|began| clock::steady_since() > *began)?;
        u64::try_from(self.ended.since(began).as_millis()).ok()
    }
}

/// How the end of a run was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The stop signal was sent.
    ToStop,
    /// SIGKILL to the tree was ordered before any grace had run out.
    ToDieNow,
    /// A signal from `kill NODE --signal`, sent then.
    BySignal(i32, Moment),
}

/// How long after the grace that a node has for its end the signal of an order can still be what ended it: the kernel gives
/// back the memory of a large process within seconds.
const SIGNAL_ECHO: Duration = Duration::from_secs(5);

impl Asked {
    /// Whether a signal of an order has ended the run that ended `now` like this. A program that ends in its own way on a
    /// signal that asks for it was ended by that order; one that goes on is not ended by it days later.
    pub(super) fn signal_ended_it(self, record: &ExitRecord, kind: NodeKind, grace: Duration, now: Moment) -> bool {
        let Asked::BySignal(signal, sent) = self else { return false };
        // A JVM writes its threads down and goes on (java(1), -Xrs).
        let only_told = signal == libc::SIGQUIT
            && matches!(kind, NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::KafkaUi)
            && record.status != ExitStatus::Signal(libc::SIGQUIT);
        let out_of_memory = record.oom_kills.is_some_and(|kills| kills > 0);
        let asks = matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT);
        now.since(sent) <= grace.saturating_add(SIGNAL_ECHO)
            && !only_told
            && !out_of_memory
            && (asks || record.status == ExitStatus::Signal(signal))
    }
}

/// The task that holds a shim.
#[derive(Debug)]
pub(super) struct Link {
    /// Of which start.
    pub(super) incarnation: Incarnation,
    /// Orders to it.
    pub(super) commands: mpsc::UnboundedSender<LinkCommand>,
    /// What the node says over its notify socket.
    pub(super) notified: watch::Receiver<Notified>,
}

/// A prepare task.
#[derive(Debug)]
pub(super) struct PrepareTask {
    /// Its number.
    pub(super) number: u64,
    /// Ends its helpers.
    pub(super) cancel: Cancel,
}

impl NodeRuntime {
    pub(super) fn new(recipe: Recipe, now: Timestamp) -> Self {
        Self {
            recipe: Arc::new(recipe),
            link: None,
            prepare: None,
            watch: None,
            found: Arc::default(),
            prepares: 0,
            last_exit: None,
            seen_run: None,
            registered: None,
            asked: None,
            reason: None,
            since: now,
            word: "down",
            ready_since: None,
            ready_at: None,
            started_at: None,
            memory: None,
            trend: None,
            stalls: None,
            memory_high: false,
            unmended: None,
            case: None,
            obituaries: Vec::new(),
            spawned: None,
            ready_after: None,
            process: None,
            log: LogMarks::default(),
            adopted: false,
            troubles: VecDeque::new(),
            launched: None,
            launched_digest: None,
            leaving: None,
            differs: None,
        }
    }

    /// It had failed under the last daemon, since then, and stays so.
    pub(super) fn still_failed(&mut self, since: Timestamp) {
        self.word = "failed";
        self.since = since;
    }

    /// Keeps the newest eight.
    pub(super) fn trouble(&mut self, text: String) {
        if self.troubles.len() == 8 {
            self.troubles.pop_front();
        }
        self.troubles.push_back(text);
    }

    /// Notes what the start that comes now is made of; true when that has to be written down.
    pub(super) fn note_launch(&mut self) -> bool {
        let launched = self.recipe.launched();
        self.leaving = None;
        self.differs = None;
        if self.launched.as_deref() == Some(&launched) {
            return false;
        }
        self.launched_digest = Some(launched.digest());
        self.launched = Some(Arc::new(launched));
        true
    }

    /// Notes that the process that runs has been given what differs in its file.
    pub(super) fn note_given(&mut self) {
        let launched = self.recipe.launched();
        self.launched_digest = Some(launched.digest());
        self.launched = Some(Arc::new(launched));
        self.note_difference();
    }

    /// Compares the process that runs with the recipe.
    pub(super) fn note_difference(&mut self) {
        let wanted = self.recipe.launched();
        self.differs = match (&self.launched_digest, &self.launched) {
            _ if self.link.is_none() => None,
            (Some(digest), _) if *digest != wanted.digest() => {
                Some("runs with other settings than the applied ones; `cdc-supervisor plan` shows which".into())
            }
            (_, Some(launched)) if launched.log != wanted.log => {
                Some("its log settings hold from its next start on".into())
            }
            (Some(_) | None, _) => None,
        };
    }

    /// How its process is stopped.
    pub(super) fn stop(&self) -> &Stop {
        self.leaving.as_ref().unwrap_or(&self.recipe.stop)
    }

    /// Ends the tasks of a run that is over, and forgets what was true of it alone.
    pub(super) fn end_run(&mut self) {
        self.trend = None;
        self.stalls = None;
        self.memory_high = false;
        self.unmended = None;
        self.link = None;
        self.leaving = None;
        self.differs = None;
        if let Some(task) = self.watch.take() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{SIGHUP, SIGKILL, SIGQUIT, SIGTERM};

    fn record(status: ExitStatus, oom_kills: u64) -> ExitRecord {
        ExitRecord { oom_kills: Some(oom_kills), ..super::super::link::unseen_end(Incarnation(1), 1, Timestamp(0)) }
            .with_status(status)
    }

    trait With {
        fn with_status(self, status: ExitStatus) -> Self;
    }

    impl With for ExitRecord {
        fn with_status(self, status: ExitStatus) -> Self {
            Self { status, ..self }
        }
    }

    #[test]
    fn a_signal_by_order_explains_the_end_that_follows_it_and_no_later_one() {
        let (sent, grace) = (Moment(1_000), Duration::from_secs(30));
        let ended = |signal, kind, record: &ExitRecord, after_s: u64| {
            let now = sent + Duration::from_secs(after_s);
            Asked::BySignal(signal, sent).signal_ended_it(record, kind, grace, now)
        };
        let (broker, command) = (NodeKind::Broker(1), NodeKind::Command);
        let killed = record(ExitStatus::Signal(SIGKILL), 0);
        assert!(ended(SIGKILL, broker, &killed, 1) && !ended(SIGKILL, broker, &killed, 3_600));
        assert!(!ended(SIGKILL, broker, &record(ExitStatus::Signal(SIGKILL), 1), 0), "out of memory");
        assert!(ended(SIGTERM, broker, &record(ExitStatus::Code(143), 0), 20));
        assert!(!ended(SIGHUP, command, &record(ExitStatus::Code(1), 0), 1), "it was ended by something else");
        let crashed = record(ExitStatus::Code(1), 0);
        assert!(ended(SIGQUIT, command, &crashed, 1) && !ended(SIGQUIT, broker, &crashed, 1), "a thread dump");
        assert!(!Asked::ToStop.signal_ended_it(&killed, broker, grace, sent));
    }
}
