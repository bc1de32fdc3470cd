//! Processes: who one is, whether it still lives, what is below it, and how a shim is started.

use super::{children, clock, error::SysError};
use crate::base::{ExitStatus, Incarnation, Moment, NodeName, Timestamp, ids::ProcessId};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        prctl,
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Gid, Group, Pid, Uid, User, getgrouplist, setgid, setgroups, setuid},
};
use std::{
    ffi::{CString, OsString},
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
    process::{Command, Stdio},
};

/// What `/proc/PID/stat` says that matters here (proc(5)).
struct Stat {
    /// Field 3.
    state: u8,
    /// Field 4.
    parent: i32,
    /// Field 22.
    start_ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // the second field is the program's name in parentheses and may hold anything, parentheses and blanks too
    let rest = std::str::from_utf8(bytes.get(memchr::memrchr(b')', bytes)? + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, start_ticks })
}

/// Who `pid` is now; none when there is no such process.
pub fn identity(pid: i32) -> Option<ProcessId> {
    Some(ProcessId { pid, start_ticks: stat(pid)?.start_ticks, boot_id: clock::boot_id().to_owned() })
}

/// Whether exactly this process still lives. A zombie counts as dead, and so does one of an earlier boot.
pub fn is_same_alive(process: &ProcessId) -> bool {
    process.boot_id == clock::boot_id()
        && stat(process.pid).is_some_and(|s| s.start_ticks == process.start_ticks && !matches!(s.state, b'Z' | b'X'))
}

/// Whether a process with this pid lives; a zombie does not.
pub fn lives(pid: i32) -> bool {
    stat(pid).is_some_and(|s| !matches!(s.state, b'Z' | b'X'))
}

/// The parent of `pid`.
pub fn parent(pid: i32) -> Option<i32> {
    Some(stat(pid)?.parent)
}

/// A descriptor that means this process and no later one with its pid; readable once it ended (pidfd_open(2)).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes a pid and flags, and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec by itself); nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process of a pidfd; ESRCH when it was reaped (pidfd_send_signal(2)).
pub fn pidfd_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo means "as kill(2)"; no memory of ours is touched.
    let r = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal, one of the real-time ones too, to the process that has this pid now. Only where there is no pidfd.
pub fn signal_pid(pid: i32, signal: i32) -> io::Result<()> {
    // 0 and below are groups of processes (kill(2))
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: kill(2) takes two numbers.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// SIGCONT to a process that was stopped, if it is still that one; none: it is not there any more.
pub fn go_on(stopped: &ProcessId) -> Option<io::Result<()>> {
    // The descriptor is taken first: what it names afterwards is looked at through it.
    let pidfd = pidfd_open(stopped.pid).ok()?;
    is_same_alive(stopped).then(|| pidfd_signal(&pidfd, libc::SIGCONT))
}

/// Orphans below this process become its children from now on (prctl(2), PR_SET_CHILD_SUBREAPER).
pub fn set_child_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Lets everybody else go first, on the processor and on the disk. Best effort: nothing depends on it.
pub fn lower_priority_of_this_thread() {
    // linux/ioprio.h; libc has neither
    const IOPRIO_WHO_PROCESS: i32 = 1;
    const IOPRIO_IDLE: i32 = 3 << 13;
    // SAFETY: both calls take numbers only; 0 means the calling thread (setpriority(2), "C library/kernel differences", and
    // ioprio_set(2)).
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
    }
}

/// The cgroup v2 group of a process, as its own `/proc` shows it (cgroups(7)); none when it is gone or in none.
pub fn cgroup_of(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("0::")).map(str::to_owned)
}

/// Direct children of every thread of `pid` (`/proc/PID/task/*/children`; needs CONFIG_PROC_CHILDREN, on in Debian and
/// Ubuntu). Zombies are among them.
pub fn children_of(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        if let Ok(list) = fs::read_to_string(task.path().join("children")) {
            found.extend(list.split_ascii_whitespace().filter_map(|p| p.parse::<i32>().ok()));
        }
    }
    found
}

/// Everything below `pid`, parents before children. A snapshot: forks meanwhile are missed.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children_of(pid);
    let mut next = 0;
    while let Some(&p) = found.get(next) {
        next += 1;
        for child in children_of(p) {
            // a pid seen twice can only come from one that moved up while we looked
            if !found.contains(&child) {
                found.push(child);
            }
        }
    }
    found
}

/// Every process on the machine.
pub fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Processes that have this file open (device and inode over `/proc/*/fd`). Those of other users are not seen by an
/// ordinary user.
pub fn holders_of(path: &Path) -> Vec<i32> {
    // A link is no file of ours: it would name the holders of another one.
    let Ok(wanted) = fs::symlink_metadata(path) else { return Vec::new() };
    all().into_iter().filter(|pid| has_open(*pid, &wanted)).collect()
}

fn has_open(pid: i32, wanted: &fs::Metadata) -> bool {
    descriptors(pid).any(|link| fs::metadata(link).is_ok_and(|m| m.dev() == wanted.dev() && m.ino() == wanted.ino()))
}

/// Sends a signal to a process that has this file open. One that has ended meanwhile is left alone, and so is whoever got its
/// number: the descriptor is taken first and the look comes after it.
pub fn signal_holder(pid: i32, path: &Path, signal: i32) {
    let (Ok(fd), Ok(wanted)) = (pidfd_open(pid), fs::symlink_metadata(path)) else { return };
    if has_open(pid, &wanted) {
        // ESRCH: it went by itself.
        let _ = pidfd_signal(&fd, signal);
    }
}

/// Whether a process has a file below a directory open to write. `dir` is compared with the kernel's names, so links in it must
/// be resolved. False for a process that may not be looked at.
pub fn writes_below(pid: i32, dir: &Path) -> bool {
    descriptors(pid).any(|link| {
        fs::read_link(&link).is_ok_and(|file| file.starts_with(dir))
            && link.file_name().and_then(|n| n.to_str()).is_some_and(|number| is_open_to_write(pid, number))
    })
}

/// `flags:\t0100001`: octal, the access mode in the last two bits (proc(5), fdinfo; open(2)).
fn is_open_to_write(pid: i32, descriptor: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
    flags.and_then(|f| i32::from_str_radix(f.trim(), 8).ok()).is_some_and(|f| f & libc::O_ACCMODE != libc::O_RDONLY)
}

/// Its arguments, the program's name first; none for a kernel thread, a zombie, and one that is gone.
pub fn arguments(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).filter(|w| !w.is_empty()).map(|w| String::from_utf8_lossy(w).into_owned()).collect()
}

/// The entries of `/proc/PID/fd`.
pub(super) fn descriptors(pid: i32) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().map(|e| e.path())
}

/// The command line, blanks between arguments; the name in brackets when it has none (a zombie, a kernel thread); empty
/// when there is no such process.
pub fn command_line(pid: i32) -> String {
    let words = arguments(pid);
    if words.is_empty() {
        return fs::read_to_string(format!("/proc/{pid}/comm"))
            .map_or_else(|_| String::new(), |name| format!("[{}]", name.trim()));
    }
    words.join(" ")
}

/// The uid it runs as; none: it is gone.
pub fn uid_of(pid: i32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|meta| meta.uid())
}

/// The user it runs as: the name, or the uid when it has no name.
pub fn user_of(pid: i32) -> Option<String> {
    let uid = uid_of(pid)?;
    Some(match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    })
}

/// When it was started, on the clock that nobody sets; none for a process of an earlier boot.
pub fn started(process: &ProcessId) -> Option<Moment> {
    (process.boot_id == clock::boot_id()).then(|| since_boot(process.start_ticks))?
}

/// Clock ticks since boot as a moment: since Linux 2.6 field 22 counts CLOCK_BOOTTIME, as `clock::now` does.
fn since_boot(ticks: u64) -> Option<Moment> {
    let per_second = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??).ok()?;
    Some(Moment(ticks.checked_mul(1000)?.checked_div(per_second)?))
}

/// When it was started.
pub fn started_at(pid: i32) -> Option<Timestamp> {
    let age = clock::now().0.saturating_sub(since_boot(stat(pid)?.start_ticks)?.0);
    Some(Timestamp(clock::wall().0.saturating_sub_unsigned(age)))
}

/// Starts a shim from an absolute path: standard input is its end of the socketpair, the environment is empty. Its pid is registered with
/// [`children`]; whoever sees its end calls [`try_wait`]. The arguments serve `ps` only.
pub fn spawn_shim(
    program: &Path,
    socket: OwnedFd,
    stderr: File,
    (node, incarnation): (&NodeName, Incarnation),
) -> Result<i32, SysError> {
    let mut command = Command::new(program);
    command.arg(node.as_str()).arg(incarnation.to_string()).stderr(stderr);
    spawn_with(command, socket)
}

/// The argument of a shim that has no node yet; no node can have a name with a blank.
pub const IN_RESERVE: &str = "in reserve";

/// Bytes of the longest node's name and the longest start's number, each with its NUL.
const NAME_ROOM: usize = NodeName::MAX_BYTES + 1 + 21;

/// As [`spawn_shim`], for a node that is not known yet. Standard error is this process's own until the order comes. Empty
/// arguments leave room on the command line for the node's name.
pub fn spawn_reserve_shim(program: &Path, socket: OwnedFd) -> Result<i32, SysError> {
    let mut command = Command::new(program);
    command.arg(IN_RESERVE).args(std::iter::repeat_n("", NAME_ROOM));
    spawn_with(command, socket)
}

fn spawn_with(mut command: Command, socket: OwnedFd) -> Result<i32, SysError> {
    command.env_clear().current_dir("/").stdin(socket).stdout(Stdio::null());
    let child = children::spawn_owned(|| command.spawn())
        .map_err(|e| SysError::path("run", Path::new(command.get_program()), e))?;
    // std has it from a pid_t
    Ok(i32::try_from(child.id()).unwrap_or_default())
}

/// Makes this process another program: same pid, same children, same environment; of the descriptors only 0, 1, 2 and `keep`.
/// Returns only when the kernel refuses, and then nothing has changed.
pub fn replace_program(program: &Path, arguments: &[OsString], keep: &[BorrowedFd]) -> SysError {
    let refused = |e: io::Error| SysError::path("run", program, e);
    let c = |bytes: &[u8]| CString::new(bytes).map_err(|e| refused(e.into()));
    let prepared = (|| {
        let path = c(program.as_os_str().as_bytes())?;
        let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
        let argv = words.map(|word| c(word.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let pairs = std::env::vars_os().map(|(k, v)| c(&[k.as_bytes(), b"=", v.as_bytes()].concat()));
        Ok((path, argv, pairs.collect::<Result<Vec<_>, _>>()?))
    })();
    let (path, argv, envp) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => return e,
    };
    // A child made between these lines would inherit the descriptors and keep a lock for as long as it lives.
    children::without_spawns(|| {
        // A library may have left one without the flag (close_range(2), Linux 5.11); one refused is one leaked, no more.
        // SAFETY: only flags of descriptors change.
        unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        for fd in keep {
            if let Err(e) = set_inherited(*fd, true) {
                return refused(e);
            }
        }
        let refusal = match nix::unistd::execve(&path, &argv, &envp) {
            Err(e) => refused(e.into()),
            Ok(never) => match never {},
        };
        for fd in keep {
            // It was possible a moment ago.
            let _ = set_inherited(*fd, false);
        }
        refusal
    })
}

fn set_inherited(fd: BorrowedFd, inherited: bool) -> io::Result<()> {
    let flags = if inherited { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop).map_err(Into::into)
}

/// A descriptor that an earlier program of this process has kept open for us ([`replace_program`]); none when it is not open.
///
/// To be called before anything else opens descriptors, once per number: who opens later must not get it.
pub fn inherited(number: i32) -> Option<OwnedFd> {
    if number < 3 {
        return None;
    }
    // SAFETY: F_SETFD only changes a flag, and fails for a number that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: it is open, and by the caller's promise nobody in this program owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The status of a registered child that ended, reaping it and forgetting the registration; none while it runs. One that
/// is no child (any more) is `Unknown`.
pub fn try_wait(pid: i32) -> Option<ExitStatus> {
    let status = match waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::EINTR) => return None,
        Ok(WaitStatus::Exited(_, code)) => ExitStatus::Code(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => ExitStatus::Signal(signal as i32),
        Ok(_) | Err(_) => ExitStatus::Unknown,
    };
    children::release(pid);
    Some(status)
}

/// A user as a process becomes it: uid, gid, supplementary groups. None when there is no such user.
pub fn lookup_user(name: &str) -> Result<Option<(u32, u32, Vec<u32>)>, SysError> {
    let doing = || format!("look up user {name}");
    let Some(user) = User::from_name(name).map_err(|e| SysError::new(doing(), e))? else { return Ok(None) };
    let c_name = CString::new(name).map_err(|e| SysError::new(doing(), e))?;
    let groups = getgrouplist(&c_name, user.gid).map_err(|e| SysError::new(doing(), e))?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw(), groups.into_iter().map(Gid::as_raw).collect())))
}

/// This process, with all its threads, is that user from now on and for good. Only root can.
pub fn become_user(user: &(u32, u32, Vec<u32>)) -> Result<(), SysError> {
    let (uid, gid, groups) = user;
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    // In this order: each takes away the right to the one before.
    setgroups(&groups)
        .and_then(|()| setgid(Gid::from_raw(*gid)))
        .and_then(|()| setuid(Uid::from_raw(*uid)))
        .map_err(|e| SysError::new(format!("become the user with uid {uid}"), e))
}

/// The gid of a group; none when there is no such group.
pub fn lookup_group(name: &str) -> Result<Option<u32>, SysError> {
    let group = Group::from_name(name).map_err(|e| SysError::new(format!("look up group {name}"), e))?;
    Ok(group.map(|g| g.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, time::Duration};

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    fn poll<T>(mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..2000 {
            if let Some(found) = look() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("not seen within 10 s");
    }

    #[test]
    fn a_real_time_signal_reaches_a_process_without_a_pidfd() {
        use std::os::unix::process::ExitStatusExt;
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        signal_pid(i32::try_from(child.id()).unwrap(), 37).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(37));
        assert!(signal_pid(0, 37).is_err() && signal_pid(-1, 37).is_err());
    }

    #[test]
    fn a_process_is_itself_until_it_ends_and_a_zombie_is_dead() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let id = identity(pid).unwrap();
        let fd = pidfd_open(pid).unwrap();
        assert!(is_same_alive(&id));
        for stranger in [
            ProcessId { pid, start_ticks: id.start_ticks + 1, boot_id: id.boot_id.clone() },
            ProcessId { pid, start_ticks: id.start_ticks, boot_id: "other".into() },
        ] {
            assert!(!is_same_alive(&stranger));
        }
        pidfd_signal(&fd, libc::SIGKILL).unwrap();
        poll(|| (!is_same_alive(&id)).then_some(()));
        assert!(identity(pid).is_some(), "not reaped yet");
        child.wait().unwrap();
        assert!(identity(pid).is_none());
        assert_eq!(pidfd_signal(&fd, libc::SIGKILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_stat_line_is_read_behind_the_last_parenthesis() {
        let s = parse_stat(b"7 (a) b) (c) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2").unwrap();
        assert_eq!((s.state, s.parent, s.start_ticks), (b'S', 3, 4711));
        for torn in [&b""[..], b"7 (sh", b"7 (sh)", b"7 (sh) S", b"7 (sh) S 3 7"] {
            assert!(parse_stat(torn).is_none());
        }
    }

    #[test]
    fn descendants_are_found_through_a_new_session() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "setsid sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let below = poll(|| descendants(pid).into_iter().find(|p| command_line(*p) == "sleep 1000"));
        assert!(descendants(own()).contains(&below) && parent(below) == Some(pid));
        assert_eq!(user_of(below), user_of(own()));
        let age = clock::wall().0 - started_at(below).unwrap().0;
        assert!((-1000..60_000).contains(&age), "{age}");
        nix::sys::signal::kill(Pid::from_raw(below), nix::sys::signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_holder_of_a_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(holders_of(&path).is_empty());
        let held = File::create(&path).unwrap();
        assert_eq!(holders_of(&path), [own()]);
        drop(held);
        assert!(holders_of(&path).is_empty());
    }

    #[test]
    fn root_is_known_and_nobody_of_a_made_up_name() {
        let (uid, gid, groups) = lookup_user("root").unwrap().unwrap();
        assert_eq!((uid, gid), (0, 0));
        assert!(groups.contains(&0));
        assert_eq!(lookup_user("no-such-user-here").unwrap(), None);
        assert_eq!(lookup_group("root").unwrap(), Some(0));
        assert_eq!(lookup_group("no-such-group-here").unwrap(), None);
    }

    #[test]
    fn a_missing_shim_is_named() {
        let (a, _b) = super::super::socket::socketpair().unwrap();
        let e = spawn_shim(
            Path::new("/nonexistent/cdc-shim"),
            a,
            File::open("/dev/null").unwrap(),
            (&NodeName::mysql(), Incarnation(1)),
        )
        .unwrap_err();
        assert_eq!(e.to_string(), "cannot run /nonexistent/cdc-shim");
    }
}
