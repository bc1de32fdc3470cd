//! Kafka brokers in ZooKeeper mode (source read at 3.5.2).

use super::{
    FILE_HEAD, FROM_FILE, Place, ServiceError, Site,
    jar_node::{About, JarNode},
    jvm, restart, text, zookeeper,
};
use crate::{
    base::{
        NodeKind, NodeName,
        recipe::{
            BrokerIdentity, ClassDataArchive, DataProduct, DataVersion, Launch, PortUse, PrepareStep, Probe, ProbeKind,
            Recipe, RenderedFile, Stop, Training, TrainingJvm, WhileStarting,
        },
    },
    config,
    render::Properties,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// The broker's entry point.
const MAIN_CLASS: &str = "kafka.Kafka";

/// SIGTERM: controlled shutdown, then 128 + 15 (measured: three brokers in 0.6 s, each 143).
const CLEAN_CODES: [i32; 1] = [143];

/// `KafkaServer.shutdown` throws while it starts, and `Kafka.main`'s hook then halts the JVM with 1: nothing is flushed and
/// no `.kafka_cleanshutdown` is written (source read at 3.5.2).
const PRICE_OF_TERM: &str =
    "a SIGTERM now would halt it without closing its logs, and its next start checks them all again";

/// INTERNAL listeners: all brokers and everything that talks to them from inside is on this host.
const INTERNAL_IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a broker's JVM needs outside its heap. Measured with 3.5.2 after 200,000 records: 48 MB of metaspace without an
/// archive (7 MB with one), 15 MB of code, 56-64 threads on two cores and 70-81 under a longer load.
/// Direct buffers must hold a follower's largest fetch (10 MB, `replica.fetch.response.max.bytes`) for each other broker
/// beside requests of clients.
pub(super) const NEEDS: jvm::Needs = jvm::Needs {
    metaspace: (64, 128),
    code_cache: (32, 96),
    direct: (32, 128),
    threads: 80,
    native: config::BROKER_NATIVE,
    heap_min: config::BROKER_HEAP_MIN,
};

/// The recipe of broker `id`, which must be one of `kafka.brokers`.
pub(super) fn recipe(
    site: &Site<'_>,
    kafka: &config::Kafka,
    id: u32,
    zookeeper: &config::Zookeeper,
) -> Result<Recipe, ServiceError> {
    let node = NodeName::broker(id);
    let broker = kafka
        .brokers
        .get(&id)
        .ok_or_else(|| ServiceError::NoProgram { node: NodeName::broker(id), program: "its own table" })?;
    let made = JarNode::of(
        site,
        &About {
            node: &node,
            data: broker.data_dir.as_ref(),
            user: broker.care.user.as_deref(),
            cap: broker.memory_max,
            heap: broker.heap,
            needs: &NEEDS,
            archive: "kafka",
            config: "server.properties",
            main_class: MAIN_CLASS,
        },
    )?;
    let command = made.command(&kafka.jvm_flags);
    let internal = SocketAddr::new(INTERNAL_IP, broker.internal_port.0);
    let external = SocketAddr::new(kafka.bind, broker.external_port.0);
    let zookeeper_address = zookeeper::address(zookeeper);
    // log.dirs is a list: Kafka would cut the path at a comma
    let data = text(&made.place.data, ",")?;
    let contents = properties(site, kafka, id, broker, zookeeper_address, &data);

    Ok(Recipe {
        kind: NodeKind::Broker(id),
        directories: made.place.directories_with_data(),
        files: vec![
            RenderedFile { path: made.config_file.clone(), mode: 0o640, contents },
            RenderedFile { path: made.log4j_file.clone(), mode: 0o640, contents: log4j() },
        ],
        prepare: vec![
            PrepareStep::ClassData(ClassDataArchive { file: made.archive.clone(), training: training(&command) }),
            PrepareStep::BrokerIdentity(BrokerIdentity {
                broker: id,
                brokers: kafka
                    .brokers
                    .iter()
                    .map(|(id, broker)| {
                        (*id, Place::of(site.layout, &NodeName::broker(*id), broker.data_dir.as_ref()).data)
                    })
                    .collect(),
                zookeeper: zookeeper_address,
                zookeeper_data: zookeeper::data_dir(site, zookeeper),
            }),
            PrepareStep::DataVersion(DataVersion {
                product: DataProduct::Kafka,
                version: made.jars.version.clone(),
                protocol: Some(protocol(&broker.properties, &made.jars.version)),
                data_dir: made.place.data.clone(),
            }),
            PrepareStep::AwaitBrokerSessionGone {
                zookeeper: zookeeper_address,
                broker_id: id,
                // the server rounds expiry up to a tick and looks once a tick (ExpiryQueue.java)
                up_to: kafka.session_timeout + 2 * zookeeper.tick,
                fence: kafka.fencing,
                endpoints: endpoints(kafka, broker).into(),
            },
            PrepareStep::AwaitTakeover {
                broker_id: id,
                others: kafka
                    .brokers
                    .iter()
                    .filter(|(other, _)| **other != id)
                    .map(|(_, broker)| SocketAddr::new(INTERNAL_IP, broker.internal_port.0))
                    .collect(),
            },
        ],
        launch: Launch {
            argv: command.argv(),
            env: jvm::environment(&made.tmp),
            dir: made.place.home.clone(),
            user: broker.care.user.clone(),
            memory_max: Some(broker.memory_max),
            heap: Some(made.limits.heap),
            tasks_max: broker.care.tasks_max,
            share: broker.care.share,
            nofile: broker.care.nofile,
            // behind MySQL and ZooKeeper: one broker of three can be missed
            oom_score_adj: -400,
            notify: false,
        },
        probe: Probe {
            kind: ProbeKind::Broker { id, internal, external: broker.external_port.reached(kafka.bind) },
            timeout: Duration::from_secs(3),
            start_interval: Duration::from_millis(100),
            ready_interval: Duration::from_secs(5),
            failures: 3,
            // 2-7 s measured; log recovery is shown as progress and moves it
            start_deadline: Duration::from_secs(60),
        },
        stop: Stop {
            signal: 15,
            grace: broker.care.grace,
            clean_codes: CLEAN_CODES.to_vec(),
            while_starting: WhileStarting::Wait { price: PRICE_OF_TERM.to_owned() },
        },
        peers: kafka.brokers.keys().filter(|other| **other != id).map(|other| NodeName::broker(*other)).collect(),
        after: vec![NodeName::zookeeper()],
        ports: vec![
            PortUse { name: "INTERNAL".into(), address: internal, key: format!("kafka.brokers.{id}.internal_port") },
            PortUse { name: "EXTERNAL".into(), address: external, key: format!("kafka.brokers.{id}.external_port") },
        ],
        restart: restart(&broker.care),
        log: broker.care.log,
        node,
    })
}

/// The protocol version the broker will write by: what is set, else that of its release (KafkaConfig, 3.5.2).
fn protocol(properties: &std::collections::BTreeMap<String, String>, version: &str) -> String {
    let set = properties.get("inter.broker.protocol.version").cloned();
    set.unwrap_or_else(|| version.split('.').take(2).collect::<Vec<_>>().join("."))
}

/// `server.properties` of one broker.
fn properties(
    site: &Site<'_>,
    kafka: &config::Kafka,
    id: u32,
    broker: &config::Broker,
    zookeeper: SocketAddr,
    data: &str,
) -> String {
    let mut p = Properties::new(FILE_HEAD);
    let internal = SocketAddr::new(INTERNAL_IP, broker.internal_port.0);
    let external = SocketAddr::new(kafka.bind, broker.external_port.0);
    p.set("broker.id", id.to_string(), "");
    p.set("listeners", format!("INTERNAL://{internal},EXTERNAL://{external}"), "");
    p.set("advertised.listeners", endpoints(kafka, broker).join(","), "what clients are told to connect to");
    p.set("listener.security.protocol.map", "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT", "");
    p.set("inter.broker.listener.name", "INTERNAL", "");
    p.set("zookeeper.connect", zookeeper.to_string(), "");
    p.set(
        "zookeeper.session.timeout.ms",
        kafka.session_timeout.as_millis().to_string(),
        "a stall longer than this evicts a healthy broker; a dead one's session is closed by the supervisor at once",
    );
    // Falls back to the session timeout, and no connection in that time is exit 1: a busy box may take longer at boot.
    p.set("zookeeper.connection.timeout.ms", "30000", "");
    p.set("log.dirs", data, "");
    copies(&mut p, kafka.brokers.len());
    on_disk(&mut p, kafka.durability);
    retention(&mut p);
    size(&mut p, site.cores);
    recovery(&mut p);
    for (key, value) in &broker.properties {
        p.set(key, value, FROM_FILE);
    }
    p.render()
}

/// What clients are told to connect to; the broker registers it in ZooKeeper in these words (EndPoint.scala, connectionString).
fn endpoints(kafka: &config::Kafka, broker: &config::Broker) -> [String; 2] {
    let internal = SocketAddr::new(INTERNAL_IP, broker.internal_port.0);
    let advertised = advertised_host(&kafka.advertised_host);
    [format!("INTERNAL://{internal}"), format!("EXTERNAL://{advertised}:{}", broker.external_port)]
}

/// An IPv6 address needs brackets before a port; a name does not.
fn advertised_host(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Copies, and how many must confirm. With three brokers three copies and two confirmations (the mission); with fewer as
/// many copies as there are brokers, and one broker may always be missing where there are two.
fn copies(p: &mut Properties, brokers: usize) {
    let copies = brokers.clamp(1, 3);
    let confirm = copies.saturating_sub(1).max(1).to_string();
    let copies = copies.to_string();
    p.set("num.partitions", "3", "");
    p.set("default.replication.factor", copies.clone(), "");
    p.set("min.insync.replicas", confirm.clone(), "acks=all means: on this many brokers");
    p.set("unclean.leader.election.enable", "false", "an out-of-date replica never leads: nothing confirmed is lost");
    p.set("auto.create.topics.enable", "true", "Debezium's topics appear with their first event");
    p.set("offsets.topic.replication.factor", copies.clone(), "");
    p.set("transaction.state.log.replication.factor", copies, "");
    p.set("transaction.state.log.min.isr", confirm, "");
    // The default is 50 each: 100 partitions with three index files apiece to check after a kill, for a handful of
    // consumer groups. A topic that exists keeps its count (GroupCoordinator reads it from ZooKeeper).
    p.set("offsets.topic.num.partitions", "12", "the default, 50, is for hundreds of consumer groups");
    p.set("transaction.state.log.num.partitions", "12", "");
}

/// All replicas are on one host with one power supply. `UnifiedLog.append` syncs the segment when this many records were not
/// synced yet, on the leader before it counts itself and on a follower before it asks for the next records; a new segment's
/// directory is synced with it (3.5: UnifiedLog.scala, LocalLog.flush). So `acks=all` means: on the disk, as often as
/// `min.insync.replicas` says. A topic's own `flush.messages` comes before it.
fn on_disk(p: &mut Properties, durability: config::Durability) {
    match durability {
        config::Durability::PageCache => {}
        config::Durability::PowerCut => {
            p.set("log.flush.interval.messages", "1", "durability = \"power-cut\": synced before it is acknowledged");
        }
    }
}

/// 72 hours and 1 GB per partition (the mission).
fn retention(p: &mut Properties) {
    p.set("log.retention.hours", "72", "");
    p.set("log.retention.bytes", (1u64 << 30).to_string(), "1 GB per partition");
    // Only whole segments are deleted and the active one never: with the default of 1 GB a partition would hold 2 GB.
    // After a kill every segment that was not flushed is read again as a whole (LogLoader.recoverLog).
    p.set("log.segment.bytes", (256u64 << 20).to_string(), "only whole segments are deleted");
}

/// A broker of three on one small host, with a heap of a few hundred MB.
fn size(p: &mut Properties, cores: usize) {
    // Heap for the whole life of the broker; the default of 128 MB is a quarter of ours and cleans millions of keys.
    p.set("log.cleaner.dedupe.buffer.size", (16u64 << 20).to_string(), "heap, held for good; the default is 128 MB");
    // Per listener, and there are two.
    p.set("num.network.threads", "2", "per listener");
    p.set("num.io.threads", "4", "");
    p.set("background.threads", "4", "");
    // A request is read through a direct buffer of its size; the limit on those is tens of MB (jvm::limits).
    p.set("socket.request.max.bytes", (32u64 << 20).to_string(), "a request passes through direct memory in one piece");
    // Recovery after a kill is reading and checksums; all brokers may do it at once after a power cut.
    p.set("num.recovery.threads.per.data.dir", (cores / 2).clamp(1, 4).to_string(), "half of the host's cores");
}

/// How fast a cluster is whole again after a death or a restart.
fn recovery(p: &mut Properties) {
    // Only for a broker that lives but does not fetch; a dead one leaves every ISR with its session.
    p.set("replica.lag.time.max.ms", "10000", "a broker that does not fetch for this long leaves the ISR");
    // When leaders move, a follower that hears of it before the leader does is put off for this long, a second by default.
    p.set("replica.fetch.backoff.ms", "50", "put off for so long while leaders move; the default is 1000");
    // What was put off waits besides for the fetch of the others, which the leader holds for this long where nothing is written to them.
    p.set("replica.fetch.wait.max.ms", "200", "an idle fetch is held for so long; the default is 500");
    p.set("auto.leader.rebalance.enable", "true", "");
    p.set("leader.imbalance.check.interval.seconds", "30", "leaders go back to a returned broker; the default is 300");
    // Without another broker to hand over to, a stop sleeps this long three times (KafkaServer.scala, controlledShutdown).
    p.set("controlled.shutdown.retry.backoff.ms", "1000", "");
    // Waits for more members before a new group gets its first assignment; the file Kafka ships says 0, too.
    p.set("group.initial.rebalance.delay.ms", "0", "");
}

/// A broker's training needs a ZooKeeper of its own; its properties are this broker's size without its identity.
fn training(command: &jvm::CommandLine<'_>) -> Training {
    let mut p = Properties::new("");
    p.set("broker.id", "1", "");
    p.set("listeners", "PLAINTEXT://127.0.0.1:@PORT@", "");
    p.set("zookeeper.connect", "@ZOOKEEPER@", "");
    p.set("log.dirs", "@DATA@", "");
    copies(&mut p, 1);
    size(&mut p, 1);
    recovery(&mut p);
    p.set("controlled.shutdown.retry.backoff.ms", "50", "alone, it waits so long three times at its end");
    let broker = TrainingJvm { java: command.training(), main_class: MAIN_CLASS.into(), properties: p.render() };
    Training::Broker(broker, zookeeper::training(command))
}

fn log4j() -> String {
    jvm::log4j(&[
        ("kafka.server.KafkaConfig", "WARN", "three hundred lines of values at every start; this directory shows them"),
        ("org.apache.zookeeper", "WARN", "the ZooKeeper client prints the whole class path"),
        ("org.apache.kafka.clients.admin.AdminClientConfig", "WARN", ""),
    ])
}
