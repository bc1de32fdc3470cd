//! Whether the box keeps its promises, looked at from outside: the proof of `prove`, leaders, every listener as a client meets it and
//! MySQL as Debezium does.

mod drilled;
mod kafka;
mod mysql;

pub use drilled::drilled;

use super::prove::{self, Targets};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `kafka`, `mysql` or `drill`.
    pub part: &'static str,
    /// What, in a few words.
    pub what: String,
    /// What is not as it should be; none: it holds.
    pub wrong: Option<Wrong>,
    /// What is to be known of it though it does not fail, in words.
    pub note: Option<String>,
}

/// How something should be and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// How it should be.
    pub expected: String,
    /// How it is, or why it could not be looked at.
    pub found: String,
}

/// Checks as they come in, of one part.
#[derive(Debug)]
struct Checks {
    part: &'static str,
    all: Vec<Check>,
}

impl Checks {
    fn holds(&mut self, what: impl Into<String>) {
        self.all.push(Check { part: self.part, what: what.into(), wrong: None, note: None });
    }

    fn wrong(&mut self, what: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) {
        let wrong = Wrong { expected: expected.into(), found: found.into() };
        self.all.push(Check { part: self.part, what: what.into(), wrong: Some(wrong), note: None });
    }

    /// One that holds when it was answered.
    fn answered<T>(
        &mut self,
        what: impl Into<String>,
        expected: &str,
        answer: Result<T, crate::clients::ClientError>,
    ) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.holds(what);
                Some(answer)
            }
            Err(e) => {
                self.wrong(what, expected, e.in_one_line());
                None
            }
        }
    }
}

/// Looks at everything, whatever of it fails. `report` hears what is being looked at. Leaves behind: a record per partition, and
/// one more for each listener, in `test-phase1`, and the empty table `cdc_supervisor.verify`. No topic and no table of the user's is touched.
pub async fn verify(targets: &Targets, report: &mut (dyn FnMut(String) + Send)) -> Vec<Check> {
    let mut all = Vec::new();
    if let Some(kafka) = &targets.kafka {
        let only = Targets { kafka: Some(kafka.clone()), mysql: None };
        let mut checks = proven("kafka", &only, report).await;
        kafka::look(kafka, &mut checks, report).await;
        all.extend(checks.all);
    }
    if let Some(mysql) = &targets.mysql {
        let only = Targets { kafka: None, mysql: Some(mysql.clone()) };
        let mut checks = proven("mysql", &only, report).await;
        mysql::look(mysql, &mut checks, report).await;
        all.extend(checks.all);
    }
    all
}

async fn proven(part: &'static str, targets: &Targets, report: &mut (dyn FnMut(String) + Send)) -> Checks {
    let mut checks = Checks { part, all: Vec::new() };
    let (lines, faults) = match prove::prove(targets, report).await {
        Ok(proof) => (proof.lines, Vec::new()),
        Err(e) => (e.proven, e.faults),
    };
    for line in lines {
        checks.holds(line);
    }
    for fault in faults {
        checks.wrong(fault.fact, fault.expected, fault.found);
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_to_look_at_gives_no_checks() {
        assert_eq!(verify(&Targets::default(), &mut |_| ()).await, []);
    }

    #[test]
    fn a_verification_can_run_on_any_thread() {
        fn is_send<F: Future + Send>(_: &F) {}
        let (targets, mut report) = (Targets::default(), |_| ());
        is_send(&verify(&targets, &mut report));
    }
}
