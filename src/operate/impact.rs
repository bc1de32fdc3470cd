//! What breaks if a broker is stopped now: the counterfactual for every partition, internal topics too, as four lists. Pure.
//!
//! The lists are those of Redpanda's restart probes, the rules Strimzi's KafkaRoller's: a partition whose ISR is at its minimum loses
//! writes with any of it, and one below its minimum must not lose a replica that is out of sync either, because that one may be the
//! first to catch up.

use super::cluster::{Look, name, some};
use crate::clients::kafka::{ByTopic, Partition};
use std::collections::BTreeSet;

/// What breaks. Each partition is in the worst of the first three lists that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// Their only replica is on it: away as long as it is.
    pub goes_offline: Vec<String>,
    /// Fewer than `min.insync.replicas` stay in sync: writes with acks=all are refused.
    pub refuses_acks_all: Vec<String>,
    /// No replica that stays is in sync: no leader can be elected.
    pub unreadable: Vec<String>,
    /// It leads them, and its followers have not confirmed their newest records.
    pub may_lose_acks_1: Vec<String>,
    /// Those of the first two lists for which no waiting helps.
    pub never_safe: Vec<String>,
}

impl Impact {
    /// Nothing breaks. What was acknowledged with acks=1 is told and is no reason to wait: a broker that is stopped in order hands
    /// its leadership over, and who asks for acks=1 has chosen to lose records with a leader.
    pub fn is_none(&self) -> bool {
        self.goes_offline.is_empty() && self.refuses_acks_all.is_empty() && self.unreadable.is_empty()
    }

    /// All four lists in one line.
    pub fn words(&self) -> String {
        let lists = [
            ("offline", &self.goes_offline),
            ("refusing acks=all", &self.refuses_acks_all),
            ("unreadable", &self.unreadable),
            ("acks=1 may be lost in", &self.may_lose_acks_1),
        ];
        let full = lists.iter().filter(|(_, list)| !list.is_empty());
        let words: Vec<String> = full.map(|(what, list)| format!("{what} {}", some(list))).collect();
        match (self.is_none(), words.is_empty()) {
            (_, true) => "no partition is offline, refuses acks=all or is unreadable meanwhile".into(),
            (true, false) => {
                format!("no partition is offline, refuses acks=all or is unreadable meanwhile; {}", words.join("; "))
            }
            (false, false) => format!("meanwhile {}", words.join("; ")),
        }
    }

    /// The first partition that breaks and for which waiting may help, with what breaks; none: there is none.
    pub fn passing(&self) -> Option<String> {
        let refused = self.refuses_acks_all.iter().map(|name| (name, "would refuse writes with acks=all"));
        let unreadable = self.unreadable.iter().map(|name| (name, "would have no leader"));
        let mut passing = unreadable.chain(refused).filter(|(name, _)| !self.never_safe.contains(name));
        let (name, what) = passing.next()?;
        let more = passing.count();
        Some(if more == 0 { format!("{name} {what}") } else { format!("{name} {what}, and {more} more would break") })
    }
}

/// What breaks if `broker` is stopped. `ahead`: partitions whose newest records only it has. `no_more`: brokers that will not come
/// back, whose replicas no waiting brings in sync.
pub fn impact(look: &Look, broker: u32, ahead: &BTreeSet<(String, u32)>, no_more: impl Fn(u32) -> bool) -> Impact {
    let mut impact = Impact::default();
    for (topic, partition) in look.view.partitions().filter(|(_, p)| p.replicas.contains(&broker)) {
        let stays = |ids: &[u32]| ids.iter().filter(|id| **id != broker && !no_more(**id)).count();
        let (others, in_sync) = (stays(&partition.replicas), stays(&partition.isr));
        // Not known counts as not enough: not to be able to tell is no consent.
        let min = look.min_isr.get(topic).map_or(usize::MAX, |min| usize::try_from(*min).unwrap_or(usize::MAX));
        let never = others == 0 || (others < min && min != usize::MAX);
        let list = if others == 0 {
            &mut impact.goes_offline
        } else if in_sync == 0 {
            &mut impact.unreadable
        } else if in_sync < min {
            &mut impact.refuses_acks_all
        } else if ahead.contains(&(topic.to_owned(), partition.id)) {
            impact.may_lose_acks_1.push(name(topic, partition));
            continue;
        } else {
            continue;
        };
        list.push(name(topic, partition));
        if never && (others == 0 || in_sync > 0) {
            impact.never_safe.push(name(topic, partition));
        }
        if others > 0 && ahead.contains(&(topic.to_owned(), partition.id)) {
            impact.may_lose_acks_1.push(name(topic, partition));
        }
    }
    impact
}

/// Partitions that `broker` leads and others follow: of these the ends of logs are compared.
pub fn led_with_followers(look: &Look, broker: u32) -> ByTopic {
    let mut led = ByTopic::new();
    let followed = |p: &Partition| p.leader == Some(broker) && p.replicas.len() > 1;
    for (topic, partition) in look.view.partitions().filter(|(_, p)| followed(p)) {
        led.entry(topic.to_owned()).or_default().push(partition.id);
    }
    led
}

#[cfg(test)]
mod tests {
    use super::{
        super::cluster::samples::{ALL, Row, look},
        *,
    };
    use proptest::prelude::*;

    /// One partition and the stop of broker 1; the word says the list, `!` that waiting does not help.
    fn verdict(replicas: &[u32], isr: &[u32], leader: Option<u32>) -> String {
        let found = impact(&look(ALL, &[(replicas, isr, leader)]), 1, &BTreeSet::new(), |_| false);
        let lists = [
            ("offline", &found.goes_offline),
            ("refuses", &found.refuses_acks_all),
            ("unreadable", &found.unreadable),
            ("acks=1", &found.may_lose_acks_1),
        ];
        let words: Vec<&str> = lists.iter().filter(|(_, list)| !list.is_empty()).map(|(word, _)| *word).collect();
        let never = if found.never_safe.is_empty() { "" } else { "!" };
        format!("{}{never}", words.join(" "))
    }

    #[test]
    fn the_counterfactual_as_a_table_with_a_minimum_of_two() {
        for (replicas, isr, leader, expected) in [
            (ALL, ALL, Some(1), ""),
            (ALL, &[2, 3][..], Some(2), ""),
            // at the minimum, and it is one of them
            (ALL, &[1, 2], Some(1), "refuses"),
            (ALL, &[1, 2], Some(2), "refuses"),
            // below the minimum: also one that is out of sync is needed, it may catch up first
            (ALL, &[2], Some(2), "refuses"),
            (ALL, &[1], Some(1), "unreadable"),
            (ALL, &[1], None, "unreadable"),
            (ALL, &[3], None, "refuses"),
            // no replica of it, whatever its state
            (&[2, 3], &[2], Some(2), ""),
            (&[2, 3], &[3], None, ""),
            // too few replicas for the minimum: no waiting helps
            (&[1, 2], &[1, 2], Some(1), "refuses!"),
            (&[1, 2], &[1], Some(1), "unreadable"),
            (&[1], &[1], Some(1), "offline!"),
            (&[1], &[1], None, "offline!"),
            (&[2], &[2], Some(2), ""),
        ] {
            assert_eq!(verdict(replicas, isr, leader), expected, "replicas {replicas:?} isr {isr:?} leader {leader:?}");
        }
    }

    #[test]
    fn what_only_the_leader_has_is_told_and_stops_nobody() {
        let look = look(ALL, &[(ALL, ALL, Some(1)), (ALL, ALL, Some(2))]);
        let found = impact(&look, 1, &BTreeSet::from([("t".into(), 0)]), |_| false);
        assert_eq!(found.may_lose_acks_1, ["t-0"]);
        assert!(found.is_none() && found.passing().is_none());
        assert!(found.words().ends_with("meanwhile; acks=1 may be lost in t-0"), "{}", found.words());
        assert_eq!(led_with_followers(&look, 1), ByTopic::from([("t".into(), vec![0])]));
    }

    #[test]
    fn a_minimum_that_is_not_known_is_no_consent() {
        let mut look = look(ALL, &[(ALL, ALL, Some(1))]);
        look.min_isr.clear();
        let found = impact(&look, 1, &BTreeSet::new(), |_| false);
        assert_eq!(found.passing().as_deref(), Some("t-0 would refuse writes with acks=all"));
        assert!(found.never_safe.is_empty());
    }

    #[test]
    fn a_replica_on_a_broker_that_is_no_more_is_none_to_wait_for() {
        let all = look(&[1, 2], &[(&[1, 9], &[1], Some(1)), (&[1, 2, 9], &[1, 2], Some(1)), (&[2, 9], &[2], Some(2))]);
        let found = impact(&all, 1, &BTreeSet::new(), |id| id == 9);
        assert_eq!((found.goes_offline, found.refuses_acks_all), (vec!["t-0".into()], vec!["t-1".into()]));
        assert_eq!(found.never_safe, ["t-0", "t-1"]);
    }

    #[test]
    fn the_worst_that_may_pass_is_named_first() {
        let look = look(ALL, &[(ALL, &[1, 2], Some(1)), (&[1, 2], &[1], Some(1)), (&[1], &[1], Some(1))]);
        let found = impact(&look, 1, &BTreeSet::new(), |_| false);
        assert_eq!(found.passing().as_deref(), Some("t-1 would have no leader, and 1 more would break"));
        assert_eq!(found.never_safe, ["t-2"]);
        assert_eq!(found.words(), "meanwhile offline t-2; refusing acks=all t-0; unreadable t-1");
    }

    proptest! {
        #[test]
        fn when_nothing_breaks_every_partition_keeps_its_minimum_and_a_leader(
            all in proptest::collection::vec(
                (proptest::sample::subsequence(vec![1u32, 2, 3], 1..=3), any::<[bool; 3]>()), 0..5),
            broker in 1u32..=3,
        ) {
            let made: Vec<(Vec<u32>, Vec<u32>)> = all
                .into_iter()
                .map(|(replicas, keep)| {
                    let isr = replicas.iter().zip(keep).filter(|(_, keep)| *keep).map(|(id, _)| *id).collect();
                    (replicas, isr)
                })
                .collect();
            let partitions: Vec<Row<'_>> =
                made.iter().map(|(r, i)| (r.as_slice(), i.as_slice(), i.first().copied())).collect();
            let found = impact(&look(ALL, &partitions), broker, &BTreeSet::new(), |_| false);
            let mut named: Vec<&String> =
                found.goes_offline.iter().chain(&found.refuses_acks_all).chain(&found.unreadable).collect();
            let count = named.len();
            named.sort();
            named.dedup();
            prop_assert_eq!(named.len(), count, "each partition is in one list");
            for ((replicas, isr), at) in made.iter().zip(0..) {
                let left = isr.iter().filter(|id| **id != broker).count();
                let touched = replicas.contains(&broker);
                prop_assert_eq!(named.contains(&&format!("t-{at}")), touched && left < 2);
            }
        }
    }
}
