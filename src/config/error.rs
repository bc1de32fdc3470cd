//! What is wrong with a configuration, drawn at the place where it is wrong.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::{fmt, ops::Range};

/// More drawn errors than this help nobody; the rest is counted.
const SHOWN_MAX: usize = 40;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key (`kafka.brokers.1.heap`); empty when it is about the text as a whole.
    pub key: String,
    /// Line from 1; none when the value does not come from the file (`--root`, a default).
    pub line: Option<usize>,
    /// Column from 1, in characters.
    pub column: Option<usize>,
    /// Bytes of the text that are meant.
    pub span: Option<Range<usize>>,
    /// One sentence: what is wrong, with the operands.
    pub message: String,
    /// A few words under the caret, mostly the allowed range.
    pub label: Option<String>,
    /// The other place that has to do with it, with a few words.
    pub other: Option<(Range<usize>, String)>,
    /// What to do, imperative.
    pub hint: Option<String>,
}

impl ConfigError {
    /// An error about `key` that has no place yet.
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            line: None,
            column: None,
            span: None,
            message: message.into(),
            label: None,
            other: None,
            hint: None,
        }
    }

    /// Marks the bytes that are meant.
    #[must_use]
    pub(super) fn at(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span;
        self
    }

    /// Adds words under the caret.
    #[must_use]
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks the other place.
    #[must_use]
    pub(super) fn other(mut self, span: Option<Range<usize>>, words: impl Into<String>) -> Self {
        self.other = span.map(|span| (span, words.into()));
        self
    }
}

/// Everything that is wrong with a configuration, never empty, in the order of the file.
///
/// `Display` draws each error with its own `error:` in front, the file's line, a caret and a hint; show it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file's name in messages.
    pub name: String,
    /// The errors.
    pub errors: Vec<ConfigError>,
    text: String,
}

impl ConfigErrors {
    /// Errors of `text`: sorted by place, lines and columns filled in.
    pub(super) fn new(name: &str, text: &str, mut errors: Vec<ConfigError>) -> Self {
        for error in &mut errors {
            let whole = |span: &Range<usize>| text.get(span.clone()).is_some();
            // A span that does not lie on characters of the text cannot be drawn; none comes from the parser.
            error.span = error.span.take().filter(whole);
            error.other = error.other.take().filter(|(span, _)| whole(span));
            if let Some(span) = &error.span {
                let before = &text[..span.start];
                let line_start = before.rfind('\n').map_or(0, |at| at + 1);
                error.line = Some(before.matches('\n').count() + 1);
                error.column = Some(before[line_start..].chars().count() + 1);
            }
        }
        // Stable: errors of one place stay in the order in which they were found; those without a place come last.
        errors.sort_by_key(|e| e.span.as_ref().map_or(usize::MAX, |s| s.start));
        Self { name: name.to_owned(), errors, text: text.to_owned() }
    }

    /// The file `name` is not UTF-8 text: byte `at` (from 0) is the first that does not fit.
    pub fn not_utf8(name: &str, at: usize) -> Self {
        let error = ConfigError::new("", format!("{name} is not UTF-8 text: byte {at} does not belong to a character"))
            .hint("save the file as UTF-8");
        Self::new(name, "", vec![error])
    }

    fn draw(&self, error: &ConfigError) -> String {
        let title = match error.key.as_str() {
            "" => error.message.clone(),
            key => format!("{key}: {}", error.message),
        };
        let Some(span) = &error.span else {
            // Nothing to draw: the value does not come from the text.
            return match &error.hint {
                Some(hint) => format!("error: {title}\nhint: {hint}"),
                None => format!("error: {title}"),
            };
        };
        let mut snippet = Snippet::source(self.text.as_str())
            .path(self.name.as_str())
            .annotation(AnnotationKind::Primary.span(span.clone()).label(error.label.clone()));
        if let Some((span, words)) = &error.other {
            snippet = snippet.annotation(AnnotationKind::Context.span(span.clone()).label(words.clone()));
        }
        let mut group = Level::ERROR.primary_title(title).element(snippet);
        if let Some(hint) = &error.hint {
            group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
        }
        Renderer::plain().render(&[group])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().take(SHOWN_MAX).enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&self.draw(error))?;
        }
        match self.errors.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n\nerror: {more} more errors in {}", self.name),
        }
    }
}

impl std::error::Error for ConfigErrors {}
