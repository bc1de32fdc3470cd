//! Upstream settings that this program sets itself: refused in pass-through tables, with the key to use instead.

/// Names and what to say about them.
type Owned = &'static [(&'static str, &'static str)];

/// Names as in ZooKeeper's QuorumPeerConfig.java, 3.6.4 and 3.8.3.
const ZOOKEEPER: Owned = &[
    ("dataDir", "set zookeeper.data_dir"),
    ("dataLogDir", "set zookeeper.data_dir: transaction logs and snapshots live and die together"),
    ("clientPort", "set zookeeper.client_port"),
    ("clientPortAddress", "set zookeeper.bind"),
    ("tickTime", "set zookeeper.tick"),
    ("4lw.commands.whitelist", "leave it out: readiness and fencing read through these words"),
    ("admin.serverPort", "leave it out: the admin server is off, its port 8080 is often taken"),
    ("admin.enableServer", "leave it out: the admin server is off, its port 8080 is often taken"),
];

/// Names as in Kafka 3.5's KafkaConfig.
const KAFKA: Owned = &[
    ("broker.id", "the id is the N of [kafka.brokers.N]"),
    ("broker.id.generation.enable", "the id is the N of [kafka.brokers.N]"),
    ("node.id", "the id is the N of [kafka.brokers.N]"),
    ("process.roles", "leave it out: brokers run with ZooKeeper here"),
    ("controller.quorum.voters", "leave it out: brokers run with ZooKeeper here"),
    ("controller.listener.names", "leave it out: brokers run with ZooKeeper here"),
    ("listeners", "set internal_port and external_port of the broker, and kafka.bind"),
    ("advertised.listeners", "set external_port of the broker and kafka.advertised_host"),
    ("listener.security.protocol.map", "leave it out: the listeners are INTERNAL and EXTERNAL, both PLAINTEXT"),
    ("inter.broker.listener.name", "leave it out: brokers talk over INTERNAL"),
    ("security.inter.broker.protocol", "leave it out: brokers talk over INTERNAL"),
    ("control.plane.listener.name", "leave it out: brokers talk over INTERNAL"),
    ("port", "set external_port of the broker"),
    ("host.name", "set kafka.bind"),
    ("advertised.port", "set external_port of the broker"),
    ("advertised.host.name", "set kafka.advertised_host"),
    ("log.dir", "set data_dir of the broker"),
    ("log.dirs", "set data_dir of the broker"),
    ("zookeeper.connect", "set zookeeper.client_port and zookeeper.bind"),
    ("zookeeper.session.timeout.ms", "set kafka.session_timeout"),
];

/// mysqld's option names, with underscores.
const MYSQL: Owned = &[
    ("port", "set mysql.port"),
    ("bind_address", "set mysql.bind"),
    ("datadir", "set mysql.data_dir"),
    ("socket", "leave it out: the socket is ROOT/nodes/mysql/run/mysqld.sock"),
    ("pid_file", "leave it out: it lies in ROOT/nodes/mysql/run"),
    ("tmpdir", "leave it out: temporary files lie in ROOT/nodes/mysql/run/tmp"),
    ("basedir", "leave it out: it is where the verified server was unpacked"),
    ("lc_messages_dir", "leave it out: it belongs to the unpacked server"),
    ("character_sets_dir", "leave it out: it belongs to the unpacked server"),
    ("plugin_dir", "leave it out: it belongs to the unpacked server"),
    ("user", "set mysql.user"),
    ("log_error", "leave it out: the error log is the node's log"),
    ("console", "leave it out: the error log is the node's log"),
    ("daemonize", "leave it out: a supervised server stays in the foreground"),
    ("initialize", "leave it out: the data directory is made before the first start"),
    ("initialize_insecure", "leave it out: the data directory is made before the first start"),
    ("skip_networking", "leave it out: networking is off by itself until provisioning is done"),
    ("defaults_file", "leave it out: the rendered option file is the only one read"),
    ("defaults_extra_file", "leave it out: the rendered option file is the only one read"),
    ("defaults_group_suffix", "leave it out: the rendered option file is the only one read"),
    ("no_defaults", "leave it out: the rendered option file is the only one read"),
];

/// Kafka UI's names, without dashes and in lower case: Spring takes `bootstrap-servers`, `bootstrapServers` and
/// `bootstrap_servers` for the same (Spring Boot reference, "Relaxed Binding").
const KAFKA_UI: Owned = &[
    ("server.port", "set kafka_ui.port"),
    ("server.address", "set kafka_ui.bind"),
    ("kafka.clusters[0].bootstrapservers", "leave it out: the first cluster is the brokers of this file"),
    ("kafka.clusters[0].readonly", "set kafka_ui.read_only"),
    ("dynamic.config.enabled", "leave it out: who reaches the page could change what it runs with"),
    ("management.server.port", "leave it out: readiness is read on the page's own port"),
    ("management.server.address", "leave it out: readiness is read on the page's own port"),
    ("management.endpoints.web.basepath", "leave it out: readiness is read from /actuator/health"),
    ("management.endpoints.enabledbydefault", "leave it out: readiness is read from /actuator/health"),
    ("spring.config.additionallocation", "set kafka_ui.properties"),
    ("spring.config.location", "set kafka_ui.properties"),
    ("spring.config.import", "set kafka_ui.properties"),
];

/// The start of JVM flags that this program sets.
const JVM: Owned = &[
    ("-Xmx", "set heap"),
    ("-Xms", "set heap"),
    ("-XX:MaxHeapSize", "set heap"),
    ("-XX:InitialHeapSize", "set heap"),
    ("-XX:MaxRAM", "set heap and memory_max"),
    ("-cp", "leave it out: the class path is the verified jars"),
    ("-classpath", "leave it out: the class path is the verified jars"),
    ("--class-path", "leave it out: the class path is the verified jars"),
    ("-jar", "leave it out: the main class is set"),
    ("-XX:SharedArchiveFile", "leave it out: class-data archives are made and used by themselves"),
    ("-XX:ArchiveClassesAtExit", "leave it out: class-data archives are made and used by themselves"),
    // Spring takes system properties before its files
    ("-Dspring.config.", "set kafka_ui.properties"),
    ("-Dserver.", "set kafka_ui.port, kafka_ui.bind or kafka_ui.properties"),
    ("-Djava.io.tmpdir", "leave it out: temporary files lie in the node's run/tmp"),
];

fn refuse(table: Owned, name: &str) -> Result<(), (String, String)> {
    match table.iter().find(|(owned, _)| *owned == name) {
        Some((_, instead)) => Err(("this setting is made by the supervisor".into(), (*instead).to_owned())),
        None => Ok(()),
    }
}

fn well_formed(name: &str, what: &str) -> Result<(), (String, String)> {
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '=' | '#' | '!')) {
        return Err((format!("{name:?} is not the name of {what}"), "write the name as its manual has it".into()));
    }
    Ok(())
}

/// A ZooKeeper property.
pub(super) fn zookeeper_property(name: &str) -> Result<String, (String, String)> {
    well_formed(name, "a property")?;
    if name.starts_with("server.") {
        let message = "an ensemble of several ZooKeepers is not run here".to_owned();
        return Err((message, "leave server.N out: one standalone ZooKeeper serves the brokers".into()));
    }
    refuse(ZOOKEEPER, name).map(|()| name.to_owned())
}

/// A Kafka property.
pub(super) fn kafka_property(name: &str) -> Result<String, (String, String)> {
    well_formed(name, "a property")?;
    refuse(KAFKA, name).map(|()| name.to_owned())
}

/// A mysqld option: dashes become underscores, which mysqld takes for the same. `loose_` in front changes nothing.
pub(super) fn mysql_option(name: &str) -> Result<String, (String, String)> {
    well_formed(name, "an option")?;
    let name = name.trim_start_matches("--").replace('-', "_");
    refuse(MYSQL, name.strip_prefix("loose_").unwrap_or(&name)).map(|()| name)
}

/// Where mysqld keeps data, and the binlog, which says what of the data there is: with underscores, from its reference of system
/// variables, 8.0 to 9.7. Lists are parted by `;`.
const MYSQL_FILES: [&str; 10] = [
    "log_bin",
    "log_bin_index",
    "relay_log",
    "relay_log_index",
    "innodb_data_home_dir",
    "innodb_data_file_path",
    "innodb_directories",
    "innodb_doublewrite_dir",
    "innodb_log_group_home_dir",
    "innodb_undo_directory",
];

/// What a mysqld option may be set to: its data stay in its data directory, from which what is relative is reckoned.
pub(super) fn mysql_value(name: &str, value: &str) -> Result<(), (String, String)> {
    let plain = name.strip_prefix("loose_").unwrap_or(name);
    if !MYSQL_FILES.contains(&plain) {
        return Ok(());
    }
    let leaves = |path: &str| path.starts_with('/') || path.split('/').any(|part| part == "..");
    // mysqld takes one pair of quotes off (my_load_defaults).
    match value.split(';').map(|path| path.trim().trim_matches(['"', '\''])).find(|path| leaves(path)) {
        None => Ok(()),
        Some(path) => Err((
            format!("{path:?} may lie outside the data directory: snapshot, restore and reset would not take it along"),
            "write it relative to mysql.data_dir, and set that: data, redo log and binlog live and die together".into(),
        )),
    }
}

/// A setting of Kafka UI.
pub(super) fn kafka_ui_property(name: &str) -> Result<String, (String, String)> {
    well_formed(name, "a setting")?;
    let plain = name.replace(['-', '_'], "").to_ascii_lowercase();
    refuse(KAFKA_UI, &plain).map(|()| name.to_owned())
}

/// A JVM flag.
pub(super) fn jvm_flag(flag: &str) -> Result<(), String> {
    if !flag.starts_with('-') {
        return Err(format!("{flag:?} is not a flag: it does not start with a dash"));
    }
    match JVM.iter().find(|(start, _)| flag.starts_with(start)) {
        Some((_, instead)) => Err(format!("{flag:?} is set by the supervisor; {instead}")),
        None => Ok(()),
    }
}

/// An environment variable's name (POSIX, "Environment Variable Definition").
pub(super) fn environment_name(name: &str) -> Result<String, (String, String)> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let hint = "use letters, digits and underscores, a digit not first";
        return Err((format!("{name:?} is not the name of an environment variable"), hint.into()));
    }
    if name == "NOTIFY_SOCKET" {
        return Err(("this variable is set by the supervisor".into(), "set notify = true in the probe table".into()));
    }
    Ok(name.to_owned())
}
