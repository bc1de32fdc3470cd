//! What a snapshot consists of: whose data, by which program, and every file with its digest.

use crate::{
    base::{NodeName, Timestamp, dynamic::DynamicRecord},
    services::identity::Marker,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// The file's name in the snapshot's directory.
pub(super) const FILE: &str = "manifest.json";

/// Stores that belong together: one of a set without the others is no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// ZooKeeper and all brokers: the cluster id and the topics are in ZooKeeper, the records with the brokers.
    Kafka,
    /// The MySQL server.
    Mysql,
}

impl Set {
    /// Both, in order of start.
    pub const ALL: [Set; 2] = [Set::Kafka, Set::Mysql];

    /// The word for it in commands and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Set::Kafka => "kafka",
            Set::Mysql => "mysql",
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Set::ALL
            .into_iter()
            .find(|set| set.as_str() == text)
            .ok_or_else(|| format!("there is no set {text:?}: kafka or mysql"))
    }
}

/// `manifest.json`. Keys are added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub schema: u32,
    /// The snapshot's name.
    pub name: String,
    /// When its copying began; everything was down.
    pub made_at: Timestamp,
    /// Version of the supervisor that made it.
    pub supervisor: String,
    /// The Kafka cluster's id, as the brokers' data say.
    #[serde(default)]
    pub cluster: Option<String>,
    /// `server-uuid` of the MySQL server.
    #[serde(default)]
    pub mysql: Option<String>,
    /// Names of secret files that belong to the MySQL data: its accounts have these passwords.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// What each of them has; empty: there are none, or a version made it that took no digest of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_digests: BTreeMap<String, FileEntry>,
    /// What reloads had set of its brokers, by broker; it is in ZooKeeper's data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic: BTreeMap<String, DynamicRecord>,
    /// What a drill had left in these data and owed (`state/drill-left.json`): it is there again after a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_left: Option<serde_json::Value>,
    /// One per node with data.
    pub stores: Vec<StoreCopy>,
}

impl Manifest {
    /// Bytes of all files, as their lengths say.
    pub fn bytes(&self) -> u64 {
        self.stores.iter().map(StoreCopy::bytes).sum()
    }

    /// Whether it can be told that the passwords are those that were copied.
    pub fn proves_secrets(&self) -> bool {
        self.secrets.iter().all(|name| self.secret_digests.contains_key(name))
    }

    /// The sets it has.
    pub fn sets(&self) -> Vec<Set> {
        Set::ALL.into_iter().filter(|set| self.stores.iter().any(|s| s.set == *set)).collect()
    }
}

/// One node's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCopy {
    /// Whose; also the name of its directory in the snapshot.
    pub node: NodeName,
    /// What it belongs to.
    pub set: Set,
    /// The newest program that may have written it.
    #[serde(default)]
    pub written_by: Option<Marker>,
    /// Everything below the data directory, parents before what is in them.
    pub entries: Vec<Entry>,
}

impl StoreCopy {
    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().filter_map(|e| e.file.as_ref()).map(|f| f.bytes).sum()
    }
}

/// A directory or a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the data directory; empty: that directory itself.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a file.
    #[serde(default)]
    pub file: Option<FileEntry>,
}

/// A file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Length.
    pub bytes: u64,
    /// SHA-256 of all of it, hexadecimal.
    pub sha256: String,
}

/// A name that a snapshot may have: one plain component, nothing hidden.
pub fn snapshot_name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > 64 || text.starts_with(['.', '-']) || !text.bytes().all(plain) {
        return Err(format!(
            "{text:?} is no name for a snapshot: 1 to 64 letters, digits, dots, dashes and underscores, not beginning with a dot \
             or dash"
        ));
    }
    Ok(text.to_owned())
}

/// The name of one that nobody named: its time.
pub(super) fn name_at(now: Timestamp) -> String {
    now.to_string().replace(':', "-").replace(".000", "").replace('.', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_version_1_is_read_with_all_that_it_said() {
        let golden = include_str!("../../../tests/golden/v1/snapshot-manifest.json");
        let manifest: Manifest = serde_json::from_str(golden).unwrap();
        assert_eq!((manifest.sets(), manifest.bytes()), (vec![Set::Kafka], 91));
        assert_eq!(manifest.cluster.as_deref(), Some("XP-MI9SiSYml01ycTIH6WQ"));
        assert!(manifest.dynamic["broker-2"].is_ours("num.io.threads", "8"));
        let store = &manifest.stores[0];
        assert_eq!(store.written_by.as_ref().unwrap().version, "3.5.2");
        assert_eq!((store.entries[0].mode, store.entries[1].path.as_str()), (0o750, "meta.properties"));
    }

    #[test]
    fn a_name_is_one_plain_component_and_that_of_a_moment_is_one() {
        for good in ["before-upgrade", "2026_1.2", &name_at(Timestamp(1_763_867_279_042)), &name_at(Timestamp(0))] {
            assert_eq!(snapshot_name(good).as_deref(), Ok(good));
        }
        for bad in ["", ".x", "-x", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert!(snapshot_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_set_is_read_as_it_is_written() {
        for set in Set::ALL {
            assert_eq!(set.as_str().parse(), Ok(set));
            assert_eq!(serde_json::to_string(&set).unwrap(), format!("\"{set}\""));
        }
        assert!("zookeeper".parse::<Set>().is_err());
    }
}
