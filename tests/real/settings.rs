//! The names of settings that the real Kafka has, against the list that `plan`, `reload` and `doctor` go by.

use std::{fs, path::PathBuf, process::Command};

#[test]
fn every_setting_that_kafka_prints_is_on_the_list() {
    let store = PathBuf::from(std::env::var("CDC_TEST_STORE").expect("CDC_TEST_STORE names a filled artifact store"));
    let mut trees = fs::read_dir(&store).unwrap().map(|e| e.unwrap().path().join("libs"));
    let jars = trees.find(|libs| libs.is_dir()).expect("the store has Kafka");
    let lock = fs::read_to_string(store.join("lock.toml")).unwrap();
    let home = lock.lines().find_map(|l| l.strip_prefix("home = \"")?.strip_suffix('"')).expect("the store has Java");
    // it prints the page of its settings for the documentation, those without that are for itself left out
    let mut java = Command::new(PathBuf::from(home).join("bin/java"));
    java.args(["-Xmx128m", "-cp", &format!("{}/*", jars.display()), "kafka.server.KafkaConfig"]).env_clear();
    let output = java.output().unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    let names: Vec<&str> =
        page.split("id=\"brokerconfigs_").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() > 240, "{}{page}", String::from_utf8_lossy(&output.stderr));
    let list = include_str!("../../dist/kafka-settings.txt");
    let lacking: Vec<&&str> = names.iter().filter(|name| !list.lines().any(|line| line == **name)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}
