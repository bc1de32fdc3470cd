//! What a store holds and who uses it; what may be removed, and the removal; whether every byte is the one that was stored.

use super::{
    ArtifactError, Part, Progress, Settings,
    lockfile::LockFile,
    manifest::{self, Care, Manifest},
    store::Store,
};
use crate::{
    base::Timestamp,
    sys::{command::Cancel, error::SysError, failpoint::fail_point, fs as sysfs, process},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Class-data archives lie here (`services`), unfinished downloads there.
const CLASS_DATA: &str = "class-data";
const DOWNLOADS: &str = "downloads";

/// What lies beside the trees and is none: the lock, the record, work under way, archives put there by hand.
const OTHERS: [&str; 6] = ["lock", "lock.toml", "tmp", "files", CLASS_DATA, DOWNLOADS];

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A program's files.
    Tree,
    /// A class-data archive with its marks; made again by the next start that wants it.
    ClassData,
    /// A part of a download; without it that one begins anew.
    Download,
    /// Something that is not ours, never removed.
    Foreign,
}

impl What {
    /// Its word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Tree => "tree",
            What::ClassData => "class-data",
            What::Download => "download",
            What::Foreign => "foreign",
        }
    }
}

/// Why an item is kept, or that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// What the next start runs.
    Current,
    /// A version that this store had before, kept for going back.
    Earlier,
    /// No record names it.
    Unused,
}

impl State {
    /// Its word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Current => "current",
            State::Earlier => "earlier",
            State::Unused => "unused",
        }
    }
}

/// Something in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name in the store, below `class-data/` or `downloads/` where it is one of those.
    pub name: String,
    /// What it is.
    pub what: What,
    /// Which part, for a recorded tree.
    pub part: Option<Part>,
    /// Its version, likewise.
    pub version: Option<String>,
    /// Where it came from, likewise.
    pub source: Option<String>,
    /// When, likewise.
    pub fetched_at: Option<Timestamp>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether something names it.
    pub state: State,
    /// Processes that run from it now, whichever root they belong to.
    pub pids: Vec<i32>,
    paths: Vec<PathBuf>,
}

/// Looks at the store of `settings`, which also choose what the next start runs. `class_data` are the archives that the
/// configuration's nodes use; none: nobody can tell, and then all are taken for used.
pub fn look(settings: &Settings, class_data: Option<&BTreeSet<PathBuf>>) -> Result<Vec<Item>, ArtifactError> {
    let (store, record) = (&settings.store, record(settings)?);
    let mut items = Vec::new();
    for entry in list(store)? {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if OTHERS.contains(&name.as_str()) {
            continue;
        }
        let trees = record.trees();
        let known = trees.iter().filter(|k| k.tree.directory == name).max_by_key(|k| k.current);
        items.push(Item {
            what: if known.is_some() || path.join(manifest::NAME).is_file() { What::Tree } else { What::Foreign },
            part: known.map(|k| k.part),
            version: known.map(|k| k.version.to_owned()),
            source: known.map(|k| k.tree.source.clone()),
            fetched_at: known.map(|k| k.tree.fetched_at),
            bytes: bytes(&path),
            state: match known {
                Some(known) if known.current => State::Current,
                Some(_) => State::Earlier,
                None => State::Unused,
            },
            pids: Vec::new(),
            paths: vec![path],
            name,
        });
    }
    for (what, directory) in [(What::ClassData, CLASS_DATA), (What::Download, DOWNLOADS)] {
        let place = store.join(directory);
        let mut groups: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for entry in list(&place)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            // `kafka-HASH.jsa`, `.size`, `.failed`; `FILE.part`, `FILE.part.state`
            let stem = match what {
                What::Download => name.trim_end_matches(".state").trim_end_matches(".part"),
                What::ClassData | What::Tree | What::Foreign => {
                    name.split_once('.').map_or(name.as_str(), |(stem, _)| stem)
                }
            };
            let group = if stem.is_empty() { name.as_str() } else { stem };
            groups.entry(group.to_owned()).or_default().push(entry.path());
        }
        for (name, paths) in groups {
            let used = match what {
                What::ClassData => {
                    class_data.is_none_or(|used| paths.iter().any(|p| used.contains(&p.with_extension("jsa"))))
                }
                What::Tree | What::Download | What::Foreign => false,
            };
            items.push(Item {
                name: format!("{directory}/{name}"),
                what,
                part: None,
                version: None,
                source: None,
                fetched_at: None,
                bytes: paths.iter().map(|p| bytes(p)).sum(),
                state: if used { State::Current } else { State::Unused },
                pids: Vec::new(),
                paths,
            });
        }
    }
    see_processes(&mut items);
    Ok(items)
}

/// The record, with what is chosen now as what is used.
fn record(settings: &Settings) -> Result<LockFile, ArtifactError> {
    Ok(LockFile::read(&settings.store)?.turned_to(&settings.kafka_choice, settings.mysql_choice.as_deref()))
}

/// Finds who runs from an item: by its path in command lines, which everybody may read, and by programs.
fn see_processes(items: &mut [Item]) {
    for pid in process::all() {
        let mut said = process::command_line(pid);
        if let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) {
            said.push(' ');
            said.push_str(&program.to_string_lossy());
        }
        for item in items.iter_mut() {
            if item.paths.iter().any(|path| names(&said, path)) {
                item.pids.push(pid);
            }
        }
    }
}

/// Whether a command line has this path, or one below it.
fn names(said: &str, path: &Path) -> bool {
    let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    [path, &resolved].iter().any(|path| {
        let path = path.to_string_lossy();
        said.match_indices(path.as_ref()).any(|(at, _)| {
            let next = said[at + path.len()..].chars().next();
            next.is_none_or(|c| matches!(c, '/' | ':' | ' ' | ','))
        })
    })
}

/// What may go: pure. Never what a process runs from, nor what is not ours. With `earlier` also versions kept for going back.
pub fn disposable(items: &[Item], earlier: bool) -> Vec<&Item> {
    let may_go = |item: &&Item| {
        item.pids.is_empty()
            && match (item.what, item.state) {
                (What::Foreign, _) | (_, State::Current) => false,
                (_, State::Unused) => true,
                (_, State::Earlier) => earlier,
            }
    };
    items.iter().filter(may_go).collect()
}

/// Removes what may go, and returns it. Holds the store's lock meanwhile.
pub fn collect(
    settings: &Settings,
    class_data: Option<&BTreeSet<PathBuf>>,
    earlier: bool,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Item>, ArtifactError> {
    let store = &settings.store;
    let held = Store::take(store, progress, cancel)?;
    let items = look(settings, class_data)?;
    let going: Vec<Item> = disposable(&items, earlier).into_iter().cloned().collect();
    // The record first: a tree without a record is removed by the next run, a record without a tree would mislead.
    let mut record = record(settings)?;
    let gone = |directory: &str| going.iter().any(|item| item.what == What::Tree && item.name == directory);
    let before = LockFile::read(store)?;
    record.earlier_kafka.retain(|k| !gone(&k.tree.directory));
    record.earlier_mysql.retain(|m| !gone(&m.tree.directory));
    if record != before {
        record.write(store)?;
    }
    let work = held.work("gone")?;
    for (index, path) in going.iter().flat_map(|item| &item.paths).enumerate() {
        if cancel.is_cancelled() {
            return Err(ArtifactError::Cancelled);
        }
        // Out of sight in one step, so that nobody ever sees half a tree.
        let aside = work.path().join(index.to_string());
        fs::rename(path, &aside).map_err(|e| SysError::path("remove", path, e))?;
        fail_point!("store.gone");
        if aside.is_dir() { sysfs::remove_dir_all_optional(&aside)? } else { sysfs::remove_optional(&aside)? }
    }
    Ok(going)
}

/// A tree that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name in the store.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// What is wrong with it.
    pub fault: Option<String>,
}

/// Reads every byte of every tree.
pub fn verify(store: &Path, cancel: &Cancel) -> Result<Vec<Verified>, ArtifactError> {
    let record = LockFile::read(store)?;
    let trees = record.trees();
    let mut names: BTreeSet<String> = trees.iter().map(|k| k.tree.directory.clone()).collect();
    for entry in list(store)? {
        if entry.path().join(manifest::NAME).is_file() {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
        .into_iter()
        .filter(|name| !OTHERS.contains(&name.as_str()))
        .map(|name| {
            if cancel.is_cancelled() {
                return Err(ArtifactError::Cancelled);
            }
            let tree = store.join(&name);
            let recorded = trees.iter().find(|k| k.tree.directory == name).map(|k| k.tree.content.as_str());
            let (bytes, fault) = match Manifest::read(&tree) {
                Err(why) => (0, Some(why)),
                Ok(manifest) if recorded.is_some_and(|content| content != manifest.content()) => {
                    (manifest.bytes(), Some("it is not the tree that was recorded".to_owned()))
                }
                Ok(manifest) => (manifest.bytes(), manifest.damage(&tree, Care::Full)),
            };
            Ok(Verified { name, bytes, fault })
        })
        .collect()
}

fn list(directory: &Path) -> Result<Vec<fs::DirEntry>, SysError> {
    match manifest::entries(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// Bytes of the files of an item; what cannot be looked at counts nothing.
fn bytes(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    manifest::entries(path).unwrap_or_default().iter().map(|e| bytes(&e.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{
        Silent,
        lockfile::{KafkaRecord, TreeRecord},
    };

    fn kafka(store: &Store, choice: &str) -> KafkaRecord {
        let work = store.work("w").unwrap();
        let tree = work.sub("tree").unwrap();
        fs::write(tree.join("f"), choice).unwrap();
        let stored = store.install(&tree, &format!("kafka-{choice}")).unwrap();
        KafkaRecord {
            version: choice.into(),
            zookeeper_version: "3".into(),
            tree: TreeRecord::new(stored, "test".into(), Timestamp(0)),
            class_path: vec!["f".into()],
            choice: Some(choice.into()),
            archive: None,
        }
    }

    /// A store with a current tree, an earlier one, one that no record names, archives, a part of a download, and a stranger.
    fn filled() -> (tempfile::TempDir, BTreeSet<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let store = Store::take(dir.path(), &Silent, &Cancel::default()).unwrap();
        let mut record = LockFile::default();
        for choice in ["old", "new"] {
            record.put_kafka(kafka(&store, choice));
        }
        kafka(&store, "lost");
        record.write(dir.path()).unwrap();
        for (name, text) in [
            ("class-data/kafka-1.jsa", "used"),
            ("class-data/kafka-1.size", "4"),
            ("class-data/kafka-2.jsa", "stale"),
            ("class-data/kafka-2.size", "5"),
            ("class-data/.training.kafka-3.jsa.1/x", "dead"),
            ("downloads/a.tgz.part", "half"),
            ("downloads/a.tgz.part.state", "x"),
            ("files/a.tgz", "mine"),
            ("notes/readme", "mine"),
        ] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        }
        (dir, BTreeSet::from([PathBuf::from("class-data/kafka-1.jsa")]))
    }

    fn used(dir: &Path, names: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        names.iter().map(|n| dir.join(n)).collect()
    }

    fn settings(store: &Path) -> Settings {
        Settings::new(store)
    }

    fn states(items: &[Item]) -> Vec<(String, What, State)> {
        items.iter().map(|i| (i.name.split("-").take(2).collect::<Vec<_>>().join("-"), i.what, i.state)).collect()
    }

    #[test]
    fn everything_in_a_store_is_listed_with_what_it_is() {
        let (dir, names) = filled();
        let items = look(&settings(dir.path()), Some(&used(dir.path(), &names))).unwrap();
        assert_eq!(
            states(&items),
            [
                ("kafka-lost", What::Tree, State::Unused),
                ("kafka-new", What::Tree, State::Current),
                ("kafka-old", What::Tree, State::Earlier),
                ("notes", What::Foreign, State::Unused),
                ("class-data/.training.kafka-3.jsa.1", What::ClassData, State::Unused),
                ("class-data/kafka-1", What::ClassData, State::Current),
                ("class-data/kafka-2", What::ClassData, State::Unused),
                ("downloads/a.tgz", What::Download, State::Unused),
            ]
            .map(|(n, w, s)| (n.split("-").take(2).collect::<Vec<_>>().join("-"), w, s))
        );
        let old = items.iter().find(|i| i.name.starts_with("kafka-old")).unwrap();
        assert_eq!(
            (old.version.as_deref(), old.source.as_deref(), old.part),
            (Some("old"), Some("test"), Some(Part::Kafka))
        );
    }

    #[test]
    fn what_no_record_names_is_removed_and_earlier_versions_only_when_asked() {
        let (dir, names) = filled();
        let needed = used(dir.path(), &names);
        let there = || {
            let mut all: Vec<_> =
                fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            all.retain(|n| n.starts_with("kafka-") || n == "notes");
            all.iter().map(|n| n.split('-').take(2).collect::<Vec<_>>().join("-")).collect::<BTreeSet<_>>()
        };
        let gone = collect(&settings(dir.path()), Some(&needed), false, &Silent, &Cancel::default()).unwrap();
        assert_eq!(gone.len(), 4, "{gone:?}");
        assert_eq!(there(), ["kafka-new", "kafka-old", "notes"].map(str::to_owned).into());
        assert!(dir.path().join("class-data/kafka-1.size").exists() && dir.path().join("files/a.tgz").exists());
        assert!(!dir.path().join("class-data/kafka-2.size").exists());
        assert_eq!(fs::read_dir(dir.path().join("downloads")).unwrap().count(), 0);
        let gone = collect(&settings(dir.path()), Some(&needed), true, &Silent, &Cancel::default()).unwrap();
        assert_eq!(gone.len(), 1);
        assert_eq!(there(), ["kafka-new", "notes"].map(str::to_owned).into());
        assert!(LockFile::read(dir.path()).unwrap().earlier_kafka.is_empty());
        assert!(collect(&settings(dir.path()), None, true, &Silent, &Cancel::default()).unwrap().is_empty());
    }

    #[test]
    fn what_was_gone_back_to_is_current_and_the_other_is_what_goes() {
        let (dir, names) = filled();
        let needed = used(dir.path(), &names);
        let back = Settings { kafka_choice: "old".into(), ..settings(dir.path()) };
        let items = look(&back, Some(&needed)).unwrap();
        let state = |name: &str| items.iter().find(|i| i.name.starts_with(name)).unwrap().state;
        assert_eq!((state("kafka-old"), state("kafka-new")), (State::Current, State::Earlier));
        let gone = collect(&back, Some(&needed), true, &Silent, &Cancel::default()).unwrap();
        assert!(gone.iter().any(|i| i.name.starts_with("kafka-new")), "{gone:?}");
        let record = LockFile::read(dir.path()).unwrap();
        assert_eq!(record.kafka.map(|k| k.version), Some("old".into()));
        assert!(record.earlier_kafka.is_empty());
    }

    #[test]
    fn what_a_process_runs_from_is_never_removed() {
        let (dir, names) = filled();
        let store = fs::canonicalize(dir.path()).unwrap();
        let lost =
            look(&settings(&store), None).unwrap().into_iter().find(|i| i.name.starts_with("kafka-lost")).unwrap();
        // `read` is the shell's own: nothing outlives the test, to hold what it writes to
        let mut node = std::process::Command::new("sh")
            .args(["-c", "read line", "-cp"])
            .arg(store.join(&lost.name).join("f:/x"))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(node.id()).unwrap();
        // between fork and exec the child still has our command line
        let seen = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            look(&settings(&store), None).unwrap().iter().any(|i| i.name == lost.name && i.pids.contains(&pid))
        });
        let gone = collect(&settings(&store), Some(&used(&store, &names)), true, &Silent, &Cancel::default());
        node.kill().unwrap();
        node.wait().unwrap();
        assert!(seen);
        assert!(gone.unwrap().iter().all(|i| i.name != lost.name));
        assert!(store.join(&lost.name).is_dir());
    }

    #[test]
    fn a_changed_byte_a_lost_tree_and_a_swapped_one_are_found() {
        let (dir, _) = filled();
        let faults = || -> Vec<String> {
            let all = verify(dir.path(), &Cancel::default()).unwrap();
            assert!(all.len() >= 3, "{all:?}");
            all.into_iter().filter_map(|v| Some(format!("{}: {}", v.name, v.fault?))).collect()
        };
        assert!(faults().is_empty());
        let named = |start: &str| {
            let all = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
            all.into_iter().find(|p| p.file_name().unwrap().to_string_lossy().starts_with(start)).unwrap()
        };
        let file = named("kafka-new").join("f");
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        fs::write(&file, "nEw").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        fs::remove_dir_all(named("kafka-old")).unwrap();
        let faults = faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("has SHA-256") && faults[1].contains("is not there"), "{faults:?}");
    }
}
