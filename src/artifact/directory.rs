//! Source: jars that lie in a directory of this machine already (an unpacked archive, a copied store).

use super::{
    ArtifactError,
    pins::{Others, Pins},
    store::{Work, copy},
};
use crate::sys::error::SysError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Copies the pinned jars of `directory` into `work` and proves the copies. Other jars there are left where they are.
/// A `libs/` below the directory is taken when there is one: an unpacked archive may be named by its top.
pub fn fetch(directory: &Path, work: &Work, pins: &Pins) -> Result<PathBuf, ArtifactError> {
    if !directory.is_dir() {
        return Err(SysError::path("read jars of", directory, io::ErrorKind::NotADirectory).into());
    }
    let libs = directory.join("libs");
    let from = if libs.is_dir() { libs.as_path() } else { directory };
    let tree = work.sub("kafka-directory")?;
    let to = work.sub("kafka-directory/libs")?;
    for name in pins.names().filter(|name| from.join(name).is_file()) {
        copy(&from.join(name), &to.join(name))?;
    }
    // The copy is what is compared: nothing can change between the proof and the use.
    pins.compare(&to, &from.display().to_string(), Others::Ignored)?;
    Ok(tree)
}
