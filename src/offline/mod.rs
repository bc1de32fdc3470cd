//! Verbs that need no daemon.
