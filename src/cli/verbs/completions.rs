//! `completions SHELL`: the script on standard output.

use crate::cli::{args::command, context::Context, error::CliError, exit::Exit};
use clap_complete::Shell;

pub(super) fn run(context: &Context, shell: Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "cdc-supervisor", &mut script);
    context.printer.data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
