//! The real mysqld as a vendor lays it out, on a host that has libaio under its new name only and no libnuma.

use cdc_supervisor::{
    artifact::libraries::{complete, described},
    sys::elf::{self, SearchPath},
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// The MySQL tree of the shared store.
fn stored() -> PathBuf {
    let store = std::env::var("CDC_TEST_STORE").expect("CDC_TEST_STORE names a filled artifact store");
    let entries = fs::read_dir(store).unwrap().map(|e| e.unwrap().path());
    let mut trees = entries.filter(|p| p.join("usr/sbin/mysqld").is_file());
    trees.next().expect("the store has a MySQL made of packages")
}

fn names(program: &Path, search: &SearchPath) -> Vec<String> {
    let mut names: Vec<String> = elf::missing(program, search).unwrap().iter().map(described).collect();
    names.dedup();
    names
}

#[test]
fn a_mysqld_that_asks_for_the_old_libaio_is_completed_and_runs() {
    let tree = stored();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for d in ["tree/bin", "tree/lib/private", "host", "package/usr/lib"] {
        fs::create_dir_all(at(d)).unwrap();
    }
    // what the vendor's asks for: the name before the renaming, in the string table once
    let mut bytes = fs::read(tree.join("usr/sbin/mysqld")).unwrap();
    let new = b"libaio.so.1t64\0";
    let found = bytes.windows(new.len()).position(|w| w == new).expect("the distribution's asks for the new name");
    bytes[found + b"libaio.so.1".len()..found + new.len()].fill(0);
    let mysqld = at("tree/bin/mysqld");
    fs::write(&mysqld, bytes).unwrap();
    fs::set_permissions(&mysqld, fs::Permissions::from_mode(0o755)).unwrap();
    let mut loader = None;
    for directory in fs::read_dir(tree.join("usr/lib")).unwrap().map(|e| e.unwrap().path()) {
        if !directory.file_name().unwrap().to_string_lossy().ends_with("-linux-gnu") {
            continue;
        }
        for library in fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()) {
            let name = library.file_name().unwrap().to_str().unwrap().to_owned();
            let to = match name.as_str() {
                "libaio.so.1t64" => at("host").join(&name),
                name if name.starts_with("libnuma.so") => at("package/usr/lib").join(name),
                name if name.starts_with("libaio") => continue,
                name => at("tree/lib/private").join(name),
            };
            if name.starts_with("ld-linux") {
                loader = Some(library.clone());
            }
            symlink(&library, to).unwrap();
        }
    }
    let private = at("tree/lib/private");
    let search = SearchPath { library_path: vec![private.clone()], system: vec![at("host")] };
    assert_eq!(names(&mysqld, &search), ["libaio.so.1", "libnuma.so.1"], "both at once");
    let added = complete(&mysqld, &private, &search, &|packages| {
        assert_eq!(packages, ["libnuma1"]);
        Ok((at("package"), Vec::new()))
    })
    .unwrap();
    assert_eq!(added.notes.len(), 2, "{added:?}");
    assert!(names(&mysqld, &search).is_empty());
    let loader = loader.expect("the tree has its loader");
    let done = Command::new(loader)
        .args(["--inhibit-cache", "--library-path"])
        .arg(&private)
        .arg(&mysqld)
        .args(["--no-defaults", "--version"])
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("Ver "), "{said}{}", String::from_utf8_lossy(&done.stderr));
    println!("{added:?}\n{said}");
}
