//! kill -9 of the daemon between any two steps of a live change: the broker runs on, and a second reload ends what was begun.

use crate::{
    bench::Bench,
    points::all_points,
    support::{STATE_LIMIT, pid_of, process, skip, until},
};
use cdc_supervisor::clients::kafka::broker_settings;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// What is set of the broker while it runs.
const RECORD: &str = "state/dynamic-broker-1.json";

#[test]
fn a_live_change_is_whole_after_the_next_reload_wherever_its_daemon_dies() {
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip("a_live_change_is_whole", "CDC_TEST_STORE names no filled artifact store");
    };
    let _turn = crate::real_ports();
    let configured = |threads: u32| {
        format!(
            "[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka.brokers.1.properties]\nnum.io.threads = {threads}\n"
        )
    };
    let bench = Bench::with(&configured(4));
    let output = bench.run(&["up", "--detach"]);
    assert_eq!(output.code, Some(0), "{output}");
    let pid = pid_of(&bench.node("broker-1").expect("a daemon that answers"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 29092));
        let asked = broker_settings(address, 1, Some(vec!["num.io.threads"]), Duration::from_secs(10));
        runtime.block_on(asked).unwrap()["num.io.threads"].clone()
    };
    let in_force = || told().value.unwrap();
    for (threads, point) in (5..).zip(["dynamic.intended", "dynamic.set", "dynamic.given"]) {
        bench.root.configure_raw(&configured(threads));
        bench.killed(point, || drop(bench.run(&["reload"])));
        // It may refuse to go on with a reload half done, and says to reload.
        let back = bench.run(&["up", "--detach"]);
        assert!(matches!(back.code, Some(0 | 8)), "{point}\n{back}");
        let again = bench.run(&["reload"]);
        assert_eq!(again.code, Some(0), "{point}\n{again}");
        assert_eq!(in_force(), threads.to_string(), "{point}\n{back}\n{again}");
        let same = bench.run(&["reload"]);
        assert!(same.code == Some(0) && same.stdout.contains("nothing differs"), "{point}\n{same}");
        let node = bench.node("broker-1").expect("a daemon that answers");
        assert_eq!((pid_of(&node), &node["restarts"]), (pid, &0.into()), "{point}: {node}");
    }
    // Each write of the record: before the broker is told (`intended`), and, held behind `given`, when all is done.
    let mut threads = 8;
    for held in [None, Some("dynamic.given")] {
        for point in all_points(&[RECORD]).iter().filter(|point| point.starts_with("write.")) {
            bench.root.configure_raw(&configured(threads));
            let reload = match held {
                None => {
                    bench.arm(&format!("{point} kill"));
                    bench.spawn(&["reload"])
                }
                Some(held) => {
                    let at = bench.pair.dir().join("failpoints.at");
                    let _ = fs::remove_file(&at);
                    bench.arm(&format!("{held} delay=2000"));
                    let reload = bench.spawn(&["reload"]);
                    until(STATE_LIMIT, held, || if at.exists() { Ok(()) } else { Err("not reached".to_owned()) });
                    bench.arm(&format!("{point} kill"));
                    reload
                }
            };
            bench.has_died(point);
            drop(reload.try_wait_for(STATE_LIMIT));
            let back = bench.run(&["up", "--detach"]);
            assert!(matches!(back.code, Some(0 | 8)), "{point}\n{back}");
            assert_eq!(bench.run(&["reload"]).code, Some(0), "{point}");
            assert_eq!(in_force(), threads.to_string(), "{point}");
            let text = fs::read_to_string(bench.path(RECORD)).unwrap();
            let record: serde_json::Value = serde_json::from_str(&text).unwrap();
            let values = &record["set"]["num.io.threads"];
            assert_eq!(*values, serde_json::json!([threads.to_string()]), "{point}: {record}");
            assert_eq!(bench.torn(), Vec::<String>::new(), "{point}");
            let node = bench.node("broker-1").expect("a daemon that answers");
            assert_eq!((pid_of(&node), &node["restarts"]), (pid, &0.into()), "{point}: {node}");
            eprintln!("killed at {point}, held at {held:?}: in force, and on record");
            // two values, in turns: Kafka doubles or halves a pool of threads at a time at the most
            threads = if threads == 8 { 7 } else { 8 };
        }
    }
    // What was put into force of a topic is on record, or is found out again.
    for point in ["write.opened", "write.half", "write.written", "write.renamed"] {
        let topic = format!("[[kafka.topic]]\nname = \"{point}\"\npartitions = 2\n");
        bench.root.configure_raw(&format!("{}{topic}", configured(7)));
        bench.killed(&format!("{point}@state/topics.json"), || drop(bench.run(&["reload"])));
        let back = bench.run(&["up", "--detach"]);
        assert!(matches!(back.code, Some(0 | 8)), "{point}\n{back}");
        assert_eq!(bench.run(&["reload"]).code, Some(0), "{point}");
        until(STATE_LIMIT, "the topic is as the file says, and on record", || {
            let text = fs::read_to_string(bench.path("state/topics.json")).unwrap_or_default();
            let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let output = bench.run(&["topics"]);
            match output.code == Some(0) && record["topics"][point].is_object() {
                true => Ok(()),
                false => Err(format!("{record}\n{output}")),
            }
        });
        let node = bench.node("broker-1").expect("a daemon that answers");
        assert_eq!((pid_of(&node), &node["restarts"]), (pid, &0.into()), "{point}: {node}");
        eprintln!("killed at {point} of the topics' record: the topic is there");
    }
    // Its next start takes out of ZooKeeper what was set live, and the record goes behind that.
    let record = bench.path(RECORD);
    assert!(record.exists());
    bench.killed("dynamic.taken-back", || process::kill(pid, 9));
    let back = bench.run(&["up", "--detach"]);
    assert_eq!(back.code, Some(0), "{back}");
    let setting = told();
    assert_eq!((setting.value.as_deref(), setting.dynamic), (Some("7"), None));
    assert!(!record.exists());
    // A topic that Kafka has deleted goes from the record too.
    bench.root.configure_raw(&configured(7));
    assert_eq!(bench.run(&["reload"]).code, Some(0));
    bench.killed("topics.removed", || {
        drop(bench.run(&["topics", "remove", "write.half", "--confirm", "write.half"]));
    });
    let back = bench.run(&["up", "--detach"]);
    assert_eq!(back.code, Some(0), "{back}");
    until(STATE_LIMIT, "the topic is gone, and from the record", || {
        let text = fs::read_to_string(bench.path("state/topics.json")).unwrap_or_default();
        let output = bench.run(&["topics"]);
        match output.code == Some(0) && !output.stdout.contains("write.half") && !text.contains("write.half") {
            true => Ok(()),
            false => Err(format!("{text}\n{output}")),
        }
    });
    assert_eq!(bench.run(&["down"]).code, Some(0));
    bench.root.await_empty();
}
