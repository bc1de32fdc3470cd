//! `cdc-supervisor`: a native process supervisor that turns a bare Linux box into a change-data-capture source.
//!
//! Rooms and their directions are in `DESIGN.md`; `tests/architecture` enforces them.

pub mod artifact;
pub mod base;
pub mod cli;
pub mod clients;
pub mod config;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod lifecycle;
pub mod logs;
pub mod offline;
pub mod operate;
pub mod probe;
pub mod render;
pub mod services;
pub mod shim;
pub mod sys;
pub mod telemetry;
