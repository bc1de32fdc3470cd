//! Unix sockets that carry descriptors: pairs, send and receive with SCM_RIGHTS (unix(7)). Messages that wait for nobody.

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
};
use std::{
    ffi::OsStr,
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Most descriptors one message may carry to us. More would be a stranger's message; the kernel closes what does not fit.
pub const FDS_MAX: usize = 4;

/// A connected pair of stream sockets, close-on-exec, blocking.
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::sys::socket::socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends bytes, with descriptors on the first of them. Returns how many bytes went out; when it is not zero the
/// descriptors went too. Never raises SIGPIPE.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage] = if raw.is_empty() { &[] } else { &rights };
    let parts = [IoSlice::new(bytes)];
    loop {
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Receives bytes and the descriptors that came with them (close-on-exec). Zero bytes: the other side closed.
pub fn recv_with_fds(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        let mut fds = Vec::new();
        // A truncated control message still delivers the descriptors that fitted; they must be owned to be closed.
        if let Ok(messages) = received.cmsgs() {
            for message in messages {
                if let ControlMessageOwned::ScmRights(list) = message {
                    // SAFETY: the kernel has just put these descriptors into this process for us; nobody else owns them.
                    fds.extend(list.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
        }
        return Ok((received.bytes, fds));
    }
}

/// Somebody's datagram socket, to which messages are sent without ever waiting for its reader.
#[derive(Debug)]
pub struct Listener {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Listener {
    /// At a path, or behind an `@` at an abstract name (sd_notify(3), NOTIFY_SOCKET).
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// Sends one message. `WouldBlock`: its reader has too many unread ones (net.unix.max_dgram_qlen, unix(7)).
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_to_addr(message, &self.address).map(drop)
    }
}

/// Whether the other end was made by this user or by root (unix(7), SO_PEERCRED: who called listen). A node that may write to
/// a directory could listen there in the place of its shim.
pub fn peer_is_trusted(socket: impl AsFd, owner: Option<u32>) -> bool {
    let uid = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials).map(|peer| peer.uid());
    let own = nix::unistd::geteuid().as_raw();
    uid.is_ok_and(|uid| uid == 0 || uid == own || Some(uid) == owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    #[test]
    fn a_descriptor_arrives_with_its_bytes_and_is_close_on_exec() {
        let (a, b) = socketpair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(send_with_fds(&a, b"hello", &[writer.as_fd()]).unwrap(), 5);
        drop(writer);
        let mut buffer = [0; 16];
        let (n, mut fds) = recv_with_fds(&b, &mut buffer).unwrap();
        assert_eq!((&buffer[..n], fds.len()), (&b"hello"[..], 1));
        let got = fds.remove(0);
        let flags = nix::fcntl::fcntl(&got, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
        File::from(got).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_reader_that_sleeps_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let reader = UnixDatagram::bind(&path).unwrap();
        let to = Listener::at(path.as_os_str()).unwrap();
        to.send(b"first").unwrap();
        // The queue is of a few hundred messages at most.
        let full = (0..100_000).find_map(|_| to.send(b"more").err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let mut buffer = [0; 16];
        assert_eq!(reader.recv(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"first");
        drop(reader);
        assert_eq!(to.send(b"x").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(Listener::at(OsStr::new("@abstract")).is_ok());
    }

    #[test]
    fn a_closed_peer_reads_as_zero_bytes_and_writes_as_an_error() {
        let (a, b) = UnixStream::pair().unwrap();
        drop(a);
        assert_eq!(recv_with_fds(&b, &mut [0; 4]).unwrap().0, 0);
        assert_eq!(send_with_fds(&b, b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
