//! Packages -> a tree: unpacked beside each other, links to absolute paths turned into links inside the tree.

use super::{Helper, utf8};
use crate::{
    artifact::{ArtifactError, Host, manifest, store::Work},
    sys::{command::Cancel, error::SysError, fs as sysfs},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest time to unpack one package; the largest takes two seconds.
const LIMIT: Duration = Duration::from_secs(300);

/// Unpacks `packages` into a fresh directory `name` of `work`.
pub fn unpack<'p>(
    host: &Host,
    work: &Work,
    name: &str,
    packages: impl Iterator<Item = &'p Path>,
    cancel: &Cancel,
) -> Result<PathBuf, ArtifactError> {
    let program = host
        .dpkg_deb
        .as_deref()
        .ok_or(ArtifactError::NoTool { program: "dpkg-deb", to: "unpack packages of the distribution" })?;
    let dpkg = Helper { name: "dpkg-deb", program, env: host.helper_environment(work.path()), dir: work.path() };
    let tree = work.path().join(name);
    sysfs::remove_dir_all_optional(&tree)?;
    sysfs::make_dir(&tree, 0o755)?;
    for package in packages {
        let file = package.file_name().unwrap_or_default().to_string_lossy();
        dpkg.run(&["-x", utf8(package)?, utf8(&tree)?], &format!("unpack {file}"), LIMIT, cancel)?;
    }
    relink(&tree, &tree, 0)?;
    Ok(tree)
}

/// Links that name an absolute path which exists inside the tree become relative; the others stay as they are.
fn relink(top: &Path, directory: &Path, depth: usize) -> Result<(), SysError> {
    for entry in manifest::entries(directory)? {
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| SysError::path("look at", &path, e))?;
        if kind.is_dir() {
            relink(top, &path, depth + 1)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(|e| SysError::path("read link", &path, e))?;
            let Ok(inside) = target.strip_prefix("/") else { continue };
            if top.join(inside).symlink_metadata().is_err() {
                continue;
            }
            let relative = Path::new(&"../".repeat(depth)).join(inside);
            fs::remove_file(&path)
                .and_then(|()| symlink(&relative, &path))
                .map_err(|e| SysError::path("rewrite link", &path, e))?;
        }
    }
    Ok(())
}

/// Moves `relative` from one tree to another, its parents made as needed. Nothing happens when it is not there.
pub fn take(from: &Path, to: &Path, relative: &Path) -> Result<(), SysError> {
    let (old, new) = (from.join(relative), to.join(relative));
    if old.symlink_metadata().is_err() {
        return Ok(());
    }
    if let Some(parent) = new.parent() {
        sysfs::make_dir(parent, 0o755)?;
    }
    fs::rename(&old, &new).map_err(|e| SysError::path("move", &old, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_links_into_the_tree_become_relative_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        fs::create_dir_all(top.join("usr/lib/jvm")).unwrap();
        fs::create_dir_all(top.join("etc/java")).unwrap();
        fs::write(top.join("etc/java/conf"), "x").unwrap();
        symlink("/etc/java/conf", top.join("usr/lib/jvm/conf")).unwrap();
        symlink("/etc/elsewhere", top.join("usr/lib/jvm/out")).unwrap();
        symlink("conf", top.join("usr/lib/jvm/near")).unwrap();
        relink(top, top, 0).unwrap();
        let link = |name: &str| fs::read_link(top.join("usr/lib/jvm").join(name)).unwrap();
        assert_eq!(link("conf"), Path::new("../../../etc/java/conf"));
        assert_eq!(fs::read_to_string(top.join("usr/lib/jvm/conf")).unwrap(), "x");
        assert_eq!(link("out"), Path::new("/etc/elsewhere"));
        assert_eq!(link("near"), Path::new("conf"));
    }

    #[test]
    fn a_part_is_moved_with_its_parents_and_a_missing_one_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("usr/sbin")).unwrap();
        fs::write(from.join("usr/sbin/p"), "x").unwrap();
        take(&from, &to, Path::new("usr/sbin/p")).unwrap();
        take(&from, &to, Path::new("usr/nothing")).unwrap();
        assert!(to.join("usr/sbin/p").is_file() && !from.join("usr/sbin/p").exists());
    }
}
