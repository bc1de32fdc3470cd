//! Kafka: our own metadata request and the librdkafka client against librdkafka's mock brokers, and against strangers.

use crate::fake;
use cdc_supervisor::clients::{
    ClientError,
    kafka::{Admin, ByTopic, ahead_of_followers, elect_preferred, listener_metadata, min_isr},
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

/// A broker that gives these answers, one a connection and then the last one again.
async fn answers(frames: Vec<Vec<u8>>) -> fake::Fake {
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    fake::server(move |mut stream| {
        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).min(frames.len() - 1);
        let frame = frames[at].clone();
        async move {
            if fake::read_frame(&mut stream).await.is_some() {
                fake::write_frame(&mut stream, &frame).await;
            }
        }
    })
    .await
}

fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// An answer to ListOffsets: one partition, its end.
fn end(offset: i64) -> Vec<u8> {
    let head = [1i32, 1].map(i32::to_be_bytes).concat();
    let partition =
        [&1i32.to_be_bytes()[..], &0i32.to_be_bytes(), &[0, 0], &(-1i64).to_be_bytes(), &offset.to_be_bytes()];
    [head, text("t"), partition.concat()].concat()
}

#[tokio::test]
async fn a_leader_that_is_ahead_of_what_its_followers_confirmed_is_told_apart() {
    let asked = ByTopic::from([("t".to_owned(), vec![0])]);
    for (ends, ahead) in [((7, 7), 0), ((7, 9), 0), ((9, 7), 1)] {
        let broker = answers(vec![end(ends.0), end(ends.1)]).await;
        assert_eq!(ahead_of_followers(broker.address, &asked, LIMIT).await.unwrap().len(), ahead, "{ends:?}");
    }
    // nothing is asked where nothing is to be asked
    let nobody = fake::closed_port().await;
    assert!(ahead_of_followers(nobody, &ByTopic::new(), LIMIT).await.unwrap().is_empty());
    assert!(min_isr(nobody, &[], LIMIT).await.unwrap().is_empty());
    assert!(min_isr(nobody, &["t"], LIMIT).await.unwrap_err().is_refused());
}

#[tokio::test]
async fn an_election_that_is_refused_as_a_whole_is_an_error_with_the_brokers_reason() {
    let refused = [&1i32.to_be_bytes()[..], &0i32.to_be_bytes(), &41i16.to_be_bytes(), &0i32.to_be_bytes()].concat();
    let broker = answers(vec![refused]).await;
    let asked = ByTopic::from([("t".to_owned(), vec![0])]);
    let e = elect_preferred(broker.address, &asked, LIMIT).await.unwrap_err();
    assert!(matches!(&e, ClientError::Server { code: 41, .. }), "{e}");
    assert!(e.to_string().ends_with("the server answered it is not the controller (41)"), "{e}");
}
