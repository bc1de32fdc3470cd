//! Whose data a stack's directories hold, or those of a snapshot: read from files, so that what is copied as one, or comes back as one,
//! is of one cluster and of the server that this root knows. Decided by the rules of a start (`services::identity`).

use super::{Set, StoreError};
use crate::{
    base::{Layout, NodeName, outcome::Failure},
    offline::doctor::{broker_data, mysql_data},
    services::identity::{
        BrokerData, Judgement, MysqlFacts, MysqlFound, OVERLAP, Record, StoresFacts, ZookeeperFound, cluster_in_files,
        is_mark, judge_mysql, judge_stores,
    },
    sys::{copy, error::SysError, fs},
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// How much of ZooKeeper's files is read: a log has 64 MB, most of it a hole, and the id is in every snapshot.
const READ_MAX: u64 = 1 << 30;

/// Whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Whose {
    /// The Kafka cluster's id; none: no broker has data.
    pub(super) cluster: Option<String>,
    /// The MySQL server's uuid; none: there is none yet.
    pub(super) mysql: Option<String>,
}

/// One store's directory: whose, what it belongs to, where.
pub(super) type Place<'a> = (&'a NodeName, Set, PathBuf);

/// The stores of a root: they belong together and to this root, or it is refused.
pub(super) fn of_root(layout: &Layout, places: &[Place<'_>]) -> Result<Whose, StoreError> {
    let path = layout.identity();
    let record: Record =
        fs::read_optional(&path)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    judge(places, &record, &path)
}

/// The copies of a snapshot: they belong together. What this root remembers has no part in it: they take the place of what that is about.
pub(super) fn of_snapshot(name: &str, places: &[Place<'_>]) -> Result<Whose, StoreError> {
    judge(places, &Record::default(), Path::new("")).map_err(|e| match e {
        StoreError::Refused(what, _) => StoreError::refused(
            format!("the snapshot {name} was made of data that do not belong together: {what}"),
            "restore another one (`cdc-supervisor snapshot list`); the set that is whole comes back with --only",
        ),
        other => other,
    })
}

fn judge(places: &[Place<'_>], record: &Record, path: &Path) -> Result<Whose, StoreError> {
    let mut whose = Whose::default();
    let mut brokers = Vec::new();
    // ZooKeeper's last: a broker that starts for the first time writes there before it writes its own.
    let mut zookeeper = None;
    for (node, set, dir) in places {
        let node = node.as_str();
        match (set, node.strip_prefix("broker-").and_then(|id| id.parse().ok())) {
            (Set::Mysql, _) => {
                let found = mysql_data(dir)?;
                let recorded = record.mysql.as_ref().map(|m| m.server_uuid.as_str());
                let facts = MysqlFacts { data_dir: dir, found: &found, recorded, record: path };
                if let Judgement::Refuse(failure) = judge_mysql(&facts) {
                    return Err(refused(failure));
                }
                whose.mysql = match found {
                    MysqlFound::Server { uuid } => Some(uuid),
                    MysqlFound::Empty | MysqlFound::NoUuid => None,
                };
            }
            (Set::Kafka, Some(broker)) => {
                brokers.push(BrokerData { broker, path: dir.clone(), found: broker_data(dir)?.0 });
            }
            (Set::Kafka, None) => zookeeper = Some(dir),
        }
    }
    if let Some(dir) = zookeeper {
        let found = zookeeper_data(dir)?;
        let recorded = record.cluster.as_deref();
        let facts = StoresFacts { brokers: &brokers, zookeeper: (dir, &found), recorded, record: path };
        whose.cluster = judge_stores(&facts).map_err(refused)?;
    }
    Ok(whose)
}

fn refused(failure: Failure) -> StoreError {
    StoreError::Refused(failure.what, Some(failure.remedy))
}

/// How its files begin, in the clear (FileSnap.SNAP_MAGIC, FileTxnLog.TXNLOG_MAGIC, 3.6.4); a compressed snapshot begins otherwise.
const CLEAR: [&[u8]; 2] = [b"ZKSN", b"ZKLG"];

/// What ZooKeeper's files say, the newest that says something. Also asked while it runs and removes what is old.
fn zookeeper_data(dir: &Path) -> Result<ZookeeperFound, SysError> {
    let below = dir.join("version-2");
    let mut files: Vec<(u64, String)> = Vec::new();
    for name in fs::names_in(&below)? {
        // `log.ZXID` and `snapshot.ZXID`, hexadecimal (Util.makeLogName, 3.6.4).
        let zxid = name.strip_prefix("log.").or_else(|| name.strip_prefix("snapshot."));
        if let Some(zxid) = zxid.and_then(|zxid| u64::from_str_radix(zxid, 16).ok()) {
            files.push((zxid, name));
        }
    }
    let strange = |name: &String| name != "version-2" && !is_mark(name);
    let mut all_read = !fs::names_in(dir)?.iter().any(strange);
    // Of one number the log is newer: it begins where the snapshot was taken.
    files.sort();
    let mut left = READ_MAX;
    for (_, name) in files.iter().rev() {
        let (last, read) = last_id_in(&below.join(name), &mut left)?;
        if let Some(id) = last {
            return Ok(ZookeeperFound::Cluster(id));
        }
        all_read &= read;
    }
    Ok(if all_read { ZookeeperFound::Nothing } else { ZookeeperFound::Untold })
}

/// The last id in one file, and whether all of it could be read.
fn last_id_in(path: &Path, left: &mut u64) -> Result<(Option<String>, bool), SysError> {
    let failed = |e| SysError::path("read", path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, true)),
        Err(e) => return Err(failed(e)),
    };
    let length = file.metadata().map_err(failed)?.len();
    let (mut last, mut all) = (None, true);
    let mut window: Vec<u8> = Vec::new();
    copy::read_file(&file, length, &mut |at, bytes, is_data| {
        if at == 0 {
            all = CLEAR.iter().any(|magic| bytes.starts_with(magic));
        }
        if *left < bytes.len() as u64 {
            all = false;
            return Ok(());
        }
        // A hole is nothing that was written, and longer than what can be cut in two.
        if !is_data {
            window.clear();
            return Ok(());
        }
        *left -= bytes.len() as u64;
        window.drain(..window.len().saturating_sub(OVERLAP));
        window.extend_from_slice(bytes);
        last = cluster_in_files(&window).or(last.take());
        Ok(())
    })
    .map_err(failed)?;
    Ok((last, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Vec<u8> {
        let data = format!("{{\"version\":\"1\",\"id\":\"{text}\"}}");
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [b"\x00\x00\x00\x0b/cluster/id", &length[..], data.as_bytes()].concat()
    }

    #[test]
    fn zookeepers_newest_word_is_read_wherever_it_lies_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("version-2");
        assert_eq!(zookeeper_data(dir.path()).unwrap(), ZookeeperFound::Nothing);
        std::fs::create_dir(&below).unwrap();
        std::fs::write(dir.path().join("cdc-supervisor.json"), "{}").unwrap();
        std::fs::write(below.join("snapshot.0"), "ZKSN and no cluster").unwrap();
        assert_eq!(zookeeper_data(dir.path()).unwrap(), ZookeeperFound::Nothing, "emptied, and started since");
        std::fs::write(below.join("snapshot.1"), "\x1f\u{8b} compressed").unwrap();
        assert_eq!(zookeeper_data(dir.path()).unwrap(), ZookeeperFound::Untold);
        let known = |text: &str| assert_eq!(zookeeper_data(dir.path()).unwrap(), ZookeeperFound::Cluster(text.into()));
        // Around the ends of the blocks that are read.
        for before in [0, (256 << 10) - 30, (256 << 10) - 1, (512 << 10) - 20] {
            std::fs::write(below.join("log.1"), [vec![7; before], id("A"), vec![7; 1000]].concat()).unwrap();
            known("A");
        }
        let long = [vec![7; 5000], id("A"), vec![7; 300 << 10], id("B"), vec![7; 300 << 10]].concat();
        std::fs::write(below.join("log.9"), long).unwrap();
        known("B");
        std::fs::write(below.join("snapshot.a"), id("C")).unwrap();
        known("C");
        std::fs::write(below.join("log.a"), "nothing of it").unwrap();
        known("C");
        std::fs::write(below.join("log.b"), id("D")).unwrap();
        let log = File::options().write(true).open(below.join("log.b")).unwrap();
        log.set_len(64 << 20).unwrap();
        known("D");
    }
}
