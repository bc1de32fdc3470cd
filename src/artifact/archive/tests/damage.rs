//! Archives that did not arrive whole, and places that do not take them.

use super::build::{Tar, deb, gz, into, xz};
use crate::{
    artifact::archive::{ArchiveFault, ArchiveKind, Bounds, Keep, Top, unpack},
    sys::command::Cancel,
};
use proptest::prelude::*;
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

fn small() -> Vec<u8> {
    Tar::default().directory("t").mode("t/a", 0o755, b"hello").file("t/b", &[9; 700]).symlink("t/c", "b").end()
}

fn all() -> Vec<(ArchiveKind, Vec<u8>)> {
    let tar = small();
    vec![
        (ArchiveKind::TarGz, gz(&tar)),
        (ArchiveKind::TarXz, xz(&tar)),
        (ArchiveKind::Deb, deb(&[("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), ("data.tar.xz", &xz(&tar))])),
        (ArchiveKind::Deb, deb(&[("debian-binary", b"2.0\n"), ("data.tar.gz", &gz(&tar))])),
    ]
}

fn read(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir.join("t"))
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn an_archive_cut_anywhere_is_never_taken_for_a_whole_one() {
    for (kind, bytes) in all() {
        for length in 0..bytes.len() {
            // a package is whole without the padding byte at its end
            if kind == ArchiveKind::Deb && length + 1 == bytes.len() && bytes.last() == Some(&b'\n') {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let fault = into(dir.path(), &bytes[..length], kind);
            let cut = matches!(fault, Err(ArchiveFault::Truncated { .. } | ArchiveFault::Malformed { .. }));
            assert!(cut, "{kind}, {length} of {} bytes: {fault:?}", bytes.len());
        }
    }
}

#[test]
fn an_archive_without_its_end_blocks_is_cut() {
    for missing in [512, 1024] {
        let mut tar = small();
        tar.truncate(tar.len() - missing);
        let dir = tempfile::tempdir().unwrap();
        let fault = into(dir.path(), &gz(&tar), ArchiveKind::TarGz).unwrap_err();
        assert!(matches!(fault, ArchiveFault::Truncated { .. }), "{fault}");
    }
}

#[test]
fn something_behind_the_archive_is_refused() {
    for (kind, bytes) in all().into_iter().take(2) {
        for tail in [&b"x"[..], b"\x1f\x8b", &[0u8; 3], b"<html>", &bytes[..40]] {
            let dir = tempfile::tempdir().unwrap();
            let fault = into(dir.path(), &[&bytes[..], tail].concat(), kind);
            assert!(fault.is_err(), "{kind} with {tail:?} behind it");
        }
    }
    let mut hidden = small();
    hidden.truncate(hidden.len() - 512);
    hidden.extend(Tar::default().file("hidden", b"").end());
    for tar in [[&small()[..], b"more"].concat(), hidden] {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(into(dir.path(), &gz(&tar), ArchiveKind::TarGz), Err(ArchiveFault::Malformed { .. })));
    }
}

#[test]
fn a_web_page_and_another_format_are_called_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let page = b"<!DOCTYPE html><title>404</title>";
    for kind in [ArchiveKind::TarGz, ArchiveKind::TarXz, ArchiveKind::Deb] {
        let fault = into(dir.path(), page, kind).unwrap_err();
        assert_eq!(fault.to_string(), format!("this is no {kind}: it begins with \"<!DOCTYP\""));
        assert!(fault.hint().is_some());
    }
    assert!(matches!(into(dir.path(), &xz(&small()), ArchiveKind::TarGz), Err(ArchiveFault::Foreign { .. })));
}

#[test]
fn packages_of_another_shape_are_refused_with_what_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let members = |list: &[(&str, &[u8])]| into(dir.path(), &deb(list), ArchiveKind::Deb).unwrap_err().to_string();
    assert_eq!(
        members(&[("debian-binary", b"2.0\n"), ("data.tar.zst", b"x")]),
        "the archive has data packed as data.tar.zst, which is not read here"
    );
    assert!(members(&[("debian-binary", b"3.0\n")]).contains("another version"));
    assert!(members(&[("data.tar.gz", b"x")]).contains("does not begin with debian-binary"));
    assert!(members(&[("debian-binary", b"2.0\n"), ("control.tar.gz", b"x")]).contains("no data.tar"));
}

#[test]
fn a_source_that_fails_is_told_from_a_damaged_archive() {
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "peer gone")),
                n => Ok(n),
            }
        }
    }
    for (kind, bytes) in all() {
        let dir = tempfile::tempdir().unwrap();
        let half = Broken(&bytes[..bytes.len() / 2]);
        let (bounds, cancel) = (Bounds::default(), Cancel::default());
        match unpack(half, kind, Top::Keep, dir.path(), &|_| Keep::Yes, &bounds, &cancel) {
            Err(ArchiveFault::Read(e)) => assert_eq!(e.to_string(), "peer gone"),
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[test]
fn unpacking_stops_when_asked() {
    let cancel = Cancel::default();
    let dir = tempfile::tempdir().unwrap();
    let stop = |_: &Path| {
        cancel.cancel();
        Keep::Yes
    };
    let bytes = gz(&small());
    let fault = unpack(&bytes[..], ArchiveKind::TarGz, Top::Keep, dir.path(), &stop, &Bounds::default(), &cancel);
    assert!(matches!(fault, Err(ArchiveFault::Cancelled)));
}

#[test]
fn a_full_disk_is_called_one() {
    // /dev/full says ENOSPC to every write (full(4)), so a tree cannot be made there; the error is the same one
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let e = io::Write::write(&mut &full, b"x").unwrap_err();
    let fault = ArchiveFault::System(crate::sys::error::SysError::path("write", Path::new("a"), e));
    assert!(fault.disk_full() && fault.hint().unwrap().contains("disk is full"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Checksums are part of both formats: what is accepted is what was packed. (Bits of gzip's header that say nothing about
    /// the data, its time for one, may change.)
    #[test]
    fn flipped_bits_never_give_another_tree(which in 0..4usize, flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..4)) {
        let (kind, mut bytes) = all().swap_remove(which);
        let whole = tempfile::tempdir().unwrap();
        into(whole.path(), &bytes, kind).unwrap();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let dir = tempfile::tempdir().unwrap();
        if into(dir.path(), &bytes, kind).is_ok() {
            prop_assert_eq!(read(dir.path()), read(whole.path()));
        }
    }

    /// Whatever arrives, nothing panics and nothing is made outside.
    #[test]
    fn any_tar_stream_ends_in_a_tree_or_a_fault(blocks in prop::collection::vec(any::<prop::sample::Index>(), 1..20), noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let tar = small();
        let mut mixed: Vec<u8> = blocks.iter().flat_map(|i| {
            let at = i.index(tar.len() / 512) * 512;
            tar[at..at + 512].to_vec()
        }).collect();
        for (at, byte) in noise {
            let at = at.index(mixed.len());
            mixed[at] = byte;
            // with a right checksum the header's other fields get their turn
            let block = at / 512 * 512;
            let mut header = tar::Header::from_byte_slice(&mixed[block..block + 512]).clone();
            header.set_cksum();
            mixed[block..block + 512].copy_from_slice(header.as_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("in");
        fs::create_dir(&inside).unwrap();
        let _ = into(&inside, &gz(&mixed), ArchiveKind::TarGz);
        prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
