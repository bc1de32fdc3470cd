//! The file system below a path: its kind, room and mount, how fast it syncs, and who holds locks on a file of it.

use super::error::SysError;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What lies below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// As the kernel's table of mounts has it: `ext4`, `tmpfs`, `nfs4`, `fuse.sshfs`; the magic number's name when the table
    /// does not tell.
    pub kind: String,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The device or server.
    pub source: String,
    /// What is deleted is told to the disk at once (`discard`, mount(8)).
    pub discards: bool,
    /// Nothing can be written.
    pub read_only: bool,
    /// The device number: two paths with the same one share the room.
    pub device: u64,
    /// Bytes an ordinary user may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Files that can still be made; none where the file system does not count them (btrfs).
    pub free_inodes: Option<u64>,
}

/// Looks at the file system of an existing path. May hang for as long as a network file system does not answer.
pub fn file_system(path: &Path) -> Result<FileSystem, SysError> {
    let failed = |e: std::io::Error| SysError::path("look at the file system of", path, e);
    // O_PATH needs no right to read, and does not wait for a fifo
    let handle = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path);
    let handle = handle.map_err(failed)?;
    let device = handle.metadata().map_err(failed)?.dev();
    let room = statvfs(path).map_err(|e| failed(e.into()))?;
    let unit = room.fragment_size();
    let mount = mount_of(&handle);
    let kind = match &mount {
        Some(mount) => mount.kind.clone(),
        None => super::host::file_system_kind(path)?,
    };
    Ok(FileSystem {
        kind,
        read_only: room.flags().contains(FsFlags::ST_RDONLY),
        device,
        free: room.blocks_available().saturating_mul(unit),
        total: room.blocks().saturating_mul(unit),
        free_inodes: (room.files() > 0).then(|| room.files_available()),
        mount: mount.as_ref().map_or_else(|| PathBuf::from("/"), |m| m.point.clone()),
        discards: mount.as_ref().is_some_and(|m| m.discards),
        source: mount.map(|m| m.source).unwrap_or_default(),
    })
}

/// Whether something is mounted at this very directory, also another directory of the same file system (`mount --bind`), which
/// device numbers do not tell. Where the table of mounts cannot be read: no.
pub fn is_mount_point(dir: &Path) -> bool {
    let handle = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(dir);
    let mount = handle.ok().and_then(|handle| mount_of(&handle));
    mount.is_some_and(|mount| dir.canonicalize().is_ok_and(|dir| dir == mount.point))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    kind: String,
    point: PathBuf,
    source: String,
    discards: bool,
}

/// The mount of an open file: `mnt_id` of its fdinfo (proc(5)) in the table. The longest prefix of a path would be wrong
/// below symbolic links and mounts that cover each other.
fn mount_of(handle: &File) -> Option<Mount> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).ok()?;
    let id: u64 = info.lines().find_map(|l| l.strip_prefix("mnt_id:"))?.trim().parse().ok()?;
    mount_with(&fs::read_to_string("/proc/self/mountinfo").ok()?, id)
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda1 rw` (proc(5)).
fn mount_with(table: &str, id: u64) -> Option<Mount> {
    table.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ');
        if left.next()?.parse() != Ok(id) {
            return None;
        }
        let point = left.nth(3)?;
        let mut right = right.split(' ');
        let (kind, source) = (right.next()?, right.next()?);
        // of the file system, behind the source; `discard=async` is btrfs's
        let discards = right.next().is_some_and(|o| o.split(',').any(|o| o == "discard" || o.starts_with("discard=")));
        Some(Mount { kind: kind.to_owned(), point: unescape(point).into(), source: unescape(source), discards })
    })
}

/// Blanks and the like are written as `\040` in mountinfo.
pub(super) fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Writes 4 KiB and syncs it, again and again, `times` or until `limit` has passed: how long each sync took, sorted. The
/// file has no name (O_TMPFILE), so nothing stays whatever happens; a file system that has no such files is an error.
pub fn sync_times(dir: &Path, times: usize, limit: Duration) -> Result<Vec<Duration>, SysError> {
    let failed = |e: std::io::Error| SysError::path("write a test file into", dir, e);
    let open = OpenOptions::new().write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(dir);
    let mut file = open.map_err(failed)?;
    let block = [0x5a_u8; 4096];
    let began = Instant::now();
    let mut took = Vec::new();
    while took.len() < times && (took.is_empty() || began.elapsed() < limit) {
        file.write_all(&block).map_err(failed)?;
        let start = Instant::now();
        // fdatasync: what Kafka's flush and InnoDB's log use
        file.sync_data().map_err(failed)?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    Ok(took)
}

/// Whether the disk below a file system wants to be told what is free (a solid-state disk, a thin volume); none: the kernel does
/// not show it, as for file systems of several disks and containers.
pub fn is_trimmed(device: u64) -> Option<bool> {
    let block = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    // a partition has its disk above it
    let granularity = ["queue", "../queue"].into_iter().find_map(|queue| {
        fs::read_to_string(format!("{block}/{queue}/discard_max_bytes")).ok()?.trim().parse::<u64>().ok()
    });
    granularity.map(|bytes| bytes > 0)
}

/// Processes that hold a lock on an existing file, as the kernel's list has them (proc_locks(5)). A lock of an open file
/// description has no process (`-1`) and is none here; those of other pid namespaces are 0.
pub fn lock_holders(path: &Path) -> Vec<i32> {
    let Ok(meta) = fs::metadata(path) else { return Vec::new() };
    let list = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut holders = holders_in(&list, meta.dev(), meta.ino());
    holders.dedup();
    holders
}

/// `1: POSIX  ADVISORY  WRITE 4711 08:01:123 0 EOF`. The device is the superblock's, which stat(2) shows differently on btrfs
/// and overlayfs, so there only the inode is compared and the holder must have the file open.
fn holders_in(list: &str, device: u64, inode: u64) -> Vec<i32> {
    let exact = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    let rough = format!(":{inode}");
    let lines = list.lines().filter(|line| !line.contains("->"));
    let held = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, _, pid, file, ..] = fields[..] else { return None };
        (file == exact || file.ends_with(&rough)).then(|| pid.parse::<i32>().ok())?
    };
    lines.filter_map(held).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_told_from_a_directory_of_a_mount() {
        assert!(is_mount_point(Path::new("/proc")) && is_mount_point(Path::new("/")));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        assert!(!is_mount_point(&dir.path().join("below")));
        assert!(!is_mount_point(Path::new("/proc/self/fdinfo")) && !is_mount_point(Path::new("/none")));
    }

    #[test]
    fn the_file_system_of_a_path_has_a_kind_a_mount_and_room() {
        let dir = tempfile::tempdir().unwrap();
        let found = file_system(dir.path()).unwrap();
        assert!(!found.kind.is_empty() && !found.kind.starts_with("0x"), "{found:?}");
        assert!(dir.path().canonicalize().unwrap().starts_with(&found.mount), "{found:?}");
        assert!(!found.read_only && found.total > found.free);
        assert_eq!(file_system(Path::new("/proc/self")).unwrap().kind, "proc");
        let e = file_system(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(e.to_string(), "cannot look at the file system of /nonexistent");
    }

    #[test]
    fn a_mount_is_found_by_its_number_with_blanks_in_its_name() {
        let table = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            36 21 0:42 /sub /srv/my\\040data rw shared:7 master:1 - nfs4 server:/x\\040y rw,hard\n";
        let found = mount_with(table, 36).unwrap();
        assert_eq!((found.kind.as_str(), found.source.as_str()), ("nfs4", "server:/x y"));
        assert_eq!(found.point, Path::new("/srv/my data"));
        assert_eq!(mount_with(table, 3), None);
        assert_eq!(mount_with("garbage\n", 36), None);
    }

    #[test]
    fn syncs_are_timed_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let took = sync_times(dir.path(), 3, Duration::from_secs(60)).unwrap();
        assert!(took.len() == 3 && took.is_sorted());
        assert_eq!(sync_times(dir.path(), 1000, Duration::ZERO).unwrap().len(), 1, "one at least");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(sync_times(&dir.path().join("none"), 1, Duration::ZERO).is_err());
    }

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(lock_holders(&path).is_empty());
        file.lock().unwrap();
        assert_eq!(lock_holders(&path), [i32::try_from(std::process::id()).unwrap()]);
        let list = "1: POSIX  ADVISORY  WRITE 4711 08:01:123 0 EOF\n1: -> POSIX  ADVISORY  WRITE 9 08:01:123 0 EOF\n\
            2: OFDLCK ADVISORY  READ -1 08:01:123 0 EOF\nx\n3: FLOCK ADVISORY WRITE 12 08:01:99123 0 EOF\n";
        assert_eq!(holders_in(list, libc::makedev(8, 1), 123), [4711]);
    }
}
