//! The outer shell of a Debian package: an `ar` archive with a version, control files, and the data (deb(5), ar(5)).

use super::{ArchiveFault, stream::Intake};
use std::io::BufRead;

/// How the data are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// `data.tar.gz`.
    Gzip,
    /// `data.tar.xz`.
    Xz,
    /// `data.tar`.
    Bare,
}

/// A member's header: name and time, owner, mode, size, in text of fixed columns.
const HEADER: usize = 60;

/// Most members before the data; deb(5) has two.
const MEMBERS: usize = 8;

/// Reads up to the data: how they are packed, and how many bytes they have.
pub fn find_data(packed: &mut impl BufRead, intake: &Intake<'_>) -> Result<(Packing, u64), ArchiveFault> {
    let mut magic = [0u8; 8];
    exact(packed, &mut magic, intake)?;
    for index in 0..MEMBERS {
        let (name, size) = member(packed, intake)?.ok_or_else(|| malformed(intake, "it has no data.tar"))?;
        if index == 0 {
            version(&name, size, packed, intake)?;
            continue;
        }
        match name.strip_prefix("data.tar") {
            Some(".gz") => return Ok((Packing::Gzip, size)),
            Some(".xz") => return Ok((Packing::Xz, size)),
            Some("") => return Ok((Packing::Bare, size)),
            Some(other) => return Err(ArchiveFault::Unsupported { what: format!("data packed as data.tar{other}") }),
            None => pass(packed, size, intake)?,
        }
    }
    Err(malformed(intake, "its data do not follow its control files"))
}

/// Reads what follows data of `size` bytes, to the end: further members are allowed there (deb(5)), and mean nothing.
pub fn pass_rest(packed: &mut impl BufRead, size: u64, intake: &Intake<'_>) -> Result<(), ArchiveFault> {
    pad(packed, size, intake)?;
    while let Some((_, size)) = member(packed, intake)? {
        pass(packed, size, intake)?;
    }
    Ok(())
}

/// `debian-binary` comes first and says `2.` something.
fn version(name: &str, size: u64, packed: &mut impl BufRead, intake: &Intake<'_>) -> Result<(), ArchiveFault> {
    let mut text = [0u8; 2];
    if name != "debian-binary" || !(2..=64).contains(&size) {
        return Err(malformed(intake, "it does not begin with debian-binary"));
    }
    exact(packed, &mut text, intake)?;
    if &text != b"2." {
        return Err(ArchiveFault::Unsupported { what: "another version of the package format than 2".into() });
    }
    pass(packed, size - 2, intake)
}

/// The next member's name and size; none at the end.
fn member(packed: &mut impl BufRead, intake: &Intake<'_>) -> Result<Option<(String, u64)>, ArchiveFault> {
    intake.go_on()?;
    if packed.fill_buf().map_err(|e| intake.fault(intake.bytes(), e))?.is_empty() {
        return Ok(None);
    }
    let mut header = [0u8; HEADER];
    exact(packed, &mut header, intake)?;
    let bad = || malformed(intake, "a member's header is damaged");
    let text = std::str::from_utf8(&header).ok().filter(|t| t.is_ascii() && t.ends_with("`\n")).ok_or_else(bad)?;
    let size = text[48..58].trim_end().parse().map_err(|_| bad())?;
    // Names may end with a slash (ar(5), System V).
    Ok(Some((text[..16].trim_end().trim_end_matches('/').to_owned(), size)))
}

/// Reads over a member.
fn pass(packed: &mut impl BufRead, size: u64, intake: &Intake<'_>) -> Result<(), ArchiveFault> {
    let mut left = size;
    while left > 0 {
        intake.go_on()?;
        let have = packed.fill_buf().map_err(|e| intake.fault(intake.bytes(), e))?.len();
        if have == 0 {
            return Err(ArchiveFault::Truncated { after: 0 });
        }
        let n = have.min(usize::try_from(left).unwrap_or(have));
        packed.consume(n);
        left -= n as u64;
    }
    pad(packed, size, intake)
}

/// Members begin at even offsets.
fn pad(packed: &mut impl BufRead, size: u64, intake: &Intake<'_>) -> Result<(), ArchiveFault> {
    if size % 2 == 1 && !packed.fill_buf().map_err(|e| intake.fault(intake.bytes(), e))?.is_empty() {
        packed.consume(1);
    }
    Ok(())
}

fn exact(packed: &mut impl BufRead, into: &mut [u8], intake: &Intake<'_>) -> Result<(), ArchiveFault> {
    packed.read_exact(into).map_err(|e| intake.fault(0, e))
}

fn malformed(intake: &Intake<'_>, what: &str) -> ArchiveFault {
    ArchiveFault::Malformed { at: intake.bytes(), what: what.to_owned() }
}
