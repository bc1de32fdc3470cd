//! The watch over the room that data have: tells when it gets short and who takes it, has nodes stopped before there is none, gives
//! the ballast up for that and makes it again. What a node is held down for is decided in `engine::disk`, and asked before each
//! start; this only orders a restart, which then waits.

use crate::{
    base::{ByteSize, EventKind, EventLine, Incarnation, NodeName, Reason},
    engine::{
        EngineOrder, Handle, NodeSnapshot, Snapshot, Wanted,
        disk::{Ballast, Found, Guard, Level, ballast},
    },
    sys::{clock, fs, room},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// Longest and shortest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Pause while somebody is held down.
const HELD: Duration = Duration::from_secs(1);

/// How fast a disk is thought to be filled at the most, bytes a second: the next look comes before that could reach the mark.
const FILLS: u64 = 1 << 30;

/// How long may be counted who takes the room, each directory.
const COUNT: Duration = Duration::from_secs(5);

/// How many of them are named.
const NAMED: usize = 4;

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, disks: Vec<Disk>) {
        // The value is replaced as a whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = disks;
    }
}

/// Watches until the engine ends.
pub async fn watch(engine: Handle, guard: Arc<Guard>, disks: Disks) {
    let mut changes = engine.watch();
    let mut watching = Watching::default();
    loop {
        let snapshot = changes.borrow_and_update().clone();
        let runs = snapshot.nodes.iter().any(|n| n.process.is_some() || n.wanted == Wanted::Up);
        if !guard.is_on() || !runs {
            disks.set(Vec::new());
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let looker = Arc::clone(&guard);
        // Without an answer there is nothing to be done; the next look asks again.
        let found = tokio::task::spawn_blocking(move || looker.look()).await.unwrap_or_default();
        let pause = pause(&found);
        watching.turn(&engine, &snapshot, found, &disks).await;
        tokio::select! {
            () = sleep(pause) => {}
            () = ended(&engine) => return,
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

#[derive(Debug, Default)]
struct Watching {
    /// What was told of each file system last, and who takes its room.
    told: BTreeMap<u64, (Level, Vec<String>)>,
    /// Runs that were ordered to stop.
    ordered: BTreeSet<(NodeName, Incarnation)>,
    /// Ballasts that could not be made, told once.
    refused: BTreeSet<u64>,
}

impl Watching {
    async fn turn(&mut self, engine: &Handle, snapshot: &Snapshot, all: Vec<Found>, disks: &Disks) {
        self.told.retain(|device, _| all.iter().any(|f| f.device == *device));
        self.ordered.retain(|(name, run)| snapshot.nodes.iter().any(|n| n.name == *name && n.incarnation == *run));
        let mut shown = Vec::new();
        for found in all {
            self.ballast(engine, &found).await;
            let held = self.stop(engine, snapshot, &found);
            let (was, _) = self.told.get(&found.device).cloned().unwrap_or_default();
            if found.level != was {
                let takers = if found.level == Level::Fine { Vec::new() } else { takers(&found).await };
                tell(engine, &found, was, &takers, &held);
                self.told.insert(found.device, (found.level, takers));
            }
            let takers = self.told.get(&found.device).map(|(_, takers)| takers.clone()).unwrap_or_default();
            shown.push(Disk { found, takers });
        }
        disks.set(shown);
    }

    /// Has those stopped that are held down and run; names all that are held down.
    fn stop(&mut self, engine: &Handle, snapshot: &Snapshot, found: &Found) -> Vec<NodeName> {
        let held: Vec<NodeName> =
            found.nodes.iter().filter(|(_, kind)| found.level.holds(*kind)).map(|(name, _)| name.clone()).collect();
        let runs = |n: &&Arc<NodeSnapshot>| {
            n.wanted == Wanted::Up && n.process.is_some() && n.state != "stopping" && held.contains(&n.name)
        };
        let runs = snapshot.nodes.iter().filter(runs).filter(|n| self.ordered.insert((n.name.clone(), n.incarnation)));
        let nodes: Vec<NodeName> = runs.map(|n| n.name.clone()).collect();
        if !nodes.is_empty() {
            let engine = engine.because(Reason::Disk);
            // It is carried out when there is room again, which nobody here waits for.
            tokio::spawn(async move { drop(engine.order(EngineOrder::Restart { nodes }).await) });
        }
        held
    }

    async fn ballast(&mut self, engine: &Handle, found: &Found) {
        let Some(path) = found.ballast.clone() else { return };
        let name = path.display().to_string();
        let mount = found.mount.display().to_string();
        match ballast(&found.levels, found.seen, found.level) {
            Ballast::Leave => {}
            Ballast::GiveUp => {
                let removed = tokio::task::spawn_blocking(move || fs::remove_optional(&path)).await;
                match removed {
                    Ok(Ok(())) if found.level >= Level::Stop => {
                        let size = ByteSize(found.seen.ballast).rounded();
                        let text = format!("{size} of ballast on {mount} are given up, so that a stop has room");
                        tracing::info!("{text}");
                        engine.journal().note(EventLine::new(EventKind::DiskBallast, text));
                    }
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(e)) => tracing::warn!(error = %e.source, "{e}"),
                }
            }
            Ballast::Make(bytes) => {
                let made = tokio::task::spawn_blocking(move || room::hold(&path, bytes)).await;
                match made {
                    Ok(Ok(())) => {
                        self.refused.remove(&found.device);
                        let text = format!("{} of ballast are held on {mount} ({name})", ByteSize(bytes).rounded());
                        tracing::info!("{text}");
                        engine.journal().note(EventLine::new(EventKind::DiskBallast, text));
                    }
                    Ok(Err(e)) if self.refused.insert(found.device) => {
                        let text = format!("no ballast on {mount}: {e}: {}", e.source);
                        tracing::info!("{text}");
                        engine.journal().note(EventLine::new(EventKind::DiskBallast, text));
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        }
    }
}

/// Who takes the most room, the largest first.
async fn takers(found: &Found) -> Vec<String> {
    let dirs = found.dirs.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let count = |(name, dir): (String, std::path::PathBuf)| {
            let bytes = room::taken_by(&dir, clock::now() + COUNT);
            (bytes.unwrap_or(u64::MAX), name, dir)
        };
        dirs.into_iter().map(count).collect::<Vec<_>>()
    });
    let mut counted = counted.await.unwrap_or_default();
    counted.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let some = counted.into_iter().filter(|(bytes, _, _)| *bytes >= 1 << 20).take(NAMED);
    some.map(|(bytes, name, dir)| {
        let size = if bytes == u64::MAX { "too much to count".into() } else { ByteSize(bytes).rounded().to_string() };
        format!("{name} {size} ({})", dir.display())
    })
    .collect()
}

fn tell(engine: &Handle, found: &Found, was: Level, takers: &[String], held: &[NodeName]) {
    let (kind, text) = words(found, was, takers, held);
    if found.level > was {
        tracing::warn!("{text}");
    } else {
        tracing::info!("{text}");
    }
    engine.journal().note(EventLine::new(kind, text));
}

/// The event of a change of level.
fn words(found: &Found, was: Level, takers: &[String], held: &[NodeName]) -> (EventKind, String) {
    let mount = found.mount.display();
    let free = ByteSize(found.seen.free).rounded();
    let size = |bytes: u64| ByteSize(bytes).rounded();
    let (low, stop, resume) = (size(found.levels.low), size(found.levels.stop), size(found.resume()));
    let by = if takers.is_empty() { String::new() } else { format!("; most is taken by {}", takers.join(", ")) };
    let names: Vec<&str> = held.iter().map(NodeName::as_str).collect();
    match found.level {
        Level::Stop | Level::Last if found.level > was => (
            EventKind::DiskStop,
            format!(
                "{free} free on {mount}: {} stopped before it is full, and started again by themselves when {resume} are free{by}",
                names.join(", ")
            ),
        ),
        Level::Low if was < Level::Low => (
            EventKind::DiskLow,
            format!("{free} free on {mount}, less than {low}: brokers are stopped below {stop}{by}"),
        ),
        Level::Stop | Level::Last | Level::Low => {
            (EventKind::DiskEased, format!("{free} free on {mount} again: what was stopped for it starts again"))
        }
        Level::Fine => (EventKind::DiskEased, format!("{free} free on {mount} again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::disk::{Levels, Seen};

    const MIB: u64 = 1 << 20;

    fn found(free: u64, level: Level) -> Found {
        Found {
            device: 1,
            mount: "/srv".into(),
            total: 100 << 30,
            seen: Seen { free: free * MIB, ballast: 256 * MIB },
            levels: Levels { ballast: 256 * MIB, low: 2_048 * MIB, stop: 512 * MIB, resume: 1_024 * MIB },
            level,
            ballast: None,
            nodes: vec![(NodeName::broker(1), crate::base::NodeKind::Broker(1))],
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
    fn a_change_is_told_with_sizes_names_and_who_takes_the_room() {
        let takers = ["data of broker-1 9G (/srv/b1)".to_owned()];
        let (kind, text) = words(&found(1_900, Level::Low), Level::Fine, &takers, &[]);
        assert_eq!(kind, EventKind::DiskLow);
        assert_eq!(
            text,
            "1900M free on /srv, less than 2G: brokers are stopped below 512M; most is taken by data of broker-1 9G (/srv/b1)"
        );
        let (kind, text) = words(&found(500, Level::Stop), Level::Low, &[], &[NodeName::broker(1)]);
        assert_eq!(kind, EventKind::DiskStop);
        assert_eq!(
            text,
            "500M free on /srv: broker-1 stopped before it is full, and started again by themselves when 1280M are free"
        );
        let (kind, text) = words(&found(1_900, Level::Low), Level::Stop, &[], &[]);
        assert_eq!(
            (kind, text.as_str()),
            (EventKind::DiskEased, "1900M free on /srv again: what was stopped for it starts again")
        );
        let (kind, _) = words(&found(9_000, Level::Fine), Level::Low, &[], &[]);
        assert_eq!(kind, EventKind::DiskEased);
    }

    #[test]
    fn a_held_node_says_what_it_waits_for_in_words_that_stay() {
        let one = found(500, Level::Stop);
        assert_eq!(
            one.why_held(),
            "stopped: disk space: less than 512M free on /srv; it starts again by itself when 1280M are free; `cdc-supervisor status` shows what takes the room"
        );
    }
}
