//! The logs of a root's nodes, for the verb `logs`.

mod unrest;

use super::shims;
pub use crate::logs::{
    entries::{Entries, Entry},
    follow::{Follower, Piece},
    reader::Start,
    show::display,
    translate::{Display, Reading, Translator},
    wakeup::Wakeup,
};
use crate::{
    base::{Layout, NodeKind, NodeName, Timestamp, units::parse_duration},
    config::Plan,
    services::catalogue,
    sys::{clock, error::SysError},
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
pub use unrest::Unrest;

/// Whether this user may see which nodes left a directory; a root without any is as good as one with none.
pub fn may_look(layout: &Layout) -> Result<(), SysError> {
    match std::fs::read_dir(layout.nodes()) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Err(SysError::path("read directory", &layout.nodes(), e))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The nodes that can have a log: those of the plan, in order of start, then others that left a directory under the root.
pub fn nodes(layout: &Layout, plan: Option<&Plan>) -> Vec<NodeName> {
    let mut names = plan.map(Plan::nodes).unwrap_or_default();
    let known: BTreeSet<NodeName> = names.iter().cloned().collect();
    names.extend(shims::node_dirs(layout).into_iter().filter(|n| !known.contains(n)));
    names
}

/// What writes this node's log: as the plan says, or for a node that is in no plan as its name says.
pub fn kind_of(plan: Option<&Plan>, node: &NodeName) -> NodeKind {
    if let Some(view) = plan.and_then(|plan| plan.node(node)) {
        return view.kind;
    }
    let broker = |name: &str| name.strip_prefix("broker-").and_then(|id| id.parse().ok());
    match node.as_str() {
        "zookeeper" => NodeKind::Zookeeper,
        "mysql" => NodeKind::Mysql,
        "kafka-ui" => NodeKind::KafkaUi,
        name => broker(name).map_or(NodeKind::Command, NodeKind::Broker),
    }
}

/// How a line of such a node reads, by the catalogue of known lines. `was_within`: whether the node or a broker was starting or away
/// so short a time ago that a line which is harmless only then is ([`Unrest`]).
pub fn reading(kind: NodeKind, line: &[u8], was_within: impl FnOnce(Duration) -> bool) -> Reading {
    let line = String::from_utf8_lossy(line);
    if let Some(known) = catalogue::fatal(kind, &line) {
        return Reading::Fatal { meaning: known.meaning, remedy: known.remedy };
    }
    if let Some(known) = catalogue::noted(kind, &line) {
        return Reading::Noted { meaning: known.meaning, remedy: known.remedy };
    }
    let Some(known) = catalogue::harmless(kind, &line) else { return Reading::Plain };
    match known.passes {
        Some(passes) if !was_within(passes.within) => Reading::Noted { meaning: passes.meaning, remedy: passes.remedy },
        Some(_) | None => Reading::Harmless { meaning: known.meaning },
    }
}

/// The name under which the daemon's own log is asked for. A node of that name comes first.
pub const SUPERVISOR: &str = "supervisor";

/// Why a log could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] SysError),
    /// What was read could not be handed on.
    #[error("cannot write")]
    Output(#[source] io::Error),
}

/// Where a node's log is: a directory, or the file of the daemon's own log.
pub fn path(layout: &Layout, node: &NodeName) -> PathBuf {
    let dir = layout.log_dir(node);
    if node.as_str() == SUPERVISOR && !dir.exists() { layout.supervisor_log() } else { dir }
}

/// A reader of the log at a [`path`].
pub fn follower_of(path: &Path, start: Start) -> Follower {
    Follower::new(path, start)
}

/// Reads `--since`: a time ago (`10m`, `2h`) or a moment (RFC 3339).
pub fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_duration(text) {
        let millis = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp(clock::wall().0.saturating_sub(millis)));
    }
    Timestamp::parse(text).map_err(|_| {
        format!("{text:?} is neither a time ago such as \"10m\" nor a moment such as \"2026-01-02T15:04:05Z\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_ago_or_a_moment() {
        let since = parse_since("10m").unwrap();
        let ago = clock::wall().0 - since.0;
        assert!((600_000..660_000).contains(&ago), "{ago}");
        assert_eq!(parse_since("2025-11-23T03:07:59.042Z").unwrap(), Timestamp(1_763_867_279_042));
        assert!(parse_since("yesterday").unwrap_err().contains("\"10m\""));
    }

    #[test]
    fn a_line_is_read_by_what_wrote_it() {
        let line = b"ERROR Error processing message, terminating consumer process:  (kafka.tools.ConsoleConsumer$)";
        let node = |name: &str| kind_of(None, &NodeName::new(name).unwrap());
        fn never(_: Duration) -> bool {
            panic!("it means the same at any time")
        }
        assert!(matches!(reading(node("consumer"), line, never), Reading::Harmless { .. }));
        assert_eq!(reading(node("mysql"), line, never), Reading::Plain);
        assert_eq!(node("broker-12"), NodeKind::Broker(12));
        let full = b"java.io.IOException: No space left on device";
        assert!(matches!(reading(node("broker-1"), full, never), Reading::Fatal { .. }));
        let evicted = b"2026-11-25T14:13:22.002Z INFO Expiring session 0x10000b1c1a90003, timeout of 12000ms exceeded (org.apache.zookeeper.server.ZooKeeperServer)";
        assert!(matches!(reading(node("zookeeper"), evicted, never), Reading::Noted { .. }));
    }

    #[test]
    fn a_line_that_is_harmless_for_a_while_is_told_plainly_behind_it() {
        for line in [
            "ERROR [KafkaApi-1] Number of alive brokers '1' does not meet the required replication factor '3' for the offsets topic",
            "WARN Connection to node 2 (/127.0.0.1:29093) could not be established. Broker may not be available. (org.apache.kafka.clients.NetworkClient)",
        ] {
            let at = |seconds: u64| {
                let since = Duration::from_secs(seconds);
                reading(NodeKind::Broker(1), line.as_bytes(), |within| since <= within)
            };
            assert!(matches!(at(2), Reading::Harmless { .. }), "{line}");
            let Reading::Noted { meaning, remedy } = at(33) else {
                panic!("31 s later it means something else: {line}")
            };
            assert!(meaning.contains("advertise") && remedy.contains("verify"), "{meaning}: {remedy}");
        }
    }

    #[test]
    fn nodes_of_the_plan_come_first_and_directories_of_others_after_them() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for name in ["old", "mysql", "Not-A-Node"] {
            std::fs::create_dir_all(layout.nodes().join(name)).unwrap();
        }
        assert_eq!(nodes(&layout, None), [NodeName::mysql(), NodeName::new("old").unwrap()]);
        let source = crate::config::Source {
            text: "[zookeeper]\n[mysql]\n",
            name: "t",
            root_override: None,
            default_root: dir.path().to_owned(),
        };
        let plan = crate::config::load(&source).unwrap();
        assert_eq!(nodes(&layout, Some(&plan)), ["zookeeper", "mysql", "old"].map(|n| NodeName::new(n).unwrap()));
    }
}
