//! The per-node parent: owns the pipe, the log file and the exit record. Small on purpose: no async runtime, no JSON.

pub mod client;
mod codec;
pub mod record;
pub mod wire;
pub mod run;
