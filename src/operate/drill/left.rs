//! What a drill leaves that its daemon did not live to end: a process that is stopped goes on; nodes are started again, and
//! topics and table removed, as soon as there is somebody to ask.

use super::{
    brokers,
    fault::{Undo, go_on, words},
    owed, records, rows,
};
use crate::{
    base::{Layout, NodeKind, NodeName, units::human_duration},
    engine::{EngineOrder, Handle, NodeSnapshot, Snapshot, Wanted, disk::NO_ROOM},
    operate::{
        again::Again,
        operation::{Record, Running},
        prove::Targets,
        whole,
    },
    sys::clock,
};
use std::time::Duration;
use tokio::time::sleep;

/// How long nodes may take to serve, and the stack to be whole, while other operations are kept away: as long as a drill itself waits.
const WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sends SIGCONT to the process that the drill had stopped, if it is still that one. It has had one from whoever took the daemon's lock
/// (`offline::paused`); this one is for the words. Says what was done.
pub fn continue_paused(left: &Record) -> Option<String> {
    let paused = left.undo::<Undo>()?.paused?;
    Some(match go_on(&paused)? {
        Ok(()) => format!("SIGCONT to pid {}, which it had stopped", paused.pid),
        Err(why) => why,
    })
}

/// Undoes the rest: what it had ordered down is started, what it had made is removed. Says what was done and what was not. Who asks
/// meanwhile hears what is being done, and it is given up as soon as waiting is of no use: what is missing then may need an order
/// that is kept away. What is still there then is kept on record and removed later (`owed`).
pub async fn undo(
    left: &Record,
    running: &Running,
    engine: &Handle,
    targets: &Targets,
    layout: &Layout,
) -> Vec<String> {
    let Some(mut undo) = left.undo::<Undo>() else { return Vec::new() };
    let mut said = Vec::new();
    let is_down = |name: &NodeName| {
        let snapshot = engine.snapshot();
        snapshot.nodes.iter().any(|n| n.name == *name && n.wanted == Wanted::Down)
    };
    // What somebody stopped meanwhile stays so.
    undo.down.retain(|name| is_down(name) && !left.left_down.contains(name));
    let again = Again::of(&undo.down, &left.left_down, &engine.snapshot());
    if !again.nodes.is_empty() {
        let names = list(again.nodes.iter());
        doing(running, &format!("{names} started again"), &undo);
        said.push(match start(engine, &again.nodes).await {
            Ok(()) => format!("started {names} again"),
            Err(why) if again.nodes.iter().any(is_down) => format!("{names} could not be told to start: {why}"),
            Err(why) => format!("{names} told to start; not all serve yet: {why}"),
        });
    }
    said.extend(again.for_want());
    // Who is wanted up by now starts whatever becomes of this daemon.
    undo.down.retain(is_down);
    for part in [Part::Topics, Part::Table] {
        if !*part.of(&mut undo) {
            continue;
        }
        doing(running, &format!("its {} removed", part.word()), &undo);
        let done = match there(engine, targets, part).await {
            Ok(()) => removed(targets, part).await,
            Err(why) => Err(why),
        };
        *part.of(&mut undo) = done.is_err();
        said.extend(done.unwrap_or_else(|why| Some(still_there(part, &why))));
    }
    // The record of who is on the way down stays, and says the same.
    if !engine.snapshot().ending
        && let Err(e) = owed::settle(layout, left, &undo)
    {
        tracing::warn!(error = %e.source, "{e}");
    }
    said
}

/// Removes it; what is to be said of it.
async fn removed(targets: &Targets, part: Part) -> Result<Option<String>, String> {
    match part {
        Part::Topics => {
            let Some(kafka) = &targets.kafka else { return Ok(None) };
            let taken = records::remove_left(kafka).await.map_err(|e| e.in_one_line())?;
            Ok(Some(match taken {
                None => "removed its topics".to_owned(),
                Some(taken) => format!("removed its topics, and left {} alone: it is somebody else's", taken.0),
            }))
        }
        Part::Table => {
            let Some(mysql) = &targets.mysql else { return Ok(None) };
            let removed = rows::remove_left(mysql).await.map_err(|e| e.in_one_line())?;
            let said = if removed { "removed its table" } else { "left its table alone: it is somebody else's" };
            Ok(Some(said.to_owned()))
        }
    }
}

/// What is said of a part that could not be removed.
pub(super) fn still_there(part: Part, why: &str) -> String {
    let (verb, them) = if part == Part::Topics { ("are", "they are") } else { ("is", "it is") };
    format!("its {} {verb} still there ({why}): {them} removed as soon as everything is whole", part.word())
}

/// Tells who asks, and the next daemon, what is being done.
fn doing(running: &Running, what: &str, undo: &Undo) {
    if let Err(e) = running.step(format!("what it left is being undone: {what}"), undo.value()) {
        // The record says more than is left then, and what is done twice does no harm.
        tracing::warn!(error = %e.source, "{e}");
    }
}

/// Has nodes start; done when all serve, or waiting for it is of no use.
async fn start(engine: &Handle, nodes: &[NodeName]) -> Result<(), String> {
    let mut changes = engine.watch();
    let ordered = engine.order(EngineOrder::Start { nodes: nodes.to_vec(), with_needs: false });
    let too_long = sleep(WITHIN);
    tokio::pin!(ordered, too_long);
    loop {
        tokio::select! {
            // First of all it is ordered, whatever comes of it.
            biased;
            done = &mut ordered => return done.map(drop).map_err(words),
            // One that has ended is answered by the order.
            Ok(()) = changes.changed() => {}
            () = &mut too_long => return Err(format!("not within {}", human_duration(WITHIN))),
        }
        // Brokers wait for ZooKeeper.
        let of = |n: &NodeSnapshot| nodes.contains(&n.name) || n.kind == NodeKind::Zookeeper;
        let why = of_no_use(&changes.borrow_and_update(), of);
        if let Some(why) = why {
            return Err(why);
        }
    }
}

/// Why it is of no use to wait for these nodes; none: something is under way. A node that has failed, or for which there is no room or
/// no program, starts when somebody has done something about it.
fn of_no_use(snapshot: &Snapshot, of: impl Fn(&NodeSnapshot) -> bool) -> Option<String> {
    let missing = || snapshot.nodes.iter().filter(|n| of(n) && n.wanted == Wanted::Up && !n.serves);
    if missing().any(|n| !matches!(n.state, "waiting" | "failed")) {
        return None;
    }
    let stuck = missing().filter(|n| n.state == "failed" || n.lacks_program || n.detail.contains(NO_ROOM));
    let stuck: Vec<String> = stuck.map(|n| format!("{} is {} ({})", n.name, n.state, n.detail)).collect();
    (!stuck.is_empty()).then(|| stuck.join("; "))
}

/// What a drill makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Topics,
    Table,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::Topics => "topics",
            Part::Table => "table",
        }
    }

    /// Whether it has to be removed.
    fn of(self, undo: &mut Undo) -> &mut bool {
        match self {
            Part::Topics => &mut undo.topics,
            Part::Table => &mut undo.table,
        }
    }

    /// A node that is asked to remove it, or needed for that.
    fn needs(self, kind: NodeKind) -> bool {
        match kind {
            NodeKind::Zookeeper | NodeKind::Broker(_) => self == Part::Topics,
            NodeKind::Mysql => self == Part::Table,
            NodeKind::KafkaUi | NodeKind::Command => false,
        }
    }
}

/// Waits until whoever has a part in it is there. Not for one that somebody has ordered down meanwhile: other operations would be kept
/// away for it.
async fn there(engine: &Handle, targets: &Targets, part: Part) -> Result<(), String> {
    let began = clock::now();
    loop {
        let snapshot = engine.snapshot();
        if let Some(why) = in_vain(&snapshot, part) {
            return Err(why);
        }
        let Some(why) = missing(&snapshot, targets, part).await else { return Ok(()) };
        if clock::now().since(began) >= WITHIN {
            return Err(format!("not whole within {}: {why}", human_duration(WITHIN)));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Why a part cannot be removed now; none: every node for it serves, and every broker answers for every other.
pub(super) async fn missing(snapshot: &Snapshot, targets: &Targets, part: Part) -> Option<String> {
    if !snapshot.nodes.iter().filter(|n| part.needs(n.kind)).all(|n| n.serves) {
        return Some("not every node serves".into());
    }
    let brokers = brokers(targets).filter(|_| part == Part::Topics)?;
    whole::ask(&brokers).await.in_the_way(None, false, &[])
}

/// Why nobody waits until a part can be removed.
fn in_vain(snapshot: &Snapshot, part: Part) -> Option<String> {
    if snapshot.ending {
        return Some("the supervisor is on its way down".into());
    }
    let down = snapshot.nodes.iter().filter(|n| part.needs(n.kind) && n.wanted == Wanted::Down);
    let down = list(down.map(|n| &n.name));
    if !down.is_empty() {
        return Some(format!("down by order: {down}"));
    }
    of_no_use(snapshot, |n| part.needs(n.kind))
}

fn list<'a>(names: impl Iterator<Item = &'a NodeName>) -> String {
    names.map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Timestamp, ids::ProcessId},
        engine::{OrderReply, Rejection},
        operate::operation::Operations,
        sys::process,
    };
    use std::sync::{Arc, Mutex};

    fn left(undo: serde_json::Value) -> Record {
        Record {
            schema: 1,
            kind: "drill".into(),
            detail: "broker-pause".into(),
            by: None,
            begun_at: Timestamp(0),
            boot_id: String::new(),
            daemon_pid: 1,
            step: String::new(),
            undo: Some(undo),
            left_down: Vec::new(),
            asked: None,
        }
    }

    /// Of `a`, `b` that needs it, and `c`, which a drill had ordered down: what is ordered by whoever undoes that when somebody has
    /// stopped `left_down` meanwhile, and what is said. `answer` is what comes of an order.
    async fn ordered_for(left_down: &[&str], up: &[&str], answer: fn() -> OrderReply) -> (Vec<EngineOrder>, String) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let names = |list: &[&str]| list.iter().map(|name| NodeName::new(*name).unwrap()).collect::<Vec<_>>();
        let node = |name: &str, after: &[&str]| {
            let state = if up.contains(&name) { "starting" } else { "down" };
            let mut node = NodeSnapshot::sample(NodeName::new(name).unwrap(), NodeKind::Command, state, 1);
            node.wanted = if up.contains(&name) { Wanted::Up } else { Wanted::Down };
            node.after = names(after);
            Arc::new(node)
        };
        let snapshot = Snapshot { nodes: vec![node("a", &[]), node("b", &["a"]), node("c", &[])], ending: false };
        let orders: Arc<Mutex<Vec<EngineOrder>>> = Arc::default();
        let heard = Arc::clone(&orders);
        let engine = Handle::answering(&layout, snapshot, move |order| {
            heard.lock().unwrap().push(order);
            answer()
        });
        let record =
            Record { left_down: names(left_down), ..left(serde_json::json!({"down": ["a", "b", "c", "gone"]})) };
        let operations = Operations::new(layout.clone(), engine.journal().clone());
        let running = operations.resume(record.clone()).unwrap();
        let said = undo(&record, &running, &engine, &Targets::default(), &layout).await;
        running.end("undone");
        let orders = std::mem::take(&mut *orders.lock().unwrap());
        (orders, said.join("; "))
    }

    #[tokio::test]
    async fn what_a_drill_had_ordered_down_is_ordered_up_but_for_what_somebody_stopped_and_what_needs_that() {
        let start = |names: &[&str]| {
            let nodes = names.iter().map(|name| NodeName::new(*name).unwrap()).collect();
            vec![EngineOrder::Start { nodes, with_needs: false }]
        };
        let done: fn() -> OrderReply = || Ok(Vec::new());
        for (left_down, up, ordered, words) in [
            (&[][..], &[][..], start(&["a", "b", "c"]), "started a, b, c again"),
            (&["c"], &[], start(&["a", "b"]), "started a, b again"),
            (
                &["a"],
                &[],
                start(&["c"]),
                "started c again; left down for want of a: b; `cdc-supervisor start a b` starts them",
            ),
            // Nobody is asked: an order without names is about all.
            (&["a", "b", "c"], &[], vec![], ""),
            (&["b"], &["a", "c"], vec![], ""),
            (&[], &["a"], start(&["b", "c"]), "started b, c again"),
        ] {
            let (orders, said) = ordered_for(left_down, up, done).await;
            assert_eq!((format!("{orders:?}"), said.as_str()), (format!("{ordered:?}"), words), "{left_down:?} {up:?}");
        }
        let refused: fn() -> OrderReply = || Err(Rejection::NotNow("there is no room".into()));
        let (orders, said) = ordered_for(&["c"], &[], refused).await;
        assert_eq!(format!("{orders:?}"), format!("{:?}", start(&["a", "b"])));
        assert_eq!(said, "a, b could not be told to start: there is no room");
    }

    #[test]
    fn nobody_waits_for_what_only_somebody_else_can_mend() {
        let stack = |states: [(&'static str, &str); 3]| Snapshot {
            nodes: (1..)
                .zip(states)
                .map(|(id, (state, detail))| {
                    let mut node = NodeSnapshot::sample(NodeName::broker(id), NodeKind::Broker(id), state, 1);
                    node.serves = state == "ready";
                    node.detail = detail.into();
                    Arc::new(node)
                })
                .collect(),
            ending: false,
        };
        let no_room = format!("{NO_ROOM}: less than 512M were free on /srv");
        let held = ("waiting", no_room.as_str());
        let why = |states| in_vain(&stack(states), Part::Topics);
        assert_eq!(why([("ready", ""), ("starting", ""), held]), None, "one is under way");
        assert_eq!(why([("ready", ""), ("waiting", "waits for zookeeper"), ("ready", "")]), None);
        assert_eq!(
            why([("ready", ""), ("waiting", "waits for broker-3"), held]),
            Some(format!("broker-3 is waiting ({no_room})"))
        );
        let failed = ("failed", "exit 1");
        assert_eq!(why([failed, ("stopping", ""), failed]), None);
        assert_eq!(
            why([failed, ("ready", ""), held]),
            Some(format!("broker-1 is failed (exit 1); broker-3 is waiting ({no_room})"))
        );
        assert_eq!(in_vain(&stack([failed; 3]), Part::Table), None, "MySQL has no part in it");
        let mut down = stack([("ready", ""); 3]);
        down.nodes[1] = Arc::new(NodeSnapshot { wanted: Wanted::Down, ..(*down.nodes[1]).clone() });
        assert_eq!(in_vain(&down, Part::Topics), Some("down by order: broker-2".into()));
        assert!(in_vain(&Snapshot { ending: true, ..down }, Part::Table).is_some());
    }

    #[test]
    fn a_stopped_process_goes_on_and_another_of_its_pid_hears_nothing() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        let until = |wanted: char| {
            for _ in 0..1_000 {
                if state() == wanted {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            panic!("{} and not {wanted}", state());
        };
        let own = process::identity(pid).unwrap();
        process::pidfd_signal(&process::pidfd_open(pid).unwrap(), libc::SIGSTOP).unwrap();
        until('T');
        let stranger = ProcessId { start_ticks: own.start_ticks + 1, ..own.clone() };
        assert_eq!(continue_paused(&left(serde_json::json!({"paused": stranger}))), None);
        assert_eq!(continue_paused(&left(serde_json::json!({"topics": true}))), None);
        assert_eq!(state(), 'T');
        let said = continue_paused(&left(serde_json::json!({"paused": own, "of_a_later_version": 1}))).unwrap();
        assert!(said.starts_with("SIGCONT to pid"), "{said}");
        until('S');
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
