//! Where a node's memory goes: samples over hours in bounded room, their slope, and the time until the cap. Pure.
//!
//! Anonymous memory only: a node's total stands at its cap for weeks, because page cache fills what is free and goes when it
//! is needed.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "bytes and milliseconds of a trend: far below 2^53, and a figure for people"
)]

use crate::base::Moment;
use std::time::Duration;

/// Samples that are kept: with the longest pause between them, eight hours.
const KEPT: usize = 180;

/// Shortest and longest pause between two samples, seconds.
const PAUSE_MIN: u64 = 10;
const PAUSE_MAX: u64 = 160;

/// Below so many samples, or over so short a time, nothing is said: a start is no trend.
const SAMPLES_MIN: usize = 20;
const SPAN_MIN: Duration = Duration::from_secs(600);

/// Further away than this a cap is as good as never reached: four weeks.
const HOURS_MAX: f64 = 672.0;

/// Samples of one run.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// Time in milliseconds of the monotonic clock, and bytes.
    samples: Vec<(u64, u64)>,
    pause_s: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { samples: Vec::new(), pause_s: PAUSE_MIN }
    }
}

/// What the samples say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Slope, bytes in an hour.
    pub bytes_per_hour: i64,
    /// It has risen all the time and by more than noise.
    pub steady_rise: bool,
}

impl History {
    /// Takes a sample, unless the last one is too young.
    pub(super) fn push(&mut self, at: Moment, bytes: u64) {
        let too_young = |last: &(u64, u64)| at.0.saturating_sub(last.0) + 500 < self.pause_s * 1_000;
        if self.samples.last().is_some_and(too_young) {
            return;
        }
        if self.samples.len() == KEPT {
            if self.pause_s < PAUSE_MAX {
                // Half the samples, twice the pause: the time they span is kept.
                let mut nth = 0;
                self.samples.retain(|_| {
                    nth += 1;
                    nth % 2 == 0
                });
                self.pause_s *= 2;
            } else {
                self.samples.remove(0);
            }
        }
        self.samples.push((at.0, bytes));
    }

    /// The slope: the median of the slopes between all pairs (Theil-Sen), which a few outliers, such as a start or one large
    /// query, do not move. None: not enough is known. `cap` is what a rise is measured against.
    pub(super) fn trend(&self, cap: Option<u64>) -> Option<Trend> {
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        let span_ms = last.0.saturating_sub(first.0);
        if self.samples.len() < SAMPLES_MIN || Duration::from_millis(span_ms) < SPAN_MIN {
            return None;
        }
        let mut slopes = Vec::with_capacity(self.samples.len() * self.samples.len() / 2);
        for (nth, early) in self.samples.iter().enumerate() {
            for late in &self.samples[nth + 1..] {
                let hours = (late.0.saturating_sub(early.0)) as f64 / 3_600_000.0;
                if hours > 0.0 {
                    slopes.push((late.1 as f64 - early.1 as f64) / hours);
                }
            }
        }
        let quarter = slopes.len() / 4;
        let low = *slopes.select_nth_unstable_by(quarter, f64::total_cmp).1;
        let half = slopes.len() / 2;
        let median = *slopes.select_nth_unstable_by(half, f64::total_cmp).1;
        let rise = median * span_ms as f64 / 3_600_000.0;
        // A hundredth of the cap over the whole time: what a garbage collector moves is more often less than more.
        let noise = cap.unwrap_or(u64::MAX) as f64 / 100.0;
        Some(Trend { bytes_per_hour: median as i64, steady_rise: low > 0.0 && rise >= noise })
    }
}

/// Hours until anonymous memory reaches the cap at this slope; none: it does not rise steadily, or not within four weeks.
pub fn hours_to_cap(trend: Option<Trend>, anon: Option<u64>, cap: Option<u64>) -> Option<f64> {
    let trend = trend.filter(|t| t.steady_rise && t.bytes_per_hour > 0)?;
    let left = cap?.saturating_sub(anon?);
    let hours = left as f64 / trend.bytes_per_hour as f64;
    // Minutes count when there are no hours any more.
    let parts = if hours < 1.0 { 100.0 } else { 10.0 };
    (hours <= HOURS_MAX).then(|| (hours * parts).round() / parts)
}

/// At which part of the cap anonymous memory is warned of, and below which the warning is over, per cent.
const HIGH: u64 = 85;
const EASED: u64 = 80;

/// Whether a node's anonymous memory is close to its cap, given whether it was: between the two bounds nothing changes.
pub(super) fn is_high(was: bool, anon: u64, cap: u64) -> bool {
    let per_cent = anon.saturating_mul(100).checked_div(cap).unwrap_or(0);
    per_cent >= if was { EASED } else { HIGH }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const CAP: u64 = 768 * MIB;

    fn history(seconds: u64, bytes: impl Fn(u64) -> u64) -> History {
        let mut history = History::default();
        for at in (0..=seconds).step_by(10) {
            history.push(Moment(5_000 + at * 1_000), bytes(at));
        }
        history
    }

    fn hours(history: &History, anon: u64) -> Option<f64> {
        hours_to_cap(history.trend(Some(CAP)), Some(anon), Some(CAP))
    }

    #[test]
    fn a_start_is_no_trend_and_a_level_is_no_rise() {
        assert_eq!(history(590, |s| s * MIB).trend(Some(CAP)), None, "less than ten minutes");
        let level = history(3_600, |_| 300 * MIB).trend(Some(CAP)).unwrap();
        assert_eq!(level, Trend { bytes_per_hour: 0, steady_rise: false });
        // An hour's noise of 20 MiB to and fro.
        let noisy = history(3_600, |s| (300 + s * 7 % 20) * MIB);
        assert_eq!(hours(&noisy, 300 * MIB), None);
    }

    #[test]
    fn a_leak_is_timed_in_spite_of_its_start_and_of_outliers() {
        // 300 MiB after a start of a minute, then 24 MiB an hour, and one look in twenty far off.
        let leak = |s: u64| match s {
            0..60 => s * 5 * MIB,
            s if s % 200 == 0 => 700 * MIB,
            s => 300 * MIB + s * 24 * MIB / 3_600,
        };
        for seconds in [3_600, 8 * 3_600, 40 * 3_600] {
            let history = history(seconds, leak);
            assert!(history.samples.len() <= KEPT);
            let trend = history.trend(Some(CAP)).unwrap();
            let mib = trend.bytes_per_hour as f64 / MIB as f64;
            assert!((22.0..=26.0).contains(&mib), "{mib} MiB an hour after {seconds} s");
            assert!(trend.steady_rise);
            let hours = hours(&history, 300 * MIB).unwrap();
            assert!((18.0..=21.3).contains(&hours), "{hours}");
        }
    }

    #[test]
    fn what_grew_and_has_stopped_growing_is_said_to_have_stopped() {
        let grown = history(16 * 3_600, |s| (300 + (s / 36).min(100)) * MIB);
        assert_eq!(hours(&grown, 400 * MIB), None);
        let falling = history(3_600, |s| 700 * MIB - s * MIB / 10).trend(Some(CAP)).unwrap();
        assert!(falling.bytes_per_hour < 0 && !falling.steady_rise);
    }

    #[test]
    fn a_cap_that_is_weeks_away_or_unknown_is_not_timed() {
        let trend = Some(Trend { bytes_per_hour: 1 << 20, steady_rise: true });
        assert_eq!(hours_to_cap(trend, Some(100 * MIB), Some(CAP)), Some(668.0));
        assert_eq!(hours_to_cap(trend, Some(90 * MIB), Some(CAP)), None);
        assert_eq!(hours_to_cap(trend, None, Some(CAP)), None);
        assert_eq!(hours_to_cap(trend, Some(1), None), None);
        assert_eq!(hours_to_cap(trend, Some(CAP), Some(CAP)), Some(0.0));
        let fast = Some(Trend { bytes_per_hour: 100 << 20, steady_rise: true });
        assert_eq!(hours_to_cap(fast, Some(CAP - 4 * MIB), Some(CAP)), Some(0.04), "not \"in 0 h\"");
    }

    #[test]
    fn a_warning_is_not_given_again_while_memory_hovers() {
        let mut was = false;
        let mut changes = Vec::new();
        for per_cent in [50, 84, 85, 84, 81, 86, 80, 79, 84, 90] {
            let is = is_high(was, per_cent, 100);
            if is != was {
                changes.push(per_cent);
            }
            was = is;
        }
        assert_eq!(changes, [85, 79, 90]);
        assert!(!is_high(false, 5, 0), "no cap, no warning");
    }
}
