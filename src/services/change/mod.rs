//! What another configuration would change of what runs: which settings apply live, which nodes must restart and why, in
//! what order, and what is refused.
//!
//! Pure: what is applied, what is wanted and what runs go in, a [`ReloadPlan`] comes out. `plan` prints it, `reload`
//! follows it, so that the two can never differ.

mod dynamic;
mod node;
mod order;
mod refuse;
mod text;
mod topics;

pub use dynamic::{Dynamic, Put, Wanted};
pub use node::{changed_keys, compare};
pub use order::next_broker;
pub use text::{hide, unified};
pub use topics::{TopicChange, topics};

use crate::{
    base::{Launched, NodeKind, NodeName, recipe::Recipe},
    config,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// One configuration, worked out.
#[derive(Clone, Debug)]
pub struct Side {
    /// The root.
    pub root: PathBuf,
    /// The nodes in start order.
    pub recipes: Vec<Recipe>,
    /// Where the products keep their data.
    pub data: BTreeMap<NodeName, PathBuf>,
}

impl Side {
    /// A checked plan with the recipes made from it.
    pub fn of(plan: &config::Plan, recipes: Vec<Recipe>) -> Self {
        let data = plan.data_directories().into_iter().collect();
        Self { root: plan.root.clone(), recipes, data }
    }

    fn recipe(&self, node: &NodeName) -> Option<&Recipe> {
        self.recipes.iter().find(|r| r.node == *node)
    }
}

/// How a node is now, as far as a change of settings is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It has a process.
    Runs,
    /// It has none and shall have one: it waits, prepares, or failed.
    Trying,
    /// It has none and nobody wants it to: stopped by order, or ended and not to be started again.
    Rests,
}

/// A node as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// How it is.
    pub life: Life,
    /// What its process was launched with.
    pub with: With,
    /// Settings that a reload was giving it while it ran and of which nobody knows whether it has them.
    pub cut_short: Vec<String>,
}

/// What a process was launched with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    /// What is applied; or no process, or nothing on record (a start by an earlier version of this program).
    Applied,
    /// This, on record.
    This(Box<Launched>),
    /// Something else than what is applied; the record is gone.
    Unknown,
}

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once, in the node that runs.
    Live,
    /// With the restart of the node that is part of the plan, or with its first start.
    Restart,
    /// When the node is started next, for whatever reason: nobody restarts it for this.
    NextStart,
    /// Never on data that is there: it only matters when an empty data directory is filled.
    EmptyData,
}

impl When {
    /// The word in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            When::Live => "live",
            When::Restart => "restart",
            When::NextStart => "next-start",
            When::EmptyData => "empty-data",
        }
    }
}

/// A setting of ours with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, as in `supervisor.toml` without its table.
    pub key: String,
    /// The value that holds now.
    pub from: String,
    /// The value wanted.
    pub to: String,
    /// When it takes effect.
    pub when: When,
}

/// A configuration file with other contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Which.
    pub path: PathBuf,
    /// The difference in unified form; values of secrets are hidden.
    pub diff: String,
    /// Only comments differ.
    pub comments_only: bool,
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It is new.
    Start,
    /// It is not in the file any more: stopped and dropped; its directory stays.
    Stop,
    /// It is stopped and started with the new settings.
    Restart,
    /// It runs on, with new settings as far as they apply live.
    Live,
    /// It does not run; it has the new settings when it is started.
    Keep,
}

impl Does {
    /// The word in `--json` and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Does::Start => "start",
            Does::Stop => "stop",
            Does::Restart => "restart",
            Does::Live => "live",
            Does::Keep => "keep",
        }
    }
}

/// Everything that differs for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChange {
    /// Which.
    pub node: NodeName,
    /// What happens to it.
    pub does: Does,
    /// Why, one clause each. Never empty.
    pub why: Vec<String>,
    /// It runs with something else than what is applied.
    pub runs_with_other: bool,
    /// Our settings.
    pub settings: Vec<Setting>,
    /// Its files.
    pub files: Vec<FileChange>,
    /// Arguments that go (`-…`) and come (`+…`); secrets are hidden.
    pub argv: Vec<String>,
    /// Variables that go, come or change; values of commands are never shown.
    pub env: Vec<String>,
    /// What a broker that runs on is given through the admin API.
    pub dynamic: Option<Dynamic>,
}

/// What a step waits for before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    None,
    /// Every broker that is wanted is ready, and each says that every replica is in sync: ZooKeeper is not taken from under one that recovers.
    BrokersReady,
    /// ZooKeeper can be used, every replica of every partition is in sync as each broker sees it, and nothing breaks by it.
    InSync,
    /// No partition has a replica on it.
    NoReplicas,
}

impl Gate {
    /// In words; none where nothing is waited for.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Gate::None => None,
            Gate::BrokersReady => Some("when every broker is ready and every replica in sync"),
            Gate::InSync => Some("when every replica of every partition is in sync and nothing breaks by it"),
            Gate::NoReplicas => Some("refused while a partition has a replica on it"),
        }
    }
}

/// One thing to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// To which node.
    pub node: NodeName,
    /// What.
    pub does: Does,
    /// What is waited for before it.
    pub gate: Gate,
}

/// Why the file is not applied as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One sentence.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// What would be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadPlan {
    /// Nodes that differ, those that go first, then in start order.
    pub nodes: Vec<NodeChange>,
    /// What is done, in order. Restarts of brokers stand by id; when they are done, one that is not ready goes first and
    /// the controller last ([`next_broker`]).
    pub steps: Vec<Step>,
    /// Reasons not to do any of it.
    pub refusals: Vec<Refusal>,
}

impl ReloadPlan {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.refusals.is_empty()
    }

    /// The change of one node.
    pub fn node(&self, node: &NodeName) -> Option<&NodeChange> {
        self.nodes.iter().find(|n| n.node == *node)
    }
}

/// Decides. `applied` is none when nothing was ever applied: then everything is new. `now` has the nodes that are known; one
/// that is not in it rests. `has_data` names the nodes whose applied data directory is not empty.
pub fn decide(
    applied: Option<&Side>,
    wanted: &Side,
    now: &BTreeMap<NodeName, Present>,
    has_data: &BTreeSet<NodeName>,
) -> ReloadPlan {
    let rests = Present { life: Life::Rests, with: With::Applied, cut_short: Vec::new() };
    let present = |node: &NodeName| now.get(node).unwrap_or(&rests);
    let mut plan = ReloadPlan::default();
    let old: &[Recipe] = applied.map_or(&[], |side| &side.recipes);
    for gone in old.iter().filter(|r| wanted.recipe(&r.node).is_none()) {
        plan.nodes.push(node::gone(gone, present(&gone.node)));
    }
    for recipe in &wanted.recipes {
        let before = applied.and_then(|side| side.recipe(&recipe.node));
        plan.nodes.extend(node::change(before, recipe, present(&recipe.node)));
    }
    order::steps(&mut plan, old, wanted, now);
    if let Some(applied) = applied {
        refuse::all(&mut plan, applied, wanted, now, has_data);
    }
    plan
}

/// Whether a recipe is a broker's.
fn is_broker(recipe: &Recipe) -> bool {
    matches!(recipe.kind, NodeKind::Broker(_))
}

#[cfg(test)]
mod tests;
