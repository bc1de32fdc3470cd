//! Stops through shims that are threads of the test.

use super::*;
use crate::{
    base::{Incarnation, Timestamp, ids::ProcessId},
    shim::wire::{Decoder, FRAME_MAX, Notified, ShimState},
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixListener,
    sync::{Arc, Mutex},
};

type Seen = Arc<Mutex<Vec<(NodeName, Request)>>>;

fn state(node: &NodeName) -> ShimState {
    ShimState {
        node: node.clone(),
        incarnation: Incarnation(3),
        shim_pid: 1,
        process: ProcessId { pid: 2, start_ticks: 0, boot_id: String::new() },
        started_at: Timestamp(0),
        stopping: false,
        notified: Notified::default(),
    }
}

fn record() -> ExitRecord {
    ExitRecord {
        incarnation: Incarnation(3),
        pid: 2,
        status: ExitStatus::Code(143),
        started_at: Timestamp(0),
        ended_at: Timestamp(1),
        cpu_ms: 0,
        peak_rss_bytes: 0,
        cgroup_peak_bytes: None,
        oom_kills: None,
        oom_by: None,
        cgroup_cap_bytes: None,
        signals_sent: vec![15],
    }
}

/// A shim that answers `State` and goes away after a stop, noting what it was asked.
fn shim(layout: &Layout, node: &NodeName, seen: &Seen) {
    fs::create_dir_all(layout.node_run(node)).unwrap();
    let socket = layout.shim_socket(node, Incarnation(3));
    let listener = UnixListener::bind(&socket).unwrap();
    let (node, seen) = (node.clone(), Arc::clone(seen));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut decoder = Decoder::new(FRAME_MAX);
            let mut block = [0; 512];
            while let Ok(n @ 1..) = stream.read(&mut block) {
                decoder.push(&block[..n]);
                while let Some(frame) = decoder.next().unwrap() {
                    let request = Request::decode(&frame).unwrap();
                    let report = match request {
                        Request::State | Request::Subscribe => Report::State(state(&node)),
                        Request::Stop { .. } | Request::KillTree | Request::Signal(_) => Report::Gone(record()),
                    };
                    if matches!(report, Report::Gone(_)) {
                        seen.lock().unwrap().push((node.clone(), request));
                        fs::remove_file(&socket).unwrap();
                    }
                    // the asker may have hung up after it had what it wanted
                    let _ = stream.write_all(&report.encode());
                    if matches!(report, Report::Gone(_)) {
                        return;
                    }
                }
            }
        }
    });
}

fn root() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::Builder::new().prefix("cdc").rand_bytes(5).tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::create_dir_all(layout.run()).unwrap();
    (dir, layout)
}

fn names(list: &[&str]) -> Vec<NodeName> {
    list.iter().map(|n| NodeName::new(*n).unwrap()).collect()
}

#[test]
fn brokers_go_before_zookeeper_and_everything_goes() {
    let (_dir, layout) = root();
    let seen = Seen::default();
    for node in names(&["zookeeper", "mysql", "broker-1", "broker-2"]) {
        shim(&layout, &node, &seen);
    }
    fs::create_dir_all(layout.state()).unwrap();
    fs::write(layout.session(), "{}").unwrap();
    let told = Mutex::new(0);
    let done = down(&layout, false, &|_| *told.lock().unwrap() += 1).unwrap();
    assert_eq!((done.len(), *told.lock().unwrap()), (4, 4));
    assert!(done[0].text.starts_with("stopped (exit 143) after "), "{done:?}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.last().unwrap().0, NodeName::zookeeper());
    assert!(seen.iter().all(|(_, r)| *r == Request::Stop { signal: SIGTERM, grace_ms: 60_000 }), "{seen:?}");
    assert!(!layout.session().exists(), "the session has ended in order");
    assert!(down(&layout, false, &|_| ()).unwrap().is_empty(), "nothing runs any more");
}

#[test]
fn the_plan_that_was_applied_gives_grace_signal_and_order() {
    let (_dir, layout) = root();
    fs::create_dir_all(layout.state()).unwrap();
    let text = "[command.a]\nargv = [\"/bin/true\"]\ngrace = \"7s\"\nstop_signal = \"SIGINT\"\n\
                [command.b]\nargv = [\"/bin/true\"]\nafter = [\"a\"]\n";
    fs::write(layout.plan(), text).unwrap();
    let seen = Seen::default();
    for node in names(&["a", "b"]) {
        shim(&layout, &node, &seen);
    }
    down(&layout, false, &|_| ()).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(seen[1].1, Request::Stop { signal: 2, grace_ms: 7_000 });
}

#[test]
fn now_kills_the_trees() {
    let (_dir, layout) = root();
    let seen = Seen::default();
    shim(&layout, &NodeName::mysql(), &seen);
    down(&layout, true, &|_| ()).unwrap();
    assert_eq!(seen.lock().unwrap()[0].1, Request::KillTree);
}

#[test]
fn a_root_that_a_daemon_holds_is_left_alone() {
    let (_dir, layout) = root();
    let _held = Lock::try_take(&layout.daemon_lock()).unwrap().unwrap();
    assert!(matches!(down(&layout, false, &|_| ()), Err(DownError::DaemonLives(_))));
}

#[test]
fn processes_without_a_shim_are_found_by_the_lock_they_hold() {
    let (_dir, layout) = root();
    let node = NodeName::new("lost").unwrap();
    fs::create_dir_all(layout.node_run(&node)).unwrap();
    let lock = layout.node_lock(&node);
    // flock(1) opens the file, locks it and leaves the descriptor to its child
    let mut child = std::process::Command::new("flock")
        .args([lock.as_os_str(), "/bin/sleep".as_ref(), "1000".as_ref()])
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while status::nodes_that_live(&layout).is_empty() {
        assert!(Instant::now() < end, "flock never took the lock");
        thread::sleep(Duration::from_millis(5));
    }
    let reaper = thread::spawn(move || child.wait());
    let done = down(&layout, false, &|_| ()).unwrap();
    assert!(done[0].text.contains("without a shim stopped"), "{done:?}");
    reaper.join().unwrap().unwrap();
}

#[test]
fn a_circle_is_stopped_at_once_instead_of_never() {
    let live = |name: &str| Live { socket: "/x".into(), state: state(&NodeName::new(name).unwrap()) };
    let [a, b] = ["a", "b"].map(|n| NodeName::new(n).unwrap());
    let other = |n: &NodeName| vec![if *n == a { b.clone() } else { a.clone() }];
    let (wave, rest) = next_wave(vec![live("a"), live("b")], other);
    assert_eq!((wave.len(), rest.len()), (2, 0));
}
