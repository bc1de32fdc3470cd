//! The foreground after all is ready: changes are told, Ctrl-C stops in order, a second one kills.

use super::Up;
use crate::{
    base::NodeName,
    cli::{
        context::{TICK, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        live::Live,
    },
    control::{
        client::{Answers, ClientError},
        wire::{Answer, Order, Status},
    },
};
use std::{collections::BTreeMap, time::Duration};

/// How long a daemon that has stopped all nodes may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

impl Up<'_> {
    /// Stays until somebody asks it to stop.
    pub(super) async fn stay(&mut self) -> Result<Exit, CliError> {
        let mut version: Option<String> = None;
        self.context.printer.say("Ctrl-C stops everything in order, a second one kills");
        let mut told: BTreeMap<NodeName, String> = BTreeMap::new();
        loop {
            let mut watch = match self.context.ask(&self.layout, Order::Watch).await {
                Ok(watch) => watch,
                Err(e) if e.exit == Exit::NoDaemon => {
                    if self.ended_by_order().await? {
                        return Ok(Exit::Done);
                    }
                    continue;
                }
                Err(e) => return Err(e),
            };
            loop {
                tokio::select! {
                    answer = watch.next() => match answer {
                        Ok(Some(Answer::Status(status))) => {
                            let new = &status.supervisor.version;
                            if version.as_ref().is_some_and(|old| old != new) {
                                self.context.printer.say(&format!("the daemon is version {new} now; nodes run on"));
                            }
                            version = Some(new.clone());
                            self.tell(&status, &mut told);
                        }
                        Ok(Some(answer)) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                        Ok(None) => return Err(unexpected()),
                        Err(ClientError::WentAway) => {
                            if self.ended_by_order().await? {
                                return Ok(Exit::Done);
                            }
                            break;
                        }
                        Err(e) => return Err(e.into()),
                    },
                    () = self.signals.next() => {
                        self.stop_everything().await?;
                        return Ok(Exit::Done);
                    }
                }
            }
        }
    }

    /// The connection is gone: true when the daemon has ended in order (somebody's `down`); else it is replaced.
    async fn ended_by_order(&mut self) -> Result<bool, CliError> {
        if let Some(daemon) = &mut self.daemon
            && daemon
                .ended_unless_back(&self.layout.control_socket(), ENDS_WITHIN)
                .await
                .is_some_and(|ended| ended.success())
        {
            self.context.printer.say("everything was stopped by order of somebody else");
            return Ok(true);
        }
        self.daemon_went_away().await?;
        Ok(false)
    }

    /// One line for each node whose state has changed.
    fn tell(&self, status: &Status, told: &mut BTreeMap<NodeName, String>) {
        let first = told.is_empty();
        for node in &status.nodes {
            let before = told.insert(node.name.clone(), node.state.clone());
            if !first && before.as_ref() != Some(&node.state) {
                let detail = if node.detail.starts_with(&node.state) {
                    node.detail.clone()
                } else {
                    format!("{}: {}", node.state, node.detail)
                };
                self.context.printer.step("", &format!("{}  {detail}", node.name), None);
            }
        }
    }

    /// Stops all nodes in order and the daemon with them; a signal that insists meanwhile kills.
    pub(super) async fn stop_everything(&mut self) -> Result<(), CliError> {
        let printer = self.context.printer;
        let mut live = Live::begin(printer, "stop");
        let mut stops = vec![self.context.ask(&self.layout, Order::Down { now: false }).await?];
        let mut doing = "all nodes, in order".to_owned();
        loop {
            tokio::select! {
                answer = next_of_any(&mut stops) => match answer {
                    Ok(Some(Answer::Progress { node, text })) => {
                        doing = match node {
                            Some(node) => format!("{node}: {text}"),
                            None => text,
                        };
                    }
                    Ok(Some(Answer::Done { text })) => {
                        live.done(&text.join("; "));
                        break;
                    }
                    Ok(Some(answer)) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                    Ok(None) => return Err(unexpected()),
                    // It ends when all is down, perhaps before its last words are out; its exit code tells below.
                    Err(ClientError::WentAway) => break,
                    Err(e) => return Err(e.into()),
                },
                () = self.signals.insists() => {
                    live.line("killing everything: brokers check all their logs at their next start, mysqld recovers");
                    // A daemon that cannot be asked any more is about to end.
                    if let Ok(kill) = self.context.ask(&self.layout, Order::Down { now: true }).await {
                        stops.push(kill);
                    }
                }
                () = tokio::time::sleep(TICK) => live.show(&doing),
            }
        }
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        match daemon.gone(ENDS_WITHIN).await {
            Some(ended) if ended.success() => Ok(()),
            Some(ended) => Err(CliError::new(
                Exit::Unexpected,
                format!("the daemon ended badly while it stopped the nodes ({ended})"),
            )
            .causes(daemon.tail())
            .hint("`cdc-supervisor down` stops what still runs")),
            None => Err(CliError::new(Exit::Unexpected, "all nodes are down, but the daemon has not ended")
                .hint(format!("its log is {}", self.layout.supervisor_log().display()))),
        }
    }
}

/// The next answer of whichever order answers first.
async fn next_of_any(orders: &mut [Answers]) -> Result<Option<Answer>, ClientError> {
    match orders {
        [] => std::future::pending().await,
        [one] => one.next().await,
        [first, second, ..] => {
            tokio::select! {
                answer = first.next() => answer,
                answer = second.next() => answer,
            }
        }
    }
}
