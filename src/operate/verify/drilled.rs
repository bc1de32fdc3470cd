//! What `verify` says of the two proofs that it does not make itself, because they stop or break what serves: the last drill of each.

use super::Check;
use crate::base::{
    Timestamp,
    drill::{Drill, Report},
    printable::printable,
    units::human_duration,
};
use std::time::Duration;

/// How much of a drill's first fault is quoted.
const FAULT_MAX: usize = 200;

/// A row for each. `reports`: those that could be read, oldest first; `unreadable`: how many could not. None of them fails: what no drill has
/// shown is unproven, not broken, and what one has shown was so then.
pub fn drilled(reports: &[Report], unreadable: usize, brokers: bool, now: Timestamp) -> Vec<Check> {
    let all = [
        (Drill::ColdRestart, "everything comes back when it was stopped and started"),
        (Drill::BrokerKill, "nothing acknowledged is lost when a broker is killed"),
    ];
    let there = all.into_iter().filter(|(drill, _)| brokers || *drill != Drill::BrokerKill);
    there.map(|(drill, what)| row(drill, what, reports, unreadable, now)).collect()
}

fn row(drill: Drill, what: &str, reports: &[Report], unreadable: usize, now: Timestamp) -> Check {
    let last = reports.iter().rev().find(|r| r.drill == drill.as_str() && !r.throw_away);
    let again = format!("`cdc-supervisor drill {drill}`");
    let said = |report: &Report, verdict: &str| {
        let age = Duration::from_millis(u64::try_from(now.0 - report.at.0).unwrap_or(0));
        format!("{drill} {verdict} {} ago (drill {})", human_duration(age), report.id)
    };
    let (what, note) = match last {
        Some(report) if report.passed() => (format!("{what}: {}", said(report, "passed")), None),
        Some(report) => {
            let why = report.faults.first().map_or_else(String::new, |why| format!(": {}", printable(why, FAULT_MAX)));
            (
                what.to_owned(),
                Some(format!("warning: {}{why}; once it is mended, {again} proves it", said(report, "FAILED"))),
            )
        }
        None if unreadable > 0 => (
            what.to_owned(),
            Some(format!("no report of {drill} can be read (`cdc-supervisor drill history`): {again}")),
        ),
        None => (what.to_owned(), Some(format!("never drilled: {again}"))),
    };
    Check { part: "drill", what, wrong: None, note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::drill::TimeLine;

    fn report(id: u64, drill: &str, at: i64, faults: &[&str]) -> Report {
        Report {
            schema: 1,
            id,
            drill: drill.into(),
            at: Timestamp(at),
            took_ms: 1,
            version: String::new(),
            victims: Vec::new(),
            controller: None,
            lasted_ms: None,
            rate: 500,
            verdict: if faults.is_empty() { Report::PASSED } else { Report::FAILED }.into(),
            faults: faults.iter().map(|f| (*f).to_owned()).collect(),
            kafka: None,
            mysql: None,
            timeline: TimeLine::default(),
            throw_away: false,
            observed: Vec::new(),
            guard: None,
            left: Vec::new(),
        }
    }

    fn lines(reports: &[Report], unreadable: usize) -> Vec<(String, Option<String>)> {
        let rows = drilled(reports, unreadable, true, Timestamp(7_800_000));
        assert!(rows.iter().all(|row| row.wrong.is_none()), "a drill fails no verify");
        rows.into_iter().map(|row| (row.what, row.note)).collect()
    }

    #[test]
    fn a_proof_that_was_never_drilled_is_told_with_its_order_and_does_not_fail() {
        let notes: Vec<String> = lines(&[], 0).into_iter().filter_map(|(_, note)| note).collect();
        let never = |drill: &str| format!("never drilled: `cdc-supervisor drill {drill}`");
        assert_eq!(notes, [never("cold-restart"), never("broker-kill")]);
        assert!(lines(&[], 1)[0].1.as_ref().unwrap().starts_with("no report of cold-restart can be read"));
        assert_eq!(drilled(&[], 0, false, Timestamp(0)).len(), 1, "without brokers none is killed");
        let elsewhere = Report { throw_away: true, ..report(1, "broker-kill", 0, &[]) };
        assert!(lines(&[elsewhere], 0)[1].1.is_some(), "on a throw-away cluster it says nothing of this one");
    }

    #[test]
    fn the_last_drill_counts_with_its_age_and_a_failed_one_is_a_warning_in_words() {
        let reports = [
            report(1, "cold-restart", 0, &["3 records lost"]),
            report(2, "broker-kill", 0, &[]),
            report(3, "cold-restart", 600_000, &[]),
            report(4, "broker-kill", 7_740_000, &["2 of 4,000 records \u{1b}[31mlost", "more"]),
            report(5, "mysql-kill", 7_750_000, &["x"]),
        ];
        let [(cold, None), (_, Some(kill))] = &lines(&reports, 0)[..] else { panic!("{reports:?}") };
        assert!(cold.ends_with(": cold-restart passed 2h00m ago (drill 3)"), "{cold}");
        let expected = "warning: broker-kill FAILED 1m00s ago (drill 4): 2 of 4,000 records \\u{1b}[31mlost; once it is mended, \
                        `cdc-supervisor drill broker-kill` proves it";
        assert_eq!(kill, expected);
        // A clock that was set back.
        assert!(drilled(&reports, 0, true, Timestamp(0))[0].what.contains("passed 0.0 s ago"));
    }
}
