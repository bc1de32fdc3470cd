//! The exit record's file: `key=value` lines, closed by `end`, so that a torn file is known as torn.
//!
//! ```text
//! cdc-exit 1
//! incarnation=3
//! pid=4711
//! status=code 143          or: signal 9, unknown
//! started_at=1763867279042 milliseconds since 1970 UTC
//! ...
//! cgroup_peak_bytes=none   none: not known
//! signals_sent=15,9
//! end
//! ```

use super::wire::WireError;
use crate::base::{ExitRecord, ExitStatus, Incarnation, Timestamp, outcome::OomBy};
use std::fmt::{Display, Write};

/// Version of the file. Keys may be added within a version.
pub(super) const VERSION: u32 = 1;

const HEAD: &str = "cdc-exit ";

/// Why a node never ran: beside its exit record (pid 0), for a daemon that was not there to hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchFailure {
    /// The step, as in `Report::LaunchFailed`.
    pub step: String,
    /// The kernel's error number.
    pub errno: i32,
    /// Words with the operands.
    pub text: String,
}

/// The text of an exit record, with the reason when the node never ran.
pub fn format_exit_record(record: &ExitRecord, failure: Option<&LaunchFailure>) -> String {
    let optional = |v: Option<u64>| v.map_or_else(|| "none".to_owned(), |v| v.to_string());
    let status = match record.status {
        ExitStatus::Code(c) => format!("code {c}"),
        ExitStatus::Signal(s) => format!("signal {s}"),
        ExitStatus::Unknown => "unknown".to_owned(),
    };
    let signals: Vec<String> = record.signals_sent.iter().map(i32::to_string).collect();
    let mut text = format!("{HEAD}{VERSION}\n");
    let mut line = |key: &str, value: &dyn Display| {
        // writing into a String cannot fail
        let _ = writeln!(text, "{key}={value}");
    };
    line("incarnation", &record.incarnation);
    line("pid", &record.pid);
    line("status", &status);
    line("started_at", &record.started_at.0);
    line("ended_at", &record.ended_at.0);
    line("cpu_ms", &record.cpu_ms);
    line("peak_rss_bytes", &record.peak_rss_bytes);
    line("cgroup_peak_bytes", &optional(record.cgroup_peak_bytes));
    line("oom_kills", &optional(record.oom_kills));
    line("signals_sent", &signals.join(","));
    if let Some(by) = record.oom_by {
        line("oom_by", &by.as_str());
    }
    if let Some(bytes) = record.cgroup_cap_bytes {
        line("cgroup_cap_bytes", &bytes);
    }
    if let Some(failure) = failure {
        line("failed_step", &failure.step.replace('\n', " "));
        line("failed_errno", &failure.errno);
        line("failed_text", &failure.text.replace('\n', " "));
    }
    text.push_str("end\n");
    text
}

/// The lines between head and end.
fn body(text: &str) -> Result<&str, WireError> {
    let (version, rest) = text
        .strip_prefix(HEAD)
        .and_then(|t| t.split_once('\n'))
        .and_then(|(version, rest)| Some((version.parse::<u32>().ok()?, rest)))
        .ok_or_else(|| WireError::Field("this is not an exit record".into()))?;
    if version != VERSION {
        return Err(WireError::RecordVersion(version));
    }
    rest.strip_suffix("end\n").filter(|t| t.ends_with('\n')).ok_or(WireError::Truncated)
}

fn value<'a>(body: &'a str, key: &str) -> Option<&'a str> {
    body.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
}

fn number<T: std::str::FromStr>(body: &str, key: &str) -> Result<T, WireError> {
    let text = value(body, key).ok_or_else(|| WireError::Field(format!("the exit record has no {key}")))?;
    text.parse().map_err(|_| WireError::Field(format!("the exit record says {key}={text}, which is not a number")))
}

fn optional(body: &str, key: &str) -> Result<Option<u64>, WireError> {
    if value(body, key) == Some("none") { Ok(None) } else { number(body, key).map(Some) }
}

/// Reads an exit record. Unknown keys are ignored; a torn, foreign or incomplete file is an error.
pub fn parse_exit_record(text: &str) -> Result<ExitRecord, WireError> {
    let body = body(text)?;
    let status = value(body, "status").unwrap_or_default();
    let bad = || WireError::Field(format!("the exit record says status={status}, which is no exit status"));
    let status = match status.split_once(' ') {
        Some(("code", n)) => ExitStatus::Code(n.parse().map_err(|_| bad())?),
        Some(("signal", n)) => ExitStatus::Signal(n.parse().map_err(|_| bad())?),
        None if status == "unknown" => ExitStatus::Unknown,
        Some(_) | None => return Err(bad()),
    };
    let signals = value(body, "signals_sent").unwrap_or_default();
    Ok(ExitRecord {
        incarnation: Incarnation(number(body, "incarnation")?),
        pid: number(body, "pid")?,
        status,
        started_at: Timestamp(number(body, "started_at")?),
        ended_at: Timestamp(number(body, "ended_at")?),
        cpu_ms: number(body, "cpu_ms")?,
        peak_rss_bytes: number(body, "peak_rss_bytes")?,
        cgroup_peak_bytes: optional(body, "cgroup_peak_bytes")?,
        oom_kills: optional(body, "oom_kills")?,
        // A word that only a later version knows is as good as none.
        oom_by: OomBy::ALL.into_iter().find(|by| value(body, "oom_by") == Some(by.as_str())),
        // Absent in records of older shims.
        cgroup_cap_bytes: value(body, "cgroup_cap_bytes").and_then(|bytes| bytes.parse().ok()),
        signals_sent: signals
            .split(',')
            .filter(|s| !s.is_empty())
            .map(|s| s.parse().map_err(|_| WireError::Field(format!("the exit record names {s:?} as a signal"))))
            .collect::<Result<_, _>>()?,
    })
}

/// Why the node of this exit record never ran; none when it did.
pub fn parse_launch_failure(text: &str) -> Result<Option<LaunchFailure>, WireError> {
    let body = body(text)?;
    let Some(step) = value(body, "failed_step") else { return Ok(None) };
    Ok(Some(LaunchFailure {
        step: step.to_owned(),
        errno: number(body, "failed_errno")?,
        text: value(body, "failed_text").unwrap_or_default().to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(pid: i32, status: ExitStatus, peak: Option<u64>, signals_sent: Vec<i32>) -> ExitRecord {
        ExitRecord {
            incarnation: Incarnation(3),
            pid,
            status,
            started_at: Timestamp(1_763_867_279_042),
            ended_at: Timestamp(1_763_867_280_000),
            cpu_ms: 12,
            peak_rss_bytes: 1 << 20,
            cgroup_peak_bytes: peak,
            oom_kills: peak.map(|_| 0),
            oom_by: peak.map(|p| OomBy::ALL[usize::try_from(p % 3).unwrap_or(0)]),
            cgroup_cap_bytes: peak,
            signals_sent,
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back_as_it_was_written(pid: i32, n: i32, which in 0usize..3, peak: Option<u64>, sent in prop::collection::vec(any::<i32>(), 0..5)) {
            let status = [ExitStatus::Code(n), ExitStatus::Signal(n), ExitStatus::Unknown][which];
            let record = record(pid, status, peak, sent);
            prop_assert_eq!(parse_exit_record(&format_exit_record(&record, None)).unwrap(), record);
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(text in ".{0,200}", lines in "(cdc-exit 1\n)?([a-z_]{1,12}=[a-z0-9 ]{0,9}\n){0,12}(end\n)?") {
            prop_assert!(parse_exit_record(&text).is_err());
            let _ = parse_exit_record(&lines);
            let _ = parse_launch_failure(&lines);
        }
    }

    #[test]
    fn a_record_torn_at_any_byte_is_an_error() {
        let failure = LaunchFailure { step: "exec".into(), errno: 2, text: "end\nof /x".into() };
        let text = format_exit_record(&record(1, ExitStatus::Code(0), None, vec![15, 9]), Some(&failure));
        for at in 0..text.len() {
            assert!(parse_exit_record(&text[..at]).is_err(), "torn at {at}");
        }
        assert!(parse_exit_record(&text).is_ok());
        assert_eq!(parse_launch_failure(&text).unwrap().unwrap().text, "end of /x");
    }

    #[test]
    fn records_of_version_1_stay_as_they_are() {
        let ran = include_str!("../../tests/golden/v1/exit-record.ran");
        let never = include_str!("../../tests/golden/v1/exit-record.never-ran");
        // Later keys of the same version.
        let oom = include_str!("../../tests/golden/v1b/exit-record.oom");
        let killed = parse_exit_record(oom).unwrap();
        assert_eq!((killed.oom_by, killed.cgroup_cap_bytes), (Some(OomBy::GroupAbove), Some(64 << 20)));
        for text in [ran, never, oom] {
            let (record, failure) = (parse_exit_record(text).unwrap(), parse_launch_failure(text).unwrap());
            assert_eq!(format_exit_record(&record, failure.as_ref()), text);
        }
        let later = parse_exit_record(&ran.replace("cdc-exit 1", "cdc-exit 2")).unwrap_err();
        assert_eq!(later, WireError::RecordVersion(2));
        assert_eq!(later.to_string(), "its exit record is of version 2, this program knows 1");
    }

    #[test]
    fn a_node_that_ran_has_no_launch_failure_and_unknown_keys_are_ignored() {
        let text = format_exit_record(&record(1, ExitStatus::Signal(9), Some(0), vec![]), None);
        assert_eq!(parse_launch_failure(&text).unwrap(), None);
        let later = text.replace("end\n", "weather=fine\nend\n");
        assert_eq!(parse_exit_record(&later).unwrap().cgroup_peak_bytes, Some(0));
    }
}
