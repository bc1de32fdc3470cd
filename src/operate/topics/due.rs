//! Which topics of the file are to be put into force: all of them when the cluster comes up or by order, one when the file says
//! something else of it than was put into force last; each until it is done. Of the others what differs is told and left. Pure.
//!
//! What is in force is on record, so a daemon that takes over brokers that run finds nothing due: a retention that somebody has raised by
//! hand outlives a crash of the daemon and an upgrade of it, and what the last daemon had still to do is done. Without that record (a program
//! that kept none ran them, or it was torn) nobody knows what was put into force and what was changed since: what topics have is agreed to,
//! and what differs is told; only a topic that is missing is due.

use crate::{
    base::{Incarnation, topics::Said},
    config,
};
use std::collections::BTreeMap;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// The file as it was seen last.
    file: BTreeMap<String, Said>,
    /// What it said when that was put into force; missing: due.
    in_force: BTreeMap<String, Said>,
    /// Nobody has written down what was put into force.
    unknown: bool,
    /// Which brokers served when it was looked last, and in which of their lives.
    served: BTreeMap<u32, Incarnation>,
}

fn said(topic: &config::Topic) -> Said {
    let config::Topic { name: _, partitions, replication_factor, settings } = topic;
    Said { partitions: *partitions, replication_factor: *replication_factor, settings: settings.clone() }
}

impl Due {
    /// What an earlier daemon has put into force; none: it is not on record.
    pub(super) fn since(in_force: Option<BTreeMap<String, Said>>) -> Self {
        Self { unknown: in_force.is_none(), in_force: in_force.unwrap_or_default(), ..Self::default() }
    }

    /// What is in force, for the next daemon; none: it is not known yet.
    pub(super) fn in_force(&self) -> Option<BTreeMap<String, Said>> {
        (!self.unknown).then(|| self.in_force.clone())
    }

    /// Brokers that run were taken over, and these topics were seen on them: where nobody knows what was put into force, those of the file are
    /// agreed to as they are; which. `all`: of none of the file was it unclear whether it is there.
    pub(super) fn agree<'n>(&mut self, seen: impl Iterator<Item = &'n String>, all: bool) -> Vec<&'n String> {
        if !self.unknown {
            return Vec::new();
        }
        self.unknown = !all;
        let agreed: Vec<&String> = seen.filter(|name| self.is(name)).collect();
        agreed.iter().for_each(|name| self.done(name));
        agreed
    }

    /// This is what the file says now: what it says anew is due, also when it says the old thing again before that is done.
    pub(super) fn file(&mut self, topics: &[config::Topic]) {
        self.file = topics.iter().map(|t| (t.name.clone(), said(t))).collect();
        self.in_force.retain(|name, said| self.file.get(name) == Some(said));
    }

    /// All of it is due.
    pub(super) fn all(&mut self) {
        self.unknown = false;
        self.in_force.clear();
    }

    /// Nobody ran before this daemon: what it does not know of was not there.
    pub(super) fn started_anew(&mut self) {
        if self.unknown {
            self.all();
        }
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
        self.file.contains_key(name) && !self.in_force.contains_key(name)
    }

    /// Whether any is.
    pub(super) fn any(&self) -> bool {
        self.file.keys().any(|name| self.is(name))
    }

    /// This one is in force.
    pub(super) fn done(&mut self, name: &str) {
        if let Some(said) = self.file.get(name) {
            self.in_force.insert(name.to_owned(), said.clone());
        }
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
    fn a_daemon_that_takes_over_finds_due_what_the_last_one_had_to_do_and_nothing_else() {
        let mut last = Due::default();
        last.file(&[topic("a", 1), topic("b", 1)]);
        last.done("a");
        let mut next = Due::since(last.in_force());
        next.file(&[topic("a", 1), topic("b", 1)]);
        assert!(!next.is("a") && next.is("b"));
        assert!(!next.brokers(lives(&[(1, 5), (2, 5)])), "they are seen for the first time");
        assert!(!next.is("a"));
        // The file has changed between the two.
        let mut next = Due::since(last.in_force());
        next.file(&[topic("a", 2)]);
        assert!(next.is("a") && next.any());
        next.file(&[topic("a", 1)]);
        assert!(next.is("a"), "some of the change may have been made");
        last.all();
        assert_eq!(
            last.in_force(),
            Some(BTreeMap::new()),
            "the cluster was away: the next daemon does what this one may not come to"
        );
    }

    #[test]
    fn without_a_record_what_brokers_that_run_have_is_agreed_to_and_what_is_missing_is_due() {
        let names = ["raised".to_owned(), "unclear".to_owned()];
        let file = [topic("raised", 1), topic("unclear", 1), topic("missing", 1)];
        let mut due = Due::since(None);
        due.file(&file);
        assert_eq!(due.in_force(), None, "nothing is written down before it is known");
        assert_eq!(due.agree(names[..1].iter(), false), ["raised"]);
        due.file(&file);
        assert!(!due.is("raised") && due.is("unclear") && due.is("missing"));
        assert_eq!(due.agree(names.iter(), true), ["unclear"]);
        assert!(!due.is("unclear") && due.is("missing"));
        assert_eq!(due.in_force().map(|known| known.len()), Some(2));
        // What comes later is not agreed to.
        due.file(&[topic("raised", 2)]);
        assert!(due.agree(names.iter(), true).is_empty());
        assert!(due.is("raised"), "the file says something else");
        for (anew, of_what) in [(Due::all as fn(&mut Due), "an order"), (Due::started_anew, "a start")] {
            let mut due = Due::since(None);
            due.file(&file);
            anew(&mut due);
            assert!(due.agree(names.iter(), true).is_empty());
            assert!(due.is("raised"), "all of it is due after {of_what}");
        }
        let mut due = Due::since(Some(BTreeMap::new()));
        due.file(&file);
        due.started_anew();
        assert!(due.agree(names.iter(), true).is_empty());
        assert!(due.is("raised"), "the last daemon had all of it to do");
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
