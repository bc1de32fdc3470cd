//! The files of one node's log by their names: the one written to, rotated ones, compressed ones.
//!
//! `current` is the file written to. A full one is renamed to `@TIME.NUMBER.END.log` beside it: TIME in milliseconds since
//! 1970 (13 digits), NUMBER to tell files of one millisecond apart (6 digits), END the bytes of the whole log up to the end
//! of this file. The daemon compresses it to the same name with `.gz` behind it; any other ending is no file of the log.
//!
//! Within one directory the pair (TIME, NUMBER) always grows, also when the clock is set back: it is the order of age.
//! END tells a reader how much was removed before it came that far. Files of an earlier version have no END.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Name of the file written to.
pub const CURRENT: &str = "current";

/// What is behind the name of a file that was compressed.
pub const PACKED: &str = ".gz";

/// The age of a rotated file: a later one is newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When it was rotated, milliseconds since 1970; more when the clock was set back meanwhile.
    pub millis: u64,
    /// Tells files of one millisecond apart.
    pub number: u32,
}

/// What the name of a rotated file says. Order is age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rotated {
    /// Its age.
    pub stamp: Stamp,
    /// Bytes of the log up to the end of this file, uncompressed; none for a file of an earlier version.
    pub end: Option<u64>,
    /// Whether it is compressed. The uncompressed one of two sorts first.
    pub packed: bool,
}

impl Rotated {
    /// The file's name.
    pub fn name(&self) -> String {
        let Stamp { millis, number } = self.stamp;
        let end = self.end.map(|end| format!(".{end}")).unwrap_or_default();
        format!("@{millis:013}.{number:06}{end}.log{}", if self.packed { PACKED } else { "" })
    }

    /// Reads a rotated file's name; none for any other name.
    pub fn parse(name: &str) -> Option<Self> {
        let (name, packed) = name.strip_suffix(PACKED).map_or((name, false), |plain| (plain, true));
        let (millis, rest) = name.strip_prefix('@')?.strip_suffix(".log")?.split_once('.')?;
        let (number, end) = rest.split_once('.').map_or((rest, None), |(number, end)| (number, Some(end)));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if millis.len() != 13
            || number.len() != 6
            || ![Some(millis), Some(number), end].into_iter().flatten().all(digits)
        {
            return None;
        }
        let end = end.map(str::parse).transpose().ok()?;
        Some(Self { stamp: Stamp { millis: millis.parse().ok()?, number: number.parse().ok()? }, end, packed })
    }

    /// The same file compressed, or not.
    pub fn as_packed(self, packed: bool) -> Self {
        Self { packed, ..self }
    }
}

/// The rotated files in a directory, oldest first, both forms of a file that is being compressed; none when there is no
/// such directory. Only regular files count: what somebody puts there as a link leads nowhere.
pub fn rotated(dir: &Path) -> io::Result<Vec<Rotated>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let regular = |e: &fs::DirEntry| e.file_type().is_ok_and(|t| t.is_file());
    let mut found: Vec<_> =
        entries.flatten().filter_map(|e| Rotated::parse(e.file_name().to_str()?).filter(|_| regular(&e))).collect();
    found.sort_unstable();
    Ok(found)
}

/// The paths of the rotated files of a log directory, oldest first; none when there is no such directory.
pub fn rotated_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(rotated(dir)?.into_iter().map(|file| dir.join(file.name())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_are_rotated_files() {
        let stamp = Stamp { millis: 1_763_867_279_042, number: 3 };
        for end in [None, Some(0), Some(u64::MAX)] {
            for packed in [false, true] {
                let file = Rotated { stamp, end, packed };
                assert_eq!(Rotated::parse(&file.name()), Some(file));
            }
        }
        assert_eq!(Rotated { stamp, end: Some(7), packed: true }.name(), "@1763867279042.000003.7.log.gz");
        for other in [
            "current",
            "@1.0.log",
            "@+763867279042.000001.log",
            "1763867279042.000001.log",
            "@.log",
            "@a.b.log",
            "@1763867279042.000001.log.gz.part",
            ".@1763867279042.000001.log.gz",
            "@1763867279042.000001..log",
            "@1763867279042.000001.-1.log",
            "@1763867279042.000001.99999999999999999999999.log",
        ] {
            assert_eq!(Rotated::parse(other), None, "{other}");
        }
    }

    #[test]
    fn files_are_listed_by_age_and_nothing_but_files() {
        let dir = tempfile::tempdir().unwrap();
        let name = |millis, number, packed| Rotated { stamp: Stamp { millis, number }, end: Some(9), packed }.name();
        let names =
            [name(1_763_867_279_042, 9, true), name(1_763_867_279_042, 10, false), name(1_863_867_279_042, 0, true)];
        for name in names.iter().rev() {
            fs::write(dir.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(name(1_963_867_279_042, 0, false))).unwrap();
        fs::create_dir(dir.path().join(name(1_963_867_279_042, 1, false))).unwrap();
        fs::write(dir.path().join("notes.log"), "").unwrap();
        let listed: Vec<String> = rotated(dir.path()).unwrap().iter().map(Rotated::name).collect();
        assert_eq!(listed, names);
        assert!(rotated(&dir.path().join("none")).unwrap().is_empty());
    }
}
