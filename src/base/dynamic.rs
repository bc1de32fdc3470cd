//! What a reload has set of the settings of a broker that ran (`state/dynamic-NAME.json`). The broker keeps it in ZooKeeper, where it
//! beats the file; it is taken back before the broker's next start, because the file says the same by then.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The file. Keys are added, never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicRecord {
    /// 1; a newer one says the same with more words. 0: there was no file.
    #[serde(default)]
    pub schema: u32,
    /// By setting every value of ours that may be in ZooKeeper: more than one while it is being changed. Any other value is
    /// somebody else's.
    #[serde(default)]
    pub set: BTreeMap<String, BTreeSet<String>>,
    /// Settings whose change has begun and of which nobody knows whether the broker has it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub under_way: BTreeSet<String>,
}

impl DynamicRecord {
    /// Before it is done: these are about to be set.
    pub fn intend(&mut self, settings: &BTreeMap<String, String>) {
        self.schema = 1;
        for (key, value) in settings {
            self.set.entry(key.clone()).or_default().insert(value.clone());
            self.under_way.insert(key.clone());
        }
    }

    /// After it: these are set, and no earlier value of theirs.
    pub fn settle(&mut self, settings: &BTreeMap<String, String>) {
        for (key, value) in settings {
            self.set.insert(key.clone(), BTreeSet::from([value.clone()]));
            self.under_way.remove(key);
        }
    }

    /// Whether it was a reload that set this.
    pub fn is_ours(&self, key: &str, value: &str) -> bool {
        self.set.get(key).is_some_and(|values| values.contains(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_version_1_is_read_and_written_with_all_that_it_said() {
        let golden = include_str!("../../tests/golden/v1/dynamic-broker-2.json");
        let record: DynamicRecord = serde_json::from_str(golden).unwrap();
        assert!(record.is_ours("log.cleaner.threads", "1") && record.is_ours("log.cleaner.threads", "2"));
        assert!(record.under_way.contains("log.cleaner.threads") && !record.is_ours("num.io.threads", "9"));
        assert_eq!(serde_json::to_string_pretty(&record).unwrap(), golden.trim_end());
    }

    #[test]
    fn while_a_change_is_under_way_both_values_are_ours_and_afterwards_the_new_one() {
        let settings = |value: &str| BTreeMap::from([("num.io.threads".to_owned(), value.to_owned())]);
        let mut record = DynamicRecord::default();
        record.intend(&settings("6"));
        record.settle(&settings("6"));
        record.intend(&settings("8"));
        assert!(record.is_ours("num.io.threads", "6") && record.is_ours("num.io.threads", "8"));
        assert!(record.under_way.contains("num.io.threads"));
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<DynamicRecord>(&text).unwrap(), record);
        record.settle(&settings("8"));
        assert!(!record.is_ours("num.io.threads", "6") && record.is_ours("num.io.threads", "8"));
        assert!(record.under_way.is_empty() && !record.is_ours("background.threads", "8"));
    }
}
