//! The configuration of a throw-away cluster, derived from the user's: the same programs and promises, small, on ports of its own.

use super::NotMade;
use crate::{
    base::{
        ByteSize, Port,
        drill::SmallDisk,
        recipe::{RestartWhen, Share},
    },
    config::{Care, Disk, Plan},
    sys::{kernel, net},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

/// Heap and cap of each broker: a dozen partitions, nothing else. The heap, a sixteenth of it and 162M fit (`config::check`).
const BROKER_HEAP: ByteSize = ByteSize::mib(192);
const BROKER_MEMORY: ByteSize = ByteSize::mib(384);
/// The same for ZooKeeper, with 80M.
const ZOOKEEPER_HEAP: ByteSize = ByteSize::mib(64);
const ZOOKEEPER_MEMORY: ByteSize = ByteSize::mib(160);
/// As many as the promise needs: one can be missed.
const BROKERS: u32 = 3;
/// ZooKeeper's port, and two for each broker.
const PORTS: usize = 1 + 2 * BROKERS as usize;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// From where free ports are looked for: below what kernels give to outgoing connections (32768 unless set otherwise).
const FIRST_PORT: u16 = 20_000;

/// Ports that nobody has, that the user's configuration does not name, and that the kernel gives to no connection.
pub(super) fn free_ports(plan: &Plan) -> Result<Vec<Port>, NotMade> {
    let named: BTreeSet<u16> = plan.ports().iter().map(|(_, port)| port.address.port()).collect();
    let outgoing = kernel::ephemeral_ports().unwrap_or((32_768, 60_999));
    let free = |port: &u16| net::is_taken(SocketAddr::new(LOOPBACK, *port)).is_ok_and(|taken| !taken);
    let found: Vec<Port> =
        candidates(&named, outgoing, std::process::id()).filter(free).take(PORTS).map(Port).collect();
    if found.len() == PORTS {
        return Ok(found);
    }
    let message =
        format!("a throw-away cluster needs {PORTS} free ports of 127.0.0.1 from {FIRST_PORT} on; {} are", found.len());
    Err(NotMade::new(4, message, "`ss -tln` shows who has them"))
}

/// In which order ports are tried; `salt` keeps two drills apart that look at the same time.
fn candidates(named: &BTreeSet<u16>, outgoing: (u16, u16), salt: u32) -> impl Iterator<Item = u16> {
    let start = FIRST_PORT + u16::try_from(salt % 512 * 16).unwrap_or(0);
    (start..=u16::MAX)
        .chain(FIRST_PORT..start)
        .filter(move |port| !named.contains(port) && !(outgoing.0..=outgoing.1).contains(port))
}

/// What of `[disk]` holds in it. Where the disk is no part of the drill nobody is stopped for the room of the user's, and where it
/// is, the user's marks are larger than all of it.
pub(super) fn disk(guard: bool) -> Disk {
    if !guard {
        return Disk { guard, ..Disk::default() };
    }
    Disk {
        guard,
        ballast: Some(SmallDisk::BALLAST),
        low: Some(SmallDisk::LOW),
        stop: Some(SmallDisk::STOP),
        resume: Some(SmallDisk::RESUME),
    }
}

/// Of ZooKeeper's properties those that say which sessions it grants: the user's session may be one that its defaults refuse (`config::check`).
const SESSIONS: [&str; 2] = ["minSessionTimeout", "maxSessionTimeout"];

/// The plan of the throw-away cluster. What the user's says of the promise (distribution, durability, session, fencing) holds; other
/// properties and flags do not: they may name paths and sizes of the user's own.
pub(super) fn plan(own: &Plan, root: &Path, ports: &[Port], disk: Disk) -> Result<Plan, NotMade> {
    let none = || {
        NotMade::new(
            8,
            "this configuration has no brokers, so there is no cluster to drill",
            "add [zookeeper] and [kafka]",
        )
    };
    let mut plan = own.clone();
    plan.root = root.to_owned();
    plan.host.allow_volatile_root = true;
    plan.artifacts.store = Some(own.artifacts.store(&own.layout()));
    plan.artifacts.files = Some(own.artifacts.files(&own.layout()));
    plan.artifacts.offline = true;
    plan.disk = disk;
    plan.mysql = None;
    plan.kafka_ui = None;
    plan.commands.clear();
    plan.disabled.clear();
    let (zookeeper, kafka) = plan.zookeeper.as_mut().zip(plan.kafka.as_mut()).ok_or_else(none)?;
    let mut ports = ports.iter().copied();
    let mut port = || ports.next().unwrap_or(Port(0));
    zookeeper.client_port = port();
    zookeeper.bind = LOOPBACK;
    zookeeper.heap = Some(ZOOKEEPER_HEAP);
    zookeeper.memory_max = ZOOKEEPER_MEMORY;
    zookeeper.data_dir = None;
    zookeeper.properties.retain(|name, _| SESSIONS.contains(&name.as_str()));
    zookeeper.jvm_flags.clear();
    plain(&mut zookeeper.care);
    kafka.bind = LOOPBACK;
    "localhost".clone_into(&mut kafka.advertised_host);
    kafka.jvm_flags.clear();
    kafka.topics.clear();
    let mut broker = kafka.brokers.values().next().cloned().ok_or_else(none)?;
    broker.heap = Some(BROKER_HEAP);
    broker.memory_max = BROKER_MEMORY;
    broker.data_dir = None;
    broker.properties.clear();
    plain(&mut broker.care);
    kafka.brokers = (1..=BROKERS)
        .map(|id| {
            let mut broker = broker.clone();
            (broker.internal_port, broker.external_port) = (port(), port());
            (id, broker)
        })
        .collect();
    Ok(plan)
}

fn plain(care: &mut Care) {
    care.user = None;
    care.restart = RestartWhen::Always;
    care.share = Share::KERNEL;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn load(text: &str) -> Plan {
        let source = config::Source { text, name: "supervisor.toml", root_override: None, default_root: "/own".into() };
        config::load(&source).unwrap()
    }

    fn ports() -> Vec<Port> {
        (20_000..).take(PORTS).map(Port).collect()
    }

    #[test]
    fn the_promise_is_the_users_and_everything_that_could_touch_theirs_is_its_own() {
        let own = load(
            "[disk]\nlow = \"9G\"\n[zookeeper]\ndata_dir = \"/srv/z\"\nuser = \"kafka\"\n[zookeeper.properties]\n\"autopurge.purgeInterval\" = 1\n\
             [kafka]\ndurability = \"power-cut\"\nfencing = false\njvm_flags = [\"-Xlog:gc\"]\nbind = \"0.0.0.0\"\n\
             [kafka.properties]\n\"log.retention.hours\" = 1\n[kafka.brokers.7]\ndata_dir = \"/srv/b\"\nmemory_high = \"700M\"\n\
             [mysql]\n[command.x]\nargv = [\"/bin/true\"]\n",
        );
        for guard in [true, false] {
            let made = plan(&own, Path::new("/own/drill"), &ports(), disk(guard)).unwrap();
            let again = load(&made.to_toml());
            assert_eq!(again, made, "what is written is what is meant");
            assert_eq!((made.disk.guard, made.disk.stop.is_some(), made.disk.ballast.is_some()), (guard, guard, guard));
        }
        let made = plan(&own, Path::new("/own/drill"), &ports(), disk(true)).unwrap();
        let names: Vec<String> = made.nodes().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["zookeeper", "broker-1", "broker-2", "broker-3"]);
        let kafka = made.kafka.as_ref().unwrap();
        assert_eq!((kafka.durability.as_str(), kafka.fencing), ("power-cut", false));
        assert_eq!(made.artifacts.store.as_deref(), Some(Path::new("/own/artifacts")));
        assert!(made.artifacts.offline, "nothing is fetched for a drill");
        let text = made.to_toml();
        for theirs in ["/srv/", "0.0.0.0", "retention", "-Xlog", "purge", "user", "memory_high"] {
            assert!(!text.contains(theirs), "{theirs}: {text}");
        }
        let taken: BTreeSet<u16> = made.ports().iter().map(|(_, port)| port.address.port()).collect();
        assert_eq!(taken.len(), PORTS);
    }

    #[test]
    fn a_session_that_the_users_properties_allow_is_allowed_there_too() {
        for (zookeeper, session) in [
            ("properties.minSessionTimeout = 1000\nproperties.syncLimit = 9", "2s"),
            ("properties.maxSessionTimeout = 90000", "90s"),
            ("tick = \"10s\"", "20s"),
        ] {
            let own = load(&format!("[zookeeper]\n{zookeeper}\n[kafka]\nsession_timeout = \"{session}\"\n"));
            let made = plan(&own, Path::new("/own/drill"), &ports(), disk(false)).unwrap();
            assert_eq!(load(&made.to_toml()), made, "{zookeeper}");
            assert!(!made.to_toml().contains("syncLimit"), "{}", made.to_toml());
        }
    }

    #[test]
    fn without_brokers_there_is_nothing_to_drill() {
        let refused = plan(&load("[mysql]\n"), Path::new("/own/drill"), &ports(), disk(false)).unwrap_err();
        assert_eq!(refused.exit, 8);
        assert!(refused.message.contains("no brokers"), "{refused:?}");
    }

    #[test]
    fn ports_of_the_users_and_of_outgoing_connections_are_passed_over() {
        let named: BTreeSet<u16> = [20_001, 20_003].into();
        let tried: Vec<u16> = candidates(&named, (20_004, 60_999), 0).take(3).collect();
        assert_eq!(tried, [20_000, 20_002, 61_000]);
        let all: Vec<u16> = candidates(&named, (32_768, 60_999), 3).collect();
        assert_eq!(all[0], FIRST_PORT + 48);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each once");
        assert_eq!(free_ports(&load("")).unwrap().len(), PORTS);
    }
}
