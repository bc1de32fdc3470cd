//! What an operation left that was cut short with the last daemon: told at once, and undone by whoever knows how.

use super::inputs::Applied;
use crate::{
    base::{EventKind, EventLine, Layout, NodeName, Reason},
    engine::{Handle, Journal},
    operate::{
        drill,
        operation::{self, Kind, Left, Operations, Record, Running},
        unrolled::{self, Unrolled},
    },
};
use std::sync::Arc;

/// Looks for one, before orders are taken: none of them meets what is left. What takes long goes on beside the daemon, and other
/// operations wait for it. What is left of a roll is returned: it is finished later (`finish`), and a status tells of it.
pub(super) fn take_up(
    layout: &Layout,
    engine: &Handle,
    operations: &Operations,
    applied: Arc<Applied>,
) -> Option<Unrolled> {
    let left = operation::leftover(layout);
    let now = engine.snapshot();
    let unrolled = match &left {
        Some(Left::Half(record)) => Unrolled::of(record, &now),
        Some(Left::Torn(_)) | None => None,
    };
    // Before the record goes: a daemon that dies over it finds one of the two.
    let kept = unrolled::take_up(layout, unrolled.clone(), &now).unwrap_or_else(|e| {
        tracing::warn!(error = %e.source, "{e}");
        unrolled.clone()
    });
    if layout.reload_plan().exists() {
        note(engine.journal(), RELOAD);
    }
    if let Some(left) = left {
        let rest = unrolled.as_ref().map(|left| left.rest(&now)).unwrap_or_default();
        let given_up = kept.as_ref().and_then(Unrolled::is_given_up);
        undo_what(left, (rest, given_up), layout, engine, operations, applied);
    }
    kept
}

/// Of a reload, which is never gone on with: it is the file of today that a person wants applied, and that may have changed since.
const RELOAD: &str = "a reload was not finished: what it had changed has its new settings, all else runs by the old ones; `cdc-supervisor plan` \
                      shows which, and `cdc-supervisor reload` does the rest";

/// `rest`: brokers that a roll had not come to, and why nobody goes on with it.
fn undo_what(
    left: Left,
    (rest, given_up): (Vec<NodeName>, Option<String>),
    layout: &Layout,
    engine: &Handle,
    operations: &Operations,
    applied: Arc<Applied>,
) {
    tracing::warn!("{left}");
    note(engine.journal(), &left.to_string());
    let record = match left {
        Left::Half(record) => record,
        // The power went while it was written. Nodes that were down are wanted by this boot's daemon; what a drill makes is there still.
        Left::Torn(_) => {
            return match drill::owe_what_may_be(layout) {
                Ok(()) => operation::forget(layout),
                // The record stays and says as much to the next daemon.
                Err(e) => tracing::warn!(error = %e.source, "{e}"),
            };
        }
    };
    if record.kind == Kind::Roll.as_str() {
        let words = format!("{}: {}", record.name(), rest_of_roll(&rest, given_up.as_deref()));
        tracing::info!("{words}");
        note(engine.journal(), &words);
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
        Ok(running) => {
            drop(tokio::spawn(undo(*record, running, engine.because(Reason::Drill), applied, layout.clone())));
        }
        // Nothing was begun before this.
        Err(e) => tracing::warn!("what the drill left is not undone: {e}"),
    }
}

async fn undo(record: Record, running: Running, engine: Handle, applied: Arc<Applied>, layout: Layout) {
    let done = drill::undo(&record, &running, &engine, &applied.targets, &layout).await;
    let words = if done.is_empty() { "nothing was left to undo".to_owned() } else { done.join("; ") };
    note(engine.journal(), &format!("{}: {words}", record.name()));
    if engine.snapshot().ending {
        return running.leave("left to the next daemon");
    }
    running.end(words);
}

/// Which brokers a roll that was cut short had not come to, and who does the rest. `given_up`: why not this daemon.
fn rest_of_roll(rest: &[NodeName], given_up: Option<&str>) -> String {
    let again = "a broker that was asked to stop is started again";
    if rest.is_empty() {
        return format!("{again}; it had come to every broker");
    }
    let rest: Vec<&str> = rest.iter().map(NodeName::as_str).collect();
    let next = match given_up {
        Some(why) => format!("{why}; `cdc-supervisor roll {}` does the rest", rest.join(" ")),
        None => "this daemon does the rest when the nodes have settled".into(),
    };
    format!("{again}; not restarted: {}; {next}", rest.join(", "))
}

fn note(journal: &Journal, text: &str) {
    journal.note(EventLine::new(EventKind::OperationLeft, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_roll_is_named_with_who_does_it() {
        let rest = [NodeName::broker(1), NodeName::broker(3)];
        let words = rest_of_roll(&rest, None);
        let ends = "not restarted: broker-1, broker-3; this daemon does the rest when the nodes have settled";
        assert!(words.ends_with(ends), "{words}");
        let words = rest_of_roll(&rest, Some("two died"));
        let ends = "not restarted: broker-1, broker-3; two died; `cdc-supervisor roll broker-1 broker-3` does the rest";
        assert!(words.ends_with(ends), "{words}");
        assert!(rest_of_roll(&[], None).ends_with("it had come to every broker"));
    }
}
