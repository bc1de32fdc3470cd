//! What daemon and shim say to each other: a launch order, requests, reports; length-prefixed frames, versioned.
//!
//! A frame is `u32 little-endian length of the rest`, `u8 version`, `u8 kind`, then fields. The daemon starts a shim with one
//! end of a socketpair as standard input and sends the [`LaunchOrder`] as the first frame; that connection is subscribed
//! from birth. A shim in reserve may be sent [`TwinRequest`]s before its order. Later daemons connect to the shim's socket (`Layout::shim_socket`) and send [`Request::Subscribe`].
//! A [`Report::State`] that answers a subscription carries two descriptors (SCM_RIGHTS): the read end of the node's
//! output pipe and a pidfd of its main process, so that the daemon can take over when the shim dies.
//!
//! # Versions
//! Shims outlive daemons, and an older daemon starts newer shims (the program on disk was replaced), so:
//! - within a version, fields are only added behind the last one, and frames of new kinds may be sent: both sides skip what
//!   they do not know;
//! - a shim speaks the version of its launch order to the daemon that sent it, and to others the version they ask in;
//! - a daemon knows every version up to its own. Shims of a version that it does not know are left alone, and it does not
//!   start beside them (exit 8).
//!
//! `tests/golden/v1` keeps bytes of version 1.

use crate::base::{ExitRecord, Incarnation, NodeName, Timestamp, ids::ProcessId};
use std::{fmt, path::PathBuf};

pub use super::codec::Decoder;
pub use super::record::{LaunchFailure, format_exit_record, parse_exit_record, parse_launch_failure};

/// Version of this protocol.
pub const VERSION: u8 = 1;

/// Longest frame either side accepts, bytes, the four of the length not counted.
pub const FRAME_MAX: usize = 1 << 20;

/// One frame, cut out of the stream by a [`Decoder`]; its version was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub kind: u8,
    /// The fields. Bytes behind the last known field are ignored: a later version may add some.
    pub body: Vec<u8>,
}

/// Bytes that are not this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// A field ends behind the frame, or the stream was broken before.
    Truncated,
    /// The frame would be longer than accepted; its length in bytes.
    TooLong(usize),
    /// Another version of the protocol.
    Version(u8),
    /// An exit record of another version.
    RecordVersion(u32),
    /// Not a frame of the expected sort.
    Kind(u8),
    /// A field holds what it may not.
    Field(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated => f.write_str("the message ends too early"),
            WireError::TooLong(n) => write!(f, "a message of {n} bytes is longer than accepted"),
            WireError::Version(v) => {
                write!(f, "version {v} of the shim protocol is not known here (we speak {VERSION})")
            }
            WireError::RecordVersion(v) => {
                write!(f, "its exit record is of version {v}, this program knows {}", super::record::VERSION)
            }
            WireError::Kind(k) => write!(f, "a message of kind {k} was not expected"),
            WireError::Field(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for WireError {}

/// Everything a shim needs to launch and keep one incarnation of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchOrder {
    /// The root: all paths (`run/lock`, `run/shim.N.sock`, `run/exit.N`, `log/`) follow from it.
    pub root: PathBuf,
    /// Whose.
    pub node: NodeName,
    /// Which start.
    pub incarnation: Incarnation,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment, `NOTIFY_SOCKET` added by the shim when `notify`.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub dir: PathBuf,
    /// uid, gid and supplementary groups to become; none: stay.
    pub credentials: Option<Credentials>,
    /// `RLIMIT_NOFILE` wanted; lowered to the hard limit.
    pub nofile: u64,
    /// `oom_score_adj` wanted; raised to what is allowed.
    pub oom_score_adj: i32,
    /// The node's cgroup directory, made and filled with limits by the daemon; the node joins it before exec.
    pub cgroup: Option<PathBuf>,
    /// Give the node a notify socket (`Layout::notify_socket`) and report what it says.
    pub notify: bool,
    /// Rotate the log at this size.
    pub log_max_bytes: u64,
    /// Keep so many rotated files.
    pub log_keep: u32,
    /// Milliseconds that leftovers of the tree get between SIGTERM and SIGKILL after the main process ended.
    pub leftovers_ms: u64,
}

/// Who to become before exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What a shim in reserve may be sent in the place of its order: the descriptors that come with it (SCM_RIGHTS) are sockets, and for
/// each a process like this one is wanted, in reserve as well. Answered with [`Twins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwinRequest;

/// The pids of the processes that were made, in the order of their sockets; fewer than asked for when the kernel has refused one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Twins(pub Vec<i32>);

/// What a daemon asks of a shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Report the state now, with descriptors, and every change from now on.
    Subscribe,
    /// Report the state once, without descriptors.
    State,
    /// Send one signal to the main process.
    Signal(i32),
    /// Send `signal` to the main process; SIGKILL the whole tree after `grace_ms`, also when the daemon is gone by then.
    Stop {
        /// The signal that asks.
        signal: i32,
        /// Milliseconds until SIGKILL.
        grace_ms: u64,
    },
    /// SIGKILL the whole tree now.
    KillTree,
}

/// What a shim reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// How it is. The first report after a launch (`Spawned`), and the answer to `Subscribe` and `State`.
    State(ShimState),
    /// The node could not be launched; the shim has written an exit record (pid 0) and ends. With step `lock` it has
    /// written nothing: what holds the lock may be this very incarnation.
    LaunchFailed {
        /// Which step: `lock` (somebody of an older tree still holds it), `log`, `socket`, `order` (not to be
        /// carried out as written), `fork`, `session`, `cgroup`, `limit`, `user`, `dir`, `exec`.
        step: String,
        /// The kernel's error number.
        errno: i32,
        /// Words with the operands.
        text: String,
    },
    /// The node sent sd_notify text that changed something.
    Notified(Notified),
    /// The main process ended, its exit is on record, but part of its tree still lives and is being removed.
    MainEnded(ExitRecord),
    /// The main process ended, its exit is on record, and the tree is empty. The shim ends after this.
    Gone(ExitRecord),
    /// The shim could not do something that the user must know (log disk full, a leftover stuck in the kernel).
    Trouble(String),
}

/// How a shim and its node are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimState {
    /// Whose.
    pub node: NodeName,
    /// Which start.
    pub incarnation: Incarnation,
    /// The shim.
    pub shim_pid: i32,
    /// The main process.
    pub process: ProcessId,
    /// When it was started.
    pub started_at: Timestamp,
    /// Whether a stop was asked for.
    pub stopping: bool,
    /// What the node has said over its notify socket.
    pub notified: Notified,
}

/// What a node has said with sd_notify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notified {
    /// READY=1 was sent.
    pub ready: bool,
    /// STOPPING=1 was sent.
    pub stopping: bool,
    /// The last STATUS= text.
    pub status: String,
}
