//! The life of an installation: installed, upgraded, crashed, switched off and on, removed; by `dist/install.sh` and as a package.
//! `life.sh` does it over several boots of one disk; here is one test per fact about what was seen.
//!
//! A little past 500 lines: the facts of one disk's life, which share its boots.

use super::{
    guest::{Guest, Size, booted},
    lines::{stopped, stopped_cleanly},
    node,
    packed::{LATER, pack},
};
use serde_json::Value;
use std::{path::Path, sync::OnceLock};

const NOW: &str = env!("CARGO_PKG_VERSION");

/// How often the guest is booted.
const BOOTS: u32 = 6;

fn life() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    booted(&GUEST, "life", (BOOTS, Size::SMALL), &here.join("tests/vm/life.sh"), |share| {
        pack(share, &here.join("dist"))
    })
}

/// A command that was run in the guest ended with `code` and said all of `words`.
fn ended(guest: &Guest, name: &str, code: i32, words: &[&str]) {
    let text = guest.saw(&format!("{name}.text"));
    assert_eq!(guest.saw(&format!("{name}.rc")), code.to_string(), "{name}: {text}\n{}", guest.journal());
    for word in words {
        assert!(text.contains(word), "{name}: {word:?} is not in:\n{text}");
    }
}

/// Both nodes are the same processes in both looks.
fn nodes_ran_on(before: &Value, after: &Value) {
    for name in ["calm", "second"] {
        for key in ["pid", "incarnation", "restarts"] {
            assert_eq!(node(before, name)[key], node(after, name)[key], "{name}: {key}");
        }
        assert_eq!(node(after, name)["state"], "ready", "{after}");
    }
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[test]
fn everything_in_the_life_of_an_installation_came() {
    let guest = or_skip!(life(), "everything_in_the_life_of_an_installation_came");
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    assert_eq!(guest.saw("never"), "", "{}", guest.journal());
    assert_eq!(guest.saw(&format!("boot-{BOOTS}")), "begun");
}

#[test]
fn install_refuses_before_it_changes_anything() {
    let guest = or_skip!(life(), "install_refuses_before_it_changes_anything");
    ended(guest, "foreign", 8, &["/usr/bin/cdc-shim is there", "hint:"]);
    ended(guest, "old", 4, &["systemd 252 is too old: 254 is needed"]);
    ended(guest, "hybrid", 4, &["/sys/fs/cgroup is tmpfs", "systemd.unified_cgroup_hierarchy=1"]);
    let words =
        ["the memory controller of cgroup v2 is not there", "cgroup_enable=memory on the kernel's command line"];
    ended(guest, "memoryless", 4, &words);
    ended(guest, "room", 4, &["/usr has 1 MB free"]);
    ended(guest, "user", 4, &["root is needed"]);
    ended(guest, "torn", 5, &["not as it was made"]);
    ended(guest, "machine", 4, &["are for riscv64"]);
    ended(guest, "another", 8, &["another daemon runs", "/var/tmp/x", "down"]);
    ended(guest, "purge-install", 2, &["install.sh uninstall [--purge"]);
    ended(guest, "tree-uninstall", 2, &["install.sh uninstall [--purge"]);
    assert_eq!((guest.saw("empty.before"), guest.saw("empty.after")), (String::new(), String::new()));
}

#[test]
fn install_puts_everything_in_its_place_and_a_second_run_changes_nothing() {
    let guest = or_skip!(life(), "install_puts_everything_in_its_place_and_a_second_run_changes_nothing");
    ended(guest, "install", 0, &[&format!("installed  cdc-supervisor {NOW}"), "systemctl start cdc-supervisor"]);
    let files = guest.saw("install.files");
    for file in [
        "755 root /usr/bin/cdc-supervisor",
        "755 root /usr/bin/cdc-shim",
        "640 root /etc/cdc-supervisor/supervisor.toml",
        "644 root /usr/lib/systemd/system/cdc-supervisor.service",
        "644 root /usr/lib/systemd/system/cdc-supervisor-fetch.service",
        "644 root /usr/lib/systemd/system/cdc-supervisor-nodes.service",
        "644 root /usr/lib/sysusers.d/cdc-supervisor.conf",
        "644 root /usr/lib/tmpfiles.d/cdc-supervisor.conf",
        "644 root /etc/needrestart/conf.d/cdc-supervisor.conf",
        "644 root /usr/share/man/man1/cdc-supervisor-up.1.gz",
        "644 root /usr/share/man/man5/supervisor.toml.5.gz",
        "644 root /usr/share/bash-completion/completions/cdc-supervisor",
        "644 root /usr/share/zsh/vendor-completions/_cdc-supervisor",
        "644 root /usr/share/fish/vendor_completions.d/cdc-supervisor.fish",
        "644 root /usr/share/doc/cdc-supervisor/README.md",
    ] {
        assert!(files.lines().any(|line| line == file), "{file} is missing:\n{files}");
    }
    assert_eq!((guest.saw("install.enabled"), guest.saw("install.active")), ("enabled".into(), "inactive".into()));
    ended(guest, "again", 0, &[&format!("cdc-supervisor {NOW} is installed already")]);
    assert_eq!(guest.saw("install.sums"), guest.saw("again.sums"));
}

#[test]
fn a_newer_version_takes_over_and_every_node_keeps_its_pid() {
    let guest = or_skip!(life(), "a_newer_version_takes_over_and_every_node_keeps_its_pid");
    ended(guest, "start", 0, &[]);
    let taken_over = format!("daemon replaced: {NOW} -> {LATER}");
    ended(
        guest,
        "upgrade",
        0,
        &[&taken_over, "2 nodes run on with their pids", &format!("installed  cdc-supervisor {LATER}")],
    );
    assert_eq!(guest.saw("upgrade.before"), guest.saw("upgrade.after"), "another main process");
    assert_eq!(guest.saw("upgrade.version"), format!("cdc-supervisor {LATER}"));
    let (before, after) = (guest.json("start"), guest.json("upgrade"));
    assert_eq!(after["supervisor"]["version"], LATER);
    nodes_ran_on(&before, &after);
    ended(guest, "upgrade-again", 0, &["installed already"]);
    nodes_ran_on(&before, &guest.json("upgrade-again"));
}

#[test]
fn a_version_that_cannot_be_the_daemon_is_taken_back_and_every_node_runs_on() {
    let guest = or_skip!(life(), "a_version_that_cannot_be_the_daemon_is_taken_back_and_every_node_runs_on");
    ended(guest, "rollback", 8, &["the programs of before are back, and nodes run on"]);
    assert_ne!(guest.saw("rollback.before"), guest.saw("rollback.after"), "the daemon of before has ended");
    assert_eq!(guest.saw("rollback.version"), format!("cdc-supervisor {NOW}"));
    assert_eq!(guest.saw("rollback.state"), "active", "{}", guest.journal());
    assert_eq!(guest.saw("rollback.units"), "", "the units of before are back, too");
    let after = guest.json("rollback");
    assert_eq!(after["supervisor"]["version"], NOW);
    nodes_ran_on(&guest.json("start"), &after);
}

#[test]
fn another_version_that_comes_while_the_unit_starts_becomes_the_daemon_too() {
    let guest = or_skip!(life(), "another_version_that_comes_while_the_unit_starts_becomes_the_daemon_too");
    assert_eq!(guest.saw("starting.state"), "activating");
    let taken_over = format!("daemon replaced: {LATER} -> {NOW}");
    ended(guest, "starting", 0, &[&taken_over, "3 nodes run on with their pids"]);
    let (before, after) = (guest.json("starting-before"), guest.json("starting"));
    assert_eq!((&before["supervisor"]["version"], &after["supervisor"]["version"]), (&LATER.into(), &NOW.into()));
    nodes_ran_on(&before, &after);
    assert_eq!(node(&after, "slow")["state"], "ready", "{after}");
}

#[test]
fn a_package_refuses_what_install_has_installed_or_somebody_else_has_put_there() {
    let guest = or_skip!(life(), "a_package_refuses_what_install_has_installed_or_somebody_else_has_put_there");
    ended(guest, "deb-over", 1, &["install.sh has installed it here", "/usr/lib/cdc-supervisor/install.sh uninstall"]);
    assert_eq!(node(&guest.json("deb-over"), "calm")["pid"], node(&guest.json("starting"), "calm")["pid"]);
    ended(guest, "deb-beside", 1, &["/usr/bin/cdc-shim is there and is no package's"]);
    assert_eq!(guest.saw("deb-beside.shim"), "foreign");
}

#[test]
fn removing_the_package_is_refused_while_nodes_run_that_nothing_can_stop() {
    let guest = or_skip!(life(), "removing_the_package_is_refused_while_nodes_run_that_nothing_can_stop");
    ended(
        guest,
        "orphaned-remove",
        1,
        &["nodes run on and could not be stopped: the user cdc-supervisor is gone", "cgroup.kill"],
    );
    assert_eq!(
        (guest.saw("orphaned.programs"), guest.saw("orphaned.nodes")),
        ("/usr/bin/cdc-supervisor".into(), "2".into())
    );
    nodes_ran_on(&guest.json("orphaned"), &guest.json("orphaned-again"));
}

#[test]
fn a_configuration_of_ones_own_is_never_overwritten() {
    let guest = or_skip!(life(), "a_configuration_of_ones_own_is_never_overwritten");
    assert!(!guest.saw("own.before").is_empty());
    assert_eq!(guest.saw("own.before"), guest.saw("own.after"));
    assert_eq!(guest.saw("own.before"), guest.saw("own.deb"));
}

#[test]
fn a_unit_that_was_edited_in_place_is_refused_with_the_place_for_changes() {
    let guest = or_skip!(life(), "a_unit_that_was_edited_in_place_is_refused_with_the_place_for_changes");
    ended(guest, "edited", 8, &["cdc-supervisor.service is there and is not what", "systemctl edit"]);
    ended(guest, "deb-edited", 1, &["cdc-supervisor.service was changed in place", "systemctl edit"]);
    assert_eq!(guest.saw("deb-edited.line"), "KillMode=control-group", "it is as it was edited");
}

#[test]
fn a_downgrade_that_the_state_cannot_take_changes_nothing() {
    let guest = or_skip!(life(), "a_downgrade_that_the_state_cannot_take_changes_nothing");
    ended(guest, "downgrade", 8, &["newer version", "nothing was changed"]);
    assert_eq!(guest.saw("downgrade.version"), format!("cdc-supervisor {LATER}"));
    nodes_ran_on(&guest.json("start"), &guest.json("downgrade"));
}

#[test]
fn uninstall_stops_everything_and_keeps_configuration_and_data() {
    let guest = or_skip!(life(), "uninstall_stops_everything_and_keeps_configuration_and_data");
    ended(guest, "uninstall", 0, &["kept", "/etc/cdc-supervisor/supervisor.toml and /var/lib/cdc-supervisor"]);
    assert_eq!(guest.saw("uninstall.left"), "");
    let kept = "644 root /etc/needrestart/conf.d/cdc-supervisor.conf";
    assert_eq!(guest.saw("uninstall.files"), format!("640 root /etc/cdc-supervisor/supervisor.toml\n{kept}"));
    ended(guest, "uninstall", 0, &["kept       /etc/needrestart/conf.d/cdc-supervisor.conf, which was changed"]);
    contains(&guest.saw("uninstall.kept"), &["calm.json", "second.json"]);
}

#[test]
fn the_package_brings_what_install_brings() {
    let guest = or_skip!(life(), "the_package_brings_what_install_brings");
    ended(guest, "deb-install", 0, &[]);
    let only_script = ["/usr/lib/cdc-supervisor/", "supervisor.toml"];
    let only_package = ["copyright", "changelog", "supervisor.toml"];
    let of = |look: &str, without: &[&str]| -> Vec<String> {
        let all = guest.saw(look);
        all.lines().filter(|l| !without.iter().any(|w| l.contains(w))).map(str::to_owned).collect()
    };
    assert_eq!(of("install.files", &only_script), of("deb.files", &only_package));
    ended(guest, "deb-foreign", 8, &["installed as a package", "dpkg -i"]);
}

#[test]
fn an_upgrade_of_the_package_keeps_main_process_and_nodes() {
    let guest = or_skip!(life(), "an_upgrade_of_the_package_keeps_main_process_and_nodes");
    ended(guest, "deb-start", 0, &[]);
    ended(guest, "deb-upgrade", 0, &["2 nodes run on with their pids"]);
    assert_eq!(guest.saw("deb.before"), guest.saw("deb.after"), "another main process");
    let (before, after) = (guest.json("deb-start"), guest.json("deb-upgrade"));
    assert_eq!((&before["supervisor"]["version"], &after["supervisor"]["version"]), (&NOW.into(), &LATER.into()));
    nodes_ran_on(&before, &after);
    assert!(
        guest.saw("deb-beside.down").contains("stopped x"),
        "one of somebody's own ran beside: {}",
        guest.saw("deb-beside.down")
    );
}

#[test]
fn a_package_that_cannot_be_the_daemon_is_taken_back_and_every_node_runs_on() {
    let guest = or_skip!(life(), "a_package_that_cannot_be_the_daemon_is_taken_back_and_every_node_runs_on");
    let words = ["the programs of before are back, and nodes run on", "dpkg --configure cdc-supervisor tries again"];
    ended(guest, "deb-unfit", 1, &words);
    assert_eq!(guest.saw("deb-unfit.version"), format!("cdc-supervisor {NOW}"));
    assert_eq!(guest.saw("deb-unfit.status"), format!("half-configured {LATER}"));
    // The second try is one of the same package, not of what was put back.
    ended(guest, "deb-unfit-again", 1, &words);
    assert_eq!(guest.saw("deb-unfit-again.version"), format!("cdc-supervisor {NOW}"));
    assert_eq!(guest.saw("deb-unfit.state"), "active", "{}", guest.journal());
    assert_eq!(guest.saw("deb-unfit.units"), "", "the units of before are back, too");
    nodes_ran_on(&guest.json("deb-start"), &guest.json("deb-unfit"));
    assert!(
        guest.saw("deb.kept").contains("No such file"),
        "nothing is kept when a version has come: {}",
        guest.saw("deb.kept")
    );
}

#[test]
fn a_downgrade_of_the_package_that_the_state_cannot_take_is_refused_before_it_is_unpacked() {
    let guest =
        or_skip!(life(), "a_downgrade_of_the_package_that_the_state_cannot_take_is_refused_before_it_is_unpacked");
    ended(guest, "deb-downgrade", 1, &["written by a newer version (schema 99"]);
    assert_eq!(guest.saw("deb-downgrade.version"), format!("cdc-supervisor {LATER}"));
    nodes_ran_on(&guest.json("deb-upgrade"), &guest.json("deb-downgrade"));
}

#[test]
fn needrestart_is_told_to_leave_the_unit_alone() {
    let guest = or_skip!(life(), "needrestart_is_told_to_leave_the_unit_alone");
    assert_eq!(guest.saw("needrestart"), "0");
}

#[test]
fn eight_crashes_in_a_row_leave_the_unit_active_and_the_nodes_alone() {
    let guest = or_skip!(life(), "eight_crashes_in_a_row_leave_the_unit_active_and_the_nodes_alone");
    assert_eq!(guest.saw("crashes.state"), "active\n8", "{}", guest.journal());
    assert_eq!(
        guest.saw("crashes.nodes"),
        "active",
        "what stops the nodes of a unit that has failed: {}",
        guest.journal()
    );
    assert_eq!(guest.saw("crashes.fetch"), "0", "the fetch unit is not given up either");
    nodes_ran_on(&guest.json("crashes-before"), &guest.json("crashes"));
}

#[test]
fn a_stop_while_the_daemon_is_dead_stops_the_nodes_all_the_same() {
    let guest = or_skip!(life(), "a_stop_while_the_daemon_is_dead_stops_the_nodes_all_the_same");
    assert_eq!((guest.saw("dead.nodes"), guest.saw("failed.nodes")), ("2".into(), "2".into()), "nodes ran on");
    ended(guest, "dead-stop", 0, &[]);
    assert_eq!(guest.saw("dead.left"), "", "{}", guest.journal());
    assert_eq!(guest.saw("dead.state"), "inactive");
    stopped(guest, "dead", &["stubborn", "second", "calm"]);
    ended(guest, "failed-stop", 0, &[]);
    assert_eq!(guest.saw("failed.left"), "", "{}", guest.journal());
}

#[test]
fn a_reboot_stops_in_order_and_starts_by_itself() {
    let guest = or_skip!(life(), "a_reboot_stops_in_order_and_starts_by_itself");
    assert!(guest.saw("reboot.ended").contains("all nodes are down"), "{}", guest.journal());
    let (before, after) = (guest.json("off"), guest.json("reboot"));
    for name in ["calm", "second"] {
        assert_ne!(node(&before, name)["pid"], Value::Null);
        assert_eq!(node(&after, name)["last_exit"]["cause"], "stopped", "{after}");
        assert_eq!(node(&after, name)["state"], "ready");
    }
}

#[test]
fn a_shutdown_with_a_deadline_ends_and_the_next_boot_starts_everything() {
    let guest = or_skip!(life(), "a_shutdown_with_a_deadline_ends_and_the_next_boot_starts_everything");
    let after = guest.json("elsewhere");
    for name in ["calm", "second", "stubborn", "first-to-go"] {
        assert_eq!(node(&after, name)["state"], "ready", "{after}");
        assert_ne!(node(&after, name)["last_exit"], Value::Null, "its end is on record: {after}");
    }
}

/// The signals that a record of an end names.
fn signals(record: &str) -> Option<String> {
    record.lines().find_map(|line| line.strip_prefix("signals_sent=")).map(str::to_owned)
}

#[test]
fn before_the_deadline_of_a_shutdown_nodes_are_stopped_in_order_and_what_was_killed_is_told_at_the_next_boot() {
    let guest = or_skip!(
        life(),
        "before_the_deadline_of_a_shutdown_nodes_are_stopped_in_order_and_what_was_killed_is_told_at_the_next_boot"
    );
    let (before, after) = (guest.json("deadline-before"), guest.json("elsewhere"));
    let cause = |name: &str| node(&after, name)["last_exit"]["cause"].as_str().unwrap_or_default().to_owned();
    assert_eq!(cause("first-to-go"), "stopped", "its turn was before the deadline: {after}");
    // Its grace is ten minutes: nothing but the deadline ended it.
    assert_ne!(cause("stubborn"), "stopped", "{after}");

    let events: Vec<Value> = guest.saw("deadline.events").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let at = |words: &str| events.iter().position(|event| event["text"].as_str().is_some_and(|t| t.contains(words)));
    let (stop, next) = (at("stopping all nodes in order"), at("cdc-supervisor "));
    assert!(stop.is_some() && stop < next, "{events:?}");
    // systemd's last SIGTERM goes to every process and gives each of them time: the daemon does not cut that short.
    assert_eq!(at("killing all nodes"), None, "{events:?}");
    assert_eq!(signals(&guest.saw("deadline.exit.first-to-go")).as_deref(), Some("15"));
    for name in ["second", "calm"] {
        let sent = signals(&guest.saw(&format!("deadline.exit.{name}")));
        assert!(sent.as_deref().is_none_or(|sent| !sent.contains('9')), "{name}: {sent:?}");
    }
    // The incident of it is there at the next boot, and of a node that was stopped in time there is none.
    let incidents = guest.json("deadline-incidents");
    let of = |name: &str| {
        let all = incidents["incidents"].as_array().unwrap().iter();
        all.filter(|one| one["node"] == name && one["incarnation"] == node(&before, name)["incarnation"]).count()
    };
    assert_eq!((of("stubborn"), of("first-to-go")), (1, 0), "{incidents}");
}

#[test]
fn a_shutdown_after_the_unit_has_failed_stops_the_nodes_that_run() {
    let guest = or_skip!(life(), "a_shutdown_after_the_unit_has_failed_stops_the_nodes_that_run");
    assert_eq!(guest.saw("off-failed.nodes"), "2");
    // the end of a stop in order
    contains(&guest.saw("off-failed.session"), &["No such file"]);
}

#[test]
fn a_daemon_that_dies_in_the_middle_of_a_shutdown_leaves_a_clean_stop_in_order_and_a_clean_start() {
    let guest = or_skip!(
        life(),
        "a_daemon_that_dies_in_the_middle_of_a_shutdown_leaves_a_clean_stop_in_order_and_a_clean_start"
    );
    assert_eq!(guest.saw("dying.state"), "deactivating stopping", "it was killed in the middle of it");
    assert_eq!(guest.saw("dying.left"), "", "when the unit had been stopped");
    contains(&guest.saw("dying.session"), &["No such file"]);
    let ended = ["stubborn", "second", "calm"].map(|name| {
        let record = guest.saw(&format!("dying.exit.{name}"));
        let at = record.lines().find_map(|line| line.strip_prefix("ended_at=")?.parse::<i64>().ok());
        at.unwrap_or_else(|| panic!("the end of {name} is not on record: {record}"))
    });
    assert!(ended.is_sorted(), "{ended:?}");
    assert_eq!(guest.saw("dying-start.rc"), "0", "{}\n{}", guest.saw("dying-start.text"), guest.journal());
    let (next, events) = (guest.json("dying-next"), guest.saw("dying-next.events"));
    stopped_cleanly(&next, &events, &["calm", "second"], &["stubborn"]);
}

#[test]
fn at_boot_programs_come_before_the_daemon_and_nobody_waits_for_the_network() {
    let guest = or_skip!(life(), "at_boot_programs_come_before_the_daemon_and_nobody_waits_for_the_network");
    let seen = guest.saw("reboot.order");
    let wanted = [
        "Starting cdc-supervisor-fetch.service",
        "Finished cdc-supervisor-fetch.service",
        "Starting cdc-supervisor.service",
        "Started cdc-supervisor.service",
    ];
    let at = |line: &&str| seen.lines().position(|l| l == *line).unwrap_or_else(|| panic!("no {line:?}:\n{seen}"));
    assert!(wanted.iter().map(at).is_sorted(), "{seen}");
    at(&"Starting late-network.service");
    assert!(!seen.contains("Finished late-network.service"), "the network was not there yet: {seen}");
}

#[test]
fn data_on_another_machine_is_noticed_and_runs() {
    let guest = or_skip!(life(), "data_on_another_machine_is_noticed_and_runs");
    contains(&guest.saw("elsewhere.event"), &["machine id"]);
}

#[test]
fn files_of_root_in_the_state_tree_fail_the_unit_once_with_the_path_in_its_status() {
    let guest = or_skip!(life(), "files_of_root_in_the_state_tree_fail_the_unit_once_with_the_path_in_its_status");
    assert_ne!(guest.saw("rooted.rc"), "0");
    assert_eq!(guest.saw("rooted.state"), "failed\n0\n4", "{}", guest.saw("rooted.status"));
    contains(&guest.saw("rooted.status"), &["/var/lib/cdc-supervisor/state", "chown"]);
}

#[test]
fn a_unit_without_delegation_is_refused_with_the_line_that_is_missing() {
    let guest = or_skip!(life(), "a_unit_without_delegation_is_refused_with_the_line_that_is_missing");
    assert_eq!(guest.saw("undelegated.state"), "failed\n0\n4", "{}", guest.saw("undelegated.status"));
    contains(
        &guest.saw("undelegated.status"),
        &["memory caps cannot be set", "not delegated", "Delegate=cpu memory pids io"],
    );
}

#[test]
fn a_read_only_cgroup_mount_is_refused_with_what_makes_it_so() {
    let guest = or_skip!(life(), "a_read_only_cgroup_mount_is_refused_with_what_makes_it_so");
    assert_eq!(guest.saw("readonly.state"), "failed\n0\n4", "{}", guest.saw("readonly.status"));
    contains(&guest.saw("readonly.status"), &["memory caps cannot be set", "Read-only", "ProtectControlGroups="]);
}

#[test]
fn a_unit_that_would_kill_nodes_runs_and_says_so_in_its_status() {
    let guest = or_skip!(life(), "a_unit_that_would_kill_nodes_runs_and_says_so_in_its_status");
    ended(guest, "killmode", 0, &[]);
    let status = guest.saw("killmode.status");
    contains(&status, &["2 of 2 nodes ready", "KillMode=control-group", "DelegateSubgroup=", "systemctl edit"]);
    assert_eq!(node(&guest.json("killmode"), "calm")["state"], "ready");
}

#[test]
fn a_user_that_is_gone_is_named_in_the_status() {
    let guest = or_skip!(life(), "a_user_that_is_gone_is_named_in_the_status");
    assert_ne!(guest.saw("userless.rc"), "0");
    // systemd's own words (217/USER): nothing of ours has run
    contains(&guest.saw("userless.status"), &["217/USER"]);
    assert_eq!(guest.saw("userless.state"), "failed\n0", "it is not tried again");
    // not even its ExecCondition= could be run
    assert_eq!(guest.saw("userless.fetch"), "inactive", "nor is the fetch");
    assert_eq!(guest.saw("userless.left"), "0");
}

#[test]
fn a_broken_configuration_at_boot_fails_the_unit_with_its_message_in_the_status() {
    let guest = or_skip!(life(), "a_broken_configuration_at_boot_fails_the_unit_with_its_message_in_the_status");
    assert_eq!(guest.saw("broken.state"), "3\n0", "{}", guest.saw("broken.status"));
    contains(&guest.saw("broken.status"), &["memmory: unknown key", "supervisor.toml"]);
}

#[test]
fn a_full_disk_at_boot_is_named_and_the_stack_starts_when_there_is_room() {
    let guest = or_skip!(life(), "a_full_disk_at_boot_is_named_and_the_stack_starts_when_there_is_room");
    contains(&guest.saw("full.status"), &["No space left"]);
    assert_eq!((guest.saw("full.free").trim(), guest.saw("full.left").as_str()), ("0", ""), "at the boot");
    assert_eq!(guest.saw("full.state"), "failed\n4\n0", "{}", guest.saw("full.status"));
    let status = guest.json("roomy");
    assert_eq!(node(&status, "second")["state"], "ready", "{status}");
}

#[test]
fn removing_the_package_keeps_the_data_and_purging_it_too_unless_it_is_named() {
    let guest = or_skip!(life(), "removing_the_package_keeps_the_data_and_purging_it_too_unless_it_is_named");
    ended(guest, "remove", 0, &[]);
    assert_eq!(guest.saw("remove.left"), "");
    let left = guest.saw("remove.files");
    // and where data lie, for a purge
    let kept = [
        "supervisor.toml",
        "supervisor.toml.dpkg-dist",
        "/needrestart/conf.d/cdc-supervisor.conf",
        "-supervisor/places",
    ];
    let other: Vec<&str> = left.lines().filter(|line| !kept.iter().any(|file| line.ends_with(file))).collect();
    assert_eq!(other, Vec::<&str>::new());
    ended(guest, "purge", 0, &["kept", "/var/lib/cdc-supervisor"]);
    contains(&guest.saw("purge.etc"), &["No such file"]);
    contains(&guest.saw("purge.data"), &["state", "nodes"]);
}

#[test]
fn purge_deletes_the_data_only_for_who_types_their_place() {
    let guest = or_skip!(life(), "purge_deletes_the_data_only_for_who_types_their_place");
    ended(guest, "purge-unasked", 8, &["nobody is there to confirm it", "--confirm /var/lib/cdc-supervisor"]);
    ended(guest, "purge-wrong", 8, &["\"yes\" is not /var/lib/cdc-supervisor"]);
    contains(&guest.saw("purge-wrong.data"), &["state", "nodes"]);
    ended(guest, "purge-right", 0, &["purged"]);
    assert_eq!(guest.saw("purge-right.data").matches("No such file").count(), 2);
    assert_eq!(guest.saw("purge-right.files"), "");
}

#[test]
fn the_owner_of_a_taken_port_is_named_though_the_daemon_may_not_look() {
    let guest = or_skip!(life(), "the_owner_of_a_taken_port_is_named_though_the_daemon_may_not_look");
    assert_eq!(guest.saw("squatted.state"), "failed\n4", "{}", guest.saw("squatted.status"));
    contains(&guest.saw("squatted.status"), &["port 19092", "fake-daemon", "pid ", "user nobody"]);
    assert_eq!(guest.saw("squatted.mode"), "2750 root cdc-supervisor 640 root cdc-supervisor");
}

#[test]
fn the_daemon_is_the_last_to_go_when_the_host_runs_out_of_memory() {
    let guest = or_skip!(life(), "the_daemon_is_the_last_to_go_when_the_host_runs_out_of_memory");
    let scores = guest.saw("start.oom");
    let (daemon, calm) = scores.split_once('\n').unwrap_or_default();
    assert_eq!(daemon, "-900");
    assert!(calm.parse::<i32>().is_ok_and(|score| score > -900), "{scores}");
}

#[test]
fn the_limits_of_the_unit_reach_the_nodes() {
    let guest = or_skip!(life(), "the_limits_of_the_unit_reach_the_nodes");
    assert_eq!(guest.saw("start.limits"), "262144 262144\n16384");
    assert_eq!(guest.saw("start.node-limits"), "262144 262144", "what its table asks for, which the unit allows");
}

#[test]
fn a_bundle_is_looked_at_before_anything_is_changed_and_installed_with_the_rest() {
    let guest = or_skip!(life(), "a_bundle_is_looked_at_before_anything_is_changed_and_installed_with_the_rest");
    ended(guest, "bundle-torn", 5, &["torn.bundle cannot be used; nothing was changed"]);
    ended(guest, "bundle-unproven", 2, &["nothing proves that", "--sha256"]);
    assert_eq!(guest.saw("bundle-torn.files"), "");
    ended(guest, "reinstall", 0, &[&format!("installed  cdc-supervisor {NOW}")]);
    assert_eq!(guest.saw("reinstall.offline"), "offline = true", "no network is asked from now on");
    ended(guest, "reinstall-again", 0, &["installed already"]);
}
