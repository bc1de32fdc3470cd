//! `incidents`: one record per death, from the files of the root, with or without a daemon.

use super::nodes::choose;
use crate::{
    base::{Layout, incident::Incident},
    cli::{
        args,
        changes::Changes,
        context::Context,
        error::{CliError, of_output, of_reading},
        exit::Exit,
        signals::Signals,
    },
    offline::incidents::{self, Choice, Follower, Found, List},
};
use std::io::{self, Write};

/// Rows of the list when nothing else is said.
const ROWS: usize = 20;

pub(super) async fn run(context: &Context, args: args::Incidents) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let (ids, nodes): (Vec<_>, Vec<_>) = args.what.into_iter().partition(|w| matches!(w, args::Which::Id(_)));
    let nodes: Vec<_> = nodes.into_iter().filter_map(args::Which::node).collect();
    choose(context, &layout, &nodes)?;
    let choice = Choice { id: ids.first().and_then(args::Which::id), nodes, since: args.since };
    if let Some(id) = choice.id {
        return one(context, &layout, id, &choice, args.json);
    }
    let mut follower = Follower::default();
    if args.follow {
        follower.begin(&layout).map_err(|e| of_reading(&e))?;
    }
    let mut found = incidents::find(&layout, &choice).map_err(|e| of_reading(&e))?;
    remark(context, &found);
    if args.json
        && let Some(number) = args.number
    {
        let too_many = found.incidents.len().saturating_sub(number);
        found.incidents.drain(..too_many);
    }
    if args.json && !args.follow {
        print(&[json(&List::of(found.incidents))])?;
        return Ok(Exit::Done);
    }
    if args.json {
        print(&found.incidents.iter().map(json).collect::<Vec<_>>())?;
    } else {
        let rows = incidents::rows(&found.incidents);
        let all = args.all || args.since.is_some();
        let number = args.number.unwrap_or(if all { usize::MAX } else { ROWS });
        let left_out = rows.len().saturating_sub(number);
        if left_out > 0 && args.number.is_none() {
            context.printer.say(&format!("{left_out} older ones are left out; --all shows them"));
        }
        print(&rows[left_out..].iter().flat_map(incidents::Row::lines).collect::<Vec<_>>())?;
        if rows.is_empty() && !args.follow {
            context.printer.say("no incidents");
        }
    }
    if args.follow { follow(context, &layout, &choice, follower, args.json).await } else { Ok(Exit::Done) }
}

fn one(context: &Context, layout: &Layout, id: u64, choice: &Choice, as_json: bool) -> Result<Exit, CliError> {
    let found = incidents::find(layout, choice).map_err(|e| of_reading(&e))?;
    remark(context, &found);
    let Some(incident) = found.incidents.first() else {
        return Err(CliError::new(Exit::Usage, format!("there is no incident #{id}"))
            .hint("`cdc-supervisor incidents` lists those that are kept"));
    };
    let lines = if as_json { vec![json(incident)] } else { incidents::story(incident) };
    print(&lines)?;
    Ok(Exit::Done)
}

async fn follow(
    context: &Context,
    layout: &Layout,
    choice: &Choice,
    mut follower: Follower,
    as_json: bool,
) -> Result<Exit, CliError> {
    let mut changes = Changes::of(layout.incidents())?;
    let mut signals = Signals::listen()?;
    loop {
        changes.begin()?;
        let found = follower.next(layout, choice).map_err(|e| of_reading(&e))?;
        remark(context, &found);
        if as_json {
            print(&found.incidents.iter().map(json).collect::<Vec<_>>())?;
        } else {
            print(&found.incidents.iter().flat_map(followed).collect::<Vec<_>>())?;
        }
        tokio::select! {
            () = changes.next() => {}
            () = signals.next() => return Err(CliError::silent(Exit::Interrupted)),
        }
    }
}

/// A new incident with its lines, one that has changed with what became of it.
fn followed(incident: &Incident) -> Vec<String> {
    let row = incidents::Row { incident, first: None, count: 1 };
    if incident.outcome.state == "open" {
        return row.lines();
    }
    let lines = row.lines();
    let outcome = lines.iter().skip(1).map(|l| l.trim_start().to_owned()).collect::<Vec<_>>().join("; ");
    vec![format!("#{:<3} {}  {outcome}", incident.id, incident.node)]
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Structs of texts and numbers always become JSON.
    serde_json::to_string(value).unwrap_or_default()
}

fn remark(context: &Context, found: &Found) {
    for why in &found.unreadable {
        context.printer.warn(why);
    }
}

fn print(lines: &[String]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush()).map_err(|e| of_output(&e))
}
