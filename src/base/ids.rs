//! Names of things: nodes, their kinds, their incarnations, and the identity of one running process.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a node: `zookeeper`, `broker-2`, `mysql`, or the NAME of a `[command.NAME]` table.
///
/// Lower-case letters, digits and single dashes inside, 1 to 32 bytes: it becomes a directory, a cgroup and part of a
/// socket path, so nothing that means something to a shell or a path is allowed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// Longest name in bytes. Keeps `nodes/NAME/run/shim.sock` far from the kernel's 107-byte limit for socket paths.
    pub const MAX_BYTES: usize = 32;

    /// Checks and makes a name; the error says which rule is broken.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let rule = if text.is_empty() {
            "is empty"
        } else if text.len() > Self::MAX_BYTES {
            "is longer than 32 bytes"
        } else if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            "may hold only lower-case letters, digits and dashes"
        } else if text.starts_with('-') || text.ends_with('-') {
            "may not start or end with a dash"
        } else {
            return Ok(Self(text));
        };
        Err(format!("node name {text:?} {rule}"))
    }

    /// The name of broker `id`.
    pub fn broker(id: u32) -> Self {
        Self(format!("broker-{id}"))
    }

    /// The name of the one ZooKeeper.
    pub fn zookeeper() -> Self {
        Self("zookeeper".into())
    }

    /// The name of the one web page over the brokers.
    pub fn kafka_ui() -> Self {
        Self("kafka-ui".into())
    }

    /// The name of the one MySQL server.
    pub fn mysql() -> Self {
        Self("mysql".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of program a node is. Decides how it is prepared, probed, stopped and how its exits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// The one ZooKeeper server.
    Zookeeper,
    /// A Kafka broker with its `broker.id`.
    Broker(u32),
    /// The one MySQL server.
    Mysql,
    /// The one web page over the brokers, the vendor's Kafka UI.
    KafkaUi,
    /// Any program of the user's.
    Command,
}

impl NodeKind {
    /// The stack is whole without it: nobody waits for ever for it, and its failure is told and fails no verb that is about
    /// all nodes.
    pub fn is_optional(self) -> bool {
        match self {
            NodeKind::KafkaUi => true,
            NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql | NodeKind::Command => false,
        }
    }

    /// The word for `kind` in `status --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::Zookeeper => "zookeeper",
            NodeKind::Broker(_) => "broker",
            NodeKind::Mysql => "mysql",
            NodeKind::KafkaUi => "kafka-ui",
            NodeKind::Command => "command",
        }
    }
}

/// The how-manieth start of a node under this root, from 1; never reused. An event of an old incarnation changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One process, told apart from any later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between boot and the process's start.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id` when it was started.
    pub boot_id: String,
}
