//! The clocks. Nothing else in the crate reads one.

use crate::base::{Moment, Timestamp};
use nix::time::{ClockId, clock_gettime};
use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Monotonic time since boot, suspend included.
pub fn now() -> Moment {
    // CLOCK_BOOTTIME exists since Linux 2.6.39; clock_gettime fails only for an unknown clock.
    let t = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |t| t.tv_sec() * 1_000 + t.tv_nsec() / 1_000_000);
    Moment(u64::try_from(t).unwrap_or(0))
}

/// Wall clock time.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn wall() -> Timestamp {
    // A clock set before 1970 shows the epoch rather than stopping anything.
    let shown =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    #[cfg(feature = "failpoints")]
    let shown = shown.saturating_add(super::failpoint::clock_offset());
    Timestamp(shown)
}

/// By how much the wall clock may be off from the other between two looks without having been set. A service that corrects it slews at
/// most 0.5 ms a second (adjtimex(2)), and sets it where it is off by more: chronyd and systemd-timesyncd from 0.4 s on.
const SLEWED_MS: i64 = 300;

/// Since when nobody has set the wall clock, as far as looks can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Steady {
    /// By how much it is ahead of the other clock.
    ahead_ms: i64,
    since: Moment,
}

impl Steady {
    /// After another look. The first one, and one that comes long after the last, prove nothing of the time before.
    fn look(before: Option<Self>, wall: Timestamp, now: Moment) -> Self {
        let ahead_ms = wall.0.saturating_sub_unsigned(now.0);
        match before {
            Some(Self { ahead_ms: was, since }) if ahead_ms.abs_diff(was) <= SLEWED_MS.unsigned_abs() => {
                Self { ahead_ms, since }
            }
            Some(_) | None => Self { ahead_ms, since: now },
        }
    }
}

/// Takes a look at both clocks; since when the wall clock was not set, as far as this process has looked. Times of day are only worth
/// comparing when both are later than this.
pub fn steady_since() -> Moment {
    static STEADY: Mutex<Option<Steady>> = Mutex::new(None);
    // The value is replaced as a whole.
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let (wall, now) = both();
    let look = Steady::look(*steady, wall, now);
    steady.insert(look).since
}

/// Both clocks at one moment: who is held up between the two reads would take that for a step.
fn both() -> (Timestamp, Moment) {
    const APART_MS: u64 = 20;
    const TRIES: usize = 5;
    let mut read = (now(), wall(), now());
    for _ in 1..TRIES {
        if read.2.0.saturating_sub(read.0.0) <= APART_MS {
            break;
        }
        read = (now(), wall(), now());
    }
    (read.1, read.2)
}

/// The id of this boot of the machine (`/proc/sys/kernel/random/boot_id`); empty when /proc does not tell.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_steady_from_then_on_whichever_way_and_though_it_was_put_right() {
        let looks = |steps: &[(u64, i64)]| {
            let look =
                |steady, (at, set): &(u64, i64)| Some(Steady::look(steady, Timestamp(*at as i64 + set), Moment(*at)));
            steps.iter().fold(None, look).unwrap().since
        };
        assert_eq!(looks(&[(1_000, 0)]), Moment(1_000), "nothing is known of before");
        assert_eq!(looks(&[(1_000, 0), (2_000, 1), (3_000, 2), (900_000, 250)]), Moment(1_000), "it was slewed");
        for hour in [3_600_000, -3_600_000, 301, -301] {
            assert_eq!(looks(&[(1_000, 0), (2_000, hour), (3_000, hour)]), Moment(2_000), "{hour}");
            assert_eq!(looks(&[(1_000, 0), (2_000, hour), (3_000, 0), (4_000, 0)]), Moment(3_000), "{hour}: and back");
        }
    }
}
