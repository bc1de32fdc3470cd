//! All nodes together: carries events to the nodes, and what one node's change means to its neighbours.

use crate::base::{
    Incarnation, Moment, NodeName,
    recipe::{Restart, Stop},
};
use crate::lifecycle::{Action, Event, Node};
use std::{collections::BTreeMap, time::Duration};

/// What the machine must know of a node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: NodeName,
    /// Nodes that must serve before it is started.
    pub after: Vec<NodeName>,
    /// When to start it again.
    pub restart: Restart,
    /// Stop signal and grace.
    pub stop: Stop,
    /// How long a start may take without progress before it is called late.
    pub start_deadline: Duration,
    /// The number of its last start under this root (from its state file); the next start gets the one after.
    pub last_incarnation: Incarnation,
}

/// The machine of all nodes.
#[derive(Clone, Debug)]
pub struct Fleet {
    nodes: BTreeMap<NodeName, Node>,
}

impl Fleet {
    /// A fleet in which nothing runs and nothing is wanted.
    pub fn new(specs: Vec<NodeSpec>) -> Self {
        let _ = specs;
        todo!()
    }

    /// Takes one event for one node; returns what is to be done, in order. `dice` is a fresh random number for jitter.
    /// An event for a name that is not in the fleet changes nothing.
    pub fn handle(&mut self, node: &NodeName, event: Event, now: Moment, dice: u64) -> Vec<Action> {
        let _ = (node, event, now, dice);
        todo!()
    }

    /// The next moment at which some node wants a `Tick`; none: no deadline runs.
    pub fn next_deadline(&self) -> Option<Moment> {
        todo!()
    }

    /// Gives a `Tick` to every node whose deadline is due.
    pub fn tick(&mut self, now: Moment, dice: u64) -> Vec<Action> {
        let _ = (now, dice);
        todo!()
    }

    /// One node.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The nodes that `name` needs, directly and indirectly, itself not among them.
    pub fn needs(&self, name: &NodeName) -> Vec<NodeName> {
        let _ = name;
        todo!()
    }
}
