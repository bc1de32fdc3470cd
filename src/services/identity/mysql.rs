//! May mysqld start: the server uuid of its `auto.cnf` against the one this root remembers.

use super::Judgement;
use crate::base::{Cause, outcome::Failure};
use std::path::Path;

/// What is in the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MysqlFound {
    /// Nothing, or no directory.
    Empty,
    /// A server's data.
    Server {
        /// Its uuid.
        uuid: String,
    },
    /// Data without a readable `auto.cnf`: the server makes a new uuid at its next start.
    NoUuid,
}

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub struct MysqlFacts<'a> {
    /// Where the data is.
    pub data_dir: &'a Path,
    /// What is there.
    pub found: &'a MysqlFound,
    /// The uuid this root remembers.
    pub recorded: Option<&'a str>,
    /// Where it remembers.
    pub record: &'a Path,
}

/// Reads `auto.cnf`: an option file with `[auto]` and `server-uuid=…`.
pub fn server_uuid(auto_cnf: &str) -> Option<String> {
    let (_, value) = auto_cnf.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| {
        let key = key.trim();
        key == "server-uuid" || key == "server_uuid"
    })?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The newest version in `mysql_upgrade_history`, which mysqld keeps in its data directory (seen at 9.7.4; 8.0 writes none):
/// `{"file_format":"1","upgrade_history":[{"date":…,"version":"9.7.4","maturity":"LTS","initialize":true}]}`.
pub fn upgrade_history(json: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let last = value.get("upgrade_history")?.as_array()?.last()?;
    last.get("version")?.as_str().map(str::to_owned)
}

/// Whether mysqld may start, or be initialised.
pub fn judge_mysql(facts: &MysqlFacts<'_>) -> Judgement {
    let (dir, record) = (facts.data_dir.display(), facts.record.display());
    let refuse = |what, remedy| Judgement::Refuse(Failure { cause: Cause::WrongIdentity, what, remedy });
    match (facts.found, facts.recorded) {
        (MysqlFound::Server { uuid }, Some(recorded)) if uuid != recorded => refuse(
            format!(
                "mysql's data ({dir}) is that of server {uuid}, and this root remembers server {recorded} ({record}): the \
                 directory was probably exchanged or restored from another server; change readers would take its GTIDs for those \
                 of the old one"
            ),
            format!(
                "give mysql its own data directory back; when this data is meant, remove {record}: it is made anew from the data; \
                 then `cdc-supervisor start mysql`"
            ),
        ),
        (MysqlFound::Empty, Some(recorded)) => refuse(
            format!(
                "mysql's data ({dir}) is empty, and this root remembers server {recorded} ({record}); was a disk not mounted? A \
                 new, empty server is not made in its place unasked"
            ),
            format!(
                "mount or restore it; when a new, empty server is meant, remove {record}; then `cdc-supervisor start mysql`"
            ),
        ),
        (MysqlFound::NoUuid, Some(recorded)) => Judgement::noted(format!(
            "mysql's data ({dir}) has no auto.cnf, and this root remembers server {recorded}: the server makes a new uuid, and its \
             next transactions have other GTIDs"
        )),
        (MysqlFound::Server { .. } | MysqlFound::Empty | MysqlFound::NoUuid, _) => Judgement::start(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(found: &MysqlFound, recorded: Option<&str>) -> Judgement {
        judge_mysql(&MysqlFacts { data_dir: Path::new("/m"), found, recorded, record: Path::new("/i") })
    }

    #[test]
    fn another_server_and_a_vanished_one_are_refused_and_the_rest_starts() {
        let server = |uuid: &str| MysqlFound::Server { uuid: uuid.into() };
        assert_eq!(judge(&server("a"), None), Judgement::start());
        assert_eq!(judge(&server("a"), Some("a")), Judgement::start());
        assert_eq!(judge(&MysqlFound::Empty, None), Judgement::start());
        assert_eq!(judge(&MysqlFound::NoUuid, None), Judgement::start());
        assert!(matches!(judge(&MysqlFound::NoUuid, Some("a")), Judgement::Start { notes } if notes.len() == 1));
        for (found, part) in
            [(server("b"), "is that of server b, and this root remembers server a"), (MysqlFound::Empty, "is empty")]
        {
            let Judgement::Refuse(failure) = judge(&found, Some("a")) else { panic!("{found:?}") };
            assert_eq!(failure.cause, Cause::WrongIdentity);
            assert!(failure.what.contains(part) && failure.remedy.contains("remove /i"), "{failure:?}");
        }
    }

    #[test]
    fn files_are_read_as_mysqld_writes_them() {
        let text = "[auto]\nserver-uuid=0d4c3f58-e8d7-11f1-be3d-02fc00000001\n";
        assert_eq!(server_uuid(text).unwrap(), "0d4c3f58-e8d7-11f1-be3d-02fc00000001");
        assert_eq!(server_uuid("[auto]\nserver-uuid=\n"), None);
        let json = r#"{"file_format":"1","upgrade_history":[{"date":"2026-11-25 13:49:38","version":"9.7.4-2","maturity":"LTS","initialize":true}]}"#;
        assert_eq!(upgrade_history(json).unwrap(), "9.7.4-2");
        assert_eq!(upgrade_history("{}"), None);
    }
}
