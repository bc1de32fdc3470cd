//! From the engine's snapshot to the words of the wire: one way only.

use crate::{
    base::{ExitStatus, Layout, Moment, Timestamp, outcome::signal_name},
    control::wire::{
        Caps, CutShort, DiskState, LastExit, Memory, Node, OwnMemory, PortDoc, Status, Supervisor, cluster::Cluster,
    },
    engine::{NodeSnapshot, Snapshot, hours_to_cap},
    lifecycle::Wanted,
    offline::incidents,
    sys::{
        cgroup,
        cgroup::CgroupRoot,
        clock,
        memory::{self, Readings},
        process,
    },
};

/// Where memory is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meters<'a> {
    /// In its counters, where caps are enforced.
    pub cgroup: Option<&'a CgroupRoot>,
    /// Else in /proc.
    pub readings: &'a Readings,
}

/// What a status tells beside the nodes.
#[derive(Debug)]
pub(super) struct Around {
    pub cluster: Option<Cluster>,
    pub disks: Option<Vec<DiskState>>,
    pub cut_short: Option<CutShort>,
}

/// Status of everything; reads memory counters, so it blocks on /proc for a few milliseconds.
pub(super) fn status(
    snapshot: &Snapshot,
    supervisor: Supervisor,
    layout: &Layout,
    meters: Meters<'_>,
    around: Around,
) -> Status {
    let incidents = incidents::newest(layout);
    let nodes = snapshot.nodes.iter().map(|n| node(n, layout, meters, incidents.get(&n.name).copied())).collect();
    let Around { cluster, disks, cut_short } = around;
    Status { schema: 1, supervisor, nodes, cluster, disks, cut_short }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    /// As it is shown.
    pub wall: Timestamp,
    /// As it is reckoned with: nobody sets this one.
    pub clock: Moment,
}

impl Started {
    /// Now.
    pub(super) fn now() -> Self {
        Self { wall: clock::wall(), clock: clock::now() }
    }
}

fn millis_since(at: Moment) -> u64 {
    u64::try_from(clock::now().since(at).as_millis()).unwrap_or(u64::MAX)
}

/// The daemon's own part; blocks on /proc or /sys like [`status`].
pub(super) fn supervisor(
    snapshot: &Snapshot,
    layout: &Layout,
    since: Started,
    caps: Caps,
    cgroup: Option<&CgroupRoot>,
) -> Supervisor {
    Supervisor {
        memory: own_memory(snapshot, cgroup),
        pid: i32::try_from(std::process::id()).ok(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Some(since.wall),
        up_ms: Some(millis_since(since.clock)),
        root: layout.root().display().to_string(),
        caps,
    }
}

fn node(n: &NodeSnapshot, layout: &Layout, meters: Meters<'_>, incident: Option<u64>) -> Node {
    Node {
        name: n.name.clone(),
        kind: n.kind.as_str().to_owned(),
        optional: n.kind.is_optional(),
        wanted: match n.wanted {
            Wanted::Up => "up".to_owned(),
            Wanted::Down => "down".to_owned(),
        },
        state: n.state.to_owned(),
        pid: n.process.as_ref().map(|p| p.pid),
        incarnation: (n.incarnation.0 > 0).then_some(n.incarnation.0),
        since: Some(n.since),
        ready_since: n.ready_since,
        up_ms: n.ready_at.map(millis_since),
        restarts: n.restarts,
        last_exit: n.last_exit.as_ref().map(|e| LastExit {
            code: match e.status {
                ExitStatus::Code(code) => Some(code),
                ExitStatus::Signal(_) | ExitStatus::Unknown => None,
            },
            signal: match e.status {
                ExitStatus::Signal(signal) => Some(signal_name(signal)),
                ExitStatus::Code(_) | ExitStatus::Unknown => None,
            },
            cause: e.cause,
            at: e.at,
            oom_by: e.oom_by.map(|by| by.as_str().to_owned()),
        }),
        memory: memory_of(n, meters),
        ports: n.ports.iter().map(|p| PortDoc { name: p.name.clone(), port: p.port().0 }).collect(),
        log: layout.log(&n.name).display().to_string(),
        detail: n.detail.clone(),
        incident,
        stalls: n.stalls.clone(),
        failure: n.failure.clone(),
    }
}

fn memory_of(n: &NodeSnapshot, meters: Meters<'_>) -> Memory {
    let cap_bytes = n.cap_bytes;
    let Some(process) = &n.process else { return Memory { cap_bytes, ..Memory::default() } };
    let seen = match meters.cgroup {
        Some(root) => {
            let now = cgroup::memory_now(&root.node(&n.name));
            Memory {
                current_bytes: now.current,
                anon_bytes: now.anon,
                file_bytes: now.file,
                peak_bytes: now.peak,
                oom_kills: now.oom_kills,
                kernel_bytes: now.kernel,
                ..Memory::default()
            }
        }
        None => meters.readings.of_tree(process).map_or_else(Memory::default, |tree| Memory {
            current_bytes: Some(tree.pss),
            anon_bytes: Some(tree.anon),
            file_bytes: Some(tree.file),
            ..Memory::default()
        }),
    };
    Memory {
        cap_bytes,
        trend_bytes_per_hour: n.trend.map(|t| t.bytes_per_hour),
        hours_to_cap: hours_to_cap(n.trend, seen.anon_bytes, cap_bytes),
        ..seen
    }
}

/// What the daemon and the shims hold: their group's memory; without one the anonymous part of each, which is cheap to ask.
fn own_memory(snapshot: &Snapshot, cgroup: Option<&CgroupRoot>) -> Option<OwnMemory> {
    if let Some(root) = cgroup {
        let group = root.own();
        let now = cgroup::memory_now(&group);
        return Some(OwnMemory {
            current_bytes: Some(now.current?),
            anon_bytes: now.anon,
            file_bytes: now.file,
            kernel_bytes: now.kernel,
            peak_bytes: now.peak,
            processes: cgroup::members(&group).len() as u64,
        });
    }
    let own = i32::try_from(std::process::id()).ok()?;
    let parents = snapshot.nodes.iter().filter_map(|n| process::parent(n.process.as_ref()?.pid));
    // The parent of a node that has lost its shim is this process, or init.
    let shims = parents.filter(|parent| *parent != own && *parent != 1);
    let parts: Vec<u64> = shims.chain([own]).filter_map(memory::anon_and_file).map(|(anon, _)| anon).collect();
    Some(OwnMemory { anon_bytes: Some(parts.iter().sum()), processes: parts.len() as u64, ..OwnMemory::default() })
}
