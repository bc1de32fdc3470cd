//! `logs`: the last lines of nodes, and what follows.

use crate::{
    base::{Layout, NodeName, units::grouped},
    cli::{
        args,
        context::Context,
        error::{CliError, of_output},
        exit::Exit,
        signals::Signals,
    },
    offline::logs::{self, Follower, Piece, Start, Wakeup},
};
use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::mpsc;

/// Lines of each node when nothing else is said.
const LINES: usize = 20;

/// A look without a wakeup: finds logs that did not exist before, and serves file systems that do not tell of changes.
const LOOK: Duration = Duration::from_secs(1);

/// One node's log on its way to standard output.
struct Reading {
    node: NodeName,
    follower: Follower,
    prefix: String,
    watched: bool,
}

pub(super) async fn run(context: &Context, args: args::Logs) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let nodes = choose(context, &layout, &args.nodes)?;
    let last = args.lines.or_else(|| args.since.is_none().then_some(LINES));
    let start = Start { last, since: args.since };
    let width = nodes.iter().map(|n| n.as_str().len()).max().unwrap_or(0);
    let several = nodes.len() > 1;
    let mut readings: Vec<Reading> = nodes
        .into_iter()
        .map(|node| Reading {
            follower: logs::follower(&layout, &node, start),
            prefix: if several { format!("{node:width$} | ") } else { String::new() },
            node,
            watched: false,
        })
        .collect();
    if args.follow {
        return follow(context, &layout, readings).await;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for reading in &mut readings {
        read(context, reading, &mut out)?;
        rest(reading, &mut out)?;
    }
    out.flush().map_err(|e| of_output(&e))?;
    Ok(Exit::Done)
}

/// The nodes asked for, all of them when none is named; a name that nobody has is a mistake.
fn choose(context: &Context, layout: &Layout, asked: &[NodeName]) -> Result<Vec<NodeName>, CliError> {
    // Logs of a root can be read whatever is wrong with the configuration.
    let loaded = context.load().ok().filter(|loaded| loaded.plan.root == layout.root());
    let known = logs::nodes(layout, loaded.as_ref().map(|l| &l.plan));
    if let Some(unknown) = asked.iter().find(|n| !known.contains(n)) {
        let names: Vec<&str> = known.iter().map(NodeName::as_str).collect();
        let hint = if names.is_empty() {
            format!("no node has ever run under {}", layout.root().display())
        } else {
            format!("there are {}", names.join(", "))
        };
        return Err(CliError::new(Exit::Usage, format!("there is no node {unknown}")).hint(hint));
    }
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    Ok(known)
}

async fn follow(context: &Context, layout: &Layout, mut readings: Vec<Reading>) -> Result<Exit, CliError> {
    let failed = |e: &dyn std::error::Error| CliError::of(Exit::Unexpected, e);
    let wakeup = Wakeup::new().map_err(|e| failed(&e))?;
    let (wakeup, mut woken) = in_a_thread(wakeup);
    let mut signals = Signals::listen()?;
    loop {
        let mut out = BufWriter::new(io::stdout().lock());
        wakeup.clear();
        for reading in &mut readings {
            // Watched before it is read: what is written in between wakes us.
            if !reading.watched {
                reading.watched = wakeup.add(&layout.log_dir(&reading.node)).map_err(|e| failed(&e))?;
            }
            read(context, reading, &mut out)?;
        }
        out.flush().map_err(|e| of_output(&e))?;
        drop(out);
        tokio::select! {
            Some(()) = woken.recv() => {}
            () = signals.next() => break,
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for reading in &mut readings {
        read(context, reading, &mut out)?;
        rest(reading, &mut out)?;
    }
    out.flush().map_err(|e| of_output(&e))?;
    Err(CliError::silent(Exit::Interrupted))
}

/// Waits for changes in a thread of its own and passes each on once, and without any every [`LOOK`]; the thread ends with
/// the receiver.
fn in_a_thread(wakeup: Wakeup) -> (Arc<Wakeup>, mpsc::Receiver<()>) {
    let wakeup = Arc::new(wakeup);
    // One at most is under way: while nobody has taken it, nothing is gained by another.
    let (sender, receiver) = mpsc::channel(1);
    let waits = Arc::clone(&wakeup);
    thread::spawn(move || {
        while !sender.is_closed() {
            waits.wait(LOOK);
            if sender.blocking_send(()).is_err() {
                return;
            }
        }
    });
    (wakeup, receiver)
}

fn read(context: &Context, reading: &mut Reading, out: &mut impl Write) -> Result<(), CliError> {
    loop {
        match reading.follower.next().map_err(|e| CliError::of(Exit::Unexpected, &e))? {
            None => return Ok(()),
            Some(Piece::Text { bytes, first, ended }) => {
                let prefix = if first { reading.prefix.as_bytes() } else { &[] };
                let end: &[u8] = if ended { b"\n" } else { &[] };
                [prefix, bytes, end].into_iter().try_for_each(|part| out.write_all(part)).map_err(|e| of_output(&e))?;
            }
            Some(Piece::Missed(bytes)) => context.printer.warn(&format!(
                "{}: {} bytes were removed before they could be read",
                reading.node,
                grouped(bytes)
            )),
            Some(Piece::Broken(why)) => context.printer.warn(&format!("{}: {why}", reading.node)),
        }
    }
}

/// Half a line at the end, as it is.
fn rest(reading: &mut Reading, out: &mut impl Write) -> Result<(), CliError> {
    let Some(rest) = reading.follower.partial() else { return Ok(()) };
    out.write_all(reading.prefix.as_bytes())
        .and_then(|()| out.write_all(&rest))
        .and_then(|()| out.write_all(b"\n"))
        .map_err(|e| of_output(&e))
}
