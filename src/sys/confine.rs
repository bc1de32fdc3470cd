//! A child in surroundings of its own: a small file system that only it and what comes from it sees, another user, and an end that
//! comes with its parent's.

use super::{error::SysError, stop_signals};
use crate::base::ByteSize;
use std::{
    ffi::{CStr, CString},
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt},
            process::CommandExt,
        },
    },
    path::Path,
    process::Command,
    ptr,
    sync::Arc,
};

/// A user as a process becomes it: uid, gid, supplementary groups.
pub type User = (u32, u32, Vec<u32>);

/// Everything is made before the fork: after it the child makes system calls only (fork(2), signal-safety(7)).
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    disk: Option<Disk>,
    user: Option<User>,
}

#[derive(Clone, Debug)]
struct Disk {
    /// The directory that it lies on. A path could lead elsewhere by the time it is mounted.
    at: Arc<File>,
    options: CString,
    /// A file that is made on it.
    mark: CString,
    /// What `/proc/self/uid_map` and `gid_map` get, where a user namespace is needed to mount.
    maps: Option<(CString, CString)>,
}

impl Surroundings {
    /// The child's end comes with this thread's, by SIGTERM.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tmpfs of this size lies at `at` for the child: in a mount namespace of its own, so that nobody else sees it and that it
    /// goes with the last process in there. `mark` is an empty file that is made on it. An ordinary user needs a user namespace
    /// for it (user_namespaces(7)), in which every id is its own. `at` must be a directory of the user that the child becomes, no
    /// link to one: name the user before.
    pub fn with_disk(mut self, at: &Path, size: ByteSize, mark: &Path) -> Result<Self, SysError> {
        let failed = |e: std::ffi::NulError| SysError::path("mount on", at, io::Error::from(e));
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let (owner, group) = self.user.as_ref().map_or((uid, gid), |(uid, gid, _)| (*uid, *gid));
        let options = format!("size={},mode=0750,uid={owner},gid={group}", size.0);
        let map = |id: u32| CString::new(format!("{id} {id} 1\n"));
        // Who becomes another user has root to go back to.
        let privileged = uid == 0 || self.user.is_some();
        let maps = if privileged { None } else { Some((map(uid).map_err(failed)?, map(gid).map_err(failed)?)) };
        let open = || {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let dir = OpenOptions::new().read(true).custom_flags(flags).open(at)?;
            let theirs = dir.metadata()?.uid();
            if theirs != owner {
                let text = format!("it belongs to uid {theirs}, and not to uid {owner}");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            Ok(dir)
        };
        self.disk = Some(Disk {
            at: Arc::new(open().map_err(|e| SysError::path("mount on", at, e))?),
            options: CString::new(options).map_err(failed)?,
            mark: CString::new(mark.as_os_str().as_bytes()).map_err(failed)?,
            maps,
        });
        Ok(self)
    }

    /// The child becomes this user. Only root can, also one that acts as somebody else just now (`credentials::act_as`).
    #[must_use]
    pub fn as_user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Has the command begin in them. Its spawn fails with the kernel's reason where they cannot be had. The working directory is
    /// `/` then.
    pub fn apply(&self, command: &mut Command) {
        let own = self.clone();
        let parent = nix::unistd::getpid().as_raw();
        // SAFETY: between fork and exec `enter` makes system calls with what lies ready, and allocates nothing.
        unsafe { command.pre_exec(move || own.enter(parent)) };
    }

    fn enter(&self, parent: i32) -> io::Result<()> {
        // The daemon keeps the one that is to end this child.
        stop_signals::let_through()?;
        if self.user.is_some() {
            // Root again, where this program has laid it down meanwhile: for the mount and the change of user.
            // SAFETY: takes a number only.
            called(unsafe { libc::seteuid(0) })?;
        }
        if let Some(disk) = &self.disk {
            disk.mount()?;
        }
        if let Some((uid, gid, groups)) = &self.user {
            // SAFETY: the list and its length belong together; the calls change ids of this process alone.
            unsafe {
                called(libc::setgroups(groups.len(), groups.as_ptr()))?;
                called(libc::setgid(*gid))?;
                called(libc::setuid(*uid))?;
            }
        }
        if let Some(disk) = &self.disk {
            disk.leave_mark()?;
        }
        // Behind the change of user, which clears it (prctl(2)).
        // SAFETY: both take numbers only or nothing.
        unsafe {
            called(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM))?;
            // The parent may have died before the line above.
            if libc::getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        }
    }
}

impl Disk {
    fn mount(&self) -> io::Result<()> {
        // Before the new namespace is there: the working directory goes along into it, an open descriptor would stay in the old
        // one, where nothing can be mounted from here (unshare(2); fs/namespace.c, copy_mnt_ns and check_mnt).
        // SAFETY: the descriptor is open as long as `self` lives.
        called(unsafe { libc::fchdir(self.at.as_raw_fd()) })?;
        let user = if self.maps.is_some() { libc::CLONE_NEWUSER } else { 0 };
        // SAFETY: the child of a fork has one thread, which is what a user namespace wants (unshare(2)).
        called(unsafe { libc::unshare(libc::CLONE_NEWNS | user) })?;
        if let Some((uids, gids)) = &self.maps {
            write(c"/proc/self/setgroups", b"deny")?;
            write(c"/proc/self/uid_map", uids.to_bytes())?;
            write(c"/proc/self/gid_map", gids.to_bytes())?;
        }
        // What is mounted here reaches no other namespace.
        // SAFETY: the strings end with NUL; null stands for what this kind of call does not look at (mount(2)).
        called(unsafe {
            libc::mount(c"none".as_ptr(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null())
        })?;
        // SAFETY: the strings end with NUL and live on.
        called(unsafe {
            libc::mount(
                c"drill".as_ptr(),
                c".".as_ptr(),
                c"tmpfs".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                self.options.as_ptr().cast(),
            )
        })?;
        // SAFETY: the string ends with NUL.
        called(unsafe { libc::chdir(c"/".as_ptr()) })
    }

    /// As the user that the child has become: by path, which is as far as their own rights reach.
    fn leave_mark(&self) -> io::Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        // SAFETY: the string ends with NUL; the descriptor is closed with the exec at the latest.
        called(unsafe { libc::open(self.mark.as_ptr(), flags, 0o644) })
    }
}

fn write(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the string ends with NUL; bytes and length belong together; the descriptor is this function's own.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        called(fd)?;
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        let failed = (written < 0).then(io::Error::last_os_error);
        libc::close(fd);
        failed.map_or(Ok(()), Err)
    }
}

/// What a system call returned.
fn called(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_small_file_system_is_seen_by_the_child_alone_and_is_as_small_as_it_is_told() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("small");
        std::fs::create_dir(&at).unwrap();
        let mark = at.join("mark");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "stat -f -c '%T %b %S' \"$1\"; ls \"$1\"", "sh"]).arg(&at).stdout(Stdio::piped());
        Surroundings::new().with_disk(&at, ByteSize::mib(8), &mark).unwrap().apply(&mut command);
        let child = match command.spawn() {
            Ok(child) => child,
            // A kernel that lets this user mount nothing says so, and nothing was run.
            Err(e) => {
                return assert!(matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSPC)), "{e}");
            }
        };
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!((words[0], words[3]), ("tmpfs", "mark"), "{said}");
        assert_eq!(words[1].parse::<u64>().unwrap() * words[2].parse::<u64>().unwrap(), 8 << 20, "{said}");
        assert!(!mark.exists(), "it is the child's alone");
    }

    #[test]
    fn nothing_is_mounted_on_a_link_or_on_what_belongs_to_somebody_else() {
        let place = tempfile::tempdir().unwrap();
        let (dir, link) = (place.path().join("d"), place.path().join("l"));
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let refused = |at: &Path| Surroundings::new().with_disk(at, ByteSize::mib(8), &at.join("mark")).unwrap_err();
        assert_eq!(refused(&link).kind(), io::ErrorKind::NotADirectory, "{:?}", refused(&link));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&dir, Some(65_534), Some(65_534)).unwrap();
            assert!(refused(&dir).source.to_string().contains("belongs to uid 65534"), "{:?}", refused(&dir));
        }
    }
}
