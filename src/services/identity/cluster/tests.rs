//! The table: {ZooKeeper empty, X} x {each broker empty, X, Y} x {record none, X, Y}, and what it says.

use super::*;
use crate::base::Timestamp;

const META: &str = "#\n#Mon Nov 23 03:07:55 UTC 2026\nbroker.id=2\nversion=0\ncluster.id=Gg0YLaCaRNmYWWnhG1sHQA\n";

fn data(broker: u32, cluster: &str) -> Found {
    Found::Data { cluster: cluster.into(), broker, topics: 0 }
}

/// `-` is empty, another letter a cluster.
fn brokers(letters: [char; 3]) -> Vec<BrokerData> {
    (1..)
        .zip(letters)
        .map(|(broker, letter)| BrokerData {
            broker,
            path: format!("/b{broker}").into(),
            found: if letter == '-' { Found::Empty } else { data(broker, &letter.to_string()) },
        })
        .collect()
}

fn view(id: Option<&str>, topics: usize, registered: &[u32]) -> ClusterView {
    ClusterView {
        id: id.map(str::to_owned),
        topics: Some(topics),
        registered: registered.iter().copied().collect(),
        ..ClusterView::default()
    }
}

fn judge(broker: u32, brokers: &[BrokerData], zookeeper: &ClusterView, recorded: Option<&str>) -> Judgement {
    judge_broker(&BrokerFacts {
        broker,
        brokers,
        zookeeper,
        zookeeper_data: Path::new("/zk"),
        recorded,
        recorded_own: recorded.is_some(),
        recorded_reached: None,
        record: Path::new("/r/state/identity.json"),
    })
}

/// `start`, `note`, `later` or `refuse`.
fn word(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::Start { notes } if notes.is_empty() => "start",
        Judgement::Start { .. } => "note",
        Judgement::Later { .. } => "later",
        Judgement::Refuse(_) => "refuse",
    }
}

fn failure(judgement: Judgement) -> Failure {
    let Judgement::Refuse(failure) = judgement else { panic!("{judgement:?}") };
    assert_eq!(failure.cause, Cause::WrongIdentity);
    failure
}

#[test]
fn the_whole_table_holds_its_rules() {
    let letters = ['-', 'X', 'Y'];
    let each = || letters.into_iter().flat_map(move |a| letters.into_iter().map(move |b| (a, b)));
    for zookeeper in [None, Some("X")] {
        for ((a, b), c) in each().flat_map(|ab| letters.into_iter().map(move |c| (ab, c))) {
            for (recorded, topics) in
                [(None, 0), (None, 4), (Some("X"), 0), (Some("X"), 4), (Some("Y"), 0), (Some("Y"), 4)]
            {
                let got = judge(1, &brokers([a, b, c]), &view(zookeeper, topics, &[]), recorded);
                let any_data = [a, b, c].iter().any(|l| *l != '-');
                let wanted = match (zookeeper, a) {
                    // nobody knows a cluster: any data, or a memory of it, is a mismatch
                    (None, _) if any_data || recorded.is_some() => "refuse",
                    (None, _) => "start",
                    (Some(_), 'Y') => "refuse",
                    (Some(_), 'X') if recorded == Some("Y") => "note",
                    (Some(_), 'X') => "start",
                    (Some(_), _) if topics == 0 => "start",
                    // empty under a ZooKeeper with topics: behind those that have data, or not at all
                    (Some(_), _) if b == 'X' || c == 'X' => "later",
                    (Some(_), _) => "refuse",
                };
                assert_eq!(word(&got), wanted, "{zookeeper:?} {a}{b}{c} {recorded:?} {topics}: {got:?}");
            }
        }
    }
}

#[test]
fn an_emptied_zookeeper_is_explained_with_ids_paths_and_ways_out() {
    let failure = failure(judge(1, &brokers(['X', 'X', '-']), &view(None, 0, &[]), Some("X")));
    let what = ["ZooKeeper's data (/zk) knows no cluster", "broker-1's data (/b1) belongs to cluster X", "/b2"];
    for part in what.into_iter().chain(["remembers cluster X"]) {
        assert!(failure.what.contains(part), "{part}: {}", failure.what);
    }
    let ways = ["restore ZooKeeper's data", "empty /zk, /b1, /b2, /b3 together", "remove /r/state/identity.json"];
    for part in ways.into_iter().chain(["never edit"]) {
        assert!(failure.remedy.contains(part), "{part}: {}", failure.remedy);
    }
}

#[test]
fn an_empty_broker_is_no_way_around_an_emptied_zookeeper() {
    let failure = failure(judge(3, &brokers(['X', 'X', '-']), &view(None, 0, &[]), None));
    assert!(failure.what.contains("would make a new cluster id"), "{}", failure.what);
}

#[test]
fn the_stranger_is_named_by_the_record_or_by_the_majority() {
    let guess = |letters, recorded| failure(judge(1, &brokers(letters), &view(Some("X"), 4, &[]), recorded)).what;
    assert!(guess(['Y', 'X', 'X'], Some("X")).ends_with("brought from another cluster"));
    assert!(guess(['Y', 'X', 'X'], None).ends_with("brought from another cluster"));
    assert!(guess(['Y', 'Y', 'Y'], Some("Y")).contains("ZooKeeper's data was probably replaced"));
    assert!(guess(['Y', 'Y', 'Y'], None).contains("ZooKeeper's data was probably replaced"));
    let what = guess(['Y', 'X', 'X'], Some("X"));
    assert!(
        what.starts_with("broker-1's data (/b1) belongs to cluster Y, ZooKeeper's data (/zk) to cluster X"),
        "{what}"
    );
}

#[test]
fn swapped_directories_name_each_other_and_the_third_broker_starts() {
    let mut all = brokers(['X', 'X', 'X']);
    (all[0].found, all[1].found) = (data(2, "X"), data(1, "X"));
    let zookeeper = view(Some("X"), 4, &[]);
    let failure = failure(judge(1, &all, &zookeeper, Some("X")));
    assert_eq!(
        failure.what,
        "broker-1's data (/b1) is that of broker 2: its meta.properties says broker.id=2, the plan says 1; broker-2's data \
         (/b2) holds that of broker-1: the two are swapped"
    );
    assert_eq!(word(&judge(2, &all, &zookeeper, Some("X"))), "refuse");
    assert_eq!(word(&judge(3, &all, &zookeeper, Some("X"))), "start");
}

#[test]
fn an_emptied_broker_starts_behind_those_that_have_data_and_says_so() {
    let all = brokers(['-', 'X', 'X']);
    let Judgement::Later { why } = judge(1, &all, &view(Some("X"), 4, &[3]), Some("X")) else { panic!() };
    assert!(why.starts_with("its data (/b1) is empty: it starts behind broker-2,"), "{why}");
    let Judgement::Start { notes } = judge(1, &all, &view(Some("X"), 4, &[2, 3]), Some("X")) else { panic!() };
    assert_eq!(
        notes,
        [
            "broker-1's data (/b1) is empty, and it had data of cluster X before: it fetches its replicas from broker-2, \
          broker-3 again"
        ]
    );
    let new = judge(1, &all, &view(Some("X"), 4, &[2, 3]), None);
    assert_eq!(word(&new), "start", "a broker that never had data is no news");
}

#[test]
fn the_first_start_of_three_brokers_at_once_is_not_mistaken_for_a_loss() {
    // the first broker has written its id to ZooKeeper, and not yet, or just now, into its directory
    for letters in [['-', '-', '-'], ['X', '-', '-'], ['X', 'X', '-']] {
        for recorded in [None, Some("X")] {
            let got = judge(3, &brokers(letters), &view(Some("X"), 0, &[1]), recorded);
            assert_eq!(word(&got), "start", "{letters:?}");
        }
    }
}

#[test]
fn data_that_does_not_say_whose_it_is_is_refused() {
    let mut all = brokers(['X', 'X', 'X']);
    let zookeeper = view(Some("X"), 4, &[]);
    all[0].found = Found::Unnamed { partitions: 7 };
    assert!(failure(judge(1, &all, &zookeeper, None)).what.contains("7 partitions and no meta.properties"));
    all[0].found = Found::Unclear { why: "it has no cluster.id".into() };
    assert!(failure(judge(1, &all, &zookeeper, None)).what.contains("no cluster.id"));
    all[0].found = Found::Kraft;
    let Judgement::Refuse(failure) = judge(1, &all, &zookeeper, None) else { panic!() };
    assert_eq!(failure.cause, Cause::NewerData);
    assert_eq!(word(&judge(2, &all, &view(None, 0, &[]), None)), "refuse", "it counts as data for the others");
}

#[test]
fn all_gone_is_not_replaced_by_an_empty_cluster_unasked() {
    let failure = failure(judge(1, &brokers(['-', '-', '-']), &view(None, 0, &[]), Some("X")));
    assert!(failure.what.contains("all data of cluster X is gone"), "{failure:?}");
    assert!(failure.remedy.contains("remove /r/state/identity.json"), "{}", failure.remedy);
}

#[test]
fn files_are_read_as_kafka_writes_them() {
    assert_eq!(meta_properties(META), data(2, "Gg0YLaCaRNmYWWnhG1sHQA"));
    assert_eq!(meta_properties(&META.replace("version=0", "version=1")), Found::Kraft);
    for text in ["version=0\nbroker.id=1\n", "version=0\ncluster.id=a\nbroker.id=one\n", ""] {
        assert!(matches!(meta_properties(text), Found::Unclear { .. }), "{text:?}");
    }
    let first = [".lock", "cleaner-offset-checkpoint", "recovery-point-offset-checkpoint", "lost+found", "-1"];
    assert_eq!(found(None, first.into_iter()), Found::Empty);
    let partitions = ["test-phase1-0", "__consumer_offsets-12"];
    assert_eq!(found(None, partitions.into_iter()), Found::Unnamed { partitions: 2 });
    assert_eq!(found(Some(META), [].into_iter()), data(2, "Gg0YLaCaRNmYWWnhG1sHQA"));
    let id = cluster_id(br#"{"version":"1","id":"Gg0YLaCaRNmYWWnhG1sHQA"}"#);
    assert_eq!(id.unwrap(), "Gg0YLaCaRNmYWWnhG1sHQA");
    assert_eq!(cluster_id(b"nonsense"), None);
}

#[test]
fn a_zookeeper_that_has_forgotten_the_topics_of_full_brokers_is_refused() {
    let full = |broker, topics| BrokerData {
        broker,
        path: format!("/b{broker}").into(),
        found: Found::Data { cluster: "X".into(), broker, topics },
    };
    let empty = BrokerData { broker: 3, path: "/b3".into(), found: Found::Empty };
    let all = [full(1, 0), full(2, 4), empty];
    for broker in 1..=3 {
        let refused = failure(judge(broker, &all, &view(Some("X"), 0, &[]), Some("X")));
        assert!(refused.what.contains("broker-2's data (/b2) holds partitions of 4 topics"), "{}", refused.what);
        assert!(refused.remedy.contains("restore ZooKeeper's data") && refused.remedy.contains("start anew"));
    }
    // it knows some, and not all
    let refused = failure(judge(2, &all, &view(Some("X"), 3, &[]), Some("X")));
    assert!(refused.what.contains("4 topics, and ZooKeeper's data (/zk) knows 3 of cluster X"), "{}", refused.what);
    assert!(
        refused.remedy.contains("restore ZooKeeper's data")
            && refused.remedy.contains("deleted while broker-2 was away")
    );
    assert_eq!(judge(2, &all, &view(Some("X"), 4, &[]), Some("X")), Judgement::start());
    // a cluster in which no topic was ever made
    assert_eq!(judge(1, &[full(1, 0)], &view(Some("X"), 0, &[]), Some("X")), Judgement::start());
    // the directory of another cluster says nothing about this one
    let foreign =
        BrokerData { broker: 2, path: "/b2".into(), found: Found::Data { cluster: "Y".into(), broker: 2, topics: 9 } };
    assert_eq!(judge(1, &[full(1, 0), foreign], &view(Some("X"), 0, &[]), Some("X")), Judgement::start());
}

#[test]
fn a_zookeeper_that_is_behind_what_this_root_has_seen_of_it_is_refused_with_both_and_when() {
    let reached = |epoch, ids| Reached { controller_epoch: Some(epoch), producer_ids: Some(ids) };
    let all = brokers(['X', 'X', '-']);
    let judge = |broker, now: Reached, recorded, most: Option<Reached>| {
        judge_broker(&BrokerFacts {
            broker,
            brokers: &all,
            zookeeper: &ClusterView { reached: now, ..view(Some("X"), 4, &[1, 2]) },
            zookeeper_data: Path::new("/zk"),
            recorded,
            recorded_own: true,
            recorded_reached: most.map(|most| ReachedRecord { most, seen: Timestamp(1_763_867_279_042) }),
            record: Path::new("/r/state/identity.json"),
        })
    };
    for (broker, now) in [(1, reached(6, 1999)), (2, reached(7, 999)), (3, reached(6, 999))] {
        let refused = failure(judge(broker, now, Some("X"), Some(reached(7, 1999))));
        let seen = "this root (/r/state/identity.json) has seen controller epoch 7, producer ids up to 1999 (2025-11-23T03:07:59.042Z)";
        for part in ["(/zk) knows an earlier state of cluster X", &now.words(), seen, "records that they do not keep"] {
            assert!(refused.what.contains(part), "{part}: {}", refused.what);
        }
        let ways = [
            "restore ZooKeeper's data from the snapshot",
            "earlier moment, too, remove /r/state/identity.json and start",
        ];
        for part in ways.into_iter().chain(["empty /zk, /b1, /b2, /b3 together"]) {
            assert!(refused.remedy.contains(part), "{part}: {}", refused.remedy);
        }
    }
    let further = [(reached(7, 1999), Some(reached(7, 1999))), (reached(8, 1999), Some(reached(7, 1999)))];
    for (now, most) in further.into_iter().chain([(reached(1, 0), None), (Reached::default(), Some(reached(7, 1999)))])
    {
        assert_eq!(judge(1, now, Some("X"), most), Judgement::start(), "{now:?} {most:?}");
    }
    let of_another = judge(1, reached(1, 0), Some("Y"), Some(reached(7, 1999)));
    assert_eq!(word(&of_another), "note", "what was seen of another cluster says nothing");
}

#[test]
fn topics_are_counted_by_their_partitions() {
    let names =
        ["orders-0", "orders-1", "a-b-12", "gone-0.uuid-delete", "recovery-point-offset-checkpoint", "meta.properties"];
    let cluster = "Gg0YLaCaRNmYWWnhG1sHQA".to_owned();
    assert_eq!(found(Some(META), names.into_iter()), Found::Data { cluster, broker: 2, topics: 2 });
}
