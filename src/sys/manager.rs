//! The service manager that started this process: what it is told (sd_notify(3)), without ever waiting for it.

use super::socket::Listener;
use sd_notify::NotifyState;
use std::{env, io, time::Duration};

/// The one that wants to be told, if there is one. An error: `NOTIFY_SOCKET` is no address.
pub fn of_environment() -> io::Result<Option<Listener>> {
    env::var_os("NOTIFY_SOCKET").map(|address| Listener::at(&address)).transpose()
}

/// Tells it all of these in one message.
pub fn tell(manager: &Listener, messages: &[NotifyState<'_>]) -> io::Result<()> {
    let lines: Vec<String> = messages.iter().map(ToString::to_string).collect();
    manager.send(lines.join("\n").as_bytes())
}

/// What comes next may take so long. systemd only ever moves its time-out back, and hears it from the main process or one of an
/// `Exec…=` line, as `NotifyAccess=` of the unit says.
pub fn more_time(more: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))
}
