//! The session file: tells a new daemon whether the last one was stopped in order or just vanished.

use crate::{
    base::{Layout, Timestamp},
    sys::{clock, error::SysError, fs},
};
use serde::{Deserialize, Serialize};

/// `state/session.json`: there while nodes are meant to be up.
#[derive(Debug, Serialize, Deserialize)]
struct Session {
    /// 1; a newer one says the same with more words.
    #[serde(default = "first")]
    schema: u32,
    boot_id: String,
    daemon_pid: u32,
    started_at: Timestamp,
}

fn first() -> u32 {
    1
}

/// Begins a session; true when the last one of this boot never ended, so that what it wanted of each node still holds.
pub(super) fn begin(layout: &Layout) -> Result<bool, SysError> {
    let path = layout.session();
    // An unreadable session file is one that was cut short: the nodes' own files say what was wanted.
    let earlier = fs::read_optional(&path)?.map(|text| serde_json::from_str::<Session>(&text));
    let unended = earlier.is_some_and(|session| session.is_ok_and(|s| s.boot_id == clock::boot_id()));
    let session = Session {
        schema: first(),
        boot_id: clock::boot_id().to_owned(),
        daemon_pid: std::process::id(),
        started_at: clock::wall(),
    };
    let text = serde_json::to_string_pretty(&session).unwrap_or_default();
    fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::ProcessCrash)?;
    Ok(unended)
}

/// Ends the session in order.
pub(super) fn end(layout: &Layout) {
    // A file that stays makes the next start restore the wishes, which are then "down": `begin` of an `up` wants all.
    let _ = fs::remove_optional(&layout.session());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        std::fs::write(layout.session(), text).unwrap();
        (dir, layout)
    }

    #[test]
    fn a_session_of_this_boot_in_the_words_of_version_1_or_later_goes_on_and_others_do_not() {
        let golden = include_str!("../../tests/golden/v1/session.json");
        let (_dir, layout) = with(golden);
        assert!(!begin(&layout).unwrap(), "of another boot");
        assert!(begin(&layout).unwrap(), "the one just begun");
        let ours = golden.replace("3f6f8f6e-7a5c-4f0e-9d0c-0f2f4f6f8f00", clock::boot_id());
        let (_dir, layout) = with(&ours);
        assert!(begin(&layout).unwrap());
        let (_dir, layout) = with(&ours.replacen('{', "{\"schema\": 9, \"weather\": \"fine\",", 1));
        assert!(begin(&layout).unwrap(), "a later version's");
        end(&layout);
        assert!(!begin(&layout).unwrap(), "ended in order");
    }

    #[test]
    fn a_session_file_torn_at_any_byte_never_stops_a_start() {
        let golden = include_str!("../../tests/golden/v1/session.json").trim_end();
        for at in 0..golden.len() {
            let (_dir, layout) = with(&golden[..at]);
            assert!(!begin(&layout).unwrap(), "torn at {at}");
            assert!(begin(&layout).unwrap(), "a whole one lies there now");
        }
    }
}
