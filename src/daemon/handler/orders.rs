//! Orders about nodes, carried out: what is told on the way, and what a restart of ZooKeeper waits for.

use super::{Shared, answer_of, refused, refused_with};
use crate::{
    base::{EventKind, EventLine, NodeName, OrderedBy},
    control::{server::AnswerSink, wire::Answer},
    daemon::by_hand::{self, ByHand, Gate},
    engine::{EngineOrder, OrderReply, Rejection},
    operate::away::{self, Absence},
    sys::clock,
};
use tokio::time::sleep;

impl Shared {
    /// Whether an order by hand may be carried out beside what is under way; answers it when not.
    pub(super) fn may(&self, asked: &ByHand<'_>, by: OrderedBy, out: &AnswerSink) -> bool {
        let other = match asked.verb {
            // What a roll or a reload waits for may be just that.
            by_hand::Verb::Start => self.operations.breaks_nodes(),
            by_hand::Verb::Stop | by_hand::Verb::Restart => self.operations.takes_nodes_away(),
        };
        let refused = asked.refused(&self.engine.snapshot(), other.as_deref());
        let Some((message, hint)) = refused else { return true };
        self.engine.journal().note(EventLine::new(EventKind::Refused, &message).by(by));
        out.send(refused_with(8, message, hint));
        false
    }

    /// Has a stop by hand hold where a snapshot, restore or reset would start its nodes again; false when that is answered with why not.
    pub(super) fn stays_down(&self, nodes: &[NodeName], out: &AnswerSink) -> bool {
        let all = || self.engine.snapshot().nodes.iter().map(|n| n.name.clone()).collect();
        let nodes = if nodes.is_empty() { all() } else { nodes.to_vec() };
        let Err(e) = self.operations.leave_down(&nodes) else { return true };
        let message =
            format!("{e}: {}; they would be started again by the next daemon, so nothing was stopped", e.source);
        out.send(refused(1, message, Some("free space, then stop them")));
        false
    }

    /// Restarts nodes; ZooKeeper when the brokers can do without it for a moment, and says for how long they did.
    pub(super) async fn restart(&self, nodes: Vec<NodeName>, anyway: bool, by: OrderedBy, out: &AnswerSink) {
        let began = clock::now();
        let mut told = String::new();
        loop {
            // Asked again after each wait: something else may have begun meanwhile.
            let asked = ByHand { verb: by_hand::Verb::Restart, nodes: &nodes, anyway };
            if !self.may(&asked, by, out) {
                return;
            }
            let seen = match asked.gate(&self.engine.snapshot()) {
                // Nodes are looked at every few seconds only.
                Gate::Open => self.against(&asked).await.map_or(Gate::Open, Gate::Waits),
                closed => closed,
            };
            match seen {
                Gate::Open => break,
                Gate::Waits(why) if clock::now().since(began) < by_hand::PATIENCE && !self.engine.snapshot().ending => {
                    if why != told {
                        out.progress(format!("waits before zookeeper: {why}"));
                        told = why;
                    }
                    sleep(by_hand::LOOK_EVERY).await;
                }
                Gate::Waits(why) | Gate::Shut(why) => {
                    let message = format!("zookeeper is not restarted: {why}");
                    self.engine.journal().note(EventLine::new(EventKind::Refused, &message).by(by));
                    let hint = "`cdc-supervisor status` says why; --anyway restarts it all the same";
                    return out.send(refused(8, message, Some(hint)));
                }
            }
        }
        let lasts = self.reloads.applied().plan.kafka.as_ref().map(|kafka| kafka.session_timeout);
        let is_zookeeper = |name: &NodeName| *name == NodeName::zookeeper();
        let order = self.ordered(EngineOrder::Restart { nodes: nodes.clone() }, by, out);
        let Some(lasts) = lasts.filter(|_| nodes.iter().any(is_zookeeper)) else {
            return out.send(answer_of(order.await));
        };
        let mut absence = Absence::default();
        let reply = absence.watch(&self.engine, order, lasts, |late| out.progress(late)).await;
        let words = absence.end(&self.engine, lasts);
        out.send(answer_of(match reply {
            Ok(text) => Ok(text.into_iter().chain(words).collect()),
            Err(Rejection::NotReady(why)) => Err(Rejection::NotReady(why.into_iter().chain(words).collect())),
            Err(other) => Err(other),
        }));
    }

    /// What brokers that stay say against a restart of ZooKeeper.
    async fn against(&self, asked: &ByHand<'_>) -> Option<String> {
        if !asked.takes_zookeeper(&self.engine.snapshot()) {
            return None;
        }
        away::not_whole(&self.engine, &self.reloads.applied().recipes, asked.nodes).await
    }

    pub(super) async fn carry_out(&self, order: EngineOrder, by: OrderedBy, out: &AnswerSink) {
        out.send(answer_of(self.ordered(order, by, out).await));
    }

    /// Gives an order and tells each node's change of state on the way, and how far a stop is that waits for a start-up.
    pub(super) async fn ordered(&self, order: EngineOrder, by: OrderedBy, out: &AnswerSink) -> OrderReply {
        let mut changes = self.engine.watch();
        let mut told: std::collections::BTreeMap<_, _> =
            changes.borrow_and_update().nodes.iter().map(|n| (n.name.clone(), (n.state, None))).collect();
        let mut tell = |snapshot: &crate::engine::Snapshot| {
            for node in &snapshot.nodes {
                let now = (node.state, node.queued_stop.clone());
                if told.get(&node.name) != Some(&now) {
                    let text = node.queued_stop.as_ref().unwrap_or(&node.detail).clone();
                    out.send(Answer::Progress { node: Some(node.name.clone()), text });
                    told.insert(node.name.clone(), now);
                }
            }
        };
        let done = self.engine.order(order);
        tokio::pin!(done);
        let reply = loop {
            tokio::select! {
                reply = &mut done => break reply,
                changed = changes.changed() => {
                    if changed.is_err() {
                        break done.await;
                    }
                    let snapshot = changes.borrow_and_update().clone();
                    tell(&snapshot);
                }
            }
        };
        tell(&self.engine.snapshot());
        self.note_refusal(by, &reply);
        reply
    }

    /// An order that was not taken is an event, too. What became of one that was taken is told by the nodes' own events.
    pub(super) fn note_refusal(&self, by: OrderedBy, reply: &OrderReply) {
        let why = match reply {
            Err(Rejection::UnknownNode(name)) => format!("there is no node {name}"),
            Err(Rejection::NotNow(why)) => why.clone(),
            Err(Rejection::NotReady(_) | Rejection::Unsafe(_) | Rejection::Ending) | Ok(_) => return,
        };
        self.engine.journal().note(EventLine::new(EventKind::Refused, why).by(by));
    }
}
