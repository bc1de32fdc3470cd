//! Unix sockets that carry descriptors: pairs, send and receive with SCM_RIGHTS (unix(7)). Messages that wait for nobody.

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg};
use std::{
    ffi::OsStr,
    io::{self, IoSlice},
    mem,
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

/// Room for a control message with as many, in words as it is aligned (cmsg(3)): its head of 16 bytes, 4 bytes each.
const CONTROL_WORDS: u16 = 4;
const _: () = assert!(CONTROL_WORDS as usize * 8 == 16 + 4 * FDS_MAX);

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
///
/// Fewer descriptors than were sent: this process may open no more of them (`RLIMIT_NOFILE`), or there were more than
/// [`FDS_MAX`]; the kernel has dropped the others and kept the order (unix(7), MSG_CTRUNC). What did come is in this process, so it
/// must be owned: the control messages are read here, for nix's `cmsgs` (0.31) gives none of those that were cut short.
pub fn recv_with_fds(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [0u64; CONTROL_WORDS as usize];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: null pointers and lengths of zero are a msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    let received = loop {
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = space.as_mut_ptr().cast();
        header.msg_controllen = (CONTROL_WORDS * 8).into();
        // SAFETY: the header names `buffer` and `space` with their lengths, and both outlive the call.
        let n = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(n) {
            Ok(n) => break n,
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    };
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled `space` as `header` says; the pointer is null behind the last message (cmsg(3)).
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: as above.
    while let Some(head) = unsafe { message.as_ref() } {
        if (head.cmsg_level, head.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: the descriptors lie behind the head, unaligned perhaps, up to its length; the kernel has just put them into
            // this process for us, and nobody else owns them.
            unsafe {
                let mut at = libc::CMSG_DATA(message).cast::<RawFd>();
                let end = message.byte_add(cmsg_len(head)).cast::<RawFd>();
                while at < end {
                    fds.push(OwnedFd::from_raw_fd(at.read_unaligned()));
                    at = at.add(1);
                }
            }
        }
        // SAFETY: as above.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    Ok((received, fds))
}

/// Its length: a `size_t` in glibc, a `socklen_t` in musl.
#[allow(clippy::unnecessary_cast)]
fn cmsg_len(head: &libc::cmsghdr) -> usize {
    head.cmsg_len as usize
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
    fn what_came_of_too_many_descriptors_is_owned() {
        let (a, b) = socketpair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        // The kernel cuts the message short, as it does where this process may open no more.
        assert_eq!(send_with_fds(&a, b"x", &[writer.as_fd(); FDS_MAX + 2]).unwrap(), 1);
        drop(writer);
        let (n, fds) = recv_with_fds(&b, &mut [0; 4]).unwrap();
        assert_eq!((n, fds.len()), (1, FDS_MAX));
        drop(fds);
        // One that nobody owned would keep the pipe open for ever.
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
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
