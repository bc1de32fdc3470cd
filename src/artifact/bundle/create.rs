//! Writes a bundle: what the store has for a configuration, read and compared while it is packed.

use super::{BundleError, Contents, FORM, HEAD, Head, TREES, Tree, platform};
use crate::{
    artifact::{
        ArtifactError, Settings, Wanted, archive,
        lockfile::{JavaRecord, LockFile},
        manifest::{Care, Listed, Manifest},
        survey,
    },
    sys::{command::Cancel, error::SysError, fs as sysfs},
};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// Writes the programs of a configuration into `path`, whole or not at all. The store must have them; every byte is read.
pub fn create(path: &Path, wanted: Wanted, settings: &Settings, cancel: &Cancel) -> Result<Contents, BundleError> {
    let mut careful = settings.clone();
    careful.verify_all = true;
    let found = survey::look(wanted, &careful, cancel)?;
    if !found.missing.is_empty() {
        return Err(BundleError::Lacks(found.missing));
    }
    let (lock, notes) = records(wanted, settings)?;
    let mut trees = Vec::new();
    let mut parts = Vec::new();
    for known in lock.trees() {
        let (tree, manifest) = described(&settings.store, &known.tree.directory)?;
        // The survey has read what is used; a record may name more than that.
        if tree.content != known.tree.content {
            let what = format!("{} is not the tree that was recorded", tree.directory);
            return Err(BundleError::Content { file: settings.store.display().to_string(), what });
        }
        parts.push((format!("{} {}", known.part, known.version), tree.bytes));
        trees.push((tree, manifest));
    }
    let head = Head {
        bundle: FORM,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        platform: platform(),
        trees: trees.iter().map(|(tree, _)| tree.clone()).collect(),
        lock,
    };
    let text = toml::to_string(&head).map_err(|e| SysError::path("write as TOML", path, io::Error::other(e)))?;
    let name = path.file_name().ok_or_else(|| SysError::path("write", path, io::ErrorKind::InvalidInput))?;
    let temporary = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    sysfs::remove_torn_of(path);
    let written = pack(&temporary, &text, &trees, &settings.store, cancel).and_then(|done| {
        fs::rename(&temporary, path).map_err(|e| SysError::path("write", path, e))?;
        sysfs::sync_parent(path).map_err(|e| SysError::path("sync", path, e))?;
        Ok(done)
    });
    let (sha256, bytes) = written.inspect_err(|_| {
        // What is left then is a hidden file; why it was not written is what must be heard.
        let _ = fs::remove_file(&temporary);
    })?;
    Ok(Contents { sha256, bytes, parts, notes, already: false })
}

/// The store's records of what this configuration wants.
fn records(wanted: Wanted, settings: &Settings) -> Result<(LockFile, Vec<String>), BundleError> {
    let all = LockFile::read(&settings.store)?;
    let mut lock = LockFile::default();
    let mut notes = Vec::new();
    if wanted.java {
        match all.java.clone().filter(|java| java.tree.is_some()) {
            Some(java) => lock.java = Some(portable(java, &settings.store)?),
            None => notes.push(
                "java is this machine's own and not in the bundle: the other machine needs a Java 17 or 21 of its own"
                    .to_owned(),
            ),
        }
    }
    if wanted.kafka {
        let choice = settings.kafka_choice.as_str();
        let known = all.kafka.iter().chain(&all.earlier_kafka).find(|k| k.choice() == choice).cloned();
        lock.kafka = Some(known.ok_or_else(|| lost(settings, &format!("no record of Kafka {choice}")))?);
    }
    if wanted.mysql {
        let known = all.mysql_of(settings.mysql_choice.as_deref()).cloned();
        lock.mysql = Some(known.ok_or_else(|| lost(settings, "no record of MySQL"))?);
    }
    if wanted.kafka_ui
        && let Some(mut ui) = all.kafka_ui.clone()
    {
        // Found or named anew on the other machine: a runtime of the page's own is seldom one of the store.
        if ui.java.take().is_some() {
            notes.push("kafka-ui runs with a Java of its own, which is not in the bundle".to_owned());
        }
        if ui.asked.is_some() {
            notes.push("kafka-ui's jar was named by hand and is not in the bundle: carry it over, too".to_owned());
        } else {
            lock.kafka_ui = Some(ui);
        }
    }
    let used: Vec<&str> = [
        lock.kafka_ui.as_ref().and_then(|u| u.archive.as_ref()),
        lock.java.as_ref().and_then(|j| j.archive.as_ref()),
        lock.kafka.as_ref().and_then(|k| k.archive.as_ref()),
        lock.mysql.as_ref().and_then(|m| m.archive.as_ref()),
    ]
    .into_iter()
    .flatten()
    .map(|a| a.artifact.as_str())
    .collect();
    let trusted = all.trusted.iter().filter(|t| used.contains(&t.artifact.as_str())).cloned().collect();
    lock.trusted = trusted;
    Ok((lock, notes))
}

fn lost(settings: &Settings, what: &str) -> BundleError {
    BundleError::Content { file: settings.store.join("lock.toml").display().to_string(), what: what.to_owned() }
}

/// The record of a Java of the store with its home below the store instead of from the root.
fn portable(mut java: JavaRecord, store: &Path) -> Result<JavaRecord, BundleError> {
    let resolved = fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    let inside = java.home.strip_prefix(store).or_else(|_| java.home.strip_prefix(&resolved)).map(Path::to_owned);
    java.home = inside.map_err(|_| BundleError::Content {
        file: store.display().to_string(),
        what: format!("the recorded runtime {} is not in this store", java.home.display()),
    })?;
    java.asked = None;
    Ok(java)
}

fn described(store: &Path, directory: &str) -> Result<(Tree, Manifest), BundleError> {
    let tree = store.join(directory);
    let bad = |what| BundleError::Content { file: tree.display().to_string(), what };
    let manifest = Manifest::read(&tree).map_err(bad)?;
    if let Some(damage) = manifest.damage(&tree, Care::Full) {
        return Err(bad(damage));
    }
    let mut host_links = BTreeMap::new();
    for (name, listed) in manifest.listed() {
        if let Listed::Link(target) = listed
            && !archive::link_stays_inside(Path::new(name), target)
        {
            if !is_host_link(target) {
                let (tree, name, target) = (directory.to_owned(), name.to_owned(), target.to_owned());
                return Err(BundleError::Link { tree, name, target });
            }
            host_links.insert(name.to_owned(), target.to_owned());
        }
    }
    let described =
        Tree { directory: directory.to_owned(), content: manifest.content(), bytes: manifest.bytes(), host_links };
    Ok((described, manifest))
}

/// Whether a link names settings of the host: below `/etc`, by a plain path.
pub fn is_host_link(target: &str) -> bool {
    target.strip_prefix("/etc/").is_some_and(|rest| {
        !rest.is_empty() && Path::new(rest).components().all(|c| matches!(c, std::path::Component::Normal(_)))
    })
}

fn pack(
    path: &Path,
    head: &str,
    trees: &[(Tree, Manifest)],
    store: &Path,
    cancel: &Cancel,
) -> Result<(String, u64), BundleError> {
    let failed = |e| SysError::path("write", path, e);
    let file = File::options().write(true).create(true).truncate(true).open(path).map_err(failed)?;
    let hashing = Hashing { file, sum: Sha256::new(), bytes: 0 };
    let mut tar = Builder::new(GzEncoder::new(hashing, Compression::default()));
    tar.append_data(&mut header(EntryType::Regular, 0o644, head.len() as u64), HEAD, head.as_bytes())
        .map_err(failed)?;
    for (tree, manifest) in trees {
        for (name, listed) in manifest.listed() {
            if cancel.is_cancelled() {
                return Err(ArtifactError::Cancelled.into());
            }
            let place: PathBuf = [TREES, &tree.directory, name].iter().collect();
            match listed {
                Listed::File { executable } => {
                    let from = store.join(&tree.directory).join(name);
                    let opened = File::open(&from).map_err(|e| SysError::path("open", &from, e))?;
                    let size = opened.metadata().map_err(|e| SysError::path("look at", &from, e))?.len();
                    let mode = if executable { 0o755 } else { 0o644 };
                    tar.append_data(&mut header(EntryType::Regular, mode, size), &place, opened).map_err(failed)?;
                }
                Listed::Link(_) if tree.host_links.contains_key(name) => {}
                Listed::Link(target) => {
                    tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), &place, target).map_err(failed)?;
                }
            }
        }
    }
    let hashing = tar.into_inner().and_then(GzEncoder::finish).map_err(failed)?;
    hashing.file.sync_all().map_err(failed)?;
    let digest = hashing.sum.finalize();
    Ok((digest.iter().map(|b| format!("{b:02x}")).collect(), hashing.bytes))
}

/// A header without a time and an owner: the same programs give the same bytes.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

struct Hashing {
    file: File,
    sum: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.sum.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
