//! An older program never gets data that a newer one has written: each data directory carries the newest version in a file.

use crate::base::{
    Cause,
    outcome::Failure,
    recipe::{DataProduct, DataVersion},
};
use serde::{Deserialize, Serialize};

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
}

fn word(product: DataProduct) -> &'static str {
    match product {
        DataProduct::Zookeeper => "ZooKeeper",
        DataProduct::Kafka => "Kafka",
        DataProduct::Mysql => "MySQL",
    }
}

/// Whether this program may have the data; the marker to write before it starts, none when the one there is right.
/// `left` is the version that the product itself has left in the directory, where it leaves one.
pub fn judge_version(
    wanted: &DataVersion,
    found: Option<&Marker>,
    left: Option<&str>,
) -> Result<Option<Marker>, Failure> {
    let name = word(wanted.product);
    let dir = wanted.data_dir.display();
    if let Some(found) = found.filter(|f| f.product != name) {
        return Err(Failure {
            cause: Cause::WrongIdentity,
            what: format!("the data directory {dir} is marked as {}'s ({MARKER} in it), not {name}'s", found.product),
            remedy: "give each node its own data directory back".into(),
        });
    }
    let recorded = found.map(|f| f.version.as_str());
    for (by, newest) in [("its mark says", recorded), ("the server's own upgrade history says", left)] {
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
                        "run MySQL {newest} or newer again, or make a new data directory with this version and load a dump into it"
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
    let protocol = found.and_then(|f| f.protocol.as_deref());
    if let (Some(asked), Some(newest)) = (wanted.protocol.as_deref(), protocol)
        && is_older(wanted.product, asked, newest)
    {
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
    let marker = Marker {
        schema: 1,
        product: name.to_owned(),
        version: newest(recorded, &wanted.version),
        protocol: wanted.protocol.as_deref().map(|new| newest(protocol, new)),
    };
    Ok((found != Some(&marker)).then_some(marker))
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

    fn wanted(product: DataProduct, version: &str, protocol: Option<&str>) -> DataVersion {
        DataVersion { product, version: version.into(), protocol: protocol.map(str::to_owned), data_dir: "/d".into() }
    }

    fn marker(product: &str, version: &str, protocol: Option<&str>) -> Marker {
        Marker { schema: 1, product: product.into(), version: version.into(), protocol: protocol.map(str::to_owned) }
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
            let got = judge_version(&wanted(product, program, None), Some(&found), None);
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
        let first = judge_version(&wanted(DataProduct::Kafka, "3.5.2", Some("3.5")), None, None).unwrap().unwrap();
        assert_eq!(first, marker("Kafka", "3.5.2", Some("3.5")));
        let kafka =
            |version, protocol| judge_version(&wanted(DataProduct::Kafka, version, protocol), Some(&first), None);
        assert_eq!(kafka("3.5.2", Some("3.5")).unwrap(), None);
        assert_eq!(kafka("3.5.1", Some("3.5")).unwrap(), None, "an older patch takes nothing back");
        assert_eq!(kafka("3.6.0", Some("3.6")).unwrap().unwrap(), marker("Kafka", "3.6.0", Some("3.6")));
        let failure = kafka("3.6.0", Some("3.4")).unwrap_err();
        assert!(failure.what.contains("inter.broker.protocol.version 3.5"), "{failure:?}");
    }

    #[test]
    fn what_the_server_itself_left_counts_too() {
        let failure = judge_version(&wanted(DataProduct::Mysql, "8.4.11", None), None, Some("9.7.4-2")).unwrap_err();
        assert!(failure.what.contains("MySQL 9.7.4-2 (the server's own upgrade history says)"), "{failure:?}");
        assert!(judge_version(&wanted(DataProduct::Mysql, "9.7.4", None), None, Some("9.7.4-2")).is_ok());
    }

    #[test]
    fn a_directory_of_another_product_is_refused() {
        let found = marker("ZooKeeper", "3.6.4", None);
        let failure = judge_version(&wanted(DataProduct::Mysql, "9.7.4", None), Some(&found), None).unwrap_err();
        assert_eq!(failure.cause, Cause::WrongIdentity);
    }

    #[test]
    fn the_file_reads_what_a_later_version_adds() {
        let text = r#"{"schema":2,"product":"Kafka","version":"3.5.2","mood":1}"#;
        assert_eq!(serde_json::from_str::<Marker>(text).unwrap().version, "3.5.2");
    }
}
