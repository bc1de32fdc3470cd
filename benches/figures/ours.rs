//! The supervisor under measurement: a root of its own, its daemon as a service manager would start it, orders by its socket.

use crate::{proc, report::Measured};
use cdc_supervisor::base::Layout;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest any single step may take before the row is given up.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A root, and perhaps a daemon.
pub struct Ours {
    home: tempfile::TempDir,
    programs: PathBuf,
    daemon: Option<Child>,
}

impl Ours {
    /// A fresh root with this configuration below its `root` key.
    pub fn new(programs: &Path, toml: &str) -> Measured<Self> {
        // short: socket paths below it must fit into 107 bytes
        let home = tempfile::Builder::new().prefix("cdcb").rand_bytes(4).tempdir().map_err(|e| e.to_string())?;
        let text = format!("root = \"{}\"\n\n{toml}", home.path().join("r").display());
        fs::write(home.path().join("supervisor.toml"), text).map_err(|e| e.to_string())?;
        Ok(Self { home, programs: programs.to_owned(), daemon: None })
    }

    /// `[command.NAME]` tables for `many` children that write their starts into `starts`.
    pub fn waiting(many: usize, child: &Path, starts: &Path) -> String {
        let mut toml = String::new();
        for n in 1..=many {
            let argv = [child.display().to_string(), "wait".into(), starts.display().to_string()];
            let _ = writeln!(toml, "[command.n{n:03}]\nargv = {argv:?}\nmemory_max = \"8M\"\nhealthy_after = \"0s\"");
            // two hundred nodes with the usual 32M each would be more than the usual total of all logs
            let _ = writeln!(toml, "[command.n{n:03}.log]\nmax_bytes = \"1M\"");
        }
        toml
    }

    /// The directory around the root, for files of the bench.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.home().join("supervisor.toml")
    }

    /// Every path under the root.
    pub fn layout(&self) -> Layout {
        Layout::new(self.home().join("r"))
    }

    /// A verb of the command line, ready to run.
    pub fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("cdc-supervisor"));
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a verb that must succeed; its standard error.
    pub fn run(&self, arguments: &[&str]) -> Measured<String> {
        let output = self.verb(arguments).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{arguments:?} ended with {}: {said}", output.status))
        }
    }

    /// Starts the daemon; returns at once.
    pub fn start(&mut self) -> Measured<i32> {
        let log = File::options().append(true).create(true).open(self.home().join("daemon.log"));
        let log = log.map_err(|e| e.to_string())?;
        let mut command = self.verb(&["run"]);
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|e| format!("{}: {e}", self.programs.display()))?;
        let pid = i32::try_from(child.id()).unwrap_or(0);
        self.daemon = Some(child);
        Ok(pid)
    }

    /// The end of what the daemons of this root wrote, for a row that could not be measured.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.home().join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }

    /// The daemon's pid.
    pub fn daemon(&self) -> Measured<i32> {
        self.daemon.as_ref().map(|d| i32::try_from(d.id()).unwrap_or(0)).ok_or_else(|| "no daemon was started".into())
    }

    /// Kills the daemon alone.
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Asks the daemon; its last answer.
    pub fn ask(&self, order: &str) -> Measured<Value> {
        let socket = self.layout().control_socket();
        let mut stream = UnixStream::connect(&socket).map_err(|e| format!("{}: {e}", socket.display()))?;
        let line = format!("{{\"v\":1,\"order\":{order}}}\n");
        stream.write_all(line.as_bytes()).map_err(|e| e.to_string())?;
        let mut last = Value::Null;
        for line in BufReader::new(stream).lines() {
            let line = line.map_err(|e| e.to_string())?;
            last = serde_json::from_str(&line).map_err(|e| format!("{e}: {line}"))?;
            if last["answer"] != "progress" {
                break;
            }
        }
        Ok(last)
    }

    /// The status of all nodes, asked of the daemon.
    pub fn status(&self) -> Measured<Value> {
        self.ask("{\"verb\":\"status\"}")
    }

    /// Waits until the daemon answers with a status that is `good`.
    pub fn until(&self, what: &str, good: impl Fn(&Value) -> bool) -> Measured<Value> {
        let began = Instant::now();
        loop {
            let seen = self.status();
            if let Ok(status) = &seen
                && good(status)
            {
                return seen;
            }
            if began.elapsed() > LIMIT {
                return Err(format!("not seen within {LIMIT:?}: {what}; {seen:?}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Every node is in this state.
    pub fn all(status: &Value, state: &str) -> bool {
        status["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty() && nodes.iter().all(|n| n["state"] == state))
    }

    /// Pids of all main processes, in the order of `status`.
    pub fn pids(status: &Value) -> Vec<i32> {
        let nodes = status["nodes"].as_array().into_iter().flatten();
        nodes.filter_map(|n| i32::try_from(n["pid"].as_i64()?).ok()).collect()
    }

    /// Tells the daemon to stop everything, as a service manager does; returns at once.
    pub fn terminate(&self) {
        if let Ok(pid) = self.daemon() {
            proc::kill(pid, Signal::SIGTERM);
        }
    }

    /// Waits for the daemon's end.
    pub fn ended(&mut self) -> Measured<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        let pid = i32::try_from(daemon.id()).unwrap_or(0);
        let seen = proc::Ends::of(&[pid]).wait(LIMIT);
        if seen.is_err() {
            let _ = daemon.kill();
        }
        let _ = daemon.wait();
        seen
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.terminate();
        let _ = self.ended();
        if !proc::of_home(self.home()).is_empty() {
            let _ = self.verb(&["down", "--now"]).output();
        }
        proc::clear(self.home());
        if std::env::var_os("CDC_BENCH_KEEP").is_some() {
            eprintln!("kept: {}", self.home().display());
            self.home.disable_cleanup(true);
        }
    }
}
