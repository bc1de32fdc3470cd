//! kill -9 of the daemon: no node notices, and the next daemon knows what happened meanwhile.
//!
//! Past 500 lines: each test is another moment of the same death, and they share how it comes and what is planted.

use crate::support::{
    Client, Root, STATE_LIMIT, VERB_LIMIT, fake,
    node::free_port,
    process::{self, alive},
    until,
    wait::stays,
};
use std::time::Duration;

/// Kills the daemon and waits until it is gone.
fn kill_daemon(root: &Root) {
    let daemon = root.daemon();
    process::kill(daemon, 9);
    crate::support::until(crate::support::STATE_LIMIT, "the daemon is gone", || {
        if alive(daemon) { Err("alive".into()) } else { Ok(()) }
    });
}

#[test]
fn killing_the_daemon_changes_no_pid_and_the_next_one_adopts_everything() {
    let port = free_port();
    let root = Root::new(&[fake("a", &[&format!("listen={port}")]).tcp(port), fake("b", &["notify=READY=1"]).notify()]);
    root.expect_log("adopt");
    root.expect_log("node=a");
    root.up();
    process::kill(root.pid("a"), 9);
    root.await_node("a", "ready again", |n| n["state"] == "ready" && n["restarts"] == 1);
    let before = root.status();
    let daemon = root.daemon();
    kill_daemon(&root);
    for name in ["a", "b"] {
        assert!(alive(crate::support::pid_of(&crate::support::node_of(&before, name))), "{name} lives on");
    }
    root.up();
    assert_ne!(root.daemon(), daemon);
    let after = root.status();
    for name in ["a", "b"] {
        let (was, is) = (crate::support::node_of(&before, name), crate::support::node_of(&after, name));
        for key in ["pid", "incarnation", "restarts", "last_exit", "wanted", "state", "ready_since"] {
            assert_eq!(is[key], was[key], "{name}: {key}");
        }
    }
}

#[test]
fn a_node_that_died_while_no_daemon_ran_is_known_by_its_exit_and_started_again() {
    let root = Root::new(&[fake("a", &["on-term=0:7", "notify=READY=1"]).notify(), fake("b", &[])]);
    root.expect_log("adopt");
    root.expect_log("node=a");
    root.up();
    let (a, b) = (root.pid("a"), root.pid("b"));
    kill_daemon(&root);
    process::kill(a, 15);
    crate::support::until(
        crate::support::STATE_LIMIT,
        "a is gone",
        || if alive(a) { Err(String::new()) } else { Ok(()) },
    );
    root.up();
    let node = root.await_node("a", "started again", |n| n["state"] == "ready" && n["incarnation"] == 2);
    assert_eq!(node["last_exit"]["code"], 7, "the shim wrote it down");
    assert_eq!(node["restarts"], 1);
    assert_eq!(root.pid("b"), b);
}

#[test]
fn a_node_that_was_stopped_by_order_stays_down_under_the_next_daemon() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("adopt");
    root.up();
    root.ok(&["stop", "b"]);
    let a = root.pid("a");
    kill_daemon(&root);
    // `up` would want everything up again; the unit's `run` goes on where the last daemon was.
    let run = root.spawn(&["run"]);
    let b = root.await_daemon_node("b");
    assert_eq!((&b["state"], &b["wanted"]), (&"down".into(), &"down".into()));
    assert_eq!(root.pid("a"), a);
    root.down();
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn a_node_whose_record_is_torn_counts_as_wanted_and_that_is_told() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("adopt");
    root.expect_log("node=b");
    root.up();
    let (a, b) = (root.pid("a"), root.pid("b"));
    kill_daemon(&root);
    process::kill(b, 9);
    let file = root.path().join("state/nodes/b.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let run = root.spawn(&["run"]);
    root.await_daemon_node("b");
    root.await_node("b", "up again", |n| n["state"] == "ready" && n["wanted"] == "up");
    assert_eq!(root.pid("a"), a);
    let events = root.ok(&["events", "--json"]).stdout;
    assert!(events.contains("whether it was stopped by an order is lost with it"), "{events}");
    root.down();
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn what_a_daemon_stopped_that_died_before_it_had_stopped_all_is_started_by_the_next_one() {
    let root = Root::new(&[fake("slow", &["ignore=TERM"]).text("grace", "5m"), fake("quick", &[])]);
    root.expect_log("adopt");
    root.expect_log("node=");
    root.up();
    process::kill(root.daemon(), 15);
    for (name, state) in [("quick", "down"), ("slow", "stopping")] {
        root.await_node(name, state, |n| n["state"] == state);
    }
    let slow = root.pid("slow");
    kill_daemon(&root);
    let run = root.spawn(&["run"]);
    root.await_daemon_node("quick");
    root.await_node("quick", "started", |n| n["state"] == "ready" && n["incarnation"] == 2);
    // its stop was under way, and the grace is the shim's
    process::kill(slow, 9);
    root.await_node("slow", "started anew", |n| n["state"] == "ready" && n["incarnation"] == 2);
    root.ok(&["down", "--now"]);
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn a_node_whose_start_was_not_written_down_any_more_runs_on_under_the_next_daemon() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("adopt");
    root.up();
    root.ok(&["stop", "a"]);
    let file = root.path().join("state/nodes/a.json");
    let stopped = std::fs::read(&file).unwrap();
    root.ok(&["start", "a"]);
    let a = root.pid("a");
    kill_daemon(&root);
    // As if the daemon had died before it wrote the start.
    std::fs::write(&file, stopped).unwrap();
    let run = root.spawn(&["run"]);
    root.await_daemon_node("a");
    // What its record does not tell is asked anew: until its first probe has answered it counts as starting.
    let node = root.await_state("a", "ready");
    assert_eq!((&node["wanted"], crate::support::pid_of(&node)), (&"up".into(), a));
    root.down();
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn what_had_failed_stays_failed_under_the_next_daemon_with_its_reason() {
    let root = Root::new(&[fake("a", &[]).text("dir", "/none/there"), fake("b", &[])]);
    root.expect_log("node=a");
    root.run(&["up", "--detach"]);
    let before = root.await_state("a", "failed");
    // `up` ends with the first that fails.
    let b = crate::support::pid_of(&root.await_state("b", "ready"));
    let daemon = root.daemon();
    kill_daemon(&root);
    let run = root.spawn(&["run"]);
    let after = root.await_daemon_node("a");
    for key in ["state", "wanted", "since", "detail", "failure", "incarnation", "restarts", "last_exit"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_ne!(root.daemon(), daemon);
    root.ok(&["upgrade-self"]);
    let upgraded = root.node("a");
    for key in ["state", "since", "failure", "incarnation", "restarts"] {
        assert_eq!(upgraded[key], before[key], "{key}");
    }
    assert_eq!(root.pid("b"), b);
    let events = root.ok(&["events", "--json"]).stdout;
    let starts = events.lines().filter(|l| l.contains("\"preparing\"") && l.contains("\"a\"")).count();
    assert_eq!(starts, 1, "{events}");
    assert!(events.contains("as under the last daemon: "), "{events}");
    // Only an order leaves that state.
    root.run(&["start", "a"]);
    root.await_node("a", "failed anew", |n| n["state"] == "failed" && n["since"] != before["since"]);
    root.down();
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn what_an_earlier_run_said_does_not_explain_the_end_of_one_that_was_adopted() {
    let root = Root::raw("");
    let (second, go) = (root.file("second"), root.file("go"));
    let script = format!(
        "[ -e {second} ] || {{ touch {second}; echo 'java.net.BindException: Address already in use'; exit 1; }}; \
         while [ ! -e {go} ]; do sleep 0.02; done; exit 1"
    );
    let node =
        crate::support::Node::program("a", &["/bin/sh", "-c", &script]).key("env", "{ PATH = \"/usr/bin:/bin\" }");
    root.configure(&[node.exec(&["/bin/false"]), fake("b", &[])]);
    root.expect_log("node=a");
    root.run(&["up", "--detach"]);
    assert_eq!(root.await_state("a", "failed")["last_exit"]["cause"], "port-taken");
    let start = root.spawn(&["start", "a"]);
    root.await_node("a", "its second run", |n| n["incarnation"] == 2 && n["pid"].is_i64());
    kill_daemon(&root);
    start.wait(VERB_LIMIT);
    let run = root.spawn(&["run"]);
    root.await_daemon_node("a");
    std::fs::write(&go, "").unwrap();
    let after =
        root.await_node("a", "the end of that", |n| n["last_exit"]["incarnation"] == 2 || n["incarnation"] == 3);
    assert_eq!(after["last_exit"]["cause"], "crashed", "{after}");
    root.down();
    assert_eq!(run.wait(VERB_LIMIT).code, Some(0));
}

#[test]
fn a_plan_that_was_cut_short_stops_no_node() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("it was cut short");
    root.up();
    let plan = root.path().join("state/plan.toml");
    let whole = std::fs::read(&plan).unwrap();
    let pids = [root.pid("a"), root.pid("b")];
    for cut in [0, 40, whole.len() / 2, whole.len() - 3] {
        kill_daemon(&root);
        std::fs::write(&plan, &whole[..cut]).unwrap();
        root.up();
        assert_eq!([root.pid("a"), root.pid("b")], pids, "cut at {cut}");
        assert_eq!(std::fs::read(&plan).unwrap(), whole, "it is whole again");
    }
}

#[test]
fn down_works_without_a_daemon() {
    let root = Root::raw("");
    let trace = root.file("trace");
    root.configure(&[
        fake("a", &[&format!("trace={trace}:a"), "notify=READY=1"]).notify(),
        fake("b", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "1s"),
    ]);
    root.up();
    let pids = [root.pid("a"), root.pid("b"), root.shim("a"), root.shim("b")];
    kill_daemon(&root);
    root.down();
    assert!(!pids.iter().any(|p| alive(*p)));
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "start a\nstop a\n", "it was asked, not killed");
    root.await_empty();
}

#[test]
fn a_stop_without_a_daemon_asks_its_service_manager_for_the_graces() {
    let root = Root::raw("");
    root.configure(&[
        fake("a", &["notify=READY=1"]).notify().text("grace", "7m"),
        fake("b", &["notify=READY=1"]).notify().text("grace", "9m").after(&["a"]),
    ]);
    root.up();
    kill_daemon(&root);
    let manager = root.path().join("manager");
    let heard = std::os::unix::net::UnixDatagram::bind(&manager).unwrap();
    let address = format!("NOTIFY_SOCKET={}", manager.display());
    let output = Client::start(&root, &["env", &address], &["down"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    let mut message = [0; 256];
    // b first, then what it needs; each with what a kill may take
    for minutes in [9, 7] {
        let length = heard.recv(&mut message).unwrap();
        let wanted = format!("EXTEND_TIMEOUT_USEC={}", (minutes * 60 + 30) * 1_000_000_u64);
        assert_eq!(String::from_utf8_lossy(&message[..length]), wanted);
    }
}

#[test]
fn everything_killed_at_once_comes_back_once() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("node=a");
    root.expect_log("node=b");
    root.up();
    root.kill_all();
    root.await_empty();
    root.up();
    for name in ["a", "b"] {
        let node = root.node(name);
        assert_eq!(node["state"], "ready");
        assert_eq!(node["incarnation"], 2);
        assert_eq!(node["last_exit"]["cause"], "unknown", "nobody saw how it ended");
    }
}

#[test]
fn a_stop_is_done_when_what_had_lost_its_shim_is_gone_too() {
    for verb in [&["stop", "a"][..], &["down"][..]] {
        let root = Root::raw("");
        let may_end = root.file("may-end");
        root.configure(&[
            fake("a", &[&format!("lingers={may_end}"), "notify=READY=1"]).notify().text("grace", "10m"),
            fake("b", &[]),
        ]);
        root.expect_log("node=a");
        root.up();
        let (pid, shim, daemon) = (root.pid("a"), root.shim("a"), root.daemon());
        process::kill(daemon, 9);
        process::kill(shim, 9);
        crate::support::until(crate::support::STATE_LIMIT, "daemon and shim are gone", || {
            if alive(daemon) || alive(shim) { Err("alive".into()) } else { Ok(()) }
        });
        let up = root.spawn(&["up", "--detach"]);
        root.await_daemon_node("b");
        let mut stop = root.spawn(verb);
        stays(Duration::from_millis(500), "it is asked, and waited for", || stop.is_running() && alive(pid));
        std::fs::write(&may_end, "").unwrap();
        let stopped = stop.wait(crate::support::VERB_LIMIT);
        assert_eq!(stopped.code, Some(0), "{stopped}");
        assert!(!alive(pid), "{verb:?} said it was done");
        drop(up.wait(crate::support::VERB_LIMIT));
        let _ = root.run(&["down"]);
        root.await_empty();
    }
}

#[test]
fn a_node_that_outlives_daemon_and_shim_is_removed_before_its_successor_starts() {
    let root = Root::raw("");
    let trace = root.file("trace");
    root.configure(&[fake("a", &[&format!("trace={trace}:a")])]);
    root.expect_log("node=a");
    root.up();
    let (pid, shim, daemon) = (root.pid("a"), root.shim("a"), root.daemon());
    process::kill(daemon, 9);
    process::kill(shim, 9);
    crate::support::until(crate::support::STATE_LIMIT, "daemon and shim are gone", || {
        if alive(daemon) || alive(shim) { Err("alive".into()) } else { Ok(()) }
    });
    assert!(alive(pid));
    root.up();
    assert!(!alive(pid), "two copies of one node");
    let node = root.node("a");
    assert_eq!(node["state"], "ready");
    assert_eq!(node["incarnation"], 2);
    assert_eq!(node["last_exit"]["cause"], "unknown");
}

#[test]
fn the_daemon_killed_while_a_node_is_stopping_leaves_the_stop_to_the_shim() {
    let root = Root::new(&[fake("a", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "2s")]);
    root.expect_log("node=a");
    root.up();
    let pid = root.pid("a");
    let stop = root.spawn(&["stop", "a"]);
    root.await_state("a", "stopping");
    kill_daemon(&root);
    drop(stop);
    crate::support::until(crate::support::STATE_LIMIT, "the shim kills it after its grace", || {
        if alive(pid) { Err("alive".into()) } else { Ok(()) }
    });
}

#[test]
fn a_row_of_deaths_goes_on_under_the_next_daemon() {
    let root = Root::new(&[fake("a", &["exit=3"])]);
    root.expect_log("node=a");
    let deaths = || {
        let text = std::fs::read_to_string(root.path().join("state/nodes/a.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        (state["deaths_in_a_row"].as_u64().unwrap_or(0), state["restarts"].as_u64().unwrap_or(0))
    };
    let run = root.spawn(&["run"]);
    crate::support::until(crate::support::STATE_LIMIT, "four deaths in a row", || {
        if deaths().0 >= 4 { Ok(()) } else { Err(format!("{:?}", deaths())) }
    });
    kill_daemon(&root);
    drop(run);
    let (before, restarts) = deaths();
    let run = root.spawn(&["run"]);
    crate::support::until(crate::support::STATE_LIMIT, "another death and restart", || {
        let (now, again) = deaths();
        if now > before && again > restarts { Ok(()) } else { Err(format!("{now} {again}")) }
    });
    root.down();
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn a_restart_that_a_daemon_counted_and_did_not_live_to_begin_is_one_restart() {
    let root = Root::new(&[]);
    let open = root.file("open");
    root.configure(&[fake("a", &[]).exec(&["/usr/bin/test", "-e", &open]), fake("b", &[]).after(&["a"])]);
    root.expect_log("node=");
    std::fs::write(&open, "").unwrap();
    root.up();
    std::fs::remove_file(&open).unwrap();
    let b = root.pid("b");
    process::kill(root.pid("a"), 9);
    // Its own death is seen first, or the other one is started at once.
    root.await_node("a", "not ready", |n| n["state"] != "ready");
    process::kill(b, 9);
    root.await_node("b", "waits for a", |n| n["state"] == "waiting" && n["restarts"] == 1);
    crate::support::until(crate::support::STATE_LIMIT, "that is written", || {
        let text = std::fs::read_to_string(root.path().join("state/nodes/b.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        if state["restarts"] == 1 { Ok(()) } else { Err(text) }
    });
    kill_daemon(&root);
    let run = root.spawn(&["run"]);
    std::fs::write(&open, "").unwrap();
    root.await_daemon_node("b");
    let b = root.await_node("b", "back", |n| n["state"] == "ready");
    assert_eq!((&b["incarnation"], &b["restarts"]), (&2.into(), &1.into()), "{b}");
    root.down();
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn shim_and_daemon_killed_together_cost_at_most_a_pipe_of_output_and_the_log_says_so() {
    let root = Root::new(&[fake("a", &["tick=1"]), fake("quiet", &[])]);
    root.expect_log("node=");
    root.up();
    let (pid, shim, daemon) = (root.pid("a"), root.shim("a"), root.daemon());
    let lines = |root: &Root| root.log("a").lines().count();
    crate::support::until(crate::support::STATE_LIMIT, "it writes", || {
        if lines(&root) > 20 { Ok(()) } else { Err(root.log("a")) }
    });
    // Nobody reads from here on: what the node writes now is in the pipe, and goes with those who hold its other end.
    for reader in [daemon, shim] {
        process::kill(reader, libc_stop());
    }
    let before = lines(&root);
    let cpu = || std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = |io: &str| io.lines().find_map(|l| l.strip_prefix("wchar: ")?.parse::<u64>().ok()).unwrap_or(0);
    let at = written(&cpu());
    crate::support::until(crate::support::STATE_LIMIT, "it has written what nobody read", || {
        if written(&cpu()) > at + 500 { Ok(()) } else { Err(cpu()) }
    });
    for one in [daemon, shim] {
        process::kill(one, 9);
    }
    crate::support::until(crate::support::STATE_LIMIT, "daemon and shim are gone", || {
        if alive(daemon) || alive(shim) { Err("alive".into()) } else { Ok(()) }
    });
    root.up();
    let log = crate::support::until(crate::support::STATE_LIMIT, "the next run writes", || {
        let log = root.log("a");
        let marked = log.lines().position(|l| l.starts_with("[cdc-supervisor] shim and daemon ended together"));
        match marked {
            Some(at) if log.lines().count() > at + 2 => Ok(log),
            _ => Err(log),
        }
    });
    let marks: Vec<&str> = log.lines().filter(|l| l.starts_with("[cdc-supervisor]")).collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert!(
        marks[0].ends_with("start 1 ended: what it wrote last may be missing here, at most 131,072 bytes"),
        "{marks:?}"
    );
    let (old, new) = log.split_once(marks[0]).unwrap();
    assert!(old.lines().count() >= before, "what was written stays");
    assert_eq!(new.trim_start().lines().next(), Some("tick 0"), "the next run begins behind the mark");
    let quiet = root.log("quiet");
    assert!(quiet.is_empty(), "its shim lives on, and it lost nothing: {quiet}");
}

/// SIGSTOP (signal(7)).
fn libc_stop() -> i32 {
    19
}

#[test]
fn a_daemon_that_requires_caps_starts_nothing_without_them_and_takes_live_nodes_over_all_the_same() {
    if let Ok(group) = cdc_supervisor::sys::cgroup::look() {
        let reason = format!("caps can be set here: {} was delegated", group.display());
        return crate::support::skip("a_daemon_that_requires_caps_starts_nothing_without_them", &reason);
    }
    let root = Root::new(&[fake("calm", &["tick=1000"])]);
    let output = root.fails(4, &["run", "--require-caps"]);
    for words in ["memory caps cannot be set, and the unit requires them: ", "; "] {
        assert!(output.stderr.contains(words) || output.stdout.contains(words), "{words:?} is missing\n{output}");
    }
    assert!(!root.path().join("state/plan.toml").exists(), "nothing was begun");

    root.up();
    let pid = root.pid("calm");
    kill_daemon(&root);
    root.expect_log("memory caps cannot be set");
    let run = root.spawn(&["run", "--require-caps"]);
    root.await_daemon_node("calm");
    assert_eq!(root.pid("calm"), pid, "live nodes are not left alone for it");
    root.down();
    assert_eq!(run.wait(crate::support::VERB_LIMIT).code, Some(0));
}

#[test]
fn an_operation_that_the_last_daemon_did_not_live_to_end_is_told_once() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("was cut short with its daemon");
    root.expect_log("its record cannot be read");
    let record = root.path().join("state/operation.json");
    for (text, words) in [
        (
            r#"{"schema":1,"kind":"roll","detail":"broker-2","begun_at":"2026-01-02T03:04:05.006Z","daemon_pid":7,"step":"broker-2 restarts"}"#,
            "roll broker-2, begun at 2026-01-02T03:04:05.006Z, was cut short with its daemon (pid 7): broker-2 restarts",
        ),
        ("{\"schema\":1,", "an operation was cut short, and its record cannot be read"),
    ] {
        root.up();
        kill_daemon(&root);
        std::fs::write(&record, text).unwrap();
        for round in 1..=2 {
            root.up();
            let told = root.ok(&["events", "--json"]).stdout.matches(words).count();
            assert_eq!(told, 1, "{words} (daemon {round})");
            assert!(!record.exists());
            kill_daemon(&root);
        }
    }
    root.up();
}

#[test]
fn what_a_roll_had_not_come_to_is_tried_by_one_daemon_and_told_by_all_until_those_nodes_were_started_anew() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]), fake("c", &[])]);
    // No brokers, so nothing comes of a try; what comes of one with brokers is in `tests/real`.
    root.expect_log("b is no broker");
    root.expect_log("c is no broker");
    root.up();
    let left = root.path().join("state/unrolled.json");
    let run = |name: &str| root.node(name)["incarnation"].as_u64().unwrap();
    let text = format!(
        r#"{{"schema":1,"operation":"roll a, b, c","begun_at":"2026-01-02T03:04:05.006Z","step":"a: restarts","runs":{{"a":{},"b":{},"c":{}}}}}"#,
        run("a") + 1,
        run("b"),
        run("c")
    );
    kill_daemon(&root);
    std::fs::write(&left, text).unwrap();
    for daemon in 0..2 {
        let up = root.up().stdout;
        assert!(up.contains("was cut short with its daemon (a: restarts); not restarted: b, c; "), "{up}");
        let told = root.status()["cut_short"].clone();
        assert_eq!(told["not_restarted"], serde_json::json!(["b", "c"]), "daemon {daemon}: {told}");
        assert_eq!((&told["operation"], &told["step"]), (&"roll a, b, c".into(), &"a: restarts".into()));
        let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["begun_at", "not_restarted", "operation", "resume", "resume_detail", "step"]);
        is_tried_once(&root);
        let text = root.ok(&["status"]).stdout;
        let words = "not restarted: b, c; `cdc-supervisor roll b c` does the rest; it was tried once: b is no broker";
        assert!(text.contains(words), "{text}");
        assert!(!root.path().join("state/operation.json").exists());
        stays(Duration::from_secs(3), "it is not tried again", || root.status()["cut_short"]["resume"] == "left");
        is_tried_once(&root);
        kill_daemon(&root);
    }
    root.up();
    root.ok(&["upgrade-self"]);
    is_tried_once(&root);
    root.ok(&["restart", "b"]);
    assert_eq!(root.status()["cut_short"]["not_restarted"], serde_json::json!(["c"]));
    // whoever starts it anew
    process::kill(root.pid("c"), 9);
    root.await_node("c", "started again", |n| n["state"] == "ready" && n["restarts"] == 1);
    assert!(root.status()["cut_short"].is_null());
    kill_daemon(&root);
    root.up();
    assert!(!left.exists() && root.status()["cut_short"].is_null());
}

/// One of the daemons so far has tried, and it is left.
fn is_tried_once(root: &Root) {
    until(STATE_LIMIT, "it is tried and left", || match root.status()["cut_short"]["resume"].as_str() {
        Some("left") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let events = root.ok(&["events", "--json", "-n", "1000"]).stdout;
    for words in [
        "roll b, c begins: what is left of roll a, b, c, begun at 2026-01-02T03:04:05.006Z, which was cut short with its daemon",
        "roll b, c: b is no broker; no daemon tries it again; `cdc-supervisor restart b` restarts it",
    ] {
        assert_eq!(events.matches(words).count(), 1, "{words}\n{events}");
    }
}

#[test]
fn a_roll_in_which_two_daemons_have_died_is_told_and_not_gone_on_with() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let run = root.node("a")["incarnation"].as_u64().unwrap();
    kill_daemon(&root);
    let text = format!(
        r#"{{"schema":1,"operation":"roll","begun_at":"2026-01-02T03:04:05.006Z","step":"s","runs":{{"a":{run}}},"deaths":2}}"#
    );
    std::fs::write(root.path().join("state/unrolled.json"), text).unwrap();
    root.up();
    stays(Duration::from_secs(4), "it is left", || root.status()["cut_short"]["resume"] == "left");
    let text = root.ok(&["status"]).stdout;
    let words = "`cdc-supervisor roll a` does the rest; 2 daemons have died in it, so no daemon goes on with it";
    assert!(text.contains(words), "{text}");
    assert!(!root.ok(&["events", "--json"]).stdout.contains("operation-begun"));
}
