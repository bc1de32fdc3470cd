//! A stream of records: many under way at once, and of each it is told when it was acknowledged or given up.

use super::{ClosedAside, Quiet, base_config, kafka_error};
use crate::clients::{ClientError, error::bounded, kafka_ffi::tell_of_brokers};
use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, FutureProducer, FutureRecord, Producer, ProducerContext, ThreadedProducer},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How long the client gathers records for one request, milliseconds (`linger.ms`; librdkafka's own is 5).
const LINGER_MS: &str = "5";

/// Records that may be under way. Some 300 bytes each inside librdkafka, so about 30 MB; behind them the caller waits.
const UNDER_WAY_MAX: &str = "100000";

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Every in-sync replica has it.
    Acknowledged,
    /// The client has stopped trying. It may have been written all the same.
    GivenUp,
}

type Told = dyn Fn(u64, Delivery) + Send + Sync;

/// Hands what librdkafka says of a record to the caller.
struct Deliveries(Box<Told>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    // The number travels as the pointer that librdkafka hands back.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let delivery = match result {
            Ok(_) => Delivery::Acknowledged,
            Err(_) => Delivery::GivenUp,
        };
        self.0(number as u64, delivery);
    }
}

type Threaded = ThreadedProducer<Deliveries>;

/// An idempotent producer with `acks=all` that tries each record again until it is acknowledged. Cheap to clone.
#[derive(Clone)]
pub struct Stream {
    producer: Arc<ClosedAside<Threaded>>,
    bootstrap: Arc<str>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

impl Stream {
    /// One that starts from these listeners (numeric, as [`super::Admin::new`]). `told` is called on a thread of the
    /// client's with the number that was sent along; a record is given up after `give_up`.
    pub fn new(
        listeners: &[SocketAddr],
        give_up: Duration,
        told: impl Fn(u64, Delivery) + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let bootstrap = listeners.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let mut config = base_config(&bootstrap);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", LINGER_MS)
            // As Kafka's own producer of this line asks and tries again (`retry.backoff.ms` = 100, without growth before
            // KIP-580): librdkafka's pauses grow to a second, which would be most of what a gap lasts.
            .set("retry.backoff.ms", "100")
            .set("retry.backoff.max.ms", "100")
            .set("topic.metadata.refresh.fast.interval.ms", "100")
            // A broker that has just started knows of no topic until the controller tells it. librdkafka believes it 30 s after
            // the first record and gives up all that waits (rd_kafka_topic_set_notexists); Kafka's own producer asks again.
            .set("topic.metadata.propagation.max.ms", give_up.as_millis().to_string())
            .set("queue.buffering.max.messages", UNDER_WAY_MAX)
            .set("message.timeout.ms", give_up.as_millis().to_string());
        let context = Deliveries(Box::new(told));
        let producer = Threaded::from_config_and_context(&config, context)
            .map_err(|e| kafka_error(&format!("make a producer for {bootstrap}"), Duration::ZERO, e))?;
        Ok(Self { producer: Arc::new(ClosedAside::new(producer)), bootstrap: bootstrap.into() })
    }

    /// For a client that gets nothing through: tells it of its brokers again, which it may have dropped all of.
    pub fn look_again(&self) {
        if let Ok(producer) = self.producer.get("tell a producer of its brokers") {
            tell_of_brokers(producer.client(), &self.bootstrap);
        }
    }

    /// Hands over a record; never waits. False: too many are under way, nothing was taken.
    pub fn send(&self, topic: &str, partition: i32, payload: &[u8], number: u64) -> Result<bool, ClientError> {
        let doing = format!("write a record to {topic}-{partition}");
        let number =
            usize::try_from(number).map_err(|e| ClientError::Failed { doing: doing.clone(), source: Box::new(e) })?;
        let record = BaseRecord::<(), [u8], usize>::with_opaque_to(topic, number).partition(partition).payload(payload);
        match self.producer.get(&doing)?.send(record) {
            Ok(()) => Ok(true),
            Err((e, _)) if e.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            Err((e, _)) => Err(kafka_error(&doing, Duration::ZERO, e)),
        }
    }
}

/// Writes one record with `acks=all` and takes the first answer, whatever it is: a producer without retries. The brokers' refusal
/// is [`ClientError::Server`] with Kafka's code.
pub async fn write_without_retries(
    listeners: &[SocketAddr],
    topic: &str,
    partition: i32,
    payload: &[u8],
    limit: Duration,
) -> Result<(i32, i64), ClientError> {
    let doing = format!("write a record to {topic}-{partition} without retries");
    let bootstrap = listeners.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
    let mut config = base_config(&bootstrap);
    config
        .set("acks", "all")
        .set("enable.idempotence", "false")
        .set("message.send.max.retries", "0")
        .set("linger.ms", "0")
        .set("message.timeout.ms", limit.as_millis().to_string());
    let producer =
        FutureProducer::from_config_and_context(&config, Quiet).map_err(|e| kafka_error(&doing, Duration::ZERO, e))?;
    let producer: ClosedAside<FutureProducer<Quiet>> = ClosedAside::new(producer);
    let record = FutureRecord::<(), [u8]>::to(topic).partition(partition).payload(payload);
    bounded(&doing, limit, async {
        match producer.get(&doing)?.send(record, limit).await {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((e, _)) => Err(kafka_error(&doing, limit, e)),
        }
    })
    .await
}
