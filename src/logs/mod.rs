//! Logs of the nodes: rotation at line ends, housekeeping, and the reader that follows across both.

pub mod budget;
mod file;
pub mod follow;
pub mod housekeeping;
pub mod jsonl;
pub mod names;
pub mod pump;
pub mod reader;
pub mod stamp;
pub mod wakeup;
pub mod writer;
