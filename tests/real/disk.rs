//! A file system that runs full under the real stack: brokers stop cleanly before it is, everything else stays as long as it can, and
//! all comes back by itself when there is room. The file system is a tmpfs that is made smaller and larger.

use crate::{
    stack::Stack,
    support::{STATE_LIMIT, VERB_LIMIT, process, skip, until},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const MIB: u64 = 1 << 20;

/// How long brokers may take to stop or to come back.
const LIMIT: Duration = Duration::from_secs(120);

/// A tmpfs, unmounted at the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// None where this user may not mount.
    fn at(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8g,mode=755", "none"]).arg(path).status();
        mounted.ok().filter(|status| status.success()).map(|_| Self(path.to_owned()))
    }

    /// Makes it so large that this much is free, and says how much is used.
    fn leave(&self, free: u64) {
        let used = self.used();
        self.resize(used + free);
    }

    fn resize(&self, size: u64) {
        let option = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap();
        assert!(done.success(), "remount with {size} bytes");
    }

    fn used(&self) -> u64 {
        let room = nix::sys::statvfs::statvfs(&self.0).unwrap();
        (room.blocks() - room.blocks_free()) * room.fragment_size()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        // A directory that something is mounted on is not removed with its root.
        if let Some(home) = self.0.parent().filter(|_| !std::thread::panicking()) {
            let _ = fs::remove_dir_all(home);
        }
    }
}

fn disk(stack: &Stack) -> Value {
    stack.status()["disks"][0].clone()
}

const BROKERS: [&str; 3] = ["broker-1", "broker-2", "broker-3"];

#[test]
fn brokers_stop_before_the_disk_is_full_and_come_back_by_themselves_when_there_is_room() {
    let stack = Stack::new();
    let Some(tmpfs) = Tmpfs::at(stack.path()) else {
        return skip("brokers_stop_before_the_disk_is_full", "no right to mount a tmpfs");
    };
    // The stack is dropped first, and looked through for what is left of it.
    let (tmpfs, stack) = (tmpfs, stack);
    let text = fs::read_to_string(stack.config()).unwrap();
    let body = text.split_once("\n\n").unwrap().1.to_owned();
    let marks = "[disk]\nlow = \"400M\"\nstop = \"200M\"\nresume = \"300M\"\nballast = \"64M\"\n";
    stack.configure_raw(&format!("{marks}{body}"));
    stack.expect_log("free on");
    // the look before the start of a daemon that finds nodes running
    stack.expect_log("at least 5G are needed");
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);
    let ballast = stack.path().join("state/ballast");
    until(STATE_LIMIT, "the ballast is made", || match fs::metadata(&ballast) {
        Ok(meta) if meta.len() == 64 * MIB => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let wanted: Vec<String> = (0..60).map(|n| format!("before-{n}")).collect();
    for (n, payload) in wanted.iter().enumerate() {
        stack.produce(&admin, i32::try_from(n % 3).unwrap(), payload);
    }

    // Less than 400M: told, with who takes the room. Nothing is stopped.
    tmpfs.leave(300 * MIB);
    until(STATE_LIMIT, "it is told", || match disk(&stack) {
        disk if disk["state"] == "low" => Ok(()),
        disk => Err(disk.to_string()),
    });
    until(STATE_LIMIT, "it is counted who takes the room", || {
        let told = stack.ok(&["status"]);
        let taken = told.stdout.contains("less than 400M: brokers are stopped below 200M; most is taken by");
        let low = stack.events("disk-low");
        let event = low.first().is_some_and(|text| text.contains("brokers are stopped below 200M; most is taken by"));
        if taken && event { Ok(()) } else { Err(format!("{told}\n{low:?}")) }
    });
    stack.await_whole(&admin);

    // Less than 200M: the brokers stop in order, the ballast goes, everything else stays.
    tmpfs.leave(150 * MIB);
    for name in BROKERS {
        let node = until(LIMIT, "it waits for room", || {
            let node = stack.node(name);
            let waits = node["state"] == "waiting" && node["detail"].as_str().unwrap().contains("stopped: disk space");
            if waits { Ok(node) } else { Err(node.to_string()) }
        });
        assert_eq!((&node["last_exit"]["cause"], &node["wanted"]), (&"stopped".into(), &"up".into()), "{node}");
    }
    for name in ["zookeeper", "mysql"] {
        assert_eq!(stack.node(name)["state"], "ready");
    }
    assert_eq!(fs::metadata(&ballast).unwrap().len(), 0, "it was given up");
    let stopped = stack.ok(&["status"]);
    println!("{stopped}");
    assert!(stopped.stdout.contains("broker-1, broker-2, broker-3 are held down until 364M are free"), "{stopped}");
    let stops = stack.events("disk-stop");
    assert!(
        stops.len() == 1 && stops[0].contains("broker-1, broker-2, broker-3 stopped before it is full"),
        "{stops:?}"
    );
    assert_eq!(stack.rows("orders"), 3, "MySQL goes on");

    // A new daemon goes on with it, though what the ballast gave looks like room; who is stopped by order stays down.
    process::kill(stack.daemon(), 9);
    stack.expect_log("the last daemon had not ended in order");
    let run = stack.spawn(&["run"]);
    let held = until(LIMIT, "the new daemon holds it", || {
        let output = stack.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.stdout).map_err(|_| output.to_string())?;
        let node = crate::support::node_of(&status, "broker-1");
        let waits = node["detail"].as_str().is_some_and(|detail| detail.contains("stopped: disk space"));
        if status["supervisor"]["pid"].is_i64() && waits { Ok(node) } else { Err(node.to_string()) }
    });
    assert_eq!(held["state"], "waiting");
    stack.ok(&["stop", "broker-3"]);
    assert_eq!(stack.node("broker-3")["state"], "down");

    // Even what the ballast gave goes: ZooKeeper and mysqld are stopped as well.
    tmpfs.leave(20 * MIB);
    for name in ["zookeeper", "mysql"] {
        let node = until(LIMIT, "it waits for room", || {
            let node = stack.node(name);
            let waits = node["state"] == "waiting" && node["detail"].as_str().unwrap().contains("stopped: disk space");
            if waits { Ok(node) } else { Err(node.to_string()) }
        });
        assert_eq!(node["last_exit"]["cause"], "stopped", "{node}");
    }

    // Room again: all by themselves, but the one that somebody stopped.
    tmpfs.resize(8 << 30);
    for name in ["zookeeper", "mysql", "broker-1", "broker-2"] {
        until(LIMIT, "it is back", || {
            let node = stack.node(name);
            // A broker that lacks what only the stopped one has runs, and says so.
            let runs = node["state"] == "ready" || (name.starts_with("broker-") && node["state"] == "degraded");
            if runs { Ok(()) } else { Err(node.to_string()) }
        });
        assert_eq!(stack.node(name)["restarts"], 0, "no restart that somebody has to explain");
    }
    assert_eq!(stack.node("broker-3")["state"], "down");
    stack.ok(&["start", "broker-3"]);
    stack.await_whole(&admin);
    stack.assert_all_there(&admin, &wanted);
    assert_eq!(stack.rows("orders"), 3);
    until(STATE_LIMIT, "the ballast is made again", || match fs::metadata(&ballast) {
        Ok(meta) if meta.len() == 64 * MIB => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!stack.events("disk-eased").is_empty());
    assert_eq!(disk(&stack)["state"], "fine");

    // Straight from plenty to nearly nothing, the ballast's room too while brokers stop: ZooKeeper stays until every broker has stopped
    // in order.
    tmpfs.leave(20 * MIB);
    until(STATE_LIMIT, "the ballast is given up", || match fs::metadata(&ballast) {
        Ok(meta) if meta.len() == 0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    tmpfs.leave(20 * MIB);
    for name in ["broker-1", "broker-2", "broker-3", "zookeeper", "mysql"] {
        let node = until(LIMIT, "it waits for room", || {
            // what the brokers give back at their end is taken again
            tmpfs.leave(20 * MIB);
            let node = stack.node(name);
            let waits = node["state"] == "waiting" && node["detail"].as_str().unwrap().contains("stopped: disk space");
            if waits { Ok(node) } else { Err(node.to_string()) }
        });
        let last = &node["last_exit"];
        assert_eq!((&last["cause"], &last["signal"]), (&"stopped".into(), &Value::Null), "{node}");
    }
    tmpfs.resize(8 << 30);
    stack.await_whole(&admin);
    stack.assert_all_there(&admin, &wanted);

    // Another size is made, and a guard that is switched off takes nothing.
    let is = |length: Option<u64>| {
        until(STATE_LIMIT, "the ballast is as configured", || {
            let now = fs::metadata(&ballast).ok().map(|meta| meta.len());
            if now == length { Ok(()) } else { Err(format!("{now:?}")) }
        });
    };
    is(Some(64 * MIB));
    stack.configure_raw(&format!("{}{body}", marks.replace("64M", "128M")));
    stack.ok(&["reload"]);
    is(Some(128 * MIB));
    stack.configure_raw(&format!("[disk]\nguard = false\n{body}"));
    stack.ok(&["reload"]);
    is(None);
    assert_eq!(stack.events("incident"), Vec::<String>::new(), "a clean stop is no incident");
    stack.assert_logs_know_nothing_fatal();
    stack.down();
    drop(run.wait(VERB_LIMIT));
}
