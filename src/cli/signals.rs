//! Ctrl-C and the signals that mean the same: SIGTERM, and SIGHUP when the terminal goes away.

use super::{error::CliError, exit::Exit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask to stop. While it lives they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Result<Self, CliError> {
        let on = |kind| {
            signal(kind)
                .map_err(|e| CliError::new(Exit::Unexpected, "cannot listen for signals").causes([e.to_string()]))
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
