//! The pure machine: wanted x observed, (state, event, now) -> (state, actions). No async, no clock, no log, no other room.

mod action;
mod event;
mod fleet;
mod state;
mod step;

pub use action::Action;
pub use event::{Ended, Event, Hold};
pub use fleet::{Fleet, NodeSpec};
pub use state::{Dying, Node, Run, State, StopReason, Wait, Wanted};
