//! Source: a Java runtime from the packages of the host's own release, kept in the store; only when the host has none.
//!
//! It is run by the host's loader and libc: the package is made for exactly this release, `java` finds its own libraries
//! through `$ORIGIN`, and what else the virtual machine needs (libstdc++, libgcc_s, libz) is there wherever apt is (tried
//! on Debian 12 with openjdk-17 from a private root). The packages it depends on serve fonts, images and smart cards.

use super::{
    ArtifactError, Host, Part, Progress, Settings, Step,
    apt::{self, AptRoot, Helper, unpack},
    java, jre_archive,
    lockfile::{JavaRecord, TreeRecord},
    manifest,
    settings::Origin,
    store::{Store, Work},
    vendor::{Fetcher, Got},
};
use crate::sys::{clock, command::Cancel, error::SysError, fs as sysfs};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest time to make the class-data archive of the runtime itself; 2 s here.
const DUMP_LIMIT: Duration = Duration::from_secs(180);

/// Fetches a runtime of an accepted release from the first source that has one.
pub fn fetch_any(fetcher: &Fetcher<'_>, before: Option<Origin>) -> Result<(JavaRecord, Option<Got>), ArtifactError> {
    let mut failures = Vec::new();
    let order = fetcher.settings.order(before);
    for (i, origin) in order.iter().enumerate() {
        match origin {
            Origin::File | Origin::Vendor => {
                if let Some((record, got)) = jre_archive::fetch(fetcher, *origin, &mut failures)? {
                    return Ok((record, Some(got)));
                }
            }
            Origin::Packages => match fetch(fetcher.store, fetcher.settings, fetcher.progress, fetcher.cancel) {
                Ok(record) => return Ok((record, None)),
                Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
                Err(e) => failures.push(("packages".into(), e)),
            },
        }
        if i + 1 < order.len() {
            fetcher.next_source(Part::Java, &failures);
        }
    }
    Err(ArtifactError::of_sources(Part::Java, failures))
}

/// Fetches a runtime of an accepted release.
fn fetch(
    store: &Store,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<JavaRecord, ArtifactError> {
    let work = store.work("java")?;
    let mut failures = Vec::new();
    for archive in apt::host_archives(&settings.host, &work, cancel)? {
        let Some(first) = archive.suites.first() else { continue };
        let source = format!("{} {}", first.uri, first.name);
        progress.step(&Step::Begin {
            what: Part::Java,
            detail: format!("java from the distribution's packages ({})", first.name),
        });
        let root = match AptRoot::make(&settings.host, &work, &archive, &archive.suites, cancel) {
            Ok(root) => root,
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => {
                failures.push((source, e));
                continue;
            }
        };
        for major in java::ACCEPTED {
            let package = format!("openjdk-{major}-jre-headless");
            match root.download_one(&package, Part::Java, progress, cancel) {
                Ok(packages) => {
                    let files = packages.iter().map(|(path, _)| path.as_path());
                    let unpacked = unpack::unpack(&settings.host, &work, "unpacked", files, cancel)?;
                    let packages = packages.iter().map(|(_, p)| p.clone()).collect();
                    let record = install(store, settings, &work, &unpacked, source, cancel)?;
                    return Ok(JavaRecord { packages, ..record });
                }
                Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
                Err(e) => failures.push((format!("{package} of {source}"), e)),
            }
        }
    }
    Err(ArtifactError::of_sources(Part::Java, failures))
}

fn install(
    store: &Store,
    settings: &Settings,
    work: &Work,
    unpacked: &Path,
    source: String,
    cancel: &Cancel,
) -> Result<JavaRecord, ArtifactError> {
    let tree = work.path().join("kept");
    sysfs::make_dir(&tree, 0o755)?;
    let home = home(unpacked)?;
    unpack::take(unpacked, &tree, &home)?;
    // The runtime's configuration is a forest of links into /etc/java-NN-openjdk, by now relative.
    for entry in manifest::entries(&unpacked.join("etc"))? {
        unpack::take(unpacked, &tree, &Path::new("etc").join(entry.file_name()))?;
    }
    dump_classes(&settings.host, work, &tree.join(&home), cancel)?;
    let judge = |home: &Path| -> Result<java::Checked, ArtifactError> {
        let program = home.join("bin/java");
        java::check(&program, cancel)?.and_then(java::accept).map_err(|why| ArtifactError::NoJava {
            found: vec![super::FoundJava { place: program, by: source.clone(), why }],
        })
    };
    let name = format!("java-{}", plain_version(&judge(&tree.join(&home))?.version));
    let stored = store.install(&tree, &name)?;
    let checked = judge(&store.directory().join(&stored.directory).join(&home))?;
    let mut record = checked.record(settings.java_home.as_deref());
    record.tree = Some(TreeRecord::new(stored, source, clock::wall()));
    Ok(record)
}

/// The one directory below `usr/lib/jvm` with a runtime, relative to the tree.
fn home(tree: &Path) -> Result<PathBuf, ArtifactError> {
    let jvm = Path::new("usr/lib/jvm");
    let list = manifest::entries(&tree.join(jvm))?;
    list.iter()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()) && e.path().join("lib/modules").is_file())
        .map(|e| jvm.join(e.file_name()))
        .next()
        .ok_or_else(|| ArtifactError::Tree {
            what: "the Java package".into(),
            lacks: "a runtime in usr/lib/jvm".into(),
        })
}

/// Makes `lib/server/classes.jsa`, which the package makes when it is installed; without it no class-data archive of ours
/// can be made on top. It stays valid when the tree is renamed (tried: `-Xshare:on` afterwards).
pub fn dump_classes(host: &Host, work: &Work, home: &Path, cancel: &Cancel) -> Result<(), ArtifactError> {
    let program = home.join("bin/java");
    let java = Helper { name: "java", program: &program, env: host.helper_environment(work.path()), dir: work.path() };
    java.run(&["-Xshare:dump"], "make the runtime's class-data archive", DUMP_LIMIT, cancel)?;
    let made = home.join("lib/server/classes.jsa");
    fs::metadata(&made).map_err(|e| SysError::path("find", &made, e))?;
    Ok(())
}

/// `17.0.21.1` of `17.0.21.1+2-1-deb12u1-Debian`: what may stand in a directory name.
pub fn plain_version(version: &str) -> &str {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    &version[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_version_is_the_digits_in_front() {
        assert_eq!(plain_version("17.0.21.1+2-1-deb12u1-Debian"), "17.0.21.1");
        assert_eq!(plain_version("21"), "21");
    }

    #[test]
    fn the_home_is_the_directory_with_the_classes_not_the_links_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let jvm = dir.path().join("usr/lib/jvm");
        fs::create_dir_all(jvm.join("java-17-openjdk-amd64/lib")).unwrap();
        fs::create_dir_all(jvm.join("openjdk-17")).unwrap();
        std::os::unix::fs::symlink("java-17-openjdk-amd64", jvm.join("java-1.17.0-openjdk-amd64")).unwrap();
        assert!(home(dir.path()).is_err());
        fs::write(jvm.join("java-17-openjdk-amd64/lib/modules"), "").unwrap();
        assert_eq!(home(dir.path()).unwrap(), Path::new("usr/lib/jvm/java-17-openjdk-amd64"));
    }
}
