//! The rules of the machine one by one, on the smallest fleet that shows them.

use crate::world::{failure, spec};
use cdc_supervisor::base::{
    Cause, Incarnation, Moment, NodeName, Verdict, ids::ProcessId, outcome::Failure, recipe::RestartWhen,
};
use cdc_supervisor::lifecycle::{
    Action, Dying, Ended, Event, Fleet, Hold, Node, NodeSpec, State, StopReason, Wait, Wanted, Why,
};
use std::time::Duration;

/// A fleet with a clock that a test moves; events are told by node name.
struct Bench {
    fleet: Fleet,
    now: Moment,
}

/// `zookeeper`, `broker-1` and `broker-2` after it, `mysql` alone.
fn stack() -> Bench {
    bench(vec![
        spec("zookeeper", &[]),
        spec("broker-1", &["zookeeper"]),
        spec("broker-2", &["zookeeper"]),
        spec("mysql", &[]),
    ])
}

fn bench(specs: Vec<NodeSpec>) -> Bench {
    Bench { fleet: Fleet::new(specs), now: Moment(1_000_000) }
}

fn one(change: impl FnOnce(&mut NodeSpec)) -> Bench {
    let mut only = spec("mysql", &[]);
    change(&mut only);
    bench(vec![only])
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// `Prepare zookeeper`, `Spawn broker-1 #3`, in order.
fn said(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .map(|a| match a {
            Action::Prepare { node } => format!("Prepare {node}"),
            Action::CancelPrepare { node } => format!("CancelPrepare {node}"),
            Action::Spawn { node, incarnation } => format!("Spawn {node} #{incarnation}"),
            Action::Watch { node, incarnation } => format!("Watch {node} #{incarnation}"),
            Action::AskToStop { node, incarnation, reason } => format!("AskToStop {node} #{incarnation} {reason:?}"),
            Action::KillTree { node, incarnation } => format!("KillTree {node} #{incarnation}"),
            Action::Signal { node, incarnation, signal } => format!("Signal {node} #{incarnation} {signal}"),
        })
        .collect()
}

impl Bench {
    fn tell(&mut self, node: &str, event: Event) -> Vec<String> {
        said(&self.fleet.handle(&name(node), event, self.now, 0))
    }

    fn node(&self, node: &str) -> &Node {
        self.fleet.node(&name(node)).unwrap()
    }

    fn state(&self, node: &str) -> &State {
        self.node(node).state()
    }

    fn detail(&self, node: &str) -> String {
        self.node(node).detail(self.now)
    }

    fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        said(&self.fleet.tick(self.now, 0))
    }

    fn until_deadline(&mut self) -> Vec<String> {
        self.now = self.fleet.next_deadline().expect("a deadline");
        said(&self.fleet.tick(self.now, 0))
    }

    fn spawned(&mut self, node: &str) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::Spawned { incarnation, process: process() })
    }

    fn probed(&mut self, node: &str, verdict: Verdict) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::Probed { incarnation, verdict })
    }

    fn answers(&mut self, node: &str) -> Vec<String> {
        self.probed(node, Verdict::Ready("answers".into()))
    }

    fn silent(&mut self, node: &str) -> Vec<String> {
        self.probed(node, Verdict::not_ready("refused"))
    }

    fn gone(&mut self, node: &str, cause: Cause) -> Vec<String> {
        self.gone_with(node, cause, None)
    }

    fn gone_with(&mut self, node: &str, cause: Cause, failure: Option<Failure>) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::Gone { incarnation, ended: Ended { cause, failure } })
    }

    fn shim_lost(&mut self, node: &str) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::ShimLost { incarnation })
    }

    fn main_ended(&mut self, node: &str) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::MainEnded { incarnation })
    }

    /// From wherever it is to launched.
    fn launched(mut self, node: &str) -> Self {
        if self.node(node).wanted() == Wanted::Down {
            self.tell(node, Event::Start);
        }
        self.tell(node, Event::Prepared);
        self.spawned(node);
        self
    }

    fn ready(self, node: &str) -> Self {
        let mut bench = self.launched(node);
        bench.answers(node);
        bench
    }

    fn all_ready() -> Self {
        stack().ready("zookeeper").ready("broker-1").ready("broker-2").ready("mysql")
    }

    /// Launches it again and lets it die after `seconds` without ever being ready.
    fn dies_young(&mut self, node: &str, seconds: u64) -> Vec<String> {
        self.tell(node, Event::Prepared);
        self.spawned(node);
        self.now = self.now + Duration::from_secs(seconds);
        self.gone(node, Cause::Crashed)
    }
}

fn process() -> ProcessId {
    ProcessId { pid: 4711, start_ticks: 99_000, boot_id: "boot".into() }
}

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
    Event::Adopted { incarnation: Incarnation(7), process: process(), wanted, restarts: 4 }
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
