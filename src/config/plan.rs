//! The checked plan: what `supervisor.toml` means, every value resolved, disabled nodes left out.
//!
//! A little past 500 lines: it is one tree of plain data, and mostly what each field means.

use super::{disk::Disk, places::Places, topic::Topic};
use crate::base::{
    ByteSize, Layout, NodeKind, NodeName, Port,
    recipe::{LogPolicy, PortUse, RestartWhen, Share},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Everything the configuration decides. Made by [`load`](super::load) only, so every rule of this room holds for it.
///
/// Two plans are equal when they mean the same: comments, order, spelling (`1G`, `1024M`) and the settings of disabled
/// nodes do not count; the root does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Absolute, UTF-8, short enough for every socket below it.
    pub root: PathBuf,
    /// What is kept free of nodes.
    pub host: Host,
    /// Where programs come from.
    pub artifacts: Artifacts,
    /// What bounds all logs together.
    pub logs: Logs,
    /// The room that is kept free for data.
    pub disk: Disk,
    /// The one ZooKeeper; none when its table is absent or disabled.
    pub zookeeper: Option<Zookeeper>,
    /// The brokers; none when the table is absent or every broker is disabled. Never there without ZooKeeper.
    pub kafka: Option<Kafka>,
    /// The one MySQL server; none when its table is absent or disabled.
    pub mysql: Option<Mysql>,
    /// The web page over the brokers; none when its table is absent or disabled. Never there without brokers.
    pub kafka_ui: Option<KafkaUi>,
    /// The enabled commands, by name.
    pub commands: Vec<Command>,
    /// Nodes that the file names with `enabled = false`, by name. Not part of the plan's meaning.
    pub disabled: Vec<NodeName>,
    pub(super) places: Places,
}

/// `[host]`: the parts of the memory ledger that are no node, and what of the host is accepted knowingly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Memory left to the operating system, its page cache and other programs.
    pub os_floor: ByteSize,
    /// Memory reckoned for the daemon and its shims.
    pub supervisor: ByteSize,
    /// The root may lie where a reboot empties it: that is wanted, and nothing is said about it.
    pub allow_volatile_root: bool,
}

/// `[logs]`: what bounds the logs of all nodes together. Each node's own bounds are in its [`LogPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// All log files of all nodes together.
    pub total: ByteSize,
    /// Rotated files whose last line is older go; none: age does not matter.
    pub max_age: Option<Duration>,
    /// Whether rotated files are compressed.
    pub compress: bool,
}

/// `[artifacts]`: where programs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifacts {
    /// The store; none: `ROOT/artifacts`.
    pub store: Option<PathBuf>,
    /// Where the source `file` looks for archives that were put there by hand; none: `STORE/files`.
    pub files: Option<PathBuf>,
    /// The sources, in the order in which they are asked. Never empty, none twice.
    pub sources: Vec<SourceKind>,
    /// Base URL (`http://` or `https://`, no slash at the end) asked by the source `vendor` before the vendor's own host.
    pub mirror: Option<String>,
    /// Nothing is asked for over the network: only what the store holds and the source `file`.
    pub offline: bool,
    /// A Java runtime's home directory to use instead of the one found; none: search.
    pub java_home: Option<PathBuf>,
    /// Bytes per second over all downloads; none: as fast as they come.
    pub rate_limit: Option<ByteSize>,
    /// Certificates of authorities to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Vendors' OpenPGP signatures are required where there are some, besides the digests.
    pub signatures: bool,
    /// A file of more artifacts, in the form of `dist/artifacts.toml`. Its rows replace ours for the same choice.
    pub list: Option<PathBuf>,
}

impl Artifacts {
    /// The store, resolved.
    pub fn store(&self, layout: &Layout) -> PathBuf {
        self.store.clone().unwrap_or_else(|| layout.artifacts())
    }

    /// The directory of the source `file`, resolved.
    pub fn files(&self, layout: &Layout) -> PathBuf {
        self.files.clone().unwrap_or_else(|| self.store(layout).join("files"))
    }
}

/// A kind of artifact source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// Files on this machine.
    File,
    /// The mirror, then the vendor, then the project's permanent archive.
    Vendor,
    /// The machine's own package clients.
    Packages,
}

impl SourceKind {
    /// Every kind, in the default order.
    pub const ALL: [SourceKind; 3] = [SourceKind::File, SourceKind::Vendor, SourceKind::Packages];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::File => "file",
            SourceKind::Vendor => "vendor",
            SourceKind::Packages => "packages",
        }
    }
}

/// What every node has, besides its memory cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Care {
    /// User to run as; none: the daemon's own.
    pub user: Option<String>,
    /// From the stop signal to SIGKILL.
    pub grace: Duration,
    /// Which ends are followed by a new start.
    pub restart: RestartWhen,
    /// A run this long makes the next restart immediate and clears the back-off.
    pub healthy_after: Duration,
    /// `pids.max`: processes and threads.
    pub tasks_max: u64,
    /// `memory.high`, `memory.low` and weights.
    pub share: Share,
    /// `RLIMIT_NOFILE`.
    pub nofile: u64,
    /// How the log is kept.
    pub log: LogPolicy,
}

/// `[zookeeper]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zookeeper {
    /// Where clients connect.
    pub client_port: Port,
    /// The address it binds.
    pub bind: IpAddr,
    /// `-Xmx`; none: the file sets `memory_max` but no heap, so it is derived from the cap.
    pub heap: Option<ByteSize>,
    /// The cap.
    pub memory_max: ByteSize,
    /// Its data; none: `nodes/zookeeper/data`.
    pub data_dir: Option<PathBuf>,
    /// `tickTime`. Sessions last between 2 and 20 of it.
    pub tick: Duration,
    /// Upstream properties, passed through. None that this program owns.
    pub properties: BTreeMap<String, String>,
    /// More JVM flags, behind ours. None that this program owns.
    pub jvm_flags: Vec<String>,
    /// User, restarts, limits, log.
    pub care: Care,
}

/// A Kafka distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// `apache-3.5.2`.
    Apache352,
    /// `apache-3.9.2`.
    Apache392,
    /// `confluent-7.5.3`: Kafka 3.5 with ZooKeeper 3.8.
    Confluent753,
}

impl Distribution {
    /// Every one, the default first.
    pub const ALL: [Distribution; 3] = [Distribution::Apache352, Distribution::Apache392, Distribution::Confluent753];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Distribution::Apache352 => "apache-3.5.2",
            Distribution::Apache392 => "apache-3.9.2",
            Distribution::Confluent753 => "confluent-7.5.3",
        }
    }
}

/// What an acknowledged record survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of processes: brokers acknowledge from the page cache, and the kernel writes it back within some 30 s.
    #[default]
    PageCache,
    /// Loss of power: every broker syncs what it is sent before it acknowledges.
    PowerCut,
}

impl Durability {
    /// Every one, the default first.
    pub const ALL: [Durability; 2] = [Durability::PageCache, Durability::PowerCut];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::PageCache => "page-cache",
            Durability::PowerCut => "power-cut",
        }
    }
}

/// A release of MySQL that can be chosen by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MysqlRelease {
    /// `8.0.46`, the last of its series.
    R8046,
    /// `8.4.11`.
    R8411,
    /// `9.7.2`.
    R972,
}

impl MysqlRelease {
    /// Every one, oldest first.
    pub const ALL: [MysqlRelease; 3] = [MysqlRelease::R8046, MysqlRelease::R8411, MysqlRelease::R972];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            MysqlRelease::R8046 => "8.0.46",
            MysqlRelease::R8411 => "8.4.11",
            MysqlRelease::R972 => "9.7.2",
        }
    }
}

/// `[kafka]`, what all brokers share. Heap, cap and properties for all brokers are merged into each [`Broker`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Which distribution runs.
    pub distribution: Distribution,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// `zookeeper.session.timeout.ms`.
    pub session_timeout: Duration,
    /// The session of a broker that is proven dead is closed at once.
    pub fencing: bool,
    /// A broker that is back in every ISR is given back the partitions whose preferred leader it is, at once.
    pub elect_preferred: bool,
    /// The address the EXTERNAL listeners bind. INTERNAL ones bind and advertise 127.0.0.1 always: all brokers are here.
    pub bind: IpAddr,
    /// The host name that EXTERNAL listeners advertise to clients.
    pub advertised_host: String,
    /// More JVM flags, behind ours.
    pub jvm_flags: Vec<String>,
    /// The enabled brokers by `broker.id`; never empty.
    pub brokers: BTreeMap<u32, Broker>,
    /// Topics that shall be there, by name.
    pub topics: Vec<Topic>,
}

/// `[kafka.brokers.ID]`, with what `[kafka]` says for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Listener INTERNAL, on 127.0.0.1.
    pub internal_port: Port,
    /// Listener EXTERNAL, on [`Kafka::bind`].
    pub external_port: Port,
    /// `-Xmx`; none: the file sets `memory_max` but no heap, so it is derived from the cap.
    pub heap: Option<ByteSize>,
    /// The cap.
    pub memory_max: ByteSize,
    /// Its data; none: `nodes/broker-ID/data`.
    pub data_dir: Option<PathBuf>,
    /// Upstream properties: those of `[kafka.properties]`, overridden by the broker's own.
    pub properties: BTreeMap<String, String>,
    /// User, restarts, limits, log.
    pub care: Care,
}

/// `[mysql]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mysql {
    /// Where clients connect over TCP.
    pub port: Port,
    /// The address it binds.
    pub bind: IpAddr,
    /// The cap.
    pub memory_max: ByteSize,
    /// Which release runs; none: what the store has, else what the first source gives.
    pub version: Option<MysqlRelease>,
    /// The database that is provisioned.
    pub database: String,
    /// Its data; none: `nodes/mysql/data`.
    pub data_dir: Option<PathBuf>,
    /// Whether the database, its tables, the test rows and the `debezium` user are made at the first start.
    pub provision: bool,
    /// Server options, passed through; names with underscores, booleans as `ON` and `OFF`. None that this program owns.
    pub options: BTreeMap<String, String>,
    /// User, restarts, limits, log.
    pub care: Care,
}

/// A release of Kafka UI that the vendors' list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UiRelease {
    /// `provectus-0.7.2`: the last of the first project.
    Provectus072,
    /// `kafbat-1.0.0`: the first of its successor.
    Kafbat100,
    /// `kafbat-1.4.2`.
    Kafbat142,
    /// `kafbat-1.5.0`.
    Kafbat150,
}

impl UiRelease {
    /// All, oldest first.
    pub const ALL: [UiRelease; 4] =
        [UiRelease::Provectus072, UiRelease::Kafbat100, UiRelease::Kafbat142, UiRelease::Kafbat150];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            UiRelease::Provectus072 => "provectus-0.7.2",
            UiRelease::Kafbat100 => "kafbat-1.0.0",
            UiRelease::Kafbat142 => "kafbat-1.4.2",
            UiRelease::Kafbat150 => "kafbat-1.5.0",
        }
    }
}

/// `[kafka_ui]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaUi {
    /// Which release is fetched when no jar is named.
    pub release: UiRelease,
    /// A jar that was put there by hand; none: the one of the store.
    pub jar: Option<PathBuf>,
    /// The home of a Java runtime for it alone; none: the brokers' own where that is new enough, else one of the host's.
    pub java_home: Option<PathBuf>,
    /// Where browsers connect.
    pub port: Port,
    /// The address it binds.
    pub bind: IpAddr,
    /// `-Xmx`; none: the file sets `memory_max` but no heap, so it is derived from the cap.
    pub heap: Option<ByteSize>,
    /// The cap.
    pub memory_max: ByteSize,
    /// Whether the page may only look.
    pub read_only: bool,
    /// Settings of the program's own, by their dotted names. None that this program owns.
    pub properties: BTreeMap<String, String>,
    /// More JVM flags, behind ours.
    pub jvm_flags: Vec<String>,
    /// User, restarts, limits, log.
    pub care: Care,
}

/// `[command.NAME]`: any program of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// NAME.
    pub name: NodeName,
    /// Program (an absolute path) and arguments.
    pub argv: Vec<String>,
    /// Its environment; children start from an empty one.
    pub env: BTreeMap<String, String>,
    /// Working directory; none: the node's data directory.
    pub dir: Option<PathBuf>,
    /// The cap.
    pub memory_max: ByteSize,
    /// Enabled nodes that must be ready before it starts.
    pub after: Vec<NodeName>,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// How readiness is seen.
    pub probe: CommandProbe,
    /// Ports it binds, so that a taken one is named before the start.
    pub ports: Vec<SocketAddr>,
    /// User, restarts, limits, log.
    pub care: Care,
}

/// `[command.NAME.probe]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandProbe {
    /// The kind of look.
    pub kind: CommandProbeKind,
    /// Bound of one attempt.
    pub timeout: Duration,
    /// Pause between attempts.
    pub interval: Duration,
    /// Failures in a row that turn `ready` into `degraded`.
    pub failures: u32,
    /// How long a start may take before it is reported as late.
    pub start_deadline: Duration,
}

/// The kinds of look at a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandProbeKind {
    /// Running is ready.
    None,
    /// A TCP connect.
    Tcp(SocketAddr),
    /// `GET url` answers with 2xx. Plain `http://` only.
    Http(String),
    /// A command ends with 0.
    Exec(Vec<String>),
    /// The program says READY=1 (sd_notify).
    Notify,
}

/// What the plan says of any node, whatever its kind.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// The cap.
    pub memory_max: ByteSize,
    /// Its kind.
    pub kind: NodeKind,
    /// User, restarts, limits, log.
    pub care: &'a Care,
}

impl Plan {
    /// Every path below the root.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.root)
    }

    /// The product nodes, and where their data is or will be. ZooKeeper's and the brokers' belong together.
    pub fn data_directories(&self) -> Vec<(NodeName, PathBuf)> {
        let zookeeper = self.zookeeper.iter().map(|z| (NodeName::zookeeper(), &z.data_dir));
        let brokers = self.kafka.iter().flat_map(|k| &k.brokers).map(|(id, b)| (NodeName::broker(*id), &b.data_dir));
        let mysql = self.mysql.iter().map(|m| (NodeName::mysql(), &m.data_dir));
        let layout = self.layout();
        let place = |(node, dir): (NodeName, &Option<PathBuf>)| {
            let dir = dir.clone().unwrap_or_else(|| layout.data(&node));
            (node, dir)
        };
        zookeeper.chain(brokers).chain(mysql).map(place).collect()
    }

    /// The enabled nodes in an order of start: ZooKeeper, brokers by id, MySQL, the UI, then commands, each behind what it
    /// comes `after`, by name where that leaves a choice. Stopping goes the other way.
    pub fn nodes(&self) -> Vec<NodeName> {
        let mut order: Vec<NodeName> = Vec::new();
        order.extend(self.zookeeper.iter().map(|_| NodeName::zookeeper()));
        order.extend(self.kafka.iter().flat_map(|k| k.brokers.keys().map(|id| NodeName::broker(*id))));
        order.extend(self.mysql.iter().map(|_| NodeName::mysql()));
        order.extend(self.kafka_ui.iter().map(|_| NodeName::kafka_ui()));
        let mut done: BTreeSet<NodeName> = order.iter().cloned().collect();
        let mut left: Vec<&Command> = self.commands.iter().collect();
        // Checked plans have no cycle; were there one, its members come last rather than never.
        while let Some(at) =
            left.iter().position(|c| c.after.iter().all(|n| done.contains(n))).or((!left.is_empty()).then_some(0))
        {
            let name = left.remove(at).name.clone();
            done.insert(name.clone());
            order.push(name);
        }
        order
    }

    /// What the plan says of `node`; none when it is not an enabled node.
    pub fn node(&self, node: &NodeName) -> Option<NodeView<'_>> {
        self.each_node().find(|(name, _)| name == node).map(|(_, view)| view)
    }

    /// Every enabled node with its cap, kind and care, in no promised order.
    pub fn each_node(&self) -> impl Iterator<Item = (NodeName, NodeView<'_>)> {
        let view = |name, kind, memory_max, care| (name, NodeView { memory_max, kind, care });
        let zookeeper =
            self.zookeeper.iter().map(move |z| view(NodeName::zookeeper(), NodeKind::Zookeeper, z.memory_max, &z.care));
        let brokers = self.kafka.iter().flat_map(|k| &k.brokers);
        let brokers =
            brokers.map(move |(id, b)| view(NodeName::broker(*id), NodeKind::Broker(*id), b.memory_max, &b.care));
        let mysql = self.mysql.iter().map(move |m| view(NodeName::mysql(), NodeKind::Mysql, m.memory_max, &m.care));
        let ui =
            self.kafka_ui.iter().map(move |u| view(NodeName::kafka_ui(), NodeKind::KafkaUi, u.memory_max, &u.care));
        let commands =
            self.commands.iter().map(move |c| view(c.name.clone(), NodeKind::Command, c.memory_max, &c.care));
        zookeeper.chain(brokers).chain(mysql).chain(ui).chain(commands)
    }

    /// The ports that enabled nodes bind, with the keys that set them.
    pub fn ports(&self) -> Vec<(NodeName, PortUse)> {
        let mut uses = Vec::new();
        let mut add = |node: NodeName, name: &str, ip: IpAddr, port: Port, key: String| {
            uses.push((node, PortUse { name: name.into(), address: SocketAddr::new(ip, port.0), key }));
        };
        if let Some(z) = &self.zookeeper {
            add(NodeName::zookeeper(), "client", z.bind, z.client_port, "zookeeper.client_port".into());
        }
        if let Some(k) = &self.kafka {
            for (id, b) in &k.brokers {
                let key = format!("kafka.brokers.{id}");
                let node = NodeName::broker(*id);
                let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
                add(node.clone(), "INTERNAL", loopback, b.internal_port, format!("{key}.internal_port"));
                add(node, "EXTERNAL", k.bind, b.external_port, format!("{key}.external_port"));
            }
        }
        if let Some(m) = &self.mysql {
            add(NodeName::mysql(), "mysql", m.bind, m.port, "mysql.port".into());
        }
        if let Some(ui) = &self.kafka_ui {
            add(NodeName::kafka_ui(), "http", ui.bind, ui.port, "kafka_ui.port".into());
        }
        for c in &self.commands {
            for (i, address) in c.ports.iter().enumerate() {
                let key = format!("command.{}.ports[{i}]", c.name);
                add(c.name.clone(), "port", address.ip(), Port(address.port()), key);
            }
        }
        uses
    }

    /// The key of a node's table: `kafka.brokers.1` for `broker-1`.
    pub fn node_key(node: &NodeName) -> String {
        match node.as_str() {
            name @ ("zookeeper" | "mysql") => name.to_owned(),
            "kafka-ui" => "kafka_ui".to_owned(),
            name => match name.strip_prefix("broker-") {
                Some(id) => format!("kafka.brokers.{id}"),
                None => format!("command.{name}"),
            },
        }
    }

    /// The line (from 1) where `key` is written; none when the file leaves it to its default.
    pub fn key_line(&self, key: &str) -> Option<usize> {
        self.places.line(key)
    }

    /// The line of a node's table header, for a broker without one that of `[kafka]`; none when the file names neither.
    pub fn node_line(&self, node: &NodeName) -> Option<usize> {
        let key = Self::node_key(node);
        self.key_line(&key).or_else(|| self.key_line("kafka").filter(|_| key.starts_with("kafka.")))
    }

    /// The configuration file as it is named in messages: its path.
    pub fn file_name(&self) -> &str {
        self.places.name()
    }

    /// `supervisor.toml line 31` for a key that the file holds, `supervisor.toml` otherwise.
    pub fn place(&self, key: &str) -> String {
        match self.key_line(key) {
            Some(line) => format!("{} line {line}", self.places.name()),
            None => self.places.name().to_owned(),
        }
    }
}
