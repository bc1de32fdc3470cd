//! Which settings of a broker Kafka takes while it runs, and what has to be set for a changed file. Pure.
//!
//! Source: `DynamicBrokerConfig.AllDynamicConfigs` at 3.5.2 and 3.9.0. Left out: listeners and what belongs to one (SSL, SASL), which
//! move ports or secrets; `metric.reporters`, whose own keys are not known; what 3.9 has and 3.5 not (remote storage).

use super::{Setting, When};
use crate::{
    base::{Launched, launched::LaunchedFile, recipe::Recipe},
    render::read_properties,
};
use std::collections::BTreeMap;

/// Threads: a broker that runs takes at most double and at least half of what it has (`DynamicThreadPool`, `LogCleaner`,
/// `DataPlaneAcceptor`: `validateReconfiguration`). With Kafka's own number, for a file without.
const POOLS: [(&str, i64); 6] = [
    ("num.io.threads", 8),
    ("num.network.threads", 3),
    ("num.replica.fetchers", 1),
    ("num.recovery.threads.per.data.dir", 1),
    ("background.threads", 10),
    ("log.cleaner.threads", 1),
];

/// What topics have that say nothing else, under its name for brokers (`ServerTopicConfigSynonyms`, without the message format).
const OF_LOGS: [&str; 23] = [
    "compression.type",
    "log.cleaner.delete.retention.ms",
    "log.cleaner.max.compaction.lag.ms",
    "log.cleaner.min.cleanable.ratio",
    "log.cleaner.min.compaction.lag.ms",
    "log.cleanup.policy",
    "log.flush.interval.messages",
    "log.flush.interval.ms",
    "log.index.interval.bytes",
    "log.index.size.max.bytes",
    "log.message.downconversion.enable",
    "log.message.timestamp.difference.max.ms",
    "log.message.timestamp.type",
    "log.preallocate",
    "log.retention.bytes",
    "log.retention.ms",
    "log.roll.jitter.ms",
    "log.roll.ms",
    "log.segment.bytes",
    "log.segment.delete.delay.ms",
    "message.max.bytes",
    "min.insync.replicas",
    "unclean.leader.election.enable",
];

/// The rest: the cleaner, limits on connections, producers' ids.
const OTHERS: [&str; 10] = [
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "max.connection.creation.rate",
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "producer.id.expiration.ms",
];

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A setting that has other names in other units. Only the first can be changed while a broker runs; in a file it beats the others,
/// in their order (`DynamicBrokerConfig.brokerConfigSynonyms`, `KafkaConfig.logRetentionTimeMillis`).
struct Synonyms {
    first: &'static str,
    others: &'static [(&'static str, i64)],
}

const SYNONYMS: [Synonyms; 4] = [
    Synonyms { first: "log.retention.ms", others: &[("log.retention.minutes", MINUTE), ("log.retention.hours", HOUR)] },
    Synonyms { first: "log.roll.ms", others: &[("log.roll.hours", HOUR)] },
    Synonyms { first: "log.roll.jitter.ms", others: &[("log.roll.jitter.hours", HOUR)] },
    // The interval of the scheduler stands in for it and is a setting of its own, too: that one is read at the start only.
    Synonyms { first: "log.flush.interval.ms", others: &[(SCHEDULER, 1)] },
];

const SCHEDULER: &str = "log.flush.scheduler.interval.ms";

/// What a setting shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This.
    Value(String),
    /// Kafka's own value of the setting `of`, so many times: the file has none. The broker says which it is; to take our value back
    /// instead would bring back what the file said when the broker started.
    Default {
        /// Of which.
        of: &'static str,
        /// What it is multiplied with.
        times: i64,
    },
}

/// A setting to be set through the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The name under which it can be.
    pub key: &'static str,
    /// The value.
    pub value: Wanted,
    /// The file does not change it. Up to 3.8.0 a broker that takes any setting of its logs forgets those that its file has under another
    /// name (`log.retention.hours`) and falls back to Kafka's own (KAFKA-17584), so they are set with it.
    pub pinned: bool,
}

/// What a changed file means for a broker that runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// What is set.
    pub to: Vec<Put>,
    /// What is set to undo it.
    pub back: Vec<Put>,
}

/// A file and what it means.
type Lines = BTreeMap<String, String>;

/// The name under which a changed line can be set while the broker runs; none: it cannot.
fn settable(key: &str) -> Option<&'static str> {
    let pools = POOLS.iter().map(|(name, _)| *name);
    let plain = pools.chain(OF_LOGS).chain(OTHERS).find(|name| *name == key);
    plain.or_else(|| {
        let has = |s: &&Synonyms| key != SCHEDULER && s.others.iter().any(|(other, _)| *other == key);
        SYNONYMS.iter().find(has).map(|s| s.first)
    })
}

/// What a file wants of a setting.
fn wanted(file: &Lines, key: &'static str) -> Result<Wanted, String> {
    if let Some(value) = file.get(key) {
        return Ok(Wanted::Value(value.clone()));
    }
    let Some(synonyms) = SYNONYMS.iter().find(|s| s.first == key) else {
        return Ok(Wanted::Default { of: key, times: 1 });
    };
    for (other, times) in synonyms.others {
        if let Some(value) = file.get(*other) {
            let number: i64 = value.trim().parse().map_err(|_| format!("{other}={value} is no number"))?;
            // Less than nothing means for ever, and that is -1 in a topic's settings.
            let number = if number < 0 { -1 } else { number.saturating_mul(*times) };
            return Ok(Wanted::Value(number.to_string()));
        }
    }
    let last = synonyms.others.last().copied().unwrap_or((synonyms.first, 1));
    Ok(Wanted::Default { of: last.0, times: last.1 })
}

/// Why a pool of threads cannot go from one size to the other in one step; none: it can, or the broker has to say.
fn too_far(key: &str, old: &Lines, new: &Lines) -> Option<String> {
    let (_, default) = POOLS.iter().find(|(name, _)| *name == key)?;
    let size = |file: &Lines| file.get(key).map_or(Some(*default), |v| v.trim().parse::<i64>().ok());
    let (from, to) = (size(old)?, size(new)?);
    let far = if to > from.saturating_mul(2) {
        "more than double"
    } else if to < from / 2 {
        "less than half"
    } else {
        return None;
    };
    Some(format!("{key} from {from} to {to} is {far}, which a broker takes at its start only"))
}

/// The settings of `keys` as `file` wants them, and those that must be set with them.
fn puts(file: &Lines, keys: &[&'static str]) -> Result<Vec<Put>, String> {
    let mut all = Vec::new();
    for key in keys {
        all.push(Put { key, value: wanted(file, key)?, pinned: false });
    }
    if keys.iter().any(|key| OF_LOGS.contains(key)) {
        let elsewhere =
            |s: &&Synonyms| !file.contains_key(s.first) && s.others.iter().any(|(o, _)| file.contains_key(*o));
        for synonyms in SYNONYMS.iter().filter(elsewhere).filter(|s| !keys.contains(&s.first)) {
            all.push(Put { key: synonyms.first, value: wanted(file, synonyms.first)?, pinned: true });
        }
    }
    Ok(all)
}

/// What has to be set for a broker that runs by the one file to run by the other, and the changed lines; an error: why it must be
/// restarted for it, where that is not plain from the names of the keys. None: a key can only be changed by a restart.
fn between(old: &str, new: &str) -> Result<Option<(Dynamic, Vec<Setting>)>, String> {
    let (old, new) = (read_properties(old), read_properties(new));
    let changed: Vec<&String> = {
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        new.keys().chain(gone).filter(|key| old.get(*key) != new.get(*key)).collect()
    };
    let mut keys: Vec<&'static str> = Vec::new();
    for line in &changed {
        let Some(key) = settable(line) else { return Ok(None) };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if let Some(why) = keys.iter().find_map(|key| too_far(key, &old, &new)) {
        return Err(why);
    }
    let shown = |file: &Lines, key: &str| file.get(key).map_or_else(|| "Kafka's own".to_owned(), Clone::clone);
    let setting =
        |key: &&String| Setting { key: (*key).clone(), from: shown(&old, key), to: shown(&new, key), when: When::Live };
    let settings = changed.iter().map(setting).collect();
    Ok(Some((Dynamic { to: puts(&new, &keys)?, back: puts(&old, &keys)? }, settings)))
}

/// What can be done live of the difference between what a broker runs with and what is wanted.
pub(super) enum Found {
    /// All that differs in its file, with the settings by name; nothing else differs.
    All(Dynamic, Vec<Setting>),
    /// It must be restarted; this is said beside what differs.
    Restart(Option<String>),
}

/// The broker's file among others; it is the first that a recipe has.
fn file(of: &Launched) -> Option<&LaunchedFile> {
    of.files.iter().find(|f| f.path.file_name().is_some_and(|name| name == "server.properties"))
}

/// What can be done live.
pub(super) fn found(from: &Launched, to: &Launched) -> Found {
    let (Some(old), Some(new)) = (file(from), file(to)) else { return Found::Restart(None) };
    if old.means_the_same_as(new) || old.path != new.path || old.mode != new.mode {
        return Found::Restart(None);
    }
    let mut with_the_new = from.clone();
    with_the_new.files.iter_mut().filter(|f| f.path == new.path).for_each(|f| f.clone_from(new));
    let rest = super::node::compare(&with_the_new, to);
    match between(&old.contents, &new.contents) {
        Ok(Some((dynamic, settings))) if rest.is_empty() => Found::All(dynamic, settings),
        Ok(_) => Found::Restart(None),
        Err(why) => Found::Restart(Some(why)),
    }
}

/// What has to be set again of a change that was cut short, so that the broker is as its file says whatever came of it.
pub(super) fn again(recipe: &Recipe, cut_short: &[String]) -> Vec<Put> {
    let launched = recipe.launched();
    let Some(file) = file(&launched) else { return Vec::new() };
    let lines = read_properties(&file.contents);
    let keys: Vec<&'static str> = cut_short.iter().filter_map(|key| settable(key)).collect();
    puts(&lines, &keys).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# head\nbroker.id=1\nlog.retention.hours=72\nnum.io.threads=4\n";

    type Set = (&'static str, Wanted, bool);

    fn to(new: &str) -> Result<Option<Vec<Set>>, String> {
        let found = between(OLD, new)?;
        Ok(found.map(|(d, _)| d.to.into_iter().map(|p| (p.key, p.value, p.pinned)).collect()))
    }

    fn value(text: &str) -> Wanted {
        Wanted::Value(text.into())
    }

    #[test]
    fn a_pool_of_threads_is_set_alone_and_only_within_double_and_half() {
        let with = |n: &str| OLD.replace("threads=4", &format!("threads={n}"));
        assert_eq!(to(&with("8")), Ok(Some(vec![("num.io.threads", value("8"), false)])));
        assert_eq!(to(&with("2")), Ok(Some(vec![("num.io.threads", value("2"), false)])));
        assert!(to(&with("9")).unwrap_err().contains("num.io.threads from 4 to 9 is more than double"));
        assert!(to(&with("1")).unwrap_err().contains("less than half"));
        // not a number: the broker says it, in its own words
        assert_eq!(to(&with("many")), Ok(Some(vec![("num.io.threads", value("many"), false)])));
        // without the line Kafka's own eight
        let of = Wanted::Default { of: "num.io.threads", times: 1 };
        assert_eq!(to(&with("8").replace("num.io.threads=8\n", "")), Ok(Some(vec![("num.io.threads", of, false)])));
    }

    #[test]
    fn a_setting_of_logs_takes_those_along_that_the_file_has_under_another_name() {
        let pinned = ("log.retention.ms", value("259200000"), true);
        let bytes = ("message.max.bytes", value("2000000"), false);
        assert_eq!(to(&format!("{OLD}message.max.bytes=2000000\n")), Ok(Some(vec![bytes, pinned])));
        // the first name is in the file: nothing is forgotten
        let both = format!("{OLD}log.retention.ms=5\n");
        assert_eq!(to(&both), Ok(Some(vec![("log.retention.ms", value("5"), false)])));
    }

    #[test]
    fn hours_are_set_under_the_name_that_can_be_and_their_way_back_too() {
        let hours = |n: &str| OLD.replace("hours=72", &format!("hours={n}"));
        assert_eq!(to(&hours("48")), Ok(Some(vec![("log.retention.ms", value("172800000"), false)])));
        assert_eq!(to(&hours("-5")), Ok(Some(vec![("log.retention.ms", value("-1"), false)])));
        assert!(to(&hours("some")).is_err());
        let (dynamic, settings) = between(OLD, &hours("48")).unwrap().unwrap();
        assert_eq!(dynamic.back, [Put { key: "log.retention.ms", value: value("259200000"), pinned: false }]);
        let [Setting { key, from, to, when: When::Live }] = &settings[..] else { panic!("{settings:?}") };
        assert_eq!((key.as_str(), from.as_str(), to.as_str()), ("log.retention.hours", "72", "48"));
        let none = OLD.replace("log.retention.hours=72\n", "");
        let of = Wanted::Default { of: "log.retention.hours", times: HOUR };
        assert_eq!(super::tests::to(&none), Ok(Some(vec![("log.retention.ms", of, false)])));
    }

    #[test]
    fn what_a_broker_reads_at_its_start_only_is_not_found_and_spoils_the_rest() {
        for line in ["num.partitions=6", "advertised.listeners=X://h:1", "log.flush.scheduler.interval.ms=9"] {
            assert_eq!(to(&format!("{OLD}{line}\n")), Ok(None), "{line}");
            let mixed = format!("{OLD}{line}\n").replace("threads=4", "threads=6");
            assert_eq!(to(&mixed), Ok(None), "{line}");
        }
    }

    #[test]
    fn the_table_names_each_setting_once() {
        let mut names: Vec<&str> = POOLS.iter().map(|(name, _)| *name).chain(OF_LOGS).chain(OTHERS).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for synonyms in &SYNONYMS {
            assert!(OF_LOGS.contains(&synonyms.first) && !synonyms.others.is_empty(), "{}", synonyms.first);
        }
    }
}
