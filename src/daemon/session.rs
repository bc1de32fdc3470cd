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
    /// The nodes' own files do not say yet what this start wants of them. Absent in files of older versions, and when they do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    wishes_unwritten: bool,
    /// All nodes are being stopped for good: that their files want them down is of this end, and no wish for the next session.
    /// Absent in files of older versions, and while nobody has ordered it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ending: bool,
}

/// What the last session leaves to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// A daemon of this boot did not end in order.
    pub(super) unended: bool,
    /// What the nodes' own files want of each node still holds. Otherwise the start of now wants what it was told to want:
    /// the last session was ended or being ended, or its daemon died before a file said what it wanted.
    pub(super) wishes_hold: bool,
}

fn first() -> u32 {
    1
}

/// What the last session leaves. Nodes that live without one (`nodes_live`) are of one whose file is lost: the nodes' own
/// files say what was wanted.
pub(super) fn past(layout: &Layout, nodes_live: bool) -> Result<Past, SysError> {
    let earlier = match read(layout) {
        Err(e) if nodes_live => {
            tracing::warn!(error = %e.source, "{e}");
            None
        }
        read => read?,
    };
    Ok(match earlier.filter(Session::is_of_this_boot) {
        Some(session) => Past { unended: true, wishes_hold: !session.wishes_unwritten && !session.ending },
        None => Past { unended: false, wishes_hold: nodes_live },
    })
}

/// Begins a session after that one.
pub(super) fn begun(layout: &Layout, past: Past) -> Result<(), SysError> {
    write(layout, &Session { wishes_unwritten: !past.wishes_hold, ..Session::of_now() })
}

/// The nodes' files say what is wanted of each: from now on a daemon that comes after a crash goes by them.
pub(super) fn wishes_written(layout: &Layout) -> Result<(), SysError> {
    // A disk that takes nothing for a while has this done late, and the end may have begun meanwhile.
    let ending = read(layout)?.is_some_and(|session| session.is_of_this_boot() && session.ending);
    write(layout, &Session { ending, ..Session::of_now() })
}

/// All nodes are being stopped for good. A daemon that comes after one that died meanwhile begins a session of its own.
pub(super) fn ending(layout: &Layout) -> Result<(), SysError> {
    write(layout, &Session { ending: true, ..Session::of_now() })
}

impl Session {
    fn of_now() -> Self {
        Self {
            schema: first(),
            boot_id: clock::boot_id().to_owned(),
            daemon_pid: std::process::id(),
            started_at: clock::wall(),
            wishes_unwritten: false,
            ending: false,
        }
    }

    fn is_of_this_boot(&self) -> bool {
        self.boot_id == clock::boot_id()
    }
}

/// The session on record; an unreadable file is one that was cut short.
fn read(layout: &Layout) -> Result<Option<Session>, SysError> {
    let text = fs::read_optional(&layout.session())?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn write(layout: &Layout, session: &Session) -> Result<(), SysError> {
    let text = serde_json::to_string_pretty(session).unwrap_or_default();
    fs::write_atomic(&layout.session(), text.as_bytes(), 0o640, fs::Durability::ProcessCrash)
}

/// Ends the session in order.
pub(super) fn end(layout: &Layout) {
    // A file that stays makes the next start restore the wishes, which are then "down": an `up` wants all.
    let _ = fs::remove_optional(&layout.session());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(layout: &Layout, nodes_live: bool) -> Result<Past, SysError> {
        let past = past(layout, nodes_live)?;
        begun(layout, past).map(|()| past)
    }

    const FRESH: Past = Past { unended: false, wishes_hold: false };
    const GOES_ON: Past = Past { unended: true, wishes_hold: true };
    const BARELY_BEGUN: Past = Past { unended: true, wishes_hold: false };

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
        assert_eq!(begin(&layout, false).unwrap(), FRESH, "of another boot");
        let ours = golden.replace("3f6f8f6e-7a5c-4f0e-9d0c-0f2f4f6f8f00", clock::boot_id());
        let (_dir, layout) = with(&ours);
        assert_eq!(begin(&layout, false).unwrap(), GOES_ON);
        assert_eq!(begin(&layout, false).unwrap(), GOES_ON, "and what holds needs not be written again");
        let (_dir, layout) = with(&ours.replacen('{', "{\"schema\": 9, \"weather\": \"fine\",", 1));
        assert_eq!(begin(&layout, false).unwrap(), GOES_ON, "a later version's");
        end(&layout);
        assert_eq!(begin(&layout, false).unwrap(), FRESH, "ended in order");
        let ending = include_str!("../../tests/golden/v1b/session-ending.json");
        let (_dir, layout) = with(&ending.replace("3f6f8f6e-7a5c-4f0e-9d0c-0f2f4f6f8f00", clock::boot_id()));
        assert_eq!(past(&layout, false).unwrap(), BARELY_BEGUN, "it was being ended");
    }

    #[test]
    fn a_session_whose_wishes_were_not_written_is_begun_anew() {
        let (_dir, layout) = with("");
        for past in [FRESH, BARELY_BEGUN, BARELY_BEGUN] {
            assert_eq!(begin(&layout, false).unwrap(), past);
        }
        assert_eq!(begin(&layout, true).unwrap(), BARELY_BEGUN, "some of its nodes run already");
        wishes_written(&layout).unwrap();
        assert_eq!(begin(&layout, false).unwrap(), GOES_ON);
        end(&layout);
        assert_eq!(
            begin(&layout, true).unwrap(),
            Past { unended: false, wishes_hold: true },
            "nodes of a lost session"
        );
    }

    #[test]
    fn the_wishes_of_a_session_that_was_being_ended_are_none_of_the_next() {
        let (_dir, layout) = with("");
        begun(&layout, FRESH).unwrap();
        wishes_written(&layout).unwrap();
        ending(&layout).unwrap();
        wishes_written(&layout).unwrap(); // late, on a disk that took nothing before
        for nodes_live in [false, true] {
            assert_eq!(past(&layout, nodes_live).unwrap(), BARELY_BEGUN);
        }
        begun(&layout, BARELY_BEGUN).unwrap();
        wishes_written(&layout).unwrap();
        assert_eq!(past(&layout, false).unwrap(), GOES_ON, "that one is begun");
    }

    #[test]
    fn a_session_file_torn_at_any_byte_never_stops_a_start() {
        let golden = include_str!("../../tests/golden/v1/session.json").trim_end();
        for at in 0..golden.len() {
            let (_dir, layout) = with(&golden[..at]);
            assert_eq!(begin(&layout, false).unwrap(), FRESH, "torn at {at}");
            assert_eq!(begin(&layout, false).unwrap(), BARELY_BEGUN, "a whole one lies there now");
        }
    }
}
