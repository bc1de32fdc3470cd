//! Whole recipes from a whole configuration: the mission's stack, golden files, what changes and what does not.

use super::*;
use crate::base::{
    NodeKind,
    programs::{JavaRuntime, KafkaJars, MysqlTree},
    recipe::{PrepareStep, ProbeKind, Training},
};
use crate::config::{Plan, Source};

fn plan(text: &str) -> Plan {
    let source =
        Source { text, name: "supervisor.toml", root_override: Some("/srv/cdc".into()), default_root: "/x".into() };
    crate::config::load(&source).unwrap_or_else(|e| panic!("{e:?}"))
}

pub(super) fn programs() -> Programs {
    Programs {
        java: Some(JavaRuntime {
            program: "/opt/java/bin/java".into(),
            home: "/opt/java".into(),
            major: 17,
            version: "17.0.15".into(),
            fingerprint: "17.0.15-1".into(),
        }),
        kafka: Some(KafkaJars {
            version: "3.5.2".into(),
            zookeeper_version: "3.6.4".into(),
            class_path: vec!["/store/a.jar".into(), "/store/b.jar".into()],
            content: "abc".into(),
        }),
        mysql: Some(mysql_tree("9.7.4", (9, 7))),
        kafka_ui: None,
    }
}

fn mysql_tree(version: &str, series: (u32, u32)) -> MysqlTree {
    MysqlTree {
        version: version.into(),
        series,
        launcher: vec!["/m/ld.so".into(), "--library-path".into(), "/m/lib".into()],
        mysqld: "/m/sbin/mysqld".into(),
        basedir: "/m".into(),
        messages_dir: "/m/share".into(),
        character_sets_dir: "/m/share/charsets".into(),
        plugin_dir: "/m/plugin".into(),
        content: "m".into(),
    }
}

fn make_with(text: &str, programs: &Programs, root: bool) -> Result<Vec<Recipe>, ServiceError> {
    let plan = plan(text);
    let layout = plan.layout();
    recipes(&Inputs { plan: &plan, programs, layout: &layout, cores: 4, running_as_root: root })
}

fn make(text: &str) -> Vec<Recipe> {
    make_with(text, &programs(), false).unwrap()
}

fn one(text: &str, name: &str) -> Recipe {
    make(text).into_iter().find(|r| r.node.as_str() == name).unwrap()
}

fn file(recipe: &Recipe, name: &str) -> String {
    recipe.files.iter().find(|f| f.path.ends_with(name)).unwrap().contents.clone()
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/services").join(name);
    if std::env::var_os("CDC_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert!(wanted == text, "{name} differs; look at it, then run once with CDC_WRITE_GOLDEN=1:\n{text}");
}

const STACK: &str = "[zookeeper]\n[kafka]\n[mysql]\n";

#[test]
fn the_missions_stack_renders_to_its_golden_files() {
    let made = make(STACK);
    let names: Vec<&str> = made.iter().map(|r| r.node.as_str()).collect();
    assert_eq!(names, ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"]);
    golden("zoo.cfg", &file(&made[0], "zoo.cfg"));
    golden("zookeeper-log4j.properties", &file(&made[0], "log4j.properties"));
    golden("zookeeper.argv", &made[0].launch.argv.join("\n"));
    golden("broker-2.properties", &file(&made[2], "server.properties"));
    golden("broker-2.argv", &made[2].launch.argv.join("\n"));
    golden("my.cnf", &file(&made[4], "my.cnf"));
    let PrepareStep::MysqlInitialize(init) = &made[4].prepare[1] else { panic!() };
    golden("mysql-initialize.argv", &init.initialize.join("\n"));
    golden("mysql-serve.argv", &init.serve.join("\n"));
    golden("mysql-provision.sql", &init.statements.join(";\n"));
}

#[test]
fn recipes_are_the_same_bytes_every_time() {
    assert_eq!(make(STACK), make(STACK));
}

#[test]
fn brokers_come_after_zookeeper_and_wait_for_their_old_session() {
    let broker = one(STACK, "broker-2");
    assert_eq!(broker.after, [NodeName::zookeeper()]);
    assert_eq!(broker.kind, NodeKind::Broker(2));
    assert!(broker.prepare.iter().any(|step| matches!(step,
        PrepareStep::AwaitBrokerSessionGone { zookeeper, broker_id: 2, up_to, fence: true, endpoints }
            if zookeeper.to_string() == "127.0.0.1:2181" && *up_to == Duration::from_secs(16)
                && *endpoints == ["INTERNAL://127.0.0.1:29093", "EXTERNAL://localhost:9093"])));
    assert_eq!(broker.stop.clean_codes, [143]);
    assert!(broker.stop.grace >= Duration::from_secs(60));
}

#[test]
fn without_fencing_brokers_wait_for_their_old_session_and_nobody_closes_it() {
    let stack = STACK.replacen("[kafka]", "[kafka]\nfencing = false", 1);
    assert_ne!(stack, STACK);
    for (id, name) in [(1, "broker-1"), (2, "broker-2"), (3, "broker-3")] {
        let broker = one(&stack, name);
        assert!(broker.prepare.iter().any(|step| matches!(step,
            PrepareStep::AwaitBrokerSessionGone { broker_id, fence: false, .. } if *broker_id == id)));
    }
}

#[test]
fn training_and_run_have_the_same_class_path_and_no_heap_or_archive() {
    for name in ["zookeeper", "broker-1"] {
        let recipe = one(STACK, name);
        let PrepareStep::ClassData(archive) = &recipe.prepare[0] else { panic!() };
        let jvms = match &archive.training {
            Training::Zookeeper(jvm) => vec![jvm],
            Training::Broker(broker, zookeeper) => vec![broker, zookeeper],
        };
        for jvm in jvms {
            assert_eq!(jvm.java[jvm.java.len() - 2..], ["-cp".to_owned(), "/store/a.jar:/store/b.jar".to_owned()]);
            assert!(!jvm.java.iter().any(|a| a.starts_with("-Xm") || a.contains("Shared") || a.contains("Archive")));
            assert!(jvm.properties.contains("@DATA@") && jvm.properties.contains("@PORT@"));
        }
        let named = format!("-XX:SharedArchiveFile={}", archive.file.display());
        assert!(recipe.launch.argv.contains(&named));
        assert!(recipe.launch.argv.windows(2).any(|w| w == ["-cp", "/store/a.jar:/store/b.jar"]));
    }
}

#[test]
fn nothing_of_a_node_points_to_tmp() {
    for recipe in make(STACK) {
        let words = recipe.launch.argv.iter().chain(recipe.launch.env.iter().map(|(_, v)| v));
        for word in words.chain(recipe.files.iter().map(|f| &f.contents)) {
            assert!(!word.contains("=/tmp") && !word.starts_with("/tmp"), "{}: {word}", recipe.node);
        }
        assert!(recipe.launch.env.iter().any(|(k, v)| k == "TMPDIR" && v.ends_with("/run/tmp")));
    }
}

#[test]
fn what_the_user_sets_wins_in_its_place_and_says_so() {
    let text = "[zookeeper]\nheap = \"128M\"\n[zookeeper.properties]\nsnapCount = \"500\"\n\
                [kafka.properties]\n\"num.io.threads\" = \"9\"\n\"compression.type\" = \"zstd\"\n\
                [kafka.brokers.1.properties]\n\"num.io.threads\" = \"3\"\n[kafka.brokers.2]\n[kafka.brokers.3]\n\
                [mysql.options]\nmax_connections = 33\nlower_case_table_names = 1\n";
    let zookeeper = one(text, "zookeeper");
    assert!(file(&zookeeper, "zoo.cfg").contains("# set in supervisor.toml\nsnapCount=500\n"));
    assert!(zookeeper.launch.argv.contains(&"-Xmx128m".to_owned()));
    assert_eq!(zookeeper.launch.heap, Some(ByteSize::mib(128)));
    assert!(file(&one(text, "broker-1"), "server.properties").contains("num.io.threads=3\n"));
    let second = file(&one(text, "broker-2"), "server.properties");
    assert!(second.contains("num.io.threads=9\n") && second.contains("compression.type=zstd\n"));
    assert_eq!(second.matches("num.io.threads").count(), 1);
    let mysql = file(&one(text, "mysql"), "my.cnf");
    assert!(mysql.contains("max_connections=33\n") && !mysql.contains("max_connections=100"));
    // fixed when the data directory is made, so initialisation must see it
    let PrepareStep::MysqlInitialize(init) = &one(text, "mysql").prepare[1] else { panic!() };
    assert!(init.initialize.iter().any(|a| a == "--defaults-file=/srv/cdc/nodes/mysql/conf/my.cnf"));
}

#[test]
fn fewer_brokers_ask_for_fewer_copies() {
    for (brokers, copies, confirm) in [(1, 1, 1), (2, 2, 1), (3, 3, 2), (4, 3, 2)] {
        let text: String = (1..=brokers).map(|id| format!("[kafka.brokers.{id}]\n")).collect();
        let text = format!("[zookeeper]\n{text}");
        let properties = file(&one(&text, "broker-1"), "server.properties");
        assert!(properties.contains(&format!("default.replication.factor={copies}\n")), "{brokers}");
        assert!(properties.contains(&format!("min.insync.replicas={confirm}\n")), "{brokers}");
        assert!(properties.contains(&format!("transaction.state.log.min.isr={confirm}\n")), "{brokers}");
    }
}

#[test]
fn a_broker_that_shall_survive_a_power_cut_syncs_every_record() {
    let properties = |text: &str| file(&one(text, "broker-2"), "server.properties");
    assert!(!properties(STACK).contains("flush.interval"));
    let safe = properties("[zookeeper]\n[kafka]\ndurability = \"power-cut\"");
    assert!(safe.contains("\nlog.flush.interval.messages=1\n"), "{safe}");
}

#[test]
fn a_server_that_binds_every_address_is_reached_over_loopback() {
    let text = "[zookeeper]\nbind = \"0.0.0.0\"\n[kafka]\nbind = \"0.0.0.0\"\nadvertised_host = \"box.lan\"\n";
    let broker = one(text, "broker-1");
    let properties = file(&broker, "server.properties");
    assert!(properties.contains("zookeeper.connect=127.0.0.1:2181\n"));
    assert!(properties.contains("listeners=INTERNAL://127.0.0.1:29092,EXTERNAL://0.0.0.0:9092\n"));
    assert!(properties.contains("advertised.listeners=INTERNAL://127.0.0.1:29092,EXTERNAL://box.lan:9092\n"));
    let ProbeKind::Broker { external, .. } = broker.probe.kind else { panic!() };
    assert_eq!(external.to_string(), "127.0.0.1:9092");
}

#[test]
fn mysqld_is_told_to_be_root_only_when_it_will_be() {
    let of = |text: &str, root| {
        let made = make_with(text, &programs(), root).unwrap();
        file(made.iter().find(|r| r.node == NodeName::mysql()).unwrap(), "my.cnf").contains("\nuser=root\n")
    };
    assert!(of("[mysql]\n", true));
    assert!(!of("[mysql]\n", false));
    assert!(!of("[mysql]\nuser = \"mysql\"\n", true));
}

#[test]
fn a_mysql_without_the_redo_capacity_option_is_refused() {
    let with = |version: &str, series| {
        let programs = Programs { mysql: Some(mysql_tree(version, series)), ..programs() };
        make_with("[mysql]\n", &programs, false).map(|_| ())
    };
    assert_eq!(with("8.0.29", (8, 0)), Err(ServiceError::MysqlSeries { version: "8.0.29".into() }));
    assert_eq!(with("5.7.44", (5, 7)), Err(ServiceError::MysqlSeries { version: "5.7.44".into() }));
    assert_eq!(with("8.0.46-0ubuntu0.24.04.1", (8, 0)), Ok(()));
    assert_eq!(with("8.4.0", (8, 4)), Ok(()));
}

#[test]
fn the_change_readers_user_gets_exactly_five_privileges_outside_the_binlog() {
    let PrepareStep::MysqlInitialize(init) = &one("[mysql]\n", "mysql").prepare[1] else { panic!() };
    let grants: Vec<&String> = init.statements.iter().filter(|s| s.starts_with("GRANT")).collect();
    assert_eq!(
        grants,
        ["GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'debezium'@'%'"]
    );
    let off = init.statements.iter().position(|s| s == "SET SESSION sql_log_bin = 0").unwrap();
    let on = init.statements.iter().position(|s| s == "SET SESSION sql_log_bin = 1").unwrap();
    for (at, statement) in init.statements.iter().enumerate() {
        assert_eq!(
            statement.contains("PASSWORD@") || statement.contains("'debezium'"),
            off < at && at < on,
            "{statement}"
        );
    }
    assert_eq!(init.build_dir.parent(), init.data_dir.parent());
    assert!(!one("[mysql]\n", "mysql").directories.iter().any(|(d, _)| *d == init.data_dir));
}

#[test]
fn without_provisioning_only_root_gets_a_password() {
    let PrepareStep::MysqlInitialize(init) = &one("[mysql]\nprovision = false\n", "mysql").prepare[1] else { panic!() };
    assert!(init.statements.iter().any(|s| s.contains("@ROOT_PASSWORD@")));
    assert!(!init.statements.iter().any(|s| s.contains("debezium") || s.contains("trading")));
}

#[test]
fn a_missing_program_is_named_with_its_node() {
    let none = Programs { mysql: None, ..programs() };
    let e = make_with("[mysql]\n", &none, false).unwrap_err();
    assert_eq!(e.to_string(), "mysql needs a MySQL server, and none was resolved");
    let none = Programs { java: None, ..programs() };
    let e = make_with("[zookeeper]\n", &none, false).unwrap_err();
    assert_eq!(e.to_string(), "zookeeper needs a Java runtime, and none was resolved");
}

#[test]
fn a_jar_whose_path_the_jvm_would_cut_is_refused() {
    let mut programs = programs();
    if let Some(kafka) = &mut programs.kafka {
        kafka.class_path.push("/st:ore/c.jar".into());
    }
    assert!(matches!(make_with("[zookeeper]\n", &programs, false), Err(ServiceError::Path { .. })));
}

#[test]
fn a_command_keeps_what_it_was_given_and_gets_a_place() {
    let text = "[zookeeper]\n[command.tail]\nargv = [\"/bin/tail\", \"-f\", \"/dev/null\"]\nafter = [\"zookeeper\"]\n\
                stop_signal = \"INT\"\n[command.tail.env]\nPATH = \"/opt/bin\"\n\
                [command.first]\nargv = [\"/bin/cat\"]\nafter = [\"tail\"]\n";
    let made = make(text);
    let names: Vec<&str> = made.iter().map(|r| r.node.as_str()).collect();
    assert_eq!(names, ["zookeeper", "tail", "first"]);
    let tail = &made[1];
    assert_eq!(tail.launch.argv, ["/bin/tail", "-f", "/dev/null"]);
    assert_eq!(tail.launch.dir, Path::new("/srv/cdc/nodes/tail/data"));
    assert!(tail.launch.env.contains(&("PATH".into(), "/opt/bin".into())));
    assert!(tail.launch.env.contains(&("TMPDIR".into(), "/srv/cdc/nodes/tail/run/tmp".into())));
    assert_eq!((tail.stop.signal, tail.stop.clean_codes.clone()), (2, vec![130]));
    assert_eq!(tail.after, [NodeName::zookeeper()]);
}

/// What the configuration accepts is never refused when recipes are made: a start must not fail on what a check let pass.
#[test]
fn every_accepted_pair_of_cap_and_heap_makes_a_recipe() {
    use proptest::{prelude::*, test_runner::TestRunner};
    let size = |whole: u64, odd: u64| format!("\"{}K\"", whole * 1024 + odd);
    let heap = proptest::option::of((8u64..3_000, 0u64..1024));
    let pairs = ((80u64..4_000, 0u64..1024), heap, proptest::bool::ANY);
    let accepted = std::cell::Cell::new(0u32);
    let outcome = TestRunner::default().run(&pairs, |((cap, odd), heap, broker)| {
        let mut keys = format!("memory_max = {}\n", size(cap, odd));
        if let Some((heap, odd)) = heap {
            keys += &format!("heap = {}\n", size(heap, odd));
        }
        let text = format!("[zookeeper]\n{}{keys}", if broker { "[kafka]\n" } else { "" });
        let source =
            Source { text: &text, name: "t", root_override: Some("/srv/cdc".into()), default_root: "/x".into() };
        if let Ok(plan) = crate::config::load(&source) {
            accepted.set(accepted.get() + 1);
            let (layout, programs) = (plan.layout(), programs());
            let made = recipes(&Inputs {
                plan: &plan,
                programs: &programs,
                layout: &layout,
                cores: 4,
                running_as_root: false,
            });
            prop_assert!(made.is_ok(), "{}\n{text}", made.err().map(|e| e.to_string()).unwrap_or_default());
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(accepted.get() > 50, "too few were accepted to prove anything: {}", accepted.get());
}

#[test]
fn the_smallest_caps_that_are_accepted_make_recipes_byte_by_byte() {
    for (table, native, least) in [
        ("[zookeeper]\n", crate::config::ZOOKEEPER_NATIVE, crate::config::ZOOKEEPER_HEAP_MIN),
        ("[zookeeper]\n[kafka]\n", crate::config::BROKER_NATIVE, crate::config::BROKER_HEAP_MIN),
    ] {
        let edge = least.0 + least.0 / 16 + native.0;
        for cap in [edge - 1, edge, edge + 1, edge + 4095, edge + (1 << 20)] {
            let text = format!("{table}memory_max = {cap}\n");
            let source =
                Source { text: &text, name: "t", root_override: Some("/srv/cdc".into()), default_root: "/x".into() };
            assert_eq!(crate::config::load(&source).is_ok(), cap >= edge, "{text}");
            if cap >= edge {
                assert!(make_with(&text, &programs(), false).is_ok(), "{text}");
            }
        }
    }
}

const UI: &str = "[zookeeper]\n[kafka]\n[kafka_ui]\n";

fn with_ui() -> Programs {
    let java = JavaRuntime {
        program: "/opt/java25/bin/java".into(),
        home: "/opt/java25".into(),
        major: 25,
        version: "25.0.1".into(),
        fingerprint: "25".into(),
    };
    let jar = crate::base::programs::KafkaUiJar {
        release: "kafbat-1.5.0".into(),
        jar: "/store/kafka-ui/kafka-ui.jar".into(),
        java,
        content: "u".into(),
    };
    Programs { kafka_ui: Some(Ok(jar)), ..programs() }
}

fn ui(text: &str) -> Recipe {
    let made = make_with(text, &with_ui(), false).unwrap();
    made.into_iter().find(|r| r.kind == NodeKind::KafkaUi).unwrap()
}

#[test]
fn the_ui_renders_to_its_golden_files() {
    let made = ui(UI);
    golden("kafka-ui.yml", &file(&made, "application.yml"));
    golden("kafka-ui.argv", &made.launch.argv.join("\n"));
    assert_eq!(made, ui(UI), "the same bytes every time");
}

#[test]
fn the_ui_comes_after_the_brokers_and_nothing_needs_it() {
    let made = make_with(UI, &with_ui(), false).unwrap();
    let ui = made.last().unwrap();
    assert_eq!(ui.after, [1, 2, 3].map(NodeName::broker));
    assert!(made.iter().all(|r| !r.after.contains(&ui.node) && r.kind.is_optional() == (r.node == ui.node)));
    assert_eq!(ui.files[0].mode, 0o600);
    assert!(ui.launch.oom_score_adj > 0, "it goes before the brokers");
    for word in ui.launch.argv.iter().chain(ui.launch.env.iter().map(|(_, v)| v)) {
        assert!(!word.contains("=/tmp"), "{word}");
    }
}

#[test]
fn the_uis_health_is_read_where_it_listens_and_below_its_own_path() {
    let url = |text: &str| match ui(text).probe.kind {
        ProbeKind::Http(url) => url,
        other => panic!("{other:?}"),
    };
    assert_eq!(url(UI), "http://127.0.0.1:8088/actuator/health");
    assert_eq!(url(&format!("{UI}bind = \"0.0.0.0\"\nport = 80\n")), "http://127.0.0.1:80/actuator/health");
    let below = format!("{UI}bind = \"::1\"\nproperties.server.servlet.context-path = \"/ui/\"\n");
    assert_eq!(url(&below), "http://[::1]:8088/ui/actuator/health");
}

#[test]
fn a_ui_that_is_not_there_fails_alone_and_says_why() {
    let absent = crate::base::programs::Absent { why: "no jar".into(), remedy: "name one".into() };
    let without = Programs { kafka_ui: Some(Err(absent)), ..programs() };
    let made = make_with(UI, &without, false).unwrap();
    assert_eq!(made.len(), 5, "the others are made as ever");
    let [PrepareStep::NoProgram { why, remedy }] = &made[4].prepare[..] else { panic!("{:?}", made[4].prepare) };
    assert_eq!((why.as_str(), remedy.as_str()), ("kafka-ui: no jar", "name one"));
}

#[test]
fn what_the_user_sets_for_the_ui_wins_in_its_place() {
    let text = format!("{UI}read_only = true\nproperties = {{ \"kafka.clusters[0].name\" = \"a \\\"b\\\"\" }}\n");
    let yaml = file(&ui(&text), "application.yml");
    assert!(yaml.contains("# set in supervisor.toml\n\"kafka.clusters[0].name\": \"a \\\"b\\\"\"\n"), "{yaml}");
    assert_eq!(yaml.matches("clusters[0].name").count(), 1);
    assert!(yaml.contains("\"kafka.clusters[0].readOnly\": \"true\"\n"));
}
