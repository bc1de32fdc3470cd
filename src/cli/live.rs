//! Shows what is waited for, once it has lasted a second: a moving line on a terminal, plain lines elsewhere.

use super::printer::Printer;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// A wait shorter than this is not worth a line.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// How often, where there is no terminal, a wait that goes on says so again.
const REPEAT: Duration = Duration::from_secs(15);

/// The line of one wait. Dropped, the moving line is gone from the terminal.
#[derive(Debug)]
pub struct Live {
    printer: Printer,
    label: &'static str,
    began: Instant,
    bar: Option<ProgressBar>,
    /// Lines below the first one, by what they are about.
    below: Vec<(String, ProgressBar)>,
    all: MultiProgress,
    said: Option<Instant>,
}

impl Live {
    /// A wait that begins now. `label` is the first column: `start`, `stop`.
    pub fn begin(printer: Printer, label: &'static str) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { printer, label, began: Instant::now(), bar: None, below: Vec::new(), all, said: None }
    }

    /// How long it has lasted.
    pub fn lasted(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is waited for now. Call it again and again: the first words appear after a second.
    pub fn show(&mut self, text: &str) {
        if self.lasted() < SHOW_AFTER {
            return;
        }
        if self.printer.err_is_terminal {
            let (label, all) = (self.label, &self.all);
            self.bar.get_or_insert_with(|| bar(label, all)).set_message(text.to_owned());
        } else if self.said.is_none_or(|said| said.elapsed() >= REPEAT) {
            self.said = Some(Instant::now());
            self.printer.step(self.label, &format!("waiting: {text}"), None);
        }
    }

    /// What is waited for now, and a line for each thing that goes on side by side. Without a terminal all of it is one line.
    pub fn show_parts(&mut self, text: &str, parts: &[(String, String)]) {
        if !self.printer.err_is_terminal {
            let words: Vec<String> = parts.iter().map(|(name, words)| format!("{name}: {words}")).collect();
            let words = words.join("; ");
            self.show(if words.is_empty() { text } else { &words });
            return;
        }
        self.show(text);
        if self.bar.is_none() {
            return;
        }
        self.below.retain(|(name, bar)| {
            let goes_on = parts.iter().any(|(part, _)| part == name);
            if !goes_on {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            goes_on
        });
        for (name, words) in parts {
            let at = self.below.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                self.below.push((name.clone(), line(&self.all)));
                self.below.len() - 1
            });
            self.below[at].1.set_message(format!("{name:6} {words}"));
        }
    }

    /// A line of its own, above the moving one.
    pub fn line(&self, text: &str) {
        self.above(|| self.printer.step(self.label, text, None));
    }

    /// Prints something else above the moving line.
    pub fn above(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(_) => self.all.suspend(print),
            None => print(),
        }
    }

    /// Takes the moving line away and puts the step's own in its place.
    pub fn done(self, text: &str) {
        let took = self.lasted();
        let (printer, label) = (self.printer, self.label);
        drop(self);
        printer.step(label, text, Some(took));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for bar in self.below.iter().map(|(_, bar)| bar).chain(&self.bar) {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &str, all: &MultiProgress) -> ProgressBar {
    let bar = all.add(ProgressBar::no_length());
    // The template is a constant of ours: were it wrong, the default style is a bar all the same.
    if let Ok(style) = ProgressStyle::with_template("{prefix:9}{spinner} {wide_msg} {elapsed:>5}") {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A line below the first one.
fn line(all: &MultiProgress) -> ProgressBar {
    let bar = all.add(ProgressBar::no_length());
    if let Ok(style) = ProgressStyle::with_template("           {wide_msg}") {
        bar.set_style(style);
    }
    bar
}
