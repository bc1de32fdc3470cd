//! The record of whose data this root has: read once, kept in memory, written whenever something is learned.

use crate::{
    base::{EventKind, EventLine, Layout},
    engine::journal::Journal,
    services::identity::{Machine, Record},
    sys::{clock, fs, host, record},
};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Version of the file.
const SCHEMA: u32 = 1;

/// `state/identity.json`. A file that cannot be read is put aside as `identity.json.bad`, and what it said is learned again
/// from the data, with a note: until then nothing is remembered, so nothing is refused because of it.
#[derive(Debug)]
pub(in crate::engine) struct Identities {
    path: PathBuf,
    journal: Journal,
    here: Machine,
    record: Mutex<Record>,
}

impl Identities {
    /// Reads the record. Blocks for one small file.
    pub(in crate::engine) fn open(layout: &Layout, journal: Journal) -> Self {
        let path = layout.identity();
        let (record, trouble) = read(&path);
        let here = Machine { id: host::machine_id(), boot: clock::boot_id().to_owned() };
        let moved = record.moved_here(&here);
        let identities = Self { path, journal, here, record: Mutex::new(record) };
        for text in trouble.into_iter().chain(moved.clone()) {
            tracing::warn!("{text}");
            identities.journal.note(EventLine::new(EventKind::Trouble, text));
        }
        if moved.is_some() {
            // Said once: from now on this machine is the one.
            identities.learn(|_| {});
        }
        identities
    }

    /// Where it is kept.
    pub(in crate::engine) fn path(&self) -> &Path {
        &self.path
    }

    /// What is remembered now. Somebody may have removed the file to have it made anew: then nothing is.
    pub(in crate::engine) fn now(&self) -> Record {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_with_file(&mut record);
        record.clone()
    }

    fn forget_with_file(&self, record: &mut Record) {
        // What cannot be looked at is not gone.
        if *record != Record::default() && matches!(self.path.try_exists(), Ok(false)) {
            *record = Record::default();
        }
    }

    /// Changes what is remembered; written when that changes anything. Blocks.
    pub(in crate::engine) fn learn(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        // What was removed to be forgotten does not come back with what is learned next.
        self.forget_with_file(&mut record);
        let mut next = record.clone();
        change(&mut next);
        next.schema = SCHEMA;
        next.machine = Some(self.here.clone());
        // Another boot alone is not worth a write.
        let same_machine = record.machine.as_ref().is_some_and(|m| m.id == self.here.id);
        let same = next == Record { machine: next.machine.clone(), ..record.clone() };
        if same && same_machine {
            return;
        }
        let text = serde_json::to_string_pretty(&next).unwrap_or_default();
        if let Err(e) = fs::write_atomic(&self.path, text.as_bytes(), 0o640, fs::Durability::PowerLoss) {
            // It is learned again at the next start; the checks between the data directories do not need it.
            tracing::error!(error = %e.source, "{e}");
        }
        *record = next;
    }
}

fn read(path: &Path) -> (Record, Option<String>) {
    match record::read(path) {
        Ok((found, torn)) => (
            found.unwrap_or_default(),
            torn.map(|torn| format!("{torn}: it is made anew from the data, which is not compared with what it said")),
        ),
        Err(e) => (Record::default(), Some(format!("{e}: {}; whose data this root had is not known", e.source))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        (dir, layout)
    }

    fn open(layout: &Layout) -> Identities {
        Identities::open(layout, Journal::start(layout))
    }

    #[test]
    fn what_is_learned_is_there_for_the_next_daemon_and_gone_with_the_file() {
        let (_dir, layout) = root();
        let first = open(&layout);
        assert!(!layout.identity().exists(), "nothing learned, nothing written");
        first.learn(|r| r.learn_broker(1, "X", "/b1".into()));
        let next = open(&layout);
        assert_eq!(next.now().cluster.as_deref(), Some("X"));
        assert_eq!(next.now().machine.unwrap().boot, clock::boot_id());
        std::fs::remove_file(layout.identity()).unwrap();
        assert_eq!(next.now(), Record::default());
        next.learn(|r| r.learn_broker(1, "X", "/b1".into()));
        std::fs::remove_file(layout.identity()).unwrap();
        next.learn(|r| r.learn_cluster("X"));
        assert_eq!(
            (next.now().cluster.as_deref(), next.now().brokers.len()),
            (Some("X"), 0),
            "nor with the next thing"
        );
    }

    #[test]
    fn a_torn_record_is_kept_aside_and_made_anew() {
        let (_dir, layout) = root();
        open(&layout).learn(|r| r.learn_cluster("X"));
        let whole = std::fs::read(layout.identity()).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(layout.identity(), &whole[..cut]).unwrap();
            let (record, trouble) = read(&layout.identity());
            assert_eq!(record, Record::default(), "cut at {cut}");
            assert!(trouble.unwrap().contains("identity.json.bad"), "cut at {cut}");
            assert!(layout.state().join("identity.json.bad").exists());
        }
        open(&layout).learn(|r| r.learn_cluster("X"));
        assert_eq!(open(&layout).now().cluster.as_deref(), Some("X"));
    }

    #[test]
    fn another_machine_is_told_once() {
        if host::machine_id().is_empty() {
            return;
        }
        let (_dir, layout) = root();
        let text = r#"{"schema":1,"machine":{"id":"elsewhere","boot":"b"},"cluster":"X"}"#;
        std::fs::write(layout.identity(), text).unwrap();
        let journal = Journal::start(&layout);
        Identities::open(&layout, journal.clone());
        assert!(journal.since(crate::base::Timestamp(0))[0].text.contains("machine id elsewhere"));
        // A journal of its own place: one of this root would read the first one's event back.
        let (_elsewhere, other) = root();
        let journal = Journal::start(&other);
        assert_eq!(Identities::open(&layout, journal.clone()).now().cluster.as_deref(), Some("X"));
        assert_eq!(journal.since(crate::base::Timestamp(0)), []);
    }
}
