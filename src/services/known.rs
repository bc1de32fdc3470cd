//! The list of known log lines, a file for each product; what they say to do when several lines call for the same.

use super::catalogue::{Known, Passes, Product};
use crate::base::Cause;
use std::time::Duration;

mod debezium;
mod host;
mod jvm;
mod kafka;
mod mysql;
mod spring;
mod zookeeper;

/// Lines that explain an end, the more specific before the less: the kernel's own words last.
pub(super) const FATAL: &[&[Known]] =
    &[kafka::FATAL, zookeeper::FATAL, mysql::FATAL, spring::FATAL, jvm::FATAL, host::FATAL];

/// Lines that say more than they look, and end nothing.
pub(super) const NOTED: &[&[Known]] = &[kafka::NOTED, zookeeper::NOTED, mysql::NOTED, debezium::NOTED];

/// Lines that look bad and are not.
pub(super) const HARMLESS: &[&[Known]] =
    &[kafka::HARMLESS, zookeeper::HARMLESS, mysql::HARMLESS, spring::HARMLESS, jvm::HARMLESS];

const fn fatal(
    product: Product,
    cause: Cause,
    parts: &'static [&'static str],
    meaning: &'static str,
    remedy: &'static str,
) -> Known {
    Known { product, parts, meaning, remedy, cause: Some(cause), passes: None, follows: false, behind: None }
}

/// What a product writes behind whatever the matter is.
const fn consequence(
    product: Product,
    cause: Cause,
    parts: &'static [&'static str],
    meaning: &'static str,
    remedy: &'static str,
) -> Known {
    Known { follows: true, ..fatal(product, cause, parts, meaning, remedy) }
}

const fn harmless(product: Product, parts: &'static [&'static str], meaning: &'static str) -> Known {
    Known { product, parts, meaning, remedy: "", cause: None, passes: None, follows: false, behind: None }
}

/// Harmless for a while after the node's start and after a broker was away; then it is about a listener.
const fn harmless_at_first(
    product: Product,
    parts: &'static [&'static str],
    meaning: &'static str,
    later: &'static str,
) -> Known {
    let passes = Passes { within: AT_FIRST, meaning: later, remedy: ASK_LISTENERS };
    Known { product, parts, meaning, remedy: "", cause: None, passes: Some(passes), follows: false, behind: None }
}

const fn noted(product: Product, parts: &'static [&'static str], meaning: &'static str, remedy: &'static str) -> Known {
    Known { product, parts, meaning, remedy, cause: None, passes: None, follows: false, behind: None }
}

/// Brokers join within seconds; what still says this after half a minute says it for ever (wurstmeister/kafka-docker#218, #424).
const AT_FIRST: Duration = Duration::from_secs(30);
const ASK_LISTENERS: &str =
    "run `cdc-supervisor verify`: it asks every listener what it advertises, and writes through it";
const SEE_STALLS: &str = "compare the longest stall in `cdc-supervisor status` with kafka.session_timeout; give the machine room, or the sessions more time";

const FREE_PORT: &str = "stop the program that holds the port, or set another one in supervisor.toml";
/// Stands in the remedy of each entry that a full disk may be behind.
pub(super) const HOW_FULL: &str = "see how full the disk is";
pub(super) const FREE_SPACE: &str = "free space on that file system, then start the node";
pub(super) const OWN_FILES: &str = "give the directory and all in it to the user the node runs as, then start the node";
const FIX_OPTION: &str = "correct the setting in supervisor.toml, then reload";
const RAISE_AIO: &str = "raise fs.aio-max-nr: `cdc-supervisor doctor` says to what, `doctor --fix aio` does it; or set innodb_use_native_aio = 0 in mysql.options";
const RESTORE_PAIR: &str = "restore ZooKeeper's data from the snapshot that belongs to these brokers, or reset both together; never edit meta.properties";

const RESTORE_ALL: &str = "see the kernel's log for the disk's errors, and put a copy of its data_dir aside; `cdc-supervisor snapshot list` \
     shows what there is, `cdc-supervisor restore --only kafka NAME` puts its data and the brokers' back: they belong together";
const RESTORE_MYSQL: &str = "see the kernel's log for the disk's errors, and put a copy of mysql.data_dir aside; then restore it: \
     `cdc-supervisor snapshot list` shows what there is, `cdc-supervisor restore --only mysql NAME` puts it back";
const NEW_SNAPSHOT: &str = "let the connector read the tables anew (snapshot.mode = when_needed, then restart it); raise binlog_expire_logs_seconds in mysql.options \
     above the longest time that it may be away";

#[cfg(test)]
mod lines;
