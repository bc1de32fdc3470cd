//! Settings of topics and of brokers as Kafka keeps them: what holds and where it comes from (`DescribeConfigs`), and the change of
//! single ones (`IncrementalAlterConfigs`). Over a connection of our own, for the reasons of `topics`.
//!
//! Each in the last version before the compact forms of KIP-482 that Kafka 3.5 and 3.9 speak. What is asked of one broker must be
//! asked of that broker itself (ConfigHelper.scala, ZkAdminManager.scala `getBrokerId`). The reading of answers is pure, bounded,
//! and never panics.

use super::{
    cluster::{put_count, put_text},
    listener::{CORRELATION, exchange},
    wire::{array, framed, head, skip_head, string},
};
use crate::clients::{ClientError, reader::Reader};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const DESCRIBE_CONFIGS: i16 = 32;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;

/// `Errors.UNKNOWN_TOPIC_OR_PARTITION`.
pub(super) const UNKNOWN_TOPIC: i16 = 3;

/// Whose settings (`ConfigResource.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    Topic(&'a str),
    Broker(u32),
}

impl Resource<'_> {
    fn kind(self) -> u8 {
        match self {
            Resource::Topic(_) => 2,
            Resource::Broker(_) => 4,
        }
    }

    fn put(self, body: &mut Vec<u8>) {
        body.push(self.kind());
        match self {
            Resource::Topic(name) => put_text(body, name),
            Resource::Broker(id) => put_text(body, &id.to_string()),
        }
    }
}

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alter {
    /// Its own from now on.
    Set(String),
    /// What stands behind it: for a topic what the brokers have for all topics.
    Reset,
}

/// Where a value comes from (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Set on the topic itself.
    Topic,
    /// Set for this broker while it ran; kept in ZooKeeper, beats everything else.
    DynamicBroker,
    /// Set for all brokers while they ran; kept in ZooKeeper, beats the file.
    DynamicDefault,
    /// The broker's file.
    Static,
    /// Kafka's own.
    Default,
    /// Another one.
    Other,
}

impl Source {
    fn of(byte: Option<&u8>) -> Self {
        match byte {
            Some(1) => Source::Topic,
            Some(2) => Source::DynamicBroker,
            Some(3) => Source::DynamicDefault,
            Some(4) => Source::Static,
            Some(5) => Source::Default,
            Some(_) | None => Source::Other,
        }
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub name: String,
    /// The value in force; none: it has none, or it is secret.
    pub value: Option<String>,
    pub source: Source,
    /// Every place that has a value for it, the one in force first: under which name, what, and where. Only when asked for.
    pub synonyms: Vec<(String, Option<String>, Source)>,
}

/// A question.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked<'a> {
    pub resources: Vec<Resource<'a>>,
    /// Only these; none: all.
    pub keys: Option<Vec<&'a str>>,
    pub synonyms: bool,
}

/// What a broker said instead of doing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: i16,
    pub words: Option<String>,
}

impl Refusal {
    pub(super) fn of(self, doing: String) -> ClientError {
        let name = match self.code {
            UNKNOWN_TOPIC => "there is no such topic",
            7 => "it was not done in time",
            17 => "invalid topic name",
            29 => "topic authorization failed",
            31 => "cluster authorization failed",
            36 => "the topic is there already",
            37 => "invalid number of partitions",
            38 => "invalid replication factor",
            39 => "invalid replica assignment",
            40 => "invalid setting",
            41 => "it is not the controller",
            42 => "invalid request",
            44 => "a policy of the brokers forbids it",
            60 => "partitions of it are being moved",
            73 => "deleting topics is switched off",
            _ => "an error",
        };
        let said = self.words.map_or_else(String::new, |words| format!(": {}", words.trim()));
        ClientError::Server { doing, code: self.code.into(), answer: format!("{name} ({}){said}", self.code) }
    }
}

/// One thing was asked about, so there is one answer.
pub(super) fn accepted(doing: String, answers: Vec<Refusal>) -> Result<(), ClientError> {
    match answers.into_iter().next() {
        None => Err(ClientError::malformed(&doing, "its answer names nothing")),
        Some(Refusal { code: 0, .. }) => Ok(()),
        Some(refusal) => Err(refusal.of(doing)),
    }
}

/// Changes these settings, and no other, all or none. `only_validate`: says what would come of it and changes nothing.
pub(super) async fn alter(
    address: SocketAddr,
    resource: Resource<'_>,
    changes: &BTreeMap<String, Alter>,
    only_validate: bool,
    doing: &str,
    limit: Duration,
) -> Result<(), ClientError> {
    let request = incremental_alter(resource, changes, only_validate);
    let codes = exchange(address, limit, doing, &request, read_altered).await?;
    accepted(doing.to_owned(), codes)
}

/// What the broker at `address` says of them.
pub(super) async fn describe(
    address: SocketAddr,
    asked: &Asked<'_>,
    doing: &str,
    limit: Duration,
) -> Result<Vec<Answer>, ClientError> {
    exchange(address, limit, doing, &describe_configs(asked), read_described).await
}

/// Version 0.
fn incremental_alter(resource: Resource<'_>, changes: &BTreeMap<String, Alter>, only_validate: bool) -> Vec<u8> {
    let mut body = head(INCREMENTAL_ALTER_CONFIGS, 0, CORRELATION);
    put_count(&mut body, 1);
    resource.put(&mut body);
    put_count(&mut body, changes.len());
    for (key, change) in changes {
        put_text(&mut body, key);
        // AlterConfigOp.OpType
        match change {
            Alter::Set(value) => {
                body.push(0);
                put_text(&mut body, value);
            }
            Alter::Reset => {
                body.push(1);
                body.extend_from_slice(&(-1i16).to_be_bytes());
            }
        }
    }
    body.push(u8::from(only_validate));
    framed(&body)
}

/// Version 1.
fn describe_configs(asked: &Asked<'_>) -> Vec<u8> {
    let mut body = head(DESCRIBE_CONFIGS, 1, CORRELATION);
    put_count(&mut body, asked.resources.len());
    for resource in &asked.resources {
        resource.put(&mut body);
        match &asked.keys {
            None => body.extend_from_slice(&(-1i32).to_be_bytes()), // null, all of them
            Some(keys) => {
                put_count(&mut body, keys.len());
                keys.iter().for_each(|key| put_text(&mut body, key));
            }
        }
    }
    body.push(u8::from(asked.synonyms));
    framed(&body)
}

/// Code, words, name.
fn read_altered(frame: &[u8]) -> Result<Vec<Refusal>, String> {
    let r = &mut Reader(frame);
    skip_head(r, CORRELATION)?;
    r.int("the throttle time")?;
    array(r, "the resources", |r| {
        let code = r.short("a resource's error")?;
        let words = string(r, "a resource's error text")?;
        r.take(1, "a resource's kind")?;
        string(r, "a resource's name")?;
        Ok(Refusal { code, words })
    })
}

/// What was asked about, and what was said of it.
type Answer = (String, Result<Vec<Described>, Refusal>);

fn read_described(frame: &[u8]) -> Result<Vec<Answer>, String> {
    let r = &mut Reader(frame);
    skip_head(r, CORRELATION)?;
    r.int("the throttle time")?;
    array(r, "the resources", |r| {
        let code = r.short("a resource's error")?;
        let words = string(r, "a resource's error text")?;
        r.take(1, "a resource's kind")?;
        let name = string(r, "a resource's name")?.unwrap_or_default();
        let described = array(r, "a resource's settings", |r| {
            let name = string(r, "a setting's name")?.unwrap_or_default();
            let value = string(r, "a setting's value")?;
            let flags = r.take(3, "a setting's flags")?; // read_only, config_source, is_sensitive
            let source = Source::of(flags.get(1));
            let synonyms = array(r, "a setting's synonyms", |r| {
                let name = string(r, "a synonym's name")?.unwrap_or_default();
                let value = string(r, "a synonym's value")?;
                Ok((name, value, Source::of(r.take(1, "a synonym's source")?.first())))
            })?;
            Ok(Described { name, value, source, synonyms })
        })?;
        let answer = if code == 0 { Ok(described) } else { Err(Refusal { code, words }) };
        Ok((name, answer))
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

    #[test]
    fn requests_are_the_bytes_that_kafka_describes() {
        let changes = BTreeMap::from([
            ("cleanup.policy".to_owned(), Alter::Reset),
            ("retention.ms".to_owned(), Alter::Set("7".into())),
        ]);
        let after_name =
            [ints(&[2]), s("cleanup.policy"), vec![1, 0xff, 0xff], s("retention.ms"), vec![0], s("7")].concat();
        let body = [head_of(44, 0), ints(&[1]), vec![2], s("orders"), after_name.clone(), vec![0]].concat();
        assert_eq!(incremental_alter(Resource::Topic("orders"), &changes, false)[4..], body);
        let body = [head_of(44, 0), ints(&[1]), vec![4], s("2"), after_name, vec![1]].concat();
        assert_eq!(incremental_alter(Resource::Broker(2), &changes, true)[4..], body);
        let all = Asked { resources: vec![Resource::Topic("orders")], ..Asked::default() };
        let body = [head_of(32, 1), ints(&[1]), vec![2], s("orders"), ints(&[-1]), vec![0]].concat();
        assert_eq!(describe_configs(&all)[4..], body);
        let some = Asked { resources: vec![Resource::Broker(1)], keys: Some(vec!["a.b"]), synonyms: true };
        let body = [head_of(32, 1), ints(&[1]), vec![4], s("1"), ints(&[1]), s("a.b"), vec![1]].concat();
        assert_eq!(describe_configs(&some)[4..], body);
    }

    #[test]
    fn a_refusal_keeps_the_brokers_words() {
        let answer = [ints(&[1, 0, 1]), vec![0, 40], s("Not a number of type INT"), vec![4], s("1")].concat();
        let refused = accepted("change settings of broker 1".into(), read_altered(&answer).unwrap()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot change settings of broker 1: the server answered invalid setting (40): Not a number of type INT"
        );
        let fine = [ints(&[1, 0, 1]), vec![0, 0, 0xff, 0xff, 4], s("1")].concat();
        assert!(accepted(String::new(), read_altered(&fine).unwrap()).is_ok());
        assert!(accepted(String::new(), vec![]).is_err());
    }

    #[test]
    fn every_place_that_has_a_value_is_told_with_its_name() {
        let answer = [
            ints(&[1, 0, 2]),
            vec![0, 0, 0xff, 0xff, 4],
            s("1"),
            ints(&[1]),
            s("log.retention.ms"),
            s("1000"),
            vec![0, 2, 0],
            ints(&[3]),
            s("log.retention.ms"),
            s("1000"),
            vec![2],
            s("log.retention.hours"),
            s("72"),
            vec![4],
            s("log.retention.hours"),
            vec![0xff, 0xff, 5],
            vec![0, 3, 0xff, 0xff, 2],
            s("gone"),
            ints(&[0]),
        ]
        .concat();
        let read = read_described(&answer).unwrap();
        let synonym = |name: &str, value: Option<&str>, source| (name.to_owned(), value.map(str::to_owned), source);
        let described = Described {
            name: "log.retention.ms".into(),
            value: Some("1000".into()),
            source: Source::DynamicBroker,
            synonyms: vec![
                synonym("log.retention.ms", Some("1000"), Source::DynamicBroker),
                synonym("log.retention.hours", Some("72"), Source::Static),
                synonym("log.retention.hours", None, Source::Default),
            ],
        };
        assert_eq!(read[0], ("1".to_owned(), Ok(vec![described])));
        assert_eq!(read[1], ("gone".to_owned(), Err(Refusal { code: UNKNOWN_TOPIC, words: None })));
        for n in 0..answer.len() {
            assert!(read_described(&answer[..n]).is_err(), "{n} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[0, 0, 0, 1][..], &bytes].concat();
            let _ = (read_altered(&bytes), read_described(&bytes));
        }
    }
}
