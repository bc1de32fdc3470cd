//! What `doctor --fix` and `--script` change of a host, and that the next boot still has it: two boots of one disk
//! (`prepared.sh`), one test per fact.

use super::guest::{Guest, Size, booted};
use std::{path::Path, sync::OnceLock};

const FILE_HEAD: &str = "# Written by `cdc-supervisor doctor --fix`. Remove a line, or this file, to take it back.\n";
const MAPS: &str = "# was: 65530\nvm.max_map_count = 262144";
const BEFORE: &str = "65530\n40000-40002";

fn prepared() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/prepared.sh");
    booted(&GUEST, "prepared", (2, Size::SMALL), &script, |_| Ok(()))
}

#[test]
fn the_host_is_not_changed_without_root_or_without_a_word() {
    let guest = or_skip!(prepared(), "the_host_is_not_changed_without_root_or_without_a_word");
    assert_eq!(guest.saw("before"), BEFORE);
    let user = guest.saw("user.err");
    assert_eq!(guest.saw("user.rc"), "4", "{user}");
    let command = "sudo cdc-supervisor --config /etc/cdc-supervisor/supervisor.toml doctor --fix max-map-count";
    assert!(user.contains(command), "{user}");
    assert!(user.contains("vm.max_map_count: 65530 -> 262144"), "it is shown all the same: {user}");
    assert_eq!(guest.saw("unasked.rc"), "8", "{}", guest.saw("unasked.err"));
    assert_eq!(guest.saw("unasked.settings"), BEFORE);
}

#[test]
fn the_script_of_doctor_prepares_the_host_and_takes_it_back() {
    let guest = or_skip!(prepared(), "the_script_of_doctor_prepares_the_host_and_takes_it_back");
    let said = guest.saw("script.done");
    assert_eq!((guest.saw("script.rc"), guest.saw("undo.rc")), ("0".into(), "0".into()), "{said}");
    let reserved = "# was: 40000-40002\nnet.ipv4.ip_local_reserved_ports = 33092,40000-40002\n";
    assert_eq!(guest.saw("script.settings"), format!("262144\n33092,40000-40002\n{FILE_HEAD}{reserved}{MAPS}"));
    assert_eq!(guest.saw("undo.settings"), BEFORE);
}

#[test]
fn only_the_setting_that_was_named_is_changed_and_it_outlives_a_boot() {
    let guest = or_skip!(prepared(), "only_the_setting_that_was_named_is_changed_and_it_outlives_a_boot");
    assert_eq!(guest.saw("one.rc"), "0", "{}", guest.saw("one.err"));
    let one = format!("262144\n40000-40002\n{FILE_HEAD}{MAPS}");
    assert_eq!(guest.saw("one.settings"), one);
    let again = guest.saw("again.err");
    assert_eq!((guest.saw("again.rc"), guest.saw("again.settings")), ("0".into(), one), "{again}");
    assert!(again.contains("max-map-count: nothing to change here"), "{again}");
    // what was not kept is gone, what was kept is there
    assert_eq!(guest.saw("rebooted"), format!("262144\n\n{FILE_HEAD}{MAPS}"));
}

#[test]
fn everything_is_changed_on_one_word_and_then_nothing_is_left_to_change() {
    let guest = or_skip!(prepared(), "everything_is_changed_on_one_word_and_then_nothing_is_left_to_change");
    assert_eq!(guest.saw("all.rc"), "0", "{}", guest.saw("all.err"));
    let all = guest.saw("all.settings");
    assert!(all.starts_with("262144\n33092\n") && all.contains("ip_local_reserved_ports = 33092"), "{all}");
    assert_eq!(guest.saw("nothing.rc"), "0");
    assert!(guest.saw("nothing.err").contains("nothing was changed"), "{}", guest.saw("nothing.err"));
    assert_eq!(guest.saw("nothing.settings"), all);
}
