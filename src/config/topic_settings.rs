//! Settings that a Kafka topic has, and the values a broker takes for them: `LogConfig.java` of 3.5.2 and 3.9.2.

use super::Distribution;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A whole number from this on, of so many bits as Kafka keeps it in.
    Int(i64),
    Long(i64),
    /// 0 to 1.
    Ratio,
    Flag,
    OneOf(&'static [&'static str]),
    /// A list of these.
    SomeOf(&'static [&'static str]),
    /// A list, checked by the broker alone. It says it back without blanks (ConfigDef.parseType, convertToString).
    List,
    /// Checked by the broker alone.
    Text,
}

/// Of which line on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    V35,
    V39,
}

/// What is left out on purpose: `remote.*` and `local.*`, which need a tiered storage that nobody sets up here.
const ALL: &[(&str, Kind, Since)] = &[
    ("cleanup.policy", Kind::SomeOf(&["compact", "delete"]), Since::V35),
    ("compression.type", Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Since::V35),
    ("delete.retention.ms", Kind::Long(0), Since::V35),
    ("file.delete.delay.ms", Kind::Long(0), Since::V35),
    ("flush.messages", Kind::Long(1), Since::V35),
    ("flush.ms", Kind::Long(0), Since::V35),
    ("follower.replication.throttled.replicas", Kind::List, Since::V35),
    ("index.interval.bytes", Kind::Int(0), Since::V35),
    ("leader.replication.throttled.replicas", Kind::List, Since::V35),
    ("max.compaction.lag.ms", Kind::Long(1), Since::V35),
    ("max.message.bytes", Kind::Int(0), Since::V35),
    ("message.downconversion.enable", Kind::Flag, Since::V35),
    ("message.format.version", Kind::Text, Since::V35),
    ("message.timestamp.after.max.ms", Kind::Long(0), Since::V39),
    ("message.timestamp.before.max.ms", Kind::Long(0), Since::V39),
    ("message.timestamp.difference.max.ms", Kind::Long(0), Since::V35),
    ("message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), Since::V35),
    ("min.cleanable.dirty.ratio", Kind::Ratio, Since::V35),
    ("min.compaction.lag.ms", Kind::Long(0), Since::V35),
    ("min.insync.replicas", Kind::Int(1), Since::V35),
    ("preallocate", Kind::Flag, Since::V35),
    ("retention.bytes", Kind::Long(i64::MIN), Since::V35),
    ("retention.ms", Kind::Long(-1), Since::V35),
    // LegacyRecord.RECORD_OVERHEAD_V0
    ("segment.bytes", Kind::Int(14), Since::V35),
    ("segment.index.bytes", Kind::Int(4), Since::V35),
    ("segment.jitter.ms", Kind::Long(0), Since::V35),
    ("segment.ms", Kind::Long(1), Since::V35),
    ("unclean.leader.election.enable", Kind::Flag, Since::V35),
];

/// The settings of a distribution's topics, by name.
pub(super) fn names(distribution: Distribution) -> Vec<&'static str> {
    let newer = match distribution {
        Distribution::Apache392 => true,
        Distribution::Apache352 | Distribution::Confluent753 => false,
    };
    ALL.iter().filter(|(_, _, since)| newer || *since == Since::V35).map(|(name, _, _)| *name).collect()
}

/// What a value is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A broker takes it; in the spelling in which it says it back.
    Good(String),
    /// It does not.
    Bad {
        /// What is wrong.
        why: String,
        /// What may stand there.
        allowed: String,
    },
}

/// Judges a value. A setting that is not on the list is the broker's to judge.
pub(super) fn check(name: &str, value: &str) -> Verdict {
    let kind = ALL.iter().find(|(known, _, _)| *known == name).map_or(Kind::Text, |(_, kind, _)| *kind);
    let value = value.trim();
    let bad = |allowed: String| Verdict::Bad { why: format!("{value:?} is no value for {name}"), allowed };
    // A request to a broker has two bytes for its length.
    if value.len() > 4_096 {
        return Verdict::Bad {
            why: format!("a value of {} bytes for {name}", value.len()),
            allowed: "4096 bytes".into(),
        };
    }
    match kind {
        Kind::Int(least) => whole(value, least, i32::MAX.into()).map_or_else(bad, Verdict::Good),
        Kind::Long(least) => whole(value, least, i64::MAX).map_or_else(bad, Verdict::Good),
        Kind::Ratio => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Verdict::Good(value.to_owned()),
            Ok(_) | Err(_) => bad("a number from 0 to 1".into()),
        },
        Kind::Flag => match value.to_ascii_lowercase().as_str() {
            flag @ ("true" | "false") => Verdict::Good(flag.to_owned()),
            _ => bad("true or false".into()),
        },
        Kind::OneOf(words) if words.contains(&value) => Verdict::Good(value.to_owned()),
        Kind::OneOf(words) => bad(words.join(", ")),
        Kind::SomeOf(words) => {
            let items: Vec<&str> = value.split(',').map(str::trim).collect();
            if items.iter().all(|item| words.contains(item)) {
                Verdict::Good(items.join(","))
            } else {
                bad(format!("{}, or several of them with commas", words.join(", ")))
            }
        }
        Kind::List => Verdict::Good(value.split(',').map(str::trim).collect::<Vec<_>>().join(",")),
        Kind::Text => Verdict::Good(value.to_owned()),
    }
}

/// The number in its plain spelling, or what would be one.
fn whole(value: &str, least: i64, most: i64) -> Result<String, String> {
    match value.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number.to_string()),
        Ok(_) | Err(_) if least == i64::MIN => Err("a whole number; -1 means without a bound".into()),
        Ok(_) | Err(_) => Err(format!("a whole number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_order_and_a_newer_line_has_those_of_the_older() {
        let names: Vec<&str> = ALL.iter().map(|(name, _, _)| *name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let older = self::names(Distribution::Apache352);
        let newer = self::names(Distribution::Apache392);
        assert!(older.iter().all(|name| newer.contains(name)) && newer.len() == older.len() + 2);
    }

    #[test]
    fn values_come_in_the_spelling_in_which_a_broker_says_them_back() {
        let good = |name: &str, value: &str| match check(name, value) {
            Verdict::Good(value) => value,
            Verdict::Bad { why, .. } => panic!("{why}"),
        };
        assert_eq!(good("cleanup.policy", "compact, delete"), "compact,delete");
        assert_eq!(good("retention.ms", " 0086400 "), "86400");
        assert_eq!(good("retention.bytes", "-1"), "-1");
        assert_eq!(good("preallocate", "TRUE"), "true");
        assert_eq!(good("leader.replication.throttled.replicas", "0:1, 1:2"), "0:1,1:2");
        assert_eq!(good("confluent.anything", "x y"), "x y");
    }

    #[test]
    fn what_no_broker_takes_is_refused_with_what_it_would() {
        for (name, value, allowed) in [
            ("retention.ms", "-2", "a whole number from -1 to 9223372036854775807"),
            ("segment.bytes", "4294967296", "a whole number from 14 to 2147483647"),
            ("retention.bytes", "1G", "a whole number; -1 means without a bound"),
            ("min.cleanable.dirty.ratio", "50%", "a number from 0 to 1"),
            ("unclean.leader.election.enable", "yes", "true or false"),
            ("cleanup.policy", "compact,remove", "compact, delete, or several of them with commas"),
            ("message.timestamp.type", "createtime", "CreateTime, LogAppendTime"),
        ] {
            let Verdict::Bad { why, allowed: found } = check(name, value) else { panic!("{name} took {value}") };
            assert_eq!((why, found.as_str()), (format!("{value:?} is no value for {name}"), allowed));
        }
    }
}
