//! Processes as /proc shows them: memory, context switches, what is below a directory, and the wait for their ends.

use crate::report::Measured;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill as signal},
    unistd::Pid,
};
use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    time::{Duration, Instant},
};

/// Sends a signal; a process that is gone is no error.
pub fn kill(pid: i32, what: Signal) {
    assert!(pid > 1, "refuse to signal pid {pid}");
    let _ = signal(Pid::from_raw(pid), what);
}

/// Memory of one process, kB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Its share of what is shared included.
    pub pss: u64,
    /// Nobody else's, file pages included.
    pub private: u64,
    /// Without a file behind it.
    pub anonymous: u64,
}

/// From `/proc/PID/smaps_rollup` (proc(5)); nothing of a process that is gone.
pub fn memory(pid: i32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|l| l.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    Memory {
        rss: field("Rss"),
        pss: field("Pss"),
        private: field("Private_Clean") + field("Private_Dirty"),
        anonymous: field("Anonymous"),
    }
}

/// Context switches of all threads so far: each wake-up is one.
pub fn switches(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |path: &Path| -> u64 {
        let text = fs::read_to_string(path.join("status")).unwrap_or_default();
        let lines = text.lines().filter(|l| l.contains("ctxt_switches"));
        lines.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    tasks.map(|t| of(&t.path())).sum()
}

/// How many threads it has.
pub fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// The name of its program's file.
pub fn program(pid: i32) -> String {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    exe.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// Direct children.
pub fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    lists.flat_map(|l| l.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// Everything below a process.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut at = 0;
    while let Some(&next) = found.get(at) {
        at += 1;
        found.extend(children(next));
    }
    found
}

/// The parent.
pub fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Whether it exists and is no zombie.
pub fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| text.rsplit_once(") ").map(|(_, rest)| !rest.starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// Every living process but this one whose command line, directory or open files name `home`.
pub fn of_home(home: &Path) -> Vec<i32> {
    let needle = home.as_os_str().as_bytes();
    let within = |bytes: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own && *pid > 1)
        .filter(|pid| {
            let base = format!("/proc/{pid}");
            let links = fs::read_dir(format!("{base}/fd")).into_iter().flatten().flatten().map(|e| e.path());
            fs::read(format!("{base}/cmdline")).is_ok_and(|b| within(&b))
                || links
                    .chain([format!("{base}/cwd").into()])
                    .filter_map(|l| fs::read_link(l).ok())
                    .any(|t| within(t.as_os_str().as_bytes()))
        })
        .filter(|pid| lives(*pid))
        .collect()
}

/// Kills everything that still belongs to `home`, until nothing does.
pub fn clear(home: &Path) {
    for _ in 0..200 {
        let left = of_home(home);
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Handles to processes that live now, to see each end as it happens.
pub struct Ends(Vec<OwnedFd>);

impl Ends {
    /// Takes hold of them.
    pub fn of(pids: &[i32]) -> Self {
        Self(pids.iter().filter_map(|p| cdc_supervisor::sys::process::pidfd_open(*p).ok()).collect())
    }

    /// Waits until all have ended.
    pub fn wait(self, limit: Duration) -> Measured<()> {
        let began = Instant::now();
        let mut left = self.0;
        while !left.is_empty() {
            let rest = limit.saturating_sub(began.elapsed());
            if rest.is_zero() {
                return Err(format!("{} processes did not end within {limit:?}", left.len()));
            }
            let mut fds: Vec<PollFd> = left.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
            let _ = poll(&mut fds, PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX));
            let ended: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            let mut ended = ended.into_iter();
            left.retain(|_| !ended.next().unwrap_or(false));
        }
        Ok(())
    }
}
