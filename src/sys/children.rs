//! Which of this process's children belong to somebody here, so that reaping orphans never steals an exit status.
//!
//! The daemon is a child subreaper: processes it never started end up as its children. A global `waitpid(-1)` would take
//! the statuses of its own children too (tokio's documented trap), so every spawn registers its pid
//! under a lock and the orphan reaper waits only for pids that nobody registered.

use crate::base::ExitStatus;
use nix::{
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
    unistd::Pid,
};
use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    process::Child,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

static OWNED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Children that nobody waits for any more and that have not ended yet.
static LEFT: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Statuses of orphans reaped lately, newest last: whoever knew such a pid can still learn how it ended.
static REAPED: Mutex<VecDeque<(i32, ExitStatus)>> = Mutex::new(VecDeque::new());

/// How many statuses of orphans are kept. An orphan's status is asked for at once (its pidfd woke the asker).
const REAPED_KEPT: usize = 256;

fn owned() -> MutexGuard<'static, BTreeSet<i32>> {
    // The set is consistent after any panic: insert and remove are its only changes.
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spawns through `spawn` and registers the child before any orphan reaping can look at it.
pub fn spawn_owned(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut set = owned();
    let child = spawn()?;
    set.insert(i32::try_from(child.id()).unwrap_or_default());
    Ok(child)
}

/// Registers a child that somebody else has made for this process (clone(2), CLONE_PARENT). One that has ended before is an orphan
/// until then: [`super::process::try_wait`] tells.
pub fn own(pid: i32) {
    owned().insert(pid);
}

/// Runs `work` while no child can be spawned: what it does to descriptors reaches no child by accident.
pub(super) fn without_spawns<T>(work: impl FnOnce() -> T) -> T {
    let _held = owned();
    work()
}

/// Forgets a child that its owner has waited for.
pub fn release(pid: i32) {
    owned().remove(&pid);
}

/// Lets go of a registered child that is about to end: it is reaped now, or at a later SIGCHLD, and nobody asks how it ended.
pub fn leave(pid: i32) {
    // Into the second set before out of the first: a look in between must not take it for an orphan.
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_reaped(pid) {
        left.insert(pid);
    }
}

/// Whether a registered child is gone: reaps it if it has ended, and forgets it.
fn is_reaped(pid: i32) -> bool {
    if let Ok(WaitStatus::StillAlive) = waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)
    {
        return false;
    }
    release(pid);
    true
}

/// Waits until this process has no child any more, at most so long, reaping whatever ends: for the very end of it, when nobody asks how
/// a child has ended. Blocks.
///
/// systemd removes the groups of a unit when its main process is gone, and looks again when the last process leaves them; where that
/// happens at the same moment the groups stay, empty (seen with systemd 257).
pub fn await_none(within: Duration) {
    let began = Instant::now();
    // ECHILD: there is none.
    while let Ok(status) = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
        if status == WaitStatus::StillAlive {
            if began.elapsed() >= within {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Reaps every ended child that nobody registered, and those left. Call on SIGCHLD.
pub fn reap_orphans() {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| !is_reaped(*pid));
    // Most signals tell of those. Only a child that has ended and is still there makes it worth to list all of them.
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    if !matches!(waitid(Id::All, peek), Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))) {
        return;
    }
    let set = owned();
    let mut reaped = Vec::new();
    for pid in children_of_this_process() {
        if set.contains(&pid) {
            continue;
        }
        // ECHILD (reaped meanwhile, or a child of a tracer) and "still running" both mean: nothing to report.
        match waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(p, code)) => reaped.push((p.as_raw(), ExitStatus::Code(code))),
            Ok(WaitStatus::Signaled(p, signal, _)) => reaped.push((p.as_raw(), ExitStatus::Signal(signal as i32))),
            _ => {}
        }
    }
    let mut kept = REAPED.lock().unwrap_or_else(PoisonError::into_inner);
    kept.extend(reaped);
    let excess = kept.len().saturating_sub(REAPED_KEPT);
    kept.drain(..excess);
}

/// How an orphan ended, if this process was its parent and has reaped it; reaps first.
pub fn status_of_orphan(pid: i32) -> Option<ExitStatus> {
    reap_orphans();
    // Another thread may have reaped it and not have written it down yet: it does both while it holds this.
    let _reaping = owned();
    let kept = REAPED.lock().unwrap_or_else(PoisonError::into_inner);
    kept.iter().rev().find(|(p, _)| *p == pid).map(|(_, status)| *status)
}

/// Waits for a registered child that has ended or is about to, and forgets it.
pub fn wait_owned(pid: i32) -> ExitStatus {
    let status = loop {
        match waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(_, code)) => break ExitStatus::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => break ExitStatus::Signal(signal as i32),
            Err(nix::errno::Errno::EINTR) => {}
            // ECHILD: not ours, or reaped by somebody else
            _ => break ExitStatus::Unknown,
        }
    };
    release(pid);
    status
}

/// Direct children, from `/proc/self/task/*/children` (proc(5); needs CONFIG_PROC_CHILDREN, on in Debian and Ubuntu).
fn children_of_this_process() -> Vec<i32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<i32>>())
        .collect()
}
