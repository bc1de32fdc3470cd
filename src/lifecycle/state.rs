//! What a node can be, and what is wanted of it. Data lives in the variant that owns it.

use crate::base::{
    Cause, Incarnation, Moment, NodeName,
    ids::ProcessId,
    outcome::Failure,
    recipe::{Restart, Stop, WhileStarting},
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
    pub(super) peers: Vec<NodeName>,
    pub(super) restart: Restart,
    pub(super) stop: Stop,
    pub(super) start_deadline: Duration,
    pub(super) probe_failures: u32,
    pub(super) wanted: Wanted,
    pub(super) state: State,
    pub(super) incarnation: Incarnation,
    /// Starts since the fleet was made that nobody ordered.
    pub(super) restarts: u32,
    /// The last of them is counted and not yet launched.
    pub(super) restart_due: bool,
    /// A start or restart was ordered that has not been launched yet.
    pub(super) start_due: bool,
    /// Deaths in a row without a healthy run between them.
    pub(super) deaths_in_a_row: u32,
    /// A restart, or a start of a node on its way out, was ordered: start again once it is gone, whatever the policy says.
    pub(super) bounce: bool,
    /// `KillNow` was ordered while the launch was under way: kill it as soon as it is known.
    pub(super) kill: bool,
    /// The shim of its process was killed: the process has to be replaced.
    pub(super) shim_lost: bool,
    /// How its last run under this daemon ended.
    pub(super) last_end: Option<Cause>,
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
    /// Whether the last of them is counted and not yet launched.
    pub fn restart_is_due(&self) -> bool {
        self.restart_due
    }
    /// Whether a start or restart was ordered that has not been launched yet: it is owed whatever the restart policy says.
    pub fn start_is_due(&self) -> bool {
        self.start_due
    }
    /// Deaths in a row without a healthy run between them.
    pub fn deaths_in_a_row(&self) -> u32 {
        self.deaths_in_a_row
    }
    /// The nodes that must serve before it is started.
    pub fn after(&self) -> &[NodeName] {
        &self.after
    }
    /// What keeps it from being started; none unless it has failed.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.state {
            State::Failed { failure, .. } => Some(failure),
            State::Down { .. }
            | State::Waiting(_)
            | State::Preparing { .. }
            | State::Starting { .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { .. } => None,
        }
    }

    /// Whether its shim was killed and its process is still to be replaced.
    pub fn lost_its_shim(&self) -> bool {
        self.shim_lost
    }

    /// Whether a stop or restart was ordered that waits for the end of its start-up.
    pub fn stop_is_queued(&self) -> bool {
        self.start_is_protected() && (self.wanted == Wanted::Down || self.bounce)
    }

    /// It has a process that starts, and the stop signal would hurt it.
    pub(super) fn start_is_protected(&self) -> bool {
        match (&self.state, &self.stop.while_starting) {
            (State::Starting { run: Some(_), .. }, WhileStarting::Wait { .. }) => true,
            (State::Starting { run: Some(_), .. }, WhileStarting::Ask)
            | (
                State::Starting { run: None, .. }
                | State::Down { .. }
                | State::Waiting(_)
                | State::Preparing { .. }
                | State::Ready { .. }
                | State::Degraded { .. }
                | State::Stopping { .. }
                | State::Failed { .. },
                _,
            ) => false,
        }
    }

    /// Whether it keeps its peers from being replaced: it is to run and is not ready.
    pub(super) fn is_away(&self) -> bool {
        self.wanted == Wanted::Up && !matches!(self.state, State::Ready { .. })
    }

    /// How its last run under this daemon ended; none: none has ended yet.
    pub fn last_end(&self) -> Option<Cause> {
        self.last_end
    }

    /// The start that events must name to count: that of the process where there is one, else the last one.
    pub(super) fn current(&self) -> Incarnation {
        self.state.run().map_or(self.incarnation, |run| run.incarnation)
    }

    /// Whether the nodes it comes after have to wait with their own stop: it is to go down and still has a process, or
    /// will have one as soon as the launch under way answers.
    pub(super) fn holds_back_a_stop(&self) -> bool {
        match (self.wanted, &self.state) {
            (Wanted::Up, _) => false,
            (
                Wanted::Down,
                State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. },
            ) => true,
            (Wanted::Down, State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. }) => {
                false
            }
        }
    }
}

/// What a node is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing runs and nothing is about to. With `Wanted::Up` it ended by itself and its restart policy says: not again.
    Down {
        /// The end of the last run under this daemon; none: it never ran.
        last: Option<Cause>,
    },
    /// It is wanted up and waits for something with a name.
    Waiting(Wait),
    /// One-time work and files; an answer will come. A stop ordered now cancels it.
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
        /// When a start without progress is called late; moved on by progress. Runs only once there is a process.
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
        /// When it became ready this time: a node that comes back from `Degraded` begins anew here.
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
        /// When it last became ready, or was first found to serve; none: never in this run (a late start).
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
        /// Why the last run ended; `CouldNotStart` when it did not come to a run.
        cause: Cause,
        /// Words of the preparation that failed; none: a run ended.
        why: Option<String>,
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

    /// When it last became ready in the run that is still there; none: it was not, or there is no run.
    pub fn ready_since(&self) -> Option<Moment> {
        match self {
            State::Ready { since, .. } => Some(*since),
            State::Degraded { ready_since, .. } | State::Stopping { ready_since, .. } => *ready_since,
            State::Down { .. }
            | State::Waiting(_)
            | State::Preparing { .. }
            | State::Starting { .. }
            | State::Failed { .. } => None,
        }
    }

    /// When it wants a `Tick`; none: no deadline runs in this state.
    pub fn deadline(&self) -> Option<Moment> {
        match self {
            State::Waiting(Wait::BackOff { until, .. }) => Some(*until),
            State::Starting { run: Some(_), deadline, .. } => Some(*deadline),
            State::Stopping { dying: Dying::Asked { kill_at }, .. } => Some(*kill_at),
            State::Stopping { dying: Dying::Killed { again_at }, .. } => Some(*again_at),
            State::Down { .. }
            | State::Waiting(Wait::Dependencies(_) | Wait::OldSession { .. } | Wait::Held { .. })
            | State::Preparing { .. }
            | State::Starting { run: None, .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { dying: Dying::Leftovers, .. }
            | State::Failed { .. } => None,
        }
    }

    /// Whether a node that comes after this one may start: it serves.
    pub fn serves(&self) -> bool {
        matches!(self, State::Ready { .. } | State::Degraded { ready_since: Some(_), .. })
    }
}
