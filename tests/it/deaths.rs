//! kill -9 of a node and of its shim, with the daemon alive.

use crate::support::{
    Root, STATE_LIMIT, fake,
    node::free_port,
    process::{self, alive},
    until,
};

#[test]
fn a_killed_node_is_started_again_and_the_death_is_on_record() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("node=a");
    root.up();
    let (pid, daemon) = (root.pid("a"), root.daemon());
    process::kill(pid, 9);
    let node = root.await_node("a", "ready again", |n| n["state"] == "ready" && n["incarnation"] == 2);
    assert_ne!(crate::support::pid_of(&node), pid);
    assert_eq!(node["restarts"], 1);
    assert_eq!(node["last_exit"]["signal"], "SIGKILL");
    assert_eq!(node["last_exit"]["cause"], "killed-by-other");
    assert_eq!(root.daemon(), daemon);
}

#[test]
fn what_a_node_outlived_long_ago_does_not_explain_its_death_and_what_it_said_last_does() {
    let root = Root::raw("");
    let go = root.file("go");
    let full = "dd: writing 'x': No space left on device";
    let script = |end: &str| {
        format!(
            "echo \"2026-01-01T10:00:00.000Z {full}\"; echo '2026-01-01T10:00:05.000Z INFO it went on'; \
             while [ ! -e {go} ]; do sleep 0.02; done; rm {go}; {end}exit 1"
        )
    };
    // whoever says it as it ends has failed, with a time or without one; the others are started again, one that says what only a start
    // can mean among them
    let timed = format!("echo \"$(date -u +%Y-%m-%dT%H:%M:%S.000Z) {full}\"; ");
    let untimed = format!("echo \"{full}\"; ");
    let of_a_start = "echo 'java.net.BindException: Address already in use'; ";
    for (end, state) in [("", "ready"), (of_a_start, "ready"), (timed.as_str(), "failed"), (untimed.as_str(), "failed")]
    {
        let node = crate::support::Node::program("a", &["/bin/sh", "-c", &script(end)]).text("healthy_after", "1ms");
        root.configure(&[node.key("env", "{ PATH = \"/usr/bin:/bin\" }")]);
        root.expect_log("node=a");
        root.up();
        let incarnation = root.node("a")["incarnation"].as_u64();
        std::fs::write(&go, "").unwrap();
        root.await_node("a", state, |n| {
            n["state"] == state && (state == "failed" || n["incarnation"].as_u64() > incarnation)
        });
        root.down();
    }
}

#[test]
fn a_node_whose_shim_is_killed_is_replaced_and_never_runs_twice() {
    let root = Root::raw("");
    let (trace, port) = (root.file("trace"), free_port());
    // A second copy beside the first could not bind the port and would say so in its log.
    let habits = [format!("trace={trace}:a"), format!("listen={port}"), "tick=20".to_owned()];
    let habits: Vec<&str> = habits.iter().map(String::as_str).collect();
    root.configure(&[fake("a", &habits).tcp(port)]);
    root.expect_log("shim lost");
    root.up();
    let (pid, shim) = (root.pid("a"), root.shim("a"));
    process::kill(shim, 9);
    let node = root.await_node("a", "replaced", |n| n["state"] == "ready" && n["incarnation"] == 2);
    assert!(!alive(pid));
    assert_eq!(node["last_exit"]["cause"], "shim-lost");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "start a\nstop a\nstart a\n", "asked, ended, started anew");
    assert!(!root.log("a").contains("cannot bind"), "a second copy ran beside the first:\n{}", root.log("a"));
}

#[test]
fn a_node_whose_shim_is_killed_is_not_frozen_on_its_output() {
    let root = Root::raw("");
    let file = root.file("written");
    // More than a pipe holds, written after the shim is gone: it gets through only when somebody reads. And it ignores the
    // stop, so that it is alive all this time.
    let go = root.file("go");
    let script = format!(
        "trap '' TERM; while [ ! -e {go} ]; do sleep 0.02; done; head -c 1000000 /dev/zero | tr '\\0' x; echo; touch {file}; \
         while :; do sleep 1; done"
    );
    let node = crate::support::Node::program("a", &["/bin/sh", "-c", &script]).text("grace", "20s");
    root.configure(&[node.key("env", "{ PATH = \"/usr/bin:/bin\" }")]);
    root.expect_log("shim lost");
    root.up();
    let pid = root.pid("a");
    process::kill(root.shim("a"), 9);
    std::fs::write(&go, "").unwrap();
    until(std::time::Duration::from_secs(15), "a megabyte gets through", || {
        if std::path::Path::new(&file).exists() { Ok(()) } else { Err(format!("alive: {}", alive(pid))) }
    });
    root.ok(&["down", "--now"]);
}

#[test]
fn shims_killed_again_and_again_leave_one_copy() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("shim lost");
    root.up();
    for round in 2..=4u64 {
        process::kill(root.shim("a"), 9);
        root.await_node("a", "replaced", |n| n["state"] == "ready" && n["incarnation"].as_u64() >= Some(round));
    }
    assert_eq!(root.node("b")["incarnation"], 1, "its neighbour noticed nothing");
    until(STATE_LIMIT, "daemon, two shims, two nodes", || {
        let all = root.processes();
        if all.len() == 5 { Ok(()) } else { Err(process::describe(&all)) }
    });
}

#[test]
fn node_and_shim_killed_together_are_replaced() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("shim lost");
    root.expect_log("node=a");
    root.up();
    let (pid, shim) = (root.pid("a"), root.shim("a"));
    process::kill(shim, 9);
    process::kill(pid, 9);
    root.await_node("a", "replaced", |n| n["state"] == "ready" && n["incarnation"].as_u64() >= Some(2));
    assert!(!alive(pid) && !alive(shim));
}
