//! The list of what a stored tree holds: made once when it is put into the store, compared whenever it is used.
//!
//! A cheap comparison looks at type, size and modification time; a file whose time alone differs (a copied store) is read
//! after all. A full one reads every file. Stored as text in the tree itself: one line per file or link, sorted by path.

use super::ArtifactError;
use crate::sys::{error::SysError, fs as sysfs};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, DirEntry, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// File name of the list, at the top of the tree it describes.
pub const NAME: &str = ".manifest";

/// Threads that digest a tree at most. Two keep up with an NVMe disk.
const READERS: usize = 4;

/// First line of the list.
const HEADER: &str = "cdc-supervisor manifest 1";

/// How carefully a tree is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Sizes and times.
    Quick,
    /// Every byte.
    Full,
    /// Nothing: what is on record is named as it is.
    Unseen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    File { digest: String, bytes: u64, modified: i128, executable: bool },
    Link { target: String },
}

/// An entry as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// A file.
    File {
        /// It may be executed.
        executable: bool,
    },
    /// A symbolic link to this.
    Link(&'a str),
}

/// Digests of files that were taken while they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    files: BTreeMap<String, Written>,
    /// Bytes of the names.
    names: usize,
}

/// A file as it was when its last byte was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    digest: [u8; 32],
    inode: u64,
    bytes: u64,
    modified: i128,
}

/// Bytes of names that are remembered; an archive of more has its files read again.
const KNOWN_NAMES: usize = 4 << 20;

impl Known {
    /// Remembers a file that is written now; `digest` is its SHA-256.
    pub fn add(&mut self, name: &Path, meta: &fs::Metadata, digest: &[u8]) {
        let (Some(name), Ok(digest)) = (name.to_str(), digest.try_into()) else { return };
        if self.names + name.len() > KNOWN_NAMES {
            return;
        }
        self.names += name.len();
        let written = Written { digest, inode: meta.ino(), bytes: meta.len(), modified: modified(meta) };
        self.files.insert(name.to_owned(), written);
    }

    /// The digest of a file that has not changed since.
    fn digest(&self, name: &str, meta: &fs::Metadata) -> Option<String> {
        let written = self.files.get(name)?;
        let same = (written.inode, written.bytes, written.modified) == (meta.ino(), meta.len(), modified(meta));
        same.then(|| hex(&written.digest))
    }
}

/// What a tree holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<String, Entry>);

impl Manifest {
    /// Makes every file read-only, reads it, brings it to the disk, and lists it.
    ///
    /// `known` are digests that were taken while the files were written; what has changed since is read.
    pub fn seal(tree: &Path, known: &Known) -> Result<Self, ArtifactError> {
        let mut manifest = Self::default();
        let mut files = Vec::new();
        manifest.seal_below(tree, "", known, &mut files)?;
        // Digesting is all processor once the bytes are in memory, which they are behind a download.
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(READERS);
        let next = AtomicUsize::new(0);
        let digest_some = || {
            let mut done = Vec::new();
            while let Some((relative, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let digest = File::open(path).and_then(|file| stream_digest(&file));
                done.push((relative, digest.map_err(|e| SysError::path("read", path, e))?));
            }
            Ok::<_, SysError>(done)
        };
        let digested = thread::scope(|scope| {
            let readers: Vec<_> = (0..cores).map(|_| scope.spawn(digest_some)).collect();
            let joined = readers.into_iter().map(|r| r.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        for (relative, found) in digested.into_iter().flatten() {
            if let Some(Entry::File { digest, .. }) = manifest.0.get_mut(relative) {
                *digest = found;
            }
        }
        sysfs::sync_file_system(tree).map_err(|e| SysError::path("sync", tree, e))?;
        Ok(manifest)
    }

    /// Lists what is below a directory; digests that are not known are to be made of `files`.
    fn seal_below(
        &mut self,
        directory: &Path,
        prefix: &str,
        known: &Known,
        files: &mut Vec<(String, PathBuf)>,
    ) -> Result<(), ArtifactError> {
        for entry in entries(directory)? {
            let path = entry.path();
            let name = entry.file_name();
            let name = plain(&path, name.to_str())?;
            let relative = format!("{prefix}{name}");
            if relative == NAME {
                continue;
            }
            let meta = fs::symlink_metadata(&path).map_err(|e| SysError::path("look at", &path, e))?;
            let listed = if meta.is_dir() {
                mode(&path, 0o755)?;
                self.seal_below(&path, &format!("{relative}/"), known, files)?;
                continue;
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).map_err(|e| SysError::path("read link", &path, e))?;
                Entry::Link { target: plain(&path, target.to_str())?.to_owned() }
            } else if meta.is_file() {
                let executable = meta.mode() & 0o111 != 0;
                mode(&path, if executable { 0o555 } else { 0o444 })?;
                let digest = known.digest(&relative, &meta).unwrap_or_else(|| {
                    files.push((relative.clone(), path));
                    String::new()
                });
                Entry::File { digest, bytes: meta.len(), modified: modified(&meta), executable }
            } else {
                return Err(ArtifactError::Tree {
                    what: directory.display().to_string(),
                    lacks: format!("a plain file at {name}: it is a device, pipe or socket"),
                });
            };
            self.0.insert(relative, listed);
        }
        Ok(())
    }

    /// Content id: the same for the same names, bytes, links and execute bits, wherever and whenever unpacked.
    pub fn content(&self) -> String {
        content_id(self.0.iter().map(|(path, entry)| {
            let what = match entry {
                Entry::File { digest, executable, .. } => format!("file {digest} {}", bit(*executable)),
                Entry::Link { target } => format!("link {target}"),
            };
            (path.clone(), what)
        }))
    }

    /// Names and what they are, sorted.
    pub fn listed(&self) -> impl Iterator<Item = (&str, Listed<'_>)> {
        self.0.iter().map(|(path, entry)| {
            let listed = match entry {
                Entry::File { executable, .. } => Listed::File { executable: *executable },
                Entry::Link { target } => Listed::Link(target),
            };
            (path.as_str(), listed)
        })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|e| if let Entry::File { bytes, .. } = e { *bytes } else { 0 }).sum()
    }

    /// The list as text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (path, entry) in &self.0 {
            text += &match entry {
                Entry::File { digest, bytes, modified, executable } => {
                    format!("file\t{digest}\t{bytes}\t{modified}\t{}\t{path}\n", bit(*executable))
                }
                Entry::Link { target } => format!("link\t{target}\t{path}\n"),
            };
        }
        text
    }

    /// Reads the list of `tree`. The error is a sentence: whoever asks treats the tree as damaged.
    pub fn read(tree: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(tree.join(NAME)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("{} is not there", tree.display()),
            _ => format!("its file list cannot be read: {e}"),
        })?;
        Self::parse(&text).ok_or_else(|| "its file list is damaged".to_owned())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let mut manifest = Self::default();
        for line in lines {
            let fields: Vec<&str> = line.split('\t').collect();
            let (path, entry) = match fields[..] {
                ["file", digest, bytes, modified, bit @ ("x" | "-"), path] => (
                    path,
                    Entry::File {
                        digest: digest.to_owned(),
                        bytes: bytes.parse().ok()?,
                        modified: modified.parse().ok()?,
                        executable: bit == "x",
                    },
                ),
                ["link", target, path] => (path, Entry::Link { target: target.to_owned() }),
                _ => return None,
            };
            manifest.0.insert(path.to_owned(), entry);
        }
        Some(manifest)
    }

    /// What is wrong with `tree`: the first difference as a sentence, or none.
    pub fn damage(&self, tree: &Path, care: Care) -> Option<String> {
        if care == Care::Unseen {
            return None;
        }
        self.0.iter().find_map(|(path, entry)| {
            differs(&tree.join(path), entry, care).map(|why| format!("{} {why}", tree.join(path).display()))
        })
    }
}

fn differs(path: &Path, entry: &Entry, care: Care) -> Option<String> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Some("is gone".into()),
        Err(e) => return Some(format!("cannot be looked at: {e}")),
    };
    match entry {
        Entry::Link { target } => {
            let now = fs::read_link(path).ok();
            (now.as_deref() != Some(Path::new(target))).then(|| format!("is no link to {target} any more"))
        }
        Entry::File { .. } if !meta.is_file() => Some("is no file any more".into()),
        Entry::File { bytes, .. } if meta.len() != *bytes => {
            Some(format!("has {} bytes, {bytes} were stored", meta.len()))
        }
        Entry::File { executable: true, .. } if meta.mode() & 0o111 == 0 => Some("is not executable any more".into()),
        Entry::File { modified: then, digest, .. } => {
            if care == Care::Quick && modified(&meta) == *then {
                return None;
            }
            match file_digest(path) {
                Ok(found) if found == *digest => None,
                Ok(found) => Some(format!("has SHA-256 {found}, {digest} was stored")),
                Err(e) => Some(format!("cannot be read: {}", e.source)),
            }
        }
    }
}

/// SHA-256 over sorted `path NUL what LF` lines, as hex.
pub fn content_id(entries: impl Iterator<Item = (String, String)>) -> String {
    let mut sum = Sha256::new();
    for (path, what) in entries {
        sum.update(format!("{path}\0{what}\n"));
    }
    hex(&sum.finalize())
}

/// SHA-256 of a file, as hex.
pub fn file_digest(path: &Path) -> Result<String, SysError> {
    File::open(path).and_then(|f| stream_digest(&f)).map_err(|e| SysError::path("read", path, e))
}

/// SHA-256 of a text, as hex.
pub fn text_digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// The entries of a directory, sorted by name.
pub fn entries(directory: &Path) -> Result<Vec<DirEntry>, SysError> {
    let mut all = fs::read_dir(directory)
        .and_then(|list| list.collect::<io::Result<Vec<_>>>())
        .map_err(|e| SysError::path("list", directory, e))?;
    all.sort_by_key(DirEntry::file_name);
    Ok(all)
}

fn stream_digest(mut file: &File) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut block = vec![0u8; 256 << 10];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&sum.finalize())),
            n => sum.update(&block[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bit(executable: bool) -> &'static str {
    if executable { "x" } else { "-" }
}

/// Nanoseconds since 1970, of the last change of the content.
fn modified(meta: &fs::Metadata) -> i128 {
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

fn mode(path: &Path, mode: u32) -> Result<(), SysError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| SysError::path("set the mode of", path, e))
}

/// The text of a name, when the list can hold it.
fn plain<'a>(path: &Path, text: Option<&'a str>) -> Result<&'a str, ArtifactError> {
    text.filter(|t| !t.contains(['\t', '\n'])).ok_or_else(|| ArtifactError::OddPath(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::OpenOptions, os::unix::fs::symlink, time::Duration};

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), "abc").unwrap();
        fs::write(dir.path().join("run"), "x").unwrap();
        mode(&dir.path().join("run"), 0o700).unwrap();
        symlink("d/f", dir.path().join("l")).unwrap();
        dir
    }

    #[test]
    fn a_manifest_survives_its_text_and_files_become_read_only() {
        let dir = tree();
        let sealed = Manifest::seal(dir.path(), &Known::default()).unwrap();
        fs::write(dir.path().join(NAME), sealed.to_text()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), sealed);
        assert_eq!(sealed.bytes(), 4);
        assert_eq!(fs::metadata(dir.path().join("d/f")).unwrap().mode() & 0o777, 0o444);
        assert_eq!(fs::metadata(dir.path().join("run")).unwrap().mode() & 0o777, 0o555);
        for care in [Care::Quick, Care::Full] {
            assert_eq!(sealed.damage(dir.path(), care), None);
        }
        assert_eq!(Manifest::seal(dir.path(), &Known::default()).unwrap(), sealed, "its own list is no part of it");
    }

    #[test]
    fn a_digest_that_is_known_is_taken_until_the_file_changes() {
        let dir = tree();
        let read = Manifest::seal(dir.path(), &Known::default()).unwrap();
        let f = dir.path().join("d/f");
        let mut known = Known::default();
        // Another one than it has, to see which is taken.
        known.add(Path::new("d/f"), &fs::metadata(&f).unwrap(), &Sha256::digest("other"));
        assert_ne!(Manifest::seal(dir.path(), &known).unwrap(), read);
        fs::rename(&f, dir.path().join("aside")).unwrap();
        fs::copy(dir.path().join("aside"), &f).unwrap();
        fs::remove_file(dir.path().join("aside")).unwrap();
        assert_eq!(Manifest::seal(dir.path(), &known).unwrap().content(), read.content(), "another file of that name");
        known.add(Path::new("d/f"), &fs::metadata(&f).unwrap(), &Sha256::digest("other"));
        mode(&f, 0o644).unwrap();
        fs::write(&f, "abcd").unwrap();
        fs::write(&f, "abc").unwrap();
        let touched = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(&f).unwrap().set_modified(touched).unwrap();
        assert_eq!(Manifest::seal(dir.path(), &known).unwrap().content(), read.content(), "written since");
    }

    #[test]
    fn the_same_content_has_the_same_id_at_another_place_and_time() {
        let (one, two) = (tree(), tree());
        let id = Manifest::seal(one.path(), &Known::default()).unwrap().content();
        assert_eq!(Manifest::seal(two.path(), &Known::default()).unwrap().content(), id);
        let f = two.path().join("d/f");
        mode(&f, 0o644).unwrap();
        fs::write(&f, "abd").unwrap();
        assert_ne!(Manifest::seal(two.path(), &Known::default()).unwrap().content(), id);
    }

    #[test]
    fn a_changed_truncated_or_vanished_file_and_a_moved_link_are_damage() {
        let dir = tree();
        let sealed = Manifest::seal(dir.path(), &Known::default()).unwrap();
        let f = dir.path().join("d/f");
        mode(&f, 0o644).unwrap();
        fs::write(&f, "ab").unwrap();
        assert!(sealed.damage(dir.path(), Care::Quick).unwrap().ends_with("d/f has 2 bytes, 3 were stored"));
        fs::write(&f, "abd").unwrap();
        assert!(sealed.damage(dir.path(), Care::Quick).unwrap().contains("was stored"), "its time differs");
        fs::write(&f, "abc").unwrap();
        assert_eq!(sealed.damage(dir.path(), Care::Quick), None, "another time with the same bytes is fine");
        fs::remove_file(&f).unwrap();
        assert!(sealed.damage(dir.path(), Care::Quick).unwrap().ends_with("is gone"));
        fs::write(&f, "abc").unwrap();
        fs::remove_file(dir.path().join("l")).unwrap();
        symlink("run", dir.path().join("l")).unwrap();
        assert!(sealed.damage(dir.path(), Care::Quick).unwrap().ends_with("is no link to d/f any more"));
    }

    #[test]
    fn a_change_that_hides_behind_size_and_time_is_found_by_full_care_only() {
        let dir = tree();
        let sealed = Manifest::seal(dir.path(), &Known::default()).unwrap();
        let f = dir.path().join("d/f");
        let before = fs::metadata(&f).unwrap().modified().unwrap();
        mode(&f, 0o644).unwrap();
        fs::write(&f, "abd").unwrap();
        OpenOptions::new().write(true).open(&f).unwrap().set_modified(before + Duration::ZERO).unwrap();
        assert_eq!(sealed.damage(dir.path(), Care::Quick), None);
        assert!(sealed.damage(dir.path(), Care::Full).unwrap().contains("has SHA-256 a52d159f"));
    }

    #[test]
    fn a_cut_or_foreign_list_is_called_damaged() {
        let dir = tree();
        let text = Manifest::seal(dir.path(), &Known::default()).unwrap().to_text();
        for bad in ["", "something else\n", &text[..text.len() - 4], &text.replace("file\t", "fifo\t")] {
            assert_eq!(Manifest::parse(bad), None, "{bad:?}");
        }
    }
}
