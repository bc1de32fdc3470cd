//! The command line: one file per verb, printer, exit codes, hints.

pub mod args;
pub mod changes;
pub mod checks;
pub mod cluster_text;
pub mod context;
pub mod disk_text;
pub mod error;
pub mod exit;
pub mod launch;
pub mod live;
pub mod man;
pub mod memory_table;
pub mod outlook_text;
pub mod plan_text;
pub mod printer;
pub mod signals;
pub mod stall_text;
pub mod table;
mod verbs;
pub mod wait;

#[cfg(test)]
mod samples;

use crate::base::NodeName;
use args::{Args, Verb};
use clap::Parser;
use context::Context;
use error::CliError;
use exit::Exit;
use printer::Printer;
use std::path::PathBuf;

/// What the command line comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A verb was carried out or failed: the program ends with this code.
    Ended(u8),
    /// `run`: this process becomes the daemon.
    Daemon {
        /// `--config`.
        config: Option<PathBuf>,
        /// `--root`.
        root: Option<PathBuf>,
        /// Only these nodes, and what they need; empty: all.
        only: Vec<NodeName>,
        /// It was started by `up`: it leaves the caller's session first.
        own_session: bool,
        /// Refuse where memory caps cannot be set.
        require_caps: bool,
        /// Programs that are missing are waited for, not fetched.
        no_fetch: bool,
        /// What the program before this one in the same process hands over.
        handed_over: Option<String>,
        /// Only say whether this program could go on.
        check: bool,
    },
}

/// Reads the command line and carries out the verb. Wrong command lines, `--help` and `--version` end in here.
pub fn main() -> Outcome {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Help goes to standard output, mistakes to standard error; nobody is left to hear that it cannot be written.
            let _ = e.print();
            return Outcome::Ended(u8::try_from(e.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let Args { config, root, verb } = args;
    let context = Context { printer: Printer::detect(), config, root };
    match verb {
        Verb::Run(run) => {
            let (config, root) = (context.config, context.root);
            let args::Run { only, own_session, require_caps, no_fetch, handed_over, check } = run;
            Outcome::Daemon { config, root, only, own_session, require_caps, no_fetch, handed_over, check }
        }
        verb => {
            let exit = match carry_out(&context, verb) {
                Ok(exit) => exit,
                Err(e) => {
                    context.printer.error(&e);
                    e.exit
                }
            };
            Outcome::Ended(exit.code())
        }
    }
}

fn carry_out(context: &Context, verb: Verb) -> Result<Exit, CliError> {
    // One thread: a verb waits for one thing at a time, and its blocking work has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new(Exit::Unexpected, "cannot start the async runtime").causes([e.to_string()]))?;
    let exit = runtime.block_on(verbs::run(context, verb));
    // A blocked helper thread must not hold up the end of the program.
    runtime.shutdown_background();
    exit
}
