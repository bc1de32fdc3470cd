//! The plan written back: as TOML that means the same, and as a digest of that meaning.

use super::{Broker, Care, Command, CommandProbeKind, Disk, Kafka, KafkaUi, Mysql, Plan, Topic, Zookeeper};
use crate::base::{ByteSize, outcome::signal_name, recipe::RestartWhen};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};
use toml::{Table, Value};

impl Plan {
    /// SHA-256, in hex, over the plan's meaning. Comments, order, spelling of values and disabled nodes do not change it;
    /// the root does.
    pub fn digest(&self) -> String {
        let mut flat = String::new();
        flatten("", &Value::Table(self.to_table()), &mut flat);
        let mut hex = String::new();
        for byte in Sha256::digest(flat.as_bytes()) {
            // Writing into a String does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// The plan as a `supervisor.toml` without comments: every value resolved, so that it loads to an equal plan whatever
    /// the defaults of a later version are. For `state/plan.toml`.
    pub fn to_toml(&self) -> String {
        self.to_table().to_string()
    }

    fn to_table(&self) -> Table {
        let mut t = Table::new();
        t.put_path("root", Some(&self.root));
        let mut host = Table::new();
        host.put_size("os_floor", Some(self.host.os_floor));
        host.put_size("supervisor", Some(self.host.supervisor));
        // Left out while it is false: a plan means what it meant before there was this key.
        if self.host.allow_volatile_root {
            host.insert("allow_volatile_root".into(), true.into());
        }
        t.insert("host".into(), host.into());
        let mut artifacts = Table::new();
        artifacts.put_path("store", self.artifacts.store.as_deref());
        artifacts.put_path("files", self.artifacts.files.as_deref());
        artifacts.put_texts("sources", self.artifacts.sources.iter().map(|s| s.as_str()));
        artifacts.put_text("mirror", self.artifacts.mirror.as_deref());
        artifacts.insert("offline".into(), self.artifacts.offline.into());
        artifacts.put_path("java_home", self.artifacts.java_home.as_deref());
        artifacts.put_size("rate_limit", self.artifacts.rate_limit);
        artifacts.put_path("ca_file", self.artifacts.ca_file.as_deref());
        artifacts.put_path("list", self.artifacts.list.as_deref());
        // Left out while it is false: a plan means what it meant before there was this key.
        if self.artifacts.signatures {
            artifacts.insert("signatures".into(), true.into());
        }
        t.insert("artifacts".into(), artifacts.into());
        let mut logs = Table::new();
        logs.put_size("total", Some(self.logs.total));
        if let Some(age) = self.logs.max_age {
            logs.put_time("max_age", age);
        }
        logs.insert("compress".into(), self.logs.compress.into());
        t.insert("logs".into(), logs.into());
        // Left out while it says nothing: a plan means what it meant before there was this table.
        if self.disk != Disk::default() {
            let mut disk = Table::new();
            disk.insert("guard".into(), self.disk.guard.into());
            disk.put_size("ballast", self.disk.ballast);
            disk.put_size("low", self.disk.low);
            disk.put_size("stop", self.disk.stop);
            disk.put_size("resume", self.disk.resume);
            t.insert("disk".into(), disk.into());
        }
        if let Some(z) = &self.zookeeper {
            t.insert("zookeeper".into(), zookeeper(z).into());
        }
        if let Some(k) = &self.kafka {
            t.insert("kafka".into(), kafka(k).into());
        }
        if let Some(m) = &self.mysql {
            t.insert("mysql".into(), mysql(m).into());
        }
        if let Some(ui) = &self.kafka_ui {
            t.insert("kafka_ui".into(), kafka_ui(ui).into());
        }
        let commands: Table = self.commands.iter().map(|c| (c.name.to_string(), command(c).into())).collect();
        t.insert("command".into(), commands.into());
        t
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.to_table() == other.to_table()
    }
}

impl Eq for Plan {}

fn zookeeper(z: &Zookeeper) -> Table {
    let mut t = Table::new();
    t.put_number("client_port", z.client_port.0.into());
    t.put_text("bind", Some(&z.bind.to_string()));
    t.put_size("heap", z.heap);
    t.put_size("memory_max", Some(z.memory_max));
    t.put_path("data_dir", z.data_dir.as_deref());
    t.put_time("tick", z.tick);
    t.put_map("properties", &z.properties);
    t.put_texts("jvm_flags", z.jvm_flags.iter().map(String::as_str));
    t.put_care(&z.care);
    t
}

fn kafka(k: &Kafka) -> Table {
    let mut t = Table::new();
    t.put_text("distribution", Some(k.distribution.as_str()));
    t.put_text("durability", Some(k.durability.as_str()));
    t.put_time("session_timeout", k.session_timeout);
    t.insert("fencing".into(), k.fencing.into());
    // Left out while it is true: a plan means what it meant before there was this key.
    if !k.elect_preferred {
        t.insert("elect_preferred".into(), false.into());
    }
    t.put_text("bind", Some(&k.bind.to_string()));
    t.put_text("advertised_host", Some(&k.advertised_host));
    t.put_texts("jvm_flags", k.jvm_flags.iter().map(String::as_str));
    let brokers: Table = k.brokers.iter().map(|(id, b)| (id.to_string(), broker(b).into())).collect();
    t.insert("brokers".into(), brokers.into());
    // Left out while there are none: a plan means what it meant before there was this key.
    if !k.topics.is_empty() {
        t.insert("topic".into(), Value::Array(k.topics.iter().map(|one| topic(one).into()).collect()));
    }
    t
}

fn topic(topic: &Topic) -> Table {
    let mut t = Table::new();
    t.put_text("name", Some(&topic.name));
    t.put_number("partitions", topic.partitions.into());
    t.put_number("replication_factor", topic.replication_factor.into());
    t.put_map("settings", &topic.settings);
    t
}

fn broker(b: &Broker) -> Table {
    let mut t = Table::new();
    t.put_number("internal_port", b.internal_port.0.into());
    t.put_number("external_port", b.external_port.0.into());
    t.put_size("heap", b.heap);
    t.put_size("memory_max", Some(b.memory_max));
    t.put_path("data_dir", b.data_dir.as_deref());
    t.put_map("properties", &b.properties);
    t.put_care(&b.care);
    t
}

fn mysql(m: &Mysql) -> Table {
    let mut t = Table::new();
    t.put_number("port", m.port.0.into());
    t.put_text("bind", Some(&m.bind.to_string()));
    t.put_size("memory_max", Some(m.memory_max));
    t.put_text("version", m.version.map(super::MysqlRelease::as_str));
    t.put_text("database", Some(&m.database));
    t.put_path("data_dir", m.data_dir.as_deref());
    t.insert("provision".into(), m.provision.into());
    t.put_map("options", &m.options);
    t.put_care(&m.care);
    t
}

fn kafka_ui(ui: &KafkaUi) -> Table {
    let mut t = Table::new();
    t.put_text("release", Some(ui.release.as_str()));
    t.put_path("jar", ui.jar.as_deref());
    t.put_path("java_home", ui.java_home.as_deref());
    t.put_number("port", ui.port.0.into());
    t.put_text("bind", Some(&ui.bind.to_string()));
    t.put_size("heap", ui.heap);
    t.put_size("memory_max", Some(ui.memory_max));
    t.insert("read_only".into(), ui.read_only.into());
    t.put_map("properties", &ui.properties);
    t.put_texts("jvm_flags", ui.jvm_flags.iter().map(String::as_str));
    t.put_care(&ui.care);
    t
}

fn command(c: &Command) -> Table {
    let mut t = Table::new();
    t.put_texts("argv", c.argv.iter().map(String::as_str));
    t.put_map("env", &c.env);
    t.put_path("dir", c.dir.as_deref());
    t.put_size("memory_max", Some(c.memory_max));
    t.put_texts("after", c.after.iter().map(|n| n.as_str()));
    t.put_text("stop_signal", Some(signal_word(c.stop_signal).as_str()));
    t.put_texts("ports", c.ports.iter().map(ToString::to_string));
    t.put_care(&c.care);
    let mut p = Table::new();
    match &c.probe.kind {
        CommandProbeKind::None => p.insert("none".into(), true.into()),
        CommandProbeKind::Tcp(address) => p.insert("tcp".into(), address.to_string().into()),
        CommandProbeKind::Http(url) => p.insert("http".into(), url.clone().into()),
        CommandProbeKind::Exec(argv) => p.insert("exec".into(), argv.clone().into()),
        CommandProbeKind::Notify => p.insert("notify".into(), true.into()),
    };
    p.put_time("timeout", c.probe.timeout);
    p.put_time("interval", c.probe.interval);
    p.put_number("failures", c.probe.failures.into());
    p.put_time("start_deadline", c.probe.start_deadline);
    t.insert("probe".into(), p.into());
    t
}

/// A name where there is one; a bare number where `signal_name` would make words of it.
fn signal_word(signal: i32) -> String {
    Some(signal_name(signal)).filter(|name| name.starts_with("SIG")).unwrap_or_else(|| signal.to_string())
}

/// Sizes and times in their smallest unit, so that one meaning has one spelling.
trait Put {
    fn put_text(&mut self, key: &str, value: Option<&str>);
    fn put_texts<S: Into<String>>(&mut self, key: &str, values: impl Iterator<Item = S>);
    fn put_path(&mut self, key: &str, value: Option<&Path>);
    fn put_size(&mut self, key: &str, value: Option<ByteSize>);
    fn put_time(&mut self, key: &str, value: Duration);
    fn put_number(&mut self, key: &str, value: u64);
    fn put_map(&mut self, key: &str, value: &BTreeMap<String, String>);
    fn put_care(&mut self, care: &Care);
}

impl Put for Table {
    fn put_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.insert(key.into(), value.into());
        }
    }

    fn put_texts<S: Into<String>>(&mut self, key: &str, values: impl Iterator<Item = S>) {
        self.insert(key.into(), Value::Array(values.map(|v| Value::String(v.into())).collect()));
    }

    fn put_path(&mut self, key: &str, value: Option<&Path>) {
        // Paths of a checked plan are UTF-8, so nothing is lost.
        self.put_text(key, value.map(Path::to_string_lossy).as_deref());
    }

    fn put_size(&mut self, key: &str, value: Option<ByteSize>) {
        self.put_text(key, value.map(exact).as_deref());
    }

    fn put_time(&mut self, key: &str, value: Duration) {
        self.put_text(key, Some(&format!("{}ms", value.as_millis())));
    }

    fn put_number(&mut self, key: &str, value: u64) {
        // The reader's ranges end far below i64::MAX.
        self.insert(key.into(), Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn put_map(&mut self, key: &str, value: &BTreeMap<String, String>) {
        let table: Table = value.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect();
        self.insert(key.into(), table.into());
    }

    fn put_care(&mut self, care: &Care) {
        self.put_text("user", care.user.as_deref());
        self.put_time("grace", care.grace);
        self.put_text("restart", Some(restart_word(care.restart)));
        self.put_time("healthy_after", care.healthy_after);
        self.put_number("tasks_max", care.tasks_max);
        self.put_number("nofile", care.nofile);
        self.put_size("memory_high", care.share.memory_high);
        self.put_size("memory_low", care.share.memory_low);
        // Only what differs: a plan of before these keys has the same digest.
        for (key, weight) in [("cpu_weight", care.share.cpu_weight), ("io_weight", care.share.io_weight)] {
            if weight != 100 {
                self.put_number(key, weight.into());
            }
        }
        let mut log = Table::new();
        log.put_size("max_bytes", Some(care.log.max_bytes));
        log.put_number("keep", care.log.keep.into());
        self.insert("log".into(), log.into());
    }
}

/// `768M` when that is exact, plain bytes otherwise.
fn exact(size: ByteSize) -> String {
    let text = size.to_string();
    if ByteSize::parse(&text) == Ok(size) { text } else { size.0.to_string() }
}

/// The word in the file.
pub(super) fn restart_word(when: RestartWhen) -> &'static str {
    match when {
        RestartWhen::Always => "always",
        RestartWhen::OnFailure => "on-failure",
        RestartWhen::Never => "never",
    }
}

/// One line per value, `path = value`, strings quoted: our own form, so that no change of the TOML writer's layout between
/// versions changes a digest.
fn flatten(path: &str, value: &Value, out: &mut String) {
    match value {
        Value::Table(table) => {
            for (key, inner) in table {
                flatten(&format!("{path}/{}", quoted(key)), inner, out);
            }
        }
        Value::Array(items) => {
            let _ = writeln!(out, "{path} = [{}]", items.len());
            for (i, inner) in items.iter().enumerate() {
                flatten(&format!("{path}/{i}"), inner, out);
            }
        }
        Value::String(text) => {
            let _ = writeln!(out, "{path} = {}", quoted(text));
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            let _ = writeln!(out, "{path} = {value}");
        }
    }
}

/// Quoted so that no text can look like another; JSON's rules stay as they are, those of `Debug` need not.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
