//! The command line as it is written.
//!
//! Past 500 lines because it is the help text of every verb, in one place so that the words stay alike.

mod drill;
mod orders;
mod programs;
mod roll;
mod stores;
mod topics;

pub use drill::{Drill, DrillAny, DrillBroker, DrillLasts, DrillThrowAway};
pub use orders::{Fence, Kill, Restart, Start, Stop};
pub use programs::{Artifacts, Bundle, BundleFile, BundleInstall, Fetch, Gc};
pub use roll::{Consent, Reload, Roll, WhyNot};
pub use stores::{Reset, Restore, Snapshot};
pub use topics::{Topics, TopicsDo};

use super::exit::Exit;
use crate::{
    base::{Cause, EventKind, NodeName, Reason, Timestamp, incident::OUTCOMES, units::parse_duration},
    offline::{doctor, logs::parse_since},
};
use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use regex::bytes::Regex;
use std::{fmt::Write as _, path::PathBuf, time::Duration};

/// Runs ZooKeeper, three Kafka brokers and MySQL natively on one Linux box, each under a memory cap
#[derive(Clone, Debug, Parser)]
#[command(name = "cdc-supervisor", version, after_long_help = long_help(), disable_help_subcommand = true)]
pub struct Args {
    /// The configuration [default: ./supervisor.toml, then /etc/cdc-supervisor/supervisor.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory of everything: programs, data, logs, state [default: `root` in the file]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Check the host, fetch, prepare, start, wait until all is ready and proven
    Up(Up),
    /// The daemon itself, for the unit
    Run(Run),
    /// Stop everything in order, the daemon included
    Down(Down),
    /// Nodes, their memory and caps, and why something is not ready
    Status(Status),
    /// What nodes have written, across rotated files
    Logs(Logs),
    /// What happened: starts, ends, orders and who gave them
    Events(Events),
    /// One record per death: why, what was done, what became of it, what to change
    Incidents(Incidents),
    /// Start nodes and what they need; returns when they are ready
    Start(Start),
    /// Stop nodes; returns when they are gone
    Stop(Stop),
    /// Stop and start nodes; returns when they are ready again
    #[command(after_long_help = orders::RESTART_HELP)]
    Restart(Restart),
    /// Send a signal to a node's main process
    Kill(Kill),
    /// Look whether the stack keeps its promises, as its clients meet it; exit code 9 when it does not
    #[command(after_long_help = VERIFY_HELP)]
    Verify(Verify),
    /// Break something on purpose under a load of numbered records and rows, and judge what became of it; exit code 9 when
    /// anything that was acknowledged is lost
    #[command(subcommand, after_long_help = drill::HELP)]
    Drill(Drill),
    /// Close the ZooKeeper session that a dead broker has left; refused without proof of its death
    #[command(after_long_help = orders::FENCE_HELP)]
    Fence(Fence),
    /// Look at the host: what is required, what is there, why, and what to do
    Doctor(Doctor),
    /// What the configuration file would change, and what `reload` would do about it
    Plan(Plan),
    /// Apply the configuration file: only what must restart does, brokers one at a time
    #[command(after_long_help = roll::RELOAD_HELP)]
    Reload(Reload),
    /// Restart brokers one by one, each when nothing breaks by it; waits while something would, and says for what
    #[command(after_long_help = roll::ROLL_HELP)]
    Roll(Roll),
    /// What breaks if this node is stopped now; exit code 9 when something does
    #[command(after_long_help = roll::WHY_NOT_HELP)]
    WhyNot(WhyNot),
    /// Topics against the configuration: list, put into force, delete; exit code 9 when something differs
    #[command(after_long_help = topics::HELP)]
    Topics(Topics),
    /// Fetch and verify the programs, and nothing else
    Fetch(Fetch),
    /// What the store of programs has, what of it may go, and whether it is whole
    #[command(subcommand)]
    Artifacts(Artifacts),
    /// The programs of this configuration as one file, for a machine without a network
    #[command(subcommand, after_long_help = programs::BUNDLE_HELP)]
    Bundle(Bundle),
    /// Copies of all data that belong together: ZooKeeper, brokers and MySQL at one moment
    #[command(subcommand, after_long_help = stores::HELP)]
    Snapshot(Snapshot),
    /// Put the data of a snapshot in the place of what is there
    Restore(Restore),
    /// Delete the data of ZooKeeper and all brokers, or of MySQL, so that they begin anew
    Reset(Reset),
    /// Replace the daemon's program by the one that lies at its place now; nodes run on
    UpgradeSelf,
    /// Write a completion script to standard output
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Write down who has the configuration's ports, for the unit's daemon, which may not look
    #[command(hide = true)]
    PortOwners,
    /// Take a port as soon as it is free and keep it until standard input ends, for the drill port-thief
    #[command(hide = true)]
    HoldPort {
        /// Which
        #[arg(value_name = "ADDRESS:PORT")]
        address: std::net::SocketAddr,
    },
    /// The drop-ins that let the installed units write where this configuration has its root, data, store and snapshots
    #[command(after_long_help = programs::UNIT_PATHS_HELP)]
    UnitPaths {
        /// Put them into /etc/systemd/system (remove them where none is needed), and have systemd read them; as root
        #[arg(long)]
        write: bool,
    },
    /// Print the root of this configuration, for the installer
    #[command(hide = true)]
    Root,
    /// Print where the data of this configuration lie, `WHAT PATH` a line, for the installer
    #[command(hide = true)]
    Places,
    /// Write the manual pages below a directory, for a release
    #[command(hide = true)]
    Man {
        /// Where `man1` and `man5` are made
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// `up`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Up {
    /// Return when all is ready; the nodes stay up
    #[arg(long)]
    pub detach: bool,
    /// Start only these nodes, and what they need
    #[arg(long, value_name = "NODE", num_args = 1.., value_delimiter = ',', value_parser = node_name)]
    pub only: Vec<NodeName>,
    /// Give up when nothing has moved for this long
    #[arg(long, value_name = "TIME", default_value = "180s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// `run`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Run {
    /// Start only these nodes, and what they need
    #[arg(long, hide = true, value_name = "NODE", num_args = 1.., value_delimiter = ',', value_parser = node_name)]
    pub only: Vec<NodeName>,
    /// Become the leader of a session of its own first
    #[arg(long, hide = true)]
    pub own_session: bool,
    /// Refuse to start where memory caps cannot be set (exit 4); nodes that live are taken over all the same
    #[arg(long)]
    pub require_caps: bool,
    /// Fetch nothing: nodes whose programs are missing wait until somebody else has fetched them, and start by themselves then
    #[arg(long)]
    pub no_fetch: bool,
    /// What the program before this one in the same process hands over
    #[arg(long, hide = true, value_name = "LOCK,LISTENER,VERSION")]
    pub handed_over: Option<String>,
    /// Only say whether this program could go on with what is there
    #[arg(long, hide = true)]
    pub check: bool,
}

/// `down`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Down {
    /// Kill instead of asking: brokers check all their logs at the next start, mysqld recovers
    #[arg(long)]
    pub now: bool,
}

/// `verify`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Verify {
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
}

const VERIFY_HELP: &str = "\
Looked at: broker lists, replicas in sync and min.insync.replicas; leaders on every broker (waited for, 35 seconds at most); for
each listener, INTERNAL ones too, whether it advertises every broker's host and port as configured, and a record through each
partition by a client that knows only that listener; MySQL's binlog settings, the grants of debezium, its login and its calls;
a row inserted, updated and deleted, read back from the binlog with whole row images and its GTIDs. It leaves records in the topic
test-phase1 and the empty table cdc_supervisor.verify; no topic or table of yours is touched.";

/// `status`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Status {
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
    /// What memory is made of, per node, in sum and of the supervisor itself: cap, current, anon, file, kernel, peak, trend
    #[arg(long, conflicts_with = "json")]
    pub memory: bool,
    /// Go on showing it
    #[arg(long)]
    pub watch: bool,
}

/// `plan`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Plan {
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
}

/// `logs`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Logs {
    /// Go on as more is written
    #[arg(short, long)]
    pub follow: bool,
    /// At most this many of the last lines of each node, with --grep of the last matches [default: 20, with --since all]
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub lines: Option<usize>,
    /// Only what is as new as this: a time ago (10m) or a moment (2026-01-02T15:04:05Z)
    #[arg(long, value_name = "T", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// Only what is as old as this
    #[arg(long, value_name = "T", value_parser = parse_since, conflicts_with_all = ["follow", "raw"])]
    pub until: Option<Timestamp>,
    /// Only what matches: a line with the lines that belong to it, such as a stack trace
    #[arg(long, value_name = "REGEX", value_parser = pattern, conflicts_with = "raw")]
    pub grep: Option<Regex>,
    /// The bytes as they are, of one node: nothing is cut, marked, folded or made harmless for a terminal
    #[arg(long)]
    pub raw: bool,
    /// Also the daemon's own log, out of systemd's journal, merged by time
    #[arg(long, conflicts_with = "raw")]
    pub journal: bool,
    /// No colours
    #[arg(long)]
    pub no_color: bool,
    /// Which nodes [default: all]
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub nodes: Vec<NodeName>,
}

/// `events`.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_long_help = kinds_help())]
pub struct Events {
    /// Go on as more happens
    #[arg(short, long)]
    pub follow: bool,
    /// As JSON, one object per line
    #[arg(long)]
    pub json: bool,
    /// At most this many of the last events [default: 50, with --since or --json all]
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub lines: Option<usize>,
    /// Only what is as new as this: a time ago (10m) or a moment (2026-01-02T15:04:05Z)
    #[arg(long, value_name = "T", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// Only of these nodes [default: all, and what is about none]
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub nodes: Vec<NodeName>,
}

/// `incidents`.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_long_help = incidents_help())]
pub struct Incidents {
    /// The number of one, for its whole story; or nodes [default: the list of all]
    #[arg(value_name = "ID|NODE", value_parser = which)]
    pub what: Vec<Which>,
    /// As JSON (schema 1); with -f one object per line
    #[arg(long)]
    pub json: bool,
    /// Go on as more happens
    #[arg(short, long)]
    pub follow: bool,
    /// Only what is as new as this: a time ago (10m) or a moment (2026-01-02T15:04:05Z)
    #[arg(long, value_name = "T", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// How many of the newest [default: 20 rows; with --json all that are kept]
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "all")]
    pub number: Option<usize>,
    /// All that are kept, not only the last 20 rows
    #[arg(long)]
    pub all: bool,
}

/// What `incidents` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// One of them.
    Id(u64),
    /// Those of a node.
    Node(NodeName),
}

impl Which {
    /// The number.
    pub fn id(&self) -> Option<u64> {
        if let Which::Id(id) = self { Some(*id) } else { None }
    }

    /// The node.
    pub fn node(self) -> Option<NodeName> {
        if let Which::Node(node) = self { Some(node) } else { None }
    }
}

/// Reads `7`, `#7` or the name of a node.
fn which(text: &str) -> Result<Which, String> {
    match text.strip_prefix('#').unwrap_or(text).parse() {
        Ok(id) => Ok(Which::Id(id)),
        Err(_) => node_name(text).map(Which::Node),
    }
}

/// `doctor`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Doctor {
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
    /// Show also what is as it should be
    #[arg(short, long)]
    pub all: bool,
    /// Change the host where it is not as it should be: what is named, or everything after a question. Needs root
    #[arg(long, value_name = "NAME", num_args = 0.., value_delimiter = ',', conflicts_with_all = ["json", "all", "script"])]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(doctor::fix::NAMES))]
    pub fix: Option<Vec<String>>,
    /// Print a shell script that makes these changes, and takes them back with `undo`
    #[arg(long, value_name = "NAME", num_args = 0.., value_delimiter = ',', conflicts_with_all = ["json", "all"])]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(doctor::fix::NAMES))]
    pub script: Option<Vec<String>>,
    /// Change everything without a question
    #[arg(long, requires = "fix")]
    pub yes: bool,
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|e| e.to_string())
}

fn node_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text)
}

/// The command as clap knows it, for completions.
pub fn command() -> clap::Command {
    Args::command()
}

fn long_help() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        // Writing into a String does not fail.
        let _ = writeln!(text, "  {:>3}  {}", exit.code(), exit.words());
    }
    text.push_str("\nCauses in `last_exit` of `status --json`:\n");
    for cause in Cause::ALL {
        let _ = writeln!(text, "  {cause}");
    }
    text.push_str("\nStates: down waiting preparing starting ready degraded stopping failed\n");
    text
}

fn incidents_help() -> String {
    let causes: Vec<&str> = Cause::ALL.iter().map(|c| c.as_str()).collect();
    format!(
        "Causes (`cause`): {}\n\nVerdicts (`verdict`): explained: nothing has to be changed; act: something has to be \
         changed, see `remedy`; unexplained: nobody knows why.\n\nOutcomes (`outcome.state`): {}",
        causes.join(" "),
        OUTCOMES.join(" ")
    )
}

fn kinds_help() -> String {
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|k| k.as_str()).collect();
    let reasons: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    format!(
        "Kinds of events (`kind`): {}\n\nWhy a node is stopped or started (`reason`): {}",
        kinds.join(" "),
        reasons.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::incident::VERDICTS;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("cdc-supervisor").chain(line.split_whitespace()))
    }

    fn names(nodes: &[NodeName]) -> Vec<&str> {
        nodes.iter().map(NodeName::as_str).collect()
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_of_the_contract_is_read() {
        for line in [
            "up",
            "up --detach",
            "run",
            "run --require-caps --no-fetch",
            "down",
            "down --now",
            "status --json",
            "status --watch",
            "logs -f -n 5 --since 10m mysql broker-1",
            "logs",
            "events -f --json -n 5 --since 10m mysql",
            "events",
            "incidents",
            "incidents 7 --json",
            "incidents -f --since 10m --all mysql broker-1",
            "start mysql broker-1",
            "stop mysql",
            "stop --now mysql broker-1",
            "restart mysql",
            "kill mysql --signal KILL",
            "doctor",
            "doctor --json --all",
            "doctor --fix swappiness,huge-pages",
            "doctor --fix --yes",
            "doctor --script",
            "plan",
            "plan --json",
            "reload",
            "reload --max-wait 30s --accept-unavailable --force",
            "roll",
            "roll --plan --json",
            "roll --max-wait 30s --accept-unavailable --force broker-1 broker-2",
            "why-not broker-1 --json",
            "topics --json",
            "topics apply",
            "topics remove orders --confirm orders",
            "fetch",
            "fetch --mirror http://10.0.0.2/m/ --accept-unpinned --rate-limit 10M",
            "fetch --mirror /",
            "fetch --look",
            "unit-paths --write",
            "artifacts list --json",
            "artifacts gc --dry-run --earlier --json",
            "artifacts verify --json",
            "bundle create f",
            "bundle verify f",
            "bundle install f --sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "verify --json",
            "drill broker-kill",
            "drill broker-kill --which controller --rate 5000 --json",
            "drill broker-term --which any",
            "drill broker-pause --for 30s --confirm broker-pause",
            "drill two-brokers --for 10s --confirm two-brokers",
            "drill zookeeper-restart",
            "drill zookeeper-down --for 60s --confirm zookeeper-down",
            "drill mysql-kill --confirm mysql-kill",
            "drill cold-restart --confirm cold-restart --json",
            "drill history -n 5 --json",
            "upgrade-self",
            "run --check",
            "completions bash",
            "man d",
            "port-owners",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn config_and_root_stand_before_or_behind_the_verb() {
        for line in ["--config f --root /r status", "status --root /r --config f"] {
            let args = parse(line).unwrap();
            assert_eq!((args.config.unwrap(), args.root.unwrap()), ("f".into(), "/r".into()));
        }
    }

    #[test]
    fn only_takes_several_nodes_in_every_spelling() {
        for line in [
            "up --only zookeeper broker-1 --detach",
            "up --only zookeeper,broker-1",
            "up --only zookeeper --only broker-1",
        ] {
            let Verb::Up(up) = parse(line).unwrap().verb else { panic!("{line}") };
            assert_eq!(names(&up.only), ["zookeeper", "broker-1"], "{line}");
            assert_eq!(up.timeout, Duration::from_secs(180));
        }
    }

    #[test]
    fn a_wrong_command_line_is_exit_2_with_words() {
        for (line, words) in [
            ("", "subcommand"),
            ("fly", "fly"),
            ("stop", "NODE"),
            ("kill mysql", "--signal"),
            ("kill mysql --signal SIGNOPE", "is not a signal"),
            ("start ../etc", "node name"),
            ("logs --since yesterday mysql", "10m"),
            ("logs --grep ( mysql", "unclosed group"),
            ("logs --grep x --raw mysql", "cannot be used with"),
            ("logs --until 1m -f", "cannot be used with"),
            ("up --timeout soon", "12s"),
            ("drill", "broker-kill"),
            ("drill meteor", "meteor"),
            ("drill broker-kill --which best", "leader, controller, any"),
            ("drill broker-kill --for 10s", "--for"),
            ("completions klingon", "klingon"),
            ("fetch --mirror ftp://x", "http://"),
            ("fetch --mirror http://kim:secret@x/", "no password"),
            ("fetch --mirror /no/such", "no directory"),
            ("fetch --rate-limit 1K", "weeks"),
            ("roll --json", "--plan"),
            ("why-not", "NODE"),
            ("topics --json apply", "cannot be used"),
            ("topics remove", "NAME"),
        ] {
            let e = parse(line).unwrap_err();
            assert_eq!(e.exit_code(), 2, "{line}");
            let text = e.to_string();
            assert!(text.contains(words) || line.is_empty(), "{line}: {text}");
        }
    }

    #[test]
    fn the_help_of_events_lists_every_kind() {
        let mut command = command();
        let text = command.find_subcommand_mut("events").unwrap().render_long_help().to_string();
        for kind in EventKind::ALL {
            assert!(text.contains(kind.as_str()), "{kind}: {text}");
        }
        for reason in Reason::ALL {
            assert!(text.contains(reason.as_str()), "{reason}: {text}");
        }
    }

    #[test]
    fn an_incident_is_named_by_its_number_with_or_without_the_sign() {
        for (text, wanted) in [("7", Which::Id(7)), ("#7", Which::Id(7)), ("mysql", Which::Node(NodeName::mysql()))] {
            assert_eq!(which(text).unwrap(), wanted);
        }
        assert!(which("#seven").is_err());
        let mut command = command();
        let text = command.find_subcommand_mut("incidents").unwrap().render_long_help().to_string();
        for word in Cause::ALL.iter().map(|c| c.as_str()).chain(OUTCOMES).chain(VERDICTS) {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn the_long_help_lists_exit_codes_and_causes() {
        let text = command().render_long_help().to_string();
        for part in ["Exit codes:", "  0  done", "130  interrupted", "killed-by-other", "out-of-memory"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!command().render_help().to_string().contains("Exit codes"), "the short help stays short");
    }
}
