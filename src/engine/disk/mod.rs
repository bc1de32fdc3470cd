//! The room that nodes' data have: looked at per file system, judged by `decide`, and asked before each start whether a node is
//! held down for want of it.

mod decide;

pub use decide::{Ballast, Level, Levels, Seen, ballast};

use crate::{
    base::{BALLAST_BESIDE, ByteSize, Layout, NodeKind, NodeName},
    config::{self, Plan},
    sys::{
        mounts::{self, FileSystem},
        room::{self, Held},
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is watched, and what each file system was when it was looked at last.
#[derive(Debug)]
pub struct Guard {
    layout: Layout,
    what: Mutex<What>,
    known: Mutex<BTreeMap<u64, Known>>,
}

/// What is known of a file system from the last look.
#[derive(Clone, Debug)]
struct Known {
    level: Level,
    /// Where its ballast lies.
    ballast: Option<PathBuf>,
}

/// What of a plan it watches.
#[derive(Clone, Debug)]
struct What {
    disk: config::Disk,
    /// Product nodes and their data.
    places: Vec<Place>,
}

impl What {
    fn of(plan: &Plan) -> Self {
        let kind = |node: &NodeName| plan.node(node).map(|view| view.kind);
        let place = |(node, dir): (NodeName, PathBuf)| kind(&node).map(|kind| (node, kind, dir));
        Self { disk: plan.disk, places: plan.data_directories().into_iter().filter_map(place).collect() }
    }
}

/// How the reason of a node that is held down begins.
pub const NO_ROOM: &str = "stopped: disk space";

/// A product node, and where its data are.
pub type Place = (NodeName, NodeKind, PathBuf);

/// One file system that holds data, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its device.
    pub device: u64,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its size, bytes.
    pub total: u64,
    /// What is free, and the ballast.
    pub seen: Seen,
    /// What holds for it.
    pub levels: Levels,
    /// How full it is.
    pub level: Level,
    /// Where its ballast lies; none: there is no place for one.
    pub ballast: Option<PathBuf>,
    /// How large that shall be; 0: none.
    pub wanted: u64,
    /// Nodes with their data there.
    pub nodes: Vec<(NodeName, NodeKind)>,
    /// Directories there that take room, with a name for each.
    pub dirs: Vec<(String, PathBuf)>,
}

impl Found {
    /// What would be free with the ballast whole.
    pub fn room(&self) -> u64 {
        self.seen.room(&self.levels)
    }

    /// How much must be free so that what is held down starts again: the ballast is made again, too.
    pub fn resume(&self) -> u64 {
        // Where somebody is held down it has been given up, or is about to be.
        let kept = if self.level >= Level::Stop { 0 } else { self.seen.ballast };
        self.levels.resume + self.levels.ballast.saturating_sub(kept)
    }

    /// The nodes that are held down.
    pub fn held(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().filter(|(_, kind)| self.level.holds(*kind)).map(|(name, _)| name)
    }

    /// Why a node is held down, in words that do not change while it is.
    pub fn why_held(&self) -> String {
        format!(
            "{NO_ROOM}: less than {} were free on {}; it starts again by itself when {} are free; `cdc-supervisor status` shows what takes the room",
            ByteSize(self.levels.stop),
            self.mount.display(),
            ByteSize(self.resume()).rounded(),
        )
    }
}

impl Guard {
    /// For this plan; nothing was looked at yet.
    pub fn new(plan: &Plan) -> Self {
        Self { layout: plan.layout(), what: Mutex::new(What::of(plan)), known: Mutex::default() }
    }

    /// Another plan is applied.
    pub fn change(&self, plan: &Plan) {
        *self.what() = What::of(plan);
    }

    /// It watches anything at all.
    pub fn is_on(&self) -> bool {
        let what = self.what();
        what.disk.guard && !what.places.is_empty()
    }

    fn what(&self) -> MutexGuard<'_, What> {
        // The value is replaced as a whole.
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        // Each value is replaced as a whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be looked at; nothing while the guard is off.
    pub fn places(&self) -> Vec<Place> {
        let what = self.what();
        if what.disk.guard { what.places.clone() } else { Vec::new() }
    }

    /// Judges what was looked at; who has not answered is not in it, and stays as known.
    pub fn judge(&self, looked: Vec<(Place, FileSystem)>) -> Vec<Found> {
        let what = self.what().clone();
        let mut systems: BTreeMap<u64, (FileSystem, Vec<Place>)> = BTreeMap::new();
        for (place, system) in looked {
            systems.entry(system.device).or_insert_with(|| (system, Vec::new())).1.push(place);
        }
        let known = self.known().clone();
        let found: Vec<Found> = systems
            .into_values()
            .map(|(system, places)| {
                let ballast = self.ballast_path(system.device, &places);
                let was = known.get(&system.device).map(|known| known.level);
                self.found(&what.disk, system, &places, ballast, was)
            })
            .collect();
        let mut known = self.known();
        for found in &found {
            known.insert(found.device, Known { level: found.level, ballast: found.ballast.clone() });
        }
        found
    }

    fn found(
        &self,
        disk: &config::Disk,
        system: FileSystem,
        places: &[Place],
        ballast: Option<PathBuf>,
        was: Option<Level>,
    ) -> Found {
        let by_plan = Levels::of(disk, system.total);
        let wanted = if ballast.is_some() { by_plan.ballast } else { 0 };
        let held = ballast.as_ref().filter(|_| wanted > 0).map_or(Held::Nothing, |path| room::held(path));
        let levels = Levels { ballast: wanted, ..by_plan }.counting(held);
        let bytes = if let Held::Bytes(bytes) = held { bytes } else { 0 };
        let seen = Seen { free: system.free, ballast: bytes };
        // A daemon that comes after one that gave the ballast up goes on where that was.
        let was = was.unwrap_or(if held == Held::Given { Level::Stop } else { Level::Fine });
        let level = decide::judge(&levels, seen, was);
        let mut dirs: Vec<(String, PathBuf)> =
            places.iter().map(|(node, _, dir)| (format!("data of {node}"), dir.clone())).collect();
        for (name, dir) in [("programs", self.layout.artifacts()), ("snapshots", self.layout.snapshots())] {
            if device_of(&dir) == Some(system.device) {
                dirs.push((name.into(), dir));
            }
        }
        if device_of(&self.layout.nodes()) == Some(system.device) {
            dirs.extend(places.iter().map(|(node, _, _)| (format!("logs of {node}"), self.layout.log_dir(node))));
        }
        Found {
            device: system.device,
            mount: system.mount,
            total: system.total,
            seen,
            levels,
            level,
            ballast,
            wanted,
            nodes: places.iter().map(|(node, kind, _)| (node.clone(), *kind)).collect(),
            dirs,
        }
    }

    /// Below `state` on the root's own file system; elsewhere beside a data directory, where that is on the same one.
    fn ballast_path(&self, device: u64, places: &[Place]) -> Option<PathBuf> {
        if device_of(self.layout.root()) == Some(device) {
            return Some(self.layout.ballast());
        }
        let beside = places.iter().filter_map(|(_, _, dir)| dir.parent());
        let beside = beside.filter(|dir| device_of(dir) == Some(device));
        beside.map(|dir| dir.join(BALLAST_BESIDE)).next()
    }

    /// Why a node is not to be started now; none: there is room, or it needs none. Looks where its own data are and nowhere else: a
    /// file system that does not answer makes this hang, and may be another node's.
    pub fn holds(&self, node: &NodeName) -> Option<String> {
        let place = self.places().into_iter().find(|(name, _, _)| name == node)?;
        let system = file_system(&place.2)?;
        let known = self.known().get(&system.device).cloned();
        let ballast = match &known {
            Some(known) => known.ballast.clone(),
            None => self.ballast_path(system.device, std::slice::from_ref(&place)),
        };
        let disk = self.what().disk;
        let kind = place.1;
        let found = self.found(&disk, system, &[place], ballast, known.map(|known| known.level));
        found.level.holds(kind).then(|| found.why_held())
    }

    /// Ballasts that are there although the guard is off. One beside data that are configured no longer is not known any more.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        let what = self.what().clone();
        if what.disk.guard {
            return Vec::new();
        }
        let beside = what.places.iter().filter_map(|(_, _, dir)| dir.parent()).map(|dir| dir.join(BALLAST_BESIDE));
        let mut all: Vec<PathBuf> = std::iter::once(self.layout.ballast()).chain(beside).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|path| room::held(path) != Held::Nothing);
        all
    }
}

/// The file system of a directory, or of the nearest above it: what is not there yet will be where its parent is. None where
/// nothing is to be kept free. Hangs as long as the file system does not answer.
pub fn file_system(dir: &Path) -> Option<FileSystem> {
    let there = dir.ancestors().find(|dir| dir.exists())?;
    match mounts::file_system(there) {
        Ok(system) => Some(system).filter(|system| !system.read_only && system.total > 0),
        Err(e) => {
            tracing::debug!(error = %e.source, "{e}");
            None
        }
    }
}

fn device_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| meta.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A guard of a plan with one broker whose data lie in `dir`, which is no part of the root's file system as far as it can tell.
    fn guard(dir: &Path, disk: &str) -> Guard {
        let text = format!(
            "[zookeeper]\n[kafka]\n[kafka.brokers.1]\ndata_dir = \"{0}/b1\"\n[kafka.brokers.2]\ndata_dir = \"{0}/b2\"\n\
             [kafka.brokers.3]\ndata_dir = \"{0}/b3\"\n[disk]\n{disk}\n",
            dir.display()
        );
        let source =
            config::Source { text: &text, name: "t", root_override: None, default_root: "/nonexistent/r".into() };
        Guard::new(&config::load(&source).unwrap())
    }

    fn system(dir: &Path, free: u64) -> FileSystem {
        FileSystem { total: 100 << 30, free: free * MIB, ..mounts::file_system(dir).unwrap() }
    }

    fn level(guard: &Guard, dir: &Path, free: u64) -> Level {
        let looked = guard.places().into_iter().filter(|(_, kind, _)| matches!(kind, NodeKind::Broker(_)));
        let found = guard.judge(looked.map(|place| (place, system(dir, free))).collect());
        assert_eq!(found.len(), 1);
        found[0].level
    }

    #[test]
    fn a_daemon_that_comes_anew_goes_on_with_a_ballast_that_was_given_up_and_misses_none_that_never_was() {
        let dir = tempfile::tempdir().unwrap();
        // 700M free: the marks are 512M and 1G.
        assert_eq!(level(&guard(dir.path(), ""), dir.path(), 700), Level::Low, "never made");
        let path = dir.path().join(BALLAST_BESIDE);
        room::hold(&path, MIB).unwrap();
        let ballast = "ballast = \"1M\"";
        assert_eq!(level(&guard(dir.path(), ballast), dir.path(), 700), Level::Low, "whole");
        room::give(&path).unwrap();
        assert_eq!(level(&guard(dir.path(), ballast), dir.path(), 700), Level::Stop, "given up");
        assert_eq!(level(&guard(dir.path(), ballast), dir.path(), 1_025), Level::Low);
    }

    #[test]
    fn a_guard_that_is_off_knows_what_it_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BALLAST_BESIDE);
        room::hold(&path, MIB).unwrap();
        let guard = |text| guard(dir.path(), text);
        assert!(guard("").left_behind().is_empty());
        assert_eq!(guard("guard = false").left_behind(), [path]);
        assert!(guard("guard = false").places().is_empty());
    }
}
