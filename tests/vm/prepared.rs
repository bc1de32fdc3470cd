//! What `doctor --fix` and `--script` change of a host, and that the next boot still has it: three boots of one disk
//! (`prepared.sh`), one test per fact.

use super::guest::{Guest, Size, booted};
use std::{collections::BTreeMap, path::Path, sync::OnceLock};

const FILE_HEAD: &str = "# Written by `cdc-supervisor doctor --fix`. Remove a line, or this file, to take it back.\n";
const MAPS: &str = "# was: 65530\nvm.max_map_count = 262144";
const BEFORE: &str = "65530\n40000-40002";

fn prepared() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/prepared.sh");
    booted(&GUEST, "prepared", (3, Size::SMALL), &script, |_| Ok(()))
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

const SYSCTL: &str = "/etc/sysctl.d/90-cdc-supervisor.conf";

/// What each change sets, in the order in which `prepared.sh` makes them: the setting as it is looked at, its value before and after, and the
/// file that keeps it.
const EACH: [(&str, &str, &str, &str, &str); 7] = [
    ("swappiness", "vm.swappiness", "60", "1", SYSCTL),
    ("max-map-count", "vm.max_map_count", "65530", "262144", SYSCTL),
    // where a kernel has huge pages it shows the choice in brackets
    ("huge-pages", "pages", "[always] madvise never", "madvise", "/etc/tmpfiles.d/cdc-supervisor-host.conf"),
    ("file-max", "fs.file-max", "500000", "1000000", SYSCTL),
    ("open-files", "login", "4096 4096", "100000 100000", "/etc/security/limits.d/90-cdc-supervisor.conf"),
    ("reserved-ports", "net.ipv4.ip_local_reserved_ports", "40000-40002", "33092,40000-40002", SYSCTL),
    (
        "time-sync",
        "ntp",
        "no inactive",
        "yes active",
        "/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service",
    ),
];

/// A look at everything: each setting and each file with what is in it.
fn look(guest: &Guest, name: &str) -> BTreeMap<String, String> {
    let text = guest.saw(name);
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What differs between two looks.
fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn is_set(found: Option<&String>, wanted: &str) -> bool {
    found.is_some_and(|found| found == wanted || found.contains(&format!("[{wanted}]")))
}

#[test]
fn each_setting_is_changed_by_its_name_and_nothing_besides_it() {
    let guest = or_skip!(prepared(), "each_setting_is_changed_by_its_name_and_nothing_besides_it");
    let mut before = look(guest, "0");
    for (number, (name, setting, was, wanted, file)) in EACH.into_iter().enumerate() {
        let said = guest.saw(&format!("{}.err", number + 1));
        assert_eq!(guest.saw(&format!("{}.rc", number + 1)), "0", "{name}: {said}");
        assert!(is_set(before.get(setting), was), "{name}: {:?}", before.get(setting));
        let after = look(guest, &format!("{}.whole", number + 1));
        assert!(is_set(after.get(setting), wanted), "{name}: {:?}\n{said}", after.get(setting));
        let also: Vec<String> =
            changed(&before, &after).into_iter().filter(|key| key != setting && key != file).collect();
        // its name on the bus is enabled with it
        let bus = "/etc/systemd/system/dbus-org.freedesktop.timesync1.service";
        assert!(also.iter().all(|key| name == "time-sync" && key == bus), "{name} changed {also:?}");
        assert!(after.contains_key(file), "{name}: no {file}");
        // what and why
        assert!(said.contains(&format!("{name:<15} ")) && said.lines().count() >= 3, "{said}");
        before = after;
    }
}

#[test]
fn what_was_set_is_set_after_the_next_boot_and_nothing_is_left_to_change() {
    let guest = or_skip!(prepared(), "what_was_set_is_set_after_the_next_boot_and_nothing_is_left_to_change");
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    let booted = look(guest, "booted");
    for (name, setting, _, wanted, file) in EACH {
        assert!(is_set(booted.get(setting), wanted), "{name}: {:?}", booted.get(setting));
        assert!(booted.contains_key(file), "{name}: no {file}");
    }
    let rest = guest.saw("rest.err");
    // a shell's limit is the one of its login: the one of this look was set low
    for (name, ..) in EACH.into_iter().filter(|(name, ..)| *name != "open-files") {
        assert!(rest.contains(&format!("{name}: nothing to change here")), "{rest}");
    }
}

#[test]
fn the_script_sets_all_of_them_and_takes_them_back() {
    let guest = or_skip!(prepared(), "the_script_sets_all_of_them_and_takes_them_back");
    let (before, done) = (look(guest, "0"), look(guest, "written"));
    let said = guest.saw("written.done");
    assert_eq!((guest.saw("written.done.rc"), guest.saw("written.undo.rc")), ("0".into(), "0".into()), "{said}");
    for (name, setting, _, wanted, _) in EACH {
        assert!(is_set(done.get(setting), wanted), "{name}: {:?}\n{said}", done.get(setting));
    }
    let mut left = changed(&before, &look(guest, "unwritten"));
    // of a file in the place of a kernel's setting the brackets are not put back
    left.retain(|key| key != "pages");
    assert!(left.is_empty(), "{left:?}\n{said}");
}
