//! What a reload does not do, because data would be lost or mixed, or because it cannot be done to what runs.

use super::{Refusal, ReloadPlan, Side, is_broker};
use crate::base::{NodeKind, NodeName};
use std::collections::BTreeSet;

pub(super) fn all(plan: &mut ReloadPlan, applied: &Side, wanted: &Side, has_data: &BTreeSet<NodeName>) {
    plan.refusals.extend(root(applied, wanted));
    plan.refusals.extend(distribution(applied, wanted, has_data));
    plan.refusals.extend(moved(applied, wanted, has_data));
    plan.refusals.extend(orphans(wanted));
}

fn root(applied: &Side, wanted: &Side) -> Option<Refusal> {
    (applied.root != wanted.root).then(|| Refusal {
        what: format!("the root would change from {} to {}", applied.root.display(), wanted.root.display()),
        hint: "stop everything with `cdc-supervisor down`, move the directory, then `up`".into(),
    })
}

/// Data of one distribution never meets the programs of another.
fn distribution(applied: &Side, wanted: &Side, has_data: &BTreeSet<NodeName>) -> Option<Refusal> {
    let (Some(from), Some(to)) = (&applied.distribution, &wanted.distribution) else { return None };
    let kafkas = |node: &&NodeName| applied.recipes.iter().any(|r| r.node == **node && r.kind != NodeKind::Mysql);
    let holder = has_data.iter().find(kafkas)?;
    (from != to).then(|| Refusal {
        what: format!("kafka.distribution would change from {from} to {to} on data that is there ({holder})"),
        // While brokers run they would be of two distributions; what a data directory allows is looked at before each start.
        hint: "`cdc-supervisor down`, then `up`: programs that are older than the data are refused there, before they start".into(),
    })
}

/// A data directory that is named anew while the old one holds data: the node would start empty.
fn moved(applied: &Side, wanted: &Side, has_data: &BTreeSet<NodeName>) -> Vec<Refusal> {
    let mut found = Vec::new();
    for (node, from) in applied.data.iter().filter(|(node, _)| has_data.contains(node)) {
        let Some(to) = wanted.data.get(node).filter(|to| *to != from) else { continue };
        found.push(Refusal {
            what: format!("{node} would leave its data in {} and begin without it in {}", from.display(), to.display()),
            hint: format!("`cdc-supervisor stop {node}`, move {} to {}, then reload", from.display(), to.display()),
        });
    }
    found
}

/// Brokers without the ZooKeeper they live on.
fn orphans(wanted: &Side) -> Option<Refusal> {
    let zookeeper = wanted.recipes.iter().any(|r| r.kind == NodeKind::Zookeeper);
    let broker = wanted.recipes.iter().find(|r| is_broker(r))?;
    (!zookeeper).then(|| Refusal {
        what: format!("{} would be left without ZooKeeper", broker.node),
        hint: "take the brokers out of the file too, or put [zookeeper] back".into(),
    })
}
