//! How the proof is gathered: each clause of the guard with a world that breaks it, in front of a ZooKeeper of the test's own.

use super::{
    fake_zookeeper::{CREATED, ENDPOINT, FakeZookeeper, MADE_BY, Takeover},
    *,
};
use crate::{base::NodeKind, engine::NodeSnapshot};
use std::net::TcpListener;

const OURS: i64 = 0x0100_0018_673c_0003;
const THEIRS: i64 = 0x0100_0018_673c_0009;

struct Scene {
    _dir: tempfile::TempDir,
    zookeeper: FakeZookeeper,
    fence: Fence,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

/// A broker that has ended, whose session is there, in front of a ZooKeeper that is ours: this process.
async fn scene(registered: &[Option<i64>], takeover: Takeover) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let node = NodeName::broker(2);
    std::fs::create_dir_all(layout.state()).unwrap();
    std::fs::create_dir_all(layout.node_lock(&node).parent().unwrap()).unwrap();
    let zookeeper = FakeZookeeper::start(registered, takeover).await;
    let word = wrote(&layout, &node, &[MADE_BY]);
    // A daemon has looked before it starts anything.
    clock::steady_since();
    let (snapshots, snapshot) = watch::channel(with_zookeeper(Some(std::process::id())));
    let fence = Fence {
        journal: Journal::start(&layout),
        layout,
        node,
        broker: 2,
        zookeeper: zookeeper.address,
        snapshot,
        up_to: Duration::from_secs(1),
        incarnation: Incarnation(3),
        end: Some(RunEnded { started: Some(Timestamp(CREATED.0 - 1)), ended: Timestamp(CREATED.0 + 1) }),
        seen: Some(SeenRun { began: Some(clock::now()), ended: clock::now() }),
        recorded: None,
        word,
        endpoints: vec![ENDPOINT.to_owned()],
        ports: vec![],
    };
    Scene { _dir: dir, zookeeper, fence, snapshots }
}

/// What a run of a broker, whose log has nothing else, has written of its registrations.
fn wrote(layout: &Layout, node: &NodeName, transactions: &[i64]) -> OwnWord {
    let log = layout.log_dir(node);
    std::fs::create_dir_all(&log).unwrap();
    let line = |transaction: &i64| {
        format!(
            "INFO Registered broker 2 at path /brokers/ids/2 with addresses: {ENDPOINT}, czxid (broker epoch): {transaction} \
             (kafka.zk.KafkaZkClient)\n"
        )
    };
    std::fs::write(layout.log(node), transactions.iter().map(line).collect::<String>()).unwrap();
    OwnWord { log, broker: 2, start: LogMark { inode: LogMark::NONE_YET, length: 0 }, started: Timestamp(0) }
}

/// A fleet whose ZooKeeper is this process; none: it does not run.
fn with_zookeeper(pid: Option<u32>) -> Arc<Snapshot> {
    let mut node = NodeSnapshot::sample(NodeName::zookeeper(), NodeKind::Zookeeper, "ready", 1);
    node.process = pid.map(|pid| ProcessId { pid: i32::try_from(pid).unwrap(), start_ticks: 1, boot_id: "b".into() });
    Arc::new(Snapshot { nodes: vec![Arc::new(node)], ending: false })
}

impl Scene {
    /// Refused with these words about this session, and nobody's session was touched.
    async fn refused(&self, session: i64, words: &str) {
        match self.fence.attempt().await.unwrap() {
            Fenced::Refused(of, why) => {
                assert!(why.contains(words) && of == session, "{words:?} of {session:#x}: {why} of {of:#x}");
            }
            other => panic!("{words:?}: not refused: {other:?}"),
        }
        assert_eq!(self.zookeeper.taken_over(), [0i64; 0], "an attempt alone would harm");
        assert!(self.events().is_empty(), "{:?}", self.events());
    }

    fn events(&self) -> Vec<String> {
        self.fence.journal.since(Timestamp(0)).into_iter().map(|e| format!("{} {}", e.kind, e.text)).collect()
    }
}

#[tokio::test]
async fn the_session_of_a_broker_proven_dead_is_closed_and_told() {
    let scene = scene(&[Some(OURS)], Takeover::Closes).await;
    assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::Closed(OURS)));
    assert_eq!(scene.zookeeper.taken_over(), [OURS]);
    let told = scene.events();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("fenced ZooKeeper session 0x1000018673c0003 of broker 2 closed"), "{told:?}");
}

#[tokio::test]
async fn where_nobody_is_registered_there_is_nothing_to_close() {
    let scene = scene(&[None], Takeover::Closes).await;
    assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::NobodyThere));
    assert_eq!(scene.zookeeper.taken_over(), [0i64; 0]);
}

/// A broker whose session nobody knows yet and whose log says nothing.
fn wordless((broker, endpoint): (u32, &str)) -> Learner {
    Learner {
        node: NodeName::broker(broker),
        incarnation: Incarnation(1),
        broker,
        endpoints: vec![endpoint.to_owned()],
        known: None,
        word: OwnWord { log: "/nonexistent".into(), broker, start: LogMark::default(), started: Timestamp(0) },
    }
}

#[tokio::test]
async fn the_sessions_of_several_brokers_are_learned_in_one_session_of_ours() {
    let zookeeper = FakeZookeeper::start(&[Some(OURS)], Takeover::Closes).await;
    let elsewhere = "INTERNAL://127.0.0.1:1";
    let learners = [(1, ENDPOINT), (2, elsewhere), (3, ENDPOINT)].map(wordless);
    let mut told = Vec::new();
    let tell = |learner: Learner, session| told.push((learner.broker, session));
    zookeeper.has("/cluster/id", r#"{"version":"1","id":"X"}"#);
    zookeeper.has("/controller_epoch", "7");
    let seen = learned(zookeeper.address, learners.into(), tell).await.unwrap();
    assert_eq!(told, [(1, OURS), (3, OURS)], "of broker 2 somebody else took the name");
    assert_eq!((zookeeper.made(), zookeeper.taken_over()), (1, vec![]));
    let reached = Reached { controller_epoch: Some(7), producer_ids: Some(0) };
    assert_eq!(seen, Some(("X".to_owned(), reached)), "in the same session");
}

#[tokio::test]
async fn a_look_tells_of_each_broker_whether_its_session_is_known_and_puts_on_record_how_far_zookeeper_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    std::fs::create_dir_all(layout.state()).unwrap();
    let identities = Arc::new(Identities::open(&layout, Journal::start(&layout)));
    let zookeeper = FakeZookeeper::start(&[Some(OURS)], Takeover::Closes).await;
    zookeeper.has("/cluster/id", r#"{"version":"1","id":"X"}"#);
    zookeeper.has("/controller_epoch", "7");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let known = |what: &Happening| match what {
        Happening::Registered(_, session) => *session == OURS,
        Happening::NotRegistered => false,
        other => panic!("{other:?}"),
    };
    for (address, wanted) in [(closed, [false, false]), (zookeeper.address, [true, false])] {
        let learners = [(1, ENDPOINT), (2, "INTERNAL://127.0.0.1:1")].map(wordless);
        let (sink, mut happenings) = mpsc::unbounded_channel();
        learn_at(address, learners.into(), sink, Arc::clone(&identities)).await;
        for (broker, wanted) in (1..).zip(wanted) {
            let (node, what) = happenings.recv().await.unwrap();
            assert_eq!((node, known(&what)), (NodeName::broker(broker), wanted), "{address}");
        }
        assert!(happenings.recv().await.is_none());
        let record = identities.now();
        let epoch = record.zookeeper.and_then(|record| record.most.controller_epoch);
        assert_eq!((record.cluster.as_deref(), epoch), if wanted[0] { (Some("X"), Some(7)) } else { (None, None) });
    }
}

#[tokio::test]
async fn how_far_a_zookeeper_has_come_at_which_only_others_are_registered_is_not_told() {
    let zookeeper = FakeZookeeper::start(&[Some(OURS)], Takeover::Closes).await;
    zookeeper.has("/cluster/id", r#"{"version":"1","id":"X"}"#);
    let learner = wordless((2, "INTERNAL://127.0.0.1:1"));
    let tell = |learner: Learner, _| panic!("{learner:?}");
    assert_eq!(learned(zookeeper.address, vec![learner], tell).await.unwrap(), None);
}

#[tokio::test]
async fn a_program_on_a_port_of_the_broker_may_be_the_broker() {
    let mut scene = scene(&[Some(OURS)], Takeover::Closes).await;
    // whichever address it listens on, also on the last port of several
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let thief = TcpListener::bind(address).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        scene.fence.ports = vec![free, thief.local_addr().unwrap().port()];
        scene.refused(OURS, "listens on a port of the broker").await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_by_nobody_who_can_be_seen_is_a_doubt() {
    let mut scene = scene(&[Some(OURS)], Takeover::Closes).await;
    // bound and not listening: no row in the kernel's table of listeners (proc(5))
    let hidden = tokio::net::TcpSocket::new_v4().unwrap();
    hidden.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = hidden.local_addr().unwrap().port();
    assert!(net::is_taken(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).unwrap());
    scene.fence.ports = vec![port];
    scene.refused(OURS, &format!("a program that cannot be seen has port {port}")).await;
    drop(hidden);
    assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::Closed(OURS)));
}

#[tokio::test]
async fn a_zookeeper_that_is_not_ours_is_not_written_to() {
    let scene = scene(&[Some(OURS)], Takeover::Closes).await;
    scene.snapshots.send_replace(with_zookeeper(Some(1)));
    let us = format!("(pid {}", std::process::id());
    scene.refused(OURS, &us).await;
    scene.refused(OURS, "the ZooKeeper that answers is not the supervisor's own").await;
    scene.snapshots.send_replace(with_zookeeper(None));
    scene.refused(OURS, "the supervisor's own does not run").await;
}

#[tokio::test]
async fn a_zookeeper_that_was_started_anew_between_two_attempts_is_still_ours() {
    let scene = scene(&[Some(OURS)], Takeover::Closes).await;
    // Killed with the broker: this is asked of a run of it that is over.
    scene.snapshots.send_replace(with_zookeeper(Some(1)));
    scene.refused(OURS, "the ZooKeeper that answers is not the supervisor's own").await;
    scene.snapshots.send_replace(with_zookeeper(Some(std::process::id())));
    assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::Closed(OURS)));
}

#[tokio::test]
async fn a_tree_of_which_something_lives_is_not_dead() {
    let scene = scene(&[Some(OURS)], Takeover::Closes).await;
    let lock = fs::Lock::try_take(&scene.fence.layout.node_lock(&scene.fence.node)).unwrap();
    assert!(lock.is_some());
    scene.refused(OURS, "a process of the broker still lives").await;
}

#[tokio::test]
async fn without_an_end_on_record_and_after_another_ones_start_nothing_is_closed() {
    let mut scene = scene(&[Some(OURS)], Takeover::Closes).await;
    let end = scene.fence.end.take().unwrap();
    scene.refused(OURS, "not on record").await;
    scene.fence.end = Some(RunEnded { started: Some(Timestamp(CREATED.0 + 1)), ..end });
    scene.refused(OURS, "somebody else holds its name").await;
    scene.fence.recorded = Some(THEIRS);
    scene.refused(OURS, "somebody else holds its name").await;
}

#[tokio::test]
async fn where_the_clock_may_have_been_set_since_the_run_began_only_the_recorded_session_is_closed() {
    let mut scene = scene(&[Some(OURS)], Takeover::Closes).await;
    let ended = clock::now();
    // The end was not seen by this daemon; nor was the start of the run; or the clock was looked at only later.
    let before = Some(clock::steady_since() - Duration::from_millis(1));
    for seen in [None, Some(SeenRun { began: None, ended }), Some(SeenRun { began: before, ended })] {
        scene.fence.seen = seen;
        scene.refused(OURS, "the clock may have been set since that run began").await;
    }
    scene.fence.recorded = Some(OURS);
    assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::Closed(OURS)));
}

#[tokio::test]
async fn how_long_a_session_outlived_its_broker_is_measured_whatever_the_time_of_day_says() {
    let day = 86_400_000;
    for ended in [clock::wall().0 - day, clock::wall().0 + day] {
        let mut scene = scene(&[Some(OURS)], Takeover::Closes).await;
        scene.fence.recorded = Some(OURS);
        scene.fence.end = Some(RunEnded { started: None, ended: Timestamp(ended) });
        assert!(scene.fence.is_fresh());
        assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::Closed(OURS)));
        let told = scene.fence.journal.since(Timestamp(0));
        assert!(told[0].took_ms.is_some_and(|ms| ms < 60_000), "{told:?}");
    }
}

#[tokio::test]
async fn somebody_else_who_took_the_name_while_ours_still_ran_is_left_alone() {
    let mut scene = scene(&[Some(THEIRS)], Takeover::Closes).await;
    scene.zookeeper.is_at("INTERNAL://127.0.0.1:39999");
    // our session had expired while the broker was held up, or was not there yet
    for recorded in [Some(OURS), None] {
        scene.fence.recorded = recorded;
        scene.refused(THEIRS, "registered at INTERNAL://127.0.0.1:39999, where this broker does not listen").await;
    }
    scene.zookeeper.is_at(ENDPOINT);
    for told in [&[][..], &[MADE_BY + 1]] {
        wrote(&scene.fence.layout, &scene.fence.node, told);
        scene.refused(THEIRS, "that run's log knows nothing of this registration").await;
    }
    wrote(&scene.fence.layout, &scene.fence.node, &[MADE_BY - 1, MADE_BY]);
    assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::Closed(THEIRS)), "ours had registered again");
}

#[tokio::test]
async fn a_session_is_learned_by_the_brokers_own_word_and_without_any_word_the_first_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, node) = (Layout::new(dir.path()), NodeName::broker(2));
    let zookeeper = FakeZookeeper::start(&[Some(THEIRS)], Takeover::Closes).await;
    for (known, told, is_learned) in [
        (None, &[MADE_BY][..], true),
        (None, &[], true),
        (None, &[MADE_BY + 1], false),
        (Some(OURS), &[], false),
        (Some(OURS), &[MADE_BY - 1], false),
        (Some(OURS), &[MADE_BY - 1, MADE_BY], true),
        (Some(THEIRS), &[], true),
    ] {
        let learner = Learner {
            node: node.clone(),
            incarnation: Incarnation(1),
            broker: 2,
            endpoints: vec![ENDPOINT.to_owned()],
            known,
            word: wrote(&layout, &node, told),
        };
        let mut learned_now = None;
        learned(zookeeper.address, vec![learner], |_, session| learned_now = Some(session)).await.unwrap();
        assert_eq!(learned_now, is_learned.then_some(THEIRS), "{known:?} {told:?}");
    }
}

#[tokio::test]
async fn a_session_that_changes_between_two_reads_is_left_alone() {
    let looked = scene(&[Some(OURS), Some(THEIRS)], Takeover::Closes).await;
    looked.refused(THEIRS, "another session took the broker's name just now").await;
    let gone = scene(&[Some(OURS), None], Takeover::Closes).await;
    assert!(matches!(gone.fence.attempt().await.unwrap(), Fenced::NobodyThere));
    assert_eq!(gone.zookeeper.taken_over(), [0i64; 0]);
}

#[tokio::test]
async fn a_close_that_zookeeper_does_not_carry_out_is_not_called_one() {
    for takeover in [Takeover::Expired, Takeover::Refuses] {
        let held = scene(&[Some(OURS)], takeover).await;
        match held.fence.attempt().await.unwrap() {
            Fenced::Refused(OURS, why) => assert!(why.contains("close session 0x1000018673c0003"), "{why}"),
            other => panic!("{takeover:?}: {other:?}"),
        }
        assert!(held.events().is_empty(), "{:?}", held.events());
        // it went by itself meanwhile: gone, and nothing that is ours to tell
        let gone = scene(&[Some(OURS), Some(OURS), None], takeover).await;
        assert!(matches!(gone.fence.attempt().await.unwrap(), Fenced::NobodyThere), "{takeover:?}");
        assert!(gone.events().is_empty());
    }
}

#[tokio::test]
async fn a_zookeeper_that_does_not_answer_leaves_it_unknown() {
    let mut scene = scene(&[Some(OURS)], Takeover::Closes).await;
    scene.fence.zookeeper = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(scene.fence.attempt().await.is_err());
    assert_eq!(scene.zookeeper.taken_over(), [0i64; 0]);
}

#[tokio::test]
async fn who_held_the_name_while_a_run_was_refused_it_is_not_that_run() {
    let mut scene = scene(&[Some(THEIRS)], Takeover::Closes).await;
    let exit = |cause| LastExit {
        incarnation: Incarnation(3),
        status: crate::base::ExitStatus::Code(1),
        cause,
        at: Timestamp(CREATED.0 + 1),
        oom_by: None,
        ran_ms: Some(2),
    };
    scene.fence.end = Some(run_ended(&exit(Cause::OldSession)));
    scene.refused(THEIRS, "not the session that was recorded").await;
    // that of the run before it, which is on record, is
    scene.fence.recorded = Some(THEIRS);
    assert!(matches!(scene.fence.attempt().await.unwrap(), Fenced::Closed(THEIRS)));
    assert_eq!(run_ended(&exit(Cause::Crashed)).started, Some(Timestamp(CREATED.0 - 1)));
}
