//! The clocks. Nothing else in the crate reads one.

use crate::base::{Moment, Timestamp};
use nix::time::{ClockId, clock_gettime};
use std::{
    sync::OnceLock,
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

/// The id of this boot of the machine (`/proc/sys/kernel/random/boot_id`); empty when /proc does not tell.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
    })
}
