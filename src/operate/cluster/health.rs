//! What a cluster's own words mean for its health: who leads, what is under-replicated, what refuses writes, what nobody leads, and
//! who is not where it belongs. Pure.

use crate::clients::kafka::{ByTopic, ClusterView, Partition};
use std::collections::BTreeMap;

/// `min.insync.replicas` in force, by topic; a topic that is missing is one of which it is not known.
pub type MinIsr = BTreeMap<String, u32>;

/// One answer about the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What a broker said.
    pub view: ClusterView,
    /// What holds for the topics.
    pub min_isr: MinIsr,
}

/// A broker's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The cluster lists it.
    pub alive: bool,
    /// Partitions it leads.
    pub leads: usize,
    /// Partitions whose preferred leader it is: the first of their replicas.
    pub preferred: usize,
    /// Partitions that have a replica on it.
    pub replicas: usize,
    /// Those of them whose ISR it is missing from.
    pub out_of_sync: usize,
}

/// Partitions that are not as they should be, by name (`orders-2`), each in the worst list that it belongs to; what is
/// under-replicated may be at or below its minimum besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Who the controller is.
    pub controller: Option<u32>,
    /// Every broker that is listed or has a replica.
    pub brokers: BTreeMap<u32, Share>,
    /// All partitions.
    pub partitions: usize,
    /// A replica is missing from the ISR.
    pub under_replicated: Vec<String>,
    /// As many in sync as `min.insync.replicas` wants: one more broker away and writes with acks=all are refused.
    pub at_min: Vec<String>,
    /// Fewer: they are refused.
    pub under_min: Vec<String>,
    /// Nobody leads them: no write, no read.
    pub offline: Vec<String>,
    /// Led by another than the preferred leader, though that is in sync.
    pub away: Vec<String>,
}

impl Health {
    /// Nothing is missing, and leaders are where they belong.
    pub fn is_settled(&self) -> bool {
        self.controller.is_some()
            && self.under_replicated.is_empty()
            && self.under_min.is_empty()
            && self.offline.is_empty()
            && self.away.is_empty()
    }
}

impl Look {
    /// What it means.
    pub fn health(&self) -> Health {
        let mut health = Health { controller: self.view.controller, ..Health::default() };
        for id in self.view.broker_ids() {
            health.brokers.entry(id).or_default().alive = true;
        }
        for (topic, partition) in self.view.partitions() {
            let name = || name(topic, partition);
            health.partitions += 1;
            for id in &partition.replicas {
                let share = health.brokers.entry(*id).or_default();
                share.replicas += 1;
                share.out_of_sync += usize::from(!partition.isr.contains(id));
            }
            if let Some(preferred) = partition.replicas.first() {
                health.brokers.entry(*preferred).or_default().preferred += 1;
            }
            let Some(leader) = partition.leader else {
                health.offline.push(name());
                continue;
            };
            health.brokers.entry(leader).or_default().leads += 1;
            if !partition.lagging().is_empty() {
                health.under_replicated.push(name());
            }
            if is_away(partition) {
                health.away.push(name());
            }
            if let Some(min) = self.min_isr.get(topic) {
                let in_sync = u32::try_from(partition.isr.len()).unwrap_or(u32::MAX);
                match in_sync.cmp(min) {
                    std::cmp::Ordering::Less => health.under_min.push(name()),
                    std::cmp::Ordering::Equal => health.at_min.push(name()),
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
        health
    }

    /// Partitions to be given back to their preferred leaders: those of brokers that serve and are in sync with everything
    /// they hold. A broker that still catches up would be given leaders while it has work to do.
    pub fn to_bring_home(&self, serving: &[u32]) -> BTreeMap<u32, ByTopic> {
        let full = |id: u32| self.view.replicated_by(id).out_of_sync == 0;
        let mut home: BTreeMap<u32, ByTopic> = BTreeMap::new();
        for (topic, partition) in self.view.partitions().filter(|(_, p)| is_away(p)) {
            if let Some(preferred) = partition.replicas.first().filter(|id| serving.contains(id) && full(**id)) {
                home.entry(*preferred).or_default().entry(topic.to_owned()).or_default().push(partition.id);
            }
        }
        home
    }
}

/// `orders-2`.
pub fn name(topic: &str, partition: &Partition) -> String {
    format!("{topic}-{}", partition.id)
}

/// Its preferred leader could lead it and does not.
fn is_away(partition: &Partition) -> bool {
    let preferred = partition.replicas.first().copied();
    partition.leader.is_some() && partition.leader != preferred && preferred.is_some_and(|p| partition.isr.contains(&p))
}

/// `1 partition`, `3 partitions`.
pub fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".into() } else { format!("{count} partitions") }
}

/// `orders-0, orders-1, orders-2 and 9 more`.
pub fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names.len() {
        0 => "none".into(),
        n if n <= SHOWN + 1 => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

#[cfg(test)]
pub(in crate::operate) mod tests {
    use super::*;
    use crate::clients::kafka::{Broker, Topic};

    /// A partition: replicas, ISR, leader.
    pub(in crate::operate) type Row<'a> = (&'a [u32], &'a [u32], Option<u32>);

    /// Partitions of a topic `t`, min ISR 2.
    pub(in crate::operate) fn look(alive: &[u32], partitions: &[Row<'_>]) -> Look {
        let partition = |(id, (replicas, isr, leader)): (u32, &Row<'_>)| Partition {
            id,
            leader: *leader,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
        };
        let partitions = (0..).zip(partitions).map(partition).collect();
        Look {
            view: ClusterView {
                brokers: alive.iter().map(|id| Broker { id: *id, host: "h".into(), port: 1 }).collect(),
                answering: alive.first().copied(),
                controller: alive.first().copied(),
                cluster_id: None,
                topics: vec![Topic { name: "t".into(), error: None, partitions }],
            },
            min_isr: MinIsr::from([("t".into(), 2)]),
        }
    }

    pub(in crate::operate) const ALL: &[u32] = &[1, 2, 3];

    #[test]
    fn a_whole_cluster_is_settled_and_everybody_has_a_share() {
        let health = look(ALL, &[(ALL, &[3, 1, 2], Some(1)), (&[2, 3, 1], ALL, Some(2))]).health();
        assert!(health.is_settled(), "{health:?}");
        let two = Share { alive: true, leads: 1, preferred: 1, replicas: 2, out_of_sync: 0 };
        assert_eq!((health.brokers[&2], health.partitions), (two, 2));
    }

    #[test]
    fn each_partition_is_in_the_list_it_belongs_to() {
        let health = look(
            &[1, 2],
            &[
                (ALL, &[1, 2], Some(1)),
                (&[3, 1, 2], &[1], Some(1)),
                (&[3], &[3], None),
                (&[2, 1], &[1, 2], Some(1)),
                (&[1], &[1], Some(1)),
            ],
        )
        .health();
        assert_eq!(health.under_replicated, ["t-0", "t-1"]);
        assert_eq!(health.at_min, ["t-0", "t-3"]);
        assert_eq!(health.under_min, ["t-1", "t-4"]);
        assert_eq!(health.offline, ["t-2"]);
        assert_eq!(health.away, ["t-3"], "broker 3 could not lead t-1");
        let three = Share { alive: false, leads: 0, preferred: 2, replicas: 3, out_of_sync: 2 };
        assert_eq!(health.brokers[&3], three);
    }

    #[test]
    fn of_a_topic_whose_minimum_is_not_known_nothing_is_said() {
        let mut look = look(ALL, &[(ALL, &[1], Some(1))]);
        look.min_isr.clear();
        let health = look.health();
        assert!(health.under_min.is_empty() && health.at_min.is_empty() && !health.is_settled());
    }

    #[test]
    fn leaders_go_home_to_brokers_that_serve_and_have_caught_up_with_everything() {
        let back = look(ALL, &[(&[3, 1, 2], ALL, Some(1)), (&[3, 2, 1], ALL, Some(2)), (ALL, ALL, Some(1))]);
        let home = back.to_bring_home(ALL);
        assert_eq!(home, BTreeMap::from([(3, ByTopic::from([("t".into(), vec![0, 1])]))]));
        assert!(back.to_bring_home(&[1, 2]).is_empty(), "it is being stopped");
        let half = look(ALL, &[(&[3, 1, 2], ALL, Some(1)), (&[3, 2, 1], &[1, 2], Some(2))]);
        assert!(half.to_bring_home(ALL).is_empty(), "it still catches up");
    }

    #[test]
    fn a_long_list_is_cut_and_a_rest_of_one_is_named() {
        let names = |n: u32| (0..n).map(|i| format!("t-{i}")).collect::<Vec<_>>();
        assert_eq!(some(&names(4)), "t-0, t-1, t-2, t-3");
        assert_eq!(some(&names(5)), "t-0, t-1, t-2 and 2 more");
        assert_eq!((partitions(1), partitions(2)), ("1 partition".into(), "2 partitions".into()));
    }
}
