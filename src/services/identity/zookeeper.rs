//! The cluster's id in ZooKeeper's own files, for whoever has only those: a store that is at rest, or its copy.
//!
//! Its logs of transactions and its snapshots write a node as jute does: the path behind its length, the data behind theirs
//! (CreateTxn and DataNode.serialize, 3.6.4; both begin with path and data). A broker makes `/cluster/id` once, for ever.

use super::cluster_id;

/// `/cluster/id` behind its length.
const KEY: &[u8] = b"\x00\x00\x00\x0b/cluster/id";

/// The longest value that is looked at: `{"version":"1","id":"…"}` with an id of 22 characters has 46 bytes.
const VALUE_MAX: usize = 256;

/// Bytes that two parts of a file have to have in common, so that nothing is cut in two.
pub const OVERLAP: usize = KEY.len() + 4 + VALUE_MAX;

/// The last cluster id in these bytes of a file.
pub fn cluster_in_files(bytes: &[u8]) -> Option<String> {
    let starts = bytes.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY);
    starts.filter_map(|(at, _)| value(&bytes[at + KEY.len()..])).next_back()
}

fn value(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok().filter(|length| *length <= VALUE_MAX)?;
    cluster_id(rest.get(..length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, data: &str) -> Vec<u8> {
        let part = |text: &str| [&i32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        [part(path), part(data), vec![0; 40]].concat()
    }

    #[test]
    fn the_last_id_that_was_written_is_found_and_nothing_else_is_taken_for_one() {
        let id = |id: &str| node("/cluster/id", &format!("{{\"version\":\"1\",\"id\":\"{id}\"}}"));
        let bytes =
            [node("/cluster", ""), id("A"), node("/brokers/ids/1", "/cluster/id"), id("B"), node("/x", "")].concat();
        assert_eq!(cluster_in_files(&bytes).as_deref(), Some("B"));
        for strange in [
            node("/cluster/id", ""),
            node("/cluster/id", "no json"),
            node("/other/cluster/id", "{\"version\":\"1\",\"id\":\"A\"}"),
            KEY.to_vec(),
            [KEY, &[0xff; 8]].concat(),
            [KEY, &[0, 0, 0, 40], b"{"].concat(),
            Vec::new(),
        ] {
            assert_eq!(cluster_in_files(&strange), None, "{strange:?}");
        }
        assert!(id("a-cluster's-id-of-22ch").len() - 40 <= OVERLAP);
    }
}
