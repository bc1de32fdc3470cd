//! What a roll and a reload look at before they take a broker away: ZooKeeper, topics that are made meanwhile, replicas that nobody
//! brings back, a broker that does not come back, and one that leaves. One stack, because each is a moment on the same road.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, VERB_LIMIT, process, until, wait::stays},
};
use cdc_supervisor::clients::kafka::{Admin, Partition, listener_metadata, set_on_broker};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

const CALL: Duration = Duration::from_secs(20);

/// The file below its root: without MySQL, and with these lines of Kafka.
fn configure(stack: &Stack, kafka: &str) {
    let text = fs::read_to_string(stack.config()).unwrap();
    let artifacts = text.split_once("\n\n").unwrap().1.split_once("[zookeeper]").unwrap().0.to_owned();
    stack.configure_raw(&format!("{artifacts}[zookeeper]\n[kafka]\n{kafka}"));
}

/// Every replica of every partition is in sync, on so many brokers.
fn whole(stack: &Stack, admin: &Admin, brokers: &[u32]) {
    stack.await_cluster(admin, "a whole cluster", |v| v.broker_ids() == brokers && v.troubles().is_empty());
}

fn without_topics(stack: &Stack, admin: &Admin) {
    let view = stack.call(admin.describe(CALL)).unwrap();
    for topic in &view.topics {
        stack.call(admin.delete_topic(&topic.name, CALL)).unwrap();
    }
    stack.await_cluster(admin, "no topic is left", |v| v.topics.is_empty());
}

#[test]
fn a_broker_is_taken_away_only_after_a_look_at_everything_it_is_needed_for() {
    let stack = Stack::begun();
    configure(&stack, "");
    stack.up();
    let admin = stack.admin();
    whole(&stack, &admin, &[1, 2, 3]);
    let is_home = |p: &Partition| p.leader == p.replicas.first().copied();
    stack.await_cluster(&admin, "every leader is home", |v| v.partitions().all(|(_, p)| is_home(p)));
    without_zookeeper(&stack);
    with_a_zookeeper_that_does_not_answer(&stack, &admin);
    a_replica_that_lags(&stack, &admin);
    a_listener_that_lies(&stack, &admin);
    a_topic_that_is_made_while_a_roll_waits(&stack, &admin);
    a_reload_needs_the_same_consent(&stack, &admin);
    a_broker_that_does_not_come_back(&stack, &admin);
    replicas_that_nobody_brings_back(&stack, &admin);
    a_broker_that_leaves(&stack, &admin);
    a_broker_that_is_stopped_while_a_roll_waits(&stack);
    a_stopped_broker_without_replicas(&stack);
}

/// Brokers answer from memory while ZooKeeper is down: everything looks whole, and no leader could move.
fn without_zookeeper(stack: &Stack) {
    let pid = stack.pid("broker-1");
    stack.ok(&["stop", "zookeeper"]);
    let said = stack.fails(9, &["why-not", "broker-1"]).stdout;
    assert!(said.contains("no leader could move") && said.contains("zookeeper is not ready (down"), "{said}");
    assert!(said.contains("unreadable        test-phase1-"), "{said}");
    let left = stack.fails(6, &["roll", "--max-wait", "1s", "broker-1"]);
    assert!(left.stderr.contains("zookeeper is not ready") && left.stderr.contains("roll broker-1"), "{left}");
    stack.expect_log("and stopped");
    let mut rolling = stack.spawn(&["roll", "broker-1"]);
    stays(Duration::from_secs(2), "it waits", || rolling.is_running() && stack.pid("broker-1") == pid);
    stack.ok(&["start", "zookeeper"]);
    let output = rolling.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert!(
        output.stderr.contains("waits before broker-1: zookeeper is not ready"),
        "it says for what it waits\n{output}"
    );
    assert_ne!(stack.pid("broker-1"), pid);
}

/// The same when it runs and does not answer, which the next look at the node would only show seconds later.
fn with_a_zookeeper_that_does_not_answer(stack: &Stack, admin: &Admin) {
    whole(stack, admin, &[1, 2, 3]);
    let (pid, zookeeper) = (stack.pid("broker-1"), stack.pid("zookeeper"));
    stack.await_node("zookeeper", "ready", |n| n["state"] == "ready");
    process::kill(zookeeper, libc::SIGSTOP);
    let mut rolling = stack.spawn(&["roll", "broker-1"]);
    until(STATE_LIMIT, "it says for what it waits", || match rolling.stderr() {
        said if said.contains("no leader could move") => Ok(()),
        said => Err(said),
    });
    assert!(rolling.is_running() && stack.pid("broker-1") == pid, "{}", rolling.stderr());
    process::kill(zookeeper, libc::SIGCONT);
    let output = rolling.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert_ne!(stack.pid("broker-1"), pid);
}

/// Every broker serves, and one of them is a long way behind in a partition: neither a roll nor a drill takes another one away.
fn a_replica_that_lags(stack: &Stack, admin: &Admin) {
    let throttled = [("follower.replication.throttled.replicas", "*"), ("min.insync.replicas", "1")];
    stack.call(admin.create_topic("lags", 1, 3, &throttled, CALL)).unwrap();
    whole(stack, admin, &[1, 2, 3]);
    let rate = |bytes: &str| {
        let setting = BTreeMap::from([("follower.replication.throttled.rate".to_owned(), bytes.to_owned())]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 29094));
        stack.call(set_on_broker(address, 3, &setting, false, CALL)).unwrap();
    };
    rate("1024");
    stack.ok(&["stop", "broker-3"]);
    for _ in 0..64 {
        stack.call(admin.produce("lags", Some(0), &[b'x'; 32 << 10], CALL)).unwrap();
    }
    let starting = stack.spawn(&["start", "broker-3"]);
    stack.await_cluster(admin, "it is there, and behind", |v| {
        let lags = |p: &Partition| p.isr.len() == 2 && p.replicas.contains(&3);
        v.broker_ids() == [1, 2, 3] && v.topic("lags").is_some_and(|t| t.partitions.iter().all(lags))
    });
    let pids = ["broker-1", "broker-2"].map(|name| stack.pid(name));
    let left = stack.fails(6, &["roll", "--max-wait", "1s", "broker-1"]);
    assert!(left.stderr.contains("lags-0: broker 3 is not in sync") || left.stderr.contains("broker-3"), "{left}");
    let refused = stack.fails(8, &["drill", "broker-kill"]);
    assert!(refused.stderr.contains("nothing is broken on purpose while something is broken already"), "{refused}");
    assert!(refused.stderr.contains("broker-3 is") || refused.stderr.contains("lags-0"), "{refused}");
    eprintln!("{left}\n{refused}");
    assert_eq!(["broker-1", "broker-2"].map(|name| stack.pid(name)), pids);
    rate("1000000000");
    assert_eq!(starting.wait(VERB_LIMIT).code, Some(0));
    whole(stack, admin, &[1, 2, 3]);
    stack.call(admin.delete_topic("lags", CALL)).unwrap();
    whole(stack, admin, &[1, 2, 3]);
}

/// Broker 2 says from now on that its INTERNAL listener is where only a forwarder is: everybody gets through, and every replica is in sync.
/// Which broker answers where cannot be told from what they say, so neither a roll nor a drill takes one away.
fn a_listener_that_lies(stack: &Stack, admin: &Admin) {
    whole(stack, admin, &[1, 2, 3]);
    stack.expect_log("broker-2");
    let truly = SocketAddr::from((Ipv4Addr::LOCALHOST, 29093));
    let forwarder = forwarder(truly);
    let advertise = |internal: SocketAddr| {
        let text = format!("INTERNAL://{internal},EXTERNAL://localhost:9093");
        let setting = BTreeMap::from([("advertised.listeners".to_owned(), text)]);
        stack.call(set_on_broker(truly, 2, &setting, false, CALL)).unwrap();
    };
    advertise(forwarder);
    let pids = || ["broker-1", "broker-2", "broker-3"].map(|name| stack.pid(name));
    let before = pids();
    let lies = "broker 2 says that it listens elsewhere than where it answers";
    until(STATE_LIMIT, "it says so itself", || {
        let view = stack.call(listener_metadata(truly, CALL)).map_err(|e| e.in_one_line())?;
        let there = view.brokers.iter().any(|b| b.id == 2 && b.port == forwarder.port());
        if there { Ok(()) } else { Err(format!("{:?}", view.brokers)) }
    });
    let refused = stack.fails(8, &["drill", "broker-kill"]);
    // By the brokers' words, or by those of the probe, which has met the same listener.
    let met = [lies, "broker-2 is degraded (degraded since"].iter().any(|words| refused.stderr.contains(words));
    assert!(refused.stderr.contains("something is broken already") && met, "{refused}");
    let left = stack.fails(6, &["roll", "--max-wait", "1s", "broker-1"]);
    assert!(left.stderr.contains(lies) && left.stderr.contains("roll broker-1"), "{left}");
    let refused = stack.fails(9, &["verify"]);
    assert!(refused.stdout.contains("FAIL  kafka  INTERNAL 29093 advertises every broker where it is"), "{refused}");
    assert_eq!(pids(), before, "nothing was touched");
    eprintln!("{left}\n{refused}");
    advertise(truly);
    whole(stack, admin, &[1, 2, 3]);
}

/// Hands everything on to `to`, for as long as the test's program lives.
fn forwarder(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else { continue };
            for (from, into) in [(&client, &server), (&server, &client)] {
                let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

fn a_topic_that_is_made_while_a_roll_waits(stack: &Stack, admin: &Admin) {
    let pid = stack.pid("broker-1");
    stack.ok(&["stop", "broker-2"]);
    let mut rolling = stack.spawn(&["roll", "broker-1"]);
    stays(Duration::from_secs(1), "it waits", || rolling.is_running() && stack.pid("broker-1") == pid);
    // on the two brokers that are left, one partition each
    stack.call(admin.create_topic("alone", 2, 1, &[], CALL)).unwrap();
    stack.ok(&["start", "broker-2"]);
    let output = rolling.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(8), "{output}");
    for words in ["broker-1 is not restarted", "alone-", "left as they were: broker-1", "--accept-unavailable"] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    stack.expect_log("no waiting changes that");
    assert_eq!(stack.pid("broker-1"), pid);
    let output = stack.spawn(&["roll", "--accept-unavailable", "broker-1"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("meanwhile offline alone-"), "the step says what it costs\n{output}");
    assert_ne!(stack.pid("broker-1"), pid);
}

fn a_reload_needs_the_same_consent(stack: &Stack, admin: &Admin) {
    let pid = stack.pid("broker-1");
    configure(stack, "[kafka.brokers.1.properties]\nqueued.max.requests = 400\n[kafka.brokers.2]\n[kafka.brokers.3]\n");
    let plan = stack.ok(&["plan"]).stdout;
    for words in ["what breaks while each is away", "goes offline: alone-", "unless --accept-unavailable"] {
        assert!(plan.contains(words), "{words}\n{plan}");
    }
    let plan: Value = serde_json::from_str(&stack.ok(&["plan", "--json"]).stdout).unwrap();
    assert_eq!(plan["outlook"]["nodes"][0]["node"], "broker-1", "{plan:#}");
    let refused = stack.fails(8, &["reload"]);
    assert!(refused.stderr.contains("nothing was changed") && refused.stderr.contains("alone-"), "{refused}");
    assert_eq!(stack.pid("broker-1"), pid);
    let output = stack.spawn(&["reload", "--accept-unavailable"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("new settings; meanwhile offline alone-"), "{output}");
    assert_ne!(stack.pid("broker-1"), pid);
    stack.call(admin.delete_topic("alone", CALL)).unwrap();
    whole(stack, admin, &[1, 2, 3]);
}

/// Its port is taken while it is down: the others have what it lacks, so none of them is restarted.
fn a_broker_that_does_not_come_back(stack: &Stack, admin: &Admin) {
    let plan = stack.ok(&["roll", "--plan", "--json", "broker-1", "broker-2"]).stdout;
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let names: Vec<&str> = plan["nodes"].as_array().unwrap().iter().map(|n| n["node"].as_str().unwrap()).collect();
    let (first, second) = (names[0], names[1]);
    let pid = stack.pid(second);
    let port = 29091 + first.trim_start_matches("broker-").parse::<u16>().unwrap();
    let thief = std::thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < STATE_LIMIT {
            if let Ok(listener) = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
                return Some(listener);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        None
    });
    let output = stack.spawn(&["roll", "--max-wait", "12s", "broker-1", "broker-2"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(6), "{output}");
    for words in [
        format!("{first} did not come back; no other broker is restarted"),
        format!("done: restarted {first}"),
        format!("left as they were: {second}"),
    ] {
        assert!(output.stderr.contains(&words), "{words}\n{output}");
    }
    for words in ["did not come back", "taken", first] {
        stack.expect_log(words);
    }
    assert_eq!(stack.pid(second), pid);
    drop(thief.join().unwrap().expect("the port was free for a moment"));
    stack.ok(&["start", first]);
    whole(stack, admin, &[1, 2, 3]);
}

fn replicas_that_nobody_brings_back(stack: &Stack, admin: &Admin) {
    without_topics(stack, admin);
    stack.call(admin.create_topic("spare", 1, 3, &[("min.insync.replicas", "1")], CALL)).unwrap();
    whole(stack, admin, &[1, 2, 3]);
    stack.ok(&["stop", "broker-2"]);
    let pid = stack.pid("broker-1");
    let left = stack.fails(6, &["roll", "--max-wait", "1s", "broker-1"]);
    assert!(left.stderr.contains("spare-0 has a replica on broker 2, which is stopped by order"), "{left}");
    assert!(left.stderr.contains("--force"), "{left}");
    assert_eq!(stack.pid("broker-1"), pid);
    let output = stack.spawn(&["roll", "--force", "broker-1"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    for words in ["by force, although spare-0", "every replica that can be is in sync"] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    assert_ne!(stack.pid("broker-1"), pid);
    stack.ok(&["start", "broker-2"]);
    whole(stack, admin, &[1, 2, 3]);
}

/// Three brokers become two. What the third holds is asked for before anything is changed, and again at its turn.
fn a_broker_that_leaves(stack: &Stack, admin: &Admin) {
    let pids = ["broker-1", "broker-2", "broker-3"].map(|name| stack.pid(name));
    configure(stack, "[kafka.brokers.1.properties]\nqueued.max.requests = 400\n[kafka.brokers.2]\n");
    let refused = stack.fails(8, &["reload"]);
    assert!(refused.stderr.contains("replicas of spare-0 are on it"), "{refused}");
    assert!(refused.stderr.contains("nothing was changed"), "{refused}");
    stack.expect_log("holds replicas");
    assert_eq!(["broker-1", "broker-2", "broker-3"].map(|name| stack.pid(name)), pids);

    // a topic that comes to it while the others restart
    stack.call(admin.delete_topic("spare", CALL)).unwrap();
    let reloading = stack.spawn(&["reload"]);
    until(STATE_LIMIT, "the first one is away", || {
        let view = stack.call(admin.describe(CALL)).map_err(|e| e.in_one_line())?;
        match view.broker_ids().len() {
            2 => Ok(()),
            n => Err(format!("{n} brokers")),
        }
    });
    until(STATE_LIMIT, "a topic on the two that are there", || {
        let made = stack.call(admin.create_topic("late", 2, 2, &[("min.insync.replicas", "1")], CALL));
        made.map_err(|e| e.in_one_line())
    });
    let output = reloading.wait(VERB_LIMIT * 2);
    assert_eq!(output.code, Some(8), "{output}");
    for words in ["broker-3 is not in the file any more but holds replicas", "late-", "left as they were: broker-3"] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    assert_eq!(stack.pid("broker-3"), pids[2]);

    stack.call(admin.delete_topic("late", CALL)).unwrap();
    let output = stack.spawn(&["reload"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stdout.contains("stopped and dropped broker-3"), "{output}");
    whole(stack, admin, &[1, 2]);
}

/// Its turn comes, and a roll starts nothing that a person has stopped.
fn a_broker_that_is_stopped_while_a_roll_waits(stack: &Stack) {
    let pid = stack.pid("broker-1");
    stack.ok(&["stop", "zookeeper"]);
    let mut rolling = stack.spawn(&["roll"]);
    stays(Duration::from_secs(1), "it waits", || rolling.is_running() && stack.pid("broker-1") == pid);
    // It ends when ZooKeeper is back.
    let stopping = stack.spawn(&["stop", "--anyway", "broker-2"]);
    stack.await_node("broker-2", "it is wanted down", |n| n["wanted"] == "down");
    stack.ok(&["start", "zookeeper"]);
    let output = rolling.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("broker-2: stays stopped: that was ordered meanwhile"), "{output}");
    assert_eq!(output.stdout.trim(), "restarted broker-1", "{output}");
    assert_eq!(stopping.wait(VERB_LIMIT).code, Some(0));
    let node = stack.node("broker-2");
    assert_eq!((&node["state"], &node["wanted"]), (&"down".into(), &"down".into()), "{node}");
    assert_ne!(stack.pid("broker-1"), pid);
    stack.ok(&["start", "broker-2"]);
}

/// Nothing is missing where it has no replica: no order is needed to go on.
fn a_stopped_broker_without_replicas(stack: &Stack) {
    let pid = stack.pid("broker-1");
    stack.ok(&["stop", "broker-2"]);
    let output = stack.spawn(&["roll", "broker-1"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert_ne!(stack.pid("broker-1"), pid);
}
