//! The place of a throw-away cluster: a root of its own below the user's, made for one drill and removed after it, whoever ended it.
//!
//! Nothing of the user's cluster is touched, and nothing of it is needed but programs and settings.

mod derive;
mod memory;

use super::{owner, programs, status};
use crate::{
    artifact,
    base::{
        ByteSize, Layout,
        drill::{self, Drill, SmallDisk},
    },
    config::Plan,
    sys::{
        confine::{Surroundings, User},
        error::SysError,
        fs::{self, Durability, Lock},
        host, process,
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
    process::{Command, Stdio},
};

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
    held: Option<File>,
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
    /// Takes the place below `base`. Where this process is root and the base somebody else's, it acts as them from here on: what
    /// it made by path as root in a directory of theirs they could lead anywhere.
    pub fn claim(base: &Path) -> Result<Self, NotMade> {
        has_room_for_sockets(base)?;
        let owner = owner::act_for(base)?;
        if !base.exists() {
            fs::make_dir(base, 0o750)?;
        }
        // Without links, which lead elsewhere from within another process's view of the file system.
        let base = base.canonicalize().map_err(|e| SysError::path("look at", base, e))?;
        has_room_for_sockets(&base)?;
        let base = Layout::new(base);
        let root = Layout::new(base.throw_away());
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

    /// What a drill has left that nobody lived to end: roots in which something may run still. Of what other processes see only
    /// that counts which lies in this very base and belongs to who looks: another container may have a root of the same path.
    pub fn left(&self) -> Vec<Reached> {
        let id = |meta: &Metadata| (meta.dev(), meta.ino());
        let plain = mark_of(&self.root);
        let mut seen: Vec<(u64, u64)> = plain.iter().map(id).collect();
        let mut left: Vec<Reached> = plain.iter().map(|_| Reached::plain(&self.root)).collect();
        let Ok(base) = std::fs::metadata(self.base.root()) else { return left };
        for pid in process::all() {
            let theirs = format!("/proc/{pid}/root{}", self.base.root().display());
            if std::fs::metadata(theirs).map_or(true, |meta| id(&meta) != id(&base)) {
                continue;
            }
            let Some(reached) = Reached::of(pid, &self.root).filter(Reached::is_ours) else { continue };
            let Some(mark) = mark_of(&reached.layout).filter(|mark| mark.uid() == host::euid()) else { continue };
            if !seen.contains(&id(&mark)) {
                seen.push(id(&mark));
                left.push(reached);
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
            Ok(true) if mark_of(&self.root).is_some() || fs::names_in(root)?.is_empty() => {
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

    /// Makes the root and a configuration for the drill that is derived from `plan`. The place must be clear.
    pub fn make(&self, plan: &Plan, asked: &drill::Plan) -> Result<Made, NotMade> {
        let small = asked.drill == Drill::DiskFull;
        let disk = derive::disk(small && !asked.no_guard);
        let derived = derive::plan(plan, self.root.root(), &derive::free_ports(plan)?, disk)?;
        let disk = if small { SmallDisk::SIZE } else { ByteSize(0) };
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
            surroundings = surroundings.with_disk(self.root.root(), SmallDisk::SIZE, &mark)?;
            possible(&surroundings, self.owner.is_some() || host::is_root())?;
        }
        Ok(Made { config, surroundings, small })
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
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let dir = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        // Short, as paths of sockets must be, and there as long as the descriptor is.
        let layout = Layout::new(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        Some(Self { layout, held: Some(dir) })
    }

    /// The plain root.
    pub fn plain(root: &Layout) -> Self {
        Self { layout: root.clone(), held: None }
    }

    /// Whether the root itself belongs to who looks, so that nobody else has put anything into it.
    fn is_ours(&self) -> bool {
        let held = self.held.as_ref().and_then(|dir| dir.metadata().ok());
        held.is_some_and(|meta| meta.uid() == host::euid())
    }

    /// Whether nothing runs there any more, neither a daemon nor a node.
    pub fn is_quiet(&self) -> bool {
        !status::daemon_holds(&self.layout) && status::nodes_that_live(&self.layout).is_empty()
    }
}

/// The mark in a root. A link is none.
fn mark_of(root: &Layout) -> Option<Metadata> {
    std::fs::symlink_metadata(root.throw_away_mark()).ok().filter(Metadata::is_file)
}

fn has_room_for_sockets(base: &Path) -> Result<(), NotMade> {
    let root = Layout::new(base).throw_away();
    let (bytes, most) = (root.as_os_str().len(), Layout::root_bytes_max());
    if bytes <= most {
        return Ok(());
    }
    let message = format!("{} has {bytes} bytes, and sockets below it leave room for {most}", root.display());
    Err(NotMade::new(2, message, "name a directory of a shorter path with --on DIR"))
}

/// Tries whether this user may have a file system of its own, with this program, which is what is run there later.
fn possible(surroundings: &Surroundings, has_root: bool) -> Result<(), NotMade> {
    let tried = std::env::current_exe().and_then(|own| {
        let mut command = Command::new(own);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        surroundings.apply(&mut command);
        command.status()
    });
    let Err(e) = tried else { return Ok(()) };
    Err(impossible(&e, has_root))
}

/// What is said of the kernel's refusal. `has_root`: this process has root's rights, or can have them back.
fn impossible(e: &io::Error, has_root: bool) -> NotMade {
    // ENOSPC: no more namespaces (user.max_mnt_namespaces, namespaces(7)).
    let refused = matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSPC));
    let (exit, message, hint) = match (refused, has_root) {
        // 24.04 keeps user namespaces from mounting anything unless a profile allows it (apparmor_restrict_unprivileged_userns).
        (true, false) => (
            4,
            "disk-full fills a small file system of its own, and the kernel does not let this user mount one",
            "run it with sudo: the cluster still runs as the owner of the root",
        ),
        (true, true) => (
            4,
            "disk-full fills a small file system of its own, and the kernel does not let root mount one here",
            "a container needs CAP_SYS_ADMIN for it; run the drill outside, or another one",
        ),
        (false, _) => {
            (1, "a program in a small file system of its own cannot be started", "the other drills need none")
        }
    };
    NotMade::new(exit, message, hint).because([e.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        os::unix::fs::PermissionsExt,
        process::Child,
    };

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

    /// `sh` with this script in these surroundings, told to go on by a line; none where the kernel lets this user mount nothing.
    fn beside(surroundings: &Surroundings, script: &str) -> Option<(Child, String)> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{script}; read -r _")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        surroundings.apply(&mut command);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                assert!(matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSPC)), "{e}");
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Some((child, line))
    }

    #[test]
    fn a_drill_of_another_container_with_a_root_of_the_same_path_is_not_ours_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::claim(dir.path()).unwrap();
        let (base, root) = (dir.path(), place.root().root());
        let theirs = Surroundings::new().with_disk(base, ByteSize::mib(8), &base.join("x")).unwrap();
        let script =
            format!("mkdir {0} && : > {1} && echo made", root.display(), place.root().throw_away_mark().display());
        let Some((mut other, line)) = beside(&theirs, &script) else { return };
        assert_eq!(line, "made\n");
        assert!(place.left().is_empty(), "{:?}", place.left());

        std::fs::create_dir(root).unwrap();
        let mark = place.root().throw_away_mark();
        let own = Surroundings::new().with_disk(root, ByteSize::mib(8), &mark).unwrap();
        let (mut killed, _) = beside(&own, "echo made").unwrap();
        assert!(!mark.exists() && place.left().len() == 1, "{:?}", place.left());
        for child in [&mut other, &mut killed] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn root_does_in_a_place_of_somebody_else_what_they_could_do_themselves() {
        const BASE: &str = "CDC_TEST_BASE";
        if !nix::unistd::getuid().is_root() {
            return;
        }
        let Some(base) = std::env::var_os(BASE).map(PathBuf::from) else {
            // In a process of its own: whom it acts as holds for all threads, and other tests run in some.
            let dir = tempfile::tempdir().unwrap();
            let base = dir.path().join("base");
            std::fs::create_dir(&base).unwrap();
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(&base, Some(65_534), Some(65_534)).unwrap();
            std::os::unix::fs::symlink(dir.path(), base.join("elsewhere")).unwrap();
            let name =
                "offline::throw_away::tests::root_does_in_a_place_of_somebody_else_what_they_could_do_themselves";
            let mut own = Command::new(std::env::current_exe().unwrap());
            let output = own.args(["--exact", name]).env(BASE, &base).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            let names = fs::names_in(dir.path()).unwrap();
            assert_eq!(names, ["base"], "nothing was made through the link");
            for name in ["drill.lock", "drill"] {
                assert_eq!(std::fs::symlink_metadata(base.join(name)).unwrap().uid(), 65_534, "{name}");
            }
            return;
        };
        let place = Place::claim(&base).unwrap();
        assert_eq!((host::euid(), place.owner.as_ref().map(|o| o.0)), (65_534, Some(65_534)));
        assert!(
            std::fs::write(base.join("elsewhere/planted"), "x").is_err(),
            "the link leads no further than they come"
        );
        let root = place.root();
        fs::make_dir(root.root(), 0o750).unwrap();
        let theirs = Surroundings::new().as_user(place.owner.clone().unwrap());
        let small = theirs.with_disk(root.root(), ByteSize::mib(8), &root.throw_away_mark()).unwrap();
        let script = format!("echo $(id -u) $(stat -f -c %T {0}) $(stat -c %u {0}/throw-away)", root.root().display());
        if let Some((mut child, line)) = beside(&small, &script) {
            assert_eq!(line, "65534 tmpfs 65534\n");
            assert_eq!(place.left().len(), 1);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(owner::act_for(Path::new("/")).unwrap(), None);
        assert_eq!(host::euid(), 0, "and back");
    }

    #[test]
    fn what_the_kernel_refuses_is_told_with_what_helps_who_asked() {
        let said = |errno, has_root| impossible(&io::Error::from_raw_os_error(errno), has_root);
        assert!(said(libc::EPERM, false).hint.unwrap().contains("sudo"));
        assert!(said(libc::EPERM, true).hint.unwrap().contains("CAP_SYS_ADMIN"));
        let missing = said(libc::ENOENT, false);
        assert!(missing.exit == 1 && !missing.hint.unwrap().contains("sudo"));
    }
}
