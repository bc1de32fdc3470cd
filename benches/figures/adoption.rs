//! The daemon is killed and started again: how long until all nodes are adopted, and what they noticed.

use crate::{
    Bench,
    child::{Starts, monotonic},
    ours::{LIMIT, Ours},
    report::{Figure, Measured, p50_p95, percentile},
};
use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// A child that writes a numbered line every millisecond: a line lost in a take-over is a number that is missing.
pub const TICKER: &str = "ticker";

/// The table of the ticker.
pub fn ticker(child: &Path, starts: &Path) -> String {
    let argv = [child.display().to_string(), "tick".into(), starts.display().to_string(), "1000".into()];
    let mut toml = String::new();
    let _ =
        writeln!(toml, "[command.{TICKER}]\nargv = {argv:?}\nmemory_max = \"8M\"\n[command.{TICKER}.log]\nkeep = 100");
    toml
}

/// With nine small nodes; the row with the real ones is in `real`.
pub fn figure(bench: &Bench) -> Measured<Figure> {
    let starts = Starts(bench.file("adoption"));
    let toml = Ours::waiting(9, &bench.child, &starts.0) + &ticker(&bench.child, &starts.0);
    let mut ours = Ours::new(&bench.programs, &toml)?;
    ours.start()?;
    ours.until("every node is ready", |s| Ours::all(s, "ready"))?;
    rounds(&mut ours, bench.rounds(30, 2), "9 small nodes")
}

/// Kills and starts the daemon again and again.
pub fn rounds(ours: &mut Ours, rounds: usize, of: &str) -> Measured<Figure> {
    let before = ours.status()?;
    let pids = Ours::pids(&before);
    let mut times = Vec::new();
    for _ in 0..rounds {
        ours.kill_daemon();
        let began = monotonic();
        ours.start()?;
        adopted(ours, pids.len())?;
        times.push(monotonic().saturating_sub(began));
    }
    let after = ours.until("every node is ready again", |s| Ours::all(s, "ready"))?;
    let restarts = |status: &serde_json::Value| -> u64 {
        status["nodes"].as_array().into_iter().flatten().filter_map(|n| n["restarts"].as_u64()).sum()
    };
    let changed = pids.iter().zip(Ours::pids(&after)).filter(|(a, b)| **a != *b).count() as u64;
    let restarts = restarts(&after) - restarts(&before) + changed;
    let lost = missing(&ours.home().join("r/nodes").join(TICKER).join("log"))?;
    let p95 = percentile(&times, 0.95);
    Ok(Figure {
        what: format!("daemon killed and back, {of}, p50 / p95"),
        ours: p50_p95(&times),
        reach: "<= 100 ms, 0 restarts, 0 bytes lost".into(),
        reached: Some(p95 <= Duration::from_millis(100) && restarts == 0 && lost == 0),
        rounds,
        notes: vec![format!(
            "from the new daemon's start until it answers and has all nodes; {restarts} node restarts, {lost} of the ticker's lines (one a millisecond) lost"
        )],
        ..Figure::default()
    })
}

/// Waits until the daemon answers and has all processes.
fn adopted(ours: &Ours, many: usize) -> Measured<()> {
    let began = Instant::now();
    loop {
        if ours.status().is_ok_and(|s| Ours::pids(&s).len() == many) {
            return Ok(());
        }
        if began.elapsed() > LIMIT {
            return Err(format!("the nodes were not adopted within {LIMIT:?}"));
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Lines that are missing, doubled or cut in the ticker's log.
fn missing(dir: &Path) -> Measured<usize> {
    let mut files = cdc_supervisor::logs::writer::rotated_files(dir).map_err(|e| e.to_string())?;
    files.push(dir.join(cdc_supervisor::logs::writer::CURRENT));
    let mut text = String::new();
    for file in files {
        text += &fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let numbers: Vec<Option<usize>> = text.lines().map(|l| l.get(..12)?.parse().ok()).collect();
    let wrong = numbers.iter().enumerate().filter(|(at, n)| **n != Some(*at)).count();
    Ok(wrong)
}
