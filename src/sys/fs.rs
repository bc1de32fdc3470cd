//! Files: crash-safe writes, locks, directories. Errors name the operation and the path.
//!
//! A little past 500 lines: small functions of one kind, which share how they write, what they follow and how they fail.

use super::{error::SysError, failpoint::fail_io, process};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// How much a finished write must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the process: rename is atomic and the page cache stays.
    ProcessCrash,
    /// Loss of power: file and directory are synced.
    PowerLoss,
}

/// Replaces `path` as a whole: a reader, and whoever comes after a crash, sees the old or the new bytes and never a part.
/// The temporary file is a sibling (`.NAME.PID.tmp`), so the rename stays on one file system.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<(), SysError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = create_new(&temporary, mode)?;
        // open() applies the umask
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        fail_io!("write.opened", path)?;
        #[cfg(feature = "failpoints")]
        file.write_all(&bytes[..bytes.len() / 2])?;
        #[cfg(feature = "failpoints")]
        let bytes = &bytes[bytes.len() / 2..];
        fail_io!("write.half", path)?;
        file.write_all(bytes)?;
        fail_io!("write.written", path)?;
        if durability == Durability::PowerLoss {
            file.sync_all()?;
        }
        match durability {
            Durability::ProcessCrash => put_in_place(&temporary, path)?,
            Durability::PowerLoss => fs::rename(&temporary, path)?,
        }
        fail_io!("write.renamed", path)?;
        if durability == Durability::PowerLoss {
            sync_parent(path)?;
        }
        Ok(())
    })();
    written.map_err(|e: io::Error| {
        // The leftover is only a hidden temporary; the write error is what the caller must hear.
        let _ = fs::remove_file(&temporary);
        SysError::path("write", path, e)
    })
}

/// Makes a file that was not there. What has its name (of a killed run, or put there by who may write to the directory) is
/// removed first: a link would lead the bytes elsewhere, and somebody else's file would stay theirs.
pub(super) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    // O_EXCL never follows a link (open(2)).
    let make = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match make() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            make()
        }
        made => made,
    }
}

/// Opens a file of ours for appending in a directory that a node may write to. A link, a pipe, or a file that has another name
/// elsewhere is removed for a new one: it would lead our bytes to where the node's own rights do not reach.
pub fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    let open = || {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().append(true).create(true).mode(mode).custom_flags(flags).open(path)
    };
    match open() {
        Ok(file) if file.metadata().is_ok_and(|meta| is_single(&meta)) => return Ok(file),
        // ELOOP: a link. ENXIO: a pipe that nobody reads, or a socket.
        Err(e) if !matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => return Err(e),
        Ok(_) | Err(_) => {}
    }
    fs::remove_file(path)?;
    open()
}

/// A plain file with one name.
pub(super) fn is_single(meta: &fs::Metadata) -> bool {
    meta.is_file() && meta.nlink() == 1
}

/// Renames `temporary` to `path`, without the disk when there is a file already.
///
/// ext4 sends a file's bytes to the disk before it is renamed over another one (`auto_da_alloc`, ext4(5); about a millisecond
/// each on a virtual disk), for programs that forget to sync. It does not when two names are exchanged, which is as atomic for
/// every reader (renameat2(2)); the old bytes then go with the temporary name.
fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    if exchange(temporary, path)? {
        // One that stays is a hidden file, removed with those of a process that was killed.
        let _ = fs::remove_file(temporary);
    }
    Ok(())
}

/// Gives `new` the name `path`, and what had that name the name of `new`. Whether something has the name of `new` now: nothing where there was
/// nothing to exchange with, or where the file system cannot.
pub(super) fn exchange(new: &Path, path: &Path) -> io::Result<bool> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    match renameat2(AT_FDCWD, new, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(true),
        // ENOENT: nothing to exchange with yet. Any other: a file system that cannot exchange (EINVAL), or an error that
        // the plain rename meets too.
        Err(_) => fs::rename(new, path).map(|()| false),
    }
}

/// Gives the directory `new` the name `path`, and what has that name the name of `new`: both at once where the file system can, so that
/// nobody finds nothing there. Not synced.
pub fn put_in_place_of(new: &Path, path: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let swap = |from: &Path, to: &Path| renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_EXCHANGE);
    // ENOENT: nothing has the name. Any other: as in `put_in_place`.
    if swap(new, path).is_ok() {
        return Ok(());
    }
    let mut aside = new.as_os_str().to_owned();
    aside.push(".replaced");
    match fs::rename(path, &aside) {
        Ok(()) => fs::rename(new, path).and_then(|()| fs::rename(&aside, new)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs::rename(new, path),
        Err(e) => Err(e),
    }
}

/// As [`write_atomic`], when the file does not hold these bytes already. A sync waits for the disk, and most starts change
/// nothing.
pub fn write_if_different(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<(), SysError> {
    match fs::read(path) {
        Ok(old) if old == bytes => Ok(()),
        // A file that cannot be read is written; what hinders that is told then.
        Ok(_) | Err(_) => write_atomic(path, bytes, mode, durability),
    }
}

/// Removes what [`write_atomic`] left behind in `dir` when its process was killed: temporary files of processes that are
/// gone. One that stays is only a hidden file.
pub fn remove_torn(dir: &Path) {
    remove_torn_named(dir, |_| true);
}

/// The same for one file: what lies beside `path` and was to become it.
pub fn remove_torn_of(path: &Path) {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    remove_torn_named(dir, |name| Some(name) == path.file_name().and_then(|n| n.to_str()));
}

fn remove_torn_named(dir: &Path, meant: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let writer = name.to_str().and_then(|n| n.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.'));
        let pid = writer.filter(|(of, _)| meant(of)).and_then(|(_, pid)| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| !process::lives(pid)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Asks the kernel to begin to write a file's bytes to the disk, and waits for nothing: a sync much later finds little left
/// to do. dpkg does the same between unpacking and syncing. Best effort: where it cannot be done the sync takes longer.
pub fn begin_writing(file: &File) {
    // SAFETY: a system call on a descriptor that is open as long as `file` is borrowed; it takes no pointer.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Brings everything of the file system that holds `directory` to the disk: thousands of new files in one go, where a sync of
/// each would wait for the journal as often. An error of any of them is told since Linux 5.8 (syncfs(2)).
pub fn sync_file_system(directory: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(directory)?)?)
}

/// Syncs the directory that holds `path`: makes a rename survive loss of power.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        None => Path::new("/"),
        // of a plain name: nothing opens the empty path
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    File::open(parent)?.sync_all()
}

/// Makes a directory of a name that nobody else has, of mode 0700, in `place`.
pub fn make_temporary_dir(place: &Path, prefix: &str) -> Result<PathBuf, SysError> {
    nix::unistd::mkdtemp(&place.join(format!("{prefix}XXXXXX")))
        .map_err(|e| SysError::path("make a directory in", place, io::Error::from(e)))
}

/// Makes a directory and its parents; sets `mode` on the last one, also when it exists. A link to a directory is followed when
/// root or this user has made it.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), SysError> {
    // A node has half a dozen, and they are there at every start but the first.
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.permissions().mode() & 0o7777 == mode) {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| fs::set_permissions(by_descriptor(&open_dir(path)?), fs::Permissions::from_mode(mode)))
        .map_err(|e| SysError::path("make directory", path, e))
}

/// Opens a directory to change what it is (O_PATH, open(2)), never through a link of another user: they could lead a change of
/// owner or mode anywhere.
pub(super) fn open_dir(path: &Path) -> io::Result<File> {
    let open = |flags| OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY | flags).open(path);
    let refused = match open(libc::O_NOFOLLOW) {
        Ok(dir) => return Ok(dir),
        Err(e) => e,
    };
    let Ok(link) = fs::symlink_metadata(path) else { return Err(refused) };
    match link.uid() {
        _ if !link.is_symlink() => Err(refused),
        uid if uid == 0 || uid == nix::unistd::geteuid().as_raw() => open(0),
        uid => {
            let text = format!("it is a link that uid {uid} has put there");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
    }
}

/// A name for what is open, whatever its own name leads to by now (proc_pid_fd(5)).
pub(super) fn by_descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives an existing directory this owner, group and mode; whether it had another owner. Links are followed as by [`make_dir`].
pub fn own_dir(path: &Path, (uid, gid): (u32, u32), mode: u32) -> Result<bool, SysError> {
    let changed = || -> io::Result<bool> {
        let dir = open_dir(path)?;
        let (meta, name) = (dir.metadata()?, by_descriptor(&dir));
        if (meta.uid(), meta.gid()) != (uid, gid) {
            std::os::unix::fs::chown(&name, Some(uid), Some(gid))?;
        }
        if meta.mode() & 0o7777 != mode {
            fs::set_permissions(&name, fs::Permissions::from_mode(mode))?;
        }
        Ok(meta.uid() != uid)
    };
    changed().map_err(|e| SysError::path("change the owner of", path, e))
}

/// Makes the directories above `path` that are missing, each with this group and mode; what is there stays as it is.
pub fn make_parents(path: &Path, gid: Option<u32>, mode: u32) -> Result<(), SysError> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        let made = fs::DirBuilder::new().mode(mode).create(dir).and_then(|()| match gid {
            Some(gid) => std::os::unix::fs::lchown(dir, None, Some(gid)),
            None => Ok(()),
        });
        made.map_err(|e| SysError::path("make directory", dir, e))?;
    }
    Ok(())
}

/// Removes from a directory what leads elsewhere: links that are not root's, and files that have another name too. For one
/// that somebody else could write to before it was ours.
pub fn remove_planted(dir: &Path) -> Result<(), SysError> {
    for name in names_in(dir)? {
        let path = dir.join(name);
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if (meta.is_symlink() && meta.uid() != 0) || (meta.is_file() && meta.nlink() > 1) {
            remove_optional(&path)?;
        }
    }
    Ok(())
}

/// The file's text; none when there is no such file.
pub fn read_optional(path: &Path) -> Result<Option<String>, SysError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SysError::path("read", path, e)),
    }
}

/// The text of a small file of ours in a directory that a node may write to; none when there is none. What is no plain file is
/// an error, and is neither followed nor waited for.
pub fn read_plain_optional(path: &Path) -> Result<Option<String>, SysError> {
    let text = |bytes| String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e));
    let read = read_plain(path)?.map(text).transpose();
    read.map_err(|e| SysError::path("read", path, e))
}

/// The same, whatever bytes are in it.
pub fn read_plain_lossy_optional(path: &Path) -> Result<Option<String>, SysError> {
    Ok(read_plain(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_plain(path: &Path) -> Result<Option<Vec<u8>>, SysError> {
    const MOST: u64 = 1 << 20;
    let read = || -> io::Result<Option<Vec<u8>>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"));
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut file, MOST), &mut bytes)?;
        Ok(Some(bytes))
    };
    read().map_err(|e| SysError::path("read", path, e))
}

/// Reads a small file that somebody else writes, whatever bytes are in it; none when there is none.
pub fn read_lossy_optional(path: &Path) -> Result<Option<String>, SysError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SysError::path("read", path, e)),
    }
}

/// Names of a directory's entries; none when there is no directory.
pub fn names_in(dir: &Path) -> Result<Vec<String>, SysError> {
    let failed = |e| SysError::path("look into", dir, e);
    match fs::read_dir(dir) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()).map_err(failed)).collect()
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(failed(e)),
    }
}

/// Removes a file; fine when there is none.
pub fn remove_optional(path: &Path) -> Result<(), SysError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(SysError::path("remove", path, e)),
    }
}

/// Removes a directory with everything in it; fine when there is none.
pub fn remove_dir_all_optional(path: &Path) -> Result<(), SysError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(SysError::path("remove directory", path, e)),
    }
}

/// Makes the file of a lock that nobody holds yet, when it is missing.
pub fn make_lock(path: &Path) -> Result<(), SysError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(SysError::path("make lock", path, e)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// An exclusive lock on a file, held until dropped and by nobody else meanwhile. The kernel drops it with the process.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, or says that somebody holds it (`Ok(None)`). Never deletes the file: deleting a locked file lets
    /// two holders exist. A link is no lock.
    pub fn try_take(path: &Path) -> Result<Option<Self>, SysError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(|e| SysError::path("open lock", path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, path: path.to_owned() })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(SysError::path("lock", path, e)),
        }
    }

    /// Whether somebody holds the lock of this file; looked at without making the file.
    ///
    /// For an instant a shared lock is taken, so two who look do not disturb each other; who takes the lock in that instant
    /// must try again, as shims do. `/proc/locks` would disturb nobody, but leaves out a lock whose taker has died, which in
    /// a pid namespace is the lock of a node without its shim (fs/locks.c, locks_show).
    pub fn is_held(path: &Path) -> bool {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Goes on with a lock that an earlier program of this process took: `file` is its descriptor. None when it is not the
    /// file that lies at `path` now, or when somebody else holds the lock.
    pub fn go_on(file: File, path: &Path) -> Result<Option<Self>, SysError> {
        let failed = |e| SysError::path("look at lock", path, e);
        let (ours, theirs) = (file.metadata().map_err(failed)?, fs::metadata(path).map_err(failed)?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            return Ok(None);
        }
        // To lock again what one holds changes nothing (flock(2)).
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, path: path.to_owned() })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(SysError::path("lock", path, e)),
        }
    }

    /// Gives the lock back now; dropped it is afterwards. The close of a drop alone gives it back later while a child that
    /// another thread has forked, and that has not come to its exec, has a copy of the descriptor (flock(2)). Not for a lock
    /// that children hold on purpose.
    pub fn release(&self) {
        // Where it fails, the close is left, which does the same but for that moment.
        let _ = self.file.unlock();
    }

    /// The locked file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_the_place_of_another_or_of_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (new, path) = (place.path().join("new"), place.path().join("path"));
        let make = |text: &str| {
            fs::create_dir(&new).unwrap();
            fs::write(new.join("f"), text).unwrap();
        };
        make("1");
        put_in_place_of(&new, &path).unwrap();
        assert!(!new.exists());
        make("2");
        put_in_place_of(&new, &path).unwrap();
        let read = |dir: &Path| fs::read_to_string(dir.join("f")).unwrap();
        assert_eq!((read(&path), read(&new)), ("2".to_owned(), "1".to_owned()));
    }

    #[test]
    fn an_atomic_write_replaces_the_whole_file_and_sets_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "old and longer").unwrap();
        write_atomic(&path, b"new", 0o600, Durability::PowerLoss).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let own = format!(".f.{}.tmp", std::process::id());
        for name in [".f.4000000.tmp", own.as_str(), ".f.1.tmp", ".tmp", "f.tmp", ".f.x.tmp", "f"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join(".g.4000000.tmp"), "").unwrap();
        remove_torn_of(&dir.path().join("g"));
        assert!(!dir.path().join(".g.4000000.tmp").exists() && dir.path().join(".f.4000000.tmp").exists());
        remove_torn(dir.path());
        assert!(!dir.path().join(".f.4000000.tmp").exists(), "pids end at 4194304; this one is free here");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
    }

    #[test]
    fn what_is_planted_where_we_write_leads_no_byte_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, place) = (dir.path().join("victim"), dir.path().join("run"));
        fs::write(&victim, "theirs").unwrap();
        fs::create_dir(&place).unwrap();
        let temporary = place.join(format!(".f.{}.tmp", std::process::id()));
        std::os::unix::fs::symlink(&victim, &temporary).unwrap();
        write_atomic(&place.join("f"), b"ours", 0o600, Durability::ProcessCrash).unwrap();
        assert_eq!(fs::read_to_string(place.join("f")).unwrap(), "ours");
        // a link, another name of a file, a pipe
        let log = place.join("shim.log");
        let plants: [fn(&Path, &Path); 3] = [
            |victim, log| std::os::unix::fs::symlink(victim, log).unwrap(),
            |victim, log| fs::hard_link(victim, log).unwrap(),
            |_, log| nix::unistd::mkfifo(log, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        ];
        for plant in plants {
            plant(&victim, &log);
            open_append(&log, 0o640).unwrap().write_all(b"words").unwrap();
            assert_eq!(fs::read_to_string(&log).unwrap(), "words");
            fs::remove_file(&log).unwrap();
        }
        let lock = place.join("lock");
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        assert!(Lock::try_take(&lock).is_err() && !Lock::is_held(&lock));
        assert!(read_plain_optional(&lock).is_err() && read_plain_lossy_optional(&lock).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
    }

    #[test]
    fn a_directory_behind_a_link_of_another_user_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("tmp"));
        fs::create_dir(&victim).unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let mode = || fs::metadata(&victim).unwrap().mode() & 0o777;
        // The administrator's own link to a larger disk.
        make_dir(&link, 0o750).unwrap();
        assert_eq!(mode(), 0o750);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
            let e = make_dir(&link, 0o700).unwrap_err();
            assert_eq!(e.source.to_string(), "it is a link that uid 12345 has put there");
            assert!(own_dir(&link, (12_345, 12_345), 0o700).is_err());
            assert_eq!((mode(), fs::metadata(&victim).unwrap().uid()), (0o750, 0));
        }
    }

    #[test]
    fn missing_parents_are_made_and_those_that_are_there_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        make_parents(&dir.path().join("a/b/data"), None, 0o750).unwrap();
        make_parents(&dir.path().join("a/data"), None, 0o700).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode(""), mode("a"), mode("a/b")), (0o711, 0o750, 0o750));
        assert!(!dir.path().join("a/b/data").exists());
    }

    #[test]
    fn a_write_into_a_missing_directory_names_the_path() {
        let e = write_atomic(Path::new("/nonexistent/x"), b"", 0o600, Durability::ProcessCrash).unwrap_err();
        assert_eq!(e.to_string(), "cannot write /nonexistent/x");
    }

    #[test]
    fn the_directory_of_a_plain_name_is_the_current_one() {
        for path in ["name", "./name", "/name", "/"] {
            sync_parent(Path::new(path)).unwrap();
        }
    }

    #[test]
    fn a_released_lock_is_free_although_its_descriptor_lives_on_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_take(&path).unwrap().unwrap();
        let _copy = held.file().try_clone().unwrap();
        held.release();
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_take(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(Lock::is_held(&path));
        drop(held);
        assert!(!Lock::is_held(&path));
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
