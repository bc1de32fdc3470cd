//! Which deaths are put on record, under which number, and what became of them: the dispatcher's side. Writing is the
//! journal's thread's.

pub(super) mod keeper;
pub(super) mod story;

use super::{
    journal::Journal,
    last_words::LastWords,
    snapshot::{NodeSnapshot, Snapshot, ran_ms},
    words::End,
};
use crate::{
    base::{
        Cause, EventKind, EventLine, ExitRecord, ExitStatus, Incarnation, Layout, NodeName, Timestamp,
        incident::{Incident, Outcome},
        outcome::Failure,
        recipe::Recipe,
        units::human_duration,
    },
    lifecycle::Wanted,
    logs::incident_files,
};
use keeper::Change;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use story::Draft;

/// What is known of an end when it is seen; kept by the node until the machine has decided what follows.
#[derive(Clone, Debug)]
pub(super) struct Obituary {
    /// Which start.
    pub(super) incarnation: Incarnation,
    /// How it ended; none: it never ran.
    pub(super) record: Option<ExitRecord>,
    /// Why.
    pub(super) cause: Cause,
    /// When.
    pub(super) at: Timestamp,
    /// What no restart cures.
    pub(super) failure: Option<Failure>,
    /// What kept it from being launched.
    pub(super) trouble: Option<String>,
    /// What that run wrote last.
    pub(super) words: LastWords,
    /// What its garbage collector did last in that run, where memory may have been what it died of.
    pub(super) collections: Vec<String>,
    /// Whether it was ready in that run; none: nobody knows.
    pub(super) ready: Option<bool>,
    /// Anonymous and file-backed memory when it was last looked at.
    pub(super) memory: Option<MemorySeen>,
    /// It ended while no daemon ran.
    pub(super) while_no_daemon: bool,
    /// It ran in an earlier boot of this machine.
    pub(super) rebooted: bool,
    /// Only for the record: what follows was decided before this daemon.
    pub(super) old: bool,
}

impl Obituary {
    /// An end of which nothing else is known.
    pub(super) fn new(incarnation: Incarnation, cause: Cause, at: Timestamp) -> Self {
        Self {
            incarnation,
            record: None,
            cause,
            at,
            failure: None,
            trouble: None,
            words: LastWords::default(),
            collections: Vec::new(),
            ready: None,
            memory: None,
            while_no_daemon: false,
            rebooted: false,
            old: false,
        }
    }
}

/// Memory of a run as it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemorySeen {
    /// When.
    pub(super) at: Timestamp,
    /// Anonymous bytes.
    pub(super) anon: Option<u64>,
    /// File-backed bytes.
    pub(super) file: Option<u64>,
    /// What the kernel keeps for it, bytes.
    pub(super) kernel: Option<u64>,
}

/// The numbers that are taken, and the incidents that are not over.
#[derive(Debug)]
pub(super) struct Incidents {
    next: u64,
    /// The newest start of each node that is on record.
    newest: BTreeMap<NodeName, Incarnation>,
    open: BTreeMap<NodeName, Open>,
    refused: BTreeMap<NodeName, Refused>,
    owed: Owed,
}

/// What became of incidents and found the journal's queue full.
#[derive(Debug, Default)]
struct Owed(VecDeque<Change>);

/// As many are kept: one that is open and one more of each of 200 nodes.
const OWED: usize = 400;

impl Owed {
    /// Has a change written, behind those that wait. A new incident is not waited with: the next daemon finds it again, from its exit record.
    fn write(&mut self, change: Change, journal: &Journal) {
        self.again(journal);
        let change = if self.0.is_empty() { journal.change(change) } else { Err(Box::new(change)) };
        let Err(change) = change else { return };
        match *change {
            Change::New(_) => journal.drop_change(),
            Change::Outcome { .. } | Change::Did { .. } | Change::Again { .. } => self.0.push_back(*change),
        }
        if self.0.len() > OWED {
            self.0.pop_front();
            journal.drop_change();
        }
    }

    /// Offers what waits again.
    fn again(&mut self, journal: &Journal) {
        while let Some(change) = self.0.pop_front() {
            if let Err(change) = journal.change(change) {
                return self.0.push_front(*change);
            }
        }
    }
}

/// An incident whose node is not back.
#[derive(Clone, Debug)]
struct Open {
    id: u64,
    incarnation: Incarnation,
    at: Timestamp,
    /// When a process ran again.
    back: Option<Timestamp>,
    failed: bool,
    /// That its restart waits for its old session is on record.
    waited: bool,
}

/// The newest incident of a node, while that is a refused start and not over: the same again is no new one.
#[derive(Clone, Debug)]
struct Refused {
    id: u64,
    cause: String,
    what: Option<String>,
}

impl Incidents {
    /// Reads what is on record. Blocks for a directory and one file per node.
    pub(super) fn open(layout: &Layout) -> Self {
        let dir = layout.incidents();
        incident_files::sweep(&dir);
        let mut all = Self {
            next: 1,
            newest: BTreeMap::new(),
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            owed: Owed::default(),
        };
        let entries = match incident_files::list(&dir) {
            Ok(entries) => entries,
            Err(e) => {
                tracing::error!(error = %e.source, "{e}; incidents are numbered from 1");
                return all;
            }
        };
        let mut last = BTreeMap::new();
        for entry in entries {
            all.next = all.next.max(entry.id + 1);
            if let Some(incarnation) = entry.incarnation {
                let newest = all.newest.entry(entry.node.clone()).or_default();
                *newest = incarnation.max(*newest);
            }
            last.insert(entry.node.clone(), entry);
        }
        for (node, entry) in last {
            match incident_files::read(&entry.path) {
                Ok(incident) => all.reopen(node, &incident),
                Err(why) => tracing::warn!(node = %node, "{why}"),
            }
        }
        all
    }

    fn reopen(&mut self, node: NodeName, incident: &Incident) {
        if incident.incarnation.is_none() && incident.outcome.is_open() {
            let refused = Refused { id: incident.id, cause: incident.cause.clone(), what: incident.what.clone() };
            self.refused.insert(node.clone(), refused);
        }
        if incident.outcome.is_open() {
            let open = Open {
                id: incident.id,
                incarnation: Incarnation(incident.incarnation.unwrap_or_default()),
                at: incident.at,
                back: incident
                    .outcome
                    .back_after_ms
                    .map(|ms| Timestamp(incident.at.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))),
                failed: incident.outcome.state == "failed",
                waited: false,
            };
            self.open.insert(node, open);
        }
    }

    /// The newest start of a node that is on record.
    pub(super) fn newest(&self, node: &NodeName) -> Incarnation {
        self.newest.get(node).copied().unwrap_or_default()
    }

    /// After a turn: puts deaths and refusals on record, and tells what became of those that were open.
    pub(super) fn turn(
        &mut self,
        old: &Snapshot,
        new: &Snapshot,
        mut ended: BTreeMap<NodeName, Vec<Obituary>>,
        recipes: impl Fn(&NodeName) -> Option<Arc<Recipe>>,
        now: Timestamp,
        journal: &Journal,
    ) {
        self.owed.again(journal);
        for (nth, node) in new.nodes.iter().enumerate() {
            let same = |o: &&Arc<NodeSnapshot>| o.name == node.name;
            let before = old.nodes.get(nth).filter(same).or_else(|| old.nodes.iter().find(same));
            let obituaries = ended.remove(&node.name).unwrap_or_default();
            let died = !obituaries.is_empty();
            for obituary in obituaries {
                if let Some(recipe) = recipes(&node.name) {
                    self.death(node, &recipe, obituary, now, journal);
                }
            }
            // A node that is failed from the first look on was so under the last daemon.
            let refused = node.state == "failed" && before.is_some_and(|b| b.state != "failed") && !died;
            if refused && let (Some(recipe), Some(failure)) = (recipes(&node.name), node.failure.clone()) {
                self.refusal(node, &recipe, failure, now, journal);
            }
            self.follow_up(node, now, journal);
        }
    }

    fn death(&mut self, node: &NodeSnapshot, recipe: &Recipe, obituary: Obituary, now: Timestamp, journal: &Journal) {
        if obituary.incarnation <= self.newest(&node.name) || !counts(obituary.cause, node, obituary.old) {
            return;
        }
        let id = self.take_number();
        self.newest.insert(node.name.clone(), obituary.incarnation);
        self.refused.remove(&node.name);
        if let Some(earlier) = self.open.remove(&node.name) {
            self.died_again(&node.name, &earlier, id, now, journal);
        }
        let end = End {
            cause: obituary.cause,
            status: obituary.record.as_ref().map_or(ExitStatus::Unknown, |r| r.status),
            ran_ms: obituary.record.as_ref().and_then(ran_ms),
            oom_kills: obituary.record.as_ref().and_then(|r| r.oom_kills),
            oom_by: obituary.record.as_ref().and_then(|r| r.oom_by),
        };
        let event = EventLine::new(EventKind::Incident, format!("#{id}: {}", end.clause()));
        journal.note(event.node(&node.name).incarnation(obituary.incarnation).cause(obituary.cause).incident(id));
        let open =
            Open { id, incarnation: obituary.incarnation, at: obituary.at, back: None, failed: false, waited: false };
        let did = if obituary.old { "what followed was decided by an earlier daemon".into() } else { story::did(node) };
        let draft = Draft::of_death(id, node, recipe, end, obituary, did, now);
        self.owed.write(Change::New(Box::new(draft)), journal);
        self.open.insert(node.name.clone(), open);
    }

    fn refusal(&mut self, node: &NodeSnapshot, recipe: &Recipe, failure: Failure, now: Timestamp, journal: &Journal) {
        let again = self.refused.get(&node.name).filter(|r| {
            r.cause == failure.cause.as_str() && r.what.as_deref() == Some(story::clean(&failure.what).as_str())
        });
        if let Some(again) = again {
            let again = Change::Again { id: again.id, node: node.name.clone(), at: now };
            self.owed.write(again, journal);
            return;
        }
        let id = self.take_number();
        if let Some(earlier) = self.open.remove(&node.name) {
            let outcome = Outcome {
                state: "failed".into(),
                text: format!("its next start was refused, see #{id}"),
                at: Some(now),
                next: Some(id),
                ..Outcome::open()
            };
            Self::close(&node.name, &earlier, outcome, &mut self.owed, journal);
        }
        let event = EventLine::new(EventKind::Incident, format!("#{id}: its start was refused: {}", failure.what));
        journal.note(event.node(&node.name).cause(failure.cause).incident(id));
        self.refused.insert(
            node.name.clone(),
            Refused { id, cause: failure.cause.as_str().to_owned(), what: Some(story::clean(&failure.what)) },
        );
        let draft = Draft::of_refusal(id, node, recipe, failure, now);
        self.owed.write(Change::New(Box::new(draft)), journal);
        let open = Open { id, incarnation: node.incarnation, at: now, back: None, failed: false, waited: false };
        self.open.insert(node.name.clone(), open);
    }

    fn died_again(&mut self, node: &NodeName, earlier: &Open, next: u64, now: Timestamp, journal: &Journal) {
        let outcome = Outcome {
            state: "died-again".into(),
            text: format!("it died again before it served, see #{next}"),
            at: Some(now),
            next: Some(next),
            back_after_ms: earlier.back.map(|back| between(earlier.at, back)),
            ..Outcome::open()
        };
        Self::close(node, earlier, outcome, &mut self.owed, journal);
    }

    /// Looks what became of the node's open incident.
    fn follow_up(&mut self, node: &NodeSnapshot, now: Timestamp, journal: &Journal) {
        let Some(open) = self.open.get_mut(&node.name) else { return };
        let later = node.incarnation > open.incarnation || open.failed;
        if later && open.back.is_none() && node.process.is_some() {
            open.back = node.started_at.or(Some(now));
        }
        if !open.waited
            && let Some(did) = story::did_wait(node)
        {
            open.waited = true;
            self.owed.write(Change::Did { id: open.id, node: node.name.clone(), did }, journal);
        }
        let Some(outcome) = outcome(open, node, now) else { return };
        if outcome.state == "failed" {
            if open.failed {
                return;
            }
            open.failed = true;
            Self::close(&node.name, open, outcome, &mut self.owed, journal);
            return;
        }
        let open = open.clone();
        self.open.remove(&node.name);
        // Over: the same reason later is another incident.
        self.refused.remove(&node.name);
        Self::close(&node.name, &open, outcome, &mut self.owed, journal);
    }

    fn close(node: &NodeName, open: &Open, outcome: Outcome, owed: &mut Owed, journal: &Journal) {
        // That a node failed is an event already.
        if outcome.state != "failed" {
            let event = EventLine::new(EventKind::IncidentClosed, format!("#{}: {}", open.id, outcome.text));
            let event = event.node(node).incident(open.id);
            journal.note(match outcome.ready_after_ms {
                Some(ms) => event.took_ms(ms),
                None => event,
            });
        }
        owed.write(Change::Outcome { id: open.id, node: node.clone(), outcome }, journal);
    }

    fn take_number(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }
}

/// Whether an end is an incident: every one but a stop that was ordered and clean. A kill by order, and an end by itself
/// with code 0, count where a new start follows: the node was meant to run on.
fn counts(cause: Cause, node: &NodeSnapshot, old: bool) -> bool {
    let runs_on = !old && node.wanted == Wanted::Up && node.state != "down";
    match cause {
        Cause::Stopped => false,
        Cause::KilledByOrder | Cause::Completed => runs_on,
        Cause::KilledAfterGrace
        | Cause::KilledByOther
        | Cause::OutOfMemory
        | Cause::Crashed
        | Cause::CouldNotStart
        | Cause::OldSession
        | Cause::WrongIdentity
        | Cause::BadOption
        | Cause::PortTaken
        | Cause::DiskFull
        | Cause::WrongOwner
        | Cause::NewerData
        | Cause::ShimLost
        | Cause::Unknown => true,
    }
}

/// What became of a node with an open incident; none: still nothing.
fn outcome(open: &Open, node: &NodeSnapshot, now: Timestamp) -> Option<Outcome> {
    let later = node.incarnation > open.incarnation;
    let back_after_ms = open.back.map(|back| between(open.at, back));
    let closed = |state: &str, text: String| {
        Some(Outcome { state: state.into(), text, at: Some(now), back_after_ms, ..Outcome::open() })
    };
    if later && node.serves {
        let ready_after = between(open.at, node.ready_since.unwrap_or(now));
        let ready = human_duration(Duration::from_millis(ready_after));
        let text = match back_after_ms {
            Some(back) if !open.failed => {
                format!("back after {}, ready after {ready}", human_duration(Duration::from_millis(back)))
            }
            Some(_) | None => format!("ready again after {ready}"),
        };
        let incarnation = Some(node.incarnation.0);
        return closed("back", text).map(|o| Outcome { incarnation, ready_after_ms: Some(ready_after), ..o });
    }
    match (node.state, node.wanted) {
        // Why is the incident's own summary: a death, or a refused start, that no restart cures.
        ("failed", _) if node.lacks_program => closed("failed", "it starts by itself when its program is there".into()),
        ("failed", _) => closed("failed", format!("it stays down until `cdc-supervisor start {}`", node.name)),
        ("down", Wanted::Up) => closed("left-down", "not started again: its restart policy says so".into()),
        ("down", Wanted::Down) if open.failed => None,
        ("down", Wanted::Down) => closed("stopped", "an order wants it down".into()),
        _ => None,
    }
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    // The wall clock may have been set back meanwhile.
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
