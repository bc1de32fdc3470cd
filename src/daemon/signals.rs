//! Hears the signals that ask the daemon to stop, and carries them out. They wait in the kernel until nodes can be stopped, and while
//! this process becomes another program: that one takes them then.

use super::{logs, zookeeper_first};
use crate::{
    base::{
        EventKind, EventLine,
        stop_signal::{Heard, Meaning, StopSignal},
    },
    engine::{EngineOrder, Handle},
    sys::{
        clock,
        stop_signals::{self, StopSignals},
    },
};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::mpsc;

/// What is done with one that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It ends this process, as it does any other: nothing runs yet that would be left alone, and a start may wait long.
    AtOnce,
    /// It is taken, and the nodes are stopped.
    Taken,
    /// The same, and one was taken already.
    Heard,
}

/// Where signals come in.
#[derive(Debug)]
pub(super) struct Ears(Mutex<Hearing>);

/// As long as it lives, no signal is taken: each waits for whoever listens next, here or in the program that this process becomes.
pub(super) type Deaf<'a> = MutexGuard<'a, Hearing>;

/// What was taken, one after the other, and whether process 1 sent it.
pub(super) type Taken = mpsc::UnboundedReceiver<(StopSignal, bool)>;

impl Ears {
    /// Listens from now on, in a thread of its own; to be called before there is another one. `at_once` as long as nothing else is
    /// said: a signal ends this process.
    pub(super) fn listen(at_once: bool) -> io::Result<(Arc<Self>, Taken)> {
        let signals = StopSignals::keep()?;
        let ears = Arc::new(Self(Mutex::new(if at_once { Hearing::AtOnce } else { Hearing::Taken })));
        let (sender, taken) = mpsc::unbounded_channel();
        let hear = Arc::clone(&ears);
        thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                if let Err(e) = signals.wait().and_then(|()| hear.take(&signals, &sender)) {
                    // The end of this thread is seen by who feeds the watchdog.
                    tracing::error!(error = %e, "signals cannot be listened to; stop with `cdc-supervisor down`");
                    return;
                }
            }
        })?;
        Ok((ears, taken))
    }

    fn state(&self) -> Deaf<'_> {
        // The value is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, signals: &StopSignals, sender: &mpsc::UnboundedSender<(StopSignal, bool)>) -> io::Result<()> {
        let mut state = self.state();
        if *state == Hearing::AtOnce {
            // Who comes back from here was told to ignore it (nohup(1)).
            return stop_signals::let_through().and_then(|()| stop_signals::hold_back());
        }
        if let Some((number, by)) = signals.take()?
            && let Some(signal) = StopSignal::of(number)
        {
            *state = Hearing::Heard;
            // Nobody listens any more: the daemon ends.
            let _ = sender.send((signal, by == 1));
        }
        Ok(())
    }

    /// From now on nodes are stopped for a signal, when that can be done.
    pub(super) fn keep(&self) {
        let mut state = self.state();
        if *state == Hearing::AtOnce {
            *state = Hearing::Taken;
        }
    }

    /// Takes none from now on; none: one was taken before, and all nodes are being stopped for it.
    pub(super) fn hold(&self) -> Option<Deaf<'_>> {
        Some(self.state()).filter(|state| **state != Hearing::Heard)
    }
}

/// A signal asks for a stop in order: the nodes are stopped, not left alone. One more that is no echo of it kills them.
pub(super) async fn obey(mut taken: Taken, handle: Handle, logs: logs::Bounds) {
    let mut heard = Heard::default();
    while let Some((signal, by_init)) = taken.recv().await {
        let name = signal.name();
        let (doing, now) = match heard.take_from(signal, by_init, Duration::from_millis(clock::now().0)) {
            Meaning::InOrder => ("stopping all nodes in order", false),
            Meaning::Now => ("killing all nodes", true),
            Meaning::Again => {
                tracing::info!(signal = name, "all nodes are being stopped already");
                continue;
            }
        };
        tracing::info!(signal = name, "{doing}");
        handle.journal().note(EventLine::new(EventKind::Order, format!("{name} to the daemon: {doing}")));
        logs.rest();
        let handle = handle.clone();
        // The loop must hear the second signal while the first is being carried out.
        tokio::spawn(async move {
            if !now {
                zookeeper_first::bring_back(&handle, |_, _| ()).await;
            }
            drop(handle.order(EngineOrder::Down { now }).await);
        });
    }
}
