//! A ZooKeeper session: connect, look at nodes, set the data of one, close.
//!
//! Making a session is a write on the server (createSession is a logged transaction), so a session is for questions that
//! only the tree can answer, not for every probe.

use super::jute::{self, NO_NODE, Op, PING_XID, ReplyHeader, Stat};
use crate::clients::{ClientError, error::bounded, reader::Reader, tcp};
use std::{fmt, net::SocketAddr, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Session timeout we ask for, milliseconds. The server raises it to its `minSessionTimeout` (two ticks), so this means
/// "the smallest you have": a session of ours that is lost shall not linger.
pub(super) const ASKED_TIMEOUT_MS: i32 = 1_000;

/// Longest answer accepted: the Java client's own bound (`jute.maxbuffer`, 0xfffff) rounded up.
pub(super) const FRAME_MAX: usize = 1 << 20;

/// Answers that belong to nobody (pings, events) skipped before one question is given up.
const STRAY_MAX: usize = 64;

/// What a session is known by: enough to come back to it on another connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Session id; 0 asks for a new session.
    pub id: i64,
    /// 16 bytes that only the session's owner knows.
    pub password: Vec<u8>,
}

impl Identity {
    fn of_a_new_session() -> Self {
        Self { id: 0, password: vec![0; 16] }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {:#x}", self.id)
    }
}

/// An open session. Questions are asked one after the other; each also counts as a heartbeat, and a caller that pauses
/// longer than a third of [`Session::timeout`] pings in between. Dropped without [`Session::close`] it ends on the server
/// when its timeout passes.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    address: SocketAddr,
    limit: Duration,
    identity: Identity,
    timeout: Duration,
    xid: i32,
    /// A question is under way or failed half-way: the next bytes on the stream need not be an answer's start.
    unusable: bool,
}

impl Session {
    /// Opens a new session. `limit` bounds the connect and later each question.
    pub async fn connect(address: SocketAddr, limit: Duration) -> Result<Self, ClientError> {
        Self::open(address, limit, &Identity::of_a_new_session()).await
    }

    /// Opens the session with this identity: a new one for id 0, else an existing one that moves to this connection.
    async fn open(address: SocketAddr, limit: Duration, wanted: &Identity) -> Result<Self, ClientError> {
        let doing = if wanted.id == 0 {
            format!("open a ZooKeeper session at {address}")
        } else {
            format!("take over {wanted:?} at {address}")
        };
        bounded(&doing, limit, async {
            let mut stream = tcp::connect(address, limit).await?;
            let request = jute::connect_request(ASKED_TIMEOUT_MS, wanted.id, &wanted.password);
            stream.write_all(&request).await.map_err(|e| ClientError::io(&doing, e))?;
            let frame = tcp::read_frame(&mut stream, FRAME_MAX, &doing).await?;
            let answer = Reader(&frame).connect_response().map_err(|what| ClientError::malformed(&doing, what))?;
            let timeout = match u64::try_from(answer.timeout_ms) {
                Ok(ms @ 1..) => Duration::from_millis(ms),
                Ok(0) | Err(_) => {
                    return Err(ClientError::Server {
                        doing: doing.clone(),
                        code: -112,
                        answer: jute::error_name(-112),
                    });
                }
            };
            let identity = Identity { id: answer.session_id, password: answer.password };
            Ok(Self { stream, address, limit, identity, timeout, xid: 0, unusable: false })
        })
        .await
    }

    /// Who this session is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The timeout the server granted.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The node's stat; none when there is no such node.
    pub async fn exists(&mut self, path: &str) -> Result<Option<Stat>, ClientError> {
        self.look(Op::Exists, path, |reader| reader.stat()).await
    }

    /// The node's data and stat; none when there is no such node.
    pub async fn get_data(&mut self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, ClientError> {
        self.look(Op::GetData, path, |reader| {
            let data = reader.buffer("the node's data")?.to_vec();
            Ok((data, reader.stat()?))
        })
        .await
    }

    /// The names of the node's children, in no order; none when there is no such node.
    pub async fn get_children(&mut self, path: &str) -> Result<Option<Vec<String>>, ClientError> {
        self.look(Op::GetChildren, path, |reader| reader.names()).await
    }

    /// Gives the node these data, if nobody has set others since its stat had this `version`. The one who calls it knows that
    /// nobody else reads or writes the node now.
    pub async fn set_data(&mut self, path: &str, data: &[u8], version: i32) -> Result<(), ClientError> {
        let doing = format!("set {path} in ZooKeeper at {}", self.address);
        let xid = self.next_xid();
        let (header, _) = self.ask(&doing, xid, &jute::set_data_request(xid, path, data, version)).await?;
        match header.error {
            0 => Ok(()),
            code => Err(ClientError::Server { doing, code, answer: jute::error_name(code) }),
        }
    }

    /// Keeps the session alive.
    pub async fn ping(&mut self) -> Result<(), ClientError> {
        let doing = format!("ping ZooKeeper at {}", self.address);
        self.ask(&doing, PING_XID, &jute::bare_request(PING_XID, Op::Ping)).await.map(|_| ())
    }

    /// Ends the session on the server at once.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let doing = format!("close {:?} at {}", self.identity, self.address);
        let xid = self.next_xid();
        match self.ask(&doing, xid, &jute::bare_request(xid, Op::CloseSession)).await {
            // The server may hang up before its answer is read; then the session is closed all the same.
            Ok(_) | Err(ClientError::Closed { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn look<T>(
        &mut self,
        op: Op,
        path: &str,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, String>,
    ) -> Result<Option<T>, ClientError> {
        let doing = format!("look at {path} in ZooKeeper at {}", self.address);
        let xid = self.next_xid();
        let (header, body) = self.ask(&doing, xid, &jute::path_request(xid, op, path)).await?;
        match header.error {
            0 => read(&mut Reader(&body)).map(Some).map_err(|what| ClientError::malformed(&doing, what)),
            NO_NODE => Ok(None),
            code => Err(ClientError::Server { doing, code, answer: jute::error_name(code) }),
        }
    }

    fn next_xid(&mut self) -> i32 {
        // 1, 2, ...: negative numbers have meanings of their own
        self.xid = if self.xid == i32::MAX { 1 } else { self.xid + 1 };
        self.xid
    }

    /// Sends one request and reads frames until its answer comes; returns the answer's head and the bytes after it.
    async fn ask(&mut self, doing: &str, xid: i32, request: &[u8]) -> Result<(ReplyHeader, Vec<u8>), ClientError> {
        if self.unusable {
            return Err(ClientError::malformed(doing, "an earlier question on this session was not answered"));
        }
        // Set until an answer was read whole: a caller that gives up half-way leaves a stream nobody can use.
        self.unusable = true;
        let stream = &mut self.stream;
        let answer = bounded(doing, self.limit, async {
            stream.write_all(request).await.map_err(|e| ClientError::io(doing, e))?;
            for _ in 0..STRAY_MAX {
                let frame = tcp::read_frame(stream, FRAME_MAX, doing).await?;
                let mut reader = Reader(&frame);
                let header = reader.reply_header().map_err(|what| ClientError::malformed(doing, what))?;
                if header.xid == xid {
                    return Ok((header, reader.0.to_vec()));
                }
                // late pong (-2), watch event (-1): a session taken over may still have them
                if header.xid >= 0 {
                    return Err(ClientError::malformed(
                        doing,
                        format!("its answer is to request {}, ours was {xid}", header.xid),
                    ));
                }
            }
            Err(ClientError::malformed(doing, format!("{STRAY_MAX} frames in a row were no answer to it")))
        })
        .await?;
        self.unusable = false;
        Ok(answer)
    }
}
