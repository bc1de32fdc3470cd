//! Names of class-data archives: one per Java runtime, class path, main class and collector.

use crate::base::programs::{JavaRuntime, KafkaJars};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The collector of every JVM node. Serial: on four cores that seven processes share, a broker under 5,000 acks=all records
/// a second takes 265-273 MB against 387-400 MB with G1. Its longest pause in a 512M heap was 0.35 s on two
/// cores with a load of 12, far below the 12 s session. Named, because without a flag HotSpot picks one by what it thinks of the machine.
pub(super) const COLLECTOR: &str = "-XX:+UseSerialGC";

/// What the training does. A supervisor whose training is another one makes archives of its own.
const TRAINING: &str = "two runs, the second on the data of the first";

/// Where the archive of `main_class` lies. A replaced runtime, changed jars, a moved store or another main class give
/// another name, so that an archive which does not fit is never asked for.
pub(super) fn file(
    directory: &Path,
    product: &str,
    java: &JavaRuntime,
    jars: &KafkaJars,
    class_path: &str,
    main_class: &str,
) -> PathBuf {
    let mut hash = Sha256::new();
    for part in [&java.fingerprint, &jars.content, class_path, main_class, COLLECTOR, TRAINING] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hex: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    directory.join(format!("{product}-{hex}.jsa"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_what_an_archive_depends_on_changes_its_name() {
        let layout = Path::new("/r/artifacts/class-data");
        let java = JavaRuntime {
            program: "/j/bin/java".into(),
            home: "/j".into(),
            major: 17,
            version: "17".into(),
            fingerprint: "f".into(),
        };
        let jars = KafkaJars {
            version: "3.5.2".into(),
            zookeeper_version: "3.6.4".into(),
            class_path: vec!["/a.jar".into()],
            content: "c".into(),
        };
        let base = file(layout, "kafka", &java, &jars, "/a.jar", "kafka.Kafka");
        let name = base.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("kafka-") && name.ends_with(".jsa") && name.len() == 6 + 16 + 4, "{name}");
        let other_java = JavaRuntime { fingerprint: "g".into(), ..java.clone() };
        let other_jars = KafkaJars { content: "d".into(), ..jars.clone() };
        for other in [
            file(layout, "kafka", &other_java, &jars, "/a.jar", "kafka.Kafka"),
            file(layout, "kafka", &java, &other_jars, "/a.jar", "kafka.Kafka"),
            file(layout, "kafka", &java, &jars, "/b.jar", "kafka.Kafka"),
            file(layout, "kafka", &java, &jars, "/a.jar", "other.Main"),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(base, file(layout, "kafka", &java, &jars, "/a.jar", "kafka.Kafka"));
    }
}
