//! Single lines of the three units, each where it works (`lines.sh`, a part of `in-guest.sh`): what a sandbox refuses, which codes are
//! tried again, who may speak, how long something may take. One test per fact.

use super::{guest::Guest, node};
use serde_json::Value;

/// Lines of the sandboxes that can be told by what happens (`probe.sh`), and for which units they are not: `m` the daemon and its
/// nodes, `u` the same without its `SystemCallFilter=`, `f` the fetch unit, `n` the unit that stops nodes.
const REFUSED: [(&str, &str); 22] = [
    ("NoNewPrivileges", ""),
    ("CapabilityBoundingSet", ""),
    ("ProtectSystem", ""),
    ("ProtectHome", ""),
    ("PrivateTmp", ""),
    ("PrivateDevices", ""),
    ("ProtectProc", "fn"),
    ("ProtectKernelTunables", "n"),
    ("ProtectKernelModules", "n"),
    ("ProtectKernelLogs", "n"),
    ("ProtectControlGroups", "mun"),
    ("ProtectHostname", "n"),
    ("RestrictSUIDSGID", "n"),
    ("RestrictRealtime", "n"),
    ("ProtectClock", "n"),
    ("SystemCallArchitectures", ""),
    ("RestrictNamespaces", ""),
    ("LockPersonality", ""),
    ("SystemCallFilter", "ufn"),
    ("RestrictAddressFamilies", ""),
    ("IPAddressDeny", "f"),
    ("PrivateNetwork", "muf"),
];

#[test]
fn what_the_sandboxes_are_there_to_refuse_is_refused_in_them_and_only_there() {
    let guest: &Guest =
        or_skip!(crate::guest(), "what_the_sandboxes_are_there_to_refuse_is_refused_in_them_and_only_there");
    let units = [("outside", 'o'), ("main", 'm'), ("unfiltered", 'u'), ("fetch", 'f'), ("nodes", 'n')];
    for (unit, letter) in units {
        let seen = guest.saw(&format!("probe.{unit}"));
        let wrong: Vec<String> = REFUSED
            .iter()
            .map(|(line, not_of)| {
                format!("{line} {}", if letter == 'o' || not_of.contains(letter) { "may" } else { "may not" })
            })
            .filter(|wanted| !seen.lines().any(|line| line == wanted))
            .collect();
        assert_eq!(
            wrong,
            Vec::<String>::new(),
            "{unit} is not as it should be:\n{seen}\n{}",
            guest.saw("fetch-probe.text")
        );
    }
}

/// What `systemd-analyze security` still counts against the daemon's unit, each with the reason why it stays. A line of the sandbox that
/// goes from the unit adds to these.
const OPEN: [&str; 14] = [
    "Delegate",                              // nodes have cgroups of their own
    "DeviceAllow",                           // of systemd's own making: ProtectClock= allows reading the clock device
    "IPAddressDeny",                         // clients on this machine
    "MemoryDenyWriteExecute",                // a JVM compiles at run time
    "PrivateNetwork",                        // clients on this machine
    "PrivateUsers",                          // root's files would be nobody's, and doctor could not name owners
    "ProcSubset",                            // the host's memory, cores and limits are looked at
    "ProtectControlGroups",                  // caps are written there
    "RemoveIPC",                             // nodes outlive the daemon
    "RestrictAddressFamilies_AF_INET_INET6", // what the nodes serve
    "RestrictAddressFamilies_AF_UNIX",       // control sockets, mysqld's, notify
    "RootDirectoryOrRootImage",              // the machine's Java
    "SystemCallFilter_privileged",           // part of @system-service: chown
    "SystemCallFilter_resources",            // part of @system-service: prlimit for the nodes
];

/// The same of the fetch unit, which runs Maven and apt-get for whoever asks them to, as they are.
const OPEN_OF_FETCH: [&str; 23] = [
    "DeviceAllow", // of systemd's own making, as above
    "IPAddressDeny",
    "MemoryDenyWriteExecute",
    "PrivateNetwork",
    "PrivateUsers",
    "ProcSubset",
    "ProtectProc",
    "RemoveIPC",
    "RestrictAddressFamilies_AF_INET_INET6",
    "RestrictAddressFamilies_AF_NETLINK",
    "RestrictAddressFamilies_AF_UNIX",
    "RootDirectoryOrRootImage",
    "SystemCallFilter_clock",
    "SystemCallFilter_cpu_emulation",
    "SystemCallFilter_debug",
    "SystemCallFilter_module",
    "SystemCallFilter_mount",
    "SystemCallFilter_obsolete",
    "SystemCallFilter_privileged",
    "SystemCallFilter_raw_io",
    "SystemCallFilter_reboot",
    "SystemCallFilter_resources",
    "SystemCallFilter_swap",
];

/// And of the unit that stops nodes, which runs for the time of a stop and reaches nothing but sockets of shims.
const OPEN_OF_NODES: [&str; 27] = [
    "IPAddressDeny",
    "MemoryDenyWriteExecute",
    "PrivateUsers",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "RemoveIPC",
    "RestrictAddressFamilies_AF_UNIX",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "RootDirectoryOrRootImage",
    "SystemCallFilter_clock",
    "SystemCallFilter_cpu_emulation",
    "SystemCallFilter_debug",
    "SystemCallFilter_module",
    "SystemCallFilter_mount",
    "SystemCallFilter_obsolete",
    "SystemCallFilter_privileged",
    "SystemCallFilter_raw_io",
    "SystemCallFilter_reboot",
    "SystemCallFilter_resources",
    "SystemCallFilter_swap",
];

#[test]
fn each_line_of_the_sandbox_is_in_force() {
    let guest = or_skip!(crate::guest(), "each_line_of_the_sandbox_is_in_force");
    for (unit, expected) in [("main", &OPEN[..]), ("fetch", &OPEN_OF_FETCH), ("nodes", &OPEN_OF_NODES)] {
        let list = guest.json(&format!("security-{unit}"));
        let rows = list.as_array().into_iter().flatten().filter(|row| row["set"] == false);
        let mut open: Vec<&str> = rows.filter_map(|row| row["json_field"].as_str()).collect();
        open.sort_unstable();
        assert_eq!(open, expected, "{unit}");
    }
}

#[test]
fn what_the_sandboxes_must_leave_is_left() {
    let guest = or_skip!(crate::guest(), "what_the_sandboxes_must_leave_is_left");
    for (unit, words) in [
        ("main", "IPAddressAllow may"),
        ("fetch", "IPAddressAllow may"),
        ("fetch", "HOME may"),
        ("fetch", "HOME /var/lib/cdc-supervisor/artifacts/home"),
    ] {
        let seen = guest.saw(&format!("probe.{unit}"));
        assert!(seen.lines().any(|line| line == words), "{unit}: {words}:\n{seen}");
    }
}

#[test]
fn what_units_write_is_not_for_everybody() {
    let guest = or_skip!(crate::guest(), "what_units_write_is_not_for_everybody");
    for unit in ["main", "fetch"] {
        assert_eq!(guest.saw(&format!("state.{unit}")), "750 cdc-supervisor cdc-supervisor", "{unit}");
    }
    for unit in ["fetch", "nodes"] {
        let seen = guest.saw(&format!("probe.{unit}"));
        assert!(seen.contains("UMask 0077"), "{unit}: {seen}");
    }
}

#[test]
fn only_the_daemon_may_speak_for_the_unit() {
    let guest = or_skip!(crate::guest(), "only_the_daemon_may_speak_for_the_unit");
    assert_eq!(guest.saw("forged.rc"), "0", "it was sent");
    assert_eq!(guest.saw("forged"), "4 of 4 nodes ready");
}

#[test]
fn what_would_end_the_same_is_not_tried_again_and_a_crash_is() {
    let guest = or_skip!(crate::guest(), "what_would_end_the_same_is_not_tried_again_and_a_crash_is");
    let failed = |code: u8| format!("{code} failed exit-code\n");
    assert_eq!(
        guest.saw("codes.main") + "\n",
        "1 activating exit-code\n".to_owned() + &[2, 3, 4, 8].map(failed).concat()
    );
    let fetch = "1 activating exit-code\n".to_owned() + &[2, 3].map(failed).concat() + "130 inactive success";
    assert_eq!(guest.saw("codes.fetch"), fetch, "an interrupted fetch has not failed");
}

#[test]
fn a_start_that_gets_on_has_its_time_whatever_the_unit_says() {
    let guest = or_skip!(crate::guest(), "a_start_that_gets_on_has_its_time_whatever_the_unit_says");
    assert_eq!(guest.saw("slow-start.rc"), "0", "{}\n{}", guest.saw("slow-start.text"), guest.journal());
    assert_eq!(node(&guest.json("slow-start"), "slow")["state"], "ready", "READY=1 waited for it");
}

#[test]
fn a_reload_that_gets_on_has_its_time_whatever_the_unit_says() {
    let guest = or_skip!(crate::guest(), "a_reload_that_gets_on_has_its_time_whatever_the_unit_says");
    assert_eq!(guest.saw("slow-reload.rc"), "0", "{}\n{}", guest.saw("slow-reload.text"), guest.journal());
    let slow = node(&guest.json("slow-reload"), "slow");
    assert_eq!((&slow["incarnation"], &slow["state"]), (&2.into(), &"ready".into()), "{slow}");
}

#[test]
fn a_reload_that_systemd_gives_up_on_goes_on() {
    let guest = or_skip!(crate::guest(), "a_reload_that_systemd_gives_up_on_goes_on");
    assert_ne!(guest.saw("mute-reload.rc"), "0", "it took longer than TimeoutStartSec=");
    assert_eq!(guest.saw("mute-reload.state"), "active");
    let (before, after) = (guest.json("slow-start"), guest.json("mute-reload"));
    let slow = node(&after, "slow");
    assert_eq!((&slow["incarnation"], &slow["state"]), (&3.into(), &"ready".into()), "{slow}\n{}", guest.journal());
    assert_eq!(node(&before, "calm")["pid"], node(&after, "calm")["pid"]);
}

#[test]
fn times_that_no_test_can_wait_for_and_an_order_that_shows_by_chance_are_as_said() {
    let guest =
        or_skip!(crate::guest(), "times_that_no_test_can_wait_for_and_an_order_that_shows_by_chance_are_as_said");
    let has = |unit: &str, words: &[&str]| {
        let seen = guest.saw(&format!("times.{unit}"));
        for word in words {
            assert!(seen.lines().any(|line| line == *word), "{unit}: {word} is not in:\n{seen}");
        }
    };
    assert_eq!(guest.saw("watchdog"), "1min");
    // A daemon that dies in the middle of a shutdown while the bus goes.
    assert!(guest.saw("after").contains("dbus.service"), "{}", guest.saw("after"));
    has("cdc-supervisor", &["TimeoutStartUSec=10min", "TimeoutStopUSec=6min", "RestartUSec=200ms"]);
    has(
        "cdc-supervisor-fetch",
        &[
            "TimeoutStartUSec=30min",
            "RestartUSec=15s",
            "RestartSteps=5",
            "RestartMaxDelayUSec=5min",
            "MemoryMax=1073741824",
            "OOMScoreAdjust=500",
        ],
    );
    has("cdc-supervisor-nodes", &["TimeoutStopUSec=6min"]);
}

/// Nodes that were stopped without a daemon, in this order.
pub(crate) fn stopped(guest: &Guest, name: &str, order: &[&str]) {
    let seen = guest.saw(&format!("{name}.order"));
    let at = |node: &&str| {
        seen.lines().position(|line| line == *node).unwrap_or_else(|| panic!("{node} of {name}: {seen:?}"))
    };
    assert!(order.iter().map(at).is_sorted(), "{name}: {seen}");
}

/// After a stop without a daemon: these nodes had stopped as they were asked, `deaf` ones had been killed after their grace, and the
/// start that is looked at took nothing over, had nothing to complain about, and no death to put on record but of those.
pub(crate) fn stopped_cleanly(status: &Value, events: &str, names: &[&str], deaf: &[&str]) {
    for (names, cause) in [(names, "stopped"), (deaf, "killed-after-grace")] {
        for name in names {
            let node = node(status, name);
            assert_eq!(
                (&node["state"], &node["last_exit"]["cause"]),
                (&"ready".into(), &cause.into()),
                "{name}: {node}"
            );
        }
    }
    let told: Vec<Value> = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(told.iter().any(|event| event["kind"] == "started"), "{events}");
    for event in told {
        let kind = event["kind"].as_str().unwrap();
        let of_deaf = event["node"].as_str().is_some_and(|node| deaf.contains(&node));
        let wrong = match kind {
            "adopted" | "trouble" | "shim-lost" | "failed" | "left-down" | "restart-scheduled" => true,
            "incident" => !of_deaf,
            _ => false,
        };
        assert!(!wrong, "{event}");
    }
}

#[test]
fn a_stop_ends_a_node_before_it_asks_what_that_needs() {
    let guest = or_skip!(crate::guest(), "a_stop_ends_a_node_before_it_asks_what_that_needs");
    let text = guest.saw("stop.events");
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let at = |kind: &str, name: &str| {
        let found = events.iter().position(|event| event["kind"] == kind && event["node"] == name);
        found.unwrap_or_else(|| panic!("no {kind} of {name}: {text}"))
    };
    // One turn ends the one and asks the other, and its events stand in the order of the nodes.
    assert!(at("ended", "hungry") <= at("stopping", "calm") + 1, "{text}");
    assert!(at("stopping", "hungry") < at("stopping", "calm"), "{text}");
}

#[test]
fn what_is_left_of_a_stop_is_stopped_in_order_however_long_its_graces_are() {
    let guest = or_skip!(crate::guest(), "what_is_left_of_a_stop_is_stopped_in_order_however_long_its_graces_are");
    for name in ["crossed", "late"] {
        assert_eq!(guest.saw(&format!("{name}.left")), "", "{name}: {}", guest.journal());
        stopped(guest, name, &["stubborn", "calm"]);
    }
}

#[test]
fn a_configuration_that_lies_in_the_top_directory_is_nobodys() {
    let guest = or_skip!(crate::guest(), "a_configuration_that_lies_in_the_top_directory_is_nobodys");
    for name in ["stray", "stray-reload", "stray-stop"] {
        let text = guest.saw(&format!("{name}.text"));
        assert_eq!(guest.saw(&format!("{name}.rc")), "0", "{name}: {text}\n{}", guest.journal());
    }
    assert_eq!(node(&guest.json("stray"), "calm")["state"], "ready", "{}", guest.journal());
    assert_eq!((guest.saw("stray.failed"), guest.saw("stray.left")), (String::new(), String::new()));
}

#[test]
fn a_configuration_directory_that_is_a_link_is_the_systems_and_its_file_is_named_in_whole() {
    let guest = or_skip!(
        crate::guest(),
        "a_configuration_directory_that_is_a_link_is_the_systems_and_its_file_is_named_in_whole"
    );
    assert_eq!(guest.saw("linked.rc"), "0", "{}\n{}", guest.saw("linked.text"), guest.journal());
    assert_eq!(node(&guest.json("linked"), "calm")["state"], "ready", "{}", guest.journal());
    assert_eq!(guest.saw("linked.served").trim(), "/var/lib/cdc-supervisor");
    // not of the line of its `ExecStartPre=`, which has the path whatever the daemon says
    let told = guest.saw("linked-broken.status");
    let mut status = told.lines().map(str::trim_start).filter(|line| line.starts_with("Status:"));
    assert!(status.any(|line| line.contains("/etc/cdc-supervisor/supervisor.toml")), "{told}");
}

#[test]
fn what_systemctl_kill_ends_comes_back_with_incidents_or_stays_down_as_after_a_stop() {
    let guest =
        or_skip!(crate::guest(), "what_systemctl_kill_ends_comes_back_with_incidents_or_stays_down_as_after_a_stop");
    let (before, after) = (guest.json("kill-before"), guest.json("kill-after"));
    let was = &node(&before, "calm")["incarnation"];
    let list: Value = serde_json::from_str(&guest.saw("kill-incidents.text")).unwrap();
    let told = list["incidents"].as_array().unwrap().iter().any(|one| one["incarnation"] == *was);
    assert!(told, "{list}");
    assert_ne!(node(&before, "calm")["pid"], node(&after, "calm")["pid"], "{after}");
    assert_eq!((guest.saw("kill.state"), guest.saw("kill.left")), ("inactive".into(), String::new()));
}
