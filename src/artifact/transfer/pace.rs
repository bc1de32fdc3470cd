//! How long things may take: stalls, pauses between tries, and a limit of bytes per second over all downloads.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Bounds of a download. There is none on the whole: a large file over a slow line takes its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until a connection stands, names looked up and TLS agreed on included.
    pub connect: Duration,
    /// Without a byte.
    pub stall: Duration,
    /// Fewest bytes in the time of a stall: what drips slower than this never ends.
    pub least: u64,
    /// First pause between tries; each next one is twice as long.
    pub first_pause: Duration,
    /// Longest pause.
    pub last_pause: Duration,
    /// Tries in a row that do not get on.
    pub tries: u32,
    /// Longest wait that a server may ask for (`Retry-After`).
    pub longest_wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            // 500 bytes a second: 60 MB would take a day and a half
            least: 15 << 10,
            first_pause: Duration::from_millis(500),
            last_pause: Duration::from_secs(20),
            tries: 6,
            longest_wait: Duration::from_secs(120),
        }
    }
}

impl Timing {
    /// The pause before try number `tries` + 1: doubled each time, between half of it and all of it, so that many who lost
    /// the same server do not come back at once.
    pub fn back_off(&self, tries: u32) -> Duration {
        let full = self.first_pause.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(self.last_pause);
        full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// [`least`](Self::least), or half of what the limit lets through.
    pub fn least(&self, rate: Option<u64>) -> u64 {
        rate.map_or(self.least, |rate| self.least.min(rate.saturating_mul(self.stall.as_secs()) / 2))
    }
}

/// Bytes per second over all downloads of a run.
#[derive(Debug)]
pub struct Limiter {
    rate: Option<u64>,
    /// Until when the bytes that came so far use up the limit.
    used: Mutex<Instant>,
}

impl Limiter {
    /// With a limit, or without.
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|r| *r > 0), used: Mutex::new(Instant::now()) }
    }

    /// The limit.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Bytes came; how long to wait until more may come.
    pub fn take(&self, bytes: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Time in which nothing came is not saved up.
        *used = (*used).max(now) + Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        used.duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_last_and_are_never_all_alike() {
        let timing = Timing::default();
        for (tries, most) in [(1, 500), (2, 1_000), (3, 2_000), (40, 20_000)] {
            let all: Vec<Duration> = (0..50).map(|_| timing.back_off(tries)).collect();
            let most = Duration::from_millis(most);
            assert!(all.iter().all(|p| *p <= most && *p >= most / 2), "{tries}: {all:?}");
            assert!(all.iter().any(|p| *p != all[0]));
        }
    }

    #[test]
    fn a_limit_holds_for_all_downloads_together() {
        let limiter = Limiter::new(Some(1_000));
        let waits: Vec<Duration> = (0..4).map(|_| limiter.take(500)).collect();
        assert!(waits[3] > Duration::from_millis(1_900) && waits[3] <= Duration::from_secs(2), "{waits:?}");
        assert_eq!(Limiter::new(None).take(1 << 40), Duration::ZERO);
        assert_eq!(Limiter::new(Some(0)).take(1 << 40), Duration::ZERO);
    }

    #[test]
    fn what_a_limit_allows_is_no_drip() {
        let timing = Timing::default();
        assert_eq!(timing.least(None), 15 << 10);
        assert_eq!(timing.least(Some(100)), 1_500);
    }
}
