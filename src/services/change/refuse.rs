//! What a reload does not do, because data would be lost or mixed, or because it cannot be done to what runs.

use super::{Does, Life, Present, Refusal, ReloadPlan, Side, is_broker};
use crate::base::{
    NodeKind, NodeName,
    recipe::{DataProduct, DataVersion, PrepareStep, Recipe},
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn all(
    plan: &mut ReloadPlan,
    applied: &Side,
    wanted: &Side,
    now: &BTreeMap<NodeName, Present>,
    has_data: &BTreeSet<NodeName>,
) {
    plan.refusals.extend(root(applied, wanted));
    let protocol = protocol(plan, applied, wanted, now);
    plan.refusals.extend(protocol);
    plan.refusals.extend(moved(applied, wanted, has_data));
    plan.refusals.extend(orphans(wanted));
}

fn root(applied: &Side, wanted: &Side) -> Option<Refusal> {
    (applied.root != wanted.root).then(|| Refusal {
        what: format!("the root would change from {} to {}", applied.root.display(), wanted.root.display()),
        hint: "stop everything with `cdc-supervisor down`, move the directory, then `up`".into(),
    })
}

/// Brokers are replaced one at a time, so for a while some run the old program and some the new one. What a broker sends to another
/// is written by its `inter.broker.protocol.version`, and a program knows no version above its own: then the first pass has to keep the
/// old one (kafka.apache.org/39/documentation.html#upgrade_3_9_0, "rolling upgrade", its steps 1 to 4).
fn protocol(plan: &ReloadPlan, applied: &Side, wanted: &Side, now: &BTreeMap<NodeName, Present>) -> Option<Refusal> {
    let runs = |recipe: &&Recipe| now.get(&recipe.node).is_some_and(|present| present.life != Life::Rests);
    let old: Vec<(&NodeName, &DataVersion)> =
        applied.recipes.iter().filter(runs).filter_map(|recipe| Some((&recipe.node, of_broker(recipe)?))).collect();
    let begins =
        |node: &NodeName| plan.steps.iter().any(|s| s.node == *node && matches!(s.does, Does::Start | Does::Restart));
    wanted.recipes.iter().filter(|recipe| begins(&recipe.node)).find_map(|recipe| {
        let new = of_broker(recipe)?;
        let speaks = new.protocol.as_deref()?;
        let (other, knows) =
            old.iter().find(|(node, old)| **node != recipe.node && knows_less(&old.version, speaks))?;
        let knows = &knows.version;
        let (major, minor) = series(knows)?;
        Some(Refusal {
            what: format!(
                "{} would speak inter.broker.protocol.version {speaks} (Kafka {}) to {other}, which runs Kafka {knows} and does not know it",
                recipe.node, new.version
            ),
            hint: format!(
                "one at a time in two passes: with `\"inter.broker.protocol.version\" = \"{major}.{minor}\"` under [kafka.properties] `reload` \
                 brings the new program, without it a second `reload` the new protocol; or all at once: `cdc-supervisor down`, then `up`. \
                 Either way only a snapshot made before leads back"
            ),
        })
    })
}

/// Which program and protocol a broker writes with.
fn of_broker(recipe: &Recipe) -> Option<&DataVersion> {
    recipe.prepare.iter().find_map(|step| match step {
        PrepareStep::DataVersion(version) if version.product == DataProduct::Kafka => Some(version),
        _ => None,
    })
}

/// Whether a program of this version knows no such protocol. What says nothing refuses nothing.
fn knows_less(program: &str, protocol: &str) -> bool {
    series(program).zip(series(protocol)).is_some_and(|(program, protocol)| program < protocol)
}

/// Major and minor number of `3.5.2`, `3.5` or `3.5-IV2`; none: it has none.
fn series(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
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
