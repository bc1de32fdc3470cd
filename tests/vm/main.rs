//! The unit under a real systemd with cgroup v2: one boot of a guest in which the unit is installed and mistreated
//! (`in-guest.sh`), and one test per fact about what was seen. Needs root and a package archive to make the guest from.

// Test code: a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

/// A guest, or nothing when the test has been skipped.
macro_rules! or_skip {
    ($guest:expr, $test:literal) => {
        match $guest {
            Ok(guest) => guest,
            Err(reason) => return $crate::support::skip($test, reason),
        }
    };
}

#[path = "../fetch/archives.rs"]
#[allow(dead_code)]
mod archives;
mod cut;
mod figures;
mod guest;
mod installer;
mod life;
mod lines;
mod maven;
mod memory;
mod operator;
mod packed;
mod power;
mod prepared;
mod programs;
mod seats;
mod stack;
#[path = "../support/mod.rs"]
mod support;
mod trend;

use guest::Guest;
use serde_json::Value;
use std::path::{Path, PathBuf};

const CAP: u64 = 64 << 20;

pub(crate) fn node(status: &Value, name: &str) -> Value {
    support::node_of(status, name)
}

/// How often something is done: as `variable` says, else the number of the short form, or of the long one (`CDC_TEST_LONG`).
pub(crate) fn rounds(variable: &str, short: u32, long: u32) -> u32 {
    let usual = if std::env::var_os("CDC_TEST_LONG").is_some() { long } else { short };
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn guest() -> Result<&'static Guest, &'static str> {
    let part = |name: &'static str| (name, std::fs::read_to_string(script(name)).expect("it is in the tree"));
    guest::guest(&script("in-guest.sh"), &[part("lines.sh"), part("probe.sh")])
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm").join(name)
}

#[test]
fn everything_that_was_waited_for_came() {
    let guest: &Guest = or_skip!(guest(), "everything_that_was_waited_for_came");
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    assert_eq!(guest.saw("never"), "", "{}", guest.journal());
}

#[test]
fn systemctl_start_returns_when_the_nodes_are_ready() {
    let guest = or_skip!(guest(), "systemctl_start_returns_when_the_nodes_are_ready");
    assert_eq!(
        (guest.saw("start.rc"), guest.saw("start.active")),
        ("0".into(), "active".into()),
        "{}",
        guest.journal()
    );
    let status = guest.json("start");
    for name in ["calm", "hungry", "family"] {
        assert_eq!(node(&status, name)["state"], "ready", "{status}");
    }
}

#[test]
fn a_node_is_in_a_cgroup_of_its_own_with_its_cap_in_force() {
    let guest = or_skip!(guest(), "a_node_is_in_a_cgroup_of_its_own_with_its_cap_in_force");
    let status = guest.json("start");
    assert_eq!(status["supervisor"]["caps"]["enforced"], true, "{status}");
    assert_eq!(status["supervisor"]["caps"]["why"], Value::Null);
    assert_eq!(guest.saw("start.cgroup"), "/system.slice/cdc-supervisor.service/nodes/calm");
    assert_eq!(guest.saw("start.memory.max"), CAP.to_string());
    assert_eq!(guest.saw("start.memory.swap.max"), "0");
    assert_eq!(guest.saw("start.memory.oom.group"), "1");
    assert_ne!(guest.saw("start.pids.max"), "max");
    assert_eq!(guest.saw("start.statustext"), "3 of 3 nodes ready");
    let memory = &node(&status, "calm")["memory"];
    assert_eq!(memory["cap_bytes"], CAP);
    for key in ["current_bytes", "anon_bytes", "file_bytes", "oom_kills"] {
        assert!(memory[key].is_u64(), "{key} is unknown under cgroup v2: {memory}");
    }
}

#[test]
fn daemon_and_shims_are_in_the_supervisor_group_as_an_ordinary_user() {
    let guest = or_skip!(guest(), "daemon_and_shims_are_in_the_supervisor_group_as_an_ordinary_user");
    let group = "/system.slice/cdc-supervisor.service/supervisor";
    assert_eq!((guest.saw("daemon.cgroup"), guest.saw("shim.cgroup")), (group.into(), group.into()));
    assert_eq!(guest.saw("daemon.user"), "cdc-supervisor");
    assert_eq!(guest.saw("calm.user"), "cdc-supervisor");
}

#[test]
fn the_control_socket_is_for_the_group() {
    let guest = or_skip!(guest(), "the_control_socket_is_for_the_group");
    assert_eq!(guest.saw("modes"), "750 cdc-supervisor 660 cdc-supervisor");
}

#[test]
fn killing_the_daemon_changes_no_pid_and_no_cap() {
    let guest = or_skip!(guest(), "killing_the_daemon_changes_no_pid_and_no_cap");
    let pids = guest.saw("killed.pids");
    let (old, new) = pids.split_once('\n').unwrap_or_default();
    assert!(!new.is_empty() && old != new, "systemd did not start a new daemon: {pids}\n{}", guest.journal());
    for look in ["pid", "cgroup", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max"] {
        assert_eq!(guest.saw(&format!("killed.{look}")), guest.saw(&format!("start.{look}")), "{look}");
    }
    assert_eq!(
        guest.saw("killed.owners"),
        guest.saw("start.owners"),
        "who has the ports is not asked beside live nodes"
    );
    assert_eq!(guest.saw("killed.fetch"), "0", "live nodes wait for no look through the store");
    let (before, after) = (guest.json("start"), guest.json("killed"));
    for name in ["calm", "hungry", "family"] {
        for key in ["pid", "incarnation", "restarts", "state", "last_exit"] {
            assert_eq!(node(&after, name)[key], node(&before, name)[key], "{name}: {key}");
        }
    }
    assert_eq!(after["supervisor"]["caps"]["enforced"], true);
}

#[test]
fn upgrade_self_keeps_the_main_process_the_unit_and_every_node() {
    let guest = or_skip!(guest(), "upgrade_self_keeps_the_main_process_the_unit_and_every_node");
    assert_eq!(guest.saw("upgrade.rc"), "0", "{}\n{}", guest.saw("upgrade.text"), guest.journal());
    let pids = guest.saw("upgrade.pids");
    let (old, new) = pids.split_once('\n').unwrap_or_default();
    assert!(!old.is_empty() && old == new, "another main process: {pids}");
    // the one restart is that after the kill -9 before
    assert_eq!(guest.saw("upgrade.state"), "active\n1", "{}", guest.journal());
    let (before, after) = (guest.json("killed"), guest.json("upgrade"));
    assert_eq!(after["supervisor"]["version"], guest.saw("upgrade.version"));
    for name in ["calm", "hungry", "family"] {
        for key in ["pid", "incarnation", "restarts", "state", "last_exit"] {
            assert_eq!(node(&after, name)[key], node(&before, name)[key], "{name}: {key}");
        }
    }
    for look in ["pid", "cgroup", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max"] {
        assert_eq!(guest.saw(&format!("upgrade.{look}")), guest.saw(&format!("start.{look}")), "{look}");
    }
}

#[test]
fn a_node_whose_shim_is_killed_is_replaced_with_its_whole_tree() {
    let guest = or_skip!(guest(), "a_node_whose_shim_is_killed_is_replaced_with_its_whole_tree");
    let family = node(&guest.json("shim"), "family");
    assert_eq!((&family["incarnation"], &family["last_exit"]["cause"]), (&2.into(), &"shim-lost".into()), "{family}");
    assert_eq!(guest.saw("shim.grandchild"), "gone");
}

#[test]
fn a_node_over_its_cap_is_killed_by_the_kernel_and_the_status_says_so() {
    let guest = or_skip!(guest(), "a_node_over_its_cap_is_killed_by_the_kernel_and_the_status_says_so");
    let status = guest.json("oom");
    let hungry = node(&status, "hungry");
    assert_eq!(hungry["last_exit"]["cause"], "out-of-memory", "{hungry}");
    assert_eq!(hungry["last_exit"]["signal"], "SIGKILL");
    assert_eq!(hungry["incarnation"], 2);
    assert_eq!(guest.saw("oom.active"), "active", "the unit outlives it");
    assert_eq!(
        node(&status, "calm")["pid"],
        node(&guest.json("killed"), "calm")["pid"],
        "its neighbour noticed nothing"
    );
}

#[test]
fn an_out_of_memory_kill_is_an_incident_with_the_cap_to_set() {
    let guest = or_skip!(guest(), "an_out_of_memory_kill_is_an_incident_with_the_cap_to_set");
    let list = guest.json("incidents");
    let incident = list["incidents"].as_array().and_then(|all| all.last()).unwrap_or(&Value::Null);
    assert_eq!(incident["cause"], "out-of-memory", "{list}");
    assert_eq!(incident["memory"]["cap_bytes"], 32 << 20, "{incident}");
    assert!(incident["remedy"].as_str().is_some_and(|r| r.contains("memory_max")), "{incident}");
    assert_eq!(incident["verdict"], "act", "{incident}");
    assert!(guest.saw("incidents.text").contains("out-of-memory"), "{}", guest.saw("incidents.text"));
}

#[test]
fn systemctl_reload_changes_a_cap_in_place_and_restarts_only_what_must() {
    let guest = or_skip!(guest(), "systemctl_reload_changes_a_cap_in_place_and_restarts_only_what_must");
    assert_eq!(guest.saw("reload.rc"), "0", "{}\n{}", guest.saw("plan.text"), guest.journal());
    let (before, after) = (guest.json("hang"), guest.json("reload"));
    assert_eq!(node(&after, "calm")["pid"], node(&before, "calm")["pid"], "{}", guest.saw("plan.text"));
    assert_eq!(guest.saw("reload.memory.max"), (48_u64 << 20).to_string());
    assert_eq!(node(&after, "hungry")["pid"], node(&before, "hungry")["pid"]);
    assert_ne!(node(&after, "family")["pid"], node(&before, "family")["pid"]);
}

#[test]
fn a_reload_of_a_broken_file_fails_with_its_own_code_and_changes_nothing() {
    let guest = or_skip!(guest(), "a_reload_of_a_broken_file_fails_with_its_own_code_and_changes_nothing");
    assert_ne!(guest.saw("reload.broken.unit"), "0");
    assert_eq!(guest.saw("reload.broken.rc"), "3", "{}", guest.saw("reload.broken.text"));
    assert_eq!(guest.saw("reload.broken.active"), "active");
    assert_eq!(guest.saw("reload.broken.failed"), "", "no download has failed");
    // nor where no node runs beside the daemon
    assert_eq!(guest.saw("idle-stop.rc"), "0", "{}", guest.saw("idle-stop.text"));
    assert_ne!(guest.saw("reload.idle.unit"), "0");
    assert_eq!(guest.saw("reload.idle.failed"), "", "no download has failed");
    let (before, after) = (guest.json("reload"), guest.json("reload-broken"));
    for name in ["calm", "hungry", "family"] {
        assert_eq!(node(&after, name)["pid"], node(&before, name)["pid"], "{name}");
    }
}

#[test]
fn systemctl_restart_restarts_every_node() {
    let guest = or_skip!(guest(), "systemctl_restart_restarts_every_node");
    assert_eq!(guest.saw("restart.rc"), "0");
    let fetched = |name: &str| guest.saw(name).parse::<u32>().unwrap();
    let (before, after) = (fetched("restart.fetched-before"), fetched("restart.fetched"));
    assert_eq!(after, before + 1, "a changed configuration may need other programs");
    let (before, after) = (node(&guest.json("oom"), "calm"), node(&guest.json("restart"), "calm"));
    assert_ne!(before["pid"], after["pid"]);
    assert_eq!(after["last_exit"]["cause"], "stopped", "{after}");
}

#[test]
fn a_daemon_that_hangs_is_replaced_and_no_node_notices() {
    let guest = or_skip!(guest(), "a_daemon_that_hangs_is_replaced_and_no_node_notices");
    let pids = guest.saw("hang.pids");
    let (old, new) = pids.split_once('\n').unwrap_or_default();
    assert!(!new.is_empty() && old != new, "the watchdog did nothing: {pids}\n{}", guest.journal());
    assert_eq!(guest.saw("hang.later"), new, "a daemon that lives feeds it");
    let (before, after) = (guest.json("restart"), guest.json("hang"));
    for key in ["pid", "incarnation", "restarts"] {
        assert_eq!(node(&after, "calm")[key], node(&before, "calm")[key], "{key}");
    }
}

/// Seconds of an RFC 3339 time, good enough to compare times of a few days.
fn seconds(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    // Days since 1970 (Howard Hinnant, days_from_civil).
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100;
    let days = year.div_euclid(400) * 146_097 + of_era + (153 * ((month + 9) % 12) + 2) / 5 + day - 1 - 719_468;
    days * 86_400 + number(11..13) * 3_600 + number(14..16) * 60 + number(17..19)
}

#[test]
fn a_clock_that_is_set_changes_no_restart_no_order_and_no_node_that_runs() {
    let guest = or_skip!(guest(), "a_clock_that_is_set_changes_no_restart_no_order_and_no_node_that_runs");
    let before = guest.json("clock-before");
    for name in ["back", "forward"] {
        let status = guest.json(&format!("clock-{name}"));
        assert_eq!(node(&status, "calm")["pid"], node(&before, "calm")["pid"], "{name}");
        let hungry = node(&status, "hungry");
        assert_eq!(hungry["last_exit"]["signal"], "SIGKILL", "{name}: {hungry}");
        // Back at once: the pause is of the monotonic clock.
        let at = seconds(&Value::String(guest.saw(&format!("clock.{name}.at"))));
        let (ended, ready) = (seconds(&hungry["last_exit"]["at"]), seconds(&hungry["ready_since"]));
        assert!((at..at + 60).contains(&ended) && (ended..ended + 40).contains(&ready), "{name}: {hungry}");
        // `--since` goes by the clock that the reader has.
        let events = guest.saw(&format!("clock.{name}.events"));
        assert!(events.lines().any(|l| l.contains("\"ended\"")), "{name}: {events}");
        assert!(!guest.saw(&format!("clock.{name}.log")).is_empty(), "{name}");
        // An uptime counts on, in JSON and on screen: no days, and not from the beginning.
        let (was, is) = (&node(&before, "calm")["up_ms"], &node(&status, "calm")["up_ms"]);
        let ran_on = was.as_u64().zip(is.as_u64()).is_some_and(|(was, is)| (was..was + 60_000).contains(&is));
        assert!(ran_on, "{name}: up {was} ms, then {is} ms");
        let text = guest.saw(&format!("clock.{name}.text"));
        let row = text.lines().find(|l| l.starts_with("calm")).unwrap_or_default();
        let up = row.split_whitespace().nth(2).unwrap_or_default();
        assert!(!up.contains('d') && up != "0s", "{name}: {row}");
    }
    let after = guest.json("clock-after");
    for key in ["pid", "incarnation", "restarts"] {
        assert_eq!(node(&after, "calm")[key], node(&before, "calm")[key], "{key}");
    }
    // The next daemon has only times of the wall clock; the process bounds what they can mean.
    let up = node(&after, "calm")["up_ms"].as_u64();
    assert!(up.is_some_and(|up| up < 600_000), "{after}");
    let deaths = node(&after, "hungry")["incarnation"].as_u64().zip(node(&before, "hungry")["incarnation"].as_u64());
    assert!(deaths.is_some_and(|(after, before)| after == before + 2), "{after}");
    // Events stand in the order in which things happened, whatever their times say.
    let all = guest.saw("clock.all");
    let starts: Vec<u64> = all
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .filter(|e| e["node"] == "hungry" && e["kind"] == "started")
        .filter_map(|e| e["incarnation"].as_u64())
        .collect();
    assert!(starts.is_sorted() && starts.len() >= 2, "{starts:?}");
    let list = guest.json("clock-incidents");
    let ids: Vec<u64> = list["incidents"].as_array().unwrap().iter().filter_map(|i| i["id"].as_u64()).collect();
    assert!(ids.is_sorted() && ids.len() >= 2, "{ids:?}");
    // Names of rotated files grow, also when the clock went back, and bytes of the log grow with them.
    let files = guest.saw("clock.files");
    let ends: Vec<u64> = files.lines().filter_map(|f| f.strip_prefix('@')?.split('.').nth(2)?.parse().ok()).collect();
    assert!(ends.len() >= 3 && ends.is_sorted(), "{files}");
}

#[test]
fn systemctl_stop_leaves_nothing() {
    let guest = or_skip!(guest(), "systemctl_stop_leaves_nothing");
    assert_eq!((guest.saw("stop.rc"), guest.saw("stop.active")), ("0".into(), "inactive".into()));
    assert_eq!(guest.saw("stop.left"), "", "processes of the user are left");
    assert_eq!(guest.saw("stop.result"), "success");
    assert_eq!(guest.saw("stop.cgroup"), "gone");
}

#[test]
fn down_leaves_the_unit_inactive_and_no_process() {
    let guest = or_skip!(guest(), "down_leaves_the_unit_inactive_and_no_process");
    assert_eq!(guest.saw("down.rc"), "0", "{}", guest.saw("down.text"));
    assert_eq!(guest.saw("down.state"), "inactive\n0", "systemd started it again");
    assert_eq!(guest.saw("down.left"), "");
}

#[test]
fn a_stop_that_gets_on_has_its_graces_whatever_the_unit_says() {
    let guest = or_skip!(guest(), "a_stop_that_gets_on_has_its_graces_whatever_the_unit_says");
    assert_eq!((guest.saw("extended.result"), guest.saw("extended.left")), ("success".into(), String::new()));
}

#[test]
fn a_daemon_that_dies_in_the_middle_of_a_stop_leaves_no_node_behind() {
    let guest = or_skip!(guest(), "a_daemon_that_dies_in_the_middle_of_a_stop_leaves_no_node_behind");
    assert_eq!(guest.saw("crossed.result"), "signal");
    assert_eq!(guest.saw("crossed.left"), "", "{}", guest.journal());
    assert_eq!(guest.saw("crossed.cgroup"), "gone");
}

#[test]
fn a_stop_that_the_daemon_did_not_live_to_finish_is_a_clean_one_and_so_is_the_next_start() {
    let guest =
        or_skip!(guest(), "a_stop_that_the_daemon_did_not_live_to_finish_is_a_clean_one_and_so_is_the_next_start");
    // the end of a stop in order
    assert!(guest.saw("crossed.session").contains("No such file"), "{}", guest.saw("crossed.session"));
    assert_eq!(guest.saw("crossed-start.rc"), "0", "{}", guest.journal());
    lines::stopped_cleanly(
        &guest.json("crossed-next"),
        &guest.saw("crossed-next.events"),
        &["calm", "hungry", "family"],
        &["stubborn"],
    );
}

#[test]
fn a_daemon_that_dies_in_the_middle_of_a_restart_leaves_every_node_started_anew() {
    let guest = or_skip!(guest(), "a_daemon_that_dies_in_the_middle_of_a_restart_leaves_every_node_started_anew");
    assert_eq!(guest.saw("turned.rc"), "0", "{}", guest.journal());
    let (before, after) = (guest.json("turned-before"), guest.json("turned"));
    assert_eq!(guest.saw("turned.calm"), "gone", "{}", guest.journal());
    for name in ["calm", "hungry", "family", "stubborn"] {
        assert_eq!(node(&after, name)["state"], "ready", "{name}: {after}\n{}", guest.journal());
        assert_ne!(node(&after, name)["pid"], node(&before, name)["pid"], "{name}");
    }
}

#[test]
fn a_start_that_gets_nowhere_beside_live_nodes_is_tried_again_and_leaves_them_alone() {
    let guest = or_skip!(guest(), "a_start_that_gets_nowhere_beside_live_nodes_is_tried_again_and_leaves_them_alone");
    assert_eq!(node(&guest.json("begins-before"), "stubborn")["state"], "ready");
    assert_eq!(guest.saw("begins.pids"), "", "{}", guest.journal());
}

#[test]
fn a_stop_while_the_next_daemon_begins_stops_the_nodes_all_the_same() {
    let guest = or_skip!(guest(), "a_stop_while_the_next_daemon_begins_stops_the_nodes_all_the_same");
    assert_eq!(guest.saw("begins-stop.rc"), "0", "{}", guest.journal());
    assert_eq!(guest.saw("begins.left"), "", "{}", guest.journal());
    assert_eq!(guest.saw("begins.state"), "inactive");
}

#[test]
fn a_stop_that_takes_too_long_leaves_no_node_behind() {
    let guest = or_skip!(guest(), "a_stop_that_takes_too_long_leaves_no_node_behind");
    assert_eq!(guest.saw("late.result"), "timeout");
    assert_eq!(guest.saw("late.left"), "", "{}", guest.journal());
}

#[test]
fn a_broken_configuration_ends_the_unit_once_with_code_3() {
    let guest = or_skip!(guest(), "a_broken_configuration_ends_the_unit_once_with_code_3");
    assert_ne!(guest.saw("broken.rc"), "0");
    assert_eq!(guest.saw("broken.state"), "failed\n0\n3", "{}", guest.journal());
}

#[test]
fn a_bad_file_does_not_keep_a_new_daemon_from_adopting_live_nodes() {
    let guest = or_skip!(guest(), "a_bad_file_does_not_keep_a_new_daemon_from_adopting_live_nodes");
    let (before, after) = (guest.json("plan-before"), guest.json("plan-after"));
    assert_ne!(before["supervisor"]["pid"], after["supervisor"]["pid"]);
    assert_eq!(node(&before, "calm")["pid"], node(&after, "calm")["pid"], "{}", guest.journal());
}

#[test]
fn a_file_that_names_another_root_leaves_the_nodes_with_a_daemon_and_a_stop() {
    let guest = or_skip!(guest(), "a_file_that_names_another_root_leaves_the_nodes_with_a_daemon_and_a_stop");
    assert_ne!(guest.saw("moved-reload.rc"), "0", "no reload moves a root");
    let (before, after) = (guest.json("moved-before"), guest.json("moved-after"));
    assert_ne!(before["supervisor"]["pid"], after["supervisor"]["pid"]);
    for name in ["calm", "hungry", "family"] {
        assert_eq!(node(&before, name)["pid"], node(&after, name)["pid"], "{name}: {}", guest.journal());
    }
    let text = guest.saw("moved.text");
    let words = "names the root /var/lib/cdc-supervisor/other, and nodes run below /var/lib/cdc-supervisor:";
    assert!(text.contains(words), "{text}");
    // and without a daemon
    assert_ne!(guest.saw("moved.nodes"), "0", "{}", guest.journal());
    assert_eq!(
        (guest.saw("moved-stop.rc"), guest.saw("moved.left")),
        ("0".into(), String::new()),
        "{}",
        guest.journal()
    );
}

#[test]
fn systemd_knows_every_line_of_the_units() {
    let guest = or_skip!(guest(), "systemd_knows_every_line_of_the_units");
    let complaints: Vec<String> =
        guest.saw("verify").lines().filter(|l| l.contains("cdc-supervisor")).map(str::to_owned).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn the_sandbox_is_as_tight_as_said() {
    let guest = or_skip!(guest(), "the_sandbox_is_as_tight_as_said");
    // "→ Overall exposure level for cdc-supervisor.service: 1.7 OK 🙂"
    let line = guest.saw("security");
    let level: f64 = line
        .rsplit_once(": ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no level in {line:?}"));
    assert!(level <= 2.0, "{line}");
}
