//! Looks before a start whose data a node has and which program wrote it. What it means is decided in `services::identity`.

mod record;

pub(super) use record::Identities;

use super::prepare::{PrepareError, Preparing, blocking};
use crate::{
    base::{
        EventKind, EventLine, NodeName,
        outcome::Failure,
        recipe::{BrokerIdentity, DataVersion, PrepareStep, Recipe},
    },
    clients::{ClientError, zookeeper::Session},
    lifecycle::{Event, Hold},
    services::identity::{
        BrokerData, BrokerFacts, ClusterView, Found, Judgement, MARKER, MysqlFacts, MysqlFound, MysqlRecord, Reached,
        Record, Seen, cluster_id, found, is_mark, judge_broker, judge_directory_names, judge_mysql, judge_version,
        look, server_uuid,
    },
    sys::{clock, error::SysError, fs, imprint},
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// Pause before another look at something that is not as it should be yet.
const LOOK: Duration = Duration::from_millis(250);

/// Bound of one look into ZooKeeper.
const ASK: Duration = Duration::from_secs(5);

impl Preparing {
    /// No newer program has written the data; this version is noted in it before it may write.
    pub(super) async fn data_version(&self, step: &DataVersion) -> Result<(), PrepareError> {
        let (step, node) = (step.clone(), self.node.clone());
        let note = blocking(move || mark(&node, &step)).await?;
        if let Some(note) = note {
            self.note(&note);
        }
        Ok(())
    }

    /// The broker's data belongs to the cluster that ZooKeeper's data knows. Returns the session that was asked with.
    pub(super) async fn broker_identity(&self, step: &BrokerIdentity) -> Result<Session, PrepareError> {
        let mut refused_before = false;
        loop {
            if self.cancel.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            // The order matters: a broker that starts for the first time writes its id into ZooKeeper, then into its
            // directory, then it becomes ready and is remembered. Asked the other way round, a first start is no mismatch.
            let (identities, dirs, node) = (Arc::clone(&self.identities), step.brokers.clone(), self.node.clone());
            let (record, brokers) = blocking(move || {
                let record = identities.now();
                let data = dirs.into_iter().map(|(broker, path)| {
                    let found = broker_data(&path).map_err(|e| PrepareError::file(&node, &e))?;
                    Ok(BrokerData { broker, path, found })
                });
                Ok((record, data.collect::<Result<Vec<_>, PrepareError>>()?))
            })
            .await?;
            let (session, zookeeper) = match tokio::time::timeout(ASK, cluster_view(step.zookeeper)).await {
                Ok(Ok(seen)) => seen,
                Ok(Err(e)) => {
                    self.hold(format!("ZooKeeper at {} does not tell the cluster id: {e}", step.zookeeper)).await;
                    continue;
                }
                Err(_) => {
                    self.hold(format!("ZooKeeper at {} does not answer", step.zookeeper)).await;
                    continue;
                }
            };
            let judgement = judge_broker(&BrokerFacts {
                broker: step.broker,
                brokers: &brokers,
                zookeeper: &zookeeper,
                zookeeper_data: &step.zookeeper_data,
                recorded: record.cluster.as_deref(),
                recorded_own: record.brokers.contains_key(&step.broker),
                recorded_reached: record.zookeeper,
                record: self.identities.path(),
            });
            match judgement {
                Judgement::Start { notes } => {
                    for note in &notes {
                        self.note(note);
                    }
                    let own = brokers.into_iter().find(|b| b.broker == step.broker);
                    self.learn(move |record| {
                        if let Some(BrokerData { broker, path, found: Found::Data { cluster, .. } }) = own {
                            record.learn_broker(broker, &cluster, path);
                        }
                        if let Some(id) = zookeeper.id {
                            record.learn_reached(&id, zookeeper.reached, clock::wall());
                        }
                    })
                    .await;
                    return Ok(session);
                }
                Judgement::Later { why } => {
                    close(session).await;
                    self.hold(why).await;
                }
                Judgement::Refuse(failure) => {
                    close(session).await;
                    // What is seen while other brokers start for the first time is looked at once more.
                    if refused_before {
                        return Err(PrepareError::Refused(failure));
                    }
                    refused_before = true;
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// The data directory is that of the server this root remembers.
    pub(super) async fn mysql_identity(&self, data_dir: &Path) -> Result<(), PrepareError> {
        let (identities, dir, node) = (Arc::clone(&self.identities), data_dir.to_owned(), self.node.clone());
        let (judgement, found) = blocking(move || {
            let recorded = identities.now().mysql.map(|m| m.server_uuid);
            let found = mysql_data(&dir).map_err(|e| PrepareError::file(&node, &e))?;
            let facts =
                MysqlFacts { data_dir: &dir, found: &found, recorded: recorded.as_deref(), record: identities.path() };
            Ok((judge_mysql(&facts), found))
        })
        .await?;
        match judgement {
            Judgement::Start { notes } => {
                for note in &notes {
                    self.note(note);
                }
                if let MysqlFound::Server { uuid } = found {
                    let data_dir = data_dir.to_owned();
                    self.learn(move |r| r.mysql = Some(MysqlRecord { server_uuid: uuid, data_dir })).await;
                }
                Ok(())
            }
            Judgement::Later { why } => Err(PrepareError::Passing(why)),
            Judgement::Refuse(failure) => Err(PrepareError::Refused(failure)),
        }
    }

    async fn hold(&self, why: String) {
        self.tell(Event::Held(Hold::Other { why }));
        tokio::time::sleep(LOOK).await;
    }

    fn note(&self, text: &str) {
        tracing::warn!(node = %self.node, "{text}");
        self.journal.note(EventLine::new(EventKind::Trouble, text).node(&self.node));
    }

    async fn learn(&self, change: impl FnOnce(&mut Record) + Send + 'static) {
        let identities = Arc::clone(&self.identities);
        // A record that could not be written has been told of; it is learned again.
        let _ = tokio::task::spawn_blocking(move || identities.learn(change)).await;
    }
}

/// What a node that has become ready has made of its data directory is remembered. Blocks.
pub(super) fn learn(identities: &Identities, node: &NodeName, recipe: &Recipe) {
    let learned = recipe.prepare.iter().try_for_each(|step| match step {
        PrepareStep::BrokerIdentity(step) => {
            let own = step.brokers.iter().find(|(id, _)| *id == step.broker);
            let Some((id, path)) = own else { return Ok(()) };
            if let Found::Data { cluster, .. } = broker_data(path)? {
                identities.learn(|record| record.learn_broker(*id, &cluster, path.clone()));
            }
            Ok(())
        }
        PrepareStep::MysqlIdentity { data_dir } => {
            if let MysqlFound::Server { uuid } = mysql_data(data_dir)? {
                let data_dir = data_dir.clone();
                identities.learn(|record| record.mysql = Some(MysqlRecord { server_uuid: uuid, data_dir }));
            }
            Ok(())
        }
        PrepareStep::ClassData(_)
        | PrepareStep::AwaitTakeover { .. }
        | PrepareStep::MysqlInitialize(_)
        | PrepareStep::DataVersion(_)
        | PrepareStep::NoProgram { .. }
        | PrepareStep::AwaitBrokerSessionGone { .. } => Ok::<(), SysError>(()),
    });
    if let Err(e) = learned {
        tracing::warn!(node = %node, error = %e.source, "{e}; whose data it is will be remembered at its next start");
    }
}

/// Checks the mark of a data directory and raises it; one of somebody else's files gets none. A mark that cannot be read is put aside and told of.
fn mark(node: &NodeName, step: &DataVersion) -> Result<Option<String>, PrepareError> {
    let failed = |e: SysError| PrepareError::file(node, &e);
    let path = step.data_dir.join(MARKER);
    // What a daemon that was killed here left: mysqld takes every file in its data directory for its own.
    fs::remove_torn_of(&path);
    let seen = written_by(step).map_err(failed)?;
    let mut note = None;
    if let Some(why) = &seen.torn {
        let aside = path.with_extension("json.bad");
        std::fs::rename(&path, &aside).map_err(|e| failed(SysError::path("put aside", &path, e)))?;
        note = Some(format!(
            "{} is not readable ({why}), kept as {}: which version wrote the data last is not known",
            path.display(),
            aside.display()
        ));
    }
    if seen.mark.is_none() {
        let names = fs::names_in(&step.data_dir).map_err(failed)?;
        if let Some(failure) = judge_directory_names(node, step.product, &step.data_dir, &names) {
            return Err(PrepareError::Refused(failure));
        }
    }
    let marker = judge_version(step, &seen).map_err(PrepareError::Refused)?;
    if let Some(marker) = marker {
        let text = serde_json::to_string_pretty(&marker).unwrap_or_default();
        fs::write_atomic(&path, format!("{text}\n").as_bytes(), 0o644, fs::Durability::PowerLoss).map_err(failed)?;
    }
    Ok(note)
}

/// What a data directory says about who wrote it. An imprint that cannot be taken is none, and then the mark alone holds.
fn written_by(step: &DataVersion) -> Result<Seen, SysError> {
    look(step, fs::read_plain_lossy_optional, |dir| imprint::of(dir, is_mark).ok())
}

/// Why the data of this recipe may not be had by its program, as its start would say; none: they may. Changes nothing, and blocks.
pub fn data_refuse(recipe: &Recipe) -> Result<Option<Failure>, SysError> {
    for step in &recipe.prepare {
        if let PrepareStep::DataVersion(step) = step
            && let Err(failure) = judge_version(step, &written_by(step)?)
        {
            return Ok(Some(failure));
        }
    }
    Ok(None)
}

/// What is in a broker's data directory.
fn broker_data(dir: &Path) -> Result<Found, SysError> {
    let meta = fs::read_plain_lossy_optional(&dir.join("meta.properties"))?;
    let names = fs::names_in(dir)?;
    Ok(found(meta.as_deref(), names.iter().map(String::as_str)))
}

/// What is in MySQL's data directory.
fn mysql_data(dir: &Path) -> Result<MysqlFound, SysError> {
    if fs::names_in(dir)?.is_empty() {
        return Ok(MysqlFound::Empty);
    }
    let uuid = fs::read_plain_lossy_optional(&dir.join("auto.cnf"))?.as_deref().and_then(server_uuid);
    Ok(uuid.map_or(MysqlFound::NoUuid, |uuid| MysqlFound::Server { uuid }))
}

/// Asks ZooKeeper for the cluster's id, its topics and who is registered.
async fn cluster_view(address: SocketAddr) -> Result<(Session, ClusterView), ClientError> {
    let mut session = Session::connect(address, ASK).await?;
    let id = session.get_data("/cluster/id").await?.and_then(|(data, _)| cluster_id(&data));
    let topics = session.get_children("/brokers/topics").await?.unwrap_or_default().len();
    let ids = session.get_children("/brokers/ids").await?.unwrap_or_default();
    let registered = ids.iter().filter_map(|id| id.parse().ok()).collect();
    let reached = reached(&mut session).await?;
    Ok((session, ClusterView { id, topics: Some(topics), registered, reached }))
}

async fn reached(session: &mut Session) -> Result<Reached, ClientError> {
    let epoch = value(session, Reached::EPOCH).await?;
    let ids = value(session, Reached::PRODUCER_IDS).await?;
    Ok(Reached::of(epoch.as_deref(), ids.as_deref()))
}

async fn value(session: &mut Session, path: &str) -> Result<Option<Vec<u8>>, ClientError> {
    match session.get_data(path).await {
        Ok(node) => Ok(node.map(|(data, _)| data)),
        // One that is kept from us says nothing, and a start does not wait for it.
        Err(ClientError::Server { .. }) => Ok(Some(Vec::new())),
        Err(e) => Err(e),
    }
}

/// Of which cluster a ZooKeeper is, and how far it has come; none: of none yet. For sessions that are there for something else.
pub async fn cluster_reached(session: &mut Session) -> Result<Option<(String, Reached)>, ClientError> {
    let id = session.get_data("/cluster/id").await?.and_then(|(data, _)| cluster_id(&data));
    let reached = reached(session).await?;
    Ok(id.map(|id| (id, reached)))
}

async fn close(session: Session) {
    // A session that cannot be closed ends by itself.
    let _ = session.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Cause, recipe::DataProduct};

    fn version(dir: &Path, version: &str) -> DataVersion {
        DataVersion { product: DataProduct::Mysql, version: version.into(), protocol: None, data_dir: dir.to_owned() }
    }

    #[test]
    fn a_mark_is_written_raised_and_keeps_an_older_program_out() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeName::mysql();
        assert_eq!(mark(&node, &version(dir.path(), "8.4.11")).unwrap(), None);
        mark(&node, &version(dir.path(), "9.7.4")).unwrap();
        std::fs::write(dir.path().join("ibdata1"), "").unwrap();
        let Err(PrepareError::Refused(failure)) = mark(&node, &version(dir.path(), "8.4.11")) else { panic!() };
        assert_eq!(failure.cause, Cause::NewerData);
        mark(&node, &version(dir.path(), "9.7.4")).unwrap();
    }

    #[test]
    fn the_mark_of_a_program_that_wrote_nothing_leads_back_and_of_one_that_wrote_it_does_not() {
        for writes in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let node = NodeName::mysql();
            std::fs::write(dir.path().join("ibdata1"), "data").unwrap();
            mark(&node, &version(dir.path(), "8.4.11")).unwrap();
            let first = std::fs::read(dir.path().join(MARKER)).unwrap();
            // Twice: a node that is started again and again is marked as often.
            mark(&node, &version(dir.path(), "9.7.4")).unwrap();
            mark(&node, &version(dir.path(), "9.7.4")).unwrap();
            if writes {
                std::fs::write(dir.path().join("ibtmp1"), "").unwrap();
            }
            let back = mark(&node, &version(dir.path(), "8.4.11"));
            if writes {
                let Err(PrepareError::Refused(failure)) = back else { panic!("{back:?}") };
                assert!(failure.what.contains("9.7.4") && failure.remedy.contains("snapshot"), "{failure:?}");
            } else {
                assert_eq!(back.unwrap(), None);
                assert_eq!(std::fs::read(dir.path().join(MARKER)).unwrap(), first);
                assert!(mark(&node, &version(dir.path(), "8.0.46")).is_err(), "older than the data");
            }
        }
    }

    #[test]
    fn what_a_killed_writer_of_the_mark_left_goes_with_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let left = dir.path().join(format!(".{MARKER}.{}.tmp", ended.id()));
        std::fs::write(&left, "{").unwrap();
        mark(&NodeName::mysql(), &version(dir.path(), "9.7.4")).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_mark_that_is_torn_at_any_byte_is_kept_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let again = || mark(&NodeName::mysql(), &version(dir.path(), "9.7.4")).unwrap();
        assert_eq!(again(), None);
        let whole = std::fs::read(dir.path().join(MARKER)).unwrap();
        let text = whole.trim_ascii_end().len();
        for cut in 0..text {
            std::fs::write(dir.path().join(MARKER), &whole[..cut]).unwrap();
            let note = again().unwrap_or_else(|| panic!("cut at {cut}"));
            assert!(note.contains("cdc-supervisor.json.bad"), "{note}");
            assert_eq!(again(), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_mysqld_left_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let history = r#"{"file_format":"1","upgrade_history":[{"version":"9.7.4"}]}"#;
        std::fs::write(dir.path().join("mysql_upgrade_history"), history).unwrap();
        assert!(matches!(mark(&NodeName::mysql(), &version(dir.path(), "8.4.11")), Err(PrepareError::Refused(_))));
    }

    #[test]
    fn a_directory_of_somebody_elses_files_is_refused_and_not_marked() {
        for (product, own) in [(DataProduct::Zookeeper, "version-2"), (DataProduct::Kafka, "meta.properties")] {
            let dir = tempfile::tempdir().unwrap();
            let step = DataVersion { product, ..version(dir.path(), "3.6.4") };
            std::fs::write(dir.path().join("photos"), "").unwrap();
            let Err(PrepareError::Refused(failure)) = mark(&NodeName::zookeeper(), &step) else {
                panic!("{product:?}")
            };
            assert_eq!(failure.cause, Cause::WrongIdentity);
            assert!(failure.what.contains("photos") && !dir.path().join(MARKER).exists(), "{failure:?}");
            std::fs::create_dir(dir.path().join(own)).unwrap();
            assert_eq!(mark(&NodeName::zookeeper(), &step).unwrap(), None);
            std::fs::remove_dir(dir.path().join(own)).unwrap();
            assert_eq!(mark(&NodeName::zookeeper(), &step).unwrap(), None, "what is marked is ours");
        }
    }

    #[test]
    fn a_link_that_a_node_has_planted_in_its_data_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs");
        std::fs::write(&theirs, "[auto]\nserver-uuid=u\ncluster.id=X\nbroker.id=1\n").unwrap();
        for name in ["meta.properties", "auto.cnf", "mysql_upgrade_history", MARKER] {
            std::os::unix::fs::symlink(&theirs, dir.path().join(name)).unwrap();
        }
        assert!(broker_data(dir.path()).is_err() && mysql_data(dir.path()).is_err());
        assert!(mark(&NodeName::mysql(), &version(dir.path(), "8.4.11")).is_err());
        assert!(dir.path().join(MARKER).is_symlink(), "and none is put aside");
    }

    #[test]
    fn directories_are_read_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(broker_data(&at("none")).unwrap(), Found::Empty);
        assert_eq!(mysql_data(&at("none")).unwrap(), MysqlFound::Empty);
        std::fs::create_dir(at("t-0")).unwrap();
        assert_eq!(broker_data(dir.path()).unwrap(), Found::Unnamed { partitions: 1 });
        assert_eq!(mysql_data(dir.path()).unwrap(), MysqlFound::NoUuid);
        std::fs::write(at("meta.properties"), "version=0\nbroker.id=1\ncluster.id=X\n").unwrap();
        std::fs::write(at("auto.cnf"), "[auto]\nserver-uuid=u\n").unwrap();
        assert_eq!(broker_data(dir.path()).unwrap(), Found::Data { cluster: "X".into(), broker: 1, topics: 1 });
        assert_eq!(mysql_data(dir.path()).unwrap(), MysqlFound::Server { uuid: "u".into() });
    }
}
