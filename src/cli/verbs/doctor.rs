//! `doctor`: the preflight table, or `--json`.

use crate::{
    cli::{args, checks, context::Context, error::CliError, exit::Exit, live::Live},
    offline::doctor::{self, Severity},
};

pub(super) async fn run(context: &Context, args: &args::Doctor) -> Result<Exit, CliError> {
    let plan = context.load()?.plan;
    let live = Live::begin(context.printer, "doctor");
    let looked = tokio::task::spawn_blocking(move || doctor::examine(&plan)).await;
    drop(live);
    let report =
        looked.map_err(|e| CliError::new(Exit::Unexpected, "the look at the host failed").causes([e.to_string()]))?;
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
