//! Walks the full product of states and events, and writes it down as `docs/lifecycle-table.md`.
//!
//! The page is what the code does, not what somebody thinks it does: each line is a call of `step`.
//! `UPDATE_TABLE=1 cargo test --lib lifecycle::table` rewrites it.

use super::{
    Action, Dying, Ended, Event, Hold, Node, Run, State, StopReason, Wait, Wanted,
    moves::Change,
    step::{Around, Outcome, step},
};
use crate::base::{
    Cause, Incarnation, Moment, NodeName, Verdict,
    ids::ProcessId,
    outcome::Failure,
    recipe::{Restart, RestartWhen, Stop, WhileStarting},
};
use std::{collections::BTreeSet, fmt::Write, time::Duration};

const NOW: Moment = Moment(1_000_000);
const LATER: Moment = Moment(1_005_000);
const CURRENT: Incarnation = Incarnation(7);

fn node(wanted: Wanted, state: State) -> Node {
    Node {
        name: NodeName::broker(1),
        after: vec![NodeName::zookeeper()],
        peers: vec![NodeName::broker(2)],
        restart: Restart {
            when: RestartWhen::Always,
            healthy_after: Duration::from_secs(10),
            back_off_min: Duration::from_millis(200),
            back_off_max: Duration::from_secs(60),
        },
        stop: Stop {
            signal: 15,
            grace: Duration::from_secs(30),
            clean_codes: vec![143],
            while_starting: WhileStarting::Ask,
        },
        start_deadline: Duration::from_secs(60),
        probe_failures: 3,
        wanted,
        state,
        incarnation: CURRENT,
        restarts: 2,
        restart_due: false,
        start_due: false,
        deaths_in_a_row: 0,
        bounce: false,
        kill: false,
        shim_lost: false,
        last_end: None,
    }
}

fn process() -> ProcessId {
    ProcessId { pid: 4711, start_ticks: 90_000, boot_id: "boot".into() }
}

fn run() -> Run {
    Run { incarnation: CURRENT, process: process(), spawned: Moment(900_000) }
}

fn failure() -> Failure {
    Failure { cause: Cause::PortTaken, what: "port 9092 is taken".into(), remedy: "stop that program".into() }
}

/// Every kind of state with every thing that can be wanted in it, under the name the page uses.
fn states() -> Vec<(&'static str, Node)> {
    let since = Moment(950_000);
    let starting = |run| State::Starting { run, since, deadline: LATER, progress: None, why: "no answer".into() };
    let ready = || State::Ready { run: run(), since, failures: 0, how: "answers".into() };
    let degraded = |ready_since| State::Degraded { run: run(), since, why: "not in the ISR".into(), ready_since };
    let stopping = |reason, dying| State::Stopping { run: run(), reason, dying, ready_since: Some(since) };
    let asked = Dying::Asked { kill_at: LATER };
    let killed = Dying::Killed { again_at: LATER };
    let back_off = |why| Wait::BackOff { until: LATER, attempt: 1, cause: Cause::Crashed, why };
    let why = || "waits".to_owned();
    let waiting = |wait| node(Wanted::Up, State::Waiting(wait));
    let protected = |mut node: Node| {
        node.stop.while_starting = WhileStarting::Wait { price: "its next start would take long".into() };
        node
    };
    vec![
        ("down", node(Wanted::Down, State::Down { last: None })),
        (
            "down, its policy says not again",
            Node { last_end: Some(Cause::Completed), ..node(Wanted::Up, State::Down { last: Some(Cause::Completed) }) },
        ),
        ("waiting for dependencies", waiting(Wait::Dependencies(vec![NodeName::zookeeper()]))),
        ("waiting, pause after an end", waiting(back_off(None))),
        ("waiting, pause after a failed preparation", waiting(back_off(Some(why())))),
        ("waiting for its old session", waiting(Wait::OldSession { since, why: why() })),
        ("waiting, held", waiting(Wait::Held { since, why: why() })),
        ("preparing", node(Wanted::Up, State::Preparing { since })),
        ("starting, launch under way", node(Wanted::Up, starting(None))),
        ("starting, launch under way, restart ordered", Node { bounce: true, ..node(Wanted::Up, starting(None)) }),
        ("starting, launch under way, wanted down", node(Wanted::Down, starting(None))),
        ("starting, launch under way, kill ordered", Node { kill: true, ..node(Wanted::Down, starting(None)) }),
        ("starting", node(Wanted::Up, starting(Some(run())))),
        ("starting, wanted down", node(Wanted::Down, starting(Some(run())))),
        ("starting, must not be asked", protected(node(Wanted::Up, starting(Some(run()))))),
        ("starting, must not be asked, wanted down", protected(node(Wanted::Down, starting(Some(run()))))),
        (
            "starting, must not be asked, restart ordered",
            Node { bounce: true, ..protected(node(Wanted::Up, starting(Some(run())))) },
        ),
        (
            "starting, must not be asked, shim lost",
            Node { shim_lost: true, ..protected(node(Wanted::Up, starting(Some(run())))) },
        ),
        ("starting, must not be asked, launch under way, wanted down", protected(node(Wanted::Down, starting(None)))),
        ("ready", node(Wanted::Up, ready())),
        ("ready, shim lost", Node { shim_lost: true, ..node(Wanted::Up, ready()) }),
        ("ready, wanted down", node(Wanted::Down, ready())),
        ("degraded", node(Wanted::Up, degraded(Some(since)))),
        ("degraded, never ready", node(Wanted::Up, degraded(None))),
        ("degraded, wanted down", node(Wanted::Down, degraded(Some(since)))),
        ("stopping by order, asked", node(Wanted::Down, stopping(StopReason::Ordered, asked))),
        (
            "stopping by order, asked, restart ordered",
            Node { bounce: true, ..node(Wanted::Up, stopping(StopReason::Ordered, asked)) },
        ),
        ("stopping by order, killed", node(Wanted::Down, stopping(StopReason::Ordered, killed))),
        ("stopping by order, leftovers", node(Wanted::Down, stopping(StopReason::Ordered, Dying::Leftovers))),
        ("stopping after a death, killed", node(Wanted::Up, stopping(StopReason::Died, killed))),
        ("stopping after a death, leftovers", node(Wanted::Up, stopping(StopReason::Died, Dying::Leftovers))),
        ("stopping without its shim, asked", node(Wanted::Up, stopping(StopReason::ShimLost, asked))),
        ("stopping without its shim, killed", node(Wanted::Up, stopping(StopReason::ShimLost, killed))),
        ("failed", node(Wanted::Up, State::Failed { failure: failure(), since })),
    ]
}

/// Every kind of event, with the values that make a difference.
fn events(incarnation: Incarnation) -> Vec<(&'static str, Moment, Event)> {
    let gone = |cause, failure| Event::Gone { incarnation, ended: Ended { cause, failure } };
    let probed = |verdict| Event::Probed { incarnation, verdict };
    let adopted =
        |wanted, start_due| Event::Adopted { incarnation: CURRENT, process: process(), wanted, restarts: 4, start_due };
    let mark = |progress| Verdict::NotReady { why: "recovers".into(), progress };
    let resumed = |ended, failure, start_due| Event::Resumed { ended, failure, start_due };
    vec![
        ("Start", NOW, Event::Start),
        ("Stop", NOW, Event::Stop),
        ("Restart", NOW, Event::Restart),
        ("KillNow", NOW, Event::KillNow),
        ("Signal", NOW, Event::Signal(1)),
        ("Neighbours", NOW, Event::Neighbours),
        ("Tick before the deadline", NOW, Event::Tick),
        ("Tick at the deadline", LATER, Event::Tick),
        ("Prepared", NOW, Event::Prepared),
        ("Held, old session", NOW, Event::Held(Hold::OldSession { why: "14 s".into() })),
        ("Held, other", NOW, Event::Held(Hold::Other { why: "disk".into() })),
        ("PrepareFailed", NOW, Event::PrepareFailed { why: "no disk".into() }),
        ("Refused", NOW, Event::Refused(failure())),
        ("Spawned", NOW, Event::Spawned { incarnation, process: process() }),
        ("Probed, ready", NOW, probed(Verdict::Ready("answers".into()))),
        ("Probed, degraded", NOW, probed(Verdict::Degraded("not in the ISR".into()))),
        ("Probed, not ready", NOW, probed(Verdict::not_ready("refused"))),
        ("Probed, not ready, progress", NOW, probed(mark(Some("3 of 9".into())))),
        ("MainEnded", NOW, Event::MainEnded { incarnation }),
        ("Gone, completed", NOW, gone(Cause::Completed, None)),
        ("Gone, crashed", NOW, gone(Cause::Crashed, None)),
        ("Gone, stopped", NOW, gone(Cause::Stopped, None)),
        ("Gone, old session", NOW, gone(Cause::OldSession, None)),
        ("Gone, shim lost", NOW, gone(Cause::ShimLost, None)),
        ("Gone, no cure", NOW, gone(Cause::PortTaken, Some(failure()))),
        ("Gone, no cure and no words", NOW, gone(Cause::DiskFull, None)),
        ("ShimLost", NOW, Event::ShimLost { incarnation }),
        ("Adopted, wanted up", NOW, adopted(Wanted::Up, false)),
        ("Adopted, restart ordered", NOW, adopted(Wanted::Up, true)),
        ("Adopted, wanted down", NOW, adopted(Wanted::Down, false)),
        ("Resumed, never ran", NOW, resumed(None, None, false)),
        ("Resumed after an end", NOW, resumed(Some(Cause::Crashed), None, false)),
        ("Resumed, had failed", NOW, resumed(Some(Cause::Crashed), Some(failure()), false)),
        ("Resumed, start ordered", NOW, resumed(Some(Cause::Crashed), Some(failure()), true)),
    ]
}

/// A number for each variant: a new one does not compile until it is here, and the test below fails until `events` has it.
fn kind_number(event: &Event) -> usize {
    match event {
        Event::Start => 0,
        Event::Stop => 1,
        Event::Restart => 2,
        Event::KillNow => 3,
        Event::Signal(_) => 4,
        Event::Neighbours => 5,
        Event::Tick => 6,
        Event::Prepared => 7,
        Event::Held(_) => 8,
        Event::PrepareFailed { .. } => 9,
        Event::Refused(_) => 10,
        Event::Spawned { .. } => 11,
        Event::Probed { .. } => 12,
        Event::MainEnded { .. } => 13,
        Event::Gone { .. } => 14,
        Event::ShimLost { .. } => 15,
        Event::Adopted { .. } => 16,
        Event::Resumed { .. } => 17,
    }
}

/// Every situation of the neighbours: nothing missing and free to stop; a dependency missing; held by a dependent; a peer
/// away; all of it.
fn surroundings() -> [Around; 5] {
    let missing = || vec![NodeName::zookeeper()];
    [
        Around { missing: vec![], held: false, peer_away: false },
        Around { missing: missing(), held: false, peer_away: false },
        Around { missing: vec![], held: true, peer_away: false },
        Around { missing: vec![], held: false, peer_away: true },
        Around { missing: missing(), held: true, peer_away: true },
    ]
}

fn state_words(node: &Node) -> String {
    let reason = |r: StopReason| match r {
        StopReason::Ordered => "by order",
        StopReason::Died => "after a death",
        StopReason::ShimLost => "without its shim",
    };
    match &node.state {
        State::Down { .. } => "down".into(),
        State::Waiting(Wait::Dependencies(_)) => "waiting for dependencies".into(),
        State::Waiting(Wait::BackOff { .. }) => "waiting, pause".into(),
        State::Waiting(Wait::OldSession { .. }) => "waiting for its old session".into(),
        State::Waiting(Wait::Held { .. }) => "waiting, held".into(),
        State::Preparing { .. } => "preparing".into(),
        State::Starting { run: None, .. } => "starting, launch under way".into(),
        State::Starting { run: Some(_), .. } => "starting".into(),
        State::Ready { failures: 0, .. } => "ready".into(),
        State::Ready { failures, .. } => format!("ready, {failures} failed look"),
        State::Degraded { ready_since: Some(_), .. } => "degraded".into(),
        State::Degraded { ready_since: None, .. } => "degraded, never ready".into(),
        State::Stopping { reason: r, dying: Dying::Asked { .. }, .. } => format!("stopping {}, asked", reason(*r)),
        State::Stopping { reason: r, dying: Dying::Killed { .. }, .. } => format!("stopping {}, killed", reason(*r)),
        State::Stopping { reason: r, dying: Dying::Leftovers, .. } => format!("stopping {}, leftovers", reason(*r)),
        State::Failed { .. } => "failed".into(),
    }
}

fn action_words(action: &Action) -> &'static str {
    match action {
        Action::Prepare { .. } => "Prepare",
        Action::CancelPrepare { .. } => "CancelPrepare",
        Action::Spawn { .. } => "Spawn",
        Action::Watch { .. } => "Watch",
        Action::AskToStop { .. } => "AskToStop",
        Action::KillTree { .. } => "KillTree",
        Action::Signal { .. } => "Signal",
    }
}

/// `-> preparing; do Prepare; restarts + 1`.
fn change_words(old: &Node, change: &Change) -> String {
    let new = &change.node;
    let mut parts = Vec::new();
    if old.state == new.state {
        parts.push("stays".to_owned());
    } else if state_words(old) == state_words(new) {
        parts.push("stays, with new words or times".to_owned());
    } else {
        parts.push(format!("**{}**", state_words(new)));
    }
    if old.wanted != new.wanted {
        parts.push(match new.wanted {
            Wanted::Up => "wanted up".into(),
            Wanted::Down => "wanted down".into(),
        });
    }
    if !old.bounce && new.bounce {
        parts.push("to be started again".into());
    }
    if !old.shim_lost && new.shim_lost {
        parts.push("to be replaced".into());
    }
    if !old.kill && new.kill {
        parts.push("to be killed".into());
    }
    parts.extend(change.actions.iter().map(|a| format!("`{}`", action_words(a))));
    if old.restarts != new.restarts {
        parts.push(format!("restarts {} to {}", old.restarts, new.restarts));
    }
    if old.deaths_in_a_row != new.deaths_in_a_row {
        parts.push(format!("deaths in a row {} to {}", old.deaths_in_a_row, new.deaths_in_a_row));
    }
    parts.join("; ")
}

fn outcome_words(node: &Node, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ignored(why) => format!("ignored: {why}"),
        Outcome::Changed(change) => change_words(node, change),
    }
}

fn page() -> String {
    let mut page = String::from(
        "# The life of a node: every state, every event\n\n\
         Written by `UPDATE_TABLE=1 cargo test --lib lifecycle::table` from the code in `src/lifecycle`; a test compares.\n\n\
         The sample node has 0 deaths in a row, 2 restarts, `restart = \"always\"`, was spawned 100 s ago and counts as \
         healthy after 10 s.\n\
         *A dependency missing*: a node it comes after does not serve. *Held*: a node that comes after it is to stop too \
         and still has a process. *A peer away*: a node with copies of the same data is to run and is not ready.\n\
         *Must not be asked*: the stop signal would hurt the product while it starts, so a stop is queued.\n\
         An event that names another start of the node than the current one is ignored in every state.\n",
    );
    for (name, node) in states() {
        let _ = write!(page, "\n## {name}\n\n| event | what happens |\n|---|---|\n");
        // Events with the same outcome share a line, in the order of their first.
        let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
        for (label, now, event) in events(CURRENT) {
            let [free, missing, held, away, _] =
                surroundings().map(|around| outcome_words(&node, &step(&node, event.clone(), &around, now, 0)));
            let mut words = free.clone();
            for (when, other) in [("a dependency missing", missing), ("held", held), ("a peer away", away)] {
                if other != free {
                    let _ = write!(words, "<br>{when}: {other}");
                }
            }
            match lines.iter_mut().find(|(known, _)| *known == words) {
                Some((_, labels)) => labels.push(label),
                None => lines.push((words, vec![label])),
            }
        }
        // What is ignored in every situation comes last.
        lines.sort_by_key(|(words, _)| words.starts_with("ignored: ") && !words.contains("<br>"));
        for (words, labels) in lines {
            let _ = writeln!(page, "| {} | {words} |", labels.join(" · "));
        }
    }
    page
}

#[test]
fn the_page_in_docs_is_what_the_code_does() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lifecycle-table.md");
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "docs/lifecycle-table.md is stale: run UPDATE_TABLE=1 cargo test --lib lifecycle::table");
}

#[test]
fn the_walk_knows_every_kind_of_event() {
    let kinds: BTreeSet<usize> = events(CURRENT).iter().map(|(_, _, event)| kind_number(event)).collect();
    assert_eq!(kinds, (0..18).collect());
}

/// Calls `check` for the full product.
fn walk(incarnation: Incarnation, check: impl Fn(&str, &Node, &Event, Moment, &Around, &Outcome)) {
    for (name, node) in states() {
        for deaths in [0, 1, u32::MAX] {
            for when in [RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never] {
                let mut node = Node { deaths_in_a_row: deaths, ..node.clone() };
                node.restart.when = when;
                for (label, now, event) in events(incarnation) {
                    for now in [Moment(0), now, Moment(u64::MAX)] {
                        for around in surroundings() {
                            let outcome = step(&node, event.clone(), &around, now, u64::MAX);
                            check(&format!("{name} x {label} at {now:?}"), &node, &event, now, &around, &outcome);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_state_takes_every_event_and_stays_consistent() {
    walk(CURRENT, |what, old, _, now, around, outcome| {
        let Outcome::Changed(change) = outcome else { return };
        let new = &change.node;
        let has_process = matches!(
            new.state,
            State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. }
        );
        let comes_up = matches!(new.state, State::Waiting(_) | State::Preparing { .. });
        assert!(!comes_up || new.wanted == Wanted::Up, "{what}: on its way up but wanted down");
        assert!(!new.bounce || (has_process && new.wanted == Wanted::Up), "{what}: bounce without a process");
        assert!(!new.kill || matches!(new.state, State::Starting { run: None, .. }), "{what}: kill outside a launch");
        assert!(!new.shim_lost || new.state.run().is_some(), "{what}: a lost shim without a process");
        assert!(new.incarnation >= old.incarnation, "{what}: the incarnation went back");
        for action in &change.actions {
            match action {
                Action::Prepare { .. } => {
                    assert!(matches!(new.state, State::Preparing { .. }), "{what}");
                    assert!(around.missing.is_empty(), "{what}: prepares without its dependencies");
                }
                Action::CancelPrepare { .. } => assert!(matches!(new.state, State::Down { .. }), "{what}"),
                Action::Spawn { incarnation, .. } => {
                    assert!(around.missing.is_empty(), "{what}: spawns without its dependencies");
                    assert_eq!(*incarnation, old.incarnation.next(), "{what}");
                }
                Action::Watch { .. } => assert!(matches!(new.state, State::Starting { run: Some(_), .. }), "{what}"),
                Action::AskToStop { .. } | Action::KillTree { .. } => {
                    assert!(matches!(new.state, State::Stopping { .. }), "{what}");
                }
                Action::Signal { .. } => assert!(new.state == old.state, "{what}"),
            }
        }
        let _ = (new.detail(now), new.since_hint());
    });
}

#[test]
fn events_of_another_start_are_ignored_in_every_state() {
    for other in [Incarnation(6), Incarnation(8)] {
        walk(other, |what, _, event, _, _, outcome| {
            if matches!(
                event,
                Event::Spawned { .. }
                    | Event::Probed { .. }
                    | Event::MainEnded { .. }
                    | Event::Gone { .. }
                    | Event::ShimLost { .. }
            ) {
                assert_eq!(*outcome, Outcome::Ignored(super::Why::OldIncarnation), "{what}");
            }
        });
    }
}

#[test]
fn only_an_order_leaves_failed() {
    walk(CURRENT, |what, old, event, _, _, outcome| {
        let order = matches!(event, Event::Start | Event::Stop | Event::Restart | Event::KillNow);
        if matches!(old.state, State::Failed { .. }) {
            assert_eq!(matches!(outcome, Outcome::Changed(_)), order, "{what}");
        }
    });
}

#[test]
fn a_process_is_lost_sight_of_only_when_it_is_gone_or_never_was() {
    walk(CURRENT, |what, old, event, _, _, outcome| {
        let Outcome::Changed(change) = outcome else { return };
        if old.state.run().is_some() && change.node.state.run().is_none() {
            assert!(matches!(event, Event::Gone { .. }), "{what}");
        }
    });
}

#[test]
fn a_start_that_must_not_be_asked_is_asked_only_once_it_serves_or_is_late() {
    walk(CURRENT, |what, old, event, _, _, outcome| {
        let Outcome::Changed(change) = outcome else { return };
        if old.start_is_protected() && change.actions.iter().any(|a| matches!(a, Action::AskToStop { .. })) {
            assert!(
                matches!(event, Event::Tick | Event::Probed { verdict: Verdict::Ready(_) | Verdict::Degraded(_), .. }),
                "{what}"
            );
        }
    });
}

#[test]
fn a_node_is_replaced_unasked_only_while_its_peers_are_ready() {
    walk(CURRENT, |what, old, _, _, around, outcome| {
        let Outcome::Changed(change) = outcome else { return };
        let asked = change.actions.iter().any(|a| matches!(a, Action::AskToStop { reason: StopReason::ShimLost, .. }));
        let ordered = change.node.wanted == Wanted::Down || old.bounce || matches!(old.state, State::Stopping { .. });
        let restarted = change.node.bounce;
        assert!(!asked || !around.peer_away || ordered || restarted, "{what}");
    });
}
