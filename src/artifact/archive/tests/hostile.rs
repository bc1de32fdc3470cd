//! Archives that somebody made to do harm: each is refused by the name of what it tried, and nothing outside is touched.

use super::build::{Tar, fault, gz, header, into, xz};
use crate::{
    artifact::archive::{ArchiveFault, ArchiveKind, Bound, Bounds, Keep, Top, unpack},
    sys::command::Cancel,
};
use std::io::{self, Read};
use tar::EntryType;

#[test]
fn names_that_leave_the_directory_are_refused() {
    for name in ["../victim", "a/../../../victim", "/tmp/victim", "..", "a/.."] {
        let fault = fault(&Tar::default().file(name, b"harm").end());
        assert!(matches!(&fault, ArchiveFault::Name { name: n, .. } if n == name), "{name}: {fault}");
    }
    let longer = format!("{}/../../../../victim", "a".repeat(200));
    for tar in [
        Tar::default().pax(EntryType::XHeader, &[("path", b"../../victim")]).file("fine", b"harm"),
        Tar::default()
            .raw(&header(b"././@LongLink", EntryType::GNULongName, 0, longer.len() as u64), longer.as_bytes())
            .file("fine", b"harm"),
    ] {
        assert!(matches!(fault(&tar.end()), ArchiveFault::Name { .. }), "an extended name is a name");
    }
}

#[test]
fn names_that_mislead_are_refused() {
    for name in [&b"a\nb"[..], b"a\rb", b"\x1b[31mred", b"tab\t", b"\xff\xfe", b"del\x7f"] {
        let fault = fault(&Tar::default().entry(name, EntryType::Regular).end());
        assert!(matches!(fault, ArchiveFault::Name { .. }), "{name:?}: {fault}");
        assert!(!fault.to_string().contains(|c: char| c.is_control()), "{fault}");
    }
    let nul = Tar::default().pax(EntryType::XHeader, &[("path", b"a\0b")]).file("f", b"").end();
    assert!(matches!(fault(&nul), ArchiveFault::Name { .. }));
}

#[test]
fn links_that_leave_the_directory_are_refused() {
    for (name, target) in
        [("l", "/etc/passwd"), ("l", "../victim"), ("a/l", "../../victim"), ("a/l", "s/../../victim"), ("l", "")]
    {
        let fault = fault(&Tar::default().symlink(name, target).end());
        assert!(matches!(&fault, ArchiveFault::Link { target: t, .. } if t == target), "{name} -> {target}: {fault}");
    }
    // Each of the two is inside by its letters; together they would lead out.
    let fault = fault(&Tar::default().directory("e").symlink("d/s", "../e").symlink("d/l", "s/../../victim").end());
    assert!(matches!(fault, ArchiveFault::Link { .. }), "{fault}");
}

#[test]
fn nothing_is_unpacked_through_a_link_of_the_archive() {
    for tar in [
        Tar::default().directory("d").symlink("l", "d").file("l/f", b"x"),
        Tar::default().directory("d").symlink("l", "d").directory("l"),
        Tar::default().directory("d").symlink("l", "d").directory("l/x"),
        Tar::default().symlink("l", "nowhere").file("l/f", b"x"),
        Tar::default().file("f", b"x").file("f/g", b"y"),
        Tar::default().file("f", b"x").directory("f"),
        Tar::default().directory("d").symlink("l", "d").file("d/f", b"x").hard_link("g", "l/f"),
    ] {
        let fault = fault(&tar.end());
        assert!(matches!(fault, ArchiveFault::Through { .. }), "{fault}");
    }
    // A link is not followed by a file of its name either.
    let fault = fault(&Tar::default().symlink("l", "f").file("l", b"x").end());
    assert!(matches!(fault, ArchiveFault::Duplicate { .. }), "{fault}");
}

#[test]
fn hard_links_name_files_unpacked_before_them_only() {
    for tar in [
        Tar::default().hard_link("l", "../../victim"),
        Tar::default().hard_link("l", "/etc/passwd"),
        Tar::default().hard_link("l", "later").file("later", b"x"),
        Tar::default().directory("d").hard_link("l", "d"),
        // the same words mean another place one level further up
        Tar::default().directory("x").symlink("a/b/l", "../../x").hard_link("l", "a/b/l"),
    ] {
        let fault = fault(&tar.end());
        assert!(matches!(fault, ArchiveFault::Link { .. } | ArchiveFault::Name { .. }), "{fault}");
    }
    let tar = gz(&Tar::default().file("top/f", b"x").hard_link("top/l", "other/f").end());
    let dir = tempfile::tempdir().unwrap();
    let fault = unpack(
        &tar[..],
        ArchiveKind::TarGz,
        Top::Strip,
        dir.path(),
        &|_| Keep::Yes,
        &Bounds::default(),
        &Cancel::default(),
    );
    assert!(matches!(fault, Err(ArchiveFault::Link { .. })));
}

#[test]
fn a_name_comes_once() {
    for tar in [
        Tar::default().file("f", b"good").file("f", b"bad"),
        Tar::default().file("f", b"good").file("./f", b"bad"),
        Tar::default().file("f", b"good").symlink("f", "g"),
        Tar::default().symlink("f", "g").symlink("f", "h"),
        Tar::default().file("g", b"").file("f", b"").hard_link("f", "g"),
        Tar::default().directory("f").file("f", b"x"),
    ] {
        let fault = fault(&tar.end());
        assert!(matches!(&fault, ArchiveFault::Duplicate { .. }), "{fault}");
    }
}

#[test]
fn devices_pipes_and_strange_entries_are_refused() {
    for (kind, what) in [
        (EntryType::Char, "a character device"),
        (EntryType::Block, "a block device"),
        (EntryType::Fifo, "a pipe"),
        (EntryType::GNUSparse, "a sparse file"),
        (EntryType::new(b'V'), "an entry of type 'V'"),
        (EntryType::new(b'Z'), "an entry of type 'Z'"),
    ] {
        let fault = fault(&Tar::default().entry(b"dev", kind).end());
        assert!(matches!(&fault, ArchiveFault::Special { what: w, .. } if w == what), "{fault}");
    }
    let sparse = Tar::default().pax(EntryType::XHeader, &[("GNU.sparse.major", b"1")]).file("f", b"").end();
    assert!(matches!(fault(&sparse), ArchiveFault::Unsupported { .. }));
}

#[test]
fn programs_that_would_run_as_somebody_else_are_refused() {
    for mode in [0o4755, 0o2755, 0o1644, 0o6000] {
        let fault = fault(&Tar::default().mode("su", mode, b"x").end());
        assert!(matches!(fault, ArchiveFault::Mode { mode: m, .. } if m == mode), "{fault}");
    }
}

#[test]
fn refusals_hold_for_entries_that_are_not_kept() {
    for tar in [
        Tar::default().file("t/../../x", b""),
        Tar::default().mode("t/su", 0o4755, b""),
        Tar::default().symlink("t/l", "/etc"),
        Tar::default().entry(b"t/dev", EntryType::Char),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = gz(&tar.end());
        let (bounds, cancel) = (Bounds::default(), Cancel::default());
        unpack(&bytes[..], ArchiveKind::TarGz, Top::Strip, dir.path(), &|_| Keep::No, &bounds, &cancel).unwrap_err();
    }
}

#[test]
fn one_name_of_an_entry_does_not_stand_in_two_places() {
    let long = |tar: Tar| tar.raw(&header(b"././@LongLink", EntryType::GNULongName, 0, 1), b"a");
    for tar in [
        long(long(Tar::default())).file("f", b""),
        long(Tar::default()).pax(EntryType::XHeader, &[("path", b"b")]).file("f", b""),
        Tar::default().pax(EntryType::XHeader, &[("path", b"a"), ("path", b"b")]).file("f", b""),
        Tar::default().pax(EntryType::XGlobalHeader, &[("path", b"a")]).file("f", b""),
        Tar::default().pax(EntryType::XHeader, &[("path", b"a")]),
        Tar::default().raw(&header(b"x", EntryType::XHeader, 0, 9), b"99 path=a").file("f", b""),
        Tar::default().raw(&header(b"x", EntryType::XHeader, 0, 9), b"1 path=a\n").file("f", b""),
        Tar::default().raw(&header(b"d", EntryType::Directory, 0o755, 512), &[0u8; 512]),
    ] {
        let fault = fault(&tar.end());
        assert!(matches!(fault, ArchiveFault::Malformed { .. }), "{fault}");
    }
}

#[test]
fn a_size_in_an_extended_header_holds_for_every_reader_alike() {
    // a reader that ignores it would see the file `inside` as an entry
    let inside = Tar::default().file("inside", b"").0;
    let size = inside.len().to_string();
    let tar = Tar::default()
        .pax(EntryType::XHeader, &[("size", size.as_bytes())])
        .raw(&header(b"outer", EntryType::Regular, 0o644, 0), &inside)
        .end();
    let dir = tempfile::tempdir().unwrap();
    let done = into(dir.path(), &gz(&tar), ArchiveKind::TarGz).unwrap();
    assert_eq!(done.files, 1);
    assert_eq!(std::fs::read(dir.path().join("outer")).unwrap(), inside);
}

#[test]
fn a_second_top_directory_is_refused_when_one_is_to_be_taken_off() {
    for tar in [
        Tar::default().directory("a").directory("b"),
        Tar::default().file("a", b""),
        Tar::default().file("a/x", b"").symlink("a", "b"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = gz(&tar.end());
        let (bounds, cancel) = (Bounds::default(), Cancel::default());
        let fault = unpack(&bytes[..], ArchiveKind::TarGz, Top::Strip, dir.path(), &|_| Keep::Yes, &bounds, &cancel);
        assert!(matches!(fault, Err(ArchiveFault::Tops { .. })), "{fault:?}");
    }
}

/// A tar stream without end, made while it is read: a header every time `next` gives one.
struct Endless<F> {
    next: F,
    ready: Vec<u8>,
}

impl<F: FnMut() -> Vec<u8>> Read for Endless<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.ready = (self.next)();
        }
        let n = self.ready.len().min(into.len());
        into[..n].copy_from_slice(&self.ready[..n]);
        self.ready.drain(..n);
        Ok(n)
    }
}

fn refused(bytes: &[u8], kind: ArchiveKind, bounds: &Bounds) -> ArchiveFault {
    let dir = tempfile::tempdir().unwrap();
    unpack(bytes, kind, Top::Keep, dir.path(), &|_| Keep::No, bounds, &Cancel::default()).unwrap_err()
}

#[test]
fn two_million_entries_are_too_many() {
    // the whole stream, 1 GB of headers, in a few megabytes of gzip
    let mut count = 0;
    let entries = Endless {
        next: || {
            let batch = (0..256).fold(Tar::default(), |tar, n| tar.file(&format!("f{}", count + n), b"")).0;
            count += 256;
            batch
        },
        ready: Vec::new(),
    };
    let packed = flate2::read::GzEncoder::new(entries.take(2_000_000 * 512), flate2::Compression::fast());
    let dir = tempfile::tempdir().unwrap();
    let (bounds, cancel) = (Bounds::default(), Cancel::default());
    let fault = unpack(packed, ArchiveKind::TarGz, Top::Keep, dir.path(), &|_| Keep::No, &bounds, &cancel).unwrap_err();
    assert!(matches!(fault, ArchiveFault::Over { bound: Bound::Entries, limit: 200_000 }), "{fault}");
}

#[test]
fn a_bomb_is_refused_by_its_ratio_by_its_size_and_before_it_is_unpacked_when_it_says_so() {
    let zeros = vec![0u8; 80 << 20];
    let honest = Tar::default().file("zeros", &zeros).end();
    for (bytes, kind) in [(gz(&honest), ArchiveKind::TarGz), (xz(&honest), ArchiveKind::TarXz)] {
        let fault = refused(&bytes, kind, &Bounds::default());
        assert!(matches!(fault, ArchiveFault::Over { bound: Bound::Ratio, limit: 100 }), "{kind}: {fault}");
        let small = Bounds { bytes: 1 << 20, ..Bounds::default() };
        let fault = refused(&bytes, kind, &small);
        assert!(matches!(fault, ArchiveFault::Over { bound: Bound::Bytes, limit: 1_048_576 }), "{kind}: {fault}");
    }
    // padding behind the end is unpacked too
    let mut padded = Tar::default().file("f", b"").end();
    padded.resize(80 << 20, 0);
    assert!(matches!(refused(&gz(&padded), ArchiveKind::TarGz, &Bounds::default()), ArchiveFault::Over { .. }));
    // more than there are atoms to store it
    let mut header = header(b"huge", EntryType::Regular, 0o644, 0);
    header.set_size(u64::MAX >> 1);
    header.set_cksum();
    let fault = refused(&gz(&Tar::default().raw(&header, b"").end()), ArchiveKind::TarGz, &Bounds::default());
    assert!(matches!(fault, ArchiveFault::Over { bound: Bound::Bytes, .. }), "{fault}");
}

#[test]
fn headers_and_names_that_would_fill_the_memory_are_refused() {
    let long = vec![b'a'; 70_000];
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
        let fault = fault(&Tar::default().raw(&header(b"x", kind, 0, long.len() as u64), &long).end());
        assert!(matches!(fault, ArchiveFault::Over { bound: Bound::Name, limit: 65_536 }), "{fault}");
    }
    let fault = fault(&Tar::default().pax(EntryType::XHeader, &[("path", &long[..1025])]).file("f", b"").end());
    assert!(matches!(fault, ArchiveFault::Over { bound: Bound::Name, limit: 1024 }), "{fault}");
}

#[test]
fn an_xz_stream_that_wants_more_memory_than_allowed_is_refused() {
    let options = |preset| {
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&liblzma::stream::LzmaOptions::new_preset(preset).unwrap());
        liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc64).unwrap()
    };
    let pack = |preset| {
        let mut out = Vec::new();
        let tar = Tar::default().file("f", b"x").end();
        liblzma::read::XzEncoder::new_stream(&tar[..], options(preset)).read_to_end(&mut out).unwrap();
        out
    };
    let dir = tempfile::tempdir().unwrap();
    into(dir.path(), &pack(9), ArchiveKind::TarXz).unwrap();
    let small = Bounds { memory: 16 << 20, ..Bounds::default() };
    let fault = refused(&pack(9), ArchiveKind::TarXz, &small);
    assert!(matches!(fault, ArchiveFault::Over { bound: Bound::Memory, limit: 16_777_216 }), "{fault}");
}
