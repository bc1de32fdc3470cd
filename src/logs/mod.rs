//! Logs of the nodes: rotation at line ends, and the reader that follows across it.

pub mod follow;
pub mod jsonl;
pub mod pump;
pub mod reader;
pub mod stamp;
pub mod writer;
