//! The daemon's own log: level policy and where it goes.
