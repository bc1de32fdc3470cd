//! The whole road with programs of the tests' own in the place of `mvn`, and jars of three bytes.
//!
//! A little past 500 lines: one test after the other of one road; what they share is above them.

use super::{
    java::{fake as fake_java, install_script},
    *,
};
use crate::sys::command::Cancel;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// SHA-256 of `abc` (FIPS 180-2, appendix B.1), for two jars.
const PINS: &str = "\
ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  kafka_2.13-3.5.2.jar
ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  zookeeper-3.6.4.jar
";

const KAFKA: Wanted = Wanted { java: false, kafka: true, mysql: false, kafka_ui: false };
const JAVA: Wanted = Wanted { java: true, kafka: false, mysql: false, kafka_ui: false };

/// Makes both jars where Maven was told to put them.
const GOOD_MVN: &str = r#"for a in "$@"; do case $a in -DoutputDirectory=*) out=${a#*=};; esac; done
mkdir -p "$out"; printf abc > "$out/kafka_2.13-3.5.2.jar"; printf abc > "$out/zookeeper-3.6.4.jar""#;

#[derive(Default)]
struct Heard(Mutex<Vec<Step>>);

impl Progress for Heard {
    fn step(&self, step: &Step) {
        self.0.lock().unwrap().push(step.clone());
    }
}

struct Place {
    dir: tempfile::TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(dir.path().join("store"));
        settings.kafka_pins = PINS;
        settings.host = Host {
            mvn: None,
            gpgv: None,
            apt_get: None,
            dpkg_deb: None,
            java_home: None,
            java: None,
            jvm_dir: dir.path().join("jvm"),
            keyrings: dir.path().join("keyrings"),
            os_release: String::new(),
            passwd: String::new(),
            uid: 0,
            environment: vec![
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("HOME".into(), dir.path().display().to_string()),
            ],
        };
        Self { dir, settings }
    }

    /// Puts a script in Maven's place; each run leaves a byte in `runs`.
    fn mvn(&mut self, script: &str) {
        let path = self.dir.path().join("mvn");
        let runs = self.dir.path().join("runs");
        install_script(&path, &format!("#!/bin/sh\nset -e\nprintf x >> '{}'\n{script}\n", runs.display()));
        self.settings.host.mvn = Some(path);
    }

    fn mvn_runs(&self) -> usize {
        fs::read(self.dir.path().join("runs")).unwrap_or_default().len()
    }

    fn ensure(&self, wanted: Wanted) -> Result<crate::base::programs::Programs, ArtifactError> {
        ensure(wanted, &self.settings, &Silent, &Cancel::default())
    }

    fn jar(&self) -> PathBuf {
        self.ensure(KAFKA).unwrap().kafka.unwrap().class_path[0].clone()
    }

    /// What the store shows beside its lock and record.
    fn visible(&self) -> Vec<String> {
        let Ok(list) = fs::read_dir(&self.settings.store) else { return Vec::new() };
        list.map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n != "lock" && n != "lock.toml" && n != "tmp")
            .collect()
    }
}

fn overwrite(file: &Path, bytes: &str) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn jars_are_fetched_once_and_then_found_without_running_anything() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    assert_eq!(resolve(KAFKA, &place.settings).unwrap(), None);
    let heard = Heard::default();
    let first = ensure(KAFKA, &place.settings, &heard, &Cancel::default()).unwrap();
    let jars = first.kafka.as_ref().unwrap();
    assert_eq!((jars.version.as_str(), jars.zookeeper_version.as_str()), ("3.5.2", "3.6.4"));
    let names: Vec<_> = jars.class_path.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["kafka_2.13-3.5.2.jar", "zookeeper-3.6.4.jar"]);
    assert!(jars.class_path[0].starts_with(&place.settings.store));
    let heard = heard.0.into_inner().unwrap();
    assert!(matches!(&heard[0], Step::Begin { what: Part::Kafka, detail } if detail == "kafka 3.5.2 with mvn"));
    assert!(
        matches!(&heard[1], Step::Done { what: Part::Kafka, detail, .. } if detail == "kafka 3.5.2 (2 jars, 0 MB)"),
        "{heard:?}"
    );
    place.settings.offline = true;
    let heard = Heard::default();
    assert_eq!(ensure(KAFKA, &place.settings, &heard, &Cancel::default()).unwrap(), first);
    assert_eq!(resolve(KAFKA, &place.settings).unwrap(), Some(first));
    assert!(matches!(&heard.0.into_inner().unwrap()[..], [Step::Present { what: Part::Kafka, .. }]));
    assert_eq!(place.mvn_runs(), 1);
}

#[test]
fn a_jar_with_another_digest_is_refused_and_nothing_is_put_into_the_store() {
    let mut place = Place::new();
    place.mvn(&format!("{GOOD_MVN}; printf abd > \"$out/zookeeper-3.6.4.jar\"; printf x > \"$out/extra.jar\""));
    let text = place.ensure(KAFKA).unwrap_err().to_string();
    assert!(text.contains("zookeeper-3.6.4.jar: wanted SHA-256 ba7816bf"), "{text}");
    assert!(text.contains("found a52d159f") && text.contains("extra.jar: not pinned"), "{text}");
    assert_eq!(place.visible(), [""; 0]);
    assert!(!place.settings.store.join("tmp").exists());
}

#[test]
fn a_missing_or_failing_mvn_is_said_with_its_words_and_a_hint() {
    let mut place = Place::new();
    let e = place.ensure(KAFKA).unwrap_err();
    assert_eq!(e.to_string(), "mvn is not installed; it is needed to fetch Kafka's jars");
    assert_eq!(e.hint().as_deref(), Some("apt-get install maven"));
    place.mvn("echo '[ERROR] Unknown host repo.test' ; exit 1");
    let e = place.ensure(KAFKA).unwrap_err();
    assert_eq!(e.to_string(), "could not fetch Kafka's jars: mvn ended with exit 1\n  [ERROR] Unknown host repo.test");
    place.mvn("echo 'write failed: No space left on device' ; exit 1");
    assert!(place.ensure(KAFKA).unwrap_err().hint().unwrap().starts_with("the disk is full"));
}

#[test]
fn offline_with_an_empty_store_names_what_is_missing() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    place.settings.offline = true;
    let e = place.ensure(Wanted { java: false, kafka: true, mysql: true, kafka_ui: false }).unwrap_err();
    let text = e.to_string();
    assert!(text.starts_with("the network is not to be used and the store does not have kafka ("), "{text}");
    assert!(text.ends_with("mysql (never fetched)"), "{text}");
    assert_eq!(place.mvn_runs(), 0);
    assert!(!place.settings.store.exists(), "looking makes nothing");
}

#[test]
fn a_truncated_jar_is_noticed_by_resolve_and_fetched_again() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    let jar = place.jar();
    overwrite(&jar, "ab");
    let found = survey(KAFKA, &place.settings).unwrap();
    assert!(found.missing[0].why.ends_with("has 2 bytes, 3 were stored"), "{found:?}");
    let heard = Heard::default();
    ensure(KAFKA, &place.settings, &heard, &Cancel::default()).unwrap();
    assert_eq!(fs::read_to_string(&jar).unwrap(), "abc");
    let heard = heard.0.into_inner().unwrap();
    assert!(
        matches!(&heard[0], Step::Note { text, .. } if text.ends_with("3 were stored; fetched again")),
        "{heard:?}"
    );
    assert_eq!((place.mvn_runs(), place.visible().len()), (2, 1));
}

#[test]
fn a_jar_changed_behind_its_size_and_time_is_found_when_everything_is_verified() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    let jar = place.jar();
    let time = fs::metadata(&jar).unwrap().modified().unwrap();
    overwrite(&jar, "abd");
    fs::OpenOptions::new().write(true).open(&jar).unwrap().set_modified(time).unwrap();
    assert!(resolve(KAFKA, &place.settings).unwrap().is_some());
    place.settings.verify_all = true;
    assert!(resolve(KAFKA, &place.settings).unwrap().is_none());
    place.ensure(KAFKA).unwrap();
    assert_eq!(fs::read_to_string(&jar).unwrap(), "abc");
}

#[test]
fn two_runs_at_once_share_one_fetch() {
    let mut place = Place::new();
    let (go, begun) = (place.dir.path().join("go"), place.dir.path().join("begun"));
    let wait = format!("touch '{}'; while ! test -e '{}'; do sleep 0.02; done", begun.display(), go.display());
    place.mvn(&format!("{wait}; {GOOD_MVN}"));
    let heard = Heard::default();
    let cancel = Cancel::default();
    let (one, two) = thread::scope(|s| {
        let one = s.spawn(|| place.ensure(KAFKA).unwrap());
        until(|| begun.exists());
        let two = s.spawn(|| ensure(KAFKA, &place.settings, &heard, &cancel).unwrap());
        until(|| heard.0.lock().unwrap().iter().any(|s| matches!(s, Step::Waiting { .. })));
        fs::write(&go, "").unwrap();
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!(one, two);
    assert_eq!(place.mvn_runs(), 1);
}

#[test]
fn a_fetch_cancelled_half_way_leaves_nothing_visible_and_the_next_one_works() {
    let mut place = Place::new();
    let begun = place.dir.path().join("begun");
    place.mvn(&format!("{GOOD_MVN}; touch '{}'; sleep 1000", begun.display()));
    let cancel = Cancel::default();
    thread::scope(|s| {
        let run = s.spawn(|| ensure(KAFKA, &place.settings, &Silent, &cancel));
        until(|| begun.exists());
        assert_eq!(place.visible(), [""; 0]);
        cancel.cancel();
        assert!(matches!(run.join().unwrap(), Err(ArtifactError::Cancelled)));
    });
    assert_eq!(place.visible(), [""; 0]);
    place.mvn(GOOD_MVN);
    place.ensure(KAFKA).unwrap();
}

#[test]
fn the_rest_of_a_run_that_was_killed_is_not_seen_and_removed_by_the_next() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    // as `kill -9` leaves it: work in tmp, a lock file that nobody holds
    let half = place.settings.store.join("tmp/kafka/kafka/libs");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("kafka_2.13-3.5.2.jar"), "abc").unwrap();
    fs::write(place.settings.store.join("lock"), "pid 1 since yesterday\n").unwrap();
    assert_eq!(resolve(KAFKA, &place.settings).unwrap(), None);
    place.ensure(KAFKA).unwrap();
    assert!(!place.settings.store.join("tmp").exists());
}

#[test]
fn jars_of_a_local_directory_are_taken_without_mvn_and_others_there_are_left() {
    let mut place = Place::new();
    let libs = place.dir.path().join("kafka/libs");
    fs::create_dir_all(&libs).unwrap();
    for name in ["kafka_2.13-3.5.2.jar", "zookeeper-3.6.4.jar", "connect-api-3.5.2.jar"] {
        fs::write(libs.join(name), "abc").unwrap();
    }
    place.settings.kafka_jars = Some(place.dir.path().join("kafka"));
    let jars = place.ensure(KAFKA).unwrap().kafka.unwrap();
    assert_eq!(fs::read_dir(jars.class_path[0].parent().unwrap()).unwrap().count(), 2);
    let record = lockfile::LockFile::read(&place.settings.store).unwrap().kafka.unwrap();
    assert_eq!(record.tree.source, place.dir.path().join("kafka").display().to_string());
}

#[test]
fn when_every_source_fails_each_is_named_with_its_reason() {
    let mut place = Place::new();
    place.settings.kafka_jars = Some(place.dir.path().join("nothing"));
    let text = place.ensure(KAFKA).unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "no source could give kafka:");
    assert!(lines[1].contains("nothing: cannot read jars of") && lines[1].ends_with("not a directory"));
    assert_eq!(lines[2], "  mvn: mvn is not installed; it is needed to fetch Kafka's jars");
}

/// A list with Kafka at an address where nobody listens.
fn dead_vendor(place: &mut Place) {
    let list = place.dir.path().join("list.toml");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let row = format!(
        "schema = 1\n[[artifact]]\nid = \"t\"\npart = \"kafka\"\nchoice = \"apache-3.5.2\"\nversion = \"3.5.2\"\nplatform = \"any\"\n\
         licence = \"none\"\nlayout = \"apache-kafka\"\narchive = \"tar.gz\"\nfile = \"k.tgz\"\ntop = \"k\"\n\
         urls = [\"http://127.0.0.1:{free}/k.tgz\", \"http://127.0.0.1:{free}/old/k.tgz\"]\nsha256 = \"{}\"\n",
        "0".repeat(64)
    );
    fs::write(&list, row).unwrap();
    place.settings.list = Some(list);
    place.settings.sources = vec![Origin::File, Origin::Vendor, Origin::Packages];
    place.settings.timing.first_pause = Duration::from_millis(5);
}

#[test]
fn without_a_vendor_the_package_clients_are_asked_and_remembered() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    dead_vendor(&mut place);
    let heard = Heard::default();
    ensure(KAFKA, &place.settings, &heard, &Cancel::default()).unwrap();
    let told = |heard: &Heard| -> Vec<String> {
        let steps = heard.0.lock().unwrap();
        steps.iter().filter_map(|s| if let Step::Note { text, .. } = s { Some(text.clone()) } else { None }).collect()
    };
    let notes = told(&heard);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("could not connect to 127.0.0.1"), "{notes:?}");
    // Damaged, it comes from where it came from.
    let jar = place.jar();
    overwrite(&jar, "ab");
    let heard = Heard::default();
    ensure(KAFKA, &place.settings, &heard, &Cancel::default()).unwrap();
    assert!(!told(&heard).iter().any(|t| t.contains("127.0.0.1")), "{:?}", told(&heard));
    assert_eq!(place.mvn_runs(), 2);
}

#[test]
fn when_no_source_has_it_the_table_names_every_address_and_client() {
    let mut place = Place::new();
    dead_vendor(&mut place);
    let text = place.ensure(KAFKA).unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[1].ends_with("files/k.tgz is not there"), "{text}");
    assert!(lines[2].contains("2 tries in a row failed: could not connect to 127.0.0.1"), "{text}");
    assert!(lines[3].contains("a moment ago, it was not asked again"), "{text}");
    assert_eq!(lines[4], "  mvn: mvn is not installed; it is needed to fetch Kafka's jars");
}

#[test]
fn a_choice_that_package_clients_do_not_have_is_said_to_be_none_of_theirs() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    place.settings.kafka_choice = "confluent-7.5.3".into();
    assert_eq!(place.ensure(KAFKA).unwrap_err().to_string(), "mvn has no confluent-7.5.3");
    assert_eq!(place.mvn_runs(), 0);
}

#[test]
fn two_failing_parts_are_both_reported_and_a_good_one_is_kept() {
    let mut place = Place::new();
    place.mvn(GOOD_MVN);
    let e = place.ensure(Wanted::ALL).unwrap_err();
    let text = e.to_string();
    assert!(text.starts_with("could not fetch java and mysql:"), "{text}");
    assert!(text.contains("\n  mysql: apt-get is not installed"), "{text}");
    assert!(resolve(KAFKA, &place.settings).unwrap().is_some());
}

#[test]
fn the_hosts_runtime_is_recorded_and_recognised_without_being_run_again() {
    let mut place = Place::new();
    let home = place.dir.path().join("jvm/java-17");
    fake_java(&home, 17);
    let java = place.ensure(JAVA).unwrap().java.unwrap();
    assert_eq!((java.major, &java.home), (17, &home));
    // It would fail now, if it were run.
    install_script(&home.join("bin/java"), "#!/bin/sh\nexit 1\n");
    place.settings.host.jvm_dir = "/nonexistent".into();
    assert_eq!(resolve(JAVA, &place.settings).unwrap().unwrap().java, Some(java));
}

#[test]
fn a_runtime_replaced_underneath_has_a_new_fingerprint_and_is_told_once() {
    let place = Place::new();
    let home = place.dir.path().join("jvm/java-17");
    fake_java(&home, 17);
    let before = place.ensure(JAVA).unwrap().java.unwrap();
    fs::write(home.join("lib/modules"), "the next build").unwrap();
    let script = fs::read_to_string(home.join("bin/java")).unwrap();
    install_script(&home.join("bin/java"), &script.replace("17.0.1+2", "17.0.2+1"));
    let found = survey(JAVA, &place.settings).unwrap();
    let note = format!("java at {} was replaced: 17.0.1+2 before, 17.0.2+1 now", home.display());
    assert_eq!(found.notes, [note]);
    assert_ne!(found.programs.java.unwrap().fingerprint, before.fingerprint);
    place.ensure(JAVA).unwrap();
    assert!(survey(JAVA, &place.settings).unwrap().notes.is_empty());
}

#[test]
fn a_configured_runtime_of_a_wrong_release_is_refused_and_never_replaced_by_a_download() {
    let mut place = Place::new();
    fake_java(&place.dir.path().join("jvm/17"), 17);
    fake_java(&place.dir.path().join("25"), 25);
    place.settings.java_home = Some(place.dir.path().join("25"));
    let e = place.ensure(JAVA).unwrap_err();
    assert!(e.to_string().contains("release 25 (25.0.1+2), wanted 17 or 21"), "{e}");
    assert!(!place.settings.store.exists());
}

#[test]
fn without_any_runtime_the_failure_says_what_was_found_and_that_nothing_could_be_fetched() {
    let place = Place::new();
    fake_java(&place.dir.path().join("jvm/eleven"), 11);
    let missing = survey(JAVA, &place.settings).unwrap().missing;
    assert!(missing[0].why.contains("release 11 (11.0.1+2), wanted 17 or 21"), "{missing:?}");
    let e = place.ensure(JAVA).unwrap_err();
    assert!(e.to_string().starts_with("apt-get is not installed"), "{e}");
}

#[test]
fn a_store_that_cannot_be_written_is_no_obstacle_when_everything_is_there() {
    let place = Place::new();
    fake_java(&place.dir.path().join("jvm/17"), 17);
    fs::write(&place.settings.store, "a file in the way").unwrap();
    // reading below a file is the error ENOTDIR, not "nothing there"
    assert!(place.ensure(JAVA).is_err());
    fs::remove_file(&place.settings.store).unwrap();
    fs::create_dir(&place.settings.store).unwrap();
    fs::create_dir(place.settings.store.join("lock")).unwrap();
    assert_eq!(place.ensure(JAVA).unwrap().java.unwrap().major, 17);
}

fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute");
        thread::sleep(Duration::from_millis(5));
    }
}

const UI: Wanted = Wanted { java: true, kafka: false, mysql: false, kafka_ui: true };

/// A host with Java 17, and a jar in the test's directory that needs `java`.
fn place_with_jar(java: u8) -> Place {
    let mut place = Place::new();
    fake_java(&place.dir.path().join("jvm/17"), 17);
    let jar = place.dir.path().join("ui.jar");
    fs::write(&jar, super::jar::tests::ui_jar("io.kafbat.ui.KafkaUiApplication", "v1.5.0", java)).unwrap();
    place.settings.kafka_ui.jar = Some(jar);
    place
}

#[test]
fn a_jar_of_the_ui_is_copied_once_and_stays_when_the_file_goes() {
    let mut place = place_with_jar(17);
    // the file is here, so nothing is asked for
    place.settings.offline = true;
    let heard = Heard::default();
    let found = ensure(UI, &place.settings, &heard, &Cancel::default()).unwrap();
    let ui = found.kafka_ui.unwrap().unwrap();
    assert_eq!((ui.release.as_str(), ui.java.home.as_path()), ("kafbat-1.5.0", found.java.unwrap().home.as_path()));
    assert!(ui.jar.starts_with(&place.settings.store) && ui.jar.is_file());
    let heard = heard.0.into_inner().unwrap();
    assert!(
        heard.iter().any(|s| matches!(s, Step::Done { detail, .. } if detail == "kafka-ui kafbat-1.5.0 (0 MB)")),
        "{heard:?}"
    );
    let named = place.settings.kafka_ui.jar.clone().unwrap();
    fs::remove_file(&named).unwrap();
    assert_eq!(resolve(UI, &place.settings).unwrap().unwrap().kafka_ui, Some(Ok(ui.clone())));
    // without a name the store's counts, when it is the wanted release
    place.settings.kafka_ui = UiChoice { release: "kafbat-1.5.0".into(), ..UiChoice::default() };
    assert_eq!(resolve(UI, &place.settings).unwrap().unwrap().kafka_ui, Some(Ok(ui)));
    place.settings.kafka_ui.release = "provectus-0.7.2".into();
    let missing = survey(UI, &place.settings).unwrap().missing;
    assert_eq!(missing[0].why, "the store has kafbat-1.5.0, and provectus-0.7.2 is wanted");
    // a file of that name comes back with other contents
    fs::write(&named, super::jar::tests::ui_jar("com.provectus.kafka.ui.KafkaUiApplication", "0.7.2", 17)).unwrap();
    place.settings.kafka_ui.jar = Some(named);
    assert!(survey(UI, &place.settings).unwrap().missing[0].why.ends_with("ui.jar was replaced"));
    assert_eq!(place.ensure(UI).unwrap().kafka_ui.unwrap().unwrap().release, "provectus-0.7.2");
}

#[test]
fn a_damaged_jar_in_the_store_is_taken_from_its_file_again() {
    let place = place_with_jar(17);
    let jar = place.ensure(UI).unwrap().kafka_ui.unwrap().unwrap().jar;
    overwrite(&jar, "bent");
    assert_eq!(resolve(UI, &place.settings).unwrap(), None);
    assert_eq!(place.ensure(UI).unwrap().kafka_ui.unwrap().unwrap().jar, jar);
}

#[test]
fn a_jar_for_a_newer_java_gets_the_oldest_that_runs_it_or_is_refused_with_what_was_found() {
    let place = place_with_jar(21);
    let e = place.ensure(UI).unwrap_err();
    let text = e.to_string();
    assert!(text.starts_with("kafka-ui kafbat-1.5.0 needs Java 21 or newer; refused:"), "{text}");
    assert!(text.contains("release 17 (17.0.1+2), wanted 21 or newer"), "{text}");
    assert!(e.hint().unwrap().contains("kafka_ui.java_home"));
    // the jar is in the store, only the runtime is missing: the same words again, and at once when there is one
    assert!(place.ensure(UI).unwrap_err().to_string().contains("needs Java 21"));
    fake_java(&place.dir.path().join("jvm/26"), 26);
    fake_java(&place.dir.path().join("jvm/25"), 25);
    let found = place.ensure(UI).unwrap();
    let ui = found.kafka_ui.unwrap().unwrap();
    assert_eq!((ui.java.major, found.java.unwrap().major), (25, 17), "the brokers keep theirs");
    // recorded: it is not asked again
    let program = ui.java.program.clone();
    install_script(&program, "#!/bin/sh\nexit 1\n");
    assert_eq!(resolve(UI, &place.settings).unwrap().unwrap().kafka_ui, Some(Ok(ui)));
}

#[test]
fn a_runtime_named_for_the_ui_is_the_one_it_gets() {
    let mut place = place_with_jar(17);
    let home = place.dir.path().join("own");
    place.settings.kafka_ui.java_home = Some(home.clone());
    fake_java(&home, 11);
    assert!(place.ensure(UI).unwrap_err().to_string().contains("release 11 (11.0.1+2), wanted 17 or newer"));
    fake_java(&home, 21);
    assert_eq!(place.ensure(UI).unwrap().kafka_ui.unwrap().unwrap().java.home, home);
}

#[test]
fn what_is_no_jar_of_the_ui_is_refused_and_never_stored() {
    let mut place = place_with_jar(17);
    let jar = place.settings.kafka_ui.jar.clone().unwrap();
    for (bytes, why) in [
        (b"<html>not found</html>".to_vec(), "is a page of HTML"),
        (super::jar::tests::ui_jar("kafka.Kafka", "1", 17), "is another program's jar: it starts kafka.Kafka"),
    ] {
        fs::write(&jar, bytes).unwrap();
        let e = place.ensure(UI).unwrap_err();
        assert!(e.to_string().contains(why), "{e}");
        assert!(!place.visible().iter().any(|n| n.starts_with("kafka-ui")), "{:?}", place.visible());
    }
    place.settings.kafka_ui = UiChoice { release: "provectus-0.7.2".into(), ..UiChoice::default() };
    let e = place.ensure(UI).unwrap_err();
    assert!(e.to_string().contains("no jar of Kafka UI provectus-0.7.2"), "{e}");
    assert!(e.hint().unwrap().contains("github.com/provectus/kafka-ui/releases"));
}

#[test]
fn a_jar_of_the_list_is_taken_once_it_is_accepted_and_held_to_from_then_on() {
    let mut place = place_with_jar(17);
    place.settings.kafka_ui = UiChoice { release: "provectus-0.7.2".into(), ..UiChoice::default() };
    place.settings.sources = vec![Origin::File];
    place.settings.offline = true;
    let file = place.settings.files.join("kafka-ui-api-v0.7.2.jar");
    fs::create_dir_all(&place.settings.files).unwrap();
    let jar = super::jar::tests::ui_jar("com.provectus.kafka.ui.KafkaUiApplication", "0.7.2-build", 17);
    fs::write(&file, &jar).unwrap();
    let e = place.ensure(UI).unwrap_err();
    assert!(e.hint().is_some_and(|h| h.contains("--accept-unpinned")), "{e}: {:?}", e.hint());
    place.settings.accept_unpinned = true;
    let ui = place.ensure(UI).unwrap().kafka_ui.unwrap().unwrap();
    assert_eq!(ui.release, "provectus-0.7.2", "the list's word chooses it");
    assert_eq!(fs::read(&ui.jar).unwrap(), jar);
    // damaged, and the file is another by now: that one is refused, the first is taken again
    place.settings.accept_unpinned = false;
    overwrite(&ui.jar, "bent");
    fs::write(&file, super::jar::tests::ui_jar("com.provectus.kafka.ui.KafkaUiApplication", "0.7.3", 17)).unwrap();
    assert!(matches!(place.ensure(UI).unwrap_err(), ArtifactError::Digest(_)));
    fs::write(&file, &jar).unwrap();
    assert_eq!(place.ensure(UI).unwrap().kafka_ui, Some(Ok(ui)));
}

#[test]
fn maven_keeps_its_files_in_the_home_that_the_environment_names_and_in_nobody_elses() {
    let mut place = Place::new();
    let args = place.dir.path().join("args");
    place.mvn(&format!("{GOOD_MVN}\nprintf '%s\\n' \"$@\" > '{}'", args.display()));
    place.settings.host.uid = nix::unistd::geteuid().as_raw();
    let home = place.dir.path().join("a/home");
    place.settings.host.environment[1].1 = home.display().to_string();
    let told = || {
        let args = fs::read_to_string(&args).unwrap();
        args.lines().find_map(|a| a.strip_prefix("-Dmaven.repo.local=").map(PathBuf::from)).unwrap()
    };
    place.ensure(KAFKA).unwrap();
    assert_eq!(told(), home.join(".m2/repository"));
    place.settings.host.uid += 1;
    fs::remove_dir_all(&place.settings.store).unwrap();
    place.ensure(KAFKA).unwrap();
    assert!(told().starts_with(place.dir.path().join("store")), "{:?}", told());
}
