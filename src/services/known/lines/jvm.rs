//! Lines of the JVM, of Spring Boot applications, and words of the kernel.

use super::{
    BROKER, COMMAND, Line,
    Reads::{Ends, Harmless},
    Seen::{Here, In, Nowhere},
    UI, ZOOKEEPER,
};
use crate::base::Cause::{BadOption, CouldNotStart, Crashed, DiskFull, PortTaken, WrongOwner};

pub(super) const LINES: &[Line] = &[
    Line {
        kind: UI,
        reads: Ends(PortTaken),
        seen: In("https://github.com/anthonyraymond/joal-desktop/issues/102"),
        text: "Web server failed to start. Port 5081 was already in use.",
    },
    Line {
        kind: UI,
        reads: Ends(BadOption),
        seen: In("https://github.com/apache/shenyu/issues/5307"),
        text: "APPLICATION FAILED TO START\n\
         ***************************\n\
         \n\
         Description:\n\
         \n\
         Failed to bind properties under 'shenyu.metrics.port' to java.lang.Integer:",
    },
    Line {
        kind: UI,
        reads: Ends(BadOption),
        seen: In("https://github.com/kpavlov/koog-spring-boot-assistant/issues/15"),
        text: "Config data resource 'class path resource [META-INF/build-info.properties]' via location 'classpath:/META-INF/build-info.properties' does not exist",
    },
    Line {
        kind: UI,
        reads: Ends(BadOption),
        seen: In("https://github.com/spring-projects/spring-boot/issues/24696"),
        text: "Config data location 'classpath:/' does not exist",
    },
    Line {
        kind: UI,
        reads: Ends(BadOption),
        seen: In("https://github.com/apache/skywalking/issues/3696"),
        text: "APPLICATION FAILED TO START",
    },
    Line {
        kind: UI,
        reads: Ends(CouldNotStart),
        seen: Here("a jar that is not there"),
        text: "Error: Unable to access jarfile /s/none.jar",
    },
    Line {
        kind: UI,
        reads: Ends(CouldNotStart),
        seen: Here("a file that is no jar"),
        text: "Error: Invalid or corrupt jarfile /d/no.jar",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("a broker with a heap of 24 MB"),
        text: "Terminating due to java.lang.OutOfMemoryError: Java heap space",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: In("https://github.com/eventuate-foundation/eventuate-messaging-kafka/issues/53"),
        text: "[2022-02-20 17:18:49,545] ERROR [KafkaServer id=0] Fatal error during KafkaServer startup. Prepare to shutdown (kafka.server.KafkaServer)\n\
         java.lang.OutOfMemoryError: Java heap space",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("-XX:MaxMetaspaceSize=16m"),
        text: "Terminating due to java.lang.OutOfMemoryError: Metaspace",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("-XX:MaxMetaspaceSize=1k"),
        text: "OutOfMemoryError: Metaspace",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("-XX:MaxDirectMemorySize=4k"),
        text: "Exception in thread \"main\" java.lang.OutOfMemoryError: Cannot reserve 8192 bytes of direct buffer memory (allocated: 0, limit: 4096)",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: In("https://github.com/Lunatrius/Schematica/issues/183"),
        text: "[2016-11-15 00:05:02,897] ERROR [Replica Manager on Broker 0]: Error processing append operation on partition NP-0 (kafka.server.ReplicaManager)\n\
         java.lang.OutOfMemoryError: Direct buffer memory",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("a limit of 30 threads"),
        text: "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory or process/resource limits reached",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("a limit on its address space, 180 partitions"),
        text: "java.io.IOException: Map failed",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("a limit on its address space, 180 partitions"),
        text: "Caused by: java.lang.OutOfMemoryError: Map failed",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: Here("-Xms900g"),
        text: "# There is insufficient memory for the Java Runtime Environment to continue.",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("a class-data archive cut short"),
        text: "#  SIGBUS (0x7) at pc=0x00007fe5866bc53d, pid=17528, tid=17530",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("a start on a full file system"),
        text: "java.lang.InternalError: a fault occurred in a recent unsafe memory access operation in compiled Java code",
    },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-XX:+NoSuchFlag"),
        text: "Unrecognized VM option 'NoSuchFlag'",
    },
    Line { kind: BROKER, reads: Ends(BadOption), seen: Here("-nosuch"), text: "Unrecognized option: -nosuch" },
    Line { kind: BROKER, reads: Ends(BadOption), seen: Here("-Xmx99x"), text: "Invalid maximum heap size: -Xmx99x" },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-Xmx256m -Xms900m"),
        text: "Initial heap size set to a larger value than the maximum heap size",
    },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-XX:+UseSerialGC -XX:+UseG1GC"),
        text: "Multiple garbage collectors selected",
    },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-XX:MaxMetaspaceSize=abc"),
        text: "Improperly specified VM option 'MaxMetaspaceSize=abc'",
    },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-XX:+UseEpsilonGC"),
        text: "Error: VM option 'UseEpsilonGC' is experimental and must be enabled via -XX:+UnlockExperimentalVMOptions.",
    },
    Line { kind: BROKER, reads: Ends(BadOption), seen: Here("-Xmx1k"), text: "Too small maximum heap" },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-Xss1k"),
        text: "The Java thread stack size specified is too small. Specify at least 136k",
    },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-javaagent of a jar that is not there"),
        text: "Error opening zip file or JAR manifest missing : /none.jar",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("-Xmx2g with a limit of 400 MB of address space"),
        text: "Could not reserve enough space for 2097152KB object heap",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("-Xmx2g with a limit of 400 MB of address space"),
        text: "Error occurred during initialization of VM",
    },
    Line {
        kind: BROKER,
        reads: Ends(BadOption),
        seen: Here("-nosuch"),
        text: "Error: Could not create the Java Virtual Machine.",
    },
    Line {
        kind: BROKER,
        reads: Ends(CouldNotStart),
        seen: Here("a class of Java 21 in Java 17"),
        text: "\tjava.lang.UnsupportedClassVersionError: New has been compiled by a more recent version of the Java Runtime (class file version 65.0), this version of the Java Runtime only recognizes class file versions up to 61.0",
    },
    Line {
        kind: BROKER,
        reads: Ends(CouldNotStart),
        seen: Here("no jars"),
        text: "Error: Could not find or load main class kafka.Kafka",
    },
    Line {
        kind: BROKER,
        reads: Ends(DiskFull),
        seen: Here("a file system that became full"),
        text: "java.io.IOException: No space left on device",
    },
    Line {
        kind: COMMAND,
        reads: Ends(Crashed),
        seen: In("https://github.com/mikeizbicki/cmc-csci145-math166/issues/128"),
        text: "OSError: [Errno 23] Too many open files in system",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: Here("a limit of 175 open files"),
        text: "java.nio.file.FileSystemException: /d/emfile2/em2-6: Too many open files",
    },
    Line {
        kind: BROKER,
        reads: Ends(Crashed),
        seen: In("https://github.com/dCache/dcache/issues/4199"),
        text: "java.io.IOException: Too many open files",
    },
    Line {
        kind: BROKER,
        reads: Ends(DiskFull),
        seen: In("https://github.com/operate-first/operations/issues/246"),
        text: "2021-04-09 18:11:09,237 ERROR Error while writing to checkpoint file /var/lib/kafka/data/kafka-log0/__consumer_offsets-13/leader-epoch-checkpoint (kafka.server.LogDirFailureChannel) [ReplicaFetcherThread-0-2]\n\
         java.io.IOException: Disk quota exceeded",
    },
    Line {
        kind: BROKER,
        reads: Ends(WrongOwner),
        seen: Here("log.dirs of another user's"),
        text: "java.nio.file.AccessDeniedException: /d/rootonly/.lock",
    },
    Line {
        kind: BROKER,
        reads: Ends(WrongOwner),
        seen: Here("a file system that is mounted read-only"),
        text: "java.nio.file.FileSystemException: /d/.lock: Read-only file system",
    },
    Line {
        kind: UI,
        reads: Harmless,
        seen: In("https://github.com/provectus/kafka-ui/issues/3323"),
        text: "WARN  [parallel-1] o.a.k.c.u.AppInfoParser: Error registering AppInfo mbean javax.management.InstanceAlreadyExistsException: kafka.admin.client:type=app-info,id=kafka-ui-admin-client-1675866213882",
    },
    Line {
        kind: UI,
        reads: Harmless,
        seen: Nowhere,
        text: "2026-11-25 14:16:20,675 INFO  [kafka-admin-client-thread | kafka-ui-admin-1] o.a.k.c.NetworkClient: [AdminClient clientId=kafka-ui-admin-1] Node 2 disconnected.",
    },
    Line {
        kind: UI,
        reads: Harmless,
        seen: Nowhere,
        text: "2026-11-25 14:16:20,675 WARN  [kafka-admin-client-thread | kafka-ui-admin-1] o.a.k.c.NetworkClient: [AdminClient clientId=kafka-ui-admin-1] Connection to node 2 (/127.0.0.1:29093) could not be established. Broker may not be available.",
    },
    Line {
        kind: UI,
        reads: Harmless,
        seen: In("https://github.com/kafbat/kafka-ui/issues/597"),
        text: "2024-10-09 16:18:53,431 WARN  [main] i.k.u.c.a.DisabledAuthSecurityConfig: Authentication is disabled. Access will be unrestricted.",
    },
    Line {
        kind: BROKER,
        reads: Harmless,
        seen: Here("-Xbootclasspath/a: with a class-data archive"),
        text: "[0.158s][warning][cds,dynamic] Unable to use shared archive. The top archive failed to load: /s/kafka-b39417bc89472bb9.jsa",
    },
    Line {
        kind: BROKER,
        reads: Harmless,
        seen: In("https://github.com/ja-netfilter/ja-netfilter/issues/33"),
        text: "Java HotSpot(TM) 64-Bit Server VM warning: Sharing is only supported for boot loader classes because bootstrap classpath has been appended",
    },
];
