//! The rows with ZooKeeper, three brokers and mysqld: warm `up`, adoption, memory after a minute.

use crate::{
    Bench, adoption,
    child::Starts,
    ours::{LIMIT, Ours},
    proc,
    report::{Figure, Measured, median, ms, ratio},
    script,
};
use std::time::{Duration, Instant};

/// The five of the mission.
const NODES: [&str; 5] = ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"];

/// PSS under Docker, without the web interface, MB (the owner's own measurement: 75 + 3 x 308 + 395).
const DOCKER_MB: f64 = 1400.0;

/// All of them with one root, because its first start takes a minute.
pub fn figures(bench: &Bench, store: &str) -> Measured<Vec<Figure>> {
    let stack = format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\n[mysql]\n");
    let starts = Starts(bench.file("real"));
    let toml = stack + &adoption::ticker(&bench.child, &starts.0);
    let mut ours = Ours::new(&bench.programs, &toml)?;
    // data directories, class-data archives, topics
    ours.run(&["up", "--detach"])?;
    ours.run(&["down"])?;
    let mut figures = vec![warm_up(bench, &mut ours)?];
    ours.start()?;
    ours.until("every node is ready", |s| Ours::all(s, "ready"))?;
    figures.push(adoption::rounds(&mut ours, bench.rounds(100, 2), "five real nodes")?);
    figures.push(memory(bench, &ours)?);
    Ok(figures)
}

/// `up` and the script in turns.
fn warm_up(bench: &Bench, ours: &mut Ours) -> Measured<Figure> {
    let rounds = bench.rounds(5, 1);
    let (mut up, mut proven, mut by_script) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        by_script.push(script::run(ours)?);
        let began = Instant::now();
        let mut child = ours.verb(&["up", "--detach"]).spawn().map_err(|e| e.to_string())?;
        ours.until("every node is ready", |s| Ours::all(s, "ready"))?;
        up.push(began.elapsed());
        let status = child.wait().map_err(|e| e.to_string())?;
        proven.push(began.elapsed());
        if !status.success() {
            return Err(format!("up ended with {status}"));
        }
        ours.run(&["down"])?;
    }
    let (mine, theirs) = (median(&up), median(&by_script));
    let ratio = ratio(mine, theirs);
    Ok(Figure {
        what: "warm up to five nodes ready, median".into(),
        ours: ms(mine),
        against: format!("script {}", ms(theirs)),
        ratio,
        reach: "<= 0.6 x the script".into(),
        reached: ratio.map(|r| r <= 0.6),
        rounds,
        notes: vec![format!(
            "the script starts the same command lines in the same order with the same looks, without class-data archives and flags for the start; `up` had proven the cluster after {}",
            ms(median(&proven))
        )],
    })
}

/// Everything below the shims, a minute after the last start.
fn memory(bench: &Bench, ours: &Ours) -> Measured<Figure> {
    let rest = Duration::from_secs(if bench.short { 2 } else { 60 });
    std::thread::sleep(rest);
    let status = ours.status()?;
    let mut parts = Vec::new();
    let mut sum = 0.0;
    for name in NODES {
        let nodes = status["nodes"].as_array().into_iter().flatten();
        let pid = nodes.filter(|n| n["name"] == name).find_map(|n| n["pid"].as_i64()).ok_or("a node is gone")?;
        let pid = i32::try_from(pid).unwrap_or(0);
        let kb: u64 = std::iter::once(pid).chain(proc::descendants(pid)).map(|p| proc::memory(p).pss).sum();
        sum += kb as f64 / 1024.0;
        parts.push(format!("{name} {}", kb / 1024));
    }
    let daemon = proc::memory(ours.daemon()?);
    Ok(Figure {
        what: format!("PSS of five real nodes after {} s idle", rest.as_secs()),
        ours: format!("{sum:.0} MB"),
        against: format!("Docker {DOCKER_MB:.0} MB"),
        ratio: Some(sum / DOCKER_MB),
        reach: "<= 0.6 x".into(),
        reached: Some(sum / DOCKER_MB <= 0.6),
        rounds: 1,
        notes: vec![format!(
            "MB: {}; the daemon beside them: {:.1} private, {:.1} RSS",
            parts.join(", "),
            daemon.private as f64 / 1024.0,
            daemon.rss as f64 / 1024.0
        )],
    })
}

/// Longest a start by script may take.
pub const START_LIMIT: Duration = LIMIT;
