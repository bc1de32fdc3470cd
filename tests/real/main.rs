//! The default stack for real: ZooKeeper, three brokers and mysqld from the package clients, on the default ports. Each test
//! has a root of its own and shares the artifact store; one stack at a time (`--test-threads=1`, and a lock besides).
//!
//! Run by `dist/test.sh`, in a network namespace of its own: `CDC_TEST_STORE` names a store that is filled already.

// Test code: a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/hostile_http.rs"]
#[allow(dead_code)]
mod hostile_http;

mod stack;

mod archives;
mod bundle;
mod class_data;
mod cluster;
mod daemon_death;
mod disk;
mod drill;
mod dynamic;
mod fence;
mod forgotten;
mod halted;
mod identity;
mod kafka_ui;
mod kills;
mod libraries;
mod proven;
mod reload;
mod roll;
mod settings;
mod snapshot;
mod stalls;
mod throwaway;
mod topics;
mod upgrade;
mod verify;
