//! Processes as /proc shows them: which belong to a root, who is whose parent, does one still live.

use nix::{sys::signal, unistd::Pid};
use std::{fs, os::unix::ffi::OsStrExt, path::Path};

/// Every living process, this one excepted, that names `home` in its command line, environment, working directory, or holds
/// a file below it open.
pub fn of_root(home: &Path) -> Vec<i32> {
    let needle = home.as_os_str().as_bytes();
    let me = std::process::id().cast_signed();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != me && !is_yet_to_be(*pid, me) && belongs(*pid, needle) && alive(*pid)).collect()
}

/// A child of this program that another test has forked this instant, and that is no other program yet: it holds copies of whatever this
/// program has open, so also of a file that was just being written below the root.
fn is_yet_to_be(pid: i32, me: i32) -> bool {
    parent(pid) == Some(me) && program(pid) == program(me)
}

fn belongs(pid: i32, needle: &[u8]) -> bool {
    let within = |bytes: &[u8]| {
        bytes
            .windows(needle.len())
            .enumerate()
            .any(|(at, w)| w == needle && bytes.get(at + needle.len()).is_none_or(|next| !next.is_ascii_alphanumeric()))
    };
    let base = format!("/proc/{pid}");
    for file in ["cmdline", "environ"] {
        if fs::read(format!("{base}/{file}")).is_ok_and(|bytes| within(&bytes)) {
            return true;
        }
    }
    let links = fs::read_dir(format!("{base}/fd")).into_iter().flatten().flatten().map(|e| e.path());
    links
        .chain([format!("{base}/cwd").into()])
        .filter_map(|link| fs::read_link(link).ok())
        .any(|target| within(target.as_os_str().as_bytes()))
}

/// Pid and command line of each, for messages.
pub fn describe(pids: &[i32]) -> String {
    let one = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
    };
    pids.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Fields of `/proc/PID/stat` from the third on (the second may hold anything in its parentheses).
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// Whether the process exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// The parent's pid.
pub fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// When it was started, in ticks since boot: with the pid, an identity.
pub fn started(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// The program it runs; empty when that cannot be read.
pub fn program(pid: i32) -> String {
    fs::read_link(format!("/proc/{pid}/exe")).map(|p| p.display().to_string()).unwrap_or_default()
}

/// Sends a signal; a process that is gone already is no error.
pub fn kill(pid: i32, number: i32) {
    assert!(pid > 1, "refuse to signal pid {pid}");
    let number = signal::Signal::try_from(number).expect("a signal");
    let _ = signal::kill(Pid::from_raw(pid), number);
}

/// The pid in a file that a fake daemon wrote; none while it is not there.
pub fn pid_in(file: &str) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
