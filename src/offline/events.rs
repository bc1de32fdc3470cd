//! The event log of a root, for the verb `events`: read, chosen from, and folded for people.

use crate::{
    base::{EventLine, Layout, NodeName, Timestamp},
    logs::jsonl::LineReader,
    sys::error::SysError,
};
use jiff::tz::TimeZone;

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only what is as new as this.
    pub since: Option<Timestamp>,
    /// Only of these nodes; empty: all, and what is about no node.
    pub nodes: Vec<NodeName>,
}

impl Choice {
    fn wants(&self, event: &EventLine) -> bool {
        let of_node = || event.node.as_ref().is_some_and(|n| self.nodes.contains(n));
        self.since.is_none_or(|since| event.at >= since) && (self.nodes.is_empty() || of_node())
    }
}

/// Reads the event log on and on.
#[derive(Debug)]
pub struct Events {
    reader: LineReader,
    choice: Choice,
    unreadable: u64,
}

impl Events {
    /// From the oldest event there is.
    pub fn new(layout: &Layout, choice: Choice) -> Self {
        Self { reader: LineReader::new(&layout.events()), choice, unreadable: 0 }
    }

    /// What was written since the last call, and is wanted.
    pub fn read(&mut self, sink: &mut dyn FnMut(EventLine)) -> Result<(), SysError> {
        let (choice, unreadable) = (&self.choice, &mut self.unreadable);
        self.reader.read(&mut |line| match serde_json::from_slice::<EventLine>(line) {
            Ok(event) if choice.wants(&event) => sink(event),
            Ok(_) => {}
            // Cut short by a crash or a full disk.
            Err(_) => *unreadable += 1,
        })
    }

    /// How many lines were no events: cut short by a crash or a full disk.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// How often files were removed (the log's bound) before they were read.
    pub fn gaps(&self) -> u64 {
        self.reader.gaps()
    }
}

/// Events for people: as they are, or a row of them that repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folded {
    /// One event.
    One(EventLine),
    /// The last so many events come again so many times.
    Again {
        /// How many events repeat.
        length: usize,
        /// How many more times.
        times: usize,
        /// When the last of them was.
        until: Timestamp,
    },
}

/// Longest row of events that is looked for as a repetition: what one death in a crash loop makes, and some.
const ROW_MAX: usize = 8;

/// Folds what repeats. Two events are the same when only numbers in their texts differ (pids, times, counts).
pub fn fold(events: &[EventLine]) -> Vec<Folded> {
    let keys: Vec<_> = events.iter().map(|e| (e.node.clone(), e.kind.clone(), without_numbers(&e.text))).collect();
    let mut folded = Vec::new();
    let mut at = 0;
    while at < events.len() {
        // The row that covers most is taken, the shortest of equals; a row of several must come three times to be one.
        let repeats = |length: usize| {
            let row = &keys[at..(at + length).min(keys.len())];
            keys[at..].chunks_exact(length).take_while(|chunk| *chunk == row).count()
        };
        let best = (1..=ROW_MAX)
            .map(|length| (length, repeats(length)))
            .filter(|(length, times)| *times >= if *length == 1 { 2 } else { 3 })
            .max_by_key(|(length, times)| (length * times, std::cmp::Reverse(*length)));
        let (length, times) = best.unwrap_or((1, 1));
        folded.extend(events[at..at + length].iter().cloned().map(Folded::One));
        at += length * times;
        if times > 1 {
            folded.push(Folded::Again { length, times: times - 1, until: events[at - 1].at });
        }
    }
    folded
}

/// `2026-11-25 14:02:11.042`, in the time zone of this machine.
pub fn local(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventKind;
    use std::fs;

    fn event(second: i64, node: &str, kind: EventKind, text: &str) -> EventLine {
        let mut event = EventLine::new(kind, text).node(&NodeName::new(node).unwrap());
        event.at = Timestamp(second * 1_000);
        event
    }

    fn shape(events: &[EventLine]) -> Vec<String> {
        fold(events)
            .into_iter()
            .map(|f| match f {
                Folded::One(e) => e.text,
                Folded::Again { length, times, until } => format!("{length} x{times} until {}", until.0 / 1_000),
            })
            .collect()
    }

    #[test]
    fn a_crash_loop_is_folded_and_what_happens_once_is_not() {
        let mut events = vec![event(0, "a", EventKind::Ready, "ready")];
        for n in 1..=20 {
            events.push(event(n, "a", EventKind::Ended, &format!("crashed after {n}.3 s")));
            events.push(event(n, "a", EventKind::RestartScheduled, &format!("pause of {n} s")));
            events.push(event(n, "a", EventKind::Started, &format!("pid {n}")));
        }
        events.push(event(30, "a", EventKind::Ready, "ready"));
        let shape = shape(&events);
        assert_eq!(
            shape,
            ["ready", "crashed after 1.3 s", "pause of 1 s", "pid 1", "3 x19 until 20", "ready"],
            "one row, and how often it came again"
        );
    }

    #[test]
    fn events_of_two_nodes_are_two_things() {
        let events = vec![event(0, "a", EventKind::Ready, "x"), event(1, "b", EventKind::Ready, "x")];
        assert_eq!(shape(&events), ["x", "x"]);
        let events: Vec<EventLine> = (0..5).map(|n| event(n, "a", EventKind::Degraded, "x")).collect();
        assert_eq!(shape(&events), ["x", "1 x4 until 4"]);
    }

    #[test]
    fn torn_lines_are_counted_and_the_others_are_chosen_by_node_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.state()).unwrap();
        let mut text = String::new();
        for (second, node) in [(1, "a"), (2, "b"), (3, "a")] {
            text += &serde_json::to_string(&event(second, node, EventKind::Ready, "x")).unwrap();
            text += "\n{\"at\":\"2026-01\n";
        }
        fs::write(layout.events(), text).unwrap();
        let read = |choice: Choice| {
            let mut events = Events::new(&layout, choice);
            let mut times = Vec::new();
            events.read(&mut |e| times.push(e.at.0 / 1_000)).unwrap();
            assert_eq!(events.unreadable(), 3);
            times
        };
        assert_eq!(read(Choice::default()), [1, 2, 3]);
        let a = vec![NodeName::new("a").unwrap()];
        assert_eq!(read(Choice { nodes: a.clone(), since: None }), [1, 3]);
        assert_eq!(read(Choice { nodes: a, since: Some(Timestamp(1_500)) }), [3]);
    }
}
