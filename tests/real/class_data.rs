//! What the class-data archives hold: the classes of a start that finds data, which is every start but a node's first.

use crate::stack::Stack;
use std::fs;

/// Loaded by a start that finds the logs of a partition, and by one that finds transactions. One that finds nothing has none of them.
const BROKER: [&str; 3] = ["kafka.log.LogLoader", "kafka.log.LogSegment", "kafka.cluster.Partition"];
const ZOOKEEPER: [&str; 2] = ["org.apache.zookeeper.txn.TxnHeader", "org.apache.zookeeper.txn.CreateSessionTxn"];

#[test]
fn a_start_that_finds_data_takes_its_classes_from_the_archives() {
    let stack = Stack::begun();
    let store = std::env::var("CDC_TEST_STORE").unwrap();
    let home = stack.home().display().to_string();
    let flags = |what: &str| format!("jvm_flags = [\"-Xlog:class+load:file={home}/{what}-%p.classes\"]\n");
    stack.configure_raw(&format!(
        "[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n{}[kafka]\n{}[mysql]\n",
        flags("zookeeper"),
        flags("broker")
    ));
    stack.up();
    stack.down();
    let mut seen = (0, 0);
    for file in fs::read_dir(&home).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        let classes: &[&str] = match name.split('-').next() {
            Some("broker") if name.ends_with(".classes") => {
                seen.0 += 1;
                &BROKER
            }
            Some("zookeeper") if name.ends_with(".classes") => {
                seen.1 += 1;
                &ZOOKEEPER
            }
            _ => continue,
        };
        let text = fs::read_to_string(file.path()).unwrap();
        for class in classes {
            let line = text.lines().find(|l| l.contains(&format!(" {class} ")));
            let line = line.unwrap_or_else(|| panic!("{name}: {class} was not loaded"));
            assert!(line.contains("source: shared objects file (top)"), "{name}: {line}");
        }
    }
    assert_eq!(seen, (3, 1), "logs of three brokers and a ZooKeeper");
}
