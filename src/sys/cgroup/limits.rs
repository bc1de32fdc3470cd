//! The limits of a node's group: set and read back, compared later, put right again.

use super::{CgroupRoot, enable, has_word, make_group, members, write};
use crate::{
    base::{
        ByteSize, NodeName,
        recipe::{Launch, Share},
    },
    sys::{error::SysError, failpoint::fail_point, process},
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Limits of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// `memory.max`; none: no cap.
    pub memory_max: Option<ByteSize>,
    /// `pids.max`; none: no cap.
    pub pids_max: Option<u64>,
    /// `memory.oom.group`: an out-of-memory kill takes the whole node, so that no half of it stays.
    pub oom_group: bool,
    /// `memory.high`, `memory.low` and weights.
    pub share: Share,
}

impl Caps {
    /// Those of a launch.
    pub fn of(launch: &Launch) -> Self {
        Self { memory_max: launch.memory_max, pids_max: Some(launch.tasks_max), oom_group: true, share: launch.share }
    }
}

/// What a limit file holds. An absent file is a `None` around it: absent, unlimited and zero are three things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max`.
    Unlimited,
    /// A number.
    At(u64),
}

impl Limit {
    fn of(value: Option<u64>) -> Self {
        value.map_or(Limit::Unlimited, Limit::At)
    }

    fn text(self) -> String {
        match self {
            Limit::Unlimited => "max".to_owned(),
            Limit::At(n) => n.to_string(),
        }
    }

    /// Whether `file` holds what was wanted when it holds `self`. Of memory the kernel keeps whole pages, rounded down; 64 KiB
    /// is the largest page.
    fn meets(self, wanted: Self, file: &str) -> bool {
        let slack = if ["memory.max", "memory.high", "memory.low"].contains(&file) { 65_536 } else { 1 };
        match (self, wanted) {
            (Limit::At(is), Limit::At(want)) => is <= want && want - is < slack,
            (is, want) => is == want,
        }
    }
}

/// What keeps a node from going on in swap when it meets its cap.
const SWAP: &str = "memory.swap.max";

/// What it means that a host has no such file, by its `/proc/swaps`; none: nothing, for there is no swap (swaps lie below the head line,
/// proc_swaps(5)).
fn escape(swaps: &str) -> Option<String> {
    (swaps.lines().count() > 1).then(|| {
        format!(
            "{SWAP} is not there, and swap is on: at its memory cap a node goes on in swap, slowly, and is not killed. Boot with \
             swapaccount=1 on the kernel's command line, or switch swap off (swapoff -a)"
        )
    })
}

/// How much it matters that a limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// Without it the node is not started.
    Must,
    /// Only where the kernel has the file (no swap: no `memory.swap.max`), or where it was asked for.
    WhereAsked { asked: bool },
    /// A host that has no such controller runs the node all the same (weights).
    Courtesy { asked: bool },
}

/// A limit that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What: `memory.max`, or `cgroup` for a process that was elsewhere.
    pub what: String,
    /// One clause: what it was and what it is again, or why it could not be put right.
    pub text: String,
    /// It is as it should be again.
    pub mended: bool,
}

/// Every limit file, what it has to hold, and how much that matters.
fn wanted(caps: &Caps) -> [(&'static str, Limit, Duty); 8] {
    let share = caps.share;
    let bytes = |size: Option<ByteSize>| size.map(|b| b.0);
    let weight = |w: u16| (Limit::At(w.into()), Duty::Courtesy { asked: w != Share::KERNEL.cpu_weight });
    let (cpu, io) = (weight(share.cpu_weight), weight(share.io_weight));
    let asked = |size: Option<ByteSize>| Duty::WhereAsked { asked: size.is_some() };
    [
        ("memory.max", Limit::of(bytes(caps.memory_max)), Duty::Must),
        // A JVM that swaps is worse than one that is killed. Absent where the kernel does not account swap.
        (SWAP, Limit::of(caps.memory_max.map(|_| 0)), Duty::WhereAsked { asked: false }),
        ("memory.oom.group", Limit::At(caps.oom_group.into()), Duty::Must),
        ("pids.max", Limit::of(caps.pids_max), Duty::Must),
        ("memory.high", Limit::of(bytes(share.memory_high)), asked(share.memory_high)),
        ("memory.low", Limit::At(share.memory_low.map_or(0, |b| b.0)), asked(share.memory_low)),
        ("cpu.weight", cpu.0, cpu.1),
        ("io.weight", io.0, io.1),
    ]
}

impl CgroupRoot {
    /// Makes the group of a node, or takes the one that is there, and sets its limits; each is read back. What the host cannot
    /// give and the node can do without (weights) is told, one clause each.
    pub fn make_node(&self, node: &NodeName, caps: &Caps) -> Result<(PathBuf, Vec<String>), SysError> {
        let dir = self.node(node);
        // lost when somebody else rewrote the parent (systemd does on daemon-reload in some versions)
        enable(&self.nodes())?;
        make_group(&dir)?;
        fail_point!("cgroup.made");
        let mut missing = Vec::new();
        for (file, limit, duty) in wanted(caps) {
            match duty {
                Duty::WhereAsked { asked: false } if !dir.join(file).exists() => {
                    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
                    missing.extend(
                        Some(file).filter(|file| limit == Limit::At(0) && *file == SWAP).and_then(|_| escape(&swaps)),
                    );
                }
                Duty::Must | Duty::WhereAsked { .. } => set(&dir, file, limit)?,
                Duty::Courtesy { asked } => {
                    if let Err(e) = set_where_other(&dir, file, limit)
                        && asked
                    {
                        missing.push(format!("{file} = {} is not in force here: {}", limit.text(), e.source));
                    }
                }
            }
        }
        missing.extend(caps.share.memory_low.and_then(|low| self.low_above(low)));
        fail_point!("cgroup.limited");
        Ok((dir, missing))
    }

    /// Memory is spared for a node only as far as it is for each group above it (cgroup-v2.rst, "effective low boundary"): the
    /// one that is ours gives all it has, the others are somebody else's. Words when one gives less than `low`.
    fn low_above(&self, low: ByteSize) -> Option<String> {
        // Where it cannot be written it is found lacking below.
        let _ = set(&self.nodes(), "memory.low", Limit::Unlimited);
        let lacking = |group: &&Path| match read_limit(&group.join("memory.low")) {
            Some(Limit::At(bytes)) => bytes < low.0,
            Some(Limit::Unlimited) | None => false,
        };
        let nodes = self.nodes();
        let group = nodes.ancestors().find(lacking)?;
        Some(format!(
            "memory.low = {low} holds only as far as the groups above spare memory, and {} does not: set MemoryLow= of the unit \
             and of its slice",
            group.display()
        ))
    }

    /// Sets the limits of a node's group while it runs; one that has no group gets them with its next start.
    pub fn set_caps(&self, node: &NodeName, caps: &Caps) -> Result<Vec<String>, SysError> {
        if self.node(node).exists() { self.make_node(node, caps).map(|(_, missing)| missing) } else { Ok(Vec::new()) }
    }

    /// Compares a running node's group with what it should hold and puts right what differs, the places of its main process
    /// and of what that has started among it. Empty: all is as it should be.
    pub fn mend(&self, node: &NodeName, caps: &Caps, main: i32) -> Vec<Deviation> {
        let dir = self.node(node);
        let mut found = Vec::new();
        let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        if !has_word(&controllers, "memory") || !has_word(&controllers, "pids") {
            let again = enable(&self.nodes()).and_then(|()| make_group(&dir));
            found.push(told("cgroup", "it had no memory or pids controller", again));
        }
        for (file, limit, duty) in wanted(caps) {
            let is = read_limit(&dir.join(file));
            let missed = match (is, duty) {
                (Some(is), _) => !is.meets(limit, file),
                (None, Duty::Must) => true,
                // That it is not there was told at the start.
                (None, Duty::WhereAsked { .. } | Duty::Courtesy { .. }) => false,
            };
            if missed {
                let was = format!("{file} was {}", is.map_or_else(|| "not there".to_owned(), Limit::text));
                let was = format!("{was}, not {}", limit.text());
                found.push(told(file, &was, set(&dir, file, limit)));
            }
        }
        if !holds(&dir, main)
            && let Some(path) = process::cgroup_of(main)
        {
            found.push(told("cgroup", &format!("its process {main} was in {path}"), move_tree(&dir, main)));
        }
        // Of a group once. What cannot be moved is told without the process: others come in its place, and the trouble is the same.
        let home = process::cgroup_of(main);
        let mut strays: BTreeMap<String, (i32, Result<(), SysError>)> = BTreeMap::new();
        for child in living(process::descendants(main)) {
            let Some(path) = process::cgroup_of(child).filter(|path| home.as_ref() != Some(path)) else { continue };
            if !holds(&dir, child) {
                let moved = move_tree(&dir, child).map_err(|e| SysError::path("move a process into", &dir, e.source));
                let (_, so_far) = strays.entry(path).or_insert((child, Ok(())));
                *so_far = std::mem::replace(so_far, Ok(())).and(moved);
            }
        }
        found.extend(strays.into_iter().map(|(path, (child, moved))| {
            let who = if moved.is_ok() { format!("its process {child}") } else { "what it has started".to_owned() };
            told("cgroup", &format!("{who} was in {path}"), moved)
        }));
        found
    }
}

/// Without those that have ended and are not reaped yet: they keep the path of their group, are no members of it, and cannot be moved.
fn living(pids: Vec<i32>) -> impl Iterator<Item = i32> {
    pids.into_iter().filter(|pid| process::lives(*pid))
}

fn told(what: &str, was: &str, mended: Result<(), SysError>) -> Deviation {
    let (text, mended) = match mended {
        Ok(()) => (format!("{was}; put right"), true),
        Err(e) => (format!("{was}; it could not be put right: {e}: {}", e.source), false),
    };
    Deviation { what: what.to_owned(), text, mended }
}

/// Whether the process is in the group or below it.
fn holds(dir: &Path, pid: i32) -> bool {
    let below = || fs::read_dir(dir).into_iter().flatten().flatten();
    members(dir).contains(&pid) || below().any(|e| e.file_type().is_ok_and(|t| t.is_dir()) && holds(&e.path(), pid))
}

/// Moves a process and everything below it into the group.
fn move_tree(dir: &Path, main: i32) -> Result<(), SysError> {
    let procs = dir.join("cgroup.procs");
    let rest = process::descendants(main);
    write(&procs, &main.to_string())?;
    for pid in rest.into_iter().filter(|pid| !holds(dir, *pid)) {
        // One that has ended meanwhile needs no move; one that stays is found at the next look through its parent.
        let _ = write(&procs, &pid.to_string());
    }
    Ok(())
}

/// Sets a limit unless it holds already.
fn set_where_other(dir: &Path, file: &str, limit: Limit) -> Result<(), SysError> {
    match read_limit(&dir.join(file)) {
        Some(is) if is.meets(limit, file) => Ok(()),
        _ => set(dir, file, limit),
    }
}

fn set(dir: &Path, file: &str, limit: Limit) -> Result<(), SysError> {
    let (path, text) = (&dir.join(file), limit.text());
    write(path, &text)?;
    if read_limit(path).is_some_and(|is| is.meets(limit, file)) {
        return Ok(());
    }
    let is = fs::read_to_string(path).unwrap_or_default();
    let why = io::Error::other(format!("it holds {:?} afterwards", is.trim()));
    Err(SysError::new(format!("set {} to {text}", path.display()), why))
}

/// Reads a limit file; none when there is no such file or it holds something else. `io.weight` says `default 100`, with lines
/// for single devices behind it.
pub fn read_limit(path: &Path) -> Option<Limit> {
    let text = fs::read_to_string(path).ok()?;
    let first = text.lines().next()?.trim();
    match first.strip_prefix("default ").unwrap_or(first) {
        "max" => Some(Limit::Unlimited),
        number => number.parse().ok().map(Limit::At),
    }
}

pub(super) fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_swaps_and_does_not_account_for_it_is_told_of() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert_eq!(escape(head), None, "no swap");
        assert_eq!(escape(""), None, "a kernel without swap");
        let told = escape(&format!("{head}/swapfile file 2097148 0 -2\n")).unwrap();
        assert!(told.starts_with("memory.swap.max is not there") && told.contains("swapaccount=1"), "{told}");
    }

    #[test]
    fn a_process_that_has_ended_and_is_not_reaped_is_not_moved() {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(living(vec![pid, own]).collect::<Vec<_>>(), [own]);
        child.wait().unwrap();
    }
}
