//! Root in a root that belongs to somebody else: it does there what its owner could do themselves, and no more.

use crate::sys::{confine::User, credentials, error::SysError, host, process};
use std::{os::unix::fs::MetadataExt, path::Path};

/// Acts from here on as the owner of `dir`, or of the nearest directory above it that is there, where this process is root and
/// the owner is not; otherwise as who runs this. Whom it acts as, when it is somebody else.
pub fn act_for(dir: &Path) -> Result<Option<User>, SysError> {
    credentials::act_as(None)?;
    if !host::is_root() {
        return Ok(None);
    }
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let meta = std::fs::metadata(there).map_err(|e| SysError::path("look at", there, e))?;
    if meta.uid() == 0 {
        return Ok(None);
    }
    let found = process::lookup_user(&host::user_name(meta.uid()))?;
    let owner = found.unwrap_or_else(|| (meta.uid(), meta.gid(), Vec::new()));
    credentials::act_as(Some(&owner))?;
    Ok(Some(owner))
}
