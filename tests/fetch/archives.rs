//! Archives in the layouts of vendors with jars that are none, lists that name them, and keys to sign them.

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256, Sha512};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn sha512(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

pub fn md5(bytes: &[u8]) -> String {
    hex(&md5::Md5::digest(bytes))
}

/// A Kafka of some hundred kB as `layout` has it; `seed` makes it another one.
pub fn kafka(layout: &str, seed: u64) -> Arc<Vec<u8>> {
    let (top, jars) = match layout {
        "apache-kafka" => ("kafka_2.13-3.5.2", "libs"),
        "confluent" => ("confluent-7.5.3", "share/java/kafka"),
        other => panic!("{other}"),
    };
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |path: &str, bytes: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        tar.append_data(&mut header, format!("{top}/{path}"), bytes).unwrap();
    };
    let mut state = seed;
    let noise: Vec<u8> = (0..100_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    add("LICENSE", b"free", 0o644);
    add("bin/kafka-server-start", b"#!/bin/sh\n", 0o755);
    for jar in ["kafka_2.13-3.5.2", "kafka-clients-3.5.2", "scala-library-2.13.10", "zookeeper-3.6.4"] {
        add(&format!("{jars}/{jar}.jar"), &noise, 0o644);
    }
    Arc::new(tar.into_inner().unwrap().finish().unwrap())
}

/// The text of a list of artifacts.
#[derive(Clone)]
pub struct List {
    rows: String,
}

impl List {
    fn row(choice: &str, layout: &str, urls: &[&str], more: &str) -> Self {
        let top = if layout == "confluent" { "confluent-7.5.3" } else { "kafka_2.13-3.5.2" };
        let rows = format!(
            "[[artifact]]\nid = \"test-{choice}\"\npart = \"kafka\"\nchoice = \"{choice}\"\nversion = \"3.5.2\"\nplatform = \"any\"\n\
             licence = \"none\"\nlayout = \"{layout}\"\narchive = \"tar.gz\"\nfile = \"kafka.tgz\"\ntop = \"{top}\"\n\
             urls = {urls:?}\n{more}\n"
        );
        Self { rows }
    }

    /// One Kafka with its digest.
    pub fn of(choice: &str, layout: &str, body: &[u8], urls: &[&str]) -> Self {
        Self::row(choice, layout, urls, &format!("sha256 = \"{}\"", digest(body)))
    }

    /// One Kafka without a digest.
    pub fn unpinned(choice: &str, layout: &str, urls: &[&str]) -> Self {
        Self::row(choice, layout, urls, "doubt = \"nobody has looked\"")
    }

    /// The same with a digest that the vendor publishes beside the file.
    pub fn with_sidecar(&self, suffix: &str, algorithm: &str) -> Self {
        Self { rows: format!("{}sidecar = {{ suffix = \"{suffix}\", algorithm = \"{algorithm}\" }}\n", self.rows) }
    }

    /// The rows of another list behind these.
    pub fn add(&mut self, more: &List) {
        self.rows += &more.rows;
    }

    /// The same with a signature by this key.
    pub fn signed(&self, fingerprint: &str) -> Self {
        let more = format!(
            "signature = {{ suffix = \".asc\", key = \"https://127.0.0.1:9/KEY\", fingerprints = [\"{fingerprint}\"] }}\n"
        );
        Self { rows: format!("{}{more}", self.rows) }
    }

    pub fn text(&self) -> String {
        format!("schema = 1\n{}", self.rows)
    }
}

/// A key pair of the test's own.
pub struct Keys {
    home: PathBuf,
    /// The public key, armoured.
    pub public: Vec<u8>,
    /// Of the primary key.
    pub fingerprint: String,
}

impl Keys {
    /// None where gpg or gpgv is missing.
    pub fn make(dir: &Path) -> Option<Self> {
        let there = |program: &str| {
            let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            run.is_ok_and(|s| s.success())
        };
        if !there("gpg") || !there("gpgv") {
            return None;
        }
        let home = dir.join("gpg");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let mut keys = Self { home, public: Vec::new(), fingerprint: String::new() };
        keys.gpg(&[
            "--batch",
            "--passphrase",
            "",
            "--quick-generate-key",
            "test <test@localhost>",
            "default",
            "default",
        ]);
        keys.public = keys.gpg(&["--armor", "--export"]);
        let list = String::from_utf8(keys.gpg(&["--with-colons", "--list-keys"])).unwrap();
        let line = list.lines().find(|l| l.starts_with("fpr:")).unwrap();
        keys.fingerprint = line.split(':').nth(9).unwrap().to_owned();
        Some(keys)
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let done = Command::new("gpg").arg("--homedir").arg(&self.home).args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    /// A detached signature, armoured.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let file = self.home.join("signed");
        fs::write(&file, bytes).unwrap();
        self.gpg(&["--batch", "--yes", "--armor", "--detach-sign", "--output", "-", file.to_str().unwrap()])
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // The agent that gpg has started lives on its home; it ends by itself, sooner when it is told.
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.home).args(["--kill", "gpg-agent"]).status();
    }
}
