//! The shim's clients: bounded in number and in what is queued for them; a slow or talking-nonsense one is dropped.

use super::{
    codec::Decoder,
    wire::{Report, Request, WireError},
};
use crate::sys::socket::send_with_fds;
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsRawFd, BorrowedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
};

/// Most clients at once.
pub(super) const MAX: usize = 16;
/// Most bytes that wait for one client, beyond what the kernel buffers.
const QUEUE_MAX: usize = 64 << 10;
/// Longest request, bytes: all of them are shorter than 20.
const REQUEST_MAX: usize = 256;

/// One client.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    queue: VecDeque<Outgoing>,
    subscribed: bool,
    /// What the node said changed; sent as its latest value when the queue is empty, so that a flood of messages cannot
    /// fill it.
    notify: bool,
    dead: bool,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// Pipe and pidfd go with the first byte.
    with_fds: bool,
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Connections(Vec<Connection>);

impl Connections {
    /// Adds a client. When there are too many, the oldest that did not subscribe makes room, else the oldest subscriber: the
    /// next daemon must get in, and one that was sent away by mistake comes again.
    pub(super) fn add(&mut self, stream: UnixStream, subscribed: bool) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.0.len() >= MAX {
            let oldest = self.0.iter().position(|c| !c.subscribed).unwrap_or(0);
            drop(self.0.remove(oldest));
        }
        let decoder = Decoder::new(REQUEST_MAX);
        self.0.push(Connection { stream, decoder, queue: VecDeque::new(), subscribed, notify: false, dead: false });
    }

    /// Takes in everybody who waits at the listener.
    pub(super) fn accept(&mut self, listener: &UnixListener) {
        // at most a full house in one go: what else waits is met in the next round
        for _ in 0..MAX {
            match listener.accept() {
                Ok((stream, _)) => self.add(stream, false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Descriptor and poll events of each.
    pub(super) fn interests(&self) -> impl Iterator<Item = (RawFd, i16)> {
        self.0.iter().map(|c| {
            let out = if c.queue.is_empty() { 0 } else { libc::POLLOUT };
            (c.stream.as_raw_fd(), libc::POLLIN | out)
        })
    }

    /// Requests that have come, each with the client's place. Places hold until [`Connections::sweep`].
    pub(super) fn requests(&mut self) -> Vec<(usize, Request)> {
        let mut found = Vec::new();
        for (place, c) in self.0.iter_mut().enumerate() {
            if !c.dead {
                c.read(place, &mut found);
            }
        }
        found
    }

    /// Queues a report for one client.
    pub(super) fn answer(&mut self, place: usize, report: &Report, with_fds: bool) {
        if let Some(c) = self.0.get_mut(place) {
            c.push(report, with_fds);
        }
    }

    /// From now on this client hears of every change.
    pub(super) fn subscribe(&mut self, place: usize) {
        if let Some(c) = self.0.get_mut(place) {
            c.subscribed = true;
        }
    }

    /// Queues a report for every subscriber, behind what the node said last.
    pub(super) fn tell(&mut self, report: &Report, notified: &Report) {
        for c in self.0.iter_mut().filter(|c| c.subscribed) {
            if std::mem::take(&mut c.notify) {
                c.push(notified, false);
            }
            c.push(report, false);
        }
    }

    /// What the node said changed.
    pub(super) fn notify(&mut self) {
        for c in self.0.iter_mut().filter(|c| c.subscribed) {
            c.notify = true;
        }
    }

    /// Sends what can be sent now, and drops the dead.
    pub(super) fn sweep(&mut self, notified: &Report, fds: &[BorrowedFd]) {
        for c in &mut self.0 {
            c.flush(fds);
            if c.queue.is_empty() && std::mem::take(&mut c.notify) {
                c.push(notified, false);
                c.flush(fds);
            }
        }
        self.0.retain(|c| !c.dead);
    }

    /// Whether anything waits to be sent.
    pub(super) fn pending(&self) -> bool {
        self.0.iter().any(|c| !c.queue.is_empty())
    }
}

impl Connection {
    fn read(&mut self, place: usize, found: &mut Vec<(usize, Request)>) {
        let mut buffer = [0; 512];
        // Descriptors that a client sends along are closed by the kernel: read(2) has no place for them.
        match self.stream.read(&mut buffer) {
            Ok(0) => self.dead = true,
            Ok(n) => {
                self.decoder.push(&buffer[..n]);
                loop {
                    match self.decoder.next().and_then(|f| f.map(|f| Request::decode(&f)).transpose()) {
                        Ok(Some(request)) => found.push((place, request)),
                        Ok(None) => return,
                        // a later daemon may ask more than this shim knows
                        Err(WireError::Kind(_)) => {}
                        Err(_) => {
                            self.dead = true;
                            return;
                        }
                    }
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.dead = true,
        }
    }

    fn push(&mut self, report: &Report, with_fds: bool) {
        let waiting: usize = self.queue.iter().map(|o| o.bytes.len() - o.sent).sum();
        let bytes = report.encode();
        if waiting + bytes.len() > QUEUE_MAX {
            self.queue.clear();
            self.dead = true;
        } else if !self.dead {
            self.queue.push_back(Outgoing { bytes, sent: 0, with_fds });
        }
    }

    fn flush(&mut self, fds: &[BorrowedFd]) {
        while let Some(out) = self.queue.front_mut() {
            let fds = if out.with_fds && out.sent == 0 { fds } else { &[] };
            match send_now(&self.stream, &out.bytes[out.sent..], fds) {
                Ok(n) => {
                    out.sent += n;
                    if out.sent == out.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.queue.clear();
                    self.dead = true;
                }
            }
        }
    }
}

fn send_now(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd]) -> io::Result<usize> {
    match send_with_fds(stream, bytes, fds) {
        // too many descriptors in flight (unix(7), ETOOMANYREFS): they come free when somebody reads
        Err(e) if e.raw_os_error() == Some(libc::ETOOMANYREFS) => Err(ErrorKind::WouldBlock.into()),
        other => other,
    }
}
