//! `artifacts list|gc|verify`: what the store has, what of it may go, and whether it is whole.

use super::fetch::as_owner;
use crate::{
    base::Timestamp,
    cli::{
        args::{Artifacts, Gc},
        context::{Context, TICK},
        error::CliError,
        exit::Exit,
        live::Live,
        signals::Signals,
        table::size,
    },
    offline::{
        artifacts::{self, ArtifactError, Listing, Reading, Row},
        programs::{Cancel, Progress, Step},
    },
};
use serde::Serialize;
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

pub(super) async fn run(context: &Context, asked: Artifacts) -> Result<Exit, CliError> {
    let plan = context.load()?.plan;
    match asked {
        Artifacts::List { json } => {
            let found = work(context, "artifacts", move |_| artifacts::list(&plan)).await?.map_err(|e| failed(&e))?;
            context.printer.data(&if json { as_json(&found)? } else { listed(&found) })?;
            Ok(Exit::Done)
        }
        Artifacts::Gc(Gc { dry_run, earlier, json }) => {
            if !dry_run {
                as_owner(context, &plan)?;
            }
            let done = work(context, "artifacts", move |asked| {
                artifacts::gc(&plan, earlier, dry_run, &asked.holder, &asked.cancel)
            });
            let done = done.await?.map_err(|e| failed(&e))?;
            context.printer.data(&if json { as_json(&done)? } else { collected(&done) })?;
            Ok(Exit::Done)
        }
        Artifacts::Verify { json } => {
            let read = work(context, "artifacts", move |asked| artifacts::verify(&plan, &asked.cancel))
                .await?
                .map_err(|e| failed(&e))?;
            context.printer.data(&if json { as_json(&read)? } else { verified(&read) })?;
            let damaged = read.trees.iter().any(|t| t.fault.is_some());
            if !damaged {
                return Ok(Exit::Done);
            }
            context.printer.say("hint: `cdc-supervisor fetch` replaces what is damaged and in use");
            Ok(Exit::Artifact)
        }
    }
}

/// Who holds the store, when this run has begun to wait for it.
#[derive(Default)]
pub(super) struct Holder(Mutex<Option<String>>);

impl Holder {
    /// Once.
    fn news(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Progress for Holder {
    fn step(&self, step: &Step) {
        if let Step::Waiting { holder } = step {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder.clone());
        }
    }
}

/// What goes between blocking work and its caller.
#[derive(Default)]
pub(super) struct Between {
    /// Hears of a wait.
    pub(super) holder: Holder,
    /// Asks the work to end.
    pub(super) cancel: Cancel,
}

/// Does blocking work beside a line that says so. Ctrl-C asks it to end.
pub(super) async fn work<T: Send + 'static>(
    context: &Context,
    label: &'static str,
    work: impl FnOnce(&Between) -> T + Send + 'static,
) -> Result<T, CliError> {
    let mut signals = Signals::listen()?;
    let between = Arc::new(Between::default());
    let theirs = Arc::clone(&between);
    let mut running = tokio::task::spawn_blocking(move || work(&theirs));
    let mut live = Live::begin(context.printer, label);
    loop {
        tokio::select! {
            done = &mut running => {
                return done.map_err(|e| CliError::new(Exit::Unexpected, "the work failed").causes([e.to_string()]));
            }
            () = signals.next() => between.cancel.cancel(),
            () = tokio::time::sleep(TICK) => {
                if let Some(holder) = between.holder.news() {
                    context.printer.step(label, &format!("another run has the store: {holder}"), None);
                }
                live.show("files are read");
            }
        }
    }
}

fn failed(e: &ArtifactError) -> CliError {
    if matches!(e, ArtifactError::Cancelled) {
        return CliError::new(Exit::Interrupted, "interrupted");
    }
    let error = CliError::of(Exit::Artifact, e);
    match e.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn as_json(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(value)
        .map_err(|e| CliError::new(Exit::Unexpected, "cannot write it as JSON").causes([e.to_string()]))
}

fn listed(found: &Listing) -> String {
    if found.items.is_empty() {
        return format!("{} has nothing", found.store);
    }
    let mut text = table(&found.items);
    let _ = write!(text, "{} in {}", size(found.bytes), found.store);
    text
}

fn table(items: &[Row]) -> String {
    let rows: Vec<[String; 6]> = items
        .iter()
        .map(|row| {
            let used = match row.pids.len() {
                0 => String::new(),
                1 => format!("pid {}", row.pids[0]),
                n => format!("{n} processes"),
            };
            let from = match (&row.source, row.fetched_at) {
                (Some(source), Some(Timestamp(_))) => source.clone(),
                _ => row.kind.to_owned(),
            };
            let version = row.version.clone().unwrap_or_default();
            [row.name.clone(), version, row.state.to_owned(), size(row.bytes), used, from]
        })
        .collect();
    let headings = ["NAME", "VERSION", "STATE", "SIZE", "RUNS", "FROM"].map(str::to_owned);
    let mut widths = headings.clone().map(|h| h.len());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(&rows) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // sizes are compared, so they stand to the right
            let _ = if column == 3 { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn collected(done: &Listing) -> String {
    let dry = done.dry_run == Some(true);
    if done.items.is_empty() {
        return format!("nothing to remove in {}", done.store);
    }
    let mut text = table(&done.items);
    let words = if dry { "would be freed in" } else { "freed in" };
    let _ = write!(text, "{} {words} {}", size(done.bytes), done.store);
    text
}

fn verified(read: &Reading) -> String {
    if read.trees.is_empty() {
        return format!("{} has no programs", read.store);
    }
    let mut text = String::new();
    for tree in &read.trees {
        let _ = match &tree.fault {
            None => writeln!(text, "whole    {}  {}", tree.name, size(tree.bytes)),
            Some(fault) => writeln!(text, "damaged  {}: {fault}", tree.name),
        };
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, state: &'static str, bytes: u64, pids: &[i32]) -> Row {
        Row {
            name: name.into(),
            kind: "tree",
            part: Some("kafka"),
            version: Some("3.5.2".into()),
            source: Some("mvn".into()),
            fetched_at: Some(Timestamp(0)),
            bytes,
            state,
            pids: pids.to_vec(),
        }
    }

    #[test]
    fn the_table_shows_state_size_and_who_runs_from_it() {
        let items =
            vec![row("kafka-3.5.2-a60aa24c6d4d", "current", 39_430_630, &[7, 8, 9]), row("x", "unused", 5 << 20, &[])];
        let bytes = items.iter().map(|i| i.bytes).sum();
        let found = Listing { schema: 1, store: "/s".into(), at: Timestamp(0), items, bytes, dry_run: None };
        let text = listed(&found);
        assert!(text.contains("kafka-3.5.2-a60aa24c6d4d  3.5.2    current"), "{text}");
        assert!(text.contains("3 processes  mvn"), "{text}");
        assert!(text.ends_with("in /s"), "{text}");
        let text = collected(&Listing { dry_run: Some(true), ..found });
        assert!(text.contains("would be freed in /s"), "{text}");
    }
}
