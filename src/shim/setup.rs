//! What a shim does before its node: takes the order, makes itself safe to outlive others, takes the lock.

use super::{
    launch::failure,
    twins::{self, Made},
    wire::{Decoder, LaunchFailure, LaunchOrder, TwinRequest, Twins},
};
use crate::{
    base::Layout,
    sys::{
        clock,
        error::SysError,
        fs::{self, Lock},
        process, socket,
    },
};
use nix::{
    sys::{
        signal::Signal,
        stat::{Mode, umask},
    },
    unistd::{dup2_stderr, dup2_stdin, setsid},
};
use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

/// How long a held lock is tried: the last holder may be on its way out.
const LOCK_WAIT: Duration = Duration::from_millis(200);
/// `oom_score_adj` of the shim itself, as the unit's OOMScoreAdjust: it must outlive its node to tell of its death.
const OWN_OOM_SCORE_ADJ: &str = "-900";

/// Moves standard input to a descriptor of its own, so that it can be closed, and puts /dev/null in its place.
pub(super) fn take_birth_socket() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

/// Waits for the order, without end: a daemon may keep a shim in reserve, started already, and its death ends the wait
/// (then there is none). Meanwhile it makes twins as it is asked to; the order comes to each on the socket of its own, which is
/// handed back with it.
pub(super) fn read_order(mut birth: UnixStream) -> Result<Option<(LaunchOrder, UnixStream)>, String> {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4096];
    let mut sockets = Vec::new();
    loop {
        match decoder.next() {
            Ok(Some(frame)) if TwinRequest::is(&frame) => match twins::make(std::mem::take(&mut sockets)) {
                Made::Here(pids) => {
                    let told = birth.write_all(&Twins(pids).encode());
                    told.map_err(|e| format!("the daemon does not hear which twins were made: {e}"))?;
                }
                Made::Twin(own) => {
                    (birth, decoder) = (own, Decoder::default());
                    stand_alone();
                }
            },
            Ok(Some(frame)) => {
                let order = LaunchOrder::decode(&frame).map_err(|e| format!("the launch order: {e}"))?;
                return Ok(Some((order, birth)));
            }
            Ok(None) => match socket::recv_with_fds(&birth, &mut buffer) {
                // the daemon ended, or does not need us any more
                Ok((0, _)) => return Ok(None),
                Ok((n, came)) => {
                    decoder.push(&buffer[..n]);
                    sockets.extend(came);
                }
                Err(e) => return Err(format!("no launch order came: {e}")),
            },
            Err(e) => return Err(format!("the launch order: {e}")),
        }
    }
}

/// Own session, subreaper, deaf to what a terminal or a service manager sends to everybody.
pub(super) fn set_up_self() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: ignoring a signal installs no handler.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
    }
    stand_alone();
    // best effort: an ordinary user may not lower it
    let _ = std::fs::write("/proc/self/oom_score_adj", OWN_OOM_SCORE_ADJ);
    umask(Mode::from_bits_truncate(0o027));
}

/// What a process does not have of the one that it is a copy of: a session of its own, and the orphans of its tree (prctl(2),
/// PR_SET_CHILD_SUBREAPER).
fn stand_alone() {
    // Fails only for a group leader, which then is out of the daemon's terminal group already.
    let _ = setsid();
    // Fails only on kernels before 3.4.
    let _ = process::set_child_subreaper();
}

/// Turns standard error to the node's file for it: a shim in reserve has the daemon's.
pub(super) fn take_own_log(order: &LaunchOrder) {
    let path = Layout::new(&order.root).shim_log(&order.node);
    let log = fs::open_append(&path, 0o640);
    // Without it the words of a panic go where the daemon's own go.
    if let Ok(log) = log {
        let _ = dup2_stderr(log);
    }
}

/// Takes the node's lock, waiting a little for a last holder that is on its way out; names the holders if it stays.
pub(super) fn take_lock(layout: &Layout, order: &LaunchOrder) -> Result<Lock, LaunchFailure> {
    let path = layout.node_lock(&order.node);
    let describe = |e: SysError| failure("lock", &e.doing, &e.source);
    let end = clock::now() + LOCK_WAIT;
    loop {
        match Lock::try_take(&path) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if clock::now() < end => thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let own = i32::try_from(std::process::id()).unwrap_or_default();
                let holders: Vec<String> = process::holders_of(&path)
                    .into_iter()
                    .filter(|pid| *pid != own)
                    .map(|pid| format!("{pid} ({})", process::command_line(pid)))
                    .collect();
                let who = if holders.is_empty() { "a process we may not see".to_owned() } else { holders.join(", ") };
                let text = format!("{} is held by {who}: a process of an earlier start still lives", path.display());
                return Err(LaunchFailure { step: "lock".into(), errno: libc::EWOULDBLOCK, text });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::make_dir(&layout.node_run(&order.node), 0o750).map_err(describe)?;
            }
            Err(e) => return Err(describe(e)),
        }
    }
}
