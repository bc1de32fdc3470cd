//! The rules between keys, and the ledger.

use super::*;
use crate::base::ByteSize;

#[test]
fn a_port_taken_twice_shows_both_places() {
    assert_eq!(
        refused("[zookeeper]\nclient_port = 3306\n[mysql]\nport = 3306\n"),
        r#"error: mysql.port: mysql would bind 127.0.0.1:3306, but zookeeper binds 127.0.0.1:3306 (zookeeper.client_port, line 2)
 --> supervisor.toml:4:8
  |
2 | client_port = 3306
  |               ---- here too
3 | [mysql]
4 | port = 3306
  |        ^^^^ taken twice
  |
  = hint: set mysql.port or zookeeper.client_port to another port"#
    );
    assert_eq!(
        refused("[command.ui]\nargv = [\"/x\"]\nports = [8088, 9092]\n[zookeeper]\n[kafka]\n"),
        r#"error: command.ui.ports[1]: ui would bind 0.0.0.0:9092, but broker-1 binds 127.0.0.1:9092 (kafka.brokers.1.external_port, by default)
 --> supervisor.toml:3:16
  |
3 | ports = [8088, 9092]
  |                ^^^^ taken twice
  |
  = hint: set command.ui.ports[1] or kafka.brokers.1.external_port to another port"#
    );
}

#[test]
fn one_port_on_two_addresses_is_no_clash() {
    accepted("[mysql]\nport = 4000\nbind = \"127.0.0.1\"\n[command.a]\nargv = [\"/x\"]\nports = [\"127.0.0.2:4000\"]");
    accepted("[mysql]\nport = 4000\nbind = \"0.0.0.0\"\n[command.a]\nargv = [\"/x\"]\nports = [\"[::1]:4000\"]");
    let both = "[mysql]\nport = 4000\n[command.a]\nargv = [\"/x\"]\nports = [\"[::]:4000\"]";
    assert_eq!(messages(both).len(), 1);
}

#[test]
fn a_port_below_1024_and_ports_of_disabled_nodes_are_fine() {
    accepted("[mysql]\nport = 33");
    accepted("[zookeeper]\nclient_port = 3306\nenabled = false\n[mysql]");
}

#[test]
fn a_port_that_cannot_be_read_is_not_also_called_taken() {
    let text = "[zookeeper]\nclient_port = 2181\n[mysql]\nport = \"x\"\n[command.a]\nargv = [\"/x\"]\nports = [3306]";
    assert_eq!(messages(text), ["mysql.port: is a text"]);
}

#[test]
fn two_nodes_never_share_a_data_directory() {
    assert_eq!(
        refused("[zookeeper]\ndata_dir = \"/srv/data\"\n[mysql]\ndata_dir = \"/srv//data/\"\n"),
        r#"error: mysql.data_dir: zookeeper and mysql would share the data directory /srv/data
 --> supervisor.toml:4:12
  |
2 | data_dir = "/srv/data"
  |            ----------- the other one
3 | [mysql]
4 | data_dir = "/srv//data/"
  |            ^^^^^^^^^^^^^
  |
  = hint: give each node a directory of its own"#
    );
    assert_eq!(
        messages("[mysql]\ndata_dir = \"/srv/a/b\"\n[zookeeper]\ndata_dir = \"/srv/a\""),
        ["zookeeper.data_dir: the data directory of mysql lies inside that of zookeeper: /srv/a/b"]
    );
}

#[test]
fn a_data_directory_keeps_clear_of_the_supervisors_own() {
    let cases = [
        ("/r/state/x", "/r/state/x meets /r/state, which the supervisor keeps for itself"),
        ("/r/nodes/zookeeper/log", "/r/nodes/zookeeper/log meets /r/nodes, which the supervisor keeps for itself"),
        ("/r", "/r meets /r, which the supervisor keeps for itself"),
    ];
    for (dir, why) in cases {
        let text = format!("root = \"/r\"\n[zookeeper]\ndata_dir = \"{dir}\"");
        assert_eq!(messages(&text), [format!("zookeeper.data_dir: {why}")]);
    }
    accepted("root = \"/r\"\n[zookeeper]\ndata_dir = \"/r/nodes/zookeeper/data/deeper\"");
    accepted("root = \"/r\"\n[zookeeper]\ndata_dir = \"/r/disk2/zookeeper\"");
}

#[test]
fn a_root_too_long_for_its_sockets_is_refused_with_the_length_that_fits() {
    let root = format!("/{}", "r".repeat(80));
    let (message, label, hint) = only(&format!("root = \"{root}\"\n[zookeeper]"));
    let socket = format!("{root}/nodes/zookeeper/run/shim.9999999999.sock");
    let wanted = format!("root: the root is too long: the socket {socket} has 122 bytes, the kernel takes 107");
    assert_eq!((message, label), (wanted, "allowed: at most 66 bytes".to_owned()));
    assert_eq!(hint, "use a root of at most 66 bytes, or shorter node names");
    let fits = format!("root = \"/{}\"\n[zookeeper]", "r".repeat(65));
    accepted(&fits);
    let given = Source { root_override: Some(PathBuf::from(&root)), ..source("[zookeeper]") };
    let drawn = load(&given).unwrap_err().to_string();
    assert!(drawn.starts_with("error: root: the root is too long (from --root): the socket /rrr"), "{drawn}");
    assert!(!drawn.contains("-->"), "{drawn}");
}

#[test]
fn a_relative_root_is_refused_wherever_it_comes_from() {
    let given = Source { root_override: Some(PathBuf::from("data")), ..source("") };
    assert_eq!(
        load(&given).unwrap_err().to_string(),
        "error: root: \"data\" is not an absolute path (from --root)\n\
         hint: use an absolute path such as /var/lib/cdc-supervisor"
    );
}

#[test]
fn the_root_is_that_of_the_command_line_then_the_files_then_the_default() {
    assert_eq!(accepted("").root, PathBuf::from(ROOT));
    assert_eq!(accepted("root = \"/r/\"").root, PathBuf::from("/r"));
    let given = Source { root_override: Some(PathBuf::from("/given")), ..source("root = \"/r\"") };
    assert_eq!(load(&given).unwrap().root, PathBuf::from("/given"));
}

#[test]
fn nodes_that_wait_for_each_other_are_printed_as_a_circle() {
    let text = "[command.a]\nargv = [\"/x\"]\nafter = [\"b\"]\n[command.b]\nargv = [\"/x\"]\nafter = [\"c\"]\n[command.c]\nargv = [\"/x\"]\nafter = [\"a\"]\n[command.d]\nargv = [\"/x\"]\nafter = [\"a\"]\n";
    assert_eq!(
        refused(text),
        r#"error: command.a.after[0]: nodes wait for each other: a -> b -> c -> a
 --> supervisor.toml:3:10
  |
3 | after = ["b"]
  |          ^^^
  |
  = hint: take one of these names out of its after list"#
    );
    let two = "[command.a]\nargv = [\"/x\"]\nafter = [\"a\"]\n[command.b]\nargv = [\"/x\"]\nafter = [\"a\", \"c\"]\n[command.c]\nargv = [\"/x\"]\nafter = [\"b\"]\n";
    assert_eq!(
        messages(two),
        [
            "command.a.after[0]: nodes wait for each other: a -> a",
            "command.b.after[1]: nodes wait for each other: b -> c -> b"
        ]
    );
}

#[test]
fn a_node_that_is_not_there_cannot_be_waited_for() {
    let text = "[zookeeper]\n[kafka]\n[command.a]\nargv = [\"/x\"]\nafter = [\"broker1\", \"mysql\"]";
    let errors = load(&source(text)).unwrap_err();
    let got: Vec<_> = errors.errors.iter().map(|e| (e.message.as_str(), e.hint.as_deref())).collect();
    let hint = Some("nodes: broker-1, broker-2, broker-3, zookeeper");
    assert_eq!(
        got,
        [("there is no node \"broker1\"; did you mean \"broker-1\"?", hint), ("there is no node \"mysql\"", hint)]
    );
    let disabled = "[zookeeper]\n[mysql]\nenabled = false\n[command.a]\nargv = [\"/x\"]\nafter = [\"mysql\"]";
    assert_eq!(messages(disabled), ["command.a.after[0]: mysql is disabled, so a would wait for ever"]);
}

#[test]
fn a_heap_and_its_native_part_fit_under_the_cap() {
    assert_eq!(
        refused("[zookeeper]\n[kafka]\nheap = \"700M\"\n"),
        r#"error: kafka.heap: a heap of 700M does not fit under a memory_max of 768M: the JVM needs 700M + 700M/16 + 162M = 906M
 --> supervisor.toml:3:8
  |
3 | heap = "700M"
  |        ^^^^^^
  |
  = hint: set kafka.memory_max to at least 906M, or kafka.heap to at most 570M"#
    );
    assert_eq!(
        refused("[zookeeper]\nheap = \"256M\"\nmemory_max = \"300M\"\n"),
        r#"error: zookeeper.heap: a heap of 256M does not fit under a memory_max of 300M: the JVM needs 256M + 256M/16 + 80M = 352M
 --> supervisor.toml:2:8
  |
2 | heap = "256M"
  |        ^^^^^^
3 | memory_max = "300M"
  |              ------ with this
  |
  = hint: set zookeeper.memory_max to at least 352M, or zookeeper.heap to at most 207M"#
    );
    let broker = "[zookeeper]\n[kafka]\nheap = \"512M\"\n[kafka.brokers.1]\n[kafka.brokers.2]\nmemory_max = \"512M\"";
    let why = "a heap of 512M does not fit under a memory_max of 512M: the JVM needs 512M + 512M/16 + 162M = 706M";
    assert_eq!(messages(broker), [format!("kafka.heap: {why}")]);
}

#[test]
fn the_heaps_that_an_error_recommends_are_accepted() {
    accepted("[zookeeper]\nheap = \"207M\"\nmemory_max = \"300M\"\n[kafka]\nheap = \"570M\"");
    accepted("[zookeeper]\n[kafka]\nheap = \"700M\"\nmemory_max = \"906M\"");
}

#[test]
fn a_cap_without_a_heap_leaves_the_heap_to_be_derived() {
    let plan = accepted(
        "[zookeeper]\nmemory_max = \"200M\"\n[kafka]\n[kafka.brokers.1]\nmemory_max = \"1G\"\n[kafka.brokers.2]",
    );
    assert_eq!(plan.zookeeper.unwrap().heap, None);
    let brokers = plan.kafka.unwrap().brokers;
    assert_eq!(brokers.values().map(|b| b.heap).collect::<Vec<_>>(), [None, Some(ByteSize::mib(512))]);
}

#[test]
fn a_cap_without_a_heap_has_room_for_the_smallest_one() {
    assert_eq!(
        refused("[zookeeper]\nmemory_max = \"147M\"\n"),
        r#"error: zookeeper.memory_max: 147M is too little for the smallest heap: the JVM needs 64M + 64M/16 + 80M = 148M
 --> supervisor.toml:2:14
  |
2 | memory_max = "147M"
  |              ^^^^^^
  |
  = hint: set zookeeper.memory_max to at least 148M"#
    );
    accepted("[zookeeper]\nmemory_max = \"148M\"\n[kafka]\nmemory_max = \"366M\"");
    let why = "365M is too little for the smallest heap: the JVM needs 192M + 192M/16 + 162M = 366M";
    let all = "[zookeeper]\n[kafka]\nmemory_max = \"365M\"";
    assert_eq!(messages(all), [format!("kafka.memory_max: {why}")], "once, not per broker");
    let one = "[zookeeper]\n[kafka.brokers.1]\n[kafka.brokers.2]\nmemory_max = \"365M\"";
    assert_eq!(messages(one), [format!("kafka.brokers.2.memory_max: {why}")]);
}

#[test]
fn a_buffer_pool_fits_under_the_cap() {
    assert_eq!(
        messages("[mysql]\noptions.innodb-buffer-pool-size = \"1G\""),
        ["mysql.options: a buffer pool of 1G does not fit under a memory_max of 1G: mysqld needs 1G + 192M = 1216M"]
    );
    accepted("[mysql]\noptions.innodb_buffer_pool_size = 67108864");
}

#[test]
fn a_property_that_takes_back_the_durability_is_refused() {
    let text =
        "[zookeeper]\n[kafka]\ndurability = \"power-cut\"\n[kafka.properties]\nlog.flush.interval.messages = 100\n";
    assert_eq!(
        messages(text),
        [
            "kafka.properties.log.flush.interval.messages: kafka.durability is \"power-cut\", but broker 1 would sync every 100 records only"
        ]
    );
    accepted(&text.replace("100", "1"));
    accepted(&text.replace("power-cut", "page-cache"));
    assert_eq!(accepted("[zookeeper]\n[kafka]").kafka.unwrap().durability, Durability::PageCache);
    assert_eq!(messages("[zookeeper]\n[kafka]\ndurability = \"power\"").len(), 1);
}

#[test]
fn a_session_that_zookeeper_would_change_is_refused() {
    assert_eq!(
        messages("[zookeeper]\n[kafka]\nsession_timeout = \"2s\""),
        [
            "kafka.session_timeout: a session of 2000 ms is outside what ZooKeeper grants with a tick of 2000 ms: 4000 to 40000 ms"
        ]
    );
    assert_eq!(messages("[zookeeper]\ntick = \"10s\"\n[kafka]").len(), 1);
    accepted("[zookeeper]\nproperties.minSessionTimeout = 1000\n[kafka]\nsession_timeout = \"2s\"");
}

#[test]
fn brokers_without_zookeeper_are_refused() {
    assert_eq!(
        refused("[kafka]\n"),
        r#"error: kafka: brokers need ZooKeeper, which has no table in this file
 --> supervisor.toml:1:2
  |
1 | [kafka]
  |  ^^^^^
  |
  = hint: add a line [zookeeper]; it may stay empty"#
    );
    let (message, _, hint) = only("[zookeeper]\nenabled = false\n[kafka]");
    assert_eq!(message, "kafka: brokers need ZooKeeper, which is disabled");
    assert_eq!(hint, "take enabled = false out of [zookeeper], or put it into [kafka] too");
}

#[test]
fn a_file_that_disables_everything_is_refused() {
    let (message, _, _) = only("[mysql]\nenabled = false");
    assert_eq!(message, ": every node is disabled, so there is nothing to run");
}

#[test]
fn the_ledger_adds_up_and_refuses_with_its_arithmetic() {
    let plan = accepted("");
    let ledger = check_ledger(&plan, ByteSize::gib(16)).unwrap();
    assert_eq!(ledger.sum, ByteSize::mib(384 + 3 * 768 + 1024 + 64 + 2048));
    assert_eq!(ledger.left(), Some(ByteSize::mib(16 * 1024 - 5824)));
    assert_eq!(check_ledger(&plan, ByteSize::mib(5824)).unwrap().left(), Some(ByteSize(0)));
    assert_eq!(
        check_ledger(&plan, ByteSize::gib(5)).unwrap_err().to_string(),
        "error: the nodes do not fit into this host: caps, supervisor and operating system need 5824M, the host has 5G
zookeeper            384M  zookeeper.memory_max
broker-1             768M  kafka.memory_max
broker-2             768M  kafka.memory_max
broker-3             768M  kafka.memory_max
mysql                  1G  mysql.memory_max
supervisor            64M  host.supervisor
operating system       2G  host.os_floor
sum                 5824M
host                   5G
missing              704M
hint: lower the sum by 704M: host.os_floor, mysql.memory_max, kafka.memory_max, zookeeper.memory_max; or set enabled = false for a node"
    );
}

#[test]
fn the_total_of_logs_has_room_for_every_file_that_is_written_to() {
    let (message, _, hint) = only("[logs]\ntotal = \"100M\"\n[zookeeper]\n[kafka]\n[mysql.log]\nmax_bytes = \"1M\"");
    assert_eq!(
        message,
        "logs.total: 100M is less than the 129M that the files of 5 nodes may reach before they are rotated"
    );
    assert!(hint.contains("max_bytes"), "{hint}");
    accepted("[logs]\ntotal = \"129M\"\n[zookeeper]\n[kafka]\n[mysql.log]\nmax_bytes = \"1M\"");
}

#[test]
fn the_ui_is_off_by_default_and_counted_when_it_is_on() {
    assert_eq!(accepted("").kafka_ui, None);
    assert!(accepted(DEFAULT_FILE).disabled.contains(&crate::base::NodeName::kafka_ui()));
    let plan = accepted("[zookeeper]\n[kafka.brokers.1]\n[kafka_ui]\n");
    let ui = plan.kafka_ui.as_ref().unwrap();
    assert_eq!((ui.heap, ui.memory_max, ui.read_only), (Some(ByteSize::mib(128)), ByteSize::mib(384), false));
    let ledger = check_ledger(&plan, ByteSize::gib(16)).unwrap();
    let line = ledger.lines.iter().find(|l| l.what == "kafka-ui").unwrap();
    assert_eq!((line.size, line.key.as_str()), (ByteSize::mib(384), "kafka_ui.memory_max"));
    let (_, port) = plan.ports().into_iter().find(|(node, _)| node.as_str() == "kafka-ui").unwrap();
    assert_eq!((port.address.to_string().as_str(), port.key.as_str()), ("127.0.0.1:8088", "kafka_ui.port"));
}

#[test]
fn a_ui_without_brokers_is_refused() {
    let (message, _, hint) = only("[kafka_ui]\n");
    assert_eq!(message, "kafka_ui: the UI shows brokers, and this file has no table [kafka]");
    assert_eq!(hint, "add [zookeeper] and [kafka]; they may stay empty");
    let (message, _, _) = only("[zookeeper]\n[kafka]\nenabled = false\n[kafka_ui]\n");
    assert_eq!(message, "kafka_ui: the UI shows brokers, and none is enabled");
    accepted("[mysql]\n[kafka_ui]\nenabled = false\n");
}

#[test]
fn the_uis_port_meets_no_other_and_its_heap_fits() {
    let on = "[zookeeper]\n[kafka.brokers.1]\n[kafka_ui]\n";
    let (message, _, _) = only(&format!("{on}port = 9092\n"));
    assert!(message.contains("kafka-ui would bind 127.0.0.1:9092, but broker-1 binds"), "{message}");
    let (message, _, hint) = only(&format!("{on}heap = \"256M\"\n"));
    assert_eq!(
        message,
        "kafka_ui.heap: a heap of 256M does not fit under a memory_max of 384M: the JVM needs 256M + 256M/16 + 205M = 477M"
    );
    assert_eq!(hint, "set kafka_ui.memory_max to at least 477M, or kafka_ui.heap to at most 168M");
    accepted(&format!("{on}heap = \"168M\"\n"));
    for cap in 273..600 {
        accepted(&format!("{on}memory_max = \"{cap}M\"\n"));
    }
    assert_eq!(messages(&format!("{on}memory_max = \"272M\"\n")).len(), 1);
}

#[test]
fn settings_of_the_ui_that_the_supervisor_makes_are_refused_however_they_are_spelt() {
    let on = "[zookeeper]\n[kafka.brokers.1]\n[kafka_ui]\n";
    for name in [
        "server.port",
        "SERVER.PORT",
        "\"kafka.clusters[0].bootstrap-servers\"",
        "\"kafka.clusters[0].bootstrapServers\"",
        "dynamic.config.enabled",
        "management.endpoints.web.base-path",
    ] {
        let (message, _, _) = only(&format!("{on}[kafka_ui.properties]\n{name} = \"x\"\n"));
        assert!(message.ends_with("this setting is made by the supervisor"), "{message}");
    }
    assert_eq!(messages(&format!("{on}jvm_flags = [\"-Dserver.port=1\"]\n")).len(), 1);
    accepted(&format!("{on}[kafka_ui.properties]\n\"kafka.clusters[0].name\" = \"x\"\n"));
    let (message, label, _) = only(&format!("{on}release = \"provectus\"\n"));
    assert!(message.contains("none of the known words"), "{message}");
    assert_eq!(label, "allowed: provectus-0.7.2, kafbat-1.0.0, kafbat-1.4.2, kafbat-1.5.0");
}
