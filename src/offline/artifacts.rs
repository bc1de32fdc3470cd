//! `artifacts list|gc|verify` and `bundle create|verify|install`: the store looked at, tidied, carried to another machine.

use super::programs::{settings, wanted};
use crate::{
    artifact::{
        Progress,
        bundle::{self, BundleError, Contents},
        inventory::{self, Item, Verified},
        survey,
    },
    base::{Layout, Timestamp, recipe::PrepareStep},
    config::Plan,
    services,
    sys::{clock, command::Cancel, host},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use crate::artifact::{ArtifactError, bundle::BundleError as BundleFault, bundle::Contents as BundleContents};

/// What `artifacts list --json` and `artifacts gc --json` say (schema 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The schema.
    pub schema: u32,
    /// The store.
    pub store: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// What is there; for gc, what went or would go.
    pub items: Vec<Row>,
    /// Bytes of all of it.
    pub bytes: u64,
    /// gc only looked; null for a list.
    pub dry_run: Option<bool>,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name in the store.
    pub name: String,
    /// `tree`, `class-data`, `download`, `foreign`.
    pub kind: &'static str,
    /// `java`, `kafka`, `mysql` for a recorded tree.
    pub part: Option<&'static str>,
    /// Its version, likewise.
    pub version: Option<String>,
    /// Where it came from, likewise.
    pub source: Option<String>,
    /// When, likewise.
    pub fetched_at: Option<Timestamp>,
    /// Bytes of its files.
    pub bytes: u64,
    /// `current`, `earlier`, `unused`.
    pub state: &'static str,
    /// Processes that run from it.
    pub pids: Vec<i32>,
}

impl From<&Item> for Row {
    fn from(item: &Item) -> Self {
        Self {
            name: item.name.clone(),
            kind: item.what.as_str(),
            part: item.part.map(|p| p.as_str()),
            version: item.version.clone(),
            source: item.source.clone(),
            fetched_at: item.fetched_at,
            bytes: item.bytes,
            state: item.state.as_str(),
            pids: item.pids.clone(),
        }
    }
}

impl Listing {
    fn new(store: &Path, items: Vec<Row>, dry_run: Option<bool>) -> Self {
        let bytes = items.iter().map(|i| i.bytes).sum();
        Self { schema: 1, store: store.display().to_string(), at: clock::wall(), items, bytes, dry_run }
    }
}

/// What `artifacts verify --json` says (schema 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// The schema.
    pub schema: u32,
    /// The store.
    pub store: String,
    /// Each tree.
    pub trees: Vec<ReadTree>,
    /// `whole`, or `damaged` when one is.
    pub verdict: &'static str,
}

/// One tree that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadTree {
    /// Its name in the store.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// What is wrong with it.
    pub fault: Option<String>,
}

/// What the store of a plan has. Blocks.
pub fn list(plan: &Plan) -> Result<Listing, ArtifactError> {
    let layout = plan.layout();
    let store = plan.artifacts.store(&layout);
    let items = inventory::look(&settings(plan, &layout), class_data(plan, &layout).as_ref())?;
    Ok(Listing::new(&store, items.iter().map(Row::from).collect(), None))
}

/// Removes what nothing names and nobody runs from; with `dry_run` only says what that is. Blocks.
pub fn gc(
    plan: &Plan,
    earlier: bool,
    dry_run: bool,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Listing, ArtifactError> {
    let layout = plan.layout();
    let store = plan.artifacts.store(&layout);
    let (settings, used) = (settings(plan, &layout), class_data(plan, &layout));
    let rows = if dry_run || !store.is_dir() {
        let items = inventory::look(&settings, used.as_ref())?;
        inventory::disposable(&items, earlier).into_iter().map(Row::from).collect()
    } else {
        inventory::collect(&settings, used.as_ref(), earlier, progress, cancel)?.iter().map(Row::from).collect()
    };
    Ok(Listing::new(&store, rows, Some(dry_run)))
}

/// Reads every byte of every tree. Blocks.
pub fn verify(plan: &Plan, cancel: &Cancel) -> Result<Reading, ArtifactError> {
    let store = plan.artifacts.store(&plan.layout());
    let read = inventory::verify(&store, cancel)?;
    let damaged = read.iter().any(|t| t.fault.is_some());
    let trees = read.into_iter().map(|Verified { name, bytes, fault }| ReadTree { name, bytes, fault }).collect();
    let verdict = if damaged { "damaged" } else { "whole" };
    Ok(Reading { schema: 1, store: store.display().to_string(), trees, verdict })
}

/// The class-data archives that the plan's nodes start with; none when that cannot be told, because programs are missing.
fn class_data(plan: &Plan, layout: &Layout) -> Option<BTreeSet<PathBuf>> {
    let found = survey(wanted(plan), &settings(plan, layout)).ok().filter(|s| s.missing.is_empty())?;
    let inputs = services::Inputs {
        plan,
        programs: &found.programs,
        layout,
        cores: host::cores(),
        running_as_root: host::is_root(),
    };
    let recipes = services::recipes(&inputs).ok()?;
    let archive =
        |step: PrepareStep| if let PrepareStep::ClassData(archive) = step { Some(archive.file) } else { None };
    Some(recipes.into_iter().flat_map(|recipe| recipe.prepare).filter_map(archive).collect())
}

/// Writes the programs of a plan into one file. Blocks.
pub fn bundle_create(plan: &Plan, file: &Path, cancel: &Cancel) -> Result<Contents, BundleError> {
    bundle::create(file, wanted(plan), &settings(plan, &plan.layout()), cancel)
}

/// Looks whether a bundle is whole and could be installed. Blocks.
pub fn bundle_verify(
    plan: &Plan,
    file: &Path,
    sha256: Option<&str>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Contents, BundleError> {
    bundle::verify(file, sha256, &settings(plan, &plan.layout()), progress, cancel)
}

/// What proves a bundle, or that nothing needs to.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The digest of the file that is meant.
    pub sha256: Option<&'a str>,
    /// Without one, take the file all the same.
    pub accept_unpinned: bool,
}

/// Puts the programs of a bundle into the plan's store, and says what the plan still lacks. Blocks.
pub fn bundle_install(
    plan: &Plan,
    file: &Path,
    proof: Proof<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Contents, BundleError> {
    let mut settings = settings(plan, &plan.layout());
    settings.accept_unpinned = proof.accept_unpinned;
    let mut done = bundle::install(file, proof.sha256, &settings, progress, cancel)?;
    match survey(wanted(plan), &settings) {
        Ok(found) => {
            let lacks = found.missing.iter().map(|m| format!("this configuration wants {} besides: {}", m.part, m.why));
            done.notes.extend(lacks);
        }
        Err(e) => done.notes.push(e.to_string()),
    }
    Ok(done)
}
