//! What `durability = "power-cut"` costs: records that three real brokers acknowledge, with every record synced and without.
//!
//! Both in one cluster and in turns: one topic has the brokers' setting, the other takes it back with its own `flush.messages`.

use crate::{
    Bench,
    ours::Ours,
    report::{Figure, Measured},
};
use cdc_supervisor::clients::kafka::Admin;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(60);
/// Topic and its own setting.
const SYNCED: (&str, &[(&str, &str)]) = ("synced", &[]);
const CACHED: (&str, &[(&str, &str)]) = ("cached", &[("flush.messages", "9223372036854775807")]);
const BYTES: usize = 500;

/// One row with many records under way, one with a record at a time.
pub fn figures(bench: &Bench, store: &str) -> Measured<Vec<Figure>> {
    let toml =
        format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\ndurability = \"power-cut\"\n");
    let mut ours = Ours::new(&bench.programs, &toml)?;
    ours.start()?;
    ours.until("every node is ready", |s| Ours::all(s, "ready"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let internal: Vec<SocketAddr> =
            [29092, 29093, 29094].map(|p| SocketAddr::from((Ipv4Addr::LOCALHOST, p))).to_vec();
        let admin = Admin::new(&internal).map_err(|e| e.to_string())?;
        for (topic, config) in [SYNCED, CACHED] {
            admin.create_topic(topic, 3, 3, config, LIMIT).await.map_err(|e| e.to_string())?;
        }
        let many = row(bench, "64 records under way", 64, if bench.short { 1_000 } else { 20_000 }).await?;
        let single = row(bench, "one record at a time", 1, if bench.short { 50 } else { 500 }).await?;
        Ok(vec![many, single])
    })
}

async fn row(bench: &Bench, how: &str, under_way: usize, records: usize) -> Measured<Figure> {
    let rounds = bench.rounds(5, 1);
    let (mut synced, mut cached) = (Vec::new(), Vec::new());
    // the first records of a topic wait for its leaders
    for (topic, _) in [SYNCED, CACHED] {
        rate(topic, 1, 3).await?;
    }
    for _ in 0..rounds {
        synced.push(rate(SYNCED.0, under_way, records).await?);
        cached.push(rate(CACHED.0, under_way, records).await?);
    }
    let (ours, against) = (middle(&mut synced), middle(&mut cached));
    Ok(Figure {
        what: format!("acks=all, {BYTES} bytes, {how}: durability power-cut"),
        ours: format!("{ours:.0} records/s"),
        against: format!("page-cache {against:.0} records/s"),
        ratio: Some(ours / against),
        reach: "told".into(),
        reached: None,
        rounds,
        notes: vec![format!(
            "{records} records each, in turns, medians; slowest and fastest {:.0}-{:.0} synced, {:.0}-{:.0} not",
            synced[0],
            synced[synced.len() - 1],
            cached[0],
            cached[cached.len() - 1]
        )],
    })
}

/// Acknowledged records a second.
async fn rate(topic: &'static str, under_way: usize, records: usize) -> Measured<f64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:29092,127.0.0.1:29093,127.0.0.1:29094");
    config
        // not "v4": with it glibc resolves not even 127.0.0.1 in a network that has only loopback
        .set("broker.address.family", "any")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "1");
    let producer: FutureProducer = config.create().map_err(|e| e.to_string())?;
    let payload = "x".repeat(BYTES);
    // connections are made and the producer has its id
    send(&producer, topic, &payload).await?;
    let began = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..under_way {
        let (producer, payload) = (producer.clone(), payload.clone());
        let share = records / under_way + usize::from(writer < records % under_way);
        writers.spawn(async move {
            for _ in 0..share {
                send(&producer, topic, &payload).await?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done.map_err(|e| e.to_string())??;
    }
    Ok(records as f64 / began.elapsed().as_secs_f64())
}

async fn send(producer: &FutureProducer, topic: &str, payload: &str) -> Measured<()> {
    let record = FutureRecord::<(), str>::to(topic).payload(payload);
    producer.send(record, LIMIT).await.map(drop).map_err(|(e, _)| format!("{topic}: {e}"))
}

/// The one in the middle; sorts.
fn middle(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
