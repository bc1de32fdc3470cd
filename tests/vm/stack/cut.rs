//! A daemon that is killed under the unit in the middle of a roll and of a drill: systemd starts the next one, which finishes the one,
//! undoes the other, and says so.

use super::{NODES, ran_on, stack};
use crate::{guest::Guest, support::node_of};
use serde_json::Value;

const BROKERS: [&str; 3] = ["broker-1", "broker-2", "broker-3"];

/// Texts of the events of a kind that were kept under a name.
fn texts(guest: &Guest, name: &str, kind: &str) -> Vec<String> {
    let text = guest.saw(&format!("{name}.events"));
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|e| e["kind"] == kind).filter_map(|e| Some(e["text"].as_str()?.to_owned())).collect()
}

fn told(texts: &[String], words: &str) {
    assert!(texts.iter().any(|text| text.contains(words)), "{words}: {texts:#?}");
}

fn another_daemon(guest: &Guest, name: &str) {
    let pids = guest.saw(&format!("{name}.pids"));
    let (old, new) = pids.split_once('\n').unwrap_or_default();
    assert!(!new.is_empty() && old != new && new != "0", "{pids}\n{}", guest.journal());
    assert_ne!(guest.saw(&format!("{name}.rc")), "0", "nobody says that it is done");
}

#[test]
fn a_roll_whose_daemon_is_killed_under_the_unit_is_finished_by_the_next_one_and_no_broker_restarts_twice() {
    let guest = or_skip!(
        stack(),
        "a_roll_whose_daemon_is_killed_under_the_unit_is_finished_by_the_next_one_and_no_broker_restarts_twice"
    );
    another_daemon(guest, "cut");
    assert_eq!(guest.saw("cut.unit"), "active");
    let (before, after) = (guest.json("cut-before"), guest.json("cut-after"));
    for name in BROKERS {
        let (old, new) = (node_of(&before, name), node_of(&after, name));
        let runs = |node: &Value| node["incarnation"].as_u64().unwrap();
        assert_eq!(runs(&new), runs(&old) + 1, "{name} was restarted once: {}", guest.saw("cut.events"));
        assert_eq!((&new["state"], &new["last_exit"]["cause"]), (&"ready".into(), &"stopped".into()), "{new}");
    }
    ran_on(&before, &after, &["zookeeper", "mysql", "ticker"]);
    assert!(after["cut_short"].is_null(), "{after}");
}

#[test]
fn what_is_left_of_a_roll_is_told_in_events_status_and_journal_until_it_is_done() {
    let guest = or_skip!(stack(), "what_is_left_of_a_roll_is_told_in_events_status_and_journal_until_it_is_done");
    let status = guest.json("cut-told");
    let cut = &status["cut_short"];
    assert_eq!((&cut["operation"], &cut["resume"]), (&"roll".into(), &"runs".into()), "{cut}");
    let rest: Vec<&str> = cut["not_restarted"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    // the first one is back already
    assert!((1..=2).contains(&rest.len()), "{cut}");
    assert!(guest.saw("cut-told.text").contains("cut short"), "{}", guest.saw("cut-told.text"));
    let left = texts(guest, "cut", "operation-left");
    told(&left, "was cut short with its daemon");
    told(&left, "this daemon does the rest when the nodes have settled");
    told(&texts(guest, "cut", "operation-begun"), "begins: what is left of roll, begun at ");
    told(&texts(guest, "cut", "operation-ended"), "restarted ");
    let journal = guest.saw("cut.journal");
    for words in ["was cut short with its daemon", "this daemon does the rest when the nodes have settled"] {
        assert!(journal.contains(words), "{words}: {journal}");
    }
}

#[test]
fn a_drill_whose_daemon_is_killed_under_the_unit_is_undone_by_the_next_one_and_the_stopped_broker_goes_on() {
    let guest = or_skip!(
        stack(),
        "a_drill_whose_daemon_is_killed_under_the_unit_is_undone_by_the_next_one_and_the_stopped_broker_goes_on"
    );
    another_daemon(guest, "torn");
    let pid = guest.saw("torn.stopped");
    assert!(
        !pid.is_empty() && guest.saw("torn.still").is_empty(),
        "stopped: {pid}; still: {}",
        guest.saw("torn.still")
    );
    ran_on(&guest.json("cut-after"), &guest.json("torn-after"), &NODES);
    let left = texts(guest, "torn", "operation-left");
    for words in ["drill broker-pause, begun at", "SIGCONT to pid", "removed its topics", "removed its table"] {
        told(&left, words);
    }
    assert!(left.iter().any(|text| text.contains(&format!("SIGCONT to pid {pid}"))), "{left:?}");
    assert!(guest.saw("torn.journal").contains("was cut short with its daemon"), "{}", guest.saw("torn.journal"));
}
