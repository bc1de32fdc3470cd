//! A panic in any task or thread of the daemon: what it did is not done any more, so the watchdog is not fed, and systemd brings a daemon
//! that has all of its tasks.

use std::{
    panic,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

static HEARD: AtomicBool = AtomicBool::new(false);

/// Nodes that run well make no turn of the dispatcher's loop, for hours where there is no watchdog: the panic itself makes one.
static STIRRED: Notify = Notify::const_new();

/// Listens from now on. The words of the panic go to standard error as before, which is the journal or the daemon's log.
pub(super) fn listen() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        HEARD.store(true, Ordering::Relaxed);
        before(info);
        STIRRED.notify_one();
    }));
}

/// Whether there was one.
pub(super) fn heard() -> bool {
    HEARD.load(Ordering::Relaxed)
}

/// Who waits for this learns of each at once.
pub(super) fn stirred() -> &'static Notify {
    &STIRRED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_any_thread_is_heard() {
        listen();
        assert!(std::thread::spawn(|| panic!("as a task of the daemon would")).join().is_err());
        assert!(heard());
    }
}
