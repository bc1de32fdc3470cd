//! The watcher: asks one broker about the cluster, tells what has changed since, and has leaders brought home. It sleeps while no
//! broker serves, so a daemon without Kafka is never woken up for it.

use super::{
    Sight, change,
    health::{Look, MinIsr, partitions, some},
};
use crate::{
    base::{EventKind, EventLine, NodeKind, NodeName},
    clients::kafka::{ByTopic, NOT_NEEDED, elect_preferred, listener_metadata, min_isr},
    engine::{Handle, Snapshot},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Pause between looks at a cluster in which nothing is missing.
const PAUSE: Duration = Duration::from_secs(1);

/// Pause while something is: a return to every ISR takes about a second, and leaders go home right behind it.
const PAUSE_AMISS: Duration = Duration::from_millis(250);

/// For how long at a time that shorter pause is kept: a broker may be stopped by order for days.
const AMISS_MAX: Duration = Duration::from_secs(120);

/// Bound of one question to one broker. A frozen one costs this once, then another is asked.
const ASK: Duration = Duration::from_secs(1);

/// Bound of an election.
const ELECT: Duration = Duration::from_secs(5);

/// Pause before leaders are brought home to the same broker again: the controller may have refused, or not be done.
const ELECT_AGAIN: Duration = Duration::from_secs(5);

/// How old what is known of `min.insync.replicas` may get. Topics that are new are asked for at once.
const MIN_ISR_AGE: Duration = Duration::from_secs(30);

/// When it is asked for again after a question that was not answered: in the worst case one more of the broker's threads each time.
const UNTOLD_AGE: Duration = Duration::from_secs(5);

/// The newest look, for whoever wants to know.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<Option<Arc<Latest>>>>);

/// A look and its moment.
#[derive(Clone, Debug)]
pub struct Latest {
    /// What was seen.
    pub look: Look,
    /// When.
    pub at: Instant,
}

impl Known {
    /// The newest; none while no broker serves, and before the first look.
    pub fn latest(&self) -> Option<Arc<Latest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, latest: Option<Arc<Latest>>) {
        // The value is replaced as a whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = latest;
    }
}

/// Watches until the engine ends. `sight` says where to look now: a reload may change it.
pub async fn watch(engine: Handle, sight: impl Fn() -> Sight + Send + Sync, known: Known) {
    let mut changes = engine.watch();
    let mut watcher = Watcher::default();
    loop {
        let serving = serving(&changes.borrow_and_update());
        if serving.is_empty() {
            known.set(None);
            watcher.amiss_since = None;
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let pause = watcher.turn(&engine, &sight(), &serving, &known).await;
        sleep(pause).await;
    }
}

/// The brokers that serve and are not being stopped.
pub(in crate::operate) fn serving(snapshot: &Snapshot) -> Vec<u32> {
    let serves = snapshot.nodes.iter().filter(|n| n.serves && matches!(n.state, "ready" | "degraded"));
    serves.filter_map(|n| if let NodeKind::Broker(id) = n.kind { Some(id) } else { None }).collect()
}

/// Whether brokers may be asked what holds for topics. They look it up in ZooKeeper (`ZkConfigRepository`, 3.5), and without it the thread
/// that does waits until it is back, however soon its asker has gone (`KafkaZkClient.retryRequestsUntilConnected`): four such questions, and a
/// broker with four of these threads answers nobody. Seen: asked once a second, every broker was mute a minute after ZooKeeper.
pub(in crate::operate) fn zookeeper_is_ready(snapshot: &Snapshot) -> bool {
    snapshot.nodes.iter().filter(|n| n.kind == NodeKind::Zookeeper).all(|n| n.state == "ready")
}

#[derive(Debug, Default)]
struct Watcher {
    last: Option<Look>,
    /// The broker that answered last. Kept: two brokers may be a moment apart, and going to and fro between them would tell
    /// of changes that were none.
    answered: Option<u32>,
    min_isr: MinIsr,
    /// When it was asked for last.
    min_isr_at: Option<Instant>,
    /// It was not told then.
    min_isr_untold: bool,
    amiss_since: Option<Instant>,
    elected: BTreeMap<u32, Instant>,
}

impl Watcher {
    /// One look and what follows from it; the pause until the next.
    async fn turn(&mut self, engine: &Handle, sight: &Sight, serving: &[u32], known: &Known) -> Duration {
        let now = Instant::now();
        let Some(look) = self.look(engine, sight, serving).await else { return PAUSE };
        if let Some(before) = self.last.as_ref().filter(|before| **before != look) {
            for event in change::events(before, &look) {
                tracing::info!("cluster: {}", event.text);
                engine.journal().note(event);
            }
        }
        known.set(Some(Arc::new(Latest { look: look.clone(), at: now })));
        if sight.elect {
            self.bring_home(engine, sight, serving, &look).await;
        }
        let settled = look.health().is_settled();
        self.last = Some(look);
        if settled {
            self.amiss_since = None;
            return PAUSE;
        }
        let since = *self.amiss_since.get_or_insert(now);
        if now.duration_since(since) < AMISS_MAX { PAUSE_AMISS } else { PAUSE }
    }

    /// Asks brokers one after the other until one answers that belongs to the cluster.
    async fn look(&mut self, engine: &Handle, sight: &Sight, serving: &[u32]) -> Option<Look> {
        let first = self.answered.filter(|id| serving.contains(id));
        let others = serving.iter().copied().filter(|id| Some(*id) != first);
        for id in first.into_iter().chain(others) {
            let Some(address) = sight.brokers.get(&id).copied() else { continue };
            // One that the cluster does not list knows nothing yet, or nothing any more.
            let view = match listener_metadata(address, ASK).await {
                Ok(view) if view.answering == Some(id) => view,
                Ok(_) => continue,
                Err(e) => {
                    tracing::debug!(broker = id, "cluster: {}", e.in_one_line());
                    continue;
                }
            };
            self.answered = Some(id);
            let topics: BTreeSet<&str> = view.topics.iter().map(|t| t.name.as_str()).collect();
            if self.asks_min_isr(&topics) && zookeeper_is_ready(&engine.snapshot()) {
                let topics: Vec<&str> = topics.into_iter().collect();
                self.min_isr_at = Some(Instant::now());
                match min_isr(address, &topics, ASK).await {
                    Ok(found) => (self.min_isr, self.min_isr_untold) = (found, false),
                    // What was known holds until it is asked again.
                    Err(e) => {
                        self.min_isr_untold = true;
                        tracing::debug!(broker = id, "cluster: {}", e.in_one_line());
                    }
                }
            }
            return Some(Look { view, min_isr: self.min_isr.clone() });
        }
        None
    }

    /// Whether it is time to ask what `min.insync.replicas` is: from time to time, and when there is a new topic; but not again at once when
    /// it was not told, or each question would take another of the broker's threads ([`zookeeper_is_ready`]).
    fn asks_min_isr(&self, topics: &BTreeSet<&str>) -> bool {
        let age = if self.min_isr_untold { UNTOLD_AGE } else { MIN_ISR_AGE };
        let stale = self.min_isr_at.is_none_or(|at| at.elapsed() >= age);
        stale || !self.min_isr_untold && topics.iter().any(|topic| !self.min_isr.contains_key(*topic))
    }

    /// Has preferred leaders elected for brokers that are back in every ISR.
    async fn bring_home(&mut self, engine: &Handle, sight: &Sight, serving: &[u32], look: &Look) {
        let controller = look.view.controller.and_then(|id| sight.brokers.get(&id)).copied();
        let Some(controller) = controller else { return };
        for (id, away) in look.to_bring_home(serving) {
            if self.elected.get(&id).is_some_and(|at| at.elapsed() < ELECT_AGAIN) {
                continue;
            }
            self.elected.insert(id, Instant::now());
            match elect_preferred(controller, &away, ELECT).await {
                Ok(refused) => {
                    let home = led_again(&away, &refused);
                    if !home.is_empty() {
                        let text = format!("leads {} again: {}", partitions(home.len()), some(&home));
                        tracing::info!("cluster: broker {id} {text}");
                        let event = EventLine::new(EventKind::LeadersElected, text);
                        engine.journal().note(event.node(&NodeName::broker(id)));
                    }
                }
                // `leader.imbalance.check.interval.seconds` is the net below.
                Err(e) => tracing::debug!(broker = id, "cluster: {}", e.in_one_line()),
            }
        }
    }
}

/// The names of those that were not refused.
fn led_again(asked: &ByTopic, refused: &BTreeMap<(String, u32), i16>) -> Vec<String> {
    let each = asked.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic.clone(), *id)));
    let home = each.filter(|one| refused.get(one).is_none_or(|code| *code == NOT_NEEDED));
    home.map(|(topic, id)| format!("{topic}-{id}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::NodeSnapshot;

    #[test]
    fn a_question_about_topics_that_was_not_answered_is_not_asked_again_at_once() {
        let topics = BTreeSet::from(["t"]);
        let mut watcher = Watcher::default();
        assert!(watcher.asks_min_isr(&topics));
        watcher.min_isr_at = Some(Instant::now());
        assert!(watcher.asks_min_isr(&topics), "a topic that nothing is known of");
        watcher.min_isr_untold = true;
        assert!(!watcher.asks_min_isr(&topics));
        (watcher.min_isr, watcher.min_isr_untold) = (BTreeMap::from([("t".to_owned(), 2)]), false);
        assert!(!watcher.asks_min_isr(&topics) && watcher.asks_min_isr(&BTreeSet::from(["t", "new"])));
    }

    #[test]
    fn brokers_are_asked_about_topics_only_while_zookeeper_is_ready() {
        let node = |kind, state| Arc::new(NodeSnapshot::sample(NodeName::new("zookeeper").unwrap(), kind, state, 1));
        let of = |nodes| zookeeper_is_ready(&Snapshot { nodes, ..Snapshot::default() });
        assert!(of(vec![node(NodeKind::Zookeeper, "ready")]) && of(vec![]));
        for state in ["down", "starting", "degraded", "stopping", "failed"] {
            assert!(!of(vec![node(NodeKind::Zookeeper, state)]), "{state}");
        }
    }

    #[test]
    fn what_was_refused_is_not_told_of_as_led_again() {
        let asked = ByTopic::from([("t".into(), vec![0, 1, 2])]);
        let refused = BTreeMap::from([(("t".to_owned(), 1), 80), (("t".to_owned(), 2), NOT_NEEDED)]);
        assert_eq!(led_again(&asked, &refused), ["t-0", "t-2"]);
    }
}
