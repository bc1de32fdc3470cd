//! The arguments of `reload`, `roll` and `why-not`.

use super::node_name;
use crate::base::{NodeName, units::parse_duration};
use clap::Args as ClapArgs;
use std::time::Duration;

/// What may be agreed to before a broker is taken away.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct Consent {
    /// Go on although partitions have too few replicas and are unavailable while one of their brokers is away
    #[arg(long)]
    pub accept_unavailable: bool,
    /// Do not wait for replicas on brokers that are stopped by order or are no more, where nothing breaks by it
    #[arg(long)]
    pub force: bool,
}

/// `reload`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Reload {
    /// Longest wait for one thing: the cluster to be whole, a node to be ready; then the rest is left
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub max_wait: Duration,
    /// For brokers that are restarted.
    #[command(flatten)]
    pub consent: Consent,
}

pub(super) const RELOAD_HELP: &str = "\
Brokers that must restart do so one by one, looked at before each as by `roll` (see `roll --help`); `plan` tells what would break.

Before anything is stopped, mysqld is asked whether it takes its options, and brokers about what they would be given while they run (exit 3); data \
of a newer program refuse an older one (exit 8). A node that does not come up gets everything its old settings back, as far as its data were not written by a newer program.";

/// `roll`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Roll {
    /// Only say in which order, and what would break and be waited for; touches nothing
    #[arg(long)]
    pub plan: bool,
    /// The plan as JSON (schema 1)
    #[arg(long, requires = "plan")]
    pub json: bool,
    /// Longest wait for one thing: the cluster to be whole, a broker to be ready; then the rest is left (exit 6)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub max_wait: Duration,
    /// What may be agreed to.
    #[command(flatten)]
    pub consent: Consent,
    /// Which brokers [default: all that are not stopped by order]
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub nodes: Vec<NodeName>,
}

pub(super) const ROLL_HELP: &str = "\
A broker that is not ready goes first, the controller last. Before each one ZooKeeper must be ready and know every broker, every \
broker must answer, list every other and name the same controller, every replica of every partition must be in sync, and leaders \
must be back where they belong (for at most ten seconds, with kafka.elect_preferred). What would break is told as four lists. It \
waits for what passes. What passes only by somebody's hand, replicas on brokers that are stopped by order or are no more, is gone \
over with --force where nothing breaks. Partitions with too few replicas for any waiting to help are refused (exit 8), at the \
beginning and before each broker, unless --accept-unavailable is given. A broker that does not come back ends the roll: no other \
is restarted. One that is stopped by order meanwhile stays stopped. Settings are not changed by it: that is `reload`, which restarts what must restart in the same way.

When the daemon dies in the middle, the next one finishes it: once, when the nodes have settled, with the --max-wait and the consent given here; `status` says \
how far it is, or why it is left. When two daemons have died in it none goes on, and `roll` does the rest.";

/// `why-not`.
#[derive(Clone, Debug, ClapArgs)]
pub struct WhyNot {
    /// Which
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub node: NodeName,
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
}

pub(super) const WHY_NOT_HELP: &str = "\
For a broker the partitions of all topics, internal ones too, as four lists. goes offline: their only replica is on it. refuses \
acks=all: fewer than min.insync.replicas would stay in sync. unreadable: no replica that stays is in sync, so nobody could lead. may \
lose acks=1: it leads them and its followers have not confirmed the newest records. Waits for: what a roll would wait for first. \
Without a ZooKeeper that can be used no leader could move, and that is the answer.";
