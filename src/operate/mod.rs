//! Things one does to a cluster.

pub mod drill;
pub mod operation;
pub mod prove;
pub mod reload;
pub mod verify;
pub mod whole;
