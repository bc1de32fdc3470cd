//! `verify`: whether the stack keeps its promises, as a table or as JSON; a negative verdict is exit code 9.

use crate::{
    cli::{
        context::{Context, TICK, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        live::Live,
        printer::Paint,
        signals::Signals,
    },
    control::wire::{Answer, Checked, Order, Verdict},
};
use anstyle::AnsiColor;

pub(super) async fn run(context: &Context, json: bool) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let mut answers = context.ask(&layout, Order::Verify).await?;
    let mut signals = Signals::listen()?;
    let mut live = Live::begin(context.printer, "verify");
    let mut doing = "the cluster".to_owned();
    let verdict = loop {
        tokio::select! {
            answer = answers.next() => match answer? {
                Some(Answer::Progress { text, .. }) => {
                    doing = text;
                    live.show(&doing);
                }
                Some(Answer::Verdict(verdict)) => break verdict,
                Some(answer) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                None => return Err(unexpected()),
            },
            () = signals.next() => return Err(CliError::new(Exit::Interrupted, "interrupted; nothing is left half done")),
            () = tokio::time::sleep(TICK) => live.show(&doing),
        }
    };
    drop(live);
    let text = if json {
        serde_json::to_string(&verdict)
            .map_err(|e| CliError::new(Exit::Unexpected, "cannot write the verdict as JSON").causes([e.to_string()]))?
    } else {
        table(&verdict, context.printer.paint())
    };
    context.printer.data(&text)?;
    Ok(if verdict.ok { Exit::Done } else { Exit::Negative })
}

/// One line per check, what is wrong below it, and the sum.
fn table(verdict: &Verdict, paint: Paint) -> String {
    let mut lines = Vec::new();
    for check in &verdict.checks {
        let (word, colour) = match (check.ok, &check.note) {
            (false, _) => ("FAIL", AnsiColor::Red),
            (true, Some(_)) => ("note", AnsiColor::Yellow),
            (true, None) => ("ok  ", AnsiColor::Green),
        };
        let note = check.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        lines.push(format!("{}  {:<5}  {}{note}", paint.with(colour.on_default(), word), check.part, check.check));
        lines.extend(wrong(check));
    }
    let failed = verdict.checks.iter().filter(|c| !c.ok).count();
    lines.push(String::new());
    // What is only noted was not looked at here: it neither holds nor fails.
    let looked_at = verdict.checks.iter().filter(|c| !c.ok || c.note.is_none()).count();
    let noted = match verdict.checks.len() - looked_at {
        0 => String::new(),
        n => format!("; {n} noted"),
    };
    lines.push(match failed {
        0 => format!("verified: {looked_at} checks hold{noted}"),
        n => format!("not verified: {n} of {looked_at} checks fail{noted}"),
    });
    lines.join("\n")
}

fn wrong(check: &Checked) -> Vec<String> {
    let line = |word: &str, text: &Option<String>| text.as_ref().map(|text| format!("{:13}{word} {text}", ""));
    [line("expected", &check.expected), line("found   ", &check.found)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    #[test]
    fn what_fails_stands_in_the_table_with_expected_and_found() {
        let check = |ok: bool, check: &str| Checked {
            part: "mysql".into(),
            check: check.into(),
            ok,
            expected: (!ok).then(|| "ROW".into()),
            found: (!ok).then(|| "STATEMENT".into()),
            note: None,
        };
        let checks = vec![check(true, "debezium logs in"), check(false, "binlog_format")];
        let verdict = Verdict { schema: 1, at: Timestamp(0), ok: false, checks };
        let expected = "\
ok    mysql  debezium logs in
FAIL  mysql  binlog_format
             expected ROW
             found    STATEMENT

not verified: 1 of 2 checks fail";
        assert_eq!(table(&verdict, Paint { on: false }), expected);
    }

    #[test]
    fn what_no_drill_has_shown_is_noted_and_neither_holds_nor_fails() {
        // Of a daemon that is older than notes.
        let holds = r#"{"part":"kafka","check":"3 brokers","ok":true,"expected":null,"found":null}"#;
        let noted = r#"{"part":"drill","check":"it comes back","ok":true,"expected":null,"found":null,"note":"never drilled: `x`"}"#;
        let checks = [holds, noted].map(|text| serde_json::from_str(text).unwrap()).to_vec();
        let verdict = Verdict { schema: 1, at: Timestamp(0), ok: true, checks };
        let expected = "\
ok    kafka  3 brokers
note  drill  it comes back: never drilled: `x`

verified: 1 checks hold; 1 noted";
        assert_eq!(table(&verdict, Paint { on: false }), expected);
    }
}
