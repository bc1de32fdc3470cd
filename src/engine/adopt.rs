//! What a new daemon finds under its root: shims that run on, exits nobody has heard of, processes without a shim.
//!
//! A little past 500 lines: what is found of a node, and what each of it means for the next step, are of one look.

use super::{
    Engine, actions,
    incidents::Obituary,
    last_words::LogMarks,
    link::{self, Connection, Hold, NoShim},
    node::{Asked, NodeRuntime},
    orphan,
    persist::{self, Failed, NodeState, OnRecord},
    snapshot::{LastExit, ran_ms},
    verdict::{Case, Patience, Verdict},
    words::End,
};
use crate::{
    base::{
        EventKind, EventLine, ExitRecord, ExitStatus, Incarnation, Launched, Layout, Moment, NodeName, Timestamp,
        recipe::{Recipe, Restart, WhileStarting},
        units::grouped,
    },
    lifecycle::{Event, Wanted},
    logs::{pump, writer::LogWriter},
    shim::wire,
    sys::{clock, failpoint::fail_point, fs, process},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::task::spawn_blocking;

/// Everything found.
#[derive(Debug, Default)]
pub(super) struct Found {
    nodes: BTreeMap<NodeName, FoundNode>,
}

/// What was found of one node.
#[derive(Debug)]
pub(super) struct FoundNode {
    state: NodeState,
    /// What is wrong with that record.
    trouble: Option<String>,
    /// The record is lost, and with it whether the node was wanted.
    wish_lost: bool,
    /// What the last start was made of, where that is on record.
    launched: Option<Launched>,
    /// The highest start that left a trace.
    highest: Incarnation,
    /// Starts that left an exit record, ascending.
    records: Vec<Incarnation>,
    /// A shim that answers.
    live: Option<(Connection, Hold)>,
    /// The exit of the last start, when the state file does not know it yet. Of processes without a shim nobody will write
    /// one: the run counts as ended in an unknown way, and what is left of it goes before the next start.
    unheard: Option<ExitRecord>,
    /// Processes hold the node's lock and no shim answers.
    orphans: bool,
}

impl FoundNode {
    /// What the engine keeps of earlier runs.
    pub(super) fn remember(&self, runtime: &mut NodeRuntime) {
        runtime.last_exit = self.state.last_exit.clone();
        runtime.log = log_marks(&self.state, self.incarnation());
        // It belongs to the last start that the file knows of.
        runtime.registered = self.state.zookeeper_session.filter(|_| self.state.incarnation == self.incarnation());
        // Written before the start it tells of, so it is never older than what the state file says.
        runtime.launched_digest = self.launched.as_ref().map(Launched::digest).or_else(|| self.state.launched.clone());
        runtime.launched = self.launched.clone().map(Arc::new);
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.highest.max(self.state.incarnation)
    }

    /// Whether a start was ordered that the last daemon did not live to launch. One that left a trace was launched.
    fn start_is_due(&self) -> bool {
        self.state.start_due && self.incarnation() == self.state.incarnation
    }

    /// Starts that nobody ordered. One that the last daemon counted and did not live to begin is counted by who begins it.
    pub(super) fn restarts(&self) -> u32 {
        let begun = self.live.is_some() || self.unheard.is_some();
        self.state.restarts.saturating_sub(u32::from(self.state.restart_due && !begun))
    }

    /// Deaths in a row; an end that no daemon saw counts as the daemon would have counted it.
    pub(super) fn deaths_in_a_row(&self, restart: &Restart) -> u32 {
        let Some(record) = &self.unheard else { return self.state.deaths_in_a_row };
        let lived = Duration::from_millis(u64::try_from(record.ended_at.0 - record.started_at.0).unwrap_or(0));
        match record.status {
            // Shim and daemon ended together: that says nothing about the node.
            ExitStatus::Unknown => self.state.deaths_in_a_row,
            ExitStatus::Code(_) | ExitStatus::Signal(_) => {
                let healthy = self.state.ready_since.is_some() && lived >= restart.healthy_after;
                if healthy { 0 } else { self.state.deaths_in_a_row.saturating_add(1) }
            }
        }
    }
}

impl Found {
    pub(super) fn node(&self, name: &NodeName) -> Option<&FoundNode> {
        self.nodes.get(name)
    }
}

/// Whether any node of this root runs, with or without its shim.
pub async fn live_shims(layout: &Layout) -> Vec<NodeName> {
    let layout = layout.clone();
    let held = move || known_nodes(&layout).into_iter().filter(|n| fs::Lock::is_held(&layout.node_lock(n))).collect();
    spawn_blocking(held).await.unwrap_or_default()
}

/// Nodes under shims that answer in words this program does not know, with what was wrong.
pub async fn foreign_shims(layout: &Layout) -> Vec<(NodeName, String)> {
    let mut foreign = Vec::new();
    for node in known_nodes(layout) {
        for incarnation in traces(layout, &node).0 {
            if let Some(why) = link::speaks_otherwise(layout, &node, incarnation).await {
                foreign.push((node.clone(), why));
            }
        }
    }
    foreign
}

/// Looks at every node that ever had a directory here. Removes sockets that nobody answers on.
pub(super) async fn look(layout: &Layout, recipes: &[Recipe]) -> Found {
    let mut names: BTreeSet<NodeName> = known_nodes(layout).into_iter().collect();
    names.extend(recipes.iter().map(|r| r.node.clone()));
    let looks = names.into_iter().map(|name| {
        let layout = layout.clone();
        tokio::spawn(async move { (look_at(&layout, &name).await, name) })
    });
    let mut found = Found::default();
    for look in looks.collect::<Vec<_>>() {
        // A look that panicked is a bug; the node is then treated as one that never ran, and its lock still protects it.
        if let Ok((node, name)) = look.await {
            found.nodes.insert(name, node);
        }
    }
    found
}

/// Looks at one node that is about to be added; none: the look failed, and the node's lock still protects it.
pub(super) async fn look_for(layout: &Layout, node: &NodeName) -> Option<FoundNode> {
    let (layout, node) = (layout.clone(), node.clone());
    tokio::spawn(async move { look_at(&layout, &node).await }).await.ok()
}

pub(super) fn known_nodes(layout: &Layout) -> Vec<NodeName> {
    let Ok(entries) = std::fs::read_dir(layout.nodes()) else { return Vec::new() };
    entries.flatten().filter_map(|e| NodeName::new(e.file_name().to_string_lossy()).ok()).collect()
}

async fn look_at(layout: &Layout, node: &NodeName) -> FoundNode {
    let OnRecord { state, trouble, wish_lost } = persist::read(layout, node);
    if let Some(trouble) = &trouble {
        tracing::warn!(node = %node, "{trouble}");
    }
    fs::remove_torn(&layout.node_run(node));
    fs::remove_torn(&layout.conf(node));
    fail_point!("adopt.looking");
    let (sockets, records) = traces(layout, node);
    let highest = sockets.iter().chain(&records).copied().max().unwrap_or_default();
    let mut live = None;
    for incarnation in sockets.into_iter().rev() {
        if live.is_none() {
            match link::subscribe(layout, node, incarnation).await {
                Ok(found) => {
                    live = Some(found);
                    continue;
                }
                Err(NoShim::Nobody) => {}
                // Somebody listens there, so it is no leftover: whoever it is removes it at its own end.
                Err(NoShim::Silent(why)) => {
                    tracing::warn!(node = %node, incarnation = incarnation.0, "its shim does not answer: {why}");
                    continue;
                }
            }
        }
        // A socket file left by a shim that was killed.
        let _ = fs::remove_optional(&layout.shim_socket(node, incarnation));
    }
    let orphans = live.is_none() && fs::Lock::is_held(&layout.node_lock(node));
    let last = highest.max(state.incarnation);
    let heard = state.last_exit.as_ref().is_some_and(|e| e.incarnation >= last);
    let unheard =
        (live.is_none() && !heard && last > Incarnation::default()).then(|| record_of(layout, node, last, &state));
    let launched = persist::read_launched(layout, node);
    FoundNode { state, trouble, wish_lost, launched, highest, records, live, unheard, orphans }
}

/// Starts that left a socket and starts that left an exit record, each ascending.
pub(super) fn traces(layout: &Layout, node: &NodeName) -> (Vec<Incarnation>, Vec<Incarnation>) {
    let (mut sockets, mut records) = (Vec::new(), Vec::new());
    if let Ok(entries) = std::fs::read_dir(layout.node_run(node)) {
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(n) =
                name.strip_prefix("shim.").and_then(|r| r.strip_suffix(".sock")).and_then(|n| n.parse().ok())
            {
                sockets.push(Incarnation(n));
            } else if let Some(n) = name.strip_prefix("exit.").and_then(|n| n.parse().ok()) {
                records.push(Incarnation(n));
            }
        }
    }
    sockets.sort_unstable();
    records.sort_unstable();
    (sockets, records)
}

fn record_of(layout: &Layout, node: &NodeName, incarnation: Incarnation, state: &NodeState) -> ExitRecord {
    let text = fs::read_plain_optional(&layout.exit_record(node, incarnation)).ok().flatten();
    // Without a readable record nobody saw the end: shim and daemon died together, or the machine did.
    let read = text.map(|t| wire::parse_exit_record(&t));
    if let Some(Err(e)) = &read {
        tracing::warn!(node = %node, incarnation = incarnation.0, "how it ended is not known: {e}");
    }
    read.and_then(Result::ok).unwrap_or_else(|| {
        link::unseen_end(
            incarnation,
            state.process.as_ref().map_or(0, |p| p.pid),
            state.ready_since.unwrap_or(clock::wall()),
        )
    })
}

/// How many exit records of a node are kept beside the newest.
const RECORDS_KEPT: usize = 16;

/// Puts what was found into the engine: adopts what runs, remembers what ended, wants up what shall run.
pub(super) fn take(engine: &mut Engine, found: Found, restore_wishes: bool, only: Option<&BTreeSet<NodeName>>) {
    let mut start = BTreeSet::new();
    let mut resume: BTreeMap<NodeName, Event> = BTreeMap::new();
    let patience = &mut Patience::default();
    if let Some(group) = &engine.cgroup {
        // Of nodes that ended while no daemon ran, or whose end the last one did not live to clear up after.
        group.remove_idle(|name| found.nodes.get(name).is_some_and(|node| node.live.is_some() || node.orphans));
    }
    prune_records(&engine.layout, &found);
    for (name, node) in found.nodes {
        if !engine.nodes.contains_key(&name) {
            stop_stranger(engine, &name, &node);
            continue;
        }
        if let Some(trouble) = &node.trouble {
            let follows = if node.wish_lost && restore_wishes {
                "; whether it was stopped by an order is lost with it, so it is wanted up"
            } else {
                ""
            };
            engine.journal.note(EventLine::new(EventKind::Trouble, format!("{trouble}{follows}")).node(&name));
        }
        let chosen = only.is_none_or(|only| only.contains(&name));
        // A start that is newer than the state file was ordered just before that daemon died: it was wanted.
        let newer = node.live.as_ref().is_some_and(|(_, hold)| hold.state().incarnation > node.state.incarnation);
        // What a lost record wanted nobody knows: a node that runs without need is seen, one that stays down unasked is missed.
        let wanted_up = if restore_wishes { node.state.wanted_up || node.wish_lost || newer } else { chosen };
        let (mut restarts, orphans) = (node.restarts(), node.orphans);
        let start_due = restore_wishes && node.start_is_due();
        if let Some(runtime) = engine.nodes.get_mut(&name) {
            node.remember(runtime);
        }
        let unwritten = unwritten_ends(engine, &name, &node, patience);
        restarts = restarts.saturating_add(u32::try_from(unwritten.len()).unwrap_or(u32::MAX));
        let FoundNode { state, records, live, unheard, highest, .. } = node;
        if let Some((connection, hold)) = live {
            owed(engine, &name, &state, (&records, &unwritten), patience, hold.state().incarnation);
            // What the end of a session had begun to stop is started again for the session of now.
            let start_due = start_due || (!restore_wishes && hold.state().stopping);
            let goes_on = GoesOn { wanted: if wanted_up { Wanted::Up } else { Wanted::Down }, restarts, start_due };
            adopt(engine, &name, connection, hold, &state, goes_on);
            continue;
        }
        let mut failed = state.failed.clone();
        if let Some(record) = unheard {
            let Some(verdict) = judge_unheard(engine, &name, &state, &record, patience) else { continue };
            let Verdict { cause, failure, words, collections, unread } = verdict;
            failed = failure.clone().map(|failure| Box::new(Failed { since: record.ended_at, failure }));
            tracing::info!(node = %name, incarnation = record.incarnation.0, status = %record.status.describe(), %cause, "{}", if orphans { "had lost its shim while no daemon ran" } else { "had ended while no daemon ran" });
            if let Some(runtime) = engine.nodes.get_mut(&name) {
                runtime.last_exit = Some(LastExit::of(&record, cause));
            }
            let end = End {
                cause,
                status: record.status,
                ran_ms: ran_ms(&record),
                oom_kills: record.oom_kills,
                oom_by: record.oom_by,
            };
            let line = EventLine::new(
                EventKind::Ended,
                format!("{}, at {}, while no daemon ran", end.clause(), record.ended_at),
            );
            engine.journal.note(line.node(&name).incarnation(record.incarnation).cause(cause));
            if let Some(why) = &unread {
                tracing::warn!(node = %name, "{why}");
                let line = EventLine::new(EventKind::Trouble, why);
                engine.journal.note(line.node(&name).incarnation(record.incarnation));
            }
            owed(engine, &name, &state, (&records, &unwritten), patience, record.incarnation);
            if record.status == ExitStatus::Unknown && (state.process.is_some() || highest == record.incarnation) {
                mark_gap(engine, &name, &record);
            }
            if let Some(runtime) = engine.nodes.get_mut(&name) {
                let boot = state.process.as_ref().map(|p| p.boot_id.as_str());
                runtime.obituaries.push(Obituary {
                    failure,
                    trouble: unread,
                    words,
                    collections,
                    ready: has_served(&state, &record),
                    while_no_daemon: true,
                    rebooted: record.status == ExitStatus::Unknown && boot.is_some_and(|b| b != clock::boot_id()),
                    record: (record.status != ExitStatus::Unknown).then(|| record.clone()),
                    ..Obituary::new(record.incarnation, cause, record.ended_at)
                });
            }
        } else {
            owed(engine, &name, &state, (&records, &unwritten), patience, state.incarnation.next());
        }
        if wanted_up {
            if restore_wishes {
                if let (Some(runtime), Some(failed), false) = (engine.nodes.get_mut(&name), &failed, start_due) {
                    runtime.still_failed(failed.since);
                }
                let ended = engine.nodes.get(&name).and_then(|n| n.last_exit.as_ref()).map(|exit| exit.cause);
                let failure = failed.map(|f| f.failure);
                resume.insert(name.clone(), Event::Resumed { ended, failure, start_due });
            }
            start.insert(name);
        } else if orphans && let Some(runtime) = engine.nodes.get(&name) {
            stop_unwanted(engine, name, runtime.recipe.stop.clone());
        }
    }
    let mut all = start.clone();
    for name in &start {
        all.extend(engine.fleet.needs(name));
    }
    for name in engine.in_start_order(&all) {
        let event = resume.remove(&name).unwrap_or(Event::Start);
        engine.event(&name, event);
    }
}

/// Ends between the state file and the start that runs now, or that ended last: an earlier daemon saw them, started the node
/// again, and died before its state file said so. Their exit records tell them.
/// Remembers the newest and returns them, ascending.
fn unwritten_ends(engine: &mut Engine, name: &NodeName, node: &FoundNode, patience: &mut Patience) -> Vec<Incarnation> {
    let state = &node.state;
    let heard = state.last_exit.as_ref().map_or(Incarnation::default(), |exit| exit.incarnation);
    let live = node.live.as_ref().map(|(_, hold)| hold.state().incarnation);
    let before = live.or(node.unheard.as_ref().map(|record| record.incarnation));
    // Without a state file nobody knows which of the records were told before.
    let Some(before) = before.filter(|_| state.incarnation > Incarnation::default()) else { return Vec::new() };
    let ends: Vec<Incarnation> = node.records.iter().copied().filter(|i| *i > heard && *i < before).collect();
    let read = |i: &Incarnation| fs::read_plain_optional(&engine.layout.exit_record(name, *i)).ok().flatten();
    let newest = ends.iter().max().and_then(read).and_then(|text| wire::parse_exit_record(&text).ok());
    if let Some(record) = newest
        && let Some(Verdict { cause, .. }) = judge_unheard(engine, name, state, &record, patience)
        && let Some(runtime) = engine.nodes.get_mut(name)
    {
        runtime.last_exit = Some(LastExit::of(&record, cause));
    }
    ends
}

/// Whether the run of this record has been ready, as far as the state file tells of the same run.
fn has_served(state: &NodeState, record: &ExitRecord) -> Option<bool> {
    (state.incarnation == record.incarnation).then_some(state.ready_since.is_some())
}

/// Where the log stood at this start, as far as the state file tells of the same start.
fn log_marks(state: &NodeState, incarnation: Incarnation) -> LogMarks {
    LogMarks::begin(state.log_start.filter(|_| state.incarnation == incarnation).unwrap_or_default())
}

/// Why a run ended that no daemon saw the end of; none: nobody knows the node. Whatever signal its shim sent it was sent by an order.
fn judge_unheard(
    engine: &Engine,
    name: &NodeName,
    state: &NodeState,
    record: &ExitRecord,
    patience: &mut Patience,
) -> Option<Verdict> {
    let runtime = engine.nodes.get(name)?;
    let to_stop = record.signals_sent.contains(&runtime.stop().signal);
    Some(patience.judge(Case {
        layout: engine.layout.clone(),
        recipe: Arc::clone(&runtime.recipe),
        stop: runtime.stop().clone(),
        asked: to_stop.then_some(Asked::ToStop),
        marks: log_marks(state, record.incarnation),
        ready: has_served(state, record),
        heard: clock::now(),
        record: record.clone(),
        shim_lost: false,
    }))
}

/// Shim and daemon ended together, so nobody read the node's pipe to its end, and what the shim had read may not be written: the log says that
/// something may be missing.
fn mark_gap(engine: &Engine, name: &NodeName, record: &ExitRecord) {
    let Some(log) = engine.nodes.get(name).map(|n| n.recipe.log) else { return };
    let text = format!(
        "shim and daemon ended together and nobody saw how start {} ended: what it wrote last may be missing here, at most {} bytes",
        record.incarnation,
        grouped(PIPE + pump::BLOCK as u64)
    );
    // No other writer is there: the shim is gone, and the next one begins after this.
    let marked =
        LogWriter::open(&engine.layout.log_dir(name), log.max_bytes.0, log.keep).and_then(|mut log| log.mark(&text));
    if let Err(e) = marked {
        tracing::warn!(node = %name, "{text}; the log itself could not be marked: {e}");
    }
}

/// What a pipe holds, bytes: the default of pipe(7), which shims leave as it is.
const PIPE: u64 = 64 << 10;

/// Ends before the start `before` that an earlier daemon saw and did not live to put on record: those that its state file
/// or their exit records tell and that are newer than the newest incident.
fn owed(
    engine: &mut Engine,
    name: &NodeName,
    state: &NodeState,
    (records, unwritten): (&[Incarnation], &[Incarnation]),
    patience: &mut Patience,
    before: Incarnation,
) {
    let newest = engine.incidents.newest(name);
    let heard = state.last_exit.as_ref();
    // Of a node without any incident only the last end counts: the others are from before there were incidents.
    let last = heard.map(|e| e.incarnation).or_else(|| unwritten.first().copied());
    let from = if newest.0 > 0 { newest } else { last.map_or(before, |last| Incarnation(last.0.saturating_sub(1))) };
    let mut ends: BTreeSet<Incarnation> = records.iter().copied().collect();
    ends.extend(heard.map(|e| e.incarnation));
    for incarnation in ends.into_iter().filter(|i| *i > from && *i < before) {
        let text = fs::read_plain_optional(&engine.layout.exit_record(name, incarnation)).ok().flatten();
        let record = text.and_then(|t| wire::parse_exit_record(&t).ok());
        let known = heard.filter(|e| e.incarnation == incarnation);
        let cause = match (known, &record) {
            (Some(exit), _) => exit.cause,
            (None, Some(record)) => match judge_unheard(engine, name, state, record, patience) {
                Some(verdict) => verdict.cause,
                None => continue,
            },
            (None, None) => continue,
        };
        let at = record.as_ref().map(|r| r.ended_at).or(known.map(|e| e.at)).unwrap_or_default();
        if let Some(runtime) = engine.nodes.get_mut(name) {
            runtime.obituaries.push(Obituary { record, old: true, ..Obituary::new(incarnation, cause, at) });
        }
    }
}

/// What an adopted node goes on with.
#[derive(Clone, Copy)]
struct GoesOn {
    wanted: Wanted,
    restarts: u32,
    start_due: bool,
}

fn adopt(engine: &mut Engine, name: &NodeName, connection: Connection, hold: Hold, state: &NodeState, goes_on: GoesOn) {
    let shim = hold.state().clone();
    tracing::info!(node = %name, incarnation = shim.incarnation.0, pid = shim.process.pid, "adopted");
    let Some(recipe) = engine.nodes.get(name).map(|n| n.recipe.clone()) else { return };
    let cgroup = engine.cgroup.as_ref().map(|root| root.node(name));
    let (context, link) = actions::connect(engine, name, &recipe, shim.incarnation, cgroup);
    if let Some(runtime) = engine.nodes.get_mut(name) {
        runtime.link = Some(link);
        runtime.note_difference();
        if let Some(differs) = &runtime.differs {
            tracing::info!(node = %name, "{differs}");
        }
        runtime.adopted = true;
        runtime.started_at = Some(shim.started_at);
        runtime.ready_since = state.ready_since.filter(|_| state.incarnation == shim.incarnation);
        runtime.ready_at =
            runtime.ready_since.map(|since| unset(since, clock::wall(), clock::now(), process::started(&shim.process)));
        runtime.asked = shim.stopping.then_some(Asked::ToStop);
    }
    engine.rounds.node_started(clock::now());
    tokio::spawn(link::adopt(context, connection, hold));
    let GoesOn { wanted, restarts, start_due } = goes_on;
    let (incarnation, process) = (shim.incarnation, shim.process);
    engine.event(name, Event::Adopted { incarnation, process, wanted, restarts, start_due });
}

/// A time that an earlier daemon wrote down, on the clock that nobody sets. Where the wall clock was set meanwhile the process
/// bounds it: nothing is ready before it `began`.
fn unset(since: Timestamp, wall: Timestamp, now: Moment, began: Option<Moment>) -> Moment {
    let began = began.unwrap_or_default();
    // negative: the clock was set back, and when it became ready is lost
    u64::try_from(wall.0.saturating_sub(since.0)).map_or(began, |age| Moment(now.0.saturating_sub(age)).max(began))
}

/// A node that runs and is in no plan any more is stopped in order, so that nothing runs unseen.
fn stop_stranger(engine: &Engine, name: &NodeName, node: &FoundNode) {
    if node.live.is_none() && !node.orphans {
        return;
    }
    tracing::warn!(node = %name, "runs but is not in the configuration any more: stopping it");
    let stop = crate::base::recipe::Stop {
        signal: libc::SIGTERM,
        grace: Duration::from_secs(60),
        clean_codes: vec![],
        while_starting: WhileStarting::Ask,
    };
    stop_unwanted(engine, name.clone(), stop);
}

/// Stops what runs and shall not, and takes its group away with it: nothing of it comes to the dispatcher any more.
fn stop_unwanted(engine: &Engine, name: NodeName, stop: crate::base::recipe::Stop) {
    let (layout, cgroup) = (engine.layout.clone(), engine.cgroup.clone());
    let stopping = engine.orphan_stops.begin(&name, &engine.sink, None);
    tokio::spawn(async move {
        orphan::stop_in_order(&layout, &name, &stop, &stopping, None).await;
        // A group that is still busy is taken by the next start, or removed by the next daemon.
        let removed = spawn_blocking(move || cgroup.map(|group| group.remove_node(&name)));
        drop(removed.await);
        drop(stopping);
    });
}

/// How long after the daemon's start old exit records are removed: nodes that start are in need of the disk before.
const PRUNED_AFTER: Duration = Duration::from_secs(2);

/// Removes old exit records, not before the start but behind it: a disk that is told of each freed block (mount option `discard`) takes
/// a tenth of a millisecond for one. A daemon that ends before leaves them to the next.
fn prune_records(layout: &Layout, found: &Found) {
    let of = |(node, found): (&NodeName, &FoundNode)| {
        let old = found.records.iter().rev().skip(RECORDS_KEPT + 1);
        old.map(|old| layout.exit_record(node, *old)).collect::<Vec<_>>()
    };
    let old: Vec<PathBuf> = found.nodes.iter().flat_map(of).collect();
    if !old.is_empty() {
        tokio::spawn(async move {
            tokio::time::sleep(PRUNED_AFTER).await;
            let removed = spawn_blocking(move || {
                for record in old {
                    // Only history; a record that stays is found again next time.
                    let _ = fs::remove_optional(&record);
                }
            });
            drop(removed.await);
        });
    }
}
