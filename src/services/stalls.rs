//! What a node does that must give signs of life for a ZooKeeper session, or hear them: how long a session lasts, which thread of it
//! that is, and which lines of its collector's log are pauses. Pure.

use crate::{
    base::{NodeKind, recipe::Recipe},
    render::read_properties,
};
use std::time::Duration;

/// How long a broker's session lasts, as it asks for it; none: no broker. The configuration has made sure that ZooKeeper grants it.
pub fn session(recipe: &Recipe) -> Option<Duration> {
    match recipe.kind {
        NodeKind::Broker(_) => recipe.files.iter().find_map(|file| {
            let millis = read_properties(&file.contents).get("zookeeper.session.timeout.ms")?.trim().parse().ok()?;
            Some(Duration::from_millis(millis))
        }),
        NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => None,
    }
}

/// Names of the threads that tell for how long the node got no processor; none: it has nothing to do with sessions. Of several threads
/// with such a name the one that waited longest tells. They sleep nearly always and wake up a few times in ten seconds, so that what one
/// has waited in that time is hardly more than its longest wait.
pub fn threads(kind: NodeKind) -> Option<&'static [&'static str]> {
    match kind {
        // It sends the signs of life (ClientCnxn.SendThread of ZooKeeper 3.6 and 3.8: named after the thread that made the client,
        // which is `main`, and the scheduler of ZooKeeperClient.scala after a session has expired: seen with 3.5.2, whose name the
        // kernel has as `zk-client-Kafka`; Kafka 2 called it the other). The scheduler and the one for events sleep beside it.
        NodeKind::Broker(_) => Some(&["main-SendThread(", "zk-client-Kafka", "zk-session-expiry-handler"]),
        // It ends sessions, once a tick (SessionTrackerImpl.run); those that hear signs of life work all the time, and what they have
        // waited adds up.
        NodeKind::Zookeeper => Some(&["SessionTracker"]),
        NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => None,
    }
}

/// How long the program stood still, from a line of `-Xlog:gc` (`GC(12) Pause Young (Allocation Failure) 138M->101M(155M) 6.2ms`); none: it
/// tells of something else. What a collector does beside the program has another word (`Concurrent`).
pub fn pause(line: &str) -> Option<Duration> {
    let (_, told) = line.split_once(" GC(")?;
    let (_, told) = told.split_once(") Pause ")?;
    let millis: f64 = told.rsplit(' ').next()?.strip_suffix("ms")?.parse().ok()?;
    Duration::try_from_secs_f64(millis / 1_000.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_read_from_lines_of_the_collectors_that_java_has() {
        // Serial, G1 and Parallel of 17.0.15
        for (line, micros) in [
            (
                "[2026-11-26T14:30:23.157+0000] GC(0) Pause Young (Allocation Failure) 17M->16M(61M) 33.582ms",
                Some(33_582),
            ),
            (
                "[2026-11-26T07:00:01.000+0000] GC(7) Pause Full (System.gc()) 101M->88M(155M) 1042.117ms",
                Some(1_042_117),
            ),
            (
                "[2026-11-26T07:00:01.000+0000] GC(3) Pause Young (Normal) (G1 Evacuation Pause) 24M->3M(256M) 2.004ms",
                Some(2_004),
            ),
            ("[2026-11-26T07:00:01.000+0000] GC(4) Pause Remark 30M->30M(256M) 1.5ms", Some(1_500)),
            ("[2026-11-26T07:00:01.000+0000] GC(4) Concurrent Mark Cycle 30.5ms", None),
            ("[2026-11-26T14:30:21.451+0000] Using Serial", None),
            ("[2026-11-26T14:30:21.451+0000] GC(0) Pause Young (Allocation Fail", None),
            ("[2026-11-26T14:30:21.451+0000] GC(0) Pause Young 17M->16M(61M) -1ms", None),
            ("", None),
        ] {
            assert_eq!(pause(line), micros.map(Duration::from_micros), "{line}");
        }
    }
}
