//! Holding still: before the daemon's program is replaced, the engine waits until nothing is under way that would be lost with
//! this process, writes everything down, and then neither starts nor stops anything.

use super::{Engine, snapshot::Snapshot};
use crate::{base::Moment, lifecycle::State, sys::clock};
use std::time::Duration;
use tokio::{sync::oneshot, time::sleep};

/// Somebody wants the engine to hold still.
#[derive(Debug)]
pub struct StillRequest {
    until: Moment,
    reply: oneshot::Sender<Result<(), Vec<String>>>,
    /// Ends when it need not hold still any more.
    thawed: oneshot::Receiver<()>,
}

/// The engine holds still while this lives.
#[derive(Debug)]
pub struct Still {
    _thaw: oneshot::Sender<()>,
}

/// Where the answer to a [`StillRequest`] comes: what was under way when the time was over.
pub(super) type StillAnswer = oneshot::Receiver<Result<(), Vec<String>>>;

impl StillRequest {
    pub(super) fn new(within: Duration) -> (Self, Still, StillAnswer) {
        let (thaw, thawed) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        (Self { until: clock::now() + within, reply, thawed }, Still { _thaw: thaw }, answer)
    }

    pub(super) fn until(&self) -> Moment {
        self.until
    }
}

impl Engine {
    /// What would be lost if this process were another program from now on. A node that runs, that waits, or that failed
    /// is nothing under way: the next program finds it as it is.
    fn under_way(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.ending {
            found.push("everything is being stopped".to_owned());
        }
        for ticket in &self.tickets {
            let names: Vec<&str> = ticket.goals.keys().map(|name| name.as_str()).collect();
            found.push(format!("an order about {} is being carried out", names.join(", ")));
        }
        for node in self.fleet.nodes() {
            let what = match node.state() {
                // The daemon reads its pipe.
                _ if node.lost_its_shim() => "has lost its shim and is about to be replaced",
                _ if node.stop_is_queued() => "is to stop when it has started",
                // Its helpers die with the thread that started them (sys::command).
                State::Preparing { .. } => "is being prepared",
                State::Starting { run: None, .. } => "is being launched",
                // The shim keeps the grace, but not the reason.
                State::Stopping { .. } => "is stopping",
                State::Down { .. }
                | State::Waiting(_)
                | State::Starting { run: Some(_), .. }
                | State::Ready { .. }
                | State::Degraded { .. }
                | State::Failed { .. } => continue,
            };
            found.push(format!("{} {what}", node.name()));
        }
        found
    }

    /// Holds still if that was asked for and nothing is under way; gives up when its time is over.
    pub(super) async fn maybe_hold_still(&mut self, pulse: &mut impl FnMut(&Snapshot), pulse_every: Option<Duration>) {
        let Some(request) = self.still_wanted.take() else { return };
        let under_way = self.under_way();
        if under_way.is_empty() {
            self.writer.flush().await;
            let journal = self.journal.clone();
            // Events that cannot be written are told of where they go; nothing waits for them.
            let _ = tokio::task::spawn_blocking(move || journal.flush()).await;
            let mut thawed = request.thawed;
            if request.reply.send(Ok(())).is_err() {
                return;
            }
            loop {
                tokio::select! {
                    _ = &mut thawed => return,
                    // A watchdog is fed: a daemon that holds still does not hang.
                    () = sleep(pulse_every.unwrap_or(Duration::from_secs(3600))) => pulse(&self.snapshot.borrow()),
                }
            }
        }
        if clock::now() >= request.until {
            // Who asked may have gone.
            let _ = request.reply.send(Err(under_way));
        } else {
            self.still_wanted = Some(request);
        }
    }
}
