//! The root and the data directories: whether they can be written, by whom, on what, how much fits, and who else is there.
//!
//! A little past 500 lines: its rows are judged from one look at the same mounts and directories; its tests are a file of their own.

mod store;

use super::{
    Site,
    check::{Check, Severity},
    occupied, room,
};
use crate::{
    base::{Layout, NodeName},
    config::Plan,
    offline::{unit, unit_paths},
    sys::{
        host,
        mounts::{self, FileSystem},
    },
};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// The probe of the disk: so many syncs, or as many as this time has room for.
const SYNCS: usize = 50;
const SYNC_TIME: Duration = Duration::from_secs(1);

/// What the root's path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    Missing,
    Directory {
        uid: u32,
        mode: u32,
        /// Whose state it holds already.
        kept_by: Option<u32>,
    },
    /// A file, a device, a socket.
    NoDirectory,
    /// A link to this, where nothing is.
    Dangling(PathBuf),
    /// It cannot be looked at.
    Unseen(String),
}

/// A directory that cannot be written.
#[derive(Clone, Debug)]
struct Unwritable {
    dir: PathBuf,
    kind: io::ErrorKind,
    why: String,
}

/// A place of data: the root, or one product's data directory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Whose data; none: the root.
    pub node: Option<NodeName>,
    /// As the configuration names it.
    path: PathBuf,
    /// Links resolved, as far as there is something.
    real: PathBuf,
    /// There is data in it.
    filled: bool,
    /// It, or the nearest directory above it that exists, may be written.
    writable: bool,
    /// Nobody may write there: the file system is read-only, for this process at least.
    read_only: bool,
    pub system: Result<FileSystem, String>,
    /// A process that works on it: pid and command line.
    user: Option<(i32, String)>,
}

/// What is seen of them.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    root: Root,
    unwritable: Option<Unwritable>,
    /// The root first.
    pub places: Vec<Place>,
    /// How long syncs took, sorted; none: not tried.
    syncs: Option<Result<Vec<Duration>, String>>,
    /// A start looks: who looks is who will write.
    starting: bool,
    /// systemd empties /tmp at every boot and old files from /tmp and /var/tmp (tmpfiles.d(5)).
    systemd: bool,
    /// This process is in a unit of ours, whose sandbox makes read-only what is writable for others.
    in_unit: bool,
    /// Files of somebody else in the store of programs.
    alien: Option<store::Alien>,
}

impl Facts {
    /// No node has any data yet: a refusal costs nothing, where otherwise it would keep a stack down that ran before.
    pub fn is_fresh(&self) -> bool {
        !self.places.iter().any(|p| p.node.is_some() && p.filled)
    }
}

/// Looks. With `make` the root is made when it is missing, as a start does.
pub(super) fn look(site: &Site, make: bool) -> Facts {
    let root_path = site.layout.root();
    let mut root = root(root_path);
    let mut unwritable = None;
    if matches!(root, Root::Missing | Root::Directory { .. }) {
        unwritable = write_tests(site, make).err();
        if make {
            root = self::root(root_path);
        }
    }
    let mut places = vec![place(None, root_path.to_owned(), None)];
    for (node, path) in site.plan.data_directories() {
        let user = if site.living.contains(&node) { None } else { occupied::by(&site.plan, &node, &path) };
        places.push(place(Some(node), path, user));
    }
    let probe = !make && unwritable.is_none();
    let syncs =
        probe.then(|| mounts::sync_times(&existing(root_path), SYNCS, SYNC_TIME).map_err(|e| e.source.to_string()));
    Facts {
        root,
        unwritable,
        places,
        syncs,
        starting: make,
        systemd: unit::booted(),
        in_unit: unit::own().is_some(),
        alien: store::look(site),
    }
}

fn root(path: &Path) -> Root {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Root::Directory {
            uid: meta.uid(),
            mode: meta.permissions().mode() & 0o7777,
            kept_by: fs::metadata(Layout::new(path).state()).ok().map(|state| state.uid()),
        },
        Ok(_) => Root::NoDirectory,
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => Root::Dangling(target),
            Err(_) => Root::Missing,
        },
        // below a file: making it says so in its own words
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Root::Missing,
        Err(e) => Root::Unseen(e.to_string()),
    }
}

/// Asks whether the root and its directories may be written to, and writes a block into one of each file system: permissions do not
/// show one that is full, and an empty file fits there.
fn write_tests(site: &Site, make: bool) -> Result<(), Unwritable> {
    let layout = &site.layout;
    let failed = |dir: &Path| {
        let dir = dir.to_owned();
        move |e: io::Error| Unwritable { dir, kind: e.kind(), why: e.to_string() }
    };
    let test = |dir: &Path| {
        let file = dir.join(format!(".write-test.{}", std::process::id()));
        let written = File::create_new(&file).and_then(|mut f| f.write_all(&[0; 4096]));
        // Left only where it cannot be removed either; the write error is what counts.
        let removed = if written.is_ok() || file.exists() { fs::remove_file(&file) } else { Ok(()) };
        written.and(removed)
    };
    if make {
        fs::create_dir_all(layout.root()).map_err(failed(layout.root()))?;
    } else if !layout.root().exists() {
        let above = existing(layout.root());
        if above.is_dir() && host::may_write(&above) {
            return Ok(());
        }
        let kind = if above.is_dir() { io::ErrorKind::PermissionDenied } else { io::ErrorKind::NotADirectory };
        let why = match kind {
            io::ErrorKind::NotADirectory => format!("{} is not a directory", above.display()),
            _ => format!("{} cannot be written by this user", above.display()),
        };
        return Err(Unwritable { dir: layout.root().to_owned(), kind, why });
    }
    let mut written = Vec::new();
    for dir in [layout.root().to_owned(), layout.state(), layout.run(), layout.nodes()] {
        let Ok(meta) = dir.metadata() else { continue };
        host::check_write(&dir).map_err(failed(&dir))?;
        if !written.contains(&meta.dev()) {
            test(&dir).map_err(failed(&dir))?;
            written.push(meta.dev());
        }
    }
    Ok(())
}

fn place(node: Option<NodeName>, path: PathBuf, user: Option<(i32, String)>) -> Place {
    let base = existing(&path);
    let rest = path.strip_prefix(&base).unwrap_or(Path::new("")).to_owned();
    let real = fs::canonicalize(&base).unwrap_or_else(|_| base.clone());
    Place {
        node,
        real: if rest.as_os_str().is_empty() { real } else { real.join(rest) },
        filled: fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()),
        writable: host::may_write(&base),
        read_only: host::is_read_only(&base),
        system: mounts::file_system(&base).map_err(|e| e.source.to_string()),
        user,
        path,
    }
}

/// The path itself, or the nearest above it where there is something.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_owned()
}

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = vec![root_row(site, facts)];
    rows.push(path_length(site));
    let mut kinds: Vec<(u64, String)> = Vec::new();
    for place in &facts.places {
        // one row for all that lies on the same file system as the root
        let seen = place.system.as_ref().ok().map(|s| (s.device, s.kind.clone()));
        if place.node.is_none() || !seen.as_ref().is_some_and(|s| kinds.contains(s)) {
            rows.push(kind_of(site, facts, place));
        }
        kinds.extend(seen);
    }
    rows.extend(facts.places.iter().filter(|p| p.node.is_some()).filter_map(|p| unwritable_data(site, facts, p)));
    rows.extend(facts.alien.as_ref().map(store::judge));
    rows.extend(facts.places.iter().filter_map(in_use));
    rows.extend(apart(&facts.places));
    rows.extend(room::judge(site, facts));
    rows.extend(shared(&facts.places));
    rows.extend(facts.syncs.as_ref().map(syncs));
    rows
}

fn root_row(site: &Site, facts: &Facts) -> Check {
    let path = site.layout.root().display();
    let another = "name another root with --root";
    let row = |found: String, why: &str| Check::ok("root", "a directory that this user owns and may write", found, why);
    let why = "everything lies below it: programs, data, logs, sockets";
    match &facts.root {
        Root::NoDirectory => {
            return row("not a directory".into(), "nothing of it is touched")
                .fails(format!("the root {path} is not a directory"), format!("move it away, or {another}"));
        }
        Root::Dangling(target) => {
            return row(
                format!("a link to {}, which does not exist", target.display()),
                "a directory is not made through a link that leads nowhere",
            )
            .fails(
                format!("the root {path} is a link to {}, which does not exist", target.display()),
                format!("make that directory (or mount it), or {another}"),
            );
        }
        Root::Unseen(e) => {
            return row(format!("cannot be looked at: {e}"), why).fails(
                format!("the root {path} cannot be looked at: {e}"),
                format!("run it as the owner of the root, or {another}"),
            );
        }
        Root::Directory { uid, mode, kept_by } if *uid != site.euid => {
            let (owner, me) = (host::user_name(*uid), host::user_name(site.euid));
            let remedy = format!(
                "run it as {owner} (`sudo -u {owner} …`), give it to {me} (`chown -R {me} {path}`), or {another}"
            );
            let row = row(
                format!("belongs to {owner}, mode {mode:04o}; this runs as {me}"),
                "each start as another user leaves files that the owner cannot change",
            );
            if site.euid == 0 && !facts.starting {
                // an administrator looks at what the unit, or somebody else, starts
                return row.but(
                    Severity::Info,
                    format!("nothing, when {owner} starts it (the unit does); otherwise {remedy}"),
                );
            }
            // uid 0 may write anywhere: in an empty directory, a container's volume perhaps, it hurts nobody
            if site.euid == 0 && kept_by.is_none_or(|uid| uid == 0) && facts.unwritable.is_none() {
                return row.but(Severity::Warn, remedy);
            }
            return row.fails(format!("the root {path} belongs to user {owner}, and this runs as {me}"), remedy);
        }
        Root::Missing | Root::Directory { .. } => {}
    }
    if let Some(bad) = &facts.unwritable {
        let remedy = match bad.kind {
            io::ErrorKind::PermissionDenied => {
                let me = host::user_name(site.euid);
                format!("give it to {me} (`chown -R {me} {path}`), run it as the owner of the root, or {another}")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("free some space, or {another}"),
            io::ErrorKind::ReadOnlyFilesystem if facts.in_unit => unit_paths::remedy(site.layout.root()),
            io::ErrorKind::ReadOnlyFilesystem => {
                format!(
                    "mount it writable (`mount -o remount,rw …`; after disk errors `dmesg` tells why it is not), or {another}"
                )
            }
            _ => another.to_owned(),
        };
        return row(format!("cannot be written: {}", bad.why), &bad.why)
            .fails(format!("the root cannot be written: {}", bad.dir.display()), remedy);
    }
    match &facts.root {
        Root::Directory { mode, .. } if mode & 0o002 != 0 && mode & 0o1000 == 0 => {
            row(format!("{path}, mode {mode:04o}"), "everybody may write there, and so replace programs and sockets")
                .but(Severity::Warn, format!("chmod o-w {path}"))
        }
        Root::Directory { .. } => row(path.to_string(), why),
        _ => row(format!("{path}, not made yet"), why),
    }
}

fn path_length(site: &Site) -> Check {
    let most = Layout::root_bytes_max();
    let bytes = site.layout.root().as_os_str().len();
    let why = "sockets lie below it, and the kernel takes 107 bytes for the path of one";
    // with short node names a longer one fits; what does not was refused with the configuration
    Check::ok(
        "length of the root's path",
        format!("sockets fit; {most} bytes do with any names"),
        format!("{bytes} bytes"),
        why,
    )
}

/// What a file system is worth to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Disk,
    /// Gone at the next boot.
    Volatile,
    /// The upper layer of a container: gone with it.
    Layer,
    /// Locks, renames and mapped files do not behave as on a disk.
    Network,
    /// No owners, no sockets.
    Foreign,
    /// Shared with a host outside.
    Shared,
    Unknown,
}

fn worth(kind: &str) -> Worth {
    match kind {
        "ext4" | "ext3" | "ext2" | "xfs" | "btrfs" | "zfs" | "f2fs" | "bcachefs" | "jfs" | "reiserfs" => Worth::Disk,
        "tmpfs" | "ramfs" | "devtmpfs" => Worth::Volatile,
        "overlay" | "aufs" | "fuse.fuse-overlayfs" => Worth::Layer,
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "ceph" | "glusterfs" | "lustre" | "afs" | "fuse.sshfs"
        | "fuse.s3fs" | "fuse.rclone" | "fuse.glusterfs" => Worth::Network,
        "vfat" | "exfat" | "msdos" | "ntfs" | "ntfs3" | "fuseblk" | "iso9660" | "squashfs" => Worth::Foreign,
        "9p" | "virtiofs" | "vboxsf" | "fuse.vmhgfs-fuse" => Worth::Shared,
        other if other == "fuse" || other.starts_with("fuse.") => Worth::Network,
        _ => Worth::Unknown,
    }
}

fn kind_of(site: &Site, facts: &Facts, place: &Place) -> Check {
    let (whose, sentence) = match &place.node {
        None => ("root".to_owned(), "the root".to_owned()),
        Some(node) => (format!("{node}'s data"), format!("the data of {node}")),
    };
    let required = "a disk of this machine: ext4, xfs, btrfs";
    let row = |found: String, why: &str| Check::ok(format!("file system of {whose}"), required, found, why);
    let system = match &place.system {
        Ok(system) => system,
        Err(e) => return row(e.clone(), "data must survive a reboot").unknown(),
    };
    let on = format!("{} on {}", system.kind, system.mount.display());
    let elsewhere = match &place.node {
        None => "name a root on a disk (`root` in supervisor.toml, or --root)".to_owned(),
        Some(node) => format!("set {}.data_dir to a directory on a disk", Plan::node_key(node)),
    };
    if system.read_only {
        let mount_it = format!(
            "mount it writable (`mount -o remount,rw {}`; after disk errors `dmesg` tells why it is not), or {elsewhere}",
            system.mount.display()
        );
        return row(format!("{on}, read-only"), "nothing can be written there").fails(
            format!("{sentence} {} is on a read-only file system ({on})", place.path.display()),
            if facts.in_unit { unit_paths::remedy(&place.path) } else { mount_it },
        );
    }
    // what ran before is not refused for what it ran with
    let strict = |check: Check| if facts.is_fresh() { check } else { check.and_starts() };
    let allowed = site.plan.host.allow_volatile_root;
    let allow = "host.allow_volatile_root = true takes it as it is";
    let temporary = temporary(&place.real, facts.systemd);
    match (worth(&system.kind), temporary) {
        (Worth::Volatile, _) | (_, Some(Severity::Fail)) if allowed => {
            row(on, "host.allow_volatile_root = true: a reboot may empty it")
                .but(Severity::Info, "nothing: it is wanted")
        }
        (Worth::Volatile, _) => row(on.clone(), "a reboot empties it: every topic, every row, every offset")
            .fails(
                format!("{sentence} {} is on {on}: a reboot loses all data", place.path.display()),
                format!("{elsewhere}; {allow}"),
            )
            .and_starts(),
        (Worth::Network, _) => strict(
            row(on.clone(), "locks, renames and mapped index files do not behave there as Kafka and InnoDB rely on")
                .fails(
                    format!("{sentence} {} is on a network or user-space file system ({on})", place.path.display()),
                    elsewhere,
                ),
        ),
        (Worth::Foreign, _) => strict(row(on.clone(), "it knows no owners and no sockets").fails(
            format!("{sentence} {} is on {on}, which knows no owners and no sockets", place.path.display()),
            elsewhere,
        )),
        (Worth::Layer, _) if allowed => row(on, "host.allow_volatile_root = true: it goes with its container")
            .but(Severity::Info, "nothing: it is wanted"),
        (Worth::Layer, _) => row(on, "a container's own layer: removed together with it, and slower than a volume")
            .but(Severity::Warn, format!("{elsewhere}, in a container a mounted volume; {allow}")),
        (Worth::Shared, _) => row(on, "shared with the machine outside: syncs and locks depend on that one")
            .but(Severity::Warn, elsewhere),
        (_, Some(Severity::Fail)) => {
            row(format!("{}, on {on}", place.real.display()), "systemd empties /tmp at every boot")
                .fails(
                    format!("{sentence} {} lies below /tmp: a reboot loses all data", place.path.display()),
                    format!("{elsewhere}; {allow}"),
                )
                .and_starts()
        }
        (_, Some(severity)) => {
            let row = row(
                format!("{}, on {on}", place.real.display()),
                "a directory for temporary files: old ones are removed from it (tmpfiles.d)",
            );
            if allowed {
                row.but(Severity::Info, "nothing: it is wanted")
            } else {
                row.but(severity, format!("{elsewhere}; {allow}"))
            }
        }
        (Worth::Disk, None) => row(on, "data must survive a reboot"),
        (Worth::Unknown, None) => row(on, "data must survive a reboot; this kind is not known here").unknown(),
    }
}

/// Whether a path lies where temporary files are cleaned away, and how bad that is.
fn temporary(path: &Path, systemd: bool) -> Option<Severity> {
    match (path.starts_with("/tmp"), path.starts_with("/var/tmp")) {
        (true, _) if systemd => Some(Severity::Fail),
        (true, _) | (_, true) => Some(Severity::Warn),
        (false, false) => None,
    }
}

fn unwritable_data(site: &Site, facts: &Facts, place: &Place) -> Option<Check> {
    let node = place.node.as_ref()?;
    // a node's own user is given the directory by the supervisor
    if place.writable || site.euid == 0 || place.path.starts_with(site.layout.root()) {
        return None;
    }
    let key = format!("{}.data_dir", Plan::node_key(node));
    let me = host::user_name(site.euid);
    let path = place.path.display();
    let why = if place.read_only { "read-only" } else { "no permission" };
    let row = Check::ok(format!("data of {node}"), "may be written", format!("{path}: {why}"), site.plan.place(&key));
    let remedy = match (place.read_only, facts.in_unit) {
        (true, true) => unit_paths::remedy(&place.path),
        (true, false) => format!("mount the file system of {path} writable, or change {key}"),
        (false, _) => format!("chown {me} {path}, or change {key}"),
    };
    Some(row.fails(format!("the data directory of {node} cannot be written by {me}: {path}: {why}"), remedy))
}

fn in_use(place: &Place) -> Option<Check> {
    let (node, (pid, command)) = (place.node.as_ref()?, place.user.as_ref()?);
    let path = place.path.display();
    let who = format!("pid {pid} (`{}`)", super::ports::shortened(command));
    let row = Check::ok(
        format!("data of {node}"),
        "used by nobody else",
        format!("in use by {who}"),
        "two servers on one data directory destroy it",
    );
    Some(row.fails(
        format!("the data directory of {node} is in use by {who}: {path}"),
        "stop that program; if it belongs to another root, `cdc-supervisor --root THAT down` does",
    ))
}

/// The configuration has compared the paths as they are written; links are seen only here.
fn apart(places: &[Place]) -> Vec<Check> {
    let data: Vec<(&NodeName, &Place)> = places.iter().filter_map(|p| Some((p.node.as_ref()?, p))).collect();
    let mut rows = Vec::new();
    for (i, (node, place)) in data.iter().enumerate() {
        for (other, second) in &data[..i] {
            if !place.real.starts_with(&second.real) && !second.real.starts_with(&place.real) {
                continue;
            }
            let (a, b) = (second.path.display(), place.path.display());
            let found = if place.real == second.real {
                format!("{a} and {b} are both {}", place.real.display())
            } else {
                format!("{a} is {}, and {b} is {}", second.real.display(), place.real.display())
            };
            let row = Check::ok(
                format!("data of {other} and {node}"),
                "apart",
                found.clone(),
                "two servers on one data directory destroy it",
            );
            rows.push(row.fails(
                format!("{other} and {node} would share a data directory: {found}"),
                format!("give each node a directory of its own: change {}.data_dir", Plan::node_key(node)),
            ));
        }
    }
    rows
}

/// Several copies of the same record on one disk are lost together.
fn shared(places: &[Place]) -> Option<Check> {
    let brokers = places.iter().filter(|p| p.node.as_ref().is_some_and(|n| n.as_str().starts_with("broker-")));
    let devices: Vec<u64> = brokers.filter_map(|p| Some(p.system.as_ref().ok()?.device)).collect();
    let first = *devices.first()?;
    if devices.len() < 2 {
        return None;
    }
    let row = |found: String| {
        Check::ok(
            "disks of brokers",
            "one each keeps copies apart",
            found,
            "copies on one disk are lost together when it fails",
        )
    };
    if devices.iter().all(|d| *d == first) {
        let found = format!("{} brokers on one disk", devices.len());
        return Some(row(found).but(Severity::Info, "with more disks: set data_dir of each broker to another one"));
    }
    Some(row("several".into()))
}

/// A commit waits for a sync, and so does every ZooKeeper transaction.
fn syncs(result: &Result<Vec<Duration>, String>) -> Check {
    let why = "each commit of MySQL and each change in ZooKeeper waits for one";
    let row = |found: String| Check::ok("disk sync", "99 of 100 within 50 ms", found, why);
    let times = match result {
        Ok(times) if !times.is_empty() => times,
        Ok(_) => return row("not tried".into()).unknown(),
        Err(e) => return row(format!("not tried: {e}")).unknown(),
    };
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)];
    let ms = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1e3);
    let row = row(format!("median {}, 99 of 100 {} ({} syncs of 4 KiB)", ms(at(50)), ms(at(99)), times.len()));
    if at(99) > Duration::from_millis(50) {
        row.but(
            Severity::Warn,
            "look what else writes (`iostat -x 1`); a disk that is slow by itself delays every commit",
        )
    } else {
        row
    }
}

#[cfg(test)]
mod tests;
