//! A child in surroundings of its own: a small file system that only it and what comes from it sees, another user, and an end that
//! comes with its parent's.

use super::error::SysError;
use crate::base::ByteSize;
use std::{
    ffi::{CStr, CString},
    io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::Command,
    ptr,
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
    at: CString,
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
    /// for it (user_namespaces(7)), in which every id is its own.
    pub fn with_disk(mut self, at: &Path, size: ByteSize, mark: &Path) -> Result<Self, SysError> {
        let failed = |e: std::ffi::NulError| SysError::path("mount on", at, io::Error::from(e));
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let (owner, group) = self.user.as_ref().map_or((uid, gid), |(uid, gid, _)| (*uid, *gid));
        let options = format!("size={},mode=0750,uid={owner},gid={group}", size.0);
        let map = |id: u32| CString::new(format!("{id} {id} 1\n"));
        let maps = if uid == 0 { None } else { Some((map(uid).map_err(failed)?, map(gid).map_err(failed)?)) };
        self.disk = Some(Disk {
            at: CString::new(at.as_os_str().as_bytes()).map_err(failed)?,
            options: CString::new(options).map_err(failed)?,
            mark: CString::new(mark.as_os_str().as_bytes()).map_err(failed)?,
            maps,
        });
        Ok(self)
    }

    /// The child becomes this user. Only root can.
    #[must_use]
    pub fn as_user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Has the command begin in them. Its spawn fails with the kernel's reason where they cannot be had.
    pub fn apply(&self, command: &mut Command) {
        let own = self.clone();
        // SAFETY: between fork and exec `enter` makes system calls with what lies ready, and allocates nothing.
        unsafe { command.pre_exec(move || own.enter()) };
    }

    fn enter(&self) -> io::Result<()> {
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
        // Behind the change of user, which clears it (prctl(2)).
        // SAFETY: takes numbers only.
        called(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })
    }
}

impl Disk {
    fn mount(&self) -> io::Result<()> {
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
                self.at.as_ptr(),
                c"tmpfs".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                self.options.as_ptr().cast(),
            )
        })?;
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
}
