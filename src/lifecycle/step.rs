//! The transition table: one function, every state x event pair written out.
//!
//! A state's data is read here, what is done with it is in `moves`. No arm catches all: a new state or event does not
//! compile until every pair is decided, and what changes nothing says why.

use super::{Dying, Event, Node, State, StopReason, Wait, Wanted, moves::Change};
use crate::base::{Incarnation, Moment, NodeName};

/// What a node must know of its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    /// Nodes it comes after that do not serve.
    pub(super) missing: Vec<NodeName>,
    /// A node that comes after it is wanted down too and still has a process or a launch under way.
    pub(super) held: bool,
    /// A peer that is to run is not ready.
    pub(super) peer_away: bool,
}

/// What an event did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing, for a reason.
    Ignored(Why),
    /// The node as it is now, and what is to be done.
    Changed(Box<Change>),
}

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is about another start of the node.
    OldIncarnation,
    /// What it orders is wanted already.
    AlreadyWanted,
    /// A start is under way: it will do what was ordered.
    OnItsWay,
    /// There is no process.
    NoProcess,
    /// The launch under way has not answered; its answer decides.
    NotLaunchedYet,
    /// There is a process already.
    HasProcess,
    /// Nothing is being prepared.
    NotPreparing,
    /// No deadline is due.
    NotDue,
    /// Nothing it waits for has changed.
    NotConcerned,
    /// It is on its way out; what it says of itself no longer counts.
    OnItsWayOut,
    /// The main process is gone already.
    MainGone,
    /// SIGKILL was sent to the whole tree already.
    BeingKilled,
    /// Only a node that is down, before any order, can be adopted.
    NotDown,
    /// There is no such node.
    UnknownNode,
}

fn ignored(why: Why) -> Outcome {
    Outcome::Ignored(why)
}

fn changed(change: Change) -> Outcome {
    Outcome::Changed(Box::new(change))
}

/// Takes one event. `dice` is a random number for jitter.
pub(super) fn step(node: &Node, event: Event, around: &Around, now: Moment, dice: u64) -> Outcome {
    if subject(&event).is_some_and(|incarnation| incarnation != node.current()) {
        return ignored(Why::OldIncarnation);
    }
    let next = Change::of(node);
    match event {
        Event::Start => start(node, next, around, now),
        Event::Stop => stop(node, next, around, now),
        Event::Restart => restart(node, next, around, now),
        Event::KillNow => kill_now(node, next, now),
        Event::Signal(signal) => match &node.state {
            State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => {
                ignored(Why::NoProcess)
            }
            State::Starting { run: None, .. } => ignored(Why::NotLaunchedYet),
            State::Starting { run: Some(run), .. }
            | State::Ready { run, .. }
            | State::Degraded { run, .. }
            | State::Stopping { run, dying: Dying::Asked { .. }, .. } => changed(next.signal(run, signal)),
            State::Stopping { dying: Dying::Killed { .. }, .. } => ignored(Why::BeingKilled),
            State::Stopping { dying: Dying::Leftovers, .. } => ignored(Why::MainGone),
        },
        Event::Neighbours => neighbours(node, next, around, now),
        Event::Tick => tick(node, next, around, now),
        Event::Prepared => match &node.state {
            State::Preparing { .. } | State::Waiting(Wait::OldSession { .. } | Wait::Held { .. }) => {
                changed(next.launch(around, now))
            }
            State::Down { .. }
            | State::Waiting(Wait::Dependencies(_) | Wait::BackOff { .. })
            | State::Starting { .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { .. }
            | State::Failed { .. } => ignored(Why::NotPreparing),
        },
        Event::Held(hold) => match &node.state {
            State::Preparing { .. } | State::Waiting(Wait::OldSession { .. } | Wait::Held { .. }) => {
                changed(next.hold(hold, now))
            }
            State::Down { .. }
            | State::Waiting(Wait::Dependencies(_) | Wait::BackOff { .. })
            | State::Starting { .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { .. }
            | State::Failed { .. } => ignored(Why::NotPreparing),
        },
        Event::PrepareFailed { why } => match &node.state {
            State::Preparing { .. } | State::Waiting(Wait::OldSession { .. } | Wait::Held { .. }) => {
                changed(next.retry_preparing(why, now, dice))
            }
            State::Down { .. }
            | State::Waiting(Wait::Dependencies(_) | Wait::BackOff { .. })
            | State::Starting { .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { .. }
            | State::Failed { .. } => ignored(Why::NotPreparing),
        },
        Event::Refused(failure) => match &node.state {
            State::Preparing { .. } | State::Waiting(_) => changed(next.fail(failure, now)),
            State::Starting { run: None, .. } => changed(next.refused_launch(failure, now)),
            // A process lives: its end will say what is wrong, and failing now would lose sight of it.
            State::Starting { run: Some(_), .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { .. } => ignored(Why::HasProcess),
            State::Down { .. } | State::Failed { .. } => ignored(Why::NotPreparing),
        },
        Event::Spawned { incarnation: _, process } => match &node.state {
            State::Starting { run: None, since, .. } => changed(next.spawned(process, *since, around, now)),
            State::Starting { run: Some(_), .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { .. } => ignored(Why::HasProcess),
            State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => {
                ignored(Why::NoProcess)
            }
        },
        Event::Probed { incarnation: _, verdict } => match &node.state {
            State::Starting { run: Some(run), .. } => changed(next.looked_while_starting(run, verdict, around, now)),
            State::Ready { run, since, .. } => changed(next.looked_while_ready(run, *since, verdict, now)),
            State::Degraded { run, .. } => changed(next.looked_while_degraded(run, verdict, now)),
            State::Starting { run: None, .. } => ignored(Why::NotLaunchedYet),
            State::Stopping { .. } => ignored(Why::OnItsWayOut),
            State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => {
                ignored(Why::NoProcess)
            }
        },
        Event::MainEnded { incarnation: _ } => match &node.state {
            // There is no shim to remove the leftovers.
            State::Starting { run: Some(_), .. } | State::Ready { .. } | State::Degraded { .. } if node.shim_lost => {
                changed(next.kill_running(now))
            }
            State::Starting { run: Some(run), .. } | State::Ready { run, .. } | State::Degraded { run, .. } => {
                changed(next.leftovers(run, StopReason::Died))
            }
            State::Stopping {
                run,
                reason: reason @ (StopReason::Ordered | StopReason::Died),
                dying: Dying::Asked { .. },
                ..
            } => changed(next.leftovers(run, *reason)),
            // There is no shim to remove the leftovers.
            State::Stopping { reason: StopReason::ShimLost, dying: Dying::Asked { .. }, .. } => {
                changed(next.kill_running(now))
            }
            // The rounds of SIGKILL go on until the whole tree is gone.
            State::Stopping { dying: Dying::Killed { .. }, .. } => ignored(Why::BeingKilled),
            State::Stopping { dying: Dying::Leftovers, .. } => ignored(Why::MainGone),
            State::Starting { run: None, .. } => ignored(Why::NotLaunchedYet),
            State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => {
                ignored(Why::NoProcess)
            }
        },
        Event::Gone { incarnation: _, ended } => match &node.state {
            State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. } => {
                changed(next.gone(&ended, around, now, dice))
            }
            State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => {
                ignored(Why::NoProcess)
            }
        },
        Event::ShimLost { incarnation: _ } => match &node.state {
            State::Starting { run: Some(_), .. } | State::Ready { .. } | State::Degraded { .. } => {
                changed(next.lose_shim().stop_when_free(around, now))
            }
            // The shim may have died before it passed the signal on.
            State::Stopping { run, dying: Dying::Asked { .. }, .. } => changed(next.ask_without_shim(run)),
            // Nobody removes the leftovers any more, or drives the kill on.
            State::Stopping { dying: Dying::Killed { .. } | Dying::Leftovers, .. } => {
                changed(next.lose_shim().kill_running(now))
            }
            State::Starting { run: None, .. } => ignored(Why::NotLaunchedYet),
            State::Down { .. } | State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => {
                ignored(Why::NoProcess)
            }
        },
        Event::Adopted { incarnation, process, wanted, restarts, start_due } => match &node.state {
            State::Down { .. } => {
                let next = next.want(wanted).owe_start(start_due && wanted == Wanted::Up);
                changed(next.adopt(incarnation, process, restarts, around, now))
            }
            State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => ignored(Why::NotDown),
            State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. } => {
                ignored(Why::HasProcess)
            }
        },
        Event::Resumed { ended, failure, start_due } => match &node.state {
            State::Down { .. } => {
                let next = next.want(Wanted::Up).owe_start(start_due);
                changed(next.resume(ended, failure, around, now, dice))
            }
            State::Waiting(_) | State::Preparing { .. } | State::Failed { .. } => ignored(Why::NotDown),
            State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. } => {
                ignored(Why::HasProcess)
            }
        },
    }
}

/// The start an event is about. `Adopted` is about one that the machine does not know yet.
fn subject(event: &Event) -> Option<Incarnation> {
    match event {
        Event::Spawned { incarnation, .. }
        | Event::Probed { incarnation, .. }
        | Event::MainEnded { incarnation }
        | Event::Gone { incarnation, .. }
        | Event::ShimLost { incarnation } => Some(*incarnation),
        Event::Start
        | Event::Stop
        | Event::Restart
        | Event::KillNow
        | Event::Signal(_)
        | Event::Neighbours
        | Event::Tick
        | Event::Prepared
        | Event::Held(_)
        | Event::PrepareFailed { .. }
        | Event::Refused(_)
        | Event::Adopted { .. }
        | Event::Resumed { .. } => None,
    }
}

fn start(node: &Node, next: Change, around: &Around, now: Moment) -> Outcome {
    match (&node.state, node.wanted) {
        (State::Down { .. } | State::Failed { .. } | State::Waiting(Wait::BackOff { .. }), _) => {
            changed(next.want_anew().begin(around, now))
        }
        (
            State::Waiting(Wait::Dependencies(_) | Wait::OldSession { .. } | Wait::Held { .. })
            | State::Preparing { .. },
            _,
        ) => ignored(Why::OnItsWay),
        (State::Starting { .. } | State::Ready { .. } | State::Degraded { .. }, Wanted::Down) => {
            changed(next.want(Wanted::Up).stop_when_free(around, now))
        }
        (State::Stopping { .. }, Wanted::Down) => changed(next.want_bounce()),
        (
            State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. },
            Wanted::Up,
        ) => ignored(Why::AlreadyWanted),
    }
}

fn stop(node: &Node, next: Change, around: &Around, now: Moment) -> Outcome {
    match (&node.state, node.wanted) {
        (State::Down { .. }, Wanted::Down) => ignored(Why::AlreadyWanted),
        (State::Down { .. }, Wanted::Up)
        | (State::Failed { .. }, _)
        | (State::Waiting(Wait::Dependencies(_) | Wait::BackOff { .. }), _) => changed(next.want(Wanted::Down).down()),
        (State::Waiting(Wait::OldSession { .. } | Wait::Held { .. }) | State::Preparing { .. }, _) => {
            changed(next.want(Wanted::Down).cancel())
        }
        (
            State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. },
            Wanted::Down,
        ) => ignored(Why::AlreadyWanted),
        // The answer of the launch, or the end under way, finds that it is wanted down.
        (State::Starting { run: None, .. } | State::Stopping { .. }, Wanted::Up) => changed(next.want(Wanted::Down)),
        (State::Starting { run: Some(_), .. } | State::Ready { .. } | State::Degraded { .. }, Wanted::Up) => {
            changed(next.want(Wanted::Down).stop_when_free(around, now))
        }
    }
}

fn restart(node: &Node, next: Change, around: &Around, now: Moment) -> Outcome {
    match &node.state {
        State::Down { .. } | State::Failed { .. } | State::Waiting(Wait::BackOff { .. }) => {
            changed(next.want_anew().begin(around, now))
        }
        State::Waiting(Wait::Dependencies(_) | Wait::OldSession { .. } | Wait::Held { .. })
        | State::Preparing { .. } => ignored(Why::OnItsWay),
        State::Starting { run: None, .. } | State::Stopping { .. } => changed(next.want_bounce()),
        State::Starting { run: Some(_), .. } | State::Ready { .. } | State::Degraded { .. } => {
            changed(next.want_bounce().stop_when_free(around, now))
        }
    }
}

fn kill_now(node: &Node, next: Change, now: Moment) -> Outcome {
    match (&node.state, node.wanted) {
        (State::Down { .. }, Wanted::Down) => ignored(Why::AlreadyWanted),
        (State::Down { .. }, Wanted::Up)
        | (State::Failed { .. }, _)
        | (State::Waiting(Wait::Dependencies(_) | Wait::BackOff { .. }), _) => changed(next.want(Wanted::Down).down()),
        (State::Waiting(Wait::OldSession { .. } | Wait::Held { .. }) | State::Preparing { .. }, _) => {
            changed(next.want(Wanted::Down).cancel())
        }
        (State::Starting { run: None, .. }, _) => changed(next.want_killed()),
        (
            State::Starting { run: Some(_), .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Stopping { .. },
            _,
        ) => changed(next.want(Wanted::Down).kill_running(now)),
    }
}

fn neighbours(node: &Node, next: Change, around: &Around, now: Moment) -> Outcome {
    match (&node.state, node.wanted) {
        (State::Waiting(Wait::Dependencies(waited_for)), _) => {
            if *waited_for == around.missing {
                ignored(Why::NotConcerned)
            } else {
                changed(next.begin(around, now))
            }
        }
        // Its `after` nodes count again when it is prepared and when its pause ends; a running node needs none of them.
        (State::Starting { run: Some(_), .. } | State::Ready { .. } | State::Degraded { .. }, _) => {
            match next.stop_is_due(around) {
                Some(reason) => changed(next.ask_running(reason, now)),
                None => ignored(Why::NotConcerned),
            }
        }
        (
            State::Down { .. }
            | State::Waiting(Wait::BackOff { .. } | Wait::OldSession { .. } | Wait::Held { .. })
            | State::Preparing { .. }
            | State::Starting { run: None, .. }
            | State::Stopping { .. }
            | State::Failed { .. },
            _,
        ) => ignored(Why::NotConcerned),
    }
}

fn tick(node: &Node, next: Change, around: &Around, now: Moment) -> Outcome {
    if node.state.deadline().is_none_or(|due| now < due) {
        return ignored(Why::NotDue);
    }
    match &node.state {
        // After a failed preparation the start that was decided before is still the one that is tried.
        State::Waiting(Wait::BackOff { why: Some(_), .. }) => changed(next.begin(around, now)),
        State::Waiting(Wait::BackOff { why: None, .. }) => changed(next.begin_counted(around, now)),
        State::Starting { run: Some(run), why, .. } => changed(next.late(run, why, now).stop_when_free(around, now)),
        State::Stopping { dying: Dying::Asked { .. } | Dying::Killed { .. }, .. } => changed(next.kill_running(now)),
        State::Down { .. }
        | State::Waiting(Wait::Dependencies(_) | Wait::OldSession { .. } | Wait::Held { .. })
        | State::Preparing { .. }
        | State::Starting { run: None, .. }
        | State::Ready { .. }
        | State::Degraded { .. }
        | State::Stopping { dying: Dying::Leftovers, .. }
        | State::Failed { .. } => ignored(Why::NotDue),
    }
}
