//! The asking side of the control socket: one connection, one order, a stream of answers.

use super::wire::{Answer, LINE_MAX, Order, Request, VERSION};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// How much is read from the socket at once, bytes. A status of ten nodes is about 6 kB.
const BLOCK: usize = 16 << 10;

/// Talking to the daemon failed.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers on the socket: it is not there, or its daemon is gone.
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody may answer, but this user may not ask.
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection failed in another way.
    Broken(io::Error),
    /// The daemon hung up before the last line of its answer.
    WentAway,
    /// An answer line is longer than [`LINE_MAX`].
    TooLong,
    /// An answer line is not of this protocol.
    NotUnderstood {
        /// Its beginning.
        line: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon { socket, .. } => write!(f, "no daemon answers on {}", socket.display()),
            Self::NotAllowed { socket, .. } => {
                write!(f, "this user may not talk to the daemon on {}", socket.display())
            }
            Self::Broken(_) => f.write_str("the connection to the daemon failed"),
            Self::WentAway => f.write_str("the daemon went away before it had answered"),
            Self::TooLong => write!(f, "the daemon sent a line of more than {LINE_MAX} bytes"),
            Self::NotUnderstood { line, .. } => write!(f, "the daemon's answer is not understood: {line:?}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoDaemon { source, .. } | Self::NotAllowed { source, .. } | Self::Broken(source) => Some(source),
            Self::NotUnderstood { source, .. } => Some(source),
            Self::WentAway | Self::TooLong => None,
        }
    }
}

/// A connection on which nothing was asked yet.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects. A missing socket and one without a listener are both [`ClientError::NoDaemon`], and so is a listener that goes
    /// away while this connection waits to be taken: nothing was asked of it. The kernel says that last one as a reset, to
    /// whom is in the queue (`unix_release_sock` in net/unix/af_unix.c, `sk_err = ECONNRESET` for every embryo).
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        UnixStream::connect(socket).await.map(|stream| Self { stream }).map_err(|source| {
            let socket = socket.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotADirectory => ClientError::NoDaemon { socket, source },
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket, source },
                _ => ClientError::Broken(source),
            }
        })
    }

    /// Asks. A connection carries one order, so this uses it up.
    pub async fn ask(mut self, order: Order) -> Result<Answers, ClientError> {
        let watch = matches!(order, Order::Watch);
        let mut line = serde_json::to_vec(&Request { v: VERSION, order })
            .map_err(|e| ClientError::Broken(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        line.push(b'\n');
        match self.stream.write_all(&line).await {
            // A daemon that refuses a connection (too many) answers and closes before it has read: its answer counts.
            Ok(()) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            Err(e) => return Err(ClientError::Broken(e)),
        }
        Ok(Answers { stream: self.stream, kept: Vec::new(), searched: 0, watch, ended: false })
    }
}

/// The answers to one order, as they come.
#[derive(Debug)]
pub struct Answers {
    stream: UnixStream,
    kept: Vec<u8>,
    /// How much of `kept` is known to hold no line end.
    searched: usize,
    watch: bool,
    ended: bool,
}

impl Answers {
    /// The next answer; none after the last one. Nothing is lost when the future is dropped before it is done.
    pub async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.kept[self.searched..]) {
                let line: Vec<u8> = self.kept.drain(..=self.searched + at).collect();
                self.searched = 0;
                let answer = read_answer(&line)?;
                self.ended = match answer {
                    Answer::Status(_) => !self.watch,
                    Answer::Hello(_)
                    | Answer::Verdict(_)
                    | Answer::Outlook(_)
                    | Answer::Drilled(_)
                    | Answer::Topics(_)
                    | Answer::Done { .. }
                    | Answer::Refused { .. } => true,
                    Answer::Progress { .. } => false,
                };
                return Ok(Some(answer));
            }
            self.searched = self.kept.len();
            if self.kept.len() > LINE_MAX {
                return Err(ClientError::TooLong);
            }
            self.kept.reserve(BLOCK);
            match self.stream.read_buf(&mut self.kept).await {
                Ok(0) => return Err(ClientError::WentAway),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(ClientError::WentAway),
                Err(e) => return Err(ClientError::Broken(e)),
            }
        }
    }
}

fn read_answer(line: &[u8]) -> Result<Answer, ClientError> {
    serde_json::from_slice(line).map_err(|source| {
        let text = String::from_utf8_lossy(line);
        ClientError::NotUnderstood { line: text.trim_end().chars().take(80).collect(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, task::Poll};

    #[tokio::test]
    async fn a_daemon_that_dies_while_it_is_being_connected_to_is_no_daemon() {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut connecting = std::pin::pin!(Client::connect(&socket));
        // In the queue of the listener, not yet known to be: the runtime has to look at the socket first.
        let first = std::future::poll_fn(|context| Poll::Ready(connecting.as_mut().poll(context))).await;
        assert!(first.is_pending());
        drop(listener);
        assert!(matches!(connecting.await, Err(ClientError::NoDaemon { .. })));
    }
}
