//! `start`, `stop`, `restart`, `kill`: an order to the daemon; says what was done.

use crate::{
    cli::{context::Context, error::CliError, exit::Exit},
    control::wire::Order,
};

pub(super) async fn run(context: &Context, label: &'static str, order: Order) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    for line in context.carry_out(&layout, label, order).await? {
        context.printer.data(&line)?;
    }
    Ok(Exit::Done)
}
