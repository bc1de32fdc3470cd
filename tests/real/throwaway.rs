//! Drills on a throw-away cluster: a full disk, a stolen port, a ZooKeeper without its data. The user's own cluster is not there, or
//! runs and hears nothing of it; nothing is left over, whoever ended the drill.

use crate::{
    stack::Turn,
    support::{Client, Output, Root, STATE_LIMIT, client::SUPERVISOR, left_to_long, process, skip, until},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long one drill may take, its cluster's start included.
const DRILL: Duration = Duration::from_secs(400);

/// A root whose stack has never run.
struct Place {
    root: Root,
    _turn: Turn,
}

impl Place {
    fn new() -> Self {
        let turn = Turn::take();
        let store = std::env::var("CDC_TEST_STORE").expect("CDC_TEST_STORE names a filled artifact store");
        let root =
            Root::raw(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\n[mysql]\n"));
        Self { root, _turn: turn }
    }

    fn throw_away(&self) -> PathBuf {
        self.root.path().join("drill")
    }

    /// Makes a drill that must pass; returns its report.
    fn drill(&self, arguments: &[&str]) -> Value {
        let output = self.root.spawn(&[&["drill"], arguments, &["--json"]].concat()).wait(DRILL);
        assert_eq!(output.code, Some(0), "{arguments:?}\n{output}");
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        eprintln!("{arguments:?}: {report:#}");
        assert_eq!((&report["verdict"], &report["throw_away"]), (&"passed".into(), &true.into()));
        let kafka = &report["kafka"];
        for fault in ["lost", "out_of_order", "strange"] {
            assert_eq!(kafka[fault], 0, "{fault}: {report:#}");
        }
        assert!(arguments[0] != "port-thief" || kafka["duplicated"] == 0, "{report:#}");
        // A client that stands still after a full disk is replaced, and what it had under way is given up.
        let count = |key: &str| kafka[key].as_u64().unwrap();
        assert!(arguments[0] == "disk-full" || count("given_up") == 0, "{report:#}");
        assert!(count("acknowledged") + count("given_up") >= count("sent"), "{report:#}");
        assert!(kafka["acknowledged"].as_u64().unwrap() > 500, "{report:#}");
        for mark in ["death_seen", "process_up", "ready", "isr_full"] {
            assert!(report["timeline"][mark].is_u64(), "{mark}: {report:#}");
        }
        assert!(observed(&report).contains("nothing was started again"), "{report:#}");
        self.nothing_left();
        report
    }

    fn nothing_left(&self) {
        assert_eq!(process::describe(&process::of_root(self.root.home())), "");
        let names: BTreeSet<String> = names(self.root.path());
        assert!(!names.iter().any(|n| n.starts_with("drill") && n != "drill.lock"), "{names:?}");
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name().into_string().unwrap()).collect()
}

fn observed(report: &Value) -> String {
    let lines = report["observed"].as_array().unwrap();
    lines.iter().map(|l| l.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_full_disk_a_stolen_port_and_a_lost_zookeeper_are_told_not_looped_on_and_lose_nothing() {
    let place = Place::new();
    let thief = place.drill(&["port-thief"]);
    let victim = thief["victims"][0].as_str().unwrap().to_owned();
    assert_says(&observed(&thief), &[&victim, "port-taken", "hold-port", "(pid ", "is taken by"]);
    let mixed = place.drill(&["cluster-id-mismatch"]);
    assert_says(&observed(&mixed), &["exit 8", "no broker was started", "wrong-identity", "knows no cluster"]);
    assert_eq!(mixed["victims"].as_array().unwrap().len(), 4, "{mixed:#}");
    assert_eq!((&thief["guard"], &mixed["guard"]), (&Value::Null, &Value::Null));
    // Under the guard: stopped before it is full, and back without anybody's order.
    let guarded = place.drill(&["disk-full"]);
    assert_says(
        &observed(&guarded),
        &[
            "broker-1, broker-2, broker-3 stopped in order, every log closed, before the file system was full",
            "less than 96M: brokers are stopped below 64M",
            "32M of ballast on",
            "broker-1, broker-2, broker-3 stopped before it is full, and started again by themselves when",
            "came back by themselves, each started once, and the ballast is held again",
        ],
    );
    assert_eq!((&guarded["victims"], &guarded["guard"]), (&json!(["broker-1", "broker-2", "broker-3"]), &true.into()));
    // And without it: whoever meets the full disk says so, and is not started in vain.
    let full = place.drill(&["disk-full", "--no-guard"]);
    assert_says(&observed(&full), &["disk-full"]);
    assert!(!full["victims"].as_array().unwrap().is_empty() && full["guard"] == false, "{full:#}");

    let history: Value = serde_json::from_str(&place.root.ok(&["drill", "history", "--json"]).stdout).unwrap();
    let drills: Vec<&str> =
        history["drills"].as_array().unwrap().iter().map(|d| d["drill"].as_str().unwrap()).collect();
    assert_eq!(drills, ["port-thief", "cluster-id-mismatch", "disk-full", "disk-full"]);
    assert_eq!(
        names(&place.root.path().join("state")),
        ["drills".to_owned()].into(),
        "nothing else of the root was made"
    );
}

#[test]
fn an_interrupted_drill_and_a_killed_one_leave_nothing_for_good() {
    let place = Place::new();
    let runs = |what: &str| {
        until(STATE_LIMIT, what, || {
            let count = process::of_root(&place.throw_away()).len();
            if count >= 5 { Ok(()) } else { Err(format!("{count} processes")) }
        });
    };
    // Ctrl-C while its cluster starts.
    let drill = place.root.spawn(&["drill", "disk-full"]);
    runs("nodes run");
    let second = place.root.fails(8, &["drill", "port-thief"]);
    assert!(second.stderr.contains("another drill has its throw-away cluster"), "{second}");
    process::kill(drill.pid(), 2);
    let Output { code, stderr, .. } = drill.wait(DRILL);
    assert_eq!(code, Some(130), "{stderr}");
    place.nothing_left();

    // SIGKILL to the command and to the daemon: the nodes live on, on a file system that nobody else sees.
    let drill = place.root.spawn(&["drill", "disk-full"]);
    runs("nodes run again");
    let all = process::of_root(&place.throw_away());
    let is_daemon = |pid: &&i32| **pid != drill.pid() && process::program(**pid).ends_with("cdc-supervisor");
    let daemon = all.iter().find(is_daemon).expect("its daemon");
    process::kill(*daemon, 9);
    process::kill(drill.pid(), 9);
    drill.wait(STATE_LIMIT);
    assert!(process::of_root(&place.throw_away()).len() >= 2, "shims and nodes live on");
    assert!(place.throw_away().exists());
    // Whatever is refused, what was left is removed first.
    place.root.configure_raw("[mysql]\n");
    let none = place.root.spawn(&["drill", "port-thief"]).wait(DRILL);
    assert_eq!(none.code, Some(8), "{none}");
    assert!(none.stderr.contains("no brokers") && none.stderr.contains("an earlier drill that was killed"), "{none}");
    place.nothing_left();
}

/// As somebody who is not root: the file system is in a user namespace (`sys::confine`).
#[test]
fn an_ordinary_user_fills_a_disk_of_their_own_and_leaves_nothing() {
    const NAME: &str = "an_ordinary_user_fills_a_disk_of_their_own_and_leaves_nothing";
    if !nix::unistd::Uid::effective().is_root() {
        return skip(NAME, "only root can become somebody else");
    }
    if std::env::var_os("CDC_TEST_LONG").is_none() {
        return left_to_long(NAME, "the same drill as root is in the short form");
    }
    let place = Place::new();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(place.root.home(), 0o777);
    open(place.root.config(), 0o644);
    for program in [SUPERVISOR, env!("CARGO_BIN_EXE_cdc-shim")] {
        fs::copy(program, place.root.home().join(Path::new(program).file_name().unwrap())).unwrap();
    }
    fs::create_dir_all(place.root.path()).unwrap();
    std::os::unix::fs::chown(place.root.path(), Some(65_534), Some(65_534)).unwrap();
    let program = place.root.home().join("cdc-supervisor").display().to_string();
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
    let output = Client::start_program(&place.root, &wrapper, &["drill", "disk-full", "--json"]).wait(DRILL);
    if output.code == Some(4) && output.stderr.contains("does not let this user mount one") {
        return skip(NAME, "the kernel lets no ordinary user mount anything");
    }
    assert_eq!(output.code, Some(0), "{output}");
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["kafka"]["lost"]), (&"passed".into(), &0.into()), "{report:#}");
    assert_says(
        &observed(&report),
        &["every log closed, before the file system was full", "nothing was started again"],
    );
    place.nothing_left();
}

#[test]
fn a_drill_by_root_in_a_root_of_somebody_else_is_theirs_from_the_first_file_to_the_report() {
    if !nix::unistd::Uid::effective().is_root() {
        return skip("a_drill_by_root_in_a_root_of_somebody_else_is_theirs", "only root can become somebody else");
    }
    let place = Place::new();
    fs::set_permissions(place.root.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = place.root.path();
    fs::create_dir_all(path).unwrap();
    std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
    place.drill(&["port-thief"]);
    place.drill(&["disk-full"]);
    for left in ["drill.lock", "state", "state/drills", "state/drills/000001.port-thief.json"] {
        assert_eq!(fs::symlink_metadata(path.join(left)).unwrap().uid(), 65_534, "{left}");
    }
}
