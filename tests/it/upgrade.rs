//! `upgrade-self`: the daemon's program is replaced while nodes run; nothing of theirs changes, and no client is refused.

use crate::support::{
    Output, Root, STATE_LIMIT, VERB_LIMIT,
    client::Client,
    fake, node_of,
    pair::Pair,
    pid_of,
    process::{self, alive},
    until,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Starts the daemon from the pair.
fn up(root: &Root, pair: &Pair) {
    let output = Client::start_program(root, &[&pair.supervisor()], &["up", "--detach"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
}

fn upgrade(root: &Root) -> Output {
    root.run(&["upgrade-self"])
}

fn upgraded(root: &Root) -> Output {
    let output = upgrade(root);
    assert_eq!(output.code, Some(0), "{output}\n{}", supervisor_log(root));
    output
}

fn supervisor_log(root: &Root) -> String {
    std::fs::read_to_string(root.path().join("state/supervisor.log")).unwrap_or_default()
}

/// Everything of a node that a hand-over must not change.
fn of_nodes(root: &Root, names: &[&str]) -> Vec<(Value, i32)> {
    let status = root.status();
    let keys = ["name", "pid", "incarnation", "restarts", "last_exit", "wanted", "state", "ready_since"];
    names
        .iter()
        .map(|name| {
            let node = node_of(&status, name);
            let kept = keys.iter().map(|k| ((*k).to_owned(), node[*k].clone())).collect();
            let shim = node["pid"].as_i64().map_or(0, |_| process::parent(pid_of(&node)).unwrap());
            (Value::Object(kept), shim)
        })
        .collect()
}

/// The lines of a log, which must be `tick 0`, `tick 1` and so on.
fn ticks(log: &str) -> usize {
    for (n, line) in log.lines().enumerate() {
        assert_eq!(line, format!("tick {n}"), "a line is missing, doubled or torn");
    }
    log.lines().count()
}

#[test]
fn twenty_versions_one_after_the_other_change_no_process_and_lose_no_byte_and_no_client() {
    let root = Root::new(&[fake("a", &["tick=1"]), fake("b", &["notify=READY=1", "tick=1"]).notify(), fake("c", &[])]);
    let pair = Pair::new(root.home(), "bin");
    up(&root, &pair);
    root.ok(&["stop", "c"]);
    let (daemon, before) = (root.daemon(), of_nodes(&root, &["a", "b", "c"]));
    let (done, root_ref) = (AtomicBool::new(false), &root);
    /// Ends the asking however the rounds end.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let asked = thread::scope(|scope| {
        // one client after the other all the time: each must get its answer
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                let mut stream = UnixStream::connect(root_ref.path().join("run/control.sock")).expect("refused");
                stream.set_read_timeout(Some(STATE_LIMIT)).unwrap();
                stream.write_all(b"{\"v\":1,\"order\":{\"verb\":\"status\"}}\n").unwrap();
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).unwrap();
                assert!(line.contains("\"nodes\""), "client {asked} got {line:?}");
                asked += 1;
            }
            asked
        });
        let end = Done(&done);
        for round in 0..20u32 {
            let last = if round % 2 == 0 { '3' } else { '4' };
            pair.install(Some(last));
            let output = upgraded(root_ref);
            assert!(output.stdout.contains(&Pair::version(last)), "{output}");
            let status = root_ref.status();
            assert_eq!(status["supervisor"]["version"], Pair::version(last));
            assert_eq!(root_ref.daemon(), daemon, "round {round}: another pid");
        }
        drop(end);
        asking.join().unwrap()
    });
    assert!(asked > 20, "{asked}");
    assert_eq!(of_nodes(&root, &["a", "b", "c"]), before);
    let cmdline = std::fs::read_to_string(format!("/proc/{daemon}/cmdline")).unwrap();
    assert_eq!(cmdline.matches("--handed-over").count(), 1, "arguments do not pile up: {cmdline}");
    let open = std::fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().count();
    assert!(open < 60, "{open} descriptors after twenty hand-overs");
    root.down();
    assert!(ticks(&root.log("a")) > 100 && ticks(&root.log("b")) > 100);
    root.await_empty();
}

#[test]
fn a_node_that_dies_at_the_moment_of_the_hand_over_is_known_by_its_exit_and_comes_back_once() {
    let root = Root::raw("");
    let alone = root.file("alone");
    root.configure(&[fake("a", &[&format!("alone={alone}")]).key("healthy_after", "\"1ms\""), fake("b", &["tick=1"])]);
    root.expect_log("node=a");
    let pair = Pair::new(root.home(), "bin");
    up(&root, &pair);
    let (daemon, b) = (root.daemon(), of_nodes(&root, &["b"]));
    for round in 1..=10u64 {
        let pid = root.pid("a");
        let upgrade = root.spawn(&["upgrade-self"]);
        // A moment of its own in each round, through the whole of a hand-over, which takes some 100 ms here: there is nothing
        // to wait for.
        thread::sleep(Duration::from_millis(round * 17));
        process::kill(pid, 9);
        let output = upgrade.wait(VERB_LIMIT);
        assert_eq!(output.code, Some(0), "{output}\n{}", supervisor_log(&root));
        let node = root.await_node("a", "back", |n| n["state"] == "ready" && n["incarnation"] == round + 1);
        assert_eq!(node["last_exit"]["signal"], "SIGKILL", "round {round}: {node}");
        assert_eq!(node["restarts"], round, "{node}");
    }
    assert_eq!((root.daemon(), of_nodes(&root, &["b"])), (daemon, b));
    assert!(!std::path::Path::new(&format!("{alone}.twice")).exists(), "two copies of one node");
    root.down();
    ticks(&root.log("b"));
}

#[test]
fn what_cannot_go_on_is_refused_before_anything_is_done() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("upgrade-self was refused");
    let pair = Pair::new(root.home(), "bin");
    up(&root, &pair);
    let started = || ["pid", "version", "started_at"].map(|key| root.status()["supervisor"][key].clone());
    let (before, node) = (started(), of_nodes(&root, &["a"]));
    let refused = |code: i32, words: &str| {
        let output = root.fails(code, &["upgrade-self"]);
        assert!(output.stderr.contains(words), "{words}: {output}");
        assert_eq!(started(), before);
    };
    pair.put("cdc-supervisor", b"#!/nonexistent\n", 0o644);
    refused(4, "cannot be run");
    pair.put("cdc-supervisor", b"\x7fELF and nothing more", 0o755);
    refused(8, "looked at the state");
    pair.put("cdc-supervisor", b"#!/bin/sh\nexit 0\n", 0o755);
    refused(8, "run --check");
    pair.put("cdc-supervisor", b"#!/bin/sh\necho 'unknown argument' >&2\nexit 2\n", 0o755);
    refused(8, "too old");
    pair.put("cdc-supervisor", b"#!/bin/sh\nkill -SEGV $$\n", 0o755);
    refused(8, "SIGSEGV");
    pair.remove("cdc-supervisor");
    refused(4, "cannot be run");
    pair.install(Some('7'));
    pair.remove("cdc-shim");
    refused(4, "cdc-shim");
    pair.put("cdc-shim", b"#!/bin/sh\nexit 3\n", 0o755);
    refused(4, "does not run");
    pair.install(Some('7'));
    // left by a version after this one
    let newer = root.path().join("state/nodes/later.json");
    std::fs::write(&newer, b"{\"schema\":2}").unwrap();
    refused(8, "schema 2");
    std::fs::remove_file(newer).unwrap();
    std::fs::write(root.path().join("nodes/a/run/exit.99"), b"cdc-exit 2\nend\n").unwrap();
    refused(8, "version 2");
    std::fs::remove_file(root.path().join("nodes/a/run/exit.99")).unwrap();
    upgraded(&root);
    assert_eq!(of_nodes(&root, &["a"]), node);
    assert_eq!(root.status()["supervisor"]["version"], Pair::version('7'));
}

#[test]
fn orders_under_way_are_carried_out_first() {
    let root = Root::new(&[
        fake("a", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "2s"),
        fake("b", &["tick=1"]),
    ]);
    let pair = Pair::new(root.home(), "bin");
    up(&root, &pair);
    let stop = root.spawn(&["stop", "a"]);
    root.await_state("a", "stopping");
    upgraded(&root);
    let stopped = stop.wait(VERB_LIMIT);
    assert_eq!(stopped.code, Some(0), "{stopped}");
    let a = root.node("a");
    assert_eq!((&a["state"], &a["last_exit"]["cause"]), (&"down".into(), &"killed-after-grace".into()), "{a}");
    root.ok(&["start", "a"]);
}

#[test]
fn the_foreground_goes_on_with_the_new_program_and_still_stops_everything() {
    let root = Root::new(&[fake("a", &["tick=1"])]);
    let pair = Pair::new(root.home(), "bin");
    let mut foreground = Client::start_program(&root, &[&pair.supervisor()], &["up"]);
    root.await_daemon_node("a");
    until(STATE_LIMIT, "the foreground stays", || {
        if foreground.stderr().contains("Ctrl-C") { Ok(()) } else { Err(foreground.stderr()) }
    });
    pair.install(Some('8'));
    upgraded(&root);
    until(STATE_LIMIT, "the foreground says so", || {
        if foreground.stderr().contains(&Pair::version('8')) { Ok(()) } else { Err(foreground.stderr()) }
    });
    assert!(foreground.is_running());
    foreground.signal(2);
    let output = foreground.wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    ticks(&root.log("a"));
    root.await_empty();
}

#[test]
fn a_new_program_that_crashes_at_its_start_is_replaced_and_nodes_live_on() {
    let root = Root::new(&[fake("a", &["tick=1"])]);
    root.expect_log("adopt");
    let (pair, real) = (Pair::new(root.home(), "bin"), Pair::new(root.home(), "real"));
    let foreground = Client::start_program(&root, &[&pair.supervisor()], &["up"]);
    root.await_daemon_node("a");
    until(STATE_LIMIT, "the foreground stays", || {
        if foreground.stderr().contains("Ctrl-C") { Ok(()) } else { Err(foreground.stderr()) }
    });
    let (daemon, before) = (root.daemon(), of_nodes(&root, &["a"]));
    // says that all is well, then fails the first time it is to be the daemon
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' --check '*) exec {real} \"$@\";; esac\n\
         [ -e {once} ] || {{ : >{once}; exit 101; }}\nexec {real} \"$@\"\n",
        real = real.supervisor(),
        once = root.file("once"),
    );
    pair.put("cdc-supervisor", script.as_bytes(), 0o755);
    let output = root.fails(1, &["upgrade-self"]);
    assert!(output.stderr.contains("another daemon took its place"), "{output}");
    assert!(!alive(daemon) && root.daemon() != daemon);
    assert_eq!(of_nodes(&root, &["a"]), before);
    until(VERB_LIMIT, "the daemon's terminal says so, too", || {
        let said = foreground.stderr();
        if said.contains("nodes run on") { Ok(()) } else { Err(said) }
    });
    foreground.signal(15);
    foreground.wait(VERB_LIMIT);
    ticks(&root.log("a"));
}

#[test]
fn a_link_that_leads_to_another_version_is_followed() {
    let root = Root::new(&[fake("a", &[])]);
    let (one, two) = (Pair::new(root.home(), "one"), Pair::new(root.home(), "two"));
    two.install(Some('5'));
    let link = root.home().join("now");
    std::os::unix::fs::symlink(one.dir(), &link).unwrap();
    let program = link.join("cdc-supervisor").display().to_string();
    let run = Client::start_program(&root, &[&program], &["run"]);
    root.await_daemon_node("a");
    root.await_state("a", "ready");
    let before = of_nodes(&root, &["a"]);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(two.dir(), &link).unwrap();
    upgraded(&root);
    assert_eq!(root.status()["supervisor"]["version"], Pair::version('5'));
    assert_eq!(of_nodes(&root, &["a"]), before);
    root.down();
    assert_eq!(run.wait(VERB_LIMIT).code, Some(0));
}

#[test]
fn without_a_daemon_there_is_nothing_to_replace() {
    let root = Root::new(&[fake("a", &[])]);
    let output = root.fails(7, &["upgrade-self"]);
    assert!(output.stderr.contains("no daemon runs"), "{output}");
}
