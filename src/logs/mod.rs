//! Logs of the nodes: rotation at line ends, housekeeping, the reader that follows across both; the files of events and
//! incidents.

pub mod budget;
pub mod entries;
mod file;
pub mod follow;
pub mod housekeeping;
pub mod incident_files;
pub mod jsonl;
pub mod names;
pub mod pump;
pub mod reader;
pub mod show;
pub mod stamp;
pub mod tail;
pub mod translate;
pub mod wakeup;
pub mod writer;
