//! `run --check`: whether this program can go on with a root as another version left it. Reads, changes nothing.

use super::{
    DaemonArgs,
    handover::Checked,
    inputs::{self, Care, Inputs, StartError},
};
use crate::{
    artifact, engine,
    offline::{config_file, programs},
    sys::{process, socket},
};
use std::{fs::File, path::Path};

/// The line that says yes, or why not.
pub(super) async fn check(args: &DaemonArgs) -> Result<String, StartError> {
    // Asked by an installer, which is no process of the unit's: by the unit's file what the unit runs is meant.
    let noted =
        inputs::unit_serves().or_else(|| config_file::noted_by_unit(args.config.as_deref(), args.root.as_deref()));
    let inputs = Inputs::gather(args, noted.as_deref(), true, None).await?;
    let (layout, plan) = (&inputs.layout, &inputs.plan);
    let newer = engine::newer_state(layout);
    if !newer.is_empty() {
        return Err(StartError::refused(format!("the state is of a newer version: {}", newer.join("; "))));
    }
    inputs::no_foreign_shims(layout).await?;
    let survey = artifact::survey(programs::wanted(plan), &programs::settings(plan, layout))
        .map_err(|e| StartError::artifact(e.to_string()))?;
    let care = if inputs.nodes_live { Care::Again } else { Care::Wait };
    let recipes = inputs::recipes(plan, layout, care).await?;
    // A node that runs could not be started again. One that waits for its programs waits on: also with this version.
    let live = engine::live_shims(layout).await;
    let bereft = recipes.iter().filter(|r| live.contains(&r.node) && r.lacks_program());
    let bereft: Vec<&str> = bereft.map(|r| r.node.as_str()).collect();
    if !bereft.is_empty() {
        let missing: Vec<String> = survey.missing.iter().map(|m| format!("{}: {}", m.part, m.why)).collect();
        return Err(StartError::artifact(format!(
            "this version needs what is not in the store for {} ({}); `cdc-supervisor fetch` with it gets it first",
            bereft.join(", "),
            missing.join("; ")
        )));
    }
    shim_runs(&inputs::shim_program()?)?;
    let checked = Checked { check: 1, version: env!("CARGO_PKG_VERSION").to_owned(), keeps_signals: true };
    serde_json::to_string(&checked).map_err(|e| StartError::other("say that all is well", e))
}

/// Starts the shim beside this program without an order, which makes it end with 0 at once: it is there and runs here.
fn shim_runs(program: &Path) -> Result<(), StartError> {
    let cannot = |why: String| StartError::preflight(format!("{} does not run: {why}", program.display()));
    let (ours, theirs) = socket::socketpair().map_err(|e| cannot(e.to_string()))?;
    let null = File::options().write(true).open("/dev/null").map_err(|e| cannot(e.to_string()))?;
    let name = crate::base::NodeName::mysql();
    let pid = process::spawn_shim(program, theirs, null, (&name, crate::base::Incarnation::default()))
        .map_err(|e| cannot(e.source.to_string()))?;
    drop(ours);
    let status = crate::sys::children::wait_owned(pid);
    if status == crate::base::ExitStatus::Code(0) { Ok(()) } else { Err(cannot(status.describe())) }
}
