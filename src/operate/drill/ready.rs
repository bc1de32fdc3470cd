//! Whether a drill may begin, and what it takes: the cluster must be whole, and nothing of the user's may go offline by it.

use super::{records::TOPICS, timeline::broker_id};
use crate::{
    base::{
        NodeKind, NodeName,
        drill::{Drill, Plan, RATES, Which},
        units::human_duration,
    },
    clients::kafka::{ClusterView, Partition, list},
    engine::Snapshot,
    operate::{prove::Targets, whole::Said},
};
use std::{collections::BTreeMap, time::Duration};

/// Why a drill does not begin: the exit code of the contract, a sentence, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Exit code.
    pub exit: u8,
    /// One sentence.
    pub message: String,
    /// More about it.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Refused {
    /// Unsafe or not possible now.
    pub(super) fn unsafe_now(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self { exit: 8, message: message.into(), causes: Vec::new(), hint: hint.map(str::to_owned) }
    }
}

/// Looks at the order alone: what it asks for, and whether whoever gives it has agreed to what it interrupts.
pub(super) fn agreed(plan: &Plan) -> Result<(), Refused> {
    let usage = |message: String| Refused { exit: 2, message, causes: Vec::new(), hint: None };
    if !RATES.contains(&plan.rate) {
        return Err(usage(format!("{} records a second: {} to {} can be had", plan.rate, RATES.start(), RATES.end())));
    }
    if let Some(ms) = plan.lasts_ms {
        let asked = Duration::from_millis(ms);
        if plan.drill.lasts().is_none() {
            return Err(usage(format!("{} ends by itself: there is no time to set", plan.drill)));
        }
        if asked < Duration::from_secs(1) || asked > Drill::LASTS_MAX {
            let (asked, most) = (human_duration(asked), human_duration(Drill::LASTS_MAX));
            return Err(usage(format!("{} for {asked}: 1 s to {most} can be had", plan.drill)));
        }
    }
    match (plan.interrupts(), plan.confirm.as_deref()) {
        (None, _) => Ok(()),
        (Some(_), Some(name)) if name == plan.drill.as_str() => Ok(()),
        (Some(what), _) => Err(Refused::unsafe_now(
            format!("{} interrupts service: {what}", plan.drill),
            Some(&format!("--confirm {} says that this is wanted", plan.drill)),
        )),
    }
}

/// Looks at what there is: brokers, a MySQL server.
pub(super) fn possible(drill: Drill, targets: &Targets) -> Result<(), Refused> {
    let brokers = targets.kafka.as_ref().map_or(0, |k| k.brokers.len());
    match drill {
        Drill::BrokerKill | Drill::BrokerTerm | Drill::BrokerPause | Drill::TwoBrokers if brokers < 3 => {
            let least = "three of them are needed: with fewer, a write needs every broker";
            Err(Refused::unsafe_now(format!("{drill}: there are {brokers} brokers, and {least}"), None))
        }
        Drill::ZookeeperRestart | Drill::ZookeeperDown if brokers == 0 => {
            Err(Refused::unsafe_now(format!("{drill}: there are no brokers that would notice"), None))
        }
        Drill::MysqlKill if targets.mysql.is_none() => {
            Err(Refused::unsafe_now(format!("{drill}: there is no MySQL server that the supervisor has set up"), None))
        }
        Drill::DiskFull | Drill::PortThief | Drill::ClusterIdMismatch if brokers < 3 => {
            Err(Refused::unsafe_now(format!("{drill}: there are {brokers} brokers, and three are needed"), None))
        }
        Drill::ColdRestart if brokers == 0 && targets.mysql.is_none() => {
            Err(Refused::unsafe_now(format!("{drill}: there are neither brokers nor a MySQL server to write to"), None))
        }
        Drill::BrokerKill
        | Drill::BrokerTerm
        | Drill::BrokerPause
        | Drill::TwoBrokers
        | Drill::ZookeeperRestart
        | Drill::ZookeeperDown
        | Drill::MysqlKill
        | Drill::ColdRestart
        | Drill::DiskFull
        | Drill::PortThief
        | Drill::ClusterIdMismatch => Ok(()),
    }
}

/// Whether a node belongs to what a drill writes to.
pub(super) fn is_of_the_stack(kind: NodeKind) -> bool {
    match kind {
        NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql => true,
        NodeKind::KafkaUi | NodeKind::Command => false,
    }
}

/// A node that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sick {
    /// It serves all the same: what its probe found may pass by itself.
    pub(super) serves: bool,
    words: String,
}

impl std::fmt::Display for Sick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

/// A node of the stack that is not ready, one that does not serve before one that does; none: each is ready.
pub(super) fn sick(snapshot: &Snapshot) -> Option<Sick> {
    let sick = |n: &&std::sync::Arc<crate::engine::NodeSnapshot>| is_of_the_stack(n.kind) && n.state != "ready";
    let node = snapshot.nodes.iter().filter(sick).min_by_key(|n| n.serves)?;
    Some(Sick { serves: node.serves, words: format!("{} is {} ({})", node.name, node.state, node.detail) })
}

/// Which nodes a drill breaks. `dice` is a random number.
pub(super) fn victims(
    plan: &Plan,
    snapshot: &Snapshot,
    said: Option<&Said>,
    dice: u64,
) -> Result<Vec<NodeName>, Refused> {
    let of_kind = |kind: NodeKind| -> Vec<NodeName> {
        snapshot.nodes.iter().filter(|n| n.kind == kind).map(|n| n.name.clone()).collect()
    };
    let ours: Vec<u32> = snapshot.nodes.iter().filter_map(|n| broker_id(n.kind)).collect();
    match plan.drill {
        Drill::BrokerKill | Drill::BrokerTerm | Drill::BrokerPause | Drill::PortThief => {
            Ok(vec![NodeName::broker(broker(plan.which, said, &ours, dice)?)])
        }
        Drill::TwoBrokers => {
            let first = broker(plan.which, said, &ours, dice)?;
            let second =
                ours.iter().copied().find(|id| *id > first).or_else(|| ours.iter().copied().find(|id| *id != first));
            Ok(std::iter::once(first).chain(second).map(NodeName::broker).collect())
        }
        Drill::ZookeeperRestart | Drill::ZookeeperDown => Ok(of_kind(NodeKind::Zookeeper)),
        Drill::MysqlKill => Ok(of_kind(NodeKind::Mysql)),
        Drill::ColdRestart | Drill::DiskFull | Drill::ClusterIdMismatch => Ok(snapshot
            .nodes
            .iter()
            // A command that has done its work is not run a second time, and what has failed is not up.
            .filter(|n| n.wanted == crate::engine::Wanted::Up && n.process.is_some())
            .map(|n| n.name.clone())
            .collect()),
    }
}

/// One of the brokers of this root; others may be in the cluster.
fn broker(which: Which, said: Option<&Said>, ours: &[u32], dice: u64) -> Result<u32, Refused> {
    let cannot = |why: &str| Refused::unsafe_now(format!("no broker can be chosen: {why}"), None);
    let said = said.ok_or_else(|| cannot("there is none"))?;
    let controller = said.controller();
    let Some(view) = said.views.values().flatten().next() else { return Err(cannot("none answers")) };
    let ids: Vec<u32> = view.broker_ids().into_iter().filter(|id| ours.contains(id)).collect();
    match which {
        Which::Controller => match controller {
            Some(id) if ids.contains(&id) => Ok(id),
            Some(id) => Err(cannot(&format!("the controller, broker {id}, is none of this root's"))),
            None => Err(cannot("they do not agree on the controller")),
        },
        Which::Any => {
            let count = u64::try_from(ids.len()).unwrap_or(1).max(1);
            let at = usize::try_from(dice % count).unwrap_or(0);
            ids.get(at).copied().ok_or_else(|| cannot("there is none"))
        }
        Which::Leader => {
            let mut leads: BTreeMap<u32, usize> = ids.iter().map(|id| (*id, 0)).collect();
            for leader in view.partitions().filter_map(|(_, p)| p.leader) {
                if let Some(count) = leads.get_mut(&leader) {
                    *count += 1;
                }
            }
            let others = leads.into_iter().filter(|(id, _)| Some(*id) != controller);
            // of two that lead as many the one with the lower id
            let most = others.max_by_key(|(id, count)| (*count, std::cmp::Reverse(*id)));
            most.map(|(id, _)| id).ok_or_else(|| cannot("there is only the controller"))
        }
    }
}

/// Partitions that nobody leads, or that refuse writes with `acks=all`, while these brokers are away: with what they need.
/// `min_isr` tells `min.insync.replicas` of a topic. Of two brokers only what nobody would lead: that writes are refused is what that
/// drill is about, and whoever orders it agrees. None for drills that take everything away on purpose, or no broker.
pub(super) fn harmed(drill: Drill, taken: &[u32], view: &ClusterView, min_isr: impl Fn(&str) -> usize) -> Vec<String> {
    let takes_two = match drill {
        Drill::BrokerKill | Drill::BrokerTerm | Drill::BrokerPause => false,
        Drill::TwoBrokers => true,
        Drill::ZookeeperRestart
        | Drill::ZookeeperDown
        | Drill::MysqlKill
        | Drill::ColdRestart
        | Drill::DiskFull
        | Drill::PortThief
        | Drill::ClusterIdMismatch => return Vec::new(),
    };
    let harm = |topic: &str, p: &Partition| {
        let left = p.isr.iter().filter(|id| !taken.contains(id)).count();
        let needs = if takes_two { 1 } else { min_isr(topic).max(1) };
        let hurt = p.replicas.iter().any(|id| taken.contains(id)) && left < needs;
        let brokers = if p.isr.len() > 1 { "brokers" } else { "broker" };
        hurt.then(|| match left {
            0 => format!("{topic}-{} is only on {brokers} {}: nobody would lead it", p.id, list(&p.isr)),
            left => format!("{topic}-{} would have {left} replicas in sync and needs {needs} for a write", p.id),
        })
    };
    // Where two are enough for a topic of ours, what it has on these two waits with what writes to it.
    let theirs = view.partitions().filter(|(topic, _)| !takes_two || !TOPICS.contains(topic));
    theirs.filter_map(|(topic, p)| harm(topic, p)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clients::kafka::{Broker, Topic},
        engine::NodeSnapshot,
        operate::prove::{KafkaTargets, MysqlTargets},
    };
    use std::sync::Arc;

    fn plan(drill: Drill) -> Plan {
        Plan {
            drill,
            which: Which::Leader,
            lasts_ms: None,
            rate: 500,
            confirm: Some(drill.as_str().into()),
            no_guard: false,
        }
    }

    fn targets(brokers: u32, mysql: bool) -> Targets {
        let kafka = KafkaTargets {
            internal: vec![],
            external: vec![],
            advertised_host: "localhost".into(),
            brokers: (1..=brokers).collect(),
            brought_home: true,
            min_isr: 2,
            rf: 3,
            zookeeper: None,
        };
        let mysql = mysql.then(|| MysqlTargets {
            socket: "/s".into(),
            root_password: "/r".into(),
            debezium_password: "/d".into(),
            address: ([127, 0, 0, 1], 1).into(),
            database: "d".into(),
        });
        Targets { kafka: (brokers > 0).then_some(kafka), mysql }
    }

    fn node(name: NodeName, kind: NodeKind, state: &'static str) -> Arc<NodeSnapshot> {
        Arc::new(NodeSnapshot::sample(name, kind, state, 1))
    }

    fn stack(broker_2: &'static str) -> Snapshot {
        let broker = |id, state| node(NodeName::broker(id), NodeKind::Broker(id), state);
        Snapshot {
            nodes: vec![
                node(NodeName::zookeeper(), NodeKind::Zookeeper, "ready"),
                broker(1, "ready"),
                broker(2, broker_2),
                broker(3, "ready"),
                node(NodeName::mysql(), NodeKind::Mysql, "ready"),
            ],
            ending: false,
        }
    }

    /// Replicas of each partition, the first of them its leader; all in sync.
    fn said(controller: u32, partitions: &[&[u32]]) -> Said {
        let partition = |(id, replicas): (u32, &&[u32])| Partition {
            id,
            leader: replicas.first().copied(),
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
        };
        let view = ClusterView {
            brokers: (1..=3).map(|id| Broker { id, host: "h".into(), port: 1 }).collect(),
            controller: Some(controller),
            topics: vec![Topic {
                name: "t".into(),
                error: None,
                partitions: (0..).zip(partitions).map(partition).collect(),
            }],
            ..ClusterView::default()
        };
        Said { views: (1..=3).map(|id| (id, Ok(view.clone()))).collect() }
    }

    #[test]
    fn what_interrupts_service_is_done_only_by_name() {
        for drill in Drill::ALL {
            assert_eq!(agreed(&plan(drill)), Ok(()));
            let refused = agreed(&Plan { confirm: None, ..plan(drill) });
            assert_eq!(refused.is_err(), plan(drill).interrupts().is_some(), "{drill}");
            if let Err(refused) = refused {
                assert_eq!(refused.exit, 8);
                assert_eq!(refused.hint.unwrap(), format!("--confirm {drill} says that this is wanted"));
            }
        }
        let other = Plan { confirm: Some("two-brokers".into()), ..plan(Drill::ColdRestart) };
        assert_eq!(agreed(&other).unwrap_err().exit, 8, "another's name");
    }

    #[test]
    fn rates_and_times_have_bounds() {
        for rate in [0, 9, 10_001, u32::MAX] {
            assert_eq!(agreed(&Plan { rate, ..plan(Drill::BrokerKill) }).unwrap_err().exit, 2);
        }
        let lasts = |drill, ms| agreed(&Plan { lasts_ms: Some(ms), ..plan(drill) }).map_err(|r| r.exit);
        assert_eq!(lasts(Drill::BrokerPause, 30_000), Ok(()));
        assert_eq!(lasts(Drill::BrokerPause, 999), Err(2));
        assert_eq!(lasts(Drill::ZookeeperDown, 300_001), Err(2));
        assert_eq!(lasts(Drill::BrokerKill, 5_000), Err(2), "it ends by itself");
    }

    #[test]
    fn a_drill_needs_what_it_breaks() {
        for drill in Drill::ALL {
            assert_eq!(possible(drill, &targets(3, true)), Ok(()), "{drill}");
            assert!(possible(drill, &targets(0, false)).is_err(), "{drill}");
        }
        assert!(possible(Drill::BrokerKill, &targets(2, true)).is_err());
        assert!(possible(Drill::MysqlKill, &targets(3, false)).is_err());
        assert_eq!(possible(Drill::ColdRestart, &targets(1, false)), Ok(()));
    }

    #[test]
    fn a_node_that_does_not_serve_is_named() {
        assert_eq!(sick(&stack("ready")), None);
        let starts = sick(&stack("starting")).unwrap();
        assert_eq!((starts.serves, starts.to_string().as_str()), (false, "broker-2 is starting (starting: words)"));
        let mut two = stack("down");
        let mut degraded = NodeSnapshot::sample(NodeName::broker(1), NodeKind::Broker(1), "degraded", 1);
        degraded.serves = true;
        two.nodes[1] = Arc::new(degraded);
        assert_eq!(
            sick(&two).unwrap().to_string(),
            "broker-2 is down (down: words)",
            "what does not serve comes first"
        );
        two.nodes[2] = Arc::clone(&two.nodes[3]);
        assert!(sick(&two).unwrap().serves);
    }

    #[test]
    fn the_victim_is_the_one_that_was_asked_for() {
        let said = said(1, &[&[1, 2, 3], &[1, 2, 3], &[3, 1, 2], &[2, 3, 1], &[2, 1, 3]]);
        let taken = |drill, which, dice| {
            let plan = Plan { which, ..plan(drill) };
            let names = victims(&plan, &stack("ready"), Some(&said), dice).unwrap();
            names.iter().map(|n| n.as_str().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(taken(Drill::BrokerKill, Which::Leader, 0), "broker-2", "1 leads as many and is the controller");
        assert_eq!(taken(Drill::BrokerTerm, Which::Controller, 0), "broker-1");
        assert_eq!(taken(Drill::BrokerPause, Which::Any, 5), "broker-3");
        assert_eq!(taken(Drill::TwoBrokers, Which::Leader, 0), "broker-2 broker-3");
        assert_eq!(taken(Drill::TwoBrokers, Which::Any, 2), "broker-3 broker-1");
        assert_eq!(taken(Drill::ZookeeperDown, Which::Leader, 0), "zookeeper");
        assert_eq!(taken(Drill::MysqlKill, Which::Leader, 0), "mysql");
        assert_eq!(taken(Drill::ColdRestart, Which::Leader, 0), "zookeeper broker-1 broker-2 broker-3 mysql");
        let mut with_command = stack("ready");
        with_command.nodes.push(node(NodeName::new("once").unwrap(), NodeKind::Command, "down"));
        let names = victims(&plan(Drill::ColdRestart), &with_command, Some(&said), 0).unwrap();
        assert_eq!(names.len(), 5, "what has done its work stays as it is");
    }

    #[test]
    fn a_broker_that_is_none_of_this_root_is_never_chosen() {
        // it leads most, and it is the controller
        let mut said = said(9, &[&[9, 1, 2], &[9, 2, 3], &[9, 3, 1], &[1, 2, 3]]);
        for view in said.views.values_mut().flatten() {
            view.brokers.push(Broker { id: 9, host: "h".into(), port: 1 });
        }
        let taken =
            |which, dice| victims(&Plan { which, ..plan(Drill::BrokerKill) }, &stack("ready"), Some(&said), dice);
        assert_eq!(taken(Which::Leader, 0).unwrap(), [NodeName::broker(1)]);
        for dice in 0..8 {
            assert_ne!(taken(Which::Any, dice).unwrap(), [NodeName::broker(9)], "{dice}");
        }
        assert!(taken(Which::Controller, 0).unwrap_err().message.contains("broker 9, is none of this root's"));
    }

    #[test]
    fn nothing_of_the_users_goes_offline_by_a_drill_of_one_broker() {
        let view = said(1, &[&[1, 2, 3], &[2], &[2, 3], &[3]]).views.remove(&1).unwrap().unwrap();
        let harm = |drill, broker, min| harmed(drill, &[broker], &view, |_| min);
        assert_eq!(
            harm(Drill::BrokerKill, 2, 2),
            [
                "t-1 is only on broker 2: nobody would lead it",
                "t-2 would have 1 replicas in sync and needs 2 for a write"
            ]
        );
        assert_eq!(harm(Drill::BrokerPause, 2, 1), ["t-1 is only on broker 2: nobody would lead it"]);
        assert!(harm(Drill::BrokerTerm, 1, 2).is_empty());
        assert!(harm(Drill::ColdRestart, 2, 2).is_empty(), "everything goes away there");
        let wants_all = harm(Drill::BrokerKill, 1, 3);
        assert_eq!(wants_all, ["t-0 would have 2 replicas in sync and needs 3 for a write"]);
    }

    #[test]
    fn two_brokers_are_not_taken_from_a_partition_that_is_only_on_them() {
        let mut view = said(1, &[&[1, 2, 3], &[2], &[2, 3], &[1]]).views.remove(&1).unwrap().unwrap();
        let harm = |view: &ClusterView, taken: [u32; 2]| harmed(Drill::TwoBrokers, &taken, view, |_| 2);
        assert_eq!(
            harm(&view, [2, 3]),
            ["t-1 is only on broker 2: nobody would lead it", "t-2 is only on brokers 2 and 3: nobody would lead it"]
        );
        assert_eq!(harm(&view, [1, 3]), ["t-3 is only on broker 1: nobody would lead it"]);
        view.topics[0].partitions.truncate(1);
        assert!(harm(&view, [2, 3]).is_empty(), "that a write is refused there was agreed to");
        view.topics[0].partitions[0].isr = vec![2, 3];
        assert_eq!(harm(&view, [2, 3]).len(), 1, "the third is not in sync");
        view.topics[0].name = TOPICS[1].into();
        assert!(harm(&view, [2, 3]).is_empty(), "ours");
    }
}
