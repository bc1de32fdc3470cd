//! The log translator: folds lines that look bad and are not, and says under a line that ends a node what it means. Knows no
//! product: whoever shows a log says how each entry reads.

/// How an entry reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing is known about it.
    Plain,
    /// It looks bad and is not.
    Harmless {
        /// Why, one clause.
        meaning: &'static str,
    },
    /// It says something that is not seen in the line, and ends nothing.
    Noted {
        /// What it means, one clause.
        meaning: &'static str,
        /// What to do about it, imperative.
        remedy: &'static str,
    },
    /// It explains an end, or why a node cannot go on.
    Fatal {
        /// What it means, one clause.
        meaning: &'static str,
        /// What to do about it, imperative.
        remedy: &'static str,
    },
}

/// What to do with an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Words of ours to show before it: what was folded until here.
    pub before: Option<String>,
    /// Whether it is shown itself.
    pub entry: Display,
    /// Words of ours to show behind it.
    pub after: Option<String>,
}

/// How an entry is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Display {
    /// As it is.
    #[default]
    Plain,
    /// As something to be passed over: its first line alone, with the reason.
    Aside,
    /// Not at all; it is counted.
    Folded,
}

/// Reads one node's log in its order.
///
/// Of a run of harmless entries that mean the same the first is shown with the reason, the rest is counted. What belongs to a
/// harmless line (its stack trace) goes with it. Words about a fatal line are said once until another one comes.
#[derive(Debug, Default)]
pub struct Translator {
    run: Option<Run>,
    told: Option<&'static str>,
}

#[derive(Debug)]
struct Run {
    meaning: &'static str,
    /// Entries and lines of them that were not shown.
    folded: u64,
}

impl Translator {
    /// The next entry, of `lines` lines; `belongs`: it goes on with the one before it.
    pub fn next(&mut self, reading: Reading, belongs: bool, lines: u64) -> Shown {
        if belongs && let Some(run) = &mut self.run {
            // A trace may name what is known in its own right; it is about its first line all the same, unless that is fatal.
            if !matches!(reading, Reading::Fatal { .. } | Reading::Noted { .. }) {
                run.folded += lines;
                return Shown { entry: Display::Folded, ..Shown::default() };
            }
        }
        match reading {
            Reading::Harmless { meaning } => {
                if let Some(run) = self.run.as_mut().filter(|run| run.meaning == meaning) {
                    run.folded += lines;
                    return Shown { entry: Display::Folded, ..Shown::default() };
                }
                let before = self.end();
                self.run = Some(Run { meaning, folded: lines.saturating_sub(1) });
                Shown { before, entry: Display::Aside, after: Some(format!("harmless: {meaning}")) }
            }
            Reading::Fatal { meaning, remedy } | Reading::Noted { meaning, remedy } => {
                let news = self.told.replace(meaning) != Some(meaning);
                let after = news.then(|| format!("{meaning}: {remedy}"));
                Shown { before: self.end(), entry: Display::Plain, after }
            }
            Reading::Plain => Shown { before: self.end(), ..Shown::default() },
        }
    }

    /// Ends a run: what was folded in it.
    pub fn end(&mut self) -> Option<String> {
        let folded = self.run.take()?.folded;
        let lines = if folded == 1 { "line" } else { "lines" };
        (folded > 0).then(|| format!("{folded} more {lines} of it folded; --raw shows all"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: Reading = Reading::Harmless { meaning: "noise" };
    const OTHER: Reading = Reading::Harmless { meaning: "other" };
    const FULL: Reading = Reading::Fatal { meaning: "the disk is full", remedy: "free space" };

    /// `-` plain, `~` aside, nothing folded; words in brackets.
    fn shown(entries: &[(Reading, bool)]) -> String {
        let mut translator = Translator::default();
        let mut out = String::new();
        for (reading, belongs) in entries {
            let shown = translator.next(*reading, *belongs, 1);
            for words in [&shown.before, &None, &shown.after].into_iter().enumerate() {
                match words {
                    (1, _) => out += ["-", "~", ""][shown.entry as usize],
                    (_, Some(words)) => out += &format!("[{words}]"),
                    (_, None) => {}
                }
            }
        }
        out + &translator.end().map(|words| format!("[{words}]")).unwrap_or_default()
    }

    #[test]
    fn a_run_of_one_meaning_is_shown_once_and_counted() {
        let seen = shown(&[(Reading::Plain, false), (NOISE, false), (NOISE, false), (NOISE, false)]);
        assert_eq!(seen, "-~[harmless: noise][2 more lines of it folded; --raw shows all]");
        let seen = shown(&[(NOISE, false), (Reading::Plain, false), (NOISE, false), (OTHER, false)]);
        assert_eq!(seen, "~[harmless: noise]-~[harmless: noise]~[harmless: other]");
    }

    #[test]
    fn a_trace_goes_with_its_harmless_line_and_a_plain_one_stays() {
        let seen = shown(&[(NOISE, false), (Reading::Plain, true), (OTHER, true), (Reading::Plain, false)]);
        assert_eq!(seen, "~[harmless: noise][2 more lines of it folded; --raw shows all]-");
        assert_eq!(shown(&[(Reading::Plain, false), (Reading::Plain, true)]), "--");
    }

    #[test]
    fn what_means_more_than_it_says_is_shown_with_that_once() {
        let noted = Reading::Noted { meaning: "evicted", remedy: "see status" };
        let seen = shown(&[(NOISE, false), (noted, false), (noted, false), (NOISE, false)]);
        assert_eq!(seen, "~[harmless: noise]-[evicted: see status]-~[harmless: noise]");
    }

    #[test]
    fn what_ends_a_node_is_never_folded_and_said_once() {
        let seen = shown(&[(NOISE, false), (FULL, true), (Reading::Plain, true), (FULL, false)]);
        assert_eq!(seen, "~[harmless: noise]-[the disk is full: free space]--");
    }
}
