//! Starts the daemon for `up`: out of the caller's session, with nothing of the caller's but a few variables.

use super::{error::CliError, exit::Exit};
use crate::{
    base::{Layout, NodeName},
    control::{
        client::Client,
        wire::{Answer, Order},
    },
    offline::{scope::Scope, throw_away::Made},
};
use std::{
    env,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long a daemon that lives may take until it takes orders. Measured: well under a second; a box that is busy with
/// its boot has been seen to take ten times as long.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// How long one look may wait for an answer.
const ANSWER: Duration = Duration::from_millis(500);

/// How often it is looked whether it answers.
const LOOK: Duration = Duration::from_millis(20);

/// All of the caller's environment that the daemon gets.
const PASSED: [&str; 5] = ["PATH", "HOME", "LANG", "JAVA_HOME", "NO_COLOR"];

/// How many lines of its log are shown when it fails, and how far back they are looked for, bytes.
const TAIL_LINES: usize = 10;
const TAIL_BYTES: u64 = 16 << 10;

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The root.
    pub layout: Layout,
    /// The configuration file; none: the built-in defaults.
    pub config: Option<PathBuf>,
    /// Only these nodes; empty: all.
    pub only: Vec<NodeName>,
    /// A scope that it is started in; none: the caller's own group.
    pub scope: Option<Scope>,
    /// It is the daemon of a throw-away cluster, and ends with the thread that starts it.
    pub throw_away: Option<Made>,
}

/// A daemon that this process started.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    /// Where its part of the log begins.
    log_from: u64,
}

/// What became of a daemon that was to take orders.
#[derive(Debug, PartialEq, Eq)]
pub enum Started {
    /// It takes orders.
    Answers,
    /// Another one holds the root.
    AnotherRuns,
    /// A signal ended it: nothing that it said no to.
    Killed(ExitStatus),
}

impl Launch {
    /// Starts it.
    pub fn start(&self) -> Result<Daemon, CliError> {
        let failed =
            |what: String| move |e: std::io::Error| CliError::new(Exit::Unexpected, what).causes([e.to_string()]);
        let log = self.layout.supervisor_log();
        fs::create_dir_all(self.layout.state())
            .map_err(failed(format!("cannot make {}", self.layout.state().display())))?;
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&log)
            .map_err(failed(format!("cannot open {}", log.display())))?;
        let log_from = file.metadata().map_or(0, |m| m.len());
        let second = file.try_clone().map_err(failed(format!("cannot open {}", log.display())))?;
        let program = own_program()?;
        let mut command = match &self.scope {
            Some(Scope { argv, .. }) => {
                let mut command = Command::new(&argv[0]);
                command.args(&argv[1..]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.arg("--root").arg(self.layout.root()).args(["run", "--own-session"]);
        if !self.only.is_empty() {
            command.arg("--only").args(self.only.iter().map(NodeName::as_str));
        }
        command.env_clear().envs(PASSED.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        command.envs(self.scope.iter().flat_map(|scope| scope.env.iter().cloned()));
        command.current_dir("/").stdin(Stdio::null()).stdout(file).stderr(second);
        if let Some(made) = &self.throw_away {
            made.surroundings.apply(&mut command);
        }
        let child = command.spawn().map_err(failed(format!("cannot run {}", program.display())))?;
        Ok(Daemon { child, log, log_from })
    }
}

fn own_program() -> Result<PathBuf, CliError> {
    let own = env::current_exe()
        .map_err(|e| CliError::new(Exit::Unexpected, "cannot find this program's own path").causes([e.to_string()]))?;
    // A program that was replaced while it runs shows as "PATH (deleted)" (proc_pid_exe(5)); the new one lies there.
    Ok(own.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map_or_else(|| own.clone(), PathBuf::from))
}

impl Daemon {
    /// Waits until it takes orders.
    pub async fn answers(&mut self, socket: &Path) -> Result<Started, CliError> {
        let began = Instant::now();
        loop {
            if Client::connect(socket).await.is_ok() {
                return Ok(Started::Answers);
            }
            if let Some(status) = self.ended() {
                if status.code() == Some(i32::from(Exit::Refused.code())) {
                    return Ok(Started::AnotherRuns);
                }
                if status.signal().is_some() {
                    return Ok(Started::Killed(status));
                }
                return Err(self.early_end(status));
            }
            if began.elapsed() > ANSWERS_WITHIN {
                let pid = self.child.id();
                let seconds = ANSWERS_WITHIN.as_secs();
                return Err(CliError::new(
                    Exit::Unexpected,
                    format!("the daemon (pid {pid}) takes no orders after {seconds} s"),
                )
                .causes(self.tail())
                .hint(format!("its log is {}", self.log.display())));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        // std has it from a pid_t
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// How it ended; none while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // An error means that it is no child (any more): then nothing is known of it, as of one that runs.
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end, at most `within`.
    pub async fn gone(&mut self, within: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            match self.ended() {
                None if began.elapsed() < within => tokio::time::sleep(LOOK).await,
                ended => return ended,
            }
        }
    }

    /// The connection is gone: waits until it has ended, or takes orders (again: the same process may have become another
    /// program). None: it takes orders, or does neither within `within`.
    pub async fn ended_unless_back(&mut self, socket: &Path, within: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(ended) = self.ended() {
                return Some(ended);
            }
            let asked = async { Client::connect(socket).await.ok()?.ask(Order::Hello).await.ok()?.next().await.ok()? };
            // One that is on its way down still has its socket for a moment, and does not answer.
            if let Ok(Some(Answer::Hello(_))) = tokio::time::timeout(ANSWER, asked).await {
                return None;
            }
            if began.elapsed() > within {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The error for a daemon that ended before it took orders, with the exit code it ended with where that has a meaning.
    pub fn early_end(&self, status: ExitStatus) -> CliError {
        let exit = match status.code().and_then(|code| u8::try_from(code).ok()).map(Exit::of_code) {
            Some(exit @ (Exit::Configuration | Exit::Preflight | Exit::Artifact | Exit::Refused)) => exit,
            Some(_) | None => Exit::Unexpected,
        };
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => crate::base::outcome::signal_name(signal),
            (None, None) => "unknown exit".to_owned(),
        };
        CliError::new(exit, format!("the daemon ended before it took orders ({how})"))
            .causes(self.tail())
            .hint(format!("its whole log is {}", self.log.display()))
    }

    /// The last lines it has written.
    pub fn tail(&self) -> Vec<String> {
        let read = || {
            let mut file = File::open(&self.log)?;
            let end = file.metadata()?.len();
            // Shorter than it was: the daemon has begun a new file.
            let from = if end < self.log_from { 0 } else { self.log_from };
            file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|l| (*l).to_owned()).collect()
    }
}
