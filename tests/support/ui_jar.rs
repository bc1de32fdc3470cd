//! The stand-in for Kafka UI as a jar: built once per test program by the JDK of this machine.

use std::{path::PathBuf, process::Command, sync::OnceLock};

/// The jar; none when this machine has no JDK (`javac` and `jar`).
pub fn stand_in() -> Option<PathBuf> {
    static JAR: OnceLock<Option<PathBuf>> = OnceLock::new();
    JAR.get_or_init(build).clone()
}

fn build() -> Option<PathBuf> {
    // Beside the test program: it lives as long as the build does.
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kafka-ui-{}", std::process::id()));
    let classes = dir.join("classes");
    std::fs::create_dir_all(&classes).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/StandInKafkaUi.java");
    let manifest = dir.join("manifest");
    std::fs::write(
        &manifest,
        "Main-Class: com.provectus.kafka.ui.KafkaUiApplication\nImplementation-Version: v0.7.2\n",
    )
    .unwrap();
    let jar = dir.join("kafka-ui-api-v0.7.2.jar");
    // for 17, whatever JDK this is: the release that the real one needs
    let compiled = Command::new("javac").args(["--release", "17", "-d"]).arg(&classes).arg(source).output().ok()?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let packed = Command::new("jar")
        .arg("--create")
        .arg("--file")
        .arg(&jar)
        .arg("--manifest")
        .arg(&manifest)
        .arg("-C")
        .arg(&classes)
        .arg(".")
        .output()
        .ok()?;
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    Some(jar)
}
