//! `snapshot`, `restore` and `reset` of a stack that a daemon runs: its nodes are stopped, the work is done, they are started again.
//! The record of operations has which ones, so that the next daemon starts them when this one does not live to.

use super::inputs::Applied;
use crate::{
    base::{Layout, Moment, NodeName, OrderedBy, recipe::PrepareStep, units::human_duration},
    control::{server::AnswerSink, wire::Answer},
    engine::{EngineOrder, Handle, NodeSnapshot, OrderReply, Rejection, Snapshot, WaitsFor, disk::NO_ROOM},
    lifecycle::Wanted,
    offline::stores::{
        self, Set, Store, StoreError,
        exchange::{self, Wanted as Restore},
    },
    operate::{
        again::Again,
        operation::{Kind, Operations, Record, Refused},
    },
    sys::clock,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// How long nodes that were stopped may wait without any process of theirs (for a name that somebody else holds, for a ZooKeeper that does
/// not tell) while other operations are kept away: as long as a drill waits for what it undoes.
const WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is to be done with the stores.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// Copy them.
    Snapshot {
        /// Its name.
        name: String,
    },
    /// Replace them.
    Restore {
        /// By which snapshot.
        name: String,
        /// One set of it.
        only: Option<Set>,
    },
    /// Delete one set.
    Reset(Set),
}

impl Errand {
    fn kind(&self) -> Kind {
        match self {
            Errand::Snapshot { .. } => Kind::Snapshot,
            Errand::Restore { .. } => Kind::Restore,
            Errand::Reset(_) => Kind::Reset,
        }
    }

    fn detail(&self) -> String {
        match self {
            Errand::Snapshot { name } | Errand::Restore { name, .. } => name.clone(),
            Errand::Reset(set) => set.to_string(),
        }
    }

    /// Whether it is about this store.
    fn touches(&self, store: &Store) -> bool {
        match self {
            Errand::Snapshot { .. } | Errand::Restore { only: None, .. } => true,
            Errand::Restore { only: Some(set), .. } | Errand::Reset(set) => store.set == *set,
        }
    }
}

/// What the work needs of the daemon.
pub(super) struct Site<'a> {
    pub(super) layout: &'a Layout,
    pub(super) engine: &'a Handle,
    pub(super) operations: &'a Operations,
    pub(super) applied: Arc<Applied>,
}

/// Does it. `stop`: nodes that run are stopped for it. What was done in words, or the refusal.
pub(super) async fn carry_out(
    site: &Site<'_>,
    errand: Errand,
    stop: bool,
    by: OrderedBy,
    out: &AnswerSink,
) -> Result<Vec<String>, Answer> {
    let stores = stores::of_plan(&site.applied.plan);
    let begun = site.operations.begin_by_order(errand.kind(), &errand.detail(), Some(by)).await;
    let running = begun.map_err(|e| busy(&e))?;
    // Whatever can be said before anything is stopped is said before.
    let (looked, first) = (site.blocking(&errand, &stores, out, Part::Look).await, errand.clone());
    if let Err(answer) = looked {
        running.end("refused");
        return Err(answer);
    }
    let nodes: Vec<NodeName> = stores.iter().filter(|s| first.touches(s)).map(|s| s.node.clone()).collect();
    let snapshot = site.engine.snapshot();
    let of_stores = || snapshot.nodes.iter().filter(|n| nodes.contains(&n.name));
    let again: Vec<NodeName> = of_stores().filter(|n| matches!(n.wanted, Wanted::Up)).map(|n| n.name.clone()).collect();
    let rests = |n: &NodeSnapshot| n.process.is_none() && matches!(n.wanted, Wanted::Down);
    let up: Vec<String> = of_stores().filter(|n| !rests(n)).map(|n| n.name.to_string()).collect();
    if !up.is_empty() && !stop {
        running.end("refused: nodes run");
        return Err(refused(
            8,
            format!("{} run: data that is being written cannot be copied", up.join(", ")),
            Some("add --stop: they are stopped for it and started again afterwards; or stop them yourself first"),
        ));
    }
    let undo = serde_json::json!({ "start": again });
    if let Err(e) = running.step("stopping the nodes", Some(undo.clone())) {
        running.end("not begun: its record could not be written");
        return Err(refused(1, format!("{e}: {}; nothing was done", e.source), None));
    }
    let done = async {
        if !up.is_empty() {
            out.progress(format!("stopping {}", up.join(", ")));
            site.engine.order(EngineOrder::Stop { nodes: nodes.clone(), now: false }).await.map_err(rejected)?;
        }
        running
            .step("the data is being worked on", Some(undo.clone()))
            .map_err(|e| refused(1, format!("{e}: {}", e.source), None))?;
        site.blocking(&errand, &stores, out, Part::Work).await
    };
    let done = done.await;
    if site.layout.exchange().exists() {
        // Some directories are of one moment and some of another: nothing may start on them until the rest is renamed, too.
        running.leave("directories are half exchanged; no node is started");
        return Err(match done {
            Err(Answer::Refused { exit, message, mut causes, .. }) => {
                causes.push("the directories are half exchanged, so no node is started".into());
                let hint =
                    Some("mend the cause, then restart the daemon: it finishes before it starts anything".into());
                Answer::Refused { exit, message, causes, hint }
            }
            Ok(_) | Err(_) => refused(1, "the directories are half exchanged, so no node is started".into(), None),
        });
    }
    let again = Again::of(&again, &running.left_down(), &site.engine.snapshot());
    let (left, again) = (again.left(), again.nodes);
    if !again.is_empty() {
        out.progress("starting the nodes again");
    }
    let started = start_again(site.engine, &again).await;
    let words = match (&done, &started) {
        (Ok(_), Ok(())) => "done",
        (Err(_), Ok(())) => "not done; the data are as they were",
        (Ok(_), Err(_)) => "done; not all nodes serve again",
        (Err(_), Err(_)) => "not done; the data are as they were, and not all nodes serve again",
    };
    if started.is_err() && site.engine.snapshot().ending {
        // They are wanted down in their files: the next daemon starts them.
        running.leave(words);
    } else {
        running.end(words);
    }
    match (done, started) {
        (Ok(mut lines), Ok(())) => {
            if !again.is_empty() {
                let names: Vec<&str> = again.iter().map(NodeName::as_str).collect();
                lines.push(format!("started again: {}", names.join(", ")));
            }
            lines.extend(left);
            Ok(lines)
        }
        (Ok(lines), Err(Answer::Refused { exit, message, mut causes, hint })) => {
            causes.extend(lines.into_iter().map(|line| format!("done: {line}")));
            Err(Answer::Refused { exit, message, causes, hint })
        }
        (
            Err(Answer::Refused { exit, message, mut causes, hint }),
            Err(Answer::Refused { message: other, causes: more, .. }),
        ) => {
            causes.push(format!("not all nodes serve again: {other}"));
            causes.extend(more);
            Err(Answer::Refused { exit, message, causes, hint })
        }
        (Ok(_), Err(other)) | (Err(other), _) => Err(other),
    }
}

/// Starts the nodes that were wanted up; done when they serve, or when all that is missing is room on disk, or nothing has come of it for
/// long: that may take for ever, and nothing could be started by hand meanwhile.
async fn start_again(engine: &Handle, nodes: &[NodeName]) -> Result<(), Answer> {
    if nodes.is_empty() {
        return Ok(());
    }
    let mut patience = Patience::from(clock::now());
    let mut changes = engine.watch();
    let ordered = engine.order(start(nodes));
    tokio::pin!(ordered);
    loop {
        let snapshot = changes.borrow_and_update().clone();
        let held = without_room(&snapshot, nodes);
        if !held.is_empty() {
            return Err(Answer::Refused {
                exit: 6,
                message: "not all nodes could be started again".into(),
                causes: held,
                hint: Some("they start by themselves when there is room".into()),
            });
        }
        let stuck = patience.is_over(&snapshot, nodes, clock::now());
        if !stuck.is_empty() {
            return Err(Answer::Refused {
                exit: 6,
                message: format!(
                    "not all nodes serve again, and nothing has come of it for {}",
                    human_duration(WITHIN)
                ),
                causes: stuck,
                hint: Some("they are wanted up, and start by themselves when they can".into()),
            });
        }
        tokio::select! {
            done = &mut ordered => return done.map(drop).map_err(rejected),
            // One that has ended is answered by the order.
            Ok(()) = changes.changed() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// How long it is waited for nodes of which nothing comes.
struct Patience {
    began: Moment,
    /// When each was last seen to get on, of those that did not serve.
    got_on: BTreeMap<NodeName, Moment>,
}

impl Patience {
    fn from(began: Moment) -> Self {
        Self { began, got_on: BTreeMap::new() }
    }

    /// The nodes of which nothing has come for long, with their words; none: it is waited on. What has a process, is being prepared or
    /// comes after another node is bound by its own deadlines.
    fn is_over(&mut self, snapshot: &Snapshot, nodes: &[NodeName], now: Moment) -> Vec<String> {
        let mut stuck = Vec::new();
        for node in snapshot.nodes.iter().filter(|n| nodes.contains(&n.name)) {
            let gets_on = node.serves
                || node.process.is_some()
                || node.state == "preparing"
                || node.waits_for == Some(WaitsFor::Nodes);
            let last = self.got_on.entry(node.name.clone()).or_insert(self.began);
            if gets_on {
                *last = now;
            } else if now.since(*last) >= WITHIN {
                stuck.push(format!("{}: {}", node.name, node.detail));
            }
        }
        stuck
    }
}

/// The nodes that are held down for want of room, with their words, when nothing else is under way; none otherwise.
fn without_room(snapshot: &Snapshot, nodes: &[NodeName]) -> Vec<String> {
    let of: Vec<&NodeSnapshot> = snapshot.nodes.iter().filter(|n| nodes.contains(&n.name)).map(AsRef::as_ref).collect();
    if of.iter().any(|n| !n.serves && n.state != "waiting") {
        return Vec::new();
    }
    of.iter().filter(|n| n.detail.contains(NO_ROOM)).map(|n| format!("{}: {}", n.name, n.detail)).collect()
}

fn start(nodes: &[NodeName]) -> EngineOrder {
    EngineOrder::Start { nodes: nodes.to_vec(), with_needs: false }
}

/// What the daemon after a killed one does: directories were set right before anything started (`exchange::finish`), so only the
/// nodes are missing. The words for it.
pub(super) async fn undo(record: &Record, engine: &Handle) -> String {
    let start_of = |undo: &serde_json::Value| serde_json::from_value::<Vec<NodeName>>(undo.get("start")?.clone()).ok();
    let stopped = record.undo::<serde_json::Value>().as_ref().and_then(start_of).unwrap_or_default();
    let again = Again::of(&stopped, &record.left_down, &engine.snapshot());
    let (left, nodes) = (again.left(), again.nodes);
    if nodes.is_empty() {
        return left.unwrap_or_else(|| "nothing was left to undo".into());
    }
    let left = left.map_or_else(String::new, |left| format!("; {left}"));
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    let names = names.join(", ");
    match start_again(engine, &nodes).await {
        Ok(()) => format!("{names} were stopped for it and serve again{left}"),
        Err(Answer::Refused { message, causes, .. }) => {
            let why: Vec<String> = std::iter::once(message).chain(causes).collect();
            format!("{names} were stopped for it and do not all serve again: {}{left}", why.join("; "))
        }
        Err(other) => format!("{names} were stopped for it and do not all serve again: {other:?}{left}"),
    }
}

#[derive(Clone, Copy)]
enum Part {
    Look,
    Work,
}

impl Site<'_> {
    /// The part that reads and writes files, off the async threads.
    async fn blocking(
        &self,
        errand: &Errand,
        stores: &[Store],
        out: &AnswerSink,
        part: Part,
    ) -> Result<Vec<String>, Answer> {
        let (layout, errand, stores, out) = (self.layout.clone(), errand.clone(), stores.to_vec(), out.clone());
        let disk = self.applied.plan.disk;
        let steps = self.applied.recipes.iter().flat_map(|recipe| &recipe.prepare);
        let versions: Vec<_> = steps
            .filter_map(|step| if let PrepareStep::DataVersion(version) = step { Some(version.clone()) } else { None })
            .collect();
        let work = move || {
            let mut told = |text: String| out.progress(text);
            let restored = |name, only| Restore { name, only, versions: &versions };
            match (part, &errand) {
                (Part::Look, Errand::Snapshot { name }) => {
                    let could = stores::could_create(&layout, &stores, name);
                    could.and_then(|()| stores::leaves_room(&layout, &stores, &disk)).map(|()| Vec::new())
                }
                (Part::Look, Errand::Restore { name, only }) => {
                    let wanted = restored(name, *only);
                    exchange::could_restore(&layout, &stores, wanted, &mut told).map(|()| Vec::new())
                }
                (Part::Look, Errand::Reset(set)) => exchange::could_reset(&layout, &stores, *set).map(|()| Vec::new()),
                (Part::Work, Errand::Snapshot { name }) => {
                    stores::create(&layout, &stores, name, &mut told).map(|made| vec![stores::made(&made)])
                }
                (Part::Work, Errand::Restore { name, only }) => {
                    exchange::restore(&layout, &stores, restored(name, *only), &mut told)
                }
                (Part::Work, Errand::Reset(set)) => exchange::reset(&layout, &stores, *set),
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|e| of_store(&e)),
            Err(e) => Err(refused(1, format!("the work ended early: {e}"), None)),
        }
    }
}

fn of_store(e: &StoreError) -> Answer {
    let exit = match e {
        StoreError::Asked(..) => 2,
        StoreError::Refused(..) => 8,
        StoreError::System(_) => 1,
    };
    let source = std::error::Error::source(e).map(ToString::to_string);
    Answer::Refused {
        exit,
        message: e.to_string(),
        causes: source.into_iter().collect(),
        hint: e.hint().map(str::to_owned),
    }
}

fn busy(e: &Refused) -> Answer {
    let (exit, hint) = e.advice();
    let causes = std::iter::successors(std::error::Error::source(e), |e| e.source()).map(ToString::to_string);
    Answer::Refused { exit, message: e.to_string(), causes: causes.collect(), hint: Some(hint.to_owned()) }
}

fn rejected(rejection: Rejection) -> Answer {
    super::handler::answer_of(OrderReply::Err(rejection))
}

fn refused(exit: u8, message: String, hint: Option<&str>) -> Answer {
    Answer::Refused { exit, message, causes: Vec::new(), hint: hint.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeKind;

    #[test]
    fn nodes_of_which_nothing_comes_are_not_waited_for_for_ever() {
        let node = |id: u32, state: &'static str, runs: bool| {
            let mut node = NodeSnapshot::sample(NodeName::broker(id), NodeKind::Broker(id), state, 1);
            node.serves = state == "ready";
            node.process = node.process.filter(|_| runs);
            node.detail = "waits: session 0x7 has held the name".into();
            Arc::new(node)
        };
        let names: Vec<NodeName> = (1..=2).map(NodeName::broker).collect();
        let began = clock::now();
        let mut patience = Patience::from(began);
        let mut told = |nodes: Vec<Arc<NodeSnapshot>>, after: u64| {
            let snapshot = Snapshot { nodes, ending: false };
            patience.is_over(&snapshot, &names, began + Duration::from_secs(after))
        };
        let waits = || node(2, "waiting", false);
        let stuck = ["broker-2: waits: session 0x7 has held the name"];
        assert!(told(vec![node(1, "starting", true), waits()], 100).is_empty());
        // what the other one does says nothing of it, also when that dies again and again
        assert_eq!(told(vec![node(1, "starting", true), waits(), node(3, "waiting", false)], 200), stuck);
        assert_eq!(told(vec![node(1, "waiting", false), waits()], 379), stuck);
        assert!(told(vec![node(1, "ready", true), node(2, "starting", true)], 381).is_empty(), "it may start by now");
        assert!(told(vec![node(1, "ready", true), node(2, "preparing", false)], 900).is_empty(), "a slow disk");
        assert!(told(vec![node(1, "ready", true), waits()], 1_000).is_empty());
        let behind = NodeSnapshot { waits_for: Some(WaitsFor::Nodes), ..(*waits()).clone() };
        assert!(told(vec![node(1, "starting", true), Arc::new(behind)], 1_500).is_empty(), "zookeeper reads its logs");
        assert!(told(vec![node(1, "ready", true), node(2, "ready", true)], 1_900).is_empty());
    }

    #[test]
    fn only_room_that_is_missing_ends_the_wait_and_only_when_nothing_else_is_under_way() {
        let node = |id: u32, state: &'static str, detail: &str| {
            let mut node = NodeSnapshot::sample(NodeName::broker(id), NodeKind::Broker(id), state, 1);
            node.serves = state == "ready";
            node.detail = detail.into();
            Arc::new(node)
        };
        let held = format!("waits: {NO_ROOM}: less than 512M were free on /srv");
        let names: Vec<NodeName> = (1..=3).map(NodeName::broker).collect();
        let of = |nodes| without_room(&Snapshot { nodes, ending: false }, &names);
        assert!(of(vec![node(1, "ready", ""), node(2, "starting", ""), node(3, "waiting", &held)]).is_empty());
        assert!(of(vec![node(1, "ready", ""), node(2, "waiting", "waits for zookeeper")]).is_empty());
        let told = of(vec![node(1, "ready", ""), node(2, "waiting", &held), node(4, "starting", "")]);
        assert_eq!(told, [format!("broker-2: {held}")]);
    }
}
