//! start, stop, restart, kill, completions: they return when it is done and say what they did.

use crate::support::{
    Root, STATE_LIMIT, fake,
    process::{self, alive},
    until,
    wait::stays,
};
use std::{io::Write, time::Duration};

#[test]
fn the_daemons_own_log_is_bounded_and_no_line_is_lost_when_it_is_replaced() {
    let root = Root::new(&[fake("a", &[])]);
    let log = root.path().join("state/supervisor.log");
    let full = |n: u32| root.path().join(format!("state/supervisor.log.{n}"));
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    for round in 1..=4u32 {
        // as if the daemon had run for weeks: 4 MiB is full
        let old = format!("of round {round}\n{}\n", "x".repeat(4 << 20));
        std::fs::OpenOptions::new().append(true).create(true).open(&log).unwrap().write_all(old.as_bytes()).unwrap();
        root.up();
        let first = std::fs::read_to_string(full(1)).unwrap();
        assert!(first.contains(&format!("of round {round}\n")), "the full one is kept");
        let now = std::fs::read_to_string(&log).unwrap();
        assert!(now.len() < 64 << 10 && now.contains("ready for orders"), "{now}");
        root.down();
        // Its last line comes behind its last answer.
        until(STATE_LIMIT, "the daemon writes on into the new one", || {
            let now = std::fs::read_to_string(&log).unwrap();
            if now.contains("the daemon ends") { Ok(()) } else { Err(now) }
        });
    }
    assert!(full(2).exists() && !full(3).exists() && !log.with_extension("log.next").exists());
}

#[test]
fn a_stopped_node_stays_down_until_it_is_started() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.up();
    let (a, b) = (root.pid("a"), root.pid("b"));
    root.ok(&["stop", "a"]);
    assert!(!alive(a));
    let node = root.node("a");
    assert_eq!(
        (&node["state"], &node["wanted"], &node["pid"]),
        (&"down".into(), &"down".into(), &serde_json::Value::Null)
    );
    stays(Duration::from_millis(700), "it stays down", || root.node("a")["state"] == "down");
    assert_eq!(root.pid("b"), b);
    let said = root.ok(&["start", "a"]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(text.contains('a'), "it says what it did\n{said}");
    let node = root.node("a");
    assert_eq!((&node["state"], &node["incarnation"], &node["restarts"]), (&"ready".into(), &2.into(), &0.into()));
}

/// The next daemon goes by the file, and this one may be killed as soon as it has answered.
#[test]
fn an_order_that_is_answered_is_on_record() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let wanted_up = || -> serde_json::Value {
        let text = std::fs::read_to_string(root.path().join("state/nodes/a.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["wanted_up"].clone()
    };
    for round in 0..10 {
        root.ok(&["stop", "a"]);
        assert_eq!(wanted_up(), false, "round {round}");
        root.ok(&["start", "a"]);
        assert_eq!(wanted_up(), true, "round {round}");
    }
}

#[test]
fn start_of_what_runs_and_stop_of_what_is_down_change_nothing() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let pid = root.pid("a");
    root.ok(&["start", "a"]);
    assert_eq!(root.pid("a"), pid);
    root.ok(&["stop", "a"]);
    root.ok(&["stop", "a"]);
}

#[test]
fn restart_makes_a_new_run_that_counts_as_ordered() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.up();
    let (a, b) = (root.pid("a"), root.pid("b"));
    root.ok(&["restart", "a"]);
    let node = root.node("a");
    assert_ne!(crate::support::pid_of(&node), a);
    assert_eq!((&node["state"], &node["incarnation"], &node["restarts"]), (&"ready".into(), &2.into(), &0.into()));
    assert_eq!(node["last_exit"]["cause"], "stopped");
    assert_eq!(root.pid("b"), b);
}

#[test]
fn restart_of_a_node_that_is_down_starts_it() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    root.ok(&["stop", "a"]);
    root.ok(&["restart", "a"]);
    assert_eq!(root.node("a")["state"], "ready");
}

#[test]
fn a_start_of_work_that_is_done_before_anybody_looks_has_succeeded() {
    let root = Root::new(&[fake("job", &["exit=0"]).notify().text("restart", "on-failure"), fake("b", &[])]);
    root.up();
    root.ok(&["start", "job"]);
    let job = root.node("job");
    assert_eq!((&job["state"], &job["incarnation"]), (&"down".into(), &2.into()), "{job}");
}

#[test]
fn kill_sends_exactly_one_signal() {
    let root = Root::new(&[fake("a", &["ignore=HUP", "notify=READY=1"]).notify()]);
    root.up();
    let pid = root.pid("a");
    root.ok(&["kill", "a", "--signal", "HUP"]);
    stays(Duration::from_millis(300), "it ignores SIGHUP", || alive(pid));
    root.expect_log("node=a");
    root.ok(&["kill", "a", "--signal", "SIGKILL"]);
    let node = root.await_node("a", "back", |n| n["state"] == "ready" && n["incarnation"] == 2);
    assert_eq!(node["last_exit"]["cause"], "killed-by-order");
    assert_eq!(node["last_exit"]["signal"], "SIGKILL");
}

#[test]
fn kill_of_a_node_that_does_not_run_is_refused() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    root.ok(&["stop", "a"]);
    let output = root.run(&["kill", "a", "--signal", "HUP"]);
    assert!(matches!(output.code, Some(c) if c != 0), "{output}");
    assert!(output.stderr.contains("a"), "{output}");
}

#[test]
fn down_now_does_not_wait_for_grace() {
    let root = Root::new(&[fake("a", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "1h")]);
    root.up();
    // Within the time that any verb has, which is a minute or two.
    root.ok(&["down", "--now"]);
    root.await_empty();
}

#[test]
fn a_client_that_goes_away_does_not_cancel_its_order() {
    let root = Root::new(&[fake("a", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "1s")]);
    root.up();
    let pid = root.pid("a");
    let stop = root.spawn(&["stop", "a"]);
    root.await_state("a", "stopping");
    process::kill(stop.pid(), 9);
    root.await_state("a", "down");
    assert!(!alive(pid));
}

#[test]
fn a_stop_during_a_back_off_ends_it() {
    let root = Root::new(&[fake("a", &["exit=1"]).tcp(crate::support::node::free_port())]);
    root.expect_log("node=a");
    let up = root.spawn(&["up", "--detach"]);
    crate::support::until(crate::support::STATE_LIMIT, "a pause", || {
        let output = root.run(&["status", "--json"]);
        if output.stdout.contains("\"waiting\"") { Ok(()) } else { Err(output.to_string()) }
    });
    root.ok(&["stop", "a"]);
    let node = root.node("a");
    assert_eq!(node["state"], "down");
    let restarts = node["restarts"].clone();
    stays(Duration::from_millis(700), "no start after a stop", || root.node("a")["restarts"] == restarts);
    let _ = up.try_wait_for(Duration::from_secs(60));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let root = Root::raw("");
    for shell in ["bash", "zsh", "fish"] {
        let output = root.ok(&["completions", shell]);
        assert!(output.stdout.contains("cdc-supervisor") && output.stdout.contains("restart"), "{shell}");
    }
}

#[test]
fn help_and_version_work_anywhere() {
    let root = Root::raw("");
    let help = root.ok(&["--help"]);
    for verb in ["up", "down", "status", "logs", "start", "stop", "restart", "kill", "fetch", "completions"] {
        assert!(help.stdout.contains(verb), "{verb} is missing\n{help}");
    }
    assert!(root.ok(&["--version"]).stdout.contains(env!("CARGO_PKG_VERSION")));
    let help = root.ok(&["status", "--help"]);
    assert!(help.stdout.contains("--json"), "{help}");
}
