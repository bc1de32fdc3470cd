//! The rules of starting, looking, stopping and restarting by order, one by one.

use crate::{
    bench::{Bench, bench, name, one, stack},
    world::{failure, spec},
};
use cdc_supervisor::base::{Cause, Incarnation, Verdict, recipe::RestartWhen};
use cdc_supervisor::lifecycle::{Event, Hold, State, Wanted};

// ---- start ----

#[test]
fn a_start_goes_through_preparing_spawning_and_watching_to_ready() {
    let mut b = stack();
    assert_eq!(b.tell("mysql", Event::Start), ["Prepare mysql"]);
    assert_eq!(b.tell("mysql", Event::Prepared), ["Spawn mysql #1"]);
    assert_eq!(b.spawned("mysql"), ["Watch mysql #1"]);
    assert_eq!(b.state("mysql").word(), "starting");
    assert!(b.answers("mysql").is_empty());
    assert_eq!(b.detail("mysql"), "ready: answers");
    assert_eq!(b.node("mysql").restarts(), 0);
}

#[test]
fn a_node_waits_for_those_it_comes_after_and_follows_at_once() {
    let mut b = stack();
    assert!(b.tell("broker-1", Event::Start).is_empty());
    assert_eq!(b.detail("broker-1"), "waits for zookeeper");
    b = b.launched("zookeeper");
    assert_eq!(b.detail("broker-1"), "waits for zookeeper");
    assert_eq!(b.answers("zookeeper"), ["Prepare broker-1"]);
}

#[test]
fn a_start_whose_dependency_stopped_serving_meanwhile_waits_again() {
    let mut b = stack().ready("zookeeper");
    b.tell("broker-1", Event::Start);
    b.gone("zookeeper", Cause::Crashed);
    assert!(b.tell("broker-1", Event::Prepared).is_empty());
    assert_eq!(b.detail("broker-1"), "waits for zookeeper");
    assert_eq!(b.node("broker-1").incarnation(), Incarnation(0), "nothing was launched");
}

#[test]
fn a_dependency_outside_the_fleet_never_serves_and_is_named() {
    let mut b = bench(vec![spec("connect", &["nowhere"])]);
    assert!(b.tell("connect", Event::Start).is_empty());
    assert_eq!(b.detail("connect"), "waits for nowhere");
}

#[test]
fn a_running_node_does_not_care_about_the_death_of_a_dependency() {
    let mut b = Bench::all_ready();
    assert_eq!(b.gone("zookeeper", Cause::Crashed), ["Prepare zookeeper"]);
    for broker in ["broker-1", "broker-2"] {
        assert_eq!(b.state(broker).word(), "ready");
    }
}

#[test]
fn the_next_start_gets_the_number_after_the_last_one_under_this_root() {
    let mut b = one(|s| s.last_incarnation = Incarnation(41));
    b.tell("mysql", Event::Start);
    assert_eq!(b.tell("mysql", Event::Prepared), ["Spawn mysql #42"]);
}

#[test]
fn an_old_session_holds_a_start_until_it_is_prepared() {
    let mut b = stack().ready("zookeeper");
    b.tell("broker-1", Event::Start);
    b.tell("broker-1", Event::Held(Hold::OldSession { why: "old session expires in up to 14 s".into() }));
    let since = b.node("broker-1").since_hint();
    b.pass(3);
    b.tell("broker-1", Event::Held(Hold::OldSession { why: "old session expires in up to 11 s".into() }));
    assert_eq!(b.detail("broker-1"), "waits: old session expires in up to 11 s");
    assert_eq!(b.node("broker-1").since_hint(), since, "the wait began once");
    assert_eq!(b.tell("broker-1", Event::Prepared), ["Spawn broker-1 #1"]);
}

#[test]
fn a_held_start_checks_its_dependencies_again() {
    let mut b = stack().ready("zookeeper");
    b.tell("broker-1", Event::Start);
    b.tell("broker-1", Event::Held(Hold::Other { why: "disk".into() }));
    b.tell("zookeeper", Event::Stop);
    assert!(b.tell("broker-1", Event::Prepared).is_empty());
    assert_eq!(b.detail("broker-1"), "waits for zookeeper");
}

#[test]
fn a_failed_preparation_is_tried_again_after_a_pause_even_the_first_time() {
    let mut b = stack();
    b.tell("mysql", Event::Start);
    b.tell("mysql", Event::PrepareFailed { why: "no route to the mirror".into() });
    assert_eq!(b.detail("mysql"), "pause of 0.2 s before it is prepared again: no route to the mirror");
    assert_eq!(b.node("mysql").deaths_in_a_row(), 1);
    assert_eq!(b.until_deadline(), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").restarts(), 0, "nothing had run");
}

#[test]
fn a_refused_preparation_or_launch_fails_with_the_remedy() {
    for launched in [false, true] {
        let mut b = stack();
        b.tell("mysql", Event::Start);
        if launched {
            b.tell("mysql", Event::Prepared);
        }
        assert!(b.tell("mysql", Event::Refused(failure())).is_empty());
        assert_eq!(b.detail("mysql"), "failed: port 9092 is taken — stop that program");
        assert!(b.fleet.next_deadline().is_none());
    }
}

#[test]
fn only_orders_leave_failed_and_they_begin_with_a_clean_slate() {
    for order in [Event::Start, Event::Restart] {
        let mut b = stack();
        b.tell("mysql", Event::Start);
        b.tell("mysql", Event::PrepareFailed { why: "x".into() });
        b.tell("mysql", Event::Refused(failure()));
        for event in [Event::Neighbours, Event::Tick, Event::Prepared] {
            assert!(b.tell("mysql", event).is_empty());
            assert_eq!(b.state("mysql").word(), "failed");
        }
        assert_eq!(b.tell("mysql", order), ["Prepare mysql"]);
        assert_eq!(b.node("mysql").deaths_in_a_row(), 0);
    }
}

// ---- looks ----

#[test]
fn a_start_without_progress_is_called_late_and_never_killed() {
    let mut b = stack().launched("mysql");
    b.silent("mysql");
    assert!(b.until_deadline().is_empty());
    assert_eq!(b.detail("mysql"), "degraded since 0.0 s: not ready after 1m00s: refused");
    assert!(!b.state("mysql").serves(), "never ready, so nothing starts after it");
    assert!(b.fleet.next_deadline().is_none(), "no kill is planned");
    b.answers("mysql");
    assert_eq!(b.state("mysql").word(), "ready");
}

#[test]
fn a_changed_progress_mark_moves_the_deadline_and_the_same_one_does_not() {
    let mut b = stack().launched("mysql");
    let recovers = |mark: &str| Verdict::NotReady { why: "recovers".into(), progress: Some(mark.into()) };
    let mut seen = Vec::new();
    for (wait, mark) in [(50, "1 of 9"), (50, "1 of 9"), (5, "2 of 9")] {
        b.pass(wait);
        b.probed("mysql", recovers(mark));
        seen.push(b.fleet.next_deadline().unwrap().0 / 1_000 - 1_000);
        b.silent("mysql");
    }
    // Looks at 50, 100 and 105 s; one that learns no mark neither extends nor forgets.
    assert_eq!(seen, [110, 110, 165]);
}

#[test]
fn a_deadline_already_missed_is_not_brought_back_by_a_late_mark() {
    let mut b = stack().launched("mysql");
    b.pass(61);
    b.probed("mysql", Verdict::NotReady { why: "recovers".into(), progress: Some("3".into()) });
    assert_eq!(b.detail("mysql"), "degraded since 0.0 s: not ready after 1m00s: recovers");
}

#[test]
fn failed_looks_in_a_row_up_to_the_threshold_degrade_and_one_good_look_clears_them() {
    let mut b = stack().ready("mysql");
    b.silent("mysql");
    b.silent("mysql");
    assert_eq!(b.detail("mysql"), "ready: answers; the last 2 looks failed");
    b.answers("mysql");
    b.silent("mysql");
    b.silent("mysql");
    assert_eq!(b.state("mysql").word(), "ready");
    b.silent("mysql");
    assert_eq!(b.detail("mysql"), "degraded since 0.0 s: refused");
    assert!(b.state("mysql").serves());
}

#[test]
fn a_degraded_verdict_degrades_at_once_and_ready_since_tells_the_truth() {
    let mut b = stack().ready("mysql");
    let first = b.now;
    b.pass(5);
    b.probed("mysql", Verdict::Degraded("slow".into()));
    assert_eq!(b.state("mysql").ready_since(), Some(first));
    b.pass(5);
    b.answers("mysql");
    assert_eq!(b.state("mysql").ready_since(), Some(b.now), "ready anew");
}

#[test]
fn a_start_that_is_found_to_serve_badly_serves() {
    let mut b = stack();
    b.tell("broker-1", Event::Start);
    b = b.launched("zookeeper");
    assert_eq!(b.probed("zookeeper", Verdict::Degraded("read-only".into())), ["Prepare broker-1"]);
}

// ---- stop ----

#[test]
fn a_stop_asks_then_kills_then_kills_again() {
    let mut b = stack().ready("mysql");
    assert_eq!(b.tell("mysql", Event::Stop), ["AskToStop mysql #1 Ordered"]);
    b.pass(18);
    assert_eq!(b.detail("mysql"), "stops; SIGKILL in 12 s");
    assert_eq!(b.until_deadline(), ["KillTree mysql #1"]);
    assert!(b.pass(4).is_empty());
    assert_eq!(b.detail("mysql"), "stops; SIGKILL was sent, again in 1 s");
    assert_eq!(b.pass(1), ["KillTree mysql #1"]);
    assert!(b.gone("mysql", Cause::KilledAfterGrace).is_empty());
    assert_eq!(*b.state("mysql"), State::Down { last: Some(Cause::KilledAfterGrace) });
}

#[test]
fn a_stop_waits_for_dependents_that_are_to_stop_too() {
    let mut b = Bench::all_ready();
    let order = b.fleet.dependents_first(&[name("zookeeper"), name("broker-1"), name("broker-2")]);
    assert_eq!(order.last(), Some(&name("zookeeper")));
    b.tell("broker-1", Event::Stop);
    b.tell("broker-2", Event::Stop);
    assert!(b.tell("zookeeper", Event::Stop).is_empty());
    assert_eq!(b.detail("zookeeper"), "ready: answers; it stops once the nodes that come after it are down");
    assert!(b.gone("broker-1", Cause::Stopped).is_empty());
    assert_eq!(b.gone("broker-2", Cause::Stopped), ["AskToStop zookeeper #1 Ordered"]);
}

#[test]
fn a_stop_does_not_wait_for_dependents_that_stay_up() {
    let mut b = Bench::all_ready();
    b.tell("broker-1", Event::Stop);
    b.gone("broker-1", Cause::Stopped);
    assert_eq!(b.tell("zookeeper", Event::Stop), ["AskToStop zookeeper #1 Ordered"]);
    assert_eq!(b.state("broker-2").word(), "ready");
}

#[test]
fn a_stop_waits_for_a_dependent_whose_launch_is_under_way() {
    let mut b = stack().ready("zookeeper");
    b.tell("broker-1", Event::Start);
    b.tell("broker-1", Event::Prepared);
    b.tell("broker-1", Event::Stop);
    assert!(b.tell("zookeeper", Event::Stop).is_empty());
    assert_eq!(b.spawned("broker-1"), ["AskToStop broker-1 #1 Ordered"]);
    assert_eq!(b.gone("broker-1", Cause::Stopped), ["AskToStop zookeeper #1 Ordered"]);
}

#[test]
fn a_dependent_that_is_wanted_up_again_frees_a_waiting_stop() {
    let mut b = Bench::all_ready();
    b.tell("broker-1", Event::Stop);
    assert!(b.tell("zookeeper", Event::Stop).is_empty());
    assert_eq!(b.tell("broker-1", Event::Start), ["AskToStop zookeeper #1 Ordered"]);
}

#[test]
fn a_start_takes_back_a_stop_that_still_waits() {
    let mut b = Bench::all_ready();
    b.tell("broker-1", Event::Stop);
    b.tell("zookeeper", Event::Stop);
    b.tell("zookeeper", Event::Start);
    assert!(b.gone("broker-1", Cause::Stopped).is_empty());
    assert_eq!(b.detail("zookeeper"), "ready: answers");
}

#[test]
fn a_stop_before_anything_runs_cancels_what_is_under_way() {
    let mut b = stack();
    b.tell("broker-1", Event::Start);
    assert!(b.tell("broker-1", Event::Stop).is_empty());
    b.tell("mysql", Event::Start);
    assert_eq!(b.tell("mysql", Event::Stop), ["CancelPrepare mysql"]);
    b.tell("mysql", Event::Start);
    b.tell("mysql", Event::Held(Hold::Other { why: "disk".into() }));
    assert_eq!(b.tell("mysql", Event::Stop), ["CancelPrepare mysql"]);
    assert!(b.tell("mysql", Event::Prepared).is_empty(), "an answer that nobody waits for");
    for node in ["broker-1", "mysql"] {
        assert_eq!(*b.state(node), State::Down { last: None });
    }
}

#[test]
fn a_stop_during_a_launch_is_remembered_until_the_launch_answers() {
    let mut b = stack();
    b.tell("mysql", Event::Start);
    b.tell("mysql", Event::Prepared);
    assert!(b.tell("mysql", Event::Stop).is_empty());
    assert_eq!(b.detail("mysql"), "being launched; it is stopped once it runs");
    assert_eq!(b.spawned("mysql"), ["AskToStop mysql #1 Ordered"]);

    let mut b = stack();
    b.tell("mysql", Event::Start);
    b.tell("mysql", Event::Prepared);
    b.tell("mysql", Event::Stop);
    b.gone("mysql", Cause::CouldNotStart);
    assert_eq!(b.state("mysql").word(), "down");
}

#[test]
fn kill_now_waits_for_nobody_and_ends_a_grace_period() {
    let mut b = Bench::all_ready();
    b.tell("broker-1", Event::Stop);
    assert_eq!(b.tell("broker-1", Event::KillNow), ["KillTree broker-1 #1"]);
    assert_eq!(b.tell("zookeeper", Event::KillNow), ["KillTree zookeeper #1"]);
    assert_eq!(b.node("zookeeper").wanted(), Wanted::Down);
    b.gone("zookeeper", Cause::KilledByOrder);
    assert_eq!(b.state("zookeeper").word(), "down");
}

#[test]
fn kill_now_during_a_launch_kills_as_soon_as_there_is_something_to_kill() {
    let mut b = stack();
    b.tell("mysql", Event::Start);
    b.tell("mysql", Event::Prepared);
    assert!(b.tell("mysql", Event::KillNow).is_empty());
    assert_eq!(b.spawned("mysql"), ["KillTree mysql #1"]);
}

#[test]
fn a_start_during_a_stop_starts_again_once_it_is_gone_whatever_the_policy_says() {
    let mut b = one(|s| s.restart.when = RestartWhen::Never).ready("mysql");
    b.tell("mysql", Event::Stop);
    assert!(b.tell("mysql", Event::Start).is_empty());
    assert_eq!(b.detail("mysql"), "stops to be started again; SIGKILL in 30 s");
    assert_eq!(b.gone("mysql", Cause::Stopped), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").restarts(), 0);
}

// ---- restart by order ----

#[test]
fn a_restart_stops_at_once_starts_again_and_is_not_counted() {
    let mut b = Bench::all_ready();
    b.tell("broker-1", Event::Stop);
    assert_eq!(b.tell("zookeeper", Event::Restart), ["AskToStop zookeeper #1 Ordered"]);
    assert_eq!(b.gone("zookeeper", Cause::Stopped), ["Prepare zookeeper"]);
    assert_eq!((b.node("zookeeper").restarts(), b.node("zookeeper").deaths_in_a_row()), (0, 0));
}

#[test]
fn a_stop_after_a_restart_wins() {
    let mut b = stack().ready("mysql");
    b.tell("mysql", Event::Restart);
    b.tell("mysql", Event::Stop);
    assert!(b.gone("mysql", Cause::Stopped).is_empty());
    assert_eq!(b.state("mysql").word(), "down");
}

#[test]
fn a_restart_during_a_launch_replaces_what_is_launched() {
    let mut b = stack();
    b.tell("mysql", Event::Start);
    b.tell("mysql", Event::Prepared);
    assert!(b.tell("mysql", Event::Restart).is_empty());
    assert_eq!(b.spawned("mysql"), ["AskToStop mysql #1 Ordered"]);
    assert_eq!(b.gone("mysql", Cause::Stopped), ["Prepare mysql"]);
    assert_eq!(b.tell("mysql", Event::Prepared), ["Spawn mysql #2"]);
    assert_eq!(b.spawned("mysql"), ["Watch mysql #2"]);
}

#[test]
fn a_start_or_restart_skips_a_pause() {
    for order in [Event::Start, Event::Restart] {
        let mut b = stack().launched("mysql");
        b.gone("mysql", Cause::Crashed);
        b.dies_young("mysql", 0);
        assert_eq!(b.state("mysql").word(), "waiting");
        assert_eq!(b.tell("mysql", order), ["Prepare mysql"]);
        assert_eq!((b.node("mysql").restarts(), b.node("mysql").deaths_in_a_row()), (1, 0));
    }
}
