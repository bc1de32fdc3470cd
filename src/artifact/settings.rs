//! What is wanted, how it may be got, and what this machine offers for it.

use super::{Part, pins::KAFKA as KAFKA_PINS};
use crate::sys::command::{client_environment, find_program};
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
    /// The defaults for a store: network allowed, everything searched on this machine.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            store: store.into(),
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
}

/// What of this machine fetching uses. Read from the environment once; replaceable, which is how tests put their own
/// programs in the place of the real ones.
#[derive(Clone, Debug)]
pub struct Host {
    /// Maven's program.
    pub mvn: Option<PathBuf>,
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
