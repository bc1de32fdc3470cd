//! The verbs `bundle` and `artifacts` with small programs: one machine's store carried to another that has no network.

use crate::{
    archives::{self, List},
    sources::{Place, says},
    support::{Client, Output, VERB_LIMIT},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const CHOICE: &str = "apache-3.5.2";
const LAYOUT: &str = "apache-kafka";

/// A machine that has fetched.
fn fetched(seed: u64) -> Place {
    let at = Place::new();
    fetch(&at, seed);
    at
}

fn fetch(at: &Place, seed: u64) {
    let body = archives::kafka(LAYOUT, seed);
    let files = at.store().join("files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("kafka.tgz"), &*body).unwrap();
    at.list(&List::of(CHOICE, LAYOUT, &body, &["https://127.0.0.1:9/kafka.tgz"]));
    at.configure("sources = [\"file\"]", CHOICE);
    at.root.ok(&["fetch"]);
}

/// A machine that has nothing, and is not to use the network. It knows the list of the other.
fn bare(of: &Place) -> Place {
    let at = Place::new();
    fs::copy(of.root.file("list.toml"), at.root.file("list.toml")).unwrap();
    at.configure("offline = true", CHOICE);
    at
}

/// Its programs as one file, which the verb is told by its plain name.
fn bundle(of: &Place) -> (String, String) {
    let output = of.root.ok(&["bundle", "create", "stack.bundle"]);
    assert!(output.stdout.starts_with("written  stack.bundle  "), "{output}");
    assert!(output.stdout.ends_with("kafka 3.5.2 (391K)\n"), "{output}");
    says(&output, "warning: java is this machine's own and not in the bundle");
    (of.root.file("stack.bundle"), digest(&output))
}

fn digest(output: &Output) -> String {
    let line = output.stdout.lines().find_map(|l| l.strip_prefix("sha256 "));
    line.unwrap_or_else(|| panic!("no digest\n{output}")).to_owned()
}

/// Every file of a store with its inode and the time of its last change; the lock is signed by whoever takes it.
fn files(store: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut places = vec![store.to_owned()];
    while let Some(place) = places.pop() {
        for path in fs::read_dir(place).unwrap().map(|e| e.unwrap().path()) {
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                places.push(path);
            } else if path != store.join("lock") {
                found.insert(path, (meta.ino(), meta.mtime(), meta.mtime_nsec()));
            }
        }
    }
    found
}

/// Another byte in a file that nobody may write.
fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn what_one_machine_fetched_is_installed_on_another_and_a_second_time_changes_nothing() {
    let here = fetched(30);
    let (file, sha256) = bundle(&here);
    // What a killed run left goes with the next one.
    let torn = here.root.file(".again.4000000.tmp");
    fs::write(torn, "half").unwrap();
    let again = here.root.ok(&["bundle", "create", &here.root.file("again")]);
    assert_eq!(digest(&again), sha256, "the same programs give the same bytes");
    let beside: Vec<_> = fs::read_dir(here.root.home()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(beside.iter().all(|n| !n.to_string_lossy().starts_with('.')), "no temporary is left: {beside:?}");

    let there = bare(&here);
    says(&there.root.fails(5, &["fetch"]), "`cdc-supervisor bundle install FILE`");
    let output = there.root.ok(&["bundle", "verify", &file]);
    assert!(output.stdout.starts_with(&format!("whole  {file}  ")) && digest(&output) == sha256, "{output}");
    assert!(!there.root.path().exists(), "a look at a file makes no store");
    let output = there.root.ok(&["bundle", "install", &file, "--sha256", &sha256]);
    assert!(output.stdout.starts_with("installed  "), "{output}");
    assert_eq!(there.programs(), here.programs());
    assert!(there.lock().contains("kafka.tgz, in stack.bundle"), "{}", there.lock());

    let fetch = there.root.ok(&["fetch"]);
    assert!(fetch.stdout.contains("kafka 3.5.2 (4 jars"), "{fetch}");
    let before = files(&there.store());
    let output = there.root.ok(&["bundle", "install", &file, "--sha256", &sha256]);
    assert!(output.stdout.starts_with("already there  "), "{output}");
    assert_eq!(files(&there.store()), before, "nodes may run from them");
    let output = here.root.ok(&["bundle", "install", &file, "--sha256", &sha256]);
    assert!(output.stdout.starts_with("already there  ") && !here.lock().contains("in stack.bundle"), "{output}");

    // What is damaged comes from the bundle, and the rest of the store stays.
    flip(&there.store().join(&there.programs()[0]).join("libs/zookeeper-3.6.4.jar"), 7);
    there.root.fails(5, &["artifacts", "verify"]);
    says(&there.root.fails(5, &["bundle", "create", "b"]), "hint: run `cdc-supervisor fetch` first");
    let output = there.root.ok(&["bundle", "install", &file, "--sha256", &sha256]);
    assert!(output.stdout.starts_with("installed  "), "{output}");
    there.root.ok(&["artifacts", "verify"]);
}

#[test]
fn a_bundle_that_was_cut_or_changed_or_is_another_one_is_exit_5_and_leaves_nothing() {
    let here = fetched(31);
    let (file, sha256) = bundle(&here);
    let there = bare(&here);
    let whole = fs::read(&file).unwrap();
    let bad = there.root.file("bad.bundle");
    let refused = |bytes: &[u8], words: &str| {
        fs::write(&bad, bytes).unwrap();
        for call in [&["verify"][..], &["install", "--accept-unpinned"]] {
            let output = there.root.fails(5, &[&["bundle"], call, &[bad.as_str()]].concat());
            says(&output, words);
            assert!(output.stdout.is_empty() && output.stderr.starts_with("error: "), "{output}");
        }
        assert!(files(&there.store()).is_empty(), "{words}");
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    refused(&whole[..whole.len() / 2], "bad.bundle was refused\n");
    refused(&whole[..whole.len() - 1], "hint: the file did not arrive whole: copy it again from where it was made");
    refused(&flipped(whole.len() / 2), "bad.bundle");
    refused(&flipped(whole.len() - 6), "bad.bundle was refused\n");
    refused(&[&whole[..], b"more"].concat(), "bad.bundle was refused\n");
    refused(b"", "is no bundle of this program");
    refused(&archives::kafka(LAYOUT, 31), "hint: bundles are made by `cdc-supervisor bundle create FILE`");
    // Whole, and nothing proves it: not taken unasked, and on request not in the place of what is pinned in the program.
    let output = there.root.fails(5, &["bundle", "install", &file]);
    says(&output, "stack.bundle is the bundle that was made");
    says(&output, "--sha256 HEX; --accept-unpinned");
    let output = there.root.fails(5, &["bundle", "install", &file, "--accept-unpinned"]);
    says(&output, "is not the one whose jars are pinned, and no digest proves the bundle");
    there.root.fails(2, &["bundle", "install", &file, "--accept-unpinned", "--sha256", &sha256]);
    let other = "0".repeat(64);
    let output = there.root.fails(5, &["bundle", "install", &file, "--sha256", &other]);
    says(&output, &format!("has SHA-256 {sha256}, wanted {other}"));
    says(&output, "hint: do not use it");
    says(&there.root.fails(5, &["bundle", "verify", "/nonexistent"]), "cannot open /nonexistent");
    there.root.fails(2, &["bundle", "verify", &file, "--sha256", "0815"]);
    assert!(files(&there.store()).is_empty());
    there.root.ok(&["bundle", "install", &file, "--sha256", &sha256.to_uppercase()]);
}

#[test]
fn an_installation_that_is_killed_at_random_is_right_when_it_is_run_again() {
    let rounds = if std::env::var_os("CDC_TEST_LONG").is_some() { 100 } else { 10 };
    let here = fetched(32);
    let (file, sha256) = bundle(&here);
    let there = bare(&here);
    let install = ["bundle", "install", file.as_str(), "--sha256", sha256.as_str()];
    // How long a whole run takes here, to spread the kills over it.
    let begun = Instant::now();
    there.root.ok(&install);
    let whole = begun.elapsed();
    let mut killed = 0;
    for round in 0..rounds {
        fs::remove_dir_all(there.store()).unwrap();
        let run = there.root.spawn(&install);
        std::thread::sleep(whole.mul_f64(rand::random::<f64>()));
        run.signal(9);
        killed += u32::from(run.wait(Duration::from_secs(30)).signal == Some(9));
        there.root.ok(&install);
        assert_eq!(there.programs(), here.programs(), "round {round}");
        assert!(!there.store().join("tmp").exists(), "round {round}");
        there.root.ok(&["fetch"]);
    }
    assert!(killed > 0, "every run was over before its kill");
}

#[test]
fn the_store_is_listed_read_and_tidied_and_what_is_in_use_stays() {
    let at = fetched(33);
    let replaced = at.programs().remove(0);
    // The same choice with other bytes: the first one's record is gone then.
    fs::remove_dir_all(at.store().join(&replaced).join("libs")).unwrap();
    fetch(&at, 34);
    let current = at.programs().into_iter().find(|p| *p != replaced).expect("another tree");
    let class_data = at.store().join("class-data");
    fs::create_dir_all(&class_data).unwrap();
    fs::write(class_data.join("kafka-0123.jsa"), [0; 5000]).unwrap();

    let list = at.root.ok(&["artifacts", "list"]);
    let row = |name: &str| list.stdout.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{list}"));
    assert!(row(&current).contains("3.5.2    current"), "{list}");
    assert!(row(&replaced).contains("unused") && row("class-data/kafka-0123").contains("unused"), "{list}");
    let list: Value = serde_json::from_str(&at.root.ok(&["artifacts", "list", "--json"]).stdout).unwrap();
    assert_eq!((&list["schema"], &list["dry_run"]), (&1.into(), &Value::Null), "{list}");
    let found = list["items"].as_array().unwrap().iter().find(|i| i["name"] == *current).unwrap();
    assert_eq!((&found["part"], &found["state"]), (&"kafka".into(), &"current".into()), "{found}");
    assert!(found["bytes"].as_u64() > Some(400_000) && found["pids"] == serde_json::json!([]), "{found}");

    // The tree whose jars were removed is damaged; nobody uses it.
    let output = at.root.fails(5, &["artifacts", "verify"]);
    assert!(output.stdout.contains(&format!("damaged  {replaced}: ")), "{output}");
    assert!(output.stdout.contains(&format!("whole    {current}  ")), "{output}");
    let before = files(&at.store());
    let dry = at.root.ok(&["artifacts", "gc", "--dry-run"]);
    assert!(dry.stdout.contains(&replaced) && dry.stdout.contains(" would be freed in "), "{dry}");
    assert_eq!(files(&at.store()), before);
    // What lies in files/ was put there by hand.
    let gone = at.root.ok(&["artifacts", "gc"]);
    assert!(gone.stdout.contains(&replaced) && !gone.stdout.contains(&current), "{gone}");
    assert_eq!(at.programs(), std::slice::from_ref(&current));
    assert!(at.store().join("files/kafka.tgz").exists() && !class_data.join("kafka-0123.jsa").exists());
    let none = at.root.ok(&["artifacts", "gc"]);
    assert!(none.stdout.starts_with("nothing to remove in "), "{none}");

    let read: Value = serde_json::from_str(&at.root.ok(&["artifacts", "verify", "--json"]).stdout).unwrap();
    assert_eq!(read["verdict"], "whole", "{read}");
    flip(&at.store().join(&current).join("libs/kafka-clients-3.5.2.jar"), 99);
    let output = at.root.fails(5, &["artifacts", "verify", "--json"]);
    let read: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(read["verdict"] == "damaged" && read["trees"][0]["fault"].as_str().unwrap().contains("has SHA-256"));
    says(&output, "hint: `cdc-supervisor fetch` replaces what is damaged and in use");
    at.root.ok(&["fetch"]);
    at.root.ok(&["artifacts", "verify"]);
}

#[test]
fn who_waits_for_another_run_says_for_which() {
    let here = fetched(35);
    let (file, sha256) = bundle(&here);
    let there = bare(&here);
    fs::create_dir_all(there.store()).unwrap();
    let lock = there.store().join("lock");
    fs::write(&lock, "pid 4000000 since today\n").unwrap();
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let install = Client::start(&there.root, &[], &["bundle", "install", &file, "--sha256", &sha256]);
    crate::support::until(VERB_LIMIT, "it says so", || {
        let said = install.stderr();
        if said.contains("another run has the store: pid 4000000 since today") { Ok(()) } else { Err(said) }
    });
    held.unlock().unwrap();
    let output = install.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(there.programs(), here.programs());
}
