//! An older program never gets data that a newer one has written: each data directory carries the newest version in a file.

use super::mysql::upgrade_history;
use crate::base::{
    Cause,
    outcome::Failure,
    recipe::{DataProduct, DataVersion},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name inside the data directory: it travels with the data. Kafka looks at directories only, ZooKeeper into
/// `version-2`, mysqld takes directories for schemas and leaves strange files alone (all three tried).
pub const MARKER: &str = "cdc-supervisor.json";

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// 1.
    pub schema: u32,
    /// Whose data.
    pub product: String,
    /// The newest version that may have written here.
    pub version: String,
    /// Kafka: the newest `inter.broker.protocol.version`, which decides about formats.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Whose the data were before a program was started that bars the way back; none: nothing bars it, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// What the mark said before it was raised. While the data are what they were then, the newer program has not written to them, and it
/// holds: a program that its libraries, an option or a daemon's death kept from its work has raised nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The version.
    pub version: String,
    /// The protocol.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Of the directory, taken before the newer program was started (`sys::imprint`).
    pub imprint: String,
}

/// The upgrade history that mysqld leaves in its data directory.
const MYSQL_HISTORY: &str = "mysql_upgrade_history";

/// What a data directory says about who wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The mark.
    pub mark: Option<Marker>,
    /// Why the mark that is there cannot be read.
    pub torn: Option<String>,
    /// The version that the product itself has left there, where it leaves one.
    pub left: Option<String>,
    /// The directory's imprint, where it decides and could be taken.
    pub imprint: Option<String>,
}

/// Looks, with what `read`s a small file and what takes an `imprint` of a directory.
pub fn look<E>(
    wanted: &DataVersion,
    read: impl Fn(&Path) -> Result<Option<String>, E>,
    imprint: impl Fn(&Path) -> Option<String>,
) -> Result<Seen, E> {
    let mut seen = Seen::default();
    match read(&wanted.data_dir.join(MARKER))?.map(|text| serde_json::from_str(&text)) {
        Some(Ok(mark)) => seen.mark = Some(mark),
        Some(Err(e)) => seen.torn = Some(e.to_string()),
        None => {}
    }
    if wanted.product == DataProduct::Mysql {
        seen.left = read(&wanted.data_dir.join(MYSQL_HISTORY))?.as_deref().and_then(upgrade_history);
    }
    if seen.mark.as_ref().is_some_and(|mark| needs_imprint(wanted, mark)) {
        seen.imprint = imprint(&wanted.data_dir);
    }
    Ok(seen)
}

/// Whether a name at the top of a data directory is ours: the mark, and what stands beside it while it is written or when it was torn.
pub fn is_mark(name: &str) -> bool {
    name.trim_start_matches('.').starts_with(MARKER)
}

fn word(product: DataProduct) -> &'static str {
    match product {
        DataProduct::Zookeeper => "ZooKeeper",
        DataProduct::Kafka => "Kafka",
        DataProduct::Mysql => "MySQL",
    }
}

/// A version with its protocol: of a program, or the newest that has written data.
#[derive(Clone, Copy)]
struct Level<'a> {
    version: &'a str,
    protocol: Option<&'a str>,
}

impl<'a> Level<'a> {
    fn of(wanted: &'a DataVersion) -> Self {
        Self { version: &wanted.version, protocol: wanted.protocol.as_deref() }
    }

    fn marked(mark: &'a Marker) -> Self {
        Self { version: &mark.version, protocol: mark.protocol.as_deref() }
    }

    /// Whether a program of this level must not have data of that one.
    fn is_barred(self, product: DataProduct, data: Level<'_>) -> bool {
        is_older(product, self.version, data.version) || self.lowers_protocol(product, data).is_some()
    }

    /// The protocol asked for and the one of the data, where that would go down.
    fn lowers_protocol<'b>(self, product: DataProduct, data: Level<'b>) -> Option<(&'a str, &'b str)> {
        self.protocol.zip(data.protocol).filter(|(asked, newest)| is_older(product, asked, newest))
    }
}

/// Whether it matters what the directory holds: this program would bar the way back to the one that is marked, or is the way back.
fn needs_imprint(wanted: &DataVersion, mark: &Marker) -> bool {
    let (program, data) = (Level::of(wanted), Level::marked(mark));
    let is_back = mark.before.is_some() && program.is_barred(wanted.product, data);
    mark.product == word(wanted.product) && (is_back || data.is_barred(wanted.product, program))
}

/// Whether this program may have the data; the marker to write before it starts, none when the one there is right.
pub fn judge_version(wanted: &DataVersion, seen: &Seen) -> Result<Option<Marker>, Failure> {
    let name = word(wanted.product);
    let dir = wanted.data_dir.display();
    let found = seen.mark.as_ref();
    if let Some(found) = found.filter(|f| f.product != name) {
        return Err(Failure {
            cause: Cause::WrongIdentity,
            what: format!("the data directory {dir} is marked as {}'s ({MARKER} in it), not {name}'s", found.product),
            remedy: "give each node its own data directory back".into(),
        });
    }
    let program = Level::of(wanted);
    // What a newer program was started for and has not begun has not happened.
    let before = found.and_then(|f| f.before.as_ref());
    let untouched = before.filter(|before| seen.imprint.as_ref() == Some(&before.imprint));
    let data = match untouched {
        Some(before) => Some(Level { version: &before.version, protocol: before.protocol.as_deref() }),
        None => found.map(Level::marked),
    };
    let recorded = data.map(|d| d.version);
    for (by, newest) in [("its mark says", recorded), ("the server's own upgrade history says", seen.left.as_deref())] {
        if let Some(newest) = newest.filter(|newest| is_older(wanted.product, &wanted.version, newest)) {
            return Err(Failure {
                cause: Cause::NewerData,
                what: format!(
                    "the data in {dir} was written by {name} {newest} ({by}), and this is {name} {}: an older program would \
                     damage it or refuse it",
                    wanted.version
                ),
                remedy: match wanted.product {
                    DataProduct::Mysql => format!(
                        "run MySQL {newest} or newer again, or restore its data from a snapshot made with {} or older, or make a new data \
                         directory with this version and load a dump into it",
                        wanted.version
                    ),
                    DataProduct::Kafka | DataProduct::Zookeeper => format!(
                        "run {name} {newest} or newer again, or restore ZooKeeper's and the brokers' data from a snapshot made \
                         with {} or older",
                        wanted.version
                    ),
                },
            });
        }
    }
    if let Some((asked, newest)) = data.and_then(|data| program.lowers_protocol(wanted.product, data)) {
        return Err(Failure {
            cause: Cause::NewerData,
            what: format!(
                "the data in {dir} was written with inter.broker.protocol.version {newest}, and {asked} is set now: it can be \
                 raised, not lowered"
            ),
            remedy: format!("set inter.broker.protocol.version to {newest} or newer, or leave it out"),
        });
    }
    let newest = |old: Option<&str>, new: &str| match old {
        Some(old) if numbers(old) > numbers(new) => old.to_owned(),
        Some(_) | None => new.to_owned(),
    };
    let kept = |data: Level<'_>, imprint: &String| Before {
        version: data.version.to_owned(),
        protocol: data.protocol.map(str::to_owned),
        imprint: imprint.clone(),
    };
    let marker = Marker {
        schema: 1,
        product: name.to_owned(),
        version: newest(recorded, &wanted.version),
        protocol: program.protocol.map(|new| newest(data.and_then(|d| d.protocol), new)),
        before: match data {
            Some(data) if data.is_barred(wanted.product, program) => seen.imprint.as_ref().map(|it| kept(data, it)),
            // The way back was taken.
            Some(_) if untouched.is_some() => None,
            // The newer program once more, or a patch of it: it is still the way back from the first.
            Some(_) | None => before.cloned(),
        },
    };
    Ok((found != Some(&marker)).then_some(marker))
}

/// What is lost with the start of this program, where it bars the way back; none: nothing, or it has had the data already.
pub fn bars_the_way_back(wanted: &DataVersion, seen: &Seen) -> Option<String> {
    let (program, mark) = (Level::of(wanted), seen.mark.as_ref()?);
    let data = Level::marked(mark);
    let name = word(wanted.product);
    if mark.product != name || !data.is_barred(wanted.product, program) {
        return None;
    }
    let (from, to) = match data.lowers_protocol(wanted.product, program) {
        Some((from, to)) if !is_older(wanted.product, data.version, program.version) => {
            (format!("inter.broker.protocol.version {from}"), to.to_owned())
        }
        Some(_) | None => (format!("{name} {}", data.version), program.version.to_owned()),
    };
    Some(format!(
        "its data are of {from}, and once {to} has written to them only a snapshot that was made before leads back \
         (`cdc-supervisor snapshot create`)"
    ))
}

/// `8.0.46-0ubuntu0.24.04.3` is 8, 0, 46; what follows the digits of the third part is the packager's.
fn numbers(version: &str) -> Vec<u32> {
    let parts = version.split(['-', '+', '~']).next().unwrap_or_default().split('.').take(3);
    parts.map_while(|part| part.parse().ok()).collect()
}

/// Whether a program of version `program` must not have data of `newest`. A patch release of Kafka and ZooKeeper changes no
/// format; MySQL 8.0 refuses even an older patch release, later series take one of their own.
fn is_older(product: DataProduct, program: &str, newest: &str) -> bool {
    let (program, newest) = (numbers(program), numbers(newest));
    if program.len() < 2 || newest.len() < 2 {
        // A version that says nothing refuses nothing.
        return false;
    }
    let places = match product {
        DataProduct::Zookeeper | DataProduct::Kafka => 2,
        DataProduct::Mysql if program[..2] == [8, 0] => 3,
        DataProduct::Mysql => 2,
    };
    program.iter().take(places).lt(newest.iter().take(places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_version_1_is_read_and_written_with_all_that_it_said() {
        let golden = include_str!("../../../tests/golden/v1/marker.json");
        let mark: Marker = serde_json::from_str(golden).unwrap();
        assert_eq!(
            (mark.product.as_str(), mark.version.as_str(), mark.protocol.as_deref()),
            ("kafka", "3.9.2", Some("3.5"))
        );
        assert_eq!(mark.before.as_ref().unwrap().version, "3.5.2");
        assert_eq!(serde_json::to_string_pretty(&mark).unwrap(), golden.trim_end());
    }

    fn wanted(product: DataProduct, version: &str, protocol: Option<&str>) -> DataVersion {
        DataVersion { product, version: version.into(), protocol: protocol.map(str::to_owned), data_dir: "/d".into() }
    }

    fn marker(product: &str, version: &str, protocol: Option<&str>) -> Marker {
        Marker {
            schema: 1,
            product: product.into(),
            version: version.into(),
            protocol: protocol.map(str::to_owned),
            before: None,
        }
    }

    fn seen(mark: Option<&Marker>, imprint: Option<&str>) -> Seen {
        Seen { mark: mark.cloned(), imprint: imprint.map(str::to_owned), ..Seen::default() }
    }

    #[test]
    fn an_older_program_is_refused_and_a_newer_one_marks_the_data() {
        let cases = [
            (DataProduct::Zookeeper, "3.6.4", "3.8.3", true),
            (DataProduct::Zookeeper, "3.8.3", "3.6.4", false),
            (DataProduct::Zookeeper, "3.6.3", "3.6.4", false),
            (DataProduct::Kafka, "3.5.2", "3.6.0", true),
            (DataProduct::Kafka, "3.5.1", "3.5.2", false),
            (DataProduct::Mysql, "8.4.11", "9.7.4", true),
            (DataProduct::Mysql, "8.0.45", "8.0.46-0ubuntu0.24.04.3", true),
            (DataProduct::Mysql, "9.7.3", "9.7.4-2", false),
            (DataProduct::Mysql, "10.1.0", "9.7.4", false),
            (DataProduct::Kafka, "unknown", "3.5.2", false),
        ];
        for (product, program, newest, refused) in cases {
            let found = marker(word(product), newest, None);
            let got = judge_version(&wanted(product, program, None), &seen(Some(&found), None));
            match got {
                Err(failure) => {
                    assert!(refused, "{product:?} {program} after {newest}");
                    assert_eq!(failure.cause, Cause::NewerData);
                    assert!(failure.what.contains(newest) && failure.what.contains("/d"), "{failure:?}");
                }
                Ok(_) => assert!(!refused, "{product:?} {program} after {newest}"),
            }
        }
    }

    #[test]
    fn the_mark_is_written_once_and_only_goes_up() {
        let first =
            judge_version(&wanted(DataProduct::Kafka, "3.5.2", Some("3.5")), &Seen::default()).unwrap().unwrap();
        assert_eq!(first, marker("Kafka", "3.5.2", Some("3.5")));
        let kafka = |version, protocol| {
            judge_version(&wanted(DataProduct::Kafka, version, protocol), &seen(Some(&first), None))
        };
        assert_eq!(kafka("3.5.2", Some("3.5")).unwrap(), None);
        assert_eq!(kafka("3.5.1", Some("3.5")).unwrap(), None, "an older patch takes nothing back");
        assert_eq!(kafka("3.6.0", Some("3.6")).unwrap().unwrap(), marker("Kafka", "3.6.0", Some("3.6")));
        let failure = kafka("3.6.0", Some("3.4")).unwrap_err();
        assert!(failure.what.contains("inter.broker.protocol.version 3.5"), "{failure:?}");
    }

    #[test]
    fn what_the_server_itself_left_counts_too() {
        let left = Seen { left: Some("9.7.4-2".into()), ..Seen::default() };
        let failure = judge_version(&wanted(DataProduct::Mysql, "8.4.11", None), &left).unwrap_err();
        assert!(failure.what.contains("MySQL 9.7.4-2 (the server's own upgrade history says)"), "{failure:?}");
        assert!(judge_version(&wanted(DataProduct::Mysql, "9.7.4", None), &left).is_ok());
    }

    #[test]
    fn a_directory_of_another_product_is_refused() {
        let found = marker("ZooKeeper", "3.6.4", None);
        let failure = judge_version(&wanted(DataProduct::Mysql, "9.7.4", None), &seen(Some(&found), None)).unwrap_err();
        assert_eq!(failure.cause, Cause::WrongIdentity);
    }

    #[test]
    fn the_file_reads_what_a_later_version_adds() {
        let text = r#"{"schema":2,"product":"Kafka","version":"3.5.2","mood":1}"#;
        assert_eq!(serde_json::from_str::<Marker>(text).unwrap().version, "3.5.2");
    }

    /// The mark after a start of this program beside data with this imprint.
    fn started(mark: &Marker, version: &str, imprint: &str) -> Result<Marker, Failure> {
        let program = wanted(DataProduct::Mysql, version, None);
        assert!(!needs_imprint(&program, mark) || !imprint.is_empty(), "{version} on {mark:?}");
        let imprint = Some(imprint).filter(|_| needs_imprint(&program, mark));
        Ok(judge_version(&program, &seen(Some(mark), imprint))?.unwrap_or_else(|| mark.clone()))
    }

    #[test]
    fn a_newer_program_that_has_written_nothing_raised_nothing() {
        let old = marker("MySQL", "8.4.11", None);
        let raised = started(&old, "9.7.4", "A").unwrap();
        let before = Before { version: "8.4.11".into(), protocol: None, imprint: "A".into() };
        assert_eq!((raised.version.as_str(), raised.before.as_ref()), ("9.7.4", Some(&before)));
        assert_eq!(started(&raised, "8.4.11", "A").unwrap(), old, "untouched: as if it had never been");
        assert_eq!(started(&raised, "8.4.11", "B").unwrap_err().cause, Cause::NewerData, "it has written");
        assert_eq!(started(&raised, "8.0.46", "A").unwrap_err().cause, Cause::NewerData, "older than both");
        // Another try of it, and a patch of it, leave the way back from the first; a newer one that comes behind a write does not.
        assert_eq!(started(&raised, "9.7.4", "").unwrap(), raised);
        let patched = started(&raised, "9.7.5", "").unwrap();
        assert_eq!((patched.version.as_str(), patched.before.as_ref()), ("9.7.5", Some(&before)));
        assert_eq!(started(&patched, "8.4.11", "A").unwrap(), old);
        let twice = started(&raised, "10.1.0", "A").unwrap();
        assert_eq!((twice.version.as_str(), twice.before.as_ref()), ("10.1.0", Some(&before)), "neither has written");
        let behind = started(&raised, "10.1.0", "B").unwrap();
        assert_eq!(behind.before.unwrap(), Before { version: "9.7.4".into(), imprint: "B".into(), ..before });
    }

    #[test]
    fn without_an_imprint_the_way_back_is_barred() {
        let old = marker("MySQL", "8.4.11", None);
        let program = wanted(DataProduct::Mysql, "9.7.4", None);
        let raised = judge_version(&program, &seen(Some(&old), None)).unwrap().unwrap();
        assert_eq!(raised.before, None);
        let raised = started(&old, "9.7.4", "A").unwrap();
        assert!(judge_version(&wanted(DataProduct::Mysql, "8.4.11", None), &seen(Some(&raised), None)).is_err());
        // What the server itself has written holds against every imprint.
        let left = Seen { left: Some("9.7.4-2".into()), ..seen(Some(&raised), Some("A")) };
        assert!(judge_version(&wanted(DataProduct::Mysql, "8.4.11", None), &left).is_err());
    }

    #[test]
    fn an_imprint_is_taken_only_where_it_decides() {
        let kafka = |version: &str, protocol| wanted(DataProduct::Kafka, version, protocol);
        let mark = marker("Kafka", "3.5.2", Some("3.5"));
        for (version, protocol, needed) in [
            ("3.5.2", "3.5", false),
            ("3.5.3", "3.5", false),
            ("3.6.0", "3.5", true),
            ("3.5.2", "3.6", true),
            // refused, and nothing is known that could allow it
            ("3.4.0", "3.4", false),
        ] {
            assert_eq!(needs_imprint(&kafka(version, Some(protocol)), &mark), needed, "{version} {protocol}");
        }
        let raised = judge_version(&kafka("3.5.2", Some("3.6")), &seen(Some(&mark), Some("A"))).unwrap().unwrap();
        let back = judge_version(&kafka("3.5.2", Some("3.5")), &seen(Some(&raised), Some("A"))).unwrap();
        assert_eq!(back, Some(mark));
        assert!(!needs_imprint(&wanted(DataProduct::Mysql, "9.7.4", None), &raised), "of another product");
    }

    #[test]
    fn what_bars_the_way_back_is_said() {
        let mark = marker("MySQL", "8.4.11", None);
        let said = bars_the_way_back(&wanted(DataProduct::Mysql, "9.7.4", None), &seen(Some(&mark), None)).unwrap();
        assert!(said.contains("of MySQL 8.4.11, and once 9.7.4 has written"), "{said}");
        for version in ["8.4.12", "8.4.11", "8.0.46"] {
            assert_eq!(bars_the_way_back(&wanted(DataProduct::Mysql, version, None), &seen(Some(&mark), None)), None);
        }
        let mark = marker("Kafka", "3.5.2", Some("3.4"));
        let said = bars_the_way_back(&wanted(DataProduct::Kafka, "3.5.2", Some("3.5")), &seen(Some(&mark), None));
        assert!(said.unwrap().contains("of inter.broker.protocol.version 3.4, and once 3.5 has"));
        assert_eq!(bars_the_way_back(&wanted(DataProduct::Mysql, "9.7.4", None), &Seen::default()), None);
    }

    #[test]
    fn a_directory_is_looked_at_file_by_file() {
        let texts = |path: &Path| -> Result<Option<String>, ()> {
            Ok(match path.file_name().and_then(|n| n.to_str()) {
                Some(MARKER) => Some(serde_json::to_string(&marker("MySQL", "8.4.11", None)).unwrap()),
                Some(MYSQL_HISTORY) => Some(r#"{"upgrade_history":[{"version":"8.4.11"}]}"#.into()),
                _ => None,
            })
        };
        let found = look(&wanted(DataProduct::Mysql, "9.7.4", None), texts, |_| Some("A".into())).unwrap();
        assert_eq!((found.left.as_deref(), found.imprint.as_deref(), found.torn), (Some("8.4.11"), Some("A"), None));
        let same = look(&wanted(DataProduct::Mysql, "8.4.11", None), texts, |_| panic!("it decides nothing")).unwrap();
        assert_eq!(same.imprint, None);
        let torn = |_: &Path| -> Result<Option<String>, ()> { Ok(Some("{".into())) };
        let found = look(&wanted(DataProduct::Kafka, "3.5.2", None), torn, |_| None).unwrap();
        assert!(found.mark.is_none() && found.torn.is_some());
        assert_eq!(look(&wanted(DataProduct::Kafka, "3.5.2", None), |_| Err("no"), |_| None), Err("no"));
    }
}
