//! May a broker start: ZooKeeper's cluster id and topics, every broker's `meta.properties`, this root's record, as one table.
//!
//! The trap: an empty ZooKeeper beside kept broker data. The first broker that starts writes a new cluster id, and every
//! directory of the old cluster is refused for ever (InconsistentClusterIdException, KafkaServer.scala, 3.5.2). So all brokers are looked at before any
//! starts. The reverse is worse, because nothing complains: brokers that lost their data under a ZooKeeper that knows their
//! topics serve empty partitions, and an empty replica that leads makes the full ones cut theirs off (a leader is elected from
//! the last ISR, in which the empty one still is). So an empty broker starts behind those that have data.

use super::{
    Judgement,
    reached::{Reached, ReachedRecord},
};
use crate::base::{Cause, NodeName, outcome::Failure};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// What ZooKeeper says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// `/cluster/id`; none: no broker has ever been here.
    pub id: Option<String>,
    /// Children of `/brokers/topics`; none: nobody has asked.
    pub topics: Option<usize>,
    /// Children of `/brokers/ids`.
    pub registered: BTreeSet<u32>,
    /// How far it has come.
    pub reached: Reached,
}

/// A broker's data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerData {
    /// `broker.id` in the plan.
    pub broker: u32,
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub found: Found,
}

/// What is in a broker's data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No `meta.properties` and no partition.
    Empty,
    /// A broker's data.
    Data {
        /// `cluster.id`.
        cluster: String,
        /// `broker.id`.
        broker: u32,
        /// Of how many topics it holds partitions.
        topics: usize,
    },
    /// Partitions, and no `meta.properties` that says whose.
    Unnamed {
        /// How many.
        partitions: usize,
    },
    /// Data of a broker without ZooKeeper (`version=1`).
    Kraft,
    /// A `meta.properties` that says too little.
    Unclear {
        /// What is missing or wrong.
        why: String,
    },
}

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub struct BrokerFacts<'a> {
    /// The broker that wants to start.
    pub broker: u32,
    /// Every broker of the plan, this one among them.
    pub brokers: &'a [BrokerData],
    /// What ZooKeeper says. Looked at after the directories: a first broker writes its id there before it writes its own.
    pub zookeeper: &'a ClusterView,
    /// ZooKeeper's data directory.
    pub zookeeper_data: &'a Path,
    /// The cluster this root remembers.
    pub recorded: Option<&'a str>,
    /// Whether this root remembers data of this broker.
    pub recorded_own: bool,
    /// How far this root remembers that ZooKeeper's data of that cluster had come.
    pub recorded_reached: Option<ReachedRecord>,
    /// Where it remembers.
    pub record: &'a Path,
}

/// Reads `meta.properties` (two comment lines, then `version`, `broker.id`, `cluster.id`; BrokerMetadataCheckpoint, 3.5.2).
pub fn meta_properties(text: &str) -> Found {
    let value = |key: &str| {
        text.lines().filter_map(|line| line.split_once('=')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
    };
    if value("version").is_some_and(|v| v != "0") {
        return Found::Kraft;
    }
    // The id is base64url, but a ':' or '=' in a value is escaped by java.util.Properties.
    let cluster = value("cluster.id").map(|v| v.replace('\\', "")).filter(|v| !v.is_empty());
    match (cluster, value("broker.id").map(str::parse)) {
        (Some(cluster), Some(Ok(broker))) => Found::Data { cluster, broker, topics: 0 },
        (None, _) => Found::Unclear { why: "it has no cluster.id".into() },
        (Some(_), _) => Found::Unclear { why: "it has no broker.id".into() },
    }
}

/// What a directory holds: `meta` is its `meta.properties`, `names` are its entries.
pub fn found<'a>(meta: Option<&str>, names: impl Iterator<Item = &'a str>) -> Found {
    let partitions: Vec<&str> = names.filter(|name| is_partition(name)).collect();
    match meta.map(meta_properties) {
        Some(Found::Data { cluster, broker, .. }) => {
            let topics: BTreeSet<&str> = partitions.iter().filter_map(|name| Some(name.rsplit_once('-')?.0)).collect();
            Found::Data { cluster, broker, topics: topics.len() }
        }
        Some(other) => other,
        None if partitions.is_empty() => Found::Empty,
        None => Found::Unnamed { partitions: partitions.len() },
    }
}

/// A partition's directory is `TOPIC-N`; checkpoints and lock are files of other names (LogManager, 3.5.2).
pub(super) fn is_partition(name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(topic, n)| !topic.is_empty() && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Reads the value of `/cluster/id`: `{"version":"1","id":"…"}` (ClusterIdZNode, 3.5.2).
pub fn cluster_id(json: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}

/// Whether the broker may start.
pub fn judge_broker(facts: &BrokerFacts<'_>) -> Judgement {
    let Some(own) = facts.brokers.iter().find(|b| b.broker == facts.broker) else { return Judgement::start() };
    match (&own.found, facts.zookeeper.id.as_deref()) {
        (Found::Kraft, _) => Judgement::Refuse(facts.kraft(own)),
        (Found::Unclear { why }, _) => Judgement::Refuse(facts.unclear(own, why)),
        (Found::Data { broker, .. }, _) if *broker != own.broker => Judgement::Refuse(facts.swapped(own, *broker)),
        (_, None) => facts.unknown_cluster(),
        (Found::Unnamed { partitions }, Some(id)) => refuse(
            Cause::WrongIdentity,
            format!(
                "{} holds {partitions} partitions and no meta.properties, so nobody can tell whether they belong to cluster \
                 {id}, which ZooKeeper's data ({}) knows; the file was probably deleted to silence a cluster id mismatch",
                facts.place(own),
                facts.zookeeper_data.display()
            ),
            format!("put meta.properties back from a backup; or {}", facts.refetch(own)),
        ),
        (Found::Data { cluster, .. }, Some(id)) if cluster != id => facts.other_cluster(own, cluster, id),
        (Found::Data { .. } | Found::Empty, Some(id)) if facts.forgotten(id).is_some() => facts.forgotten_topics(id),
        (Found::Data { topics, .. }, Some(id)) if facts.zookeeper.topics.is_some_and(|known| *topics > known) => {
            facts.unknown_topics(own, *topics, id)
        }
        (Found::Data { .. } | Found::Empty, Some(id)) if facts.behind(id).is_some() => facts.earlier_state(id),
        (Found::Data { .. }, Some(id)) => match facts.recorded {
            Some(recorded) if recorded != id => Judgement::noted(format!(
                "this root remembered cluster {recorded}, and ZooKeeper and {} agree on cluster {id}: the data was replaced as \
                 a whole, which is remembered from now on",
                name(own.broker)
            )),
            Some(_) | None => Judgement::start(),
        },
        (Found::Empty, Some(id)) => facts.empty_broker(own, id),
    }
}

/// What is wrong with a broker's directory whatever ZooKeeper knows; none: nothing that the directories show.
pub fn judge_directory(facts: &BrokerFacts<'_>, own: &BrokerData) -> Option<Failure> {
    match &own.found {
        Found::Kraft => Some(facts.kraft(own)),
        Found::Unclear { why } => Some(facts.unclear(own, why)),
        Found::Data { broker, .. } if *broker != own.broker => Some(facts.swapped(own, *broker)),
        Found::Data { .. } | Found::Unnamed { .. } | Found::Empty => None,
    }
}

fn refuse(cause: Cause, what: String, remedy: String) -> Judgement {
    Judgement::Refuse(Failure { cause, what, remedy })
}

fn name(broker: u32) -> NodeName {
    NodeName::broker(broker)
}

fn names<'a>(brokers: impl Iterator<Item = &'a u32>) -> String {
    brokers.map(|id| name(*id).to_string()).collect::<Vec<_>>().join(", ")
}

impl BrokerFacts<'_> {
    /// `broker-2's data (/path)`.
    fn place(&self, data: &BrokerData) -> String {
        format!("{}'s data ({})", name(data.broker), data.path.display())
    }

    fn kraft(&self, own: &BrokerData) -> Failure {
        Failure {
            cause: Cause::NewerData,
            what: format!(
                "{} was written by a Kafka without ZooKeeper (KRaft): its meta.properties has version=1",
                self.place(own)
            ),
            remedy: format!("give {} the data directory that is its own, or an empty one", name(own.broker)),
        }
    }

    fn unclear(&self, own: &BrokerData, why: &str) -> Failure {
        Failure {
            cause: Cause::WrongIdentity,
            what: format!("{} cannot be told whose it is: meta.properties: {why}", self.place(own)),
            remedy: format!("put meta.properties back from a backup; or {}", self.refetch(own)),
        }
    }

    /// One broker's way out, when the others have its data.
    fn refetch(&self, own: &BrokerData) -> String {
        format!(
            "when the other brokers have copies of everything, move {} away: {} fetches its replicas from them; then \
             `cdc-supervisor start {}`",
            own.path.display(),
            name(own.broker),
            name(own.broker)
        )
    }

    /// The way out that loses everything, and has to be meant.
    fn give_up(&self) -> String {
        let dirs: Vec<String> = std::iter::once(self.zookeeper_data)
            .chain(self.brokers.iter().map(|b| b.path.as_path()))
            .map(|path| path.display().to_string())
            .collect();
        format!(
            "when all topics and records may be lost: `cdc-supervisor down`, empty {} together, remove {}, and start anew",
            dirs.join(", "),
            self.record.display()
        )
    }

    fn swapped(&self, own: &BrokerData, holds: u32) -> Failure {
        let other = self.brokers.iter().find(|b| matches!(b.found, Found::Data { broker, .. } if broker == own.broker));
        let guess = match other {
            Some(other) if other.broker == holds => {
                format!("; {} holds that of {}: the two are swapped", self.place(other), name(own.broker))
            }
            Some(other) => format!("; its own is in {}", self.place(other)),
            None => String::new(),
        };
        Failure {
            cause: Cause::WrongIdentity,
            what: format!(
                "{} is that of broker {holds}: its meta.properties says broker.id={holds}, the plan says {}{guess}",
                self.place(own),
                own.broker
            ),
            remedy: format!(
                "`cdc-supervisor stop` the brokers concerned, give each its own directory back (move them, or set data_dir), \
                 then `cdc-supervisor start {}`; never edit meta.properties",
                name(own.broker)
            ),
        }
    }

    /// ZooKeeper knows no cluster: the next broker that starts makes a new one.
    fn unknown_cluster(&self) -> Judgement {
        let zookeeper = self.zookeeper_data.display();
        let witnesses: Vec<String> = self
            .brokers
            .iter()
            .filter_map(|b| match &b.found {
                Found::Data { cluster, .. } => Some(format!("{} belongs to cluster {cluster}", self.place(b))),
                Found::Unnamed { partitions } => Some(format!("{} holds {partitions} partitions", self.place(b))),
                Found::Kraft | Found::Unclear { .. } => Some(format!("{} is not empty", self.place(b))),
                Found::Empty => None,
            })
            .collect();
        if witnesses.is_empty() {
            let Some(recorded) = self.recorded else { return Judgement::start() };
            let dirs: Vec<String> = self.brokers.iter().map(|b| b.path.display().to_string()).collect();
            return refuse(
                Cause::WrongIdentity,
                format!(
                    "all data of cluster {recorded} is gone: ZooKeeper's data ({zookeeper}) and every broker's ({}) are empty, \
                     and this root remembers the cluster ({}); was a disk not mounted?",
                    dirs.join(", "),
                    self.record.display()
                ),
                format!(
                    "mount or restore it, then `cdc-supervisor restart zookeeper` and start the brokers; when a new, empty \
                     cluster is meant, remove {} and start",
                    self.record.display()
                ),
            );
        }
        let remembered = match self.recorded {
            Some(recorded) => format!(" (this root remembers cluster {recorded})"),
            None => String::new(),
        };
        refuse(
            Cause::WrongIdentity,
            format!(
                "ZooKeeper's data ({zookeeper}) knows no cluster, while {}{remembered}: ZooKeeper's data was probably emptied or \
                 replaced, and a broker that starts now would make a new cluster id that none of the old data fits",
                witnesses.join("; ")
            ),
            format!(
                "`cdc-supervisor down`, restore ZooKeeper's data from the snapshot that belongs to these brokers, and start; or, \
                 {}; never edit meta.properties",
                self.give_up()
            ),
        )
    }

    fn other_cluster(&self, own: &BrokerData, cluster: &str, id: &str) -> Judgement {
        let of = |wanted: &str| {
            let others = self.brokers.iter().filter(|b| b.broker != own.broker);
            others.filter(|b| matches!(&b.found, Found::Data { cluster, .. } if cluster == wanted)).count()
        };
        let zookeeper_is_strange = match self.recorded {
            Some(recorded) if recorded == cluster => true,
            Some(recorded) if recorded == id => false,
            Some(_) | None => of(cluster) > of(id),
        };
        let remembered = self.recorded.map_or_else(String::new, |r| format!("; this root remembers cluster {r}"));
        let guess = if zookeeper_is_strange {
            "ZooKeeper's data was probably replaced or emptied and used since"
        } else {
            "the directory was probably brought from another cluster"
        };
        let ways_out = if zookeeper_is_strange {
            format!(
                "`cdc-supervisor down`, restore ZooKeeper's data from the snapshot that belongs to these brokers, and start; or, {}",
                self.give_up()
            )
        } else {
            format!("give {} its own directory back; or {}", name(own.broker), self.refetch(own))
        };
        refuse(
            Cause::WrongIdentity,
            format!(
                "{} belongs to cluster {cluster}, ZooKeeper's data ({}) to cluster {id}{remembered}; {guess}",
                self.place(own),
                self.zookeeper_data.display()
            ),
            format!("{ways_out}; never edit meta.properties"),
        )
    }

    /// A broker of this cluster that holds partitions while ZooKeeper knows no topic. A topic leaves ZooKeeper only when every broker
    /// has deleted its partitions (TopicDeletionManager, 3.5.2), so no order of a client comes to this.
    fn forgotten(&self, id: &str) -> Option<(&BrokerData, usize)> {
        let holder = |b: &'_ &BrokerData| matches!(&b.found, Found::Data { cluster, topics, .. } if cluster == id && *topics > 0);
        let holder = self.brokers.iter().find(holder).filter(|_| self.zookeeper.topics == Some(0))?;
        match holder.found {
            Found::Data { topics, .. } => Some((holder, topics)),
            Found::Empty | Found::Unnamed { .. } | Found::Kraft | Found::Unclear { .. } => None,
        }
    }

    /// ZooKeeper knows the cluster and none of its topics: they would be gone for every client, and whoever makes one anew meets the old
    /// partitions under another topic id.
    fn forgotten_topics(&self, id: &str) -> Judgement {
        let Some((holder, topics)) = self.forgotten(id) else { return Judgement::start() };
        refuse(
            Cause::WrongIdentity,
            format!(
                "ZooKeeper's data ({}) knows cluster {id} and no topic of it, while {} holds partitions of {topics} topics: \
                 ZooKeeper's data was probably brought back from an earlier copy, and for clients those topics would be gone",
                self.zookeeper_data.display(),
                self.place(holder)
            ),
            format!(
                "`cdc-supervisor down`, restore ZooKeeper's data from the snapshot that belongs to these brokers, and start; or, {}",
                self.give_up()
            ),
        )
    }

    /// ZooKeeper knows some of the topics. Started beside an earlier copy of its data, brokers lose records without a word: it gives out
    /// producer ids again (`/latest_producer_id_block`, ZkProducerIdManager, 3.5.2) whose sequence numbers their logs have already, so
    /// what an idempotent producer writes is acknowledged as a duplicate and not kept. Seen with 3.5.2: acknowledged records of a
    /// new producer were not there, older ones were.
    fn unknown_topics(&self, own: &BrokerData, topics: usize, id: &str) -> Judgement {
        refuse(
            Cause::WrongIdentity,
            format!(
                "{} holds partitions of {topics} topics, and ZooKeeper's data ({}) knows {} of cluster {id}: ZooKeeper's data was \
                 probably brought back from an earlier copy, beside which brokers acknowledge records that they do not keep",
                self.place(own),
                self.zookeeper_data.display(),
                self.zookeeper.topics.unwrap_or_default()
            ),
            format!(
                "`cdc-supervisor down`, restore ZooKeeper's data from the snapshot that belongs to these brokers, and start; or, when \
                 those topics were deleted while {} was away, {}; or, {}",
                name(own.broker),
                self.refetch(own),
                self.give_up()
            ),
        )
    }

    /// What this root remembers of how far ZooKeeper had come, where what it says now is behind that.
    fn behind(&self, id: &str) -> Option<ReachedRecord> {
        let recorded = self.recorded_reached.filter(|_| self.recorded == Some(id))?;
        self.zookeeper.reached.is_before(recorded.most).then_some(recorded)
    }

    /// ZooKeeper knows the cluster and its topics as they were. Why that is no less a danger: `unknown_topics`.
    fn earlier_state(&self, id: &str) -> Judgement {
        let Some(recorded) = self.behind(id) else { return Judgement::start() };
        refuse(
            Cause::WrongIdentity,
            format!(
                "ZooKeeper's data ({}) knows an earlier state of cluster {id}: {}, where this root ({}) has seen {} ({}): it was \
                 probably brought back from an earlier copy, beside which brokers acknowledge records that they do not keep",
                self.zookeeper_data.display(),
                self.zookeeper.reached.words(),
                self.record.display(),
                recorded.most.words(),
                recorded.seen
            ),
            format!(
                "`cdc-supervisor down`, restore ZooKeeper's data from the snapshot that belongs to these brokers, and start; or, when \
                 the brokers' data are of that earlier moment, too, remove {} and start; or, {}",
                self.record.display(),
                self.give_up()
            ),
        )
    }

    fn empty_broker(&self, own: &BrokerData, id: &str) -> Judgement {
        let Some(topics) = self.zookeeper.topics.filter(|topics| *topics > 0) else { return Judgement::start() };
        let holders: BTreeSet<u32> = self
            .brokers
            .iter()
            .filter(|b| matches!(&b.found, Found::Data { cluster, broker, .. } if cluster == id && *broker == b.broker))
            .map(|b| b.broker)
            .collect();
        if holders.is_empty() {
            return refuse(
                Cause::WrongIdentity,
                format!(
                    "ZooKeeper's data ({}) knows {topics} topics of cluster {id}, and no broker has data of it: they would come back \
                     under their old names, empty; {} is empty, was a disk not mounted?",
                    self.zookeeper_data.display(),
                    self.place(own)
                ),
                format!(
                    "mount or restore the brokers' data, then `cdc-supervisor start {}`; or, {}",
                    name(own.broker),
                    self.give_up()
                ),
            );
        }
        let missing: Vec<u32> = holders.difference(&self.zookeeper.registered).copied().collect();
        if !missing.is_empty() {
            return Judgement::Later {
                why: format!(
                    "its data ({}) is empty: it starts behind {}, so that it fetches from them and cannot lead them into \
                     cutting off what it does not have",
                    own.path.display(),
                    names(missing.iter())
                ),
            };
        }
        if self.recorded_own {
            return Judgement::noted(format!(
                "{} is empty, and it had data of cluster {id} before: it fetches its replicas from {} again",
                self.place(own),
                names(holders.iter())
            ));
        }
        Judgement::start()
    }
}

#[cfg(test)]
mod tests;
