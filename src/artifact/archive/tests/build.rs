//! Builds archives of any badness, header by header.

use crate::{
    artifact::archive::{ArchiveFault, ArchiveKind, Bounds, Keep, Top, Unpacked, unpack},
    sys::command::Cancel,
};
use flate2::{Compression, write::GzEncoder};
use std::{io::Write, path::Path};
use tar::{EntryType, Header};

/// A tar stream in the making.
#[derive(Default)]
pub struct Tar(pub Vec<u8>);

/// A header with the name as bytes, whatever they are.
pub fn header(name: &[u8], kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_cksum();
    header
}

impl Tar {
    pub fn raw(mut self, header: &Header, data: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.mode(name, 0o644, data)
    }
    pub fn mode(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.raw(&header(name.as_bytes(), EntryType::Regular, mode, data.len() as u64), data)
    }
    pub fn entry(self, name: &[u8], kind: EntryType) -> Self {
        self.raw(&header(name, kind, 0o755, 0), b"")
    }
    pub fn directory(self, name: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Directory)
    }
    pub fn link(self, name: &str, target: &str, kind: EntryType) -> Self {
        let mut header = header(name.as_bytes(), kind, 0o777, 0);
        header.set_link_name_literal(target).unwrap();
        header.set_cksum();
        self.raw(&header, b"")
    }
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(name, target, EntryType::Symlink)
    }
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(name, target, EntryType::Link)
    }
    /// An extended header of PAX with these records.
    pub fn pax(self, kind: EntryType, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length += 1;
            }
            text.extend_from_slice(format!("{length} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.raw(&header(b"pax", kind, 0o644, text.len() as u64), &text)
    }
    /// With the two blocks that end an archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A Debian package around members.
pub fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, data) in members {
        out.extend_from_slice(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).as_bytes(),
        );
        out.extend_from_slice(data);
        if data.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// Unpacks all of it as it is named.
pub fn into(dir: &Path, bytes: &[u8], kind: ArchiveKind) -> Result<Unpacked, ArchiveFault> {
    unpack(bytes, kind, Top::Keep, dir, &|_| Keep::Yes, &Bounds::default(), &Cancel::default())
}

/// Unpacks a tar stream in gzip; into a directory that is gone afterwards.
pub fn fault(tar: &[u8]) -> ArchiveFault {
    let dir = tempfile::tempdir().unwrap();
    // Beside it lies what an escape would change.
    let (into_dir, beside) = (dir.path().join("in/to"), dir.path().join("victim"));
    std::fs::create_dir_all(&into_dir).unwrap();
    std::fs::write(&beside, "untouched").unwrap();
    let fault = into(&into_dir, &gz(tar), ArchiveKind::TarGz).unwrap_err();
    assert_eq!(std::fs::read_to_string(&beside).unwrap(), "untouched");
    let mut there: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["in", "victim"], "nothing was made outside");
    fault
}
