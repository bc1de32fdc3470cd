//! The list of what vendors publish and we know: `dist/artifacts.toml`, compiled in, read and checked.

use super::digest::{Algorithm, Digests};
use serde::Deserialize;
use std::collections::BTreeSet;
use thiserror::Error;

/// The built-in list.
pub const BUILT_IN: &str = include_str!("../../dist/artifacts.toml");

/// The schema this program reads.
const SCHEMA: u32 = 1;

/// The list is wrong. The built-in one never is: a test reads it.
#[derive(Debug, Error)]
pub enum CatalogFault {
    /// Not TOML of this shape.
    #[error("the list of artifacts cannot be read")]
    Text(#[source] Box<toml::de::Error>),
    /// Another schema.
    #[error("the list of artifacts has schema {0}, this version knows {SCHEMA}")]
    Schema(u32),
    /// A row breaks a rule.
    #[error("artifact {id}: {why}")]
    Row {
        /// Its id.
        id: String,
        /// The rule.
        why: String,
    },
}

/// What an artifact becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Becomes {
    /// A Java runtime.
    Java,
    /// Kafka's and ZooKeeper's jars.
    Kafka,
    /// A MySQL server.
    Mysql,
    /// The web UI.
    KafkaUi,
}

/// How the file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Packing {
    /// gzip over tar.
    #[serde(rename = "tar.gz")]
    TarGz,
    /// xz over tar.
    #[serde(rename = "tar.xz")]
    TarXz,
    /// One file, kept as it is.
    #[serde(rename = "jar")]
    Jar,
}

impl Packing {
    /// The bytes that every such file begins with (RFC 1952, 2.3.1; the .xz file format, 2.1.1.1; PKWARE APPNOTE, 4.3.7).
    pub fn magic(self) -> &'static [u8] {
        match self {
            Packing::TarGz => &[0x1f, 0x8b],
            Packing::TarXz => &[0xfd, b'7', b'z', b'X', b'Z', 0],
            Packing::Jar => b"PK\x03\x04",
        }
    }
}

/// How the unpacked tree is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `libs/*.jar`.
    ApacheKafka,
    /// `share/java/kafka/*.jar`, `etc`.
    Confluent,
    /// `bin/mysqld`, `lib/private`, `share`.
    Mysql,
    /// `bin/java`, `lib`.
    Java,
    /// One jar.
    Jar,
}

/// A digest that the vendor publishes beside the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Appended to the URL of the file.
    pub suffix: String,
    /// Which digest it holds.
    pub algorithm: Algorithm,
}

/// A detached OpenPGP signature.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Appended to the URL of the file.
    pub suffix: String,
    /// Where the vendor's key is. It is trusted by its fingerprint only.
    pub key: String,
    /// Fingerprints of the primary keys that may have signed, 40 upper-case hex digits each.
    pub fingerprints: Vec<String>,
}

/// One file that can be downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its own name in messages and records.
    pub id: String,
    /// What it becomes.
    pub part: Becomes,
    /// The word that selects it.
    pub choice: String,
    /// The product's version.
    pub version: String,
    /// The version that data and protocols go by, where it is not `version`.
    pub line: Option<String>,
    /// `any` or `linux-x86_64`.
    pub platform: String,
    /// Its licence, for people.
    pub licence: String,
    /// Layout of the tree.
    pub layout: Shape,
    /// Packing.
    pub archive: Packing,
    /// File name: what a mirror and a directory of files have it as.
    pub file: String,
    /// The one directory at the top of the archive.
    pub top: Option<String>,
    /// Where the vendor has it, in the order in which they are asked.
    pub urls: Vec<String>,
    /// Bytes, where known.
    pub size: Option<u64>,
    sha256: Option<String>,
    sha512: Option<String>,
    md5: Option<String>,
    /// The vendor's own digest.
    pub sidecar: Option<Sidecar>,
    /// The vendor's signature.
    pub signature: Option<Signature>,
    /// The oldest Java release that runs it.
    pub java: Option<u32>,
    /// What nobody has checked.
    pub doubt: Option<String>,
}

impl Artifact {
    /// The pinned digests.
    pub fn digests(&self) -> Digests {
        Digests { sha256: self.sha256.clone(), sha512: self.sha512.clone(), md5: self.md5.clone() }
    }

    /// Whether a digest that proves something is pinned.
    pub fn is_pinned(&self) -> bool {
        self.sha256.is_some() || self.sha512.is_some()
    }

    /// Whether it runs on this machine.
    pub fn runs_here(&self) -> bool {
        self.platform == "any" || self.platform == format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with(['.', '-'])
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
        };
        for (key, text) in
            [("id", &self.id), ("choice", &self.choice), ("version", &self.version), ("file", &self.file)]
        {
            if !plain(text) {
                return Err(format!("{key} {text:?} is no plain name"));
            }
        }
        match (&self.top, self.archive) {
            (Some(top), Packing::TarGz | Packing::TarXz) if plain(top) => {}
            (None, Packing::Jar) => {}
            (top, _) => return Err(format!("top {top:?} does not fit its archive")),
        }
        if self.urls.is_empty() {
            return Err("it has no URL".into());
        }
        // What a digest proves may come over anything; what is trusted at first sight may not.
        let keys = self.signature.iter().map(|s| &s.key);
        let fit = |u: &str| u.starts_with("https://") || (self.is_pinned() && u.starts_with("http://"));
        if let Some(url) = self.urls.iter().chain(keys).find(|u| !fit(u)) {
            return Err(format!("{url} is not https, and nothing is pinned that would prove its bytes"));
        }
        if !self.urls.iter().all(|u| u.ends_with(&format!("/{}", self.file))) {
            return Err(format!("a URL does not end with its file name {}", self.file));
        }
        self.digests().check()?;
        if !self.is_pinned() && self.doubt.is_none() {
            return Err("it has neither a digest nor a doubt that says why".into());
        }
        let hex = |f: &String| f.len() == 40 && f.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        if self.signature.as_ref().is_some_and(|s| s.fingerprints.is_empty() || !s.fingerprints.iter().all(hex)) {
            return Err("its fingerprints are not 40 upper-case hex digits each".into());
        }
        Ok(())
    }
}

/// The whole list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog(Vec<Artifact>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Looked at before.
    #[serde(rename = "schema")]
    _schema: u32,
    artifact: Vec<Artifact>,
}

impl Catalog {
    /// Reads and checks a list.
    pub fn parse(text: &str) -> Result<Self, CatalogFault> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        let bad = |e| CatalogFault::Text(Box::new(e));
        let Head { schema } = toml::from_str(text).map_err(bad)?;
        if schema != SCHEMA {
            return Err(CatalogFault::Schema(schema));
        }
        let File { artifact: list, .. } = toml::from_str(text).map_err(bad)?;
        let mut ids = BTreeSet::new();
        for row in &list {
            let bad = |why| CatalogFault::Row { id: row.id.clone(), why };
            row.check().map_err(bad)?;
            if !ids.insert(&row.id) {
                return Err(bad("another row has this id".into()));
            }
        }
        Ok(Self(list))
    }

    /// The list with the rows of `more` in the place of those with the same part and choice.
    #[must_use]
    pub fn with(self, more: Catalog) -> Self {
        let replaced = |row: &Artifact| more.0.iter().any(|m| m.part == row.part && m.choice == row.choice);
        let kept: Vec<Artifact> = self.0.into_iter().filter(|row| !replaced(row)).collect();
        Self(more.0.into_iter().chain(kept).collect())
    }

    /// Every row.
    pub fn all(&self) -> &[Artifact] {
        &self.0
    }

    /// The rows of a part and choice that run here, in order.
    pub fn rows(&self, part: Becomes, choice: &str) -> Vec<&Artifact> {
        self.0.iter().filter(|a| a.part == part && a.choice == choice && a.runs_here()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_is_right_and_has_what_a_configuration_can_choose() {
        let list = Catalog::parse(BUILT_IN).unwrap();
        for (part, choice) in [
            (Becomes::Kafka, "apache-3.5.2"),
            (Becomes::Kafka, "apache-3.9.2"),
            (Becomes::Kafka, "confluent-7.5.3"),
            (Becomes::Mysql, "8.0.46"),
            (Becomes::Mysql, "8.4.11"),
            (Becomes::Mysql, "9.7.2"),
            (Becomes::Java, "17"),
            (Becomes::KafkaUi, "provectus-0.7.2"),
            (Becomes::KafkaUi, "kafbat-1.5.0"),
        ] {
            assert!(list.all().iter().any(|a| a.part == part && a.choice == choice), "{part:?} {choice}");
        }
        assert!(list.all().iter().flat_map(|a| &a.urls).all(|u| u.starts_with("https://")));
        let kafka = list.rows(Becomes::Kafka, "apache-3.5.2")[0];
        assert!(kafka.sha256.is_some() && kafka.sha512.is_some());
        let unpinned: Vec<&str> = list.all().iter().filter(|a| !a.is_pinned()).map(|a| a.id.as_str()).collect();
        assert_eq!(
            unpinned,
            ["kafka-confluent-7.5.3", "kafka-ui-provectus-0.7.2", "kafka-ui-kafbat-1.0.0", "kafka-ui-kafbat-1.4.2"]
        );
        let mysql: Vec<_> = list.all().iter().filter(|a| a.choice == "8.0.46").map(|a| a.id.as_str()).collect();
        assert_eq!(mysql, ["mysql-8.0.46-minimal", "mysql-8.0.46-full"]);
    }

    #[test]
    fn a_row_that_breaks_a_rule_is_named_with_the_rule() {
        let good = BUILT_IN.to_owned();
        for (from, to, words) in [
            ("id = \"kafka-apache-3.9.2\"", "id = \"kafka-apache-3.5.2\"", "another row has this id"),
            ("urls = [\"https://packages", "urls = [\"http://packages", "is not https"),
            ("urls = [\"https://archive", "urls = [\"ftp://archive", "is not https"),
            ("top = \"kafka_2.13-3.5.2\"", "top = \"../x\"", "does not fit its archive"),
            ("bc1af2c4714b", "BC1AF2C4714B", "lower-case hex"),
            ("BCA43417C3B4", "bca43417c3b4", "upper-case hex"),
            ("file = \"kafka_2.13-3.5.2.tgz\"", "file = \"a/b\"", "no plain name"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let e = Catalog::parse(&text).unwrap_err().to_string();
            assert!(e.contains(words), "{e}");
        }
        let doubtless = good.replace("doubt = \"its vendor", "# \"its vendor");
        assert!(Catalog::parse(&doubtless).unwrap_err().to_string().contains("neither a digest nor a doubt"));
        assert!(matches!(Catalog::parse("schema = 2\n"), Err(CatalogFault::Schema(2))));
        assert!(matches!(Catalog::parse("schema = 1\nartifact = []\nx = 1\n"), Err(CatalogFault::Text(_))));
    }
}
