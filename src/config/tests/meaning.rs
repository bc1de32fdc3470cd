//! What a file means: which nodes run, what falls back to what, and when two files mean the same.

use super::*;
use crate::base::{ByteSize, NodeKind, NodeName, Port, recipe::RestartWhen};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

fn names(plan: &Plan) -> Vec<String> {
    plan.nodes().iter().map(NodeName::to_string).collect()
}

const FULL: &str = r#"
root = "/r"
[host]
os_floor = "1G"
allow_volatile_root = true
[artifacts]
store = "/s"
files = "/f"
sources = ["packages"]
mirror = "http://10.0.0.2:8000/m/"
offline = true
java_home = "/j"
[logs]
total = "500M"
max_age = "30d"
compress = false
[zookeeper]
memory_max = "200000001"
bind = "::1"
properties.autopurge.purgeInterval = 1
jvm_flags = ["-XX:+UseSerialGC"]
[kafka]
heap = "300M"
properties = { "num.io.threads" = 4, compression.type = "lz4", auto.create.topics.enable = false }
log.keep = 2
grace = "1m"
[kafka.brokers.7]
external_port = 19092
properties.num.io.threads = 0x10
log.max_bytes = "1M"
user = "kafka"
[kafka.brokers.9]
enabled = false
[mysql]
database = "shop"
provision = false
data_dir = "/d"
restart = "on-failure"
options = { gtid-mode = true, long_query_time = 0.5 }
[kafka_ui]
release = "kafbat-1.5.0"
jar = "/u/api-v1.5.0.jar"
java_home = "/j25"
port = 8089
bind = "::1"
memory_max = "512M"
read_only = true
jvm_flags = ["-XX:TieredStopAtLevel=1"]
properties = { "kafka.clusters[0].name" = "mine", auth.type = "DISABLED" }
[command.web]
argv = ["/bin/sh", "-c", "exit\n3"]
env = { A = 1, B = "two\tthree" }
dir = "/w"
after = ["broker-7", "aaa", "mysql", "aaa"]
stop_signal = 64
ports = [80, "[::1]:81"]
healthy_after = "5s"
probe = { http = "http://localhost:80/", timeout = "300ms" }
[command.aaa]
argv = ["/bin/true"]
stop_signal = "hup"
probe.exec = ["/bin/true", "x"]
[command.bbb]
argv = ["/bin/true"]
probe.tcp = "localhost:99"
[command.ccc]
argv = ["/bin/true"]
probe.notify = true
probe.none = false
"#;

#[test]
fn a_file_without_nodes_means_the_whole_stack_and_any_table_means_just_what_is_there() {
    let all = ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"];
    assert_eq!(names(&accepted("")), all);
    assert_eq!(names(&accepted("root = \"/r\"\n[host]\nos_floor = \"1G\"\n[command]")), all);
    assert_eq!(names(&accepted("[mysql]")), ["mysql"]);
    assert_eq!(names(&accepted("[zookeeper]\n[kafka]")), all[..4]);
    assert_eq!(names(&accepted("[zookeeper]\n[kafka.brokers.2]")), ["zookeeper", "broker-2"]);
    assert_eq!(names(&accepted("[command.a]\nargv = [\"/x\"]")), ["a"]);
}

#[test]
fn disabled_nodes_are_left_out_but_remembered() {
    let plan =
        accepted("[zookeeper]\n[kafka.brokers.1]\n[kafka.brokers.2]\nenabled = false\n[mysql]\nenabled = false\n");
    assert_eq!(names(&plan), ["zookeeper", "broker-1"]);
    assert_eq!(plan.disabled, [NodeName::broker(2), NodeName::mysql()]);
    let plan = accepted("[kafka]\nenabled = false\n[mysql]");
    assert_eq!((names(&plan), plan.disabled.len()), (vec!["mysql".to_owned()], 3));
}

#[test]
fn a_full_file_is_read_to_the_last_key() {
    let plan = accepted(FULL);
    assert_eq!(names(&plan), ["zookeeper", "broker-7", "mysql", "kafka-ui", "aaa", "bbb", "ccc", "web"]);
    assert!(plan.host.allow_volatile_root);
    assert_eq!(plan.artifacts.mirror.as_deref(), Some("http://10.0.0.2:8000/m"));
    assert_eq!(plan.artifacts.sources, [SourceKind::Packages]);
    assert_eq!(plan.artifacts.files(&plan.layout()), PathBuf::from("/f"));
    let z = plan.zookeeper.as_ref().unwrap();
    assert_eq!(z.properties, BTreeMap::from([("autopurge.purgeInterval".into(), "1".into())]));
    assert_eq!((z.heap, z.memory_max), (None, ByteSize(200_000_001)));
    let b = &plan.kafka.as_ref().unwrap().brokers[&7];
    let properties = [("auto.create.topics.enable", "false"), ("compression.type", "lz4"), ("num.io.threads", "16")];
    assert_eq!(b.properties, BTreeMap::from(properties.map(|(k, v)| (k.to_owned(), v.to_owned()))));
    assert_eq!((b.internal_port, b.external_port, b.heap), (Port(29098), Port(19092), Some(ByteSize::mib(300))));
    assert_eq!((b.care.log.keep, b.care.log.max_bytes, b.care.grace), (2, ByteSize::mib(1), Duration::from_secs(60)));
    assert_eq!(b.care.user.as_deref(), Some("kafka"));
    let m = plan.mysql.as_ref().unwrap();
    assert_eq!((m.options["gtid_mode"].as_str(), m.options["long_query_time"].as_str()), ("ON", "0.5"));
    assert_eq!(m.care.restart, RestartWhen::OnFailure);
    let web = plan.commands.iter().find(|c| c.name.as_str() == "web").unwrap();
    assert_eq!((web.stop_signal, web.env["A"].as_str(), web.argv[2].as_str()), (64, "1", "exit\n3"));
    assert_eq!(web.ports, ["0.0.0.0:80", "[::1]:81"].map(|a| a.parse::<SocketAddr>().unwrap()));
    assert_eq!(web.after.iter().map(NodeName::as_str).collect::<Vec<_>>(), ["aaa", "broker-7", "mysql"]);
    assert_eq!(web.probe.kind, CommandProbeKind::Http("http://localhost:80/".into()));
    let kinds: Vec<_> = plan.commands.iter().map(|c| (c.name.as_str(), &c.probe.kind)).collect();
    let exec = CommandProbeKind::Exec(vec!["/bin/true".into(), "x".into()]);
    assert_eq!(kinds[0], ("aaa", &exec));
    assert_eq!(kinds[1], ("bbb", &CommandProbeKind::Tcp("127.0.0.1:99".parse().unwrap())));
    assert_eq!(kinds[2], ("ccc", &CommandProbeKind::Notify));
}

#[test]
fn a_plan_written_back_loads_to_the_same_plan() {
    for text in
        ["", FULL, "[command.a]\nargv = [\"/x\"]", "[zookeeper]\nmemory_max = \"1G\"\n[kafka]\nmemory_max = \"2G\""]
    {
        let plan = accepted(text);
        let again = accepted(&plan.to_toml());
        assert_eq!(plan.to_toml(), again.to_toml());
        assert_eq!(plan, again);
        assert_eq!(plan.digest(), again.digest());
    }
}

#[test]
fn the_same_meaning_has_the_same_digest() {
    let digest = |text: &str| accepted(text).digest();
    let base = digest("[zookeeper]\n[kafka]\nheap = \"512M\"\n[mysql]\nport = 3306");
    assert_eq!(base.len(), 64);
    for same in [
        "# a comment\n[mysql]\n[kafka]\n\n[zookeeper] # order\n",
        "",
        "[zookeeper]\nmemory_max = 402653184\nheap = \"262144K\"\n[kafka]\nsession_timeout = \"12000ms\"\n[mysql]",
        "[zookeeper]\n[kafka]\n[kafka.brokers.1]\nheap = \"512M\"\n[kafka.brokers.2]\n[kafka.brokers.3]\n[mysql]",
        "[zookeeper]\n[kafka]\n[mysql]\n[command.off]\nargv = [\"/x\"]\nenabled = false",
    ] {
        assert_eq!(digest(same), base, "{same}");
    }
    for other in ["root = \"/elsewhere\"", "[zookeeper]\n[kafka]", "[zookeeper]\n[kafka]\n[mysql]\nport = 3307"] {
        assert_ne!(digest(other), base, "{other}");
    }
    let given = Source { root_override: Some(PathBuf::from("/given")), ..source("") };
    assert_ne!(load(&given).unwrap().digest(), base);
}

#[test]
fn later_errors_can_say_where_a_key_stands() {
    let plan = accepted(
        "[zookeeper]\n\n[kafka]\n[kafka.brokers.1]\nexternal_port = 1\n[command.a]\nargv = [\"/x\"]\nports = [\n 5,\n 6\n]\n",
    );
    assert_eq!(plan.key_line("kafka.brokers.1.external_port"), Some(5));
    assert_eq!(plan.place("kafka.brokers.1.external_port"), "supervisor.toml line 5");
    assert_eq!(plan.place("kafka.brokers.1.internal_port"), "supervisor.toml");
    assert_eq!(plan.key_line("command.a.ports[1]"), Some(10));
    assert_eq!(plan.node_line(&NodeName::zookeeper()), Some(1));
    assert_eq!(plan.node_line(&NodeName::broker(1)), Some(4));
    assert_eq!(plan.node_line(&NodeName::mysql()), None);
    assert_eq!(accepted("[zookeeper]\n[kafka]").node_line(&NodeName::broker(3)), Some(2));
    for (_, port) in plan.ports() {
        assert_eq!(plan.key_line(&port.key).is_some(), matches!(port.port().0, 1 | 5 | 6), "{}", port.key);
    }
}

#[test]
fn a_plan_says_the_same_of_every_node() {
    let plan = accepted(FULL);
    let broker = plan.node(&NodeName::broker(7)).unwrap();
    assert_eq!((broker.kind, broker.memory_max), (NodeKind::Broker(7), ByteSize::mib(768)));
    assert!(plan.node(&NodeName::broker(9)).is_none());
    assert_eq!(plan.each_node().count(), plan.nodes().len());
}

#[test]
fn commands_start_behind_what_they_wait_for() {
    let text = "[zookeeper]\n[command.a]\nargv = [\"/x\"]\nafter = [\"z\"]\n[command.m]\nargv = [\"/x\"]\n[command.z]\nargv = [\"/x\"]\nafter = [\"zookeeper\"]";
    assert_eq!(names(&accepted(text)), ["zookeeper", "m", "z", "a"]);
}
