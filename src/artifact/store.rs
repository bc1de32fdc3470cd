//! The store on disk: one directory per content, work under `tmp/`, one lock for whoever changes anything.
//!
//! A tree is made under `tmp/`, synced, and renamed to its final name: what is visible is whole. Whatever lies in `tmp/`
//! while nobody holds the lock is the rest of a run that died.

use super::{
    ArtifactError, Progress, Step,
    apt::utf8,
    manifest::{self, Known, Manifest},
};
use crate::sys::{
    clock,
    command::Cancel,
    error::SysError,
    failpoint::fail_point,
    fs::{self as sysfs, Durability, Lock},
};
use std::{
    fs,
    io::{Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Hex digits of the content id in a directory's name: 48 bits tell the few trees of one store apart.
const SHORT: usize = 12;

/// Where downloads are kept.
const DOWNLOADS: &str = "downloads";

/// How often a waiting run looks whether the lock is free.
const LOOK: Duration = Duration::from_millis(100);

/// A tree that was put into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its directory's name in the store.
    pub directory: String,
    /// Its whole content id.
    pub content: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The store, locked for change.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    lock: Lock,
}

impl Store {
    /// Makes the store if there is none, and takes its lock; waits while another run holds it, saying so once. What dead
    /// runs left in `tmp/` is removed, and a record that one of them wrote half.
    pub fn take(directory: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<Self, ArtifactError> {
        // Its paths end up in command lines and class paths.
        utf8(directory)?;
        if !directory.is_dir() {
            sysfs::make_dir(directory, 0o755)?;
        }
        let path = directory.join("lock");
        let mut told = false;
        let lock = loop {
            if cancel.is_cancelled() {
                return Err(ArtifactError::Cancelled);
            }
            if let Some(lock) = Lock::try_take(&path)? {
                break lock;
            }
            if !told {
                told = true;
                progress.step(&Step::Waiting { holder: holder(&path) });
            }
            thread::sleep(LOOK);
        };
        sign(&lock)?;
        let store = Self { directory: directory.to_owned(), lock };
        sysfs::remove_dir_all_optional(&store.tmp())?;
        sysfs::remove_torn(directory);
        sysfs::make_dir(&store.tmp(), 0o700)?;
        Ok(store)
    }

    /// The store's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn tmp(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// Makes the place where downloads are kept until they are in the store: a later run goes on with them.
    pub fn downloads(&self) -> Result<(), ArtifactError> {
        let path = self.directory.join(DOWNLOADS);
        sysfs::make_dir(&path, 0o700)?;
        Ok(())
    }

    /// Where the download of a file is kept.
    pub fn part(&self, file: &str) -> PathBuf {
        self.directory.join(DOWNLOADS).join(format!("{file}.part"))
    }

    /// Removes the download of a file.
    pub fn drop_download(&self, file: &str) {
        // What stays is only disk space; a state without its bytes is worth nothing.
        let part = self.part(file);
        let _ = fs::remove_file(part.with_file_name(format!("{file}.part.state")));
        let _ = fs::remove_file(part);
    }

    /// A fresh directory to work in, removed when dropped.
    pub fn work(&self, name: &str) -> Result<Work, ArtifactError> {
        let path = self.tmp().join(name);
        sysfs::make_dir(&path, 0o700)?;
        Ok(Work(path))
    }

    /// Seals `tree` and makes it visible as `NAME-CONTENT`. A tree of that name (damaged, or it would not have been
    /// fetched again) changes places with it and is removed; programs that have it open keep their files.
    pub fn install(&self, tree: &Path, name: &str) -> Result<Stored, ArtifactError> {
        self.install_known(tree, name, &Known::default())
    }

    /// The same for a tree some of whose files were digested while they were written.
    pub fn install_known(&self, tree: &Path, name: &str, known: &Known) -> Result<Stored, ArtifactError> {
        let sealed = Manifest::seal(tree, known)?;
        sysfs::write_atomic(&tree.join(manifest::NAME), sealed.to_text().as_bytes(), 0o444, Durability::PowerLoss)?;
        sysfs::make_dir(tree, 0o755)?;
        let content = sealed.content();
        let directory = directory_name(name, &content);
        let target = self.directory.join(&directory);
        fail_point!("store.sealed");
        sysfs::put_in_place_of(tree, &target)
            .map_err(|e| SysError::new(format!("rename {} to {}", tree.display(), target.display()), e))?;
        fail_point!("store.renamed");
        sysfs::sync_parent(&target).map_err(|e| SysError::path("sync", &self.directory, e))?;
        // What had the name before.
        sysfs::remove_dir_all_optional(tree)?;
        fail_point!("store.old-removed");
        Ok(Stored { directory, content, bytes: sealed.bytes() })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Left over only when its removal failed before; the next holder tries again.
        let _ = fs::remove_dir_all(self.tmp());
        // Programs are run beside a store's work, so a child between fork and exec may have a copy of the descriptor.
        self.lock.release();
    }
}

/// Whether runs that were killed have left something.
pub fn has_leftovers(store: &Path) -> bool {
    let some = |place: &str| fs::read_dir(store.join(place)).is_ok_and(|mut list| list.next().is_some());
    store.join("tmp").exists() || some(DOWNLOADS)
}

/// A directory to work in. Dropping it removes it.
#[derive(Debug)]
pub struct Work(PathBuf);

impl Work {
    /// A directory outside of every store, for this user alone: in `TMPDIR`, else in `/var/tmp`, which is the place for large
    /// files (file-hierarchy(7)). One that a killed run leaves there is the system's to remove (tmpfiles.d(5): after 30 days).
    pub fn apart() -> Result<Self, SysError> {
        let place = std::env::var_os("TMPDIR").filter(|t| !t.is_empty()).map_or("/var/tmp".into(), PathBuf::from);
        sysfs::make_temporary_dir(&place, "cdc-supervisor-").map(Self)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A fresh directory in it.
    pub fn sub(&self, name: &str) -> Result<PathBuf, ArtifactError> {
        let path = self.0.join(name);
        sysfs::make_dir(&path, 0o755)?;
        Ok(path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next holder of the lock.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The name of the directory of a content.
pub fn directory_name(name: &str, content: &str) -> String {
    format!("{name}-{}", short(content))
}

/// The part of a content id that stands in the name of its directory.
pub fn short(content: &str) -> &str {
    content.get(..SHORT).unwrap_or(content)
}

/// What the holder of the lock wrote about itself.
fn holder(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another run".to_owned(),
    }
}

fn sign(lock: &Lock) -> Result<(), SysError> {
    let mut file = lock.file();
    let text = format!("pid {} since {}\n", std::process::id(), clock::wall());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(|e| SysError::path("write", lock.path(), e))
}

/// Copies a file; the error names both ends.
pub fn copy(from: &Path, to: &Path) -> Result<(), SysError> {
    fs::copy(from, to).map(drop).map_err(|e| SysError::new(format!("copy {} to {}", from.display(), to.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Silent;
    use std::sync::Mutex;

    fn take(dir: &Path) -> Store {
        Store::take(dir, &Silent, &Cancel::default()).unwrap()
    }

    fn make(store: &Store, text: &str) -> Stored {
        let work = store.work("w").unwrap();
        let tree = work.sub("tree").unwrap();
        fs::write(tree.join("f"), text).unwrap();
        store.install(&tree, "thing-1").unwrap()
    }

    #[test]
    fn an_installed_tree_is_named_by_its_content_and_tmp_is_empty_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let stored = make(&take(dir.path()), "abc");
        assert_eq!(stored.directory, format!("thing-1-{}", &stored.content[..12]));
        let tree = dir.path().join(&stored.directory);
        assert_eq!(Manifest::read(&tree).unwrap().damage(&tree, manifest::Care::Full), None);
        assert!(!dir.path().join("tmp").exists());
    }

    #[test]
    fn the_leftovers_of_a_dead_run_are_removed_by_the_next_holder() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tmp/kafka/libs")).unwrap();
        fs::write(dir.path().join("tmp/kafka/libs/half.jar"), "x").unwrap();
        let store = take(dir.path());
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_tree_is_replaced_by_a_whole_one_of_the_same_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = take(dir.path());
        let first = make(&store, "abc");
        let file = dir.path().join(&first.directory).join("f");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "rotten").unwrap();
        assert_eq!(make(&store, "abc"), first);
        assert_eq!(fs::read_to_string(&file).unwrap(), "abc");
    }

    #[test]
    fn a_second_run_waits_and_says_who_holds_the_store() {
        struct Heard(Mutex<Vec<Step>>);
        impl Progress for Heard {
            fn step(&self, step: &Step) {
                self.0.lock().unwrap().push(step.clone());
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path());
        let heard = Heard(Mutex::default());
        let cancel = Cancel::default();
        thread::scope(|s| {
            let second = s.spawn(|| Store::take(dir.path(), &heard, &cancel).map(drop));
            while heard.0.lock().unwrap().is_empty() {
                thread::yield_now();
            }
            drop(held);
            second.join().unwrap().unwrap();
        });
        let heard = heard.0.into_inner().unwrap();
        let [Step::Waiting { holder }] = &heard[..] else { panic!("{heard:?}") };
        assert!(holder.starts_with(&format!("pid {} since 20", std::process::id())), "{holder}");
    }

    #[test]
    fn a_waiting_run_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let _held = take(dir.path());
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(matches!(Store::take(dir.path(), &Silent, &cancel), Err(ArtifactError::Cancelled)));
    }

    #[test]
    fn a_store_that_was_let_go_is_free_although_a_child_has_its_descriptor_yet() {
        let dir = tempfile::tempdir().unwrap();
        let store = take(dir.path());
        let _of_a_child = store.lock.file().try_clone().unwrap();
        drop(store);
        assert!(Lock::try_take(&dir.path().join("lock")).unwrap().is_some());
    }

    #[test]
    fn a_store_below_a_plain_file_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "").unwrap();
        let e = Store::take(&file.join("store"), &Silent, &Cancel::default()).unwrap_err();
        assert!(e.to_string().starts_with("cannot make directory"), "{e}");
    }
}
