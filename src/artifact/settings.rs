//! What is wanted, how it may be got, and what this machine offers for it.

use super::{
    ArtifactError, Part,
    catalog::{BUILT_IN, Catalog},
    pins::KAFKA as KAFKA_PINS,
    transfer::Timing,
};
use crate::sys::{
    command::{client_environment, find_program},
    error::SysError,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What the plan needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A Java runtime.
    pub java: bool,
    /// Kafka's and ZooKeeper's jars.
    pub kafka: bool,
    /// A MySQL server.
    pub mysql: bool,
    /// The web page over the brokers; [`Settings::kafka_ui`] says which.
    pub kafka_ui: bool,
}

impl Wanted {
    /// Everything that the default stack is made of.
    pub const ALL: Wanted = Wanted { java: true, kafka: true, mysql: true, kafka_ui: false };

    /// Whether `part` is wanted.
    pub fn has(self, part: Part) -> bool {
        match part {
            Part::Java => self.java,
            Part::Kafka => self.kafka,
            Part::Mysql => self.mysql,
            Part::KafkaUi => self.kafka_ui,
        }
    }
}

/// Which Kafka UI is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UiChoice {
    /// `provectus-0.7.2`: the release, when no jar is named.
    pub release: String,
    /// A jar that was put there by hand.
    pub jar: Option<PathBuf>,
    /// A Java runtime for it alone.
    pub java_home: Option<PathBuf>,
}

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Archives in [`Settings::files`].
    File,
    /// The mirror, then the addresses of the list.
    Vendor,
    /// The machine's own package clients.
    Packages,
}

/// How artifacts are resolved and fetched.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The store's directory.
    pub store: PathBuf,
    /// Never use the network.
    pub offline: bool,
    /// Read every stored file and compare its digest, instead of its size and time only.
    pub verify_all: bool,
    /// The Java runtime to use; none: search for one.
    pub java_home: Option<PathBuf>,
    /// A directory that holds Kafka's jars already; asked before any other source.
    pub kafka_jars: Option<PathBuf>,
    /// The sources in the order in which they are asked.
    pub sources: Vec<Origin>,
    /// Where archives lie that were put there by hand.
    pub files: PathBuf,
    /// Base address asked before the vendors' own.
    pub mirror: Option<String>,
    /// Bytes per second over all downloads.
    pub rate_limit: Option<u64>,
    /// Authorities to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Signatures are required where the list names some.
    pub signatures: bool,
    /// What no digest is pinned for is taken as it comes now, and held to from then on.
    pub accept_unpinned: bool,
    /// Which Kafka.
    pub kafka_choice: String,
    /// Which MySQL; none: what the store has, else the first that comes.
    pub mysql_choice: Option<String>,
    /// A file of more artifacts.
    pub list: Option<PathBuf>,
    /// Bounds of downloads.
    pub timing: Timing,
    /// The suite of the distribution MySQL is taken from; none: `sid` on Debian, the host's own on Ubuntu. Counts
    /// when MySQL is fetched; a store that has one keeps it.
    pub mysql_suite: Option<String>,
    /// Which Kafka UI; counts when one is wanted.
    pub kafka_ui: UiChoice,
    /// What the machine offers.
    pub host: Host,
    /// The pinned jars.
    pub(super) kafka_pins: &'static str,
}

impl Settings {
    /// The defaults for a store: everything searched on this machine, and what is missing from its package clients.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        let store = store.into();
        Self {
            sources: vec![Origin::Packages],
            files: store.join("files"),
            mirror: None,
            rate_limit: None,
            ca_file: None,
            signatures: false,
            accept_unpinned: false,
            kafka_choice: PINNED_JARS.to_owned(),
            mysql_choice: None,
            list: None,
            timing: Timing::default(),
            store,
            offline: false,
            verify_all: false,
            java_home: None,
            kafka_jars: None,
            mysql_suite: None,
            kafka_ui: UiChoice::default(),
            host: Host::detect(),
            kafka_pins: KAFKA_PINS,
        }
    }

    /// The artifacts that are known: ours, and those of [`list`](Self::list) in their place.
    pub fn catalog(&self) -> Result<Catalog, ArtifactError> {
        let ours = Catalog::parse(BUILT_IN)?;
        let Some(path) = &self.list else { return Ok(ours) };
        let text = fs::read_to_string(path).map_err(|e| SysError::path("read", path, e))?;
        let more = Catalog::parse(&text).map_err(|e| ArtifactError::List { path: path.clone(), source: e })?;
        Ok(ours.with(more))
    }

    /// The sources in the order for a part that came from `before` the last time: the same is asked first.
    pub(super) fn order(&self, before: Option<Origin>) -> Vec<Origin> {
        let mut order = self.sources.clone();
        if let Some(at) = before.and_then(|b| order.iter().position(|o| *o == b)) {
            order[..=at].rotate_right(1);
        }
        if self.offline {
            order.retain(|o| *o == Origin::File);
        }
        order
    }
}

/// The Kafka whose jars are pinned one by one: what `mvn` can fetch.
pub(super) const PINNED_JARS: &str = "apache-3.5.2";

/// What of this machine fetching uses. Read from the environment once; replaceable, which is how tests put their own
/// programs in the place of the real ones.
#[derive(Clone, Debug)]
pub struct Host {
    /// Maven's program.
    pub mvn: Option<PathBuf>,
    /// Verifies OpenPGP signatures.
    pub gpgv: Option<PathBuf>,
    /// apt's program.
    pub apt_get: Option<PathBuf>,
    /// The unpacker of packages.
    pub dpkg_deb: Option<PathBuf>,
    /// `JAVA_HOME`.
    pub java_home: Option<PathBuf>,
    /// `java` on PATH.
    pub java: Option<PathBuf>,
    /// Where distributions install Java runtimes, one directory each.
    pub jvm_dir: PathBuf,
    /// Where distributions keep the keys that sign their archives.
    pub keyrings: PathBuf,
    /// The text of `/etc/os-release` (os-release(5)); empty when there is none.
    pub os_release: String,
    /// The text of `/etc/passwd`: where Maven looks for its home.
    pub passwd: String,
    /// The user this runs as.
    pub uid: u32,
    /// The environment of every helper program.
    pub environment: Vec<(String, String)>,
}

impl Host {
    /// Reads PATH, JAVA_HOME and the standard places.
    pub fn detect() -> Self {
        Self {
            mvn: find_program("mvn"),
            gpgv: find_program("gpgv"),
            apt_get: find_program("apt-get"),
            dpkg_deb: find_program("dpkg-deb"),
            java_home: std::env::var_os("JAVA_HOME").filter(|v| !v.is_empty()).map(PathBuf::from),
            java: find_program("java"),
            jvm_dir: "/usr/lib/jvm".into(),
            keyrings: "/usr/share/keyrings".into(),
            os_release: fs::read_to_string("/etc/os-release").unwrap_or_default(),
            passwd: fs::read_to_string("/etc/passwd").unwrap_or_default(),
            // The owner of /proc/self is the effective user (proc(5)); 0 without /proc, where nothing else works either.
            uid: fs::metadata("/proc/self").map_or(0, |m| m.uid()),
            environment: client_environment(),
        }
    }

    /// The helpers' environment with the messages in English and temporary files in `tmp` (never the host's /tmp).
    pub(super) fn helper_environment(&self, tmp: &Path) -> Vec<(String, String)> {
        let mut env: Vec<_> =
            self.environment.iter().filter(|(k, _)| !matches!(k.as_str(), "LANG" | "TMPDIR")).cloned().collect();
        env.push(("LC_ALL".into(), "C.UTF-8".into()));
        env.push(("TMPDIR".into(), tmp.display().to_string()));
        env
    }
}
