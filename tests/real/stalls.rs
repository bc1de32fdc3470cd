//! What holds real nodes up is seen: pauses of their collectors, and a thread that gets no processor, against the session that is at
//! stake. And brokers go on without ZooKeeper: nothing that the daemon asks of them waits for it.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, process, until, wait::stays},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Short: half of it is soon gone, and signs of life are given (and held up) every 0.7 s, of which a look adds up ten seconds.
const SESSION: Duration = Duration::from_secs(2);

fn stalls(stack: &Stack, node: &str) -> Value {
    stack.node(node)["stalls"].clone()
}

/// The longest pause in a collector's log, milliseconds.
fn longest_pause(stack: &Stack, node: &str) -> f64 {
    let log = fs::read_to_string(stack.path().join(format!("nodes/{node}/run/tmp/gc.log"))).unwrap();
    let pauses = log.lines().filter(|line| line.contains(" Pause "));
    pauses.filter_map(|line| line.rsplit(' ').next()?.strip_suffix("ms")?.parse().ok()).fold(0.0, f64::max)
}

/// How the names of the threads that give signs of life begin, in a broker's first session and in the next ones.
const FIRST: &str = "main-SendThread";
const NEXT: &str = "zk-client-Kafka";

/// The threads of a broker whose names, as the kernel keeps them, begin so.
fn threads(pid: i32, name: &str) -> Vec<String> {
    let all = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| fs::read_to_string(path.join("comm")).unwrap_or_default().starts_with(name);
    all.filter(named).map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Programs that want one processor for themselves, until they are dropped.
struct Hogs(Vec<Child>);

impl Hogs {
    /// Eight more of them.
    fn more_on(&mut self, cpu: &str) {
        let hog = || {
            let mut hog = Command::new("taskset");
            hog.args(["-c", cpu, "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
            hog.spawn().unwrap()
        };
        self.0.extend((0..8).map(|_| hog()));
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

/// Gives a thread little of one processor, which it has to share with the hogs there. One that has ended meanwhile cannot be held up.
fn hold_up(thread: &str, cpu: &str) {
    for command in [&["taskset", "-p", "-c", cpu, thread][..], &["renice", "-n", "19", "-p", thread]] {
        let _ = Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[test]
fn pauses_of_collectors_and_waits_for_a_processor_are_told_against_the_session() {
    let stack = Stack::begun();
    let text = fs::read_to_string(stack.config()).unwrap();
    let body = text.split_once("\n\n").unwrap().1;
    let body = body.replace("[zookeeper]\n", "[zookeeper]\ntick = \"200ms\"\n");
    let session = format!("[kafka]\nsession_timeout = \"{}s\"\n", SESSION.as_secs());
    stack.configure_raw(&body.replace("[kafka]\n", &session));
    // a machine that is as busy as this test makes it holds others up, too
    stack.expect_log("was held up for");
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);

    for node in ["zookeeper", "broker-1", "broker-2", "broker-3"] {
        let seen = until(STATE_LIMIT, &format!("both kinds of {node} are known"), || {
            let seen = stalls(&stack, node);
            if seen["collector"].is_object() && seen["processor"]["at"].is_string() {
                Ok(seen)
            } else {
                Err(seen.to_string())
            }
        });
        assert_eq!(seen["session_ms"], 2_000, "{node}: {seen}");
    }
    assert!(stalls(&stack, "mysql").is_null());
    // what is told is what the JVM has written, to a tenth of a millisecond
    until(STATE_LIMIT, "the longest pause of broker-1 is told", || {
        let (told, written) =
            (stalls(&stack, "broker-1")["collector"]["longest_ms"].as_f64(), longest_pause(&stack, "broker-1"));
        let same = written > 0.0 && told.is_some_and(|told| (told - written).abs() <= 0.1);
        if same { Ok(()) } else { Err(format!("{told:?}, {written} is written")) }
    });
    println!("{}", stack.ok(&["status"]).stdout);

    // Stopped for longer than its session lasts: the thread that gave signs of life goes with the session. The next session's has
    // another name, and is watched from now on.
    let broker = stack.pid("broker-2");
    process::kill(broker, libc::SIGSTOP);
    std::thread::sleep(SESSION + Duration::from_secs(2));
    process::kill(broker, libc::SIGCONT);
    until(STATE_LIMIT, "broker-2 has another session", || {
        let (first, next) = (threads(broker, FIRST), threads(broker, NEXT));
        if first.is_empty() && !next.is_empty() { Ok(()) } else { Err(format!("{first:?}, {next:?}")) }
    });
    stack.await_whole(&admin);

    // Threads that other programs keep away from their processor: eight, and more where those are too few.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let cpu: String = allowed.chars().take_while(char::is_ascii_digit).collect();
    // where the kernel groups by session (sched(7), autogroup) the group counts; not there: nothing to do
    let _ = fs::write(format!("/proc/{broker}/autogroup"), "19");
    let mut hogs = Hogs(Vec::new());
    let mut more_at = Instant::now();
    let mut held = BTreeSet::new();
    let event = until(STATE_LIMIT * 3, "half of a session is gone", || {
        // How long they wait is up to the kernel and the machine; a look comes every ten seconds.
        if more_at <= Instant::now() && hogs.0.len() < 32 {
            hogs.more_on(&cpu);
            more_at = Instant::now() + Duration::from_secs(25);
        }
        // Held up for too long they lose this session, too.
        for thread in threads(broker, NEXT) {
            if held.insert(thread.clone()) {
                hold_up(&thread, &cpu);
            }
        }
        let told = stack.events("stalled").into_iter().rev().find(|text| text.contains("for want of a processor"));
        told.ok_or_else(|| format!("{}, {} threads were held up", stalls(&stack, "broker-2"), held.len()))
    });
    drop(hogs);
    println!("{event}");
    let seen = stalls(&stack, "broker-2");
    assert!(seen["processor"]["longest_ms"].as_f64() >= Some(1_000.0), "{seen}");
    let text = stack.ok(&["status"]).stdout;
    println!("{text}");
    assert!(text.contains("stalls     longest ") && text.contains("of a session of 2.0 s"), "{text}");
    // Not everybody may (sched(7), RLIMIT_NICE): with the others gone it gets its processor all the same.
    for thread in &held {
        let _ =
            Command::new("renice").args(["-n", "0", "-p", thread]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    stack.await_whole(&admin);

    // What a new daemon has not seen it does not tell, but for what is written down.
    let written = stalls(&stack, "broker-1")["collector"]["longest_ms"].clone();
    process::kill(stack.daemon(), 9);
    stack.up();
    until(STATE_LIMIT, "the pauses of before are known", || {
        let seen = stalls(&stack, "broker-1");
        if seen["collector"]["longest_ms"].as_f64() >= written.as_f64() { Ok(()) } else { Err(seen.to_string()) }
    });
}

#[test]
fn brokers_go_on_without_zookeeper_and_it_is_named_when_one_does_not() {
    let stack = Stack::begun();
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    stack.ok(&["stop", "zookeeper"]);
    let state = |node: &str| stack.node(node)["state"].as_str().unwrap_or_default().to_owned();
    // As long as it took until the threads of all of them waited for it: the daemon had asked for settings of topics.
    stays(Duration::from_secs(75), "every broker answers", || {
        // how often somebody looks
        std::thread::sleep(Duration::from_secs(1));
        ["broker-1", "broker-2", "broker-3"].iter().all(|node| state(node) == "ready")
    });
    process::kill(stack.pid("broker-3"), libc::SIGSTOP);
    let degraded = stack.await_node("broker-3", "degraded", |n| n["state"] == "degraded");
    process::kill(stack.pid("broker-3"), libc::SIGCONT);
    let detail = degraded["detail"].as_str().unwrap();
    assert!(detail.contains("zookeeper, which it needs, is down"), "{detail}");
    stack.await_node("broker-3", "ready again", |n| n["state"] == "ready");
    stack.ok(&["start", "zookeeper"]);
    stack.await_whole(&admin);
}
