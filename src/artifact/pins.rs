//! The pinned jars of a Kafka distribution, and the comparison of a set of jars with them.

use super::{ArtifactError, JarFault, manifest};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Kafka 3.5.2 as Maven Central serves it, `sha256sum` format. Made from the jars that [`super::maven`]'s pom resolves to.
pub const KAFKA: &str = include_str!("../../dist/kafka-3.5.2.sha256");

/// Names and digests of the jars of one distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(BTreeMap<String, String>);

/// Whether jars beside the pinned ones are a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// A source that was asked for exactly the pinned set.
    Refused,
    /// A directory of somebody else's, of which only the pinned jars are taken.
    Ignored,
}

impl Pins {
    /// Reads `<64 hex digits>  <name>.jar` lines, as `sha256sum` writes and checks them.
    pub fn parse(text: &str) -> Result<Self, ArtifactError> {
        let mut jars = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let parsed = line.split_once("  ").filter(|(digest, name)| {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                digest.len() == 64 && digest.bytes().all(hex) && name.ends_with(".jar") && !name.contains('/')
            });
            let fresh = parsed
                .and_then(|(digest, name)| jars.insert(name.to_owned(), digest.to_owned()).is_none().then_some(()));
            if fresh.is_none() {
                return Err(ArtifactError::Pins { line: index + 1, text: line.to_owned() });
            }
        }
        Ok(Self(jars))
    }

    /// Jar names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How many jars.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The version in the name of the jar that starts with `prefix`: `3.6.4` for `zookeeper-` (not `zookeeper-jute-`).
    pub fn version_of(&self, prefix: &str) -> Option<&str> {
        self.names()
            .filter_map(|name| name.strip_prefix(prefix)?.strip_suffix(".jar"))
            .find(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// Content id of a store tree with exactly these jars under `libs/`.
    pub fn content(&self) -> String {
        manifest::content_id(self.0.iter().map(|(name, digest)| (format!("libs/{name}"), format!("file {digest} -"))))
    }

    /// Compares the jars of a directory with the pins; every fault is reported, not only the first.
    pub fn compare(&self, directory: &Path, from: &str, others: Others) -> Result<(), ArtifactError> {
        let there: BTreeSet<String> = jar_names(directory)?;
        let mut faults = Vec::new();
        for (name, wanted) in &self.0 {
            if !there.contains(name) {
                faults.push(JarFault::Missing { name: name.clone() });
                continue;
            }
            let found = manifest::file_digest(&directory.join(name))?;
            if found != *wanted {
                faults.push(JarFault::Digest { name: name.clone(), wanted: wanted.clone(), found });
            }
        }
        if others == Others::Refused {
            for name in there.iter().filter(|n| !self.0.contains_key(*n)) {
                faults
                    .push(JarFault::Extra { name: name.clone(), found: manifest::file_digest(&directory.join(name))? });
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(ArtifactError::Jars { from: from.to_owned(), faults }) }
    }
}

fn jar_names(directory: &Path) -> Result<BTreeSet<String>, ArtifactError> {
    let entries = manifest::entries(directory)?;
    Ok(entries
        .iter()
        .filter_map(|e| Some(e.path().file_name()?.to_string_lossy().into_owned()))
        .filter(|name| name.ends_with(".jar"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// SHA-256 of `abc` (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_built_in_pins_name_52_jars_and_the_versions_of_kafka_and_zookeeper() {
        let pins = Pins::parse(KAFKA).unwrap();
        assert_eq!(pins.len(), 52);
        assert_eq!(pins.version_of("kafka_2.13-"), Some("3.5.2"));
        assert_eq!(pins.version_of("zookeeper-"), Some("3.6.4"));
        assert_eq!(pins.version_of("netty-handler-"), Some("4.1.94.Final"));
    }

    #[test]
    fn a_bad_pin_line_is_named_with_its_number() {
        let good = format!("{ABC}  a.jar\n");
        for bad in [
            "short  b.jar",
            &format!("{ABC} b.jar"),
            &format!("{ABC}  ../b.jar"),
            &format!("{}  b.jar", ABC.to_uppercase()),
            &format!("{ABC}  b.zip"),
            &format!("{ABC}  a.jar"),
            "",
        ] {
            match Pins::parse(&format!("{good}{bad}\n")) {
                Err(ArtifactError::Pins { line: 2, text }) => assert_eq!(text, bad),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn missing_extra_and_changed_jars_are_all_named_with_both_digests() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("good.jar"), "abc").unwrap();
        fs::write(dir.path().join("bad.jar"), "abd").unwrap();
        fs::write(dir.path().join("extra.jar"), "abc").unwrap();
        let pins = Pins::parse(&format!("{ABC}  good.jar\n{ABC}  bad.jar\n{ABC}  gone.jar\n")).unwrap();
        let e = pins.compare(dir.path(), "a test", Others::Refused).unwrap_err();
        let text = e.to_string();
        assert!(text.starts_with("3 of the jars from a test are not the pinned ones:"), "{text}");
        assert!(text.contains(&format!("bad.jar: wanted SHA-256 {ABC}, found a52d159f")), "{text}");
        assert!(text.contains("gone.jar: missing") && text.contains("extra.jar: not pinned, SHA-256 ba7816"), "{text}");
        assert!(e.hint().unwrap().contains("proxy"));
        fs::write(dir.path().join("bad.jar"), "abc").unwrap();
        fs::write(dir.path().join("gone.jar"), "abc").unwrap();
        assert!(pins.compare(dir.path(), "a test", Others::Refused).is_err());
        pins.compare(dir.path(), "a test", Others::Ignored).unwrap();
    }
}
