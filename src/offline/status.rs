//! What can be told of a root without its daemon, and of the host.

use super::shims;
use crate::{
    base::{ByteSize, Layout, NodeName, Timestamp},
    config::SYSTEM_ROOT,
    sys::{clock, fs::Lock, host},
};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// A node that runs without a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsOn {
    /// Which.
    pub node: NodeName,
    /// Its main process.
    pub pid: i32,
    /// Its shim.
    pub shim_pid: i32,
    /// Since when.
    pub since: Timestamp,
}

/// The nodes of a root that run, as their shims tell.
pub fn nodes_that_run(layout: &Layout) -> Vec<RunsOn> {
    let seen = |live: shims::Live| RunsOn {
        node: live.state.node,
        pid: live.state.process.pid,
        shim_pid: live.state.shim_pid,
        since: live.state.started_at,
    };
    shims::live(layout).into_iter().map(seen).collect()
}

/// The nodes whose lock is held: something of their tree lives, whether a shim answers or not.
pub fn nodes_that_live(layout: &Layout) -> Vec<NodeName> {
    // Shims try their lock for a while, so a look in that instant costs nothing; the kernel's list would be read once per node.
    shims::node_dirs(layout).into_iter().filter(|node| Lock::is_held(&layout.node_lock(node))).collect()
}

/// Whether some daemon holds this root: it runs, or starts, or hangs.
pub fn daemon_holds(layout: &Layout) -> bool {
    is_held(&layout.daemon_lock())
}

/// Whether some daemon holds its lock. Looks into the kernel's list first: to try a lock is to have it for a moment, and a
/// daemon of an `up` that starts in that moment would be refused.
fn is_held(lock: &Path) -> bool {
    let Ok(meta) = fs::metadata(lock) else { return false };
    // `1: FLOCK  ADVISORY  WRITE 4711 08:01:123 0 EOF` (proc_locks(5)). Only the inode is compared: the device is the
    // superblock's, which stat(2) shows differently on btrfs and overlayfs. The rare wrong match is sorted out below.
    let inode = format!(":{}", meta.ino());
    let listed = fs::read_to_string("/proc/locks").map(|list| {
        list.lines().any(|line| line.contains("FLOCK") && line.split_whitespace().any(|field| field.ends_with(&inode)))
    });
    listed.unwrap_or(true) && matches!(Lock::try_take(lock), Ok(None))
}

/// The system's root, when this is another one and a daemon seems to serve it: for the hint of `status`.
pub fn other_root(layout: &Layout) -> Option<&'static str> {
    let system = Layout::new(SYSTEM_ROOT);
    (layout.root() != Path::new(SYSTEM_ROOT) && system.run().exists()).then_some(SYSTEM_ROOT)
}

/// Physical memory of the host; none when the kernel does not tell.
pub fn host_memory() -> Option<ByteSize> {
    host::total_memory()
}

/// Now.
pub fn now() -> Timestamp {
    clock::wall()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_not_there_has_no_nodes() {
        let layout = Layout::new("/nonexistent/root");
        assert!(nodes_that_run(&layout).is_empty() && nodes_that_live(&layout).is_empty());
    }

    #[test]
    fn a_held_lock_is_a_life_and_a_stale_socket_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for node in [NodeName::mysql(), NodeName::zookeeper()] {
            std::fs::create_dir_all(layout.node_run(&node)).unwrap();
            let socket = layout.shim_socket(&node, crate::base::Incarnation(1));
            drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
        }
        let _held = Lock::try_take(&layout.node_lock(&NodeName::mysql())).unwrap().unwrap();
        assert!(nodes_that_run(&layout).is_empty());
        assert_eq!(nodes_that_live(&layout), [NodeName::mysql()]);
        assert!(!layout.node_lock(&NodeName::zookeeper()).exists(), "looking leaves nothing behind");
        fs::create_dir_all(layout.run()).unwrap();
        assert!(!daemon_holds(&layout));
        let _daemon = Lock::try_take(&layout.daemon_lock()).unwrap();
        assert!(daemon_holds(&layout));
    }
}
