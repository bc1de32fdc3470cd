//! What a roll that was cut short with its daemon had not come to: kept until each of those brokers has been started anew, whoever does it.

use super::operation::{Kind, Record};
use crate::{
    base::{Incarnation, Layout, NodeKind, NodeName, Timestamp},
    engine::Snapshot,
    sys::{error::SysError, fs, record},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `state/unrolled.json`: there while something is left. Keys are added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrolled {
    /// 1; a newer one says the same with more words.
    pub schema: u32,
    /// `roll`, `roll broker-1, broker-2`.
    pub operation: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// How far it was, in words.
    pub step: String,
    /// The brokers that it had not come to, each with the run that it should have ended. What runs in that number is what ran then: none is
    /// used twice.
    pub runs: BTreeMap<NodeName, Incarnation>,
}

impl Unrolled {
    /// What is left of a roll, in a daemon that has just taken over what runs; none: nothing, or it was no roll.
    ///
    /// That one was restarted shows in when it was started; one that is down was on its way.
    pub fn of(record: &Record, now: &Snapshot) -> Option<Self> {
        if record.kind != Kind::Roll.as_str() {
            return None;
        }
        let named: Vec<&str> = record.detail.split([',', ' ']).filter(|name| !name.is_empty()).collect();
        let of_it = now.nodes.iter().filter(|n| {
            matches!(n.kind, NodeKind::Broker(_)) && (named.is_empty() || named.contains(&n.name.as_str()))
        });
        let old = of_it.filter(|n| n.process.is_some() && n.started_at.is_some_and(|at| at < record.begun_at));
        let runs: BTreeMap<NodeName, Incarnation> = old.map(|n| (n.name.clone(), n.incarnation)).collect();
        let (operation, step) = (record.name(), record.step.clone());
        (!runs.is_empty()).then_some(Self { schema: 1, operation, begun_at: record.begun_at, step, runs })
    }

    /// With what is left of an earlier one that this one was not about.
    fn beside(mut self, earlier: Self) -> Self {
        self.runs.extend(earlier.runs);
        self
    }

    /// The brokers that still run as they did.
    pub fn rest(&self, now: &Snapshot) -> Vec<NodeName> {
        let same = |name: &NodeName, run: Incarnation| {
            now.nodes.iter().any(|n| n.name == *name && n.incarnation == run && n.process.is_some())
        };
        self.runs.iter().filter(|(name, run)| same(name, **run)).map(|(name, _)| name.clone()).collect()
    }

    fn only(mut self, rest: &[NodeName]) -> Option<Self> {
        self.runs.retain(|name, _| rest.contains(name));
        (!self.runs.is_empty()).then_some(self)
    }
}

/// What is left now: of the roll that was cut short just now, and of one before it.
fn left(new: Option<Unrolled>, earlier: Option<Unrolled>, now: &Snapshot) -> Option<Unrolled> {
    let earlier = earlier.and_then(|earlier| {
        let rest = earlier.rest(now);
        earlier.only(&rest)
    });
    match (new, earlier) {
        (Some(new), Some(earlier)) => Some(new.beside(earlier)),
        (new, earlier) => new.or(earlier),
    }
}

/// Works out what is left and keeps it for the next daemon; nothing left: nothing is kept. `new`: of a roll that was cut short. A record
/// that is torn is put aside: what it said is in the events.
pub fn take_up(layout: &Layout, new: Option<Unrolled>, now: &Snapshot) -> Result<Option<Unrolled>, SysError> {
    let path = layout.unrolled();
    let (earlier, _) = record::read::<Unrolled>(&path)?;
    let left = left(new, earlier.clone(), now);
    match &left {
        Some(left) if earlier.as_ref() == Some(left) => {}
        Some(left) => {
            // Texts and numbers always become JSON.
            let text = serde_json::to_string(left).unwrap_or_default();
            fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::ProcessCrash)?;
        }
        None => drop(fs::remove_optional(&path)?),
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::ids::ProcessId, engine::NodeSnapshot};
    use std::sync::Arc;

    fn roll(detail: &str) -> Record {
        let text = format!(r#"{{"kind":"roll","detail":"{detail}","begun_at":"1970-01-01T00:00:05.000Z","step":"s"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    /// Brokers with when each was started and in which run; none runs that was started at 0.
    fn now(brokers: &[(u32, i64, u64)]) -> Snapshot {
        let node = |(id, started, run): &(u32, i64, u64)| {
            let node = NodeSnapshot::sample(NodeName::broker(*id), NodeKind::Broker(*id), "ready", *run);
            let process = (*started > 0).then(|| ProcessId { pid: 7, start_ticks: 1, boot_id: "b".into() });
            Arc::new(NodeSnapshot { started_at: Some(Timestamp(*started)), process, ..node })
        };
        Snapshot { nodes: brokers.iter().map(node).collect(), ..Snapshot::default() }
    }

    fn names(rest: &[NodeName]) -> Vec<&str> {
        rest.iter().map(NodeName::as_str).collect()
    }

    #[test]
    fn what_a_roll_had_not_come_to_is_what_ran_before_it_and_still_does() {
        let then = now(&[(1, 1_000, 1), (2, 6_000, 2), (3, 2_000, 1), (4, 0, 5)]);
        let left = Unrolled::of(&roll(""), &then).unwrap();
        assert_eq!(names(&left.rest(&then)), ["broker-1", "broker-3"]);
        let named = Unrolled::of(&roll("broker-2, broker-3"), &then).unwrap();
        assert_eq!(names(&named.rest(&then)), ["broker-3"]);
        assert_eq!(Unrolled::of(&roll("broker-2"), &then), None, "it had come to every broker");
        let mut drill = roll("");
        drill.kind = "drill".into();
        assert_eq!(Unrolled::of(&drill, &then), None);
    }

    #[test]
    fn a_broker_that_was_started_anew_or_is_down_is_not_left_any_more_whoever_did_it() {
        let left = Unrolled::of(&roll(""), &now(&[(1, 1_000, 1), (2, 2_000, 1)])).unwrap();
        assert_eq!(names(&left.rest(&now(&[(1, 1_000, 1), (2, 9_000, 2)]))), ["broker-1"]);
        assert!(left.rest(&now(&[(1, 0, 1), (2, 9_000, 2)])).is_empty());
        // a clock that was set back changes nothing
        assert_eq!(names(&left.rest(&now(&[(1, 1_000, 1), (2, 1_500, 2)]))), ["broker-1"]);
        assert!(left.rest(&Snapshot::default()).is_empty());
    }

    #[test]
    fn what_is_left_is_kept_from_daemon_to_daemon_until_nothing_is_and_two_rolls_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let first = now(&[(1, 1_000, 1), (2, 2_000, 1), (3, 6_000, 2)]);
        let of = |detail: &str, now: &Snapshot| Unrolled::of(&roll(detail), now);
        let taken = |new, now: &Snapshot| take_up(&layout, new, now).unwrap().map(|left| left.rest(now));
        assert_eq!(taken(None, &first), None);
        assert_eq!(taken(of("", &first), &first).as_deref().map(names), Some(vec!["broker-1", "broker-2"]));
        assert!(layout.unrolled().exists());
        assert_eq!(taken(None, &first).as_deref().map(names), Some(vec!["broker-1", "broker-2"]));
        let second = now(&[(1, 1_000, 1), (2, 2_000, 1), (3, 2_500, 3)]);
        let both = taken(of("broker-3", &second), &second);
        assert_eq!(both.as_deref().map(names), Some(vec!["broker-1", "broker-2", "broker-3"]));
        assert_eq!(taken(None, &now(&[(1, 7_000, 2), (2, 0, 1), (3, 8_000, 4)])), None);
        assert!(!layout.unrolled().exists());
        std::fs::write(layout.unrolled(), "{\"schema\":1").unwrap();
        assert_eq!(taken(None, &first), None, "torn");
    }
}
