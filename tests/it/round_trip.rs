//! Up, status, down: the whole way once, and the shape of what is printed.

use crate::support::{
    Root, fake,
    node::free_port,
    process::{self, alive},
};
use serde_json::Value;
use std::{collections::BTreeSet, process::Stdio, time::Duration};

#[test]
fn up_starts_every_node_and_down_leaves_nothing() {
    let root = Root::new(&[fake("a", &["print=hello-from-a"]), fake("b", &[])]);
    root.up();
    let status = root.status();
    let mut pids = vec![root.daemon()];
    for name in ["a", "b"] {
        let node = root.node(name);
        assert_eq!(node["state"], "ready", "{status}");
        assert_eq!(node["wanted"], "up");
        assert_eq!(node["kind"], "command");
        assert_eq!(node["incarnation"], 1);
        assert_eq!(node["restarts"], 0);
        assert_eq!(node["last_exit"], Value::Null);
        pids.extend([root.pid(name), root.shim(name)]);
    }
    assert!(pids.iter().all(|pid| alive(*pid)), "{status}");
    assert!(root.ok(&["logs", "a"]).stdout.contains("hello-from-a"));
    root.down();
    root.await_empty();
    assert!(!pids.iter().any(|pid| alive(*pid)));
}

#[test]
fn a_root_goes_up_and_down_again_and_again() {
    let root = Root::new(&[fake("a", &[])]);
    for round in 1..=3 {
        root.up();
        let node = root.node("a");
        assert_eq!(node["state"], "ready");
        assert_eq!(node["incarnation"], round, "an incarnation is never used twice");
        assert_eq!(node["restarts"], 0, "a start that was ordered is no restart");
        root.down();
        root.await_empty();
    }
}

#[test]
fn status_json_has_exactly_the_keys_of_the_contract() {
    let port = free_port();
    let habit = format!("listen={port}");
    let node =
        fake("a", &[&habit]).tcp(port).key("ports", &format!("[\"127.0.0.1:{port}\"]")).text("memory_max", "64M");
    let root = Root::new(&[node]);
    root.up();
    process::kill(root.pid("a"), 9);
    // The incident is written beside the restart, which does not wait for it.
    let node = root.await_node("a", "ready again, its death on record", |n| {
        n["incarnation"] == 2 && n["state"] == "ready" && n["incident"] == 1
    });
    let status = root.status();
    keys(&status, "schema supervisor nodes cluster disks cut_short");
    assert!(status["cut_short"].is_null(), "nothing was cut short");
    assert!(status["cluster"].is_null(), "no brokers, no cluster");
    assert!(status["disks"].is_null(), "no data, no room for it");
    assert_eq!(status["schema"], 1);
    keys(&status["supervisor"], "pid version started_at up_ms root caps memory");
    keys(&status["supervisor"]["memory"], "current_bytes anon_bytes file_bytes kernel_bytes peak_bytes processes");
    keys(&status["supervisor"]["caps"], "enforced why");
    assert!(status["supervisor"]["caps"]["enforced"].is_boolean());
    assert_eq!(status["supervisor"]["root"], root.path().display().to_string());
    keys(
        &node,
        "name kind wanted state pid incarnation since ready_since up_ms restarts last_exit memory ports log detail incident stalls",
    );
    keys(&node["last_exit"], "code signal cause at oom_by");
    keys(
        &node["memory"],
        "cap_bytes current_bytes anon_bytes file_bytes peak_bytes oom_kills kernel_bytes trend_bytes_per_hour hours_to_cap",
    );
    assert_eq!(node["memory"]["cap_bytes"], 64 << 20, "the configured cap is shown whether it is enforced or not");
    keys(&node["ports"][0], "name port");
    assert_eq!(node["ports"][0]["port"], port);
    let log = root.path().join("nodes/a/log/current");
    assert_eq!(node["log"], log.display().to_string());
    assert!(log.is_file());
    for time in [&node["since"], &node["ready_since"], &node["last_exit"]["at"], &status["supervisor"]["started_at"]] {
        let text = time.as_str().unwrap_or_else(|| panic!("a time is missing in {status}"));
        // 2026-01-02T03:04:05.678Z
        assert!(text.len() == 24 && text.ends_with('Z') && &text[19..20] == ".", "{text}");
    }
}

fn keys(object: &Value, wanted: &str) {
    let found: BTreeSet<&str> =
        object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().map(String::as_str).collect();
    assert_eq!(found, wanted.split(' ').collect::<BTreeSet<_>>());
}

#[test]
fn a_second_up_attaches_and_changes_nothing() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let (daemon, node) = (root.daemon(), root.pid("a"));
    root.up();
    assert_eq!((root.daemon(), root.pid("a")), (daemon, node));
}

#[test]
fn what_runs_once_is_not_run_again_by_an_up_and_by_an_order_it_is() {
    let root = Root::raw("");
    let trace = root.file("trace");
    let starts = |name: &str| {
        let text = std::fs::read_to_string(&trace).unwrap_or_default();
        text.lines().filter(|l| *l == format!("start {name}")).count()
    };
    let once = |name: &str, code: &str| {
        fake(name, &[&format!("trace={trace}:{name}"), &format!("exit={code}")]).text("restart", "never")
    };
    root.configure(&[fake("a", &[]), once("done", "0")]);
    root.up();
    let node = root.await_node("done", "has ended", |n| n["last_exit"]["cause"] == "completed");
    assert_eq!((&node["state"], &node["incarnation"]), (&"down".into(), &1.into()), "{node}");
    let daemon = root.daemon();
    let output = root.up();
    assert!(output.stderr.contains("done has done its work"), "it says what it left alone\n{output}");
    assert!(output.stderr.contains("`cdc-supervisor start done` runs it again"), "{output}");
    assert_eq!((root.daemon(), starts("done")), (daemon, 1));
    // An `up` after the daemon died changes nothing of that either.
    process::kill(daemon, 9);
    root.up();
    assert_eq!((root.node("done")["incarnation"].as_u64(), starts("done")), (Some(1), 1));
    root.run(&["start", "done"]);
    root.await_node("done", "has ended again", |n| n["incarnation"] == 2 && n["state"] == "down");
    assert_eq!(starts("done"), 2);
    root.down();
    // An ordered end of everything is a new beginning.
    root.up();
    root.await_node("done", "has run anew", |n| n["incarnation"] == 3 && n["state"] == "down");
    assert_eq!(starts("done"), 3);
    root.down();
    // One that breaks is not tried twice by the `up` that sees it break, and is by the next.
    root.configure(&[once("broken", "3").notify()]);
    root.expect_log("node=broken");
    root.fails(6, &["up", "--detach"]);
    assert_eq!(starts("broken"), 1);
    root.fails(6, &["up", "--detach"]);
    assert_eq!(starts("broken"), 2);
}

#[test]
fn a_second_up_with_another_configuration_is_refused_and_one_that_means_the_same_is_not() {
    let root = Root::new(&[fake("a", &[]).text("memory_max", "1024M")]);
    root.up();
    let pid = root.pid("a");
    root.configure(&[fake("a", &[]).text("memory_max", "1G")]);
    root.up();
    root.configure(&[fake("a", &["print=other"])]);
    let output = root.fails(8, &["up", "--detach"]);
    assert!(output.stderr.contains("`cdc-supervisor reload` applies it"), "the way out is named\n{output}");
    assert_eq!(root.pid("a"), pid);
}

#[test]
fn two_ups_at_once_make_one_daemon() {
    let root = Root::new(&[fake("a", &[])]);
    let clients: Vec<_> = (0..4).map(|_| root.spawn(&["up", "--detach"])).collect();
    for client in clients {
        let output = client.wait(Duration::from_secs(60));
        assert_eq!(output.code, Some(0), "{output}");
    }
    let daemon = root.daemon();
    let all = root.processes();
    let supervisors = all.iter().filter(|p| process::program(**p).ends_with("cdc-supervisor")).count();
    assert_eq!(supervisors, 1, "one daemon ({daemon}) in {}", process::describe(&all));
    assert_eq!(all.len(), 3, "daemon, shim, node in {}", process::describe(&all));
}

#[test]
fn a_detached_daemon_holds_nothing_of_its_caller_open() {
    let root = Root::new(&[fake("a", &[])]);
    // A pipe of ours: it ends for the reader when nobody has its other end, so this returns only then.
    let child = std::process::Command::new(crate::support::client::SUPERVISOR)
        .args(["--config", &root.config().display().to_string(), "up", "--detach"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(Duration::from_secs(60)).expect("the pipe is still held open").unwrap();
    assert!(output.status.success(), "{output:?}");
    let daemon = root.daemon();
    for pid in [daemon, root.shim("a"), root.pid("a")] {
        assert_ne!(nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))), nix::unistd::getsid(None));
    }
}

#[test]
fn a_node_inherits_no_variable_and_no_descriptor_of_its_caller() {
    let script = "env; echo fds $(ls /proc/self/fd | wc -l); exec sleep 1000";
    let node = crate::support::Node::program("a", &["/bin/sh", "-c", script]).key("env", "{ GIVEN = \"yes\" }");
    let root = Root::new(&[node]);
    root.up();
    let log = crate::support::until(Duration::from_secs(20), "the node has printed its environment", || {
        let log = root.log("a");
        if log.contains("fds ") { Ok(log) } else { Err(log) }
    });
    assert!(log.contains("GIVEN=yes"), "{log}");
    let names = log.lines().filter_map(|l| Some(l.split_once('=')?.0));
    let of_the_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    let names: BTreeSet<&str> = names.filter(|n| !of_the_shell.contains(n)).collect();
    assert_eq!(names, BTreeSet::from(["GIVEN", "HOME", "LANG", "PATH", "TMPDIR"]), "{log}");
    let home = format!("HOME={}\n", root.path().join("nodes/a/data").display());
    assert!(log.contains(&home), "HOME is the caller's:\n{log}");
    assert!(log.contains(&format!("TMPDIR={}", root.path().join("nodes/a/run/tmp").display())), "{log}");
    // 0, 1, 2, the lock that the whole tree holds, and ls's own directory
    assert!(log.contains("fds 4") || log.contains("fds 5"), "descriptors leaked into the node:\n{log}");
}

#[test]
fn up_only_starts_the_named_node_and_what_it_needs() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]).after(&["a"]), fake("c", &[])]);
    root.ok(&["up", "--detach", "--only", "b"]);
    assert_eq!(root.node("a")["state"], "ready");
    assert_eq!(root.node("b")["state"], "ready");
    assert_eq!(root.node("c")["state"], "down");
    assert_eq!(root.node("c")["wanted"], "down");
}

#[test]
fn status_for_people_names_every_node_and_whether_caps_are_enforced() {
    let root = Root::new(&[fake("alpha", &[]), fake("beta", &[])]);
    root.up();
    let output = root.ok(&["status"]);
    for word in ["alpha", "beta", "ready", "caps"] {
        assert!(output.stdout.contains(word), "{word} is missing\n{output}");
    }
    assert!(!output.stdout.contains('\u{1b}'), "colour in a file\n{output}");
}

#[test]
fn without_a_daemon_verbs_that_need_one_end_with_7() {
    let root = Root::new(&[fake("a", &[])]);
    for verb in [&["start", "a"][..], &["stop", "a"], &["restart", "a"], &["kill", "a", "--signal", "HUP"]] {
        let output = root.fails(7, verb);
        assert!(output.stderr.contains("up"), "the hint says how to start one\n{output}");
    }
}
