//! Whose data the directories hold, as far as files tell before ZooKeeper is asked: brokers that were exchanged, data without
//! its ZooKeeper, another MySQL server. The node itself is refused by the same rules at its start, in the same words.

use super::{
    Site,
    check::{Check, Severity},
};
use crate::{
    base::{NodeKind, NodeName, outcome::Failure, recipe::DataProduct},
    services::identity::{
        BrokerData, BrokerFacts, ClusterView, Found, Judgement, MysqlFacts, MysqlFound, Record, found, judge_broker,
        judge_directory, judge_directory_names, judge_mysql, server_uuid,
    },
    sys::fs,
};
use std::path::{Path, PathBuf};

/// What is seen of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    brokers: Vec<BrokerData>,
    mysql: Option<(PathBuf, MysqlFound)>,
    /// ZooKeeper's data directory, and whether there is nothing in it.
    zookeeper: Option<(PathBuf, bool)>,
    /// Directories in which somebody else keeps files.
    foreign: Vec<(NodeName, PathBuf, Failure)>,
    record: Record,
    /// Directories that this user may not read.
    unread: Vec<String>,
}

pub(super) fn look(site: &Site) -> Facts {
    let mut facts = Facts::default();
    let record = fs::read_optional(&site.layout.identity()).ok().flatten();
    facts.record = record.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    for (node, path) in site.plan.data_directories() {
        let Some(kind) = site.plan.node(&node).map(|view| view.kind) else { continue };
        let mut foreign = |product, names: &[String]| {
            let failure = judge_directory_names(&node, product, &path, names);
            facts.foreign.extend(failure.map(|failure| (node.clone(), path.clone(), failure)));
        };
        let seen = match kind {
            NodeKind::Broker(broker) => broker_data(&path).map(|(found, names)| {
                foreign(DataProduct::Kafka, &names);
                facts.brokers.push(BrokerData { broker, path: path.clone(), found });
            }),
            NodeKind::Mysql => mysql_data(&path).map(|found| facts.mysql = Some((path.clone(), found))),
            NodeKind::Zookeeper => fs::names_in(&path).map(|names| {
                foreign(DataProduct::Zookeeper, &names);
                facts.zookeeper = Some((path.clone(), names.is_empty()));
            }),
            NodeKind::KafkaUi | NodeKind::Command => Ok(()),
        };
        if let Err(e) = seen {
            facts.unread.push(format!("{}: {}", path.display(), e.source));
        }
    }
    facts
}

/// What is in a broker's data directory, and its entries.
pub(in crate::offline) fn broker_data(dir: &Path) -> Result<(Found, Vec<String>), crate::sys::error::SysError> {
    let meta = fs::read_plain_lossy_optional(&dir.join("meta.properties"))?;
    let names = fs::names_in(dir)?;
    Ok((found(meta.as_deref(), names.iter().map(String::as_str)), names))
}

/// What is in MySQL's data directory.
pub(in crate::offline) fn mysql_data(dir: &Path) -> Result<MysqlFound, crate::sys::error::SysError> {
    if fs::names_in(dir)?.is_empty() {
        return Ok(MysqlFound::Empty);
    }
    let uuid = fs::read_plain_lossy_optional(&dir.join("auto.cnf"))?.as_deref().and_then(server_uuid);
    Ok(uuid.map_or(MysqlFound::NoUuid, |uuid| MysqlFound::Server { uuid }))
}

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = Vec::new();
    let identity = site.layout.identity();
    for own in &facts.brokers {
        let node = NodeName::broker(own.broker);
        // one that runs was judged when it started
        if !site.to_start().any(|n| *n == node) {
            continue;
        }
        if let Some(failure) = broker_failure(facts, own, &identity) {
            rows.push(refused(&node, &own.path, failure));
        }
    }
    if let Some((path, found)) = &facts.mysql
        && site.to_start().any(|n| *n == NodeName::mysql())
    {
        let recorded = facts.record.mysql.as_ref().map(|m| m.server_uuid.as_str());
        let judged = judge_mysql(&MysqlFacts { data_dir: path, found, recorded, record: &identity });
        if let Judgement::Refuse(failure) = judged {
            rows.push(refused(&NodeName::mysql(), path, failure));
        }
    }
    for (node, path, failure) in facts.foreign.iter().filter(|(node, ..)| site.to_start().any(|n| n == node)) {
        rows.push(refused(node, path, failure.clone()));
    }
    if rows.is_empty() && (!facts.brokers.is_empty() || facts.mysql.is_some()) {
        rows.push(good(facts));
    }
    rows
}

/// What files alone can say. ZooKeeper's own data is not read; where there is none, it knows no cluster.
fn broker_failure(facts: &Facts, own: &BrokerData, identity: &Path) -> Option<Failure> {
    let (zookeeper_data, is_empty) = facts.zookeeper.as_ref()?;
    let nothing = ClusterView::default();
    let known = BrokerFacts {
        broker: own.broker,
        brokers: &facts.brokers,
        zookeeper: &nothing,
        zookeeper_data,
        recorded: facts.record.cluster.as_deref(),
        recorded_own: facts.record.brokers.contains_key(&own.broker),
        recorded_reached: None,
        record: identity,
    };
    if !is_empty {
        return judge_directory(&known, own);
    }
    match judge_broker(&known) {
        Judgement::Refuse(failure) => Some(failure),
        Judgement::Start { .. } | Judgement::Later { .. } => None,
    }
}

/// The node is refused at its start with these words; the others start.
fn refused(node: &NodeName, path: &Path, failure: Failure) -> Check {
    Check::ok(
        format!("identity of {node}"),
        "its own data, of this root's cluster",
        path.display().to_string(),
        "data of two clusters that meet are lost, and a wrong start cannot be taken back",
    )
    .fails(failure.what, failure.remedy)
    .and_starts()
}

fn good(facts: &Facts) -> Check {
    let row = |found: String| {
        Check::ok(
            "identity of the data",
            "each directory its own node's, and of one cluster",
            found,
            "data of two clusters that meet are lost, and a wrong start cannot be taken back",
        )
    };
    if !facts.unread.is_empty() {
        return row(format!("cannot be read by this user: {}", facts.unread.join(", "))).unknown();
    }
    let mut clusters: Vec<&str> = facts
        .brokers
        .iter()
        .filter_map(|b| match &b.found {
            Found::Data { cluster, .. } => Some(cluster.as_str()),
            Found::Empty | Found::Unnamed { .. } | Found::Kraft | Found::Unclear { .. } => None,
        })
        .collect();
    clusters.sort_unstable();
    clusters.dedup();
    let mut words = Vec::new();
    match clusters[..] {
        [] => {}
        [one] => words.push(format!("cluster {one}")),
        _ => {
            return row(format!("brokers of clusters {}", clusters.join(" and "))).but(
                Severity::Warn,
                "those that ZooKeeper does not know will be refused at their start, with what to do; give them their own data back",
            );
        }
    }
    if let Some((_, MysqlFound::Server { uuid })) = &facts.mysql {
        words.push(format!("MySQL server {uuid}"));
    }
    row(if words.is_empty() { "no data yet".into() } else { words.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site_at, *};
    use std::fs as std_fs;

    fn write(dir: &Path, broker: u32, id: u32, cluster: &str) {
        let data = dir.join(format!("nodes/broker-{broker}/data"));
        std_fs::create_dir_all(&data).unwrap();
        let text = format!("#\n#\nversion=0\nbroker.id={id}\ncluster.id={cluster}\n");
        std_fs::write(data.join("meta.properties"), text).unwrap();
    }

    fn zookeeper(dir: &Path) {
        std_fs::create_dir_all(dir.join("nodes/zookeeper/data/version-2")).unwrap();
    }

    fn rows(dir: &Path) -> Vec<Check> {
        let site = site_at(dir, "");
        judge(&site, &look(&site))
    }

    #[test]
    fn nothing_yet_and_whole_data_are_fine() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(rows(dir.path())[0].found, "no data yet");
        zookeeper(dir.path());
        (1..=3).for_each(|id| write(dir.path(), id, id, "X"));
        let rows = rows(dir.path());
        assert_eq!((rows.len(), rows[0].found.as_str(), rows[0].severity), (1, "cluster X", Severity::Ok));
    }

    #[test]
    fn brokers_that_were_exchanged_are_told_before_a_start() {
        let dir = tempfile::tempdir().unwrap();
        zookeeper(dir.path());
        write(dir.path(), 1, 2, "X");
        write(dir.path(), 2, 1, "X");
        let rows = rows(dir.path());
        assert_eq!(rows.len(), 2, "{rows:#?}");
        assert!(rows[0].problem.as_deref().unwrap().contains("the two are swapped"), "{rows:#?}");
        assert!(rows.iter().all(|r| r.severity == Severity::Fail && !r.stops_start));
    }

    #[test]
    fn data_of_brokers_beside_an_empty_zookeeper_is_the_trap() {
        let dir = tempfile::tempdir().unwrap();
        (1..=3).for_each(|id| write(dir.path(), id, id, "X"));
        let rows = rows(dir.path());
        assert_eq!(rows.len(), 3, "{rows:#?}");
        assert!(rows[0].problem.as_deref().unwrap().contains("knows no cluster"), "{rows:#?}");
    }

    #[test]
    fn directories_in_which_somebody_else_keeps_files_are_told() {
        let dir = tempfile::tempdir().unwrap();
        for node in ["zookeeper", "broker-2"] {
            std_fs::create_dir_all(dir.path().join(format!("nodes/{node}/data/photos"))).unwrap();
        }
        let rows = rows(dir.path());
        let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["identity of zookeeper", "identity of broker-2"], "{rows:#?}");
        for row in &rows {
            assert!(row.problem.as_deref().unwrap().contains("somebody else keeps files there"), "{row:?}");
            assert!(row.severity == Severity::Fail && !row.stops_start);
        }
    }

    #[test]
    fn brokers_of_two_clusters_and_another_mysql_server_are_told() {
        let dir = tempfile::tempdir().unwrap();
        zookeeper(dir.path());
        write(dir.path(), 1, 1, "X");
        write(dir.path(), 2, 2, "Y");
        assert_eq!(rows(dir.path())[0].severity, Severity::Warn);
        let state = dir.path().join("state");
        std_fs::create_dir_all(&state).unwrap();
        let record = r#"{"schema":1,"mysql":{"server_uuid":"old","data_dir":"/x"}}"#;
        std_fs::write(state.join("identity.json"), record).unwrap();
        let data = dir.path().join("nodes/mysql/data");
        std_fs::create_dir_all(&data).unwrap();
        std_fs::write(data.join("auto.cnf"), "[auto]\nserver-uuid=new\n").unwrap();
        let row = &rows(dir.path())[0];
        assert_eq!(row.name, "identity of mysql");
        assert!(row.problem.as_deref().unwrap().contains("server new"), "{row:?}");
    }
}
