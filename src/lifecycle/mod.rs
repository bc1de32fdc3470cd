//! The pure machine: wanted x observed, (state, event, now) -> (state, actions). No async, no clock, no log, no other room.
//!
//! `step` is the table, `moves` what its cells do, `restart` what follows an end, `fleet` carries changes to neighbours,
//! `words` says it. `docs/lifecycle-table.md` is written from the table by a test.

mod action;
mod event;
mod fleet;
mod moves;
mod restart;
mod state;
mod step;
#[cfg(test)]
mod table;
mod words;

pub use action::Action;
pub use event::{Ended, Event, Hold};
pub use fleet::{Fleet, NodeSpec, Taken};
pub use restart::BackOff;
pub use state::{Dying, Node, Run, State, StopReason, Wait, Wanted};
pub use step::Why;
