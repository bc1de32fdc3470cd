//! What goes over the control socket, and what `--json` prints: one JSON object per line, versioned, nothing of the engine.

pub mod cluster;
pub mod plan;
pub mod topics;

use crate::base::{Cause, NodeName, Timestamp, drill, outcome::Failure, stall::Stalls};
use serde::{Deserialize, Serialize};

/// Version of this protocol. A daemon answers any request whose `v` it knows.
pub const VERSION: u32 = 1;

/// Longest line either side accepts, bytes. A longer one ends the connection.
pub const LINE_MAX: usize = 1 << 20;

/// One request: the first and only line a client sends on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub v: u32,
    /// What is asked.
    pub order: Order,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Who are you: answered with one `Hello`.
    Hello,
    /// One `Status`.
    Status,
    /// A `Status` now and at every change (at most ten a second), until the client hangs up or the daemon ends.
    Watch,
    /// Wanted up; `Done` when all are ready. Empty: all nodes.
    Start {
        /// Which.
        nodes: Vec<NodeName>,
        /// Also what they need (their dependencies); false: refused when a dependency is wanted down.
        with_needs: bool,
        /// Also while a drill is under way. Absent: false (older clients and daemons).
        #[serde(default, skip_serializing_if = "is_false")]
        anyway: bool,
    },
    /// Wanted down; `Done` when all are gone.
    Stop {
        /// Which.
        nodes: Vec<NodeName>,
        /// SIGKILL the trees instead of asking; also what is still starting. Absent: false (older clients and daemons).
        #[serde(default, skip_serializing_if = "is_false")]
        now: bool,
        /// Also while a roll, a drill or a reload is under way. Absent: false (older clients and daemons).
        #[serde(default, skip_serializing_if = "is_false")]
        anyway: bool,
    },
    /// Stop, then start; `Done` when all are ready again.
    Restart {
        /// Which.
        nodes: Vec<NodeName>,
        /// As of `Stop`; also several brokers at once, and ZooKeeper while a broker is not ready.
        #[serde(default, skip_serializing_if = "is_false")]
        anyway: bool,
    },
    /// One signal to the main process; `Done` at once.
    Kill {
        /// Which.
        node: NodeName,
        /// The number.
        signal: i32,
    },
    /// Close the ZooKeeper session of a broker that is proven dead; `Done` when it is closed, or when there is none.
    Fence {
        /// Which.
        node: NodeName,
    },
    /// Everything down in order, then the daemon ends. `Done` when all nodes are gone.
    Down {
        /// SIGKILL the trees instead of asking.
        now: bool,
    },
    /// Apply the configuration file that the daemon was started with: `Progress` lines, then `Done`, or `Refused` with 3
    /// (configuration), 4 (preflight), 5 (artifact), 6 (a node, or a wait that took too long) or 8 (refused, also on the way).
    Reload {
        /// The file that the client means; refused when the daemon uses another. None: whichever the daemon uses.
        #[serde(default)]
        config: Option<String>,
        /// Longest wait for one thing, seconds.
        #[serde(default = "max_wait_default")]
        max_wait_s: u64,
        /// As of `Roll`. Absent: false (older clients and daemons).
        #[serde(default, skip_serializing_if = "is_false")]
        accept_unavailable: bool,
        /// As of `Roll`. Absent: false (older clients and daemons).
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
    },
    /// Restart brokers one by one (see `operate::roll`): `Progress` lines, then `Done`, or `Refused` with 6 (a broker did not come
    /// back, or a wait that took too long) or 8. With `plan` one `Outlook`, and nothing is touched.
    Roll {
        /// Which; empty: all that are wanted up.
        #[serde(default)]
        nodes: Vec<NodeName>,
        /// Longest wait for one thing, seconds.
        #[serde(default = "max_wait_default")]
        max_wait_s: u64,
        /// Partitions that have too few replicas may be unavailable meanwhile.
        #[serde(default)]
        accept_unavailable: bool,
        /// Replicas on brokers that nobody runs are not waited for where nothing breaks. Absent: false (older clients and daemons).
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
        /// Only say what it would do and what would break.
        #[serde(default)]
        plan: bool,
    },
    /// What breaks if this node is stopped now: one `Outlook`.
    WhyNot {
        /// Which.
        node: NodeName,
    },
    /// Prove that the cluster works (see `operate::prove`): `Progress` lines, then `Done` or `Refused` with exit 9.
    Prove,
    /// Look at everything the box promises (see `operate::verify`): `Progress` lines, then one `Verdict`.
    Verify,
    /// What topics there are, against the configuration: one `Topics`, or `Refused` with 6 when no broker answers.
    Topics,
    /// Put the configuration's topics into force: `Done`, or `Refused` with 6 (not yet) or 9 (what no order changes).
    TopicsApply,
    /// Delete a topic that is not in the configuration, with all its records.
    TopicRemove {
        /// Its name.
        name: String,
    },
    /// Copy all data that belong together: `Progress` lines, then `Done`, or `Refused` with 8.
    Snapshot {
        /// The snapshot's name.
        name: String,
        /// Stop the nodes that have data, and start them again; false: refused while one of them runs.
        #[serde(default, skip_serializing_if = "is_false")]
        stop: bool,
    },
    /// Stop the nodes that have data, put a snapshot's in their place, start them again.
    Restore {
        /// The snapshot's name.
        name: String,
        /// One set of it (`kafka`, `mysql`); none: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<String>,
    },
    /// Stop the nodes of one set, delete their data, start them again.
    Reset {
        /// `kafka` or `mysql`.
        set: String,
    },
    /// Break something on purpose and judge what became of what was written (see `operate::drill`): `Progress` lines, then one
    /// `Drilled`.
    Drill(drill::Plan),
    /// Run the program that lies at the daemon's own path now, in the same process; nodes run on. `Done` right before the
    /// step that cannot be told of: what came of it is in the next `Hello`.
    UpgradeSelf,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// How long a reload waits for one thing when nothing else is said.
fn max_wait_default() -> u64 {
    600
}

/// One line of an answer. An answer ends with `Hello`, `Status` (to `Status`), `Verdict`, `Outlook`, `Done` or
/// `Refused`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Who answers.
    Hello(Hello),
    /// The state of everything.
    Status(Box<Status>),
    /// What a verification found.
    Verdict(Verdict),
    /// What would break.
    Outlook(cluster::Outlook),
    /// What topics there are.
    Topics(topics::Topics),
    /// What a drill found.
    Drilled(Box<drill::Report>),
    /// A step on the way, for people.
    Progress {
        /// Which node, when one.
        node: Option<NodeName>,
        /// What.
        text: String,
    },
    /// Carried out.
    Done {
        /// What was done, one line per fact.
        text: Vec<String>,
    },
    /// Not carried out.
    Refused {
        /// The exit code the verb ends with.
        exit: u8,
        /// One sentence.
        message: String,
        /// Causes, outermost first.
        causes: Vec<String>,
        /// What to do.
        hint: Option<String>,
    },
}

/// What a verification found: `verify --json`. Keys are never missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// 1.
    pub schema: u32,
    /// When it was made.
    pub at: Timestamp,
    /// Every check holds.
    pub ok: bool,
    /// In the order they were made.
    pub checks: Vec<Checked>,
}

/// One thing that a verification looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// `kafka`, `mysql` or `drill`.
    pub part: String,
    /// What, in a few words.
    pub check: String,
    /// It holds.
    pub ok: bool,
    /// How it should be; null when it holds.
    pub expected: Option<String>,
    /// How it is, or why it could not be looked at; null when it holds.
    pub found: Option<String>,
    /// What is to be known of it though it does not fail; null: nothing, or a daemon older than this key.
    #[serde(default)]
    pub note: Option<String>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub v: u32,
    /// Version of the daemon's package.
    pub version: String,
    /// Its pid.
    pub pid: i32,
    /// Digest of the plan it applies: two configurations that mean the same have the same one.
    pub plan_digest: String,
    /// Since when this program serves; none: a daemon older than this key. After a hand-over the pid is the same and this is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Why the last hand-over of this daemon did not come about, after it had been announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover_failed: Option<String>,
}

/// The state of everything: `status --json`. Keys are never missing; unknown is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// 1.
    pub schema: u32,
    /// The daemon.
    pub supervisor: Supervisor,
    /// Nodes, in the order they are started.
    pub nodes: Vec<Node>,
    /// The cluster as a whole; null: no such node, or a daemon older than this key.
    #[serde(default)]
    pub cluster: Option<cluster::Cluster>,
    /// File systems that hold data; null: they are not watched, nothing runs, or a daemon older than this key.
    #[serde(default)]
    pub disks: Option<Vec<DiskState>>,
    /// A roll that was cut short with its daemon, until each broker that it had not come to has been started anew; null: there is none, or
    /// a daemon older than this key.
    #[serde(default)]
    pub cut_short: Option<CutShort>,
}

/// An operation that was cut short with its daemon and has left something undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutShort {
    /// `roll`, `roll broker-1, broker-2`.
    pub operation: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// How far it was, in words.
    pub step: String,
    /// Brokers that it had not come to and that have not been started anew since.
    pub not_restarted: Vec<NodeName>,
    /// `waits`: this daemon finishes it as soon as it may; `runs`: it does just now; `left`: it does not (any more), a person does. Null: a
    /// daemon older than this key, which does not.
    #[serde(default)]
    pub resume: Option<String>,
    /// What it waits for, how far it is, or why it is left; null: nothing is to be said.
    #[serde(default)]
    pub resume_detail: Option<String>,
}

/// A file system that holds data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskState {
    /// Where it is mounted.
    pub mount: String,
    /// `fine`, `low` (it is told), `stop` (brokers are held down), `last` (ZooKeeper and MySQL too).
    pub state: String,
    /// Its size.
    pub total_bytes: u64,
    /// What can be written.
    pub free_bytes: u64,
    /// Held by the ballast; 0: there is none now.
    pub ballast_bytes: u64,
    /// `low` below this.
    pub low_bytes: u64,
    /// `stop` below this, reckoned with the ballast whole.
    pub stop_bytes: u64,
    /// What is held down is started again when so much is free: with the room for the ballast, when that is gone.
    pub resume_bytes: u64,
    /// Nodes with their data there.
    pub nodes: Vec<NodeName>,
    /// Those of them that are held down for want of room. Empty from an older daemon.
    #[serde(default)]
    pub held: Vec<NodeName>,
    /// Who takes the most room, the largest first; only while there is little, counted again every minute.
    pub takers: Vec<String>,
}

/// The daemon in `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    /// Its pid; null when no daemon runs.
    pub pid: Option<i32>,
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
    /// For how long, milliseconds, by a clock that nobody sets; null: no daemon runs, or one older than this key.
    #[serde(default)]
    pub up_ms: Option<u64>,
    /// The root directory.
    pub root: String,
    /// Whether memory caps are enforced.
    pub caps: Caps,
    /// What the daemon and the shims hold themselves; null: not known, or a daemon older than this key.
    #[serde(default)]
    pub memory: Option<OwnMemory>,
}

/// Whether memory caps are enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// By the kernel.
    pub enforced: bool,
    /// Why not; null when enforced.
    pub why: Option<String>,
}

/// One node in `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// `zookeeper broker mysql kafka-ui command`.
    pub kind: String,
    /// The stack is whole without it: there only in such a node.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
    /// `up` or `down`.
    pub wanted: String,
    /// `down waiting preparing starting ready degraded stopping failed`.
    pub state: String,
    /// Its main process.
    pub pid: Option<i32>,
    /// The number of its current or last start; null when it never ran.
    pub incarnation: Option<u64>,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// When it last became ready in this run.
    pub ready_since: Option<Timestamp>,
    /// How long it has been ready, milliseconds, by a clock that nobody sets; null: it is not, or a daemon older than this key.
    #[serde(default)]
    pub up_ms: Option<u64>,
    /// Starts that nobody ordered.
    pub restarts: u32,
    /// How its last run ended.
    pub last_exit: Option<LastExit>,
    /// Memory.
    pub memory: Memory,
    /// Ports it binds.
    pub ports: Vec<PortDoc>,
    /// Path of its current log.
    pub log: String,
    /// Why it is in this state: not ready because, waiting for, failed and the remedy.
    pub detail: String,
    /// The number of its newest incident that is on record (`incidents ID`); null: none, or a daemon older than this key.
    #[serde(default)]
    pub incident: Option<u64>,
    /// What held it up, against how long a ZooKeeper session lasts; null: it has nothing to do with one, it does not run, it was not looked
    /// at yet, or a daemon older than this key.
    #[serde(default)]
    pub stalls: Option<Stalls>,
    /// What keeps it from starting and what to do; only in a node that is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Exit code; null when a signal ended it or nobody knows.
    pub code: Option<i32>,
    /// Signal by name ("SIGKILL").
    pub signal: Option<String>,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Timestamp,
    /// Of an out-of-memory kill, whose limit was met: `cap`, `group-above` or `host`; null: no such kill, or not known.
    #[serde(default)]
    pub oom_by: Option<String>,
}

/// Memory of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The configured cap.
    pub cap_bytes: Option<u64>,
    /// Now: `memory.current`, or PSS from smaps_rollup without cgroups.
    pub current_bytes: Option<u64>,
    /// Anonymous part.
    pub anon_bytes: Option<u64>,
    /// File-backed part.
    pub file_bytes: Option<u64>,
    /// Highest so far in this run.
    pub peak_bytes: Option<u64>,
    /// Out-of-memory incidents in this run.
    pub oom_kills: Option<u64>,
    /// What the kernel keeps for it: page tables, stacks, slab.
    #[serde(default)]
    pub kernel_bytes: Option<u64>,
    /// The slope of the anonymous part in this run, bytes an hour; null: not enough was seen.
    #[serde(default)]
    pub trend_bytes_per_hour: Option<i64>,
    /// At that slope; null: it does not rise steadily, or not within four weeks.
    #[serde(default)]
    pub hours_to_cap: Option<f64>,
}

/// Memory of the daemon and the shims together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMemory {
    /// Of their group; null without cgroup v2.
    pub current_bytes: Option<u64>,
    /// Anonymous part.
    pub anon_bytes: Option<u64>,
    /// File-backed part; null without cgroup v2.
    pub file_bytes: Option<u64>,
    /// What the kernel keeps for them; null without cgroup v2.
    pub kernel_bytes: Option<u64>,
    /// Highest since the group was made; null without cgroup v2.
    pub peak_bytes: Option<u64>,
    /// How many processes that is: the daemon, a shim for each node that runs, one in reserve.
    pub processes: u64,
}

/// A port a node binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDoc {
    /// What for.
    pub name: String,
    /// The number.
    pub port: u16,
}
