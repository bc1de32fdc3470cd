//! What a verb fails with: an exit code, one sentence, its causes, a hint. Printed once, at the edge.

use super::exit::Exit;
use crate::{
    control::{client::ClientError, wire::Answer},
    offline::config_file::ConfigFileError,
};
use anstyle::{AnsiColor, Style};
use std::{error::Error, fmt::Write as _, io};

/// A failed verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// What the program ends with.
    pub exit: Exit,
    /// What to print.
    pub text: Text,
}

/// What is printed of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Nothing: the reader of the output is gone, or everything was said.
    Silent,
    /// A text that brings its own `error:` (configuration errors are drawn with the file's lines).
    Drawn(String),
    /// Several at once.
    Several(Vec<Text>),
    /// One sentence, its causes, a hint.
    Sentence {
        /// The sentence.
        message: String,
        /// Causes, outermost first.
        causes: Vec<String>,
        /// What to do.
        hint: Option<String>,
    },
}

impl CliError {
    /// An error of one sentence.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, text: Text::Sentence { message: message.into(), causes: Vec::new(), hint: None } }
    }

    /// An error with its whole chain of sources.
    pub fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut chain = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push(cause.to_string());
            source = cause.source();
        }
        Self::new(exit, error.to_string()).causes(chain)
    }

    /// An error that draws itself.
    pub fn drawn(exit: Exit, text: String) -> Self {
        Self { exit, text: Text::Drawn(text) }
    }

    /// Several errors of one kind.
    pub fn several(exit: Exit, errors: Vec<CliError>) -> Self {
        Self { exit, text: Text::Several(errors.into_iter().map(|e| e.text).collect()) }
    }

    /// Ends with a code and says nothing more.
    pub fn silent(exit: Exit) -> Self {
        Self { exit, text: Text::Silent }
    }

    /// Adds causes.
    #[must_use]
    pub fn causes(mut self, more: impl IntoIterator<Item = String>) -> Self {
        if let Text::Sentence { causes, .. } = &mut self.text {
            causes.extend(more);
        }
        self
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Text::Sentence { hint, .. } = &mut self.text {
            *hint = Some(text.into());
        }
        self
    }

    /// The text for a terminal or a file; none when there is nothing to say.
    pub fn render(&self, colour: bool) -> Option<String> {
        self.text.render(colour)
    }
}

impl Text {
    fn render(&self, colour: bool) -> Option<String> {
        let paint = |style: Style, word: &str| {
            if colour { format!("{style}{word}{style:#}") } else { word.to_owned() }
        };
        match self {
            Text::Silent => None,
            Text::Drawn(text) => Some(text.trim_end().to_owned()),
            Text::Several(texts) => {
                let drawn: Vec<String> = texts.iter().filter_map(|text| text.render(colour)).collect();
                (!drawn.is_empty()).then(|| drawn.join("\n"))
            }
            Text::Sentence { message, causes, hint } => {
                let mut out = paint(AnsiColor::Red.on_default().bold(), "error:");
                // Writing into a String does not fail.
                let _ = write!(out, " {}", indent_rest(message));
                for cause in causes {
                    let _ = write!(out, "\n  {}", indent_rest(cause));
                }
                if let Some(hint) = hint {
                    let word = paint(AnsiColor::Cyan.on_default().bold(), "hint:");
                    let _ = write!(out, "\n{word} {}", indent_rest(hint));
                }
                Some(out)
            }
        }
    }
}

/// Keeps the further lines of a text visibly inside it.
fn indent_rest(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

impl From<ConfigFileError> for CliError {
    fn from(e: ConfigFileError) -> Self {
        let hint = e.hint();
        let error = match &e {
            ConfigFileError::Wrong(_) => CliError::drawn(Exit::Configuration, e.to_string()),
            ConfigFileError::Read { .. }
            | ConfigFileError::NoFile { .. }
            | ConfigFileError::TooLong { .. }
            | ConfigFileError::NotOwnedByRoot { .. }
            | ConfigFileError::WritableByOthers { .. }
            | ConfigFileError::NoRoot(_) => CliError::of(Exit::Configuration, &e),
        };
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<ClientError> for CliError {
    fn from(e: ClientError) -> Self {
        match e {
            ClientError::NoDaemon { .. } => CliError::of(Exit::NoDaemon, &e).hint("start one with `cdc-supervisor up`"),
            ClientError::NotAllowed { .. } => CliError::of(Exit::NoDaemon, &e)
                .hint("run this as the daemon's user, or join the group of the socket"),
            ClientError::WentAway => CliError::of(Exit::NoDaemon, &e)
                .hint("nodes run on without a daemon; `cdc-supervisor up` starts a new one, state/supervisor.log tells why it ended"),
            ClientError::Broken(_) | ClientError::TooLong | ClientError::NotUnderstood { .. } => {
                CliError::of(Exit::Unexpected, &e)
            }
        }
    }
}

/// A refusal as an error; none for an answer that is no refusal.
pub fn refusal(answer: &Answer) -> Option<CliError> {
    match answer {
        Answer::Refused { exit, message, causes, hint } => {
            let error = CliError::new(Exit::of_code(*exit), message.clone()).causes(causes.iter().cloned());
            Some(match hint {
                Some(hint) => error.hint(hint.clone()),
                None => error,
            })
        }
        Answer::Hello(_)
        | Answer::Status(_)
        | Answer::Verdict(_)
        | Answer::Outlook(_)
        | Answer::Drilled(_)
        | Answer::Topics(_)
        | Answer::Progress { .. }
        | Answer::Done { .. } => None,
    }
}

/// Files of a root could not be read: by a stranger, mostly.
pub fn of_reading(e: &dyn Error) -> CliError {
    let refused = e.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let error = CliError::of(Exit::Unexpected, e);
    if refused.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied) {
        error.hint("run this as the owner of the root or with sudo, or join the owner's group")
    } else {
        error
    }
}

/// An error of writing our own output: a reader that has had enough (`| head`) is no error.
pub fn of_output(e: &io::Error) -> CliError {
    if e.kind() == io::ErrorKind::BrokenPipe {
        CliError::silent(Exit::Done)
    } else {
        CliError::new(Exit::Unexpected, "cannot write the output").causes([e.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_its_causes_and_a_hint() {
        let error = CliError::new(
            Exit::Preflight,
            "port 9092 is taken by python3 (pid 4711, `python3 -m http.server 9092`, since 14:02, user kim)",
        )
        .causes(["broker-1 needs it for its EXTERNAL listener (supervisor.toml line 31)".to_owned()])
        .hint("stop that program, or set kafka.brokers.1.external_port");
        assert_eq!(
            error.render(false).unwrap(),
            "error: port 9092 is taken by python3 (pid 4711, `python3 -m http.server 9092`, since 14:02, user kim)\n  \
             broker-1 needs it for its EXTERNAL listener (supervisor.toml line 31)\n\
             hint: stop that program, or set kafka.brokers.1.external_port"
        );
        let coloured = error.render(true).unwrap();
        assert!(coloured.starts_with("\u{1b}[") && coloured.contains("error:"), "the word stays with the colour");
    }

    #[test]
    fn the_chain_of_sources_is_printed_once_outermost_first() {
        let e = crate::sys::error::SysError::new("write /r/x", io::Error::from_raw_os_error(28));
        let text = CliError::of(Exit::Unexpected, &e).render(false).unwrap();
        assert_eq!(text, "error: cannot write /r/x\n  No space left on device (os error 28)");
    }

    #[test]
    fn who_may_not_read_is_told_who_may() {
        let of = |kind: io::ErrorKind| of_reading(&crate::sys::error::SysError::new("read /r/x", kind));
        let text = of(io::ErrorKind::PermissionDenied).render(false).unwrap();
        assert!(text.contains("hint: run this as the owner of the root"), "{text}");
        assert!(!of(io::ErrorKind::InvalidData).render(false).unwrap().contains("hint"));
    }

    #[test]
    fn a_refusal_keeps_its_exit_code_and_words() {
        let answer = Answer::Refused { exit: 8, message: "m".into(), causes: vec!["c".into()], hint: Some("h".into()) };
        let error = refusal(&answer).unwrap();
        assert_eq!(error.exit, Exit::Refused);
        assert_eq!(error.render(false).unwrap(), "error: m\n  c\nhint: h");
        assert!(refusal(&Answer::Done { text: vec![] }).is_none());
    }

    #[test]
    fn no_daemon_is_seven_with_a_hint() {
        let source = io::Error::from_raw_os_error(2);
        let error = CliError::from(ClientError::NoDaemon { socket: "/r/run/control.sock".into(), source });
        assert_eq!(error.exit, Exit::NoDaemon);
        assert!(error.render(false).unwrap().contains("hint: start one with `cdc-supervisor up`"));
    }

    #[test]
    fn a_reader_that_has_had_enough_is_no_error() {
        assert_eq!(of_output(&io::ErrorKind::BrokenPipe.into()), CliError::silent(Exit::Done));
        assert_eq!(of_output(&io::ErrorKind::StorageFull.into()).exit, Exit::Unexpected);
    }
}
