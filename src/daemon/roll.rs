//! `roll`, `roll --plan` and `why-not` as the daemon answers them.

use super::reload::{Reloads, busy};
use crate::{
    base::{EventKind, EventLine, NodeName, OrderedBy},
    control::{
        server::AnswerSink,
        wire::{
            Answer, LINE_MAX,
            cluster::{Impact, Outlook, Unnamed},
        },
    },
    engine::Handle,
    operate::{
        gate::Terms,
        operation::{Kind, Running},
        reload::{Failed, Report},
        roll::{self, Asked},
    },
    sys::clock,
};
use std::time::Duration;

impl Reloads {
    /// An order to roll, with what the configuration says about it.
    pub(super) fn asked(&self, nodes: Vec<NodeName>, max_wait: Duration, terms: Terms) -> Asked {
        Asked { nodes, max_wait, terms, leaders_home: self.applied().sight.elect }
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
    fn step(&mut self, node: Option<&NodeName>, text: String) {
        tracing::info!("roll: {text}");
        // Nothing has to be undone after a roll that is cut short, so one that cannot be written down goes on.
        if let Err(e) = self.running.step_of(node, &text, None) {
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
            let share = LINE_MAX / 2 / LISTS / all.len().max(1);
            let nodes = all.into_iter().map(|outlook| impact(outlook, share)).collect();
            Answer::Outlook(Outlook { schema: 1, at: clock::wall(), safe, nodes })
        }
        Err(failed) => refused(failed),
    }
}

/// Lists of names in an answer about one node.
const LISTS: usize = 5;

/// `share`: bytes that the names of one list may take. An answer is one line, and no longer than a client reads.
fn impact(outlook: roll::Outlook, share: usize) -> Impact {
    let (safe, found) = (outlook.is_safe(), outlook.impact);
    let (goes_offline, offline_more) = cut(found.goes_offline, share);
    let (refuses_acks_all, refuses_more) = cut(found.refuses_acks_all, share);
    let (unreadable, unreadable_more) = cut(found.unreadable, share);
    let (may_lose_acks_1, may_lose_more) = cut(found.may_lose_acks_1, share);
    let (never_safe, never_more) = cut(found.never_safe, share);
    Impact {
        safe,
        node: outlook.node,
        goes_offline,
        refuses_acks_all,
        unreadable,
        may_lose_acks_1,
        never_safe,
        waits_for: outlook.waits_for,
        notes: outlook.notes,
        unnamed: Unnamed {
            goes_offline: offline_more,
            refuses_acks_all: refuses_more,
            unreadable: unreadable_more,
            may_lose_acks_1: may_lose_more,
            never_safe: never_more,
        },
    }
}

/// As many of the names as fit into so many bytes, with their quotes and commas; and how many more there are.
fn cut(mut names: Vec<String>, bytes: usize) -> (Vec<String>, usize) {
    let mut left = bytes;
    let fits = |name: &&String| match left.checked_sub(name.len() + 3) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let named = names.iter().take_while(fits).count();
    let more = names.len() - named;
    names.truncate(named);
    (names, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::impact;

    #[test]
    fn an_answer_about_any_number_of_partitions_is_a_line_that_a_client_reads() {
        let names = |what: &str| (0..20_000).map(|n| format!("{}-{what}-{n}", "t".repeat(240))).collect::<Vec<_>>();
        let outlook = |id| roll::Outlook {
            node: NodeName::broker(id),
            impact: impact::Impact {
                goes_offline: names("a"),
                refuses_acks_all: names("b"),
                unreadable: names("c"),
                may_lose_acks_1: names("d"),
                never_safe: names("e"),
            },
            waits_for: None,
            notes: Vec::new(),
            notes_break: false,
        };
        let Answer::Outlook(answer) = answer(Ok((1..=9).map(outlook).collect())) else { panic!("an outlook") };
        assert!(serde_json::to_string(&answer).unwrap().len() < LINE_MAX);
        for node in &answer.nodes {
            assert!(node.goes_offline.len() > 10 && !node.safe);
            assert_eq!(node.goes_offline.len() + node.unnamed.goes_offline, 20_000);
            assert_eq!(node.never_safe.len() + node.unnamed.never_safe, 20_000);
        }
        assert_eq!(cut(vec!["t-0".into(), "t-1".into()], 12), (vec!["t-0".into(), "t-1".into()], 0));
        assert_eq!(cut(vec!["t-0".into(), "t-1".into()], 11), (vec!["t-0".into()], 1));
    }
}
