//! Start of many nodes, from the supervisor's own start to the last child's first instruction; and their stop, from the
//! signal to the supervisor until all children are gone, and until nothing of the supervisor is left either.

use crate::{
    Bench,
    child::{Starts, monotonic},
    ours::{LIMIT, Ours},
    peers::{Kind, Peer},
    proc::Ends,
    report::{Figure, Measured, median, ms, ratio},
};
use std::time::Duration;

/// What one round gives.
struct Round {
    /// Until the last child's first instruction.
    start: Duration,
    /// Until the last child's end.
    stop: Duration,
    /// Until the end of the last process of the supervisor.
    gone: Duration,
}

/// `many` nodes against as many services of runit.
pub fn figures(bench: &Bench, many: usize) -> Measured<Vec<Figure>> {
    let rounds = bench.rounds(if many > 50 { 5 } else { 15 }, 1);
    let starts = Starts(bench.file(&format!("start-{many}")));
    let mut ours = Ours::new(&bench.programs, &Ours::waiting(many, &bench.child, &starts.0))?;
    let runit = Peer::new(Kind::Runit, many, &format!("{} wait {}", bench.child.display(), starts.0.display()));
    let (mut runit, missing) = match runit {
        Ok(runit) => (Some(runit), String::new()),
        Err(why) => (None, why),
    };
    let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
    // the first round makes directories, on both sides
    for round in 0..=rounds {
        let one = of_ours(&mut ours, &starts, many)?;
        if round > 0 {
            our_rounds.push(one);
        }
        if let Some(runit) = &mut runit {
            let one = of_runit(runit, &starts, many)?;
            if round > 0 {
                their_rounds.push(one);
            }
        }
    }
    let part = |rounds: &[Round], take: fn(&Round) -> Duration| median(&rounds.iter().map(take).collect::<Vec<_>>());
    let figure = |what: &str, take: fn(&Round) -> Duration| {
        let (mine, theirs) = (part(&our_rounds, take), part(&their_rounds, take));
        let ratio = ratio(mine, theirs);
        Figure {
            what: what.to_owned(),
            ours: ms(mine),
            against: if missing.is_empty() { format!("runit {}", ms(theirs)) } else { missing.clone() },
            ratio,
            reach: "<= 0.5 x runit".into(),
            reached: ratio.map(|r| r <= 0.5),
            rounds,
            notes: Vec::new(),
        }
    };
    Ok(vec![
        figure(&format!("start of {many} nodes, median"), |r| r.start),
        figure(&format!("stop of {many} nodes, median"), |r| r.stop),
        figure(&format!("stop of {many} nodes and of the supervisor, median"), |r| r.gone),
    ])
}

fn of_ours(ours: &mut Ours, starts: &Starts, many: usize) -> Measured<Round> {
    starts.clear();
    let began = monotonic();
    ours.start()?;
    let last = last_start(starts, many).map_err(|e| format!("{e}; the daemon said: {}", ours.last_words()))?;
    let start = last.saturating_sub(began);
    // a stop is measured from rest, as a person meets it
    ours.until("every node is ready", |s| Ours::all(s, "ready"))?;
    let ends = Ends::of(&pids(starts));
    let began = monotonic();
    ours.terminate();
    ends.wait(LIMIT)?;
    let stop = monotonic().saturating_sub(began);
    // shims end before the daemon does
    ours.ended()?;
    Ok(Round { start, stop, gone: monotonic().saturating_sub(began) })
}

fn of_runit(runit: &mut Peer, starts: &Starts, many: usize) -> Measured<Round> {
    starts.clear();
    let began = monotonic();
    runit.start()?;
    let start = last_start(starts, many)?.saturating_sub(began);
    std::thread::sleep(Duration::from_millis(200));
    let own = Ends::of(&runit.own_processes());
    let ends = Ends::of(&pids(starts));
    let began = monotonic();
    runit.terminate();
    ends.wait(LIMIT)?;
    let stop = monotonic().saturating_sub(began);
    runit.ended()?;
    // runsvdir leaves before its runsv processes do
    own.wait(LIMIT)?;
    Ok(Round { start, stop, gone: monotonic().saturating_sub(began) })
}

fn last_start(starts: &Starts, many: usize) -> Measured<Duration> {
    let all = starts.wait(many, LIMIT)?;
    Ok(all.iter().map(|s| s.at).max().unwrap_or_default())
}

fn pids(starts: &Starts) -> Vec<i32> {
    starts.all().iter().map(|s| s.pid).collect()
}
