//! Replaces data directories by those of a snapshot, or by nothing: prepared beside them, recorded, then renamed one after the
//! other. Whoever is killed before the record has changed nothing; after it the next one finishes ([`finish`]).

use super::{
    Store, StoreCopy, StoreError, Told, Use, at_rest, copy, differences, dynamic, hold,
    manifest::{Manifest, Set},
    marker, read, room,
    secrets::{self, Digests},
    together,
};
use crate::{
    base::{Layout, NodeName, recipe::DataVersion},
    services::identity,
    sys::{
        error::SysError,
        failpoint::{fail_io, fail_point},
        fs, mounts,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// `state/exchange.json`: there while directories are being renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Exchange {
    /// 1.
    schema: u32,
    /// `restore before-upgrade`, `reset kafka`.
    what: String,
    swaps: Vec<Swap>,
    /// Where the passwords of the new MySQL data are: beside those that are there, or, as an earlier version wrote, in the snapshot. None:
    /// those that are there stay.
    #[serde(default)]
    secrets: Option<PathBuf>,
    /// What they have; none: no passwords are exchanged, or an earlier version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passwords: Option<Digests>,
}

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Swap {
    dir: PathBuf,
    /// A new one waits beside it.
    new: bool,
}

/// The next thing to do with one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The old one goes aside.
    Aside,
    /// The new one comes.
    Come,
    Done,
}

/// What is to be done, from what is there: the directory, the new one, the old one put aside.
fn step(new: bool, dir: bool, incoming: bool, outgoing: bool) -> Step {
    match (new, dir, incoming, outgoing) {
        (true, true, true, _) | (false, true, _, false) => Step::Aside,
        (true, false, true, _) => Step::Come,
        (true, _, false, _) | (false, false, ..) | (false, true, _, true) => Step::Done,
    }
}

fn beside(dir: &Path, ending: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    dir.with_file_name(name)
}

// Whatever has these names is removed, so they must be nobody else's: a `data_dir` may lie among directories of others.
fn incoming(dir: &Path) -> PathBuf {
    beside(dir, ".cdc-incoming")
}

fn outgoing(dir: &Path) -> PathBuf {
    beside(dir, ".cdc-outgoing")
}

/// Made and removed at once: whether directories can be.
fn probe(dir: &Path) -> PathBuf {
    beside(dir, ".cdc-probe")
}

/// Refused while an exchange is recorded and not finished: half the directories are of one moment and half of another, and what was
/// put aside is all that is left of it.
pub(super) fn none_is_half_done(layout: &Layout) -> Result<(), StoreError> {
    let path = layout.exchange();
    if !path.exists() {
        return Ok(());
    }
    Err(StoreError::refused(
        format!("data directories are half exchanged ({})", path.display()),
        "mend what kept them from being exchanged, then restart the daemon: it finishes before it starts anything",
    ))
}

/// What a restore is about.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The snapshot.
    pub name: &'a str,
    /// One set of it; none: all.
    pub only: Option<Set>,
    /// The programs that will run on the data; of one that is not named the next start decides.
    pub versions: &'a [DataVersion],
}

/// Whether this could be restored, were everything down: what [`restore`] refuses, and all of the snapshot read, so that nothing is
/// stopped for one that is damaged. Blocks for as long as reading it takes.
pub fn could_restore(
    layout: &Layout,
    stores: &[Store],
    wanted: Wanted<'_>,
    told: &mut Told<'_>,
) -> Result<(), StoreError> {
    let manifest = read(layout, wanted.name)?;
    let _held = hold(layout, wanted.name, Use::Reading)?;
    let chosen = allowed(layout, &manifest, stores, wanted)?;
    let copied: Vec<&StoreCopy> = chosen.iter().map(|(_, copy)| *copy).collect();
    let from = layout.snapshots().join(wanted.name);
    as_it_was(&differences(&from, &manifest, &copied, told)?)?;
    belong_together(&from, wanted.name, &chosen)
}

/// What is copied back is of one cluster. Asked of bytes that are proven to be those that were copied.
fn belong_together(from: &Path, name: &str, chosen: &[(&Store, &StoreCopy)]) -> Result<(), StoreError> {
    let places: Vec<together::Place<'_>> =
        chosen.iter().map(|(store, _)| (&store.node, store.set, from.join(store.node.as_str()))).collect();
    together::of_snapshot(name, &places).map(drop)
}

/// What is to be replaced, each with its copy: there is such a snapshot, it has the configured nodes, their programs may have the
/// data, the directories can be exchanged, and there is room for all of it beside what is there.
fn allowed<'a>(
    layout: &Layout,
    manifest: &'a Manifest,
    stores: &'a [Store],
    wanted: Wanted<'_>,
) -> Result<Vec<(&'a Store, &'a StoreCopy)>, StoreError> {
    none_is_half_done(layout)?;
    let chosen = chosen(manifest, stores, wanted.only)?;
    for (store, copy) in &chosen {
        if let Some(version) = wanted.versions.iter().find(|v| v.data_dir == store.dir) {
            let seen = identity::Seen { mark: copy.written_by.clone(), ..identity::Seen::default() };
            identity::judge_version(version, &seen)
                .map_err(|failure| StoreError::Refused(failure.what, Some(failure.remedy)))?;
        }
        replaceable(&store.dir)?;
    }
    let from = layout.snapshots().join(wanted.name);
    let copies: Vec<(PathBuf, &Path)> = chosen
        .iter()
        .map(|(store, _)| (from.join(store.node.as_str()), store.dir.parent().unwrap_or(Path::new("/"))))
        .collect();
    room::enough(copies.iter().map(|(from, place)| (from.as_path(), *place)))?;
    Ok(chosen)
}

/// Puts the data of a snapshot in the place of what is there. Nothing of these stores may run. Blocks for as long as copying takes.
/// What was done, in words.
pub fn restore(
    layout: &Layout,
    stores: &[Store],
    wanted: Wanted<'_>,
    told: &mut Told<'_>,
) -> Result<Vec<String>, StoreError> {
    let name = wanted.name;
    let manifest = read(layout, name)?;
    let _held = hold(layout, name, Use::Reading)?;
    // What one that was killed has left goes first: its room is wanted.
    none_is_half_done(layout)?;
    at_rest(layout, stores)?;
    clear(layout, stores)?;
    let chosen = allowed(layout, &manifest, stores, wanted)?;
    fail_point!("exchange.cleared");
    let from = layout.snapshots().join(name);
    let copied = copies(&from, &manifest, &chosen, told).and_then(|()| belong_together(&from, name, &chosen));
    if copied.is_err() {
        // Half a copy beside the data; the error is what must be heard.
        let _ = clear(layout, stores);
    }
    copied?;
    let passwords = match chosen.iter().any(|(store, _)| store.set == Set::Mysql) {
        true => Some(secrets::bring(&from, &manifest, &incoming(&layout.secrets()))?),
        false => None,
    };
    if chosen.iter().any(|(store, _)| store.set == Set::Kafka) {
        dynamic::put_back(layout, &manifest.dynamic)?;
        fail_point!("exchange.remembered");
    }
    if let Some(left) = &manifest.drill_left {
        // Before the data are back: what is owed for nothing is found to be gone, and struck off.
        let text = left.to_string();
        fs::write_atomic(&layout.drill_left(), text.as_bytes(), 0o640, fs::Durability::PowerLoss)?;
    }
    let exchange = Exchange {
        schema: 1,
        what: format!("restore {name}"),
        swaps: chosen.iter().map(|(store, _)| Swap { dir: store.dir.clone(), new: true }).collect(),
        secrets: passwords.is_some().then(|| incoming(&layout.secrets())),
        passwords,
    };
    let left = record_and_carry_out(layout, &exchange)?;
    let done = chosen.iter().map(|(store, copy)| {
        format!("{}: {} of {}", store.node, crate::base::ByteSize(copy.bytes()), manifest.made_at)
    });
    Ok(done.chain(left).collect())
}

/// The stores to replace, each with its copy. A set is taken whole, and only where the plan has the same nodes in it.
fn chosen<'a>(
    manifest: &'a Manifest,
    stores: &'a [Store],
    only: Option<Set>,
) -> Result<Vec<(&'a Store, &'a StoreCopy)>, StoreError> {
    let sets = match only {
        None => manifest.sets(),
        Some(set) if manifest.sets().contains(&set) => vec![set],
        Some(set) => return Err(StoreError::Asked(format!("the snapshot {} has no {set} data", manifest.name), None)),
    };
    let mut chosen = Vec::new();
    for set in sets {
        let there: BTreeSet<&NodeName> = stores.iter().filter(|s| s.set == set).map(|s| &s.node).collect();
        let copied: BTreeSet<&NodeName> = manifest.stores.iter().filter(|s| s.set == set).map(|s| &s.node).collect();
        if there != copied {
            let list = |names: &BTreeSet<&NodeName>| names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
            let what = format!("the snapshot has {}, the configuration has {}", list(&copied), list(&there));
            let hint = "data of one moment belong together: configure the nodes that the snapshot has";
            return Err(StoreError::Refused(what, Some(hint.into())));
        }
        for store in stores.iter().filter(|s| s.set == set) {
            chosen.extend(manifest.stores.iter().find(|copy| copy.node == store.node).map(|copy| (store, copy)));
        }
    }
    Ok(chosen)
}

fn copies(
    from: &Path,
    manifest: &Manifest,
    chosen: &[(&Store, &StoreCopy)],
    told: &mut Told<'_>,
) -> Result<(), StoreError> {
    if chosen.iter().any(|(store, _)| store.set == Set::Mysql) {
        as_it_was(&secrets::differences(from, manifest)?)?;
    }
    for (store, copy) in chosen {
        let source = from.join(store.node.as_str());
        let target = incoming(&store.dir);
        told(format!("copying {} back", store.node));
        let entries = copy::tree(&source, &target, &mut |_| ())?;
        fail_point!("exchange.copied");
        // What was read is what was listed, or nothing is replaced.
        if !copy::is_as_listed(&entries, &copy.entries) {
            let wrong = copy::differences(&source, copy, &mut |_| ())?;
            as_it_was(&wrong)?;
            return Err(changed("what its files are was changed"));
        }
    }
    told("waiting for the disk".into());
    for (store, _) in chosen {
        let target = incoming(&store.dir);
        fs::sync_file_system(&target).map_err(|e| SysError::path("sync the file system of", &target, e))?;
    }
    Ok(())
}

/// Refused when something of a snapshot is not as it was.
fn as_it_was(wrong: &[String]) -> Result<(), StoreError> {
    wrong.first().map_or(Ok(()), |first| Err(changed(first)))
}

fn changed(what: &str) -> StoreError {
    StoreError::refused(
        format!("the snapshot is not what it was: {what}"),
        "it was changed after it was made; `cdc-supervisor snapshot verify` names all of it",
    )
}

/// Whether this set could be reset, were it down.
pub fn could_reset(layout: &Layout, stores: &[Store], set: Set) -> Result<(), StoreError> {
    none_is_half_done(layout)?;
    let mut chosen = stores.iter().filter(|store| store.set == set).peekable();
    if chosen.peek().is_none() {
        return Err(StoreError::Asked(format!("the configuration has no {set} node"), None));
    }
    chosen.try_for_each(|store| replaceable(&store.dir))
}

/// Removes the data of one set, so that its nodes begin anew. Nothing of it may run. What was done, in words.
pub fn reset(layout: &Layout, stores: &[Store], set: Set) -> Result<Vec<String>, StoreError> {
    could_reset(layout, stores, set)?;
    let chosen: Vec<&Store> = stores.iter().filter(|store| store.set == set).collect();
    at_rest(layout, &chosen.iter().map(|store| (*store).clone()).collect::<Vec<_>>())?;
    clear(layout, stores)?;
    let mut done = chosen
        .iter()
        // A mark that cannot be read says nothing, and is no reason to keep data that somebody wants to be rid of.
        .map(|store| match marker(&store.dir).ok().flatten() {
            Some(mark) => format!("{}: removed what {} {} had written", store.node, mark.product, mark.version),
            None => format!("{}: removed", store.node),
        })
        .collect::<Vec<_>>();
    let swaps = chosen.iter().map(|store| Swap { dir: store.dir.clone(), new: false }).collect();
    let exchange = Exchange { schema: 1, what: format!("reset {set}"), swaps, secrets: None, passwords: None };
    done.extend(record_and_carry_out(layout, &exchange)?);
    Ok(done)
}

/// Whether a directory can be renamed away: it is none that something is mounted on, it is no link to one, and its parent can be
/// written.
fn replaceable(dir: &Path) -> Result<(), StoreError> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let Ok(own) = std::fs::symlink_metadata(dir) else {
        // Not there yet: nothing to rename. What is wrong with the parent shows when it is written.
        return Ok(());
    };
    if own.is_symlink() {
        // The link would go aside, its data would stay, and new ones would come to the file system of the link.
        return Err(StoreError::refused(
            format!("{} is a link: the data that it leads to would stay where they are", dir.display()),
            "set data_dir to the directory that it leads to",
        ));
    }
    let other_device = std::fs::metadata(parent).is_ok_and(|of_parent| of_parent.dev() != own.dev());
    if other_device || mounts::is_mount_point(dir) {
        return Err(StoreError::refused(
            format!("{} is a mount point: a directory in its place cannot be exchanged in one step", dir.display()),
            "set data_dir to a directory below it",
        ));
    }
    let tried = probe(dir);
    // One of a run that was killed.
    let _ = std::fs::remove_dir(&tried);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&tried)
        .map_err(|e| SysError::path("make a directory in", parent, e))?;
    fail_point!("exchange.probed");
    std::fs::remove_dir(&tried).map_err(|e| SysError::path("remove directory", &tried, e))?;
    Ok(())
}

fn record_and_carry_out(layout: &Layout, exchange: &Exchange) -> Result<Vec<String>, SysError> {
    let text = serde_json::to_string(exchange).map_err(|e| SysError::new("write the record", io::Error::from(e)))?;
    fs::write_atomic(&layout.exchange(), text.as_bytes(), 0o600, fs::Durability::PowerLoss)?;
    carry_out(layout, exchange)
}

/// Returns what of the old data could not be removed, in words: they are exchanged all the same.
fn carry_out(layout: &Layout, exchange: &Exchange) -> Result<Vec<String>, SysError> {
    for swap in &exchange.swaps {
        let (new, old) = (incoming(&swap.dir), outgoing(&swap.dir));
        loop {
            let (from, to) = match step(swap.new, swap.dir.exists(), new.exists(), old.exists()) {
                Step::Aside => (&swap.dir, &old),
                Step::Come => (&new, &swap.dir),
                Step::Done => break,
            };
            let renamed = || -> io::Result<()> {
                std::fs::rename(from, to)?;
                fail_io!("exchange.renamed", to.as_path())?;
                fs::sync_parent(to)
            };
            renamed().map_err(|e| SysError::new(format!("rename {} to {}", from.display(), to.display()), e))?;
        }
    }
    if let Some(secrets) = &exchange.secrets {
        secrets::put_back(layout, secrets, exchange.passwords.as_ref())?;
        fail_point!("exchange.secrets-back");
    }
    // Whose data this root has is learned again from what is there now.
    fs::remove_optional(&layout.identity())?;
    fail_point!("exchange.identity-forgotten");
    fs::remove_optional(&layout.exchange())?;
    fail_point!("exchange.ended");
    fs::sync_parent(&layout.exchange()).map_err(|e| SysError::path("sync", &layout.state(), e))?;
    let removed = exchange.swaps.iter().filter_map(|swap| {
        let said = remove_or_say(&outgoing(&swap.dir));
        fail_point!("exchange.old-removed");
        said
    });
    // Never what an earlier version's record names: the passwords of a snapshot.
    let removed = removed.chain(remove_or_say(&incoming(&layout.secrets())));
    Ok(removed.collect())
}

/// Finishes an exchange that was recorded and not finished, and removes what one that was not recorded has left, and what is half a
/// snapshot. Before any node is started. The words for it; none: there was nothing.
pub fn finish(layout: &Layout, stores: &[Store]) -> Result<Option<String>, SysError> {
    let mut words = Vec::new();
    if let Some(text) = fs::read_lossy_optional(&layout.exchange())? {
        let exchange: Exchange = serde_json::from_str(&text).map_err(|e| unreadable(layout, stores, &e))?;
        let left = carry_out(layout, &exchange)?;
        words.push(format!(
            "`{}` was cut short while directories were being exchanged, and is finished now",
            exchange.what
        ));
        words.extend(left);
    } else {
        let beside = stores.iter().flat_map(|store| [incoming(&store.dir), outgoing(&store.dir), probe(&store.dir)]);
        let passwords = incoming(&layout.secrets());
        words.extend(beside.chain([passwords]).filter_map(|dir| remove_or_say(&dir)));
    }
    // Data that nobody uses keep nobody from a start; a directory of snapshots that cannot be read is told of by who needs it.
    words.extend(super::parts(layout).unwrap_or_default().iter().filter_map(|part| remove_or_say(part)));
    Ok((!words.is_empty()).then(|| words.join("; ")))
}

/// A record that cannot be read: only its reader knows which directories are of which moment, so nothing is touched.
fn unreadable(layout: &Layout, stores: &[Store], why: &serde_json::Error) -> SysError {
    let list = |found: Vec<PathBuf>| found.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
    let there =
        |of: fn(&Path) -> PathBuf| stores.iter().map(|store| of(&store.dir)).filter(|dir| dir.exists()).collect();
    let (new, old): (Vec<PathBuf>, Vec<PathBuf>) = (there(incoming), there(outgoing));
    let beside = match (new.is_empty(), old.is_empty()) {
        (true, true) => "no directory waits beside the data: remove the record".to_owned(),
        _ => format!(
            "directories of before lie beside the data ({}), and new ones ({}): rename by hand so that all are of one moment, then \
             remove the record",
            if old.is_empty() { "none".to_owned() } else { list(old) },
            if new.is_empty() { "none".to_owned() } else { list(new) },
        ),
    };
    SysError::path("read", &layout.exchange(), io::Error::other(format!("{why}; {beside}")))
}

fn remove_or_say(dir: &Path) -> Option<String> {
    let e = fs::remove_dir_all_optional(dir).err()?;
    Some(format!("{e}: {}; nothing uses it, remove it by hand", e.source))
}

fn clear(layout: &Layout, stores: &[Store]) -> Result<(), SysError> {
    for store in stores {
        for left in [incoming(&store.dir), outgoing(&store.dir), probe(&store.dir)] {
            fs::remove_dir_all_optional(&left)?;
        }
    }
    fs::remove_dir_all_optional(&incoming(&layout.secrets()))
}

#[cfg(test)]
mod tests;
