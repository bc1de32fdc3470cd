//! Lines of ZooKeeper.

use super::{
    Line,
    Reads::{Ends, Harmless, Noted},
    Seen::{Here, In},
    ZOOKEEPER,
};
use crate::base::Cause::{BadOption, Crashed, PortTaken, WrongOwner};

pub(super) const LINES: &[Line] = &[
    Line {
        kind: ZOOKEEPER,
        reads: Ends(BadOption),
        seen: Here("tickTime = abc"),
        text: "2026-11-26T21:27:43.932Z ERROR Invalid config, exiting abnormally (org.apache.zookeeper.server.quorum.QuorumPeerMain)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(WrongOwner),
        seen: Here("a file for dataDir"),
        text: "2026-11-26T21:27:43.358Z ERROR Unable to access datadir, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(PortTaken),
        seen: In("https://github.com/apache/dubbo/issues/9268"),
        text: "2021-11-13 19:48:22,796 [myid:] - ERROR [main:ZooKeeperServerMain@85] - Unable to start AdminServer, exiting abnormally\n\
         org.apache.zookeeper.server.admin.AdminServer$AdminServerException: Problem starting AdminServer on address 0.0.0.0, port 8081 and command URL /commands",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(PortTaken),
        seen: Here("another program on its port"),
        text: "2026-11-26T21:27:45.923Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.net.BindException: Address already in use",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(BadOption),
        seen: Here("an address of another host"),
        text: "2026-11-26T21:27:46.538Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.net.BindException: Cannot assign requested address",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: Here("its snapshots removed"),
        text: "2026-11-26T21:27:29.318Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.IOException: No snapshot found, but there are log entries. Something is broken!",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: In("https://github.com/OpenBMP/obmp-docker/issues/13"),
        text: "[2022-03-30 19:46:14,859] ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.IOException: No snapshot found, but there are log entries. Something is broken!",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: Here("a byte of its log changed"),
        text: "2026-11-26T21:27:30.608Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.IOException: CRC check failed",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: Here("bytes of its log changed"),
        text: "2026-11-26T21:27:31.704Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.IOException: Unreasonable length = 1482184792",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: Here("the first bytes of its log changed"),
        text: "2026-11-26T21:27:34.314Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.IOException: Transaction log: /d/zm/version-2/log.1 has invalid magic number 1482184792 != 1514884167",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: Here("an empty log, as a cut of the power leaves it"),
        text: "2026-11-26T21:27:36.871Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.EOFException",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: In("https://github.com/flagify-com/OctoMation/issues/131"),
        text: "2024-08-19 10:25:22,053 [myid:1] - ERROR [main:ZooKeeperServerMain@90] - Unexpected exception, exiting abnormally\n\
         java.io.EOFException",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(Crashed),
        seen: Here("bytes of its snapshot changed"),
        text: "2026-11-26T21:27:41.631Z WARN problem reading snap file /d/ze7/version-2/snapshot.0 (org.apache.zookeeper.server.persistence.FileSnap)\n\
         java.io.IOException: Unreasonable length = 1482184792\n\
         2026-11-26T21:27:41.633Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.IOException: Not able to find valid snapshots in /d/ze7/version-2",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Ends(WrongOwner),
        seen: Here("a log that is another user's"),
        text: "2026-11-26T21:27:47.819Z ERROR Unexpected exception, exiting abnormally (org.apache.zookeeper.server.ZooKeeperServerMain)\n\
         java.io.FileNotFoundException: /d/zp/version-2/log.1 (Permission denied)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Noted,
        seen: Here("a broker killed, session of 6 s"),
        text: "2026-11-26T21:29:53.004Z INFO Expiring session 0x100018ab02a0002, timeout of 6000ms exceeded (org.apache.zookeeper.server.ZooKeeperServer)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Noted,
        seen: Here("maxClientCnxns = 4"),
        text: "2026-11-26T22:04:01.451Z WARN Message: Error accepting new connection: Too many connections from /127.0.0.1 - max is 4 (org.apache.zookeeper.server.NIOServerCnxnFactory)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Noted,
        seen: In("https://github.com/sitewhere/sitewhere/issues/966"),
        text: "WARN fsync-ing the write ahead log in SyncThread:2 took 3932ms which will adversely effect operation latency. File size is 67108880 bytes",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: In("https://github.com/confluentinc/ksql/issues/888"),
        text: "2018-03-08 13:55:29,483] INFO Got user-level KeeperException when processing sessionid:0x16205d7bad30000 type:setData cxid:0x5f zxid:0x33 txntype:-1 reqpath:n/a Error Path:/config/topics/ksql__commands Error:KeeperErrorCode = NoNode for /config/topics/ksql__commands (org.apache.zookeeper.server.PrepRequestProcessor)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: Here("a start"),
        text: "2026-11-26T21:27:14.458Z WARN Either no config or no quorum defined in config, running in standalone mode (org.apache.zookeeper.server.quorum.QuorumPeerMain)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: Here("a start"),
        text: "2026-11-26T21:27:14.577Z WARN maxCnxns is not configured, using default value 0. (org.apache.zookeeper.server.ServerCnxnFactory)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: Here("a broker killed"),
        text: "2026-11-26T21:29:47.382Z INFO Unable to read additional data from client, it probably closed the socket: address = /127.0.0.1:48286, session = 0x100018ab02a0002 (org.apache.zookeeper.server.NIOServerCnxn)",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: Here("a request of HTTP"),
        text: "2026-11-26T21:27:16.124Z WARN Close of session 0x0 (org.apache.zookeeper.server.NIOServerCnxn)\n\
         java.io.IOException: Len error 1195725856",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: Here("a client whose connection was reset"),
        text: "2026-11-26T21:40:04.392Z WARN Close of session 0x10001938b920003 (org.apache.zookeeper.server.NIOServerCnxn)\n\
         java.net.SocketException: Connection reset",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: Here("kafka-topics on its port"),
        text: "2026-11-26T21:27:18.961Z WARN Close of session 0x0 (org.apache.zookeeper.server.NIOServerCnxn)\n\
         java.io.IOException: Unreasonable length = 308375649",
    },
    Line {
        kind: ZOOKEEPER,
        reads: Harmless,
        seen: In("https://github.com/flagify-com/OctoMation/issues/131"),
        text: "2024-08-19 10:25:21,244 [myid:1] - WARN  [NIOWorkerThread-1:NIOServerCnxn@373] - Close of session 0x0\n\
         java.io.IOException: ZooKeeperServer not running",
    },
];
