//! The task that holds one shim: launches or adopts it, carries orders to it, reports what it says, and takes its place
//! when it dies before its node.
//!
//! Past 500 lines: with its shim and without are two halves of one run.

use super::{
    node::Happening,
    orphan,
    prepare::AT_ONCE,
    reserve::{OrderedShim, Reserve},
};
use crate::{
    base::{ExitRecord, ExitStatus, Incarnation, Layout, NodeName, Timestamp},
    logs::{pump, writer::LogWriter},
    shim::wire::{self, Decoder, Notified, Report, Request, ShimState, WireError},
    sys::{
        children, clock,
        failpoint::{fail_io, fail_point},
        fs, process, socket,
    },
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};

/// What a link is told to do. The same words as the shim's own requests: a link without a shim does them itself.
pub(super) type LinkCommand = Request;

/// Where a link belongs.
#[derive(Debug)]
pub(super) struct LinkContext {
    pub(super) layout: Layout,
    pub(super) node: NodeName,
    pub(super) incarnation: Incarnation,
    pub(super) log_max_bytes: u64,
    pub(super) log_keep: u32,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) sink: mpsc::UnboundedSender<(NodeName, Happening)>,
    pub(super) notified: watch::Sender<Notified>,
    pub(super) commands: mpsc::UnboundedReceiver<LinkCommand>,
}

/// A shim that answered: its state, and what is needed to take its place.
#[derive(Debug)]
pub(super) struct Hold {
    state: ShimState,
    pipe: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
}

/// A connection to a shim.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
}

/// After which pause a shim is asked again that cannot be held as it is: what came with its state was cut short, or it says
/// something that cannot be read.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long a shim may take from its `Gone`, or from its kill, until its exit. It only waits for its subscribers meanwhile.
const SHIM_EXIT: Duration = Duration::from_secs(2);

fn foreign(e: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default(), descriptors: Vec::new() }
    }

    async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame).await
    }

    /// The next report; none at the end of the connection.
    async fn report(&mut self) -> io::Result<Option<Report>> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(foreign)? {
                match Report::decode(&frame) {
                    Ok(report) => return Ok(Some(report)),
                    // A later shim may say more than this program knows.
                    Err(WireError::Kind(_)) => continue,
                    Err(e) => return Err(foreign(e)),
                }
            }
            self.stream.readable().await?;
            let mut block = [0u8; 16 << 10];
            let got = self.stream.try_io(Interest::READABLE, || socket::recv_with_fds(self.stream.as_fd(), &mut block));
            match got {
                Ok((0, _)) => return Ok(None),
                Ok((n, descriptors)) => {
                    self.decoder.push(&block[..n]);
                    self.descriptors.extend(descriptors);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Why a node that may run could not be held through its shim.
#[derive(Debug)]
pub(super) enum NoShim {
    /// Nobody listens at the socket.
    Nobody,
    /// Somebody listens and does not answer as our node's shim.
    Silent(String),
}

/// How long a shim may take to say how it is. It does nothing else meanwhile, so this is a matter of a busy machine.
const ANSWER: Duration = Duration::from_secs(2);

/// How often, and after which pause, a shim is asked again that hung up before it answered: strangers crowd at its socket.
const CROWD_TRIES: u32 = 5;
const CROWD_PAUSE: Duration = Duration::from_millis(50);

/// Connects to the shim of a node that already runs.
pub(super) async fn subscribe(
    layout: &Layout,
    node: &NodeName,
    incarnation: Incarnation,
) -> Result<(Connection, Hold), NoShim> {
    let mut tries = 0;
    let (mut connection, first) = loop {
        match ask(layout, node, incarnation, &Request::Subscribe).await {
            // It lives, and sent us away for others that came after us.
            Err(NoShim::Silent(_)) if tries < CROWD_TRIES => {
                tries += 1;
                sleep(CROWD_PAUSE).await;
            }
            asked => break asked?,
        }
    };
    match first {
        Ok(Report::State(state)) if state.node == *node => {
            let hold = Hold::take(state, &mut connection);
            Ok((connection, hold))
        }
        Ok(_) => Err(NoShim::Silent("it answers with something else than its state".into())),
        Err(e) => Err(NoShim::Silent(e.to_string())),
    }
}

/// Whether somebody at this socket speaks a protocol that is not ours; then what was wrong with its words.
pub(super) async fn speaks_otherwise(layout: &Layout, node: &NodeName, incarnation: Incarnation) -> Option<String> {
    let (_, first) = ask(layout, node, incarnation, &Request::State).await.ok()?;
    first.err().filter(|e| e.kind() == io::ErrorKind::InvalidData).map(|e| e.to_string())
}

async fn ask(
    layout: &Layout,
    node: &NodeName,
    incarnation: Incarnation,
    request: &Request,
) -> Result<(Connection, io::Result<Report>), NoShim> {
    let silent = |what: &str| NoShim::Silent(format!("{what} within {} s", ANSWER.as_secs()));
    let path = layout.shim_socket(node, incarnation);
    let stream = match timeout(ANSWER, UnixStream::connect(&path)).await {
        Ok(Ok(stream)) => stream,
        // The one error of a socket whose listener is gone (unix(7)); a file that vanished meanwhile is the same.
        Ok(Err(e)) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            return Err(NoShim::Nobody);
        }
        Ok(Err(e)) => return Err(NoShim::Silent(e.to_string())),
        Err(_) => return Err(silent("no connection")),
    };
    if !socket::peer_is_trusted(&stream, None) {
        return Err(NoShim::Silent("another user listens there".to_owned()));
    }
    let mut connection = Connection::new(stream);
    // A write error means that it ended; what it said before is read below.
    let _ = connection.send(&request.encode()).await;
    match timeout(ANSWER, connection.report()).await {
        Ok(Ok(Some(report))) => Ok((connection, Ok(report))),
        Ok(Ok(None)) => Err(NoShim::Silent("it hung up".into())),
        Ok(Err(e)) => Ok((connection, Err(e))),
        Err(_) => Err(silent("no answer")),
    }
}

impl Hold {
    fn take(state: ShimState, connection: &mut Connection) -> Self {
        if fail_io!("link.descriptors").is_err() {
            connection.descriptors.clear();
        }
        let mut descriptors = connection.descriptors.drain(..);
        Self { state, pipe: descriptors.next(), pidfd: descriptors.next() }
    }

    /// Whether its place cannot be taken. A shim sends both; one that did not arrive found no free number here.
    fn lacks(&self) -> bool {
        self.pipe.is_none() || self.pidfd.is_none()
    }

    /// Has the shim send its descriptors again, over a connection of their own: what it has to tell goes on over the first.
    async fn complete(&mut self, context: &LinkContext) {
        let asked = ask(&context.layout, &context.node, context.incarnation, &Request::Subscribe).await;
        let Ok((mut connection, Ok(Report::State(state)))) = asked else { return };
        if state.node == context.node {
            let Self { pipe, pidfd, .. } = Self::take(state, &mut connection);
            (self.pipe, self.pidfd) = (self.pipe.take().or(pipe), self.pidfd.take().or(pidfd));
        }
    }

    /// What the shim said of itself and its node.
    pub(super) fn state(&self) -> &ShimState {
        &self.state
    }
}

/// What a launch is made with.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) reserve: Arc<Reserve>,
    /// The launch order, ready to be sent.
    pub(super) frame: Vec<u8>,
    /// The shim that was in reserve and has the order already.
    pub(super) ordered: Option<OrderedShim>,
}

/// How long a shim may take from its order to its first answer. It forks and waits for the exec; milliseconds, and on a disk
/// that hangs as long as the program's first page. A start that never answers has no deadline of its own.
const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// Launches one incarnation through a shim and holds it until the tree is gone.
pub(super) async fn launch(mut context: LinkContext, launch: Launch) {
    let failed = |step: &str, e: &io::Error, text: &str| Happening::LaunchFailed {
        incarnation: context.incarnation,
        step: step.to_owned(),
        errno: e.raw_os_error().unwrap_or(0),
        text: format!("{text}: {e}"),
    };
    let Launch { reserve, frame, ordered } = launch;
    let ordered = match ordered.or_else(|| reserve.order(&frame)) {
        Some(ordered) => Ok(ordered),
        None => new_shim(&context, reserve).await,
    };
    let (child, connection, sent) = match ordered.and_then(|OrderedShim { shim, sent }| {
        Ok((shim.pid, UnixStream::from_std(shim.stream).inspect_err(|_| children::leave(shim.pid))?, sent))
    }) {
        Ok((child, stream, sent)) => (child, Connection::new(stream), sent),
        Err(e) => return context.tell(failed("shim", &e, "the shim could not be started")),
    };
    let mut connection = connection;
    // A shim that is already dead shows as an end of the connection below.
    let _ = connection.send(&frame[sent..]).await;
    fail_point!("link.ordered");
    let first = match timeout(FIRST_ANSWER, connection.report()).await {
        Ok(first) => first,
        Err(_) => {
            // Ours and not waited for yet, so its pid is nobody else's. ESRCH cannot be.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL);
            let text = format!("no answer within {} s", FIRST_ANSWER.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    };
    fail_point!("link.answered");
    match first {
        Ok(Some(Report::State(state))) => {
            let hold = Hold::take(state.clone(), &mut connection);
            context.tell(Happening::Spawned(state));
            follow(&mut context, connection, hold).await;
        }
        Ok(Some(Report::LaunchFailed { step, errno, text })) => {
            context.tell(Happening::LaunchFailed { incarnation: context.incarnation, step, errno, text });
        }
        // A node can be over before its first state is told.
        Ok(Some(Report::Gone(record))) => context.tell(Happening::Gone { record, shim_lost: false }),
        other => {
            // The shim died before it said anything; what it may have started holds the lock and must not live on.
            let (layout, node, cgroup) = (context.layout.clone(), context.node.clone(), context.cgroup.clone());
            let _ = spawn_blocking(move || orphan::remove_tree(&layout, &node, cgroup.as_deref())).await;
            let error = other.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            let what = failed("shim", &error, "the shim ended before it launched the node");
            context.tell(what);
        }
    }
    // It ends right after its last report.
    children::leave(child);
}

/// Starts a shim that has not heard its order yet.
async fn new_shim(context: &LinkContext, reserve: Arc<Reserve>) -> io::Result<OrderedShim> {
    let (layout, node, incarnation) = (context.layout.clone(), context.node.clone(), context.incarnation);
    let started = {
        let _turn = AT_ONCE.acquire().await;
        spawn_blocking(move || reserve.start_for(&layout, &node, incarnation)).await
    };
    started.map_err(io::Error::other)?
}

/// Holds a shim found running until the tree is gone.
pub(super) async fn adopt(mut context: LinkContext, connection: Connection, hold: Hold) {
    context.notified.send_replace(hold.state.notified.clone());
    follow(&mut context, connection, hold).await;
}

/// Carries orders and reports until the tree is gone, with or without the shim.
async fn follow(context: &mut LinkContext, mut connection: Connection, mut hold: Hold) {
    // How its end was ordered last, and signals that the connection did not take. A signal that went out is not sent again:
    // weeks later it would be another one.
    let (mut end, mut unheard) = (None, Vec::new());
    context.notified.send_replace(hold.state.notified.clone());
    let mut ask_at = Instant::now() + ASK_AGAIN;
    loop {
        tokio::select! {
            // Nobody else could read on what its node writes when it is killed.
            () = sleep_until(ask_at), if hold.lacks() => {
                hold.complete(context).await;
                ask_at = Instant::now() + ASK_AGAIN;
            }
            command = context.commands.recv() => match command {
                // The dispatcher let go: the daemon ends and the node runs on.
                None => return,
                Some(command) => {
                    // A write error means that this connection is gone; the read side says so next.
                    let taken = connection.send(&command.encode()).await.is_ok();
                    match command {
                        Request::Stop { .. } | Request::KillTree => end = Some(command),
                        Request::Signal(_) if !taken => unheard.push(command),
                        Request::Signal(_) | Request::Subscribe | Request::State => {}
                    }
                }
            },
            // Cancel-safe: a report is only taken from the decoder when it is returned.
            report = connection.report() => match readable(context, report).await {
                Ok(Some(Report::Notified(notified))) => { context.notified.send_replace(notified); }
                Ok(Some(Report::MainEnded(record))) => context.tell(Happening::MainEnded(record)),
                Ok(Some(Report::Trouble(text))) => context.tell(Happening::Trouble(text)),
                Ok(Some(Report::Gone(record))) => {
                    context.tell(Happening::Gone { record, shim_lost: false });
                    // The shim leaves by itself; its end of the connection closes with it.
                    let _ = timeout(SHIM_EXIT, connection.report()).await;
                    return;
                }
                Ok(Some(Report::State(_) | Report::LaunchFailed { .. })) => {}
                // A shim that dropped us (we were too slow, or one client too many) lives: its death is no end of a connection.
                Ok(None) | Err(_) => match subscribe(&context.layout, &context.node, context.incarnation).await {
                    Ok((again, state)) => {
                        context.notified.send_replace(state.state.notified.clone());
                        (connection, hold) = (again, state);
                        // What lay in the old connection may never have been read. A second SIGKILL harms nobody.
                        let unread = end.iter().filter(|c| **c == Request::KillTree || !hold.state.stopping).cloned();
                        for command in std::mem::take(&mut unheard).into_iter().chain(unread) {
                            // An error shows at the next turn, as above; the end of a run is ordered again then.
                            let _ = connection.send(&command.encode()).await;
                        }
                    }
                    Err(NoShim::Nobody) => break,
                    // Two readers of one pipe would tear the log, and its node lives well: only its end is its death.
                    Err(NoShim::Silent(why)) => {
                        tracing::debug!(node = %context.node, "its shim does not answer: {why}");
                        if process::parent(hold.state.shim_pid).is_none() {
                            break;
                        }
                        sleep(CROWD_PAUSE).await;
                    }
                },
            },
        }
    }
    unheard.extend(end);
    take_over(context, hold, unheard).await;
}

/// What a shim says, after a pause where that cannot be read: it says the same again to whoever asks, until it ends, and then its
/// record tells.
async fn readable(context: &LinkContext, report: io::Result<Option<Report>>) -> io::Result<Option<Report>> {
    if let Err(e) = &report
        && e.kind() == io::ErrorKind::InvalidData
    {
        tracing::debug!(node = %context.node, "its shim says what cannot be read: {e}");
        sleep(ASK_AGAIN).await;
    }
    report
}

/// The shim died first: read the node's pipe, wait for its end, carry out stop orders ourselves.
async fn take_over(context: &mut LinkContext, hold: Hold, earlier: Vec<LinkCommand>) {
    let Hold { state, pipe, pidfd } = hold;
    fail_point!("link.taking-over");
    // It may have died after writing the record and before telling anyone.
    let record = read_record(context);
    let output = pipe.map(|pipe| read_on(context, pipe, record.is_none()));
    if let Some(record) = record {
        let (layout, node, cgroup) = (context.layout.clone(), context.node.clone(), context.cgroup.clone());
        let _ = spawn_blocking(move || orphan::remove_tree(&layout, &node, cgroup.as_deref())).await;
        all_written(context, output).await;
        context.tell(Happening::Trouble("its shim was killed after it had written down how the node ended".into()));
        // The node ended first, so that end is why it is over.
        return context.tell(Happening::Gone { record, shim_lost: false });
    }
    context.tell(Happening::ShimLost(context.incarnation));
    let mut signals = Vec::new();
    let mut kill_at: Option<Instant> = None;
    for command in earlier {
        obey(context, &state, pidfd.as_ref(), command, &mut signals, &mut kill_at).await;
    }
    let mut end = Box::pin(main_end(state.clone(), pidfd.as_ref().and_then(|p| p.try_clone().ok())));
    let status = loop {
        let deadline = kill_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            status = &mut end => break status,
            command = context.commands.recv() => match command {
                None => return,
                Some(command) => obey(context, &state, pidfd.as_ref(), command, &mut signals, &mut kill_at).await,
            },
            () = sleep_until(deadline) => {
                obey(context, &state, pidfd.as_ref(), Request::KillTree, &mut signals, &mut kill_at).await;
            }
        }
    };
    let record = ExitRecord {
        incarnation: context.incarnation,
        pid: state.process.pid,
        status,
        started_at: state.started_at,
        ended_at: clock::wall(),
        cpu_ms: 0,
        peak_rss_bytes: 0,
        cgroup_peak_bytes: None,
        oom_kills: None,
        oom_by: None,
        cgroup_cap_bytes: None,
        signals_sent: signals,
    };
    let (layout, node, cgroup) = (context.layout.clone(), context.node.clone(), context.cgroup.clone());
    let (written, shim) = (record.clone(), state.shim_pid);
    fail_point!("link.end-seen");
    let _ = spawn_blocking(move || {
        orphan::remove_tree(&layout, &node, cgroup.as_deref());
        await_dead(shim);
        // A record that the shim was writing when it was killed.
        fs::remove_torn(&layout.node_run(&node));
        let path = layout.exit_record(&node, written.incarnation);
        let text = wire::format_exit_record(&written, None);
        // Without the record a next daemon would only call this exit unknown.
        let _ = fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::ProcessCrash);
        let _ = fs::remove_optional(&layout.shim_socket(&node, written.incarnation));
    })
    .await;
    all_written(context, output).await;
    context.tell(Happening::Gone { record, shim_lost: true });
}

/// Waits until a killed shim counts as dead: a process that ends closes its descriptors before (do_exit in kernel/exit.c), which is how its
/// end was seen, and what a living one writes is nobody else's to remove. Blocks.
fn await_dead(shim: i32) {
    let end = clock::now() + SHIM_EXIT;
    while process::lives(shim) && clock::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reads a node's pipe in place of its shim, to its end; the receiver hears of that end. `killed`: the shim was, with something read perhaps.
fn read_on(context: &LinkContext, pipe: OwnedFd, killed: bool) -> oneshot::Receiver<()> {
    let (dir, max, keep) = (context.layout.log_dir(&context.node), context.log_max_bytes, context.log_keep);
    let (sink, node) = (context.sink.clone(), context.node.clone());
    let (over, end) = oneshot::channel();
    // One thread per lost shim, until its node is replaced: it must read even while everything else waits.
    std::thread::spawn(move || {
        // The dispatcher ends last.
        let tell = |text| drop(sink.send((node.clone(), Happening::Trouble(text))));
        // The end of the log of a node that is being replaced anyway.
        let _ = pump::drain_when_open(&pipe, killed, || LogWriter::open(&dir, max, keep), &tell);
        // Nobody waits when the daemon lets go, or has waited long enough.
        let _ = over.send(());
    });
    end
}

/// How long the last output of a node that is gone may take to be in its log. Nothing is left to come then, so it is a matter of a
/// slow disk.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Waits until what a node wrote last is in its log: the next shim opens the same file, and two writers would rotate it under each
/// other's hands.
async fn all_written(context: &LinkContext, output: Option<oneshot::Receiver<()>>) {
    let Some(output) = output else { return };
    if timeout(LAST_OUTPUT, output).await.is_err() {
        let text = format!("its last output is not all in its log after {} s", LAST_OUTPUT.as_secs());
        context.tell(Happening::Trouble(text));
    }
}

fn read_record(context: &LinkContext) -> Option<ExitRecord> {
    let path = context.layout.exit_record(&context.node, context.incarnation);
    let text = fs::read_plain_optional(&path).ok()??;
    wire::parse_exit_record(&text).ok()
}

async fn obey(
    context: &LinkContext,
    state: &ShimState,
    pidfd: Option<&OwnedFd>,
    command: LinkCommand,
    signals: &mut Vec<i32>,
    kill_at: &mut Option<Instant>,
) {
    let mut send = |signal: i32| {
        signals.push(signal);
        if let Some(pidfd) = pidfd {
            // ESRCH: it is gone, which the end below reports.
            let _ = process::pidfd_signal(pidfd, signal);
        } else if process::is_same_alive(&state.process) {
            // ESRCH as above.
            let _ = process::signal_pid(state.process.pid, signal);
        }
    };
    match command {
        Request::Subscribe | Request::State => {}
        Request::Signal(signal) => send(signal),
        Request::Stop { signal, grace_ms } => {
            send(signal);
            *kill_at = Some(Instant::now() + Duration::from_millis(grace_ms));
        }
        Request::KillTree => {
            *kill_at = None;
            send(nix::libc::SIGKILL);
            let (layout, node, cgroup) = (context.layout.clone(), context.node.clone(), context.cgroup.clone());
            let _ = spawn_blocking(move || orphan::remove_tree(&layout, &node, cgroup.as_deref())).await;
        }
    }
}

/// Waits for the main process and learns how it ended, as far as this process may know.
async fn main_end(state: ShimState, pidfd: Option<OwnedFd>) -> ExitStatus {
    const LOOK: Duration = Duration::from_millis(100);
    if let Some(pidfd) = pidfd {
        let (ended, end) = oneshot::channel();
        // A thread of its own: one of the runtime's would hold up the daemon's end while the node lives on.
        std::thread::spawn(move || {
            // pidfd_open(2): readable when the process has terminated
            let mut watched = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            while poll(&mut watched, PollTimeout::NONE) == Err(Errno::EINTR) {}
            // Nobody waits any more when the daemon let go.
            let _ = ended.send(());
        });
        // A thread that could not wait leaves the look below.
        let _ = end.await;
    }
    while process::is_same_alive(&state.process) {
        sleep(LOOK).await;
    }
    spawn_blocking(move || children::status_of_orphan(state.process.pid))
        .await
        .ok()
        .flatten()
        .unwrap_or(ExitStatus::Unknown)
}

impl LinkContext {
    fn tell(&self, what: Happening) {
        // The dispatcher ends last; a closed channel means the daemon is on its way out.
        let _ = self.sink.send((self.node.clone(), what));
    }
}

/// An exit record for an end that nobody saw.
pub(super) fn unseen_end(incarnation: Incarnation, pid: i32, started_at: Timestamp) -> ExitRecord {
    ExitRecord {
        incarnation,
        pid,
        status: ExitStatus::Unknown,
        started_at,
        ended_at: clock::wall(),
        cpu_ms: 0,
        peak_rss_bytes: 0,
        cgroup_peak_bytes: None,
        oom_kills: None,
        oom_by: None,
        cgroup_cap_bytes: None,
        signals_sent: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
