//! What the artifact store hands out: verified programs on disk that recipes can name in a command line.

use std::path::PathBuf;

/// Everything the configured nodes need, resolved. A part is none when no node of the plan wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// The Java runtime for ZooKeeper and brokers.
    pub java: Option<JavaRuntime>,
    /// Kafka's and ZooKeeper's jars.
    pub kafka: Option<KafkaJars>,
    /// The MySQL server tree.
    pub mysql: Option<MysqlTree>,
    /// The web page over the brokers. The only part that others do without: why it is not there goes into its recipe.
    pub kafka_ui: Option<Result<KafkaUiJar, Absent>>,
}

/// A program that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// One sentence.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// The jar of the web page, and the runtime it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaUiJar {
    /// `provectus-0.7.2`.
    pub release: String,
    /// The jar, in the store.
    pub jar: PathBuf,
    /// The Java runtime it is run with: the brokers' own where that is new enough.
    pub java: JavaRuntime,
    /// Content id of the jar's tree.
    pub content: String,
}

/// A checked Java runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JavaRuntime {
    /// The `java` program, links resolved.
    pub program: PathBuf,
    /// `java.home`.
    pub home: PathBuf,
    /// Feature release: 17 or 21.
    pub major: u32,
    /// The full version text (`17.0.15+6-Debian-1deb12u1`).
    pub version: String,
    /// Changes when the runtime underneath is replaced (version, size and time of `lib/modules` and `libjvm.so`): keys the
    /// class-data archives.
    pub fingerprint: String,
}

/// The verified jars of one Kafka distribution, ZooKeeper's among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaJars {
    /// `3.5.2`.
    pub version: String,
    /// ZooKeeper's own version, `3.6.4`.
    pub zookeeper_version: String,
    /// The class path entries, sorted, absolute. The same order always: the archives depend on it.
    pub class_path: Vec<PathBuf>,
    /// Content id of the set (hash over names and digests): keys the class-data archives.
    pub content: String,
}

/// A MySQL server tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlTree {
    /// `9.7.4`.
    pub version: String,
    /// Major and minor of `version`: options differ by series.
    pub series: (u32, u32),
    /// What to execute in front of `mysqld`: the tree's own loader with its `--library-path DIR`, or nothing.
    pub launcher: Vec<String>,
    /// The `mysqld` program.
    pub mysqld: PathBuf,
    /// `--basedir`.
    pub basedir: PathBuf,
    /// `--lc-messages-dir`.
    pub messages_dir: PathBuf,
    /// `--character-sets-dir`.
    pub character_sets_dir: PathBuf,
    /// `--plugin-dir`.
    pub plugin_dir: PathBuf,
    /// Content id of the tree.
    pub content: String,
}
