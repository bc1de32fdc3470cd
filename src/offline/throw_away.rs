//! The place of a throw-away cluster: a root of its own below the user's, made for one drill and removed after it, whoever ended it.
//!
//! Nothing of the user's cluster is touched, and nothing of it is needed but programs and settings.

mod derive;
mod memory;

use super::{owner, programs, status};
use crate::{
    artifact,
    base::{ByteSize, Layout, drill::Drill},
    config::Plan,
    sys::{
        confine::{Surroundings, User},
        error::SysError,
        fs::{self, Durability, Lock},
        process,
    },
};
use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

/// The file system of `disk-full`: what three empty brokers, their logs and a filler need, and little to fill.
const SMALL: ByteSize = ByteSize::mib(256);

/// What an old place is renamed to while it is removed, so that what is left of it is known.
const GOING: &str = "drill.going";

const MARK: &str =
    "A throw-away cluster of `cdc-supervisor drill`. It is removed when the drill ends, or by the next one.\n";

/// Why there is no throw-away cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMade {
    /// Exit code of the contract.
    pub exit: u8,
    /// One sentence.
    pub message: String,
    /// More about it.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl NotMade {
    fn new(exit: u8, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), hint: Some(hint.into()) }
    }

    fn because(mut self, causes: impl IntoIterator<Item = String>) -> Self {
        self.causes.extend(causes);
        self
    }
}

impl From<SysError> for NotMade {
    fn from(e: SysError) -> Self {
        let hint = match e.kind() {
            io::ErrorKind::PermissionDenied => Some(
                "run it as the owner of the root or with sudo, or name a directory of your own with --on DIR".into(),
            ),
            io::ErrorKind::StorageFull => Some("free some space, or name a directory elsewhere with --on DIR".into()),
            _ => None,
        };
        Self { exit: 1, message: e.to_string(), causes: vec![e.source.to_string()], hint }
    }
}

/// A place that this process has for itself.
#[derive(Debug)]
pub struct Place {
    /// Below which the root lies.
    base: Layout,
    /// The root.
    root: Layout,
    /// Who owns the base, where this process is root and somebody else does: the cluster runs as them, so that what it leaves in
    /// the store of programs is theirs.
    owner: Option<User>,
    lock: Lock,
}

/// A root as it can be reached from here.
#[derive(Debug)]
pub struct Reached {
    /// Every path of it.
    pub layout: Layout,
    /// Keeps a file system of another mount namespace reachable.
    _held: Option<File>,
}

/// What a daemon of the throw-away cluster is started with.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its configuration.
    pub config: PathBuf,
    /// Where it begins.
    pub surroundings: Surroundings,
    /// Its root lies on a file system that only it sees.
    pub small: bool,
}

impl Place {
    /// Takes the place below `base`.
    pub fn claim(base: &Path) -> Result<Self, NotMade> {
        let base = Layout::new(base);
        let root = Layout::new(base.throw_away());
        let (bytes, most) = (root.root().as_os_str().len(), Layout::root_bytes_max());
        if bytes > most {
            let message =
                format!("{} has {bytes} bytes, and sockets below it leave room for {most}", root.root().display());
            return Err(NotMade::new(2, message, "name a directory of a shorter path with --on DIR"));
        }
        if !base.root().exists() {
            fs::make_dir(base.root(), 0o750)?;
        }
        let owner = owner::of(base.root())?;
        let Some(lock) = Lock::try_take(&base.throw_away_lock())? else {
            let message = format!("another drill has its throw-away cluster in {} just now", root.root().display());
            return Err(NotMade::new(
                8,
                message,
                "try again when it has ended, or name another directory with --on DIR",
            ));
        };
        Ok(Self { base, root, owner, lock })
    }

    /// The root, by its plain path. Where it lies on a file system of its own, what is on that is reached by [`Reached::of`] only.
    pub fn root(&self) -> &Layout {
        &self.root
    }

    /// What a drill has left that nobody lived to end: roots in which something may run still.
    pub fn left(&self) -> Vec<Reached> {
        let plain = mark_of(&self.root, "");
        let mut seen: Vec<(u64, u64)> = plain.iter().map(|meta| (meta.dev(), meta.ino())).collect();
        let mut left: Vec<Reached> = plain.iter().map(|_| Reached { layout: self.root.clone(), _held: None }).collect();
        for pid in process::all() {
            let Some(mark) = mark_of(&self.root, &format!("/proc/{pid}/root")) else { continue };
            let file = (mark.dev(), mark.ino());
            if !seen.contains(&file) {
                seen.push(file);
                left.extend(Reached::of(pid, &self.root));
            }
        }
        left
    }

    /// Removes the root and the configuration. Nothing may run there any more.
    pub fn clear(&self) -> Result<(), NotMade> {
        let going = self.base.root().join(GOING);
        fs::remove_dir_all_optional(&going)?;
        let root = self.root.root();
        let is_dir = std::fs::symlink_metadata(root).map(|meta| meta.is_dir());
        match is_dir {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(SysError::path("look at", root, e).into()),
            Ok(true) if mark_of(&self.root, "").is_some() || fs::names_in(root)?.is_empty() => {
                std::fs::rename(root, &going).map_err(|e| SysError::path("rename", root, e))?;
                fs::remove_dir_all_optional(&going)?;
            }
            Ok(_) => {
                let message = format!("{} is there, and no drill has made it", root.display());
                return Err(NotMade::new(8, message, "rename or remove it, or name another directory with --on DIR"));
            }
        }
        Ok(fs::remove_optional(&self.base.throw_away_config())?)
    }

    /// Makes the root and a configuration for `drill` that is derived from `plan`. The place must be clear.
    pub fn make(&self, plan: &Plan, drill: Drill) -> Result<Made, NotMade> {
        let small = drill == Drill::DiskFull;
        let derived = derive::plan(plan, self.root.root(), &derive::free_ports(plan)?)?;
        let disk = if small { SMALL } else { ByteSize(0) };
        memory::fits(plan, &derived, disk, memory::Host::look())?;
        let settings = programs::settings(&derived, &self.root);
        let missing = artifact::survey(programs::wanted(&derived), &settings)
            .map_err(|e| {
                NotMade::new(5, "the store of programs cannot be looked at", "`cdc-supervisor fetch`")
                    .because([e.to_string()])
            })?
            .missing;
        if !missing.is_empty() {
            let causes = missing.iter().map(|m| format!("{}: {}", m.part, m.why));
            let message = "a throw-away cluster runs the programs of the store, and not all of them are there";
            return Err(NotMade::new(5, message, "`cdc-supervisor fetch` gets them").because(causes));
        }
        for dir in [self.root.root().to_owned(), self.root.state()] {
            fs::make_dir(&dir, 0o750)?;
            self.give(&dir, 0o750)?;
        }
        let mark = self.root.throw_away_mark();
        fs::write_atomic(&mark, MARK.as_bytes(), 0o644, Durability::ProcessCrash)?;
        let config = self.base.throw_away_config();
        fs::write_atomic(&config, derived.to_toml().as_bytes(), 0o644, Durability::ProcessCrash)?;
        let mut surroundings = Surroundings::new();
        if let Some(owner) = &self.owner {
            surroundings = surroundings.as_user(owner.clone());
        }
        if small {
            surroundings = surroundings.with_disk(self.root.root(), SMALL, &mark)?;
            possible(&surroundings)?;
        }
        Ok(Made { config, surroundings, small })
    }

    fn give(&self, dir: &Path, mode: u32) -> Result<(), SysError> {
        if let Some((uid, gid, _)) = &self.owner {
            fs::own_dir(dir, (*uid, *gid), mode)?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lock.release();
    }
}

impl Reached {
    /// The root as process `pid` sees it; none when it is gone or may not be looked into.
    pub fn of(pid: i32, root: &Layout) -> Option<Self> {
        let path = format!("/proc/{pid}/root{}", root.root().display());
        let dir = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).ok()?;
        // Short, as paths of sockets must be, and there as long as the descriptor is.
        let layout = Layout::new(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        Some(Self { layout, _held: Some(dir) })
    }

    /// The plain root.
    pub fn plain(root: &Layout) -> Self {
        Self { layout: root.clone(), _held: None }
    }

    /// Whether nothing runs there any more, neither a daemon nor a node.
    pub fn is_quiet(&self) -> bool {
        !status::daemon_holds(&self.layout) && status::nodes_that_live(&self.layout).is_empty()
    }
}

/// The mark in a root, as seen below `prefix`. A link is none.
fn mark_of(root: &Layout, prefix: &str) -> Option<Metadata> {
    let path = format!("{prefix}{}", root.throw_away_mark().display());
    std::fs::symlink_metadata(path).ok().filter(Metadata::is_file)
}

/// Tries whether this user may have a file system of its own, with a program that does nothing.
fn possible(surroundings: &Surroundings) -> Result<(), NotMade> {
    let mut command = Command::new("/bin/true");
    surroundings.apply(&mut command);
    match command.status() {
        Ok(_) => Ok(()),
        Err(e) => {
            // 24.04 keeps user namespaces from mounting anything unless a profile allows it (apparmor_restrict_unprivileged_userns).
            let message =
                "disk-full fills a small file system of its own, and the kernel does not let this user mount one";
            Err(NotMade::new(4, message, "run it with sudo: the cluster still runs as the owner of the root")
                .because([e.to_string()]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_had_by_one_and_only_what_a_drill_has_made_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::claim(dir.path()).unwrap();
        let refused = Place::claim(dir.path()).unwrap_err();
        assert_eq!(refused.exit, 8);
        assert!(refused.message.contains("another drill"), "{refused:?}");
        place.clear().unwrap();
        std::fs::create_dir(place.root().root()).unwrap();
        place.clear().unwrap();
        assert!(!place.root().root().exists(), "an empty one is nobody's");
        std::fs::create_dir(place.root().root()).unwrap();
        std::fs::write(place.root().root().join("theirs"), "x").unwrap();
        assert_eq!(place.clear().unwrap_err().exit, 8);
        std::fs::write(place.root().throw_away_mark(), MARK).unwrap();
        assert_eq!(place.left().len(), 1);
        assert!(place.left()[0].is_quiet());
        std::fs::create_dir(dir.path().join(GOING)).unwrap();
        place.clear().unwrap();
        assert!(!place.root().root().exists() && !dir.path().join(GOING).exists() && place.left().is_empty());
        drop(place);
        assert!(Place::claim(dir.path()).is_ok());
    }

    #[test]
    fn a_root_is_reached_through_a_process_that_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::claim(dir.path()).unwrap();
        std::fs::create_dir(place.root().root()).unwrap();
        std::fs::write(place.root().throw_away_mark(), MARK).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let reached = Reached::of(own, place.root()).unwrap();
        assert!(reached.layout.throw_away_mark().exists() && reached.layout.root().as_os_str().len() < 24);
        assert!(Reached::of(own, &Layout::new("/nonexistent")).is_none());
    }

    #[test]
    fn a_path_without_room_for_sockets_is_refused() {
        let deep = std::env::temp_dir().join("x".repeat(60));
        let refused = Place::claim(&deep).unwrap_err();
        assert_eq!(refused.exit, 2);
        assert!(!deep.exists());
    }
}
