//! `upgrade-self`: this process becomes the program that lies at the daemon's path now. Same pid, so a service manager notices
//! nothing; the lock and the listening socket go along, so no second daemon and no refused client come in between; shims and
//! nodes are not touched.

use super::{door::Door, signals::Ears, systemd};
use crate::{
    base::{ExitStatus, Layout},
    control::{
        server::{AnswerSink, Handler},
        wire::Answer,
    },
    engine::{Handle, NotStill, Still},
    sys::{
        clock,
        command::{Cancel, Command, Finished},
        error::SysError,
        failpoint::fail_point,
        fs::Lock,
        process, stop_signals,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// How long orders and launches under way may take until the hand-over is refused for them.
const QUIET_WITHIN: Duration = Duration::from_secs(30);

/// How long the new program may take to look at the state and the store.
const CHECK_WITHIN: Duration = Duration::from_secs(60);

/// The argument of `run` that carries what is handed over.
pub(super) const ARGUMENT: &str = "--handed-over";

/// What `run --check` says on its standard output, one line of JSON. Keys are added, never changed: the reader is older.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Checked {
    /// 1.
    pub(super) check: u32,
    /// The version of the new program.
    pub(super) version: String,
    /// It takes the signals that wait for it (`sys::stop_signals`); an older one would never hear them.
    #[serde(default)]
    pub(super) keeps_signals: bool,
}

/// What an earlier program of this process has left open for us.
#[derive(Debug)]
pub(super) struct Inherited {
    lock: OwnedFd,
    listener: OwnedFd,
    /// The version of that program.
    pub(super) from: String,
}

impl Inherited {
    /// Reads `LOCK,LISTENER,VERSION` and takes the two descriptors. To be called before anything is opened. None for
    /// anything but two open descriptors: then the daemon starts as any other.
    pub(super) fn take(text: &str) -> Option<Self> {
        let (lock, rest) = text.split_once(',')?;
        let (listener, from) = rest.split_once(',')?;
        let (lock, listener): (i32, i32) = (lock.parse().ok()?, listener.parse().ok()?);
        if lock == listener {
            return None;
        }
        let (lock, listener) = (process::inherited(lock)?, process::inherited(listener)?);
        Some(Self { lock, listener, from: from.to_owned() })
    }

    /// The lock, if it is this root's and still held.
    pub(super) fn go_on(self, layout: &Layout) -> (Option<Lock>, Option<UnixListener>) {
        fail_point!("handover.begun");
        let lock = Lock::go_on(File::from(self.lock), &layout.daemon_lock()).ok().flatten();
        let listener = UnixListener::from(self.listener);
        let is_ours =
            listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(&layout.control_socket()))
                && layout.control_socket().exists();
        (lock, is_ours.then_some(listener))
    }
}

/// Where this daemon's program lies: by the name it was started with when that leads to it (a link that an upgrade points
/// elsewhere), else where the kernel says. Asked at the start, before anything can have been replaced.
pub(super) fn own_program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let called = std::env::args_os().next().map(PathBuf::from).filter(|name| name.is_absolute());
    let leads_here = |name: &PathBuf| name.canonicalize().ok() == own.canonicalize().ok();
    let path = called.filter(leads_here).unwrap_or(own);
    // A program replaced before we looked shows as "PATH (deleted)" (proc_pid_exe(5)); the new one lies there.
    Ok(path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map_or_else(|| path.clone(), PathBuf::from))
}

/// The arguments this process was started with, without those of an earlier hand-over.
fn own_arguments() -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        if argument == ARGUMENT {
            given.next();
        } else {
            arguments.push(argument);
        }
    }
    arguments
}

/// Orders that change something and are being carried out, and whether new ones are let in.
#[derive(Debug, Default)]
pub(super) struct Work {
    under_way: AtomicUsize,
    closed: AtomicBool,
}

/// One order under way.
#[derive(Debug)]
pub(super) struct Working<'a>(&'a Work);

impl Work {
    /// Begins an order; none while this process is about to become another program.
    pub(super) fn begin(&self) -> Option<Working<'_>> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let working = Working(self);
        (!self.closed.load(Ordering::SeqCst)).then_some(working)
    }

    /// Whether none is being carried out.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets orders in again when a hand-over did not come about.
struct Closed<'a>(&'a Work);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.closed.store(false, Ordering::SeqCst);
    }
}

/// What a hand-over needs of the running daemon.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) program: PathBuf,
    pub(super) lock: Lock,
    pub(super) door: Arc<Door>,
    pub(super) engine: Handle,
    pub(super) ears: Arc<Ears>,
    pub(super) work: Work,
    pub(super) one: tokio::sync::Mutex<()>,
    pub(super) failed: Mutex<Option<String>>,
}

/// A refusal: exit code, sentence, causes, hint.
type Refusal = (u8, String, Vec<String>, Option<&'static str>);

impl Handover {
    /// Why the last one did not come about after it had been announced.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Carries out `upgrade-self`. `handler` serves on when it does not come about.
    pub(super) async fn carry_out(&self, handler: Arc<dyn Handler>, out: &AnswerSink) {
        let Ok(_one) = self.one.try_lock() else {
            return refuse(out, (8, "another upgrade-self is under way".into(), Vec::new(), None));
        };
        out.progress(format!("looking at {}", self.program.display()));
        let checked = match self.check().await {
            Ok(checked) => checked,
            Err(refusal) => return refuse(out, refusal),
        };
        let closed;
        let still = match self.quiet(out).await {
            Ok((still, guard)) => {
                closed = guard;
                still
            }
            Err(refusal) => return refuse(out, refusal),
        };
        tracing::info!(from = env!("CARGO_PKG_VERSION"), to = %checked.version, program = %self.program.display(), "handing over to the new program in this process");
        fail_point!("handover.still");
        out.send(Answer::Done { text: vec![format!("handing over to version {}", checked.version)] });
        // Our own answer goes out with the others; from here on clients wait at the socket.
        self.door.close().await;
        fail_point!("handover.closed");
        let why = self.go(&still, &checked);
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        if let Err(e) = self.door.open(handler).await {
            tracing::error!(error = %e, "the control socket cannot be served any more; a restart of the daemon helps, nodes run on");
        }
        drop((still, closed));
    }

    /// Returns only when it does not come about, with the reason.
    fn go(&self, still: &Still, checked: &Checked) -> String {
        // A signal that comes while this is held is the new program's; one that came before has won.
        let Some(_deaf) = self.ears.hold().filter(|_| still.commit()) else {
            tracing::info!("the hand-over is given up: everything is to be stopped");
            return "everything was ordered to stop meanwhile".to_owned();
        };
        systemd::handing_over(&checked.version);
        fail_point!("handover.committed");
        let why = self.become_it(checked);
        tracing::error!(error = %why.source, "the hand-over did not come about: {why}; this daemon goes on");
        format!("{why}: {}", why.source)
    }

    /// Runs the new program's own look at the state, before anything is done.
    async fn check(&self) -> Result<Checked, Refusal> {
        let mut argv = vec![self.program.display().to_string()];
        argv.extend(own_arguments().into_iter().map(|a| a.to_string_lossy().into_owned()));
        argv.push("--check".into());
        // It must find the same files; what belongs to the service manager is not its business.
        let ours = |name: &str| matches!(name, "NOTIFY_SOCKET" | "WATCHDOG_PID" | "WATCHDOG_USEC");
        let env = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .filter(|(k, _)| !ours(k))
            .collect();
        let command = Command { argv, env, dir: "/".into(), stdin: None };
        let ran = tokio::task::spawn_blocking(move || command.run(CHECK_WITHIN, &Cancel::default())).await;
        let program = self.program.display();
        match ran {
            Ok(Ok(finished)) => judge(&program.to_string(), &finished),
            Ok(Err(e)) => Err(cannot_run(&program.to_string(), &e)),
            Err(e) => Err((1, "the look at the new program failed".into(), vec![e.to_string()], None)),
        }
    }

    /// Waits until nothing is under way and keeps it so.
    async fn quiet(&self, out: &AnswerSink) -> Result<(Still, Closed<'_>), Refusal> {
        let too_long = |causes| {
            let seconds = QUIET_WITHIN.as_secs();
            (8, format!("something was under way for all of {seconds} s"), causes, Some("try again when it is done"))
        };
        let began = clock::now();
        let closed = loop {
            let closed = Closed(&self.work);
            self.work.closed.store(true, Ordering::SeqCst);
            if self.work.is_idle() {
                break closed;
            }
            drop(closed);
            if clock::now().since(began) > QUIET_WITHIN {
                return Err(too_long(vec!["an order is being carried out".to_owned()]));
            }
            out.progress("waiting for an order that is being carried out");
            sleep(Duration::from_millis(100)).await;
        };
        out.progress("waiting until nothing is being started or stopped");
        let rest = QUIET_WITHIN.saturating_sub(clock::now().since(began));
        self.engine.hold_still(rest).await.map(|still| (still, closed)).map_err(|not| match not {
            NotStill::UnderWay(causes) => too_long(causes),
            NotStill::Unwritten(files) => (
                8,
                format!("{files} files of the state could not be written; another program would go on without them"),
                Vec::new(),
                Some("make room on the root's file system: they are written by themselves; then try again"),
            ),
        })
    }

    /// Returns only when the kernel refuses.
    fn become_it(&self, checked: &Checked) -> SysError {
        let (lock, listener) = (self.lock.file().as_fd(), self.door.as_fd());
        let mut arguments = own_arguments();
        let handed = format!("{},{},{}", lock.as_raw_fd(), listener.as_raw_fd(), env!("CARGO_PKG_VERSION"));
        arguments.extend([ARGUMENT.into(), handed.into()]);
        if !checked.keeps_signals {
            // Never refused (pthread_sigmask(3)).
            let _ = stop_signals::let_through();
        }
        let refused = process::replace_program(&self.program, &arguments, &[lock, listener]);
        let _ = stop_signals::hold_back();
        refused
    }
}

fn refuse(out: &AnswerSink, (exit, message, causes, hint): Refusal) {
    tracing::warn!("upgrade-self was refused: {message}: {}", causes.join(": "));
    out.send(Answer::Refused { exit, message, causes, hint: hint.map(str::to_owned) });
}

fn cannot_run(program: &str, e: &SysError) -> Refusal {
    let causes = vec![e.source.to_string()];
    match e.kind() {
        io::ErrorKind::TimedOut => (8, format!("{program} did not look at the state in time"), causes, None),
        _ => (
            4,
            format!("{program} cannot be run"),
            causes,
            Some("put both programs there, executable, and try again; the daemon runs on as it is"),
        ),
    }
}

/// What the new program said of itself and of the state.
fn judge(program: &str, finished: &Finished) -> Result<Checked, Refusal> {
    let said = || finished.last_lines(6).lines().map(str::to_owned).collect::<Vec<_>>();
    let last = finished.stdout.lines().last().unwrap_or_default();
    match finished.status {
        ExitStatus::Code(0) => serde_json::from_str(last).map_err(|_| {
            (8, format!("{program} is no daemon of this kind: it does not answer `run --check`"), said(), None)
        }),
        ExitStatus::Code(2) => {
            Err((8, format!("{program} does not know `run --check`: too old a version"), said(), None))
        }
        ExitStatus::Code(code @ (3 | 4 | 5 | 8)) => {
            let code = u8::try_from(code).unwrap_or(8);
            Err((code, format!("{program} cannot go on with what is here"), said(), None))
        }
        ExitStatus::Code(_) | ExitStatus::Signal(_) | ExitStatus::Unknown => {
            let how = finished.status.describe();
            Err((8, format!("{program} ended with {how} when it looked at the state"), said(), None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(status: ExitStatus, stdout: &str, stderr: &str) -> Finished {
        Finished { status, stdout: stdout.into(), stderr: stderr.into(), took: Duration::ZERO }
    }

    #[test]
    fn only_a_program_that_says_it_can_go_on_is_taken() {
        let good = finished(ExitStatus::Code(0), "{\"check\":1,\"version\":\"9.9\",\"later\":true}\n", "");
        assert_eq!(judge("/p", &good).unwrap().version, "9.9");
        for (status, stdout, exit) in [
            (ExitStatus::Code(0), "hello\n", 8),
            (ExitStatus::Code(2), "", 8),
            (ExitStatus::Code(3), "", 3),
            (ExitStatus::Code(8), "", 8),
            (ExitStatus::Code(101), "", 8),
            (ExitStatus::Signal(11), "", 8),
        ] {
            let (code, message, causes, _) = judge("/p", &finished(status, stdout, "because\n")).unwrap_err();
            assert_eq!(code, exit, "{message}");
            assert_eq!(causes, ["because"]);
        }
    }

    #[test]
    fn what_is_no_pair_of_open_descriptors_is_not_taken_over() {
        for text in ["", "1,2,0.1", "5", "x,y,z", "100001,100002,0.1.0", "7,7,0.1.0"] {
            assert!(Inherited::take(text).is_none(), "{text}");
        }
    }

    #[test]
    fn no_order_begins_while_the_program_is_being_replaced() {
        let work = Work::default();
        let first = work.begin();
        assert!(first.is_some() && !work.is_idle());
        drop(first);
        assert!(work.is_idle());
        work.closed.store(true, Ordering::SeqCst);
        let closed = Closed(&work);
        assert!(work.begin().is_none());
        assert!(work.is_idle());
        drop(closed);
        assert!(work.begin().is_some());
    }
}
