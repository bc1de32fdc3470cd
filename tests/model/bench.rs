//! A small fleet with a clock that a test moves; what is to be done comes back as words.

use crate::world::{broker, spec};
use cdc_supervisor::base::{Cause, Moment, NodeName, Verdict, ids::ProcessId, outcome::Failure};
use cdc_supervisor::lifecycle::{Action, Ended, Event, Fleet, Node, NodeSpec, State, Wanted};
use std::time::Duration;

/// A fleet with a clock that a test moves; events are told by node name.
pub struct Bench {
    pub fleet: Fleet,
    pub now: Moment,
}

/// `zookeeper`, and three brokers after it that must not be asked while they start and are peers of each other.
pub fn brokers() -> Bench {
    bench(vec![
        spec("zookeeper", &[]),
        broker("broker-1", &["broker-2", "broker-3"]),
        broker("broker-2", &["broker-1", "broker-3"]),
        broker("broker-3", &["broker-1", "broker-2"]),
    ])
    .ready("zookeeper")
}

/// `zookeeper`, `broker-1` and `broker-2` after it, `mysql` alone.
pub fn stack() -> Bench {
    bench(vec![
        spec("zookeeper", &[]),
        spec("broker-1", &["zookeeper"]),
        spec("broker-2", &["zookeeper"]),
        spec("mysql", &[]),
    ])
}

pub fn bench(specs: Vec<NodeSpec>) -> Bench {
    Bench { fleet: Fleet::new(specs), now: Moment(1_000_000) }
}

pub fn one(change: impl FnOnce(&mut NodeSpec)) -> Bench {
    let mut only = spec("mysql", &[]);
    change(&mut only);
    bench(vec![only])
}

pub fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// `Prepare zookeeper`, `Spawn broker-1 #3`, in order.
pub fn said(actions: &[Action]) -> Vec<String> {
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
    pub fn tell(&mut self, node: &str, event: Event) -> Vec<String> {
        said(&self.fleet.handle(&name(node), event, self.now, 0))
    }

    pub fn node(&self, node: &str) -> &Node {
        self.fleet.node(&name(node)).unwrap()
    }

    pub fn state(&self, node: &str) -> &State {
        self.node(node).state()
    }

    pub fn detail(&self, node: &str) -> String {
        self.node(node).detail(self.now)
    }

    pub fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        said(&self.fleet.tick(self.now, 0))
    }

    pub fn until_deadline(&mut self) -> Vec<String> {
        self.now = self.fleet.next_deadline().expect("a deadline");
        said(&self.fleet.tick(self.now, 0))
    }

    pub fn spawned(&mut self, node: &str) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::Spawned { incarnation, process: process() })
    }

    pub fn probed(&mut self, node: &str, verdict: Verdict) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::Probed { incarnation, verdict })
    }

    pub fn answers(&mut self, node: &str) -> Vec<String> {
        self.probed(node, Verdict::Ready("answers".into()))
    }

    pub fn silent(&mut self, node: &str) -> Vec<String> {
        self.probed(node, Verdict::not_ready("refused"))
    }

    pub fn gone(&mut self, node: &str, cause: Cause) -> Vec<String> {
        self.gone_with(node, cause, None)
    }

    pub fn gone_with(&mut self, node: &str, cause: Cause, failure: Option<Failure>) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::Gone { incarnation, ended: Ended { cause, failure } })
    }

    pub fn shim_lost(&mut self, node: &str) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::ShimLost { incarnation })
    }

    pub fn main_ended(&mut self, node: &str) -> Vec<String> {
        let incarnation = self.node(node).incarnation();
        self.tell(node, Event::MainEnded { incarnation })
    }

    /// From wherever it is to launched.
    pub fn launched(mut self, node: &str) -> Self {
        if self.node(node).wanted() == Wanted::Down {
            self.tell(node, Event::Start);
        }
        self.tell(node, Event::Prepared);
        self.spawned(node);
        self
    }

    pub fn ready(self, node: &str) -> Self {
        let mut bench = self.launched(node);
        bench.answers(node);
        bench
    }

    pub fn all_ready() -> Self {
        stack().ready("zookeeper").ready("broker-1").ready("broker-2").ready("mysql")
    }

    /// Launches it again and lets it die after `seconds` without ever being ready.
    pub fn dies_young(&mut self, node: &str, seconds: u64) -> Vec<String> {
        self.tell(node, Event::Prepared);
        self.spawned(node);
        self.now = self.now + Duration::from_secs(seconds);
        self.gone(node, Cause::Crashed)
    }
}

pub fn process() -> ProcessId {
    ProcessId { pid: 4711, start_ticks: 99_000, boot_id: "boot".into() }
}
