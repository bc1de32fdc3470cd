//! ZooKeeper's record encoding ("jute"): big-endian integers, length-prefixed bytes. Pure, bounded, no panics.

use crate::clients::reader::Reader;
use std::fmt;

/// `ZooDefs.OpCode`: the requests we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Exists = 3,
    GetData = 4,
    SetData = 5,
    GetChildren = 8,
    Ping = 11,
    CloseSession = -11,
}

/// `ClientCnxn.PING_XID`: the server answers a ping under this number.
pub(super) const PING_XID: i32 = -2;

/// `KeeperException.Code.NONODE`.
pub(super) const NO_NODE: i32 = -101;

/// What ZooKeeper knows about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stat {
    /// Transaction that made it.
    pub czxid: i64,
    /// When it was made, milliseconds since 1970 on the server's clock.
    pub ctime: i64,
    /// When its data were last set, milliseconds since 1970 on the server's clock.
    pub mtime: i64,
    /// Times its data were set.
    pub version: i32,
    /// The session that owns it when it is ephemeral; 0 for a persistent node.
    pub ephemeral_owner: i64,
    /// Children.
    pub children: i32,
}

/// The answer to a ConnectRequest.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ConnectResponse {
    /// Granted session timeout, milliseconds; 0 or less: the session asked for is gone.
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: Vec<u8>,
}

impl fmt::Debug for ConnectResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectResponse {{ timeout_ms: {}, session_id: {:#x} }}", self.timeout_ms, self.session_id)
    }
}

/// The head of every answer after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyHeader {
    pub xid: i32,
    pub zxid: i64,
    pub error: i32,
}

/// A frame under construction; its length prefix is filled in by [`Frame::finish`].
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new() -> Self {
        Self(vec![0; 4])
    }
    pub(super) fn int(mut self, v: i32) -> Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }
    pub(super) fn long(mut self, v: i64) -> Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }
    pub(super) fn boolean(mut self, v: bool) -> Self {
        self.0.push(u8::from(v));
        self
    }
    /// Bytes or text. What we send is a path or a 16-byte password, far below the i32 limit.
    pub(super) fn buffer(self, v: &[u8]) -> Self {
        let length = i32::try_from(v.len()).unwrap_or(i32::MAX);
        let mut frame = self.int(length);
        frame.0.extend_from_slice(v);
        frame
    }
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() - 4).unwrap_or(i32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The first frame of a connection. `session_id` 0 and a zero password ask for a new session.
pub(super) fn connect_request(timeout_ms: i32, session_id: i64, password: &[u8]) -> Vec<u8> {
    // lastZxidSeen 0: a server refuses clients that have seen more than itself (ZooKeeperServer.processConnectRequest).
    Frame::new().int(0).long(0).int(timeout_ms).long(session_id).buffer(password).boolean(false).finish()
}

/// A request about a path, without a watch.
pub(super) fn path_request(xid: i32, op: Op, path: &str) -> Vec<u8> {
    Frame::new().int(xid).int(op as i32).buffer(path.as_bytes()).boolean(false).finish()
}

/// New data for a node, if nobody has set others since it had `version` (`SetDataRequest`).
pub(super) fn set_data_request(xid: i32, path: &str, data: &[u8], version: i32) -> Vec<u8> {
    Frame::new().int(xid).int(Op::SetData as i32).buffer(path.as_bytes()).buffer(data).int(version).finish()
}

/// A request that is nothing but its header.
pub(super) fn bare_request(xid: i32, op: Op) -> Vec<u8> {
    Frame::new().int(xid).int(op as i32).finish()
}

/// ZooKeeper's own records on top of the plain integers.
impl<'a> Reader<'a> {
    /// A length of -1 is Java's null; it reads as empty.
    pub(super) fn buffer(&mut self, what: &str) -> Result<&'a [u8], String> {
        let length = self.int(what)?;
        match usize::try_from(length) {
            Ok(n) => self.take(n, what),
            Err(_) if length == -1 => Ok(&[]),
            Err(_) => Err(format!("its answer gives {what} the length {length}")),
        }
    }
    pub(super) fn connect_response(&mut self) -> Result<ConnectResponse, String> {
        self.int("the protocol version")?;
        let timeout_ms = self.int("the session timeout")?;
        let session_id = self.long("the session id")?;
        let password = self.buffer("the session password")?.to_vec();
        // a read-only flag follows from 3.4 on; nothing of ours depends on it
        Ok(ConnectResponse { timeout_ms, session_id, password })
    }
    pub(super) fn reply_header(&mut self) -> Result<ReplyHeader, String> {
        Ok(ReplyHeader { xid: self.int("the xid")?, zxid: self.long("the zxid")?, error: self.int("the error code")? })
    }
    pub(super) fn stat(&mut self) -> Result<Stat, String> {
        const WHAT: &str = "the node's stat";
        let czxid = self.long(WHAT)?;
        self.long(WHAT)?; // mzxid
        let (ctime, mtime) = (self.long(WHAT)?, self.long(WHAT)?);
        let version = self.int(WHAT)?;
        self.int(WHAT)?; // cversion
        self.int(WHAT)?; // aversion
        let ephemeral_owner = self.long(WHAT)?;
        self.int(WHAT)?; // dataLength
        let children = self.int(WHAT)?;
        self.long(WHAT)?; // pzxid
        Ok(Stat { czxid, ctime, mtime, version, ephemeral_owner, children })
    }
    pub(super) fn names(&mut self) -> Result<Vec<String>, String> {
        let count = self.int("the number of children")?;
        // -1 is Java's null. Nothing is reserved by the announced count: each name must really be there.
        (0..count.max(0))
            .map(|_| self.buffer("a child's name").map(|name| String::from_utf8_lossy(name).into_owned()))
            .collect()
    }
}

/// The name of an error code (`KeeperException.Code`), for people.
pub(super) fn error_name(code: i32) -> String {
    let name = match code {
        -4 => "connection loss",
        -6 => "unimplemented",
        -7 => "operation timeout",
        -8 => "bad arguments",
        -101 => "no node",
        -102 => "no permission (NoAuth)",
        -103 => "somebody changed it meanwhile (BadVersion)",
        -112 => "session expired",
        -115 => "authentication failed",
        -118 => "session moved",
        _ => return format!("error {code}"),
    };
    format!("{name} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_connect_request_is_the_bytes_of_the_java_client() {
        let bytes = connect_request(1000, 0, &[0; 16]);
        let expected = [
            &[0, 0, 0, 45][..], // 4 + 8 + 4 + 8 + 4 + 16 + 1
            &[0; 4],
            &[0; 8],
            &[0, 0, 3, 0xe8],
            &[0; 8],
            &[0, 0, 0, 16],
            &[0; 16],
            &[0],
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn requests_carry_xid_type_path_and_no_watch() {
        assert_eq!(path_request(1, Op::Exists, "/a"), [0, 0, 0, 15, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, b'/', b'a', 0]);
        let set = [0, 0, 0, 23, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 2, b'/', b'a', 0, 0, 0, 1, b'x', 0, 0, 0, 7];
        assert_eq!(set_data_request(3, "/a", b"x", 7), set);
        assert_eq!(bare_request(2, Op::CloseSession), [0, 0, 0, 8, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xf5]);
    }

    #[test]
    fn a_stat_is_68_bytes_and_its_owner_is_the_session() {
        let bytes = Frame::new()
            .long(7)
            .long(8)
            .long(1_763_867_279_042)
            .long(1_763_867_279_043)
            .int(1)
            .int(2)
            .int(3)
            .long(0x0100_0000_0000_0001)
            .int(9)
            .int(0)
            .long(10)
            .finish();
        assert_eq!(bytes.len(), 4 + 68);
        let mut reader = Reader(&bytes[4..]);
        let stat = reader.stat().unwrap();
        assert!(reader.0.is_empty());
        assert_eq!(stat.ephemeral_owner, 0x0100_0000_0000_0001);
        assert_eq!((stat.ctime, stat.mtime, stat.version), (1_763_867_279_042, 1_763_867_279_043, 1));
    }

    #[test]
    fn a_short_answer_says_where_it_ends() {
        let e = Reader(&[0, 0, 0]).reply_header().unwrap_err();
        assert_eq!(e, "its answer ends inside the xid: 4 bytes expected, 3 left");
        let e = Reader(&[0xff, 0xff, 0xff, 0xfe]).buffer("the data").unwrap_err();
        assert_eq!(e, "its answer gives the data the length -2");
    }

    #[test]
    fn a_lie_about_the_number_of_children_reserves_nothing() {
        let e = Reader(&[0x7f, 0xff, 0xff, 0xff]).names().unwrap_err();
        assert!(e.contains("a child's name"), "{e}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Reader(&bytes).connect_response();
            let _ = Reader(&bytes).reply_header();
            let _ = Reader(&bytes).stat();
            let _ = Reader(&bytes).names();
            let _ = Reader(&bytes).buffer("x");
        }
    }
}
