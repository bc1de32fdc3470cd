//! Logs of the nodes: rotation at line ends, and the reader that follows across it.

pub mod pump;
pub mod writer;
