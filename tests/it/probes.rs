//! Ready is not spawned: each kind of probe, its "not yet", and its reason.

use crate::support::{Node, Root, STATE_LIMIT, fake, node::free_port, until};
use serde_json::Value;

/// Brings the node up in the background, looks at it while it is not ready, lets it become ready.
fn becomes_ready(node: impl FnOnce(&Root, &str) -> Node, not_yet: &str) {
    let root = Root::raw("");
    let go = root.file("go");
    root.configure(&[node(&root, &go)]);
    let up = root.spawn(&["up", "--detach"]);
    let seen = until(STATE_LIMIT, "starting, with a reason", || {
        let output = root.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.stdout).map_err(|_| output.to_string())?;
        let node = status["nodes"].as_array().and_then(|n| n.first()).cloned().unwrap_or_default();
        let detail = node["detail"].as_str().unwrap_or_default();
        if node["state"] == "starting" && detail.contains(not_yet) { Ok(node) } else { Err(node.to_string()) }
    });
    assert_eq!(seen["ready_since"], Value::Null);
    assert!(seen["pid"].is_i64(), "it runs and is not ready: {seen}");
    std::fs::write(&go, "").unwrap();
    let output = up.wait(crate::support::VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    let node = root.node("a");
    assert_eq!(node["state"], "ready");
    assert!(node["ready_since"].is_string());
}

/// A shell that waits for the file and then becomes the fake daemon.
fn late(go: &str, habits: &[&str]) -> Node {
    let daemon = crate::support::node::program().display();
    let script = format!("while [ ! -e {go} ]; do sleep 0.05; done; exec {daemon} {}", habits.join(" "));
    Node::program("a", &["/bin/sh", "-c", &script]).key("env", "{ PATH = \"/usr/bin:/bin\" }")
}

#[test]
fn tcp_is_ready_when_the_port_takes_a_connection() {
    let port = free_port();
    becomes_ready(|_, go| late(go, &[&format!("listen={port}")]).tcp(port), &port.to_string());
}

#[test]
fn http_is_ready_when_the_answer_is_2xx() {
    let port = free_port();
    becomes_ready(|_, go| late(go, &[&format!("http={port}:204")]).http(port), &port.to_string());
}

#[test]
fn http_503_is_not_ready_and_the_status_says_so() {
    let port = free_port();
    let root = Root::new(&[fake("a", &[&format!("http={port}:503")]).http(port)]);
    root.expect_log("node=a");
    let up = root.spawn(&["up", "--detach"]);
    root.await_daemon_node("a");
    // not in the number of the port
    root.await_node("a", "the answer is named", |n| {
        n["detail"].as_str().is_some_and(|detail| detail.replace(&port.to_string(), "").contains("503"))
    });
    assert_eq!(root.node("a")["state"], "starting");
    root.ok(&["down", "--now"]);
    let up = up.wait(crate::support::VERB_LIMIT);
    assert_ne!(up.code, Some(0), "{up}");
}

#[test]
fn exec_is_ready_when_the_command_ends_with_0() {
    becomes_ready(|_, go| fake("a", &[]).exec(&["/usr/bin/test", "-e", go]), "1");
}

#[test]
fn notify_is_ready_when_the_node_says_so() {
    becomes_ready(|_, go| late(go, &["notify=READY=1"]).notify(), "READY");
}

#[test]
fn a_node_that_misses_its_start_deadline_is_reported_and_not_killed() {
    let node = fake("a", &[]).tcp(free_port()).probe_key("start_deadline", "\"2s\"");
    let root = Root::new(&[node]);
    root.expect_log("node=a");
    let output = root.fails(6, &["up", "--detach"]);
    assert!(output.stderr.contains('a'), "{output}");
    let node = root.await_node("a", "degraded", |n| n["state"] == "degraded");
    assert_eq!((&node["incarnation"], &node["restarts"]), (&1.into(), &0.into()), "slow is no reason to kill");
}

#[test]
fn a_ready_node_that_stops_answering_is_degraded_and_not_killed() {
    let root = Root::raw("");
    let healthy = root.file("healthy");
    std::fs::write(&healthy, "").unwrap();
    let node = fake("a", &[]).exec(&["/usr/bin/test", "-e", &healthy]);
    root.configure(&[node.probe_key("interval", "\"200ms\"").probe_key("failures", "2")]);
    root.expect_log("node=a");
    root.up();
    let pid = root.pid("a");
    std::fs::remove_file(&healthy).unwrap();
    root.await_state("a", "degraded");
    assert_eq!(root.pid("a"), pid);
    std::fs::write(&healthy, "").unwrap();
    root.await_state("a", "ready");
    assert_eq!(root.node("a")["restarts"], 0);
}
