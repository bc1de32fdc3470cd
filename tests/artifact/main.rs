//! The real sources: `mvn` and the distribution's packages into a store, then everything again with nothing of the machine
//! left to use. The store is `CDC_TEST_STORE` where that is set, so that `tests/real` finds it filled; else the test's own.
//! Skipped, aloud, where the programs are not installed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test outside the library")]

#[path = "../support/mod.rs"]
mod support;

mod libraries;

use cdc_supervisor::{
    artifact::{self, Host, Part, Progress, Settings, Step, Wanted},
    base::ExitStatus,
    sys::command::{Cancel, Command},
};
use std::{
    fs,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

#[derive(Default)]
struct Heard(Mutex<Vec<Step>>);

impl Progress for Heard {
    fn step(&self, step: &Step) {
        self.0.lock().unwrap().push(step.clone());
    }
}

impl Heard {
    fn done(&self, part: Part) -> String {
        let heard = self.0.lock().unwrap();
        let found = heard.iter().find_map(|s| match s {
            Step::Done { what, detail, .. } | Step::Present { what, detail } if *what == part => Some(detail.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("nothing about {part}: {heard:?}"))
    }
}

/// A machine with nothing on it.
fn bare() -> Host {
    Host {
        mvn: None,
        gpgv: None,
        apt_get: None,
        dpkg_deb: None,
        java_home: None,
        java: None,
        jvm_dir: "/nonexistent".into(),
        keyrings: "/nonexistent".into(),
        os_release: String::new(),
        passwd: String::new(),
        uid: 0,
        environment: Vec::new(),
    }
}

fn has(test: &str, programs: &[(&str, bool)]) -> bool {
    let missing: Vec<&str> = programs.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        support::skip(test, &format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}

/// Runs a program without any environment; its standard output and error.
fn say(argv: Vec<String>) -> String {
    let command = Command { argv, env: Vec::new(), dir: "/".into(), stdin: None };
    let done = command.run(Duration::from_secs(60), &Cancel::default()).unwrap();
    assert_eq!(done.status, ExitStatus::Code(0), "{done:?}");
    done.stdout + &done.stderr
}

#[test]
fn the_stack_is_fetched_with_the_machines_own_clients_and_found_again_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let shared = std::env::var_os("CDC_TEST_STORE").map(PathBuf::from);
    let mut settings = Settings::new(shared.unwrap_or_else(|| dir.path().join("store")));
    let host = &settings.host;
    let there =
        [("mvn", host.mvn.is_some()), ("apt-get", host.apt_get.is_some()), ("dpkg-deb", host.dpkg_deb.is_some())];
    if !has("the stack is fetched", &there) {
        return;
    }
    let heard = Heard::default();
    let fetched = artifact::ensure(Wanted::ALL, &settings, &heard, &Cancel::default()).unwrap();
    let (kafka, mysql) = (heard.done(Part::Kafka), heard.done(Part::Mysql));
    assert!(kafka.starts_with("kafka 3.5.2 (52 jars, 3"), "{kafka}");
    assert!(mysql.starts_with("mysql ") && mysql.contains(" packages, "), "{mysql}");
    println!("{kafka}; {mysql}; {}", heard.done(Part::Java));

    settings.offline = true;
    settings.host = bare();
    let begun = Instant::now();
    let found = artifact::resolve(Wanted::ALL, &settings).unwrap();
    println!("resolved in {:?}", begun.elapsed());
    assert_eq!(found.as_ref(), Some(&fetched));
    settings.verify_all = true;
    assert_eq!(artifact::resolve(Wanted::ALL, &settings).unwrap(), found);

    let mysql = fetched.mysql.unwrap();
    let mut argv = mysql.launcher.clone();
    argv.extend([mysql.mysqld.display().to_string(), "--no-defaults".into(), "--version".into()]);
    assert!(say(argv).contains(&format!("Ver {}", mysql.version)));
    for directory in [&mysql.messages_dir, &mysql.character_sets_dir, &mysql.plugin_dir, &mysql.basedir] {
        assert!(directory.is_dir(), "{}", directory.display());
    }
    let (java, kafka) = (fetched.java.unwrap(), fetched.kafka.unwrap());
    let class_path: Vec<String> = kafka.class_path.iter().map(|p| p.display().to_string()).collect();
    let argv = [&java.program.display().to_string(), "-cp", &class_path.join(":"), "kafka.Kafka", "--version"];
    assert!(say(argv.map(Into::into).into()).contains("3.5.2"));

    let lock = fs::read_to_string(settings.store.join("lock.toml")).unwrap();
    assert!(lock.contains("name = \"mysql-server-core"), "{lock}");
}

/// For `tests/real/upgrade.rs`, which has no network: the jars of the next series of Kafka, beside the shared store.
#[test]
fn the_next_series_of_kafka_is_there_for_the_long_form() {
    let test = "the_next_series_of_kafka_is_there_for_the_long_form";
    let Some(store) = std::env::var_os("CDC_TEST_STORE").filter(|_| std::env::var_os("CDC_TEST_LONG").is_some()) else {
        return support::left_to_long(test, "only the long form upgrades Kafka");
    };
    let libs = PathBuf::from(store).with_extension("kafka-3.9.2");
    if libs.exists() || !has(test, &[("mvn", Settings::new("/nonexistent").host.mvn.is_some())]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dependency = |group: &str, name: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        )
    };
    let wanted = [
        dependency("org.apache.kafka", "kafka_2.13", "3.9.2"),
        // the logging that Apache's own archive of 3.9 has
        dependency("org.slf4j", "slf4j-reload4j", "1.7.36"),
    ];
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>t</groupId>\
         <artifactId>t</artifactId><version>1</version><dependencies>{}</dependencies></project>",
        wanted.concat()
    );
    fs::write(dir.path().join("pom.xml"), pom).unwrap();
    let done = std::process::Command::new("mvn")
        .args([
            "-q",
            "-B",
            "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory=libs",
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    // a copy that was cut short is not taken for the whole
    let part = libs.with_extension("part");
    let copied = std::process::Command::new("cp").arg("-rT").arg(dir.path().join("libs")).arg(&part).status().unwrap();
    assert!(copied.success());
    fs::rename(&part, &libs).unwrap();
}

#[test]
fn a_machine_without_java_gets_one_from_its_own_release_that_can_make_class_data_archives() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(dir.path().join("store"));
    if !has(
        "a Java runtime is fetched",
        &[("apt-get", settings.host.apt_get.is_some()), ("dpkg-deb", settings.host.dpkg_deb.is_some())],
    ) {
        return;
    }
    let wanted = Wanted { java: true, ..Wanted::default() };
    settings.host.java = None;
    settings.host.java_home = None;
    settings.host.jvm_dir = "/nonexistent".into();
    let heard = Heard::default();
    let java = artifact::ensure(wanted, &settings, &heard, &Cancel::default()).unwrap().java.unwrap();
    println!("{}", heard.done(Part::Java));
    assert!(java.home.starts_with(&settings.store));
    let program = java.program.display().to_string();
    assert!(say(vec![program, "-Xshare:on".into(), "-version".into()]).contains(&java.version));
    assert!(java.home.join("conf/security/java.security").is_file(), "links into /etc lead into the tree");
    settings.host = bare();
    settings.verify_all = true;
    assert_eq!(artifact::resolve(wanted, &settings).unwrap().unwrap().java, Some(java));
}
