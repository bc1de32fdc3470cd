//! What is looked at before a broker is taken away: ZooKeeper, what every broker says of every partition, and what would break.
//!
//! One look is a `Field`; what it means for one broker is a `Verdict`. What stands in the way is of one of three classes, as in
//! Strimzi's KafkaRoller: it passes and is waited for; it passes only by somebody's hand, and may be gone over by order where nothing
//! breaks; or no waiting changes it, and without consent nothing is done. What cannot be told is waited for: it is no consent.

use super::{
    cluster::{Look, name, some},
    impact::{self, Impact, led_with_followers},
    whole::{self, Brokers, Obstacle, Said},
};
use crate::{
    base::{
        NodeKind, NodeName,
        recipe::{ProbeKind, Recipe},
    },
    clients::{
        ClientError,
        kafka::{ahead_of_followers, list, min_isr},
        zookeeper::Session,
    },
    engine::{Handle, NodeSnapshot, Snapshot, Wanted},
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

/// Bound of one question beside metadata.
const ASK: Duration = Duration::from_secs(5);

/// What whoever gives the order has agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Partitions with too few replicas may be away meanwhile.
    pub accept_unavailable: bool,
    /// Replicas on brokers that nobody runs are not waited for where nothing breaks.
    pub force: bool,
}

/// What a look at the cluster means for a broker that shall be taken away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may go.
    Goes {
        /// What breaks all the same; none: nothing of it runs, so nothing more can.
        impact: Option<Impact>,
        /// What was gone over.
        over: Option<String>,
    },
    /// Not now.
    Waits(Obstacle),
    /// Not without consent: partitions would be away, and no waiting changes that. Which, in clauses.
    Refused(Vec<String>),
}

/// Weighs it. `impact` is what would break: none when nothing of the broker runs.
pub(super) fn judge(
    node: &NodeName,
    obstacle: Option<Obstacle>,
    impact: Result<Option<Impact>, String>,
    terms: Terms,
) -> Verdict {
    let over = match obstacle {
        Some(obstacle) if !(obstacle.forceable && terms.force) => return Verdict::Waits(obstacle),
        Some(obstacle) => Some(obstacle.what),
        None => None,
    };
    let impact = match impact {
        Ok(impact) => impact,
        Err(why) => return Verdict::Waits(Obstacle::passing(format!("what would break cannot be told: {why}"))),
    };
    let Some(found) = &impact else { return Verdict::Goes { impact, over } };
    if !terms.accept_unavailable {
        let causes = never_safe(node, found);
        if !causes.is_empty() {
            return Verdict::Refused(causes);
        }
    }
    match (found.passing(), over) {
        (None, over) => Verdict::Goes { impact, over },
        (Some(breaks), None) => Verdict::Waits(Obstacle::passing(breaks)),
        (Some(breaks), Some(over)) => Verdict::Waits(Obstacle::passing(format!("{breaks}: {over}"))),
    }
}

/// Which partitions are unavailable while `node` is away, whatever is waited for.
pub(super) fn never_safe(node: &NodeName, found: &Impact) -> Vec<String> {
    let never =
        |list: &[String]| list.iter().filter(|name| found.never_safe.contains(name)).cloned().collect::<Vec<_>>();
    [
        (never(&found.goes_offline), "have no replica elsewhere and are offline"),
        (never(&found.refuses_acks_all), "have too few replicas and refuse writes with acks=all"),
    ]
    .into_iter()
    .filter(|(list, _)| !list.is_empty())
    .map(|(list, words)| format!("while {node} is away these {words}: {}", some(&list)))
    .collect()
}

/// The cluster at one moment.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) said: Said,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) rests: Vec<u32>,
    asked: Brokers,
    ids: BTreeMap<NodeName, u32>,
    zookeeper: Option<(NodeName, SocketAddr)>,
}

impl Field {
    /// Asks every broker that shall run. `force`: what each node runs with.
    pub(super) async fn look(engine: &Handle, force: &BTreeMap<NodeName, Recipe>) -> Self {
        let snapshot = engine.snapshot();
        let (asked, rests) = brokers(&snapshot, force);
        let ids = force.iter().filter_map(|(node, r)| Some((node.clone(), broker_id(Some(r))?))).collect();
        let zookeeper = force.iter().find_map(|(node, r)| match r.probe.kind {
            ProbeKind::Zookeeper(address) => Some((node.clone(), address)),
            ProbeKind::None
            | ProbeKind::Tcp(_)
            | ProbeKind::Http(_)
            | ProbeKind::Exec(_)
            | ProbeKind::Notify
            | ProbeKind::Broker { .. }
            | ProbeKind::Mysql { .. } => None,
        });
        Self { said: whole::ask(&asked).await, snapshot, rests, asked, ids, zookeeper }
    }

    /// Whether a node serves.
    pub(super) fn serves(&self, node: &NodeName) -> bool {
        self.node(node).is_some_and(|n| n.serves)
    }

    /// A node as the engine sees it.
    pub(super) fn node(&self, node: &NodeName) -> Option<&NodeSnapshot> {
        self.snapshot.nodes.iter().find(|n| n.name == *node).map(|n| &**n)
    }

    /// The broker of a node; none: it is no broker.
    pub(super) fn id(&self, node: &NodeName) -> Option<u32> {
        self.ids.get(node).copied()
    }

    /// What is known without ZooKeeper's own word. A broker that is stopped by order takes its settings and stays down: nobody
    /// misses it more than before.
    pub(super) async fn verdict(&self, node: &NodeName, terms: Terms) -> Verdict {
        let free = Verdict::Goes { impact: None, over: None };
        let (Some(seen), Some(id)) = (self.node(node), self.id(node)) else { return free };
        if seen.wanted == Wanted::Down {
            return free;
        }
        if let Some(why) = self.zookeeper_is_away() {
            return Verdict::Waits(Obstacle::passing(why));
        }
        let obstacle = self.said.obstacle(Some(id), is_sick(seen), &self.rests);
        if let Some(obstacle) = obstacle.clone().filter(|o| !(o.forceable && terms.force)) {
            return Verdict::Waits(obstacle);
        }
        let impact = if seen.process.is_none() { Ok(None) } else { self.impact(id).await.map(Some) };
        judge(node, obstacle, impact, terms)
    }

    /// What breaks if broker `id` is stopped.
    pub(super) async fn impact(&self, id: u32) -> Result<Impact, String> {
        let Some(view) = self.said.view().cloned() else { return Err("no broker answers".into()) };
        // What holds for topics is asked below, and a broker's thread that looks it up waits there until ZooKeeper is back.
        if let Some(why) = self.zookeeper_is_away() {
            return Err(why);
        }
        let topics: Vec<&str> = view.topics.iter().map(|t| t.name.as_str()).collect();
        let from = view.answering.and_then(|id| self.asked.get(&id)).ok_or("the broker that answers is not listed")?;
        let min_isr = min_isr(*from, &topics, ASK).await.map_err(|e| e.in_one_line())?;
        let look = Look { view, min_isr };
        let led = led_with_followers(&look, id);
        let ahead = match self.asked.get(&id) {
            Some(address) => ahead_of_followers(*address, &led, ASK).await,
            None => Ok(Default::default()),
        };
        // A leader that does not say how far it is may be ahead everywhere.
        let ahead = ahead.unwrap_or_else(|_| {
            led.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic.clone(), *id))).collect()
        });
        Ok(impact::impact(&look, id, &ahead, |other| self.said.is_no_more(other, &self.rests)))
    }

    /// ZooKeeper as the engine sees it; none: it is ready. Brokers go on answering from memory without it, and none of them can
    /// hand over what it leads.
    pub(super) fn zookeeper_is_away(&self) -> Option<String> {
        let (name, _) = self.zookeeper.as_ref()?;
        match self.node(name) {
            Some(node) if node.state == "ready" => None,
            Some(node) => Some(format!("{name} is not ready ({}): no leader could move", node.detail)),
            None => Some(format!("there is no {name}: no leader could move")),
        }
    }

    /// ZooKeeper by its own word: it takes a session, knows a controller, and every broker that shall run is registered but
    /// `next` where that is to be cured. A session is two of its transactions, so this is asked when all else is well.
    pub(super) async fn unregistered(&self, next: Option<&NodeName>) -> Option<String> {
        let (_, address) = self.zookeeper.as_ref()?;
        let cured = next.and_then(|node| self.node(node)).filter(|n| is_sick(n)).and_then(|n| self.id(&n.name));
        let wanted: Vec<u32> = self.asked.keys().copied().filter(|id| Some(*id) != cured).collect();
        unregistered(*address, &wanted).await
    }

    /// What breaks if broker `id` is stopped while ZooKeeper cannot be used: nobody takes over what it leads. What holds for a topic
    /// cannot be read meanwhile, a broker looks it up there (`ZkConfigRepository`, 3.5).
    pub(super) fn impact_without_zookeeper(&self, id: u32) -> Impact {
        let mut impact = Impact::default();
        for (topic, p) in self.said.view().into_iter().flat_map(|view| view.partitions()) {
            if p.replicas == [id] {
                impact.goes_offline.push(name(topic, p));
                impact.never_safe.push(name(topic, p));
            } else if p.leader == Some(id) {
                impact.unreadable.push(name(topic, p));
            }
        }
        impact
    }
}

/// What ZooKeeper's tree has of the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registry {
    /// Those that are not registered.
    missing: Vec<u32>,
    /// `/controller` is there.
    controller: bool,
}

async fn registry(address: SocketAddr, brokers: &[u32]) -> Result<Registry, ClientError> {
    let mut session = Session::connect(address, ASK).await?;
    let looked = async {
        let mut missing = Vec::new();
        for id in brokers {
            if session.exists(&format!("/brokers/ids/{id}")).await?.is_none() {
                missing.push(*id);
            }
        }
        Ok(Registry { missing, controller: session.exists("/controller").await?.is_some() })
    };
    let looked: Result<Registry, ClientError> = looked.await;
    // What was seen counts, also when the goodbye fails.
    let _ = session.close().await;
    looked
}

/// What ZooKeeper itself says against taking anything away while these brokers run; none: nothing.
pub(super) async fn unregistered(zookeeper: SocketAddr, brokers: &[u32]) -> Option<String> {
    registered_badly(registry(zookeeper, brokers).await.map_err(|e| e.in_one_line()))
}

fn registered_badly(answer: Result<Registry, String>) -> Option<String> {
    match answer {
        Err(why) => Some(format!("ZooKeeper cannot be used ({why}): no leader could move")),
        Ok(Registry { missing, .. }) if !missing.is_empty() => {
            let are = if missing.len() == 1 { "is" } else { "are" };
            Some(format!("broker {} {are} not registered in ZooKeeper", list(&missing)))
        }
        Ok(Registry { controller: false, .. }) => Some("no broker is registered as the controller in ZooKeeper".into()),
        Ok(Registry { .. }) => None,
    }
}

/// The brokers that shall run, with their listeners, and those that are stopped by order.
pub(super) fn brokers(snapshot: &Snapshot, force: &BTreeMap<NodeName, Recipe>) -> (Brokers, Vec<u32>) {
    let (mut asked, mut rests) = (Brokers::new(), Vec::new());
    for node in &snapshot.nodes {
        if let Some(ProbeKind::Broker { id, internal, .. }) = force.get(&node.name).map(|r| &r.probe.kind) {
            match node.wanted {
                Wanted::Up => drop(asked.insert(*id, *internal)),
                Wanted::Down => rests.push(*id),
            }
        }
    }
    (asked, rests)
}

/// Brokers that start just now and are not asked about themselves, each with how far it is (logs that are left to be read).
pub(super) fn starting(snapshot: &Snapshot) -> String {
    let starts = |n: &&Arc<NodeSnapshot>| matches!(n.kind, NodeKind::Broker(_)) && n.state == "starting";
    snapshot.nodes.iter().filter(starts).map(|n| format!("; {}: {}", n.name, n.detail)).collect()
}

/// A broker that is not waited for before its own restart. One that is on its way up, or that only catches up, is.
pub(super) fn is_sick(node: &NodeSnapshot) -> bool {
    !node.serves && matches!(node.state, "degraded" | "failed" | "waiting" | "down")
}

pub(super) fn broker_id(recipe: Option<&Recipe>) -> Option<u32> {
    match recipe.map(|r| &r.probe.kind) {
        Some(ProbeKind::Broker { id, .. }) => Some(*id),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::cluster::samples::{ALL, Row, look},
        *,
    };

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    /// One partition with a single replica, one below its minimum for a while.
    fn breaks(never: &[&str], passing: &[&str]) -> Impact {
        Impact {
            goes_offline: names(never),
            refuses_acks_all: names(passing),
            never_safe: names(never),
            ..Impact::default()
        }
    }

    fn weighed(obstacle: Option<(&str, bool)>, impact: Result<Option<Impact>, String>, terms: (bool, bool)) -> String {
        let obstacle = obstacle.map(|(what, forceable)| Obstacle { what: what.into(), forceable });
        let terms = Terms { accept_unavailable: terms.0, force: terms.1 };
        match judge(&NodeName::broker(1), obstacle, impact, terms) {
            Verdict::Goes { over: None, .. } => "goes".into(),
            Verdict::Goes { over: Some(over), .. } => format!("goes over {over}"),
            Verdict::Waits(Obstacle { what, .. }) => format!("waits: {what}"),
            Verdict::Refused(causes) => format!("refused: {}", causes.join("; ")),
        }
    }

    const NOTHING: (bool, bool) = (false, false);

    #[test]
    fn what_stands_in_the_way_decides_by_its_class() {
        let fine = || Ok(Some(Impact::default()));
        assert_eq!(weighed(None, fine(), NOTHING), "goes");
        assert_eq!(weighed(Some(("behind", false)), fine(), (true, true)), "waits: behind", "no order goes over it");
        assert_eq!(weighed(Some(("stopped", true)), fine(), NOTHING), "waits: stopped");
        assert_eq!(weighed(Some(("stopped", true)), fine(), (false, true)), "goes over stopped");
        assert_eq!(weighed(None, Ok(None), NOTHING), "goes", "nothing of it runs");
        let unknown = weighed(None, Err("no answer".into()), (true, true));
        assert_eq!(unknown, "waits: what would break cannot be told: no answer");
    }

    #[test]
    fn force_is_no_way_over_what_breaks() {
        let short = || Ok(Some(breaks(&[], &["t-0"])));
        let waits = "waits: t-0 would refuse writes with acks=all";
        assert_eq!(weighed(None, short(), (true, true)), waits);
        assert_eq!(weighed(Some(("stopped", true)), short(), (true, true)), format!("{waits}: stopped"));
    }

    #[test]
    fn partitions_that_are_never_safe_need_consent_whenever_they_are_seen() {
        let alone = || Ok(Some(breaks(&["alone-0"], &[])));
        let refused = "refused: while broker-1 is away these have no replica elsewhere and are offline: alone-0";
        assert_eq!(weighed(None, alone(), NOTHING), refused);
        assert_eq!(weighed(Some(("stopped", true)), alone(), (false, true)), refused, "force is no consent to that");
        assert_eq!(weighed(None, alone(), (true, false)), "goes");
        let both = || Ok(Some(breaks(&["alone-0"], &["t-0"])));
        assert_eq!(weighed(None, both(), (true, false)), "waits: t-0 would refuse writes with acks=all");
    }

    #[test]
    fn a_zookeeper_that_answers_and_that_brokers_cannot_use_is_seen() {
        let said =
            |missing: &[u32], controller| registered_badly(Ok(Registry { missing: missing.to_vec(), controller }));
        assert_eq!(said(&[], true), None);
        assert_eq!(said(&[2], true).unwrap(), "broker 2 is not registered in ZooKeeper");
        assert_eq!(said(&[1, 3], false).unwrap(), "broker 1 and 3 are not registered in ZooKeeper");
        assert_eq!(said(&[], false).unwrap(), "no broker is registered as the controller in ZooKeeper");
        let refused = registered_badly(Err("it refuses connections".into())).unwrap();
        assert_eq!(refused, "ZooKeeper cannot be used (it refuses connections): no leader could move");
    }

    fn field(state: &'static str) -> Field {
        Field {
            said: Said::default(),
            snapshot: Arc::new(Snapshot {
                nodes: vec![Arc::new(NodeSnapshot::sample(NodeName::zookeeper(), NodeKind::Zookeeper, state, 1))],
                ending: false,
            }),
            rests: Vec::new(),
            asked: Brokers::new(),
            ids: BTreeMap::new(),
            zookeeper: Some((NodeName::zookeeper(), ([127, 0, 0, 1], 1).into())),
        }
    }

    #[test]
    fn without_zookeeper_what_a_broker_leads_has_no_leader_when_it_goes() {
        let mut field = field("down");
        let rows: &[Row<'_>] =
            &[(ALL, ALL, Some(1)), (ALL, ALL, Some(2)), (&[1], &[1], Some(1)), (&[1, 2], &[1], None)];
        field.said.views.insert(1, Ok(look(ALL, rows).view));
        let found = field.impact_without_zookeeper(1);
        assert_eq!((found.unreadable, found.goes_offline), (names(&["t-0"]), names(&["t-2"])));
        assert_eq!(field.impact_without_zookeeper(3), Impact::default());
    }

    #[test]
    fn zookeeper_counts_only_when_it_is_ready() {
        assert_eq!(field("ready").zookeeper_is_away(), None);
        for state in ["down", "degraded", "starting", "failed", "stopping"] {
            let why = format!("zookeeper is not ready ({state}: words): no leader could move");
            assert_eq!(field(state).zookeeper_is_away(), Some(why));
        }
        let mut gone = field("ready");
        gone.snapshot = Arc::new(Snapshot { nodes: vec![], ending: false });
        assert!(gone.zookeeper_is_away().is_some());
    }

    #[test]
    fn a_broker_that_reads_its_logs_says_how_many_are_left() {
        let mut node = NodeSnapshot::sample(NodeName::broker(2), NodeKind::Broker(2), "starting", 1);
        node.detail = "starting: 7/27 logs loaded, 20 left".into();
        let ready = NodeSnapshot::sample(NodeName::broker(1), NodeKind::Broker(1), "ready", 1);
        let snapshot = Snapshot { nodes: vec![Arc::new(ready), Arc::new(node)], ending: false };
        assert_eq!(starting(&snapshot), "; broker-2: starting: 7/27 logs loaded, 20 left");
    }
}
