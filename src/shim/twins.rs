//! Processes like this one: a shim in reserve makes others, so that the program is not loaded once for each.
//!
//! Loading it is most of what a shim costs before its node runs: exec, and the C library that asks the processor what it can do, which
//! a hypervisor answers (CPUID traps; in the virtual machine where it was measured 4 microseconds each, some 70 of them).

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

/// Who comes back from [`make`].
#[derive(Debug)]
pub(super) enum Made {
    /// The process that was asked: the pids of those it has made.
    Here(Vec<i32>),
    /// One that was made: its socket.
    Twin(UnixStream),
}

/// Whether a copy of this process can end itself by SIGABRT. The GNU C library asks the kernel for the number of the thread that it sends
/// the signal to (raise.c, 2.31; pthread_kill.c, 2.34). musl takes the one that it keeps (raise.c, 1.2.5), which is that of the process the
/// copy was made of: a shim that runs a node, or nobody any more and then a stranger. There each shim is started for itself.
const ABORTS_ITSELF: bool = cfg!(target_env = "gnu");

/// Makes a process like this one for each socket, as a child of this process's own parent: the daemon hears its end. Stops at the first
/// one that the kernel refuses. Of the sockets nobody keeps any but the process whose it is.
pub(super) fn make(sockets: Vec<OwnedFd>) -> Made {
    let mut pids = Vec::new();
    for socket in sockets.into_iter().filter(|_| ABORTS_ITSELF) {
        match copy(libc::CLONE_PARENT) {
            Ok(0) => return Made::Twin(UnixStream::from(socket)),
            Ok(pid) => pids.push(pid),
            Err(_) => break,
        }
    }
    Made::Here(pids)
}

/// Zero in the copy, and its pid here (clone(2)). CLONE_PARENT: its parent is this one's.
fn copy(whose: libc::c_int) -> io::Result<i32> {
    let flags = libc::c_long::from(whose | libc::SIGCHLD);
    // SAFETY: as fork(2), without memory that is shared and without a new stack. This process has one thread, so that no lock is held
    // and no state is half changed in the copy; what the C library keeps of a process (the thread's number, for what the kernel shall do
    // at its end) is used by joins and by locks shared between processes only, of which there are none here.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(pid).unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::children;
    use nix::{
        sys::{
            signal::Signal,
            wait::{WaitStatus, waitpid},
        },
        unistd::Pid,
    };
    use std::io::{Read, Write};

    #[test]
    fn a_copy_that_aborts_ends_itself_and_not_the_process_it_was_made_of() {
        if !ABORTS_ITSELF {
            return;
        }
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let pid = copy(0).unwrap();
        if pid == 0 {
            // What a panic within a panic, or memory that runs out, comes to.
            let _ = far.read(&mut [0]);
            std::process::abort();
        }
        // Before it ends: nobody who looks for orphans may take it.
        children::own(pid);
        near.write_all(b".").unwrap();
        let ended = waitpid(Pid::from_raw(pid), None).unwrap();
        children::release(pid);
        assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGABRT, _)), "{ended:?}");
    }
}
