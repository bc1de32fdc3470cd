//! The arguments of `snapshot`, `restore` and `reset`.

use crate::offline::stores::{self, Set};
use clap::{Args as ClapArgs, Subcommand};

/// `snapshot`.
#[derive(Clone, Debug, Subcommand)]
pub enum Snapshot {
    /// Copy all data; everything must be down, or --stop
    Create {
        /// Its name [default: the time]
        #[arg(value_name = "NAME", value_parser = stores::snapshot_name)]
        name: Option<String>,
        /// Stop the nodes that have data, and start them again afterwards
        #[arg(long)]
        stop: bool,
    },
    /// What there is
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read all of one and compare it with its digests; exit code 9 when it is not what it was
    Verify {
        /// Which
        #[arg(value_name = "NAME", value_parser = stores::snapshot_name)]
        name: String,
    },
    /// Delete one
    Remove {
        /// Which
        #[arg(value_name = "NAME", value_parser = stores::snapshot_name)]
        name: String,
        /// Its name once more
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
}

pub(super) const HELP: &str = "\
A snapshot is below ROOT/snapshots: complete files with their digests, which share their blocks with the data where the file system \
can (XFS, btrfs) and take as much room again elsewhere. ROOT/snapshots may be a link to another disk. ZooKeeper's and the brokers' data \
are never separated: the one without the other is no cluster. MySQL's passwords go with its data.";

/// `restore`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Restore {
    /// Which snapshot
    #[arg(value_name = "NAME", value_parser = stores::snapshot_name)]
    pub name: String,
    /// Only this of it: kafka (ZooKeeper and all brokers) or mysql
    #[arg(long, value_name = "SET")]
    pub only: Option<Set>,
    /// Its name once more: what is there now is deleted
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

/// `reset`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Reset {
    /// kafka (ZooKeeper and all brokers) or mysql
    #[arg(value_name = "SET")]
    pub set: Set,
    /// The set once more
    #[arg(long, value_name = "SET")]
    pub confirm: Option<String>,
}
