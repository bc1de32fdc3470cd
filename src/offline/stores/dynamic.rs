//! What reloads had set of brokers belongs to ZooKeeper's data: with them it is copied and comes back, or after a restore nobody would
//! know it for ours and it would beat the file for ever.

use crate::{
    base::{Layout, NodeName, dynamic::DynamicRecord},
    sys::{error::SysError, fs},
};
use std::collections::BTreeMap;

/// By broker.
pub(super) type Records = BTreeMap<String, DynamicRecord>;

/// A torn record stays: the broker's next start puts it aside and says what follows. After a restore it says nothing: what it was
/// about went with ZooKeeper's old data.
fn of(layout: &Layout, broker: &NodeName) -> Result<DynamicRecord, SysError> {
    let text = fs::read_optional(&layout.dynamic(broker))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// What is on record of these nodes.
pub(super) fn copy<'a>(layout: &Layout, nodes: impl Iterator<Item = &'a NodeName>) -> Result<Records, SysError> {
    let mut records = Records::new();
    for node in nodes {
        let record = of(layout, node)?;
        if !record.set.is_empty() {
            records.insert(node.to_string(), record);
        }
    }
    Ok(records)
}

/// Puts them beside what is on record: until the data are exchanged that holds too.
pub(super) fn put_back(layout: &Layout, records: &Records) -> Result<(), SysError> {
    for (name, copied) in records {
        // The name comes from a file and becomes a path.
        let Ok(node) = NodeName::new(name) else { continue };
        let mut record = of(layout, &node)?;
        record.schema = 1;
        for (key, values) in &copied.set {
            record.set.entry(key.clone()).or_default().extend(values.iter().cloned());
        }
        let text = serde_json::to_string(&record).unwrap_or_default();
        fs::write_atomic(&layout.dynamic(&node), text.as_bytes(), 0o640, fs::Durability::PowerLoss)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_beside_those_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let (one, two) = (NodeName::broker(1), NodeName::broker(2));
        let settled = |value: &str| {
            let mut record = DynamicRecord { schema: 1, ..DynamicRecord::default() };
            record.settle(&BTreeMap::from([("num.io.threads".to_owned(), value.to_owned())]));
            record
        };
        let write = |record: &DynamicRecord| {
            std::fs::write(layout.dynamic(&one), serde_json::to_string(record).unwrap()).unwrap();
        };
        write(&settled("6"));
        let copied = copy(&layout, [&one, &two].into_iter()).unwrap();
        assert_eq!(copied, Records::from([("broker-1".into(), settled("6"))]));
        write(&settled("8"));
        let hostile = Records::from([("../../x".to_owned(), settled("1"))]);
        put_back(&layout, &hostile).unwrap();
        put_back(&layout, &copied).unwrap();
        let record = of(&layout, &one).unwrap();
        assert!(record.is_ours("num.io.threads", "6") && record.is_ours("num.io.threads", "8"));
        assert_eq!(of(&layout, &two).unwrap(), DynamicRecord::default());
    }
}
