//! From Kafka 3.5 to 3.9 while records are written: in two passes, one broker after the other, and never back.
//!
//! The long form: the jars of 3.9.2 are fetched by `tests/artifact` then, which has a network.

use crate::{
    archives::{Packed, kafka, row},
    cluster::Writing,
    hostile_http::{Answer, Server},
    stack::Stack,
    support::{VERB_LIMIT, left_to_long},
};
use cdc_supervisor::artifact::{Settings, Wanted, resolve};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const PINNED: &str = "[kafka.properties]\n\"inter.broker.protocol.version\" = \"3.5\"\n";

fn jars(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Version and protocol of the mark in a node's data.
fn mark(stack: &Stack, node: &str) -> (String, Option<String>) {
    let text = fs::read_to_string(stack.path().join("nodes").join(node).join("data/cdc-supervisor.json")).unwrap();
    let mark: serde_json::Value = serde_json::from_str(&text).unwrap();
    (mark["version"].as_str().unwrap().to_owned(), mark["protocol"].as_str().map(str::to_owned))
}

#[test]
fn a_newer_series_of_kafka_comes_in_two_passes_without_a_failed_write_and_there_is_no_way_back() {
    let test = "a_newer_series_of_kafka_comes_in_two_passes_without_a_failed_write_and_there_is_no_way_back";
    if std::env::var_os("CDC_TEST_LONG").is_none() {
        return left_to_long(test, "it takes minutes, and another 100 MB of jars");
    }
    let store = std::env::var("CDC_TEST_STORE").unwrap();
    let newer = jars(&Path::new(&store).with_extension("kafka-3.9.2"));
    let programs = resolve(Wanted { kafka: true, ..Wanted::default() }, &Settings::new(&store)).unwrap().unwrap();
    let old: Packed = kafka("kafka_2.13-3.5.2", "libs", &programs.kafka.unwrap().class_path);
    let new: Packed = kafka("kafka_2.13-3.9.2", "libs", &newer);
    let bodies = [("/old.tgz", &old), ("/new.tgz", &new)].map(|(p, b)| (p, Arc::clone(&b.body)));
    let server = Server::start(move |asked| match bodies.iter().find(|(path, _)| *path == asked.path) {
        Some((_, body)) => Answer::file(body, "\"1\"", asked),
        None => Answer::status(404),
    });
    let list = [("3.5.2", "old.tgz", &old), ("3.9.2", "new.tgz", &new)].map(|(version, file, packed)| {
        let choice = format!("apache-{version}");
        let top = format!("kafka_2.13-{version}");
        row("kafka", &choice, "apache-kafka", "tar.gz", &top, &server.url(file), &packed.sha256)
    });
    let stack = Stack::new();
    fs::write(stack.file("list.toml"), format!("schema = 1\n{}", list.concat())).unwrap();
    let configure = |version: &str, more: &str| {
        let list = stack.file("list.toml");
        stack.configure_raw(&format!(
            "[artifacts]\nlist = \"{list}\"\nsources = [\"vendor\"]\n[zookeeper]\n[kafka]\ndistribution = \"apache-{version}\"\n{more}"
        ));
    };
    configure("3.5.2", "");
    stack.up();
    let admin = Arc::new(stack.admin());
    let brokers = ["broker-1", "broker-2", "broker-3"];
    let pids = || brokers.map(|name| stack.pid(name));
    let reload = || stack.spawn(&["reload"]).wait(VERB_LIMIT * 4);
    let first = pids();
    let writing = Writing::begin(&stack, &admin, "upgraded", Duration::from_millis(2));

    // all at once is refused before anything stops
    configure("3.9.2", "");
    stack.ok(&["fetch"]);
    stack.expect_log("would speak inter.broker.protocol.version 3.9");
    let refused = reload();
    assert_eq!(refused.code, Some(8), "{refused}");
    assert!(refused.stderr.contains("\"inter.broker.protocol.version\" = \"3.5\""), "{refused}");
    assert_eq!(pids(), first);

    // the new program with the old protocol
    configure("3.9.2", PINNED);
    println!("{}", stack.ok(&["plan"]));
    let done = reload();
    assert_eq!(done.code, Some(0), "{done}");
    println!("{done}");
    let second = pids();
    for (name, (old, new)) in brokers.iter().zip(first.iter().zip(second)) {
        assert_ne!(*old, new, "{name}");
        assert_eq!(mark(&stack, name), ("3.9.2".into(), Some("3.5".into())), "{name}");
    }

    // and the new protocol
    configure("3.9.2", "");
    let done = reload();
    assert_eq!(done.code, Some(0), "{done}");
    println!("{done}");
    for (name, (old, new)) in brokers.iter().zip(second.iter().zip(pids())) {
        assert_ne!(*old, new, "{name}");
        assert_eq!(mark(&stack, name), ("3.9.2".into(), Some("3.9".into())), "{name}");
    }
    let (written, failed, gap) = writing.end(&stack);
    println!("{written} records, longest time between two acknowledgements {gap:?}");
    assert!(failed.is_empty(), "{failed:?}");
    assert!(written > 100, "{written} records are no load");
    let wanted: Vec<String> = (0..written).map(|n| format!("upgraded-{n}")).collect();
    stack.assert_all_there(&admin, &wanted);

    // what has been written with it is not given back
    let third = pids();
    configure("3.5.2", "");
    stack.expect_log("was written by Kafka 3.9.2");
    let refused = reload();
    assert_eq!(refused.code, Some(8), "{refused}");
    assert_eq!(pids(), third);
    configure("3.9.2", "");
    stack.ok(&["verify"]);
    stack.down();
}
