//! Nine idle nodes: what the supervisor holds in memory, and how often it wakes up.

use crate::{
    Bench,
    child::Starts,
    ours::{LIMIT, Ours},
    peers::{Kind, Peer},
    proc,
    report::{Figure, Measured},
};
use std::time::Duration;

const NODES: usize = 9;

/// After a start things settle: buffers are given back, and threads for blocking work end when they had none for 10 s.
const SETTLE: Duration = Duration::from_secs(12);

/// Shim and daemon against what runit and s6 hold per service.
pub fn figures(bench: &Bench) -> Measured<Vec<Figure>> {
    let watched = Duration::from_secs(if bench.short { 3 } else { 30 });
    let starts = Starts(bench.file("idle"));
    let mut ours = Ours::new(&bench.programs, &Ours::waiting(NODES, &bench.child, &starts.0))?;
    let daemon = ours.start()?;
    let children = starts.wait(NODES, LIMIT)?;
    let shims: Vec<i32> = children.iter().filter_map(|s| proc::parent(s.pid)).collect();
    ours.until("every node is ready", |s| Ours::all(s, "ready"))?;
    let (runit, s6) = (per_service(bench, Kind::Runit), per_service(bench, Kind::S6));
    std::thread::sleep(if bench.short { Duration::from_secs(1) } else { SETTLE });
    let count = || -> (u64, u64) { (proc::switches(daemon), shims.iter().map(|s| proc::switches(*s)).sum()) };
    let before = count();
    std::thread::sleep(watched);
    let after = count();
    let (of_daemon, of_shims) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    let memory: Vec<proc::Memory> = shims.iter().map(|s| proc::memory(*s)).collect();
    let most = memory.iter().map(|m| m.private).max().unwrap_or(0);
    let anonymous = memory.iter().map(|m| m.anonymous).max().unwrap_or(0);
    let whole = proc::memory(daemon);
    let private_mb = whole.private as f64 / 1024.0;
    Ok(vec![
        Figure {
            what: "9 idle nodes: private memory of a shim".into(),
            ours: format!("{most} kB"),
            against: format!("{}; {}", told(Kind::Runit, &runit), told(Kind::S6, &s6)),
            ratio: runit.ok().filter(|kb| *kb > 0).map(|kb| most as f64 / kb as f64),
            reach: "<= 190 kB".into(),
            reached: Some(most <= 190),
            rounds: 1,
            notes: vec![format!("the largest of nine; {anonymous} kB of it anonymous")],
        },
        Figure {
            what: "9 idle nodes: memory of the daemon".into(),
            ours: format!("{private_mb:.1} MB"),
            reach: "<= 15 MB".into(),
            reached: Some(private_mb <= 15.0),
            rounds: 1,
            notes: vec![format!(
                "private: {:.1} MB anonymous, the rest its own program's pages; {:.1} MB RSS with libraries of the system; {} threads",
                whole.anonymous as f64 / 1024.0,
                whole.rss as f64 / 1024.0,
                proc::threads(daemon)
            )],
            ..Figure::default()
        },
        Figure {
            what: format!("9 idle nodes: wake-ups in {} s", watched.as_secs()),
            ours: format!("daemon {of_daemon}, shims {of_shims}"),
            reach: "none: no probe is due".into(),
            reached: Some(of_daemon + of_shims == 0),
            rounds: 1,
            ..Figure::default()
        },
    ])
}

/// What a peer holds for one service, its log included, in kB.
fn per_service(bench: &Bench, kind: Kind) -> Measured<u64> {
    let starts = Starts(bench.file("idle-peer"));
    starts.clear();
    let mut peer = Peer::new(kind, NODES, &format!("{} wait {}", bench.child.display(), starts.0.display()))?;
    peer.start()?;
    starts.wait(NODES, LIMIT)?;
    std::thread::sleep(Duration::from_secs(1));
    let private: u64 = peer.own_processes().iter().map(|pid| proc::memory(*pid).private).sum();
    Ok(private / NODES as u64)
}

fn told(kind: Kind, measured: &Measured<u64>) -> String {
    match measured {
        Ok(kb) => format!("{} {kb} kB per service", kind.name()),
        Err(why) => why.clone(),
    }
}
