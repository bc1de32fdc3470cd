//! `events`: what the daemon notes, who ordered it, what is shown without a daemon and while somebody follows.

use crate::support::{
    Root, STATE_LIMIT, fake,
    process::{self, alive},
    until,
};
use serde_json::Value;
use std::{fs, io::Write};

/// Every event of the root, as `events --json` prints them.
pub fn events(root: &Root) -> Vec<Value> {
    parsed(&root.ok(&["events", "--json"]).stdout)
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

/// The kinds of a node's events.
fn kinds(events: &[Value], node: &str) -> Vec<String> {
    let of_node = events.iter().filter(|e| e["node"] == node);
    of_node.map(|e| e["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_life_is_told_from_the_first_start_to_the_end_of_the_daemon() {
    let root =
        Root::new(&[fake("a", &["notify=READY=1"]).notify(), fake("b", &["notify=READY=1"]).notify().after(&["a"])]);
    root.expect_log("node=a");
    root.up();
    process::kill(root.pid("a"), 9);
    root.await_node("a", "ready again", |n| n["state"] == "ready" && n["incarnation"] == 2);
    root.ok(&["stop", "b"]);
    root.down();
    let all = events(&root);
    assert_eq!(all[0]["kind"], "daemon-started");
    assert_eq!(all.last().unwrap()["kind"], "daemon-ended");
    // Where there is little to prepare it is over within the turn.
    let lives = |node: &str| -> Vec<String> {
        kinds(&all, node).into_iter().filter(|k| !k.starts_with("incident") && k != "preparing").collect()
    };
    assert_eq!(lives("a"), ["started", "ready", "ended", "started", "ready", "stopping", "ended"], "{all:#?}");
    assert_eq!(lives("b"), ["waiting", "started", "ready", "order", "stopping", "ended"]);
    for event in &all {
        let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["at", "by", "cause", "incarnation", "incident", "kind", "node", "reason", "text", "took_ms"]);
    }
    let reasons = |node: &str, kind: &str| -> Vec<Value> {
        all.iter().filter(|e| e["node"] == node && e["kind"] == kind).map(|e| e["reason"].clone()).collect()
    };
    assert_eq!(reasons("a", "started"), [Value::Null, "died".into()], "with the daemon, then after its death");
    assert_eq!((reasons("b", "stopping"), reasons("a", "stopping")), (vec!["by-hand".into()], vec!["down".into()]));
    assert_eq!(reasons("a", "ended"), [Value::Null, Value::Null], "an end has its cause");
    let death = all.iter().find(|e| e["kind"] == "ended").unwrap();
    assert_eq!((&death["cause"], &death["incarnation"]), (&"killed-by-other".into(), &1.into()));
    let times: Vec<&str> = all.iter().map(|e| e["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn an_order_names_its_sender_and_a_refusal_its_reason() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]).after(&["a"])]);
    root.up();
    let stop = root.spawn(&["stop", "b"]);
    let pid = stop.pid();
    assert_eq!(stop.wait(STATE_LIMIT).code, Some(0));
    root.fails(8, &["kill", "b", "--signal", "TERM"]);
    let all = events(&root);
    let orders: Vec<&Value> = all.iter().filter(|e| e["kind"] == "order").collect();
    // An `up` that starts its daemon has nothing to order.
    assert_eq!((&orders[0]["text"], &orders[0]["by"]["pid"]), (&"stop b".into(), &pid.into()));
    assert_eq!(orders[0]["by"]["uid"], nix::unistd::getuid().as_raw());
    assert_eq!(orders[1]["text"], "send SIGTERM to b");
    let refused = all.iter().find(|e| e["kind"] == "refused").unwrap();
    assert!(refused["text"].as_str().unwrap().starts_with("b does not run"), "{refused}");
    let text = root.ok(&["events", "b"]).stdout;
    assert!(text.contains(&format!("pid {pid})")), "{text}");
    assert!(!text.contains("daemon-started"), "only what is about b: {text}");
}

#[test]
fn events_are_read_without_a_daemon_and_go_on_under_the_next_one() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("adopt");
    root.expect_log("node=a");
    root.up();
    let daemon = root.daemon();
    process::kill(daemon, 9);
    until(STATE_LIMIT, "the daemon is gone", || if alive(daemon) { Err("alive".into()) } else { Ok(()) });
    let before = events(&root);
    assert!(kinds(&before, "a").contains(&"started".to_owned()));
    root.up();
    let after = events(&root);
    assert_eq!(after[..before.len()], before[..], "nothing that was written changes");
    let fresh = &after[before.len()..];
    assert_eq!(fresh[0]["kind"], "daemon-started");
    assert!(fresh[0]["text"].as_str().unwrap().contains("had not ended in order"), "{}", fresh[0]);
    assert_eq!(kinds(fresh, "a")[0], "adopted");
    root.down();
    assert!(root.ok(&["events", "-n", "1"]).stdout.contains("daemon-ended"));
    assert!(root.fails(2, &["events", "nobody"]).stderr.contains("there is no node nobody"));
}

#[test]
fn following_shows_what_happens_and_crosses_rotations() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let mut follower = root.spawn(&["events", "-f", "--json", "-n", "0"]);
    let seen = |follower: &crate::support::Client, what: &str, count: usize| {
        until(STATE_LIMIT, what, || {
            let out = follower.stdout();
            if out.matches(what).count() >= count { Ok(out) } else { Err(out) }
        })
    };
    // It has begun when what happens from now on arrives.
    let mut count = 0;
    until(STATE_LIMIT, "the follower has begun", || {
        root.ok(&["restart", "a"]);
        count += 1;
        if follower.stdout().contains("\"kind\":\"order\"") { Ok(()) } else { Err(follower.stdout()) }
    });
    let (current, state) = (root.path().join("state/events.jsonl"), root.path().join("state"));
    for number in 1..=3 {
        // As the daemon's own rotation does it.
        fs::rename(&current, state.join(format!("events.{number:08}.jsonl"))).unwrap();
        root.ok(&["stop", "a"]);
        seen(&follower, "\"stop a\"", number);
        root.ok(&["start", "a"]);
    }
    let out = seen(&follower, "\"start a\"", 3);
    let parsed = parsed(&out);
    assert_eq!(parsed.iter().filter(|e| e["text"] == "start a").count(), 3, "none doubled");
    assert!(follower.is_running());
    follower.signal(2);
    assert_eq!(follower.wait(STATE_LIMIT).code, Some(130));
    let all = events(&root);
    assert_eq!(all.iter().filter(|e| e["text"] == "stop a").count(), 3, "all files are read");
}

#[test]
fn a_torn_event_file_costs_only_its_torn_line() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    root.down();
    let path = root.path().join("state/events.jsonl");
    let whole = fs::read(&path).unwrap();
    let before = events(&root).len();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let output = root.ok(&["events", "--json"]);
    assert_eq!(parsed(&output.stdout).len(), before - 1, "half a line is not shown");
    root.up();
    root.down();
    let output = root.ok(&["events", "--json"]);
    assert!(output.stderr.contains("1 lines of the event log were cut short"), "{output}");
    let after = parsed(&output.stdout);
    assert_eq!(after[before - 1]["kind"], "daemon-started", "what comes next is whole");
    assert_eq!(after.last().unwrap()["kind"], "daemon-ended");
    // Garbage is passed over, and none of it reaches the terminal.
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\x1b[2J\0\xff{\n").unwrap();
    let output = root.ok(&["events"]);
    assert!(!output.stdout.contains('\u{1b}') && !output.stderr.contains('\u{1b}'), "{output}");
}
