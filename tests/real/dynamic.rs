//! Settings that Kafka takes while it runs are changed without a restart, whatever the broker is asked says so, and the file is what
//! holds after the next start: also when the broker was down, was killed, or somebody else has set something.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, VERB_LIMIT, process, until},
};
use cdc_supervisor::{
    base::{Layout, NodeName},
    clients::{
        kafka::{BrokerSetting, broker_settings, set_on_broker},
        zookeeper::Session,
    },
};
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

const ASK: Duration = Duration::from_secs(10);
const BROKERS: [&str; 3] = ["broker-1", "broker-2", "broker-3"];

fn address(id: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 29091 + u16::try_from(id).unwrap()))
}

fn setting(stack: &Stack, id: u32, key: &str) -> BrokerSetting {
    let told = stack.call(broker_settings(address(id), id, Some(vec![key]), ASK)).unwrap();
    told.get(key).cloned().unwrap_or_else(|| panic!("broker {id} has no {key}"))
}

fn value(stack: &Stack, id: u32, key: &str) -> String {
    setting(stack, id, key).value.unwrap_or_default()
}

/// What ZooKeeper keeps of a broker's settings.
fn kept(stack: &Stack, id: u32) -> serde_json::Value {
    stack.call(async {
        let mut session = Session::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 2181)), ASK).await.unwrap();
        let data = session.get_data(&format!("/config/brokers/{id}")).await.unwrap();
        session.close().await.unwrap();
        data.map_or(serde_json::json!({}), |(bytes, _)| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap())
    })["config"]
        .clone()
}

fn properties(stack: &Stack, node: &str) -> String {
    fs::read_to_string(Layout::new(stack.path()).conf(&NodeName::new(node).unwrap()).join("server.properties")).unwrap()
}

/// Pids of the brokers.
fn pids(stack: &Stack) -> Vec<i32> {
    BROKERS.iter().map(|name| stack.pid(name)).collect()
}

#[test]
fn what_kafka_takes_while_it_runs_is_changed_live_and_the_file_holds_after_every_start() {
    let stack = Stack::begun();
    stack.expect_log("refuses its new settings");
    stack.expect_log("settings that somebody else gave it");
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    let text = fs::read_to_string(stack.config()).unwrap();
    let body = text.split_once("\n\n").unwrap().1;
    let reload = |more: &str| {
        stack.configure_raw(&format!("{body}\n{more}"));
        let plan = stack.ok(&["plan"]);
        (plan, stack.spawn(&["reload"]).wait(VERB_LIMIT * 3))
    };
    let before = pids(&stack);

    // Live: the same processes, read back from each, the file says it, and nothing is left to be done.
    let three = "[kafka.properties]\nnum.io.threads = 6\nlog.retention.hours = 48\nmessage.max.bytes = 2000000\n";
    let (plan, done) = reload(three);
    assert_eq!(done.code, Some(0), "{plan}\n{done}");
    assert!(plan.stdout.contains("broker-1  live: ") && !plan.stdout.contains("restart"), "{plan}");
    for words in
        ["num.io.threads: 4 -> 6", "message.max.bytes: Kafka's own -> 2000000", "log.retention.hours: 72 -> 48"]
    {
        assert!(plan.stdout.contains(words), "{words}\n{plan}");
    }
    println!("{plan}\n{done}");
    assert_eq!(pids(&stack), before, "nothing was restarted");
    for (id, node) in (1..).zip(BROKERS) {
        assert_eq!(value(&stack, id, "num.io.threads"), "6");
        assert_eq!(value(&stack, id, "message.max.bytes"), "2000000");
        assert_eq!(setting(&stack, id, "log.retention.ms").dynamic.as_deref(), Some("172800000"));
        assert!(properties(&stack, node).contains("\nnum.io.threads=6\n"), "{node}");
    }
    assert!(stack.ok(&["reload"]).stdout.contains("nothing differs"));
    assert_eq!(stack.node("broker-1")["restarts"], 0);

    // With one that is read at the start only, that broker restarts, and begins with its file alone.
    let (plan, done) = reload(&format!(
        "{three}[kafka.brokers.1]\n[kafka.brokers.2.properties]\nreplica.fetch.backoff.ms = 300\nnum.io.threads = 8\n\
         [kafka.brokers.3]\n"
    ));
    assert_eq!(done.code, Some(0), "{plan}\n{done}");
    assert!(plan.stdout.contains("broker-2  restart: server.properties: "), "{plan}");
    let after = pids(&stack);
    assert!(after[0] == before[0] && after[1] != before[1] && after[2] == before[2], "{before:?} {after:?}");
    stack.await_whole(&admin);
    assert_eq!(setting(&stack, 2, "num.io.threads").dynamic, None);
    assert_eq!(
        (value(&stack, 2, "num.io.threads").as_str(), value(&stack, 2, "log.retention.hours").as_str()),
        ("8", "48")
    );
    assert_eq!(kept(&stack, 2), serde_json::json!({}), "nothing of it stays in ZooKeeper");
    assert!(kept(&stack, 1).get("num.io.threads").is_some());

    // Refused, in the broker's own words, and nothing has changed anywhere.
    let files = BROKERS.map(|node| properties(&stack, node));
    let (_, refused) = reload(&three.replace("threads = 6", "threads = \"many\""));
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("Not a number of type INT"), "{refused}");
    println!("{refused}");
    assert_eq!((pids(&stack), BROKERS.map(|node| properties(&stack, node))), (after, files));
    assert_eq!(value(&stack, 1, "num.io.threads"), "6");
    let (plan, _) = reload(three);
    assert!(plan.stdout.contains("broker-2"), "only broker 2 has other settings now: {plan}");
    stack.await_whole(&admin);

    // What leaves the file is Kafka's own again, and our own where we have one.
    let live = pids(&stack);
    let (plan, done) = reload("");
    assert_eq!(done.code, Some(0), "{plan}\n{done}");
    assert_eq!(pids(&stack), live);
    for id in 1..=3 {
        assert_eq!(value(&stack, id, "num.io.threads"), "4");
        assert_eq!(value(&stack, id, "message.max.bytes"), "1048588");
        assert_eq!(value(&stack, id, "log.retention.ms"), "259200000", "broker {id}");
    }

    // What somebody else has set is told, stays, and is never written over.
    let theirs = BTreeMap::from([("max.connections.per.ip".to_owned(), "500".to_owned())]);
    stack.call(set_on_broker(address(1), 1, &theirs, false, ASK)).unwrap();
    let verdict = stack.fails(9, &["verify"]);
    assert!(verdict.stdout.contains("broker-1: max.connections.per.ip = 500 was set for this broker"), "{verdict}");
    // ... in `status` within seconds, and in `plan` and `doctor`, without a broker being asked for it
    let beats = "broker-1: max.connections.per.ip = 500 was set for this broker";
    until(STATE_LIMIT, "the status tells of it", || {
        let told = stack.status()["cluster"]["kafka"]["set_by_others"].clone();
        if told == serde_json::json!([beats]) { Ok(()) } else { Err(told.to_string()) }
    });
    for verb in [&["status"][..], &["plan"], &["doctor", "--json"]] {
        let told = stack.run(verb).stdout;
        assert!(told.contains(beats), "{verb:?}\n{told}");
    }
    let (_, refused) = reload("[kafka.properties]\nmax.connections.per.ip = 400\n");
    assert_eq!(refused.code, Some(8), "{refused}");
    assert!(refused.stderr.contains("--entity-name 1 --alter --delete-config max.connections.per.ip"), "{refused}");
    println!("{verdict}\n{refused}");
    assert_eq!(value(&stack, 2, "max.connections.per.ip"), "2147483647", "the others have not got it either");

    // One that is down reads its file, whatever an earlier reload had set.
    assert_eq!(kept(&stack, 3)["num.io.threads"], "4");
    stack.ok(&["stop", "broker-3"]);
    let (plan, done) = reload("[kafka.properties]\nnum.io.threads = 6\n");
    assert_eq!(done.code, Some(0), "{plan}\n{done}");
    stack.ok(&["start", "broker-3"]);
    assert_eq!((value(&stack, 3, "num.io.threads").as_str(), kept(&stack, 3)), ("6", serde_json::json!({})));

    // One that is killed too; what somebody else has set stays with it.
    stack.await_whole(&admin);
    let pid = stack.pid("broker-1");
    process::kill(pid, libc::SIGKILL);
    stack.await_node("broker-1", "ready again", |n| n["state"] == "ready" && n["pid"] != pid);
    assert_eq!(
        (value(&stack, 1, "num.io.threads").as_str(), value(&stack, 1, "max.connections.per.ip").as_str()),
        ("6", "500")
    );
    assert_eq!(kept(&stack, 1), serde_json::json!({"max.connections.per.ip": "500"}));
    stack.await_whole(&admin);
}
