//! For how long ZooKeeper is away while it is restarted, beside what brokers' sessions last, and what keeps it from being restarted:
//! by hand and by a reload.

use super::{
    gate::{broker_id, brokers},
    reload::by_name,
    whole,
};
use crate::{
    base::{EventKind, EventLine, Moment, NodeKind, NodeName, recipe::Recipe, units::human_duration},
    engine::{Handle, OrderReply, Snapshot},
    sys::clock,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// An absence of ZooKeeper: it begins when it does not serve any more, and ends when an order brought it back.
#[derive(Debug, Default)]
pub struct Absence {
    since: Option<Moment>,
}

impl Absence {
    /// Waits for an order that restarts ZooKeeper. `late` hears when that takes longer than `lasts`, the time that brokers' sessions last.
    pub async fn watch(
        &mut self,
        engine: &Handle,
        order: impl Future<Output = OrderReply>,
        lasts: Duration,
        late: impl FnOnce(String),
    ) -> OrderReply {
        let mut changes = engine.watch();
        let serves = |snapshot: &Snapshot| snapshot.nodes.iter().any(|n| n.kind == NodeKind::Zookeeper && n.serves);
        tokio::pin!(order);
        let gone = async {
            while serves(&changes.borrow_and_update()) {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            clock::now()
        };
        let since = match self.since {
            // A way back after a start that came to nothing: one absence.
            Some(since) => since,
            None => tokio::select! {
                biased;
                since = gone => since,
                reply = &mut order => return reply,
            },
        };
        self.since = Some(since);
        let Some(left) = lasts.checked_sub(clock::now().since(since)) else { return order.await };
        tokio::select! {
            reply = &mut order => reply,
            () = sleep(left) => {
                late(format!("zookeeper: away for longer than brokers' sessions last ({})", human_duration(lasts)));
                order.await
            }
        }
    }

    /// Ends it: what is said of it, which is an event where it was longer than sessions last. None: it served all the time.
    pub fn end(&mut self, engine: &Handle, lasts: Duration) -> Option<String> {
        let away = clock::now().since(self.since.take()?);
        let words = words(away, lasts);
        if away > lasts {
            let event = EventLine::new(EventKind::Trouble, &words).node(&NodeName::zookeeper());
            engine.journal().note(event);
        }
        Some(words)
    }
}

/// Being away for long costs no session that ZooKeeper has on its disk: it gives each its whole time again when it starts
/// (`SessionTrackerImpl`, 3.6 and 3.8), and a broker comes back to its own within a second or two. After 60 s without it, with sessions of
/// 12 s, no broker registered anew and no leader moved (`drill zookeeper-down`).
fn words(away: Duration, lasts: Duration) -> String {
    let (away_for, last) = (human_duration(away), human_duration(lasts));
    if away > lasts {
        format!(
            "zookeeper was away for {away_for}, longer than kafka.session_timeout ({last}): no leader could move meanwhile; it gives each \
             session its whole time again, and a broker that does not come back to its own within that registers anew"
        )
    } else {
        format!("zookeeper was away for {away_for}; brokers' sessions last {last}")
    }
}

/// What every broker says against a restart of ZooKeeper, asked of each of them now: one that is not there, a replica that is not in
/// sync. A broker that starts registers there, and one that is behind comes back into its ISRs through it. `with` names what is
/// restarted by the same order: the word of a broker of these is not needed. Brokers that are stopped by order, and replicas on
/// them, are in nobody's way: no session of theirs could be lost.
pub async fn not_whole(engine: &Handle, recipes: &[Recipe], with: &[NodeName]) -> Option<String> {
    let with = recipes.iter().filter(|r| with.contains(&r.node)).find_map(|r| broker_id(Some(r)));
    against(engine, &by_name(recipes), with).await
}

/// The same of recipes by node.
pub(super) async fn against(engine: &Handle, force: &BTreeMap<NodeName, Recipe>, with: Option<u32>) -> Option<String> {
    let (asked, rests) = brokers(&engine.snapshot(), force);
    if asked.is_empty() {
        return None;
    }
    let obstacle = whole::ask(&asked).await.obstacle(with, with.is_some(), &rests)?;
    (!obstacle.forceable).then_some(obstacle.what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Layout,
        engine::{EngineOrder, NodeSnapshot},
    };
    use std::sync::Arc;

    #[test]
    fn being_away_for_longer_than_sessions_last_is_said() {
        let seconds = Duration::from_secs;
        assert_eq!(words(seconds(3), seconds(12)), "zookeeper was away for 3.0 s; brokers' sessions last 12.0 s");
        let late = words(seconds(14), seconds(12));
        assert!(late.contains("longer than kafka.session_timeout (12.0 s): no leader could move meanwhile"), "{late}");
    }

    #[tokio::test]
    async fn an_absence_lasts_from_the_first_stop_to_the_start_that_came_to_something() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let zookeeper = NodeSnapshot::sample(NodeName::zookeeper(), NodeKind::Zookeeper, "starting", 1);
        let snapshot = Snapshot { nodes: vec![Arc::new(zookeeper)], ending: false };
        let after = Duration::from_millis(150);
        let engine = Handle::answering_after(&layout, snapshot, after, |_| Ok(vec![]));
        let order = || engine.order(EngineOrder::Restart { nodes: vec![NodeName::zookeeper()] });
        let (mut absence, mut told, lasts) = (Absence::default(), Vec::new(), Duration::from_millis(100));
        absence.watch(&engine, order(), lasts, |late| told.push(late)).await.unwrap();
        let since = absence.since.unwrap();
        // the way back: it is the same absence, and told once
        absence.watch(&engine, order(), lasts, |late| told.push(late)).await.unwrap();
        assert_eq!((absence.since, told.len()), (Some(since), 1), "{told:?}");
        let words = absence.end(&engine, lasts).unwrap();
        assert!(words.contains("longer than kafka.session_timeout"), "{words}");
        assert_eq!(absence.end(&engine, lasts), None, "it is over");
        engine.journal().flush();
        let events = std::fs::read_to_string(layout.events()).unwrap();
        assert!(events.contains(&words) && events.contains("trouble"), "{events}");
    }
}
