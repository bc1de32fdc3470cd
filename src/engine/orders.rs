//! Orders and their tickets: an order is answered when it has been carried out, not when it was queued.

use super::{
    adopt,
    change::{Change, Past},
    identity::Identities,
    journal::Journal,
    limits::Limits,
    orphan_stops::OrphanStops,
    persist, places,
    snapshot::Snapshot,
    still::{NotStill, Still, StillRequest},
};
use crate::{
    base::{Cause, EventKind, EventLine, Incarnation, Layout, NodeName, Reason, recipe::Recipe},
    lifecycle::{Fleet, State, Wanted},
    services::identity::Reached,
    sys::clock,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};

/// What can be ordered of the engine.
#[derive(Debug)]
pub enum EngineOrder {
    /// Wanted up; empty: all nodes.
    Start {
        /// Which.
        nodes: Vec<NodeName>,
        /// Also what they need.
        with_needs: bool,
    },
    /// Wanted down.
    Stop {
        /// Which.
        nodes: Vec<NodeName>,
        /// SIGKILL instead of asking.
        now: bool,
    },
    /// Stop, then start.
    Restart {
        /// Which.
        nodes: Vec<NodeName>,
    },
    /// Stop, then start again as soon as it may: only of a node that is wanted up and runs when the order is taken. Answered then.
    /// For a caller that looked a moment ago, and whose order must not take back what somebody ordered since.
    Bounce {
        /// Which.
        node: NodeName,
    },
    /// [`EngineOrder::Restart`] of a node that is wanted up when the order is taken, and nothing where it is not: as for a bounce, somebody
    /// may have stopped it since.
    RestartIfUp {
        /// Which.
        node: NodeName,
    },
    /// One signal to a main process.
    Signal {
        /// Which.
        node: NodeName,
        /// The number.
        signal: i32,
    },
    /// Close the ZooKeeper session of a broker that is proven dead.
    Fence {
        /// Which.
        node: NodeName,
    },
    /// Look which ZooKeeper session this broker is registered with: it is another than is on record. Answered before it is known.
    LearnSession {
        /// Which.
        node: NodeName,
    },
    /// Other settings for a node, a new node, or one that goes.
    Change(Change),
    /// Everything down; the engine ends when all are gone.
    Down {
        /// SIGKILL instead of asking.
        now: bool,
    },
}

/// The answer to an order.
pub type OrderReply = Result<Vec<String>, Rejection>;

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No node has this name.
    UnknownNode(NodeName),
    /// It cannot be done in the state the node is in.
    NotNow(String),
    /// A node failed, or was not ready in time.
    NotReady(Vec<String>),
    /// A node was not started because that would harm data.
    Unsafe(Vec<String>),
    /// The engine ended before it was done.
    Ending,
}

/// What a ticket waits for, per node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It serves, in a start after this one.
    ServesAfter(Incarnation),
    /// Nothing of it runs.
    IsDown,
}

/// A ticket: who waits, and for what.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) goals: BTreeMap<NodeName, Goal>,
    pub(super) done: String,
    pub(super) reply: oneshot::Sender<OrderReply>,
}

/// What has become of a ticket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Done,
    Failed(Vec<String>),
    /// As `Failed`, and at least one node was not started because that would harm data.
    Refused(Vec<String>),
}

/// How many deaths in a row, without ever being ready, make a waiting client give up (the node itself is tried on).
const DEATHS_UNTIL_TOLD: u32 = 3;

impl Ticket {
    /// Judges the ticket against the fleet.
    pub(super) fn judge(&self, fleet: &Fleet, stops: &OrphanStops, now: crate::base::Moment) -> Progress {
        let mut failed = Vec::new();
        let mut open = false;
        let mut refused = false;
        for (name, goal) in &self.goals {
            let Some(node) = fleet.node(name) else {
                open |= stops.is_stopping(name);
                continue;
            };
            match goal {
                Goal::IsDown => match node.state() {
                    // Without a shim nothing of it is in the node's state.
                    State::Down { .. } | State::Failed { .. } => open |= stops.is_stopping(name),
                    _ if node.wanted() == Wanted::Up => failed.push(format!("{name}: another order wants it up")),
                    _ => open = true,
                },
                Goal::ServesAfter(before) => {
                    let served = node.state().serves() && node.incarnation() > *before;
                    // Its work was done before anybody could look at it.
                    let done = node.wanted() == Wanted::Up && node.incarnation() > *before;
                    let told = match node.state() {
                        State::Failed { .. } => true,
                        State::Degraded { ready_since: None, .. } => true,
                        State::Waiting(_) => node.deaths_in_a_row() >= DEATHS_UNTIL_TOLD,
                        State::Down { last: Some(Cause::Completed) } if done => continue,
                        State::Down { .. } => true,
                        State::Preparing { .. }
                        | State::Starting { .. }
                        | State::Ready { .. }
                        | State::Degraded { .. }
                        | State::Stopping { .. } => false,
                    };
                    if told {
                        refused |= node.failure().is_some_and(|failure| failure.cause.is_about_whose_data());
                        failed.push(format!("{name}: {}", node.detail(now)));
                    } else if !served {
                        open = true;
                    }
                }
            }
        }
        if refused {
            Progress::Refused(failed)
        } else if !failed.is_empty() {
            Progress::Failed(failed)
        } else if open {
            Progress::Open
        } else {
            Progress::Done
        }
    }
}

/// How the rest of the daemon talks to the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) orders: mpsc::Sender<Ordered>,
    pub(super) reason: Reason,
    pub(super) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(super) stills: mpsc::Sender<StillRequest>,
    pub(super) layout: Layout,
    pub(super) limits: Option<Limits>,
    pub(super) journal: Journal,
    pub(super) identities: Arc<Identities>,
}

/// An order on its way to the engine, why it was given, and who waits for it.
pub(super) type Ordered = (EngineOrder, Reason, oneshot::Sender<OrderReply>);

impl Handle {
    /// The same door for orders that are given for this reason. Without it they are a person's.
    #[must_use]
    pub fn because(&self, reason: Reason) -> Self {
        Self { reason, ..self.clone() }
    }

    /// Gives an order and waits until it is carried out. Dropping the future does not cancel the order.
    pub async fn order(&self, order: EngineOrder) -> OrderReply {
        let (reply, answer) = oneshot::channel();
        if self.orders.send((order, self.reason, reply)).await.is_err() {
            return Err(Rejection::Ending);
        }
        answer.await.unwrap_or(Err(Rejection::Ending))
    }

    /// Has the engine hold still as soon as nothing is under way, at the latest after `within`: from then on it starts and
    /// stops nothing, everything it knows is on disk, and what happens waits. An order to stop everything ends it before
    /// [`Still::commit`].
    pub async fn hold_still(&self, within: Duration) -> Result<Still, NotStill> {
        let ends = || NotStill::UnderWay(vec!["the daemon ends".to_owned()]);
        let (request, still, answer) = StillRequest::new(within);
        if self.stills.send(request).await.is_err() {
            return Err(ends());
        }
        answer.await.unwrap_or_else(|_| Err(ends())).map(|()| still)
    }

    /// Notes how far ZooKeeper's data of a cluster have come, for who sees it in passing, and right then: of data that are exchanged since it
    /// would say what they never had. Returns before it is on record.
    pub fn learn_reached(&self, cluster: String, reached: Reached) {
        let identities = Arc::clone(&self.identities);
        let learn = move || identities.learn(|record| record.learn_reached(&cluster, reached, clock::wall()));
        tokio::task::spawn_blocking(learn);
    }

    /// Gives a node that runs other settings. Caps are in force when this returns; writing them is kept from the
    /// dispatcher, because the kernel reclaims memory while a lower `memory.max` is being written (cgroup-v2.rst).
    pub async fn take(&self, recipe: Recipe) -> OrderReply {
        self.caps(&recipe).await?;
        self.order(EngineOrder::Change(Change::Take(Box::new(recipe)))).await
    }

    /// The same for a broker whose process of this incarnation has been given what differs in its file: its file is written, and it
    /// counts as started with it.
    pub async fn take_given(&self, recipe: Recipe, to: Incarnation) -> OrderReply {
        self.caps(&recipe).await?;
        let done = self.order(EngineOrder::Change(Change::Given(Box::new(recipe.clone()), to))).await?;
        let (layout, node) = (self.layout.clone(), recipe.node.clone());
        let written = tokio::task::spawn_blocking(move || {
            persist::write_launched(&layout, &recipe.node, &recipe.launched())?;
            places::rewrite(&recipe)
        });
        // Nothing that runs reads them, and the next start writes them anew.
        if let Ok(Err(e)) = written.await {
            tracing::warn!(node = %node, "{e}: {}", e.source);
        }
        Ok(done)
    }

    async fn caps(&self, recipe: &Recipe) -> Result<(), Rejection> {
        if let Some(limits) = self.limits.clone() {
            let wanted = recipe.clone();
            let written = tokio::task::spawn_blocking(move || limits.change(&wanted)).await;
            match written {
                Ok(Ok(missing)) => {
                    for what in missing {
                        tracing::warn!(node = %recipe.node, "{what}");
                        self.journal.note(EventLine::new(EventKind::Trouble, what).node(&recipe.node));
                    }
                }
                Ok(Err(e)) => return Err(Rejection::NotNow(format!("{}: {e}: {}", recipe.node, e.source))),
                Err(e) => return Err(Rejection::NotNow(format!("{}: its caps could not be set: {e}", recipe.node))),
            }
        }
        Ok(())
    }

    /// Adds a node and waits until it serves.
    pub async fn add(&self, recipe: Recipe) -> OrderReply {
        let past = Past(adopt::look_for(&self.layout, &recipe.node).await.map(Box::new));
        self.order(EngineOrder::Change(Change::Add(Box::new(recipe), past))).await
    }

    /// One without an engine behind it: every order is answered by this.
    #[cfg(test)]
    pub(crate) fn answering(
        layout: &Layout,
        snapshot: Snapshot,
        answer: impl Fn(EngineOrder) -> OrderReply + Send + 'static,
    ) -> Self {
        Self::answering_after(layout, snapshot, Duration::ZERO, answer)
    }

    /// The same, and it takes its time.
    #[cfg(test)]
    pub(crate) fn answering_after(
        layout: &Layout,
        snapshot: Snapshot,
        after: Duration,
        answer: impl Fn(EngineOrder) -> OrderReply + Send + 'static,
    ) -> Self {
        let (orders, mut taken) = mpsc::channel::<Ordered>(8);
        tokio::spawn(async move {
            while let Some((order, _, reply)) = taken.recv().await {
                tokio::time::sleep(after).await;
                drop(reply.send(answer(order)));
            }
        });
        let (snapshot, stills) = (watch::channel(Arc::new(snapshot)).1, mpsc::channel(1).0);
        let (layout, journal) = (layout.clone(), Journal::start(layout));
        let identities = Arc::new(Identities::open(&layout, journal.clone()));
        Self { orders, reason: Reason::ByHand, snapshot, stills, layout, limits: None, journal, identities }
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where events go.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The newest state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// To wait for changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }
}
