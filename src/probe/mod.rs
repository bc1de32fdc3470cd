//! One attempt to see whether a node is ready: a verdict with its reason in plain words. When to look again is the
//! caller's business.

mod broker;
mod mysql;
mod simple;

use crate::base::{
    Moment, Verdict,
    recipe::{Probe, ProbeKind},
};
use crate::sys::clock;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// What an attempt may need besides its recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// What the node said over its notify socket: whether READY=1 came, and the last STATUS text. None when nothing is
    /// known of it (no socket, or the node was adopted after its message was read by somebody else).
    pub notified: Option<(bool, String)>,
    /// The node's environment, for commands.
    pub env: Vec<(String, String)>,
    /// The node's working directory, for commands.
    pub dir: PathBuf,
    /// Who the node runs as, for commands; none: as this process.
    pub user: Option<String>,
    /// The last line of the node's log that told of progress (`recovered 12 of 150 logs`).
    pub last_log_progress: Option<String>,
    /// Where ZooKeeper listens, for a second opinion on brokers.
    pub zookeeper: Option<SocketAddr>,
}

/// Looks once, for at most `probe.timeout`.
pub async fn attempt(probe: &Probe, context: &Context) -> Verdict {
    let budget = Budget::new(probe.timeout);
    let look = async {
        match &probe.kind {
            ProbeKind::None => Verdict::Ready("running".into()),
            ProbeKind::Tcp(address) => simple::tcp(*address, &budget).await,
            ProbeKind::Http(url) => simple::http(url, &budget).await,
            ProbeKind::Exec(argv) => simple::exec(argv, context, &budget).await,
            ProbeKind::Notify => simple::notify(context.notified.as_ref()),
            ProbeKind::Zookeeper(address) => simple::zookeeper(*address, &budget).await,
            ProbeKind::Broker { id, internal, external } => {
                broker::look(*id, *internal, *external, context, &budget).await
            }
            ProbeKind::Mysql { socket, root_password } => mysql::look(socket, root_password, context, &budget).await,
        }
    };
    // Each step is bounded by what is left of the budget and has better words; this is the net below them.
    match tokio::time::timeout(probe.timeout + Duration::from_millis(100), look).await {
        Ok(verdict) => verdict,
        Err(_) => context.not_yet(format!("no answer within {}", crate::base::units::human_duration(probe.timeout))),
    }
}

/// The time of one attempt, shared by its steps.
#[derive(Clone, Copy, Debug)]
struct Budget {
    until: Moment,
}

impl Budget {
    fn new(limit: Duration) -> Self {
        Self { until: clock::now() + limit }
    }

    /// What is left; at least a millisecond, so that a step ends with its own words.
    fn left(&self) -> Duration {
        self.until.since(clock::now()).max(Duration::from_millis(1))
    }
}

impl Context {
    /// "Not yet", with the log's progress as mark and, if there is one, in the words.
    fn not_yet(&self, why: impl Into<String>) -> Verdict {
        let why = why.into();
        match &self.last_log_progress {
            Some(progress) => {
                Verdict::NotReady { why: format!("{why} ({progress})"), progress: Some(progress.clone()) }
            }
            None => Verdict::not_ready(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_can_run_on_any_thread() {
        fn is_send<F: Future + Send>(_: &F) {}
        let probe = Probe {
            kind: ProbeKind::None,
            timeout: Duration::ZERO,
            start_interval: Duration::ZERO,
            ready_interval: Duration::ZERO,
            failures: 0,
            start_deadline: Duration::ZERO,
        };
        is_send(&attempt(&probe, &Context::default()));
    }
}
