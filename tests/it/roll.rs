//! `roll` and `why-not` where there are no brokers: what they refuse and what they say of other nodes. With brokers: `tests/real`
//! (a fake broker would have to speak Kafka's and ZooKeeper's protocols).

use crate::support::{Root, fake};
use serde_json::Value;

#[test]
fn a_roll_is_about_brokers_and_says_so() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]).after(&["a"])]);
    root.up();
    let pids = [root.pid("a"), root.pid("b")];
    for arguments in [&["roll"][..], &["roll", "--plan"]] {
        let refused = root.fails(8, arguments);
        assert!(refused.stderr.contains("there is no broker to restart"), "{refused}");
    }
    root.expect_log("there is no broker to restart");
    let refused = root.fails(8, &["roll", "a"]);
    assert!(refused.stderr.contains("a is no broker") && refused.stderr.contains("restart a"), "{refused}");
    root.expect_log("a is no broker");
    root.fails(2, &["roll", "--plan", "nobody"]);
    root.fails(2, &["roll", "--json"]);
    assert_eq!([root.pid("a"), root.pid("b")], pids);
    assert_eq!(root.status()["cluster"], Value::Null, "no node belongs to a cluster");
    let events = root.ok(&["events", "--json"]).stdout;
    assert!(events.contains("\"operation-ended\""), "a roll that was refused is an event: {events}");
}

#[test]
fn why_not_says_what_comes_after_a_node_and_ends_with_9_where_that_is_a_loss() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]).after(&["a"])]);
    root.up();
    let said = root.ok(&["why-not", "b"]);
    assert!(said.stdout.contains("nothing breaks"), "{said}");
    let said = root.fails(9, &["why-not", "a"]);
    assert!(said.stdout.contains("what comes after it runs on without it: b"), "{said}");
    let said = root.fails(9, &["why-not", "a", "--json"]);
    let outlook: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (&outlook["schema"], &outlook["safe"], &outlook["nodes"][0]["node"]),
        (&1.into(), &false.into(), &"a".into())
    );
    let refused = root.fails(2, &["why-not", "nobody"]);
    assert!(refused.stderr.contains("there is no node nobody"), "{refused}");
}
