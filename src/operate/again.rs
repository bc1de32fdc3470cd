//! Which of the nodes that an operation has stopped are started again after it. Pure.

use crate::{
    base::NodeName,
    engine::{NodeSnapshot, Snapshot, Wanted},
};
use std::collections::BTreeSet;

/// Of nodes that were stopped for something those that are started again, and why the rest is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// All at once: they need nothing that stays down.
    pub nodes: Vec<NodeName>,
    /// Somebody has stopped these meanwhile.
    stopped: Vec<NodeName>,
    /// These would be refused their start, and with them all that is started by the same order.
    needy: Vec<NodeName>,
    /// What those need and is down.
    missing: BTreeSet<NodeName>,
}

impl Again {
    /// `left_down`: what somebody has stopped meanwhile. What needs one of these, or another node that is down, stays down with it.
    pub fn of(stopped_for_it: &[NodeName], left_down: &[NodeName], now: &Snapshot) -> Self {
        let mut again = Self::default();
        for name in stopped_for_it {
            if left_down.contains(name) {
                again.stopped.push(name.clone());
                continue;
            }
            let comes_back = |need: &NodeName| stopped_for_it.contains(need) && !left_down.contains(need);
            let is_down = |need: &NodeName| node(now, need).is_some_and(|n| n.wanted == Wanted::Down);
            let down: Vec<NodeName> = needs(now, name).into_iter().filter(|n| !comes_back(n) && is_down(n)).collect();
            if down.is_empty() {
                again.nodes.push(name.clone());
            } else {
                again.needy.push(name.clone());
                again.missing.extend(down);
            }
        }
        again
    }

    /// What stays down, why, and what starts it; none: nothing.
    pub fn left(&self) -> Option<String> {
        let stopped = (!self.stopped.is_empty())
            .then(|| format!("left down, because somebody stopped them meanwhile: {}", joined(&self.stopped, ", ")));
        let words: Vec<String> = stopped.into_iter().chain(self.for_want()).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// The part of [`Again::left`] about what nobody has stopped.
    pub fn for_want(&self) -> Option<String> {
        let (needy, missing) = (&self.needy, &self.missing);
        (!needy.is_empty()).then(|| {
            let start = format!("`cdc-supervisor start {} {}` starts them", joined(missing, " "), joined(needy, " "));
            format!("left down for want of {}: {}; {start}", joined(missing, ", "), joined(needy, ", "))
        })
    }
}

fn joined<'a>(names: impl IntoIterator<Item = &'a NodeName>, between: &str) -> String {
    names.into_iter().map(NodeName::as_str).collect::<Vec<_>>().join(between)
}

fn node<'a>(now: &'a Snapshot, name: &NodeName) -> Option<&'a NodeSnapshot> {
    now.nodes.iter().find(|n| n.name == *name).map(|n| &**n)
}

/// What a node needs, directly and indirectly.
fn needs(now: &Snapshot, name: &NodeName) -> BTreeSet<NodeName> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.clone()];
    while let Some(next) = open.pop() {
        for need in node(now, &next).into_iter().flat_map(|n| &n.after) {
            if found.insert(need.clone()) {
                open.push(need.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeKind;
    use std::sync::Arc;

    fn names(list: &[&str]) -> Vec<NodeName> {
        list.iter().map(|name| NodeName::new(*name).unwrap()).collect()
    }

    /// ZooKeeper, two brokers, MySQL and a UI over the brokers; `up` are wanted up.
    fn stack(up: &[&str]) -> Snapshot {
        let node = |(name, after): (&str, &[&str])| {
            let mut node = NodeSnapshot::sample(NodeName::new(name).unwrap(), NodeKind::Command, "down", 1);
            node.wanted = if up.contains(&name) { Wanted::Up } else { Wanted::Down };
            node.after = names(after);
            Arc::new(node)
        };
        let nodes: [(&str, &[&str]); 5] = [
            ("zookeeper", &[]),
            ("broker-1", &["zookeeper"]),
            ("broker-2", &["zookeeper"]),
            ("mysql", &[]),
            ("kafka-ui", &["broker-1", "broker-2"]),
        ];
        Snapshot { nodes: nodes.map(node).into(), ending: false }
    }

    const ALL: [&str; 5] = ["zookeeper", "broker-1", "broker-2", "mysql", "kafka-ui"];

    fn again(stopped: &[&str], left_down: &[&str], up: &[&str]) -> (Vec<NodeName>, Option<String>) {
        let again = Again::of(&names(stopped), &names(left_down), &stack(up));
        let left = again.left();
        (again.nodes, left)
    }

    #[test]
    fn what_somebody_stopped_meanwhile_stays_down_and_what_needs_it_with_it() {
        assert_eq!(again(&ALL, &[], &[]), (names(&ALL), None));
        let (nodes, left) = again(&ALL, &["mysql"], &[]);
        assert_eq!(nodes, names(&["zookeeper", "broker-1", "broker-2", "kafka-ui"]));
        assert_eq!(left.unwrap(), "left down, because somebody stopped them meanwhile: mysql");
        let (nodes, left) = again(&ALL, &["zookeeper"], &[]);
        assert_eq!(nodes, names(&["mysql"]), "what needs nothing of it is started all the same");
        assert_eq!(
            left.unwrap(),
            "left down, because somebody stopped them meanwhile: zookeeper; left down for want of zookeeper: broker-1, \
             broker-2, kafka-ui; `cdc-supervisor start zookeeper broker-1 broker-2 kafka-ui` starts them"
        );
        let (nodes, left) = again(&ALL, &ALL[..3], &[]);
        assert_eq!(nodes, names(&["mysql"]));
        assert!(left.unwrap().ends_with("for want of broker-1, broker-2, zookeeper: kafka-ui; `cdc-supervisor start broker-1 broker-2 zookeeper kafka-ui` starts them"));
        assert_eq!(again(&["zookeeper"], &["mysql"], &[]).1, None, "it was not wanted up before");
    }

    #[test]
    fn what_was_down_before_and_is_needed_keeps_nobody_else_down() {
        let (nodes, left) = again(&["broker-1", "mysql"], &[], &[]);
        assert_eq!(nodes, names(&["mysql"]));
        assert!(left.unwrap().starts_with("left down for want of zookeeper: broker-1; "));
        assert_eq!(again(&["broker-1", "mysql"], &[], &["zookeeper"]), (names(&["broker-1", "mysql"]), None));
        // a broker that is wanted up behind a ZooKeeper that is not
        let (nodes, left) = again(&["kafka-ui"], &[], &["broker-1", "broker-2"]);
        assert_eq!((nodes, left.unwrap().contains("want of zookeeper: kafka-ui")), (vec![], true));
    }
}
