//! The entries of a tar stream (tar(5); POSIX pax): headers are the `tar` crate's, what becomes of them is decided here.
//!
//! The crate's own iterator reads extended headers of any size into memory and corrects what it should refuse. Here each name
//! comes from one place only, sizes are plain, and the end is two blocks of zeros with nothing but zeros behind them: two readers
//! that see different files in one archive is how such checks are evaded.

use super::{ArchiveFault, Bound, ahead::Decoded, names};
use tar::{EntryType, Header};

/// A tar block, bytes.
const RECORD: usize = 512;

/// Longest extended header, bytes: names of the allowed length many times over, and attributes that are passed over.
const EXTENDED: u64 = 64 << 10;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain file.
    File {
        /// Its owner may execute it.
        executable: bool,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(String),
    /// A second name of this entry.
    HardLink(String),
}

/// One entry; its data follow in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: text without control characters, else unchecked.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of data that follow.
    pub size: u64,
}

/// What extended headers said about the entry that follows them.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads entries, one after the other; the data of each must be taken before the next.
pub struct Entries<'s, 'a> {
    stream: &'s mut Decoded<'a>,
    seen: u64,
    most: u64,
}

impl<'s, 'a> Entries<'s, 'a> {
    pub fn new(stream: &'s mut Decoded<'a>, most: u64) -> Self {
        Self { stream, seen: 0, most }
    }

    /// The next entry; none at the first of the two blocks that end the archive.
    pub fn next(&mut self) -> Result<Option<Entry>, ArchiveFault> {
        let mut extended = Extended::default();
        let mut dangling = false;
        loop {
            let mut block = [0u8; RECORD];
            self.stream.fill(&mut block)?;
            if block.iter().all(|&b| b == 0) {
                return if dangling { Err(self.malformed("an extended header without its entry")) } else { Ok(None) };
            }
            self.seen += 1;
            if self.seen > self.most {
                return Err(ArchiveFault::Over { bound: Bound::Entries, limit: self.most });
            }
            let header = Header::from_byte_slice(&block);
            if header.cksum().ok() != Some(checksum(&block)) {
                return Err(self.malformed("a header's checksum is wrong"));
            }
            let size = header.entry_size().map_err(|_| self.malformed("a header's size is no number"))?;
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName | EntryType::GNULongLink => {
                    let mut text = self.extended(size)?;
                    while text.last() == Some(&0) {
                        text.pop();
                    }
                    let slot = if kind == EntryType::GNULongName { &mut extended.name } else { &mut extended.link };
                    let twice = slot.replace(text).is_some();
                    self.once(twice)?;
                    dangling = true;
                }
                EntryType::XHeader => {
                    let text = self.extended(size)?;
                    self.pax(&text, &mut extended)?;
                    dangling = true;
                }
                // A comment of git's, mostly. What may change every entry that follows is refused.
                EntryType::XGlobalHeader => {
                    let text = self.extended(size)?;
                    let mut all = Extended::default();
                    self.pax(&text, &mut all)?;
                    if all.name.is_some() || all.link.is_some() || all.size.is_some() {
                        return Err(self.malformed("a global header renames entries"));
                    }
                }
                _ => return self.entry(header, extended, size).map(Some),
            }
        }
    }

    fn entry(&self, header: &Header, extended: Extended, size: u64) -> Result<Entry, ArchiveFault> {
        let name = names::text(&extended.name.unwrap_or_else(|| header.path_bytes().into_owned()))?;
        let size = extended.size.unwrap_or(size);
        self.stream.expect(size)?;
        let link = || {
            let bytes = extended.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            names::text(&bytes.unwrap_or_default())
        };
        let special = |what: &str| ArchiveFault::Special { name: name.clone(), what: what.to_owned() };
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if name.ends_with('/') => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let mode = header.mode().map_err(|_| self.malformed("a header's mode is no number"))?;
                if mode & 0o7000 != 0 {
                    return Err(ArchiveFault::Mode { name, mode: mode & 0o7777 });
                }
                Kind::File { executable: mode & 0o100 != 0 }
            }
            // Bits of a directory are not taken over, so setgid there, which trees built below such a one have, is no harm.
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link()?),
            EntryType::Link => Kind::HardLink(link()?),
            EntryType::Char => return Err(special("a character device")),
            EntryType::Block => return Err(special("a block device")),
            EntryType::Fifo => return Err(special("a pipe")),
            EntryType::GNUSparse => return Err(special("a sparse file")),
            other => return Err(special(&format!("an entry of type {:?}", char::from(other.as_byte())))),
        };
        if size > 0 && !matches!(kind, Kind::File { .. }) {
            return Err(self.malformed("a directory or link with data"));
        }
        Ok(Entry { name, kind, size })
    }

    /// Gives the data of an entry, and passes over the rest of their last block.
    pub fn data(
        &mut self,
        size: u64,
        block: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), ArchiveFault>,
    ) -> Result<(), ArchiveFault> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            let n = self.stream.some(&mut block[..most])?;
            if n == 0 {
                return Err(ArchiveFault::Truncated { after: self.stream.at() });
            }
            take(&block[..n])?;
            left -= n as u64;
        }
        let over = usize::try_from(size % RECORD as u64).unwrap_or(0);
        self.stream.fill(&mut [0u8; RECORD][..(RECORD - over) % RECORD])
    }

    /// Reads on behind the first block of zeros to the end of the stream, where its checksums are compared.
    pub fn end(&mut self, block: &mut [u8]) -> Result<(), ArchiveFault> {
        let zeros = |bytes: &[u8]| bytes.iter().all(|&b| b == 0);
        let mut second = [0u8; RECORD];
        self.stream.fill(&mut second)?;
        if !zeros(&second) {
            return Err(self.malformed("something follows the end of the archive"));
        }
        loop {
            match self.stream.some(block)? {
                0 => return Ok(()),
                n if zeros(&block[..n]) => {}
                _ => return Err(self.malformed("something follows the end of the archive")),
            }
        }
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, ArchiveFault> {
        if size > EXTENDED {
            return Err(ArchiveFault::Over { bound: Bound::Name, limit: EXTENDED });
        }
        let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.data(size, &mut [0u8; RECORD], |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(text)
    }

    /// Records `LENGTH KEY=VALUE\n` (POSIX, pax, "Extended Header").
    fn pax(&self, text: &[u8], extended: &mut Extended) -> Result<(), ArchiveFault> {
        let bad = || self.malformed("an extended header's record is damaged");
        let mut rest = text;
        while !rest.is_empty() {
            let blank = rest.iter().position(|&b| b == b' ').ok_or_else(bad)?;
            let length: usize =
                std::str::from_utf8(&rest[..blank]).ok().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
            let record = rest.get(blank + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(bad)?;
            rest = &rest[length..];
            let equals = record.iter().position(|&b| b == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let twice = match key {
                b"path" => extended.name.replace(value.to_owned()).is_some(),
                b"linkpath" => extended.link.replace(value.to_owned()).is_some(),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()).ok_or_else(bad)?;
                    extended.size.replace(size).is_some()
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(ArchiveFault::Unsupported { what: "sparse files".into() });
                }
                _ => false,
            };
            self.once(twice)?;
        }
        Ok(())
    }

    fn once(&self, twice: bool) -> Result<(), ArchiveFault> {
        if twice { Err(self.malformed("an entry is named twice")) } else { Ok(()) }
    }

    fn malformed(&self, what: &str) -> ArchiveFault {
        ArchiveFault::Malformed { at: self.stream.at(), what: what.to_owned() }
    }
}

/// The sum of a header's bytes, its own field counted as blanks (tar(5)).
fn checksum(block: &[u8; RECORD]) -> u32 {
    block.iter().enumerate().map(|(at, &b)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(b) }).sum()
}
