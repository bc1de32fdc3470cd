//! Shows what is waited for, once it has lasted a second: a moving line on a terminal, plain lines elsewhere.

use super::printer::Printer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
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
    said: Option<Instant>,
}

impl Live {
    /// A wait that begins now. `label` is the first column: `start`, `stop`.
    pub fn begin(printer: Printer, label: &'static str) -> Self {
        Self { printer, label, began: Instant::now(), bar: None, said: None }
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
            let label = self.label;
            self.bar.get_or_insert_with(|| bar(label)).set_message(text.to_owned());
        } else if self.said.is_none_or(|said| said.elapsed() >= REPEAT) {
            self.said = Some(Instant::now());
            self.printer.step(self.label, &format!("waiting: {text}"), None);
        }
    }

    /// A line of its own, above the moving one.
    pub fn line(&self, text: &str) {
        self.above(|| self.printer.step(self.label, text, None));
    }

    /// Prints something else above the moving line.
    pub fn above(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
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
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is a constant of ours: were it wrong, the default style is a bar all the same.
    if let Ok(style) = ProgressStyle::with_template("{prefix:9}{spinner} {wide_msg} {elapsed:>5}") {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
