//! Kafka: our own metadata request and the librdkafka client against librdkafka's mock brokers, and against strangers.

use crate::fake;
use cdc_supervisor::clients::{
    ClientError,
    kafka::{Admin, listener_metadata},
};
use rdkafka::mocking::MockCluster;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

fn listeners(cluster: &MockCluster<'_, impl rdkafka::ClientContext>) -> Vec<SocketAddr> {
    cluster.bootstrap_servers().split(',').map(|a| a.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_listener_tells_brokers_and_replicas_and_is_known_by_its_port() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("orders", 3, 3).unwrap();
    let listeners = listeners(&cluster);
    for (address, id) in listeners.iter().zip(1..) {
        let view = listener_metadata(*address, LIMIT).await.unwrap();
        assert_eq!(view.broker_ids(), [1, 2, 3]);
        assert_eq!(view.answering, Some(id));
        let orders = view.topic("orders").unwrap();
        assert_eq!(orders.partitions.iter().map(|p| p.id).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(orders.partitions.iter().all(|p| p.replicas.len() == 3 && p.leader.is_some()));
    }
}

#[tokio::test]
async fn records_go_through_each_partition_without_a_group() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 2, 1).unwrap();
    let admin = Admin::new(&listeners(&cluster)).unwrap();
    let mut places = Vec::new();
    for (partition, payload) in [(0, b"zero"), (1, b"ones")] {
        places.push(admin.produce("orders", Some(partition), payload, LIMIT).await.unwrap());
    }
    assert_eq!(places, [(0, 0), (1, 0)]);
    let mut read = admin.consume_from("orders", &places, 2, LIMIT).await.unwrap();
    read.sort_by_key(|r| r.partition);
    let payloads: Vec<&[u8]> = read.iter().map(|r| r.payload.as_slice()).collect();
    assert_eq!(payloads, [&b"zero"[..], b"ones"]);
    // asked for more than there is: what came, when the time is over
    assert_eq!(admin.consume_from("orders", &places, 3, Duration::from_secs(2)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_admin_describes_through_the_first_listener_that_answers() {
    let cluster = MockCluster::new(1).unwrap();
    let mut addresses = vec![fake::closed_port().await];
    addresses.extend(listeners(&cluster));
    assert_eq!(Admin::new(&addresses).unwrap().describe(LIMIT).await.unwrap().broker_ids(), [1]);
    assert!(Admin::new(&addresses[..1]).unwrap().describe(LIMIT).await.unwrap_err().is_refused());
}

#[tokio::test]
async fn strangers_on_a_broker_port_are_told_apart() {
    let e = listener_metadata(fake::closed_port().await, LIMIT).await.unwrap_err();
    assert!(e.is_refused(), "{e}");
    let e = listener_metadata(fake::says(b"").await.address, LIMIT).await.unwrap_err();
    assert!(matches!(e, ClientError::Closed { .. }), "{e}");
    let e = listener_metadata(fake::says(b"SSH-2.0-OpenSSH_9.6\r\n").await.address, LIMIT).await.unwrap_err();
    assert!(matches!(e, ClientError::Malformed { .. }), "{e}");
    // a whole frame that is no metadata, and one that ends early
    let e = listener_metadata(fake::says([0, 0, 0, 4, 0, 0, 0, 9]).await.address, LIMIT).await.unwrap_err();
    assert!(e.to_string().ends_with("its answer is to request 9, ours was 1"), "{e}");
    let e = listener_metadata(fake::says([0, 0, 0, 9, 0, 0, 0, 1]).await.address, LIMIT).await.unwrap_err();
    assert!(matches!(e, ClientError::Closed { .. }), "{e}");
}

#[tokio::test]
async fn a_frozen_broker_costs_no_more_than_the_time_given() {
    let server = fake::silent().await;
    let before = Instant::now();
    let e = listener_metadata(server.address, SHORT).await.unwrap_err();
    assert!(matches!(e, ClientError::TimedOut { .. }), "{e}");
    let admin = Admin::new(&[server.address]).unwrap();
    assert!(matches!(admin.produce("t", Some(0), b"x", SHORT).await, Err(ClientError::TimedOut { .. })));
    assert_eq!(admin.consume_from("t", &[(0, 0)], 1, SHORT).await.unwrap(), []);
    let config = admin.topic_config("t", SHORT).await;
    assert!(matches!(config, Err(ClientError::TimedOut { .. })), "{config:?}");
    assert!(before.elapsed() < LIMIT, "{:?}", before.elapsed());
}
