//! Reads `[kafka]` and `[kafka.brokers.N]`.

use super::{
    Broker, Care, ConfigError, Distribution, Durability, Kafka, defaults, general, owned,
    read::{Bad, Section, did_you_mean, no_control},
    suggest::closest,
    topic,
    zookeeper::{HEAP, jvm_flags},
};
use crate::base::{ByteSize, NodeName, Port};
use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

const MEMORY: RangeInclusive<ByteSize> = ByteSize::mib(200)..=ByteSize::gib(1024);

/// What `[kafka]` says for every broker.
struct ForAll {
    heap: Option<ByteSize>,
    memory_max: Option<ByteSize>,
    /// The file holds a cap for all, readable or not: then no heap is the default one.
    caps: bool,
    properties: BTreeMap<String, String>,
    enabled: bool,
    care: Care,
}

/// Reads the table, absent or not. None: no broker is enabled. Disabled ones are added to `disabled`.
pub(super) fn read(s: Section<'_, '_>, disabled: &mut Vec<NodeName>) -> Option<Kafka> {
    let (enabled, care) = general::care(&s, &defaults::broker_care());
    let all = ForAll {
        heap: s.size("heap", HEAP),
        memory_max: s.size("memory_max", MEMORY),
        caps: s.holds("memory_max"),
        properties: s.passed_through("properties", ["false", "true"], no_control, owned::kafka_property),
        enabled,
        care,
    };
    let brokers = brokers(&s.sub("brokers"), &all, disabled);
    let distribution = distribution(&s).unwrap_or(Distribution::Apache352);
    let topics = topic::read(&s, distribution, &brokers);
    let kafka = Kafka {
        distribution,
        durability: s.word("durability", &Durability::ALL.map(|d| (d.as_str(), d))).unwrap_or_default(),
        session_timeout: s
            .time("session_timeout", Duration::from_millis(200)..=Duration::from_secs(1_200))
            .unwrap_or(defaults::SESSION),
        fencing: s.flag("fencing").unwrap_or(true),
        elect_preferred: s.flag("elect_preferred").unwrap_or(true),
        bind: s.address("bind").unwrap_or(defaults::BIND),
        advertised_host: s
            .text("advertised_host", "a host name or an IPv4 address", host_name)
            .unwrap_or_else(|| defaults::ADVERTISED_HOST.to_owned()),
        jvm_flags: jvm_flags(&s),
        brokers,
        topics,
    };
    s.finish_with(|key| (key == "topics").then(|| "write [[kafka.topic]], once per topic".into()));
    (!kafka.brokers.is_empty()).then_some(kafka)
}

fn distribution(s: &Section<'_, '_>) -> Option<Distribution> {
    let words = Distribution::ALL.map(Distribution::as_str);
    s.value("distribution", words.join(", "), |value| {
        let text = value.as_str().ok_or(Bad::Type)?;
        let known = Distribution::ALL.into_iter().find(|d| d.as_str() == text);
        known.ok_or_else(|| {
            Bad::Because(format!("{text:?} is no known distribution{}", did_you_mean(closest(text, words))))
        })
    })
}

fn brokers(tables: &Section<'_, '_>, all: &ForAll, disabled: &mut Vec<NodeName>) -> BTreeMap<u32, Broker> {
    let mut ids: Vec<u32> = Vec::new();
    let mut named = false;
    for name in tables.names() {
        named = true;
        // One spelling per id: `01` would be a second table for broker 1.
        match name.parse::<u32>() {
            Ok(id) if id <= defaults::BROKER_ID_MAX && id.to_string() == name => ids.push(id),
            Ok(_) | Err(_) => {
                let key = tables.key(name);
                let message = format!("{name:?} is not a broker id");
                let error = ConfigError::new(&key, message).at(tables.reading.span(&key));
                let allowed = format!("allowed: 0 to {}, without leading zeros", defaults::BROKER_ID_MAX);
                tables.reading.report(error.label(allowed));
            }
        }
    }
    if !named {
        ids = defaults::BROKERS.collect();
    }
    let mut brokers = BTreeMap::new();
    for id in ids {
        let (enabled, broker) = broker(tables.named(&id.to_string()), id, all);
        if enabled {
            brokers.insert(id, broker);
        } else {
            disabled.push(NodeName::broker(id));
        }
    }
    brokers
}

fn broker(s: Section<'_, '_>, id: u32, all: &ForAll) -> (bool, Broker) {
    let (enabled, care) = general::care(&s, &all.care);
    let capped = all.caps || s.holds("memory_max");
    let memory_max = s.size("memory_max", MEMORY).or(all.memory_max);
    // BROKER_ID_MAX keeps both sums below 65536.
    let port = |base: u16| Port(base.saturating_add(u16::try_from(id).unwrap_or(u16::MAX)));
    let mut properties = all.properties.clone();
    properties.extend(s.passed_through("properties", ["false", "true"], no_control, owned::kafka_property));
    let broker = Broker {
        internal_port: s.port("internal_port").unwrap_or_else(|| port(defaults::INTERNAL_BASE)),
        external_port: s.port("external_port").unwrap_or_else(|| port(defaults::EXTERNAL_BASE)),
        heap: s.size("heap", HEAP).or(all.heap).or_else(|| (!capped).then_some(defaults::BROKER_HEAP)),
        memory_max: memory_max.unwrap_or(defaults::BROKER_MEMORY),
        data_dir: s.path("data_dir"),
        properties,
        care,
    };
    s.finish();
    (all.enabled && enabled, broker)
}

fn host_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if name.is_empty() || name.len() > 253 || !name.chars().all(good) {
        return Err(format!("{name:?} is not a host name"));
    }
    if name == "0.0.0.0" {
        return Err(format!("clients cannot connect to {name}"));
    }
    Ok(())
}
