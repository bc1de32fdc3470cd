//! Kafka UI: the jar in the store, how it gets there, and the Java runtime it is run with.

use super::{
    ArtifactError, FoundJava, Part, Progress, Settings, Step,
    archive::Keep,
    catalog::Becomes,
    jar, java,
    lockfile::{JavaRecord, KafkaUiRecord, TreeRecord},
    manifest::{self, Care, Manifest},
    progress::megabytes,
    settings::{Origin, UiChoice},
    store::Store,
    vendor::{Fetcher, Got},
};
use crate::{
    base::programs::{JavaRuntime, KafkaUiJar},
    sys::{clock, command::Cancel, error::SysError, fs as sysfs},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Its name in its tree.
const FILE: &str = "kafka-ui.jar";

/// The packages of the program's own main class: the project until 0.7.2, and its successor.
const PRODUCTS: [(&str, &str); 2] = [("com.provectus.kafka.ui.", "provectus"), ("io.kafbat.ui.", "kafbat")];

/// The jar in the store, or why it cannot be used.
pub fn resolve(store: &Path, record: Option<&KafkaUiRecord>, choice: &UiChoice, care: Care) -> Result<PathBuf, String> {
    let record = record.ok_or("never fetched")?;
    match (&choice.jar, &record.asked) {
        // what is gone from there is in the store all the same
        (Some(path), Some(asked)) if path == asked => {
            if stamp(path).is_some_and(|now| Some(now) != record.stamp) {
                return Err(format!("{} was replaced", path.display()));
            }
        }
        (Some(path), _) => return Err(format!("{} was not copied into it yet", path.display())),
        (None, _) if record.release != choice.release => {
            return Err(format!("the store has {}, and {} is wanted", record.release, choice.release));
        }
        (None, _) => {}
    }
    let tree = store.join(&record.tree.directory);
    let manifest = Manifest::read(&tree)?;
    if manifest.content() != record.tree.content {
        return Err(format!("{} is not the tree that was recorded", tree.display()));
    }
    match manifest.damage(&tree, care) {
        Some(damage) => Err(damage),
        None => Ok(tree.join(FILE)),
    }
}

/// `kafka-ui provectus-0.7.2 (98 MB)`.
pub fn detail(record: &KafkaUiRecord) -> String {
    format!("kafka-ui {} ({})", record.release, megabytes(record.tree.bytes))
}

/// As recipes use it.
pub fn programs(record: &KafkaUiRecord, jar: PathBuf, java: JavaRuntime) -> KafkaUiJar {
    KafkaUiJar { release: record.release.clone(), jar, java, content: record.tree.content.clone() }
}

/// The runtime for the jar: the configured one, else the brokers' where that is new enough, else the one it had, else the
/// oldest of the host that is new enough. The second value is to be recorded.
pub fn runtime(
    record: &KafkaUiRecord,
    brokers: Option<&JavaRuntime>,
    settings: &Settings,
    choice: &UiChoice,
    cancel: &Cancel,
) -> Result<(JavaRuntime, Option<JavaRecord>), ArtifactError> {
    let needed = record.java_needed;
    if choice.java_home.is_none()
        && let Some(java) = brokers.filter(|java| java.major >= needed)
    {
        return Ok((java.clone(), None));
    }
    let known = record.java.as_ref().filter(|r| r.asked == choice.java_home && r.major >= needed);
    if let Some(known) = known.and_then(java::unchanged) {
        return Ok((known.runtime(), record.java.clone()));
    }
    let mut refused: Vec<FoundJava> = Vec::new();
    let mut good: Vec<java::Checked> = Vec::new();
    let programs = match &choice.java_home {
        Some(home) => vec![(home.join("bin/java"), "kafka_ui.java_home in the configuration".to_owned())],
        None => java::candidates(settings),
    };
    for (place, by) in programs {
        match java::check(&place, cancel)? {
            Ok(checked) if checked.major >= needed => good.push(checked),
            Ok(checked) => {
                let why = format!("release {} ({}), wanted {needed} or newer", checked.major, checked.version);
                refused.push(FoundJava { place, by, why });
            }
            Err(why) => refused.push(FoundJava { place, by, why }),
        }
    }
    // The oldest: it is what the jar was built and tried with.
    match good.into_iter().min_by_key(|checked| checked.major) {
        Some(checked) => Ok((checked.runtime(), Some(checked.record(choice.java_home.as_deref())))),
        None => Err(ArtifactError::UiJava { release: record.release.clone(), needed, found: refused }),
    }
}

/// Puts the jar that was named into the store, or the one of the wanted release that the first source has.
pub fn fetch(fetcher: &Fetcher<'_>) -> Result<(KafkaUiRecord, Option<Got>), ArtifactError> {
    match &fetcher.settings.kafka_ui.jar {
        Some(path) => Ok((copied(fetcher.store, path, fetcher.progress)?, None)),
        None => listed(fetcher),
    }
}

/// From a directory of files, a mirror or the vendor. No distribution has a package of it.
fn listed(fetcher: &Fetcher<'_>) -> Result<(KafkaUiRecord, Option<Got>), ArtifactError> {
    let release = &fetcher.settings.kafka_ui.release;
    let catalog = fetcher.settings.catalog()?;
    let rows = catalog.rows(Becomes::KafkaUi, release);
    let work = fetcher.store.work("kafka-ui")?;
    let mut failures = Vec::new();
    let order = fetcher.settings.order(None);
    let order: Vec<Origin> = order.into_iter().filter(|origin| *origin != Origin::Packages).collect();
    for (i, origin) in order.iter().enumerate() {
        let got = fetcher.get(Part::KafkaUi, &rows, *origin, &work, &|_| Keep::Yes, &mut failures)?;
        if let Some(got) = got {
            match stored(fetcher.store, &got, release) {
                Ok(record) => return Ok((record, Some(got))),
                Err(e) => failures.push((got.source, e)),
            }
        }
        if i + 1 < order.len() {
            fetcher.next_source(Part::KafkaUi, &failures);
        }
    }
    if failures.is_empty() {
        return Err(ArtifactError::NoUiJar { release: release.clone() });
    }
    Err(ArtifactError::of_sources(Part::KafkaUi, failures))
}

/// A verified jar becomes a tree of the store.
fn stored(store: &Store, got: &Got, release: &str) -> Result<KafkaUiRecord, ArtifactError> {
    let files = manifest::entries(&got.tree)?;
    let path = files.first().map(fs::DirEntry::path).unwrap_or_default();
    let jar = got.tree.join(FILE);
    fs::rename(&path, &jar).map_err(|e| SysError::path("rename", &path, e))?;
    let (_, java_needed) = judge(&jar).map_err(|why| ArtifactError::UiJar { path, why })?;
    let stored = got.install(store, &format!("kafka-ui-{}", plain(release)))?;
    let tree = TreeRecord::new(stored, got.source.clone(), clock::wall());
    // the list's word, which the configuration chooses by; the jar may spell its version otherwise
    Ok(KafkaUiRecord {
        release: release.to_owned(),
        java_needed,
        asked: None,
        stamp: None,
        tree,
        archive: Some(got.archive.clone()),
        java: None,
    })
}

/// The jar that was put there by hand.
fn copied(store: &Store, path: &Path, progress: &dyn Progress) -> Result<KafkaUiRecord, ArtifactError> {
    let from = path.display().to_string();
    progress.step(&Step::Begin { what: Part::KafkaUi, detail: format!("kafka-ui from {from}") });
    let work = store.work("kafka-ui")?;
    let tree = work.path().join("kept");
    sysfs::make_dir(&tree, 0o755)?;
    // looked at before it is copied: a jar that is written meanwhile is copied again next time
    let stamp = stamp(path);
    let copy = tree.join(FILE);
    fs::copy(path, &copy).map_err(|e| SysError::path("copy", path, e))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))
        .map_err(|e| SysError::path("set the mode of", &copy, e))?;
    let (release, java_needed) = judge(&copy).map_err(|why| ArtifactError::UiJar { path: path.to_owned(), why })?;
    let stored = store.install(&tree, &format!("kafka-ui-{}", plain(&release)))?;
    Ok(KafkaUiRecord {
        release,
        java_needed,
        asked: Some(path.to_owned()),
        stamp,
        tree: TreeRecord::new(stored, from, clock::wall()),
        archive: None,
        java: None,
    })
}

/// Which release a jar is and which Java it needs; the error is a sentence without its subject.
fn judge(path: &Path) -> Result<(String, u32), String> {
    let jar = jar::read(path)?;
    let product = PRODUCTS.iter().find(|(package, _)| jar.main_class.starts_with(package)).map(|(_, name)| *name);
    let product = product.ok_or_else(|| format!("is another program's jar: it starts {}", jar.main_class))?;
    let version = jar.version.as_deref().map_or("unknown", |v| v.trim_start_matches('v'));
    Ok((format!("{product}-{version}"), jar.java))
}

/// Size, time and inode: what changes when a file is replaced. None when there is none.
fn stamp(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    Some(format!("{} {}.{} {}", meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()))
}

/// What may stand in a directory name.
fn plain(release: &str) -> String {
    release
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
        .take(60)
        .collect()
}
