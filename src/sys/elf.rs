//! What a program needs before the loader will run it: shared libraries and the versions of them, all that are missing at once.
//!
//! The rules are those of ld.so(8): a name without a slash is looked for in DT_RPATH (when there is no DT_RUNPATH), in the
//! given library path, in DT_RUNPATH, in the directories of ld.so.conf, then in the system's own; files of another class or
//! machine are passed over.

use object::{
    Endianness,
    elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader64, PT_DYNAMIC, VER_FLG_WEAK},
    read::{
        ReadCache,
        elf::{FileHeader, ProgramHeader},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// More files than this of one program are no program's libraries: mysqld has 55 (measured).
const FILES_MAX: usize = 500;

/// A shared library, or a version of one, that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The name that is asked for (`libaio.so.1`).
    pub library: String,
    /// The version that the library found does not define (`GLIBC_2.38`); none: there is no such library at all.
    pub version: Option<String>,
    /// Who asks for it.
    pub wanted_by: PathBuf,
}

/// Where libraries are looked for.
#[derive(Clone, Debug, Default)]
pub struct SearchPath {
    /// `LD_LIBRARY_PATH`, or `--library-path` of a loader that is run by name.
    pub library_path: Vec<PathBuf>,
    /// Directories of the system, in the loader's order.
    pub system: Vec<PathBuf>,
}

impl SearchPath {
    /// The given library path and this system's directories.
    pub fn new(library_path: Vec<PathBuf>) -> Self {
        Self { library_path, system: system_directories(Path::new("/")) }
    }
}

impl SearchPath {
    /// The directories of a system that lies below `root`, such as unpacked packages.
    pub fn below(root: &Path) -> Self {
        Self { library_path: Vec::new(), system: system_directories(root) }
    }
}

/// What kind of file a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A 64-bit ELF file.
    Elf,
    /// A script: the interpreter in its first line.
    Script(PathBuf),
    /// Something else: a 32-bit program, a format of binfmt_misc.
    Other,
}

/// Reads the first bytes of a program (execve(2), "Interpreter scripts").
pub fn kind(program: &Path) -> io::Result<Kind> {
    let mut head = Vec::new();
    File::open(program)?.take(256).read_to_end(&mut head)?;
    if head.starts_with(b"\x7fELF\x02") {
        return Ok(Kind::Elf);
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let interpreter = line.split_whitespace().next().unwrap_or_default();
        return Ok(Kind::Script(interpreter.into()));
    }
    Ok(Kind::Other)
}

/// Every library and version that `program` and its libraries ask for and that is not there. A program that is linked
/// statically, or no ELF file, asks for nothing.
pub fn missing(program: &Path, path: &SearchPath) -> io::Result<Vec<Missing>> {
    let first = read(program)?;
    let mut found: BTreeMap<String, Option<Elf>> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    let mut waiting = VecDeque::from([(program.to_owned(), first)]);
    let mut looked = Vec::new();
    while let Some((file, elf)) = waiting.pop_front() {
        for name in &elf.needed {
            if found.contains_key(name) || found.len() > FILES_MAX {
                continue;
            }
            let hit = candidates(name, &file, &elf, path).find_map(|at| {
                let library = read(&at).ok().filter(|l| l.machine == elf.machine)?;
                Some((at, library))
            });
            match hit {
                Some((at, library)) => {
                    waiting.push_back((at, library.clone()));
                    found.insert(name.clone(), Some(library));
                }
                None => {
                    found.insert(name.clone(), None);
                }
            }
        }
        looked.push((file, elf));
    }
    for (file, elf) in looked {
        for name in elf.needed.iter().filter(|name| found.get(*name).is_some_and(Option::is_none)) {
            missing.insert(Missing { library: name.clone(), version: None, wanted_by: file.clone() });
        }
        for (name, version) in &elf.wants {
            // A library without version definitions takes every demand (the loader warns and goes on).
            let Some(Some(library)) = found.get(name) else { continue };
            if !library.defines.is_empty() && !library.defines.contains(version) {
                let version = Some(version.clone());
                missing.insert(Missing { library: name.clone(), version, wanted_by: file.clone() });
            }
        }
    }
    Ok(missing.into_iter().collect())
}

/// What one file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Elf {
    machine: u16,
    needed: Vec<String>,
    rpath: Vec<String>,
    runpath: Vec<String>,
    /// (library, version) pairs that must be defined there.
    wants: Vec<(String, String)>,
    /// Versions that this file defines.
    defines: BTreeSet<String>,
}

/// The places of `name`, best first. A name with a slash is a path.
fn candidates<'a>(
    name: &'a str,
    file: &'a Path,
    elf: &'a Elf,
    path: &'a SearchPath,
) -> impl Iterator<Item = PathBuf> + 'a {
    let origin = file.parent().unwrap_or(Path::new("/")).to_owned();
    let expand = move |dir: &String| PathBuf::from(expand(dir, &origin));
    let rpath = if elf.runpath.is_empty() { &elf.rpath[..] } else { &[] };
    let own: Vec<PathBuf> = rpath.iter().map(&expand).collect();
    let behind: Vec<PathBuf> = elf.runpath.iter().map(&expand).collect();
    let direct = name.contains('/').then(|| PathBuf::from(name));
    let searched = own.into_iter().chain(path.library_path.iter().cloned()).chain(behind);
    let searched = searched.chain(path.system.iter().cloned()).map(move |dir| dir.join(name));
    direct.into_iter().chain(searched.filter(move |_| !name.contains('/')))
}

/// `$ORIGIN` is the directory of the file that says it; `$LIB` and `$PLATFORM` are what they are on this kind of machine.
fn expand(dir: &str, origin: &Path) -> String {
    let origin = origin.to_string_lossy();
    let lib = if cfg!(target_pointer_width = "64") { "lib64" } else { "lib" };
    let mut text = dir.to_owned();
    for (word, value) in [("ORIGIN", origin.as_ref()), ("LIB", lib), ("PLATFORM", std::env::consts::ARCH)] {
        text = text.replace(&format!("${{{word}}}"), value).replace(&format!("${word}"), value);
    }
    text
}

/// Directories of `/etc/ld.so.conf` and what it includes, then the loader's own. The cache says the same faster and in a
/// format that is nobody's contract.
fn system_directories(root: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    read_conf(&root.join("etc/ld.so.conf"), root, &mut dirs, 0);
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    for place in ["lib", "usr/lib"] {
        dirs.push(root.join(place).join(&triplet));
    }
    // Debian names them lib, Fedora lib64 (ld.so(8): the defaults of a 64-bit loader)
    dirs.extend(["lib64", "usr/lib64", "lib", "usr/lib"].map(|dir| root.join(dir)));
    let mut seen = BTreeSet::new();
    // merged /usr: /lib and /usr/lib are one directory
    dirs.retain(|dir| fs::canonicalize(dir).is_ok_and(|real| seen.insert(real)));
    dirs
}

fn read_conf(file: &Path, root: &Path, dirs: &mut Vec<PathBuf>, depth: u32) {
    // includes of includes are rare, and a file that includes itself must end somewhere
    if depth > 4 {
        return;
    }
    let Ok(text) = fs::read_to_string(file) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include").filter(|rest| rest.starts_with(char::is_whitespace)) {
            for included in matching(pattern.trim(), root) {
                read_conf(&included, root, dirs, depth + 1);
            }
        } else if line.starts_with('/') {
            dirs.push(root.join(line.trim_start_matches('/')));
        }
    }
}

/// Files for a pattern such as `/etc/ld.so.conf.d/*.conf`: one star, in the last part, as ldconfig's own file has it.
fn matching(pattern: &str, root: &Path) -> Vec<PathBuf> {
    let pattern = root.join(pattern.trim_start_matches('/'));
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let Some((before, after)) = name.split_once('*') else { return vec![pattern] };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        })
        .collect();
    files.sort();
    files
}

/// Reads what is needed of a file: headers and the dynamic section, not its code.
fn read(file: &Path) -> io::Result<Elf> {
    let cache = ReadCache::new(File::open(file)?);
    parse(&cache).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

fn parse(data: &ReadCache<File>) -> object::read::Result<Elf> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let mut elf = Elf { machine: header.e_machine.get(endian).0, ..Elf::default() };
    let dynamic = header.program_headers(endian, data)?.iter().any(|p| p.p_type(endian) == PT_DYNAMIC);
    if !dynamic {
        return Ok(elf);
    }
    let sections = header.sections(endian, data)?;
    let table = sections.dynamic_table(endian, data)?;
    for entry in table.iter() {
        let list = |bytes: &[u8]| text(bytes).split(':').filter(|d| !d.is_empty()).map(str::to_owned).collect();
        if entry.tag == DT_NEEDED {
            elf.needed.push(text(table.string(entry)?));
        } else if entry.tag == DT_RPATH {
            elf.rpath = list(table.string(entry)?);
        } else if entry.tag == DT_RUNPATH {
            elf.runpath = list(table.string(entry)?);
        }
    }
    if let Some((mut needs, link)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((need, mut versions)) = needs.next()? {
            let library = text(need.file(endian, strings)?);
            while let Some(version) = versions.next()? {
                // a weak demand may stay unmet (VER_FLG_WEAK)
                if version.vna_flags.get(endian).0 & VER_FLG_WEAK.0 == 0 {
                    elf.wants.push((library.clone(), text(version.name(endian, strings)?)));
                }
            }
        }
    }
    if let Some((mut definitions, link)) = sections.gnu_verdef(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut names)) = definitions.next()? {
            // the first name is the version itself, the others are those it builds on
            if let Some(name) = names.next()? {
                elf.defines.insert(text(name.name(endian, strings)?));
            }
        }
    }
    Ok(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_lacks_nothing_here() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(kind(&own).unwrap(), Kind::Elf);
        let elf = read(&own).unwrap();
        assert!(elf.needed.iter().any(|l| l.starts_with("libc.so")), "{elf:?}");
        assert!(elf.wants.iter().any(|(_, version)| version.starts_with("GLIBC_")), "{elf:?}");
        assert_eq!(missing(&own, &SearchPath::new(Vec::new())).unwrap(), []);
    }

    #[test]
    fn all_missing_libraries_are_named_at_once() {
        let own = std::env::current_exe().unwrap();
        let needed = read(&own).unwrap().needed;
        assert!(needed.len() > 1);
        let nowhere = SearchPath::default();
        let named: BTreeSet<String> = missing(&own, &nowhere).unwrap().into_iter().map(|m| m.library).collect();
        assert_eq!(named, needed.into_iter().filter(|n| !n.contains('/')).collect());
    }

    #[test]
    fn a_version_that_the_library_does_not_define_is_missing() {
        let own = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let needed = read(&own).unwrap().needed;
        // some other library, under the name of the C library: it defines none of the versions
        let real = SearchPath::new(Vec::new());
        let other = needed.iter().find(|n| n.starts_with("libgcc_s") || n.starts_with("libm.")).unwrap();
        let libc = needed.iter().find(|n| n.starts_with("libc.so")).unwrap();
        let elf = read(&own).unwrap();
        let at = candidates(other, &own, &elf, &real).find(|p| p.exists()).unwrap();
        fs::copy(at, dir.path().join(libc)).unwrap();
        let path = SearchPath { library_path: vec![dir.path().to_owned()], ..real };
        let missing = missing(&own, &path).unwrap();
        assert!(missing.iter().any(|m| m.library == *libc && m.version.is_some()), "{missing:?}");
    }

    #[test]
    fn scripts_name_their_interpreter_and_garbage_is_no_elf() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        for (bytes, expected) in [
            (&b"#!/bin/sh -e\nexit 0\n"[..], Kind::Script("/bin/sh".into())),
            (b"#! /usr/bin/env python3\n", Kind::Script("/usr/bin/env".into())),
            (b"", Kind::Other),
            (b"\x7fELF\x01old", Kind::Other),
        ] {
            fs::write(&file, bytes).unwrap();
            assert_eq!(kind(&file).unwrap(), expected);
            assert!(missing(&file, &SearchPath::default()).is_err(), "no ELF file of this kind");
        }
        assert!(kind(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_torn_file_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let mut whole = Vec::new();
        File::open(std::env::current_exe().unwrap()).unwrap().take(4096).read_to_end(&mut whole).unwrap();
        for cut in [5, 16, 64, 100, 4096] {
            fs::write(&file, &whole[..cut]).unwrap();
            assert!(missing(&file, &SearchPath::default()).is_err(), "{cut}");
        }
    }

    #[test]
    fn origin_is_the_directory_of_the_file() {
        assert_eq!(expand("$ORIGIN/../lib:x", Path::new("/j/bin")), "/j/bin/../lib:x");
        assert_eq!(expand("${ORIGIN}/x", Path::new("/j")), "/j/x");
    }

    #[test]
    fn the_loaders_configuration_is_read_with_its_includes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for d in ["etc/ld.so.conf.d", "opt/a", "opt/b", "usr/lib"] {
            fs::create_dir_all(root.join(d)).unwrap();
        }
        fs::write(root.join("etc/ld.so.conf"), "include /etc/ld.so.conf.d/*.conf\n/opt/b # comment\n/gone\n").unwrap();
        fs::write(root.join("etc/ld.so.conf.d/a.conf"), "# nothing\n/opt/a\ninclude /etc/ld.so.conf\n").unwrap();
        fs::write(root.join("etc/ld.so.conf.d/b.txt"), "/usr\n").unwrap();
        assert_eq!(system_directories(root), ["opt/a", "opt/b", "usr/lib"].map(|d| root.join(d)));
    }
}
