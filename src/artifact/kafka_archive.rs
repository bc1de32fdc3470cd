//! Kafka as vendors pack it: which files of an archive are kept, and the class path of what was unpacked.

use super::{ArtifactError, archive::Keep, catalog::Shape, manifest};
use std::path::{Path, PathBuf};

/// Kafka's own jars and what runs them, as a tree of the store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jars {
    /// The version in the name of `zookeeper-*.jar`.
    pub zookeeper_version: String,
    /// The class path in its order, relative to the tree.
    pub class_path: Vec<PathBuf>,
}

/// Where an archive of this shape has its jars.
fn directory(shape: Shape) -> Option<&'static Path> {
    match shape {
        // bin/kafka-run-class.sh puts `libs/*` on the class path (apache/kafka@3.5.2).
        Shape::ApacheKafka => Some(Path::new("libs")),
        // The same script of Confluent's takes `share/java/kafka/*` (confluentinc/kafka@v7.5.3).
        Shape::Confluent => Some(Path::new("share/java/kafka")),
        Shape::Mysql | Shape::Java | Shape::Jar => None,
    }
}

/// Jars of the class path and the licences. Scripts, documentation and settings stay in the archive: Java is started directly.
pub fn selection(shape: Shape) -> impl Fn(&Path) -> Keep + Sync {
    move |path: &Path| {
        let jar = path.extension().is_some_and(|e| e == "jar") && path.parent() == directory(shape);
        // Sources and documentation of jars are no part of a class path.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let about = ["-javadoc.jar", "-sources.jar", "-scaladoc.jar"].iter().any(|end| name.ends_with(end));
        let licence = path.components().count() == 1 && ["LICENSE", "NOTICE"].iter().any(|n| name.starts_with(n));
        if (jar && !about) || licence { Keep::Yes } else { Keep::No }
    }
}

/// What was unpacked, when it is a Kafka with its ZooKeeper.
pub fn jars(tree: &Path, shape: Shape, what: &str) -> Result<Jars, ArtifactError> {
    let lacks = |lacks: &str| ArtifactError::Tree { what: what.to_owned(), lacks: lacks.to_owned() };
    let place = directory(shape).ok_or_else(|| lacks("a place for jars"))?;
    if !tree.join(place).is_dir() {
        return Err(lacks(&place.display().to_string()));
    }
    let names: Vec<String> = manifest::entries(&tree.join(place))?
        .iter()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".jar"))
        .collect();
    let version = |prefix: &str| {
        let rest = names.iter().filter_map(|n| n.strip_prefix(prefix)?.strip_suffix(".jar"));
        rest.into_iter().find(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
    };
    for needed in ["kafka_2.13-", "kafka-clients-", "scala-library-"] {
        version(needed).ok_or_else(|| lacks(&format!("{}/{needed}VERSION.jar", place.display())))?;
    }
    let zookeeper_version =
        version("zookeeper-").ok_or_else(|| lacks(&format!("{}/zookeeper-VERSION.jar", place.display())))?;
    Ok(Jars { zookeeper_version, class_path: names.iter().map(|n| place.join(n)).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn both_layouts_have_a_sorted_class_path_and_the_version_of_their_zookeeper() {
        for (shape, place, zookeeper) in
            [(Shape::ApacheKafka, "libs", "3.6.4"), (Shape::Confluent, "share/java/kafka", "3.8.3")]
        {
            let dir = tempfile::tempdir().unwrap();
            let e = jars(dir.path(), shape, "the archive").unwrap_err().to_string();
            assert_eq!(e, format!("the archive lacks {place}"));
            fs::create_dir_all(dir.path().join(place)).unwrap();
            for name in ["kafka_2.13-3.5.2.jar", "kafka-clients-3.5.2.jar", "scala-library-2.13.10.jar", "readme"] {
                fs::write(dir.path().join(place).join(name), "").unwrap();
            }
            fs::write(dir.path().join(place).join("zookeeper-jute-1.jar"), "").unwrap();
            let e = jars(dir.path(), shape, "the archive").unwrap_err().to_string();
            assert_eq!(e, format!("the archive lacks {place}/zookeeper-VERSION.jar"));
            fs::write(dir.path().join(place).join(format!("zookeeper-{zookeeper}.jar")), "").unwrap();
            let found = jars(dir.path(), shape, "the archive").unwrap();
            assert_eq!((found.zookeeper_version.as_str(), found.class_path.len()), (zookeeper, 5));
            assert!(found.class_path.is_sorted());
        }
    }

    #[test]
    fn only_the_class_path_and_licences_are_kept() {
        let apache = selection(Shape::ApacheKafka);
        for kept in ["libs/a.jar", "LICENSE", "NOTICE"] {
            assert_eq!(apache(Path::new(kept)), Keep::Yes, "{kept}");
        }
        for left in [
            "bin/kafka-server-start.sh",
            "libs/a-sources.jar",
            "site-docs/a.tgz",
            "libs/x/a.jar",
            "libs/a.sh",
            "x/LICENSE",
        ] {
            assert_eq!(apache(Path::new(left)), Keep::No, "{left}");
        }
        let confluent = selection(Shape::Confluent);
        assert_eq!(confluent(Path::new("share/java/kafka/a.jar")), Keep::Yes);
        assert_eq!(confluent(Path::new("share/java/schema-registry/a.jar")), Keep::No);
    }
}
