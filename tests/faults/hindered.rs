//! System calls that fail, descriptors that run out, a clock that is set: the daemon goes on, and says so.

use crate::{
    bench::{Bench, stays},
    support::{STATE_LIMIT, VERB_LIMIT, client::Client, pid_of, process, until},
};
use std::{
    fs::{DirEntry, read_dir, read_link},
    os::unix::net::UnixStream,
};

/// ENOSPC, EAGAIN, EMFILE (errno(3)).
const NO_SPACE: i32 = 28;
const TRY_AGAIN: i32 = 11;
const NO_DESCRIPTOR: i32 = 24;

#[test]
fn state_that_cannot_be_written_harms_no_node_and_is_written_later() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let (daemon, b) = (bench.daemon(), pid_of(&bench.node("b").unwrap()));
    bench.arm(&format!("write.half@nodes/a.json error={NO_SPACE}"));
    process::kill(pid_of(&bench.node("a").unwrap()), 9);
    until(STATE_LIMIT, "a is back", || match bench.node("a") {
        Some(n) if n["state"] == "ready" && n["incarnation"] == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!((bench.daemon(), pid_of(&bench.node("b").unwrap())), (daemon, b));
    bench.disarm();
    // the file is of the first start; exit record and shim tell the next daemon the rest
    bench.kill_daemon();
    assert_eq!(bench.up().code, Some(0));
    let a = bench.node("a").unwrap();
    assert_eq!(a["incarnation"], 2, "{a}");
    bench.must_be_whole(true);
}

#[test]
fn a_daemon_comes_back_to_its_nodes_when_the_disk_takes_nothing_and_hands_over_to_no_other_until_it_does() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let pids = || ["a", "b"].map(|name| pid_of(&bench.node(name).unwrap()));
    let before = pids();
    let session = bench.root.path().join("state/session.json");
    std::fs::remove_file(&session).unwrap();
    bench.arm(&format!("write.opened error={NO_SPACE}"));
    bench.kill_daemon();
    let up = bench.up();
    assert_eq!(up.code, Some(0), "{up}");
    assert_eq!(pids(), before, "adopted");
    let upgrade = bench.run(&["upgrade-self"]);
    assert_eq!(upgrade.code, Some(8), "{upgrade}");
    assert!(upgrade.stderr.contains("could not be written"), "{upgrade}");
    bench.disarm();
    until(STATE_LIMIT, "the session is written", || if session.exists() { Ok(()) } else { Err(String::new()) });
    until(STATE_LIMIT, "the program is replaced", || match bench.run(&["upgrade-self"]) {
        done if done.code == Some(0) => Ok(()),
        refused => Err(refused.to_string()),
    });
    assert_eq!(pids(), before);
    bench.must_be_whole(true);
}

#[test]
fn an_order_to_stop_that_comes_while_the_program_is_being_replaced_is_not_lost() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let daemon = bench.daemon().unwrap();
    bench.arm("handover.still delay=1500");
    let upgrade = bench.spawn(&["upgrade-self"]);
    let log = bench.root.path().join("state/supervisor.log");
    until(STATE_LIMIT, "it holds still", || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        if log.contains("handing over to the new program") { Ok(()) } else { Err(log) }
    });
    process::kill(daemon, 15);
    bench.root.await_empty();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("the daemon ends") && !log.contains("took over from the program before"), "{log}");
    drop(upgrade.wait(VERB_LIMIT));
}

#[test]
fn an_exit_record_that_cannot_be_written_is_told_all_the_same() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    bench.arm(&format!("write.half@nodes/a/run/exit.1 error={NO_SPACE}"));
    process::kill(pid_of(&bench.node("a").unwrap()), 9);
    let a = until(STATE_LIMIT, "a is back", || match bench.node("a") {
        Some(n) if n["state"] == "ready" && n["incarnation"] == 2 => Ok(n),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(a["last_exit"]["signal"], "SIGKILL", "{a}");
    bench.disarm();
    bench.must_be_whole(true);
}

#[test]
fn a_shim_that_cannot_be_started_is_tried_again() {
    let bench = Bench::new();
    bench.arm(&format!("link.fork error={TRY_AGAIN}"));
    let up = Client::start_program(&bench.root, &[&bench.pair.supervisor()], &["up", "--detach"]);
    until(STATE_LIMIT, "the failure is told", || {
        let log = std::fs::read_to_string(bench.root.path().join("state/supervisor.log")).unwrap_or_default();
        if log.contains("os error 11") { Ok(()) } else { Err(log) }
    });
    bench.disarm();
    // whatever that `up` came to, the daemon goes on trying
    drop(up.wait(VERB_LIMIT));
    bench.must_be_whole(true);
}

#[test]
fn a_shim_that_gets_no_process_or_no_descriptor_for_its_node_is_tried_again() {
    for (point, errno) in [("shim.fork", TRY_AGAIN), ("shim.pipe", NO_DESCRIPTOR)] {
        let bench = Bench::new();
        assert_eq!(bench.up().code, Some(0));
        let (daemon, b) = (bench.daemon(), pid_of(&bench.node("b").unwrap()));
        bench.arm(&format!("{point} error={errno}"));
        process::kill(pid_of(&bench.node("a").unwrap()), 9);
        until(STATE_LIMIT, "it has failed twice", || match bench.node("a") {
            Some(n) if n["incarnation"].as_u64() >= Some(3) && n["last_exit"]["cause"] == "crashed" => Ok(()),
            other => Err(format!("{other:?}")),
        });
        bench.await_event(&format!("os error {errno}"));
        bench.disarm();
        until(STATE_LIMIT, "a is back", || match bench.node("a") {
            Some(n) if n["state"] == "ready" => Ok(()),
            other => Err(format!("{other:?}")),
        });
        assert_eq!((bench.daemon(), pid_of(&bench.node("b").unwrap())), (daemon, b), "{point}");
        bench.must_be_whole(true);
    }
}

#[test]
fn a_daemon_without_descriptors_keeps_its_nodes_and_serves_again_when_there_are_some() {
    let bench = Bench::new();
    let limited = ["prlimit", "--nofile=48:48", &bench.pair.supervisor()].map(str::to_owned);
    let words: Vec<&str> = limited.iter().map(String::as_str).collect();
    let run = Client::start_program(&bench.root, &words, &["run"]);
    let ready = |name: &str| {
        until(STATE_LIMIT, "ready", || match bench.node(name) {
            Some(n) if n["state"] == "ready" => Ok(pid_of(&n)),
            other => Err(format!("{other:?}")),
        })
    };
    let pids = [ready("a"), ready("b")];
    let daemon = bench.daemon().unwrap();
    let socket = bench.root.path().join("run/control.sock");
    let held: Vec<UnixStream> = (0..80).map_while(|_| UnixStream::connect(&socket).ok()).collect();
    stays("the daemon lives without a free descriptor", || process::alive(daemon));
    process::kill(pids[0], 9);
    stays("it lives on when a node dies meanwhile", || process::alive(daemon));
    drop(held);
    until(STATE_LIMIT, "a is back", || match bench.node("a") {
        Some(n) if n["state"] == "ready" && n["incarnation"].as_u64() >= Some(2) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // launches in between failed for want of descriptors, and are its last ends; the first one is not forgotten
    bench.await_event("SIGKILL");
    assert_eq!(pid_of(&bench.node("b").unwrap()), pids[1]);
    assert_eq!(bench.daemon(), Some(daemon));
    bench.must_be_whole(false);
    drop(run.wait(VERB_LIMIT));
}

#[test]
fn a_daemon_that_found_no_room_for_a_nodes_descriptors_asks_its_shim_again() {
    let bench = Bench::new();
    bench.arm(&format!("link.descriptors error={NO_DESCRIPTOR}"));
    assert_eq!(bench.up().code, Some(0));
    let daemon = bench.daemon().unwrap();
    let is_of_a_process = |entry: &DirEntry| {
        read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("anon_inode:[pidfd]"))
    };
    let held = || read_dir(format!("/proc/{daemon}/fd")).unwrap().flatten().filter(is_of_a_process).count();
    let before = held();
    bench.disarm();
    until(STATE_LIMIT, "it can take the place of both shims", || match held() {
        now if now >= before + 2 => Ok(()),
        now => Err(format!("{before} before, {now} now")),
    });
    let a = pid_of(&bench.node("a").unwrap());
    process::kill(process::parent(a).unwrap(), 9);
    until(STATE_LIMIT, "a is back", || match bench.node("a") {
        Some(n) if n["state"] == "ready" && n["incarnation"] == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(bench.daemon(), Some(daemon));
    bench.must_be_whole(false);
    bench.what_is_missing_of_a_is_marked();
}

#[test]
fn an_end_that_a_shim_wrote_down_before_it_was_killed_keeps_its_own_cause() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    bench.arm("shim.recorded kill");
    process::kill(pid_of(&bench.node("a").unwrap()), 9);
    let a = until(STATE_LIMIT, "a is back", || match bench.node("a") {
        Some(n) if n["state"] == "ready" && n["incarnation"] == 2 => Ok(n),
        other => Err(format!("{other:?}")),
    });
    assert!(bench.hit(), "its shim lives");
    let last = &a["last_exit"];
    assert_eq!((&last["signal"], &last["cause"]), (&"SIGKILL".into(), &"killed-by-other".into()), "{a}");
    bench.await_event("its shim was killed after it had written down");
    bench.must_be_whole(false);
}

#[test]
fn a_log_that_a_stalled_disk_does_not_give_holds_up_no_order_and_no_start_of_another_node() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let daemon = bench.daemon().unwrap();
    // far longer than any verb is waited for
    bench.arm("verdict.reading delay=3600000");
    let is_back = |as_start: u64| {
        until(STATE_LIMIT, "a is back", || match bench.node("a") {
            Some(n) if n["state"] == "ready" && n["incarnation"] == as_start => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    process::kill(pid_of(&bench.node("a").unwrap()), 9);
    let reached = bench.pair.dir().join("failpoints.at");
    until(STATE_LIMIT, "its log is being read", || if reached.exists() { Ok(()) } else { Err(String::new()) });
    for order in ["stop", "start"] {
        let done = bench.run(&[order, "b"]);
        assert_eq!(done.code, Some(0), "{done}");
    }
    is_back(2);
    assert_eq!(bench.daemon(), Some(daemon));

    // and the next daemon, which finds a death
    let a = pid_of(&bench.node("a").unwrap());
    bench.kill_daemon();
    process::kill(a, 9);
    until(STATE_LIMIT, "it is dead", || if process::alive(a) { Err(String::new()) } else { Ok(()) });
    assert_eq!(bench.up().code, Some(0));
    is_back(3);
    bench.disarm();
    let events = bench.run(&["events", "--json", "-n", "1000", "a"]).stdout;
    assert_eq!(events.matches("its log could not be read").count(), 2, "{events}");
    let ends = |line: &&str| line.contains(r#""kind":"ended""#);
    let causes = events.lines().filter(ends).filter(|line| line.contains(r#""cause":"killed-by-other""#));
    assert_eq!(causes.count(), 2, "{events}");
    let incidents = until(STATE_LIMIT, "both are on record", || {
        let all = bench.run(&["incidents", "--json", "a"]).stdout;
        if all.matches(r#""incarnation":"#).count() >= 2 { Ok(all) } else { Err(all) }
    });
    assert!(incidents.contains("its log could not be read"), "{incidents}");
    bench.must_be_whole(true);
}

#[test]
fn a_clock_that_is_set_back_or_forward_changes_nothing_but_what_is_shown() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let day = 86_400_000i64;
    for (round, offset) in [-day, 2 * day, -30 * 365 * day].into_iter().enumerate() {
        bench.arm(&format!("clock offset={offset}"));
        let a = bench.node("a").unwrap();
        process::kill(pid_of(&a), 9);
        until(STATE_LIMIT, "a is back", || match bench.node("a") {
            Some(n) if n["state"] == "ready" && n["incarnation"] == round + 2 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        // How long it ran is measured: by the time of day it ended before it began, or days later.
        let ran = |text: String, key: &str| {
            let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
            all.last().and_then(|last| last[key].as_u64()).unwrap_or_else(|| panic!("{key}: {text}"))
        };
        let events = bench.run(&["events", "--json", "a"]).stdout;
        let ended = events.lines().filter(|line| line.contains(r#""kind":"ended""#)).collect::<Vec<_>>().join(",");
        let told = ran(format!("[{ended}]"), "took_ms");
        assert!((1..600_000).contains(&told), "{offset}: {told} ms\n{ended}");
        let incident = until(STATE_LIMIT, "it is on record", || {
            let listed: serde_json::Value =
                serde_json::from_str(&bench.run(&["incidents", "--json", "a"]).stdout).map_err(|e| e.to_string())?;
            match listed["incidents"].as_array() {
                Some(all) if all.len() == round + 1 => Ok(listed["incidents"].clone()),
                other => Err(format!("{other:?}")),
            }
        });
        let runs: Vec<u64> = incident.as_array().unwrap().iter().filter_map(|i| i["ran_for_ms"].as_u64()).collect();
        assert!(runs.len() == round + 1 && runs.iter().all(|ms| (1..600_000).contains(ms)), "{offset}: {runs:?}");
        bench.kill_daemon();
        assert_eq!(bench.up().code, Some(0));
        let now = bench.node("a").unwrap();
        assert_eq!((&now["incarnation"], &now["restarts"]), (&(round + 2).into(), &(round + 1).into()), "{now}");
    }
    bench.disarm();
    bench.must_be_whole(true);
}
