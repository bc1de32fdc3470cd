//! Topics as the daemon answers for them: the keeper beside it, `topics`, and what `status` and a reload say of them.

use super::reload::Reloads;
use crate::{
    base::{EventKind, EventLine, Layout, OrderedBy},
    config::{self, Plan},
    control::wire::{
        Answer,
        cluster::ConfiguredTopics,
        topics::{Topic, Topics},
    },
    engine::Handle,
    operate::{
        operation::Kind,
        topics::{self, Inbox, Keeper, Report, TopicReport},
        verify::Check,
    },
    sys::clock,
};
use std::{sync::Arc, time::Duration};

/// How long `topics` waits for a broker's answer.
const LOOK: Duration = Duration::from_secs(15);

/// How long an order to put the file into force is waited for; it goes on behind that.
const APPLY: Duration = Duration::from_secs(60);

/// The same where it is only a part of what was asked for (`up`, `reload`).
const BESIDE: Duration = Duration::from_secs(20);

/// How many differences a status names.
const NAMED: usize = 20;

/// Begins to keep. Ends with the engine.
pub(super) fn keep(engine: Handle, layout: Layout, reloads: Arc<Reloads>, keeper: Keeper, inbox: Inbox) {
    let operations = reloads.operations.clone();
    tokio::spawn(topics::keep(engine, operations, layout, move || reloads.applied().sight.clone(), keeper, inbox));
}

/// `topics`.
pub(super) async fn list(keeper: &Keeper) -> Answer {
    match keeper.look(LOOK).await {
        Ok(report) => Answer::Topics(document(&report)),
        Err(why) => refused(6, format!("topics could not be looked at: {why}"), vec![]),
    }
}

/// `topics apply`.
pub(super) async fn apply(reloads: &Reloads, keeper: &Keeper) -> Answer {
    if let Some(other) = reloads.operations.runs_besides_topics() {
        return refused(8, format!("{other}; topics are put into force after it"), vec![]);
    }
    match keeper.apply(APPLY).await {
        Err(causes) => refused(6, "the topics are not all as the file says yet; it goes on trying".into(), causes),
        Ok(mut text) => {
            let report = keeper.report();
            let (configured, good) = report.counts();
            if configured == 0 {
                text.push("no topic is configured".into());
            }
            let left = report.lines();
            if !left.is_empty() {
                return refused(
                    9,
                    format!("{} of {configured} topics are not as the file says", configured - good),
                    left,
                );
            }
            if text.is_empty() {
                text.push(summary(configured));
            }
            Answer::Done { text }
        }
    }
}

fn summary(configured: usize) -> String {
    if configured == 1 { "1 topic as configured".into() } else { format!("{configured} topics as configured") }
}

/// `topics remove`.
pub(super) async fn remove(engine: &Handle, reloads: &Reloads, keeper: &Keeper, name: &str, by: OrderedBy) -> Answer {
    let changing = match reloads.operations.begin_by_order(Kind::Topics, "", Some(by)).await {
        Ok(changing) => changing,
        Err(other) => return refused(8, format!("{other}; a topic is deleted after it"), vec![]),
    };
    let removed = topics::remove(&reloads.applied().sight, &engine.snapshot(), name).await;
    drop(changing);
    match removed {
        Ok(text) => {
            engine.journal().note(EventLine::new(EventKind::TopicChanged, &text).by(by));
            // What is on record of it goes with the next look.
            let _ = keeper.look(LOOK).await;
            Answer::Done { text: vec![text] }
        }
        Err(topics::NotRemoved { exit, message, hint }) => Answer::Refused { exit, message, causes: Vec::new(), hint },
    }
}

/// For the proof of an `up`: one line for all, or what is not as it should be. Late topics are no failure. What is due is waited for, and
/// nothing else is put into force: somebody may have changed it by hand.
pub(super) async fn at_start(keeper: &Keeper, plan: &Plan) -> Vec<String> {
    if configured(plan).is_empty() {
        return Vec::new();
    }
    match keeper.settle(BESIDE).await {
        Err(why) => why.into_iter().map(|why| format!("{why}; it is tried again")).collect(),
        Ok(_) => told(&keeper.report()),
    }
}

fn told(report: &Report) -> Vec<String> {
    let (configured, good) = report.counts();
    let mut lines = if good > 0 { vec![summary(good)] } else { Vec::new() };
    if good < configured {
        lines.extend(report.lines());
    }
    lines
}

/// After a reload: what was done, where the file says something else of topics than before.
pub(super) async fn after_reload(keeper: &Keeper, before: &Plan, now: &Plan) -> Vec<String> {
    if configured(before) == configured(now) {
        return Vec::new();
    }
    match keeper.apply(BESIDE).await {
        Err(why) => why.into_iter().map(|why| format!("{why}; it is tried again")).collect(),
        Ok(done) => {
            let left = configured(before).iter().filter(|t| !configured(now).iter().any(|n| n.name == t.name));
            let kept = left.map(|t| {
                let name = &t.name;
                format!("topic {name} left the file and is kept; `cdc-supervisor topics remove {name} --confirm {name}` deletes it")
            });
            done.into_iter().chain(keeper.report().lines()).chain(kept).collect()
        }
    }
}

fn configured(plan: &Plan) -> &[config::Topic] {
    plan.kafka.as_ref().map_or(&[], |kafka| &kafka.topics)
}

/// The rows of `verify`: each topic of the file is there, as it says, and whole.
pub(super) async fn checks(keeper: &Keeper, plan: &Plan) -> Vec<Check> {
    if configured(plan).is_empty() {
        return Vec::new();
    }
    let report = keeper.look(LOOK).await;
    topics::checks(configured(plan), &report)
}

/// What a status says of them; none: no topic is configured.
pub(super) fn state(keeper: &Keeper) -> Option<ConfiguredTopics> {
    let report = keeper.report();
    let (configured, good) = report.counts();
    (configured > 0).then(|| ConfiguredTopics {
        configured,
        as_configured: good,
        differences: report.lines().into_iter().take(NAMED).collect(),
    })
}

fn document(report: &Report) -> Topics {
    let (configured, good) = report.counts();
    Topics {
        schema: 1,
        at: report.at.unwrap_or_else(clock::wall),
        ok: configured == good,
        topics: report.topics.iter().map(one).collect(),
    }
}

fn one(topic: &TopicReport) -> Topic {
    let state = match (&topic.wanted, &topic.seen) {
        (None, _) => "not-in-file",
        (Some(_), _) if topic.waits.is_some() => "waits",
        (Some(_), None) => "missing",
        (Some(_), Some(_)) if topic.differences.is_empty() => "as-configured",
        (Some(_), Some(_)) => "differs",
    };
    let copies = topic.seen.as_ref().and_then(|seen| seen.copies.iter().min());
    Topic {
        name: topic.name.clone(),
        state: state.into(),
        partitions: topic.seen.as_ref().map(topics::Seen::partitions),
        replication_factor: copies.and_then(|copies| u32::try_from(*copies).ok()),
        settings: topic.seen.as_ref().filter(|_| topic.wanted.is_some()).map(|seen| seen.settings.own.clone()),
        differences: topic.differences.clone(),
        mendable: topic.mendable,
        waits: topic.waits.clone(),
        notes: topic.notes.clone(),
    }
}

fn refused(exit: u8, message: String, causes: Vec<String>) -> Answer {
    let hint = match exit {
        6 => Some("`cdc-supervisor status` shows the brokers, `cdc-supervisor topics` what is missing"),
        9 => Some("what is left is not changed by itself: each line says what to do"),
        _ => None,
    };
    Answer::Refused { exit, message, causes, hint: hint.map(str::to_owned) }
}
