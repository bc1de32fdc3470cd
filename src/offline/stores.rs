//! The stores of a stack as things that belong together: copies of all of them at one moment, and their return.
//!
//! ZooKeeper has the cluster's id and its topics, the brokers have the records, MySQL has the rows and the binlog that was read from:
//! a copy is made of all of them while nothing runs, and ZooKeeper's and the brokers' are never separated. A copy is complete files,
//! shared block by block where the file system can (never hard links: mysqld, Kafka's indexes and ZooKeeper's log are written in
//! place). A snapshot has its name only when it is whole and on disk; half a one has a name that is none.

mod copy;
mod dynamic;
pub mod exchange;
mod manifest;
mod room;
mod secrets;
mod together;

pub use manifest::{Manifest, Set, snapshot_name};

use super::status;
use crate::{
    base::{BALLAST_BESIDE, ByteSize, Layout, NodeName, Timestamp},
    config::{Disk, Plan},
    services::identity::{MARKER, Marker},
    sys::{
        clock,
        error::SysError,
        failpoint::fail_point,
        fs, mounts,
        room::{Held, held},
    },
};
use manifest::StoreCopy;
use std::{
    fmt,
    fs::{File, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// One node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Whose.
    pub node: NodeName,
    /// What it belongs to.
    pub set: Set,
    /// Where it is.
    pub dir: PathBuf,
}

/// The stores of a plan: ZooKeeper, brokers, MySQL.
pub fn of_plan(plan: &Plan) -> Vec<Store> {
    let set = |node: &NodeName| if *node == NodeName::mysql() { Set::Mysql } else { Set::Kafka };
    plan.data_directories().into_iter().map(|(node, dir)| Store { set: set(&node), node, dir }).collect()
}

/// Why nothing was done, or not all of it.
#[derive(Debug)]
pub enum StoreError {
    /// A request that makes no sense as it is; nothing was done.
    Asked(String, Option<String>),
    /// Refused, because it would harm data; nothing was done.
    Refused(String, Option<String>),
    /// The system said no. What was there before is there still.
    System(SysError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(what, _) | Self::Refused(what, _) => f.write_str(what),
            Self::System(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(e) => e.source(),
            Self::Asked(..) | Self::Refused(..) => None,
        }
    }
}

impl From<SysError> for StoreError {
    fn from(e: SysError) -> Self {
        Self::System(e)
    }
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Asked(_, hint) | Self::Refused(_, hint) => hint.as_deref(),
            Self::System(_) => None,
        }
    }

    fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused(what.into(), Some(hint.into()))
    }
}

/// A root and its stores, kept from every daemon for as long as this lives.
#[derive(Debug)]
pub struct Alone {
    /// The root.
    pub layout: Layout,
    /// The plan's.
    pub stores: Vec<Store>,
    /// What is kept free where they are.
    pub disk: Disk,
    _lock: fs::Lock,
}

impl Alone {
    /// Takes the root's lock, and finishes what was cut short. Refused while a daemon has it. Blocks.
    pub fn with(layout: Layout, plan: &Plan, told: &mut Told<'_>) -> Result<Self, StoreError> {
        fs::make_dir(&layout.run(), 0o750)?;
        let Some(lock) = fs::Lock::try_take(&layout.daemon_lock())? else {
            let what = format!("a daemon holds {} and does not answer", layout.root().display());
            return Err(StoreError::refused(what, "it starts or ends just now: try again"));
        };
        let stores = of_plan(plan);
        if let Some(finished) = exchange::finish(&layout, &stores)? {
            told(finished);
        }
        Ok(Self { layout, stores, disk: plan.disk, _lock: lock })
    }
}

/// One snapshot in a line.
pub fn made(manifest: &Manifest) -> String {
    let nodes: Vec<&str> = manifest.stores.iter().map(|s| s.node.as_str()).collect();
    format!("{}  {}  {}  {}", manifest.name, manifest.made_at, ByteSize(manifest.bytes()), nodes.join(", "))
}

/// The name of one that nobody named.
pub fn name_now() -> String {
    manifest::name_at(clock::wall())
}

/// Hears what is being done, in words.
pub type Told<'a> = dyn FnMut(String) + 'a;

/// Whether a snapshot of this name could be made, were everything down: the name is free, there is something to copy, all of it belongs
/// together, and there is room.
pub fn could_create(layout: &Layout, stores: &[Store], name: &str) -> Result<(), StoreError> {
    let name = snapshot_name(name).map_err(|why| StoreError::Asked(why, None))?;
    exchange::none_is_half_done(layout)?;
    let place = layout.snapshots();
    if place.join(&name).exists() {
        let hint = format!("choose another name, or `cdc-supervisor snapshot remove {name} --confirm {name}` first");
        return Err(StoreError::refused(format!("there is a snapshot {name} already"), hint));
    }
    if !stores.iter().any(|store| store.dir.exists()) {
        return Err(StoreError::Asked("there is no data yet: nothing to copy".into(), None));
    }
    sets_are_whole(stores)?;
    together::of_root(layout, &places(stores))?;
    // What one that was killed has left goes first: its room is wanted.
    clear_parts(layout)?;
    fs::make_dir(&place, 0o700)?;
    room::enough(stores.iter().map(|store| (store.dir.as_path(), place.as_path())))
}

/// A set is restored as a whole: without one of its nodes the snapshot would be of no use, which nobody sees before it is needed.
fn sets_are_whole(stores: &[Store]) -> Result<(), StoreError> {
    for set in [Set::Kafka, Set::Mysql] {
        let (there, missing): (Vec<&Store>, Vec<&Store>) =
            stores.iter().filter(|store| store.set == set).partition(|store| store.dir.exists());
        if there.is_empty() || missing.is_empty() {
            continue;
        }
        let names: Vec<&str> = missing.iter().map(|store| store.node.as_str()).collect();
        let verb = if names.len() == 1 { "has" } else { "have" };
        let what = format!("{} {verb} no data yet: a snapshot without them could not be restored", names.join(", "));
        return Err(StoreError::refused(what, "start the stack once, or take them out of the file, then try again"));
    }
    Ok(())
}

/// Whether a snapshot leaves so much of each file system that holds data that no node is held down for want of room afterwards: what is
/// held down starts again from `resume` on, when a ballast that was given up has its room back, too.
pub fn leaves_room(layout: &Layout, stores: &[Store], disk: &Disk) -> Result<(), StoreError> {
    let device = |dir: &Path| std::fs::metadata(dir).map(|meta| meta.dev()).ok();
    let stays = |of: u64, there: &Path| {
        let on_it: Vec<&Path> = stores.iter().map(|s| s.dir.as_path()).filter(|dir| device(dir) == Some(of)).collect();
        if !disk.guard || on_it.is_empty() {
            return Ok(0);
        }
        let system = mounts::file_system(there)?;
        let marks = disk.marks(system.total);
        let beside = on_it.iter().filter_map(|dir| dir.parent()).map(|dir| dir.join(BALLAST_BESIDE));
        let of_root = (device(layout.root()) == Some(of)).then(|| layout.ballast());
        let given = of_root.into_iter().chain(beside).any(|path| held(&path) == Held::Given);
        Ok(marks.resume + if given { marks.ballast } else { 0 })
    };
    let place = layout.snapshots();
    room::beside(stores.iter().map(|store| (store.dir.as_path(), place.as_path())), stays)
}

fn places(stores: &[Store]) -> Vec<together::Place<'_>> {
    stores.iter().map(|store| (&store.node, store.set, store.dir.clone())).collect()
}

/// Makes a snapshot. Nothing of the stack may run, and the caller sees to it that nothing is started meanwhile. Blocks for as long
/// as reading all data takes.
pub fn create(layout: &Layout, stores: &[Store], name: &str, told: &mut Told<'_>) -> Result<Manifest, StoreError> {
    could_create(layout, stores, name)?;
    at_rest(layout, stores)?;
    let place = layout.snapshots();
    let whole = place.join(name);
    let part = place.join(format!(".{name}.part"));
    let made = into(layout, stores, &part, name, told).and_then(|manifest| {
        fail_point!("snapshot.whole");
        let named = std::fs::rename(&part, &whole).and_then(|()| {
            fail_point!("snapshot.named");
            fs::sync_parent(&whole)
        });
        named.map_err(|e| SysError::path("put in place", &whole, e))?;
        Ok(manifest)
    });
    if made.is_err() {
        // Half a copy is worth nothing; the error is what must be heard.
        let _ = fs::remove_dir_all_optional(&part);
    }
    made
}

fn into(
    layout: &Layout,
    stores: &[Store],
    part: &Path,
    name: &str,
    told: &mut Told<'_>,
) -> Result<Manifest, StoreError> {
    fs::make_dir(part, 0o700)?;
    fail_point!("snapshot.begun");
    let together::Whose { cluster, mysql } = together::of_root(layout, &places(stores))?;
    let mut manifest = Manifest {
        schema: 1,
        name: name.to_owned(),
        made_at: clock::wall(),
        supervisor: env!("CARGO_PKG_VERSION").to_owned(),
        cluster,
        mysql,
        secrets: Vec::new(),
        secret_digests: secrets::Digests::new(),
        dynamic: dynamic::copy(layout, stores.iter().map(|store| &store.node))?,
        // One that is torn says nothing: the next drill removes what it is about.
        drill_left: fs::read_optional(&layout.drill_left())?.and_then(|text| serde_json::from_str(&text).ok()),
        stores: Vec::new(),
    };
    for store in stores.iter().filter(|store| store.dir.exists()) {
        let mut progress = Bytes::new(format!("copying {}", store.node), told);
        let entries = copy::tree(&store.dir, &part.join(store.node.as_str()), &mut |bytes| progress.add(bytes))?;
        fail_point!("snapshot.copied");
        manifest.stores.push(StoreCopy {
            node: store.node.clone(),
            set: store.set,
            written_by: marker(&store.dir)?,
            entries,
        });
    }
    if manifest.sets().contains(&Set::Mysql) {
        manifest.secret_digests = secrets::copy(&layout.secrets(), &part.join(secrets::DIR))?;
        manifest.secrets = manifest.secret_digests.keys().cloned().collect();
    }
    told("waiting for the disk".into());
    fs::sync_file_system(part).map_err(|e| SysError::path("sync the file system of", part, e))?;
    fail_point!("snapshot.synced");
    // Without it there is no snapshot: written last.
    let text =
        serde_json::to_string(&manifest).map_err(|e| SysError::new("write the manifest", std::io::Error::from(e)))?;
    fs::write_atomic(&part.join(manifest::FILE), text.as_bytes(), 0o600, fs::Durability::PowerLoss)?;
    Ok(manifest)
}

/// Who wrote a data directory, as its mark says; a mark that cannot be read says nothing.
fn marker(dir: &Path) -> Result<Option<Marker>, SysError> {
    Ok(fs::read_plain_lossy_optional(&dir.join(MARKER))?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Whether every store is at rest: nobody holds its node's lock.
fn at_rest(layout: &Layout, stores: &[Store]) -> Result<(), StoreError> {
    let lives: Vec<String> = status::nodes_that_live(layout)
        .into_iter()
        .filter(|node| stores.iter().any(|store| store.node == *node))
        .map(|node| node.to_string())
        .collect();
    if lives.is_empty() {
        return Ok(());
    }
    let what = format!("{} run: data that is being written cannot be copied or replaced", lives.join(", "));
    Err(StoreError::refused(what, "stop them first, or add --stop: they are started again afterwards"))
}

/// What was not finished: half a snapshot that is being made, or was being removed.
fn parts(layout: &Layout) -> Result<Vec<PathBuf>, SysError> {
    let place = layout.snapshots();
    let names = fs::names_in(&place)?;
    Ok(names.iter().filter(|n| n.starts_with('.') && n.ends_with(".part")).map(|n| place.join(n)).collect())
}

/// Removes it.
fn clear_parts(layout: &Layout) -> Result<(), SysError> {
    parts(layout)?.iter().try_for_each(|part| fs::remove_dir_all_optional(part))
}

/// All snapshots, oldest first; what cannot be read is named with the reason.
pub fn list(layout: &Layout) -> Result<Vec<Result<Manifest, String>>, StoreError> {
    let mut found = Vec::new();
    for name in fs::names_in(&layout.snapshots())?.into_iter().filter(|n| !n.starts_with('.')) {
        found.push(read(layout, &name).map_err(|e| match e.hint() {
            Some(hint) => format!("{name}: {e}; {hint}"),
            None => format!("{name}: {e}"),
        }));
    }
    found.sort_by_key(|one| one.as_ref().map_or(Timestamp(i64::MAX), |m| m.made_at));
    Ok(found)
}

/// One snapshot's manifest.
pub fn read(layout: &Layout, name: &str) -> Result<Manifest, StoreError> {
    // It comes from outside and becomes a path: nothing elsewhere is read, copied back or removed.
    snapshot_name(name).map_err(|why| StoreError::Asked(why, None))?;
    let dir = layout.snapshots().join(name);
    let path = dir.join(manifest::FILE);
    let Some(text) = fs::read_optional(&path)? else {
        if dir.exists() {
            let hint = "it is no snapshot of ours, or was not finished; remove it by hand";
            return Err(StoreError::refused(format!("{} has no manifest", dir.display()), hint));
        }
        let names: Vec<String> =
            fs::names_in(&layout.snapshots())?.into_iter().filter(|n| !n.starts_with('.')).collect();
        let hint = if names.is_empty() {
            "there is none at all".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        return Err(StoreError::Asked(format!("there is no snapshot {name}"), Some(hint)));
    };
    serde_json::from_str(&text).map_err(|e| {
        StoreError::refused(
            format!("{} cannot be read: {e}", path.display()),
            "it was damaged: what it lists cannot be proven",
        )
    })
}

/// Reads all of a snapshot; what is not as it was. Blocks.
pub fn verify(layout: &Layout, name: &str, told: &mut Told<'_>) -> Result<(Manifest, Vec<String>), StoreError> {
    let manifest = read(layout, name)?;
    let all: Vec<&StoreCopy> = manifest.stores.iter().collect();
    let wrong = differences(&layout.snapshots().join(name), &manifest, &all, told)?;
    Ok((manifest, wrong))
}

/// What of these copies is not as the manifest says; with MySQL's data their passwords.
fn differences(
    dir: &Path,
    manifest: &Manifest,
    copies: &[&StoreCopy],
    told: &mut Told<'_>,
) -> Result<Vec<String>, SysError> {
    let mut wrong = Vec::new();
    for store in copies {
        let mut progress = Bytes::new(format!("reading {}", store.node), told);
        wrong.extend(copy::differences(&dir.join(store.node.as_str()), store, &mut |bytes| progress.add(bytes))?);
    }
    if copies.iter().any(|store| store.set == Set::Mysql) {
        wrong.extend(secrets::differences(dir, manifest)?);
    }
    Ok(wrong)
}

/// Removes one snapshot. Not while directories are half exchanged: what is left to do may need it. Nor while somebody restores it: a daemon,
/// whose nodes are stopped for that by then, or a command without one.
pub fn remove(layout: &Layout, name: &str) -> Result<Manifest, StoreError> {
    let is_wanted = || exchange::none_is_half_done(layout).and_then(|()| not_being_restored(layout, name));
    is_wanted()?;
    let manifest = read(layout, name)?;
    let _held = hold(layout, name, Use::Removal)?;
    // Looked at once more: who begins from here on finds it held.
    is_wanted()?;
    let place = layout.snapshots();
    // Out of sight first: half a snapshot must not be taken for one.
    let (dir, part) = (place.join(name), place.join(format!(".{name}.part")));
    fs::remove_dir_all_optional(&part)?;
    fail_point!("snapshot.looked");
    std::fs::rename(&dir, &part).map_err(|e| SysError::path("remove", &dir, e))?;
    fail_point!("snapshot.removing");
    fs::remove_dir_all_optional(&part)?;
    Ok(manifest)
}

/// By the record of operations (`operate::operation`), of which three words are read.
fn not_being_restored(layout: &Layout, name: &str) -> Result<(), StoreError> {
    let text = fs::read_lossy_optional(&layout.operation())?.unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if record["kind"] == "restore" && record["detail"] == name {
        let since = record["begun_at"].as_str().map_or_else(String::new, |at| format!(" since {at}"));
        let hint = "wait until that has ended; of one that was cut short the next daemon clears the record";
        return Err(StoreError::refused(format!("the snapshot {name} is being restored{since}"), hint));
    }
    Ok(())
}

/// What a snapshot is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is read, by one or several.
    Reading,
    /// It is taken away, by one alone.
    Removal,
}

/// Keeps a snapshot as it is for as long as what comes back lives: who copies from it without a daemon leaves no record of an
/// operation. Its manifest is locked (flock(2)), which is there from the first moment of a snapshot to the last; somebody may have made it
/// read-only, which is no lock's affair.
fn hold(layout: &Layout, name: &str, what: Use) -> Result<File, StoreError> {
    let busy = || {
        let what = format!("the snapshot {name} is being restored, or removed, by somebody else just now");
        StoreError::refused(what, "wait until that has ended, then try again")
    };
    let path = layout.snapshots().join(name).join(manifest::FILE);
    let manifest = File::open(&path).map_err(|e| SysError::path("open", &path, e))?;
    let taken = match what {
        Use::Reading => manifest.try_lock_shared(),
        Use::Removal => manifest.try_lock(),
    };
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        // On another machine's disk (NFS): one that is open for reading cannot be locked alone there, and some know no locks (flock(2)).
        Err(TryLockError::Error(e))
            if matches!(e.raw_os_error(), Some(libc::EBADF | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS)) => {}
        Err(TryLockError::Error(e)) => return Err(SysError::path("lock", &path, e).into()),
    }
    let of = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let ours = manifest.metadata().map(of).map_err(|e| SysError::path("look at", &path, e))?;
    // Somebody removed it between our opening and our lock.
    if std::fs::metadata(&path).map(of).ok() != Some(ours) {
        return Err(busy());
    }
    Ok(manifest)
}

/// Tells how far the bytes of something are, every 256 MB.
struct Bytes<'a, 'b> {
    what: String,
    done: u64,
    said: u64,
    told: &'a mut Told<'b>,
}

impl<'a, 'b> Bytes<'a, 'b> {
    fn new(what: String, told: &'a mut Told<'b>) -> Self {
        told(what.clone());
        Self { what, done: 0, said: 0, told }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done - self.said >= 256 << 20 {
            self.said = self.done;
            (self.told)(format!("{}: {}", self.what, ByteSize(self.done)));
        }
    }
}
