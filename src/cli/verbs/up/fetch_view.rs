//! Fetching as a person sees it: bars on a terminal, lines elsewhere, nothing when everything is there.

use crate::{
    cli::{context::TICK, error::CliError, exit::Exit, live::Live, printer::Printer, signals::Signals},
    config::Plan,
    offline::programs::{self, ArtifactError, Cancel, Part, Progress, Step},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is known of the parts so far.
#[derive(Debug, Default)]
struct View {
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    /// What each part is doing, or what it is once it is there.
    doing: BTreeMap<Part, String>,
    /// Parts that are there, in the order in which they came.
    there: Vec<String>,
    /// Something was fetched.
    fetched: bool,
    /// Lines for the person, not printed yet.
    lines: Vec<String>,
}

impl View {
    fn lock(&self) -> MutexGuard<'_, Parts> {
        // Every change is a whole one.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for View {
    fn step(&self, step: &Step) {
        let mut parts = self.lock();
        match step {
            Step::Waiting { holder } => parts.lines.push(format!("another run fetches into this store: {holder}")),
            Step::Present { what, detail } => {
                parts.doing.remove(what);
                parts.there.push(detail.clone());
            }
            Step::Begin { what, detail } => {
                parts.fetched = true;
                parts.doing.insert(*what, detail.clone());
                parts.lines.push(detail.clone());
            }
            Step::Bytes { what, done, total } => {
                let text = format!("{what} {} of {}", megabytes(*done), megabytes(*total));
                parts.doing.insert(*what, text);
            }
            Step::Note { what, text } => parts.lines.push(format!("{what}: {text}")),
            Step::Done { what, detail, .. } => {
                parts.doing.remove(what);
                parts.there.push(detail.clone());
            }
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:>3} MB", bytes >> 20)
}

/// Sees to the programs of a plan; returns what there is, in words. `verify` reads every stored file again.
/// Ctrl-C cancels it.
pub(in crate::cli::verbs) async fn fetch(
    printer: Printer,
    plan: Plan,
    verify: bool,
    signals: &mut Signals,
) -> Result<String, CliError> {
    let view = Arc::new(View::default());
    let cancel = Cancel::default();
    let mut work = {
        let (view, cancel) = (Arc::clone(&view), cancel.clone());
        tokio::task::spawn_blocking(move || {
            let layout = plan.layout();
            let get = if verify { programs::fetch } else { programs::ensure };
            get(&plan, &layout, view.as_ref(), &cancel)
        })
    };
    let mut live = Live::begin(printer, "fetch");
    let mut cancelled = false;
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = signals.next() => {
                cancelled = true;
                cancel.cancel();
            }
            () = tokio::time::sleep(TICK) => show(&view, &mut live),
        }
    };
    show(&view, &mut live);
    let done = done.map_err(|e| CliError::new(Exit::Unexpected, "fetching failed").causes([e.to_string()]))?;
    if cancelled || matches!(done, Err(ArtifactError::Cancelled)) {
        return Err(CliError::new(Exit::Interrupted, "interrupted while fetching; what has arrived is kept"));
    }
    if let Err(e) = done {
        let error = CliError::of(Exit::Artifact, &e);
        return Err(match e.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    let (what, fetched) = {
        let mut parts = view.lock();
        (std::mem::take(&mut parts.there).join(", "), parts.fetched)
    };
    if fetched {
        live.done(&what);
    }
    Ok(if what.is_empty() { "nothing to fetch for these nodes".to_owned() } else { what })
}

fn show(view: &View, live: &mut Live) {
    let (lines, doing) = {
        let mut parts = view.lock();
        (std::mem::take(&mut parts.lines), parts.doing.values().cloned().collect::<Vec<_>>().join(", "))
    };
    for line in lines {
        live.line(&line);
    }
    live.show(if doing.is_empty() { "the store is looked at" } else { &doing });
}
