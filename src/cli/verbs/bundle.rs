//! `bundle create|verify|install`: the programs of this configuration as one file, for a machine without a network.

use super::artifacts::work;
use crate::{
    cli::{args::Bundle, context::Context, error::CliError, exit::Exit, table::size},
    offline::artifacts::{self, BundleContents, BundleFault},
};
use std::path::Path;

pub(super) async fn run(context: &Context, asked: Bundle) -> Result<Exit, CliError> {
    let plan = context.load()?.plan;
    let (file, done) = match asked {
        Bundle::Create { file } => {
            let path = file.clone();
            (file, work(context, "bundle", move |cancel| artifacts::bundle_create(&plan, &path, cancel)).await?)
        }
        Bundle::Verify(args) => {
            let path = args.file.clone();
            let doing = move |cancel: &_| artifacts::bundle_verify(&plan, &path, args.sha256.as_deref(), cancel);
            (args.file, work(context, "bundle", doing).await?)
        }
        Bundle::Install(args) => {
            let path = args.file.clone();
            let doing = move |cancel: &_| artifacts::bundle_install(&plan, &path, args.sha256.as_deref(), cancel);
            (args.file, work(context, "bundle", doing).await?)
        }
    };
    let done = done.map_err(|e| failed(&e))?;
    context.printer.data(&text(&file, &done))?;
    for note in &done.notes {
        context.printer.warn(note);
    }
    Ok(Exit::Done)
}

fn failed(e: &BundleFault) -> CliError {
    if e.is_cancelled() {
        return CliError::new(Exit::Interrupted, "interrupted; the store is as it was");
    }
    let error = CliError::of(Exit::Artifact, e);
    match e.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn text(file: &Path, done: &BundleContents) -> String {
    let parts: Vec<String> = done.parts.iter().map(|(part, bytes)| format!("{part} ({})", size(*bytes))).collect();
    let parts = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    format!("{}  {}\nsha256 {}\n{parts}", file.display(), size(done.bytes), done.sha256)
}
