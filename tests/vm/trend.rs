//! Where memory goes, by the guest's own clock: a node that leaks at a known rate, one that climbs to its cap, one that is close to it,
//! and one that holds page cache only. One boot of a guest (`trend.sh`), one test per fact.

use super::{
    guest::{Guest, Size, idle},
    node, script,
};
use serde_json::Value;
use std::{sync::OnceLock, time::Duration};

const MIB: f64 = 1_048_576.0;

/// There is no trend before ten minutes (`engine::trend`), so this guest mostly waits.
fn growing() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    idle(&GUEST, ("trend", Size("768M", Duration::from_secs(1_500))), &script("trend.sh"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Within a fifth of it.
fn about(seen: f64, wanted: f64, what: &str) {
    assert!((seen - wanted).abs() <= wanted / 5.0, "{what}: {seen}, not about {wanted}");
}

fn events(guest: &Guest) -> Vec<Value> {
    guest.saw("all.events").lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Where the events of a kind about a node stand.
fn places(events: &[Value], kind: &str, node: &str) -> Vec<usize> {
    (0..events.len()).filter(|at| events[*at]["kind"] == kind && events[*at]["node"] == node).collect()
}

#[test]
fn everything_that_was_waited_for_came_while_memory_grew() {
    let guest = or_skip!(growing(), "everything_that_was_waited_for_came_while_memory_grew");
    assert_eq!((guest.saw("end"), guest.saw("never")), ("reached".into(), String::new()), "{}", guest.journal());
    assert_eq!(guest.saw("end.daemon"), "0", "{}", guest.journal());
}

#[test]
fn a_node_that_leaks_has_its_rate_and_the_hours_until_its_cap_in_the_status() {
    let guest = or_skip!(growing(), "a_node_that_leaks_has_its_rate_and_the_hours_until_its_cap_in_the_status");
    let status = guest.json("trend");
    let memory = &node(&status, "leak")["memory"];
    // 4 KiB a second
    let per_hour = 4.0 * 1_024.0 * 3_600.0;
    about(number(&memory["trend_bytes_per_hour"]), per_hour, "bytes in an hour");
    let left = number(&memory["cap_bytes"]) - number(&memory["anon_bytes"]);
    let hours = number(&memory["hours_to_cap"]);
    about(hours, left / per_hour, "hours to the cap");
    let text = guest.saw("trend.text");
    let line = text.lines().find(|line| line.starts_with("leak: ")).unwrap_or_else(|| panic!("{text}"));
    let when = format!("of its cap of 64M; as it grows, there in {hours} h");
    assert!(line.contains("its own memory (anon) is ") && line.contains(&when), "{line}");
    let table = guest.saw("trend.memory");
    let row = table.lines().find(|line| line.starts_with("leak ")).unwrap_or_else(|| panic!("{table}"));
    let cells: Vec<&str> = row.split_whitespace().collect();
    let [.., trend, to_cap] = cells[..] else { panic!("{row}") };
    assert!(trend.starts_with('+') && trend.ends_with("M/h"), "{row}");
    about(to_cap.parse().unwrap(), left / per_hour, "hours in the table");
}

#[test]
fn before_ten_minutes_are_over_no_trend_is_told() {
    let guest = or_skip!(growing(), "before_ten_minutes_are_over_no_trend_is_told");
    let status = guest.json("early");
    for name in ["leak", "close", "cache"] {
        let memory = &node(&status, name)["memory"];
        assert!(memory["trend_bytes_per_hour"].is_null() && memory["hours_to_cap"].is_null(), "{name}: {memory}");
    }
}

#[test]
fn a_node_that_climbs_to_its_cap_is_warned_of_before_the_kernel_kills_it() {
    let guest = or_skip!(growing(), "a_node_that_climbs_to_its_cap_is_warned_of_before_the_kernel_kills_it");
    let events = events(guest);
    let ([high], [ended]) = (&places(&events, "memory-high", "climb")[..], &places(&events, "ended", "climb")[..])
    else {
        panic!("{}", guest.saw("all.events"))
    };
    assert!(high < ended, "{}", guest.saw("all.events"));
    let text = events[*high]["text"].as_str().unwrap();
    let per_cent: u64 =
        text.split(" % of its cap of 48M").next().and_then(|t| t.rsplit(' ').next()?.parse().ok()).unwrap();
    assert!((85..100).contains(&per_cent), "{text}");
    let record: Value = serde_json::from_str(&guest.saw("climb.record")).unwrap();
    assert_eq!((&record["cause"], &record["memory"]["limit"]), (&"out-of-memory".into(), &"cap".into()), "{record}");
}

#[test]
fn a_warning_after_ten_minutes_says_when_the_cap_is_met() {
    let guest = or_skip!(growing(), "a_warning_after_ten_minutes_says_when_the_cap_is_met");
    let events = events(guest);
    let [high] = places(&events, "memory-high", "close")[..] else { panic!("{}", guest.saw("all.events")) };
    let text = events[high]["text"].as_str().unwrap();
    let hours = text.split_once("; as it grows, in ").and_then(|(_, rest)| rest.strip_suffix(" h"));
    // 15 % of the cap are left, at 7 KiB a second
    let left = 64.0 * 0.15 * MIB / (7.0 * 1_024.0 * 3_600.0);
    about(hours.unwrap_or_else(|| panic!("{text}")).parse().unwrap(), left, text);
    let memory = &node(&guest.json("warned"), "close")["memory"];
    assert!(number(&memory["anon_bytes"]) >= number(&memory["cap_bytes"]) * 0.85, "{memory}");
}

#[test]
fn a_node_that_fills_its_cap_with_page_cache_has_no_hours_and_no_warning() {
    let guest = or_skip!(growing(), "a_node_that_fills_its_cap_with_page_cache_has_no_hours_and_no_warning");
    for look in ["trend", "warned"] {
        let status = guest.json(look);
        let cache = node(&status, "cache");
        let memory = &cache["memory"];
        assert!(number(&memory["current_bytes"]) > 28.0 * MIB && number(&memory["file_bytes"]) > 24.0 * MIB, "{cache}");
        assert!(number(&memory["trend_bytes_per_hour"]).abs() < MIB, "{cache}");
        assert!(memory["hours_to_cap"].is_null(), "{cache}");
        assert_eq!(
            (&memory["oom_kills"], &cache["state"], &cache["restarts"]),
            (&0.into(), &"ready".into(), &0.into())
        );
    }
    assert!(!guest.saw("trend.text").lines().any(|line| line.starts_with("cache: ")), "{}", guest.saw("trend.text"));
    assert_eq!(places(&events(guest), "memory-high", "cache"), [0usize; 0]);
}
