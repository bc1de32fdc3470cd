//! What this root remembers of its data: `state/identity.json`. Kept beside the data, so that data which is exchanged, emptied
//! or not mounted is noticed.

use super::reached::{Reached, ReachedRecord};
use crate::base::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// The file. Unknown keys are ignored, missing ones are unknown: an older version's file can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// 1.
    pub schema: u32,
    /// The machine that wrote it last.
    pub machine: Option<Machine>,
    /// The Kafka cluster's id.
    pub cluster: Option<String>,
    /// Brokers that have had data of that cluster, and where.
    pub brokers: BTreeMap<u32, PathBuf>,
    /// How far ZooKeeper's data of that cluster had come.
    pub zookeeper: Option<ReachedRecord>,
    /// The MySQL server.
    pub mysql: Option<MysqlRecord>,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `/etc/machine-id` (machine-id(5)); empty when the machine has none.
    pub id: String,
    /// Which boot of it.
    pub boot: String,
}

/// A MySQL server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlRecord {
    /// `server-uuid` of its `auto.cnf`.
    pub server_uuid: String,
    /// Where its data was.
    pub data_dir: PathBuf,
}

impl Record {
    /// Notes that broker `id` has data of `cluster`. Brokers of another cluster are forgotten with it.
    pub fn learn_broker(&mut self, id: u32, cluster: &str, data_dir: PathBuf) {
        self.learn_cluster(cluster);
        self.brokers.insert(id, data_dir);
    }

    /// Notes how far ZooKeeper's data of `cluster` have come, seen at `now`. Nothing of a cluster that is not remembered.
    pub fn learn_reached(&mut self, cluster: &str, reached: Reached, now: Timestamp) {
        let before = self.zookeeper.map(|record| record.most);
        let most = before.unwrap_or_default().most(reached);
        if self.cluster.as_deref() == Some(cluster) && before != Some(most) {
            self.zookeeper = Some(ReachedRecord { most, seen: now });
        }
    }

    /// Notes the cluster's id.
    pub fn learn_cluster(&mut self, cluster: &str) {
        if self.cluster.as_deref() != Some(cluster) {
            self.cluster = Some(cluster.to_owned());
            self.brokers.clear();
            self.zookeeper = None;
        }
    }

    /// What is worth saying of a record that another machine wrote; none: it is this one, or one of the two is unknown.
    pub fn moved_here(&self, here: &Machine) -> Option<String> {
        let before = self.machine.as_ref().filter(|m| !m.id.is_empty() && !here.id.is_empty() && m.id != here.id)?;
        Some(format!(
            "this root was last used on another machine (machine id {}, here {}): its disk was moved or copied; when the copy's \
             original still runs, two servers have the same cluster id and MySQL server uuid",
            before.id, here.id
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_of_another_cluster_are_forgotten_with_it() {
        let mut record = Record::default();
        record.learn_broker(1, "X", "/1".into());
        record.learn_broker(2, "X", "/2".into());
        record.learn_cluster("X");
        assert_eq!(record.brokers.len(), 2);
        record.learn_broker(3, "Y", "/3".into());
        assert_eq!((record.cluster.as_deref(), record.brokers.len()), (Some("Y"), 1));
    }

    #[test]
    fn how_far_zookeeper_has_come_is_kept_at_its_highest_and_forgotten_with_its_cluster() {
        let reached = |epoch, ids| Reached { controller_epoch: Some(epoch), producer_ids: Some(ids) };
        let mut record = Record::default();
        record.learn_reached("X", reached(7, 999), Timestamp(1));
        assert_eq!(record.zookeeper, None, "of a cluster that nobody has brokers of");
        record.learn_cluster("X");
        record.learn_reached("X", reached(7, 999), Timestamp(2));
        let first = Some(ReachedRecord { most: reached(7, 999), seen: Timestamp(2) });
        assert_eq!(record.zookeeper, first);
        for (cluster, seen) in
            [("X", reached(7, 999)), ("X", reached(6, 0)), ("X", Reached::default()), ("Y", reached(9, 9))]
        {
            record.learn_reached(cluster, seen, Timestamp(3));
            assert_eq!(record.zookeeper, first, "{cluster} {seen:?}");
        }
        record.learn_reached("X", reached(6, 1999), Timestamp(4));
        assert_eq!(record.zookeeper, Some(ReachedRecord { most: reached(7, 1999), seen: Timestamp(4) }));
        record.learn_cluster("X");
        assert!(record.zookeeper.is_some());
        record.learn_cluster("Y");
        assert_eq!(record.zookeeper, None);
    }

    #[test]
    fn another_machine_is_said_and_an_unknown_one_is_not() {
        let machine = |id: &str| Machine { id: id.into(), boot: "b".into() };
        let record = Record { machine: Some(machine("aa")), ..Record::default() };
        assert!(record.moved_here(&machine("bb")).unwrap().contains("machine id aa, here bb"));
        for here in ["aa", ""] {
            assert_eq!(record.moved_here(&machine(here)), None);
        }
        assert_eq!(Record::default().moved_here(&machine("bb")), None);
    }

    #[test]
    fn a_file_of_another_version_is_read_as_far_as_it_is_known() {
        let record: Record = serde_json::from_str(r#"{"schema":9,"cluster":"X","mood":1}"#).unwrap();
        assert_eq!((record.cluster.as_deref(), record.mysql), (Some("X"), None));
        let most = Reached { controller_epoch: Some(7), producer_ids: None };
        let all = Record {
            brokers: BTreeMap::from([(2, "/2".into())]),
            zookeeper: Some(ReachedRecord { most, seen: Timestamp(1_763_867_279_042) }),
            ..Record::default()
        };
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&all).unwrap()).unwrap(), all);
    }
}
