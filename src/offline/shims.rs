//! Talks to shims without a daemon: who runs, and a stop that is waited for. Blocking.

use crate::{
    base::{Layout, NodeName},
    shim::wire::{Decoder, FRAME_MAX, Report, Request, ShimState, WireError},
    sys::{error::SysError, socket},
};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a shim may take to say how it is. It does nothing else meanwhile, so this is a matter of a busy machine.
const ANSWER: Duration = Duration::from_secs(3);

/// A connection to one shim.
#[derive(Debug)]
pub(super) struct Shim {
    stream: UnixStream,
    decoder: Decoder,
    path: PathBuf,
}

impl Shim {
    pub(super) fn connect(path: &Path) -> Result<Self, SysError> {
        let failed = |e| SysError::path("connect to the shim at", path, e);
        let stream = UnixStream::connect(path).map_err(failed)?;
        // Root may look after another user's root: whoever the directory of all nodes belongs to runs their shims.
        let owner = path.ancestors().nth(3).and_then(|nodes| fs::metadata(nodes).ok()).map(|meta| meta.uid());
        if !socket::peer_is_trusted(&stream, owner) {
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "another user listens there")));
        }
        Ok(Self { stream, decoder: Decoder::new(FRAME_MAX), path: path.to_owned() })
    }

    pub(super) fn send(&mut self, request: &Request) -> Result<(), SysError> {
        self.stream
            .set_write_timeout(Some(ANSWER))
            .and_then(|()| self.stream.write_all(&request.encode()))
            .map_err(|e| SysError::path("send to the shim at", &self.path, e))
    }

    /// The next report; none when the shim is gone. Descriptors that come with a report are not taken, which closes them.
    pub(super) fn report(&mut self, within: Duration) -> Result<Option<Report>, SysError> {
        let failed = |e: io::Error| SysError::path("hear from the shim at", &self.path, e);
        let invalid = |e| failed(io::Error::new(io::ErrorKind::InvalidData, e));
        let end = Instant::now() + within;
        loop {
            if let Some(frame) = self.decoder.next().map_err(invalid)? {
                match Report::decode(&frame) {
                    Ok(report) => return Ok(Some(report)),
                    // a later shim may say more than this program knows
                    Err(WireError::Kind(_)) => continue,
                    Err(e) => return Err(invalid(e)),
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            let mut block = [0; 4096];
            match self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut block)) {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&block[..n]),
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Ok(None),
                    _ => return Err(failed(e)),
                },
            }
        }
    }
}

/// A shim that answers.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub socket: PathBuf,
    pub state: ShimState,
}

/// Every shim of the root that answers, by node name. One that does not (stopped, stuck) is not in the list: its node's
/// lock tells that something lives.
pub(super) fn live(layout: &Layout) -> Vec<Live> {
    let mut found: Vec<Live> =
        node_dirs(layout).iter().flat_map(|node| sockets(&layout.node_run(node))).filter_map(|s| ask(&s)).collect();
    found.sort_by(|a, b| a.state.node.cmp(&b.state.node));
    found
}

/// The names of the nodes that have a directory under the root.
pub(super) fn node_dirs(layout: &Layout) -> Vec<NodeName> {
    let entries = fs::read_dir(layout.nodes()).into_iter().flatten().flatten();
    let mut names: Vec<NodeName> =
        entries.filter_map(|e| NodeName::new(e.file_name().into_string().ok()?).ok()).collect();
    names.sort();
    names
}

fn sockets(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    let is_shims = |name: &str| name.starts_with("shim.") && name.ends_with(".sock");
    entries.filter(|e| e.file_name().to_str().is_some_and(is_shims)).map(|e| e.path()).collect()
}

fn ask(socket: &Path) -> Option<Live> {
    let mut shim = Shim::connect(socket).ok()?;
    shim.send(&Request::State).ok()?;
    match shim.report(ANSWER).ok()?? {
        Report::State(state) => Some(Live { socket: socket.to_owned(), state }),
        Report::LaunchFailed { .. }
        | Report::Notified(_)
        | Report::MainEnded(_)
        | Report::Gone(_)
        | Report::Trouble(_) => None,
    }
}
