//! `fetch`: the programs and nothing else.

use super::up::fetch_view;
use crate::{
    cli::{args::Fetch, context::Context, error::CliError, exit::Exit, signals::Signals},
    config::Plan,
    offline::{
        owner::become_owner,
        programs::{self, FetchOptions},
        unit,
    },
};

pub(super) async fn run(context: &Context, asked: Fetch) -> Result<Exit, CliError> {
    if let Some(unit) = asked.by_unit {
        return by_unit(unit).await;
    }
    let loaded = context.load()?;
    if asked.look {
        return look(context, loaded.plan).await;
    }
    as_owner(context, &loaded.plan)?;
    let mut signals = Signals::listen()?;
    let options =
        FetchOptions { mirror: asked.mirror, accept_unpinned: asked.accept_unpinned, rate_limit: asked.rate_limit };
    let what = fetch_view::fetch(context.printer, loaded.plan, Some(options), &mut signals).await?;
    context.printer.data(&what)?;
    Ok(Exit::Done)
}

/// `--by-unit`: a reload in the daemon's unit has it done by the unit that may reach the network. That takes longer than a reload
/// is given; the fetch unit's own time-out bounds it.
async fn by_unit(unit: String) -> Result<Exit, CliError> {
    let mut work = tokio::task::spawn_blocking(move || unit::start(&unit));
    let done = loop {
        unit::ask_for(unit::PORTION);
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(unit::ASKED_EVERY) => {}
        }
    };
    match done {
        Ok(Ok(())) => Ok(Exit::Done),
        Ok(Err(why)) => Err(CliError::new(Exit::Artifact, "the fetch failed").causes([why])),
        Err(e) => Err(CliError::new(Exit::Unexpected, "the fetch could not be waited for").causes([e.to_string()])),
    }
}

/// `--look`: what is there and what is missing.
async fn look(context: &Context, plan: Plan) -> Result<Exit, CliError> {
    let looked = tokio::task::spawn_blocking(move || programs::look(&plan, &plan.layout())).await;
    let looked = looked.map_err(|e| CliError::new(Exit::Unexpected, "the look failed").causes([e.to_string()]))?;
    let (present, missing) = looked.map_err(|e| CliError::of(Exit::Artifact, &e))?;
    for line in present {
        context.printer.data(&line)?;
    }
    if missing.is_empty() {
        return Ok(Exit::Done);
    }
    let causes = missing.iter().map(|m| format!("{}: {}", m.part, m.why));
    Err(CliError::new(Exit::Artifact, "not all programs are in the store")
        .causes(causes)
        .hint("`cdc-supervisor fetch`"))
}

/// Root goes on as the owner of the root and the store: what is left there is theirs, as if they had typed it.
pub(super) fn as_owner(context: &Context, plan: &Plan) -> Result<(), CliError> {
    match become_owner(plan) {
        Ok(None) => Ok(()),
        Ok(Some((user, dir))) => {
            context.printer.say(&format!("as {user}, who owns {}", dir.display()));
            Ok(())
        }
        Err(e) => Err(CliError::of(Exit::Unexpected, &e)),
    }
}
