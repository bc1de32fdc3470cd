//! The directories and rendered files of a node, and whose they are when it runs as another user than a root daemon.
//!
//! Where we write as root the node must not: it could put a link there, and our bytes, our change of owner or our lock would
//! go where the link leads. So home, configuration, log and `run` are root's, and the node's group may read them; data and
//! temporary files are the node's. mysqld makes its sockets in `run`: that is its group's to write to, and sticky, so that what
//! is ours in it stays (recipe: 1770).

use crate::{
    base::{
        Layout,
        recipe::{Recipe, RenderedFile},
    },
    sys::{
        error::SysError,
        fs::{self, Durability},
        host, process,
    },
};
use std::{
    os::unix::fs::{MetadataExt, lchown},
    path::{Path, PathBuf},
};

/// Who the node runs as, when that is another user: uid, gid.
type User = Option<(u32, u32)>;

/// Makes the node's directories and writes its files, with owner and mode. Those of a version that gave the node more are
/// taken back.
pub(super) fn make(layout: &Layout, recipe: &Recipe) -> Result<(), SysError> {
    let is_root = host::is_root();
    let user = user_of(recipe)?;
    // Modes of the recipe hold. One after the other, a directory would be open to all for a moment at each start.
    let named = |path: &Path| recipe.directories.iter().any(|(own, _)| own == path);
    let standard = standard_directories(layout, recipe);
    for (directory, mode) in standard.iter().filter(|(path, _)| !named(path)).chain(&recipe.directories) {
        directory_of(layout, recipe, directory, *mode, user, is_root)?;
    }
    recipe.files.iter().try_for_each(|file| write(file, user))
}

/// Writes the files alone, of a node that runs.
pub(super) fn rewrite(recipe: &Recipe) -> Result<(), SysError> {
    let user = user_of(recipe)?;
    recipe.files.iter().try_for_each(|file| write(file, user))
}

fn user_of(recipe: &Recipe) -> Result<User, SysError> {
    Ok(match recipe.launch.user.as_deref().filter(|_| host::is_root()) {
        // A user that does not exist was refused before.
        Some(name) => process::lookup_user(name)?.map(|(uid, gid, _)| (uid, gid)).filter(|(uid, _)| *uid != 0),
        None => None,
    })
}

fn directory_of(
    layout: &Layout,
    recipe: &Recipe,
    directory: &Path,
    mode: u32,
    user: User,
    is_root: bool,
) -> Result<(), SysError> {
    let node = &recipe.node;
    let ours = [layout.node(node), layout.conf(node), layout.log_dir(node), layout.node_run(node)];
    let is_ours = ours.iter().any(|own| own == directory);
    if let Some((_, gid)) = user {
        // The node must be able to come to its data, wherever that is.
        fs::make_parents(directory, Some(gid), 0o750)?;
    }
    fs::make_dir(directory, mode)?;
    let was_theirs = match user {
        Some((_, gid)) if is_ours => fs::own_dir(directory, (0, gid), mode)?,
        Some(node) => {
            fs::own_dir(directory, node, mode)?;
            false
        }
        // Left from a time with `user`. Its data is what the administrator makes of it.
        None if is_root && (is_ours || directory == layout.node_tmp(node)) => fs::own_dir(directory, (0, 0), mode)?,
        None => false,
    };
    if was_theirs {
        fs::remove_planted(directory)?;
    }
    if user.is_some() && directory == layout.node_run(node) {
        // Ours before anything of the node runs: who has made the lock could name the holders of any file.
        own_lock(&layout.node_lock(node))?;
    }
    Ok(())
}

fn own_lock(path: &Path) -> Result<(), SysError> {
    let theirs = std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file() || meta.uid() != 0);
    if theirs {
        fs::remove_optional(path)?;
    }
    fs::make_lock(path)
}

/// Writes a file for the node to read. One that the node could write to is not written over: it may have it open.
fn write(file: &RenderedFile, user: User) -> Result<(), SysError> {
    let Some((_, gid)) = user else {
        return fs::write_if_different(&file.path, file.contents.as_bytes(), file.mode, Durability::PowerLoss);
    };
    let look = || std::fs::symlink_metadata(&file.path);
    if look().is_ok_and(|meta| !meta.is_file() || meta.uid() != 0 || meta.nlink() > 1) {
        fs::remove_optional(&file.path)?;
    }
    // What its owner may read its group may: that is the node.
    let mode = file.mode | (file.mode & 0o400) >> 3;
    fs::write_if_different(&file.path, file.contents.as_bytes(), mode, Durability::PowerLoss)?;
    let failed = |e| SysError::path("change the group of", &file.path, e);
    if look().map_err(failed)?.gid() != gid {
        lchown(&file.path, Some(0), Some(gid)).map_err(failed)?;
    }
    Ok(())
}

/// The directories every node has.
fn standard_directories(layout: &Layout, recipe: &Recipe) -> [(PathBuf, u32); 6] {
    let node = &recipe.node;
    [
        (layout.node(node), 0o755),
        (layout.conf(node), 0o755),
        (layout.data(node), 0o750),
        (layout.log_dir(node), 0o755),
        (layout.node_run(node), 0o755),
        (layout.node_tmp(node), 0o700),
    ]
}

#[cfg(test)]
mod tests;
