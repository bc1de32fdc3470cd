//! What the owner verified by hand after a start, and after stopping and starting everything.

use crate::{
    stack::{NODES, Stack},
    support::process,
};
use cdc_supervisor::clients::mysql::Grant;
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, time::Duration};

const CALL: Duration = Duration::from_secs(20);

#[test]
fn one_up_brings_the_stack_to_proven_and_a_stop_and_start_keeps_rows_and_topics() {
    let stack = Stack::new();
    let up = stack.up();
    for line in ["3 brokers, every replica in sync", "binlog ROW/FULL, GTID on", "3 rows in trading.orders"] {
        assert!(up.stderr.contains(line), "the proof says {line:?}\n{up}");
    }
    for word in ["kafka  localhost:9092,localhost:9093,localhost:9094", "mysql://debezium@127.0.0.1:3306/trading"] {
        assert!(up.stdout.contains(word), "the summary says {word:?}\n{up}");
    }
    let status = stack.status();
    for name in NODES {
        let node = stack.node(name);
        assert_eq!(node["state"], "ready", "{node}");
        assert!(node["memory"]["current_bytes"].as_u64() < node["memory"]["cap_bytes"].as_u64(), "{node}");
        eprintln!(
            "{name}: {} MB of {} MB",
            node["memory"]["current_bytes"].as_u64().unwrap() >> 20,
            node["memory"]["cap_bytes"].as_u64().unwrap() >> 20
        );
    }
    assert_eq!(status["nodes"].as_array().unwrap().len(), NODES.len());
    topic_is_as_the_mission_wants(&stack);
    mysql_is_as_the_mission_wants(&stack);
    secrets_are_for_nobody_else(&stack);
    let admin = stack.admin();
    for n in 0..30 {
        stack.produce(&admin, n % 3, &format!("before-{n}"));
    }
    drop(admin);
    stack.down();
    assert!(process::of_root(stack.home()).is_empty());

    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    let wanted: Vec<String> = (0..30).map(|n| format!("before-{n}")).collect();
    stack.assert_all_there(&admin, &wanted);
    assert_eq!(stack.rows("orders"), 3);
    for name in NODES {
        let node = stack.node(name);
        assert_eq!((&node["restarts"], &node["incarnation"]), (&0.into(), &2.into()), "{node}");
        assert_eq!(node["last_exit"]["cause"], "stopped", "{node}");
    }
    stack.assert_logs_know_nothing_fatal();
}

fn topic_is_as_the_mission_wants(stack: &Stack) {
    let admin = stack.admin();
    let view = stack.await_whole(&admin);
    let topic = view.topic("test-phase1").expect("test-phase1 is there");
    assert_eq!(topic.partitions.len(), 3);
    let leaders: BTreeSet<u32> = topic.partitions.iter().filter_map(|p| p.leader).collect();
    assert_eq!(leaders, BTreeSet::from([1, 2, 3]), "leaders are spread");
    for partition in &topic.partitions {
        assert_eq!(partition.replicas.len(), 3);
        assert_eq!(BTreeSet::from_iter(&partition.isr), BTreeSet::from_iter(&partition.replicas));
    }
    let config = stack.call(admin.topic_config("test-phase1", CALL)).unwrap();
    assert_eq!(config["min.insync.replicas"], "2");
    assert_eq!(config["retention.ms"], (72 * 3_600_000).to_string());
    assert_eq!(config["retention.bytes"], (1u64 << 30).to_string());
}

fn mysql_is_as_the_mission_wants(stack: &Stack) {
    let mut mysql = stack.mysql();
    let wanted = [
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("binlog_row_image", "FULL"),
        ("gtid_mode", "ON"),
        ("enforce_gtid_consistency", "ON"),
        ("binlog_expire_logs_seconds", "259200"),
        ("innodb_buffer_pool_size", "536870912"),
        ("max_connections", "100"),
        ("sync_binlog", "1"),
        ("innodb_flush_log_at_trx_commit", "1"),
        ("skip_networking", "OFF"),
        ("bind_address", "127.0.0.1"),
    ];
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let found = stack.call(mysql.variables(&names)).unwrap();
    for (name, value) in wanted {
        let found = match found[name].as_str() {
            "1" if value == "ON" => "ON",
            "0" if value == "OFF" => "OFF",
            other => other,
        };
        assert_eq!(found, value, "{name}");
    }
    let grants = stack.call(mysql.grants("debezium", "%")).unwrap();
    let global: Vec<&Grant> = grants.iter().filter(|g| g.on.as_deref() == Some("*.*")).collect();
    assert_eq!(grants.len(), 1, "{grants:?}");
    let five = ["SELECT", "RELOAD", "SHOW DATABASES", "REPLICATION SLAVE", "REPLICATION CLIENT"];
    assert_eq!(global[0].privileges, five.iter().map(|p| (*p).to_owned()).collect(), "exactly the five");
    assert!(!global[0].grantable);
    stack.call(mysql.close());
    assert_eq!(stack.rows("orders"), 3);
    // counting fails when the table is not there
    stack.rows("order_executions");
}

fn secrets_are_for_nobody_else(stack: &Stack) {
    for name in ["mysql-root", "debezium"] {
        let path = stack.path().join("state/secrets").join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        let password = stack.secret(name);
        let supervisor = fs::read_to_string(stack.path().join("state/supervisor.log")).unwrap_or_default();
        assert!(!supervisor.contains(&password) && !stack.log("mysql").contains(&password), "{name} is in a log");
        for pid in process::of_root(stack.home()) {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(!line.contains(&password), "{name} is an argument of {pid}");
        }
    }
}
