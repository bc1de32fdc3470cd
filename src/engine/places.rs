//! The directories and rendered files of a node, and whose they are when it runs as another user than a root daemon.
//!
//! Where we write as root the node must not: it could put a link there, and our bytes, our change of owner or our lock would
//! go where the link leads. So home, configuration, log and `run` are root's, and the node's group may read them; data and
//! temporary files are the node's. mysqld makes its sockets in `run`: that is its group's to write to, and sticky, so that what
//! is ours in it stays (recipe: 1770).

use crate::{
    base::{
        Cause, Layout,
        outcome::Failure,
        recipe::{PrepareStep, Recipe, RenderedFile},
    },
    services::identity::MARKER,
    sys::{
        error::SysError,
        fs::{self, Durability},
        give::{self, NotGiven},
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

/// Gives the node's user what root kept for it while it had no `user`: its data and its temporary files. Returns what was given, in
/// words; none: nothing had to be.
///
/// What belongs to a third is nothing that we could know to be the node's, nor is a directory outside of the root without root's
/// [`MARKER`] in it, which could be anybody's (`/srv`): refused, with the command for whoever knows.
pub(super) fn hand_over(layout: &Layout, recipe: &Recipe) -> Result<Option<String>, HandOver> {
    let Some((uid, gid)) = user_of(recipe).map_err(HandOver::Failed)? else { return Ok(None) };
    let mut given = Vec::new();
    for dir in of_the_node(layout, recipe) {
        let filled = std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
        // An empty one is given its owner when it is made; one whose top is the user's was given to the end, unless root has run the
        // node in it since.
        let theirs = std::fs::metadata(&dir).is_ok_and(|meta| meta.uid() == uid) && !has_roots(&dir);
        if !filled || theirs {
            continue;
        }
        let given_away = if dir.starts_with(layout.root()) || is_marked(&dir) {
            give::give(&dir, (uid, gid))
        } else {
            Err(NotGiven::Unmarked)
        };
        let strange = match given_away {
            Ok(0) => continue,
            Ok(many) => {
                given.push(format!("{} ({many} files and directories)", dir.display()));
                continue;
            }
            Err(NotGiven::Failed(e)) => return Err(HandOver::Failed(e)),
            Err(NotGiven::Alien(path, owner)) => {
                format!("{} belongs to {}", path.display(), host::user_name(owner))
            }
            Err(NotGiven::Linked(path)) => format!("{} has a second name (a hard link)", path.display()),
            Err(NotGiven::Strange(path)) => format!("{} is a device or of another file system", path.display()),
            Err(NotGiven::Unmarked) => format!("no {MARKER} of root's says that {} is the node's alone", dir.display()),
        };
        let user = recipe.launch.user.as_deref().unwrap_or_default();
        return Err(HandOver::Refused(Failure {
            cause: Cause::WrongOwner,
            what: format!("{} runs as {user}, and {strange}, so {} is not given to it", recipe.node, dir.display()),
            remedy: format!(
                "see that it is the node's, then `chown -R {user}: {}` and `cdc-supervisor start {}`",
                dir.display(),
                recipe.node
            ),
        }));
    }
    let user = recipe.launch.user.as_deref().unwrap_or_default();
    Ok((!given.is_empty()).then(|| format!("gave {user} what was root's: {}", given.join(", "))))
}

/// Whether root has written into it what a run leaves; the mark is always root's.
fn has_roots(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| entry.file_name() != MARKER && entry.metadata().is_ok_and(|meta| meta.uid() == 0))
}

/// Whether root has marked it as data of a node.
fn is_marked(dir: &Path) -> bool {
    std::fs::symlink_metadata(dir.join(MARKER)).is_ok_and(|meta| meta.is_file() && meta.uid() == 0)
}

/// Why a node's data could not be given to its user.
#[derive(Debug)]
pub(super) enum HandOver {
    /// It was looked at, and is not ours to give.
    Refused(Failure),
    /// It could not be looked at or changed.
    Failed(SysError),
}

/// What to do when a node may not use its files, as a command; none: the owner is not what keeps it from them.
pub(super) fn own_files(layout: &Layout, recipe: &Recipe) -> Option<String> {
    let user = match &recipe.launch.user {
        Some(user) => user.clone(),
        // Root is stopped by no owner.
        None if host::is_root() => return None,
        None => host::user_name(host::euid()),
    };
    let dirs: Vec<String> = of_the_node(layout, recipe)
        .into_iter()
        .filter(|dir| dir.exists() && *dir != layout.node_tmp(&recipe.node))
        .map(|dir| dir.display().to_string())
        .collect();
    Some(format!("`chown -R {user}: {}`, then `cdc-supervisor start {}`", dirs.join(" "), recipe.node))
}

/// The directories that are the node's own: its data, wherever they are, and its temporary files.
fn of_the_node(layout: &Layout, recipe: &Recipe) -> Vec<PathBuf> {
    let ours = ours(layout, recipe);
    let standard = standard_directories(layout, recipe);
    // mysqld's data are in no list: they appear by a rename
    let data = recipe
        .prepare
        .iter()
        .filter_map(|step| if let PrepareStep::DataVersion(of) = step { Some((of.data_dir.clone(), 0)) } else { None });
    let mut all: Vec<PathBuf> =
        standard.into_iter().chain(recipe.directories.iter().cloned()).chain(data).map(|(dir, _)| dir).collect();
    all.retain(|dir| !ours.contains(dir));
    all.sort_unstable();
    all.dedup();
    all
}

fn ours(layout: &Layout, recipe: &Recipe) -> [PathBuf; 4] {
    let node = &recipe.node;
    [layout.node(node), layout.conf(node), layout.log_dir(node), layout.node_run(node)]
}

/// Writes the files alone, of a node that runs.
pub(super) fn rewrite(recipe: &Recipe) -> Result<(), SysError> {
    let user = user_of(recipe)?;
    recipe.files.iter().try_for_each(|file| write(file, user))
}

/// Writes a file for the node's program to read that is none of its recipe's. Its directory is there.
pub(super) fn write_beside(recipe: &Recipe, file: &RenderedFile) -> Result<(), SysError> {
    write(file, user_of(recipe)?)
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
    let is_ours = ours(layout, recipe).iter().any(|own| own == directory);
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
