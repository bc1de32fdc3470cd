//! A broker that is killed under the unit: its ZooKeeper session is closed when its end is on record and its cgroup is empty, and it
//! comes back at once.

use super::{ran_on, stack};
use crate::support::node_of;
use serde_json::Value;

#[test]
fn the_session_of_a_killed_broker_is_closed_when_its_end_is_on_record_and_its_cgroup_is_empty() {
    let guest =
        or_skip!(stack(), "the_session_of_a_killed_broker_is_closed_when_its_end_is_on_record_and_its_cgroup_is_empty");
    assert_eq!(guest.saw("fence.group"), "/system.slice/cdc-supervisor.service/nodes/broker-2");
    let record = guest.saw("fence.record");
    assert!(record.lines().any(|line| line == "status=signal 9"), "{record}");
    let ended: i64 = record.lines().find_map(|line| line.strip_prefix("ended_at=")?.parse().ok()).unwrap();
    assert_eq!(guest.saw("fence.planted"), "gone", "the session was closed while something of its group lived");

    let text = guest.saw("fence.events");
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let at = |kind: &str| {
        let of = |event: &&Value| event["kind"] == kind && event["node"] == "broker-2";
        let found: Vec<usize> = (0..events.len()).filter(|at| of(&&events[*at])).collect();
        assert_eq!(found.len(), 1, "{kind}: {text}");
        found[0]
    };
    let (before, after) = (guest.json("fence-before"), guest.json("fence-after"));
    let (old, new) = (node_of(&before, "broker-2"), node_of(&after, "broker-2"));
    let fenced = &events[at("fenced")];
    assert_eq!(fenced["incarnation"], old["incarnation"], "{fenced}");
    assert!(fenced["took_ms"].as_i64().is_some_and(|took| took >= 0) && ended > 0, "{fenced}");
    assert!(at("ended") < at("started") && at("fenced") < at("started"), "{text}");
    // NodeExists would have been a second end.
    let told = |key: &str| new[key].as_u64().unwrap().checked_sub(old[key].as_u64().unwrap());
    assert_eq!((told("incarnation"), told("restarts")), (Some(1), Some(1)), "{new}");
    assert_eq!((&new["last_exit"]["signal"], &new["state"]), (&"SIGKILL".into(), &"ready".into()), "{new}");
    ran_on(&before, &after, &["zookeeper", "broker-1", "broker-3", "mysql", "ticker"]);
}
