//! Three more requests over a connection of our own, for the reasons of `listener`: which `min.insync.replicas` holds for
//! topics, which partitions' newest records only their leader has, and the election of preferred leaders.
//!
//! Each in the last version before the compact forms of KIP-482; Kafka 3.5 and 3.9 speak them (`DescribeConfigs*.json`,
//! `ListOffsets*.json`, `ElectLeaders*.json`). The reading of answers is pure, bounded, and never panics.

use super::{
    listener::{CORRELATION, exchange},
    wire::{array, framed, head, id_of, skip_head, string},
};
use crate::clients::{ClientError, reader::Reader};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

const DESCRIBE_CONFIGS: i16 = 32;
const LIST_OFFSETS: i16 = 2;
const ELECT_LEADERS: i16 = 43;

const MIN_ISR: &str = "min.insync.replicas";

/// `ConfigResource.Type.TOPIC`.
const TOPIC: u8 = 2;

/// Who asks for offsets: a consumer is told the high watermark, the debugging id the end of the leader's own log
/// (`ListOffsetsRequest.CONSUMER_REPLICA_ID`, `DEBUGGING_REPLICA_ID`; `Partition.fetchOffsetForTimestamp`).
const CONSUMER: i32 = -1;
const DEBUGGER: i32 = -2;

/// The newest offset (`ListOffsetsRequest.LATEST_TIMESTAMP`).
const LATEST: i64 = -1;

/// `Errors.ELECTION_NOT_NEEDED`: the preferred leader leads already.
pub const NOT_NEEDED: i16 = 84;

/// Kafka's error code for each of some partitions.
pub type Codes = BTreeMap<(String, u32), i16>;

/// Partitions by topic.
pub type ByTopic = BTreeMap<String, Vec<u32>>;

/// Which `min.insync.replicas` is in force for each of these topics, asked of the broker at `address`. A topic that is gone
/// is missing from the answer.
pub async fn min_isr(
    address: SocketAddr,
    topics: &[&str],
    limit: Duration,
) -> Result<BTreeMap<String, u32>, ClientError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let doing = format!("read {MIN_ISR} of {} topics from the broker at {address}", topics.len());
    exchange(address, limit, &doing, &describe_configs(topics), read_min_isr).await
}

/// Those of `partitions`, led by the broker at `address`, whose newest records no follower has confirmed: the end of the
/// leader's log was beyond what the high watermark reached one question later. One that could not be told counts as such.
pub async fn ahead_of_followers(
    address: SocketAddr,
    partitions: &ByTopic,
    limit: Duration,
) -> Result<BTreeSet<(String, u32)>, ClientError> {
    if partitions.is_empty() {
        return Ok(BTreeSet::new());
    }
    let doing = format!("read ends of logs from the broker at {address}");
    let ends = exchange(address, limit, &doing, &list_offsets(DEBUGGER, partitions), read_offsets).await?;
    let confirmed = exchange(address, limit, &doing, &list_offsets(CONSUMER, partitions), read_offsets).await?;
    let named = partitions.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic.clone(), *id)));
    Ok(named
        .filter(|one| match (ends.get(one), confirmed.get(one)) {
            (Some(Some(end)), Some(Some(confirmed))) => end > confirmed,
            _ => true,
        })
        .collect())
}

/// Has the controller at `address` make each of these partitions' preferred replica its leader. Returns those for which it
/// did not, with the code; [`NOT_NEEDED`] is among them.
pub async fn elect_preferred(address: SocketAddr, partitions: &ByTopic, limit: Duration) -> Result<Codes, ClientError> {
    let doing = format!("elect preferred leaders through the controller at {address}");
    let request = elect_leaders(partitions, limit);
    let (code, refused) = exchange(address, limit, &doing, &request, read_elected).await?;
    match code {
        0 => Ok(refused),
        code => Err(ClientError::Server { doing, code: code.into(), answer: words(code) }),
    }
}

/// What an election was refused with, for people (`Errors.java`).
fn words(code: i16) -> String {
    let name = match code {
        29 => "topic authorization failed",
        31 => "cluster authorization failed",
        41 => "it is not the controller",
        80 => "the preferred leader is not available",
        NOT_NEEDED => "no election is needed",
        _ => return format!("error {code}"),
    };
    format!("{name} ({code})")
}

pub(super) fn put_text(body: &mut Vec<u8>, text: &str) {
    // Names of topics and of this property end far below 32 KiB (`Topic.MAX_NAME_LENGTH`).
    body.extend_from_slice(&i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

pub(super) fn put_count(body: &mut Vec<u8>, count: usize) {
    body.extend_from_slice(&i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
}

fn put_id(body: &mut Vec<u8>, id: u32) {
    body.extend_from_slice(&i32::try_from(id).unwrap_or(i32::MAX).to_be_bytes());
}

/// Version 1.
fn describe_configs(topics: &[&str]) -> Vec<u8> {
    let mut body = head(DESCRIBE_CONFIGS, 1, CORRELATION);
    put_count(&mut body, topics.len());
    for topic in topics {
        body.push(TOPIC);
        put_text(&mut body, topic);
        put_count(&mut body, 1);
        put_text(&mut body, MIN_ISR);
    }
    body.push(0); // include_synonyms
    framed(&body)
}

fn read_min_isr(frame: &[u8]) -> Result<BTreeMap<String, u32>, String> {
    let r = &mut Reader(frame);
    skip_head(r, CORRELATION)?;
    r.int("the throttle time")?;
    let topics = array(r, "the topics", |r| {
        r.short("a topic's error")?;
        string(r, "a topic's error text")?;
        r.take(1, "a resource's kind")?;
        let name = string(r, "a topic's name")?.unwrap_or_default();
        let values = array(r, "a topic's settings", |r| {
            let key = string(r, "a setting's name")?;
            let value = string(r, "a setting's value")?;
            r.take(3, "a setting's flags")?; // read_only, config_source, is_sensitive
            array(r, "a setting's synonyms", |r| {
                string(r, "a synonym's name")?;
                string(r, "a synonym's value")?;
                r.take(1, "a synonym's source").map(drop)
            })?;
            Ok(value.filter(|_| key.as_deref() == Some(MIN_ISR)))
        })?;
        Ok((name, values.into_iter().flatten().find_map(|value| value.parse().ok())))
    })?;
    Ok(topics.into_iter().filter_map(|(name, min)| Some((name, min?))).collect())
}

/// Version 1.
fn list_offsets(replica: i32, partitions: &ByTopic) -> Vec<u8> {
    let mut body = head(LIST_OFFSETS, 1, CORRELATION);
    body.extend_from_slice(&replica.to_be_bytes());
    put_count(&mut body, partitions.len());
    for (topic, ids) in partitions {
        put_text(&mut body, topic);
        put_count(&mut body, ids.len());
        for id in ids {
            put_id(&mut body, *id);
            body.extend_from_slice(&LATEST.to_be_bytes());
        }
    }
    framed(&body)
}

/// None: the broker said an error instead (it does not lead the partition any more).
fn read_offsets(frame: &[u8]) -> Result<BTreeMap<(String, u32), Option<i64>>, String> {
    let r = &mut Reader(frame);
    skip_head(r, CORRELATION)?;
    let topics = array(r, "the topics", |r| {
        let name = string(r, "a topic's name")?.unwrap_or_default();
        let offsets = array(r, "a topic's partitions", |r| {
            let id = id_of(r.int("a partition's number")?, "partition")?;
            let error = r.short("a partition's error")?;
            r.long("a partition's timestamp")?;
            let offset = r.long("a partition's offset")?;
            Ok((id, (error == 0).then_some(offset)))
        })?;
        Ok((name, offsets))
    })?;
    Ok(topics
        .into_iter()
        .flat_map(|(name, offsets)| offsets.into_iter().map(move |(id, offset)| ((name.clone(), id), offset)))
        .collect())
}

/// Version 1.
fn elect_leaders(partitions: &ByTopic, limit: Duration) -> Vec<u8> {
    let mut body = head(ELECT_LEADERS, 1, CORRELATION);
    body.push(0); // ElectionType.PREFERRED
    put_count(&mut body, partitions.len());
    for (topic, ids) in partitions {
        put_text(&mut body, topic);
        put_count(&mut body, ids.len());
        for id in ids {
            put_id(&mut body, *id);
        }
    }
    body.extend_from_slice(&i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).to_be_bytes());
    framed(&body)
}

/// The code of all, and those of partitions that have one.
fn read_elected(frame: &[u8]) -> Result<(i16, Codes), String> {
    let r = &mut Reader(frame);
    skip_head(r, CORRELATION)?;
    r.int("the throttle time")?;
    let code = r.short("the error code")?;
    let topics = array(r, "the topics", |r| {
        let name = string(r, "a topic's name")?.unwrap_or_default();
        let partitions = array(r, "a topic's partitions", |r| {
            let id = id_of(r.int("a partition's number")?, "partition")?;
            let error = r.short("a partition's error")?;
            string(r, "a partition's error text")?;
            Ok((id, error))
        })?;
        Ok((name, partitions))
    })?;
    let each = topics.into_iter().flat_map(|(name, all)| all.into_iter().map(move |(id, e)| ((name.clone(), id), e)));
    Ok((code, each.filter(|(_, error)| *error != 0).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(text: &str) -> Vec<u8> {
        [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn ints(list: &[i32]) -> Vec<u8> {
        list.iter().flat_map(|i| i.to_be_bytes()).collect()
    }

    fn orders() -> ByTopic {
        ByTopic::from([("orders".to_owned(), vec![0, 2])])
    }

    /// What stands between the length and the body.
    fn head_of(api: u8) -> Vec<u8> {
        [&[0, api, 0, 1, 0, 0, 0, 1][..], &s("cdc-supervisor")].concat()
    }

    #[test]
    fn min_isr_is_asked_of_topics_by_name_and_read_out_of_its_answer() {
        let bytes = describe_configs(&["orders"]);
        let body = [head_of(32), ints(&[1]), vec![2], s("orders"), ints(&[1]), s(MIN_ISR), vec![0]].concat();
        assert_eq!(bytes[4..], body);
        assert_eq!(bytes[..4], i32::try_from(body.len()).unwrap().to_be_bytes());
        let topic = |name: &str, value: &str| {
            let error = [vec![0, 0, 0xff, 0xff, 2], s(name), ints(&[1])].concat();
            [error, s(MIN_ISR), s(value), vec![0, 5, 0], ints(&[1]), s(MIN_ISR), s("1"), vec![5]].concat()
        };
        let gone = [vec![0, 3], s("unknown"), vec![2], s("gone"), ints(&[0])].concat();
        let answer = [ints(&[1, 0, 3]), topic("orders", "2"), gone, topic("odd", "many")].concat();
        assert_eq!(read_min_isr(&answer).unwrap(), BTreeMap::from([("orders".to_owned(), 2)]));
        for n in 0..answer.len() {
            assert!(read_min_isr(&answer[..n]).is_err(), "{n} bytes");
        }
    }

    #[test]
    fn ends_of_logs_are_asked_as_a_replica_of_the_given_kind() {
        let body = [
            head_of(2),
            ints(&[-2, 1]),
            s("orders"),
            ints(&[2, 0, -1, -1, 2, -1, -1]), // a timestamp of -1 is two words
        ]
        .concat();
        assert_eq!(list_offsets(DEBUGGER, &orders())[4..], body);
        let answer = [
            ints(&[1, 1]),
            s("orders"),
            ints(&[2, 0]),
            vec![0, 0],
            ints(&[-1, -1, 0, 17, 2]),
            vec![0, 6],
            ints(&[-1, -1, -1, -1]),
        ]
        .concat();
        let read = read_offsets(&answer).unwrap();
        assert_eq!(read, BTreeMap::from([(("orders".to_owned(), 0), Some(17)), (("orders".to_owned(), 2), None)]));
    }

    #[test]
    fn an_election_names_partitions_and_the_answer_those_that_had_none() {
        let body = [head_of(43), vec![0], ints(&[1]), s("orders"), ints(&[2, 0, 2, 5_000])].concat();
        assert_eq!(elect_leaders(&orders(), Duration::from_secs(5))[4..], body);
        let answer = [
            ints(&[1, 0]),
            vec![0, 0],
            ints(&[1]),
            s("orders"),
            ints(&[2, 0]),
            vec![0, 0, 0xff, 0xff],
            ints(&[2]),
            vec![0, 80],
            s("away"),
        ]
        .concat();
        assert_eq!(read_elected(&answer).unwrap(), (0, BTreeMap::from([(("orders".to_owned(), 2), 80)])));
        let refused = [ints(&[1, 0]), vec![0, 41], ints(&[0])].concat();
        assert_eq!(read_elected(&refused).unwrap(), (41, BTreeMap::new()));
        assert_eq!(words(41), "it is not the controller (41)");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[0, 0, 0, 1][..], &bytes].concat();
            let _ = (read_min_isr(&bytes), read_offsets(&bytes), read_elected(&bytes));
        }
    }
}
