//! From what was seen of a death to its record: evidence, advice, sentences. Pure; runs on the journal's thread.

use super::Obituary;
use crate::{
    base::{
        ByteSize, Cause, EventLine, ExitRecord, ExitStatus, NodeKind, NodeName, Timestamp,
        incident::{Evidence, Exit, Incident, KnownLine, Memory, Outcome},
        outcome::{Failure, OomBy, signal_name},
        printable::printable,
        recipe::Recipe,
    },
    engine::{
        dispatcher::words_of_the_end,
        snapshot::{NodeSnapshot, WaitsFor, ran_ms},
        words::End,
    },
    lifecycle::Wanted,
    services::{
        advice::{self, Facts},
        catalogue, classify, evidence, redact,
    },
};
use std::time::Duration;

/// Log lines in a record, and the longest of them, characters.
const LOG_LINES: usize = 30;
const LINE_MAX: usize = 400;

/// Longest sentence of our own in a record, characters. A remedy that names every data directory of a stack must be whole.
const WORDS_MAX: usize = 4_000;

/// Events in a record, and how long before the death they begin, milliseconds.
const AROUND: usize = 40;
const MINUTE_MS: i64 = 60_000;

/// Out-of-memory kills of a node that are on record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Earlier {
    /// How many.
    pub(super) times: u32,
    /// How many of them at the cap of its own that it has now: a smaller one that was raised since says nothing of this one.
    pub(super) at_this_cap: u32,
    /// When the first was.
    pub(super) first_at: Option<Timestamp>,
}

/// What the dispatcher knows of an incident; the rest is worked out where nobody waits for it.
#[derive(Debug)]
pub(in crate::engine) struct Draft {
    id: u64,
    node: NodeName,
    kind: NodeKind,
    noted_at: Timestamp,
    cap: Option<ByteSize>,
    heap: Option<ByteSize>,
    settings: Vec<String>,
    grace: Duration,
    deaths_in_a_row: u32,
    did: String,
    what: Happened,
}

#[derive(Debug)]
enum Happened {
    Died { end: End, obituary: Box<Obituary> },
    Refused(Failure),
}

impl Draft {
    fn new(id: u64, node: &NodeSnapshot, recipe: &Recipe, did: String, noted_at: Timestamp, what: Happened) -> Self {
        Self {
            id,
            node: node.name.clone(),
            kind: node.kind,
            noted_at,
            cap: recipe.launch.memory_max,
            heap: recipe.launch.heap,
            settings: evidence::memory_settings(recipe),
            grace: recipe.stop.grace,
            deaths_in_a_row: node.deaths_in_a_row,
            did,
            what,
        }
    }

    /// A run that ended.
    pub(super) fn of_death(
        id: u64,
        node: &NodeSnapshot,
        recipe: &Recipe,
        end: End,
        obituary: Obituary,
        did: String,
        now: Timestamp,
    ) -> Self {
        Self::new(id, node, recipe, did, now, Happened::Died { end, obituary: Box::new(obituary) })
    }

    /// A start that preparing refused.
    pub(super) fn of_refusal(id: u64, node: &NodeSnapshot, recipe: &Recipe, failure: Failure, now: Timestamp) -> Self {
        let did = "nothing was started".to_owned();
        Self::new(id, node, recipe, did, now, Happened::Refused(failure))
    }

    /// Whether the kernel killed it for want of memory; then whose it was, and its cap.
    pub(super) fn out_of_memory(&self) -> Option<(&NodeName, Option<ByteSize>)> {
        match &self.what {
            Happened::Died { obituary, .. } => (obituary.cause == Cause::OutOfMemory).then_some((&self.node, self.cap)),
            Happened::Refused(_) => None,
        }
    }

    /// The record. `secrets` are blanked wherever they stand; `events` are those in memory; `earlier` are out-of-memory kills of
    /// this node that are on record, when this is one.
    pub(super) fn record(self, secrets: &[String], events: &[EventLine], earlier: Earlier) -> Incident {
        let blank = |text: &str| clean(&redact::redact(text, secrets));
        let blank_line = |line: &str| printable(&redact::redact(line, secrets), LINE_MAX);
        let (end, obituary, failure) = match self.what {
            Happened::Died { end, obituary } => {
                let failure = obituary.failure.clone();
                (Some(end), Some(obituary), failure)
            }
            Happened::Refused(failure) => (None, None, Some(failure)),
        };
        let record = obituary.as_ref().and_then(|o| o.record.as_ref());
        let tail = obituary.as_ref().map_or("", |o| o.tail.as_str());
        let cause = obituary.as_ref().map_or_else(|| failure.as_ref().map_or(Cause::Unknown, |f| f.cause), |o| o.cause);
        // Words that explain an end explain none that came from outside.
        let own_doing = cause == Cause::Crashed || cause == Cause::OldSession || cause.is_terminal();
        let served = obituary.as_ref().is_some_and(|o| o.ready == Some(true));
        let status = record.map_or(ExitStatus::Unknown, |r| r.status);
        let words = words_of_the_end(tail, served, status, obituary.as_ref().map_or(self.noted_at, |o| o.at));
        let known = catalogue::explain(self.kind, words).filter(|_| own_doing).map(|(known, line)| KnownLine {
            line: blank_line(line.trim()),
            meaning: known.meaning.to_owned(),
            remedy: known.remedy.to_owned(),
        });
        let java = own_doing.then(|| known.as_ref().and_then(|k| evidence::java_limit(&k.line))).flatten();
        let oom_by = record.and_then(|r| r.oom_by).filter(|_| cause == Cause::OutOfMemory);
        let out_of_memory = cause == Cause::OutOfMemory;
        let collections = obituary.as_ref().map_or(&[][..], |o| o.collections.as_slice());
        let telling: Vec<&str> = if out_of_memory || java.is_some() {
            collections.iter().map(String::as_str).chain(evidence::telling_lines(tail)).collect()
        } else {
            Vec::new()
        };
        let at = obituary.as_ref().map_or(self.noted_at, |o| o.at);
        let memory = Memory {
            kernel_bytes: obituary.as_ref().and_then(|o| o.memory).and_then(|m| m.kernel),
            limit: oom_by.map(OomBy::as_str).or(java).map(str::to_owned),
            settings: self.settings.iter().map(|s| blank(s)).collect(),
            oom_times: if out_of_memory { earlier.times + 1 } else { 0 },
            oom_first_at: out_of_memory.then(|| earlier.first_at.unwrap_or(at)),
            cap_bytes: self.cap.map(|b| b.0),
            cap_in_force_bytes: record.and_then(|r| r.cgroup_cap_bytes).filter(|bytes| !is_as_wanted(*bytes, self.cap)),
            heap_bytes: self.heap.map(|b| b.0),
            peak_bytes: record.and_then(|r| r.cgroup_peak_bytes),
            oom_kills: record.and_then(|r| r.oom_kills),
            anon_bytes: obituary.as_ref().and_then(|o| o.memory).and_then(|m| m.anon),
            file_bytes: obituary.as_ref().and_then(|o| o.memory).and_then(|m| m.file),
            seen_at: obituary.as_ref().and_then(|o| o.memory).map(|m| m.at),
        };
        let by_signal = record.and_then(|r| classify::by_signal(r.status)).filter(|_| cause == Cause::Crashed);
        let (remedy, verdict) = advice::advise(&Facts {
            node: &self.node,
            kind: self.kind,
            cause,
            cap: self.cap,
            heap: self.heap,
            peak: memory.peak_bytes.map(ByteSize),
            anon: memory.anon_bytes.map(ByteSize),
            limit: memory.limit.as_deref(),
            times: if out_of_memory { earlier.at_this_cap + 1 } else { 0 },
            in_force: memory.cap_in_force_bytes.map(ByteSize),
            grace: self.grace,
            remedy: failure
                .as_ref()
                .map(|f| f.remedy.as_str())
                .or(known.as_ref().map(|k| k.remedy.as_str()))
                .or(by_signal.map(|(_, remedy)| remedy)),
            counted: memory.oom_kills.is_some(),
            rebooted: obituary.as_ref().is_some_and(|o| o.rebooted),
        });
        let what = failure
            .as_ref()
            .map(|f| blank(&f.what))
            .or_else(|| obituary.as_ref().and_then(|o| o.trouble.as_deref()).map(blank))
            .or_else(|| known.as_ref().map(|k| k.meaning.clone()))
            .or_else(|| by_signal.map(|(meaning, _)| meaning.to_owned()));
        let outcome = Outcome::open();
        let mut incident = Incident {
            schema: 1,
            id: self.id,
            kind: self.kind.as_str().to_owned(),
            incarnation: obituary.as_ref().map(|o| o.incarnation.0),
            at,
            noted_at: self.noted_at,
            cause: cause.as_str().to_owned(),
            summary: String::new(),
            exit: record.map(exit),
            ran_for_ms: record.and_then(ran_ms),
            ready: obituary.as_ref().and_then(|o| o.ready),
            while_no_daemon: obituary.as_ref().is_some_and(|o| o.while_no_daemon),
            evidence: Evidence {
                log: last_lines(tail, &blank_line),
                telling: telling.into_iter().map(&blank_line).collect(),
                known,
                around: around(at, self.noted_at, events, &blank),
            },
            deaths_in_a_row: self.deaths_in_a_row,
            did: self.did,
            outcome,
            remedy: remedy.map(|r| blank(&r)),
            times: 1,
            last_at: at,
            verdict: verdict.to_owned(),
            node: self.node,
            what,
            memory,
        };
        incident.summary = summary(&incident, end);
        incident
    }
}

/// Whether the cap in force is the configured one: the kernel keeps whole pages, rounded down; 64 KiB is the largest.
fn is_as_wanted(in_force: u64, cap: Option<ByteSize>) -> bool {
    cap.is_some_and(|cap| in_force <= cap.0 && cap.0 - in_force < 65_536)
}

fn exit(record: &ExitRecord) -> Exit {
    let known = record.status != ExitStatus::Unknown;
    Exit {
        code: if let ExitStatus::Code(code) = record.status { Some(code) } else { None },
        signal: if let ExitStatus::Signal(signal) = record.status { Some(signal_name(signal)) } else { None },
        pid: (record.pid > 0).then_some(record.pid),
        started_at: known.then_some(record.started_at),
        // A daemon that stood in for a lost shim could not count.
        cpu_ms: (record.peak_rss_bytes > 0).then_some(record.cpu_ms),
        peak_rss_bytes: (record.peak_rss_bytes > 0).then_some(record.peak_rss_bytes),
        signals_sent: record.signals_sent.iter().map(|s| signal_name(*s)).collect(),
    }
}

fn last_lines(tail: &str, blank: &dyn Fn(&str) -> String) -> Vec<String> {
    let lines: Vec<&str> = tail.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| blank(line)).collect()
}

/// Events of that minute, of all nodes: from a minute before until `until`, the newest where there are too many.
fn around(at: Timestamp, until: Timestamp, events: &[EventLine], blank: &dyn Fn(&str) -> String) -> Vec<EventLine> {
    let within = |e: &&EventLine| e.at.0 >= at.0.saturating_sub(MINUTE_MS) && e.at <= until;
    let chosen: Vec<&EventLine> = events.iter().filter(within).collect();
    let newest = &chosen[chosen.len().saturating_sub(AROUND)..];
    newest.iter().map(|e| EventLine { text: blank(&e.text), ..(*e).clone() }).collect()
}

/// What happened since, for the record of an incident that is over.
pub(super) fn extend_around(incident: &mut Incident, until: Timestamp, secrets: &[String], events: &[EventLine]) {
    let blank = |text: &str| clean(&redact::redact(text, secrets));
    // Only what this daemon has in memory; what an earlier one had put down stays.
    let oldest = events.first().map_or(Timestamp(i64::MAX), |e| e.at);
    let mut all: Vec<EventLine> = incident.evidence.around.iter().filter(|e| e.at < oldest).cloned().collect();
    all.extend(around(incident.at, until, events, &blank));
    let surplus = all.len().saturating_sub(AROUND);
    all.drain(..surplus);
    incident.evidence.around = all;
}

/// A sentence on one line, of bounded length, for a file and a terminal.
pub(super) fn clean(text: &str) -> String {
    printable(text, WORDS_MAX)
}

/// The sentence of the list: what happened, without its outcome.
fn summary(incident: &Incident, end: Option<End>) -> String {
    let mut text = match (end, &incident.what) {
        (Some(end), Some(what)) => format!("{}: {what}", end.clause()),
        (Some(end), None) => end.clause(),
        (None, what) => format!("its start was refused: {}", what.as_deref().unwrap_or(&incident.cause)),
    };
    if incident.while_no_daemon {
        text.push_str(", while no daemon ran");
    }
    text
}

/// What is added when the restart that was ordered at once turns out to wait for the node's own old session.
pub(super) fn did_wait(node: &NodeSnapshot) -> Option<String> {
    (node.waits_for == Some(WaitsFor::OldSession)).then(|| format!("restart ordered; {}", node.detail))
}

/// What was done at once, from what the node is after the turn in which it died.
pub(super) fn did(node: &NodeSnapshot) -> String {
    match (node.state, node.waits_for) {
        // What it is prepared for may have to wait: that is told when it is known.
        ("preparing" | "starting" | "ready" | "degraded", _) => "restart ordered at once".into(),
        ("waiting", Some(WaitsFor::Pause)) => match node.deaths_in_a_row {
            0 | 1 => format!("to be started again after a {}", node.detail),
            deaths => format!("to be started again after a {}; death {deaths} in a row", node.detail),
        },
        ("waiting", Some(WaitsFor::Nodes | WaitsFor::OldSession | WaitsFor::Other) | None) => {
            format!("to be started again; it {}", node.detail)
        }
        ("failed", _) => "not started again: a new start cannot cure it".into(),
        _ if node.wanted == Wanted::Down => "nothing: an order wants it down".into(),
        _ => "not started again: its restart policy says so".into(),
    }
}
