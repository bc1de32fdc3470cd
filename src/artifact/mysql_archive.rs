//! MySQL as its vendor packs it ("Linux - Generic"): which files are kept, and where the parts of the tree are.

use super::{ArtifactError, archive::Keep, lockfile::MysqlShape};
use std::path::{Path, PathBuf};

/// The server, what it loads and its messages. The clients, the test suite, headers, manual pages, the plugins for debugging
/// and the dictionaries of mecab (129 MB, for Japanese full-text search) stay in the archive.
pub fn selection(path: &Path) -> Keep {
    let below = |directory: &str| path.starts_with(directory);
    let licence = path.components().count() == 1 && ["LICENSE", "README"].iter().any(|n| path.starts_with(n));
    let kept = path == Path::new("bin/mysqld")
        || below("lib/private")
        || (below("lib/plugin") && !below("lib/plugin/debug"))
        || (below("share") && !below("share/doc"))
        || licence;
    if kept { Keep::Yes } else { Keep::No }
}

/// Where the parts of an unpacked tree are (MySQL manual, "Installation Layout for Generic Unix/Linux Binary Package"). The
/// server is run by the host's loader and finds its own libraries through its run path, `$ORIGIN/../lib/private`.
pub fn shape(tree: &Path) -> Result<MysqlShape, ArtifactError> {
    let there = |path: &str| {
        let lacks = || ArtifactError::Tree { what: "the archive of MySQL".into(), lacks: path.to_owned() };
        if tree.join(path).exists() { Ok(PathBuf::from(path)) } else { Err(lacks()) }
    };
    there("share/english/errmsg.sys")?;
    there("share/charsets/Index.xml")?;
    Ok(MysqlShape {
        loader: None,
        libraries: vec![there("lib/private")?],
        mysqld: there("bin/mysqld")?,
        messages: there("share")?,
        character_sets: there("share/charsets")?,
        plugins: there("lib/plugin")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_server_is_kept_and_what_a_server_does_not_need_is_not() {
        for kept in [
            "bin/mysqld",
            "lib/private/libcrypto.so.3",
            "lib/private/sasl2/libgssapiv2.so",
            "lib/private/icudt77l/brkitr/char.brk",
            "lib/plugin/component_reference_cache.so",
            "share/english/errmsg.sys",
            "share/charsets/Index.xml",
            "LICENSE",
        ] {
            assert_eq!(selection(Path::new(kept)), Keep::Yes, "{kept}");
        }
        for left in [
            "bin/mysql",
            "bin/mysqld-debug",
            "mysql-test/t/a.test",
            "lib/plugin/debug/a.so",
            "lib/mecab/dic/a.dic",
            "lib/libmysqlclient.a",
            "include/mysql.h",
            "man/man1/mysql.1",
            "docs/INFO_SRC",
        ] {
            assert_eq!(selection(Path::new(left)), Keep::No, "{left}");
        }
    }

    #[test]
    fn a_tree_without_a_part_is_refused_by_that_parts_name() {
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let lacks = || shape(dir.path()).unwrap_err().to_string();
        assert_eq!(lacks(), "the archive of MySQL lacks share/english/errmsg.sys");
        for file in ["share/english/errmsg.sys", "share/charsets/Index.xml", "lib/private/a.so", "lib/plugin/a.so"] {
            make(file);
        }
        assert_eq!(lacks(), "the archive of MySQL lacks bin/mysqld");
        make("bin/mysqld");
        let shape = shape(dir.path()).unwrap();
        assert_eq!((shape.loader, shape.mysqld.as_path()), (None, Path::new("bin/mysqld")));
    }
}
