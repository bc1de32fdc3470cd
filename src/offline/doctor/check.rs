//! A row of the preflight table: condition, what is required, what was found, how bad that is, why, and what to do.

use super::fix::Fix;
use serde::Serialize;

/// How bad what was found is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not work like this, or data will be lost.
    Fail,
    /// It works, and will bite one day.
    Warn,
    /// It could not be seen.
    Unknown,
    /// Worth knowing.
    Info,
    /// As it should be.
    Ok,
}

impl Severity {
    /// Every one, the worst first.
    pub const ALL: [Severity; 5] = [Severity::Fail, Severity::Warn, Severity::Unknown, Severity::Info, Severity::Ok];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Fail => "fail",
            Severity::Warn => "warn",
            Severity::Unknown => "unknown",
            Severity::Info => "info",
            Severity::Ok => "ok",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The condition: `swap`, `port 9092`.
    pub name: String,
    /// What is asked for.
    pub required: String,
    /// What is there.
    pub found: String,
    /// How bad that is.
    pub severity: Severity,
    /// Why it is asked for.
    pub why: String,
    /// What to do; null when nothing is to be done.
    pub remedy: Option<String>,
    /// The failure as one sentence; null for a row that does not fail.
    pub problem: Option<String>,
    /// `up` and `run` refuse to start because of it. A failure that only a later event makes a loss is a warning there.
    pub stops_start: bool,
    /// What `doctor --fix` would change; null where it is nothing that this program changes.
    pub fix: Option<Fix>,
}

impl Check {
    /// A row that is as it should be.
    pub fn ok(
        name: impl Into<String>,
        required: impl Into<String>,
        found: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            required: required.into(),
            found: found.into(),
            severity: Severity::Ok,
            why: why.into(),
            remedy: None,
            problem: None,
            stops_start: false,
            fix: None,
        }
    }

    /// The row with another severity and what to do about it.
    #[must_use]
    pub fn but(mut self, severity: Severity, remedy: impl Into<String>) -> Self {
        self.severity = severity;
        self.remedy = Some(remedy.into());
        self
    }

    /// The row as a failure that no start goes on with; `problem` says it in one sentence.
    #[must_use]
    pub fn fails(mut self, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        self.problem = Some(problem.into());
        self.stops_start = true;
        self.but(Severity::Fail, remedy)
    }

    /// A failure that a start only warns of.
    #[must_use]
    pub fn and_starts(mut self) -> Self {
        self.stops_start = false;
        self
    }

    /// The row with the change of the host that puts it right.
    #[must_use]
    pub fn fixed_by(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// The row as something that could not be seen.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        self.severity = Severity::Unknown;
        self
    }
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// `fail` when a row fails, else `warn` when one warns, else `ok`.
    pub verdict: Severity,
    /// The root it was made for.
    pub root: String,
    /// The rows, the worst first.
    pub checks: Vec<Check>,
}

impl Report {
    /// Puts the rows in order: by severity, within one as they came.
    pub fn new(root: impl Into<String>, mut checks: Vec<Check>) -> Self {
        checks.sort_by_key(|check| check.severity);
        let worst = checks.iter().map(|check| check.severity).min();
        let verdict = match worst {
            Some(severity @ (Severity::Fail | Severity::Warn)) => severity,
            Some(Severity::Unknown | Severity::Info | Severity::Ok) | None => Severity::Ok,
        };
        Self { schema: 1, verdict, root: root.into(), checks }
    }

    /// How many rows have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.checks.iter().filter(|check| check.severity == severity).count()
    }
}

/// `5.7G`, `384M`, `12K`: at most one decimal, rounded down, so that what is left is never shown as more than it is.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let Some((unit, letter)) = UNITS.iter().find(|(unit, _)| bytes >= *unit) else { return format!("{bytes} bytes") };
    let tenths = u128::from(bytes) * 10 / u128::from(*unit);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{letter}"),
        (whole, _) if whole >= 100 => format!("{whole}{letter}"),
        (whole, tenth) => format!("{whole}.{tenth}{letter}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(severity: Severity) -> Check {
        Check::ok(severity.as_str(), "", "", "").but(severity, "")
    }

    #[test]
    fn the_worst_rows_come_first_and_the_verdict_is_the_worst() {
        let report = Report::new("/r", Severity::ALL.into_iter().rev().map(row).collect());
        let names: Vec<&str> = report.checks.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["fail", "warn", "unknown", "info", "ok"]);
        assert_eq!((report.verdict, report.count(Severity::Info)), (Severity::Fail, 1));
        for (rows, verdict) in [
            (vec![Severity::Ok, Severity::Warn], Severity::Warn),
            (vec![Severity::Unknown, Severity::Info], Severity::Ok),
            (vec![], Severity::Ok),
        ] {
            assert_eq!(Report::new("/r", rows.into_iter().map(row).collect()).verdict, verdict);
        }
    }

    #[test]
    fn as_json_no_key_is_missing() {
        let json = serde_json::to_value(Report::new("/r", vec![Check::ok("a", "b", "c", "d")])).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"schema": 1, "verdict": "ok", "root": "/r", "checks": [{
                "name": "a", "required": "b", "found": "c", "severity": "ok", "why": "d", "remedy": null,
                "problem": null, "stops_start": false, "fix": null}]})
        );
    }

    #[test]
    fn sizes_are_short_and_never_too_large() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5K"),
            ((5 << 30) - 1, "4.9G"),
            (5 << 30, "5G"),
            (252 << 30, "252G"),
            ((252 << 30) + (1 << 29), "252G"),
            (u64::MAX, "16777215T"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
