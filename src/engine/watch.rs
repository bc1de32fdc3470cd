//! The probing task of one run: when to look, never what it means.

use super::{Engine, node::Happening};
use crate::{
    base::{
        Incarnation, NodeKind, NodeName, Verdict,
        recipe::{ProbeKind, Recipe},
    },
    lifecycle::Event,
    probe::{self, Context},
    services,
    shim::wire::Notified,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

pub(super) fn begin(engine: &mut Engine, node: &NodeName, incarnation: Incarnation) {
    let zookeeper = engine.nodes.values().find_map(|n| match n.recipe.probe.kind {
        ProbeKind::Zookeeper(address) => Some(address),
        ProbeKind::None
        | ProbeKind::Tcp(_)
        | ProbeKind::Http(_)
        | ProbeKind::Exec(_)
        | ProbeKind::Notify
        | ProbeKind::Broker { .. }
        | ProbeKind::Mysql { .. } => None,
    });
    let log = engine.layout.log(node);
    let sink = engine.sink.clone();
    let Some(runtime) = engine.nodes.get_mut(node) else { return };
    let Some(link) = &runtime.link else { return };
    let looking = Looking {
        node: node.clone(),
        incarnation,
        recipe: Arc::clone(&runtime.recipe),
        notified: link.notified.clone(),
        zookeeper,
        log,
        served: runtime.ready_since.is_some(),
        sink,
    };
    if let Some(old) = runtime.watch.replace(tokio::spawn(looking.run())) {
        old.abort();
    }
}

struct Looking {
    node: NodeName,
    incarnation: Incarnation,
    recipe: Arc<Recipe>,
    notified: watch::Receiver<Notified>,
    zookeeper: Option<SocketAddr>,
    log: PathBuf,
    /// A look has found it serving: what its start-up told last explains nothing any more.
    served: bool,
    sink: mpsc::UnboundedSender<(NodeName, Happening)>,
}

impl Looking {
    async fn run(mut self) {
        let probe = self.recipe.probe.clone();
        loop {
            let verdict = probe::attempt(&probe, &self.context().await).await;
            let ready = matches!(verdict, Verdict::Ready(_));
            self.served |= serves(&verdict);
            let event = Event::Probed { incarnation: self.incarnation, verdict };
            if self.sink.send((self.node.clone(), Happening::Probed(event))).is_err() {
                return;
            }
            let pause = if ready { probe.ready_interval } else { probe.start_interval };
            if pause.is_zero() {
                return;
            }
            self.pause(pause).await;
        }
    }

    /// Waits, but no longer than until the node says something itself.
    async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // An ended link leaves only the clock.
            changed = self.notified.changed() => if changed.is_err() {
                tokio::time::sleep(pause).await;
            },
        }
    }

    async fn context(&mut self) -> Context {
        let notified = self.notified.borrow_and_update().clone();
        let progress = match self.recipe.kind {
            NodeKind::Broker(_) | NodeKind::Mysql | NodeKind::Zookeeper if !self.served => {
                let (log, kind) = (self.log.clone(), self.recipe.kind);
                tokio::task::spawn_blocking(move || services::progress(kind, &last_block(&log))).await.ok().flatten()
            }
            NodeKind::Broker(_) | NodeKind::Mysql | NodeKind::Zookeeper | NodeKind::KafkaUi | NodeKind::Command => None,
        };
        Context {
            notified: self.recipe.launch.notify.then_some((notified.ready, notified.status)),
            env: self.recipe.launch.env.clone(),
            dir: self.recipe.launch.dir.clone(),
            user: self.recipe.launch.user.clone(),
            last_log_progress: progress,
            zookeeper: self.zookeeper,
        }
    }
}

/// Whether a node serves, be it with something missing.
fn serves(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Ready(_) | Verdict::Degraded(_) => true,
        Verdict::NotReady { .. } => false,
    }
}

/// The last 64 KiB of a log: some 300 lines, so that what a broker reads back is seen with its pace.
fn last_block(log: &std::path::Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(64 << 10)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // No log, no progress known.
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Layout, programs::Programs};

    #[tokio::test]
    async fn what_a_start_told_last_is_no_reason_of_a_node_that_has_served() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("current");
        std::fs::write(&log, "2026-11-26T10:41:40Z 0 [System] [MY-010232] [Server] XA crash recovery finished.\n")
            .unwrap();
        let text = "[command.a]\nargv = [\"/bin/true\"]\n";
        let source = crate::config::Source { text, name: "t", root_override: None, default_root: "/r".into() };
        let plan = crate::config::load(&source).unwrap();
        let (layout, programs) = (Layout::new(dir.path()), Programs::default());
        let inputs =
            services::Inputs { plan: &plan, programs: &programs, layout: &layout, cores: 1, running_as_root: false };
        let mut recipe = services::recipes(&inputs).unwrap().remove(0);
        recipe.kind = NodeKind::Mysql;
        let mut looking = Looking {
            node: NodeName::mysql(),
            incarnation: Incarnation(1),
            recipe: Arc::new(recipe),
            notified: watch::channel(Notified::default()).1,
            zookeeper: None,
            log,
            served: false,
            sink: mpsc::unbounded_channel().0,
        };
        assert_eq!(looking.context().await.last_log_progress.as_deref(), Some("XA crash recovery finished."));
        looking.served |= serves(&Verdict::not_ready("no answer"));
        assert!(looking.context().await.last_log_progress.is_some());
        looking.served |= serves(&Verdict::Degraded("a replica is missing".into()));
        assert_eq!(looking.context().await.last_log_progress, None);
    }
}
