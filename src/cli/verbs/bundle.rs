//! `bundle create|verify|install`: the programs of this configuration as one file, for a machine without a network.

use super::{
    artifacts::{Between, work},
    fetch::as_owner,
};
use crate::{
    cli::{
        args::{Bundle, BundleInstall},
        context::Context,
        error::CliError,
        exit::Exit,
        table::size,
    },
    offline::artifacts::{self, BundleContents, BundleFault, Proof},
};
use std::path::Path;

pub(super) async fn run(context: &Context, asked: Bundle) -> Result<Exit, CliError> {
    let plan = context.load()?.plan;
    let (word, file, done) = match asked {
        Bundle::Create { file } => {
            let path = file.clone();
            let doing = move |asked: &Between| artifacts::bundle_create(&plan, &path, &asked.cancel);
            ("written", file, work(context, "bundle", doing).await?)
        }
        Bundle::Verify(args) => {
            let path = args.file.clone();
            let doing = move |asked: &Between| {
                artifacts::bundle_verify(&plan, &path, args.sha256.as_deref(), &asked.holder, &asked.cancel)
            };
            ("whole", args.file, work(context, "bundle", doing).await?)
        }
        Bundle::Install(BundleInstall { file: args, accept_unpinned }) => {
            let path = args.file.clone();
            let readable = std::fs::File::open(&path).is_ok();
            as_owner(context, &plan)?;
            if readable && std::fs::File::open(&path).is_err() {
                return Err(CliError::new(Exit::Artifact, format!("{} can be read by root only", path.display()))
                    .hint("let the owner of the root read it (`chmod o+r`, in a directory they can enter)"));
            }
            let doing = move |asked: &Between| {
                let proof = Proof { sha256: args.sha256.as_deref(), accept_unpinned };
                artifacts::bundle_install(&plan, &path, proof, &asked.holder, &asked.cancel)
            };
            ("installed", args.file, work(context, "bundle", doing).await?)
        }
    };
    let done = done.map_err(|e| failed(&e))?;
    context.printer.data(&text(word, &file, &done))?;
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

fn text(word: &str, file: &Path, done: &BundleContents) -> String {
    let parts: Vec<String> = done.parts.iter().map(|(part, bytes)| format!("{part} ({})", size(*bytes))).collect();
    let parts = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    let word = if done.already { "already there" } else { word };
    format!("{word}  {}  {}\nsha256 {}\n{parts}", file.display(), size(done.bytes), done.sha256)
}
