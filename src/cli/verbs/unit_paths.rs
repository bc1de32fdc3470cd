//! `unit-paths`: the drop-ins that let the units write where this configuration has its data.

use crate::{
    base::printable::printable,
    cli::{context::Context, error::CliError, exit::Exit},
    offline::{
        served,
        unit_paths::{self, SysError},
    },
};

pub(super) async fn run(context: &Context, write: bool) -> Result<Exit, CliError> {
    let plan = context.load()?.plan;
    let work = tokio::task::spawn_blocking(move || {
        let (paths, mounts) = unit_paths::needed(&plan, &served::place());
        let text = unit_paths::drop_in(&paths, &mounts);
        let written = if write { Some(unit_paths::write(text.as_deref())) } else { None };
        (text, written, unit_paths::left_out(&paths, &mounts))
    });
    let (text, written, left_out) = work
        .await
        .map_err(|e| CliError::new(Exit::Unexpected, "the paths could not be worked out").causes([e.to_string()]))?;
    for path in left_out {
        let path = printable(&path.to_string_lossy(), 200);
        context
            .printer
            .warn(&format!("{path} is left out: its name has control characters, which no unit file can hold"));
    }
    match written {
        None => match text {
            Some(text) => context.printer.data(text.trim_end())?,
            None => context.printer.say("all of it lies below /var/lib/cdc-supervisor: no drop-in is needed"),
        },
        Some(Ok(done)) if done.is_empty() => context.printer.say("nothing to change"),
        Some(Ok(done)) => {
            for line in done {
                context.printer.data(&line)?;
            }
            context.printer.say("a unit that runs has it from its next start on: `systemctl restart cdc-supervisor`");
        }
        Some(Err(e)) => return Err(failed(&e)),
    }
    Ok(Exit::Done)
}

fn failed(e: &SysError) -> CliError {
    let error = CliError::of(Exit::Unexpected, e);
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
            CliError::of(Exit::Preflight, e).hint("sudo cdc-supervisor unit-paths --write")
        }
        _ => error,
    }
}
