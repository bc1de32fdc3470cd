//! Every path under the root, computed in one place. The layout is a contract (README, "On disk").

use super::{Incarnation, NodeName};
use std::path::{Path, PathBuf};

/// Longest path the kernel takes for a unix socket: `sun_path` is 108 bytes with its NUL (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// The name of a file beside a data directory that holds room on its file system, where that is not the root's own.
pub const BALLAST_BESIDE: &str = ".cdc-supervisor-ballast";

/// The root directory and what lies where below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// A layout under `root`, which must be absolute (the config room sees to that).
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The artifact store, unless the configuration names another.
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// State that survives restarts.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Per-node state files.
    pub fn node_states(&self) -> PathBuf {
        self.state().join("nodes")
    }

    /// `state/nodes/NAME.json`.
    pub fn node_state(&self, node: &NodeName) -> PathBuf {
        self.node_states().join(format!("{node}.json"))
    }

    /// The last applied plan.
    pub fn plan(&self) -> PathBuf {
        self.state().join("plan.toml")
    }

    /// `state/reload.toml`: what a reload under way applies; there until it is done or undone.
    pub fn reload_plan(&self) -> PathBuf {
        self.state().join("reload.toml")
    }

    /// What the last daemon was doing: present while a session is meant to be up, removed by an ordered end.
    pub fn session(&self) -> PathBuf {
        self.state().join("session.json")
    }

    /// `state/ballast`: holds room on the root's file system, given up so that nodes can stop cleanly before it is full.
    pub fn ballast(&self) -> PathBuf {
        self.state().join("ballast")
    }

    /// `state/topics.json`: what was put into force of the topics in the configuration.
    pub fn topics(&self) -> PathBuf {
        self.state().join("topics.json")
    }

    /// `state/dynamic-NAME.json`: what a reload has set of a broker that ran.
    pub fn dynamic(&self, broker: &NodeName) -> PathBuf {
        self.state().join(format!("dynamic-{broker}.json"))
    }

    /// `state/operation.json`: the roll, drill, snapshot or restore under way; there until it has ended.
    pub fn operation(&self) -> PathBuf {
        self.state().join("operation.json")
    }

    /// `state/drill-left.json`: what a drill could not remove; there while something is left.
    pub fn drill_left(&self) -> PathBuf {
        self.state().join("drill-left.json")
    }

    /// `state/unrolled.json`: the brokers that a roll which was cut short had not come to; there while one is left.
    pub fn unrolled(&self) -> PathBuf {
        self.state().join("unrolled.json")
    }

    /// One file for each drill that was made.
    pub fn drills(&self) -> PathBuf {
        self.state().join("drills")
    }

    /// The root of a throw-away cluster, while a drill uses one. Short: sockets lie below it.
    pub fn throw_away(&self) -> PathBuf {
        self.root.join("drill")
    }

    /// Its configuration.
    pub fn throw_away_config(&self) -> PathBuf {
        self.root.join("drill.toml")
    }

    /// Held (flock) by the command that uses it.
    pub fn throw_away_lock(&self) -> PathBuf {
        self.root.join("drill.lock")
    }

    /// There in the root of a throw-away cluster and in no other.
    pub fn throw_away_mark(&self) -> PathBuf {
        self.root.join("throw-away")
    }

    /// Which cluster, which MySQL server and which machine this root has last had data of.
    pub fn identity(&self) -> PathBuf {
        self.state().join("identity.json")
    }

    /// Copies of the stores that belong together, a directory each.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// An exchange of data directories that is under way; gone when it is done.
    pub fn exchange(&self) -> PathBuf {
        self.state().join("exchange.json")
    }

    /// The event log.
    pub fn events(&self) -> PathBuf {
        self.state().join("events.jsonl")
    }

    /// One record per death.
    pub fn incidents(&self) -> PathBuf {
        self.state().join("incidents")
    }

    /// Passwords, 0600 files in a 0700 directory.
    pub fn secrets(&self) -> PathBuf {
        self.state().join("secrets")
    }

    /// One secret.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.secrets().join(name)
    }

    /// The daemon's own log when it was started by `up`.
    pub fn supervisor_log(&self) -> PathBuf {
        self.state().join("supervisor.log")
    }

    /// Sockets and locks of the daemon.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The daemon's control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    /// Held (flock) by the one daemon of this root.
    pub fn daemon_lock(&self) -> PathBuf {
        self.run().join("daemon.lock")
    }

    /// All nodes.
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// Everything of one node.
    pub fn node(&self, node: &NodeName) -> PathBuf {
        self.nodes().join(node.as_str())
    }

    /// Rendered configuration of a node.
    pub fn conf(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("conf")
    }

    /// Data of a node, unless the configuration names another directory.
    pub fn data(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("data")
    }

    /// Logs of a node.
    pub fn log_dir(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("log")
    }

    /// The file a node's output goes to now.
    pub fn log(&self, node: &NodeName) -> PathBuf {
        self.log_dir(node).join("current")
    }

    /// Sockets, locks and exit records of a node.
    pub fn node_run(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("run")
    }

    /// A node's place for temporary files: never /tmp (DESIGN.md, "No node uses /tmp").
    pub fn node_tmp(&self, node: &NodeName) -> PathBuf {
        self.node_run(node).join("tmp")
    }

    /// Where the shim of this incarnation listens.
    pub fn shim_socket(&self, node: &NodeName, incarnation: Incarnation) -> PathBuf {
        self.node_run(node).join(format!("shim.{incarnation}.sock"))
    }

    /// What the node's shims have to say of themselves: nothing, unless one panics.
    pub fn shim_log(&self, node: &NodeName) -> PathBuf {
        self.node_run(node).join("shim.log")
    }

    /// Held (flock) while anything of the node's tree lives.
    pub fn node_lock(&self, node: &NodeName) -> PathBuf {
        self.node_run(node).join("lock")
    }

    /// The exit record of one incarnation.
    pub fn exit_record(&self, node: &NodeName, incarnation: Incarnation) -> PathBuf {
        self.node_run(node).join(format!("exit.{incarnation}"))
    }

    /// What the node's last start was made of.
    pub fn launched(&self, node: &NodeName) -> PathBuf {
        self.node_run(node).join("launched.json")
    }

    /// Where a node sends sd_notify messages.
    pub fn notify_socket(&self, node: &NodeName) -> PathBuf {
        self.node_run(node).join("notify.sock")
    }

    /// mysqld's unix socket. A contract.
    pub fn mysql_socket(&self) -> PathBuf {
        self.node_run(&NodeName::mysql()).join("mysqld.sock")
    }

    /// How many bytes `root` may have so that every socket path below it fits: the longest is a shim's, with a name of
    /// [`NodeName::MAX_BYTES`] and a ten-digit incarnation.
    pub fn root_bytes_max() -> usize {
        let longest = NodeName::new("x".repeat(NodeName::MAX_BYTES))
            .map(|node| Layout::new("/").shim_socket(&node, Incarnation(9_999_999_999)).as_os_str().len());
        // A name of MAX_BYTES letters is valid by construction; an error here would only make the bound strict.
        SOCKET_PATH_MAX - longest.unwrap_or(SOCKET_PATH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_contract_of_the_readme() {
        let l = Layout::new("/r");
        let b = NodeName::broker(2);
        assert_eq!(l.log(&b), Path::new("/r/nodes/broker-2/log/current"));
        assert_eq!(l.mysql_socket(), Path::new("/r/nodes/mysql/run/mysqld.sock"));
        assert_eq!(l.control_socket(), Path::new("/r/run/control.sock"));
        assert_eq!(l.secret("debezium"), Path::new("/r/state/secrets/debezium"));
        assert_eq!(l.node_state(&b), Path::new("/r/state/nodes/broker-2.json"));
    }

    #[test]
    fn a_root_of_the_longest_allowed_length_leaves_room_for_every_socket() {
        assert!(Layout::root_bytes_max() >= 30, "{}", Layout::root_bytes_max());
        let root = format!("/{}", "r".repeat(Layout::root_bytes_max() - 1));
        let node = NodeName::new("x".repeat(NodeName::MAX_BYTES)).unwrap();
        let socket = Layout::new(root).shim_socket(&node, Incarnation(9_999_999_999));
        assert!(socket.as_os_str().len() <= SOCKET_PATH_MAX);
    }
}
