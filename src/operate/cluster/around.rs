//! What ZooKeeper and MySQL say of themselves, asked when somebody wants to know: a mode, a latency, who owns which broker id; how
//! far GTIDs have come and how far back the binlog reaches; and which settings ZooKeeper keeps for brokers that run.

use super::{
    super::prove::MysqlTargets,
    Sight,
    kept::{self, Given},
};
use crate::{
    base::{NodeKind, Timestamp},
    clients::{
        ClientError,
        mysql::{Mysql, Place, oldest_event, read_password},
        zookeeper::{Counters, Session, four_letter, parse_mntr},
    },
    engine::{Handle, Snapshot, cluster_reached},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// Bound of one question, and of all that is asked of one of them: a status does not wait for who does not answer.
const ASK: Duration = Duration::from_millis(700);

/// How old an answer may be that is given again. A session with ZooKeeper is two of its transactions, so a status that is
/// watched does not make one every time.
const AGE: Duration = Duration::from_secs(5);

/// What was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// None: it does not serve, or does not answer.
    pub zookeeper: Option<ZookeeperSeen>,
    /// The same; also where the supervisor has not set the server up and has no password.
    pub mysql: Option<MysqlSeen>,
}

/// ZooKeeper.
#[derive(Clone, Debug, PartialEq)]
pub struct ZookeeperSeen {
    /// Its counters.
    pub counters: Counters,
    /// The session that owns each broker id; none: it could not be looked at.
    pub owners: Option<BTreeMap<u32, i64>>,
    /// Settings that brokers were given while they run; none: they could not be looked at.
    pub given: Option<Given>,
}

/// MySQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlSeen {
    /// `gtid_executed`.
    pub gtid_executed: String,
    /// Its binary logs.
    pub binlog: Binlog,
}

/// Binary logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binlog {
    /// How many files.
    pub files: usize,
    /// All of them, bytes.
    pub bytes: u64,
    /// When the oldest was begun; none: it is encrypted, or not for this user to read.
    pub oldest: Option<Timestamp>,
    /// `binlog_expire_logs_seconds`: files whose last event is older go. 0: none does.
    pub keeps_s: u64,
}

/// Asks and keeps the answers for a moment.
#[derive(Clone, Debug, Default)]
pub struct Arounds(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    newest: std::sync::Mutex<Option<Answer>>,
    /// Held while they are asked: one asks for all who want to know.
    asking: Mutex<()>,
}

#[derive(Clone, Debug)]
struct Answer {
    at: Instant,
    /// Which of the two served.
    of: (bool, bool),
    around: Around,
}

impl Arounds {
    /// What they say, at most some seconds old; after `patience` what they said last, while they still serve.
    pub async fn ask(&self, sight: &Sight, snapshot: &Snapshot, engine: &Handle, patience: Duration) -> Around {
        self.at_most(AGE, sight, snapshot, engine, patience).await
    }

    /// What they say now; none: not within `patience`.
    pub async fn ask_anew(
        &self,
        sight: &Sight,
        snapshot: &Snapshot,
        engine: &Handle,
        patience: Duration,
    ) -> Option<Around> {
        let asked = Instant::now();
        let around = self.at_most(Duration::ZERO, sight, snapshot, engine, patience).await;
        self.0.newest().is_some_and(|kept| kept.at >= asked).then_some(around)
    }

    async fn at_most(
        &self,
        age: Duration,
        sight: &Sight,
        snapshot: &Snapshot,
        engine: &Handle,
        patience: Duration,
    ) -> Around {
        let serves = |kind| snapshot.nodes.iter().any(|n| n.kind == kind && n.serves);
        let zookeeper = sight.zookeeper.filter(|_| serves(NodeKind::Zookeeper));
        let mysql = sight.mysql.clone().filter(|_| serves(NodeKind::Mysql));
        let of = (zookeeper.is_some(), mysql.is_some());
        if !self.0.newest().is_some_and(|kept| kept.of == of && kept.at.elapsed() < age) && of != (false, false) {
            let brokers: Vec<u32> = sight.brokers.keys().copied().collect();
            let (kept, engine) = (Arc::clone(&self.0), engine.clone());
            let asking = tokio::spawn(async move { kept.refresh(zookeeper, mysql, &brokers, &engine).await });
            // It goes on without who does not wait for it.
            let _ = timeout(patience, asking).await;
        }
        let around = self.0.newest().map(|kept| kept.around).unwrap_or_default();
        // Nothing is told of one that has ended meanwhile.
        Around { zookeeper: around.zookeeper.filter(|_| of.0), mysql: around.mysql.filter(|_| of.1) }
    }
}

impl Kept {
    fn newest(&self) -> Option<Answer> {
        // The value is replaced as a whole.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn refresh(&self, at: Option<SocketAddr>, targets: Option<MysqlTargets>, brokers: &[u32], engine: &Handle) {
        let of = (at.is_some(), targets.is_some());
        let asked = Instant::now();
        let _one = self.asking.lock().await;
        if self.newest().is_some_and(|newest| newest.at >= asked && newest.of == of) {
            return;
        }
        let zookeeper = async { told("ZooKeeper", timeout(ASK, zookeeper(at?, brokers, engine)).await) };
        let mysql = async {
            let targets = targets.as_ref()?;
            told("MySQL", timeout(ASK, mysql(&targets.socket, &targets.root_password)).await)
        };
        let (zookeeper, mysql) = tokio::join!(zookeeper, mysql);
        let answer = Answer { at: Instant::now(), of, around: Around { zookeeper, mysql } };
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

fn told<T>(who: &str, answer: Result<Result<T, ClientError>, tokio::time::error::Elapsed>) -> Option<T> {
    match answer {
        Ok(Ok(seen)) => Some(seen),
        Ok(Err(e)) => {
            tracing::debug!("{who}: {}", e.in_one_line());
            None
        }
        Err(_) => None,
    }
}

async fn zookeeper(address: SocketAddr, brokers: &[u32], engine: &Handle) -> Result<ZookeeperSeen, ClientError> {
    // Before our own session, so that it is not counted.
    let counters = parse_mntr(&four_letter(address, "mntr", ASK).await?);
    let Ok(mut session) = Session::connect(address, ASK).await else {
        return Ok(ZookeeperSeen { counters, owners: None, given: None });
    };
    let owners = owners(&mut session, brokers).await.ok();
    let given = match owners {
        Some(_) => self::given(&mut session, brokers).await.ok().flatten(),
        None => None,
    };
    // Of one that is not this root's nothing is remembered: its cluster is another.
    if given.is_some()
        && let Ok(Some((cluster, reached))) = cluster_reached(&mut session).await
    {
        engine.learn_reached(cluster, reached);
    }
    // What was seen counts, also when the goodbye fails.
    let _ = session.close().await;
    Ok(ZookeeperSeen { counters, owners, given })
}

async fn owners(session: &mut Session, brokers: &[u32]) -> Result<BTreeMap<u32, i64>, ClientError> {
    let mut owners = BTreeMap::new();
    for id in brokers {
        if let Some(stat) = session.exists(&format!("/brokers/ids/{id}")).await? {
            owners.insert(*id, stat.ephemeral_owner);
        }
    }
    Ok(owners)
}

/// Read from where brokers read it themselves, in a session that is made anyway: brokers are not asked for it. None: one is not in Kafka's form.
async fn given(session: &mut Session, brokers: &[u32]) -> Result<Option<Given>, ClientError> {
    // `ConfigEntityName.Default`
    let names = brokers.iter().map(|id| (Some(*id), id.to_string())).chain([(None, "<default>".to_owned())]);
    let mut all = Given::default();
    for (id, name) in names {
        let Some((data, _)) = session.get_data(&format!("/config/brokers/{name}")).await? else { continue };
        match (kept::read(&data), id) {
            (None, _) => return Ok(None),
            (Some(set), None) => all.for_all = set,
            (Some(set), Some(_)) if set.is_empty() => {}
            (Some(set), Some(id)) => drop(all.of.insert(id, set)),
        }
    }
    Ok(Some(all))
}

async fn mysql(socket: &Path, root_password: &Path) -> Result<MysqlSeen, ClientError> {
    let password = read_password(root_password).await?;
    let mut mysql = Mysql::connect(&Place::Socket(socket.to_owned()), "root", Some(&password), ASK).await?;
    let seen = look(&mut mysql).await;
    mysql.close().await;
    seen
}

async fn look(mysql: &mut Mysql) -> Result<MysqlSeen, ClientError> {
    const KEEPS: &str = "binlog_expire_logs_seconds";
    const BASE: &str = "log_bin_basename";
    let gtid = mysql.texts("SELECT @@GLOBAL.gtid_executed").await?;
    let variables = mysql.variables(&[KEEPS, BASE]).await?;
    let logs = mysql.binlogs().await?;
    let oldest = match (logs.first(), variables.get(BASE).and_then(|base| Path::new(base).parent())) {
        (Some((name, _)), Some(dir)) => oldest_event(&dir.join(name)).await,
        (Some(_) | None, _) => None,
    };
    Ok(MysqlSeen {
        // One line, however many servers it names.
        gtid_executed: gtid.concat().replace('\n', ""),
        binlog: Binlog {
            files: logs.len(),
            bytes: logs.iter().map(|(_, size)| size).sum(),
            oldest,
            keeps_s: variables.get(KEEPS).and_then(|s| s.parse().ok()).unwrap_or(0),
        },
    })
}
