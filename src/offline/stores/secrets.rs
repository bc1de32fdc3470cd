//! The passwords that go with MySQL's data: copied with a digest of each, compared with it, put back.

use super::{
    copy,
    manifest::{FileEntry, Manifest},
};
use crate::{
    base::Layout,
    sys::{error::SysError, fs},
};
use std::{collections::BTreeMap, io, path::Path};

/// The directory of passwords inside a snapshot.
pub(super) const DIR: &str = "secrets";

/// What each file has, by name.
pub(super) type Digests = BTreeMap<String, FileEntry>;

/// Copies the passwords of a root into the directory of a snapshot.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Digests, SysError> {
    let mut names = fs::names_in(from)?;
    names.retain(|name| is_plain(name) && from.join(name).is_file());
    fs::make_dir(to, 0o700)?;
    let mut digests = Digests::new();
    for name in names {
        let bytes = read(&from.join(&name))?;
        fs::write_atomic(&to.join(&name), &bytes, 0o600, fs::Durability::ProcessCrash)?;
        digests.insert(name, copy::of_bytes(&bytes));
    }
    Ok(digests)
}

/// What is not as the manifest says. A manifest of an earlier version has names only: then no more is seen than that there is something.
pub(super) fn differences(snapshot: &Path, manifest: &Manifest) -> Result<Vec<String>, SysError> {
    let dir = snapshot.join(DIR);
    let mut wrong = Vec::new();
    for name in &manifest.secrets {
        // It comes from a file and becomes a path.
        if !is_plain(name) {
            wrong.push(format!("{DIR}/{name} is no name of a password"));
            continue;
        }
        let path = dir.join(name);
        if !std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            wrong.push(format!("{DIR}/{name} is missing"));
            continue;
        }
        let there = copy::of_bytes(&read(&path)?);
        wrong.extend(match manifest.secret_digests.get(name) {
            Some(copied) => unlike(name, copied, &there),
            None if there.bytes == 0 => Some(format!("{DIR}/{name} is empty")),
            None => None,
        });
    }
    let more = fs::names_in(&dir)?.into_iter().filter(|name| !manifest.secrets.contains(name));
    wrong.extend(more.map(|name| format!("{DIR}/{name} is not in the manifest")));
    Ok(wrong)
}

/// Brings the passwords of a snapshot to a place of their own, for the record of an exchange: what is put back later is what is looked at
/// now, and whoever removes the snapshot meanwhile takes nothing from it.
pub(super) fn bring(snapshot: &Path, manifest: &Manifest, to: &Path) -> Result<Digests, SysError> {
    fs::make_dir(to, 0o700)?;
    let mut digests = Digests::new();
    for name in manifest.secrets.iter().filter(|name| is_plain(name)) {
        let bytes = read(&snapshot.join(DIR).join(name))?;
        fs::write_atomic(&to.join(name), &bytes, 0o600, fs::Durability::PowerLoss)?;
        digests.insert(name.clone(), copy::of_bytes(&bytes));
    }
    Ok(digests)
}

/// Puts passwords in the place of those of the root: all of them, or none when one is not what it was when that was recorded. `listed`:
/// as on record; none: an earlier version wrote the record, and what lies there counts.
pub(super) fn put_back(layout: &Layout, from: &Path, listed: Option<&Digests>) -> Result<(), SysError> {
    // Data without their passwords are worth nothing: a snapshot that is gone is heard of, and the record stays.
    std::fs::metadata(from).map_err(|e| SysError::path("look into", from, e))?;
    let names: Vec<String> = match listed {
        Some(listed) => listed.keys().cloned().collect(),
        None => fs::names_in(from)?.into_iter().filter(|name| is_plain(name)).collect(),
    };
    let mut passwords = Vec::new();
    for name in names.into_iter().filter(|name| is_plain(name)) {
        let path = from.join(&name);
        let bytes = read(&path)?;
        if let Some(wrong) = listed.and_then(|l| unlike(&name, l.get(&name)?, &copy::of_bytes(&bytes))) {
            return Err(SysError::path("put back", &path, io::Error::other(wrong)));
        }
        passwords.push((name, bytes));
    }
    for (name, bytes) in passwords {
        fs::write_atomic(&layout.secret(&name), &bytes, 0o600, fs::Durability::PowerLoss)?;
    }
    Ok(())
}

fn unlike(name: &str, copied: &FileEntry, there: &FileEntry) -> Option<String> {
    if copied.bytes != there.bytes {
        return Some(format!("{DIR}/{name} has {} bytes, not {}", there.bytes, copied.bytes));
    }
    (copied.sha256 != there.sha256).then(|| format!("{DIR}/{name} has other bytes than it had"))
}

/// One component, and nothing that is hidden or being written.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

fn read(path: &Path) -> Result<Vec<u8>, SysError> {
    std::fs::read(path).map_err(|e| SysError::path("read", path, e))
}
