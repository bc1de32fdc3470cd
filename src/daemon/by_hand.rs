//! `start`, `stop` and `restart` as a person orders them, beside what takes nodes away itself: what is refused, and what ZooKeeper's
//! restart waits for. Decides; the handler does.

use crate::{
    base::{NodeKind, NodeName},
    engine::{NodeSnapshot, Snapshot, Wanted},
};
use std::{sync::Arc, time::Duration};

/// How long the restart of ZooKeeper waits for brokers that are not ready: a start takes seconds, a recovery can take longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks while it waits.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
}

impl Verb {
    fn done(self) -> &'static str {
        match self {
            Verb::Start => "started",
            Verb::Stop => "stopped",
            Verb::Restart => "restarted",
        }
    }
}

/// An order by hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByHand<'a> {
    pub(super) verb: Verb,
    /// Empty: all.
    pub(super) nodes: &'a [NodeName],
    /// `--anyway`: nothing of this is asked.
    pub(super) anyway: bool,
}

/// Whether ZooKeeper may go just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// It may soon.
    Waits(String),
    /// Waiting changes nothing.
    Shut(String),
}

impl ByHand<'_> {
    fn means(&self, node: &NodeSnapshot) -> bool {
        self.nodes.is_empty() || self.nodes.contains(&node.name)
    }

    /// Why it is refused, and what to do; none: it may be carried out. `moves_nodes`: the operation under way that stops and starts
    /// nodes itself, in words. A second broker that goes while it has one away is what it takes care to avoid, and its verdict
    /// would be about something else.
    pub(super) fn refused(&self, snapshot: &Snapshot, moves_nodes: Option<&str>) -> Option<(String, Option<String>)> {
        if self.anyway {
            return None;
        }
        let of_stack = |n: &&Arc<NodeSnapshot>| {
            self.means(n) && matches!(n.kind, NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql)
        };
        let stack: Vec<&str> = snapshot.nodes.iter().filter(of_stack).map(|n| n.name.as_str()).collect();
        if let Some(other) = moves_nodes.filter(|_| !stack.is_empty()) {
            let message = format!("{other}; {} not {} meanwhile", named(&stack), self.verb.done());
            let hint = "wait until it has ended (`cdc-supervisor events -f`), or add --anyway; `down` stops everything at any time";
            return Some((message, Some(hint.into())));
        }
        let runs = |n: &&Arc<NodeSnapshot>| {
            self.means(n) && matches!(n.kind, NodeKind::Broker(_)) && n.process.is_some() && n.wanted == Wanted::Up
        };
        let brokers: Vec<&str> = snapshot.nodes.iter().filter(runs).map(|n| n.name.as_str()).collect();
        if self.verb == Verb::Restart && brokers.len() > 1 {
            let names = brokers.join(" ");
            let message = format!(
                "{} would be away at the same time: partitions would have no leader and writes be refused",
                brokers.join(", ")
            );
            let hint = format!(
                "`cdc-supervisor roll {names}` restarts them one by one; --anyway restarts them all at once all the same"
            );
            return Some((message, Some(hint)));
        }
        None
    }

    /// ZooKeeper is restarted by this, though it serves, and not at any price: what brokers say counts.
    pub(super) fn takes_zookeeper(&self, snapshot: &Snapshot) -> bool {
        let serves = |n: &Arc<NodeSnapshot>| n.kind == NodeKind::Zookeeper && self.means(n) && n.serves;
        !self.anyway && self.verb == Verb::Restart && snapshot.nodes.iter().any(serves)
    }

    /// Whether a restart of ZooKeeper finds the brokers such that they can do without it for a moment: a broker that starts
    /// registers there, and one that is behind comes back into its ISRs through it. One that does not serve helps nobody, so its
    /// own restart waits for nothing; brokers that are restarted by the same order do not count.
    pub(super) fn gate(&self, snapshot: &Snapshot) -> Gate {
        if !self.takes_zookeeper(snapshot) {
            return Gate::Open;
        }
        let sick = |n: &&Arc<NodeSnapshot>| {
            matches!(n.kind, NodeKind::Broker(_)) && n.wanted == Wanted::Up && !self.means(n) && n.state != "ready"
        };
        match snapshot.nodes.iter().find(sick) {
            None => Gate::Open,
            Some(sick) if sick.state == "failed" => Gate::Shut(format!("{} has failed", sick.name)),
            Some(sick) => Gate::Waits(format!("{} is {}", sick.name, sick.state)),
        }
    }
}

fn named(nodes: &[&str]) -> String {
    match nodes {
        [one] => format!("{one} is"),
        more => format!("{} are", more.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(states: &[(&str, NodeKind, &'static str)]) -> Snapshot {
        let node = |(name, kind, state): &(&str, NodeKind, &'static str)| {
            Arc::new(NodeSnapshot::sample(NodeName::new(*name).unwrap(), *kind, state, 1))
        };
        Snapshot { nodes: states.iter().map(node).collect(), ending: false }
    }

    fn stack(broker_2: &'static str) -> Snapshot {
        snapshot(&[
            ("zookeeper", NodeKind::Zookeeper, "ready"),
            ("broker-1", NodeKind::Broker(1), "ready"),
            ("broker-2", NodeKind::Broker(2), broker_2),
            ("mysql", NodeKind::Mysql, "ready"),
            ("job", NodeKind::Command, "ready"),
        ])
    }

    fn names(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|n| NodeName::new(*n).unwrap()).collect()
    }

    fn refused(verb: Verb, nodes: &[&str], anyway: bool, other: Option<&str>, snapshot: &Snapshot) -> Option<String> {
        let nodes = names(nodes);
        ByHand { verb, nodes: &nodes, anyway }.refused(snapshot, other).map(|(message, hint)| {
            assert!(hint.unwrap().contains("--anyway"), "there is always a way to do it: {message}");
            message
        })
    }

    const ROLL: Option<&str> = Some("roll is under way since 12:00: broker-1 restarts");

    #[test]
    fn while_something_moves_nodes_those_of_the_stack_are_left_to_it() {
        let all = stack("ready");
        for (verb, nodes, words) in [
            (Verb::Stop, &["broker-2"][..], "broker-2 is not stopped meanwhile"),
            (Verb::Start, &["mysql"], "mysql is not started meanwhile"),
            (Verb::Restart, &["job", "zookeeper"], "zookeeper is not restarted meanwhile"),
            (Verb::Stop, &[], "zookeeper, broker-1, broker-2, mysql are not stopped meanwhile"),
        ] {
            let message = refused(verb, nodes, false, ROLL, &all).unwrap();
            assert_eq!(message, format!("{}; {words}", ROLL.unwrap()));
            assert_eq!(refused(verb, nodes, true, ROLL, &all), None, "--anyway");
        }
        assert_eq!(refused(Verb::Stop, &["job"], false, ROLL, &all), None, "it moves nodes of the stack only");
        assert_eq!(refused(Verb::Stop, &["broker-1", "broker-2"], false, None, &all), None, "nothing is under way");
    }

    #[test]
    fn several_running_brokers_are_restarted_by_a_roll() {
        let two = &["broker-1", "broker-2"];
        let message = refused(Verb::Restart, two, false, None, &stack("ready")).unwrap();
        assert!(message.starts_with("broker-1, broker-2 would be away at the same time"), "{message}");
        let asked = names(two);
        let (_, hint) =
            ByHand { verb: Verb::Restart, nodes: &asked, anyway: false }.refused(&stack("ready"), None).unwrap();
        assert!(hint.unwrap().starts_with("`cdc-supervisor roll broker-1 broker-2` restarts them one by one"));
        assert!(refused(Verb::Restart, &[], false, None, &stack("ready")).is_some(), "all nodes");
        assert_eq!(refused(Verb::Restart, two, true, None, &stack("ready")), None, "--anyway");
        assert_eq!(refused(Verb::Restart, two, false, None, &stack("failed")), None, "one of them does not run");
        assert_eq!(refused(Verb::Restart, &["broker-1", "mysql"], false, None, &stack("ready")), None);
    }

    fn gate(nodes: &[&str], anyway: bool, snapshot: &Snapshot) -> Gate {
        let nodes = names(nodes);
        ByHand { verb: Verb::Restart, nodes: &nodes, anyway }.gate(snapshot)
    }

    #[test]
    fn zookeepers_restart_waits_for_brokers_that_are_not_ready() {
        let only = &["zookeeper"];
        assert_eq!(gate(only, false, &stack("ready")), Gate::Open);
        for state in ["starting", "degraded", "waiting"] {
            assert_eq!(gate(only, false, &stack(state)), Gate::Waits(format!("broker-2 is {state}")));
        }
        assert_eq!(gate(only, false, &stack("failed")), Gate::Shut("broker-2 has failed".into()));
        assert_eq!(gate(only, true, &stack("failed")), Gate::Open, "--anyway");
        assert_eq!(gate(&["mysql"], false, &stack("failed")), Gate::Open, "it is not about ZooKeeper");
        assert_eq!(gate(&["zookeeper", "broker-2"], false, &stack("starting")), Gate::Open, "it is restarted with it");
    }

    #[test]
    fn a_zookeeper_that_does_not_serve_is_restarted_whatever_brokers_are() {
        let mut all = stack("degraded");
        Arc::make_mut(&mut all.nodes[0]).serves = false;
        assert_eq!(gate(&["zookeeper"], false, &all), Gate::Open);
        let mut all = stack("failed");
        Arc::make_mut(&mut all.nodes[2]).wanted = Wanted::Down;
        assert_eq!(gate(&["zookeeper"], false, &all), Gate::Open, "a broker that is stopped by order is nobody's");
    }
}
