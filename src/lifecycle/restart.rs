//! What follows the end of a run that nobody stopped for good: again at once, after a pause, or not at all.

use super::{Ended, Run, StopReason};
use crate::base::{
    Cause, Moment,
    outcome::Failure,
    recipe::{Restart, RestartWhen},
};
use std::time::Duration;

/// The pauses between starts, checked: never zero, never longest below shortest.
///
/// Defaults in the recipes are 0.2 s to 60 s (design 4, back-off).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    min: Duration,
    max: Duration,
}

impl BackOff {
    /// No pause is shorter, whatever is configured: without one, a program that cannot run would keep a core busy.
    pub const FLOOR: Duration = Duration::from_millis(10);

    /// The pauses of a restart policy. A minimum below the floor is raised to it, a maximum below the minimum to that.
    pub fn of(restart: &Restart) -> Self {
        let min = restart.back_off_min.max(Self::FLOOR);
        Self { min, max: restart.back_off_max.max(min) }
    }

    /// The shortest pause.
    pub fn min(self) -> Duration {
        self.min
    }

    /// The longest pause.
    pub fn max(self) -> Duration {
        self.max
    }

    /// The pause before start number `attempt` of a row, counted from 1: the minimum doubled `attempt - 1` times, spread
    /// by a quarter to both sides so that nodes that died together do not come back together, then cut to the bounds.
    /// Whole milliseconds.
    pub fn pause(self, attempt: u32, dice: u64) -> Duration {
        let (min, max) = (whole_millis(self.min), whole_millis(self.max));
        // 2^40 ms is 34 years: a larger factor changes nothing but could overflow.
        let base = min.saturating_mul(1 << attempt.saturating_sub(1).min(40)).min(max);
        let low = (base - base / 4).max(min);
        let high = base.saturating_add(base / 4).min(max);
        Duration::from_millis(low + dice % (high - low + 1))
    }
}

fn whole_millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX / 4)
}

/// What is known of a run that has just gone.
pub(super) struct Past<'a> {
    /// The process; none: the launch never said that there is one.
    pub(super) run: Option<&'a Run>,
    /// When it last became ready.
    pub(super) ready_since: Option<Moment>,
    /// Who wanted it gone; none: nobody had noticed anything yet.
    pub(super) reason: Option<StopReason>,
    /// A start was ordered while it was on its way out.
    pub(super) bounce: bool,
    /// How it ended.
    pub(super) ended: &'a Ended,
}

/// What to do with a node that is wanted up and has just gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start it: its end was ordered. A fresh beginning, no restart is counted.
    Ordered,
    /// Start it: our side failed, not the product. A restart, no death.
    Replaced,
    /// Prepare it: a broker met its own old session, preparing holds it until that is gone. Neither restart nor death.
    OldSession,
    /// Start it at once: it had been healthy. The row of deaths ends.
    Healthy,
    /// A death: at once if it is the first in a row, else after a pause.
    Death,
    /// Not again: its policy says so.
    Finished,
    /// Not again: a new start cannot cure it. None: nobody found words for it.
    Hopeless(Option<Failure>),
}

/// Decides what follows an end under `Wanted::Up`.
pub(super) fn after_end(restart: &Restart, past: &Past<'_>, now: Moment) -> Next {
    if past.bounce {
        return Next::Ordered;
    }
    if past.reason == Some(StopReason::ShimLost) || past.ended.cause == Cause::ShimLost {
        return Next::Replaced;
    }
    if past.ended.failure.is_some() || past.ended.cause.is_terminal() {
        return Next::Hopeless(past.ended.failure.clone());
    }
    if past.ended.cause == Cause::OldSession {
        return Next::OldSession;
    }
    if ended_for_good(restart, past.ended.cause) {
        return Next::Finished;
    }
    // A process that lived long but never served is no healthy run.
    let long_enough = past.run.is_some_and(|run| now.since(run.spawned) >= restart.healthy_after);
    if long_enough && past.ready_since.is_some() { Next::Healthy } else { Next::Death }
}

/// Whether the policy says that nothing follows this end.
pub(super) fn ended_for_good(restart: &Restart, cause: Cause) -> bool {
    match restart.when {
        RestartWhen::Never => true,
        RestartWhen::OnFailure => ended_well(cause),
        RestartWhen::Always => false,
    }
}

/// Whether a policy of "on failure" calls this end a success.
fn ended_well(cause: Cause) -> bool {
    match cause {
        Cause::Completed | Cause::Stopped => true,
        Cause::KilledAfterGrace
        | Cause::KilledByOrder
        | Cause::KilledByOther
        | Cause::OutOfMemory
        | Cause::Crashed
        | Cause::CouldNotStart
        | Cause::OldSession
        | Cause::WrongIdentity
        | Cause::BadOption
        | Cause::PortTaken
        | Cause::DiskFull
        | Cause::WrongOwner
        | Cause::NewerData
        | Cause::ShimLost
        | Cause::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back_off(min: u64, max: u64) -> BackOff {
        BackOff::of(&Restart {
            when: RestartWhen::Always,
            healthy_after: Duration::ZERO,
            back_off_min: Duration::from_millis(min),
            back_off_max: Duration::from_millis(max),
        })
    }

    #[test]
    fn pauses_double_from_the_minimum_to_the_maximum() {
        let b = back_off(200, 60_000);
        // A dice of 0 gives the low end of the spread.
        let low: Vec<u128> = (1..=11).map(|n| b.pause(n, 0).as_millis()).collect();
        assert_eq!(low, [200, 300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 45_000, 45_000]);
    }

    #[test]
    fn every_pause_lies_between_the_bounds_and_is_spread() {
        let b = back_off(200, 60_000);
        for attempt in [0, 1, 2, 9, 10, 63, 64, u32::MAX] {
            let mut seen = std::collections::BTreeSet::new();
            for dice in (0..1_000).map(|n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
                let pause = b.pause(attempt, dice);
                assert!((b.min()..=b.max()).contains(&pause), "attempt {attempt}: {pause:?}");
                seen.insert(pause);
            }
            assert!(seen.len() > 20, "attempt {attempt} is not spread: {seen:?}");
        }
    }

    #[test]
    fn nonsense_bounds_are_put_right() {
        assert_eq!(back_off(0, 0).pause(5, 77), BackOff::FLOOR);
        assert_eq!(back_off(500, 20).pause(9, 123), Duration::from_millis(500));
        assert!(back_off(u64::MAX, u64::MAX).pause(40, u64::MAX) > Duration::from_secs(1));
    }
}
