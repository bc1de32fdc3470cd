//! The arguments of `topics`.

use clap::{Args as ClapArgs, Subcommand};

/// `topics`.
#[derive(Clone, Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Topics {
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
    /// What else [default: what there is, against the configuration]
    #[command(subcommand)]
    pub what: Option<TopicsDo>,
}

/// What is done with them.
#[derive(Clone, Debug, Subcommand)]
pub enum TopicsDo {
    /// Make, grow and set what the configuration says and is not so; returns when it is
    Apply,
    /// Delete a topic that is not in the configuration, with all its records
    Remove {
        /// Which
        #[arg(value_name = "NAME")]
        name: String,
        /// Its name once more
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
}

pub(super) const HELP: &str = "\
A topic of the configuration ([[kafka.topic]]) is made when every broker is there, gets more partitions and its settings: at a start of \
the daemon, when brokers come back, at a reload, and by `apply`. In between it is only looked at, and what differs is told. Never done: \
fewer partitions, other copies, and anything to a setting that somebody else has set. A topic that leaves the file is kept until \
`remove`. Exit code 9: something differs.";
