//! Nodes that come after others: started behind them, stopped before them.

use crate::support::{Root, fake, process, until};
use std::fs;

/// Three nodes, each after the one before, that write what they do into one file, and say that they are ready after that:
/// without a probe a node is ready before its program has done anything. `a` takes a moment.
fn chain() -> (Root, String) {
    let root = Root::raw("");
    let trace = root.file("trace");
    let node = |name: &str, habits: &[&str]| {
        let own = format!("trace={trace}:{name}");
        let all: Vec<&str> = std::iter::once(own.as_str()).chain(habits.iter().copied()).collect();
        fake(name, &all)
    };
    let ready = format!("trace={trace}:a-is-ready");
    root.configure(&[
        node("c", &["on-term=100:0", "notify=READY=1"]).notify().after(&["b"]),
        node("b", &["on-term=100:0", "notify=READY=1"]).notify().after(&["a"]),
        node("a", &["after=300", &ready, "notify=READY=1"]).notify(),
    ]);
    (root, trace)
}

#[test]
fn nodes_start_behind_what_they_need_and_stop_before_it() {
    let (root, trace) = chain();
    root.up();
    assert_eq!(fs::read_to_string(&trace).unwrap(), "start a\nstart a-is-ready\nstart b\nstart c\n");
    fs::remove_file(&trace).unwrap();
    root.down();
    assert_eq!(fs::read_to_string(&trace).unwrap(), "stop c\nstop b\nstop a-is-ready\n");
}

#[test]
fn down_without_a_daemon_keeps_the_order() {
    let (root, trace) = chain();
    root.up();
    let daemon = root.daemon();
    process::kill(daemon, 9);
    fs::remove_file(&trace).unwrap();
    root.down();
    assert_eq!(fs::read_to_string(&trace).unwrap(), "stop c\nstop b\nstop a-is-ready\n");
}

#[test]
fn a_node_waits_for_what_it_needs_and_says_so() {
    let root = Root::raw("");
    let go = root.file("go");
    root.configure(&[fake("a", &[]).exec(&["/usr/bin/test", "-e", &go]), fake("b", &[]).after(&["a"])]);
    let up = root.spawn(&["up", "--detach"]);
    until(crate::support::STATE_LIMIT, "the daemon answers", || {
        let output = root.run(&["status", "--json"]);
        if output.stdout.contains("\"starting\"") { Ok(()) } else { Err(output.to_string()) }
    });
    let node = root.node("b");
    assert_eq!((&node["state"], &node["pid"]), (&"waiting".into(), &serde_json::Value::Null));
    assert!(node["detail"].as_str().unwrap().contains('a'), "{node}");
    fs::write(&go, "").unwrap();
    let output = up.wait(crate::support::VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(root.node("b")["state"], "ready");
}

#[test]
fn dependents_keep_running_while_what_they_need_is_replaced() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]).after(&["a"])]);
    root.expect_log("node=a");
    root.up();
    let b = root.pid("b");
    process::kill(root.pid("a"), 9);
    root.await_node("a", "back", |n| n["state"] == "ready" && n["incarnation"] == 2);
    root.ok(&["restart", "a"]);
    assert_eq!(root.pid("b"), b);
    assert_eq!(root.node("b")["restarts"], 0);
}

#[test]
fn stop_of_several_nodes_goes_against_the_order_of_start() {
    let (root, trace) = chain();
    root.up();
    fs::remove_file(&trace).unwrap();
    root.ok(&["stop", "a", "b", "c"]);
    assert_eq!(fs::read_to_string(&trace).unwrap(), "stop c\nstop b\nstop a-is-ready\n");
    root.ok(&["start", "c", "b", "a"]);
    assert_eq!(root.node("c")["state"], "ready");
}
