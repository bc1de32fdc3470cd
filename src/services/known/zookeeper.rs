//! Known lines of ZooKeeper. Texts are those in the class files of 3.6.4 unless a comment says else.

use super::{FIX_OPTION, OWN_FILES, RESTORE_ALL, SEE_STALLS, fatal, harmless, noted};
use crate::base::Cause;
use crate::services::catalogue::{Known, Product};

/// Lines that explain an end, the more specific before the less.
pub(super) const FATAL: &[Known] = &[
    fatal(
        Product::Zookeeper,
        Cause::BadOption,
        &["Invalid config, exiting abnormally"],
        "ZooKeeper refuses its configuration",
        FIX_OPTION,
    ),
    fatal(
        Product::Zookeeper,
        Cause::WrongOwner,
        &["Unable to access datadir, exiting abnormally"],
        "ZooKeeper cannot use its data directory",
        OWN_FILES,
    ),
    fatal(
        Product::Zookeeper,
        Cause::PortTaken,
        &["Unable to start AdminServer, exiting abnormally"],
        "ZooKeeper's admin server could not start, most often because its port (8080) is taken",
        "take admin.enableServer out of zookeeper.properties",
    ),
    fatal(
        Product::Zookeeper,
        Cause::Crashed,
        &["No snapshot found, but there are log entries"],
        "ZooKeeper's snapshots are gone while its transaction log is there",
        RESTORE_ALL,
    ),
    fatal(
        Product::Zookeeper,
        Cause::Crashed,
        &["CRC check failed"],
        "ZooKeeper's transaction log is damaged",
        RESTORE_ALL,
    ),
    // BinaryInputArchive.checkLength (3.6.4; also of a snapshot). What a client sends is read with it, too: a Kafka client on
    // ZooKeeper's port leaves the same line behind "Close of session 0x0", and ends nothing.
    Known {
        behind: Some("exiting abnormally"),
        ..fatal(
            Product::Zookeeper,
            Cause::Crashed,
            &["java.io.IOException: Unreasonable length"],
            "ZooKeeper's transaction log or snapshot is damaged",
            RESTORE_ALL,
        )
    },
    // FileTxnLog.FileTxnIterator.inStreamCreated
    fatal(
        Product::Zookeeper,
        Cause::Crashed,
        &["has invalid magic number"],
        "ZooKeeper's transaction log is damaged",
        RESTORE_ALL,
    ),
    // FileHeader.deserialize (3.6.4): a log of no or a few bytes, from a cut of the power or a full disk. A log that is cut behind its
    // header is read as far as it goes (tried).
    Known {
        behind: Some("exiting abnormally"),
        ..fatal(
            Product::Zookeeper,
            Cause::Crashed,
            &["java.io.EOFException"],
            "a file of ZooKeeper's transaction log ends before its header does",
            "if the newest log.* below its data_dir (version-2) is smaller than 16 bytes, there is nothing in it: move it away, then \
             start the node. Otherwise put back ZooKeeper's data with the brokers': `cdc-supervisor snapshot list` shows what there is",
        )
    },
    fatal(
        Product::Zookeeper,
        Cause::Crashed,
        &["Not able to find valid snapshots in"],
        "ZooKeeper's snapshots are damaged",
        RESTORE_ALL,
    ),
];

/// Lines that say more than they look, and end nothing.
pub(super) const NOTED: &[Known] = &[
    // ZooKeeperServer.expire (3.6.4)
    noted(
        Product::Zookeeper,
        &["Expiring session 0x", "timeout of", "exceeded"],
        "nothing was heard of that session's owner for so long: it has died, or it was held up (garbage collection, a busy processor or disk)",
        SEE_STALLS,
    ),
    noted(
        Product::Zookeeper,
        &["Too many connections from ", " - max is "],
        "an address has as many connections as maxClientCnxns allows, and gets no more",
        "see what holds them open, or raise maxClientCnxns in zookeeper.properties",
    ),
    // FileTxnLog.commit (3.6.4), from fsync.warningthresholdms on, 1 s
    noted(
        Product::Zookeeper,
        &["fsync-ing the write ahead log in", "which will adversely effect operation latency"],
        "its disk took so long to write, and nothing is answered meanwhile: sessions may be evicted",
        "see what else writes to that disk, or give zookeeper.data_dir one of its own; `cdc-supervisor status` shows the longest stall",
    ),
];

/// Lines that look bad and are not.
pub(super) const HARMLESS: &[Known] = &[
    harmless(
        Product::Zookeeper,
        &["Got user-level KeeperException"],
        "a client created what was there or looked for what was not: normal traffic",
    ),
    harmless(Product::Zookeeper, &["running in standalone mode"], "one ZooKeeper without an ensemble is what we run"),
    harmless(
        Product::Zookeeper,
        &["maxCnxns is not configured"],
        "the number of connections is not limited on purpose",
    ),
    harmless(
        Product::Zookeeper,
        // up to 3.5: "client sessionid 0x…, likely client has closed socket"
        &["Unable to read additional data from client"],
        "a client went away; a killed broker does so, too",
    ),
    harmless(
        Product::Zookeeper,
        &["Close of session 0x"],
        "a connection ended without a goodbye: a client went away, or something came that is no session (a probe, a program that takes this port for another)",
    ),
];
