//! The writer of a drill's records: so many a second fall due, and each partition is handed a batch when its last one is done.
//!
//! One batch at a time because of how librdkafka's idempotent producer waits: with five records of a partition under way and more of
//! them due, its broker thread asks `poll` without a pause until one is acknowledged (2.12.1, `rd_kafka_toppar_producer_serve`: the
//! time of the next wake-up is that of the first record that waits, which has passed). While a dead broker's partitions get new leaders
//! that took a processor from those who choose them: 1.2 of 1.5 s in two threads, seen with perf on two cores.

use super::ledger::Ledger;
use crate::{
    clients::{
        ClientError,
        kafka::{Delivery, Stream},
    },
    sys::clock,
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

/// How often the writer looks at what is due.
const PACE: Duration = Duration::from_millis(5);
/// How long a partition may acknowledge nothing until the client is told of its brokers again.
const STALLED: Duration = Duration::from_secs(2);
/// Numbers that may be due and not acknowledged: at 16 bytes each no weight, and more than any drill's outage makes of its usual rate.
/// Behind them what is due is left out.
const OPEN_MAX: usize = 1_000_000;

/// A ledger, locked.
pub(super) fn entries(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // Nothing under this lock can leave it half changed.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client, and how many records of each partition it has under way.
#[derive(Clone, Debug)]
pub(super) struct Client {
    stream: Stream,
    open: Arc<[AtomicUsize]>,
}

impl Client {
    /// One that `make` makes of what is to be called for each record.
    pub(super) fn new(
        ledger: &Arc<Mutex<Ledger>>,
        partitions: usize,
        make: impl FnOnce(Box<dyn Fn(u64, Delivery) + Send + Sync>) -> Result<Stream, ClientError>,
    ) -> Result<Self, ClientError> {
        let open: Arc<[AtomicUsize]> = (0..partitions.max(1)).map(|_| AtomicUsize::new(0)).collect();
        let (ledger, counts) = (Arc::clone(ledger), Arc::clone(&open));
        let stream = make(Box::new(move |number, delivery| {
            let mut ledger = entries(&ledger);
            match delivery {
                Delivery::Acknowledged => ledger.acknowledge(number, clock::now()),
                Delivery::GivenUp => ledger.give_up(number),
            }
            if let Some(count) = counts.get(ledger.partition_of(number)) {
                count.fetch_sub(1, Ordering::AcqRel);
            }
        }))?;
        Ok(Self { stream, open })
    }
}

/// What is written, and where to.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Who writes; none: nobody does at the moment.
    pub(super) client: Arc<Mutex<Option<Client>>>,
    /// What was sent and acknowledged.
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// The topics, and how many partitions each has.
    pub(super) topics: &'static [&'static str],
    /// Of each topic.
    pub(super) partitions: usize,
    /// Marks this drill's records.
    pub(super) run: String,
    /// Length of each, bytes.
    pub(super) bytes: usize,
    /// So many may be due and not acknowledged at most.
    pub(super) open_max: usize,
}

impl Load {
    /// Who writes, locked.
    pub(super) fn client(&self) -> MutexGuard<'_, Option<Client>> {
        // A client is there or not: nothing can be half changed.
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write so many a second; what is returned ends it.
    pub(super) fn write(self, rate: u32) -> Writing {
        let (stop, stopped) = watch::channel(false);
        Writing { stop, task: tokio::spawn(Pace::new(self, rate).last(stopped)) }
    }
}

/// A writer at work.
#[derive(Debug)]
pub(super) struct Writing {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<(), ClientError>>,
}

impl Writing {
    /// Ends it: nothing more falls due, and what is due is handed over, for as long as `within`. An error it met on its own comes back.
    pub(super) async fn end(mut self, within: Duration) -> Result<(), ClientError> {
        // Nobody hears it: it has ended by itself.
        let _ = self.stop.send(true);
        match timeout(within, &mut self.task).await {
            Ok(Ok(done)) => done,
            // what was not handed over is told as under way
            Ok(Err(_)) => Ok(()),
            Err(_) => {
                self.task.abort();
                Ok(())
            }
        }
    }
}

struct Pace {
    load: Load,
    rate: u64,
    /// Numbers of each partition that were handed over.
    handed: Vec<u64>,
}

impl Pace {
    fn new(load: Load, rate: u32) -> Self {
        let handed = vec![0; (load.topics.len() * load.partitions).max(1)];
        Self { load, rate: u64::from(rate), handed }
    }

    async fn last(mut self, stopped: watch::Receiver<bool>) -> Result<(), ClientError> {
        let began = clock::now();
        let mut told = began;
        let mut sent = 0u64;
        let mut tick = interval(PACE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = clock::now();
            let is_last = *stopped.borrow();
            if !is_last {
                let elapsed = u64::try_from(now.since(began).as_millis()).unwrap_or(u64::MAX);
                let due = (elapsed.saturating_mul(self.rate) / 1_000).saturating_sub(sent);
                // Nothing is sent twice as fast because it could not be sent before: at most a tenth of a second's worth at once.
                let at_once = due.min((self.rate / 10).max(1));
                sent += due;
                let mut ledger = entries(&self.load.ledger);
                let room = self.load.open_max.min(OPEN_MAX).saturating_sub(ledger.under_way());
                for _ in 0..at_once.min(u64::try_from(room).unwrap_or(u64::MAX)) {
                    ledger.send(now);
                }
            }
            let client = self.load.client().clone();
            if let Some(client) = client {
                if now.since(told) >= STALLED {
                    if !entries(&self.load.ledger).flows_since(now - STALLED) {
                        client.stream.look_again();
                    }
                    told = now;
                }
                let is_done = self.hand_over(&client)?;
                if is_last && is_done {
                    return Ok(());
                }
            }
        }
    }

    /// Hands each partition what is due of it, unless something of it is under way. Whether nothing is left to be handed over.
    fn hand_over(&mut self, client: &Client) -> Result<bool, ClientError> {
        let partitions = self.handed.len();
        let mut is_done = true;
        for (partition, handed) in self.handed.iter_mut().enumerate() {
            let due = entries(&self.load.ledger).due(partition, *handed);
            let Some(open) = client.open.get(partition) else { continue };
            if due.is_empty() {
                continue;
            }
            if open.load(Ordering::Acquire) > 0 {
                is_done = false;
                continue;
            }
            let topic = self.load.topics.get(partition / self.load.partitions).copied().unwrap_or_default();
            let inner = i32::try_from(partition % self.load.partitions).unwrap_or(0);
            for number in due {
                open.fetch_add(1, Ordering::AcqRel);
                let payload = payload(&self.load.run, number, self.load.bytes);
                match client.stream.send(topic, inner, payload.as_bytes(), number) {
                    Ok(true) => *handed = number / u64::try_from(partitions).unwrap_or(1) + 1,
                    taken => {
                        // too many are under way, or it takes none at all
                        open.fetch_sub(1, Ordering::AcqRel);
                        taken?;
                        is_done = false;
                        break;
                    }
                }
            }
        }
        Ok(is_done)
    }
}

/// `RUN NUMBER …`.
pub(super) fn payload(run: &str, number: u64, bytes: usize) -> String {
    let mut text = format!("{run} {number} ");
    text.extend(std::iter::repeat_n('.', bytes.saturating_sub(text.len())));
    text
}
