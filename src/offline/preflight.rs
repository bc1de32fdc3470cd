//! The look before every start: what of the preflight table refuses it, and what it is only warned of.

use super::doctor::{self, Check, Severity, Site};
use crate::{
    base::{NodeName, programs::Programs},
    config::{self, ConfigErrors, Plan},
    sys::host,
};
use std::collections::BTreeSet;

/// What stands in the way of a start.
#[derive(Debug)]
pub enum Preflight {
    /// The caps do not fit into the host's memory: the configuration is wrong for this host.
    Memory(ConfigErrors),
    /// The host is not fit; never empty.
    Host(Vec<Problem>),
}

/// One thing that is in the way, or that a start goes on with and somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One sentence.
    pub what: String,
    /// Why it matters.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: String,
}

impl Problem {
    fn of(check: Check) -> Self {
        Self {
            what: check.problem.unwrap_or(check.found),
            causes: vec![check.why],
            hint: check.remedy.unwrap_or_default(),
        }
    }

    /// Sentence and causes in one line.
    pub fn sentence(&self) -> String {
        format!("{}; {}", self.what, self.causes.join(": "))
    }

    /// Sentence, causes and hint in one line, for a log.
    pub fn line(&self) -> String {
        format!("{}: {}; {}", self.what, self.causes.join(": "), self.hint)
    }
}

/// Looks, and makes the root when it is missing. `starting` are the nodes that shall be started; those of them in `living` run
/// already (without a daemon) and have their ports themselves. What is handed back, a start goes on with and tells.
pub fn check(plan: &Plan, starting: &BTreeSet<NodeName>, living: &[NodeName]) -> Result<Vec<Problem>, Preflight> {
    if let Some(memory) = host::total_memory() {
        config::check_ledger(plan, memory).map_err(Preflight::Memory)?;
    }
    let rows = doctor::failures(Site::new(plan, starting, living));
    let mut told = sorted(rows).map_err(Preflight::Host)?;
    told.extend(doubtful(plan));
    Ok(told)
}

/// What stands in the way of a change, with its exit code. Whoever asks need not be the owner of the root, and nothing is
/// written. `starting` are the nodes that start or start anew, `held` the ports that nodes of this root have.
pub fn change(plan: &Plan, starting: &BTreeSet<NodeName>, held: BTreeSet<u16>) -> Vec<(u8, Problem)> {
    let fails = |check: &Check| check.severity == Severity::Fail;
    let ledger = Some(doctor::ledger(plan)).filter(fails).map(|check| (3, Problem::of(check)));
    let host = doctor::failures_of_change(plan, starting, held).into_iter().filter(|check| check.stops_start);
    ledger.into_iter().chain(host.map(|check| (4, Problem::of(check)))).collect()
}

/// The root and the data directories alone, for whom the rest was looked at with [`change`].
pub fn storage(plan: &Plan, starting: &BTreeSet<NodeName>, living: &[NodeName]) -> Result<Vec<Problem>, Vec<Problem>> {
    sorted(doctor::failures_of_storage(Site::new(plan, starting, living)))
}

/// Settings that are passed through under names that nobody knows.
fn doubtful(plan: &Plan) -> impl Iterator<Item = Problem> {
    plan.doubtful_settings().into_iter().map(|one| Problem {
        what: one.what(plan),
        causes: vec![config::DOES_NOTHING.into()],
        hint: one.advice().unwrap_or_else(|| config::MEND.into()),
    })
}

/// The same for programs that are about to be run: shared libraries that they lack.
pub fn programs(found: &Programs) -> Result<Vec<Problem>, Vec<Problem>> {
    sorted(doctor::programs_of(found))
}

fn sorted(rows: Vec<Check>) -> Result<Vec<Problem>, Vec<Problem>> {
    let (stops, goes_on): (Vec<Check>, Vec<Check>) = rows.into_iter().partition(|check| check.stops_start);
    let problems = |rows: Vec<Check>| rows.into_iter().map(Problem::of).collect::<Vec<_>>();
    if stops.is_empty() { Ok(problems(goes_on)) } else { Err(problems(stops)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_beyond_the_memory_are_an_error_of_the_configuration() {
        let big = |i| format!("[command.big-{i}]\nargv = [\"/bin/true\"]\nmemory_max = \"1T\"\n");
        let text: String = (0..64).map(big).collect();
        let source = config::Source {
            text: &text,
            name: "supervisor.toml",
            root_override: None,
            default_root: "/nonexistent/root".into(),
        };
        let plan = config::load(&source).unwrap();
        assert!(matches!(check(&plan, &BTreeSet::new(), &[]), Err(Preflight::Memory(_))));
    }

    #[test]
    fn what_stops_a_start_is_told_alone_and_the_rest_is_a_warning() {
        let row = |name: &str| Check::ok(name, "r", "f", "because");
        let (stop, warn) =
            (row("a").fails("it is bad", "mend it"), row("b").fails("it is risky", "move it").and_starts());
        let problems = sorted(vec![warn.clone(), stop]).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line(), "it is bad: because; mend it");
        let warnings = sorted(vec![warn]).unwrap();
        assert_eq!((warnings[0].what.as_str(), warnings[0].hint.as_str()), ("it is risky", "move it"));
        assert_eq!(row("c").severity, Severity::Ok);
    }
}
