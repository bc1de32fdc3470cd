//! From kill -9 of a node to the first instruction of its successor.

use crate::{
    Bench,
    child::{Starts, monotonic},
    ours::{LIMIT, Ours},
    peers::{Kind, Peer},
    proc,
    report::{Figure, Measured, median, p50_p95, ratio},
};
use nix::sys::signal::Signal;
use std::time::Duration;

/// runsv waits until a second has passed since a start before it starts again; so that its own speed is measured and not
/// that wait, every child lives this long before it is killed.
const LIFE: Duration = Duration::from_millis(1100);

/// One node of ours and one service of runit, killed in turns.
pub fn figure(bench: &Bench) -> Measured<Figure> {
    let rounds = bench.rounds(60, 2);
    let (mine, theirs) = (Starts(bench.file("respawn-ours")), Starts(bench.file("respawn-runit")));
    let mut ours = Ours::new(&bench.programs, &Ours::waiting(1, &bench.child, &mine.0))?;
    ours.start()?;
    let mut runit = Peer::new(Kind::Runit, 1, &format!("{} wait {}", bench.child.display(), theirs.0.display()));
    if let Ok(runit) = &mut runit {
        runit.start()?;
        theirs.wait(1, LIMIT)?;
    }
    mine.wait(1, LIMIT)?;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    // the first round warms up
    for round in 0..=rounds {
        std::thread::sleep(LIFE);
        let time = one(&mine)?;
        if round > 0 {
            our_times.push(time);
        }
        if runit.is_ok() {
            let time = one(&theirs)?;
            if round > 0 {
                their_times.push(time);
            }
        }
    }
    let mut figure = Figure {
        what: "respawn after kill -9, p50 / p95".into(),
        ours: p50_p95(&our_times),
        reach: "p50 <= 1.0 x runit".into(),
        rounds,
        ..Figure::default()
    };
    match runit {
        Ok(_) => {
            figure.against = format!("runit {}", p50_p95(&their_times));
            figure.ratio = ratio(median(&our_times), median(&their_times));
            figure.reached = figure.ratio.map(|r| r <= 1.0);
        }
        Err(why) => figure.against = why,
    }
    Ok(figure)
}

fn one(starts: &Starts) -> Measured<Duration> {
    let all = starts.all();
    let last = all.last().ok_or("it never started")?;
    let killed_at = monotonic();
    proc::kill(last.pid, Signal::SIGKILL);
    let again = starts.wait(all.len() + 1, LIMIT)?;
    Ok(again[all.len()].at.saturating_sub(killed_at))
}
