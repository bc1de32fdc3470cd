//! `places`: where the data of this configuration lie, for the installer, which must not read TOML itself.

use crate::{
    cli::{context::Context, error::CliError, exit::Exit},
    offline::{places, served},
};

pub(super) async fn run(context: &Context) -> Result<Exit, CliError> {
    let plan = context.load()?.plan;
    let found = tokio::task::spawn_blocking(move || places::all(&plan, &served::place()))
        .await
        .map_err(|e| CliError::new(Exit::Unexpected, "the places could not be looked at").causes([e.to_string()]))?;
    for (what, path) in found {
        context.printer.data(&format!("{} {}", what.as_str(), path.display()))?;
    }
    Ok(Exit::Done)
}
