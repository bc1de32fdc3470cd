//! What an installation goes through while the real products run: a reload, a broker over its cap, a later version, a restart, and
//! its end.

use super::{NODES, caps_hold, ended, ran_on, stack};
use crate::{guest::Guest, packed::LATER, support::node_of};
use serde_json::Value;

const BROKERS: [&str; 3] = ["broker-1", "broker-2", "broker-3"];

/// Events that were kept under a name, in their order: kind, node.
fn events(guest: &Guest, name: &str) -> Vec<(String, String)> {
    let text = guest.saw(&format!("{name}.events"));
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.map(|event| (word(&event, "kind"), word(&event, "node"))).collect()
}

/// Where the first, or last, event of a kind about a node stands.
fn at(events: &[(String, String)], kind: &str, node: &str, last: bool) -> usize {
    let is = |event: &(String, String)| event.0 == kind && event.1 == node;
    let found = if last { events.iter().rposition(is) } else { events.iter().position(is) };
    found.unwrap_or_else(|| panic!("no {kind} of {node}: {events:?}"))
}

/// Brokers had ended before ZooKeeper was asked to. The ends of the last ones and the order that follows are of one turn, whose events
/// stand in the order of the nodes: those ends may stand right behind.
fn stopped_in_order(events: &[(String, String)]) {
    let zookeeper = at(events, "stopping", "zookeeper", false);
    for name in BROKERS {
        let ended = at(events, "ended", name, false);
        let between = events.get(zookeeper + 1..=ended).unwrap_or_default();
        assert!(
            between.iter().all(|(kind, node)| kind == "ended" && BROKERS.contains(&node.as_str())),
            "{name} ended after ZooKeeper was stopped: {events:?}"
        );
    }
    for name in NODES {
        at(events, "ended", name, false);
        assert!(!events.iter().any(|(kind, node)| kind == "killing" && node == name), "{name} was killed: {events:?}");
    }
}

#[test]
fn a_reload_takes_the_real_brokers_one_after_the_other_and_no_two_leave_an_isr() {
    let guest = or_skip!(stack(), "a_reload_takes_the_real_brokers_one_after_the_other_and_no_two_leave_an_isr");
    ended(guest, "reload", 0, &[]);
    let events = events(guest, "reload");
    let mut runs: Vec<(usize, usize)> = BROKERS
        .iter()
        .map(|name| (at(&events, "stopping", name, false), at(&events, "isr-expanded", name, true)))
        .collect();
    runs.sort_unstable();
    assert!(runs.windows(2).all(|two| two[0].1 < two[1].0), "one was taken before another was back: {events:?}");
    for kind in ["under-min-isr", "partitions-offline", "incident"] {
        assert!(!events.iter().any(|(of, _)| of == kind), "{kind}: {events:?}");
    }
    let (before, after) = (guest.json("before"), guest.json("reload"));
    for name in BROKERS {
        assert_ne!(node_of(&before, name)["pid"], node_of(&after, name)["pid"], "{name}");
        assert_eq!(node_of(&after, name)["last_exit"]["cause"], "stopped", "{name}");
        assert_eq!(guest.saw(&format!("reload.{name}.property")), "1", "{name}");
    }
}

#[test]
fn a_reload_leaves_zookeeper_and_mysqld_running_and_changes_a_cap_in_place() {
    let guest = or_skip!(stack(), "a_reload_leaves_zookeeper_and_mysqld_running_and_changes_a_cap_in_place");
    ran_on(&guest.json("before"), &guest.json("reload"), &["zookeeper", "mysql", "ticker"]);
    let brokers = BROKERS.map(|name| (name, 768));
    caps_hold(guest, "reload", [("zookeeper", 384), brokers[0], brokers[1], brokers[2], ("mysql", 1152)]);
}

#[test]
fn a_real_broker_over_its_cap_is_killed_alone_and_comes_back_into_every_isr() {
    let guest = or_skip!(stack(), "a_real_broker_over_its_cap_is_killed_alone_and_comes_back_into_every_isr");
    let (before, after) = (guest.json("reload"), guest.json("oom-after"));
    ran_on(&before, &after, &["zookeeper", "broker-1", "broker-2", "mysql", "ticker"]);
    let broker = node_of(&after, "broker-3");
    assert_eq!(
        (&broker["state"], &broker["last_exit"]["cause"]),
        (&"ready".into(), &"out-of-memory".into()),
        "{broker}"
    );
    assert_eq!(after["cluster"]["kafka"]["under_replicated"]["count"], 0, "{after}");
    assert_eq!(guest.saw("oom.unit"), "active");
}

#[test]
fn the_record_of_a_real_broker_over_its_cap_tells_limit_parts_heap_collections_and_which_cap_was_in_force() {
    let guest = or_skip!(
        stack(),
        "the_record_of_a_real_broker_over_its_cap_tells_limit_parts_heap_collections_and_which_cap_was_in_force"
    );
    let text = guest.saw("oom.text");
    let incident: Value = serde_json::from_str(&guest.saw("oom.json")).unwrap();
    let memory = &incident["memory"];
    assert_eq!((&incident["cause"], &incident["verdict"]), (&"out-of-memory".into(), &"explained".into()), "{text}");
    let part = |key: &str| memory[key].as_u64().unwrap_or_else(|| panic!("{key}: {text}"));
    assert_eq!(
        (&memory["limit"], part("cap_bytes"), part("heap_bytes")),
        (&"cap".into(), 768 << 20, 512 << 20),
        "{text}"
    );
    // As at the last look, up to ten seconds before.
    assert!(part("anon_bytes") > 100_000_000 && part("kernel_bytes") > 0 && memory["file_bytes"].is_u64(), "{text}");
    let anon: u64 = guest.saw("oom.anon").parse().unwrap();
    assert!((anon..=768 << 20).contains(&part("peak_bytes")), "{anon}: {text}");
    for setting in ["-Xmx512m", "-XX:MaxDirectMemorySize=56m"] {
        assert!(memory["settings"].as_array().is_some_and(|all| all.contains(&setting.into())), "{setting}: {text}");
    }
    let remedy = incident["remedy"].as_str().unwrap_or_default();
    // The guest has written it, for a broker's own limits keep it below the cap of its configuration.
    assert_eq!(part("cap_in_force_bytes"), 256 << 20, "{text}");
    assert!(remedy.starts_with("its memory.max was 256M then, not 768M"), "{remedy}");
    let telling = incident["evidence"]["telling"].as_array().unwrap();
    let collections =
        telling.iter().filter(|line| line.as_str().is_some_and(|l| l.contains("GC(") && l.contains("Pause")));
    assert!(collections.count() > 0, "{text}");
}

#[test]
fn a_later_version_takes_over_the_real_nodes_with_their_pids() {
    let guest = or_skip!(stack(), "a_later_version_takes_over_the_real_nodes_with_their_pids");
    ended(guest, "upgrade", 0, &["6 nodes run on with their pids", &format!("installed  cdc-supervisor {LATER}")]);
    assert_eq!(guest.saw("upgrade.before"), guest.saw("upgrade.after"), "another main process");
    assert_eq!(guest.saw("upgrade.version"), format!("cdc-supervisor {LATER}"));
    let after = guest.json("upgrade");
    assert_eq!(after["supervisor"]["version"], LATER);
    ran_on(&guest.json("oom-after"), &after, &NODES);
    ran_on(&guest.json("oom-after"), &after, &["ticker"]);
}

#[test]
fn a_restart_of_the_unit_stops_the_real_nodes_in_order_and_starts_each_anew() {
    let guest = or_skip!(stack(), "a_restart_of_the_unit_stops_the_real_nodes_in_order_and_starts_each_anew");
    ended(guest, "restart", 0, &[]);
    let events = events(guest, "restart");
    stopped_in_order(&events);
    let zookeeper = at(&events, "ready", "zookeeper", true);
    for name in BROKERS {
        assert!(
            zookeeper < at(&events, "started", name, true),
            "{name} was started before ZooKeeper served: {events:?}"
        );
    }
    let (before, after) = (guest.json("upgrade"), guest.json("restart"));
    for name in NODES {
        let (old, new) = (node_of(&before, name), node_of(&after, name));
        assert_ne!(old["pid"], new["pid"], "{name}");
        assert_eq!((&new["state"], &new["last_exit"]["cause"]), (&"ready".into(), &"stopped".into()), "{new}");
    }
}

#[test]
fn after_all_of_it_the_stack_verifies() {
    let guest = or_skip!(stack(), "after_all_of_it_the_stack_verifies");
    ended(guest, "verify", 0, &["verified: "]);
}

#[test]
fn uninstall_stops_the_real_nodes_in_order_and_keeps_their_data() {
    let guest = or_skip!(stack(), "uninstall_stops_the_real_nodes_in_order_and_keeps_their_data");
    ended(guest, "uninstall", 0, &["stopped    cdc-supervisor.service", "removed ", "kept  "]);
    stopped_in_order(&events(guest, "uninstall"));
    assert_eq!((guest.saw("uninstall.left"), guest.saw("uninstall.files")), (String::new(), String::new()));
    let kept = guest.saw("uninstall.kept");
    for file in [
        "broker-1/data/meta.properties",
        "broker-3/data/meta.properties",
        "mysql/data/ibdata1",
        // its first log goes with its third snapshot
        "zookeeper/data/version-2/log.",
    ] {
        assert!(kept.lines().any(|line| line.starts_with(file)), "{file}: {kept}");
    }
    assert_eq!(kept.lines().last(), Some("1"), "the configuration is as it was");
}

#[test]
fn what_was_kept_is_used_again_and_purge_takes_all_of_it() {
    let guest = or_skip!(stack(), "what_was_kept_is_used_again_and_purge_takes_all_of_it");
    ended(guest, "again", 0, &[&format!("installed  cdc-supervisor {LATER}")]);
    assert_eq!(guest.saw("again.config"), "1");
    ended(guest, "purge-unasked", 8, &["--purge deletes /var/lib/cdc-supervisor with all data"]);
    ended(guest, "purge", 0, &["purged     /var/lib/cdc-supervisor and /etc/cdc-supervisor"]);
    assert_eq!(guest.saw("purge.left"), "");
}
