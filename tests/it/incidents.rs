//! `incidents`: each kind of death gives one record that says why, what was done and what to change.

use crate::support::{
    Client, Node, Root, STATE_LIMIT, VERB_LIMIT, fake,
    node::free_port,
    pair::Pair,
    process::{self, alive},
    skip, until,
};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

/// Every incident of the root, oldest first.
fn incidents(root: &Root) -> Vec<Value> {
    let output = root.ok(&["incidents", "--json"]);
    let list: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}\n{output}"));
    assert_eq!(list["schema"], 1);
    assert!(list["verdict"].is_string());
    list["incidents"].as_array().unwrap().clone()
}

/// Waits until there are so many incidents and the last one has this outcome.
fn await_incidents(root: &Root, count: usize, outcome: &str) -> Vec<Value> {
    until(STATE_LIMIT, &format!("{count} incidents, the last one {outcome}"), || {
        let all = incidents(root);
        let good = all.len() == count && all.last().is_none_or(|i| i["outcome"]["state"] == outcome);
        if good { Ok(all) } else { Err(format!("{all:#?}")) }
    })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

fn kill_daemon(root: &Root) {
    let daemon = root.daemon();
    process::kill(daemon, 9);
    until(STATE_LIMIT, "the daemon is gone", || if alive(daemon) { Err("alive".into()) } else { Ok(()) });
}

#[test]
fn a_killed_node_has_one_incident_that_is_completed_when_it_is_back() {
    let root = Root::new(&[fake("a", &["print=last words", "notify=READY=1"]).notify(), fake("b", &[])]);
    root.up();
    process::kill(root.pid("a"), 9);
    let all = await_incidents(&root, 1, "back");
    let i = &all[0];
    assert_eq!(
        (&i["id"], &i["node"], &i["kind"], &i["incarnation"], &i["cause"], &i["verdict"]),
        (&1.into(), &"a".into(), &"command".into(), &1.into(), &"killed-by-other".into(), &"explained".into())
    );
    assert_eq!((&i["exit"]["signal"], &i["exit"]["code"]), (&"SIGKILL".into(), &Value::Null));
    assert!(i["exit"]["peak_rss_bytes"].as_u64() > Some(0) && i["exit"]["cpu_ms"].is_u64(), "{i}");
    assert!(i["ran_for_ms"].is_u64() && i["ready"] == true, "{i}");
    assert_eq!(text(i, "did"), "restart ordered at once");
    assert_eq!(i["evidence"]["log"], serde_json::json!(["last words"]));
    let around = i["evidence"]["around"].as_array().unwrap();
    assert!(around.iter().any(|e| e["node"] == "b" && e["kind"] == "ready"), "what else happened: {around:#?}");
    let o = &i["outcome"];
    assert_eq!(o["incarnation"], 2);
    assert!(o["back_after_ms"].as_u64() <= o["ready_after_ms"].as_u64() && o["ready_after_ms"].is_u64(), "{o}");
    let list = root.ok(&["incidents"]).stdout;
    assert!(list.contains("a  killed by SIGKILL (not by us") && list.contains("ready after"), "{list}");
    let story = root.ok(&["incidents", "1"]).stdout;
    for part in ["killed-by-other (explained)", "| last words", "what else happened then"] {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert_eq!(root.ok(&["incidents", "#1"]).stdout, story);
    root.fails(2, &["incidents", "99"]);
    assert!(root.ok(&["status"]).stdout.contains("incident #1"));
    let one: Value = serde_json::from_str(&root.ok(&["incidents", "1", "--json"]).stdout).unwrap();
    assert_eq!(&one, i);
}

#[test]
fn a_death_right_after_a_rotation_has_the_lines_from_before_it() {
    let root = Root::raw("");
    let script = "n=0; while [ $n -le 470 ]; do echo line $n; n=$((n+1)); done; exec sleep 1000";
    let node = Node::program("a", &["/bin/sh", "-c", script]).key("env", "{ PATH = \"/usr/bin:/bin\" }");
    // 4 KiB end with line 466
    root.configure(&[node.key("log", "{ max_bytes = \"4K\", keep = 100 }")]);
    root.up();
    until(
        STATE_LIMIT,
        "all is written",
        || {
            if root.log("a").contains("line 470") { Ok(()) } else { Err(root.log("a")) }
        },
    );
    assert_eq!(root.log("a").lines().count(), 4, "rotated: {}", root.log("a"));
    process::kill(root.pid("a"), 9);
    let i = await_incidents(&root, 1, "back").remove(0);
    let expected: Vec<String> = (441..=470).map(|n| format!("line {n}")).collect();
    assert_eq!(i["evidence"]["log"], serde_json::json!(expected));
}

#[test]
fn the_list_is_cut_to_the_newest_by_a_number() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    for n in 1..=3 {
        process::kill(root.pid("a"), 9);
        await_incidents(&root, n, "back");
        root.await_node("a", "back", |node| node["state"] == "ready" && node["incident"] == n);
    }
    assert!(root.ok(&["status"]).stdout.lines().any(|l| l.starts_with("a ") && l.trim_end().ends_with("#3")));
    let list = root.ok(&["incidents", "-n", "1"]);
    assert!(list.stdout.starts_with("#3") || list.stdout.starts_with("#1-3"), "{list}");
    let json: Value = serde_json::from_str(&root.ok(&["incidents", "-n", "2", "--json"]).stdout).unwrap();
    let ids: Vec<u64> = json["incidents"].as_array().unwrap().iter().map(|i| i["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [2, 3]);
    assert!(root.ok(&["incidents", "-n", "0"]).stdout.is_empty());
    root.fails(2, &["incidents", "-n", "1", "--all"]);
}

#[test]
fn an_ordered_stop_is_no_incident_and_one_that_had_to_be_killed_is() {
    let root =
        Root::new(&[fake("a", &[]), fake("stubborn", &["ignore=TERM", "notify=READY=1"]).notify().text("grace", "1s")]);
    root.up();
    root.ok(&["restart", "a"]);
    root.ok(&["stop", "a"]);
    assert!(incidents(&root).is_empty());
    root.ok(&["stop", "stubborn"]);
    let all = await_incidents(&root, 1, "stopped");
    assert_eq!(all[0]["cause"], "killed-after-grace");
    assert!(text(&all[0], "remedy").contains("command.stubborn.grace = \"10s\""), "{}", all[0]);
    root.down();
    root.expect_log("node=");
    root.up();
    // Shims carry out the same stop without a daemon, and the next one reads that it was an order.
    kill_daemon(&root);
    root.down();
    root.up();
    let all = await_incidents(&root, 2, "back");
    assert_eq!((&all[1]["node"], &all[1]["cause"]), (&"stubborn".into(), &"killed-after-grace".into()), "{all:#?}");
    assert_eq!(root.node("a")["last_exit"]["cause"], "stopped");
    assert!(root.ok(&["incidents", "a"]).stderr.contains("no incidents"));
}

#[test]
fn a_crash_shows_its_last_lines_and_nothing_of_them_reaches_the_terminal_raw() {
    // It ends when `up` is over, which would say 6 for a node that broke.
    let script = "until [ -e \"$0\" ]; do sleep 0.01; done; \
                  printf '\\033[2J\\033]0;owned\\007 red\\n'; printf 'bin\\000\\377\\n'; \
                  head -c 40000 /dev/zero | tr '\\0' x; echo; echo password=hunter22; exit 3";
    let root = Root::raw("");
    let go = root.file("go");
    let node = Node::program("a", &["/bin/sh", "-c", script, &go]).text("restart", "never");
    root.configure(&[node.key("env", "{ PATH = \"/usr/bin:/bin\" }")]);
    root.up();
    fs::write(&go, "").unwrap();
    let all = await_incidents(&root, 1, "left-down");
    let i = &all[0];
    assert_eq!((&i["cause"], &i["exit"]["code"], &i["verdict"]), (&"crashed".into(), &3.into(), &"unexplained".into()));
    let log = serde_json::to_string(&i["evidence"]["log"]).unwrap();
    assert!(
        log.contains("39600 more characters") && log.contains("password=***") && !log.contains("hunter22"),
        "{log}"
    );
    for verb in [&["incidents", "1"][..], &["incidents"], &["events"]] {
        let out = root.ok(verb).stdout;
        assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "{verb:?}: {out:?}");
    }
    let path = root.path().join("state/incidents/000001.a.1.json");
    assert!(fs::metadata(path).unwrap().len() < 64 << 10);
    root.down();
}

#[test]
fn a_program_that_is_not_there_and_a_port_that_is_taken_say_what_to_do() {
    let port = free_port();
    let root = Root::raw("");
    let program = root.file("program");
    fs::copy(crate::support::node::program(), &program).unwrap();
    root.configure(&[
        Node::program("missing", &[&program]),
        fake("ported", &[&format!("listen={port}")]).key("ports", &format!("[\"127.0.0.1:{port}\"]")).tcp(port),
    ]);
    root.expect_log("could not be launched");
    root.expect_log("is taken by");
    root.up();
    // What the look at the host before the start cannot see: both go while the supervisor runs.
    root.ok(&["stop", "missing", "ported"]);
    fs::remove_file(&program).unwrap();
    let holder = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    root.fails(6, &["start", "missing"]);
    root.fails(6, &["start", "ported"]);
    let all = await_incidents(&root, 2, "failed");
    let of = |name: &str| all.iter().find(|i| i["node"] == name).unwrap();
    let (missing, ported) = (of("missing"), of("ported"));
    assert_eq!((&missing["cause"], &missing["verdict"]), (&"could-not-start".into(), &"act".into()));
    assert!(text(missing, "what").contains(&program) || text(missing, "what").contains("No such file"), "{missing}");
    assert!(text(missing, "remedy").contains("cdc-supervisor start missing"), "{missing}");
    assert!(text(missing, "remedy").starts_with(&format!("put {program} there")), "{missing}");
    // why is said once
    assert!(!missing["outcome"]["text"].as_str().unwrap().contains("No such file"), "{missing}");
    let status = root.ok(&["status"]).stdout;
    assert!(status.contains("came to no run (could-not-start), incident #"), "{status}");
    assert_eq!(
        (&ported["cause"], &ported["incarnation"], &ported["exit"]),
        (&"port-taken".into(), &Value::Null, &Value::Null)
    );
    assert!(text(ported, "what").contains(&format!("port {port} is taken by")), "{ported}");
    assert!(text(ported, "did").contains("nothing was started"), "{ported}");
    // The same again is no new one.
    root.fails(6, &["start", "ported"]);
    let again = until(STATE_LIMIT, "met again", || {
        let all = incidents(&root);
        let found = all.iter().find(|i| i["node"] == "ported").unwrap().clone();
        if found["times"] == 2 { Ok(all) } else { Err(found.to_string()) }
    });
    assert_eq!(again.len(), 2);
    // Once it is mended, its record says so.
    drop(holder);
    root.ok(&["start", "ported"]);
    let all = until(STATE_LIMIT, "the record says that it is back", || {
        let all = incidents(&root);
        let back = all.iter().any(|i| i["node"] == "ported" && i["outcome"]["state"] == "back");
        if back { Ok(all) } else { Err(format!("{all:#?}")) }
    });
    assert_eq!(all.len(), 2);
    root.down();
}

#[test]
fn a_log_of_somebody_else_is_a_wrong_owner_and_no_crash_loop() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a_log_of_somebody_else", "only root can become another user");
    }
    let root = Root::new(&[Node::program("a", &["/bin/sleep", "1000"])]);
    root.expect_log("could not be launched");
    let pair = Pair::new(root.home(), "bin");
    for dir in [root.home(), pair.dir()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let program = pair.supervisor();
    let run = |arguments: &[&str]| {
        let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
        Client::start_program(&root, &words, arguments).wait(VERB_LIMIT)
    };
    assert_eq!(run(&["up", "--detach"]).code, Some(0));
    assert_eq!(run(&["stop", "a"]).code, Some(0));
    let log = root.path().join("nodes/a/log/current");
    fs::remove_file(&log).unwrap();
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
    let start = run(&["start", "a"]);
    assert_eq!(start.code, Some(6), "{start}");
    assert!(start.stderr.contains("cannot open the log in") && start.stderr.contains("os error 13"), "{start}");
    assert!(start.stderr.contains("to the supervisor's user (`chown -R`)"), "{start}");
    let all = await_incidents(&root, 1, "failed");
    assert_eq!((&all[0]["cause"], &all[0]["verdict"]), (&"wrong-owner".into(), &"act".into()), "{all:?}");
    assert_eq!(root.node("a")["incarnation"], 2, "it was tried once");
    fs::remove_file(&log).unwrap();
    assert_eq!(run(&["start", "a"]).code, Some(0));
    assert_eq!(run(&["down"]).code, Some(0));
}

#[test]
fn a_death_while_no_daemon_ran_gives_exactly_one_incident() {
    let root = Root::new(&[fake("a", &["print=alone", "on-term=0:7", "notify=READY=1"]).notify(), fake("b", &[])]);
    root.expect_log("adopt");
    root.expect_log("node=a");
    root.up();
    let a = root.pid("a");
    kill_daemon(&root);
    process::kill(a, 15);
    until(STATE_LIMIT, "a is gone", || if alive(a) { Err("alive".into()) } else { Ok(()) });
    root.up();
    let all = await_incidents(&root, 1, "back");
    let i = &all[0];
    assert_eq!((&i["cause"], &i["exit"]["code"], &i["while_no_daemon"]), (&"crashed".into(), &7.into(), &true.into()));
    assert!(text(i, "summary").ends_with(", while no daemon ran"), "{i}");
    assert_eq!(i["evidence"]["log"], serde_json::json!(["alone"]));
    assert!(text(i, "noted_at") > text(i, "at"), "{i}");
    // Another daemon finds the same exit record and adds nothing.
    for _ in 0..2 {
        kill_daemon(&root);
        root.up();
    }
    assert_eq!(incidents(&root).len(), 1);
}

#[test]
fn an_incident_that_is_open_when_the_daemon_dies_is_completed_by_the_next_one() {
    let root = Root::raw("");
    let gate = root.file("gate");
    // Ready once the gate is there: the first run finds it, the second waits.
    fs::write(&gate, "").unwrap();
    root.configure(&[fake("a", &[]).exec(&["/usr/bin/test", "-e", &gate]).probe_key("interval", "\"100ms\"")]);
    root.expect_log("adopt");
    root.expect_log("node=a");
    root.up();
    fs::remove_file(&gate).unwrap();
    process::kill(root.pid("a"), 9);
    root.await_node("a", "runs again", |n| n["incarnation"] == 2 && n["pid"].is_i64());
    assert_eq!(await_incidents(&root, 1, "open")[0]["outcome"]["ready_after_ms"], Value::Null);
    kill_daemon(&root);
    fs::write(&gate, "").unwrap();
    root.up();
    let all = await_incidents(&root, 1, "back");
    assert!(all[0]["outcome"]["ready_after_ms"].as_u64() >= all[0]["outcome"]["back_after_ms"].as_u64(), "{}", all[0]);
}

#[test]
fn a_death_that_the_daemon_did_not_live_to_put_on_record_is_put_there_by_the_next_one() {
    let root = Root::new(&[fake("a", &["notify=READY=1"]).notify()]);
    root.expect_log("adopt");
    root.expect_log("node=a");
    root.up();
    for round in 2..=4u64 {
        process::kill(root.pid("a"), 9);
        root.await_node("a", "ready again", |n| n["state"] == "ready" && n["incarnation"].as_u64() == Some(round));
    }
    await_incidents(&root, 3, "back");
    kill_daemon(&root);
    // As if it had been killed before these two were written; the node runs on.
    for file in ["000002.a.2.json", "000003.a.3.json"] {
        fs::remove_file(root.path().join("state/incidents").join(file)).unwrap();
    }
    root.up();
    let all = await_incidents(&root, 3, "back");
    let seen: Vec<_> = all.iter().map(|i| (i["id"].as_u64(), i["incarnation"].as_u64(), text(i, "cause"))).collect();
    let cause = "killed-by-other";
    assert_eq!(seen, [(Some(1), Some(1), cause), (Some(2), Some(2), cause), (Some(3), Some(3), cause)]);
    assert!(text(&all[2], "did").contains("earlier daemon"), "{}", all[2]);
}

#[test]
fn a_kill_by_order_is_an_incident_where_the_node_is_meant_to_run_on() {
    let root = Root::new(&[fake("a", &["notify=READY=1"]).notify()]);
    root.up();
    root.ok(&["kill", "a", "--signal", "KILL"]);
    let all = await_incidents(&root, 1, "back");
    assert_eq!((&all[0]["cause"], &all[0]["verdict"]), (&"killed-by-order".into(), &"explained".into()));
    root.ok(&["down", "--now"]);
    assert_eq!(incidents(&root).len(), 1);
}

#[test]
fn a_lost_shim_is_an_incident_of_the_run_that_was_replaced() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("shim lost");
    root.up();
    process::kill(root.shim("a"), 9);
    let all = await_incidents(&root, 1, "back");
    assert_eq!((&all[0]["cause"], &all[0]["incarnation"]), (&"shim-lost".into(), &1.into()));
    let kinds: Vec<String> = super::events::events(&root).iter().map(|e| text(e, "kind").to_owned()).collect();
    assert!(kinds.contains(&"shim-lost".to_owned()), "{kinds:?}");
}

#[test]
fn everything_killed_at_once_is_unexplained_and_said_so_once() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("node=a");
    root.up();
    root.kill_all();
    root.await_empty();
    root.up();
    let all = await_incidents(&root, 1, "back");
    assert_eq!((&all[0]["cause"], &all[0]["verdict"]), (&"unknown".into(), &"unexplained".into()));
    assert_eq!(all[0]["exit"]["code"], Value::Null);
}

#[test]
fn fifty_deaths_after_healthy_runs_are_fifty_records_in_one_row_and_no_start_waits_for_a_pause() {
    let root = Root::raw("");
    root.configure(&[fake("a", &["notify=READY=1"]).notify().text("healthy_after", "0s")]);
    root.up();
    for round in 2..=51u64 {
        process::kill(root.pid("a"), 9);
        root.await_node("a", "ready again", |n| n["state"] == "ready" && n["incarnation"].as_u64() == Some(round));
    }
    let all = await_incidents(&root, 50, "back");
    let ids: Vec<u64> = all.iter().map(|i| i["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=50).collect::<Vec<_>>());
    for incident in &all {
        assert_eq!(text(incident, "did"), "restart ordered at once", "{incident}");
        assert!(incident["outcome"]["back_after_ms"].is_u64(), "{incident}");
    }
    let events = root.ok(&["events", "--json", "-n", "10000", "a"]).stdout;
    assert!(events.contains("\"kind\":\"started\"") && !events.contains("restart-scheduled"), "a pause: {events}");
    let size: u64 =
        fs::read_dir(root.path().join("state/incidents")).unwrap().flatten().map(|e| e.metadata().unwrap().len()).sum();
    assert!(size < 50 * (32 << 10), "{size}");
    root.down();
}

#[test]
fn a_crash_loop_is_one_row_of_the_list() {
    let root = Root::new(&[fake("a", &["print=no", "exit=3"])]);
    let daemon = root.spawn(&["run"]);
    root.await_daemon_node("a");
    until(STATE_LIMIT, "four deaths", || {
        let all = incidents(&root);
        if all.len() >= 4 { Ok(()) } else { Err(format!("{} incidents", all.len())) }
    });
    let list = root.ok(&["incidents"]).stdout;
    assert!(list.starts_with("#1-") && list.contains("times in a row"), "{list}");
    let all = incidents(&root);
    // Without a probe it may be seen as back before it dies again; either way it is one row.
    assert_eq!(all.iter().map(|i| i["deaths_in_a_row"].as_u64().unwrap()).take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(text(&all[2], "did").contains("in a row"), "{}", all[2]);
    root.down();
    assert_eq!(daemon.wait(STATE_LIMIT).code, Some(0));
}

#[test]
fn following_incidents_shows_a_death_and_what_became_of_it() {
    let root = Root::new(&[fake("a", &["notify=READY=1"]).notify()]);
    root.up();
    process::kill(root.pid("a"), 9);
    await_incidents(&root, 1, "back");
    let follower = root.spawn(&["incidents", "-f"]);
    let shows = |part: &str| {
        until(STATE_LIMIT, part, || {
            let out = follower.stdout();
            if out.contains(part) { Ok(()) } else { Err(out) }
        });
    };
    shows("#1 ");
    process::kill(root.pid("a"), 9);
    shows("#2 ");
    until(STATE_LIMIT, "it is back", || {
        let out = follower.stdout();
        let told = out.lines().any(|l| l.starts_with("#2") && l.contains("ready after"));
        let at_once = out.lines().last().is_some_and(|l| l.contains("ready after"));
        if told || at_once { Ok(()) } else { Err(out) }
    });
    follower.signal(2);
    assert_eq!(follower.wait(STATE_LIMIT).code, Some(130));
}

#[test]
fn followed_as_json_an_incident_is_one_line_and_comes_again_with_what_became_of_it() {
    let root = Root::new(&[fake("a", &["notify=READY=1"]).notify()]);
    root.up();
    for n in 1..=2 {
        process::kill(root.pid("a"), 9);
        await_incidents(&root, n, "back");
        root.await_node("a", "back", |node| node["state"] == "ready" && node["incident"] == n);
    }
    let follower = root.spawn(&["incidents", "-f", "--json", "-n", "1"]);
    // every whole line must be one incident
    let seen = || -> Vec<Value> {
        let out = follower.stdout();
        let whole = out.rfind('\n').map_or("", |end| &out[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}\n{line}"))).collect()
    };
    let await_outcome = |id: u64, state: &str| {
        until(STATE_LIMIT, &format!("#{id} is {state}"), || {
            let all = seen();
            let told = all.last().is_some_and(|i| i["id"] == id && i["outcome"]["state"] == state);
            if told { Ok(all) } else { Err(format!("{all:#?}")) }
        })
    };
    let first = await_outcome(2, "back");
    assert_eq!(first.len(), 1, "what was there is cut to so many");
    process::kill(root.pid("a"), 9);
    let all = await_outcome(3, "back");
    assert!(all[1..].iter().all(|i| i["id"] == 3 && i["schema"] == 1), "{all:#?}");
    let states: Vec<&str> = all[1..].iter().map(|i| text(&i["outcome"], "state")).collect();
    assert!(states[..states.len() - 1].iter().all(|state| *state == "open"), "{states:?}");
    let one: Value = serde_json::from_str(&root.ok(&["incidents", "3", "--json"]).stdout).unwrap();
    assert_eq!(all.last(), Some(&one));
    follower.signal(2);
    assert_eq!(follower.wait(STATE_LIMIT).code, Some(130));
}

/// A small file system of its own on `state/`, taken away when it is dropped.
struct Full<'a>(&'a std::path::Path);

impl Drop for Full<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_stops_nothing_and_what_is_missing_is_told_when_there_is_room_again() {
    let root = Root::new(&[fake("a", &["notify=READY=1"]).notify()]);
    let state = root.path().join("state");
    fs::create_dir_all(&state).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k,mode=0755", "tmpfs"])
        .arg(&state)
        .output()
        .expect("mount(8)");
    if !mounted.status.success() {
        let why = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
        return skip("a_full_disk_stops_nothing", &format!("no file system can be mounted here: {why}"));
    }
    let _mounted = Full(&state);
    for part in ["cannot write", "could not be written", "kept for later", "node=a", "No space left"] {
        root.expect_log(part);
    }
    root.up();
    let ballast = state.join("ballast");
    let mut size = 512 << 10;
    // Fills it to the last page.
    while size >= 1 {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&ballast).unwrap();
        if std::io::Write::write_all(&mut file, &vec![b'x'; size]).is_err() {
            size /= 2;
        }
    }
    for round in 2..=4u64 {
        process::kill(root.pid("a"), 9);
        root.await_node("a", "ready again", |n| n["state"] == "ready" && n["incarnation"].as_u64() == Some(round));
    }
    let full: Vec<Value> = incidents(&root);
    assert!(full.len() < 3, "there is no room for it: {full:#?}");
    fs::remove_file(&ballast).unwrap();
    let all = await_incidents(&root, 3, "back");
    assert_eq!(all.iter().map(|i| i["incarnation"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    until(Duration::from_secs(20), "the events are there", || {
        let ends = super::events::events(&root).iter().filter(|e| e["kind"] == "ended").count();
        if ends == 3 { Ok(()) } else { Err(format!("{ends} ends")) }
    });
    root.down();
}
