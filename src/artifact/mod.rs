//! Verified programs on disk: where they come from, what proves them, where they are kept.
//!
//! A part of the stack (`java`, `kafka`, `mysql`, `kafka-ui`) is found in the store or on the host, or it is fetched from the first
//! source that has it. A source is one file (`vendor` for archives of the list, here or far; `maven`, `directory`, `apt`);
//! what a part is made of is one file too (`kafka`, `mysql`, `java`, `kafka_ui`, archives beside them). Nothing is run or shown
//! before it verified: archives and jars by the pins in `dist/`, packages by the distribution's signature, which apt checks.
//! Everything here blocks; call it on a thread of its own.

mod apt;
pub mod archive;
pub mod bundle;
mod catalog;
mod digest;
mod directory;
mod ensure;
mod error;
pub mod inventory;
mod jar;
mod java;
mod jre_archive;
mod jre_package;
mod kafka;
mod kafka_archive;
mod kafka_ui;
pub mod libraries;
mod lockfile;
mod manifest;
mod maven;
mod mysql;
mod mysql_archive;
mod mysql_tree;
mod pins;
mod progress;
mod settings;
mod signature;
mod store;
mod survey;
#[cfg(test)]
mod tests;
pub mod transfer;
mod vendor;

pub use ensure::ensure;
pub use error::{ArtifactError, FoundJava, JarFault};
pub use progress::{Part, Progress, Silent, Step};
pub use settings::{Host, Origin, Settings, UiChoice, Wanted};
pub use survey::{Missing, Survey, on_record, resolve, survey};
