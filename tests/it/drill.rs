//! Drills where there are no brokers: refusals, the history, and what a daemon that died in a drill leaves to the next one.

use crate::support::{Root, STATE_LIMIT, fake, process, until};
use std::fs;

fn kill_daemon(root: &Root) {
    let daemon = root.daemon();
    process::kill(daemon, 9);
    until(STATE_LIMIT, "the daemon is gone", || if process::alive(daemon) { Err("alive".into()) } else { Ok(()) });
}

/// `T` is a process that is stopped (proc_pid_stat(5)).
fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// Clock ticks between boot and the start of a process.
fn start_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap()
}

fn leave(root: &Root, undo: &serde_json::Value) {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let record = serde_json::json!({
        "schema": 1, "kind": "drill", "detail": "broker-pause", "begun_at": "2026-01-02T03:04:05.006Z",
        "boot_id": boot_id.trim(), "daemon_pid": 7, "step": "SIGSTOP to a", "undo": undo,
    });
    fs::write(root.path().join("state/operation.json"), record.to_string()).unwrap();
}

fn told(root: &Root) -> String {
    let events = root.ok(&["events", "--json"]).stdout;
    events.lines().filter(|l| l.contains("operation-left")).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_brokers_and_mysql_there_is_nothing_to_drill() {
    let root = Root::new(&[fake("a", &[])]);
    let none = root.fails(7, &["drill", "broker-kill"]);
    assert!(none.stderr.contains("no daemon runs"), "{none}");
    root.up();
    for (arguments, words) in [
        (&["drill", "broker-kill"][..], "there are 0 brokers"),
        (&["drill", "zookeeper-restart"], "no brokers"),
        (&["drill", "mysql-kill", "--confirm", "mysql-kill"], "no MySQL server"),
        (&["drill", "cold-restart", "--confirm", "cold-restart"], "neither brokers nor a MySQL server"),
        (&["drill", "cold-restart"], "--confirm cold-restart says that this is wanted"),
        (&["drill", "two-brokers", "--confirm", "yes"], "writes with acks=all are refused"),
    ] {
        let refused = root.fails(8, arguments);
        assert!(refused.stderr.contains(words), "{arguments:?}: {refused}");
    }
    let rate = root.fails(2, &["drill", "broker-kill", "--rate", "1000000"]);
    assert!(rate.stderr.contains("10 to 10000 can be had"), "{rate}");
    let history = root.ok(&["drill", "history"]);
    assert!(history.stderr.contains("no drill was made here yet"), "{history}");
    assert_eq!(
        root.ok(&["drill", "history", "--json"]).stdout.trim(),
        r#"{"schema":1,"drills":[],"verdict":"passed"}"#
    );
    assert!(!root.path().join("state/operation.json").exists());
}

#[test]
fn a_process_that_a_drill_left_stopped_goes_on_with_the_next_daemon() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("was cut short with its daemon");
    root.up();
    let pid = root.pid("a");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    process::kill(pid, 19);
    until(STATE_LIMIT, "it is stopped", || if state(pid) == 'T' { Ok(()) } else { Err(state(pid).to_string()) });
    kill_daemon(&root);
    let paused = serde_json::json!({"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id.trim()});
    leave(&root, &serde_json::json!({"paused": paused}));
    root.up();
    assert_ne!(state(pid), 'T');
    assert_eq!(root.pid("a"), pid);
    until(STATE_LIMIT, "the record goes", || {
        if root.path().join("state/operation.json").exists() { Err("it is there".into()) } else { Ok(()) }
    });
    let told = told(&root);
    assert!(told.contains("SIGSTOP to a") && told.contains(&format!("SIGCONT to pid {pid}")), "{told}");
}

#[test]
fn a_node_that_a_drill_had_ordered_down_is_started_by_the_next_daemon() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("was cut short with its daemon");
    root.up();
    root.ok(&["stop", "a"]);
    kill_daemon(&root);
    leave(&root, &serde_json::json!({"down": ["a", "gone"]}));
    root.up();
    root.await_node("a", "it is ready again", |n| n["state"] == "ready");
    until(STATE_LIMIT, "that is told", || {
        let told = told(&root);
        if told.contains("started a again") { Ok(()) } else { Err(told) }
    });
}
