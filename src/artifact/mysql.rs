//! The MySQL server: which store tree it is, and how the distribution's packages become one.

use super::{
    ArtifactError, Part, Progress, Settings, Step,
    apt::{self, AptRoot, archive::HostArchive, unpack},
    lockfile::{MysqlRecord, Package, TreeRecord},
    manifest::{Care, Manifest},
    mysql_tree,
    progress::megabytes,
    store::{Store, Work},
};
use crate::{
    base::programs::MysqlTree,
    sys::{clock, command::Cancel},
};
use std::path::{Path, PathBuf};

/// The recorded tree, or why it cannot be used.
pub fn resolve(store: &Path, record: &MysqlRecord, care: Care) -> Result<MysqlTree, String> {
    let tree = store.join(&record.tree.directory);
    let manifest = Manifest::read(&tree)?;
    if manifest.content() != record.tree.content {
        return Err(format!("{} is not the tree that was recorded", tree.display()));
    }
    if let Some(damage) = manifest.damage(&tree, care) {
        return Err(damage);
    }
    mysql_tree::programs(&tree, &record.shape, &record.version, &record.tree.content).map_err(|e| e.to_string())
}

/// `mysql 9.7.4 (55 packages, 57 MB)`.
pub fn detail(record: &MysqlRecord) -> String {
    let bytes: u64 = record.packages.iter().map(|p| p.bytes).sum();
    format!("mysql {} ({} packages, {})", record.version, record.packages.len(), megabytes(bytes))
}

/// Fetches the packages of the wanted suite and makes a tree of them.
pub fn fetch(
    store: &Store,
    settings: &Settings,
    before: Option<&MysqlRecord>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<MysqlRecord, ArtifactError> {
    let work = store.work("mysql")?;
    let mut failures = Vec::new();
    for archive in apt::host_archives(&settings.host, &work, cancel)? {
        let suites = archive.for_mysql(settings.mysql_suite.as_deref());
        let Some(first) = suites.first() else { continue };
        let source = format!("{} {}", first.uri, first.name);
        progress.step(&Step::Begin {
            what: Part::Mysql,
            detail: format!("mysql from the distribution's packages ({})", first.name),
        });
        let attempt = AptRoot::make(&settings.host, &work, &archive, &suites, cancel)
            .and_then(|root| download(&root, &archive, progress, cancel));
        match attempt {
            Ok(packages) => return install(store, settings, &work, &packages, source, before, cancel),
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => failures.push((source, e)),
        }
    }
    Err(ArtifactError::of_sources(Part::Mysql, failures))
}

/// Downloads the first server package that the archive has.
fn download(
    root: &AptRoot<'_>,
    archive: &HostArchive,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<(PathBuf, Package)>, ArtifactError> {
    let mut failures = Vec::new();
    for name in archive.family.mysql_packages() {
        match root.download_closure(name, Part::Mysql, progress, cancel) {
            Ok(packages) => return Ok(packages),
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => failures.push(((*name).to_owned(), e)),
        }
    }
    Err(ArtifactError::of_sources(Part::Mysql, failures))
}

fn install(
    store: &Store,
    settings: &Settings,
    work: &Work,
    packages: &[(PathBuf, Package)],
    source: String,
    before: Option<&MysqlRecord>,
    cancel: &Cancel,
) -> Result<MysqlRecord, ArtifactError> {
    let files = packages.iter().map(|(path, _)| path.as_path());
    let unpacked = unpack::unpack(&settings.host, work, "unpacked", files, cancel)?;
    let (tree, shape) = mysql_tree::kept(&unpacked, work.path().join("kept"))?;
    mysql_tree::check_libraries(&tree, &shape, cancel)?;
    let version = mysql_tree::version(&tree, &shape, cancel)?;
    if let Some(before) = before.filter(|b| !may_follow(&b.version, &version)) {
        return Err(ArtifactError::MysqlChanged { before: before.version.clone(), now: version, from: source });
    }
    let stored = store.install(&tree, &format!("mysql-{version}"))?;
    Ok(MysqlRecord {
        version,
        tree: TreeRecord::new(stored, source, clock::wall()),
        shape,
        packages: packages.iter().map(|(_, p)| p.clone()).collect(),
    })
}

/// Whether data of `before` may be opened by `now`: within a series forwards only. Going back is never supported, and a
/// step to another series is an upgrade that a person decides on (MySQL manual, "Upgrade Paths" and "Downgrading MySQL").
fn may_follow(before: &str, now: &str) -> bool {
    match (mysql_tree::numbers(before), mysql_tree::numbers(now)) {
        (Some(before), Some(now)) => (before.0, before.1) == (now.0, now.1) && before.2 <= now.2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_goes_forward_only_and_is_never_changed_silently() {
        assert!(may_follow("8.0.45", "8.0.46"));
        assert!(may_follow("8.0.46", "8.0.46"));
        assert!(!may_follow("8.0.46", "8.0.45"));
        assert!(!may_follow("8.0.46", "8.4.11"));
        assert!(!may_follow("9.7.4", "8.0.46"));
    }
}
