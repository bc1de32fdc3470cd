//! The figures of a guest with systemd and cgroup v2: `tests/vm` makes and boots it, and its tests measure while they prove. Here
//! those tests are run with the programs as they are released, and what they wrote down is read.

use crate::{
    Bench,
    report::{Figure, Measured},
};
use std::{
    fs,
    os::fd::AsFd,
    process::{Command, Stdio},
};

/// Runs the series with out-of-memory kills and the one with the real stack, and returns their rows.
pub fn figures(bench: &Bench, store: &str) -> Measured<Vec<Figure>> {
    let tests = std::env::var_os("CDC_VM_TEST")
        .ok_or("left out: CDC_VM_TEST names no program (`dist/bench.sh --only guest` builds it)")?;
    let written = bench.file("guest.jsonl");
    let errors = std::io::stderr().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let rounds = |name: &str, long: usize, short: usize| {
        // What is set by hand holds: a night has room for more than an hour.
        std::env::var(name).unwrap_or_else(|_| bench.rounds(long, short).to_string())
    };
    let status = Command::new(tests)
        // one guest at a time
        .args(["memory::", "stack::", "--test-threads=1"])
        .env("CDC_VM_PROGRAMS", &bench.programs)
        .env("CDC_VM_FIGURES", &written)
        .env("CDC_TEST_STORE", store)
        .env("CDC_OOM_ROUNDS", rounds("CDC_OOM_ROUNDS", 2_000, 50))
        .env("CDC_KILL_ROUNDS", rounds("CDC_KILL_ROUNDS", 50, 5))
        .env("CDC_START_ROUNDS", rounds("CDC_START_ROUNDS", 3, 1))
        .stdin(Stdio::null())
        .stdout(errors)
        .status()
        .map_err(|e| e.to_string())?;
    let mut rows: Vec<Figure> =
        fs::read_to_string(&written).unwrap_or_default().lines().map(Figure::read).collect::<Measured<_>>()?;
    match (status.success(), rows.is_empty()) {
        (true, false) => {}
        (true, true) => return Err("the tests of the guest were skipped: the lines above say why".into()),
        (false, true) => return Err("a test of the guest failed: the lines above say which".into()),
        (false, false) => rows.push(Figure::failed("guest", "a test of the guest failed: the lines above say which")),
    }
    Ok(rows)
}
