//! `events`: what happened, from the files of the root, with or without a daemon.

use super::nodes::choose;
use crate::{
    base::{EventLine, printable::printable},
    cli::{
        args,
        changes::Changes,
        context::Context,
        error::{CliError, of_output, of_reading},
        exit::Exit,
        printer::Paint,
        signals::Signals,
    },
    offline::events::{Choice, Events, Folded, fold, local},
};
use anstyle::AnsiColor;
use std::{
    collections::VecDeque,
    io::{self, BufWriter, Write},
};

/// Events when nothing else is said.
const LINES: usize = 50;

pub(super) async fn run(context: &Context, args: args::Events) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let nodes = choose(context, &layout, &args.nodes)?;
    let width = nodes.iter().map(|n| n.as_str().len()).max().unwrap_or(0);
    let shown = Shown { json: args.json, width: width.max("zookeeper".len()), paint: context.printer.paint() };
    let choice = Choice { since: args.since, nodes: args.nodes };
    let mut events = Events::new(&layout, choice);
    let last = args.lines.or_else(|| (args.since.is_none() && !args.json).then_some(LINES));
    let mut changes = if args.follow { Some(Changes::of(layout.state())?) } else { None };
    if let Some(changes) = &mut changes {
        changes.begin()?;
    }
    let mut kept = VecDeque::new();
    events
        .read(&mut |event| {
            if last.is_some_and(|last| kept.len() >= last) {
                kept.pop_front();
            }
            kept.push_back(event);
        })
        .map_err(|e| of_reading(&e))?;
    if last == Some(0) {
        kept.clear();
    }
    if kept.is_empty() && !args.follow {
        context.printer.say("no events");
    }
    shown.print(kept.make_contiguous(), true)?;
    let Some(mut changes) = changes else {
        remark(context, &events, (0, 0));
        return Ok(Exit::Done);
    };
    let mut signals = Signals::listen()?;
    let mut told = remark(context, &events, (0, 0));
    loop {
        changes.begin()?;
        let mut fresh = Vec::new();
        events.read(&mut |event| fresh.push(event)).map_err(|e| of_reading(&e))?;
        shown.print(&fresh, false)?;
        told = remark(context, &events, told);
        tokio::select! {
            () = changes.next() => {}
            () = signals.next() => return Err(CliError::silent(Exit::Interrupted)),
        }
    }
}

/// Says what could not be shown, once.
fn remark(context: &Context, events: &Events, told: (u64, u64)) -> (u64, u64) {
    let (unreadable, gaps) = (events.unreadable(), events.gaps());
    if unreadable > told.0 {
        let count = unreadable - told.0;
        context.printer.warn(&format!("{count} lines of the event log were cut short by a crash or a full disk"));
    }
    if gaps > told.1 {
        context.printer.warn("files of the event log were removed before they could be read; events are missing here");
    }
    (unreadable, gaps)
}

/// How events are shown.
struct Shown {
    json: bool,
    width: usize,
    paint: Paint,
}

impl Shown {
    fn print(&self, events: &[EventLine], folded: bool) -> Result<(), CliError> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut write = |line: &str| writeln!(out, "{line}").map_err(|e| of_output(&e));
        if self.json {
            for event in events {
                // A struct of texts and numbers always becomes JSON.
                write(&serde_json::to_string(event).unwrap_or_default())?;
            }
        } else if folded {
            for part in fold(events) {
                write(&match part {
                    Folded::One(event) => self.line(&event),
                    Folded::Again { length: 1, times, until } => {
                        format!("{:25}(again {times} times, the last at {})", "", local(until))
                    }
                    Folded::Again { length, times, until } => {
                        format!("{:25}(the last {length} again {times} times, the last at {})", "", local(until))
                    }
                })?;
            }
        } else {
            for event in events {
                write(&self.line(event))?;
            }
        }
        out.flush().map_err(|e| of_output(&e))
    }

    fn line(&self, event: &EventLine) -> String {
        let node = event.node.as_ref().map_or("-", |n| n.as_str());
        let kind = printable(&event.kind, 40);
        let padded = format!("{kind:<17}");
        let colour = match event.kind.as_str() {
            "failed" | "incident" | "shim-lost" | "events-lost" | "killing" => Some(AnsiColor::Red),
            "degraded" | "trouble" | "restart-scheduled" | "refused" | "left-down" | "operation-left" => {
                Some(AnsiColor::Yellow)
            }
            "ready" | "recovered" => Some(AnsiColor::Green),
            _ => None,
        };
        let kind = colour.map_or_else(|| padded.clone(), |c| self.paint.with(c.on_default(), &padded));
        let by = event.by.map_or_else(String::new, |by| format!(" ({by})"));
        // The file is ours, but who can write to it could put anything into it.
        let text = printable(&event.text, usize::MAX);
        format!("{}  {node:<width$}  {kind} {text}{by}", local(event.at), width = self.width)
    }
}
