//! Holding still: before the daemon's program is replaced, the engine waits until nothing is under way that would be lost with
//! this process, writes everything down, and then neither starts nor stops anything.

use super::{Engine, orders::EngineOrder, snapshot::Snapshot};
use crate::{base::Moment, lifecycle::State, sys::clock};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::sleep};

/// Somebody wants the engine to hold still.
#[derive(Debug)]
pub struct StillRequest {
    until: Moment,
    reply: oneshot::Sender<Result<(), NotStill>>,
    /// Ends when it need not hold still any more.
    thawed: oneshot::Receiver<()>,
    promise: Promise,
}

/// Why the engine does not hold still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStill {
    /// This was under way all the time.
    UnderWay(Vec<String>),
    /// The disk has not taken so many files of the state: another program would go on without what they say.
    Unwritten(usize),
}

/// That it holds still until the other side has done what it wants: kept from [`Still::commit`] on, and broken before that by
/// an order to stop everything. Exactly one of the two happens.
#[derive(Clone, Debug, Default)]
struct Promise(Arc<AtomicU8>);

impl Promise {
    const OPEN: u8 = 0;
    const BROKEN: u8 = 1;
    const KEPT: u8 = 2;

    fn settle(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::OPEN, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// The engine holds still while this lives.
#[derive(Debug)]
pub struct Still {
    _thaw: oneshot::Sender<()>,
    promise: Promise,
}

impl Still {
    /// From now on not even an order to stop everything ends it; false: one has.
    pub fn commit(&self) -> bool {
        self.promise.settle(Promise::KEPT)
    }
}

/// Where the answer to a [`StillRequest`] comes: what was under way when the time was over.
pub(super) type StillAnswer = oneshot::Receiver<Result<(), NotStill>>;

impl StillRequest {
    pub(super) fn new(within: Duration) -> (Self, Still, StillAnswer) {
        let (thaw, thawed) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let promise = Promise::default();
        let still = Still { _thaw: thaw, promise: promise.clone() };
        (Self { until: clock::now() + within, reply, thawed, promise }, still, answer)
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
        for node in self.orphan_stops.nodes() {
            found.push(format!("what an earlier start of {node} has left is being looked for or stopped"));
        }
        for ticket in &self.tickets {
            let names: Vec<&str> = ticket.goals.keys().map(|name| name.as_str()).collect();
            found.push(format!("an order about {} is being carried out", names.join(", ")));
        }
        for (node, _) in self.nodes.iter().filter(|(_, n)| n.case.is_some()) {
            found.push(format!("how {node} ended is being read from its log"));
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
            let unwritten = self.writer.flush().await;
            if unwritten > 0 {
                // Who asked may have gone.
                let _ = request.reply.send(Err(NotStill::Unwritten(unwritten)));
                return;
            }
            let journal = self.journal.clone();
            // Events that cannot be written are told of where they go; nothing waits for them.
            let _ = tokio::task::spawn_blocking(move || journal.flush()).await;
            let mut thawed = request.thawed;
            if request.reply.send(Ok(())).is_err() {
                return;
            }
            // Clients are kept out meanwhile; what comes is a signal to this process.
            let mut put_off = Vec::new();
            loop {
                tokio::select! {
                    _ = &mut thawed => break,
                    Some((order, reason, reply)) = self.orders.recv() => {
                        let down = matches!(order, EngineOrder::Down { .. });
                        put_off.push((order, reason, reply));
                        if down && request.promise.settle(Promise::BROKEN) {
                            break;
                        }
                    }
                    // A watchdog is fed: a daemon that holds still does not hang.
                    () = sleep(pulse_every.unwrap_or(Duration::from_secs(3600))) => pulse(&self.snapshot.borrow()),
                }
            }
            for (order, reason, reply) in put_off {
                self.ordered(order, reason, reply);
            }
            self.settle();
            return;
        }
        if clock::now() >= request.until {
            // Who asked may have gone.
            let _ = request.reply.send(Err(NotStill::UnderWay(under_way)));
        } else {
            self.still_wanted = Some(request);
        }
    }
}
