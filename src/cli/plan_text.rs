//! A plan for people: per node what changes and why, then the order, then what stands in the way.

use super::{outlook_text, printer::Paint};
use crate::control::wire::plan::{PlanDoc, PlanNode};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;

/// The whole text, without a line end at its end.
pub fn text(plan: &PlanDoc, paint: Paint) -> String {
    let mut out = String::new();
    let file = plan.file.as_deref().unwrap_or("the built-in stack");
    if plan.unchanged {
        line(&mut out, &format!("{file}: nothing differs from what is applied and runs under {}", plan.root));
    } else if !plan.applied {
        line(&mut out, &format!("{file}: nothing was applied under {} yet, everything is new", plan.root));
    } else {
        line(&mut out, &format!("{file} against what is applied and runs under {}", plan.root));
    }
    for node in &plan.nodes {
        out.push('\n');
        one_node(&mut out, node, paint);
    }
    for topic in &plan.topics {
        out.push('\n');
        let does = if topic.does == "keep" { "kept" } else { topic.does.as_str() };
        line(&mut out, &format!("{}  {does}, live", paint.heading(&format!("topic {}", topic.name))));
        for what in &topic.what {
            line(&mut out, &format!("  {what}"));
        }
    }
    if plan.applied && plan.nodes.is_empty() && plan.topics.is_empty() && !plan.unchanged {
        line(&mut out, "\nno node is concerned: only what is written down as applied changes");
    }
    if !plan.steps.is_empty() && plan.applied {
        line(&mut out, &format!("\n{}", paint.heading("order")));
        let width = plan.steps.iter().map(|s| s.node.as_str().len()).max().unwrap_or(0);
        for (nth, step) in plan.steps.iter().enumerate() {
            let does = word(&step.does);
            let gate = step.waits_for.as_deref().unwrap_or_default();
            let text = format!("{:>3}  {:<width$}  {does:<13}  {gate}", nth + 1, step.node.as_str());
            line(&mut out, text.trim_end());
        }
        if plan.steps.iter().filter(|s| s.does == "restart" && s.node.as_str().starts_with("broker-")).count() > 1 {
            line(&mut out, "     of the brokers, one that is not ready goes first and the controller last");
        }
    }
    if let Some(outlook) = &plan.outlook {
        line(&mut out, &format!("\n{}", paint.heading("what breaks while each is away, as the cluster is now")));
        let width = outlook.nodes.iter().map(|n| n.node.as_str().len()).max().unwrap_or(0);
        for node in &outlook.nodes {
            line(&mut out, &format!("     {:<width$}  {}", node.node.as_str(), outlook_text::brief(node)));
        }
    }
    if !plan.refusals.is_empty() {
        line(&mut out, &format!("\n{}", paint.with(AnsiColor::Red.on_default().bold(), "refused")));
        for refusal in &plan.refusals {
            line(&mut out, &format!("  {} (exit {})", refusal.what, refusal.exit));
            line(&mut out, &format!("    {}", refusal.hint));
        }
    }
    for note in &plan.notes {
        line(&mut out, &format!("\nnote: {note}"));
    }
    line(&mut out, &format!("\n{}", ending(plan)));
    out.truncate(out.trim_end().len());
    out
}

/// How it would be put into force.
fn ending(plan: &PlanDoc) -> &'static str {
    match (plan.unchanged, plan.refusals.is_empty(), plan.daemon) {
        (true, _, _) => "",
        (false, false, _) => "as it stands, nothing of it would be applied",
        (false, true, Some(_))
            if plan.outlook.as_ref().is_some_and(|o| o.nodes.iter().any(|n| !n.never_safe.is_empty())) =>
        {
            "partitions have too few replicas: `cdc-supervisor reload` is refused (8) unless --accept-unavailable is given"
        }
        (false, true, Some(_)) => "`cdc-supervisor reload` applies it",
        (false, true, None) => "no daemon runs here: the next `cdc-supervisor up` applies it, or `reload` after it",
    }
}

fn one_node(out: &mut String, node: &PlanNode, paint: Paint) {
    let name = paint.heading(node.name.as_str());
    line(out, &format!("{name}  {}: {}", word(&node.does), node.why.join("; ")));
    if node.runs_with_other_settings {
        line(out, "  it runs with other settings than the applied ones: a reload was not finished");
    }
    for setting in &node.settings {
        let when = match setting.takes_effect.as_str() {
            "live" => "applies live",
            "restart" => "with the restart",
            "next-start" => "from its next start on",
            _ => "only when an empty data directory is filled",
        };
        line(out, &format!("  {}: {} -> {}  ({when})", setting.key, setting.from, setting.to));
    }
    // What is new is there as a whole; `--json` has it.
    if node.does == "start" {
        for file in &node.files {
            line(out, &format!("  new file {}", file.path));
        }
        return;
    }
    for change in &node.argv {
        line(out, &coloured(paint, &format!("  {change}"), change));
    }
    for change in &node.env {
        line(out, &coloured(paint, &format!("  env {change}"), change));
    }
    for file in &node.files {
        for text in file.diff.lines() {
            line(out, &coloured(paint, &format!("  {text}"), text));
        }
    }
}

fn word(does: &str) -> &'static str {
    match does {
        "start" => "start",
        "stop" => "stop and drop",
        "restart" => "restart",
        "live" => "live",
        _ => "keep down",
    }
}

/// A line of a difference; the sign stays, so that colour is never needed.
fn coloured(paint: Paint, text: &str, change: &str) -> String {
    let style = match change.chars().next() {
        Some('-') if !change.starts_with("---") => AnsiColor::Red.on_default(),
        Some('+') if !change.starts_with("+++") => AnsiColor::Green.on_default(),
        Some('@') => AnsiColor::Cyan.on_default(),
        Some(_) | None => Style::new(),
    };
    if style == Style::new() { text.to_owned() } else { paint.with(style, text) }
}

fn line(out: &mut String, text: &str) {
    // Writing into a String does not fail.
    let _ = writeln!(out, "{text}");
}
