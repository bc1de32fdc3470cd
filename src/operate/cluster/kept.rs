//! Settings that brokers were given while they run, as ZooKeeper keeps them: which of them beat a broker's file and are not a reload's.
//! Pure.

use crate::{
    base::{NodeName, dynamic::DynamicRecord},
    operate::dynamic::IN_NO_FILE,
    services::change::hide,
};
use std::collections::BTreeMap;

/// Settings by name, as they were written.
pub type Set = BTreeMap<String, String>;

/// What is kept, without what is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// For one broker (`/config/brokers/ID`).
    pub of: BTreeMap<u32, Set>,
    /// For all (`/config/brokers/<default>`); one of a broker's own comes before it.
    pub for_all: Set,
}

/// The settings of a node of ZooKeeper's: `{"version":1,"config":{KEY:VALUE}}` (ZkData.scala, `ConfigEntityZNode`); none: it says something else.
pub fn read(data: &[u8]) -> Option<Set> {
    let all: serde_json::Value = serde_json::from_slice(data).ok()?;
    let config = all.get("config")?.as_object()?;
    config.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// A line for each setting that beats a file and that somebody else has set. `records`: what reloads have set, as it stood before
/// ZooKeeper was asked and after: a reload may have been at it meanwhile.
pub fn set_by_others(kept: &Given, records: &[&BTreeMap<u32, DynamicRecord>]) -> Vec<String> {
    let counts = |key: &str| !IN_NO_FILE.contains(&key);
    let is_ours = |id: u32, key: &str, value: &str| {
        records.iter().any(|of| of.get(&id).is_some_and(|record| record.is_ours(key, value)))
    };
    let mut lines = Vec::new();
    for (id, set) in &kept.of {
        for (key, value) in set.iter().filter(|(key, value)| counts(key) && !is_ours(*id, key, value)) {
            lines.push(format!("{}: {} was set for this broker", NodeName::broker(*id), shown(key, value)));
        }
    }
    for (key, value) in kept.for_all.iter().filter(|(key, _)| counts(key)) {
        lines.push(format!("every broker: {} was set for all brokers", shown(key, value)));
    }
    lines
}

fn shown(key: &str, value: &str) -> String {
    hide(&format!("{key}={value}")).replacen('=', " = ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rows: &[(&str, &str)]) -> Set {
        rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_beats_a_file_and_is_not_ours_is_told_and_no_secret() {
        let mut ours = DynamicRecord::default();
        ours.settle(&set(&[("num.io.threads", "8"), ("background.threads", "8")]));
        let kept = Given {
            of: BTreeMap::from([
                (1, set(&[("num.io.threads", "8"), ("background.threads", "9")])),
                (2, set(&[("num.io.threads", "8"), ("leader.replication.throttled.rate", "1")])),
                (3, set(&[("listener.name.external.ssl.key.password", "c2VjcmV0")])),
            ]),
            for_all: set(&[("log.retention.ms", "5")]),
        };
        assert_eq!(
            set_by_others(&kept, &[&BTreeMap::new(), &BTreeMap::from([(1, ours)])]),
            [
                "broker-1: background.threads = 9 was set for this broker",
                "broker-2: num.io.threads = 8 was set for this broker",
                "broker-3: listener.name.external.ssl.key.password = (hidden) was set for this broker",
                "every broker: log.retention.ms = 5 was set for all brokers",
            ]
        );
        assert!(set_by_others(&Given::default(), &[]).is_empty());
    }

    #[test]
    fn what_is_not_kafkas_form_is_not_taken_for_nothing() {
        assert_eq!(read(br#"{"version":1,"config":{"a":"b"}}"#), Some(set(&[("a", "b")])));
        assert_eq!(read(br#"{"version":1,"config":{}}"#), Some(Set::new()));
        for data in [&b""[..], b"{}", b"[]", br#"{"version":1,"config":{"a":5}}"#, br#"{"config":[]}"#] {
            assert_eq!(read(data), None);
        }
    }
}
