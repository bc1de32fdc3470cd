//! Programs that are missing when the daemon starts: looked for until they are there. Whoever brings them (the fetch unit, `fetch`,
//! `bundle install`, a Java that is installed) need not tell.

use super::reload::Reloads;
use crate::{engine::Handle, sys::clock};
use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

/// How often it is asked whether the store has changed: one stat(2).
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How often it is looked all the same: a Java of the host comes without a change of the store.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Looks until nothing is missing any more; nothing is done where nothing is missing now.
pub(super) fn wait_for(engine: Handle, reloads: Arc<Reloads>) {
    if !reloads.lacks_programs() {
        return;
    }
    tokio::spawn(async move {
        let (mut known, mut looked) = (None, clock::now());
        while reloads.lacks_programs() && !engine.snapshot().ending {
            tokio::time::sleep(ASK_EVERY).await;
            let store = reloads.store();
            // A look that came to nothing is made again.
            let now = tokio::task::spawn_blocking(move || stamp(&store)).await.ok().flatten();
            if now == known && clock::now().since(looked) < LOOK_EVERY {
                continue;
            }
            (known, looked) = (now, clock::now());
            reloads.programs_come(&engine).await;
        }
    });
}

/// Tells one state of the store's record from another: it is replaced as a whole whenever something has come.
fn stamp(store: &Path) -> Option<(u64, i64, i64)> {
    let meta = std::fs::metadata(store.join("lock.toml")).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_written_anew_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(stamp(dir.path()), None);
        let record = dir.path().join("lock.toml");
        std::fs::write(&record, "a").unwrap();
        let first = stamp(dir.path());
        assert!(first.is_some() && first == stamp(dir.path()));
        std::fs::write(dir.path().join("new"), "a").unwrap();
        std::fs::rename(dir.path().join("new"), &record).unwrap();
        assert_ne!(stamp(dir.path()), first);
    }
}
