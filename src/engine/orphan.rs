//! Removes a node's tree that no shim looks after: everything that holds the node's lock, and its cgroup.

use super::orphan_stops::OrphanStop;
use crate::{
    base::{Layout, NodeName, recipe::Stop},
    sys::{cgroup, fs, process},
};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long a tree may take to vanish after SIGKILL before it is left as stuck in the kernel.
const LIMIT: Duration = Duration::from_secs(10);

/// Kills everything that still belongs to the node; true when nothing is left. Blocking, bounded by [`LIMIT`].
///
/// The lock's descriptor is inherited by the whole tree, so its holders are the tree's members, also those in sessions of
/// their own. Again and again until none is left: a fork between a look and a kill is caught by the next look.
pub(super) fn remove_tree(layout: &Layout, node: &NodeName, group: Option<&Path>) -> bool {
    let lock = layout.node_lock(node);
    let started = Instant::now();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    loop {
        if let Some(group) = group {
            // A group that is gone holds nobody.
            let _ = cgroup::kill(group);
        }
        let holders: Vec<i32> = process::holders_of(&lock).into_iter().filter(|p| *p != own).collect();
        let populated = group.is_some_and(|g| cgroup::populated(g).unwrap_or(false));
        if holders.is_empty() && !populated {
            return true;
        }
        for pid in holders {
            process::signal_holder(pid, &lock, libc::SIGKILL);
        }
        if started.elapsed() > LIMIT {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Stops a tree without a shim the way its product wants it: the stop signal to what holds the lock, the grace period,
/// then SIGKILL. Returns when nothing is left or the tree is stuck in the kernel. `stopping`: whether somebody does not want
/// to wait for the grace. `tell` hears what is waited for.
pub(super) async fn stop_in_order(
    layout: &Layout,
    node: &NodeName,
    stop: &Stop,
    stopping: &OrphanStop,
    tell: Option<&(dyn Fn(String) + Sync)>,
) {
    const LOOK: Duration = Duration::from_millis(20);
    let look = || {
        let lock = layout.node_lock(node);
        async move { tokio::task::spawn_blocking(move || process::holders_of(&lock)).await.unwrap_or_default() }
    };
    // The usual case costs two system calls; a look at the holders is one at every descriptor of the machine.
    if !fs::Lock::is_held(&layout.node_lock(node)) {
        return;
    }
    let holders = look().await;
    if holders.is_empty() {
        return;
    }
    tracing::warn!(node = %node, pids = ?holders, "processes of an earlier start run without a shim: stopping them");
    let (lock, signal) = (layout.node_lock(node), stop.signal);
    // A panic of it has said so; SIGKILL below ends what was not asked.
    let _ = tokio::task::spawn_blocking(move || {
        holders.into_iter().for_each(|pid| process::signal_holder(pid, &lock, signal));
    })
    .await;
    let began = Instant::now();
    while began.elapsed() < stop.grace && !stopping.is_hurried() {
        let left = look().await;
        if left.is_empty() {
            return;
        }
        if let Some(tell) = tell {
            let rest = stop.grace.saturating_sub(began.elapsed());
            tell(format!(
                "pid {} of an earlier start, without a shim, is being stopped; SIGKILL in {} s",
                left[0],
                rest.as_secs()
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
    let (layout, node) = (layout.clone(), node.clone());
    // A tree that is stuck keeps the lock, and the next launch says so.
    let _ = tokio::task::spawn_blocking(move || remove_tree(&layout, &node, None)).await;
}
