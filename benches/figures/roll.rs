//! What a rolling restart costs whoever writes: `roll` of three real brokers while numbered records are written at a set rate, each
//! looked for afterwards.

use crate::{
    drill::Sum,
    ours::Ours,
    report::{Figure, Measured, median, ms},
};
use cdc_supervisor::clients::kafka::Admin;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const PARTITIONS: u8 = 3;
const LIMIT: Duration = Duration::from_secs(60);
/// How often a handful of records is given to the producer.
const TICK: Duration = Duration::from_millis(10);
/// Written before the roll begins: connections are made, the producer has its id.
const BEFORE: Duration = Duration::from_secs(2);

/// What the longest time without an acknowledgement is to be, as a median.
const LONGEST_GAP: Duration = Duration::from_secs(1);

/// What one roll has shown.
pub struct Roll {
    took: Duration,
    gap: Duration,
    failed: usize,
}

/// What the producer was told.
#[derive(Default)]
struct Told {
    /// When a partition acknowledged last; by partition.
    last: [Option<Instant>; PARTITIONS as usize],
    gap: Duration,
    acknowledged: BTreeSet<u64>,
    failed: Vec<String>,
}

/// The rolls at one rate, all of one stack.
pub fn made(ours: &Ours, rate: u32, rounds: usize, sum: &mut Sum) -> Measured<Vec<Roll>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let listeners: Vec<SocketAddr> = [29092, 29093, 29094].map(|p| SocketAddr::from((Ipv4Addr::LOCALHOST, p))).to_vec();
    let admin = Admin::new(&listeners).map_err(|e| e.to_string())?;
    let mut rolls = Vec::new();
    for round in 0..rounds {
        let settings = [("min.insync.replicas", "2")];
        // a name of its own: a topic that was deleted is there for a while
        let topic = format!("bench-roll-{rate}-{round}");
        runtime
            .block_on(admin.create_topic(&topic, PARTITIONS.into(), 3, &settings, LIMIT))
            .map_err(|e| e.to_string())?;
        let roll = one(ours, &runtime, &admin, (&topic, rate), sum);
        runtime.block_on(admin.delete_topic(&topic, LIMIT)).map_err(|e| e.to_string())?;
        let roll = roll?;
        eprintln!("roll {rate}/s round {round}: {} gap {}, {} failed", ms(roll.took), ms(roll.gap), roll.failed);
        sum.rounds += 1;
        rolls.push(roll);
    }
    Ok(rolls)
}

fn one(
    ours: &Ours,
    runtime: &tokio::runtime::Runtime,
    admin: &Admin,
    (topic, rate): (&str, u32),
    sum: &mut Sum,
) -> Measured<Roll> {
    let stop = Arc::new(AtomicBool::new(false));
    let writing = runtime.spawn(write(topic.to_owned(), rate, Arc::clone(&stop)));
    std::thread::sleep(BEFORE);
    let began = Instant::now();
    let rolled = ours.run(&["roll"]);
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let told = runtime.block_on(writing).map_err(|e| e.to_string())??;
    let wanted = told.acknowledged.len();
    let missing = runtime.block_on(missing(admin, topic, told.acknowledged))?;
    sum.acknowledged += wanted as u64;
    sum.lost += missing as u64;
    rolled?;
    if let Some(first) = told.failed.first() {
        eprintln!("{} records were not taken, the first: {first}", told.failed.len());
    }
    Ok(Roll { took, gap: told.gap, failed: told.failed.len() })
}

/// Writes numbered records, partition by partition in turn, until it is told to stop and every answer is there.
async fn write(topic: String, rate: u32, stop: Arc<AtomicBool>) -> Measured<Told> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:29092,127.0.0.1:29093,127.0.0.1:29094");
    config
        // not "v4": with it glibc resolves not even 127.0.0.1 in a network that has only loopback
        .set("broker.address.family", "any")
        // as Kafka's own clients and our drills have it. librdkafka's 10 s are no figure of a roll: a client that asked a broker while it
        // was away waits for them when that broker leads again (seen: "Delaying next reconnect by 5048ms", gaps of 4 to 9 s)
        .set("reconnect.backoff.max.ms", "1000")
        .set("acks", "all")
        .set("enable.idempotence", "true");
    let producer: FutureProducer = config.create().map_err(|e| e.to_string())?;
    let told = Arc::new(Mutex::new(Told::default()));
    let mut under_way = tokio::task::JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    let began = Instant::now();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while number < due {
            let (producer, topic, told) = (producer.clone(), topic.clone(), Arc::clone(&told));
            under_way.spawn(async move { send(&producer, &topic, number, &told).await });
            number += 1;
        }
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut told))
}

async fn send(producer: &FutureProducer, topic: &str, number: u64, told: &Mutex<Told>) {
    let partition = (number % u64::from(PARTITIONS)) as i32;
    let payload = number.to_string();
    let record = FutureRecord::<(), str>::to(topic).partition(partition).payload(&payload);
    let answer = producer.send(record, LIMIT).await;
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Ok(_) => {
            let now = Instant::now();
            if let Some(last) = told.last[partition as usize].replace(now) {
                told.gap = told.gap.max(now - last);
            }
            told.acknowledged.insert(number);
        }
        Err((e, _)) => told.failed.push(format!("record {number}: {e}")),
    }
}

/// How many of the acknowledged records are not in the topic.
async fn missing(admin: &Admin, topic: &str, mut wanted: BTreeSet<u64>) -> Measured<usize> {
    let all: Vec<i32> = (0..PARTITIONS.into()).collect();
    let ends = admin.end_offsets(topic, &all, LIMIT).await.map_err(|e| e.to_string())?;
    let count = ends.iter().sum::<i64>();
    let from: Vec<(i32, i64)> = all.iter().map(|p| (*p, 0)).collect();
    let there = admin.consume_from(topic, &from, usize::try_from(count).unwrap_or(0), LIMIT).await;
    for record in there.map_err(|e| e.to_string())? {
        if let Some(number) = std::str::from_utf8(&record.payload).ok().and_then(|n| n.parse().ok()) {
            wanted.remove(&number);
        }
    }
    Ok(wanted.len())
}

/// The row of one rate.
pub fn figure(rate: u32, rolls: &[Roll]) -> Figure {
    let what = format!("roll of three brokers, {rate} records/s");
    if rolls.is_empty() {
        return Figure::failed(&what, "no round came so far");
    }
    let took: Vec<Duration> = rolls.iter().map(|r| r.took).collect();
    let gaps: Vec<Duration> = rolls.iter().map(|r| r.gap).collect();
    let worst = |all: &[Duration]| all.iter().max().copied().unwrap_or_default();
    let failed: usize = rolls.iter().map(|r| r.failed).sum();
    let longer = gaps.iter().filter(|gap| **gap > LONGEST_GAP).count();
    let reached = median(&took) <= Duration::from_secs(20) && failed == 0 && median(&gaps) <= LONGEST_GAP;
    Figure {
        what,
        ours: format!(
            "{}, worst {}; longest ack gap {}, worst {}; {failed} failed",
            ms(median(&took)),
            ms(worst(&took)),
            ms(median(&gaps)),
            ms(worst(&gaps))
        ),
        reach: "medians <= 20 s and gap <= 1 s, 0 failed".into(),
        reached: Some(reached),
        rounds: rolls.len(),
        notes: vec![format!("{longer} of {} rolls had a gap above 1 s", rolls.len())],
        ..Figure::default()
    }
}
