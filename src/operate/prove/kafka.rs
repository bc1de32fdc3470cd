//! The facts about Kafka: complete broker lists, every replica in sync, the test topic as configured, records go through.

use super::{Findings, KafkaTargets};
use crate::clients::{
    ClientError,
    kafka::{Admin, ClusterView, Record, Topic, list, listener_metadata},
};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};
use tokio::time::Instant;

/// The owner's test topic (mission).
const TOPIC: &str = "test-phase1";
/// Its partitions.
const PARTITIONS: u32 = 3;
/// Bound of one question to one listener.
const ASK: Duration = Duration::from_secs(5);
/// Bound of making the topic, and of each record's acknowledgement. A first record after a start waits for its producer id.
const WRITE: Duration = Duration::from_secs(15);
/// How long replicas may take to come into sync: a restarted broker needs seconds to catch up.
const IN_SYNC_WITHIN: Duration = Duration::from_secs(30);
/// How long a listener may take to hear of a broker that has registered.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
/// Pause between looks while waiting for that.
const LOOK_EVERY: Duration = Duration::from_millis(250);

type Report<'a> = &'a mut (dyn FnMut(String) + Send);

pub(super) async fn prove(targets: &KafkaTargets, findings: &mut Findings, report: Report<'_>) {
    let brokers = sorted(&targets.brokers);
    report(format!("asking every listener of brokers {}", list(&brokers)));
    let before = findings.faults.len();
    broker_lists(targets, &brokers, findings).await;

    let admin = match Admin::new(&targets.internal) {
        Ok(admin) => admin,
        Err(e) => return findings.fault("a Kafka client", "one", e.in_one_line()),
    };
    let wanted = Wanted::of(targets);
    let created = match make_topic(&admin, &wanted, report).await {
        Ok(created) => created,
        // without the topic there is nothing more to look at
        Err(e) => return findings.fault(format!("topic {TOPIC}"), "to be there", e.in_one_line()),
    };
    let topic = match wait_in_sync(&targets.internal, report).await {
        Ok(topic) => {
            let count = brokers.len();
            findings.proven_unless_faults_since(before, || {
                format!("{count} broker{}, every replica in sync", if count == 1 { "" } else { "s" })
            });
            topic
        }
        Err((last, topic)) => {
            findings.fault("replicas", "all in sync within 30 s", last);
            topic
        }
    };
    let before = findings.faults.len();
    if let Some(topic) = &topic {
        check_shape(topic, &wanted, findings);
        check_leaders(topic, &brokers, created, findings, report);
    }
    check_config(&admin, &wanted, findings).await;
    findings.proven_unless_faults_since(before, || {
        format!("{TOPIC} on {} brokers, min.insync.replicas={}", wanted.replicas, wanted.min_isr)
    });

    report(format!("writing to and reading from each partition of {TOPIC}"));
    let before = findings.faults.len();
    round_trips(&admin, findings).await;
    findings.proven_unless_faults_since(before, || "a record through each partition".into());
}

/// The test topic as it should be on this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    replicas: u32,
    min_isr: u32,
}

impl Wanted {
    fn of(targets: &KafkaTargets) -> Self {
        let brokers = u32::try_from(targets.brokers.len()).unwrap_or(u32::MAX).max(1);
        let replicas = targets.rf.clamp(1, brokers);
        Self { replicas, min_isr: targets.min_isr.clamp(1, replicas) }
    }
}

fn sorted(ids: &[u32]) -> Vec<u32> {
    let set: BTreeSet<u32> = ids.iter().copied().collect();
    set.into_iter().collect()
}

/// Every EXTERNAL listener lists every broker. One that has just registered is heard of by the others a moment later.
async fn broker_lists(targets: &KafkaTargets, brokers: &[u32], findings: &mut Findings) {
    let until = Instant::now() + LISTED_WITHIN;
    for address in &targets.external {
        let fact = format!("brokers listed on EXTERNAL {}", address.port());
        loop {
            let found = match listener_metadata(*address, ASK).await {
                Ok(view) if view.broker_ids() == brokers => break,
                Ok(view) => list(&view.broker_ids()),
                Err(e) => e.in_one_line(),
            };
            if Instant::now() >= until {
                findings.fault(fact, list(brokers), found);
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Makes the topic when it is missing; says whether it did.
async fn make_topic(admin: &Admin, wanted: &Wanted, report: Report<'_>) -> Result<bool, ClientError> {
    if admin.describe(ASK).await?.topic(TOPIC).is_some() {
        return Ok(false);
    }
    report(format!("making topic {TOPIC}"));
    let min_isr = wanted.min_isr.to_string();
    let config = [("min.insync.replicas", min_isr.as_str())];
    match admin.create_topic(TOPIC, PARTITIONS, wanted.replicas, &config, WRITE).await {
        Ok(()) => Ok(true),
        Err(ClientError::Server { code: Admin::TOPIC_EXISTS, .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Waits until every listener says that every replica is in sync. The test topic as last seen comes back either way.
async fn wait_in_sync(internal: &[SocketAddr], report: Report<'_>) -> Result<Option<Topic>, (String, Option<Topic>)> {
    let until = Instant::now() + IN_SYNC_WITHIN;
    let mut told = String::new();
    loop {
        let (trouble, topic) = look(internal).await;
        let Some(trouble) = trouble else { return Ok(topic) };
        if Instant::now() >= until {
            return Err((trouble, topic));
        }
        if trouble != told {
            report(format!("waiting for replicas: {trouble}"));
            told = trouble;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks every listener: each broker has its own copy of the cluster's state, and a stale one is a trouble too.
async fn look(internal: &[SocketAddr]) -> (Option<String>, Option<Topic>) {
    let mut troubles = BTreeSet::new();
    let mut topic = None;
    for address in internal {
        match listener_metadata(*address, ASK).await {
            Ok(view) => {
                troubles.extend(troubles_of(&view, *address));
                topic = view.topic(TOPIC).cloned().or(topic);
            }
            Err(e) => {
                troubles.insert(e.in_one_line());
            }
        }
    }
    (summary(&troubles), topic)
}

fn troubles_of(view: &ClusterView, address: SocketAddr) -> Vec<String> {
    let mut troubles = view.troubles();
    if view.topic(TOPIC).is_none_or(|t| t.partitions.is_empty()) {
        troubles.push(format!("port {} does not know {TOPIC} yet", address.port()));
    }
    troubles
}

/// `orders-1: broker 3 is not in sync, and 16 more`.
fn summary(troubles: &BTreeSet<String>) -> Option<String> {
    let first = troubles.first()?;
    Some(match troubles.len() {
        1 => first.clone(),
        n => format!("{first}, and {} more", n - 1),
    })
}

fn check_shape(topic: &Topic, wanted: &Wanted, findings: &mut Findings) {
    let partitions = topic.partitions.len();
    if partitions < PARTITIONS as usize {
        findings.fault(format!("partitions of {TOPIC}"), PARTITIONS.to_string(), partitions.to_string());
    }
    let fewest = topic.partitions.iter().map(|p| p.replicas.len()).min().unwrap_or(0);
    if fewest < wanted.replicas as usize {
        findings.fault(format!("replicas of {TOPIC}"), wanted.replicas.to_string(), fewest.to_string());
    }
}

/// A new topic's leaders lie on different brokers. Later they move with every restart and come back by themselves, so at the end
/// of `up` it is only told of an old topic; `verify` waits for them.
fn check_leaders(topic: &Topic, brokers: &[u32], created: bool, findings: &mut Findings, report: Report<'_>) {
    let leaders: BTreeSet<u32> = topic.partitions.iter().filter_map(|p| p.leader).collect();
    if leaders.len() >= brokers.len().min(PARTITIONS as usize) {
        return;
    }
    let leaders: Vec<u32> = leaders.into_iter().collect();
    if created {
        findings.fault(format!("brokers that lead {TOPIC}"), list(brokers), list(&leaders));
    } else {
        report(format!(
            "{TOPIC} is led by {} {} only; leaders move back by themselves",
            if leaders.len() == 1 { "broker" } else { "brokers" },
            list(&leaders)
        ));
    }
}

async fn check_config(admin: &Admin, wanted: &Wanted, findings: &mut Findings) {
    const KEY: &str = "min.insync.replicas";
    let (fact, expected) = (format!("{KEY} of {TOPIC}"), wanted.min_isr.to_string());
    match admin.topic_config(TOPIC, WRITE).await {
        Ok(config) if config.get(KEY) == Some(&expected) => {}
        Ok(config) => {
            let found = config.get(KEY).map_or("none", String::as_str).to_owned();
            findings.fault(fact, expected, found);
        }
        Err(e) => findings.fault(fact, expected, e.in_one_line()),
    }
}

/// Writes one record nobody has written before to each partition and reads it back from its place.
async fn round_trips(admin: &Admin, findings: &mut Findings) {
    let mut written = Vec::new();
    for partition in 0..PARTITIONS {
        let Ok(partition) = i32::try_from(partition) else { continue };
        let payload = format!("cdc-supervisor prove {partition} {:032x}", rand::random::<u128>()).into_bytes();
        match admin.produce(TOPIC, Some(partition), &payload, WRITE).await {
            Ok((partition, offset)) => written.push(Record { partition, offset, payload }),
            Err(e) => {
                findings.fault(format!("a record to {TOPIC}-{partition}"), "acknowledged by all", e.in_one_line());
            }
        }
    }
    for record in &written {
        let place = (record.partition, record.offset);
        let found = match admin.consume_from(TOPIC, &[place], 1, WRITE).await {
            Ok(read) => mismatch(record, read.first()).map(str::to_owned),
            Err(e) => Some(e.in_one_line()),
        };
        if let Some(found) = found {
            findings.fault(
                format!("the record at {TOPIC}-{} offset {}", record.partition, record.offset),
                "the bytes that were written",
                found,
            );
        }
    }
}

/// How what was read at a record's place differs from it.
fn mismatch(written: &Record, read: Option<&Record>) -> Option<&'static str> {
    match read {
        Some(read) if read == written => None,
        Some(read) if (read.partition, read.offset) == (written.partition, written.offset) => Some("other bytes"),
        Some(_) => Some("a record of another place"),
        None => Some("nothing within 15 s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kafka::{Broker, Partition};

    fn targets(brokers: &[u32]) -> KafkaTargets {
        KafkaTargets {
            internal: vec![],
            external: vec![],
            advertised_host: "localhost".into(),
            brokers: brokers.to_vec(),
            brought_home: true,
            min_isr: 2,
            rf: 3,
            zookeeper: None,
        }
    }

    fn topic(leaders: &[u32]) -> Topic {
        let partitions = leaders
            .iter()
            .zip(0..)
            .map(|(&leader, id)| Partition { id, leader: Some(leader), replicas: vec![1, 2, 3], isr: vec![1, 2, 3] })
            .collect();
        Topic { name: TOPIC.into(), error: None, partitions }
    }

    #[test]
    fn fewer_brokers_mean_fewer_replicas_and_a_smaller_min_isr() {
        assert_eq!(Wanted::of(&targets(&[1, 2, 3])), Wanted { replicas: 3, min_isr: 2 });
        assert_eq!(Wanted::of(&targets(&[1, 2, 3, 4])), Wanted { replicas: 3, min_isr: 2 });
        assert_eq!(Wanted::of(&targets(&[7])), Wanted { replicas: 1, min_isr: 1 });
    }

    #[test]
    fn crowded_leaders_fail_a_new_topic_and_are_only_told_of_an_old_one() {
        let mut told = Vec::new();
        let mut check = |leaders: &[u32], created| {
            let mut findings = Findings::default();
            check_leaders(&topic(leaders), &[1, 2, 3], created, &mut findings, &mut |line| told.push(line));
            findings.faults.len()
        };
        assert_eq!(check(&[1, 2, 3], true), 0);
        assert_eq!(check(&[1, 1, 3], true), 1);
        assert_eq!(check(&[1, 1, 3], false), 0);
        assert_eq!(told, ["test-phase1 is led by brokers 1 and 3 only; leaders move back by themselves"]);
    }

    #[test]
    fn a_topic_with_too_few_replicas_is_a_fault() {
        let mut findings = Findings::default();
        let mut small = topic(&[1, 2, 3]);
        small.partitions[1].replicas.pop();
        check_shape(&small, &Wanted { replicas: 3, min_isr: 2 }, &mut findings);
        assert_eq!(findings.faults[0].to_string(), "replicas of test-phase1: expected 3, found 2");
    }

    #[test]
    fn a_listener_that_does_not_know_the_topic_yet_is_a_trouble() {
        let view = ClusterView { brokers: vec![Broker { id: 1, host: "h".into(), port: 1 }], ..ClusterView::default() };
        let address = SocketAddr::from(([127, 0, 0, 1], 29092));
        assert_eq!(troubles_of(&view, address), ["port 29092 does not know test-phase1 yet"]);
    }

    #[test]
    fn troubles_are_summed_up_by_the_first() {
        let set = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(summary(&set(&[])), None);
        assert_eq!(summary(&set(&["a"])).as_deref(), Some("a"));
        assert_eq!(summary(&set(&["a", "b", "c"])).as_deref(), Some("a, and 2 more"));
    }

    #[test]
    fn a_record_must_come_back_from_its_place_with_its_bytes() {
        let record = |offset, payload: &[u8]| Record { partition: 0, offset, payload: payload.to_vec() };
        assert_eq!(mismatch(&record(5, b"a"), Some(&record(5, b"a"))), None);
        assert_eq!(mismatch(&record(5, b"a"), Some(&record(5, b"b"))), Some("other bytes"));
        assert_eq!(mismatch(&record(5, b"a"), Some(&record(6, b"a"))), Some("a record of another place"));
        assert_eq!(mismatch(&record(5, b"a"), None), Some("nothing within 15 s"));
    }
}
