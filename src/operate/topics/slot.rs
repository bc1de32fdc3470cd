//! The right to change topics: taken with the first change of a turn and kept until its end, or until a controller does not answer. So no partition is added in the middle of a
//! roll, a drill, a snapshot or a reload, and none of those begins in the middle of a change.

use crate::operate::operation::{Kind, Operations, Refused, Running};

/// Of one turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    operations: &'a Operations,
    held: Option<Running>,
}

impl<'a> Slot<'a> {
    /// Not taken yet: most turns change nothing.
    pub(super) fn of(operations: &'a Operations) -> Self {
        Self { operations, held: None }
    }

    /// Gives it back before the turn ends.
    pub(super) fn leave(&mut self) {
        self.held = None;
    }

    /// Takes it. The error says what runs, in the same words as long as it does: new ones are told as a new difference.
    pub(super) fn take(&mut self) -> Result<(), String> {
        if self.held.is_none() {
            let begun = self.operations.begin(Kind::Topics, "", None);
            self.held = Some(begun.map_err(|other| format!("{}; it is changed after that", standing(&other)))?);
        }
        Ok(())
    }
}

/// What runs and since when, without how far it is.
fn standing(other: &Refused) -> String {
    match other {
        Refused::Busy(record) => format!("{} is under way since {}", record.name(), record.begun_at),
        Refused::HalfExchanged(_) | Refused::NotRecorded(_) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::Layout, engine::Journal};

    #[test]
    fn topics_wait_for_what_runs_and_what_would_run_waits_for_topics() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let operations = Operations::new(layout.clone(), Journal::start(&layout));
        for kind in [Kind::Roll, Kind::Drill, Kind::Snapshot, Kind::Restore, Kind::Reset, Kind::Reload] {
            let running = operations.begin(kind, "", None).unwrap();
            assert!(operations.runs_besides_topics().is_some());
            let why = Slot::of(&operations).take().unwrap_err();
            assert!(why.starts_with(&format!("{} is under way since", kind.as_str())), "{why}");
            running.step("broker-2: restarts", None).unwrap();
            assert_eq!(Slot::of(&operations).take().unwrap_err(), why, "it is told once, whatever step it is at");
            drop(running);
        }
        let mut slot = Slot::of(&operations);
        operations.begin(Kind::Roll, "", None).map(drop).unwrap();
        slot.take().unwrap();
        slot.take().unwrap();
        assert!(!layout.operation().exists(), "there is nothing to undo");
        assert_eq!(operations.runs_besides_topics(), None, "who wants topics in force joins it");
        let busy = operations.begin(Kind::Drill, "broker-kill", None).unwrap_err().to_string();
        assert!(busy.starts_with("change of topics is under way since"), "{busy}");
        slot.leave();
        operations.begin(Kind::Roll, "", None).map(drop).unwrap();
        slot.take().unwrap();
        drop(slot);
        operations.begin(Kind::Roll, "", None).map(drop).unwrap();
    }
}
