//! kill -9 of the daemon around every record of a roll, and of the next one that finishes it: the broker is restarted once in all, by
//! whichever daemon, and where two have died in it a person does it.

use crate::{
    bench::{Bench, stays},
    points::all_points,
    support::{STATE_LIMIT, skip, until},
};
use serde_json::Value;

/// What nobody goes on with, as soon as that is on record.
const GIVEN_UP: &str = "unrolled.given-up";

const ROLL: [&str; 2] = ["roll", "--accept-unavailable"];

struct Case {
    /// Where the daemon dies that is ordered to roll, and where the ones after it do.
    deaths: &'static [&'static str],
    /// Nobody goes on with it after that.
    is_given_up: bool,
}

const CASES: [Case; 12] = [
    Case { deaths: &["operation.recorded"], is_given_up: false },
    // the step is on record, and the broker was not asked yet
    Case { deaths: &["operation.stepped"], is_given_up: false },
    // all was done
    Case { deaths: &["operation.ending"], is_given_up: false },
    // what is left is on record twice: one death all the same
    Case { deaths: &["operation.recorded", "unrolled.kept"], is_given_up: false },
    Case { deaths: &["operation.recorded", "operation.undone"], is_given_up: false },
    // it was finished, and that was not written down
    Case { deaths: &["operation.recorded", "operation.ending"], is_given_up: false },
    Case { deaths: &["operation.recorded", "unrolled.gone"], is_given_up: false },
    // and each moment of writing down what is left
    Case { deaths: &["operation.recorded", "write.opened@state/unrolled.json"], is_given_up: false },
    Case { deaths: &["operation.recorded", "write.half@state/unrolled.json"], is_given_up: false },
    Case { deaths: &["operation.recorded", "write.written@state/unrolled.json"], is_given_up: false },
    Case { deaths: &["operation.recorded", "write.renamed@state/unrolled.json"], is_given_up: false },
    Case { deaths: &["operation.recorded", "operation.stepped"], is_given_up: true },
];

fn incarnation(bench: &Bench) -> u64 {
    bench.node("broker-1").and_then(|node| node["incarnation"].as_u64()).expect("a broker that has been started")
}

fn cut_short(bench: &Bench) -> Value {
    let output = bench.run(&["status", "--json"]);
    serde_json::from_str::<Value>(&output.stdout).unwrap_or_default()["cut_short"].clone()
}

fn up(bench: &Bench) {
    let output = bench.run(&["up", "--detach"]);
    assert_eq!(output.code, Some(0), "{output}");
}

fn is_done(bench: &Bench, before: u64, case: &str) {
    until(STATE_LIMIT, &format!("{case}: it is finished"), || {
        let node = bench.node("broker-1").ok_or("no daemon")?;
        let kept = ["state/unrolled.json", "state/operation.json"].map(|file| bench.path(file).exists());
        let done = node["state"] == "ready" && node["incarnation"] == before + 1 && kept == [false; 2];
        if done && cut_short(bench).is_null() { Ok(()) } else { Err(format!("{node} {kept:?}")) }
    });
}

#[test]
fn a_roll_is_finished_once_wherever_its_daemon_dies_and_by_a_person_when_two_have() {
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip("a_roll_is_finished_once", "CDC_TEST_STORE names no filled artifact store");
    };
    let _turn = crate::real_ports();
    for point in all_points(&[]).iter().filter(|point| point.starts_with("unrolled.")) {
        let tried = point == GIVEN_UP || CASES.iter().any(|case| case.deaths.contains(&point.as_str()));
        assert!(tried, "{point} is never tried");
    }
    let bench =
        Bench::with(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka.brokers.1]\n"));
    up(&bench);
    for Case { deaths, is_given_up } in CASES {
        let case = deaths.join(", ");
        let before = incarnation(&bench);
        let (first, after) = deaths.split_first().unwrap();
        bench.killed(first, || drop(bench.run(&ROLL)));
        for point in after {
            // What dies after it serves may have let the `up` end before.
            bench.killed(point, || drop(bench.run(&["up", "--detach"])));
        }
        up(&bench);
        if is_given_up {
            stays(&format!("{case}: it is left"), || cut_short(&bench)["resume"] == "left");
            let told = cut_short(&bench);
            assert!(told["resume_detail"].as_str().unwrap().contains("2 daemons have died in it"), "{case}: {told}");
            let events = bench.run(&["events", "-n", "1000"]).stdout;
            let words = "not restarted: broker-1; 2 daemons have died in it, so no daemon goes on with it; `cdc-supervisor roll broker-1` does the rest";
            assert!(events.contains(words), "{case}\n{events}");
            assert_eq!(incarnation(&bench), before, "{case}");
            let output = bench.run(&ROLL);
            assert_eq!(output.code, Some(0), "{case}\n{output}");
            assert!(cut_short(&bench).is_null(), "{case}");
        } else {
            is_done(&bench, before, &case);
        }
        stays(&format!("{case}: once"), || incarnation(&bench) == before + 1);
        eprintln!("killed at {case}: restarted once");
    }
    // What was refused when it was tried again is given up, also by the daemon after the one that died over writing that down.
    let before = incarnation(&bench);
    bench.killed("operation.recorded", || drop(bench.run(&["roll"])));
    bench.killed(GIVEN_UP, || drop(bench.run(&["up", "--detach"])));
    up(&bench);
    until(STATE_LIMIT, "it is left", || match cut_short(&bench) {
        told if told["resume"] == "left" => Ok(()),
        told => Err(told.to_string()),
    });
    stays("nobody restarts it", || incarnation(&bench) == before && cut_short(&bench)["resume"] == "left");
    assert_eq!(bench.run(&ROLL).code, Some(0));
    the_clock_is_set(&bench);
    assert_eq!(bench.run(&["down"]).code, Some(0));
    bench.root.await_empty();
}

/// What ran when a roll began decides what is left of it, and no time of day: neither a broker that seems to have started after the roll
/// began, nor one that seems to have started before it and was restarted by it.
fn the_clock_is_set(bench: &Bench) {
    const DAY: i64 = 86_400_000;
    bench.arm(&format!("clock offset={DAY}"));
    assert_eq!(bench.run(&ROLL).code, Some(0), "the broker runs since tomorrow");
    bench.disarm();
    let before = incarnation(bench);
    bench.killed("operation.recorded", || drop(bench.run(&ROLL)));
    up(bench);
    is_done(bench, before, "the clock was set back before a roll");
    stays("once", || incarnation(bench) == before + 1);

    let before = incarnation(bench);
    let at = bench.pair.dir().join("failpoints.at");
    let _ = std::fs::remove_file(&at);
    bench.arm("operation.recorded delay=2000");
    let rolling = bench.spawn(&ROLL);
    until(STATE_LIMIT, "the roll begins", || if at.exists() { Ok(()) } else { Err("it does not".into()) });
    bench.arm(&format!("clock offset=-{DAY}\noperation.ending kill"));
    bench.has_died("operation.ending");
    drop(rolling.try_wait_for(STATE_LIMIT));
    assert_eq!(incarnation_on_disk(bench), before + 1, "it was restarted, yesterday as it seems");
    up(bench);
    is_done(bench, before, "the clock was set back in a roll");
    stays("once", || incarnation(bench) == before + 1);
}

fn incarnation_on_disk(bench: &Bench) -> u64 {
    let text = std::fs::read_to_string(bench.path("state/nodes/broker-1.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["incarnation"].as_u64().expect("its run")
}
