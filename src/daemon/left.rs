//! What an operation left that was cut short with the last daemon: told at once, and undone by whoever knows how.

use super::inputs::Applied;
use crate::{
    base::{EventKind, EventLine, Layout},
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
    if record.kind != Kind::Drill.as_str() {
        return operation::forget(layout);
    }
    if let Some(done) = Some(&record).filter(|r| r.is_of_this_boot()).and_then(|r| drill::continue_paused(r)) {
        note(engine.journal(), &format!("{}: {done}", record.name()));
    }
    match operations.resume((*record).clone()) {
        Ok(running) => drop(tokio::spawn(undo(*record, running, engine.clone(), applied))),
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
