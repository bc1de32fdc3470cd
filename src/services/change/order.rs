//! The order of the steps, and which broker is next.

use super::{Does, Gate, Life, Present, Refusal, ReloadPlan, Side, Step, is_broker};
use crate::base::{NodeKind, NodeName, recipe::Recipe};
use std::collections::{BTreeMap, BTreeSet};

/// Fills in the steps: stops that free a port first, then starts and restarts in start order, then what applies live, then
/// the other stops, what comes after others first. A stop comes late because it is what a failed reload would have to undo.
pub(super) fn steps(plan: &mut ReloadPlan, old: &[Recipe], wanted: &Side, now: &BTreeMap<NodeName, Present>) {
    let has_life = |node: &NodeName| now.get(node).is_some_and(|p| p.life != Life::Rests);
    let does = |node: &NodeName| plan.nodes.iter().find(|n| n.node == *node).map(|n| n.does);
    let zookeeper_stays = wanted.recipes.iter().any(|r| r.kind == NodeKind::Zookeeper);
    let brokers_stay = wanted.recipes.iter().any(is_broker);
    let starts: Vec<&Recipe> =
        wanted.recipes.iter().filter(|r| matches!(does(&r.node), Some(Does::Start | Does::Restart))).collect();

    // Who has to have left a port before its new owner comes.
    let mut early: BTreeSet<NodeName> = BTreeSet::new();
    let mut refusals = Vec::new();
    for (at, recipe) in starts.iter().enumerate() {
        let before = old.iter().find(|r| r.node == recipe.node);
        for port in &recipe.ports {
            let had = |r: &Recipe| r.ports.iter().any(|p| p.address.port() == port.address.port());
            if before.is_some_and(had) {
                continue;
            }
            let holder = old.iter().find(|r| r.node != recipe.node && had(r) && has_life(&r.node));
            let Some(holder) = holder else { continue };
            if does(&holder.node) == Some(Does::Stop) {
                early.insert(holder.node.clone());
                continue;
            }
            let place = starts.iter().position(|r| r.node == holder.node);
            // Which broker goes first is decided when it is done.
            let settled = !(is_broker(holder) && is_broker(recipe));
            if !(settled && place.is_some_and(|place| place < at)) {
                refusals.push(Refusal {
                    what: format!(
                        "{} would take port {}, which {} holds until it is restarted itself, and that comes later",
                        recipe.node,
                        port.port(),
                        holder.node
                    ),
                    hint: format!(
                        "move {} to its new port with one reload, then {} with another",
                        holder.node, recipe.node
                    ),
                });
            }
        }
    }

    let stop = |recipe: &Recipe| {
        let gate = match recipe.kind {
            // With the whole cluster its topics go, and nothing is left to be short of a replica.
            NodeKind::Broker(_) if brokers_stay => Gate::NoReplicas,
            NodeKind::Broker(_) | NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => {
                Gate::None
            }
        };
        Step { node: recipe.node.clone(), does: Does::Stop, gate }
    };
    let mut gone: Vec<&Recipe> = old.iter().filter(|r| does(&r.node) == Some(Does::Stop)).collect();
    // Against the order of start: what comes after others goes first.
    gone.reverse();
    let mut steps: Vec<Step> = gone.iter().filter(|r| early.contains(&r.node)).map(|r| stop(r)).collect();
    for recipe in &starts {
        let restarts = does(&recipe.node) == Some(Does::Restart);
        let runs = now.get(&recipe.node).is_some_and(|p| p.life == Life::Runs);
        let gate = match recipe.kind {
            NodeKind::Zookeeper if restarts && runs && brokers_stay => Gate::BrokersReady,
            NodeKind::Broker(_) if restarts && zookeeper_stays => Gate::InSync,
            NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => {
                Gate::None
            }
        };
        let does = if restarts { Does::Restart } else { Does::Start };
        steps.push(Step { node: recipe.node.clone(), does, gate });
    }
    for change in plan.nodes.iter().filter(|n| matches!(n.does, Does::Live | Does::Keep)) {
        steps.push(Step { node: change.node.clone(), does: change.does, gate: Gate::None });
    }
    steps.extend(gone.iter().filter(|r| !early.contains(&r.node)).map(|r| stop(r)));
    plan.steps = steps;
    plan.refusals.extend(refusals);
}

/// Which of the brokers that are left is restarted next: one that is not ready (nothing is lost by it, and it may be what
/// the others wait for), else one that is not the controller, else the controller; of several the first. The controller is
/// asked for anew before each step, because it moves.
pub fn next_broker<'a>(
    left: &'a [NodeName],
    ready: impl Fn(&NodeName) -> bool,
    controller: Option<&NodeName>,
) -> Option<&'a NodeName> {
    left.iter().find(|n| !ready(n)).or_else(|| left.iter().find(|n| Some(*n) != controller)).or_else(|| left.first())
}
