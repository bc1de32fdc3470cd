//! Deletes one topic, by order: never one of the file, of Kafka's own or of the supervisor's.

use super::{
    decide::{Seen, partitions_of},
    is_internal, look,
};
use crate::{
    clients::kafka::delete,
    engine::Snapshot,
    operate::cluster::{Sight, serving},
    sys::failpoint::fail_point,
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// Bound of the order to the controller.
const CHANGE: Duration = Duration::from_secs(15);

/// How long brokers may take to forget it. One that is down forgets when it is back.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Pause between looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a topic was not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRemoved {
    /// Exit code of the contract.
    pub exit: u8,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

fn not(exit: u8, message: String, hint: Option<&str>) -> NotRemoved {
    NotRemoved { exit, message, hint: hint.map(str::to_owned) }
}

/// Deletes the topic with all its records; what was done, in words.
pub async fn remove(sight: &Sight, snapshot: &Snapshot, name: &str) -> Result<String, NotRemoved> {
    if is_internal(name) {
        return Err(not(8, format!("{name} is one of Kafka's own topics, or of the supervisor's"), None));
    }
    if sight.topics.iter().any(|t| t.name == name) {
        let hint = "take its [[kafka.topic]] out of the file and reload first";
        return Err(not(8, format!("topic {name} is in the configuration: it would be made again"), Some(hint)));
    }
    let unseen = |why: String| {
        not(6, format!("the cluster could not be asked: {why}"), Some("`cdc-supervisor status` shows the brokers"))
    };
    let (serving, nobody) = (serving(snapshot), BTreeSet::new());
    let look = look::look(sight, &serving, &nobody).await.map_err(unseen)?;
    let there = |look: &look::Look| look.topics.contains_key(name) || look.unclear.contains_key(name);
    if !there(&look) {
        return Err(not(2, format!("there is no topic {name}"), Some("`cdc-supervisor topics` lists them")));
    }
    let partitions = partitions_of(look.topics.get(name).map_or(0, Seen::partitions));
    let controller = look.controller.ok_or_else(|| unseen("nobody is the controller".into()))?;
    delete(controller, name, CHANGE).await.map_err(|e| not(6, e.in_one_line(), None))?;
    // What is on record of it goes with the keeper's next look.
    fail_point!("topics.removed");
    let until = Instant::now() + GONE_WITHIN;
    while Instant::now() < until {
        if look::look(sight, &serving, &nobody).await.is_ok_and(|look| !there(&look)) {
            return Ok(format!("deleted topic {name} with its {partitions}"));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(format!("topic {name} is being deleted; a broker that is down forgets it when it is back"))
}
