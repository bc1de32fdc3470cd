//! `reload`: only what must restart does, what fails leaves everything as it was, what is cut short is finished by the next.

use crate::support::{Node, Root, STATE_LIMIT, VERB_LIMIT, fake, node::free_port, process, until};
use serde_json::Value;
use std::fs;

/// A node whose readiness takes `ms`, and that writes what it does.
fn slow(root: &Root, name: &str, ms: u32, more: &[&str]) -> Node {
    let (after, trace) = (format!("after={ms}"), format!("trace={}:{name}", root.file("trace")));
    let mut habits = vec![after.as_str(), trace.as_str(), "notify=READY=1"];
    habits.extend(more);
    fake(name, &habits).notify()
}

fn trace(root: &Root) -> String {
    fs::read_to_string(root.file("trace")).unwrap_or_default()
}

fn applied(root: &Root) -> String {
    fs::read_to_string(root.path().join("state/plan.toml")).unwrap()
}

/// Kinds of the event log, in order, of what reloads have written.
fn events(root: &Root) -> Vec<String> {
    let text = fs::read_to_string(root.path().join("state/events.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    lines.filter_map(|l| Some(l["kind"].as_str()?.to_owned())).filter(|k| k.starts_with("reload-")).collect()
}

fn unchanged(root: &Root) -> bool {
    let output = root.ok(&["plan", "--json"]);
    serde_json::from_str::<Value>(&output.stdout).unwrap()["unchanged"] == true
}

#[test]
fn only_the_changed_node_restarts_and_what_applies_live_keeps_its_pid() {
    let root = Root::raw("");
    let first =
        |root: &Root| [fake("a", &[]), fake("b", &["print=old"]), fake("gone", &[]), slow(root, "still", 0, &[])];
    root.configure(&first(&root));
    root.up();
    let pids = ["a", "b", "gone", "still"].map(|n| root.pid(n));
    assert!(root.ok(&["reload"]).stdout.contains("nothing differs"));
    let new = [
        fake("a", &[]).text("memory_max", "64M").text("grace", "2s").probe_key("none", "true"),
        fake("b", &["print=new"]),
        slow(&root, "still", 0, &[]),
        fake("new", &["print=here"]).after(&["b"]),
    ];
    root.configure(&new);
    let output = root.ok(&["reload"]);
    for words in ["restarted b", "started new", "changed live a", "stopped and dropped gone"] {
        assert!(output.stdout.contains(words), "{words}\n{output}");
    }
    assert!(output.stderr.contains("b: restarts with its new settings"), "steps are told\n{output}");
    assert_eq!((root.pid("a"), root.pid("still")), (pids[0], pids[3]));
    assert_ne!(root.pid("b"), pids[1]);
    assert_eq!(root.node("a")["memory"]["cap_bytes"], 64 << 20);
    assert!(!process::alive(pids[2]));
    let status = root.status();
    let names: Vec<&str> = status["nodes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "new", "still"]);
    assert_eq!(root.node("b")["restarts"], 0, "an ordered restart is none");
    assert!(root.log("b").contains("new") && root.log("new").contains("here"));
    assert!(unchanged(&root));
    assert!(applied(&root).contains("64M"));
    assert_eq!(events(&root).first().map(String::as_str), Some("reload-done"), "the one that changed nothing");
    assert_eq!(events(&root)[1], "reload-begun");
    // `up` finds the daemon with this configuration.
    root.up();
    assert_eq!(root.pid("a"), pids[0]);
    // One that comes back has a number of its own.
    let before = root.path().join("nodes/gone/data").exists();
    assert!(before, "what is dropped keeps its directory");
    root.configure(&first(&root));
    root.ok(&["reload"]);
    assert_eq!(root.node("gone")["incarnation"], 2);
    root.down();
}

#[test]
fn what_changes_restarts_in_the_order_of_dependencies() {
    let root = Root::raw("");
    let nodes = |root: &Root, habit: &str| {
        [
            slow(root, "c", 0, &[habit]).after(&["b"]),
            slow(root, "b", 100, &[habit]).after(&["a"]),
            slow(root, "a", 100, &[habit]),
        ]
    };
    root.configure(&nodes(&root, "print=1"));
    root.up();
    fs::remove_file(root.file("trace")).unwrap();
    root.configure(&nodes(&root, "print=2"));
    root.ok(&["reload"]);
    assert_eq!(trace(&root), "stop a\nstart a\nstop b\nstart b\nstop c\nstart c\n");
}

#[test]
fn a_broken_file_leaves_everything_as_it_was() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("reload:");
    root.up();
    let (pids, plan) = ([root.pid("a"), root.pid("b")], applied(&root));
    let cases: [(&str, i32, &str, &str); 5] = [
        ("an unknown key", 3, "[command.a]\nargv = [\"/bin/true\"]\nbogus = 1\n", "bogus"),
        ("no TOML", 3, "[command.a\n", "nothing was changed"),
        ("more memory than there is", 3, "[command.a]\nargv = [\"/bin/true\"]\nmemory_max = \"1T\"\n", "do not fit"),
        ("a program that is not there", 4, "[command.a]\nargv = [\"/none/there\"]\n", "/none/there"),
        (
            "a user that is not there",
            4,
            "[command.a]\nargv = [\"/bin/true\"]\nuser = \"nobody-at-all\"\n",
            "nobody-at-all",
        ),
    ];
    for (what, code, text, words) in cases {
        root.configure_raw(text);
        let output = root.fails(code, &["reload"]);
        assert!(output.stderr.contains(words), "{what}\n{output}");
    }
    root.configure(&[
        fake("a", &["print=x"]),
        fake("b", &[]).key("ports", &format!("[\"127.0.0.1:{port}\"]")).text("dir", "/tmp"),
    ]);
    let output = root.fails(4, &["reload"]);
    assert!(output.stderr.contains(&format!("port {port} is taken by")), "{output}");
    assert_eq!([root.pid("a"), root.pid("b")], pids);
    assert_eq!(applied(&root), plan);
    for name in ["a", "b"] {
        assert_eq!(root.node(name)["state"], "ready");
    }
}

#[test]
fn a_node_that_does_not_come_back_takes_everything_back() {
    let root = Root::raw("");
    root.expect_log("reload:");
    root.expect_log("node=b");
    let nodes = |root: &Root, a: &str, b: &[&str]| {
        [
            slow(root, "a", 0, &[a]),
            slow(root, "b", 0, b).after(&["a"]),
            slow(root, "c", 0, &[a]).after(&["b"]),
            fake("old", &[]),
        ]
    };
    root.configure(&nodes(&root, "print=1", &["print=1"]));
    root.up();
    let (plan, c, old) = (applied(&root), root.pid("c"), root.pid("old"));
    fs::remove_file(root.file("trace")).unwrap();
    let mut new = nodes(&root, "print=2", &["print=2"]).to_vec();
    new[1] = fake("b", &["exit=3"]).notify().after(&["a"]);
    new.pop();
    new.push(fake("added", &[]));
    root.configure(&new);
    let output = root.fails(6, &["reload"]);
    for words in ["b did not come up with its new settings", "with their old settings again: b,", "a"] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    assert_eq!((root.pid("c"), root.pid("old")), (c, old), "they were never touched");
    for name in ["a", "b", "c", "old"] {
        assert_eq!(root.node(name)["state"], "ready", "{name}");
    }
    assert!(root.status()["nodes"].as_array().unwrap().iter().all(|n| n["name"] != "added"));
    assert_eq!(applied(&root), plan);
    assert_eq!(trace(&root), "stop a\nstart a\nstop b\nstart b\nstop a\nstart a\n", "b first, then a");
    assert_eq!(events(&root).last().map(String::as_str), Some("reload-failed"));
    // The file still has what failed: plan says so, and nothing runs with it.
    let plan = root.ok(&["plan"]).stdout;
    assert!(plan.contains("b  restart") && !plan.contains("other settings"), "{plan}");
}

#[test]
fn a_program_without_a_probe_has_to_live_on_for_a_moment() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("reload:");
    root.expect_log("node=a");
    root.up();
    root.configure(&[fake("a", &["after=200", "exit=3"])]);
    let output = root.fails(6, &["reload"]);
    assert!(output.stderr.contains("a did not come up with its new settings"), "{output}");
    root.await_state("a", "ready");
    // One that is done with its work is no failure.
    root.configure(&[fake("a", &["exit=0"]).text("restart", "on-failure")]);
    root.ok(&["reload"]);
    root.await_state("a", "down");
}

#[test]
fn what_the_disk_did_not_take_as_applied_is_written_down_by_the_next_reload() {
    let root = Root::new(&[fake("a", &["print=old"])]);
    root.expect_log("written down");
    root.expect_log("adopt");
    root.up();
    // a directory in its place: as a disk that takes nothing
    let plan = root.path().join("state/plan.toml");
    fs::rename(&plan, root.path().join("state/plan.kept")).unwrap();
    fs::create_dir_all(plan.join("in the way")).unwrap();
    root.configure(&[fake("a", &["print=new"])]);
    let failed = root.run(&["reload"]);
    assert_eq!(failed.code, Some(1), "{failed}");
    assert!(failed.stderr.contains("could not be written down as applied"), "{failed}");
    let pid = root.pid("a");
    fs::remove_dir_all(&plan).unwrap();
    fs::rename(root.path().join("state/plan.kept"), &plan).unwrap();
    assert!(!applied(&root).contains("print=new"));
    let output = root.ok(&["reload"]);
    assert!(output.stdout.contains("it is written down as applied now"), "{output}");
    assert!(applied(&root).contains("print=new"));
    assert!(!root.path().join("state/reload.toml").exists());
    assert_eq!(root.pid("a"), pid);
    root.down();
}

#[test]
fn a_second_reload_at_the_same_time_is_refused() {
    let root = Root::raw("");
    root.expect_log("reload:");
    root.configure(&[slow(&root, "a", 0, &[])]);
    root.up();
    root.configure(&[slow(&root, "a", 3000, &[])]);
    let first = root.spawn(&["reload"]);
    root.await_node("a", "is being restarted", |n| n["state"] != "ready");
    let output = root.fails(8, &["reload"]);
    assert!(output.stderr.contains("under way"), "{output}");
    assert_eq!(first.wait(VERB_LIMIT).code, Some(0));
}

#[test]
fn a_reload_cut_short_by_the_daemons_death_is_seen_and_finished_by_a_second() {
    let root = Root::raw("");
    root.expect_log("node=");
    let nodes = |root: &Root, habit: &str, b_ms: u32| {
        [
            slow(root, "a", 0, &[habit]),
            slow(root, "b", b_ms, &[habit]).after(&["a"]),
            slow(root, "c", 0, &[habit]).after(&["b"]),
        ]
    };
    root.configure(&nodes(&root, "print=1", 0));
    root.up();
    let plan = applied(&root);
    let c = root.pid("c");
    root.configure(&nodes(&root, "print=2", 2000));
    let reload = root.spawn(&["reload"]);
    root.await_node("b", "is being started", |n| n["state"] == "starting" && n["incarnation"] == 2);
    let daemon = root.daemon();
    process::kill(daemon, 9);
    until(STATE_LIMIT, "the daemon is gone", || if process::alive(daemon) { Err("alive".into()) } else { Ok(()) });
    drop(reload);
    let run = root.spawn(&["run"]);
    root.await_daemon_node("a");
    assert_eq!(applied(&root), plan, "only a reload that is done is written down");
    root.await_state("b", "ready");
    let a = root.pid("a");
    let text = root.ok(&["status"]).stdout;
    assert!(text.contains("a: ") && text.contains("runs with other settings than the applied ones"), "{text}");
    let text = root.ok(&["plan"]).stdout;
    assert!(text.contains("a reload was not finished") && text.contains("c  restart"), "{text}");
    let text = root.ok(&["events"]).stdout;
    assert!(text.contains("operation-left") && text.contains("`cdc-supervisor reload` does the rest"), "{text}");
    let output = root.ok(&["reload"]);
    assert!(output.stdout.contains("restarted c"), "{output}");
    assert_eq!(root.pid("a"), a, "it had its new settings already");
    assert_ne!(root.pid("c"), c);
    assert!(unchanged(&root));
    assert!(!root.ok(&["status"]).stdout.contains("other settings"));
    root.down();
    assert_eq!(run.wait(VERB_LIMIT).code, Some(0));
}

#[test]
fn a_node_that_an_interrupted_reload_has_added_runs_on_and_the_next_reload_decides() {
    for finish in [true, false] {
        let root = Root::raw("");
        root.expect_log("node=");
        root.expect_log("plan applied last");
        let nodes = |root: &Root, b_ms: u32, habit: &str, new: bool| {
            let mut nodes = vec![slow(root, "a", 0, &[]), slow(root, "b", b_ms, &[habit])];
            if new {
                nodes.push(slow(root, "added", 0, &[]));
                // what comes after both keeps the reload busy
                nodes[1] = slow(root, "b", b_ms, &[habit]).after(&["added"]);
            }
            nodes
        };
        root.configure(&nodes(&root, 0, "print=1", false));
        root.up();
        let plan = applied(&root);
        root.configure(&nodes(&root, 2000, "print=2", true));
        let reload = root.spawn(&["reload"]);
        root.await_node("b", "is being started", |n| n["state"] == "starting" && n["incarnation"] == 2);
        let added = root.pid("added");
        let daemon = root.daemon();
        process::kill(daemon, 9);
        until(STATE_LIMIT, "the daemon is gone", || if process::alive(daemon) { Err("alive".into()) } else { Ok(()) });
        drop(reload);
        let run = root.spawn(&["run"]);
        assert_eq!(crate::support::pid_of(&root.await_daemon_node("added")), added, "it runs on");
        assert_eq!(applied(&root), plan);
        root.await_state("b", "ready");
        if finish {
            let text = root.ok(&["plan"]).stdout;
            assert!(!text.contains("added  start"), "it is new no more\n{text}");
            root.ok(&["reload"]);
            assert_eq!((root.pid("added"), root.node("added")["state"].clone()), (added, "ready".into()));
        } else {
            root.configure(&nodes(&root, 0, "print=1", false));
            let text = root.ok(&["plan"]).stdout;
            assert!(text.contains("added  stop"), "{text}");
            let output = root.ok(&["reload"]);
            assert!(output.stdout.contains("stopped and dropped added"), "{output}");
            assert!(!process::alive(added));
        }
        assert!(unchanged(&root));
        assert!(!root.path().join("state/reload.toml").exists());
        root.down();
        assert_eq!(run.wait(VERB_LIMIT).code, Some(0));
    }
}

#[test]
fn a_file_that_was_changed_back_after_a_cut_brings_the_nodes_back() {
    let root = Root::raw("");
    root.expect_log("node=");
    let nodes =
        |root: &Root, habit: &str, ms: u32| [slow(root, "a", 0, &[habit]), slow(root, "b", ms, &[habit]).after(&["a"])];
    root.configure(&nodes(&root, "print=1", 0));
    root.up();
    root.configure(&nodes(&root, "print=2", 2000));
    let reload = root.spawn(&["reload"]);
    root.await_node("b", "is being started", |n| n["state"] == "starting" && n["incarnation"] == 2);
    process::kill(root.daemon(), 9);
    drop(reload);
    root.configure(&nodes(&root, "print=1", 0));
    root.up();
    let output = root.ok(&["reload"]);
    assert!(output.stdout.contains("restarted a, b"), "{output}");
    assert!(unchanged(&root));
}

#[test]
fn a_file_that_was_bad_at_the_daemons_start_comes_into_force_by_reload() {
    let root = Root::new(&[fake("a", &["print=1"])]);
    root.expect_log("configuration");
    root.expect_log("bogus");
    root.expect_log("plan applied last");
    root.up();
    let pid = root.pid("a");
    root.configure_raw("bogus = 1\n");
    process::kill(root.daemon(), 9);
    let run = root.spawn(&["run"]);
    assert_eq!(crate::support::pid_of(&root.await_daemon_node("a")), pid);
    root.configure(&[fake("a", &["print=2"])]);
    root.ok(&["reload"]);
    assert_ne!(root.pid("a"), pid);
    root.down();
    assert_eq!(run.wait(VERB_LIMIT).code, Some(0));
}

#[test]
fn another_file_than_the_daemons_is_refused() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("reload:");
    root.up();
    let other = root.file("other.toml");
    fs::copy(root.config(), &other).unwrap();
    let output = std::process::Command::new(crate::support::client::SUPERVISOR)
        .args(["--config", &other, "reload"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{text}");
    assert!(text.contains("was started with") && text.contains(&root.config().display().to_string()), "{text}");
}

#[test]
fn a_node_that_is_stopped_while_a_reload_restarts_it_takes_nothing_back() {
    let root = Root::raw("");
    root.configure(&[slow(&root, "a", 0, &[]), slow(&root, "b", 0, &[])]);
    root.up();
    root.configure(&[slow(&root, "a", 60_000, &[]), slow(&root, "b", 0, &["print=new"])]);
    let reload = root.spawn(&["reload"]);
    root.await_node("a", "starts anew", |n| n["incarnation"] == 2 && n["state"] == "starting");
    root.ok(&["stop", "a"]);
    let output = reload.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(root.node("a")["state"], "down");
    assert!(root.log("b").contains("new"), "the rest was done");
    assert!(unchanged(&root));
    root.down();
}

#[test]
fn a_reload_that_everything_is_stopped_under_is_no_fault_of_a_node() {
    let root = Root::raw("");
    root.expect_log("reload");
    root.configure(&[slow(&root, "a", 0, &[])]);
    root.up();
    root.configure(&[slow(&root, "a", 60_000, &[])]);
    let reload = root.spawn(&["reload"]);
    root.await_node("a", "starts anew", |n| n["incarnation"] == 2 && n["state"] == "starting");
    root.down();
    let output = reload.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(7), "{output}");
    assert!(!output.stderr.contains("did not come up"), "{output}");
}

#[test]
fn a_node_that_is_down_by_order_takes_its_settings_and_stays_down() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.up();
    root.ok(&["stop", "a"]);
    root.configure(&[fake("a", &["print=hello"]), fake("b", &[])]);
    let output = root.ok(&["reload"]);
    assert!(output.stdout.contains("changed for the next start a"), "{output}");
    assert_eq!(root.node("a")["state"], "down");
    root.ok(&["start", "a"]);
    until(STATE_LIMIT, "it has the new settings", || {
        if root.log("a").contains("hello") { Ok(()) } else { Err(root.log("a")) }
    });
}

#[test]
fn a_failed_node_is_started_with_what_mends_it() {
    let root = Root::new(&[fake("ok", &[])]);
    root.expect_log("node=a");
    root.expect_log("reload:");
    let port = free_port();
    root.configure(&[fake("ok", &[]), fake("a", &[]).text("dir", &root.file("none"))]);
    root.run(&["up", "--detach"]);
    root.await_state("a", "failed");
    root.configure(&[fake("ok", &[]), fake("a", &[&format!("listen={port}")]).tcp(port)]);
    root.ok(&["reload"]);
    assert_eq!(root.node("a")["state"], "ready");
}
