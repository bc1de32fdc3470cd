//! Connections that can be done without: when all slots are taken, the oldest that has asked nothing makes room, then the oldest
//! watcher.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// All connections that may be sent away, oldest first. A client sends its request right after it has connected, so the
/// oldest silent one is the one that least looks like a client.
#[derive(Debug, Default)]
pub(super) struct Lobby(VecDeque<oneshot::Sender<()>>);

/// Who may be sent away: first those that have asked nothing, then watchers, which ask again when they are real. Orders and
/// questions that are being answered never are.
#[derive(Clone, Debug, Default)]
pub(super) struct Lobbies {
    silent: Arc<Mutex<Lobby>>,
    watching: Arc<Mutex<Lobby>>,
    waiting: Arc<Mutex<Lobby>>,
}

impl Lobbies {
    /// A new connection.
    pub(super) fn enter(&self) -> Place {
        lock(&self.silent).enter()
    }

    /// A connection that watches from now on.
    pub(super) fn watch(&self) -> Place {
        lock(&self.watching).enter()
    }

    /// A connection that waits for a slot and has none to give up.
    pub(super) fn wait(&self) -> Place {
        lock(&self.waiting).enter()
    }

    /// Sends one away; false when all are at work. Of those that only wait the newest are kept.
    pub(super) fn make_room(&self) -> bool {
        lock(&self.silent).make_room() || lock(&self.watching).make_room() || lock(&self.waiting).make_room()
    }
}

fn lock(lobby: &Mutex<Lobby>) -> MutexGuard<'_, Lobby> {
    // Every change is a whole one, so a panic elsewhere leaves the list usable.
    lobby.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection's place, held until it has asked.
#[derive(Debug)]
pub(super) struct Place(oneshot::Receiver<()>);

impl Lobby {
    /// A place for a new connection.
    pub(super) fn enter(&mut self) -> Place {
        // Those that have asked or are gone stand in nobody's way, but the list must not grow with the daemon's age.
        self.0.retain(|other| !other.is_closed());
        let (leave, left) = oneshot::channel();
        self.0.push_back(leave);
        Place(left)
    }

    /// Sends the oldest silent connection away; false when all have asked.
    pub(super) fn make_room(&mut self) -> bool {
        while let Some(oldest) = self.0.pop_front() {
            if oldest.send(()).is_ok() {
                return true;
            }
        }
        false
    }
}

impl Place {
    /// Ends when the place is wanted for somebody else.
    pub(super) async fn wanted(&mut self) {
        // The list outlives every place but those of a server that ends, which ends its connections itself.
        if (&mut self.0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The connection has asked and stays; false when its place was wanted before that.
    pub(super) fn keep(mut self) -> bool {
        self.0.close();
        match self.0.try_recv() {
            Ok(()) => false,
            // Closed without a word, or its word was heard by [`Self::wanted`] already.
            Err(TryRecvError::Empty | TryRecvError::Closed) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_asked_goes_first() {
        let mut lobby = Lobby::default();
        let (asked, oldest, newest) = (lobby.enter(), lobby.enter(), lobby.enter());
        assert!(asked.keep());
        assert!(lobby.make_room());
        assert!(!oldest.keep());
        assert!(newest.keep());
        assert!(!lobby.make_room(), "nobody is left to go");
    }

    #[test]
    fn watchers_go_when_nobody_is_silent() {
        let lobbies = Lobbies::default();
        let (watcher, silent) = (lobbies.watch(), lobbies.enter());
        assert!(lobbies.make_room());
        assert!(!silent.keep());
        assert!(lobbies.make_room());
        assert!(!watcher.keep());
        assert!(!lobbies.make_room());
    }

    #[test]
    fn places_that_are_given_up_leave_the_list() {
        let mut lobby = Lobby::default();
        for _ in 0..1000 {
            drop(lobby.enter());
        }
        assert_eq!(lobby.0.len(), 1);
    }
}
