//! `snapshot`, `restore` and `reset` of the real stack: what was there at one moment comes back, in Kafka and in MySQL together.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, until},
};
use cdc_supervisor::clients::kafka::Admin;
use std::time::Duration;

/// Longer than stopping, copying, syncing and starting take on a machine that is busy.
const LONG: Duration = Duration::from_secs(420);

const CALL: Duration = Duration::from_secs(20);

fn done(stack: &Stack, arguments: &[&str]) -> String {
    let output = stack.spawn(arguments).wait(LONG);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output}");
    output.stdout
}

fn produce(stack: &Stack, admin: &Admin, text: &str) {
    stack.call(admin.produce("test-phase1", Some(0), text.as_bytes(), CALL)).unwrap();
}

fn end_offset(stack: &Stack) -> i64 {
    stack.call(stack.admin().end_offsets("test-phase1", &[0], CALL)).unwrap()[0]
}

/// A leader that has just started shows what its followers have been seen to have: that comes with their first fetches.
fn await_end_offset(stack: &Stack, wanted: i64) {
    until(STATE_LIMIT, "the offset of the snapshot", || {
        match stack.call(stack.admin().end_offsets("test-phase1", &[0], CALL)) {
            Ok(ends) if ends == [wanted] => Ok(()),
            other => Err(format!("{other:?}, wanted {wanted}")),
        }
    });
}

#[test]
fn records_and_rows_of_one_moment_come_back_together_and_a_reset_begins_anew() {
    let stack = Stack::new();
    stack.up();
    let admin = stack.admin();
    let refused = stack.fails(8, &["snapshot", "create", "one"]).stderr;
    assert!(refused.contains("add --stop"), "{refused}");
    produce(&stack, &admin, "before");
    let (offset, rows) = (end_offset(&stack), stack.rows("orders"));
    let made = done(&stack, &["snapshot", "create", "one", "--stop"]);
    assert!(made.contains("started again: zookeeper, broker-1, broker-2, broker-3, mysql"), "{made}");
    assert!(done(&stack, &["snapshot", "verify", "one"]).starts_with("whole"));

    let admin = stack.admin();
    stack.await_whole(&admin);
    produce(&stack, &admin, "after");
    let mut root = stack.mysql();
    stack.call(root.run(&["DELETE FROM trading.orders".to_owned()])).unwrap();
    stack.call(root.close());
    assert!(end_offset(&stack) > offset && stack.rows("orders") == 0);

    // Nothing is stopped for a copy that is not what it was: not a byte of it, and not a password.
    let pids = || ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"].map(|node| stack.pid(node));
    let before = pids();
    for file in ["secrets/mysql-root", "mysql/auto.cnf", "broker-2/meta.properties"] {
        let path = stack.path().join("snapshots/one").join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        let refused = stack.fails(8, &["restore", "one", "--confirm", "one"]).stderr;
        assert!(refused.contains(&format!("not what it was: {file} has")), "{refused}");
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(pids(), before);

    done(&stack, &["restore", "one", "--confirm", "one"]);
    stack.await_whole(&stack.admin());
    await_end_offset(&stack, offset);
    assert_eq!(stack.rows("orders"), rows, "both are of the moment of the snapshot");
    stack.ok(&["verify"]);

    done(&stack, &["reset", "mysql", "--confirm", "mysql"]);
    assert!(end_offset(&stack) >= offset, "Kafka's data stay");
    stack.ok(&["verify"]);
    let ids = stack.ok(&["snapshot", "list", "--json"]).stdout;
    let doc: serde_json::Value = serde_json::from_str(&ids).unwrap();
    assert!(doc["snapshots"][0]["cluster"].is_string() && doc["snapshots"][0]["mysql"].is_string(), "{doc}");
}
