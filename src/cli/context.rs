//! What every verb starts from: the printer, `--config`, `--root`, and the way to the daemon.

use super::{
    error::{CliError, refusal},
    exit::Exit,
    live::Live,
    printer::Printer,
    signals::Signals,
};
use crate::{
    base::Layout,
    control::{
        client::{Answers, Client, ClientError},
        wire::{Answer, Order},
    },
    offline::{
        config_file::{self, Loaded},
        status::other_root,
    },
};
use std::{path::PathBuf, time::Duration};

/// How often a wait is shown anew where nothing else happens.
pub const TICK: Duration = Duration::from_millis(250);

/// What every verb starts from.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where output goes.
    pub printer: Printer,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--root`.
    pub root: Option<PathBuf>,
}

impl Context {
    /// The whole configuration.
    pub fn load(&self) -> Result<Loaded, CliError> {
        Ok(config_file::load(self.config.as_deref(), self.root.as_deref())?)
    }

    /// The root alone; works with a configuration that is wrong otherwise.
    pub fn layout(&self) -> Result<Layout, CliError> {
        Ok(config_file::root(self.config.as_deref(), self.root.as_deref())?)
    }

    /// Asks the daemon of `layout`.
    pub async fn ask(&self, layout: &Layout, order: Order) -> Result<Answers, CliError> {
        match Client::connect(&layout.control_socket()).await {
            Ok(client) => Ok(client.ask(order).await?),
            Err(ClientError::NoDaemon { .. }) => Err(no_daemon(layout)),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives an order and waits for its end; shows the steps. Returns what was done. Ctrl-C ends the waiting, not the order.
    pub async fn carry_out(&self, layout: &Layout, label: &'static str, order: Order) -> Result<Vec<String>, CliError> {
        let mut answers = self.ask(layout, order).await?;
        let mut signals = Signals::listen()?;
        let mut live = Live::begin(self.printer, label);
        let mut doing = "the daemon carries it out".to_owned();
        loop {
            tokio::select! {
                answer = answers.next() => match answer? {
                    Some(Answer::Progress { node, text }) => {
                        doing = match node {
                            Some(node) => format!("{node}: {text}"),
                            None => text,
                        };
                        live.show(&doing);
                    }
                    Some(Answer::Done { text }) => return Ok(text),
                    Some(answer) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                    None => return Err(unexpected()),
                },
                () = signals.next() => {
                    return Err(CliError::new(Exit::Interrupted, "interrupted; the daemon goes on with it"));
                }
                () = tokio::time::sleep(TICK) => live.show(&doing),
            }
        }
    }
}

/// An answer that does not belong to the question.
pub fn unexpected() -> CliError {
    CliError::new(Exit::Unexpected, "the daemon gave an answer of another kind than was asked for")
        .hint("program and daemon may be of different versions")
}

/// Nobody answers for this root.
pub fn no_daemon(layout: &Layout) -> CliError {
    let root = layout.root().display();
    let error = CliError::new(Exit::NoDaemon, format!("no daemon runs for {root}"));
    match other_root(layout) {
        Some(other) => error.hint(format!(
            "the unit's root is {other}: name it with --root {other}, or start one here with `cdc-supervisor up`"
        )),
        None => error.hint("start one with `cdc-supervisor up`"),
    }
}
