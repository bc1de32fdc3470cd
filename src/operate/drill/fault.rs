//! Breaks what a drill breaks, and mends it again; what the next daemon would have to undo is on record before it is done.

use super::{
    evidence::Shown,
    wreck::{self, Thief, Wreck},
};
use crate::{
    base::{
        Layout, NodeKind, NodeName,
        drill::{Drill, Plan},
        ids::ProcessId,
    },
    engine::{EngineOrder, Handle, OrderReply, Rejection, Snapshot, Wanted},
    operate::{again::Again, operation::Running},
    sys::process,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What the next daemon undoes when this one dies in the middle of a drill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// A process that is stopped (SIGSTOP).
    #[serde(default)]
    pub(super) paused: Option<ProcessId>,
    /// Nodes that the drill has ordered down and that are wanted up.
    #[serde(default)]
    pub(super) down: Vec<NodeName>,
    /// Topics of ours may be there.
    #[serde(default)]
    pub(super) topics: bool,
    /// A table of ours may be there.
    #[serde(default)]
    pub(super) table: bool,
}

impl Undo {
    pub(super) fn value(&self) -> Option<serde_json::Value> {
        // A struct of texts, numbers and flags always becomes JSON.
        serde_json::to_value(self).ok()
    }
}

/// What is broken, until it is mended.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    layout: &'a Layout,
    engine: &'a Handle,
    running: &'a Running,
    drill: Drill,
    /// Where a disk is filled: nodes are stopped before it is full.
    guard: bool,
    /// Records a second that are written meanwhile.
    rate: u32,
    victims: Vec<NodeName>,
    undo: Undo,
    /// Orders that have been given and are being carried out.
    orders: Vec<JoinHandle<OrderReply>>,
    mended: bool,
    /// What a throw-away cluster suffers.
    wreck: Wreck,
}

impl<'a> Fault<'a> {
    pub(super) fn new(
        (layout, engine): (&'a Layout, &'a Handle),
        running: &'a Running,
        plan: &Plan,
        victims: Vec<NodeName>,
        undo: Undo,
    ) -> Self {
        let (drill, guard, rate) = (plan.drill, !plan.no_guard, plan.rate);
        Self {
            layout,
            engine,
            running,
            drill,
            guard,
            rate,
            victims,
            undo,
            orders: Vec::new(),
            mended: false,
            wreck: Wreck::None,
        }
    }

    /// What has to be shown while it is broken; none: nothing in this drill.
    pub(super) async fn shown(&mut self, snapshot: &Snapshot, flows: bool) -> Option<Shown> {
        self.wreck.shown(snapshot, flows, self.engine).await
    }

    /// What the supervisor has not put right by itself yet, beside what shows in nodes and partitions; none: nothing.
    pub(super) fn still_missing(&self) -> Option<String> {
        match &self.wreck {
            Wreck::Full { guarded: Some(guarded), .. } => guarded.still_missing(),
            Wreck::None | Wreck::Full { guarded: None, .. } | Wreck::Stolen { .. } | Wreck::Mixed { .. } => None,
        }
    }

    /// What is said of the way back, `after` it was mended, or what was wrong with it; none: nothing in this drill.
    pub(super) fn came_back(&self, snapshot: &Snapshot, after: Duration) -> Option<Result<String, String>> {
        match &self.wreck {
            Wreck::Full { guarded: Some(guarded), .. } => Some(guarded.came_back(snapshot, after)),
            Wreck::None | Wreck::Full { guarded: None, .. } | Wreck::Stolen { .. } | Wreck::Mixed { .. } => None,
        }
    }

    /// Breaks it. Nothing is broken when this is an error.
    pub(super) async fn begin(&mut self) -> Result<(), String> {
        let names: Vec<&str> = self.victims.iter().map(NodeName::as_str).collect();
        let names = names.join(", ");
        match self.drill {
            Drill::BrokerKill | Drill::MysqlKill => {
                self.record(format!("SIGKILL to {names}"))?;
                self.signal(libc::SIGKILL).await
            }
            Drill::BrokerTerm => {
                self.record(format!("SIGTERM to {names}"))?;
                self.signal(libc::SIGTERM).await
            }
            Drill::BrokerPause => {
                self.undo.paused = self.process();
                self.record(format!("SIGSTOP to {names}"))?;
                self.signal(libc::SIGSTOP).await
            }
            Drill::TwoBrokers | Drill::ZookeeperDown => {
                self.undo.down = self.victims.clone();
                self.record(format!("{names} killed and kept down"))?;
                self.order(EngineOrder::Stop { nodes: self.victims.clone(), now: true });
                Ok(())
            }
            Drill::ZookeeperRestart => {
                self.record(format!("{names} is restarted"))?;
                self.order(EngineOrder::Restart { nodes: self.victims.clone() });
                self.mended = true;
                Ok(())
            }
            Drill::ColdRestart => {
                self.undo.down = self.victims.clone();
                self.record("everything is stopped and started".into())?;
                let (engine, nodes) = (self.engine.clone(), self.victims.clone());
                let left_down = self.running.left_down_then();
                self.orders.push(tokio::spawn(async move {
                    engine.order(EngineOrder::Stop { nodes: nodes.clone(), now: false }).await?;
                    start(&engine, &nodes, &left_down()).await
                }));
                self.mended = true;
                Ok(())
            }
            Drill::DiskFull => {
                self.record("the file system is filled".into())?;
                self.wreck = wreck::fill(self.engine, self.layout, (self.guard, self.rate)).await?;
                Ok(())
            }
            Drill::PortThief => {
                let victim = self.victims.first().cloned().ok_or("there is no broker to take")?;
                let address = wreck::internal_port(&self.engine.snapshot(), &victim)?;
                let thief = Thief::start(address).await?;
                self.record(format!("SIGKILL to {names}, and another program takes its port {}", address.port()))?;
                self.wreck = Wreck::Stolen { victim, port: address.port(), thief };
                self.signal(libc::SIGKILL).await
            }
            Drill::ClusterIdMismatch => {
                self.record("ZooKeeper's data is put aside, and everything started".into())?;
                self.wreck = wreck::mix_up(self.engine, self.layout, self.victims.clone());
                Ok(())
            }
        }
    }

    /// Mends what only we can mend; the rest is the supervisor's to mend, which is what the drill is about. Once is enough.
    pub(super) async fn mend(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.mended, true) {
            return Ok(());
        }
        match self.drill {
            Drill::BrokerPause => {
                self.signal(libc::SIGCONT).await?;
                self.undo.paused = None;
                self.record("SIGCONT".into())
            }
            Drill::TwoBrokers | Drill::ZookeeperDown => {
                let (engine, nodes) = (self.engine.clone(), self.victims.clone());
                let left_down = self.running.left_down_then();
                self.orders.push(tokio::spawn(async move { start(&engine, &nodes, &left_down()).await }));
                self.record("they are started again".into())
            }
            Drill::DiskFull => {
                let Wreck::Full { filler, guarded } = &self.wreck else { return Ok(()) };
                wreck::empty(filler).await?;
                if guarded.is_some() {
                    return self.record("space is given back, and what was stopped comes back by itself".into());
                }
                self.order(EngineOrder::Start { nodes: self.stack(), with_needs: false });
                self.record("space is given back, and what failed is started".into())
            }
            Drill::PortThief => {
                // Its end is waited for: what is started next must find the port free.
                let thief = std::mem::replace(&mut self.wreck, Wreck::None);
                tokio::task::spawn_blocking(move || drop(thief)).await.map_err(|e| e.to_string())?;
                self.order(EngineOrder::Start { nodes: self.victims.clone(), with_needs: false });
                self.record("the other program has ended, and the broker is started".into())
            }
            Drill::ClusterIdMismatch => {
                let put = wreck::put_back(self.engine.clone(), self.layout.clone(), self.victims.clone());
                self.orders.push(tokio::spawn(put));
                self.record("ZooKeeper's data is put back, and everything started".into())
            }
            Drill::BrokerKill | Drill::BrokerTerm | Drill::MysqlKill | Drill::ZookeeperRestart | Drill::ColdRestart => {
                Ok(())
            }
        }
    }

    /// Has all that a drill ordered down started again and all that it stopped go on, whatever came of it. Not while the
    /// supervisor is on its way down: then nothing is started.
    pub(super) async fn leave_nothing(&mut self) {
        // Not by an order: on its way down the supervisor takes none, and a stopped process does not hear that it is to stop.
        if let Some(Err(why)) = self.undo.paused.as_ref().and_then(go_on) {
            tracing::error!("drill: {why}");
        }
        let snapshot = self.engine.snapshot();
        let nodes = self.still_down(&snapshot).nodes;
        if !nodes.is_empty() && !snapshot.ending {
            self.order(EngineOrder::Start { nodes, with_needs: false });
        }
    }

    /// What the drill has ordered down and is down still.
    fn still_down(&self, now: &Snapshot) -> Again {
        let down = |name: &&NodeName| now.nodes.iter().any(|n| n.name == **name && n.wanted == Wanted::Down);
        let down: Vec<NodeName> = self.undo.down.iter().filter(down).cloned().collect();
        Again::of(&down, &self.running.left_down(), now)
    }

    /// What of the cluster somebody has stopped while this drill ran, and has not started since; none: nothing. What has no part in it
    /// (a UI, a program of somebody's own) may be stopped meanwhile.
    pub(super) fn stopped_by_order(&self) -> Option<String> {
        let left = self.running.left_down();
        let snapshot = self.engine.snapshot();
        let down = snapshot.nodes.iter().filter(|n| {
            let takes_part = matches!(n.kind, NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql);
            takes_part && n.wanted == Wanted::Down && left.contains(&n.name)
        });
        let names: Vec<&str> = down.map(|n| n.name.as_str()).collect();
        let for_want = self.still_down(&snapshot).for_want().map_or_else(String::new, |words| format!("; {words}"));
        (!names.is_empty())
            .then(|| format!("stopped by order while the drill ran, and left down: {}{for_want}", names.join(", ")))
    }

    /// Whether every order that was given has been carried out; what went wrong with one.
    pub(super) async fn orders_done(&mut self) -> Result<bool, String> {
        while let Some(order) = self.orders.last_mut() {
            if !order.is_finished() {
                return Ok(false);
            }
            let done = order.await;
            self.orders.pop();
            match done {
                Ok(Ok(_)) => {}
                Ok(Err(rejection)) => return Err(words(rejection)),
                Err(e) => return Err(format!("an order was not carried out: {e}")),
            }
        }
        Ok(true)
    }

    fn record(&self, text: String) -> Result<(), String> {
        self.running.step(text, self.undo.value()).map_err(|e| format!("{e}: {}", e.source))
    }

    fn order(&mut self, order: EngineOrder) {
        let engine = self.engine.clone();
        self.orders.push(tokio::spawn(async move { engine.order(order).await }));
    }

    async fn signal(&self, signal: i32) -> Result<(), String> {
        for node in &self.victims {
            let order = EngineOrder::Signal { node: node.clone(), signal };
            self.engine.order(order).await.map_err(words)?;
        }
        Ok(())
    }

    /// All nodes, in their order of start.
    fn stack(&self) -> Vec<NodeName> {
        self.engine.snapshot().nodes.iter().map(|n| n.name.clone()).collect()
    }

    fn process(&self) -> Option<ProcessId> {
        let snapshot = self.engine.snapshot();
        let victim = self.victims.first()?;
        snapshot.nodes.iter().find(|n| n.name == *victim)?.process.clone()
    }
}

/// Has what was stopped start, but for what somebody has stopped meanwhile and what needs that. None is left: nobody is asked, for an order
/// without names is about all.
async fn start(engine: &Handle, stopped: &[NodeName], left_down: &[NodeName]) -> OrderReply {
    let nodes = Again::of(stopped, left_down, &engine.snapshot()).nodes;
    if nodes.is_empty() { Ok(Vec::new()) } else { engine.order(EngineOrder::Start { nodes, with_needs: false }).await }
}

/// SIGCONT to a process that was stopped, if it is still that one; none: it is not there any more.
pub(super) fn go_on(paused: &ProcessId) -> Option<Result<(), String>> {
    let sent = process::go_on(paused)?;
    Some(sent.map_err(|e| format!("pid {} is stopped and could not be told to go on: {e}", paused.pid)))
}

/// In one line.
pub(super) fn words(rejection: Rejection) -> String {
    match rejection {
        Rejection::UnknownNode(node) => format!("there is no node {node}"),
        Rejection::NotNow(why) => why,
        Rejection::NotReady(why) | Rejection::Unsafe(why) => why.join("; "),
        Rejection::Ending => "the daemon ended".into(),
    }
}
