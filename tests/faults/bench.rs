//! A root under its own pair of programs with failpoints, what is done to it, and what must hold afterwards.

use crate::{
    support::{Output, Root, STATE_LIMIT, VERB_LIMIT, client::Client, fake, pair::Pair, pid_of, process, until, wait},
    ticks,
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
    /// What stands before the program: a wrapper that takes every verb to where the root is.
    wrapper: Vec<String>,
    /// What stands before each path below the root, seen from the test.
    view: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let root = Root::raw("");
        // whatever is warned of: the faults are ours
        root.expect_log("");
        let pair = Pair::new(root.home(), "bin");
        let bench = Self { root, pair, wrapper: Vec::new(), view: PathBuf::new() };
        bench.configure(&[]);
        bench
    }

    /// A root with another configuration.
    pub fn with(text: &str) -> Self {
        let bench = Self::new();
        bench.root.configure_raw(text);
        bench
    }

    /// Has every verb run through `wrapper`, and looks at paths below `view`.
    pub fn elsewhere(&mut self, wrapper: &[&str], view: &str) {
        self.wrapper = wrapper.iter().map(|w| (*w).to_owned()).collect();
        self.view = view.into();
    }

    /// A path of the root, as the test sees it.
    pub fn path(&self, below: &str) -> PathBuf {
        let path = self.root.path().join(below);
        match self.view.as_os_str().is_empty() {
            true => path,
            false => self.view.join(path.strip_prefix("/").unwrap()),
        }
    }

    /// Writes the configuration: two nodes, `b` with more habits.
    pub fn configure(&self, habits: &[&str]) {
        let node = |name: &str, more: &[&str]| {
            let alone = format!("alone={}", self.root.file(name));
            let habits: Vec<&str> = [&[alone.as_str(), "notify=READY=1"], more, &["tick=2"]].concat();
            fake(name, &habits).notify().key("healthy_after", "\"1ms\"").text("grace", "5s")
        };
        let counts = format!("counts={}", self.counts());
        let a = node("a", &[&counts]).key("log", "{ max_bytes = \"4K\", keep = 1000 }");
        self.root.configure(&[a, node("b", habits)]);
    }

    /// So many events that the next one rotates their file (at 4 MiB).
    pub fn fill_events(&self) {
        let line = format!("{{\"filler\":\"{}\"}}\n", "x".repeat(1_000));
        fs::create_dir_all(self.path("state")).unwrap();
        fs::write(self.path("state/events.jsonl"), line.repeat((4 << 20) / line.len())).unwrap();
    }

    /// Puts a rule into force.
    pub fn arm(&self, rules: &str) {
        fs::write(self.pair.dir().join("failpoints"), format!("{rules}\n")).unwrap();
    }

    pub fn disarm(&self) {
        let _ = fs::remove_file(self.pair.dir().join("failpoints"));
    }

    /// Lets go on who is held at a point.
    pub fn release(&self) {
        fs::remove_file(self.pair.dir().join("failpoints.at")).unwrap();
    }

    /// Whether the armed point was reached.
    pub fn hit(&self) -> bool {
        self.pair.dir().join("failpoints.hit").exists()
    }

    /// The daemon has died at the armed point, and dies nowhere else.
    pub fn has_died(&self, point: &str) {
        until(STATE_LIMIT, point, || if self.hit() { Ok(()) } else { Err("not reached".to_owned()) });
        self.disarm();
        fs::remove_file(self.pair.dir().join("failpoints.hit")).unwrap();
    }

    /// Has the daemon die at this point in what is done.
    pub fn killed(&self, point: &str, what: impl FnOnce()) {
        self.arm(&format!("{point} kill"));
        what();
        self.has_died(point);
    }

    /// What a write that was cut short has left in `state`, or somebody has found torn.
    pub fn torn(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("state")).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".tmp") || name.ends_with(".bad")).collect()
    }

    /// Waits until what an operation had left is undone.
    pub fn await_no_operation(&self, case: &str) {
        until(STATE_LIMIT, "its record goes", || match self.path("state/operation.json").exists() {
            true => Err(format!("{case}: it is there")),
            false => Ok(()),
        });
    }

    /// Runs a verb of the pair, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        match self.spawn(arguments).try_wait_for(VERB_LIMIT) {
            Ok(output) => output,
            Err(output) => panic!("not done after {} s: {arguments:?}\n{output}", VERB_LIMIT.as_secs()),
        }
    }

    /// Starts a verb of the pair and returns while it runs.
    pub fn spawn(&self, arguments: &[&str]) -> Client {
        let supervisor = self.pair.supervisor();
        let words: Vec<&str> = self.wrapper.iter().map(String::as_str).chain([supervisor.as_str()]).collect();
        Client::start_program(&self.root, &words, arguments)
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

    /// Waits for an event with these words: a thread of its own writes them.
    pub fn await_event(&self, words: &str) {
        until(STATE_LIMIT, words, || {
            let events = fs::read_to_string(self.path("state/events.jsonl")).map_err(|e| e.to_string())?;
            if events.contains(words) { Ok(()) } else { Err(events) }
        });
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
                    let dir = self.path("nodes/a/log");
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
                "reload",
                Box::new(|| {
                    self.configure(&["after=1"]);
                    drop(self.run(&["reload"]));
                }),
            ),
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
        let mut output = self.up();
        if output.code == Some(8) {
            // A reload was under way: what runs is what was applied before, and the file means something else.
            let reload = self.run(&["reload"]);
            assert_eq!(reload.code, Some(0), "a second reload does not finish the first\n{reload}");
            output = self.up();
        }
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
        // The daemon that lives may be writing one just now.
        until(STATE_LIMIT, "nothing is left over, or torn", || {
            let left: Vec<PathBuf> =
                ["state", "state/nodes", "state/secrets", "state/incidents", "nodes/a/run", "nodes/b/run"]
                    .iter()
                    .flat_map(|dir| fs::read_dir(self.path(dir)).into_iter().flatten().flatten())
                    .map(|entry| entry.path())
                    .filter(|p| p.extension().is_some_and(|e| e == "tmp" || e == "bad"))
                    .collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        let events = self.run(&["events", "--json", "-n", "100000"]);
        assert_eq!(events.code, Some(0), "{events}");
        for line in events.stdout.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok_and(|e| e["kind"].is_string()), "a torn event: {line}");
        }
        if strict {
            self.nothing_of_a_is_missing();
        }
        let down = self.run(&["down"]);
        assert_eq!(down.code, Some(0), "{down}");
        self.root.await_empty();
    }

    /// The incidents of a node, by the start they are about. None that is on record is unreadable.
    pub fn incidents_of(&self, name: &str) -> Vec<u64> {
        let output = self.run(&["incidents", "--json", name]);
        assert!(output.code == Some(0) && !output.stderr.contains("is no incident"), "{output}");
        let list: Value = serde_json::from_str(&output.stdout).unwrap();
        list["incidents"].as_array().unwrap().iter().filter_map(|i| i["incarnation"].as_u64()).collect()
    }

    /// Where `a` counts the lines of each of its runs.
    fn counts(&self) -> String {
        self.root.file("counts-of-a")
    }

    /// The lines of `a` are `tick 0`, `tick 1` and so on in each of its runs, over all rotations, as many as it has written, and no
    /// word of ours says that some are missing.
    pub fn nothing_of_a_is_missing(&self) {
        let counted = self.counted_by_a();
        // What it wrote just now is on its way.
        until(STATE_LIMIT, "every line of a is in its log", || self.all_of_a_is_there(&counted));
    }

    /// How many lines each run of `a` has written by now, at least; a line that was never counted was the last before a SIGKILL.
    pub fn counted_by_a(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.counts()).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Whether the log of `a` has that many lines of each of its runs, and tells of no loss.
    pub fn all_of_a_is_there(&self, counted: &[u64]) -> Result<(), String> {
        let runs = self.runs_of_a(false)?;
        let mut runs = runs.iter();
        let mut left = counted.iter().filter(|count| **count > 0).count();
        for (nth, count) in counted.iter().enumerate() {
            if *count == 0 {
                // Killed between its first line and its count of it; or before both.
                if runs.len() > left && runs.as_slice()[0] == 1 {
                    runs.next();
                }
                continue;
            }
            left -= 1;
            let there = runs.next().copied().unwrap_or(0);
            if there < *count {
                return Err(format!("run {nth} of {} has written {count} lines, {there} are there", counted.len()));
            }
        }
        Ok(())
    }

    /// Where a shim of `a` was killed its log says so, and at most a block is missing there; no line is glued to another.
    pub fn what_is_missing_of_a_is_marked(&self) {
        self.runs_of_a(true).unwrap();
    }

    /// How many lines of `a` each of its runs has in the log. `shim_killed`: where the log says so some may be missing.
    fn runs_of_a(&self, shim_killed: bool) -> Result<Vec<u64>, String> {
        let output = self.run(&["logs", "-n", "100000000", "a"]);
        assert_eq!(output.code, Some(0), "{output}");
        ticks::runs(&output.stdout, shim_killed)
    }
}

/// For a moment nothing changes.
pub fn stays(what: &str, holds: impl FnMut() -> bool) {
    wait::stays(Duration::from_millis(300), what, holds);
}
