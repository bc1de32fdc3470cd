//! Ctrl-C and the signals that mean the same: SIGTERM, and SIGHUP when the terminal goes away.

use super::{error::CliError, exit::Exit};
use crate::base::stop_signal::{Heard, Meaning, StopSignal};
use std::time::Instant;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask to stop. While it lives they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    since: Instant,
    heard: Heard,
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
            since: Instant::now(),
            heard: Heard::default(),
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.hear().await;
    }

    /// Waits for one that is more than an echo of those before: somebody does not want to wait for an end in order.
    pub async fn insists(&mut self) {
        while self.hear().await != Meaning::Now {}
    }

    async fn hear(&mut self) -> Meaning {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.hangup.recv() => StopSignal::Hangup,
        };
        self.heard.take(signal, self.since.elapsed())
    }
}
