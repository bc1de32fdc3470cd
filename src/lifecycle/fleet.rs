//! All nodes together: carries events to the nodes, and what one node's change means to its neighbours.

use crate::base::{
    Incarnation, Moment, NodeName,
    recipe::{Restart, Stop},
};
use crate::lifecycle::{
    Action, Event, Node, State, Wanted,
    step::{Around, Outcome, Why, step},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// What the machine must know of a node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: NodeName,
    /// Nodes that must serve before it is started. A name that is not in the fleet never serves.
    pub after: Vec<NodeName>,
    /// Nodes that keep copies of the same data: while one of them is to run and is not ready, this one is not replaced
    /// unless somebody orders it.
    pub peers: Vec<NodeName>,
    /// When to start it again.
    pub restart: Restart,
    /// Stop signal and grace.
    pub stop: Stop,
    /// How long a start may take without progress before it is called late.
    pub start_deadline: Duration,
    /// Failed looks in a row that turn `ready` into `degraded` (`recipe::Probe::failures`); 0 counts as 1.
    pub probe_failures: u32,
    /// The number of its last start under this root (from its state file); the next start gets the one after.
    pub last_incarnation: Incarnation,
    /// Starts that nobody ordered, so far (from its state file).
    pub restarts: u32,
    /// Deaths in a row when the last daemon saw it (from its state file).
    pub deaths_in_a_row: u32,
}

/// What an event did: what is to be done, in order, or why it changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// To be done, in order.
    pub actions: Vec<Action>,
    /// Present when the event changed nothing.
    pub ignored: Option<Why>,
}

/// The machine of all nodes.
#[derive(Clone, Debug)]
pub struct Fleet {
    nodes: BTreeMap<NodeName, Node>,
    changed: BTreeSet<NodeName>,
}

impl Fleet {
    /// A fleet in which nothing runs and nothing is wanted. `after` must be free of circles (`config` refuses them): the
    /// nodes of a circle would wait for each other, at a start and at a stop.
    pub fn new(specs: Vec<NodeSpec>) -> Self {
        let nodes = specs.into_iter().map(|spec| (spec.name.clone(), idle(spec))).collect();
        Self { nodes, changed: BTreeSet::new() }
    }

    /// Takes one event for one node; returns what is to be done, in order. `dice` is a fresh random number for jitter.
    /// An event for a name that is not in the fleet changes nothing.
    pub fn handle(&mut self, node: &NodeName, event: Event, now: Moment, dice: u64) -> Vec<Action> {
        self.take(node, event, now, dice).actions
    }

    /// As `handle`, and says why when the event changed nothing.
    pub fn take(&mut self, node: &NodeName, event: Event, now: Moment, dice: u64) -> Taken {
        let mut actions = Vec::new();
        let mut concerned = VecDeque::new();
        let ignored = self.one(node, event, now, dice, &mut actions, &mut concerned);
        // This ends. A `Neighbours` can do three things: change the list a node waits with, begin to prepare it, or turn
        // a running node that is wanted down, or whose shim is lost, into a stopping one. Only the third concerns others
        // (it serves no more), and no `Neighbours` makes a node running again, so it happens at most once per node; each
        // time adds at most one entry per dependent and per peer to the queue.
        while let Some(name) = concerned.pop_front() {
            self.one(&name, Event::Neighbours, now, dice, &mut actions, &mut concerned);
        }
        Taken { actions, ignored }
    }

    /// One event for one node; whom its change concerns is put into the queue.
    fn one(
        &mut self,
        name: &NodeName,
        event: Event,
        now: Moment,
        dice: u64,
        actions: &mut Vec<Action>,
        concerned: &mut VecDeque<NodeName>,
    ) -> Option<Why> {
        let Some(old) = self.nodes.get(name) else { return Some(Why::UnknownNode) };
        match step(old, event, &self.around(old), now, dice) {
            Outcome::Ignored(why) => Some(why),
            Outcome::Changed(change) => {
                // Peers first: one that is replaced now serves no more, and what comes after both need not begin.
                if old.is_away() != change.node.is_away() {
                    concerned.extend(self.nodes.values().filter(|n| n.peers.contains(name)).map(|n| n.name.clone()));
                }
                if old.state.serves() != change.node.state.serves() {
                    concerned.extend(self.dependents(name).map(|n| n.name.clone()));
                }
                if old.holds_back_a_stop() != change.node.holds_back_a_stop() {
                    concerned.extend(old.after.iter().cloned());
                }
                actions.extend(change.actions);
                self.nodes.insert(name.clone(), change.node);
                self.changed.insert(name.clone());
                None
            }
        }
    }

    fn around(&self, node: &Node) -> Around {
        let serves = |name: &NodeName| self.nodes.get(name).is_some_and(|n| n.state.serves());
        Around {
            missing: node.after.iter().filter(|name| !serves(name)).cloned().collect(),
            held: self.dependents(&node.name).any(Node::holds_back_a_stop),
            peer_away: node.peers.iter().filter_map(|name| self.nodes.get(name)).any(Node::is_away),
        }
    }

    fn dependents<'a>(&'a self, name: &'a NodeName) -> impl Iterator<Item = &'a Node> {
        self.nodes.values().filter(move |n| n.after.contains(name))
    }

    /// The next moment at which some node wants a `Tick`; none: no deadline runs.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.nodes.values().filter_map(|n| n.state.deadline()).min()
    }

    /// Gives a `Tick` to every node whose deadline is due.
    pub fn tick(&mut self, now: Moment, dice: u64) -> Vec<Action> {
        // One round is enough: what a Tick leads to has no deadline, or a later one (a pause, a SIGKILL to repeat). Only a
        // late start that is then asked to stop without any grace is due again at once, by the next call.
        let due = |n: &&Node| n.state.deadline().is_some_and(|at| at <= now);
        let names: Vec<NodeName> = self.nodes.values().filter(due).map(|n| n.name.clone()).collect();
        let mut actions = Vec::new();
        for (nth, name) in (0..).zip(&names) {
            actions.extend(self.handle(name, Event::Tick, now, spread(dice, nth)));
        }
        actions
    }

    /// Adds a node that is down, or gives a node new settings (a reload): what it is, what is wanted of it, its counters
    /// and its incarnation stay, and deadlines that run already are not moved. Changed `after` nodes count at once for
    /// what waits, never for what runs.
    pub fn put(&mut self, spec: NodeSpec, now: Moment, dice: u64) -> Vec<Action> {
        let name = spec.name.clone();
        let fresh = idle(spec);
        let node = match self.nodes.remove(&name) {
            None => fresh,
            Some(old) => Node {
                wanted: old.wanted,
                state: old.state,
                incarnation: old.incarnation,
                restarts: old.restarts,
                restart_due: old.restart_due,
                start_due: old.start_due,
                deaths_in_a_row: old.deaths_in_a_row,
                bounce: old.bounce,
                kill: old.kill,
                shim_lost: old.shim_lost,
                last_end: old.last_end,
                ..fresh
            },
        };
        self.changed.insert(name.clone());
        self.nodes.insert(name, node);
        self.everybody(now, dice)
    }

    /// Takes a node out of the fleet; false, and nothing done, when it is neither `down` nor `failed`. Nodes that come
    /// after it wait for it until they are given other settings.
    pub fn remove(&mut self, name: &NodeName) -> bool {
        let idle = |n: &Node| matches!(n.state, State::Down { .. } | State::Failed { .. });
        self.nodes.get(name).is_some_and(idle) && self.nodes.remove(name).is_some()
    }

    fn everybody(&mut self, now: Moment, dice: u64) -> Vec<Action> {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        names.iter().flat_map(|name| self.handle(name, Event::Neighbours, now, dice)).collect()
    }

    /// The nodes that have changed since this was asked last: what has to be shown anew.
    pub fn take_changed(&mut self) -> BTreeSet<NodeName> {
        std::mem::take(&mut self.changed)
    }

    /// One node.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The nodes that `name` needs, directly and indirectly, itself not among them; those with no needs of their own
    /// first. Empty for a name that is not in the fleet.
    pub fn needs(&self, name: &NodeName) -> Vec<NodeName> {
        let mut order = Vec::new();
        self.visit(name, &mut BTreeSet::new(), &mut order);
        order.pop();
        order
    }

    /// The same names in the order in which to give them `Stop` or `Adopted`: a node before those it comes after. Orders
    /// are taken one at a time, and a node that is told to stop waits only for dependents that were told before.
    pub fn dependents_first(&self, names: &[NodeName]) -> Vec<NodeName> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            self.visit(name, &mut seen, &mut order);
        }
        order.retain(|name| names.contains(name));
        order.reverse();
        order
    }

    /// Depth first, a node behind those it comes after.
    fn visit(&self, name: &NodeName, seen: &mut BTreeSet<NodeName>, order: &mut Vec<NodeName>) {
        let Some(node) = self.nodes.get(name) else { return };
        if seen.insert(name.clone()) {
            for earlier in &node.after {
                self.visit(earlier, seen, order);
            }
            order.push(name.clone());
        }
    }
}

fn idle(spec: NodeSpec) -> Node {
    Node {
        name: spec.name,
        after: spec.after,
        peers: spec.peers,
        restart: spec.restart,
        stop: spec.stop,
        start_deadline: spec.start_deadline,
        probe_failures: spec.probe_failures,
        wanted: Wanted::Down,
        state: State::Down { last: None },
        incarnation: spec.last_incarnation,
        restarts: spec.restarts,
        restart_due: false,
        start_due: false,
        deaths_in_a_row: spec.deaths_in_a_row,
        bounce: false,
        kill: false,
        shim_lost: false,
        last_end: None,
    }
}

/// Another number for each node of one tick, so that pauses that begin together do not end together.
fn spread(dice: u64, nth: u64) -> u64 {
    // The odd constant of Fibonacci hashing (2^64 / golden ratio): neighbours in, far apart out.
    dice.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
