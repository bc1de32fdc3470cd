//! Known lines of Kafka: of brokers, of its clients and tools. Texts are those in the class files of 3.5.2 unless a comment says else.

use super::{
    FIX_OPTION, FREE_PORT, OWN_FILES, RESTORE_PAIR, SEE_STALLS, consequence, fatal, harmless, harmless_at_first, noted,
};
use crate::base::Cause;
use crate::services::catalogue::{Known, Product};

const REFUSED: &str =
    "a write that waits for all replicas (acks=all) is refused: fewer are in sync than min.insync.replicas asks for";
const SEE_REPLICAS: &str =
    "see in `cdc-supervisor status` which broker is away or behind; what was confirmed before is not lost";
const ANOTHER_CHECKPOINT: &str = "move the file that is named out of the data_dir (the broker makes it anew and checks its logs), then start the node";

/// Lines that explain an end, the more specific before the less.
pub(super) const FATAL: &[Known] = &[
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
    // CheckpointFile.read (3.5.2): what a cut of the power leaves of a file that was being written
    fatal(
        Product::Kafka,
        Cause::Crashed,
        &["Malformed line in checkpoint file"],
        "a file in which the broker keeps positions is damaged",
        ANOTHER_CHECKPOINT,
    ),
    fatal(
        Product::Kafka,
        Cause::Crashed,
        &["entries in checkpoint file", "but found only"],
        "a file in which the broker keeps positions is damaged",
        ANOTHER_CHECKPOINT,
    ),
];

/// Lines that say more than they look, and end nothing.
pub(super) const NOTED: &[Known] = &[
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
    noted(Product::Kafka, &["org.apache.kafka.common.errors.NotEnoughReplicasException"], REFUSED, SEE_REPLICAS),
    noted(
        Product::Kafka,
        &["Got error produce response with correlation id", ". Error: NOT_ENOUGH_REPLICAS"],
        REFUSED,
        SEE_REPLICAS,
    ),
    noted(
        Product::Kafka,
        &["org.apache.kafka.common.errors.RecordTooLargeException"],
        "a record is larger than its producer may send (max.request.size) or than its topic takes (max.message.bytes)",
        "raise both: max.request.size of the producer (of a connector producer.override.max.request.size), max.message.bytes of the topic",
    ),
    // ClientCnxn.SendThread.run (3.6.4): two thirds of the session without a word
    noted(
        Product::Kafka,
        &["org.apache.zookeeper.ClientCnxn", "Client session timed out, have not heard from server in"],
        "the broker heard nothing of ZooKeeper for the greater part of its session: one of the two was held up (garbage collection, a busy processor or disk)",
        SEE_STALLS,
    ),
];

/// Lines that look bad and are not.
pub(super) const HARMLESS: &[Known] = &[
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
    // What 3.5.2 says in the place of the line above, which it has no more (its class files; tried with one broker of three)
    harmless_at_first(
        Product::Kafka,
        &["larger than available brokers"],
        "a topic waits until enough brokers have joined",
        "a topic asks for more replicas than this broker knows of brokers, and none has just started: it asks for more than there shall be, a broker does not run, or what brokers advertise to each other is wrong",
    ),
    harmless_at_first(
        Product::Kafka,
        &["=INVALID_REPLICATION_FACTOR}"],
        "a topic waits until enough brokers have joined",
        "a topic asks for more replicas than there are brokers, and none has just started: it asks for more than there shall be, a broker does not run, or what brokers advertise to each other is wrong",
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
        &["fails to send", "request", "kafka.controller.RequestSendThread"],
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
        // the exception's name is in the next line
        &["Error registering AppInfo mbean"],
        "two clients in one process share a name for their counters",
    ),
    // LogSegment.sanityCheck, LogLoader.recoverLog (3.5.2)
    harmless(
        Product::Kafka,
        &["Could not find offset index file corresponding to log file", "rebuilding index files"],
        "an index is made anew from its log, after a death",
    ),
    harmless(
        Product::Kafka,
        &["Found a corrupted index file corresponding to log file", "rebuilding index files"],
        "an index is made anew from its log, after a death",
    ),
    harmless(
        Product::Kafka,
        &["org.apache.zookeeper.ClientCnxn", "Attempting reconnect except it is a SessionExpiredException"],
        "ZooKeeper is down or starting; the connection is tried again",
    ),
    // ---- Kafka's clients ----
    harmless(
        Product::Kafka,
        &["=LEADER_NOT_AVAILABLE}"],
        "a topic that is being made has no leader yet, or its leader has just gone; it is asked for again",
    ),
    harmless(
        Product::Kafka,
        &["Received unknown topic or partition error in produce request"],
        "a topic is newer than what one broker knows, or was removed while somebody wrote to it",
    ),
    harmless(
        Product::Kafka,
        &["Got error produce response with correlation id", ". Error: NOT_LEADER_"],
        "a leader has moved; the record is sent again",
    ),
    harmless(
        Product::Kafka,
        &["Got error produce response with correlation id", ". Error: NETWORK_EXCEPTION"],
        "a broker went away; the record is sent again",
    ),
    harmless(
        Product::Kafka,
        &["Received invalid metadata error in produce request", "Going to request metadata update now"],
        "a leader has moved or gone; the producer asks for the new one",
    ),
    harmless(
        Product::Kafka,
        &["Bootstrap broker ", " disconnected (org.apache.kafka.clients.NetworkClient)"],
        "one of the brokers that a client may begin with does not answer; the next one is asked",
    ),
    harmless(
        Product::Kafka,
        &["Offset commit failed on partition", "This is not the correct coordinator."],
        "the group's coordinator has moved; it is asked for, and the offset committed again",
    ),
];
