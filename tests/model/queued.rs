//! Stops that wait for a start-up, replacements that wait for peers, and what a new daemon goes on with.

use crate::bench::{Bench, brokers, one, process, stack};
use cdc_supervisor::base::{Cause, Incarnation, Verdict, outcome::Failure, recipe::RestartWhen};
use cdc_supervisor::lifecycle::{Event, State, Wait, Wanted};

fn recovers(mark: &str) -> Verdict {
    Verdict::NotReady { why: format!("recovers: {mark}"), progress: Some(mark.into()) }
}

// ---- stop during a start-up ----

#[test]
fn a_stop_during_a_protected_start_is_queued_and_carried_out_once_it_serves() {
    for verdict in [Verdict::Ready("answers".into()), Verdict::Degraded("not in the ISR".into())] {
        let mut b = brokers().launched("broker-1");
        b.probed("broker-1", recovers("3 of 9"));
        assert!(b.tell("broker-1", Event::Stop).is_empty());
        let node = b.node("broker-1");
        assert_eq!((node.wanted(), node.stop_is_queued()), (Wanted::Down, true));
        assert_eq!(
            b.detail("broker-1"),
            "starts since 0.0 s: recovers: 3 of 9; the stop is queued until it is ready: the next start would take long \
             (`stop --now`, `down --now` or a second Ctrl-C force it)"
        );
        assert_eq!(b.probed("broker-1", verdict), ["AskToStop broker-1 #1 Ordered"]);
        assert!(!b.node("broker-1").stop_is_queued());
        assert!(b.gone("broker-1", Cause::Stopped).is_empty());
        assert_eq!(b.state("broker-1").word(), "down");
    }
}

#[test]
fn progress_moves_the_end_of_a_queue_and_a_start_that_is_late_is_asked_then() {
    let mut b = brokers().launched("broker-1");
    b.tell("broker-1", Event::Stop);
    for n in 0..10 {
        assert!(b.pass(50).is_empty(), "it gets on");
        b.probed("broker-1", recovers(&format!("{n} of 10")));
    }
    assert!(b.pass(59).is_empty());
    assert_eq!(b.pass(1), ["AskToStop broker-1 #1 Ordered"], "a minute without progress");
}

#[test]
fn a_queued_stop_can_be_forced_and_taken_back() {
    let mut b = brokers().launched("broker-1");
    b.tell("broker-1", Event::Stop);
    assert_eq!(b.tell("broker-1", Event::KillNow), ["KillTree broker-1 #1"]);

    let mut b = brokers().launched("broker-1");
    b.tell("broker-1", Event::Stop);
    assert!(b.tell("broker-1", Event::Start).is_empty());
    assert!(b.answers("broker-1").is_empty());
    assert_eq!(b.detail("broker-1"), "ready: answers");
}

#[test]
fn a_start_up_that_fails_by_itself_ends_a_queued_stop() {
    let mut b = brokers().launched("broker-1");
    b.tell("broker-1", Event::Stop);
    assert!(b.gone("broker-1", Cause::Crashed).is_empty());
    assert_eq!(b.state("broker-1").word(), "down");
}

#[test]
fn a_restart_during_a_protected_start_is_queued_too_and_not_counted() {
    let mut b = brokers().launched("broker-1");
    assert!(b.tell("broker-1", Event::Restart).is_empty());
    assert!(b.detail("broker-1").contains("the restart is queued until it is ready"), "{}", b.detail("broker-1"));
    assert_eq!(b.answers("broker-1"), ["AskToStop broker-1 #1 Ordered"]);
    assert_eq!(b.gone("broker-1", Cause::Stopped), ["Prepare broker-1"]);
    assert_eq!(b.node("broker-1").restarts(), 0);
}

#[test]
fn what_comes_before_waits_for_a_queued_stop() {
    let mut b = brokers().launched("broker-1");
    b.tell("broker-1", Event::Stop);
    assert!(b.tell("zookeeper", Event::Stop).is_empty(), "the broker still needs it");
    assert_eq!(b.answers("broker-1"), ["AskToStop broker-1 #1 Ordered"]);
    assert_eq!(b.gone("broker-1", Cause::Stopped), ["AskToStop zookeeper #1 Ordered"]);
}

#[test]
fn a_stop_during_the_launch_of_a_protected_node_is_queued_and_it_is_watched() {
    let mut b = brokers();
    b.tell("broker-1", Event::Start);
    b.tell("broker-1", Event::Prepared);
    b.tell("broker-1", Event::Stop);
    assert_eq!(b.spawned("broker-1"), ["Watch broker-1 #1"]);
    assert_eq!(b.answers("broker-1"), ["AskToStop broker-1 #1 Ordered"]);
}

#[test]
fn a_new_daemon_keeps_a_queued_stop() {
    let mut b = brokers();
    let adopted = Event::Adopted {
        incarnation: Incarnation(7),
        process: process(),
        wanted: Wanted::Down,
        restarts: 0,
        start_due: false,
    };
    assert_eq!(b.tell("broker-1", adopted), ["Watch broker-1 #7"], "whether it serves is not known yet");
    assert!(b.node("broker-1").stop_is_queued());
    let incarnation = Incarnation(7);
    let ready = Event::Probed { incarnation, verdict: Verdict::Ready("answers".into()) };
    assert_eq!(b.tell("broker-1", ready), ["AskToStop broker-1 #7 Ordered"]);
}

// ---- lost shims ----

fn all_brokers_ready() -> Bench {
    brokers().ready("broker-1").ready("broker-2").ready("broker-3")
}

#[test]
fn three_shims_lost_at_once_are_replaced_one_after_the_other() {
    let mut b = all_brokers_ready();
    assert_eq!(b.shim_lost("broker-1"), ["AskToStop broker-1 #1 ShimLost"]);
    assert!(b.shim_lost("broker-2").is_empty());
    assert!(b.shim_lost("broker-3").is_empty());
    assert_eq!(
        b.detail("broker-2"),
        "ready: answers; its shim was killed: it is replaced once broker-1, broker-3 are ready"
    );
    assert_eq!(b.gone("broker-1", Cause::ShimLost), ["Prepare broker-1"]);
    b.tell("broker-1", Event::Prepared);
    b.spawned("broker-1");
    assert!(b.probed("broker-1", Verdict::Degraded("not in the ISR of 3".into())).is_empty(), "it catches up");
    assert_eq!(b.answers("broker-1"), ["AskToStop broker-2 #1 ShimLost"]);
    b.gone("broker-2", Cause::ShimLost);
    b.tell("broker-2", Event::Prepared);
    b.spawned("broker-2");
    assert_eq!(b.answers("broker-2"), ["AskToStop broker-3 #1 ShimLost"]);
    b.gone("broker-3", Cause::ShimLost);
    for broker in ["broker-1", "broker-2", "broker-3"] {
        assert_eq!((b.node(broker).restarts(), b.node(broker).deaths_in_a_row()), (1, 0), "{broker}");
    }
}

#[test]
fn a_peer_that_nobody_wants_up_is_not_waited_for() {
    let mut b = all_brokers_ready();
    b.tell("broker-1", Event::Stop);
    assert!(!b.node("broker-1").stop_is_queued());
    assert_eq!(b.shim_lost("broker-2"), ["AskToStop broker-2 #1 ShimLost"]);
}

#[test]
fn an_order_does_not_wait_for_peers() {
    for (order, reason) in [(Event::Stop, "ShimLost"), (Event::Restart, "ShimLost")] {
        let mut b = all_brokers_ready();
        b.shim_lost("broker-1");
        b.shim_lost("broker-2");
        assert_eq!(b.tell("broker-2", order), [format!("AskToStop broker-2 #1 {reason}")]);
        assert_eq!(b.gone("broker-2", Cause::ShimLost).is_empty(), b.node("broker-2").wanted() == Wanted::Down);
    }
}

#[test]
fn a_shim_lost_during_a_protected_start_replaces_it_once_it_is_ready() {
    let mut b = brokers().launched("broker-1");
    b.tell("broker-2", Event::Stop);
    assert!(b.shim_lost("broker-1").is_empty());
    assert_eq!(
        b.detail("broker-1"),
        "starts since 0.0 s: launched, no look at it has ended yet; its shim was killed: it is replaced once it is ready"
    );
    assert_eq!(b.answers("broker-1"), ["AskToStop broker-1 #1 ShimLost"]);
}

#[test]
fn a_broker_without_a_shim_that_dies_while_it_waits_is_removed_and_replaced() {
    let mut b = all_brokers_ready();
    b.shim_lost("broker-1");
    b.shim_lost("broker-2");
    assert_eq!(b.main_ended("broker-2"), ["KillTree broker-2 #1"]);
    assert_eq!(b.gone("broker-2", Cause::ShimLost), ["Prepare broker-2"]);
}

// ---- a new daemon goes on ----

#[test]
fn deaths_in_a_row_survive_the_daemon_and_an_order_forgets_them() {
    let mut b = one(|s| {
        s.deaths_in_a_row = 4;
        s.restarts = 4;
        s.last_incarnation = Incarnation(5);
    });
    assert!(
        b.tell("mysql", Event::Resumed { ended: Some(Cause::Crashed), failure: None, start_due: false }).is_empty()
    );
    let State::Waiting(Wait::BackOff { until, attempt, .. }) = b.state("mysql") else { panic!() };
    assert_eq!((*attempt, until.since(b.now).as_millis()), (3, 600));
    assert_eq!(b.until_deadline(), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").restarts(), 5);

    let mut b = one(|s| s.deaths_in_a_row = 4);
    assert_eq!(b.tell("mysql", Event::Start), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").deaths_in_a_row(), 0);
}

#[test]
fn a_first_death_that_no_daemon_saw_is_followed_at_once_and_counted() {
    let mut b = one(|s| s.deaths_in_a_row = 1);
    assert_eq!(
        b.tell("mysql", Event::Resumed { ended: Some(Cause::KilledByOther), failure: None, start_due: false }),
        ["Prepare mysql"]
    );
    assert_eq!(b.node("mysql").restarts(), 1);
}

#[test]
fn an_ordered_start_is_owed_until_it_is_launched_whatever_the_policy_says() {
    for when in [RestartWhen::Never, RestartWhen::OnFailure, RestartWhen::Always] {
        let mut b = one(|s| s.restart.when = when);
        b.tell("mysql", Event::Start);
        assert!(b.node("mysql").start_is_due());
        // The daemon dies here. The next one knows of an earlier end, and of a failure that the order was about.
        let mut b = one(|s| s.restart.when = when);
        let failure = Failure { cause: Cause::PortTaken, what: String::new(), remedy: String::new() };
        let resumed = Event::Resumed { ended: Some(Cause::Stopped), failure: Some(failure), start_due: true };
        assert_eq!(b.tell("mysql", resumed), ["Prepare mysql"]);
        assert_eq!((b.node("mysql").restarts(), b.node("mysql").start_is_due()), (0, true));
        b.tell("mysql", Event::Prepared);
        assert!(!b.node("mysql").start_is_due(), "launched");
    }
}

#[test]
fn an_ordered_restart_is_finished_by_the_next_daemon() {
    let mut b = one(|s| s.restart.when = RestartWhen::Never);
    let adopted = Event::Adopted {
        incarnation: Incarnation(7),
        process: process(),
        wanted: Wanted::Up,
        restarts: 0,
        start_due: true,
    };
    assert_eq!(b.tell("mysql", adopted), ["AskToStop mysql #7 Ordered"]);
    assert_eq!(b.gone("mysql", Cause::Stopped), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").restarts(), 0, "it was ordered");
}

#[test]
fn a_new_daemon_does_not_repeat_what_the_policy_runs_once() {
    for (when, cause, again) in [
        (RestartWhen::Never, Cause::Completed, false),
        (RestartWhen::Never, Cause::Crashed, false),
        (RestartWhen::OnFailure, Cause::Completed, false),
        (RestartWhen::OnFailure, Cause::Crashed, true),
        (RestartWhen::Always, Cause::Completed, true),
    ] {
        let mut b = one(|s| s.restart.when = when);
        assert_eq!(
            !b.tell("mysql", Event::Resumed { ended: Some(cause), failure: None, start_due: false }).is_empty(),
            again,
            "{when:?} {cause}"
        );
        assert_eq!(b.node("mysql").wanted(), Wanted::Up);
    }
    let mut b = stack();
    assert_eq!(b.tell("mysql", Event::Resumed { ended: None, failure: None, start_due: false }), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").restarts(), 0);
}

#[test]
fn what_had_failed_stays_failed_under_the_next_daemon_until_somebody_orders_a_start() {
    let failure =
        Failure { cause: Cause::WrongIdentity, what: "it is another cluster's".into(), remedy: "mend".into() };
    for (ended, failure) in [
        (Some(Cause::Stopped), Some(failure.clone())),
        (None, Some(failure)),
        // its state file tells the end and was cut short of the rest
        (Some(Cause::BadOption), None),
    ] {
        let mut b = stack();
        assert!(
            b.tell("mysql", Event::Resumed { ended, failure: failure.clone(), start_due: false }).is_empty(),
            "{ended:?}"
        );
        let node = b.node("mysql");
        assert!(matches!(node.state(), State::Failed { .. }), "{:?}", node.state());
        assert_eq!((node.wanted(), node.restarts()), (Wanted::Up, 0));
        if let Some(failure) = failure {
            assert_eq!(node.failure(), Some(&failure));
        }
        assert_eq!(b.tell("mysql", Event::Start), ["Prepare mysql"]);
    }
}
