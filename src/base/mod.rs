//! The shared values that rooms hand each other: names, units, paths, recipes, outcomes. No I/O, no product knowledge.

pub mod drill;
pub mod dynamic;
pub mod event;
pub mod ids;
pub mod incident;
pub mod launched;
pub mod outcome;
pub mod paths;
pub mod printable;
pub mod programs;
pub mod reason;
pub mod recipe;
pub mod stall;
pub mod stop_signal;
pub mod time;
pub mod topics;
pub mod units;
pub mod verdict;

pub use event::{EventKind, EventLine, OrderedBy};
pub use ids::{Incarnation, NodeKind, NodeName};
pub use launched::Launched;
pub use outcome::{Cause, ExitRecord, ExitStatus};
pub use paths::{BALLAST_BESIDE, Layout};
pub use reason::Reason;
pub use time::{Moment, Timestamp};
pub use units::{ByteSize, Port};
pub use verdict::Verdict;
