//! Is a broker ready: it answers on both listeners, the cluster lists it, and it keeps up with the partitions it holds.
//!
//! Kafka opens a fixed port only when it is ready to serve (SocketServer.scala says so), so while it starts an attempt
//! costs one refused connect.

use super::{Budget, Context, simple::refuses};
use crate::base::Verdict;
use crate::clients::{
    ClientError,
    kafka::{ClusterView, Replicated, listener_metadata},
    zookeeper::Session,
};
use std::net::SocketAddr;

pub(super) async fn look(
    id: u32,
    internal: SocketAddr,
    external: SocketAddr,
    context: &Context,
    budget: &Budget,
) -> Verdict {
    let left = budget.left();
    let (inside, outside) = tokio::join!(listener_metadata(internal, left), listener_metadata(external, left));
    match judge(id, (internal, &inside), (external, &outside)) {
        Finding::Verdict(verdict) => verdict,
        Finding::NotYet(why) => context.not_yet(why),
        Finding::NotListed(why) => {
            let registered = match context.zookeeper {
                Some(address) => match registered(id, address, budget).await {
                    Ok(true) => "yes".to_owned(),
                    Ok(false) => "no".to_owned(),
                    Err(e) => format!("unknown, {}", e.in_one_line()),
                },
                None => "not asked".to_owned(),
            };
            context.not_yet(format!("{why} (registered in ZooKeeper: {registered})"))
        }
    }
}

/// What two answers mean.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Verdict(Verdict),
    /// Not ready; the log's progress belongs to it.
    NotYet(String),
    /// It answers but the cluster does not list it: worth a look into ZooKeeper.
    NotListed(String),
}

type Answer<'a> = (SocketAddr, &'a Result<ClusterView, ClientError>);

fn judge(id: u32, internal: Answer<'_>, external: Answer<'_>) -> Finding {
    let (inner, outer) = (internal.0.port(), external.0.port());
    let (inside, outside) = match (internal.1, external.1) {
        (Ok(inside), Ok(outside)) => (inside, outside),
        (Err(e), Err(_)) => {
            return Finding::NotYet(if e.is_refused() { refuses(internal.0) } else { e.in_one_line() });
        }
        (Ok(_), Err(e)) => {
            return Finding::NotYet(format!("answers on INTERNAL {inner} but not on EXTERNAL {outer}: {}", why(e)));
        }
        (Err(e), Ok(_)) => {
            return Finding::NotYet(format!("answers on EXTERNAL {outer} but not on INTERNAL {inner}: {}", why(e)));
        }
    };
    for (view, port) in [(inside, inner), (outside, outer)] {
        match view.answering {
            Some(other) if other != id => {
                return Finding::NotYet(format!("port {port} belongs to broker {other}, not to broker {id}"));
            }
            Some(_) => {}
            None if view.brokers.is_empty() => {
                return Finding::NotListed(format!("answers on {port}, but has not heard of the cluster yet"));
            }
            None => {
                return Finding::NotListed(format!(
                    "answers on {port}, but the cluster lists brokers {} without it",
                    crate::clients::kafka::list(&view.broker_ids())
                ));
            }
        }
    }
    let Replicated { partitions, out_of_sync, leaderless } = inside.replicated_by(id);
    let mut amiss = Vec::new();
    if out_of_sync > 0 {
        amiss.push(format!("not in the ISR of {out_of_sync} of {partitions} partitions"));
    }
    if leaderless > 0 {
        amiss.push(format!("{leaderless} of its {partitions} partitions without leader"));
    }
    Finding::Verdict(if !amiss.is_empty() {
        Verdict::Degraded(amiss.join(", "))
    } else if partitions > 0 {
        Verdict::Ready(format!("metadata on {inner} and {outer}, in sync {partitions} of {partitions}"))
    } else {
        Verdict::Ready(format!("metadata on {inner} and {outer}"))
    })
}

fn why(e: &ClientError) -> String {
    if e.is_refused() { "it refuses connections".into() } else { e.in_one_line() }
}

async fn registered(id: u32, address: SocketAddr, budget: &Budget) -> Result<bool, ClientError> {
    let mut session = Session::connect(address, budget.left()).await?;
    let stat = session.exists(&format!("/brokers/ids/{id}")).await;
    // The answer is in hand; a session that cannot be closed ends by itself.
    let _ = session.close().await;
    stat.map(|s| s.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kafka::{Broker, Partition, Topic};

    const IN: u16 = 29092;
    const OUT: u16 = 9092;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn view(answering: Option<u32>, brokers: &[u32], isr: &[&[u32]]) -> Result<ClusterView, ClientError> {
        let partitions = isr
            .iter()
            .zip(0..)
            .map(|(isr, id)| Partition { id, leader: Some(1), replicas: vec![1, 2, 3], isr: isr.to_vec() })
            .collect();
        Ok(ClusterView {
            brokers: brokers.iter().map(|&id| Broker { id, host: "h".into(), port: 1 }).collect(),
            answering,
            topics: vec![Topic { name: "t".into(), error: None, partitions }],
            ..ClusterView::default()
        })
    }

    fn refused(port: u16) -> Result<ClusterView, ClientError> {
        Err(ClientError::Refused {
            address: at(port).to_string(),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        })
    }

    fn judged(inside: &Result<ClusterView, ClientError>, outside: &Result<ClusterView, ClientError>) -> Finding {
        judge(1, (at(IN), inside), (at(OUT), outside))
    }

    #[test]
    fn closed_ports_are_a_broker_that_still_starts() {
        assert_eq!(
            judged(&refused(IN), &refused(OUT)),
            Finding::NotYet("port 29092 refuses connections: still starting".into())
        );
        assert_eq!(
            judged(&view(Some(1), &[1], &[]), &refused(OUT)),
            Finding::NotYet("answers on INTERNAL 29092 but not on EXTERNAL 9092: it refuses connections".into())
        );
    }

    #[test]
    fn a_broker_outside_the_list_is_not_ready() {
        let Finding::NotListed(why) = judged(&view(None, &[2, 3], &[]), &view(None, &[2, 3], &[])) else {
            panic!("not listed")
        };
        assert_eq!(why, "answers on 29092, but the cluster lists brokers 2 and 3 without it");
        assert!(matches!(judged(&view(None, &[], &[]), &view(None, &[], &[])), Finding::NotListed(_)));
    }

    #[test]
    fn a_port_of_another_broker_is_told() {
        let (a, b) = (view(Some(1), &[1, 2], &[]), view(Some(2), &[1, 2], &[]));
        assert_eq!(judged(&a, &b), Finding::NotYet("port 9092 belongs to broker 2, not to broker 1".into()));
    }

    #[test]
    fn a_broker_missing_from_an_isr_is_degraded_and_one_in_all_is_ready() {
        let outside = view(Some(1), &[1, 2, 3], &[]);
        let behind = view(Some(1), &[1, 2, 3], &[&[1, 2, 3], &[2, 3], &[2]]);
        assert_eq!(
            judged(&behind, &outside),
            Finding::Verdict(Verdict::Degraded("not in the ISR of 2 of 3 partitions".into()))
        );
        let mut alone = view(Some(1), &[1, 2, 3], &[&[1, 2, 3], &[2]]).unwrap();
        alone.topics[0].partitions[1].leader = None;
        assert_eq!(
            judged(&Ok(alone), &outside),
            Finding::Verdict(Verdict::Degraded(
                "not in the ISR of 1 of 2 partitions, 1 of its 2 partitions without leader".into()
            ))
        );
        // another broker's lag is not this one's fault
        let others = view(Some(1), &[1, 2, 3], &[&[1, 2]]);
        assert_eq!(
            judged(&others, &outside),
            Finding::Verdict(Verdict::Ready("metadata on 29092 and 9092, in sync 1 of 1".into()))
        );
    }
}
