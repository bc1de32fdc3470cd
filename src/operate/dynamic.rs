//! Gives brokers that run the settings that Kafka takes while it runs, and tells of settings that somebody else gave them.
//!
//! The file is what holds: what is set here is in the file too, is on record (`engine::dynamic`) and is taken out of ZooKeeper before
//! the broker's next start. In between the new values are always *set*, also on the way back: to take one back would bring up
//! what the file said when the broker started.

use super::reload::{Failed, Report};
use crate::{
    base::{
        NodeName,
        dynamic::DynamicRecord,
        recipe::{ProbeKind, Recipe},
    },
    clients::{
        ClientError,
        kafka::{BrokerSetting, broker_settings, set_on_broker},
    },
    engine::{Handle, NodeSnapshot, Rejection, Wanted, dynamic as records},
    services::change::{Dynamic, Put, Wanted as Value},
    sys::failpoint::fail_point,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Bound of one question to one broker.
const ASK: Duration = Duration::from_secs(10);

/// How long a broker may take until a setting that it has accepted is in force. It hears of it through ZooKeeper; milliseconds, and
/// the cleaner of its logs is stopped and started for it.
const TAKEN_MAX: Duration = Duration::from_secs(15);

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

type Settings = BTreeMap<String, BrokerSetting>;

/// A broker and its INTERNAL listener.
#[derive(Clone, Copy)]
struct Broker {
    id: u32,
    address: SocketAddr,
}

fn broker(recipe: &Recipe) -> Option<Broker> {
    match recipe.probe.kind {
        ProbeKind::Broker { id, internal, .. } => Some(Broker { id, address: internal }),
        ProbeKind::None
        | ProbeKind::Tcp(_)
        | ProbeKind::Http(_)
        | ProbeKind::Exec(_)
        | ProbeKind::Notify
        | ProbeKind::Zookeeper(_)
        | ProbeKind::Mysql { .. } => None,
    }
}

/// Has every broker say whether it would take its new settings, before anything is changed. One that does not run says nothing.
pub(super) async fn would_take(
    engine: &Handle,
    changes: &BTreeMap<NodeName, Dynamic>,
    recipes: &BTreeMap<NodeName, Recipe>,
    max_wait: Duration,
    report: &mut dyn Report,
) -> Result<(), Failed> {
    for (node, change) in changes {
        let Some(broker) = recipes.get(node).and_then(broker) else { continue };
        let answers = until_it_serves(engine, node, max_wait, report).await;
        let answered = match answers {
            Ok(true) => resolved(engine, node, broker, &change.to).await,
            Ok(false) => continue,
            Err(why) => Err(Unset::Failed(why)),
        };
        let asked = match answered {
            Ok(settings) => {
                let would = set_on_broker(broker.address, broker.id, &settings, true, ASK).await;
                would.map_err(|e| Unset::of(&e))
            }
            Err(unset) => Err(unset),
        };
        if let Err(unset) = asked {
            return Err(unset.failed(node, broker));
        }
    }
    Ok(())
}

/// Gives a broker what has changed in its file; from then on it has `recipe`. Returns what was set, or why not. One that has been
/// stopped by order meanwhile has its file when it is started.
pub(super) async fn give(
    engine: &Handle,
    recipe: Recipe,
    puts: &[Put],
    max_wait: Duration,
    report: &mut dyn Report,
) -> Result<(), String> {
    let node = recipe.node.clone();
    let Some(broker) = broker(&recipe) else { return take(engine, recipe).await };
    if !until_it_serves(engine, &node, max_wait, report).await? {
        return take(engine, recipe).await;
    }
    let Some(incarnation) = seen(engine, &node).map(|n| n.incarnation) else { return take(engine, recipe).await };
    let settings = resolved(engine, &node, broker, puts).await.map_err(Unset::words)?;
    let before = read(engine, &node).await?;
    let mut record = before.clone();
    record.intend(&settings);
    write(engine, &node, record.clone()).await?;
    fail_point!("dynamic.intended");
    match set_on_broker(broker.address, broker.id, &settings, false, ASK).await {
        Ok(()) => {}
        // It has said no: nothing is under way.
        Err(e @ ClientError::Server { .. }) => {
            write(engine, &node, before).await?;
            return Err(e.in_one_line());
        }
        Err(e) => return Err(e.in_one_line()),
    }
    fail_point!("dynamic.set");
    until_in_force(broker, &settings).await?;
    engine.take_given(recipe, incarnation).await.map_err(|e| rejected(&node, e))?;
    fail_point!("dynamic.given");
    record.settle(&settings);
    write(engine, &node, record).await?;
    let shown: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    report.step(Some(&node), format!("{node}: runs on with {}", shown.join(", ")));
    Ok(())
}

/// The way back of [`give`]. `is_culprit`: it is the one that failed, and may have none of it.
pub(super) async fn give_back(
    engine: &Handle,
    recipe: Recipe,
    puts: &[Put],
    is_culprit: bool,
    max_wait: Duration,
    report: &mut dyn Report,
) -> Result<(), String> {
    if is_culprit && read(engine, &recipe.node).await?.under_way.is_empty() {
        return take(engine, recipe).await;
    }
    give(engine, recipe, puts, max_wait, report).await
}

async fn take(engine: &Handle, recipe: Recipe) -> Result<(), String> {
    let node = recipe.node.clone();
    engine.take(recipe).await.map(drop).map_err(|e| rejected(&node, e))
}

fn rejected(node: &NodeName, rejection: Rejection) -> String {
    match rejection {
        Rejection::NotNow(why) => why,
        Rejection::NotReady(why) | Rejection::Unsafe(why) => why.join("; "),
        Rejection::UnknownNode(_) => format!("there is no node {node}"),
        Rejection::Ending => "the daemon ended".into(),
    }
}

fn seen(engine: &Handle, node: &NodeName) -> Option<Arc<NodeSnapshot>> {
    engine.snapshot().nodes.iter().find(|n| n.name == *node).cloned()
}

/// Whether it serves; false: it is stopped by order. An error: it did not serve in time.
async fn until_it_serves(
    engine: &Handle,
    node: &NodeName,
    max_wait: Duration,
    report: &mut dyn Report,
) -> Result<bool, String> {
    let began = Instant::now();
    loop {
        let Some(now) = seen(engine, node) else { return Ok(false) };
        if now.wanted == Wanted::Down {
            return Ok(false);
        }
        if now.serves {
            return Ok(true);
        }
        if began.elapsed() >= max_wait || engine.snapshot().ending {
            return Err(format!("{node} is {}: it takes settings only when it serves", now.state));
        }
        report.waits(node, format!("waits for {node}: {}", now.detail));
        sleep(LOOK_EVERY).await;
    }
}

async fn read(engine: &Handle, node: &NodeName) -> Result<DynamicRecord, String> {
    let (layout, node, journal) = (engine.layout().clone(), node.clone(), engine.journal().clone());
    let read = tokio::task::spawn_blocking(move || records::read(&layout, &node, &journal)).await;
    read.map_err(|e| e.to_string())?.map_err(|e| format!("{e}: {}", e.source))
}

async fn write(engine: &Handle, node: &NodeName, record: DynamicRecord) -> Result<(), String> {
    let (layout, node) = (engine.layout().clone(), node.clone());
    let written = tokio::task::spawn_blocking(move || records::write(&layout, &node, &record)).await;
    written.map_err(|e| e.to_string())?.map_err(|e| format!("{e}: {}", e.source))
}

/// Why settings are not set.
#[derive(Debug, PartialEq, Eq)]
enum Unset {
    /// The broker says no: its own words.
    Refused(String),
    /// Somebody else has set them: a line each, and the names of those set for this broker and for all.
    Others { lines: Vec<String>, on_it: Vec<String>, on_all: Vec<String> },
    /// It could not be asked.
    Failed(String),
}

impl Unset {
    fn of(e: &ClientError) -> Self {
        match e {
            ClientError::Server { answer, .. } => Unset::Refused(answer.clone()),
            other => Unset::Failed(other.in_one_line()),
        }
    }

    fn words(self) -> String {
        match self {
            Unset::Refused(why) | Unset::Failed(why) => why,
            Unset::Others { lines, .. } => lines.join("; "),
        }
    }

    fn failed(self, node: &NodeName, broker: Broker) -> Failed {
        match self {
            Unset::Refused(answer) => Failed {
                exit: 3,
                message: format!("{node} refuses its new settings; nothing was changed"),
                causes: vec![answer],
                hint: Some(
                    "mend the file, then reload; with a value that a broker refuses it would not start either".into(),
                ),
            },
            Unset::Others { lines, on_it, on_all } => {
                let command = |entity: &str, keys: &[String]| {
                    format!(
                        "`kafka-configs --bootstrap-server {} --entity-type brokers {entity} --alter --delete-config {}`",
                        broker.address,
                        keys.join(",")
                    )
                };
                let mut commands = Vec::new();
                if !on_it.is_empty() {
                    commands.push(command(&format!("--entity-name {}", broker.id), &on_it));
                }
                if !on_all.is_empty() {
                    commands.push(command("--entity-default", &on_all));
                }
                Failed {
                    exit: 8,
                    message: format!(
                        "{node} has settings that somebody else gave it while it ran; nothing was changed"
                    ),
                    causes: lines,
                    hint: Some(format!("they beat its file: {} takes them back, then reload", commands.join(" and "))),
                }
            }
            Unset::Failed(why) => Failed {
                exit: 6,
                message: format!("{node} could not be asked whether it takes its new settings; nothing was changed"),
                causes: vec![why],
                hint: Some(format!("`cdc-supervisor status` shows {node}; reload again when it is ready")),
            },
        }
    }
}

/// What is to be set, with Kafka's own values where the file has none.
async fn resolved(
    engine: &Handle,
    node: &NodeName,
    broker: Broker,
    puts: &[Put],
) -> Result<BTreeMap<String, String>, Unset> {
    let record = read(engine, node).await.map_err(Unset::Failed)?;
    let mut keys = BTreeSet::new();
    for put in puts {
        keys.insert(put.key);
        if let Value::Default { of, .. } = put.value {
            keys.insert(of);
        }
    }
    let asked = broker_settings(broker.address, broker.id, Some(keys.into_iter().collect()), ASK).await;
    resolve(&asked.map_err(|e| Unset::of(&e))?, puts, &record)
}

fn resolve(told: &Settings, puts: &[Put], record: &DynamicRecord) -> Result<BTreeMap<String, String>, Unset> {
    let (mut settings, mut lines) = (BTreeMap::new(), Vec::new());
    let (mut on_it, mut on_all) = (Vec::new(), Vec::new());
    for put in puts {
        let key = put.key;
        let Some(now) = told.get(key) else { return Err(Unset::Refused(format!("it has no setting {key}"))) };
        let value = match &put.value {
            Value::Value(value) => value.clone(),
            Value::Default { of, times } => own_value(told, of, *times)?,
        };
        let on_this = now.dynamic.as_ref().filter(|v| !record.is_ours(key, v));
        match (on_this, &now.cluster_wide) {
            // It has what the file wants, and from somebody else: theirs to take back.
            (Some(theirs), _) if same(theirs, &value) => continue,
            // All of them have what the file wants. A value of ours beats it until the next start, so it is set anew.
            (None, Some(theirs)) if same(theirs, &value) => {
                if now.dynamic.is_none() {
                    continue;
                }
            }
            _ if put.pinned && (on_this.is_some() || now.cluster_wide.is_some()) => continue,
            (Some(theirs), _) => {
                lines.push(format!("{key} = {theirs} was set for this broker, the file wants {value}"));
                on_it.push(key.to_owned());
            }
            // Ours would beat it, but only until the next start.
            (None, Some(theirs)) => {
                lines.push(format!("{key} = {theirs} was set for all brokers, the file wants {value}"));
                on_all.push(key.to_owned());
            }
            (None, None) => {}
        }
        settings.insert(key.to_owned(), value);
    }
    if lines.is_empty() { Ok(settings) } else { Err(Unset::Others { lines, on_it, on_all }) }
}

/// Kafka's own value of a setting, in the unit in which it is set.
fn own_value(told: &Settings, of: &str, times: i64) -> Result<String, Unset> {
    let unknown = || Unset::Failed(format!("the broker does not tell its own value of {of}"));
    let own = told.get(of).and_then(|s| s.default.clone()).ok_or_else(unknown)?;
    if times == 1 {
        return Ok(own);
    }
    let number: i64 = own.trim().parse().map_err(|_| unknown())?;
    Ok(number.saturating_mul(times).to_string())
}

/// Waits until the broker has read what it keeps, and works by it.
async fn until_in_force(broker: Broker, settings: &BTreeMap<String, String>) -> Result<(), String> {
    let began = Instant::now();
    let keys: Vec<&str> = settings.keys().map(String::as_str).collect();
    loop {
        let why = match broker_settings(broker.address, broker.id, Some(keys.clone()), ASK).await {
            Ok(told) => match not_in_force(&told, settings) {
                None => return Ok(()),
                Some(why) => why,
            },
            Err(e) => e.in_one_line(),
        };
        if began.elapsed() >= TAKEN_MAX {
            return Err(format!("it accepted its new settings and does not work by them: {why}"));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn not_in_force(told: &Settings, settings: &BTreeMap<String, String>) -> Option<String> {
    settings.iter().find_map(|(key, wanted)| {
        let now = told.get(key)?;
        let kept = now.dynamic.as_deref() == Some(wanted);
        let force = now.value.as_deref().unwrap_or("not told");
        (!kept || !same(force, wanted)).then(|| format!("{key} is {force}, not {wanted}"))
    })
}

/// Whether Kafka means the same by both: it tells a value as it has read it.
fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.split(',').map(|part| part.trim().to_lowercase()).collect::<Vec<_>>();
    let number = |text: &str| text.trim().parse::<f64>().ok();
    plain(one) == plain(other) || number(one).zip(number(other)).is_some_and(|(a, b)| a.to_bits() == b.to_bits())
}

/// Settings that exist only while a broker runs (`DynamicConfig.Broker`): they are in no file and beat none.
pub(super) const IN_NO_FILE: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// What reloads have set of these brokers. Blocks on a small file each.
pub fn records(engine: &Handle, brokers: impl Iterator<Item = u32>) -> BTreeMap<u32, DynamicRecord> {
    let record = |id: u32| records::read(engine.layout(), &NodeName::broker(id), engine.journal()).ok();
    // Of one that cannot be read nothing is known to be ours.
    brokers.filter_map(|id| Some((id, record(id)?))).collect()
}

/// What somebody else has set of the brokers that run: a line for each setting that beats a file. An error: one could not be asked.
pub async fn set_by_others(engine: &Handle, recipes: &[Recipe]) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for (node, broker) in recipes.iter().filter_map(|r| Some((&r.node, broker(r)?))) {
        if !seen(engine, node).is_some_and(|n| n.serves) {
            continue;
        }
        let record = read(engine, node).await?;
        let told = broker_settings(broker.address, broker.id, None, ASK).await.map_err(|e| e.in_one_line())?;
        lines.extend(others(&told, &record).into_iter().map(|line| format!("{node}: {line}")));
    }
    Ok(lines)
}

fn others(told: &Settings, record: &DynamicRecord) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, now) in told.iter().filter(|(key, _)| !IN_NO_FILE.contains(&key.as_str())) {
        match (&now.dynamic, &now.cluster_wide) {
            (Some(value), _) if !record.is_ours(key, value) => {
                lines.push(format!("{key} = {value} was set for this broker"));
            }
            (None, Some(value)) => lines.push(format!("{key} = {value} was set for all brokers")),
            (Some(_) | None, _) => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rows: &[(&str, BrokerSetting)]) -> Settings {
        rows.iter().map(|(key, setting)| ((*key).to_owned(), setting.clone())).collect()
    }

    fn put(key: &'static str, value: &str) -> Put {
        Put { key, value: Value::Value(value.into()), pinned: false }
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn ours(key: &str, value: &str) -> DynamicRecord {
        let mut record = DynamicRecord::default();
        record.settle(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
        record
    }

    #[test]
    fn a_setting_that_left_the_file_gets_kafkas_own_value_in_its_unit() {
        let hours = BrokerSetting { value: text("72"), default: text("168"), ..BrokerSetting::default() };
        let all = told(&[("log.retention.hours", hours), ("log.retention.ms", BrokerSetting::default())]);
        let value = Value::Default { of: "log.retention.hours", times: 3_600_000 };
        let puts = [Put { key: "log.retention.ms", value, pinned: false }];
        let settings = resolve(&all, &puts, &DynamicRecord::default()).unwrap();
        assert_eq!(settings, BTreeMap::from([("log.retention.ms".to_owned(), "604800000".to_owned())]));
        let none = told(&[("log.retention.ms", BrokerSetting::default())]);
        assert!(matches!(resolve(&none, &puts, &DynamicRecord::default()), Err(Unset::Failed(_))));
    }

    #[test]
    fn a_value_of_somebody_else_is_never_written_over_and_is_told_with_the_command_that_takes_it_back() {
        let theirs = BrokerSetting { value: text("9"), dynamic: text("9"), ..BrokerSetting::default() };
        let all = told(&[("max.connections", theirs.clone())]);
        let unset = resolve(&all, &[put("max.connections", "7")], &ours("max.connections", "5")).unwrap_err();
        let failed = unset.failed(&NodeName::broker(2), Broker { id: 2, address: "127.0.0.1:29093".parse().unwrap() });
        assert_eq!(failed.exit, 8);
        assert_eq!(failed.causes, ["max.connections = 9 was set for this broker, the file wants 7"]);
        let hint = failed.hint.unwrap();
        assert!(hint.contains("--entity-name 2 --alter --delete-config max.connections`"), "{hint}");
        // ours: it is set anew. Theirs with the value wanted: it is left to them
        assert!(resolve(&all, &[put("max.connections", "7")], &ours("max.connections", "9")).is_ok());
        assert_eq!(resolve(&all, &[put("max.connections", "9")], &DynamicRecord::default()), Ok(BTreeMap::new()));
        // one that is only taken along stays theirs
        let pinned = Put { pinned: true, ..put("max.connections", "7") };
        assert_eq!(resolve(&all, &[pinned], &DynamicRecord::default()), Ok(BTreeMap::new()));
        let for_all = BrokerSetting { dynamic: None, cluster_wide: text("9"), ..theirs };
        let all = told(&[("max.connections", for_all.clone())]);
        let unset = resolve(&all, &[put("max.connections", "7")], &DynamicRecord::default());
        assert!(matches!(unset, Err(Unset::Others { on_all, .. }) if on_all == ["max.connections"]));
        // for all of them, and what the file wants: nothing to do, unless a value of ours is in its way
        let wanted = [put("max.connections", "9")];
        assert_eq!(resolve(&all, &wanted, &DynamicRecord::default()), Ok(BTreeMap::new()));
        let both = told(&[("max.connections", BrokerSetting { dynamic: text("5"), ..for_all })]);
        let anew = BTreeMap::from([("max.connections".to_owned(), "9".to_owned())]);
        assert_eq!(resolve(&both, &wanted, &ours("max.connections", "5")), Ok(anew));
    }

    #[test]
    fn in_force_means_kept_and_worked_by() {
        let wanted = BTreeMap::from([("num.io.threads".to_owned(), "6".to_owned())]);
        let at = |value: &str, dynamic: &str| {
            let setting = BrokerSetting { value: text(value), dynamic: text(dynamic), ..BrokerSetting::default() };
            not_in_force(&told(&[("num.io.threads", setting)]), &wanted)
        };
        assert_eq!(at("6", "6"), None);
        assert_eq!(at("4", "6"), Some("num.io.threads is 4, not 6".into()));
        assert!(at("6", "5").is_some());
        assert!(same("TRUE", "true") && same("0.50", "0.5") && same("compact, delete", "compact,delete"));
        assert!(!same("1", "2") && !same("", "0"));
    }

    #[test]
    fn only_what_beats_a_file_and_is_not_ours_is_told() {
        let set = |dynamic: Option<&str>, for_all: Option<&str>| BrokerSetting {
            dynamic: dynamic.map(str::to_owned),
            cluster_wide: for_all.map(str::to_owned),
            ..BrokerSetting::default()
        };
        let all = told(&[
            ("background.threads", set(Some("8"), None)),
            ("follower.replication.throttled.rate", set(Some("1"), None)),
            ("log.retention.ms", set(None, Some("5"))),
            ("message.max.bytes", set(Some("9"), Some("8"))),
            ("num.io.threads", set(None, None)),
        ]);
        let found = others(&all, &ours("background.threads", "8"));
        let expected =
            ["log.retention.ms = 5 was set for all brokers", "message.max.bytes = 9 was set for this broker"];
        assert_eq!(found, expected);
    }
}
