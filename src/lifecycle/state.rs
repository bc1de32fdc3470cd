//! What a node can be, and what is wanted of it. Data lives in the variant that owns it.

use crate::base::{
    Cause, Incarnation, Moment, NodeName,
    ids::ProcessId,
    outcome::Failure,
    recipe::{Restart, Stop},
};
use std::time::Duration;

/// What somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It shall run.
    Up,
    /// It shall not.
    Down,
}

/// One node of the fleet. Only `lifecycle` changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub(super) name: NodeName,
    pub(super) after: Vec<NodeName>,
    pub(super) restart: Restart,
    pub(super) stop: Stop,
    pub(super) start_deadline: Duration,
    pub(super) wanted: Wanted,
    pub(super) state: State,
    pub(super) incarnation: Incarnation,
    /// Starts since the fleet was made that nobody ordered.
    pub(super) restarts: u32,
    /// Deaths in a row without a healthy run between them.
    pub(super) deaths_in_a_row: u32,
    /// A restart was ordered and its stop half is under way: start again once it is gone, whatever the policy says.
    pub(super) bounce: bool,
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }
    /// What is wanted.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }
    /// What it is.
    pub fn state(&self) -> &State {
        &self.state
    }
    /// The number of its current or last start.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
    /// Starts that nobody ordered.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }
    /// Deaths in a row without a healthy run between them.
    pub fn deaths_in_a_row(&self) -> u32 {
        self.deaths_in_a_row
    }
}

/// What a node is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing runs and nothing is about to.
    Down {
        /// The end of the last run under this daemon; none: it never ran.
        last: Option<Cause>,
    },
    /// It is wanted up and waits for something with a name.
    Waiting(Wait),
    /// One-time work and files; a `Prepared` will come. A stop ordered now waits for it (the work is bounded).
    Preparing {
        /// Since when.
        since: Moment,
    },
    /// Being launched or running, not ready yet.
    Starting {
        /// The process, once it was spawned.
        run: Option<Run>,
        /// Since when.
        since: Moment,
        /// When a start without progress is called late; moved on by progress.
        deadline: Moment,
        /// The last progress mark.
        progress: Option<String>,
        /// Why it is not ready.
        why: String,
    },
    /// It serves.
    Ready {
        /// The process.
        run: Run,
        /// Since when it is ready.
        since: Moment,
        /// Failed looks in a row.
        failures: u32,
        /// How we know.
        how: String,
    },
    /// It runs but does not serve as it should. Never killed for it.
    Degraded {
        /// The process.
        run: Run,
        /// Since when.
        since: Moment,
        /// Why.
        why: String,
        /// When it last became ready; none: never in this run (a late start).
        ready_since: Option<Moment>,
    },
    /// On its way out: asked, or killed, or dead with leftovers of its tree.
    Stopping {
        /// The process.
        run: Run,
        /// Who wants it gone.
        reason: StopReason,
        /// How far it is.
        dying: Dying,
        /// When it last became ready in this run.
        ready_since: Option<Moment>,
    },
    /// Stopped for a reason that starting it again cannot cure. Only an order leaves this state.
    Failed {
        /// What and what to do.
        failure: Failure,
        /// Since when.
        since: Moment,
    },
}

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which start.
    pub incarnation: Incarnation,
    /// Who.
    pub process: ProcessId,
    /// When it was spawned.
    pub spawned: Moment,
}

/// What a waiting node waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nodes it comes after are not ready.
    Dependencies(Vec<NodeName>),
    /// The pause before the next start.
    BackOff {
        /// When it ends.
        until: Moment,
        /// The how-manieth pause in a row, from 1.
        attempt: u32,
        /// Why the last run ended.
        cause: Cause,
    },
    /// Its own old ZooKeeper session must expire first.
    OldSession {
        /// Since when.
        since: Moment,
        /// Words with the countdown's end ("old session of broker 3 expires in up to 14 s").
        why: String,
    },
    /// Something else outside must come true before a start (from `Event::Held`).
    Held {
        /// Since when.
        since: Moment,
        /// What.
        why: String,
    },
}

/// Who wants a stopping node gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// An order: stop, down, restart.
    Ordered,
    /// It died by itself; its leftovers are being removed.
    Died,
    /// Its shim was killed; the daemon reads its pipe and replaces it in order.
    ShimLost,
}

/// How far a stopping node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dying {
    /// Asked with the stop signal; killed at `kill_at`.
    Asked {
        /// When SIGKILL follows.
        kill_at: Moment,
    },
    /// SIGKILL was sent to the whole tree.
    Killed {
        /// When it is sent again (a process can be stuck in the kernel).
        again_at: Moment,
    },
    /// The main process is gone, leftovers are being removed by the shim.
    Leftovers,
}

impl State {
    /// The word of the contract: `down waiting preparing starting ready degraded stopping failed`.
    pub fn word(&self) -> &'static str {
        match self {
            State::Down { .. } => "down",
            State::Waiting(_) => "waiting",
            State::Preparing { .. } => "preparing",
            State::Starting { .. } => "starting",
            State::Ready { .. } => "ready",
            State::Degraded { .. } => "degraded",
            State::Stopping { .. } => "stopping",
            State::Failed { .. } => "failed",
        }
    }

    /// The process, where there is one.
    pub fn run(&self) -> Option<&Run> {
        match self {
            State::Starting { run, .. } => run.as_ref(),
            State::Ready { run, .. } | State::Degraded { run, .. } | State::Stopping { run, .. } => Some(run),
            State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => None,
        }
    }

    /// Whether a node that comes after this one may start: it serves.
    pub fn serves(&self) -> bool {
        matches!(self, State::Ready { .. } | State::Degraded { ready_since: Some(_), .. })
    }
}
