//! What librdkafka can do and its Rust wrapper cannot: reading partitions without a consumer group, and being told of brokers later.
//!
//! The wrapped consumer cannot be assigned partitions without a `group.id`, and with one librdkafka looks for the group's
//! coordinator at once, which makes the brokers create `__consumer_offsets`: 50 partitions, on every broker, for one look
//! (seen with 3.5.2; librdkafka 2.12.1 `rd_kafka_cgrp_serve`). The older calls below know no group.

use rdkafka::{
    ClientContext,
    client::Client,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::RDKafkaErrorCode,
};
use rdkafka_sys as sys;
use std::{
    ffi::CString,
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

/// Tells a client of its brokers once more; `false`: it took none of them.
///
/// A broker that has just started answers a question about metadata with no broker at all until its controller has told it of them.
/// librdkafka 2.12.1 then drops every broker it knows, the bootstrap ones too
/// (`rd_kafka_metadata_decommission_unavailable_brokers`), may not begin anew, and asks nobody any more: seen after a restart of all
/// brokers in 1 of 6 tries, with "no usable brokers" for as long as the client lived.
pub(super) fn tell_of_brokers<C: ClientContext>(client: &Client<C>, brokers: &str) -> bool {
    let Ok(brokers) = CString::new(brokers) else { return false };
    // SAFETY: the handle lives as long as `client` is borrowed; the list is NUL-terminated and copied by the call (rdkafka.h,
    // rd_kafka_brokers_add), which may be made from any thread.
    let added = unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
    added > 0
}

/// A record as it lies in a partition: partition, offset, value.
pub(super) type Raw = (i32, i64, Vec<u8>);

/// Partitions of one topic that are being fetched, into one queue.
pub(super) struct Reading<'c, C: ConsumerContext> {
    consumer: &'c BaseConsumer<C>,
    topic: NonNull<sys::rd_kafka_topic_t>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    started: Vec<i32>,
}

impl<'c, C: ConsumerContext> Reading<'c, C> {
    /// Begins to fetch from each (partition, offset).
    pub(super) fn start(
        consumer: &'c BaseConsumer<C>,
        topic: &str,
        from: &[(i32, i64)],
    ) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        let client = consumer.client().native_ptr();
        // SAFETY: `client` is a live consumer handle for as long as `consumer` is borrowed; `name` is NUL-terminated and
        // copied by the call; a null configuration means the defaults (rdkafka.h, rd_kafka_topic_new).
        let topic = unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(last_error)?;
        // SAFETY: `client` as above; the queue is destroyed in drop, before the client.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(client) });
        let Some(queue) = queue else {
            // SAFETY: the topic handle made above, not used again.
            unsafe { sys::rd_kafka_topic_destroy(topic.as_ptr()) };
            return Err(last_error());
        };
        let mut reading = Self { consumer, topic, queue, started: Vec::with_capacity(from.len()) };
        for &(partition, offset) in from {
            // SAFETY: both handles live until drop, which stops every partition noted in `started` first.
            let started = unsafe {
                sys::rd_kafka_consume_start_queue(reading.topic.as_ptr(), partition, offset, reading.queue.as_ptr())
            };
            if started != 0 {
                return Err(last_error());
            }
            reading.started.push(partition);
        }
        Ok(reading)
    }

    /// The next record, if one comes within `limit`.
    pub(super) fn next(&self, limit: Duration) -> Result<Option<Raw>, RDKafkaErrorCode> {
        // librdkafka's log lines and errors wait in the main queue until it is polled; each call takes one
        for _ in 0..8 {
            self.consumer.poll(Duration::ZERO);
        }
        let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives until drop.
        let message = unsafe { sys::rd_kafka_consume_queue(self.queue.as_ptr(), limit) };
        let Some(message) = NonNull::new(message) else { return Ok(None) };
        // SAFETY: librdkafka hands over a message that is ours until rd_kafka_message_destroy; `payload` points to `len`
        // bytes inside it or is null, and is copied before that call. The pointer is not used after it.
        unsafe {
            let m = message.as_ref();
            let taken = match m.err {
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    let value = if m.payload.is_null() {
                        Vec::new()
                    } else {
                        slice::from_raw_parts(m.payload.cast::<u8>(), m.len).to_vec()
                    };
                    Ok(Some((m.partition, m.offset, value)))
                }
                code => Err(code.into()),
            };
            sys::rd_kafka_message_destroy(message.as_ptr());
            taken
        }
    }
}

impl<C: ConsumerContext> Drop for Reading<'_, C> {
    fn drop(&mut self) {
        // SAFETY: each partition was started on this topic handle and is stopped once; then queue and topic are released
        // once, before the client they belong to (the borrowed consumer outlives this).
        unsafe {
            for partition in &self.started {
                sys::rd_kafka_consume_stop(self.topic.as_ptr(), *partition);
            }
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}

/// Why the last of the older calls on this thread failed.
fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a thread-local of librdkafka's.
    unsafe { sys::rd_kafka_last_error() }.into()
}
