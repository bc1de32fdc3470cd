//! The one door to the terminal: data to standard output, everything else to standard error.

use super::error::{CliError, of_output};
use crate::base::units::human_duration;
use anstyle::{AnsiColor, Style};
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Width of the label column of a step line.
const LABEL: usize = 9;

/// Width of the text of a step line, so that the times of several steps stand below each other.
const STEP: usize = 71;

/// Where output goes and whether it is looked at by a person.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    /// Standard output is a terminal.
    pub out_is_terminal: bool,
    /// Standard error is a terminal.
    pub err_is_terminal: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Printer {
    /// Looks at the standard streams. Colour obeys `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` (anstream).
    pub fn detect() -> Self {
        let colours = |choice| choice != anstream::ColorChoice::Never;
        Self {
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            colour_out: colours(anstream::AutoStream::choice(&io::stdout())),
            colour_err: colours(anstream::AutoStream::choice(&io::stderr())),
        }
    }

    /// How data may be painted.
    pub fn paint(&self) -> Paint {
        Paint { on: self.colour_out }
    }

    /// Data: to standard output, with a line end.
    pub fn data(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(|e| of_output(&e))
    }

    /// Words for a person: to standard error. A standard error that is gone hinders nothing.
    pub fn say(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A step that is done, or a line of it: `fetch    kafka 3.5.2 (52 jars, 38 MB)     14.2 s`.
    pub fn step(&self, label: &str, text: &str, took: Option<Duration>) {
        self.say(&step_line(Paint { on: self.colour_err }, label, text, took));
    }

    /// Something the user should know, of which nothing fails.
    pub fn warn(&self, text: &str) {
        let paint = Paint { on: self.colour_err };
        self.say(&format!(
            "{} {}",
            paint.with(AnsiColor::Yellow.on_default().bold(), "warning:"),
            text.replace('\n', "\n  ")
        ));
    }

    /// The error a verb ends with.
    pub fn error(&self, error: &CliError) {
        if let Some(text) = error.render(self.colour_err) {
            self.say(&text);
        }
    }
}

/// The line of a step.
pub fn step_line(paint: Paint, label: &str, text: &str, took: Option<Duration>) -> String {
    let label = paint.with(Style::new().bold(), &format!("{label:<LABEL$}"));
    match took {
        Some(took) => format!("{label}{text:<STEP$} {:>6}", human_duration(took)),
        None => format!("{label}{text}"),
    }
}

/// Colours text or leaves it alone. Words always stay: colour carries no meaning of its own.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    /// Whether it paints.
    pub on: bool,
}

impl Paint {
    /// `text` in `style`.
    pub fn with(self, style: Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The word of a node's state in its colour.
    pub fn state(self, word: &str, padded: &str) -> String {
        let colour = match word {
            "ready" => AnsiColor::Green,
            "failed" => AnsiColor::Red,
            "down" => return padded.to_owned(),
            _ => AnsiColor::Yellow,
        };
        self.with(colour.on_default(), padded)
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_below_each_other() {
        let plain = Paint { on: false };
        let fetch = step_line(
            plain,
            "fetch",
            "kafka 3.5.2 (52 jars, 38 MB), mysql 8.0.46, java 17",
            Some(Duration::from_millis(14_200)),
        );
        let prepare =
            step_line(plain, "prepare", "mysql data directory, class-data archives", Some(Duration::from_secs(6)));
        assert_eq!(fetch, "fetch    kafka 3.5.2 (52 jars, 38 MB), mysql 8.0.46, java 17                     14.2 s");
        assert_eq!(fetch.len(), prepare.len());
        assert!(prepare.ends_with("  6.0 s"));
    }
}
