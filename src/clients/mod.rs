//! Native clients: ZooKeeper, Kafka, MySQL, plain HTTP. They look and report; they do not decide.
//!
//! Every call is bounded by the time its caller gives it, and every error names what was being done to whom.

mod error;
pub mod http;
pub mod kafka;
mod kafka_ffi;
pub mod mysql;
mod reader;
pub mod tcp;
pub mod zookeeper;

pub use error::ClientError;
