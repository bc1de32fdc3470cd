//! Drills on the real stack: nothing that was acknowledged is lost, and Kafka's own client says the same; what may not be drilled is
//! refused; a daemon killed in the middle of a drill leaves nothing behind, and what cannot be removed is removed later.

use crate::{
    stack::{NODES, SETTLE, Stack},
    support::{STATE_LIMIT, VERB_LIMIT, left_to_long, process, until},
};
use cdc_supervisor::clients::{
    kafka::{Admin, ClusterView},
    mysql::Mysql,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const CALL: Duration = Duration::from_secs(20);
/// Longer than a drill takes on a machine that is busy.
const DRILL: Duration = Duration::from_secs(420);

/// What tells a topic of a drill from any other.
const DRILLS_MARK: [(&str, &str); 1] = [("retention.ms", "86399117")];

fn create(stack: &Stack, admin: &Admin, topic: &str, replicas: u32) {
    stack.call(admin.create_topic(topic, 3, replicas, &[], CALL)).unwrap();
    stack.await_cluster(admin, "the topic is there", |v| v.topic(topic).is_some());
    stack.await_whole(admin);
}

fn delete(stack: &Stack, admin: &Admin, topic: &str) {
    stack.call(admin.delete_topic(topic, CALL)).unwrap();
    stack.await_cluster(admin, "the topic is gone", |v| v.topic(topic).is_none());
}

fn no_trace(stack: &Stack, admin: &Admin) {
    without_topics(stack, admin, "cdc-supervisor-drill");
    let mut root = stack.mysql();
    assert!(drill_tables(stack, &mut root).is_empty());
    stack.call(root.close());
    assert!(!stack.path().join("state/operation.json").exists());
}

/// Waits until no topic begins with this: a broker's metadata may hold for a moment what the controller has deleted.
fn without_topics(stack: &Stack, admin: &Admin, prefix: &str) -> ClusterView {
    until(SETTLE, "the drill's topics go", || {
        let view = stack.await_whole(admin);
        if view.topics.iter().any(|t| t.name.starts_with(prefix)) {
            Err(format!("{:?}", view.topics))
        } else {
            Ok(view)
        }
    })
}

fn drill_tables(stack: &Stack, root: &mut Mysql) -> Vec<String> {
    let query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'cdc_supervisor' AND table_name = 'drill'";
    stack.call(root.texts(query)).unwrap()
}

/// Makes a drill that must pass, and prints its report for whoever compares runs.
fn drill(stack: &Stack, arguments: &[&str]) -> Value {
    let mut line = vec!["drill"];
    line.extend(arguments);
    line.push("--json");
    let output = stack.spawn(&line).wait(DRILL);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output}");
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    eprintln!(
        "{arguments:?}: gaps {} and {} ms, timeline {}",
        report["kafka"]["longest_gap_ms"], report["mysql"]["longest_gap_ms"], report["timeline"]
    );
    assert_eq!((&report["verdict"], &report["schema"]), (&"passed".into(), &1.into()), "{report:#}");
    for part in ["kafka", "mysql"] {
        let tally = &report[part];
        assert_eq!((&tally["lost"], &tally["given_up"]), (&0.into(), &0.into()), "{report:#}");
        // Where every broker goes away under load, librdkafka may write twice what was not acknowledged (operate::drill, judged).
        assert!(tally["duplicated"] == 0 || (part == "kafka" && arguments[0] == "cold-restart"), "{report:#}");
        assert!(tally["acknowledged"].as_u64().unwrap() > 20, "{report:#}");
        assert_eq!(tally["acknowledged"], tally["sent"], "{report:#}");
    }
    report
}

fn mark(report: &Value, name: &str) -> u64 {
    report["timeline"][name].as_u64().unwrap_or_else(|| panic!("{name}: {report:#}"))
}

#[test]
fn nothing_acknowledged_is_lost_whatever_is_broken_and_nothing_is_broken_that_may_not_be() {
    let stack = Stack::begun();
    stack.expect_log("drill");
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    refusals(&stack, &admin);

    let report = drill(&stack, &["broker-kill"]);
    for name in [
        "death_seen",
        "session_closed",
        "first_new_leader",
        "process_up",
        "registered",
        "ready",
        "isr_full",
        "leaders_home",
    ] {
        mark(&report, name);
    }
    assert!(mark(&report, "session_closed") < mark(&report, "registered"), "{report:#}");
    drill(&stack, &["broker-term", "--which", "controller"]);
    drill(&stack, &["mysql-kill", "--confirm", "mysql-kill"]);
    drill(&stack, &["zookeeper-restart"]);
    drill(&stack, &["cold-restart", "--confirm", "cold-restart"]);
    drill(&stack, &["two-brokers", "--confirm", "two-brokers"]);
    no_trace(&stack, &admin);
    let history: Value = serde_json::from_str(&stack.ok(&["drill", "history", "--json"]).stdout).unwrap();
    let names: Vec<&str> = history["drills"].as_array().unwrap().iter().map(|d| d["drill"].as_str().unwrap()).collect();
    assert_eq!(names, ["broker-kill", "broker-term", "mysql-kill", "zookeeper-restart", "cold-restart", "two-brokers"]);
    assert!(stack.ok(&["drill", "history"]).stdout.contains("LONGEST GAP"));

    let independent = Independent::begin(&stack, &admin);
    killed_while_a_broker_is_stopped(&stack, &admin);
    killed_in_the_middle(&stack, &admin, "two-brokers", "killed and kept down", 2, &["started broker-"]);
    killed_in_the_middle(&stack, &admin, "cold-restart", "everything is stopped", 2, &["started "]);
    what_could_not_be_removed_is_removed_later(&stack, &admin);
    what_became_somebody_elses_is_not_removed(&stack, &admin);
    what_a_drill_made_is_removed_without_its_record(&stack, &admin);
    independent.end_with_a_broker_that_is_killed(&stack, &admin);
    assert_eq!(stack.rows("orders"), 3, "no row of the user's is touched");
}

#[test]
fn listeners_bound_to_one_address_of_the_host_are_met_there() {
    let stack = Stack::begun();
    stack.expect_log("drill");
    let text = fs::read_to_string(stack.config()).unwrap();
    let bound = ["zookeeper", "kafka", "mysql"].iter().fold(text, |text, table| {
        text.replacen(&format!("[{table}]\n"), &format!("[{table}]\nbind = \"127.0.0.2\"\n"), 1)
    });
    let bound = bound.replacen("[kafka]\n", "[kafka]\nadvertised_host = \"127.0.0.2\"\n", 1);
    fs::write(stack.config(), bound).unwrap();
    let up = stack.up();
    for words in ["kafka  127.0.0.2:9092,", "mysql://debezium@127.0.0.2:3306/trading"] {
        assert!(up.stdout.contains(words), "{words}: {up}");
    }
    stack.ok(&["verify"]);
    drill(&stack, &["mysql-kill", "--confirm", "mysql-kill"]);
    no_trace(&stack, &stack.admin());
    a_zookeeper_that_somebody_stops_meanwhile_keeps_mysql_from_nothing(&stack);
}

/// ZooKeeper is stopped by somebody while everything is: it stays down and the brokers with it, MySQL serves again, and all that is told.
fn a_zookeeper_that_somebody_stops_meanwhile_keeps_mysql_from_nothing(stack: &Stack) {
    let client = stack.spawn(&["drill", "cold-restart", "--confirm", "cold-restart"]);
    let record = stack.path().join("state/operation.json");
    until(VERB_LIMIT, "everything is being stopped", || {
        let text = fs::read_to_string(&record).unwrap_or_default();
        if text.contains("everything is stopped") { Ok(()) } else { Err(text) }
    });
    stack.await_node("broker-1", "on its way down", |n| n["state"] != "ready");
    stack.ok(&["stop", "--anyway", "zookeeper"]);
    let said = client.wait(DRILL);
    assert_eq!(said.code, Some(9), "{said}");
    for words in [
        "stopped by order while the drill ran, and left down: zookeeper",
        "left down for want of zookeeper: broker-1, broker-2, broker-3; `cdc-supervisor start zookeeper broker-1 broker-2 broker-3`",
    ] {
        assert!(said.stdout.contains(words), "{words}: {said}");
    }
    stack.await_node("mysql", "ready", |n| n["state"] == "ready");
    for node in &NODES[..4] {
        assert_eq!(stack.node(node)["state"], "down", "{node}");
    }
    stack.up();
    let left = stack.path().join("state/drill-left.json");
    until(SETTLE, "its topics go", || if left.exists() { Err("they are there".into()) } else { Ok(()) });
    no_trace(stack, &stack.admin());
}

/// What the other drills keep broken for a while: minutes, so only where asked for.
#[test]
fn what_is_kept_broken_for_a_while_loses_nothing_either() {
    if std::env::var_os("CDC_TEST_LONG").is_none() {
        return left_to_long("what_is_kept_broken_for_a_while_loses_nothing_either", "it takes minutes");
    }
    let stack = Stack::begun();
    stack.expect_log("drill");
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    drill(&stack, &["broker-pause", "--for", "10s", "--confirm", "broker-pause"]);
    drill(&stack, &["broker-pause", "--for", "30s", "--confirm", "broker-pause"]);
    drill(&stack, &["zookeeper-down", "--confirm", "zookeeper-down"]);
    no_trace(&stack, &admin);
    // SIGKILL to the daemon in the middle of the kinds that the short form leaves out.
    let independent = Independent::begin(&stack, &admin);
    for (name, step, gone, said) in [
        ("broker-kill", "SIGKILL to broker-", 1, &[][..]),
        ("broker-term", "SIGTERM to broker-", 1, &[]),
        ("zookeeper-restart", "is restarted", 1, &[]),
        ("zookeeper-down", "killed and kept down", 1, &["started zookeeper again"]),
        ("mysql-kill", "SIGKILL to mysql", 1, &[]),
    ] {
        killed_in_the_middle(&stack, &admin, name, step, gone, said);
    }
    independent.end_with_a_broker_that_is_killed(&stack, &admin);
}

fn refusals(stack: &Stack, admin: &Admin) {
    let refused = |words: &str| {
        let output = stack.fails(8, &["drill", "broker-kill"]);
        assert!(output.stderr.contains(words), "{words}: {output}");
    };
    // partitions that only one broker has: one on each
    create(stack, admin, "lonely", 1);
    refused("would take something of yours offline: lonely-");
    let two = stack.fails(8, &["drill", "two-brokers", "--confirm", "two-brokers"]);
    assert!(two.stderr.contains("would take something of yours offline: lonely-"), "{two}");
    delete(stack, admin, "lonely");
    // somebody else's topic and table of our names
    create(stack, admin, "cdc-supervisor-drill-2", 3);
    refused("topic cdc-supervisor-drill-2 is there and no drill has made it");
    assert!(stack.await_whole(admin).topic("cdc-supervisor-drill-2").is_some(), "it is not touched");
    delete(stack, admin, "cdc-supervisor-drill-2");
    let mut root = stack.mysql();
    let theirs = ["CREATE DATABASE IF NOT EXISTS cdc_supervisor", "CREATE TABLE cdc_supervisor.drill (a INT)"];
    stack.call(root.run(&theirs.map(str::to_owned))).unwrap();
    refused("table cdc_supervisor.drill is there and no drill has made it");
    assert_eq!(drill_tables(stack, &mut root).len(), 1, "it is not touched");
    stack.call(root.run(&["DROP TABLE cdc_supervisor.drill".to_owned()])).unwrap();
    stack.call(root.close());
    // a broker that is down
    stack.ok(&["stop", "broker-3"]);
    refused("broker-3 is down");
    stack.ok(&["start", "broker-3"]);
    stack.await_whole(admin);
    // it serves before it is in every ISR, and the supervisor sees that a moment after the brokers do
    stack.await_node("broker-3", "ready", |n| n["state"] == "ready");
    // ZooKeeper that does not answer: nodes look ready, and brokers say from memory that everything is whole
    let zookeeper = stack.pid("zookeeper");
    process::kill(zookeeper, libc::SIGSTOP);
    refused("ZooKeeper");
    process::kill(zookeeper, libc::SIGCONT);
    stack.await_whole(admin);
    for node in NODES {
        stack.await_node(node, "ready", |n| n["state"] == "ready");
    }
    // while another runs
    let running = stack.spawn(&["drill", "broker-term", "--json"]);
    until(STATE_LIMIT, "it is on record", || {
        if stack.path().join("state/operation.json").exists() { Ok(()) } else { Err("not yet".into()) }
    });
    refused("drill broker-term is under way since");
    for order in [
        &["reload"][..],
        &["verify"],
        &["upgrade-self"],
        &["stop", "mysql"],
        &["stop", "--now", "broker-1"],
        &["start", "broker-1"],
        &["restart", "zookeeper"],
    ] {
        let output = stack.fails(8, order);
        assert!(output.stderr.contains("drill broker-term is under way since"), "{output}");
        let by_hand = matches!(order[0], "stop" | "start" | "restart");
        assert!(!by_hand || output.stderr.contains("add --anyway"), "{output}");
    }
    let output = running.wait(DRILL);
    assert_eq!(output.code, Some(0), "{output}");
    fs::remove_dir_all(stack.path().join("state/drills")).unwrap();
    no_trace(stack, admin);
    // its restart is told with its reason
    let events = stack.ok(&["events", "--json"]).stdout;
    let started = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let reasons: Vec<Value> = started.filter(|e| e["kind"] == "started").map(|e| e["reason"].clone()).collect();
    assert_eq!(reasons.last().unwrap(), "drill", "{reasons:?}");
    // by hand: never several brokers at once, and ZooKeeper with the time it was away
    let output = stack.fails(8, &["restart", "broker-1", "broker-2"]);
    assert!(output.stderr.contains("cdc-supervisor roll broker-1 broker-2"), "{output}");
    let output = stack.ok(&["restart", "zookeeper"]);
    assert!(
        output.stdout.contains("zookeeper was away for") && output.stdout.contains("sessions last 12.0 s"),
        "{output}"
    );
    stack.await_whole(admin);
}

/// SIGKILL to the daemon while a broker is stopped: the next one has it go on, and removes what the drill has made.
fn killed_while_a_broker_is_stopped(stack: &Stack, admin: &Admin) {
    let client = stack.spawn(&["drill", "broker-pause", "--for", "60s", "--confirm", "broker-pause"]);
    let pids: Vec<i32> = (1..=3).map(|id| stack.pid(&format!("broker-{id}"))).collect();
    let stopped = || {
        let is_stopped = |pid: &&i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        pids.iter().find(is_stopped).copied()
    };
    until(VERB_LIMIT, "a broker is stopped", || stopped().map(|_| ()).ok_or_else(|| "none".into()));
    process::kill(stack.daemon(), 9);
    assert_ne!(client.wait(VERB_LIMIT).code, Some(0));
    undone_by_the_next(stack, admin, "broker-pause", &["SIGCONT to pid"]);
    assert_eq!(stopped(), None, "the next daemon has it go on");
}

/// SIGKILL to the daemon as soon as its drill is at this step and so many of the nodes' processes are gone.
fn killed_in_the_middle(stack: &Stack, admin: &Admin, drill: &str, step: &str, gone: usize, said: &[&str]) {
    let pids = NODES.map(|node| stack.pid(node));
    let client = stack.spawn(&["drill", drill, "--confirm", drill]);
    let record = stack.path().join("state/operation.json");
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(&record).unwrap_or_default();
        let dead = pids.iter().filter(|pid| !process::alive(**pid)).count();
        if text.contains(step) && dead >= gone {
            break;
        }
        assert!(began.elapsed() < VERB_LIMIT, "{drill}: {dead} are gone, and the record is {text}");
        std::thread::sleep(Duration::from_millis(2));
    }
    process::kill(stack.daemon(), 9);
    assert_ne!(client.wait(VERB_LIMIT).code, Some(0));
    undone_by_the_next(stack, admin, drill, said);
}

/// A new daemon undoes what the drill left and says so: everything is ready, and nothing of the drill is there.
fn undone_by_the_next(stack: &Stack, admin: &Admin, drill: &str, said: &[&str]) {
    stack.expect_log("was cut short with its daemon");
    let before = stack.events("operation-left").len();
    // as the unit has it: an `up` would start the nodes before the daemon comes to it. It outlives its client's end here.
    std::mem::forget(stack.spawn(&["run"]));
    stack.await_daemon_node("mysql");
    let began = Instant::now();
    while stack.path().join("state/operation.json").exists() {
        assert!(began.elapsed() < DRILL, "what the drill has left is not removed");
        std::thread::sleep(Duration::from_millis(200));
    }
    for node in NODES {
        stack.await_node(node, "ready", |n| n["state"] == "ready");
    }
    stack.up();
    no_trace(stack, admin);
    assert!(!stack.path().join("state/drill-left.json").exists());
    let told = stack.events("operation-left")[before..].join("\n");
    let begun = format!("drill {drill}, begun at");
    for words in [begun.as_str(), "removed its topics", "removed its table"].iter().chain(said) {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// Makes a topic and a table with a drill's marks.
fn make_as_a_drill(stack: &Stack, admin: &Admin) {
    stack.call(admin.create_topic("cdc-supervisor-drill-2", 3, 3, &DRILLS_MARK, CALL)).unwrap();
    let mut root = stack.mysql();
    let table = "CREATE TABLE cdc_supervisor.drill (a INT) COMMENT = 'made by cdc-supervisor for a drill, and removed after it'";
    stack.call(root.run(&[table.to_owned()])).unwrap();
    stack.call(root.close());
}

/// The record of a drill that a loss of power has torn: nobody knows what it was of, and what a drill makes goes all the same.
fn what_a_drill_made_is_removed_without_its_record(stack: &Stack, admin: &Admin) {
    make_as_a_drill(stack, admin);
    process::kill(stack.daemon(), 9);
    let record = stack.path().join("state/operation.json");
    fs::write(&record, r#"{"schema":1,"kind":"drill","detail":"broker-ki"#).unwrap();
    stack.expect_log("its record cannot be read");
    stack.up();
    let left = stack.path().join("state/drill-left.json");
    until(SETTLE, "it was looked what is left", || match stack.events("operation-ended").pop() {
        Some(text) if text.contains("of which nothing is on record") && !left.exists() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    no_trace(stack, admin);
    let told = stack.events("operation-left");
    assert!(
        told.iter().any(|text| text.contains("an operation was cut short, and its record cannot be read")),
        "{told:?}"
    );
    let ended = stack.events("operation-ended");
    assert!(ended.last().unwrap().ends_with("removed its topics; removed its table"), "{ended:?}");
}

/// A topic and a table of a drill are there, and word of them: they go, and the word with them.
fn what_could_not_be_removed_is_removed_later(stack: &Stack, admin: &Admin) {
    make_as_a_drill(stack, admin);
    let left = stack.path().join("state/drill-left.json");
    plant_left(stack);
    until(SETTLE, "the word of it goes", || if left.exists() { Err("it is there".into()) } else { Ok(()) });
    no_trace(stack, admin);
    let ended = stack.events("operation-ended");
    assert_eq!(ended.last().unwrap(), "drill broker-kill: removed its topics; removed its table");
}

/// The word of what a drill has left, and by then its names are somebody else's: they are not touched, and the word goes.
fn what_became_somebody_elses_is_not_removed(stack: &Stack, admin: &Admin) {
    create(stack, admin, "cdc-supervisor-drill-3", 3);
    // One that is the drill's, and is not kept for the sake of the other.
    stack.call(admin.create_topic("cdc-supervisor-drill-1", 3, 3, &DRILLS_MARK, CALL)).unwrap();
    let mut root = stack.mysql();
    let theirs = ["CREATE TABLE cdc_supervisor.drill (a INT)", "INSERT INTO cdc_supervisor.drill VALUES (7)"];
    stack.call(root.run(&theirs.map(str::to_owned))).unwrap();
    let ended = stack.events("operation-ended").len();
    plant_left(stack);
    until(SETTLE, "the word of it goes", || match stack.events("operation-ended")[ended..].last() {
        Some(text) if !stack.path().join("state/drill-left.json").exists() => Ok(text.clone()),
        other => Err(format!("{other:?}")),
    });
    let said = stack.events("operation-ended").pop().unwrap();
    assert!(said.contains("left cdc-supervisor-drill-3 alone: it is somebody else's"), "{said}");
    assert!(said.contains("left its table alone: it is somebody else's"), "{said}");
    let view = without_topics(stack, admin, "cdc-supervisor-drill-1");
    assert_eq!(view.topic("cdc-supervisor-drill-3").expect("theirs").partitions.len(), 3);
    assert_eq!(stack.call(root.count("cdc_supervisor", "drill")).unwrap(), 1, "their row");
    stack.call(root.run(&["DROP TABLE cdc_supervisor.drill".to_owned()])).unwrap();
    stack.call(root.close());
    delete(stack, admin, "cdc-supervisor-drill-3");
}

/// Word that a drill has left its topics and its table.
fn plant_left(stack: &Stack) {
    let record = serde_json::json!({
        "kind": "drill", "detail": "broker-kill", "begun_at": "2026-01-02T03:04:05.006Z", "undo": {"topics": true, "table": true},
    });
    fs::write(stack.path().join("state/drill-left.json"), record.to_string()).unwrap();
}

/// Kafka's VerifiableProducer, which writes meanwhile; its VerifiableConsumer reads in the end: whatever was acknowledged is there.
struct Independent(Child);

impl Independent {
    fn begin(stack: &Stack, admin: &Admin) -> Self {
        create(stack, admin, "independent", 3);
        let said = stack.home().join("producer.json");
        let producer = verifiable(stack, "VerifiableProducer", &said, &["--throughput", "500", "--acks", "-1"]);
        until(VERB_LIMIT, "it writes", || if acknowledged(&said).len() > 500 { Ok(()) } else { Err("nothing".into()) });
        Self(producer)
    }

    fn end_with_a_broker_that_is_killed(mut self, stack: &Stack, admin: &Admin) {
        let victim = stack.pid("broker-2");
        process::kill(victim, 9);
        until(SETTLE, "broker-2 is ready again", || {
            let node = stack.node("broker-2");
            if node["state"] == "ready" && node["pid"] != victim { Ok(()) } else { Err(node.to_string()) }
        });
        stack.await_whole(admin);
        process::kill(i32::try_from(self.0.id()).unwrap(), 15);
        ended(&mut self.0, "the producer");
        let wanted = acknowledged(&stack.home().join("producer.json"));
        assert!(wanted.len() > 5_000, "{} acknowledged", wanted.len());
        let count: i64 = stack.call(admin.end_offsets("independent", &[0, 1, 2], CALL)).unwrap().iter().sum();
        let read = stack.home().join("consumer.json");
        let count = count.to_string();
        let arguments =
            ["--group-id", "independent", "--reset-policy", "earliest", "--verbose", "--max-messages", &count];
        let mut consumer = verifiable(stack, "VerifiableConsumer", &read, &arguments);
        ended(&mut consumer, "the consumer");
        let there = values(&read, "record_data");
        let lost: Vec<&String> = wanted.difference(&there).take(10).collect();
        assert!(lost.is_empty(), "acknowledged to Kafka's own producer and gone: {lost:?}");
        eprintln!(
            "VerifiableProducer: {} acknowledged while the daemon and broker-2 were killed, VerifiableConsumer read all of them",
            wanted.len()
        );
    }
}

/// Runs a class of Kafka's tools with the JVM and the class path of a broker that runs.
fn verifiable(stack: &Stack, class: &str, output: &std::path::Path, arguments: &[&str]) -> Child {
    let pid = stack.pid("broker-1");
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    let at = words.iter().position(|w| w == "-cp" || w == "-classpath").expect("the broker's class path");
    let java = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    Command::new(java)
        .args(["-Xmx128m", "-cp", &words[at + 1], &format!("org.apache.kafka.tools.{class}")])
        .args(["--bootstrap-server", "127.0.0.1:29092,127.0.0.1:29093,127.0.0.1:29094", "--topic", "independent"])
        .args(arguments)
        .current_dir(stack.home())
        .stdin(Stdio::null())
        .stdout(File::create(output).unwrap())
        .stderr(File::create(output.with_extension("err")).unwrap())
        .spawn()
        .unwrap()
}

fn ended(child: &mut Child, who: &str) {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > DRILL {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{who} did not end");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn acknowledged(file: &std::path::Path) -> BTreeSet<String> {
    values(file, "producer_send_success")
}

/// The values of all lines of this name.
fn values(file: &std::path::Path, name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|l| l["name"] == name).filter_map(|l| l["value"].as_str().map(str::to_owned)).collect()
}
