//! Shims that wait for an order: a new one, or the one that is kept in reserve, started before it is needed, so that a
//! start after a death has to wait for the start of one program only. Where many are wanted at once, one is started and makes the
//! others (`shim::twins`).
//!
//! A shim in reserve has no node, no lock and no file of the root. It ends when this process does, whatever ended it: its only
//! tie is the socketpair on which its order would come.

use crate::{
    base::{Incarnation, Layout, NodeName},
    shim::wire::{Decoder, TwinRequest, Twins},
    sys::{
        children,
        failpoint::{fail_io, fail_point},
        fs, process, socket,
    },
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::task::spawn_blocking;

/// A shim that waits for its order.
#[derive(Debug)]
pub(super) struct WaitingShim {
    /// Its pid, registered as a child of ours.
    pub(super) pid: i32,
    /// Our end of its birth connection; does not block.
    pub(super) stream: UnixStream,
}

/// A shim and how much of its order it was sent.
#[derive(Debug)]
pub(super) struct OrderedShim {
    pub(super) shim: WaitingShim,
    /// Bytes of the order that are on their way.
    pub(super) sent: usize,
}

/// Shims in reserve: while the daemon starts one for each of the first nodes, then one.
#[derive(Debug)]
pub struct Reserve {
    program: PathBuf,
    waiting: Mutex<Vec<WaitingShim>>,
    /// Some are being started; so many are still to be.
    filling: AtomicBool,
    ahead: AtomicUsize,
    /// None is wanted any more.
    closed: AtomicBool,
}

/// Most that are started ahead. Each is a process that a start refused by the next look has made for nothing; a twin costs a twentieth of a
/// millisecond.
const AHEAD_MAX: usize = 256;

impl Reserve {
    /// An empty one; `program` is `cdc-shim`.
    pub fn new(program: PathBuf) -> Arc<Self> {
        let (filling, closed, ahead) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self { program, waiting: Mutex::default(), filling, ahead, closed })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<WaitingShim>> {
        // A list is whole after any panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an order to a shim in reserve; none: there is none, and nobody has heard the order.
    pub(super) fn order(&self, frame: &[u8]) -> Option<OrderedShim> {
        loop {
            let Some(shim) = self.waiting().pop() else {
                // The caller starts its own: one less is needed.
                self.one_of_those_ahead();
                return None;
            };
            match socket::send_with_fds(&shim.stream, frame, &[]) {
                Ok(sent) => return Some(OrderedShim { shim, sent }),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Some(OrderedShim { shim, sent: 0 }),
                // Its end is closed: somebody has killed it, and no byte has reached it.
                Err(_) => children::leave(shim.pid),
            }
        }
    }

    fn one_of_those_ahead(&self) -> bool {
        self.ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
    }

    /// Has so many started, at most `AHEAD_MAX`, off this thread.
    pub fn fill(self: &Arc<Self>, many: usize) {
        let many = many.min(AHEAD_MAX);
        let missing = many.saturating_sub(self.waiting().len());
        if missing == 0 || self.closed.load(Ordering::Relaxed) || self.filling.swap(true, Ordering::Relaxed) {
            return;
        }
        self.ahead.store(missing, Ordering::Relaxed);
        let reserve = Arc::clone(self);
        spawn_blocking(move || {
            reserve.start_those_ahead();
            reserve.filling.store(false, Ordering::Relaxed);
            if reserve.closed.load(Ordering::Relaxed) {
                reserve.close();
            }
        });
    }

    /// The first is started, the others are its twins; where one cannot make them, each is started for itself. Blocks.
    fn start_those_ahead(&self) {
        let mut makes_twins = true;
        while self.is_one_ahead() {
            // Without one a start starts its own, and says then what is wrong.
            let Ok(shim) = start(&self.program) else { return };
            let mut takes_orders = true;
            while makes_twins {
                let wanted = (0..socket::FDS_MAX).take_while(|_| self.is_one_ahead()).count();
                if wanted == 0 {
                    break;
                }
                let twins = twins_of(&shim, wanted).unwrap_or_else(|why| {
                    tracing::debug!(pid = shim.pid, "a shim in reserve has made no twins: {why}");
                    takes_orders = false;
                    Vec::new()
                });
                makes_twins = twins.len() == wanted;
                self.ahead.fetch_add(wanted - twins.len(), Ordering::Relaxed);
                self.waiting().extend(twins);
            }
            if takes_orders {
                self.waiting().push(shim);
            } else {
                // It is of another version, was killed, or is late: what it may still answer would be read as a node's.
                children::leave(shim.pid);
                self.ahead.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn is_one_ahead(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) && self.one_of_those_ahead()
    }

    /// Sends the shims in reserve home.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        for shim in self.waiting().drain(..) {
            children::leave(shim.pid);
        }
    }

    /// As `close`, and waits until they are gone, for half a second at most. Blocks.
    pub fn dismiss(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let mut left: Vec<i32> = Vec::new();
        for _ in 0..500 {
            left.extend(self.waiting().drain(..).map(|shim| shim.pid));
            left.retain(|pid| process::try_wait(*pid).is_none());
            if left.is_empty() && !self.filling.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// After a child has ended: one in reserve that has is none any more, until the next start asks for one. Not at once:
    /// a program that ends by itself would be started again and again.
    pub(super) fn look(&self) {
        self.waiting().retain(|shim| process::try_wait(shim.pid).is_none());
    }

    /// Starts a shim for a node. Blocks for as long as the program takes to be loaded.
    pub(super) fn start_for(
        &self,
        layout: &Layout,
        node: &NodeName,
        incarnation: Incarnation,
    ) -> io::Result<OrderedShim> {
        fail_io!("link.fork")?;
        let (ours, theirs) = socket::socketpair()?;
        let log = fs::open_append(&layout.shim_log(node), 0o640)?;
        let pid = process::spawn_shim(&self.program, theirs, log, (node, incarnation)).map_err(|e| e.source)?;
        Ok(OrderedShim { shim: waits(pid, ours)?, sent: 0 })
    }
}

/// Starts a shim for a node that is not known yet.
fn start(program: &Path) -> io::Result<WaitingShim> {
    fail_io!("link.fork")?;
    let (ours, theirs) = socket::socketpair()?;
    let pid = process::spawn_reserve_shim(program, theirs).map_err(|e| e.source)?;
    waits(pid, ours)
}

/// How long a shim may take to make twins; it has to be loaded first, by a machine that may be busy.
const TWINS_WITHIN: Duration = Duration::from_secs(2);

/// Has a waiting shim make so many others (at most [`socket::FDS_MAX`]); fewer when the kernel refuses one. Blocks. After an error
/// nothing may be sent to that shim any more, and what it has made nevertheless ends by itself: our ends of the sockets are gone.
fn twins_of(first: &WaitingShim, many: usize) -> io::Result<Vec<WaitingShim>> {
    let pairs = (0..many).map(|_| socket::socketpair()).collect::<io::Result<Vec<_>>>()?;
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    first.stream.set_nonblocking(false)?;
    first.stream.set_read_timeout(Some(TWINS_WITHIN))?;
    let borrowed: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
    // A few bytes go out as a whole or not at all.
    socket::send_with_fds(&first.stream, &TwinRequest.encode(), &borrowed)?;
    drop(theirs);
    let made = read_twins(&first.stream)?;
    first.stream.set_nonblocking(true)?;
    let mut twins = Vec::new();
    for (pid, ours) in made.0.into_iter().zip(ours) {
        children::own(pid);
        // Somebody may have killed it already, and then it was reaped as an orphan.
        if process::try_wait(pid).is_none() {
            twins.push(waits(pid, ours)?);
        }
    }
    Ok(twins)
}

fn read_twins(mut from: &UnixStream) -> io::Result<Twins> {
    let broken = |e| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut decoder = Decoder::default();
    let mut buffer = [0; 256];
    loop {
        if let Some(frame) = decoder.next().map_err(broken)? {
            return Twins::decode(&frame).map_err(broken);
        }
        match from.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => decoder.push(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn waits(pid: i32, ours: OwnedFd) -> io::Result<WaitingShim> {
    fail_point!("link.shim-started");
    let stream = UnixStream::from(ours);
    // Cannot fail for a socket (ioctl(2), FIONBIO); if it did, the shim would hear the end of its connection and go.
    stream.set_nonblocking(true).inspect_err(|_| children::leave(pid))?;
    Ok(WaitingShim { pid, stream })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _, time::Instant};

    #[tokio::test]
    async fn where_a_shim_makes_no_twins_each_is_started_for_itself_and_waits() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("cdc-shim");
        // One of another version: it does not know what it is asked, and ends. Our end that closes ends it, too.
        let mut file = std::fs::File::create(&program).unwrap();
        file.write_all(b"#!/bin/sh\nhead -c 1 >/dev/null\n").unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
        drop(file);
        let reserve = Reserve::new(program);
        reserve.fill(4);
        let began = Instant::now();
        while reserve.filling.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let waiting: Vec<i32> = reserve.waiting().iter().map(|shim| shim.pid).collect();
        assert_eq!(waiting.len(), 4);
        assert!(waiting.iter().all(|pid| process::try_wait(*pid).is_none()), "none was asked for anything");
        reserve.dismiss();
    }
}
