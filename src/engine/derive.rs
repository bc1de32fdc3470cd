//! From two states of everything, one turn apart, to the events that lie between them. Pure: the one place where most of
//! the event log comes from.

use super::{
    snapshot::{LastExit, NodeSnapshot, Snapshot, WaitsFor},
    words::End,
};
use crate::{
    base::{EventKind, EventLine, ids::ProcessId, units::human_duration},
    lifecycle::{StopReason, Wanted},
};
use std::sync::Arc;

/// The events between two states: nodes in start order, those of a node in the order in which things happen.
pub(super) fn events(old: &Snapshot, new: &Snapshot) -> Vec<EventLine> {
    let mut events = Vec::new();
    for (nth, node) in new.nodes.iter().enumerate() {
        let same = |o: &&Arc<NodeSnapshot>| o.name == node.name;
        // Both are in start order, so the same place is the rule and a search the exception.
        let before = old.nodes.get(nth).filter(same).or_else(|| old.nodes.iter().find(same));
        // What did not change is shared.
        if !before.is_some_and(|b| Arc::ptr_eq(b, node)) {
            of_node(&Before::of(before.map(Arc::as_ref), node), node, &mut events);
        }
    }
    events
}

/// What the events of a node depend on, of the state before. A node that was not there before was down, and an end that it
/// had then is no news.
struct Before<'a> {
    /// There was none: the daemon has just begun, or the node is new.
    first_seen: bool,
    state: &'a str,
    incarnation: u64,
    served: bool,
    process: Option<&'a ProcessId>,
    last_exit: Option<&'a LastExit>,
    waits_for: Option<WaitsFor>,
    stop: Option<(StopReason, bool)>,
    stop_queued: bool,
}

impl<'a> Before<'a> {
    fn of(before: Option<&'a NodeSnapshot>, node: &'a NodeSnapshot) -> Self {
        match before {
            Some(b) => Self {
                first_seen: false,
                state: b.state,
                incarnation: b.incarnation.0,
                served: b.serves,
                process: b.process.as_ref(),
                last_exit: b.last_exit.as_ref(),
                waits_for: b.waits_for,
                stop: b.stop,
                stop_queued: b.queued_stop.is_some(),
            },
            None => Self {
                first_seen: true,
                state: "down",
                incarnation: node.incarnation.0,
                served: false,
                process: None,
                last_exit: node.last_exit.as_ref(),
                waits_for: None,
                stop: None,
                stop_queued: false,
            },
        }
    }
}

fn of_node(before: &Before<'_>, node: &NodeSnapshot, events: &mut Vec<EventLine>) {
    let line = |kind, text: &str| EventLine::new(kind, text).node(&node.name).incarnation(node.incarnation);
    let for_reason = |event: EventLine| match node.reason {
        Some(reason) => event.reason(reason),
        None => event,
    };
    let ended = before.last_exit != node.last_exit.as_ref();
    if ended && let Some(exit) = &node.last_exit {
        events.push(ended_line(node, exit));
    }
    if let Some(process) = &node.process
        && before.process != Some(process)
    {
        events.push(if node.adopted {
            line(EventKind::Adopted, &format!("start {} found running, pid {}", node.incarnation, process.pid))
        } else {
            for_reason(line(EventKind::Started, &format!("start {}, pid {}", node.incarnation, process.pid)))
        });
    }
    // Another start counts as another state: a node can be over and up again within one turn.
    let entered = before.state != node.state || before.incarnation != node.incarnation.0;
    match node.state {
        "preparing" if entered => {
            let line = line(EventKind::Preparing, "files and one-time work before the start");
            events.push(for_reason(line.incarnation(node.incarnation.next())));
        }
        "ready" if entered => events.push(ready_line(before, node)),
        "degraded" if entered || before.served != node.serves => {
            events.push(line(EventKind::Degraded, &node.detail));
        }
        "failed" if entered => events.push(match &node.failure {
            Some(f) if before.first_seen => {
                let text = format!("as under the last daemon: {} — {}", f.what, f.remedy);
                line(EventKind::Failed, &text).cause(f.cause)
            }
            Some(f) => line(EventKind::Failed, &format!("{} — {}", f.what, f.remedy)).cause(f.cause),
            None => line(EventKind::Failed, &node.detail),
        }),
        "down" if entered && ended && node.wanted == Wanted::Up => {
            events.push(line(EventKind::LeftDown, "not started again: its restart policy says so"));
        }
        _ => {}
    }
    if let Some(waits_for) = node.waits_for
        && (before.waits_for != Some(waits_for) || ended)
    {
        let kind = match waits_for {
            WaitsFor::Pause => EventKind::RestartScheduled,
            WaitsFor::Nodes | WaitsFor::OldSession | WaitsFor::Other => EventKind::Waiting,
        };
        events.push(line(kind, &node.detail));
    }
    if let Some(why) = node.queued_stop.as_ref().filter(|_| !before.stop_queued) {
        events.push(line(EventKind::Waiting, why));
    }
    if let Some((reason, killed)) = node.stop {
        let was = before.stop.filter(|_| before.incarnation == node.incarnation.0);
        match reason {
            StopReason::ShimLost if was.map(|w| w.0) != Some(StopReason::ShimLost) => {
                events.push(line(EventKind::ShimLost, &node.detail));
            }
            StopReason::Ordered if was.is_none() && !killed => {
                events.push(for_reason(line(EventKind::Stopping, &node.detail)));
            }
            // What is left of a dead node's tree goes by itself.
            StopReason::Ordered | StopReason::ShimLost | StopReason::Died => {}
        }
        if killed && was.is_none_or(|w| !w.1) {
            events.push(for_reason(line(EventKind::Killing, "SIGKILL to its whole tree")));
        }
    }
}

/// The event of an end.
pub(super) fn ended_line(node: &NodeSnapshot, exit: &LastExit) -> EventLine {
    let end = End { cause: exit.cause, status: exit.status, ran_ms: exit.ran_ms, oom_kills: None, oom_by: exit.oom_by };
    let line = EventLine::new(EventKind::Ended, end.clause());
    let line = line.node(&node.name).incarnation(exit.incarnation).cause(exit.cause);
    match exit.ran_ms {
        Some(ms) => line.took_ms(ms),
        None => line,
    }
}

fn ready_line(before: &Before<'_>, node: &NodeSnapshot) -> EventLine {
    let how = node.detail.strip_prefix("ready: ").unwrap_or(&node.detail);
    let again = before.state == "degraded" && before.served && before.incarnation == node.incarnation.0;
    let line = |kind, text: &str| EventLine::new(kind, text).node(&node.name).incarnation(node.incarnation);
    match node.ready_after {
        _ if again => line(EventKind::Recovered, how),
        Some(after) => line(EventKind::Ready, &format!("after {}: {how}", human_duration(after)))
            .took_ms(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        None => line(EventKind::Ready, how),
    }
}

#[cfg(test)]
mod tests;
