//! `roll`, `roll --plan` and `why-not` as the daemon answers them.

use super::reload::{Reloads, Telling, busy};
use crate::{
    base::{EventKind, EventLine, NodeName, OrderedBy},
    control::{
        server::AnswerSink,
        wire::{
            Answer,
            cluster::{Impact, Outlook},
        },
    },
    engine::Handle,
    operate::{
        reload::Failed,
        roll::{self, Asked},
    },
    sys::clock,
};
use std::time::Duration;

impl Reloads {
    /// An order to roll, with what the configuration says about it.
    pub(super) fn asked(&self, nodes: Vec<NodeName>, max_wait: Duration, accept_unavailable: bool) -> Asked {
        Asked { nodes, max_wait, accept_unavailable, leaders_home: self.applied().sight.elect }
    }

    /// Carries out an order to roll and answers it.
    pub(super) async fn roll(&self, engine: &Handle, asked: &Asked, by: OrderedBy, out: &AnswerSink) {
        let done = match self.running.try_lock() {
            Ok(_running) => {
                let applied = self.applied();
                let names: Vec<&str> = asked.nodes.iter().map(NodeName::as_str).collect();
                let which = if names.is_empty() { "every broker that is wanted up".into() } else { names.join(", ") };
                engine.journal().note(EventLine::new(EventKind::RollBegun, format!("one by one: {which}")).by(by));
                let mut report = Telling::new(engine, out, EventKind::RollStep);
                roll::roll(engine, asked, &applied.recipes, &mut report).await
            }
            Err(_) => Err(busy()),
        };
        match done {
            Ok(text) => {
                engine.journal().note(EventLine::new(EventKind::RollDone, text.join("; ")).by(by));
                out.send(Answer::Done { text });
            }
            Err(failed) => {
                let words = std::iter::once(&failed.message).chain(&failed.causes).cloned().collect::<Vec<_>>();
                tracing::warn!("roll: {}", words.join("; "));
                engine.journal().note(EventLine::new(EventKind::RollStopped, words.join("; ")).by(by));
                out.send(refused(failed));
            }
        }
    }

    /// What an order to roll would do.
    pub(super) async fn outlook(&self, engine: &Handle, asked: &Asked) -> Answer {
        answer(roll::plan(engine, asked, &self.applied().recipes).await)
    }

    /// What breaks if a node is stopped now.
    pub(super) async fn why_not(&self, engine: &Handle, node: &NodeName) -> Answer {
        answer(roll::why_not(engine, node, &self.applied().recipes).await.map(|outlook| vec![outlook]))
    }
}

fn refused(failed: Failed) -> Answer {
    let Failed { exit, message, causes, hint } = failed;
    Answer::Refused { exit, message, causes, hint }
}

fn answer(made: Result<Vec<roll::Outlook>, Failed>) -> Answer {
    match made {
        Ok(all) => {
            let safe = all.iter().all(roll::Outlook::is_safe);
            let nodes = all.into_iter().map(impact).collect();
            Answer::Outlook(Outlook { schema: 1, at: clock::wall(), safe, nodes })
        }
        Err(failed) => refused(failed),
    }
}

fn impact(outlook: roll::Outlook) -> Impact {
    Impact {
        safe: outlook.is_safe(),
        node: outlook.node,
        goes_offline: outlook.impact.goes_offline,
        refuses_acks_all: outlook.impact.refuses_acks_all,
        unreadable: outlook.impact.unreadable,
        may_lose_acks_1: outlook.impact.may_lose_acks_1,
        never_safe: outlook.impact.never_safe,
        waits_for: outlook.waits_for,
        notes: outlook.notes,
    }
}
