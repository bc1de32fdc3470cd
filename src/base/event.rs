//! One line of the event log: what happened, when, to which node, on whose order; and the closed list of kinds.

use super::{Cause, Incarnation, NodeName, Reason, Timestamp, printable::printable};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest text of an event, characters.
const TEXT_MAX: usize = 1_000;

/// What kind of thing happened. A closed list: programs match on these words (`kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A daemon began to serve this root.
    DaemonStarted,
    /// It ended in order.
    DaemonEnded,
    /// A node that ran on without a daemon was taken over.
    Adopted,
    /// Somebody gave an order.
    Order,
    /// An order was not carried out.
    Refused,
    /// The node waits for something outside it.
    Waiting,
    /// Files and one-time work before a start.
    Preparing,
    /// Its process runs.
    Started,
    /// It serves for the first time in this run.
    Ready,
    /// It runs but does not serve as it should.
    Degraded,
    /// It serves again, after it was degraded.
    Recovered,
    /// It was asked to stop.
    Stopping,
    /// Its grace was over: SIGKILL.
    Killing,
    /// Its run is over.
    Ended,
    /// It starts again after a pause.
    RestartScheduled,
    /// It is not started again: its policy says so.
    LeftDown,
    /// Starting it again cannot cure it.
    Failed,
    /// The ZooKeeper session of a dead broker was closed.
    Fenced,
    /// Its shim was killed; the daemon reads its output and replaces it.
    ShimLost,
    /// Something about it is not as it should be, and it runs on.
    Trouble,
    /// Its own memory is close to its cap.
    MemoryHigh,
    /// It is not any more.
    MemoryEased,
    /// It was held up for so long that its ZooKeeper session was at stake.
    Stalled,
    /// A limit of its cgroup was not as it should be, or its process elsewhere: put right, or why not.
    LimitDrift,
    /// A death was put on record (`incidents`).
    Incident,
    /// The death's record says now what became of it.
    IncidentClosed,
    /// Another configuration is being applied.
    ReloadBegun,
    /// One step of that.
    ReloadStep,
    /// It is applied as a whole.
    ReloadDone,
    /// It is not: what was put back, what is left.
    ReloadFailed,
    /// Another broker is the controller.
    ControllerChanged,
    /// A broker is missing from ISRs it was in.
    IsrShrunk,
    /// A broker is in ISRs again that it was missing from.
    IsrExpanded,
    /// Partitions have no leader.
    PartitionsOffline,
    /// Every partition has a leader again.
    PartitionsOnline,
    /// Partitions have fewer replicas in sync than `min.insync.replicas`.
    UnderMinIsr,
    /// None has any more.
    MinIsrRestored,
    /// A broker that is back leads again what it is the preferred leader of.
    LeadersElected,
    /// A topic of the configuration was made or changed.
    TopicChanged,
    /// It is not as the file says.
    TopicDiffers,
    /// It is again.
    TopicAsConfigured,
    /// It is not in the file any more, and is kept.
    TopicLeft,
    /// A file system that holds data has little room left.
    DiskLow,
    /// So little that nodes are stopped for it.
    DiskStop,
    /// It has room again.
    DiskEased,
    /// The ballast was made, or given up.
    DiskBallast,
    /// A roll, a drill, a snapshot or a restore began.
    OperationBegun,
    /// How far it is.
    OperationStep,
    /// It is over: how it ended.
    OperationEnded,
    /// One was cut short with its daemon: what was left, and what was undone.
    OperationLeft,
    /// Events could not be written.
    EventsLost,
}

impl EventKind {
    /// Every kind, for help texts and tests.
    pub const ALL: [EventKind; 51] = [
        EventKind::DaemonStarted,
        EventKind::DaemonEnded,
        EventKind::Adopted,
        EventKind::Order,
        EventKind::Refused,
        EventKind::Waiting,
        EventKind::Preparing,
        EventKind::Started,
        EventKind::Ready,
        EventKind::Degraded,
        EventKind::Recovered,
        EventKind::Stopping,
        EventKind::Killing,
        EventKind::Ended,
        EventKind::RestartScheduled,
        EventKind::LeftDown,
        EventKind::Failed,
        EventKind::Fenced,
        EventKind::ShimLost,
        EventKind::Trouble,
        EventKind::MemoryHigh,
        EventKind::MemoryEased,
        EventKind::Stalled,
        EventKind::LimitDrift,
        EventKind::Incident,
        EventKind::IncidentClosed,
        EventKind::ReloadBegun,
        EventKind::ReloadStep,
        EventKind::ReloadDone,
        EventKind::ReloadFailed,
        EventKind::ControllerChanged,
        EventKind::IsrShrunk,
        EventKind::IsrExpanded,
        EventKind::PartitionsOffline,
        EventKind::PartitionsOnline,
        EventKind::UnderMinIsr,
        EventKind::MinIsrRestored,
        EventKind::LeadersElected,
        EventKind::TopicChanged,
        EventKind::TopicDiffers,
        EventKind::TopicAsConfigured,
        EventKind::TopicLeft,
        EventKind::DiskLow,
        EventKind::DiskStop,
        EventKind::DiskEased,
        EventKind::DiskBallast,
        EventKind::OperationBegun,
        EventKind::OperationStep,
        EventKind::OperationEnded,
        EventKind::OperationLeft,
        EventKind::EventsLost,
    ];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::DaemonStarted => "daemon-started",
            EventKind::DaemonEnded => "daemon-ended",
            EventKind::Adopted => "adopted",
            EventKind::Order => "order",
            EventKind::Refused => "refused",
            EventKind::Waiting => "waiting",
            EventKind::Preparing => "preparing",
            EventKind::Started => "started",
            EventKind::Ready => "ready",
            EventKind::Degraded => "degraded",
            EventKind::Recovered => "recovered",
            EventKind::Stopping => "stopping",
            EventKind::Killing => "killing",
            EventKind::Ended => "ended",
            EventKind::RestartScheduled => "restart-scheduled",
            EventKind::LeftDown => "left-down",
            EventKind::Failed => "failed",
            EventKind::Fenced => "fenced",
            EventKind::ShimLost => "shim-lost",
            EventKind::Trouble => "trouble",
            EventKind::MemoryHigh => "memory-high",
            EventKind::MemoryEased => "memory-eased",
            EventKind::Stalled => "stalled",
            EventKind::LimitDrift => "limit-drift",
            EventKind::Incident => "incident",
            EventKind::IncidentClosed => "incident-closed",
            EventKind::ReloadBegun => "reload-begun",
            EventKind::ReloadStep => "reload-step",
            EventKind::ReloadDone => "reload-done",
            EventKind::ReloadFailed => "reload-failed",
            EventKind::ControllerChanged => "controller-changed",
            EventKind::IsrShrunk => "isr-shrunk",
            EventKind::IsrExpanded => "isr-expanded",
            EventKind::PartitionsOffline => "partitions-offline",
            EventKind::PartitionsOnline => "partitions-online",
            EventKind::UnderMinIsr => "under-min-isr",
            EventKind::MinIsrRestored => "min-isr-restored",
            EventKind::LeadersElected => "leaders-elected",
            EventKind::TopicChanged => "topic-changed",
            EventKind::TopicDiffers => "topic-differs",
            EventKind::TopicAsConfigured => "topic-as-configured",
            EventKind::TopicLeft => "topic-left",
            EventKind::DiskLow => "disk-low",
            EventKind::DiskStop => "disk-stop",
            EventKind::DiskEased => "disk-eased",
            EventKind::DiskBallast => "disk-ballast",
            EventKind::OperationBegun => "operation-begun",
            EventKind::OperationStep => "operation-step",
            EventKind::OperationEnded => "operation-ended",
            EventKind::OperationLeft => "operation-left",
            EventKind::EventsLost => "events-lost",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who gave an order, as the kernel says (SO_PEERCRED, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedBy {
    /// The user.
    pub uid: u32,
    /// The process; null when it lives in another pid namespace.
    pub pid: Option<i32>,
}

impl fmt::Display for OrderedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "uid {}, pid {pid}", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// One line of `state/events.jsonl` and of `events --json`. Keys are never missing; unknown is null.
///
/// Written with a kind of the closed list; read with any word, because the line may be a later version's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// When it was noted.
    pub at: Timestamp,
    /// Which node; null: the supervisor itself, or all.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// Which start of the node.
    #[serde(default)]
    pub incarnation: Option<u64>,
    /// A word of [`EventKind`].
    pub kind: String,
    /// One sentence for people, on one line, without control characters.
    pub text: String,
    /// Why a run ended (`ended`, `failed`, `incident`): a word of [`Cause`].
    #[serde(default)]
    pub cause: Option<String>,
    /// The number of the incident it belongs to.
    #[serde(default)]
    pub incident: Option<u64>,
    /// How long it took (`ready`: since the start), milliseconds.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// Who ordered it.
    #[serde(default)]
    pub by: Option<OrderedBy>,
    /// Why a node is stopped or started (`stopping`, `killing`, `preparing`, `started`): a word of [`Reason`]. Null there: it was
    /// wanted up when the daemon began.
    #[serde(default)]
    pub reason: Option<String>,
}

impl EventLine {
    /// An event; the journal sets the time when it takes it.
    pub fn new(kind: EventKind, text: impl AsRef<str>) -> Self {
        Self {
            at: Timestamp::default(),
            node: None,
            incarnation: None,
            kind: kind.as_str().to_owned(),
            text: printable(text.as_ref(), TEXT_MAX),
            cause: None,
            incident: None,
            took_ms: None,
            by: None,
            reason: None,
        }
    }

    /// About this node.
    #[must_use]
    pub fn node(mut self, node: &NodeName) -> Self {
        self.node = Some(node.clone());
        self
    }

    /// About this start of it; 0 is none.
    #[must_use]
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = (incarnation.0 > 0).then_some(incarnation.0);
        self
    }

    /// Why.
    #[must_use]
    pub fn cause(mut self, cause: Cause) -> Self {
        self.cause = Some(cause.as_str().to_owned());
        self
    }

    /// Belongs to this incident.
    #[must_use]
    pub fn incident(mut self, id: u64) -> Self {
        self.incident = Some(id);
        self
    }

    /// Took so long.
    #[must_use]
    pub fn took_ms(mut self, millis: u64) -> Self {
        self.took_ms = Some(millis);
        self
    }

    /// On whose order.
    #[must_use]
    pub fn by(mut self, by: OrderedBy) -> Self {
        self.by = Some(by);
        self
    }

    /// For this reason; what no event before it says stands in the text, too.
    #[must_use]
    pub fn reason(mut self, reason: Reason) -> Self {
        if let Some(clause) = reason.clause() {
            self.text = printable(&format!("{}, {clause}", self.text), TEXT_MAX);
        }
        self.reason = Some(reason.as_str().to_owned());
        self
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: EventKind) -> bool {
        self.kind == kind.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_kinds_are_all_different() {
        let words: std::collections::BTreeSet<&str> = EventKind::ALL.iter().map(|k| k.as_str()).collect();
        assert_eq!(words.len(), EventKind::ALL.len());
    }

    #[test]
    fn a_line_has_every_key_and_reads_what_a_later_version_writes() {
        let line = EventLine::new(EventKind::Ended, "a\nb").node(&NodeName::mysql()).incarnation(Incarnation(3));
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            "{\"at\":\"1970-01-01T00:00:00.000Z\",\"node\":\"mysql\",\"incarnation\":3,\"kind\":\"ended\",\"text\":\"a\\\\nb\",\
             \"cause\":null,\"incident\":null,\"took_ms\":null,\"by\":null,\"reason\":null}"
        );
        let later = r#"{"at":"2026-01-02T03:04:05.006Z","kind":"blessed","text":"t","mood":7}"#;
        let read: EventLine = serde_json::from_str(later).unwrap();
        assert_eq!((read.kind.as_str(), read.node, read.by), ("blessed", None, None));
    }
}
