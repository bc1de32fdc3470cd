//! The shape of a MySQL tree made of packages: where its loader, libraries, server and data files are; what is kept.

use super::{
    ArtifactError,
    apt::{Helper, unpack::take, utf8},
    lockfile::MysqlShape,
    manifest,
};
use crate::{
    base::programs::MysqlTree,
    sys::{command::Cancel, fs as sysfs},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest time for one question to an unpacked program; it answers in 40 ms.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the parts of an unpacked tree are.
pub fn shape(tree: &Path) -> Result<MysqlShape, ArtifactError> {
    let lacks = |lacks: &str| ArtifactError::Tree { what: "the unpacked MySQL".into(), lacks: lacks.to_owned() };
    let share = names(tree, "usr/share")
        .into_iter()
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("mysql")))
        .find(|p| tree.join(p).join("charsets/Index.xml").is_file())
        .ok_or_else(|| lacks("share/mysql/charsets/Index.xml"))?;
    let has = |path: &str, what: &str| {
        let path = PathBuf::from(path);
        if tree.join(&path).exists() { Ok(path) } else { Err(lacks(what)) }
    };
    if !tree.join(&share).join("english/errmsg.sys").is_file() {
        return Err(lacks("share/mysql/english/errmsg.sys"));
    }
    let libraries = library_directories(tree);
    if libraries.is_empty() {
        return Err(lacks("a directory of shared libraries"));
    }
    Ok(MysqlShape {
        loader: Some(loader(tree).ok_or_else(|| lacks("a dynamic loader (package libc6)"))?),
        libraries,
        mysqld: has("usr/sbin/mysqld", "usr/sbin/mysqld")?,
        plugins: has("usr/lib/mysql/plugin", "usr/lib/mysql/plugin")?,
        character_sets: share.join("charsets"),
        messages: share,
    })
}

/// The loader as the program's own header names it: `/lib64/ld-linux-x86-64.so.2`, on 64-bit ARM `/lib/ld-linux-aarch64.so.1`.
/// With merged directories the packages ship it under `usr/`.
fn loader(tree: &Path) -> Option<PathBuf> {
    ["usr/lib64", "lib64", "usr/lib", "lib"]
        .iter()
        .flat_map(|d| names(tree, d))
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ld-linux")) && tree.join(p).is_file())
}

/// `usr/lib/x86_64-linux-gnu` and its like; MySQL's private libraries, where a package has some, come first.
fn library_directories(tree: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = vec!["usr/lib/mysql/private".into()];
    for place in ["usr/lib", "lib"] {
        found.extend(
            names(tree, place)
                .into_iter()
                .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().ends_with("-linux-gnu"))),
        );
    }
    found.retain(|p| tree.join(p).is_dir());
    found
}

/// The entries of a directory of the tree, relative to the tree; none when it is not there.
fn names(tree: &Path, directory: &str) -> Vec<PathBuf> {
    let list = manifest::entries(&tree.join(directory)).unwrap_or_default();
    list.iter().map(|e| Path::new(directory).join(e.file_name())).collect()
}

/// Moves what a server needs from `from` into the fresh tree `to`: server, plugins, its data files, loader, shared
/// libraries with OpenSSL's modules. Documentation, translations of other packages, perl and tools stay behind.
pub fn keep(from: &Path, to: &Path, shape: &MysqlShape) -> Result<(), ArtifactError> {
    take(from, to, &shape.mysqld)?;
    take(from, to, &shape.messages)?;
    if let Some(loader) = &shape.loader {
        take(from, to, loader)?;
    }
    // private libraries and plugins
    take(from, to, Path::new("usr/lib/mysql"))?;
    for directory in &shape.libraries {
        for path in names(from, utf8(directory)?) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let library = name.contains(".so") && !from.join(&path).is_dir();
            if library || name == "ossl-modules" || name == "sasl2" {
                take(from, to, &path)?;
            }
        }
    }
    Ok(())
}

/// The words in front of `mysqld`: the tree's own loader, looking nowhere but into the tree. `--inhibit-cache` keeps the
/// host's library cache out, which knows libraries made for another libc. None for a tree that the host's loader runs.
pub fn launcher(tree: &Path, shape: &MysqlShape) -> Result<Vec<String>, ArtifactError> {
    let Some(loader) = &shape.loader else { return Ok(Vec::new()) };
    let directories: Vec<String> =
        shape.libraries.iter().map(|d| Ok(utf8(&tree.join(d))?.to_owned())).collect::<Result<_, ArtifactError>>()?;
    Ok(vec![
        utf8(&tree.join(loader))?.to_owned(),
        "--inhibit-cache".into(),
        "--library-path".into(),
        directories.join(":"),
    ])
}

/// Asks the loader for the libraries of `mysqld` and refuses a tree in which one is missing or comes from outside.
pub fn check_libraries(tree: &Path, shape: &MysqlShape, cancel: &Cancel) -> Result<(), ArtifactError> {
    let mysqld = tree.join(&shape.mysqld);
    let said = ask(tree, shape, &["--list"], &[], cancel)?;
    let missing = unresolved(&said, tree);
    if missing.is_empty() { Ok(()) } else { Err(ArtifactError::Libraries { program: mysqld, missing }) }
}

/// Asks `mysqld` for its version.
pub fn version(tree: &Path, shape: &MysqlShape, cancel: &Cancel) -> Result<String, ArtifactError> {
    let said = ask(tree, shape, &[], &["--no-defaults", "--version"], cancel)?;
    parse_version(&said)
        .ok_or_else(|| ArtifactError::Version { program: tree.join(&shape.mysqld), said: said.trim().to_owned() })
}

fn ask(
    tree: &Path,
    shape: &MysqlShape,
    for_loader: &[&str],
    for_mysqld: &[&str],
    cancel: &Cancel,
) -> Result<String, ArtifactError> {
    let launcher = launcher(tree, shape)?;
    let mysqld = tree.join(&shape.mysqld);
    let mut args: Vec<&str> = Vec::new();
    let program = match launcher.split_first() {
        Some((loader, rest)) => {
            args.extend(rest.iter().map(String::as_str));
            args.extend(for_loader);
            args.push(utf8(&mysqld)?);
            Path::new(loader)
        }
        None => mysqld.as_path(),
    };
    args.extend(for_mysqld);
    let helper = Helper { name: "mysqld", program, env: Vec::new(), dir: tree };
    Ok(helper.run(&args, "ask it for its version and libraries", LIMIT, cancel)?.stdout)
}

/// Lines of the loader's list (`NAME => PATH (0x…)`, `NAME => not found`) that do not end inside the tree.
fn unresolved(list: &str, tree: &Path) -> Vec<String> {
    list.lines()
        .filter_map(|line| line.trim().split_once(" => "))
        .filter(|(_, path)| !Path::new(path.split(" (").next().unwrap_or_default()).starts_with(tree))
        .map(|(name, path)| match path.strip_prefix("not found") {
            Some(_) => name.to_owned(),
            None => format!("{name} (only the host's {})", path.split(" (").next().unwrap_or_default()),
        })
        .collect()
}

/// The number behind `Ver` in `…/mysqld  Ver 8.0.46-0ubuntu0.24.04.1 for Linux on x86_64 ((Ubuntu))`.
fn parse_version(said: &str) -> Option<String> {
    let rest = said.split("Ver ").nth(1)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let version = &rest[..end];
    numbers(version).map(|_| version.to_owned())
}

/// The three numbers of a version.
pub fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let all: Vec<u32> = version.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let [major, minor, patch] = all[..] else { return None };
    Some((major, minor, patch))
}

/// The tree as recipes use it.
pub fn programs(tree: &Path, shape: &MysqlShape, version: &str, content: &str) -> Result<MysqlTree, ArtifactError> {
    let (major, minor, _) = numbers(version)
        .ok_or_else(|| ArtifactError::Version { program: tree.join(&shape.mysqld), said: version.to_owned() })?;
    Ok(MysqlTree {
        version: version.to_owned(),
        series: (major, minor),
        launcher: launcher(tree, shape)?,
        mysqld: tree.join(&shape.mysqld),
        basedir: if shape.loader.is_some() { tree.join("usr") } else { tree.to_owned() },
        messages_dir: tree.join(&shape.messages),
        character_sets_dir: tree.join(&shape.character_sets),
        plugin_dir: tree.join(&shape.plugins),
        content: content.to_owned(),
    })
}

/// A fresh tree below `work` with what [`keep`] keeps.
pub fn kept(unpacked: &Path, to: PathBuf) -> Result<(PathBuf, MysqlShape), ArtifactError> {
    let shape = shape(unpacked)?;
    sysfs::make_dir(&to, 0o755)?;
    keep(unpacked, &to, &shape)?;
    // The loader is a link in some packages: what it names must have come along.
    if let Some(loader) = &shape.loader {
        fs::metadata(to.join(loader)).map_err(|_| ArtifactError::Tree {
            what: "the kept part of MySQL".into(),
            lacks: format!("what {} links to", loader.display()),
        })?;
    }
    Ok((to, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn versions_are_read_from_what_mysqld_says() {
        let said = "/x/mysqld  Ver 8.0.46-0ubuntu0.24.04.1 for Linux on x86_64 ((Ubuntu))\n";
        assert_eq!(parse_version(said).as_deref(), Some("8.0.46"));
        assert_eq!(parse_version("mysqld  Ver 9.7.4-2 for Linux").as_deref(), Some("9.7.4"));
        assert_eq!(parse_version("mysqld  Ver 10 for Linux"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn libraries_not_found_or_only_on_the_host_are_all_named() {
        let list = "\tlinux-vdso.so.1 (0x1)\n\tlibaio.so.1 => not found\n\tlibc.so.6 => /t/lib/libc.so.6 (0x2)\n\
                    \tlibz.so.1 => /lib/libz.so.1 (0x3)\n\tlibnuma.so.1 => not found\n";
        assert_eq!(
            unresolved(list, Path::new("/t")),
            ["libaio.so.1", "libz.so.1 (only the host's /lib/libz.so.1)", "libnuma.so.1"]
        );
    }

    #[test]
    fn the_shape_is_found_in_merged_and_unmerged_trees_and_only_the_server_is_kept() {
        for (lib, loader_dir) in [("usr/lib/x86_64-linux-gnu", "usr/lib64"), ("lib/x86_64-linux-gnu", "lib64")] {
            let dir = tempfile::tempdir().unwrap();
            let tree = dir.path().join("t");
            for file in [
                "usr/sbin/mysqld",
                "usr/bin/perl",
                "usr/lib/mysql/plugin/a.so",
                "usr/share/mysql/charsets/Index.xml",
                "usr/share/mysql/english/errmsg.sys",
                "usr/share/doc/x/copyright",
                &format!("{lib}/libc.so.6"),
                &format!("{lib}/ld-linux-x86-64.so.2"),
                &format!("{lib}/perl/5/x.so"),
            ] {
                let path = tree.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            fs::create_dir_all(tree.join(loader_dir)).unwrap();
            let up = "../".repeat(loader_dir.split('/').count());
            let link = format!("{up}{lib}/ld-linux-x86-64.so.2");
            symlink(link, tree.join(loader_dir).join("ld-linux-x86-64.so.2")).unwrap();
            let (kept, shape) = kept(&tree, dir.path().join("k")).unwrap();
            assert_eq!(shape.loader, Some(Path::new(loader_dir).join("ld-linux-x86-64.so.2")));
            assert_eq!(shape.libraries, [Path::new(lib)]);
            assert!(kept.join(lib).join("libc.so.6").is_file());
            assert!(kept.join(&shape.messages).join("english/errmsg.sys").is_file());
            for gone in ["usr/bin", "usr/share/doc", &format!("{lib}/perl")] {
                assert!(!kept.join(gone).exists(), "{gone}");
            }
        }
    }

    #[test]
    fn a_tree_without_a_part_is_refused_by_that_parts_name() {
        let dir = tempfile::tempdir().unwrap();
        let e = shape(dir.path()).unwrap_err().to_string();
        assert_eq!(e, "the unpacked MySQL lacks share/mysql/charsets/Index.xml");
    }
}
