//! `logs`: the last lines of nodes, and what follows; of several nodes merged by time.

mod select;

use crate::{
    base::{Layout, NodeKind, NodeName, units::grouped},
    cli::{
        args,
        changes::in_a_thread,
        context::Context,
        error::{CliError, of_output, of_reading},
        exit::Exit,
        printer::Paint,
        signals::Signals,
    },
    config::Plan,
    offline::journal::{self, FromJournal},
    offline::logs::{
        self, Display, Entries, Entry, Follower, LogError, Piece, Reading, SUPERVISOR, Start, Translator, Unrest,
        Wakeup,
    },
};
use anstyle::{AnsiColor, Style};
use select::{Filter, Selected};
use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::time::{sleep, sleep_until};

/// Lines of each node when nothing else is said.
const LINES: usize = 20;

/// How long lines of several nodes are gathered, to be shown by time: they are written within milliseconds of each other.
const GATHER: Duration = Duration::from_millis(50);

/// After so long a silence half a line is shown, and the end of a stack trace is taken as its end.
const SILENCE: Duration = Duration::from_millis(300);

/// The colours of names, in turns. Names stand there in any case.
const COLOURS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightCyan];

/// One log to be shown.
struct Shown {
    path: PathBuf,
    /// What is in front of its lines.
    prefix: String,
    node: NodeName,
    kind: NodeKind,
    translator: Translator,
    /// What a line that is harmless for a while is measured from.
    unrest: Unrest,
    /// Harmless lines are folded. Not where somebody looks for something: it must be found.
    folds: bool,
}

impl Shown {
    /// Writes an entry, or the word that it was folded.
    fn write(&mut self, out: &mut impl Write, entry: &Entry, paint: Paint) -> io::Result<()> {
        let reading = match entry.lines.first() {
            Some(line) if !line.ours => {
                logs::reading(self.kind, &line.text, |within| self.unrest.was_within(&self.node, entry.time, within))
            }
            Some(_) | None => Reading::Plain,
        };
        if !self.folds {
            self.translator = Translator::default();
        }
        let shown = self.translator.next(reading, entry.continues, entry.lines.len() as u64);
        self.say(out, shown.before.as_deref(), paint)?;
        match shown.entry {
            Display::Aside if self.folds => {
                let first = Entry { lines: entry.lines[..1].to_vec(), ..entry.clone() };
                write_entry(out, &self.prefix, &first, paint, Style::new().dimmed())?;
            }
            Display::Aside | Display::Plain => write_entry(out, &self.prefix, entry, paint, Style::new())?,
            Display::Folded => {}
        }
        self.say(out, shown.after.as_deref(), paint)
    }

    fn say(&self, out: &mut impl Write, words: Option<&str>, paint: Paint) -> io::Result<()> {
        match words {
            Some(words) => {
                writeln!(
                    out,
                    "{}{}",
                    self.prefix,
                    paint.with(Style::new().dimmed(), &format!("[cdc-supervisor] {words}"))
                )
            }
            None => Ok(()),
        }
    }
}

pub(super) async fn run(context: &Context, args: args::Logs) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    // Logs of a root can be read whatever is wrong with the configuration.
    let loaded = context.load().ok().filter(|loaded| loaded.plan.root == layout.root());
    let plan = loaded.as_ref().map(|loaded| &loaded.plan);
    let nodes = choose(plan, &layout, &args.nodes, args.journal)?;
    let last = args.lines.or_else(|| args.since.is_none().then_some(LINES));
    if args.raw {
        let [node] = &nodes[..] else {
            return Err(CliError::new(Exit::Usage, "--raw writes the bytes of one node; name it"));
        };
        let path = logs::path(&layout, node);
        return raw(context, logs::follower_of(&path, Start { last, since: args.since }), &path, args.follow).await;
    }
    let paint = Paint { on: context.printer.paint().on && !args.no_color };
    let width = nodes.iter().map(|n| n.as_str().len()).max().unwrap_or(0);
    let several = nodes.len() > 1;
    let filter = Filter { pattern: args.grep, until: args.until };
    let filtered = filter.pattern.is_some() || filter.until.is_some();
    // With a filter the last ones are those that pass it; all have to be looked at.
    let start = Start { last: last.filter(|_| !filtered), since: args.since };
    let mut selected = Vec::with_capacity(nodes.len());
    let mut shown = Vec::with_capacity(nodes.len());
    let journal = if args.journal { Some(from_journal(&layout, start, args.follow).await?) } else { None };
    for (at, node) in nodes.iter().enumerate() {
        let path = match &journal {
            Some(journal) if node.as_str() == SUPERVISOR && !layout.log_dir(node).exists() => journal.path(),
            Some(_) | None => logs::path(&layout, node),
        };
        let entries = Entries::new(logs::follower_of(&path, start), filter.pattern.is_some());
        selected.push(Selected::new(entries, filter.clone(), last.filter(|_| filtered)).map_err(|e| failed(&e))?);
        shown.push(Shown {
            path,
            prefix: if several { prefix(paint, at, node, width) } else { String::new() },
            node: node.clone(),
            kind: logs::kind_of(plan, node),
            translator: Translator::default(),
            unrest: Unrest::of(&layout),
            folds: filter.pattern.is_none(),
        });
    }
    show(&mut selected, &mut shown, paint, !args.follow)?;
    if !args.follow {
        close(&mut shown, paint)?;
        return Ok(Exit::Done);
    }
    follow(&mut selected, &mut shown, paint).await
}

/// What is in front of the lines of the node that is shown `at` that place, its name as wide as the longest.
fn prefix(paint: Paint, at: usize, node: &NodeName, width: usize) -> String {
    format!("{} ", paint.with(COLOURS[at % COLOURS.len()].on_default(), &format!("{node:width$} |")))
}

/// What the journal has of the daemon's own log.
async fn from_journal(layout: &Layout, start: Start, follow: bool) -> Result<FromJournal, CliError> {
    let (layout, wanted) = (layout.clone(), journal::Wanted { last: start.last, since: start.since, follow });
    let read = tokio::task::spawn_blocking(move || FromJournal::read(&layout, wanted)).await;
    let read = read.unwrap_or_else(|e| Err(format!("reading the journal ended early: {e}")));
    read.map_err(|why| {
        CliError::new(Exit::Unexpected, "the daemon's own log cannot be had from the journal")
            .causes([why])
            .hint("the journal may be read by root and by members of the groups adm and systemd-journal")
    })
}

fn failed(e: &LogError) -> CliError {
    match e {
        LogError::Output(e) => of_output(e),
        LogError::Read(e) => of_reading(e),
    }
}

/// Writes what is there. With `all` also what may still go on.
fn show(selected: &mut [Selected], shown: &mut [Shown], paint: Paint, all: bool) -> Result<bool, CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let any = select::merge(selected, all, &mut |at, entry| {
        shown[at].write(&mut out, entry, paint).map_err(LogError::Output)
    });
    let flushed = out.flush();
    let any = any.map_err(|e| failed(&e))?;
    flushed.map_err(|e| of_output(&e))?;
    Ok(any)
}

/// Says what was folded last.
fn close(shown: &mut [Shown], paint: Paint) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    for log in shown {
        let folded = log.translator.end().filter(|_| log.folds);
        log.say(&mut out, folded.as_deref(), paint).map_err(|e| of_output(&e))?;
    }
    out.flush().map_err(|e| of_output(&e))
}

fn write_entry(out: &mut impl Write, prefix: &str, entry: &Entry, paint: Paint, style: Style) -> io::Result<()> {
    let aside = |text: &str| paint.with(Style::new().dimmed(), text);
    for line in &entry.lines {
        let text = logs::display(&line.text, line.bytes);
        let before = if line.continued { aside("[continued] ") } else { String::new() };
        let after = if line.ended { String::new() } else { aside(" [no line end yet]") };
        if line.ours {
            writeln!(out, "{prefix}{}", aside(&format!("[cdc-supervisor] {text}")))?;
        } else {
            writeln!(out, "{prefix}{before}{}{after}", paint.with(style, &text))?;
        }
    }
    Ok(())
}

/// The nodes asked for, all of them when none is named; a name that nobody has is a mistake.
fn choose(plan: Option<&Plan>, layout: &Layout, asked: &[NodeName], journal: bool) -> Result<Vec<NodeName>, CliError> {
    logs::may_look(layout).map_err(|e| of_reading(&e))?;
    let known = logs::nodes(layout, plan);
    let stranger = |n: &&NodeName| !known.contains(n) && n.as_str() != SUPERVISOR;
    if let Some(unknown) = asked.iter().find(stranger) {
        let names: Vec<&str> = known.iter().map(NodeName::as_str).collect();
        let hint = if names.is_empty() {
            format!("no node has ever run under {}", layout.root().display())
        } else {
            format!("there are {}, and {SUPERVISOR} for the daemon itself", names.join(", "))
        };
        return Err(CliError::new(Exit::Usage, format!("there is no node {unknown}")).hint(hint));
    }
    let own = asked.iter().any(|n| n.as_str() == SUPERVISOR && !known.contains(n));
    if own && !journal && !layout.supervisor_log().exists() {
        let message = format!("the daemon has no log of its own under {}", layout.root().display());
        return Err(CliError::new(Exit::Unexpected, message)
            .hint("under systemd it is in the journal: `cdc-supervisor logs --journal supervisor`"));
    }
    let mut nodes: Vec<NodeName> = Vec::new();
    for node in if asked.is_empty() { &known } else { asked } {
        // named twice is meant once
        if !nodes.contains(node) {
            nodes.push(node.clone());
        }
    }
    let supervisor = journal.then(|| NodeName::new(SUPERVISOR).ok()).flatten();
    nodes.extend(supervisor.filter(|name| !nodes.contains(name)));
    Ok(nodes)
}

async fn follow(selected: &mut [Selected], shown: &mut [Shown], paint: Paint) -> Result<Exit, CliError> {
    let wakeup = Wakeup::new().map_err(|e| CliError::of(Exit::Unexpected, &e))?;
    let (wakeup, mut woken) = in_a_thread(wakeup);
    let mut signals = Signals::listen()?;
    let mut watched = vec![false; shown.len()];
    let mut spoke = Instant::now();
    loop {
        wakeup.clear();
        for (log, watched) in shown.iter().zip(&mut watched).filter(|(_, watched)| !**watched) {
            // Watched before it is read: what is written in between wakes us.
            *watched = watch(&wakeup, &log.path)?;
        }
        if show(selected, shown, paint, spoke.elapsed() >= SILENCE)? {
            spoke = Instant::now();
        }
        let holds_back = selected.iter().any(Selected::holds_back);
        tokio::select! {
            Some(()) = woken.recv() => {
                // What is held back is not given more time because another node speaks.
                if !holds_back {
                    spoke = Instant::now();
                }
                if shown.len() > 1 {
                    sleep(GATHER).await;
                }
            }
            () = sleep_until((spoke + SILENCE).into()), if holds_back => {}
            () = signals.next() => break,
        }
    }
    show(selected, shown, paint, true)?;
    close(shown, paint)?;
    Err(CliError::silent(Exit::Interrupted))
}

fn watch(wakeup: &Wakeup, path: &std::path::Path) -> Result<bool, CliError> {
    let dir = if path.is_file() { path.parent().unwrap_or(path) } else { path };
    wakeup.add(dir).map_err(|e| CliError::of(Exit::Unexpected, &e))
}

/// The bytes of one log as they are.
async fn raw(
    context: &Context,
    mut follower: Follower,
    path: &std::path::Path,
    follow: bool,
) -> Result<Exit, CliError> {
    let wakeup = Wakeup::new().map_err(|e| CliError::of(Exit::Unexpected, &e))?;
    let (wakeup, mut woken) = in_a_thread(wakeup);
    let mut signals = Signals::listen()?;
    loop {
        wakeup.clear();
        // one that is not there yet is looked for again
        watch(&wakeup, path)?;
        let mut out = BufWriter::new(io::stdout().lock());
        while let Some(piece) = follower.next().map_err(|e| CliError::of(Exit::Unexpected, &e))? {
            match piece {
                Piece::Text { bytes, ended, .. } => {
                    let end: &[u8] = if ended { b"\n" } else { b"" };
                    out.write_all(bytes).and_then(|()| out.write_all(end)).map_err(|e| of_output(&e))?;
                }
                Piece::Missed(bytes) => {
                    context.printer.warn(&format!("{} bytes were removed before they could be read", grouped(bytes)));
                }
                Piece::Broken(why) => context.printer.warn(&why),
            }
        }
        if let Some(rest) = follower.partial() {
            out.write_all(&rest).map_err(|e| of_output(&e))?;
        }
        out.flush().map_err(|e| of_output(&e))?;
        drop(out);
        if !follow {
            return Ok(Exit::Done);
        }
        tokio::select! {
            Some(()) = woken.recv() => {}
            () = signals.next() => return Err(CliError::silent(Exit::Interrupted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_nodes_are_told_apart_by_name_and_by_colour() {
        let nodes = ["mysql", "broker-1"].map(|n| NodeName::new(n).unwrap());
        let prefixes = |on| [0, 1].map(|at| prefix(Paint { on }, at, &nodes[at], 8));
        assert_eq!(prefixes(false), ["mysql    | ", "broker-1 | "]);
        let painted = prefixes(true);
        let colour = |text: &str| text.split_once('m').unwrap().0.to_owned();
        assert!(painted[0].starts_with("\u{1b}[") && painted[0].contains("mysql    |"), "{painted:?}");
        assert_ne!(colour(&painted[0]), colour(&painted[1]));
        assert_eq!(painted[0], prefix(Paint { on: true }, COLOURS.len(), &nodes[0], 8), "colours come round again");
    }
}
