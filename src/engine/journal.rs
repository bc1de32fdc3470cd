//! The event log's handle: takes events from anywhere in the daemon at once, and writes them on a thread of its own.

use super::incidents::keeper::{Change, Keeper};
use crate::{
    base::{EventKind, EventLine, Layout, Moment, Timestamp},
    logs::jsonl::{LineWriter, last_lines},
    services::redact::redact,
    sys::{clock, error::SysError, failpoint::fail_point},
};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

/// Size at which the event log is rotated, and how many rotated files stay: 20 MiB in all, about 80,000 events.
const FILE_MAX: u64 = 4 << 20;
const FILES_KEPT: usize = 4;

/// Events in memory for "what else happened in that minute".
const RECENT: usize = 512;

/// How much of the file is read for them at the start, bytes: about so many events.
const REMEMBERED: u64 = 128 << 10;

/// Jobs that may wait for the disk. A turn of the dispatcher makes a handful; a disk that hangs must not fill the memory.
const QUEUE: usize = 4_096;

/// Incidents among them: each brings up to 64 KiB of a log with it.
const CHANGES: u64 = 128;

/// Events that are kept for later while the disk takes none (full, read-only, failing).
const BACKLOG: usize = 1_024;

/// Pause between two attempts at such a disk.
const RETRY: Duration = Duration::from_secs(1);

/// How long the end of the daemon waits for the disk.
const FINISH: Duration = Duration::from_secs(2);

/// The event log. Cheap to clone; nothing here blocks or fails: what cannot be written is counted and told later.
///
/// ```ignore
/// journal.note(EventLine::new(EventKind::Order, "stop mysql").node(&node).by(peer));
/// ```
#[derive(Clone, Debug)]
pub struct Journal(Arc<Shared>);

/// The newest events, each with the moment at which it was noted.
type Recent = VecDeque<(Moment, EventLine)>;

#[derive(Debug)]
struct Shared {
    queue: SyncSender<Job>,
    recent: Arc<Mutex<Recent>>,
    /// Events and incidents that found the queue full.
    dropped: Arc<AtomicU64>,
    /// Incidents in the queue.
    changes: Arc<AtomicU64>,
}

/// What is long lies elsewhere: the queue has room for all of its jobs from the beginning.
#[derive(Debug)]
enum Job {
    Event(Box<EventLine>),
    Incident(Box<Change>),
    Flush(SyncSender<()>),
}

impl Journal {
    /// One that nobody reads, whose first call of the returned makes room as the writer does.
    #[cfg(test)]
    pub(super) fn unread() -> (Self, impl Fn() -> usize) {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let changes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&changes);
        let take = move || {
            let taken = jobs.try_iter().filter(|job| matches!(job, Job::Incident(_))).count();
            counted.fetch_sub(taken as u64, Ordering::Relaxed);
            taken
        };
        (Self(Arc::new(Shared { queue, recent: Arc::default(), dropped: Arc::default(), changes })), take)
    }

    /// Starts the writer of `state/events.jsonl`.
    pub fn start(layout: &Layout) -> Self {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let changes = Arc::new(AtomicU64::new(0));
        let recent = Arc::new(Mutex::default());
        let writer = Writer {
            path: layout.events(),
            file: None,
            backlog: VecDeque::new(),
            lost: None,
            failing: false,
            dropped: Arc::clone(&dropped),
            keeper: Keeper::new(layout.clone()),
            recent: Arc::clone(&recent),
            changes: Arc::clone(&changes),
        };
        thread::spawn(move || writer.run(&jobs));
        Self(Arc::new(Shared { queue, recent, dropped, changes }))
    }

    /// Notes an event, with the time of now.
    pub fn note(&self, mut event: EventLine) {
        event.at = clock::wall();
        // Words of a program can be in it.
        event.text = redact(&event.text, &[]);
        let now = clock::now();
        let mut recent = lines(&self.0.recent);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((now, event.clone()));
        // Under the same lock, so that the order in the file is the order in memory; it does not block.
        if self.0.queue.try_send(Job::Event(Box::new(event))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has an incident written or changed; gives it back when too many wait already.
    pub(super) fn change(&self, change: Change) -> Option<Change> {
        let waiting = self.0.changes.fetch_add(1, Ordering::Relaxed);
        let refused = if waiting >= CHANGES {
            Some(change)
        } else {
            match self.0.queue.try_send(Job::Incident(Box::new(change))) {
                Err(TrySendError::Full(Job::Incident(change)) | TrySendError::Disconnected(Job::Incident(change))) => {
                    Some(*change)
                }
                // no other job was sent
                Ok(()) | Err(_) => None,
            }
        };
        if refused.is_some() {
            self.0.changes.fetch_sub(1, Ordering::Relaxed);
        }
        refused
    }

    /// Counts an incident that will not be written by this daemon.
    pub(super) fn drop_change(&self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Events from `since` on, as far as memory goes (512).
    pub fn since(&self, since: Timestamp) -> Vec<EventLine> {
        lines(&self.0.recent).iter().map(|(_, e)| e).filter(|e| e.at >= since).cloned().collect()
    }

    /// Those that this daemon has noted from a moment on, each with its own: for whoever measures, because the time of day in an event
    /// is what the wall clock said, and somebody may have set it meanwhile.
    pub fn noted_since(&self, since: Moment) -> Vec<(Moment, EventLine)> {
        lines(&self.0.recent).iter().filter(|(at, _)| *at >= since && *at > EARLIER).cloned().collect()
    }

    /// Waits until what was noted before is written or has failed to be, at most two seconds. Blocks.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.0.queue.try_send(Job::Flush(done)).is_ok() {
            // A disk that hangs does not hold up the end of the daemon.
            let _ = wait.recv_timeout(FINISH);
        }
    }
}

/// The moment of what an earlier daemon has noted: it may have been in another boot.
const EARLIER: Moment = Moment(0);

fn lines(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    // Nothing under this lock can leave the list half changed.
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side.
struct Writer {
    path: PathBuf,
    file: Option<LineWriter>,
    backlog: VecDeque<EventLine>,
    lost: Option<Lost>,
    failing: bool,
    dropped: Arc<AtomicU64>,
    keeper: Keeper,
    changes: Arc<AtomicU64>,
    recent: Arc<Mutex<Recent>>,
}

/// Events that will never be in the file.
struct Lost {
    count: u64,
    since: Timestamp,
    why: String,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        self.remember();
        loop {
            let idle = self.backlog.is_empty() && self.lost.is_none() && !self.keeper.waits();
            let pause = (!idle).then_some(RETRY);
            let first = match pause {
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(pause) => jobs.recv_timeout(pause),
            };
            let mut waiting = Vec::new();
            let ended = matches!(first, Err(RecvTimeoutError::Disconnected));
            for job in first.into_iter().chain(jobs.try_iter()) {
                match job {
                    Job::Event(event) => self.keep(*event),
                    Job::Incident(change) => {
                        self.changes.fetch_sub(1, Ordering::Relaxed);
                        let events: Vec<EventLine> = lines(&self.recent).iter().map(|(_, e)| e.clone()).collect();
                        self.keeper.take(*change, &events);
                    }
                    Job::Flush(done) => waiting.push(done),
                }
            }
            self.write();
            for done in waiting {
                // Who does not wait any more does not hear it.
                let _ = done.send(());
            }
            if ended {
                return;
            }
        }
    }

    /// Takes the last events of earlier daemons into memory: what else happened in a minute in which one died.
    fn remember(&self) {
        let earlier = last_lines(&self.path, REMEMBERED).unwrap_or_default();
        let earlier: Vec<EventLine> = earlier.iter().filter_map(|l| serde_json::from_slice(l).ok()).collect();
        let mut recent = lines(&self.recent);
        // What this daemon has noted meanwhile is not in the file yet: only this thread writes it.
        for event in earlier.into_iter().rev().take(RECENT.saturating_sub(recent.len())) {
            recent.push_front((EARLIER, event));
        }
    }

    fn keep(&mut self, event: EventLine) {
        // A burst on a disk that works is only written in parts.
        if self.backlog.len() == BACKLOG && !self.failing {
            self.write();
        }
        if self.backlog.len() == BACKLOG
            && let Some(oldest) = self.backlog.pop_front()
        {
            let lost = self.lost.get_or_insert_with(|| Lost { count: 0, since: oldest.at, why: String::new() });
            lost.count += 1;
        }
        self.backlog.push_back(event);
    }

    /// Writes what waits, as far as the disk takes it.
    fn write(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let why = "too many waited for the disk".to_owned();
            let lost = self.lost.get_or_insert_with(|| Lost { count: 0, since: clock::wall(), why });
            lost.count += dropped;
        }
        match self.try_to_write() {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("events and incidents are written again");
            }
            Ok(()) => {}
            Err(e) => {
                if let Some(lost) = &mut self.lost
                    && lost.why.is_empty()
                {
                    lost.why = e.source.to_string();
                }
                if !self.failing {
                    self.failing = true;
                    tracing::error!(error = %e.source, "{e}; events and incidents are kept for later");
                }
            }
        }
    }

    fn try_to_write(&mut self) -> Result<(), SysError> {
        // Events first: who follows them does not wait for the sync of an incident.
        self.write_events()?;
        fail_point!("journal.events-written");
        self.keeper.write()
    }

    fn write_events(&mut self) -> Result<(), SysError> {
        if self.backlog.is_empty() && self.lost.is_none() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(LineWriter::open(&self.path, FILE_MAX, FILES_KEPT)?),
        };
        if let Some(lost) = &self.lost {
            let mut event = EventLine::new(
                EventKind::EventsLost,
                format!("{} events from {} on could not be written: {}", lost.count, lost.since, lost.why),
            );
            event.at = clock::wall();
            file.append(&json(&event))?;
            self.lost = None;
        }
        while let Some(event) = self.backlog.front() {
            file.append(&json(event))?;
            self.backlog.pop_front();
        }
        Ok(())
    }
}

fn json(event: &EventLine) -> Vec<u8> {
    // A struct of texts and numbers always becomes JSON.
    serde_json::to_vec(event).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::NodeName, logs::jsonl::LineReader};
    use std::fs;

    fn root() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.state()).unwrap();
        (dir, layout)
    }

    fn written(layout: &Layout) -> Vec<EventLine> {
        let mut lines = Vec::new();
        LineReader::new(&layout.events())
            .read(&mut |line| lines.extend(serde_json::from_slice::<EventLine>(line)))
            .unwrap();
        lines
    }

    #[test]
    fn what_is_noted_is_in_memory_at_once_and_in_the_file_in_order() {
        let (_dir, layout) = root();
        let journal = Journal::start(&layout);
        for n in 0..20 {
            journal.note(EventLine::new(EventKind::Trouble, format!("{n}")).node(&NodeName::mysql()));
        }
        assert_eq!(journal.since(Timestamp(0)).len(), 20);
        assert!(journal.since(Timestamp(i64::MAX)).is_empty());
        journal.flush();
        let texts: Vec<String> = written(&layout).into_iter().map(|e| e.text).collect();
        assert_eq!(texts, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn who_measures_gets_what_this_daemon_has_noted_whatever_the_time_of_day_was() {
        let (_dir, layout) = root();
        // of an earlier daemon, whose clock was a day ahead
        let mut earlier = EventLine::new(EventKind::Trouble, "earlier");
        earlier.at = Timestamp(clock::wall().0 + 86_400_000);
        fs::write(layout.events(), [&json(&earlier)[..], b"\n"].concat()).unwrap();
        let journal = Journal::start(&layout);
        let began = clock::now();
        journal.note(EventLine::new(EventKind::Trouble, "now"));
        // By then the file was read.
        journal.flush();
        assert_eq!(journal.since(Timestamp(0)).len(), 2);
        for since in [Moment(0), began] {
            let noted = journal.noted_since(since);
            assert_eq!((noted.len(), noted[0].1.text.as_str()), (1, "now"));
            assert!(noted[0].0 >= began && noted[0].0 <= clock::now());
        }
        assert_eq!(journal.noted_since(clock::now() + Duration::from_secs(1)), []);
    }

    #[test]
    fn a_disk_that_takes_nothing_blocks_nobody_and_the_gap_is_told_when_it_takes_again() {
        let (_dir, layout) = root();
        // Nothing can be made where a file stands instead of the directory.
        fs::remove_dir(layout.state()).unwrap();
        fs::write(layout.state(), "").unwrap();
        let journal = Journal::start(&layout);
        let count = BACKLOG + 100;
        for n in 0..count {
            journal.note(EventLine::new(EventKind::Trouble, n.to_string()));
        }
        journal.flush();
        assert_eq!(journal.since(Timestamp(0)).len(), RECENT);
        fs::remove_file(layout.state()).unwrap();
        fs::create_dir(layout.state()).unwrap();
        journal.note(EventLine::new(EventKind::Trouble, "last"));
        journal.flush();
        let lines = written(&layout);
        assert!(lines[0].is(EventKind::EventsLost), "{:?}", lines[0]);
        assert!(lines[0].text.starts_with("101 events from "), "{}", lines[0].text);
        assert!(lines[0].text.ends_with("Not a directory (os error 20)"), "{}", lines[0].text);
        assert_eq!(lines.len(), 1 + BACKLOG);
        assert_eq!(lines.last().unwrap().text, "last");
    }

    #[test]
    fn a_full_disk_costs_no_line_that_was_written_and_the_rest_comes_later() {
        // /dev/full takes no byte (full(4)): the writer of a line on it is told ENOSPC.
        let (_dir, layout) = root();
        std::os::unix::fs::symlink("/dev/full", layout.events()).unwrap();
        let journal = Journal::start(&layout);
        journal.note(EventLine::new(EventKind::Trouble, "kept"));
        journal.flush();
        fs::remove_file(layout.events()).unwrap();
        journal.note(EventLine::new(EventKind::Trouble, "next"));
        journal.flush();
        let texts: Vec<String> = written(&layout).into_iter().map(|e| e.text).collect();
        assert_eq!(texts, ["kept", "next"]);
    }
}
