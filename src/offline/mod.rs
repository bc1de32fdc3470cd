//! Verbs that need no daemon.

pub mod fetch;
