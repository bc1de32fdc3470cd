//! Logs of the nodes: rotation at line ends, and the reader that follows across it; the files of events and incidents.

pub mod follow;
pub mod incident_files;
pub mod jsonl;
pub mod pump;
pub mod reader;
pub mod stamp;
pub mod writer;
