//! The daemon's own log: level policy and where it goes (standard error, which `up` points at `state/supervisor.log` and
//! systemd at the journal).
//!
//! Levels: ERROR somebody must act; WARN something is wrong and is being dealt with; INFO what a person asks a day later;
//! DEBUG for finding faults (`CDC_SUPERVISOR_LOG=debug`).

mod bounded;

pub use bounded::keep as keep_within_bound;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The environment variable with the filter (`debug`, `cdc_supervisor::engine=trace`).
pub const FILTER_VARIABLE: &str = "CDC_SUPERVISOR_LOG";

/// Starts logging. Called once, before any thread.
pub fn start() {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(bounded::Counted::default).with_ansi(false).with_target(false);
    // A second start (tests in one process) keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
