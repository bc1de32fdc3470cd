//! A changed property that Kafka reads at its start only rolls the brokers one at a time, while a producer writes: nothing it writes fails, and no broker is
//! taken before every replica is in sync again.

use crate::{
    stack::{NODES, Stack},
    support::{VERB_LIMIT, node_of, pid_of},
};
use cdc_supervisor::clients::kafka::listener_metadata;
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What a look at the whole cluster saw: the brokers' pids, and whether every replica was in sync.
type Seen = (BTreeMap<String, i32>, bool);

#[test]
fn a_property_rolls_the_brokers_one_at_a_time_and_no_write_fails() {
    let stack = Stack::begun();
    stack.up();
    let admin = Arc::new(stack.admin());
    stack.await_whole(&admin);
    let pids = stack.pids();
    let text = fs::read_to_string(stack.config()).unwrap();
    let body = text.split_once("\n\n").unwrap().1;

    // A producer with acks=all that fails the test at the first record that is not acknowledged.
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (admin, stop) = (Arc::clone(&admin), Arc::clone(&stop));
        stack.beside(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                let payload = format!("roll-{written}");
                let partition = Some(written % 3);
                admin
                    .produce("test-phase1", partition, payload.as_bytes(), Duration::from_secs(20))
                    .await
                    .map_err(|e| format!("{payload}: {}", e.in_one_line()))?;
                written += 1;
                // how fast it writes
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok::<i32, String>(written)
        })
    };
    // What every broker says of the replicas, many times a second.
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let looking = {
        let (seen, stop, root) = (Arc::clone(&seen), Arc::clone(&stop), stack.path().to_owned());
        stack.beside(async move {
            while !stop.load(Ordering::Relaxed) {
                let before = broker_pids(&root);
                let mut whole = true;
                for port in [29092, 29093, 29094] {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    let view = listener_metadata(address, Duration::from_secs(2)).await;
                    whole &= view.is_ok_and(|v| v.broker_ids() == [1, 2, 3] && v.troubles().is_empty());
                }
                if broker_pids(&root) == before {
                    seen.lock().unwrap().push((before, whole));
                }
                // how often it looks
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };

    stack.configure_raw(&format!("{body}\n[kafka.properties]\nreplica.fetch.backoff.ms = 300\n"));
    let plan = stack.ok(&["plan"]);
    for words in [
        "-replica.fetch.backoff.ms=50",
        "+replica.fetch.backoff.ms=300",
        "when every replica of every partition is in sync",
    ] {
        assert!(plan.stdout.contains(words), "{words}\n{plan}");
    }
    let output = stack.spawn(&["reload"]).wait(VERB_LIMIT * 3);
    assert_eq!(output.code, Some(0), "{output}");
    stop.store(true, Ordering::Relaxed);
    let written = stack.call(writing).unwrap().unwrap_or_else(|failed| panic!("a write failed: {failed}\n{output}"));
    stack.call(looking).unwrap();
    println!("{plan}\n{output}\n{written} records while the brokers were restarted");

    let status = stack.status();
    for (name, before) in NODES.iter().zip(&pids) {
        let node = node_of(&status, name);
        assert_eq!(pid_of(&node) != *before, name.starts_with("broker-"), "{node}");
        assert_eq!(node["restarts"], 0, "{node}");
    }
    // Between two changes of the set of brokers there was a look at which everything was in sync.
    let seen = seen.lock().unwrap();
    let mut sets: Vec<(BTreeMap<String, i32>, bool)> = Vec::new();
    for (pids, whole) in seen.iter().filter(|(pids, _)| pids.len() == 3) {
        match sets.last_mut() {
            Some((last, ever)) if last == pids => *ever |= *whole,
            Some(_) | None => sets.push((pids.clone(), *whole)),
        }
    }
    assert_eq!(sets.len(), 4, "three restarts, one after the other: {sets:?}");
    assert!(sets.iter().all(|(_, whole)| *whole), "a broker was taken while replicas were missing: {sets:?}");
    for pair in sets.windows(2) {
        let changed = pair[0].0.iter().filter(|(name, pid)| pair[1].0.get(*name) != Some(pid)).count();
        assert_eq!(changed, 1, "one at a time: {pair:?}");
    }
    assert!(written > 50, "{written} records are no load");
    let wanted: Vec<String> = (0..written).map(|n| format!("roll-{n}")).collect();
    stack.assert_all_there(&admin, &wanted);
    assert_eq!(stack.rows("orders"), 3);
    stack.assert_logs_know_nothing_fatal();
}

/// The brokers that run, as their state files tell.
fn broker_pids(root: &std::path::Path) -> BTreeMap<String, i32> {
    let of = |name: &str| {
        let text = fs::read_to_string(root.join(format!("state/nodes/{name}.json"))).ok()?;
        let state: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some((name.to_owned(), i32::try_from(state["process"]["pid"].as_i64()?).ok()?))
    };
    ["broker-1", "broker-2", "broker-3"].iter().filter_map(|name| of(name)).collect()
}
