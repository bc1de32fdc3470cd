//! The records of a drill: topics of our own, numbered records at a set rate, and everything read back.

use super::{
    ledger::Ledger,
    pace::{self, Client, Writing, entries},
};
use crate::{
    base::{
        Moment,
        drill::{Drill, Tally},
    },
    clients::{
        ClientError,
        kafka::{Admin, ClusterView, Record, Stream, listener_metadata, write_without_retries},
        zookeeper::Session,
    },
    operate::prove::KafkaTargets,
    sys::{clock, failpoint::fail_point},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::sleep;

/// Our topics, and the partitions of each: with three brokers each leads one of a topic.
pub(super) const TOPICS: [&str; 3] = ["cdc-supervisor-drill-1", "cdc-supervisor-drill-2", "cdc-supervisor-drill-3"];
const PARTITIONS: u32 = 3;

/// How a topic is known to be ours: nobody else keeps records for so long to the millisecond.
const MARK: (&str, &str) = ("retention.ms", "86399117");

/// A deleted partition's files go after a second instead of a minute: a broker that restarts meanwhile recovers each of them, too.
const GONE_AFTER: (&str, &str) = ("file.delete.delay.ms", "1000");

/// Bound of one call of the admin client.
const CALL: Duration = Duration::from_secs(15);
/// How long all brokers may take to know of a topic, or to forget it.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a record is tried: longer than anything a drill breaks lasts.
const GIVE_UP: Duration = Duration::from_secs(600);
/// Records read at a time: some 5 MB.
const CHUNK: usize = 20_000;
/// How long reading may stand still.
const READ: Duration = Duration::from_secs(30);
/// Length of a record, bytes: a small row as JSON.
const BYTES: usize = 100;
/// What shall fill a disk: 16 MB on three brokers within some ten seconds, and no more waiting than fits when it is emptied.
pub(super) const LONG_BYTES: usize = 1_000;
const LONG_UNDER_WAY: usize = 3_000;

/// How records are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Length of each.
    bytes: usize,
    /// So many are under way at most, besides what the client itself bounds.
    under_way: usize,
}

impl Shape {
    /// As a drill wants them.
    pub(super) fn of(drill: Drill) -> Self {
        if drill == Drill::DiskFull {
            Self { bytes: LONG_BYTES, under_way: LONG_UNDER_WAY }
        } else {
            Self { bytes: BYTES, under_way: usize::MAX }
        }
    }
}

/// Kafka's error code for a write that too few replicas would have (`Errors.NOT_ENOUGH_REPLICAS`).
const NOT_ENOUGH_REPLICAS: i32 = 19;

/// A topic of ours is somebody else's.
#[derive(Debug)]
pub(super) struct Taken(pub(super) String);

/// What came when everything was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadBack {
    /// The numbers of each partition, in order; none: not one of ours.
    numbers: Vec<Vec<Option<u64>>>,
    /// How many of each partition lie there and did not come.
    unread: Vec<u64>,
    /// Where reading stood still, in words.
    pub(super) stood_still: Vec<String>,
}

/// The topics, and who writes to them.
#[derive(Debug)]
pub(super) struct Records {
    admin: Admin,
    targets: KafkaTargets,
    run: String,
    ledger: Arc<Mutex<Ledger>>,
    /// What is written. Its client is kept for as long as something may be under way: one that is closed gives it up.
    load: pace::Load,
}

impl Records {
    /// Nothing is made yet. `run` tells this drill's records from others'.
    pub(super) fn new(targets: &KafkaTargets, run: &str, shape: Shape) -> Result<Self, ClientError> {
        let partitions = usize::try_from(PARTITIONS).unwrap_or(1);
        let ledger = Arc::new(Mutex::new(Ledger::open(TOPICS.len() * partitions, clock::now())));
        let load = pace::Load {
            client: Arc::default(),
            ledger: Arc::clone(&ledger),
            topics: &TOPICS,
            partitions,
            run: run.to_owned(),
            bytes: shape.bytes,
            open_max: shape.under_way,
        };
        let admin = Admin::new(&targets.internal)?;
        Ok(Self { admin, targets: targets.clone(), run: run.to_owned(), ledger, load })
    }

    /// Whether a topic of our names is somebody else's; what an earlier drill left is ours.
    pub(super) async fn taken(&self) -> Result<Option<Taken>, ClientError> {
        taken(&self.admin).await
    }

    /// Makes the topics, also where some are left of an earlier drill.
    pub(super) async fn make(&self) -> Result<(), ClientError> {
        match remove(&self.admin, &self.targets).await {
            // A broker that still lists one may have to be heard below.
            Ok(_) | Err(ClientError::TimedOut { .. }) => {}
            Err(e) => return Err(e),
        }
        let brokers = u32::try_from(self.targets.brokers.len()).unwrap_or(1).max(1);
        let replicas = self.targets.rf.clamp(1, brokers);
        let min_isr = self.targets.min_isr.clamp(1, replicas).to_string();
        let config = [MARK, ("min.insync.replicas", min_isr.as_str()), GONE_AFTER];
        for topic in TOPICS {
            let began = clock::now();
            // A deleted topic leaves the brokers' lists when its deletion begins (its leader becomes -2, `LeaderDuringDelete`), and
            // its name is free when every replica has removed its log.
            while let Err(e) = self.admin.create_topic(topic, PARTITIONS, replicas, &config, CALL).await {
                let code = if let ClientError::Server { code, .. } = e { code } else { 0 };
                // A broker whose session has ended since everything was looked at (ZooKeeper was held up) is back in a moment.
                let passes = [Admin::TOPIC_EXISTS, Admin::TOO_FEW_BROKERS].contains(&code);
                // One that somebody has made since it was looked at does not go.
                if !passes || taken(&self.admin).await?.is_some() || clock::now().since(began) >= KNOWN_WITHIN {
                    return Err(e);
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Removes the topics; returns when no broker lists them any more.
    pub(super) async fn remove(&self) -> Result<(), ClientError> {
        remove(&self.admin, &self.targets).await.map(drop)
    }

    /// Begins to write; what is returned ends it.
    pub(super) fn write(&mut self, rate: u32) -> Result<Writing, ClientError> {
        let client = self.new_client()?;
        *self.load.client() = Some(client);
        Ok(self.load.clone().write(rate))
    }

    fn new_client(&self) -> Result<Client, ClientError> {
        let partitions = self.load.topics.len() * self.load.partitions;
        Client::new(&self.ledger, partitions, |told| Stream::new(&self.targets.internal, GIVE_UP, told))
    }

    /// Lets another client write on, in the place of one that does not get on: what that one has under way is given up, and how
    /// many that were comes back. Nothing is sent a second time.
    pub(super) fn renew(&self) -> Result<u64, ClientError> {
        let new = self.new_client()?;
        // The writer goes on with the new one only when what the old one had is given up.
        let mut client = self.load.client();
        drop(client.replace(new));
        Ok(entries(&self.ledger).give_up_all())
    }

    /// Every partition was acknowledged after `since`.
    pub(super) fn flows_since(&self, since: Moment) -> bool {
        entries(&self.ledger).flows_since(since)
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        entries(&self.ledger).under_way()
    }

    /// The verdict on what was read back.
    pub(super) fn judge(&self, read: &ReadBack, fault: Moment) -> Tally {
        entries(&self.ledger).judge_with(&read.numbers, &read.unread, fault)
    }

    /// Reads everything back, each partition in order.
    pub(super) async fn read(&self, report: &mut (dyn FnMut(String) + Send)) -> Result<ReadBack, ClientError> {
        let mut all = ReadBack::default();
        for topic in TOPICS {
            report(format!("reading {topic} back"));
            let partitions: Vec<i32> = (0..).take(usize::try_from(PARTITIONS).unwrap_or(0)).collect();
            let ends = self.admin.end_offsets(topic, &partitions, CALL).await?;
            let admin = &self.admin;
            let more = move |from: Vec<_>, count| async move { admin.consume_from(topic, &from, count, READ).await };
            let read = read_to(topic, &ends, &self.run, more).await?;
            all.numbers.extend(read.numbers);
            all.unread.extend(read.unread);
            all.stood_still.extend(read.stood_still);
        }
        Ok(all)
    }

    /// A partition that must refuse writes while the brokers that `taken` names are away; none: each has enough replicas left.
    /// Without a view the first one is it, as with three brokers any is.
    pub(super) fn refusing(&self, view: Option<&ClusterView>, taken: impl Fn(u32) -> bool) -> Option<(String, i32)> {
        match view {
            Some(view) => refusing(view, usize::try_from(self.targets.min_isr).unwrap_or(1), taken),
            None => Some((TOPICS[0].to_owned(), 0)),
        }
    }

    /// Whether the brokers refuse a write to this partition now because too few replicas would have it; the words of any other
    /// answer.
    pub(super) async fn is_refused(
        &self,
        only: &[std::net::SocketAddr],
        (topic, partition): &(String, i32),
    ) -> Result<(), String> {
        let payload = format!("{} probe", self.run);
        match write_without_retries(only, topic, *partition, payload.as_bytes(), Duration::from_secs(3)).await {
            Err(ClientError::Server { code: NOT_ENOUGH_REPLICAS, .. }) => Ok(()),
            Err(e) => Err(e.in_one_line()),
            Ok(_) => Err("it was acknowledged".into()),
        }
    }
}

/// Reads a topic's partitions up to these ends. `more` has up to so many records from these offsets on; none: reading stands still. Then
/// everything is read once more from the start, by another client; what does not come then either is not known to be missing.
async fn read_to<F: Future<Output = Result<Vec<Record>, ClientError>>>(
    topic: &str,
    ends: &[i64],
    run: &str,
    mut more: impl FnMut(Vec<(i32, i64)>, usize) -> F,
) -> Result<ReadBack, ClientError> {
    let mut once_more = true;
    let mut next = vec![0i64; ends.len()];
    let mut numbers = vec![Vec::new(); ends.len()];
    loop {
        let places = (0i32..).zip(next.iter().zip(ends));
        let from: Vec<(i32, i64)> = places.filter(|(_, (n, e))| n < e).map(|(p, (n, _))| (p, *n)).collect();
        let left = || next.iter().zip(ends).map(|(n, e)| u64::try_from(e - n).unwrap_or(0));
        let count = usize::try_from(left().sum::<u64>()).unwrap_or(CHUNK).min(CHUNK);
        let is_done = from.is_empty();
        let records = if is_done { Vec::new() } else { more(from, count).await? };
        if records.is_empty() && !is_done && std::mem::take(&mut once_more) {
            next.fill(0);
            numbers.fill(Vec::new());
            continue;
        }
        if records.is_empty() {
            let still = (0..).zip(next.iter().zip(left())).filter(|(_, (_, left))| *left > 0);
            let words = |(p, (n, left)): (u32, (&i64, u64))| {
                format!("reading {topic}-{p} stood still at offset {n}, {left} before its end")
            };
            return Ok(ReadBack { stood_still: still.map(words).collect(), unread: left().collect(), numbers });
        }
        for record in records {
            let Ok(at) = usize::try_from(record.partition) else { continue };
            let (Some(next), Some(numbers)) = (next.get_mut(at), numbers.get_mut(at)) else { continue };
            *next = (*next).max(record.offset + 1);
            if !is_probe(&record.payload, run) {
                numbers.push(number(&record.payload, run));
            }
        }
    }
}

fn refusing(view: &ClusterView, min_isr: usize, taken: impl Fn(u32) -> bool) -> Option<(String, i32)> {
    let ours = view.partitions().filter(|(topic, _)| TOPICS.contains(topic));
    let mut refuse = ours.filter(|(_, p)| {
        let left = p.replicas.iter().filter(|id| !taken(**id)).count();
        // Where none is left nobody answers.
        (1..min_isr.clamp(1, p.replicas.len().max(1))).contains(&left)
    });
    refuse.next().and_then(|(topic, p)| Some((topic.to_owned(), i32::try_from(p.id).ok()?)))
}

async fn taken(admin: &Admin) -> Result<Option<Taken>, ClientError> {
    let view = admin.describe(CALL).await?;
    for topic in TOPICS.iter().filter(|t| view.topic(t).is_some()) {
        if is_ours(admin, topic).await? == Some(false) {
            return Ok(Some(Taken((*topic).to_owned())));
        }
    }
    Ok(None)
}

/// Whether a topic that a broker lists has the mark of a drill; none: it goes just now, is listed no more and has no settings. Its settings
/// are asked of any broker: where all of them have just started one lists a topic of which another has not heard yet.
async fn is_ours(admin: &Admin, topic: &str) -> Result<Option<bool>, ClientError> {
    let began = clock::now();
    loop {
        let why = match admin.topic_config(topic, CALL).await {
            Ok(config) => return Ok(Some(config.get(MARK.0).map(String::as_str) == Some(MARK.1))),
            Err(why) => why,
        };
        if admin.describe(CALL).await?.topic(topic).is_none() {
            return Ok(None);
        }
        if clock::now().since(began) >= KNOWN_WITHIN {
            return Err(why);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Removes our topics. One of our names may be somebody else's by now: that one stays, and comes back.
pub(super) async fn remove_left(targets: &KafkaTargets) -> Result<Option<Taken>, ClientError> {
    let admin = Admin::new(&targets.internal)?;
    listed(&admin, targets).await?;
    fail_point!("drill.topics-listed");
    remove(&admin, targets).await
}

/// Waits until the brokers list what ZooKeeper has of our topics. Where all of them have just started they agree on the brokers and list
/// no topic at all for a moment: their controller tells them of brokers first (`KafkaController.onControllerFailover`, 3.5).
async fn listed(admin: &Admin, targets: &KafkaTargets) -> Result<(), ClientError> {
    let Some(zookeeper) = targets.zookeeper else { return Ok(()) };
    let began = clock::now();
    loop {
        let mut session = Session::connect(zookeeper, CALL).await?;
        let there = session.get_children("/brokers/topics").await?.unwrap_or_default();
        session.close().await?;
        let view = admin.describe(CALL).await?;
        let mut ours = there.iter().filter(|name| TOPICS.contains(&name.as_str()));
        let Some(missing) = ours.find(|name| view.topic(name).is_none()) else { return Ok(()) };
        if clock::now().since(began) >= KNOWN_WITHIN {
            let doing = format!("see topic {missing}, which ZooKeeper has, in the brokers' list");
            return Err(ClientError::TimedOut { doing, limit: KNOWN_WITHIN });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Removes those of our topics that are ours; the first one of our names that is not comes back.
async fn remove(admin: &Admin, targets: &KafkaTargets) -> Result<Option<Taken>, ClientError> {
    let view = admin.describe(CALL).await?;
    let (mut theirs, mut going) = (None, Vec::new());
    for topic in TOPICS.into_iter().filter(|t| view.topic(t).is_some()) {
        // Whatever was looked at before: somebody may have made it since. Kafka deletes by name, so the last look is right before it.
        match is_ours(admin, topic).await? {
            Some(true) => match admin.delete_topic(topic, CALL).await {
                Ok(()) | Err(ClientError::Server { code: Admin::NO_SUCH_TOPIC, .. }) => going.push(topic),
                Err(e) => return Err(e),
            },
            Some(false) => drop(theirs.get_or_insert_with(|| Taken(topic.to_owned()))),
            None => going.push(topic),
        }
    }
    let began = clock::now();
    while !going.is_empty() && !forgotten(targets, &going).await {
        if clock::now().since(began) >= KNOWN_WITHIN {
            let doing = "have every broker forget the drill's topics".to_owned();
            return Err(ClientError::TimedOut { doing, limit: KNOWN_WITHIN });
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(theirs)
}

/// No broker lists one of these topics.
async fn forgotten(targets: &KafkaTargets, topics: &[&str]) -> bool {
    for address in &targets.internal {
        match listener_metadata(*address, CALL).await {
            Ok(view) if topics.iter().all(|t| view.topic(t).is_none()) => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

fn number(payload: &[u8], run: &str) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    text.strip_prefix(run)?.strip_prefix(' ')?.split(' ').next()?.parse().ok()
}

/// One of [`Records::is_refused`] that was written although it was refused.
fn is_probe(payload: &[u8], run: &str) -> bool {
    payload.strip_prefix(run.as_bytes()) == Some(b" probe")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kafka::{Partition, Topic};

    #[test]
    fn a_write_must_be_refused_only_where_too_few_replicas_are_left() {
        let view = |name: &str, replicas: &[&[u32]]| ClusterView {
            topics: vec![Topic {
                name: name.into(),
                error: None,
                partitions: (0..)
                    .zip(replicas)
                    .map(|(id, r)| Partition { id, leader: None, replicas: r.to_vec(), isr: vec![] })
                    .collect(),
            }],
            ..ClusterView::default()
        };
        let taken = |id| id < 3;
        assert_eq!(refusing(&view(TOPICS[1], &[&[1, 2, 3]]), 2, taken), Some((TOPICS[1].into(), 0)));
        // four brokers: the first partition has two of its three left
        let four = view(TOPICS[0], &[&[1, 3, 4], &[2, 1, 4]]);
        assert_eq!(refusing(&four, 2, taken), Some((TOPICS[0].into(), 1)));
        assert_eq!(refusing(&four, 1, taken), None, "one replica is enough");
        assert_eq!(refusing(&view(TOPICS[0], &[&[1, 2]]), 2, taken), None, "nobody is left to refuse");
        assert_eq!(refusing(&view("theirs", &[&[1, 2, 3]]), 2, taken), None);
    }

    /// Reads two partitions of three and two records; `comes` says how many records the call of this number has at most.
    async fn read(comes: impl Fn(usize) -> usize) -> (ReadBack, usize) {
        let mut calls = 0;
        let more = |from: Vec<(i32, i64)>, count: usize| {
            calls += 1;
            let all =
                |(p, from): (i32, i64)| (from..[3, 2][usize::try_from(p).unwrap()]).map(move |offset| (p, offset));
            let records = from.into_iter().flat_map(all).take(count.min(comes(calls)));
            let of = |(partition, offset)| Record { partition, offset, payload: format!("d00d {}", offset * 2).into() };
            std::future::ready(Ok(records.map(of).collect()))
        };
        let read = read_to("t", &[3, 2], "d00d", more).await.unwrap();
        (read, calls)
    }

    #[tokio::test]
    async fn reading_that_stands_still_begins_again_once_and_what_does_not_come_then_is_told() {
        let whole = vec![vec![Some(0), Some(2), Some(4)], vec![Some(0), Some(2)]];
        for chunk in [1, 2, 9] {
            let (read, _) = read(|_| chunk).await;
            assert_eq!(read, ReadBack { numbers: whole.clone(), unread: vec![0, 0], stood_still: vec![] });
        }
        let (again, calls) = read(|call| if call == 2 { 0 } else { 4 }).await;
        assert_eq!((again, calls), (ReadBack { numbers: whole, unread: vec![0, 0], stood_still: vec![] }, 4));
        let (nothing, calls) = read(|_| 0).await;
        assert_eq!((&nothing.unread[..], calls), (&[3, 2][..], 2));
        let (stands, _) = read(|call| if call == 2 { 4 } else { 0 }).await;
        assert_eq!((stands.numbers[0].len(), &stands.unread[..]), (3, &[0, 1][..]));
        assert_eq!(stands.stood_still, ["reading t-1 stood still at offset 1, 1 before its end"]);
    }

    #[test]
    fn a_record_is_known_by_its_run_and_number() {
        let text = pace::payload("d00d", 4_711, BYTES);
        assert_eq!(text.len(), BYTES);
        assert_eq!(number(text.as_bytes(), "d00d"), Some(4_711));
        assert_eq!(number(text.as_bytes(), "d00e"), None);
        for other in [&b"d00d x "[..], b"d00d", b"", b"\xff", b"d00d 5x"] {
            assert_eq!(number(other, "d00d"), None);
        }
        assert!(is_probe(b"d00d probe", "d00d") && !is_probe(text.as_bytes(), "d00d"));
    }
}
