//! The shim's life: take the order, launch, one poll loop until the tree is gone, tell, end. One thread.
//!
//! A little past 500 lines: the loop and what its events do share the shim's whole state; the parts that do not are files of
//! their own.

use super::{
    connections::{self, Connections},
    launch::{self, Launched, failure},
    notify::NotifySocket,
    setup,
    title::Title,
    tree,
    wire::{LaunchFailure, LaunchOrder, Notified, Report, Request, ShimState, format_exit_record},
};
use crate::{
    base::{ExitRecord, ExitStatus, Layout, Moment},
    logs::{
        pump::BLOCK,
        writer::{LogWriter, Trouble},
    },
    sys::{
        cgroup::{self, OomCounts, OomSince},
        clock,
        error::SysError,
        failpoint::fail_point,
        fs::{self, Durability, Lock},
        process,
    },
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        stat::{Mode, umask},
    },
    unistd::pipe2,
};
use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    thread,
    time::Duration,
};

/// How long clients get to take the last report.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Blocks read from the pipe before everybody else gets a turn.
const BLOCKS_AT_ONCE: usize = 16;
/// The most a pipe holds (1 MiB, /proc/sys/fs/pipe-max-size; a node may enlarge its own) in blocks, and its end.
const PIPE_BLOCKS_MAX: usize = 17;
/// Rounds of killing without a pause, before time is given to the dying: outruns a chain of forks.
const KILL_ROUNDS: usize = 64;
/// Signals kept in the record.
const SIGNALS_MAX: usize = 64;
/// How long nothing more is heard of what happens to the memory of the groups above: their limits may be met many times a second.
const ABOVE_EVERY: Duration = Duration::from_secs(5);
/// What survives SIGKILL for so long is stuck in the kernel.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Runs the shim: standard input is its end of the daemon's socketpair. An error means that there was no order.
pub fn main() -> Result<(), String> {
    let birth = setup::take_birth_socket().map_err(|e| format!("standard input is no socket of a daemon: {e}"))?;
    // before the order: one in reserve must be deaf to a terminal's Ctrl-C too
    setup::set_up_self();
    let title = Title::take();
    let in_reserve = title.is_some();
    fail_point!("shim.born");
    let Some((order, birth)) = setup::read_order(birth)? else { return Ok(()) };
    if let Some(title) = title {
        title.name(&order);
    }
    fail_point!("shim.ordered");
    match Shim::launch(order.clone()) {
        Ok(mut shim) => {
            fail_point!("shim.launched");
            shim.connections.add(birth, true);
            let state = shim.state();
            shim.connections.answer(0, &state, true);
            if in_reserve {
                // behind the answer: nobody waits for this
                shim.sweep();
                setup::take_own_log(&order);
            }
            shim.live();
        }
        Err(e) => {
            if e.step != "lock" {
                let record = never_ran(&order);
                let path = Layout::new(&order.root).exit_record(&order.node, order.incarnation);
                // The daemon that is there hears it now; the file is for one that comes later.
                let _ = write_record(&path, &record, Some(&e));
            }
            let report = Report::LaunchFailed { step: e.step, errno: e.errno, text: e.text };
            let mut connections = Connections::default();
            connections.add(birth, true);
            connections.tell(&report, &report);
            last_words(&mut connections, &report);
        }
    }
    Ok(())
}

fn never_ran(order: &LaunchOrder) -> ExitRecord {
    let now = clock::wall();
    ExitRecord {
        incarnation: order.incarnation,
        pid: 0,
        // what a shell says of a command that cannot be run
        status: ExitStatus::Code(127),
        started_at: now,
        ended_at: now,
        cpu_ms: 0,
        peak_rss_bytes: 0,
        cgroup_peak_bytes: None,
        oom_kills: None,
        oom_by: None,
        cgroup_cap_bytes: None,
        signals_sent: Vec::new(),
    }
}

fn write_record(path: &std::path::Path, record: &ExitRecord, why: Option<&LaunchFailure>) -> Result<(), SysError> {
    fs::write_atomic(path, format_exit_record(record, why).as_bytes(), 0o600, Durability::ProcessCrash)
}

/// A shim whose node was launched.
struct Shim {
    order: LaunchOrder,
    main: Launched,
    main_lives: bool,
    /// Whether children remain, as the last round of reaping saw it.
    children: bool,
    record: Option<ExitRecord>,
    record_path: PathBuf,
    notified: Notified,
    stopping: bool,
    signals_sent: Vec<i32>,
    /// When the whole tree is killed.
    kill_at: Option<Moment>,
    killing: Option<Killing>,
    oom: OomSince,
    /// Told of what happens above, which is not this node's end when it outlives it. None: no group, or the main process is gone.
    above: Option<cgroup::Above>,
    /// When it is heard again.
    deaf_until: Option<Moment>,
    log: LogWriter,
    block: Vec<u8>,
    pipe: OwnedFd,
    pipe_open: bool,
    signals: SignalFd,
    listener: UnixListener,
    socket_path: PathBuf,
    notify: Option<NotifySocket>,
    connections: Connections,
    lock: Option<Lock>,
}

/// What a round of waiting found, besides output.
#[derive(Clone, Copy, Debug)]
struct Ready {
    children: bool,
    listener: bool,
    notify: bool,
    clients: bool,
    above: bool,
}

/// A kill in progress.
#[derive(Clone, Copy, Debug)]
struct Killing {
    since: Moment,
    again_at: Moment,
    pause: Duration,
    told: bool,
}

impl Shim {
    fn launch(order: LaunchOrder) -> Result<Self, LaunchFailure> {
        let layout = Layout::new(&order.root);
        let lock = setup::take_lock(&layout, &order)?;
        fail_point!("shim.locked");
        let dir = layout.log_dir(&order.node);
        let log = LogWriter::open(&dir, order.log_max_bytes, order.log_keep)
            .map_err(|e| failure("log", &format!("open the log in {}", dir.display()), &e))?;
        fail_point!("shim.log-opened");
        let socket_path = layout.shim_socket(&order.node, order.incarnation);
        let socket_failure = |e: &io::Error| failure("socket", &format!("listen on {}", socket_path.display()), e);
        fs::remove_optional(&socket_path).map_err(|e| socket_failure(&e.source))?;
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(&socket_path);
        umask(before);
        let listener = bound.map_err(|e| socket_failure(&e))?;
        fail_point!("shim.listening");
        let rest = Self::launch_rest(&order, &layout, &lock, &listener);
        let (main, pipe, signals, notify, oom_before) = rest.inspect_err(|_| {
            // a socket nobody listens on would only puzzle the next reader of the directory
            let _ = fs::remove_optional(&socket_path);
            let _ = fs::remove_optional(&layout.notify_socket(&order.node));
        })?;
        Ok(Self {
            main,
            main_lives: true,
            children: true,
            record: None,
            record_path: layout.exit_record(&order.node, order.incarnation),
            notified: Notified::default(),
            stopping: false,
            signals_sent: Vec::new(),
            kill_at: None,
            killing: None,
            oom: OomSince::launch(oom_before.unwrap_or_default()),
            above: order.cgroup.as_deref().map(cgroup::Above::of),
            deaf_until: None,
            log,
            block: Vec::with_capacity(BLOCK),
            pipe,
            pipe_open: true,
            signals,
            listener,
            socket_path,
            notify,
            connections: Connections::default(),
            lock: Some(lock),
            order,
        })
    }

    #[allow(clippy::type_complexity)] // taken apart by its only caller
    fn launch_rest(
        order: &LaunchOrder,
        layout: &Layout,
        lock: &Lock,
        listener: &UnixListener,
    ) -> Result<(Launched, OwnedFd, SignalFd, Option<NotifySocket>, Option<OomCounts>), LaunchFailure> {
        let socket_failure = |e: io::Error| failure("socket", "set up the sockets", &e);
        listener.set_nonblocking(true).map_err(socket_failure)?;
        let notify = if order.notify {
            let owner = order.credentials.as_ref().map(|c| (c.uid, c.gid));
            let bound = NotifySocket::bind(&layout.notify_socket(&order.node), owner);
            Some(bound.map_err(|e| failure("socket", &e.doing, &e.source))?)
        } else {
            None
        };
        let mut child_ended = SigSet::empty();
        child_ended.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&child_ended), None).map_err(|e| socket_failure(e.into()))?;
        let signals = SignalFd::with_flags(&child_ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|e| socket_failure(e.into()))?;
        let (pipe, output) = pipe2(OFlag::O_CLOEXEC).map_err(|e| socket_failure(e.into()))?;
        nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|e| socket_failure(e.into()))?;
        let oom_before = order.cgroup.as_deref().and_then(cgroup::oom_counts);
        fail_point!("shim.before-fork");
        let main = launch::launch(order, notify.as_ref().map(NotifySocket::path), output, lock.file().as_fd())?;
        Ok((main, pipe, signals, notify, oom_before))
    }

    fn state(&self) -> Report {
        Report::State(ShimState {
            node: self.order.node.clone(),
            incarnation: self.order.incarnation,
            shim_pid: i32::try_from(std::process::id()).unwrap_or_default(),
            process: self.main.process.clone(),
            started_at: self.main.started_at,
            stopping: self.stopping,
            notified: self.notified.clone(),
        })
    }

    /// Until the tree is gone and everybody knows.
    fn live(&mut self) {
        self.sweep();
        fail_point!("shim.state-told");
        loop {
            let ready = self.wait();
            self.pump(BLOCKS_AT_ONCE);
            if ready.children {
                self.look_at_children();
            }
            if ready.notify
                && let Some(notify) = &self.notify
                && notify.receive(&mut self.notified, self.main.process.pid)
            {
                self.connections.notify();
            }
            for (place, request) in if ready.clients { self.connections.requests() } else { Vec::new() } {
                self.obey(place, &request);
            }
            if ready.listener {
                self.connections.accept(&self.listener);
            }
            self.look_above(ready.above);
            self.meet_deadlines();
            if self.is_gone() {
                return self.end();
            }
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let notified = Report::Notified(self.notified.clone());
        self.connections.sweep(&notified, &[self.pipe.as_fd(), self.main.pidfd.as_fd()]);
    }

    fn tell(&mut self, report: &Report) {
        self.connections.tell(report, &Report::Notified(self.notified.clone()));
    }

    /// Sleeps until something happens or a deadline is due. Without deadlines it sleeps without end: no wake-ups at idle.
    fn wait(&self) -> Ready {
        const OWN: usize = 4 + cgroup::ABOVE_MAX;
        let mut fds = [libc::pollfd { fd: -1, events: 0, revents: 0 }; OWN + connections::MAX];
        // poll skips negative descriptors
        let own = [
            (self.signals.as_fd().as_raw_fd(), libc::POLLIN),
            (if self.pipe_open { self.pipe.as_raw_fd() } else { -1 }, libc::POLLIN),
            (self.listener.as_raw_fd(), libc::POLLIN),
            (self.notify.as_ref().map_or(-1, NotifySocket::raw_fd), libc::POLLIN),
        ];
        let heard = self.above.iter().filter(|_| self.deaf_until.is_none());
        let above = heard.flat_map(cgroup::Above::descriptors).map(|fd| (fd, libc::POLLPRI));
        let above = above.chain(std::iter::repeat((-1, 0))).take(cgroup::ABOVE_MAX);
        for (slot, (fd, events)) in fds.iter_mut().zip(own.into_iter().chain(above).chain(self.connections.interests()))
        {
            *slot = libc::pollfd { fd, events, revents: 0 };
        }
        let deadline = [self.next_deadline(), self.deaf_until].into_iter().flatten().min();
        let timeout = deadline.map_or(-1, |at| {
            // a whole millisecond more, or a deadline would be met a little early and spin
            i32::try_from(at.since(clock::now()).as_millis()).map_or(i32::MAX, |ms| ms.saturating_add(1))
        });
        let n = OWN + self.connections.len();
        // SAFETY: the array lives through the call and has at least `n` entries (the number of clients is bounded).
        unsafe { libc::poll(fds.as_mut_ptr(), n as libc::nfds_t, timeout) };
        // an interrupted poll left every `revents` empty: a round without news
        let has = |slot: &libc::pollfd| slot.revents != 0;
        Ready {
            // during a kill the children are looked at in every round, whatever signals say
            children: has(&fds[0]) || self.killing.is_some(),
            listener: has(&fds[2]),
            notify: has(&fds[3]),
            clients: fds[OWN..].iter().any(has),
            above: fds[4..OWN].iter().any(has),
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        match self.killing {
            Some(killing) => Some(killing.again_at),
            None => self.kill_at,
        }
    }

    /// What happens to the memory of groups above is nobody's but another's end when this node outlives it.
    fn look_above(&mut self, told: bool) {
        let now = clock::now();
        let (Some(above), true) = (&self.above, told || self.deaf_until.is_some_and(|at| now >= at)) else { return };
        // first: what happens after the look is told
        above.heard();
        if let Some(counts) = self.order.cgroup.as_deref().and_then(cgroup::oom_counts) {
            self.oom.lives(now, counts);
        }
        self.deaf_until = if told { Some(now + ABOVE_EVERY) } else { self.oom.due() };
    }

    /// Reads the node's output into the log.
    fn pump(&mut self, blocks: usize) {
        for _ in 0..blocks {
            if !self.pipe_open {
                return;
            }
            // SAFETY: the buffer has room for BLOCK bytes, and exactly as many as were read are declared as filled.
            let n = unsafe {
                let n = libc::read(self.pipe.as_raw_fd(), self.block.as_mut_ptr().cast(), BLOCK);
                self.block.set_len(usize::try_from(n).unwrap_or(0));
                n
            };
            match n {
                0 => self.pipe_open = false,
                1.. => {
                    self.log.append_or_drop(&self.block);
                    self.tell_of_the_log();
                }
                _ if Errno::last() == Errno::EINTR => {}
                _ => return,
            }
        }
    }

    fn tell_of_the_log(&mut self) {
        for trouble in self.log.take_trouble() {
            let node = &self.order.node;
            let text = match trouble {
                Trouble::MadeRoom(files) => {
                    format!(
                        "the disk is full: {files} of the oldest rotated log files of {node} were removed to make room"
                    )
                }
                Trouble::Dropping(why) => {
                    format!("the log of {node} cannot be written ({why}); its output is dropped until it can")
                }
                Trouble::GapOver(text) => format!("the log of {node} is written again; {text}"),
            };
            self.tell(&Report::Trouble(text));
        }
    }

    fn look_at_children(&mut self) {
        // empties the descriptor; which children ended is asked of the kernel
        while let Ok(Some(_)) = self.signals.read_signal() {}
        let reaped = tree::reap(self.main.process.pid);
        self.children = reaped.left;
        if let Some(end) = reaped.main {
            self.main_ended(&end);
        }
    }

    fn main_ended(&mut self, end: &tree::MainEnd) {
        self.main_lives = false;
        fail_point!("shim.main-ended");
        // What it wrote before its end is in the pipe. Bounded, because a leftover may write without end.
        self.pump(PIPE_BLOCKS_MAX);
        fail_point!("shim.output-read");
        let group = self.order.cgroup.as_deref();
        let counts = group.and_then(cgroup::oom_counts);
        (self.above, self.deaf_until) = (None, None);
        let record = ExitRecord {
            incarnation: self.order.incarnation,
            pid: self.main.process.pid,
            status: end.status,
            started_at: self.main.started_at,
            ended_at: clock::wall(),
            cpu_ms: end.cpu_ms,
            peak_rss_bytes: end.peak_rss_bytes,
            cgroup_peak_bytes: group.and_then(cgroup::memory_peak),
            oom_kills: counts.map(|now| self.oom.incidents(now)),
            oom_by: counts.and_then(|now| self.oom.by(now)),
            cgroup_cap_bytes: group.and_then(cgroup::memory_max),
            signals_sent: self.signals_sent.clone(),
        };
        // on record before anybody is told
        if let Err(e) = write_record(&self.record_path, &record, None) {
            self.tell(&Report::Trouble(format!("the exit of {} is not on record: {e}: {}", self.order.node, e.source)));
        }
        fail_point!("shim.recorded");
        self.record = Some(record.clone());
        if self.is_gone() {
            return;
        }
        self.tell(&Report::MainEnded(record));
        if self.killing.is_none() {
            tree::signal_all(libc::SIGTERM, self.order.cgroup.as_deref());
            self.kill_by(Duration::from_millis(self.order.leftovers_ms));
        }
    }

    /// Whether nothing of the tree lives.
    fn is_gone(&self) -> bool {
        !self.main_lives
            && !self.children
            && self.order.cgroup.as_deref().is_none_or(|dir| cgroup::populated(dir) != Some(true))
    }

    /// The whole tree is killed after `grace`, unless that is due earlier already.
    fn kill_by(&mut self, grace: Duration) {
        let at = clock::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn obey(&mut self, place: usize, request: &Request) {
        match request {
            Request::State => {
                let state = self.state();
                self.connections.answer(place, &state, false);
            }
            Request::Subscribe => {
                let state = self.state();
                self.connections.answer(place, &state, true);
                self.connections.subscribe(place);
                if let Some(record) = &self.record {
                    self.connections.answer(place, &Report::MainEnded(record.clone()), false);
                }
            }
            Request::Signal(signal) => self.signal_main(*signal),
            Request::Stop { signal, grace_ms } => {
                self.stopping = true;
                fail_point!("shim.stopping");
                self.signal_main(*signal);
                self.kill_by(Duration::from_millis(*grace_ms));
            }
            Request::KillTree => {
                self.stopping = true;
                self.kill_at = Some(clock::now());
            }
        }
    }

    fn signal_main(&mut self, signal: i32) {
        // the pidfd cannot hit a stranger; a main process that ended cannot be reached any more, and need not be
        if self.main_lives && process::pidfd_signal(&self.main.pidfd, signal).is_ok() {
            self.note_signal(signal);
        }
    }

    fn note_signal(&mut self, signal: i32) {
        if self.signals_sent.len() < SIGNALS_MAX {
            self.signals_sent.push(signal);
        }
    }

    fn meet_deadlines(&mut self) {
        let now = clock::now();
        if self.next_deadline().is_none_or(|at| now < at) || self.is_gone() {
            return;
        }
        if self.killing.is_none() && self.main_lives {
            self.note_signal(libc::SIGKILL);
        }
        let mut killing = self.killing.unwrap_or(Killing {
            since: now,
            again_at: now,
            pause: Duration::from_micros(500),
            told: false,
        });
        self.killing = Some(killing);
        for _ in 0..KILL_ROUNDS {
            tree::kill_all(self.order.cgroup.as_deref());
            self.look_at_children();
            if !self.children {
                break;
            }
        }
        let group = self.order.cgroup.as_deref();
        killing.pause = (killing.pause * 2).min(Duration::from_millis(250));
        killing.again_at = now + killing.pause;
        if now.since(killing.since) > STUCK_AFTER && !killing.told {
            killing.told = true;
            let who: Vec<String> =
                tree::living(group).into_iter().map(|pid| format!("{pid} ({})", process::command_line(pid))).collect();
            self.tell(&Report::Trouble(format!(
                "SIGKILL did not end {} within {} s: stuck in the kernel",
                who.join(", "),
                STUCK_AFTER.as_secs()
            )));
        }
        self.killing = Some(killing);
    }

    /// The tree is empty: clean up, let the next incarnation in, tell.
    fn end(&mut self) {
        // a leftover may have written too
        self.pump(PIPE_BLOCKS_MAX);
        self.log.end_gap();
        self.tell_of_the_log();
        // Before the lock goes: the next shim of this node makes a notify socket of the same name.
        let _ = fs::remove_optional(&self.socket_path);
        if let Some(notify) = &self.notify {
            let _ = fs::remove_optional(notify.path());
        }
        fail_point!("shim.socket-removed");
        self.lock = None;
        fail_point!("shim.unlocked");
        if let Some(record) = self.record.clone() {
            self.tell(&Report::Gone(record));
        }
        self.sweep();
        let notified = Report::Notified(self.notified.clone());
        last_words(&mut self.connections, &notified);
        fail_point!("shim.gone-told");
    }
}

/// Sends what is queued, for a bounded time.
fn last_words(connections: &mut Connections, notified: &Report) {
    let end = clock::now() + LAST_WORDS;
    loop {
        connections.sweep(notified, &[]);
        if !connections.pending() || clock::now() >= end {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
