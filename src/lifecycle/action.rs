//! What the machine asks to be done. `engine::actions` is the only file that matches on these.

use crate::base::{Incarnation, NodeName};
use crate::lifecycle::StopReason;

/// One thing to do for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do the one-time work and write the files; answer with `Prepared`, `Held`*, `PrepareFailed` or `Refused`.
    Prepare {
        /// Whose.
        node: NodeName,
    },
    /// Preparing is no longer wanted: cancel what can be cancelled and drop the answer that may still come.
    CancelPrepare {
        /// Whose.
        node: NodeName,
    },
    /// Launch this incarnation; answer with `Spawned`, `Gone` or `Refused`.
    Spawn {
        /// Whose.
        node: NodeName,
        /// Which start.
        incarnation: Incarnation,
    },
    /// Begin to look whether it is ready; answer with `Probed` again and again until the run ends.
    Watch {
        /// Whose.
        node: NodeName,
        /// Which start.
        incarnation: Incarnation,
    },
    /// Send the stop signal to the main process; the shim sends SIGKILL itself if the daemon dies during the grace period.
    AskToStop {
        /// Whose.
        node: NodeName,
        /// Which start.
        incarnation: Incarnation,
        /// Why.
        reason: StopReason,
    },
    /// SIGKILL everything of the tree.
    KillTree {
        /// Whose.
        node: NodeName,
        /// Which start.
        incarnation: Incarnation,
    },
    /// Send one signal to the main process.
    Signal {
        /// Whose.
        node: NodeName,
        /// Which start.
        incarnation: Incarnation,
        /// The signal number.
        signal: i32,
    },
}
