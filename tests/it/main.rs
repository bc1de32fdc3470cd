//! End to end through the real programs: `[command.*]` nodes that run a fake daemon with one bad habit each. Every test has a
//! root of its own; when it ends, nothing of the root may live and nothing may have been warned of that it did not declare.

// Test code: a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod adoption;
mod bad_input;
mod deaths;
mod doctor;
mod drill;
mod events;
mod foreground;
mod hostile;
mod incidents;
mod logs;
mod misbehaviour;
mod order;
mod plan;
mod policies;
mod probes;
mod reload;
mod reserve;
mod roll;
mod round_trip;
mod snapshots;
mod upgrade;
mod verbs;
mod versions;
