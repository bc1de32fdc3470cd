//! A world that carries out actions late, in any order, with accidents; it knows what is really alive and checks each step.
//!
//! Longer than most files: what happens and what must hold are one thing, split they would share every field.

use cdc_supervisor::base::{
    Cause, Incarnation, Moment, NodeName, Verdict,
    ids::ProcessId,
    outcome::Failure,
    recipe::{Restart, RestartWhen, Stop, WhileStarting},
};
use cdc_supervisor::lifecycle::{
    Action, BackOff, Ended, Event, Fleet, Hold, Node, NodeSpec, State, StopReason, Wait, Wanted, Why,
};
use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

/// What really is, for one node.
#[derive(Clone, Debug, Default)]
struct Truth {
    preparing: bool,
    launching: Option<Incarnation>,
    live: Option<Live>,
    /// The highest incarnation ever spawned.
    highest: Incarnation,
    /// A restart was ordered while it lived, and nothing took it back.
    bounced: bool,
    /// How its last run ended, as the state file keeps it.
    last_end: Option<Cause>,
    /// Events of runs that are over: they may come again and must change nothing.
    old: Vec<Event>,
    /// Events of the run that is not over.
    young: Vec<Event>,
}

/// A process that really lives.
#[derive(Clone, Debug)]
struct Live {
    incarnation: Incarnation,
    process: ProcessId,
    watched: bool,
    asked: bool,
    killed: bool,
    main_ended: bool,
}

/// One thing that happens, made of small random numbers.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// An order for a node.
    Order(usize, u8),
    /// Stop for all, in the order that the fleet recommends.
    StopAll,
    /// Time passes.
    Pass(u16),
    /// Time passes until a deadline is due.
    UntilDeadline,
    /// The world gets on with something for a node.
    World(usize, u8),
    /// An event of an earlier run comes again.
    Stale(usize, usize),
    /// The daemon is replaced.
    NewDaemon,
    /// Start for all, and a kind world until all rests: what follows meets a running stack.
    GoodDay,
}

pub struct World {
    pub fleet: Fleet,
    pub now: Moment,
    specs: Vec<NodeSpec>,
    names: Vec<NodeName>,
    truth: BTreeMap<NodeName, Truth>,
    dice: u64,
    /// A new daemon has not seen everything yet.
    adopting: bool,
}

pub fn spec(name: &str, after: &[&str]) -> NodeSpec {
    NodeSpec {
        name: NodeName::new(name).unwrap(),
        after: after.iter().map(|n| NodeName::new(*n).unwrap()).collect(),
        peers: Vec::new(),
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
        last_incarnation: Incarnation(0),
        restarts: 0,
        deaths_in_a_row: 0,
    }
}

/// A broker of a pair: it must not be asked to stop while it starts, and keeps copies of what the other has.
pub fn broker(name: &str, peers: &[&str]) -> NodeSpec {
    let mut spec = spec(name, &["zookeeper"]);
    spec.peers = peers.iter().map(|n| NodeName::new(*n).unwrap()).collect();
    spec.stop.while_starting = WhileStarting::Wait { price: "the next start would take long".into() };
    spec
}

pub fn failure() -> Failure {
    Failure { cause: Cause::PortTaken, what: "port 9092 is taken".into(), remedy: "stop that program".into() }
}

impl World {
    pub fn new(specs: Vec<NodeSpec>) -> Self {
        let names: Vec<NodeName> = specs.iter().map(|s| s.name.clone()).collect();
        let truth = names.iter().map(|n| (n.clone(), Truth::default())).collect();
        Self {
            fleet: Fleet::new(specs.clone()),
            now: Moment(1_000_000),
            specs,
            names,
            truth,
            dice: 42,
            adopting: false,
        }
    }

    pub fn happen(&mut self, what: Happening) {
        match what {
            Happening::Order(node, kind) => {
                let order = match kind % 8 {
                    0..=2 => Event::Start,
                    3..=4 => Event::Stop,
                    5 => Event::Restart,
                    6 => Event::KillNow,
                    _ => Event::Signal(1),
                };
                self.deliver(&self.pick(node), order);
            }
            Happening::StopAll => {
                for name in self.fleet.dependents_first(&self.names) {
                    self.deliver(&name, Event::Stop);
                }
            }
            Happening::Pass(ms) => {
                self.now = self.now + Duration::from_millis(ms.into());
                self.tick();
            }
            Happening::UntilDeadline => {
                if let Some(at) = self.fleet.next_deadline() {
                    self.now = self.now.max(at);
                    self.tick();
                }
            }
            Happening::World(node, flavour) => self.get_on(&self.pick(node), flavour),
            Happening::Stale(node, which) => {
                let name = self.pick(node);
                let old = &self.truth[&name].old;
                if !old.is_empty() {
                    let event = old[which % old.len()].clone();
                    let before: Vec<Node> = self.fleet.nodes().cloned().collect();
                    self.dice += 1;
                    let taken = self.fleet.take(&name, event.clone(), self.now, self.dice);
                    assert!(taken.actions.is_empty(), "{name}: stale {event:?} leads to {:?}", taken.actions);
                    let why = taken.ignored;
                    assert!(matches!(why, Some(Why::OldIncarnation | Why::NoProcess)), "{name}: {event:?}: {why:?}");
                    assert!(before.iter().eq(self.fleet.nodes()), "{name}: stale {event:?} changed a node");
                }
            }
            Happening::NewDaemon => self.new_daemon(),
            Happening::GoodDay => {
                for name in self.names.clone() {
                    self.deliver(&name, Event::Start);
                }
                self.be_kind();
            }
        }
    }

    fn pick(&self, n: usize) -> NodeName {
        self.names[n % self.names.len()].clone()
    }

    /// Something happens to a node in the world: an answer, a look, an accident.
    fn get_on(&mut self, name: &NodeName, flavour: u8) {
        let truth = self.truth.get_mut(name).unwrap();
        if truth.preparing {
            let event = match flavour % 8 {
                0..=3 => Event::Prepared,
                4 => Event::Held(Hold::OldSession { why: "14 s".into() }),
                5 => Event::Held(Hold::Other { why: "disk".into() }),
                6 => Event::PrepareFailed { why: "no disk".into() },
                _ => Event::Refused(failure()),
            };
            truth.preparing = matches!(event, Event::Held(_));
            self.deliver(name, event);
        } else if let Some(incarnation) = truth.launching {
            truth.launching = None;
            match flavour % 6 {
                0 => self.over(name, incarnation, Cause::Crashed, None),
                1 => self.deliver(name, Event::Refused(failure())),
                _ => self.spawned(name, incarnation),
            }
        } else if let Some(live) = &mut truth.live {
            let incarnation = live.incarnation;
            match flavour % 16 {
                0..=4 if live.watched && !live.main_ended => self.look(name, flavour / 16),
                5..=6 if live.asked || live.killed || live.main_ended => self.gone(name, Cause::Crashed, None),
                7 if !live.main_ended => {
                    live.main_ended = true;
                    self.deliver(name, Event::MainEnded { incarnation });
                }
                8 => self.deliver(name, Event::ShimLost { incarnation }),
                9 => self.gone(name, Cause::Crashed, None),
                10 => self.gone(name, Cause::Completed, None),
                11 => self.gone(name, Cause::OldSession, None),
                12 => self.gone(name, Cause::PortTaken, Some(failure())),
                13 => self.gone(name, Cause::DiskFull, None),
                14 => self.gone(name, Cause::ShimLost, None),
                _ => {}
            }
        }
    }

    fn spawned(&mut self, name: &NodeName, incarnation: Incarnation) {
        let process = process(incarnation, self.now);
        let live = Live {
            incarnation,
            process: process.clone(),
            watched: false,
            asked: false,
            killed: false,
            main_ended: false,
        };
        self.truth.get_mut(name).unwrap().live = Some(live);
        self.deliver(name, Event::Spawned { incarnation, process });
    }

    fn look(&mut self, name: &NodeName, flavour: u8) {
        let Some(live) = &self.truth[name].live else { return };
        let incarnation = live.incarnation;
        let verdict = match flavour % 5 {
            0 | 1 => Verdict::Ready("answers".into()),
            2 => Verdict::Degraded("not in the ISR".into()),
            3 => Verdict::not_ready("refused"),
            _ => Verdict::NotReady { why: "recovers".into(), progress: Some(self.now.0.to_string()) },
        };
        self.deliver(name, Event::Probed { incarnation, verdict });
    }

    /// The tree ends; when we asked for it, the cause says so.
    fn gone(&mut self, name: &NodeName, cause: Cause, failure: Option<Failure>) {
        let Some(live) = self.truth.get_mut(name).unwrap().live.take() else { return };
        let (cause, failure) = match (live.killed, live.asked) {
            (true, _) => (Cause::KilledAfterGrace, None),
            (false, true) => (Cause::Stopped, None),
            (false, false) => (cause, failure),
        };
        self.over(name, live.incarnation, cause, failure);
    }

    fn over(&mut self, name: &NodeName, incarnation: Incarnation, cause: Cause, failure: Option<Failure>) {
        self.deliver(name, Event::Gone { incarnation, ended: Ended { cause, failure } });
        let truth = self.truth.get_mut(name).unwrap();
        let young = std::mem::take(&mut truth.young);
        truth.old.extend(young);
    }

    /// The daemon dies and another adopts what lives; launches under way come to life meanwhile.
    fn new_daemon(&mut self) {
        let wanted: BTreeMap<NodeName, (Wanted, u32)> =
            self.fleet.nodes().map(|n| (n.name().clone(), (n.wanted(), n.restarts()))).collect();
        let due: BTreeMap<NodeName, bool> = self.fleet.nodes().map(|n| (n.name().clone(), n.start_is_due())).collect();
        let mut failed: BTreeMap<NodeName, Failure> =
            self.fleet.nodes().filter_map(|n| Some((n.name().clone(), n.failure()?.clone()))).collect();
        for spec in &mut self.specs {
            let node = self.fleet.node(&spec.name).unwrap();
            spec.last_incarnation = node.incarnation();
            spec.restarts = node.restarts();
            spec.deaths_in_a_row = node.deaths_in_a_row();
        }
        self.fleet = Fleet::new(self.specs.clone());
        self.adopting = true;
        for name in self.fleet.dependents_first(&self.names) {
            let truth = self.truth.get_mut(&name).unwrap();
            truth.preparing = false;
            truth.bounced = false;
            if let Some(incarnation) = truth.launching.take() {
                let process = process(incarnation, self.now);
                let (watched, asked, killed, main_ended) = (false, false, false, false);
                truth.live = Some(Live { incarnation, process, watched, asked, killed, main_ended });
            }
            if let Some(live) = &mut truth.live {
                (live.watched, live.asked, live.killed) = (false, false, false);
                let (wanted, restarts) = wanted[&name];
                let (incarnation, process) = (live.incarnation, live.process.clone());
                let start_due = due[&name];
                truth.bounced = start_due;
                self.deliver(&name, Event::Adopted { incarnation, process, wanted, restarts, start_due });
            }
        }
        self.adopting = false;
        for name in self.names.clone() {
            if wanted[&name].0 == Wanted::Up && self.truth[&name].live.is_none() {
                let ended = self.truth[&name].last_end;
                let failure = failed.remove(&name);
                let had_failed = failure.is_some();
                let start_due = due[&name];
                self.deliver(&name, Event::Resumed { ended, failure, start_due });
                let down = matches!(self.fleet.node(&name).unwrap().state(), State::Down { .. });
                assert!(!start_due || !down, "{name}: a new daemon has forgotten an ordered start");
                let stays = matches!(self.fleet.node(&name).unwrap().state(), State::Failed { .. });
                assert!(stays || !had_failed, "{name}: a new daemon has started what had failed");
            }
        }
    }

    pub fn tick(&mut self) {
        // A late start that is asked to stop without any grace is due again at once.
        for _ in 0..2 {
            let before = self.fleet.clone();
            self.dice += 1;
            let actions = self.fleet.tick(self.now, self.dice);
            self.absorb(&before, &actions, None);
            self.check(&before, None);
        }
        if let Some(next) = self.fleet.next_deadline() {
            assert!(next > self.now, "a deadline of {next:?} is left behind at {:?}", self.now);
        }
    }

    pub fn deliver(&mut self, name: &NodeName, event: Event) {
        let before = self.fleet.clone();
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let taken = self.fleet.take(name, event.clone(), self.now, self.dice);
        let last_end = self.fleet.node(name).unwrap().last_end();
        assert!(taken.ignored.is_none() || taken.actions.is_empty(), "{name}: {event:?} is ignored but acts");
        let truth = self.truth.get_mut(name).unwrap();
        truth.last_end = last_end.or(truth.last_end);
        match &event {
            Event::Restart => truth.bounced = truth.live.is_some() || truth.launching.is_some(),
            Event::Stop | Event::KillNow | Event::Refused(_) => truth.bounced = false,
            Event::Gone { .. } if std::mem::take(&mut truth.bounced) => {
                let (old, new) = (before.node(name).unwrap(), self.fleet.node(name).unwrap());
                let begun = matches!(new.state(), State::Preparing { .. } | State::Waiting(Wait::Dependencies(_)));
                assert!(begun, "{name}: a restart by order does not start again: {new:?}");
                assert_eq!(old.restarts(), new.restarts(), "{name}: a restart by order is counted");
            }
            _ => {}
        }
        if is_of_a_run(&event) {
            self.truth.get_mut(name).unwrap().young.push(event.clone());
        }
        self.absorb(&before, &taken.actions, Some((name, &event)));
        self.check(&before, Some((name, &event)));
    }

    /// Notes what is to be done, and that it may be done.
    fn absorb(&mut self, before: &Fleet, actions: &[Action], trigger: Option<(&NodeName, &Event)>) {
        let prepared = matches!(trigger, Some((_, Event::Prepared)));
        let by_force = matches!(
            trigger,
            Some((_, Event::KillNow | Event::Spawned { .. } | Event::ShimLost { .. } | Event::MainEnded { .. }))
        );
        for action in actions {
            let name = target(action).clone();
            let from_itself = trigger.is_none_or(|(by, _)| *by == name);
            let node = self.fleet.node(&name).unwrap().clone();
            let waits_for: Vec<_> = node.after().iter().filter(|n| !serves(&self.fleet, n)).collect();
            let held_by: Vec<&NodeName> = self
                .fleet
                .nodes()
                .filter(|d| d.after().contains(&name) && d.wanted() == Wanted::Down)
                .map(Node::name)
                .filter(|d| self.truth[*d].live.is_some() || self.truth[*d].launching.is_some())
                .collect();
            let spec = self.specs.iter().find(|s| s.name == name).unwrap();
            let away: Vec<&NodeName> = spec
                .peers
                .iter()
                .filter(|p| {
                    let peer = self.fleet.node(p).unwrap();
                    peer.wanted() == Wanted::Up && !matches!(peer.state(), State::Ready { .. })
                })
                .collect();
            let what = Told(|| format!("{action:?} after {trigger:?}"));
            let held = !held_by.is_empty();
            let truth = self.truth.get_mut(&name).unwrap();
            let live_is = |live: &Option<Live>, i: Incarnation| live.as_ref().is_some_and(|l| l.incarnation == i);
            match action {
                Action::Prepare { .. } => {
                    assert!(!truth.preparing, "{what}: two preparations");
                    assert!(truth.launching.is_none() && truth.live.is_none(), "{what}: prepares a living node");
                    assert!(waits_for.is_empty(), "{what}: {waits_for:?} do not serve");
                    truth.preparing = true;
                }
                Action::CancelPrepare { .. } => {
                    assert!(truth.preparing, "{what}: nothing to cancel");
                    truth.preparing = false;
                }
                Action::Spawn { incarnation, .. } => {
                    assert!(prepared && from_itself, "{what}: a launch without a finished preparation");
                    assert!(truth.launching.is_none() && truth.live.is_none(), "{what}: two live runs");
                    assert!(waits_for.is_empty(), "{what}: {waits_for:?} do not serve");
                    assert!(*incarnation > truth.highest, "{what}: incarnation used twice");
                    truth.highest = *incarnation;
                    truth.launching = Some(*incarnation);
                }
                Action::Watch { incarnation, .. } => {
                    assert!(live_is(&truth.live, *incarnation), "{what}: watches nothing");
                    truth.live.as_mut().unwrap().watched = true;
                }
                Action::AskToStop { incarnation, reason, .. } => {
                    assert!(live_is(&truth.live, *incarnation), "{what}: asks nobody");
                    let replaced = *reason == StopReason::ShimLost;
                    let out_of_order = held && node.wanted() == Wanted::Down && !replaced;
                    assert!(!out_of_order, "{what}: {held_by:?} still live");
                    let free = node.wanted() == Wanted::Down || from_itself || replaced;
                    assert!(free, "{what}: stopped for another's sake");
                    let old = before.node(&name).unwrap();
                    let starting = matches!(old.state(), State::Starting { run: Some(_), .. });
                    let protected = matches!(spec.stop.while_starting, WhileStarting::Wait { .. });
                    let serves_or_late = matches!(
                        trigger,
                        None | Some((_, Event::Probed { verdict: Verdict::Ready(_) | Verdict::Degraded(_), .. }))
                    );
                    assert!(!(starting && protected) || serves_or_late, "{what}: asked during its start-up");
                    let stopping = matches!(old.state(), State::Stopping { .. });
                    if replaced && node.wanted() == Wanted::Up && !stopping && !truth.bounced {
                        assert!(away.is_empty(), "{what}: replaced while {away:?} are away");
                    }
                    truth.live.as_mut().unwrap().asked = true;
                }
                Action::KillTree { incarnation, .. } => {
                    assert!(live_is(&truth.live, *incarnation), "{what}: kills nobody");
                    assert!(from_itself, "{what}: killed for another's sake");
                    let stopping = matches!(before.node(&name).unwrap().state(), State::Stopping { .. });
                    assert!(stopping || by_force, "{what}: killed without being asked first");
                    truth.live.as_mut().unwrap().killed = true;
                }
                Action::Signal { incarnation, .. } => {
                    assert!(live_is(&truth.live, *incarnation), "{what}: signals nobody");
                }
            }
        }
    }

    /// What must hold between any two steps.
    fn check(&self, before: &Fleet, trigger: Option<(&NodeName, &Event)>) {
        for node in self.fleet.nodes() {
            let name = node.name();
            let old = before.node(name).unwrap();
            let own = trigger.filter(|(by, _)| *by == name).map(|(_, event)| event);
            let what = Told(|| format!("{name}: {old:?} -> {node:?} after {trigger:?}"));

            if !self.adopting {
                self.check_sight(node, &what);
            }

            let order = matches!(own, Some(Event::Start | Event::Stop | Event::Restart | Event::KillNow));
            if matches!(old.state(), State::Failed { .. }) {
                assert!(order || matches!(node.state(), State::Failed { .. }), "{what}: left failed by itself");
            }
            let adopted = matches!(own, Some(Event::Adopted { .. }));
            let resumed = matches!(own, Some(Event::Resumed { .. }));
            assert!(order || adopted || resumed || old.wanted() == node.wanted(), "{what}: wanted changed by itself");
            assert!(node.incarnation() >= old.incarnation(), "{what}: incarnation went back");

            if !adopted {
                let more = node.restarts() - old.restarts();
                let may = matches!(own, Some(Event::Gone { .. })) || trigger.is_none() || resumed;
                assert!(more == 0 || more == 1 && may, "{what}: restarts");
            }
            let died = matches!(own, Some(Event::Gone { .. } | Event::PrepareFailed { .. }));
            let (was, is) = (old.deaths_in_a_row(), node.deaths_in_a_row());
            assert!(is == was || is == 0 && (order || died) || is == was + 1 && died, "{what}: deaths");

            if let State::Waiting(Wait::BackOff { until, attempt, .. }) = node.state()
                && old.state() != node.state()
            {
                let restart = &self.specs.iter().find(|s| s.name == *name).unwrap().restart;
                let bounds = BackOff::of(restart);
                assert!((bounds.min()..=bounds.max()).contains(&until.since(self.now)), "{what}: pause");
                assert!(*attempt >= 1, "{what}: pauses are counted from 1");
            }
            let words = node.detail(self.now);
            assert!(!words.is_empty() && !words.contains('\n'), "{what}: {words:?}");
        }
    }

    /// The fleet sees exactly what there is.
    fn check_sight(&self, node: &Node, what: &impl Display) {
        let truth = &self.truth[node.name()];
        let shown = node.state().run().map(|run| run.incarnation);
        assert_eq!(shown, truth.live.as_ref().map(|l| l.incarnation), "{what}: not what really lives");
        let launching = matches!(node.state(), State::Starting { run: None, .. });
        assert_eq!(launching, truth.launching.is_some(), "{what}: launch out of sight");
        let preparing = matches!(
            node.state(),
            State::Preparing { .. } | State::Waiting(Wait::OldSession { .. } | Wait::Held { .. })
        );
        assert_eq!(preparing, truth.preparing, "{what}: preparation out of sight");
    }

    /// From now on the world is kind: every action is answered well, until nothing happens any more.
    pub fn be_kind(&mut self) {
        for _ in 0..2_000 {
            let mut quiet = true;
            for name in self.names.clone() {
                let truth = self.truth.get_mut(&name).unwrap();
                if truth.preparing {
                    truth.preparing = false;
                    self.deliver(&name, Event::Prepared);
                } else if let Some(incarnation) = truth.launching.take() {
                    self.spawned(&name, incarnation);
                } else if let Some(live) = &truth.live {
                    if live.asked || live.killed || live.main_ended {
                        self.gone(&name, Cause::Crashed, None);
                    } else if live.watched && !matches!(self.fleet.node(&name).unwrap().state(), State::Ready { .. }) {
                        self.look(&name, 0);
                    } else {
                        continue;
                    }
                } else {
                    continue;
                }
                quiet = false;
            }
            if quiet {
                let Some(at) = self.fleet.next_deadline() else { return };
                self.now = self.now.max(at);
                self.tick();
            }
        }
        panic!("no rest after 2000 rounds: {:?}", self.fleet);
    }

    /// Where a kind world must have led.
    pub fn check_rest(&self) {
        for node in self.fleet.nodes() {
            let truth = &self.truth[node.name()];
            match node.wanted() {
                Wanted::Down => {
                    assert!(matches!(node.state(), State::Down { .. }), "wanted down: {node:?}");
                    assert!(truth.live.is_none() && truth.launching.is_none() && !truth.preparing, "{node:?}");
                }
                Wanted::Up => match node.state() {
                    State::Ready { .. } | State::Failed { .. } => {}
                    State::Waiting(Wait::Dependencies(names)) => {
                        assert!(!names.is_empty(), "waits for nothing: {node:?}");
                        assert!(!names.iter().any(|n| serves(&self.fleet, n)), "waits for a serving node: {node:?}");
                    }
                    State::Down { last } => {
                        let when = self.specs.iter().find(|s| s.name == *node.name()).unwrap().restart.when;
                        assert!(when != RestartWhen::Always && last.is_some(), "down by itself: {node:?}");
                    }
                    State::Waiting(_)
                    | State::Preparing { .. }
                    | State::Starting { .. }
                    | State::Degraded { .. }
                    | State::Stopping { .. } => panic!("no rest: {node:?}"),
                },
            }
        }
    }
}

/// Words that are made only when a check fails: each step has many checks.
struct Told<F>(F);

impl<F: Fn() -> String> Display for Told<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0())
    }
}

fn process(incarnation: Incarnation, now: Moment) -> ProcessId {
    ProcessId { pid: i32::try_from(incarnation.0).unwrap(), start_ticks: now.0 / 10, boot_id: "boot".into() }
}

fn serves(fleet: &Fleet, name: &NodeName) -> bool {
    fleet.node(name).is_some_and(|n| n.state().serves())
}

fn is_of_a_run(event: &Event) -> bool {
    matches!(
        event,
        Event::Spawned { .. }
            | Event::Probed { .. }
            | Event::MainEnded { .. }
            | Event::Gone { .. }
            | Event::ShimLost { .. }
    )
}

fn target(action: &Action) -> &NodeName {
    match action {
        Action::Prepare { node }
        | Action::CancelPrepare { node }
        | Action::Spawn { node, .. }
        | Action::Watch { node, .. }
        | Action::AskToStop { node, .. }
        | Action::KillTree { node, .. }
        | Action::Signal { node, .. } => node,
    }
}
