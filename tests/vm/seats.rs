//! How many guests run at once: each has one processor, and what is measured in one shall not be made of waiting for others.
//!
//! `CDC_VM_BESIDE` names a file. While it is there, something else works on this machine, too: one guest runs at a time, and none that
//! runs the real products. `dist/test.sh` has that beside the tests of the real stack, and removes the file behind them.

use std::{
    path::PathBuf,
    sync::{Condvar, Mutex, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

/// How often somebody who waits looks for that file: its end tells nobody.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What runs in a guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Small programs.
    Light,
    /// ZooKeeper, brokers and mysqld.
    Stack,
}

/// Who runs and who waits.
struct Seats {
    taken: usize,
    waiting: Vec<(Duration, Load)>,
}

static SEATS: Mutex<Seats> = Mutex::new(Seats { taken: 0, waiting: Vec::new() });
static FREED: Condvar = Condvar::new();

/// The right to run one guest, until it is dropped.
pub struct Seat(());

impl Seat {
    /// Waits for a free one. Of those who may run now, who may take longest is the next: the end of all is then the soonest.
    pub fn take(longest: Duration, load: Load) -> Self {
        let own = (longest, load);
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        seats.waiting.push(own);
        while !seats.is_next(own, beside()) {
            seats = FREED.wait_timeout(seats, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        let place = seats.waiting.iter().position(|one| *one == own).expect("pushed above");
        seats.waiting.swap_remove(place);
        seats.taken += 1;
        FREED.notify_all();
        Self(())
    }
}

impl Seats {
    fn is_next(&self, (longest, load): (Duration, Load), beside: bool) -> bool {
        let all = if beside { 1 } else { available_parallelism().map_or(1, usize::from) };
        let may_run = |load: Load| !beside || load == Load::Light;
        let first = !self.waiting.iter().any(|(other, load)| may_run(*load) && *other > longest);
        self.taken < all && may_run(load) && first
    }
}

/// Whether something else works here.
fn beside() -> bool {
    std::env::var_os("CDC_VM_BESIDE").is_some_and(|file| PathBuf::from(file).exists())
}

impl Drop for Seat {
    fn drop(&mut self) {
        SEATS.lock().unwrap_or_else(PoisonError::into_inner).taken -= 1;
        FREED.notify_all();
    }
}

#[test]
fn beside_something_else_one_light_guest_runs_and_the_longest_is_the_next() {
    let of = |seconds, load| (Duration::from_secs(seconds), load);
    let (stack, long, short) = (of(9, Load::Stack), of(5, Load::Light), of(3, Load::Light));
    let next = |taken, beside| {
        let seats = Seats { taken, waiting: vec![stack, long, short] };
        [stack, long, short].map(|own| seats.is_next(own, beside))
    };
    assert_eq!(next(0, true), [false, true, false]);
    assert_eq!(next(1, true), [false; 3]);
    assert_eq!(next(0, false), [true, false, false]);
}
