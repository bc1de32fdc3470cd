//! kill -9 of the daemon between any two steps of a live change: the broker runs on, and a second reload ends what was begun.

use crate::{
    bench::Bench,
    support::{STATE_LIMIT, pid_of, process, skip, until},
};
use cdc_supervisor::clients::kafka::broker_settings;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// The daemon has died at the armed point, and dies nowhere else.
fn killed(bench: &Bench, point: &str) {
    until(STATE_LIMIT, point, || if bench.hit() { Ok(()) } else { Err("not reached".to_owned()) });
    bench.disarm();
    fs::remove_file(bench.pair.dir().join("failpoints.hit")).unwrap();
}

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
        bench.arm(&format!("{point} kill"));
        drop(bench.run(&["reload"]));
        killed(&bench, point);
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
    // What was put into force of a topic is on record, or is found out again.
    for point in ["write.half", "write.renamed"] {
        let topic = format!("[[kafka.topic]]\nname = \"{point}\"\npartitions = 2\n");
        bench.root.configure_raw(&format!("{}{topic}", configured(7)));
        bench.arm(&format!("{point}@state/topics.json kill"));
        drop(bench.run(&["reload"]));
        killed(&bench, point);
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
    let record = bench.path("state/dynamic-broker-1.json");
    assert!(record.exists());
    bench.arm("dynamic.taken-back kill");
    process::kill(pid, 9);
    killed(&bench, "dynamic.taken-back");
    let back = bench.run(&["up", "--detach"]);
    assert_eq!(back.code, Some(0), "{back}");
    let setting = told();
    assert_eq!((setting.value.as_deref(), setting.dynamic), (Some("7"), None));
    assert!(!record.exists());
    // A topic that Kafka has deleted goes from the record too.
    bench.root.configure_raw(&configured(7));
    assert_eq!(bench.run(&["reload"]).code, Some(0));
    bench.arm("topics.removed kill");
    drop(bench.run(&["topics", "remove", "write.half", "--confirm", "write.half"]));
    killed(&bench, "topics.removed");
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
