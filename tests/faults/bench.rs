//! A root under its own pair of programs with failpoints, what is done to it, and what must hold afterwards.

use crate::support::{
    Output, Root, STATE_LIMIT, VERB_LIMIT, client::Client, fake, pair::Pair, pid_of, process, until, wait,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Two nodes that write all the time, `a` with files of 4 KiB, and that cannot run twice unseen.
pub struct Bench {
    pub root: Root,
    pub pair: Pair,
}

impl Bench {
    pub fn new() -> Self {
        let root = Root::raw("");
        // whatever is warned of: the faults are ours
        root.expect_log("");
        let node = |name: &str| {
            let alone = format!("alone={}", root.file(name));
            fake(name, &[&alone, "notify=READY=1", "tick=2"])
                .notify()
                .key("healthy_after", "\"1ms\"")
                .text("grace", "5s")
        };
        root.configure(&[node("a").key("log", "{ max_bytes = \"4K\", keep = 1000 }"), node("b")]);
        let pair = Pair::new(root.home(), "bin");
        Self { root, pair }
    }

    /// Puts a rule into force.
    pub fn arm(&self, rules: &str) {
        fs::write(self.pair.dir().join("failpoints"), format!("{rules}\n")).unwrap();
    }

    pub fn disarm(&self) {
        let _ = fs::remove_file(self.pair.dir().join("failpoints"));
    }

    /// Whether the armed point was reached.
    pub fn hit(&self) -> bool {
        self.pair.dir().join("failpoints.hit").exists()
    }

    /// Runs a verb of the pair, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        match Client::start_program(&self.root, &[&self.pair.supervisor()], arguments).try_wait_for(VERB_LIMIT) {
            Ok(output) => output,
            Err(output) => panic!("not done after {} s: {arguments:?}\n{output}", VERB_LIMIT.as_secs()),
        }
    }

    pub fn up(&self) -> Output {
        self.run(&["up", "--detach", "--timeout", "40s"])
    }

    /// One node of the status; none while no daemon answers.
    pub fn node(&self, name: &str) -> Option<Value> {
        let output = self.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.stdout).ok()?;
        status["nodes"].as_array()?.iter().find(|n| n["name"] == name).cloned()
    }

    pub fn daemon(&self) -> Option<i32> {
        let output = self.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.stdout).ok()?;
        i32::try_from(status["supervisor"]["pid"].as_i64()?).ok()
    }

    /// Waits for something about a node, or for the armed point.
    fn until_node(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        until(STATE_LIMIT, &format!("{name}: {what}, or the point"), || match self.node(name) {
            _ if self.hit() => Ok(()),
            Some(node) if holds(&node) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    pub fn kill_daemon(&self) {
        if let Some(daemon) = self.daemon() {
            process::kill(daemon, 9);
            until(
                STATE_LIMIT,
                "the daemon is gone",
                || if process::alive(daemon) { Err(String::new()) } else { Ok(()) },
            );
        }
    }

    /// Everything that can happen to a stack, until the armed point is reached. Returns what had been done by then.
    pub fn live_a_life(&self) -> BTreeSet<&'static str> {
        let mut done = BTreeSet::new();
        type Step<'a> = (&'static str, Box<dyn Fn() + 'a>);
        let steps: Vec<Step> = vec![
            ("up", Box::new(|| drop(self.up()))),
            (
                "rotation",
                Box::new(|| {
                    let dir = self.root.path().join("nodes/a/log");
                    until(STATE_LIMIT, "a rotated file, or the point", || {
                        let files = fs::read_dir(&dir).map_or(0, Iterator::count);
                        if self.hit() || files > 2 { Ok(()) } else { Err(format!("{files} files")) }
                    });
                }),
            ),
            (
                "node killed",
                Box::new(|| {
                    if let Some(node) = self.node("a").filter(|n| n["pid"].is_i64()) {
                        process::kill(pid_of(&node), 9);
                        self.until_node("a", "back", |n| {
                            n["state"] == "ready" && n["incarnation"] != node["incarnation"]
                        });
                    }
                }),
            ),
            ("stop", Box::new(|| drop(self.run(&["stop", "b"])))),
            ("start", Box::new(|| drop(self.run(&["start", "b"])))),
            (
                "shim killed",
                Box::new(|| {
                    if let Some(node) = self.node("b").filter(|n| n["pid"].is_i64()) {
                        process::kill(process::parent(pid_of(&node)).unwrap_or(0).max(2), 9);
                        self.until_node("b", "back", |n| {
                            n["state"] == "ready" && n["incarnation"] != node["incarnation"]
                        });
                    }
                }),
            ),
            (
                "daemon killed",
                Box::new(|| {
                    self.kill_daemon();
                    drop(self.up());
                }),
            ),
            ("upgrade", Box::new(|| drop(self.run(&["upgrade-self"])))),
            ("down", Box::new(|| drop(self.run(&["down"])))),
        ];
        for (name, step) in steps {
            step();
            done.insert(name);
            if self.hit() {
                break;
            }
        }
        done
    }

    /// The next daemon, and what must hold under it. `strict`: a daemon died and no shim, so nothing of `a` may be missing.
    pub fn must_be_whole(&self, strict: bool) {
        let output = self.up();
        assert_eq!(output.code, Some(0), "the next daemon does not bring everything up\n{output}");
        for name in ["a", "b"] {
            let node = self.node(name).expect("a daemon that answers");
            assert_eq!(node["state"], "ready", "{node}");
        }
        until(STATE_LIMIT, "one daemon, two shims, two nodes", || {
            let all = self.root.processes();
            if all.len() == 5 { Ok(()) } else { Err(process::describe(&all)) }
        });
        for name in ["a", "b"] {
            assert!(!Path::new(&format!("{}.twice", self.root.file(name))).exists(), "two copies of {name}");
        }
        let left: Vec<PathBuf> = ["state", "state/nodes", "state/secrets", "nodes/a/run", "nodes/b/run"]
            .iter()
            .flat_map(|dir| fs::read_dir(self.root.path().join(dir)).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|p| p.extension().is_some_and(|e| e == "tmp" || e == "bad"))
            .collect();
        assert!(left.is_empty(), "left over, or torn: {left:?}");
        if strict {
            self.nothing_of_a_is_missing();
        }
        let down = self.run(&["down"]);
        assert_eq!(down.code, Some(0), "{down}");
        self.root.await_empty();
    }

    /// The lines of `a` are `tick 0`, `tick 1` and so on in each of its runs, over all rotations.
    pub fn nothing_of_a_is_missing(&self) {
        let output = self.run(&["logs", "-n", "100000000", "a"]);
        assert_eq!(output.code, Some(0), "{output}");
        let mut expected = 0u64;
        let mut lines = 0;
        for line in output.stdout.lines().filter(|l| !l.starts_with("[cdc-supervisor]")) {
            let number: u64 = line.strip_prefix("tick ").and_then(|n| n.parse().ok()).unwrap_or_else(|| {
                panic!("a torn line: {line:?} after {lines} lines");
            });
            assert!(
                number == expected || number == 0,
                "tick {number} where {expected} comes next, after {lines} lines"
            );
            expected = number + 1;
            lines += 1;
        }
        assert!(lines > 0, "no line at all");
    }
}

/// For a moment nothing changes.
pub fn stays(what: &str, holds: impl FnMut() -> bool) {
    wait::stays(Duration::from_millis(300), what, holds);
}
