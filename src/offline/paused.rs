//! A process that a drill has stopped (SIGSTOP) and whose daemon did not live to let it go on: told so by whoever has the daemon's lock
//! next, before anything else. A process that is stopped hears no SIGTERM, and nobody waits for a broker that cannot move.

use crate::{
    base::{Layout, ids::ProcessId},
    sys::{fs, process},
};
use serde::Deserialize;

/// What matters here of an operation's record (`operate::operation`, `operate::drill`).
#[derive(Debug, Default, Deserialize)]
struct Record {
    #[serde(default)]
    undo: Option<Undo>,
}

#[derive(Debug, Default, Deserialize)]
struct Undo {
    #[serde(default)]
    paused: Option<ProcessId>,
}

/// Sends SIGCONT to it, if it is still that process; none: there is none. The caller holds the daemon's lock, so no drill runs.
pub fn go_on(layout: &Layout) -> Option<(ProcessId, Result<(), String>)> {
    // What cannot be read is told by the next daemon.
    let text = fs::read_lossy_optional(&layout.operation()).ok()??;
    let paused = serde_json::from_str::<Record>(&text).ok()?.undo?.paused?;
    let sent = process::go_on(&paused)?;
    Some((paused, sent.map_err(|e| e.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_record_of_one_or_with_another_in_its_place_nothing_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        assert!(go_on(&layout).is_none());
        let own = process::identity(i32::try_from(std::process::id()).unwrap()).unwrap();
        let stranger = ProcessId { start_ticks: own.start_ticks + 1, ..own.clone() };
        let other_boot = ProcessId { boot_id: "another".into(), ..own };
        for text in [
            String::new(),
            "{".into(),
            r#"{"kind":"roll"}"#.into(),
            r#"{"undo":{"start":["mysql"]}}"#.into(),
            r#"{"undo":{"paused":[1,2]}}"#.into(),
            serde_json::json!({"undo": {"paused": stranger}}).to_string(),
            serde_json::json!({"undo": {"paused": other_boot}}).to_string(),
        ] {
            std::fs::write(layout.operation(), &text).unwrap();
            assert!(go_on(&layout).is_none(), "{text}");
        }
        let record = serde_json::json!({"kind": "drill", "undo": {"paused": own, "of_a_later_version": 1}});
        std::fs::write(layout.operation(), record.to_string()).unwrap();
        assert_eq!(go_on(&layout), Some((own, Ok(()))));
    }
}
