//! Files in the store of programs that belong to somebody else than the root: the next fetch cannot replace them.

use super::super::{Site, check::Check};
use crate::sys::host;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What is seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Alien {
    store: PathBuf,
    /// Whose the root is, and so the store should be.
    owner: u32,
    /// The first of them, and whose it is.
    first: (PathBuf, u32),
    count: usize,
}

/// Looks at the store's own entries and its downloads, not into its trees. None: all is the owner's, or the store is somebody's that
/// several roots share.
pub(super) fn look(site: &Site) -> Option<Alien> {
    let uid = |path: &Path| fs::symlink_metadata(path).ok().map(|meta| meta.uid());
    let store = site.plan.artifacts.store(&site.layout);
    let owner = uid(site.layout.root()).filter(|owner| *owner != 0)?;
    if !store.starts_with(site.layout.root()) && uid(&store)? != owner {
        return None;
    }
    let entries = |dir: &Path| -> Vec<PathBuf> {
        let mut list: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
        list.sort();
        list
    };
    let mut all = vec![store.clone()];
    all.extend(entries(&store));
    all.extend(entries(&store.join("downloads")));
    // What is put into `files` by hand is only read.
    all.retain(|path| *path != store.join("files"));
    let mut alien = all.into_iter().filter_map(|path| Some((uid(&path)?, path))).filter(|(uid, _)| *uid != owner);
    let (uid, path) = alien.next()?;
    Some(Alien { store, owner, first: (path, uid), count: 1 + alien.count() })
}

pub(super) fn judge(alien: &Alien) -> Check {
    let (owner, (path, uid)) = (host::user_name(alien.owner), &alien.first);
    let more = if alien.count > 1 { format!(", and {} more", alien.count - 1) } else { String::new() };
    let found = format!("{} belongs to {}{more}", path.display(), host::user_name(*uid));
    let row = Check::ok(
        "store of programs",
        format!("all of it belongs to {owner}"),
        &found,
        "a fetch cannot replace what is another user's, and a class-data archive cannot be written",
    );
    row.fails(found, format!("chown -R {owner} {}", alien.store.display())).and_starts()
}

#[cfg(test)]
mod tests {
    use super::{super::super::tests::site_at, *};
    use std::os::unix::fs::chown;

    #[test]
    fn what_root_left_in_a_users_store_is_named_with_its_remedy() {
        if !host::is_root_or_skipped("what_root_left_in_a_users_store_is_named_with_its_remedy") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (root, store) = (dir.path().to_owned(), dir.path().join("artifacts"));
        fs::create_dir_all(store.join("downloads")).unwrap();
        for name in ["lock", "downloads/a.part", "files"] {
            fs::write(store.join(name), "").unwrap();
        }
        let site = site_at(&root, "[command.x]\nargv = [\"/bin/true\"]");
        assert_eq!(look(&site), None, "all is root's");
        chown(&root, Some(65_534), None).unwrap();
        let alien = look(&site).unwrap();
        assert_eq!((alien.count, &alien.first.0), (4, &store));
        let row = judge(&alien);
        assert!(row.found.ends_with("belongs to root, and 3 more") && !row.stops_start, "{row:?}");
        assert!(row.remedy.as_deref().unwrap().starts_with("chown -R nobody "), "{row:?}");
        for name in [".", "lock", "downloads", "downloads/a.part"] {
            chown(store.join(name), Some(65_534), None).unwrap();
        }
        assert_eq!(look(&site), None);
    }

    #[test]
    fn a_store_that_several_share_is_nobodys_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[artifacts]\nstore = \"{}\"\n[command.x]\nargv = [\"/bin/true\"]", dir.path().display());
        assert_eq!(look(&site_at("/nonexistent/root", &text)), None);
    }
}
