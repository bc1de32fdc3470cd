//! `reload`: the daemon applies its configuration file; every step is shown as it is taken.

use crate::{
    base::Layout,
    cli::{
        args,
        context::{Context, TICK, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        live::Live,
        signals::Signals,
    },
    control::wire::{Answer, Order},
    offline::{config_file, unit},
};
use std::time::Instant;

pub(super) async fn run(context: &Context, asked: &args::Reload) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    // The daemon reads its own file; it is told which one is meant here, so that never another one comes into force.
    let config = config_file::path(context.config.as_deref())?.map(|path| path.display().to_string());
    let args::Consent { accept_unavailable, force } = asked.consent;
    let order = Order::Reload { config, max_wait_s: asked.max_wait.as_secs().max(1), accept_unavailable, force };
    follow(context, &layout, "reload", order, "the daemon reads the configuration").await
}

/// Gives an order that is carried out step by step, shows each and what is waited for in between, and prints what was done. A unit
/// whose `ExecReload=` this is gives each step its time, at most [`unit::STEP_TAKES`].
pub(super) async fn follow(
    context: &Context,
    layout: &Layout,
    label: &'static str,
    order: Order,
    first: &str,
) -> Result<Exit, CliError> {
    let mut answers = context.ask(layout, order).await?;
    let mut signals = Signals::listen()?;
    let mut live = Live::begin(context.printer, label);
    let mut doing = first.to_owned();
    let (mut got_on, mut asked) = (Instant::now(), Instant::now());
    unit::ask_for(unit::PORTION);
    loop {
        tokio::select! {
            answer = answers.next() => match answer? {
                Some(Answer::Progress { node: None, text }) => {
                    got_on = Instant::now();
                    live.line(&text);
                }
                Some(Answer::Progress { node: Some(_), text }) => {
                    got_on = Instant::now();
                    doing = text;
                    live.show(&doing);
                }
                Some(Answer::Done { text }) => {
                    drop(live);
                    for line in text {
                        context.printer.data(&line)?;
                    }
                    return Ok(Exit::Done);
                }
                Some(answer) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                None => return Err(unexpected()),
            },
            () = signals.next() => {
                return Err(CliError::new(Exit::Interrupted, "interrupted; the daemon goes on with it"));
            }
            () = tokio::time::sleep(TICK) => {
                live.show(&doing);
                if asked.elapsed() >= unit::ASKED_EVERY && got_on.elapsed() < unit::STEP_TAKES {
                    unit::ask_for(unit::PORTION);
                    asked = Instant::now();
                }
            }
        }
    }
}
