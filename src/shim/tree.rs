//! The shim's descendants: reaping them, and signalling all of them without ever hitting a stranger.

use crate::{
    base::ExitStatus,
    sys::{cgroup, process},
};
use nix::unistd::{Pid, getpgid, getpgrp};
use std::path::Path;

/// The end of the main process.
#[derive(Clone, Copy, Debug)]
pub(super) struct MainEnd {
    pub(super) status: ExitStatus,
    pub(super) cpu_ms: u64,
    pub(super) peak_rss_bytes: u64,
}

/// What one round of reaping found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    /// The main process, when it was among them.
    pub(super) main: Option<MainEnd>,
    /// Whether children remain. As this process is a subreaper, none means that the whole tree is gone: a descendant's
    /// parent is either a child of ours or has handed it to us.
    pub(super) left: bool,
}

/// Waits for every child that has ended; never blocks.
pub(super) fn reap(main: i32) -> Reaped {
    let mut found = None;
    loop {
        let mut status = 0;
        // SAFETY: rusage is plain numbers, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // __WALL: children made by clone(2) with another exit signal count too.
        // SAFETY: both pointers are to live variables of the right type.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, &raw mut usage) };
        match pid {
            0 => return Reaped { main: found, left: true },
            p if p > 0 => {
                if p == main {
                    found = Some(main_end(status, &usage));
                }
            }
            _ if nix::errno::Errno::last() == nix::errno::Errno::EINTR => {}
            _ => return Reaped { main: found, left: false },
        }
    }
}

fn main_end(status: i32, usage: &libc::rusage) -> MainEnd {
    let ms = |t: libc::timeval| u64::try_from(t.tv_sec * 1000 + t.tv_usec / 1000).unwrap_or(0);
    MainEnd {
        status: if libc::WIFEXITED(status) {
            ExitStatus::Code(libc::WEXITSTATUS(status))
        } else {
            ExitStatus::Signal(libc::WTERMSIG(status))
        },
        cpu_ms: ms(usage.ru_utime) + ms(usage.ru_stime),
        // getrusage(2): kilobytes
        peak_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
    }
}

fn own_pid() -> i32 {
    // a pid fits: the kernel's is an int
    i32::try_from(std::process::id()).unwrap_or_default()
}

/// What still lives below this process or in the cgroup.
pub(super) fn living(group: Option<&Path>) -> Vec<i32> {
    let mut pids = process::descendants(own_pid());
    for pid in group.map(cgroup::members).unwrap_or_default() {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids
}

/// Sends `signal` to every descendant and every member of the cgroup.
pub(super) fn signal_all(signal: i32, group: Option<&Path>) {
    let members = group.map(cgroup::members).unwrap_or_default();
    let below = process::descendants(own_pid());
    for pid in below.iter().chain(members.iter().filter(|m| !below.contains(m))) {
        // the pidfd pins the process; only then is it certain that the pid still means one of ours
        let Ok(fd) = process::pidfd_open(*pid) else { continue };
        let is_ours = process::parent(*pid).is_some_and(|p| p == own_pid() || below.contains(&p))
            || group.is_some_and(|g| cgroup::members(g).contains(pid));
        if is_ours {
            // ESRCH: it ended, which is what the signal is for
            let _ = process::pidfd_signal(&fd, signal);
        }
    }
}

/// SIGKILL to the whole tree, once; what forks meanwhile is met by the next call.
///
/// Without a cgroup: the process groups of our direct children are killed first. That is free of races: a child keeps its
/// group's number taken until we reap it, and the kernel takes a whole group at once, forks in progress included. A chain
/// of forks whose parents have exited consists of direct children, so it cannot run away. What is deeper becomes a direct
/// child when its parent dies.
pub(super) fn kill_all(group: Option<&Path>) {
    if let Some(dir) = group {
        // on failure the walk below does it
        let _ = cgroup::kill(dir);
    }
    for child in process::children_of(own_pid()) {
        if let Ok(pgid) = getpgid(Some(Pid::from_raw(child)))
            && pgid != getpgrp()
            && pgid.as_raw() > 1
        {
            // SAFETY: a plain system call. The group belongs to our tree: its session was made below us.
            unsafe { libc::kill(-pgid.as_raw(), libc::SIGKILL) };
        }
    }
    signal_all(libc::SIGKILL, group);
}
