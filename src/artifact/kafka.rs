//! Kafka's and ZooKeeper's jars: which store tree they are, and how they get there.

use super::{
    ArtifactError, Part, Settings, Step,
    catalog::Becomes,
    directory, kafka_archive,
    lockfile::{KafkaRecord, LockFile, TreeRecord},
    manifest::{Care, Manifest},
    maven,
    pins::Pins,
    progress::megabytes,
    settings::{Origin, PINNED_JARS},
    store,
    vendor::{Fetcher, Got},
};
use crate::{base::programs::KafkaJars, sys::clock};
use std::path::Path;

/// Kafka's version, as the pins have it.
fn version(pins: &Pins) -> &str {
    pins.version_of("kafka_2.13-").unwrap_or("unknown")
}

/// Name of the jars' directory without its content.
fn name(pins: &Pins) -> String {
    format!("kafka-{}", version(pins))
}

/// The jars of a choice in the store, or why they are not there. The record says which tree that is; for jars that are
/// pinned one by one the pins do.
pub fn resolve(
    store: &Path,
    record: &LockFile,
    settings: &Settings,
    pins: &Pins,
    care: Care,
) -> Result<KafkaJars, String> {
    let choice = settings.kafka_choice.as_str();
    let known = record.kafka_of(choice).filter(|k| !k.class_path.is_empty());
    let (directory, content) = match known {
        Some(known) => (known.tree.directory.clone(), known.tree.content.clone()),
        None if choice == PINNED_JARS => (store::directory_name(&name(pins), &pins.content()), pins.content()),
        None => return Err(format!("{choice} was never fetched")),
    };
    let tree = store.join(directory);
    if care != Care::Unseen {
        let manifest = Manifest::read(&tree)?;
        if manifest.content() != content {
            return Err(format!(
                "{} does not hold the {} jars",
                tree.display(),
                if known.is_some() { "recorded" } else { "pinned" }
            ));
        }
        if let Some(damage) = manifest.damage(&tree, care) {
            return Err(damage);
        }
    }
    Ok(match known {
        Some(known) => KafkaJars {
            version: known.version.clone(),
            zookeeper_version: known.zookeeper_version.clone(),
            class_path: known.class_path.iter().map(|jar| tree.join(jar)).collect(),
            content,
        },
        None => KafkaJars {
            version: version(pins).to_owned(),
            zookeeper_version: pins.version_of("zookeeper-").unwrap_or("unknown").to_owned(),
            class_path: pins.names().map(|jar| tree.join("libs").join(jar)).collect(),
            content,
        },
    })
}

/// `kafka 3.5.2 (52 jars, 38 MB)`.
pub fn detail(jars: &KafkaJars, bytes: Option<u64>) -> String {
    words(&jars.version, jars.class_path.len(), bytes)
}

/// The same for jars just fetched.
pub fn record_detail(record: &KafkaRecord, settings: &Settings) -> Result<String, ArtifactError> {
    let jars = match record.class_path.len() {
        0 => Pins::parse(settings.kafka_pins)?.len(),
        jars => jars,
    };
    Ok(words(&record.version, jars, Some(record.tree.bytes)))
}

fn words(version: &str, jars: usize, bytes: Option<u64>) -> String {
    let size = bytes.map(|b| format!(", {}", megabytes(b))).unwrap_or_default();
    format!("kafka {version} ({jars} jars{size})")
}

/// Fetches the jars of the wanted choice from the first source that has them.
pub fn fetch(fetcher: &Fetcher<'_>, before: Option<&KafkaRecord>) -> Result<(KafkaRecord, Option<Got>), ArtifactError> {
    let settings = fetcher.settings;
    let before = before.map(|b| b.archive.as_ref().map_or(Origin::Packages, |a| a.origin));
    let mut failures = Vec::new();
    let order = settings.order(before);
    for (i, origin) in order.iter().enumerate() {
        let found = match origin {
            Origin::File | Origin::Vendor => {
                from_archive(fetcher, *origin, &mut failures)?.map(|(record, got)| (record, Some(got)))
            }
            Origin::Packages => from_packages(fetcher, &mut failures)?.map(|record| (record, None)),
        };
        match found {
            Some(found) => return Ok(found),
            None if i + 1 < order.len() => fetcher.next_source(Part::Kafka, &failures),
            None => {}
        }
    }
    Err(ArtifactError::of_sources(Part::Kafka, failures))
}

fn from_archive(
    fetcher: &Fetcher<'_>,
    origin: Origin,
    failures: &mut Vec<(String, ArtifactError)>,
) -> Result<Option<(KafkaRecord, Got)>, ArtifactError> {
    let catalog = fetcher.settings.catalog()?;
    let choice = fetcher.settings.kafka_choice.as_str();
    let work = fetcher.store.work("kafka-archive")?;
    for row in catalog.rows(Becomes::Kafka, choice) {
        let select = kafka_archive::selection(row.layout);
        let Some(got) = fetcher.get(Part::Kafka, &[row], origin, &work, &select, failures)? else { continue };
        let jars = match kafka_archive::jars(&got.tree, row.layout, &row.file) {
            Ok(jars) => jars,
            Err(e) => {
                failures.push((got.source, e));
                continue;
            }
        };
        let stored = got.install(fetcher.store, &row.id)?;
        let record = KafkaRecord {
            version: row.line.as_ref().unwrap_or(&row.version).clone(),
            zookeeper_version: jars.zookeeper_version,
            tree: TreeRecord::new(stored, got.source.clone(), clock::wall()),
            class_path: jars.class_path,
            choice: Some(choice.to_owned()),
            archive: Some(got.archive.clone()),
        };
        return Ok(Some((record, got)));
    }
    Ok(None)
}

fn from_packages(
    fetcher: &Fetcher<'_>,
    failures: &mut Vec<(String, ArtifactError)>,
) -> Result<Option<KafkaRecord>, ArtifactError> {
    let (settings, progress, cancel) = (fetcher.settings, fetcher.progress, fetcher.cancel);
    if settings.kafka_choice != PINNED_JARS {
        let choice = settings.kafka_choice.clone();
        failures.push(("mvn".into(), ArtifactError::NotOffered { source_name: "mvn", choice }));
        return Ok(None);
    }
    let pins = Pins::parse(settings.kafka_pins)?;
    let work = fetcher.store.work("kafka")?;
    let begin = |from: &str| {
        let detail = format!("kafka {} {from}", version(&pins));
        progress.step(&Step::Begin { what: Part::Kafka, detail });
    };
    let (mut tree, mut source) = (None, String::new());
    if let Some(place) = &settings.kafka_jars {
        source = place.display().to_string();
        begin(&format!("from {source}"));
        match directory::fetch(place, &work, &pins) {
            Ok(jars) => tree = Some(jars),
            Err(first) => {
                progress.step(&Step::Note { what: Part::Kafka, text: format!("{first}; trying mvn") });
                failures.push((source.clone(), first));
            }
        }
    }
    if tree.is_none() {
        source = "mvn".to_owned();
        begin("with mvn");
        match maven::fetch(&settings.host, &work, &pins, cancel) {
            Ok(jars) => tree = Some(jars),
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => failures.push((source.clone(), e)),
        }
    }
    let Some(tree) = tree else { return Ok(None) };
    let stored = fetcher.store.install(&tree, &name(&pins))?;
    Ok(Some(KafkaRecord {
        version: version(&pins).to_owned(),
        zookeeper_version: pins.version_of("zookeeper-").unwrap_or("unknown").to_owned(),
        tree: TreeRecord::new(stored, source, clock::wall()),
        class_path: Vec::new(),
        choice: None,
        archive: None,
    }))
}
