//! Verified programs on disk: sources, pins, store, lock.
