//! How long a node was held up that has to give signs of life for a ZooKeeper session: the value rooms hand each other, and `stalls`
//! in `status --json`.

use super::{Timestamp, units::human_duration};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What held a node up, by what it was held up by. Keys are never missing; unknown is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    /// How long a session lasts without a sign of life, milliseconds; of ZooKeeper: the shortest of the brokers'.
    pub session_ms: u64,
    /// By its garbage collector; null: not known (its log cannot be read, or `jvm_flags` put it elsewhere).
    pub collector: Option<Stall>,
    /// By having no processor; null: not known (yet, or the kernel does not tell).
    pub processor: Option<Stall>,
}

/// The longest one of the last hour, or since `since` if that is later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// How long; 0: none was seen.
    pub longest_ms: f64,
    /// Its end; null: none was seen.
    pub at: Option<Timestamp>,
    /// Since when it is looked for, in this run of the node.
    pub since: Timestamp,
}

/// What a node was held up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// Its garbage collector.
    Collector,
    /// Other programs had the processors.
    Processor,
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeldBy::Collector => "collector",
            HeldBy::Processor => "no processor",
        })
    }
}

impl Stalls {
    /// The longest of both; none: none was seen.
    pub fn longest(&self) -> Option<(HeldBy, Duration, Timestamp)> {
        let of = |held: HeldBy, stall: &Option<Stall>| {
            let stall = stall.as_ref()?;
            Some((held, Duration::try_from_secs_f64(stall.longest_ms / 1_000.0).ok()?, stall.at?))
        };
        let both = [of(HeldBy::Collector, &self.collector), of(HeldBy::Processor, &self.processor)];
        both.into_iter().flatten().max_by_key(|(_, length, _)| *length)
    }

    /// How long a session lasts.
    pub fn session(&self) -> Duration {
        Duration::from_millis(self.session_ms)
    }
}

/// Whether a stall is worth a warning: half of a session is gone, and a third of one may be gone before it begins, because that is
/// how often a client gives a sign of life (ClientCnxn of ZooKeeper 3.6: a ping when half of the two thirds of a session are over).
pub fn is_long(length: Duration, session: Duration) -> bool {
    length >= session / 2
}

/// What is said of one: `was held up for 7.3 s by its garbage collector, until 14:02:11Z: …`.
pub fn words(held: HeldBy, length: Duration, at: Timestamp, session: Duration) -> String {
    let by = match held {
        HeldBy::Collector => "by its garbage collector",
        HeldBy::Processor => "for want of a processor",
    };
    format!(
        "was held up for {} {by}, until {}: more than half of a ZooKeeper session, which ends when nothing is heard for {}",
        human_duration(length),
        clock(at),
        human_duration(session)
    )
}

/// `14:02:11Z`.
pub fn clock(at: Timestamp) -> String {
    // `2025-11-23T03:07:59.042Z`
    let text = at.to_string();
    text.get(11..19).map_or_else(|| text.clone(), |clock| format!("{clock}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_both_counts_and_what_was_not_seen_does_not() {
        let stall =
            |ms: f64, at: Option<i64>| Some(Stall { longest_ms: ms, at: at.map(Timestamp), since: Timestamp(0) });
        let of = |collector, processor| Stalls { session_ms: 12_000, collector, processor }.longest();
        assert_eq!(of(None, None), None);
        assert_eq!(of(stall(0.0, None), None), None);
        let longest = of(stall(310.4, Some(7)), stall(12.0, Some(8)));
        assert_eq!(longest, Some((HeldBy::Collector, Duration::from_micros(310_400), Timestamp(7))));
        assert_eq!(of(None, stall(12.0, Some(8))).map(|found| found.0), Some(HeldBy::Processor));
    }

    #[test]
    fn half_of_a_session_is_long_and_the_words_say_of_what() {
        let session = Duration::from_secs(12);
        assert!(is_long(session / 2, session) && !is_long(session / 2 - Duration::from_millis(1), session));
        let at = Timestamp::parse("2025-11-23T03:07:59.042Z").unwrap();
        assert_eq!(
            words(HeldBy::Collector, Duration::from_millis(7_300), at, session),
            "was held up for 7.3 s by its garbage collector, until 03:07:59Z: more than half of a ZooKeeper session, which ends \
             when nothing is heard for 12.0 s"
        );
    }
}
