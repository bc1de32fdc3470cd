//! `doctor`: the preflight table, or `--json`; `--fix` and `--script` change the host.

use crate::{
    cli::{args, checks, context::Context, error::CliError, exit::Exit, live::Live},
    config::Plan,
    offline::doctor::{
        self, Report, Severity,
        fix::{self, Done, Fix, Host, Wanted},
    },
};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    time::Duration,
};

/// How long the daemon may take to answer: a look at the host does not hang on it.
const ASK: Duration = Duration::from_secs(5);

/// What is typed to agree to every change.
const AGREED: &str = "fix";

pub(super) async fn run(context: &Context, args: &args::Doctor) -> Result<Exit, CliError> {
    let plan = context.load()?.plan;
    let live = Live::begin(context.printer, "doctor");
    let set_by_others = set_by_others(&plan).await;
    let looked = tokio::task::spawn_blocking(move || doctor::examine(&plan, set_by_others)).await;
    drop(live);
    let report =
        looked.map_err(|e| CliError::new(Exit::Unexpected, "the look at the host failed").causes([e.to_string()]))?;
    if let Some(names) = &args.script {
        let wanted = fix::wanted(&report, names);
        let host = Host::default();
        context.printer.data(fix::script(&report.root, &wanted, |path| host.text(path)).trim_end())?;
        return Ok(Exit::Done);
    }
    if let Some(names) = &args.fix {
        return change(context, &report, names, args.yes).await;
    }
    let text = if args.json {
        serde_json::to_string(&report)
            .map_err(|e| CliError::new(Exit::Unexpected, "cannot write the table as JSON").causes([e.to_string()]))?
    } else {
        checks::text(&report, args.all, context.printer.paint())
    };
    context.printer.data(&text)?;
    Ok(match report.verdict {
        Severity::Fail => Exit::Preflight,
        Severity::Warn | Severity::Unknown | Severity::Info | Severity::Ok => Exit::Done,
    })
}

/// What the daemon has seen that beats a broker's file; none: there is no daemon, it does not answer, or it could not look.
async fn set_by_others(plan: &Plan) -> Option<Vec<String>> {
    plan.kafka.as_ref()?;
    let layout = plan.layout();
    let asked = tokio::time::timeout(ASK, super::plan::daemon_status(&layout)).await;
    asked.ok()?.ok()??.cluster?.kafka?.set_by_others
}

/// Shows what is to be changed, asks where nothing was named, and changes it.
async fn change(context: &Context, report: &Report, names: &[String], yes: bool) -> Result<Exit, CliError> {
    let wanted = fix::wanted(report, names);
    for name in names.iter().filter(|name| !wanted.iter().any(|w| w.fix.name == name.as_str())) {
        context.printer.say(&format!("{name}: nothing to change here"));
    }
    if wanted.is_empty() {
        context.printer.say("nothing was changed");
        return Ok(Exit::Done);
    }
    context.printer.say(&list(&wanted));
    if !fix::may_change() {
        let same: Vec<String> = std::env::args().map(|word| quoted(&word)).collect();
        return Err(CliError::new(Exit::Preflight, "only root may change the host; nothing was changed")
            .hint(format!("sudo {}", same.join(" "))));
    }
    if names.is_empty() && !yes {
        agreed(context).await?;
    }
    let fixes: Vec<Fix> = wanted.into_iter().map(|w| w.fix).collect();
    let done = tokio::task::spawn_blocking(move || fix::apply(&Host::default(), fixes)).await;
    let done = done.map_err(|e| CliError::new(Exit::Unexpected, "the change failed").causes([e.to_string()]))?;
    let mut errors = Vec::new();
    for Done { fix, outcome } in &done {
        match outcome {
            Ok(outcome) => {
                context.printer.step("changed", &made(fix, outcome), None);
                if let Some(other) = &outcome.overruled_by {
                    context.printer.warn(&format!("{other} sets {} to something else at the next boot", fix.setting));
                }
            }
            Err(e) => errors.push(CliError::of(Exit::Unexpected, e)),
        }
    }
    if errors.is_empty() { Ok(Exit::Done) } else { Err(CliError::several(Exit::Unexpected, errors)) }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The changes, one a line, with why below each.
fn list(wanted: &[Wanted]) -> String {
    let mut out = String::new();
    for Wanted { fix, why } in wanted {
        let now = if fix.now.is_empty() { "none" } else { &fix.now };
        let _ = writeln!(out, "{:<15} {}: {now} -> {}\n{:15} {why}", fix.name, fix.setting, fix.wanted, "");
    }
    out.trim_end().to_owned()
}

fn made(fix: &Fix, outcome: &fix::Outcome) -> String {
    let kept = outcome.kept_in.map(|file| format!("; kept in {file}")).unwrap_or_default();
    let login = if outcome.at_login { ", from the next login on" } else { "" };
    let was = if fix.now.is_empty() { "none" } else { &fix.now };
    format!("{} {was} -> {}{kept}{login}", fix.setting, fix.wanted)
}

async fn agreed(context: &Context) -> Result<(), CliError> {
    let refused = |what: &str| {
        CliError::new(Exit::Refused, what)
            .hint("name what shall be changed (`--fix NAME,NAME`), or add --yes for all of it")
    };
    if !io::stdin().is_terminal() {
        return Err(refused("nobody can be asked here; nothing was changed"));
    }
    context.printer.say(&format!("type {AGREED} to make these changes:"));
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    match line.await {
        Ok(Ok(line)) if line.trim() == AGREED => Ok(()),
        Ok(_) | Err(_) => Err(refused("not agreed; nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_reads_it() {
        for (word, text) in [("--fix", "--fix"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")] {
            assert_eq!(quoted(word), text);
        }
    }
}
