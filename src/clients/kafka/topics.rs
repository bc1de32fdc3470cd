//! Topics as an administrator changes them: made, given more partitions, other settings, deleted; and the settings they have. Over a
//! connection of our own, for the reasons of `listener`, and because the wrapped client drops the words of a broker's refusal and
//! has no `IncrementalAlterConfigs`: its `AlterConfigs` takes away every setting that it does not name.
//!
//! Each in the last version before the compact forms of KIP-482 that Kafka 3.5 and 3.9 speak (`CreateTopics*.json`,
//! `CreatePartitions*.json`, `DeleteTopics*.json`; settings: `configs`). All but the settings go to the controller. The reading of
//! answers is pure, bounded, and never panics.

use super::{
    cluster::{put_count, put_text},
    configs::{self, Alter, Asked, Described, Refusal, Resource, Source, UNKNOWN_TOPIC, accepted},
    listener::{CORRELATION, exchange},
    wire::{array, framed, head, skip_head, string},
};
use crate::clients::{ClientError, reader::Reader};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const CREATE_TOPICS: i16 = 19;
const DELETE_TOPICS: i16 = 20;
const CREATE_PARTITIONS: i16 = 37;

/// A topic to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions.
    pub partitions: u32,
    /// Copies of each.
    pub replication_factor: u32,
    /// Settings of its own.
    pub settings: &'a BTreeMap<String, String>,
}

/// The settings of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// Set on the topic itself.
    pub own: BTreeMap<String, String>,
    /// In force, the brokers' defaults included; without what is secret.
    pub all: BTreeMap<String, String>,
}

/// Makes a topic; the controller at `address` has made it when this returns, brokers hear of it a moment later.
pub async fn create(address: SocketAddr, topic: NewTopic<'_>, limit: Duration) -> Result<(), ClientError> {
    let NewTopic { name, partitions, replication_factor, .. } = topic;
    let doing = format!("make topic {name} with {partitions} partitions on {replication_factor} brokers each");
    let codes = exchange(address, limit, &doing, &create_topics(topic, limit), read_named).await?;
    accepted(doing, codes)
}

/// Gives a topic more partitions, so that it has `count`.
pub async fn add_partitions(address: SocketAddr, name: &str, count: u32, limit: Duration) -> Result<(), ClientError> {
    let doing = format!("give topic {name} {count} partitions");
    let codes = exchange(address, limit, &doing, &create_partitions(name, count, limit), read_named).await?;
    accepted(doing, codes)
}

/// Changes these settings of a topic, and no other, all or none.
pub async fn alter_settings(
    address: SocketAddr,
    name: &str,
    changes: &BTreeMap<String, Alter>,
    limit: Duration,
) -> Result<(), ClientError> {
    let doing = format!("change settings of topic {name}");
    configs::alter(address, Resource::Topic(name), changes, false, &doing, limit).await
}

/// Deletes a topic and all its records. Brokers remove it from their lists a moment later.
pub async fn delete(address: SocketAddr, name: &str, limit: Duration) -> Result<(), ClientError> {
    let doing = format!("delete topic {name}");
    let codes = exchange(address, limit, &doing, &delete_topics(name, limit), read_deleted).await?;
    accepted(doing, codes)
}

/// The settings of these topics, asked of the broker at `address`. A topic that is gone is missing from the answer.
pub async fn settings(
    address: SocketAddr,
    topics: &[&str],
    limit: Duration,
) -> Result<BTreeMap<String, TopicSettings>, ClientError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let doing = format!("read the settings of {} topics from the broker at {address}", topics.len());
    let asked = Asked { resources: topics.iter().map(|name| Resource::Topic(name)).collect(), ..Asked::default() };
    let mut found = BTreeMap::new();
    for (name, answer) in configs::describe(address, &asked, &doing, limit).await? {
        match answer {
            Ok(described) => drop(found.insert(name, topic_settings(described))),
            Err(Refusal { code: UNKNOWN_TOPIC, .. }) => {}
            Err(refusal) => return Err(refusal.of(doing)),
        }
    }
    Ok(found)
}

fn topic_settings(described: Vec<Described>) -> TopicSettings {
    let mut found = TopicSettings::default();
    for Described { name, value, source, .. } in described {
        let Some(value) = value else { continue };
        if source == Source::Topic {
            found.own.insert(name.clone(), value.clone());
        }
        found.all.insert(name, value);
    }
    found
}

fn put_time(body: &mut Vec<u8>, limit: Duration) {
    body.extend_from_slice(&i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).to_be_bytes());
}

fn put_int(body: &mut Vec<u8>, number: u32) {
    body.extend_from_slice(&i32::try_from(number).unwrap_or(i32::MAX).to_be_bytes());
}

/// Version 4.
fn create_topics(topic: NewTopic<'_>, limit: Duration) -> Vec<u8> {
    let mut body = head(CREATE_TOPICS, 4, CORRELATION);
    put_count(&mut body, 1);
    put_text(&mut body, topic.name);
    put_int(&mut body, topic.partitions);
    body.extend_from_slice(&i16::try_from(topic.replication_factor).unwrap_or(i16::MAX).to_be_bytes());
    put_count(&mut body, 0); // assignments: the controller's own choice
    put_count(&mut body, topic.settings.len());
    for (name, value) in topic.settings {
        put_text(&mut body, name);
        put_text(&mut body, value);
    }
    put_time(&mut body, limit);
    body.push(0); // validate_only
    framed(&body)
}

/// Version 1.
fn create_partitions(name: &str, count: u32, limit: Duration) -> Vec<u8> {
    let mut body = head(CREATE_PARTITIONS, 1, CORRELATION);
    put_count(&mut body, 1);
    put_text(&mut body, name);
    put_int(&mut body, count);
    body.extend_from_slice(&(-1i32).to_be_bytes()); // assignments: null, the controller's own choice
    put_time(&mut body, limit);
    body.push(0); // validate_only
    framed(&body)
}

/// Version 3.
fn delete_topics(name: &str, limit: Duration) -> Vec<u8> {
    let mut body = head(DELETE_TOPICS, 3, CORRELATION);
    put_count(&mut body, 1);
    put_text(&mut body, name);
    put_time(&mut body, limit);
    framed(&body)
}

/// Name, code, words: the answer to `CreateTopics` and `CreatePartitions`.
fn read_named(frame: &[u8]) -> Result<Vec<Refusal>, String> {
    let r = &mut Reader(frame);
    skip_head(r, CORRELATION)?;
    r.int("the throttle time")?;
    array(r, "the topics", |r| {
        string(r, "a topic's name")?;
        let code = r.short("a topic's error")?;
        Ok(Refusal { code, words: string(r, "a topic's error text")? })
    })
}

/// Name and code.
fn read_deleted(frame: &[u8]) -> Result<Vec<Refusal>, String> {
    let r = &mut Reader(frame);
    skip_head(r, CORRELATION)?;
    r.int("the throttle time")?;
    array(r, "the topics", |r| {
        string(r, "a topic's name")?;
        Ok(Refusal { code: r.short("a topic's error")?, words: None })
    })
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

    /// What stands between the length and the body.
    fn head_of(api: u8, version: u8) -> Vec<u8> {
        [&[0, api, 0, version, 0, 0, 0, 1][..], &s("cdc-supervisor")].concat()
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn requests_are_the_bytes_that_kafka_describes() {
        let settings = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
        let topic = NewTopic { name: "orders", partitions: 6, replication_factor: 3, settings: &settings };
        let body = [
            head_of(19, 4),
            ints(&[1]),
            s("orders"),
            ints(&[6]),
            vec![0, 3],
            ints(&[0, 1]),
            s("retention.ms"),
            s("1000"),
            ints(&[5_000]),
            vec![0],
        ]
        .concat();
        assert_eq!(create_topics(topic, LIMIT)[4..], body);
        let body = [head_of(37, 1), ints(&[1]), s("orders"), ints(&[12, -1, 5_000]), vec![0]].concat();
        assert_eq!(create_partitions("orders", 12, LIMIT)[4..], body);
        let body = [head_of(20, 3), ints(&[1]), s("orders"), ints(&[5_000])].concat();
        assert_eq!(delete_topics("orders", LIMIT)[4..], body);
    }

    #[test]
    fn a_refusal_keeps_the_brokers_words() {
        let answer = [ints(&[1, 0, 1]), s("orders"), vec![0, 38], s("larger than available brokers: 2.")].concat();
        let refused = accepted("make topic orders".into(), read_named(&answer).unwrap()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot make topic orders: the server answered invalid replication factor (38): larger than available brokers: 2."
        );
        let fine = [ints(&[1, 0, 1]), s("orders"), vec![0, 0, 0xff, 0xff]].concat();
        assert!(accepted(String::new(), read_named(&fine).unwrap()).is_ok());
        let deleted = [ints(&[1, 0, 1]), s("orders"), vec![0, 3]].concat();
        assert_eq!(read_deleted(&deleted).unwrap(), [Refusal { code: 3, words: None }]);
        assert!(accepted(String::new(), vec![]).is_err());
    }

    #[test]
    fn a_topics_own_settings_are_told_from_the_brokers() {
        let described = |name: &str, value: Option<&str>, source| Described {
            name: name.into(),
            value: value.map(str::to_owned),
            source,
            synonyms: Vec::new(),
        };
        let read = topic_settings(vec![
            described("retention.ms", Some("1000"), Source::Topic),
            described("segment.bytes", Some("5"), Source::Static),
            described("secret", None, Source::Topic),
        ]);
        let map = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let own = map(&[("retention.ms", "1000")]);
        assert_eq!(read, TopicSettings { own, all: map(&[("retention.ms", "1000"), ("segment.bytes", "5")]) });
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[0, 0, 0, 1][..], &bytes].concat();
            let _ = (read_named(&bytes), read_deleted(&bytes));
        }
    }
}
