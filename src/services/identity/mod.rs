//! Whose data a directory holds and which program wrote it: read from what products leave, decided before a start.
//!
//! Pure: the engine reads files and asks ZooKeeper, this says what it means. `cluster` has the table for brokers, `mysql`
//! that for the MySQL server, `version` the rule about older programs, `foreign` that about files of nobody's product, `together` that for
//! stores that are copied or come back as one, `zookeeper` finds the cluster in ZooKeeper's files, `reached` tells an earlier state of them,
//! `record` is what this root remembers.

mod cluster;
mod foreign;
mod mysql;
mod reached;
mod record;
mod together;
mod version;
mod zookeeper;

pub use cluster::{
    BrokerData, BrokerFacts, ClusterView, Found, cluster_id, found, judge_broker, judge_directory, meta_properties,
};
pub use foreign::judge_directory_names;
pub use mysql::{MysqlFacts, MysqlFound, judge_mysql, server_uuid, upgrade_history};
pub use reached::{Reached, ReachedRecord};
pub use record::{Machine, MysqlRecord, Record};
pub use together::{StoresFacts, ZookeeperFound, judge_stores};
pub use version::{Before, MARKER, Marker, Seen, bars_the_way_back, is_mark, judge_version, look};
pub use zookeeper::{OVERLAP, cluster_in_files};

use crate::base::outcome::Failure;

/// What a look before a start means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It may start. The notes are for people: something is unusual and no danger.
    Start {
        /// One sentence each.
        notes: Vec<String>,
    },
    /// It may start once something outside has come true.
    Later {
        /// What, with its reason.
        why: String,
    },
    /// Its start would harm data, or end at once.
    Refuse(Failure),
}

impl Judgement {
    fn start() -> Self {
        Judgement::Start { notes: Vec::new() }
    }

    fn noted(note: String) -> Self {
        Judgement::Start { notes: vec![note] }
    }
}
