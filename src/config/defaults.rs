//! Every default number of the configuration, with its source. `supervisor.toml` states the same; a test compares them.

use super::{Care, SourceKind};
use crate::base::{
    ByteSize,
    recipe::{LogPolicy, RestartWhen, Share},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    time::Duration,
};

/// Nothing listens beyond this host unless told to (DESIGN.md, "Binding").
pub const BIND: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Left to the operating system and its page cache (mission: 16 GB host, about 5 GB of caps, the rest stays).
pub const OS_FLOOR: ByteSize = ByteSize::gib(2);
/// The daemon and one shim per node, generously: a shim's private memory is some hundred kB.
pub const SUPERVISOR: ByteSize = ByteSize::mib(64);
/// In which order sources are asked.
pub const SOURCES: [SourceKind; 3] = SourceKind::ALL;

/// Mission: "client port 2181, heap 256 MB".
pub const CLIENT_PORT: u16 = 2181;
/// Mission.
pub const ZOOKEEPER_HEAP: ByteSize = ByteSize::mib(256);
/// Mission.
pub const ZOOKEEPER_MEMORY: ByteSize = ByteSize::mib(384);
/// ZooKeeper's unit of time (DESIGN.md, "ZooKeeper session 12 s, tick 2 s").
pub const TICK: Duration = Duration::from_secs(2);

/// Broker N listens on 29091 + N inside and 9091 + N outside (mission: 29092 to 29094 and 9092 to 9094).
pub const INTERNAL_BASE: u16 = 29091;
/// See [`INTERNAL_BASE`].
pub const EXTERNAL_BASE: u16 = 9091;
/// Brokers of a file that names none (mission).
pub const BROKERS: RangeInclusive<u32> = 1..=3;
/// Mission.
pub const BROKER_HEAP: ByteSize = ByteSize::mib(512);
/// Mission.
pub const BROKER_MEMORY: ByteSize = ByteSize::mib(768);
/// Fencing makes a short session unnecessary for kills, and a stalled host must not evict healthy brokers (DESIGN.md).
pub const SESSION: Duration = Duration::from_secs(12);
/// What EXTERNAL listeners advertise (mission).
pub const ADVERTISED_HOST: &str = "localhost";
/// `reserved.broker.max.id`: ids above are for generated ones (Kafka 3.5 KafkaConfig).
pub const BROKER_ID_MAX: u32 = 1000;

/// Mission.
pub const MYSQL_PORT: u16 = 3306;
/// Mission.
pub const MYSQL_MEMORY: ByteSize = ByteSize::gib(1);
/// Mission.
pub const DATABASE: &str = "trading";

/// Mission: 8080 is another program's.
pub const KAFKA_UI_PORT: u16 = 8088;
/// Mission.
pub const KAFKA_UI_MEMORY: ByteSize = ByteSize::mib(384);
/// What it ran with under Docker, where it took 184 MB in all (mission): under a cap of 384M and without flags HotSpot takes
/// its least default, 96M scaled by 1.3 for 64 bits.
pub const KAFKA_UI_HEAP: ByteSize = ByteSize::mib(128);

/// A small service; counted in the ledger like every other cap.
pub const COMMAND_MEMORY: ByteSize = ByteSize::mib(256);

/// mysqld beside its buffer pool: 312M resident with an idle 512M pool, 281M with a 128M one (verified.md); what a full
/// pool adds is the pool itself.
pub const MYSQL_NATIVE: ByteSize = ByteSize::mib(192);

/// Rotated at a size that a pager opens at once; nine files make at most 288M per node.
const LOG: LogPolicy = LogPolicy { max_bytes: ByteSize::mib(32), keep: 8 };

/// All logs together. The five nodes of the default stack make 1.4G at their own bounds even when nothing is compressed (no
/// daemon runs), so this one is for many nodes, or for a larger `keep`. 0.4 % of the mission's 500 GB disk.
pub const LOGS_TOTAL: ByteSize = ByteSize::gib(2);

const fn care(grace_s: u64, tasks_max: u64, nofile: u64) -> Care {
    Care {
        user: None,
        grace: Duration::from_secs(grace_s),
        restart: RestartWhen::Always,
        healthy_after: Duration::from_secs(30),
        tasks_max,
        share: Share::KERNEL,
        nofile,
        log: LOG,
    }
}

/// SIGTERM ends ZooKeeper at once, every transaction is synced (`forceSync` is on by default). Some 50 threads.
pub const fn zookeeper_care() -> Care {
    care(20, 512, 10_000)
}

/// Controlled shutdown takes 1-3 s, by its loop at worst about 190 s (distributions.md 5.4). Some 80 threads; Kafka asks
/// for at least 100,000 descriptors (cluster-managers.md).
pub const fn broker_care() -> Care {
    care(180, 1_024, 100_000)
}

/// An idle server stops in 1-3.4 s, a dirty buffer pool takes longer (distributions.md 10.4). One thread per connection.
pub const fn mysql_care() -> Care {
    care(120, 1_024, 10_000)
}

/// Keeps nothing, so nothing is lost by a short grace. Like ZooKeeper's its threads are tens.
pub const fn kafka_ui_care() -> Care {
    care(20, 512, 10_000)
}

/// What most programs need to end.
pub const fn command_care() -> Care {
    care(10, 512, 8_192)
}

/// Bound of one look at a command.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between looks.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Failed looks in a row before a ready command counts as degraded: one may be a hiccup.
pub const PROBE_FAILURES: u32 = 3;
/// A command that is not ready by then is reported as late.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(60);
