//! The time at the beginning of a log line, in the forms our products write.

use crate::base::Timestamp;
use jiff::{Timestamp as Instant, civil::DateTime, tz::TimeZone};

/// When `line` was written, if it begins with a time: `[2025-11-23 03:07:59,042]` (log4j of Kafka and ZooKeeper, local
/// time), `2025-11-23T03:07:59.042123Z` (mysqld), `[2025-11-23T03:07:59.042+0000]` (the JVM's unified logging).
/// A time without a zone is taken as the machine's local one.
pub fn line_time(line: &[u8]) -> Option<Timestamp> {
    const CLOCK: usize = "2025-11-23T03:07:59".len();
    let text = line.strip_prefix(b"[").unwrap_or(line);
    // Only the beginning is looked at: a fraction of nine digits and a zone fit into it.
    let text = &text[..text.len().min(CLOCK + 16)];
    let clock = std::str::from_utf8(text.get(..CLOCK)?).ok()?;
    let digit = |at: usize| clock.as_bytes()[at].is_ascii_digit();
    if !digit(0) || !digit(CLOCK - 1) || !matches!(clock.as_bytes()[10], b'T' | b' ') {
        return None;
    }
    let civil: DateTime = clock.parse().ok()?;
    let rest = &text[CLOCK..];
    let (fraction, zone) = match rest.first() {
        Some(b'.' | b',') => {
            let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            (&rest[1..=digits], &rest[1 + digits..])
        }
        _ => (&rest[..0], rest),
    };
    let second = match zone {
        [b'Z', ..] => TimeZone::UTC.to_timestamp(civil).ok()?,
        [sign @ (b'+' | b'-'), hours @ ..] => {
            let two = |b: &[u8]| std::str::from_utf8(b).ok()?.parse::<i64>().ok();
            let minutes = hours.get(2..)?;
            let minutes = minutes.strip_prefix(b":").unwrap_or(minutes);
            let offset = two(hours.get(..2)?)? * 3_600 + two(minutes.get(..2)?)? * 60;
            let utc = TimeZone::UTC.to_timestamp(civil).ok()?.as_second();
            Instant::from_second(if *sign == b'+' { utc - offset } else { utc + offset }).ok()?
        }
        _ => TimeZone::system().to_timestamp(civil).ok()?,
    };
    let millis = fraction.iter().chain(b"000").take(3).fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
    Some(Timestamp(second.as_millisecond() + millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_mysqld_and_of_the_jvm_are_read() {
        let at = Timestamp::parse("2025-11-23T03:07:59.042Z").unwrap();
        for line in [
            "2025-11-23T03:07:59.042123Z 0 [System] [MY-010931] [Server] ready for connections",
            "[2025-11-23T03:07:59.042+0000][info][gc] x",
            "[2025-11-23T05:07:59.042+02:00] x",
            "2025-11-23T01:37:59.042-0130",
        ] {
            assert_eq!(line_time(line.as_bytes()), Some(at), "{line}");
        }
        assert_eq!(
            line_time(b"2025-11-23T03:07:59Z"),
            Some(Timestamp::parse("2025-11-23T03:07:59Z").unwrap()),
            "no fraction"
        );
    }

    #[test]
    fn a_time_without_a_zone_is_local() {
        let local = TimeZone::system().to_timestamp("2025-11-23T03:07:59".parse().unwrap()).unwrap().as_millisecond();
        assert_eq!(line_time(b"[2025-11-23 03:07:59,042] INFO started"), Some(Timestamp(local + 42)));
    }

    #[test]
    fn lines_without_a_time_have_none() {
        for line in ["", "x", "\tat java.lang.Thread.run(Thread.java:840)", "2025-11-23", "[2025-13-45 99:99:99,1] x"] {
            assert_eq!(line_time(line.as_bytes()), None, "{line}");
        }
        assert_eq!(line_time(b"2025-11-23T03:07:59.042+"), None, "a broken zone");
        assert_eq!(line_time(b"\xff\xfe2025-11-23T03:07:59Z"), None);
    }
}
