//! The list of known log lines. Texts of Kafka 3.5.2 and ZooKeeper 3.6.4 are those in their class files, of mysqld those in
//! the message file of 9.7.4; MySQL's codes in brackets are the same in all series.
//!
//! Long because it is a list: an entry is looked up, not read through.

use super::catalogue::{Known, Passes, Product};
use crate::base::Cause;
use std::time::Duration;

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
const FREE_SPACE: &str = "free space on that file system, then start the node";
pub(super) const OWN_FILES: &str = "give the directory and all in it to the user the node runs as, then start the node";
const FIX_OPTION: &str = "correct the setting in supervisor.toml, then reload";
const RAISE_AIO: &str = "raise fs.aio-max-nr: `cdc-supervisor doctor` says to what, `doctor --fix aio` does it; or set innodb_use_native_aio = 0 in mysql.options";
const RESTORE_PAIR: &str = "restore ZooKeeper's data from the snapshot that belongs to these brokers, or reset both together; never edit meta.properties";

const RESTORE_ALL: &str = "see the kernel's log for the disk's errors, and put a copy of its data_dir aside; `cdc-supervisor snapshot list` \
     shows what there is, `cdc-supervisor restore --only kafka NAME` puts its data and the brokers' back: they belong together";

/// Lines that explain an end, the more specific before the less.
pub(super) const FATAL: &[Known] = &[
    // ---- Kafka ----
    fatal(
        Product::Kafka,
        Cause::WrongIdentity,
        &["doesn't match stored clusterId"],
        "the broker's data belongs to another cluster than ZooKeeper's",
        RESTORE_PAIR,
    ),
    fatal(
        Product::Kafka,
        Cause::WrongIdentity,
        &["doesn't match stored broker.id"],
        "the data directory belongs to a broker with another id",
        "give each broker back its own data_dir",
    ),
    fatal(
        Product::Kafka,
        Cause::WrongIdentity,
        &["InconsistentBrokerMetadataException"],
        "the broker's data directories disagree about whose they are",
        "give the broker back its own data directories",
    ),
    fatal(
        Product::Kafka,
        Cause::NewerData,
        &["Found unexpected version in loaded `meta.properties`"],
        "the data directory was written by a broker without ZooKeeper (KRaft)",
        "use an empty data_dir, or the Kafka version that wrote this one",
    ),
    fatal(
        Product::Kafka,
        Cause::OldSession,
        &["Error while creating ephemeral at /brokers/ids/", "node already exists and owner"],
        "another session holds this broker's name in ZooKeeper: that of its last run, or another broker with its id",
        "wait: the supervisor starts the broker when the session is gone, and says so when it stays",
    ),
    fatal(
        Product::Kafka,
        Cause::WrongOwner,
        &["Failed to acquire lock on file .lock in"],
        "another broker is using the data directory",
        "stop the broker that was started outside the supervisor, or give this one another data_dir",
    ),
    fatal(
        Product::Kafka,
        Cause::BadOption,
        &["Configured end points", "already registered by broker"],
        "another broker of the cluster advertises the same address",
        "give each broker ports of its own",
    ),
    fatal(
        Product::Kafka,
        Cause::BadOption,
        &["Socket server failed to bind to", "Cannot assign requested address"],
        "the host does not have the address the broker should listen on",
        "set kafka.bind to an address of this host",
    ),
    fatal(
        Product::Kafka,
        Cause::PortTaken,
        &["Socket server failed to bind to"],
        "a port of the broker is taken",
        FREE_PORT,
    ),
    fatal(
        Product::Kafka,
        Cause::BadOption,
        &["org.apache.kafka.common.config.ConfigException"],
        "Kafka refuses a property",
        FIX_OPTION,
    ),
    fatal(
        Product::Kafka,
        Cause::BadOption,
        &["java.lang.IllegalArgumentException: requirement failed"],
        "Kafka refuses a combination of properties",
        FIX_OPTION,
    ),
    fatal(
        Product::Kafka,
        Cause::Crashed,
        &["Timed out waiting for connection while in state"],
        "the broker did not reach ZooKeeper in time",
        "see whether ZooKeeper is ready",
    ),
    fatal(
        Product::Kafka,
        Cause::WrongOwner,
        &["none of the specified log dirs from", "can be created or validated"],
        "the broker cannot make or use its data directory",
        OWN_FILES,
    ),
    // LocalLog.parseTopicPartitionName (3.5.2); a mount's `lost+found` is the usual one
    fatal(
        Product::Kafka,
        Cause::WrongIdentity,
        &["Found directory", "is not in the form of topic-partition"],
        "a directory in the broker's data directory is no partition's, and a broker takes each for one",
        "move that directory out of it (of a mount take a directory below as data_dir), then start the node",
    ),
    consequence(
        Product::Kafka,
        Cause::Crashed,
        &["because all log dirs in", "have failed"],
        "the broker lost its last data directory to an I/O error",
        "look at the lines before and at the kernel's log for the disk's errors",
    ),
    // ---- ZooKeeper ----
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
        "ZooKeeper's admin server found its port taken",
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
    // ---- mysqld ----
    fatal(Product::Mysql, Cause::BadOption, &["[MY-000067]"], "mysqld does not know an option", FIX_OPTION),
    fatal(Product::Mysql, Cause::BadOption, &["[MY-000068]"], "mysqld does not know an option", FIX_OPTION),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["Error while setting value"],
        "mysqld refuses an option's value",
        FIX_OPTION,
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["option '--", "requires an argument"],
        "an option of mysqld lacks its value",
        FIX_OPTION,
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["[MY-011087]"],
        "lower_case_table_names differs from what the data directory was made with",
        "set it back in mysql.options: it cannot be changed later",
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["[MY-010123]"],
        "mysqld does not run as root unless told to",
        "set mysql.user, or leave user out of mysql.options",
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["Bind on TCP/IP port: Cannot assign requested address"],
        "the host does not have the address mysqld should listen on",
        "set mysql.bind to an address of this host",
    ),
    fatal(
        Product::Mysql,
        Cause::PortTaken,
        &["Bind on TCP/IP port: Address already in use"],
        "mysqld's port is taken",
        FREE_PORT,
    ),
    // MY-010257 behind it ("Do you already have another mysqld …") is a guess that it makes for every bind error
    fatal(
        Product::Mysql,
        Cause::PortTaken,
        &["Bind on unix socket: Address already in use"],
        "another program listens on the socket",
        "stop the mysqld that was started outside the supervisor",
    ),
    fatal(
        Product::Mysql,
        Cause::PortTaken,
        &["Another process with pid", "is using unix socket file"],
        "another mysqld listens on the socket",
        "stop the mysqld that was started outside the supervisor",
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["Unable to lock ./ibdata1", "error: 11"],
        "another mysqld is using the data directory",
        "stop the mysqld that was started outside the supervisor",
    ),
    fatal(
        Product::Mysql,
        Cause::NewerData,
        &["Invalid MySQL server downgrade"],
        "the data directory was written by a newer MySQL",
        "install that version again, or restore a dump",
    ),
    fatal(
        Product::Mysql,
        Cause::NewerData,
        &["Cannot boot server version", "on data directory built by version"],
        "the data directory was written by a newer MySQL",
        "install that version again, or restore a dump",
    ),
    fatal(
        Product::Mysql,
        Cause::NewerData,
        &["Invalid MySQL server upgrade"],
        "the data directory's version cannot be upgraded to this MySQL in one step",
        "install the long-term series between the two first",
    ),
    // ER_IB_MSG_446 (MY-012271) of a data file that is there and may only be read
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["[InnoDB]", "data file", "must be writable"],
        "mysqld may not write to a file of its data",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["mysqld does not have the access rights to"],
        "mysqld may not use its files",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["Failed to set datadir to", "No such file or directory"],
        "the data directory is gone",
        "restore it, or reset mysql to make a new one",
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["Failed to set datadir to"],
        "mysqld cannot enter its data directory",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["(OS errno 13 - Permission denied)"],
        "mysqld may not use a file",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["(OS errno: 13 - Permission denied)"],
        "mysqld may not use a file",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongIdentity,
        &["[MY-010076]"],
        "auto.cnf, which holds the server's uuid, cannot be read",
        "restore auto.cnf from a backup; without it the server makes a new uuid, and its next transactions have other GTIDs",
    ),
    fatal(
        Product::Mysql,
        Cause::CouldNotStart,
        &["error while loading shared libraries"],
        "the host lacks a library that mysqld needs",
        "see what doctor says of the MySQL tree",
    ),
    // LinuxAIOHandler in storage/innobase/os/os0file.cc: io_setup(2) was refused five times
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["io_setup() failed with EAGAIN after"],
        "the host's asynchronous I/O is used up (fs.aio-max-nr)",
        RAISE_AIO,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["Cannot initialize AIO sub-system"],
        "mysqld got no asynchronous I/O from the host",
        RAISE_AIO,
    ),
    // ---- Spring Boot: the UI ----
    fatal(
        Product::Spring,
        Cause::PortTaken,
        &["Web server failed to start. Port", "was already in use"],
        "its port is taken",
        FREE_PORT,
    ),
    fatal(
        Product::Spring,
        Cause::BadOption,
        &["Failed to bind properties under"],
        "a setting has a value of the wrong kind",
        FIX_OPTION,
    ),
    fatal(
        Product::Spring,
        Cause::BadOption,
        &["Config data resource", "does not exist"],
        "its configuration file is not there",
        "restart the node: the file is written before each start",
    ),
    consequence(
        Product::Spring,
        Cause::BadOption,
        &["APPLICATION FAILED TO START"],
        "Spring refuses to start it, and says why in the lines below",
        "read on with `cdc-supervisor logs kafka-ui`, correct the setting, then reload",
    ),
    fatal(
        Product::Spring,
        Cause::CouldNotStart,
        &["Unable to access jarfile"],
        "its jar is not there",
        "fetch the artifacts again, then start the node",
    ),
    fatal(
        Product::Spring,
        Cause::CouldNotStart,
        &["Invalid or corrupt jarfile"],
        "its jar is no jar",
        "fetch the artifacts again, then start the node",
    ),
    // ---- the JVM ----
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["java.lang.OutOfMemoryError: Java heap space"],
        "the Java heap is full (this is not the memory cap)",
        "raise heap, and memory_max with it",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["java.lang.OutOfMemoryError: Metaspace"],
        "the limit on class metadata was reached",
        "raise memory_max, or -XX:MaxMetaspaceSize in jvm_flags",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["OutOfMemoryError", "direct buffer memory"],
        "the limit on direct buffers was reached",
        "raise memory_max, or -XX:MaxDirectMemorySize in jvm_flags",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["OutOfMemoryError: unable to create native thread"],
        "the limit on threads was reached",
        "raise tasks_max",
    ),
    // FileChannelImpl.map (OpenJDK 17): "java.io.IOException: Map failed", caused by an OutOfMemoryError of the same words
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["java.", "Map failed"],
        "the kernel refused to map another file: the process has as many mappings as it may (vm.max_map_count), or its address space is bounded",
        "raise vm.max_map_count: `cdc-supervisor doctor` says to what, `doctor --fix max-map-count` does it",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["There is insufficient memory for the Java Runtime Environment to continue"],
        "the host had no memory for the JVM",
        "free memory on the host, or lower heaps",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["#  SIGBUS (0x7)"],
        "the JVM read past the end of a mapped file: a truncated class-data archive, or the disk was full",
        "remove the .jsa files of artifacts/class-data, they are made again, and see how full the disk is",
    ),
    fatal(Product::Jvm, Cause::BadOption, &["Unrecognized VM option"], "the JVM does not know a flag", FIX_OPTION),
    fatal(Product::Jvm, Cause::BadOption, &["Unrecognized option:"], "the JVM does not know a flag", FIX_OPTION),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Invalid maximum heap size"],
        "the JVM refuses the heap's size",
        FIX_OPTION,
    ),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Initial heap size set to a larger value than the maximum heap size"],
        "a flag asks for more heap at the start than the heap may have",
        "take -Xms out of jvm_flags, or raise heap",
    ),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Multiple garbage collectors selected"],
        "a flag chooses a second garbage collector",
        "put -XX:-UseSerialGC before it in jvm_flags",
    ),
    consequence(
        Product::Jvm,
        Cause::BadOption,
        &["Error: Could not create the Java Virtual Machine"],
        "the JVM refuses its flags",
        FIX_OPTION,
    ),
    fatal(
        Product::Jvm,
        Cause::CouldNotStart,
        &["java.lang.UnsupportedClassVersionError"],
        "the jars need a newer Java",
        "install the Java version that doctor asks for",
    ),
    fatal(
        Product::Jvm,
        Cause::CouldNotStart,
        &["Error: Could not find or load main class"],
        "the program's jars are not all there",
        "fetch the artifacts again",
    ),
    // ---- the kernel's words, in whatever wrapping ----
    fatal(Product::Any, Cause::DiskFull, &["No space left on device"], "the file system is full", FREE_SPACE),
    // ENFILE before EMFILE, whose words it contains (errno(3))
    fatal(
        Product::Any,
        Cause::Crashed,
        &["Too many open files in system"],
        "all programs of the host together have as many files open as it allows (fs.file-max)",
        "raise fs.file-max: `cdc-supervisor doctor` says to what, `doctor --fix file-max` does it",
    ),
    fatal(
        Product::Any,
        Cause::Crashed,
        &["Too many open files"],
        "it has as many files open as it may",
        "raise nofile in its table of supervisor.toml, then reload",
    ),
    fatal(Product::Any, Cause::DiskFull, &["Disk quota exceeded"], "the user's disk quota is used up", FREE_SPACE),
    fatal(
        Product::Any,
        Cause::PortTaken,
        &["java.net.BindException: Address already in use"],
        "a port is taken",
        FREE_PORT,
    ),
    fatal(
        Product::Any,
        Cause::BadOption,
        &["java.net.BindException: Cannot assign requested address"],
        "the host does not have the address to listen on",
        "set bind to an address of this host",
    ),
    fatal(
        Product::Jvm,
        Cause::WrongOwner,
        &["java.nio.file.AccessDeniedException"],
        "a file may not be used",
        OWN_FILES,
    ),
    fatal(Product::Jvm, Cause::WrongOwner, &["(Permission denied)"], "a file may not be used", OWN_FILES),
    fatal(
        Product::Any,
        Cause::WrongOwner,
        &["Read-only file system"],
        "the file system is mounted read-only",
        "see the kernel's log for the disk's errors, then mount it for writing",
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
    // ClientCnxn.onConnected, then ZooKeeperClient.scala (3.5.2)
    noted(
        Product::Kafka,
        &["Unable to reconnect to ZooKeeper service, session 0x", "has expired"],
        "ZooKeeper has evicted this broker: nothing was heard of it for as long as its session lasts (it was held up by garbage collection, a busy processor or disk, or ZooKeeper was); others lead its partitions until it has registered anew",
        SEE_STALLS,
    ),
    noted(
        Product::Kafka,
        &["[ZooKeeperClient", "Session expired."],
        "the broker has lost its place in ZooKeeper, because nothing was heard of it for as long as its session lasts, and registers anew",
        SEE_STALLS,
    ),
];

/// Lines that look bad and are not.
pub(super) const HARMLESS: &[Known] = &[
    // ---- Kafka ----
    harmless(
        Product::Kafka,
        &["Error processing message, terminating consumer process"],
        "kafka-console-consumer with --timeout-ms ends this way when no more messages come",
    ),
    harmless_at_first(
        Product::Kafka,
        &["does not meet the required replication factor"],
        "brokers are still joining",
        "this broker knows of fewer brokers than there shall be, and none has just started: one does not run, or what brokers advertise to each other is wrong",
    ),
    harmless(
        Product::Kafka,
        &["larger than available brokers"],
        "an internal topic waits until enough brokers have joined",
    ),
    harmless_at_first(
        Product::Kafka,
        &["could not be established. Broker may not be available"],
        "another broker is down or starting",
        "no broker was down or starting just now: a broker advertises an address at which nobody listens",
    ),
    harmless(Product::Kafka, &["Error in response for fetch request"], "another broker is down or starting"),
    harmless(Product::Kafka, &["Error sending fetch request"], "another broker is down or starting"),
    harmless(
        Product::Kafka,
        &["'s connection to broker", "was unsuccessful"],
        "the controller tries to reach a broker that is down or starting",
    ),
    harmless(
        Product::Kafka,
        &["fails to send request", "kafka.controller.RequestSendThread"],
        "the controller tries to reach a broker that is down or starting",
    ),
    harmless(
        Product::Kafka,
        &["failed to change state for partition", "state.change.logger"],
        "no replica of a partition is left to lead while brokers stop; it is tried again when one returns",
    ),
    harmless(
        Product::Kafka,
        &["Proceeding to do an unclean shutdown"],
        "no other broker could take over leadership; the logs are flushed all the same",
    ),
    harmless(
        Product::Kafka,
        &["Error during controlled shutdown, possibly because"],
        "the controller stopped at the same time; it is tried again",
    ),
    harmless(
        Product::Kafka,
        &["but cannot become follower since the new leader -1 is unavailable"],
        "no replica of a partition is left to lead while brokers stop or start",
    ),
    harmless(
        Product::Kafka,
        &["marked as failed", "kafka.server.ReplicaFetcherThread"],
        "a follower waits for the controller's word about a new leader; a lasting failure shows in the ISR",
    ),
    harmless(
        Product::Kafka,
        &["Received UNKNOWN_TOPIC_ID from the leader"],
        "a topic is newer than what one broker knows",
    ),
    harmless(
        Product::Kafka,
        &["NotLeaderOrFollowerException"],
        "a client asked a former leader and will ask the new one",
    ),
    harmless(Product::Kafka, &["UNKNOWN_TOPIC_OR_PARTITION"], "a topic is newer than what one broker knows"),
    harmless(Product::Kafka, &["UnknownTopicOrPartitionException"], "a topic is newer than what one broker knows"),
    harmless(Product::Kafka, &["Terminating process due to signal"], "the broker was asked to stop"),
    harmless(
        Product::Kafka,
        &["No meta.properties file under dir"],
        "the first start of a broker on an empty data directory",
    ),
    harmless(
        Product::Kafka,
        &["org.apache.kafka.common.utils.AppInfoParser", "InstanceAlreadyExistsException"],
        "two clients in one process share a name for their counters",
    ),
    // ---- ZooKeeper ----
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
        &["Unable to read additional data from client, it probably closed the socket"],
        "a client went away; a killed broker does so, too",
    ),
    harmless(Product::Zookeeper, &["Close of session 0x0"], "a probe or a person asked a four-letter word"),
    // ---- mysqld ----
    harmless(Product::Mysql, &["[MY-010068]"], "the server made its own certificate at initialisation"),
    harmless(Product::Mysql, &["[MY-010453]"], "root gets its password before the server is reachable"),
    harmless(
        Product::Mysql,
        &["'binlog_format' is deprecated"],
        "ROW is the only format left, and named because change readers depend on it",
    ),
    harmless(Product::Mysql, &["[MY-011810]"], "the pid file's directory can be read by others"),
    harmless(
        Product::Mysql,
        &["[MY-012366]"],
        "the file system has no asynchronous I/O; the server uses its own threads",
    ),
    // ---- Spring Boot: the UI ----
    harmless(
        Product::Spring,
        &["NetworkClient", "disconnected"],
        "a broker went away; the page shows it and connects again by itself",
    ),
    harmless(
        Product::Spring,
        &["NetworkClient", "could not be established"],
        "a broker does not listen yet or any more; the page connects again by itself",
    ),
    harmless(
        Product::Spring,
        &["Authentication is disabled. Access will be unrestricted."],
        "the page has no login; it is bound to the address in kafka_ui.bind",
    ),
    // ---- the JVM ----
    harmless(
        Product::Jvm,
        &["[warning][cds"],
        "a class-data archive does not fit and is not used: the start is slower, nothing else",
    ),
    harmless(
        Product::Jvm,
        &["Sharing is only supported for boot loader classes"],
        "a flag switches class-data archives off",
    ),
];

#[cfg(test)]
mod lines;
