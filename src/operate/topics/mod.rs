//! Topics of the configuration: made when the cluster is there, looked at, changed where it is safe, deleted only by name.

mod check;
mod decide;
mod due;
mod keep;
mod look;
mod remove;
mod slot;

pub use check::checks;
pub use decide::Seen;
pub use keep::{Inbox, Keeper, keep, keeper};
pub use look::{Report, TopicReport};
pub use remove::{NotRemoved, remove};

use crate::config::OWN_TOPICS;

/// Whether a topic is Kafka's own, or the supervisor's: nobody configures or removes those here.
pub fn is_internal(name: &str) -> bool {
    let [proof, drills] = OWN_TOPICS;
    name.starts_with("__") || name == proof || name.starts_with(drills)
}
