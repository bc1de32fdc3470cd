//! What systemd is told: READY, STATUS, and a watchdog fed by the engine's own loop.

use crate::{engine::Snapshot, lifecycle::Wanted, sys::clock};
use std::{env, time::Duration};

/// A fixed bound for READY=1: a node that is still recovering must not fail the unit (DESIGN.md, "systemd").
const READY_AFTER: Duration = Duration::from_secs(75);

/// How much longer than `TimeoutStopSec=` a stop may take that waits for a broker's start-up: as long as that goes on this is
/// sent again, and it is `TimeoutStopSec=` of the unit, so that the graces have their whole time once it is over
/// (sd_notify(3), EXTEND_TIMEOUT_USEC).
const QUEUED_STOP_MORE: Duration = Duration::from_secs(360);

/// How often it is sent again.
const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// The connection to a service manager, if there is one.
#[derive(Debug)]
pub(super) struct Systemd {
    present: bool,
    watchdog: Option<Duration>,
    began: crate::base::Moment,
    ready: bool,
    status: String,
    fed: crate::base::Moment,
    extended: Option<crate::base::Moment>,
}

impl Systemd {
    /// Reads NOTIFY_SOCKET and WATCHDOG_USEC. Children never see them: their environments are built from an empty one.
    pub(super) fn from_environment() -> Self {
        let present = env::var_os("NOTIFY_SOCKET").is_some();
        let mine = env::var("WATCHDOG_PID").ok().is_none_or(|p| p == std::process::id().to_string());
        let watchdog =
            env::var("WATCHDOG_USEC").ok().filter(|_| mine).and_then(|t| t.parse().ok()).map(Duration::from_micros);
        Self {
            present,
            watchdog,
            began: clock::now(),
            ready: false,
            status: String::new(),
            fed: clock::now(),
            extended: None,
        }
    }

    /// How often the loop must turn: half the watchdog's time (sd_watchdog_enabled(3)), and for READY's deadline.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        if !self.present {
            return None;
        }
        Some(self.watchdog.map_or(Duration::from_secs(5), |w| w / 2))
    }

    /// Called on every turn of the engine's loop.
    pub(super) fn pulse(&mut self, snapshot: &Snapshot) {
        if !self.present {
            return;
        }
        let now = clock::now();
        let mut messages = Vec::new();
        let status = words(snapshot);
        if status != self.status {
            messages.push(sd_notify::NotifyState::Status(&status));
        }
        let settled =
            snapshot.nodes.iter().all(|n| n.wanted == Wanted::Down || n.serves || matches!(n.state, "failed" | "down"));
        if !self.ready && !snapshot.nodes.is_empty() && (settled || now.since(self.began) > READY_AFTER) {
            self.ready = true;
            messages.push(sd_notify::NotifyState::Ready);
        }
        if snapshot.ending {
            messages.push(sd_notify::NotifyState::Stopping);
        }
        let queued = snapshot.ending && snapshot.nodes.iter().any(|n| n.queued_stop.is_some());
        if queued && self.extended.is_none_or(|at| now.since(at) >= EXTEND_EVERY) {
            self.extended = Some(now);
            let micros = u32::try_from(QUEUED_STOP_MORE.as_micros()).unwrap_or(u32::MAX);
            messages.push(sd_notify::NotifyState::ExtendTimeoutUsec(micros));
        }
        if let Some(watchdog) = self.watchdog
            && now.since(self.fed) >= watchdog / 4
        {
            self.fed = now;
            messages.push(sd_notify::NotifyState::Watchdog);
        }
        if !messages.is_empty()
            && let Err(e) = sd_notify::notify(&messages)
        {
            tracing::warn!(error = %e, "systemd could not be told");
        }
        self.status = status;
    }
}

/// Right before this process becomes another program. The service manager is told nothing but words: the main process stays,
/// and its next READY=1 finds the unit active. The watchdog begins anew, so that the new program has all of its time.
pub(super) fn handing_over(version: &str) {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let status = format!("handing over to version {version}");
    // What it does not hear it does not miss.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status), sd_notify::NotifyState::Watchdog]);
}

/// The STATUS line: `5 of 5 nodes ready`, or what is missing.
fn words(snapshot: &Snapshot) -> String {
    let wanted: Vec<_> = snapshot.nodes.iter().filter(|n| n.wanted == Wanted::Up).collect();
    let ready = wanted.iter().filter(|n| n.serves).count();
    let rest: Vec<String> = wanted.iter().filter(|n| !n.serves).map(|n| format!("{} {}", n.name, n.state)).collect();
    match (snapshot.ending, rest.is_empty()) {
        (true, _) => {
            let left = snapshot.nodes.iter().filter(|n| n.process.is_some()).count();
            let queued = snapshot.nodes.iter().find_map(|n| Some(format!("{}: {}", n.name, n.queued_stop.as_ref()?)));
            match queued {
                Some(queued) => format!("stopping: {left} nodes left; {queued}"),
                None => format!("stopping: {left} nodes left"),
            }
        }
        (false, true) => format!("{ready} of {} nodes ready", wanted.len()),
        (false, false) => format!("{ready} of {} nodes ready; {}", wanted.len(), rest.join(", ")),
    }
}
