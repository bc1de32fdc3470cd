//! `port-owners`: run by root before the unit's daemon.

use crate::{
    cli::{context::Context, error::CliError, exit::Exit},
    offline::port_owners,
};

pub(super) fn run(context: &Context) -> Result<Exit, CliError> {
    match port_owners::note(context.config.as_deref(), context.root.as_deref()) {
        Ok(_) => Ok(Exit::Done),
        Err(e) => Err(CliError::of(Exit::Unexpected, &e)),
    }
}
