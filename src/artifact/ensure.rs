//! The order of work: look, and when something is missing, lock the store, look again, fetch, record, look once more.

use super::{
    ArtifactError, Part, Progress, Settings, Step, Survey, Wanted, jre_package, kafka, kafka_ui,
    lockfile::{JavaRecord, KafkaRecord, KafkaUiRecord, LockFile, MysqlRecord},
    mysql,
    progress::megabytes,
    settings::Origin,
    store::{self, Store},
    survey::{look, place},
    transfer::Network,
    vendor::{Fetcher, Got},
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
    // Whoever has everything read again also wants the rest of runs that were killed to be gone.
    let tidy = settings.verify_all && store::has_leftovers(&settings.store);
    let news = first.java.is_some() || first.ui_java.is_some();
    if first.missing.is_empty() && !news && !tidy {
        return Ok(tell(first, progress));
    }
    let lacks_java = first.ui_lacks_java.is_some();
    // a jar that was named lies on this machine: nothing is asked for over the network
    let far = |part: Part| part != Part::KafkaUi || (settings.kafka_ui.jar.is_none() && !lacks_java);
    if settings.offline && first.missing.iter().any(|m| far(m.part)) && !has_files(settings) {
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
        drop_finished(&store, &record, settings);
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

/// Removes downloads that have become programs of the store: their run was killed before it could.
fn drop_finished(store: &Store, record: &LockFile, settings: &Settings) {
    // What stays is only disk space, which is no reason to fail.
    let Ok(catalog) = settings.catalog() else { return };
    let mysql = record.mysql.iter().chain(&record.earlier_mysql).map(|m| &m.archive);
    let kafka = record.kafka.iter().chain(&record.earlier_kafka).map(|k| &k.archive);
    let others = record.java.iter().map(|j| &j.archive).chain(record.kafka_ui.iter().map(|u| &u.archive));
    let archives = mysql.chain(kafka).chain(others).flatten();
    for archive in archives {
        if let Some(row) = catalog.all().iter().find(|row| row.id == archive.artifact) {
            store.drop_download(&row.file);
        }
    }
}

/// Whether the source `file` may have something: the only one that is asked without the network.
fn has_files(settings: &Settings) -> bool {
    !settings.order(None).is_empty() && std::fs::read_dir(&settings.files).is_ok_and(|mut list| list.next().is_some())
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
    let before = record.clone();
    let network = Network::new(settings.timing.clone(), settings.rate_limit, settings.ca_file.as_deref());
    let fetcher = Fetcher { store, settings, network: &network, trusted: &before.trusted, progress, cancel };
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let (fetcher, before) = (&fetcher, &before);
        let workers: Vec<_> =
            parts.iter().map(|&part| (part, scope.spawn(move || fetch_one(fetcher, part, before)))).collect();
        for (part, worker) in workers {
            // A panic of a worker is ours to pass on, not to hide.
            let outcome = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let recorded = outcome.and_then(|(fetched, got)| {
                match fetched {
                    Fetched::Java(java) => record.java = Some(java),
                    Fetched::Kafka(kafka) => record.put_kafka(kafka),
                    Fetched::Mysql(mysql) => record.put_mysql(mysql),
                    Fetched::KafkaUi(ui) => record.kafka_ui = Some(ui),
                }
                record.trusted.extend(got.iter().filter_map(|g| g.newly_trusted.clone()));
                record.write(&settings.store)?;
                // Only now: a run that dies before this goes on with the download.
                got.iter().for_each(Got::stored);
                Ok(())
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

fn fetch_one(fetcher: &Fetcher<'_>, part: Part, before: &LockFile) -> Result<(Fetched, Option<Got>), ArtifactError> {
    let begun = clock::now();
    let settings = fetcher.settings;
    let (fetched, got, detail) = match part {
        Part::Java => {
            let before = before.java.as_ref().filter(|j| j.tree.is_some());
            let before = before.map(|j| j.archive.as_ref().map_or(Origin::Packages, |a| a.origin));
            let (java, got) = jre_package::fetch_any(fetcher, before)?;
            let packages: u64 = java.packages.iter().map(|p| p.bytes).sum();
            let bytes = java.archive.as_ref().map_or(packages, |a| a.bytes);
            let detail = format!("java {} ({}, {})", java.version, place(&java), megabytes(bytes));
            (Fetched::Java(java), got, detail)
        }
        Part::Kafka => {
            let (kafka, got) = kafka::fetch(fetcher, before.kafka_of(&settings.kafka_choice))?;
            let detail = kafka::record_detail(&kafka, settings)?;
            (Fetched::Kafka(kafka), got, detail)
        }
        Part::Mysql => {
            let (mysql, got) = mysql::fetch(fetcher, before.mysql_of(settings.mysql_choice.as_deref()))?;
            let detail = mysql::detail(&mysql);
            (Fetched::Mysql(mysql), got, detail)
        }
        Part::KafkaUi => {
            let (ui, got) = kafka_ui::fetch(fetcher)?;
            let detail = kafka_ui::detail(&ui);
            (Fetched::KafkaUi(ui), got, detail)
        }
    };
    fetcher.progress.step(&Step::Done { what: part, detail, took: clock::now().since(begun) });
    Ok((fetched, got))
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
