//! Waits for changes in a directory of the root, for verbs that follow something.

use super::{error::CliError, exit::Exit};
use crate::offline::logs::Wakeup;
use std::{path::PathBuf, sync::Arc, thread, time::Duration};
use tokio::sync::mpsc;

/// A look without a wakeup: finds what did not exist before, and serves file systems that do not tell of changes.
const LOOK: Duration = Duration::from_secs(1);

/// Changes in one directory, which need not exist yet.
pub struct Changes {
    dir: PathBuf,
    wakeup: Arc<Wakeup>,
    watched: bool,
    woken: mpsc::Receiver<()>,
}

impl Changes {
    /// Starts to watch.
    pub fn of(dir: PathBuf) -> Result<Self, CliError> {
        let wakeup = Wakeup::new().map_err(|e| CliError::of(Exit::Unexpected, &e))?;
        let (wakeup, woken) = in_a_thread(wakeup);
        Ok(Self { dir, wakeup, watched: false, woken })
    }

    /// Call it before looking: what changes from now on ends the next [`Changes::next`].
    pub fn begin(&mut self) -> Result<(), CliError> {
        self.wakeup.clear();
        if !self.watched {
            self.watched = self.wakeup.add(&self.dir).map_err(|e| CliError::of(Exit::Unexpected, &e))?;
        }
        Ok(())
    }

    /// Waits for a change, or about a second.
    pub async fn next(&mut self) {
        // The sender lives as long as this.
        let _ = self.woken.recv().await;
    }
}

/// Waits for changes in a thread of its own and passes each on once, and without any every second; the thread ends with the
/// receiver.
pub fn in_a_thread(wakeup: Wakeup) -> (Arc<Wakeup>, mpsc::Receiver<()>) {
    let wakeup = Arc::new(wakeup);
    // One at most is under way: while nobody has taken it, nothing is gained by another.
    let (sender, receiver) = mpsc::channel(1);
    let waits = Arc::clone(&wakeup);
    thread::spawn(move || {
        while !sender.is_closed() {
            waits.wait(LOOK);
            if sender.blocking_send(()).is_err() {
                return;
            }
        }
    });
    (wakeup, receiver)
}
