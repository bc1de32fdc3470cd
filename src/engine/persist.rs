//! State files of nodes: what a new daemon must know that shims and exit records do not tell.

use super::{adopt, snapshot::LastExit};
use crate::{
    base::{Incarnation, Launched, Layout, NodeName, Timestamp, ids::ProcessId, outcome::Failure},
    logs::tail::LogMark,
    shim::wire::{WireError, parse_exit_record},
    sys::{error::SysError, fs},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Version of the file. A newer one is read as far as its keys are known; unknown keys are ignored.
const SCHEMA: u32 = 1;

/// `state/nodes/NAME.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// 1.
    pub schema: u32,
    /// `up` or `down`.
    pub wanted_up: bool,
    /// Its current or last start.
    pub incarnation: Incarnation,
    /// Starts that nobody ordered.
    pub restarts: u32,
    /// The last of them is counted and not yet begun: waits or is being prepared. Absent in files of older versions, and when
    /// it is begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart_due: bool,
    /// A start or restart was ordered and is not launched yet. Absent in files of older versions, and when none is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_due: bool,
    /// Deaths in a row without a healthy run between them. Absent in files of older versions.
    #[serde(default)]
    pub deaths_in_a_row: u32,
    /// Its main process; none when it does not run.
    pub process: Option<ProcessId>,
    /// When it last became ready in this run.
    pub ready_since: Option<Timestamp>,
    /// How its last run ended.
    pub last_exit: Option<LastExit>,
    /// Digest of what its current or last start was made of (`base::Launched`); none: started by a version without.
    #[serde(default)]
    pub launched: Option<String>,
    /// The ZooKeeper session of its current or last run, when it is a broker. Absent in files of older versions, and while it
    /// is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zookeeper_session: Option<i64>,
    /// Where its log stood when its current or last start began. Absent in files of older versions, and where there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_start: Option<LogMark>,
    /// It has failed, with this. Absent in files of older versions, and while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Box<Failed>>,
}

/// What keeps a node from being started again, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Since when.
    pub since: Timestamp,
    /// What, and what to do.
    pub failure: Failure,
}

impl Default for NodeState {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            wanted_up: false,
            incarnation: Incarnation::default(),
            restarts: 0,
            restart_due: false,
            start_due: false,
            deaths_in_a_row: 0,
            process: None,
            ready_since: None,
            last_exit: None,
            launched: None,
            zookeeper_session: None,
            log_start: None,
            failed: None,
        }
    }
}

/// What is on record of a node, and what is wrong with the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OnRecord {
    /// As far as it could be read.
    pub(super) state: NodeState,
    /// What could not be used, and where it is kept.
    pub(super) trouble: Option<String>,
    /// There was a record, and nobody can say what it wanted of the node.
    pub(super) wish_lost: bool,
}

impl OnRecord {
    fn nothing() -> Self {
        Self { state: NodeState::default(), trouble: None, wish_lost: false }
    }

    fn lost(trouble: Option<String>) -> Self {
        Self { trouble, wish_lost: true, ..Self::nothing() }
    }
}

/// Reads a node's state. A missing file is a node that never ran. A torn or foreign one is put aside as `NAME.json.bad`
/// and told; the truth about what runs comes from shims and exit records anyway. One of a newer version is read as far as its
/// keys are known, and kept as `NAME.json.schema-N` before this version writes its own.
pub(super) fn read(layout: &Layout, node: &NodeName) -> OnRecord {
    let path = layout.node_state(node);
    let text = match fs::read_optional(&path) {
        // Empty: power was lost within a second of the write; the name was on the disk, the bytes were not (ext4(5),
        // delayed allocation).
        Ok(Some(text)) if text.is_empty() => return OnRecord::lost(None),
        Ok(Some(text)) => text,
        Ok(None) => return OnRecord::nothing(),
        Err(e) => return OnRecord::lost(Some(format!("{e}: {}", e.source))),
    };
    let newer = schema_of(&text).filter(|n| *n > SCHEMA);
    match (serde_json::from_str(&text), newer) {
        (Ok(state), None) => OnRecord { state, ..OnRecord::nothing() },
        (Ok(state), Some(schema)) => {
            let aside = path.with_extension(format!("json.schema-{schema}"));
            let kept = std::fs::copy(&path, &aside).is_ok();
            let text = format!(
                "state file {} is of a newer version (schema {schema}, this program knows {SCHEMA}): what it adds is not used{}",
                path.display(),
                if kept { format!(", kept as {}", aside.display()) } else { String::new() }
            );
            OnRecord { state: NodeState { schema: SCHEMA, ..state }, trouble: Some(text), wish_lost: false }
        }
        (Err(e), newer) => {
            let aside = path.with_extension(newer.map_or("json.bad".to_owned(), |n| format!("json.schema-{n}")));
            let moved = std::fs::rename(&path, &aside).is_ok();
            let text = format!(
                "state file {} is not readable ({e}){}",
                path.display(),
                if moved { format!(", kept as {}", aside.display()) } else { String::new() }
            );
            OnRecord::lost(Some(text))
        }
    }
}

/// Whether the last daemon wanted the node up, as its state file says.
pub fn was_wanted_up(layout: &Layout, node: &NodeName) -> bool {
    let text = fs::read_optional(&layout.node_state(node)).ok().flatten();
    text.and_then(|text| serde_json::from_str::<NodeState>(&text).ok()).is_some_and(|state| state.wanted_up)
}

/// Reads what a node's last start was made of; none: nothing on record.
pub(super) fn read_launched(layout: &Layout, node: &NodeName) -> Option<Launched> {
    let text = fs::read_plain_optional(&layout.launched(node)).ok().flatten()?;
    // A torn or foreign one is no record: the digest in the state file still tells whether it is what is applied.
    serde_json::from_str(&text).ok()
}

/// Writes it, before the start. A record that cannot be written must not stay as it was: it would tell of another start.
pub(super) fn write_launched(layout: &Layout, node: &NodeName, launched: &Launched) -> Result<(), SysError> {
    let path = layout.launched(node);
    let text = serde_json::to_string(launched).unwrap_or_default();
    fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::ProcessCrash)
        .inspect_err(|_| drop(fs::remove_optional(&path)))
}

/// The `schema` of a state file, whatever else is in it.
fn schema_of(text: &str) -> Option<u32> {
    serde_json::from_str::<serde_json::Value>(text).ok()?.get("schema")?.as_u64().and_then(|n| u32::try_from(n).ok())
}

/// State files and exit records of versions that this program does not know: it would go on without what they say, and its next
/// write would drop it. Torn ones are no matter of versions; a newer session file says the same in more words.
pub fn newer_state(layout: &Layout) -> Vec<String> {
    let mut newer = Vec::new();
    // every file of this version has the schema 1
    let of_the_root = json_files(&layout.state()).into_iter().filter(|path| *path != layout.session());
    for path in of_the_root.chain(json_files(&layout.node_states())) {
        let schema = fs::read_optional(&path).ok().flatten().and_then(|text| schema_of(&text));
        if let Some(schema) = schema.filter(|n| *n > SCHEMA) {
            newer.push(format!("{} has schema {schema}, this program knows {SCHEMA}", path.display()));
        }
    }
    for node in adopt::known_nodes(layout) {
        let (_, records) = adopt::traces(layout, &node);
        for path in records.into_iter().map(|n| layout.exit_record(&node, n)) {
            let text = fs::read_plain_optional(&path).ok().flatten().unwrap_or_default();
            if let Err(e @ WireError::RecordVersion(_)) = parse_exit_record(&text) {
                newer.push(format!("{}: {e}", path.display()));
            }
        }
    }
    newer
}

/// The files of a directory whose names end in `.json`, by name.
fn json_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    found.sort();
    found
}

/// How long states are gathered after some were written. The first of a burst is written at once; what follows it within
/// this time is written together, and of a node only its newest: a start alone makes four.
const GATHER: Duration = Duration::from_millis(20);

/// What is done when all states are written; again later while it fails.
pub(super) type WhenWritten = Box<dyn FnMut() -> Result<(), SysError> + Send>;

/// What is done once when everything saved before has been tried, with how much the disk has not taken.
type WhenTried = Box<dyn FnOnce(usize) + Send>;

/// What the writer is given.
enum Work {
    Write(NodeName, Box<NodeState>),
    /// Somebody waits for what came before it.
    Flush(WhenTried),
    /// Done when everything before it is written.
    Then(WhenWritten),
    /// What is done first when the end begins.
    AtEnd(WhenWritten),
    /// All nodes are to be stopped for good: what comes after it is of that end.
    Ending,
}

/// Writes state files on a thread of its own, so that a slow disk never holds up the dispatcher. Only the newest state of
/// a node is written when several wait.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Work>>,
    thread: Option<thread::JoinHandle<()>>,
    written: BTreeMap<NodeName, NodeState>,
}

/// Has what was written brought to the disk, when nothing new comes: nobody waits for it. Only loss of power needs it, and
/// what it spares then is to ask each node's exit records for what the file would have told.
fn send_to_disk(layout: &Layout, nodes: &BTreeSet<NodeName>) {
    for file in nodes.iter().filter_map(|node| File::open(layout.node_state(node)).ok()) {
        fs::begin_writing(&file);
    }
}

/// States to be written, who waits for that, and what comes after it.
#[derive(Default)]
struct Batch {
    newest: BTreeMap<NodeName, NodeState>,
    flushed: Vec<WhenTried>,
    then: Vec<WhenWritten>,
    at_end: Option<WhenWritten>,
    ending: bool,
}

/// Pause between two attempts at a disk that takes nothing, and how long states that were written stay in memory alone.
const LATER: Duration = Duration::from_secs(1);

/// What is to be written next: at once, or when [`GATHER`] has passed since the last time. None at the end. Somebody who
/// waits ends the gathering. `more`: something is left to do, so it comes back after [`LATER`] with nothing new.
fn gather(waiting: &Receiver<Work>, written: Option<Instant>, more: bool) -> Option<Batch> {
    let mut batch = Batch::default();
    let first = if more { waiting.recv_timeout(LATER) } else { waiting.recv().map_err(RecvTimeoutError::from) };
    let mut work = match first {
        Ok(work) => work,
        Err(RecvTimeoutError::Timeout) => return Some(batch),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    loop {
        match work {
            Work::Write(node, state) => drop(batch.newest.insert(node, *state)),
            Work::Flush(what) => batch.flushed.push(what),
            Work::Then(what) => batch.then.push(what),
            Work::AtEnd(what) => batch.at_end = Some(what),
            Work::Ending => batch.ending = true,
        }
        let rest = written.map_or(Duration::ZERO, |at| GATHER.saturating_sub(at.elapsed()));
        let next = if batch.flushed.is_empty() {
            waiting.recv_timeout(rest)
        } else {
            waiting.try_recv().map_err(|_| RecvTimeoutError::Timeout)
        };
        match next {
            Ok(more) => work = more,
            // The end is met by the next call.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Some(batch),
        }
    }
}

impl Writer {
    pub(super) fn start(layout: Layout) -> Self {
        let (queue, waiting) = mpsc::channel::<Work>();
        let thread = thread::spawn(move || {
            let mut written = None;
            // What a disk that takes nothing was not given: the newest of each node, until it takes it.
            let mut owed: BTreeMap<NodeName, NodeState> = BTreeMap::new();
            // Written, and perhaps not on the disk yet.
            let mut in_memory: BTreeSet<NodeName> = BTreeSet::new();
            // Done as soon as nothing is owed.
            let mut then: Vec<WhenWritten> = Vec::new();
            let mut at_end: Option<WhenWritten> = None;
            let left = |owed: &BTreeMap<_, _>, in_memory: &BTreeSet<_>, then: &Vec<_>| {
                !owed.is_empty() || !in_memory.is_empty() || !then.is_empty()
            };
            while let Some(batch) = gather(&waiting, written, left(&owed, &in_memory, &then)) {
                let Batch { newest, flushed, then: more, at_end: first, ending } = batch;
                then.extend(more);
                at_end = first.or(at_end);
                if let Some(mut first) = at_end.take_if(|_| ending)
                    && let Err(e) = first()
                {
                    tracing::error!(error = %e.source, "{e}; it is tried again");
                    then.push(first);
                }
                if newest.is_empty() && flushed.is_empty() {
                    send_to_disk(&layout, &std::mem::take(&mut in_memory));
                }
                let failing: BTreeSet<NodeName> = owed.keys().cloned().collect();
                owed.extend(newest);
                owed.retain(|node, state| {
                    let path = layout.node_state(node);
                    let text = serde_json::to_string_pretty(state).unwrap_or_default();
                    match fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::ProcessCrash) {
                        Ok(()) => {
                            in_memory.insert(node.clone());
                            false
                        }
                        Err(e) => {
                            if !failing.contains(node) {
                                tracing::error!(node = %node, error = %e.source, "{e}; it is tried again");
                            }
                            true
                        }
                    }
                });
                written = Some(Instant::now());
                if owed.is_empty() {
                    // A disk that takes no more has been named where a state was refused, or is named there soon.
                    then.retain_mut(|what| what().is_err());
                }
                for what in flushed {
                    what(owed.len() + then.len());
                }
            }
        });
        Self { queue: Some(queue), thread: Some(thread), written: BTreeMap::new() }
    }

    /// Takes a state; equal to the last one: nothing is written.
    pub(super) fn save(&mut self, node: &NodeName, state: NodeState) {
        if self.written.get(node) == Some(&state) {
            return;
        }
        self.written.insert(node.clone(), state.clone());
        if let Some(queue) = &self.queue {
            // The thread ends only with this value.
            let _ = queue.send(Work::Write(node.clone(), Box::new(state)));
        }
    }

    /// Has this done when everything saved so far is written.
    pub(super) fn when_written(&self, what: WhenWritten) {
        if let Some(queue) = &self.queue {
            // The thread ends only with this value.
            let _ = queue.send(Work::Then(what));
        }
    }

    /// Has this done when the end begins ([`Writer::ending`]).
    pub(super) fn at_end(&self, what: WhenWritten) {
        if let Some(queue) = &self.queue {
            // The thread ends only with this value.
            let _ = queue.send(Work::AtEnd(what));
        }
    }

    /// All nodes are to be stopped for good. What is due then is done before any state that is saved from now on is written.
    pub(super) fn ending(&self) {
        if let Some(queue) = &self.queue {
            // The thread ends only with this value.
            let _ = queue.send(Work::Ending);
        }
    }

    /// Has this done, on the writer's thread, as soon as everything saved so far has been tried; what follows is not gathered first.
    /// For an answer that promises what is saved: a daemon that is killed after it finds it on record.
    pub(super) fn when_tried(&self, what: impl FnOnce(usize) + Send + 'static) {
        if let Some(queue) = &self.queue {
            // The thread ends only with this value.
            let _ = queue.send(Work::Flush(Box::new(what)));
        }
    }

    /// Ends when everything saved so far has been tried; returns how many files the disk has not taken.
    pub(super) async fn flush(&self) -> usize {
        let (reply, flushed) = oneshot::channel();
        // Who asked may have given up waiting.
        self.when_tried(|left| {
            let _ = reply.send(left);
        });
        flushed.await.unwrap_or_default()
    }

    /// Waits until everything is written.
    pub(super) fn finish(mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[path = "persist/tests.rs"]
mod tests;
