//! One-shot helper programs (`mvn`, `apt-get`, `mysqld --initialize`, a training run): started with a cleared environment,
//! bounded in time and in kept output, and dead when this process dies.

use super::{children, error::SysError, process::lookup_user, stop_signals};
use crate::base::ExitStatus;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Gid, Pid, Uid, geteuid, getppid, setgid, setgroups, setuid, write},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How many bytes of a helper's output are kept: its end, where the reason of a failure stands.
const KEEP: usize = 64 << 10;

/// A helper program to run.
#[derive(Clone, Debug)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub dir: PathBuf,
    /// Bytes for its standard input; none: empty.
    pub stdin: Option<Vec<u8>>,
}

/// Asks a running helper to end; shared between threads.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }
    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How a helper ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output, at most its last 64 KiB.
    pub stdout: String,
    /// Standard error, at most its last 64 KiB.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Finished {
    /// Whether it ended with code 0.
    pub fn ok(&self) -> bool {
        self.status == ExitStatus::Code(0)
    }
    /// The last lines of standard error, or of standard output when that is empty.
    pub fn last_lines(&self, n: usize) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(n)..].join("\n")
    }
}

/// Collects one stream of a helper.
type Reader = thread::JoinHandle<Vec<u8>>;

/// How long the output of a helper that has ended is waited for. What it left running in a group of its own may hold the
/// pipe open for ever.
const OUTPUT: Duration = Duration::from_millis(500);

/// How often a reader looks whether it is still wanted, milliseconds.
const LOOK: u8 = 100;

/// Another user to run a helper as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// That of a user by name; none when this process is that user already, or when no name is given.
    pub fn of(user: Option<&str>) -> Result<Option<Self>, SysError> {
        let Some(user) = user else { return Ok(None) };
        let missing = || SysError::new(format!("look up user {user}"), io::ErrorKind::NotFound);
        let (uid, gid, groups) = lookup_user(user)?.ok_or_else(missing)?;
        Ok((uid != geteuid().as_raw()).then_some(Self { uid, gid, groups }))
    }
}

/// A helper that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: process::Child,
    readers: Option<(Reader, Reader)>,
    /// The readers are not wanted any more.
    stop: Arc<AtomicBool>,
    started: Instant,
    what: String,
}

impl Command {
    /// Starts it. Must be called on a thread that lives until the helper ends: the parent-death signal belongs to the
    /// thread that forked, not to the process (prctl(2), PR_SET_PDEATHSIG).
    pub fn start(&self) -> Result<Running, SysError> {
        self.start_as(None)
    }

    /// As [`Command::start`], as another user; the working directory is entered before.
    pub fn start_as(&self, user: Option<&Identity>) -> Result<Running, SysError> {
        self.start_in(user, None)
    }

    /// As [`Command::start_as`], in the cgroup with this directory from its first instruction on; none: in the caller's.
    pub fn start_in(&self, user: Option<&Identity>, group: Option<&Path>) -> Result<Running, SysError> {
        let what = self.argv.first().cloned().unwrap_or_default();
        let doing = || format!("run {what}");
        if self.argv.is_empty() {
            return Err(SysError::new("run an empty command", io::ErrorKind::InvalidInput));
        }
        let parent = Pid::this();
        let procs = group.map(|dir| dir.join("cgroup.procs"));
        let procs =
            procs.map(|path| File::options().write(true).open(&path).map_err(|e| SysError::path("open", &path, e)));
        let procs = procs.transpose()?;
        let user = user.map(|user| {
            let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
            (groups, Gid::from_raw(user.gid), Uid::from_raw(user.uid))
        });
        let mut command = process::Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .current_dir(&self.dir)
            .process_group(0)
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: between fork and exec only system calls run, async-signal-safe and without allocation.
        unsafe {
            command.pre_exec(move || {
                // the daemon keeps them
                stop_signals::let_through()?;
                // before the change of user, who may not write there; 0 is who writes (cgroup-v2.rst, "cgroup.procs")
                if let Some(procs) = &procs {
                    write(procs, b"0")?;
                }
                if let Some((groups, gid, uid)) = &user {
                    setgroups(groups)?;
                    setgid(*gid)?;
                    setuid(*uid)?;
                }
                // behind these: a change of credentials forgets it (prctl(2))
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                // the parent may have died before the line above
                if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let mut child = children::spawn_owned(|| command.spawn()).map_err(|e| SysError::new(doing(), e))?;
        if let (Some(bytes), Some(mut pipe)) = (self.stdin.clone(), child.stdin.take()) {
            // A helper that ends without reading its input says why itself.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let stop = Arc::<AtomicBool>::default();
        let (stop_out, stop_err) = (Arc::clone(&stop), Arc::clone(&stop));
        let readers = match (child.stdout.take(), child.stderr.take()) {
            (Some(out), Some(err)) => {
                Some((thread::spawn(move || keep_end(out, &stop_out)), thread::spawn(move || keep_end(err, &stop_err))))
            }
            _ => None,
        };
        Ok(Running { child, readers, stop, started: Instant::now(), what })
    }

    /// Runs it to its end. Killed (with its process group) when `limit` passes or `cancel` is set; both are errors.
    pub fn run(&self, limit: Duration, cancel: &Cancel) -> Result<Finished, SysError> {
        self.run_as(None, limit, cancel)
    }

    /// As [`Command::run`], as another user.
    pub fn run_as(&self, user: Option<&Identity>, limit: Duration, cancel: &Cancel) -> Result<Finished, SysError> {
        self.start_as(user)?.wait(limit, cancel)
    }
}

impl Running {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// Sends a signal to its process group.
    pub fn signal(&self, signal: Signal) {
        // ESRCH: it is gone already, which is what a signal is for here.
        let _ = kill(Pid::from_raw(-self.pid()), signal);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub fn wait(mut self, limit: Duration, cancel: &Cancel) -> Result<Finished, SysError> {
        let mut pause = Duration::from_millis(1);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(self.finish(status)),
                Ok(None) => {}
                Err(e) => return Err(SysError::new(format!("wait for {}", self.what), e)),
            }
            let verdict = if cancel.is_cancelled() {
                Some((io::ErrorKind::Interrupted, "cancelled".to_owned()))
            } else if self.started.elapsed() > limit {
                Some((io::ErrorKind::TimedOut, format!("not done after {} s, killed", limit.as_secs())))
            } else {
                None
            };
            if let Some((kind, text)) = verdict {
                return Err(SysError::new(format!("run {}", self.what), io::Error::new(kind, text)));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn finish(&mut self, status: process::ExitStatus) -> Finished {
        children::release(self.pid());
        // leftovers of its group would hold the output pipes open
        self.signal(Signal::SIGKILL);
        let ended = Instant::now();
        while self.readers.as_ref().is_some_and(|(out, err)| !(out.is_finished() && err.is_finished()))
            && ended.elapsed() < OUTPUT
        {
            thread::sleep(Duration::from_millis(1));
        }
        self.stop.store(true, Ordering::Release);
        let text = |h: Reader| String::from_utf8_lossy(&h.join().unwrap_or_default()).into_owned();
        let (stdout, stderr) = self.readers.take().map(|(o, e)| (text(o), text(e))).unwrap_or_default();
        let status = match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Unknown,
        };
        Finished { status, stdout, stderr, took: self.started.elapsed() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal(Signal::SIGKILL);
            // Reaps it; after SIGKILL this is a matter of the kernel's.
            let _ = self.child.wait();
        }
        children::release(self.pid());
        self.stop.store(true, Ordering::Release);
    }
}

fn keep_end(mut from: impl Read + AsFd, stop: &AtomicBool) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut block = [0u8; 8192];
    while !stop.load(Ordering::Acquire) {
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], LOOK) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => break,
        }
        let Ok(n @ 1..) = from.read(&mut block) else { break };
        kept.extend_from_slice(&block[..n]);
        if kept.len() > 2 * KEEP {
            kept.drain(..kept.len() - KEEP);
        }
    }
    kept
}

/// The variables a package client needs from the caller's environment: where home is, and how the network is reached.
/// Everything else of the host's environment stays outside.
pub fn client_environment() -> Vec<(String, String)> {
    const PASSED: [&str; 13] = [
        "PATH",
        "HOME",
        "USER",
        "LANG",
        "JAVA_HOME",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    PASSED.iter().filter_map(|k| Some(((*k).to_owned(), std::env::var(k).ok()?))).collect()
}

/// The absolute path of `program` on PATH, if it is there and a file.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|p| File::open(p).is_ok_and(|f| f.metadata().is_ok_and(|m| m.is_file())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        Command { argv: vec!["/bin/sh".into(), "-c".into(), script.into()], env: vec![], dir: "/".into(), stdin: None }
    }

    #[test]
    fn a_helper_gets_only_the_given_environment_and_its_output_is_kept() {
        let mut command = sh("env; cat; echo oops >&2; exit 3");
        command.env = vec![("A".into(), "1".into())];
        command.stdin = Some(b"typed".to_vec());
        let done = command.run(Duration::from_secs(10), &Cancel::default()).unwrap();
        assert_eq!(done.status, ExitStatus::Code(3));
        assert!(
            done.stdout.contains("A=1") && done.stdout.ends_with("typed") && !done.stdout.contains("HOME="),
            "{done:?}"
        );
        assert_eq!(done.last_lines(1), "oops");
    }

    #[test]
    fn a_helper_past_its_limit_is_killed_with_its_children_and_reported_as_timed_out() {
        let before = Instant::now();
        let e = sh("sleep 1000 & sleep 1000").run(Duration::from_millis(50), &Cancel::default()).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_a_helper_left_running_with_its_output_open_is_not_waited_for() {
        let before = Instant::now();
        let done = sh("setsid sleep 30 & echo said").run(Duration::from_secs(20), &Cancel::default()).unwrap();
        assert!(done.ok() && done.stdout == "said\n", "{done:?}");
        assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
    }

    #[test]
    fn a_helper_runs_as_the_user_that_is_named_with_nothing_of_ours() {
        if !crate::sys::host::is_root_or_skipped("a_helper_runs_as_the_user_that_is_named_with_nothing_of_ours") {
            return;
        }
        let nobody = Identity::of(Some("nobody")).unwrap().unwrap();
        assert_eq!(Identity::of(Some("root")).unwrap(), None);
        assert!(Identity::of(Some("no-such-user-here")).is_err());
        let done = sh("id -u; id -G").run_as(Some(&nobody), Duration::from_secs(20), &Cancel::default()).unwrap();
        let groups: Vec<String> = nobody.groups.iter().map(ToString::to_string).collect();
        assert_eq!(done.stdout, format!("{}\n{}\n", nobody.uid, groups.join(" ")));
    }

    #[test]
    fn a_missing_program_is_named() {
        let command = Command { argv: vec!["/nonexistent/tool".into()], env: vec![], dir: "/".into(), stdin: None };
        assert_eq!(
            command.run(Duration::from_secs(1), &Cancel::default()).unwrap_err().to_string(),
            "cannot run /nonexistent/tool"
        );
    }
}
