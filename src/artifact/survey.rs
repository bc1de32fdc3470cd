//! What is there: the store and the host, looked at without the network, without the lock, and without reading what can
//! be told by size and time.

use super::{
    ArtifactError, FoundJava, Part, Settings, Wanted, java, kafka, kafka_ui,
    lockfile::{JavaRecord, LockFile},
    manifest::{Care, Manifest},
    mysql,
    pins::Pins,
};
use crate::{
    base::programs::{JavaRuntime, KafkaJars, MysqlTree, Programs},
    sys::command::Cancel,
};
use std::path::Path;

/// A wanted part that is not there or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub part: Part,
    /// Why it does not count, as a sentence without its subject.
    pub why: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every wanted part that is there.
    pub programs: Programs,
    /// Every wanted part that is not.
    pub missing: Vec<Missing>,
    /// Worth telling: a runtime that was replaced since it was recorded.
    pub notes: Vec<String>,
    /// A line for each part that is there.
    pub(super) present: Vec<(Part, String)>,
    /// What should be recorded about Java and is not yet.
    pub(super) java: Option<JavaRecord>,
    /// The same about the UI's own Java.
    pub(super) ui_java: Option<JavaRecord>,
    /// The UI's jar is there, and no runtime for it: its release, the oldest Java for it, what was found.
    pub(super) ui_lacks_java: Option<(String, u32, Vec<FoundJava>)>,
}

impl Survey {
    /// Each part that is there, with a line about it: `kafka 3.5.2 (52 jars, 38 MB)`.
    pub fn present(&self) -> impl Iterator<Item = &(Part, String)> {
        self.present.iter()
    }
}

/// Looks. Fast when everything was recorded (no program is run then); a Java runtime that is new or was replaced is asked
/// for its version.
pub fn survey(wanted: Wanted, settings: &Settings) -> Result<Survey, ArtifactError> {
    look(wanted, settings, &Cancel::default())
}

/// The programs, when every wanted part is there; none when one is missing ([`survey`] tells why).
pub fn resolve(wanted: Wanted, settings: &Settings) -> Result<Option<Programs>, ArtifactError> {
    let survey = survey(wanted, settings)?;
    Ok(survey.missing.is_empty().then_some(survey.programs))
}

/// Where nothing is: what a part is named by that is not even on record.
const NOWHERE: &str = "/not-in-the-store";

/// The programs as they are on record, whether they are there or not: for the recipes of nodes that run already. They are
/// not to be run.
pub fn on_record(wanted: Wanted, settings: &Settings) -> Programs {
    // An unreadable record is told of by who has looked before.
    let record = LockFile::read(&settings.store).unwrap_or_default();
    let java = || {
        let known = record.java.as_ref().filter(|r| r.asked == settings.java_home);
        known.map_or_else(
            || JavaRuntime {
                program: Path::new(NOWHERE).join("bin/java"),
                home: NOWHERE.into(),
                major: 17,
                version: "unknown".into(),
                fingerprint: "unknown".into(),
            },
            |r| JavaRuntime {
                program: r.home.join("bin/java"),
                home: r.home.clone(),
                major: r.major,
                version: r.version.clone(),
                fingerprint: r.fingerprint.clone(),
            },
        )
    };
    let kafka = || {
        let pins = Pins::parse(settings.kafka_pins).map_err(|e| e.to_string());
        let known = pins.and_then(|pins| kafka::resolve(&settings.store, &record, settings, &pins, Care::Unseen));
        known.unwrap_or_else(|_| KafkaJars {
            version: "3.5.2".into(),
            zookeeper_version: "unknown".into(),
            class_path: vec![Path::new(NOWHERE).join("kafka.jar")],
            content: "unknown".into(),
        })
    };
    let mysql = || {
        let known = record.mysql_of(settings.mysql_choice.as_deref());
        let tree = known.and_then(|known| mysql::resolve(&settings.store, known, Care::Unseen).ok());
        tree.unwrap_or_else(|| MysqlTree {
            version: "8.0.46".into(),
            series: (8, 0),
            launcher: Vec::new(),
            mysqld: Path::new(NOWHERE).join("mysqld"),
            basedir: NOWHERE.into(),
            messages_dir: NOWHERE.into(),
            character_sets_dir: NOWHERE.into(),
            plugin_dir: NOWHERE.into(),
            content: "unknown".into(),
        })
    };
    Programs {
        java: wanted.java.then(java),
        kafka: wanted.kafka.then(kafka),
        mysql: wanted.mysql.then(mysql),
        kafka_ui: None,
    }
}

pub(super) fn look(wanted: Wanted, settings: &Settings, cancel: &Cancel) -> Result<Survey, ArtifactError> {
    let record = LockFile::read(&settings.store)?;
    let care = if settings.verify_all { Care::Full } else { Care::Quick };
    let mut survey = Survey::default();
    if wanted.java {
        java_part(&mut survey, record.java.as_ref(), settings, care, cancel)?;
    }
    if wanted.kafka {
        match kafka::resolve(&settings.store, &record, settings, &Pins::parse(settings.kafka_pins)?, care) {
            Ok(jars) => {
                let known = record.kafka_of(&settings.kafka_choice).filter(|k| k.tree.content == jars.content);
                let bytes = known.map(|k| k.tree.bytes);
                survey.present.push((Part::Kafka, kafka::detail(&jars, bytes)));
                survey.programs.kafka = Some(jars);
            }
            Err(why) => survey.missing.push(Missing { part: Part::Kafka, why }),
        }
    }
    if wanted.mysql {
        let choice = settings.mysql_choice.as_deref();
        let known = record.mysql_of(choice).ok_or_else(|| match choice {
            Some(choice) if record.mysql.is_some() => format!("{choice} was never fetched"),
            Some(_) | None => "never fetched".to_owned(),
        });
        match known.and_then(|known| Ok((known, mysql::resolve(&settings.store, known, care)?))) {
            Ok((known, tree)) => {
                survey.present.push((Part::Mysql, mysql::detail(known)));
                survey.programs.mysql = Some(tree);
            }
            Err(why) => survey.missing.push(Missing { part: Part::Mysql, why }),
        }
    }
    if wanted.kafka_ui {
        ui_part(&mut survey, &record, settings, care, cancel)?;
    }
    Ok(survey)
}

fn ui_part(
    survey: &mut Survey,
    record: &LockFile,
    settings: &Settings,
    care: Care,
    cancel: &Cancel,
) -> Result<(), ArtifactError> {
    let known = record.kafka_ui.as_ref();
    let found = kafka_ui::resolve(&settings.store, known, &settings.kafka_ui, care);
    let (known, jar) = match known.ok_or_else(|| "never fetched".to_owned()).and_then(|known| Ok((known, found?))) {
        Ok(found) => found,
        Err(why) => {
            survey.missing.push(Missing { part: Part::KafkaUi, why });
            return Ok(());
        }
    };
    match kafka_ui::runtime(known, survey.programs.java.as_ref(), settings, &settings.kafka_ui, cancel) {
        Ok((java, recorded)) => {
            if recorded != known.java {
                survey.ui_java = recorded;
            }
            let own = survey.programs.java.as_ref().is_none_or(|brokers| brokers.home != java.home);
            let on = if own { format!(", on java {}", java.version) } else { String::new() };
            survey.present.push((Part::KafkaUi, format!("{}{on}", kafka_ui::detail(known))));
            survey.programs.kafka_ui = Some(Ok(kafka_ui::programs(known, jar, java)));
        }
        Err(e @ ArtifactError::UiJava { .. }) => {
            survey.missing.push(Missing { part: Part::KafkaUi, why: e.to_string() });
            if let ArtifactError::UiJava { release, needed, found } = e {
                survey.ui_lacks_java = Some((release, needed, found));
            }
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

fn java_part(
    survey: &mut Survey,
    record: Option<&JavaRecord>,
    settings: &Settings,
    care: Care,
    cancel: &Cancel,
) -> Result<(), ArtifactError> {
    // A record made under another `java_home` setting answers another question.
    let record = record.filter(|r| r.asked == settings.java_home);
    let mut damaged = None;
    if let Some(record) = record {
        damaged = stored_damage(record, settings, care);
        if damaged.is_none()
            && let Some(known) = java::unchanged(record)
        {
            survey.present.push((Part::Java, detail(&known, place(record))));
            survey.programs.java = Some(known.runtime());
            return Ok(());
        }
    }
    // Replaced in place: the same home is asked first, so that an upgrade does not move the stack to another runtime.
    let same = match record.filter(|_| damaged.is_none()) {
        Some(r) => java::check(&r.home.join("bin/java"), cancel)?.and_then(java::accept).ok(),
        None => None,
    };
    let found = match same {
        Some(checked) => Ok(checked),
        None => java::search(settings, cancel),
    };
    match found {
        Ok(checked) => {
            if let Some(before) = record {
                survey.notes.push(changed(before, &checked));
            }
            // A touched but whole tree of the store stays one.
            let now = checked.record(settings.java_home.as_deref());
            let now = match record.filter(|r| r.home == checked.home && r.tree.is_some()) {
                Some(r) => {
                    JavaRecord { tree: r.tree.clone(), packages: r.packages.clone(), archive: r.archive.clone(), ..now }
                }
                None => now,
            };
            survey.present.push((Part::Java, detail(&checked, place(&now))));
            survey.java = Some(now);
            survey.programs.java = Some(checked.runtime());
        }
        Err(e @ ArtifactError::NoJava { .. }) => {
            // What a person configured is refused, never replaced by a download.
            if settings.java_home.is_some() {
                return Err(e);
            }
            let why = damaged.unwrap_or_else(|| e.to_string());
            survey.missing.push(Missing { part: Part::Java, why });
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Why a runtime in the store is not whole; none for a whole one and for one of the host's.
fn stored_damage(record: &JavaRecord, settings: &Settings, care: Care) -> Option<String> {
    let stored = record.tree.as_ref()?;
    let tree = settings.store.join(&stored.directory);
    match Manifest::read(&tree) {
        Ok(manifest) if manifest.content() == stored.content => manifest.damage(&tree, care),
        Ok(_) => Some(format!("{} is not the tree that was recorded", tree.display())),
        Err(why) => Some(why),
    }
}

/// Where a runtime is from, in a word.
pub(super) fn place(record: &JavaRecord) -> &'static str {
    match (&record.tree, &record.archive) {
        (None, _) => "host",
        (Some(_), None) => "package",
        (Some(_), Some(_)) => "archive",
    }
}

fn detail(java: &java::Checked, place: &str) -> String {
    format!("java {} ({place})", java.version)
}

fn changed(before: &JavaRecord, now: &java::Checked) -> String {
    if before.home != now.home {
        let (old, new) = (before.home.display(), now.home.display());
        return format!("java {} at {old} is gone, {} at {new} is used", before.version, now.version);
    }
    let home = now.home.display();
    if before.version == now.version {
        return format!("java {} at {home} was replaced by another build of that version", now.version);
    }
    format!("java at {home} was replaced: {} before, {} now", before.version, now.version)
}
