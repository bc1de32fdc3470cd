//! Looks at file systems of which one may not answer (a network file system whose server is gone): each place by itself, with a bound,
//! so that the others are watched all the same.

use crate::{engine::disk::Place, sys::mounts::FileSystem};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

/// Looks, and those that have not come back.
#[derive(Debug, Default)]
pub(super) struct Looking {
    late: BTreeMap<PathBuf, JoinHandle<Option<FileSystem>>>,
}

impl Looking {
    /// Looks at all places but those at which a look is still under way; what has answered by `within`.
    pub(super) async fn look(
        &mut self,
        places: Vec<Place>,
        within: Duration,
        look: impl Fn(&Path) -> Option<FileSystem> + Clone + Send + 'static,
    ) -> Vec<(Place, FileSystem)> {
        self.late.retain(|_, task| !task.is_finished());
        let until = Instant::now() + within;
        let mut tasks = Vec::new();
        for place in places {
            if !self.late.contains_key(&place.2) {
                let (look, dir) = (look.clone(), place.2.clone());
                tasks.push((place, spawn_blocking(move || look(&dir))));
            }
        }
        let mut looked = Vec::new();
        for (place, mut task) in tasks {
            match timeout_at(until, &mut task).await {
                Ok(Ok(Some(system))) => looked.push((place, system)),
                // Nothing to be kept free there, or nothing to be had of it.
                Ok(Ok(None) | Err(_)) => {}
                Err(_) => {
                    let dir = place.2.display();
                    tracing::warn!("the file system of {dir} does not answer; its room is not watched until it does");
                    self.late.insert(place.2, task);
                }
            }
        }
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeKind, NodeName};
    use std::sync::{Arc, Mutex, mpsc};

    #[tokio::test]
    async fn one_that_does_not_answer_keeps_nobody_from_looking_at_the_others() {
        let places: Vec<Place> = vec![
            (NodeName::mysql(), NodeKind::Mysql, "/hangs".into()),
            (NodeName::broker(1), NodeKind::Broker(1), "/answers".into()),
        ];
        let system = crate::sys::mounts::file_system(Path::new("/")).unwrap();
        // Comes back when it is dropped.
        let (server, gone) = mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        let look = {
            let (gone, system) = (Arc::clone(&gone), system.clone());
            move |dir: &Path| {
                if dir == Path::new("/hangs") {
                    let _ = gone.lock().unwrap().recv();
                }
                Some(system.clone())
            }
        };
        let mut looking = Looking::default();
        let within = Duration::from_millis(200);
        for _ in 0..2 {
            let looked = looking.look(places.clone(), within, look.clone()).await;
            assert_eq!(looked.iter().map(|(place, _)| place.0.clone()).collect::<Vec<_>>(), [NodeName::broker(1)]);
        }
        drop(server);
        let end = Instant::now() + Duration::from_secs(30);
        while looking.look(places.clone(), within, look.clone()).await.len() < 2 {
            assert!(Instant::now() < end, "it is never looked at again");
        }
    }
}
