//! What can stop a recipe from being made.

use crate::base::{ByteSize, NodeName};
use std::path::PathBuf;

/// Why a checked plan gives no recipe on this host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The artifact store resolved no such program.
    #[error("{node} needs {program}, and none was resolved")]
    NoProgram {
        /// Who needs it.
        node: NodeName,
        /// What.
        program: &'static str,
    },
    /// Brokers without a ZooKeeper.
    #[error("brokers need a ZooKeeper, and the plan has none")]
    NoZookeeper,
    /// A UI without brokers to show.
    #[error("kafka-ui shows brokers, and the plan has none")]
    NoBrokers,
    /// Heap and the least of the rest are more than the cap.
    #[error(
        "{node} does not fit its memory cap: heap {heap} and at least {rest} for the JVM's other memory are more than {cap}; \
         set memory_max to {least} or more, or a smaller heap"
    )]
    CapTooSmall {
        /// Whose cap.
        node: NodeName,
        /// The cap.
        cap: ByteSize,
        /// The heap.
        heap: ByteSize,
        /// Direct buffers, metaspace, code cache, stacks, the JVM's own.
        rest: ByteSize,
        /// The smallest cap for this heap.
        least: ByteSize,
    },
    /// A path that cannot be written into a command line or file.
    #[error("path {} cannot be used: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A MySQL server of a series without what this product relies on.
    #[error("MySQL {version} is not supported; 8.0.30 or later is")]
    MysqlSeries {
        /// The version found.
        version: String,
    },
}
