//! The lifecycle machine against a simulated world: random histories with invariants, and the rules one by one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, outside of test functions")]
#![allow(clippy::needless_pass_by_value, reason = "an event is told in place")]

mod bench;
mod ends;
mod histories;
mod queued;
mod rules;
mod world;
