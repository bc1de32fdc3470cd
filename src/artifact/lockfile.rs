//! `lock.toml` of the store: what was fetched, from where, with which versions and digests. Says what a store tree is;
//! a tree that no record names is not used.

use super::{ArtifactError, Part, settings::Origin, store::Stored};
use crate::{
    base::Timestamp,
    sys::{
        error::SysError,
        fs::{self as sysfs, Durability},
    },
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The schema this program reads and writes.
const SCHEMA: u32 = 1;

/// Everything recorded about a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    schema: u32,
    /// The Java runtime in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub java: Option<JavaRecord>,
    /// Kafka's jars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaRecord>,
    /// The MySQL tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MysqlRecord>,
    /// Kafka UI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_ui: Option<KafkaUiRecord>,
    /// Other Kafkas that this store has had, newest first: going back to one needs no network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_kafka: Vec<KafkaRecord>,
    /// Other MySQLs, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_mysql: Vec<MysqlRecord>,
    /// Files that were trusted at first sight, because nobody publishes a digest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<Trusted>,
}

/// A tree in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRecord {
    /// Directory name in the store.
    pub directory: String,
    /// Content id.
    pub content: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Where it came from, for people.
    pub source: String,
    /// When.
    pub fetched_at: Timestamp,
}

impl TreeRecord {
    /// The record of a tree just stored.
    pub fn new(stored: Stored, source: String, fetched_at: Timestamp) -> Self {
        Self { directory: stored.directory, content: stored.content, bytes: stored.bytes, source, fetched_at }
    }
}

/// A file that was trusted at first sight. From then on it is as good as pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// Its id in the list of artifacts.
    pub artifact: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// Where it came from.
    pub source: String,
    /// When.
    pub at: Timestamp,
}

/// The file that a tree was unpacked from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRecord {
    /// Its id in the list of artifacts.
    pub artifact: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// Which kind of source it came from.
    pub origin: Origin,
}

/// A package of the distribution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, epoch included.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// SHA-256 of the .deb file.
    pub sha256: String,
    /// Size of the .deb file.
    pub bytes: u64,
}

/// The Java runtime in use: one of the host's, or one in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JavaRecord {
    /// The configured `java_home` it was found by, if one was configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<PathBuf>,
    /// `java.home`; below the store for a fetched one.
    pub home: PathBuf,
    /// Feature release.
    pub major: u32,
    /// The full version text.
    pub version: String,
    /// What its files looked like.
    pub fingerprint: String,
    /// The tree of a fetched one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeRecord>,
    /// The packages of a fetched one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// The archive of a fetched one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveRecord>,
}

/// Kafka's jars. What they must be is pinned in the program; this records where these came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaRecord {
    /// Kafka's version.
    pub version: String,
    /// ZooKeeper's.
    pub zookeeper_version: String,
    /// Where they are.
    pub tree: TreeRecord,
    /// The jars in the order of the class path, relative to the tree; empty: those that are pinned one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_path: Vec<PathBuf>,
    /// The word that chose it; none: the one whose jars are pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// The archive they came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveRecord>,
}

impl KafkaRecord {
    /// The word that chooses it.
    pub fn choice(&self) -> &str {
        self.choice.as_deref().unwrap_or(super::settings::PINNED_JARS)
    }
}

/// Kafka UI's jar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaUiRecord {
    /// `provectus-0.7.2`: the list's word, or what a jar that was put there by hand says.
    pub release: String,
    /// The oldest Java release that runs it, as its classes say.
    pub java_needed: u32,
    /// The configured `jar` it was copied from, if one was configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<PathBuf>,
    /// What that file looked like then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// Where it is.
    pub tree: TreeRecord,
    /// The file of the list it came as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveRecord>,
    /// The runtime it is run with, where that is not the brokers'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub java: Option<JavaRecord>,
}

/// A MySQL tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlRecord {
    /// What `mysqld --version` said.
    pub version: String,
    /// Where it is.
    pub tree: TreeRecord,
    /// Where its parts are, relative to the tree.
    pub shape: MysqlShape,
    /// The packages it was made of.
    #[serde(default)]
    pub packages: Vec<Package>,
    /// The archive it came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveRecord>,
}

/// Where the parts of a MySQL tree are, relative to its top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlShape {
    /// The dynamic loader; none: the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<PathBuf>,
    /// Directories with shared libraries, in search order.
    pub libraries: Vec<PathBuf>,
    /// The server program.
    pub mysqld: PathBuf,
    /// The directory with `english/errmsg.sys`.
    pub messages: PathBuf,
    /// The directory with `Index.xml`.
    pub character_sets: PathBuf,
    /// The plugin directory.
    pub plugins: PathBuf,
}

/// A tree that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// What it is.
    pub part: Part,
    /// Its version.
    pub version: &'a str,
    /// Where it is and came from.
    pub tree: &'a TreeRecord,
    /// It is used now; else the store has had it before.
    pub current: bool,
}

impl Default for LockFile {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            java: None,
            kafka: None,
            mysql: None,
            kafka_ui: None,
            earlier_kafka: Vec::new(),
            earlier_mysql: Vec::new(),
            trusted: Vec::new(),
        }
    }
}

fn path(store: &Path) -> PathBuf {
    store.join("lock.toml")
}

impl LockFile {
    /// Reads the record of a store; an empty one when there is none yet.
    pub fn read(store: &Path) -> Result<Self, ArtifactError> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        let path = path(store);
        let Some(text) = sysfs::read_optional(&path)? else { return Ok(Self::default()) };
        let bad = |source| ArtifactError::Lockfile { path: path.clone(), source: Box::new(source) };
        let Head { schema } = toml::from_str(&text).map_err(bad)?;
        if schema != SCHEMA {
            return Err(ArtifactError::LockfileSchema { path, found: schema, known: SCHEMA });
        }
        toml::from_str(&text).map_err(bad)
    }

    /// A Kafka came: the one before it stays on record when it is another.
    pub fn put_kafka(&mut self, now: KafkaRecord) {
        self.earlier_kafka.retain(|k| k.tree.directory != now.tree.directory);
        if let Some(before) = self.kafka.replace(now)
            && self.kafka.as_ref().is_some_and(|now| now.choice() != before.choice())
        {
            self.earlier_kafka.insert(0, before);
        }
    }

    /// A MySQL came, likewise.
    pub fn put_mysql(&mut self, now: MysqlRecord) {
        self.earlier_mysql.retain(|m| m.tree.directory != now.tree.directory);
        if let Some(before) = self.mysql.replace(now)
            && self.mysql.as_ref().is_some_and(|now| now.version != before.version)
        {
            self.earlier_mysql.insert(0, before);
        }
    }

    /// The Kafka of a choice.
    pub fn kafka_of(&self, choice: &str) -> Option<&KafkaRecord> {
        self.kafka.iter().chain(&self.earlier_kafka).find(|k| k.choice() == choice)
    }

    /// The MySQL of a choice; without one the one that came last.
    pub fn mysql_of(&self, choice: Option<&str>) -> Option<&MysqlRecord> {
        let mut all = self.mysql.iter().chain(&self.earlier_mysql);
        // Of packages another patch of the series will do, and is what came when that version was asked for.
        let series = |v: &str| v.rsplit_once('.').map(|(series, _)| series.to_owned());
        let fits =
            |m: &MysqlRecord, c: &str| m.version == c || (m.archive.is_none() && series(&m.version) == series(c));
        all.find(|m| choice.is_none_or(|c| fits(m, c)))
    }

    /// The record as it is when these choices are what is used: going back to a program that is there fetches nothing, and so
    /// records nothing.
    pub fn turned_to(mut self, kafka: &str, mysql: Option<&str>) -> Self {
        if let Some(kafka) = self.kafka_of(kafka).cloned() {
            self.put_kafka(kafka);
        }
        if let Some(mysql) = self.mysql_of(mysql).cloned() {
            self.put_mysql(mysql);
        }
        self
    }

    /// Every tree on record.
    pub fn trees(&self) -> Vec<Known<'_>> {
        // Taken apart whole: a tree that is forgotten here is one that gc removes.
        let Self { schema: _, java, kafka, mysql, kafka_ui, earlier_kafka, earlier_mysql, trusted: _ } = self;
        let mut all: Vec<Known<'_>> = Vec::new();
        if let Some(java) = java {
            let tree = java.tree.iter();
            all.extend(tree.map(|tree| Known { part: Part::Java, version: &java.version, tree, current: true }));
        }
        if let Some(ui) = kafka_ui {
            all.push(Known { part: Part::KafkaUi, version: &ui.release, tree: &ui.tree, current: true });
            let own = ui.java.iter().filter_map(|j| Some((j, j.tree.as_ref()?)));
            all.extend(own.map(|(j, tree)| Known { part: Part::Java, version: &j.version, tree, current: true }));
        }
        for (k, current) in kafka.iter().map(|k| (k, true)).chain(earlier_kafka.iter().map(|k| (k, false))) {
            all.push(Known { part: Part::Kafka, version: &k.version, tree: &k.tree, current });
        }
        for (m, current) in mysql.iter().map(|m| (m, true)).chain(earlier_mysql.iter().map(|m| (m, false))) {
            all.push(Known { part: Part::Mysql, version: &m.version, tree: &m.tree, current });
        }
        all
    }

    /// Writes it, whole and durable.
    pub fn write(&self, store: &Path) -> Result<(), ArtifactError> {
        let body = toml::to_string(self)
            .map_err(|e| SysError::path("write as TOML", &path(store), std::io::Error::other(e)))?;
        let text = format!("# Written by cdc-supervisor: what this store holds and where it came from.\n{body}");
        Ok(sysfs::write_atomic(&path(store), text.as_bytes(), 0o644, Durability::PowerLoss)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree() -> TreeRecord {
        TreeRecord {
            directory: "d".into(),
            content: "c".into(),
            bytes: 3,
            source: "test".into(),
            fetched_at: Timestamp(1_763_867_279_042),
        }
    }

    fn kafka(choice: &str) -> KafkaRecord {
        KafkaRecord {
            version: "3.5.2".into(),
            zookeeper_version: "3.6.4".into(),
            tree: TreeRecord { directory: choice.into(), ..tree() },
            class_path: vec!["libs/a.jar".into()],
            choice: Some(choice.into()),
            archive: Some(ArchiveRecord { artifact: "a".into(), sha256: "b".into(), bytes: 1, origin: Origin::File }),
        }
    }

    #[test]
    fn a_kafka_of_another_choice_stays_on_record_and_can_be_gone_back_to() {
        let mut record = LockFile::default();
        for choice in ["apache-3.5.2", "confluent-7.5.3", "confluent-7.5.3"] {
            record.put_kafka(kafka(choice));
        }
        assert_eq!(record.earlier_kafka.len(), 1);
        assert_eq!(record.kafka_of("apache-3.5.2").unwrap().choice(), "apache-3.5.2");
        assert_eq!(record.kafka_of("confluent-7.5.3").unwrap().choice(), "confluent-7.5.3");
        assert!(record.kafka_of("apache-3.9.2").is_none());
        record.put_kafka(kafka("apache-3.5.2"));
        assert_eq!(record.earlier_kafka.iter().map(KafkaRecord::choice).collect::<Vec<_>>(), ["confluent-7.5.3"]);
        assert_eq!(record.clone().turned_to("apache-3.9.2", None), record, "that one is not there");
        let back = record.clone().turned_to("confluent-7.5.3", None);
        assert_eq!(back.kafka.as_ref().map(KafkaRecord::choice), Some("confluent-7.5.3"));
        assert_eq!(back.turned_to("apache-3.5.2", None), record);
    }

    #[test]
    fn a_mysql_of_packages_stands_for_its_series_and_one_of_an_archive_for_itself() {
        let mysql = |version: &str, archive| MysqlRecord {
            version: version.into(),
            tree: tree(),
            shape: MysqlShape {
                loader: None,
                libraries: Vec::new(),
                mysqld: "m".into(),
                messages: "s".into(),
                character_sets: "c".into(),
                plugins: "p".into(),
            },
            packages: Vec::new(),
            archive,
        };
        let packages = LockFile { mysql: Some(mysql("9.7.4", None)), ..LockFile::default() };
        assert!(packages.mysql_of(Some("9.7.2")).is_some() && packages.mysql_of(Some("8.0.46")).is_none());
        let archive = LockFile { mysql: Some(mysql("9.7.4", kafka("a").archive)), ..LockFile::default() };
        assert!(archive.mysql_of(Some("9.7.2")).is_none() && archive.mysql_of(Some("9.7.4")).is_some());
    }

    #[test]
    fn a_record_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LockFile::read(dir.path()).unwrap(), LockFile::default());
        let package = Package {
            name: "p".into(),
            version: "1:2".into(),
            architecture: "amd64".into(),
            sha256: "ab".into(),
            bytes: 1,
        };
        let record = LockFile {
            java: Some(JavaRecord {
                asked: None,
                home: "/j".into(),
                major: 17,
                version: "17.0.15".into(),
                fingerprint: "f".into(),
                tree: Some(tree()),
                packages: vec![package.clone()],
                archive: None,
            }),
            kafka: Some(kafka("apache-3.5.2")),
            mysql: Some(MysqlRecord {
                version: "9.7.4".into(),
                tree: tree(),
                shape: MysqlShape {
                    loader: Some("l".into()),
                    libraries: vec!["usr/lib".into()],
                    mysqld: "m".into(),
                    messages: "s".into(),
                    character_sets: "c".into(),
                    plugins: "p".into(),
                },
                packages: vec![package],
                archive: None,
            }),
            trusted: vec![Trusted {
                artifact: "kafka-confluent-7.5.3".into(),
                sha256: "ab".into(),
                bytes: 7,
                source: "https://a/b".into(),
                at: Timestamp(1_763_867_279_042),
            }],
            ..LockFile::default()
        };
        record.write(dir.path()).unwrap();
        assert_eq!(LockFile::read(dir.path()).unwrap(), record);
    }

    #[test]
    fn a_foreign_or_newer_record_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lock.toml");
        fs::write(&file, "schema = 2\n[kafka]\nshape = 1\n").unwrap();
        let e = LockFile::read(dir.path()).unwrap_err();
        assert!(matches!(e, ArtifactError::LockfileSchema { found: 2, known: 1, .. }), "{e}");
        for bad in ["not toml [", "schema = 1\n[kafka]\nversion = 3\n", ""] {
            fs::write(&file, bad).unwrap();
            assert!(matches!(LockFile::read(dir.path()), Err(ArtifactError::Lockfile { .. })), "{bad:?}");
        }
    }
}
