//! Which topics of the file are to be put into force: all of them when the cluster comes up or by order, one when the file says
//! something else of it; each until it is done. Of the others what differs is told and left. Pure.

use crate::{base::Incarnation, config};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Due {
    names: BTreeSet<String>,
    /// The file as it was seen last.
    file: BTreeMap<String, config::Topic>,
    /// Which brokers served when it was looked last, and in which of their lives.
    served: BTreeMap<u32, Incarnation>,
}

impl Due {
    /// This is what the file says now: what it says anew is due.
    pub(super) fn file(&mut self, topics: &[config::Topic]) {
        self.names.retain(|name| topics.iter().any(|t| t.name == *name));
        let new = topics.iter().filter(|t| self.file.get(&t.name) != Some(t)).map(|t| t.name.clone());
        self.names.extend(new);
        self.file = topics.iter().map(|t| (t.name.clone(), t.clone())).collect();
    }

    /// All of it is due.
    pub(super) fn all(&mut self) {
        self.names.extend(self.file.keys().cloned());
    }

    /// These serve now. When none of those that served before still does in the same life, the cluster was away, however shortly:
    /// what it has now may be of another moment, and all is due. Whether that is so.
    pub(super) fn brokers(&mut self, serve: BTreeMap<u32, Incarnation>) -> bool {
        let stayed = self.served.is_empty() || self.served.iter().any(|(id, life)| serve.get(id) == Some(life));
        self.served = serve;
        if !stayed {
            self.all();
        }
        !stayed
    }

    /// Whether this one is.
    pub(super) fn is(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether any is.
    pub(super) fn any(&self) -> bool {
        !self.names.is_empty()
    }

    /// This one is in force.
    pub(super) fn done(&mut self, name: &str) {
        self.names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, partitions: u32) -> config::Topic {
        config::Topic { name: name.into(), partitions, replication_factor: 3, settings: BTreeMap::new() }
    }

    fn lives(list: &[(u32, u64)]) -> BTreeMap<u32, Incarnation> {
        list.iter().map(|(id, life)| (*id, Incarnation(*life))).collect()
    }

    #[test]
    fn one_that_waits_makes_no_other_due() {
        let mut due = Due::default();
        due.file(&[topic("late", 1), topic("orders", 1)]);
        due.done("orders");
        due.file(&[topic("late", 1), topic("orders", 1)]);
        assert!(due.is("late") && !due.is("orders") && due.any());
        due.file(&[topic("late", 1), topic("orders", 2)]);
        assert!(due.is("orders"), "the file says something else");
        due.file(&[topic("orders", 2)]);
        assert!(!due.is("late"), "it left the file");
        due.done("orders");
        assert!(!due.any());
        due.all();
        assert!(due.is("orders"));
    }

    #[test]
    fn a_cluster_that_was_away_for_a_moment_is_another_and_a_roll_is_none() {
        let mut due = Due::default();
        due.file(&[topic("a", 1)]);
        due.done("a");
        assert!(!due.brokers(lives(&[(1, 5)])), "the first look");
        assert!(!due.brokers(lives(&[(1, 5), (2, 5)])));
        assert!(!due.brokers(lives(&[(2, 5)])) && !due.brokers(lives(&[(1, 6), (2, 5)])), "a roll");
        assert!(!due.brokers(lives(&[(1, 6)])) && !due.brokers(lives(&[(1, 6), (2, 6)])));
        assert!(!due.any());
        // All of them stopped and started between two looks.
        assert!(due.brokers(lives(&[(1, 7), (2, 7)])) && due.is("a"));
        due.done("a");
        assert!(due.brokers(lives(&[])) && due.is("a"), "nobody serves");
        assert!(!due.brokers(lives(&[])) && !due.brokers(lives(&[(1, 8)])) && due.is("a"));
    }
}
