//! How many guests run at once: each has one processor, and what is measured in one shall not be made of waiting for others.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

/// Who runs and who waits.
struct Seats {
    taken: usize,
    waiting: Vec<Duration>,
}

static SEATS: Mutex<Seats> = Mutex::new(Seats { taken: 0, waiting: Vec::new() });
static FREED: Condvar = Condvar::new();

/// The right to run one guest, until it is dropped.
pub struct Seat(());

impl Seat {
    /// Waits for a free one. Of those who wait, who may take longest is the next: the end of all is then the soonest.
    pub fn take(longest: Duration) -> Self {
        let all = available_parallelism().map_or(1, usize::from);
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        seats.waiting.push(longest);
        while seats.taken >= all || seats.waiting.iter().any(|other| *other > longest) {
            seats = FREED.wait(seats).unwrap_or_else(PoisonError::into_inner);
        }
        let own = seats.waiting.iter().position(|one| *one == longest).expect("pushed above");
        seats.waiting.swap_remove(own);
        seats.taken += 1;
        FREED.notify_all();
        Self(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        SEATS.lock().unwrap_or_else(PoisonError::into_inner).taken -= 1;
        FREED.notify_all();
    }
}
