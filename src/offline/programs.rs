//! What a plan needs of the artifact store, and getting it.

use crate::{
    artifact::{self, Origin, Settings, UiChoice, Wanted},
    base::{
        Layout, NodeKind,
        programs::{Absent, Programs},
    },
    config::{Distribution, MysqlRelease, Plan, SourceKind},
};
pub use crate::{
    artifact::{ArtifactError, Missing, Part, Progress, Step},
    sys::command::Cancel,
};

/// Which parts a plan needs.
pub fn wanted(plan: &Plan) -> Wanted {
    let jvm = plan.zookeeper.is_some() || plan.kafka.is_some();
    // ZooKeeper's jars come with Kafka's.
    Wanted { java: jvm, kafka: jvm, mysql: plan.mysql.is_some(), kafka_ui: plan.kafka_ui.is_some() }
}

/// How the plan's artifacts are resolved.
pub fn settings(plan: &Plan, layout: &Layout) -> Settings {
    let mut settings = Settings::new(plan.artifacts.store(layout));
    settings.offline = plan.artifacts.offline;
    settings.java_home = plan.artifacts.java_home.clone();
    let artifacts = &plan.artifacts;
    settings.sources = artifacts.sources.iter().copied().map(origin).collect();
    settings.files = artifacts.files(layout);
    settings.mirror = artifacts.mirror.clone();
    settings.rate_limit = artifacts.rate_limit.map(|rate| rate.0);
    settings.ca_file = artifacts.ca_file.clone();
    settings.signatures = artifacts.signatures;
    settings.list = artifacts.list.clone();
    if let Some(kafka) = &plan.kafka {
        settings.kafka_choice = Distribution::as_str(kafka.distribution).to_owned();
    }
    settings.mysql_choice = plan.mysql.as_ref().and_then(|m| m.version).map(|r| MysqlRelease::as_str(r).to_owned());
    if let Some(ui) = &plan.kafka_ui {
        settings.kafka_ui =
            UiChoice { release: ui.release.as_str().to_owned(), jar: ui.jar.clone(), java_home: ui.java_home.clone() };
    }
    settings
}

fn origin(kind: SourceKind) -> Origin {
    match kind {
        SourceKind::File => Origin::File,
        SourceKind::Vendor => Origin::Vendor,
        SourceKind::Packages => Origin::Packages,
    }
}

/// What the verb `fetch` is asked for beside the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchOptions {
    /// A base address, or a directory of this machine, that is asked before anything else.
    pub mirror: Option<Mirror>,
    /// Take what no digest is pinned for.
    pub accept_unpinned: bool,
    /// Bytes per second.
    pub rate_limit: Option<u64>,
}

/// Where a copy of the vendors' files is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// `http://…` or `https://…`.
    Url(String),
    /// A directory.
    Directory(std::path::PathBuf),
}

impl FetchOptions {
    fn apply(&self, settings: &mut Settings) {
        settings.accept_unpinned = self.accept_unpinned;
        settings.rate_limit = self.rate_limit.or(settings.rate_limit);
        let first = match &self.mirror {
            None => return,
            Some(Mirror::Url(url)) => {
                settings.mirror = Some(url.clone());
                Origin::Vendor
            }
            Some(Mirror::Directory(path)) => {
                settings.files = path.clone();
                Origin::File
            }
        };
        settings.sources.retain(|o| *o != first);
        settings.sources.insert(0, first);
    }
}

/// Makes sure that the plan's programs are in the store: looks, and fetches what is missing. A UI that cannot be had is told
/// of and fails alone; nothing else is refused because of it. Blocks.
pub fn ensure(
    plan: &Plan,
    layout: &Layout,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Programs, ArtifactError> {
    let (wanted, settings) = (wanted(plan), settings(plan, layout));
    let mut found = artifact::ensure(Wanted { kafka_ui: false, ..wanted }, &settings, progress, cancel)?;
    if wanted.kafka_ui {
        let ui = Wanted { java: wanted.java, kafka_ui: true, ..Wanted::default() };
        found.kafka_ui = Some(match artifact::ensure(ui, &settings, &OnlyUi(progress), cancel) {
            Ok(Programs { kafka_ui: Some(ui), .. }) => ui,
            Ok(Programs { kafka_ui: None, .. }) => Err(absent("it was not found", None)),
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => {
                progress.step(&Step::Note { what: Part::KafkaUi, text: format!("{e}; everything else goes on") });
                Err(absent(&in_one_line(&e), e.hint()))
            }
        });
    }
    Ok(found)
}

/// What the store has of a plan's programs, and what of them is missing or not whole. Such a part is named as it is on record, so
/// that what runs with it is recognised. Nothing is fetched, written or waited for. Blocks for a look.
pub fn in_store(plan: &Plan, layout: &Layout, progress: &dyn Progress) -> (Programs, Vec<Missing>) {
    let (wanted, settings) = (wanted(plan), settings(plan, layout));
    let stack = Wanted { kafka_ui: false, ..wanted };
    let all = |e: &ArtifactError| -> Vec<Missing> {
        let parts = [(stack.java, Part::Java), (stack.kafka, Part::Kafka), (stack.mysql, Part::Mysql)];
        let parts = parts.into_iter().filter(|(is_wanted, _)| *is_wanted);
        parts.map(|(_, part)| Missing { part, why: in_one_line(e) }).collect()
    };
    let (there, missing) = match artifact::survey(stack, &settings) {
        Ok(survey) => {
            for text in &survey.notes {
                progress.step(&Step::Note { what: Part::Java, text: text.clone() });
            }
            (survey.programs, survey.missing)
        }
        Err(e) => (Programs::default(), all(&e)),
    };
    let mut found = there;
    if !missing.is_empty() {
        let record = artifact::on_record(stack, &settings);
        found.java = found.java.or(record.java);
        found.kafka = found.kafka.or(record.kafka);
        found.mysql = found.mysql.or(record.mysql);
    }
    if wanted.kafka_ui {
        let ui = Wanted { java: wanted.java, kafka_ui: true, ..Wanted::default() };
        let there = artifact::survey(ui, &settings).ok().and_then(|survey| survey.programs.kafka_ui);
        found.kafka_ui =
            there.or_else(|| Some(Err(absent("it is not in the store", Some("`cdc-supervisor fetch`".to_owned())))));
    }
    (found, missing)
}

/// The verb `fetch --look`: a line for each part that is there, and the parts that are missing. Blocks for a look.
pub fn look(plan: &Plan, layout: &Layout) -> Result<(Vec<String>, Vec<Missing>), ArtifactError> {
    let survey = artifact::survey(wanted(plan), &settings(plan, layout))?;
    Ok((survey.present().map(|(_, line)| line.clone()).collect(), survey.missing))
}

/// Whether nodes of this kind run this part.
pub fn is_run_by(part: Part, kind: NodeKind) -> bool {
    match kind {
        NodeKind::Zookeeper | NodeKind::Broker(_) => matches!(part, Part::Java | Part::Kafka),
        NodeKind::Mysql => part == Part::Mysql,
        // Its own absence is in its recipe.
        NodeKind::KafkaUi => false,
        NodeKind::Command => false,
    }
}

/// The recipe's words for a UI that is not there.
pub fn absent(why: &str, hint: Option<String>) -> Absent {
    let remedy = hint.unwrap_or_else(|| "`cdc-supervisor fetch` tells more".into());
    Absent { why: why.to_owned(), remedy: format!("{remedy}; then `cdc-supervisor reload`") }
}

/// A list of several lines as one: what becomes a node's detail.
fn in_one_line(e: &ArtifactError) -> String {
    e.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Passes on what is about the UI: the other parts were told of before.
struct OnlyUi<'a>(&'a dyn Progress);

impl Progress for OnlyUi<'_> {
    fn step(&self, step: &Step) {
        let about = match step {
            Step::Waiting { .. } => true,
            Step::Present { what, .. }
            | Step::Begin { what, .. }
            | Step::Bytes { what, .. }
            | Step::Note { what, .. }
            | Step::Done { what, .. } => *what == Part::KafkaUi,
        };
        if about {
            self.0.step(step);
        }
    }
}

/// The verb `fetch`: as [`ensure`], and every stored file is read again. Blocks.
pub fn fetch(
    plan: &Plan,
    layout: &Layout,
    options: &FetchOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Programs, ArtifactError> {
    let mut settings = settings(plan, layout);
    options.apply(&mut settings);
    super::fetch::fetch(wanted(plan), &settings, progress, cancel)
}
