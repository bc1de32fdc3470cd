//! Kafka's and ZooKeeper's jars: which store tree they are, and how they get there.

use super::{
    ArtifactError, Part, Progress, Settings, Step, directory,
    lockfile::{KafkaRecord, TreeRecord},
    manifest::{Care, Manifest},
    maven,
    pins::Pins,
    progress::megabytes,
    store::{self, Store},
};
use crate::{
    base::programs::KafkaJars,
    sys::{clock, command::Cancel},
};
use std::path::Path;

/// Kafka's version, as the pins have it.
fn version(pins: &Pins) -> &str {
    pins.version_of("kafka_2.13-").unwrap_or("unknown")
}

/// Name of the jars' directory without its content.
fn name(pins: &Pins) -> String {
    format!("kafka-{}", version(pins))
}

/// The jars in the store, or why they are not there. The pins say which tree it must be, not the record.
pub fn resolve(store: &Path, pins: &Pins, care: Care) -> Result<KafkaJars, String> {
    let content = pins.content();
    let tree = store.join(store::directory_name(&name(pins), &content));
    let manifest = Manifest::read(&tree)?;
    if manifest.content() != content {
        return Err(format!("{} does not hold the pinned jars", tree.display()));
    }
    if let Some(damage) = manifest.damage(&tree, care) {
        return Err(damage);
    }
    Ok(KafkaJars {
        version: version(pins).to_owned(),
        zookeeper_version: pins.version_of("zookeeper-").unwrap_or("unknown").to_owned(),
        class_path: pins.names().map(|jar| tree.join("libs").join(jar)).collect(),
        content,
    })
}

/// `kafka 3.5.2 (52 jars, 38 MB)`.
pub fn detail(jars: &KafkaJars, bytes: Option<u64>) -> String {
    words(&jars.version, jars.class_path.len(), bytes)
}

/// The same for jars just fetched.
pub fn record_detail(record: &KafkaRecord, settings: &Settings) -> Result<String, ArtifactError> {
    Ok(words(&record.version, Pins::parse(settings.kafka_pins)?.len(), Some(record.tree.bytes)))
}

fn words(version: &str, jars: usize, bytes: Option<u64>) -> String {
    let size = bytes.map(|b| format!(", {}", megabytes(b))).unwrap_or_default();
    format!("kafka {version} ({jars} jars{size})")
}

/// Fetches the jars from the first source that has the pinned ones.
pub fn fetch(
    store: &Store,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<KafkaRecord, ArtifactError> {
    let pins = Pins::parse(settings.kafka_pins)?;
    let work = store.work("kafka")?;
    let from_mvn = || maven::fetch(&settings.host, &work, &pins, cancel);
    let (tree, source) = match &settings.kafka_jars {
        None => {
            progress.step(&Step::Begin { what: Part::Kafka, detail: format!("kafka {} with mvn", version(&pins)) });
            (from_mvn()?, "mvn".to_owned())
        }
        Some(place) => {
            let here = place.display().to_string();
            progress.step(&Step::Begin { what: Part::Kafka, detail: format!("kafka {} from {here}", version(&pins)) });
            match directory::fetch(place, &work, &pins) {
                Ok(tree) => (tree, here),
                Err(first) => {
                    progress.step(&Step::Note { what: Part::Kafka, text: format!("{first}; trying mvn") });
                    match from_mvn() {
                        Ok(tree) => (tree, "mvn".to_owned()),
                        Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
                        Err(second) => {
                            let failures = vec![(here, first), ("mvn".to_owned(), second)];
                            return Err(ArtifactError::Sources { part: Part::Kafka, failures });
                        }
                    }
                }
            }
        }
    };
    let stored = store.install(&tree, &name(&pins))?;
    Ok(KafkaRecord {
        version: version(&pins).to_owned(),
        zookeeper_version: pins.version_of("zookeeper-").unwrap_or("unknown").to_owned(),
        tree: TreeRecord::new(stored, source, clock::wall()),
    })
}
