//! Nodes with bad habits: what they do to us and what we do about it.

use crate::support::{
    Root, STATE_LIMIT, fake,
    node::free_port,
    process::{self, alive},
    until,
};
use std::time::{Duration, Instant};

#[test]
fn a_node_that_ends_at_once_is_started_again_with_pauses_that_grow_and_up_ends_with_6() {
    // Its port never opens, so it is never ready.
    let node = fake("a", &["exit=3"]).tcp(free_port()).text("restart", "always");
    let root = Root::new(&[node]);
    root.expect_log("node=a");
    let up = root.spawn(&["up", "--detach"]);
    until(STATE_LIMIT, "the daemon answers", || {
        let output = root.run(&["status", "--json"]);
        if output.code == Some(0) && output.stdout.contains("\"pid\"") { Ok(()) } else { Err(output.to_string()) }
    });
    let started = Instant::now();
    let node = root.await_node("a", "four restarts", |n| n["restarts"].as_u64() >= Some(4));
    // Immediately, then 0.2 s, 0.4 s, 0.8 s, each with jitter: four restarts without pauses would take no time at all.
    assert!(started.elapsed() > Duration::from_millis(400), "no pause between restarts");
    assert_eq!(node["last_exit"]["code"], 3);
    assert_eq!(node["last_exit"]["cause"], "crashed");
    let node = root.await_node("a", "waits", |n| n["state"] == "waiting");
    let detail = node["detail"].as_str().unwrap();
    assert!(detail.contains("exit 3") || detail.contains("crashed"), "the pause says why: {detail}");
    let output = up.wait(Duration::from_secs(120));
    assert_eq!(output.code, Some(6), "{output}");
    assert!(output.stderr.contains("a"), "{output}");
    root.down();
}

#[test]
fn a_node_that_ignores_sigterm_is_killed_after_its_grace() {
    let root = Root::new(&[fake("a", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "1s")]);
    root.up();
    let pid = root.pid("a");
    let started = Instant::now();
    root.ok(&["stop", "a"]);
    assert!(started.elapsed() >= Duration::from_secs(1), "it had its grace");
    assert!(!alive(pid));
    let node = root.node("a");
    assert_eq!(node["state"], "down");
    assert_eq!(node["last_exit"]["cause"], "killed-after-grace");
    assert_eq!(node["last_exit"]["signal"], "SIGKILL");
}

#[test]
fn a_node_that_ends_at_sigterm_counts_as_stopped_whatever_way_is_clean() {
    let root = Root::new(&[
        fake("polite", &["on-term=50:0", "notify=READY=1"]).notify(),
        crate::support::Node::program("plain", &["/bin/sleep", "1000"]),
    ]);
    root.up();
    root.ok(&["stop", "polite", "plain"]);
    let polite = root.node("polite");
    assert_eq!((&polite["last_exit"]["code"], &polite["last_exit"]["cause"]), (&0.into(), &"stopped".into()));
    let plain = root.node("plain");
    assert_eq!((&plain["last_exit"]["signal"], &plain["last_exit"]["cause"]), (&"SIGTERM".into(), &"stopped".into()));
}

#[test]
fn a_grandchild_in_a_session_of_its_own_is_gone_after_stop() {
    let root = Root::raw("");
    let file = root.file("grandchild");
    root.configure(&[fake("a", &[&format!("grandchild={file}")])]);
    root.up();
    let grandchild = until(STATE_LIMIT, "the grandchild runs", || process::pid_in(&file).ok_or_else(String::new));
    assert!(alive(grandchild));
    root.ok(&["stop", "a"]);
    assert!(!alive(grandchild), "it ignores SIGTERM, and still stop means that the tree is empty");
}

#[test]
fn what_a_node_leaves_behind_when_it_crashes_is_gone_before_it_is_started_again() {
    let root = Root::raw("");
    let (file, trace) = (root.file("grandchild"), root.file("trace"));
    root.configure(&[fake("a", &[&format!("grandchild={file}"), &format!("trace={trace}:a")])]);
    root.up();
    let first = until(STATE_LIMIT, "the grandchild runs", || process::pid_in(&file).ok_or_else(String::new));
    process::kill(root.pid("a"), 9);
    until(STATE_LIMIT, "the second run has begun", || {
        let trace = std::fs::read_to_string(&trace).unwrap_or_default();
        if trace == "start a\nstart a\n" { Ok(()) } else { Err(trace) }
    });
    assert!(!alive(first), "two trees at once");
}

#[test]
fn a_node_that_forks_and_exits_has_ended_and_its_child_is_removed() {
    let root = Root::raw("");
    let file = root.file("child");
    root.configure(&[fake("a", &["after=300", &format!("daemonise={file}")]).text("restart", "never")]);
    root.expect_log("node=a");
    root.run(&["up", "--detach"]);
    let node = root.await_node("a", "it has ended", |n| n["last_exit"].is_object());
    assert_eq!(node["last_exit"]["code"], 0);
    until(STATE_LIMIT, "the child is removed", || match process::pid_in(&file) {
        Some(child) if alive(child) => Err(format!("{child} lives")),
        _ => Ok(()),
    });
}

#[test]
fn a_node_that_writes_without_newlines_and_without_end_never_waits_for_us() {
    let root = Root::raw("");
    let file = root.file("written");
    root.configure(&[fake("a", &["bytes=5000000", &format!("touch={file}")])]);
    root.up();
    until(STATE_LIMIT, "all of it is written", || {
        if std::path::Path::new(&file).exists() { Ok(()) } else { Err(String::new()) }
    });
    assert_eq!(root.node("a")["state"], "ready");
}

#[test]
fn a_node_that_closes_its_output_runs_on() {
    let root = Root::raw("");
    let file = root.file("closed");
    root.configure(&[fake("a", &["print=last-words", "close-output", &format!("touch={file}")])]);
    root.up();
    until(STATE_LIMIT, "output is closed", || {
        if std::path::Path::new(&file).exists() { Ok(()) } else { Err(String::new()) }
    });
    let pid = root.pid("a");
    crate::support::wait::stays(Duration::from_millis(500), "it runs on", || alive(pid));
    assert!(root.log("a").contains("last-words"));
    assert_eq!(root.node("a")["restarts"], 0);
}

#[test]
fn a_node_that_kills_itself_is_told_apart_from_one_that_exits() {
    let root = Root::raw("");
    let once = root.file("once");
    let writer = script("c", "kill -PIPE $$");
    root.configure(&[fake("a", &["after=200", "crash=SEGV"]), fake("b", &[&format!("once={once}:42")]), writer]);
    root.expect_log("node=a");
    root.expect_log("node=c");
    root.run(&["up", "--detach", "--only", "b"]);
    let b = root.await_node("b", "ready after one end", |n| n["state"] == "ready" && n["restarts"] == 1);
    assert_eq!(b["last_exit"]["code"], 42);
    assert_eq!(b["last_exit"]["cause"], "crashed");
    root.run(&["start", "a"]);
    let a = root.await_node("a", "has crashed", |n| n["last_exit"].is_object());
    assert_eq!(a["last_exit"]["signal"], "SIGSEGV");
    assert_eq!(a["last_exit"]["code"], serde_json::Value::Null);
    root.run(&["start", "c"]);
    let c = root.await_node("c", "has ended", |n| n["last_exit"].is_object());
    assert_eq!((&c["last_exit"]["signal"], &c["last_exit"]["cause"]), (&"SIGPIPE".into(), &"crashed".into()));
    let told = until(STATE_LIMIT, "it is told", || match root.run(&["incidents", "c"]).stdout {
        told if told.contains("SIGPIPE") => Ok(told),
        other => Err(other),
    });
    assert!(!told.contains("not by us"), "{told}");
}

fn script(name: &str, script: &str) -> crate::support::Node {
    crate::support::Node::program(name, &["/bin/sh", "-c", &format!("{script}; exec /bin/sleep 1000")])
}

fn await_log(root: &Root, node: &str, text: &str) {
    until(STATE_LIMIT, &format!("{node} has written {text:?}"), || {
        let log = root.log(node);
        if log.contains(text) { Ok(()) } else { Err(log.chars().rev().take(200).collect()) }
    });
}

/// Memory that a process has written to, kB; not the pages of its program, which a debug build has many of.
fn anonymous_kb(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_line_of_100_mb_costs_neither_the_shim_nor_the_reader_memory_and_is_shown_cut() {
    let root = Root::raw("");
    let go = root.file("go");
    let line = "/usr/bin/head -c 104857600 /dev/zero | /usr/bin/tr '\\000' x; echo; echo behind";
    root.configure(&[script("a", &format!("while [ ! -e {go} ]; do /bin/sleep 0.05; done; {line}"))]);
    root.up();
    let shim = root.shim("a");
    let before = anonymous_kb(shim);
    std::fs::write(&go, "").unwrap();
    await_log(&root, "a", "behind\n");
    let after = anonymous_kb(shim);
    assert!(after < before + 200, "{before} kB before, {after} kB after");
    let shown = root.ok(&["logs", "-n", "2", "a"]).stdout;
    assert!(shown.starts_with("xxx") && shown.len() < 10_000, "{} bytes", shown.len());
    assert!(shown.ends_with("x [cut, 104,857,600 bytes; --raw shows all]\nbehind\n"), "{}", &shown[shown.len() - 99..]);
}

#[test]
fn a_node_that_closes_its_output_and_opens_it_again_is_heard() {
    let root = Root::new(&[script(
        "a",
        "echo one; echo two > /dev/stdout; echo three > /proc/self/fd/2; exec 3>&1 1>&- 2>&-; exec 1>/proc/self/fd/3; echo four",
    )]);
    root.up();
    await_log(&root, "a", "one\ntwo\nthree\nfour\n");
}

#[test]
fn many_nodes_that_flood_at_once_lose_no_line_and_the_daemon_answers() {
    let names = ["a", "b", "c", "d"];
    let bounds = "{ max_bytes = \"256K\", keep = 100 }";
    let nodes: Vec<_> = names.iter().map(|n| fake(n, &["lines=200000"]).key("log", bounds)).collect();
    let root = Root::new(&nodes);
    root.up();
    for name in names {
        await_log(&root, name, "line 199999\n");
    }
    assert_eq!(root.status()["nodes"].as_array().unwrap().len(), 4);
    for name in names {
        let lines = root.ok(&["logs", "-n", "200001", name]).stdout;
        assert!(lines.lines().enumerate().all(|(n, l)| l == format!("line {n}")) && lines.lines().count() == 200_000);
    }
}

#[test]
fn a_log_directory_that_is_removed_or_replaced_under_a_running_node_is_made_again() {
    let root = Root::new(&[fake("a", &["tick=5"])]);
    root.up();
    await_log(&root, "a", "tick 10\n");
    let (pid, dir) = (root.pid("a"), root.path().join("nodes/a/log"));
    std::fs::remove_dir_all(&dir).unwrap();
    await_log(&root, "a", "tick ");
    // a link in its place leads nowhere: not for the shim, not for the reader
    let (outside, current) = (root.file("outside"), dir.join("current"));
    std::fs::write(&outside, "not of the log\n").unwrap();
    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&outside, &current).unwrap();
    until(STATE_LIMIT, "the link is put aside", || {
        if current.symlink_metadata().is_ok_and(|m| m.is_file()) { Ok(()) } else { Err(String::new()) }
    });
    await_log(&root, "a", "tick ");
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "not of the log\n");
    assert!(!root.ok(&["logs", "-n", "100000", "a"]).stdout.contains("not of the log"));
    assert_eq!(root.pid("a"), pid, "the node has noticed nothing");
}
