//! The room that nodes' data have: looked at per file system, judged by `decide`, and asked before each start whether a node is
//! held down for want of it.

mod decide;

pub use decide::{Ballast, Level, Levels, Seen, ballast};

use crate::{
    base::{ByteSize, Layout, NodeKind, NodeName},
    config::{self, Plan},
    sys::mounts::{self, FileSystem},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is watched, and how full each was when it was looked at last.
#[derive(Debug)]
pub struct Guard {
    layout: Layout,
    what: Mutex<What>,
    levels: Mutex<BTreeMap<u64, Level>>,
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

/// A product node, and where its data are.
type Place = (NodeName, NodeKind, PathBuf);

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

    /// Why a node is held down, in words that do not change while it is.
    pub fn why_held(&self) -> String {
        format!(
            "stopped: disk space: less than {} free on {}; it starts again by itself when {} are free; `cdc-supervisor status` shows what takes the room",
            ByteSize(self.levels.stop),
            self.mount.display(),
            ByteSize(self.resume()).rounded(),
        )
    }
}

impl Guard {
    /// For this plan; nothing was looked at yet.
    pub fn new(plan: &Plan) -> Self {
        Self { layout: plan.layout(), what: Mutex::new(What::of(plan)), levels: Mutex::default() }
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

    /// Looks at every file system that holds data. One that does not answer makes this hang: call it where that may be.
    pub fn look(&self) -> Vec<Found> {
        let what = self.what().clone();
        if !what.disk.guard {
            return Vec::new();
        }
        let mut systems: BTreeMap<u64, (FileSystem, Vec<Place>)> = BTreeMap::new();
        for place in &what.places {
            // What is not there yet will be where its parent is.
            let Some(there) = place.2.ancestors().find(|dir| dir.exists()) else { continue };
            match mounts::file_system(there) {
                Ok(system) if system.read_only || system.total == 0 => {}
                Ok(system) => {
                    systems.entry(system.device).or_insert_with(|| (system, Vec::new())).1.push(place.clone());
                }
                Err(e) => tracing::debug!(error = %e.source, "{e}"),
            }
        }
        let mut known = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|device, _| systems.contains_key(device));
        systems.into_values().map(|(system, places)| self.found(&what.disk, system, &places, &mut known)).collect()
    }

    fn found(
        &self,
        disk: &config::Disk,
        system: FileSystem,
        places: &[(NodeName, NodeKind, PathBuf)],
        known: &mut BTreeMap<u64, Level>,
    ) -> Found {
        let ballast = self.ballast_path(system.device, places);
        let mut levels = Levels::of(disk, system.total);
        if ballast.is_none() {
            levels.ballast = 0;
        }
        let size = ballast.as_ref().and_then(|path| std::fs::symlink_metadata(path).ok()).filter(|meta| meta.is_file());
        let seen = Seen { free: system.free, ballast: size.map_or(0, |meta| meta.len()) };
        let was = known.get(&system.device).copied();
        // A daemon that comes after one that gave the ballast up goes on where that was.
        let gone = levels.ballast > 0 && seen.ballast == 0 && seen.room(&levels) < levels.resume;
        let was = was.unwrap_or(if gone { Level::Stop } else { Level::Fine });
        let level = decide::judge(&levels, seen, was);
        known.insert(system.device, level);
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
            nodes: places.iter().map(|(node, kind, _)| (node.clone(), *kind)).collect(),
            dirs,
        }
    }

    /// Below `state` on the root's own file system; elsewhere beside a data directory, where that is on the same one.
    fn ballast_path(&self, device: u64, places: &[(NodeName, NodeKind, PathBuf)]) -> Option<PathBuf> {
        if device_of(self.layout.root()) == Some(device) {
            return Some(self.layout.ballast());
        }
        let beside = places.iter().filter_map(|(_, _, dir)| dir.parent());
        let beside = beside.filter(|dir| device_of(dir) == Some(device));
        beside.map(|dir| dir.join(".cdc-supervisor-ballast")).next()
    }

    /// Why a node is not to be started now; none: there is room, or it needs none. Looks.
    pub fn holds(&self, node: &NodeName) -> Option<String> {
        let found = self.look();
        let its = |found: &&Found| found.nodes.iter().any(|(name, kind)| name == node && found.level.holds(*kind));
        found.iter().find(its).map(Found::why_held)
    }
}

fn device_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| meta.dev())
}
