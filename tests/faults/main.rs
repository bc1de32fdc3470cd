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
mod exhausted;
mod fence;
#[path = "../vm/guest.rs"]
#[allow(dead_code)]
mod guest;
mod hindered;
mod mysql;
mod points;
#[path = "../support/mod.rs"]
mod support;
