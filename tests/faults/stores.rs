//! kill -9 of `snapshot`, `restore` and `reset` between any two of their durable effects, and of the one that finishes: the data are
//! all of one moment or all of the other with the passwords that belong to them, no half snapshot is taken for one, nothing is lost.

use crate::{
    bench::Bench,
    points::{all_points, at_all},
    support::{STATE_LIMIT, client::Client, node::free_port, skip, until},
};
use serde_json::Value;
use std::{collections::BTreeSet, fmt, fs};

const STORES: [&str; 3] = ["zookeeper", "broker-1", "mysql"];

const SECRETS: [&str; 2] = ["debezium", "mysql-root"];

/// What is written on the way of a snapshot, and on that of a restore; a reset writes only the first of those.
const OF_SNAPSHOT: [&str; 3] =
    [".second.part/secrets/debezium", ".second.part/secrets/mysql-root", ".second.part/manifest.json"];
const OF_RESTORE: [&str; 5] = [
    "state/exchange.json",
    "state/secrets/debezium",
    "state/secrets/mysql-root",
    "secrets.cdc-incoming/debezium",
    "secrets.cdc-incoming/mysql-root",
];

const OF_REMOVAL: [&str; 2] = ["snapshot.looked", "snapshot.removing"];

/// After these the exchange is at its end, and no record says so.
const PAST: [&str; 2] = ["exchange.ended", "exchange.old-removed"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Create,
    Remove,
    Restore,
    Reset,
}

impl Verb {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Verb::Create => &["snapshot", "create", "second"],
            Verb::Remove => &["snapshot", "remove", "first", "--confirm", "first"],
            Verb::Restore => &["restore", "first", "--confirm", "first"],
            Verb::Reset => &["reset", "kafka", "--confirm", "kafka"],
        }
    }

    /// The points that it goes through, of those that belong to this file; none is forgotten (see the test).
    fn goes_through(self, point: &str) -> bool {
        let (name, path) = point.split_once('@').unwrap_or((point, ""));
        let written = |files: &[&str]| name.starts_with("write.") && files.contains(&path);
        match self {
            Verb::Create => written(&OF_SNAPSHOT) || (name.starts_with("snapshot.") && !OF_REMOVAL.contains(&name)),
            Verb::Remove => OF_REMOVAL.contains(&name),
            Verb::Restore => written(&OF_RESTORE) || name.starts_with("exchange.") || name == "stores.sharing",
            Verb::Reset => {
                let of_restore = ["cleared", "copied", "remembered", "secrets-back"];
                let is_of_restore = of_restore.iter().any(|n| name == format!("exchange.{n}"));
                let comes = path.ends_with("/data") || path.contains("mysql");
                written(&OF_RESTORE[..1]) || (name.starts_with("exchange.") && !is_of_restore && !comes)
            }
        }
    }
}

/// One kill.
#[derive(Clone, Debug)]
struct Case {
    verb: Verb,
    point: String,
    /// Who finishes: a daemon that starts, or a verb without one.
    daemon: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.point, self.verb)
    }
}

/// A root whose stores have data of now ("new"), a snapshot of earlier ones ("old"), and no program.
fn prepared() -> Bench {
    let bench = Bench::new();
    let store = bench.path("no-programs");
    // others have the default ports meanwhile, and a taken one keeps a daemon from starting
    let text = format!(
        "[artifacts]\nstore = \"{}\"\noffline = true\n[zookeeper]\nclient_port = 12182\n\
         [kafka.brokers.1]\ninternal_port = 12192\nexternal_port = 12193\n[mysql]\nport = 12306\n",
        store.display()
    );
    bench.root.configure_raw(&text);
    write(&bench, "old");
    ok(&bench, &["snapshot", "create", "first"]);
    write(&bench, "new");
    bench
}

fn write(bench: &Bench, text: &str) {
    for node in STORES {
        let dir = bench.path(&format!("nodes/{node}/data/sub"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), text).unwrap();
    }
    fs::create_dir_all(bench.path("state/secrets")).unwrap();
    for secret in SECRETS {
        fs::write(bench.path(&format!("state/secrets/{secret}")), text).unwrap();
    }
}

fn ok(bench: &Bench, arguments: &[&str]) -> String {
    let output = bench.run(arguments);
    assert_eq!(output.code, Some(0), "{arguments:?}\n{output}");
    output.stdout
}

fn read(bench: &Bench, below: &str) -> String {
    fs::read_to_string(bench.path(below)).unwrap_or_else(|_| "-".to_owned())
}

/// The data of each store, then the passwords.
fn seen(bench: &Bench) -> [String; 5] {
    let [a, b, c] = STORES.map(|node| read(bench, &format!("nodes/{node}/data/sub/file")));
    let [d, e] = SECRETS.map(|secret| read(bench, &format!("state/secrets/{secret}")));
    [a, b, c, d, e]
}

fn snapshots(bench: &Bench) -> Vec<String> {
    let listed = bench.run(&["snapshot", "list", "--json"]);
    assert!(listed.code == Some(0) && !listed.stderr.contains("unreadable"), "{listed}");
    assert!(!ok(bench, &["snapshot", "list"]).contains("unreadable"), "half a snapshot is taken for one");
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    listed["snapshots"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
}

fn names_in(bench: &Bench, below: &str) -> Vec<String> {
    let list = fs::read_dir(bench.path(below)).into_iter().flatten().flatten();
    list.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn killed_at(bench: &Bench, point: &str, arguments: &[&str]) {
    let _ = fs::remove_file(bench.pair.dir().join("failpoints.hit"));
    bench.arm(&format!("{point} kill"));
    let killed = bench.run(arguments);
    assert!(bench.hit() && killed.signal == Some(9), "{point} is never reached\n{killed}");
}

/// A daemon that starts none of the nodes, because their programs are not there, and answers.
fn daemon(bench: &Bench) -> Client {
    let run = bench.spawn(&["run", "--no-fetch"]);
    until(STATE_LIMIT, "a daemon answers", || match bench.node("mysql") {
        Some(_) => Ok(()),
        None => Err("none does".to_owned()),
    });
    run
}

fn is_ended(bench: &Bench, run: Client) {
    assert_eq!(bench.run(&["down"]).code, Some(0));
    drop(run.try_wait_for(STATE_LIMIT));
    bench.root.await_empty();
}

fn nothing_is_beside(bench: &Bench, case: &dyn fmt::Display) {
    for dir in STORES.map(|node| format!("nodes/{node}")).iter().map(String::as_str).chain(["snapshots", "state"]) {
        let names = names_in(bench, dir);
        let ours = |name: &&String| name.contains(".cdc-") || name.ends_with(".part");
        assert!(!names.iter().any(|name| ours(&name)), "{case}: left over in {dir}: {names:?}");
    }
    for node in STORES {
        let names = names_in(bench, &format!("nodes/{node}/data"));
        assert!(!names.iter().any(|name| name.starts_with(".cdc-")), "{case}: left over in {node}'s data: {names:?}");
    }
}

fn kill_at(case: &Case) {
    let bench = prepared();
    let before = ["new"; 5];
    let after = match case.verb {
        Verb::Create | Verb::Remove => before,
        Verb::Restore => ["old"; 5],
        Verb::Reset => ["-", "-", "new", "new", "new"],
    };
    killed_at(&bench, &case.point, case.verb.arguments());
    let exchange = bench.path("state/exchange.json");
    let (recorded, past) = (exchange.exists(), PAST.contains(&case.point.as_str()));
    assert!(recorded || seen(&bench) == if past { after } else { before }, "{case}: {:?}", seen(&bench));
    if recorded {
        let refused = bench.run(Verb::Remove.arguments());
        assert!(refused.code == Some(8) && refused.stderr.contains("half exchanged"), "{case}\n{refused}");
        // Who finishes may be killed as well.
        killed_at(&bench, "exchange.identity-forgotten", &["snapshot", "create", "none"]);
        assert!(exchange.exists(), "{case}: what was not finished is on record");
    }
    for name in snapshots(&bench) {
        assert!(ok(&bench, &["snapshot", "verify", &name]).starts_with("whole"), "{case}");
    }
    if case.daemon {
        is_ended(&bench, daemon(&bench));
        for dir in ["state", "state/secrets"] {
            let names = names_in(&bench, dir);
            assert!(!names.iter().any(|n| n.ends_with(".tmp") || n.ends_with(".bad")), "{case}: {dir}: {names:?}");
        }
    } else {
        ok(&bench, &["snapshot", "create", "third"]);
    }
    assert_eq!(seen(&bench), if recorded || past { after } else { before }, "{case}");
    assert!(!exchange.exists(), "{case}");
    nothing_is_beside(&bench, case);
    // And again, to its end.
    let again = bench.run(case.verb.arguments());
    let done = match case.verb {
        Verb::Create if case.point == "snapshot.named" => 8,
        Verb::Remove if case.point == "snapshot.removing" => 2,
        Verb::Create | Verb::Remove | Verb::Restore | Verb::Reset => 0,
    };
    assert_eq!(again.code, Some(done), "{case}\n{again}");
    assert_eq!(seen(&bench), after, "{case}");
    let names: BTreeSet<String> = snapshots(&bench).into_iter().filter(|name| name != "third").collect();
    let expected: &[&str] = match case.verb {
        Verb::Create => &["first", "second"],
        Verb::Remove => &[],
        Verb::Restore | Verb::Reset => &["first"],
    };
    assert!(names.iter().map(String::as_str).eq(expected.iter().copied()), "{case}: {names:?}");
    for name in names {
        assert!(ok(&bench, &["snapshot", "verify", &name]).starts_with("whole"), "{case}: {name}");
    }
    nothing_is_beside(&bench, case);
}

#[test]
fn data_are_of_one_moment_wherever_their_exchange_or_copy_dies() {
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let files: Vec<&str> = OF_SNAPSHOT.into_iter().chain(OF_RESTORE).collect();
    let mut points: BTreeSet<String> = all_points(&files);
    points.retain(|name| ["snapshot.", "exchange.", "stores.", "write."].iter().any(|of| name.starts_with(of)));
    // Each rename of each directory.
    assert!(points.remove("exchange.renamed"), "the point of the renames is gone");
    for node in STORES {
        points.extend(["", ".cdc-outgoing"].map(|end| format!("exchange.renamed@nodes/{node}/data{end}")));
    }
    let mut cases = Vec::new();
    for point in &points {
        let of = [Verb::Create, Verb::Remove, Verb::Restore, Verb::Reset].into_iter().filter(|v| v.goes_through(point));
        let before = cases.len();
        for verb in of {
            cases.push(Case { verb, point: point.clone(), daemon: cases.len() % 4 == 0 });
        }
        assert!(cases.len() > before, "no verb goes through {point}");
    }
    cases.retain(|case| case.point.contains(&only));
    assert!(cases.len() >= 40 || !only.is_empty(), "points are gone: {cases:?}");
    at_all(&cases, kill_at);
}

/// The stores are down already, so what the daemon was doing is all that is left to be undone.
#[test]
fn what_a_daemon_was_doing_with_the_data_is_finished_or_forgotten_by_the_next() {
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let kills = [
        (Verb::Create, "write.renamed@state/operation.json"),
        (Verb::Create, "operation.recorded"),
        (Verb::Create, "write.opened@state/operation.json"),
        (Verb::Create, "write.written@state/operation.json"),
        (Verb::Create, "snapshot.copied"),
        (Verb::Restore, "write.half@state/operation.json"),
        (Verb::Restore, "operation.stepped"),
        (Verb::Restore, "exchange.renamed@nodes/broker-1/data.cdc-outgoing"),
        (Verb::Restore, "operation.ending"),
        (Verb::Reset, "operation.stepped"),
        (Verb::Reset, "exchange.renamed@nodes/broker-1/data.cdc-outgoing"),
        (Verb::Reset, "exchange.old-removed"),
        (Verb::Reset, "operation.ending"),
    ];
    for point in all_points(&[]).iter().filter(|point| point.starts_with("operation.")) {
        assert!(point == "operation.undone" || kills.iter().any(|(_, p)| p == point), "{point} is never tried");
    }
    let bench = prepared();
    let new = ["new"; 5];
    for (verb, point) in kills {
        if !point.contains(&only) {
            continue;
        }
        let _ = fs::remove_dir_all(bench.path("snapshots/second"));
        write(&bench, "new");
        let run = daemon(&bench);
        ok(&bench, &["stop", "zookeeper", "broker-1", "mysql"]);
        let _ = fs::remove_file(bench.pair.dir().join("failpoints.hit"));
        bench.arm(&format!("{point} kill"));
        let failed = bench.run(verb.arguments());
        assert!(bench.hit() && failed.code != Some(0), "{point} is never reached\n{failed}");
        drop(run.try_wait_for(STATE_LIMIT));
        let left = bench.path("state/operation.json").exists();
        let is_written = !point.starts_with("write.") || point.starts_with("write.renamed");
        assert_eq!(left, is_written, "{point}");
        let done = point.starts_with("exchange.") || point == "operation.ending";
        let expected = match verb {
            Verb::Restore if done => ["old"; 5],
            Verb::Reset if done => ["-", "-", "new", "new", "new"],
            Verb::Create | Verb::Remove | Verb::Restore | Verb::Reset => new,
        };
        if left {
            // Whoever undoes it may be killed, too.
            killed_at(&bench, "operation.undone", &["run", "--no-fetch"]);
        }
        let run = daemon(&bench);
        bench.await_no_operation(point);
        assert_eq!(seen(&bench), expected, "{verb:?} {point}");
        let told = ok(&bench, &["events", "-n", "100"]).contains("was cut short with its daemon");
        assert!(told, "{point}: the next daemon tells of it");
        assert_eq!(snapshots(&bench), ["first"], "{point}");
        nothing_is_beside(&bench, &point);
        is_ended(&bench, run);
        eprintln!("killed at {point} of {verb:?}: whole again");
    }
}

/// A daemon, and a snapshot that it is held in: whoever is answered meanwhile is answered in the middle of it. Of the stores only MySQL is
/// wanted up when it begins; its program is not there, so it waits.
fn in_the_middle_of_a_snapshot(bench: &Bench) -> (Client, Client) {
    let run = daemon(bench);
    ok(bench, &["stop", "zookeeper", "broker-1"]);
    bench.arm("snapshot.begun delay=15000");
    let snapshot = bench.spawn(&["snapshot", "create", "second", "--stop"]);
    let at = bench.pair.dir().join("failpoints.at");
    until(STATE_LIMIT, "the snapshot begins", || if at.exists() { Ok(()) } else { Err("it does not".into()) });
    (run, snapshot)
}

/// The next daemon, when it has undone what was left.
fn undone(bench: &Bench) -> Client {
    let run = daemon(bench);
    bench.await_no_operation("what was left");
    run
}

/// A verb that is held there, for another one, until it is let go on.
fn held(bench: &Bench, point: &str, arguments: &[&str]) -> Client {
    let at = bench.pair.dir().join("failpoints.at");
    let _ = fs::remove_file(&at);
    bench.arm(&format!("{point} delay=100000"));
    let verb = bench.spawn(arguments);
    until(STATE_LIMIT, &format!("it is at {point}"), || if at.exists() { Ok(()) } else { Err("it is not".into()) });
    bench.disarm();
    verb
}

fn done(verb: Client) {
    let output = verb.try_wait_for(STATE_LIMIT).unwrap_or_else(|output| panic!("it does not end\n{output}"));
    assert_eq!(output.code, Some(0), "{output}");
}

#[test]
fn a_snapshot_is_restored_or_removed_and_who_comes_second_is_refused() {
    for with_a_daemon in [true, false] {
        let bench = prepared();
        let run = with_a_daemon.then(|| daemon(&bench));
        if with_a_daemon {
            ok(&bench, &["stop", "zookeeper", "broker-1", "mysql"]);
        }
        let restore = held(&bench, "exchange.cleared", Verb::Restore.arguments());
        let refused = bench.run(Verb::Remove.arguments());
        let since = if with_a_daemon { " since 20" } else { "" };
        let words = format!("the snapshot first is being restored{since}");
        assert!(refused.code == Some(8) && refused.stderr.contains(&words), "{refused}");
        bench.release();
        done(restore);
        assert_eq!(seen(&bench), ["old"; 5], "with a daemon: {with_a_daemon}");
        if let Some(run) = run {
            is_ended(&bench, run);
            continue;
        }
        write(&bench, "new");
        let removal = held(&bench, "snapshot.looked", Verb::Remove.arguments());
        let refused = bench.run(Verb::Restore.arguments());
        assert!(
            refused.code == Some(8) && refused.stderr.contains("restored, or removed, by somebody else"),
            "{refused}"
        );
        bench.release();
        done(removal);
        assert_eq!(seen(&bench), ["new"; 5]);
        assert!(snapshots(&bench).is_empty());
        nothing_is_beside(&bench, &"a removal");
    }
}

/// The data are beside those that they replace by then, and their passwords too.
#[test]
fn a_restore_that_has_begun_to_exchange_data_needs_its_snapshot_no_more() {
    let bench = prepared();
    killed_at(&bench, "exchange.renamed", Verb::Restore.arguments());
    let refused = bench.run(Verb::Remove.arguments());
    assert!(refused.code == Some(8) && refused.stderr.contains("half exchanged"), "{refused}");
    assert!(ok(&bench, &["snapshot", "verify", "first"]).starts_with("whole"));
    fs::remove_dir_all(bench.path("snapshots/first")).unwrap();
    is_ended(&bench, daemon(&bench));
    assert_eq!(seen(&bench), ["old"; 5], "what had begun is finished, with its passwords");
    nothing_is_beside(&bench, &"finished");
}

/// Nobody was told that it holds, so either is right, and it is by what is on record.
#[test]
fn a_stop_that_its_daemon_died_over_while_data_are_copied_holds_when_it_is_on_record() {
    for point in all_points(&["state/operation.json"]).iter().filter(|point| point.starts_with("write.")) {
        let bench = prepared();
        let (run, snapshot) = in_the_middle_of_a_snapshot(&bench);
        bench.arm(&format!("{point} kill"));
        let stop = bench.run(&["stop", "mysql", "--anyway"]);
        assert!(bench.hit() && stop.code != Some(0), "{point} is never reached\n{stop}");
        for client in [snapshot, run] {
            drop(client.try_wait_for(STATE_LIMIT));
        }
        let run = undone(&bench);
        let expected = if point.starts_with("write.renamed") { "down" } else { "up" };
        assert_eq!(bench.node("mysql").unwrap()["wanted"], expected, "{point}");
        assert_eq!(snapshots(&bench), ["first"], "{point}: half a snapshot is none");
        nothing_is_beside(&bench, point);
        is_ended(&bench, run);
    }
}

#[test]
fn what_somebody_stops_while_data_are_copied_stays_down_and_topics_wait() {
    for killed in [false, true] {
        let bench = prepared();
        let (run, snapshot) = in_the_middle_of_a_snapshot(&bench);
        bench.arm(if killed { "snapshot.synced kill" } else { "" });
        for arguments in [&["stop", "mysql"][..], &["topics", "apply"], &["topics", "remove", "x", "--confirm", "x"]] {
            let refused = bench.run(arguments);
            assert!(refused.code == Some(8) && refused.stderr.contains("snapshot second is under way"), "{refused}");
        }
        ok(&bench, &["stop", "mysql", "--anyway"]);
        let made = snapshot.try_wait_for(STATE_LIMIT).unwrap_or_else(|made| panic!("it does not end\n{made}"));
        let run = if killed {
            assert!(bench.hit() && made.code != Some(0), "{made}");
            drop(run.try_wait_for(STATE_LIMIT));
            undone(&bench)
        } else {
            let told = "left down, because somebody stopped them meanwhile: mysql";
            assert!(made.code == Some(0) && made.stdout.contains(told), "{made}");
            run
        };
        assert_eq!(bench.node("mysql").unwrap()["wanted"], "down", "killed: {killed}");
        is_ended(&bench, run);
    }
}

#[test]
fn nodes_that_were_stopped_for_a_snapshot_serve_again_wherever_their_daemon_dies() {
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip("nodes_that_were_stopped_for_a_snapshot", "CDC_TEST_STORE names no filled artifact store");
    };
    let port = free_port();
    let bench =
        Bench::with(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\nclient_port = {port}\n"));
    ok(&bench, &["up", "--detach"]);
    ok(&bench, &["snapshot", "create", "first", "--stop"]);
    for (arguments, point) in [
        (&["snapshot", "create", "second", "--stop"][..], "snapshot.copied"),
        (&["restore", "first", "--confirm", "first"], "exchange.renamed"),
        (&["restore", "first", "--confirm", "first"], "operation.ending"),
        (&["reset", "kafka", "--confirm", "kafka"], "exchange.renamed"),
        (&["reset", "kafka", "--confirm", "kafka"], "operation.ending"),
    ] {
        bench.arm(&format!("{point} kill"));
        drop(bench.run(arguments));
        assert!(bench.hit(), "{point} is never reached");
        fs::remove_file(bench.pair.dir().join("failpoints.hit")).unwrap();
        ok(&bench, &["up", "--detach"]);
        until(STATE_LIMIT, "it serves", || match bench.node("zookeeper") {
            Some(node) if node["state"] == "ready" => Ok(()),
            other => Err(format!("{point}: {other:?}")),
        });
        assert!(!bench.path("state/exchange.json").exists(), "{point}");
        assert_eq!(snapshots(&bench), ["first"], "{point}");
        assert!(!names_in(&bench, "snapshots").iter().any(|name| name.ends_with(".part")), "{point}");
        eprintln!("killed at {point}: ZooKeeper serves");
    }
    ok(&bench, &["down"]);
    bench.root.await_empty();
}
