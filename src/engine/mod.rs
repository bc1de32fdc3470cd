//! Turns the machine's actions into processes and what happens to them into events. Decides no transition itself.

mod actions;
mod adopt;
mod change;
mod chown;
mod class_data;
mod derive;
mod dispatcher;
mod identity;
mod incidents;
mod journal;
mod limits;
mod link;
mod mysql_init;
mod node;
mod orders;
mod orphan;
mod persist;
mod prepare;
mod reserve;
mod rounds;
mod snapshot;
mod still;
mod trend;
mod watch;
mod words;

pub use crate::lifecycle::Wanted;
pub use adopt::{foreign_shims, live_shims};
pub use change::Change;
pub use dispatcher::{Engine, Settings};
pub use journal::Journal;
pub use orders::{EngineOrder, Goal, Handle, OrderReply, Rejection};
pub use persist::{newer_state, was_wanted_up};
pub use reserve::Reserve;
pub use snapshot::{LastExit, NodeSnapshot, Snapshot, WaitsFor};
pub use still::Still;
pub use trend::{Trend, hours_to_cap};
