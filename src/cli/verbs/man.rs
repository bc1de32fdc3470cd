//! `man DIR`: the manual pages into a directory, for whoever packs a release.

use crate::cli::{context::Context, error::CliError, exit::Exit, man};
use std::{fs, path::Path};

pub(super) fn run(context: &Context, dir: &Path) -> Result<Exit, CliError> {
    let failed = |path: &Path, e: std::io::Error| {
        CliError::new(Exit::Unexpected, format!("cannot write {}", path.display())).causes([e.to_string()])
    };
    let pages = man::pages().map_err(|e| failed(dir, e))?;
    for page in &pages {
        let path = dir.join(&page.path);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
        fs::write(&path, &page.text).map_err(|e| failed(&path, e))?;
    }
    context.printer.data(&format!("{} pages in {}", pages.len(), dir.display()))?;
    Ok(Exit::Done)
}
