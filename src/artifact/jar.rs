//! What a jar says of itself: which program it is, which version, and which Java its classes were compiled for.
//!
//! Reads the directory at the end of the zip file, the manifest and the first bytes of some classes, never the whole.

use flate2::read::DeflateDecoder;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// The end record with the longest comment (APPNOTE.TXT, 4.3.16).
const END_MAX: u64 = 22 + 65_535;

/// A jar of some hundred nested ones has a directory of a few hundred kB; more than this is no jar of ours.
const DIRECTORY_MAX: u64 = 64 << 20;

/// Longest manifest read.
const MANIFEST_MAX: u64 = 1 << 20;

/// How many classes are looked at. One build compiles all of its own for the same release.
const CLASSES: usize = 32;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jar {
    /// `Start-Class` of a Spring Boot jar, else `Main-Class`.
    pub main_class: String,
    /// `Implementation-Version`.
    pub version: Option<String>,
    /// The oldest Java release that can run its own classes (those of nested jars are not looked at).
    pub java: u32,
}

/// Reads a jar. The error is a sentence without its subject.
pub fn read(path: &Path) -> Result<Jar, String> {
    let mut file = File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    let entries = directory(&mut file)?;
    let manifest = entries.iter().find(|e| e.name == "META-INF/MANIFEST.MF");
    let manifest = manifest.ok_or("has no META-INF/MANIFEST.MF, so it is no program")?;
    let manifest = String::from_utf8_lossy(&contents(&mut file, manifest, MANIFEST_MAX)?).into_owned();
    let main_class = attribute(&manifest, "Start-Class").or_else(|| attribute(&manifest, "Main-Class"));
    let main_class = main_class.ok_or("names no Main-Class, so it is no program")?;
    let java = newest_class(&mut file, &entries)?;
    Ok(Jar { main_class, version: attribute(&manifest, "Implementation-Version"), java })
}

/// One file in the zip.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    method: u16,
    packed: u64,
    header: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn directory(file: &mut File) -> Result<Vec<Entry>, String> {
    let failed = |e: std::io::Error| format!("cannot be read: {e}");
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let start = length.saturating_sub(END_MAX);
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut tail = Vec::new();
    file.take(END_MAX).read_to_end(&mut tail).map_err(failed)?;
    let found = tail.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or_else(|| no_zip(file))?;
    let end = &tail[found..];
    let torn = || "is a zip file whose directory is torn".to_owned();
    let comment = u16_at(end, 20).ok_or_else(torn)?;
    if end.len() < 22 + usize::from(comment) {
        return Err(torn());
    }
    let (size, offset) = (u32_at(end, 12).ok_or_else(torn)?, u32_at(end, 16).ok_or_else(torn)?);
    let (size, offset) = (u64::from(size), u64::from(offset));
    if size > DIRECTORY_MAX || offset + size > length {
        return Err(torn());
    }
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).map_err(failed)?;
    let mut entries = Vec::new();
    let mut at = 0;
    while bytes.get(at..at + 4) == Some(b"PK\x01\x02") {
        let head = &bytes[at..];
        let read = || {
            let lengths = [u16_at(head, 28)?, u16_at(head, 30)?, u16_at(head, 32)?].map(usize::from);
            let name = String::from_utf8_lossy(head.get(46..46 + lengths[0])?).into_owned();
            let entry = Entry {
                name,
                method: u16_at(head, 10)?,
                packed: u32_at(head, 20)?.into(),
                header: u32_at(head, 42)?.into(),
            };
            Some((entry, 46 + lengths.iter().sum::<usize>()))
        };
        let (entry, step) = read().ok_or_else(torn)?;
        entries.push(entry);
        at += step;
    }
    Ok(entries)
}

/// Words for a file that is something else.
fn no_zip(file: &mut File) -> String {
    let mut head = [0; 5];
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read(&mut head));
    match read {
        Ok(0) => "is empty".into(),
        Ok(_) if head.starts_with(b"<") => {
            "is a page of HTML or XML, not a jar: what was downloaded is an answer".into()
        }
        Ok(_) | Err(_) => "is not a jar, or only a part of one: it has no directory at its end".into(),
    }
}

/// The first `most` bytes of an entry.
fn contents(file: &mut File, entry: &Entry, most: u64) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("cannot be read: {e}");
    let torn = || format!("is damaged at {}", entry.name);
    let mut head = [0; 30];
    file.seek(SeekFrom::Start(entry.header)).and_then(|_| file.read_exact(&mut head)).map_err(failed)?;
    if !head.starts_with(b"PK\x03\x04") {
        return Err(torn());
    }
    let skip = u16_at(&head, 26).zip(u16_at(&head, 28)).map(|(a, b)| i64::from(a) + i64::from(b)).ok_or_else(torn)?;
    file.seek(SeekFrom::Current(skip)).map_err(failed)?;
    let mut out = Vec::new();
    let packed = file.take(entry.packed);
    let read = match entry.method {
        0 => packed.take(most).read_to_end(&mut out),
        8 => DeflateDecoder::new(packed).take(most).read_to_end(&mut out),
        method => return Err(format!("has {} packed by method {method}, which no jar uses", entry.name)),
    };
    read.map_err(|_| torn())?;
    Ok(out)
}

/// The newest class-file version among the program's own classes, as a Java release: major version minus 44 (JVMS, table 4.1-A).
fn newest_class(file: &mut File, entries: &[Entry]) -> Result<u32, String> {
    let is_class = |e: &&Entry| e.name.ends_with(".class") && !e.name.ends_with("module-info.class");
    // a Spring Boot jar keeps its own classes there; beside them lies its launcher, compiled for an older release
    let own: Vec<&Entry> =
        entries.iter().filter(is_class).filter(|e| e.name.starts_with("BOOT-INF/classes/")).take(CLASSES).collect();
    let own = if own.is_empty() {
        // copies for newer releases are only used by those (JEP 238)
        entries.iter().filter(is_class).filter(|e| !e.name.starts_with("META-INF/")).take(CLASSES).collect()
    } else {
        own
    };
    let mut newest = None;
    for entry in own {
        let head = contents(file, entry, 8)?;
        let major = match head[..] {
            [0xca, 0xfe, 0xba, 0xbe, _, _, high, low] => u32::from(u16::from_be_bytes([high, low])),
            _ => return Err(format!("has {}, which is no class", entry.name)),
        };
        newest = newest.max(Some(major.saturating_sub(44)));
    }
    newest.ok_or_else(|| "has no class of its own".into())
}

/// The value of an attribute in the main section. A line that begins with a space goes on where the one before ended
/// (JAR File Specification, "Notes on Manifest and Signature Files").
fn attribute(manifest: &str, name: &str) -> Option<String> {
    let mut lines = manifest.lines().map(|l| l.trim_end_matches('\r')).take_while(|l| !l.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let mut whole = line.to_owned();
        while let Some(more) = lines.next_if(|l| l.starts_with(' ')) {
            whole.push_str(&more[1..]);
        }
        if let Some((key, value)) = whole.split_once(':')
            && key.eq_ignore_ascii_case(name)
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder};
    use std::{fs, io::Write};

    /// A zip file; contents of names that end with `.class` are packed, the others stored.
    pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, data) in files {
            let (method, packed) = if name.ends_with(".class") {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(data).unwrap();
                (8u16, encoder.finish().unwrap())
            } else {
                (0, data.to_vec())
            };
            let header = u32::try_from(out.len()).unwrap();
            let mut common = vec![20, 0, 0, 0];
            common.extend(method.to_le_bytes());
            common.extend([0; 8]);
            common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
            common.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            common.extend([0; 2]);
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(name.as_bytes());
            out.extend(packed);
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(header.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (at, size) = (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
        out.extend(directory);
        out.extend(b"PK\x05\x06\0\0\0\0\0\0\0\0");
        out.extend(size.to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend([0; 2]);
        out
    }

    /// A class file's head for a Java release.
    pub fn class(java: u8) -> Vec<u8> {
        vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, java + 44, 1, 2, 3]
    }

    /// A jar like those of the project.
    pub fn ui_jar(start_class: &str, version: &str, java: u8) -> Vec<u8> {
        let manifest = format!(
            "Manifest-Version: 1.0\r\nMain-Class: org.springframework.boot.loader.JarLauncher\r\nStart-Class: {}\r\n {}\r\n\
             Implementation-Version: {version}\r\n\r\nName: x\r\nStart-Class: other\r\n",
            &start_class[..6],
            &start_class[6..]
        );
        zip(&[
            ("META-INF/MANIFEST.MF", manifest.as_bytes()),
            ("org/springframework/boot/loader/JarLauncher.class", &class(8)),
            ("BOOT-INF/classes/a/A.class", &class(java)),
            ("BOOT-INF/classes/module-info.class", &class(60)),
            ("BOOT-INF/lib/x.jar", b"PK"),
        ])
    }

    fn of(bytes: &[u8]) -> Result<Jar, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jar");
        fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn a_spring_boot_jar_says_its_program_version_and_java() {
        let jar = of(&ui_jar("io.kafbat.ui.KafkaUiApplication", "1.5.0", 25)).unwrap();
        assert_eq!(jar.main_class, "io.kafbat.ui.KafkaUiApplication");
        assert_eq!(
            (jar.version.as_deref(), jar.java),
            (Some("1.5.0"), 25),
            "the launcher's own release does not count"
        );
    }

    #[test]
    fn a_plain_jar_is_read_by_its_main_class() {
        let jar = of(&zip(&[
            ("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\nMain-Class: a.Main\n"),
            ("a/Main.class", &class(17)),
            ("META-INF/versions/21/a/Main.class", &class(21)),
        ]));
        assert_eq!(jar.unwrap(), Jar { main_class: "a.Main".into(), version: None, java: 17 });
    }

    #[test]
    fn what_is_no_program_is_refused_by_what_it_is() {
        for (bytes, why) in [
            (&b""[..], "is empty"),
            (b"<!DOCTYPE html><html>", "page of HTML"),
            (b"garbage", "is not a jar"),
            (&zip(&[("a.txt", b"x")]), "no META-INF/MANIFEST.MF"),
            (&zip(&[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n")]), "no Main-Class"),
            (&zip(&[("META-INF/MANIFEST.MF", b"Main-Class: a\n")]), "no class of its own"),
            (&zip(&[("META-INF/MANIFEST.MF", b"Main-Class: a\n"), ("a.class", b"1234")]), "is no class"),
        ] {
            let e = of(bytes).unwrap_err();
            assert!(e.contains(why), "{e}");
        }
    }

    #[test]
    fn a_jar_cut_anywhere_or_with_any_byte_changed_is_an_error_or_the_same_and_no_panic() {
        let whole = ui_jar("com.provectus.kafka.ui.KafkaUiApplication", "v0.7.2", 17);
        for cut in 0..whole.len() {
            assert!(of(&whole[..cut]).is_err(), "{cut}");
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            let _ = of(&bent);
        }
    }
}
