//! The way back of a reload: what was changed gets its old settings again, the last one first. Where a newer program has written to a
//! node's data there is none, and a node that runs is not stopped for settings that it may not have.

use super::{Broke, Failed, Report, Roll};
use crate::{
    base::{NodeKind, NodeName, outcome::Failure},
    engine::{self, Change, EngineOrder},
    operate::{dynamic, gate::broker_id},
    services::change::{Does, Gate, Step},
};

/// What becomes of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It gets its old settings.
    Back,
    /// It runs, and the data are of what runs: it keeps its new settings.
    Stays,
    /// It does not run, and its old program may not have the data: it gets its old settings, and its start is refused with the ways out.
    Down,
}

fn way(is_barred: bool, runs: bool) -> Way {
    match (is_barred, runs) {
        (false, _) => Way::Back,
        (true, true) => Way::Stays,
        (true, false) => Way::Down,
    }
}

/// What came of all of it.
#[derive(Debug, Default)]
struct Undone {
    restored: Vec<NodeName>,
    stays: Vec<(NodeName, Failure)>,
    down: Vec<(NodeName, Failure)>,
    /// Why no more was undone.
    stuck: Option<String>,
    /// What was not.
    left: Vec<NodeName>,
}

impl Undone {
    /// What is said about it, and what is to be done.
    fn told(&self) -> (Vec<String>, String) {
        let names = |nodes: &[NodeName]| nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
        let mut causes = Vec::new();
        if !self.restored.is_empty() {
            causes.push(format!("with their old settings again: {}", names(&self.restored)));
        }
        for (node, failure) in &self.stays {
            causes.push(format!("{node} keeps its new settings, with which it runs: {}", failure.what));
        }
        for (node, failure) in &self.down {
            causes.push(format!(
                "{node} is left down, for its old program may not have its data any more: {}",
                failure.what
            ));
        }
        if let Some(stuck) = &self.stuck {
            causes.push(stuck.clone());
        }
        if !self.left.is_empty() {
            causes.push(format!("still with their new settings: {}", names(&self.left)));
        }
        let barred = self.down.first().or(self.stays.first());
        let hint = match (barred, &self.stuck) {
            // The next daemon goes by what was applied as a whole.
            (Some((_, failure)), _) if !self.stays.is_empty() => format!(
                "mend the file and reload again, before the daemon is replaced: the next one goes by the old settings; or, to go back: {}",
                failure.remedy
            ),
            (Some((_, failure)), _) => format!("mend the file and reload again; or, to go back: {}", failure.remedy),
            (None, None) => "nothing has changed; mend the file and reload again".to_owned(),
            (None, Some(_)) => {
                "`cdc-supervisor plan` shows what runs with which settings; mend that node, then reload".to_owned()
            }
        };
        (causes, hint)
    }
}

impl Roll<'_> {
    /// The way back: the last one first, it is the one that does not run.
    pub(super) async fn back(&mut self, at: &Step, why: String, report: &mut dyn Report) -> Failed {
        report.step(Some(&at.node), format!("{why}; what was changed gets its old settings back"));
        let mut undone = Undone::default();
        while let Some(step) = self.done.pop() {
            let barred = self.barred(&step).await;
            let runs = self.node(&step.node).is_some_and(|n| n.process.is_some());
            let (failure, way) = (barred.clone(), way(barred.is_some(), runs));
            match (way, failure) {
                (Way::Stays, Some(failure)) => {
                    let node = step.node;
                    report.step(Some(&node), format!("{node}: keeps its new settings: {}", failure.what));
                    undone.stays.push((node, failure));
                }
                (Way::Down, Some(failure)) => {
                    // Nothing is stopped for it, so nothing is waited for; its start is refused with these words, which stay with it.
                    let (node, old) = (&step.node, self.old.get(&step.node).cloned());
                    report.step(Some(node), format!("{node}: stays down: {}", failure.what));
                    if let Some(old) = old
                        && self.restart(old, report).await.is_ok()
                    {
                        undone.restored.push(step.node);
                        continue;
                    }
                    let is_broker = self.old.get(&step.node).is_some_and(|r| matches!(r.kind, NodeKind::Broker(_)));
                    let node = step.node;
                    undone.down.push((node.clone(), failure));
                    if is_broker && !self.done.is_empty() {
                        undone.stuck = Some(format!("no other broker is taken away while {node} is down"));
                        break;
                    }
                }
                (Way::Back | Way::Stays | Way::Down, _) => {
                    if let Err(broke) = self.undo(&step, step == *at, report).await {
                        let (node, why) = (&step.node, broke.words());
                        undone.stuck = Some(format!("{node} has not come back with its old settings either: {why}"));
                        self.done.push(step);
                        break;
                    }
                    undone.restored.push(step.node);
                }
            }
        }
        undone.left = self.done.iter().map(|s| s.node.clone()).collect();
        let order = self.orders.0.clone();
        let _ = self.engine.order(EngineOrder::Change(Change::Order(order))).await;
        let (told, hint) = undone.told();
        Failed {
            exit: 6,
            message: match at.does {
                Does::Live => format!("{} did not take its new settings", at.node),
                Does::Restart | Does::Start | Does::Stop | Does::Keep => {
                    format!("{} did not come up with its new settings", at.node)
                }
            },
            causes: std::iter::once(why).chain(told).collect(),
            hint: Some(hint),
        }
    }

    /// Why the old program of a node that was restarted may not have its data any more; none: it may. What cannot be looked at keeps
    /// nobody from trying.
    async fn barred(&self, step: &Step) -> Option<Failure> {
        if step.does != Does::Restart {
            return None;
        }
        let old = self.old.get(&step.node)?.clone();
        tokio::task::spawn_blocking(move || engine::data_refuse(&old)).await.ok()?.ok().flatten()
    }

    async fn undo(&mut self, step: &Step, is_culprit: bool, report: &mut dyn Report) -> Result<(), Broke> {
        let node = &step.node;
        let old = self.old.get(node).cloned();
        report.step(Some(node), format!("{node}: goes back to its old settings"));
        match (step.does, old) {
            (Does::Restart, Some(old)) => {
                if !is_culprit {
                    self.gate(step, report).await?;
                }
                self.restart(old, report).await
            }
            (Does::Live, Some(old)) => match self.dynamic.get(node).cloned() {
                Some(change) => {
                    self.force.insert(node.clone(), old.clone());
                    let (engine, max_wait) = (self.engine, self.max_wait);
                    let back = dynamic::give_back(engine, old, &change.back, is_culprit, max_wait, report).await;
                    back.map_err(Broke::Node)
                }
                None => self.live(old).await,
            },
            (Does::Keep, Some(old)) => self.live(old).await,
            // One that has got replicas meanwhile is not taken from them.
            (Does::Start, _) => {
                let is_one_of_more = self.old.values().any(|r| broker_id(Some(r)).is_some());
                let gate = match broker_id(self.new.get(node)) {
                    Some(_) if is_one_of_more => Gate::NoReplicas,
                    Some(_) | None => Gate::None,
                };
                let step = Step { node: node.clone(), does: Does::Stop, gate };
                self.gate(&step, report).await?;
                self.leave(&step, report).await
            }
            // A stop that failed half-way has left the node where it was.
            (Does::Stop, Some(old)) if self.node(node).is_none() => self.start(old, report).await,
            (Does::Stop, Some(_)) => {
                let order = self.engine.order(EngineOrder::Start { nodes: vec![node.clone()], with_needs: true });
                self.watched(node, order, report).await
            }
            // Only a node that was there has old settings.
            (Does::Restart | Does::Live | Does::Keep | Does::Stop, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Cause;

    fn failure(what: &str) -> Failure {
        Failure { cause: Cause::NewerData, what: what.into(), remedy: "restore a snapshot".into() }
    }

    #[test]
    fn only_what_does_not_run_is_started_in_vain_and_what_runs_is_never_stopped_for_it() {
        assert_eq!([way(false, true), way(false, false)], [Way::Back, Way::Back]);
        assert_eq!([way(true, true), way(true, false)], [Way::Stays, Way::Down]);
    }

    #[test]
    fn what_was_not_undone_is_not_said_to_be() {
        let all = Undone { restored: vec![NodeName::mysql()], ..Undone::default() };
        let (causes, hint) = all.told();
        assert_eq!(causes, ["with their old settings again: mysql"]);
        assert!(hint.starts_with("nothing has changed"), "{hint}");
        let down = Undone { down: vec![(NodeName::mysql(), failure("written by MySQL 9.7.4"))], ..all };
        let (causes, hint) = down.told();
        assert!(
            causes[1].starts_with("mysql is left down") && causes[1].ends_with("written by MySQL 9.7.4"),
            "{causes:?}"
        );
        assert!(hint.contains("to go back: restore a snapshot") && !hint.contains("nothing has changed"), "{hint}");
        let stays = Undone { stays: vec![(NodeName::broker(1), failure("of protocol 3.6"))], ..Undone::default() };
        let (causes, hint) = stays.told();
        assert!(
            causes[0].contains("broker-1 keeps its new settings, with which it runs: of protocol 3.6"),
            "{causes:?}"
        );
        assert!(hint.contains("restore a snapshot"), "{hint}");
        let stuck = Undone { stuck: Some("a is stuck".into()), left: vec![NodeName::mysql()], ..Undone::default() };
        let (causes, hint) = stuck.told();
        assert_eq!(causes, ["a is stuck", "still with their new settings: mysql"]);
        assert!(hint.contains("`cdc-supervisor plan`"), "{hint}");
    }
}
