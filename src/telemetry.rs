//! The daemon's own log: level policy and where it goes (systemd's journal when it is started by systemd, else standard error,
//! which `up` points at `state/supervisor.log`).
//!
//! Levels: ERROR somebody must act; WARN something is wrong and is being dealt with; INFO what a person asks a day later;
//! DEBUG for finding faults (`CDC_SUPERVISOR_LOG=debug`).

mod bounded;
mod journal;

pub use bounded::keep as keep_within_bound;
pub use journal::serve;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The environment variable with the filter (`debug`, `cdc_supervisor::engine=trace`).
pub const FILTER_VARIABLE: &str = "CDC_SUPERVISOR_LOG";

/// Starts logging. Called once, before any thread.
pub fn start() {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let all = tracing_subscriber::registry().with(filter);
    // A second start (tests in one process) keeps the first.
    let _ = match journal::Journal::of_this_process() {
        Some(journal) => all.with(journal).try_init(),
        None => {
            let lines = fmt::layer().with_writer(bounded::Counted::default).with_ansi(false).with_target(false);
            all.with(lines).try_init()
        }
    };
}
