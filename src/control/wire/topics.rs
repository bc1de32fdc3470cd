//! What `topics --json` prints. Keys are never missing; unknown is null.

use crate::base::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All topics but Kafka's own and the supervisor's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// 1.
    pub schema: u32,
    /// When a broker was asked.
    pub at: Timestamp,
    /// Every topic of the configuration is there and as it says.
    pub ok: bool,
    /// Those of the configuration, then the others.
    pub topics: Vec<Topic>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// `as-configured differs missing waits not-in-file`.
    pub state: String,
    /// Its partitions; null: it is not there.
    pub partitions: Option<u32>,
    /// The fewest copies that one of them has; null: it is not there.
    pub replication_factor: Option<u32>,
    /// Settings of its own; null: it is not in the configuration, and was not asked for them.
    pub settings: Option<BTreeMap<String, String>>,
    /// What is not as the configuration says.
    pub differences: Vec<String>,
    /// `topics apply` mends some of it.
    pub mendable: bool,
    /// Why what is to be done is not done yet; null: nothing is.
    pub waits: Option<String>,
    /// Worth knowing.
    pub notes: Vec<String>,
}
