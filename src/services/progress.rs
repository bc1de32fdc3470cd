//! Marks of progress in a starting node's log: as long as they change, nobody may call the start late (DESIGN.md,
//! "Deadlines move while there is progress").

use crate::base::NodeKind;

/// Words of Kafka 3.5.2 (LogManager, LogLoader, UnifiedLog, ProducerStateManager).
const KAFKA: &[&str] = &[
    "Loading logs from log dirs",
    "Recovering ",
    "Completed load of ",
    "Loading producer state",
    "Producer state recovery took",
    "Skipping recovery of ",
    "Rebuilding producer state",
    "Reloading from producer snapshot",
    "Loaded ",
];

/// Words of ZooKeeper 3.6 and 3.8 (FileSnap, ZKDatabase, FileTxnSnapLog).
const ZOOKEEPER: &[&str] = &["Reading snapshot", "Snapshot loaded", "txns loaded", "Snapshotting:"];

/// Words of mysqld 8.0 to 9.7.
const MYSQL: &[&str] = &[
    "Starting crash recovery",
    "Doing recovery: scanned up to log sequence number",
    "Starting an apply batch of log records",
    "Applying a batch of",
    "Apply batch completed",
    "redo log records",
    "Rolling back trx with id",
    "Rollback of trx with id",
    "XA crash recovery",
    "Recovering after a crash using",
    "Server upgrade from",
    "InnoDB initialization has",
    "Upgrading",
];

/// The newest mark of progress in the tail of a starting node's log, without its time stamp, so that a line which only
/// repeats is no progress. None when there is none: then nothing is known.
pub fn progress(kind: NodeKind, last_lines: &str) -> Option<String> {
    let words = match kind {
        NodeKind::Broker(_) => KAFKA,
        NodeKind::Zookeeper => ZOOKEEPER,
        NodeKind::Mysql => MYSQL,
        // A UI reads nothing back before it serves.
        NodeKind::KafkaUi | NodeKind::Command => return None,
    };
    let line = last_lines.lines().rev().find(|line| words.iter().any(|word| line.contains(word)))?;
    if let Some(count) = loaded_count(line) {
        return Some(count);
    }
    let start = words.iter().filter_map(|word| line.find(word)).min()?;
    // log4j's logger name at the end says nothing to a person
    let mark = line[start..].rsplit_once(" (").map_or(&line[start..], |(text, logger)| {
        if logger.ends_with(')') && !logger.contains(' ') { text } else { &line[start..] }
    });
    Some(mark.chars().take(160).collect())
}

/// Whether the newest start in a broker's log is still under way: then a SIGTERM would halt it without closing its logs.
/// False when the log does not tell, and for other products, which can be asked at any time.
///
/// `KafkaServer.startup` begins with "starting" and ends with "[KafkaServer id=N] started" (3.5.2).
pub fn is_starting(kind: NodeKind, log: &str) -> bool {
    match kind {
        NodeKind::Broker(_) => {}
        NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => return false,
    }
    let told = log.lines().rev().find_map(|line| {
        if line.contains("[KafkaServer id=") && line.contains("] started") {
            Some(false)
        } else if line.contains(" starting (kafka.server.KafkaServer)") {
            Some(true)
        } else {
            None
        }
    });
    told == Some(true)
}

/// `… (12/51 completed in DIR)` of LogManager.loadLogs: the count says more than the partition's long description.
fn loaded_count(line: &str) -> Option<String> {
    let (before, _) = line.split_once(" completed in ")?;
    let (_, count) = before.rsplit_once('(')?;
    let (done, all) = count.split_once('/')?;
    let left = all.parse::<u64>().ok()?.saturating_sub(done.parse().ok()?);
    Some(format!("{count} logs loaded, {left} left"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_mark_counts_and_its_time_does_not() {
        let lines = "2026-11-23T03:00:00.000Z INFO Recovering 24 logs from /d since no clean shutdown file was found (kafka.log.LogManager)\n\
                     2026-11-23T03:00:01.000Z INFO [LogLoader partition=t-0, dir=/d] Recovering unflushed segment 0. 1/3 recovered for t-0. (kafka.log.LogLoader)\n\
                     2026-11-23T03:00:01.100Z INFO something else (kafka.Other)\n";
        let mark = progress(NodeKind::Broker(1), lines).unwrap();
        assert_eq!(mark, "Recovering unflushed segment 0. 1/3 recovered for t-0.");
        let later = lines.replace("03:00:01.000Z", "03:00:09.000Z");
        assert_eq!(progress(NodeKind::Broker(1), &later).unwrap(), mark);
        assert_ne!(progress(NodeKind::Broker(1), &later.replace("1/3", "2/3")).unwrap(), mark);
    }

    #[test]
    fn loaded_logs_are_counted() {
        let line = "2026-11-23T04:11:28.475Z INFO Completed load of Log(dir=/d/t-4, topicId=slf, topic=t, partition=4) with 1 \
                    segments, local-log-start-offset 0 and log-end-offset 9 in 35ms (7/27 completed in /d) (kafka.log.LogManager)";
        assert_eq!(progress(NodeKind::Broker(1), line).unwrap(), "7/27 logs loaded, 20 left");
    }

    #[test]
    fn a_start_is_under_way_from_starting_to_started() {
        let broker = NodeKind::Broker(1);
        let starting = "2026-11-23T04:11:27.475Z INFO starting (kafka.server.KafkaServer)\n";
        let recovering = "2026-11-23T04:11:28.475Z INFO Recovering 24 logs from /d since no clean shutdown file was found (kafka.log.LogManager)\n";
        let started = "2026-11-23T04:11:29.475Z INFO [KafkaServer id=1] started (kafka.server.KafkaServer)\n";
        assert!(is_starting(broker, &format!("{starting}{recovering}")));
        assert!(!is_starting(broker, &format!("{starting}{recovering}{started}")));
        assert!(is_starting(broker, &format!("{starting}{started}{starting}")), "the newest start counts");
        assert!(!is_starting(broker, recovering), "nothing told, nothing waited for");
        assert!(!is_starting(NodeKind::Mysql, starting));
    }

    #[test]
    fn each_product_has_its_own_words() {
        let line = "2026-11-23T03:00:01.100000Z 1 [System] [MY-012551] [InnoDB] Doing recovery: scanned up to log sequence number 1234";
        assert_eq!(progress(NodeKind::Mysql, line).unwrap(), "Doing recovery: scanned up to log sequence number 1234");
        assert_eq!(progress(NodeKind::Zookeeper, line), None);
        let line = "2026-11-23T03:00:01.100Z INFO Snapshot loaded in 12 ms, highest zxid is 0x12, digest is 99 (org.apache.zookeeper.server.ZKDatabase)";
        assert_eq!(
            progress(NodeKind::Zookeeper, line).unwrap(),
            "Snapshot loaded in 12 ms, highest zxid is 0x12, digest is 99"
        );
        assert_eq!(progress(NodeKind::Command, line), None);
    }
}
