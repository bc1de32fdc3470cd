//! The cluster as a whole for people: a line each for Kafka, ZooKeeper and MySQL, and a line for each thing that is not as it should
//! be.

use super::table::{size, up_for};
use crate::{
    base::{Timestamp, units::human_duration},
    control::wire::cluster::{Cluster, KafkaState, MysqlState, Partitions, ZookeeperState},
};
use std::time::Duration;

/// The lines; empty: nothing is known.
pub fn lines(cluster: &Cluster, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(kafka) = &cluster.kafka {
        lines.push(format!("kafka      {}", self::kafka(kafka)));
    }
    if let Some(zookeeper) = &cluster.zookeeper {
        lines.push(format!("zookeeper  {}", self::zookeeper(zookeeper)));
    }
    if let Some(mysql) = &cluster.mysql {
        lines.push(format!("mysql      {}", self::mysql(mysql, now)));
    }
    lines
}

/// What is not as it should be.
pub fn remarks(cluster: &Cluster) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(kafka) = &cluster.kafka {
        for (partitions, words) in [
            (&kafka.offline, "have no leader: no write, no read"),
            (
                &kafka.under_min_isr,
                "have fewer replicas in sync than min.insync.replicas: writes with acks=all are refused",
            ),
            (&kafka.under_replicated, "miss a replica"),
            (
                &whole_at_min(kafka),
                "have all their replicas and none to spare: one broker less, and writes with acks=all are refused",
            ),
        ] {
            if partitions.count > 0 {
                lines.push(format!(
                    "kafka: {} of {} partitions {words}: {}",
                    partitions.count,
                    kafka.partitions,
                    named(partitions)
                ));
            }
        }
    }
    let topics = cluster.kafka.iter().flat_map(|kafka| kafka.topics.iter());
    lines.extend(topics.flat_map(|topics| &topics.differences).map(|text| format!("kafka: {text}")));
    lines.extend(beats_files(cluster).map(|text| format!("kafka: {text}")));
    let owners = cluster.zookeeper.iter().flat_map(|z| z.owners.iter().flatten());
    lines.extend(owners.filter(|owner| owner.ours == Some(false)).map(|owner| {
        format!("zookeeper: session {} is registered as broker {}, and it is not ours", owner.session, owner.broker)
    }));
    lines
}

/// Settings that beat a file, each in a sentence.
pub fn beats_files(cluster: &Cluster) -> impl Iterator<Item = String> {
    let told = cluster.kafka.iter().flat_map(|kafka| kafka.set_by_others.iter().flatten());
    told.map(|text| format!("{text} while it ran, by somebody else, and beats the file"))
}

/// Partitions at `min.insync.replicas` while nothing is missing: it is how they are made, and with one broker none can be otherwise.
fn whole_at_min(kafka: &KafkaState) -> Partitions {
    if kafka.under_replicated.count == 0 && kafka.offline.count == 0 && kafka.brokers.len() > 1 {
        kafka.at_min_isr.clone()
    } else {
        Partitions::default()
    }
}

fn named(partitions: &Partitions) -> String {
    const SHOWN: usize = 3;
    let first = &partitions.first[..partitions.first.len().min(SHOWN)];
    match partitions.count - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// `controller broker-1; leads 9, 9, 9 of 27 partitions, every replica in sync`.
fn kafka(kafka: &KafkaState) -> String {
    let controller = kafka.controller.map_or_else(|| "no controller".into(), |id| format!("controller broker-{id}"));
    let leads: Vec<String> = kafka.brokers.iter().map(|b| format!("broker-{} {}", b.id, b.leads)).collect();
    let state = if kafka.under_replicated.count == 0 && kafka.offline.count == 0 {
        "every replica in sync".to_owned()
    } else {
        format!("{} under-replicated, {} offline", kafka.under_replicated.count, kafka.offline.count)
    };
    // One with as many replicas as must confirm is so with every replica in sync.
    let at_min = match kafka.at_min_isr.count {
        0 => String::new(),
        n => format!(", {n} at min.insync.replicas"),
    };
    let away = match kafka.not_led_by_preferred.count {
        0 => String::new(),
        n => format!(", {n} not led by their preferred leaders"),
    };
    let topics = kafka.topics.as_ref().map_or_else(String::new, |topics| {
        format!("; {} of {} configured topics as configured", topics.as_configured, topics.configured)
    });
    format!(
        "{controller}; leaders of {} partitions: {}; {state}{at_min}{away}{topics}",
        kafka.partitions,
        leads.join(", ")
    )
}

/// `standalone, latency 0.5 ms (longest 12 ms), 3 sessions; broker 1 is 0x100…`.
fn zookeeper(zookeeper: &ZookeeperState) -> String {
    let mut parts = vec![zookeeper.mode.clone().unwrap_or_else(|| "mode unknown".into())];
    if let Some(average) = zookeeper.latency_avg_ms {
        let longest = zookeeper.latency_max_ms.map_or_else(String::new, |max| format!(" (longest {max} ms)"));
        parts.push(format!("latency {average:.1} ms{longest}"));
    }
    if let Some(queued @ 1..) = zookeeper.outstanding {
        parts.push(format!("{queued} requests queued"));
    }
    if let Some(sessions) = zookeeper.sessions {
        parts.push(if sessions == 1 { "1 session".into() } else { format!("{sessions} sessions") });
    }
    let owners: Vec<String> =
        zookeeper.owners.iter().flatten().map(|o| format!("broker-{} {}", o.broker, o.session)).collect();
    if owners.is_empty() { parts.join(", ") } else { format!("{}: {}", parts.join(", "), owners.join(", ")) }
}

/// `GTIDs …:1-25; the binlog reaches back 2h10m and is kept 72h00m (3 files, 12M)`.
fn mysql(mysql: &MysqlState, now: Timestamp) -> String {
    let gtid = if mysql.gtid_executed.is_empty() { "no GTID yet" } else { mysql.gtid_executed.as_str() };
    let back = mysql.binlog_since.map_or_else(String::new, |since| format!("reaches back {}, ", up_for(now, since)));
    let keeps = match mysql.binlog_keeps_s {
        Some(seconds) => format!("a reader may be away for {}", human_duration(Duration::from_secs(seconds))),
        None => "nothing of it is removed".into(),
    };
    let files = if mysql.binlog_files == 1 { "1 file".into() } else { format!("{} files", mysql.binlog_files) };
    format!("{gtid}; the binlog {back}{keeps} ({files}, {})", size(mysql.binlog_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::samples::NOW,
        control::wire::cluster::{BrokerState, ConfiguredTopics, Owner},
    };

    fn some(count: usize, first: &[&str]) -> Partitions {
        Partitions { count, first: first.iter().map(|n| (*n).into()).collect() }
    }

    fn whole() -> Cluster {
        let broker = |id| BrokerState { id, listed: true, leads: 9, preferred: 9, replicas: 27, out_of_sync: 0 };
        let owner = |broker, session: &str, ours| Owner { broker, session: session.into(), ours };
        Cluster {
            kafka: Some(KafkaState {
                seen_at: NOW,
                controller: Some(2),
                partitions: 27,
                under_replicated: Partitions::default(),
                at_min_isr: Partitions::default(),
                under_min_isr: Partitions::default(),
                offline: Partitions::default(),
                not_led_by_preferred: Partitions::default(),
                brokers: vec![broker(1), broker(2), broker(3)],
                topics: None,
                set_by_others: None,
            }),
            zookeeper: Some(ZookeeperState {
                mode: Some("standalone".into()),
                latency_avg_ms: Some(0.4517),
                latency_max_ms: Some(12),
                outstanding: Some(0),
                connections: Some(4),
                sessions: Some(3),
                owners: Some(vec![owner(1, "0x10001", Some(true)), owner(2, "0x10002", None)]),
            }),
            mysql: Some(MysqlState {
                gtid_executed: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-25".into(),
                binlog_files: 3,
                binlog_bytes: 12 << 20,
                binlog_since: Some(Timestamp(NOW.0 - 7_800_000)),
                binlog_keeps_s: Some(259_200),
            }),
        }
    }

    #[test]
    fn a_whole_cluster_is_three_lines_and_no_remark() {
        assert_eq!(
            lines(&whole(), NOW),
            [
                "kafka      controller broker-2; leaders of 27 partitions: broker-1 9, broker-2 9, broker-3 9; every replica in sync",
                "zookeeper  standalone, latency 0.5 ms (longest 12 ms), 3 sessions: broker-1 0x10001, broker-2 0x10002",
                "mysql      3e11fa47-71ca-11e1-9e33-c80aa9429562:1-25; the binlog reaches back 2h10m, a reader may be away for 3d00h (3 files, 12M)",
            ]
        );
        assert!(remarks(&whole()).is_empty());
        assert!(lines(&Cluster::default(), NOW).is_empty());
    }

    #[test]
    fn partitions_without_a_replica_to_spare_are_told_though_every_replica_is_in_sync() {
        let mut cluster = whole();
        if let Some(kafka) = &mut cluster.kafka {
            kafka.at_min_isr = some(4, &["pair-0", "pair-1", "pair-2", "strict-0"]);
        }
        assert!(lines(&cluster, NOW)[0].ends_with("every replica in sync, 4 at min.insync.replicas"));
        assert_eq!(
            remarks(&cluster),
            [
                "kafka: 4 of 27 partitions have all their replicas and none to spare: one broker less, and writes with acks=all are \
                 refused: pair-0, pair-1, pair-2 and 1 more"
            ]
        );
    }

    #[test]
    fn configured_topics_are_counted_in_the_line_and_what_differs_is_named_below_it() {
        let mut cluster = whole();
        if let Some(kafka) = &mut cluster.kafka {
            kafka.topics = Some(ConfiguredTopics {
                configured: 2,
                as_configured: 1,
                differences: vec!["topic orders: it has 3 partitions, the file says 6".into()],
            });
        }
        assert!(lines(&cluster, NOW)[0].ends_with("every replica in sync; 1 of 2 configured topics as configured"));
        assert_eq!(remarks(&cluster), ["kafka: topic orders: it has 3 partitions, the file says 6"]);
    }

    #[test]
    fn a_setting_that_beats_a_file_has_a_line() {
        let mut cluster = whole();
        if let Some(kafka) = &mut cluster.kafka {
            kafka.set_by_others = Some(vec!["broker-2: message.max.bytes = 9 was set for this broker".into()]);
        }
        let line = "kafka: broker-2: message.max.bytes = 9 was set for this broker while it ran, by somebody else, and beats the file";
        assert_eq!(remarks(&cluster), [line]);
    }

    #[test]
    fn what_is_missing_is_counted_in_the_line_and_named_below_it() {
        let mut cluster = whole();
        if let Some(kafka) = &mut cluster.kafka {
            kafka.controller = None;
            kafka.under_replicated = some(24, &["a-0", "a-1", "a-2", "a-3"]);
            kafka.at_min_isr = some(23, &["a-0"]);
            kafka.under_min_isr = some(1, &["a-3"]);
            kafka.offline = some(2, &["b-0", "b-1"]);
            kafka.not_led_by_preferred = some(4, &[]);
        }
        if let Some(owners) = cluster.zookeeper.as_mut().and_then(|z| z.owners.as_mut()) {
            owners[1].ours = Some(false);
        }
        let line = &lines(&cluster, NOW)[0];
        assert!(
            line.starts_with("kafka      no controller;")
                && line.ends_with(
                    "24 under-replicated, 2 offline, 23 at min.insync.replicas, 4 not led by their preferred leaders"
                ),
            "{line}"
        );
        assert_eq!(
            remarks(&cluster),
            [
                "kafka: 2 of 27 partitions have no leader: no write, no read: b-0, b-1",
                "kafka: 1 of 27 partitions have fewer replicas in sync than min.insync.replicas: writes with acks=all are refused: a-3",
                "kafka: 24 of 27 partitions miss a replica: a-0, a-1, a-2 and 21 more",
                "zookeeper: session 0x10002 is registered as broker 2, and it is not ours",
            ]
        );
    }
}
