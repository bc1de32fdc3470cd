//! Kafka: what one listener says (a request of our own), and a client over librdkafka for topics, records, configuration.
//!
//! librdkafka calls that wait block their thread, and dropping a client joins its threads: both happen on the blocking
//! pool or a thread of their own, bounded by a time-out.

mod admin;
mod brokers;
mod cluster;
mod configs;
mod listener;
mod stream;
mod topics;
mod view;
mod wire;

pub use admin::{Admin, Record};
pub use brokers::{BrokerSetting, broker_settings, set_on_broker};
pub use cluster::{ByTopic, NOT_NEEDED, ahead_of_followers, elect_preferred, min_isr};
pub use configs::Alter;
pub use listener::listener_metadata;
pub use stream::{Delivery, Stream, write_without_retries};
pub use topics::{NewTopic, TopicSettings, add_partitions, alter_settings, create, delete, settings};
pub use view::{Broker, ClusterView, Partition, Replicated, Topic, list};

use crate::clients::ClientError;
use rdkafka::{
    ClientContext,
    config::{ClientConfig, RDKafkaLogLevel},
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::time::Duration;

/// Receives librdkafka's log lines and errors. Refused and closed connections are everyday life while brokers start and
/// stop, and every failure that matters comes back as the error of a call: so all of them are debug lines.
#[derive(Clone, Copy, Debug, Default)]
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Quiet {}

/// What all our clients have in common.
fn base_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "cdc-supervisor")
        // Not "v4": with it, and AI_ADDRCONFIG, glibc cannot even resolve 127.0.0.1 on a host that has no other IPv4
        // address (tried in an empty network namespace). The listeners given here are numeric IPv4, so are the addresses
        // they advertise, and nothing is ever tried as ::1.
        .set("broker.address.family", "any")
        .set("log.connection.close", "false")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("allow.auto.create.topics", "false")
        // KIP-714 would have the client push its own statistics to brokers that ask for them
        .set("enable.metrics.push", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

/// Puts a librdkafka error into our words. Its time-outs and "no broker" are the same news for a caller: nobody answered.
fn kafka_error(doing: &str, limit: Duration, error: KafkaError) -> ClientError {
    let code = match &error {
        // the one variant that rdkafka_error_code() leaves out
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(
            RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::MessageTimedOut
            | RDKafkaErrorCode::RequestTimedOut,
        ) => ClientError::TimedOut { doing: doing.to_owned(), limit },
        // negative codes are librdkafka's own, the others came from a broker (RDKafkaErrorCode)
        Some(code) if code as i32 > 0 => {
            ClientError::Server { doing: doing.to_owned(), code: code as i32, answer: words(code) }
        }
        Some(_) | None => ClientError::Failed { doing: doing.to_owned(), source: Box::new(error) },
    }
}

/// `TopicAlreadyExists (Broker: Topic already exists)`: what the code prints as.
fn words(code: RDKafkaErrorCode) -> String {
    code.to_string()
}

/// Runs blocking librdkafka work on the blocking pool. The work bounds itself.
async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The work panicked (librdkafka's wrapper panics on a host name that is not UTF-8) or the runtime ends.
        Err(e) => Err(ClientError::Failed { doing: doing.to_owned(), source: Box::new(e) }),
    }
}

/// A librdkafka client that is closed on a thread of its own: closing flushes and joins threads, some 100 ms and more,
/// which no thread of the runtime may wait for.
struct ClosedAside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> ClosedAside<T> {
    fn new(client: T) -> Self {
        Self(Some(client))
    }

    fn get(&self, doing: &str) -> Result<&T, ClientError> {
        // None only while it is being dropped
        self.0.as_ref().ok_or_else(|| ClientError::Closed { doing: doing.to_owned() })
    }
}

impl<T: Send + 'static> Drop for ClosedAside<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        // Without a thread to spare the closure, and the client in it, is dropped here: late, but closed.
        let _ = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(client));
    }
}
