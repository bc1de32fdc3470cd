//! kill -9 at every point there is.

use crate::{
    bench::Bench,
    support::{STATE_LIMIT, pid_of, until},
};
use std::{
    collections::BTreeSet,
    fmt::Display,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Mutex,
    thread,
    time::Instant,
};

/// Files whose writing is cut short: of the daemon, and the exit record that the shim of `a` writes.
const FILES: [&str; 7] = [
    "state/session.json",
    "state/plan.toml",
    "state/reload.toml",
    "nodes/a.json",
    "nodes/a/run/launched.json",
    "state/incidents/000001.a.1.json",
    "nodes/a/run/exit.1",
];

/// Those have tests of their own: `mysql.rs`, `bundle.rs`, `fence.rs`, `dynamic.rs`, `room.rs`, `stores.rs`, `rolls.rs`, `owed.rs`,
/// `drills.rs`.
const ELSEWHERE: [&str; 14] = [
    "mysql.",
    "bundle.",
    "store.",
    "fence.",
    "dynamic.",
    "topics.",
    "room.",
    "snapshot.",
    "exchange.",
    "stores.",
    "operation.",
    "unrolled.",
    "owed.",
    "drill.",
];

/// How many roots live at once: the machine's cores wait for timers most of the time.
const WORKERS: usize = 4;

/// The names of all failpoints that a stack of commands goes through, from the sources.
fn points() -> BTreeSet<String> {
    let mut found = all_points(&FILES);
    found.retain(|name| !ELSEWHERE.iter().any(|of| name.starts_with(of)));
    if let Err(why) = cdc_supervisor::sys::cgroup::look() {
        found.retain(|name| !name.starts_with("cgroup."));
        eprintln!("points of cgroups are left out, there are none here: {why}");
    }
    found
}

/// The names of all failpoints; those of a write once for each of the files.
pub fn all_points(files: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().flatten().map(|e| e.path()) {
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for start in ["fail_point!(\"", "fail_io!(\""] {
                for (at, _) in text.match_indices(start) {
                    let name = text[at + start.len()..].split('"').next().unwrap();
                    if name.starts_with("write.") {
                        found.extend(files.iter().map(|file| format!("{name}@{file}")));
                    } else {
                        found.insert(name.to_owned());
                    }
                }
            }
        }
    }
    found
}

/// Whether it is the daemon that dies there, and no shim.
fn is_of_the_daemon(point: &str) -> bool {
    let of_a_shim = point.starts_with("shim.") || point.starts_with("log.") || point.contains("/run/exit.");
    !of_a_shim
}

fn kill_at(point: &str) {
    let bench = Bench::new();
    bench.arm(&format!("{point} kill"));
    if point == "events.moved" {
        bench.fill_events();
    }
    let done = if point.starts_with("logs.") {
        // A rotated file is compressed in the daemon's own time, which a busy machine makes longer than a life.
        drop(bench.up());
        until(STATE_LIMIT, "a file is compressed", || if bench.hit() { Ok(()) } else { Err("not yet".into()) });
        BTreeSet::from(["up"])
    } else {
        bench.live_a_life()
    };
    assert!(bench.hit(), "{point} is never reached: name what leads there in `live_a_life`");
    let strict = is_of_the_daemon(point);
    if point.starts_with("logs.") {
        // While it lies there as it was left: the next daemon clears it away.
        bench.nothing_of_a_is_missing();
    }
    if strict && done.contains("node killed") {
        bench.up();
        let last = &bench.node("a").expect("a daemon that answers")["last_exit"];
        // killed by the bench, or stopped by the `down` at the end of its life
        assert!(last["signal"] == "SIGKILL" || done.contains("down"), "how a ended is forgotten: {last}");
        let recorded = |bench: &Bench| bench.incidents_of("a").iter().filter(|start| **start == 1).count();
        until(STATE_LIMIT, "its death is on record, once", || match recorded(&bench) {
            1 => Ok(()),
            other => Err(format!("{other} times")),
        });
    }
    bench.must_be_whole(strict);
    if point.starts_with("log.") {
        bench.what_is_missing_of_a_is_marked();
    }
}

/// Does this at every one of these points, several at once, and fails with all that failed.
pub fn at_all<T: Clone + Display + Send + Sync>(points: &[T], kill_at: impl Fn(&T) + Sync) {
    let (queue, failed) = (Mutex::new(points.to_vec()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop();
                    let Some(point) = next else { return };
                    let began = Instant::now();
                    if let Err(why) = catch_unwind(AssertUnwindSafe(|| kill_at(&point))) {
                        let words = why.downcast_ref::<String>().cloned().unwrap_or_default();
                        eprintln!("FAILED {point}: {words}");
                        failed.lock().unwrap().push(format!("{point}: {}", words.lines().next().unwrap_or_default()));
                    } else {
                        eprintln!("killed at {point}: whole again after {:.1} s", began.elapsed().as_secs_f32());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} points:\n{}", failed.len(), points.len(), failed.join("\n"));
}

#[test]
fn whatever_is_killed_wherever_the_next_daemon_brings_everything_back_once() {
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let all: Vec<String> = points().into_iter().filter(|p| p.contains(&only)).collect();
    assert!(all.len() >= 40 || !only.is_empty(), "points are gone: {all:?}");
    at_all(&all, |point| kill_at(point));
}

#[test]
fn every_point_that_is_left_to_another_file_is_named_there() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let files = fs::read_dir(tests).unwrap().flatten().map(|e| e.path()).filter(|path| !path.ends_with("points.rs"));
    let texts: Vec<String> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    for point in all_points(&[]) {
        let of = ELSEWHERE.into_iter().chain(["cgroup."]).find(|of| point.starts_with(of));
        let Some(of) = of else { continue };
        // by its name, or with all of its kind from the sources
        let named = texts
            .iter()
            .any(|text| text.contains(&point) || (text.contains("all_points(") && text.contains(&format!("\"{of}\""))));
        assert!(named, "{point} is reached by no test");
    }
}

#[test]
fn this_bench_sees_lines_that_never_reached_the_log_also_at_the_end_of_a_run() {
    for full in [false, true] {
        let bench = Bench::new();
        assert_eq!(bench.up().code, Some(0));
        let log = bench.path("nodes/a/log/current");
        until(STATE_LIMIT, "a has written", || match bench.counted_by_a().first() {
            Some(count) if *count > 50 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        if full {
            bench.arm("log.append error=28");
            let before = bench.counted_by_a();
            until(STATE_LIMIT, "a goes on", || match bench.counted_by_a() {
                now if now[0] > before[0] + 20 => Ok(()),
                now => Err(format!("{now:?}")),
            });
        }
        assert_eq!(bench.run(&["down"]).code, Some(0));
        let counted = bench.counted_by_a();
        if !full {
            bench.all_of_a_is_there(&counted).unwrap();
            let file = fs::File::options().write(true).open(&log).unwrap();
            let text = fs::read_to_string(&log).unwrap();
            // its last line, as if the shim had never read it
            file.set_len(text.trim_end().rfind('\n').map_or(0, |end| end + 1) as u64).unwrap();
        }
        let seen = bench.all_of_a_is_there(&counted);
        assert!(seen.is_err(), "lines are missing and nothing said so");
        bench.root.await_empty();
    }
}

#[test]
fn the_next_run_of_a_node_whose_shim_was_killed_writes_behind_all_that_the_last_one_wrote() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    // the disk is slow for whoever takes over
    bench.arm("pump.block delay=400");
    let node = bench.node("a").unwrap();
    crate::support::process::kill(crate::support::process::parent(pid_of(&node)).unwrap(), 9);
    until(STATE_LIMIT, "a is replaced", || match bench.node("a") {
        Some(next) if next["state"] == "ready" && next["incarnation"] == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(bench.pair.dir().join("failpoints.at").exists(), "nobody was slow");
    bench.disarm();
    bench.must_be_whole(false);
    bench.what_is_missing_of_a_is_marked();
    let strange: Vec<_> = fs::read_dir(bench.path("nodes/a/log")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!strange.iter().any(|name| name.to_string_lossy().contains("not-ours")), "{strange:?}");
}

#[test]
fn the_daemon_killed_at_random_moments_costs_no_node_and_no_byte() {
    let rounds = if std::env::var_os("CDC_TEST_LONG").is_some() { 100 } else { 10 };
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let pids = |bench: &Bench| ["a", "b"].map(|name| pid_of(&bench.node(name).unwrap()));
    let before = pids(&bench);
    // a fixed sequence of moments from 0 to 400 ms after the last start (a linear congruential generator, as in POSIX rand)
    let mut seed = 4711u32;
    for round in 0..rounds {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        // the moment itself: there is nothing to wait for
        thread::sleep(std::time::Duration::from_millis(u64::from(seed >> 16) % 400));
        bench.kill_daemon();
        let output = bench.up();
        assert_eq!(output.code, Some(0), "round {round}: {output}");
        assert_eq!(pids(&bench), before, "round {round}");
    }
    for name in ["a", "b"] {
        let node = bench.node(name).unwrap();
        assert_eq!((&node["restarts"], &node["incarnation"]), (&0.into(), &1.into()), "{node}");
    }
    bench.must_be_whole(true);
}
