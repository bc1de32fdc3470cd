//! `up` in the foreground and `run`: signals.

use crate::support::{
    Client, Root, STATE_LIMIT, fake,
    process::{self, alive},
    until, wait,
};
use std::time::Duration;

/// A foreground verb with all nodes ready.
fn running(root: &Root, verb: &str) -> Client {
    let client = root.spawn(&[verb]);
    until(STATE_LIMIT, "all ready", || {
        let output = root.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&output.stdout).map_err(|_| output.to_string())?;
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let ready = !nodes.is_empty() && nodes.iter().all(|n| n["state"] == "ready");
        if ready && status["supervisor"]["pid"].is_i64() { Ok(()) } else { Err(status.to_string()) }
    });
    client
}

#[test]
fn ctrl_c_stops_everything_in_order() {
    let root = Root::raw("");
    let trace = root.file("trace");
    root.configure(&[
        fake("a", &[&format!("trace={trace}:a"), "notify=READY=1"]).notify(),
        fake("b", &[&format!("trace={trace}:b"), "on-term=100:0", "notify=READY=1"]).notify().after(&["a"]),
    ]);
    let up = running(&root, "up");
    up.signal(2);
    let output = up.wait(Duration::from_secs(60));
    assert!(matches!(output.code, Some(0 | 130)), "{output}");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "start a\nstart b\nstop b\nstop a\n");
    root.await_empty();
}

#[test]
fn a_second_ctrl_c_kills() {
    let root = Root::new(&[fake("a", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "5m")]);
    let up = running(&root, "up");
    let pid = root.pid("a");
    up.signal(2);
    root.await_state("a", "stopping");
    assert!(alive(pid));
    up.signal(2);
    let output = up.wait(Duration::from_secs(30));
    assert!(matches!(output.code, Some(0 | 130)), "{output}");
    assert!(!alive(pid));
    root.await_empty();
}

/// A node that takes its time to end well, and where it writes down that it did.
fn slow_to_end(root: &Root) -> String {
    let trace = root.file("trace");
    let slow = fake("a", &[&format!("trace={trace}:a"), "on-term=800:0", "notify=READY=1"]);
    root.configure(&[slow.notify().text("grace", "5m")]);
    trace
}

#[test]
fn a_terminal_that_is_closed_stops_everything_in_order_however_often_it_hangs_up() {
    for verb in ["up", "run"] {
        let root = Root::raw("");
        let trace = slow_to_end(&root);
        let client = running(&root, verb);
        client.signal(1);
        root.await_state("a", "stopping");
        // The shell that ends hangs up its job, then the kernel hangs up the group; a logout sends TERM and HUP besides.
        for signal in [1, 15, 1] {
            client.signal(signal);
        }
        let output = client.wait(Duration::from_secs(60));
        assert!(matches!(output.code, Some(0 | 130)), "{verb}: {output}");
        let events = root.ok(&["events", "--json", "a"]).stdout;
        assert!(events.contains("\"cause\":\"stopped\""), "{verb}: {events}");
        assert_eq!(std::fs::read_to_string(&trace).unwrap(), "start a\nstop a\n", "{verb}");
        root.await_empty();
    }
}

#[test]
fn a_second_sigterm_kills_only_when_it_is_no_echo_of_the_first() {
    let root = Root::new(&[fake("a", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "5m")]);
    let run = running(&root, "run");
    let pid = root.pid("a");
    run.signal(15);
    root.await_state("a", "stopping");
    run.signal(15);
    // The two seconds are what the test is about.
    wait::stays(Duration::from_millis(2_300), "the node is waited for", || alive(pid));
    run.signal(15);
    let output = run.wait(Duration::from_secs(30));
    assert_eq!(output.code, Some(0), "{output}");
    assert!(!alive(pid));
    root.await_empty();
}

#[test]
fn sigterm_stops_everything_under_run() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    let run = running(&root, "run");
    assert_eq!(root.daemon(), run.pid(), "the unit's main process is the daemon");
    run.signal(15);
    let output = run.wait(Duration::from_secs(60));
    assert_eq!(output.code, Some(0), "{output}");
    root.await_empty();
}

#[test]
fn a_foreground_up_that_is_killed_leaves_the_nodes_running() {
    let root = Root::new(&[fake("a", &[])]);
    let up = running(&root, "up");
    let pid = root.pid("a");
    process::kill(root.daemon(), 9);
    process::kill(up.pid(), 9);
    assert!(alive(pid));
    root.up();
    assert_eq!(root.pid("a"), pid, "adopted");
}

#[test]
fn down_ends_a_foreground_up() {
    let root = Root::new(&[fake("a", &[])]);
    let up = running(&root, "up");
    root.down();
    let output = up.wait(Duration::from_secs(30));
    assert!(output.code.is_some(), "{output}");
    root.await_empty();
}

#[test]
fn a_second_daemon_on_the_same_root_is_refused() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let daemon = root.daemon();
    let output = root.run(&["run"]);
    assert!(matches!(output.code, Some(c) if c != 0), "{output}");
    assert_eq!(root.daemon(), daemon);
}
