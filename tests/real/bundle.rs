//! The real programs as one file: made from a filled store, damaged, carried into an empty root without a network, killed on the
//! way, and run from there.

use crate::{
    stack::Turn,
    support::{Root, pid_of},
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const STACK: &str = "[zookeeper]\n[kafka]\n[mysql]\n";

/// Trees of programs in the store of a root.
fn trees(root: &Root) -> Vec<PathBuf> {
    let list = fs::read_dir(root.path().join("artifacts")).into_iter().flatten().flatten().map(|e| e.path());
    let mut found: Vec<PathBuf> = list.filter(|p| p.join(".manifest").is_file()).collect();
    found.sort();
    found
}

/// Changes one byte of a file, in place.
fn flip(file: &Path, at: u64) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    let opened = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    opened.read_exact_at(&mut byte, at).unwrap();
    opened.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn the_whole_stack_goes_to_a_machine_without_a_network_in_one_file() {
    let _turn = Turn::take();
    let store = std::env::var("CDC_TEST_STORE").expect("CDC_TEST_STORE names a filled artifact store");
    let here = Root::raw(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n{STACK}"));
    here.ok(&["artifacts", "verify"]);
    let made = here.ok(&["bundle", "create", "stack.bundle"]);
    let file = here.file("stack.bundle");
    let bytes = fs::metadata(&file).unwrap().len();
    assert!(made.stdout.contains("kafka 3.5.2 (37M), mysql "), "{made}");
    let sha256 = made.stdout.lines().find_map(|l| l.strip_prefix("sha256 ")).expect("a digest").to_owned();
    eprintln!("{made}");

    let there = Root::raw(&format!("[artifacts]\noffline = true\n{STACK}"));
    there.expect_log("was held up for");
    let output = there.ok(&["bundle", "verify", &file, "--sha256", &sha256]);
    assert!(output.stdout.starts_with("whole  ") && trees(&there).is_empty(), "{output}");
    // A byte in the middle, and an end that is missing. The file is put right again afterwards.
    flip(Path::new(&file), bytes / 2);
    for call in [&["verify"][..], &["install", "--accept-unpinned"]] {
        let output = there.fails(5, &[&["bundle"], call, &[file.as_str()]].concat());
        assert!(output.stderr.contains("error: ") && output.stderr.contains("stack.bundle was refused"), "{output}");
    }
    flip(Path::new(&file), bytes / 2);
    let cut = there.file("cut.bundle");
    fs::copy(&file, &cut).unwrap();
    fs::File::options().write(true).open(&cut).unwrap().set_len(bytes - 100_000).unwrap();
    let output = there.fails(5, &["bundle", "install", &cut, "--accept-unpinned"]);
    assert!(output.stderr.contains("cut.bundle was refused"), "{output}");
    fs::remove_file(cut).unwrap();
    assert!(trees(&there).is_empty() && !there.path().join("artifacts/tmp").exists());

    let install = ["bundle", "install", file.as_str(), "--sha256", sha256.as_str()];
    let began = Instant::now();
    there.ok(&install);
    let whole = began.elapsed();
    let wanted = trees(&there);
    assert_eq!(wanted.len(), 2, "{wanted:?}");
    for part in [0.1, 0.4, 0.7, 0.9] {
        fs::remove_dir_all(there.path().join("artifacts")).unwrap();
        let run = there.spawn(&install);
        // the moment itself: there is nothing to wait for
        std::thread::sleep(whole.mul_f64(part));
        run.signal(9);
        run.wait(Duration::from_secs(30));
        there.ok(&install);
        assert_eq!(trees(&there), wanted, "killed after {part} of it");
        assert!(!there.path().join("artifacts/tmp").exists(), "killed after {part} of it");
    }
    let inodes = |trees: &[PathBuf]| -> Vec<u64> { trees.iter().map(|t| fs::metadata(t).unwrap().ino()).collect() };
    let before = inodes(&wanted);
    let output = there.ok(&install);
    assert!(output.stdout.starts_with("already there  "), "{output}");
    assert_eq!(inodes(&wanted), before);
    let fetch = there.ok(&["fetch"]);
    assert!(fetch.stdout.contains("kafka 3.5.2 (52 jars") && fetch.stdout.contains("mysql "), "{fetch}");

    let mysqld = wanted[1].join("usr/sbin/mysqld");
    flip(&mysqld, 1 << 20);
    let output = there.fails(5, &["artifacts", "verify"]);
    assert!(output.stdout.contains("usr/sbin/mysqld has SHA-256"), "{output}");
    let output = there.ok(&install);
    assert!(output.stdout.starts_with("installed  "), "{output}");
    there.ok(&["artifacts", "verify"]);

    // It runs, and what runs is neither unused nor removed.
    there.configure_raw("[artifacts]\noffline = true\n[mysql]\n");
    there.up();
    let list: Value = serde_json::from_str(&there.ok(&["artifacts", "list", "--json"]).stdout).unwrap();
    let runs = |part: &str| -> Vec<Value> {
        let items = list["items"].as_array().unwrap();
        items.iter().find(|i| i["part"] == part).expect("an item")["pids"].as_array().unwrap().clone()
    };
    assert!(runs("mysql").contains(&pid_of(&there.node("mysql")).into()) && runs("kafka").is_empty(), "{list}");
    eprintln!("{}", there.ok(&["artifacts", "list"]));
    let output = there.ok(&["artifacts", "gc", "--earlier"]);
    assert!(output.stdout.starts_with("nothing to remove"), "{output}");
    // Even when its record is lost.
    let record = there.path().join("artifacts/lock.toml");
    let text = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    let output = there.ok(&["artifacts", "gc"]);
    assert!(output.stdout.contains("kafka-3.5.2-") && !output.stdout.contains("mysql-"), "{output}");
    assert_eq!(trees(&there), wanted[1..]);
    fs::write(&record, text).unwrap();
    there.down();
}
