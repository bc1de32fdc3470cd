//! What is known of the cluster as a whole: looked at about once a second while brokers serve, and of ZooKeeper and MySQL when
//! somebody asks.

mod around;
mod change;
mod health;
mod kept;
mod watch;

pub use around::{Around, Arounds, Binlog, MysqlSeen, ZookeeperSeen};
pub use health::{Health, Look, MinIsr, Share, name, partitions, some};
pub use kept::{Given, set_by_others};
pub use watch::{Known, Latest, watch};
pub(super) use watch::{serving, zookeeper_is_ready};

use super::{prove::MysqlTargets, whole::Brokers};
use crate::config;
use std::{net::SocketAddr, sync::Arc};

#[cfg(test)]
pub(super) use health::tests as samples;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The brokers' INTERNAL listeners.
    pub brokers: Brokers,
    /// Topics of the configuration.
    pub topics: Arc<[config::Topic]>,
    /// Leaders are given back to a broker that has come back (`kafka.elect_preferred`).
    pub elect: bool,
    /// ZooKeeper's client port.
    pub zookeeper: Option<SocketAddr>,
    /// The MySQL server that the supervisor has set up.
    pub mysql: Option<MysqlTargets>,
}
