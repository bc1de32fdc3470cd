//! The fault bench: kill -9 between every two durable effects of daemon and shim, failing system calls, a clock that is set, and
//! the daemon killed at random. Built with the feature `failpoints`; what is killed where is read from the sources, so a new point
//! is tested as soon as it is there. `CDC_FAULTS=TEXT` runs only points with TEXT in their names, `CDC_TEST_LONG=1` the long form.

// Test code: a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../fetch/archives.rs"]
#[allow(dead_code)]
mod archives;
mod begun;
mod bench;
mod bundle;
mod cgroups;
mod drills;
mod dynamic;
mod exhausted;
mod fence;
#[path = "../vm/guest.rs"]
#[allow(dead_code)]
mod guest;
mod handover;
mod hindered;
mod mysql;
mod owed;
mod panics;
mod points;
mod rolls;
mod room;
#[path = "../vm/seats.rs"]
mod seats;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod ticks;

/// Who runs the real ZooKeeper and broker: they have the default ports, and these tests share a network.
static REAL_PORTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Waits for the turn of a test that runs them.
fn real_ports() -> std::sync::MutexGuard<'static, ()> {
    // A test that failed has left nothing in it.
    REAL_PORTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
