//! The UI over a real broker. The vendor's jar cannot be had here: a stand-in is started as that is and answers the same path.

use crate::{
    stack::Turn,
    support::{Root, skip, ui_jar},
};
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
};

/// A store of the test's own with the trees of the shared one: the UI is put into it.
fn own_store(root: &Root) -> PathBuf {
    let shared = std::env::var("CDC_TEST_STORE").expect("CDC_TEST_STORE names a filled artifact store");
    let own = root.home().join("store");
    fs::create_dir_all(&own).unwrap();
    fs::copy(Path::new(&shared).join("lock.toml"), own.join("lock.toml")).unwrap();
    for entry in fs::read_dir(&shared).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("kafka-3") {
            std::os::unix::fs::symlink(entry.path(), own.join(name)).unwrap();
        }
    }
    own
}

/// One broker, which is enough to see whether it is left alone.
fn configure(root: &Root, ui: &str) {
    let store = root.home().join("store");
    root.configure_raw(&format!(
        "[artifacts]\nstore = \"{}\"\noffline = true\n[zookeeper]\n[kafka]\n[kafka.brokers.1]\n[kafka_ui]\n{ui}",
        store.display()
    ));
}

fn health(address: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect((address, 8088)).ok()?;
    stream.write_all(b"GET /actuator/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Some(text)
}

#[test]
fn the_ui_serves_on_loopback_comes_back_by_itself_and_never_touches_the_broker() {
    let test = "the_ui_serves_on_loopback_comes_back_by_itself_and_never_touches_the_broker";
    let Some(built) = ui_jar::stand_in() else { return skip(test, "there is no JDK (javac, jar)") };
    let _turn = Turn::take();
    let root = Root::raw("");
    root.expect_log("was held up for");
    own_store(&root);
    let jar = root.home().join("ui.jar");
    fs::copy(built, &jar).unwrap();
    let named = format!("jar = \"{}\"\n", jar.display());

    // a jar that is none: the UI fails with the reason, everything else is ready, and that is a success
    let page = root.home().join("page.jar");
    fs::write(&page, "<!DOCTYPE html>").unwrap();
    configure(&root, &format!("jar = \"{}\"\n", page.display()));
    root.expect_log("node=kafka-ui");
    root.expect_log("kafka-ui:");
    let output = root.fails(5, &["fetch"]);
    assert!(output.stderr.contains("page of HTML"), "{output}");
    let output = root.up();
    assert!(output.stderr.contains("kafka-ui is not ready, and the stack goes on without it"), "{output}");
    let node = root.node("kafka-ui");
    assert_eq!((&node["state"], &node["optional"]), (&"failed".into(), &true.into()), "{node}");
    assert!(node["detail"].as_str().unwrap().contains("page of HTML"), "{node}");
    let (broker, zookeeper) = (root.pid("broker-1"), root.pid("zookeeper"));

    // the right jar, by a reload: only the UI starts
    configure(&root, &named);
    let plan = root.ok(&["plan"]);
    assert!(!plan.stdout.contains("broker-1"), "{plan}");
    let output = root.ok(&["reload"]);
    let node = root.await_state("kafka-ui", "ready");
    println!("{plan}\n{output}\n{}", root.log("kafka-ui"));
    assert_eq!(node["memory"]["cap_bytes"], 384 << 20, "{node}");
    assert_eq!(node["ports"], serde_json::json!([{"name": "http", "port": 8088}]));
    assert!(root.log("kafka-ui").contains("cluster cdc at 127.0.0.1:29092"), "{}", root.log("kafka-ui"));
    let conf = root.path().join("nodes/kafka-ui/conf/application.yml");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(conf).unwrap().permissions()) & 0o777, 0o600);
    assert!(health("127.0.0.1").unwrap().contains("\"UP\""));
    assert_eq!(health("127.0.0.2"), None, "bound to one address of loopback and no other");

    // killed: back at once, and the broker has not noticed
    let before = root.pid("kafka-ui");
    crate::support::process::kill(before, 9);
    let back = root.await_node("kafka-ui", "ready again", |n| n["state"] == "ready" && n["pid"] != before);
    assert_eq!((&back["restarts"], &back["last_exit"]["signal"]), (&1.into(), &"SIGKILL".into()), "{back}");

    // a changed setting restarts it and nobody else
    let kept = root.pid("kafka-ui");
    configure(&root, &format!("{named}[kafka_ui.properties]\n\"kafka.clusters[0].name\" = \"mine \\\"1\\\"\"\n"));
    let plan = root.ok(&["plan"]);
    assert!(plan.stdout.contains("application.yml: kafka.clusters[0].name"), "{plan}");
    root.ok(&["reload"]);
    assert_ne!(root.pid("kafka-ui"), kept);
    assert!(root.log("kafka-ui").contains("cluster mine \\\"1\\\" at"), "{}", root.log("kafka-ui"));

    // a page that serves is not taken down for a jar that is none
    configure(&root, &format!("jar = \"{}\"\n", page.display()));
    let output = root.fails(5, &["reload"]);
    assert!(output.stderr.contains("page of HTML"), "{output}");
    assert_eq!(root.node("kafka-ui")["state"], "ready");

    // a setting of a wrong kind: no restart can cure it, the reload is undone
    configure(&root, &format!("{named}[kafka_ui.properties]\nstand-in.habit = \"exit\"\n"));
    let output = root.fails(6, &["reload"]);
    assert!(output.stderr.contains("Failed to bind properties"), "{output}");
    root.await_state("kafka-ui", "ready");

    // its heap is full: the record names the key to raise
    configure(&root, &format!("{named}restart = \"never\"\n[kafka_ui.properties]\nstand-in.habit = \"heap\"\n"));
    root.fails(6, &["reload"]);
    let incidents = root.ok(&["incidents", "--json", "kafka-ui"]);
    assert!(incidents.stdout.contains("raise heap"), "{incidents}");
    configure(&root, &named);
    root.ok(&["reload"]);
    root.await_state("kafka-ui", "ready");

    assert_eq!((root.pid("broker-1"), root.pid("zookeeper")), (broker, zookeeper), "never touched");
    assert_eq!(root.node("broker-1")["restarts"], 0);

    // somebody else has its port: it fails with the name of who, and is asked for by name in vain
    root.ok(&["stop", "kafka-ui"]);
    let holder = std::net::TcpListener::bind("127.0.0.1:8088").unwrap();
    let output = root.fails(6, &["start", "kafka-ui"]);
    assert!(output.stderr.contains("port 8088 is taken by"), "{output}");
    assert_eq!(root.node("kafka-ui")["failure"]["cause"], "port-taken");
    let again = root.up();
    assert!(again.stderr.contains("the stack goes on without it"), "{again}");
    // nor does it keep the others down that have not started yet
    root.down();
    root.expect_log("port 8088 is taken");
    let again = root.up();
    assert!(again.stderr.contains("port 8088 is taken by"), "{again}");
    assert_eq!(root.node("broker-1")["state"], "ready");
    drop(holder);
    root.ok(&["start", "kafka-ui"]);

    // down: the UI first, without waiting for anything
    let down = root.down();
    println!("{again}\n{down}");
    let last = fs::read_to_string(root.path().join("state/events.jsonl")).unwrap();
    let ended = |node: &str| last.rfind(&format!("\"node\":\"{node}\"")).unwrap();
    assert!(ended("kafka-ui") < ended("broker-1"), "{last}");
}
