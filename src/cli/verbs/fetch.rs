//! `fetch`: the programs and nothing else.

use super::up::fetch_view;
use crate::cli::{context::Context, error::CliError, exit::Exit, signals::Signals};

pub(super) async fn run(context: &Context) -> Result<Exit, CliError> {
    let loaded = context.load()?;
    let mut signals = Signals::listen()?;
    let what = fetch_view::fetch(context.printer, loaded.plan, true, &mut signals).await?;
    context.printer.data(&what)?;
    Ok(Exit::Done)
}
