//! Fetching from vendors and mirrors: against a server of the test's own that cuts, lies, changes its files and redirects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod archives;
mod bundle;
#[path = "../support/hostile_http.rs"]
#[allow(dead_code)]
mod hostile_http;
#[path = "../support/mod.rs"]
mod support;

mod full_disk;
mod sources;
mod transfer;
mod waits;
