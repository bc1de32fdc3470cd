//! `fetch`: the artifacts and nothing else. Needs no daemon and no root but the store.

use crate::{
    artifact::{ArtifactError, Progress, Settings, Wanted, ensure},
    base::programs::Programs,
    sys::command::Cancel,
};

/// Fetches what is wanted and not there, and reads every stored file again: whoever asks for this verb wants to know that
/// the store is right, not that it looks right. Blocks.
pub fn fetch(
    wanted: Wanted,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Programs, ArtifactError> {
    let mut settings = settings.clone();
    settings.verify_all = true;
    ensure(wanted, &settings, progress, cancel)
}
