//! The MySQL server: which store tree it is, and how an archive or the distribution's packages become one.

use super::{
    ArtifactError, Part, Progress, Step,
    apt::{self, AptRoot, archive::HostArchive, unpack},
    catalog::Becomes,
    libraries,
    lockfile::{MysqlRecord, MysqlShape, Package, TreeRecord},
    manifest::{Care, Manifest},
    mysql_archive, mysql_tree,
    progress::megabytes,
    settings::Origin,
    store::Work,
    vendor::{Fetcher, Got},
};
use crate::{
    base::programs::MysqlTree,
    sys::{clock, command::Cancel, elf::SearchPath},
};
use std::path::{Path, PathBuf};

/// The recorded tree, or why it cannot be used.
pub fn resolve(store: &Path, record: &MysqlRecord, care: Care) -> Result<MysqlTree, String> {
    let tree = store.join(&record.tree.directory);
    if care != Care::Unseen {
        let manifest = Manifest::read(&tree)?;
        if manifest.content() != record.tree.content {
            return Err(format!("{} is not the tree that was recorded", tree.display()));
        }
        if let Some(damage) = manifest.damage(&tree, care) {
            return Err(damage);
        }
    }
    mysql_tree::programs(&tree, &record.shape, &record.version, &record.tree.content).map_err(|e| e.to_string())
}

/// `mysql 9.7.4 (55 packages, 57 MB)`, `mysql 8.0.46 (archive, 60 MB)`.
pub fn detail(record: &MysqlRecord) -> String {
    if let Some(archive) = &record.archive {
        return format!("mysql {} (archive, {})", record.version, megabytes(archive.bytes));
    }
    let bytes: u64 = record.packages.iter().map(|p| p.bytes).sum();
    format!("mysql {} ({} packages, {})", record.version, record.packages.len(), megabytes(bytes))
}

/// The release of MySQL that is asked of its vendor when the configuration names none: the series the stack is made for.
const RELEASE: &str = "8.0.46";

/// Fetches a server from the first source that has one. `before` is what the store has; a choice of the configuration's is a
/// person's decision, without one the series stays.
pub fn fetch(fetcher: &Fetcher<'_>, before: Option<&MysqlRecord>) -> Result<(MysqlRecord, Option<Got>), ArtifactError> {
    let settings = fetcher.settings;
    let last = before.map(|b| b.archive.as_ref().map_or(Origin::Packages, |a| a.origin));
    let wish = match settings.mysql_choice.as_deref() {
        Some(choice) => Wish::Series(choice),
        None => before.map_or(Wish::Any, |b| Wish::After(&b.version)),
    };
    let mut failures = Vec::new();
    let order = settings.order(last);
    for (i, origin) in order.iter().enumerate() {
        let found = match origin {
            Origin::File | Origin::Vendor => from_archive(fetcher, *origin, wish, &mut failures)?,
            Origin::Packages => from_packages(fetcher, wish, &mut failures)?.map(|record| (record, None)),
        };
        match found {
            Some(found) => return Ok(found),
            None if i + 1 < order.len() => fetcher.next_source(Part::Mysql, &failures),
            None => {}
        }
    }
    Err(ArtifactError::of_sources(Part::Mysql, failures))
}

/// Which versions will do.
#[derive(Clone, Copy, Debug)]
enum Wish<'a> {
    Any,
    /// The store has had this one, and data of it may be there.
    After(&'a str),
    /// The configuration names this one: of packages another patch of its series will do.
    Series(&'a str),
}

impl Wish<'_> {
    fn accepts(self, version: &str, from: &str) -> Result<(), ArtifactError> {
        match self {
            Wish::After(before) if !may_follow(before, version) => Err(ArtifactError::MysqlChanged {
                before: before.to_owned(),
                now: version.to_owned(),
                from: from.to_owned(),
            }),
            Wish::Series(choice) if !same_series(choice, version) => Err(ArtifactError::NotOffered {
                source_name: "this source",
                choice: format!("MySQL {choice} (it has {version})"),
            }),
            Wish::Any | Wish::After(_) | Wish::Series(_) => Ok(()),
        }
    }
}

fn same_series(one: &str, other: &str) -> bool {
    let series = |v: &str| mysql_tree::numbers(v).map(|(major, minor, _)| (major, minor));
    series(one).is_some() && series(one) == series(other)
}

fn from_archive(
    fetcher: &Fetcher<'_>,
    origin: Origin,
    wish: Wish<'_>,
    failures: &mut Vec<(String, ArtifactError)>,
) -> Result<Option<(MysqlRecord, Option<Got>)>, ArtifactError> {
    let catalog = fetcher.settings.catalog()?;
    let choice = match wish {
        Wish::Series(choice) => choice.to_owned(),
        Wish::Any => RELEASE.to_owned(),
        // The newest of the series that is known, so that data may be opened by it.
        Wish::After(before) => {
            let all = catalog.all().iter().filter(|a| a.part == Becomes::Mysql && may_follow(before, &a.version));
            match all.max_by_key(|a| mysql_tree::numbers(&a.version)) {
                Some(row) => row.choice.clone(),
                None => {
                    let choice = format!("MySQL that may follow {before}");
                    failures.push(("vendor".into(), ArtifactError::NotOffered { source_name: "the vendor", choice }));
                    return Ok(None);
                }
            }
        }
    };
    let work = fetcher.store.work("mysql-archive")?;
    for row in catalog.rows(Becomes::Mysql, &choice) {
        let Some(got) = fetcher.get(Part::Mysql, &[row], origin, &work, &mysql_archive::selection, failures)? else {
            continue;
        };
        let judged = mysql_archive::shape(&got.tree).and_then(|shape| {
            let added = add_libraries(fetcher, &work, &got.tree, &shape)?;
            let version = mysql_tree::version(&got.tree, &shape, fetcher.cancel)?;
            wish.accepts(&version, &got.source)?;
            Ok((shape, version, added))
        });
        let (shape, version, packages) = match judged {
            Ok(judged) => judged,
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => {
                failures.push((got.source, e));
                continue;
            }
        };
        let stored = got.install(fetcher.store, &format!("mysql-{version}"))?;
        let record = MysqlRecord {
            version,
            tree: TreeRecord::new(stored, got.source.clone(), clock::wall()),
            shape,
            packages,
            archive: Some(got.archive.clone()),
        };
        return Ok(Some((record, Some(got))));
    }
    Ok(None)
}

/// What the vendor's server needs of this host and does not find: put into its own library directory.
fn add_libraries(
    fetcher: &Fetcher<'_>,
    work: &Work,
    tree: &Path,
    shape: &MysqlShape,
) -> Result<Vec<Package>, ArtifactError> {
    let program = tree.join(&shape.mysqld);
    // its run path leads to the first of them
    let Some(own) = shape.libraries.first() else { return Ok(Vec::new()) };
    let from_packages = |packages: &[&'static str]| {
        if !fetcher.settings.order(None).contains(&Origin::Packages) {
            let choice = format!("packages ({})", packages.join(", "));
            return Err(ArtifactError::NotOffered { source_name: "this configuration", choice });
        }
        let (host, cancel) = (&fetcher.settings.host, fetcher.cancel);
        libraries::from_host_packages(packages, host, work, Part::Mysql, fetcher.progress, cancel)
    };
    let search = SearchPath::new(Vec::new());
    let added = libraries::complete(&program, &tree.join(own), &search, &from_packages)?;
    for text in added.notes {
        fetcher.progress.step(&Step::Note { what: Part::Mysql, text });
    }
    Ok(added.packages)
}

/// Fetches the packages of the wanted suite and makes a tree of them.
fn from_packages(
    fetcher: &Fetcher<'_>,
    wish: Wish<'_>,
    failures: &mut Vec<(String, ArtifactError)>,
) -> Result<Option<MysqlRecord>, ArtifactError> {
    let (settings, progress, cancel) = (fetcher.settings, fetcher.progress, fetcher.cancel);
    let work = fetcher.store.work("mysql")?;
    let archives = match apt::host_archives(&settings.host, &work, cancel) {
        Ok(archives) => archives,
        Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
        Err(e) => {
            failures.push(("packages".into(), e));
            return Ok(None);
        }
    };
    for archive in archives {
        let suites = archive.for_mysql(settings.mysql_suite.as_deref());
        let Some(first) = suites.first() else { continue };
        let source = format!("{} {}", first.uri, first.name);
        progress.step(&Step::Begin {
            what: Part::Mysql,
            detail: format!("mysql from the distribution's packages ({})", first.name),
        });
        let attempt = AptRoot::make(&settings.host, &work, &archive, &suites, cancel)
            .and_then(|root| download(&root, &archive, progress, cancel))
            .and_then(|packages| install(fetcher, &work, &packages, &source, wish));
        match attempt {
            Ok(record) => return Ok(Some(record)),
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => failures.push((source, e)),
        }
    }
    Ok(None)
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
    fetcher: &Fetcher<'_>,
    work: &Work,
    packages: &[(PathBuf, Package)],
    source: &str,
    wish: Wish<'_>,
) -> Result<MysqlRecord, ArtifactError> {
    let cancel = fetcher.cancel;
    let files = packages.iter().map(|(path, _)| path.as_path());
    let unpacked = unpack::unpack(&fetcher.settings.host, work, "unpacked", files, cancel)?;
    let (tree, shape) = mysql_tree::kept(&unpacked, work.path().join("kept"))?;
    mysql_tree::check_libraries(&tree, &shape, cancel)?;
    let version = mysql_tree::version(&tree, &shape, cancel)?;
    wish.accepts(&version, source)?;
    let stored = fetcher.store.install(&tree, &format!("mysql-{version}"))?;
    Ok(MysqlRecord {
        version,
        tree: TreeRecord::new(stored, source.to_owned(), clock::wall()),
        shape,
        packages: packages.iter().map(|(_, p)| p.clone()).collect(),
        archive: None,
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

    #[test]
    fn a_named_release_accepts_its_series_and_a_store_that_has_one_what_may_follow() {
        assert!(Wish::Any.accepts("9.7.4", "x").is_ok());
        assert!(Wish::Series("8.0.46").accepts("8.0.45", "x").is_ok());
        let e = Wish::Series("8.4.11").accepts("9.7.4", "x").unwrap_err().to_string();
        assert_eq!(e, "this source has no MySQL 8.4.11 (it has 9.7.4)");
        assert!(Wish::After("9.7.2").accepts("9.7.4", "x").is_ok());
        assert!(matches!(Wish::After("9.7.4").accepts("9.7.2", "x"), Err(ArtifactError::MysqlChanged { .. })));
    }
}
