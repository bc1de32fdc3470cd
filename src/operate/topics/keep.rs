//! The keeper of configured topics: puts the file into force when the cluster comes up, after a reload and by order; in between it
//! looks, and tells what differs. It sleeps while nothing is configured and while no broker serves.
//!
//! A little past 500 lines: one look and what follows from it; what is due and what differs are files of their own.

use super::{
    decide::{self, Decision, Step},
    due::Due,
    look::{self, Look, Report, TopicReport},
    slot::Slot,
};
use crate::{
    base::{EventKind, EventLine, Incarnation, Layout, NodeKind, topics::TopicRecord},
    clients::{
        ClientError,
        kafka::{NewTopic, add_partitions, alter_settings, create},
    },
    config,
    engine::{Handle, Journal, Snapshot, Wanted},
    operate::{
        cluster::{Sight, serving, zookeeper_is_ready},
        operation::Operations,
    },
    sys::{clock, fs, record},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

/// Pause between looks at topics of which nothing is to be done.
const CHECK: Duration = Duration::from_secs(30);

/// Pauses between tries of what did not succeed: from the first, doubled, to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Bound of one change. The controller answers a creation when every broker has taken its part.
const CHANGE: Duration = Duration::from_secs(15);

/// How long brokers may take to show what was changed: metadata goes from the controller to each of them.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// Pause between looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// For how long a topic waits before that is an event: a broker that starts is waited for in silence.
const TOLD_AFTER: Duration = Duration::from_secs(30);

/// How much of what was done is kept for whoever waits for the rest.
const DONE: usize = 100;

/// What somebody wants of the keeper.
#[derive(Debug)]
struct Ask {
    /// Wait until what is due is in force; false: only look.
    apply: bool,
    /// All of it is due.
    all: bool,
    /// What was done, or why it could not be looked at.
    reply: oneshot::Sender<Result<Vec<String>, String>>,
}

/// The way to the keeper. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keeper {
    asks: mpsc::Sender<Ask>,
    report: Arc<Mutex<Report>>,
}

/// The keeper's own end.
#[derive(Debug)]
pub struct Inbox(mpsc::Receiver<Ask>);

/// Both ends.
pub fn keeper() -> (Keeper, Inbox) {
    let (asks, inbox) = mpsc::channel(16);
    (Keeper { asks, report: Arc::default() }, Inbox(inbox))
}

impl Keeper {
    /// What was seen last.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    /// Puts the file into force and waits for it; the error says what it still waits for after `limit`: it goes on trying.
    pub async fn apply(&self, limit: Duration) -> Result<Vec<String>, Vec<String>> {
        self.settled(limit, true).await
    }

    /// The same of what is due anyway: what somebody has changed by hand stays.
    pub async fn settle(&self, limit: Duration) -> Result<Vec<String>, Vec<String>> {
        self.settled(limit, false).await
    }

    async fn settled(&self, limit: Duration, all: bool) -> Result<Vec<String>, Vec<String>> {
        match timeout(limit, self.ask(true, all)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(why)) => Err(vec![why]),
            Err(_) => {
                let report = self.report();
                let lines: Vec<String> = report.unseen.iter().cloned().chain(report.lines()).collect();
                Err(if lines.is_empty() { vec!["the brokers take their time".into()] } else { lines })
            }
        }
    }

    /// Looks now; the error says why it could not.
    pub async fn look(&self, limit: Duration) -> Result<Report, String> {
        match timeout(limit, self.ask(false, false)).await {
            Ok(Ok(_)) => Ok(self.report()),
            Ok(Err(why)) => Err(why),
            Err(_) => Err("the brokers did not answer in time".into()),
        }
    }

    async fn ask(&self, apply: bool, all: bool) -> Result<Vec<String>, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the daemon is on its way down".to_owned();
        self.asks.send(Ask { apply, all, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Report> {
        // The value is replaced as a whole.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps until the engine ends. `sight` says what is applied now: a reload may change it. While an operation runs nothing is changed.
pub async fn keep(
    engine: Handle,
    operations: Operations,
    layout: Layout,
    sight: impl Fn() -> Sight + Send + Sync,
    keeper: Keeper,
    inbox: Inbox,
) {
    let mut inbox = inbox.0;
    let mut changes = engine.watch();
    let (at, journal) = (layout.clone(), engine.journal().clone());
    // A reader that panics is a bug, and nothing is known then.
    let record = tokio::task::spawn_blocking(move || read(&at, &journal)).await.unwrap_or_default();
    let mut keeping = Keeping {
        layout,
        due: Due::since(record.in_force.clone()),
        record,
        have_served: false,
        tries: 0,
        cluster: None,
        waiting: BTreeMap::new(),
        late: None,
        asks: Vec::new(),
        done: Vec::new(),
    };
    loop {
        let sight = sight();
        let snapshot = changes.borrow_and_update().clone();
        let serving = serving(&snapshot);
        keeping.due.file(&sight.topics);
        keeping.due.brokers(lives(&snapshot, &serving));
        keeping.have_served |= !serving.is_empty();
        let idle = sight.topics.is_empty() && keeping.record.topics.is_empty() && keeping.asks.is_empty();
        let pause = if serving.is_empty() {
            keeping.nobody_serves(&snapshot, &keeper);
            CHECK
        } else if idle {
            CHECK
        } else {
            keeping.turn((&engine, &operations), &sight, &snapshot, &serving, &keeper).await
        };
        if keeping.due.in_force() != keeping.record.in_force {
            // What has become due stays so with the next daemon.
            keeping.write().await;
        }
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                ask = inbox.recv() => match ask {
                    None => return,
                    Some(ask) => keeping.asked(ask),
                },
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let snapshot = changes.borrow_and_update().clone();
                    let now = self::serving(&snapshot);
                    // A cluster that was away is looked at at once, also when it was for less than a pause.
                    if !serving.is_empty() && !keeping.due.brokers(lives(&snapshot, &now)) {
                        continue;
                    }
                    keeping.tries = 0;
                }
                () = sleep_until(until), if !serving.is_empty() => {}
            }
            break;
        }
    }
}

/// The lives of those that serve.
fn lives(snapshot: &Snapshot, serving: &[u32]) -> BTreeMap<u32, Incarnation> {
    let broker = |n: &Arc<crate::engine::NodeSnapshot>| match n.kind {
        NodeKind::Broker(id) if serving.contains(&id) => Some((id, n.incarnation)),
        NodeKind::Broker(_) | NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => None,
    };
    snapshot.nodes.iter().filter_map(broker).collect()
}

struct Keeping {
    layout: Layout,
    record: TopicRecord,
    /// What is to be put into force.
    due: Due,
    /// A broker has served under this daemon.
    have_served: bool,
    tries: u32,
    /// Which cluster was seen last: another one has none of the topics.
    cluster: Option<String>,
    /// Topics that could not be put into force, and since when.
    waiting: BTreeMap<String, Instant>,
    /// The topic over which the last turn ended early: the next begins after it, so that none waits behind it for ever.
    late: Option<String>,
    asks: Vec<Ask>,
    /// What was done while somebody waits for it.
    done: Vec<String>,
}

impl Keeping {
    fn asked(&mut self, ask: Ask) {
        // Whoever had asked before may have gone.
        self.asks.retain(|ask| !ask.reply.is_closed());
        if ask.apply {
            if !self.asks.iter().any(|ask| ask.apply) {
                self.done.clear();
            }
            if ask.all {
                self.due.all();
            }
        }
        self.tries = 0;
        self.asks.push(ask);
    }

    /// When brokers come back, the file is put into force again. Not when they run and this daemon has just taken them over: to it they
    /// have not answered yet, and the cluster was never away.
    fn nobody_serves(&mut self, snapshot: &Snapshot, keeper: &Keeper) {
        if self.have_served || starts_anew(snapshot) {
            self.due.all();
        }
        let why = "no broker serves";
        for ask in self.asks.drain(..) {
            // Whoever asked may have gone.
            let _ = ask.reply.send(Err(why.into()));
        }
        *keeper.lock() = Report { at: None, unseen: Some(why.into()), topics: Vec::new() };
    }

    /// One look, and what follows from it; the pause until the next.
    async fn turn(
        &mut self,
        (engine, operations): (&Handle, &Operations),
        sight: &Sight,
        snapshot: &Snapshot,
        serving: &[u32],
        keeper: &Keeper,
    ) -> Duration {
        let names: BTreeSet<String> = sight.topics.iter().map(|t| t.name.clone()).collect();
        if !names.is_empty() && !zookeeper_is_ready(snapshot) {
            return self.unseen("ZooKeeper is not ready, and brokers look settings of topics up there".into(), keeper);
        }
        let mut look = match look::look(sight, serving, &names).await {
            Ok(look) => look,
            Err(why) => return self.unseen(why, keeper),
        };
        if self.cluster.is_some() && look.cluster != self.cluster {
            self.due.all();
        }
        self.cluster.clone_from(&look.cluster);
        if starts_anew(snapshot) {
            self.due.started_anew();
        }
        let clear = names.iter().all(|name| !look.unclear.contains_key(name));
        for name in self.due.agree(look.topics.keys(), clear) {
            // Nothing of it is ours, and that it leaves the file is told.
            self.record.topics.entry(name.clone()).or_default();
        }
        let mut waits = BTreeMap::new();
        let expected = expected(snapshot, sight);
        let mut changed = BTreeSet::new();
        let mut slot = Slot::of(operations);
        let mut untried = BTreeSet::new();
        for topic in beginning_after(&sight.topics, self.late.take().as_deref()) {
            if !self.due.is(&topic.name) {
                continue;
            }
            if self.late.is_some() {
                untried.insert(topic.name.clone());
                continue;
            }
            match self.put_into_force((engine, &mut slot), topic, &look, &expected).await {
                Ok(did) => {
                    if did {
                        changed.insert(topic.name.as_str());
                    }
                    self.due.done(&topic.name);
                }
                Err(Waits { why, is_late }) => {
                    waits.insert(topic.name.clone(), why);
                    if is_late {
                        // Whoever ordered something else waits no longer than for one.
                        slot.leave();
                        self.late = Some(topic.name.clone());
                    }
                }
            }
        }
        if !changed.is_empty() {
            look = self.shown(sight, serving, &names, &changed).await.unwrap_or(look);
        }
        drop(slot);
        self.waiting.retain(|name, _| waits.contains_key(name) || untried.contains(name));
        for name in waits.keys() {
            self.waiting.entry(name.clone()).or_insert_with(Instant::now);
        }
        let report = self.report(sight, &look, &waits);
        self.tell(engine, &names, &look, &report);
        self.write().await;
        *keeper.lock() = report;
        self.answer();
        if !self.due.any() {
            self.tries = 0;
            return CHECK;
        }
        self.again()
    }

    fn unseen(&mut self, why: String, keeper: &Keeper) -> Duration {
        tracing::debug!("topics: {why}");
        for ask in std::mem::take(&mut self.asks) {
            // Who wants it in force waits for the next try, as far as their patience goes.
            if ask.apply {
                self.asks.push(ask);
            } else {
                let _ = ask.reply.send(Err(why.clone()));
            }
        }
        keeper.lock().unseen = Some(why);
        self.again()
    }

    fn again(&mut self) -> Duration {
        let pause = AGAIN.0 * 2u32.saturating_pow(self.tries.min(10));
        self.tries = self.tries.saturating_add(1);
        pause.min(AGAIN.1)
    }

    /// Takes the steps of one topic; whether there were any. The error says what it waits for, or what a broker said.
    async fn put_into_force(
        &mut self,
        (engine, slot): (&Handle, &mut Slot<'_>),
        topic: &config::Topic,
        look: &Look,
        expected: &[u32],
    ) -> Result<bool, Waits> {
        if let Some(why) = look.unclear.get(&topic.name) {
            return Err(why.clone().into());
        }
        let seen = look.topics.get(&topic.name);
        let decision = decide::decide(topic, seen, self.ours(&topic.name));
        for step in &decision.steps {
            decide::may(step, topic, &look.live, expected)?;
            slot.take()?;
            let controller = look.controller.ok_or_else(|| "waits for a controller".to_owned())?;
            take(step, topic, controller).await.map_err(|e| Waits { is_late: is_late(&e), why: e.in_one_line() })?;
            for words in decide::done(step, topic, seen) {
                let text = format!("topic {}: {words}", topic.name);
                tracing::info!("{text}");
                engine.journal().note(EventLine::new(EventKind::TopicChanged, text.clone()));
                self.done.push(text);
            }
        }
        self.done.drain(..self.done.len().saturating_sub(DONE));
        let given = decide::given(topic, &decision, self.ours(&topic.name));
        self.record.topics.insert(topic.name.clone(), given);
        self.record.left.remove(&topic.name);
        Ok(!decision.steps.is_empty())
    }

    fn ours(&self, name: &str) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.record.topics.get(name).unwrap_or(&NONE)
    }

    /// A look at which what was changed shows.
    async fn shown(
        &self,
        sight: &Sight,
        serving: &[u32],
        names: &BTreeSet<String>,
        changed: &BTreeSet<&str>,
    ) -> Option<Look> {
        let until = Instant::now() + SHOWN_WITHIN;
        let mut last = None;
        while Instant::now() < until {
            if let Ok(look) = look::look(sight, serving, names).await {
                let settled = |topic: &config::Topic| {
                    let seen = look.topics.get(&topic.name);
                    !changed.contains(topic.name.as_str())
                        || decide::decide(topic, seen, self.ours(&topic.name)).steps.is_empty()
                };
                let all = sight.topics.iter().all(settled);
                last = Some(look);
                if all {
                    break;
                }
            }
            sleep(LOOK_EVERY).await;
        }
        last
    }

    fn report(&self, sight: &Sight, look: &Look, waits: &BTreeMap<String, String>) -> Report {
        let mut topics: Vec<TopicReport> = sight
            .topics
            .iter()
            .map(|topic| {
                let seen = look.topics.get(&topic.name);
                let unclear = look.unclear.get(&topic.name);
                let decision = match unclear {
                    Some(_) => Decision::default(),
                    None => decide::decide(topic, seen, self.ours(&topic.name)),
                };
                let waits = waits.get(&topic.name).or(unclear).cloned();
                TopicReport::of(topic, look, &decision, waits)
            })
            .collect();
        let configured: BTreeSet<&str> = sight.topics.iter().map(|t| t.name.as_str()).collect();
        let others = look.topics.iter().filter(|(name, _)| !configured.contains(name.as_str()));
        topics.extend(others.map(|(name, seen)| TopicReport::other(name, seen, self.record.topics.contains_key(name))));
        Report { at: Some(clock::wall()), unseen: None, topics }
    }

    /// Events for what differs now and did not, for what does not any more, and for what left the file.
    fn tell(&mut self, engine: &Handle, names: &BTreeSet<String>, look: &Look, report: &Report) {
        let note = |kind, text: String| {
            tracing::info!("{text}");
            engine.journal().note(EventLine::new(kind, text));
        };
        // Of one that is gone there is nothing to be told any more.
        self.record.topics.retain(|name, _| names.contains(name) || look.topics.contains_key(name));
        self.record.left.retain(|name| self.record.topics.contains_key(name));
        for name in self.record.topics.keys().filter(|name| !names.contains(*name)) {
            if self.record.left.insert(name.clone()) {
                note(
                    EventKind::TopicLeft,
                    format!(
                        "topic {name} is not in the file any more: it is kept; `cdc-supervisor topics remove {name} --confirm {name}` deletes it"
                    ),
                );
            }
        }
        let mut differences = BTreeMap::new();
        for topic in report.topics.iter().filter(|t| t.wanted.is_some()) {
            let was = self.record.differences.get(&topic.name);
            if self.due.is(&topic.name) {
                let long = self.waiting.get(&topic.name).is_some_and(|since| since.elapsed() >= TOLD_AFTER);
                let told = match (&topic.waits, long) {
                    (Some(why), true) => vec![why.clone()],
                    // What is about to be done is not told as different.
                    (Some(_) | None, _) => was.cloned().unwrap_or_default(),
                };
                if !told.is_empty() {
                    if was != Some(&told) {
                        note(EventKind::TopicDiffers, format!("topic {}: {}", topic.name, told.join("; ")));
                    }
                    differences.insert(topic.name.clone(), told);
                }
                continue;
            }
            if topic.differences.is_empty() {
                if was.is_some() {
                    note(EventKind::TopicAsConfigured, format!("topic {} is as the file says again", topic.name));
                }
                continue;
            }
            if was != Some(&topic.differences) {
                let mend = if topic.mendable { "; `cdc-supervisor topics apply` mends what can be mended" } else { "" };
                let text = format!("topic {}: {}{mend}", topic.name, topic.differences.join("; "));
                note(EventKind::TopicDiffers, text);
            }
            differences.insert(topic.name.clone(), topic.differences.clone());
        }
        self.record.differences = differences;
    }

    fn answer(&mut self) {
        for ask in std::mem::take(&mut self.asks) {
            if ask.apply && self.due.any() {
                self.asks.push(ask);
            } else {
                let _ = ask.reply.send(Ok(self.done.clone()));
            }
        }
        if !self.due.any() {
            self.done.clear();
        }
    }

    /// Writes the record when it says something new.
    async fn write(&mut self) {
        self.record.in_force = self.due.in_force();
        let record = TopicRecord { schema: 1, ..self.record.clone() };
        // A struct of texts and numbers always becomes JSON.
        let text = serde_json::to_string_pretty(&record).unwrap_or_default();
        let path = self.layout.topics();
        let written = tokio::task::spawn_blocking(move || {
            fs::write_if_different(&path, text.as_bytes(), 0o640, fs::Durability::PowerLoss)
        });
        if let Ok(Err(e)) = written.await {
            // The next turn tries again.
            tracing::warn!(error = %e.source, "{e}");
        }
    }
}

/// Whether every broker starts anew: none is there that an earlier daemon had running. False before anything is known of them.
fn starts_anew(snapshot: &Snapshot) -> bool {
    let mut brokers = snapshot.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Broker(_))).peekable();
    brokers.peek().is_some() && !brokers.any(|n| n.adopted && n.process.is_some())
}

/// The brokers that shall run. One that has failed comes back by an order only, so nothing waits for it.
fn expected(snapshot: &Snapshot, sight: &Sight) -> Vec<u32> {
    let wanted = |id: &u32| {
        let name = crate::base::NodeName::broker(*id);
        snapshot.nodes.iter().any(|n| n.name == name && n.wanted == Wanted::Up && n.failure.is_none())
    };
    sight.brokers.keys().copied().filter(wanted).collect()
}

/// Why a topic is not in force yet.
struct Waits {
    why: String,
    /// The controller was asked in vain for as long as it may take.
    is_late: bool,
}

impl From<String> for Waits {
    fn from(why: String) -> Self {
        Self { why, is_late: false }
    }
}

/// Nobody answered in time, or the controller says so of its brokers: REQUEST_TIMED_OUT is 7 (org.apache.kafka.common.protocol.Errors).
fn is_late(e: &ClientError) -> bool {
    matches!(e, ClientError::TimedOut { .. } | ClientError::Server { code: 7, .. })
}

/// All of them, from the one after this on.
fn beginning_after<'t>(topics: &'t [config::Topic], name: Option<&str>) -> impl Iterator<Item = &'t config::Topic> {
    let at = topics.iter().position(|topic| Some(topic.name.as_str()) == name).map_or(0, |at| at + 1);
    let (before, after) = topics.split_at(at);
    after.iter().chain(before)
}

async fn take(step: &Step, topic: &config::Topic, controller: SocketAddr) -> Result<(), ClientError> {
    let name = topic.name.as_str();
    match step {
        Step::Create => {
            let new = NewTopic {
                name,
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                settings: &topic.settings,
            };
            create(controller, new, CHANGE).await
        }
        Step::Grow { .. } => add_partitions(controller, name, topic.partitions, CHANGE).await,
        Step::Alter(changes) => alter_settings(controller, name, changes, CHANGE).await,
    }
}

/// What is on record. Blocks.
fn read(layout: &Layout, journal: &Journal) -> TopicRecord {
    let (found, trouble) = match record::read(&layout.topics()) {
        Ok((found, torn)) => (found, torn),
        Err(e) => (None, Some(e.in_one_line())),
    };
    if let Some(trouble) = trouble {
        let text = format!(
            "{trouble}: which settings of topics came from the configuration is not known any more; one that is there and leaves the \
             file later stays at its topic, as if somebody else had set it, and what differs is told anew"
        );
        tracing::warn!("{text}");
        journal.note(EventLine::new(EventKind::Trouble, text));
    }
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_ended_over_a_topic_is_followed_by_one_that_begins_with_the_next() {
        let topic = |name: &str| config::Topic {
            name: name.into(),
            partitions: 1,
            replication_factor: 1,
            settings: BTreeMap::new(),
        };
        let topics = ["a", "b", "c"].map(topic);
        let order = |name| beginning_after(&topics, name).map(|t| t.name.as_str()).collect::<Vec<_>>().join("");
        let orders = [None, Some("a"), Some("b"), Some("c"), Some("gone")].map(order);
        assert_eq!(orders, ["abc", "bca", "cab", "abc", "abc"]);
        let limit = Duration::from_secs(1);
        assert!(is_late(&ClientError::TimedOut { doing: "make topic a".into(), limit }));
        let said = |code| ClientError::Server { doing: "make topic a".into(), code, answer: "no".into() };
        assert!(is_late(&said(7)) && !is_late(&said(38)), "a refusal comes at once");
    }

    #[test]
    fn a_record_that_is_torn_at_any_byte_is_put_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let journal = Journal::start(&layout);
        let settings = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
        let record = TopicRecord {
            schema: 1,
            topics: BTreeMap::from([("orders".to_owned(), settings)]),
            ..TopicRecord::default()
        };
        let whole = serde_json::to_string_pretty(&record).unwrap();
        std::fs::write(layout.topics(), &whole).unwrap();
        assert_eq!(read(&layout, &journal), record);
        for cut in 0..whole.len() {
            std::fs::write(layout.topics(), &whole[..cut]).unwrap();
            assert_eq!(read(&layout, &journal), TopicRecord::default(), "cut at {cut}");
            let told = journal.since(crate::base::Timestamp(0));
            assert_eq!(told.len(), cut + 1);
            assert!(told[cut].text.contains("topics.json.bad: which settings"), "{:?}", told[cut]);
            assert!(layout.state().join("topics.json.bad").exists(), "cut at {cut}");
        }
    }
}
