//! Data that does not belong together is found before a start, explained, and never looped on; a stop during a broker's
//! start-up does not halt it dirty. One stack for all of it: each start costs seconds.

use crate::{
    stack::{NODES, Stack},
    support::{STATE_LIMIT, VERB_LIMIT, node_of, until},
};
use cdc_supervisor::services::identity::{server_uuid, upgrade_history};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A cluster id that no broker makes twice.
const FOREIGN: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn data(stack: &Stack, node: &str) -> PathBuf {
    stack.path().join("nodes").join(node).join("data")
}

#[allow(clippy::needless_pass_by_value, reason = "a path is joined in place")]
fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn swap(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    fs::rename(a, &aside).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(&aside, b).unwrap();
}

/// The failed node's cause and its words, as `status --json` gives them; it has not been started.
fn refused(stack: &Stack, name: &str, incarnation: u64) -> (String, String) {
    let node = stack.await_state(name, "failed");
    assert_eq!((&node["state"], &node["incarnation"]), (&"failed".into(), &incarnation.into()), "{node}");
    let failure = &node["failure"];
    let words = format!("{}; {}", failure["what"].as_str().unwrap(), failure["remedy"].as_str().unwrap());
    (failure["cause"].as_str().unwrap().to_owned(), words)
}

#[test]
fn mixed_up_data_is_refused_before_a_start_and_a_stop_during_a_start_up_is_clean() {
    let stack = Stack::new();
    for node in ["broker-1", "broker-2", "broker-3", "mysql"] {
        stack.expect_log(&format!("node={node}"));
    }
    stack.up();
    let record: serde_json::Value = serde_json::from_str(&read(stack.path().join("state/identity.json"))).unwrap();
    let cluster = record["cluster"].as_str().expect("the cluster is remembered").to_owned();
    assert!(read(data(&stack, "broker-1").join("meta.properties")).contains(&cluster));
    let auto = read(data(&stack, "mysql").join("auto.cnf"));
    assert!(auto.contains(record["mysql"]["server_uuid"].as_str().expect("the server is remembered")), "{auto}");
    for name in NODES {
        let mark: serde_json::Value =
            serde_json::from_str(&read(data(&stack, name).join("cdc-supervisor.json"))).unwrap();
        assert!(mark["version"].is_string(), "{name} carries a version: {mark}");
    }

    a_stop_during_a_start_up_is_queued_and_clean(&stack);

    // Two directories swapped, one brought from another cluster, and a MySQL that was newer.
    stack.down();
    let [b1, b2, b3, mysql] = ["broker-1", "broker-2", "broker-3", "mysql"].map(|n| data(&stack, n));
    swap(&b1, &b2);
    let own = read(b3.join("meta.properties"));
    fs::write(b3.join("meta.properties"), own.replace(&cluster, FOREIGN)).unwrap();
    let mark = read(mysql.join("cdc-supervisor.json"));
    fs::write(mysql.join("cdc-supervisor.json"), r#"{"schema":1,"product":"MySQL","version":"99.1.0"}"#).unwrap();
    let before = NODES.map(|n| stack.path().join(format!("state/nodes/{n}.json"))).map(read);
    let up = stack.fails(8, &["up", "--detach"]);
    assert!(up.stderr.contains("cannot become ready"), "{up}");
    let incarnation =
        |n: usize| serde_json::from_str::<serde_json::Value>(&before[n]).unwrap()["incarnation"].as_u64().unwrap();
    for (n, (own, other)) in [(1, (1, 2)), (2, (2, 1))] {
        let (cause, words) = refused(&stack, NODES[n], incarnation(n));
        assert_eq!(cause, "wrong-identity");
        assert!(
            words.contains(&format!("broker-{own}'s data")) && words.contains(&format!("that of broker {other}")),
            "{words}"
        );
        assert!(words.contains("the two are swapped") && words.contains(b1.to_str().unwrap()), "{words}");
    }
    let (cause, words) = refused(&stack, "broker-3", incarnation(3));
    assert_eq!(cause, "wrong-identity");
    assert!(
        words.contains(FOREIGN) && words.contains(&cluster) && words.contains("brought from another cluster"),
        "{words}"
    );
    let (cause, words) = refused(&stack, "mysql", incarnation(4));
    assert_eq!(cause, "newer-data");
    assert!(words.contains("99.1.0"), "{words}");
    let start = stack.fails(8, &["start", "mysql"]);
    assert!(start.stderr.contains("99.1.0"), "{start}");
    fs::write(mysql.join("cdc-supervisor.json"), mark).unwrap();
    the_servers_own_files_are_looked_at(&stack, &mysql);
    stack.down();
    swap(&b1, &b2);
    fs::write(b3.join("meta.properties"), own).unwrap();

    // The trap: ZooKeeper's data is gone, the brokers' is kept.
    let zookeeper = data(&stack, "zookeeper");
    let kept = stack.home().join("zookeeper-kept");
    fs::rename(&zookeeper, &kept).unwrap();
    let up = stack.fails(8, &["up", "--detach"]);
    assert!(up.stderr.contains("knows no cluster") && up.stderr.contains(&cluster), "{up}");
    for (n, broker) in NODES.iter().enumerate().filter(|(_, n)| n.starts_with("broker")) {
        let (cause, words) = refused(&stack, broker, incarnation(n));
        assert_eq!(cause, "wrong-identity");
        assert!(words.contains("restore ZooKeeper's data") && words.contains(zookeeper.to_str().unwrap()), "{words}");
    }
    stack.await_state("mysql", "ready");
    stack.down();
    fs::remove_dir_all(&zookeeper).unwrap();
    fs::rename(&kept, &zookeeper).unwrap();

    // One broker without data starts behind the others and fetches everything again.
    fs::remove_dir_all(&b1).unwrap();
    stack.up();
    stack.await_whole(&stack.admin());
    assert_eq!(stack.rows("orders"), 3);
    let events = read(stack.path().join("state/events.jsonl"));
    assert!(events.contains("it fetches its replicas from broker-2, broker-3 again"), "{events}");
    stack.assert_logs_know_nothing_fatal();
}

/// What mysqld itself has written into its data: its versions, and who it is.
fn the_servers_own_files_are_looked_at(stack: &Stack, mysql: &Path) {
    let history = mysql.join("mysql_upgrade_history");
    let written = read(history.clone());
    let version = upgrade_history(&written).expect("mysqld has written its version");
    fs::write(&history, written.replace(&version, "99.2.0")).unwrap();
    let start = stack.fails(8, &["start", "mysql"]);
    assert!(start.stderr.contains("99.2.0"), "{start}");
    fs::write(&history, written).unwrap();

    let auto = mysql.join("auto.cnf");
    let written = read(auto.clone());
    let uuid = server_uuid(&written).expect("mysqld has written its UUID");
    fs::write(&auto, written.replace(&uuid, "3e11fa47-71ca-11e1-9e33-c80aa9429562")).unwrap();
    let start = stack.fails(8, &["start", "mysql"]);
    assert!(start.stderr.contains("3e11fa47-71ca-11e1-9e33-c80aa9429562") && start.stderr.contains(&uuid), "{start}");
    fs::write(&auto, written).unwrap();
}

/// `KafkaServer.shutdown` throws while it starts, the JVM halts with 1, and no log is closed: so the stop waits.
fn a_stop_during_a_start_up_is_queued_and_clean(stack: &Stack) {
    stack.ok(&["stop", "broker-3"]);
    let clean = data(stack, "broker-3").join(".kafka_cleanshutdown");
    assert!(clean.exists(), "a clean stop leaves its mark");
    let start = stack.spawn(&["start", "broker-3"]);
    until(STATE_LIMIT, "the broker's own start-up is under way", || {
        let node = node_of(&stack.status(), "broker-3");
        // Kafka takes the mark away when it begins to load its logs: from then on a halt would be dirty.
        if node["state"] == "starting" && !clean.exists() { Ok(()) } else { Err(node.to_string()) }
    });
    let stop = stack.spawn(&["stop", "broker-3"]);
    let node = stack.await_node("broker-3", "told to stop", |n| n["wanted"] == "down");
    if node["state"] == "starting" {
        assert!(node["detail"].as_str().unwrap().contains("the stop is queued until it is ready"), "{node}");
    }
    let stop = stop.wait(VERB_LIMIT);
    assert_eq!(stop.code, Some(0), "{stop}");
    // The start was taken back by the stop.
    start.wait(VERB_LIMIT);
    let node = stack.node("broker-3");
    assert_eq!(
        (&node["state"], &node["last_exit"]["cause"], &node["last_exit"]["code"]),
        (&"down".into(), &"stopped".into(), &143.into()),
        "{node}"
    );
    assert!(clean.exists(), "its logs were closed: {}", stack.log("broker-3"));
    stack.ok(&["start", "broker-3"]);
    let log = stack.log("broker-3");
    assert!(!log.contains("no clean shutdown file was found"), "no start had to recover");
}
