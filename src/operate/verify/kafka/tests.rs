//! Listeners that tell the truth and listeners that lie, in front of librdkafka's mock brokers.

use super::*;
use crate::{
    clients::kafka::Partition,
    operate::liars::{addresses, cluster, liars, port},
};
use std::sync::Mutex;
use tokio::net::TcpListener;

const SHORT: Duration = Duration::from_secs(2);

async fn looked_through(address: SocketAddr, brokers: &[SocketAddr]) -> Vec<(String, Option<String>)> {
    let advertised =
        (1..).zip(brokers).map(|(id, a)| Broker { id, host: "127.0.0.1".into(), port: a.port() }).collect();
    let listener = Listener { name: "EXTERNAL", address, advertised: Arc::new(advertised) };
    let mut checks = Checks { part: "kafka", all: Vec::new() };
    through(&listener, SHORT, &mut checks).await;
    checks.all.into_iter().map(|c| (c.what, c.wrong.map(|w| w.found))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_tells_the_truth_lets_a_record_through_to_each_partition() {
    let cluster = cluster();
    let brokers = addresses(&cluster.bootstrap_servers());
    for address in &brokers {
        let found = looked_through(*address, &brokers).await;
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|(_, wrong)| wrong.is_none()), "{found:?}");
        assert!(found[1].0.starts_with(&format!("a client of port {} alone", address.port())), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_advertises_another_port_is_named_and_its_partition_is_not_reached() {
    let cluster = cluster();
    let brokers = addresses(&cluster.bootstrap_servers());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let liars = liars(&brokers, vec![(port(brokers[1]), port(nobody))]).await;
    let found = looked_through(liars[0], &liars).await;
    let (advertises, goes) = (found[0].1.clone().unwrap(), found[1].1.clone().unwrap());
    assert!(advertises.contains(&format!("2 at 127.0.0.1:{}", nobody.port())), "{advertises}");
    assert!(goes.contains(&format!("write a record to {TOPIC}-")), "{goes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_advertises_another_host_is_named() {
    let cluster = cluster();
    let brokers = addresses(&cluster.bootstrap_servers());
    let liars = liars(&brokers, vec![(b"127.0.0.1".to_vec(), b"127.9.9.9".to_vec())]).await;
    let found = looked_through(liars[2], &liars).await;
    assert!(found[0].1.as_ref().unwrap().starts_with("1 at 127.9.9.9:"), "{found:?}");
    assert!(found[1].1.is_some(), "nobody listens there: {found:?}");
}

#[tokio::test]
async fn a_listener_that_does_not_answer_fails_both_checks_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let found = looked_through(nobody, &[nobody]).await;
    assert!(found.iter().all(|(_, wrong)| wrong.is_some()) && found.len() == 2, "{found:?}");
}

fn targets(internal: &[SocketAddr]) -> KafkaTargets {
    crate::operate::liars::targets(internal, &[9092, 9093, 9094].map(|port| SocketAddr::from(([127, 0, 0, 1], port))))
}

#[test]
fn every_listener_is_looked_at_against_those_of_its_name() {
    let internal = [29092, 29093, 29094].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let all = listeners(&targets(&internal));
    let words: Vec<String> = all.iter().map(|l| format!("{} {}", l.name, l.address.port())).collect();
    assert_eq!(
        words,
        ["EXTERNAL 9092", "EXTERNAL 9093", "EXTERNAL 9094", "INTERNAL 29092", "INTERNAL 29093", "INTERNAL 29094"]
    );
    assert_eq!(places(&all[1].advertised), "1 at localhost:9092, 2 at localhost:9093, 3 at localhost:9094");
    assert_eq!(places(&all[3].advertised), "1 at 127.0.0.1:29092, 2 at 127.0.0.1:29093, 3 at 127.0.0.1:29094");
}

fn topic(leaders: &[Option<u32>], preferred: &[u32]) -> Topic {
    let partition = |((id, leader), first): ((u32, &Option<u32>), &u32)| {
        let replicas = vec![*first, 7];
        Partition { id, leader: *leader, isr: replicas.clone(), replicas }
    };
    let partitions = (0..).zip(leaders).zip(preferred).map(partition).collect();
    Topic { name: TOPIC.into(), error: None, partitions }
}

#[test]
fn leaders_on_fewer_brokers_than_there_could_be_are_crowded() {
    let brokers = [1, 2, 3];
    assert_eq!(crowded(&topic(&[Some(1), Some(2), Some(3)], &[1, 2, 3]), &brokers), None);
    let home = topic(&[Some(3), Some(1)], &[3, 1]);
    assert_eq!(crowded(&home, &brokers), None, "two partitions have two leaders");
    assert_eq!(on(&home, &brokers), "brokers 1 and 3");
    assert_eq!(crowded(&topic(&[Some(7), Some(7), Some(7)], &[7, 7, 7]), &[7]), None, "one broker");
    for (leaders, preferred, words) in [
        ([Some(2), Some(2), Some(3)], [1, 2, 3], "brokers 2 and 3 lead; preferred are 1, 2 and 3"),
        ([Some(1), Some(1), Some(1)], [1, 1, 1], "broker 1 leads alone, as its replicas are assigned"),
        ([None, None, None], [1, 2, 3], "nobody leads; preferred are 1, 2 and 3"),
    ] {
        assert_eq!(crowded(&topic(&leaders, &preferred), &brokers).as_deref(), Some(words));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crowded_leaders_are_waited_for_and_then_a_failed_check() {
    let cluster = cluster();
    let brokers = addresses(&cluster.bootstrap_servers());
    for partition in 0..3 {
        cluster.partition_leader(TOPIC, partition, Some(1)).unwrap();
    }
    let looks = async |brought_home: bool, within: Duration| {
        let told = Mutex::new(Vec::new());
        let mut checks = Checks { part: "kafka", all: Vec::new() };
        let targets = KafkaTargets { brought_home, ..targets(&brokers) };
        spread(&targets, within, &mut checks, &mut |line| told.lock().unwrap().push(line)).await;
        (checks.all.remove(0), told.into_inner().unwrap())
    };
    let look = async |within| looks(true, within).await;
    // nobody moves them: what is seen is what stays, and a wait for it would be told
    let (check, told) = looks(false, HOME_WITHIN).await;
    let wrong = check.wrong.unwrap();
    assert!(wrong.found.starts_with("broker 1 leads alone") && told.is_empty(), "{wrong:?} {told:?}");
    assert!(wrong.expected.ends_with("back: auto.leader.rebalance.enable is false"), "{wrong:?}");
    let (check, told) = look(Duration::from_millis(700)).await;
    assert!(check.wrong.unwrap().found.starts_with("broker 1 leads alone"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("waiting for leaders to come home: broker 1 leads alone"), "{told:?}");
    for (partition, leader) in [(1, 2), (2, 3)] {
        cluster.partition_leader(TOPIC, partition, Some(leader)).unwrap();
    }
    let (check, told) = look(SHORT).await;
    assert_eq!(
        (check.what.as_str(), check.wrong, told),
        ("leaders of test-phase1 on brokers 1, 2 and 3", None, vec![])
    );
    let mut checks = Checks { part: "kafka", all: Vec::new() };
    spread(&targets(&[]), Duration::ZERO, &mut checks, &mut |_| ()).await;
    assert_eq!(checks.all.remove(0).wrong.unwrap().found, "no listener is configured");
}
