//! The published state of everything: made by the dispatcher alone, read by everyone else.

use crate::{
    base::{
        Cause, ExitRecord, ExitStatus, Incarnation, Moment, NodeKind, NodeName, Reason, Timestamp,
        ids::ProcessId,
        outcome::{Failure, OomBy},
        recipe::{PortUse, Recipe},
        stall::Stalls,
    },
    lifecycle::{Dying, Fleet, Node, State, StopReason, Wait, Wanted},
    sys::clock,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

use super::{node::NodeRuntime, trend::Trend};

/// In the detail of a node whose limits do not hold; `status` shows it of a ready node, too.
const UNMENDED: &str = "its limits do not hold";

/// The state of everything at one moment.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Snapshot {
    /// Nodes in start order. Shared with the snapshots before and after, as far as they did not change.
    pub nodes: Vec<Arc<NodeSnapshot>>,
    /// The engine is on its way down.
    pub ending: bool,
}

/// One node at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSnapshot {
    /// Its name.
    pub name: NodeName,
    /// Its kind.
    pub kind: NodeKind,
    /// Nodes that must serve before it is started.
    pub after: Vec<NodeName>,
    /// What is wanted.
    pub wanted: Wanted,
    /// The state's word.
    pub state: &'static str,
    /// It serves: what comes after it may start.
    pub serves: bool,
    /// The process, where there is one.
    pub process: Option<ProcessId>,
    /// Its current or last start; 0: never.
    pub incarnation: Incarnation,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When its process was started.
    pub started_at: Option<Timestamp>,
    /// When it last became ready in this run.
    pub ready_since: Option<Timestamp>,
    /// The same moment on the clock that nobody sets.
    pub ready_at: Option<Moment>,
    /// How long its last start took until ready.
    pub ready_after: Option<Duration>,
    /// Starts that nobody ordered.
    pub restarts: u32,
    /// Deaths in a row.
    pub deaths_in_a_row: u32,
    /// How its last run ended.
    pub last_exit: Option<LastExit>,
    /// The ZooKeeper session of its current or last run, when it is a broker; none: not known.
    pub session: Option<i64>,
    /// The configured cap, bytes.
    pub cap_bytes: Option<u64>,
    /// Where its memory goes; none: not enough is known.
    pub trend: Option<Trend>,
    /// What held it up in this run, where that matters for ZooKeeper sessions and was looked at.
    pub stalls: Option<Stalls>,
    /// Ports it binds.
    pub ports: Vec<PortUse>,
    /// Why it is in this state.
    pub detail: String,
    /// It was found running and taken over; false once this daemon has started it itself.
    pub adopted: bool,
    /// What it waits for, in state `waiting`.
    pub waits_for: Option<WaitsFor>,
    /// Who wants it gone and whether SIGKILL was sent, in state `stopping`.
    pub stop: Option<(StopReason, bool)>,
    /// Why it was last stopped, started or restarted; none: it was wanted up when the daemon began.
    pub reason: Option<Reason>,
    /// What keeps a failed node from starting.
    pub failure: Option<Failure>,
    /// Its program is not there; it starts by itself when it has come.
    pub lacks_program: bool,
    /// Why a stop or restart that was ordered is not carried out yet.
    pub queued_stop: Option<String>,
}

/// What a waiting node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Nodes it comes after.
    Nodes,
    /// The end of the pause before the next start.
    Pause,
    /// The end of its own old session.
    OldSession,
    /// Something else outside.
    Other,
}

/// How a run ended, as kept in the state file and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Of which start.
    pub incarnation: Incarnation,
    /// How.
    pub status: ExitStatus,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Timestamp,
    /// Of an out-of-memory kill: whose limit it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_by: Option<OomBy>,
    /// How long the run was, milliseconds; none: it never ran, nobody knows, or an older version wrote this.
    #[serde(default)]
    pub ran_ms: Option<u64>,
}

impl LastExit {
    /// The end that an exit record tells.
    pub(super) fn of(record: &ExitRecord, cause: Cause) -> Self {
        Self {
            incarnation: record.incarnation,
            status: record.status,
            cause,
            at: record.ended_at,
            oom_by: record.oom_by,
            ran_ms: ran_ms(record),
        }
    }
}

/// How long the run of a record was, milliseconds; none when nobody saw its end.
pub(super) fn ran_ms(record: &ExitRecord) -> Option<u64> {
    let seen = record.status != ExitStatus::Unknown;
    // The wall clock may have been set back meanwhile.
    seen.then(|| u64::try_from(record.ended_at.0.saturating_sub(record.started_at.0)).unwrap_or(0))
}

impl NodeSnapshot {
    /// `lacks`: what it comes after and does not serve.
    pub(super) fn of(node: &Node, runtime: &NodeRuntime, lacks: Option<String>, now: Moment) -> Self {
        let recipe: &Recipe = &runtime.recipe;
        let mut detail = node.detail(now);
        if let Some(lacks) = lacks {
            detail = format!("{detail}; {lacks}");
        }
        if let Some(trouble) = runtime.troubles.back() {
            detail = format!("{detail}; {trouble}");
        }
        if let Some(unmended) = &runtime.unmended {
            detail = format!("{detail}; {UNMENDED}: {unmended}");
        }
        if let Some(differs) = &runtime.differs {
            detail = format!("{detail}; {differs}");
        }
        Self {
            name: recipe.node.clone(),
            kind: recipe.kind,
            after: node.after().to_vec(),
            wanted: node.wanted(),
            state: node.state().word(),
            serves: node.state().serves(),
            process: node.state().run().map(|r| r.process.clone()),
            incarnation: node.incarnation(),
            since: runtime.since,
            started_at: runtime.started_at,
            ready_since: runtime.ready_since,
            ready_at: runtime.ready_at,
            ready_after: runtime.ready_after,
            restarts: node.restarts(),
            deaths_in_a_row: node.deaths_in_a_row(),
            last_exit: runtime.last_exit.clone(),
            session: runtime.registered,
            cap_bytes: recipe.launch.memory_max.map(|b| b.0),
            trend: runtime.trend,
            stalls: runtime.stalls.clone(),
            ports: recipe.ports.clone(),
            detail,
            adopted: runtime.adopted,
            waits_for: match node.state() {
                State::Waiting(Wait::Dependencies(_)) => Some(WaitsFor::Nodes),
                State::Waiting(Wait::BackOff { .. }) => Some(WaitsFor::Pause),
                State::Waiting(Wait::OldSession { .. }) => Some(WaitsFor::OldSession),
                State::Waiting(Wait::Held { .. }) => Some(WaitsFor::Other),
                State::Down { .. }
                | State::Preparing { .. }
                | State::Starting { .. }
                | State::Ready { .. }
                | State::Degraded { .. }
                | State::Stopping { .. }
                | State::Failed { .. } => None,
            },
            stop: match node.state() {
                State::Stopping { reason, dying, .. } => Some((*reason, matches!(dying, Dying::Killed { .. }))),
                State::Down { .. }
                | State::Waiting(_)
                | State::Preparing { .. }
                | State::Starting { .. }
                | State::Ready { .. }
                | State::Degraded { .. }
                | State::Failed { .. } => None,
            },
            reason: runtime.reason,
            failure: node.failure().cloned(),
            lacks_program: recipe.lacks_program(),
            queued_stop: node.queued_stop(),
        }
    }
}

#[cfg(test)]
impl NodeSnapshot {
    /// One that is wanted up, for tests; its process is made up of its incarnation.
    pub(crate) fn sample(name: NodeName, kind: NodeKind, state: &'static str, incarnation: u64) -> Self {
        let runs = matches!(state, "starting" | "ready" | "degraded" | "stopping");
        Self {
            name,
            kind,
            after: vec![],
            wanted: Wanted::Up,
            state,
            serves: state == "ready",
            process: runs.then(|| ProcessId {
                pid: 100 + i32::try_from(incarnation).unwrap(),
                start_ticks: incarnation,
                boot_id: "b".into(),
            }),
            incarnation: Incarnation(incarnation),
            since: Timestamp(0),
            started_at: None,
            ready_since: None,
            ready_at: None,
            ready_after: None,
            restarts: 0,
            deaths_in_a_row: 0,
            last_exit: None,
            session: None,
            cap_bytes: None,
            trend: None,
            stalls: None,
            ports: vec![],
            detail: format!("{state}: words"),
            adopted: false,
            waits_for: None,
            stop: None,
            reason: None,
            failure: None,
            lacks_program: false,
            queued_stop: None,
        }
    }
}

/// What a node that does not serve as it should comes after and what does not serve itself (a broker without ZooKeeper): the first thing to
/// look at.
pub(super) fn lacks(node: &Node, fleet: &Fleet) -> Option<String> {
    if !matches!(node.state(), State::Degraded { .. }) {
        return None;
    }
    let missing = node.after().iter().filter_map(|name| fleet.node(name)).find(|n| !n.state().serves())?;
    Some(format!("{}, which it needs, is {}", missing.name(), missing.state().word()))
}

/// Keeps `since`, `ready_since` and `ready_after` of the runtime in step with the lifecycle after an event.
pub(super) fn note_times(node: &Node, runtime: &mut NodeRuntime, now: Moment) {
    let word = node.state().word();
    if word != runtime.word {
        runtime.word = word;
        runtime.since = clock::wall();
    }
    match node.state() {
        // a broker that is not in every ISR yet serves all the same
        State::Ready { .. } | State::Degraded { ready_since: Some(_), .. } if runtime.ready_since.is_none() => {
            runtime.ready_since = Some(clock::wall());
            runtime.ready_at = Some(now);
            runtime.ready_after = runtime.spawned.map(|s| now.since(s));
        }
        State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. } | State::Starting { .. } => {}
        State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => {
            runtime.ready_since = None;
            runtime.ready_at = None;
        }
    }
    runtime.process = node.state().run().map(|r| r.process.clone());
}
