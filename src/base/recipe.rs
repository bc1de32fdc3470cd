//! A recipe: everything needed to run one node, as plain data. `services` writes it, `engine` follows it.

use super::{ByteSize, NodeKind, NodeName, Port};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How one node is prepared, started, watched and stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Its name.
    pub node: NodeName,
    /// Its kind.
    pub kind: NodeKind,
    /// Directories to make before the files, with their mode.
    pub directories: Vec<(PathBuf, u32)>,
    /// Files to write before a start.
    pub files: Vec<RenderedFile>,
    /// One-time work before the first start, in order.
    pub prepare: Vec<PrepareStep>,
    /// What to execute.
    pub launch: Launch,
    /// How to see that it is ready.
    pub probe: Probe,
    /// How to stop it.
    pub stop: Stop,
    /// Nodes that must be ready before it is started, and that are stopped after it.
    pub after: Vec<NodeName>,
    /// Nodes that keep copies of the same data. Of such nodes only one at a time is replaced when nobody has ordered it.
    pub peers: Vec<NodeName>,
    /// The ports it binds.
    pub ports: Vec<PortUse>,
    /// When to start it again.
    pub restart: Restart,
    /// How its log is kept.
    pub log: LogPolicy,
}

impl Recipe {
    /// Whether it waits for a program: it starts by itself when that has come.
    pub fn lacks_program(&self) -> bool {
        self.prepare.iter().any(|step| matches!(step, PrepareStep::NoProgram { .. }))
    }

    /// What a broker's start says about the session of its last run; none: it is no broker.
    pub fn broker_session(&self) -> Option<BrokerSession<'_>> {
        self.prepare.iter().find_map(|step| match step {
            PrepareStep::AwaitBrokerSessionGone { zookeeper, broker_id, up_to, fence, endpoints } => {
                let (zookeeper, broker, up_to, fence) = (*zookeeper, *broker_id, *up_to, *fence);
                Some(BrokerSession { zookeeper, broker, up_to, fence, endpoints })
            }
            PrepareStep::ClassData(_)
            | PrepareStep::MysqlInitialize(_)
            | PrepareStep::DataVersion(_)
            | PrepareStep::BrokerIdentity(_)
            | PrepareStep::MysqlIdentity { .. }
            | PrepareStep::AwaitTakeover { .. }
            | PrepareStep::NoProgram { .. } => None,
        })
    }
}

/// [`PrepareStep::AwaitBrokerSessionGone`] of a recipe.
#[derive(Clone, Copy, Debug)]
pub struct BrokerSession<'a> {
    /// Where the session is.
    pub zookeeper: SocketAddr,
    /// Whose.
    pub broker: u32,
    /// How long it may last.
    pub up_to: Duration,
    /// It is closed without an order when its broker is proven dead.
    pub fence: bool,
    /// Where the broker says that it listens.
    pub endpoints: &'a [String],
}

/// A configuration file, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// Absolute path under the root.
    pub path: PathBuf,
    /// Permission bits, 0o600 when it holds a secret.
    pub mode: u32,
    /// The bytes.
    pub contents: String,
}

/// One-time work before a start. Each is skipped when its result is already there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrepareStep {
    /// Make the class-data archive for `archive`'s key when it is missing, and let `launch` use it.
    ClassData(ClassDataArchive),
    /// Initialise and provision MySQL into a temporary directory, then rename it into place.
    MysqlInitialize(MysqlInitialize),
    /// Before each start: no newer program has written the data; this program's version is noted in it.
    DataVersion(DataVersion),
    /// Before each start: the broker's data, the other brokers', ZooKeeper's and this root's record belong together.
    BrokerIdentity(BrokerIdentity),
    /// Before each start, and before the data directory is made: it is that of the server this root remembers.
    MysqlIdentity {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// Its program is not there: the start is refused with these words, and everything else goes on.
    NoProgram {
        /// One sentence.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// Before each start: wait until ZooKeeper no longer holds `/brokers/ids/ID` of an earlier session.
    AwaitBrokerSessionGone {
        /// Where ZooKeeper listens.
        zookeeper: SocketAddr,
        /// `broker.id`.
        broker_id: u32,
        /// Longest it can take: session timeout + two ticks.
        up_to: Duration,
        /// Whether the supervisor closes the session itself once the broker is proven dead.
        fence: bool,
        /// `NAME://HOST:PORT` of every listener, as the broker registers them.
        endpoints: Vec<String>,
    },
    /// Before a start right after a death: a moment for the other brokers to lead what this one led.
    AwaitTakeover {
        /// `broker.id`.
        broker_id: u32,
        /// INTERNAL listeners of the others.
        others: Vec<SocketAddr>,
    },
}

/// Which program writes a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataVersion {
    /// Whose.
    pub product: DataProduct,
    /// The version that will write (`3.5.2`, `8.0.46-0ubuntu0.24.04.3`).
    pub version: String,
    /// Kafka: `inter.broker.protocol.version`, which decides about formats.
    pub protocol: Option<String>,
    /// Where the data is.
    pub data_dir: PathBuf,
}

/// Products whose data directories carry a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataProduct {
    /// ZooKeeper.
    Zookeeper,
    /// Kafka brokers.
    Kafka,
    /// MySQL.
    Mysql,
}

/// What tells whether a broker's data belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerIdentity {
    /// `broker.id`.
    pub broker: u32,
    /// Every broker of the plan with its data directory, this one among them.
    pub brokers: Vec<(u32, PathBuf)>,
    /// Where ZooKeeper listens.
    pub zookeeper: SocketAddr,
    /// Its data directory, for explanations.
    pub zookeeper_data: PathBuf,
}

/// A class-data archive that makes a JVM start faster and smaller (`engine::class_data` has the figures).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassDataArchive {
    /// Where the archive lies; the name holds runtime, class path and main class.
    pub file: PathBuf,
    /// What to run to make it.
    pub training: Training,
}

/// The short run of the program whose loaded classes fill the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Training {
    /// A ZooKeeper on a free port with a temporary data directory, stopped once it has been used, twice.
    Zookeeper(TrainingJvm),
    /// A broker on free ports against a ZooKeeper of its own, stopped once it has been used, twice. The second is that ZooKeeper.
    Broker(TrainingJvm, TrainingJvm),
}

/// The command line of a training run, without heap, archive and configuration: those the engine adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingJvm {
    /// `java` and its flags up to and including `-cp PATH`.
    pub java: Vec<String>,
    /// The main class.
    pub main_class: String,
    /// Properties for its configuration file; `@PORT@`, `@ZOOKEEPER@` and `@DATA@` are filled in for the run.
    pub properties: String,
}

/// How to make a MySQL data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlInitialize {
    /// The final data directory; its presence means the step is done.
    pub data_dir: PathBuf,
    /// Where it is built, on the same file system, removed at every attempt.
    pub build_dir: PathBuf,
    /// `mysqld … --initialize-insecure`, with `build_dir` as its data directory.
    pub initialize: Vec<String>,
    /// `mysqld … --skip-networking`, serving `build_dir` on `socket`, for the provisioning statements.
    pub serve: Vec<String>,
    /// Environment of both.
    pub env: Vec<(String, String)>,
    /// The unix socket of the provisioning server.
    pub socket: PathBuf,
    /// The unix socket that mysqld serves later.
    pub served: PathBuf,
    /// Statements to run as root over that socket, in order. `@ROOT_PASSWORD@` and `@DEBEZIUM_PASSWORD@` are replaced by
    /// quoted secrets, so that no secret ever lies in a recipe.
    pub statements: Vec<String>,
    /// Secret files to make when missing: 0600, password and one newline.
    pub root_password: PathBuf,
    /// The same for the `debezium` user.
    pub debezium_password: PathBuf,
}

/// What to execute, and inside which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments; the program is an absolute path.
    pub argv: Vec<String>,
    /// The whole environment: children start from an empty one.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub dir: PathBuf,
    /// User to run as; none: the daemon's own.
    pub user: Option<String>,
    /// `memory.max`; none: no cap.
    pub memory_max: Option<ByteSize>,
    /// The Java heap inside the cap, for explanations; none: no JVM.
    pub heap: Option<ByteSize>,
    /// `pids.max`.
    pub tasks_max: u64,
    /// What else its cgroup is given.
    pub share: Share,
    /// `RLIMIT_NOFILE`, soft and hard, as far as the hard limit of the daemon allows.
    pub nofile: u64,
    /// `oom_score_adj` wanted; raised to what the daemon may set.
    pub oom_score_adj: i32,
    /// Whether a `NOTIFY_SOCKET` of its own is given to it (sd_notify protocol).
    pub notify: bool,
}

/// Limits and shares of a node beside its cap and its tasks (cgroup-v2.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// `memory.high`: above it the node is slowed down and its memory reclaimed; none: no such limit.
    pub memory_high: Option<ByteSize>,
    /// `memory.low`: memory that is spared while others have some to reclaim; none: none.
    pub memory_low: Option<ByteSize>,
    /// `cpu.weight`, 1 to 10,000.
    pub cpu_weight: u16,
    /// `io.weight`, 1 to 10,000.
    pub io_weight: u16,
}

impl Share {
    /// What every cgroup has by itself.
    pub const KERNEL: Self = Self { memory_high: None, memory_low: None, cpu_weight: 100, io_weight: 100 };
}

impl Default for Share {
    fn default() -> Self {
        Self::KERNEL
    }
}

/// How readiness is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The kind of look.
    pub kind: ProbeKind,
    /// Bound of one attempt.
    pub timeout: Duration,
    /// Pause between attempts until it is ready.
    pub start_interval: Duration,
    /// Pause between attempts once it is ready. Zero: no more attempts.
    pub ready_interval: Duration,
    /// Failures in a row that turn `ready` into `degraded`.
    pub failures: u32,
    /// How long a start may take without progress before it is reported as late.
    pub start_deadline: Duration,
}

/// The kinds of look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Running is ready.
    None,
    /// A TCP connect.
    Tcp(SocketAddr),
    /// `GET url` answers with 2xx.
    Http(String),
    /// A command ends with 0; its environment is the node's.
    Exec(Vec<String>),
    /// The node says READY=1 itself (sd_notify).
    Notify,
    /// `srvr` answers with a `Mode:` line.
    Zookeeper(SocketAddr),
    /// Metadata on both listeners, and the broker in the cluster's list.
    Broker {
        /// `broker.id`.
        id: u32,
        /// The INTERNAL listener.
        internal: SocketAddr,
        /// The EXTERNAL listener.
        external: SocketAddr,
    },
    /// READY=1 from mysqld, then `SELECT 1` over its socket as root.
    Mysql {
        /// The unix socket.
        socket: PathBuf,
        /// File with root's password.
        root_password: PathBuf,
    },
}

/// How a node is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The signal that asks.
    pub signal: i32,
    /// Time until SIGKILL.
    pub grace: Duration,
    /// Exit codes that count as a clean end after our signal, besides 0 and death by that signal (143 for a JVM).
    pub clean_codes: Vec<i32>,
    /// What the signal does to it while it starts.
    pub while_starting: WhileStarting,
}

/// Whether a node may be asked to stop before it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhileStarting {
    /// At any time.
    Ask,
    /// Only once it serves, or once its start is late: a stop ordered before is queued.
    Wait {
        /// What forcing it costs, one clause for people.
        price: String,
    },
}

/// When a node that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Which ends are followed by a new start.
    pub when: RestartWhen,
    /// A run of at least this long makes the next restart immediate and clears the back-off.
    pub healthy_after: Duration,
    /// First pause.
    pub back_off_min: Duration,
    /// Longest pause.
    pub back_off_max: Duration,
}

/// Which ends are followed by a new start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartWhen {
    /// Every end that nobody ordered.
    Always,
    /// Only a code other than 0, or a signal.
    OnFailure,
    /// None.
    Never,
}

/// A port that a node binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortUse {
    /// What for: `client`, `INTERNAL`, `EXTERNAL`, `mysql`.
    pub name: String,
    /// On which address it is bound.
    pub address: SocketAddr,
    /// The key in `supervisor.toml` that sets it, for hints (`kafka.brokers.1.external_port`).
    pub key: String,
}

impl PortUse {
    /// The port number.
    pub fn port(&self) -> Port {
        Port(self.address.port())
    }
}

/// How a node's log is kept: `log/current` and rotated siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    /// Size at which `current` is rotated, at a line end.
    pub max_bytes: ByteSize,
    /// How many rotated files are kept beside `current`.
    pub keep: u32,
}
