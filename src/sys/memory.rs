//! Memory of processes without cgroups, from `/proc/PID/smaps_rollup` (proc(5)).

use super::process;
use crate::base::ids::ProcessId;
use std::{
    collections::BTreeMap,
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A reading holds for this many times as long as it took. The kernel walks every page of the process for one and holds its
/// memory map meanwhile (`smaps_rollup`, fs/proc/task_mmu.c), so that a JVM's own page faults wait: 10 ms for a broker of
/// 140 MB. A `status` that was asked for ten times a second took 1.6 s of processor time in the eight seconds of a start.
const HOLDS: u32 = 200;

/// A reading that nobody has asked for in this time is forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// Readings of trees, each kept for a time that makes up for what it cost: half a percent of a processor for each tree at most,
/// however often they are asked for.
#[derive(Debug, Default)]
pub struct Readings(Mutex<BTreeMap<Key, Reading>>);

/// The process, with its start time: a later one of the same pid is another.
type Key = (i32, u64);

#[derive(Debug)]
struct Reading {
    at: Instant,
    cost: Duration,
    tree: Option<TreeMemory>,
}

impl Readings {
    /// As [`of_tree`], or what that said a moment ago. Blocks like it; who asks meanwhile gets the same reading.
    pub fn of_tree(&self, process: &ProcessId) -> Option<TreeMemory> {
        let key = (process.pid, process.start_ticks);
        // A reading is inserted as a whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = kept.get(&key).filter(|reading| holds(reading.at.elapsed(), reading.cost)) {
            return reading.tree;
        }
        let began = Instant::now();
        let tree = of_tree(process.pid);
        kept.retain(|_, reading| reading.at.elapsed() < FORGET);
        kept.insert(key, Reading { at: Instant::now(), cost: began.elapsed(), tree });
        tree
    }
}

/// Memory of a process and its descendants, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeMemory {
    /// Proportional set size: shared pages counted by their share.
    pub pss: u64,
    /// The anonymous part.
    pub anon: u64,
    /// The part backed by files or shared memory, as `file` of a cgroup's memory.stat counts it.
    pub file: u64,
}

fn holds(age: Duration, cost: Duration) -> bool {
    age < cost.saturating_mul(HOLDS)
}

/// Memory of `pid` and everything below it; none when not even `pid` can be read (gone, or another user's).
pub fn of_tree(pid: i32) -> Option<TreeMemory> {
    let mut sum = of_one(pid)?;
    // a descendant that ends meanwhile counts nothing
    for one in process::descendants(pid).into_iter().filter_map(of_one) {
        sum.pss += one.pss;
        sum.anon += one.anon;
        sum.file += one.file;
    }
    Some(sum)
}

/// Anonymous and file-backed resident bytes of one process (`RssAnon`, `RssFile` and `RssShmem` of /proc/PID/status,
/// Linux 4.5): cheap, where `smaps_rollup` walks every mapping. None when it is gone.
pub fn anon_and_file(pid: i32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((bytes("RssAnon")?, bytes("RssFile")? + bytes("RssShmem").unwrap_or(0)))
}

fn of_one(pid: i32) -> Option<TreeMemory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    // a zombie's is empty
    Some(parse_rollup(&text))
}

fn parse_rollup(text: &str) -> TreeMemory {
    let bytes = |key: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(':')?.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
            .saturating_mul(1024)
    };
    TreeMemory { pss: bytes("Pss"), anon: bytes("Pss_Anon"), file: bytes("Pss_File") + bytes("Pss_Shmem") }
}

/// Resident bytes of this process (`VmRSS` of /proc/self/status); none when /proc does not tell.
pub fn self_rss() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_missing_one_has_none() {
        let own = of_tree(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.pss > 100_000 && own.anon > 0, "{own:?}");
        assert!(self_rss().unwrap() > 100_000);
        let (anon, file) = anon_and_file(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(anon > 100_000 && file > 100_000);
        assert!(anon_and_file(0).is_none());
        assert_eq!(of_tree(i32::MAX), None);
    }

    #[test]
    fn a_reading_holds_as_long_as_it_was_dear_and_for_no_other_process() {
        let cost = Duration::from_millis(10);
        assert!(holds(Duration::from_millis(1_999), cost) && !holds(Duration::from_secs(2), cost));
        let own = i32::try_from(std::process::id()).unwrap();
        let process = |pid, start_ticks| ProcessId { pid, start_ticks, boot_id: String::new() };
        let readings = Readings::default();
        assert!(readings.of_tree(&process(own, 1)).is_some());
        assert_eq!(readings.of_tree(&process(i32::MAX, 1)), None);
        readings.0.lock().unwrap().get_mut(&(own, 1)).unwrap().tree = None;
        readings.0.lock().unwrap().get_mut(&(own, 1)).unwrap().cost = Duration::from_secs(1);
        assert_eq!(readings.of_tree(&process(own, 1)), None, "what was kept");
        assert!(readings.of_tree(&process(own, 2)).is_some(), "a later process of the same pid");
    }

    #[test]
    fn a_rollup_is_read_by_its_keys_and_not_by_their_prefixes() {
        let text = "0-1 ---p 0 0:0 0 [rollup]\nRss: 9 kB\nPss: 4 kB\nPss_Anon: 1 kB\nPss_File: 2 kB\nPss_Shmem: 1 kB\n";
        assert_eq!(parse_rollup(text), TreeMemory { pss: 4096, anon: 1024, file: 3072 });
        assert_eq!(parse_rollup(""), TreeMemory::default());
    }
}
