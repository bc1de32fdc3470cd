//! What the daemon knows of the cluster: a broker's death and return as events within a second or two, its leaders home again, and
//! the same in `status`; a roll under a producer, of which no write fails, also where its daemon is killed; and `why-not`, which says the truth.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, VERB_LIMIT, process, until},
};
use cdc_supervisor::clients::kafka::Admin;
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Kinds and texts of the events that are about this broker; none: of all.
fn events(stack: &Stack, node: Option<&str>) -> Vec<(String, String)> {
    let lines = stack.ok(&["events", "--json"]).stdout;
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|e| node.is_none_or(|node| e["node"].as_str() == Some(node)))
        .map(|e| (e["kind"].as_str().unwrap().to_owned(), e["text"].as_str().unwrap().to_owned()))
        .collect()
}

fn await_event(stack: &Stack, node: Option<&str>, kind: &str, words: &str) -> String {
    until(STATE_LIMIT, &format!("{kind} of {node:?} with {words:?}"), || {
        let all = events(stack, node);
        let found = all.iter().rev().find(|(k, text)| k == kind && text.contains(words)).map(|(_, text)| text.clone());
        found.ok_or_else(|| format!("{all:?}"))
    })
}

fn kafka(stack: &Stack) -> Value {
    stack.status()["cluster"]["kafka"].clone()
}

fn await_kafka(stack: &Stack, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    until(STATE_LIMIT, what, || {
        let seen = kafka(stack);
        if good(&seen) { Ok(seen) } else { Err(seen.to_string()) }
    })
}

/// All three brokers and the topic that is made to prove them are known, and everything is where it belongs. A look may be a second
/// old, and from before the last broker came.
fn settled(kafka: &Value) -> bool {
    kafka["brokers"].as_array().is_some_and(|all| all.len() == 3)
        && kafka["partitions"].as_u64() >= Some(3)
        && kafka["under_replicated"]["count"] == 0
        && kafka["offline"]["count"] == 0
        && kafka["not_led_by_preferred"]["count"] == 0
}

/// A producer with acks=all and no second try: what it wrote, how many failed, and the longest time between two
/// acknowledgements.
pub struct Writing {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(i32, Vec<String>, Duration)>,
}

impl Writing {
    pub fn begin(stack: &Stack, admin: &Arc<Admin>, name: &'static str, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (admin, until) = (Arc::clone(admin), Arc::clone(&stop));
        let task = stack.beside(async move {
            let (mut written, mut failed, mut gap, mut last) = (0, Vec::new(), Duration::ZERO, Instant::now());
            while !until.load(Ordering::Relaxed) {
                let payload = format!("{name}-{written}");
                let limit = Duration::from_secs(20);
                match admin.produce("test-phase1", Some(written % 3), payload.as_bytes(), limit).await {
                    Ok(_) => {
                        gap = gap.max(last.elapsed());
                        last = Instant::now();
                        written += 1;
                    }
                    Err(e) => failed.push(format!("{payload}: {}", e.in_one_line())),
                }
                // how fast it writes
                tokio::time::sleep(pause).await;
            }
            (written, failed, gap)
        });
        Self { stop, task }
    }

    pub fn end(self, stack: &Stack) -> (i32, Vec<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        stack.call(self.task).unwrap()
    }
}

#[test]
fn a_death_and_a_return_are_told_at_once_and_leaders_come_home() {
    let stack = Stack::begun();
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);

    // what status knows of a cluster in which nothing is missing
    let whole = await_kafka(&stack, "a settled cluster", settled);
    assert_eq!(whole["brokers"].as_array().unwrap().len(), 3, "{whole:#}");
    for broker in whole["brokers"].as_array().unwrap() {
        assert_eq!((&broker["listed"], &broker["out_of_sync"]), (&true.into(), &0.into()), "{whole:#}");
        assert_eq!(broker["leads"], broker["preferred"], "{whole:#}");
    }
    // it is asked every few seconds
    let status = until(STATE_LIMIT, "ZooKeeper has told of three sessions", || {
        let status = stack.status();
        let told = status["cluster"]["zookeeper"]["sessions"] == 3;
        if told { Ok(status) } else { Err(status["cluster"]["zookeeper"].to_string()) }
    });
    assert_eq!(status["cluster"]["zookeeper"]["mode"], "standalone");
    let owners = until(STATE_LIMIT, "every broker's session is known as ours", || {
        let owners = stack.status()["cluster"]["zookeeper"]["owners"].clone();
        let known = owners.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(|o| o["ours"] == true));
        if known { Ok(owners) } else { Err(owners.to_string()) }
    });
    let mysql = &status["cluster"]["mysql"];
    assert!(mysql["gtid_executed"].as_str().is_some_and(|gtid| gtid.contains(":1")), "{mysql:#}");
    assert_eq!(mysql["binlog_keeps_s"], 259_200, "{mysql:#}");
    assert!(mysql["binlog_since"].is_string() && mysql["binlog_bytes"].as_u64() > Some(0), "{mysql:#}");
    let text = stack.ok(&["status"]).stdout;
    for words in ["every replica in sync", "standalone, latency", "a reader may be away for"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    println!("{text}");

    // a leader that is not the controller, so that one thing happens at a time
    let controller = whole["controller"].as_u64().unwrap();
    let victim = (1..=3).find(|id| *id != controller).unwrap();
    let name = format!("broker-{victim}");
    let before = stack.pid(&name);
    let killed = Instant::now();
    process::kill(before, 9);
    let shrunk = await_event(&stack, Some(&name), "isr-shrunk", "left the ISR of");
    println!(
        "{name}: {shrunk} ({:.1} s after the kill, as seen through the command line)",
        killed.elapsed().as_secs_f64()
    );
    let expanded = await_event(&stack, Some(&name), "isr-expanded", "it is in every ISR now");
    let home = await_event(&stack, Some(&name), "leaders-elected", "leads");
    println!("{name}: {expanded}; {home} ({:.1} s after the kill)", killed.elapsed().as_secs_f64());
    let again = await_kafka(&stack, "a settled cluster again", settled);
    for broker in again["brokers"].as_array().unwrap() {
        assert_eq!(broker["leads"], broker["preferred"], "{again:#}");
    }
    // ZooKeeper is asked every few seconds: a return can be told of before its session is.
    let of = |owners: &Value| owners.as_array().unwrap().iter().find(|o| o["broker"] == victim).cloned();
    let old = of(&owners).unwrap()["session"].clone();
    until(STATE_LIMIT, "a new run has a session of its own, which is known as ours", || {
        let owners = stack.status()["cluster"]["zookeeper"]["owners"].clone();
        let known = of(&owners).is_some_and(|o| o["session"] != old && o["ours"] == true);
        if known { Ok(()) } else { Err(owners.to_string()) }
    });

    // the controller's death is told as such
    let name = format!("broker-{controller}");
    process::kill(stack.pid(&name), 9);
    until(STATE_LIMIT, "another controller is told of", || {
        let all: Vec<_> = (1..=3).flat_map(|id| events(&stack, Some(&format!("broker-{id}")))).collect();
        let words = format!("it was broker {controller}");
        let told = all.iter().any(|(kind, text)| kind == "controller-changed" && text.contains(&words));
        if told { Ok(()) } else { Err(format!("{all:?}")) }
    });
    await_event(&stack, Some(&name), "leaders-elected", "leads");
    await_kafka(&stack, "a settled cluster at last", settled);
}

#[test]
fn a_roll_restarts_brokers_one_by_one_and_no_write_fails() {
    let stack = Stack::begun();
    stack.up();
    let admin = Arc::new(stack.admin());
    stack.await_whole(&admin);
    let pids = stack.pids();
    let before = await_kafka(&stack, "a settled cluster", settled);
    let controller = format!("broker-{}", before["controller"]);

    // a plan touches nothing, and the controller is last in it
    let plan = stack.ok(&["roll", "--plan"]);
    println!("{plan}");
    let json = stack.ok(&["roll", "--plan", "--json"]).stdout;
    let outlook: Value = serde_json::from_str(&json).unwrap();
    let order: Vec<&str> = outlook["nodes"].as_array().unwrap().iter().map(|n| n["node"].as_str().unwrap()).collect();
    assert_eq!((order.len(), order[2]), (3, controller.as_str()), "{outlook:#}");
    assert_eq!(outlook["safe"], true, "{outlook:#}");
    assert_eq!(stack.pids(), pids);

    let writing = Writing::begin(&stack, &admin, "rolled", Duration::from_millis(2));
    let began = Instant::now();
    let rolling = stack.spawn(&["roll"]);
    // one at a time, also across verbs
    await_event(&stack, None, "operation-step", &format!("{}: restarts", order[0]));
    let refused = stack.fails(8, &["roll"]);
    assert!(refused.stderr.contains("under way since"), "{refused}");
    let refused = stack.fails(8, &["reload"]);
    assert!(refused.stderr.contains("under way since"), "{refused}");
    stack.expect_log("under way since");
    for order in [&["stop", "broker-1"][..], &["restart", "zookeeper"], &["restart", "--anyway", "nobody"]] {
        let code = if order[1] == "--anyway" { 2 } else { 8 };
        let refused = stack.fails(code, order);
        assert!(code == 2 || refused.stderr.contains("meanwhile") && refused.stderr.contains("--anyway"), "{refused}");
    }
    let output = rolling.wait(VERB_LIMIT * 3);
    let took = began.elapsed();
    assert_eq!(output.code, Some(0), "{output}");
    let (written, failed, gap) = writing.end(&stack);
    println!("{output}");
    println!(
        "roll of three brokers: {:.1} s, {written} records at {:.0} a second, {} failed, longest time between two \
         acknowledgements {:.2} s",
        took.as_secs_f64(),
        f64::from(written) / took.as_secs_f64(),
        failed.len(),
        gap.as_secs_f64()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(written > 100, "{written} records are no load");
    let wanted: Vec<String> = (0..written).map(|n| format!("rolled-{n}")).collect();
    stack.assert_all_there(&admin, &wanted);
    for (name, old) in crate::stack::NODES.iter().zip(&pids) {
        let node = stack.node(name);
        assert_eq!(crate::support::pid_of(&node) != *old, name.starts_with("broker-"), "{node}");
        assert_eq!(node["restarts"], 0, "{node}");
    }
    // in the order of the plan, and every leader is where it was; the reason is among each broker's own events
    for name in &order {
        let lines = stack.ok(&["events", "--json", name]).stdout;
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for kind in ["stopping", "started"] {
            let last = lines.iter().rfind(|e| e["kind"] == kind).unwrap();
            assert_eq!(last["reason"], "roll", "{last}");
        }
        assert!(lines.iter().any(|e| e["kind"] == "operation-step"), "{name}: {lines:?}");
    }
    let steps: Vec<String> = events(&stack, None)
        .into_iter()
        .filter(|(kind, _)| kind == "operation-step")
        .filter_map(|(_, text)| Some(text.split_once(": restarts")?.0.rsplit(": ").next()?.to_owned()))
        .collect();
    assert_eq!(steps, order);
    let after = await_kafka(&stack, "leaders are home after a roll", settled);
    for (old, new) in before["brokers"].as_array().unwrap().iter().zip(after["brokers"].as_array().unwrap()) {
        assert_eq!(old["leads"], new["leads"], "{after:#}");
    }
}

#[test]
fn why_not_says_the_truth_and_a_roll_waits_while_it_is_unsafe() {
    let stack = Stack::begun();
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    let said = stack.ok(&["why-not", "broker-1"]).stdout;
    assert!(said.contains("nothing breaks"), "{said}");
    let said = stack.fails(9, &["why-not", "zookeeper"]).stdout;
    assert!(said.contains("no leader is elected"), "{said}");
    stack.fails(2, &["why-not", "broker-9"]);

    // a topic with one replica: it goes offline with its broker, and only then; no waiting helps
    stack.call(admin.create_topic("alone", 1, 1, &[], Duration::from_secs(20))).unwrap();
    let view = stack.await_cluster(&admin, "the topic has a leader", |v| {
        v.topic("alone").is_some_and(|t| t.partitions.first().is_some_and(|p| p.leader.is_some()))
    });
    let holder = view.topic("alone").unwrap().partitions[0].replicas[0];
    let (holder, other) = (format!("broker-{holder}"), format!("broker-{}", holder % 3 + 1));
    let said = stack.fails(9, &["why-not", &holder, "--json"]).stdout;
    let outlook: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(outlook["nodes"][0]["goes_offline"], serde_json::json!(["alone-0"]), "{outlook:#}");
    // Each broker has a list of its own, and one may not know of the topic yet.
    until(STATE_LIMIT, "nothing breaks with another one", || {
        let said = stack.run(&["why-not", &other]);
        if said.code == Some(0) { Ok(()) } else { Err(said.to_string()) }
    });
    let refused = stack.fails(8, &["roll"]);
    assert!(refused.stderr.contains("alone-0") && refused.stderr.contains("--accept-unavailable"), "{refused}");
    stack.expect_log("no waiting changes that");

    // one broker is stopped by order: another one's stop would refuse writes, and a roll waits until it is back
    stack.ok(&["stop", &other]);
    stack.await_cluster(&admin, "two brokers in every ISR", |v| v.broker_ids().len() == 2);
    let third = (1..=3).map(|id| format!("broker-{id}")).find(|n| *n != holder && *n != other).unwrap();
    let said = stack.fails(9, &["why-not", &third]).stdout;
    let refuses = said.lines().find(|l| l.contains("refuses acks=all")).unwrap().to_owned();
    assert!(refuses.contains("test-phase1-0"), "{said}");
    assert!(said.contains("is stopped by order"), "{said}");
    println!("{said}");
    let pid = stack.pid(&third);
    let mut rolling = stack.spawn(&["roll", &third]);
    crate::support::wait::stays(Duration::from_secs(2), "it waits", || {
        rolling.is_running() && stack.pid(&third) == pid
    });
    stack.ok(&["start", &other]);
    let output = rolling.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert_ne!(stack.pid(&third), pid);

    // a wait that is too long leaves it, and says so
    stack.ok(&["stop", &other]);
    let left = stack.fails(6, &["roll", "--max-wait", "1s", &third]);
    assert!(left.stderr.contains("stopped by order") && left.stderr.contains(&format!("roll {third}")), "{left}");
    stack.expect_log("and stopped");
    stack.ok(&["start", &other]);
}

#[test]
fn a_roll_whose_daemon_is_killed_is_finished_by_the_next_one_and_no_record_is_lost() {
    let stack = Stack::begun();
    stack.up();
    let admin = Arc::new(stack.admin());
    stack.await_whole(&admin);
    let (pids, runs) = (stack.pids(), incarnations(&stack));
    let writing = Writing::begin(&stack, &admin, "finished", Duration::from_millis(5));
    let first = killed_at_the_first_broker(&stack, &["roll"]);
    stack.up();
    await_event(&stack, None, "operation-left", "was cut short with its daemon");
    let rest: Vec<&str> = BROKERS.into_iter().filter(|n| *n != first).collect();
    let words = format!("not restarted: {}; this daemon does the rest when the nodes have settled", rest.join(", "));
    await_event(&stack, None, "operation-left", &words);
    // it is told what it does, and in every status until it is done
    let begins = format!("roll {} begins: what is left of roll, begun at ", rest.join(", "));
    let begun = await_event(&stack, None, "operation-begun", &begins);
    assert!(begun.contains(", ordered by uid "), "{begun}");
    let told = stack.status()["cut_short"].clone();
    assert_eq!((&told["operation"], &told["resume"]), (&"roll".into(), &"runs".into()), "{told}");
    let refused = stack.fails(8, &["roll"]);
    assert!(refused.stderr.contains("under way since"), "{refused}");
    stack.expect_log("under way since");
    let ended = format!("roll {}: restarted ", rest.join(", "));
    let ended = until(VERB_LIMIT * 2, "it is finished", || {
        let all = events(&stack, None);
        let found = all.iter().find(|(kind, text)| kind == "operation-ended" && text.starts_with(&ended));
        found.map(|(_, text)| text.clone()).ok_or_else(|| format!("{}", stack.status()["cut_short"]))
    });
    println!("{begun}\n{ended}");
    stack.await_whole(&admin);
    await_kafka(&stack, "leaders are home", settled);
    let once: Vec<u64> = runs.iter().map(|run| run + 1).collect();
    assert_eq!(incarnations(&stack), once, "every broker was restarted once, by one of the two daemons");
    for (name, old) in crate::stack::NODES.iter().zip(&pids) {
        assert_eq!(stack.pid(name) != *old, BROKERS.contains(name), "{name}");
    }
    let (written, failed, gap) = writing.end(&stack);
    println!("{written} records, {} failed, longest time between two acknowledgements {gap:.2?}", failed.len());
    assert!(failed.is_empty() && written > 100, "{written} records; {failed:?}");
    let wanted: Vec<String> = (0..written).map(|n| format!("finished-{n}")).collect();
    stack.assert_all_there(&admin, &wanted);
    // and a daemon after that has nothing to do
    for file in ["operation.json", "unrolled.json"] {
        assert!(!stack.path().join("state").join(file).exists(), "{file}");
    }
    process::kill(stack.daemon(), 9);
    stack.up();
    crate::support::wait::stays(Duration::from_secs(4), "nothing is left", || stack.status()["cut_short"].is_null());
    assert_eq!(incarnations(&stack), once);

    what_was_ordered_meanwhile_wins_over_what_is_left_of_a_roll(&stack);
    everything_stops_in_order_though_zookeeper_was_stopped_before(&stack);
}

const BROKERS: [&str; 3] = ["broker-1", "broker-2", "broker-3"];

fn incarnations(stack: &Stack) -> Vec<u64> {
    BROKERS.iter().map(|name| stack.node(name)["incarnation"].as_u64().unwrap()).collect()
}

/// Begins to roll and kills the daemon when the first broker is down; which that is.
fn killed_at_the_first_broker(stack: &Stack, order: &[&str]) -> String {
    let (pids, before) = (stack.pids(), stack.events("operation-step").len());
    let rolling = stack.spawn(order);
    let step = until(STATE_LIMIT, "the first step", || {
        let steps = stack.events("operation-step").split_off(before);
        steps.iter().find(|text| text.contains(": restarts")).cloned().ok_or_else(|| format!("{steps:?}"))
    });
    let first = step.split_once(": restarts").unwrap().0.rsplit(": ").next().unwrap().to_owned();
    let old = pids[crate::stack::NODES.iter().position(|n| *n == first).unwrap()];
    until(STATE_LIMIT, "the first broker ends", || if process::alive(old) { Err(old.to_string()) } else { Ok(()) });
    process::kill(stack.daemon(), 9);
    let output = rolling.wait(VERB_LIMIT);
    assert_ne!(output.code, Some(0), "nobody says that it is done: {output}");
    stack.expect_log("was cut short with its daemon");
    first
}

/// A broker that is stopped before its turn comes stays so, and the wait for it is as long as the one who ordered the roll wanted.
fn what_was_ordered_meanwhile_wins_over_what_is_left_of_a_roll(stack: &Stack) {
    let runs = incarnations(stack);
    let first = killed_at_the_first_broker(stack, &["roll", "--max-wait", "3s"]);
    let rest: Vec<&str> = BROKERS.into_iter().filter(|n| *n != first).collect();
    // An `up` would have started what is stopped.
    let daemon = stack.spawn(&["run"]);
    stack.await_daemon_node(rest[0]);
    stack.ok(&["stop", rest[0]]);
    let words = format!("waited 3.0 s before {} and stopped", rest[1]);
    let told = until(VERB_LIMIT, "it is left", || {
        let told = stack.status()["cut_short"].clone();
        if told["resume"] == "left" { Ok(told) } else { Err(told.to_string()) }
    });
    stack.expect_log(&words);
    assert!(told["resume_detail"].as_str().unwrap().contains(&words), "{told}");
    assert_eq!(told["not_restarted"], serde_json::json!([rest[1]]), "{told}");
    await_event(stack, None, "operation-ended", "no daemon tries it again");
    let node = stack.node(rest[0]);
    assert_eq!((&node["state"], &node["wanted"]), (&"down".into(), &"down".into()), "{node}");
    // a person does the rest
    stack.ok(&["start", rest[0]]);
    let output = stack.spawn(&["roll", rest[1]]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(stack.status()["cut_short"], Value::Null, "nothing is left");
    assert_eq!(incarnations(stack), runs.iter().map(|run| run + 1).collect::<Vec<_>>());
    process::kill(stack.daemon(), 9);
    drop(daemon.wait(VERB_LIMIT));
    stack.up();
    assert_eq!(stack.status()["cut_short"], Value::Null, "nor is anything kept");
}

fn everything_stops_in_order_though_zookeeper_was_stopped_before(stack: &Stack) {
    stack.ok(&["stop", "zookeeper"]);
    let down = stack.down();
    let first = "zookeeper was started first: brokers run, and none can end without it\n";
    assert!(down.stdout.starts_with(first), "{down}");
    for broker in ["broker-1", "broker-2", "broker-3"] {
        let clean = stack.path().join(format!("nodes/{broker}/data/.kafka_cleanshutdown"));
        assert!(clean.exists(), "{broker} was killed");
    }
}
