//! The MySQL server: option file by series, command line, first initialisation. Sources: the manual's option tables by series.

use super::{FILE_HEAD, FROM_FILE, Place, ServiceError, Site, mysql_provision, restart, text};
use crate::{
    base::{
        NodeKind, NodeName,
        programs::MysqlTree,
        recipe::{
            DataProduct, DataVersion, Launch, MysqlInitialize, PortUse, PrepareStep, Probe, ProbeKind, Recipe,
            RenderedFile, Stop, WhileStarting,
        },
    },
    config,
    render::OptionFile,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Names of the secret files under `state/secrets`. A contract.
const ROOT_SECRET: &str = "mysql-root";
const DEBEZIUM_SECRET: &str = "debezium";

/// The recipe of the one MySQL server.
pub(super) fn recipe(site: &Site<'_>, mysql: &config::Mysql) -> Result<Recipe, ServiceError> {
    let node = NodeName::mysql();
    let tree = site
        .programs
        .mysql
        .as_ref()
        .ok_or_else(|| ServiceError::NoProgram { node: NodeName::mysql(), program: "a MySQL server" })?;
    let place = Place::of(site.layout, &node, mysql.data_dir.as_ref());
    let config_file = place.conf.join("my.cnf");
    let options = options(site, mysql, tree, &place)?;
    let mysqld = mysqld(tree, &text(&config_file, "")?)?;
    let env = environment(&text(&place.tmp, "")?);
    let root_password = site.layout.secret(ROOT_SECRET);

    // The data directory itself appears by a rename: its presence means that it is whole.
    let mut directories = place.directories();
    if site.is_apart(mysql.care.user.as_deref()) {
        // It makes its sockets and pid files there; what is the shim's there stays the shim's.
        directories.iter_mut().filter(|(path, _)| *path == place.run).for_each(|(_, mode)| *mode = 0o1770);
    }
    Ok(Recipe {
        kind: NodeKind::Mysql,
        directories,
        // the server ignores an option file that everybody may write; this one nobody else may even read
        files: vec![RenderedFile { path: config_file, mode: 0o640, contents: options.render() }],
        prepare: vec![
            PrepareStep::MysqlIdentity { data_dir: place.data.clone() },
            PrepareStep::MysqlInitialize(initialize(site, mysql, &mysqld, &place, &env)?),
            PrepareStep::DataVersion(DataVersion {
                product: DataProduct::Mysql,
                version: tree.version.clone(),
                protocol: None,
                data_dir: place.data.clone(),
            }),
        ],
        launch: Launch {
            argv: mysqld,
            env,
            dir: place.home.clone(),
            user: mysql.care.user.clone(),
            memory_max: Some(mysql.memory_max),
            heap: None,
            tasks_max: mysql.care.tasks_max,
            share: mysql.care.share,
            nofile: mysql.care.nofile,
            // the only copy of its data: the last to go when the host is out of memory
            oom_score_adj: -800,
            notify: true,
        },
        probe: Probe {
            kind: ProbeKind::Mysql { socket: site.layout.mysql_socket(), root_password },
            timeout: Duration::from_secs(2),
            start_interval: Duration::from_millis(100),
            ready_interval: Duration::from_secs(5),
            failures: 3,
            // 0.6 s measured; crash recovery is shown as progress and moves it
            start_deadline: Duration::from_secs(60),
        },
        // SIGTERM is SHUTDOWN and ends with 0: no code besides it is clean
        stop: Stop { signal: 15, grace: mysql.care.grace, clean_codes: Vec::new(), while_starting: WhileStarting::Ask },
        peers: Vec::new(),
        after: Vec::new(),
        ports: vec![PortUse {
            name: "mysql".into(),
            address: SocketAddr::new(mysql.bind, mysql.port.0),
            key: "mysql.port".into(),
        }],
        restart: restart(&mysql.care),
        log: mysql.care.log,
        node,
    })
}

/// `[launcher…] mysqld --defaults-file=F`: first, so that no option file of the system is read. Not `--daemonize` and not
/// `mysqld_safe`: the child must be mysqld itself.
fn mysqld(tree: &MysqlTree, config_file: &str) -> Result<Vec<String>, ServiceError> {
    let mut argv = tree.launcher.clone();
    argv.push(text(&tree.mysqld, "")?);
    argv.push(format!("--defaults-file={config_file}"));
    Ok(argv)
}

fn environment(tmp: &str) -> Vec<(String, String)> {
    // MYSQLD_PARENT_PID is not there on purpose: without it SQL RESTART is refused instead of ending the server with 16
    [("LANG", "C.UTF-8"), ("TMPDIR", tmp)].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
}

/// The server's options. Only names that every supported series takes; where they differ, by the tree's series.
fn options(
    site: &Site<'_>,
    mysql: &config::Mysql,
    tree: &MysqlTree,
    place: &Place,
) -> Result<OptionFile, ServiceError> {
    if tree.series < (8, 0) || (tree.series == (8, 0) && patch(&tree.version) < 30) {
        return Err(ServiceError::MysqlSeries { version: tree.version.clone() });
    }
    let mut f = OptionFile::new("mysqld", FILE_HEAD);
    let path = |path: &PathBuf| text(path, "");

    f.set("port", mysql.port.to_string(), "");
    f.set("bind_address", mysql.bind.to_string(), "");
    f.set("socket", path(&site.layout.mysql_socket())?, "");
    f.set("pid_file", path(&place.run.join("mysqld.pid"))?, "");
    f.set("datadir", path(&place.data)?, "");
    f.set("tmpdir", path(&place.tmp)?, "never /tmp, which a restart of the unit may empty");
    f.set("basedir", path(&tree.basedir)?, "");
    f.set("lc_messages_dir", path(&tree.messages_dir)?, "");
    f.set("character_sets_dir", path(&tree.character_sets_dir)?, "");
    f.set("plugin_dir", path(&tree.plugin_dir)?, "");
    if site.running_as_root && mysql.care.user.is_none() {
        f.set("user", "root", "the server refuses to run as root unless told to");
    }
    // No log_error: the log goes to stderr, which the shim keeps.

    binlog(&mut f);
    memory(&mut f);

    f.set("mysqlx", "0", "no second port: the X Protocol would take 33060 on every address");
    f.set("secure_file_priv", "NULL", "no SQL statement reads or writes files of the host");
    // DATETIME columns carry no zone and change readers take them for UTC.
    f.set("default_time_zone", "+00:00", "CURRENT_TIMESTAMP in UTC, as change readers take a DATETIME to be");
    // A binlog reader that is busy with a large transaction is cut off after 60 s otherwise (Debezium's MySQL guide).
    f.set("net_write_timeout", "600", "seconds; a slow binlog reader is not cut off");
    for (name, value) in &mysql.options {
        f.set(name, value, FROM_FILE);
    }
    Ok(f)
}

/// What a change reader needs (checked by Debezium at its start: BinlogSourceTask).
fn binlog(f: &mut OptionFile) {
    f.set("server_id", "1", "a change reader must use another one");
    f.set("log_bin", "binlog", "");
    // Deprecated since 8.0.34 in favour of nothing else than ROW; accepted by every series up to 9.7.
    f.set("binlog_format", "ROW", "");
    f.set("binlog_row_image", "FULL", "");
    f.set("gtid_mode", "ON", "");
    f.set("enforce_gtid_consistency", "ON", "");
    // expire_logs_days is unknown to 8.4 and later (removed in 8.2.0)
    f.set("binlog_expire_logs_seconds", (3 * 24 * 3600).to_string(), "3 days");
    f.set("sync_binlog", "1", "a transaction that a change reader has seen survives a power cut");
    f.set("innodb_flush_log_at_trx_commit", "1", "");
}

/// Inside 1 GB with room: 312 MB resident with these, 561 MB with the server's defaults.
fn memory(f: &mut OptionFile) {
    f.set("innodb_buffer_pool_size", (512u64 << 20).to_string(), "512M");
    // In every series from 8.0.30; innodb_log_file_size is unknown from 9.3 (testcontainers-java#10184).
    f.set("innodb_redo_log_capacity", (64u64 << 20).to_string(), "64M");
    // 64M by default from 8.4; 16M holds what a small box writes between two syncs.
    f.set("innodb_log_buffer_size", (16u64 << 20).to_string(), "16M");
    // The data files stay out of the page cache, which is charged to the cap. The server goes on without where the file
    // system refuses it.
    f.set("innodb_flush_method", "O_DIRECT", "the buffer pool is the cache; a second copy would count against the cap");
    f.set("max_connections", "100", "");
    f.set("performance_schema", "OFF", "saves about 250 MB; change readers do not need it");
    f.set("table_open_cache", "400", "");
    f.set("table_definition_cache", "400", "the least the server takes");
    // 1 GB by default: one query with a large temporary table would reach the cap.
    f.set("temptable_max_ram", (64u64 << 20).to_string(), "64M; larger temporary tables go to disk");
}

/// `8.0.46-0ubuntu0.24.04.1` is 46.
fn patch(version: &str) -> u32 {
    let third = version.split('.').nth(2).unwrap_or_default();
    let digits = third.find(|c: char| !c.is_ascii_digit()).unwrap_or(third.len());
    third[..digits].parse().unwrap_or(0)
}

/// How the data directory is made: beside its place, provisioned there with networking off, then renamed.
///
/// Initialised with the same option file as the server that will run, because options such as `lower_case_table_names` and
/// `innodb_page_size` are fixed then. Those on the command line come later and win.
fn initialize(
    site: &Site<'_>,
    mysql: &config::Mysql,
    mysqld: &[String],
    place: &Place,
    env: &[(String, String)],
) -> Result<MysqlInitialize, ServiceError> {
    let build_dir = build_dir(&place.data);
    let datadir = format!("--datadir={}", text(&build_dir, "")?);
    let socket = place.run.join("init.sock");
    let with = |more: Vec<String>| mysqld.iter().cloned().chain(more).collect::<Vec<_>>();
    Ok(MysqlInitialize {
        initialize: with(vec![datadir.clone(), "--initialize-insecure".into()]),
        serve: with(vec![
            datadir,
            "--skip-networking".into(),
            format!("--socket={}", text(&socket, "")?),
            format!("--pid-file={}", text(&place.run.join("init.pid"), "")?),
        ]),
        env: env.to_vec(),
        socket,
        statements: mysql_provision::statements(mysql),
        root_password: site.layout.secret(ROOT_SECRET),
        debezium_password: site.layout.secret(DEBEZIUM_SECRET),
        data_dir: place.data.clone(),
        build_dir,
    })
}

/// A sibling of the data directory: a rename stays on one file system.
fn build_dir(data: &std::path::Path) -> PathBuf {
    let name = data.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    data.with_file_name(format!("{name}.building"))
}
