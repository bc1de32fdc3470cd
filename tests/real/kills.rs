//! kill -9 of each node: it comes back, and nothing acknowledged is lost.

use crate::{
    stack::{NODES, Stack},
    support::process,
};

#[test]
fn each_killed_node_comes_back_and_nothing_acknowledged_is_lost() {
    let stack = Stack::begun();
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    for n in 0..60 {
        stack.produce(&admin, n % 3, &format!("whole-{n}"));
    }

    // a broker: the ISR shrinks, its leaders move, the cluster goes on, it rejoins
    let before = stack.pid("broker-3");
    process::kill(before, 9);
    stack.await_cluster(&admin, "every partition has a leader that is not broker 3", |v| {
        v.broker_ids() == [1, 2] && v.partitions().all(|(_, p)| p.leader.is_some_and(|l| l != 3) && p.isr.len() == 2)
    });
    for n in 0..60 {
        stack.produce(&admin, n % 3, &format!("shrunk-{n}"));
    }
    let back = stack.await_node("broker-3", "ready again", |n| n["state"] == "ready" && n["pid"] != before);
    assert_eq!(
        (&back["restarts"], &back["incarnation"]),
        (&1.into(), &2.into()),
        "it waited for its old session: {back}"
    );
    assert_eq!(back["last_exit"]["signal"], "SIGKILL", "{back}");
    assert_eq!(back["last_exit"]["cause"], "killed-by-other", "{back}");
    stack.await_whole(&admin);

    // ZooKeeper and mysqld: nobody else restarts for it
    for name in ["zookeeper", "mysql"] {
        let before = stack.pid(name);
        process::kill(before, 9);
        let back = stack.await_node(name, "ready again", |n| n["state"] == "ready" && n["pid"] != before);
        assert_eq!(back["restarts"], 1, "{back}");
        assert_eq!(back["last_exit"]["signal"], "SIGKILL", "{back}");
    }
    stack.await_whole(&admin);
    for n in 0..60 {
        stack.produce(&admin, n % 3, &format!("after-{n}"));
    }
    let times = ["whole", "shrunk", "after"];
    let wanted: Vec<String> = times.iter().flat_map(|time| (0..60).map(move |n| format!("{time}-{n}"))).collect();
    stack.assert_all_there(&admin, &wanted);
    assert_eq!(stack.rows("orders"), 3);
    for (name, restarts) in NODES.iter().zip([1, 0, 0, 1, 1]) {
        assert_eq!(stack.node(name)["restarts"], restarts, "{name}");
    }
}
