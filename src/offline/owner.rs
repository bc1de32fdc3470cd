//! Root does what leaves files in somebody else's root or store as that user: root's files there would be in their way, and by path
//! it would do what its owner renames and links meanwhile.

use crate::{
    config::Plan,
    sys::{
        confine::User,
        credentials,
        error::SysError,
        fs, host,
        process::{become_user, lookup_user},
    },
};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Whose an existing directory is, when that is not who runs this and root can become them.
fn of(dir: &Path) -> Result<Option<User>, SysError> {
    let meta = std::fs::metadata(dir).map_err(|e| SysError::path("look at", dir, e))?;
    if !host::is_root() || meta.uid() == 0 {
        return Ok(None);
    }
    let found = lookup_user(&host::user_name(meta.uid()))?;
    Ok(Some(found.unwrap_or_else(|| (meta.uid(), meta.gid(), Vec::new()))))
}

/// Acts from here on as the owner of `dir`, or of the nearest directory above it that is there, where this process is root and
/// the owner is not; otherwise as who runs this. Whom it acts as, when it is somebody else.
pub fn act_for(dir: &Path) -> Result<Option<User>, SysError> {
    credentials::act_as(None)?;
    let owner = of(dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/")))?;
    credentials::act_as(owner.as_ref())?;
    Ok(owner)
}

/// Becomes the owner of the plan's root, or of its store where there is no root yet, for good; where this process is root and
/// they are somebody else's. Who that is, and of which directory.
pub fn become_owner(plan: &Plan) -> Result<Option<(String, PathBuf)>, SysError> {
    let store = plan.artifacts.store(&plan.layout());
    let Some(owned) = [&plan.root, &store].into_iter().find(|dir| dir.is_dir()) else { return Ok(None) };
    let Some(user) = of(owned)? else { return Ok(None) };
    if !store.exists() {
        // Its parent may be one that only root can write.
        fs::make_dir(&store, 0o755)?;
        fs::own_dir(&store, (user.0, user.1), 0o755)?;
    }
    become_user(&user)?;
    Ok(Some((host::user_name(user.0), owned.clone())))
}
