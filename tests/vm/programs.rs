//! Programs that must be fetched, data that lie elsewhere, listeners for other machines: one boot of a guest with a server of its own
//! (`programs.sh`), one test per fact.

use super::{
    archives::{self, List},
    guest::{Guest, Size, booted},
    maven, node,
    packed::{package, tree},
    script,
};
use serde_json::Value;
use std::{fs, path::Path, process::Command, sync::OnceLock, time::Duration};

const FROM: &str = "http://127.0.0.1:8000/kafka.tgz";

pub(super) fn programs() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    let Size(memory, limit) = Size::SMALL;
    let size = Size(memory, limit + Duration::from_secs(600));
    booted(&GUEST, "programs", (1, size), &script("programs.sh"), |share| {
        let kafka = archives::kafka("apache-kafka", 1);
        fs::write(share.join("kafka.tgz"), kafka.as_slice())?;
        fs::write(share.join("list.toml"), List::of("apache-3.5.2", "apache-kafka", &kafka, &[FROM]).text())?;
        let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
        tree(share, &dist)?;
        package(&share.join("packed"), "now", ".", &dist)?;
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/archive");
        Command::new("cp").arg("-r").arg(archive).arg(share).status()?;
        // One test is about it: it is skipped with the reason, and the others run.
        maven::provide_or_note(share);
        Ok(())
    })
}

/// A command that was run in the guest ended with `code` and said all of `words`.
pub(super) fn ended(guest: &Guest, name: &str, code: i32, words: &[&str]) {
    let text = guest.saw(&format!("{name}.text"));
    assert_eq!(guest.saw(&format!("{name}.rc")), code.to_string(), "{name}: {text}\n{}", guest.journal());
    contains(&text, words);
}

pub(super) fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

fn same_processes(before: &Value, after: &Value) {
    for name in ["calm", "second"] {
        for key in ["pid", "incarnation", "restarts"] {
            assert_eq!(node(before, name)[key], node(after, name)[key], "{name}: {key}");
        }
    }
}

#[test]
fn everything_that_was_waited_for_came_while_programs_did() {
    let guest = or_skip!(programs(), "everything_that_was_waited_for_came_while_programs_did");
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    assert_eq!(guest.saw("never"), "", "{}", guest.journal());
}

#[test]
fn nodes_whose_programs_are_missing_wait_and_everything_else_runs() {
    let guest = or_skip!(programs(), "nodes_whose_programs_are_missing_wait_and_everything_else_runs");
    ended(guest, "look", 5, &["java 17.0.1+1", "kafka: ", "not all programs are in the store"]);
    ended(guest, "missing", 0, &[]);
    assert_eq!(guest.saw("missing.state"), "active\n0\nsame", "{}", guest.journal());
    let told = guest.saw("missing.statustext");
    contains(&told, &["2 of 3 nodes ready; zookeeper failed: kafka in the store: ", "`cdc-supervisor fetch`"]);
    let status = guest.json("missing");
    assert_eq!(node(&status, "calm")["state"], "ready", "{status}");
    assert_eq!(node(&status, "zookeeper")["state"], "failed", "{status}");
    // another version is none the less taken: no node that runs lacks anything
    ended(guest, "missing-check", 0, &["\"check\":1"]);
}

#[test]
fn nodes_start_by_themselves_when_the_fetch_unit_has_got_their_programs() {
    let guest = or_skip!(programs(), "nodes_start_by_themselves_when_the_fetch_unit_has_got_their_programs");
    let (before, after) = (guest.json("missing"), guest.json("came"));
    assert_eq!(node(&after, "zookeeper")["state"], "ready", "{after}\n{}", guest.journal());
    same_processes(&before, &after);
    assert_eq!(guest.saw("came.statustext"), "3 of 3 nodes ready");
    contains(&guest.saw("came.store"), &["test-apache-3.5.2-"]);
    assert_eq!(guest.saw("came.theirs"), "");
}

#[test]
fn a_daemon_that_crashes_while_programs_are_fetched_is_there_again_at_once() {
    let guest = or_skip!(programs(), "a_daemon_that_crashes_while_programs_are_fetched_is_there_again_at_once");
    same_processes(&guest.json("missing"), &guest.json("crash"));
    // the server says nothing, and a fetch that is not cut short waits for it half a minute
    let fetch = guest.saw("crash.fetch");
    let cut = fetch.split("interrupted while fetching; what has arrived is kept").nth(1);
    assert!(cut.is_some_and(|after| !after.contains("Failed with result 'exit-code'")), "{fetch}");
}

#[test]
fn a_reload_to_what_is_not_in_the_store_fetches_it_in_the_units_sandbox() {
    let guest = or_skip!(programs(), "a_reload_to_what_is_not_in_the_store_fetches_it_in_the_units_sandbox");
    for hand in ["missing-reload", "reload-by-hand"] {
        let words = ["the file cannot be applied; nothing was changed", "kafka in the store: "];
        ended(guest, hand, 5, &words);
        contains(
            &guest.saw(&format!("{hand}.text")),
            &["`systemctl reload cdc-supervisor` fetches what is missing first"],
        );
    }
    assert_ne!(guest.saw("missing-unit-reload.rc"), "0");
    assert_ne!(guest.saw("missing-unit-reload.told"), "0", "a fetch that fails is followed by the words of the reload");
    ended(guest, "reload", 0, &[]);
    let after = guest.json("reload");
    assert_eq!(node(&after, "zookeeper")["state"], "ready", "{after}\n{}", guest.journal());
    same_processes(&guest.json("came"), &after);
    assert_eq!(guest.saw("reload.theirs"), "");
    ended(guest, "reload-again", 0, &[]);
    assert_eq!(
        guest.saw("reload-again.fetched"),
        guest.saw("reload.fetched"),
        "nothing is missing: nothing is fetched"
    );
}

#[test]
fn a_reload_whose_download_takes_longer_than_the_unit_gives_is_applied() {
    let guest = or_skip!(programs(), "a_reload_whose_download_takes_longer_than_the_unit_gives_is_applied");
    ended(guest, "late", 0, &[]);
    let after = guest.json("late");
    assert_eq!(node(&after, "zookeeper")["state"], "ready", "{after}\n{}", guest.journal());
    same_processes(&guest.json("reload"), &after);
}

#[test]
fn the_distributions_package_client_works_in_the_sandbox_of_the_fetch_unit() {
    let guest = or_skip!(programs(), "the_distributions_package_client_works_in_the_sandbox_of_the_fetch_unit");
    ended(guest, "packages", 0, &[]);
    contains(&guest.saw("packages.fetch"), &["java 17.0.2+2"]);
    let lock = guest.saw("packages.lock");
    contains(&lock, &["openjdk-17-jre-headless", "http://127.0.0.1:8001/ trixie"]);
    let status = guest.json("packages");
    assert_eq!(node(&status, "zookeeper")["state"], "ready", "{status}\n{}", guest.journal());
    same_processes(&guest.json("late"), &status);
    ended(guest, "packages-back", 0, &[]);
}

#[test]
fn what_root_types_leaves_no_file_of_root_in_the_users_store() {
    let guest = or_skip!(programs(), "what_root_types_leaves_no_file_of_root_in_the_users_store");
    ended(guest, "root-fetch", 0, &["as cdc-supervisor, who owns /var/lib/cdc-supervisor", "kafka 3.5.2 (4 jars"]);
    ended(guest, "root-gc", 0, &["nothing to remove"]);
    ended(guest, "root-bundle", 0, &["as cdc-supervisor, who owns /var/lib/cdc-supervisor"]);
    assert_eq!(guest.saw("root.theirs"), "");
    contains(
        &guest.saw("alien.text"),
        &["artifacts/lock belongs to root", "chown -R cdc-supervisor /var/lib/cdc-supervisor/artifacts"],
    );
}

#[test]
fn a_listener_that_the_unit_keeps_from_its_clients_is_told_until_they_are_let_in() {
    let guest = or_skip!(programs(), "a_listener_that_the_unit_keeps_from_its_clients_is_told_until_they_are_let_in");
    let told = "zookeeper (0.0.0.0:2181) listens for other machines, and the unit lets none in (IPAddressDeny=any)";
    ended(guest, "lan-plan", 0, &[&format!("note: {told}")]);
    ended(guest, "lan-reload", 0, &[]);
    contains(
        &guest.saw("lan.statustext"),
        &["3 of 3 nodes ready", told, "systemctl set-property cdc-supervisor.service"],
    );
    contains(&guest.saw("lan-doctor.text"), &["clients elsewhere", "IPAddressAllow=NETWORK"]);
    ended(guest, "lan-set", 0, &[]);
    contains(&guest.saw("lan.allowed"), &["10.0.0.0/8", "127.0.0.0/8"]);
    same_processes(&guest.json("reload"), &guest.json("lan"));
}

#[test]
fn a_slice_that_keeps_the_memory_controller_is_named() {
    let guest = or_skip!(programs(), "a_slice_that_keeps_the_memory_controller_is_named");
    assert!(!guest.saw("keeps.controllers").contains("memory"), "it keeps it: {}", guest.saw("keeps.controllers"));
    assert_eq!(guest.saw("keeps.state"), "failed\n4\n0", "{}", guest.saw("keeps.status"));
    contains(&guest.saw("keeps.status"), &["memory caps cannot be set", "does not pass it on", "DisableControllers="]);
}

#[test]
fn the_unit_may_be_in_any_slice() {
    let guest = or_skip!(programs(), "the_unit_may_be_in_any_slice");
    assert_eq!(guest.saw("apart.cgroup"), "/apart.slice/cdc-supervisor.service");
    same_processes(&guest.json("apart-before"), &guest.json("apart"));
    assert_eq!(guest.saw("apart.owners-then"), guest.saw("apart.owners"), "nor does a look at who has the ports");
    assert_eq!(guest.saw("apart.skipped"), "yes");
    assert_eq!(guest.saw("apart.fetched"), guest.saw("apart.before"), "live nodes wait for no look through the store");
}

#[test]
fn root_and_data_elsewhere_are_refused_with_the_line_that_is_missing_and_run_with_it() {
    let guest =
        or_skip!(programs(), "root_and_data_elsewhere_are_refused_with_the_line_that_is_missing_and_run_with_it");
    assert_eq!(guest.saw("elsewhere.state"), "failed\n4\n0", "{}", guest.saw("elsewhere.status"));
    contains(&guest.saw("elsewhere.status"), &["/data/cdc", "unit-paths --write", "ReadWritePaths=/data/cdc"]);
    let unit = "cdc-supervisor.service may not write /data/cdc, /srv/zk";
    contains(&guest.saw("elsewhere-doctor.text"), &[unit, "unit-paths --write"]);
    ended(
        guest,
        "elsewhere-paths",
        0,
        &[
            "[Unit]\nRequiresMountsFor=/data/cdc\nRequiresMountsFor=/srv/zk\n[Service]\nReadWritePaths=-/data/cdc\nReadWritePaths=-/srv/zk",
        ],
    );
    ended(guest, "elsewhere-install", 0, &["cdc-supervisor-nodes.service.d/zz-cdc-supervisor-paths.conf"]);
    ended(guest, "elsewhere-start", 0, &[]);
    let status = guest.json("elsewhere");
    assert_eq!(node(&status, "zookeeper")["state"], "ready", "{status}\n{}", guest.journal());
    assert!(!guest.saw("elsewhere.files").is_empty(), "its data are there");
    assert_eq!(guest.saw("elsewhere.theirs").trim(), "");
    assert!(!guest.saw("elsewhere-whole.text").contains("may not write"), "{}", guest.saw("elsewhere-whole.text"));
    // the unit that stops nodes without a daemon may write there as well
    assert_eq!(guest.saw("elsewhere.nodes"), "3");
    ended(guest, "elsewhere-stop", 0, &[]);
    assert_eq!(guest.saw("elsewhere.left"), "", "{}", guest.journal());
    ended(guest, "uninstall", 0, &[]);
    assert!(!guest.saw("uninstall.drop-ins").contains("zz-"), "{}", guest.saw("uninstall.drop-ins"));
}

#[test]
fn what_runs_stays_open_to_the_units_when_an_upgrade_finds_another_root_in_the_file() {
    let guest =
        or_skip!(programs(), "what_runs_stays_open_to_the_units_when_an_upgrade_finds_another_root_in_the_file");
    ended(guest, "edited-install", 0, &["installed already"]);
    ended(guest, "edited-paths", 0, &["ReadWritePaths=-/data/cdc\nReadWritePaths=-/srv/zk"]);
    same_processes(&guest.json("elsewhere"), &guest.json("edited"));
    let (before, after) = (guest.json("elsewhere"), guest.json("edited"));
    assert_eq!(node(&before, "zookeeper")["pid"], node(&after, "zookeeper")["pid"], "{after}\n{}", guest.journal());
    // when nothing runs any more the file alone counts
    ended(
        guest,
        "edited-later",
        0,
        &["removed  /etc/systemd/system/cdc-supervisor.service.d/zz-cdc-supervisor-paths.conf"],
    );
    assert_eq!(guest.saw("edited-later.drop-ins"), "");
}

#[test]
fn a_disk_with_data_that_is_mounted_late_is_waited_for() {
    let guest = or_skip!(programs(), "a_disk_with_data_that_is_mounted_late_is_waited_for");
    ended(guest, "late-disk-install", 0, &[]);
    ended(guest, "late-disk", 0, &[]);
    assert_eq!(guest.saw("late-disk.mounted"), "yes");
    assert_eq!(node(&guest.json("late-disk"), "zookeeper")["state"], "ready", "{}", guest.journal());
    ended(guest, "late-disk-uninstall", 0, &[]);
}

#[test]
fn install_purges_the_root_that_is_typed_and_names_what_lies_elsewhere() {
    let guest = or_skip!(programs(), "install_purges_the_root_that_is_typed_and_names_what_lies_elsewhere");
    let root = "/var/lib/cdc-supervisor";
    ended(
        guest,
        "purge-wrong",
        8,
        &["Type the path to go on: ", &format!("\"{root}\" is not /data/cdc: nothing was done")],
    );
    ended(guest, "purge-ended", 8, &["Type the path to go on: ", "\"\" is not /data/cdc: nothing was done"]);
    assert_eq!(
        guest.saw("purge-wrong.there"),
        format!("/data/cdc /etc/cdc-supervisor /srv/zk {root} {root}/artifacts/home")
    );
    let kept = format!("{root}, which is not the root that was named");
    ended(
        guest,
        "purge",
        0,
        &["purged     /data/cdc and /etc/cdc-supervisor", "kept       /srv/zk /srv/copies", &kept],
    );
    // the root of an earlier configuration lies there, which nobody has named; Maven's files are gone
    assert_eq!(guest.saw("purge.there"), format!("/srv/zk {root}"));
    // copies with all data and their passwords: what a link of the root led to is not left without a word
    ended(
        guest,
        "purge",
        0,
        &["/srv/zk /srv/copies /srv/linked (named in the configuration, or a link in /data/cdc led"],
    );
    assert_eq!(guest.saw("purge.copies"), "2026");
}

#[test]
fn a_purge_deletes_what_a_link_leads_to_empties_a_mount_point_and_refuses_a_place_right_below_the_top() {
    let guest = or_skip!(
        programs(),
        "a_purge_deletes_what_a_link_leads_to_empties_a_mount_point_and_refuses_a_place_right_below_the_top"
    );
    for name in ["link-install", "mounted-install", "mounted-uninstall", "one-install", "one-uninstall"] {
        ended(guest, name, 0, &[]);
    }
    ended(guest, "link", 0, &["purged     /srv/link and /etc/cdc-supervisor"]);
    assert_eq!(guest.saw("link.there"), "");
    ended(guest, "mounted", 0, &["kept       /srv/mounted, which is empty", "purged     /srv/mounted"]);
    assert_eq!(guest.saw("mounted.there"), "/srv/mounted");
    ended(guest, "one", 8, &["/one is too near to / to be deleted as a whole; nothing was done"]);
    assert_eq!(guest.saw("one.there"), "/one /etc/cdc-supervisor /usr/bin/cdc-supervisor");
}

#[test]
fn a_purge_of_the_package_names_every_place_with_data_wherever_the_root_lies() {
    let guest = or_skip!(programs(), "a_purge_of_the_package_names_every_place_with_data_wherever_the_root_lies");
    ended(guest, "deb-another", 1, &["another daemon runs", "/var/tmp/x", "down"]);
    assert_eq!(guest.saw("deb-another.there"), "", "nothing was unpacked");
    ended(guest, "deb", 0, &[]);
    ended(guest, "deb-remove", 0, &[]);
    let root = "/var/lib/cdc-supervisor";
    let places = ["/data/cdc", "/srv/sql", "/srv/zk", "/srv/copies", "/srv/linked", root]
        .map(|place| format!("kept       {place}, with what is in it"));
    ended(guest, "deb-purge", 0, &places.each_ref().map(String::as_str));
    assert_eq!(guest.saw("deb-purge.there"), format!("/data/cdc /srv/zk {root} {root}/artifacts/home"));
    ended(guest, "deb-anew", 0, &[]);
    ended(
        guest,
        "deb-purge-data",
        0,
        &["kept       /srv/zk /srv/sql /srv/copies /srv/linked (named in the configuration, or a link"],
    );
    assert_eq!(guest.saw("deb-purge-data.there"), "/srv/zk", "{}", guest.saw("deb-purge-data.text"));
}
