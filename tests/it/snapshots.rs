//! `snapshot`, `restore` and `reset` without a daemon, on data that look like a stack's: names, confirmations, exit codes; and what a daemon
//! does with an exchange that stopped half-way.

use crate::support::{Root, STATE_LIMIT, fake, process, skip, until};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

fn data(root: &Root, node: &str) -> PathBuf {
    root.path().join("nodes").join(node).join("data")
}

/// A root whose stores have a file each with this text.
fn root() -> Root {
    let root = Root::raw("[zookeeper]\n[mysql]\n");
    write(&root, "old");
    root
}

fn write(root: &Root, text: &str) {
    for node in ["zookeeper", "mysql"] {
        fs::create_dir_all(data(root, node)).unwrap();
        fs::write(data(root, node).join("file"), text).unwrap();
    }
    fs::create_dir_all(root.path().join("state/secrets")).unwrap();
    fs::write(root.path().join("state/secrets/debezium"), text).unwrap();
}

fn read(root: &Root, node: &str) -> String {
    fs::read_to_string(data(root, node).join("file")).unwrap_or_else(|_| "-".into())
}

#[test]
fn a_snapshot_comes_back_whole_or_one_set_of_it_after_it_was_confirmed() {
    let root = root();
    let made = root.ok(&["snapshot", "create", "first"]).stdout;
    assert!(made.starts_with("first  ") && made.contains("zookeeper, mysql"), "{made}");
    let again = root.fails(8, &["snapshot", "create", "first"]).stderr;
    assert!(again.contains("there is a snapshot first already"), "{again}");
    root.fails(2, &["snapshot", "create", "../x"]);
    let listed: serde_json::Value = serde_json::from_str(&root.ok(&["snapshot", "list", "--json"]).stdout).unwrap();
    assert_eq!(listed["snapshots"][0]["nodes"], serde_json::json!(["zookeeper", "mysql"]), "{listed}");
    assert!(root.ok(&["snapshot", "verify", "first"]).stdout.starts_with("whole  first"));

    write(&root, "new");
    let unsaid = root.fails(8, &["restore", "first"]).stderr;
    assert!(unsaid.contains("--confirm first") && read(&root, "mysql") == "new", "{unsaid}");
    root.fails(8, &["restore", "first", "--confirm", "last"]);
    root.ok(&["restore", "first", "--only", "mysql", "--confirm", "first"]);
    assert_eq!((read(&root, "zookeeper"), read(&root, "mysql")), ("new".into(), "old".into()));
    assert_eq!(fs::read_to_string(root.path().join("state/secrets/debezium")).unwrap(), "old");
    root.ok(&["restore", "first", "--confirm", "first"]);
    assert_eq!(read(&root, "zookeeper"), "old");

    fs::write(root.path().join("snapshots/first/zookeeper/file"), "forged").unwrap();
    let wrong = root.fails(9, &["snapshot", "verify", "first"]).stdout;
    assert!(wrong.contains("FAIL  zookeeper/file has 6 bytes, not 3"), "{wrong}");
    let refused = root.fails(8, &["restore", "first", "--confirm", "first"]).stderr;
    assert!(refused.contains("not what it was: zookeeper/file") && read(&root, "zookeeper") == "old", "{refused}");
    root.fails(8, &["snapshot", "remove", "first"]);
    root.ok(&["snapshot", "remove", "first", "--confirm", "first"]);
    let none = root.fails(2, &["snapshot", "verify", "first"]).stderr;
    assert!(none.contains("there is none at all"), "{none}");
}

#[test]
fn a_snapshot_that_could_not_be_restored_is_not_made() {
    let root = root();
    root.configure_raw("[zookeeper]\n[mysql]\n[kafka]\n[kafka.brokers.1]\n[kafka.brokers.4]\n");
    fs::create_dir_all(data(&root, "broker-1")).unwrap();
    let refused = root.fails(8, &["snapshot", "create", "first"]).stderr;
    assert!(refused.contains("broker-4 has no data yet"), "{refused}");
    assert!(!root.path().join("snapshots/first").exists());
}

#[test]
fn a_snapshot_that_is_being_restored_is_not_removed() {
    let root = root();
    for name in ["first", "second"] {
        root.ok(&["snapshot", "create", name]);
    }
    let record = serde_json::json!({"kind": "restore", "detail": "first", "begun_at": "2026-01-02T03:04:05.006Z"});
    fs::write(root.path().join("state/operation.json"), record.to_string()).unwrap();
    let refused = root.fails(8, &["snapshot", "remove", "first", "--confirm", "first"]).stderr;
    assert!(refused.contains("the snapshot first is being restored since 2026-01-02T03:04:05.006Z"), "{refused}");
    root.ok(&["snapshot", "verify", "first"]);
    root.ok(&["snapshot", "remove", "second", "--confirm", "second"]);
}

#[test]
fn what_root_does_to_the_stores_of_somebody_else_leaves_them_theirs() {
    if !nix::unistd::Uid::effective().is_root() {
        return skip(
            "what_root_does_to_the_stores_of_somebody_else_leaves_them_theirs",
            "only root can become somebody else",
        );
    }
    let root = root();
    // The way there is open to everybody.
    fs::set_permissions(root.home(), fs::Permissions::from_mode(0o755)).unwrap();
    for (path, _) in owners(root.path()) {
        std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
    }
    let theirs = |after: &str| {
        let others: Vec<_> = owners(root.path()).into_iter().filter(|(_, owner)| *owner != (65_534, 65_534)).collect();
        assert!(others.is_empty(), "after {after}: {others:?}");
    };
    root.ok(&["snapshot", "create", "first"]);
    theirs("snapshot create");
    root.ok(&["restore", "first", "--confirm", "first"]);
    assert_eq!(fs::read_to_string(root.path().join("state/secrets/debezium")).unwrap(), "old");
    theirs("restore");
    root.ok(&["reset", "mysql", "--confirm", "mysql"]);
    theirs("reset");
    assert!(root.ok(&["snapshot", "verify", "first"]).stdout.starts_with("whole  first"));
    root.ok(&["snapshot", "remove", "first", "--confirm", "first"]);
}

/// Whose everything below this directory is, itself too.
fn owners(dir: &Path) -> Vec<(PathBuf, (u32, u32))> {
    let meta = fs::symlink_metadata(dir).unwrap();
    let mut found = vec![(dir.to_owned(), (meta.uid(), meta.gid()))];
    if meta.is_dir() {
        fs::read_dir(dir).unwrap().for_each(|entry| found.extend(owners(&entry.unwrap().path())));
    }
    found
}

#[test]
fn files_of_mysql_outside_its_data_directory_are_refused_before_anything_is_copied() {
    let root = Root::raw("[zookeeper]\n[mysql]\n[mysql.options]\nlog_bin = \"/srv/binlog/bin\"\n");
    write(&root, "old");
    let refused = root.fails(3, &["snapshot", "create", "first"]).stderr;
    assert!(refused.contains("outside the data directory") && !root.path().join("snapshots").exists(), "{refused}");
}

#[test]
fn a_set_is_reset_after_it_was_confirmed_and_the_other_stays() {
    let root = root();
    let unsaid = root.fails(8, &["reset", "kafka"]).stderr;
    assert!(unsaid.contains("--confirm kafka") && read(&root, "zookeeper") == "old", "{unsaid}");
    root.fails(2, &["reset", "zookeeper", "--confirm", "zookeeper"]);
    root.ok(&["reset", "kafka", "--confirm", "kafka"]);
    assert_eq!((read(&root, "zookeeper"), read(&root, "mysql")), ("-".into(), "old".into()));
    root.ok(&["reset", "mysql", "--confirm", "mysql"]);
    let nothing = root.fails(2, &["snapshot", "create"]).stderr;
    assert!(nothing.contains("there is no data yet"), "{nothing}");
}

#[test]
fn an_exchange_that_was_cut_short_is_finished_before_anything_else() {
    let root = root();
    let dir = data(&root, "mysql");
    fs::rename(&dir, dir.with_file_name("data.cdc-outgoing")).unwrap();
    fs::create_dir_all(dir.with_file_name("data.cdc-incoming")).unwrap();
    fs::write(dir.with_file_name("data.cdc-incoming").join("file"), "restored").unwrap();
    let record = serde_json::json!({ "schema": 1, "what": "restore first", "swaps": [{ "dir": dir, "new": true }] });
    fs::write(root.path().join("state/exchange.json"), record.to_string()).unwrap();
    root.ok(&["snapshot", "create", "after"]);
    assert_eq!(read(&root, "mysql"), "restored");
    assert_eq!(fs::read_to_string(root.path().join("snapshots/after/mysql/file")).unwrap(), "restored");
    assert!(!dir.with_file_name("data.cdc-outgoing").exists() && !root.path().join("state/exchange.json").exists());
}

#[test]
fn a_damaged_snapshot_is_refused_before_anything_is_stopped_for_it() {
    let root = Root::raw("[artifacts]\noffline = true\n[zookeeper]\n[mysql]\n");
    // Their programs are not there, and nobody fetches them: the nodes wait, wanted up.
    root.expect_log("");
    write(&root, "old");
    root.ok(&["snapshot", "create", "first"]);
    write(&root, "new");
    let run = root.spawn(&["run", "--no-fetch"]);
    root.await_daemon_node("mysql");
    for (file, words) in
        [("zookeeper/file", "zookeeper/file has 6 bytes, not 3"), ("secrets/debezium", "secrets/debezium has 6")]
    {
        let path = root.path().join("snapshots/first").join(file);
        fs::write(&path, "forged").unwrap();
        let refused = root.fails(8, &["restore", "first", "--confirm", "first"]).stderr;
        assert!(refused.contains("not what it was") && refused.contains(words), "{refused}");
        fs::write(&path, "old").unwrap();
    }
    let events = root.ok(&["events", "-n", "100"]).stdout;
    assert!(events.contains("restore first: refused") && !events.contains("stopping the nodes"), "{events}");
    for node in ["zookeeper", "mysql"] {
        assert_eq!(root.node(node)["wanted"], "up", "{node}");
        assert_eq!(read(&root, node), "new");
    }
    // It is whole again, and exchanged; only its program is not there to be started.
    let whole = root.fails(6, &["restore", "first", "--only", "mysql", "--confirm", "first"]).stderr;
    assert!(whole.contains("done: mysql: ") && read(&root, "mysql") == "old", "{whole}");
    root.down();
    drop(run.wait(STATE_LIMIT));
}

/// A restore that has stopped half-way while another node runs: SIGKILL to its daemon, and the next one cannot finish either.
#[test]
fn on_directories_that_are_half_exchanged_nothing_is_started_until_a_daemon_could_finish() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    for words in ["was cut short with its daemon", "nodes run, so the daemon goes on", "is finished now"] {
        root.expect_log(words);
    }
    root.up();
    root.ok(&["stop", "a"]);
    let b = root.pid("b");
    kill_daemon(&root);
    let dir = root.home().join("d");
    let beside = |ending: &str| root.home().join(format!("d.cdc-{ending}"));
    for place in [dir.clone(), beside("incoming"), beside("outgoing").join("somebody's")] {
        fs::create_dir_all(place).unwrap();
    }
    fs::write(beside("incoming").join("file"), "restored").unwrap();
    let record = serde_json::json!({ "schema": 1, "what": "restore s", "swaps": [{ "dir": dir, "new": true }] });
    fs::write(root.path().join("state/exchange.json"), record.to_string()).unwrap();
    let operation = serde_json::json!({
        "schema": 1, "kind": "restore", "detail": "s", "begun_at": "2026-01-02T03:04:05.006Z", "boot_id": "", "daemon_pid": 7,
        "step": "the data is being worked on", "undo": { "start": ["a"] },
    });
    fs::write(root.path().join("state/operation.json"), operation.to_string()).unwrap();

    for arguments in [&["up", "--detach"][..], &["start", "a"], &["reload"], &["snapshot", "create", "s", "--stop"]] {
        let refused = root.fails(8, arguments);
        assert!(refused.stderr.contains("half exchanged"), "{arguments:?}: {refused}");
    }
    assert_eq!((&root.node("a")["state"], root.pid("b")), (&"down".into(), b));
    assert!(root.ok(&["events"]).stdout.contains("so the nodes that were stopped for it are not started"));
    assert!(root.path().join("state/operation.json").exists() && dir.exists(), "it is left to a daemon that can");

    fs::remove_dir_all(beside("outgoing")).unwrap();
    kill_daemon(&root);
    root.up();
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "restored");
    root.await_node("a", "it is started again", |n| n["state"] == "ready");
    assert_eq!(root.pid("b"), b);
    until(STATE_LIMIT, "the record goes", || {
        if root.path().join("state/operation.json").exists() { Err("it is there".into()) } else { Ok(()) }
    });
}

fn kill_daemon(root: &Root) {
    let daemon = root.daemon();
    process::kill(daemon, 9);
    until(STATE_LIMIT, "the daemon is gone", || if process::alive(daemon) { Err("alive".into()) } else { Ok(()) });
}
