//! Keeps the logs of the root within their bounds, in a thread of the lowest priority; sleeps until something is rotated.

use crate::{
    base::{Layout, NodeName, units::grouped},
    config::Plan,
    logs::{
        budget::{Budget, Why},
        housekeeping::{self, Done, Place},
        wakeup::{On, Wakeup, heard},
    },
    offline::logs::nodes,
    sys::{clock, fs, process},
};
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{pipe2, write},
};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// A round without a rotation: for `max_age`.
const ROUND: Duration = Duration::from_secs(3_600);

/// A round while a directory is not watched: it is not there yet, or `fs.inotify.max_user_instances` is used up.
const ROUND_UNWATCHED: Duration = Duration::from_secs(60);

/// Nodes that rotate without pause get a round this often; a round takes all that has gathered.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread. It ends with the process, at any point: what it has begun is finished by a later one. It is told when
/// the daemon is about to end ([`Bounds::rest`]).
pub(super) fn keep_within_bounds(layout: &Layout, plan: &Plan) -> Bounds {
    for name in plan.nodes() {
        // To be watched from the start. A failure is the node's own, later and with its words.
        let _ = fs::make_dir(&layout.log_dir(&name), 0o755);
    }
    let limits = Arc::new(Mutex::new(Limits::of(plan)));
    let started = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(io::Error::from).and_then(|(ours, its)| {
        let bounds = Bounds { limits: Arc::clone(&limits), line: Arc::new(Mutex::new(Some(its))) };
        let (layout, shared) = (layout.clone(), bounds.clone());
        thread::Builder::new().name("logs".into()).spawn(move || keep(&layout, &shared, &ours)).map(|_| bounds)
    });
    started.unwrap_or_else(|e| {
        tracing::warn!("logs are not compressed, and their total is not bounded: no thread could be started: {e}");
        Bounds { limits, line: Arc::default() }
    })
}

/// The bounds in force; another configuration changes them, and a round is made for it.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    limits: Arc<Mutex<Limits>>,
    /// Written to: a round is due. Closed: the thread ends.
    line: Arc<Mutex<Option<OwnedFd>>>,
}

impl Bounds {
    /// Takes those of another plan.
    pub(super) fn change(&self, plan: &Plan) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Limits::of(plan);
        if let Some(line) = self.line.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A full pipe has woken the thread already.
            let _ = write(line, b"c");
        }
    }

    /// Lets the thread end while the nodes stop. The kernel takes 11 to 18 ms to close an inotify instance that watches
    /// something (it waits for all readers of its marks, fsnotify_destroy_group in fs/notify/group.c): the end of the process
    /// would wait for that, long after the last node is gone.
    pub(super) fn rest(&self) {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn now(&self) -> Limits {
        // The value is replaced as a whole.
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a plan says of logs.
#[derive(Clone, Debug)]
struct Limits {
    budget: Budget,
    keeps: BTreeMap<NodeName, u32>,
}

impl Limits {
    fn of(plan: &Plan) -> Self {
        Self {
            budget: Budget { total: plan.logs.total.0, max_age: plan.logs.max_age, compress: plan.logs.compress },
            keeps: plan.each_node().map(|(name, node)| (name, node.care.log.keep)).collect(),
        }
    }
}

fn keep(layout: &Layout, bounds: &Bounds, line: &OwnedFd) {
    process::lower_priority_of_this_thread();
    let wakeup = Wakeup::on(On::Rotation)
        .inspect_err(|e| tracing::warn!("rotated logs are looked for every minute: {e}: {}", e.source))
        .ok();
    let mut told = BTreeMap::new();
    loop {
        let Limits { budget, keeps } = bounds.now();
        // Nodes that are gone from the configuration have logs, too.
        let names = nodes(layout, None);
        let places: Vec<Place> = names
            .iter()
            .map(|name| Place {
                dir: layout.log_dir(name),
                keep: keeps.get(name).and_then(|keep| usize::try_from(*keep).ok()),
            })
            .collect();
        let watched = wakeup.as_ref().filter(|wakeup| {
            wakeup.clear();
            places.iter().filter(|place| !wakeup.add(&place.dir).unwrap_or(false)).count() == 0
        });
        let done = housekeeping::round(&places, &budget, clock::wall());
        tell(&done, &names, &mut told);
        let rotated = match (watched, &wakeup) {
            (Some(wakeup), _) => wakeup.wait_unless(ROUND, line),
            (None, Some(wakeup)) => wakeup.wait_unless(ROUND_UNWATCHED, line),
            (_, None) => ended_within(ROUND_UNWATCHED, line),
        };
        match rotated {
            None => return,
            Some(false) => {}
            Some(true) => {
                if ended_within(PAUSE, line).is_none() {
                    return;
                }
            }
        }
    }
}

/// Rests until a round is due; none: the thread is to end. For a caller without a watch, the time that has passed says nothing
/// of a rotation.
fn ended_within(limit: Duration, line: &OwnedFd) -> Option<bool> {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(line.as_fd(), PollFlags::POLLIN)];
    // Interrupted: as if the time were over.
    let _ = poll(&mut fds, limit);
    heard(line, &fds[0]).map(|_| false)
}

/// One line per thing done; the same failure is told once.
fn tell(done: &Done, names: &[NodeName], told: &mut BTreeMap<String, ()>) {
    let (files, before, after) = done.compressed;
    if files > 0 {
        tracing::info!("compressed {files} rotated log files: {} bytes became {}", grouped(before), grouped(after));
    }
    let mut removed: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for (log, _, why) in &done.removed {
        let why = match why {
            Why::Keep => "more than its `keep`",
            Why::Age => "older than logs.max_age",
            Why::Total => "all logs were more than logs.total",
        };
        *removed.entry((*log, why)).or_default() += 1;
    }
    for ((log, why), files) in removed {
        tracing::info!(node = %names[log], "removed the {files} oldest rotated log files: {why}");
    }
    for e in &done.failed {
        let text = format!("{e}: {}", e.source);
        if told.insert(text.clone(), ()).is_none() {
            tracing::warn!("{text}");
        }
    }
}
