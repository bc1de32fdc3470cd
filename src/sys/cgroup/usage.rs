//! What a group uses and what happened in it: its memory by parts, and out-of-memory kills told apart by whose limit was met.

use super::limits::{Limit, read_limit, read_number};
use crate::base::outcome::OomBy;
use std::{fs, path::Path};

/// What a group's memory files say now. A value is none when its file or key is absent (`memory.peak` came with Linux 5.19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNow {
    /// `memory.current`, bytes.
    pub current: Option<u64>,
    /// `anon` of `memory.stat`, bytes.
    pub anon: Option<u64>,
    /// `file` of `memory.stat`, bytes.
    pub file: Option<u64>,
    /// Memory that the kernel keeps for it, bytes: see [`memory_now`].
    pub kernel: Option<u64>,
    /// `memory.peak`, bytes, since the group was made.
    pub peak: Option<u64>,
    /// Out-of-memory incidents since the group was made, see [`OomCounts`].
    pub oom_kills: Option<u64>,
    /// `memory.max`.
    pub max: Option<Limit>,
}

/// Out-of-memory counters of a group, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomCounts {
    /// Incidents: `oom_group_kill` of the group's own events, because `oom_kill` counts processes and can exceed even those
    /// (seen on 7.2), and because a group that a node made below its own has a count of its own. Before Linux 5.17 there is no
    /// such key; then `oom_kill` is all there is to tell an incident from none.
    pub incidents: u64,
    /// How often a limit in the group or below it was met with nothing left to reclaim (`oom` of memory.events).
    pub own_limit: u64,
    /// The same of the groups above it, each by its own events.
    pub limits_above: u64,
}

/// The value of `key` in a file of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Reads the counters; none when the group has none.
pub fn oom_counts(dir: &Path) -> Option<OomCounts> {
    let events = fs::read_to_string(dir.join("memory.events")).ok()?;
    // Linux 5.2; before, the hierarchical one serves.
    let local = fs::read_to_string(dir.join("memory.events.local"));
    let local = local.as_deref().unwrap_or(&events);
    let incidents = keyed(local, "oom_group_kill").or_else(|| keyed(&events, "oom_kill"))?;
    Some(OomCounts { incidents, own_limit: keyed(&events, "oom").unwrap_or(0), limits_above: above(dir) })
}

/// Limits met above a group. The root of the hierarchy has no such file, which ends the way.
fn above(dir: &Path) -> u64 {
    let oom = |dir: &Path| {
        let text = fs::read_to_string(dir.join("memory.events.local")).ok()?;
        Some(keyed(&text, "oom").unwrap_or(0))
    };
    dir.ancestors().skip(1).map_while(oom).fold(0, u64::saturating_add)
}

/// Whose limit an out-of-memory kill between two looks was about. The kernel raises `oom` in the group whose limit was met
/// (mm/memcontrol.c, mem_cgroup_oom) and counts the kill in the victim's group whoever ordered it (mm/oom_kill.c,
/// __oom_kill_process): a kill with no limit met was one of the whole machine.
pub fn oom_by(before: OomCounts, after: OomCounts) -> Option<OomBy> {
    if after.incidents <= before.incidents {
        None
    } else if after.own_limit > before.own_limit {
        Some(OomBy::Cap)
    } else if after.limits_above > before.limits_above {
        Some(OomBy::GroupAbove)
    } else {
        Some(OomBy::Host)
    }
}

/// `memory.peak`, bytes; none on kernels before 5.19.
pub fn memory_peak(dir: &Path) -> Option<u64> {
    read_number(&dir.join("memory.peak"))
}

/// Reads a group's memory. The kernel's part is `kernel` of memory.stat (Linux 5.18), or what it is the sum of before that.
pub fn memory_now(dir: &Path) -> MemoryNow {
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let parts = || {
        let parts = ["kernel_stack", "pagetables", "percpu", "slab"].map(|key| keyed(&stat, key));
        parts.iter().any(Option::is_some).then(|| parts.into_iter().flatten().sum())
    };
    MemoryNow {
        current: read_number(&dir.join("memory.current")),
        anon: keyed(&stat, "anon"),
        file: keyed(&stat, "file"),
        kernel: keyed(&stat, "kernel").or_else(parts),
        peak: memory_peak(dir),
        oom_kills: oom_counts(dir).map(|counts| counts.incidents),
        max: read_limit(&dir.join("memory.max")),
    }
}
