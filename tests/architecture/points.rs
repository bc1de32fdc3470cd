//! That what outlives a process is changed only where the fault bench can kill: a file of `src` that renames, replaces or removes
//! whole directories has a failpoint, is cut short in `tests/faults` by the name of what it writes, or says here why not.

use crate::{
    none,
    source::{has_word, repository, sources},
};
use std::fs;

/// What changes more than the bytes of one open file.
const CHANGES: [&str; 7] = [
    "rename",
    "renameat2",
    "write_atomic",
    "write_if_different",
    "remove_dir_all",
    "remove_dir_all_optional",
    "numbered::keep",
];

/// Their only way to the disk is `sys::fs::write_atomic`, which has points; this is what `tests/faults` cuts short of theirs.
const CUT: [(&str, &str); 11] = [
    ("src/daemon/session.rs", "state/session.json"),
    ("src/engine/persist.rs", "nodes/a.json"),
    ("src/engine/identity/record.rs", "state/identity.json"),
    ("src/engine/identity/mod.rs", "data/cdc-supervisor.json"),
    ("src/logs/incident_files.rs", "state/incidents/000001.a.1.json"),
    ("src/artifact/lockfile.rs", "artifacts/lock.toml"),
    ("src/operate/topics/keep.rs", "@state/topics.json"),
    ("src/operate/drill/history.rs", ".broker-term.json"),
    ("src/sys/numbered.rs", ".broker-term.json"),
    // Right behind its write stands a point.
    ("src/offline/stores/dynamic.rs", "remembered"),
    ("src/offline/stores/secrets.rs", "state/secrets/mysql-root"),
];

/// Nothing is lost or doubled wherever they die, and why.
const WITHOUT: [(&str, &str); 20] = [
    ("src/sys/failpoint.rs", "it is what kills"),
    ("src/sys/record.rs", "one rename of a record that says nothing any more"),
    ("src/sys/stdio.rs", "the daemon's own log: one rename of a new, empty file"),
    ("src/telemetry/bounded.rs", "the daemon's own older logs"),
    ("src/sys/port_owners.rs", "a note that is made anew each minute, and one rename"),
    ("src/offline/drills.rs", "the report of a drill, as `operate/drill/history.rs` writes it"),
    ("src/operate/drill/wreck.rs", "data of a throw-away cluster"),
    ("src/offline/throw_away.rs", "a throw-away cluster, cleared before it is made again"),
    ("src/engine/places.rs", "files that every start of a node renders anew"),
    ("src/engine/class_data.rs", "an archive that is made anew: without its size, which comes first, it is not used"),
    ("src/artifact/vendor.rs", "works in the store's `tmp`, which the next run clears"),
    ("src/artifact/kafka_ui.rs", "works in the store's `tmp`, which the next run clears"),
    ("src/artifact/maven.rs", "works in the store's `tmp`, which the next run clears"),
    ("src/artifact/signature.rs", "works in the store's `tmp`, which the next run clears"),
    ("src/artifact/apt/mod.rs", "works in the store's `tmp`, which the next run clears"),
    ("src/artifact/apt/unpack.rs", "works in the store's `tmp`, which the next run clears"),
    ("src/artifact/bundle/create.rs", "one rename of a whole file; before it there is none"),
    ("src/artifact/transfer/part.rs", "how far a download is: one that does not fit is fetched from the start"),
    ("src/offline/served.rs", "one line in one write, made anew at each start; without it the file's own root holds"),
    ("src/offline/journal.rs", "a directory of a moment, outside of the root"),
];

/// By an order of root on the machine's own configuration, one file at a time, and told before.
const BY_ROOT: [&str; 2] = ["src/offline/unit_paths.rs", "src/offline/doctor/fix/apply.rs"];

#[test]
fn what_outlives_a_process_is_changed_where_the_fault_bench_can_kill() {
    let reason = |path: &str| {
        CUT.iter().any(|(p, _)| *p == path) || WITHOUT.iter().any(|(p, _)| *p == path) || BY_ROOT.contains(&path)
    };
    let (mut without, mut needless) = (Vec::new(), Vec::new());
    for file in sources().iter().filter(|f| !f.is_test) {
        let has_point = file.code.contains("fail_point!") || file.code.contains("fail_io!");
        let changes = CHANGES.iter().find(|call| file.code.lines().any(|l| has_word(l, &format!("{call}("))));
        match changes {
            Some(call) if !has_point && !reason(&file.path) => {
                without.push(format!("{}: calls {call} and has no failpoint", file.path));
            }
            Some(_) if !has_point => {}
            Some(_) | None if reason(&file.path) => needless.push(file.path.clone()),
            Some(_) | None => {}
        }
    }
    none("durable effects between which nothing is ever killed", &without);
    none("files that need no reason: they have a failpoint, or change nothing", &needless);
}

/// What of `state` no next daemon goes by.
const NOBODY_GOES_BY: [&str; 1] = ["supervisor.log"];

#[test]
fn every_state_file_is_in_the_fault_bench() {
    let paths = fs::read_to_string(repository().join("src/base/paths.rs")).unwrap();
    let named = bench();
    let mut files = Vec::new();
    for (_, rest) in paths.match_indices("self.state().join(").map(|(at, found)| paths.split_at(at + found.len())) {
        // `format!("dynamic-{broker}.json")` is one for each.
        let name = rest.trim_start_matches("format!(").trim_start_matches('"');
        files.push(name.split(['"', '{']).next().unwrap().to_owned());
    }
    assert!(files.len() >= 16 && files.iter().any(|f| f == "dynamic-"), "{files:?}");
    files.retain(|file| !NOBODY_GOES_BY.contains(&file.as_str()) && !named(&format!("state/{file}")));
    none("state files that no test of the fault bench names", &files);
}

/// Whether a test of the fault bench names this.
fn bench() -> impl Fn(&str) -> bool {
    let dir = repository().join("tests/faults");
    let texts: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    move |what| texts.iter().any(|text| text.contains(what))
}

#[test]
fn what_is_said_to_be_cut_short_is_in_the_fault_bench() {
    let named = bench();
    let missing: Vec<String> =
        CUT.iter().filter(|(_, what)| !named(what)).map(|(path, what)| format!("{path}: {what}")).collect();
    none("writes that no test cuts short", &missing);
}
