//! Why an artifact could not be had: what was wanted, what was found, which sources were asked, what to do.
//!
//! A little past 500 lines: each failure with its words, its hint and its exit code, which are read together.

use super::{Missing, Part, catalog::CatalogFault, digest::Algorithm, libraries::package_of, transfer::TransferFault};
use crate::{base::outcome::ExitStatus, sys::error::SysError};
use std::{collections::BTreeSet, error::Error, fmt::Write as _, io, path::PathBuf};
use thiserror::Error;

/// A jar that is not what the pins say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JarFault {
    /// A pinned jar is not there.
    Missing {
        /// The pinned name.
        name: String,
    },
    /// A jar that no pin names.
    Extra {
        /// Its file name.
        name: String,
        /// Its SHA-256.
        found: String,
    },
    /// Other bytes than pinned.
    Digest {
        /// The pinned name.
        name: String,
        /// The pinned SHA-256.
        wanted: String,
        /// The SHA-256 of what is there.
        found: String,
    },
}

/// A file with other bytes than it must have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file} from {from} is not what is known as {artifact}: {algorithm} {wanted} wanted, {found} found")]
pub struct BadDigest {
    /// Its name.
    pub file: String,
    /// Where it came from.
    pub from: String,
    /// Its id in the list.
    pub artifact: String,
    /// By which digest.
    pub algorithm: Algorithm,
    /// The known one.
    pub wanted: String,
    /// What it has.
    pub found: String,
}

/// A Java runtime that was found and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundJava {
    /// The program or directory looked at.
    pub place: PathBuf,
    /// How it was found: `JAVA_HOME`, `PATH`, `/usr/lib/jvm`, `java_home in the configuration`.
    pub by: String,
    /// Why it will not do.
    pub why: String,
}

/// Fetching or resolving failed.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The operating system refused something.
    #[error(transparent)]
    System(#[from] SysError),
    /// The caller asked to stop.
    #[error("fetching was cancelled")]
    Cancelled,
    /// A download failed.
    #[error(transparent)]
    Transfer(TransferFault),
    /// The built-in list of artifacts.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    /// The configured list of artifacts.
    #[error("{} is no list of artifacts", .path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CatalogFault,
    },
    /// A file has other bytes than it must. Nothing of it is kept.
    #[error(transparent)]
    Digest(Box<BadDigest>),
    /// Nobody has published a digest, and this store has trusted none yet.
    #[error("{artifact} cannot be verified: {doubt}")]
    Unpinned {
        /// Its id in the list.
        artifact: String,
        /// Why there is none.
        doubt: String,
    },
    /// What a vendor publishes beside a file cannot be used.
    #[error("{url}: {why}")]
    Published {
        /// Its address.
        url: String,
        /// Why.
        why: String,
    },
    /// A signature is required and does not hold.
    #[error("the signature of {file} does not hold: {why}")]
    Signature {
        /// The signed file.
        file: String,
        /// What the verifier said.
        why: String,
    },
    /// The directory of files does not have it.
    #[error("{} is not there", .0.display())]
    NoFile(PathBuf),
    /// A source does not have this choice.
    #[error("{source_name} has no {choice}")]
    NotOffered {
        /// The source.
        source_name: &'static str,
        /// What was asked of it.
        choice: String,
    },
    /// An archive could not be unpacked.
    #[error("{file} could not be unpacked")]
    Unpack {
        /// Its name.
        file: String,
        /// Why.
        source: super::archive::ArchiveFault,
    },
    /// Something is missing and the network may not be used.
    #[error("the network is not to be used and the store does not have {}", list_missing(.missing))]
    Offline {
        /// What, and why the store does not have it.
        missing: Vec<Missing>,
    },
    /// Fetched, and still not whole: the store was changed by another hand meanwhile.
    #[error("fetched, but the store still does not have {}", list_missing(.missing))]
    Incomplete {
        /// What, and why.
        missing: Vec<Missing>,
    },
    /// A line of a pin file is not a digest and a name.
    #[error("pin file, line {line}: {text:?} is not a SHA-256 and the plain name of a jar")]
    Pins {
        /// Line number from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// The jars of a source are not the pinned ones. Nothing of them is kept.
    #[error("{} of the jars from {from} are not the pinned ones:{}", .faults.len(), list_faults(.faults))]
    Jars {
        /// Which source.
        from: String,
        /// Each of them.
        faults: Vec<JarFault>,
    },
    /// A helper program is not installed.
    #[error("{program} is not installed; it is needed to {to}")]
    NoTool {
        /// Its name.
        program: &'static str,
        /// What for.
        to: &'static str,
    },
    /// A helper program could not be run or took too long.
    #[error("could not {to} with {program}")]
    Tool {
        /// Its name.
        program: String,
        /// What for.
        to: String,
        /// Why.
        source: SysError,
    },
    /// A helper program said no.
    #[error("could not {to}: {program} ended with {}{}", .status.describe(), indent(.said))]
    ToolFailed {
        /// Its name.
        program: String,
        /// What for.
        to: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote.
        said: String,
    },
    /// apt is not set up with an archive of Debian or Ubuntu.
    #[error("apt on this machine is configured for no archive of Debian or Ubuntu")]
    NoArchive,
    /// The key file of the distribution is missing.
    #[error("no key file of {family} in {}; without it nothing from its archive can be verified", .directory.display())]
    NoKeyring {
        /// `Debian` or `Ubuntu`.
        family: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// No usable Java runtime.
    #[error("no Java runtime of release 17 or 21 was found{}", list_java(.found))]
    NoJava {
        /// What was found instead.
        found: Vec<FoundJava>,
    },
    /// A jar that was named is no Kafka UI.
    #[error("{} {why}", .path.display())]
    UiJar {
        /// The jar.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody named a jar of Kafka UI, and none can be fetched.
    #[error("there is no jar of Kafka UI {release} here, and no source that may be asked has one")]
    NoUiJar {
        /// Which release is wanted.
        release: String,
    },
    /// No Java runtime that is new enough for Kafka UI.
    #[error("kafka-ui {release} needs Java {needed} or newer{}", list_java(.found))]
    UiJava {
        /// Which release.
        release: String,
        /// The oldest Java release it runs on.
        needed: u32,
        /// What was found instead.
        found: Vec<FoundJava>,
    },
    /// An unpacked tree lacks something every version of it has.
    #[error("{what} lacks {lacks}")]
    Tree {
        /// Which tree.
        what: String,
        /// What is not in it.
        lacks: String,
    },
    /// Shared libraries of a program that are not in its tree.
    #[error("{program} needs libraries that its packages did not bring: {}", .missing.join(", "))]
    Libraries {
        /// The program.
        program: PathBuf,
        /// Sonames.
        missing: Vec<String>,
    },
    /// The same, and the packages that have them did not come.
    #[error("{program} needs libraries that this host does not have, and their packages could not be fetched: {}", .missing.join(", "))]
    LibrariesNotFetched {
        /// The program.
        program: PathBuf,
        /// Sonames.
        missing: Vec<String>,
        /// Why the packages did not come.
        #[source]
        why: Box<ArtifactError>,
    },
    /// What a program says of its version cannot be read.
    #[error("{program} says {said:?}, which names no version")]
    Version {
        /// The program.
        program: PathBuf,
        /// Its output.
        said: String,
    },
    /// The suite has another MySQL than this store had, and data of the old one cannot be opened by it.
    #[error("the store had MySQL {before}, {from} now has {now}: data written by {before} must not be opened by it")]
    MysqlChanged {
        /// The version recorded in the store.
        before: String,
        /// The version fetched now.
        now: String,
        /// Archive and suite.
        from: String,
    },
    /// A path that cannot be written into a record or a command line.
    #[error("the path {} cannot be used: it is not UTF-8 or has a tab, a colon or a line end in it", .0.display())]
    OddPath(PathBuf),
    /// The store's record cannot be read.
    #[error("{} is not a record of this program", .path.display())]
    Lockfile {
        /// The record.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The store was written by a newer version of this program.
    #[error("{} has schema {found}, this version knows {known}", .path.display())]
    LockfileSchema {
        /// The record.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The one known here.
        known: u32,
    },
    /// Every source of a part failed.
    #[error("no source could give {part}:{}", list_sources(.failures))]
    Sources {
        /// Which part.
        part: Part,
        /// Each source and its failure, in the order they were asked.
        failures: Vec<(String, ArtifactError)>,
    },
    /// Several parts failed.
    #[error("could not fetch {}:{}", join_parts(.0), list_parts(.0))]
    Parts(Vec<(Part, ArtifactError)>),
}

impl From<TransferFault> for ArtifactError {
    fn from(fault: TransferFault) -> Self {
        match fault {
            TransferFault::Cancelled => ArtifactError::Cancelled,
            TransferFault::System(e) => ArtifactError::System(e),
            fault => ArtifactError::Transfer(fault),
        }
    }
}

impl ArtifactError {
    /// The failures of a part's sources as one error; a single one stands for itself.
    pub(super) fn of_sources(part: Part, mut failures: Vec<(String, ArtifactError)>) -> Self {
        if failures.len() == 1 {
            return failures.remove(0).1;
        }
        ArtifactError::Sources { part, failures }
    }

    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        if self.disk_full() {
            return Some(
                "the disk is full: free some space (the whole stack needs about 600M), then run it again".into(),
            );
        }
        match self {
            ArtifactError::System(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as the owner of the store, or name another root".into())
            }
            ArtifactError::System(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some("the store is on a read-only file system: name another root".into())
            }
            ArtifactError::Transfer(fault) => fault.hint(),
            ArtifactError::Unpinned { .. } => Some(
                "`cdc-supervisor fetch --accept-unpinned` takes it as it comes and holds to that from then on; choose another \
                 release where that will not do"
                    .into(),
            ),
            ArtifactError::Digest(bad) => Some(format!(
                "what {} gave is not what was published; look at the mirror or proxy in between, or try another source",
                bad.from
            )),
            ArtifactError::Signature { .. } => Some("do not use the file; fetch it from another source".into()),
            ArtifactError::NoFile(path) => Some(format!("put it there, or take \"file\" out of artifacts.sources: {}", path.display())),
            ArtifactError::List { .. } => Some("compare it with dist/artifacts.toml".into()),
            ArtifactError::Offline { .. } => Some(
                "run `cdc-supervisor fetch` once with the network, or `cdc-supervisor bundle install FILE` with what another \
                 machine's `bundle create` wrote"
                    .into(),
            ),
            ArtifactError::Incomplete { .. } => Some("run `cdc-supervisor fetch` again".into()),
            ArtifactError::Jars { from, .. } => Some(format!(
                "what {from} gave is not what was published; look at the mirror or proxy in between, or try another source"
            )),
            ArtifactError::NoTool { program: "mvn", .. } => Some("apt-get install maven".into()),
            ArtifactError::NoTool { program, .. } => {
                Some(format!("{program} belongs to Debian and Ubuntu; on another system this part cannot be fetched"))
            }
            ArtifactError::Tool { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                Some("look at the network or the proxy settings, then run it again".into())
            }
            ArtifactError::ToolFailed { program, .. } => {
                Some(format!("look at the network, its proxy and the mirror; does {program} work by hand?"))
            }
            ArtifactError::NoArchive => Some("run `apt-get update` once, as root, then try again".into()),
            ArtifactError::NoKeyring { family, .. } => {
                Some(format!("apt-get install {}-keyring", family.to_lowercase()))
            }
            ArtifactError::UiJar { .. } => {
                Some("name a jar of Kafka UI as kafka_ui.jar, or set enabled = false in [kafka_ui]".into())
            }
            ArtifactError::NoUiJar { release } => Some(format!(
                "download its jar ({}), verify it, and name it as kafka_ui.jar; or set enabled = false in [kafka_ui]",
                ui_page(release)
            )),
            ArtifactError::UiJava { needed, .. } => Some(format!(
                "install Java {needed} (openjdk-{needed}-jre-headless, or Temurin) and name its home as kafka_ui.java_home; or take                  a release for an older Java: provectus-0.7.2 runs on 17"
            )),
            ArtifactError::NoJava { .. } => Some("apt-get install openjdk-17-jre-headless".into()),
            ArtifactError::MysqlChanged { .. } => Some(
                "name the old suite as mysql suite; or, when no data of the old version is kept, remove the [mysql] table \
                 from lock.toml in the store"
                    .into(),
            ),
            ArtifactError::Lockfile { .. } => {
                Some("move the file away and fetch again: it only records what the store has".into())
            }
            ArtifactError::LockfileSchema { .. } => Some("use the newer version, or name another root".into()),
            // The last source is the one a person can most likely do something about; that a file was not put there is
            // the least of all.
            ArtifactError::Sources { failures, .. } => {
                let told = |e: &ArtifactError| !matches!(e, ArtifactError::NoFile(_));
                let last = failures.iter().rev().filter(|(_, e)| told(e)).find_map(|(_, e)| e.hint());
                last.or_else(|| failures.iter().find_map(|(_, e)| e.hint()))
            }
            ArtifactError::Parts(failures) => failures.iter().find_map(|(_, e)| e.hint()),
            ArtifactError::Libraries { missing, .. } | ArtifactError::LibrariesNotFetched { missing, .. } => {
                let packages: BTreeSet<&str> = missing.iter().filter_map(|m| package_of(m)).collect();
                let list: Vec<&str> = packages.into_iter().collect();
                (!list.is_empty()).then(|| format!("apt-get install {}", list.join(" ")))
            }
            ArtifactError::System(_)
            | ArtifactError::Tool { .. }
            | ArtifactError::Cancelled
            | ArtifactError::Catalog(_)
            | ArtifactError::Published { .. }
            | ArtifactError::NotOffered { .. }
            | ArtifactError::Unpack { .. }
            | ArtifactError::Pins { .. }
            | ArtifactError::Tree { .. }
            | ArtifactError::Version { .. }
            | ArtifactError::OddPath(_) => None,
        }
    }

    /// Whether it comes from a full disk, ours to write or a helper's.
    pub(super) fn disk_full(&self) -> bool {
        match self {
            ArtifactError::System(e) | ArtifactError::Tool { source: e, .. } => {
                matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            ArtifactError::ToolFailed { said, .. } => said.contains("No space left on device"),
            ArtifactError::Sources { failures, .. } => failures.iter().any(|(_, e)| e.disk_full()),
            ArtifactError::Parts(failures) => failures.iter().any(|(_, e)| e.disk_full()),
            ArtifactError::Transfer(fault) => fault.disk_full(),
            ArtifactError::Cancelled
            | ArtifactError::Catalog(_)
            | ArtifactError::List { .. }
            | ArtifactError::Digest(_)
            | ArtifactError::Unpinned { .. }
            | ArtifactError::Published { .. }
            | ArtifactError::Signature { .. }
            | ArtifactError::NoFile(_)
            | ArtifactError::NotOffered { .. }
            | ArtifactError::Unpack { .. }
            | ArtifactError::Offline { .. }
            | ArtifactError::Incomplete { .. }
            | ArtifactError::Pins { .. }
            | ArtifactError::Jars { .. }
            | ArtifactError::NoTool { .. }
            | ArtifactError::NoArchive
            | ArtifactError::NoKeyring { .. }
            | ArtifactError::NoJava { .. }
            | ArtifactError::UiJar { .. }
            | ArtifactError::NoUiJar { .. }
            | ArtifactError::UiJava { .. }
            | ArtifactError::Tree { .. }
            | ArtifactError::Libraries { .. }
            | ArtifactError::LibrariesNotFetched { .. }
            | ArtifactError::Version { .. }
            | ArtifactError::MysqlChanged { .. }
            | ArtifactError::OddPath(_)
            | ArtifactError::Lockfile { .. }
            | ArtifactError::LockfileSchema { .. } => false,
        }
    }
}

/// Where the projects publish their jars.
fn ui_page(release: &str) -> &'static str {
    if release.starts_with("provectus") {
        "https://github.com/provectus/kafka-ui/releases"
    } else {
        "https://github.com/kafbat/kafka-ui/releases"
    }
}

fn list_missing(missing: &[Missing]) -> String {
    missing.iter().map(|m| format!("{} ({})", m.part, m.why)).collect::<Vec<_>>().join(", ")
}

fn list_faults(faults: &[JarFault]) -> String {
    let mut text = String::new();
    for fault in faults {
        // Writing into a String cannot fail.
        let _ = match fault {
            JarFault::Missing { name } => write!(text, "\n  {name}: missing"),
            JarFault::Extra { name, found } => write!(text, "\n  {name}: not pinned, SHA-256 {found}"),
            JarFault::Digest { name, wanted, found } => {
                write!(text, "\n  {name}: wanted SHA-256 {wanted}, found {found}")
            }
        };
    }
    text
}

fn list_java(found: &[FoundJava]) -> String {
    if found.is_empty() {
        return "; nothing was found in JAVA_HOME, on PATH or under /usr/lib/jvm".into();
    }
    found.iter().fold("; refused:".into(), |text, f| format!("{text}\n  {} ({}): {}", f.place.display(), f.by, f.why))
}

fn indent(said: &str) -> String {
    said.lines().fold(String::new(), |text, line| format!("{text}\n  {line}"))
}

/// An error and its causes as an item of a list.
pub(super) fn chain(error: &ArtifactError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    // its own lines stand further in than the item it becomes
    text.replace('\n', "\n  ")
}

fn list_sources(failures: &[(String, ArtifactError)]) -> String {
    failures.iter().fold(String::new(), |text, (source, e)| format!("{text}\n  {source}: {}", chain(e)))
}

fn join_parts(failures: &[(Part, ArtifactError)]) -> String {
    failures.iter().map(|(part, _)| part.as_str()).collect::<Vec<_>>().join(" and ")
}

fn list_parts(failures: &[(Part, ArtifactError)]) -> String {
    failures.iter().fold(String::new(), |text, (part, e)| format!("{text}\n  {part}: {}", chain(e)))
}
