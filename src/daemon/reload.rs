//! `reload` as the daemon does it: reads its own file again, decides, refuses or carries out, and writes down what is applied.
//!
//! Past 500 lines for its list of what is looked at before anything is changed.

mod options;

use super::{
    DaemonArgs,
    inputs::{self, Applied, Care},
    logs::Bounds,
    topics,
    unit::Complaint,
};
use crate::{
    base::{
        EventKind, EventLine, Layout, NodeName, OrderedBy,
        recipe::{PrepareStep, Recipe},
    },
    config,
    control::{server::AnswerSink, wire::Answer},
    engine::{Change, EngineOrder, Handle, Snapshot, Wanted, disk::Guard},
    offline::{
        config_file::{self, Loaded},
        plan as offline_plan, preflight, versions,
    },
    operate::{
        gate::Terms,
        operation::{Kind, Operations, Refused},
        reload::{self, Failed, Purpose, Report, Work},
        topics::Keeper,
    },
    services::change::{self, Does, Life, ReloadPlan, Side},
    sys::{
        cgroup::{self, CgroupRoot},
        failpoint::fail_point,
        fs, process,
    },
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What a reload works on; one for the daemon's life.
#[derive(Debug)]
pub(super) struct Reloads {
    layout: Layout,
    args: DaemonArgs,
    cgroup: Option<CgroupRoot>,
    bounds: Bounds,
    applied: Mutex<Arc<Applied>>,
    pub(super) operations: Operations,
    watchers: Watchers,
}

/// What else has to hear of another plan.
#[derive(Debug)]
pub(super) struct Watchers {
    /// Keeps configured topics.
    pub(super) keeper: Keeper,
    /// Watches the room that data have.
    pub(super) disk: Arc<Guard>,
    /// Compares with the unit this daemon is in; none: it is in none that says so.
    pub(super) unit: Option<Complaint>,
}

/// What was read and decided.
struct Decided {
    loaded: Loaded,
    applied: Applied,
    plan: ReloadPlan,
    notes: Vec<String>,
}

impl Reloads {
    pub(super) fn new(
        layout: Layout,
        args: DaemonArgs,
        cgroup: Option<CgroupRoot>,
        applied: Applied,
        bounds: Bounds,
        operations: Operations,
        watchers: Watchers,
    ) -> Self {
        let applied = Mutex::new(Arc::new(applied));
        Self { layout, args, cgroup, bounds, applied, operations, watchers }
    }

    /// What is applied now.
    pub(super) fn applied(&self) -> Arc<Applied> {
        // The value is replaced as a whole.
        Arc::clone(&self.applied.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The daemon ends soon: nobody keeps logs within their bounds any more.
    pub(super) fn rest(&self) {
        self.bounds.rest();
    }

    /// Carries out an order to reload and answers it.
    pub(super) async fn reload(
        &self,
        engine: &Handle,
        config: Option<String>,
        (max_wait, terms): (Duration, Terms),
        by: OrderedBy,
        out: &AnswerSink,
    ) {
        let done = match self.operations.begin_by_order(Kind::Reload, "", Some(by)).await {
            Ok(running) => {
                let before = self.applied();
                let done = self.one(engine, config, (max_wait, terms), by, out).await;
                // Topics wait for every operation, and for this one too.
                drop(running);
                self.with_topics(&before.plan, done).await
            }
            Err(refused) => Err(busy(&refused)),
        };
        match done {
            Ok(text) => {
                engine.journal().note(EventLine::new(EventKind::ReloadDone, text.join("; ")).by(by));
                out.send(Answer::Done { text });
            }
            Err(failed) => {
                let words = std::iter::once(&failed.message).chain(&failed.causes).cloned().collect::<Vec<_>>();
                tracing::warn!("reload: {}", words.join("; "));
                engine.journal().note(EventLine::new(EventKind::ReloadFailed, words.join("; ")).by(by));
                let Failed { exit, message, causes, hint } = failed;
                out.send(Answer::Refused { exit, message, causes, hint });
            }
        }
    }

    async fn one(
        &self,
        engine: &Handle,
        config: Option<String>,
        (max_wait, terms): (Duration, Terms),
        by: OrderedBy,
        out: &AnswerSink,
    ) -> Result<Vec<String>, Failed> {
        let before = self.applied();
        let loaded = self.read(config.as_deref())?;
        for one in loaded.plan.doubtful_settings() {
            let told = one.sentence(&loaded.plan);
            tracing::warn!("reload: {told}");
            out.progress(format!("note: {told}"));
        }
        let Decided { loaded, applied, plan, notes } = self.decide(engine, &before, loaded).await?;
        for note in notes {
            tracing::info!("reload: {note}");
            out.progress(format!("note: {note}"));
        }
        if plan.is_empty() && applied.digest == before.digest {
            // The unit may have been changed, though the file was not.
            self.compare_unit(&before.plan);
            let mut lines = vec!["nothing differs from what is applied and runs".into()];
            // The disk took no record of it when it was applied.
            if self.is_unwritten(&loaded) {
                self.write_down(&loaded)?;
                lines.push("it is written down as applied now".into());
            }
            return Ok(lines);
        }
        let names: Vec<String> = plan.steps.iter().map(|s| format!("{} {}", s.does.as_str(), s.node)).collect();
        let words = if names.is_empty() { "no node is concerned".to_owned() } else { names.join(", ") };
        engine.journal().note(EventLine::new(EventKind::ReloadBegun, words).by(by));
        let dynamic = plan.nodes.into_iter().filter_map(|n| Some((n.node, n.dynamic?))).collect();
        let work = Work {
            steps: plan.steps,
            dynamic,
            old: before.recipes.clone(),
            new: applied.recipes.clone(),
            max_wait,
            purpose: Purpose::Reload,
            terms,
            leaders_home: applied.sight.elect,
            sessions_last: before.plan.kafka.as_ref().map(|kafka| kafka.session_timeout),
        };
        let mut report = Telling { engine, out, waited: String::new() };
        self.begin(&loaded)?;
        let lines = match reload::carry_out(engine, work, &mut report).await {
            Ok(lines) => lines,
            Err(failed) => {
                self.stand(&before, &applied, &engine.snapshot());
                return Err(failed);
            }
        };
        self.bounds.change(&applied.plan);
        self.watchers.disk.change(&applied.plan);
        self.compare_unit(&applied.plan);
        // What runs is what the file says from here on, whether that can be written down or not.
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(applied);
        self.write_down(&loaded)?;
        Ok(lines)
    }

    /// Whether the record of what is applied is of something else than this file, which is applied.
    fn is_unwritten(&self, loaded: &Loaded) -> bool {
        let written = fs::read_optional(&self.layout.plan()).ok().flatten();
        written.is_none_or(|text| text != offline_plan::enclosed(&loaded.text))
    }

    /// Writes this file down as what is applied; what was begun of a reload is done then.
    fn write_down(&self, loaded: &Loaded) -> Result<(), Failed> {
        let text = offline_plan::enclosed(&loaded.text);
        let written = fs::write_atomic(&self.layout.plan(), text.as_bytes(), 0o640, fs::Durability::PowerLoss);
        written.map_err(|e| Failed {
            exit: 1,
            message: "every node has its new settings, but they could not be written down as applied".into(),
            causes: vec![format!("{e}: {}", e.source)],
            hint: Some("a daemon that starts now would take the old ones for applied: free space, then reload".into()),
        })?;
        fail_point!("reload.applied");
        forget_unfinished(&self.layout);
        Ok(())
    }

    /// What a reload has done, and what became of topics where the file says something else of them.
    async fn with_topics(
        &self,
        before: &config::Plan,
        done: Result<Vec<String>, Failed>,
    ) -> Result<Vec<String>, Failed> {
        let mut lines = done?;
        lines.extend(topics::after_reload(&self.watchers.keeper, before, &self.applied().plan).await);
        if lines.is_empty() {
            lines.push("no node is concerned; the file is applied".into());
        }
        Ok(lines)
    }

    /// Asks anew what the unit keeps the plan from.
    fn compare_unit(&self, plan: &config::Plan) {
        if let Some(unit) = &self.watchers.unit {
            unit.ask(plan.clone(), None);
        }
    }

    /// Whether nodes wait for programs that are missing.
    pub(super) fn lacks_programs(&self) -> bool {
        self.applied().recipes.iter().any(Recipe::lacks_program)
    }

    /// Where programs are looked for.
    pub(super) fn store(&self) -> PathBuf {
        self.applied().plan.artifacts.store(&self.layout)
    }

    /// Looks for programs that were missing. Nodes whose programs are there now get them, and those that failed for it start.
    pub(super) async fn programs_come(&self, engine: &Handle) {
        // Another operation first: the next look comes.
        let Ok(_running) = self.operations.begin(Kind::Reload, "", None) else { return };
        let before = self.applied();
        let recipes = match inputs::recipes(&before.plan, &self.layout, Care::Again).await {
            Ok(recipes) => recipes,
            Err(e) => return tracing::warn!("programs are not looked for: {}", e.full_text()),
        };
        let lacked = |new: &Recipe| before.recipes.iter().any(|old| old.node == new.node && old.lacks_program());
        let came: Vec<Recipe> = recipes.into_iter().filter(|new| lacked(new) && !new.lacks_program()).collect();
        if came.is_empty() {
            return;
        }
        let names: Vec<&str> = came.iter().map(|r| r.node.as_str()).collect();
        let words = format!("the programs of {} are there now", names.join(", "));
        tracing::info!("{words}");
        engine.journal().note(EventLine::new(EventKind::ReloadStep, words));
        let there = |old: &Recipe| came.iter().find(|new| new.node == old.node).unwrap_or(old).clone();
        let standing = Applied::new(before.plan.clone(), before.recipes.iter().map(there).collect(), &self.layout);
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(standing);
        for recipe in came {
            let (engine, node) = (engine.clone(), recipe.node.clone());
            let runs = engine.snapshot().nodes.iter().any(|n| n.name == node && n.process.is_some());
            // Each comes when its needs are there; what becomes of it is told by the engine.
            tokio::spawn(async move {
                if runs {
                    engine.take(recipe).await
                } else {
                    engine.order(EngineOrder::Change(Change::Restart(Box::new(recipe)))).await
                }
            });
        }
    }

    /// Writes down what is being applied, for a daemon that comes after this one before it is done.
    fn begin(&self, loaded: &Loaded) -> Result<(), Failed> {
        // A crash of the machine ends the nodes, and with them what this file is for.
        let (path, text) = (self.layout.reload_plan(), offline_plan::enclosed(&loaded.text));
        fs::write_atomic(&path, text.as_bytes(), 0o640, fs::Durability::ProcessCrash).map_err(|e| Failed {
            exit: 1,
            message: "what is to be applied could not be written down; nothing was changed".into(),
            causes: vec![format!("{e}: {}", e.source)],
            hint: Some("free space, then reload again".into()),
        })?;
        fail_point!("reload.begun");
        Ok(())
    }

    /// What holds after a reload that was not done as a whole: the plan from before, with the nodes that are there now.
    fn stand(&self, before: &Applied, new: &Applied, now: &Snapshot) {
        let there = |recipe: &&Recipe| now.nodes.iter().any(|n| n.name == recipe.node);
        let added: Vec<Recipe> = new
            .recipes
            .iter()
            .filter(|r| !before.recipes.iter().any(|b| b.node == r.node))
            .filter(there)
            .cloned()
            .collect();
        let kept = before.recipes.iter().filter(there).cloned();
        let recipes = kept.chain(added.iter().cloned()).collect();
        let standing = Applied::new(before.plan.clone(), recipes, &self.layout);
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(standing);
        if added.is_empty() {
            forget_unfinished(&self.layout);
        }
    }

    /// Reads the file that this daemon was started with; `config` is what the client takes it for.
    fn read(&self, config: Option<&str>) -> Result<Loaded, Failed> {
        let file = config_file::path(self.args.config.as_deref()).ok().flatten();
        if let Some(named) = config
            && !file.as_deref().is_some_and(|file| same_file(file, Path::new(named)))
        {
            let ours = file.map_or_else(|| "no file (the built-in stack)".into(), |f| f.display().to_string());
            return Err(Failed {
                exit: 8,
                message: format!("the daemon was started with {ours}, not with {named}"),
                causes: Vec::new(),
                hint: Some(format!(
                    "`cdc-supervisor down` and `cdc-supervisor --config {named} up` change the file; to apply {ours} reload with --config {ours}"
                )),
            });
        }
        let loaded = config_file::load(self.args.config.as_deref(), self.args.root.as_deref());
        let loaded = loaded.map_err(|e| Failed {
            exit: 3,
            message: "the configuration cannot be used; nothing was changed".into(),
            causes: vec![e.to_string()],
            hint: e.hint(),
        })?;
        if loaded.plan.root != self.layout.root() {
            return Err(Failed {
                exit: 8,
                message: format!(
                    "the root would change from {} to {}",
                    self.layout.root().display(),
                    loaded.plan.root.display()
                ),
                causes: Vec::new(),
                hint: Some("stop everything with `cdc-supervisor down`, move the directory, then `up`".into()),
            });
        }
        Ok(loaded)
    }

    /// Programs, recipes, and what is to be done; nothing is changed by it.
    async fn decide(&self, engine: &Handle, before: &Applied, loaded: Loaded) -> Result<Decided, Failed> {
        let care = Care::of_change(&self.args);
        let made = inputs::recipes(&loaded.plan, &self.layout, care).await;
        let recipes = made.map_err(|e| Failed {
            exit: e.exit_code(),
            message: "the file cannot be applied; nothing was changed".into(),
            causes: vec![e.full_text()],
            hint: (e.exit_code() == 5).then(|| {
                let hint = match care {
                    // The daemon of the unit has no network; systemctl(1) reload begins with the unit that has.
                    Care::Need => "`systemctl reload cdc-supervisor` fetches what is missing first; by hand: `cdc-supervisor fetch`, then reload",
                    Care::Fetch | Care::Wait | Care::Tell | Care::Again => {
                        "`cdc-supervisor fetch` gets what is missing, then reload"
                    }
                };
                hint.into()
            }),
        })?;
        let (old, new) = (Side::of(&before.plan, before.recipes.clone()), Side::of(&loaded.plan, recipes.clone()));
        let lives = lives(&engine.snapshot());
        let (layout, cgroup) = (self.layout.clone(), self.cgroup.clone());
        let applied = Applied::new(loaded.plan.clone(), recipes, &self.layout);
        let looked = tokio::task::spawn_blocking(move || {
            let now = offline_plan::present(&layout, Some(&old), &lives);
            let plan = change::decide(Some(&old), &new, &now, &offline_plan::has_data(&old));
            let mut refusals: Vec<(u8, change::Refusal)> = plan.refusals.iter().map(|r| (8, r.clone())).collect();
            refusals.extend(offline_plan::host_refusals(&loaded.plan, &plan, Some(&old), &lives));
            refusals.extend(preflight(&loaded.plan, &plan, &lives));
            refusals.extend(not_startable(&plan, &new));
            refusals.extend(caps_below_use(&plan, &new, cgroup.as_ref()));
            let data = versions::look_at(&plan, &new.recipes);
            refusals.extend(data.refusals.into_iter().map(|r| (8, r)));
            refusals.extend(data.unreadable.into_iter().map(|r| (4, r)));
            let mut notes = data.notes;
            // Last: it runs a program, and of a file that is refused anyway nothing more need be known.
            if refusals.is_empty() {
                options::ask(&plan, &old, &new, &lives, &mut refusals, &mut notes);
            }
            (loaded, plan, refusals, notes)
        });
        let (loaded, plan, refusals, notes) = looked.await.map_err(|e| Failed {
            exit: 1,
            message: "what runs could not be looked at".into(),
            causes: vec![e.to_string()],
            hint: None,
        })?;
        if let Some((exit, first)) = refusals.first() {
            let causes = refusals.iter().map(|(_, r)| r.what.clone()).collect();
            return Err(Failed {
                exit: *exit,
                message: "the file is not applied; nothing was changed".into(),
                causes,
                hint: Some(first.hint.clone()),
            });
        }
        Ok(Decided { loaded, applied, plan, notes })
    }
}

/// Another operation is under way, or this one cannot be put on record.
pub(super) fn busy(refused: &Refused) -> Failed {
    let (exit, hint) = refused.advice();
    let causes = std::iter::successors(std::error::Error::source(refused), |e| e.source()).map(ToString::to_string);
    Failed { exit, message: refused.to_string(), causes: causes.collect(), hint: Some(hint.into()) }
}

/// Nothing is left of a reload that would have to be gone on with.
pub(super) fn forget_unfinished(layout: &Layout) {
    if let Err(e) = fs::remove_optional(&layout.reload_plan()) {
        tracing::warn!(error = %e.source, "{e}");
    }
}

/// Whether two names lead to one file. A daemon in a sandbox may not see a user's directory: then the names decide.
fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| -> PathBuf { path.canonicalize().unwrap_or_else(|_| path.to_owned()) };
    real(one) == real(other)
}

fn lives(snapshot: &Snapshot) -> offline_plan::Lives {
    let life = |n: &crate::engine::NodeSnapshot| match (n.process.is_some(), n.wanted, n.state) {
        (true, _, _) | (false, _, "starting") => Life::Runs,
        (false, Wanted::Down, _) | (false, Wanted::Up, "down") => Life::Rests,
        (false, Wanted::Up, _) => Life::Trying,
    };
    snapshot.nodes.iter().map(|n| (n.name.clone(), life(n))).collect()
}

/// The rest of the look before every start: the root and the data, which the daemon owns.
fn preflight(wanted: &config::Plan, plan: &ReloadPlan, lives: &offline_plan::Lives) -> Vec<(u8, change::Refusal)> {
    let starts = plan.steps.iter().filter(|s| matches!(s.does, Does::Start | Does::Restart));
    let starting: BTreeSet<NodeName> = starts.map(|s| s.node.clone()).collect();
    let living: Vec<NodeName> = lives.iter().filter(|(_, l)| **l == Life::Runs).map(|(n, _)| n.clone()).collect();
    match preflight::storage(wanted, &starting, &living) {
        Ok(told) => {
            for problem in told {
                tracing::info!("reload: {}", problem.line());
            }
            Vec::new()
        }
        Err(problems) => problems.into_iter().map(|p| (4, change::Refusal { what: p.what, hint: p.hint })).collect(),
    }
}

/// Programs and users that are not there: seen before anything is stopped for them.
fn not_startable(plan: &ReloadPlan, new: &Side) -> Vec<(u8, change::Refusal)> {
    let mut found = Vec::new();
    let starts = plan.steps.iter().filter(|s| matches!(s.does, Does::Start | Does::Restart));
    for recipe in starts.filter_map(|s| new.recipes.iter().find(|r| r.node == s.node)) {
        let node = &recipe.node;
        let key = config::Plan::node_key(node);
        let absent = recipe.prepare.iter().find_map(|step| match step {
            PrepareStep::NoProgram { why, remedy } => Some((why, remedy)),
            PrepareStep::ClassData(_)
            | PrepareStep::MysqlInitialize(_)
            | PrepareStep::DataVersion(_)
            | PrepareStep::BrokerIdentity(_)
            | PrepareStep::MysqlIdentity { .. }
            | PrepareStep::AwaitBrokerSessionGone { .. }
            | PrepareStep::AwaitTakeover { .. } => None,
        });
        // a page that serves is not taken down for one that cannot be had
        if let Some((what, hint)) = absent {
            found.push((5, change::Refusal { what: what.clone(), hint: hint.clone() }));
        } else if let Some(program) = recipe.launch.argv.first().filter(|p| !Path::new(p).is_file()) {
            found.push((
                4,
                change::Refusal {
                    what: format!("{node}: there is no program {program}"),
                    hint: format!("put it there, or change {key}.argv"),
                },
            ));
        }
        if let Some(user) = &recipe.launch.user
            && matches!(process::lookup_user(user), Ok(None))
        {
            found.push((
                4,
                change::Refusal {
                    what: format!("{node}: there is no user {user:?} on this machine"),
                    hint: format!("make the user, or change {key}.user"),
                },
            ));
        }
    }
    found
}

/// A lower cap that a node that runs on has outgrown: the kernel would kill it at once.
fn caps_below_use(plan: &ReloadPlan, new: &Side, cgroup: Option<&CgroupRoot>) -> Vec<(u8, change::Refusal)> {
    let Some(root) = cgroup else { return Vec::new() };
    let live = plan.steps.iter().filter(|s| s.does == Does::Live);
    let recipes = live.filter_map(|s| new.recipes.iter().find(|r| r.node == s.node));
    recipes
        .filter_map(|recipe| {
            let cap = recipe.launch.memory_max?;
            // The page cache goes by itself.
            let anon = cgroup::memory_now(&root.node(&recipe.node)).anon.filter(|anon| *anon >= cap.0)?;
            let used = crate::base::ByteSize(anon);
            Some((
                8,
                change::Refusal {
                    what: format!("{} uses {used} and would be killed at once by a cap of {cap}", recipe.node),
                    hint: format!(
                        "`cdc-supervisor restart {}` may bring it below that; else a higher cap",
                        recipe.node
                    ),
                },
            ))
        })
        .collect()
}

/// Tells the client, the log and the event log.
struct Telling<'a> {
    engine: &'a Handle,
    out: &'a AnswerSink,
    waited: String,
}

impl Report for Telling<'_> {
    fn step(&mut self, node: Option<&NodeName>, text: String) {
        tracing::info!("reload: {text}");
        let event = EventLine::new(EventKind::ReloadStep, &text);
        self.engine.journal().note(match node {
            Some(node) => event.node(node),
            None => event,
        });
        self.out.progress(text);
    }

    fn waits(&mut self, node: &NodeName, text: String) {
        if text != self.waited {
            self.out.send(Answer::Progress { node: Some(node.clone()), text: text.clone() });
            self.waited = text;
        }
    }
}
