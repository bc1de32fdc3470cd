//! The names of settings that Kafka and ZooKeeper have, and what is passed through to them under another name.
//!
//! Neither refuses a name that it does not know: Kafka warns in its log, ZooKeeper makes a system property of it. Plugins bring
//! names of their own, so nothing is refused here either; whoever decides is told.

use super::{Plan, suggest};
use std::collections::BTreeMap;

/// Names in byte order, `#` before words about them; which versions they are of stands in the files.
const KAFKA: &str = include_str!("../../dist/kafka-settings.txt");
const ZOOKEEPER: &str = include_str!("../../dist/zookeeper-settings.txt");

/// Beginnings of names that are made up by whoever writes the file: a listener's settings, and what goes through to parts that
/// are chosen by class (`KafkaConfig`, `AclAuthorizer`, `AbstractConfig`, `RemoteLogManagerConfig`'s own prefixes).
const KAFKA_STARTS: [&str; 7] = [
    "authorizer.zookeeper.",
    "config.providers.",
    "confluent.",
    "listener.name.",
    "metrics.context.",
    "rlmm.config.",
    "rsm.config.",
];

/// The same of ZooKeeper (`QuorumPeerConfig.parseProperties`, `ProviderRegistry`).
const ZOOKEEPER_STARTS: [&str; 4] = ["authProvider.", "group.", "metricsProvider.", "weight."];

/// System properties without `zookeeper.` in front, which no line of ZooKeeper's file sets: it would become
/// `zookeeper.jute.maxbuffer` (`BinaryInputArchive`, `ContainerManager`, `LearnerHandler`, `ZooKeeperServer`).
const FLAGS_ONLY: [&str; 8] = [
    "follower.nodelay",
    "jute.maxbuffer",
    "jute.maxbuffer.extrasize",
    "leader.nodelay",
    "readonlymode.enabled",
    "znode.container.checkIntervalMs",
    "znode.container.maxNeverUsedIntervalMs",
    "znode.container.maxPerMinute",
];

/// Names that a topic's settings have, with their names for brokers (`ServerTopicConfigSynonyms`); those that are the same are
/// left out.
const OF_TOPICS: [(&str, &str); 23] = [
    ("cleanup.policy", "log.cleanup.policy"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.downconversion.enable", "log.message.downconversion.enable"),
    ("message.format.version", "log.message.format.version"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.difference.max.ms", "log.message.timestamp.difference.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("preallocate", "log.preallocate"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
];

/// What comes of a line with such a name.
pub const DOES_NOTHING: &str = "the line does nothing";
/// What to do about one of which no more can be told.
pub const MEND: &str = "mend the name or take it out";

/// So many letters wrong are a slip, whatever plugin there is.
const SLIP: usize = 2;

/// Whose settings they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    Kafka,
    Zookeeper,
}

impl Product {
    fn as_str(self) -> &'static str {
        match self {
            Product::Kafka => "Kafka",
            Product::Zookeeper => "ZooKeeper",
        }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        let text = match self {
            Product::Kafka => KAFKA,
            Product::Zookeeper => ZOOKEEPER,
        };
        text.lines().filter(|line| !line.starts_with('#'))
    }

    fn starts(self) -> &'static [&'static str] {
        match self {
            Product::Kafka => &KAFKA_STARTS,
            Product::Zookeeper => &ZOOKEEPER_STARTS,
        }
    }

    fn knows(self, name: &str) -> bool {
        self.starts().iter().any(|start| name.starts_with(start)) || self.names().any(|known| known == name)
    }

    /// Whether a known setting chooses a class that is not the product's own, and so may read any name.
    fn chooses_plugin(self, name: &str, value: &str) -> bool {
        let (ends, own): (&[&str], &[&str]) = match self {
            Product::Kafka => {
                (&["class", "class.name", "reporters", "security.providers"], &["org.apache.kafka.", "kafka."])
            }
            Product::Zookeeper => {
                (&["class", "className", "CnxnFactory", "watchManagerName"], &["org.apache.zookeeper."])
            }
        };
        let chooses = ends.iter().any(|end| name.ends_with(end)) || name.starts_with("authProvider.");
        let foreign = |class: &str| !class.is_empty() && !own.iter().any(|start| class.starts_with(start));
        chooses && self.knows(name) && value.split(',').any(|class| foreign(class.trim()))
    }
}

/// What was meant by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meant {
    /// This one.
    Name(&'static str),
    /// A system property, as a flag.
    Flag(String),
    /// Nothing that is known.
    Unclear,
}

/// A setting that is passed through under a name that its product does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSetting {
    /// Where it stands: `kafka.properties.num.io.thread`.
    pub key: String,
    /// Its name.
    pub name: String,
    product: Product,
    meant: Meant,
    plugin: Option<String>,
}

impl UnknownSetting {
    fn of(product: Product, key: String, name: &str, settings: &BTreeMap<String, String>) -> Self {
        let value = settings.get(name).map_or("", String::as_str);
        let meant = meant(product, name, value);
        let slip = match meant {
            Meant::Name(_) => suggest::closest_within(name, product.names(), SLIP).is_some(),
            Meant::Flag(_) => true,
            Meant::Unclear => false,
        };
        let plugin = settings.iter().filter(|_| !slip).find(|(name, value)| product.chooses_plugin(name, value));
        Self { key, name: name.to_owned(), product, meant, plugin: plugin.map(|(name, _)| name.clone()) }
    }

    /// The setting that chooses a plugin which may know the name; none: nobody would.
    pub fn plugin(&self) -> Option<&str> {
        self.plugin.as_deref()
    }

    /// What to do, where that can be told: `did you mean num.io.threads?`.
    pub fn advice(&self) -> Option<String> {
        match &self.meant {
            Meant::Name(known) => Some(format!("did you mean {known}?")),
            Meant::Flag(flag) => Some(format!("it is a flag: jvm_flags = [{flag:?}]")),
            Meant::Unclear => None,
        }
    }

    /// What is the matter, with file and line.
    pub fn what(&self, plan: &Plan) -> String {
        format!("{}: {} has no setting {}", plan.place(&self.key), self.product.as_str(), self.name)
    }

    /// All of it in one sentence.
    pub fn sentence(&self, plan: &Plan) -> String {
        format!("{}, so {DOES_NOTHING}; {}", self.what(plan), self.advice().unwrap_or_else(|| MEND.into()))
    }
}

fn meant(product: Product, name: &str, value: &str) -> Meant {
    if product == Product::Zookeeper {
        // `zookeeper.` is put in front of every name: written out it stands there twice
        let bare = name.strip_prefix("zookeeper.").unwrap_or(name);
        if let Some(known) = product.names().find(|known| *known == bare) {
            return Meant::Name(known);
        }
        if FLAGS_ONLY.contains(&bare) {
            return Meant::Flag(format!("-D{bare}={value}"));
        }
    }
    let of_topics = OF_TOPICS.iter().find(|(topics, _)| product == Product::Kafka && *topics == name);
    let near = || suggest::closest(name, product.names());
    of_topics.map(|(_, brokers)| *brokers).or_else(near).map_or(Meant::Unclear, Meant::Name)
}

impl Plan {
    /// What `[zookeeper.properties]`, `[kafka.properties]` and those of brokers pass through under names that their product does
    /// not have, in the order of the file.
    pub fn unknown_settings(&self) -> Vec<UnknownSetting> {
        let mut found: BTreeMap<String, UnknownSetting> = BTreeMap::new();
        let mut look = |product: Product, settings: &BTreeMap<String, String>, key: &dyn Fn(&str) -> String| {
            for name in settings.keys().filter(|name| !product.knows(name)) {
                let key = key(name);
                let one = UnknownSetting::of(product, key.clone(), name, settings);
                // Of a line for all brokers, what counts is a broker without a plugin.
                let known = found.entry(key).or_insert_with(|| one.clone());
                if one.plugin.is_none() {
                    known.plugin = None;
                }
            }
        };
        if let Some(zookeeper) = &self.zookeeper {
            look(Product::Zookeeper, &zookeeper.properties, &|name| format!("zookeeper.properties.{name}"));
        }
        for (id, broker) in self.kafka.iter().flat_map(|kafka| &kafka.brokers) {
            look(Product::Kafka, &broker.properties, &|name| {
                let own = format!("kafka.brokers.{id}.properties.{name}");
                let for_all = format!("kafka.properties.{name}");
                if self.key_line(&own).is_some() { own } else { for_all }
            });
        }
        let mut found: Vec<UnknownSetting> = found.into_values().collect();
        found.sort_by_key(|one| self.key_line(&one.key));
        found
    }

    /// Those of them that no plugin would know.
    pub fn doubtful_settings(&self) -> Vec<UnknownSetting> {
        self.unknown_settings().into_iter().filter(|one| one.plugin.is_none()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Distribution, Source, load, topic_settings};

    fn plan(text: &str) -> Plan {
        let source = Source { text, name: "f.toml", root_override: None, default_root: "/srv/cdc".into() };
        load(&source).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_lists_are_in_order_and_each_table_leads_into_them() {
        for product in [Product::Kafka, Product::Zookeeper] {
            let names: Vec<&str> = product.names().collect();
            let in_order = names.iter().zip(&names[1..]).all(|(a, b)| a < b);
            assert!(in_order && names.len() > 200, "{names:?}");
            assert!(names.iter().all(|name| !name.is_empty() && !name.contains(char::is_whitespace)), "{names:?}");
        }
        let topics = topic_settings::names(Distribution::Apache392);
        for (topic, broker) in OF_TOPICS {
            assert!(topics.contains(&topic) && Product::Kafka.knows(broker) && !Product::Kafka.knows(topic), "{topic}");
        }
        assert_eq!(
            topics.iter().filter(|topic| !Product::Kafka.knows(topic)).count(),
            OF_TOPICS.len() + 2,
            "throttles"
        );
        assert!(FLAGS_ONLY.iter().all(|name| !Product::Zookeeper.knows(name)));
    }

    #[test]
    fn what_is_rendered_for_the_products_is_known_to_them() {
        for (product, text) in [
            (Product::Kafka, include_str!("../../tests/golden/services/broker-2.properties")),
            (Product::Zookeeper, include_str!("../../tests/golden/services/zoo.cfg")),
        ] {
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.len() > 8);
            for line in lines {
                assert!(product.knows(line.split('=').next().unwrap()), "{line}");
            }
        }
    }

    #[test]
    fn a_slip_is_told_with_its_line_and_the_name_that_was_meant() {
        let plan = plan(
            "[zookeeper.properties]\nmaxClientCnxn = 60\njute.maxbuffer = 4194304\n\"zookeeper.snapCount\" = 5\n\
             [kafka.properties]\nnum.io.thread = 8\nretention.ms = 5\nlog.retention.hours = 72\nbanana = \"x\"\n\
             [kafka.brokers.1]\n[kafka.brokers.2.properties]\nlog.retenton.hours = 1\nnum.io.thread = 4\n",
        );
        let does_nothing = "so the line does nothing";
        let told: Vec<String> = plan.doubtful_settings().iter().map(|one| one.sentence(&plan)).collect();
        assert_eq!(
            told,
            [
                format!(
                    "f.toml line 2: ZooKeeper has no setting maxClientCnxn, {does_nothing}; did you mean maxClientCnxns?"
                ),
                format!(
                    "f.toml line 3: ZooKeeper has no setting jute.maxbuffer, {does_nothing}; \
                     it is a flag: jvm_flags = [\"-Djute.maxbuffer=4194304\"]"
                ),
                format!(
                    "f.toml line 4: ZooKeeper has no setting zookeeper.snapCount, {does_nothing}; did you mean snapCount?"
                ),
                format!(
                    "f.toml line 6: Kafka has no setting num.io.thread, {does_nothing}; did you mean num.io.threads?"
                ),
                format!(
                    "f.toml line 7: Kafka has no setting retention.ms, {does_nothing}; did you mean log.retention.ms?"
                ),
                format!("f.toml line 9: Kafka has no setting banana, {does_nothing}; mend the name or take it out"),
                format!(
                    "f.toml line 12: Kafka has no setting log.retenton.hours, {does_nothing}; did you mean log.retention.hours?"
                ),
                format!(
                    "f.toml line 13: Kafka has no setting num.io.thread, {does_nothing}; did you mean num.io.threads?"
                ),
            ]
        );
    }

    #[test]
    fn what_listeners_and_plugins_bring_is_not_doubted_but_a_slip_beside_a_plugin_is() {
        let known = "[zookeeper.properties]\n\"authProvider.1\" = \"org.example.Provider\"\nmetricsProvider.httpPort = 7000\n\
                     ssl.keyStore.location = \"/k\"\nsnapCount = 5\n[kafka.properties]\nsuper.users = \"User:a\"\n\
                     listener.name.external.ssl.keystore.location = \"/k\"\nconfluent.anything = 1\nrsm.config.chunk = 1\n\
                     group.share.enable = false\n";
        assert_eq!(plan(known).unknown_settings(), []);
        let own = "[zookeeper]\n[kafka.properties]\n\"opa.authorizer.url\" = \"http://h\"\nnum.io.thread = 8\n";
        assert_eq!(plan(own).doubtful_settings().len(), 2);
        let own_class = "authorizer.class.name = \"kafka.security.authorizer.AclAuthorizer\"\n";
        assert_eq!(plan(&format!("{own}{own_class}")).doubtful_settings().len(), 2, "Kafka's own reads no such name");
        let plugin = plan(&format!("{own}authorizer.class.name = \"org.openpolicyagent.kafka.OpaAuthorizer\"\n"));
        assert_eq!(plugin.doubtful_settings().len(), 1, "{:?}", plugin.doubtful_settings());
        let unknown = plugin.unknown_settings();
        let seen: Vec<_> = unknown.iter().map(|one| (one.name.as_str(), one.plugin())).collect();
        assert_eq!(seen, [("opa.authorizer.url", Some("authorizer.class.name")), ("num.io.thread", None)]);
        // a plugin of one broker says nothing of the others
        let one = "[kafka.brokers.1.properties]\nmetric.reporters = \"org.example.Reporter\"\n[kafka.brokers.2]\n";
        assert_eq!(
            plan(&format!("[zookeeper]\n[kafka.properties]\nreporter.thing = 1\n{one}")).doubtful_settings().len(),
            1
        );
    }
}
