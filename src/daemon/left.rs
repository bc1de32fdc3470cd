//! What an operation left that was cut short with the last daemon: told at once, and undone by whoever knows how.

use super::inputs::Applied;
use crate::{
    base::{EventKind, EventLine, Layout, NodeKind, Reason},
    engine::{Handle, Journal, Snapshot},
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
        note(engine.journal(), &format!("{}: {}", record.name(), rest_of_roll(&record, &engine.snapshot())));
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

/// Which brokers a roll that was cut short had not come to, and the order that does the rest.
///
/// That one was restarted shows in when it was started; one that is down was on its way.
fn rest_of_roll(record: &Record, now: &Snapshot) -> String {
    let named: Vec<&str> = record.detail.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let of_it = now
        .nodes
        .iter()
        .filter(|n| matches!(n.kind, NodeKind::Broker(_)) && (named.is_empty() || named.contains(&n.name.as_str())));
    let old = of_it.filter(|n| n.process.is_some() && n.started_at.is_some_and(|at| at < record.begun_at));
    let old: Vec<&str> = old.map(|n| n.name.as_str()).collect();
    let again = "a broker that was asked to stop is started again";
    if old.is_empty() {
        return format!("{again}; it had come to every broker");
    }
    format!("{again}; not restarted: {}; `cdc-supervisor roll {}` does the rest", old.join(", "), old.join(" "))
}

fn note(journal: &Journal, text: &str) {
    journal.note(EventLine::new(EventKind::OperationLeft, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{NodeName, Timestamp, ids::ProcessId},
        engine::NodeSnapshot,
    };

    #[test]
    fn what_is_left_of_a_roll_is_named_with_the_order_that_does_it() {
        let record = |detail: &str| -> Record {
            let text = format!(r#"{{"kind":"roll","detail":"{detail}","begun_at":"1970-01-01T00:00:05.000Z"}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let broker = |id: u32, started: i64| {
            let node = NodeSnapshot::sample(NodeName::broker(id), NodeKind::Broker(id), "ready", 1);
            let process = Some(ProcessId { pid: 7, start_ticks: 1, boot_id: "b".into() });
            Arc::new(NodeSnapshot { started_at: Some(Timestamp(started)), process, ..node })
        };
        let mut now =
            Snapshot { nodes: vec![broker(1, 1_000), broker(2, 6_000), broker(3, 2_000)], ..Snapshot::default() };
        let words = rest_of_roll(&record(""), &now);
        assert!(
            words.ends_with("not restarted: broker-1, broker-3; `cdc-supervisor roll broker-1 broker-3` does the rest")
        );
        let words = rest_of_roll(&record("broker-2, broker-3"), &now);
        assert!(words.ends_with("not restarted: broker-3; `cdc-supervisor roll broker-3` does the rest"), "{words}");
        now.nodes.remove(0);
        now.nodes.remove(1);
        assert!(rest_of_roll(&record(""), &now).ends_with("it had come to every broker"));
    }
}
