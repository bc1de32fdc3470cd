//! The wait for an old session that nobody closes (`kafka.fencing = false`).

use super::*;
use crate::{
    base::programs::Programs,
    config,
    engine::fence::fake_zookeeper::{FakeZookeeper, Takeover},
    services,
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

#[test]
fn who_outlives_every_session_of_ours_is_told_as_another_broker() {
    let said = |left, doubt, at| held_by(0x77, 2, Duration::from_secs(left), Duration::from_secs(16), doubt, at);
    assert_eq!(said(3, None, None), "old session 0x77 of broker 2 expires in up to 3 s");
    assert!(said(3, Some("a doubt"), None).ends_with("3 s and is not closed before: a doubt"));
    let other = said(0, Some("a doubt"), Some("INTERNAL://10.0.0.7:29093"));
    assert!(other.contains("longer than the 16.0 s after which one of ours expires"), "{other}");
    assert!(other.contains("another broker at INTERNAL://10.0.0.7:29093 runs with this id; stop it"), "{other}");
}
