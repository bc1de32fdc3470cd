//! A drill of the real stack while the clock is set, while its report is written, and while what it has made is somebody else's just now.

use crate::{
    bench::Bench,
    owed,
    support::{STATE_LIMIT, VERB_LIMIT, skip, until},
};
use cdc_supervisor::clients::{
    kafka::{Admin, Alter, alter_settings},
    mysql::{Mysql, Place},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Longer than a drill takes on a machine that is busy.
const DRILL: Duration = Duration::from_secs(420);

fn up(bench: &Bench) {
    let output = bench.run(&["up", "--detach", "--timeout", "170s"]);
    assert_eq!(output.code, Some(0), "{output}");
}

fn is_ready(bench: &Bench) {
    until(VERB_LIMIT, "every node is ready", || {
        let nodes = ["zookeeper", "broker-1", "broker-2", "broker-3"].map(|name| bench.node(name));
        let ready = nodes.iter().all(|node| node.as_ref().is_some_and(|n| n["state"] == "ready"));
        if ready { Ok(()) } else { Err(format!("{nodes:?}")) }
    });
}

#[test]
fn a_drill_says_the_same_when_the_clock_is_set_in_its_middle_and_its_report_is_whole_or_not_there() {
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip("a_drill_says_the_same_when_the_clock_is_set", "CDC_TEST_STORE names no filled artifact store");
    };
    let _turn = crate::real_ports();
    let bench = Bench::with(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\n"));
    up(&bench);
    let at = bench.pair.dir().join("failpoints.at");
    let day = 86_400_000i64;
    // Back by a day, and from there forward by two.
    for offset in [-day, day] {
        is_ready(&bench);
        let now = fs::read_to_string(bench.pair.dir().join("failpoints")).unwrap_or_default();
        let _ = fs::remove_file(&at);
        bench.arm(&format!("{now}\nfence.closing delay=1500"));
        let drill = bench.spawn(&["drill", "broker-kill", "--json"]);
        // The broker is dead, and its session is about to be closed.
        until(
            VERB_LIMIT,
            "the session is about to be closed",
            || if at.exists() { Ok(()) } else { Err(String::new()) },
        );
        bench.arm(&format!("clock offset={offset}"));
        let output = drill.try_wait_for(DRILL).unwrap_or_else(|output| panic!("{offset}: it does not end\n{output}"));
        assert_eq!(output.code, Some(0), "{offset}\n{output}");
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        let took = report["took_ms"].as_u64().expect("how long it took");
        assert!(took < 600_000, "{offset}: {report:#}");
        assert_eq!((&report["kafka"]["lost"], &report["verdict"]), (&0.into(), &"passed".into()), "{report:#}");
        let line = report["timeline"].as_object().unwrap();
        assert!(line["session_closed"].is_u64(), "{offset}: {report:#}");
        for (mark, ms) in line.iter().filter(|(_, ms)| !ms.is_null()) {
            assert!(ms.as_u64().is_some_and(|ms| ms <= took), "{offset}: {mark}: {report:#}");
        }
        let mark = |name: &str| line[name].as_u64().unwrap();
        // Held for a second and a half, before it was closed.
        assert!(mark("session_closed") >= 1_500 && mark("session_closed") <= mark("registered"), "{report:#}");
        let events = bench.run(&["events", "--json", "-n", "1000"]).stdout;
        let mut all = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let fenced = all.rfind(|e| e["kind"] == "fenced").expect("it was told");
        assert!(fenced["took_ms"].as_u64().is_some_and(|ms| (1_500..=took).contains(&ms)), "{offset}: {fenced}");
        eprintln!("the clock was set by {offset} ms: {}", report["timeline"]);
    }
    bench.disarm();
    let reports = || {
        let names = fs::read_dir(bench.path("state/drills")).into_iter().flatten().flatten();
        names.map(|e| e.file_name().into_string().unwrap()).filter(|n| n.ends_with(".json")).count()
    };
    for point in ["write.half", "write.renamed"] {
        is_ready(&bench);
        let before = reports();
        bench.killed(&format!("{point}@.broker-term.json"), || {
            drop(bench.spawn(&["drill", "broker-term"]).try_wait_for(DRILL));
        });
        up(&bench);
        bench.await_no_operation(point);
        let history = bench.run(&["drill", "history", "--json"]);
        assert!(history.code == Some(0) && history.stderr.is_empty(), "{point}: each is whole\n{history}");
        let listed: Value = serde_json::from_str(&history.stdout).unwrap();
        let now = usize::from(point == "write.renamed") + before;
        assert_eq!((reports(), listed["drills"].as_array().unwrap().len()), (now, now), "{point}");
        eprintln!("killed at {point} of a drill's report: every report is whole");
    }
    assert_eq!(bench.run(&["down"]).code, Some(0));
    bench.root.await_empty();
}

const CALL: Duration = Duration::from_secs(20);

/// A drill's word is that it has left topics and a table, and so it is until the last look at each.
#[test]
fn what_becomes_somebody_elses_right_before_it_is_removed_is_not_removed() {
    const NAME: &str = "what_becomes_somebody_elses_right_before_it_is_removed_is_not_removed";
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip(NAME, "CDC_TEST_STORE names no filled artifact store");
    };
    let _turn = crate::real_ports();
    let bench =
        Bench::with(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\n[mysql]\n"));
    up(&bench);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let brokers: Vec<SocketAddr> = [29092, 29093, 29094].map(|port| (Ipv4Addr::LOCALHOST, port).into()).to_vec();
    let admin = Admin::new(&brokers).unwrap();
    let [ours, theirs] = ["cdc-supervisor-drill-1", "cdc-supervisor-drill-3"];
    for topic in [ours, theirs] {
        runtime.block_on(admin.create_topic(topic, 3, 3, &[("retention.ms", "86399117")], CALL)).unwrap();
    }
    let password = fs::read_to_string(bench.path("state/secrets/mysql-root")).unwrap();
    let place = Place::Socket(bench.path("nodes/mysql/run/mysqld.sock"));
    let mut mysql = runtime.block_on(Mysql::connect(&place, "root", Some(password.trim_end()), CALL)).unwrap();
    let mut run = |statements: &[&str]| {
        let statements: Vec<String> = statements.iter().map(|s| (*s).to_owned()).collect();
        runtime.block_on(mysql.run(&statements)).unwrap();
    };
    let make = "CREATE TABLE cdc_supervisor.drill (a INT)";
    let marked = format!("{make} COMMENT = 'made by cdc-supervisor for a drill, and removed after it'");
    run(&["CREATE DATABASE IF NOT EXISTS cdc_supervisor", &marked]);

    let at = bench.pair.dir().join("failpoints.at");
    let is_at = |point: &str| {
        until(VERB_LIMIT, point, || match fs::read_to_string(&at).unwrap_or_default() {
            now if now == point => Ok(()),
            now => Err(now),
        });
    };
    bench.arm("drill.topics-listed delay=100000\ndrill.table-looked delay=100000");
    owed::plant(&bench, owed::FILE);
    is_at("drill.topics-listed");
    let kept = BTreeMap::from([("retention.ms".to_owned(), Alter::Set("86399118".into()))]);
    runtime.block_on(alter_settings(brokers[0], theirs, &kept, CALL)).unwrap();
    bench.release();
    is_at("drill.table-looked");
    run(&["DROP TABLE cdc_supervisor.drill", make, "INSERT INTO cdc_supervisor.drill VALUES (7)"]);
    bench.release();
    until(VERB_LIMIT, "it is over", || if bench.path(owed::FILE).exists() { Err(String::new()) } else { Ok(()) });
    bench.disarm();
    bench.await_event("left its table alone: it is somebody else's");
    bench.await_event(&format!("removed its topics, and left {theirs} alone: it is somebody else's"));
    let rows = runtime.block_on(mysql.count("cdc_supervisor", "drill")).unwrap();
    assert_eq!(rows, 1, "their row");
    until(STATE_LIMIT, "the drill's own topic is gone", || {
        let view = runtime.block_on(admin.describe(CALL)).map_err(|e| e.in_one_line())?;
        let there = |topic| view.topic(topic).is_some();
        if !there(ours) && there(theirs) { Ok(()) } else { Err(format!("{:?}", view.topics)) }
    });
    runtime.block_on(mysql.close());
    assert_eq!(bench.run(&["down"]).code, Some(0));
    bench.root.await_empty();
}
