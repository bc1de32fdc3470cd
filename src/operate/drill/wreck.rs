//! What the drills of a throw-away cluster do to it: fill its file system, steal a port, take ZooKeeper's data away; and undo it.

use super::{
    evidence::{self, Shown},
    guarded::Guarded,
    records::LONG_BYTES,
};
use crate::{
    base::{
        Incarnation, Layout, NodeName,
        drill::{Drill, SmallDisk},
    },
    engine::{EngineOrder, Handle, Rejection, Snapshot},
    sys::{
        children, clock,
        fs::{names_in, remove_dir_all_optional, remove_optional},
        mounts,
    },
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};
use tokio::task::{JoinHandle, spawn_blocking};

/// A larger file system is none that was made for a drill, and is never filled.
const SMALL_MAX: u64 = 1 << 30;
/// What the filler leaves for the load until the disk is full, or until brokers are stopped for it, at most and at least: brokers and
/// ZooKeeper have logs of their own there.
const LEFT_MAX: u64 = 16 << 20;
const LEFT_MIN: u64 = 1 << 20;
/// For so long the load may write, on three brokers: a slow one shall meet the full disk before it is said that none has
/// (`outage::SHOWN_WITHIN`).
const SECONDS: u64 = 10;
/// Written at a time.
const BLOCK: usize = 256 << 10;
/// The word that names the thief in its command line.
const THIEF: &str = "hold-port";
/// How long the thief may take to begin: the start of a program.
const THIEF_WITHIN: Duration = Duration::from_secs(10);

/// What is broken.
#[derive(Debug)]
pub(super) enum Wreck {
    /// Nothing of this kind.
    None,
    /// A file that fills the file system.
    Full {
        /// Which.
        filler: PathBuf,
        /// The guard of `[disk]` is on; none: it is off.
        guarded: Option<Guarded>,
    },
    /// A port that another program takes.
    Stolen {
        /// Whose.
        victim: NodeName,
        /// Which.
        port: u16,
        /// By whom.
        thief: Thief,
    },
    /// ZooKeeper's data lies aside.
    Mixed {
        /// What becomes of it, until it is known.
        under_way: Option<JoinHandle<Result<MixUp, String>>>,
        /// What became of it.
        done: Option<Result<MixUp, String>>,
    },
}

/// What a mix-up came to.
#[derive(Debug)]
pub(super) struct MixUp {
    /// `meta.properties` of each broker before.
    identities: BTreeMap<PathBuf, Vec<u8>>,
    /// The cluster's id in them.
    cluster_id: String,
    /// The last start of each node before.
    before: BTreeMap<NodeName, Incarnation>,
    /// Whether the start was refused, with its reasons.
    refused: Result<(), Vec<String>>,
}

impl Wreck {
    /// What has to be shown now; none: there is nothing to show in this drill.
    pub(super) async fn shown(&mut self, snapshot: &Snapshot, flows: bool, engine: &Handle) -> Option<Shown> {
        match self {
            Wreck::None => None,
            Wreck::Full { guarded: Some(guarded), .. } => Some(guarded.shown(snapshot, flows, engine)),
            Wreck::Full { guarded: None, .. } => Some(evidence::disk_full(snapshot, flows)),
            Wreck::Stolen { victim, port, thief } => {
                Some(evidence::port_taken(snapshot, victim, *port, thief.pid(), THIEF))
            }
            Wreck::Mixed { under_way, done } => {
                match under_way.take_if(|work| work.is_finished()) {
                    None => {}
                    Some(work) => *done = Some(work.await.unwrap_or_else(|e| Err(e.to_string()))),
                }
                Some(match done {
                    None => Err("it is stopped, mixed up and started".into()),
                    Some(Err(why)) => Err(why.clone()),
                    Some(Ok(mixed)) => mixed
                        .untouched()
                        .and_then(|()| evidence::mixed_up(snapshot, &mixed.refused, &mixed.before, &mixed.cluster_id)),
                })
            }
        }
    }
}

impl MixUp {
    /// Nobody has written another identity into a broker's data.
    fn untouched(&self) -> Result<(), String> {
        match self.identities.iter().find(|(path, bytes)| fs::read(path).ok().as_ref() != Some(*bytes)) {
            None => Ok(()),
            Some((path, _)) => Err(format!("{} was changed", path.display())),
        }
    }
}

/// Whether the root lies on a file system that may be filled.
pub(super) fn may_be_filled(layout: &Layout) -> Result<u64, String> {
    let found = mounts::file_system(layout.root()).map_err(|e| e.in_one_line())?;
    let root = fs::canonicalize(layout.root()).map_err(|e| e.to_string())?;
    let own = found.mount == root && found.kind == "tmpfs" && found.total <= SMALL_MAX;
    if own { Ok(found.free) } else { Err(format!("{} is no small file system of its own", layout.root().display())) }
}

/// What the filler leaves for a load of so many records a second.
fn left_for(rate: u32) -> u64 {
    let a_second = u64::from(rate) * LONG_BYTES as u64 * 3;
    a_second.saturating_mul(SECONDS).clamp(LEFT_MIN, LEFT_MAX)
}

/// Fills the file system up to what a load of so many records a second shall take. `guard`: nodes are stopped before it is full.
pub(super) async fn fill(engine: &Handle, layout: &Layout, (guard, rate): (bool, u32)) -> Result<Wreck, String> {
    let guarded = if guard { Some(Guarded::begin(engine, layout).await?) } else { None };
    let leaves = left_for(rate) + if guard { SmallDisk::STOP.0 } else { 0 };
    let layout = layout.clone();
    blocking(move || {
        let free = may_be_filled(&layout)?;
        let filler = layout.root().join("filler");
        let write = || {
            let mut file = File::create(&filler)?;
            let mut left = usize::try_from(free.saturating_sub(leaves)).unwrap_or(0);
            let block = vec![0u8; BLOCK];
            while left > 0 {
                let now = left.min(BLOCK);
                file.write_all(&block[..now])?;
                left -= now;
            }
            Ok::<(), std::io::Error>(())
        };
        write().map_err(|e| format!("cannot fill {}: {e}", filler.display()))?;
        Ok(Wreck::Full { filler, guarded })
    })
    .await
}

/// Gives the space back.
pub(super) async fn empty(filler: &Path) -> Result<(), String> {
    let filler = filler.to_owned();
    blocking(move || remove_optional(&filler).map_err(|e| e.in_one_line())).await
}

/// A program that takes a port as soon as it is free. Dropped, it ends, and so it does when this process dies: its standard
/// input ends with it.
#[derive(Debug)]
pub(super) struct Thief {
    child: Child,
    /// Open, or its next line would end it.
    output: Option<BufReader<ChildStdout>>,
}

impl Thief {
    /// Starts it; it waits for the port from then on.
    pub(super) async fn start(port: SocketAddr) -> Result<Self, String> {
        let began = clock::now();
        let start = blocking(move || {
            let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
            let mut command = Command::new(&program);
            command.args([THIEF, &port.to_string()]).env_clear().current_dir("/");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let child = children::spawn_owned(|| command.spawn());
            let mut child = child.map_err(|e| format!("cannot run {}: {e}", program.display()))?;
            let output = child.stdout.take().map(BufReader::new);
            let mut thief = Self { child, output };
            let mut said = String::new();
            if let Some(output) = &mut thief.output {
                // An error is an empty line: it has not said that it waits.
                let _ = output.read_line(&mut said);
            }
            if said == "waiting\n" { Ok(thief) } else { Err(format!("{} {THIEF} did not begin", program.display())) }
        });
        match tokio::time::timeout(THIEF_WITHIN, start).await {
            Ok(started) => started,
            Err(_) => Err(format!("no thief after {} s", clock::now().since(began).as_secs())),
        }
    }

    fn pid(&self) -> i32 {
        // std has it from a pid_t
        i32::try_from(self.child.id()).unwrap_or_default()
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        // It may have ended by itself; after SIGKILL the wait is a matter of the kernel's.
        let _ = self.child.kill();
        let _ = self.child.wait();
        children::release(self.pid());
    }
}

/// Stops everything in order, puts ZooKeeper's data aside, and orders a start, which must be refused.
pub(super) fn mix_up(engine: &Handle, layout: &Layout, nodes: Vec<NodeName>) -> Wreck {
    let (engine, layout) = (engine.clone(), layout.clone());
    let work = async move {
        engine.order(EngineOrder::Stop { nodes: nodes.clone(), now: false }).await.map_err(super::fault::words)?;
        let snapshot = engine.snapshot();
        let before = snapshot.nodes.iter().map(|n| (n.name.clone(), n.incarnation)).collect();
        let (data, aside) = places(&layout);
        let brokers: Vec<PathBuf> =
            nodes.iter().filter(|n| **n != NodeName::zookeeper()).map(|n| layout.data(n)).collect();
        let identities = blocking(move || {
            let files = brokers.into_iter().map(|dir| dir.join("meta.properties"));
            let read = |path: PathBuf| match fs::read(&path) {
                Ok(bytes) => Ok((path, bytes)),
                Err(e) => Err(format!("cannot read {}: {e}", path.display())),
            };
            let identities = files.map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
            fs::rename(&data, &aside).map_err(|e| format!("cannot rename {}: {e}", data.display()))?;
            Ok(identities)
        })
        .await?;
        let cluster_id =
            identities.values().find_map(|bytes| cluster_id(bytes)).ok_or("no broker knows its cluster")?;
        let refused = match engine.order(EngineOrder::Start { nodes, with_needs: false }).await {
            Ok(_) => Ok(()),
            Err(Rejection::Unsafe(reasons)) => Err(reasons),
            Err(other) => {
                return Err(format!("the start was refused, but not as unsafe: {}", super::fault::words(other)));
            }
        };
        Ok(MixUp { identities, cluster_id, before, refused })
    };
    Wreck::Mixed { under_way: Some(tokio::spawn(work)), done: None }
}

/// Puts ZooKeeper's data back and starts everything.
pub(super) async fn put_back(engine: Handle, layout: Layout, nodes: Vec<NodeName>) -> Result<Vec<String>, Rejection> {
    engine.order(EngineOrder::Stop { nodes: nodes.clone(), now: false }).await?;
    let put = blocking(move || {
        let (data, aside) = places(&layout);
        // Not there: it was never put aside.
        if names_in(&aside).map_err(|e| e.in_one_line())?.is_empty() {
            return Ok(());
        }
        remove_dir_all_optional(&data).map_err(|e| e.in_one_line())?;
        fs::rename(&aside, &data).map_err(|e| format!("cannot rename {}: {e}", aside.display()))
    });
    put.await.map_err(Rejection::NotNow)?;
    engine.order(EngineOrder::Start { nodes, with_needs: false }).await
}

/// ZooKeeper's data, and where it lies aside.
fn places(layout: &Layout) -> (PathBuf, PathBuf) {
    let node = NodeName::zookeeper();
    (layout.data(&node), layout.node(&node).join("data.aside"))
}

/// `cluster.id` of a `meta.properties`.
fn cluster_id(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().find_map(|line| line.strip_prefix("cluster.id=")).map(|id| id.trim().to_owned())
}

/// The port of a broker's INTERNAL listener, which the others and our own clients use.
pub(super) fn internal_port(snapshot: &Snapshot, victim: &NodeName) -> Result<SocketAddr, String> {
    let node = snapshot.nodes.iter().find(|n| n.name == *victim);
    let port = node.and_then(|n| n.ports.iter().find(|p| p.name == "INTERNAL"));
    port.map(|p| p.address).ok_or_else(|| format!("{victim} has no INTERNAL port"))
}

/// Whether this drill may run under this root: only where a drill's own command has made it.
pub(super) fn may_run(drill: Drill, layout: &Layout) -> Result<(), String> {
    if !drill.is_on_throw_away() {
        return Ok(());
    }
    let root = layout.root().display();
    if !layout.throw_away_mark().exists() {
        return Err(format!("{drill} runs on a throw-away cluster only, and {root} is none"));
    }
    if drill == Drill::DiskFull { may_be_filled(layout).map(|_| ()) } else { Ok(()) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_root_that_was_made_for_it_is_wrecked() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for drill in Drill::ALL {
            assert_eq!(may_run(drill, &layout).is_err(), drill.is_on_throw_away(), "{drill}");
        }
        std::fs::write(layout.throw_away_mark(), "").unwrap();
        assert_eq!(may_run(Drill::PortThief, &layout), Ok(()));
        let refused = may_run(Drill::DiskFull, &layout).unwrap_err();
        assert!(refused.contains("no small file system of its own"), "a disk of the host is never filled: {refused}");
    }

    #[test]
    fn a_slow_load_meets_the_full_disk_as_well() {
        for rate in [10, 50, 500, 5_000, u32::MAX] {
            let seconds = left_for(rate) / (u64::from(rate) * 3_000);
            assert!(seconds < 40 && left_for(rate) >= 1 << 20, "{rate} a second: {seconds} s");
        }
        assert!(left_for(500) > 14 << 20, "as it was with the usual rate");
    }

    #[test]
    fn the_cluster_id_is_read_as_kafka_writes_it() {
        let text = b"#\n#Thu Nov 26 02:00:00 UTC 2026\ncluster.id=AbC-_d\nversion=0\nbroker.id=1\n";
        assert_eq!(cluster_id(text).unwrap(), "AbC-_d");
        assert_eq!(cluster_id(b"version=0\n"), None);
    }
}
