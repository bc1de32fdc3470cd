//! Verbs that need no daemon.

pub mod artifacts;
pub mod config_file;
pub mod doctor;
pub mod down;
pub mod drills;
pub mod events;
pub mod fetch;
pub mod incidents;
pub mod journal;
pub mod logs;
pub mod owner;
pub mod paused;
pub mod places;
pub mod plan;
pub mod port_owners;
pub mod preflight;
pub mod programs;
pub mod scope;
pub mod served;
mod shims;
pub mod status;
pub mod stores;
pub mod throw_away;
pub mod unit;
pub mod unit_paths;
pub mod versions;
