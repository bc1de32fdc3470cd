//! Things one does to a cluster.

pub mod again;
pub mod away;
pub mod cluster;
pub mod disk;
pub mod drill;
pub mod dynamic;
pub mod gate;
pub mod impact;
#[cfg(test)]
mod liars;
pub mod operation;
pub mod prove;
pub mod reload;
pub mod roll;
pub mod topics;
pub mod unrolled;
pub mod verify;
pub mod whole;
