//! What reloads have set of a broker that ran: the record of it, and its way back before the broker's next start.
//!
//! Kafka keeps such settings in ZooKeeper (`/config/brokers/ID`), where they beat the file, for ever. By the next start the file says
//! the same or something newer, so what we set goes, and the broker begins with its file. Not after the start and over the admin
//! API: a broker that was down when its file changed would begin with the old value, which may delete records; and up to Kafka 3.8.0
//! one that has a setting of its logs taken back forgets what its file says of them (KAFKA-17584).

use super::{journal::Journal, prepare::PrepareError};
use crate::{
    base::{EventKind, EventLine, Layout, NodeName, dynamic::DynamicRecord},
    clients::{ClientError, zookeeper::Session},
    sys::{error::SysError, failpoint::fail_point, fs, record},
};
use std::{net::SocketAddr, time::Duration};

/// Bound of one question to ZooKeeper.
const ASK: Duration = Duration::from_secs(5);

/// What reloads have set of this broker. A torn file is put aside and told of: what is set counts as set by somebody else then.
pub fn read(layout: &Layout, broker: &NodeName, journal: &Journal) -> Result<DynamicRecord, SysError> {
    let (found, torn) = record::read(&layout.dynamic(broker))?;
    if let Some(torn) = torn {
        let id = broker.as_str().trim_start_matches("broker-");
        let text = format!(
            "{torn}: what reloads have set of {broker} while it ran is not known any more; it stays in ZooKeeper and beats the file: \
             `cdc-supervisor verify` names it, `kafka-configs --entity-type brokers --entity-name {id} --alter --delete-config KEY` \
             takes it back"
        );
        tracing::warn!(node = %broker, "{text}");
        journal.note(EventLine::new(EventKind::Trouble, text).node(broker));
    }
    Ok(found.unwrap_or_default())
}

/// Writes it down; an empty one is removed.
pub fn write(layout: &Layout, broker: &NodeName, record: &DynamicRecord) -> Result<(), SysError> {
    let path = layout.dynamic(broker);
    if record.set.is_empty() {
        return fs::remove_optional(&path).map(drop);
    }
    let text = serde_json::to_string(record).unwrap_or_default();
    // ZooKeeper's log survives a loss of power, so must this.
    fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::PowerLoss)
}

/// Takes what we set out of ZooKeeper, before the start of the broker. Its session is gone: nobody else reads or writes it now.
pub(super) async fn take_back(
    layout: &Layout,
    node: &NodeName,
    journal: &Journal,
    zookeeper: SocketAddr,
    broker: u32,
) -> Result<(), PrepareError> {
    let record = read(layout, node, journal).map_err(|e| PrepareError::file(node, &e))?;
    if record.set.is_empty() {
        return Ok(());
    }
    let told = out_of_zookeeper(zookeeper, broker, &record).await;
    let Left { taken, others } = told.map_err(|e| {
        PrepareError::Passing(format!("{node}: what a reload set while it ran could not be taken back: {e}"))
    })?;
    // Asked again, ZooKeeper has nothing of it any more.
    fail_point!("dynamic.taken-back");
    write(layout, node, &DynamicRecord::default()).map_err(|e| PrepareError::file(node, &e))?;
    if !taken.is_empty() {
        tracing::info!(node = %node, "starts with its file alone: {} had been set while it ran", taken.join(", "));
    }
    if !others.is_empty() {
        tracing::warn!(node = %node, "{} was set while it ran by somebody else and beats its file", others.join(", "));
    }
    Ok(())
}

async fn out_of_zookeeper(zookeeper: SocketAddr, broker: u32, record: &DynamicRecord) -> Result<Left, String> {
    let path = format!("/config/brokers/{broker}");
    let words = |e: ClientError| e.in_one_line();
    let mut session = Session::connect(zookeeper, ASK).await.map_err(words)?;
    let done = async {
        let Some((data, stat)) = session.get_data(&path).await.map_err(words)? else { return Ok(Left::default()) };
        let (rest, left) = without(&data, record).map_err(|what| format!("{path} cannot be read: {what}"))?;
        if !left.taken.is_empty() {
            session.set_data(&path, &rest, stat.version).await.map_err(words)?;
        }
        Ok(left)
    }
    .await;
    // What was done counts, also when the goodbye fails.
    let _ = session.close().await;
    done
}

/// Of the settings on record: those that go, and those that somebody has given another value since.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    taken: Vec<String>,
    others: Vec<String>,
}

/// The node's data without what is ours: `{"version":1,"config":{KEY:VALUE}}` (ZkData.scala, `ConfigEntityZNode`). Everything else in
/// it stays.
fn without(data: &[u8], record: &DynamicRecord) -> Result<(Vec<u8>, Left), String> {
    let mut all: serde_json::Value = serde_json::from_slice(data).map_err(|e| e.to_string())?;
    let Some(config) = all.get_mut("config").and_then(serde_json::Value::as_object_mut) else {
        return Err("it holds no settings".into());
    };
    let mut left = Left::default();
    for key in record.set.keys() {
        match config.get(key).and_then(serde_json::Value::as_str) {
            None => {}
            Some(value) if record.is_ours(key, value) => {
                config.remove(key);
                left.taken.push(key.clone());
            }
            Some(value) => left.others.push(format!("{key} = {value}")),
        }
    }
    let bytes = serde_json::to_vec(&all).map_err(|e| e.to_string())?;
    Ok((bytes, left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn record() -> DynamicRecord {
        let mut record = DynamicRecord::default();
        let settings = [("num.io.threads", "8"), ("log.retention.ms", "5"), ("background.threads", "8")];
        record.intend(&settings.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect());
        record
    }

    #[test]
    fn only_values_of_ours_go_and_what_somebody_changed_since_is_told() {
        let data =
            br#"{"version":1,"config":{"num.io.threads":"8","log.retention.ms":"7","max.connections":"9"},"x":2}"#;
        let (bytes, left) = without(data, &record()).unwrap();
        let rest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let expected =
            serde_json::json!({"version": 1, "config": {"log.retention.ms": "7", "max.connections": "9"}, "x": 2});
        assert_eq!(rest, expected);
        assert_eq!(left, Left { taken: vec!["num.io.threads".into()], others: vec!["log.retention.ms = 7".into()] });
    }

    #[test]
    fn what_is_not_kafkas_form_is_left_alone() {
        for data in [&b""[..], b"{}", b"[]", br#"{"version":1,"config":[]}"#] {
            assert!(without(data, &record()).is_err());
        }
        let none = br#"{"version":1,"config":{}}"#;
        assert_eq!(without(none, &record()).unwrap().1, Left::default());
    }

    #[test]
    fn a_record_is_kept_until_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let node = NodeName::broker(1);
        let journal = Journal::start(&layout);
        let read = || read(&layout, &node, &journal).unwrap();
        assert_eq!(read(), DynamicRecord::default());
        write(&layout, &node, &record()).unwrap();
        assert_eq!(read(), record());
        write(&layout, &node, &DynamicRecord { set: BTreeMap::new(), ..record() }).unwrap();
        assert!(!layout.dynamic(&node).exists());
    }

    #[test]
    fn a_record_that_is_torn_at_any_byte_is_put_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let node = NodeName::broker(1);
        let journal = Journal::start(&layout);
        write(&layout, &node, &record()).unwrap();
        let whole = std::fs::read(layout.dynamic(&node)).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(layout.dynamic(&node), &whole[..cut]).unwrap();
            assert_eq!(read(&layout, &node, &journal).unwrap(), DynamicRecord::default(), "cut at {cut}");
            let told = journal.since(crate::base::Timestamp(0));
            assert_eq!(told.len(), cut + 1);
            assert!(told[cut].text.contains("--entity-name 1 --alter --delete-config"), "{:?}", told[cut]);
            assert!(layout.state().join("dynamic-broker-1.json.bad").exists(), "cut at {cut}");
        }
    }
}
