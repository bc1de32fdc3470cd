//! What a daemon starts from: the plan (or the last applied one), the programs, the recipes.
//!
//! A few lines past 500: each step hands to the next, and the refusals name what the one before has seen.

use super::DaemonArgs;
use crate::{
    artifact,
    base::{
        Layout, NodeName,
        recipe::{PrepareStep, Recipe},
    },
    config::Plan,
    control::wire::Caps,
    engine::{self, Reserve},
    offline::{
        config_file, plan,
        preflight::{self, Preflight, Problem},
        programs::{self, Missing},
        served, status, unit,
    },
    operate::{cluster::Sight, prove},
    services,
    sys::{cgroup, cgroup::CgroupRoot, command::Cancel, error::SysError, host},
};
use std::{
    collections::BTreeSet,
    fmt,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Everything gathered before the engine starts.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) layout: Layout,
    pub(super) plan: Plan,
    /// What `state/plan.toml` gets: the text that `plan` was read from.
    pub(super) plan_text: String,
    /// Nodes of an earlier daemon run on.
    pub(super) nodes_live: bool,
    /// The file names another root than the one that is served, in words.
    pub(super) moved: Option<String>,
}

/// Why a daemon does not start: the exit code of the contract and the words.
#[derive(Debug)]
pub(super) struct StartError {
    exit: u8,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    another_runs: bool,
}

impl StartError {
    fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), source: None, another_runs: false }
    }

    pub(super) fn other(doing: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..Self::new(1, format!("cannot {doing}")) }
    }

    /// A file under the root that cannot be made or written: the machine is not ready for us.
    pub(super) fn file(e: SysError) -> Self {
        Self { message: e.to_string(), source: Some(Box::new(e.source)), ..Self::new(4, "") }
    }

    /// The same beside nodes that live: exit 4 would keep systemd from trying again (`RestartPreventExitStatus=`), and a disk
    /// that takes nothing may take something in a moment.
    pub(super) fn beside_nodes(mut self, nodes_live: bool) -> Self {
        if nodes_live && self.exit == 4 {
            self.exit = 1;
        }
        self
    }

    pub(super) fn already_running(layout: &Layout) -> Self {
        let mut error = Self::new(
            8,
            format!(
                "another daemon runs for {} (it holds {})",
                layout.root().display(),
                layout.daemon_lock().display()
            ),
        );
        error.another_runs = true;
        error
    }

    /// Whether another daemon holds the root.
    pub(super) fn is_another_running(&self) -> bool {
        self.another_runs
    }

    /// Not to be done: exit 8. Of a start this also keeps systemd from trying again.
    pub(super) fn refused(message: String) -> Self {
        Self::new(8, message)
    }

    /// Something is missing in the store.
    pub(super) fn artifact(message: String) -> Self {
        Self::new(5, message)
    }

    /// The machine is not fit for it.
    pub(super) fn preflight(message: String) -> Self {
        Self::new(4, message)
    }

    pub(super) fn exit_code(&self) -> u8 {
        self.exit
    }

    /// The sentence with its causes.
    pub(super) fn full_text(&self) -> String {
        let mut text = self.message.clone();
        let mut source = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(e) = source {
            text = format!("{text}: {e}");
            source = e.source();
        }
        text
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl Inputs {
    /// Reads the configuration. With live nodes under the root, a file that cannot be used or means something else than
    /// what runs is put off: the last applied plan holds, and that is said.
    /// `noted`: where it is noted which root is served. `goes_on`: an earlier daemon's work goes on, so the last plan holds whether nodes run or not. `reserve`: where nothing
    /// runs, shims for the first nodes are started while the host is being looked at.
    pub(super) async fn gather(
        args: &DaemonArgs,
        noted: Option<&Path>,
        goes_on: bool,
        reserve: Option<&Arc<Reserve>>,
    ) -> Result<Self, StartError> {
        let mut wanted = config_file::load(args.config.as_deref(), args.root.as_deref());
        let root = match (&wanted, &args.root) {
            (Ok(loaded), _) => loaded.plan.root.clone(),
            (Err(_), Some(root)) => root.clone(),
            (Err(_), None) => config_file::default_root(args.config.as_deref()),
        };
        let served = noted.and_then(|place| served::elsewhere(place, &root));
        if let Some(layout) = &served {
            wanted = config_file::load(args.config.as_deref(), Some(layout.root()));
        }
        let is_moved = served.is_some();
        let layout = served.unwrap_or_else(|| Layout::new(root.clone()));
        let live = engine::live_shims(&layout).await;
        let last = if live.is_empty() && !goes_on && !is_moved { None } else { last_plan(&layout) };
        let moved = is_moved.then(|| served::words(&layout, &root, last.is_some()));
        if let Some(words) = &moved {
            tracing::error!("{words}");
        }
        let (plan, plan_text) = match (wanted, last) {
            (Ok(loaded), Some((plan, text))) if plan.digest() != loaded.plan.digest() => {
                tracing::warn!(nodes = ?live, "nodes run by the plan applied last ({}); the configuration file means something else and waits for `cdc-supervisor reload`", layout.plan().display());
                (plan, text)
            }
            (Ok(loaded), _) => (loaded.plan, loaded.text),
            (Err(e), Some((plan, text))) => {
                tracing::error!(nodes = ?live, "{e}");
                tracing::warn!("nodes run, so the plan applied last holds ({})", layout.plan().display());
                (plan, text)
            }
            (Err(e), None) => return Err(StartError::new(3, e.to_string())),
        };
        if let Some(reserve) = reserve.filter(|_| live.is_empty() && !goes_on) {
            let first = if args.only.is_empty() { first_nodes(&plan) } else { args.only.len() };
            reserve.fill(first);
        }
        if !args.own_session && !goes_on {
            // an `up` that starts this daemon has looked just now; an earlier program of this process long ago
            let look = preflight(plan.clone(), args.only.clone(), live.clone());
            if live.is_empty() {
                look.await?;
            } else {
                // nothing is refused then, so no node waits for it to be adopted; what it finds is logged
                tokio::spawn(async move { drop(look.await) });
            }
        }
        Ok(Self { plan, plan_text, nodes_live: !live.is_empty(), layout, moved })
    }

    /// Looks again under the daemon lock: only now nobody else can start nodes here.
    pub(super) async fn look_for_live_nodes(&mut self) -> Result<(), StartError> {
        self.nodes_live = !engine::live_shims(&self.layout).await.is_empty();
        Ok(())
    }
}

/// Where the unit notes which root it serves; none: this daemon is not the unit's.
pub(super) fn unit_serves() -> Option<PathBuf> {
    (unit::own() == Some(unit::UNIT)).then(served::place)
}

/// This daemon holds the root: written down where the configuration cannot change it. Without the note the nodes are only found as long
/// as the file names their root.
pub(super) fn note_served(layout: &Layout) {
    if let Some(place) = unit_serves()
        && let Err(e) = served::note(&place, layout.root())
    {
        tracing::warn!(error = %e.source, "{e}");
    }
}

/// What is applied: the plan, and what was made of it.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) plan: Plan,
    pub(super) digest: String,
    pub(super) recipes: Vec<Recipe>,
    /// What `prove` looks at.
    pub(super) targets: prove::Targets,
    /// What the watcher of the cluster looks at.
    pub(super) sight: Sight,
}

impl Applied {
    pub(super) fn new(plan: Plan, recipes: Vec<Recipe>, layout: &Layout) -> Self {
        let targets = targets(&plan, layout);
        let sight = super::cluster::sight(&plan, &recipes, targets.mysql.clone());
        Self { digest: plan.digest(), targets, sight, plan, recipes }
    }
}

/// How many nodes come after no other.
fn first_nodes(plan: &Plan) -> usize {
    let commands = plan.commands.iter().filter(|command| command.after.is_empty()).count();
    commands + usize::from(plan.zookeeper.is_some()) + usize::from(plan.mysql.is_some())
}

/// What is done about programs that are missing, or that cannot run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// They are fetched; refused when that fails.
    Fetch,
    /// Refused.
    Need,
    /// Their nodes are refused their start with the reason and wait for them, and all others go on; what cannot run is refused.
    Wait,
    /// The same where nodes run already: nothing is refused, because that would only leave them alone.
    Tell,
    /// The same once more: it has been told.
    Again,
}

impl Care {
    /// Of a start.
    pub(super) fn of_start(args: &DaemonArgs, nodes_live: bool) -> Self {
        match (nodes_live, args.no_fetch) {
            (true, _) => Care::Tell,
            (false, true) => Care::Wait,
            (false, false) => Care::Fetch,
        }
    }

    /// Of a change of the configuration.
    pub(super) fn of_change(args: &DaemonArgs) -> Self {
        if args.no_fetch { Care::Need } else { Care::Fetch }
    }

    fn tells(self, missing: &[Missing]) -> Result<(), StartError> {
        let list: Vec<String> = missing.iter().map(|m| format!("{} in the store: {}", m.part, m.why)).collect();
        match self {
            Care::Fetch | Care::Again => {}
            Care::Need if list.is_empty() => {}
            Care::Need => return Err(StartError::artifact(list.join("; "))),
            Care::Wait => list.iter().for_each(|line| tracing::error!("{line}; its nodes start when it is there")),
            Care::Tell => list.iter().for_each(|line| tracing::error!("nodes run, so the daemon goes on: {line}")),
        }
        Ok(())
    }
}

/// Programs and the recipes made with them.
pub(super) async fn recipes(plan: &Plan, layout: &Layout, care: Care) -> Result<Vec<Recipe>, StartError> {
    let (wanted, store) = (plan.clone(), layout.clone());
    let found = tokio::task::spawn_blocking(move || {
        if care != Care::Fetch {
            return Ok(programs::in_store(&wanted, &store, &Quiet));
        }
        let found = programs::ensure(&wanted, &store, &Quiet, &Cancel::default());
        found.map(|found| (found, Vec::new())).map_err(|e| StartError::artifact(e.to_string()))
    });
    let (found, missing) = found.await.map_err(|e| StartError::other("resolve the programs", e))??;
    care.tells(&missing)?;
    if missing.is_empty()
        && let Err(problems) = preflight::programs(&found)
    {
        refuse_or_tell(&problems, !matches!(care, Care::Tell | Care::Again))?;
    }
    let inputs =
        services::Inputs { plan, programs: &found, layout, cores: host::cores(), running_as_root: host::is_root() };
    let mut recipes = services::recipes(&inputs).map_err(|e| StartError::new(3, e.to_string()))?;
    for recipe in &mut recipes {
        let lacks = missing.iter().find(|m| programs::is_run_by(m.part, recipe.kind));
        let step = lacks.map(|m| PrepareStep::NoProgram {
            why: format!("{}: {} in the store: {}", recipe.node, m.part, m.why),
            remedy: "`cdc-supervisor fetch` or `cdc-supervisor bundle install FILE` brings it, and the node starts by itself then"
                .into(),
        });
        recipe.prepare.splice(0..0, step);
    }
    Ok(recipes)
}

/// What `prove` looks at: each listener where it is bound, as its node's probe does.
fn targets(plan: &Plan, layout: &Layout) -> prove::Targets {
    let kafka = plan.kafka.as_ref().map(|kafka| prove::KafkaTargets {
        internal: kafka.brokers.values().map(|b| b.internal_port.reached(Ipv4Addr::LOCALHOST.into())).collect(),
        external: kafka.brokers.values().map(|b| b.external_port.reached(kafka.bind)).collect(),
        advertised_host: kafka.advertised_host.clone(),
        brokers: kafka.brokers.keys().copied().collect(),
        // the controller does it, whichever broker that is
        brought_home: kafka.brokers.values().any(super::cluster::rebalances),
        min_isr: 2,
        rf: 3,
        zookeeper: plan.zookeeper.as_ref().map(|zookeeper| zookeeper.client_port.reached(zookeeper.bind)),
    });
    let mysql = plan.mysql.as_ref().filter(|m| m.provision).map(|mysql| prove::MysqlTargets {
        socket: layout.mysql_socket(),
        root_password: layout.secret("mysql-root"),
        debezium_password: layout.secret("debezium"),
        address: mysql.port.reached(mysql.bind),
        database: mysql.database.clone(),
    });
    prove::Targets { kafka, mysql }
}

/// The look at the host before a start. Where nodes live already a refusal would only leave them alone, so it is told and
/// the daemon goes on.
async fn preflight(plan: Plan, only: Vec<NodeName>, live: Vec<NodeName>) -> Result<(), StartError> {
    let refuse = live.is_empty();
    let starting: BTreeSet<NodeName> = if only.is_empty() { plan.nodes() } else { only }.into_iter().collect();
    let looked = tokio::task::spawn_blocking(move || preflight::check(&plan, &starting, &live));
    let problems = match looked.await.map_err(|e| StartError::other("look at the host", e))? {
        Ok(warnings) => {
            for problem in &warnings {
                tracing::warn!("{}", problem.line());
            }
            return Ok(());
        }
        Err(Preflight::Memory(e)) if refuse => return Err(StartError::new(3, e.to_string())),
        Err(Preflight::Memory(e)) => {
            tracing::error!("{e}");
            return Ok(());
        }
        Err(Preflight::Host(problems)) => problems,
    };
    refuse_or_tell(&problems, refuse)
}

/// Exit 4 with every problem, or a line of each where nodes live.
fn refuse_or_tell(problems: &[Problem], refuse: bool) -> Result<(), StartError> {
    let lines: Vec<String> = problems.iter().map(Problem::line).collect();
    if refuse {
        return Err(StartError::new(4, lines.join("\n")));
    }
    for line in lines {
        tracing::error!("nodes run, so the daemon goes on: {line}");
    }
    Ok(())
}

fn last_plan(layout: &Layout) -> Option<(Plan, String)> {
    // Without one there is nothing to go on with, and the configuration file decides.
    plan::kept(layout, &layout.plan()).inspect_err(|e| tracing::error!("{e}")).ok().flatten()
}

/// Recipes of nodes that an unfinished reload had added and that the last daemon wanted up: they run on, though the plan
/// that is applied does not have them. A second reload decides on them.
pub(super) async fn added_by_unfinished_reload(plan: &Plan, layout: &Layout) -> Vec<Recipe> {
    let Some(unfinished) = plan::unfinished(layout) else { return Vec::new() };
    let (known, wanted) = (plan.nodes(), |node: &NodeName| engine::was_wanted_up(layout, node));
    let added: Vec<NodeName> = unfinished.nodes().into_iter().filter(|n| !known.contains(n) && wanted(n)).collect();
    if added.is_empty() {
        return Vec::new();
    }
    match recipes(&unfinished, layout, Care::Tell).await {
        Ok(all) => {
            tracing::info!(nodes = ?added, "a reload had added them and was not finished: they are kept until the next one");
            all.into_iter().filter(|r| added.contains(&r.node)).collect()
        }
        Err(e) => {
            tracing::error!(nodes = ?added, "a reload had added them, was not finished, and cannot be gone on with: {}", e.full_text());
            Vec::new()
        }
    }
}

/// Progress goes to the log only: a person watches `up` or `fetch`, which show it.
struct Quiet;

impl artifact::Progress for Quiet {
    fn step(&self, what: &artifact::Step) {
        match what {
            // A Java runtime that was replaced underneath, for instance: the nodes that run keep the old one until a restart.
            artifact::Step::Note { what, text } => tracing::info!("{what}: {text}"),
            other => tracing::debug!(?other, "artifacts"),
        }
    }
}

/// Whether memory caps can be enforced here, and through which group. `live`: nodes of an earlier daemon run on in their groups.
/// This daemon then goes to where their shims are, so that it looks after the same ones (another scope of the same user).
pub(super) fn caps(layout: &Layout, live: bool) -> (Option<CgroupRoot>, Caps) {
    let shims = if live { status::nodes_that_run(layout) } else { Vec::new() };
    for shim in shims {
        if cgroup::join_group_of(shim.shim_pid) {
            break;
        }
    }
    enforced()
}

/// [`caps`] once this process is where it belongs.
pub(super) fn enforced() -> (Option<CgroupRoot>, Caps) {
    match cgroup::detect() {
        Ok(root) => (Some(root), Caps { enforced: true, why: None }),
        Err(why) => (None, Caps { enforced: false, why: Some(why) }),
    }
}

/// Nodes under shims whose words this program does not know are no nodes to be taken over, and no orphans either.
pub(super) async fn no_foreign_shims(layout: &Layout) -> Result<(), StartError> {
    let foreign = engine::foreign_shims(layout).await;
    if foreign.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = foreign.iter().map(|(node, why)| format!("{node}: {why}")).collect();
    Err(StartError::refused(format!(
        "nodes run under shims of another version ({}): they run on; start the newer program again, or stop them with its `down` first",
        list.join("; ")
    )))
}

/// The `cdc-shim` beside this program.
pub(super) fn shim_program() -> Result<PathBuf, StartError> {
    let own = super::handover::own_program().map_err(|e| StartError::other("find this program's own path", e))?;
    let shim = own.with_file_name("cdc-shim");
    if shim.is_file() {
        return Ok(shim);
    }
    Err(StartError::new(4, format!("{} is missing: the two programs belong side by side", shim.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[tokio::test]
    async fn nodes_that_run_are_recognised_without_their_programs_and_are_not_started_without_them() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[artifacts]\noffline = true\n[zookeeper]\n[kafka]\n[mysql]\n[command.x]\nargv = [\"/bin/true\"]\n";
        let source = config::Source {
            text,
            name: "supervisor.toml",
            root_override: Some(dir.path().join("r")),
            default_root: dir.path().join("r"),
        };
        let plan = config::load(&source).unwrap();
        let layout = Layout::new(dir.path().join("r"));
        for care in [Care::Fetch, Care::Need] {
            let refused = recipes(&plan, &layout, care).await.unwrap_err();
            assert_eq!(refused.exit_code(), 5, "{care:?}");
            assert!(refused.to_string().contains("mysql"), "{care:?}: {refused}");
        }
        for care in [Care::Wait, Care::Tell, Care::Again] {
            let recipes = recipes(&plan, &layout, care).await.unwrap();
            assert!(recipes.iter().any(|r| r.node.as_str() == "broker-1"));
            for recipe in recipes {
                assert_eq!(
                    recipe.lacks_program(),
                    recipe.node.as_str() != "x",
                    "{}: {:?}",
                    recipe.node,
                    recipe.prepare
                );
            }
        }
        assert!(!layout.root().join("artifacts").exists(), "a look makes nothing");
    }

    #[test]
    fn each_listener_is_looked_at_where_it_is_bound() {
        let of = |bind: &str| {
            let text =
                format!("[zookeeper]\nbind = \"{bind}\"\n[kafka]\nbind = \"{bind}\"\n[mysql]\nbind = \"{bind}\"\n");
            let default_root = "/r".into();
            let source = config::Source { text: &text, name: "supervisor.toml", root_override: None, default_root };
            let targets = targets(&config::load(&source).unwrap(), &Layout::new("/r"));
            let (kafka, mysql) = (targets.kafka.unwrap(), targets.mysql.unwrap());
            assert_eq!(kafka.internal[0], "127.0.0.1:29092".parse().unwrap(), "whatever clients are given");
            [kafka.external[2], kafka.zookeeper.unwrap(), mysql.address].map(|address| address.to_string())
        };
        assert_eq!(of("192.168.1.10"), ["192.168.1.10:9094", "192.168.1.10:2181", "192.168.1.10:3306"]);
        assert_eq!(of("0.0.0.0"), ["127.0.0.1:9094", "127.0.0.1:2181", "127.0.0.1:3306"]);
        assert_eq!(of("::1"), ["[::1]:9094", "[::1]:2181", "[::1]:3306"]);
    }

    #[test]
    fn leaders_come_home_unless_no_controller_could_bring_them() {
        let brought_home = |text: &str| {
            let source =
                config::Source { text, name: "supervisor.toml", root_override: None, default_root: "/r".into() };
            targets(&config::load(&source).unwrap(), &Layout::new("/r")).kafka.unwrap().brought_home
        };
        let off = "properties = { auto.leader.rebalance.enable = false }\n";
        assert!(brought_home("[zookeeper]\n[kafka]\n"));
        assert!(brought_home("[zookeeper]\n[kafka]\nelect_preferred = false\n"), "Kafka looks every half minute");
        assert!(brought_home(&format!("[zookeeper]\n[kafka.brokers.1]\n{off}[kafka.brokers.2]\n")), "2 may be it");
        assert!(!brought_home(&format!("[zookeeper]\n[kafka]\n{off}")));
    }

    #[test]
    fn in_the_unit_programs_are_never_fetched_and_beside_live_nodes_nothing_is_refused() {
        let args = |no_fetch| DaemonArgs { no_fetch, ..DaemonArgs::default() };
        assert_eq!((Care::of_start(&args(true), false), Care::of_change(&args(true))), (Care::Wait, Care::Need));
        assert_eq!((Care::of_start(&args(false), false), Care::of_change(&args(false))), (Care::Fetch, Care::Fetch));
        assert_eq!((Care::of_start(&args(true), true), Care::of_start(&args(false), true)), (Care::Tell, Care::Tell));
    }
}
