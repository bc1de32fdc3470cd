//! The watcher of the cluster beside the daemon, and what `status` shows of it.

use super::reload::Reloads;
use crate::{
    base::{NodeKind, NodeName, Timestamp, dynamic::DynamicRecord, recipe::ProbeKind, recipe::Recipe},
    config::{Broker, Plan},
    control::wire::{
        DiskState,
        cluster::{BrokerState, Cluster, ConfiguredTopics, KafkaState, MysqlState, Owner, Partitions, ZookeeperState},
    },
    engine::{EngineOrder, Handle, Snapshot},
    operate::{
        cluster::{self, Arounds, Given, Known, Latest, MysqlSeen, Sight, ZookeeperSeen},
        disk::{Disk, Disks},
        dynamic,
        prove::MysqlTargets,
        topics::Keeper,
        verify::{Check, Wrong},
    },
    sys::clock,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How many partitions of a list are named in a status.
const NAMED: usize = 20;

/// Kafka's own switch for what `kafka.elect_preferred` does at once.
const REBALANCE: &str = "auto.leader.rebalance.enable";

/// What is known of the cluster, and how the rest is asked for.
#[derive(Debug)]
pub(super) struct Clusters {
    known: Known,
    around: Arounds,
    keeper: Keeper,
    disks: Disks,
}

/// What of a plan the watcher looks at.
pub(super) fn sight(plan: &Plan, recipes: &[Recipe], mysql: Option<MysqlTargets>) -> Sight {
    let mut sight = Sight { mysql, ..Sight::default() };
    for recipe in recipes {
        match &recipe.probe.kind {
            ProbeKind::Broker { id, internal, .. } => drop(sight.brokers.insert(*id, *internal)),
            ProbeKind::Zookeeper(address) => sight.zookeeper = Some(*address),
            ProbeKind::None
            | ProbeKind::Tcp(_)
            | ProbeKind::Http(_)
            | ProbeKind::Exec(_)
            | ProbeKind::Notify
            | ProbeKind::Mysql { .. } => {}
        }
    }
    sight.topics = plan.kafka.iter().flat_map(|kafka| kafka.topics.iter().cloned()).collect();
    sight.elect =
        plan.kafka.as_ref().is_some_and(|kafka| kafka.elect_preferred && kafka.brokers.values().all(rebalances));
    sight
}

/// Whether leaders come home while this broker is the controller, unless the file says otherwise.
pub(super) fn rebalances(broker: &Broker) -> bool {
    broker.properties.get(REBALANCE).is_none_or(|v| v != "false")
}

/// The row of `verify` about settings that brokers were given while they ran; none: there is no broker.
pub(super) async fn settings_check(engine: &Handle, recipes: &[Recipe]) -> Option<Check> {
    recipes.iter().find(|r| matches!(r.kind, NodeKind::Broker(_)))?;
    let wrong = |found| Some(Wrong { expected: "no setting that beats a broker's file".into(), found });
    let wrong = match dynamic::set_by_others(engine, recipes).await {
        Ok(lines) if lines.is_empty() => None,
        Ok(lines) => wrong(format!("{}, by somebody else", lines.join("; "))),
        Err(why) => wrong(why),
    };
    Some(Check { part: "kafka", what: "every broker works by its file".into(), wrong, note: None })
}

impl Clusters {
    /// Begins to watch. Ends with the engine.
    pub(super) fn watch(engine: Handle, reloads: Arc<Reloads>, keeper: Keeper, disks: Disks) -> Self {
        let known = Known::default();
        tokio::spawn(cluster::watch(engine, move || reloads.applied().sight.clone(), known.clone()));
        Self { known, around: Arounds::default(), keeper, disks }
    }

    /// The keeper of configured topics.
    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// File systems that hold data, for a status.
    pub(super) fn disks(&self) -> Option<Vec<DiskState>> {
        let latest = self.disks.latest();
        (!latest.is_empty()).then(|| latest.iter().map(disk).collect())
    }

    /// For a status; none: no node of this root belongs to a cluster. Takes at most `patience`.
    pub(super) async fn document(&self, sight: &Sight, engine: &Handle, patience: Duration) -> Option<Cluster> {
        if sight.brokers.is_empty() && sight.zookeeper.is_none() && sight.mysql.is_none() {
            return None;
        }
        let snapshot = engine.snapshot();
        let around = self.around.ask(sight, &snapshot, engine, patience).await;
        let mut kafka = self.known.latest().map(|latest| kafka(&latest, super::topics::state(&self.keeper)));
        if let Some(kafka) = &mut kafka
            && let Some(kept) = around.zookeeper.as_ref().and_then(|seen| seen.given.clone())
        {
            kafka.set_by_others = self.set_by_others(sight, &snapshot, engine, kept, patience).await;
        }
        let zookeeper = around.zookeeper.map(|seen| zookeeper(seen, &snapshot));
        for node in zookeeper.iter().flat_map(registered_anew) {
            let engine = engine.clone();
            // For the next status, and for the day when this broker's end is not seen.
            tokio::spawn(async move { engine.order(EngineOrder::LearnSession { node }).await });
        }
        Some(Cluster { kafka, zookeeper, mysql: around.mysql.map(mysql) })
    }

    /// Of what ZooKeeper keeps, what is not ours; none: nobody knows. What it said some seconds ago may be what a reload or a restart has
    /// changed since: before anybody else is named, it is asked again.
    async fn set_by_others(
        &self,
        sight: &Sight,
        snapshot: &Snapshot,
        engine: &Handle,
        kept: Given,
        patience: Duration,
    ) -> Option<Vec<String>> {
        if kept == Given::default() {
            return Some(Vec::new());
        }
        let before = records(engine, &kept).await?;
        if cluster::set_by_others(&kept, &[&before]).is_empty() {
            return Some(Vec::new());
        }
        let now = self.around.ask_anew(sight, snapshot, engine, patience).await?.zookeeper?.given?;
        let after = records(engine, &now).await?;
        Some(cluster::set_by_others(&now, &[&before, &after]))
    }
}

/// What reloads have set on these brokers.
async fn records(engine: &Handle, kept: &Given) -> Option<BTreeMap<u32, DynamicRecord>> {
    let (engine, ids) = (engine.clone(), kept.of.keys().copied().collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || dynamic::records(&engine, ids.into_iter())).await.ok()
}

fn kafka(latest: &Latest, topics: Option<ConfiguredTopics>) -> KafkaState {
    let health = latest.look.health();
    let ago = i64::try_from(latest.at.elapsed().as_millis()).unwrap_or(i64::MAX);
    KafkaState {
        seen_at: Timestamp(clock::wall().0.saturating_sub(ago)),
        controller: health.controller,
        partitions: health.partitions,
        under_replicated: some(&health.under_replicated),
        at_min_isr: some(&health.at_min),
        under_min_isr: some(&health.under_min),
        offline: some(&health.offline),
        not_led_by_preferred: some(&health.away),
        brokers: health
            .brokers
            .iter()
            .map(|(id, share)| BrokerState {
                id: *id,
                listed: share.alive,
                leads: share.leads,
                preferred: share.preferred,
                replicas: share.replicas,
                out_of_sync: share.out_of_sync,
            })
            .collect(),
        topics,
        set_by_others: None,
    }
}

fn disk(disk: &Disk) -> DiskState {
    let found = &disk.found;
    DiskState {
        mount: found.mount.display().to_string(),
        state: found.level.as_str().into(),
        total_bytes: found.total,
        free_bytes: found.seen.free,
        ballast_bytes: found.seen.ballast,
        low_bytes: found.levels.low,
        stop_bytes: found.levels.stop,
        resume_bytes: found.resume(),
        nodes: found.nodes.iter().map(|(name, _)| name.clone()).collect(),
        held: found.held().cloned().collect(),
        takers: disk.takers.clone(),
    }
}

fn some(names: &[String]) -> Partitions {
    Partitions { count: names.len(), first: names.iter().take(NAMED).cloned().collect() }
}

/// Brokers that run and whose registered session is not the recorded one: it expired and they have another, or somebody else has the name.
fn registered_anew(state: &ZookeeperState) -> impl Iterator<Item = NodeName> {
    let owners = state.owners.iter().flatten();
    owners.filter(|owner| owner.ours == Some(false)).map(|owner| NodeName::broker(owner.broker))
}

fn zookeeper(seen: ZookeeperSeen, snapshot: &Snapshot) -> ZookeeperState {
    let recorded = |broker: u32| {
        let name = NodeName::broker(broker);
        snapshot.nodes.iter().find(|n| n.name == name && n.process.is_some()).and_then(|n| n.session)
    };
    let owner = |(broker, session): (u32, i64)| Owner {
        broker,
        session: format!("{session:#x}"),
        ours: recorded(broker).map(|ours| ours == session),
    };
    let counters = seen.counters;
    ZookeeperState {
        mode: counters.mode,
        latency_avg_ms: counters.latency_avg_ms,
        latency_max_ms: counters.latency_max_ms,
        outstanding: counters.outstanding,
        connections: counters.connections,
        sessions: counters.sessions,
        owners: seen.owners.map(|owners| owners.into_iter().map(owner).collect()),
    }
}

fn mysql(seen: MysqlSeen) -> MysqlState {
    MysqlState {
        gtid_executed: seen.gtid_executed,
        binlog_files: seen.binlog.files,
        binlog_bytes: seen.binlog.bytes,
        binlog_since: seen.binlog.oldest,
        binlog_keeps_s: (seen.binlog.keeps_s > 0).then_some(seen.binlog.keeps_s),
    }
}
