//! The slots of the control socket: who has one at once, who waits for one that somebody gives up, who goes.
//!
//! A promise is kept by order: whoever waits stands in the semaphore's line *before* somebody is sent away for it, and a slot
//! that comes free goes to the line first (tokio, `Semaphore`: fair). Were it to get into the line only when its own task is
//! run for the first time, the slot that was made free for it could come free before that, and go to a connection that was
//! accepted meanwhile; then nobody is on the way out for the one that waits, and it waits for as long as the others please.

use super::lobby::{Lobbies, Place};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// All slots, and those that could give one up.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    lobbies: Lobbies,
}

/// A slot; given back when it is dropped.
pub(super) type Slot = OwnedSemaphorePermit;

/// What a new connection gets.
#[derive(Debug)]
pub(super) enum Claim {
    /// A slot.
    Now(Slot),
    /// The next one that comes free, which somebody was just told to give up.
    Soon(Waiting),
    /// None: all are at work (or have got their slot in this very moment and are in no lobby yet).
    Never,
}

/// A place in the line.
pub(super) struct Waiting {
    turn: Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>,
    place: Place,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Slots {
    /// So many slots.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), lobbies: Lobbies::default() }
    }

    /// Those that could give one up.
    pub(super) fn lobbies(&self) -> &Lobbies {
        &self.lobbies
    }

    /// A slot for a new connection, or a place in the line for one.
    pub(super) fn claim(&self) -> Claim {
        // Without a budget: a task that has used up its own would be told "not yet" here, and not be put into the line.
        let mut turn = Box::pin(tokio::task::unconstrained(Arc::clone(&self.free).acquire_owned()));
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(slot)) => Claim::Now(slot),
            // Only a semaphore that is closed says so, and nobody closes this one.
            Poll::Ready(Err(_)) => Claim::Never,
            // In the line from here on.
            Poll::Pending if self.lobbies.make_room() => Claim::Soon(Waiting { turn, place: self.lobbies.wait() }),
            Poll::Pending => Claim::Never,
        }
    }
}

impl Waiting {
    /// Its slot, when it comes free; none: it was told to go itself, for a newer one.
    pub(super) async fn slot(mut self) -> Option<Slot> {
        let slot = tokio::select! {
            slot = &mut self.turn => slot.ok()?,
            () = self.place.wanted() => return None,
        };
        // Told to go in the moment in which it got its slot: whoever came for it waits for this very slot.
        self.place.keep().then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn served(claim: Claim) -> Slot {
        match claim {
            Claim::Now(slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    fn waits(claim: Claim) -> Waiting {
        match claim {
            Claim::Soon(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    async fn in_time(waiting: Waiting) -> Option<Slot> {
        timeout(Duration::from_secs(20), waiting.slot()).await.expect("its promise is lost")
    }

    #[tokio::test]
    async fn a_slot_that_was_made_free_for_one_goes_to_nobody_else_though_its_task_has_not_run_yet() {
        let slots = Slots::new(1);
        let (slot, mut silent) = (served(slots.claim()), slots.lobbies().enter());
        let first = waits(slots.claim());
        silent.wanted().await;
        // It goes at once, before anybody has asked for `first`'s slot with a waker of its own.
        drop(slot);
        // The next that is accepted finds a slot that is free and promised. `first` has none to give up but its place.
        let second = waits(slots.claim());
        assert!(in_time(first).await.is_none(), "it made room for the newer one");
        let slot = in_time(second).await.expect("the slot it was promised");
        assert!(matches!(slots.claim(), Claim::Never), "whoever has it is at work");
        drop(slot);
        drop(served(slots.claim()));
    }

    #[tokio::test]
    async fn every_promise_is_kept_whoever_is_run_first() {
        for order in 0..24usize {
            let slots = Slots::new(2);
            let mut held: Vec<(Slot, Place)> =
                (0..2).map(|_| (served(slots.claim()), slots.lobbies().enter())).collect();
            let mut waiting = vec![waits(slots.claim()), waits(slots.claim())];
            for step in 0..4 {
                // Each of the four is run at another place in the sequence.
                match (order >> step) & 1 {
                    0 => drop(held.pop()),
                    _ => waiting.rotate_left(1),
                }
            }
            drop(held);
            let mut got = Vec::new();
            for one in waiting {
                got.push(in_time(one).await.expect("nobody came after it"));
            }
            assert_eq!(got.len(), 2);
        }
    }

    #[tokio::test]
    async fn a_task_without_budget_is_put_into_the_line_all_the_same() {
        let slots = Slots::new(1);
        let (slot, place) = (served(slots.claim()), slots.lobbies().enter());
        // What a poll may do without yielding (tokio, coop) is used up.
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        let first = waits(slots.claim());
        drop((slot, place));
        assert!(in_time(first).await.is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_crowd_of_connections_that_leave_when_told_serves_every_one_that_stays() {
        let slots = Slots::new(8);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4_000 {
            let claim = slots.claim();
            let slots = slots.clone();
            tasks.spawn(async move {
                let slot = match claim {
                    Claim::Now(slot) => slot,
                    Claim::Soon(waiting) => match in_time(waiting).await {
                        Some(slot) => slot,
                        None => return 0,
                    },
                    // Whoever holds one has just got it.
                    Claim::Never => return 0,
                };
                // Silent until it is told to go, or the crowd is over.
                let mut place = slots.lobbies().enter();
                let _ = timeout(Duration::from_millis(300), place.wanted()).await;
                drop(slot);
                1
            });
        }
        let mut held_one = 0;
        while let Some(done) = tasks.join_next().await {
            held_one += done.expect("no promise is lost");
        }
        assert!(held_one >= 8, "{held_one}");
    }
}
