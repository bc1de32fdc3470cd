//! `roll`, `roll --plan` and `why-not` as the daemon answers them, and a roll that it finishes by itself (`finish`).

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
        operation::{Kind, Refused, Running},
        reload::{Failed, Report},
        roll::{self, Asked},
        unrolled::{self, Order, Unrolled},
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
        let order = Order::of(asked.max_wait, asked.terms).beginning(&engine.snapshot());
        let (nodes, order) = (names(&asked.nodes), order.on_record());
        let begun = self.operations.begin_by_order_asked(Kind::Roll, &nodes, Some(by), order).await;
        let running = match begun {
            Ok(running) => running,
            Err(refused) => {
                let failed = busy(&refused);
                tracing::warn!("roll: {}", failed.message);
                engine.journal().note(EventLine::new(EventKind::Refused, &failed.message).by(by));
                return out.send(self::refused(failed));
            }
        };
        let mut tell = |node: Option<&NodeName>, text: String| match node {
            None => out.progress(text),
            Some(node) => out.send(Answer::Progress { node: Some(node.clone()), text }),
        };
        out.send(match self.carry_out(engine, asked, &running, &mut tell).await {
            Ok(text) => {
                running.end(text.join("; "));
                Answer::Done { text }
            }
            Err(failed) => {
                running.end(words(&failed));
                refused(failed)
            }
        });
    }

    /// Restarts brokers that a roll has left which was cut short, by the rules of any roll. `tell` hears what it does.
    pub(super) async fn finish(
        &self,
        engine: &Handle,
        left: &Unrolled,
        nodes: Vec<NodeName>,
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Finished {
        let order = left.finishing().beginning(&engine.snapshot());
        let why = format!(": what is left of {}", left.words());
        let begun = self.operations.begin_asked(Kind::Roll, names(&nodes), left.by, order.on_record(), &why);
        let running = match begun {
            Ok(running) => running,
            Err(Refused::Busy(other)) if other.kind == Kind::Roll.as_str() => {
                return leave(engine, left, "another roll was ordered meanwhile".into());
            }
            Err(refused @ Refused::Busy(_)) => return Finished::Later(refused.to_string()),
            Err(refused @ (Refused::HalfExchanged(_) | Refused::NotRecorded(_))) => {
                let words = words(&busy(&refused));
                tracing::warn!("roll: {words}");
                engine
                    .journal()
                    .note(EventLine::new(EventKind::Refused, format!("{} is not finished: {words}", left.operation)));
                return leave(engine, left, words);
            }
        };
        let asked = self.asked(nodes, order.max_wait(), order.terms());
        let mut logged = String::new();
        let mut tell = |node: Option<&NodeName>, text: String| {
            // No client hears what it waits for.
            if node.is_some_and(|node| is_news(&mut logged, node, &text)) {
                tracing::info!("roll: {text}");
            }
            tell(text);
        };
        match self.carry_out(engine, &asked, &running, &mut tell).await {
            Ok(text) => {
                running.end(text.join("; "));
                Finished::Done
            }
            Err(failed) => {
                let hint = failed.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
                // Before the record goes: a daemon that dies over it finds one of the two.
                let finished = leave(engine, left, format!("it was tried once: {}", failed.message));
                running.end(format!("{}; no daemon tries it again{hint}", words(&failed)));
                finished
            }
        }
    }

    async fn carry_out(
        &self,
        engine: &Handle,
        asked: &Asked,
        running: &Running,
        tell: Tell<'_>,
    ) -> Result<Vec<String>, Failed> {
        let applied = self.applied();
        let mut report = Telling { running, tell, waited: String::new() };
        let done = roll::roll(engine, asked, &applied.recipes, &mut report).await;
        match done {
            Ok(text) if text.is_empty() => Ok(vec!["no broker was restarted".into()]),
            Ok(text) => Ok(text),
            Err(failed) => {
                tracing::warn!("roll: {}", words(&failed));
                Err(failed)
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

/// Whether what is waited for is another thing than it was. What only counts on, several times a second, is no line of a log.
fn is_news(before: &mut String, node: &NodeName, text: &str) -> bool {
    let words: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
    let now = format!("{node}: {words}");
    let news = now != *before;
    *before = now;
    news
}

/// What became of a roll that this daemon was to finish.
pub(super) enum Finished {
    /// All of it is done.
    Done,
    /// Not now: this is under way.
    Later(String),
    /// Not by this daemon (any more), nor by a later one: why.
    Left(String),
}

/// Leaves it, and has every later daemon leave it.
fn leave(engine: &Handle, left: &Unrolled, why: String) -> Finished {
    unrolled::give_up(engine.layout(), left, &why);
    Finished::Left(why)
}

/// `broker-1, broker-2`.
fn names(nodes: &[NodeName]) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

fn words(failed: &Failed) -> String {
    std::iter::once(&failed.message).chain(&failed.causes).cloned().collect::<Vec<_>>().join("; ")
}

/// Who hears what a roll does: of a node what it waits for, else a step.
type Tell<'a> = &'a mut (dyn FnMut(Option<&NodeName>, String) + Send);

/// Tells whoever listens, the log, and the record of operations.
struct Telling<'a> {
    running: &'a Running,
    tell: Tell<'a>,
    waited: String,
}

impl Report for Telling<'_> {
    fn step(&mut self, node: Option<&NodeName>, text: String) {
        tracing::info!("roll: {text}");
        // Nothing has to be undone after a roll that is cut short, and what is left is seen of what runs: one that cannot be written down goes on.
        if let Err(e) = self.running.step_of(node, &text, None) {
            tracing::warn!(error = %e.source, "{e}");
        }
        (self.tell)(None, text);
    }

    fn waits(&mut self, node: &NodeName, text: String) {
        if text != self.waited {
            (self.tell)(Some(node), text.clone());
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
    fn what_only_counts_on_is_one_line_of_the_log() {
        let mut before = String::new();
        let mut logged = |id, text: &str| is_news(&mut before, &NodeName::broker(id), text);
        let stops = "broker-3: stops to be started again; SIGKILL in";
        assert!(logged(3, &format!("{stops} 3m00s")) && !logged(3, &format!("{stops} 2m59s")));
        let starts = "port 29094 refuses connections: still starting";
        assert!(logged(3, &format!("broker-3: starts since 4.4 s: {starts}")));
        assert!(!logged(3, &format!("broker-3: starts since 10.4 s: {starts}")));
        assert!(logged(3, &format!("broker-3: starts since 10.5 s: {starts} (0/3 logs loaded, 3 left)")));
        assert!(!logged(3, &format!("broker-3: starts since 10.6 s: {starts} (1/3 logs loaded, 2 left)")));
        assert!(logged(1, &format!("broker-1: starts since 0.1 s: {starts} (0/3 logs loaded, 3 left)")), "another one");
    }

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
