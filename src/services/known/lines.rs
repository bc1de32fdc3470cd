//! Log lines as they were written, for every entry of the list, and where each was seen.
//!
//! What was provoked was written by Kafka 3.5.2, ZooKeeper 3.6.4, MySQL 9.7.4 and OpenJDK 17 on 2026-11-26, with the log4j layout that
//! brokers and ZooKeeper get here; paths are shortened. What people wrote down elsewhere is of other releases, in their layouts.

mod jvm;
mod kafka;
mod mysql;
mod zookeeper;

use super::{FATAL, HARMLESS, Known, NOTED};
use crate::{
    base::{Cause, NodeKind},
    services::catalogue,
};

const BROKER: NodeKind = NodeKind::Broker(1);
const ZOOKEEPER: NodeKind = NodeKind::Zookeeper;
const MYSQL: NodeKind = NodeKind::Mysql;
const COMMAND: NodeKind = NodeKind::Command;
const UI: NodeKind = NodeKind::KafkaUi;

/// A line, with those behind it where they matter.
#[derive(Debug)]
struct Line {
    kind: NodeKind,
    reads: Reads,
    seen: Seen,
    text: &'static str,
}

/// How it is to be read.
#[derive(Debug)]
enum Reads {
    /// It explains an end.
    Ends(Cause),
    Noted,
    Harmless,
}

/// Where it was seen.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Written down by somebody, at this address.
    In(&'static str),
    /// In the real program, brought into this trouble.
    Here(&'static str),
    /// Nowhere yet: it is made from the program's format string.
    Nowhere,
}

fn lines() -> impl Iterator<Item = &'static Line> {
    [kafka::LINES, zookeeper::LINES, mysql::LINES, jvm::LINES].into_iter().flatten()
}

/// The entry that a line is read by; an error when it is not read as it shall be, or by another list.
fn entry(line: &Line) -> Result<&'static Known, String> {
    let Line { kind, reads, text, .. } = line;
    let ends = catalogue::explain(*kind, text).map(|(known, _)| known);
    // of a harmless or noted line it is the first that counts: what is behind it goes with it
    let first = text.lines().next().unwrap();
    let (noted, harmless) = (catalogue::noted(*kind, first), catalogue::harmless(*kind, first));
    let found = match (reads, ends, noted, harmless) {
        (Reads::Ends(cause), Some(known), None, None) if known.cause == Some(*cause) => Some(known),
        (Reads::Noted, None, Some(known), None) | (Reads::Harmless, None, None, Some(known)) => Some(known),
        (Reads::Ends(_) | Reads::Noted | Reads::Harmless, ..) => None,
    };
    found.ok_or_else(|| format!("{line:?}\n  reads as {ends:?}, {noted:?}, {harmless:?}"))
}

/// The entries that none of `lines` is read by.
fn unmet<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<&'static [&'static str]> {
    let met: Vec<&Known> = lines.filter_map(|line| entry(line).ok()).collect();
    let all = [FATAL, NOTED, HARMLESS].into_iter().flatten().copied().flatten();
    all.filter(|known| !met.contains(known)).map(|known| known.parts).collect()
}

#[test]
fn every_line_is_read_as_it_shall_be() {
    let wrong: Vec<String> = lines().filter_map(|line| entry(line).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_entry_is_met_by_a_line() {
    assert_eq!(unmet(lines()), Vec::<&[&str]>::new());
}

/// The entries whose only lines are made from format strings, all that there are. Whoever finds a real line takes its entry out here.
const ONLY_MADE: &[&[&str]] = &[&["NetworkClient", "disconnected"], &["NetworkClient", "could not be established"]];

#[test]
fn entries_without_a_line_that_somebody_has_seen_are_these() {
    assert_eq!(unmet(lines().filter(|line| line.seen != Seen::Nowhere)), ONLY_MADE);
}

#[test]
fn a_slow_log_that_mysqld_may_not_write_explains_no_end() {
    // docker-library/mysql, issue 843: the server goes on without it
    let text = "mysqld: File '/var/log/mysql-slow.log' not found (OS errno 13 - Permission denied)\n\
        2022-04-14T17:56:37.584979Z 0 [ERROR] [MY-011263] [Server] Could not use /var/log/mysql-slow.log for logging (error 13 - \
        Permission denied). Turning logging off for the server process.";
    assert_eq!(catalogue::explain(MYSQL, text), None);
}

/// What runs that went well wrote, a line of each shape: starts, stops of all at once, kills and pauses of brokers, ZooKeeper killed, log
/// recovery, consumers and removed topics.
const WENT_WELL: &[(NodeKind, &str)] = &[
    (BROKER, include_str!("../../../tests/golden/logs/broker.log")),
    (ZOOKEEPER, include_str!("../../../tests/golden/logs/zookeeper.log")),
    (MYSQL, include_str!("../../../tests/golden/logs/mysql.log")),
];

#[test]
fn of_what_went_well_nothing_is_read_as_an_end_and_every_warning_is_known() {
    for (kind, text) in WENT_WELL {
        assert_eq!(catalogue::explain(*kind, text), None);
        let warns = |line: &&str| [" WARN ", " ERROR ", "[Warning]", "[ERROR]"].iter().any(|word| line.contains(word));
        let known = |line: &&str| catalogue::noted(*kind, line).or(catalogue::harmless(*kind, line)).is_some();
        let unknown: Vec<&str> = text.lines().filter(warns).filter(|line| !known(line)).collect();
        assert!(unknown.is_empty(), "{kind:?}: {unknown:#?}");
    }
}

#[test]
fn every_line_says_where_it_was_seen() {
    for line in lines() {
        match line.seen {
            Seen::In(address) => {
                assert!(address.starts_with("https://") && address.len() > 24 && !address.contains(' '), "{line:?}");
            }
            Seen::Here(trouble) => assert!(!trouble.is_empty(), "{line:?}"),
            Seen::Nowhere => {}
        }
        assert!(!line.text.contains("/tmp/") || matches!(line.seen, Seen::In(_)), "a path of some machine: {line:?}");
    }
}
