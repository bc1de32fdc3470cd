//! The drills of a root, for `drill history`: reports from their files, oldest first, and a table that compares them.

use crate::{
    base::{
        Layout,
        drill::{KEPT, Report, Tally},
        printable::printable,
    },
    offline::{events::local, owner},
    sys::{error::SysError, fs, numbered},
};
use serde::Serialize;

/// What was read.
#[derive(Debug, Default)]
pub struct Found {
    /// The reports, oldest first.
    pub reports: Vec<Report>,
    /// What is wrong with files that could not be read, one sentence each.
    pub unreadable: Vec<String>,
}

/// `drill history --json`. Keys are never missing.
#[derive(Debug, Serialize)]
pub struct History<'a> {
    /// 1.
    pub schema: u32,
    /// The reports, oldest first.
    pub drills: &'a [Report],
    /// `passed` when all of them did.
    pub verdict: &'static str,
}

impl<'a> History<'a> {
    /// Of these reports.
    pub fn of(drills: &'a [Report]) -> Self {
        let all = drills.iter().all(Report::passed);
        Self { schema: 1, drills, verdict: if all { Report::PASSED } else { Report::FAILED } }
    }
}

/// Reads the last `last` reports.
pub fn find(layout: &Layout, last: usize) -> Result<Found, SysError> {
    let mut names = fs::names_in(&layout.drills())?;
    names.retain(|name| !name.starts_with('.') && name.ends_with(".json"));
    // numbers of six digits in front: the order of names is that of the drills
    names.sort_by_key(|name| (name.len().min(6), name.clone()));
    let skipped = names.len().saturating_sub(last);
    let mut found = Found::default();
    for name in names.into_iter().skip(skipped) {
        let path = layout.drills().join(name);
        match fs::read_lossy_optional(&path) {
            Ok(Some(text)) => match serde_json::from_str(&text) {
                Ok(report) => found.reports.push(report),
                Err(e) => found.unreadable.push(printable(&format!("{} is no report: {e}", path.display()), 400)),
            },
            // Pushed out of the bound since the listing.
            Ok(None) => {}
            Err(e) => found.unreadable.push(printable(&format!("{e}: {}", e.source), 400)),
        }
    }
    Ok(found)
}

/// Puts the report of a drill that no daemon of this root has made among the others, under the next number. Root does it as the
/// owner of the root, whose the others are.
pub fn keep(layout: &Layout, report: &mut Report) -> Result<(), SysError> {
    owner::act_for(layout.root())?;
    let dir = layout.drills();
    report.id = numbered::next(&dir)?;
    numbered::keep(&dir, report.id, &report.drill, &report.file(), KEPT)
}

/// `0.39 s`; a dash for what did not happen.
pub fn seconds(ms: Option<u64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
    }
}

/// One row per drill, with a heading.
pub fn table(reports: &[Report]) -> Vec<[String; 10]> {
    let head = [
        "#",
        "WHEN",
        "DRILL",
        "VERDICT",
        "ACKNOWLEDGED",
        "LOST",
        "LONGEST GAP",
        "PROCESS UP",
        "ISR FULL",
        "LEADERS HOME",
    ];
    let row = |report: &Report| {
        let tallies: Vec<&Tally> = report.kafka.iter().chain(&report.mysql).collect();
        let sum = |of: fn(&Tally) -> u64| tallies.iter().map(|t| of(t)).sum::<u64>();
        let gap = tallies.iter().map(|t| t.longest_gap_ms).max();
        [
            report.id.to_string(),
            local(report.at).chars().take(19).collect(),
            printable(&report.drill, 40),
            printable(&report.verdict, 40),
            sum(|t| t.acknowledged).to_string(),
            sum(|t| t.lost).to_string(),
            seconds(gap),
            seconds(report.timeline.process_up),
            seconds(report.timeline.isr_full),
            seconds(report.timeline.leaders_home),
        ]
    };
    std::iter::once(head.map(str::to_owned)).chain(reports.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"schema":1,"id":7,"drill":"broker-kill","at":"2026-01-02T03:04:05.006Z","took_ms":9000,"version":"0.1.0",
        "victims":["broker-2"],"controller":false,"lasted_ms":null,"rate":500,"verdict":"passed","faults":[],
        "kafka":{"sent":4000,"acknowledged":4000,"given_up":0,"lost":0,"late":0,"duplicated":0,"out_of_order":0,"strange":0,
                 "longest_gap_ms":394,"longest_gap_at_ms":2,"slowest_ms":400,"lost_numbers":[]},
        "mysql":null,
        "timeline":{"death_seen":3,"session_closed":16,"first_new_leader":120,"last_new_leader":121,"process_up":30,
                    "registered":1800,"ready":2100,"isr_full":2500,"leaders_home":null},"of_a_later_version":1}"#;

    #[test]
    fn the_last_ones_are_read_in_order_and_what_is_no_report_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert!(find(&layout, 9).unwrap().reports.is_empty());
        std::fs::create_dir_all(layout.drills()).unwrap();
        for id in [1u32, 2, 10] {
            let text = REPORT.replacen("\"id\":7", &format!("\"id\":{id}"), 1);
            std::fs::write(layout.drills().join(format!("{id:06}.broker-kill.json")), text).unwrap();
        }
        std::fs::write(layout.drills().join("000011.mysql-kill.json"), "{").unwrap();
        std::fs::write(layout.drills().join(".000012.mysql-kill.json.1.tmp"), "{").unwrap();
        let found = find(&layout, 3).unwrap();
        assert_eq!(found.reports.iter().map(|r| r.id).collect::<Vec<_>>(), [2, 10]);
        assert!(found.unreadable[0].contains("000011.mysql-kill.json is no report"), "{:?}", found.unreadable);
        assert_eq!(History::of(&found.reports).verdict, "passed");
    }

    #[test]
    fn a_row_compares_the_gap_and_the_marks() {
        let report: Report = serde_json::from_str(REPORT).unwrap();
        let rows = table(std::slice::from_ref(&report));
        assert_eq!(rows[0].len(), rows[1].len());
        assert_eq!(rows[1][2..], ["broker-kill", "passed", "4000", "0", "0.39 s", "0.03 s", "2.50 s", "-"]);
    }
}
