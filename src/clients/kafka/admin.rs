//! A long-lived client of the whole cluster: describe, topics, configuration, records.

use super::{ClosedAside, ClusterView, Quiet, base_config, blocking, kafka_error, listener_metadata, words};
use crate::clients::kafka_ffi::Reading;
use crate::clients::{ClientError, error::bounded};
use crate::sys::clock;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::BaseConsumer,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer},
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Longest wait for a record at a time: in between librdkafka's own queue is looked after.
const POLL_MAX: Duration = Duration::from_millis(200);

/// Longest a record may wait for its acknowledgement inside the producer, whatever its caller waits (`message.timeout.ms`):
/// a record nobody waits for any more shall not be written minutes later.
const DELIVERY_MAX: Duration = Duration::from_secs(30);

/// Pause before a question is asked again that was refused because leaders move.
const AGAIN: Duration = Duration::from_millis(100);

/// One record read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its value; empty for a tombstone.
    pub payload: Vec<u8>,
}

/// A client of the cluster. Holds one librdkafka client (a thread per broker and two more) and its connections.
pub struct Admin {
    listeners: Vec<SocketAddr>,
    bootstrap: String,
    producer: ClosedAside<FutureProducer<Quiet>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admin({})", self.bootstrap)
    }
}

impl Admin {
    /// A client that starts from these listeners: INTERNAL ones, because those advertise numeric addresses (EXTERNAL
    /// advertises `localhost`, which is tried as ::1 first). No connection is made yet; an error means that librdkafka
    /// could not be set up at all.
    pub fn new(listeners: &[SocketAddr]) -> Result<Self, ClientError> {
        let bootstrap = listeners.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let mut config = base_config(&bootstrap);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // one record at a time is what this client sends: nothing to gather
            .set("linger.ms", "0")
            .set("message.timeout.ms", DELIVERY_MAX.as_millis().to_string());
        let producer = FutureProducer::from_config_and_context(&config, Quiet)
            .map_err(|e| kafka_error(&format!("make a Kafka client for {bootstrap}"), Duration::ZERO, e))?;
        Ok(Self { listeners: listeners.to_vec(), bootstrap, producer: ClosedAside::new(producer) })
    }

    /// What a live broker says of the cluster: the first of the listeners that answers. Each gets its share of `limit`.
    pub async fn describe(&self, limit: Duration) -> Result<ClusterView, ClientError> {
        let share = limit / u32::try_from(self.listeners.len().max(1)).unwrap_or(u32::MAX);
        let mut last = None;
        for address in &self.listeners {
            match listener_metadata(*address, share).await {
                Ok(view) => return Ok(view),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::malformed("ask for metadata", "no listener is configured")))
    }

    /// Creates a topic with `config` on top of the brokers' defaults, and waits until the controller has made it. A topic
    /// that exists is [`ClientError::Server`] with code 36 ([`Admin::TOPIC_EXISTS`]).
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: u32,
        replicas: u32,
        config: &[(&str, &str)],
        limit: Duration,
    ) -> Result<(), ClientError> {
        let doing = format!("create topic {name} with {partitions} partitions on {replicas} brokers each");
        let to_int =
            |n: u32| i32::try_from(n).map_err(|e| ClientError::Failed { doing: doing.clone(), source: Box::new(e) });
        let mut topic = NewTopic::new(name, to_int(partitions)?, TopicReplication::Fixed(to_int(replicas)?));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit));
        let results =
            self.with_admin(&doing, limit, async |admin| admin.create_topics([&topic], &options).await).await?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err(ClientError::Server { doing, code: code as i32, answer: words(code) }),
            None => Err(ClientError::malformed(&doing, "its answer names no topic")),
        }
    }

    /// Has the controller delete a topic; brokers remove it from their lists a moment later. One that is not there is
    /// [`ClientError::Server`] with code 3 ([`Admin::NO_SUCH_TOPIC`]).
    pub async fn delete_topic(&self, name: &str, limit: Duration) -> Result<(), ClientError> {
        let doing = format!("delete topic {name}");
        let options = AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit));
        let results =
            self.with_admin(&doing, limit, async |admin| admin.delete_topics(&[name], &options).await).await?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err(ClientError::Server { doing, code: code as i32, answer: words(code) }),
            None => Err(ClientError::malformed(&doing, "its answer names no topic")),
        }
    }

    /// The offsets behind the last record that consumers may see, of these partitions. While leaders move, an answer is refused for
    /// a moment; librdkafka asks the same broker three times within 300 ms (`RD_KAFKA_REQUEST_DEFAULT_RETRIES`), so we ask again
    /// until `limit` has passed.
    pub async fn end_offsets(&self, topic: &str, partitions: &[i32], limit: Duration) -> Result<Vec<i64>, ClientError> {
        let doing = format!("ask where topic {topic} ends");
        let (producer, topic, partitions) = (self.producer.get(&doing)?.clone(), topic.to_owned(), partitions.to_vec());
        let named = doing.clone();
        blocking(&named, move || {
            let began = clock::now();
            let end = |partition: &i32| loop {
                let left = limit.saturating_sub(clock::now().since(began));
                match producer.client().fetch_watermarks(&topic, *partition, left.max(AGAIN)) {
                    Ok((_, end)) => return Ok(end),
                    Err(e) if left > AGAIN && e.rdkafka_error_code().is_some_and(is_moving) => {
                        std::thread::sleep(AGAIN);
                    }
                    Err(e) => return Err(kafka_error(&doing, limit, e)),
                }
            };
            partitions.iter().map(end).collect()
        })
        .await
    }

    /// Kafka's error code for a topic that is not there (`Errors.UNKNOWN_TOPIC_OR_PARTITION`).
    pub const NO_SUCH_TOPIC: i32 = 3;

    /// Kafka's error code for a topic that is there already (`Errors.TOPIC_ALREADY_EXISTS`).
    pub const TOPIC_EXISTS: i32 = 36;

    /// Kafka's error code for more replicas than it knows brokers (`Errors.INVALID_REPLICATION_FACTOR`).
    pub const TOO_FEW_BROKERS: i32 = 38;

    /// The configuration in force for a topic: every key with its value, defaults included.
    pub async fn topic_config(&self, name: &str, limit: Duration) -> Result<BTreeMap<String, String>, ClientError> {
        let doing = format!("read the configuration of topic {name}");
        let options = AdminOptions::new().request_timeout(Some(limit));
        let results = self
            .with_admin(&doing, limit, async |admin| {
                admin.describe_configs([&ResourceSpecifier::Topic(name)], &options).await
            })
            .await?;
        match results.into_iter().next() {
            // rdkafka 0.39 drops a resource's own error; a topic's real configuration is never empty
            Some(Ok(resource)) if resource.entries.is_empty() => {
                Err(ClientError::malformed(&doing, "its answer is empty: there is no such topic, or it refused"))
            }
            Some(Ok(resource)) => Ok(resource.entries.into_iter().filter_map(|e| Some((e.name, e.value?))).collect()),
            Some(Err(code)) => Err(ClientError::Server { doing, code: code as i32, answer: words(code) }),
            None => Err(ClientError::malformed(&doing, "its answer names no topic")),
        }
    }

    /// Writes one record and waits until every in-sync replica has it (`acks=all`); returns partition and offset. When
    /// `limit` passes the record may still be written, up to 30 s after the call.
    pub async fn produce(
        &self,
        topic: &str,
        partition: Option<i32>,
        payload: &[u8],
        limit: Duration,
    ) -> Result<(i32, i64), ClientError> {
        let doing = match partition {
            Some(p) => format!("write a record to {topic}-{p}"),
            None => format!("write a record to {topic}"),
        };
        let producer = self.producer.get(&doing)?;
        let mut record = FutureRecord::<(), [u8]>::to(topic).payload(payload);
        record.partition = partition;
        bounded(&doing, limit, async {
            match producer.send(record, limit).await {
                Ok(delivery) => Ok((delivery.partition, delivery.offset)),
                Err((e, _)) => Err(kafka_error(&doing, limit, e)),
            }
        })
        .await
    }

    /// Reads from the given (partition, offset) places on until `count` records came or `limit` passed, and returns what
    /// came, in order per partition. There is no consumer group and nothing is committed or created.
    pub async fn consume_from(
        &self,
        topic: &str,
        from: &[(i32, i64)],
        count: usize,
        limit: Duration,
    ) -> Result<Vec<Record>, ClientError> {
        let doing = format!("read from topic {topic}");
        let mut config = base_config(&self.bootstrap);
        config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "50");
        let (named, topic, from) = (doing.clone(), topic.to_owned(), from.to_vec());
        blocking(&named, move || {
            let failed = |e| kafka_error(&doing, limit, e);
            let consumer = BaseConsumer::from_config_and_context(&config, Quiet).map_err(failed)?;
            let code_failed = |code| failed(KafkaError::MessageConsumption(code));
            let reading = Reading::start(&consumer, &topic, &from).map_err(code_failed)?;
            let until = clock::now() + limit;
            let mut records = Vec::new();
            while records.len() < count {
                let left = until.since(clock::now());
                if left.is_zero() {
                    break;
                }
                match reading.next(left.min(POLL_MAX)) {
                    Ok(Some((partition, offset, payload))) => records.push(Record { partition, offset, payload }),
                    Ok(None) => {}
                    // a broker that went away is looked for again until the time is over
                    Err(code) if is_passing(code) => {}
                    Err(code) => return Err(code_failed(code)),
                }
            }
            Ok(records)
        })
        .await
    }

    /// Runs one admin call with a client of its own. Not kept: `AdminClient` polls only its result queue, so errors of
    /// its connections would pile up in its main queue for as long as it lives (rdkafka 0.39, `start_poll_thread`).
    async fn with_admin<T>(
        &self,
        doing: &str,
        limit: Duration,
        call: impl AsyncFnOnce(&AdminClient<Quiet>) -> Result<T, KafkaError>,
    ) -> Result<T, ClientError> {
        let config = base_config(&self.bootstrap);
        let (named, what) = (doing.to_owned(), doing.to_owned());
        let admin = blocking(doing, move || {
            let admin =
                AdminClient::from_config_and_context(&config, Quiet).map_err(|e| kafka_error(&named, limit, e))?;
            Ok(ClosedAside::new(admin))
        })
        .await?;
        bounded(doing, limit, async { call(admin.get(doing)?).await.map_err(|e| kafka_error(&what, limit, e)) }).await
    }
}

/// What a partition's new leader, or its old one, answers for a moment (`Errors`; `OFFSET_NOT_AVAILABLE`: KIP-207, a new leader
/// does not know yet what its followers have).
fn is_moving(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::OffsetNotAvailable
            | RDKafkaErrorCode::FencedLeaderEpoch
            | RDKafkaErrorCode::UnknownLeaderEpoch
            | RDKafkaErrorCode::ReplicaNotAvailable
    )
}

fn is_passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
    )
}
