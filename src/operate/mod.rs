//! Things one does to a cluster.

pub mod prove;
pub mod reload;
pub mod verify;
pub mod whole;
