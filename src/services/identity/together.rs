//! Whether stores that are to be copied as one, or to come back as one, belong together: the rules of a start (`cluster`), with every
//! directory and its cluster side by side.

use super::{BrokerData, BrokerFacts, ClusterView, Found, Judgement, judge_broker, judge_directory};
use crate::base::{Cause, NodeName, outcome::Failure};
use std::{collections::BTreeSet, path::Path};

/// What ZooKeeper's files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZookeeperFound {
    /// There are none, or they were all read and know no cluster.
    Nothing,
    /// They know a cluster.
    Cluster(String),
    /// Not all of them could be read, and what was read knows none.
    Untold,
}

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub struct StoresFacts<'a> {
    /// Every broker's directory.
    pub brokers: &'a [BrokerData],
    /// ZooKeeper's.
    pub zookeeper: (&'a Path, &'a ZookeeperFound),
    /// The cluster this root remembers; none: it does not, or it has no part in this.
    pub recorded: Option<&'a str>,
    /// Where it remembers.
    pub record: &'a Path,
}

/// The cluster that all of it is of; none: of none yet. Refused: of more than one, or a part is missing.
pub fn judge_stores(facts: &StoresFacts<'_>) -> Result<Option<String>, Failure> {
    let (zookeeper_data, zookeeper) = facts.zookeeper;
    let mut view = ClusterView::default();
    let mut known = BrokerFacts {
        broker: 0,
        brokers: facts.brokers,
        zookeeper: &ClusterView::default(),
        zookeeper_data,
        recorded: facts.recorded,
        recorded_own: false,
        recorded_reached: None,
        record: facts.record,
    };
    if let Some(failure) = facts.brokers.iter().find_map(|own| judge_directory(&known, own)) {
        return Err(failure);
    }
    let mut sides: Vec<(String, &str)> = Vec::new();
    if let ZookeeperFound::Cluster(id) = zookeeper {
        sides.push((format!("zookeeper's data ({})", zookeeper_data.display()), id));
    }
    let of_brokers = facts.brokers.iter().filter_map(|own| match &own.found {
        Found::Data { cluster, .. } => {
            Some((format!("{}'s data ({})", NodeName::broker(own.broker), own.path.display()), cluster.as_str()))
        }
        Found::Empty | Found::Unnamed { .. } | Found::Kraft | Found::Unclear { .. } => None,
    });
    sides.extend(of_brokers);
    // Where ZooKeeper's files do not tell, the record stands for them: it was written when brokers and ZooKeeper agreed.
    if *zookeeper == ZookeeperFound::Untold
        && let Some(recorded) = facts.recorded
    {
        sides.push((format!("what this root remembers ({})", facts.record.display()), recorded));
    }
    let ids: BTreeSet<&str> = sides.iter().map(|(_, id)| *id).collect();
    if ids.len() > 1 {
        return Err(mixed(&sides));
    }
    let id = ids.first().map(|id| (*id).to_owned());
    // Data without their ZooKeeper, or without what says whose they are, or all of it gone: as a start would say. Files that
    // cannot be read are no empty ones.
    view.id = match zookeeper {
        ZookeeperFound::Nothing => None,
        ZookeeperFound::Cluster(_) | ZookeeperFound::Untold => id.clone(),
    };
    if view.id.is_none() && *zookeeper == ZookeeperFound::Untold {
        return Ok(id);
    }
    known.zookeeper = &view;
    for own in facts.brokers {
        if let Judgement::Refuse(failure) = judge_broker(&BrokerFacts { broker: own.broker, ..known }) {
            return Err(failure);
        }
    }
    let holds = |own: &BrokerData| own.found != Found::Empty;
    if facts.recorded.is_some() && !facts.brokers.is_empty() && !facts.brokers.iter().any(holds) {
        return Err(without_brokers(facts, id.as_deref()));
    }
    Ok(id)
}

fn mixed(sides: &[(String, &str)]) -> Failure {
    let each: Vec<String> = sides.iter().map(|(place, id)| format!("{place} of cluster {id}")).collect();
    Failure {
        cause: Cause::WrongIdentity,
        what: format!("these belong to more than one cluster: {}", each.join("; ")),
        remedy: "give each node the directory that is its own back (move it, or set data_dir), or restore all of them from a snapshot of \
                 one cluster (`cdc-supervisor snapshot list`); never edit meta.properties"
            .into(),
    }
}

fn without_brokers(facts: &StoresFacts<'_>, id: Option<&str>) -> Failure {
    let dirs: Vec<String> = facts.brokers.iter().map(|own| own.path.display().to_string()).collect();
    let of = id.or(facts.recorded).unwrap_or_default();
    Failure {
        cause: Cause::WrongIdentity,
        what: format!(
            "no broker has data of cluster {of}, which ZooKeeper's data ({}) and this root ({}) know: {} are empty; was a disk not mounted?",
            facts.zookeeper.0.display(),
            facts.record.display(),
            dirs.join(", ")
        ),
        remedy: format!(
            "mount or restore the brokers' data; when a new, empty cluster is meant: `cdc-supervisor reset kafka`, which also forgets {}",
            facts.record.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn broker(broker: u32, found: Found) -> BrokerData {
        BrokerData { broker, path: PathBuf::from(format!("/b{broker}")), found }
    }

    fn of(id: u32, cluster: &str) -> BrokerData {
        broker(id, Found::Data { cluster: cluster.into(), broker: id, topics: 1 })
    }

    fn judge(
        zookeeper: &ZookeeperFound,
        recorded: Option<&str>,
        brokers: &[BrokerData],
    ) -> Result<Option<String>, Failure> {
        let zookeeper = (Path::new("/z"), zookeeper);
        judge_stores(&StoresFacts { brokers, zookeeper, recorded, record: Path::new("/identity.json") })
    }

    fn refused(zookeeper: &ZookeeperFound, recorded: Option<&str>, brokers: &[BrokerData]) -> String {
        let failure = judge(zookeeper, recorded, brokers).unwrap_err();
        assert!(!failure.remedy.is_empty());
        failure.what
    }

    fn knows(id: &str) -> ZookeeperFound {
        ZookeeperFound::Cluster(id.into())
    }

    #[test]
    fn one_cluster_is_told_and_what_does_not_tell_is_no_mismatch() {
        use ZookeeperFound::{Nothing, Untold};
        let all = [of(1, "A"), of(2, "A")];
        let a = Ok(Some("A".to_owned()));
        for (zookeeper, recorded) in [(knows("A"), None), (knows("A"), Some("A")), (Untold, None), (Untold, Some("A"))]
        {
            assert_eq!(judge(&zookeeper, recorded, &all), a, "{zookeeper:?} {recorded:?}");
        }
        assert_eq!(judge(&knows("A"), Some("old"), &all), a, "replaced as a whole: the two that matter agree");
        assert_eq!(judge(&knows("A"), None, &[of(1, "A"), broker(2, Found::Empty)]), a, "it fetches its replicas");
        assert_eq!(judge(&Nothing, None, &[broker(1, Found::Empty)]), Ok(None), "nothing yet");
        assert_eq!(judge(&Untold, None, &[broker(1, Found::Empty)]), Ok(None), "it cannot be told");
        assert_eq!(judge(&Untold, None, &[]), Ok(None), "no brokers");
    }

    #[test]
    fn directories_of_two_clusters_are_named_each_with_its_own() {
        let what = refused(&knows("A"), None, &[of(1, "A"), of(2, "B")]);
        let all = "these belong to more than one cluster: zookeeper's data (/z) of cluster A; broker-1's data (/b1) of cluster A; \
                   broker-2's data (/b2) of cluster B";
        assert_eq!(what, all);
        let what = refused(&knows("A"), Some("B"), &[of(1, "B"), of(2, "B")]);
        assert!(what.contains("zookeeper's data (/z) of cluster A; broker-1's data (/b1) of cluster B"), "{what}");
        let what = refused(&ZookeeperFound::Untold, Some("A"), &[of(1, "B")]);
        assert!(what.ends_with("what this root remembers (/identity.json) of cluster A"), "{what}");
    }

    #[test]
    fn a_part_that_is_missing_is_told_as_a_start_tells_it() {
        use ZookeeperFound::{Nothing, Untold};
        assert!(refused(&Nothing, None, &[of(1, "A")]).contains("knows no cluster"));
        assert!(refused(&Nothing, Some("A"), &[broker(1, Found::Empty)]).contains("all data of cluster A is gone"));
        let what = refused(&knows("A"), Some("A"), &[broker(1, Found::Empty), broker(2, Found::Empty)]);
        assert!(what.contains("no broker has data of cluster A") && what.contains("/b1, /b2 are empty"), "{what}");
        assert!(refused(&Untold, Some("A"), &[broker(1, Found::Empty)]).contains("no broker has data of cluster A"));
        assert!(
            refused(&knows("A"), None, &[broker(1, Found::Unnamed { partitions: 3 })]).contains("no meta.properties")
        );
        let swapped = broker(1, Found::Data { cluster: "A".into(), broker: 2, topics: 1 });
        assert!(refused(&Untold, None, &[swapped]).contains("broker.id=2"));
        assert!(refused(&Untold, None, &[broker(1, Found::Kraft)]).contains("KRaft"));
    }
}
