//! The command line of `drill`: one subcommand per drill, and the history.

use crate::base::{drill, units::parse_duration};
use clap::{Args as ClapArgs, Subcommand};
use std::time::Duration;

/// `drill`.
#[derive(Clone, Debug, Subcommand)]
pub enum Drill {
    /// SIGKILL to a broker
    BrokerKill(DrillBroker),
    /// SIGTERM to a broker
    BrokerTerm(DrillBroker),
    /// A broker that stands still for a while (SIGSTOP, SIGCONT); needs --confirm
    BrokerPause {
        /// Which
        #[command(flatten)]
        broker: DrillBroker,
        /// How long
        #[command(flatten)]
        lasts: DrillLasts,
    },
    /// Two brokers killed and kept down: writes must be refused, and nothing lost; needs --confirm
    TwoBrokers {
        /// Which
        #[command(flatten)]
        broker: DrillBroker,
        /// How long
        #[command(flatten)]
        lasts: DrillLasts,
    },
    /// ZooKeeper stopped and started
    ZookeeperRestart(DrillAny),
    /// ZooKeeper killed and kept down: leaders go on; needs --confirm
    ZookeeperDown {
        /// The rest
        #[command(flatten)]
        any: DrillAny,
        /// How long
        #[command(flatten)]
        lasts: DrillLasts,
    },
    /// SIGKILL to mysqld; needs --confirm
    MysqlKill(DrillAny),
    /// Everything stopped in order and started again, but the daemon; needs --confirm
    ColdRestart(DrillAny),
    /// The drills that were made, side by side
    History {
        /// At most this many of the last ones
        #[arg(short = 'n', value_name = "N", default_value_t = 20)]
        last: usize,
        /// As JSON (schema 1)
        #[arg(long)]
        json: bool,
    },
}

/// What every drill takes.
#[derive(Clone, Debug, ClapArgs)]
pub struct DrillAny {
    /// Records a second; rows are a tenth of it, 5 to 100
    #[arg(long, value_name = "N", default_value_t = drill::RATE)]
    pub rate: u32,
    /// The drill's name once more: this one interrupts service, and that is wanted
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
}

/// What a drill takes that takes a broker.
#[derive(Clone, Debug, ClapArgs)]
pub struct DrillBroker {
    /// Which broker: the one that leads most and is not the controller, the controller, or any
    #[arg(long, value_name = "WHICH", default_value = "leader", value_parser = drill_which)]
    pub which: drill::Which,
    /// The rest
    #[command(flatten)]
    pub any: DrillAny,
}

/// How long a drill keeps something broken.
#[derive(Clone, Debug, ClapArgs)]
pub struct DrillLasts {
    /// For how long [default: 10s; zookeeper-down 60s]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub lasts: Option<Duration>,
}

fn drill_which(text: &str) -> Result<drill::Which, String> {
    let known = drill::Which::ALL.into_iter().find(|w| w.as_str() == text);
    known.ok_or_else(|| format!("{text:?} is none of leader, controller, any"))
}

pub(super) const HELP: &str = "\
Three topics and a table of its own get numbered records (acks=all, idempotent) and rows, in topics cdc-supervisor-drill-1 to -3 and the
table cdc_supervisor.drill; they are removed afterwards, and nothing of yours is touched. Something is broken, everything is waited for
until it is whole again (nodes ready, every replica in sync, leaders home), and all of it is read back, rows from the table and from
the binlog. The verdict is negative when a record or row that was acknowledged is lost, is there twice or out of order, was given up by
its client, or when the stack is not whole again within three minutes.

Refused (8) while anything is not ready or in sync, while another operation is under way, when a topic of yours would go offline or
refuse writes without the broker, and without --confirm where service is interrupted. A daemon that is killed in the middle of a
drill is followed by one that undoes what the drill has left.";
