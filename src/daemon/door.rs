//! The door: the control socket's listener and the server behind it, which is closed for a hand-over and opened again when
//! that does not come about. While it is closed the kernel keeps new clients waiting; nobody is refused.

use super::inputs::StartError;
use crate::{
    base::Layout,
    control::server::{self, Handler},
    sys::fs,
};
use std::{
    fs::Permissions,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    sync::Arc,
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

/// The listener, and the server while there is one.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    open: Mutex<Option<(watch::Sender<bool>, JoinHandle<()>)>>,
}

impl Door {
    /// Behind a listener that is there already.
    pub(super) fn at(listener: UnixListener) -> Self {
        Self { listener, open: Mutex::new(None) }
    }

    /// Binds the control socket. The daemon lock is held, so a file that lies there is a leftover.
    pub(super) fn bind(layout: &Layout) -> Result<Self, StartError> {
        let path = layout.control_socket();
        fs::remove_optional(&path).map_err(StartError::file)?;
        let listener =
            UnixListener::bind(&path).map_err(|e| StartError::other(&format!("listen on {}", path.display()), e))?;
        // run/ is 0750: who may not enter it cannot reach the socket; within it the group may give orders (the unit's group).
        std::fs::set_permissions(&path, Permissions::from_mode(0o660))
            .map_err(|e| StartError::other(&format!("set the mode of {}", path.display()), e))?;
        Ok(Self::at(listener))
    }

    /// Lets clients in. Open already: nothing happens.
    pub(super) async fn open(&self, handler: Arc<dyn Handler>) -> io::Result<()> {
        let mut open = self.open.lock().await;
        if open.is_none() {
            let listener = self.listener.try_clone()?;
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let (stop, stopped) = watch::channel(false);
            *open = Some((stop, tokio::spawn(server::serve(listener, handler, stopped))));
        }
        Ok(())
    }

    /// Whether the server has ended without being asked to. While the door is being opened or closed it has not.
    pub(super) fn is_lost(&self) -> bool {
        let Ok(open) = self.open.try_lock() else { return false };
        open.as_ref().is_some_and(|(_, task)| task.is_finished())
    }

    /// Takes no more clients, and returns when those that are in have their last answers or their time is over.
    pub(super) async fn close(&self) {
        let Some((stop, task)) = self.open.lock().await.take() else { return };
        stop.send_replace(true);
        if let Err(e) = task.await {
            tracing::error!(error = %e, "the control server ended badly");
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
