//! `fetch`: the programs and nothing else.

use super::up::fetch_view;
use crate::{
    cli::{args::Fetch, context::Context, error::CliError, exit::Exit, signals::Signals},
    offline::programs::FetchOptions,
};

pub(super) async fn run(context: &Context, asked: Fetch) -> Result<Exit, CliError> {
    let loaded = context.load()?;
    let mut signals = Signals::listen()?;
    let options =
        FetchOptions { mirror: asked.mirror, accept_unpinned: asked.accept_unpinned, rate_limit: asked.rate_limit };
    let what = fetch_view::fetch(context.printer, loaded.plan, Some(options), &mut signals).await?;
    context.printer.data(&what)?;
    Ok(Exit::Done)
}
