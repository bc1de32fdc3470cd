//! The part that runs in the guest: makes topics and a table, writes until the power is cut, and reads what is there after it.
//!
//! What was acknowledged is told over the console, which the host keeps as it comes: the guest's own files lose what was
//! not written back, and those that it shares with the host are cached in the guest, too.

use super::zstd;
use cdc_supervisor::clients::{kafka::Admin, zookeeper::Session};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Message,
    producer::{FutureProducer, FutureRecord},
};
use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const BROKERS: &str = "127.0.0.1:29092,127.0.0.1:29093,127.0.0.1:29094";
const ROOT: &str = "/var/lib/cdc-supervisor";
const LIMIT: Duration = Duration::from_secs(60);
/// How long it writes when the power is not cut.
const WRITING: Duration = Duration::from_secs(120);
/// Writers of each topic, with a record under way each; of rows.
const WRITERS: (usize, usize) = (8, 2);
/// Between two of one writer: the guest has one processor, which brokers, mysqld and the writers share.
const PAUSE: Duration = Duration::from_millis(100);
/// Synced before each acknowledgement, as `durability = "power-cut"` says for every topic.
pub const SYNCED: &str = "synced";
/// Its own `flush.messages` takes that back: as without the setting.
pub const CACHED: &str = "cached";
/// What brokers unpack.
const PACKED: &str = "packed";
/// The payload of records that are in no account.
const MARK: &str = "mark";

/// The letter of each kind of writer on the console.
pub const KINDS: [(char, &str); 3] = [('S', SYNCED), ('C', CACHED), ('M', "mysql")];

/// Not a test: `power.sh` calls it in the guest.
#[test]
#[ignore = "the guest's part of the tests of loss of power"]
fn in_the_guest() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let boot: u64 = std::env::var("CDC_POWER_BOOT").unwrap().parse().unwrap();
    match std::env::var("CDC_POWER_DO").unwrap().as_str() {
        "setup" => {
            runtime.block_on(setup());
            leave(&format!("zookeeper-cluster-{boot}"), &runtime.block_on(cluster()));
        }
        "check" => {
            leave(&format!("zookeeper-cluster-{boot}"), &runtime.block_on(cluster()));
            for (_, topic) in &KINDS[..2] {
                runtime.block_on(mark(topic));
                leave(&format!("have-{boot}-{topic}"), &numbers(topic));
            }
            leave(&format!("have-{boot}-mysql"), &runtime.block_on(rows()));
        }
        "write" => runtime.block_on(write(boot)),
        name @ ("drill-traces" | "drill-again-traces") => {
            leave(&format!("{name}-{boot}"), &runtime.block_on(traces()));
        }
        "after" => runtime.block_on(after()),
        other => panic!("{other}"),
    }
}

fn admin() -> Admin {
    let internal: Vec<SocketAddr> = [29092, 29093, 29094].map(|p| SocketAddr::from((Ipv4Addr::LOCALHOST, p))).to_vec();
    Admin::new(&internal).unwrap()
}

async fn setup() {
    let admin = admin();
    admin.create_topic(SYNCED, 3, 3, &[], LIMIT).await.unwrap();
    let by_the_kernel = [("flush.messages", "9223372036854775807")];
    admin.create_topic(CACHED, 3, 3, &by_the_kernel, LIMIT).await.unwrap();
    // As brokers see it, not as it was asked for.
    let flush = |config: std::collections::BTreeMap<String, String>| config["flush.messages"].clone();
    assert_eq!(flush(admin.topic_config(SYNCED, LIMIT).await.unwrap()), "1");
    assert_eq!(flush(admin.topic_config(CACHED, LIMIT).await.unwrap()), by_the_kernel[0].1);
    mysql().await.query_drop("CREATE TABLE trading.power (n BIGINT PRIMARY KEY)").await.unwrap();
}

/// What ZooKeeper itself says of the cluster, and the transaction that wrote it: were it made anew, that would be another one.
async fn cluster() -> [String; 2] {
    let mut session = Session::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 2181)), LIMIT).await.unwrap();
    let (json, stat) = session.get_data("/cluster/id").await.unwrap().expect("brokers have been here");
    session.close().await.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    [value["id"].as_str().unwrap().to_owned(), stat.czxid.to_string()]
}

async fn mysql() -> Conn {
    let password = fs::read_to_string(format!("{ROOT}/state/secrets/mysql-root")).unwrap();
    let options = OptsBuilder::default()
        .socket(Some(format!("{ROOT}/nodes/mysql/run/mysqld.sock")))
        .user(Some("root"))
        .db_name(Some("trading"))
        .pass(Some(password.trim_end()));
    Conn::new(options).await.unwrap()
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    // Not "v4": with it glibc resolves not even 127.0.0.1 where loopback is the only address, as in here.
    config.set("bootstrap.servers", BROKERS).set("broker.address.family", "any");
    config
}

/// Prints what librdkafka says, for whoever looks at a failure.
struct Told;

impl ClientContext for Told {
    fn log(&self, _: RDKafkaLogLevel, place: &str, message: &str) {
        eprintln!("{place}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("{error}: {reason}");
    }
}

fn producer() -> FutureProducer<Told> {
    client()
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("message.timeout.ms", "60000")
        .create_with_context(Told)
        .unwrap()
}

/// One record more for each partition. Its acknowledgement says that all before it can be read: after a start a leader's high
/// watermark may lie behind what it has, until its followers have asked for it.
async fn mark(topic: &str) {
    let producer = producer();
    for partition in 0..3 {
        let record = FutureRecord::<(), str>::to(topic).payload(MARK).partition(partition);
        producer.send(record, LIMIT).await.unwrap();
    }
}

/// Writes until it is killed with everything else.
async fn write(boot: u64) {
    let console = Arc::new(File::options().write(true).open("/dev/console").unwrap());
    let next = Arc::new(AtomicU64::new(boot * 1_000_000));
    let mut writers = tokio::task::JoinSet::new();
    let producer = producer();
    for (letter, topic) in &KINDS[..2] {
        for _ in 0..WRITERS.0 {
            let (console, next, producer) = (Arc::clone(&console), Arc::clone(&next), producer.clone());
            writers.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let payload = n.to_string();
                    let record = FutureRecord::<(), str>::to(topic).payload(&payload);
                    match producer.send(record, LIMIT).await {
                        Ok(_) => acknowledged(&console, *letter, n),
                        // written or not, it was not acknowledged
                        Err((e, _)) => eprintln!("{topic} {n}: {e}"),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }
    for _ in 0..WRITERS.1 {
        let (console, next) = (Arc::clone(&console), Arc::clone(&next));
        writers.spawn(async move {
            let mut conn = mysql().await;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                conn.query_drop(format!("INSERT INTO trading.power VALUES ({n})")).await.unwrap();
                acknowledged(&console, KINDS[2].0, n);
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    tokio::select! {
        ended = writers.join_next() => ended.unwrap().unwrap(),
        () = tokio::time::sleep(WRITING) => eprintln!("the power was not cut within {} s", WRITING.as_secs()),
    }
}

/// One write, so that lines of several writers do not mix.
fn acknowledged(console: &File, letter: char, n: u64) {
    let mut console = console;
    console.write_all(format!("@{letter}{n};\n").as_bytes()).unwrap();
}

/// Every number in a topic.
fn numbers(topic: &str) -> Vec<u64> {
    let consumer: BaseConsumer = client().set("group.id", "power").set("enable.auto.commit", "false").create().unwrap();
    let mut from = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..3 {
        let (low, high) = consumer.fetch_watermarks(topic, partition, LIMIT).unwrap();
        left += usize::try_from(high - low).unwrap();
        from.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&from).unwrap();
    let began = Instant::now();
    let mut numbers = Vec::new();
    while left > 0 {
        assert!(began.elapsed() < LIMIT, "{topic}: {left} records did not come, {} did", numbers.len());
        // an error is a connection that was lost and is made again
        let Some(Ok(message)) = consumer.poll(Duration::from_secs(1)) else { continue };
        left -= 1;
        match std::str::from_utf8(message.payload().unwrap_or_default()).unwrap() {
            MARK => {}
            number => numbers.push(number.parse().unwrap()),
        }
    }
    numbers
}

/// What there is of a drill: its topics, and its table.
async fn traces() -> Vec<String> {
    let view = admin().describe(LIMIT).await.unwrap();
    let topics =
        view.topics.into_iter().map(|topic| topic.name).filter(|name| name.starts_with("cdc-supervisor-drill"));
    let query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'cdc_supervisor'";
    let tables: Vec<String> = mysql().await.query(query).await.unwrap();
    topics.chain(tables).collect()
}

async fn rows() -> Vec<u64> {
    mysql().await.query("SELECT n FROM trading.power").await.unwrap()
}

/// A file for the host, written out to it.
fn leave(name: &str, lines: &[impl ToString]) {
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let mut file = File::create(format!("/run/host/seen/{name}")).unwrap();
    file.write_all((text.join("\n") + "\n").as_bytes()).unwrap();
    file.sync_all().unwrap();
}

/// Sorts more than fits in memory, and has brokers unpack records with a library that they take out of a jar at its first use.
async fn after() {
    let mut conn = mysql().await;
    conn.query_drop("SET SESSION sort_buffer_size = 32768, cte_max_recursion_depth = 100000").await.unwrap();
    let sorted: Vec<String> = conn
        .query(
            "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 20000) \
             SELECT RPAD(SHA2(n, 256), 200, 'x') AS p FROM t ORDER BY p",
        )
        .await
        .unwrap();
    assert!(sorted.is_sorted() && sorted.len() == 20_000);
    let passes: Option<(String, u64)> = conn.query_first("SHOW SESSION STATUS LIKE 'Sort_merge_passes'").await.unwrap();
    leave("after.merge-passes", &[passes.unwrap().1]);

    let admin = admin();
    // A new topic's leaders are spread over all brokers, one partition each.
    admin.create_topic(PACKED, 3, 3, &[], LIMIT).await.unwrap();
    let began = Instant::now();
    let mut answers: Vec<String> = loop {
        let view = admin.describe(LIMIT).await.unwrap();
        let leaders: Option<Vec<(u32, i32)>> = view.topic(PACKED).and_then(|topic| {
            let of = |p: &cdc_supervisor::clients::kafka::Partition| Some((p.leader?, i32::try_from(p.id).ok()?));
            topic.partitions.iter().map(of).collect()
        });
        if let Some(leaders) = leaders.filter(|all| all.len() == 3) {
            let port = |leader: u32| u16::try_from(29091 + leader).unwrap();
            break leaders
                .iter()
                .map(|(leader, partition)| {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port(*leader)));
                    format!("{leader} {}", packed(address, *partition))
                })
                .collect();
        }
        assert!(began.elapsed() < LIMIT, "no leaders: {view:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    answers.sort();
    leave("after.zstd", &answers);
}

/// The broker's answer to a packed batch. The leader of a new topic may not have heard of it yet although another broker names it
/// already: 3 (UNKNOWN_TOPIC_OR_PARTITION) and 6 (NOT_LEADER_OR_FOLLOWER) are asked again, as every producer does.
fn packed(leader: SocketAddr, partition: i32) -> i16 {
    let began = Instant::now();
    loop {
        match zstd::send(leader, PACKED, partition) {
            3 | 6 if began.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(100)),
            code => return code,
        }
    }
}
