//! A panic in any task or thread of the daemon: what it did is not done any more, so the watchdog is not fed, and systemd brings a daemon
//! that has all of its tasks.

use std::{
    panic,
    sync::atomic::{AtomicBool, Ordering},
};

static HEARD: AtomicBool = AtomicBool::new(false);

/// Listens from now on. The words of the panic go to standard error as before, which is the journal or the daemon's log.
pub(super) fn listen() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        HEARD.store(true, Ordering::Relaxed);
        before(info);
    }));
}

/// Whether there was one.
pub(super) fn heard() -> bool {
    HEARD.load(Ordering::Relaxed)
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
