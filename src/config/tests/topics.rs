//! `[[kafka.topic]]`.

use super::*;
use crate::config::Topic;

const KAFKA: &str = "[zookeeper]\n[kafka]\n";

fn topics(text: &str) -> Vec<Topic> {
    accepted(&format!("{KAFKA}{text}")).kafka.unwrap().topics
}

fn told(text: &str) -> Vec<String> {
    messages(&format!("{KAFKA}{text}"))
}

#[test]
fn a_topic_needs_a_name_and_nothing_else() {
    let found = topics("[[kafka.topic]]\nname = \"b\"\n[[kafka.topic]]\nname = \"a\"\npartitions = 12\n");
    let topic = |name: &str, partitions| Topic {
        name: name.into(),
        partitions,
        replication_factor: 3,
        settings: std::collections::BTreeMap::new(),
    };
    assert_eq!(found, [topic("a", 12), topic("b", 3)], "by name, whatever their order in the file");
    let (message, _, hint) = only(&format!("{KAFKA}[[kafka.topic]]\npartitions = 1\n"));
    assert_eq!(
        (message.as_str(), hint.as_str()),
        ("kafka.topic[0].name: a topic without a name", "add name = \"…\" below [[kafka.topic]]")
    );
}

#[test]
fn settings_are_read_dotted_quoted_and_inline() {
    for text in [
        "settings = { \"retention.ms\" = 60000, cleanup.policy = \"delete\" }\n",
        "settings.retention.ms = \"60000\"\nsettings.cleanup.policy = \"delete\"\n",
        "[kafka.topic.settings]\nretention.ms = 60000\ncleanup.policy = \" delete\"\n",
    ] {
        let found = topics(&format!("[[kafka.topic]]\nname = \"a\"\n{text}"));
        let settings: Vec<(&str, &str)> = found[0].settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(settings, [("cleanup.policy", "delete"), ("retention.ms", "60000")], "{text}");
    }
}

#[test]
fn a_topic_is_part_of_what_the_plan_means_and_comes_back_from_it() {
    let text = format!("{KAFKA}[[kafka.topic]]\nname = \"a\"\nsettings.retention.ms = 60000\n");
    let plan = accepted(&text);
    assert_eq!(accepted(&plan.to_toml()), plan);
    assert_ne!(plan.digest(), accepted(KAFKA).digest());
    assert_ne!(plan.digest(), accepted(&text.replace("60000", "60001")).digest());
    assert!(!accepted(KAFKA).to_toml().contains("topic"), "a plan without topics means what it meant before");
}

#[test]
fn what_is_no_list_of_tables_is_told_how_to_write_it() {
    let (message, _, hint) = only(&format!("{KAFKA}[kafka.topic]\nname = \"a\"\n"));
    assert_eq!(message, "kafka.topic: is a table, not a list of tables");
    assert_eq!(hint, "write [[kafka.topic]] with two brackets, and its keys below it");
    let (_, _, hint) = only(&format!("{KAFKA}[[kafka.topics]]\nname = \"a\"\n"));
    assert_eq!(hint, "write [[kafka.topic]], once per topic");
}

#[test]
fn names_that_no_topic_may_have_are_refused() {
    for (name, why) in [
        ("", "\"\" is no name for a topic"),
        ("..", "\"..\" is no name for a topic"),
        ("a b", "\"a b\" is no name for a topic"),
        (
            "__consumer_offsets",
            "__consumer_offsets is one of Kafka's own topics, which the brokers make and look after",
        ),
        ("test-phase1", "test-phase1 is one of the supervisor's own topics"),
        ("cdc-supervisor-drill-1", "cdc-supervisor-drill-1 is one of the supervisor's own topics"),
    ] {
        assert_eq!(told(&format!("[[kafka.topic]]\nname = {name:?}\n")), [format!("kafka.topic[0].name: {why}")]);
    }
    let two = |a: &str, b: &str| told(&format!("[[kafka.topic]]\nname = {a:?}\n[[kafka.topic]]\nname = {b:?}\n"));
    assert_eq!(two("a", "a"), ["kafka.topic[1].name: topic a is in the file twice"]);
    assert_eq!(
        two("a.b", "a_b"),
        ["kafka.topic[1].name: a.b and a_b differ only in dots and underscores, which Kafka refuses"]
    );
}

#[test]
fn copies_fit_the_brokers_and_a_write_can_be_confirmed() {
    let with = |text: &str| format!("[[kafka.topic]]\nname = \"a\"\n{text}");
    assert_eq!(
        told(&with("replication_factor = 4\n")),
        ["kafka.topic[0].replication_factor: topic a wants 4 copies of each partition, and there are 3 brokers"]
    );
    assert_eq!(
        told(&with("settings.min.insync.replicas = 4\n")),
        [
            "kafka.topic[0].settings.min.insync.replicas: topic a: min.insync.replicas is 4 and there are 3 copies: every write with acks=all would be refused"
        ]
    );
    assert_eq!(
        told(&with("replication_factor = 1\n")),
        [
            "kafka.topic[0].replication_factor: topic a: min.insync.replicas (the brokers' own) is 2 and there are 1 copies: every write with acks=all would be refused"
        ]
    );
    topics(&with("replication_factor = 1\nsettings.min.insync.replicas = 1\n"));
    let one = accepted(&format!("[zookeeper]\n[kafka.brokers.7]\n{}", with("")));
    assert_eq!(one.kafka.unwrap().topics[0].replication_factor, 1, "as many as there are");
    let raised = format!("{}[kafka.properties]\nmin.insync.replicas = 3\n", with("replication_factor = 2\n"));
    assert_eq!(told(&raised).len(), 1, "the brokers' own property counts");
}

#[test]
fn settings_that_topics_do_not_have_and_values_that_no_broker_takes_are_refused() {
    let with = |text: &str| format!("[[kafka.topic]]\nname = \"a\"\n{text}");
    let (message, _, hint) = only(&format!("{KAFKA}{}", with("settings.retention.msec = 5\n")));
    assert_eq!(
        message,
        "kafka.topic[0].settings.retention.msec: topics of apache-3.5.2 have no setting \"retention.msec\"; did you mean \"retention.ms\"?"
    );
    assert!(hint.starts_with("known: cleanup.policy, compression.type"), "{hint}");
    let (message, label, _) = only(&format!("{KAFKA}{}", with("settings.retention.ms = \"3d\"\n")));
    assert_eq!(message, "kafka.topic[0].settings.retention.ms: \"3d\" is no value for retention.ms");
    assert_eq!(label, "allowed: a whole number from -1 to 9223372036854775807");
    let newer = with("settings.message.timestamp.after.max.ms = 5\n");
    assert_eq!(told(&newer).len(), 1, "3.5 has no such setting");
    accepted(&format!("[zookeeper]\n[kafka]\ndistribution = \"apache-3.9.2\"\n{newer}"));
    accepted(&format!(
        "[zookeeper]\n[kafka]\ndistribution = \"confluent-7.5.3\"\n{}",
        with("settings.confluent.value.schema.validation = true\n")
    ));
    let lags = with("settings.min.compaction.lag.ms = 9\nsettings.max.compaction.lag.ms = 8\n");
    assert_eq!(told(&lags).len(), 1);
}

#[test]
fn a_file_without_brokers_keeps_no_topics() {
    let text = "[mysql]\n[kafka]\nenabled = false\n[[kafka.topic]]\nname = \"a\"\n";
    assert!(accepted(text).kafka.is_none());
}
