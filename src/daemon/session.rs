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
