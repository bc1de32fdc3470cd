//! Memory that runs out, limits that drift, warnings, the journal, and an ordinary user's scope: one boot of a guest (`memory.sh`),
//! one test per fact.

use super::{
    figures::Figure,
    guest::{Guest, Size, booted},
    script, support,
};
use serde_json::Value;
use std::{fs, sync::OnceLock, time::Duration};

const MIB: u64 = 1 << 20;

/// Rounds of out-of-memory kills: `CDC_OOM_ROUNDS`, 2,000 in the long form.
fn oom_rounds() -> u32 {
    super::rounds("CDC_OOM_ROUNDS", 50, 2_000)
}

/// The guest in which memory runs out, in every way.
fn hungry() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    let Size(memory, limit) = Size::SMALL;
    let size = Size(memory, limit + Duration::from_secs(6) * oom_rounds());
    booted(&GUEST, "hungry", (1, size), &script("memory.sh"), |share| {
        let seed = std::env::var("CDC_OOM_SEED").unwrap_or_else(|_| "7".into());
        fs::write(share.join("seed"), seed)?;
        fs::write(share.join("rounds"), oom_rounds().to_string())
    })
}

/// Lines of JSON.
fn lines(guest: &Guest, name: &str) -> Vec<Value> {
    guest.saw(name).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn texts(events: &[Value]) -> Vec<String> {
    events.iter().map(|e| e["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn everything_that_was_waited_for_came_while_memory_ran_out() {
    let guest = or_skip!(hungry(), "everything_that_was_waited_for_came_while_memory_ran_out");
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    assert_eq!(guest.saw("never"), "", "{}", guest.journal());
}

#[test]
fn limits_and_shares_are_in_force_and_what_the_host_cannot_give_is_said() {
    let guest = or_skip!(hungry(), "limits_and_shares_are_in_force_and_what_the_host_cannot_give_is_said");
    let mib = |n: u64| (n * MIB).to_string();
    for (file, wanted) in [
        ("memory.max", mib(64)),
        ("memory.swap.max", "0".into()),
        ("memory.oom.group", "1".into()),
        ("memory.high", mib(60)),
        ("memory.low", mib(8)),
        ("cpu.weight", "300".into()),
    ] {
        assert_eq!(guest.saw(&format!("calm.{file}")), wanted, "{file}");
    }
    let trouble = texts(&lines(guest, "calm.trouble"));
    assert!(trouble.iter().any(|t| t.contains("set MemoryLow= of the unit")), "{trouble:?}");
    let io = guest.saw("calm.io.weight");
    let told = trouble.iter().any(|t| t.starts_with("io.weight = 50 is not in force here"));
    assert!(io == "default 50" || told, "{io}: {trouble:?}");
}

#[test]
fn a_node_close_to_its_cap_is_warned_of_once() {
    let guest = or_skip!(hungry(), "a_node_close_to_its_cap_is_warned_of_once");
    let events = texts(&lines(guest, "high"));
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains("of its cap of 160M"), "{events:?}");
}

#[test]
fn a_node_that_is_not_close_to_its_cap_any_more_is_told_of_once() {
    let guest = or_skip!(hungry(), "a_node_that_is_not_close_to_its_cap_any_more_is_told_of_once");
    let events = texts(&lines(guest, "eased"));
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains(" again, of a cap of 160M"), "{events:?}");
}

#[test]
fn limits_that_have_drifted_are_put_right_and_told_once_each() {
    let guest = or_skip!(hungry(), "limits_that_have_drifted_are_put_right_and_told_once_each");
    assert!(guest.saw("drift.moved").ends_with("/nodes/elsewhere"));
    let pids = guest.saw("drift.pids");
    let (before, after) = pids.split_once('\n').unwrap_or_default();
    assert_eq!(before, after, "the node did not notice");
    assert_eq!(guest.saw("drift.memory.max"), (64 * MIB).to_string());
    assert_eq!(guest.saw("drift.cpu.weight"), "300");
    let of_child = guest.saw("drift.child");
    let (child, event) = of_child.split_once('\n').unwrap_or_default();
    assert!(event.contains(&format!("its process {child} was in /")) && event.contains("put right"), "{of_child}");
    let events = texts(&lines(guest, "drift.events"));
    assert_eq!(events.len(), 3, "{events:?}");
    for words in [
        "memory.max was max, not 67108864; put right",
        "cpu.weight was 50, not 300; put right",
        "/nodes/elsewhere; put right",
    ] {
        assert!(events.iter().any(|e| e.contains(words)), "{words}: {events:?}");
    }
}

#[test]
fn every_kill_has_the_label_of_what_was_done() {
    let guest = or_skip!(hungry(), "every_kill_has_the_label_of_what_was_done");
    let count = |name: &str| guest.saw(name).lines().count();
    let (wrong, missed) = (count("campaign.wrong"), count("campaign.missed"));
    let made = count("campaign.labels") + missed;
    Figure {
        what: "OOM kills caused at random (guest), and their labels",
        ours: format!("{made} deaths: {wrong} wrong, {missed} missed"),
        reach: "0 wrong, 0 missed",
        reached: Some(wrong == 0 && missed == 0),
        rounds: oom_rounds(),
        note: format!(
            "of a node, its child, a group, several at once, some by another's SIGKILL; of the unit's limit and of the machine one each; seed {}",
            guest.saw("campaign.seed")
        ),
        ..Figure::default()
    }
    .show();
    assert_eq!(guest.saw("campaign.wrong"), "", "seed {}", guest.saw("campaign.seed"));
    assert_eq!(guest.saw("campaign.missed"), "", "seed {}\n{}", guest.saw("campaign.seed"), guest.journal());
    let deaths = guest.saw("campaign.deaths");
    let (done, on_record) = deaths.split_once('\n').unwrap_or_default();
    assert_eq!(done, on_record, "incidents that nobody made");
    let done: u32 = done.parse().unwrap_or(0);
    assert!(done >= oom_rounds(), "{done} deaths in {} rounds", oom_rounds());
    let labels = guest.saw("campaign.labels");
    if oom_rounds() >= 50 {
        for kind in ["itself", "child", "group", "three-at-once", "all-at-once", "killed-from-outside"] {
            assert!(labels.lines().any(|l| l.starts_with(kind)), "{kind} was never tried: another seed");
        }
    }
    for kind in
        ["group-above out-of-memory group-above", "another-above out-of-memory group-above", "host out-of-memory host"]
    {
        assert!(labels.lines().any(|l| l == kind), "{kind}: {labels}");
    }
}

#[test]
fn daemon_and_shims_survive_the_storm_and_no_neighbour_notices() {
    let guest = or_skip!(hungry(), "daemon_and_shims_survive_the_storm_and_no_neighbour_notices");
    let seen = guest.saw("end.daemon");
    let lines: Vec<&str> = seen.lines().collect();
    assert!(matches!(lines[..], [before, after, "0", "active"] if before == after), "{lines:?}\n{}", guest.journal());
    let (before, after) = (guest.json("started"), guest.json("end"));
    for key in ["pid", "incarnation", "restarts"] {
        let of = |status: &Value| support::node_of(status, "calm")[key].clone();
        assert_eq!(of(&after), of(&before), "calm: {key}");
    }
    for (name, starts) in [("full", 2), ("big", 3)] {
        assert_eq!(support::node_of(&after, name)["incarnation"], starts, "{name}");
    }
    for n in 1..=4 {
        let node = support::node_of(&after, &format!("n{n}"));
        assert_eq!(node["last_exit"]["cause"].is_string(), node["restarts"] != 0, "{node}");
    }
}

#[test]
fn the_record_of_a_kill_has_limit_parts_settings_and_how_often() {
    let guest = or_skip!(hungry(), "the_record_of_a_kill_has_limit_parts_settings_and_how_often");
    let text = guest.saw("cap.text");
    let incident: Value = serde_json::from_str(&guest.saw("cap.json")).unwrap();
    assert_eq!(incident["memory"]["cap_bytes"], 24 * MIB, "{text}");
    assert_eq!(incident["cause"], "out-of-memory", "{text}");
    assert!(text.contains("its own cap") && text.contains("out-of-memory kills of n"), "{text}");
    assert!(incident["remedy"].as_str().is_some_and(|r| r.contains("memory_max")), "{text}");
    let host = guest.saw("host.text");
    assert!(host.contains("because the machine was out of memory") && host.contains("limit"), "{host}");
    assert!(host.contains("anon 3") && host.contains("kernel"), "what it held before is told: {host}");
}

#[test]
fn memory_is_told_by_parts_and_the_supervisors_own_is_small() {
    let guest = or_skip!(hungry(), "memory_is_told_by_parts_and_the_supervisors_own_is_small");
    let status = guest.json("started");
    let own = &status["supervisor"]["memory"];
    let part = |key: &str| own[key].as_u64().unwrap_or_else(|| panic!("{key} is not known: {own}"));
    let held = part("anon_bytes") + part("kernel_bytes");
    assert!(held <= 20 * 1_000_000, "daemon and shims hold {held} bytes\n{}", guest.saw("memory.text"));
    // the daemon, a shim for each of seven nodes, one in reserve
    assert_eq!(part("processes"), 9, "{own}");
    let calm = support::node_of(&status, "calm");
    for key in ["current_bytes", "anon_bytes", "file_bytes", "kernel_bytes"] {
        assert!(calm["memory"][key].is_u64(), "{key}: {calm}");
    }
    let text = guest.saw("memory.text");
    assert!(text.contains("supervisor: daemon and 8 shims hold "), "{text}");
    assert!(text.lines().any(|l| l.starts_with("sum ")), "{text}");
}

#[test]
fn the_daemons_log_is_in_the_journal_with_priorities_and_fields() {
    let guest = or_skip!(hungry(), "the_daemons_log_is_in_the_journal_with_priorities_and_fields");
    let entries = lines(guest, "journal.calm");
    let started = entries.iter().find(|e| e["MESSAGE"].as_str().is_some_and(|m| m.starts_with("calm: started")));
    let started = started.unwrap_or_else(|| panic!("no entry of a start: {entries:?}"));
    assert_eq!(
        (&started["NODE"], &started["INCARNATION"], &started["PRIORITY"]),
        (&"calm".into(), &"1".into(), &"6".into())
    );
    assert_eq!(started["SYSLOG_IDENTIFIER"], "cdc-supervisor");
    let warnings = lines(guest, "journal.warnings");
    let drift =
        warnings.iter().any(|e| e["PRIORITY"] == "4" && e["MESSAGE"].as_str().is_some_and(|m| m.contains("put right")));
    assert!(drift, "{warnings:?}");
}

#[test]
fn logs_merges_the_journal_and_the_nodes_files_on_request() {
    let guest = or_skip!(hungry(), "logs_merges_the_journal_and_the_nodes_files_on_request");
    let merged = guest.saw("journal.merged");
    assert_eq!(guest.saw("journal.merged.rc"), "0", "{merged}{}", guest.saw("journal.merged.err"));
    assert!(merged.lines().any(|l| l.starts_with("calm") && l.contains("tick")), "{merged}");
    assert!(merged.lines().any(|l| l.starts_with("supervisor |") && l.contains("cdc-supervisor[")), "{merged}");
    assert_eq!(guest.saw("journal.own.rc"), "0");
    assert_eq!(guest.saw("journal.own").lines().count(), 5, "{}", guest.saw("journal.own"));
}

#[test]
fn an_ordinary_users_up_has_its_caps_enforced_in_a_scope_and_the_next_daemon_finds_it() {
    let guest =
        or_skip!(hungry(), "an_ordinary_users_up_has_its_caps_enforced_in_a_scope_and_the_next_daemon_finds_it");
    assert_eq!(guest.saw("user.up.rc"), "0", "{}\n{}", guest.saw("user.up"), guest.saw("user.systemd-run"));
    let (status, again) = (guest.json("user"), guest.json("user-again"));
    assert_eq!(status["supervisor"]["caps"]["enforced"], true, "{status}\n{}", guest.saw("user.systemd-run"));
    assert!(guest.saw("user.cgroup").ends_with(".scope/nodes/calm"), "{}", guest.saw("user.cgroup"));
    assert_eq!(guest.saw("user.memory.max"), (24 * MIB).to_string());
    assert_eq!(again["nodes"][0]["pid"], status["nodes"][0]["pid"], "a new daemon takes it over");
    let (node, daemon) = (guest.saw("user.cgroup"), guest.saw("user.daemon.cgroup"));
    assert_eq!(node.strip_suffix("nodes/calm"), daemon.strip_suffix("supervisor"), "in the same scope");
}

#[test]
fn an_ordinary_user_without_the_group_is_told_of_it_and_of_the_units_root() {
    let guest = or_skip!(hungry(), "an_ordinary_user_without_the_group_is_told_of_it_and_of_the_units_root");
    let told = guest.saw("user.unit.text");
    for words in [
        "cannot read the configuration /etc/cdc-supervisor/supervisor.toml",
        "usermod -aG cdc-supervisor",
        "/var/lib/cdc-supervisor",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
}
