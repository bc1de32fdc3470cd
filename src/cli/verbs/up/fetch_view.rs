//! Fetching as a person sees it: a moving line per part and one for all on a terminal, lines elsewhere, nothing when
//! everything is there.

use crate::{
    cli::{context::TICK, error::CliError, exit::Exit, live::Live, printer::Printer, signals::Signals},
    config::Plan,
    offline::programs::{self, ArtifactError, Cancel, FetchOptions, Part, Progress, Step},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is known of the parts so far.
#[derive(Debug, Default)]
struct View {
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    /// What each part is doing.
    doing: BTreeMap<Part, Doing>,
    /// Parts that are there, in the order in which they came.
    there: Vec<String>,
    /// Something was fetched.
    fetched: bool,
    /// Lines for the person, not printed yet.
    lines: Vec<String>,
}

/// What a part is doing.
#[derive(Debug)]
enum Doing {
    /// In words.
    Words(String),
    /// Bytes arrive.
    Bytes(Flow),
}

/// Bytes that arrive.
#[derive(Clone, Copy, Debug)]
struct Flow {
    done: u64,
    total: u64,
    /// What was there when the first was seen, and when that was: what an earlier run left tells nothing of the speed.
    first: u64,
    since: Instant,
}

impl Flow {
    /// `12 of 38 MB, 3.1 MB/s, 8 s left`; the speed after a second.
    fn words(&self) -> String {
        if self.done >= self.total {
            return format!("{} MB are here; verified and put in order", self.total >> 20);
        }
        let mut text = format!("{} of {} MB", self.done >> 20, self.total >> 20);
        let took = self.since.elapsed();
        let came = self.done.saturating_sub(self.first);
        if took >= Duration::from_secs(1) && came > 0 {
            let per_second = came.saturating_mul(1_000) / u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
            let left = self.total.saturating_sub(self.done) / per_second.max(1);
            let tenths = per_second.saturating_mul(10) >> 20;
            text += &format!(", {}.{} MB/s, {left} s left", tenths / 10, tenths % 10);
        }
        text
    }
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
                parts.doing.insert(*what, Doing::Words(detail.clone()));
                parts.lines.push(detail.clone());
            }
            Step::Bytes { what, done, total } => {
                let (first, since) = match parts.doing.get(what) {
                    Some(Doing::Bytes(flow)) if flow.done <= *done => (flow.first, flow.since),
                    Some(Doing::Bytes(_) | Doing::Words(_)) | None => (*done, Instant::now()),
                };
                parts.doing.insert(*what, Doing::Bytes(Flow { done: *done, total: *total, first, since }));
            }
            Step::Note { what, text } => parts.lines.push(format!("{what}: {text}")),
            Step::Done { what, detail, .. } => {
                parts.doing.remove(what);
                parts.there.push(detail.clone());
            }
        }
    }
}

/// Sees to the programs of a plan; returns what there is, in words. The verb `fetch` has options, and then every stored file
/// is read again. Ctrl-C cancels it.
pub(in crate::cli::verbs) async fn fetch(
    printer: Printer,
    plan: Plan,
    asked: Option<FetchOptions>,
    signals: &mut Signals,
) -> Result<String, CliError> {
    let view = Arc::new(View::default());
    let cancel = Cancel::default();
    let mut work = {
        let (view, cancel) = (Arc::clone(&view), cancel.clone());
        tokio::task::spawn_blocking(move || {
            let layout = plan.layout();
            match asked {
                Some(options) => programs::fetch(&plan, &layout, &options, view.as_ref(), &cancel),
                None => programs::ensure(&plan, &layout, view.as_ref(), &cancel),
            }
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
    let (lines, doing, flow) = {
        let mut parts = view.lock();
        let doing: Vec<(String, String)> = parts
            .doing
            .iter()
            .map(|(part, doing)| match doing {
                Doing::Words(words) => (part.to_string(), words.clone()),
                Doing::Bytes(flow) => (part.to_string(), flow.words()),
            })
            .collect();
        (std::mem::take(&mut parts.lines), doing, all(parts.doing.values()))
    };
    for line in lines {
        live.line(&line);
    }
    let all = match (flow, doing.len()) {
        (_, 0) => "the store is looked at".to_owned(),
        (Some(flow), 2..) => format!("all of it: {}", flow.words()),
        (Some(_), _) => "bytes arrive".to_owned(),
        (None, _) => "sources are asked".to_owned(),
    };
    live.show_parts(&all, &doing);
}

/// All that arrives as one.
fn all<'a>(parts: impl Iterator<Item = &'a Doing>) -> Option<Flow> {
    let flows = parts.filter_map(|doing| match doing {
        Doing::Bytes(flow) => Some(*flow),
        Doing::Words(_) => None,
    });
    flows.reduce(|one, other| Flow {
        done: one.done + other.done,
        total: one.total + other.total,
        first: one.first + other.first,
        since: one.since.min(other.since),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_counts_into_the_sum_and_not_into_the_speed() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let flow = Flow { done: 60 << 20, total: 100 << 20, first: 40 << 20, since: long_ago };
        let words = flow.words();
        assert!(words.starts_with("60 of 100 MB, ") && words.contains(" MB/s, "), "{words}");
        let speed: f64 = words.split(", ").nth(1).unwrap().trim_end_matches(" MB/s").parse().unwrap();
        assert!((1.5..=2.0).contains(&speed), "{words}");
        let begun = Flow { since: Instant::now(), ..flow };
        assert_eq!(begun.words(), "60 of 100 MB");
        let whole = Flow { done: 100 << 20, ..flow };
        assert_eq!(whole.words(), "100 MB are here; verified and put in order");
        let both = [Doing::Bytes(flow), Doing::Words("x".into()), Doing::Bytes(begun)];
        let sum = all(both.iter()).unwrap();
        assert_eq!((sum.done, sum.total, sum.since), (120 << 20, 200 << 20, long_ago));
    }

    #[test]
    fn a_part_that_begins_anew_is_measured_anew() {
        let view = View::default();
        let bytes = |done| view.step(&Step::Bytes { what: Part::Kafka, done, total: 100 });
        let first = || match &view.lock().doing[&Part::Kafka] {
            Doing::Bytes(flow) => flow.first,
            Doing::Words(words) => panic!("{words}"),
        };
        bytes(50);
        bytes(60);
        assert_eq!(first(), 50);
        bytes(10);
        assert_eq!(first(), 10);
    }
}
