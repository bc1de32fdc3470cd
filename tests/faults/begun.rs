//! kill -9 of a daemon that has only just begun: the next `run`, as systemd starts it, brings up what that one was to bring up.

use crate::{
    bench::Bench,
    support::{STATE_LIMIT, VERB_LIMIT, client::Client, until},
};
use std::fs;

/// From the first durable effect of a start to the last before a daemon that comes next can go by the nodes' files.
const POINTS: [&str; 9] = [
    "write.renamed@state/session.json",
    "daemon.planned",
    "adopt.looking",
    "prepare.begun",
    "write.half@nodes/a.json",
    "write.renamed@nodes/a.json",
    "link.ordered",
    "daemon.adopted",
    "daemon.serving",
];

/// Waits for that, of the daemon that came after `point`.
pub fn both_are_ready(bench: &Bench, point: &str) {
    until(STATE_LIMIT, &format!("{point}: the next daemon has both ready"), || {
        let states: Vec<_> =
            ["a", "b"].iter().filter_map(|name| bench.node(name)).map(|n| n["state"].clone()).collect();
        if states == ["ready", "ready"] { Ok(()) } else { Err(format!("{states:?}")) }
    });
}

fn killed_at(bench: &Bench, point: &str) {
    let _ = fs::remove_file(bench.pair.dir().join("failpoints.hit"));
    bench.arm(&format!("{point} kill"));
    let killed = bench.run(&["run"]);
    assert!(bench.hit() && killed.signal == Some(9), "{point} is never reached\n{killed}");
}

fn is_stopped_in_order(bench: &Bench, run: Client) {
    assert_eq!(bench.run(&["down"]).code, Some(0));
    assert_eq!(run.wait(VERB_LIMIT).code, Some(0));
    bench.root.await_empty();
}

#[test]
fn a_daemon_that_dies_before_it_has_written_what_it_wants_is_followed_by_one_that_wants_it() {
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let bench = Bench::new();
    for point in POINTS.into_iter().filter(|p| p.contains(&only)) {
        let _ = fs::remove_dir_all(bench.path("state"));
        let _ = fs::remove_dir_all(bench.path("nodes"));
        for root in ["new", "one that was stopped in order"] {
            killed_at(&bench, point);
            let run = bench.spawn(&["run"]);
            both_are_ready(&bench, point);
            is_stopped_in_order(&bench, run);
            eprintln!("killed at {point}, root {root}: both are up");
        }
    }
    // And what was written is kept to: a stop that was ordered outlives any number of daemons.
    let run = bench.spawn(&["run"]);
    both_are_ready(&bench, "none");
    assert_eq!(bench.run(&["stop", "b"]).code, Some(0));
    bench.kill_daemon();
    drop(run);
    killed_at(&bench, "daemon.adopted");
    let run = bench.spawn(&["run"]);
    until(STATE_LIMIT, "a is ready", || match bench.node("a") {
        Some(a) if a["state"] == "ready" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let b = bench.node("b").expect("a daemon that answers");
    assert_eq!((&b["state"], &b["wanted"]), (&"down".into(), &"down".into()), "{b}");
    is_stopped_in_order(&bench, run);
}
