//! What a roll that was cut short with its daemon had not come to: kept until each of those brokers has been started anew, whoever does
//! it, and whether the next daemon does. Pure but for the file.

use super::{
    gate::Terms,
    operation::{Kind, Record, ordered},
};
use crate::{
    base::{Incarnation, Layout, NodeKind, NodeName, OrderedBy, Timestamp},
    engine::{Snapshot, Wanted},
    sys::{error::SysError, failpoint::fail_point, fs, record},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// So many daemons may die in one roll until none goes on with it: one that dies over finishing it may have been killed by just that.
const DEATHS_MAX: u32 = 2;

/// What an order to roll said beside the brokers. On record with the operation (`Record::asked`), for the daemon that finishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// `--max-wait`.
    pub max_wait_s: u64,
    /// `--accept-unavailable`.
    pub accept_unavailable: bool,
    /// `--force`.
    pub force: bool,
    /// It finishes one that an earlier daemon was ordered.
    #[serde(default)]
    pub finishes: Option<Finishes>,
}

/// A roll that was cut short, in the words of the one that finishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finishes {
    /// `roll`, `roll broker-1, broker-2`.
    pub operation: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// Daemons that had died in it before.
    pub deaths: u32,
}

impl Default for Order {
    /// Of an older daemon's record, which does not say: what `roll` without options means.
    fn default() -> Self {
        Self { max_wait_s: 600, accept_unavailable: false, force: false, finishes: None }
    }
}

impl Order {
    /// What a person has ordered.
    pub fn of(max_wait: Duration, terms: Terms) -> Self {
        let Terms { accept_unavailable, force } = terms;
        Self { max_wait_s: max_wait.as_secs().max(1), accept_unavailable, force, finishes: None }
    }

    /// Longest wait for one thing.
    pub fn max_wait(&self) -> Duration {
        Duration::from_secs(self.max_wait_s)
    }

    /// What whoever ordered it has agreed to.
    pub fn terms(&self) -> Terms {
        Terms { accept_unavailable: self.accept_unavailable, force: self.force }
    }

    /// As the record has it.
    pub fn on_record(&self) -> Option<serde_json::Value> {
        // Numbers and texts always become JSON.
        serde_json::to_value(self).ok()
    }
}

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
    /// Who ordered it; none: not on record.
    #[serde(default)]
    pub by: Option<OrderedBy>,
    /// What was asked; none: an older daemon, which did not write it down.
    #[serde(default)]
    pub asked: Option<Order>,
    /// Daemons that have died in it.
    #[serde(default = "first_death")]
    pub deaths: u32,
    /// Why no daemon goes on with it, since one has left it; none: none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

fn first_death() -> u32 {
    1
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
        let asked = record.asked::<Order>();
        let Finishes { operation, begun_at, deaths } = asked
            .as_ref()
            .and_then(|order| order.finishes.clone())
            .unwrap_or_else(|| Finishes { operation: record.name(), begun_at: record.begun_at, deaths: 0 });
        let (by, step, deaths) = (record.by, record.step.clone(), deaths.saturating_add(1));
        let given_up = None;
        (!runs.is_empty()).then_some(Self { schema: 1, operation, begun_at, step, runs, by, asked, deaths, given_up })
    }

    /// With what is left of an earlier one that this one was not about. Daemons that died in that one died in this, and what was agreed to
    /// for this one's brokers was not for the other's.
    fn beside(mut self, earlier: Self) -> Self {
        self.deaths = self.deaths.max(earlier.deaths);
        if earlier.runs.keys().any(|node| !self.runs.contains_key(node)) {
            let (mut both, theirs) = (self.order(), earlier.order());
            both.accept_unavailable &= theirs.accept_unavailable;
            both.force &= theirs.force;
            self.asked = Some(both);
            // The later order was not about these.
            self.given_up = self.given_up.or(earlier.given_up);
        }
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

    /// Those of them that are to be restarted: one that somebody has ordered down meanwhile is not.
    pub fn due(&self, now: &Snapshot) -> Vec<NodeName> {
        let up = |name: &NodeName| now.nodes.iter().any(|n| n.name == *name && n.wanted == Wanted::Up);
        self.rest(now).into_iter().filter(up).collect()
    }

    /// Why no daemon goes on with it; none: the one that has found it does, and no later one.
    pub fn is_given_up(&self) -> Option<String> {
        let died = || format!("{} daemons have died in it, so no daemon goes on with it", self.deaths);
        self.given_up.clone().or_else(|| (self.deaths >= DEATHS_MAX).then(died))
    }

    /// What was ordered.
    pub fn order(&self) -> Order {
        self.asked.clone().unwrap_or_default()
    }

    /// The order that finishes it.
    pub fn finishing(&self) -> Order {
        let (operation, begun_at, deaths) = (self.operation.clone(), self.begun_at, self.deaths);
        Order { finishes: Some(Finishes { operation, begun_at, deaths }), ..self.order() }
    }

    /// `roll, begun at 2026-…, ordered by uid 0 (pid 11), which was cut short with its daemon`.
    pub fn words(&self) -> String {
        format!(
            "{}, begun at {}{}, which was cut short with its daemon",
            self.operation,
            self.begun_at,
            ordered(self.by)
        )
    }

    fn only(mut self, rest: &[NodeName]) -> Option<Self> {
        self.runs.retain(|name, _| rest.contains(name));
        (!self.runs.is_empty()).then_some(self)
    }
}

/// What of the nodes is not settled yet; none: each one serves, rests, or has failed. A broker that was asked to stop when its daemon died is on
/// its way until it is back, so that none is taken away beside it and none a second time.
pub fn unsettled(now: &Snapshot) -> Option<String> {
    now.nodes.iter().find_map(|n| match (&n.queued_stop, n.state) {
        (Some(queued), _) => Some(format!("{}: {queued}", n.name)),
        (None, "waiting" | "preparing" | "starting" | "stopping") => Some(format!("{} is {}", n.name, n.state)),
        (None, _) => None,
    })
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
            fail_point!("unrolled.kept");
        }
        None if earlier.is_some() => {
            fs::remove_optional(&path)?;
            fail_point!("unrolled.gone");
        }
        None => {}
    }
    Ok(left)
}

/// No daemon goes on with it from now on: the one after a crash or an upgrade would restart brokers unasked, by a consent of long ago.
pub fn give_up(layout: &Layout, left: &Unrolled, why: &str) {
    let left = Unrolled { given_up: Some(why.to_owned()), ..left.clone() };
    // Texts and numbers always become JSON.
    let text = serde_json::to_string(&left).unwrap_or_default();
    match fs::write_atomic(&layout.unrolled(), text.as_bytes(), 0o640, fs::Durability::ProcessCrash) {
        Ok(()) => {
            fail_point!("unrolled.given-up");
        }
        Err(e) => tracing::warn!(error = %e.source, "{e}"),
    }
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

    /// What its daemon leaves that had been given this order, or finished one with it.
    fn ordered_roll(detail: &str, order: &Order) -> Record {
        let by = OrderedBy { uid: 7, pid: Some(11) };
        Record { asked: order.on_record(), by: Some(by), begun_at: Timestamp(9_000), ..roll(detail) }
    }

    #[test]
    fn a_second_death_in_the_same_roll_is_the_last_and_the_words_stay_those_of_the_first_order() {
        let then = now(&[(1, 1_000, 1), (2, 2_000, 1)]);
        let asked = Order { max_wait_s: 7, accept_unavailable: true, ..Order::default() };
        let first = Unrolled::of(&ordered_roll("", &asked), &then).unwrap();
        assert_eq!((first.deaths, first.is_given_up(), first.order().max_wait()), (1, None, Duration::from_secs(7)));
        assert_eq!(
            first.words(),
            "roll, begun at 1970-01-01T00:00:09.000Z, ordered by uid 7 (pid 11), which was cut short with its daemon"
        );
        let again = ordered_roll("broker-1, broker-2", &first.finishing());
        let second = left(Unrolled::of(&again, &then), Some(first.clone()), &then).unwrap();
        assert_eq!((second.operation.as_str(), second.begun_at, second.deaths), ("roll", first.begun_at, 2));
        assert!(second.is_given_up().unwrap().starts_with("2 daemons have died in it"));
        assert!(second.order().terms().accept_unavailable && !second.order().terms().force);
        // whoever dies between the two files finds both of the same
        let same = left(Unrolled::of(&again, &then), Some(second.clone()), &then);
        assert_eq!(same.as_ref(), Some(&second));
        // a person's order begins anew, and the one before it is not forgotten over it
        let by_hand = Unrolled::of(&ordered_roll("broker-1", &Order::default()), &then).unwrap();
        assert_eq!((by_hand.deaths, by_hand.is_given_up()), (1, None));
        assert!(left(Some(by_hand), Some(second), &then).unwrap().is_given_up().is_some());
    }

    #[test]
    fn nobody_has_agreed_to_anything_for_brokers_of_another_order() {
        let then = now(&[(1, 1_000, 1), (2, 2_000, 1)]);
        let consent = Order { accept_unavailable: true, force: true, ..Order::default() };
        let of = |detail, order: &Order| Unrolled::of(&ordered_roll(detail, order), &then).unwrap();
        let both = of("broker-2", &consent).beside(of("broker-1", &Order::default()));
        assert_eq!((both.order().terms(), both.runs.len()), (Terms::default(), 2));
        let same = of("", &consent).beside(of("broker-1", &Order::default()));
        assert_eq!(same.order().terms(), consent.terms(), "the later order was about all of them");
    }

    #[test]
    fn what_one_daemon_has_left_no_later_one_takes_up_until_a_person_orders_it_anew() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let then = now(&[(1, 1_000, 1), (2, 2_000, 1)]);
        let of = |detail: &str| Unrolled::of(&ordered_roll(detail, &Order::default()), &then);
        let found = take_up(&layout, of(""), &then).unwrap().unwrap();
        assert_eq!(found.is_given_up(), None);
        give_up(&layout, &found, "it was tried once: why");
        for _ in 0..2 {
            let kept = take_up(&layout, None, &then).unwrap().unwrap();
            assert_eq!((kept.is_given_up().as_deref(), kept.deaths), (Some("it was tried once: why"), 1));
        }
        let other = left(of("broker-1"), take_up(&layout, None, &then).unwrap(), &then).unwrap();
        assert!(other.is_given_up().is_some(), "nobody has ordered broker-2 anew");
        assert_eq!(take_up(&layout, of(""), &then).unwrap().unwrap().is_given_up(), None);
    }

    #[test]
    fn an_older_daemons_record_means_a_roll_without_options_and_one_death() {
        let text =
            r#"{"schema":1,"operation":"roll","begun_at":"1970-01-01T00:00:05.000Z","step":"s","runs":{"broker-1":1}}"#;
        let old: Unrolled = serde_json::from_str(text).unwrap();
        assert_eq!((old.deaths, old.by, old.order()), (1, None, Order::default()));
        assert_eq!(old.order().max_wait(), Duration::from_secs(600));
        assert_eq!(Unrolled::of(&roll(""), &now(&[(1, 1_000, 1)])).unwrap().deaths, 1);
    }

    #[test]
    fn what_was_stopped_by_order_is_left_and_not_due_and_a_node_on_its_way_is_waited_for() {
        let mut then = now(&[(1, 1_000, 1), (2, 2_000, 1)]);
        let left = Unrolled::of(&roll(""), &then).unwrap();
        assert_eq!(names(&left.due(&then)), ["broker-1", "broker-2"]);
        assert_eq!(unsettled(&then), None);
        Arc::make_mut(&mut then.nodes[0]).wanted = Wanted::Down;
        assert_eq!((names(&left.rest(&then)).len(), names(&left.due(&then))), (2, vec!["broker-2"]));
        for (state, waits) in
            [("stopping", true), ("starting", true), ("waiting", true), ("failed", false), ("down", false)]
        {
            Arc::make_mut(&mut then.nodes[1]).state = state;
            assert_eq!(unsettled(&then), waits.then(|| format!("broker-2 is {state}")));
        }
        Arc::make_mut(&mut then.nodes[0]).queued_stop = Some("it is to stop when it has started".into());
        assert_eq!(unsettled(&then).unwrap(), "broker-1: it is to stop when it has started");
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
        taken(of("", &first), &first).unwrap();
        let whole = std::fs::read(layout.unrolled()).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(layout.unrolled(), &whole[..cut]).unwrap();
            assert_eq!(taken(None, &first), None, "torn at {cut}");
        }
        std::fs::write(layout.unrolled(), &whole).unwrap();
        assert_eq!(taken(None, &first).as_deref().map(names), Some(vec!["broker-1", "broker-2"]));
    }
    #[test]
    fn a_list_as_it_was_written_is_read_and_written_as_it_was() {
        let golden = include_str!("../../tests/golden/v1b/unrolled.json").trim_end();
        let left: Unrolled = serde_json::from_str(golden).unwrap();
        assert_eq!((left.deaths, left.runs[&NodeName::broker(1)]), (2, Incarnation(4)));
        assert!(left.given_up.is_some());
        assert_eq!(serde_json::to_string(&left).unwrap(), golden);
    }
}
