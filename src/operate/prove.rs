//! Proves that the stack does what it is for: the facts its owner used to check by hand (mission, "What the owner verified").
//!
//! Every fact is checked before anything is called failed. Nothing is changed but this: the topic `test-phase1` is made
//! when it is missing, and each run leaves one short record in each of its partitions.

mod kafka;
mod mysql;

use std::{fmt, net::SocketAddr, path::PathBuf};

/// What to prove. A part is none when no node of the plan belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// The brokers.
    pub kafka: Option<KafkaTargets>,
    /// The MySQL server.
    pub mysql: Option<MysqlTargets>,
}

/// The brokers as they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTargets {
    /// INTERNAL listeners: our own records and questions go there.
    pub internal: Vec<SocketAddr>,
    /// EXTERNAL listeners, in the order of `brokers`.
    pub external: Vec<SocketAddr>,
    /// The host name that EXTERNAL listeners advertise. INTERNAL ones advertise their address.
    pub advertised_host: String,
    /// Every `broker.id`.
    pub brokers: Vec<u32>,
    /// Somebody gives leaders back to a broker that has come back: we, or Kafka by itself.
    pub brought_home: bool,
    /// `min.insync.replicas` wanted; less when there are fewer replicas.
    pub min_isr: u32,
    /// Replication factor wanted; the number of brokers when they are fewer.
    pub rf: u32,
    /// Where the ZooKeeper listens that has the topics; none: it is none of ours.
    pub zookeeper: Option<SocketAddr>,
}

/// The MySQL server as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlTargets {
    /// Its unix socket.
    pub socket: PathBuf,
    /// File with root's password.
    pub root_password: PathBuf,
    /// File with the password of `debezium`.
    pub debezium_password: PathBuf,
    /// Where its port is reached from this host.
    pub address: SocketAddr,
    /// The database with the table `orders`.
    pub database: String,
}

/// What was proven: one line for each fact, for the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// `3 brokers, every replica in sync`, `3 rows in trading.orders`, ...
    pub lines: Vec<String>,
}

/// A fact that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was looked at.
    pub fact: String,
    /// How it should be.
    pub expected: String,
    /// How it is, or why it could not be looked at.
    pub found: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.fact, self.expected, self.found)
    }
}

/// The verdict is negative: at least one fault, and what holds all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProveError {
    /// Facts that do not hold, in the order they were checked.
    pub faults: Vec<Fault>,
    /// Lines of the facts that do.
    pub proven: Vec<String>,
}

impl fmt::Display for ProveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        f.write_str(&faults.join("; "))
    }
}

impl std::error::Error for ProveError {}

/// Facts as they come in.
#[derive(Debug, Default)]
struct Findings {
    proven: Vec<String>,
    faults: Vec<Fault>,
}

impl Findings {
    fn fault(&mut self, fact: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) {
        self.faults.push(Fault { fact: fact.into(), expected: expected.into(), found: found.into() });
    }

    /// Adds `line` unless faults were added since there were `before` of them.
    fn proven_unless_faults_since(&mut self, before: usize, line: impl FnOnce() -> String) {
        if self.faults.len() == before {
            self.proven.push(line());
        }
    }
}

/// Checks every fact. `report` hears in plain words what is being waited for. Takes a second or two when all is well, and
/// at most about a minute when nothing answers.
pub async fn prove(targets: &Targets, report: &mut (dyn FnMut(String) + Send)) -> Result<Proof, ProveError> {
    let mut findings = Findings::default();
    if let Some(targets) = &targets.kafka {
        kafka::prove(targets, &mut findings, report).await;
    }
    if let Some(targets) = &targets.mysql {
        mysql::prove(targets, &mut findings, report).await;
    }
    let Findings { proven, faults } = findings;
    if faults.is_empty() { Ok(Proof { lines: proven }) } else { Err(ProveError { faults, proven }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_every_fault_with_expected_and_found() {
        let mut findings = Findings::default();
        findings.fault("binlog_format", "ROW", "STATEMENT");
        findings.fault("rows in trading.orders", "3 or more", "0");
        let error = ProveError { faults: findings.faults, proven: vec![] };
        assert_eq!(
            error.to_string(),
            "binlog_format: expected ROW, found STATEMENT; rows in trading.orders: expected 3 or more, found 0"
        );
    }

    #[test]
    fn a_proof_can_run_on_any_thread() {
        fn is_send<F: Future + Send>(_: &F) {}
        let (targets, mut report) = (Targets::default(), |_| ());
        is_send(&prove(&targets, &mut report));
    }

    #[tokio::test]
    async fn nothing_to_prove_is_proven() {
        assert_eq!(prove(&Targets::default(), &mut |_| ()).await, Ok(Proof::default()));
    }
}
