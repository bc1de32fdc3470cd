//! The preflight table: each subject looks at the host thinly and judges what it saw with a pure function.
//!
//! `doctor` shows every row; the same judges decide in [`preflight`](super::preflight) whether a start goes on.

mod brokers;
mod check;
mod confinement;
pub mod fix;
mod identity;
mod limits;
mod machine;
mod memory;
mod occupied;
mod ports;
mod programs;
mod room;
mod settings;
mod starter;
mod storage;
mod topics;
mod unit;

pub use check::{Check, Report, Severity};

pub(super) use identity::{broker_data, mysql_data};

use starter::Starter;

use crate::{
    base::{Layout, NodeName, programs::Programs},
    config::Plan,
    offline::status,
    sys::host,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How long a subject may take. Only what does not answer takes this long: a network file system, a name service.
const LIMIT: Duration = Duration::from_secs(10);

/// What is looked at, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Site {
    plan: Plan,
    layout: Layout,
    /// Nodes that shall be started.
    starting: BTreeSet<NodeName>,
    /// Those of them that run already, and so have their ports and data themselves.
    living: Vec<NodeName>,
    /// Ports that nodes of this root have, where some of these nodes are about to let go of theirs; none: those of `living`.
    held: Option<BTreeSet<u16>>,
    /// Who looks.
    euid: u32,
    /// Who starts the nodes.
    starter: Starter,
    /// The root is that of a drill's throw-away cluster, which is small on purpose.
    throw_away: bool,
    /// Settings that beat a broker's file, as the daemon has seen them; none: nobody has.
    set_by_others: Option<Vec<String>>,
}

impl Site {
    pub(super) fn new(plan: &Plan, starting: &BTreeSet<NodeName>, living: &[NodeName]) -> Self {
        Self {
            plan: plan.clone(),
            layout: plan.layout(),
            starting: starting.clone(),
            living: living.to_vec(),
            held: None,
            euid: host::euid(),
            starter: Starter::here(),
            throw_away: plan.layout().throw_away_mark().exists(),
            set_by_others: None,
        }
    }

    /// Whether the stack is whole without a node: then what is wrong with it alone keeps nobody else down.
    fn is_optional(&self, node: &NodeName) -> bool {
        self.plan.node(node).is_some_and(|view| view.kind.is_optional())
    }

    /// Nodes that shall be started and do not run.
    fn to_start(&self) -> impl Iterator<Item = &NodeName> {
        self.starting.iter().filter(|node| !self.living.contains(node))
    }
}

/// One subject: looks and judges.
type Subject = fn(&Site) -> Vec<Check>;

/// What `doctor` looks at, and what to say when a subject does not answer.
const ALL: [(&str, Subject); 11] = [
    ("storage", |site| storage::judge(site, &storage::look(site, false))),
    ("identity", |site| identity::judge(site, &identity::look(site))),
    ("ports", |site| ports::judge(site, &ports::look(site))),
    ("memory", |site| memory::judge_all(site, &memory::look())),
    ("programs", |site| programs::judge(site, &programs::look(site))),
    ("limits", |site| limits::judge(site, &limits::look(site))),
    ("settings", settings::judge),
    ("brokers", brokers::judge),
    ("topics", |site| topics::judge(site, &topics::look(site))),
    ("machine", |site| machine::judge(site, &machine::look(site))),
    ("unit", |site| unit::judge(site, &unit::look(site))),
];

/// What a start looks at: whatever can refuse it, and nothing that takes time. Programs are looked at when they are there
/// ([`programs_of`]).
const SHORT: [(&str, Subject); 4] = [
    ("storage", |site| storage::judge(site, &storage::look(site, true))),
    ("ports", |site| ports::judge(site, &ports::look(site))),
    ("memory", |site| memory::judge(site, &memory::look())),
    ("limits", |site| limits::judge(site, &limits::look(site))),
];

/// What a change of a configuration looks at. Not at the root: whoever asks what would be done need not be its owner.
const CHANGE: [(&str, Subject); 3] = [SHORT[1], SHORT[2], SHORT[3]];

/// The whole table for a plan. Nothing is changed on the host; a block is written and synced in the root, without a name. `set_by_others`: what
/// the daemon says of settings that beat a broker's file.
pub fn examine(plan: &Plan, set_by_others: Option<Vec<String>>) -> Report {
    let layout = plan.layout();
    // the look at locks goes into the root too, which may lie on a server that does not answer
    let looked = layout.clone();
    let living = bounded(LIMIT, move || status::nodes_that_live(&looked)).unwrap_or_default();
    let mut site = Site::new(plan, &plan.nodes().into_iter().collect(), &living);
    site.set_by_others = set_by_others;
    let (asked, at) = (plan.clone(), layout.clone());
    if let Some(starter) = bounded(LIMIT, move || Starter::of(&asked, &at)) {
        site.starter = starter;
    }
    Report::new(layout.root().display().to_string(), all_of(&Arc::new(site), &ALL, LIMIT))
}

/// The rows that a start must know: failures only.
pub(super) fn failures(site: Site) -> Vec<Check> {
    only_failures(all_of(&Arc::new(site), &SHORT, LIMIT))
}

/// The rows that a change must know, for nodes that start or start anew: failures only. `held` are the ports that nodes of
/// this root have, whichever node that is.
pub(super) fn failures_of_change(plan: &Plan, starting: &BTreeSet<NodeName>, held: BTreeSet<u16>) -> Vec<Check> {
    let mut site = Site::new(plan, starting, &[]);
    site.starter = Starter::of(plan, &site.layout);
    site.held = Some(held);
    only_failures(all_of(&Arc::new(site), &CHANGE, LIMIT))
}

/// The rows that a change must know of the root and the data: failures only.
pub(super) fn failures_of_storage(site: Site) -> Vec<Check> {
    only_failures(all_of(&Arc::new(site), &SHORT[..1], LIMIT))
}

/// Caps against the memory of the host.
pub(super) fn ledger(plan: &Plan) -> Check {
    memory::ledger(plan, host::total_memory())
}

fn only_failures(mut rows: Vec<Check>) -> Vec<Check> {
    rows.retain(|check| check.severity == Severity::Fail);
    rows
}

/// What of a resolved set of programs cannot be run here: failures only.
pub fn programs_of(found: &Programs) -> Vec<Check> {
    only_failures(programs::unfit_of(found))
}

/// Runs every subject on a thread of its own and takes the rows in order. One that has no answer in time is a failure: it is
/// what a start would hang on.
fn all_of(site: &Arc<Site>, subjects: &[(&'static str, Subject)], limit: Duration) -> Vec<Check> {
    let began = Instant::now();
    let started: Vec<_> = subjects
        .iter()
        .map(|(name, subject)| {
            let (site, subject) = (Arc::clone(site), *subject);
            (*name, begin(move || subject(&site)))
        })
        .collect();
    let answer = |(name, answer): (&'static str, mpsc::Receiver<Vec<Check>>)| {
        let left = limit.saturating_sub(began.elapsed());
        answer.recv_timeout(left).unwrap_or_else(|_| vec![silent(site, name, limit)])
    };
    started.into_iter().flat_map(answer).collect()
}

fn silent(site: &Site, subject: &str, limit: Duration) -> Check {
    let root = site.layout.root().display();
    let seconds = limit.as_secs();
    let (what, remedy) = match subject {
        "storage" => (
            format!("the file systems of {root} and the data directories"),
            "see which one hangs: `df` stops there; a network server may be gone".to_owned(),
        ),
        other => {
            (format!("the look at {other}"), "see what hangs: `ps -eo pid,stat,wchan:30,args | grep ' D'`".to_owned())
        }
    };
    Check::ok(subject, "an answer in time", format!("none after {seconds} s"), "a start would hang there as well")
        .fails(format!("{what} gave no answer within {seconds} s"), remedy)
}

/// Runs `f` on a thread of its own that is left behind when it hangs: in the kernel nothing else can be done about it.
fn begin<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (answer, receiver) = mpsc::channel();
    // Nobody may be waiting any more; and where no thread can be made the channel closes, which counts as no answer.
    let _ = thread::Builder::new().name("look".into()).spawn(move || drop(answer.send(f())));
    receiver
}

fn bounded<T: Send + 'static>(limit: Duration, f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    begin(f).recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// A plan of this text, with a root that does not exist, for a user who is nobody special.
    pub(super) fn site(text: &str) -> Site {
        site_at("/nonexistent/root", text)
    }

    pub(super) fn site_at(root: impl Into<std::path::PathBuf>, text: &str) -> Site {
        let source = config::Source { text, name: "supervisor.toml", root_override: None, default_root: root.into() };
        let plan = config::load(&source).unwrap_or_else(|e| panic!("{e}"));
        let starting = plan.nodes().into_iter().collect();
        let mut site = Site::new(&plan, &starting, &[]);
        site.starter.caps = Err("a test".into());
        site
    }

    #[test]
    fn what_does_not_answer_is_a_failure_and_holds_nothing_up() {
        let hang: Subject = |_| {
            thread::sleep(Duration::from_secs(60));
            Vec::new()
        };
        let quick: Subject = |_| vec![Check::ok("a", "", "", "")];
        let began = Instant::now();
        let rows = all_of(&Arc::new(site("")), &[("storage", hang), ("quick", quick)], Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(30));
        let names: Vec<&str> = rows.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["storage", "a"]);
        assert!(rows[0].stops_start && rows[0].problem.as_deref().unwrap().contains("/nonexistent/root"), "{rows:?}");
    }

    #[test]
    fn the_whole_table_of_this_machine_has_every_subject_and_each_row_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let site = site_at(dir.path().join("r"), "");
        let report = examine(&site.plan, None);
        for name in [
            "memory",
            "root",
            "file system of root",
            "disk space",
            "inodes",
            "ports",
            "ephemeral range",
            "clock",
            "Java",
            "Kafka",
            "MySQL",
            "open files of a node",
            "disk sync",
            "memory caps",
            "confinement",
            "identity of the data",
            "trim",
        ] {
            assert!(report.checks.iter().any(|c| c.name == name), "no row {name}: {report:#?}");
        }
        for check in &report.checks {
            assert!(!check.required.is_empty() && !check.found.is_empty() && !check.why.is_empty(), "{check:?}");
            assert_eq!(check.severity == Severity::Fail, check.problem.is_some(), "{check:?}");
            let bad = matches!(check.severity, Severity::Fail | Severity::Warn | Severity::Info);
            assert_eq!(bad, check.remedy.is_some(), "{check:?}");
        }
        assert!(!dir.path().join("r").exists(), "a look makes nothing");
    }

    #[test]
    fn the_short_look_has_failures_only_and_is_quick() {
        let dir = tempfile::tempdir().unwrap();
        let site = site_at(dir.path().join("r"), "[command.a]\nargv = [\"/bin/true\"]");
        let rows = failures(site);
        assert!(rows.iter().all(|c| c.severity == Severity::Fail && !c.stops_start), "{rows:#?}");
        assert!(dir.path().join("r").is_dir(), "a start makes its root");
        assert_eq!(std::fs::read_dir(dir.path().join("r")).unwrap().count(), 0, "and leaves nothing else");
    }
}
