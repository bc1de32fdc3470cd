//! The time line of a drill: from looks at nodes, brokers and events to when what happened. Pure.

use crate::{
    base::{EventKind, EventLine, Moment, NodeKind, NodeName, drill::TimeLine, ids::ProcessId},
    clients::kafka::ClusterView,
    engine::Snapshot,
};
use std::collections::{BTreeMap, BTreeSet};

/// Watches from the fault on.
#[derive(Debug)]
pub(super) struct Watch {
    fault: Moment,
    /// Nodes that are broken, with the process each had; and which brokers they are.
    victims: BTreeMap<NodeName, Option<ProcessId>>,
    brokers: BTreeSet<u32>,
    /// Partitions that victims led and others can lead.
    led: BTreeSet<(String, u32)>,
    line: TimeLine,
    /// Times of the deaths that were seen.
    dead: BTreeMap<NodeName, u64>,
    closed: BTreeSet<NodeName>,
    /// A look at the cluster without one of the victims among its brokers.
    was_gone: bool,
    was_behind: bool,
    was_abroad: bool,
}

/// How a look at the cluster is, as far as a drill waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    /// Every broker of the plan is in the list, and every partition has all its replicas in sync.
    pub(super) full: bool,
    /// Every partition is led by the first of its replicas.
    pub(super) home: bool,
}

impl Whole {
    /// Looks at a view.
    pub(super) fn of(view: &ClusterView, wanted: &BTreeSet<u32>) -> Self {
        let listed: BTreeSet<u32> = view.brokers.iter().map(|b| b.id).collect();
        Self {
            full: wanted.is_subset(&listed)
                && view.topics.iter().all(|t| t.error.is_none())
                && view.partitions().all(|(_, p)| p.leader.is_some() && p.lagging().is_empty()),
            home: view.partitions().all(|(_, p)| p.leader.is_some() && p.leader == p.replicas.first().copied()),
        }
    }
}

impl Watch {
    /// Before anything is broken: `view` is how the cluster is; none: there are no brokers.
    pub(super) fn begin(fault: Moment, victims: &[NodeName], before: &Snapshot, view: Option<&ClusterView>) -> Self {
        let taken = before.nodes.iter().filter(|n| victims.contains(&n.name));
        let brokers: BTreeSet<u32> = taken.filter_map(|n| broker_id(n.kind)).collect();
        let process = |name: &NodeName| before.nodes.iter().find(|n| n.name == *name)?.process.clone();
        let led = view.into_iter().flat_map(ClusterView::partitions).filter(|(_, p)| {
            let by_a_victim = p.leader.is_some_and(|l| brokers.contains(&l));
            by_a_victim && p.replicas.iter().any(|r| !brokers.contains(r))
        });
        Self {
            fault,
            victims: victims.iter().map(|v| (v.clone(), process(v))).collect(),
            led: led.map(|(topic, p)| (topic.to_owned(), p.id)).collect(),
            brokers,
            line: TimeLine::default(),
            dead: BTreeMap::new(),
            closed: BTreeSet::new(),
            was_gone: false,
            was_behind: false,
            was_abroad: false,
        }
    }

    fn since(&self, at: Moment) -> u64 {
        u64::try_from(at.since(self.fault).as_millis()).unwrap_or(u64::MAX)
    }

    /// The nodes as the supervisor sees them.
    pub(super) fn nodes(&mut self, at: Moment, snapshot: &Snapshot) {
        let since = self.since(at);
        let (mut up, mut ready) = (true, true);
        for (name, old) in &self.victims {
            let Some(node) = snapshot.nodes.iter().find(|n| n.name == *name) else { continue };
            if node.process != *old {
                self.dead.entry(name.clone()).or_insert(since);
            }
            let new = node.process.is_some() && node.process != *old;
            up &= new;
            ready &= new && node.state == "ready";
        }
        if self.victims.is_empty() {
            return;
        }
        if self.dead.len() == self.victims.len() {
            self.line.death_seen.get_or_insert(since);
        }
        if up {
            self.line.process_up.get_or_insert(since);
        }
        // One that falls back is ready when it is so for good.
        if ready {
            self.line.ready.get_or_insert(since);
        } else {
            self.line.ready = None;
        }
    }

    /// From now on only those count that have died so far: which ones a fault takes is not always known before.
    pub(super) fn only_the_dead(&mut self) {
        self.victims.retain(|name, _| self.dead.contains_key(name));
        self.line.death_seen = self.dead.values().max().copied();
    }

    /// What is broken.
    pub(super) fn victims(&self) -> Vec<NodeName> {
        self.victims.keys().cloned().collect()
    }

    /// The cluster as a broker sees it that is not broken, if there is one.
    pub(super) fn view(&mut self, at: Moment, view: &ClusterView, wanted: &BTreeSet<u32>) {
        let since = self.since(at);
        let moved = |key: &(String, u32)| {
            let partition = view.topic(&key.0).and_then(|t| t.partitions.iter().find(|p| p.id == key.1));
            // One that is not there any more has no leader to wait for.
            partition.is_none_or(|p| p.leader.is_some_and(|l| !self.brokers.contains(&l)))
        };
        let moved = self.led.iter().filter(|key| moved(key)).count();
        if moved > 0 {
            self.line.first_new_leader.get_or_insert(since);
        }
        if moved == self.led.len() && moved > 0 {
            self.line.last_new_leader.get_or_insert(since);
        }
        let listed: BTreeSet<u32> = view.brokers.iter().map(|b| b.id).collect();
        if self.brokers.is_subset(&listed) {
            if self.was_gone {
                self.line.registered.get_or_insert(since);
            }
        } else {
            self.was_gone = true;
            self.line.registered = None;
        }
        let whole = Whole::of(view, wanted);
        keep(&mut self.line.isr_full, &mut self.was_behind, whole.full, since);
        keep(&mut self.line.leaders_home, &mut self.was_abroad, whole.home, since);
    }

    /// What the supervisor noted: sessions it has closed. By when it noted them: the time of day in an event is what the wall clock said.
    pub(super) fn events(&mut self, events: &[(Moment, EventLine)]) {
        for (at, event) in events.iter().filter(|(at, e)| e.is(EventKind::Fenced) && *at >= self.fault) {
            let Some(node) = event.node.as_ref().filter(|n| self.victims.contains_key(*n)) else { continue };
            if self.closed.insert(node.clone()) {
                self.line.session_closed = Some(self.since(*at));
            }
        }
    }

    /// Partitions of a victim wait for another leader.
    pub(super) fn leaders_move(&self) -> bool {
        !self.led.is_empty() && self.line.last_new_leader.is_none()
    }

    /// When it was broken.
    pub(super) fn began(&self) -> Moment {
        self.fault
    }

    /// What was seen so far.
    pub(super) fn line(&self) -> &TimeLine {
        &self.line
    }
}

/// The id of a broker; none: it is another kind of node.
pub(super) fn broker_id(kind: NodeKind) -> Option<u32> {
    match kind {
        NodeKind::Broker(id) => Some(id),
        NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => None,
    }
}

/// A state that counts from when it came back for good; none: it was never lost.
fn keep(mark: &mut Option<u64>, was_lost: &mut bool, holds: bool, since: u64) {
    if !holds {
        *was_lost = true;
        *mark = None;
    } else if *was_lost {
        mark.get_or_insert(since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Timestamp,
        clients::kafka::{Broker, Partition, Topic},
        engine::NodeSnapshot,
    };
    use std::{sync::Arc, time::Duration};

    const FAULT: Moment = Moment(50_000);

    fn at(ms: u64) -> Moment {
        FAULT + Duration::from_millis(ms)
    }

    /// Broker 2's session is closed; `wall` is what the clock of the day says then.
    fn closed(wall: i64) -> EventLine {
        let mut event = EventLine::new(EventKind::Fenced, "closed").node(&NodeName::broker(2));
        event.at = Timestamp(wall);
        event
    }

    fn snapshot(state: &'static str, incarnation: u64) -> Snapshot {
        let name = NodeName::broker(2);
        let node = NodeSnapshot::sample(name, NodeKind::Broker(2), state, incarnation);
        Snapshot { nodes: vec![Arc::new(node)], ending: false }
    }

    /// Brokers, and per partition its leader and ISR; replicas are 1, 2, 3 turned round by the partition's number.
    fn view(brokers: &[u32], partitions: &[(Option<u32>, &[u32])]) -> ClusterView {
        let partition = |(id, (leader, isr)): (u32, &(Option<u32>, &[u32]))| Partition {
            id,
            leader: *leader,
            replicas: (0..3).map(|n| (id + n) % 3 + 1).collect(),
            isr: isr.to_vec(),
        };
        ClusterView {
            brokers: brokers.iter().map(|id| Broker { id: *id, host: "h".into(), port: 1 }).collect(),
            topics: vec![Topic {
                name: "t".into(),
                error: None,
                partitions: (0..).zip(partitions).map(partition).collect(),
            }],
            ..ClusterView::default()
        }
    }

    const ALL: &[u32] = &[1, 2, 3];

    fn wanted() -> BTreeSet<u32> {
        ALL.iter().copied().collect()
    }

    fn whole() -> ClusterView {
        view(ALL, &[(Some(1), ALL), (Some(2), ALL), (Some(3), ALL)])
    }

    fn begun() -> Watch {
        Watch::begin(FAULT, &[NodeName::broker(2)], &snapshot("ready", 1), Some(&whole()))
    }

    #[test]
    fn the_death_of_a_broker_is_told_mark_by_mark() {
        let mut watch = begun();
        watch.nodes(at(1), &snapshot("ready", 1));
        watch.view(at(2), &whole(), &wanted());
        watch.nodes(at(5), &snapshot("waiting", 1));
        watch.view(at(20), &view(&[1, 3], &[(Some(1), &[1, 3]), (None, &[3]), (Some(3), &[3, 1])]), &wanted());
        watch.events(&[(at(16), closed(1_000_016))]);
        watch.events(&[(at(16), closed(1_000_016)), (at(900), closed(1_000_900))]);
        assert!(watch.leaders_move());
        watch.view(at(40), &view(&[1, 3], &[(Some(1), &[1, 3]), (Some(3), &[3]), (Some(3), &[3, 1])]), &wanted());
        assert!(!watch.leaders_move());
        watch.nodes(at(60), &snapshot("starting", 2));
        watch.view(at(1_900), &view(ALL, &[(Some(1), &[1, 3]), (Some(3), &[3]), (Some(3), &[3, 1])]), &wanted());
        watch.nodes(at(2_000), &snapshot("ready", 2));
        watch.nodes(at(2_100), &snapshot("degraded", 2));
        watch.nodes(at(2_200), &snapshot("ready", 2));
        watch.view(at(2_500), &view(ALL, &[(Some(1), ALL), (Some(3), ALL), (Some(3), ALL)]), &wanted());
        watch.view(at(4_000), &whole(), &wanted());
        let expected = TimeLine {
            death_seen: Some(5),
            session_closed: Some(16),
            first_new_leader: Some(40),
            last_new_leader: Some(40),
            process_up: Some(60),
            registered: Some(1_900),
            ready: Some(2_200),
            isr_full: Some(2_500),
            leaders_home: Some(4_000),
        };
        assert_eq!(*watch.line(), expected);
    }

    #[test]
    fn a_clock_that_is_set_while_a_drill_lasts_changes_no_mark() {
        let day = 86_400_000;
        for set in [-day, 0, day] {
            let mut watch = begun();
            // Before the fault, by a clock that was ahead then.
            watch.events(&[(Moment(49_999), closed(1_000_000 + 2 * day))]);
            assert_eq!(watch.line().session_closed, None, "{set}");
            watch.events(&[(at(16), closed(1_000_016 + set))]);
            assert_eq!(watch.line().session_closed, Some(16), "{set}");
            assert_eq!(watch.began(), FAULT);
        }
        let mut watch = begun();
        watch.nodes(Moment(1), &snapshot("waiting", 1));
        assert_eq!(watch.line().death_seen, Some(0), "no mark is before the fault");
    }

    #[test]
    fn of_all_that_could_have_died_only_those_are_waited_for_that_did() {
        let mut before = snapshot("ready", 1);
        before.nodes.push(Arc::new(NodeSnapshot::sample(NodeName::broker(3), NodeKind::Broker(3), "ready", 1)));
        let both = [NodeName::broker(2), NodeName::broker(3)];
        let mut watch = Watch::begin(FAULT, &both, &before, None);
        let mut after = snapshot("ready", 2);
        after.nodes.push(before.nodes[1].clone());
        watch.nodes(at(5), &after);
        assert_eq!((watch.line().death_seen, watch.line().ready), (None, None));
        watch.only_the_dead();
        watch.nodes(at(9), &after);
        assert_eq!(watch.victims(), [NodeName::broker(2)]);
        assert_eq!((watch.line().death_seen, watch.line().ready), (Some(5), Some(9)));
    }

    #[test]
    fn what_never_went_away_has_no_mark() {
        let mut watch = begun();
        for ms in [10, 1_000, 9_000] {
            watch.view(at(ms), &whole(), &wanted());
            watch.nodes(at(ms), &snapshot("ready", 1));
        }
        assert_eq!(*watch.line(), TimeLine::default());
    }

    #[test]
    fn a_full_set_that_is_lost_again_counts_from_its_last_return() {
        let mut watch = begun();
        let behind = view(ALL, &[(Some(1), ALL), (Some(2), &[1, 2]), (Some(3), ALL)]);
        for (ms, seen) in [(10, &behind), (20, &whole()), (30, &behind), (40, &whole()), (50, &whole())] {
            watch.view(at(ms), seen, &wanted());
        }
        assert_eq!(watch.line().isr_full, Some(40));
        assert_eq!(watch.line().leaders_home, None);
    }

    #[test]
    fn a_partition_only_on_the_victim_is_waited_for_by_nobody() {
        let mut alone = whole();
        alone.topics[0].partitions.push(Partition { id: 3, leader: Some(2), replicas: vec![2], isr: vec![2] });
        let watch = Watch::begin(FAULT, &[NodeName::broker(2)], &snapshot("ready", 1), Some(&alone));
        assert_eq!(watch.led.len(), 1);
    }

    #[test]
    fn a_cluster_is_whole_with_every_broker_and_every_replica_in_sync() {
        assert_eq!(Whole::of(&whole(), &wanted()), Whole { full: true, home: true });
        let abroad = view(ALL, &[(Some(2), ALL), (Some(2), ALL), (Some(3), ALL)]);
        assert_eq!(Whole::of(&abroad, &wanted()), Whole { full: true, home: false });
        assert!(!Whole::of(&view(&[1, 2], &[(Some(1), ALL)]), &wanted()).full, "a broker is missing");
        assert!(!Whole::of(&view(ALL, &[(None, ALL)]), &wanted()).full, "nobody leads");
    }
}
