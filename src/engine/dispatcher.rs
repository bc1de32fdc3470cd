//! The one loop: takes orders, happenings and deadlines, asks the machine, has its actions done, publishes the state.
//!
//! Past 500 lines: orders, happenings and the turn itself all change the one state that the loop owns.

use super::{
    actions, adopt,
    change::Change,
    derive,
    disk::Guard,
    fence,
    groups::Groups,
    identity::{self, Identities},
    incidents::{Incidents, Obituary},
    journal::Journal,
    limits::Limits,
    node::{Asked, Happening, NodeRuntime, SeenRun},
    orders::{EngineOrder, Goal, Handle, OrderReply, Ordered, Progress, Rejection, Ticket},
    orphan_stops::OrphanStops,
    persist::{Failed, NodeState, Writer},
    reserve::Reserve,
    rounds::{self, Rounds},
    snapshot::{LastExit, NodeSnapshot, Snapshot, lacks, note_times},
    still::StillRequest,
    verdict::{Case, Verdict},
};
use crate::{
    base::{
        Cause, EventKind, EventLine, ExitRecord, ExitStatus, Incarnation, Layout, Moment, NodeName, Reason,
        outcome::Failure, recipe::Recipe,
    },
    lifecycle::{Action, Ended, Event, Fleet, Node, NodeSpec, State, Wanted},
    services,
    sys::{cgroup::CgroupRoot, children, clock, error::SysError, failpoint::fail_point, process},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc, oneshot, watch},
};

/// What an engine is made of.
#[derive(Debug)]
pub struct Settings {
    /// The root.
    pub layout: Layout,
    /// The nodes, in start order.
    pub recipes: Vec<Recipe>,
    /// Shims that wait for an order, and how others are started.
    pub reserve: Arc<Reserve>,
    /// Where nodes get their cgroups; none: caps are not enforced.
    pub cgroup: Option<CgroupRoot>,
    /// Nodes wanted up from the start; none: all.
    pub only: Option<BTreeSet<NodeName>>,
    /// A daemon ended without an ordered stop: what the state files say it wanted of each node still holds.
    pub restore_wishes: bool,
    /// Where events go.
    pub journal: Journal,
    /// What says whether nodes' data have room.
    pub disk: Arc<Guard>,
}

/// What an order is waited for, and what it has done when that is reached.
pub(super) type Waited = (BTreeMap<NodeName, Goal>, String);

/// All nodes under one dispatcher.
#[derive(Debug)]
pub struct Engine {
    pub(super) layout: Layout,
    pub(super) cgroup: Option<CgroupRoot>,
    pub(super) groups: Groups,
    pub(super) limits: Option<Limits>,
    pub(super) rounds: Rounds,
    pub(super) fleet: Fleet,
    pub(super) nodes: BTreeMap<NodeName, NodeRuntime>,
    pub(super) order: Vec<NodeName>,
    pub(super) sink: mpsc::UnboundedSender<(NodeName, Happening)>,
    happenings: mpsc::UnboundedReceiver<(NodeName, Happening)>,
    pub(super) orders: mpsc::Receiver<Ordered>,
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(super) tickets: Vec<Ticket>,
    pub(super) writer: Writer,
    pub(super) ending: bool,
    stills: mpsc::Receiver<StillRequest>,
    pub(super) still_wanted: Option<StillRequest>,
    pub(super) journal: Journal,
    pub(super) disk: Arc<Guard>,
    pub(super) identities: Arc<Identities>,
    pub(super) incidents: Incidents,
    pub(super) orphan_stops: OrphanStops,
    child_ended: Signal,
    pub(super) reserve: Arc<Reserve>,
    /// Nodes that something has happened to in this turn: only these are looked at after it.
    touched: BTreeSet<NodeName>,
    /// When all were looked at last.
    refreshed: Option<Moment>,
    pub(super) shown: BTreeMap<NodeName, Arc<NodeSnapshot>>,
}

/// How old the times in other nodes' details (`starts since 3 s`) may get while turns follow each other. All nodes in every
/// turn would be quadratic: two hundred that start make a thousand turns.
const REFRESH: Duration = Duration::from_millis(100);

impl Engine {
    /// Adopts what runs under this root, then wants up what shall run. The returned handle is the only door.
    pub async fn start(settings: Settings) -> std::io::Result<(Self, Handle)> {
        let Settings { layout, recipes, reserve, cgroup, only, restore_wishes, journal, disk } = settings;
        let (sink, happenings) = mpsc::unbounded_channel();
        let (order_sender, orders) = mpsc::channel(64);
        let (still_sender, stills) = mpsc::channel(1);
        let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let found = adopt::look(&layout, &recipes).await;
        let incidents = Incidents::open(&layout);
        let specs = recipes.iter().map(|r| spec(r, found.node(&r.node), restore_wishes)).collect();
        let now = clock::wall();
        let order: Vec<NodeName> = recipes.iter().map(|r| r.node.clone()).collect();
        let nodes = recipes.into_iter().map(|r| (r.node.clone(), NodeRuntime::new(r, now))).collect();
        let mut engine = Self {
            fleet: Fleet::new(specs),
            nodes,
            order,
            sink,
            happenings,
            orders,
            snapshot,
            tickets: Vec::new(),
            writer: Writer::start(layout.clone()),
            identities: Arc::new(Identities::open(&layout, journal.clone())),
            journal,
            disk,
            incidents,
            layout,
            reserve,
            limits: cgroup.clone().map(Limits::new),
            cgroup,
            rounds: Rounds::default(),
            groups: Groups::default(),
            ending: false,
            stills,
            still_wanted: None,
            orphan_stops: OrphanStops::default(),
            child_ended: signal(SignalKind::child())?,
            touched: BTreeSet::new(),
            refreshed: None,
            shown: BTreeMap::new(),
        };
        adopt::take(&mut engine, found, restore_wishes, only.as_ref());
        engine.settle();
        let handle = Handle {
            orders: order_sender,
            reason: Reason::ByHand,
            snapshot: snapshots,
            stills: still_sender,
            layout: engine.layout.clone(),
            limits: engine.limits.clone(),
            journal: engine.journal.clone(),
            identities: Arc::clone(&engine.identities),
        };
        Ok((engine, handle))
    }

    /// Runs until everything was ordered down and is gone. `pulse` is called on every turn and at least once a second
    /// when a watchdog wants it: it proves that this loop turns. `stirred`: there is something for `pulse` that no node tells of.
    pub async fn run(
        mut self,
        mut pulse: impl FnMut(&Snapshot) + Send,
        pulse_every: Option<Duration>,
        stirred: &'static Notify,
    ) {
        let far = Duration::from_secs(3600);
        // a daemon that adopted everything has started none
        self.reserve.fill(1);
        loop {
            if self.ending && self.nodes.values().all(|n| n.link.is_none()) && self.all_down() {
                break;
            }
            let next = [
                self.fleet.next_deadline(),
                self.groups.deadline(),
                self.nodes.values().filter_map(|n| n.case.as_ref()).map(|case| case.until()).min(),
                self.still_wanted.as_ref().map(StillRequest::until),
                self.rounds
                    .deadline(self.limits.is_some() && self.nodes.values().any(|n| n.link.is_some()), clock::now()),
            ];
            let deadline = next.into_iter().flatten().min().map_or(far, |at| at.since(clock::now()));
            tokio::select! {
                Some((node, what)) = self.happenings.recv() => {
                    self.happened(&node, what);
                    // whatever else is already there belongs to the same turn
                    while let Ok((node, what)) = self.happenings.try_recv() {
                        self.happened(&node, what);
                    }
                }
                Some((order, reason, reply)) = self.orders.recv() => {
                    self.refreshed = None;
                    self.ordered(order, reason, reply);
                }
                Some(request) = self.stills.recv(), if self.still_wanted.is_none() => self.still_wanted = Some(request),
                _ = self.child_ended.recv() => {
                    children::reap_orphans();
                    self.reserve.look();
                }
                () = tokio::time::sleep(deadline) => {
                    let actions = self.fleet.tick(clock::now(), rand::random());
                    self.act(actions);
                }
                () = tokio::time::sleep(pulse_every.unwrap_or(far)) => {}
                () = stirred.notified() => {}
            }
            self.groups.look(self.cgroup.as_ref());
            self.judge_overdue();
            self.settle();
            rounds::turn(&mut self);
            pulse(&self.snapshot.borrow());
            self.maybe_hold_still(&mut pulse, pulse_every).await;
        }
        self.reserve.close();
        self.writer.finish();
        for ticket in self.tickets.drain(..) {
            // A client that hung up does not hear it; the order was carried out all the same.
            let _ = ticket.reply.send(Ok(vec![ticket.done]));
        }
        self.journal.note(EventLine::new(EventKind::DaemonEnded, "all nodes are down; the daemon ends"));
        let (journal, groups, root) = (self.journal.clone(), std::mem::take(&mut self.groups), self.cgroup.clone());
        // The last events wait for the disk off this thread, and not for long.
        let _ = tokio::task::spawn_blocking(move || {
            journal.flush();
            if let Some(root) = root {
                groups.finish(&root);
            }
        })
        .await;
    }

    /// Has this done when the state files say what was wanted of each node until now; again later while it fails.
    pub fn when_written(&self, what: impl FnMut() -> Result<(), SysError> + Send + 'static) {
        self.writer.when_written(Box::new(what));
    }

    /// Has this done when everything is ordered down, before a state file says so of any node.
    pub fn when_ending(&self, what: impl FnMut() -> Result<(), SysError> + Send + 'static) {
        self.writer.at_end(Box::new(what));
    }

    fn all_down(&self) -> bool {
        self.fleet.nodes().all(|n| matches!(n.state(), State::Down { .. } | State::Failed { .. }))
            && self.orphan_stops.nodes().is_empty()
    }

    /// Hands an event to the machine and has its actions done.
    pub(super) fn event(&mut self, node: &NodeName, event: Event) {
        let actions = self.fleet.handle(node, event, clock::now(), rand::random());
        self.act(actions);
    }

    pub(super) fn act(&mut self, actions: Vec<Action>) {
        self.touched.extend(self.fleet.take_changed());
        for action in actions {
            actions::perform(self, action);
        }
    }

    /// After a turn: times, state files, snapshot, tickets.
    pub(super) fn settle(&mut self) {
        let now = clock::now();
        // Somebody has to look at the wall clock while it is wrong, or a step there and back is never seen.
        clock::steady_since();
        let mut touched = std::mem::take(&mut self.touched);
        if self.refreshed.is_none_or(|at| now.since(at) >= REFRESH) {
            self.refreshed = Some(now);
            touched.extend(self.order.iter().cloned());
        }
        let same =
            |shown: &Snapshot| shown.ending == self.ending && shown.nodes.iter().map(|n| &n.name).eq(self.order.iter());
        let mut news = !same(&self.snapshot.borrow());
        let mut registered_anew = Vec::new();
        for name in &touched {
            let (Some(node), Some(runtime)) = (self.fleet.node(name), self.nodes.get_mut(name)) else { continue };
            let (served, degraded) = (runtime.ready_since.is_some(), runtime.word == "degraded");
            note_times(node, runtime, now);
            let serves_now = !served && runtime.ready_since.is_some();
            if serves_now && !runtime.recipe.prepare.is_empty() {
                let (identities, recipe) = (Arc::clone(&self.identities), Arc::clone(&runtime.recipe));
                let name = name.clone();
                // Nobody waits for it: it is learned again at the next start.
                tokio::task::spawn_blocking(move || identity::learn(&identities, &name, &recipe));
            }
            // One that was held up for longer than its session has another since.
            if serves_now || degraded && matches!(node.state(), State::Ready { .. }) {
                registered_anew.push(name.clone());
            }
            let shown = NodeSnapshot::of(node, runtime, lacks(node, &self.fleet), now);
            if self.shown.get(name).is_none_or(|old| **old != shown) {
                news = true;
                self.shown.insert(name.clone(), Arc::new(shown));
            }
            self.writer.save(
                name,
                NodeState {
                    wanted_up: node.wanted() == Wanted::Up,
                    incarnation: node.incarnation(),
                    restarts: node.restarts(),
                    restart_due: node.restart_is_due(),
                    start_due: node.start_is_due(),
                    deaths_in_a_row: node.deaths_in_a_row(),
                    process: runtime.process.clone(),
                    ready_since: runtime.ready_since,
                    last_exit: runtime.last_exit.clone(),
                    launched: runtime.launched_digest.clone(),
                    zookeeper_session: runtime.registered,
                    log_start: runtime.log.start(),
                    failed: node.failure().map(|f| Box::new(Failed { since: runtime.since, failure: f.clone() })),
                    ..NodeState::default()
                },
            );
        }
        for name in registered_anew {
            fence::learn_session(self, &name);
        }
        let before = self.snapshot.borrow().clone();
        let next = if news {
            let nodes = self.order.iter().filter_map(|name| self.shown.get(name).cloned()).collect();
            Arc::new(Snapshot { nodes, ending: self.ending })
        } else {
            Arc::clone(&before)
        };
        if news {
            for event in derive::events(&before, &next) {
                self.journal.note(event);
            }
        }
        let ended = self.nodes.iter_mut().filter(|(_, n)| !n.obituaries.is_empty());
        let ended = ended.map(|(name, n)| (name.clone(), std::mem::take(&mut n.obituaries))).collect();
        let nodes = &self.nodes;
        let recipe = |name: &NodeName| nodes.get(name).map(|n| n.recipe.clone());
        self.incidents.turn(&before, &next, ended, recipe, clock::wall(), &self.journal);
        if news {
            self.snapshot.send_replace(next);
        }
        let (fleet, stops) = (&self.fleet, &self.orphan_stops);
        let (open, closed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tickets)
            .into_iter()
            .map(|t| (t.judge(fleet, stops, now), t))
            .partition(|(progress, _)| *progress == Progress::Open);
        self.tickets = open.into_iter().map(|(_, t)| t).collect();
        for (progress, ticket) in closed {
            let answer = match progress {
                Progress::Failed(why) => Err(Rejection::NotReady(why)),
                Progress::Refused(why) => Err(Rejection::Unsafe(why)),
                Progress::Done | Progress::Open => Ok(vec![ticket.done]),
            };
            // Not before the state files say what was ordered: the next daemon goes by them, however soon this one is killed. A client
            // that hung up does not hear it; the order was carried out all the same.
            self.writer.when_tried(|_| drop(ticket.reply.send(answer)));
        }
    }

    pub(super) fn ordered(&mut self, order: EngineOrder, reason: Reason, reply: oneshot::Sender<OrderReply>) {
        if let EngineOrder::Fence { node } = &order {
            return fence::by_hand(self, node, reply);
        }
        match self.carry_out(order, reason) {
            Ok(Some((goals, done))) => self.tickets.push(Ticket { goals, done, reply }),
            // A client that hung up does not hear it.
            Ok(None) => drop(reply.send(Ok(Vec::new()))),
            Err(rejection) => drop(reply.send(Err(rejection))),
        }
    }

    fn carry_out(&mut self, order: EngineOrder, reason: Reason) -> Result<Option<Waited>, Rejection> {
        if self.ending && !matches!(order, EngineOrder::Down { .. }) {
            return Err(Rejection::NotNow("the supervisor is on its way down".into()));
        }
        match order {
            EngineOrder::Start { nodes, with_needs } => {
                let mut wanted = self.known(nodes)?;
                for name in wanted.clone() {
                    for need in self.fleet.needs(&name) {
                        let up = self.fleet.node(&need).is_some_and(|n| n.wanted() == Wanted::Up);
                        if with_needs {
                            wanted.insert(need);
                        } else if !up && !wanted.contains(&need) {
                            return Err(Rejection::NotNow(format!("{name} needs {need}, which is wanted down")));
                        }
                    }
                }
                let names = self.in_start_order(&wanted);
                self.note_reason(&names, reason);
                for name in &names {
                    self.event(name, Event::Start);
                }
                let goals = names.iter().map(|n| (n.clone(), Goal::ServesAfter(Incarnation::default()))).collect();
                Ok(Some((goals, format!("started {}", list(&names)))))
            }
            EngineOrder::Stop { nodes, now } => {
                let mut names = self.in_start_order(&self.known(nodes)?);
                // Dependents first: a node waits only for dependents that are already wanted down.
                names.reverse();
                self.note_reason(&names, reason);
                for name in &names {
                    self.stop(name, now);
                }
                let goals = names.iter().map(|n| (n.clone(), Goal::IsDown)).collect();
                let done = if now { "killed" } else { "stopped" };
                Ok(Some((goals, format!("{done} {}", list(&names)))))
            }
            EngineOrder::Restart { nodes } => {
                let names = self.in_start_order(&self.known(nodes)?);
                let before: Vec<_> = names
                    .iter()
                    .map(|n| self.fleet.node(n).map_or_else(Incarnation::default, |n| n.incarnation()))
                    .collect();
                self.note_reason(&names, reason);
                for name in &names {
                    self.event(name, Event::Restart);
                }
                let goals = names.iter().cloned().zip(before.into_iter().map(Goal::ServesAfter)).collect();
                Ok(Some((goals, format!("restarted {}", list(&names)))))
            }
            EngineOrder::RestartIfUp { node } => {
                let known = self.fleet.node(&node).ok_or_else(|| Rejection::UnknownNode(node.clone()))?;
                let (wanted, before) = (known.wanted(), known.incarnation());
                if wanted == Wanted::Down {
                    return Ok(None);
                }
                self.note_reason(std::slice::from_ref(&node), reason);
                self.event(&node, Event::Restart);
                let done = format!("restarted {node}");
                Ok(Some((BTreeMap::from([(node, Goal::ServesAfter(before))]), done)))
            }
            EngineOrder::Bounce { node } => {
                let known = self.fleet.node(&node).ok_or_else(|| Rejection::UnknownNode(node.clone()))?;
                let runs = known.state().run().is_some() && !matches!(known.state(), State::Stopping { .. });
                if runs && known.wanted() == Wanted::Up {
                    self.note_reason(std::slice::from_ref(&node), reason);
                    self.event(&node, Event::Restart);
                }
                Ok(None)
            }
            EngineOrder::Signal { node, signal } => {
                let known = self.fleet.node(&node).ok_or_else(|| Rejection::UnknownNode(node.clone()))?;
                if known.state().run().is_none() {
                    return Err(Rejection::NotNow(format!("{node} does not run ({})", known.detail(clock::now()))));
                }
                let taken = self.fleet.take(&node, Event::Signal(signal), clock::now(), rand::random());
                self.act(taken.actions);
                match taken.ignored {
                    Some(why) => Err(Rejection::NotNow(format!("{node} is not sent a signal: {why}"))),
                    None => {
                        self.note_reason(std::slice::from_ref(&node), reason);
                        Ok(None)
                    }
                }
            }
            EngineOrder::Change(change) => {
                let node = match &change {
                    Change::Restart(recipe) | Change::Add(recipe, _) => Some(recipe.node.clone()),
                    Change::Order(_) | Change::Take(_) | Change::Given(..) | Change::Drop(_) => None,
                };
                let done = super::change::carry_out(self, change);
                // One that is new has its place only now; events are made at the end of the turn.
                self.note_reason(node.as_slice(), reason);
                done
            }
            EngineOrder::LearnSession { node } => {
                fence::learn_session(self, &node);
                Ok(None)
            }
            // taken before: its answer comes from ZooKeeper, not from the fleet
            EngineOrder::Fence { .. } => Ok(None),
            EngineOrder::Down { now } => {
                if !std::mem::replace(&mut self.ending, true) {
                    self.writer.ending();
                }
                let mut names = self.order.clone();
                names.reverse();
                // What is in no configuration any more is waited for like the others.
                let strangers = self.orphan_stops.nodes().into_iter().filter(|n| !names.contains(n));
                let all: Vec<NodeName> = names.iter().cloned().chain(strangers).collect();
                self.note_reason(&all, Reason::Down);
                for name in &all {
                    self.stop(name, now);
                }
                let goals = all.into_iter().map(|n| (n, Goal::IsDown)).collect();
                Ok(Some((goals, format!("stopped {}", list(&names)))))
            }
        }
    }

    fn stop(&mut self, name: &NodeName, now: bool) {
        if now {
            self.orphan_stops.hurry(name);
        }
        self.event(name, if now { Event::KillNow } else { Event::Stop });
    }

    fn note_reason(&mut self, nodes: &[NodeName], reason: Reason) {
        for node in nodes {
            if let Some(runtime) = self.nodes.get_mut(node) {
                runtime.reason = Some(reason);
            }
        }
    }

    fn known(&self, nodes: Vec<NodeName>) -> Result<BTreeSet<NodeName>, Rejection> {
        if nodes.is_empty() {
            return Ok(self.order.iter().cloned().collect());
        }
        match nodes.iter().find(|n| !self.nodes.contains_key(*n)) {
            Some(stranger) => Err(Rejection::UnknownNode(stranger.clone())),
            None => Ok(nodes.into_iter().collect()),
        }
    }

    pub(super) fn in_start_order(&self, names: &BTreeSet<NodeName>) -> Vec<NodeName> {
        self.order.iter().filter(|n| names.contains(*n)).cloned().collect()
    }

    fn happened(&mut self, node: &NodeName, what: Happening) {
        let Some(runtime) = self.nodes.get_mut(node) else { return };
        self.touched.insert(node.clone());
        match what {
            Happening::Prepared(number, event) => {
                if runtime.prepare.as_ref().is_some_and(|p| p.number == number) {
                    if !matches!(event, Event::Held(_)) {
                        runtime.prepare = None;
                    }
                    self.event(node, event);
                }
            }
            Happening::Probed(event) => self.event(node, event),
            Happening::Looked(look) => rounds::looked(self, node, look),
            Happening::Spawned(state) => {
                tracing::info!(node = %node, incarnation = state.incarnation.0, pid = state.process.pid, "started");
                runtime.started_at = Some(state.started_at);
                self.rounds.node_started(clock::now());
                self.event(node, Event::Spawned { incarnation: state.incarnation, process: state.process });
                if !self.ending {
                    // for the next death
                    self.reserve.fill(1);
                }
            }
            Happening::LaunchFailed { incarnation, step, errno, text } => {
                self.launch_failed(node, incarnation, &step, errno, &text);
            }
            Happening::MainEnded(record) => {
                if runtime.asked.is_none() {
                    runtime.reason = Some(Reason::Died);
                }
                runtime.trouble("leftovers of its tree are being removed".into());
                self.event(node, Event::MainEnded { incarnation: record.incarnation });
            }
            Happening::Gone { record, shim_lost } => self.gone(node, record, shim_lost),
            Happening::Judged(incarnation, verdict) => self.judged(node, incarnation, *verdict),
            // Of a run that serves still: of one that is held up or over somebody else may have taken the name since.
            Happening::Registered(incarnation, session) => {
                let serves = |n: &Node| n.incarnation() == incarnation && matches!(n.state(), State::Ready { .. });
                if self.fleet.node(node).is_some_and(serves) {
                    runtime.registered = Some(session);
                    self.rounds.session_is_known(node, true);
                }
            }
            Happening::NotRegistered => self.rounds.session_is_known(node, false),
            Happening::ShimLost(incarnation) => {
                runtime.reason = Some(Reason::Replaced);
                tracing::warn!(node = %node, incarnation = incarnation.0, "shim lost: reading its pipe and replacing the node in order");
                self.event(node, Event::ShimLost { incarnation });
            }
            // A turn is all it wants.
            Happening::OrphanStopped => {}
            Happening::Trouble(text) => {
                tracing::warn!(node = %node, "{text}");
                self.journal.note(EventLine::new(EventKind::Trouble, &text).node(node));
                runtime.trouble(text);
            }
        }
    }

    /// A start that came to no run.
    pub(super) fn launch_failed(
        &mut self,
        node: &NodeName,
        incarnation: Incarnation,
        step: &str,
        errno: i32,
        text: &str,
    ) {
        let Some(runtime) = self.nodes.get_mut(node) else { return };
        tracing::error!(node = %node, incarnation = incarnation.0, step, errno, "could not be launched: {text}");
        runtime.end_run();
        runtime.seen_run = None;
        let terminal = services::launch_fault::cause(step, errno);
        let cause = terminal.unwrap_or(Cause::Crashed);
        runtime.last_exit = Some(LastExit {
            incarnation,
            status: ExitStatus::Unknown,
            cause,
            at: clock::wall(),
            oom_by: None,
            ran_ms: None,
        });
        if terminal.is_none() {
            runtime.trouble(format!("could not be launched: {text}"));
        }
        let trouble = text.to_owned();
        let launch_remedy = services::launch_fault::remedy(&runtime.recipe, step, errno);
        let failure = terminal.is_some().then(|| Failure {
            cause,
            what: format!("{node} could not be launched: {text}"),
            remedy: launch_remedy,
        });
        if let Some(runtime) = self.nodes.get_mut(node) {
            let obituary = Obituary::new(incarnation, cause, clock::wall());
            runtime.obituaries.push(Obituary { failure: failure.clone(), trouble: Some(trouble), ..obituary });
        }
        self.event(node, Event::Gone { incarnation, ended: Ended { cause, failure } });
    }

    /// Why it ended is judged away from here: its log is read for that, from a disk that may stall.
    fn gone(&mut self, node: &NodeName, record: ExitRecord, shim_lost: bool) {
        fail_point!("engine.end-heard");
        let Some(runtime) = self.nodes.get_mut(node) else { return };
        let case = Arc::new(Case {
            layout: self.layout.clone(),
            recipe: Arc::clone(&runtime.recipe),
            stop: runtime.stop().clone(),
            asked: runtime.asked,
            marks: runtime.log.clone(),
            ready: Some(runtime.ready_since.is_some()),
            heard: clock::now(),
            record,
            shim_lost,
        });
        runtime.case = Some(Arc::clone(&case));
        // It would only find nobody.
        if let Some(task) = runtime.watch.take() {
            task.abort();
        }
        if let Some(root) = &self.cgroup {
            self.groups.ended(root, node);
        }
        let (sink, node) = (self.sink.clone(), node.clone());
        tokio::task::spawn_blocking(move || {
            let verdict = case.judge();
            // The dispatcher ends last.
            let _ = sink.send((node, Happening::Judged(case.record.incarnation, Box::new(verdict))));
        });
    }

    /// Ends whose logs are not read in time are judged without.
    fn judge_overdue(&mut self) {
        let now = clock::now();
        let due = |case: &Arc<Case>| (now >= case.until()).then(|| Arc::clone(case));
        let overdue = self.nodes.iter().filter_map(|(name, n)| Some((name.clone(), n.case.as_ref().and_then(due)?)));
        for (node, case) in overdue.collect::<Vec<_>>() {
            self.touched.insert(node.clone());
            self.judged(&node, case.record.incarnation, case.unread());
        }
    }

    /// What follows from an end, once it is known why.
    fn judged(&mut self, node: &NodeName, of: Incarnation, verdict: Verdict) {
        let Some(runtime) = self.nodes.get_mut(node) else { return };
        // One that was judged already, without its log.
        let Some(case) = runtime.case.take_if(|case| case.record.incarnation == of) else { return };
        let Case { record, asked, shim_lost, .. } = case.as_ref();
        let Verdict { cause, failure, words, collections, unread } = verdict;
        let expected = matches!(asked, Some(Asked::ToStop | Asked::ToDieNow)) || cause == Cause::KilledByOrder;
        let (incarnation, status) = (record.incarnation.0, record.status.describe());
        if expected {
            tracing::info!(node = %node, incarnation, %status, %cause, "ended");
        } else {
            tracing::info!(node = %node, incarnation, %status, %cause, "ended by itself");
        }
        if let Some(why) = &unread {
            tracing::warn!(node = %node, "{why}");
            self.journal.note(EventLine::new(EventKind::Trouble, why).node(node).incarnation(record.incarnation));
        }
        let began = runtime.process.as_ref().filter(|p| p.pid == record.pid).and_then(process::started);
        let seen = SeenRun { began, ended: case.heard };
        let measured_ms = seen.measured_ms().filter(|_| record.status != ExitStatus::Unknown);
        runtime.seen_run = Some(seen);
        runtime.end_run();
        runtime.asked = None;
        if !expected {
            runtime.reason = Some(if *shim_lost { Reason::Replaced } else { Reason::Died });
        }
        runtime.troubles.clear();
        let exit = LastExit::of(record, cause);
        runtime.last_exit = Some(LastExit { ran_ms: measured_ms.or(exit.ran_ms), ..exit });
        runtime.obituaries.push(Obituary {
            measured_ms,
            record: Some(record.clone()),
            failure: failure.clone(),
            trouble: unread,
            words,
            collections,
            ready: case.ready,
            memory: runtime.memory,
            ..Obituary::new(record.incarnation, cause, record.ended_at)
        });
        self.event(node, Event::Gone { incarnation: record.incarnation, ended: Ended { cause, failure } });
        // A clean stop has closed its session itself.
        if cause != Cause::Stopped {
            fence::after_death(self, node);
        }
    }
}

/// `last`: what is known of earlier runs. `go_on`: what was counted under the last daemon still counts.
pub(super) fn spec(recipe: &Recipe, last: Option<&adopt::FoundNode>, go_on: bool) -> NodeSpec {
    NodeSpec {
        name: recipe.node.clone(),
        after: recipe.after.clone(),
        peers: recipe.peers.clone(),
        restart: recipe.restart,
        stop: recipe.stop.clone(),
        start_deadline: recipe.probe.start_deadline,
        probe_failures: recipe.probe.failures,
        last_incarnation: last.map_or_else(Incarnation::default, adopt::FoundNode::incarnation),
        restarts: last.map_or(0, adopt::FoundNode::restarts),
        deaths_in_a_row: last.filter(|_| go_on).map_or(0, |node| node.deaths_in_a_row(&recipe.restart)),
    }
}

fn list(names: &[NodeName]) -> String {
    names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}
