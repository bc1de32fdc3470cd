//! Known lines of Debezium's MySQL connector, in a Kafka Connect that runs as a command. A connector that fails ends nothing.

use super::{NEW_SNAPSHOT, noted};
use crate::services::catalogue::{Known, Product};

/// Lines that say more than they look, and end nothing.
pub(super) const NOTED: &[Known] = &[
    // MySqlConnectorTask.validateSnapshotFeasibility
    noted(
        Product::Debezium,
        &["The connector is trying to read binlog starting at", "is no longer available on the server"],
        "MySQL has removed the part of its binlog that the connector has not read yet",
        NEW_SNAPSHOT,
    ),
    noted(
        Product::Debezium,
        &["Could not find first log file name in binary log index file"],
        "MySQL has no more the binlog file that the connector wants to go on with",
        NEW_SNAPSHOT,
    ),
    // "slave" and "master" up to 8.0.25
    noted(
        Product::Debezium,
        &["with the same server_uuid/server_id as this"],
        "two readers of MySQL's changes have one server id, and throw each other out",
        "give each connector a database.server.id of its own",
    ),
    noted(
        Product::Debezium,
        &["The db history topic", "missing"],
        "the connector's topic with the history of schemas is empty or gone: another name was set, or its old records were removed",
        "set snapshot.mode to recovery (schema_only_recovery in older Debezium) for one start, and retention.ms = -1 for that topic",
    ),
];
