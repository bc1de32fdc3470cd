//! What `status --json` knows of the cluster as a whole, and what `roll --plan` and `why-not` print. Keys are never missing; unknown
//! is null.

use crate::base::{NodeName, Timestamp};
use serde::{Deserialize, Serialize};

/// The cluster as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Null: no broker serves, or none has answered yet.
    pub kafka: Option<KafkaState>,
    /// Null: it does not serve, or does not answer.
    pub zookeeper: Option<ZookeeperState>,
    /// Null: it does not serve, does not answer, or was set up by somebody else.
    pub mysql: Option<MysqlState>,
}

/// What the brokers say, put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaState {
    /// When a broker said so.
    pub seen_at: Timestamp,
    /// The broker that is the controller.
    pub controller: Option<u32>,
    /// All partitions, of internal topics too.
    pub partitions: usize,
    /// A replica is missing from the ISR.
    pub under_replicated: Partitions,
    /// As many in sync as `min.insync.replicas` wants.
    pub at_min_isr: Partitions,
    /// Fewer: writes with acks=all are refused.
    pub under_min_isr: Partitions,
    /// Without a leader.
    pub offline: Partitions,
    /// Led by another than the preferred leader, which is in sync.
    pub not_led_by_preferred: Partitions,
    /// Every broker that is listed or has a replica.
    pub brokers: Vec<BrokerState>,
    /// Topics of the configuration; null: there are none, or a daemon older than this key.
    #[serde(default)]
    pub topics: Option<ConfiguredTopics>,
    /// Settings that somebody else than a reload has set while brokers run and that beat a file, a line each; null: ZooKeeper could not be
    /// asked, or a daemon older than this key.
    #[serde(default)]
    pub set_by_others: Option<Vec<String>>,
}

/// Topics of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredTopics {
    /// How many there are in the file.
    pub configured: usize,
    /// How many of them are there and as it says.
    pub as_configured: usize,
    /// What differs, or is waited for, at most 20 lines.
    pub differences: Vec<String>,
}

/// Some partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partitions {
    /// How many.
    pub count: usize,
    /// The first of them by name, at most 20.
    pub first: Vec<String>,
}

/// A broker's share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerState {
    /// `broker.id`.
    pub id: u32,
    /// The cluster lists it.
    pub listed: bool,
    /// Partitions it leads.
    pub leads: usize,
    /// Partitions whose preferred leader it is.
    pub preferred: usize,
    /// Partitions with a replica on it.
    pub replicas: usize,
    /// Those of them whose ISR it is missing from.
    pub out_of_sync: usize,
}

/// ZooKeeper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZookeeperState {
    /// `standalone`.
    pub mode: Option<String>,
    /// Of requests since it was started, milliseconds.
    pub latency_avg_ms: Option<f64>,
    /// The longest of them.
    pub latency_max_ms: Option<u64>,
    /// Requests that are queued.
    pub outstanding: Option<u64>,
    /// Open connections.
    pub connections: Option<u64>,
    /// Sessions.
    pub sessions: Option<u64>,
    /// Who is registered as which broker; null: it could not be looked at.
    pub owners: Option<Vec<Owner>>,
}

/// The session that owns a broker's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `broker.id`.
    pub broker: u32,
    /// The session, in hexadecimal.
    pub session: String,
    /// It is the one of this supervisor's own broker in its present run; null: not known.
    pub ours: Option<bool>,
}

/// MySQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlState {
    /// The GTIDs of every transaction it has executed.
    pub gtid_executed: String,
    /// Files of the binlog.
    pub binlog_files: usize,
    /// All of them, bytes.
    pub binlog_bytes: u64,
    /// When the oldest of them was begun; null: not to be read.
    pub binlog_since: Option<Timestamp>,
    /// How long files are kept, seconds: for so long a reader may be away and still find its place. Null: for ever.
    pub binlog_keeps_s: Option<u64>,
}

/// What would happen if brokers were stopped, one at a time: `roll --plan`, `why-not`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// 1.
    pub schema: u32,
    /// When it was looked at.
    pub at: Timestamp,
    /// Nothing breaks, and nothing has to be waited for.
    pub safe: bool,
    /// In the order in which they would be stopped.
    pub nodes: Vec<Impact>,
}

/// What breaks while a node is stopped. Partitions by name, each in the worst list that it belongs to; `may_lose_acks_1` beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// Which.
    pub node: NodeName,
    /// Nothing breaks, and nothing has to be waited for.
    pub safe: bool,
    /// Their only replica is on it.
    pub goes_offline: Vec<String>,
    /// Fewer than `min.insync.replicas` stay in sync: writes with acks=all are refused.
    pub refuses_acks_all: Vec<String>,
    /// No replica that stays is in sync: neither writes nor reads.
    pub unreadable: Vec<String>,
    /// It leads them, and its followers have not confirmed their newest records: acks=1 may have promised too much.
    pub may_lose_acks_1: Vec<String>,
    /// Those of the first two lists for which no waiting helps: they have too few replicas.
    pub never_safe: Vec<String>,
    /// What a roll would wait for before it; null: nothing.
    pub waits_for: Option<String>,
    /// What else goes with it, for a node that is no broker.
    pub notes: Vec<String>,
    /// How many more belong to each list than it names: an answer is one line of bounded length.
    #[serde(default)]
    pub unnamed: Unnamed,
}

/// Partitions that are counted and not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unnamed {
    /// Of [`Impact::goes_offline`].
    pub goes_offline: usize,
    /// Of [`Impact::refuses_acks_all`].
    pub refuses_acks_all: usize,
    /// Of [`Impact::unreadable`].
    pub unreadable: usize,
    /// Of [`Impact::may_lose_acks_1`].
    pub may_lose_acks_1: usize,
    /// Of [`Impact::never_safe`].
    pub never_safe: usize,
}
