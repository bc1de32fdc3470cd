//! Who takes the room of a file system: counted beside the watch, which must not wait for it.

use crate::{
    base::ByteSize,
    engine::disk::Found,
    sys::{clock, room},
};
use std::{path::PathBuf, time::Duration};

/// How long may be counted in all: thousands of directories on a slow disk take longer, and what is known by then is told.
const COUNT: Duration = Duration::from_secs(5);

/// How many are named.
const NAMED: usize = 4;

/// Who takes the most, the largest first, in words.
pub(super) async fn count(found: &Found) -> Vec<String> {
    let dirs = found.dirs.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let until = clock::now() + COUNT;
        // None: it was not done in time.
        dirs.into_iter().map(|(name, dir)| (room::taken_by(&dir, until), name, dir)).collect::<Vec<_>>()
    });
    words(counted.await.unwrap_or_default())
}

fn words(mut counted: Vec<(Option<u64>, String, PathBuf)>) -> Vec<String> {
    counted.retain(|(bytes, _, _)| bytes.is_none_or(|bytes| bytes >= 1 << 20));
    counted.sort_by(|a, b| b.0.unwrap_or(u64::MAX).cmp(&a.0.unwrap_or(u64::MAX)).then_with(|| a.1.cmp(&b.1)));
    let line = |(bytes, name, dir): (Option<u64>, String, PathBuf)| {
        let size = bytes.map_or_else(|| "too much to count".into(), |bytes| ByteSize(bytes).rounded().to_string());
        format!("{name} {size} ({})", dir.display())
    };
    counted.into_iter().take(NAMED).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_what_was_not_counted_before_them() {
        let counted = vec![
            (Some(3 << 20), "logs of a".to_owned(), "/a".into()),
            (Some(5 << 30), "data of b".to_owned(), "/b".into()),
            (Some(7), "programs".to_owned(), "/p".into()),
            (None, "data of c".to_owned(), "/c".into()),
        ];
        assert_eq!(words(counted), ["data of c too much to count (/c)", "data of b 5G (/b)", "logs of a 3M (/a)"]);
    }
}
