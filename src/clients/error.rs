//! What can go wrong when one of our clients asks a server something.

use crate::base::units::human_duration;
use std::{error::Error, io, time::Duration};

/// A question to a server that was not answered, or answered with a refusal. Secrets never appear in it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: ECONNREFUSED, or a unix socket without a listener.
    #[error("{address} refuses connections")]
    Refused {
        /// Address and port, or the path of a unix socket.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The time given to the question passed.
    #[error("cannot {doing}: no answer within {}", human_duration(*.limit))]
    TimedOut {
        /// Verb phrase with operands.
        doing: String,
        /// The time that was given.
        limit: Duration,
    },
    /// The other side hung up before it answered.
    #[error("cannot {doing}: the server closed the connection")]
    Closed {
        /// Verb phrase with operands.
        doing: String,
    },
    /// An answer that is not one of this protocol, or larger than we accept.
    #[error("cannot {doing}: {what}")]
    Malformed {
        /// Verb phrase with operands.
        doing: String,
        /// What is wrong with it, with the value found.
        what: String,
    },
    /// The server understood and refused.
    #[error("cannot {doing}: the server answered {answer}")]
    Server {
        /// Verb phrase with operands.
        doing: String,
        /// The protocol's own number: ZooKeeper's error code, Kafka's, MySQL's.
        code: i32,
        /// The server's words.
        answer: String,
    },
    /// Anything else: the source says why.
    #[error("cannot {doing}")]
    Failed {
        /// Verb phrase with operands.
        doing: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ClientError {
    /// An I/O error on an open connection: hanging up is told apart from everything else.
    pub(super) fn io(doing: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::Closed { doing: doing.to_owned() }
            }
            _ => Self::Failed { doing: doing.to_owned(), source: Box::new(source) },
        }
    }

    /// An answer that makes no sense.
    pub(super) fn malformed(doing: &str, what: impl Into<String>) -> Self {
        Self::Malformed { doing: doing.to_owned(), what: what.into() }
    }

    /// Whether nobody listens there.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The error and its causes in one line, for a verdict's words.
    pub fn in_one_line(&self) -> String {
        let mut line = self.to_string();
        // "refuses connections: Connection refused" says it twice
        let mut cause = if self.is_refused() { None } else { self.source() };
        while let Some(e) = cause {
            line.push_str(": ");
            line.push_str(&e.to_string());
            cause = e.source();
        }
        line
    }
}

/// Runs `work` for at most `limit`.
pub(super) async fn bounded<T>(
    doing: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(ClientError::TimedOut { doing: doing.to_owned(), limit }),
    }
}
