//! `lock.toml` of the store: what was fetched, from where, with which versions and digests. Says what a store tree is;
//! a tree that no record names is not used.

use super::{ArtifactError, store::Stored};
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
}

/// Kafka UI's jar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaUiRecord {
    /// `provectus-0.7.2`, as the jar says.
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
    pub packages: Vec<Package>,
}

/// Where the parts of a MySQL tree are, relative to its top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlShape {
    /// The dynamic loader.
    pub loader: PathBuf,
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

impl Default for LockFile {
    fn default() -> Self {
        Self { schema: SCHEMA, java: None, kafka: None, mysql: None, kafka_ui: None }
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
            }),
            kafka: Some(KafkaRecord { version: "3.5.2".into(), zookeeper_version: "3.6.4".into(), tree: tree() }),
            mysql: Some(MysqlRecord {
                version: "9.7.4".into(),
                tree: tree(),
                shape: MysqlShape {
                    loader: "l".into(),
                    libraries: vec!["usr/lib".into()],
                    mysqld: "m".into(),
                    messages: "s".into(),
                    character_sets: "c".into(),
                    plugins: "p".into(),
                },
                packages: vec![package],
            }),
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
