//! The watch over the room that data have: tells when it gets short and who takes it, has nodes stopped before there is none, gives
//! the ballast up for that and makes it again. What a node is held down for is decided in `engine::disk`, and asked before each
//! start; this only orders a restart, which then waits.

mod looking;
mod takers;
mod words;

use crate::{
    base::{ByteSize, EventKind, EventLine, Incarnation, NodeKind, NodeName, Reason},
    engine::{
        EngineOrder, Handle, NodeSnapshot, Snapshot, Wanted,
        disk::{Ballast, Found, Guard, Level, ballast, file_system},
    },
    sys::{error::SysError, fs, room},
};
use looking::Looking;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

/// Longest and shortest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Pause while somebody is held down.
const HELD: Duration = Duration::from_secs(1);

/// How fast a disk is thought to be filled at the most, bytes a second: the next look comes before that could reach the mark.
const FILLS: u64 = 1 << 30;

/// How long one look, or one change of a ballast, may take.
const ANSWERS: Duration = Duration::from_secs(5);

/// How often it is counted again who takes the room, while there is little.
const COUNT_AGAIN: Duration = Duration::from_secs(60);

/// How long a change is kept back for the count.
const COUNTED: Duration = Duration::from_secs(10);

/// What was seen last, for whoever wants to know.
#[derive(Clone, Debug, Default)]
pub struct Disks(Arc<Mutex<Vec<Disk>>>);

/// One file system with what takes its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What was seen.
    pub found: Found,
    /// Who takes the most, in words; empty while there is room.
    pub takers: Vec<String>,
}

impl Disks {
    /// The newest.
    pub fn latest(&self) -> Vec<Disk> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Disk>> {
        // Each value is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, disks: Vec<Disk>) {
        *self.lock() = disks;
    }

    fn set_takers(&self, device: u64, takers: &[String]) {
        if let Some(disk) = self.lock().iter_mut().find(|disk| disk.found.device == device) {
            disk.takers = takers.to_vec();
        }
    }
}

/// Watches until the engine ends.
pub async fn watch(engine: Handle, guard: Arc<Guard>, disks: Disks) {
    let mut changes = engine.watch();
    let (counts, mut counted) = mpsc::unbounded_channel();
    let mut watching = Watching::new(counts);
    let mut looking = Looking::default();
    loop {
        let snapshot = changes.borrow_and_update().clone();
        let runs = snapshot.nodes.iter().any(|n| n.process.is_some() || n.wanted == Wanted::Up);
        if !guard.is_on() || !runs {
            disks.set(Vec::new());
            watching.off(&guard).await;
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let looked = looking.look(guard.places(), ANSWERS, file_system).await;
        let judge = Arc::clone(&guard);
        // Without an answer there is nothing to be done; the next look asks again.
        let found = tokio::task::spawn_blocking(move || judge.judge(looked)).await.unwrap_or_default();
        let until = Instant::now() + pause(&found);
        // What was seen is older than what runs now.
        let snapshot = engine.snapshot();
        watching.turn(&engine, &snapshot, found, &disks).await;
        loop {
            tokio::select! {
                () = sleep_until(until) => break,
                () = ended(&engine) => return,
                Some((device, takers)) = counted.recv() => watching.counted(&engine, device, takers, &disks),
            }
        }
    }
}

async fn ended(engine: &Handle) {
    let mut changes = engine.watch();
    while changes.changed().await.is_ok() {}
}

/// How long nobody has to look again.
fn pause(found: &[Found]) -> Duration {
    let one = |found: &Found| match found.level {
        Level::Stop | Level::Last => HELD,
        Level::Fine | Level::Low => {
            let left = found.room().saturating_sub(found.levels.stop);
            Duration::from_millis(left.saturating_mul(1_000) / FILLS).clamp(PAUSE.0, PAUSE.1)
        }
    };
    found.iter().map(one).min().unwrap_or(PAUSE.1)
}

/// What is known of one file system besides the look.
#[derive(Debug, Default)]
struct Told {
    /// The level that was told last.
    level: Level,
    /// Who takes its room.
    takers: Vec<String>,
    counting: bool,
    counted: Option<Instant>,
    /// A change that waits for the count: from which level, who was stopped, since when.
    pending: Option<(Found, Level, Vec<NodeName>, Instant)>,
}

#[derive(Debug)]
struct Watching {
    told: BTreeMap<u64, Told>,
    /// Runs that were ordered to stop.
    ordered: BTreeSet<(NodeName, Incarnation)>,
    /// Ballasts that could not be made, told once.
    refused: BTreeSet<u64>,
    /// How large a ballast was made last: where that cannot be seen afterwards it is not made again and again.
    made: BTreeMap<u64, u64>,
    /// Where counts come to.
    counts: mpsc::UnboundedSender<(u64, Vec<String>)>,
}

impl Watching {
    fn new(counts: mpsc::UnboundedSender<(u64, Vec<String>)>) -> Self {
        Self {
            told: BTreeMap::new(),
            ordered: BTreeSet::new(),
            refused: BTreeSet::new(),
            made: BTreeMap::new(),
            counts,
        }
    }

    async fn turn(&mut self, engine: &Handle, snapshot: &Snapshot, all: Vec<Found>, disks: &Disks) {
        self.told.retain(|device, _| all.iter().any(|f| f.device == *device));
        self.ordered.retain(|(name, run)| snapshot.nodes.iter().any(|n| n.name == *name && n.incarnation == *run));
        // First what keeps nodes from a full disk, on every file system.
        for found in &all {
            for (name, run) in to_stop(snapshot, found) {
                if self.ordered.contains(&(name.clone(), run)) {
                    continue;
                }
                // It is taken at once, and carried out behind a stop: the node starts again when there is room. One that is refused
                // is given again at the next look.
                match engine.because(Reason::Disk).order(EngineOrder::Bounce { node: name.clone() }).await {
                    Ok(_) => drop(self.ordered.insert((name, run))),
                    Err(why) => tracing::debug!(node = %name, "not stopped for room: {why:?}"),
                }
            }
        }
        for found in &all {
            self.ballast(engine, found).await;
        }
        for found in &all {
            self.judged(engine, snapshot, found);
        }
        let takers = |found: &Found| self.told.get(&found.device).map(|told| told.takers.clone()).unwrap_or_default();
        disks.set(all.into_iter().map(|found| Disk { takers: takers(&found), found }).collect());
    }

    /// Tells of a change of level, with who takes the room as soon as that is counted.
    fn judged(&mut self, engine: &Handle, snapshot: &Snapshot, found: &Found) {
        let told = self.told.entry(found.device).or_default();
        if found.level != told.level {
            if let Some((before, was, stopped, _)) = told.pending.take() {
                tell(engine, &before, was, &[], &stopped);
            }
            let was = std::mem::replace(&mut told.level, found.level);
            let wanted = |name: &&NodeName| snapshot.nodes.iter().any(|n| n.name == **name && n.wanted == Wanted::Up);
            let stopped: Vec<NodeName> = found.held().filter(wanted).cloned().collect();
            if found.level == Level::Fine {
                told.takers.clear();
                tell(engine, found, was, &[], &stopped);
            } else {
                told.counted = None;
                told.pending = Some((found.clone(), was, stopped, Instant::now()));
            }
        }
        if let Some((before, was, stopped, _)) = told.pending.take_if(|(_, _, _, since)| since.elapsed() > COUNTED) {
            tell(engine, &before, was, &[], &stopped);
        }
        let old = told.counted.is_none_or(|at| at.elapsed() > COUNT_AGAIN);
        if found.level != Level::Fine && old && !told.counting {
            told.counting = true;
            let (counts, found) = (self.counts.clone(), found.clone());
            // Nobody listens any more when the engine has ended.
            tokio::spawn(async move { drop(counts.send((found.device, takers::count(&found).await))) });
        }
    }

    /// It was counted who takes the room.
    fn counted(&mut self, engine: &Handle, device: u64, takers: Vec<String>, disks: &Disks) {
        let Some(told) = self.told.get_mut(&device) else { return };
        told.counting = false;
        if told.level == Level::Fine {
            return;
        }
        told.counted = Some(Instant::now());
        told.takers = takers;
        disks.set_takers(device, &told.takers);
        if let Some((found, was, stopped, _)) = told.pending.take() {
            tell(engine, &found, was, &told.takers, &stopped);
        }
    }

    async fn ballast(&mut self, engine: &Handle, found: &Found) {
        let Some(path) = found.ballast.clone() else { return };
        let name = path.display().to_string();
        let mount = found.mount.display().to_string();
        let note = |text: String| {
            tracing::info!("{text}");
            engine.journal().note(EventLine::new(EventKind::DiskBallast, text));
        };
        if !self.told.contains_key(&found.device) {
            // What a daemon that was killed while it made one has left takes room for nothing.
            let path = path.clone();
            on_disk(move || room::clear(&path)).await;
        }
        match ballast(&found.levels, found.wanted, found.seen, found.level) {
            Ballast::Leave => {}
            Ballast::GiveUp => match on_disk(move || room::give(&path)).await {
                Some(Ok(())) => {
                    let size = ByteSize(found.seen.ballast).rounded();
                    note(format!("{size} of ballast on {mount} are given up, so that a stop has room"));
                }
                Some(Err(e)) => tracing::warn!(error = %e.source, "{e}"),
                None => {}
            },
            Ballast::Remove if self.made.get(&found.device) == Some(&found.wanted) => {}
            Ballast::Remove => {
                if let Some(Err(e)) = on_disk(move || fs::remove_optional(&path)).await {
                    tracing::warn!(error = %e.source, "{e}");
                }
            }
            Ballast::Make(bytes) => match on_disk(move || room::hold(&path, bytes)).await {
                Some(Ok(())) => {
                    self.made.insert(found.device, bytes);
                    self.refused.remove(&found.device);
                    note(format!("{} of ballast are held on {mount} ({name})", ByteSize(bytes).rounded()));
                }
                Some(Err(e)) if self.refused.insert(found.device) => {
                    note(format!("no ballast on {mount}: {e}: {}", e.source));
                }
                Some(Err(_)) | None => {}
            },
        }
    }

    /// Nothing is watched: ballasts of a guard that was switched off go.
    async fn off(&mut self, guard: &Arc<Guard>) {
        self.told.clear();
        let guard = Arc::clone(guard);
        let remove = |path: PathBuf| fs::remove_optional(&path).and_then(|()| room::clear(&path));
        let done = on_disk(move || guard.left_behind().into_iter().try_for_each(remove)).await;
        if let Some(Err(e)) = done {
            tracing::warn!(error = %e.source, "{e}");
        }
    }
}

/// Work on a file system that may not answer; none: it did not, in time.
async fn on_disk(work: impl FnOnce() -> Result<(), SysError> + Send + 'static) -> Option<Result<(), SysError>> {
    timeout(ANSWERS, tokio::task::spawn_blocking(work)).await.ok()?.ok()
}

/// The runs that are to stop now, of those that are held down. ZooKeeper waits for the brokers: one that stops without it waits for it
/// until it is killed, with what it has not written.
fn to_stop(snapshot: &Snapshot, found: &Found) -> Vec<(NodeName, Incarnation)> {
    let node = |name: &NodeName| snapshot.nodes.iter().find(|n| n.name == *name);
    let brokers_run = found.held().filter_map(node).any(|n| match n.kind {
        NodeKind::Broker(_) => n.process.is_some(),
        NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => false,
    });
    let runs = |n: &&Arc<NodeSnapshot>| n.wanted == Wanted::Up && n.process.is_some() && n.state != "stopping";
    let now = |n: &&Arc<NodeSnapshot>| n.kind != NodeKind::Zookeeper || !brokers_run;
    found.held().filter_map(node).filter(runs).filter(now).map(|n| (n.name.clone(), n.incarnation)).collect()
}

fn tell(engine: &Handle, found: &Found, was: Level, takers: &[String], stopped: &[NodeName]) {
    let (kind, text) = words::words(found, was, takers, stopped);
    if found.level > was {
        tracing::warn!("{text}");
    } else {
        tracing::info!("{text}");
    }
    engine.journal().note(EventLine::new(kind, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::ids::ProcessId,
        engine::disk::{Levels, Seen},
    };

    const MIB: u64 = 1 << 20;

    pub(super) fn found(free: u64, level: Level) -> Found {
        Found {
            device: 1,
            mount: "/srv".into(),
            total: 100 << 30,
            seen: Seen { free: free * MIB, ballast: 256 * MIB },
            levels: Levels { ballast: 256 * MIB, low: 2_048 * MIB, stop: 512 * MIB, resume: 1_024 * MIB },
            level,
            ballast: None,
            wanted: 256 * MIB,
            nodes: vec![
                (NodeName::zookeeper(), NodeKind::Zookeeper),
                (NodeName::broker(1), NodeKind::Broker(1)),
                (NodeName::mysql(), NodeKind::Mysql),
            ],
            dirs: Vec::new(),
        }
    }

    #[test]
    fn the_nearer_to_the_mark_the_sooner_the_next_look() {
        assert_eq!(pause(&[]), Duration::from_secs(5));
        assert_eq!(pause(&[found(100_000, Level::Fine)]), Duration::from_secs(5));
        assert_eq!(pause(&[found(100_000, Level::Fine), found(2_560, Level::Fine)]), Duration::from_secs(2));
        assert_eq!(pause(&[found(600, Level::Low)]), Duration::from_millis(250));
        assert_eq!(pause(&[found(100, Level::Stop)]), Duration::from_secs(1));
    }

    #[test]
    fn brokers_go_first_and_zookeeper_when_none_of_them_runs_any_more() {
        let node = |name: NodeName, kind, state: &'static str| {
            let mut node = NodeSnapshot::sample(name, kind, state, 7);
            node.wanted = Wanted::Up;
            node.process = (state != "waiting").then(|| ProcessId { pid: 1, start_ticks: 1, boot_id: "b".into() });
            Arc::new(node)
        };
        let snapshot = |broker: &'static str| Snapshot {
            nodes: vec![
                node(NodeName::zookeeper(), NodeKind::Zookeeper, "ready"),
                node(NodeName::broker(1), NodeKind::Broker(1), broker),
                node(NodeName::broker(2), NodeKind::Broker(2), "ready"),
                node(NodeName::mysql(), NodeKind::Mysql, "ready"),
            ],
            ending: false,
        };
        let names = |broker, level| {
            let all = to_stop(&snapshot(broker), &found(20, level));
            all.into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert!(names("ready", Level::Low).is_empty());
        assert_eq!(names("ready", Level::Stop), ["broker-1"], "the other has its data elsewhere");
        assert_eq!(names("ready", Level::Last), ["broker-1", "mysql"], "straight from plenty");
        assert_eq!(names("stopping", Level::Last), ["mysql"]);
        assert_eq!(names("waiting", Level::Last), ["zookeeper", "mysql"]);
    }
}
