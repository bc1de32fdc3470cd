//! Wakes a reader when something happens in the directories of logs. Only a hint: readers look for themselves.

use crate::sys::error::SysError;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use std::{os::fd::AsFd, path::Path, time::Duration};

/// What wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Any output.
    Output,
    /// Only a rotation.
    Rotation,
}

/// Whether the other side of a pipe that does not block has written to it, which is forgotten with this; none: it is closed.
/// `polled` is what poll(2) said of it, which tells POLLHUP without being asked for it.
pub fn heard(line: &impl AsFd, polled: &PollFd<'_>) -> Option<bool> {
    let said = polled.revents().unwrap_or(PollFlags::empty());
    if said.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
        return None;
    }
    let written = said.contains(PollFlags::POLLIN);
    let mut rest = [0; 64];
    while written && nix::unistd::read(line, &mut rest).is_ok_and(|n| n > 0) {}
    Some(written)
}

/// A watch on directories.
#[derive(Debug)]
pub struct Wakeup {
    inotify: Inotify,
    on: On,
}

impl Wakeup {
    /// Wakes on any output. Needs one inotify instance (`fs.inotify.max_user_instances`).
    pub fn new() -> Result<Self, SysError> {
        Self::on(On::Output)
    }

    /// Wakes on what is told. Needs one inotify instance.
    pub fn on(on: On) -> Result<Self, SysError> {
        Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map(|inotify| Self { inotify, on })
            .map_err(|e| SysError::new("watch log directories", e))
    }

    /// Watches one directory; false when it is not there yet. A directory that is watched already stays so.
    pub fn add(&self, dir: &Path) -> Result<bool, SysError> {
        let flags = match self.on {
            On::Output => AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO,
            On::Rotation => AddWatchFlags::IN_MOVED_TO,
        };
        match self.inotify.add_watch(dir, flags | AddWatchFlags::IN_ONLYDIR) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => Ok(false),
            Err(e) => Err(SysError::path("watch", dir, e)),
        }
    }

    /// Waits until something has happened since the last [`Wakeup::clear`], at most `limit`; whether it has. Blocks.
    pub fn wait(&self, limit: Duration) -> bool {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        // Interrupted or refused: the caller looks for itself all the same.
        poll(&mut [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)], limit).is_ok_and(|ready| ready > 0)
    }

    /// As [`Wakeup::wait`], and wakes as well when the other side of `line` writes to it or closes it; none: it is closed.
    pub fn wait_unless(&self, limit: Duration, line: &impl AsFd) -> Option<bool> {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut fds =
            [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN), PollFd::new(line.as_fd(), PollFlags::POLLIN)];
        let woken = poll(&mut fds, limit).is_ok_and(|ready| ready > 0);
        let happened = woken && fds[0].any().unwrap_or(false);
        heard(line, &fds[1]).map(|written| happened || written)
    }

    /// Forgets what has happened so far. Call it before looking, or a change between the two is slept through.
    pub fn clear(&self) {
        // EAGAIN: nothing more. Another failure means that the next poll wakes at once, which costs time and no line.
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}
