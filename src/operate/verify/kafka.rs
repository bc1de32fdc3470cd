//! Kafka from a client's point of view: leaders on every broker, and each listener alone: what it advertises is what the
//! configuration says, and a client that knows only it writes to and reads from each partition.

use super::Checks;
use crate::{
    clients::kafka::{Admin, Broker, Record, Topic, list, listener_metadata},
    operate::prove::KafkaTargets,
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// The owner's test topic; `prove` has made it.
const TOPIC: &str = "test-phase1";

/// Bound of one question to one listener.
const ASK: Duration = Duration::from_secs(5);

/// Bound of the write, and of the read.
const LIMIT: Duration = Duration::from_secs(15);

/// How long leaders may take to come home: the supervisor elects them within a second, Kafka itself looks every half minute
/// (`leader.imbalance.check.interval.seconds`, which we set to 30).
const HOME_WITHIN: Duration = Duration::from_secs(35);

/// Pause between looks while waiting for that.
const LOOK_EVERY: Duration = Duration::from_millis(500);

type Report<'a> = &'a mut (dyn FnMut(String) + Send);

pub(super) async fn look(targets: &KafkaTargets, checks: &mut Checks, report: Report<'_>) {
    spread(targets, HOME_WITHIN, checks, report).await;
    for listener in listeners(targets) {
        report(format!("asking the {} listener {} and writing through it", listener.name, listener.address.port()));
        through(&listener, LIMIT, checks).await;
    }
}

/// A listener, and what it has to advertise.
#[derive(Debug)]
struct Listener {
    name: &'static str,
    address: SocketAddr,
    advertised: Arc<Vec<Broker>>,
}

/// EXTERNAL ones first, by broker. A listener tells its clients of the listeners of its name, and of no other (KIP-103).
fn listeners(targets: &KafkaTargets) -> Vec<Listener> {
    let all = |name, addresses: &[SocketAddr], host: Option<&str>| {
        let broker = |(id, address): (&u32, &SocketAddr)| Broker {
            id: *id,
            host: host.map_or_else(|| address.ip().to_string(), str::to_owned),
            port: address.port(),
        };
        let mut advertised: Vec<Broker> = targets.brokers.iter().zip(addresses).map(broker).collect();
        advertised.sort();
        let advertised = Arc::new(advertised);
        let one = |address: &SocketAddr| Listener { name, address: *address, advertised: Arc::clone(&advertised) };
        addresses.iter().map(one).collect::<Vec<_>>()
    };
    let mut listeners = all("EXTERNAL", &targets.external, Some(&targets.advertised_host));
    // they bind and advertise the same address
    listeners.extend(all("INTERNAL", &targets.internal, None));
    listeners
}

/// What one listener advertises, and whether records get through it.
async fn through(listener: &Listener, limit: Duration, checks: &mut Checks) {
    let (name, port) = (listener.name, listener.address.port());
    let advertises = format!("{name} {port} advertises every broker where it is");
    let goes = format!("a client of port {port} alone writes to and reads from each partition");
    let view = match listener_metadata(listener.address, ASK).await {
        Ok(view) => view,
        Err(e) => {
            checks.wrong(advertises, places(&listener.advertised), e.in_one_line());
            return checks.wrong(goes, "the records back", "the listener does not answer");
        }
    };
    if view.brokers == *listener.advertised {
        checks.holds(advertises);
    } else {
        checks.wrong(advertises, places(&listener.advertised), places(&view.brokers));
    }
    let partitions: Vec<i32> = view.topic(TOPIC).map_or_else(Vec::new, numbers);
    let found = if partitions.is_empty() {
        Err(format!("it knows no partition of {TOPIC}"))
    } else {
        round_trips(listener.address, partitions, limit).await
    };
    match found {
        Ok(()) => checks.holds(goes),
        Err(found) => checks.wrong(goes, "the records back", found),
    }
}

fn numbers(topic: &Topic) -> Vec<i32> {
    topic.partitions.iter().filter_map(|p| i32::try_from(p.id).ok()).collect()
}

/// `1 at localhost:9092, 2 at localhost:9093`.
fn places(brokers: &[Broker]) -> String {
    let each: Vec<String> = brokers.iter().map(|b| format!("{} at {}:{}", b.id, b.host, b.port)).collect();
    if each.is_empty() { "no broker".into() } else { each.join(", ") }
}

/// The client learns from that listener whom to ask: what the brokers advertise is followed, as by any client. Each partition, so
/// that the leader of one of them is each broker's turn; all at once, so that a broker that cannot be reached is waited for once.
async fn round_trips(address: SocketAddr, partitions: Vec<i32>, limit: Duration) -> Result<(), String> {
    let client = Arc::new(Admin::new(&[address]).map_err(|e| e.in_one_line())?);
    let mut trips = JoinSet::new();
    for partition in partitions {
        let client = Arc::clone(&client);
        trips.spawn(async move {
            let what = format!("cdc-supervisor verify {} {:032x}", address.port(), rand::random::<u128>());
            round_trip(&client, partition, what.into_bytes(), limit).await
        });
    }
    let mut faults = BTreeSet::new();
    while let Some(trip) = trips.join_next().await {
        match trip {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => drop(faults.insert(fault)),
            Err(e) => drop(faults.insert(format!("a record's way was not followed to its end: {e}"))),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.into_iter().collect::<Vec<_>>().join("; ")) }
}

async fn round_trip(client: &Admin, partition: i32, payload: Vec<u8>, limit: Duration) -> Result<(), String> {
    let written = client.produce(TOPIC, Some(partition), &payload, limit).await.map_err(|e| e.in_one_line())?;
    let read = client.consume_from(TOPIC, &[written], 1, limit).await.map_err(|e| e.in_one_line())?;
    let (partition, offset) = written;
    match read.first() {
        Some(record) if *record == (Record { partition, offset, payload }) => Ok(()),
        Some(_) => Err(format!("another record at {TOPIC}-{partition}, offset {offset}")),
        None => Err(format!("nothing at {TOPIC}-{partition}, offset {offset}, within {} s", limit.as_secs())),
    }
}

/// Leaders of the test topic lie on as many brokers as they can. After a restart they come home; who has switched that off, or
/// has all of them on one broker, has a cluster that one death stops. Where nobody brings them home, only an election that is under
/// way, or an answer, is waited for.
async fn spread(targets: &KafkaTargets, within: Duration, checks: &mut Checks, report: Report<'_>) {
    let mut brokers = targets.brokers.clone();
    brokers.sort_unstable();
    let until = Instant::now() + within;
    let mut told = false;
    let found = loop {
        let (found, may_change) = match topic_at(&targets.internal).await {
            Ok(topic) => match crowded(&topic, &brokers) {
                None => {
                    let on = on(&topic, &brokers);
                    return checks.holds(format!("leaders of {TOPIC} on {on}"));
                }
                Some(found) => (found, targets.brought_home || topic.partitions.iter().any(|p| p.leader.is_none())),
            },
            Err(why) => (why, true),
        };
        if !may_change || Instant::now() >= until {
            break found;
        }
        if !std::mem::replace(&mut told, true) {
            report(format!("waiting for leaders to come home: {found}"));
        }
        sleep(LOOK_EVERY).await;
    };
    let when = if targets.brought_home {
        format!(", at the latest {} s after a restart", within.as_secs())
    } else {
        "; after a restart nobody gives them their partitions back: auto.leader.rebalance.enable is false".to_owned()
    };
    let expected = format!("brokers {} lead{when}", list(&brokers));
    checks.wrong(format!("leaders of {TOPIC} on different brokers"), expected, found);
}

/// The test topic, as the first of these listeners that knows it tells.
async fn topic_at(internal: &[SocketAddr]) -> Result<Topic, String> {
    let mut why = "no listener is configured".to_owned();
    for address in internal {
        match listener_metadata(*address, ASK).await {
            Ok(view) => match view.topic(TOPIC) {
                Some(topic) if !topic.partitions.is_empty() => return Ok(topic.clone()),
                Some(_) | None => why = format!("port {} does not know {TOPIC}", address.port()),
            },
            Err(e) => why = e.in_one_line(),
        }
    }
    Err(why)
}

fn leaders(topic: &Topic) -> Vec<u32> {
    let set: BTreeSet<u32> = topic.partitions.iter().filter_map(|p| p.leader).collect();
    set.into_iter().collect()
}

/// `brokers 1, 2 and 3`, or how many where there are fewer partitions.
fn on(topic: &Topic, brokers: &[u32]) -> String {
    match brokers {
        [one] => format!("broker {one}"),
        all if all.len() <= topic.partitions.len() => format!("brokers {}", list(all)),
        _ => format!("brokers {}", list(&leaders(topic))),
    }
}

/// Who leads, when that are fewer brokers than it could be.
fn crowded(topic: &Topic, brokers: &[u32]) -> Option<String> {
    let leaders = leaders(topic);
    if leaders.len() >= brokers.len().min(topic.partitions.len()) {
        return None;
    }
    let preferred: BTreeSet<u32> = topic.partitions.iter().filter_map(|p| p.replicas.first().copied()).collect();
    let preferred: Vec<u32> = preferred.into_iter().collect();
    let who = match leaders.as_slice() {
        [] => "nobody leads".to_owned(),
        [one] => format!("broker {one} leads alone"),
        some => format!("brokers {} lead", list(some)),
    };
    Some(if preferred.len() > leaders.len() {
        format!("{who}; preferred are {}", list(&preferred))
    } else {
        format!("{who}, as its replicas are assigned")
    })
}

#[cfg(test)]
mod tests;
