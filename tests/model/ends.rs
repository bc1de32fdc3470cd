//! The rules of ends, identity, adoption, reload and words, one by one.

use crate::{
    bench::{Bench, bench, name, one, process, said, stack},
    world::{failure, spec},
};
use cdc_supervisor::base::{Cause, Incarnation, Moment, Verdict, recipe::RestartWhen};
use cdc_supervisor::lifecycle::{Dying, Ended, Event, State, StopReason, Wait, Wanted, Why};
use std::time::Duration;

// ---- ends ----

#[test]
fn the_first_death_restarts_at_once_and_from_the_second_on_the_pauses_grow() {
    let mut b = stack().launched("mysql");
    assert_eq!(b.gone("mysql", Cause::Crashed), ["Prepare mysql"]);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        assert!(b.dies_young("mysql", 1).is_empty());
        let State::Waiting(Wait::BackOff { until, attempt, cause, why }) = b.state("mysql") else { panic!() };
        assert_eq!((*cause, why), (Cause::Crashed, &None));
        pauses.push((*attempt, until.since(b.now).as_millis()));
        assert_eq!(b.until_deadline(), ["Prepare mysql"]);
    }
    assert_eq!(pauses[..4], [(1, 200), (2, 300), (3, 600), (4, 1_200)]);
    assert_eq!(pauses[9], (10, 45_000), "60 s less the spread");
    assert_eq!(b.node("mysql").restarts(), 11);
}

#[test]
fn the_words_of_a_pause_name_its_rest_the_start_and_the_cause() {
    let mut b = stack().launched("mysql");
    b.gone("mysql", Cause::Crashed);
    b.dies_young("mysql", 0);
    assert_eq!(b.detail("mysql"), "pause of 0.2 s before start 3 (crashed)");
}

#[test]
fn a_healthy_run_ends_the_row_of_deaths() {
    let mut b = stack().launched("mysql");
    b.gone("mysql", Cause::Crashed);
    b.dies_young("mysql", 0);
    b.until_deadline();
    b.tell("mysql", Event::Prepared);
    b.spawned("mysql");
    b.answers("mysql");
    b.pass(10);
    assert_eq!(b.gone("mysql", Cause::OutOfMemory), ["Prepare mysql"]);
    assert_eq!((b.node("mysql").deaths_in_a_row(), b.node("mysql").restarts()), (0, 3));
}

#[test]
fn a_long_run_that_was_never_ready_is_not_healthy() {
    let mut b = stack().launched("mysql");
    b.gone("mysql", Cause::Crashed);
    b.dies_young("mysql", 3_600);
    assert_eq!(b.node("mysql").deaths_in_a_row(), 2);
    assert_eq!(b.state("mysql").word(), "waiting");
}

#[test]
fn a_short_run_that_was_ready_is_not_healthy() {
    let mut b = stack().ready("mysql");
    b.pass(9);
    b.gone("mysql", Cause::Crashed);
    assert_eq!(b.node("mysql").deaths_in_a_row(), 1);
}

#[test]
fn an_end_that_restarting_cannot_cure_fails_with_or_without_words() {
    let mut b = stack().ready("mysql");
    assert!(b.gone_with("mysql", Cause::PortTaken, Some(failure())).is_empty());
    assert_eq!(b.detail("mysql"), "failed: port 9092 is taken — stop that program");

    let mut b = stack().ready("mysql");
    b.gone("mysql", Cause::DiskFull);
    assert!(b.detail("mysql").starts_with("failed: it ended (disk-full)"), "{}", b.detail("mysql"));
    assert_eq!(b.node("mysql").restarts(), 0);
}

#[test]
fn an_old_session_is_no_death_and_no_restart() {
    let mut b = stack().ready("zookeeper").ready("broker-1");
    assert_eq!(b.gone("broker-1", Cause::OldSession), ["Prepare broker-1"]);
    assert_eq!((b.node("broker-1").restarts(), b.node("broker-1").deaths_in_a_row()), (0, 0));
}

#[test]
fn the_policy_decides_about_ends_that_nobody_ordered() {
    let cases = [
        (RestartWhen::Always, Cause::Completed, true),
        (RestartWhen::Always, Cause::Crashed, true),
        (RestartWhen::OnFailure, Cause::Completed, false),
        (RestartWhen::OnFailure, Cause::Crashed, true),
        (RestartWhen::OnFailure, Cause::KilledByOther, true),
        (RestartWhen::Never, Cause::Completed, false),
        (RestartWhen::Never, Cause::Crashed, false),
    ];
    for (when, cause, again) in cases {
        let mut b = one(|s| s.restart.when = when).ready("mysql");
        b.pass(60);
        assert_eq!(!b.gone("mysql", cause).is_empty(), again, "{when:?} {cause}");
        if !again {
            assert_eq!(*b.state("mysql"), State::Down { last: Some(cause) });
            assert_eq!(b.node("mysql").wanted(), Wanted::Up, "wanted is what somebody asked for");
            assert!(b.tell("mysql", Event::Neighbours).is_empty());
            assert_eq!(b.tell("mysql", Event::Start), ["Prepare mysql"]);
        }
    }
}

#[test]
fn a_restart_by_itself_waits_for_dependencies_too() {
    let mut b = Bench::all_ready();
    b.tell("zookeeper", Event::Stop);
    b.gone("zookeeper", Cause::Stopped);
    assert!(b.gone("broker-1", Cause::Crashed).is_empty());
    assert_eq!(b.detail("broker-1"), "waits for zookeeper");
    assert_eq!(b.node("broker-1").restarts(), 1);
}

#[test]
fn leftovers_of_a_dead_main_process_hold_the_next_start() {
    let mut b = stack().ready("mysql");
    assert!(b.main_ended("mysql").is_empty());
    assert_eq!(b.detail("mysql"), "died; what is left of its tree is being removed");
    assert_eq!(b.gone("mysql", Cause::Crashed), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").deaths_in_a_row(), 1);
}

#[test]
fn a_lost_shim_replaces_its_node_as_a_restart_but_not_as_a_death() {
    let mut b = one(|s| s.restart.when = RestartWhen::Never).ready("mysql");
    assert_eq!(b.shim_lost("mysql"), ["AskToStop mysql #1 ShimLost"]);
    assert_eq!(b.detail("mysql"), "is replaced because its shim was killed; SIGKILL in 30 s");
    assert_eq!(b.gone("mysql", Cause::Stopped), ["Prepare mysql"]);
    assert_eq!((b.node("mysql").restarts(), b.node("mysql").deaths_in_a_row()), (1, 0));
}

#[test]
fn without_a_shim_leftovers_are_killed() {
    let mut b = stack().ready("mysql");
    b.shim_lost("mysql");
    assert_eq!(b.main_ended("mysql"), ["KillTree mysql #1"]);

    let mut b = stack().ready("mysql");
    b.main_ended("mysql");
    assert_eq!(b.shim_lost("mysql"), ["KillTree mysql #1"]);
}

#[test]
fn a_shim_lost_during_a_stop_repeats_the_signal_and_keeps_the_deadline() {
    let mut b = stack().ready("mysql");
    b.tell("mysql", Event::Stop);
    let deadline = b.fleet.next_deadline();
    b.pass(3);
    assert_eq!(b.shim_lost("mysql"), ["AskToStop mysql #1 ShimLost"]);
    assert_eq!(b.fleet.next_deadline(), deadline);
    b.gone("mysql", Cause::Stopped);
    assert_eq!(b.state("mysql").word(), "down");
}

// ---- identity ----

#[test]
fn events_of_an_old_incarnation_change_nothing_and_say_so() {
    let mut b = stack().ready("mysql");
    b.gone("mysql", Cause::Crashed);
    b.tell("mysql", Event::Prepared);
    b.spawned("mysql");
    let before = b.node("mysql").clone();
    let old = Incarnation(1);
    for event in [
        Event::Spawned { incarnation: old, process: process() },
        Event::Probed { incarnation: old, verdict: Verdict::Ready("answers".into()) },
        Event::MainEnded { incarnation: old },
        Event::Gone { incarnation: old, ended: Ended { cause: Cause::Crashed, failure: None } },
        Event::ShimLost { incarnation: old },
    ] {
        let taken = b.fleet.take(&name("mysql"), event, b.now, 0);
        assert_eq!((taken.ignored, taken.actions.len()), (Some(Why::OldIncarnation), 0));
    }
    assert_eq!(*b.node("mysql"), before);
}

#[test]
fn an_event_for_a_stranger_changes_nothing() {
    let mut b = stack();
    let taken = b.fleet.take(&name("stranger"), Event::Start, b.now, 0);
    assert_eq!(taken.ignored, Some(Why::UnknownNode));
}

#[test]
fn a_signal_goes_to_a_main_process_and_changes_nothing() {
    let mut b = stack().ready("mysql");
    let before = b.node("mysql").clone();
    assert_eq!(b.tell("mysql", Event::Signal(1)), ["Signal mysql #1 1"]);
    assert_eq!(*b.node("mysql"), before);
    let taken = b.fleet.take(&name("zookeeper"), Event::Signal(1), b.now, 0);
    assert_eq!(taken.ignored, Some(Why::NoProcess));
}

// ---- adoption and reload ----

fn adopted(wanted: Wanted) -> Event {
    Event::Adopted { incarnation: Incarnation(7), process: process(), wanted, restarts: 4, start_due: false }
}

#[test]
fn an_adopted_node_is_watched_and_keeps_its_number_and_counter() {
    let mut b = one(|s| s.last_incarnation = Incarnation(7));
    assert_eq!(b.tell("mysql", adopted(Wanted::Up)), ["Watch mysql #7"]);
    let node = b.node("mysql");
    assert_eq!((node.incarnation(), node.restarts(), node.wanted()), (Incarnation(7), 4, Wanted::Up));
    assert_eq!(node.state().run().unwrap().spawned, Moment(990_000), "99 000 ticks of 10 ms after boot");
    b.answers("mysql");
    assert_eq!(b.gone("mysql", Cause::Crashed), ["Prepare mysql"]);
    assert_eq!(b.node("mysql").deaths_in_a_row(), 0, "healthy: it had run for 10 s when the daemon came");
    assert_eq!(b.tell("mysql", Event::Prepared), ["Spawn mysql #8"]);
}

#[test]
fn an_adopted_node_that_is_wanted_down_goes_on_with_its_stop_in_order() {
    let mut b = stack();
    assert_eq!(b.tell("broker-1", adopted(Wanted::Down)), ["AskToStop broker-1 #7 Ordered"]);
    assert_eq!(b.tell("zookeeper", adopted(Wanted::Down)), ["Watch zookeeper #7"]);
    assert_eq!(b.gone("broker-1", Cause::Stopped), ["AskToStop zookeeper #7 Ordered"]);
}

#[test]
fn an_adopted_node_with_a_number_before_the_last_known_one_is_still_its_own() {
    let mut b = one(|s| s.last_incarnation = Incarnation(9));
    assert_eq!(b.tell("mysql", adopted(Wanted::Up)), ["Watch mysql #7"]);
    let incarnation = Incarnation(7);
    b.tell("mysql", Event::Gone { incarnation, ended: Ended { cause: Cause::Crashed, failure: None } });
    assert_eq!(b.tell("mysql", Event::Prepared), ["Spawn mysql #10"], "no number is used twice");
}

#[test]
fn a_reload_changes_settings_but_not_what_runs() {
    let mut b = Bench::all_ready();
    b.tell("zookeeper", Event::Stop);
    b.gone("zookeeper", Cause::Stopped);
    b.gone("broker-1", Cause::Crashed);
    assert_eq!(b.detail("broker-1"), "waits for zookeeper");
    let actions = b.fleet.put(spec("broker-1", &[]), b.now, 0);
    assert_eq!(said(&actions), ["Prepare broker-1"]);
    let actions = b.fleet.put(spec("broker-2", &["zookeeper", "mysql"]), b.now, 0);
    assert!(actions.is_empty());
    assert_eq!(b.detail("broker-2"), "ready: answers");
    assert_eq!(b.node("broker-1").restarts(), 1);
}

#[test]
fn only_a_node_at_rest_can_be_removed() {
    let mut b = stack().ready("mysql");
    assert!(!b.fleet.remove(&name("mysql")));
    b.tell("mysql", Event::Stop);
    assert!(!b.fleet.remove(&name("mysql")));
    b.gone("mysql", Cause::Stopped);
    assert!(b.fleet.remove(&name("mysql")));
    assert!(b.fleet.node(&name("mysql")).is_none());
    assert!(!b.fleet.remove(&name("mysql")));
}

// ---- words and order ----

#[test]
fn needs_are_transitive_and_come_in_start_order() {
    let b = bench(vec![
        spec("connect", &["broker-1", "mysql"]),
        spec("broker-1", &["zookeeper"]),
        spec("zookeeper", &[]),
        spec("mysql", &[]),
    ]);
    let needs: Vec<String> = b.fleet.needs(&name("connect")).iter().map(ToString::to_string).collect();
    assert_eq!(needs, ["zookeeper", "broker-1", "mysql"]);
    assert!(b.fleet.needs(&name("mysql")).is_empty());
    assert!(b.fleet.needs(&name("stranger")).is_empty());
}

#[test]
fn the_time_since_when_is_known_where_a_state_has_one() {
    let mut b = stack().ready("mysql");
    let ready = b.now;
    assert_eq!(b.node("mysql").since_hint(), Some(ready));
    b.pass(7);
    b.tell("mysql", Event::Stop);
    assert_eq!(b.node("mysql").since_hint(), Some(b.now), "asked just now");
    assert_eq!(b.node("zookeeper").since_hint(), None);
    let State::Stopping { reason, dying, .. } = b.state("mysql") else { panic!() };
    assert_eq!(*reason, StopReason::Ordered);
    assert_eq!(*dying, Dying::Asked { kill_at: b.now + Duration::from_secs(30) });
}

#[test]
fn a_grace_of_zero_kills_at_the_next_tick() {
    let mut b = one(|s| s.stop.grace = Duration::ZERO).ready("mysql");
    b.tell("mysql", Event::Stop);
    assert_eq!(b.until_deadline(), ["KillTree mysql #1"]);
    assert!(b.fleet.next_deadline().unwrap() > b.now);
}
