//! What really runs out: a file system without a free byte, a user without a free process. (Descriptors: `hindered.rs`.)

use crate::{
    bench::{Bench, stays},
    support::{STATE_LIMIT, VERB_LIMIT, client::Client, pid_of, process, skip, until},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

/// A mount namespace in which a small file system lies at the root; it goes with its holder.
struct SmallDisk(Child);

impl SmallDisk {
    /// None where this user may not make one.
    fn at(bench: &mut Bench, size: &str) -> Option<Self> {
        let root = bench.root.path().display().to_string();
        fs::create_dir_all(&root).unwrap();
        let script = "mount -t tmpfs -o size=$2,mode=755 none \"$1\" && echo ready && exec sleep 1000";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", script, "sh", &root, size])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = String::new();
        let _ = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said);
        let pid = holder.id().to_string();
        let disk = Self(holder);
        if said != "ready\n" {
            return None;
        }
        bench.elsewhere(&["nsenter", "--target", &pid, "--mount", "--"], &format!("/proc/{pid}/root"));
        Some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_full_file_system_stops_nothing_and_what_happened_meanwhile_is_told_when_there_is_room() {
    let mut bench = Bench::new();
    let Some(_disk) = SmallDisk::at(&mut bench, "6m") else {
        return skip("a_full_file_system_stops_nothing", "no right to make a mount namespace");
    };
    assert_eq!(bench.up().code, Some(0));
    let (daemon, b) = (bench.daemon(), pid_of(&bench.node("b").unwrap()));
    let filler = bench.path("filler");
    let fill = || {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&filler).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    };
    fill();
    for start in 2..=4 {
        // What the nodes' logs gave up to go on is taken as well.
        fill();
        process::kill(pid_of(&bench.node("a").unwrap()), 9);
        until(STATE_LIMIT, "a is back on a full disk", || match bench.node("a") {
            Some(n) if n["state"] == "ready" && n["incarnation"] == start => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    assert_eq!((bench.daemon(), pid_of(&bench.node("b").unwrap())), (daemon, b));
    fs::remove_file(&filler).unwrap();
    until(STATE_LIMIT, "every death is on record", || match bench.incidents_of("a") {
        starts if starts == [1, 2, 3] => Ok(()),
        starts => Err(format!("{starts:?}")),
    });
    let events = bench.run(&["events", "--json", "a"]).stdout;
    assert_eq!(events.matches("\"ended\"").count(), 3, "{events}");
    let log = fs::read_to_string(bench.path("state/supervisor.log")).unwrap();
    assert!(log.contains("events and incidents are written again"), "{log}");
    // Its state files are of now, not of when the disk was full.
    until(STATE_LIMIT, "the state is written", || {
        let text = fs::read_to_string(bench.path("state/nodes/a.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        if state["restarts"] == 3 { Ok(()) } else { Err(text) }
    });
    // A daemon that comes when the disk is full again finds its nodes all the same.
    bench.kill_daemon();
    fill();
    let run = bench.spawn(&["run"]);
    let adopted = until(STATE_LIMIT, "they are adopted", || match (bench.daemon(), bench.node("b")) {
        (Some(_), Some(n)) if n["state"] == "ready" => Ok(pid_of(&n)),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(adopted, b);
    fs::remove_file(&filler).unwrap();
    let a = bench.node("a").unwrap();
    assert_eq!((&a["incarnation"], &a["restarts"]), (&4.into(), &3.into()), "{a}");
    bench.must_be_whole(false);
    drop(run.try_wait_for(VERB_LIMIT));
}

/// Nobody's user, in whose name nothing else runs.
const USER: &str = "61234";

#[test]
fn a_user_without_a_free_process_keeps_daemon_and_nodes_and_goes_on_when_there_is_one() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a_user_without_a_free_process", "only root can become another user");
    }
    let bench = Bench::new();
    for dir in [bench.root.home(), bench.pair.dir()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let words =
        ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", &bench.pair.supervisor()].map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = Client::start_program(&bench.root, &words, &["run"]);
    let ready = |name: &str, start: u64| {
        until(STATE_LIMIT, &format!("{name} is ready"), || match bench.node(name) {
            Some(n) if n["state"] == "ready" && n["incarnation"].as_u64() >= Some(start) => Ok(pid_of(&n)),
            other => Err(format!("{other:?}")),
        })
    };
    let (a, b) = (ready("a", 1), ready("b", 1));
    let daemon = bench.daemon().unwrap();
    // Neither a thread nor a process is to be had (RLIMIT_NPROC counts both, setrlimit(2)); root would be let off.
    // Set in that user's own name: this root may not be allowed to.
    let limit = |processes: &str| {
        let words = ["--reuid", USER, "--regid", USER, "--clear-groups", "prlimit", "--pid", &daemon.to_string()];
        let set = Command::new("setpriv").args(words).arg(format!("--nproc={processes}:")).status();
        assert!(set.unwrap().success());
    };
    let limits = fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    let row = limits.lines().find_map(|l| l.strip_prefix("Max processes")).unwrap();
    let before = row.split_whitespace().next().unwrap();
    limit("1");
    process::kill(a, 9);
    // That start had a shim in reserve and the process of the dead node; the next one has neither.
    process::kill(ready("a", 2), 9);
    until(STATE_LIMIT, "the failure is told", || {
        let events = fs::read_to_string(bench.path("state/events.jsonl")).unwrap_or_default();
        let told = events.lines().any(|l| l.contains("\"a\"") && l.contains("os error 11"));
        if told { Ok(()) } else { Err(events) }
    });
    stays("the daemon lives", || process::alive(daemon));
    assert_eq!((bench.daemon(), pid_of(&bench.node("b").unwrap())), (Some(daemon), b), "and answers");
    limit(before);
    ready("a", 3);
    let a = bench.incidents_of("a");
    assert!(a.contains(&1), "{a:?}");
    assert_eq!((bench.daemon(), pid_of(&bench.node("b").unwrap())), (Some(daemon), b));
    bench.must_be_whole(false);
    drop(run.wait(VERB_LIMIT));
}
