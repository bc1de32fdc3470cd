//! One file with the programs of a configuration, for a machine without a network: what it says of itself, and what can be
//! wrong with it.
//!
//! A bundle is a tar archive in gzip. First comes `HEAD`: the trees with their content ids, and the store's records of them.
//! Then the trees. The same programs give the same bytes, so the digest that `create` prints is theirs. A content id covers the
//! name, the bytes and the execute bit of every file, so a bundle proves itself against its head; what proves the head is the
//! digest that a person carries over, and for pinned jars the pins of this program.

mod create;
mod install;
#[cfg(test)]
mod tests;

pub use create::create;
pub use install::{install, verify};

use super::{ArtifactError, Missing, archive::ArchiveFault, lockfile::LockFile};
use crate::sys::error::SysError;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};
use thiserror::Error;

/// Name of the first entry.
const HEAD: &str = "bundle.toml";

/// Directory of the trees.
const TREES: &str = "trees";

/// The form that this program writes and reads.
const FORM: u32 = 1;

/// Longest head, bytes. A stack's has 12 kB.
const HEAD_MOST: u64 = 4 << 20;

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    bundle: u32,
    /// The version of the program that wrote it.
    program: String,
    /// Kernel and processor its programs run on.
    platform: String,
    trees: Vec<Tree>,
    lock: LockFile,
}

/// One tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tree {
    directory: String,
    content: String,
    bytes: u64,
    /// Links of a distribution's packages into the host's `/etc` (Java's list of authorities is one). An archive may have
    /// none, so they stand here and are made last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    host_links: BTreeMap<String, String>,
}

/// What was written, found or installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// Each part with its version, and bytes of its files.
    pub parts: Vec<(String, u64)>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Installed: the store had all of it, whole and on record, and nothing was changed.
    pub already: bool,
}

/// A bundle could not be written, or was refused.
#[derive(Debug, Error)]
pub enum BundleError {
    /// The store's, or the operating system's.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The store does not have what the configuration wants.
    #[error("the store lacks what belongs into the bundle: {}", list(.0))]
    Lacks(Vec<Missing>),
    /// No bundle.
    #[error("{0} is no bundle of this program")]
    Foreign(String),
    /// Made by a newer program.
    #[error("{file} has form {found}, this version knows {FORM}")]
    Form {
        /// The bundle.
        file: String,
        /// Its form.
        found: u32,
    },
    /// For another kind of machine.
    #[error("{file} has programs for {found}, this machine is {here}")]
    Platform {
        /// The bundle.
        file: String,
        /// Its platform.
        found: String,
        /// Ours.
        here: String,
    },
    /// It cannot be unpacked.
    #[error("{file} was refused")]
    Archive {
        /// The bundle.
        file: String,
        /// Why.
        source: ArchiveFault,
    },
    /// Another file than the one that was meant.
    #[error("{file} has SHA-256 {found}, wanted {wanted}")]
    Digest {
        /// The bundle.
        file: String,
        /// What the caller named.
        wanted: String,
        /// What it has.
        found: String,
    },
    /// Nobody has said which file is meant.
    #[error("nothing proves that {0} is the bundle that was made")]
    Unproven(String),
    /// What it has is not what it says, or not what is known of such a program.
    #[error("{file}: {what}")]
    Content {
        /// The bundle.
        file: String,
        /// What does not fit.
        what: String,
    },
    /// A tree of the store cannot be put into an archive.
    #[error("{tree} has the link {name} to {target}, which no bundle may have")]
    Link {
        /// The tree.
        tree: String,
        /// The link.
        name: String,
        /// What it names.
        target: String,
    },
}

impl From<SysError> for BundleError {
    fn from(e: SysError) -> Self {
        BundleError::Artifact(e.into())
    }
}

impl BundleError {
    /// Whether the caller asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            BundleError::Artifact(ArtifactError::Cancelled)
                | BundleError::Archive { source: ArchiveFault::Cancelled, .. }
        )
    }

    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            BundleError::Artifact(e) => e.hint(),
            BundleError::Lacks(_) => Some("run `cdc-supervisor fetch` first, with the same configuration".into()),
            BundleError::Archive { source: ArchiveFault::Truncated { .. } | ArchiveFault::Damaged { .. }, .. } => Some(
                "the file did not arrive whole: copy it again from where it was made, and compare its digest".into(),
            ),
            BundleError::Archive { source, .. } => source.hint(),
            BundleError::Foreign(_) => Some("bundles are made by `cdc-supervisor bundle create FILE`".into()),
            BundleError::Form { .. } => Some("install it with the version that made it, or a newer one".into()),
            BundleError::Platform { .. } => Some("make the bundle on a machine of the same kind".into()),
            BundleError::Digest { .. } | BundleError::Content { .. } => {
                Some("do not use it: copy it again from where it was made, and compare its digest".into())
            }
            BundleError::Unproven(_) => Some(
                "name the digest that `bundle create` printed: --sha256 HEX; --accept-unpinned takes the file as it is"
                    .into(),
            ),
            BundleError::Link { .. } => None,
        }
    }
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(|m| format!("{} ({})", m.part, m.why)).collect::<Vec<_>>().join(", ")
}

/// Kernel and processor of this program.
fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Reads what a bundle says of itself, without unpacking anything.
fn head(path: &Path) -> Result<(Head, String), BundleError> {
    let file = path.display().to_string();
    let opened = File::open(path).map_err(|e| SysError::path("open", path, e))?;
    let foreign = || BundleError::Foreign(file.clone());
    let mut stream = flate2::bufread::GzDecoder::new(std::io::BufReader::new(opened));
    let mut block = [0u8; 512];
    stream.read_exact(&mut block).map_err(|_| foreign())?;
    let header = tar::Header::from_byte_slice(&block);
    let size = header.entry_size().ok().filter(|size| *size <= HEAD_MOST).ok_or_else(foreign)?;
    if header.path_bytes().as_ref() != HEAD.as_bytes() {
        return Err(foreign());
    }
    let mut text = String::new();
    let read = stream.take(size).read_to_string(&mut text).map_err(|_| foreign())?;
    if read as u64 != size {
        return Err(foreign());
    }
    #[derive(Deserialize)]
    struct Form {
        bundle: u32,
    }
    let form: Form = toml::from_str(&text).map_err(|_| foreign())?;
    if form.bundle != FORM {
        return Err(BundleError::Form { file, found: form.bundle });
    }
    let head: Head = toml::from_str(&text).map_err(|_| foreign())?;
    if head.platform != platform() {
        return Err(BundleError::Platform { file, found: head.platform, here: platform() });
    }
    Ok((head, text))
}
