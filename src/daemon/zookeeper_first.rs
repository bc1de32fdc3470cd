//! Before everything stops in order: brokers that run without their ZooKeeper get it back, because without it they do not end.
//!
//! A broker that is told to stop asks ZooKeeper who the controller is, and asks until it is answered (KafkaServer.controlledShutdown,
//! KafkaZkClient.retryRequestUntilConnected; 3.5.2). Seen: three brokers killed after their grace of 180 s, with no log closed.

use crate::{
    base::{EventKind, EventLine, NodeKind, NodeName, Reason},
    engine::{EngineOrder, Handle, Snapshot},
};
use std::time::Duration;
use tokio::time::timeout;

/// How long it may take to serve: it starts in one or two seconds. One that cannot is not waited for; then the graces are the bound.
const LONGEST: Duration = Duration::from_secs(30);

/// Starts ZooKeeper where brokers need it for their end, and waits until it serves. `say`: for whoever waits for the stop meanwhile.
/// What was done, for the answer at the end; none: it was not needed.
pub(super) async fn bring_back(engine: &Handle, say: impl FnOnce(NodeName, String) + Send) -> Option<String> {
    let zookeeper = lacking(&engine.snapshot())?;
    let words = "started first: brokers run, and none can end without it".to_owned();
    let done = format!("{zookeeper} was {words}");
    let in_vain = "does not serve: brokers are killed after their grace, and recover their logs at the next start";
    engine.journal().note(EventLine::new(EventKind::Order, &words).node(&zookeeper));
    say(zookeeper.clone(), words);
    let start = EngineOrder::Start { nodes: vec![zookeeper.clone()], with_needs: true };
    let came = timeout(LONGEST, engine.because(Reason::Down).order(start)).await;
    if !matches!(came, Ok(Ok(_))) {
        tracing::warn!(node = %zookeeper, "it {in_vain}");
        return Some(format!("{zookeeper} was to be started first, and {in_vain}"));
    }
    Some(done)
}

/// The ZooKeeper that does not serve while brokers run.
fn lacking(now: &Snapshot) -> Option<NodeName> {
    let brokers = now.nodes.iter().any(|n| matches!(n.kind, NodeKind::Broker(_)) && n.process.is_some());
    let zookeeper =
        now.nodes.iter().find(|n| n.kind == NodeKind::Zookeeper && !matches!(n.state, "ready" | "degraded"));
    zookeeper.filter(|_| brokers).map(|n| n.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::NodeSnapshot;
    use std::sync::Arc;

    #[test]
    fn zookeeper_is_lacking_when_it_does_not_serve_a_broker_that_runs() {
        let lacks = |zookeeper: &'static str, broker: &'static str| {
            let nodes = vec![
                Arc::new(NodeSnapshot::sample(NodeName::zookeeper(), NodeKind::Zookeeper, zookeeper, 1)),
                Arc::new(NodeSnapshot::sample(NodeName::broker(1), NodeKind::Broker(1), broker, 1)),
            ];
            lacking(&Snapshot { nodes, ..Snapshot::default() }).is_some()
        };
        for runs in ["starting", "ready", "degraded", "stopping"] {
            for (zookeeper, wanted) in [
                ("down", true),
                ("failed", true),
                ("backoff", true),
                ("starting", true),
                ("ready", false),
                ("degraded", false),
            ] {
                assert_eq!(lacks(zookeeper, runs), wanted, "zookeeper {zookeeper}, broker {runs}");
            }
        }
        assert!(!lacks("down", "down") && !lacks("down", "failed") && !lacks("down", "waiting"));
        assert!(lacking(&Snapshot::default()).is_none());
    }
}
