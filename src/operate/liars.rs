//! Listeners that lie, in front of librdkafka's mock brokers: for tests of what believes no listener. Neither a roll nor a drill takes
//! anything away beside one.

use super::{
    drill::{self, Refused},
    gate::Terms,
    operation::Operations,
    prove::{KafkaTargets, Targets},
    reload::{Failed, Report},
    roll,
};
use crate::{
    base::{
        Layout, NodeKind, NodeName,
        drill::{Drill, Plan, Which},
        recipe::{ProbeKind, Recipe},
    },
    clients::kafka::listener_metadata,
    engine::{Change, EngineOrder, Handle, NodeSnapshot, Snapshot},
};
use rdkafka::mocking::MockCluster;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The topic of `prove`.
const TOPIC: &str = "test-phase1";

/// Three brokers, each of which leads one partition of the topic of `prove`.
pub(super) fn cluster() -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 3, 3).unwrap();
    // It would choose leaders at random, and a broker without a partition is missed by no writer.
    for partition in 0..3 {
        cluster.partition_leader(TOPIC, partition, Some(partition + 1)).unwrap();
    }
    cluster
}

pub(super) fn addresses(bootstrap: &str) -> Vec<SocketAddr> {
    bootstrap.split(',').map(|a| a.parse().unwrap()).collect()
}

/// Bytes of an answer, and what becomes of them, of the same length.
pub(super) type Swap = (Vec<u8>, Vec<u8>);

/// A listener that hands everything on to another and changes what it says. Brokers with a wrong `advertised.listeners` say just
/// that, all of them.
fn liar(listener: TcpListener, to: SocketAddr, changes: Vec<Swap>) {
    assert!(changes.iter().all(|(from, into)| from.len() == into.len()));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let changes = changes.clone();
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(to).await else { return };
                let (mut asks, mut hears) = client.into_split();
                let (mut answers, mut asked) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
                while let Ok(length) = answers.read_i32().await {
                    let mut frame = vec![0; usize::try_from(length).unwrap()];
                    if answers.read_exact(&mut frame).await.is_err() {
                        return;
                    }
                    for at in 0..frame.len() {
                        if let Some((_, into)) = changes.iter().find(|(from, _)| frame[at..].starts_with(from)) {
                            frame[at..at + into.len()].copy_from_slice(into);
                        }
                    }
                    if hears.write_all(&[&length.to_be_bytes()[..], &frame].concat()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// As it stands in an answer.
pub(super) fn port(address: SocketAddr) -> Vec<u8> {
    i32::from(address.port()).to_be_bytes().to_vec()
}

/// Liars before every broker, so that no answer tells the truth: `lies` besides their own ports. Where they listen.
pub(super) async fn liars(brokers: &[SocketAddr], lies: Vec<Swap>) -> Vec<SocketAddr> {
    let mut listeners = Vec::new();
    for _ in brokers {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    let own = brokers.iter().zip(&addresses).map(|(broker, liar)| (port(*broker), port(*liar)));
    let changes: Vec<Swap> = lies.into_iter().chain(own).collect();
    for (listener, broker) in listeners.into_iter().zip(brokers) {
        liar(listener, *broker, changes.clone());
    }
    addresses
}

/// What verify, drills and rolls are pointed at: three brokers on these listeners.
pub(super) fn targets(internal: &[SocketAddr], external: &[SocketAddr]) -> KafkaTargets {
    KafkaTargets {
        internal: internal.to_vec(),
        external: external.to_vec(),
        advertised_host: "localhost".into(),
        brokers: vec![1, 2, 3],
        brought_home: true,
        min_isr: 2,
        rf: 3,
        zookeeper: None,
    }
}

/// Three brokers that are ready, as their last probes found them, at these INTERNAL listeners.
struct Believed {
    dir: tempfile::TempDir,
    internal: Vec<SocketAddr>,
    ordered: Arc<Mutex<Vec<EngineOrder>>>,
}

impl Believed {
    fn at(internal: Vec<SocketAddr>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(Layout::new(dir.path()).state()).unwrap();
        Self { dir, internal, ordered: Arc::default() }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.dir.path())
    }

    fn engine(&self) -> Handle {
        let broker = |id| {
            let mut node = NodeSnapshot::sample(NodeName::broker(id), NodeKind::Broker(id), "ready", 1);
            node.serves = true;
            Arc::new(node)
        };
        let snapshot = Snapshot { nodes: (1..=3).map(broker).collect(), ending: false };
        let ordered = Arc::clone(&self.ordered);
        Handle::answering(&self.layout(), snapshot, move |order| {
            ordered.lock().unwrap().push(order);
            Ok(vec![])
        })
    }

    fn recipes(&self) -> Vec<Recipe> {
        let recipe = |(id, internal): (u32, &SocketAddr)| {
            let mut recipe = crate::services::of_a_command();
            (recipe.node, recipe.kind) = (NodeName::broker(id), NodeKind::Broker(id));
            recipe.probe.kind = ProbeKind::Broker { id, internal: *internal, external: *internal };
            recipe
        };
        (1..).zip(&self.internal).map(recipe).collect()
    }

    /// A roll of all, which waits for a moment only.
    async fn roll(&self) -> Failed {
        let max_wait = Duration::from_millis(300);
        let asked = roll::Asked { nodes: Vec::new(), max_wait, terms: Terms::default(), leaders_home: false };
        let rolled = roll::roll(&self.engine(), &asked, &self.recipes(), &mut Unheard).await;
        rolled.expect_err("a roll beside a listener that lies")
    }

    async fn drill(&self) -> Refused {
        let (engine, layout) = (self.engine(), self.layout());
        let kafka = targets(&self.internal, &self.internal);
        let targets = Targets { kafka: Some(kafka), mysql: None };
        let operations = Operations::new(layout.clone(), engine.journal().clone());
        let agree_within = Duration::from_millis(300);
        let stage =
            drill::Stage { layout: &layout, engine: &engine, targets: &targets, operations: &operations, agree_within };
        let (drill, which) = (Drill::BrokerKill, Which::Any);
        let plan = Plan { drill, which, lasts_ms: None, rate: 500, confirm: None, no_guard: false };
        let made = drill::run(&stage, &plan, None, &mut |_| ()).await;
        made.expect_err("a drill beside a listener that lies")
    }

    /// What was ordered of nodes.
    fn touched(&self) -> Vec<EngineOrder> {
        let mut ordered = std::mem::take(&mut *self.ordered.lock().unwrap());
        // how a list of them is shown
        ordered.retain(|order| !matches!(order, EngineOrder::Change(Change::Order(_))));
        ordered
    }
}

struct Unheard;

impl Report for Unheard {
    fn step(&mut self, _: Option<&NodeName>, _: String) {}

    fn waits(&mut self, _: &NodeName, _: String) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_roll_nor_a_drill_touches_anything_beside_a_listener_that_lies() {
    let mock = cluster();
    let brokers = addresses(&mock.bootstrap_servers());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let honest = liars(&brokers, Vec::new()).await;
    let elsewhere = liars(&brokers, vec![(port(brokers[1]), port(nobody))]).await;
    for (internal, why) in [
        (vec![honest[0], honest[2], honest[2]], "broker 3 answers where broker 2 listens"),
        (vec![honest[0], elsewhere[1], honest[2]], "broker 2 says that it listens elsewhere than where it answers"),
    ] {
        let believed = Believed::at(internal);
        let failed = believed.roll().await;
        assert_eq!((failed.exit, failed.causes.first().map(String::as_str)), (6, Some(why)), "{failed:?}");
        let refused = believed.drill().await;
        assert_eq!(refused.exit, 8, "{refused:?}");
        assert!(refused.message.ends_with(&format!("something is broken already: {why}")), "{refused:?}");
        assert!(believed.touched().is_empty(), "{why}: {:?}", believed.touched());
        let view = listener_metadata(brokers[0], Duration::from_secs(5)).await.unwrap();
        let topics: Vec<&str> = view.topics.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(topics, [TOPIC], "{why}: a drill has made none");
    }
}
