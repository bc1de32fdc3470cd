//! When a node and the brokers beside it were starting, away or not well, from the event log: a line that is harmless for a while is
//! measured from there.

use crate::{
    base::{EventKind, EventLine, Layout, NodeName, Timestamp},
    offline::events::{Choice, Events},
    sys::clock,
};
use std::{collections::BTreeMap, time::Duration};

/// What is in the event log is a moment older: a broker that hangs is missed by the others before a probe has failed.
const SLACK_MS: i64 = 5_000;

/// Pause between two looks at the event log.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The event log as far as it was read.
#[derive(Debug)]
pub struct Unrest {
    events: Events,
    looked: Option<crate::base::Moment>,
    /// The time of the oldest event; none: there are no events.
    since: Option<Timestamp>,
    nodes: BTreeMap<NodeName, Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// From when to when it did not serve as it should.
    spans: Vec<(Timestamp, Timestamp)>,
    /// It does not now.
    open: Option<Timestamp>,
}

impl Unrest {
    /// Of this root. Nothing is read before it is asked.
    pub fn of(layout: &Layout) -> Self {
        Self { events: Events::new(layout, Choice::default()), looked: None, since: None, nodes: BTreeMap::new() }
    }

    /// Whether `node`, or a broker, was on its way up or not well at `at`, or has been at most `within` before. What the event log
    /// does not reach back to counts as such.
    pub fn was_within(&mut self, node: &NodeName, at: Timestamp, within: Duration) -> bool {
        self.read();
        if self.since.is_none_or(|since| at < since) {
            return true;
        }
        let within = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        let counts = |name: &NodeName| name == node || name.as_str().starts_with("broker-");
        self.nodes.iter().filter(|(name, _)| counts(name)).any(|(_, times)| {
            let began = |from: &Timestamp| from.0.saturating_sub(SLACK_MS) <= at.0;
            times.open.as_ref().is_some_and(began)
                || times.spans.iter().any(|(from, to)| began(from) && at.0 <= to.0.saturating_add(within))
        })
    }

    fn read(&mut self) {
        let now = clock::now();
        if self.looked.is_some_and(|looked| now.since(looked) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let (since, nodes) = (&mut self.since, &mut self.nodes);
        // What cannot be read is not known, and lines stay folded.
        let _ = self.events.read(&mut |event| {
            since.get_or_insert(event.at);
            note(nodes, &event);
        });
    }
}

fn note(nodes: &mut BTreeMap<NodeName, Times>, event: &EventLine) {
    const AWAY: [EventKind; 8] = [
        EventKind::Waiting,
        EventKind::Preparing,
        EventKind::Started,
        EventKind::Degraded,
        EventKind::Stopping,
        EventKind::Killing,
        EventKind::Ended,
        EventKind::ShimLost,
    ];
    let Some(node) = &event.node else { return };
    let times = nodes.entry(node.clone()).or_default();
    if event.is(EventKind::Ready) || event.is(EventKind::Recovered) {
        if let Some(from) = times.open.take() {
            times.spans.push((from, event.at));
        }
    } else if AWAY.into_iter().any(|kind| event.is(kind)) {
        times.open.get_or_insert(event.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: i64 = 1_000;

    fn root(events: &[(i64, &str, EventKind)]) -> (tempfile::TempDir, Unrest) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let line = |(at, node, kind): &(i64, &str, EventKind)| {
            let event = EventLine { at: Timestamp(at * SECONDS), ..EventLine::new(*kind, "t") };
            serde_json::to_string(&event.node(&NodeName::new(*node).unwrap())).unwrap() + "\n"
        };
        std::fs::write(layout.events(), events.iter().map(line).collect::<String>()).unwrap();
        let unrest = Unrest::of(&layout);
        (dir, unrest)
    }

    #[test]
    fn a_while_is_measured_from_the_nodes_start_and_from_a_brokers_absence() {
        let (_dir, mut unrest) = root(&[
            (100, "broker-1", EventKind::Started),
            (102, "broker-1", EventKind::Ready),
            (200, "mysql", EventKind::Ended),
            (300, "broker-2", EventKind::Ended),
            (400, "broker-2", EventKind::Ready),
            (500, "broker-3", EventKind::Degraded),
            (510, "broker-3", EventKind::Recovered),
            (900, "broker-3", EventKind::Stopping),
        ]);
        let within = Duration::from_secs(30);
        for (at, known) in [
            (90, true), // the event log does not reach back there
            (101, true),
            (131, true),
            (133, false),
            (201, false), // mysql is nobody's peer
            (294, false),
            (296, true), // missed a moment before it was seen
            (399, true), // away all the time
            (429, true),
            (431, false),
            (539, true),
            (541, false),
            (5_000, true), // and it is away still
        ] {
            assert_eq!(unrest.was_within(&NodeName::broker(1), Timestamp(at * SECONDS), within), known, "{at}");
        }
        let (_dir, mut unrest) = root(&[]);
        assert!(unrest.was_within(&NodeName::broker(1), Timestamp(1), within), "nothing is known");
    }
}
