//! A drill: something is broken on purpose under a load of numbered records and rows, and when everything is whole again all of it
//! is read back. The verdict is about what was acknowledged; the time line says how long what took.
//!
//! A little past 500 lines: one drill from its first look to its report; load, fault, verdict and what is left are files of their own.

mod evidence;
mod fault;
mod guarded;
mod history;
mod ledger;
mod left;
mod outage;
mod owed;
mod pace;
mod ready;
mod records;
mod rows;
mod timeline;
mod wreck;

pub use left::{continue_paused, undo};
pub use owed::{owe_what_may_be, remove_when_whole};
pub use ready::Refused;

use super::{
    gate,
    operation::{self, Kind, Operations, Running},
    prove::Targets,
    whole::{self, Brokers, Said},
};
use crate::{
    base::{
        Layout, Moment, NodeName, OrderedBy, Timestamp,
        drill::{Drill, Plan, Report, Tally},
        units::human_duration,
    },
    clients::{ClientError, kafka::min_isr},
    engine::Handle,
    sys::clock,
};
use fault::Undo;
use left::Part;
use outage::Seen;
use records::{Records, Shape};
use rows::Rows;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::sleep;

/// Pause between two looks while something is waited for that has no time line.
const WAIT_EVERY: Duration = Duration::from_millis(100);
/// How long a load runs before anything is broken, and after everything is whole again.
const STEADY: Duration = Duration::from_secs(2);
const TAIL: Duration = Duration::from_secs(1);
/// How old the last acknowledgement of a load may be that flows.
const FLOWS: Duration = Duration::from_secs(1);
/// How long the brokers may take to agree on what there is before a drill is refused.
pub const AGREE_WITHIN: Duration = Duration::from_secs(15);
/// How long topics may take to be known and a load to flow.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);
/// How long the last acknowledgements may take once everything is whole.
const LAST_WITHIN: Duration = Duration::from_secs(30);
/// Bound of a question about topics' settings.
const CALL: Duration = Duration::from_secs(15);

/// What a drill is made with.
#[derive(Debug)]
pub struct Stage<'a> {
    /// Where its report goes.
    pub layout: &'a Layout,
    /// Breaks and starts nodes.
    pub engine: &'a Handle,
    /// What there is to write to.
    pub targets: &'a Targets,
    /// Keeps other operations away.
    pub operations: &'a Operations,
    /// How long the brokers may take to agree on what there is: [`AGREE_WITHIN`].
    pub agree_within: Duration,
}

type Tell<'a> = &'a mut (dyn FnMut(String) + Send);

/// What is written while the drill lasts.
struct Load {
    records: Option<Records>,
    rows: Option<Rows>,
}

/// Makes one drill. `tell` hears what is being done. The report is written down before it comes back.
pub async fn run(stage: &Stage<'_>, plan: &Plan, by: Option<OrderedBy>, tell: Tell<'_>) -> Result<Report, Refused> {
    ready::agreed(plan)?;
    wreck::may_run(plan.drill, stage.layout).map_err(|why| {
        Refused::unsafe_now(why, Some("the command `cdc-supervisor drill` makes such a cluster by itself"))
    })?;
    ready::possible(plan.drill, stage.targets)?;
    let begun = stage.operations.begin_by_order(Kind::Drill, plan.drill.as_str(), by).await;
    let running = begun.map_err(|refused| busy(&refused))?;
    let mut load = Load::new(stage.targets, plan.drill)?;
    let made = on_record(stage, plan, &running, &mut load, tell).await;
    let is_ending = stage.engine.snapshot().ending;
    if is_ending {
        // Topics and table are there still, and no broker to ask: the next daemon removes them.
        running.leave("left to the next daemon: the supervisor is on its way down");
        return Err(Refused {
            exit: 7,
            message: format!("{} was given up: the supervisor is on its way down", plan.drill),
            causes: Vec::new(),
            hint: None,
        });
    }
    match made {
        Ok(report) => {
            running.end(words(&report));
            Ok(report)
        }
        Err(refused) => {
            running.end(format!("not made: {}", refused.message));
            Err(refused)
        }
    }
}

fn busy(refused: &operation::Refused) -> Refused {
    let (exit, hint) = refused.advice();
    let causes = std::iter::successors(std::error::Error::source(refused), |e| e.source()).map(ToString::to_string);
    Refused { exit, message: refused.to_string(), causes: causes.collect(), hint: Some(hint.into()) }
}

/// `passed: 8123 records and 812 rows acknowledged, none lost; longest gap 0.39 s`.
fn words(report: &Report) -> String {
    let count = |tally: Option<&Tally>| tally.map_or(0, |t| t.acknowledged);
    let (records, rows) = (count(report.kafka.as_ref()), count(report.mysql.as_ref()));
    let ends = if report.faults.is_empty() { "none lost".to_owned() } else { report.faults.join("; ") };
    let left: String = report.left.iter().map(|left| format!("; {left}")).collect();
    format!("{}: {records} records and {rows} rows acknowledged, {ends}{left}", report.verdict)
}

impl Load {
    fn new(targets: &Targets, drill: Drill) -> Result<Self, Refused> {
        let run = format!("{:016x}", rand::random::<u64>());
        let records = targets.kafka.as_ref().map(|kafka| Records::new(kafka, &run, Shape::of(drill))).transpose();
        let rows = targets.mysql.as_ref().map(|mysql| Rows::new(mysql, &run));
        Ok(Self { records: records.map_err(|e| failed("the drill's client", &e))?, rows })
    }

    /// Topics and tables of our names that are somebody else's are never touched.
    async fn is_free(&self) -> Result<(), Refused> {
        if let Some(records) = &self.records
            && let Some(taken) = records.taken().await.map_err(|e| failed("a look at the topics", &e))?
        {
            return Err(Refused::unsafe_now(
                format!("topic {} is there and no drill has made it", taken.0),
                Some("drills use topics of that name and never touch another's: rename or delete it"),
            ));
        }
        if let Some(rows) = &self.rows
            && rows.is_taken().await.map_err(|e| failed("a look at the tables", &e))?
        {
            return Err(Refused::unsafe_now(
                "table cdc_supervisor.drill is there and no drill has made it",
                Some("drills use a table of that name and never touch another's: rename or drop it"),
            ));
        }
        Ok(())
    }

    async fn make(&mut self) -> Result<(), Refused> {
        if let Some(records) = &self.records {
            records.make().await.map_err(|e| failed("the drill's topics", &e))?;
        }
        if let Some(rows) = &mut self.rows {
            rows.make().await.map_err(|e| failed("the drill's table", &e))?;
        }
        Ok(())
    }

    /// Removes topics and table. What could not be removed, and what is said of it.
    async fn remove(&self) -> (Undo, Vec<String>) {
        let (mut left, mut said) = (Undo::default(), Vec::new());
        if let Some(records) = &self.records
            && let Err(e) = records.remove().await
        {
            left.topics = true;
            said.push(left::still_there(Part::Topics, &e.in_one_line()));
        }
        if let Some(rows) = &self.rows
            && let Err(e) = rows.remove().await
        {
            left.table = true;
            said.push(left::still_there(Part::Table, &e.in_one_line()));
        }
        (left, said)
    }

    fn flows_since(&self, since: Moment) -> bool {
        self.records.as_ref().is_none_or(|r| r.flows_since(since))
            && self.rows.as_ref().is_none_or(|r| r.flows_since(since))
    }
}

fn failed(what: &str, e: &ClientError) -> Refused {
    Refused {
        exit: 6,
        message: format!("{what} could not be had"),
        causes: vec![e.in_one_line()],
        hint: Some("`cdc-supervisor verify` shows what does not answer".into()),
    }
}

/// The drill between the beginning and the end of its record.
async fn on_record(
    stage: &Stage<'_>,
    plan: &Plan,
    running: &Running,
    load: &mut Load,
    tell: Tell<'_>,
) -> Result<Report, Refused> {
    let (at, began) = (clock::wall(), clock::now());
    tell("looking whether everything is whole".into());
    let said = healthy(stage).await?;
    let victims = ready::victims(plan, &stage.engine.snapshot(), said.as_ref(), rand::random())?;
    unharmed(stage, plan.drill, &victims, said.as_ref()).await?;
    load.is_free().await?;
    let undo = Undo { topics: load.records.is_some(), table: load.rows.is_some(), ..Undo::default() };
    running.step("topics and a table of its own are made", undo.value()).map_err(|e| Refused {
        exit: 1,
        message: e.to_string(),
        causes: vec![e.source.to_string()],
        hint: None,
    })?;
    let made = match made_and_known(stage, plan.drill, &victims, load, tell).await {
        Ok(()) => under_load(stage, plan, running, load, &victims, undo, tell).await,
        Err(refused) => Err(refused),
    };
    let mut still_there = Vec::new();
    // Who is on the way down leaves it to the next daemon, with the operation's record.
    if !stage.engine.snapshot().ending {
        tell("removing its topics and its table".into());
        let (left, said) = load.remove().await;
        still_there = said;
        for said in &still_there {
            tracing::warn!("drill: {said}");
        }
        if let Some(Err(e)) = running.record().map(|record| owed::settle(stage.layout, &record, &left)) {
            tracing::warn!(error = %e.source, "{e}");
        }
    }
    let mut report = made.map_err(|mut refused| {
        refused.causes.extend(still_there.iter().cloned());
        refused
    })?;
    report.left = still_there;
    report.at = at;
    report.took_ms = millis(clock::now().since(began));
    let (controller, brokers) = (said.as_ref().and_then(Said::controller), broker_ids(stage, &report.victims));
    report.controller = (!brokers.is_empty()).then(|| controller.is_some_and(|id| brokers.contains(&id)));
    let kept = history::next_id(stage.layout).and_then(|id| {
        report.id = id;
        history::keep(stage.layout, &report)
    });
    if let Err(e) = kept {
        tracing::warn!(error = %e.source, "the drill's report is in no history: {e}");
    }
    Ok(report)
}

/// Everything of the stack is ready and in sync; what the brokers say. They hear of a new or a deleted topic one after the
/// other, and a probe that looks meanwhile finds a broker degraded: that passes, so it is looked at again for a while. A node
/// that does not serve is refused at once.
async fn healthy(stage: &Stage<'_>) -> Result<Option<Said>, Refused> {
    let began = clock::now();
    loop {
        let said = match brokers(stage.targets) {
            Some(brokers) => Some(whole::ask(&brokers).await),
            None => None,
        };
        let snapshot = stage.engine.snapshot();
        let stands = |why: Option<ready::Sick>| {
            let passes = why.is_none_or(|sick| sick.serves);
            passes && !snapshot.ending && clock::now().since(began) < stage.agree_within
        };
        let sick = ready::sick(&snapshot);
        let why = sick.as_ref().map(ToString::to_string).or_else(|| said.as_ref()?.in_the_way(None, false, &[]));
        let why = match why {
            // Brokers answer from memory, and nodes are looked at every few seconds only.
            None => without_zookeeper(stage.targets).await,
            some => some,
        };
        let Some(why) = why else { return Ok(said) };
        if !stands(sick) {
            return Err(Refused::unsafe_now(
                format!("nothing is broken on purpose while something is broken already: {why}"),
                Some("`cdc-supervisor status` shows each node; drill again when everything is ready"),
            ));
        }
        sleep(WAIT_EVERY).await;
    }
}

/// Why ZooKeeper cannot be used for what comes; none: it can, or there is none.
async fn without_zookeeper(targets: &Targets) -> Option<String> {
    let kafka = targets.kafka.as_ref()?;
    gate::unregistered(kafka.zookeeper?, &kafka.brokers).await
}

/// Nothing of the user's goes offline.
async fn unharmed(stage: &Stage<'_>, drill: Drill, victims: &[NodeName], said: Option<&Said>) -> Result<(), Refused> {
    let Some(kafka) = &stage.targets.kafka else { return Ok(()) };
    let Some(view) = said.and_then(Said::view) else { return Ok(()) };
    let taken: Vec<u32> = broker_ids(stage, victims).into_iter().collect();
    let usual = usize::try_from(kafka.min_isr).unwrap_or(1);
    // Of every topic: one with three replicas that wants all three in sync is harmed, too.
    let topics: Vec<&str> = view.topics.iter().map(|t| t.name.as_str()).collect();
    let all = brokers(stage.targets).unwrap_or_default();
    let settings = match view.answering.and_then(|id| all.get(&id)) {
        Some(address) => min_isr(*address, &topics, CALL).await.map_err(|e| failed("topics' settings", &e))?,
        None => BTreeMap::new(),
    };
    let wants = |topic: &str| settings.get(topic).map_or(usual, |min| usize::try_from(*min).unwrap_or(usize::MAX));
    let harm = ready::harmed(drill, &taken, view, wants);
    match harm.first() {
        None => Ok(()),
        Some(first) => Err(Refused {
            exit: 8,
            message: format!("{drill} would take something of yours offline: {first}"),
            causes: harm.iter().skip(1).take(9).cloned().collect(),
            hint: Some(
                "give these topics more replicas (kafka-reassign-partitions), or take another broker (--which)".into(),
            ),
        }),
    }
}

/// Makes the drill's topics and table. Brokers that know of a topic made now have heard from a controller that knows all of them,
/// which is not so right after all of them have started: so what the drill would take offline is looked at once more.
async fn made_and_known(
    stage: &Stage<'_>,
    drill: Drill,
    victims: &[NodeName],
    load: &mut Load,
    tell: Tell<'_>,
) -> Result<(), Refused> {
    load.make().await?;
    tell("waiting until every broker knows the drill's topics".into());
    let said = until_known(stage).await?;
    unharmed(stage, drill, victims, said.as_ref()).await
}

/// Writes, breaks, waits, reads back, judges.
async fn under_load(
    stage: &Stage<'_>,
    plan: &Plan,
    running: &Running,
    load: &mut Load,
    victims: &[NodeName],
    undo: Undo,
    tell: Tell<'_>,
) -> Result<Report, Refused> {
    let records = match &mut load.records {
        Some(records) => Some(records.write(plan.rate).map_err(|e| failed("a producer", &e))?),
        None => None,
    };
    let rows = load.rows.as_ref().map(|rows| rows.write(Rows::rate(plan.rate)));
    tell(format!("writing {} records a second", plan.rate));
    let steady = until_steady(stage, load).await;
    let seen = match steady {
        Ok(()) => outage::watch(stage, plan, running, load, victims, undo, tell).await,
        Err(refused) => Err(refused),
    };
    if seen.is_ok() {
        sleep(TAIL).await;
    }
    // Where the drill is given up, nobody waits for what is due.
    let within = if seen.is_ok() { LAST_WITHIN } else { Duration::ZERO };
    let writer = match records {
        Some(records) => records.end(within).await,
        None => Ok(()),
    };
    if let Some(rows) = rows {
        rows.end().await;
    }
    let Seen { fault, watch, lasted, mut faults, observed, abandoned } = seen?;
    if let Err(e) = writer {
        faults.push(format!("the writer of records gave up: {}", e.in_one_line()));
    }
    let (kafka, mysql) = read_back(load, fault, &mut faults, tell).await;
    if let Some(tally) = &kafka {
        faults.extend(ledger::faults("record", &judged(plan.drill, tally), abandoned));
    }
    if let Some(tally) = &mysql {
        faults.extend(ledger::faults("row", tally, 0));
    }
    let verdict = if faults.is_empty() { Report::PASSED } else { Report::FAILED };
    Ok(Report {
        schema: 1,
        id: 0,
        drill: plan.drill.as_str().to_owned(),
        at: Timestamp::default(),
        took_ms: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        // Which nodes a disk takes that fills up is not known before.
        victims: if plan.drill.is_on_throw_away() { watch.victims() } else { victims.to_vec() },
        controller: None,
        lasted_ms: lasted.map(millis),
        rate: plan.rate,
        verdict: verdict.to_owned(),
        faults,
        kafka,
        mysql,
        guard: (plan.drill == Drill::DiskFull).then_some(!plan.no_guard),
        timeline: watch.line().clone(),
        throw_away: plan.drill.is_on_throw_away(),
        observed,
        left: Vec::new(),
    })
}

/// What of a tally is judged. Where every broker goes away under load, librdkafka's idempotent producer was seen to write some of what
/// was not acknowledged twice (1 record in 1 of 11 cold restarts, 36 in 1 of 3 mix-ups). What these drills are about is loss, so that
/// is counted and told, and no fault; of what had been acknowledged before it is one.
fn judged(drill: Drill, tally: &Tally) -> Tally {
    match drill {
        Drill::ColdRestart | Drill::DiskFull | Drill::ClusterIdMismatch => {
            Tally { duplicated: tally.duplicated_before, ..tally.clone() }
        }
        Drill::BrokerKill
        | Drill::BrokerTerm
        | Drill::BrokerPause
        | Drill::TwoBrokers
        | Drill::ZookeeperRestart
        | Drill::ZookeeperDown
        | Drill::MysqlKill
        | Drill::PortThief => tally.clone(),
    }
}

async fn read_back(
    load: &Load,
    fault: Moment,
    faults: &mut Vec<String>,
    tell: Tell<'_>,
) -> (Option<Tally>, Option<Tally>) {
    let mut kafka = None;
    if let Some(records) = &load.records {
        let began = clock::now();
        while records.under_way() > 0 && clock::now().since(began) < LAST_WITHIN {
            sleep(WAIT_EVERY).await;
        }
        if records.under_way() > 0 {
            let within = human_duration(LAST_WITHIN);
            faults.push(format!(
                "{} records were still under way {within} after everything was whole",
                records.under_way()
            ));
        }
        kafka = read_records(records, fault, faults, tell).await;
    }
    let mut mysql = None;
    if let Some(rows) = &load.rows {
        tell("reading the rows back from the table and from the binlog".into());
        match rows.judge(fault).await {
            Ok((tally, more)) => {
                mysql = Some(tally);
                faults.extend(more);
            }
            Err(e) => faults.push(format!("the rows could not be read back: {}", e.in_one_line())),
        }
    }
    (kafka, mysql)
}

/// What became of the records; none: they could not be read. Nothing is called lost that was looked for only once.
async fn read_records(records: &Records, fault: Moment, faults: &mut Vec<String>, tell: Tell<'_>) -> Option<Tally> {
    let mut before = None;
    loop {
        let read = match records.read(tell).await {
            Ok(read) => read,
            Err(e) => {
                let missing: Option<u64> = before;
                let missing = missing.map(|n| format!("; {n} were missing at first")).unwrap_or_default();
                faults.push(format!("the records could not be read back: {}{missing}", e.in_one_line()));
                return None;
            }
        };
        let tally = records.judge(&read, fault);
        if tally.lost > 0 && before.is_none() {
            before = Some(tally.lost);
            tell(format!("{} records are missing: everything is read a second time", tally.lost));
            continue;
        }
        faults.extend(read.stood_still);
        return Some(tally);
    }
}

/// The brokers of the plan: id and INTERNAL listener.
fn brokers(targets: &Targets) -> Option<Brokers> {
    let kafka = targets.kafka.as_ref()?;
    Some(kafka.brokers.iter().copied().zip(kafka.internal.iter().copied()).collect())
}

/// Which of these nodes are brokers.
fn broker_ids(stage: &Stage<'_>, names: &[NodeName]) -> BTreeSet<u32> {
    let snapshot = stage.engine.snapshot();
    snapshot.nodes.iter().filter(|n| names.contains(&n.name)).filter_map(|n| timeline::broker_id(n.kind)).collect()
}

/// Waits until all brokers know of the same partitions, each with its leader and all its replicas in sync.
async fn until_known(stage: &Stage<'_>) -> Result<Option<Said>, Refused> {
    let Some(brokers) = brokers(stage.targets) else { return Ok(None) };
    let began = clock::now();
    loop {
        let said = whole::ask(&brokers).await;
        let Some(why) = said.in_the_way(None, false, &[]) else { return Ok(Some(said)) };
        if stage.engine.snapshot().ending || clock::now().since(began) >= BEGIN_WITHIN {
            return Err(not_begun(&why));
        }
        sleep(WAIT_EVERY).await;
    }
}

/// Waits until both loads have flowed for a while.
async fn until_steady(stage: &Stage<'_>, load: &Load) -> Result<(), Refused> {
    let began = clock::now();
    let mut since = None;
    loop {
        sleep(WAIT_EVERY).await;
        let now = clock::now();
        since = if load.flows_since(now - FLOWS) { since.or(Some(now)) } else { None };
        if since.is_some_and(|since: Moment| now.since(since) >= STEADY) {
            return Ok(());
        }
        if stage.engine.snapshot().ending || now.since(began) >= BEGIN_WITHIN {
            return Err(not_begun("not every partition and table acknowledges what is written"));
        }
    }
}

fn not_begun(why: &str) -> Refused {
    Refused {
        exit: 6,
        message: format!("nothing was broken: within {} the load did not flow", human_duration(BEGIN_WITHIN)),
        causes: vec![why.to_owned()],
        hint: Some("`cdc-supervisor verify` shows what does not answer".into()),
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
