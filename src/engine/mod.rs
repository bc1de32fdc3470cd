//! Turns actions into processes and results into events.
