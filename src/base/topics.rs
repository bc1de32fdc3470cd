//! What is kept of configured topics from one daemon to the next (`state/topics.json`): what was put into force, and what differed.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The file. Keys are added, never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// 1; a newer one says the same with more words. 0: there was no file.
    #[serde(default)]
    pub schema: u32,
    /// Topics that were made or changed as the file said, each with the settings that it was given: only those are ever taken back.
    #[serde(default)]
    pub topics: BTreeMap<String, BTreeMap<String, String>>,
    /// What differs from the file, by topic, when it was looked at last.
    #[serde(default)]
    pub differences: BTreeMap<String, Vec<String>>,
    /// Topics that left the file and were told of.
    #[serde(default)]
    pub left: BTreeSet<String>,
    /// What the file said of each topic when it was put into force last. One that is missing here is due; where there is nothing at all, an
    /// earlier program wrote it, and it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<BTreeMap<String, Said>>,
}

/// What the file says of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// How many partitions.
    pub partitions: u32,
    /// Brokers that have a copy of each.
    pub replication_factor: u32,
    /// Settings of the topic's own.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_version_1_is_read_and_written_with_all_that_it_said() {
        let golden = include_str!("../../tests/golden/v1/topics.json");
        let record: TopicRecord = serde_json::from_str(golden).unwrap();
        assert_eq!(record.topics["orders"]["min.insync.replicas"], "2");
        assert!(record.differences.contains_key("payments") && record.left.contains("carts"));
        assert_eq!(serde_json::to_string_pretty(&record).unwrap(), golden.trim_end());
    }
}
