//! What a group uses and what happened in it: its memory by parts, and out-of-memory kills told apart by whose limit was met.

use super::limits::{Limit, read_limit, read_number};
use crate::base::{Moment, outcome::OomBy};
use std::{
    fs::{self, File},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::FileExt,
    },
    path::Path,
    time::Duration,
};

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
    /// Processes of the group itself that were killed (`oom_kill` of its own events). The kernel counts each before it is killed, and
    /// the incident behind that (mm/oom_kill.c, __oom_kill_process and oom_kill_process): on another processor the main process can
    /// be gone before the incident is counted.
    pub victims: u64,
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
    let victims = keyed(local, "oom_kill").unwrap_or(0);
    Some(OomCounts { incidents, victims, own_limit: keyed(&events, "oom").unwrap_or(0), limits_above: above(dir) })
}

/// Limits met above a group. The root of the hierarchy has no such file, which ends the way.
fn above(dir: &Path) -> u64 {
    let oom = |dir: &Path| {
        let text = fs::read_to_string(dir.join("memory.events.local")).ok()?;
        Some(keyed(&text, "oom").unwrap_or(0))
    };
    dir.ancestors().skip(1).map_while(oom).fold(0, u64::saturating_add)
}

impl OomCounts {
    /// Incidents since `before`, one that is not counted yet among them.
    fn since(self, before: OomCounts) -> u64 {
        self.incidents.saturating_sub(before.incidents).max(u64::from(self.victims > before.victims))
    }
}

/// Whose limit an out-of-memory kill between two looks was about. The kernel raises `oom` in the group whose limit was met
/// (mm/memcontrol.c, mem_cgroup_oom) and counts the kill in the victim's group whoever ordered it (mm/oom_kill.c,
/// __oom_kill_process): a kill with no limit met was one of the whole machine.
pub fn oom_by(before: OomCounts, after: OomCounts) -> Option<OomBy> {
    if after.since(before) == 0 {
        None
    } else if after.own_limit > before.own_limit {
        Some(OomBy::Cap)
    } else if after.limits_above > before.limits_above {
        Some(OomBy::GroupAbove)
    } else {
        Some(OomBy::Host)
    }
}

/// How long after a limit above was met it is clear that the node was not killed for it. The kernel chooses and counts its victim
/// right after it has counted the limit (mm/memcontrol.c, mem_cgroup_oom; mm/oom_kill.c); under a storm it waits for its turn.
const OUTLIVED_AFTER: Duration = Duration::from_secs(5);

/// What the out-of-memory kills in one life of a node are reckoned from: its group's counters at the launch, of which those of the
/// groups above move on with what the node has outlived. Else whatever another node was killed for would explain its own end,
/// however long after.
#[derive(Clone, Copy, Debug, Default)]
pub struct OomSince {
    before: OomCounts,
    /// A limit above was met: when it is clear that it was another's end, and the counter then.
    met: Option<(Moment, u64)>,
}

impl OomSince {
    /// From the counters at the launch.
    pub fn launch(before: OomCounts) -> Self {
        Self { before, met: None }
    }

    /// Takes in what the counters say while the node lives.
    pub fn lives(&mut self, now: Moment, counts: OomCounts) {
        if let Some((clear, met)) = self.met {
            if now < clear {
                return;
            }
            self.met = None;
            // Otherwise it is the victim, or a part of it, and is not gone yet.
            if counts.since(self.before) == 0 {
                self.before.limits_above = met;
            }
        }
        if counts.since(self.before) == 0 && counts.limits_above > self.before.limits_above {
            self.met = Some((now + OUTLIVED_AFTER, counts.limits_above));
        }
    }

    /// When it is to be looked at again; none: when something happens above.
    pub fn due(&self) -> Option<Moment> {
        self.met.map(|(clear, _)| clear)
    }

    /// Incidents in its life.
    pub fn incidents(&self, after: OomCounts) -> u64 {
        after.since(self.before)
    }

    /// Whose limit a kill was about that has ended it.
    pub fn by(&self, after: OomCounts) -> Option<OomBy> {
        oom_by(self.before, after)
    }
}

/// Tells when something happens to the memory of the groups above one: the kernel wakes who polls their events for POLLPRI
/// (kernfs_notify in fs/kernfs/file.c), also for limits that were only reclaimed for.
#[derive(Debug)]
pub struct Above(Vec<File>);

/// So many levels of groups are listened to, the nearest ones: a user's scope is five below the root.
pub const ABOVE_MAX: usize = 8;

impl Above {
    /// Those above `dir`.
    pub fn of(dir: &Path) -> Self {
        let events = |dir: &Path| File::open(dir.join("memory.events.local")).ok();
        let above = Self(dir.ancestors().skip(1).map_while(events).take(ABOVE_MAX).collect());
        above.heard();
        above
    }

    /// What is to be polled.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(AsRawFd::as_raw_fd)
    }

    /// From here on the next event is told: one that was told is told until its file is read.
    pub fn heard(&self) {
        for file in &self.0 {
            // A group that is gone has no more events.
            let _ = file.read_at(&mut [0; 512], 0);
        }
    }
}

/// `memory.peak`, bytes; none on kernels before 5.19.
pub fn memory_peak(dir: &Path) -> Option<u64> {
    read_number(&dir.join("memory.peak"))
}

/// `memory.max`, bytes; none: there is no limit.
pub fn memory_max(dir: &Path) -> Option<u64> {
    match read_limit(&dir.join("memory.max"))? {
        Limit::Unlimited => None,
        Limit::At(bytes) => Some(bytes),
    }
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
