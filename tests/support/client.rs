//! One run of `cdc-supervisor` by a test: output in files, a bounded end.

use super::{Root, process};
use std::{
    fmt,
    fs::{self, File},
    io::ErrorKind,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The program under test.
pub const SUPERVISOR: &str = env!("CARGO_BIN_EXE_cdc-supervisor");

/// How long a program may be "busy" (ETXTBSY, execve(2)): an exec closes what the fork had inherited.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// A verb that runs. Output goes to files, so that a daemon it leaves behind holds no pipe of the test open.
pub struct Client {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a verb ended.
#[derive(Debug)]
pub struct Output {
    /// Exit code; none: a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Client {
    /// Starts `WRAPPER… cdc-supervisor --config FILE ARGUMENTS…` with an environment that holds nothing of the caller's
    /// but PATH.
    pub fn start(root: &Root, wrapper: &[&str], arguments: &[&str]) -> Self {
        let mut line: Vec<&str> = wrapper.to_vec();
        line.push(SUPERVISOR);
        Self::start_program(root, &line, arguments)
    }

    /// The same with the words that run the program given: `PROGRAM… --config FILE ARGUMENTS…`.
    pub fn start_program(root: &Root, program: &[&str], arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |name: &str| root.home().join(format!("{name}.{number}"));
        let (stdout, stderr) = (file("out"), file("err"));
        let config = root.config().display().to_string();
        let mut line: Vec<&str> = program.to_vec();
        line.extend(["--config", &config]);
        line.extend(arguments);
        let mut command = Command::new(line[0]);
        command
            .args(&line[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", root.home())
            .env("LANG", "C.UTF-8")
            .current_dir(root.home())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("output file"))
            .stderr(File::create(&stderr).expect("output file"));
        let began = Instant::now();
        let child = loop {
            match command.spawn() {
                // A program that was just written is still open for writing in a child that another test forks this instant.
                Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && began.elapsed() < BUSY_LIMIT => {
                    thread::sleep(Duration::from_millis(5));
                }
                done => break done.unwrap_or_else(|e| panic!("cannot start {}: {e}", line[0])),
            }
        };
        Self { child, stdout, stderr }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, number: i32) {
        process::kill(self.pid(), number);
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; after `limit` it is killed and the test fails.
    pub fn wait(self, limit: Duration) -> Output {
        match self.try_wait_for(limit) {
            Ok(output) => output,
            Err(output) => panic!("not done after {} s\n{output}", limit.as_secs()),
        }
    }

    /// Waits for its end; after `limit` it is killed and what it wrote is the error.
    pub fn try_wait_for(mut self, limit: Duration) -> Result<Output, Output> {
        let started = Instant::now();
        let mut in_time = true;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for the verb") {
                break status;
            }
            if in_time && started.elapsed() > limit {
                in_time = false;
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        };
        let output =
            Output { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.stderr() };
        if in_time { Ok(output) } else { Err(output) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Only a test that failed half-way leaves one running: nothing of it may outlive the test.
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit {:?} signal {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.signal, self.stdout, self.stderr
        )
    }
}
