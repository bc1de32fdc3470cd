//! The harness of the end-to-end tests: a root of its own per test, the real programs, bounded waits, and a look at what is
//! left over when the test ends.

// Test code: a panic is a failed test. Each test binary uses a part of this.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::panic)]

pub mod client;
pub mod fake_mysql;
pub mod node;
pub mod pair;
pub mod process;
pub mod ui_jar;
pub mod wait;

pub use client::{Client, Output};
pub use node::{Node, fake};
pub use wait::until;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

/// How long one verb may take before the test fails: far above what is seen, so only a hang meets it.
pub const VERB_LIMIT: Duration = Duration::from_secs(90);

/// How long a state may take to come about.
pub const STATE_LIMIT: Duration = Duration::from_secs(45);

/// A root of its own, its `supervisor.toml`, and the two programs to run on it.
pub struct Root {
    /// Removed at the end of a test that passed; kept as evidence otherwise.
    home: Option<tempfile::TempDir>,
    path: PathBuf,
    config: PathBuf,
    /// Texts that warnings and errors of the supervisor's own logs may contain in this test.
    expected: Mutex<Vec<String>>,
    check_logs: bool,
}

impl Root {
    /// A root whose configuration has these nodes.
    pub fn new(nodes: &[Node]) -> Self {
        let root = Self::raw("");
        root.configure(nodes);
        root
    }

    /// A root whose configuration has this text below the `root` key.
    pub fn raw(text: &str) -> Self {
        // Short: socket paths below it must fit into 107 bytes.
        let home = tempfile::Builder::new().prefix("cdc").rand_bytes(5).tempdir().expect("temporary directory");
        let path = home.path().join("r");
        let config = home.path().join("supervisor.toml");
        let root = Self { path, config, home: Some(home), expected: Mutex::default(), check_logs: true };
        root.configure_raw(text);
        root
    }

    /// Writes the configuration anew.
    pub fn configure(&self, nodes: &[Node]) {
        let text: String = nodes.iter().map(Node::toml).collect();
        self.configure_raw(&text);
    }

    /// Writes the configuration anew: the `root` key, then `text`.
    pub fn configure_raw(&self, text: &str) {
        self.configure_bytes(format!("root = \"{}\"\n\n{text}", self.path.display()).as_bytes());
    }

    /// Writes the configuration anew, byte for byte.
    pub fn configure_bytes(&self, bytes: &[u8]) {
        fs::write(&self.config, bytes).expect("write supervisor.toml");
    }

    /// The root directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory around the root, for files of the test.
    pub fn home(&self) -> &Path {
        self.path.parent().expect("the root lies in a directory")
    }

    /// A path in the directory around the root, as text.
    pub fn file(&self, name: &str) -> String {
        self.home().join(name).display().to_string()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// A warning or error line with `text` in it is part of this test.
    pub fn expect_log(&self, text: &str) {
        self.expected.lock().unwrap().push(text.to_owned());
    }

    /// Starts a verb and returns while it runs.
    pub fn spawn(&self, arguments: &[&str]) -> Client {
        Client::start(self, &[], arguments)
    }

    /// Runs a verb to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).wait(VERB_LIMIT)
    }

    /// Runs a verb that must end with 0.
    pub fn ok(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?} should succeed\n{output}");
        output
    }

    /// Runs a verb that must end with `code`.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(output.code, Some(code), "{arguments:?} should end with {code}\n{output}");
        output
    }

    /// `up --detach`, all ready.
    pub fn up(&self) -> Output {
        self.ok(&["up", "--detach"])
    }

    /// `down`, which must succeed.
    pub fn down(&self) -> Output {
        self.ok(&["down"])
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        let output = self.ok(&["status", "--json"]);
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("status --json is not JSON: {e}\n{output}"))
    }

    /// One node of `status --json`.
    pub fn node(&self, name: &str) -> Value {
        node_of(&self.status(), name)
    }

    /// The main process of a node that runs.
    pub fn pid(&self, name: &str) -> i32 {
        pid_of(&self.node(name))
    }

    /// The daemon's pid.
    pub fn daemon(&self) -> i32 {
        let status = self.status();
        let pid = status["supervisor"]["pid"].as_i64().unwrap_or_else(|| panic!("no daemon in {status}"));
        i32::try_from(pid).unwrap()
    }

    /// The shim of a node: its parent.
    pub fn shim(&self, name: &str) -> i32 {
        let pid = self.pid(name);
        let parent = process::parent(pid).unwrap_or_else(|| panic!("{name} (pid {pid}) is gone"));
        let program = process::program(parent);
        assert!(program.ends_with("cdc-shim"), "the parent of {name} is {program}");
        parent
    }

    /// Waits until the node looks like this; returns it.
    pub fn await_node(&self, name: &str, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        until(STATE_LIMIT, &format!("{name}: {what}"), || {
            let node = self.node(name);
            if good(&node) { Ok(node) } else { Err(node.to_string()) }
        })
    }

    /// Waits until a daemon answers; returns the node as that daemon sees it.
    pub fn await_daemon_node(&self, name: &str) -> Value {
        until(STATE_LIMIT, "a daemon answers", || {
            let output = self.run(&["status", "--json"]);
            let status: Value = serde_json::from_str(&output.stdout).map_err(|_| output.to_string())?;
            if status["supervisor"]["pid"].is_i64() { Ok(node_of(&status, name)) } else { Err(output.to_string()) }
        })
    }

    /// Waits until the node is in this state.
    pub fn await_state(&self, name: &str, state: &str) -> Value {
        self.await_node(name, state, |n| n["state"] == state)
    }

    /// Waits until no daemon and nothing of the root runs.
    pub fn await_empty(&self) {
        until(STATE_LIMIT, "nothing of the root runs", || {
            let left = process::of_root(self.home());
            if left.is_empty() { Ok(()) } else { Err(process::describe(&left)) }
        });
    }

    /// The node's log files, rotated ones first, as one text.
    pub fn log(&self, node: &str) -> String {
        let dir = self.path.join("nodes").join(node).join("log");
        fs::read_to_string(dir.join("current")).unwrap_or_default()
    }

    /// Every process of the root, without the shim in reserve, which has no node.
    pub fn processes(&self) -> Vec<i32> {
        let in_reserve = format!(" {}", cdc_supervisor::sys::process::IN_RESERVE);
        let mut all = process::of_root(self.home());
        all.retain(|pid| !cdc_supervisor::sys::process::command_line(*pid).ends_with(&in_reserve));
        all
    }

    /// Kills every process of the root with SIGKILL, all named before the first is killed.
    pub fn kill_all(&self) {
        for pid in process::of_root(self.home()) {
            process::kill(pid, 9);
        }
    }

    /// Lines of the supervisor's own logs that warn, and that the test did not declare.
    fn surprises(&self) -> Vec<String> {
        let expected = self.expected.lock().unwrap();
        let mut logs = vec![self.path.join("state/supervisor.log")];
        for node in fs::read_dir(self.path.join("nodes")).into_iter().flatten().flatten() {
            logs.push(node.path().join("run/shim.log"));
        }
        let mut surprises = Vec::new();
        for log in logs {
            for line in fs::read_to_string(&log).unwrap_or_default().lines() {
                if warns(line) && !expected.iter().any(|e| line.contains(e.as_str())) {
                    surprises.push(format!("{}: {line}", log.display()));
                }
            }
        }
        surprises
    }

    fn evidence(&self) -> String {
        let mut text = format!("kept for a look: {}\n", self.home().display());
        let mut show = |path: &Path| {
            if let Ok(log) = fs::read_to_string(path) {
                let lines: Vec<&str> = log.lines().collect();
                text += &format!("--- {}\n{}\n", path.display(), lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        };
        show(&self.path.join("state/supervisor.log"));
        for node in fs::read_dir(self.path.join("nodes")).into_iter().flatten().flatten() {
            show(&node.path().join("run/shim.log"));
            show(&node.path().join("log/current"));
        }
        text
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if !process::of_root(self.home()).is_empty() {
            // A stuck `down` must not hide what the test has found: its end is not judged, what lives afterwards is.
            let _ = Client::start(self, &[], &["down", "--now"]).try_wait_for(Duration::from_secs(30));
        }
        let mut left = process::of_root(self.home());
        for _ in 0..100 {
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
            left = process::of_root(self.home());
        }
        let leftovers = process::describe(&left);
        self.kill_all();
        let surprises = if self.check_logs { self.surprises() } else { Vec::new() };
        if failed || !left.is_empty() || !surprises.is_empty() {
            eprintln!("{}", self.evidence());
            if let Some(home) = self.home.take() {
                let _ = home.keep();
            }
        }
        if !failed {
            assert!(left.is_empty(), "still running after `down --now`:\n{leftovers}");
            assert!(surprises.is_empty(), "warnings that the test did not declare:\n{}", surprises.join("\n"));
        }
    }
}

/// Whether a line of our own logs is a warning or an error, in either of the log's forms.
fn warns(line: &str) -> bool {
    line.split(|c: char| c.is_whitespace() || c == '"').take(12).any(|word| word == "WARN" || word == "ERROR")
}

/// Ends a test that cannot run here, with the reason; the caller returns. `dist/test.sh` lists the reasons. Where CI is
/// set, everything can run, so the reason is a failure.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run: {reason}");
    note_skip(test, reason);
}

/// Leaves a test to `dist/test.sh --long`, which sets `CDC_TEST_LONG`. It counts as skipped, not as passed; unlike a test that
/// cannot run it does not fail where `CI` is set.
pub fn left_to_long(test: &str, reason: &str) {
    note_skip(test, &format!("{reason}: CDC_TEST_LONG=1 runs it"));
}

fn note_skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    if let Some(list) = std::env::var_os("CDC_TEST_SKIPS") {
        let mut list = fs::OpenOptions::new().create(true).append(true).open(list).expect("the list of skips");
        std::io::Write::write_all(&mut list, format!("{test}: {reason}\n").as_bytes()).expect("the list of skips");
    }
}

/// One node of a `status --json`.
pub fn node_of(status: &Value, name: &str) -> Value {
    let nodes = status["nodes"].as_array().unwrap_or_else(|| panic!("no nodes in {status}"));
    nodes.iter().find(|n| n["name"] == name).unwrap_or_else(|| panic!("no node {name} in {status}")).clone()
}

/// The pid in a node of `status --json`.
pub fn pid_of(node: &Value) -> i32 {
    let pid = node["pid"].as_i64().unwrap_or_else(|| panic!("no pid in {node}"));
    i32::try_from(pid).unwrap()
}
