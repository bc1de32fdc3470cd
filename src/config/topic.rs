//! Reads `[[kafka.topic]]`: topics that shall be there. What cannot work is refused here, before a broker is asked.

use super::{
    Broker, ConfigError, Distribution,
    read::{Reading, Section, did_you_mean, no_control},
    suggest::closest,
    topic_settings::{self, Verdict},
};
use std::collections::BTreeMap;

/// Topics that the supervisor makes for itself: the proof's, and all whose names begin with the second (drills).
pub const OWN_TOPICS: [&str; 2] = ["test-phase1", "cdc-supervisor-"];

/// Partitions where the file says nothing: as many as a topic gets that is made by itself (`num.partitions`,
/// `services::kafka`).
const PARTITIONS: u64 = 3;

/// Most copies where the file says nothing.
const COPIES: usize = 3;

/// Most partitions of one topic: each is a directory with open files on every broker that has a copy.
const PARTITIONS_MAX: u64 = 10_000;

const MIN_ISR: &str = "min.insync.replicas";

/// A topic that shall be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Brokers that have a copy of each.
    pub replication_factor: u32,
    /// Settings of the topic's own, by upstream's names.
    pub settings: BTreeMap<String, String>,
}

/// Reads every `[[kafka.topic]]`; by name. `brokers` are the enabled ones.
pub(super) fn read(kafka: &Section<'_, '_>, distribution: Distribution, brokers: &BTreeMap<u32, Broker>) -> Vec<Topic> {
    let mut topics: BTreeMap<String, (Topic, String)> = BTreeMap::new();
    for section in kafka.tables("topic") {
        let (path, reading) = (section.path.clone(), section.reading);
        let Some(topic) = one(section, distribution, brokers) else { continue };
        let key = format!("{path}.name");
        if let Some((other, place)) = topics.values().find(|(other, _)| collide(&other.name, &topic.name)) {
            let message = if other.name == topic.name {
                format!("topic {} is in the file twice", topic.name)
            } else {
                // Topic.hasCollision: names of metrics have _ in the place of a dot.
                format!("{} and {} differ only in dots and underscores, which Kafka refuses", other.name, topic.name)
            };
            reading.report(reading.fault(&key, message).other(reading.span(place), "the other one"));
            continue;
        }
        topics.insert(topic.name.clone(), (topic, key));
    }
    topics.into_values().map(|(topic, _)| topic).collect()
}

fn collide(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

fn one(s: Section<'_, '_>, distribution: Distribution, brokers: &BTreeMap<u32, Broker>) -> Option<Topic> {
    if !s.holds("name") {
        let error = ConfigError::new(s.key("name"), "a topic without a name").at(s.reading.span(&s.path));
        s.reading.report(error.hint("add name = \"…\" below [[kafka.topic]]"));
    }
    let name = s.text("name", "1 to 249 letters, digits, dots, underscores and dashes", name);
    // `count` has kept both within these bounds.
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let partitions = s.count("partitions", 1..=PARTITIONS_MAX).unwrap_or(PARTITIONS);
    let default = u64::try_from(brokers.len().clamp(1, COPIES)).unwrap_or(1);
    let factor = small(s.count("replication_factor", 1..=1_000).unwrap_or(default));
    let settings = s.passed_through("settings", ["false", "true"], no_control, |name| known(name, distribution));
    let (path, reading) = (s.path.clone(), s.reading);
    s.finish();
    let settings = values(&path, reading, settings);
    let topic = Topic { name: name?, partitions: small(partitions), replication_factor: factor, settings };
    if !brokers.is_empty() && !reading.failed(&format!("{path}.replication_factor")) {
        fits(&path, reading, &topic, brokers);
    }
    Some(topic)
}

/// Topic.validate (3.5.2), and what is not the user's to configure.
fn name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || matches!(name, "." | "..") || !name.chars().all(good) {
        return Err(format!("{name:?} is no name for a topic"));
    }
    if name.starts_with("__") {
        return Err(format!("{name} is one of Kafka's own topics, which the brokers make and look after"));
    }
    let [proof, drills] = OWN_TOPICS;
    if name == proof || name.starts_with(drills) {
        return Err(format!("{name} is one of the supervisor's own topics"));
    }
    Ok(())
}

/// The name of a setting, or the refusal and what to do.
fn known(name: &str, distribution: Distribution) -> Result<String, (String, String)> {
    let known = topic_settings::names(distribution);
    // What Confluent adds is not on any list that can be checked here.
    let vendors = distribution == Distribution::Confluent753 && name.starts_with("confluent.");
    if vendors || known.contains(&name) {
        return Ok(name.to_owned());
    }
    let meant = did_you_mean(closest(name, known.iter().copied()));
    let message = format!("topics of {} have no setting {name:?}{meant}", distribution.as_str());
    Err((message, format!("known: {}", known.join(", "))))
}

/// The settings with values that a broker takes, in its own spelling.
fn values(path: &str, reading: &Reading, settings: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut good = BTreeMap::new();
    for (name, value) in settings {
        match topic_settings::check(&name, &value) {
            Verdict::Good(value) => drop(good.insert(name, value)),
            Verdict::Bad { why, allowed } => {
                let error = reading.fault(&format!("{path}.settings.{name}"), why);
                reading.report(error.label(format!("allowed: {allowed}")));
            }
        }
    }
    const LEAST: &str = "min.compaction.lag.ms";
    const MOST: &str = "max.compaction.lag.ms";
    let number = |key: &str| good.get(key).and_then(|v: &String| v.parse::<i64>().ok());
    if let (Some(least), Some(most)) = (number(LEAST), number(MOST))
        && least > most
    {
        let message = format!("a {LEAST} of {least} is above the {MOST} of {most}");
        reading.report(
            reading.fault(&format!("{path}.settings.{LEAST}"), message).hint("a record is compacted between the two"),
        );
    }
    good
}

/// The copies fit the brokers, and a write with acks=all can be confirmed at all.
fn fits(path: &str, reading: &Reading, topic: &Topic, brokers: &BTreeMap<u32, Broker>) {
    let (name, factor, there) = (&topic.name, topic.replication_factor, brokers.len());
    let key = format!("{path}.replication_factor");
    if usize::try_from(factor).unwrap_or(usize::MAX) > there {
        let message = format!("topic {name} wants {factor} copies of each partition, and there are {there} brokers");
        return reading.report(reading.fault(&key, message).hint(format!("set it to at most {there}")));
    }
    let own = topic.settings.get(MIN_ISR).and_then(|v| v.parse::<u32>().ok());
    let least = own.or_else(|| default_min_isr(brokers)).unwrap_or(1);
    if least <= factor {
        return;
    }
    let setting = format!("{path}.settings.{MIN_ISR}");
    let at = reading.written(&[&setting, &key, &format!("{path}.name")]).to_owned();
    let whose = if own.is_some() { "" } else { " (the brokers' own)" };
    let message = format!(
        "topic {name}: {MIN_ISR}{whose} is {least} and there are {factor} copies: every write with acks=all would be refused"
    );
    reading.report(
        reading.fault(&at, message).hint(format!("set settings.{MIN_ISR} to at most {factor}, or more copies")),
    );
}

/// What holds where a topic says nothing: the brokers' property, else what `services::kafka` gives them. The largest, where
/// they differ: any of them may lead.
fn default_min_isr(brokers: &BTreeMap<u32, Broker>) -> Option<u32> {
    let ours = u32::try_from(brokers.len().clamp(1, COPIES).saturating_sub(1).max(1)).unwrap_or(1);
    brokers.values().map(|b| b.properties.get(MIN_ISR).map_or(Some(ours), |v| v.trim().parse().ok())).max().flatten()
}
