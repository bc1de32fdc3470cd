//! Gives a node that runs as another user what it must write: its data, its temporary directory, its configuration.

use crate::{
    base::{Layout, recipe::Recipe},
    sys::{error::SysError, process},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

/// Makes the node's user the owner of its directories and rendered files. Nothing to do for a node without `user`.
/// The log and the lock stay the supervisor's: the shim writes them.
pub(super) fn give(layout: &Layout, recipe: &Recipe) -> Result<(), SysError> {
    let Some(user) = recipe.launch.user.as_deref() else { return Ok(()) };
    // A user that does not exist was refused before.
    let Some((uid, gid, _)) = process::lookup_user(user)? else { return Ok(()) };
    let node = &recipe.node;
    let own = [layout.data(node), layout.node_tmp(node), layout.conf(node)];
    for path in own.iter().chain(recipe.directories.iter().map(|(d, _)| d)).chain(recipe.files.iter().map(|f| &f.path))
    {
        change(path, uid, gid)?;
    }
    Ok(())
}

fn change(path: &Path, uid: u32, gid: u32) -> Result<(), SysError> {
    let failed = |e| SysError::path("change the owner of", path, e);
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    if meta.uid() == uid && meta.gid() == gid {
        return Ok(());
    }
    lchown(path, Some(uid), Some(gid)).map_err(failed)
}
