//! The order of work: look, and when something is missing, lock the store, look again, fetch, record, look once more.

use super::{
    ArtifactError, Part, Progress, Settings, Step, Survey, Wanted, jre_package, kafka, kafka_ui,
    lockfile::{JavaRecord, KafkaRecord, KafkaUiRecord, LockFile, MysqlRecord},
    mysql,
    progress::megabytes,
    store::Store,
    survey::look,
};
use crate::{
    base::programs::Programs,
    sys::{clock, command::Cancel},
};
use std::thread;

/// What fetching a part gave.
enum Fetched {
    Java(JavaRecord),
    Kafka(KafkaRecord),
    Mysql(MysqlRecord),
    KafkaUi(KafkaUiRecord),
}

/// Makes sure that every wanted part is there and whole, fetches what is not, and returns the programs.
///
/// Blocks: milliseconds when all is there, else as long as the network takes. Call it on a thread that lives until it
/// returns. Two runs at once share one fetch: the second waits for the first and then finds everything done.
pub fn ensure(
    wanted: Wanted,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Programs, ArtifactError> {
    let first = look(wanted, settings, cancel)?;
    if first.missing.is_empty() && first.java.is_none() && first.ui_java.is_none() {
        return Ok(tell(first, progress));
    }
    let lacks_java = first.ui_lacks_java.is_some();
    // a jar that was named lies on this machine: nothing is asked for over the network
    let far = |part: Part| part != Part::KafkaUi || (settings.kafka_ui.jar.is_none() && !lacks_java);
    if settings.offline && first.missing.iter().any(|m| far(m.part)) {
        return Err(ArtifactError::Offline { missing: first.missing });
    }
    let store = match Store::take(&settings.store, progress, cancel) {
        Ok(store) => store,
        Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
        // Only a note about the host's Java would have been written; nothing depends on it.
        Err(_) if first.missing.is_empty() => return Ok(tell(first, progress)),
        Err(e) => return Err(e),
    };
    let second = look(wanted, settings, cancel)?;
    let mut record = LockFile::read(&settings.store)?;
    if let Some(java) = &second.java {
        record.java = Some(java.clone());
        record.write(&settings.store)?;
    }
    record_ui_java(&second, &mut record, settings)?;
    if second.missing.is_empty() {
        return Ok(tell(second, progress));
    }
    for (what, detail) in &second.present {
        progress.step(&Step::Present { what: *what, detail: detail.clone() });
    }
    note(&second, progress);
    if let (Some(lacks), [_]) = (&second.ui_lacks_java, &second.missing[..]) {
        return Err(ui_java(lacks.clone()));
    }
    let parts: Vec<Part> = second.missing.iter().map(|m| m.part).collect();
    for missing in second.missing {
        // The reason is news only when the part was there once.
        if was_recorded(&record, missing.part) {
            progress.step(&Step::Note { what: missing.part, text: format!("{}; fetched again", missing.why) });
        }
    }
    fetch_all(&store, &parts, &mut record, settings, progress, cancel)?;
    let last = look(wanted, settings, cancel)?;
    record_ui_java(&last, &mut record, settings)?;
    match (&last.missing[..], last.ui_lacks_java) {
        ([], _) => Ok(last.programs),
        ([_], Some(lacks)) => Err(ui_java(lacks)),
        (_, _) => Err(ArtifactError::Incomplete { missing: last.missing }),
    }
}

fn ui_java((release, needed, found): (String, u32, Vec<super::FoundJava>)) -> ArtifactError {
    ArtifactError::UiJava { release, needed, found }
}

/// Notes the runtime that was found for the UI, so that it need not be asked again.
fn record_ui_java(survey: &Survey, record: &mut LockFile, settings: &Settings) -> Result<(), ArtifactError> {
    let (Some(java), Some(ui)) = (&survey.ui_java, &mut record.kafka_ui) else { return Ok(()) };
    ui.java = Some(java.clone());
    record.write(&settings.store)
}

/// Fetches parts side by side and records each one that came, also when another failed.
fn fetch_all(
    store: &Store,
    parts: &[Part],
    record: &mut LockFile,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), ArtifactError> {
    let before = record.mysql.clone();
    let before = before.as_ref();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = parts
            .iter()
            .map(|&part| (part, scope.spawn(move || fetch_one(store, part, settings, before, progress, cancel))))
            .collect();
        for (part, worker) in workers {
            // A panic of a worker is ours to pass on, not to hide.
            let outcome = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let recorded = outcome.and_then(|fetched| {
                match fetched {
                    Fetched::Java(java) => record.java = Some(java),
                    Fetched::Kafka(kafka) => record.kafka = Some(kafka),
                    Fetched::Mysql(mysql) => record.mysql = Some(mysql),
                    Fetched::KafkaUi(ui) => record.kafka_ui = Some(ui),
                }
                record.write(&settings.store)
            });
            if let Err(e) = recorded {
                failures.push((part, e));
            }
        }
    });
    if failures.iter().any(|(_, e)| matches!(e, ArtifactError::Cancelled)) {
        return Err(ArtifactError::Cancelled);
    }
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0).1),
        _ => Err(ArtifactError::Parts(failures)),
    }
}

fn fetch_one(
    store: &Store,
    part: Part,
    settings: &Settings,
    mysql_before: Option<&MysqlRecord>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Fetched, ArtifactError> {
    let begun = clock::now();
    let (fetched, detail) = match part {
        Part::Java => {
            let java = jre_package::fetch(store, settings, progress, cancel)?;
            let bytes: u64 = java.packages.iter().map(|p| p.bytes).sum();
            let detail = format!("java {} (package, {})", java.version, megabytes(bytes));
            (Fetched::Java(java), detail)
        }
        Part::Kafka => {
            let kafka = kafka::fetch(store, settings, progress, cancel)?;
            let detail = kafka::record_detail(&kafka, settings)?;
            (Fetched::Kafka(kafka), detail)
        }
        Part::Mysql => {
            let mysql = mysql::fetch(store, settings, mysql_before, progress, cancel)?;
            let detail = mysql::detail(&mysql);
            (Fetched::Mysql(mysql), detail)
        }
        Part::KafkaUi => {
            let ui = kafka_ui::fetch(store, &settings.kafka_ui, progress)?;
            let detail = kafka_ui::detail(&ui);
            (Fetched::KafkaUi(ui), detail)
        }
    };
    progress.step(&Step::Done { what: part, detail, took: clock::now().since(begun) });
    Ok(fetched)
}

fn was_recorded(record: &LockFile, part: Part) -> bool {
    match part {
        Part::Java => record.java.is_some(),
        Part::Kafka => record.kafka.is_some(),
        Part::Mysql => record.mysql.is_some(),
        Part::KafkaUi => record.kafka_ui.is_some(),
    }
}

/// Everything was there: says so and hands it out.
fn tell(survey: Survey, progress: &dyn Progress) -> Programs {
    for (what, detail) in &survey.present {
        progress.step(&Step::Present { what: *what, detail: detail.clone() });
    }
    note(&survey, progress);
    survey.programs
}

fn note(survey: &Survey, progress: &dyn Progress) {
    for text in &survey.notes {
        progress.step(&Step::Note { what: Part::Java, text: text.clone() });
    }
}
