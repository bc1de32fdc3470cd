//! A changed property that is read at a start only restarts ZooKeeper, or the brokers one at a time, while a producer writes: nothing it writes fails, and
//! no broker is taken before every replica is in sync again. And what mysqld says of its options, and its data of its version, counts before it is stopped.

use crate::{
    stack::{NODES, Stack},
    support::{Output, VERB_LIMIT, fake_mysql, node_of, pid_of, process, wait::stays},
};
use cdc_supervisor::clients::{
    kafka::{Admin, listener_metadata},
    zookeeper::Session,
};
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const ASK: Duration = Duration::from_secs(10);

/// What a look at the whole cluster saw: the brokers' pids, and whether every replica was in sync.
type Seen = (BTreeMap<String, i32>, bool);

/// A producer with acks=all whose first record that is not acknowledged fails the test.
struct Writing<'a> {
    stack: &'a Stack,
    name: &'static str,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<i32, String>>,
}

impl<'a> Writing<'a> {
    fn begin(stack: &'a Stack, admin: &Arc<Admin>, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (admin, stopped) = (Arc::clone(admin), Arc::clone(&stop));
        let task = stack.beside(async move {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let payload = format!("{name}-{written}");
                let partition = Some(written % 3);
                admin
                    .produce("test-phase1", partition, payload.as_bytes(), Duration::from_secs(20))
                    .await
                    .map_err(|e| format!("{payload}: {}", e.in_one_line()))?;
                written += 1;
                // how fast it writes
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(written)
        });
        Self { stack, name, stop, task }
    }

    /// What it has written beside what put this out: so many at least, or it was no load.
    fn end(self, least: i32, output: &Output) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.stack.call(self.task).unwrap();
        let written = written.unwrap_or_else(|failed| panic!("a write failed: {failed}\n{output}"));
        assert!(written >= least, "{written} records are no load");
        (0..written).map(|n| format!("{}-{n}", self.name)).collect()
    }
}

/// It is told for how long, against what brokers' sessions last; no broker is restarted.
fn zookeeper_is_away_and_no_write_fails(stack: &Stack, admin: &Arc<Admin>, body: &str) {
    let pids = stack.pids();
    stack.configure_raw(&format!("{body}\n[zookeeper.properties]\nmaxClientCnxns = 77\n"));
    let plan = stack.ok(&["plan"]);
    assert!(plan.stdout.contains("when every broker is ready and every replica in sync"), "{plan}");
    let writing = Writing::begin(stack, admin, "away");
    let output = stack.spawn(&["reload"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    // What is written to a cluster that has its ZooKeeper back.
    stack.await_whole(admin);
    let written = writing.end(10, &output);
    stack.assert_all_there(admin, &written);
    let changed: Vec<bool> = stack.pids().iter().zip(&pids).map(|(now, before)| now != before).collect();
    assert_eq!(changed, [true, false, false, false, false], "ZooKeeper alone");
    let told = output.stdout.lines().find(|line| line.contains("zookeeper was away for")).unwrap_or_default();
    assert!(told.contains("sessions last 12.0 s") || told.contains("longer than kafka.session_timeout"), "{output}");
    assert!(stack.events("reload-step").iter().any(|text| told.contains(text)), "{:?}", stack.events("reload-step"));
    let troubles = stack.events("trouble");
    let late = troubles.iter().any(|text| text.contains("longer than kafka.session_timeout"));
    assert_eq!(late, told.contains("longer than kafka.session_timeout"), "{told}\n{troubles:?}");
}

#[test]
fn a_property_restarts_zookeeper_or_the_brokers_one_at_a_time_and_no_write_fails() {
    let stack = Stack::begun();
    stack.up();
    let admin = Arc::new(stack.admin());
    stack.await_whole(&admin);
    let pids = stack.pids();
    let text = fs::read_to_string(stack.config()).unwrap();
    let body = text.split_once("\n\n").unwrap().1;
    zookeeper_is_away_and_no_write_fails(&stack, &admin, body);

    let writing = Writing::begin(&stack, &admin, "roll");
    // What every broker says of the replicas, many times a second.
    let (seen, stop): (Arc<Mutex<Vec<Seen>>>, Arc<AtomicBool>) = Default::default();
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

    // What ZooKeeper has by now stays.
    let body = format!("{body}\n[zookeeper.properties]\nmaxClientCnxns = 77\n");
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
    let written = writing.end(50, &output);
    stop.store(true, Ordering::Relaxed);
    stack.call(looking).unwrap();
    println!("{plan}\n{output}\n{} records while the brokers were restarted", written.len());

    let status = stack.status();
    for (name, before) in NODES.iter().zip(&pids) {
        let node = node_of(&status, name);
        assert_eq!(pid_of(&node) != *before, *name != "mysql", "{node}");
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
    stack.assert_all_there(&admin, &written);
    assert_eq!(stack.rows("orders"), 3);
    stack.assert_logs_know_nothing_fatal();
}

/// Session and transaction of each broker's registration.
fn registered(stack: &Stack) -> Vec<(i64, i64)> {
    stack.call(async {
        let mut session = Session::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 2181)), ASK).await.unwrap();
        let mut all = Vec::new();
        for broker in 1..=3 {
            let stat = session.exists(&format!("/brokers/ids/{broker}")).await.unwrap();
            all.extend(stat.map(|stat| (stat.ephemeral_owner, stat.czxid)));
        }
        session.close().await.unwrap();
        all
    })
}

/// ZooKeeper is held up (SIGSTOP) in its start, which a reload waits for.
#[test]
fn a_zookeeper_that_a_reload_has_away_for_longer_than_sessions_last_is_told_of_and_no_write_is_lost() {
    let stack = Stack::begun();
    let text = fs::read_to_string(stack.config()).unwrap();
    let body = text.split_once("\n\n").unwrap().1.replacen("[kafka]\n", "[kafka]\nsession_timeout = \"6s\"\n", 1);
    stack.configure_raw(&body);
    stack.up();
    let admin = Arc::new(stack.admin());
    stack.await_whole(&admin);
    let before = registered(&stack);
    assert_eq!(before.len(), 3);
    let pids = stack.pids();
    let writing = Writing::begin(&stack, &admin, "long-away");
    // A busy machine may come too late to one that starts: then once more, with another value.
    let attempt = |connections: u32| {
        let last = i64::from(stack.pids()[0]);
        stack.configure_raw(&format!("{body}\n[zookeeper.properties]\nmaxClientCnxns = {connections}\n"));
        let reload = stack.spawn(&["reload"]);
        let is_new = |node: &serde_json::Value| node["pid"].as_i64().is_some_and(|pid| pid != last);
        let held = pid_of(&stack.await_node("zookeeper", "it is started anew", is_new));
        process::kill(held, libc::SIGSTOP);
        let in_its_start = stack.node("zookeeper")["state"] != "ready";
        if in_its_start {
            // for longer than any session: what this is about
            stays(Duration::from_secs(9), "it is held up", || process::alive(held));
        }
        process::kill(held, libc::SIGCONT);
        let output = reload.wait(VERB_LIMIT);
        in_its_start.then_some(output)
    };
    let output = (77..82).find_map(attempt).expect("ZooKeeper held up in a start, in five");
    assert_eq!(output.code, Some(0), "{output}");
    stack.await_whole(&admin);
    let written = writing.end(10, &output);
    stack.assert_all_there(&admin, &written);
    let told = output.stdout.lines().find(|line| line.contains("zookeeper was away for")).unwrap_or_default();
    assert!(told.contains("longer than kafka.session_timeout (6.0 s)"), "{output}");
    let troubles = stack.events("trouble");
    assert!(troubles.iter().any(|text| told.contains(text)), "{troubles:?}");
    let after = registered(&stack);
    eprintln!("{output}\nregistered before {before:?} and after {after:?}");
    assert_eq!(after.len(), 3, "each is registered, whichever session that is: {after:?}");
    let changed: Vec<bool> = stack.pids().iter().zip(&pids).map(|(now, before)| now != before).collect();
    assert_eq!(changed, [true, false, false, false, false], "ZooKeeper alone was restarted");
}

/// The last part of a configuration: MySQL alone.
fn mysql_only(stack: &Stack, artifacts: &str, mysql: &str) {
    stack.configure_raw(&format!("[artifacts]\n{artifacts}\n[mysql]\n{mysql}\n"));
}

#[test]
fn mysqld_is_asked_before_it_is_stopped_and_an_older_one_may_not_have_its_data() {
    let stack = Stack::begun();
    stack.expect_log("reload:");
    let store = format!("store = \"{}\"\noffline = true", std::env::var("CDC_TEST_STORE").unwrap());
    let configure = |options: &str| mysql_only(&stack, &store, &format!("[mysql.options]\n{options}"));
    configure("");
    stack.up();
    let pid = stack.pid("mysql");
    for (slip, words) in [
        ("innodb_bufer_pool_size = \"128M\"", "unknown variable 'innodb_bufer_pool_size=128M'"),
        ("\"validate_password.policy\" = \"LOW\"\nmax_conections = 3", "unknown variable 'max_conections=3'"),
        ("binlog_row_metadata = \"ABC\"", "Error while setting value 'ABC' to 'binlog_row_metadata'"),
    ] {
        configure(slip);
        let output = stack.fails(3, &["reload"]);
        assert!(output.stderr.contains(words) && output.stderr.contains("nothing was changed"), "{words}\n{output}");
        println!("{output}");
    }
    let conf: Vec<_> = fs::read_dir(stack.path().join("nodes/mysql/conf")).unwrap().flatten().collect();
    assert_eq!(conf.len(), 1, "{conf:?}");
    assert_eq!((stack.pid("mysql"), &stack.node("mysql")["state"]), (pid, &"ready".into()));
    assert!(!stack.log("mysql").contains("unknown variable"), "the server that runs has heard nothing");

    configure("max_connections = 90");
    let mark = stack.path().join("nodes/mysql/data/cdc-supervisor.json");
    let kept = fs::read(&mark).unwrap();
    fs::write(&mark, r#"{"schema":1,"product":"MySQL","version":"99.1.0"}"#).unwrap();
    let plan = stack.run(&["plan"]);
    assert!(plan.to_string().contains("written by MySQL 99.1.0"), "{plan}");
    let output = stack.fails(8, &["reload"]);
    for words in ["written by MySQL 99.1.0 (its mark says)", "run MySQL 99.1.0 or newer again", "nothing was changed"] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    println!("{plan}\n{output}");
    assert_eq!(stack.pid("mysql"), pid);
    fs::write(&mark, kept).unwrap();
    let output = stack.ok(&["reload"]);
    assert!(output.stdout.contains("restarted mysql"), "{output}");
    assert_ne!(stack.pid("mysql"), pid);
    assert_eq!(stack.rows("orders"), 3);
}

#[test]
fn a_newer_mysqld_that_fails_is_undone_unless_it_has_written_to_the_data() {
    let stack = Stack::begun();
    for words in ["reload:", "mysql"] {
        stack.expect_log(words);
    }
    // A store of its own, which gets another release. The server there is taken for one of an earlier series, which no package has; what it
    // writes of its own version goes (8.0 writes none).
    let (from, store) = (std::env::var("CDC_TEST_STORE").unwrap(), stack.home().join("store"));
    fs::create_dir(&store).unwrap();
    let script = "cp -a --reflink=auto \"$1\"/mysql-* \"$2\"";
    let copied = std::process::Command::new("sh").args(["-c", script, "cp", &from]).arg(&store).status().unwrap();
    assert!(copied.success());
    let lock = fs::read_to_string(Path::new(&from).join("lock.toml")).unwrap();
    let (head, of_mysql) = lock.split_once("[mysql]\nversion = \"").unwrap();
    let (_, rest) = of_mysql.split_once('"').unwrap();
    fs::write(store.join("lock.toml"), format!("{head}[mysql]\nversion = \"8.4.11\"{rest}")).unwrap();
    let data = stack.path().join("nodes/mysql/data");
    // It writes it anew at each start.
    let forget = || fs::remove_file(data.join("mysql_upgrade_history")).unwrap();
    forget();
    fs::write(data.join("cdc-supervisor.json"), r#"{"schema":1,"product":"MySQL","version":"8.4.11"}"#).unwrap();
    let offered = fake_mysql::offer(stack.home(), &["9.7.2"], &data);
    let artifacts = format!("store = \"{}\"\nsources = [\"file\"]\n{offered}", store.display());
    let configure = |version: &str| mysql_only(&stack, &artifacts, &format!("version = \"{version}\""));
    configure("8.4.11");
    stack.up();
    forget();
    let mark = || fs::read_to_string(data.join("cdc-supervisor.json")).unwrap();

    configure("9.7.2");
    let output = stack.fails(6, &["reload"]);
    println!("{output}");
    for words in [
        "only a snapshot that was made before leads back",
        "mysql did not come up with its new settings",
        "with their old settings again: mysql",
        "nothing has changed; mend the file and reload again",
    ] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    assert_eq!(stack.node("mysql")["state"], "ready", "{output}");
    assert_eq!(stack.rows("orders"), 3);
    let back: serde_json::Value = serde_json::from_str(&mark()).unwrap();
    assert_eq!((&back["version"], &back["before"]), (&"8.4.11".into(), &serde_json::Value::Null), "{back}");

    forget();
    fs::write(stack.home().join("writes"), "").unwrap();
    let output = stack.fails(6, &["reload"]);
    println!("{output}");
    for words in [
        "mysql is left down, for its old program may not have its data any more",
        "written by MySQL 9.7.2 (its mark says), and this is MySQL 8.4.11",
        "or, to go back: run MySQL 9.7.2 or newer again, or restore its data from a snapshot",
    ] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    let node = stack.await_state("mysql", "failed");
    assert_eq!(node["failure"]["cause"], "newer-data", "{node}");
    assert!(node["failure"]["remedy"].as_str().unwrap().contains("snapshot"), "{node}");
    assert!(mark().contains("9.7.2"), "{}", mark());
    stack.down();
}

/// The brokers that run, as their state files tell.
fn broker_pids(root: &Path) -> BTreeMap<String, i32> {
    let of = |name: &str| {
        let text = fs::read_to_string(root.join(format!("state/nodes/{name}.json"))).ok()?;
        let state: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some((name.to_owned(), i32::try_from(state["process"]["pid"].as_i64()?).ok()?))
    };
    ["broker-1", "broker-2", "broker-3"].iter().filter_map(|name| of(name)).collect()
}
