//! Product knowledge: one file per product, each number with its source. Pure: no I/O, no clock.
//!
//! The checked plan, the resolved programs and the layout go in, [`Recipe`]s come out; what a node writes and how it ends is
//! read by [`catalogue`] and [`classify`](classify::classify).

pub mod advice;
pub mod catalogue;
pub mod change;
mod class_data;
pub mod classify;
mod command;
mod error;
pub mod evidence;
pub mod fence;
pub mod identity;
mod jar_node;
pub mod jvm;
mod kafka;
mod kafka_ui;
mod known;
pub mod launch_fault;
mod mysql;
mod mysql_provision;
pub mod mysql_validate;
pub mod progress;
pub mod redact;
pub mod stalls;
mod zookeeper;

pub use zookeeper::data_dirs_of as zookeeper_data_dirs;

pub use classify::{Ended, classify, classify_helper, is_about_owners, may_be_of_no_room, of_no_room};
pub use error::ServiceError;
pub use progress::{is_starting, progress};

use crate::{
    base::{ByteSize, Layout, NodeName, programs::Programs, recipe::Recipe, recipe::Restart},
    config,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// First lines of every file we write.
const FILE_HEAD: &str = "Written by cdc-supervisor before each start. Change supervisor.toml, not this file.";

/// Behind a value that `supervisor.toml` sets.
const FROM_FILE: &str = "set in supervisor.toml";

/// What recipes are made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The checked configuration.
    pub plan: &'a config::Plan,
    /// The programs that the artifact store resolved.
    pub programs: &'a Programs,
    /// Where everything lies.
    pub layout: &'a Layout,
    /// Processor cores of the host.
    pub cores: usize,
    /// Whether the daemon's uid is 0.
    pub running_as_root: bool,
}

/// The recipes of all enabled nodes in start order: ZooKeeper, brokers, MySQL, the UI, then commands, each behind what it comes
/// after. The same inputs give the same bytes.
pub fn recipes(inputs: &Inputs<'_>) -> Result<Vec<Recipe>, ServiceError> {
    let plan = inputs.plan;
    let site = Site {
        class_data: inputs.plan.artifacts.store(inputs.layout).join(CLASS_DATA),
        programs: inputs.programs,
        layout: inputs.layout,
        cores: inputs.cores,
        running_as_root: inputs.running_as_root,
    };
    let mut made = Vec::new();
    if let Some(zookeeper) = &plan.zookeeper {
        made.push(zookeeper::recipe(&site, zookeeper)?);
    }
    if let Some(kafka) = &plan.kafka {
        let zookeeper = plan.zookeeper.as_ref().ok_or(ServiceError::NoZookeeper)?;
        for id in kafka.brokers.keys() {
            made.push(kafka::recipe(&site, kafka, *id, zookeeper)?);
        }
    }
    if let Some(mysql) = &plan.mysql {
        made.push(mysql::recipe(&site, mysql)?);
    }
    if let Some(ui) = &plan.kafka_ui {
        let kafka = plan.kafka.as_ref().ok_or(ServiceError::NoBrokers)?;
        made.push(kafka_ui::recipe(&site, ui, kafka)?);
    }
    for command in &plan.commands {
        made.push(command::recipe(&site, command)?);
    }
    let order = plan.nodes();
    made.sort_by_key(|recipe| order.iter().position(|name| *name == recipe.node));
    Ok(made)
}

/// Where class-data archives lie in the artifact store: roots that share a store share them.
const CLASS_DATA: &str = "class-data";

/// What every product needs besides its own part of the plan.
#[derive(Clone, Debug)]
struct Site<'a> {
    programs: &'a Programs,
    class_data: PathBuf,
    layout: &'a Layout,
    cores: usize,
    running_as_root: bool,
}

impl Site<'_> {
    /// Whether a node of this `user` runs as another one than the supervisor.
    fn is_apart(&self, user: Option<&str>) -> bool {
        self.running_as_root && user.is_some_and(|user| user != "root")
    }

    /// Where a JVM leaves its crash report and heap dump: beside its log, unless only the supervisor may write there.
    fn crash_dir(&self, place: &Place, user: Option<&str>) -> Result<String, ServiceError> {
        text(if self.is_apart(user) { &place.tmp } else { &place.log_dir }, "")
    }
}

/// The directories and paths of one node, as text.
struct Place {
    conf: PathBuf,
    log_dir: PathBuf,
    run: PathBuf,
    tmp: PathBuf,
    data: PathBuf,
    home: PathBuf,
}

impl Place {
    fn of(layout: &Layout, node: &NodeName, data: Option<&PathBuf>) -> Self {
        Self {
            conf: layout.conf(node),
            log_dir: layout.log_dir(node),
            run: layout.node_run(node),
            tmp: layout.node_tmp(node),
            data: data.cloned().unwrap_or_else(|| layout.data(node)),
            home: layout.node(node),
        }
    }

    /// The node's directories but its data. Others of the group may look, nobody else; temporary files are the node's alone.
    fn directories(&self) -> Vec<(PathBuf, u32)> {
        [(&self.home, 0o750), (&self.conf, 0o750), (&self.log_dir, 0o750), (&self.run, 0o750), (&self.tmp, 0o700)]
            .map(|(path, mode)| (path.clone(), mode))
            .to_vec()
    }

    fn directories_with_data(&self) -> Vec<(PathBuf, u32)> {
        let mut all = self.directories();
        all.push((self.data.clone(), 0o750));
        all
    }
}

/// A path as text for a command line or a file. Recipes are text; the config room refuses such roots, programs come from
/// elsewhere. `forbidden` holds what the reader of the path would cut it at.
fn text(path: &Path, forbidden: &'static str) -> Result<String, ServiceError> {
    let bad = |why: String| ServiceError::Path { path: path.to_owned(), why };
    let text = path.to_str().ok_or_else(|| bad("it is not UTF-8".into()))?;
    match text.chars().find(|c| c.is_control() || forbidden.contains(*c)) {
        Some(c) => Err(bad(format!("its program cannot be given a path with {c:?} in it"))),
        None => Ok(text.to_owned()),
    }
}

/// When to start a node again. The first pause only breaks a spin; a minute is long for a person and short for a box that
/// runs alone for months (design: "0.2 s to 60 s").
fn restart(care: &config::Care) -> Restart {
    Restart {
        when: care.restart,
        healthy_after: care.healthy_after,
        back_off_min: Duration::from_millis(200),
        back_off_max: Duration::from_secs(60),
    }
}

/// Divides a JVM node's cap or says why that cannot be.
fn divide(
    node: &NodeName,
    cap: ByteSize,
    heap: Option<ByteSize>,
    needs: &jvm::Needs,
) -> Result<jvm::Limits, ServiceError> {
    jvm::limits(cap, heap, needs).map_err(|small| ServiceError::CapTooSmall {
        node: node.clone(),
        cap,
        heap: small.heap,
        rest: small.rest,
        least: ByteSize::mib((small.heap.0.saturating_add(small.rest.0)).div_ceil(1 << 20)),
    })
}

/// The joined class path; the same string for training and run, or the archive would not be used.
fn class_path(jars: &crate::base::programs::KafkaJars) -> Result<String, ServiceError> {
    // the JVM cuts at ':' and takes a last part '*' for every jar beside it
    let entries = jars.class_path.iter().map(|jar| text(jar, ":*")).collect::<Result<Vec<_>, _>>()?;
    Ok(entries.join(":"))
}

/// The recipe of one command, for tests that need any.
#[cfg(test)]
pub(crate) fn of_a_command() -> Recipe {
    let text = "[command.a]\nargv = [\"/bin/true\"]\n";
    let source = config::Source { text, name: "t", root_override: None, default_root: "/r".into() };
    let plan = config::load(&source).unwrap();
    let (layout, programs) = (plan.layout(), Programs::default());
    let inputs = Inputs { plan: &plan, programs: &programs, layout: &layout, cores: 1, running_as_root: false };
    recipes(&inputs).unwrap().remove(0)
}

#[cfg(test)]
mod tests;
