//! `drill`: the daemon breaks something on purpose; the report as text or JSON, exit code 9 when the verdict is negative. And the
//! history of drills, from the files of the root.

mod throw_away;

use crate::{
    base::{
        drill::{Drill as Name, Plan, Report, Tally, Which},
        printable::printable,
        units::{grouped, human_duration},
    },
    cli::{
        args::{Drill, DrillAny, DrillBroker, DrillLasts, DrillThrowAway},
        context::{Context, TICK, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        live::Live,
        printer::Paint,
        signals::Signals,
    },
    control::wire::{Answer, Order},
    offline::drills::{self, History, seconds},
};
use anstyle::AnsiColor;
use serde::Serialize;
use std::{
    io::{self, IsTerminal},
    time::Duration,
};

pub(super) async fn run(context: &Context, asked: Drill) -> Result<Exit, CliError> {
    let (mut plan, json) = match asked {
        Drill::BrokerKill(broker) => of_broker(Name::BrokerKill, broker, None),
        Drill::BrokerTerm(broker) => of_broker(Name::BrokerTerm, broker, None),
        Drill::BrokerPause { broker, lasts } => of_broker(Name::BrokerPause, broker, Some(&lasts)),
        Drill::TwoBrokers { broker, lasts } => of_broker(Name::TwoBrokers, broker, Some(&lasts)),
        Drill::ZookeeperRestart(any) => of_any(Name::ZookeeperRestart, any, None),
        Drill::ZookeeperDown { any, lasts } => of_any(Name::ZookeeperDown, any, Some(&lasts)),
        Drill::MysqlKill(any) => of_any(Name::MysqlKill, any, None),
        Drill::ColdRestart(any) => of_any(Name::ColdRestart, any, None),
        Drill::DiskFull { no_guard, any } => {
            return apart(context, (Name::DiskFull, no_guard), Which::default(), any).await;
        }
        Drill::PortThief { which, any } => return apart(context, (Name::PortThief, false), which, any).await,
        Drill::ClusterIdMismatch(any) => {
            return apart(context, (Name::ClusterIdMismatch, false), Which::default(), any).await;
        }
        Drill::History { last, json } => return history(context, last, json),
    };
    if plan.confirm.is_none()
        && let Some(what) = plan.interrupts()
    {
        plan.confirm = typed(context, plan.drill, &what).await;
    }
    let report = made(context, plan).await?;
    shown(context, &report, json)
}

/// On a cluster of its own.
async fn apart(
    context: &Context,
    (drill, no_guard): (Name, bool),
    which: Which,
    asked: DrillThrowAway,
) -> Result<Exit, CliError> {
    let DrillThrowAway { rate, on, json } = asked;
    let plan = Plan { drill, which, lasts_ms: None, rate, confirm: None, no_guard };
    let report = throw_away::made(context, plan, on).await?;
    shown(context, &report, json)
}

fn shown(context: &Context, report: &Report, json: bool) -> Result<Exit, CliError> {
    let text = if json { as_json(report)? } else { told(report, context.printer.paint()) };
    context.printer.data(&text)?;
    Ok(if report.passed() { Exit::Done } else { Exit::Negative })
}

fn of_broker(drill: Name, broker: DrillBroker, lasts: Option<&DrillLasts>) -> (Plan, bool) {
    let which = broker.which;
    let (plan, json) = of_any(drill, broker.any, lasts);
    (Plan { which, ..plan }, json)
}

fn of_any(drill: Name, any: DrillAny, lasts: Option<&DrillLasts>) -> (Plan, bool) {
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let lasts_ms = lasts.and_then(|lasts| lasts.lasts).map(millis);
    let which = Which::default();
    (Plan { drill, which, lasts_ms, rate: any.rate, confirm: any.confirm, no_guard: false }, any.json)
}

/// Asks where somebody can be asked; the daemon refuses what was not agreed to.
async fn typed(context: &Context, drill: Name, what: &str) -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    context.printer.say(&format!("{drill} interrupts service: {what}\ntype {drill} to have it so:"));
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    line.await.ok()?.ok().map(|line| line.trim().to_owned())
}

async fn made(context: &Context, plan: Plan) -> Result<Box<Report>, CliError> {
    let layout = context.layout()?;
    let mut answers = context.ask(&layout, Order::Drill(plan)).await?;
    let mut signals = Signals::listen()?;
    let mut live = Live::begin(context.printer, "drill");
    let mut doing = "the daemon begins".to_owned();
    loop {
        tokio::select! {
            answer = answers.next() => match answer? {
                Some(Answer::Progress { text, .. }) => {
                    doing = text;
                    live.show(&doing);
                }
                Some(Answer::Drilled(report)) => return Ok(report),
                Some(answer) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                None => return Err(unexpected()),
            },
            () = signals.next() => {
                return Err(CliError::new(Exit::Interrupted, "interrupted; the daemon goes on with the drill")
                    .hint("`cdc-supervisor drill history` has its report when it is done"));
            }
            () = tokio::time::sleep(TICK) => live.show(&doing),
        }
    }
}

fn as_json<T: Serialize>(value: &T) -> Result<String, CliError> {
    serde_json::to_string(value)
        .map_err(|e| CliError::new(Exit::Unexpected, "cannot write the report as JSON").causes([e.to_string()]))
}

fn history(context: &Context, last: usize, json: bool) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let found = drills::find(&layout, last).map_err(|e| CliError::of(Exit::Unexpected, &e))?;
    for why in &found.unreadable {
        context.printer.warn(why);
    }
    if json {
        context.printer.data(&as_json(&History::of(&found.reports))?)?;
    } else if found.reports.is_empty() {
        context.printer.say("no drill was made here yet");
    } else {
        context.printer.data(&aligned(&drills::table(&found.reports)))?;
    }
    Ok(Exit::Done)
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The verdict, what was written, what happened when.
fn told(report: &Report, paint: Paint) -> String {
    let victims: Vec<&str> = report.victims.iter().map(crate::base::NodeName::as_str).collect();
    let controller = if report.controller == Some(true) { " (the controller was among them)" } else { "" };
    let took = human_duration(Duration::from_millis(report.took_ms));
    let mut lines =
        vec![format!("{}: {}{controller}; {took} in all", printable(&report.drill, 40), victims.join(", "))];
    if let Some(lasted) = report.lasted_ms {
        lines.push(format!("kept broken for {}", seconds(Some(lasted))));
    }
    if report.throw_away {
        lines.push("on a throw-away cluster, which is removed again".to_owned());
    }
    lines.extend(report.observed.iter().map(|seen| format!("  {}", printable(seen, 400))));
    lines.push(String::new());
    lines.extend(
        report
            .timeline
            .marks()
            .iter()
            .filter(|(_, at)| at.is_some())
            .map(|(what, at)| format!("{:>9}  {what}", seconds(*at))),
    );
    lines.push(String::new());
    for (what, tally) in [("records", &report.kafka), ("rows", &report.mysql)] {
        lines.extend(tally.iter().map(|tally| counted(what, tally)));
    }
    let (word, colour) = if report.passed() { ("passed", AnsiColor::Green) } else { ("FAILED", AnsiColor::Red) };
    let faults = report.faults.iter().map(|fault| format!("  {}", printable(fault, 400)));
    let verdict = format!("{} (drill #{})", paint.with(colour.on_default().bold(), word), report.id);
    let left = report.left.iter().map(|left| format!("  {}", printable(left, 400)));
    lines.extend(std::iter::once(verdict).chain(faults).chain(left));
    lines.join("\n")
}

/// `records  4,123 acknowledged, 0 lost, 0 twice, 0 out of order, 12 late; longest gap 0.39 s, 0.01 s after the fault`.
fn counted(what: &str, tally: &Tally) -> String {
    let gap = seconds(Some(tally.longest_gap_ms));
    let at = match u64::try_from(tally.longest_gap_at_ms) {
        Ok(after) => format!("from {} after the fault on", seconds(Some(after))),
        Err(_) => format!("from {} before the fault on", seconds(Some(tally.longest_gap_at_ms.unsigned_abs()))),
    };
    let unread = match tally.unread {
        0 => String::new(),
        n => format!(" {} not read back,", grouped(n)),
    };
    format!(
        "{what:<8} {} acknowledged, {} lost,{unread} {} twice, {} out of order, {} late; longest gap {gap}, {at}",
        grouped(tally.acknowledged),
        grouped(tally.lost),
        grouped(tally.duplicated),
        grouped(tally.out_of_order),
        grouped(tally.late),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeName, Timestamp, drill::TimeLine};

    fn report() -> Report {
        Report {
            schema: 1,
            id: 7,
            drill: "broker-kill".into(),
            at: Timestamp(0),
            took_ms: 14_200,
            version: "0.1.0".into(),
            victims: vec![NodeName::broker(2)],
            controller: Some(false),
            lasted_ms: None,
            rate: 500,
            verdict: Report::PASSED.into(),
            faults: vec![],
            kafka: Some(Tally {
                sent: 4_123,
                acknowledged: 4_123,
                late: 12,
                longest_gap_ms: 394,
                longest_gap_at_ms: 12,
                slowest_ms: 402,
                ..Tally::default()
            }),
            mysql: Some(Tally { acknowledged: 412, longest_gap_ms: 30, longest_gap_at_ms: -800, ..Tally::default() }),
            timeline: TimeLine {
                death_seen: Some(3),
                session_closed: Some(16),
                process_up: Some(42),
                isr_full: Some(2_512),
                ..TimeLine::default()
            },
            throw_away: false,
            observed: vec![],
            guard: None,
            left: vec![],
        }
    }

    #[test]
    fn a_report_tells_what_happened_when_and_what_became_of_everything() {
        let expected = "\
broker-kill: broker-2; 14.2 s in all

   0.00 s  death seen
   0.01 s  session closed
   0.04 s  process up
   2.51 s  every ISR full

records  4,123 acknowledged, 0 lost, 0 twice, 0 out of order, 12 late; longest gap 0.39 s, from 0.01 s after the fault on
rows     412 acknowledged, 0 lost, 0 twice, 0 out of order, 0 late; longest gap 0.03 s, from 0.80 s before the fault on
passed (drill #7)";
        assert_eq!(told(&report(), Paint { on: false }), expected);
    }

    #[test]
    fn what_the_supervisor_said_stands_before_the_times() {
        let mut thief = report();
        thief.throw_away = true;
        thief.observed = vec!["broker-2 is not started: port 20001 is taken".into()];
        let text = told(&thief, Paint { on: false });
        let expected = "\non a throw-away cluster, which is removed again\n  broker-2 is not started: port 20001 is taken\n\n   0.00 s  death seen\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_could_not_be_read_back_is_counted_apart() {
        let mut failed = report();
        failed.kafka.as_mut().unwrap().unread = 1_200;
        let text = told(&failed, Paint { on: false });
        assert!(text.contains("4,123 acknowledged, 0 lost, 1,200 not read back, 0 twice"), "{text}");
    }

    #[test]
    fn what_is_still_there_is_told_with_the_verdict() {
        let mut left = report();
        left.left = vec!["its table is still there (mysql is failed)".into()];
        let text = told(&left, Paint { on: false });
        assert!(text.ends_with("passed (drill #7)\n  its table is still there (mysql is failed)"), "{text}");
        assert!(as_json(&report()).unwrap().contains(r#""observed":[],"left":[]"#), "never missing");
    }

    #[test]
    fn a_negative_verdict_says_why() {
        let mut failed = report();
        failed.verdict = Report::FAILED.into();
        failed.faults = vec!["1 record acknowledged and lost: 17".into()];
        let text = told(&failed, Paint { on: false });
        assert!(text.ends_with("FAILED (drill #7)\n  1 record acknowledged and lost: 17"), "{text}");
    }
}
