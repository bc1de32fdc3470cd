//! The per-node parent: owns the pipe, the log file and the exit record. Small on purpose: no async runtime, no JSON.

pub mod client;
mod codec;
mod connections;
mod launch;
mod notify;
pub mod record;
pub mod run;
mod setup;
mod title;
mod tree;
mod twins;
pub mod wire;
