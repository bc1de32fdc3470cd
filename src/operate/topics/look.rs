//! What of topics is seen, and what is told of it.

use super::{
    decide::{Decision, Seen},
    is_internal,
};
use crate::{
    base::Timestamp,
    clients::{
        ClientError,
        kafka::{ClusterView, listener_metadata, settings},
    },
    config,
    operate::cluster::Sight,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

/// Bound of one question to one broker.
const ASK: Duration = Duration::from_secs(5);

/// All topics at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// `/cluster/id`.
    pub(super) cluster: Option<String>,
    /// Who answers for changes; none: nobody is the controller just now.
    pub(super) controller: Option<SocketAddr>,
    /// The brokers that are listed.
    pub(super) live: Vec<u32>,
    /// By name, without internal ones; settings of those that were asked for.
    pub(super) topics: BTreeMap<String, Seen>,
    /// Partitions that miss a replica or a leader, in words, by topic.
    pub(super) lagging: BTreeMap<String, Vec<String>>,
    /// Topics of which a broker said an error instead.
    pub(super) unclear: BTreeMap<String, String>,
}

/// Asks one of the brokers after the other. `names`: whose settings are wanted.
pub(super) async fn look(sight: &Sight, serving: &[u32], names: &BTreeSet<String>) -> Result<Look, String> {
    let mut last = "no broker serves".to_owned();
    for id in serving {
        let Some(address) = sight.brokers.get(id).copied() else { continue };
        match ask(sight, *id, address, names).await {
            Ok(Some(look)) => return Ok(look),
            Ok(None) => last = format!("broker-{id} is not listed by the cluster"),
            Err(e) => last = e.in_one_line(),
        }
    }
    Err(last)
}

/// None: the broker does not belong to the cluster (yet).
async fn ask(
    sight: &Sight,
    id: u32,
    address: SocketAddr,
    names: &BTreeSet<String>,
) -> Result<Option<Look>, ClientError> {
    let view = listener_metadata(address, ASK).await?;
    if view.answering != Some(id) {
        return Ok(None);
    }
    let asked: Vec<&str> = names.iter().map(String::as_str).filter(|name| view.topic(name).is_some()).collect();
    let mut found = settings(address, &asked, ASK).await?;
    let mut look = Look {
        cluster: view.cluster_id.clone(),
        controller: view.controller.and_then(|id| sight.brokers.get(&id).copied()),
        live: view.broker_ids(),
        ..Look::default()
    };
    for topic in view.topics.iter().filter(|t| !is_internal(&t.name)) {
        if topic.partitions.is_empty() {
            let why = topic.error.clone().unwrap_or_else(|| "it has no partitions yet".into());
            look.unclear.insert(topic.name.clone(), why);
            continue;
        }
        let alone = ClusterView { topics: vec![topic.clone()], ..ClusterView::default() };
        look.lagging.insert(topic.name.clone(), alone.troubles());
        let copies = topic.partitions.iter().map(|p| p.replicas.len()).collect();
        let settings = match found.remove(&topic.name) {
            Some(settings) => settings,
            None if names.contains(&topic.name) => {
                look.unclear.insert(topic.name.clone(), "it went while it was looked at".into());
                continue;
            }
            None => crate::clients::kafka::TopicSettings::default(),
        };
        look.topics.insert(topic.name.clone(), Seen { copies, settings });
    }
    Ok(Some(look))
}

/// What is told of all topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// When it was looked at; none: not yet.
    pub at: Option<Timestamp>,
    /// Why it could not be looked at; none: it could.
    pub unseen: Option<String>,
    /// By name: those of the file, then the others.
    pub topics: Vec<TopicReport>,
}

/// What is told of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name.
    pub name: String,
    /// As the file wants it; none: it is not in the file.
    pub wanted: Option<config::Topic>,
    /// As it is; none: it is not there, or was not seen.
    pub seen: Option<Seen>,
    /// What differs.
    pub differences: Vec<String>,
    /// `topics apply` would mend some of it.
    pub mendable: bool,
    /// Why what is to be done is not done yet.
    pub waits: Option<String>,
    /// Worth knowing.
    pub notes: Vec<String>,
    /// Partitions that miss a replica or a leader, in words.
    pub lagging: Vec<String>,
}

impl TopicReport {
    /// Of a topic in the file.
    pub(super) fn of(wanted: &config::Topic, look: &Look, decision: &Decision, waits: Option<String>) -> Self {
        Self {
            name: wanted.name.clone(),
            wanted: Some(wanted.clone()),
            seen: look.topics.get(&wanted.name).cloned(),
            lagging: look.lagging.get(&wanted.name).cloned().unwrap_or_default(),
            differences: decision.differences(),
            mendable: !decision.steps.is_empty(),
            waits,
            notes: decision.notes.clone(),
        }
    }

    /// Of one that is not in the file. `left`: it once was.
    pub(super) fn other(name: &str, seen: &Seen, left: bool) -> Self {
        let note =
            format!("it left the file and is kept; `cdc-supervisor topics remove {name} --confirm {name}` deletes it");
        Self {
            name: name.to_owned(),
            seen: Some(seen.clone()),
            notes: left.then_some(note).into_iter().collect(),
            ..Self::default()
        }
    }
}

impl Report {
    /// Topics of the file, and how many of them are as it says.
    pub fn counts(&self) -> (usize, usize) {
        let configured = self.topics.iter().filter(|t| t.wanted.is_some());
        (configured.clone().count(), configured.filter(|t| t.seen.is_some() && t.differences.is_empty()).count())
    }

    /// Everything that differs, or waits, one line each: `topic orders: it has 3 partitions, the file says 6`.
    pub fn lines(&self) -> Vec<String> {
        let each = |t: &TopicReport| {
            // What waits is not there yet, which says the same.
            let told = t.waits.as_ref().map_or_else(|| t.differences.clone(), |waits| vec![waits.clone()]);
            let name = t.name.clone();
            told.into_iter().map(move |text| format!("topic {name}: {text}"))
        };
        self.topics.iter().flat_map(|t| each(t).collect::<Vec<_>>()).collect()
    }
}
