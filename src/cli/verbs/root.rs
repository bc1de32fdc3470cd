//! `root`: for the installer, which must not read TOML itself.

use crate::{
    cli::{context::Context, error::CliError, exit::Exit},
    offline::config_file,
};

pub(super) fn run(context: &Context) -> Result<Exit, CliError> {
    let layout = config_file::root(context.config.as_deref(), context.root.as_deref())?;
    context.printer.data(&layout.root().display().to_string())?;
    Ok(Exit::Done)
}
