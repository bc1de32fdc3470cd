//! Bundles made, carried, damaged and forged.

use super::*;
use crate::{
    artifact::{
        Settings, Silent, Wanted,
        lockfile::{KafkaRecord, MysqlRecord, MysqlShape, TreeRecord},
        manifest,
        store::Store,
        survey,
    },
    base::Timestamp,
    sys::{command::Cancel, host},
};
use flate2::{Compression, write::GzEncoder};
use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

const WANTED: Wanted = Wanted { java: false, kafka: true, mysql: true, kafka_ui: false };

fn settings(store: &Path) -> Settings {
    let mut settings = Settings::new(store);
    settings.kafka_choice = "confluent-7.5.3".into();
    settings
}

/// A store with a Kafka and a MySQL of a few bytes.
fn filled(dir: &Path) -> Settings {
    let settings = settings(&dir.join("store"));
    let store = Store::take(&settings.store, &Silent, &Cancel::default()).unwrap();
    let work = store.work("w").unwrap();
    let kafka = work.sub("kafka").unwrap();
    fs::create_dir_all(kafka.join("share/java/kafka")).unwrap();
    fs::write(kafka.join("share/java/kafka/a.jar"), "jar").unwrap();
    let kafka = store.install(&kafka, "kafka-confluent-7.5.3").unwrap();
    let mysql = work.sub("mysql").unwrap();
    for directory in ["bin", "lib/private", "share/charsets", "lib/plugin"] {
        fs::create_dir_all(mysql.join(directory)).unwrap();
    }
    fs::write(mysql.join("bin/mysqld"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(mysql.join("bin/mysqld"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(mysql.join("lib/private/libx.so.1.2"), [7; 4000]).unwrap();
    symlink("libx.so.1.2", mysql.join("lib/private/libx.so.1")).unwrap();
    symlink("/etc/ssl/certs/java/cacerts", mysql.join("lib/cacerts")).unwrap();
    fs::write(mysql.join("share/charsets/Index.xml"), "x").unwrap();
    let long = format!("share/{}", "very-long-directory-name/".repeat(8));
    fs::create_dir_all(mysql.join(&long)).unwrap();
    fs::write(mysql.join(&long).join("f"), "long").unwrap();
    let mysql = store.install(&mysql, "mysql-8.0.46").unwrap();
    let tree = |stored| TreeRecord::new(stored, "a test".into(), Timestamp(0));
    let mut record = LockFile::default();
    record.kafka = Some(KafkaRecord {
        version: "3.5.2".into(),
        zookeeper_version: "3.8.3".into(),
        tree: tree(kafka),
        class_path: vec!["share/java/kafka/a.jar".into()],
        choice: Some("confluent-7.5.3".into()),
        archive: None,
    });
    record.mysql = Some(MysqlRecord {
        version: "8.0.46".into(),
        tree: tree(mysql),
        shape: MysqlShape {
            loader: None,
            libraries: vec!["lib/private".into()],
            mysqld: "bin/mysqld".into(),
            messages: "share".into(),
            character_sets: "share/charsets".into(),
            plugins: "lib/plugin".into(),
        },
        packages: Vec::new(),
        archive: None,
    });
    record.write(&settings.store).unwrap();
    settings
}

fn put(bundle: &Path, into: &Settings) -> Result<Contents, BundleError> {
    let into = Settings { accept_unpinned: true, ..into.clone() };
    install(bundle, None, &into, &Silent, &Cancel::default())
}

fn made(dir: &Path) -> (PathBuf, Contents) {
    let bundle = dir.join("b.bundle");
    let done = create(&bundle, WANTED, &filled(dir), &Cancel::default()).unwrap();
    (bundle, done)
}

/// What a refused bundle leaves: nothing.
fn is_empty(store: &Path) -> bool {
    fs::read_dir(store).into_iter().flatten().all(|e| e.unwrap().file_name() == "lock")
}

#[test]
fn what_was_bundled_is_installed_elsewhere_with_bits_links_and_records() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, done) = made(dir.path());
    assert_eq!(done.sha256, manifest::file_digest(&bundle).unwrap());
    assert_eq!(done.parts.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["kafka 3.5.2", "mysql 8.0.46"]);
    let there = settings(&dir.path().join("there"));
    let seen = verify(&bundle, Some(&done.sha256), &there, &Silent, &Cancel::default()).unwrap();
    assert_eq!((seen.sha256.as_str(), seen.parts), (done.sha256.as_str(), done.parts));
    assert!(!there.store.exists(), "verify makes nothing");
    install(&bundle, Some(&done.sha256.to_uppercase()), &there, &Silent, &Cancel::default()).unwrap();
    let found = survey(WANTED, &there).unwrap();
    assert_eq!(found.missing, []);
    let mysql = found.programs.mysql.unwrap();
    assert!(mysql.mysqld.starts_with(&there.store));
    assert_eq!(fs::metadata(&mysql.mysqld).unwrap().permissions().mode() & 0o777, 0o555);
    let tree = mysql.mysqld.parent().unwrap().parent().unwrap();
    assert_eq!(fs::read(tree.join("lib/private/libx.so.1")).unwrap(), [7; 4000]);
    assert_eq!(fs::read_link(tree.join("lib/cacerts")).unwrap(), Path::new("/etc/ssl/certs/java/cacerts"));
    let record = LockFile::read(&there.store).unwrap();
    assert_eq!(record.mysql.unwrap().tree.source, "a test, in b.bundle");
    // once more: the same, and fine
    put(&bundle, &there).unwrap();
    assert_eq!(LockFile::read(&there.store).unwrap().kafka.unwrap().tree.source, "a test, in b.bundle");
}

#[test]
fn a_look_beside_the_store_of_another_user_leaves_nothing_of_ours_in_it() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !host::is_root_or_skipped("a_look_beside_the_store_of_another_user_leaves_nothing_of_ours_in_it") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (bundle, done) = made(dir.path());
    let there = settings(&dir.path().join("there"));
    let tmp = there.store.join("tmp");
    fs::create_dir_all(tmp.join("theirs")).unwrap();
    for path in [&tmp.join("theirs"), &tmp, &there.store] {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    let before = fs::metadata(&tmp).unwrap();
    verify(&bundle, Some(&done.sha256), &there, &Silent, &Cancel::default()).unwrap();
    let wrong = "0".repeat(64);
    verify(&bundle, Some(&wrong), &there, &Silent, &Cancel::default()).unwrap_err();
    let left: Vec<_> = fs::read_dir(&there.store).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["tmp"], "no lock of root's, which its owner could not open");
    let after = fs::metadata(&tmp).unwrap();
    assert_eq!((after.ino(), after.uid(), after.mode()), (before.ino(), 65534, before.mode()));
    assert!(tmp.join("theirs").is_dir(), "what its owner's run works on is left alone");
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, done) = made(dir.path());
    let again =
        create(&dir.path().join("again"), WANTED, &settings(&dir.path().join("store")), &Cancel::default()).unwrap();
    assert_eq!(again.sha256, done.sha256);
    assert!(bundle.is_file());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no temporary file stays");
}

#[test]
fn a_store_that_lacks_or_has_hurt_something_gives_no_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let settings = filled(dir.path());
    let bundle = dir.path().join("b");
    let mut more = settings.clone();
    more.mysql_choice = Some("9.7.2".into());
    let e = create(&bundle, WANTED, &more, &Cancel::default()).unwrap_err();
    assert!(matches!(&e, BundleError::Lacks(missing) if missing.len() == 1), "{e}");
    assert!(e.hint().unwrap().contains("fetch"));
    let jar = survey(WANTED, &settings).unwrap().programs.kafka.unwrap().class_path.remove(0);
    let time = fs::metadata(&jar).unwrap().modified().unwrap();
    fs::set_permissions(&jar, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&jar, "rat").unwrap();
    fs::File::options().write(true).open(&jar).unwrap().set_modified(time).unwrap();
    assert!(matches!(create(&bundle, WANTED, &settings, &Cancel::default()), Err(BundleError::Lacks(_))));
    assert!(!bundle.exists());
}

#[test]
fn a_bundle_that_is_cut_flipped_or_another_one_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, done) = made(dir.path());
    let bytes = fs::read(&bundle).unwrap();
    let there = settings(&dir.path().join("there"));
    let hurt = dir.path().join("hurt");
    let step = bytes.len() / 40;
    for at in (0..bytes.len()).step_by(step) {
        fs::write(&hurt, &bytes[..at]).unwrap();
        put(&hurt, &there).unwrap_err();
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        fs::write(&hurt, &flipped).unwrap();
        install(&hurt, Some(&done.sha256), &there, &Silent, &Cancel::default()).unwrap_err();
        // Without the digest only a bit that says nothing passes: gzip's time, the rest of deflate's last byte.
        let other = settings(&dir.path().join(format!("other-{at}")));
        if put(&hurt, &other).is_ok() {
            let careful = Settings { verify_all: true, ..other };
            assert_eq!(survey(WANTED, &careful).unwrap().missing, []);
        }
        assert!(!there.store.exists() || is_empty(&there.store), "byte {at}");
    }
    fs::write(&hurt, [&bytes[..], b"more"].concat()).unwrap();
    assert!(matches!(put(&hurt, &there), Err(BundleError::Archive { .. })));
    fs::write(&hurt, "<html>").unwrap();
    assert!(matches!(put(&hurt, &there), Err(BundleError::Foreign(_))));
    let wanted = "0".repeat(64);
    let e = install(&bundle, Some(&wanted), &there, &Silent, &Cancel::default()).unwrap_err();
    assert!(matches!(&e, BundleError::Digest { found, .. } if *found == done.sha256), "{e}");
    assert!(is_empty(&there.store));
}

/// A bundle with another head, and with more entries.
fn forged(dir: &Path, change: impl Fn(&mut Head), more: &[(&str, &[u8])]) -> PathBuf {
    let (bundle, _) = made(dir);
    let (mut head, _) = super::head(&bundle).unwrap();
    change(&mut head);
    let text = toml::to_string(&head).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    add(HEAD, text.as_bytes());
    for (name, bytes) in more {
        add(name, bytes);
    }
    let file = dir.join("forged");
    fs::File::create(&file).unwrap().write_all(&tar.into_inner().unwrap().finish().unwrap()).unwrap();
    file
}

#[test]
fn without_a_digest_a_bundle_is_taken_on_request_only_and_is_trusted_with_nothing_else() {
    use crate::artifact::lockfile::Trusted;
    let dir = tempfile::tempdir().unwrap();
    let there = settings(&dir.path().join("there"));
    let source = filled(dir.path());
    let mut record = LockFile::read(&source.store).unwrap();
    let trusted = Trusted {
        artifact: "kafka-ui".into(),
        sha256: "0".repeat(64),
        bytes: 1,
        source: "a test".into(),
        at: Timestamp(0),
    };
    record.trusted.push(trusted);
    record.write(&source.store).unwrap();
    let bundle = dir.path().join("b.bundle");
    let done = create(&bundle, WANTED, &source, &Cancel::default()).unwrap();
    let e = install(&bundle, None, &there, &Silent, &Cancel::default()).unwrap_err();
    assert!(matches!(e, BundleError::Unproven(_)) && e.hint().unwrap().contains("--sha256 HEX"), "{e}");
    assert!(!there.store.exists());
    put(&bundle, &there).unwrap();
    assert_eq!(LockFile::read(&there.store).unwrap().trusted, []);
    install(&bundle, Some(&done.sha256), &there, &Silent, &Cancel::default()).unwrap();
    let carried = LockFile::read(&there.store).unwrap().trusted.len();
    assert_eq!(carried, head(&bundle).unwrap().0.lock.trusted.len());
}

type Forgery = (&'static str, fn(&mut Head), &'static str);

#[test]
fn a_forged_head_is_refused_by_what_does_not_fit() {
    let forgeries: [Forgery; 9] = [
        ("a tree outside", |h| h.trees[0].directory = "../x".into(), "is no name of a tree"),
        ("a hidden tree", |h| h.trees[0].directory = ".tmp".into(), "is no name of a tree"),
        ("no such tree", |h| drop(h.trees.remove(0)), "which it does not have"),
        (
            "a class path outside",
            |h| h.lock.kafka.as_mut().unwrap().class_path = vec!["../../evil.jar".into()],
            "class path names",
        ),
        (
            "a server outside",
            |h| h.lock.mysql.as_mut().unwrap().shape.mysqld = "/bin/sh".into(),
            "has a part at /bin/sh",
        ),
        (
            "jars that are not the pinned ones",
            |h| {
                let kafka = h.lock.kafka.as_mut().unwrap();
                (kafka.class_path, kafka.choice) = (Vec::new(), None);
            },
            "not the one whose jars are pinned",
        ),
        (
            "a class path in the place of the pins",
            |h| h.lock.kafka.as_mut().unwrap().choice = None,
            "not the one whose jars are pinned",
        ),
        (
            "an archive that is not the pinned one",
            |h| {
                h.lock.kafka.as_mut().unwrap().archive = Some(crate::artifact::lockfile::ArchiveRecord {
                    artifact: "kafka-apache-3.5.2".into(),
                    sha256: "0".repeat(64),
                    bytes: 1,
                    origin: crate::artifact::Origin::File,
                });
            },
            "pinned is bc1af2c4",
        ),
        ("trees that are not there", |_| (), "it announces"),
    ];
    for (what, change, words) in forgeries {
        let dir = tempfile::tempdir().unwrap();
        let there = settings(&dir.path().join("there"));
        let forged = forged(dir.path(), change, &[("trees/x-1/f", b"x")]);
        let e = put(&forged, &there).unwrap_err();
        assert!(e.to_string().contains(words), "{what}: {e}");
        assert!(is_empty(&there.store), "{what}");
    }
}

#[test]
fn another_machine_another_form_and_names_that_escape_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let there = settings(&dir.path().join("there"));
    let e = put(&forged(dir.path(), |h| h.platform = "plan9-vax".into(), &[]), &there).unwrap_err();
    assert!(matches!(&e, BundleError::Platform { found, .. } if found == "plan9-vax"), "{e}");
    let e = put(&forged(dir.path(), |h| h.bundle = 2, &[]), &there).unwrap_err();
    assert!(matches!(e, BundleError::Form { found: 2, .. }), "{e}");
    for name in ["../victim", "/tmp/victim", "trees/../../victim"] {
        let e = put(&forged(dir.path(), |_| (), &[(name, b"x")]), &there).unwrap_err();
        assert!(matches!(&e, BundleError::Archive { source: ArchiveFault::Name { .. }, .. }), "{name}: {e}");
    }
    let e = put(&forged(dir.path(), |_| (), &[("stowaway", b"x")]), &there).unwrap_err();
    assert!(e.to_string().contains("more than a head and trees"), "{e}");
    assert!(is_empty(&there.store));
}

#[test]
fn changed_bytes_of_a_tree_are_found_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let there = settings(&dir.path().join("there"));
    let (bundle, _) = made(dir.path());
    let (head, _) = super::head(&bundle).unwrap();
    let names: Vec<String> = head.trees.iter().map(|t| format!("trees/{}/f", t.directory)).collect();
    let more: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b"other"[..])).collect();
    let e = put(&forged(dir.path(), |_| (), &more), &there).unwrap_err();
    assert!(e.to_string().contains("it announces") && e.to_string().contains("has content"), "{e}");
    assert!(is_empty(&there.store));
}
