//! Why a download failed: where, what was seen, what to do.

use super::pace::Timing;
use crate::sys::error::SysError;
use std::{io, path::PathBuf, time::Duration};
use thiserror::Error;

/// A download failed.
#[derive(Debug, Error)]
pub enum TransferFault {
    /// The operating system refused something here.
    #[error(transparent)]
    System(#[from] SysError),
    /// The caller asked to stop.
    #[error("fetching was cancelled")]
    Cancelled,
    /// The host's name leads nowhere.
    #[error("the name of {host} could not be looked up")]
    Name {
        /// The host.
        host: String,
        /// What the resolver said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This host could not be reached moments ago.
    #[error("{host} could not be reached a moment ago, it was not asked again")]
    Skipped {
        /// The host.
        host: String,
    },
    /// No connection.
    #[error("could not connect to {host}")]
    Connect {
        /// The host.
        host: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate of the server is not to be trusted.
    #[error("{host} shows a certificate that no trusted authority has signed for it")]
    Certificate {
        /// The host.
        host: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This machine trusts nobody, or the configured file of authorities cannot be used.
    #[error("https cannot be used: {why}")]
    Authorities {
        /// Why.
        why: String,
    },
    /// A redirect was not followed.
    #[error("{url} redirects {why}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where to, and why that is refused.
        why: String,
    },
    /// No answer and no byte.
    #[error("nothing came from {url} for {} s", .waited.as_secs_f32())]
    Silent {
        /// What was asked for.
        url: String,
        /// How long.
        waited: Duration,
    },
    /// Too few bytes.
    #[error("only {bytes} bytes came from {url} in {} s", .waited.as_secs_f32())]
    Drips {
        /// What was asked for.
        url: String,
        /// In the last while.
        bytes: u64,
        /// How long that was.
        waited: Duration,
    },
    /// The connection broke.
    #[error("the connection to {url} broke")]
    Broken {
        /// What was asked for.
        url: String,
        /// How.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer ended early.
    #[error("{url} ended after {got} of {} bytes", .total.map_or("unknown".into(), |t| t.to_string()))]
    Cut {
        /// What was asked for.
        url: String,
        /// Bytes that are here.
        got: u64,
        /// Bytes that were announced.
        total: Option<u64>,
    },
    /// The server says no.
    #[error("{url} answers {status}{}", reason(*.status))]
    Status {
        /// What was asked for.
        url: String,
        /// Its status code.
        status: u16,
    },
    /// The server wants to be left alone for long.
    #[error("{url} answers {status} and asks to wait for {} s", .wait.as_secs())]
    AskedToWait {
        /// What was asked for.
        url: String,
        /// Its status code.
        status: u16,
        /// How long.
        wait: Duration,
    },
    /// Something else than the file.
    #[error("{url} is not the file: {why}")]
    NotTheFile {
        /// What was asked for.
        url: String,
        /// How that shows.
        why: String,
    },
    /// More than it may have.
    #[error("{url} has more than {most} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The bound.
        most: u64,
    },
    /// It never stays the same.
    #[error("{url} changes while it is fetched: {why}")]
    Fickle {
        /// What was asked for.
        url: String,
        /// What was seen last.
        why: String,
    },
    /// Several tries ended like this.
    #[error("{tries} tries in a row failed")]
    Tries {
        /// How many.
        tries: u32,
        /// The last one.
        source: Box<TransferFault>,
    },
    /// The disk is too small.
    #[error("{} needs {} MB more, {} MB are free", .path.display(), .need >> 20, .free >> 20)]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Bytes, with a margin.
        need: u64,
        /// Bytes.
        free: u64,
    },
}

/// The reason phrase that people know.
fn reason(status: u16) -> &'static str {
    match status {
        401 => " (it wants a password)",
        403 => " (forbidden)",
        404 => " (there is no such file)",
        407 => " (the proxy wants a password)",
        410 => " (the file was removed)",
        429 => " (too many requests)",
        451 => " (not available for legal reasons)",
        500 => " (an error of the server's)",
        502 | 504 => " (the server behind it does not answer)",
        503 => " (the server is overloaded or being maintained)",
        _ => "",
    }
}

impl TransferFault {
    /// Whether the same request may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            TransferFault::Connect { .. }
            | TransferFault::Silent { .. }
            | TransferFault::Drips { .. }
            | TransferFault::Broken { .. }
            | TransferFault::Cut { .. } => true,
            TransferFault::System(_)
            | TransferFault::Cancelled
            // A name that is not known now will not be in a second; another source is asked at once.
            | TransferFault::Name { .. }
            | TransferFault::Skipped { .. }
            | TransferFault::Certificate { .. }
            | TransferFault::Authorities { .. }
            | TransferFault::Redirect { .. }
            | TransferFault::Status { .. }
            | TransferFault::AskedToWait { .. }
            | TransferFault::NotTheFile { .. }
            | TransferFault::TooLong { .. }
            | TransferFault::Fickle { .. }
            | TransferFault::Tries { .. }
            | TransferFault::NoRoom { .. } => false,
        }
    }

    /// How many tries in a row such a failure is worth. A host that refuses connections is tried twice.
    pub(super) fn tries(&self, timing: &Timing) -> u32 {
        if matches!(self, TransferFault::Connect { .. }) { timing.tries.min(2) } else { timing.tries }
    }

    /// The same after several tries.
    pub(super) fn after(self, tries: u32) -> Self {
        if tries < 2 { self } else { TransferFault::Tries { tries, source: Box::new(self) } }
    }

    /// Whether the host itself is out of reach, so that its other files need not be asked for.
    pub fn is_unreachable(&self) -> bool {
        match self {
            TransferFault::Tries { source, .. } => source.is_unreachable(),
            fault => matches!(fault, TransferFault::Name { .. } | TransferFault::Connect { .. }),
        }
    }

    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            TransferFault::Name { .. } | TransferFault::Connect { .. } | TransferFault::Silent { .. } => {
                "look at the network; behind a proxy set https_proxy and http_proxy; without a network put the file into \
                 artifacts.files, or use a mirror (--mirror)"
                    .into()
            }
            TransferFault::Certificate { .. } => {
                "a proxy that opens TLS has an authority of its own: name its file in artifacts.ca_file; and look at this \
                 machine's clock"
                    .into()
            }
            TransferFault::Authorities { .. } => {
                "apt-get install ca-certificates, or name a file of authorities in artifacts.ca_file".into()
            }
            TransferFault::Status { status: 404 | 410, .. } => {
                "the vendor has removed or moved it: use another version, a mirror (--mirror), or put the file into \
                 artifacts.files"
                    .into()
            }
            TransferFault::Status { status: 401 | 403 | 407, .. } | TransferFault::NotTheFile { .. } => {
                "open the address in a browser on this network: a proxy or a login may stand in between".into()
            }
            TransferFault::Status { .. } | TransferFault::AskedToWait { .. } | TransferFault::Drips { .. } => {
                "run it again later; what has arrived is kept".into()
            }
            TransferFault::Broken { .. } | TransferFault::Cut { .. } => "run it again: it goes on where it stopped".into(),
            TransferFault::Redirect { .. } => "name the final https address as a mirror (--mirror)".into(),
            TransferFault::Tries { source, .. } => return source.hint(),
            TransferFault::NoRoom { .. } => "free some space, or put the store elsewhere (artifacts.store)".into(),
            TransferFault::System(_)
            | TransferFault::Cancelled
            | TransferFault::Skipped { .. }
            | TransferFault::TooLong { .. }
            | TransferFault::Fickle { .. } => return None,
        })
    }

    /// Whether it comes from a full disk.
    pub fn disk_full(&self) -> bool {
        match self {
            TransferFault::System(e) => {
                matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            TransferFault::Tries { source, .. } => source.disk_full(),
            _ => false,
        }
    }
}
