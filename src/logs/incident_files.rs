//! The files of incidents: names that tell what is in them, reading, and the bound on their number and size.

use crate::{
    base::{Incarnation, NodeName, incident::Incident},
    sys::{
        error::SysError,
        fs::{self, Durability},
    },
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// How many incidents are kept, and how many bytes of them. A record is 5 to 30 kB.
pub const KEPT: usize = 200;
const KEPT_BYTES: u64 = 16 << 20;

/// What the name of a file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of the incident.
    pub id: u64,
    /// Whose.
    pub node: NodeName,
    /// Of which start; none: a refused one.
    pub incarnation: Option<Incarnation>,
    /// The file.
    pub path: PathBuf,
}

/// `000007.broker-2.3.json`; a refused start has `-` for its number.
pub fn file_name(id: u64, node: &NodeName, incarnation: Option<u64>) -> String {
    match incarnation {
        Some(n) => format!("{id:06}.{node}.{n}.json"),
        None => format!("{id:06}.{node}.-.json"),
    }
}

fn parse(path: PathBuf) -> Option<Entry> {
    let name = path.file_name()?.to_str()?;
    let mut parts = name.strip_suffix(".json")?.split('.');
    let (id, node, start) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || !digits(id) || !(start == "-" || digits(start)) {
        return None;
    }
    let incarnation = if start == "-" { None } else { Some(Incarnation(start.parse().ok()?)) };
    Some(Entry { id: id.parse().ok()?, node: NodeName::new(node).ok()?, incarnation, path })
}

/// The incidents of a directory by number; none when there is no such directory. Other files are passed over.
pub fn list(dir: &Path) -> Result<Vec<Entry>, SysError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(SysError::path("read directory", dir, e)),
    };
    let mut found: Vec<Entry> = entries.flatten().filter_map(|e| parse(e.path())).collect();
    found.sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| a.path.cmp(&b.path)));
    Ok(found)
}

/// Longest file that is read as an incident, bytes: nothing that we write comes near.
const FILE_MAX: u64 = 4 << 20;

/// Reads one. The error says what is wrong with the file.
pub fn read(path: &Path) -> Result<Incident, String> {
    use std::io::Read;
    let cannot = |e: io::Error| format!("cannot read {}: {e}", path.display());
    let mut text = Vec::new();
    std::fs::File::open(path).map_err(cannot)?.take(FILE_MAX).read_to_end(&mut text).map_err(cannot)?;
    serde_json::from_slice(&text).map_err(|e| format!("{} is no incident: {e}", path.display()))
}

/// Writes one as a whole, so that it survives loss of power.
pub fn write(dir: &Path, incident: &Incident) -> Result<(), SysError> {
    fs::make_dir(dir, 0o750)?;
    let path = dir.join(file_name(incident.id, &incident.node, incident.incarnation));
    // A struct of texts and numbers always becomes JSON.
    let mut text = serde_json::to_vec_pretty(incident).unwrap_or_default();
    text.push(b'\n');
    fs::write_atomic(&path, &text, 0o640, Durability::PowerLoss)
}

/// Removes what is too much, and what a write that was interrupted left behind. Of the node with the most incidents the
/// oldest goes first, so that one node in a crash loop does not push out what is known of the others; the newest of each
/// node stays, because it tells the next daemon which deaths are on record.
pub fn prune(dir: &Path) -> Result<(), SysError> {
    let mut all = list(dir)?;
    let size = |e: &Entry| std::fs::metadata(&e.path).map_or(0, |m| m.len());
    let mut bytes: u64 = all.iter().map(size).sum();
    while all.len() > KEPT || bytes > KEPT_BYTES {
        let mut count: BTreeMap<&NodeName, usize> = BTreeMap::new();
        for entry in &all {
            *count.entry(&entry.node).or_default() += 1;
        }
        let Some((node, 2..)) = count.into_iter().max_by_key(|(_, n)| *n) else { break };
        let Some(at) = all.iter().position(|e| e.node == *node) else { break };
        let entry = all.remove(at);
        bytes = bytes.saturating_sub(size(&entry));
        fs::remove_optional(&entry.path)?;
    }
    Ok(())
}

/// Removes the temporary files of a daemon that was killed while it wrote.
pub fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".tmp") {
            // One that stays costs a few kilobytes until the next start.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn put(dir: &Path, id: u64, node: &str, incarnation: u64, bytes: usize) {
        std::fs::write(dir.join(file_name(id, &name(node), Some(incarnation))), vec![b'x'; bytes]).unwrap();
    }

    #[test]
    fn names_are_read_back_and_others_are_passed_over() {
        for (id, node, incarnation) in [(7, "broker-2", Some(3)), (1_234_567, "a", None)] {
            let entry = parse(PathBuf::from("/d").join(file_name(id, &name(node), incarnation))).unwrap();
            assert_eq!((entry.id, entry.node, entry.incarnation), (id, name(node), incarnation.map(Incarnation)));
        }
        for other in
            ["7.json", "7.a.json", "x.a.1.json", "7.A.1.json", "7.a.1.2.json", ".7.a.1.json.9.tmp", "7.a..json"]
        {
            assert!(parse(PathBuf::from(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn a_node_in_a_crash_loop_pushes_out_its_own_incidents_only() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), 1, "calm", 1, 10);
        put(dir.path(), 2, "other", 1, 10);
        put(dir.path(), 3, "other", 2, 10);
        for n in 4..=500 {
            put(dir.path(), n, "loops", n, 10);
        }
        prune(dir.path()).unwrap();
        let left = list(dir.path()).unwrap();
        assert_eq!(left.len(), KEPT);
        assert_eq!(left.iter().filter(|e| e.node != name("loops")).count(), 3);
        assert_eq!(left.last().unwrap().id, 500);
    }

    #[test]
    fn bytes_are_bounded_and_the_newest_of_each_node_stays() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=10 {
            put(dir.path(), n, "a", n, 3 << 20);
        }
        put(dir.path(), 11, "b", 1, 20 << 20);
        prune(dir.path()).unwrap();
        let ids: Vec<u64> = list(dir.path()).unwrap().iter().map(|e| e.id).collect();
        assert_eq!(ids, [10, 11]);
    }

    #[test]
    fn torn_and_foreign_files_are_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        assert!(list(&dir.path().join("none")).unwrap().is_empty());
        for text in ["", "{", "[]", "{\"schema\":1}", "\u{1b}[2J"] {
            let path = dir.path().join("000001.a.1.json");
            std::fs::write(&path, text).unwrap();
            let e = read(&path).unwrap_err();
            assert!(e.contains("is no incident"), "{e}");
        }
        std::fs::write(dir.path().join(".000001.a.1.json.77.tmp"), "x").unwrap();
        sweep(dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
