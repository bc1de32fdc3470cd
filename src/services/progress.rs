//! Marks of progress in a starting node's log: as long as they change, nobody may call the start late (DESIGN.md,
//! "Deadlines move while there is progress").

use crate::base::{NodeKind, Timestamp, units::human_duration};
use std::time::Duration;

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
    if let (NodeKind::Broker(_), Some(left)) = (kind, Recovery::of(last_lines).words()) {
        return Some(left);
    }
    let line = last_lines.lines().rev().find(|line| words.iter().any(|word| line.contains(word)))?;
    if let Some((loaded, all)) = loaded_of(line) {
        return Some(format!("{loaded}/{all} logs loaded"));
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

/// How far a broker is with reading its logs back, by the tail of its log.
#[derive(Debug, Default)]
struct Recovery<'a> {
    /// The first and the newest count that the tail has: when, how many logs were loaded.
    counts: Option<(Count, Count)>,
    all: u64,
    /// The partition whose segments are read just now: its name, how many were, how many there are.
    segments: Option<(&'a str, u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    at: Option<Timestamp>,
    loaded: u64,
}

impl<'a> Recovery<'a> {
    fn of(tail: &'a str) -> Self {
        let mut so_far = Self::default();
        for line in tail.lines() {
            let at = line.split_once(' ').and_then(|(at, _)| Timestamp::parse(at).ok());
            if let Some(all) = logs_to_load(line) {
                let none = Count { at, loaded: 0 };
                so_far = Self { counts: Some((none, none)), all, segments: None };
            } else if let Some((loaded, all)) = loaded_of(line) {
                let now = Count { at, loaded };
                let first = so_far.counts.filter(|_| so_far.all == all).map_or(now, |(first, _)| first);
                (so_far.counts, so_far.all) = (Some((first, now)), all);
                so_far.segments = so_far.segments.filter(|(partition, _, _)| !line.contains(&format!("/{partition},")));
            } else if let Some(segments) = segments_of(line) {
                so_far.segments = Some(segments);
            }
        }
        so_far
    }

    /// `7/27 logs loaded, 20 left, about 40 s more; t-0: 1/3 segments recovered, 2 left`. None: it is not at it (any more).
    fn words(&self) -> Option<String> {
        let logs = self.counts.filter(|(_, now)| now.loaded < self.all).map(|(first, now)| {
            let more = self.more(first, now).map_or_else(String::new, |more| format!(", about {more} more"));
            format!("{}/{} logs loaded, {} left{more}", now.loaded, self.all, self.all - now.loaded)
        });
        let is_at_it = logs.is_some() || self.counts.is_none();
        let segments = self.segments.filter(|_| is_at_it).map(|(partition, done, all)| {
            format!("{partition}: {done}/{all} segments recovered, {} left", all.saturating_sub(done))
        });
        let parts: Vec<String> = logs.into_iter().chain(segments).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// How long the rest takes, as those took that the tail tells of. By the log's own times, so that it changes with the log alone.
    fn more(&self, first: Count, now: Count) -> Option<String> {
        let took = u64::try_from(now.at?.0 - first.at?.0).ok()?;
        let left = self.all.saturating_sub(now.loaded);
        let more = took.saturating_mul(left).checked_div(now.loaded.saturating_sub(first.loaded))?;
        let seconds = more.div_ceil(1_000);
        Some(if seconds < 60 { format!("{seconds} s") } else { human_duration(Duration::from_secs(seconds)) })
    }
}

/// `Recovering 24 logs from DIR since no clean shutdown file was found`, `Skipping recovery of 24 logs from …` (LogManager.loadLogs, 3.5.2).
fn logs_to_load(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" logs from ")?;
    let (what, count) = before.rsplit_once(' ')?;
    let begins = what.ends_with("Recovering") || what.ends_with("Skipping recovery of");
    count.parse().ok().filter(|_| begins)
}

/// `… (12/51 completed in DIR)` of the same.
fn loaded_of(line: &str) -> Option<(u64, u64)> {
    let (before, _) = line.split_once(" completed in ")?;
    let (_, count) = before.rsplit_once('(')?;
    let (done, all) = count.split_once('/')?;
    Some((done.parse().ok()?, all.parse().ok()?))
}

/// `Recovering unflushed segment 0. 1/3 recovered for t-0.` (LogLoader.recoverLog, 3.5.2): before each of them.
fn segments_of(line: &str) -> Option<(&str, u64, u64)> {
    let (_, rest) = line.split_once("Recovering unflushed segment ")?;
    let (_, rest) = rest.split_once(". ")?;
    let (count, rest) = rest.split_once(" recovered for ")?;
    let (done, all) = count.split_once('/')?;
    let partition = rest.split(' ').next()?.trim_end_matches('.');
    Some((partition, done.parse().ok()?, all.parse().ok()?))
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
        assert_eq!(mark, "0/24 logs loaded, 24 left; t-0: 1/3 segments recovered, 2 left");
        let later = lines.replace("03:00:01.000Z", "03:00:09.000Z");
        assert_eq!(progress(NodeKind::Broker(1), &later).unwrap(), mark);
        assert_ne!(progress(NodeKind::Broker(1), &later.replace("1/3", "2/3")).unwrap(), mark);
    }

    /// As LogManager and LogLoader write it; each log takes two seconds.
    fn recovering(logs: u64, loaded: u64) -> String {
        let mut text = format!(
            "2026-11-23T04:11:00.000Z INFO Recovering {logs} logs from /d since no clean shutdown file was found (kafka.log.LogManager)\n"
        );
        for n in 1..=loaded {
            let (at, of) = (2 * n, n - 1);
            text.push_str(&format!(
                "2026-11-23T04:11:{at:02}.000Z INFO [LogLoader partition=t-{of}, dir=/d] Recovering unflushed segment 0. 0/2 recovered for t-{of}. (kafka.log.LogLoader)\n\
                 2026-11-23T04:11:{at:02}.000Z INFO [LogLoader partition=t-{of}, dir=/d] Loading producer state till offset 9 with message format version 2 (kafka.log.UnifiedLog$)\n\
                 2026-11-23T04:11:{at:02}.000Z INFO Completed load of Log(dir=/d/t-{of}, topicId=slf, topic=t, partition={of}) with 1 \
                 segments, local-log-start-offset 0 and log-end-offset 9 in 35ms ({n}/{logs} completed in /d) (kafka.log.LogManager)\n"
            ));
        }
        text
    }

    #[test]
    fn a_recovery_is_told_by_logs_and_segments_that_are_left_and_how_long_they_take() {
        let broker = |text: &str| progress(NodeKind::Broker(1), text).unwrap();
        assert_eq!(broker(&recovering(27, 0)), "0/27 logs loaded, 27 left");
        assert_eq!(broker(&recovering(27, 7)), "7/27 logs loaded, 20 left, about 40 s more");
        let at_one = recovering(27, 7)
            + "2026-11-23T04:11:20.000Z INFO [LogLoader partition=t-8, dir=/d] Recovering unflushed segment 512. 3/40 recovered for t-8. (kafka.log.LogLoader)\n\
               2026-11-23T04:11:20.500Z INFO [LogLoader partition=t-8, dir=/d] Loading producer state till offset 9 with message format version 2 (kafka.log.UnifiedLog$)\n";
        let words = "7/27 logs loaded, 20 left, about 40 s more; t-8: 3/40 segments recovered, 37 left";
        assert_eq!(broker(&at_one), words);
        // where the tail begins later, the pace is that of what it tells
        let from = at_one.find("(4/27").unwrap();
        assert_eq!(broker(&at_one[from - 300..]), words);
        // of one log with many segments it may tell nothing else
        let from = at_one.find("2026-11-23T04:11:20.000Z").unwrap();
        assert_eq!(broker(&at_one[from..]), "t-8: 3/40 segments recovered, 37 left");
        // when all are read, what comes next is told
        assert_eq!(broker(&recovering(3, 3)), "3/3 logs loaded");
        let after = recovering(3, 3) + "2026-11-23T04:12:00.000Z INFO Loaded 3 things (kafka.x.Y)\n";
        assert_eq!(broker(&after), "Loaded 3 things");
        // an earlier start counts no more
        assert_eq!(broker(&(recovering(27, 27) + &recovering(5, 1))), "1/5 logs loaded, 4 left, about 8 s more");
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
