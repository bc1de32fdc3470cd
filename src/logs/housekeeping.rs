//! Keeps the logs of a root within their bounds: compresses rotated files and removes the oldest. For a thread of its own;
//! what is to be done is decided in [`super::budget`].
//!
//! A compressed file gets its name only when it is whole and on disk, and the uncompressed one goes only after that: whoever is
//! killed in between leaves both, and the next round finishes. Half a file has a name that is none of the log.

use super::{
    budget::{self, Budget, Chore, NodeLog, OldFile, Why},
    names::{self, CURRENT, Rotated, Stamp},
};
use crate::{
    base::Timestamp,
    sys::{error::SysError, failpoint::fail_point},
};
use flate2::{Compression, write::GzEncoder};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// What a file is called while it is being compressed.
const PART: &str = ".part";

/// Bytes per read.
const BLOCK: usize = 64 << 10;

/// One log to keep in bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its directory.
    pub dir: PathBuf,
    /// How many rotated files are kept; none: as many as the other bounds allow.
    pub keep: Option<usize>,
}

/// What a round has done.
#[derive(Debug, Default)]
pub struct Done {
    /// Files compressed, their bytes before and after.
    pub compressed: (u64, u64, u64),
    /// Files removed, by the log's place in the list, and why.
    pub removed: Vec<(usize, Stamp, Why)>,
    /// What could not be done.
    pub failed: Vec<SysError>,
}

/// Does what is to be done now, until nothing is left. Blocks for as long as compressing takes.
pub fn round(places: &[Place], budget: &Budget, now: Timestamp) -> Done {
    let mut done = Done::default();
    let mut failed: BTreeSet<Failed> = BTreeSet::new();
    for place in places {
        remove_parts(&place.dir);
    }
    loop {
        let logs: Vec<NodeLog> = places.iter().enumerate().map(|(at, place)| survey(place, at, &failed)).collect();
        let chores = budget::plan(&logs, budget, now);
        // Whatever fails is not tried again in this round, so that it ends.
        let fresh: Vec<Chore> = chores.into_iter().filter(|chore| !failed.contains(&key(chore))).collect();
        if fresh.is_empty() {
            return done;
        }
        for chore in fresh {
            let result = match chore {
                Chore::Compress { log, name } => compress(&places[log].dir, name).map(|sizes| {
                    if let Some((before, after)) = sizes {
                        let (files, sum_before, sum_after) = done.compressed;
                        done.compressed = (files + 1, sum_before + before, sum_after + after);
                    }
                }),
                Chore::Remove { log, stamp, why } => {
                    remove(&places[log].dir, stamp).map(|()| done.removed.push((log, stamp, why)))
                }
            };
            if let Err(e) = result {
                failed.insert(key(&chore));
                done.failed.push(e);
            }
            // It took a while: what has come meanwhile may be too much.
            if matches!(chore, Chore::Compress { .. }) {
                break;
            }
        }
    }
}

/// A chore that failed: whether it was a removal, whose, which.
type Failed = (bool, usize, Stamp);

fn key(chore: &Chore) -> Failed {
    match chore {
        Chore::Compress { log, name } => (false, *log, name.stamp),
        Chore::Remove { log, stamp, .. } => (true, *log, *stamp),
    }
}

fn survey(place: &Place, at: usize, failed: &BTreeSet<Failed>) -> NodeLog {
    let dir = &place.dir;
    let current = fs::symlink_metadata(dir.join(CURRENT)).map_or(0, |meta| meta.len());
    let mut old: BTreeMap<Stamp, OldFile> = BTreeMap::new();
    // A directory that is not there, or cannot be read, has nothing to keep in bounds; readers of the log say why.
    for file in names::rotated(dir).unwrap_or_default() {
        // removed by the shim meanwhile
        let Ok(meta) = fs::symlink_metadata(dir.join(file.name())) else { continue };
        let changed = Timestamp(meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000);
        let entry = old.entry(file.stamp).or_insert_with(|| OldFile {
            name: file.as_packed(false),
            plain: None,
            packed: None,
            changed,
            failed: failed.contains(&(false, at, file.stamp)),
        });
        if file.packed { entry.packed = Some(meta.len()) } else { entry.plain = Some(meta.len()) }
    }
    NodeLog { current, old: old.into_values().collect(), keep: place.keep }
}

/// What a killed round has left.
fn remove_parts(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(|n| n.strip_suffix(PART)).is_some_and(|n| Rotated::parse(n).is_some()) {
            // tried again at the next round
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove(dir: &Path, stamp: Stamp) -> Result<(), SysError> {
    let files = names::rotated(dir).map_err(|e| SysError::path("read directory", dir, e))?;
    for file in files.iter().filter(|file| file.stamp == stamp) {
        let path = dir.join(file.name());
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(SysError::path("remove", &path, e)),
            _ => {}
        }
    }
    Ok(())
}

/// Compresses one file and removes the uncompressed form; returns both sizes, none when somebody removed it meanwhile.
pub fn compress(dir: &Path, name: Rotated) -> Result<Option<(u64, u64)>, SysError> {
    let plain = dir.join(name.as_packed(false).name());
    let packed = dir.join(name.as_packed(true).name());
    let part = PathBuf::from(format!("{}{PART}", packed.display()));
    let work = || -> io::Result<Option<(u64, u64)>> {
        let mut source = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&plain)?;
        let meta = source.metadata()?;
        let whole = fs::metadata(&packed).ok().filter(|_| unpacked_length(&packed).ok() == Some(meta.len()));
        let after = match whole {
            // compressed before, and killed before the uncompressed one went
            Some(whole) => whole.len(),
            None => {
                let after = write_packed(&mut source, &meta, &part)?;
                fail_point!("logs.packed");
                if fs::symlink_metadata(&plain)?.ino() != meta.ino() {
                    return Err(io::Error::other("was replaced while it was compressed"));
                }
                fs::rename(&part, &packed)?;
                fail_point!("logs.named");
                after
            }
        };
        fs::remove_file(&plain)?;
        fail_point!("logs.plain-removed");
        Ok(Some((meta.len(), after)))
    };
    let result = work();
    if result.is_err() {
        // nothing but a leftover; the next round would remove it too
        let _ = fs::remove_file(&part);
    }
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map_err(|e| SysError::path("compress", &plain, e)),
    }
}

fn write_packed(source: &mut File, meta: &fs::Metadata, part: &Path) -> io::Result<u64> {
    let _ = fs::remove_file(part);
    let target = OpenOptions::new().write(true).create_new(true).mode(meta.mode() & 0o777).open(part)?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    let mut block = vec![0; BLOCK];
    let mut read = 0u64;
    loop {
        match source.read(&mut block) {
            Ok(0) => break,
            Ok(n) => {
                encoder.write_all(&block[..n])?;
                fail_point!("logs.packing");
                read += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let target = encoder.finish()?;
    if source.metadata()?.len() != read {
        return Err(io::Error::other("is still written to"));
    }
    // readers and `max_age` go by the time of the last line
    target.set_modified(meta.modified()?)?;
    // The uncompressed form goes next. A loss of power must not find its removal on disk and this file not yet.
    target.sync_data()?;
    Ok(target.metadata()?.len())
}

/// Bytes of a compressed file when it is unpacked, as its end says (RFC 1952, ISIZE: modulo 2^32).
pub(super) fn unpacked_length(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-4))?;
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    Ok(u32::from_le_bytes(length).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::MultiGzDecoder;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const BUDGET: Budget = Budget { total: u64::MAX, max_age: None, compress: true };

    fn name(n: u32) -> Rotated {
        Rotated { stamp: Stamp { millis: 1_763_867_279_042, number: n }, end: Some(u64::from(n) * 10), packed: false }
    }

    fn write(dir: &Path, n: u32, text: &str) -> PathBuf {
        let path = dir.join(name(n).name());
        fs::write(&path, text).unwrap();
        path
    }

    fn unpack(path: &Path) -> String {
        io::read_to_string(MultiGzDecoder::new(File::open(path).unwrap())).unwrap()
    }

    fn place(dir: &Path) -> Place {
        Place { dir: dir.to_owned(), keep: None }
    }

    fn names_in(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_but_the_newest_are_compressed_with_their_time_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let texts: Vec<String> = (1..=3).map(|n| format!("line of {n}\n").repeat(10_000)).collect();
        for (n, text) in (1..).zip(&texts) {
            let file = File::options().write(true).open(write(dir.path(), n, text)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(n.into())).unwrap();
        }
        fs::write(dir.path().join(CURRENT), "now\n").unwrap();
        let done = round(&[place(dir.path())], &BUDGET, NOW);
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        let (files, before, after) = done.compressed;
        assert!(files == 2 && before == 200_000 && after < 20_000, "{:?}", done.compressed);
        let expected =
            [name(1).as_packed(true).name(), name(2).as_packed(true).name(), name(3).name(), CURRENT.to_owned()];
        assert_eq!(names_in(dir.path()), expected);
        for (n, text) in (1..3).zip(&texts) {
            let path = dir.path().join(name(n).as_packed(true).name());
            assert_eq!(&unpack(&path), text);
            assert_eq!(fs::metadata(&path).unwrap().mtime(), i64::from(n));
            assert_eq!(unpacked_length(&path).unwrap(), text.len() as u64);
        }
        assert_eq!(round(&[place(dir.path())], &BUDGET, NOW).compressed, (0, 0, 0), "nothing is left to do");
    }

    #[test]
    fn a_round_that_was_killed_anywhere_loses_nothing_and_is_finished_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let text = "line\n".repeat(1_000);
        // killed while compressing: half a file under the name of a part
        write(dir.path(), 1, &text);
        let packed = dir.path().join(name(1).as_packed(true).name());
        fs::write(format!("{}{PART}", packed.display()), "half").unwrap();
        // killed between rename and removal: both forms
        write(dir.path(), 2, &text);
        compress(dir.path(), name(2)).unwrap().unwrap();
        write(dir.path(), 2, &text);
        // a compressed file that is not the whole of it (somebody's, or a file system's): the uncompressed one wins
        write(dir.path(), 3, &text);
        fs::write(dir.path().join(name(3).as_packed(true).name()), "nonsense").unwrap();
        write(dir.path(), 4, "newest\n");
        let done = round(&[place(dir.path())], &BUDGET, NOW);
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        for n in 1..=3 {
            assert_eq!(unpack(&dir.path().join(name(n).as_packed(true).name())), text);
        }
        assert_eq!(names_in(dir.path()).len(), 4, "{:?}", names_in(dir.path()));
    }

    #[test]
    fn a_file_that_cannot_be_compressed_stays_and_is_told_and_the_round_ends() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, "a\n");
        write(dir.path(), 2, "b\n");
        write(dir.path(), 3, "c\n");
        // a directory in the way of the part's name
        let in_the_way = dir.path().join(format!("{}{PART}", name(1).as_packed(true).name()));
        fs::create_dir_all(in_the_way.join("x")).unwrap();
        let done = round(&[place(dir.path())], &BUDGET, NOW);
        assert_eq!(done.failed.len(), 1);
        assert!(done.failed[0].to_string().starts_with("cannot compress"), "{}", done.failed[0]);
        assert_eq!(fs::read_to_string(dir.path().join(name(1).name())).unwrap(), "a\n");
        assert_eq!(done.compressed.0, 1, "the others are compressed all the same");
    }

    #[test]
    fn the_total_holds_over_several_logs() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for n in 1..=20 {
            write(dirs[0].path(), n, &"x".repeat(1_000));
        }
        write(dirs[1].path(), 1, &"y".repeat(1_000));
        let places: Vec<Place> = dirs.iter().map(|d| place(d.path())).collect();
        let budget = Budget { total: 10_000, max_age: None, compress: false };
        let done = round(&places, &budget, NOW);
        assert_eq!(done.removed.len(), 11);
        assert!(done.removed.iter().all(|(log, _, why)| (*log, *why) == (0, Why::Total)));
        assert!(!dirs[0].path().join(name(11).name()).exists() && dirs[0].path().join(name(12).name()).exists());
    }

    #[test]
    fn logs_that_are_not_there_are_nobodys_fault() {
        let done = round(&[place(Path::new("/nonexistent/log"))], &BUDGET, NOW);
        assert!(done.failed.is_empty() && done.removed.is_empty());
    }
}
