//! A data directory in which somebody else keeps files: it is neither empty nor a product's, and nothing is started in it.

use super::{cluster::is_partition, version::is_mark};
use crate::base::{Cause, NodeName, outcome::Failure, printable::printable, recipe::DataProduct};
use std::path::Path;

/// How many names a refusal quotes, and how much of each.
const NAMED: usize = 3;
const NAME_MAX: usize = 60;

/// Why a node's program may not have this directory, whose entries are `names`; none: it is empty, the product's, or marked as ours.
/// Where MySQL's data are, its passwords must be too, which is looked at when it is initialised.
pub fn judge_directory_names(node: &NodeName, product: DataProduct, dir: &Path, names: &[String]) -> Option<Failure> {
    let is_its_own = |name: &str| match product {
        DataProduct::Zookeeper => name == "version-2",
        DataProduct::Kafka => kafkas(name),
        DataProduct::Mysql => true,
    };
    let may_be_there = |name: &str| product == DataProduct::Zookeeper && beside_zookeeper(name);
    let is_marked = names.iter().any(|name| is_mark(name));
    if is_marked || names.iter().any(|name| is_its_own(name)) {
        return None;
    }
    let mut strange: Vec<&str> = names.iter().map(String::as_str).filter(|name| !may_be_there(name)).collect();
    strange.sort_unstable();
    let quoted: Vec<String> = strange.iter().take(NAMED).map(|name| printable(name, NAME_MAX)).collect();
    if quoted.is_empty() {
        return None;
    }
    let more = match strange.len() - quoted.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (whose, below) = match product {
        DataProduct::Zookeeper => ("ZooKeeper's", ""),
        DataProduct::Kafka | DataProduct::Mysql => {
            ("a broker's", if strange == ["lost+found"] { "; of a mount it can be a directory below" } else { "" })
        }
    };
    Some(Failure {
        cause: Cause::WrongIdentity,
        what: format!(
            "{node}'s data directory {} holds {}{more}, and nothing that is {whose}: somebody else keeps files there",
            dir.display(),
            quoted.join(", ")
        ),
        remedy: format!(
            "give {node} an empty directory of its own (data_dir in its table of supervisor.toml{below}), or move those files away; then \
             `cdc-supervisor start {node}`"
        ),
    })
}

/// What a mount has, and what people and scripts put there before a first start (`myid`, `initialize`: QuorumPeerConfig, 3.6.4).
fn beside_zookeeper(name: &str) -> bool {
    matches!(name, "lost+found" | "myid" | "initialize" | "zookeeper_server.pid")
}

/// Files and directories that a broker makes (LogManager, BrokerMetadataCheckpoint, CheckpointFile; 3.5.2): whose they are is told by
/// `meta.properties`.
fn kafkas(name: &str) -> bool {
    let of = name.strip_suffix(".tmp").unwrap_or(name);
    of == "meta.properties"
        || of.ends_with("-checkpoint")
        || matches!(of, ".lock" | ".kafka_cleanshutdown")
        || is_partition(name)
        // partitions that are deleted, or moved between directories (`TOPIC-N.UNIQUE-delete`)
        || ["-delete", "-future", "-stray"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(product: DataProduct, names: &[&str]) -> Option<Failure> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        judge_directory_names(&NodeName::zookeeper(), product, Path::new("/d"), &names)
    }

    #[test]
    fn a_directory_is_empty_its_own_or_refused() {
        use DataProduct::{Kafka, Mysql, Zookeeper};
        for (product, names) in [
            (Zookeeper, &[][..]),
            (Zookeeper, &["version-2", "photos"]),
            (Zookeeper, &["cdc-supervisor.json", "photos"]),
            (Zookeeper, &[".cdc-supervisor.json.4711.tmp"]),
            (Zookeeper, &["cdc-supervisor.json.bad"]),
            (Zookeeper, &["lost+found", "myid"]),
            (Kafka, &[]),
            (Kafka, &["meta.properties", "photos"]),
            (Kafka, &["cdc-supervisor.json", "photos"]),
            (Kafka, &[".lock", "recovery-point-offset-checkpoint"]),
            (Kafka, &["orders-0.4f1e-delete"]),
            (Kafka, &["orders-0"]),
            (Mysql, &["photos"]),
        ] {
            assert_eq!(judged(product, names), None, "{product:?} {names:?}");
        }
        let failure = judged(Zookeeper, &["d", "b\u{1b}", "lost+found", "c", "a"]).unwrap();
        assert_eq!(failure.cause, Cause::WrongIdentity);
        assert!(
            failure.what.contains("/d holds a, b\\u{1b}, c and 1 more, and nothing that is ZooKeeper's"),
            "{failure:?}"
        );
        assert!(failure.remedy.contains("`cdc-supervisor start zookeeper`"), "{failure:?}");
        assert!(judged(Kafka, &["photos"]).unwrap().what.contains("holds photos, and nothing that is a broker's"));
        assert!(judged(Kafka, &["lost+found"]).unwrap().remedy.contains("of a mount it can be a directory below"));
    }
}
