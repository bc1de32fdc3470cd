//! The bytes of Kafka requests: what all have in common, and Metadata, version 5. Pure, bounded, no panics.
//!
//! Metadata's version 5 (Kafka 1.0, KIP-112) is the last without anything we would skip; 3.5 speaks 0 to 12
//! (`MetadataRequest.json`, `MetadataResponse.json`).

use super::{Broker, ClusterView, Partition, Topic};
use crate::clients::reader::Reader;

const METADATA: i16 = 3;
const VERSION: i16 = 5;
const CLIENT_ID: &[u8; 14] = b"cdc-supervisor";
const CLIENT_ID_LENGTH: i16 = 14;

/// A request for all brokers and all topics that creates none.
pub(super) fn metadata_request(correlation: i32) -> Vec<u8> {
    let mut body = head(METADATA, VERSION, correlation);
    body.extend_from_slice(&(-1i32).to_be_bytes()); // topics: null means all
    body.push(0); // allow_auto_topic_creation
    framed(&body)
}

/// The head of a request (`RequestHeader.json`, version 1).
pub(super) fn head(api: i16, version: i16, correlation: i32) -> Vec<u8> {
    let mut body = Vec::with_capacity(32);
    body.extend_from_slice(&api.to_be_bytes());
    body.extend_from_slice(&version.to_be_bytes());
    body.extend_from_slice(&correlation.to_be_bytes());
    body.extend_from_slice(&CLIENT_ID_LENGTH.to_be_bytes());
    body.extend_from_slice(CLIENT_ID);
    body
}

/// With its length in front.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).unwrap_or(i32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

/// Reads past the head of an answer, which must be the one to our request.
pub(super) fn skip_head(r: &mut Reader<'_>, correlation: i32) -> Result<(), String> {
    let found = r.int("the correlation id")?;
    if found != correlation {
        return Err(format!("its answer is to request {found}, ours was {correlation}"));
    }
    Ok(())
}

/// Reads the answer. `asked_port` tells which of the brokers answered: Kafka's answer does not say.
pub(super) fn read_metadata(frame: &[u8], correlation: i32, asked_port: u16) -> Result<ClusterView, String> {
    let r = &mut Reader(frame);
    skip_head(r, correlation)?;
    r.int("the throttle time")?;
    let mut brokers = array(r, "the brokers", |r| {
        let id = r.int("a broker's id")?;
        let host = string(r, "a broker's host")?.unwrap_or_default();
        let port = r.int("a broker's port")?;
        string(r, "a broker's rack")?;
        Ok(Broker { id: id_of(id, "broker id")?, host, port: port_of(port)? })
    })?;
    brokers.sort();
    let cluster_id = string(r, "the cluster id")?;
    // -1: none is known
    let controller = u32::try_from(r.int("the controller's id")?).ok();
    let mut topics = array(r, "the topics", |r| {
        let error = r.short("a topic's error")?;
        let name = string(r, "a topic's name")?.unwrap_or_default();
        r.take(1, "a topic's internal flag")?;
        let mut partitions = array(r, "a topic's partitions", partition)?;
        partitions.sort_by_key(|p| p.id);
        Ok(Topic { name, error: (error != 0).then(|| error_words(error)), partitions })
    })?;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let answering = brokers.iter().find(|b| b.port == asked_port).map(|b| b.id);
    Ok(ClusterView { brokers, answering, controller, cluster_id, topics })
}

fn partition(r: &mut Reader<'_>) -> Result<Partition, String> {
    // LEADER_NOT_AVAILABLE and the like: the leader field says the same
    r.short("a partition's error")?;
    let id = id_of(r.int("a partition's number")?, "partition")?;
    // -1: nobody leads it
    let leader = u32::try_from(r.int("a partition's leader")?).ok();
    let mut ids = |what| array(r, what, |r| id_of(r.int(what)?, "broker id"));
    let (replicas, isr) = (ids("a partition's replicas")?, ids("a partition's ISR")?);
    ids("a partition's offline replicas")?;
    Ok(Partition { id, leader, replicas, isr })
}

pub(super) fn id_of(found: i32, what: &str) -> Result<u32, String> {
    u32::try_from(found).map_err(|_| format!("its answer has the {what} {found}"))
}

fn port_of(found: i32) -> Result<u16, String> {
    u16::try_from(found).map_err(|_| format!("its answer has the port {found}"))
}

/// A length of -1 is null. Nothing is reserved by the announced length: each element must really be there.
pub(super) fn array<'a, T>(
    r: &mut Reader<'a>,
    what: &str,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let count = r.int(what)?;
    if count < -1 {
        return Err(format!("its answer gives {what} the length {count}"));
    }
    (0..count).map(|_| element(r)).collect()
}

/// A length of -1 is null.
pub(super) fn string(r: &mut Reader<'_>, what: &str) -> Result<Option<String>, String> {
    let length = r.short(what)?;
    match usize::try_from(length) {
        Ok(n) => Ok(Some(String::from_utf8_lossy(r.take(n, what)?).into_owned())),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(format!("its answer gives {what} the length {length}")),
    }
}

/// Kafka's error codes that a topic in a metadata answer can carry (`Errors.java`).
fn error_words(code: i16) -> String {
    let name = match code {
        3 => "unknown topic or partition",
        5 => "leader not available",
        17 => "invalid topic name",
        29 => "not authorized",
        _ => return format!("error {code}"),
    };
    format!("{name} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer as a broker writes it: brokers 1 and 2, one topic with one partition.
    fn answer() -> Vec<u8> {
        let s = |text: &str| [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        let ints = |list: &[i32]| list.iter().flat_map(|i| i.to_be_bytes()).collect::<Vec<u8>>();
        [
            ints(&[1, 0, 2]),
            ints(&[2]),
            s("localhost"),
            ints(&[9093]),
            vec![0xff, 0xff],
            ints(&[1]),
            s("localhost"),
            ints(&[9092]),
            vec![0xff, 0xff],
            s("pVzEbZ8tQ0m2TQbp2sK3vA"),
            ints(&[2, 1]),
            vec![0, 0],
            s("orders"),
            vec![0],
            ints(&[1]),
            vec![0, 0],
            ints(&[0, 1, 2, 1, 2, 1, 1, 1, 2]),
        ]
        .concat()
    }

    #[test]
    fn a_request_asks_for_all_topics_and_creates_none() {
        let bytes = metadata_request(7);
        let mut expected = vec![0, 0, 0, 29, 0, 3, 0, 5, 0, 0, 0, 7, 0, 14];
        expected.extend_from_slice(b"cdc-supervisor");
        expected.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_answer_names_brokers_controller_and_isr_and_the_port_tells_who_answered() {
        let view = read_metadata(&answer(), 1, 9093).unwrap();
        assert_eq!(view.broker_ids(), [1, 2]);
        assert_eq!((view.answering, view.controller), (Some(2), Some(2)));
        assert_eq!(view.cluster_id.as_deref(), Some("pVzEbZ8tQ0m2TQbp2sK3vA"));
        assert_eq!(view.topics[0].name, "orders");
        assert_eq!(
            view.topics[0].partitions,
            [Partition { id: 0, leader: Some(1), replicas: vec![1, 2], isr: vec![1] }]
        );
        assert_eq!(read_metadata(&answer(), 1, 9999).unwrap().answering, None);
    }

    #[test]
    fn a_cut_or_foreign_answer_is_refused_with_the_place() {
        let whole = answer();
        for n in 0..whole.len() {
            assert!(read_metadata(&whole[..n], 1, 9092).is_err(), "{n} bytes");
        }
        assert_eq!(read_metadata(&whole, 2, 9092).unwrap_err(), "its answer is to request 1, ours was 2");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_metadata(&bytes, 1, 9092);
            let _ = read_metadata(&[&[0, 0, 0, 1][..], &bytes].concat(), 1, 9092);
        }
    }
}
