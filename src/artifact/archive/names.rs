//! Which names and links an archive may have: pure rules, stricter than what a file system takes.

use super::{ArchiveFault, Bound};
use std::path::{Component, Path, PathBuf};

/// Longest name, bytes. Vendors' longest have some 160; the kernel takes 4096 in all, and the store's own path comes before it.
const LONGEST: usize = 1024;

/// A refusal of a name.
pub fn refuse(name: &str, why: &'static str) -> ArchiveFault {
    ArchiveFault::Name { name: name.to_owned(), why }
}

/// The text of a name's bytes.
pub fn text(bytes: &[u8]) -> Result<String, ArchiveFault> {
    if bytes.len() > LONGEST {
        return Err(ArchiveFault::Over { bound: Bound::Name, limit: LONGEST as u64 });
    }
    match std::str::from_utf8(bytes) {
        Err(_) => Err(refuse(&String::from_utf8_lossy(bytes), "is not UTF-8")),
        // A list of names, a log line, a terminal: each would be misled.
        Ok(name) if name.chars().any(char::is_control) => Err(refuse(name, "has a control character in it")),
        Ok(name) => Ok(name.to_owned()),
    }
}

/// The path of a name, of plain components only; empty for `./`.
pub fn checked(name: &str) -> Result<PathBuf, ArchiveFault> {
    if name.is_empty() {
        return Err(refuse(name, "is empty"));
    }
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err(refuse(name, "leads out of its directory")),
            Component::RootDir | Component::Prefix(_) => return Err(refuse(name, "is absolute")),
        }
    }
    Ok(path)
}

/// What a symbolic link at `name` may say, when `target` is what the archive says.
///
/// It may go up at its beginning only, and no further than to the top. Directories that are made are never links, so going up
/// from there is what it seems; going up behind another link would not be.
pub fn link_target(name: &Path, target: &str, absolute: bool) -> Result<PathBuf, ArchiveFault> {
    let refuse = |why| ArchiveFault::Link { name: name.to_string_lossy().into_owned(), target: target.to_owned(), why };
    let depth = name.iter().count().saturating_sub(1);
    let mut path = PathBuf::new();
    let (mut up, mut down) = (0, 0);
    for part in Path::new(target).components() {
        match part {
            Component::RootDir if absolute => {
                up = depth;
                path.extend(std::iter::repeat_n("..", depth));
            }
            Component::RootDir | Component::Prefix(_) => return Err(refuse("is absolute")),
            Component::CurDir => {}
            Component::ParentDir if down > 0 => return Err(refuse("goes up behind a name that may be a link")),
            Component::ParentDir => {
                up += 1;
                if up > depth {
                    return Err(refuse("leads out of the archive's directory"));
                }
                path.push("..");
            }
            Component::Normal(part) => {
                down += 1;
                path.push(part);
            }
        }
    }
    if path.as_os_str().is_empty() { Err(refuse("names nothing")) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass_and_others_are_refused_with_their_reason() {
        for (name, path) in [("a/b", "a/b"), ("./a//b/", "a/b"), ("./", ""), ("a/./b", "a/b"), ("ä b", "ä b")] {
            assert_eq!(checked(name).unwrap(), Path::new(path), "{name}");
        }
        for (name, why) in [
            ("", "is empty"),
            ("/etc/passwd", "is absolute"),
            ("../x", "leads out of its directory"),
            ("a/../b", "leads out of its directory"),
            ("a/..", "leads out of its directory"),
        ] {
            assert!(matches!(checked(name), Err(ArchiveFault::Name { why: w, .. }) if w == why), "{name}");
        }
        for bad in [&b"a\nb"[..], b"a\tb", b"a\x1b[2J", b"a\0b", b"\x7f", "\u{85}".as_bytes(), b"\xff"] {
            assert!(matches!(text(bad), Err(ArchiveFault::Name { .. })), "{bad:?}");
        }
        assert!(matches!(text(&[b'a'; 1025]), Err(ArchiveFault::Over { bound: Bound::Name, .. })));
    }

    #[test]
    fn a_link_may_go_up_at_its_beginning_and_not_above_the_top() {
        let at = |name: &str, target: &str| link_target(Path::new(name), target, false);
        for (name, target) in [("a/b/l", "../../x"), ("l", "x"), ("l", "./x/y"), ("a/l", "../b/c"), ("a/l", "..")] {
            at(name, target).unwrap();
        }
        for (name, target) in
            [("l", "/etc"), ("l", "../x"), ("a/l", "../../x"), ("a/b/l", "s/../x"), ("l", ""), ("l", "."), ("l", "..")]
        {
            assert!(matches!(at(name, target), Err(ArchiveFault::Link { .. })), "{name} -> {target}");
        }
    }

    #[test]
    fn an_absolute_link_of_a_package_is_one_from_its_own_root() {
        let at = |name: &str, target: &str| link_target(Path::new(name), target, true);
        assert_eq!(at("usr/lib/jvm/conf", "/etc/java/conf").unwrap(), Path::new("../../../etc/java/conf"));
        assert_eq!(at("l", "/etc").unwrap(), Path::new("etc"));
        assert!(at("usr/l", "/../x").is_err());
    }
}
