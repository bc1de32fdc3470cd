//! The words for what a node is and why: one clause for `status`, and the reasons of events that changed nothing.

use super::{Dying, Node, State, StopReason, Wait, Wanted, Why};
use crate::base::{Cause, Moment, NodeName, outcome::Failure, recipe::WhileStarting, units::human_duration};
use std::{fmt, time::Duration};

/// Why a node with a launch under way is not ready.
pub(super) const LAUNCHING: &str = "being launched";
/// Why a node that nobody has looked at yet is not ready.
pub(super) const STARTING: &str = "launched, no look at it has ended yet";
/// The same after an adoption.
pub(super) const ADOPTED: &str = "found running, no look at it has ended yet";

/// How a queued stop is forced.
const FORCE: &str = "`stop --now`, `down --now` or a second Ctrl-C force it";

/// A start that takes longer than its deadline without progress.
pub(super) fn late(start_deadline: Duration, why: &str) -> String {
    format!("not ready after {}: {why}", human_duration(start_deadline))
}

/// A failure for an end that restarting cannot cure and that nobody explained further.
pub(super) fn hopeless(cause: Cause) -> Failure {
    Failure {
        cause,
        what: format!("it ended ({cause}), and a new start cannot cure that"),
        remedy: "read the end of its log, remove the cause, then start it again".into(),
    }
}

impl Node {
    /// One clause for `status`: what it does, what it waits for, why.
    pub fn detail(&self, now: Moment) -> String {
        match &self.state {
            State::Down { last: None } => "down".into(),
            State::Down { last: Some(cause) } => format!("down; its last run ended: {cause}"),
            State::Waiting(wait) => self.waiting(wait, now),
            State::Preparing { since } => format!("prepares since {}", ago(*since, now)),
            State::Starting { run: None, .. } => match self.wanted {
                Wanted::Up if self.bounce => "being launched; it is restarted once it runs".into(),
                Wanted::Up => LAUNCHING.into(),
                Wanted::Down => "being launched; it is stopped once it runs".into(),
            },
            State::Starting { run: Some(_), since, why, .. } => {
                self.with_stop(format!("starts since {}: {why}", ago(*since, now)))
            }
            State::Ready { failures: 0, how, .. } => self.with_stop(format!("ready: {how}")),
            State::Ready { failures: 1, how, .. } => self.with_stop(format!("ready: {how}; the last look failed")),
            State::Ready { failures, how, .. } => {
                self.with_stop(format!("ready: {how}; the last {failures} looks failed"))
            }
            State::Degraded { since, why, .. } => self.with_stop(format!("degraded since {}: {why}", ago(*since, now))),
            State::Stopping { reason, dying, .. } => self.stopping(*reason, dying, now),
            State::Failed { failure, .. } => format!("failed: {} — {}", failure.what, failure.remedy),
        }
    }

    /// Since when it is what it is; none where the state does not know.
    pub fn since_hint(&self) -> Option<Moment> {
        match &self.state {
            State::Preparing { since }
            | State::Starting { since, .. }
            | State::Ready { since, .. }
            | State::Degraded { since, .. }
            | State::Failed { since, .. }
            | State::Waiting(Wait::OldSession { since, .. } | Wait::Held { since, .. }) => Some(*since),
            State::Stopping { dying: Dying::Asked { kill_at }, .. } => Some(*kill_at - self.stop.grace),
            State::Stopping { dying: Dying::Killed { .. } | Dying::Leftovers, .. }
            | State::Waiting(Wait::Dependencies(_) | Wait::BackOff { .. })
            | State::Down { .. } => None,
        }
    }

    fn waiting(&self, wait: &Wait, now: Moment) -> String {
        match wait {
            Wait::Dependencies(names) => format!("waits for {}", list(names)),
            Wait::BackOff { until, cause, why, .. } => {
                let pause = human_duration(until.since(now));
                let start = self.incarnation.next();
                match why {
                    Some(why) => format!("pause of {pause} before it is prepared again: {why}"),
                    None => format!("pause of {pause} before start {start} ({cause})"),
                }
            }
            Wait::OldSession { why, .. } | Wait::Held { why, .. } => format!("waits: {why}"),
        }
    }

    fn stopping(&self, reason: StopReason, dying: &Dying, now: Moment) -> String {
        let doing = match (reason, self.wanted) {
            (StopReason::Ordered, Wanted::Down) => "stops",
            (StopReason::Ordered, Wanted::Up) => "stops to be started again",
            (StopReason::Died, _) => "died",
            (StopReason::ShimLost, Wanted::Up) => "is replaced because its shim was killed",
            (StopReason::ShimLost, Wanted::Down) => "stops without its shim, which was killed",
        };
        match dying {
            Dying::Asked { kill_at } => format!("{doing}; SIGKILL in {}", countdown(kill_at.since(now))),
            Dying::Killed { again_at } => {
                format!("{doing}; SIGKILL was sent, again in {}", countdown(again_at.since(now)))
            }
            Dying::Leftovers => format!("{doing}; what is left of its tree is being removed"),
        }
    }

    /// A running node that is to end and has not been asked: its start-up, the nodes that come after it, or its peers are
    /// waited for.
    fn with_stop(&self, clause: String) -> String {
        match (&self.stop.while_starting, self.wanted) {
            (WhileStarting::Wait { price }, _) if self.stop_is_queued() => {
                let order = if self.bounce { "restart" } else { "stop" };
                format!("{clause}; the {order} is queued until it is ready: {price} ({FORCE})")
            }
            (_, Wanted::Down) => format!("{clause}; it stops once the nodes that come after it are down"),
            (_, Wanted::Up) if self.shim_lost && self.start_is_protected() => {
                format!("{clause}; its shim was killed: it is replaced once it is ready")
            }
            (_, Wanted::Up) if self.shim_lost => {
                format!("{clause}; its shim was killed: it is replaced once {} are ready", list(&self.peers))
            }
            (_, Wanted::Up) => clause,
        }
    }

    /// Why a queued stop waits, without words that change with the clock: for whoever waits for the stop.
    pub fn queued_stop(&self) -> Option<String> {
        match (&self.state, &self.stop.while_starting) {
            (State::Starting { why, .. }, WhileStarting::Wait { price }) if self.stop_is_queued() => {
                let order = if self.bounce { "restart" } else { "stop" };
                Some(format!("the {order} is queued until it is ready: {why}; {price} ({FORCE})"))
            }
            _ => None,
        }
    }
}

fn ago(since: Moment, now: Moment) -> String {
    human_duration(now.since(since))
}

/// Whole seconds, rounded up: a countdown that shows 0 while it still waits confuses.
fn countdown(left: Duration) -> String {
    match left.as_millis().div_ceil(1_000) {
        0..60 => format!("{} s", left.as_millis().div_ceil(1_000)),
        60.. => human_duration(left),
    }
}

fn list(names: &[NodeName]) -> String {
    names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::OldIncarnation => "it is about another start of the node",
            Why::AlreadyWanted => "that is wanted already",
            Why::OnItsWay => "a start is under way",
            Why::NoProcess => "there is no process",
            Why::NotLaunchedYet => "the launch under way has not answered yet",
            Why::HasProcess => "there is a process already",
            Why::NotPreparing => "nothing is being prepared",
            Why::NotDue => "no deadline is due",
            Why::NotConcerned => "nothing it waits for has changed",
            Why::OnItsWayOut => "it is on its way out",
            Why::MainGone => "the main process is gone already",
            Why::BeingKilled => "SIGKILL was sent already",
            Why::NotDown => "only a node that is down can be adopted",
            Why::UnknownNode => "there is no such node",
        })
    }
}
