//! ZooKeeper: one standalone server with its state on disk (source read at 3.6.4 and 3.8.3).

use super::{
    FILE_HEAD, FROM_FILE, Place, ServiceError, Site,
    jar_node::{About, JarNode},
    jvm, restart, text,
};
use crate::{
    base::{
        NodeKind, NodeName,
        recipe::{
            ClassDataArchive, DataProduct, DataVersion, Launch, PortUse, PrepareStep, Probe, ProbeKind, Recipe,
            RenderedFile, Stop, Training, TrainingJvm, WhileStarting,
        },
    },
    config,
    render::Properties,
};
use std::{net::SocketAddr, time::Duration};

/// The server's entry point; without `server.N` lines it runs standalone.
const MAIN_CLASS: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// SIGTERM ends a JVM with 128 + 15. ZooKeeper has no shutdown hook; every transaction is synced before it is answered.
const CLEAN_CODES: [i32; 1] = [143];

/// What ZooKeeper's JVM needs outside its heap. Measured with 3.6.4 and three brokers: 16 MB of metaspace without an archive
/// (2 MB with one), 4 MB of code, 28 threads on two cores.
pub(super) const NEEDS: jvm::Needs = jvm::Needs {
    metaspace: (24, 64),
    code_cache: (16, 48),
    direct: (8, 64),
    threads: 40,
    native: config::ZOOKEEPER_NATIVE,
    heap_min: config::ZOOKEEPER_HEAP_MIN,
};

/// The data directories that a ZooKeeper server on this command line works on, whoever has started it, as its configuration names
/// them; `read` gets a file's text. None: it is no ZooKeeper. `QuorumPeerMain FILE`, or `ZooKeeperServerMain PORT DIR`
/// (ServerConfig.parse, 3.6.4).
pub fn data_dirs_of(arguments: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let is_main = |word: &&String| *word == MAIN_CLASS || word.ends_with(".ZooKeeperServerMain");
    let rest: Vec<&String> = arguments.iter().skip_while(|word| !is_main(word)).skip(1).collect();
    match rest[..] {
        [file] => {
            let text = read(file).unwrap_or_default();
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            let named = pairs.filter(|(key, _)| matches!(key.trim(), "dataDir" | "dataLogDir"));
            named.map(|(_, dir)| dir.trim().to_owned()).collect()
        }
        [_, dir, ..] => vec![dir.clone()],
        [] => Vec::new(),
    }
}

/// The recipe of the one ZooKeeper.
pub(super) fn recipe(site: &Site<'_>, zookeeper: &config::Zookeeper) -> Result<Recipe, ServiceError> {
    let node = NodeName::zookeeper();
    let made = JarNode::of(
        site,
        &About {
            node: &node,
            data: zookeeper.data_dir.as_ref(),
            user: zookeeper.care.user.as_deref(),
            cap: zookeeper.memory_max,
            heap: zookeeper.heap,
            needs: &NEEDS,
            archive: "zookeeper",
            config: "zoo.cfg",
            main_class: MAIN_CLASS,
        },
    )?;
    let command = made.command(&zookeeper.jvm_flags);

    Ok(Recipe {
        kind: NodeKind::Zookeeper,
        directories: made.place.directories_with_data(),
        files: vec![
            RenderedFile {
                path: made.config_file.clone(),
                mode: 0o640,
                contents: properties(zookeeper, &text(&made.place.data, "")?),
            },
            RenderedFile { path: made.log4j_file.clone(), mode: 0o640, contents: log4j() },
        ],
        prepare: vec![
            PrepareStep::ClassData(ClassDataArchive {
                file: made.archive.clone(),
                training: Training::Zookeeper(training(&command)),
            }),
            PrepareStep::DataVersion(DataVersion {
                product: DataProduct::Zookeeper,
                version: made.jars.zookeeper_version.clone(),
                protocol: None,
                data_dir: made.place.data.clone(),
            }),
        ],
        launch: Launch {
            argv: command.argv(),
            env: jvm::environment(&made.tmp),
            dir: made.place.home.clone(),
            user: zookeeper.care.user.clone(),
            memory_max: Some(zookeeper.memory_max),
            heap: Some(made.limits.heap),
            tasks_max: zookeeper.care.tasks_max,
            share: zookeeper.care.share,
            nofile: zookeeper.care.nofile,
            // a host out of memory takes what can be replaced first
            oom_score_adj: -600,
            notify: false,
        },
        probe: Probe {
            kind: ProbeKind::Zookeeper(address(zookeeper)),
            timeout: Duration::from_secs(2),
            // ready after 0.3 s with an archive: a short pause is most of what one waits
            start_interval: Duration::from_millis(50),
            ready_interval: Duration::from_secs(5),
            failures: 3,
            // snapshot and log replay are shown as progress and move it
            start_deadline: Duration::from_secs(30),
        },
        // No shutdown hook and every transaction synced: it can be asked at any time (ZooKeeperServerMain, 3.6.4).
        stop: Stop {
            signal: 15,
            grace: zookeeper.care.grace,
            clean_codes: CLEAN_CODES.to_vec(),
            while_starting: WhileStarting::Ask,
        },
        peers: Vec::new(),
        after: Vec::new(),
        ports: vec![PortUse {
            name: "client".into(),
            address: SocketAddr::new(zookeeper.bind, zookeeper.client_port.0),
            key: "zookeeper.client_port".into(),
        }],
        restart: restart(&zookeeper.care),
        log: zookeeper.care.log,
        node,
    })
}

/// Where ZooKeeper is reached from this host.
pub(super) fn address(zookeeper: &config::Zookeeper) -> SocketAddr {
    zookeeper.client_port.reached(zookeeper.bind)
}

/// Where its data is.
pub(super) fn data_dir(site: &Site<'_>, zookeeper: &config::Zookeeper) -> std::path::PathBuf {
    Place::of(site.layout, &NodeName::zookeeper(), zookeeper.data_dir.as_ref()).data
}

/// `zoo.cfg`. Keys that ZooKeeper does not know become system properties `zookeeper.KEY`, by which several of these work.
fn properties(zookeeper: &config::Zookeeper, data: &str) -> String {
    let mut p = base_properties(FILE_HEAD);
    p.set("tickTime", zookeeper.tick.as_millis().to_string(), "milliseconds; a session lasts between 2 and 20 of it");
    p.set("dataDir", data, "");
    p.set("clientPort", zookeeper.client_port.to_string(), "");
    p.set("clientPortAddress", zookeeper.bind.to_string(), "");
    for (key, value) in &zookeeper.properties {
        p.set(key, value, FROM_FILE);
    }
    p.render()
}

fn base_properties(head: &str) -> Properties {
    let mut p = Properties::new(head);
    // On by default on port 8080 of every address, and a taken port ends the server with exit 4.
    p.set("admin.enableServer", "false", "no second port: the admin server would take 8080 on every address");
    p.set("4lw.commands.whitelist", "srvr,ruok,mntr,conf,isro", "what our probe asks (srvr) and people look at");
    // All clients share one address here: the default of 60 would let one leaking client shut out the brokers.
    p.set("maxClientCnxns", "0", "connections per address: all clients share one, a limit would shut out brokers");
    p.set("autopurge.snapRetainCount", "3", "the least ZooKeeper allows");
    p.set("autopurge.purgeInterval", "1", "hours; the default, 0, never deletes old snapshots and logs");
    // The default of 100,000 makes a restart replay that many; a small cluster's snapshot costs a few ms.
    p.set("snapCount", "20000", "a restart replays at most this many transactions");
    p
}

/// A short life on a port of its own, with `command`'s runtime and jars; the classes it loads are what counts.
pub(super) fn training(command: &jvm::CommandLine<'_>) -> TrainingJvm {
    let mut p = base_properties("");
    p.set("tickTime", "2000", "");
    p.set("dataDir", "@DATA@", "");
    p.set("clientPort", "@PORT@", "");
    p.set("clientPortAddress", "127.0.0.1", "");
    TrainingJvm { java: command.training(), main_class: MAIN_CLASS.into(), properties: p.render() }
}

fn log4j() -> String {
    jvm::log4j(&[(
        "org.apache.zookeeper.server.PrepRequestProcessor",
        "WARN",
        "one line for every create of something that is there already: normal traffic",
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_server_is_known_by_its_command_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let text = "tickTime=2000\ndataDir = /data\ndataLogDir=/log\n";
        let file = |path: &str| (path == "conf/zoo.cfg").then(|| text.to_owned());
        let main = "java -cp x:y org.apache.zookeeper.server.quorum.QuorumPeerMain";
        assert_eq!(data_dirs_of(&words(&format!("{main} conf/zoo.cfg")), file), ["/data", "/log"]);
        assert_eq!(data_dirs_of(&words(&format!("{main} other.cfg")), file), [""; 0]);
        let alone = "java org.apache.zookeeper.server.ZooKeeperServerMain 2181 /data 3000";
        assert_eq!(data_dirs_of(&words(alone), file), ["/data"]);
        assert_eq!(data_dirs_of(&words("java kafka.Kafka conf/zoo.cfg"), file), [""; 0]);
    }
}
