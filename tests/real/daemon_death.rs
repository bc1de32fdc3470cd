//! kill -9 of the daemon: no node notices, and what died meanwhile is known.

use crate::{
    stack::{NODES, Stack},
    support::{STATE_LIMIT, node_of, pid_of, process, until},
};

#[test]
fn killing_the_daemon_changes_no_pid_and_the_exit_of_a_node_that_died_meanwhile_is_known() {
    let stack = Stack::begun();
    stack.up();
    let pids = stack.pids();
    let ready: Vec<_> = NODES.iter().map(|n| stack.node(n)["ready_since"].clone()).collect();

    process::kill(stack.daemon(), 9);
    stack.up();
    assert_eq!(stack.pids(), pids, "every node is the same process");
    let status = stack.status();
    for (name, ready) in NODES.iter().zip(&ready) {
        let node = node_of(&status, name);
        assert_eq!((&node["restarts"], &node["incarnation"]), (&0.into(), &1.into()), "{node}");
        assert_eq!(&node["ready_since"], ready, "it has been ready all along: {node}");
    }

    process::kill(stack.daemon(), 9);
    let mysqld = stack_pid(&pids, "mysql");
    process::kill(mysqld, 9);
    until(STATE_LIMIT, "mysqld is dead", || if process::alive(mysqld) { Err(mysqld.to_string()) } else { Ok(()) });
    stack.up();
    let node = stack.node("mysql");
    assert_eq!(node["last_exit"]["signal"], "SIGKILL", "{node}");
    assert_eq!(node["incarnation"], 2, "{node}");
    assert_eq!(node["restarts"], 1, "{node}");
    assert_ne!(pid_of(&node), mysqld);
    for name in ["zookeeper", "broker-1", "broker-2", "broker-3"] {
        assert_eq!(stack.pid(name), stack_pid(&pids, name), "{name} is the same process");
    }
    assert_eq!(stack.rows("orders"), 3);
}

fn stack_pid(pids: &[i32], name: &str) -> i32 {
    pids[NODES.iter().position(|n| *n == name).unwrap()]
}
