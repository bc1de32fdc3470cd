//! A ZooKeeper of the right cluster whose data were brought back from an earlier copy: one that has forgotten topics of which the brokers
//! hold partitions, and one that knows them all. No broker starts beside it, and the ways out that are told lead out.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, node_of, until},
};
use cdc_supervisor::clients::kafka::Admin;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const CALL: Duration = Duration::from_secs(20);
const BROKERS: [&str; 3] = ["broker-1", "broker-2", "broker-3"];
const LATER: &str = "later";

fn data(stack: &Stack, node: &str) -> PathBuf {
    stack.path().join("nodes").join(node).join("data")
}

/// Puts a copy of a directory in the place of another.
fn bring(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "cp from {} to {}", from.display(), to.display());
}

/// The logs of partitions in all brokers' directories whose names begin like this, with what is in them.
fn logs(stack: &Stack, topic: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for broker in BROKERS {
        for dir in fs::read_dir(data(stack, broker)).unwrap().flatten() {
            if !dir.file_name().to_string_lossy().starts_with(topic) || !dir.path().is_dir() {
                continue;
            }
            let files = fs::read_dir(dir.path()).unwrap().flatten().map(|file| file.path());
            let logs = files.filter(|file| file.extension().is_some_and(|e| e == "log"));
            found.extend(logs.map(|file| (file.clone(), fs::read(&file).unwrap())));
        }
    }
    found
}

fn payloads(stack: &Stack, admin: &Admin, topic: &str) -> Vec<String> {
    let from = [(0, 0), (1, 0), (2, 0)];
    let records = stack.call(admin.consume_from(topic, &from, 1_000, Duration::from_secs(3))).unwrap();
    let mut all: Vec<String> = records.iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()).collect();
    all.sort_unstable();
    all
}

fn incarnations(stack: &Stack) -> [u64; 3] {
    let status = stack.status();
    BROKERS.map(|name| node_of(&status, name)["incarnation"].as_u64().unwrap())
}

/// What nobody of the product does: takes every topic out of a ZooKeeper that runs alone.
fn forget_all_topics(stack: &Stack) {
    let java = fs::read_link(format!("/proc/{}/exe", stack.pid("zookeeper"))).unwrap();
    let store = std::env::var("CDC_TEST_STORE").unwrap();
    let kafka = fs::read_dir(&store).unwrap().flatten().map(|e| e.path());
    let libraries: Vec<String> = kafka
        .map(|dir| dir.join("libs"))
        .filter(|libs| libs.is_dir())
        .map(|libs| format!("{}/*", libs.display()))
        .collect();
    let mut client = Command::new(java);
    client.args(["-cp", &libraries.join(":"), "org.apache.zookeeper.ZooKeeperMain", "-server", "127.0.0.1:2181"]);
    let done = client.args(["deleteall", "/brokers/topics"]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn topics_that_zookeeper_has_forgotten_stay_on_disk_and_the_told_ways_out_lead_out() {
    let stack = Stack::begun();
    for node in BROKERS {
        stack.expect_log(&format!("node={node}"));
    }
    let zookeeper = data(&stack, "zookeeper");
    let (earlier, kept) = (stack.home().join("zookeeper-earlier"), stack.home().join("zookeeper-kept"));
    bring(&zookeeper, &earlier);
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    stack.call(admin.create_topic(LATER, 3, 3, &[], CALL)).unwrap();
    stack.await_cluster(&admin, "every replica of the new topic is in sync", |v| {
        v.topic(LATER).is_some() && v.troubles().is_empty()
    });
    let wanted: Vec<String> = (0..30).map(|n| format!("kept {n:02}")).collect();
    for (n, text) in wanted.iter().enumerate() {
        let partition = i32::try_from(n % 3).unwrap();
        stack.call(admin.produce(LATER, Some(partition), text.as_bytes(), CALL)).unwrap();
        stack.produce(&admin, partition, text);
    }
    let before = incarnations(&stack);
    stack.down();
    bring(&zookeeper, &kept);
    let on_disk = logs(&stack, "later-");
    assert!(on_disk.len() == 9 && on_disk.values().all(|log| !log.is_empty()), "{:?}", on_disk.keys());

    // It knows some topics and not this one: no broker starts, whose logs have sequence numbers of producer ids that it would give out again.
    let all = logs(&stack, "");
    bring(&earlier, &zookeeper);
    let up = stack.fails(8, &["up", "--detach"]);
    let refused = stack.await_state("broker-2", "failed");
    for part in ["brought back from an earlier copy", "restore ZooKeeper's data", "records that they do not keep"] {
        assert!(refused["failure"].to_string().contains(part), "{part}: {refused}\n{up}");
    }
    stack.down();

    // It knows none: no broker starts, whoever asks for it, and nothing is touched.
    let alone = stack.ok(&["up", "--detach", "--only", "zookeeper"]);
    assert!(
        alone.to_string().contains("not made: not to be started were broker-1, broker-2, broker-3, mysql"),
        "{alone}"
    );
    forget_all_topics(&stack);
    let start = stack.fails(8, &["start", "broker-2"]);
    for part in ["no topic of it", "holds partitions of", zookeeper.to_str().unwrap(), "restore ZooKeeper's data"] {
        assert!(start.stderr.contains(part), "{part}: {start}");
    }
    stack.down();
    let up = stack.fails(8, &["up", "--detach"]);
    for name in BROKERS {
        let node = stack.await_state(name, "failed");
        assert_eq!(node["failure"]["cause"], "wrong-identity", "{node}\n{up}");
    }
    assert_eq!(incarnations(&stack), before, "none was started");
    stack.await_state("mysql", "ready");
    stack.down();
    assert!(logs(&stack, "") == all, "no log of any partition is another");

    // The first way out: its own data.
    bring(&kept, &zookeeper);
    stack.up();
    stack.await_whole(&admin);
    stack.assert_all_there(&admin, &wanted);
    until(STATE_LIMIT, "every record of the topic is there", || match payloads(&stack, &admin, LATER) {
        there if there == wanted => Ok(()),
        there => Err(format!("{there:?}")),
    });

    // The second: nothing is wanted back.
    stack.down();
    let record = stack.path().join("state/identity.json");
    for dir in [zookeeper].into_iter().chain(BROKERS.map(|name| data(&stack, name))) {
        for entry in fs::read_dir(&dir).unwrap().flatten().map(|e| e.path()) {
            if entry.is_dir() { fs::remove_dir_all(entry).unwrap() } else { fs::remove_file(entry).unwrap() }
        }
    }
    fs::remove_file(&record).unwrap();
    stack.up();
    let view = stack.await_whole(&admin);
    assert!(view.topic(LATER).is_none() && record.exists());
}

#[test]
fn an_earlier_state_of_zookeeper_with_the_same_topics_is_refused_and_the_told_ways_out_lead_out() {
    let stack = Stack::begun();
    for node in BROKERS {
        stack.expect_log(&format!("node={node}"));
    }
    let record = stack.path().join("state/identity.json");
    let copies = |moment: &str, nodes: &[&str], back: bool| {
        for node in nodes {
            let (place, copy) = (data(&stack, node), stack.home().join(format!("{node}-{moment}")));
            if back { bring(&copy, &place) } else { bring(&place, &copy) }
        }
    };
    let admin = stack.admin();
    let written = |moment: &str| {
        stack.up();
        stack.await_whole(&admin);
        let wanted: Vec<String> = (0..9).map(|n| format!("{moment} {n}")).collect();
        for (n, text) in wanted.iter().enumerate() {
            stack.produce(&admin, i32::try_from(n % 3).unwrap(), text);
        }
        stack.assert_all_there(&admin, &wanted);
        wanted
    };
    // Last week's backup, of a cluster at rest, and what was written since.
    let early = written("early");
    stack.down();
    copies("earlier", &["zookeeper", "broker-1", "broker-2", "broker-3"], false);
    let late = written("late");
    let before = incarnations(&stack);
    stack.down();
    copies("kept", &["zookeeper"], false);
    let all = logs(&stack, "");
    let is_refused = || {
        let up = stack.fails(8, &["up", "--detach"]);
        for name in BROKERS {
            let node = stack.await_state(name, "failed");
            assert_eq!(node["failure"]["cause"], "wrong-identity", "{node}\n{up}");
            let told = node["failure"].to_string();
            for part in
                ["knows an earlier state of cluster", "controller epoch", "has seen", "restore ZooKeeper's data"]
            {
                assert!(told.contains(part), "{part}: {node}\n{up}");
            }
            assert!(
                told.contains(&format!("of that earlier moment, too, remove {} and start", record.display())),
                "{told}"
            );
        }
        assert_eq!(incarnations(&stack), before, "none was started");
        stack.down();
    };

    copies("earlier", &["zookeeper"], true);
    is_refused();
    assert!(logs(&stack, "") == all, "no log of any partition is another");

    // The first way out: its own data.
    copies("kept", &["zookeeper"], true);
    stack.up();
    stack.await_whole(&admin);
    stack.assert_all_there(&admin, &[early.clone(), late].concat());
    let before = incarnations(&stack);
    stack.down();

    // The second: all of it is of that moment.
    copies("earlier", &["zookeeper", "broker-1", "broker-2", "broker-3"], true);
    let up = stack.fails(8, &["up", "--detach"]);
    stack.await_state("broker-1", "failed");
    assert_eq!(incarnations(&stack), before, "{up}");
    stack.down();
    fs::remove_file(&record).unwrap();
    stack.up();
    stack.await_whole(&admin);
    stack.assert_all_there(&admin, &early);
    assert!(fs::read_to_string(&record).unwrap().contains("controller_epoch"), "and that is remembered");
}
