//! The wait for an old session that nobody closes (`kafka.fencing = false`), and what keeps a broker from its start beside a ZooKeeper of
//! the right cluster.

use super::*;
use crate::{
    base::{programs::Programs, recipe::BrokerIdentity},
    config,
    engine::fence::fake_zookeeper::{FakeZookeeper, Takeover},
    services::{self, identity::Reached},
};

fn preparing(root: &std::path::Path) -> (Preparing, mpsc::UnboundedReceiver<(NodeName, Happening)>) {
    let source = config::Source {
        text: "[command.a]\nargv = [\"/bin/true\"]\n",
        name: "t",
        root_override: Some(root.to_owned()),
        default_root: "/r".into(),
    };
    let plan = config::load(&source).unwrap();
    let layout = Layout::new(root);
    std::fs::create_dir_all(layout.state()).unwrap();
    let inputs = services::Inputs {
        plan: &plan,
        programs: &Programs::default(),
        layout: &layout,
        cores: 1,
        running_as_root: false,
    };
    let recipe = Arc::new(services::recipes(&inputs).unwrap().remove(0));
    let journal = Journal::start(&layout);
    let (sink, happenings) = mpsc::unbounded_channel();
    let preparing = Preparing {
        identities: Arc::new(identity::Identities::open(&layout, journal.clone())),
        layout,
        node: NodeName::broker(2),
        recipe,
        number: 1,
        cancel: Cancel::default(),
        sink,
        journal,
        disk: Arc::new(Guard::new(&plan)),
        fence: None,
        limits: None,
        found: Arc::default(),
    };
    (preparing, happenings)
}

#[tokio::test]
async fn without_fencing_the_old_session_is_waited_for_with_a_countdown_and_not_touched() {
    const OLD: i64 = 0x0100_0018_673c_0003;
    let dir = tempfile::tempdir().unwrap();
    let (preparing, mut happenings) = preparing(dir.path());
    // it goes when it has been looked at often enough for a second to pass
    let mut looks = vec![Some(OLD); 6];
    looks.push(None);
    let zookeeper = FakeZookeeper::start(&looks, Takeover::Closes).await;
    preparing.await_session_gone(zookeeper.address, 2, Duration::from_secs(16), None).await.unwrap();
    assert_eq!(zookeeper.taken_over(), [0i64; 0], "nobody may close it");
    drop(preparing);
    let mut told = Vec::new();
    while let Some((_, happening)) = happenings.recv().await {
        match happening {
            Happening::Prepared(1, Event::Held(Hold::OldSession { why })) => told.push(why),
            other => panic!("{other:?}"),
        }
    }
    let left = |why: &String| -> u64 {
        let seconds = why.strip_prefix("old session 0x1000018673c0003 of broker 2 expires in up to ");
        seconds.and_then(|text| text.strip_suffix(" s")?.parse().ok()).unwrap_or_else(|| panic!("{why}"))
    };
    let left: Vec<u64> = told.iter().map(left).collect();
    assert!(left.is_sorted_by(|a, b| a >= b) && left[0] <= 16 && left[5] < left[0], "it counts down: {told:?}");
}

#[tokio::test]
async fn a_broker_is_kept_from_an_earlier_state_of_its_zookeeper_and_the_furthest_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (preparing, _happenings) = preparing(dir.path());
    let zookeeper = FakeZookeeper::start(&[None], Takeover::Closes).await;
    let data = dir.path().join("b2");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("meta.properties"), "version=0\nbroker.id=2\ncluster.id=X\n").unwrap();
    let step = BrokerIdentity {
        broker: 2,
        brokers: vec![(2, data)],
        zookeeper: zookeeper.address,
        zookeeper_data: "/zk".into(),
    };
    let has = |epoch: &str, last_id: &str| {
        zookeeper.has("/controller_epoch", epoch);
        zookeeper.has("/latest_producer_id_block", &format!(r#"{{"version":1,"broker":2,"block_end":"{last_id}"}}"#));
    };
    let remembers = |epoch, ids| {
        let record = preparing.identities.now();
        let most = Reached { controller_epoch: Some(epoch), producer_ids: Some(ids) };
        assert_eq!(record.zookeeper.map(|record| record.most), Some(most), "{record:?}");
    };
    zookeeper.has("/cluster/id", r#"{"version":"1","id":"X"}"#);
    for (epoch, ids) in [("5", "999"), ("5", "1999"), ("6", "1999")] {
        has(epoch, ids);
        preparing.broker_identity(&step).await.unwrap();
    }
    remembers(6, 1999);
    for (epoch, ids) in [("5", "1999"), ("6", "999")] {
        has(epoch, ids);
        let Err(PrepareError::Refused(failure)) = preparing.broker_identity(&step).await else {
            panic!("{epoch} {ids}")
        };
        let now = format!("controller epoch {epoch}, producer ids up to {ids}, where this root");
        assert!(
            failure.what.contains(&now)
                && failure.what.contains("has seen controller epoch 6, producer ids up to 1999 (")
        );
        remembers(6, 1999);
    }
    // What a restore of ours does, and whoever brought back all of it.
    std::fs::remove_file(preparing.identities.path()).unwrap();
    has("4", "999");
    preparing.broker_identity(&step).await.unwrap();
    remembers(4, 999);
}

#[test]
fn who_outlives_every_session_of_ours_is_told_as_another_broker() {
    let said = |left, doubt, at| held_by(0x77, 2, Duration::from_secs(left), Duration::from_secs(16), doubt, at);
    assert_eq!(said(3, None, None), "old session 0x77 of broker 2 expires in up to 3 s");
    assert!(said(3, Some("a doubt"), None).ends_with("3 s and is not closed before: a doubt"));
    let other = said(0, Some("a doubt"), Some("INTERNAL://10.0.0.7:29093"));
    assert!(other.contains("longer than the 16.0 s after which one of ours expires"), "{other}");
    assert!(other.contains("another broker at INTERNAL://10.0.0.7:29093 runs with this id; stop it"), "{other}");
}
