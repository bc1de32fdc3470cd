//! The record of one death: what is known, what was done, what to change. Its shape is a contract (README, "JSON").

use super::{EventLine, NodeName, Timestamp};
use serde::{Deserialize, Serialize};

/// One death, or one start that was refused. `state/incidents/ID.NODE.INCARNATION.json`, `incidents ID --json`.
///
/// Keys are never missing; unknown is null. Words are texts, so that what a later version writes can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// 1.
    pub schema: u32,
    /// Its number under this root, from 1.
    pub id: u64,
    /// Whose.
    pub node: NodeName,
    /// `zookeeper broker mysql command`.
    pub kind: String,
    /// Of which start; null: preparing a start was refused, nothing ran.
    pub incarnation: Option<u64>,
    /// When it ended, or was refused.
    pub at: Timestamp,
    /// When that was put on record: later than `at` when no daemon ran.
    pub noted_at: Timestamp,
    /// Why: a word of [`super::Cause`].
    pub cause: String,
    /// One sentence about it.
    pub summary: String,
    /// The fault in words, where one was found.
    pub what: Option<String>,
    /// How the process ended; null when none ran.
    pub exit: Option<Exit>,
    /// How long it ran.
    pub ran_for_ms: Option<u64>,
    /// Whether it was ready in that run.
    pub ready: Option<bool>,
    /// No daemon ran when it ended.
    pub while_no_daemon: bool,
    /// Its memory.
    pub memory: Memory,
    /// What there is to see.
    pub evidence: Evidence,
    /// Deaths in a row of this node without a healthy run between them, this one counted; 0: not counted.
    #[serde(default)]
    pub deaths_in_a_row: u32,
    /// What the supervisor did at once.
    pub did: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What to change; null: nothing.
    pub remedy: Option<String>,
    /// How often the same was met in a row (a start that is refused again), at least 1.
    pub times: u32,
    /// When it was met last.
    pub last_at: Timestamp,
    /// `explained`: why it ended is known and nothing has to be changed. `act`: something has to be changed.
    /// `unexplained`: nobody knows why.
    pub verdict: String,
}

/// Verdicts, in the order of how much they need somebody.
pub const VERDICTS: [&str; 3] = ["explained", "act", "unexplained"];

/// How the process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; null when a signal ended it or nobody knows.
    pub code: Option<i32>,
    /// Signal by name.
    pub signal: Option<String>,
    /// Its pid.
    pub pid: Option<i32>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// CPU time of the main process and its reaped children.
    pub cpu_ms: Option<u64>,
    /// Peak resident size of the main process.
    pub peak_rss_bytes: Option<u64>,
    /// Signals it was sent by order, in order.
    pub signals_sent: Vec<String>,
}

/// Memory of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The configured cap.
    pub cap_bytes: Option<u64>,
    /// The Java heap inside it.
    pub heap_bytes: Option<u64>,
    /// Highest, as its cgroup counted.
    pub peak_bytes: Option<u64>,
    /// Out-of-memory kills in its cgroup.
    pub oom_kills: Option<u64>,
    /// The anonymous part when it was last looked at.
    pub anon_bytes: Option<u64>,
    /// The file-backed part then.
    pub file_bytes: Option<u64>,
    /// When that was.
    pub seen_at: Option<Timestamp>,
    /// What the kernel kept for it then.
    #[serde(default)]
    pub kernel_bytes: Option<u64>,
    /// Which limit was met: a word of [`LIMITS`]; null: none, or not known.
    #[serde(default)]
    pub limit: Option<String>,
    /// The settings that bound its memory, as the program was given them.
    #[serde(default)]
    pub settings: Vec<String>,
    /// Out-of-memory kills of this node that are on record, this one counted; 0: this was none.
    #[serde(default)]
    pub oom_times: u32,
    /// When the first of them was.
    #[serde(default)]
    pub oom_first_at: Option<Timestamp>,
    /// The cap in force at the end (`memory.max`) where it was another than the configured one; null: it was that, or nobody knows.
    #[serde(default)]
    pub cap_in_force_bytes: Option<u64>,
}

/// Limits on memory that end a node: its own cap, a limit on a group above it, the whole machine; and those that a JVM keeps by
/// itself (`OutOfMemoryError`), under which the kernel did nothing.
pub const LIMITS: [&str; 7] =
    ["cap", "group-above", "host", "java-heap", "java-metaspace", "java-direct", "java-threads"];

/// What there is to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The last lines of that run's log, oldest first, made safe for a terminal, secrets blanked.
    pub log: Vec<String>,
    /// The line that explains the end, where one is known.
    pub known: Option<KnownLine>,
    /// The last of them that tell about memory or a fault, where memory was the matter.
    #[serde(default)]
    pub telling: Vec<String>,
    /// Events of all nodes from a minute before until it was over.
    pub around: Vec<EventLine>,
}

/// A line of the log whose meaning is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownLine {
    /// The line.
    pub line: String,
    /// What it means.
    pub meaning: String,
    /// What to do about it.
    pub remedy: String,
}

/// What became of a node after its death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// A word of [`OUTCOMES`].
    pub state: String,
    /// One clause.
    pub text: String,
    /// When it came to that; null while it is open.
    pub at: Option<Timestamp>,
    /// Which start serves now.
    pub incarnation: Option<u64>,
    /// From the death until a process ran again.
    pub back_after_ms: Option<u64>,
    /// From the death until it served again.
    pub ready_after_ms: Option<u64>,
    /// The next incident, when it died again before it served.
    pub next: Option<u64>,
}

/// `open`: nothing yet · `back`: it serves again · `failed`: not started again · `died-again` before it served ·
/// `left-down`: its restart policy says so · `stopped`: an order wants it down.
pub const OUTCOMES: [&str; 6] = ["open", "back", "failed", "died-again", "left-down", "stopped"];

impl Outcome {
    /// Nothing yet.
    pub fn open() -> Self {
        Self {
            state: "open".into(),
            text: "not back yet".into(),
            at: None,
            incarnation: None,
            back_after_ms: None,
            ready_after_ms: None,
            next: None,
        }
    }

    /// Whether it may still change: nothing yet, or failed and waiting for somebody.
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "open" | "failed")
    }
}
