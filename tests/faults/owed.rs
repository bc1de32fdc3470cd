//! kill -9 of the daemon around every effect on `state/drill-left.json`, the word of what a drill has left: whoever comes next has that
//! word or the drill's own record, tries again, and when nothing is left neither is there.

use crate::{
    bench::Bench,
    points::{all_points, at_all},
    support::{STATE_LIMIT, client::Client, until},
};
use std::fs;

pub const FILE: &str = "state/drill-left.json";
const RECORD: &str = "state/operation.json";

/// A drill's record as its daemon leaves it.
pub fn plant(bench: &Bench, file: &str) {
    let record = serde_json::json!({
        "kind": "drill", "detail": "broker-kill", "begun_at": "2026-01-02T03:04:05.006Z", "undo": {"topics": true, "table": true},
    });
    fs::create_dir_all(bench.path("state")).unwrap();
    fs::write(bench.path(file), record.to_string()).unwrap();
}

/// A daemon dies there.
fn killed(bench: &Bench, point: &str) {
    bench.killed(point, || {
        let died = bench.run(&["run", "--no-fetch"]);
        assert!(bench.hit() && died.signal == Some(9), "{point} is never reached\n{died}");
    });
}

fn are(bench: &Bench, run: &mut Client, point: &str, [left, record]: [bool; 2]) {
    until(STATE_LIMIT, &format!("{point}: it is over"), || {
        let now = [FILE, RECORD].map(|file| bench.path(file).exists());
        assert!(run.is_running(), "{point}: the next daemon does not live");
        if now == [left, record] { Ok(()) } else { Err(format!("{FILE}: {}, {RECORD}: {}", now[0], now[1])) }
    });
}

fn ends(bench: &Bench, run: Client, point: &str) {
    let torn = bench.torn();
    assert!(torn.is_empty(), "{point}: {torn:?}");
    assert_eq!(bench.run(&["down"]).code, Some(0), "{point}");
    drop(run.try_wait_for(STATE_LIMIT));
    bench.root.await_empty();
}

/// A drill was cut short, and its table cannot be removed: mysqld's program is not there.
fn kept(point: &str) {
    let bench = Bench::new();
    let store = bench.path("no-programs");
    bench.root.configure_raw(&format!(
        "[artifacts]\nstore = \"{}\"\noffline = true\n[mysql]\nport = 12307\n",
        store.display()
    ));
    plant(&bench, RECORD);
    killed(&bench, point);
    let mut run = bench.spawn(&["run", "--no-fetch"]);
    are(&bench, &mut run, point, [true, false]);
    let text = fs::read_to_string(bench.path(FILE)).unwrap();
    let word: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&word["detail"], &word["undo"]["table"]), (&"broker-kill".into(), &true.into()), "{point}: {word}");
    assert_eq!(word["undo"]["topics"], false, "{point}: there is no broker that could have them: {word}");
    ends(&bench, run, point);
}

/// By now nobody could have topics or a table, so nothing is owed any more.
fn gone(point: &str) {
    let bench = Bench::new();
    plant(&bench, FILE);
    killed(&bench, point);
    let mut run = bench.spawn(&["run"]);
    are(&bench, &mut run, point, [false, false]);
    let events = bench.run(&["events", "-n", "1000"]).stdout;
    assert!(events.contains("drill broker-kill"), "{point}: it is told\n{events}");
    ends(&bench, run, point);
    bench.must_be_whole(true);
}

#[test]
fn what_a_drill_has_left_is_on_record_wherever_a_daemon_dies_until_it_is_gone() {
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let mut cases: Vec<(String, bool)> = Vec::new();
    for point in all_points(&[FILE]).into_iter().filter(|p| p.starts_with("write.")) {
        cases.push((point, false));
    }
    cases.extend([("operation.ending", false), ("operation.stepped", true), ("operation.ending", true)].map(named));
    cases.extend(all_points(&[]).into_iter().filter(|p| p.starts_with("owed.")).map(|p| (p, true)));
    assert!(cases.len() >= 8, "points are gone: {cases:?}");
    let cases: Vec<Case> =
        cases.into_iter().filter(|(p, _)| p.contains(&only)).map(|(at, goes)| Case { at, goes }).collect();
    at_all(&cases, |case| if case.goes { gone(&case.at) } else { kept(&case.at) });
}

fn named((point, goes): (&str, bool)) -> (String, bool) {
    (point.to_owned(), goes)
}

#[derive(Clone, Debug)]
struct Case {
    at: String,
    /// Nothing is left by then.
    goes: bool,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of what is {}", self.at, if self.goes { "gone" } else { "left" })
    }
}
