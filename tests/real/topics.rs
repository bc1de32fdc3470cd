//! Topics of the configuration on a real cluster: made, grown, changed, looked at, left, deleted by name only, and waited with.

use crate::{
    stack::Stack,
    support::{Output, process, until},
};
use cdc_supervisor::clients::kafka::{Admin, Alter, alter_settings, listener_metadata};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

/// `log.retention.hours` of the brokers.
const BROKERS_RETENTION: &str = "259200000";

/// Partitions and the fewest copies, as a broker tells them; none: there is no such topic.
fn shape(stack: &Stack, admin: &Admin, name: &str) -> Option<(usize, usize)> {
    let view = stack.call(admin.describe(LIMIT)).unwrap();
    let topic = view.topic(name)?;
    Some((topic.partitions.len(), topic.partitions.iter().map(|p| p.replicas.len()).min().unwrap_or(0)))
}

fn setting(stack: &Stack, admin: &Admin, topic: &str, key: &str) -> String {
    stack.call(admin.topic_config(topic, LIMIT)).unwrap().remove(key).unwrap()
}

fn topic(output: &Output, name: &str) -> Value {
    let all: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}\n{output}"));
    all["topics"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap_or_else(|| panic!("{output}")).clone()
}

/// How often a difference was told.
fn told_times(stack: &Stack, text: &str) -> usize {
    stack.events("topic-differs").iter().filter(|told| told.contains(text)).count()
}

#[test]
fn topics_of_the_file_are_made_changed_and_watched_and_only_an_order_by_name_deletes_one() {
    let stack = Stack::begun();
    let text = fs::read_to_string(stack.config()).unwrap();
    let body = text.split_once("\n\n").unwrap().1.replace("[mysql]\n", "");
    let configure = |topics: &str| stack.configure_raw(&format!("{body}{topics}"));
    configure("[[kafka.topic]]\nname = \"orders\"\npartitions = 4\nsettings.retention.ms = 3600000\n");
    let up = stack.up();
    println!("{up}");
    assert!(up.to_string().contains("1 topic as configured"), "{up}");
    let admin = stack.admin();
    assert_eq!(shape(&stack, &admin, "orders"), Some((4, 3)));
    assert_eq!(setting(&stack, &admin, "orders", "retention.ms"), "3600000");
    let before: Vec<i32> = ["broker-1", "broker-2", "broker-3"].map(|name| stack.pid(name)).to_vec();
    let status = stack.status();
    assert_eq!(status["cluster"]["kafka"]["topics"]["as_configured"], 1, "{status}");

    // A change: more partitions, a setting that goes and one that comes, another topic. Nothing restarts.
    configure(
        "[[kafka.topic]]\nname = \"orders\"\npartitions = 6\nsettings.segment.ms = 7200000\n\
         [[kafka.topic]]\nname = \"audit\"\npartitions = 1\nsettings.cleanup.policy = \"compact\"\n",
    );
    let plan = stack.ok(&["plan"]);
    println!("{plan}");
    for words in ["topic orders  change, live", "partitions: 4 -> 6", "topic audit  create, live"] {
        assert!(plan.stdout.contains(words), "{words}\n{plan}");
    }
    let reload = stack.ok(&["reload"]);
    println!("{reload}");
    for words in ["topic orders: 4 -> 6 partitions", "topic audit: made with 1 partition on 3 brokers each"] {
        assert!(reload.to_string().contains(words), "{words}\n{reload}");
    }
    assert_eq!((shape(&stack, &admin, "orders"), shape(&stack, &admin, "audit")), (Some((6, 3)), Some((1, 3))));
    assert_eq!(setting(&stack, &admin, "orders", "segment.ms"), "7200000");
    assert_eq!(setting(&stack, &admin, "orders", "retention.ms"), BROKERS_RETENTION, "what we gave goes back");
    let after: Vec<i32> = ["broker-1", "broker-2", "broker-3"].map(|name| stack.pid(name)).to_vec();
    assert_eq!(before, after, "no broker was restarted");

    // Somebody changes a setting of ours and sets one of their own: told, and left until an order.
    let controller = SocketAddr::from((Ipv4Addr::LOCALHOST, 29092));
    let changes = BTreeMap::from([
        ("segment.ms".to_owned(), Alter::Set("9999999".into())),
        ("flush.ms".to_owned(), Alter::Set("1000".into())),
    ]);
    stack.call(alter_settings(controller, "orders", &changes, LIMIT)).unwrap();
    let told = until(LIMIT, "the difference is seen", || {
        let output = stack.run(&["topics", "--json"]);
        if output.code == Some(9) { Ok(output) } else { Err(output.to_string()) }
    });
    let orders = topic(&told, "orders");
    assert_eq!(orders["differences"], serde_json::json!(["segment.ms is 9999999, the file says 7200000"]), "{orders}");
    assert_eq!(orders["notes"], serde_json::json!(["flush.ms = 1000 was set by somebody else and is left"]));
    println!("{}", stack.fails(9, &["topics"]));
    assert!(stack.ok(&["status"]).stdout.contains("kafka: topic orders: segment.ms is 9999999"));
    assert!(stack.events("topic-differs")[0].contains("topic orders: segment.ms is 9999999"));
    let doctor = stack.run(&["doctor", "--json"]);
    let rows: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let row = rows["checks"].as_array().unwrap().iter().find(|c| c["name"] == "Kafka topics").unwrap().clone();
    assert_eq!(row["severity"], "warn", "{row}");
    assert!(stack.ok(&["plan"]).stdout.contains("topic orders is not as what is applied says"));
    let apply = stack.ok(&["topics", "apply"]);
    assert!(apply.stdout.contains("topic orders: segment.ms 9999999 -> 7200000"), "{apply}");
    assert_eq!(setting(&stack, &admin, "orders", "flush.ms"), "1000", "somebody else's");
    assert_eq!(stack.events("topic-as-configured"), ["topic orders is as the file says again"]);
    let verify = stack.ok(&["verify", "--json"]);
    assert!(verify.stdout.contains("topic orders as configured: 6 partitions on 3 brokers each"), "{verify}");

    // Fewer partitions are only told; nothing that an order could do.
    configure("[[kafka.topic]]\nname = \"orders\"\npartitions = 2\nsettings.segment.ms = 7200000\n");
    let reload = stack.ok(&["reload"]);
    println!("{reload}");
    for words in ["Kafka takes none away", "topic audit left the file and is kept"] {
        assert!(reload.to_string().contains(words), "{words}\n{reload}");
    }
    stack.fails(9, &["topics", "apply"]);
    let verify = stack.fails(9, &["verify", "--json"]);
    assert!(verify.stdout.contains("it has 6 partitions, the file says 2"), "{verify}");
    assert_eq!((shape(&stack, &admin, "orders"), shape(&stack, &admin, "audit")), (Some((6, 3)), Some((1, 3))));

    // Deleted is only what is named twice, is not in the file and is nobody else's.
    stack.fails(8, &["topics", "remove", "audit"]);
    stack.fails(8, &["topics", "remove", "audit", "--confirm", "orders"]);
    stack.fails(8, &["topics", "remove", "orders", "--confirm", "orders"]);
    stack.fails(8, &["topics", "remove", "test-phase1", "--confirm", "test-phase1"]);
    stack.fails(2, &["topics", "remove", "nothing", "--confirm", "nothing"]);
    assert_eq!(shape(&stack, &admin, "audit"), Some((1, 3)));
    let removed = stack.ok(&["topics", "remove", "audit", "--confirm", "audit"]);
    assert!(removed.stdout.contains("deleted topic audit"), "{removed}");
    assert_eq!(shape(&stack, &admin, "audit"), None);
    let gone = stack.run(&["topics", "--json"]);
    assert!(!gone.stdout.contains("audit"), "{gone}");

    // A broker is stopped by order: a topic that wants it waits, and is made when it is back. No other is fought for meanwhile.
    stack.ok(&["stop", "broker-3"]);
    let orders = "[[kafka.topic]]\nname = \"orders\"\npartitions = 6\nsettings.segment.ms = 7200000\n";
    configure(&format!("{orders}[[kafka.topic]]\nname = \"late\"\n"));
    let reload = stack.ok(&["reload"]);
    assert!(
        reload
            .to_string()
            .contains("topic late: waits for brokers: it wants 3 copies, and 2 are there or on their way"),
        "{reload}"
    );
    let waits = stack.fails(9, &["topics", "--json"]);
    assert_eq!(topic(&waits, "late")["state"], "waits", "{waits}");
    let by_hand = BTreeMap::from([("segment.ms".to_owned(), Alter::Set("8888888".into()))]);
    stack.call(alter_settings(controller, "orders", &by_hand, LIMIT)).unwrap();
    let told = |text: &str| stack.events("topic-differs").iter().any(|told| told.contains(text));
    until(Duration::from_secs(60), "what differs and what waits is told", || {
        let both = told("topic orders: segment.ms is 8888888") && told("topic late: waits for brokers");
        if both { Ok(()) } else { Err(format!("{:?}", stack.events("topic-differs"))) }
    });
    stack.ok(&["start", "broker-3"]);
    until(Duration::from_secs(60), "the topic is made", || {
        let now = shape(&stack, &admin, "late");
        if now == Some((3, 3)) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(setting(&stack, &admin, "orders", "segment.ms"), "8888888", "somebody's, until an order");
    // A daemon that takes over, after a crash of the last one or an upgrade, is no order, and neither is an `up`.
    process::kill(stack.daemon(), 9);
    let up = stack.up();
    assert!(up.to_string().contains("topic orders: segment.ms is 8888888"), "{up}");
    assert_eq!(setting(&stack, &admin, "orders", "segment.ms"), "8888888", "the brokers were never away");
    // Nor is one that finds no record of what was put into force: a program that kept none ran them.
    let differs = || told_times(&stack, "segment.ms is 8888888");
    let (daemon, before) = (stack.daemon(), differs());
    process::kill(daemon, 9);
    until(LIMIT, "the daemon is gone", || if process::alive(daemon) { Err("it lives".to_owned()) } else { Ok(()) });
    fs::remove_file(stack.path().join("state/topics.json")).unwrap();
    let up = stack.up();
    assert!(up.to_string().contains("topic orders: segment.ms is 8888888"), "{up}");
    assert_eq!(setting(&stack, &admin, "orders", "segment.ms"), "8888888", "agreed to as it is");
    assert_eq!(differs(), before + 1, "and told: {:?}", stack.events("topic-differs"));

    // Stores of an earlier moment come back, in less time than between two looks: the file is put into force again.
    stack.ok(&["topics", "apply"]);
    stack.ok(&["snapshot", "create", "early", "--stop"]);
    configure(&format!("{orders}[[kafka.topic]]\nname = \"late\"\n[[kafka.topic]]\nname = \"later\"\n"));
    stack.ok(&["reload"]);
    assert_eq!(shape(&stack, &admin, "later"), Some((3, 3)));
    stack.ok(&["restore", "early", "--confirm", "early"]);
    until(Duration::from_secs(20), "the topic that the snapshot does not have is made again", || {
        let view = stack.call(listener_metadata(controller, LIMIT)).map_err(|e| e.in_one_line())?;
        view.topic("later").map(|_| ()).ok_or_else(|| "it is not there".into())
    });

    // Whoever waits for topics is answered when no change of theirs is under way any more: beside one a reset is refused.
    stack.ok(&["topics", "apply"]);
    // Kafka's data begin anew: what is configured is made again by itself.
    stack.ok(&["reset", "kafka", "--confirm", "kafka"]);
    until(Duration::from_secs(60), "the topic is made again", || {
        let view = stack.call(listener_metadata(controller, LIMIT)).map_err(|e| e.in_one_line())?;
        let topic = view.topic("late").ok_or("it is not there")?;
        if topic.partitions.len() == 3 { Ok(()) } else { Err(format!("{topic:?}")) }
    });
    stack.assert_logs_know_nothing_fatal();
}
