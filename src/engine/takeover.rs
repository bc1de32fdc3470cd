//! Before a broker that has just died starts again: a moment for the others to lead what it led.
//!
//! A starting JVM takes every processor for seconds, and those who choose and become leaders need them then: on two cores the first
//! new leader of a killed controller's partitions came after 0.4 to 0.7 s instead of 0.7 to 1.3 s, and the start was no later for it.

use crate::{
    clients::kafka::{ClusterView, listener_metadata},
    sys::clock,
};
use std::{net::SocketAddr, time::Duration};
use tokio::time::sleep;

/// Longest wait. Leaders move within half a second of the end of a session.
const UP_TO: Duration = Duration::from_secs(1);
/// Bound of one question.
const ASK: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(40);

/// Waits while a broker that answers says that leaders are being chosen. Where nobody answers nobody is waited for.
pub(super) async fn wait(broker: u32, others: &[SocketAddr], is_cancelled: impl Fn() -> bool) {
    let began = clock::now();
    while clock::now().since(began) < UP_TO && !is_cancelled() {
        let Some(view) = first_answer(others).await else { return };
        if !moves(&view, broker) {
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn first_answer(others: &[SocketAddr]) -> Option<ClusterView> {
    for address in others {
        if let Ok(view) = listener_metadata(*address, ASK).await {
            return Some(view);
        }
    }
    None
}

/// A partition is led by the dead broker or by nobody, and another broker that lives could lead it.
fn moves(view: &ClusterView, dead: u32) -> bool {
    let live = view.broker_ids();
    view.partitions().any(|(_, p)| {
        p.leader.is_none_or(|leader| leader == dead) && p.isr.iter().any(|id| *id != dead && live.contains(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kafka::{Broker, Partition, Topic};

    fn view(live: &[u32], partitions: &[(Option<u32>, &[u32])]) -> ClusterView {
        let partition = |(id, (leader, isr)): (u32, &(Option<u32>, &[u32]))| Partition {
            id,
            leader: *leader,
            replicas: vec![1, 2, 3],
            isr: isr.to_vec(),
        };
        ClusterView {
            brokers: live.iter().map(|id| Broker { id: *id, host: "h".into(), port: 1 }).collect(),
            topics: vec![Topic {
                name: "t".into(),
                error: None,
                partitions: (0..).zip(partitions).map(partition).collect(),
            }],
            ..ClusterView::default()
        }
    }

    #[test]
    fn leaders_move_while_the_dead_or_nobody_leads_what_another_could() {
        assert!(moves(&view(&[1, 2, 3], &[(Some(2), &[1, 2, 3])]), 2), "nobody has noticed yet");
        assert!(moves(&view(&[1, 3], &[(Some(1), &[1, 3]), (None, &[1, 2, 3])]), 2));
        assert!(!moves(&view(&[1, 3], &[(Some(1), &[1, 3]), (Some(3), &[1, 3])]), 2));
    }

    #[test]
    fn what_nobody_else_can_lead_is_not_waited_for() {
        assert!(!moves(&view(&[1, 3], &[(None, &[2])]), 2), "its only replica in sync");
        assert!(!moves(&view(&[3], &[(None, &[1, 2])]), 2), "the other one is dead, too");
        assert!(!moves(&view(&[1, 3], &[]), 2));
    }

    #[tokio::test]
    async fn nobody_is_waited_for_where_nobody_answers() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        wait(2, &[closed], || false).await;
        wait(2, &[], || false).await;
    }
}
