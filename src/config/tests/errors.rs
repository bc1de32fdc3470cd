//! Errors of single keys, as they are drawn.

use super::*;
use proptest::prelude::*;

#[test]
fn an_unknown_key_is_drawn_with_the_key_that_was_meant() {
    assert_eq!(
        refused("[zookeeper]\n[kafka]\n[kafka.brokers.1]\nexternal_prot = 9092\n"),
        r#"error: kafka.brokers.1.external_prot: unknown key
 --> supervisor.toml:4:1
  |
4 | external_prot = 9092
  | ^^^^^^^^^^^^^ did you mean external_port?
  |
  = hint: known here: cpu_weight, data_dir, enabled, external_port, grace, healthy_after, heap, internal_port, io_weight, log, memory_high, memory_low, memory_max, nofile, properties, restart, tasks_max, user"#
    );
}

#[test]
fn every_error_is_reported_at_once_in_the_order_of_the_file() {
    let text = "rooot = 3\n[zookeeper]\n  heap = 12\nmemory_max = \"12 parsecs\"\ntick = 3\nbind = \"here\"\n[mysql]\nport = 70000\nprovision = \"yes\"\n";
    assert_eq!(
        refused(text),
        r#"error: rooot: unknown key
 --> supervisor.toml:1:1
  |
1 | rooot = 3
  | ^^^^^ did you mean root?
  |
  = hint: known here: artifacts, command, disk, host, kafka, kafka_ui, logs, mysql, root, zookeeper

error: zookeeper.heap: 12 is too small
 --> supervisor.toml:3:10
  |
3 |   heap = 12
  |          ^^ allowed: "32M" to "256G"

error: zookeeper.memory_max: "12 parsecs" is not a byte size; write a whole number with K, M, G or T, such as "768M"
 --> supervisor.toml:4:14
  |
4 | memory_max = "12 parsecs"
  |              ^^^^^^^^^^^^ allowed: "100M" to "1T"

error: zookeeper.tick: 3 has no unit; write "3s" or "3ms"
 --> supervisor.toml:5:8
  |
5 | tick = 3
  |        ^ allowed: "100ms" to "1m"

error: zookeeper.bind: "here" is not an IP address
 --> supervisor.toml:6:8
  |
6 | bind = "here"
  |        ^^^^^^ allowed: an IP address such as "127.0.0.1", or "0.0.0.0" for every IPv4 interface

error: mysql.port: 70000 is not a port
 --> supervisor.toml:8:8
  |
8 | port = 70000
  |        ^^^^^ allowed: a port, 1 to 65535

error: mysql.provision: is a text
 --> supervisor.toml:9:13
  |
9 | provision = "yes"
  |             ^^^^^ allowed: true or false"#
    );
}

#[test]
fn an_error_knows_its_place() {
    let errors = load(&source("# 한글\r\n[zookeeper]\r\n\theap = 12 # too little\r\n")).unwrap_err();
    let error = &errors.errors[0];
    assert_eq!((error.key.as_str(), error.line, error.column), ("zookeeper.heap", Some(3), Some(9)));
    assert_eq!(error.span.clone().map(|span| span.len()), Some(2));
}

#[test]
fn toml_grammar_errors_keep_tomls_words() {
    assert_eq!(
        refused("[kafka]\nheap = 512M\n"),
        r#"error: string values must be quoted, expected literal string
 --> supervisor.toml:2:8
  |
2 | heap = 512M
  |        ^^^^"#
    );
    assert_eq!(
        refused("[mysql]\nport = 1\nport = 2\n"),
        r#"error: duplicate key
 --> supervisor.toml:3:1
  |
3 | port = 2
  | ^^^^"#
    );
    let deep = format!("{} = 1", vec!["a"; 200_000].join("."));
    assert_eq!(refused(&deep), "error: supervisor.toml: recursion limit");
}

#[test]
fn text_that_is_not_utf8_is_named_with_the_byte() {
    assert_eq!(
        ConfigErrors::not_utf8("/etc/x.toml", 17).to_string(),
        "error: /etc/x.toml is not UTF-8 text: byte 17 does not belong to a character\nhint: save the file as UTF-8"
    );
}

#[test]
fn wrong_values_are_refused_with_what_is_allowed() {
    let cases = [
        ("[host]\nos_floor = true", "host.os_floor: is true or false", "\"0\" to \"1T\""),
        ("[host]\nos_floor = -1", "host.os_floor: -1 is not a number of bytes", "\"0\" to \"1T\""),
        ("[host]\nsupervisor = \"1T\"", "host.supervisor: 1T is too large", "\"16M\" to \"16G\""),
        ("[mysql]\ngrace = \"2h\"", "mysql.grace: 2h00m is too large", "\"0s\" to \"1h\""),
        (
            "[mysql]\ngrace = \"soon\"",
            "mysql.grace: \"soon\" is not a duration; write a whole number with ms, s, m, h or d, such as \"12s\"",
            "\"0s\" to \"1h\"",
        ),
        ("[mysql]\nport = 0", "mysql.port: 0 is not a port", "a port, 1 to 65535"),
        ("[mysql]\nport = \"3306\"", "mysql.port: is a text", "a port, 1 to 65535"),
        ("[mysql]\nnofile = 1.5", "mysql.nofile: is a number with a fraction", "64 to 1048576"),
        (
            "[mysql]\nnofile = 9999999999999999999999",
            "mysql.nofile: 9999999999999999999999 is out of range",
            "64 to 1048576",
        ),
        (
            "[mysql]\nrestart = \"onfailure\"",
            "mysql.restart: \"onfailure\" is none of the known words; did you mean \"on-failure\"?",
            "always, on-failure, never",
        ),
        ("[mysql]\nuser = \"a b\"", "mysql.user: \"a b\" is not a user name", "the name of a user of this host"),
        (
            "[mysql]\ndatabase = \"a`b\"",
            "mysql.database: \"a`b\" is not a name for a database",
            "1 to 64 letters, digits and underscores",
        ),
        (
            "[mysql]\ndatabase = \"sys\"",
            "mysql.database: \"sys\" is a database of the server itself",
            "1 to 64 letters, digits and underscores",
        ),
        ("[mysql]\ndata_dir = \"mysql\"", "mysql.data_dir: \"mysql\" is not an absolute path", "an absolute path"),
        ("[mysql]\ndata_dir = \"/a/../b\"", "mysql.data_dir: \"/a/../b\" holds \"..\"", "an absolute path"),
        (
            "[mysql]\ndata_dir = \"/a,b\"",
            "mysql.data_dir: \"/a,b\" holds ',', which separates paths in Kafka's and Java's lists",
            "an absolute path",
        ),
        ("[mysql.log]\nmax_bytes = \"1\"", "mysql.log.max_bytes: 1 is too small", "\"4K\" to \"16G\""),
        ("[mysql.log]\nkeep = 1001", "mysql.log.keep: 1001 is out of range", "0 to 1000"),
        ("[logs]\ntotal = \"1K\"", "logs.total: 1K is too small", "\"1M\" to \"16T\""),
        ("[logs]\nmax_age = \"5m\"", "logs.max_age: 5m00s is too small", "\"1h\" to \"3650d\""),
        ("root = \"here\"", "root: \"here\" is not an absolute path", "an absolute path"),
        ("root = \"/\"", "root: the root of the file system is not a place for this", "an absolute path"),
        (
            "[artifacts]\nsources = [\"file\", \"vendro\"]",
            "artifacts.sources[1]: \"vendro\" is no source; did you mean \"vendor\"?",
            "file, vendor, packages",
        ),
        (
            "[artifacts]\nmirror = \"ftp://x\"",
            "artifacts.mirror: \"ftp://x\" starts with neither http:// nor https://",
            "a URL such as \"http://10.0.0.2/mirror\"",
        ),
        (
            "[artifacts]\nmirror = \"http://kim:secret@x/\"",
            "artifacts.mirror: a password in a URL would be shown in messages; it is not taken",
            "a URL such as \"http://10.0.0.2/mirror\"",
        ),
        (
            "[zookeeper]\n[kafka]\ndistribution = \"apache-3.5.3\"",
            "kafka.distribution: \"apache-3.5.3\" is no known distribution; did you mean \"apache-3.5.2\"?",
            "apache-3.5.2, apache-3.9.2, confluent-7.5.3",
        ),
        (
            "[mysql]\nversion = \"8.0.47\"",
            "mysql.version: \"8.0.47\" is none of the known words; did you mean \"8.0.46\"?",
            "8.0.46, 8.4.11, 9.7.2",
        ),
        (
            "[zookeeper]\n[kafka]\nadvertised_host = \"a b\"",
            "kafka.advertised_host: \"a b\" is not a host name",
            "a host name or an IPv4 address",
        ),
        (
            "[zookeeper]\n[kafka.brokers.01]\n[kafka.brokers.2]",
            "kafka.brokers.01: \"01\" is not a broker id",
            "0 to 1000, without leading zeros",
        ),
        (
            "[zookeeper]\n[kafka.brokers.1001]",
            "kafka.brokers.1001: \"1001\" is not a broker id",
            "0 to 1000, without leading zeros",
        ),
        (
            "[zookeeper]\njvm_flags = [\"XX\"]",
            "zookeeper.jvm_flags[0]: \"XX\" is not a flag: it does not start with a dash",
            "JVM flags such as \"-XX:+UseSerialGC\"",
        ),
        (
            "[zookeeper]\njvm_flags = [\"-Xss1m\", \"-Xmx1g\"]",
            "zookeeper.jvm_flags[1]: \"-Xmx1g\" is set by the supervisor; set heap",
            "JVM flags such as \"-XX:+UseSerialGC\"",
        ),
    ];
    for (text, message, allowed) in cases {
        let (got, label, _) = only(text);
        assert_eq!((got.as_str(), label.as_str()), (message, format!("allowed: {allowed}").as_str()), "{text}");
    }
}

#[test]
fn sources_are_named_once_and_at_least_one_is() {
    assert_eq!(messages("[artifacts]\nsources = []"), ["artifacts.sources: is empty, so nothing could be fetched"]);
    let twice = "[artifacts]\nsources = [\"file\", \"file\"]";
    assert_eq!(messages(twice), ["artifacts.sources: \"file\" is named twice"]);
}

#[test]
fn a_value_where_a_table_belongs_says_how_to_write_the_table() {
    let (message, _, hint) = only("mysql = 3306");
    assert_eq!(message, "mysql: is a whole number, not a table");
    assert_eq!(hint, "write [mysql] and its keys below it");
}

#[test]
fn nodes_of_a_later_version_are_named_as_such() {
    let (message, _, hint) = only("[zookeeper]\n[connect]\nenabled = false");
    assert_eq!(message, "connect: unknown key");
    assert_eq!(hint, "this node comes with a later version of the supervisor");
    let (message, _, hint) = only("[zookeeper]\n[kafka-ui]\nenabled = false");
    assert_eq!((message.as_str(), hint.as_str()), ("kafka-ui: unknown key", "write [kafka_ui]"));
}

#[test]
fn settings_that_the_supervisor_makes_are_refused_with_the_key_to_use() {
    assert_eq!(
        refused("[zookeeper]\n[kafka.properties]\nlog.dirs = \"/x\"\n"),
        r#"error: kafka.properties.log.dirs: this setting is made by the supervisor
 --> supervisor.toml:3:5
  |
3 | log.dirs = "/x"
  |     ^^^^
  |
  = hint: set data_dir of the broker"#
    );
    let cases = [
        ("[zookeeper]\n[zookeeper.properties]\ndataDir = \"/x\"", "set zookeeper.data_dir"),
        ("[zookeeper]\n[zookeeper.properties]\nclientPort = 1", "set zookeeper.client_port"),
        (
            "[zookeeper]\n[zookeeper.properties]\nserver.1 = \"a:1:2\"",
            "leave server.N out: one standalone ZooKeeper serves the brokers",
        ),
        ("[zookeeper]\n[kafka.brokers.1.properties]\nbroker.id = 7", "the id is the N of [kafka.brokers.N]"),
        (
            "[zookeeper]\n[kafka.properties]\n\"listeners\" = \"x\"",
            "set internal_port and external_port of the broker, and kafka.bind",
        ),
        ("[zookeeper]\n[kafka.properties]\nzookeeper.connect = \"x\"", "set zookeeper.client_port and zookeeper.bind"),
        ("[mysql.options]\nbind-address = \"x\"", "set mysql.bind"),
        ("[mysql.options]\nloose_datadir = \"x\"", "set mysql.data_dir"),
        ("[mysql.options]\nsocket = \"x\"", "leave it out: the socket is ROOT/nodes/mysql/run/mysqld.sock"),
        ("[mysql.options]\nport = 1", "set mysql.port"),
    ];
    for (text, wanted) in cases {
        let (_, _, hint) = only(text);
        assert_eq!(hint, wanted, "{text}");
    }
}

#[test]
fn mysqls_data_stay_in_its_data_directory() {
    for (option, value, path) in [
        ("log_bin", "/srv/binlog/bin", "/srv/binlog/bin"),
        ("log-bin", "../bin", "../bin"),
        ("loose_log_bin_index", "x/../../bin", "x/../../bin"),
        ("innodb_data_file_path", "ibdata1:12M;/srv/ibdata2:12M:autoextend", "/srv/ibdata2:12M:autoextend"),
        ("innodb_undo_directory", "'/srv/undo'", "/srv/undo"),
        ("innodb_directories", "a; /srv/b", "/srv/b"),
        ("innodb_log_group_home_dir", "/srv/redo", "/srv/redo"),
    ] {
        let (message, _, hint) = only(&format!("[mysql.options]\n{option} = \"{value}\""));
        assert!(message.contains(&format!("{path:?} may lie outside the data directory")), "{message}");
        assert!(hint.starts_with("write it relative to mysql.data_dir"), "{hint}");
        // An earlier version let it pass, and nodes may run by it.
        let text = format!("[mysql.options]\n{option} = \"{value}\"");
        assert_eq!(load_applied(&source(&text)).unwrap().mysql.unwrap().options.len(), 1);
    }
    let inside =
        "[mysql.options]\nlog_bin = \"mysql-bin\"\ninnodb_undo_directory = \"./undo..old\"\ninit_file = \"/srv/a.sql\"";
    assert!(load(&source(inside)).is_ok());
}

#[test]
fn passed_through_values_have_one_text_form() {
    let (message, label, _) = only("[mysql.options]\nplugin_load = [\"a\", \"b\"]");
    assert_eq!(message, "mysql.options.plugin_load: is a list, which has no text form here");
    assert_eq!(label, "allowed: a text, a number, true or false");
    assert_eq!(
        messages("[mysql.options]\nmax-connections = 1\nmax_connections = 2"),
        ["mysql.options.max_connections: max_connections is set twice"]
    );
    assert_eq!(
        messages("[mysql.options]\nx = \"a\\nb\"\n\"a b\" = 1"),
        [
            "mysql.options.x: holds the control character '\\n'",
            "mysql.options.a b: \"a b\" is not the name of an option"
        ]
    );
}

#[test]
fn commands_are_checked_to_the_last_key() {
    let cases = [
        ("[command.a]", "command.a.argv: is missing"),
        ("[command.a]\nargv = []", "command.a.argv: is empty"),
        ("[command.a]\nargv = \"/bin/true\"", "command.a.argv: is a text"),
        ("[command.a]\nargv = [\"true\"]", "command.a.argv[0]: the program \"true\" is not an absolute path"),
        ("[command.a]\nargv = [\"/bin/true\", 3]", "command.a.argv[1]: is a whole number"),
        ("[command.a]\nargv = [\"/bin/true\", \"\\u0000\"]", "command.a.argv[1]: holds a NUL character"),
        (
            "[command.A]\nargv = [\"/x\"]",
            "command.A: node name \"A\" may hold only lower-case letters, digits and dashes",
        ),
        (
            "[command.broker-7]\nargv = [\"/x\"]",
            "command.broker-7: the name \"broker-7\" belongs to a node of the supervisor",
        ),
        ("[command.mysql]\nargv = [\"/x\"]", "command.mysql: the name \"mysql\" belongs to a node of the supervisor"),
        (
            "[command.a]\nargv = [\"/x\"]\nenv.\"A-B\" = 1",
            "command.a.env.A-B: \"A-B\" is not the name of an environment variable",
        ),
        (
            "[command.a]\nargv = [\"/x\"]\nenv.NOTIFY_SOCKET = \"/s\"",
            "command.a.env.NOTIFY_SOCKET: this variable is set by the supervisor",
        ),
        (
            "[command.a]\nargv = [\"/x\"]\nstop_signal = \"SIGFOO\"",
            "command.a.stop_signal: \"SIGFOO\" is not a signal; write a name such as SIGTERM or HUP, or a number from 1 to 64",
        ),
        (
            "[command.a]\nargv = [\"/x\"]\nstop_signal = \"STOP\"",
            "command.a.stop_signal: SIGSTOP halts a program, it does not end it",
        ),
        (
            "[command.a]\nargv = [\"/x\"]\nports = [\"x:1\"]",
            "command.a.ports[0]: \"x:1\" is not an address with a port",
        ),
        ("[command.a]\nargv = [\"/x\"]\ndir = \"x\"", "command.a.dir: \"x\" is not an absolute path"),
        ("[command.a]\nargv = [\"/x\"]\nprobe.tcp = \"\"", "command.a.probe.tcp: \"\" is not an address with a port"),
        (
            "[command.a]\nargv = [\"/x\"]\nprobe.tcp = \"127.0.0.1\"",
            "command.a.probe.tcp: \"127.0.0.1\" is not an address with a port",
        ),
        (
            "[command.a]\nargv = [\"/x\"]\nprobe.http = \"127.0.0.1:1/\"",
            "command.a.probe.http: \"127.0.0.1:1/\" does not start with http://",
        ),
        (
            "[command.a]\nargv = [\"/x\"]\nprobe.http = \"http:///x\"",
            "command.a.probe.http: \"http:///x\" names no host",
        ),
        (
            "[command.a]\nargv = [\"/x\"]\nprobe.http = \"http://a:0/x\"",
            "command.a.probe.http: \"http://a:0/x\" has a port that is none",
        ),
        ("[command.a]\nargv = [\"/x\"]\nprobe.exec = []", "command.a.probe.exec: is empty"),
        (
            "[command.a]\nargv = [\"/x\"]\nprobe.exec = [\"curl\"]",
            "command.a.probe.exec[0]: the program \"curl\" is not an absolute path",
        ),
        ("[command.a]\nargv = [\"/x\"]\nprobe.kind = \"tcp\"", "command.a.probe.kind: unknown key"),
        (
            "[command.a]\nargv = [\"/x\"]\nprobe.tcp = 1\nprobe.notify = true",
            "command.a.probe: names more than one kind of look",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(only(text).0, wanted, "{text}");
    }
    let (_, _, hint) = only("[command.a]\nargv = [\"/x\"]\nprobe.address = \"127.0.0.1:1\"");
    assert_eq!(hint, "write tcp = \"127.0.0.1:8088\"");
}

#[test]
fn a_flood_of_errors_is_cut_and_counted() {
    let text: String = (0..5_000).map(|i| format!("k{i} = 1\n")).collect();
    let drawn = refused(&text);
    assert!(drawn.ends_with("error: 960 more errors in supervisor.toml"), "{}", &drawn[drawn.len() - 100..]);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        if let Err(errors) = load(&source(&text)) {
            prop_assert!(errors.to_string().starts_with("error: "));
        }
    }

    #[test]
    fn a_default_file_with_a_random_wound_never_panics(
        at in 0..DEFAULT_FILE.len(), length in 0usize..200, patch in "[\\[\\]a-z0-9._\"= \n한,-]{0,40}"
    ) {
        let (start, end) = (DEFAULT_FILE.floor_char_boundary(at), DEFAULT_FILE.floor_char_boundary(at + length));
        let text = format!("{}{patch}{}", &DEFAULT_FILE[..start], &DEFAULT_FILE[end.max(start)..]);
        match load(&source(&text)) {
            Ok(plan) => prop_assert_eq!(plan.digest(), accepted(&plan.to_toml()).digest()),
            Err(errors) => prop_assert!(errors.to_string().starts_with("error: ")),
        }
    }
}
