//! Archives that are right, each in several formats, and what becomes of them.

mod build;
mod damage;
mod hostile;

use super::*;
use crate::artifact::manifest::Manifest;
use build::{Tar, deb, gz, into, xz};
use std::{fs, os::unix::fs::PermissionsExt};
use tar::EntryType;

/// A small archive with everything that is allowed.
fn good() -> Tar {
    let long = format!("top/{}/file", "directory/".repeat(12));
    Tar::default()
        .pax(EntryType::XGlobalHeader, &[("comment", b"of git")])
        .directory("top/")
        .directory("top/bin")
        .mode("top/bin/run", 0o755, b"#!/bin/sh\n")
        .file("top/lib/a.so.1.2", &[7u8; 1500])
        .symlink("top/lib/a.so.1", "a.so.1.2")
        .symlink("top/bin/lib", "../lib")
        .hard_link("top/bin/again", "top/bin/run")
        .pax(EntryType::XHeader, &[("mtime", b"1.5"), ("path", long.as_bytes())])
        .file("cut", b"pax")
        .raw(&build::header(b"././@LongLink", EntryType::GNULongName, 0, 13), b"top/gnu-long\0")
        .file("cut", b"gnu")
        .directory("top/empty")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn unpack_top(
    bytes: &[u8],
    kind: ArchiveKind,
    top: Top,
    keep: &dyn Fn(&Path) -> Keep,
) -> (tempfile::TempDir, Unpacked) {
    let dir = tempfile::tempdir().unwrap();
    let done = unpack(bytes, kind, top, dir.path(), keep, &Bounds::default(), &Cancel::default()).unwrap();
    (dir, done)
}

#[test]
fn the_three_formats_give_the_same_tree_without_its_top_directory() {
    let tar = good().end();
    let package =
        |name: &str, data: &[u8]| deb(&[("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), (name, data)]);
    for (bytes, kind) in [
        (gz(&tar), ArchiveKind::TarGz),
        (xz(&tar), ArchiveKind::TarXz),
        (package("data.tar.gz", &gz(&tar)), ArchiveKind::Deb),
        (package("data.tar.xz/", &xz(&tar)), ArchiveKind::Deb),
        (package("data.tar", &tar), ArchiveKind::Deb),
    ] {
        let (dir, done) = unpack_top(&bytes, kind, Top::Strip, &|_| Keep::Yes);
        let at = |name: &str| dir.path().join(name);
        assert_eq!(done.top.as_deref(), Some("top"), "{kind}");
        assert_eq!((done.files, done.bytes), (7, 1516));
        assert_eq!(fs::read_to_string(at("bin/run")).unwrap(), "#!/bin/sh\n");
        assert_eq!(fs::read(at("bin/lib/a.so.1")).unwrap(), [7u8; 1500]);
        assert_eq!(fs::read_to_string(at(&format!("{}/file", "directory/".repeat(12)))).unwrap(), "pax");
        assert_eq!(fs::read_to_string(at("gnu-long")).unwrap(), "gnu");
        assert!(at("empty").is_dir());
        assert_eq!(mode(&at("bin/run")) & 0o111, 0, "nothing can be run before its digest was compared");
        assert_eq!(done.executables, [Path::new("bin/run")]);
        done.allow_execution(dir.path()).unwrap();
        assert_eq!(mode(&at("bin/run")), 0o755);
        assert_eq!(mode(&at("bin/again")), 0o755);
        assert_eq!(mode(&at("lib/a.so.1.2")) & 0o111, 0);
        let seal = |known: &Known| Manifest::seal(dir.path(), known).unwrap();
        assert_ne!(done.known, Known::default());
        assert_eq!(seal(&done.known), seal(&Known::default()), "the digests are those of the files");
    }
}

#[test]
fn only_what_is_selected_is_made_with_the_directories_above_it() {
    let keep = |name: &Path| if name.starts_with("lib") { Keep::Yes } else { Keep::No };
    let (dir, done) = unpack_top(&gz(&good().end()), ArchiveKind::TarGz, Top::Strip, &keep);
    assert_eq!(done.files, 2);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let keep = |name: &Path| if name.ends_with("file") { Keep::Yes } else { Keep::No };
    let (dir, _) = unpack_top(&gz(&good().end()), ArchiveKind::TarGz, Top::Keep, &keep);
    assert!(dir.path().join("top").join("directory/".repeat(12)).join("file").is_file());
}

#[test]
fn several_gzip_members_and_xz_streams_are_one_archive() {
    let tar = good().end();
    let (a, b) = tar.split_at(700);
    for (bytes, kind) in [
        ([gz(a), gz(b""), gz(b)].concat(), ArchiveKind::TarGz),
        ([xz(a), vec![0; 8], xz(b), vec![0; 4]].concat(), ArchiveKind::TarXz),
    ] {
        let (_, done) = unpack_top(&bytes, kind, Top::Strip, &|_| Keep::Yes);
        assert_eq!(done.files, 7, "{kind}");
    }
}

#[test]
fn the_input_is_read_to_its_end_so_that_its_digest_can_be_taken_on_the_way() {
    let mut tar = good().end();
    tar.resize(tar.len() + 20_000, 0);
    let package = deb(&[("debian-binary", b"2.0\n"), ("data.tar.xz", &xz(&tar)), ("_signature", b"x")]);
    for (bytes, kind) in [(gz(&tar), ArchiveKind::TarGz), (xz(&tar), ArchiveKind::TarXz), (package, ArchiveKind::Deb)] {
        let dir = tempfile::tempdir().unwrap();
        let mut input = io::Cursor::new(&bytes);
        unpack(&mut input, kind, Top::Keep, dir.path(), &|_| Keep::Yes, &Bounds::default(), &Cancel::default())
            .unwrap();
        assert_eq!(input.position(), bytes.len() as u64, "{kind}");
    }
}

#[test]
fn absolute_links_of_a_package_stay_inside_of_it() {
    let tar = Tar::default().directory("./").file("./etc/conf", b"ours").symlink("./usr/lib/conf", "/etc/conf").end();
    let dir = tempfile::tempdir().unwrap();
    into(dir.path(), &deb(&[("debian-binary", b"2.0\n"), ("data.tar.gz", &gz(&tar))]), ArchiveKind::Deb).unwrap();
    assert_eq!(fs::read_link(dir.path().join("usr/lib/conf")).unwrap(), Path::new("../../etc/conf"));
    assert_eq!(fs::read_to_string(dir.path().join("usr/lib/conf")).unwrap(), "ours");
}

#[test]
fn setgid_directories_are_unpacked_without_that_bit() {
    let tar = Tar::default().raw(&build::header(b"d/", EntryType::Directory, 0o2775, 0), b"").file("d/f", b"").end();
    let dir = tempfile::tempdir().unwrap();
    into(dir.path(), &gz(&tar), ArchiveKind::TarGz).unwrap();
    assert_eq!(fs::metadata(dir.path().join("d")).unwrap().permissions().mode() & 0o7000, 0);
}

#[test]
fn kinds_are_told_by_the_ends_of_names() {
    for (name, kind) in [
        ("kafka_2.13-3.5.2.tgz", Some(ArchiveKind::TarGz)),
        ("confluent-community-7.5.3.tar.gz", Some(ArchiveKind::TarGz)),
        ("mysql-8.0.46-linux-glibc2.28-x86_64.tar.xz", Some(ArchiveKind::TarXz)),
        ("libaio1t64.deb", Some(ArchiveKind::Deb)),
        ("kafka-ui-api-v0.7.2.jar", None),
    ] {
        assert_eq!(ArchiveKind::of_name(name), kind, "{name}");
    }
}
