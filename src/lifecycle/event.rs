//! What can happen to a node.

use crate::base::{Cause, Incarnation, Verdict, ids::ProcessId, outcome::Failure};
use crate::lifecycle::Wanted;

/// Something that happened to one node, or an order. Events of an old incarnation change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Order: shall run. Leaves `Failed`, skips a back-off.
    Start,
    /// Order: shall not run. A stop waits for those dependents that are wanted down too: order dependents first
    /// (`Fleet::dependents_first`).
    Stop,
    /// Order: stop, then start. A node that does not run is just started.
    Restart,
    /// Order: SIGKILL the whole tree now; `Wanted` becomes down (second Ctrl-C).
    KillNow,
    /// Order: send this signal to the main process; nothing else changes.
    Signal(i32),
    /// What nodes it depends on or that depend on it do has changed: decide again. The fleet raises it itself.
    Neighbours,
    /// Time has passed: a deadline of the state may be due.
    Tick,
    /// Preparing ended well. Answers of a cancelled `Prepare` must not be sent: the machine cannot tell them from those
    /// of the one that followed it.
    Prepared,
    /// Preparing found something that must come true outside first; it goes on looking and will report again.
    Held(Hold),
    /// Preparing failed in a way that may pass: back-off.
    PrepareFailed {
        /// Words.
        why: String,
    },
    /// Preparing or spawning ended with a fault that restarting cannot cure. It is the last answer of that action.
    Refused(Failure),
    /// The shim launched the node.
    Spawned {
        /// Of which start.
        incarnation: Incarnation,
        /// The process.
        process: ProcessId,
    },
    /// A probe attempt ended.
    Probed {
        /// Of which start.
        incarnation: Incarnation,
        /// What it found.
        verdict: Verdict,
    },
    /// The main process ended; part of its tree still lives and is being removed by the shim.
    MainEnded {
        /// Of which start.
        incarnation: Incarnation,
    },
    /// The whole tree is gone and the exit is on record.
    Gone {
        /// Of which start.
        incarnation: Incarnation,
        /// How.
        ended: Ended,
    },
    /// The shim died while its node lives: the daemon has taken over pipe and reaping.
    ShimLost {
        /// Of which start.
        incarnation: Incarnation,
    },
    /// A new daemon found it running: the state it has and what was wanted. Comes before any order; give it to
    /// dependents first (`Fleet::dependents_first`), so that a stop under way keeps its order.
    Adopted {
        /// Of which start.
        incarnation: Incarnation,
        /// The process.
        process: ProcessId,
        /// What the last daemon had written down as wanted.
        wanted: Wanted,
        /// Starts that nobody ordered, so far.
        restarts: u32,
        /// A restart of this run was ordered and had not come to a launch.
        start_due: bool,
    },
    /// A new daemon found it without a process and wanted up: it goes on where the last daemon was, with the deaths in a
    /// row it was made with. No order: pauses and the restart policy hold.
    Resumed {
        /// How its last run ended; none: it never ran.
        ended: Option<Cause>,
        /// It had failed, with this: it stays so until somebody orders a start. None: it had not.
        failure: Option<Failure>,
        /// A start was ordered and had not come to a launch: it is carried out, whatever came before it.
        start_due: bool,
    },
}

/// How a run ended, judged by the engine with the product's knowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub cause: Cause,
    /// Present when restarting cannot cure it (then `cause.is_terminal()`).
    pub failure: Option<Failure>,
}

/// What preparing waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A broker's own old session.
    OldSession {
        /// Words with the countdown.
        why: String,
    },
    /// Anything else.
    Other {
        /// Words.
        why: String,
    },
}
