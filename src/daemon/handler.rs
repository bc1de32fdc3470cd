//! Answers the control socket: orders go to the engine, statuses come from its snapshot.

mod orders;

use super::{
    by_hand::{self, ByHand},
    cluster::{self, Clusters},
    convert::{self, Around, Meters, Started},
    drilled,
    finish::{self, Rest},
    handover::Handover,
    reload::Reloads,
    stores::{self, Errand, Site},
    topics, zookeeper_first,
};
use crate::{
    base::{
        EventKind, EventLine, Layout, NodeName, OrderedBy, Reason, drill as drill_names,
        outcome::{is_signal, signal_name},
    },
    control::{
        server::{AnswerSink, BoxFuture, Handler, Peer},
        wire::{Answer, Caps, Checked, Hello, Order, VERSION, Verdict},
    },
    engine::{EngineOrder, Handle, OrderReply, Rejection},
    operate::{drill, gate::Terms, operation::Operations, prove, unrolled::Unrolled, verify},
    sys::{cgroup::CgroupRoot, clock, memory::Readings},
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Shortest pause between two statuses of a `Watch`: ten a second.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// A `Watch` also sends a status this often when nothing changes: memory does.
const WATCH_REFRESH: Duration = Duration::from_secs(2);

/// How long a status waits for what ZooKeeper and MySQL say of themselves. A watch never does.
const PATIENCE: Duration = Duration::from_millis(300);

/// What answering needs; shared by all connections.
#[derive(Debug)]
struct Shared {
    layout: Layout,
    engine: Handle,
    caps: Caps,
    cgroup: Option<CgroupRoot>,
    readings: Readings,
    started: Started,
    reloads: Arc<Reloads>,
    clusters: Clusters,
    operations: Operations,
    rest: Rest,
    handover: Handover,
}

/// The daemon's handler.
#[derive(Debug)]
pub(super) struct DaemonHandler(Arc<Shared>);

impl DaemonHandler {
    pub(super) fn new(
        layout: Layout,
        engine: Handle,
        caps: Caps,
        reloads: Arc<Reloads>,
        clusters: Clusters,
        (operations, unrolled): (Operations, Option<Unrolled>),
        handover: Handover,
    ) -> Self {
        let cgroup = if caps.enforced { super::inputs::enforced().0 } else { None };
        Self(Arc::new(Shared {
            layout,
            engine,
            cgroup,
            readings: Readings::default(),
            caps,
            started: Started::now(),
            reloads,
            clusters,
            operations,
            rest: Rest::new(unrolled),
            handover,
        }))
    }

    /// Finishes what a roll has left that was cut short with the last daemon.
    pub(super) fn finish_roll(&self) {
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let site = finish::Site { engine: &shared.engine, reloads: &shared.reloads, work: &shared.handover.work };
            shared.rest.finish(&site).await;
        });
    }

    /// What is applied now.
    pub(super) fn applied(&self) -> Arc<super::inputs::Applied> {
        self.0.reloads.applied()
    }
}

impl Handler for DaemonHandler {
    fn handle(&self, peer: Peer, order: Order, out: AnswerSink) -> BoxFuture {
        let shared = Arc::clone(&self.0);
        let by = OrderedBy { uid: peer.uid, pid: peer.pid };
        if let Some((node, words)) = order_words(&order) {
            let event = EventLine::new(EventKind::Order, words).by(by);
            shared.engine.journal().note(match &node {
                Some(node) => event.node(node),
                None => event,
            });
        }
        Box::pin(async move { shared.answer(by, order, &out).await })
    }
}

impl Shared {
    async fn answer(self: Arc<Self>, by: OrderedBy, order: Order, out: &AnswerSink) {
        let _working = match order {
            Order::Hello
            | Order::Status
            | Order::Watch
            | Order::WhyNot { .. }
            | Order::Roll { plan: true, .. }
            | Order::Topics
            | Order::UpgradeSelf => None,
            Order::Start { .. }
            | Order::Stop { .. }
            | Order::Restart { .. }
            | Order::Kill { .. }
            | Order::Fence { .. }
            | Order::Down { .. }
            | Order::Reload { .. }
            | Order::Roll { plan: false, .. }
            | Order::Prove
            | Order::Verify
            | Order::TopicsApply
            | Order::TopicRemove { .. }
            | Order::Snapshot { .. }
            | Order::Restore { .. }
            | Order::Reset { .. }
            | Order::Drill(_) => match self.handover.work.begin() {
                None => {
                    let hint = Some("try again in a moment");
                    return out.send(refused(8, "the daemon's program is being replaced just now".into(), hint));
                }
                working => working,
            },
        };
        if starts_something(&order)
            && let Some(other) = self.operations.keeps_down()
        {
            return out.send(refused(8, format!("{other}; nothing is started meanwhile"), None));
        }
        if starts_something(&order) && self.operations.running().is_none() && self.layout.exchange().exists() {
            let hint = Some("mend what kept them from being exchanged, then restart the daemon: it finishes first");
            return out.send(refused(
                8,
                "data directories are half exchanged: nothing is started on them".into(),
                hint,
            ));
        }
        match order {
            Order::Hello => out.send(Answer::Hello(Hello {
                v: VERSION,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: i32::try_from(std::process::id()).unwrap_or_default(),
                plan_digest: self.reloads.applied().digest.clone(),
                started_at: Some(self.started.wall),
                handover_failed: self.handover.last_failure(),
            })),
            Order::Status => out.send(self.status(PATIENCE).await),
            Order::Watch => self.watch(out).await,
            Order::Start { nodes, with_needs, anyway } => {
                let asked = ByHand { verb: by_hand::Verb::Start, nodes: &nodes, anyway };
                if self.may(&asked, by, out) {
                    self.carry_out(EngineOrder::Start { nodes, with_needs }, by, out).await;
                }
            }
            Order::Stop { nodes, now, anyway } => {
                let asked = ByHand { verb: by_hand::Verb::Stop, nodes: &nodes, anyway };
                if self.may(&asked, by, out) && self.stays_down(&nodes, out) {
                    self.carry_out(EngineOrder::Stop { nodes, now }, by, out).await;
                }
            }
            Order::Restart { nodes, anyway } => self.restart(nodes, anyway, by, out).await,
            Order::Kill { signal, .. } if !is_signal(signal) => {
                out.send(refused(
                    2,
                    format!("there is no signal {signal}"),
                    Some("signals are the numbers from 1 to 64"),
                ));
            }
            Order::Kill { node, signal } => {
                let done = format!("sent {} to {node}", signal_name(signal));
                let reply = self.engine.order(EngineOrder::Signal { node, signal }).await;
                self.note_refusal(by, &reply);
                out.send(answer_of(reply.map(|_| vec![done])));
            }
            Order::Fence { node } => {
                let reply = self.engine.order(EngineOrder::Fence { node }).await;
                self.note_refusal(by, &reply);
                out.send(answer_of(reply));
            }
            Order::Down { now } => {
                self.reloads.rest();
                let say = |node, text| out.send(Answer::Progress { node: Some(node), text });
                let first = if now { None } else { zookeeper_first::bring_back(&self.engine, say).await };
                let reply = self.ordered(EngineOrder::Down { now }, by, out).await;
                out.send(answer_of(reply.map(|text| first.into_iter().chain(text).collect())));
            }
            Order::Reload { config, max_wait_s, accept_unavailable, force } => {
                let bounds = (Duration::from_secs(max_wait_s), Terms { accept_unavailable, force });
                self.reloads.reload(&self.engine, config, bounds, by, out).await;
            }
            Order::Roll { nodes, max_wait_s, accept_unavailable, force, plan } => {
                let terms = Terms { accept_unavailable, force };
                let asked = self.reloads.asked(nodes, Duration::from_secs(max_wait_s), terms);
                if plan {
                    out.send(self.reloads.outlook(&self.engine, &asked).await);
                } else {
                    self.reloads.roll(&self.engine, &asked, by, out).await;
                }
            }
            Order::WhyNot { node } => out.send(self.reloads.why_not(&self.engine, &node).await),
            Order::Prove => self.prove(out).await,
            Order::Verify => self.verify(out).await,
            Order::Topics => out.send(topics::list(self.clusters.keeper()).await),
            Order::TopicsApply => out.send(topics::apply(&self.reloads, self.clusters.keeper()).await),
            Order::TopicRemove { name } => {
                let keeper = self.clusters.keeper();
                out.send(topics::remove(&self.engine, &self.reloads, keeper, &name, by).await);
            }
            Order::Snapshot { name, stop } => self.stores(Errand::Snapshot { name }, stop, by, out).await,
            Order::Restore { name, only } => match only.map(|set| set.parse()).transpose() {
                Ok(only) => self.stores(Errand::Restore { name, only }, true, by, out).await,
                Err(why) => out.send(refused(2, why, None)),
            },
            Order::Reset { set } => match set.parse() {
                Ok(set) => self.stores(Errand::Reset(set), true, by, out).await,
                Err(why) => out.send(refused(2, why, None)),
            },
            Order::Drill(plan) => self.drill(&plan, by, out).await,
            // A change of topics is no reason to wait: the next program looks what is left of it, and goes on.
            Order::UpgradeSelf => match self.operations.runs_besides_topics() {
                Some(other) => out.send(refused(8, format!("{other}; the program is replaced after it"), None)),
                None => {
                    let handler = Arc::new(DaemonHandler(Arc::clone(&self)));
                    self.handover.carry_out(handler, out).await;
                }
            },
        }
    }

    /// `patience`: how long ZooKeeper and MySQL may take to be asked; without their answer the last one is told.
    async fn status(self: &Arc<Self>, patience: Duration) -> Answer {
        let shared = Arc::clone(self);
        let sight = self.reloads.applied().sight.clone();
        let cluster = self.clusters.document(&sight, &self.engine, patience).await;
        let (snapshot, disks) = (self.engine.snapshot(), self.clusters.disks());
        let cut_short = self.rest.told(&snapshot);
        let around = Around { cluster, disks, cut_short };
        let made = tokio::task::spawn_blocking(move || {
            let (layout, cgroup) = (&shared.layout, shared.cgroup.as_ref());
            let supervisor = convert::supervisor(&snapshot, layout, shared.started, shared.caps.clone(), cgroup);
            let meters = Meters { cgroup, readings: &shared.readings };
            convert::status(&snapshot, supervisor, layout, meters, around)
        })
        .await;
        match made {
            Ok(status) => Answer::Status(Box::new(status)),
            Err(e) => refused(1, format!("the status could not be made: {e}"), None),
        }
    }

    async fn watch(self: &Arc<Self>, out: &AnswerSink) {
        let mut changes = self.engine.watch();
        loop {
            changes.borrow_and_update();
            out.send(self.status(Duration::ZERO).await);
            tokio::select! {
                () = out.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep(WATCH_REFRESH) => {}
            }
            sleep(WATCH_PAUSE).await;
        }
    }

    async fn stores(&self, errand: Errand, stop: bool, by: OrderedBy, out: &AnswerSink) {
        let site = Site {
            layout: &self.layout,
            engine: &self.engine.because(Reason::Stores),
            operations: &self.operations,
            applied: self.reloads.applied(),
        };
        out.send(match stores::carry_out(&site, errand, stop, by, out).await {
            Ok(text) => Answer::Done { text },
            Err(answer) => answer,
        });
    }

    async fn verify(&self, out: &AnswerSink) {
        let hint = Some("verify again when it has ended; `cdc-supervisor events -f` shows how far it is");
        // What it would find is that nodes are away on purpose.
        if let Some(other) = self.operations.takes_nodes_away() {
            return out.send(refused(8, format!("{other}; nothing is verified meanwhile"), hint));
        }
        let mut report = |text: String| out.progress(text);
        let applied = self.reloads.applied();
        let mut found = verify::verify(&applied.targets, &mut report).await;
        let mut configured = topics::checks(self.clusters.keeper(), &applied.plan).await;
        configured.extend(cluster::settings_check(&self.engine, &applied.recipes).await);
        // Behind what else is said of Kafka.
        let behind = found.iter().take_while(|check| check.part == "kafka").count();
        found.splice(behind..behind, configured);
        if found.is_empty() {
            let hint = "it looks at brokers and at a MySQL server that the supervisor has set up";
            return out.send(refused(8, "there is nothing to verify in this configuration".into(), Some(hint)));
        }
        found.extend(drilled::rows(&self.layout, applied.targets.kafka.is_some()).await);
        let checks: Vec<Checked> = found.into_iter().map(checked).collect();
        let ok = checks.iter().all(|c| c.ok);
        if let Some(other) = self.operations.takes_nodes_away().filter(|_| !ok) {
            return out.send(refused(
                8,
                format!("{other}, begun while it was verified: what fails may be its doing"),
                hint,
            ));
        }
        out.send(Answer::Verdict(Verdict { schema: 1, at: clock::wall(), ok, checks }));
    }

    async fn drill(&self, plan: &drill_names::Plan, by: OrderedBy, out: &AnswerSink) {
        let applied = self.reloads.applied();
        let stage = drill::Stage {
            layout: &self.layout,
            engine: &self.engine.because(Reason::Drill),
            targets: &applied.targets,
            operations: &self.operations,
            agree_within: drill::AGREE_WITHIN,
        };
        match drill::run(&stage, plan, Some(by), &mut |text| out.progress(text)).await {
            Ok(report) => out.send(Answer::Drilled(Box::new(report))),
            Err(drill::Refused { exit, message, causes, hint }) => {
                self.engine.journal().note(EventLine::new(EventKind::Refused, &message).by(by));
                out.send(Answer::Refused { exit, message, causes, hint });
            }
        }
    }

    async fn prove(&self, out: &AnswerSink) {
        let mut report = |text: String| out.progress(text);
        match prove::prove(&self.reloads.applied().targets, &mut report).await {
            Ok(proof) => {
                let mut text = proof.lines;
                text.extend(topics::at_start(self.clusters.keeper(), &self.reloads.applied().plan).await);
                out.send(Answer::Done { text });
            }
            Err(e) => out.send(Answer::Refused {
                exit: 9,
                message: e.to_string(),
                causes: causes(&e),
                hint: Some("`cdc-supervisor status` shows each node; `cdc-supervisor logs NODE` what it says".into()),
            }),
        }
    }
}

fn checked(check: verify::Check) -> Checked {
    let (expected, found) = check.wrong.map(|w| (w.expected, w.found)).unzip();
    Checked { part: check.part.to_owned(), check: check.what, ok: found.is_none(), expected, found, note: check.note }
}

/// Whether an order may start a node.
fn starts_something(order: &Order) -> bool {
    match order {
        Order::Start { .. } | Order::Restart { .. } | Order::Reload { .. } => true,
        // refused by the record of operations itself
        Order::Roll { .. }
        | Order::WhyNot { .. }
        | Order::Hello
        | Order::Status
        | Order::Watch
        | Order::Stop { .. }
        | Order::Kill { .. }
        | Order::Fence { .. }
        | Order::Down { .. }
        | Order::Prove
        | Order::Verify
        | Order::Topics
        | Order::TopicsApply
        | Order::TopicRemove { .. }
        | Order::Snapshot { .. }
        | Order::Restore { .. }
        | Order::Reset { .. }
        | Order::Drill(_)
        | Order::UpgradeSelf => false,
    }
}

/// What an order is called in the event log, and the node it is about when it is one; none for questions.
fn order_words(order: &Order) -> Option<(Option<NodeName>, String)> {
    let of = |verb: &str, nodes: &[NodeName]| {
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let words = if names.is_empty() { format!("{verb} all nodes") } else { format!("{verb} {}", names.join(" ")) };
        let one = if let [one] = nodes { Some(one.clone()) } else { None };
        Some((one, words))
    };
    match order {
        Order::Start { nodes, .. } => of("start", nodes),
        Order::Stop { nodes, now: false, .. } => of("stop", nodes),
        Order::Stop { nodes, now: true, .. } => of("stop --now", nodes),
        Order::Restart { nodes, .. } => of("restart", nodes),
        Order::Kill { node, signal } => Some((Some(node.clone()), format!("send {} to {node}", signal_name(*signal)))),
        Order::Fence { node } => Some((Some(node.clone()), "close the ZooKeeper session it has left".into())),
        Order::Down { now: false } => Some((None, "stop everything, the daemon included".into())),
        Order::Down { now: true } => Some((None, "kill everything, the daemon included".into())),
        Order::Reload { .. } => Some((None, "reload".into())),
        Order::Snapshot { name, .. } => Some((None, format!("snapshot {name}"))),
        Order::Restore { name, only } => Some((
            None,
            format!("restore {name}{}", only.as_ref().map_or(String::new(), |set| format!(", only {set}"))),
        )),
        Order::Reset { set } => Some((None, format!("reset {set}"))),
        Order::Roll { plan: false, nodes, .. } if nodes.is_empty() => Some((None, "roll the brokers".into())),
        Order::Roll { plan: false, nodes, .. } => of("roll", nodes),
        Order::Drill(plan) => Some((None, format!("drill {}", plan.drill))),
        Order::TopicsApply => Some((None, "put the topics of the configuration into force".into())),
        Order::TopicRemove { name } => Some((None, format!("delete topic {name} with all its records"))),
        Order::UpgradeSelf => Some((None, "replace the daemon's program; nodes run on".into())),
        Order::Hello
        | Order::Status
        | Order::Watch
        | Order::Roll { plan: true, .. }
        | Order::WhyNot { .. }
        | Order::Topics
        | Order::Prove
        | Order::Verify => None,
    }
}

fn causes(e: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(e.source(), |inner| inner.source()).map(ToString::to_string).collect()
}

pub(super) fn answer_of(reply: OrderReply) -> Answer {
    match reply {
        Ok(text) => Answer::Done { text },
        Err(Rejection::UnknownNode(name)) => {
            refused(2, format!("there is no node {name}"), Some("`cdc-supervisor status` lists the nodes"))
        }
        Err(Rejection::NotNow(why)) => refused(8, why, None),
        Err(Rejection::NotReady(why)) => told(6, why, Some("`cdc-supervisor logs NODE` shows what it said")),
        Err(Rejection::Unsafe(why)) => told(8, why, None),
        Err(Rejection::Ending) => refused(7, "the daemon ended before that was done".into(), None),
    }
}

fn told(exit: u8, why: Vec<String>, hint: Option<&str>) -> Answer {
    let mut why = why.into_iter();
    let message = why.next().unwrap_or_else(|| "not ready".to_owned());
    Answer::Refused { exit, message, causes: why.collect(), hint: hint.map(str::to_owned) }
}

fn refused(exit: u8, message: String, hint: Option<&str>) -> Answer {
    refused_with(exit, message, hint.map(str::to_owned))
}

fn refused_with(exit: u8, message: String, hint: Option<String>) -> Answer {
    Answer::Refused { exit, message, causes: Vec::new(), hint }
}
