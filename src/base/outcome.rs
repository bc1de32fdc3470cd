//! How a process ended, and why: exit statuses, exit records, the closed list of causes.

use super::{Incarnation, NodeName, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What `wait` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It called exit.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// Nobody could learn it: shim and daemon died together (design: cause "unknown").
    Unknown,
}

impl ExitStatus {
    /// `exit 143`, `SIGKILL`, `unknown`.
    pub fn describe(self) -> String {
        match self {
            ExitStatus::Code(c) => format!("exit {c}"),
            ExitStatus::Signal(s) => signal_name(s),
            ExitStatus::Unknown => "unknown exit".into(),
        }
    }
}

/// `SIGTERM` for 15; `signal 64` for one without a name of its own.
pub fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(s) => s.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

/// Whether Linux has a signal of this number: 1 to SIGRTMAX, which is 64 (signal(7)). 0 only asks and sends nothing (kill(2)).
pub fn is_signal(number: i32) -> bool {
    (1..=64).contains(&number)
}

/// Reads `TERM`, `SIGTERM`, `sigterm` or `15`.
pub fn parse_signal(text: &str) -> Result<i32, String> {
    let bad = || format!("{text:?} is not a signal; write a name such as SIGTERM or HUP, or a number from 1 to 64");
    if let Ok(n) = text.parse::<i32>() {
        return if is_signal(n) { Ok(n) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse::<nix::sys::signal::Signal>().map(|s| s as i32).map_err(|_| bad())
}

/// Whose limit an out-of-memory kill was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OomBy {
    /// The node's own cap.
    Cap,
    /// A limit on a group above it: of the unit, of its slice.
    GroupAbove,
    /// None: the machine had no memory left.
    Host,
}

impl OomBy {
    /// Every one.
    pub const ALL: [OomBy; 3] = [OomBy::Cap, OomBy::GroupAbove, OomBy::Host];

    /// The word in exit records and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            OomBy::Cap => "cap",
            OomBy::GroupAbove => "group-above",
            OomBy::Host => "host",
        }
    }
}

/// What a shim writes down about the end of its node, before it tells anyone. Kept in `run/exit.INCARNATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// Which start of the node this was.
    pub incarnation: Incarnation,
    /// The main process; 0 when the program never ran.
    pub pid: i32,
    /// How the main process ended.
    pub status: ExitStatus,
    /// When the main process was started.
    pub started_at: Timestamp,
    /// When its end was seen.
    pub ended_at: Timestamp,
    /// User and system CPU time of the main process and its reaped children, milliseconds.
    pub cpu_ms: u64,
    /// Peak resident size of the main process, bytes (`ru_maxrss`).
    pub peak_rss_bytes: u64,
    /// `memory.peak` of its cgroup, bytes; none without cgroup v2.
    pub cgroup_peak_bytes: Option<u64>,
    /// Out-of-memory incidents in its cgroup (`oom_group_kill`; `oom_kill` counts victims: 3 for a group of two, seen on 7.2); none without cgroup v2.
    pub oom_kills: Option<u64>,
    /// Whose limit that was about; none: no such kill, or a shim older than this field.
    pub oom_by: Option<OomBy>,
    /// `memory.max` of its cgroup at its end, bytes; none: unlimited, without cgroup v2, or a shim older than this field.
    pub cgroup_cap_bytes: Option<u64>,
    /// Signals that reached the node through the shim on our order, in order (15, then 9, ...).
    pub signals_sent: Vec<i32>,
}

/// Why a node ended. A closed list: programs match on these words (`last_exit.cause`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It ended after our stop signal, in a way its product calls clean.
    Stopped,
    /// It did not end within its grace period and was killed by us.
    KilledAfterGrace,
    /// `kill NODE --signal` or a second Ctrl-C.
    KilledByOrder,
    /// A signal that neither we nor the kernel's OOM killer sent.
    KilledByOther,
    /// The kernel killed it for want of memory: at its own cap, or because a group above it or the machine had none left.
    OutOfMemory,
    /// It ended by itself with code 0.
    Completed,
    /// It ended by itself with another code and no better explanation.
    Crashed,
    /// The program could not be executed at all.
    CouldNotStart,
    /// A broker met its own old ZooKeeper session; it waits, this is no crash.
    OldSession,
    /// Cluster id, broker id or data of another cluster.
    WrongIdentity,
    /// An option or property its program refuses.
    BadOption,
    /// Somebody else listens on its port.
    PortTaken,
    /// No space left where it writes.
    DiskFull,
    /// It may not read or write its files.
    WrongOwner,
    /// Its data was written by a newer program.
    NewerData,
    /// The shim was killed; the node was replaced in order.
    ShimLost,
    /// Shim and daemon died together; nobody saw how it ended.
    Unknown,
}

impl Cause {
    /// Every cause, for help texts and tests.
    pub const ALL: [Cause; 17] = [
        Cause::Stopped,
        Cause::KilledAfterGrace,
        Cause::KilledByOrder,
        Cause::KilledByOther,
        Cause::OutOfMemory,
        Cause::Completed,
        Cause::Crashed,
        Cause::CouldNotStart,
        Cause::OldSession,
        Cause::WrongIdentity,
        Cause::BadOption,
        Cause::PortTaken,
        Cause::DiskFull,
        Cause::WrongOwner,
        Cause::NewerData,
        Cause::ShimLost,
        Cause::Unknown,
    ];

    /// Whether only a start ends of it. A run that has served has got past it: a line of that kind in its log is about somebody's
    /// request (Kafka 3.5.2 logs a topic with a bad setting as `INFO … ConfigException`, `ZkAdminManager.createTopics`).
    pub fn is_of_a_start(self) -> bool {
        match self {
            Cause::CouldNotStart | Cause::WrongIdentity | Cause::BadOption | Cause::PortTaken | Cause::NewerData => {
                true
            }
            Cause::Stopped
            | Cause::KilledAfterGrace
            | Cause::KilledByOrder
            | Cause::KilledByOther
            | Cause::OutOfMemory
            | Cause::Completed
            | Cause::Crashed
            | Cause::OldSession
            | Cause::DiskFull
            | Cause::WrongOwner
            | Cause::ShimLost
            | Cause::Unknown => false,
        }
    }

    /// The word used in JSON, identical to the serde form.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Stopped => "stopped",
            Cause::KilledAfterGrace => "killed-after-grace",
            Cause::KilledByOrder => "killed-by-order",
            Cause::KilledByOther => "killed-by-other",
            Cause::OutOfMemory => "out-of-memory",
            Cause::Completed => "completed",
            Cause::Crashed => "crashed",
            Cause::CouldNotStart => "could-not-start",
            Cause::OldSession => "old-session",
            Cause::WrongIdentity => "wrong-identity",
            Cause::BadOption => "bad-option",
            Cause::PortTaken => "port-taken",
            Cause::DiskFull => "disk-full",
            Cause::WrongOwner => "wrong-owner",
            Cause::NewerData => "newer-data",
            Cause::ShimLost => "shim-lost",
            Cause::Unknown => "unknown",
        }
    }

    /// Whether the start was refused to keep data from harm: it belongs elsewhere, or a newer program wrote it.
    pub fn is_about_whose_data(self) -> bool {
        match self {
            Cause::WrongIdentity | Cause::NewerData => true,
            Cause::BadOption
            | Cause::PortTaken
            | Cause::DiskFull
            | Cause::WrongOwner
            | Cause::CouldNotStart
            | Cause::Stopped
            | Cause::KilledAfterGrace
            | Cause::KilledByOrder
            | Cause::KilledByOther
            | Cause::OutOfMemory
            | Cause::Completed
            | Cause::Crashed
            | Cause::OldSession
            | Cause::ShimLost
            | Cause::Unknown => false,
        }
    }

    /// Whether starting it again cannot help: the node stops in `failed` with a remedy.
    pub fn is_terminal(self) -> bool {
        match self {
            Cause::WrongIdentity
            | Cause::BadOption
            | Cause::PortTaken
            | Cause::DiskFull
            | Cause::WrongOwner
            | Cause::NewerData
            | Cause::CouldNotStart => true,
            Cause::Stopped
            | Cause::KilledAfterGrace
            | Cause::KilledByOrder
            | Cause::KilledByOther
            | Cause::OutOfMemory
            | Cause::Completed
            | Cause::Crashed
            | Cause::OldSession
            | Cause::ShimLost
            | Cause::Unknown => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A fault that restarting cannot cure: what is wrong and what the user can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The word for programs.
    pub cause: Cause,
    /// One sentence with the operands (path, value, owner).
    pub what: String,
    /// What to do about it, imperative.
    pub remedy: String,
}

impl Failure {
    /// The same with a command in place of "start the node": the list of known lines does not know whose line it is.
    #[must_use]
    pub fn of_node(mut self, node: &NodeName) -> Self {
        self.remedy = self.remedy.replace("then start the node", &format!("then `cdc-supervisor start {node}`"));
        self
    }
}
