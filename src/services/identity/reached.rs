//! How far ZooKeeper's data of a cluster have come: two numbers that only grow, by which an earlier state of it is known.
//!
//! An earlier state may know the same cluster and the same topics, and is no less a danger: it gives out producer ids again
//! (`/latest_producer_id_block`) whose sequence numbers the brokers' logs have already. The number of the controller grows with every one that is
//! chosen (`/controller_epoch`, KafkaZkClient.registerControllerAndIncrementControllerEpoch, 3.5.2), so with every cold start too.

use crate::base::Timestamp;
use serde::{Deserialize, Serialize};

/// How far it has come. Nothing of a number: nobody could read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reached {
    /// `/controller_epoch`; 0: none was ever chosen.
    pub controller_epoch: Option<u64>,
    /// The last producer id of `/latest_producer_id_block`; 0: none was ever given out.
    pub producer_ids: Option<u64>,
}

/// What this root remembers of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedRecord {
    /// The highest that was seen of each.
    #[serde(flatten)]
    pub most: Reached,
    /// When one of them was last seen to have grown.
    pub seen: Timestamp,
}

impl Reached {
    /// Where the numbers are.
    pub const EPOCH: &'static str = "/controller_epoch";
    /// The other.
    pub const PRODUCER_IDS: &'static str = "/latest_producer_id_block";

    /// From the values of the two; none: there is no such node.
    pub fn of(epoch: Option<&[u8]>, producer_ids: Option<&[u8]>) -> Self {
        Self {
            controller_epoch: epoch.map_or(Some(0), number),
            producer_ids: producer_ids.map_or(Some(0), last_producer_id),
        }
    }

    /// The higher of each.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            controller_epoch: self.controller_epoch.max(other.controller_epoch),
            producer_ids: self.producer_ids.max(other.producer_ids),
        }
    }

    /// Whether these are of an earlier state than the other. What could not be read says nothing.
    pub fn is_before(self, other: Self) -> bool {
        let less = |own: Option<u64>, other: Option<u64>| own.zip(other).is_some_and(|(own, other)| own < other);
        less(self.controller_epoch, other.controller_epoch) || less(self.producer_ids, other.producer_ids)
    }

    /// `controller epoch 7, producer ids up to 3999`.
    pub fn words(self) -> String {
        let epoch = self.controller_epoch.map(|epoch| format!("controller epoch {epoch}"));
        let ids = self.producer_ids.map(|id| match id {
            0 => "no producer ids".to_owned(),
            id => format!("producer ids up to {id}"),
        });
        epoch.into_iter().chain(ids).collect::<Vec<_>>().join(", ")
    }
}

/// A number in digits (ControllerEpochZNode.encode, 3.5.2).
fn number(data: &[u8]) -> Option<u64> {
    std::str::from_utf8(data).ok()?.trim().parse().ok()
}

/// `{"version":1,"broker":2,"block_start":"1000","block_end":"1999"}` (ProducerIdBlockZNode.generateProducerIdBlockJson, 3.5.2).
fn last_producer_id(data: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(data).ok()?;
    let end = value.get("block_end")?;
    end.as_u64().or_else(|| end.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(epoch: u64, ids: u64) -> Reached {
        Reached { controller_epoch: Some(epoch), producer_ids: Some(ids) }
    }

    #[test]
    fn the_numbers_are_read_as_kafka_writes_them_and_what_is_no_number_says_nothing() {
        let block = br#"{"version":1,"broker":2,"block_start":"1000","block_end":"1999"}"#;
        assert_eq!(Reached::of(Some(b"7"), Some(block)), reached(7, 1999));
        assert_eq!(Reached::of(Some(b"7"), Some(br#"{"block_end":1999}"#)), reached(7, 1999));
        assert_eq!(Reached::of(None, None), reached(0, 0), "no node: none was ever chosen or given out");
        for strange in [&b""[..], b"x", b"{}", b"-1", b"\xff", br#"{"block_end":"-1"}"#, br#"{"block_end":[]}"#] {
            assert_eq!(Reached::of(Some(strange), Some(strange)), Reached::default(), "{strange:?}");
        }
    }

    #[test]
    fn an_earlier_state_is_one_that_is_behind_in_either_and_what_nobody_could_read_is_behind_nothing() {
        let here = reached(7, 1999);
        for earlier in [reached(6, 1999), reached(7, 999), reached(6, 999), reached(9, 999), reached(0, 0)] {
            assert!(earlier.is_before(here), "{earlier:?}");
        }
        for other in [here, reached(8, 1999), reached(7, 2999), Reached::default()] {
            assert!(!other.is_before(here), "{other:?}");
        }
        assert!(!here.is_before(Reached::default()));
        assert_eq!(reached(9, 999).most(here), reached(9, 1999));
        assert_eq!(Reached::default().most(here), here);
    }

    #[test]
    fn the_words_name_what_is_known() {
        assert_eq!(reached(7, 1999).words(), "controller epoch 7, producer ids up to 1999");
        assert_eq!(reached(0, 0).words(), "controller epoch 0, no producer ids");
        assert_eq!(Reached { producer_ids: None, ..reached(7, 0) }.words(), "controller epoch 7");
    }
}
