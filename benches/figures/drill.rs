//! What a broker's death costs whoever writes: `drill broker-kill` on the real stack, against the stock way (the session of the dead
//! broker is waited for, 18 s) in the same run; and what a rolling restart costs (`roll`), with the sum of all that was lost.

use crate::{
    Bench,
    ours::Ours,
    report::{Figure, Measured, median, ms, ratio},
    roll,
};
use cdc_supervisor::base::drill::Report;
use std::time::Duration;

/// The rates of the row.
const RATES: [u32; 2] = [500, 5_000];

/// What the two sides differ in. A run of a second counts as healthy for both: rounds follow each other without back-off.
const OURS: &str = "healthy_after = \"1s\"\n";
const STOCK: &str = "healthy_after = \"1s\"\nfencing = false\nsession_timeout = \"18s\"\n";

/// So many acknowledged records are looked for before their number proves anything.
const ENOUGH: u64 = 1_000_000;

/// Sums over all rounds.
#[derive(Default)]
pub struct Sum {
    pub acknowledged: u64,
    pub lost: u64,
    pub rounds: usize,
}

/// Rounds of one side at one rate.
struct Rounds(Vec<Report>);

impl Rounds {
    fn gaps(&self) -> Vec<Duration> {
        let gap = |r: &Report| r.kafka.as_ref().map_or(0, |k| k.longest_gap_ms);
        self.0.iter().map(|r| Duration::from_millis(gap(r))).collect()
    }

    /// A mark of the time line, of the rounds that have it.
    fn mark(&self, of: impl Fn(&Report) -> Option<u64>) -> Vec<Duration> {
        self.0.iter().filter_map(of).map(Duration::from_millis).collect()
    }
}

/// What of the row is measured.
#[derive(Clone, Copy)]
pub struct Parts {
    /// Brokers that lead, and those of stock.
    pub leaders: bool,
    /// Brokers that are the controller.
    pub controllers: bool,
    /// Rolls of all three.
    pub rolls: bool,
}

impl Parts {
    /// Of a row by its name; nothing for any other.
    pub fn of(row: &str) -> Option<Self> {
        let none = Self { leaders: false, controllers: false, rolls: false };
        match row {
            "drill" => Some(Self { leaders: true, controllers: true, rolls: true }),
            "controller" => Some(Self { controllers: true, ..none }),
            "roll" => Some(Self { rolls: true, ..none }),
            _ => None,
        }
    }
}

/// Every figure of these parts.
pub fn figures(bench: &Bench, store: &str, parts: Parts) -> Measured<Vec<Figure>> {
    let (rounds, stock_rounds) = (bench.rounds(10, 1), bench.rounds(10, 1).div_ceil(4));
    let rates = if bench.short { &RATES[..1] } else { &RATES[..] };
    let mut sum = Sum::default();
    let (mut ours, mut controller, mut rolls) = (Vec::new(), Vec::new(), Vec::new());
    with_stack(bench, store, OURS, |stack| {
        for rate in rates.iter().filter(|_| parts.leaders) {
            ours.push(made(stack, "leader", *rate, rounds, &mut sum)?);
        }
        for rate in rates.iter().filter(|_| parts.controllers && !bench.short) {
            controller.push(made(stack, "controller", *rate, rounds, &mut sum)?);
        }
        for rate in rates.iter().filter(|_| parts.rolls) {
            rolls.push(roll::figure(*rate, &roll::made(stack, *rate, rounds, &mut sum)?));
        }
        Ok(())
    })?;
    let mut stock = Vec::new();
    if parts.leaders {
        with_stack(bench, store, STOCK, |stack| {
            for rate in rates {
                stock.push(made(stack, "leader", *rate, stock_rounds, &mut sum)?);
            }
            Ok(())
        })?;
    }
    let mut figures = Vec::new();
    for ((rate, ours), stock) in rates.iter().zip(&ours).zip(&stock) {
        figures.push(compared(
            format!("broker killed, {rate} records/s: longest ack gap"),
            (&ours.gaps(), &stock.gaps()),
            Reach { ratio: Some(0.05), median: Duration::from_millis(500) },
        ));
        for (what, of) in [
            ("every ISR full", (|r: &Report| r.timeline.isr_full) as fn(&Report) -> Option<u64>),
            ("leaders home", |r: &Report| r.timeline.leaders_home),
        ] {
            figures.push(compared(
                format!("broker killed, {rate} records/s: {what}"),
                (&ours.mark(of), &stock.mark(of)),
                Reach { ratio: None, median: Duration::from_millis(4_500) },
            ));
        }
    }
    for (rate, rounds) in rates.iter().zip(&controller) {
        figures.push(compared(
            format!("controller killed, {rate} records/s: longest ack gap"),
            (&rounds.gaps(), &[]),
            Reach { ratio: None, median: Duration::from_secs(1) },
        ));
    }
    figures.extend(rolls);
    // A part alone need not come to so many.
    let enough = if parts.leaders && parts.controllers && parts.rolls { ENOUGH } else { 1 };
    figures.push(Figure {
        what: "acknowledged and lost, all rounds of both".into(),
        ours: format!("{} of {}", sum.lost, sum.acknowledged),
        reach: format!("0 of >= {enough}"),
        reached: Some(sum.lost == 0 && sum.acknowledged >= enough),
        rounds: sum.rounds,
        ..Figure::default()
    });
    Ok(figures)
}

#[derive(Clone, Copy)]
struct Reach {
    /// Of stock.
    ratio: Option<f64>,
    /// Of the median of ours.
    median: Duration,
}

fn compared(what: String, (ours, stock): (&[Duration], &[Duration]), reach: Reach) -> Figure {
    if ours.is_empty() {
        return Figure::failed(&what, "no round came so far");
    }
    let (mine, theirs) = (median(ours), median(stock));
    let worst = ours.iter().max().copied().unwrap_or_default();
    let against = if stock.is_empty() { String::new() } else { format!("stock {}", ms(theirs)) };
    let ratio = ratio(mine, theirs);
    let reached = mine <= reach.median && reach.ratio.is_none_or(|limit| ratio.is_some_and(|r| r <= limit));
    let limit = reach.ratio.map_or_else(String::new, |r| format!(", <= {r} x"));
    Figure {
        what,
        ours: format!("{}, worst {}", ms(mine), ms(worst)),
        against,
        ratio,
        reach: format!("median <= {}{limit}", ms(reach.median)),
        reached: Some(reached),
        rounds: ours.len(),
        notes: if stock.is_empty() { vec![] } else { vec![format!("{} rounds of stock", stock.len())] },
    }
}

fn with_stack(bench: &Bench, store: &str, kafka: &str, work: impl FnOnce(&Ours) -> Measured<()>) -> Measured<()> {
    let toml = format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\n{kafka}");
    let mut ours = Ours::new(&bench.programs, &toml)?;
    ours.start()?;
    ours.until("every node is ready", |s| Ours::all(s, "ready"))?;
    work(&ours)
}

/// Makes the rounds; each must have a report, whatever its verdict.
fn made(ours: &Ours, which: &str, rate: u32, rounds: usize, sum: &mut Sum) -> Measured<Rounds> {
    let mut made = Vec::new();
    for round in 0..rounds {
        let rate = rate.to_string();
        let arguments = ["drill", "broker-kill", "--which", which, "--rate", &rate, "--json"];
        let output = ours.verb(&arguments).output().map_err(|e| e.to_string())?;
        let report: Report = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("{arguments:?}: {}; {}", output.status, String::from_utf8_lossy(&output.stderr)))?;
        eprintln!(
            "{which} {rate}/s round {round}: {} gap {} ms, {:?}{}",
            report.verdict,
            report.kafka.as_ref().map_or(0, |k| k.longest_gap_ms),
            report.timeline,
            report.faults.join("; ")
        );
        if let Some(tally) = &report.kafka {
            // What could not be read back proves nothing.
            sum.acknowledged += tally.acknowledged.saturating_sub(tally.unread);
            sum.lost += tally.lost;
        }
        sum.rounds += 1;
        made.push(report);
    }
    Ok(Rounds(made))
}
