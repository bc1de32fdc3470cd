//! `supervisor.toml` says what the code does, and names every key.

use super::*;
use crate::base::{ByteSize, NodeName, Port};
use std::{collections::BTreeMap, time::Duration};

/// Header patterns (`kafka.brokers.*`) to the keys below them, commented ones included, with the commented flag.
fn written() -> BTreeMap<String, BTreeSet<String>> {
    let mut section = String::new();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::from([(String::new(), BTreeSet::new())]);
    for line in DEFAULT_FILE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let header = header.trim_matches(['[', ']']);
            section = header.replace(".brokers.1", ".brokers.*").replace("command.hello", "command.*");
            all.entry(section.clone()).or_default();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains([' ', '"'])) {
            all.get_mut(&section).unwrap().insert(key.to_owned());
        }
    }
    all
}

/// The file with every commented key in force, but of the probe's kinds only `tcp`.
fn uncommented() -> String {
    let kinds = ["none", "http", "exec", "notify"];
    let line = |line: &str| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split_once(" = ").map(|(key, _)| key).filter(|key| !key.contains([' ', '"']));
        let header = bare.starts_with('[') && bare.ends_with(']');
        let live = header || key.is_some_and(|key| !kinds.contains(&key));
        if live { bare.to_owned() } else { line.to_owned() }
    };
    DEFAULT_FILE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_default_file_means_the_same_as_an_empty_one() {
    let (file, empty) = (accepted(DEFAULT_FILE), accepted(""));
    assert_eq!(file.to_toml(), empty.to_toml());
    assert_eq!(file, empty);
    assert_eq!(file.digest(), empty.digest());
}

#[test]
fn the_example_of_the_readme_is_accepted() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let plan = accepted(rest.split_once("```").unwrap().0);
    assert_eq!((plan.kafka.unwrap().brokers.len(), plan.commands.len()), (1, 1));
}

#[test]
fn the_default_file_is_the_mission_to_the_letter() {
    let plan = accepted("");
    let z = plan.zookeeper.as_ref().unwrap();
    assert_eq!((z.client_port, z.heap, z.memory_max), (Port(2181), Some(ByteSize::mib(256)), ByteSize::mib(384)));
    assert_eq!(z.tick, Duration::from_secs(2));
    let k = plan.kafka.as_ref().unwrap();
    assert_eq!(k.session_timeout, Duration::from_secs(12));
    assert_eq!(k.advertised_host, "localhost");
    let brokers: Vec<_> = k.brokers.iter().map(|(id, b)| (*id, b.internal_port.0, b.external_port.0)).collect();
    assert_eq!(brokers, [(1, 29092, 9092), (2, 29093, 9093), (3, 29094, 9094)]);
    for b in k.brokers.values() {
        assert_eq!((b.heap, b.memory_max), (Some(ByteSize::mib(512)), ByteSize::mib(768)));
    }
    let m = plan.mysql.as_ref().unwrap();
    assert_eq!((m.port, m.memory_max, m.database.as_str()), (Port(3306), ByteSize::gib(1), "trading"));
    assert_eq!(plan.host.os_floor, ByteSize::gib(2));
    assert!(plan.ports().iter().all(|(_, port)| port.address.ip().is_loopback()));
    let names: Vec<String> = plan.nodes().iter().map(NodeName::to_string).collect();
    assert_eq!(names, ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"]);
}

#[test]
fn every_key_the_reader_knows_is_in_the_default_file_and_no_other() {
    let text = format!("{}\n", uncommented());
    let (plan, known) = read(&source(&text), false);
    plan.unwrap_or_else(|errors| panic!("the file with every key in force is refused:\n{errors}"));
    let written = written();
    for key in &known {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let as_table = written.contains_key(key);
        let as_key = written.get(section).is_some_and(|keys| keys.contains(name));
        assert!(as_table || as_key, "{key} is not in supervisor.toml");
    }
    let passed_through = ["properties", "options", "env", "settings"];
    for (section, keys) in &written {
        if passed_through.iter().any(|tail| section.ends_with(tail)) || section.starts_with("kafka.brokers.2") {
            continue;
        }
        for key in keys {
            let path = places::join(section, key);
            let path = path.replace("brokers.2", "brokers.*").replace("brokers.3", "brokers.*");
            assert!(known.contains(&path), "supervisor.toml names {path}, which nobody reads");
        }
    }
}

#[test]
fn the_commented_values_of_the_example_command_are_the_defaults() {
    let start = DEFAULT_FILE.find("# [command.hello]").unwrap();
    let own = ["dir", "memory_high", "memory_low", "user", "LANG", "none", "http", "exec", "notify", "tcp"];
    let keys: Vec<&str> = DEFAULT_FILE[start..]
        .lines()
        .map(|line| line.trim_start_matches('#').trim_start())
        .filter(|line| {
            let key = line.split_once(" = ").map(|(key, _)| key);
            line.starts_with('[') || key.is_some_and(|key| !key.contains(' ') && !own.contains(&key))
        })
        .collect();
    let full = accepted(&keys.join("\n"));
    let short = accepted("[command.hello]\nargv = [\"/usr/bin/python3\", \"-m\", \"http.server\", \"8000\"]");
    assert_eq!(full.to_toml(), short.to_toml());
}

#[test]
fn the_commented_values_of_a_broker_are_the_defaults() {
    let keys: Vec<&str> = uncommented().leak().lines().skip_while(|line| *line != "[kafka.brokers.1]").collect();
    let keys = keys.into_iter().take_while(|line| *line != "[kafka.brokers.1.properties]");
    let own = |line: &&str| !["data_dir", "user", "memory_high", "memory_low"].iter().any(|key| line.starts_with(key));
    let text = format!("[zookeeper]\n{}", keys.filter(own).collect::<Vec<_>>().join("\n"));
    assert_eq!(accepted(&text).to_toml(), accepted("[zookeeper]\n[kafka.brokers.1]").to_toml());
}
