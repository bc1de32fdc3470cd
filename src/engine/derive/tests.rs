//! The table of differences and their events.

use super::*;
use crate::base::{Cause, ExitStatus, Incarnation, NodeKind, NodeName, Timestamp, outcome::Failure};
use std::time::Duration;

fn node(state: &'static str, incarnation: u64) -> NodeSnapshot {
    NodeSnapshot::sample(NodeName::new("a").unwrap(), NodeKind::Command, state, incarnation)
}

fn with(mut node: NodeSnapshot, change: impl FnOnce(&mut NodeSnapshot)) -> NodeSnapshot {
    change(&mut node);
    node
}

fn exit(incarnation: u64, cause: Cause) -> LastExit {
    LastExit {
        incarnation: Incarnation(incarnation),
        status: ExitStatus::Signal(9),
        cause,
        at: Timestamp(5),
        oom_by: None,
        ran_ms: Some(2_000),
    }
}

fn waits(incarnation: u64, for_what: WaitsFor) -> NodeSnapshot {
    with(node("waiting", incarnation), |n| n.waits_for = Some(for_what))
}

fn stopping(reason: StopReason, killed: bool) -> NodeSnapshot {
    with(node("stopping", 1), |n| n.stop = Some((reason, killed)))
}

/// Kind, incarnation and text of each event between two states of one node.
fn between(old: Option<NodeSnapshot>, new: NodeSnapshot) -> Vec<String> {
    let old = Snapshot { nodes: old.into_iter().map(Arc::new).collect(), ending: false };
    events(&old, &Snapshot { nodes: vec![new.into()], ending: false })
        .into_iter()
        .map(|e| format!("{} {} {}", e.kind, e.incarnation.unwrap_or(0), e.text))
        .collect()
}

#[test]
fn each_difference_has_its_events() {
    let failure = Failure { cause: Cause::PortTaken, what: "port 1 is taken".into(), remedy: "free it".into() };
    let table: Vec<(&str, Option<NodeSnapshot>, NodeSnapshot, &[&str])> = vec![
        ("nothing", Some(node("ready", 1)), node("ready", 1), &[]),
        ("first seen down", None, node("down", 0), &[]),
        ("first seen down, not wanted", None, with(node("down", 4), |n| n.wanted = Wanted::Down), &[]),
        (
            "first seen with an old end",
            None,
            with(waits(3, WaitsFor::Nodes), |n| n.last_exit = Some(exit(3, Cause::Crashed))),
            &["waiting 3 waiting: words"],
        ),
        (
            "first seen running",
            None,
            with(node("starting", 3), |n| n.adopted = true),
            &["adopted 3 start 3 found running, pid 103"],
        ),
        (
            "preparing",
            Some(waits(0, WaitsFor::Nodes)),
            node("preparing", 0),
            &["preparing 1 files and one-time work before the start"],
        ),
        (
            "spawned",
            Some(with(node("starting", 1), |n| n.process = None)),
            node("starting", 1),
            &["started 1 start 1, pid 101"],
        ),
        (
            "spawned and ready in one turn",
            Some(with(node("starting", 1), |n| n.process = None)),
            with(node("ready", 1), |n| n.ready_after = Some(Duration::from_millis(300))),
            &["started 1 start 1, pid 101", "ready 1 after 0.3 s: words"],
        ),
        (
            "ready",
            Some(node("starting", 1)),
            with(node("ready", 1), |n| n.ready_after = Some(Duration::from_millis(2400))),
            &["ready 1 after 2.4 s: words"],
        ),
        ("ready after an adoption", Some(node("starting", 1)), node("ready", 1), &["ready 1 words"]),
        ("degraded", Some(node("ready", 1)), node("degraded", 1), &["degraded 1 degraded: words"]),
        (
            "other words for the same",
            Some(node("degraded", 1)),
            with(node("degraded", 1), |n| n.detail = "degraded: others".into()),
            &[],
        ),
        (
            "late, then serving",
            Some(node("degraded", 1)),
            with(node("degraded", 1), |n| n.serves = true),
            &["degraded 1 degraded: words"],
        ),
        ("recovered", Some(with(node("degraded", 1), |n| n.serves = true)), node("ready", 1), &["recovered 1 words"]),
        ("late, then ready", Some(node("degraded", 1)), node("ready", 1), &["ready 1 words"]),
        ("stop", Some(node("ready", 1)), stopping(StopReason::Ordered, false), &["stopping 1 stopping: words"]),
        (
            "grace over",
            Some(stopping(StopReason::Ordered, false)),
            stopping(StopReason::Ordered, true),
            &["killing 1 SIGKILL to its whole tree"],
        ),
        (
            "killed at once",
            Some(node("ready", 1)),
            stopping(StopReason::Ordered, true),
            &["killing 1 SIGKILL to its whole tree"],
        ),
        ("killed again", Some(stopping(StopReason::Ordered, true)), stopping(StopReason::Ordered, true), &[]),
        ("shim lost", Some(node("ready", 1)), stopping(StopReason::ShimLost, false), &["shim-lost 1 stopping: words"]),
        (
            "shim lost while stopping",
            Some(stopping(StopReason::Ordered, false)),
            stopping(StopReason::ShimLost, false),
            &["shim-lost 1 stopping: words"],
        ),
        ("leftovers", Some(node("ready", 1)), stopping(StopReason::Died, false), &[]),
        (
            "dead",
            Some(node("ready", 1)),
            with(node("preparing", 1), |n| n.last_exit = Some(exit(1, Cause::KilledByOther))),
            &[
                "ended 1 killed by SIGKILL (not by us) after 2.0 s",
                "preparing 2 files and one-time work before the start",
            ],
        ),
        (
            "dead and up again in one turn",
            Some(node("ready", 1)),
            with(node("ready", 2), |n| n.last_exit = Some(exit(1, Cause::KilledByOther))),
            &["ended 1 killed by SIGKILL (not by us) after 2.0 s", "started 2 start 2, pid 102", "ready 2 words"],
        ),
        (
            "dead again",
            Some(node("starting", 2)),
            with(waits(2, WaitsFor::Pause), |n| n.last_exit = Some(exit(2, Cause::Crashed))),
            &["ended 2 crashed (SIGKILL) after 2.0 s", "restart-scheduled 2 waiting: words"],
        ),
        ("old session", Some(node("preparing", 1)), waits(1, WaitsFor::OldSession), &["waiting 1 waiting: words"]),
        (
            "its countdown",
            Some(waits(1, WaitsFor::OldSession)),
            with(waits(1, WaitsFor::OldSession), |n| n.detail = "13 s".into()),
            &[],
        ),
        (
            "failed",
            Some(node("preparing", 1)),
            with(node("failed", 1), |n| n.failure = Some(failure)),
            &["failed 1 port 1 is taken — free it"],
        ),
        (
            "finished",
            Some(node("ready", 1)),
            with(node("down", 1), |n| n.last_exit = Some(exit(1, Cause::Completed))),
            &[
                "ended 1 ended by itself (SIGKILL) after 2.0 s",
                "left-down 1 not started again: its restart policy says so",
            ],
        ),
        (
            "stopped",
            Some(stopping(StopReason::Ordered, false)),
            with(node("down", 1), |n| {
                n.wanted = Wanted::Down;
                n.last_exit = Some(exit(1, Cause::Stopped));
            }),
            &["ended 1 stopped (SIGKILL) after 2.0 s"],
        ),
    ];
    for (what, old, new, wanted) in table {
        assert_eq!(between(old, new), wanted, "{what}");
    }
}

#[test]
fn nodes_are_matched_by_name_wherever_they_stand() {
    let b = |state| with(node(state, 1), |n| n.name = NodeName::new("b").unwrap());
    let old = Snapshot { nodes: vec![node("ready", 1).into(), b("starting").into()], ending: false };
    let new = Snapshot { nodes: vec![b("ready").into(), node("ready", 1).into()], ending: false };
    let told = events(&old, &new);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].node.as_ref().unwrap().as_str(), told[0].kind.as_str()), ("b", "ready"));
}

#[test]
fn an_end_carries_cause_and_time() {
    let old = Snapshot { nodes: vec![node("ready", 1).into()], ending: false };
    let dead = with(node("preparing", 1), |n| n.last_exit = Some(exit(1, Cause::OutOfMemory)));
    let told = events(&old, &Snapshot { nodes: vec![dead.into()], ending: false });
    assert_eq!((told[0].cause.as_deref(), told[0].took_ms), (Some("out-of-memory"), Some(2_000)));
}
