//! The signals that ask a process to stop, kept by the kernel until they are taken: none is lost while the process becomes another
//! program. What is blocked and what waits outlives execve(2), a handler and what it has noted does not (signal(7)).

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::{io, os::fd::AsFd};

fn all() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Where they are taken.
#[derive(Debug)]
pub struct StopSignals(SignalFd);

impl StopSignals {
    /// Keeps them for this thread and all that it makes from now on: to be called before there is another one.
    pub fn keep() -> io::Result<Self> {
        let fd = SignalFd::with_flags(&all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        hold_back()?;
        Ok(Self(fd))
    }

    /// Waits until there is one. Blocks.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                done => return Ok(done.map(drop)?),
            }
        }
    }

    /// Takes the next one: its number, and the pid of who sent it (0: the kernel, or somebody in no namespace of ours); none when none
    /// waits.
    pub fn take(&self) -> io::Result<Option<(i32, u32)>> {
        Ok(self.0.read_signal()?.and_then(|info| Some((i32::try_from(info.ssi_signo).ok()?, info.ssi_pid))))
    }
}

/// Keeps them from this thread.
pub fn hold_back() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&all()), None)?)
}

/// Lets them through to this thread, as they are when a program begins: one that waits ends the process now. System calls only, so a
/// child may call it between fork and exec.
pub fn let_through() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&all()), None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, process::Command, thread};

    #[test]
    fn one_that_comes_is_kept_until_it_is_taken_and_a_child_can_let_it_through() {
        // In a thread of its own: what is blocked is a thread's.
        let kept = thread::spawn(|| {
            let signals = StopSignals::keep().unwrap();
            assert_eq!(signals.take().unwrap(), None);
            // SAFETY: tgkill(2) to this very thread, of a signal that it keeps.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGTERM) };
            let taken = (signals.take().unwrap(), signals.take().unwrap());
            let ends_by = |through: bool| {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", "kill -TERM $$; exit 7"]);
                if through {
                    // SAFETY: system calls only.
                    unsafe { command.pre_exec(let_through) };
                }
                command.status().unwrap().code()
            };
            (taken, ends_by(false), ends_by(true))
        });
        let us = std::process::id();
        assert_eq!(kept.join().unwrap(), ((Some((libc::SIGTERM, us)), None), Some(7), None));
    }
}
