//! A small blocking client of one shim: for `down` without a daemon, and for tests. The daemon has its own, async one.

use super::wire::{Decoder, LaunchOrder, Report, Request, WireError};
use crate::sys::{error::SysError, socket};
use std::{
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    fds: Vec<OwnedFd>,
    name: String,
}

impl Client {
    /// Connects to a shim's socket (`Layout::shim_socket`).
    pub fn connect(path: &Path) -> Result<Self, SysError> {
        let stream = UnixStream::connect(path).map_err(|e| SysError::path("connect to the shim at", path, e))?;
        Ok(Self { name: path.display().to_string(), ..Self::from_stream(stream) })
    }

    /// The near end of a shim's birth socketpair.
    pub fn from_stream(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default(), fds: Vec::new(), name: "its birth connection".into() }
    }

    /// Sends the launch order: the first thing on a birth connection.
    pub fn launch(&mut self, order: &LaunchOrder) -> Result<(), SysError> {
        let bytes = order.encode().map_err(|e| self.bad(e))?;
        self.send(&bytes)
    }

    /// Sends a request.
    pub fn request(&mut self, request: &Request) -> Result<(), SysError> {
        self.send(&request.encode())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), SysError> {
        self.stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|e| SysError::new(format!("send to the shim at {}", self.name), e))
    }

    fn bad(&self, e: WireError) -> SysError {
        SysError::new(format!("talk to the shim at {}", self.name), io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// The next report; none when the shim closed the connection. `TimedOut` when none came in time.
    pub fn next_report(&mut self, timeout: Duration) -> Result<Option<Report>, SysError> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(frame) = self.decoder.next().map_err(|e| self.bad(e))? {
                return Report::decode(&frame).map(Some).map_err(|e| self.bad(e));
            }
            let left = end.saturating_duration_since(Instant::now());
            let doing = || format!("hear from the shim at {}", self.name);
            if left.is_zero() {
                return Err(SysError::new(doing(), io::ErrorKind::TimedOut));
            }
            let mut buffer = [0; 4096];
            let received = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| socket::recv_with_fds(&self.stream, &mut buffer));
            match received {
                Ok((0, _)) => return Ok(None),
                Ok((n, fds)) => {
                    self.decoder.push(&buffer[..n]);
                    self.fds.extend(fds);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // it ended between our request and its answer
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(SysError::new(doing(), e)),
            }
        }
    }

    /// The descriptors received so far: of a subscription, the pipe's read end and the main process's pidfd, in order.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
}
