//! A real stack under test, and an independent look at it: topics, records, MySQL, the nodes' logs.

use crate::support::Root;
use cdc_supervisor::{
    base::{NodeKind, NodeName},
    clients::{
        kafka::{Admin, ClusterView},
        mysql::{Mysql, Place},
    },
    operate::whole,
    services::catalogue,
};
use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// Every node of the default stack.
pub const NODES: [&str; 5] = ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"];

/// Every broker's id and the port of its INTERNAL listener.
const INTERNAL: [(u32, u16); 3] = [(1, 29092), (2, 29093), (3, 29094)];

/// How long the cluster may take to reach a state: a broker's session (12 s), its start and its catching up, on a slow machine.
pub const SETTLE: Duration = Duration::from_secs(120);

/// How long one call of a client may take.
const CALL: Duration = Duration::from_secs(20);

/// Copies what nodes have written, and who they are; not what the supervisor knows of their runs.
fn bring(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut copy = Command::new("cp");
    copy.args(["-a", "--sparse=always", "--parents", "state/secrets", "state/identity.json"]);
    copy.args(NODES.map(|node| format!("nodes/{node}/data")));
    let done = copy.arg(to).current_dir(from).status().unwrap();
    assert!(done.success(), "cp from {} to {}", from.display(), to.display());
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Held while nodes with the default ports run.
pub struct Turn(#[allow(dead_code, reason = "kept for its drop")] MutexGuard<'static, ()>);

impl Turn {
    /// Waits for it.
    pub fn take() -> Self {
        Self(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A root with the default stack.
pub struct Stack {
    root: Root,
    runtime: tokio::runtime::Runtime,
    _turn: Turn,
}

impl Deref for Stack {
    type Target = Root;
    fn deref(&self) -> &Root {
        &self.root
    }
}

impl Stack {
    /// A fresh root; nothing runs yet.
    pub fn new() -> Self {
        let turn = Turn::take();
        let store = std::env::var("CDC_TEST_STORE")
            .expect("CDC_TEST_STORE names a filled artifact store (dist/test.sh sets it)");
        let root =
            Root::raw(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\n[mysql]\n"));
        // The machine's doing: five nodes start on two processors, and threads wait for one.
        root.expect_log("was held up for");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { root, runtime, _turn: turn }
    }

    /// A root whose nodes have run before; nothing runs yet. What the first start of a stack makes is brought: mysqld's directory,
    /// initialised and provisioned, its passwords, and the cluster that ZooKeeper and the brokers are. For a test that is not
    /// about the first start, which takes a third of a test's time.
    pub fn begun() -> Self {
        static FIRST: OnceLock<PathBuf> = OnceLock::new();
        let first = FIRST.get_or_init(|| {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-begun");
            let _ = fs::remove_dir_all(&kept);
            let stack = Self::new();
            stack.up();
            stack.down();
            bring(stack.path(), &kept);
            kept
        });
        let stack = Self::new();
        bring(first, stack.path());
        stack
    }

    /// Texts of the events of one kind, oldest first.
    pub fn events(&self, kind: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path().join("state/events.jsonl")).unwrap();
        // The last line may be one that is being written.
        let all = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        all.filter(|e| e["kind"] == kind).map(|e| e["text"].as_str().unwrap().to_owned()).collect()
    }

    /// Runs a client's call.
    pub fn call<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Runs a client's work beside the test.
    pub fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// A client of the whole cluster.
    pub fn admin(&self) -> Admin {
        let internal: Vec<SocketAddr> =
            INTERNAL.map(|(_, port)| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).to_vec();
        Admin::new(&internal).unwrap()
    }

    /// Waits until the cluster looks like this.
    pub fn await_cluster(&self, admin: &Admin, what: &str, good: impl Fn(&ClusterView) -> bool) -> ClusterView {
        let began = Instant::now();
        loop {
            let last = match self.call(admin.describe(CALL)) {
                Ok(view) if good(&view) => return view,
                Ok(view) => format!("brokers {:?}, {:?}", view.broker_ids(), view.troubles()),
                Err(e) => e.in_one_line(),
            };
            assert!(began.elapsed() < SETTLE, "waited {} s for: {what}\nlast seen: {last}", SETTLE.as_secs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until every broker knows of every broker and of the same partitions, and every replica of them is in its ISR. The
    /// stack was proven before: brokers that know nothing of the proof's topic are brokers that have not heard from their
    /// controller since they started.
    pub fn await_whole(&self, admin: &Admin) -> ClusterView {
        let brokers = INTERNAL.map(|(id, port)| (id, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).into();
        let began = Instant::now();
        loop {
            let said = self.call(whole::ask(&brokers));
            let hears = said.view().is_some_and(|v| v.topic("test-phase1").is_some());
            match said.in_the_way(None, false, &[]) {
                None if hears => break,
                why => assert!(
                    began.elapsed() < SETTLE,
                    "waited {} s for a whole cluster\nlast seen: {}",
                    SETTLE.as_secs(),
                    why.unwrap_or_else(|| "no topic is known".into())
                ),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.await_cluster(admin, "three brokers and every replica in sync", |v| {
            v.broker_ids() == [1, 2, 3] && v.troubles().is_empty() && v.topic("test-phase1").is_some()
        })
    }

    /// Writes one record that all in-sync replicas acknowledge; tries again as a producer with retries would.
    pub fn produce(&self, admin: &Admin, partition: i32, payload: &str) {
        let began = Instant::now();
        while let Err(e) = self.call(admin.produce("test-phase1", Some(partition), payload.as_bytes(), CALL)) {
            assert!(began.elapsed() < SETTLE, "{payload} was never acknowledged: {}", e.in_one_line());
        }
    }

    /// Reads `test-phase1` from the beginning until all of these records were seen (others, such as the proof's own, are
    /// passed over).
    pub fn assert_all_there(&self, admin: &Admin, wanted: &[String]) {
        let from = [(0, 0), (1, 0), (2, 0)];
        let began = Instant::now();
        loop {
            let records = self.call(admin.consume_from("test-phase1", &from, 100_000, Duration::from_secs(2))).unwrap();
            let seen: BTreeSet<String> =
                records.iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()).collect();
            let missing: Vec<&String> = wanted.iter().filter(|w| !seen.contains(*w)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "acknowledged and gone: {missing:?} ({} of {} records read)",
                wanted.len() - missing.len(),
                wanted.len()
            );
        }
    }

    /// Root's connection over the unix socket.
    pub fn mysql(&self) -> Mysql {
        let password = self.secret("mysql-root");
        let place = Place::Socket(self.path().join("nodes/mysql/run/mysqld.sock"));
        self.call(Mysql::connect(&place, "root", Some(&password), CALL)).expect("root logs in over the socket")
    }

    /// A password.
    pub fn secret(&self, name: &str) -> String {
        fs::read_to_string(self.path().join("state/secrets").join(name)).unwrap().trim_end().to_owned()
    }

    /// Rows of a table.
    pub fn rows(&self, table: &str) -> u64 {
        let mut mysql = self.mysql();
        let count = self.call(mysql.count("trading", table)).unwrap();
        self.call(mysql.close());
        count
    }

    /// Pids of all nodes, in the order of [`NODES`].
    pub fn pids(&self) -> Vec<i32> {
        let status = self.status();
        NODES.iter().map(|name| crate::support::pid_of(&crate::support::node_of(&status, name))).collect()
    }

    /// No node's log has a line that is known to be fatal.
    pub fn assert_logs_know_nothing_fatal(&self) {
        for name in NODES {
            let kind = match name {
                "zookeeper" => NodeKind::Zookeeper,
                "mysql" => NodeKind::Mysql,
                broker => NodeKind::Broker(broker.trim_start_matches("broker-").parse().unwrap()),
            };
            for line in self.log(name).lines() {
                assert!(catalogue::fatal(kind, line).is_none(), "{}: {line}", NodeName::new(name).unwrap());
            }
        }
    }
}
