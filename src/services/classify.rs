//! Why a run ended: from its exit record, whether we asked for it, and what it wrote last.

use super::{
    catalogue::{self, Known},
    known,
};
use crate::base::{
    Cause, ExitRecord, ExitStatus, NodeKind,
    outcome::{Failure, signal_name},
    recipe::Stop,
};
use std::path::Path;

/// How a run ended, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub cause: Cause,
    /// Present when restarting cannot cure it; then `cause` is terminal.
    pub failure: Option<Failure>,
    /// What the log says about it, for the incident: meaning, remedy and the line. None when nothing known was written.
    pub note: Option<String>,
}

/// What a run wrote last, as far as it may say why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// The lines, of this run only as far as the caller can tell.
    pub lines: &'a str,
    /// It had served: what only a start ends of does not explain its end.
    pub served: bool,
    /// What a run that has served wrote before those lines, and outlived.
    pub outlived: &'a str,
}

impl<'a> Said<'a> {
    /// The line that explains the end best, with its entry.
    pub fn explained(self, kind: NodeKind) -> Option<(&'static Known, &'a str)> {
        match self.served {
            true => catalogue::explain_served(kind, self.lines, self.outlived),
            false => catalogue::explain(kind, self.lines),
        }
    }
}

/// Longest piece of a log line that is quoted.
const QUOTE_CHARS: usize = 240;

/// SIGKILL; SIGTERM; the signals by which a process ends itself or is ended by the kernel for its own doing (signal(7)): faults,
/// a pipe that nobody reads, a timer or a file's news that it asked for and does not handle. HUP, INT and the like come from outside.
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const OWN_DOING: [i32; 14] = [4, 5, 6, 7, 8, 11, SIGPIPE, SIGALRM, 24, 25, SIGVTALRM, SIGPROF, SIGIO, SIGSYS];
const SIGPIPE: i32 = 13;
const SIGALRM: i32 = 14;
const SIGVTALRM: i32 = 26;
const SIGPROF: i32 = 27;
const SIGIO: i32 = 29;
const SIGSYS: i32 = 31;

/// Judges an end. `asked_to_stop` says that the stop signal of `stop` was sent by an order or because of one.
pub fn classify(kind: NodeKind, exit: &ExitRecord, said: Said<'_>, asked_to_stop: bool, stop: &Stop) -> Ended {
    let plain = |cause| Ended { cause, failure: None, note: None };
    // The kernel's count is proof, whatever else was going on.
    if exit.oom_kills.is_some_and(|n| n > 0) && exit.status == ExitStatus::Signal(SIGKILL) {
        return plain(Cause::OutOfMemory);
    }
    match exit.status {
        ExitStatus::Unknown => plain(Cause::Unknown),
        status if asked_to_stop => plain(stopped(kind, status, exit, said.lines, stop)),
        ExitStatus::Signal(signal) if exit.signals_sent.contains(&signal) => plain(Cause::KilledByOrder),
        ExitStatus::Signal(signal) if OWN_DOING.contains(&signal) => told(kind, said),
        ExitStatus::Signal(_) => plain(Cause::KilledByOther),
        ExitStatus::Code(0) if shut_down_by_signal(kind, said.lines) => plain(outside(exit, SIGTERM)),
        ExitStatus::Code(0) => plain(Cause::Completed),
        // MYSQLD_RESTART_EXIT: SQL RESTART asked for a new start. We do not offer it (no MYSQLD_PARENT_PID), so it is rare.
        ExitStatus::Code(16) if kind == NodeKind::Mysql => plain(Cause::Completed),
        ExitStatus::Code(code) => match code.checked_sub(128) {
            Some(signal) if is_of_a_signal(kind, signal) => plain(outside(exit, signal)),
            Some(signal) if exit.signals_sent.contains(&signal) => plain(Cause::KilledByOrder),
            Some(_) | None => match told(kind, said) {
                Ended { cause: Cause::Crashed, note: None, .. } => by_code(kind, code, said.served),
                told => told,
            },
        },
    }
}

/// Judges the end of a helper that does work for a node before its start (`mysqld --initialize`), and failed at it. Nobody asked it to
/// end; `output` is what it wrote. What comes without a failure may pass.
pub fn classify_helper(kind: NodeKind, status: ExitStatus, output: &str) -> Ended {
    let plain = |cause| Ended { cause, failure: None, note: None };
    let said = Said { lines: output, served: false, outlived: "" };
    match status {
        ExitStatus::Unknown => plain(Cause::Unknown),
        ExitStatus::Signal(signal) if OWN_DOING.contains(&signal) => told(kind, said),
        ExitStatus::Signal(_) => plain(Cause::KilledByOther),
        // It has given up in order, and begins with nothing each time: it would end in the same way.
        ExitStatus::Code(_) => match told(kind, said) {
            Ended { cause: Cause::Crashed, failure: None, note: None } => {
                // mysqld says the matter first, and at last that it ends.
                let matter = output.lines().find(|line| line.contains("[ERROR]"));
                let said = matter.or_else(|| output.lines().rev().find(|line| !line.trim().is_empty()));
                let quote: String = said.unwrap_or_default().trim().chars().take(QUOTE_CHARS).collect();
                let failure = Failure {
                    cause: Cause::CouldNotStart,
                    what: format!("it said {quote:?}"),
                    remedy: "mend what it names, then start the node".into(),
                };
                Ended { cause: Cause::CouldNotStart, failure: Some(failure), note: None }
            }
            told => told,
        },
    }
}

/// What a code alone says, when no known line does (ZooKeeper's ExitCode.java, the same in 3.6.4 and 3.8.3). Its 3, "data
/// directory unusable", is not among them: a JVM that gives up on a full heap ends with 3 as well.
fn by_code(kind: NodeKind, code: i32, served: bool) -> Ended {
    let crashed = Ended { cause: Cause::Crashed, failure: None, note: None };
    if kind != NodeKind::Zookeeper {
        return crashed;
    }
    let (cause, meaning, remedy) = match code {
        2 => (
            Cause::BadOption,
            "ZooKeeper refuses its configuration",
            "correct [zookeeper.properties] in supervisor.toml",
        ),
        4 => (
            Cause::PortTaken,
            "ZooKeeper's admin server could not start, most often because its port (8080) is taken",
            "take admin.enableServer out of zookeeper.properties",
        ),
        10 => (
            Cause::Crashed,
            "ZooKeeper could not write its transaction log or a snapshot",
            "see how full the disk is, and the kernel's log for its errors",
        ),
        14 => (
            Cause::PortTaken,
            "ZooKeeper could not bind a quorum port",
            "take server.N lines out of zookeeper.properties: one ZooKeeper runs alone",
        ),
        _ => return crashed,
    };
    if served && cause.is_of_a_start() {
        return crashed;
    }
    let failure = cause.is_terminal().then(|| Failure {
        cause,
        what: format!("{meaning} (exit {code})"),
        remedy: remedy.to_owned(),
    });
    Ended { cause, failure, note: Some(format!("{meaning} (exit {code}); {remedy}")) }
}

/// What a signal alone says: its meaning, and what to do. SIGSYS comes from nowhere but a filter of system calls (seccomp(2)).
pub fn by_signal(status: ExitStatus) -> Option<(&'static str, &'static str)> {
    let ExitStatus::Signal(signal) = status else { return None };
    match signal {
        SIGPIPE => Some((
            "it wrote to a pipe or a socket whose other side had closed it",
            "see what it writes to and why that went away; a program that ignores SIGPIPE (in a shell: trap '' PIPE) gets an error \
             instead, and can go on",
        )),
        SIGALRM | SIGVTALRM | SIGPROF => Some((
            "a timer of its own ran out, and it does not handle that signal",
            "see what sets that timer (alarm(2), setitimer(2), a profiler), and have it handle the signal",
        )),
        SIGIO => Some((
            "a file or socket of which it wanted to hear had news, and it does not handle that signal",
            "see where it asks for that (O_ASYNC in fcntl(2)), and have it handle the signal",
        )),
        SIGSYS => Some((
            "it asked for a system call that a filter forbids",
            "the unit's filter is SystemCallFilter=@system-service: allow what it needs besides (`systemctl edit cdc-supervisor`, \
             journalctl -k or _TRANSPORT=audit names the call), then `systemctl restart cdc-supervisor`; or the filter is its own",
        )),
        _ => None,
    }
}

/// Whether a full disk would explain an end: of who keeps data, by itself, and with no other reason in its log. The words of such an end may be
/// in none: the disk takes them no more than anything else. And a JVM whose mapped file gets no page dies of that (tried). What somebody's
/// own program needs is not known; a UI keeps nothing.
pub fn may_be_of_no_room(kind: NodeKind, ended: &Ended) -> bool {
    let keeps_data = match kind {
        NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql => true,
        NodeKind::KafkaUi | NodeKind::Command => false,
    };
    let Ended { cause, failure, note } = ended;
    let unexplained = note.as_ref().is_none_or(|note| note.contains(known::HOW_FULL));
    keeps_data && *cause == Cause::Crashed && failure.is_none() && unexplained
}

/// The same end where `dir`, one of its directories, takes nothing more: another start would end the same.
pub fn of_no_room(ended: &Ended, exit: &ExitRecord, dir: &Path) -> Ended {
    let how = ended.note.clone().unwrap_or_else(|| Ended::status_words(exit));
    let what = format!(
        "the file system of {} is full, and what it said of its end may not be in its log: {how}",
        dir.display()
    );
    let failure = Failure { cause: Cause::DiskFull, what: what.clone(), remedy: known::FREE_SPACE.to_owned() };
    Ended { cause: Cause::DiskFull, failure: Some(failure), note: Some(format!("{what}; {}", known::FREE_SPACE)) }
}

/// Whether the remedy is to give a node its files: whose and where, only the caller knows.
pub fn is_about_owners(failure: &Failure) -> bool {
    failure.cause == Cause::WrongOwner && failure.remedy == known::OWN_FILES
}

/// An end that we asked for: clean, or killed when it took too long, or a crash on the way out. No failure: whether it can
/// be started again shows at the next start.
fn stopped(kind: NodeKind, status: ExitStatus, exit: &ExitRecord, last_lines: &str, stop: &Stop) -> Cause {
    match status {
        ExitStatus::Code(0) => Cause::Stopped,
        ExitStatus::Code(code) if stop.clean_codes.contains(&code) => Cause::Stopped,
        // a broker that is still starting halts with 1 at SIGTERM (Kafka.scala: its shutdown hook halts)
        ExitStatus::Code(1) if matches!(kind, NodeKind::Broker(_)) && last_lines.contains(STILL_STARTING) => {
            Cause::Stopped
        }
        ExitStatus::Signal(signal) if signal == stop.signal => Cause::Stopped,
        ExitStatus::Signal(SIGKILL) if exit.signals_sent.contains(&SIGKILL) => Cause::KilledAfterGrace,
        ExitStatus::Signal(signal) if exit.signals_sent.contains(&signal) => Cause::KilledByOrder,
        ExitStatus::Signal(signal) if !OWN_DOING.contains(&signal) => Cause::KilledByOther,
        ExitStatus::Code(_) | ExitStatus::Signal(_) => Cause::Crashed,
        ExitStatus::Unknown => Cause::Unknown,
    }
}

/// `KafkaServer.shutdown`, 3.5.2.
const STILL_STARTING: &str = "Kafka server is still starting up, cannot shut down!";

/// mysqld ends with 0 at SIGTERM and names its sender's road (MY-013172).
fn shut_down_by_signal(kind: NodeKind, last_lines: &str) -> bool {
    kind == NodeKind::Mysql && last_lines.contains("Received SHUTDOWN from user <via user signal>")
}

/// Whether 128 and this is how a program of the kind reports a signal: a JVM does so behind its shutdown hook, of HUP, INT and TERM. It
/// may run as a command, and a shell says the same of what it ran; but a command's 129 may be its own, for programs number their errors.
fn is_of_a_signal(kind: NodeKind, signal: i32) -> bool {
    match kind {
        NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::KafkaUi => matches!(signal, 1 | 2 | SIGTERM),
        NodeKind::Command => matches!(signal, 2 | SIGTERM),
        NodeKind::Mysql => false,
    }
}

fn outside(exit: &ExitRecord, signal: i32) -> Cause {
    if exit.signals_sent.contains(&signal) { Cause::KilledByOrder } else { Cause::KilledByOther }
}

/// What the log tells about an end by the node's own doing.
fn told(kind: NodeKind, said: Said<'_>) -> Ended {
    let Some((known, line)) = said.explained(kind) else {
        return Ended { cause: Cause::Crashed, failure: None, note: None };
    };
    let cause = known.cause.unwrap_or(Cause::Crashed);
    let quote: String = line.trim().chars().take(QUOTE_CHARS).collect();
    let failure = cause.is_terminal().then(|| Failure {
        cause,
        what: format!("{}: {quote:?}", known.meaning),
        remedy: known.remedy.to_owned(),
    });
    Ended { cause, failure, note: Some(format!("{}; {} (log: {quote:?})", known.meaning, known.remedy)) }
}

impl Ended {
    /// One line for incidents where no more is known than the record: `exit 1`, `SIGKILL`.
    pub fn status_words(exit: &ExitRecord) -> String {
        match exit.status {
            ExitStatus::Code(code) if code > 128 && code <= 128 + 64 => {
                format!("exit {code} ({})", signal_name(code - 128))
            }
            status => status.describe(),
        }
    }
}

#[cfg(test)]
mod tests;
