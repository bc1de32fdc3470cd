//! What `plan --json` prints: every difference between what is applied, what runs and what the file says.

use super::cluster::Outlook;
use crate::base::NodeName;
use serde::{Deserialize, Serialize};

/// What a reload would do. Keys are never missing; unknown is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDoc {
    /// 1.
    pub schema: u32,
    /// The root it is about.
    pub root: String,
    /// The configuration file; null: none was found, the built-in stack is meant.
    pub file: Option<String>,
    /// A configuration was applied here before; false: everything is new.
    pub applied: bool,
    /// The daemon that would carry it out; null: none runs.
    pub daemon: Option<i32>,
    /// The file means what is applied and what runs.
    pub unchanged: bool,
    /// Nodes that differ.
    pub nodes: Vec<PlanNode>,
    /// Topics of which the file says something else than what is applied; none of it needs a restart.
    #[serde(default)]
    pub topics: Vec<PlanTopic>,
    /// What a reload does, in order.
    pub steps: Vec<PlanStep>,
    /// Why it would be refused; empty: it would not.
    pub refusals: Vec<PlanRefusal>,
    /// Worth knowing: programs that are not fetched yet.
    pub notes: Vec<String>,
    /// What would break while each broker that is restarted is away, as the cluster is now; null: none is, no daemon runs, or it
    /// could not be told (a note says why).
    #[serde(default)]
    pub outlook: Option<Outlook>,
}

/// Everything that differs for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNode {
    /// Which.
    pub name: NodeName,
    /// `start stop restart live keep`.
    pub does: String,
    /// Why, one clause each.
    pub why: Vec<String>,
    /// It runs with something else than what is applied.
    pub runs_with_other_settings: bool,
    /// Our own settings.
    pub settings: Vec<PlanSetting>,
    /// Its configuration files.
    pub files: Vec<PlanFile>,
    /// Arguments that go (`-…`) and come (`+…`).
    pub argv: Vec<String>,
    /// Variables that go (`-…`), come (`+…`) and change (`~…`).
    pub env: Vec<String>,
}

/// What differs for one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTopic {
    /// Which.
    pub name: String,
    /// `create change keep` (it leaves the file and is kept).
    pub does: String,
    /// What, one clause each.
    pub what: Vec<String>,
    /// `live`.
    pub takes_effect: String,
}

/// A setting with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSetting {
    /// The key in the node's table.
    pub key: String,
    /// Now.
    pub from: String,
    /// Wanted.
    pub to: String,
    /// `live restart next-start empty-data`.
    pub takes_effect: String,
}

/// A file with other contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Which.
    pub path: String,
    /// The difference in unified form; secrets are hidden.
    pub diff: String,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// To which node.
    pub node: NodeName,
    /// `start stop restart live keep`.
    pub does: String,
    /// What is waited for before; null: nothing.
    pub waits_for: Option<String>,
}

/// A reason not to do any of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRefusal {
    /// The exit code `reload` would end with.
    pub exit: u8,
    /// One sentence.
    pub what: String,
    /// What to do.
    pub hint: String,
}
