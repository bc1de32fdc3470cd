//! Topics and a table that a drill, or the daemon after it, could not remove: on record until they are, and tried again as soon as
//! everything is whole, while nothing else is under way.

use super::{
    fault::Undo,
    left::{self, Part},
};
use crate::{
    base::Layout,
    engine::Handle,
    operate::{
        operation::{Kind, Operations, Record},
        prove::Targets,
    },
    sys::{error::SysError, failpoint::fail_point, fs, record},
};
use std::time::Duration;
use tokio::time::sleep;

/// How often it is looked whether something is owed: one look at a file that is hardly ever there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long an attempt that failed is not repeated, and the most that becomes of it.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
const AGAIN_AT_MOST: Duration = Duration::from_secs(3_600);

/// Keeps what is left of a drill (`state/drill-left.json`, an operation's record), or that nothing is. Whatever an earlier one left goes
/// with it: topics and table have the same names.
pub(super) fn settle(layout: &Layout, of: &Record, left: &Undo) -> Result<(), SysError> {
    let path = layout.drill_left();
    if !left.topics && !left.table {
        fs::remove_optional(&path)?;
        fail_point!("owed.gone");
        return Ok(());
    }
    let rest = Undo { topics: left.topics, table: left.table, ..Undo::default() };
    let record = Record { step: "what it left is still there".into(), undo: rest.value(), ..of.clone() };
    // A struct of texts and numbers always becomes JSON.
    let text = serde_json::to_string_pretty(&record).unwrap_or_default();
    // A crash of the machine leaves topics and table there, too.
    fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::PowerLoss)
}

/// A record of an operation was there and cannot be read: whether it was of a drill, and had made something, is looked at. What has no mark of a
/// drill is not touched.
pub fn owe_what_may_be(layout: &Layout) -> Result<(), SysError> {
    let record = Record {
        kind: Kind::Drill.as_str().to_owned(),
        detail: "of which nothing is on record".to_owned(),
        ..Record::begun_now()
    };
    settle(layout, &record, &Undo { topics: true, table: true, ..Undo::default() })
}

/// What is owed; one that is torn is told of and put aside.
fn owed(layout: &Layout) -> Option<(Record, Undo)> {
    match record::read::<Record>(&layout.drill_left()) {
        Ok((record, torn)) => {
            if let Some(torn) = torn {
                tracing::warn!("{torn}: what a drill left is removed by the next one");
            }
            let record = record?;
            let undo = record.undo::<Undo>()?;
            Some((record, undo))
        }
        Err(e) => {
            tracing::warn!(error = %e.source, "{e}");
            None
        }
    }
}

/// Whether something is owed, and nothing has the record of operations, which the removal writes over: neither what runs (a drill removes what
/// the one before it left) nor what has stopped half-way and is the next daemon's.
fn is_due(layout: &Layout, operations: &Operations) -> bool {
    let is_taken = operations.running().is_some() || layout.exchange().exists() || layout.operation().exists();
    layout.drill_left().exists() && !is_taken
}

/// Removes what is owed, whenever something is. `targets` are those of the plan that holds now.
pub async fn remove_when_whole(
    engine: Handle,
    layout: Layout,
    operations: Operations,
    targets: impl Fn() -> Targets + Send + Sync,
) {
    let mut pause = AGAIN_AFTER;
    let mut changes = engine.watch();
    while !engine.snapshot().ending {
        // Nothing is owed before something has happened to a node, and brokers and mysqld are looked at all the time: what nobody
        // probes is not woken up for it.
        if !layout.drill_left().exists() && changes.changed().await.is_err() {
            return;
        }
        sleep(LOOK_EVERY).await;
        let is_due = || !engine.snapshot().ending && is_due(&layout, &operations);
        if !is_due() {
            continue;
        }
        let targets = targets();
        let Some((record, undo)) = owed(&layout) else {
            sleep(AGAIN_AFTER).await;
            continue;
        };
        if !could_be_removed(&engine, &targets, &undo).await || !is_due() {
            continue;
        }
        // Somebody else was first.
        let Ok(running) = operations.resume(record.clone()) else { continue };
        let said = left::undo(&record, &running, &engine, &targets, &layout).await;
        running.end(if said.is_empty() { "nothing is left of it any more".to_owned() } else { said.join("; ") });
        if layout.drill_left().exists() {
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AT_MOST);
        } else {
            pause = AGAIN_AFTER;
        }
    }
}

/// Whether whoever has to be asked for one of its parts is there.
async fn could_be_removed(engine: &Handle, targets: &Targets, undo: &Undo) -> bool {
    let snapshot = engine.snapshot();
    for (part, is_owed) in [(Part::Topics, undo.topics), (Part::Table, undo.table)] {
        if is_owed && left::missing(&snapshot, targets, part).await.is_none() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::Timestamp, engine::Journal, operate::operation::Kind};

    fn root() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        (dir, layout)
    }

    fn record() -> Record {
        Record {
            schema: 1,
            kind: "drill".into(),
            detail: "broker-kill".into(),
            by: None,
            begun_at: Timestamp(0),
            boot_id: String::new(),
            daemon_pid: 1,
            step: String::new(),
            undo: None,
            asked: None,
            left_down: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_removed_over_the_record_of_an_operation_that_runs_or_has_stopped_half_way() {
        let (_dir, layout) = root();
        let operations = Operations::new(layout.clone(), Journal::start(&layout));
        assert!(!is_due(&layout, &operations), "nothing is owed");
        settle(&layout, &record(), &Undo { topics: true, ..Undo::default() }).unwrap();
        assert!(is_due(&layout, &operations));
        let restore = operations.begin(Kind::Restore, "s", None).unwrap();
        assert!(!is_due(&layout, &operations), "it runs");
        std::fs::write(layout.exchange(), "{}").unwrap();
        restore.leave("directories are half exchanged");
        assert!(!is_due(&layout, &operations) && layout.operation().exists(), "it has stopped half-way");
        std::fs::remove_file(layout.exchange()).unwrap();
        assert!(!is_due(&layout, &operations), "its record is the next daemon's");
        std::fs::remove_file(layout.operation()).unwrap();
        std::fs::write(layout.exchange(), "{}").unwrap();
        assert!(!is_due(&layout, &operations), "nodes stay down");
        std::fs::remove_file(layout.exchange()).unwrap();
        assert!(is_due(&layout, &operations));
    }

    #[test]
    fn of_a_record_that_cannot_be_read_everything_is_owed_that_a_drill_makes() {
        let (_dir, layout) = root();
        owe_what_may_be(&layout).unwrap();
        let (kept, undo) = owed(&layout).unwrap();
        assert_eq!(kept.name(), "drill of which nothing is on record");
        assert_eq!(undo, Undo { topics: true, table: true, ..Undo::default() });
    }

    #[test]
    fn what_is_left_is_on_record_until_nothing_is() {
        let (_dir, layout) = root();
        let record = record();
        let nodes = vec![crate::base::NodeName::mysql()];
        let left = Undo { topics: true, down: nodes, ..Undo::default() };
        settle(&layout, &record, &left).unwrap();
        let (kept, undo) = owed(&layout).unwrap();
        assert_eq!((kept.name().as_str(), undo), ("drill broker-kill", Undo { topics: true, ..Undo::default() }));
        settle(&layout, &record, &Undo { down: left.down, ..Undo::default() }).unwrap();
        assert!(owed(&layout).is_none() && !layout.drill_left().exists());
        std::fs::write(layout.drill_left(), "{").unwrap();
        assert!(owed(&layout).is_none() && !layout.drill_left().exists(), "put aside");
    }
}
