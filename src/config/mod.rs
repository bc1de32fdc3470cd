//! Text of `supervisor.toml` to a checked plan.
//!
//! `load` parses the text into values with spans, takes them out with a typed reader that collects every error
//! (`read.rs`), then checks the rules between keys (`check.rs`). No file is opened here: text, name
//! and the facts of the host are handed in.
//!
//! Which nodes run: a file without any node table (`[zookeeper]`, `[kafka]`, `[mysql]`, `[kafka_ui]`, `[command.*]`) means
//! the whole default stack, which the UI is not part of. As soon as one is there, exactly the nodes run whose tables are there and not `enabled = false`;
//! `[kafka]` without `[kafka.brokers.*]` means brokers 1, 2 and 3, with them exactly those. Nothing is started because
//! something else needs it: brokers without `[zookeeper]` are an error that says so.

mod canonical;
mod check;
mod command;
mod defaults;
mod disk;
mod error;
mod general;
mod kafka;
mod kafka_ui;
mod ledger;
mod mysql;
mod owned;
mod places;
mod plan;
mod read;
mod root;
mod settings;
mod suggest;
#[cfg(test)]
mod tests;
mod topic;
mod topic_settings;
mod zookeeper;

pub use check::{
    BROKER_HEAP_MIN, BROKER_NATIVE, KAFKA_UI_HEAP_MIN, KAFKA_UI_NATIVE, ZOOKEEPER_HEAP_MIN, ZOOKEEPER_NATIVE,
    derived_heap, largest_heap,
};
pub use disk::{Disk, Marks};
pub use error::{ConfigError, ConfigErrors};
pub use ledger::{Ledger, LedgerLine, check_ledger};
pub use plan::{
    Artifacts, Broker, Care, Command, CommandProbe, CommandProbeKind, Distribution, Durability, Host, Kafka, KafkaUi,
    Logs, Mysql, MysqlRelease, NodeView, Plan, SourceKind, UiRelease, Zookeeper,
};
pub use read::plain_path;
pub use root::{SYSTEM_FILE, SYSTEM_ROOT, default_root};
pub use settings::{DOES_NOTHING, MEND, UnknownSetting};
pub use topic::{OWN_TOPICS, Topic};

use places::Places;
use read::{Reading, Section};
use std::{collections::BTreeSet, path::PathBuf};
use toml::de::DeTable;

/// The commented default configuration, as installed.
pub const DEFAULT_FILE: &str = include_str!("../../supervisor.toml");

/// What `load` works on.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The text of the file; empty when there is none: that means the default stack.
    pub text: &'a str,
    /// The file's path as shown in errors.
    pub name: &'a str,
    /// `--root`.
    pub root_override: Option<PathBuf>,
    /// The root when nothing else names one; see [`default_root`].
    pub default_root: PathBuf,
}

/// Reads and checks a configuration. Every error is reported, not only the first; an error of TOML's own grammar alone:
/// what the parser makes of the text behind it is guesswork.
pub fn load(source: &Source<'_>) -> Result<Plan, ConfigErrors> {
    read(source, false).0
}

/// The same of what is applied: a plan that an earlier version has checked by its own rules. Nodes run by it, so what is refused now
/// does not count.
pub fn load_applied(source: &Source<'_>) -> Result<Plan, ConfigErrors> {
    read(source, true).0
}

/// `load`, and the keys it knows of, with `*` for names the user chose.
fn read(source: &Source<'_>, applied: bool) -> (Result<Plan, ConfigErrors>, BTreeSet<String>) {
    let document = match DeTable::parse(source.text) {
        Ok(document) => document,
        Err(grammar) => {
            let message = match grammar.span() {
                Some(_) => grammar.message().to_owned(),
                None => format!("{}: {}", source.name, grammar.message()),
            };
            let error = ConfigError::new("", message).at(grammar.span());
            return (Err(ConfigErrors::new(source.name, source.text, vec![error])), BTreeSet::new());
        }
    };
    let document = document.get_ref();
    let reading = Reading::new(Places::of(source.name, source.text, document), applied);
    let plan = plan(source, document, &reading);
    let (errors, known) = reading.into_parts();
    if errors.is_empty() {
        (Ok(plan), known)
    } else {
        (Err(ConfigErrors::new(source.name, source.text, errors)), known)
    }
}

fn plan(source: &Source<'_>, document: &DeTable<'_>, reading: &Reading) -> Plan {
    let top = Section::top(reading, document);
    let commands = top.sub("command");
    let products = ["zookeeper", "kafka", "mysql", "kafka_ui"];
    let whole_stack = !products.iter().any(|p| top.holds(p)) && commands.names().next().is_none();
    let runs = |product: &str| whole_stack || top.holds(product);
    let (root, root_from) = general::root(&top, source);
    let mut disabled = Vec::new();
    // Read in any case, so that every key is known and checked; kept only when it runs.
    let zookeeper = zookeeper::read(top.sub("zookeeper"), &mut disabled);
    let kafka = kafka::read(top.sub("kafka"), &mut disabled);
    let mysql = mysql::read(top.sub("mysql"), &mut disabled);
    let kafka_ui = kafka_ui::read(top.sub("kafka_ui"), &mut disabled);
    let mut plan = Plan {
        root,
        host: general::host(&top),
        artifacts: general::artifacts(&top),
        logs: general::logs(&top),
        disk: disk::read(&top),
        zookeeper: zookeeper.filter(|_| runs("zookeeper")),
        kafka: kafka.filter(|_| runs("kafka")),
        mysql: mysql.filter(|_| runs("mysql")),
        // not part of the default stack: its jar has to be had first
        kafka_ui: kafka_ui.filter(|_| top.holds("kafka_ui")),
        commands: command::read(&commands, &mut disabled),
        disabled,
        places: reading.places.clone(),
    };
    plan.disabled.sort();
    top.finish_with(|key| match key {
        "kafka-ui" | "kafkaui" | "ui" => Some("write [kafka_ui]".into()),
        "connect" => Some("this node comes with a later version of the supervisor".into()),
        "commands" => Some("write [command.NAME]".into()),
        _ => None,
    });
    needs(&plan, reading);
    check::all(&plan, reading, root_from);
    plan
}

/// What must be there at all.
fn needs(plan: &Plan, reading: &Reading) {
    if plan.kafka.is_some() && plan.zookeeper.is_none() {
        let off = plan.disabled.contains(&crate::base::NodeName::zookeeper());
        let (why, hint) = if off {
            ("is disabled", "take enabled = false out of [zookeeper], or put it into [kafka] too")
        } else {
            ("has no table in this file", "add a line [zookeeper]; it may stay empty")
        };
        reading.report(reading.fault("kafka", format!("brokers need ZooKeeper, which {why}")).hint(hint));
    }
    if plan.kafka_ui.is_some() && plan.kafka.is_none() {
        let off = reading.places.get("kafka").is_some();
        let (why, hint) = if off {
            ("none is enabled", "enable a broker, or put enabled = false into [kafka_ui]")
        } else {
            ("this file has no table [kafka]", "add [zookeeper] and [kafka]; they may stay empty")
        };
        reading.report(reading.fault("kafka_ui", format!("the UI shows brokers, and {why}")).hint(hint));
    }
    if plan.each_node().next().is_none() && !plan.disabled.is_empty() {
        let error = ConfigError::new("", "every node is disabled, so there is nothing to run");
        reading.report(error.hint("take enabled = false out of one of the tables"));
    }
}
