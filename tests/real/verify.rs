//! `verify` on the real stack: everything holds; and what does not is named, with exit code 9.

use crate::stack::Stack;

#[test]
fn a_stack_that_is_as_it_should_be_is_verified_and_a_binlog_with_half_images_is_not() {
    let stack = Stack::new();
    // leaders stay where a death has moved them: nobody brings them home
    let text = std::fs::read_to_string(stack.config()).unwrap();
    let text = text.replacen(
        "[kafka]\n",
        "[kafka]\nelect_preferred = false\nproperties = { auto.leader.rebalance.enable = false }\n",
        1,
    );
    std::fs::write(stack.config(), text).unwrap();
    stack.up();
    for round in 1..=2 {
        let said = stack.ok(&["verify", "--json"]).stdout;
        let verdict: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&verdict["schema"], &verdict["ok"]), (&1.into(), &true.into()), "round {round}: {verdict:#}");
        let checks = verdict["checks"].as_array().unwrap();
        let holds = |part: &str, words: &str| {
            assert!(
                checks.iter().any(|c| c["part"] == part && c["check"].as_str().unwrap().contains(words)),
                "{words}: {verdict:#}"
            );
        };
        holds("kafka", "every replica in sync");
        for port in [9092, 9093, 9094] {
            holds("kafka", &format!("EXTERNAL {port} advertises every broker where it is"));
            holds("kafka", &format!("a client of port {port} alone"));
        }
        for port in [29092, 29093, 29094] {
            holds("kafka", &format!("INTERNAL {port} advertises every broker where it is"));
            holds("kafka", &format!("a client of port {port} alone"));
        }
        holds("kafka", "leaders of test-phase1 on brokers 1, 2 and 3");
        holds("mysql", "debezium reads trading.orders");
        for word in ["insert", "update", "delete"] {
            holds("mysql", &format!("the {word} is in the binlog with whole row images"));
        }
        holds("mysql", "each transaction has its GTID");
        let drills: Vec<_> = checks.iter().filter(|c| c["part"] == "drill").collect();
        assert_eq!(drills.len(), 2, "{verdict:#}");
        for (row, drill) in drills.iter().zip(["cold-restart", "broker-kill"]) {
            let note = format!("never drilled: `cdc-supervisor drill {drill}`");
            assert_eq!((&row["ok"], &row["note"]), (&true.into(), &note.into()), "{verdict:#}");
        }
    }
    let table = stack.ok(&["verify"]).stdout;
    assert!(table.contains("checks hold"), "{table}");

    // for new sessions only, as somebody would do by hand
    let mut root = stack.mysql();
    stack.call(root.run(&["SET GLOBAL binlog_row_image = 'MINIMAL'".to_owned()])).unwrap();
    stack.call(root.close());
    let table = stack.fails(9, &["verify"]).stdout;
    for words in ["FAIL  mysql  binlog_row_image", "FAIL  mysql  the update is in the binlog with whole row images"] {
        assert!(table.contains(words), "{words:?}: {table}");
    }
    // a broker that was away has lost its leaders
    stack.ok(&["restart", "broker-1"]);
    stack.await_whole(&stack.admin());
    let table = stack.fails(9, &["verify"]).stdout;
    assert!(table.contains("FAIL  kafka  leaders of test-phase1 on different brokers"), "{table}");
    assert!(table.contains("preferred are 1, 2 and 3"), "{table}");
    assert!(table.contains("nobody gives them their partitions back"), "{table}");
    assert_eq!(stack.rows("orders"), 3, "no row of the user's is touched");
}
