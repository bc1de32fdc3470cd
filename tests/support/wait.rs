//! Waiting for a value, with a bound and the last reason.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Tries until `attempt` gives a value. Fails the test after `limit` with what was waited for and the last "not yet".
pub fn until<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let not_yet = match attempt() {
            Ok(value) => return value,
            Err(not_yet) => not_yet,
        };
        assert!(started.elapsed() < limit, "waited {} s for: {what}\nlast seen: {not_yet}", limit.as_secs());
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Checks again and again for `time` that something stays true. For facts of the form "this never happens", where no
/// value can be waited for.
pub fn stays(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < time {
        assert!(holds(), "no longer true after {:?}: {what}", started.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
}
