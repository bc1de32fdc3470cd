//! The command line of `drill`: one subcommand per drill, and the history.

use crate::base::{drill, units::parse_duration};
use clap::{Args as ClapArgs, Subcommand};
use std::{path::PathBuf, time::Duration};

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
    /// The file system fills up until brokers are stopped for it, and is emptied again; on a throw-away cluster of its own
    DiskFull {
        /// Without the guard of `[disk]`: until nothing can be written
        #[arg(long)]
        no_guard: bool,
        /// The rest
        #[command(flatten)]
        any: DrillThrowAway,
    },
    /// A broker is killed and another program takes its port before it is back; on a throw-away cluster of its own
    PortThief {
        /// Which broker: the one that leads most and is not the controller, the controller, or any
        #[arg(long, value_name = "WHICH", default_value = "leader", value_parser = drill_which)]
        which: drill::Which,
        /// The rest
        #[command(flatten)]
        any: DrillThrowAway,
    },
    /// ZooKeeper's data is gone and the brokers' is not: nothing may start; on a throw-away cluster of its own
    ClusterIdMismatch(DrillThrowAway),
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

/// What a drill takes that makes a cluster of its own.
#[derive(Clone, Debug, ClapArgs)]
pub struct DrillThrowAway {
    /// Records a second
    #[arg(long, value_name = "N", default_value_t = drill::RATE)]
    pub rate: u32,
    /// Make the throw-away cluster below this directory [default: the root]
    #[arg(long, value_name = "DIR")]
    pub on: Option<PathBuf>,
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
drill is followed by one that undoes what the drill has left.

disk-full, port-thief and cluster-id-mismatch touch no cluster of yours, which may be down or broken, and interrupt nothing: they
make a ZooKeeper and three small brokers of their own from the programs of the store, below ROOT/drill (or --on DIR), on free ports,
for about a minute. Refused (8), with the numbers, when that does not fit into memory beside what is configured (1.4G, disk-full
1.6G), while another such drill runs there, and when ROOT/drill is somebody else's; (5) when programs are missing; (4) when ports are, or
when disk-full may not mount the small file system that it fills: that takes root, or a kernel that gives user namespaces to everybody.
disk-full wants brokers stopped in order before it is full, and back by themselves; --no-guard fills it faster than that.
At the end, also at Ctrl-C, all of it is removed; what a killed one leaves, the next one removes. The report is in the same history.";
