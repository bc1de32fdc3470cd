//! The answering side of the control socket: bounded connections, bounded requests, answers that never hold up the daemon.

mod lobby;
mod sink;
mod slots;

pub use sink::AnswerSink;

use super::wire::{Answer, LINE_MAX, Order, Request, VERSION};
use crate::base::units::human_duration;
use lobby::{Lobbies, Place};
use sink::Queue;
use slots::{Claim, Slots};
use std::{
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// Connections served at once. A person has a handful; the bound keeps a runaway script from taking descriptors that the
/// daemon needs for its nodes.
pub const CONNECTIONS_MAX: usize = 128;

/// How long a client may take to send its whole request line.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one write to a client may take. Longer than any pause of a person's terminal is worth a descriptor for; a
/// client dropped for this can connect again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long connections get to write out their last answers when the daemon ends.
const DRAIN: Duration = Duration::from_secs(3);

/// How long a client that has connected may still ask when the daemon stops serving, and a question that was asked may still
/// take until it is answered: the client did nothing wrong, and a daemon that is being replaced is back in a moment.
const LAST_CHANCE: Duration = Duration::from_millis(200);

/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks, as the kernel knows it (SO_PEERCRED, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its pid; none when it lives in another pid namespace.
    pub pid: Option<i32>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "uid {} pid {pid}", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// The work of one order.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Carries out orders. Implemented by the daemon.
pub trait Handler: Send + Sync + 'static {
    /// Carries out `order` and answers into `out`, ending with one of the answers that end (see [`Answer`]). The future
    /// runs to its end in a task of its own, also when the client hangs up: only the answers are then thrown away.
    /// To `Watch` it should end when [`AnswerSink::closed`] does.
    fn handle(&self, peer: Peer, order: Order, out: AnswerSink) -> BoxFuture;
}

/// Serves until `stop` becomes true (or its sender is gone), then gives the connections `DRAIN` to write out what is
/// queued. Never ends for what a client does.
pub async fn serve(listener: UnixListener, handler: Arc<dyn Handler>, stop: watch::Receiver<bool>) {
    serve_patiently(listener, handler, stop, REQUEST_TIMEOUT).await;
}

/// [`serve`] with another patience for request lines than [`REQUEST_TIMEOUT`].
pub async fn serve_patiently(
    listener: UnixListener,
    handler: Arc<dyn Handler>,
    mut stop: watch::Receiver<bool>,
    patience: Duration,
) {
    let slots = Slots::new(CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
            // Ended tasks are collected as they end, or the set would grow for as long as the daemon lives.
            Some(ended) = connections.join_next() => {
                if let Err(e) = ended {
                    tracing::error!(error = %e, "a control connection ended badly");
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                let (handler, stop) = (Arc::clone(&handler), stop.clone());
                let lobbies = slots.lobbies().clone();
                match slots.claim() {
                    Claim::Now(slot) => {
                        let place = lobbies.enter();
                        connections.spawn(async move {
                            connection(stream, handler, stop, patience, place, &lobbies).await;
                            drop(slot);
                        });
                    }
                    Claim::Soon(waiting) => drop(connections.spawn(async move {
                        let Some(slot) = waiting.slot().await else { return turn_away(&stream) };
                        let place = lobbies.enter();
                        connection(stream, handler, stop, patience, place, &lobbies).await;
                        drop(slot);
                    })),
                    Claim::Never => turn_away(&stream),
                }
            }
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept a control connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::debug!(left = connections.len(), "control connections did not take their last answers in time");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A dropped sender means that whoever could say "go on" is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Says no to one client too many, without waiting for it: a fresh socket's buffer takes one line.
fn turn_away(stream: &UnixStream) {
    tracing::warn!(max = CONNECTIONS_MAX, "too many control connections, one refused");
    let line =
        encode(&refusal(1, format!("the daemon serves {CONNECTIONS_MAX} clients already"), Some("try again later")));
    // Whether the client hears the reason or only the end of the connection is its affair.
    let _ = stream.try_write(&line);
}

/// One connection from its request to its last answer.
async fn connection(
    stream: UnixStream,
    handler: Arc<dyn Handler>,
    mut stop: watch::Receiver<bool>,
    patience: Duration,
    mut place: Place,
    lobby: &Lobbies,
) {
    let peer = match stream.peer_cred() {
        Ok(cred) => Peer { uid: cred.uid(), pid: cred.pid() },
        Err(e) => {
            tracing::warn!(error = %e, "a control client without credentials was dropped");
            return;
        }
    };
    let (mut from, mut to) = stream.into_split();
    let request = tokio::select! {
        request = read_request(&mut from, patience) => request,
        () = place.wanted() => Err(BadRequest::MadeRoom),
        // A client that has asked nothing yet is hardly waited for when the daemon ends.
        () = async { stopped(&mut stop).await; tokio::time::sleep(LAST_CHANCE).await } => return,
    };
    // From here on it is not asked to leave; when it has been, its slot is promised to somebody else.
    let request = if place.keep() { request } else { Err(BadRequest::MadeRoom) };
    let order = match request {
        Ok(Some(order)) => order,
        Ok(None) => return,
        Err(refused) => {
            tracing::warn!(%peer, refused = refused.text(), "control request refused");
            // Nothing was written before, so the socket's buffer takes the line; whether the client reads why is its affair.
            let _ = timeout(REQUEST_TIMEOUT, to.write_all(&encode(&refused.answer()))).await;
            return;
        }
    };
    // Questions come every second from a monitor; only what changes something belongs into the daily log.
    match order {
        Order::Hello
        | Order::Status
        | Order::Watch
        | Order::WhyNot { .. }
        | Order::Topics
        | Order::Roll { plan: true, .. } => {
            tracing::debug!(%peer, ?order, "asked");
        }
        Order::Start { .. }
        | Order::Stop { .. }
        | Order::Restart { .. }
        | Order::Kill { .. }
        | Order::Fence { .. }
        | Order::Down { .. }
        | Order::Reload { .. }
        | Order::Roll { plan: false, .. }
        | Order::Prove
        | Order::Verify
        | Order::TopicsApply
        | Order::TopicRemove { .. }
        | Order::Snapshot { .. }
        | Order::Restore { .. }
        | Order::Reset { .. }
        | Order::Drill(_)
        | Order::UpgradeSelf => tracing::info!(%peer, ?order, "order"),
    }
    let watching = matches!(order, Order::Watch);
    let mut seat = watching.then(|| lobby.watch());
    let queue = Arc::new(Queue::new(!watching));
    let work = tokio::spawn(handler.handle(peer, order, AnswerSink::new(Arc::clone(&queue))));

    // One writer from first to last: dropping it in the middle of a write would cut a line in two.
    let ended = {
        let mut writer = pin!(write_answers(&mut to, &queue));
        tokio::select! {
            written = &mut writer => written,
            () = hung_up(&mut from) => Err(io::ErrorKind::BrokenPipe.into()),
            // One that is real asks again.
            () = async { if let Some(seat) = &mut seat { seat.wanted().await } }, if watching => {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            () = stopped(&mut stop) => {
                let answered = if watching { None } else { timeout(LAST_CHANCE, writer.as_mut()).await.ok() };
                match answered {
                    Some(written) => written,
                    None => {
                        queue.close();
                        writer.as_mut().await
                    }
                }
            }
        }
    };
    queue.close();
    match ended {
        // A watch ends with the daemon or with its client, never with a last line.
        Ok(Wrote::LastAnswer) => {}
        Ok(Wrote::All) if watching => {}
        Ok(Wrote::All) => {
            let message = if *stop.borrow() {
                "the daemon ended before this was carried out"
            } else if work.await.is_err() {
                "the daemon failed while it carried this out; its log says where"
            } else {
                "the daemon carried this out without an answer"
            };
            let _ = timeout(WRITE_TIMEOUT, to.write_all(&encode(&refusal(1, message.to_owned(), None)))).await;
        }
        Err(e) => tracing::debug!(%peer, error = %e, "a control client is gone; its order goes on"),
    }
}

/// What made the writer end.
enum Wrote {
    /// An answer that ends.
    LastAnswer,
    /// Everything queued, and nothing can follow.
    All,
}

async fn write_answers(to: &mut (impl AsyncWrite + Unpin), queue: &Queue) -> io::Result<Wrote> {
    while let Some((answer, last)) = queue.next().await {
        timeout(WRITE_TIMEOUT, to.write_all(&encode(&answer)))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if last {
            return Ok(Wrote::LastAnswer);
        }
    }
    Ok(Wrote::All)
}

/// Ends when the client has closed its side and nobody is left to read. What it sends after its request is thrown away.
///
/// A client that only ended its sending half (`echo ... | nc -U`) still reads: POLLHUP tells the two apart, it is set only
/// when both halves are shut (unix(7), net/unix/af_unix.c `unix_poll`).
async fn hung_up(from: &mut tokio::net::unix::OwnedReadHalf) {
    let mut rest = [0u8; 1024];
    while let Ok(1..) = from.read(&mut rest).await {}
    let stream: &UnixStream = from.as_ref();
    let mut look = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(stream), nix::poll::PollFlags::empty())];
    let gone = match nix::poll::poll(&mut look, nix::poll::PollTimeout::ZERO) {
        Ok(_) => look[0]
            .revents()
            .is_none_or(|r| r.intersects(nix::poll::PollFlags::POLLHUP | nix::poll::PollFlags::POLLERR)),
        Err(_) => true,
    };
    if !gone {
        // The next write finds out when it goes later.
        std::future::pending::<()>().await;
    }
}

/// Why a request was refused before it reached the handler.
#[derive(Debug)]
enum BadRequest {
    Late(Duration),
    MadeRoom,
    TooLong,
    HalfLine,
    NotUnderstood(String),
    OtherVersion(u64),
}

impl BadRequest {
    fn text(&self) -> String {
        match self {
            Self::Late(patience) => format!("no request line within {}", human_duration(*patience)),
            Self::MadeRoom => format!("no request line yet, and more than {CONNECTIONS_MAX} clients"),
            Self::TooLong => format!("the request line is longer than {LINE_MAX} bytes"),
            Self::HalfLine => "the request ended in the middle of its line".to_owned(),
            Self::NotUnderstood(why) => format!("the request is not understood: {why}"),
            Self::OtherVersion(v) => format!("the request is of protocol version {v}, this daemon speaks {VERSION}"),
        }
    }

    fn answer(&self) -> Answer {
        match self {
            Self::OtherVersion(_) => {
                refusal(1, self.text(), Some("use the cdc-supervisor that the daemon was started from"))
            }
            Self::MadeRoom => refusal(1, self.text(), Some("try again later")),
            Self::Late(_) | Self::TooLong | Self::HalfLine | Self::NotUnderstood(_) => refusal(2, self.text(), None),
        }
    }
}

/// Reads the one request line. None: the client came and went without a word (a check whether somebody listens).
async fn read_request(from: &mut (impl AsyncRead + Unpin), patience: Duration) -> Result<Option<Order>, BadRequest> {
    let mut kept = Vec::new();
    let read = async {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &kept[searched..]) {
                kept.truncate(searched + at);
                return Ok(true);
            }
            searched = kept.len();
            if kept.len() > LINE_MAX {
                return Err(BadRequest::TooLong);
            }
            kept.reserve(4096);
            match from.read_buf(&mut kept).await {
                Ok(1..) => {}
                Ok(0) | Err(_) if kept.is_empty() => return Ok(false),
                Ok(0) | Err(_) => return Err(BadRequest::HalfLine),
            }
        }
    };
    let whole = timeout(patience, read).await.map_err(|_| BadRequest::Late(patience))??;
    if whole { parse_request(&kept).map(Some) } else { Ok(None) }
}

/// The version is judged before the order: a newer client's unknown verb is a matter of versions, not of spelling.
fn parse_request(line: &[u8]) -> Result<Order, BadRequest> {
    let not_understood = |e: serde_json::Error| BadRequest::NotUnderstood(e.to_string());
    let value: serde_json::Value = serde_json::from_slice(line).map_err(not_understood)?;
    match value.get("v").and_then(serde_json::Value::as_u64) {
        Some(v) if v == u64::from(VERSION) => {}
        Some(v) => return Err(BadRequest::OtherVersion(v)),
        None => return Err(BadRequest::NotUnderstood("it has no version number \"v\"".to_owned())),
    }
    serde_json::from_value::<Request>(value).map(|request| request.order).map_err(not_understood)
}

fn refusal(exit: u8, message: String, hint: Option<&str>) -> Answer {
    Answer::Refused { exit, message, causes: Vec::new(), hint: hint.map(str::to_owned) }
}

fn encode(answer: &Answer) -> Vec<u8> {
    // Serialising our own types fails only for maps with keys that are no strings; there are none.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}
