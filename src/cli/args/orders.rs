//! `start`, `stop`, `restart`, `kill`, `fence`: one order about nodes.

use super::node_name;
use crate::base::{NodeName, outcome::parse_signal};
use clap::Args as ClapArgs;

/// `start`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Start {
    /// Also while a drill is under way, which then ends as it may
    #[arg(long)]
    pub anyway: bool,
    /// Which
    #[arg(value_name = "NODE", required = true, value_parser = node_name)]
    pub nodes: Vec<NodeName>,
}

/// `restart`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Restart {
    /// Also several brokers at once, ZooKeeper while a broker is not ready, and while a roll, a drill or a reload is under way
    #[arg(long)]
    pub anyway: bool,
    /// Which
    #[arg(value_name = "NODE", required = true, value_parser = node_name)]
    pub nodes: Vec<NodeName>,
}

pub(super) const RESTART_HELP: &str = "\
Refused with exit code 8: several brokers that run (`roll` restarts them one by one), and, as for `stop`, nodes of the stack while a \
roll, a drill or a reload takes nodes away itself. ZooKeeper is restarted when every broker is ready and says that every replica is in sync, which is waited for at most a minute; it \
is told how long it was away, and whether that was longer than the brokers' sessions last (kafka.session_timeout). `--anyway` asks none of it; \
`down` and `kill` are never refused.";

/// `stop`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Stop {
    /// Kill instead of asking, also what is still starting: a broker checks all its logs at the next start, mysqld recovers
    #[arg(long)]
    pub now: bool,
    /// Also while a roll, a drill or a reload is under way, which then ends as it may
    #[arg(long)]
    pub anyway: bool,
    /// Which
    #[arg(value_name = "NODE", required = true, value_parser = node_name)]
    pub nodes: Vec<NodeName>,
}

/// `kill`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Kill {
    /// Which
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub node: NodeName,
    /// Name or number: SIGKILL, HUP, 15
    #[arg(short, long, value_name = "S", value_parser = parse_signal)]
    pub signal: i32,
}

/// `fence`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Fence {
    /// Which broker
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub node: NodeName,
}

pub(super) const FENCE_HELP: &str = "\
The daemon does this by itself when a broker dies (kafka.fencing). By hand it obeys the same guard: the end of the broker's
last run is on record and nothing of it lives, the session is the one of that run, nobody listens on the broker's ports, and
the ZooKeeper that answers is the supervisor's own. Otherwise: exit code 8, with the reason, and nothing is touched.";
