//! The bytes of the shim's wire: frames, fields, and the decoder that takes them in pieces. Types are in [`super::wire`].

use super::wire::{
    Credentials, FRAME_MAX, Frame, LaunchOrder, Notified, Report, Request, ShimState, TwinRequest, Twins, VERSION,
    WireError,
};
use crate::base::{ExitRecord, ExitStatus, Incarnation, NodeName, Timestamp, ids::ProcessId, outcome::OomBy};
use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Longest text inside a report, bytes: keeps every report far below [`FRAME_MAX`].
const TEXT_MAX: usize = 16 << 10;
/// Most signals kept in a record on the wire.
const SIGNALS_MAX: usize = 1024;

mod kind {
    pub(super) const LAUNCH: u8 = 1;
    pub(super) const TWIN_REQUEST: u8 = 2;
    pub(super) const SUBSCRIBE: u8 = 0x10;
    pub(super) const STATE_REQUEST: u8 = 0x11;
    pub(super) const SIGNAL: u8 = 0x12;
    pub(super) const STOP: u8 = 0x13;
    pub(super) const KILL_TREE: u8 = 0x14;
    pub(super) const STATE: u8 = 0x20;
    pub(super) const LAUNCH_FAILED: u8 = 0x21;
    pub(super) const NOTIFIED: u8 = 0x22;
    pub(super) const MAIN_ENDED: u8 = 0x23;
    pub(super) const GONE: u8 = 0x24;
    pub(super) const TROUBLE: u8 = 0x25;
    pub(super) const TWINS: u8 = 0x26;
}

/// Writes fields.
struct Fields(Vec<u8>);

impl Fields {
    fn frame(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, VERSION, kind])
    }
    fn finish(mut self) -> Vec<u8> {
        // longer than 4 GiB cannot be: the callers bound texts, and a launch order is checked against FRAME_MAX
        let rest = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&rest.to_le_bytes());
        self.0
    }
    fn u8(&mut self, v: u8) -> &mut Self {
        self.0.push(v);
        self
    }
    fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn i32(&mut self, v: i32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn i64(&mut self, v: i64) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn count(&mut self, n: usize) -> &mut Self {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX))
    }
    fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.count(v.len());
        self.0.extend_from_slice(v);
        self
    }
    fn path(&mut self, v: &Path) -> &mut Self {
        self.bytes(v.as_os_str().as_bytes())
    }
    fn text(&mut self, v: &str) -> &mut Self {
        self.bytes(bounded(v).as_bytes())
    }
    fn optional_u64(&mut self, v: Option<u64>) -> &mut Self {
        match v {
            Some(v) => self.u8(1).u64(v),
            None => self.u8(0),
        }
    }
}

/// At most [`TEXT_MAX`] bytes of a text, cut between characters.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

/// Reads fields; every read is checked.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError::Truncated)
    }
    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }
    fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Field(format!("{other} is not a yes or no"))),
        }
    }
    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_le_bytes(self.array()?))
    }
    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_le_bytes(self.array()?))
    }
    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let n = self.u32()?;
        self.take(usize::try_from(n).map_err(|_| WireError::Truncated)?)
    }
    fn string(&mut self) -> Result<String, WireError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|e| WireError::Field(format!("text is not UTF-8: {e}")))
    }
    fn path(&mut self) -> Result<PathBuf, WireError> {
        Ok(OsString::from_vec(self.bytes()?.to_vec()).into())
    }
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, WireError>) -> Result<Option<T>, WireError> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }
    /// A counted list. The count is not trusted: nothing is reserved for it, and a short body ends it.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
        let n = self.u32()?;
        let mut list = Vec::new();
        for _ in 0..n {
            list.push(read(self)?);
        }
        Ok(list)
    }
    fn node(&mut self) -> Result<NodeName, WireError> {
        NodeName::new(self.string()?).map_err(WireError::Field)
    }
}

fn put_notified(f: &mut Fields, n: &Notified) {
    f.u8(n.ready.into()).u8(n.stopping.into()).text(&n.status);
}

fn get_notified(r: &mut Reader) -> Result<Notified, WireError> {
    Ok(Notified { ready: r.bool()?, stopping: r.bool()?, status: r.string()? })
}

fn put_record(f: &mut Fields, e: &ExitRecord) {
    f.u64(e.incarnation.0).i32(e.pid);
    match e.status {
        ExitStatus::Code(c) => f.u8(0).i32(c),
        ExitStatus::Signal(s) => f.u8(1).i32(s),
        ExitStatus::Unknown => f.u8(2).i32(0),
    };
    f.i64(e.started_at.0).i64(e.ended_at.0).u64(e.cpu_ms).u64(e.peak_rss_bytes);
    f.optional_u64(e.cgroup_peak_bytes).optional_u64(e.oom_kills);
    let signals = &e.signals_sent[..e.signals_sent.len().min(SIGNALS_MAX)];
    f.count(signals.len());
    for s in signals {
        f.i32(*s);
    }
    // Behind the last field of version 1: older readers leave it.
    let by = e.oom_by.and_then(|by| OomBy::ALL.iter().position(|b| *b == by));
    f.u8(by.and_then(|n| u8::try_from(n + 1).ok()).unwrap_or(0));
    f.optional_u64(e.cgroup_cap_bytes);
}

fn get_record(r: &mut Reader) -> Result<ExitRecord, WireError> {
    Ok(ExitRecord {
        incarnation: Incarnation(r.u64()?),
        pid: r.i32()?,
        status: match (r.u8()?, r.i32()?) {
            (0, c) => ExitStatus::Code(c),
            (1, s) => ExitStatus::Signal(s),
            (2, _) => ExitStatus::Unknown,
            (other, _) => return Err(WireError::Field(format!("{other} is not a kind of exit"))),
        },
        started_at: Timestamp(r.i64()?),
        ended_at: Timestamp(r.i64()?),
        cpu_ms: r.u64()?,
        peak_rss_bytes: r.u64()?,
        cgroup_peak_bytes: r.optional(Reader::u64)?,
        oom_kills: r.optional(Reader::u64)?,
        signals_sent: r.list(Reader::i32)?,
        // An older shim ends here; a number that only a later one knows is as good as none.
        oom_by: r.u8().ok().and_then(|n| OomBy::ALL.get(usize::from(n).checked_sub(1)?).copied()),
        cgroup_cap_bytes: r.optional(Reader::u64).ok().flatten(),
    })
}

impl LaunchOrder {
    /// The frame, length included. An error when arguments and environment are longer than [`FRAME_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut f = Fields::frame(kind::LAUNCH);
        f.path(&self.root).bytes(self.node.as_str().as_bytes()).u64(self.incarnation.0).count(self.argv.len());
        for a in &self.argv {
            f.bytes(a.as_bytes());
        }
        f.count(self.env.len());
        for (k, v) in &self.env {
            f.bytes(k.as_bytes()).bytes(v.as_bytes());
        }
        f.path(&self.dir);
        match &self.credentials {
            None => f.u8(0),
            Some(c) => {
                f.u8(1).u32(c.uid).u32(c.gid).count(c.groups.len());
                for g in &c.groups {
                    f.u32(*g);
                }
                &mut f
            }
        };
        f.u64(self.nofile).i32(self.oom_score_adj);
        match &self.cgroup {
            None => f.u8(0),
            Some(path) => f.u8(1).path(path),
        };
        f.u8(self.notify.into()).u64(self.log_max_bytes).u32(self.log_keep).u64(self.leftovers_ms);
        let bytes = f.finish();
        if bytes.len() - 4 > FRAME_MAX { Err(WireError::TooLong(bytes.len() - 4)) } else { Ok(bytes) }
    }

    /// Reads a frame.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        if frame.kind != kind::LAUNCH {
            return Err(WireError::Kind(frame.kind));
        }
        let mut r = Reader(&frame.body);
        Ok(Self {
            root: r.path()?,
            node: r.node()?,
            incarnation: Incarnation(r.u64()?),
            argv: r.list(Reader::string)?,
            env: r.list(|r| Ok((r.string()?, r.string()?)))?,
            dir: r.path()?,
            credentials: r
                .optional(|r| Ok(Credentials { uid: r.u32()?, gid: r.u32()?, groups: r.list(Reader::u32)? }))?,
            nofile: r.u64()?,
            oom_score_adj: r.i32()?,
            cgroup: r.optional(Reader::path)?,
            notify: r.bool()?,
            log_max_bytes: r.u64()?,
            log_keep: r.u32()?,
            leftovers_ms: r.u64()?,
        })
    }
}

impl TwinRequest {
    /// The frame, length included.
    pub fn encode(self) -> Vec<u8> {
        Fields::frame(kind::TWIN_REQUEST).finish()
    }

    /// Whether a frame is one.
    pub fn is(frame: &Frame) -> bool {
        frame.kind == kind::TWIN_REQUEST
    }
}

impl Twins {
    /// The frame, length included.
    pub fn encode(&self) -> Vec<u8> {
        let mut f = Fields::frame(kind::TWINS);
        f.count(self.0.len());
        for pid in &self.0 {
            f.i32(*pid);
        }
        f.finish()
    }

    /// Reads a frame.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        if frame.kind != kind::TWINS {
            return Err(WireError::Kind(frame.kind));
        }
        Reader(&frame.body).list(Reader::i32).map(Self)
    }
}

impl Request {
    /// The frame, length included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Subscribe => Fields::frame(kind::SUBSCRIBE).finish(),
            Request::State => Fields::frame(kind::STATE_REQUEST).finish(),
            Request::Signal(signal) => {
                let mut f = Fields::frame(kind::SIGNAL);
                f.i32(*signal);
                f.finish()
            }
            Request::Stop { signal, grace_ms } => {
                let mut f = Fields::frame(kind::STOP);
                f.i32(*signal).u64(*grace_ms);
                f.finish()
            }
            Request::KillTree => Fields::frame(kind::KILL_TREE).finish(),
        }
    }

    /// Reads a frame.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let mut r = Reader(&frame.body);
        match frame.kind {
            kind::SUBSCRIBE => Ok(Request::Subscribe),
            kind::STATE_REQUEST => Ok(Request::State),
            kind::SIGNAL => Ok(Request::Signal(signal(&mut r)?)),
            kind::STOP => Ok(Request::Stop { signal: signal(&mut r)?, grace_ms: r.u64()? }),
            kind::KILL_TREE => Ok(Request::KillTree),
            other => Err(WireError::Kind(other)),
        }
    }
}

/// A signal number: 1 to 64 (signal(7)).
fn signal(r: &mut Reader) -> Result<i32, WireError> {
    match r.i32()? {
        n @ 1..=64 => Ok(n),
        other => Err(WireError::Field(format!("{other} is not a signal"))),
    }
}

impl Report {
    /// The frame, length included. Texts longer than 16 KiB are cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut f;
        match self {
            Report::State(s) => {
                f = Fields::frame(kind::STATE);
                f.bytes(s.node.as_str().as_bytes()).u64(s.incarnation.0).i32(s.shim_pid);
                f.i32(s.process.pid).u64(s.process.start_ticks).text(&s.process.boot_id);
                f.i64(s.started_at.0).u8(s.stopping.into());
                put_notified(&mut f, &s.notified);
            }
            Report::LaunchFailed { step, errno, text } => {
                f = Fields::frame(kind::LAUNCH_FAILED);
                f.text(step).i32(*errno).text(text);
            }
            Report::Notified(n) => {
                f = Fields::frame(kind::NOTIFIED);
                put_notified(&mut f, n);
            }
            Report::MainEnded(e) => {
                f = Fields::frame(kind::MAIN_ENDED);
                put_record(&mut f, e);
            }
            Report::Gone(e) => {
                f = Fields::frame(kind::GONE);
                put_record(&mut f, e);
            }
            Report::Trouble(text) => {
                f = Fields::frame(kind::TROUBLE);
                f.text(text);
            }
        }
        f.finish()
    }

    /// Reads a frame.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let mut r = Reader(&frame.body);
        match frame.kind {
            kind::STATE => Ok(Report::State(ShimState {
                node: r.node()?,
                incarnation: Incarnation(r.u64()?),
                shim_pid: r.i32()?,
                process: ProcessId { pid: r.i32()?, start_ticks: r.u64()?, boot_id: r.string()? },
                started_at: Timestamp(r.i64()?),
                stopping: r.bool()?,
                notified: get_notified(&mut r)?,
            })),
            kind::LAUNCH_FAILED => Ok(Report::LaunchFailed { step: r.string()?, errno: r.i32()?, text: r.string()? }),
            kind::NOTIFIED => Ok(Report::Notified(get_notified(&mut r)?)),
            kind::MAIN_ENDED => Ok(Report::MainEnded(get_record(&mut r)?)),
            kind::GONE => Ok(Report::Gone(get_record(&mut r)?)),
            kind::TROUBLE => Ok(Report::Trouble(r.string()?)),
            other => Err(WireError::Kind(other)),
        }
    }
}

/// Cuts a stream of bytes into frames. Push what was read, then take frames until there is none.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    max: usize,
    broken: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(FRAME_MAX)
    }
}

impl Decoder {
    /// A decoder that refuses frames longer than `max` bytes (at most [`FRAME_MAX`]).
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), max: max.min(FRAME_MAX), broken: false }
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; none until more bytes come. After an error the stream cannot be cut any more: every later
    /// call is an error too, and the connection is to be dropped.
    #[allow(clippy::should_implement_trait)] // an iterator would end at "none yet"
    pub fn next(&mut self) -> Result<Option<Frame>, WireError> {
        let head = match self.buffer.first_chunk::<4>() {
            _ if self.broken => return Err(WireError::Truncated),
            None => return Ok(None),
            Some(head) => usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX),
        };
        if head < 2 || head > self.max {
            self.broken = true;
            return Err(if head < 2 { WireError::Truncated } else { WireError::TooLong(head) });
        }
        if self.buffer.len() < 4 + head {
            return Ok(None);
        }
        let (version, kind) = (self.buffer[4], self.buffer[5]);
        if version != VERSION {
            self.broken = true;
            return Err(WireError::Version(version));
        }
        let body = self.buffer[6..4 + head].to_vec();
        self.buffer.drain(..4 + head);
        Ok(Some(Frame { kind, body }))
    }
}

#[cfg(test)]
mod tests;
