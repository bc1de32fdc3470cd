//! What an operation left that was cut short with the last daemon: told at once, and undone by whoever knows how.

use super::inputs::Applied;
use crate::{
    base::{EventKind, EventLine, Layout, Reason},
    engine::{Handle, Journal},
    operate::{
        drill,
        operation::{self, Kind, Left, Operations, Record, Running},
    },
};
use std::sync::Arc;

/// Looks for one, before orders are taken: none of them meets what is left. What takes long goes on beside the daemon, and other
/// operations wait for it.
pub(super) fn take_up(layout: &Layout, engine: &Handle, operations: &Operations, applied: Arc<Applied>) {
    let Some(left) = operation::leftover(layout) else { return };
    tracing::warn!("{left}");
    note(engine.journal(), &left.to_string());
    let Left::Half(record) = left else { return operation::forget(layout) };
    if record.kind == Kind::Roll.as_str() {
        let rest = "brokers that were asked to stop are started again; `cdc-supervisor roll NODE…` restarts those that were not";
        note(engine.journal(), &format!("{}: {rest}", record.name()));
    }
    let stores = [Kind::Snapshot, Kind::Restore, Kind::Reset].iter().any(|kind| kind.as_str() == record.kind);
    if record.kind != Kind::Drill.as_str() && !stores {
        return operation::forget(layout);
    }
    if stores && layout.exchange().exists() {
        // Nodes that live had this daemon go on although it could not finish; the record is for the one that can.
        let rest = "directories are half exchanged still, so the nodes that were stopped for it are not started";
        return note(engine.journal(), &format!("{}: {rest}", record.name()));
    }
    if stores {
        let (engine, layout, operations) = (engine.because(Reason::Stores), layout.clone(), operations.clone());
        tokio::spawn(async move {
            let done = super::stores::undo(&record, &engine).await;
            note(engine.journal(), &format!("{}: {done}", record.name()));
            // By now the record may be another one's; and who is on the way down has started nothing.
            if operations.running().is_none() && !engine.snapshot().ending {
                operation::forget(&layout);
            }
        });
        return;
    }
    if let Some(done) = Some(&record).filter(|r| r.is_of_this_boot()).and_then(|r| drill::continue_paused(r)) {
        note(engine.journal(), &format!("{}: {done}", record.name()));
    }
    match operations.resume((*record).clone()) {
        Ok(running) => drop(tokio::spawn(undo(*record, running, engine.because(Reason::Drill), applied))),
        // Nothing was begun before this.
        Err(e) => tracing::warn!("what the drill left is not undone: {e}"),
    }
}

async fn undo(record: Record, running: Running, engine: Handle, applied: Arc<Applied>) {
    let done = drill::undo(&record, &engine, &applied.targets).await;
    let words = if done.is_empty() { "nothing was left to undo".to_owned() } else { done.join("; ") };
    note(engine.journal(), &format!("{}: {words}", record.name()));
    if engine.snapshot().ending {
        return running.leave("left to the next daemon");
    }
    running.end(words);
}

fn note(journal: &Journal, text: &str) {
    journal.note(EventLine::new(EventKind::OperationLeft, text));
}
