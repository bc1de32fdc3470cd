//! `roll`, `roll --plan` and `why-not` as the daemon answers them.

use super::reload::{Reloads, busy};
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
        operation::{Kind, Running},
        reload::{Failed, Report},
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
        let names: Vec<&str> = asked.nodes.iter().map(NodeName::as_str).collect();
        let running = match self.operations.begin(Kind::Roll, names.join(", "), Some(by)) {
            Ok(running) => running,
            Err(refused) => {
                let failed = busy(&refused);
                tracing::warn!("roll: {}", failed.message);
                engine.journal().note(EventLine::new(EventKind::Refused, &failed.message).by(by));
                return out.send(self::refused(failed));
            }
        };
        let applied = self.applied();
        let mut report = Telling { running: &running, out, waited: String::new() };
        match roll::roll(engine, asked, &applied.recipes, &mut report).await {
            Ok(text) => {
                running.end(text.join("; "));
                out.send(Answer::Done { text });
            }
            Err(failed) => {
                let words = std::iter::once(&failed.message).chain(&failed.causes).cloned().collect::<Vec<_>>();
                tracing::warn!("roll: {}", words.join("; "));
                running.end(words.join("; "));
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

/// Tells the client, the log, and the record of operations.
struct Telling<'a> {
    running: &'a Running,
    out: &'a AnswerSink,
    waited: String,
}

impl Report for Telling<'_> {
    fn step(&mut self, _node: Option<&NodeName>, text: String) {
        tracing::info!("roll: {text}");
        // Nothing has to be undone after a roll that is cut short, so one that cannot be written down goes on.
        if let Err(e) = self.running.step(&text, None) {
            tracing::warn!(error = %e.source, "{e}");
        }
        self.out.progress(text);
    }

    fn waits(&mut self, node: &NodeName, text: String) {
        if text != self.waited {
            self.out.send(Answer::Progress { node: Some(node.clone()), text: text.clone() });
            self.waited = text;
        }
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
