//! `plan`: what the configuration file would change, worked out from what lies under the root; changes nothing on disk.
//!
//! `reload` is decided by the same functions, so that what was shown is what is done.

use super::{preflight, programs, unit, versions};
use crate::{
    artifact::{self, Missing, Part},
    base::{
        Layout, NodeName,
        dynamic::DynamicRecord,
        launched::Launched,
        programs::{JavaRuntime, KafkaJars, MysqlTree, Programs},
        recipe::Recipe,
        topics::TopicRecord,
    },
    config::{self, Plan},
    control::wire::{
        Node,
        plan::{PlanDoc, PlanFile, PlanNode, PlanRefusal, PlanSetting, PlanStep, PlanTopic},
    },
    services::{
        self, ServiceError,
        change::{self, Does, Life, Present, ReloadPlan, Side, With},
    },
    sys::{fs, host},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// `plan` could not be worked out.
#[derive(Debug)]
pub enum PlanError {
    /// The plan applied last cannot be read: the file of that name, and why.
    Applied(PathBuf, String),
    /// What is configured about programs cannot be.
    Artifact(artifact::ArtifactError),
    /// No recipe can be made of the file on this host.
    Service(ServiceError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied(path, why) => write!(f, "the plan applied last, {}, cannot be read: {why}", path.display()),
            Self::Artifact(e) => e.fmt(f),
            Self::Service(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for PlanError {}

/// A node that somebody has looked at: the daemon, or a shim that answered.
pub type Lives = BTreeMap<NodeName, Life>;

/// How a node of a daemon's status is.
pub fn life(node: &Node) -> Life {
    match (node.pid, node.state.as_str()) {
        (Some(_), _) => Life::Runs,
        (None, "down") => Life::Rests,
        (None, _) => Life::Trying,
    }
}

/// How a node is that holds its lock while no daemon runs.
pub fn runs() -> Life {
    Life::Runs
}

/// A change that was worked out.
#[derive(Debug)]
pub struct Outlook {
    /// What would be done.
    pub reload: ReloadPlan,
    /// Reasons of the host not to, with the exit code of each.
    pub host: Vec<(u8, change::Refusal)>,
    /// A configuration was applied before.
    pub applied: bool,
    /// The file means something else than what is applied, even where no node differs.
    pub differs: bool,
    /// Topics that differ.
    pub topics: Vec<change::TopicChange>,
    /// Worth knowing.
    pub notes: Vec<String>,
}

/// Works it out. `lives` tells which nodes have a process or shall have one. Looks at ports and memory, reads what lies under
/// the root, and writes nothing.
pub fn outlook(plan: &Plan, lives: &Lives) -> Result<Outlook, PlanError> {
    let layout = plan.layout();
    let before = applied(&layout)?;
    let mut notes = Vec::new();
    let (wanted, stood_in) = side(plan, &layout, &mut notes)?;
    let mut old = match &before {
        Some(before) => Some(side(before, &layout, &mut Vec::new())?.0),
        None => None,
    };
    // A node that is there because of a reload that was not finished is new no more.
    if let (Some(old), Some(unfinished)) = (&mut old, unfinished(&layout)) {
        let recipes = side(&unfinished, &layout, &mut Vec::new())?.0.recipes;
        let added = recipes.into_iter().filter(|r| lives.contains_key(&r.node));
        let added: Vec<Recipe> = added.filter(|r| !old.recipes.iter().any(|o| o.node == r.node)).collect();
        old.recipes.extend(added);
    }
    let now = present(&layout, old.as_ref(), lives);
    let data = old.as_ref().map(has_data).unwrap_or_default();
    let reload = change::decide(old.as_ref(), &wanted, &now, &data);
    let mut host = host_refusals(plan, &reload, old.as_ref(), lives);
    // A name in the place of a program has no version.
    let real: Vec<Recipe> = wanted.recipes.into_iter().filter(|r| !stood_in.iter().any(|p| is_run_by(*p, r))).collect();
    let data = versions::look_at(&reload, &real);
    host.extend(data.refusals.into_iter().map(|refusal| (8, refusal)));
    // The daemon may read what whoever asks may not.
    notes.extend(data.unreadable.into_iter().map(|refusal| refusal.what));
    notes.extend(data.notes);
    let differs = before.as_ref().is_none_or(|before| before != plan);
    let topics = change::topics(before.as_ref().map_or(&[], topics_of), topics_of(plan));
    notes.extend(topics_seen(&layout));
    notes.extend(unit::cut_off_now(plan));
    notes.extend(plan.doubtful_settings().iter().map(|one| one.sentence(plan)));
    Ok(Outlook { reload, host, applied: before.is_some(), differs, topics, notes })
}

fn topics_of(plan: &Plan) -> &[config::Topic] {
    plan.kafka.as_ref().map_or(&[], |kafka| &kafka.topics)
}

/// What the daemon has last seen to differ from the file that is applied.
fn topics_seen(layout: &Layout) -> Vec<String> {
    let text = fs::read_optional(&layout.topics()).ok().flatten();
    let record = text.and_then(|text| serde_json::from_str::<TopicRecord>(&text).ok()).unwrap_or_default();
    let line = |(name, what): (&String, &Vec<String>)| {
        format!(
            "topic {name} is not as what is applied says: {}; a reload or `topics apply` mends what can be mended",
            what.join("; ")
        )
    };
    record.differences.iter().map(line).collect()
}

/// The plan applied last under a root; none: nothing was ever applied.
pub fn applied(layout: &Layout) -> Result<Option<Plan>, PlanError> {
    Ok(kept(layout, &layout.plan())?.map(|(plan, _)| plan))
}

/// What a reload was applying that was neither done nor undone; none: there was none, or it cannot be read any more.
pub fn unfinished(layout: &Layout) -> Option<Plan> {
    // One that was cut short while it was written had not begun.
    kept(layout, &layout.reload_plan()).ok().flatten().map(|(plan, _)| plan)
}

/// A plan that the daemon has written down, with its text; none: there is no such file.
pub fn kept(layout: &Layout, path: &Path) -> Result<Option<(Plan, String)>, PlanError> {
    let failed = |why: String| PlanError::Applied(path.to_owned(), why);
    // Of a root that belongs to another user, too (`places`, by root).
    let Some(text) = fs::read_plain_optional(path).map_err(|e| failed(e.source.to_string()))? else { return Ok(None) };
    let text = disclosed(&text).ok_or_else(|| failed("it was cut short".into()))?;
    let name = path.display().to_string();
    let root = layout.root().to_owned();
    let source = config::Source { text, name: &name, root_override: Some(root.clone()), default_root: root };
    let plan = config::load_applied(&source).map_err(|e| failed(e.to_string()))?;
    Ok(Some((plan, text.to_owned())))
}

/// The first and the last line of a plan that the daemon writes down: the beginning of a TOML text can mean something else
/// than all of it, and nodes that are in no plan are stopped.
const FIRST: &str = "# written by cdc-supervisor: what is applied, down to the line that says so\n";
const LAST: &str = "# end of what is applied\n";

/// A plan's text as it is written down.
pub fn enclosed(text: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{FIRST}{text}{end}{LAST}")
}

/// The plan's text in what was written down; none: it was cut short. Earlier versions wrote the text alone.
fn disclosed(written: &str) -> Option<&str> {
    match written.strip_prefix(FIRST) {
        Some(rest) => rest.strip_suffix(LAST),
        None => (!FIRST.starts_with(written)).then_some(written),
    }
}

fn is_run_by(part: Part, recipe: &Recipe) -> bool {
    programs::is_run_by(part, recipe.kind)
}

/// A plan with its recipes. Programs that are not in the store are stood in for by names, and `notes` says so: of the parts that come
/// with it.
fn side(plan: &Plan, layout: &Layout, notes: &mut Vec<String>) -> Result<(Side, Vec<Part>), PlanError> {
    let survey =
        artifact::survey(programs::wanted(plan), &programs::settings(plan, layout)).map_err(PlanError::Artifact)?;
    let mut found = survey.programs;
    for missing in &survey.missing {
        notes.push(stand_in(&mut found, missing));
    }
    let inputs = services::Inputs {
        plan,
        programs: &found,
        layout,
        cores: host::cores(),
        running_as_root: runs_as_root(layout),
    };
    let missing = survey.missing.iter().map(|missing| missing.part).collect();
    services::recipes(&inputs).map(|recipes| (Side::of(plan, recipes), missing)).map_err(PlanError::Service)
}

/// The daemon's user, who is the owner of the root's state; whoever asks may be somebody else.
fn runs_as_root(layout: &Layout) -> bool {
    std::fs::metadata(layout.state()).map_or_else(|_| host::is_root(), |meta| meta.uid() == 0)
}

/// Names in the place of a program that is not there, so that everything else can be shown.
fn stand_in(found: &mut Programs, missing: &Missing) -> String {
    let path = |name: &str| PathBuf::from(format!("/not-fetched-yet/{name}"));
    let what = match missing.part {
        Part::Java => {
            found.java = Some(JavaRuntime {
                program: path("java"),
                home: path("jre"),
                major: 17,
                version: "17".into(),
                fingerprint: "none".into(),
            });
            "java"
        }
        Part::Kafka => {
            found.kafka = Some(KafkaJars {
                version: "3.5.2".into(),
                zookeeper_version: "3.6.4".into(),
                class_path: vec![path("kafka.jar")],
                content: "none".into(),
            });
            "kafka"
        }
        Part::Mysql => {
            found.mysql = Some(MysqlTree {
                version: "8.0.30".into(),
                series: (8, 0),
                launcher: Vec::new(),
                mysqld: path("mysqld"),
                basedir: path("mysql"),
                messages_dir: path("mysql/share"),
                character_sets_dir: path("mysql/share/charsets"),
                plugin_dir: path("mysql/plugin"),
                content: "none".into(),
            });
            "mysql"
        }
        // optional: its recipe says itself what is missing, as it does in the daemon
        Part::KafkaUi => {
            found.kafka_ui = Some(Err(programs::absent(&missing.why, None)));
            return format!(
                "kafka-ui is not in the store ({}): `reload` gets it, and where it cannot, kafka-ui fails and nothing else",
                missing.why
            );
        }
    };
    format!(
        "{what} is not in the store ({}): its paths are stand-ins until `cdc-supervisor fetch`, and whether its version may have the data \
         is looked at then",
        missing.why
    )
}

/// How each node is, and what it was launched with. Reads files.
pub fn present(layout: &Layout, applied: Option<&Side>, lives: &Lives) -> BTreeMap<NodeName, Present> {
    let recipe = |node: &NodeName| applied.and_then(|side| side.recipes.iter().find(|r| r.node == *node));
    let one = |(node, life): (&NodeName, &Life)| {
        let (with, cut_short) = match life {
            Life::Runs => (with(layout, node, recipe(node)), cut_short(layout, node)),
            Life::Trying | Life::Rests => (With::Applied, Vec::new()),
        };
        (node.clone(), Present { life: *life, with, cut_short })
    };
    lives.iter().map(one).collect()
}

fn with(layout: &Layout, node: &NodeName, applied: Option<&Recipe>) -> With {
    let record = fs::read_plain_optional(&layout.launched(node)).ok().flatten();
    if let Some(launched) = record.and_then(|text| serde_json::from_str::<Launched>(&text).ok()) {
        return With::This(Box::new(launched));
    }
    let read = || {
        let text = fs::read_optional(&layout.node_state(node)).ok().flatten()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()
    };
    // A daemon that wrote twice while it was read leaves bytes of two states (`sys::spare`).
    let state = read().or_else(read);
    match state.as_ref().and_then(|state| state["launched"].as_str()) {
        Some(digest) if applied.is_none_or(|r| r.launched().digest() != digest) => With::Unknown,
        // Nothing on record: started by a version that kept none, with what was applied then.
        Some(_) | None => With::Applied,
    }
}

/// Settings of a broker that a reload was changing when its daemon died.
fn cut_short(layout: &Layout, node: &NodeName) -> Vec<String> {
    let text = fs::read_optional(&layout.dynamic(node)).ok().flatten();
    // A torn one is put aside and told of by the daemon, when it goes by it.
    let record = text.and_then(|text| serde_json::from_str::<DynamicRecord>(&text).ok()).unwrap_or_default();
    record.under_way.into_iter().collect()
}

/// Nodes whose data directory holds something.
pub fn has_data(side: &Side) -> BTreeSet<NodeName> {
    let holds = |dir: &PathBuf| std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    side.data.iter().filter(|(_, dir)| holds(dir)).map(|(node, _)| node.clone()).collect()
}

/// What of this host stands in the way: the same checks as before a start, for the nodes that start or start anew.
pub fn host_refusals(
    plan: &Plan,
    reload: &ReloadPlan,
    applied: Option<&Side>,
    lives: &Lives,
) -> Vec<(u8, change::Refusal)> {
    let had = |node: &NodeName| {
        let runs = lives.get(node).is_some_and(|life| *life == Life::Runs);
        applied.filter(|_| runs).and_then(|side| side.recipes.iter().find(|r| r.node == *node))
    };
    // Ports that one of ours leaves on the way were looked at when the order was made.
    let held = lives.keys().filter_map(had).flat_map(|r| &r.ports).map(|p| p.address.port()).collect();
    let starts = reload.steps.iter().filter(|s| matches!(s.does, Does::Start | Does::Restart));
    let problems = preflight::change(plan, &starts.map(|s| s.node.clone()).collect(), held);
    problems.into_iter().map(|(exit, p)| (exit, change::Refusal { what: p.sentence(), hint: p.hint })).collect()
}

impl Outlook {
    /// As it is printed. `daemon` is the pid of the one that would carry it out.
    pub fn document(&self, plan: &Plan, file: Option<String>, daemon: Option<i32>) -> PlanDoc {
        let refusal = |exit: u8, r: &change::Refusal| PlanRefusal { exit, what: r.what.clone(), hint: r.hint.clone() };
        let refusals: Vec<PlanRefusal> = self
            .reload
            .refusals
            .iter()
            .map(|r| refusal(8, r))
            .chain(self.host.iter().map(|(exit, r)| refusal(*exit, r)))
            .collect();
        PlanDoc {
            schema: 1,
            root: plan.root.display().to_string(),
            file,
            applied: self.applied,
            daemon,
            unchanged: !self.differs && self.reload.is_empty(),
            nodes: self.reload.nodes.iter().map(node_document).collect(),
            topics: self
                .topics
                .iter()
                .map(|t| PlanTopic {
                    name: t.name.clone(),
                    does: t.does.into(),
                    what: t.what.clone(),
                    takes_effect: "live".into(),
                })
                .collect(),
            steps: self
                .reload
                .steps
                .iter()
                .map(|step| PlanStep {
                    node: step.node.clone(),
                    does: step.does.as_str().into(),
                    waits_for: step.gate.words().map(str::to_owned),
                })
                .collect(),
            refusals,
            notes: self.notes.clone(),
            outlook: None,
        }
    }
}

fn node_document(node: &change::NodeChange) -> PlanNode {
    PlanNode {
        name: node.node.clone(),
        does: node.does.as_str().into(),
        why: node.why.clone(),
        runs_with_other_settings: node.runs_with_other,
        settings: node
            .settings
            .iter()
            .map(|s| PlanSetting {
                key: s.key.clone(),
                from: s.from.clone(),
                to: s.to.clone(),
                takes_effect: s.when.as_str().into(),
            })
            .collect(),
        files: node
            .files
            .iter()
            .map(|f| PlanFile { path: f.path.display().to_string(), diff: f.diff.clone() })
            .collect(),
        argv: node.argv.clone(),
        env: node.env.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[command.a]\nargv = [\"/bin/true\"]\n[command.b]\nargv = [\"/bin/true\"]\n";

    #[test]
    fn a_plan_written_down_by_version_1_is_the_plan() {
        let golden = include_str!("../../tests/golden/v1/plan.toml");
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        std::fs::write(layout.plan(), golden).unwrap();
        let (plan, text) = kept(&layout, &layout.plan()).unwrap().unwrap();
        assert_eq!(plan.commands.len(), 1);
        assert_eq!(enclosed(&text), golden);
    }

    #[test]
    fn a_plan_cut_short_at_any_byte_is_known_to_be_and_one_of_an_earlier_version_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let write = |bytes: &[u8]| std::fs::write(layout.plan(), bytes).unwrap();
        assert!(kept(&layout, &layout.plan()).unwrap().is_none());
        let whole = enclosed(TEXT);
        for cut in 0..whole.len() {
            write(&whole.as_bytes()[..cut]);
            let e = kept(&layout, &layout.plan()).unwrap_err();
            assert!(e.to_string().contains("it was cut short"), "at {cut}: {e}");
            // As the daemon takes it: then there is none.
            assert!(unfinished(&layout).is_none());
        }
        for text in [&whole, TEXT] {
            write(text.as_bytes());
            let (plan, read) = kept(&layout, &layout.plan()).unwrap().unwrap();
            assert_eq!((plan.nodes().len(), read.as_str()), (2, TEXT));
        }
        write(enclosed("[command.a]\nargv = [\"/bin/true\"]").as_bytes());
        assert_eq!(kept(&layout, &layout.plan()).unwrap().unwrap().0.nodes().len(), 1, "a last line without its end");
    }
}
