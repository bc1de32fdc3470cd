//! The node's sd_notify socket: what it says, taken only from processes of its own tree.

use super::wire::Notified;
use crate::sys::{error::SysError, fs, process};
use nix::sys::{
    socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt::PassCred},
    stat::{Mode, umask},
};
use std::{
    io::IoSliceMut,
    os::{
        fd::{AsRawFd, RawFd},
        unix::{fs::lchown, net::UnixDatagram},
    },
    path::{Path, PathBuf},
};

/// Longest status kept, bytes.
const STATUS_MAX: usize = 1024;
/// Messages read in one go, so that a node that floods us cannot keep us from its output.
const AT_ONCE: usize = 32;

/// The bound socket.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl NotifySocket {
    /// Binds it afresh; `owner` (uid, gid) may write to it. The owner may be who writes to the directory: nothing here follows
    /// a link.
    pub(super) fn bind(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, SysError> {
        fs::remove_optional(path)?;
        let bound = (|| {
            // bind(2) refuses a name that is there. Mode 0600 from the start: a change by name could go elsewhere.
            let before = umask(Mode::from_bits_truncate(0o177));
            let bound = UnixDatagram::bind(path);
            umask(before);
            let socket = bound?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, PassCred, &true)?;
            if let Some((uid, gid)) = owner {
                lchown(path, Some(uid), Some(gid))?;
            }
            Ok(socket)
        })();
        let socket = bound.map_err(|e: std::io::Error| SysError::path("bind the notify socket", path, e))?;
        Ok(Self { socket, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Reads what has come. Returns whether anything changed.
    pub(super) fn receive(&self, notified: &mut Notified, main: i32) -> bool {
        let mut changed = false;
        for _ in 0..AT_ONCE {
            // sd_notify(3) messages are short; a longer one is cut
            let mut buffer = [0; 4096];
            let mut space = nix::cmsg_space!(UnixCredentials);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            // Descriptors sent along (FDSTORE, BARRIER) find no room in `space`: the kernel closes them, which is the
            // answer that BARRIER=1 waits for.
            let Ok(message) = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) else {
                break;
            };
            let sender = message.cmsgs().ok().and_then(|mut list| {
                list.find_map(|c| if let ControlMessageOwned::ScmCredentials(c) = c { Some(c.pid()) } else { None })
            });
            let n = message.bytes;
            if sender.is_some_and(|pid| is_of_tree(pid, main)) {
                changed |= apply(&String::from_utf8_lossy(&buffer[..n]), notified);
            }
        }
        changed
    }
}

/// Whether `pid` is the main process or below this shim. A sender that is gone already cannot be checked and is refused.
fn is_of_tree(pid: i32, main: i32) -> bool {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut at = pid;
    // a chain of parents is short; the bound only guards against one that changes while we climb
    for _ in 0..64 {
        if at == main {
            return true;
        }
        match process::parent(at) {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => at = parent,
            Some(_) | None => return false,
        }
    }
    false
}

/// Takes in one message: lines of KEY=VALUE, of which three are ours (sd_notify(3)). Returns whether anything changed.
fn apply(message: &str, notified: &mut Notified) -> bool {
    let before = notified.clone();
    for line in message.lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => notified.ready = true,
            Some(("STOPPING", "1")) => notified.stopping = true,
            Some(("STATUS", text)) => text[..text.floor_char_boundary(STATUS_MAX)].clone_into(&mut notified.status),
            Some(_) | None => {}
        }
    }
    *notified != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_stopping_and_status_are_taken_and_everything_else_is_ignored() {
        let mut n = Notified::default();
        assert!(apply("STATUS=InnoDB initialization\n", &mut n));
        assert!(!apply("MAINPID=3\nWATCHDOG=1\nREADY=0\nnonsense\n", &mut n));
        assert!(apply("READY=1\nSTATUS=Server is operational\nMAIN_PID=7", &mut n));
        assert_eq!((n.ready, n.stopping, n.status.as_str()), (true, false, "Server is operational"));
        assert!(!apply("READY=1", &mut n), "nothing new");
        assert!(apply("STOPPING=1\nSTATUS=", &mut n));
        assert_eq!((n.stopping, n.status.as_str()), (true, ""));
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        let mut n = Notified::default();
        apply(&format!("STATUS=x{}", "ü".repeat(STATUS_MAX)), &mut n);
        assert_eq!(n.status.len(), STATUS_MAX - 1);
    }

    #[test]
    fn a_message_of_a_stranger_changes_nothing_and_one_of_a_child_does() {
        let dir = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(&dir.path().join("notify"), None).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let mut n = Notified::default();
        client.send_to(b"READY=1", socket.path()).unwrap();
        // main is some other process, and this process is not below itself
        assert!(!socket.receive(&mut n, i32::MAX));
        client.send_to(b"READY=1", socket.path()).unwrap();
        assert!(socket.receive(&mut n, own));
        assert!(n.ready);
    }
}
