//! Which entries of a node's log are shown, and in which order those of several nodes: filters and the merge by time.

use crate::{
    base::Timestamp,
    offline::logs::{Entries, Entry, LogError},
};
use regex::bytes::Regex;
use std::collections::VecDeque;

/// What an entry must be to be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// One of its lines matches this.
    pub(super) pattern: Option<Regex>,
    /// It was written at this time or before.
    pub(super) until: Option<Timestamp>,
}

/// The entries of one node that are shown.
#[derive(Debug)]
pub(super) struct Selected {
    entries: Entries,
    filter: Filter,
    /// The last entry was shown: what belongs to it is shown, too.
    showing: bool,
    /// The last ones, when only those were asked for.
    last: VecDeque<Entry>,
}

impl Selected {
    /// All, or with `last` at most so many of the last ones that are there now.
    pub(super) fn new(entries: Entries, filter: Filter, last: Option<usize>) -> Result<Self, LogError> {
        let mut selected = Self { entries, filter, showing: false, last: VecDeque::new() };
        if let Some(last) = last {
            let mut kept = VecDeque::new();
            while let Some(entry) = selected.next(true)? {
                kept.push_back(entry);
                if kept.len() > last {
                    kept.pop_front();
                }
            }
            selected.last = kept;
        }
        Ok(selected)
    }

    /// The next one; `all`: see [`Entries::next`].
    pub(super) fn next(&mut self, all: bool) -> Result<Option<Entry>, LogError> {
        if let Some(entry) = self.last.pop_front() {
            return Ok(Some(entry));
        }
        while let Some(entry) = self.entries.next(all)? {
            if self.filter.until.is_some_and(|until| entry.time > until) {
                self.showing = false;
                continue;
            }
            let found = match &self.filter.pattern {
                None => true,
                Some(pattern) => entry.lines.iter().any(|line| line.ours || pattern.is_match(&line.text)),
            };
            self.showing = found || (entry.continues && self.showing);
            if self.showing {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Something is there that may still go on.
    pub(super) fn holds_back(&self) -> bool {
        self.entries.holds_back()
    }
}

/// Hands out all there is, of several nodes by time. Of one node the order is that of its log, whatever its clock did; at
/// one time the nodes stand in their own order.
pub(super) fn merge(
    nodes: &mut [Selected],
    all: bool,
    show: &mut dyn FnMut(usize, &Entry) -> Result<(), LogError>,
) -> Result<bool, LogError> {
    let mut heads = Vec::with_capacity(nodes.len());
    for node in nodes.iter_mut() {
        heads.push(node.next(all)?);
    }
    let mut any = false;
    loop {
        let first = heads.iter().enumerate().filter_map(|(at, head)| Some((head.as_ref()?.time, at))).min();
        let Some((_, at)) = first else { return Ok(any) };
        if let Some(entry) = heads[at].take() {
            show(at, &entry)?;
            any = true;
        }
        heads[at] = nodes[at].next(all)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offline::logs::{Start, follower_of};
    use std::path::Path;

    fn log(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let log = dir.join(name);
        std::fs::create_dir(&log).unwrap();
        std::fs::write(log.join("current"), text).unwrap();
        log
    }

    fn selected(log: &Path, pattern: Option<&str>, last: Option<usize>) -> Selected {
        let follower = follower_of(log, Start { last: None, since: None });
        let pattern = pattern.map(|p| Regex::new(p).unwrap());
        Selected::new(Entries::new(follower, pattern.is_some()), Filter { pattern, until: None }, last).unwrap()
    }

    fn merged(nodes: &mut [Selected]) -> Vec<String> {
        let mut lines = Vec::new();
        merge(nodes, true, &mut |at, entry| {
            lines.extend(entry.lines.iter().map(|l| format!("{at}:{}", String::from_utf8_lossy(&l.text))));
            Ok(())
        })
        .unwrap();
        lines
    }

    #[test]
    fn several_logs_are_merged_by_time_and_traces_stay_with_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let a =
            log(dir.path(), "a", "2025-11-23T03:07:01Z 1\n\tat 1\n2025-11-23T03:07:04Z 4\n2025-11-23T03:07:03Z back\n");
        let b = log(
            dir.path(),
            "b",
            "2025-11-23T03:07:01Z 1\n[2025-11-23T03:07:02.000+0000] 2\n\tat 2\n2025-11-23T03:07:05Z 5\n",
        );
        let seen = merged(&mut [selected(&a, None, None), selected(&b, None, None)]);
        let short: Vec<&str> = seen.iter().map(|l| l.as_str()).collect();
        let words = ["0:1", "0:at 1", "1:1", "1:2", "1:at 2", "0:4", "0:back", "1:5"];
        assert_eq!(short.len(), words.len(), "{short:?}");
        for (line, word) in short.iter().zip(words) {
            let (node, end) = word.split_once(':').unwrap();
            assert!(line.starts_with(node) && line.ends_with(end), "{line} is not {word}");
        }
    }

    #[test]
    fn a_pattern_shows_whole_traces_and_the_number_counts_what_matches() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..5)
            .map(|n| format!("2025-11-23T03:07:0{n}Z ERROR {n}\n\tat {n}\n2025-11-23T03:07:0{n}Z INFO {n}\n"))
            .collect();
        let a = log(dir.path(), "a", &text);
        let seen = merged(&mut [selected(&a, Some("ERROR|nothing"), Some(2))]);
        assert_eq!(seen.iter().map(|l| &l[l.len() - 2..]).collect::<Vec<_>>(), [" 3", " 3", " 4", " 4"]);
        assert_eq!(merged(&mut [selected(&a, Some("at 2"), None)]).len(), 2, "found in the trace, shown with its line");
        assert!(merged(&mut [selected(&a, Some("^at"), None)]).is_empty());
    }
}
