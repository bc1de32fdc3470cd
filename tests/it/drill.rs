//! Drills where there are no brokers: refusals, the history, and what a daemon that died in a drill leaves to the next one.

use crate::support::{
    Client, Root, STATE_LIMIT, client::SUPERVISOR, fake, fake_mysql, node::free_port, process, skip, until,
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

fn kill_daemon(root: &Root) {
    let daemon = root.daemon();
    process::kill(daemon, 9);
    until(STATE_LIMIT, "the daemon is gone", || if process::alive(daemon) { Err("alive".into()) } else { Ok(()) });
}

/// `T` is a process that is stopped (proc_pid_stat(5)).
fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// Clock ticks between boot and the start of a process.
fn start_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap()
}

fn leave(root: &Root, undo: &serde_json::Value) {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let record = serde_json::json!({
        "schema": 1, "kind": "drill", "detail": "broker-pause", "begun_at": "2026-01-02T03:04:05.006Z",
        "boot_id": boot_id.trim(), "daemon_pid": 7, "step": "SIGSTOP to a", "undo": undo,
    });
    fs::write(root.path().join("state/operation.json"), record.to_string()).unwrap();
}

fn told(root: &Root) -> String {
    let events = root.ok(&["events", "--json"]).stdout;
    events.lines().filter(|l| l.contains("operation-left")).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_brokers_and_mysql_there_is_nothing_to_drill() {
    let root = Root::new(&[fake("a", &[])]);
    let none = root.fails(7, &["drill", "broker-kill"]);
    assert!(none.stderr.contains("no daemon runs"), "{none}");
    root.up();
    for (arguments, words) in [
        (&["drill", "broker-kill"][..], "there are 0 brokers"),
        (&["drill", "zookeeper-restart"], "no brokers"),
        (&["drill", "mysql-kill", "--confirm", "mysql-kill"], "no MySQL server"),
        (&["drill", "cold-restart", "--confirm", "cold-restart"], "neither brokers nor a MySQL server"),
        (&["drill", "cold-restart"], "--confirm cold-restart says that this is wanted"),
        (&["drill", "two-brokers", "--confirm", "yes"], "writes with acks=all are refused"),
        (&["drill", "zookeeper-down", "--for", "300s"], "for 300 s no topic can be made"),
    ] {
        let refused = root.fails(8, arguments);
        assert!(refused.stderr.contains(words), "{arguments:?}: {refused}");
    }
    let rate = root.fails(2, &["drill", "broker-kill", "--rate", "1000000"]);
    assert!(rate.stderr.contains("10 to 10000 can be had"), "{rate}");
    let history = root.ok(&["drill", "history"]);
    assert!(history.stderr.contains("no drill was made here yet"), "{history}");
    assert_eq!(
        root.ok(&["drill", "history", "--json"]).stdout.trim(),
        r#"{"schema":1,"drills":[],"verdict":"passed"}"#
    );
    assert!(!root.path().join("state/operation.json").exists());
}

#[test]
fn a_throw_away_cluster_is_refused_with_its_reasons_and_nothing_is_left_of_the_attempt() {
    // A command that leaves a gigabyte of the host to others.
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    let taken = total / 1024 - 2048 - 64 - 1024 - 384 - 3 * 768;
    let text = |more: &str| format!("[artifacts]\noffline = true\n{more}");
    let root = Root::raw(&text(&format!(
        "[zookeeper]\n[kafka]\n[command.x]\nargv = [\"/bin/true\"]\nmemory_max = \"{taken}M\"\n"
    )));
    let no_room = root.fails(8, &["drill", "port-thief"]);
    for words in ["no room in memory", "it needs 1376M", "broker-3 384M", "1G are left of"] {
        assert!(no_room.stderr.contains(words), "{words}: {no_room}");
    }
    let no_room = root.fails(8, &["drill", "disk-full"]);
    assert!(no_room.stderr.contains("file system in memory 256M"), "{no_room}");
    root.configure_raw(&text("[zookeeper]\n[kafka]\n"));
    let missing = root.fails(5, &["drill", "cluster-id-mismatch"]);
    assert!(missing.stderr.contains("programs of the store") && missing.stderr.contains("fetch"), "{missing}");
    root.configure_raw(&text("[mysql]\n"));
    let no_brokers = root.fails(8, &["drill", "disk-full"]);
    assert!(no_brokers.stderr.contains("no brokers"), "{no_brokers}");
    let theirs = root.path().join("drill");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("notes"), "mine").unwrap();
    let foreign = root.fails(8, &["drill", "disk-full"]);
    assert!(foreign.stderr.contains("no drill has made it"), "{foreign}");
    assert_eq!(fs::read_to_string(theirs.join("notes")).unwrap(), "mine");
    let long = root.file(&"x".repeat(60));
    let too_long = root.fails(2, &["drill", "disk-full", "--on", &long]);
    assert!(too_long.stderr.contains("--on DIR"), "{too_long}");
    let no_time = root.fails(2, &["drill", "disk-full", "--for", "10s"]);
    assert!(no_time.stderr.contains("--for"), "{no_time}");
    let names: Vec<String> =
        fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|n| n == "drill" || n == "drill.lock"), "{names:?}");
}

#[test]
fn a_daemon_that_an_earlier_drill_has_left_and_that_does_not_answer_is_ended_and_nobody_must_wait_for_it() {
    let root = Root::raw("[artifacts]\noffline = true\n[mysql]\n");
    let left = root.path().join("drill");
    fs::create_dir_all(left.join("run")).unwrap();
    fs::write(left.join("throw-away"), "").unwrap();
    let lock = left.join("run/daemon.lock");
    let mut holder = std::process::Command::new("flock")
        .args([lock.as_os_str(), "/bin/sleep".as_ref(), "1000".as_ref()])
        .spawn()
        .unwrap();
    // Takes connections, and that is all.
    let _stuck = UnixListener::bind(left.join("run/control.sock")).unwrap();
    until(STATE_LIMIT, "the lock is held", || {
        let tried =
            std::process::Command::new("flock").args(["-n".as_ref(), lock.as_os_str(), "true".as_ref()]).status();
        if tried.unwrap().success() { Err("free".into()) } else { Ok(()) }
    });
    let drill = root.spawn(&["drill", "port-thief"]);
    until(STATE_LIMIT, "it has found the daemon", || {
        let said = drill.stderr();
        if said.contains("ending the throw-away cluster of an earlier drill") { Ok(()) } else { Err(said) }
    });
    process::kill(drill.pid(), 2);
    let interrupted = drill.wait(STATE_LIMIT);
    assert_eq!(interrupted.code, Some(130), "{interrupted}");
    let refused = root.fails(8, &["drill", "port-thief"]);
    assert!(refused.stderr.contains("no brokers"), "{refused}");
    assert!(!left.exists());
    assert!(!holder.wait().unwrap().success(), "it was killed");
}

#[test]
fn what_root_leaves_in_a_root_of_somebody_else_is_theirs() {
    if !nix::unistd::Uid::effective().is_root() {
        return skip("what_root_leaves_in_a_root_of_somebody_else_is_theirs", "only root can become somebody else");
    }
    let root = Root::raw("[artifacts]\noffline = true\n[zookeeper]\n[kafka]\n");
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(root.home(), 0o755);
    open(root.config(), 0o644);
    let program = root.home().join("cdc-supervisor");
    fs::copy(SUPERVISOR, &program).unwrap();
    fs::create_dir_all(root.path()).unwrap();
    std::os::unix::fs::chown(root.path(), Some(65_534), Some(65_534)).unwrap();
    let missing = root.fails(5, &["drill", "port-thief"]);
    assert!(missing.stderr.contains("programs of the store"), "{missing}");
    let lock = fs::metadata(root.path().join("drill.lock")).unwrap();
    assert_eq!((lock.uid(), lock.gid()), (65_534, 65_534));
    let program = program.display().to_string();
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
    let theirs = Client::start_program(&root, &wrapper, &["drill", "port-thief"]).wait(STATE_LIMIT);
    assert!(theirs.code == Some(5) && theirs.stderr.contains("programs of the store"), "{theirs}");
}

#[test]
fn a_daemon_of_ones_own_never_makes_a_drill_that_is_for_a_throw_away_cluster() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    for name in ["disk-full", "port-thief", "cluster-id-mismatch"] {
        let mut socket = UnixStream::connect(root.path().join("run/control.sock")).unwrap();
        writeln!(socket, r#"{{"v":1,"order":{{"verb":"drill","drill":"{name}"}}}}"#).unwrap();
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).unwrap();
        assert!(answer.contains("runs on a throw-away cluster only") && answer.contains("\"exit\":8"), "{answer}");
    }
    assert!(!root.path().join("state/operation.json").exists());
}

#[test]
fn a_process_that_a_drill_left_stopped_goes_on_with_the_next_daemon() {
    let (root, pid) = left_with_a_stopped_process();
    root.expect_log("was cut short with its daemon");
    root.up();
    assert_ne!(state(pid), 'T');
    assert_eq!(root.pid("a"), pid);
    until(STATE_LIMIT, "the record goes", || {
        if root.path().join("state/operation.json").exists() { Err("it is there".into()) } else { Ok(()) }
    });
    let told = told(&root);
    assert!(told.contains("SIGSTOP to a") && told.contains(&format!("SIGCONT to pid {pid}")), "{told}");
}

/// A root whose daemon was killed while `a` was stopped by its drill; the pid of `a`.
fn left_with_a_stopped_process() -> (Root, i32) {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let pid = root.pid("a");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    process::kill(pid, 19);
    until(STATE_LIMIT, "it is stopped", || if state(pid) == 'T' { Ok(()) } else { Err(state(pid).to_string()) });
    kill_daemon(&root);
    let paused = serde_json::json!({"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id.trim()});
    leave(&root, &serde_json::json!({"paused": paused}));
    (root, pid)
}

#[test]
fn a_process_that_a_drill_left_stopped_ends_in_order_without_a_daemon() {
    let (root, pid) = left_with_a_stopped_process();
    let down = root.ok(&["down"]);
    assert!(down.stderr.contains("a: a drill had stopped it: it goes on"), "{down}");
    assert!(down.stderr.contains("a: stopped (") && !down.stderr.contains("SIGKILL"), "{down}");
    assert!(!process::alive(pid));
}

#[test]
fn a_process_that_a_drill_left_stopped_goes_on_also_with_a_daemon_that_does_not_come_up() {
    let (root, pid) = left_with_a_stopped_process();
    for words in ["was cut short with its daemon", "cdc-shim"] {
        root.expect_log(words);
    }
    // Without its shim beside it this program serves nobody, and says so after it has taken the lock.
    let alone = root.home().join("cdc-supervisor");
    fs::copy(SUPERVISOR, &alone).unwrap();
    let daemon = Client::start_program(&root, &[&alone.display().to_string()], &["run"]).wait(STATE_LIMIT);
    assert_ne!(daemon.code, Some(0), "{daemon}");
    assert_ne!(state(pid), 'T', "{daemon}");
    root.up();
    assert_eq!(root.pid("a"), pid);
}

/// A loss of power may tear it anywhere (of each byte: `operate::operation`). What it was about is not known, so it is looked whether
/// something of a drill is there, once.
#[test]
fn a_torn_record_of_an_operation_is_told_and_what_a_drill_may_have_made_is_looked_for_once() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("its record cannot be read");
    root.up();
    let pid = root.pid("a");
    leave(&root, &serde_json::json!({"topics": true, "table": true}));
    let [record, left] = ["operation.json", "drill-left.json"].map(|name| root.path().join("state").join(name));
    let whole = fs::read(&record).unwrap();
    let looked = |root: &Root| {
        let events = root.ok(&["events", "--json", "-n", "1000"]).stdout;
        let ended = |line: &&str| line.contains("operation-ended") && line.contains("of which nothing is on record");
        events.lines().filter(ended).count()
    };
    for (times, torn_at) in (1..).zip([0, whole.len() / 2, whole.len() - 1]) {
        kill_daemon(&root);
        fs::write(&record, &whole[..torn_at]).unwrap();
        root.up();
        assert_eq!(root.pid("a"), pid, "torn at {torn_at}: it goes on");
        until(STATE_LIMIT, "it was looked", || match looked(&root) {
            n if n == times && !left.exists() => Ok(()),
            n => Err(format!("torn at {torn_at}: {n} times")),
        });
        assert_eq!(told(&root).matches("an operation was cut short, and its record cannot be read").count(), times);
        assert!(!record.exists());
    }
    // Others are kept away no more, and nobody looks again.
    root.ok(&["reload"]);
    kill_daemon(&root);
    root.up();
    root.ok(&["stop", "a"]);
    assert_eq!((looked(&root), left.exists(), record.exists()), (3, false, false));
}

#[test]
fn a_node_that_a_drill_had_ordered_down_is_started_by_the_next_daemon() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("was cut short with its daemon");
    root.up();
    root.ok(&["stop", "a"]);
    kill_daemon(&root);
    leave(&root, &serde_json::json!({"down": ["a", "gone"]}));
    root.up();
    root.await_node("a", "it is ready again", |n| n["state"] == "ready");
    until(STATE_LIMIT, "that is told", || {
        let told = told(&root);
        if told.contains("started a again") { Ok(()) } else { Err(told) }
    });
}

#[test]
fn what_somebody_stopped_while_a_drill_ran_stays_down_with_the_next_daemon() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("was cut short with its daemon");
    root.up();
    root.ok(&["stop", "a", "b"]);
    kill_daemon(&root);
    leave(&root, &serde_json::json!({"down": ["a", "b"]}));
    left_down(&root, &["a"]);
    // `up` would start all of them.
    let run = root.spawn(&["run", "--no-fetch"]);
    root.await_daemon_node("a");
    root.await_node("b", "it is ready again", |n| n["state"] == "ready");
    until(STATE_LIMIT, "that is told", || {
        let told = told(&root);
        if told.contains("started b again") { Ok(()) } else { Err(told) }
    });
    assert_eq!(root.node("a")["state"], "down");
    root.down();
    drop(run.wait(STATE_LIMIT));
}

#[test]
fn what_needs_a_node_that_somebody_stopped_stays_down_with_it_and_keeps_nothing_else_down() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]).after(&["a"]), fake("c", &[])]);
    root.expect_log("was cut short with its daemon");
    root.up();
    root.ok(&["stop", "a", "b", "c"]);
    kill_daemon(&root);
    leave(&root, &serde_json::json!({"down": ["a", "b", "c"]}));
    left_down(&root, &["a"]);
    let run = root.spawn(&["run", "--no-fetch"]);
    root.await_daemon_node("a");
    root.await_node("c", "it is ready again", |n| n["state"] == "ready");
    until(STATE_LIMIT, "that is told", || {
        let told = told(&root);
        let words = ["started c again", "left down for want of a: b; `cdc-supervisor start a b` starts them"];
        if words.iter().all(|w| told.contains(w)) { Ok(()) } else { Err(told) }
    });
    assert_eq!((&root.node("a")["state"], &root.node("b")["state"]), (&"down".into(), &"down".into()));
    root.down();
    drop(run.wait(STATE_LIMIT));
}

/// Somebody stopped these while what is on record ran.
fn left_down(root: &Root, nodes: &[&str]) {
    let file = root.path().join("state/operation.json");
    let mut record: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    record["left_down"] = serde_json::json!(nodes);
    fs::write(&file, record.to_string()).unwrap();
}

#[test]
fn what_a_drill_could_not_remove_is_tried_again_when_everything_is_whole() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let left = root.path().join("state/drill-left.json");
    let record = serde_json::json!({
        "kind": "drill", "detail": "broker-kill", "begun_at": "2026-01-02T03:04:05.006Z", "undo": {"topics": true, "table": true},
    });
    fs::write(&left, record.to_string()).unwrap();
    // There are no brokers that could have them any more.
    until(STATE_LIMIT, "the record goes", || if left.exists() { Err("it is there".into()) } else { Ok(()) });
    until(STATE_LIMIT, "that is told", || {
        let events = root.ok(&["events"]).stdout;
        if events.contains("drill broker-kill: nothing is left of it any more") { Ok(()) } else { Err(events) }
    });
    assert!(!root.path().join("state/operation.json").exists());
}

/// A stack of `a` and a MySQL server that has failed, under a daemon that runs.
fn with_a_mysql_server_that_has_failed() -> Root {
    let root = Root::raw("");
    root.expect_log("mysql");
    let artifacts = fake_mysql::offer(root.home(), &["8.4.11"], &root.path().join("nodes/mysql/data"));
    root.configure_raw(&format!(
        "[artifacts]\nsources = [\"file\"]\n{artifacts}[mysql]\nversion = \"8.4.11\"\nport = {}\n{}",
        free_port(),
        fake("a", &[]).toml()
    ));
    let data = root.path().join("nodes/mysql/data");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(root.path().join("state/secrets")).unwrap();
    fs::write(data.join("ibdata1"), "data").unwrap();
    for name in ["mysql-root", "debezium"] {
        fs::write(root.path().join("state/secrets").join(name), "secret\n").unwrap();
    }
    let up = root.run(&["up", "--detach"]);
    assert_eq!(up.code, Some(6), "{up}");
    root.await_state("mysql", "failed");
    root
}

#[test]
fn a_node_that_has_failed_keeps_no_order_waiting_for_what_a_drill_left() {
    let root = with_a_mysql_server_that_has_failed();
    root.expect_log("was cut short with its daemon");
    root.ok(&["stop", "a"]);
    kill_daemon(&root);
    leave(&root, &serde_json::json!({"down": ["a"], "table": true}));
    root.run(&["up", "--detach"]);
    until(STATE_LIMIT, "it is given up", || {
        let told = told(&root);
        let words = ["started a again", "its table is still there (mysql is failed ("];
        if words.iter().all(|w| told.contains(w)) { Ok(()) } else { Err(told) }
    });
    assert!(root.path().join("state/drill-left.json").exists(), "it is removed when it can be");
    root.await_node("a", "it is ready again", |n| n["state"] == "ready");
    root.ok(&["reload"]);
    let steps = root.ok(&["events", "--json"]).stdout;
    assert!(steps.contains("what it left is being undone: its table removed"), "{steps}");
}

#[test]
fn nothing_is_verified_while_something_takes_nodes_away() {
    let root = Root::new(&[fake("a", &[]), fake("never", &[]).exec(&["/bin/false"])]);
    root.expect_log("");
    let first = root.spawn(&["run", "--no-fetch"]);
    root.await_daemon_node("never");
    root.ok(&["stop", "never"]);
    kill_daemon(&root);
    drop(first.wait(STATE_LIMIT));
    leave(&root, &serde_json::json!({"down": ["never"]}));
    let run = root.spawn(&["run", "--no-fetch"]);
    // What the drill left is being undone for as long as that node starts.
    until(STATE_LIMIT, "it stands back", || {
        let output = root.run(&["verify"]);
        let stands_back = output.code == Some(8) && output.stderr.contains("nothing is verified meanwhile");
        if stands_back { Ok(()) } else { Err(output.to_string()) }
    });
    root.down();
    drop(run.wait(STATE_LIMIT));
}
