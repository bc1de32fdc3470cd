//! A line as its product writes it for every entry of the list. Those with times of 2026-11-25 were written by Kafka 3.5.2,
//! ZooKeeper 3.6.4, MySQL 9.7.4 and OpenJDK 17 when they were brought into that trouble; the others are their format strings.

use super::{FATAL, HARMLESS, NOTED};
use crate::{
    base::{Cause, NodeKind},
    services::catalogue,
};
use std::collections::BTreeSet;

const BROKER: NodeKind = NodeKind::Broker(1);
const ZOOKEEPER: NodeKind = NodeKind::Zookeeper;
const MYSQL: NodeKind = NodeKind::Mysql;
const COMMAND: NodeKind = NodeKind::Command;
const UI: NodeKind = NodeKind::KafkaUi;

const FATAL_LINES: &[(NodeKind, Cause, &str)] = &[
    (
        BROKER,
        Cause::WrongIdentity,
        "kafka.common.InconsistentClusterIdException: The Cluster ID Gg0YLaCaRNmYWWnhG1sHQA doesn't match stored clusterId Some(AAAAAAAAAAAAAAAAAAAAAA) in meta.properties. The broker is trying to join the wrong cluster. Configured zookeeper.connect may be wrong.",
    ),
    (
        BROKER,
        Cause::WrongIdentity,
        "kafka.common.InconsistentBrokerIdException: Configured broker.id 10 doesn't match stored broker.id Some(9) in meta.properties. If you moved your data, make sure your configured broker.id matches. If you intend to create a new broker, you should remove all data in your data directories (log.dirs).",
    ),
    (
        BROKER,
        Cause::WrongIdentity,
        "kafka.common.InconsistentBrokerMetadataException: BrokerMetadata is not consistent across log.dirs. This could happen if multiple brokers shared a log directory (log.dirs) or partial data was manually copied from another broker.",
    ),
    (
        BROKER,
        Cause::NewerData,
        "java.lang.RuntimeException: Found unexpected version in loaded `meta.properties`: {broker.id=11, version=1, cluster.id=Gg0YLaCaRNmYWWnhG1sHQA}. Expected version to be either 0 or 1",
    ),
    (
        BROKER,
        Cause::OldSession,
        "ERROR Error while creating ephemeral at /brokers/ids/2, node already exists and owner '0x10000b1c1a90003' does not match current session '0x10000b1c1a90004' (kafka.zk.KafkaZkClient$CheckedEphemeral)",
    ),
    (
        BROKER,
        Cause::WrongOwner,
        "org.apache.kafka.common.KafkaException: Failed to acquire lock on file .lock in /d. A Kafka instance in another process or thread is using this directory.",
    ),
    (
        BROKER,
        Cause::BadOption,
        "java.lang.IllegalArgumentException: requirement failed: Configured end points 127.0.0.1:9092 in advertised listeners are already registered by broker 1",
    ),
    (
        BROKER,
        Cause::BadOption,
        "org.apache.kafka.common.KafkaException: Socket server failed to bind to 10.9.9.9:9096: Cannot assign requested address.",
    ),
    (
        BROKER,
        Cause::PortTaken,
        "org.apache.kafka.common.KafkaException: Socket server failed to bind to 127.0.0.1:9095: Address already in use.",
    ),
    (
        BROKER,
        Cause::BadOption,
        "org.apache.kafka.common.config.ConfigException: Listener with name NOPE defined in inter.broker.listener.name not found in listener.security.protocol.map.",
    ),
    (
        BROKER,
        Cause::BadOption,
        "java.lang.IllegalArgumentException: requirement failed: log.retention.ms must be unlimited (-1) or, equal or greater than 1",
    ),
    (
        BROKER,
        Cause::Crashed,
        "kafka.zookeeper.ZooKeeperClientTimeoutException: Timed out waiting for connection while in state: CONNECTING",
    ),
    (
        BROKER,
        Cause::WrongOwner,
        "2026-11-25T14:15:19.345Z ERROR Shutdown broker because none of the specified log dirs from /d/file can be created or validated (kafka.log.LogManager)",
    ),
    (
        BROKER,
        Cause::WrongIdentity,
        "org.apache.kafka.common.KafkaException: Found directory /d/lost+found, 'lost+found' is not in the form of topic-partition or topic-partition.uniqueId-delete (if marked for deletion).",
    ),
    (BROKER, Cause::Crashed, "ERROR Shutdown broker because all log dirs in /d have failed (kafka.log.LogManager)"),
    (
        ZOOKEEPER,
        Cause::BadOption,
        "2026-11-25T14:13:12.802Z ERROR Invalid config, exiting abnormally (org.apache.zookeeper.server.quorum.QuorumPeerMain)",
    ),
    (
        ZOOKEEPER,
        Cause::WrongOwner,
        "2026-11-25T14:13:16.558Z ERROR Unable to access datadir, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)",
    ),
    (
        ZOOKEEPER,
        Cause::PortTaken,
        "ERROR Unable to start AdminServer, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)",
    ),
    (ZOOKEEPER, Cause::PortTaken, "java.net.BindException: Address already in use"),
    (
        ZOOKEEPER,
        Cause::Crashed,
        "java.io.IOException: No snapshot found, but there are log entries. Something is broken!",
    ),
    (ZOOKEEPER, Cause::Crashed, "java.io.IOException: CRC check failed"),
    (
        ZOOKEEPER,
        Cause::Crashed,
        "2026-11-26 10:41:28,333 [myid:] - ERROR [main:ZooKeeperServerMain@90] - Unexpected exception, exiting abnormally\n\
         java.io.IOException: Unreasonable length = 1482184792",
    ),
    (
        ZOOKEEPER,
        Cause::Crashed,
        "java.io.IOException: Transaction log: /d/version-2/log.1 has invalid magic number 1482184792 != 1514884167",
    ),
    (
        MYSQL,
        Cause::WrongOwner,
        "2026-11-26T10:50:29.806493Z 1 [ERROR] [MY-012271] [InnoDB] The innodb_system data file 'ibdata1' must be writable",
    ),
    (
        MYSQL,
        Cause::BadOption,
        "2026-11-25T14:17:50.430046Z 0 [ERROR] [MY-000067] [Server] unknown variable 'nonsense=1'.",
    ),
    (
        MYSQL,
        Cause::BadOption,
        "2026-11-25T14:17:59.186591Z 0 [ERROR] [MY-000068] [Server] unknown option '--nonsense'.",
    ),
    (
        MYSQL,
        Cause::BadOption,
        "2026-11-25T14:18:02.571620Z 0 [ERROR] [MY-000077] [Server] /t/mysqld: Error while setting value 'ABC' to 'binlog_format'.",
    ),
    (
        MYSQL,
        Cause::BadOption,
        "2026-11-25T14:18:02.000429Z 0 [ERROR] [MY-000071] [Server] /t/mysqld: option '--port' requires an argument.",
    ),
    (
        MYSQL,
        Cause::BadOption,
        "2026-11-25T14:18:07.824550Z 1 [ERROR] [MY-011087] [Server] Different lower_case_table_names settings for server ('1') and data dictionary ('0').",
    ),
    (
        MYSQL,
        Cause::BadOption,
        "2026-11-25T14:17:43.787595Z 0 [ERROR] [MY-010123] [Server] Fatal error: Please read \"Security\" section of the manual to find out how to run mysqld as root!",
    ),
    (
        MYSQL,
        Cause::BadOption,
        "2026-11-25T14:18:16.021941Z 0 [ERROR] [MY-010262] [Server] Can't start server: Bind on TCP/IP port: Cannot assign requested address",
    ),
    (
        MYSQL,
        Cause::PortTaken,
        "2026-11-25T14:18:26.983393Z 0 [ERROR] [MY-010262] [Server] Can't start server: Bind on TCP/IP port: Address already in use",
    ),
    (
        MYSQL,
        Cause::PortTaken,
        "[ERROR] [MY-010270] [Server] Can't start server : Bind on unix socket: Address already in use",
    ),
    (
        MYSQL,
        Cause::PortTaken,
        "2026-11-25T14:19:16.070259Z 0 [ERROR] [MY-010259] [Server] Another process with pid 13600 is using unix socket file.",
    ),
    (
        MYSQL,
        Cause::WrongOwner,
        "2026-11-25T14:18:58.761173Z 1 [ERROR] [MY-012574] [InnoDB] Unable to lock ./ibdata1 error: 11",
    ),
    (
        MYSQL,
        Cause::NewerData,
        "[ERROR] [MY-014060] [Server] Invalid MySQL server downgrade: Cannot downgrade from 90704 to 80046. Downgrade is only permitted between patch releases.",
    ),
    (
        MYSQL,
        Cause::NewerData,
        "[ERROR] [MY-013171] [InnoDB] Cannot boot server version 80046 on data directory built by version 90704. Downgrade is not supported",
    ),
    (
        MYSQL,
        Cause::NewerData,
        "[ERROR] [MY-014061] [Server] Invalid MySQL server upgrade: Cannot upgrade from 80046 to 90704. Upgrade to next major version is only allowed from the last LTS release, which version 80046 is not.",
    ),
    (
        MYSQL,
        Cause::WrongOwner,
        "[ERROR] [MY-012271] [InnoDB] The error means mysqld does not have the access rights to the directory.",
    ),
    (
        MYSQL,
        Cause::Crashed,
        "2026-11-25T14:18:29.909662Z 0 [ERROR] [MY-013276] [Server] Failed to set datadir to '/m/none/' (OS errno: 2 - No such file or directory)",
    ),
    (
        MYSQL,
        Cause::WrongOwner,
        "2026-11-25T14:18:30.765132Z 0 [ERROR] [MY-013276] [Server] Failed to set datadir to '/m/file/' (OS errno: 20 - Not a directory)",
    ),
    (
        MYSQL,
        Cause::WrongOwner,
        "2026-11-25T14:19:22.516029Z 0 [ERROR] [MY-013276] [Server] Failed to set datadir to '/m/d/' (OS errno: 13 - Permission denied)",
    ),
    (
        MYSQL,
        Cause::WrongOwner,
        "[ERROR] [MY-010092] [Server] Can't start server: can't create PID file: (OS errno 13 - Permission denied)",
    ),
    (
        MYSQL,
        Cause::WrongOwner,
        "[ERROR] [MY-010187] [Server] Could not open file '/m/e' for error logging: (OS errno: 13 - Permission denied)",
    ),
    (
        MYSQL,
        Cause::WrongIdentity,
        "2026-11-25T14:19:22.021238Z 0 [ERROR] [MY-010076] [Server] Initialization of the server's UUID failed because it could not be read from the auto.cnf file. If this is a new server, the initialization failed because it was not possible to generate a new UUID.",
    ),
    (
        MYSQL,
        Cause::CouldNotStart,
        "/t/mysqld: error while loading shared libraries: libaio.so.1: cannot open shared object file: No such file or directory",
    ),
    (MYSQL, Cause::Crashed, "[ERROR] [InnoDB] io_setup() failed with EAGAIN after 5 attempts."),
    (MYSQL, Cause::Crashed, "[ERROR] [InnoDB] Cannot initialize AIO sub-system"),
    (UI, Cause::PortTaken, "Web server failed to start. Port 8088 was already in use."),
    (UI, Cause::BadOption, "Failed to bind properties under 'kafka.clusters[0].metrics.port' to java.lang.Integer:"),
    (
        UI,
        Cause::BadOption,
        "Config data resource 'file [/r/application.yml]' via location 'file:/r/application.yml' does not exist",
    ),
    (UI, Cause::BadOption, "APPLICATION FAILED TO START"),
    (UI, Cause::CouldNotStart, "Error: Unable to access jarfile /s/kafka-ui.jar"),
    (UI, Cause::CouldNotStart, "Error: Invalid or corrupt jarfile /s/kafka-ui.jar"),
    (BROKER, Cause::Crashed, "2026-11-25 java.lang.OutOfMemoryError: Java heap space"),
    (BROKER, Cause::Crashed, "Terminating due to java.lang.OutOfMemoryError: Metaspace"),
    (
        BROKER,
        Cause::Crashed,
        "java.lang.OutOfMemoryError: Cannot reserve 1048576 bytes of direct buffer memory (allocated: 100663296, limit: 100663296)",
    ),
    (
        BROKER,
        Cause::Crashed,
        "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory or process/resource limits reached",
    ),
    (BROKER, Cause::Crashed, "Caused by: java.lang.OutOfMemoryError: Map failed"),
    (ZOOKEEPER, Cause::Crashed, "java.io.IOException: Map failed"),
    (ZOOKEEPER, Cause::Crashed, "# There is insufficient memory for the Java Runtime Environment to continue."),
    (BROKER, Cause::Crashed, "#  SIGBUS (0x7) at pc=0x00007f2b3c5d1e2a, pid=4711, tid=4712"),
    (BROKER, Cause::BadOption, "Unrecognized VM option 'NoSuchFlag'"),
    (BROKER, Cause::BadOption, "Unrecognized option: -nosuch"),
    (BROKER, Cause::BadOption, "Invalid maximum heap size: -Xmx99x"),
    (BROKER, Cause::BadOption, "Initial heap size set to a larger value than the maximum heap size"),
    (BROKER, Cause::BadOption, "Multiple garbage collectors selected"),
    (BROKER, Cause::BadOption, "Error: Could not create the Java Virtual Machine."),
    (
        BROKER,
        Cause::CouldNotStart,
        "Error: LinkageError occurred while loading main class kafka.Kafka java.lang.UnsupportedClassVersionError: kafka/Kafka has been compiled by a more recent version of the Java Runtime",
    ),
    (BROKER, Cause::CouldNotStart, "Error: Could not find or load main class kafka.Kafka"),
    (COMMAND, Cause::DiskFull, "OSError: [Errno 28] No space left on device"),
    (COMMAND, Cause::Crashed, "OSError: [Errno 23] Too many open files in system: '/d/x'"),
    (BROKER, Cause::Crashed, "java.nio.file.FileSystemException: /d/t-0/00000000000000000000.log: Too many open files"),
    (MYSQL, Cause::Crashed, "[ERROR] [Server] Can't open file: './x/y.ibd' (OS errno 24 - Too many open files)"),
    (BROKER, Cause::DiskFull, "java.io.IOException: Disk quota exceeded"),
    (COMMAND, Cause::BadOption, "java.net.BindException: Cannot assign requested address (Bind failed)"),
    (BROKER, Cause::WrongOwner, "java.nio.file.AccessDeniedException: /d/meta.properties"),
    (ZOOKEEPER, Cause::WrongOwner, "java.io.FileNotFoundException: /z/version-2/log.1 (Permission denied)"),
    (
        BROKER,
        Cause::WrongOwner,
        "java.nio.file.FileSystemException: /d/recovery-point-offset-checkpoint.tmp: Read-only file system",
    ),
];

#[test]
fn every_fatal_entry_is_met_by_a_line_and_gives_its_cause() {
    let mut met = BTreeSet::new();
    for (kind, cause, line) in FATAL_LINES {
        let known = catalogue::explain(*kind, line).unwrap_or_else(|| panic!("nobody knows: {line}")).0;
        assert_eq!(known.cause, Some(*cause), "{line}");
        assert!(catalogue::harmless(*kind, line).is_none(), "{line}");
        met.insert(FATAL.iter().position(|k| k == known).unwrap());
    }
    let unmet: Vec<_> = (0..FATAL.len()).filter(|n| !met.contains(n)).map(|n| FATAL[n].parts).collect();
    assert!(unmet.is_empty(), "no line for {unmet:?}");
}

const NOTED_LINES: &[(NodeKind, &str)] = &[
    (
        ZOOKEEPER,
        "2026-11-25T14:20:31.114Z INFO Expiring session 0x10000b1c1a90003, timeout of 12000ms exceeded (org.apache.zookeeper.server.ZooKeeperServer)",
    ),
    (
        BROKER,
        "WARN Unable to reconnect to ZooKeeper service, session 0x10000b1c1a90003 has expired (org.apache.zookeeper.ClientCnxn)",
    ),
    (BROKER, "INFO [ZooKeeperClient Kafka server] Session expired. (kafka.zookeeper.ZooKeeperClient)"),
];

#[test]
fn every_noted_entry_is_met_by_a_line() {
    let mut met = BTreeSet::new();
    for (kind, line) in NOTED_LINES {
        let known = catalogue::noted(*kind, line).unwrap_or_else(|| panic!("nobody knows: {line}"));
        assert!(catalogue::fatal(*kind, line).is_none() && catalogue::harmless(*kind, line).is_none(), "{line}");
        met.insert(NOTED.iter().position(|k| k == known).unwrap());
    }
    assert_eq!(met.len(), NOTED.len());
}

/// Lines of runs that went well, or of what is called harmless.
const HARMLESS_LINES: &[(NodeKind, &str)] = &[
    (
        COMMAND,
        "[2025-02-14 10:00:00,000] ERROR Error processing message, terminating consumer process:  (kafka.tools.ConsoleConsumer$)",
    ),
    (
        BROKER,
        "ERROR [KafkaApi-1] Number of alive brokers '1' does not meet the required replication factor '3' for the offsets topic",
    ),
    (
        BROKER,
        "org.apache.kafka.common.errors.InvalidReplicationFactorException: Replication factor: 3 larger than available brokers: 1.",
    ),
    (
        BROKER,
        "WARN [Controller id=1, targetBrokerId=2] Connection to node 2 (/127.0.0.1:29093) could not be established. Broker may not be available. (org.apache.kafka.clients.NetworkClient)",
    ),
    (
        BROKER,
        "WARN [ReplicaFetcher replicaId=1, leaderId=2, fetcherId=0] Error in response for fetch request (type=FetchRequest, replicaId=1)",
    ),
    (
        BROKER,
        "INFO [ReplicaFetcher replicaId=1, leaderId=2, fetcherId=0] Error sending fetch request (sessionId=1, epoch=2) to node 2: (org.apache.kafka.clients.FetchSessionHandler)",
    ),
    (
        BROKER,
        "WARN [RequestSendThread controllerId=1] Controller 1's connection to broker 127.0.0.1:29093 (id: 2 rack: null) was unsuccessful (kafka.controller.RequestSendThread)",
    ),
    (
        BROKER,
        "WARN [RequestSendThread controllerId=1] Controller 1 epoch 2 fails to send request (type=UpdateMetadataRequest) to broker 127.0.0.1:29093 (id: 2 rack: null). Reconnecting to broker. (kafka.controller.RequestSendThread)",
    ),
    (
        BROKER,
        "ERROR [Controller id=1 epoch=2] Controller 1 epoch 2 failed to change state for partition t-0 from OfflinePartition to OnlinePartition (state.change.logger)",
    ),
    (
        BROKER,
        "WARN [KafkaServer id=1] Proceeding to do an unclean shutdown as all the controlled shutdown attempts failed (kafka.server.KafkaServer)",
    ),
    (
        BROKER,
        "WARN [KafkaServer id=1] Error during controlled shutdown, possibly because leader movement took longer than the configured controller.socket.timeout.ms",
    ),
    (
        BROKER,
        "ERROR [Broker id=1] Received LeaderAndIsrRequest with correlation id 3 from controller 2 epoch 1 for partition t-0 (last update controller epoch 1) but cannot become follower since the new leader -1 is unavailable. (state.change.logger)",
    ),
    (
        BROKER,
        "WARN [ReplicaFetcher replicaId=1, leaderId=2, fetcherId=0] Partition t-0 marked as failed (kafka.server.ReplicaFetcherThread)",
    ),
    (
        BROKER,
        "WARN [ReplicaFetcher replicaId=1, leaderId=2, fetcherId=0] Received UNKNOWN_TOPIC_ID from the leader for partition t-0",
    ),
    (
        BROKER,
        "org.apache.kafka.common.errors.NotLeaderOrFollowerException: For requests intended only for the leader, this error indicates that the broker is not the current leader.",
    ),
    (
        BROKER,
        "WARN [Producer clientId=p] Error while fetching metadata with correlation id 1 : {t=UNKNOWN_TOPIC_OR_PARTITION} (org.apache.kafka.clients.NetworkClient)",
    ),
    (
        BROKER,
        "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition.",
    ),
    (BROKER, "INFO Terminating process due to signal SIGTERM (org.apache.kafka.common.utils.LoggingSignalHandler)"),
    (
        BROKER,
        "2026-11-25T14:16:20.675Z WARN No meta.properties file under dir /d/meta.properties (kafka.server.BrokerMetadataCheckpoint)",
    ),
    (
        BROKER,
        "WARN Error registering AppInfo mbean (org.apache.kafka.common.utils.AppInfoParser) javax.management.InstanceAlreadyExistsException: kafka.server:type=app-info,id=1",
    ),
    (
        ZOOKEEPER,
        "INFO Got user-level KeeperException when processing sessionid:0x1 type:multi cxid:0x38 zxid:0x1b txntype:-1 reqpath:n/a aborting remaining multi ops.",
    ),
    (
        ZOOKEEPER,
        "2026-11-25T14:13:16.194Z WARN Either no config or no quorum defined in config, running in standalone mode (org.apache.zookeeper.server.quorum.QuorumPeerMain)",
    ),
    (
        ZOOKEEPER,
        "2026-11-25T14:13:22.002Z WARN maxCnxns is not configured, using default value 0. (org.apache.zookeeper.server.ServerCnxnFactory)",
    ),
    (
        ZOOKEEPER,
        "WARN EndOfStreamException: Unable to read additional data from client, it probably closed the socket: address = /127.0.0.1:50732, session = 0x1 (org.apache.zookeeper.server.NIOServerCnxn)",
    ),
    (ZOOKEEPER, "WARN Close of session 0x0 (org.apache.zookeeper.server.NIOServerCnxn)"),
    (MYSQL, "[Warning] [MY-010068] [Server] CA certificate ca.pem is self signed."),
    (
        MYSQL,
        "[Warning] [MY-010453] [Server] root@localhost is created with an empty password ! Please consider switching off the --initialize-insecure option.",
    ),
    (
        MYSQL,
        "[Warning] [MY-011068] [Server] The syntax '--binlog-format' and 'binlog_format' is deprecated and will be removed in a future release: 'binlog_format' is deprecated and will be removed in a future release.",
    ),
    (
        MYSQL,
        "[Warning] [MY-011810] [Server] Insecure configuration for --pid-file: Location '/run' in the path is accessible to all OS users.",
    ),
    (MYSQL, "[Warning] [MY-012366] [InnoDB] Linux Native AIO disabled."),
    (
        UI,
        "2026-11-25 14:16:20,675 INFO  [kafka-admin-client-thread | kafka-ui-admin-1] o.a.k.c.NetworkClient: [AdminClient clientId=kafka-ui-admin-1] Node 2 disconnected.",
    ),
    (
        UI,
        "2026-11-25 14:16:20,675 WARN  [kafka-admin-client-thread | kafka-ui-admin-1] o.a.k.c.NetworkClient: [AdminClient clientId=kafka-ui-admin-1] Connection to node 2 (/127.0.0.1:29093) could not be established. Broker may not be available.",
    ),
    (
        UI,
        "2026-11-25 14:16:18,101 WARN  [main] c.p.k.u.c.a.DisabledAuthSecurityConfig: Authentication is disabled. Access will be unrestricted.",
    ),
    (
        BROKER,
        "[0.011s][warning][cds] This file is not the one used while building the shared archive file: /jre/lib/modules",
    ),
    (
        BROKER,
        "OpenJDK 64-Bit Server VM warning: Sharing is only supported for boot loader classes because bootstrap classpath has been appended",
    ),
];

#[test]
fn every_harmless_entry_is_met_by_a_line() {
    let mut met = BTreeSet::new();
    for (kind, line) in HARMLESS_LINES {
        let known = catalogue::harmless(*kind, line).unwrap_or_else(|| panic!("nobody knows: {line}"));
        assert!(catalogue::fatal(*kind, line).is_none(), "{line}");
        met.insert(HARMLESS.iter().position(|k| k == known).unwrap());
    }
    let unmet: Vec<_> = (0..HARMLESS.len()).filter(|n| !met.contains(n)).map(|n| HARMLESS[n].parts).collect();
    assert!(unmet.is_empty(), "no line for {unmet:?}");
}
