//! Clients and probes against servers that behave and servers that do not: every answer is bounded and has its words.

// helpers of tests outside #[test] functions may fail as loudly as the tests
#![allow(clippy::unwrap_used)]

mod fake;
mod kafka;
mod probes;
mod zookeeper;
