//! Incidents on disk, on the journal's thread: written at the death, completed when the node is back, tried again while the
//! disk takes nothing.

use super::story::{self, Draft, Earlier};
use crate::{
    base::{
        ByteSize, Cause, EventLine, Layout, NodeName, Timestamp,
        incident::{Incident, Outcome},
        outcome::OomBy,
    },
    logs::incident_files,
    sys::error::SysError,
};
use std::collections::{BTreeMap, BTreeSet};

/// Records that wait for a disk that takes nothing. More are dropped, oldest first.
const WAITING: usize = 64;

/// What the dispatcher wants written.
#[derive(Debug)]
pub(in crate::engine) enum Change {
    /// A new incident.
    New(Box<Draft>),
    /// What became of one.
    Outcome { id: u64, node: NodeName, outcome: Outcome },
    /// What was done turned out to be something else than was to be expected at the death.
    Did { id: u64, node: NodeName, did: String },
    /// A refused start was refused again.
    Again { id: u64, node: NodeName, at: Timestamp },
}

/// The records that are open or not written yet.
#[derive(Debug)]
pub(in crate::engine) struct Keeper {
    layout: Layout,
    records: BTreeMap<u64, Incident>,
    unwritten: BTreeSet<u64>,
}

impl Keeper {
    pub(in crate::engine) fn new(layout: Layout) -> Self {
        Self { layout, records: BTreeMap::new(), unwritten: BTreeSet::new() }
    }

    /// Takes a change; nothing is written yet. `events` are those in memory.
    pub(in crate::engine) fn take(&mut self, change: Change, events: &[EventLine]) {
        match change {
            Change::New(draft) => {
                let earlier = draft.out_of_memory().map(|(node, cap)| self.earlier(node, cap)).unwrap_or_default();
                let incident = draft.record(&self.secrets(), events, earlier);
                self.unwritten.insert(incident.id);
                self.records.insert(incident.id, incident);
            }
            Change::Outcome { id, node, outcome } => {
                let secrets = self.secrets();
                let Some(incident) = self.record(id, &node) else { return };
                story::extend_around(incident, outcome.at.unwrap_or_default(), &secrets, events);
                incident.outcome = Outcome { text: story::clean(&outcome.text), ..outcome };
                self.unwritten.insert(id);
            }
            Change::Did { id, node, did } => {
                let Some(incident) = self.record(id, &node) else { return };
                incident.did = story::clean(&did);
                self.unwritten.insert(id);
            }
            Change::Again { id, node, at } => {
                let Some(incident) = self.record(id, &node) else { return };
                incident.times = incident.times.saturating_add(1);
                incident.last_at = at;
                self.unwritten.insert(id);
            }
        }
        while self.unwritten.len() > WAITING {
            if let Some(oldest) = self.unwritten.pop_first() {
                self.records.remove(&oldest);
                tracing::error!("incident #{oldest} is lost: it could not be written");
            }
        }
    }

    /// Whether something waits for the disk.
    pub(in crate::engine) fn waits(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Writes what waits, each as a whole and synced.
    pub(in crate::engine) fn write(&mut self) -> Result<(), SysError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let dir = self.layout.incidents();
        while let Some(id) = self.unwritten.first().copied() {
            if let Some(incident) = self.records.get(&id) {
                incident_files::write(&dir, incident)?;
                if !incident.outcome.is_open() {
                    self.records.remove(&id);
                }
            }
            self.unwritten.remove(&id);
        }
        // A failed incident stays open until somebody acts: only so many are held, the rest is read from disk again.
        while self.records.len() > WAITING {
            self.records.pop_first();
        }
        incident_files::prune(&dir)
    }

    /// The record of an incident: in memory, or as an earlier daemon wrote it.
    fn record(&mut self, id: u64, node: &NodeName) -> Option<&mut Incident> {
        if !self.records.contains_key(&id) {
            let entries = incident_files::list(&self.layout.incidents()).ok()?;
            let entry = entries.into_iter().find(|e| e.id == id && e.node == *node)?;
            // A file that was damaged meanwhile stays as it is.
            self.records.insert(id, incident_files::read(&entry.path).ok()?);
        }
        self.records.get_mut(&id)
    }

    /// Out-of-memory kills of a node that are on record, on disk or still waiting for it; `cap`: the one it has now.
    fn earlier(&self, node: &NodeName, cap: Option<ByteSize>) -> Earlier {
        let counts = |i: &Incident| i.node == *node && i.cause == Cause::OutOfMemory.as_str();
        let on_disk = incident_files::list(&self.layout.incidents()).unwrap_or_default();
        let on_disk = on_disk.into_iter().filter(|e| e.node == *node && !self.unwritten.contains(&e.id));
        let read = on_disk.filter_map(|e| incident_files::read(&e.path).ok());
        let waiting = self.unwritten.iter().filter_map(|id| self.records.get(id)).cloned();
        let mut earlier = Earlier::default();
        for incident in read.chain(waiting).filter(counts) {
            earlier.times += 1;
            let memory = &incident.memory;
            let at_this_cap =
                memory.limit.as_deref() == Some(OomBy::Cap.as_str()) && memory.cap_in_force_bytes.is_none();
            earlier.at_this_cap += u32::from(at_this_cap && memory.cap_bytes == cap.map(|cap| cap.0));
            earlier.first_at = Some(earlier.first_at.map_or(incident.at, |first| first.min(incident.at)));
        }
        earlier
    }

    /// The passwords we made, to be blanked.
    fn secrets(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.layout.secrets()).into_iter().flatten().flatten();
        files.filter_map(|f| std::fs::read_to_string(f.path()).ok()).map(|s| s.trim().to_owned()).collect()
    }
}
