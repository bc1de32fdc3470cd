//! What reloads have set of a broker that ran: the record of it, and its way back before the broker's next start.
//!
//! Kafka keeps such settings in ZooKeeper (`/config/brokers/ID`), where they beat the file, for ever. By the next start the file says
//! the same or something newer, so what we set goes, and the broker begins with its file. Not after the start and over the admin
//! API: a broker that was down when its file changed would begin with the old value, which may delete records; and up to Kafka 3.8.0
//! one that has a setting of its logs taken back forgets what its file says of them (KAFKA-17584).

use super::prepare::PrepareError;
use crate::{
    base::{Layout, NodeName, dynamic::DynamicRecord},
    clients::{ClientError, zookeeper::Session},
    sys::{error::SysError, fs},
};
use std::{net::SocketAddr, time::Duration};

/// Bound of one question to ZooKeeper.
const ASK: Duration = Duration::from_secs(5);

/// What reloads have set of this broker. A file that cannot be understood is as good as none: what is set is then told as set by
/// somebody else.
pub fn read(layout: &Layout, broker: &NodeName) -> Result<DynamicRecord, SysError> {
    let text = fs::read_optional(&layout.dynamic(broker))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
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
    zookeeper: SocketAddr,
    broker: u32,
) -> Result<(), PrepareError> {
    let record = read(layout, node).map_err(|e| PrepareError::file(node, &e))?;
    if record.set.is_empty() {
        return Ok(());
    }
    let told = out_of_zookeeper(zookeeper, broker, &record).await;
    let Left { taken, others } = told.map_err(|e| {
        PrepareError::Passing(format!("{node}: what a reload set while it ran could not be taken back: {e}"))
    })?;
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
        assert_eq!(read(&layout, &node).unwrap(), DynamicRecord::default());
        write(&layout, &node, &record()).unwrap();
        assert_eq!(read(&layout, &node).unwrap(), record());
        write(&layout, &node, &DynamicRecord { set: BTreeMap::new(), ..record() }).unwrap();
        assert!(!layout.dynamic(&node).exists());
    }
}
