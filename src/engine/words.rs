//! Sentences about ends of runs, for events and incidents. Pure.

use crate::base::{
    Cause, ExitStatus,
    outcome::{OomBy, signal_name},
    units::human_duration,
};
use std::time::Duration;

/// What is known of an end, for its sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Why.
    pub(super) cause: Cause,
    /// How.
    pub(super) status: ExitStatus,
    /// How long it ran.
    pub(super) ran_ms: Option<u64>,
    /// Out-of-memory kills that the kernel counted in its cgroup; none: there was no cgroup to count in.
    pub(super) oom_kills: Option<u64>,
    /// Of such a kill: whose limit it was about.
    pub(super) oom_by: Option<OomBy>,
}

impl End {
    /// A clause whose subject is the node: `killed by SIGKILL (not by us, not by the kernel's OOM killer) after 3h12m`.
    pub(super) fn clause(&self) -> String {
        let how = exit_words(self.status);
        let clause = match self.cause {
            Cause::Stopped => format!("stopped ({how})"),
            Cause::KilledAfterGrace => "killed by us, because it did not end within its grace".into(),
            Cause::KilledByOrder => format!("ended by order ({how})"),
            Cause::KilledByOther => match self.oom_kills {
                Some(_) => format!("killed by {} (not by us, not by the kernel's OOM killer)", signal_of(self.status)),
                None => format!("killed by {} (not by us)", signal_of(self.status)),
            },
            Cause::OutOfMemory => match self.oom_by {
                Some(OomBy::Host) => "killed by the kernel, because the machine was out of memory".into(),
                Some(OomBy::GroupAbove) => "killed by the kernel at a memory limit of a group above its own".into(),
                Some(OomBy::Cap) | None => "killed by the kernel at its memory cap".into(),
            },
            Cause::Completed => format!("ended by itself ({how})"),
            Cause::Crashed => match self.status {
                ExitStatus::Code(_) | ExitStatus::Signal(_) => format!("crashed ({how})"),
                ExitStatus::Unknown => "could not be launched, this time".into(),
            },
            Cause::CouldNotStart => "could not be started".into(),
            Cause::OldSession => format!("ended ({how}), because ZooKeeper still held its old session"),
            Cause::WrongIdentity => format!("refused data that is not its own ({how})"),
            Cause::BadOption => format!("refused an option ({how})"),
            Cause::PortTaken => format!("found its port taken ({how})"),
            Cause::DiskFull => format!("found no space left on its disk ({how})"),
            Cause::WrongOwner => format!("may not use its files ({how})"),
            Cause::NewerData => format!("refused data of a newer version ({how})"),
            Cause::ShimLost => "replaced, because its shim was killed".into(),
            Cause::Unknown => "ended in a way that nobody saw".into(),
        };
        match self.ran_ms {
            Some(ms) => format!("{clause} after {}", human_duration(Duration::from_millis(ms))),
            None => clause,
        }
    }
}

/// `exit 143 (SIGTERM)`, `SIGKILL`.
pub(super) fn exit_words(status: ExitStatus) -> String {
    match status {
        // A JVM reports a signal that it handled as 128 + signal.
        ExitStatus::Code(code) if (129..=128 + 31).contains(&code) => {
            format!("exit {code}, as after {}", signal_name(code - 128))
        }
        status => status.describe(),
    }
}

fn signal_of(status: ExitStatus) -> String {
    match status {
        ExitStatus::Signal(signal) => signal_name(signal),
        ExitStatus::Code(code) if code > 128 => signal_name(code - 128),
        ExitStatus::Code(code) => format!("a signal (exit {code})"),
        ExitStatus::Unknown => "a signal".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_clause() {
        let mut clauses = std::collections::BTreeSet::new();
        for cause in Cause::ALL {
            let end =
                End { cause, status: ExitStatus::Code(1), ran_ms: Some(11_520_000), oom_kills: Some(0), oom_by: None };
            let clause = end.clause();
            assert!(clause.ends_with(" after 3h12m"), "{clause}");
            clauses.insert(clause);
        }
        assert_eq!(clauses.len(), Cause::ALL.len());
    }

    #[test]
    fn the_kernel_is_only_ruled_out_where_it_was_asked() {
        let end = |oom_kills| {
            let (cause, status) = (Cause::KilledByOther, ExitStatus::Signal(9));
            End { cause, status, ran_ms: None, oom_kills, oom_by: None }.clause()
        };
        assert_eq!(end(Some(0)), "killed by SIGKILL (not by us, not by the kernel's OOM killer)");
        assert_eq!(end(None), "killed by SIGKILL (not by us)");
        let jvm = End {
            cause: Cause::Stopped,
            status: ExitStatus::Code(143),
            ran_ms: Some(900),
            oom_kills: None,
            oom_by: None,
        };
        assert_eq!(jvm.clause(), "stopped (exit 143, as after SIGTERM) after 0.9 s");
    }
}
