//! A stop that comes while a broker starts waits for the start, and says so; whoever forces it has read the price, and pays it: the next
//! start checks every log again. Nothing that was acknowledged is lost.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, VERB_LIMIT, client::Client, pid_of, process, until, wait::stays},
};
use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

const NODE: &str = "broker-3";

/// What Kafka says of a directory that was not closed (`LogManager.loadLogs`).
const RECOVERS: &str = "no clean shutdown file was found";

/// There when a broker has closed its logs. It takes it away when it begins to open them, and from then on a halt is dirty.
fn clean(stack: &Stack) -> PathBuf {
    stack.path().join("nodes").join(NODE).join("data/.kafka_cleanshutdown")
}

/// Starts the broker and holds it (SIGSTOP) in the middle of its own start-up, where it stays until somebody ends it: its pid, and who
/// waits for the start. One that was quicker than this is stopped, and it is tried again.
fn held_in_its_start_up(stack: &Stack) -> (i32, Client) {
    for _ in 0..5 {
        let start = stack.spawn(&["start", NODE]);
        let pid = pid_of(&stack.await_node(NODE, "it has a process", |n| n["pid"].is_i64()));
        let began = Instant::now();
        while clean(stack).exists() {
            assert!(began.elapsed() < STATE_LIMIT, "it never begins to open its logs: {}", stack.log(NODE));
            thread::sleep(Duration::from_millis(1));
        }
        process::kill(pid, libc::SIGSTOP);
        let node = stack.node(NODE);
        if node["state"] == "starting" {
            return (pid, start);
        }
        process::kill(pid, libc::SIGCONT);
        assert_eq!(start.wait(VERB_LIMIT).code, Some(0));
        stack.ok(&["stop", NODE]);
    }
    panic!("it is ready before it can be held, five times");
}

#[test]
fn a_stop_that_waits_for_a_start_up_is_forced_at_the_price_that_was_told_and_nothing_acknowledged_is_lost() {
    let stack = Stack::begun();
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    let mut wanted = Vec::new();
    let mut write = |what: &str, count: i32| {
        for n in 0..count {
            let payload = format!("{what}-{n}");
            stack.produce(&admin, n % 3, &payload);
            wanted.push(payload);
        }
    };
    write("before", 60);
    stack.ok(&["stop", NODE]);
    assert!(clean(&stack).exists(), "a stop in order leaves its mark");
    write("away", 30);
    let (pid, start) = held_in_its_start_up(&stack);

    // Asked for: queued, with how far the start is and what a halt would cost, for whoever waits and whoever looks.
    let mut stop = stack.spawn(&["stop", NODE]);
    let node = stack.await_node(NODE, "it is wanted down", |n| n["wanted"] == "down");
    assert_eq!((&node["state"], &node["pid"]), (&"starting".into(), &pid.into()), "{node}");
    let queued = [
        "the stop is queued until it is ready",
        "still starting",
        "a SIGTERM now would halt it without closing its logs, and its next start checks them all again",
        "`stop --now`",
    ];
    let detail = node["detail"].as_str().unwrap();
    for words in queued {
        assert!(detail.contains(words), "{words}: {node}");
    }
    let table = stack.ok(&["status"]).stdout;
    eprintln!("{table}");
    assert!(table.contains("the stop is queued"), "{table}");
    stays(Duration::from_secs(2), "nobody touches it", || stop.is_running() && process::alive(pid));

    // Forced, and it is paid.
    stack.ok(&["stop", "--now", NODE]);
    let stopped = stop.wait(VERB_LIMIT);
    assert_eq!(stopped.code, Some(0), "who had asked before hears of it, too\n{stopped}");
    for words in queued {
        assert!(stopped.stderr.contains(words), "{words}: {stopped}");
    }
    eprintln!("{stopped}");
    // The start was taken back by the stop.
    drop(start.wait(VERB_LIMIT));
    let node = stack.node(NODE);
    assert_eq!(
        (&node["state"], &node["last_exit"]["signal"], &node["last_exit"]["cause"]),
        (&"down".into(), &"SIGKILL".into(), &"killed-by-order".into()),
        "{node}"
    );
    assert!(!clean(&stack).exists(), "no log was closed");
    write("halted", 30);

    let recovered = |stack: &Stack| stack.log(NODE).matches(RECOVERS).count();
    let before = recovered(&stack);
    stack.ok(&["start", NODE]);
    until(STATE_LIMIT, "its start checks every log", || match recovered(&stack) - before {
        0 => Err("it found them closed".to_owned()),
        _ => Ok(()),
    });
    stack.await_whole(&admin);
    write("after", 30);
    stack.assert_all_there(&admin, &wanted);
    assert_eq!(stack.events("incident"), Vec::<String>::new(), "what was ordered is no incident");
    stack.assert_logs_know_nothing_fatal();
}
