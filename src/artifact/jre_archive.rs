//! A Java runtime from its vendor's archive: only when the host has none.

use super::{
    ArtifactError, Part,
    archive::Keep,
    catalog::Becomes,
    java, jre_package,
    lockfile::{JavaRecord, TreeRecord},
    settings::Origin,
    vendor::{Fetcher, Got},
};
use crate::sys::clock;
use std::path::Path;

/// The release that is fetched: what Kafka's documentation names last (apache/kafka@3.5.2 docs/ops.html, section 6.6).
const CHOICE: &str = "17";

/// Fetches one; none when no place of `origin` has it.
pub fn fetch(
    fetcher: &Fetcher<'_>,
    origin: Origin,
    failures: &mut Vec<(String, ArtifactError)>,
) -> Result<Option<(JavaRecord, Got)>, ArtifactError> {
    let catalog = fetcher.settings.catalog()?;
    let rows = catalog.rows(Becomes::Java, CHOICE);
    let work = fetcher.store.work("java-archive")?;
    let select = |path: &Path| {
        // Manual pages and licences of parts; the runtime reads neither.
        if ["man", "legal"].iter().any(|d| path.starts_with(d)) { Keep::No } else { Keep::Yes }
    };
    let Some(got) = fetcher.get(Part::Java, &rows, origin, &work, &select, failures)? else { return Ok(None) };
    let settings = fetcher.settings;
    let judge = |home: &Path| -> Result<java::Checked, ArtifactError> {
        let program = home.join("bin/java");
        java::check(&program, fetcher.cancel)?.and_then(java::accept).map_err(|why| ArtifactError::NoJava {
            found: vec![super::FoundJava { place: program, by: got.source.clone(), why }],
        })
    };
    if !got.tree.join("lib/server/classes.jsa").is_file() {
        jre_package::dump_classes(&settings.host, &work, &got.tree, fetcher.cancel)?;
    }
    let name = format!("java-{}", jre_package::plain_version(&judge(&got.tree)?.version));
    let stored = got.install(fetcher.store, &name)?;
    let checked = judge(&fetcher.store.directory().join(&stored.directory))?;
    let mut record = checked.record(settings.java_home.as_deref());
    record.tree = Some(TreeRecord::new(stored, got.source.clone(), clock::wall()));
    record.archive = Some(got.archive.clone());
    Ok(Some((record, got)))
}
