//! Facts about this machine: memory, cores, distribution, file systems.

use super::error::SysError;
use crate::base::ByteSize;
use nix::sys::{statfs, statvfs};
use std::{fs, path::Path};

/// Physical memory (`MemTotal` of /proc/meminfo, proc(5)); none when /proc does not tell.
pub fn total_memory() -> Option<ByteSize> {
    meminfo(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

/// What can be given out without swapping (`MemAvailable` of /proc/meminfo).
pub fn available_memory() -> Option<ByteSize> {
    meminfo(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

/// A line of /proc/meminfo by its name (`SwapTotal`, `CommitLimit`).
pub fn memory_line(name: &str) -> Option<ByteSize> {
    meminfo(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// The uid this process acts as.
pub fn euid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The name of a user; the number when it has none.
pub fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

/// Whether this process may write into an existing directory, or through an existing file (access(2)).
pub fn may_write(path: &Path) -> bool {
    check_write(path).is_ok()
}

/// As [`may_write`], with what stands against it: no permission, a file system that is read-only, a directory that is immutable.
pub fn check_write(path: &Path) -> std::io::Result<()> {
    let mode = nix::unistd::AccessFlags::W_OK;
    let mode = if path.is_dir() { mode | nix::unistd::AccessFlags::X_OK } else { mode };
    Ok(nix::unistd::access(path, mode)?)
}

/// Whether an existing path is on a file system that is read-only for this process (access(2), EROFS): a mount of a sandbox is,
/// whatever others see.
pub fn is_read_only(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK) == Err(nix::errno::Errno::EROFS)
}

fn meminfo(text: &str, key: &str) -> Option<ByteSize> {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024).map(ByteSize)
}

/// Cores this process may run on.
pub fn cores() -> usize {
    // An error here means an exotic sandbox; one core is what there is at least.
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`: `ubuntu`, `debian`.
    pub id: String,
    /// `VERSION_ID`: `24.04`; empty for a rolling release.
    pub version: String,
}

/// What os-release(5) says; empty fields when there is none.
pub fn os_release() -> OsRelease {
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    parse_os_release(&text.unwrap_or_default())
}

fn parse_os_release(text: &str) -> OsRelease {
    let value = |key: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
            .map(|v| v.trim().trim_matches(['"', '\'']).to_owned())
            .unwrap_or_default()
    };
    OsRelease { id: value("ID"), version: value("VERSION_ID") }
}

/// Whether this process has uid 0.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// As `is_root`, for a test that only root can run: says aloud that it is skipped. CI is root, so there it fails.
#[cfg(test)]
pub fn is_root_or_skipped(test: &str) -> bool {
    assert!(is_root() || std::env::var_os("CI").is_none(), "{test} cannot run: only root can");
    if !is_root() {
        let line = format!("{test}: only root can run it\n");
        std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {line}").as_bytes()).unwrap();
        // The list that `dist/test.sh` prints at its end.
        if let Some(list) = std::env::var_os("CDC_TEST_SKIPS") {
            let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
            std::io::Write::write_all(&mut list, line.as_bytes()).unwrap();
        }
    }
    is_root()
}

/// The kind of file system `path` lies on: `ext4`, `xfs`, `tmpfs`, `overlay`, ...; the magic number in hex for one
/// without a name here (statfs(2)).
pub fn file_system_kind(path: &Path) -> Result<String, SysError> {
    let magic =
        statfs::statfs(path).map_err(|e| SysError::path("look at the file system of", path, e))?.filesystem_type().0;
    // statfs(2), linux/magic.h
    const NAMES: [(i64, &str); 12] = [
        (0xEF53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794C_7630, "overlay"),
        (0x2FC1_2FC1, "zfs"),
        (0x6969, "nfs"),
        (0xFF53_4D42, "cifs"),
        (0x6573_5546, "fuse"),
        (0xF2F5_2010, "f2fs"),
        (0x6367_7270, "cgroup2"),
        (0x00C0_FFEE, "hostfs"),
    ];
    let magic = magic & 0xFFFF_FFFF;
    Ok(NAMES.iter().find(|(m, _)| *m == magic).map_or_else(|| format!("{magic:#x}"), |(_, n)| (*n).to_owned()))
}

/// Bytes that an ordinary user may still write on the file system of `path` (`f_bavail`, statvfs(3)).
pub fn free_space(path: &Path) -> Result<ByteSize, SysError> {
    let s = statvfs::statvfs(path).map_err(|e| SysError::path("look at the free space of", path, e))?;
    Ok(ByteSize(s.blocks_available().saturating_mul(s.fragment_size())))
}

/// The id of this installation (`/etc/machine-id`, machine-id(5)); empty when it has none, as in many containers.
pub fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_cores_and_a_file_system() {
        assert!(total_memory().unwrap() >= available_memory().unwrap());
        assert!(cores() >= 1);
        assert!(!file_system_kind(Path::new("/")).unwrap().is_empty());
        assert!(free_space(Path::new("/")).is_ok());
        assert_eq!(
            free_space(Path::new("/nonexistent/x")).unwrap_err().to_string(),
            "cannot look at the free space of /nonexistent/x"
        );
    }

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        let o = parse_os_release("NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n");
        assert_eq!((o.id.as_str(), o.version.as_str()), ("ubuntu", "24.04"));
        assert_eq!(parse_os_release(""), OsRelease::default());
    }

    #[test]
    fn meminfo_is_in_kib_and_a_missing_key_is_none() {
        assert_eq!(meminfo("MemTotal:       16384 kB\n", "MemTotal"), Some(ByteSize::mib(16)));
        assert_eq!(meminfo("MemTotal: x kB\n", "MemTotal"), None);
        assert_eq!(meminfo("", "MemTotal"), None);
    }
}
