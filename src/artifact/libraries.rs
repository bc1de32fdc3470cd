//! Shared libraries that a vendor's program needs and this host does not have under that name: put into the program's own library
//! directory, from the host's file of another name or from the distribution's package. Nothing outside the tree is touched.
//!
//! Done before the tree is sealed, so that its list of files names them and every later comparison knows them.

use super::{
    ArtifactError, Host, Part, Progress,
    apt::{self, AptRoot, unpack},
    lockfile::Package,
    store::Work,
};
use crate::sys::{
    command::Cancel,
    elf::{self, Kind, Missing, SearchPath},
    error::SysError,
    fs as sysfs,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Names under which a host may have the same library. With 64-bit `time_t` Debian 13 and Ubuntu 24.04 renamed libaio; on 64-bit
/// machines its entry points and versions stayed as they were (vitessio/vitess#19912, the patches of the package).
const RENAMED: [(&str, &str); 1] = [("libaio.so.1", "libaio.so.1t64")];

/// The Ubuntu 24.04 package of a library (packages.ubuntu.com, noble; Debian 13 has the same names).
const PACKAGES: [(&str, &str); 27] = [
    ("libaio.so", "libaio1t64"),
    ("libnuma.so.1", "libnuma1"),
    ("libncurses.so.6", "libncurses6"),
    ("libncursesw.so.6", "libncursesw6"),
    ("libtinfo.so.6", "libtinfo6"),
    ("libssl.so.3", "libssl3t64"),
    ("libcrypto.so.3", "libssl3t64"),
    ("libz.so.1", "zlib1g"),
    ("liblz4.so.1", "liblz4-1"),
    ("libzstd.so.1", "libzstd1"),
    ("libstdc++.so.6", "libstdc++6"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libc.so.6", "libc6"),
    ("libm.so.6", "libc6"),
    ("libpthread.so.0", "libc6"),
    ("libdl.so.2", "libc6"),
    ("librt.so.1", "libc6"),
    ("ld-linux", "libc6"),
    ("libsystemd.so.0", "libsystemd0"),
    ("libselinux.so.1", "libselinux1"),
    ("libsasl2.so.2", "libsasl2-2"),
    ("libprotobuf-lite.so.32", "libprotobuf-lite32t64"),
    ("libevent_core-2.1.so.7", "libevent-core-2.1-7t64"),
    ("libmecab.so.2", "libmecab2"),
    ("libfreetype.so.6", "libfreetype6"),
    ("libasound.so.2", "libasound2t64"),
    ("libX11.so.6", "libx11-6"),
];

/// The package that has a library, by the names of Ubuntu 24.04.
pub fn package_of(library: &str) -> Option<&'static str> {
    PACKAGES.iter().find(|(start, _)| library.starts_with(start)).map(|(_, package)| *package)
}

/// `GLIBC_2.38 of libc.so.6`, `libaio.so.1`.
pub fn described(missing: &Missing) -> String {
    match &missing.version {
        None => missing.library.clone(),
        Some(version) => format!("{version} of {}", missing.library),
    }
}

/// What was put into a program's library directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// One sentence for each library.
    pub notes: Vec<String>,
    /// The packages they came from, where they came from packages.
    pub packages: Vec<Package>,
}

/// Packages by name -> a directory in which they are unpacked beside each other, and what they were.
pub type FromPackages<'a> = &'a dyn Fn(&[&'static str]) -> Result<(PathBuf, Vec<Package>), ArtifactError>;

/// Puts what `program` lacks into `directory`, which must be on its search path, and refuses a program that lacks something all
/// the same, with everything it lacks. `search` is where libraries are looked for besides the program's own run path.
pub fn complete(
    program: &Path,
    directory: &Path,
    search: &SearchPath,
    from_packages: FromPackages<'_>,
) -> Result<Added, ArtifactError> {
    let lacks = || elf::missing(program, search).map_err(|e| SysError::path("read the libraries of", program, e));
    let refused = |missing: &[Missing]| {
        let mut words: Vec<String> = missing.iter().map(described).collect();
        words.dedup();
        ArtifactError::Libraries { program: program.to_owned(), missing: words }
    };
    let mut added = Added::default();
    let missing = lacks()?;
    if missing.is_empty() {
        return Ok(added);
    }
    // An older C library is no matter of one file more.
    if missing.iter().any(|m| m.version.is_some()) {
        return Err(refused(&missing));
    }
    for name in names(&missing) {
        let other = RENAMED.iter().filter(|(asked, _)| *asked == name).map(|(_, other)| *other);
        let found =
            other.flat_map(|other| search.system.iter().map(move |dir| dir.join(other))).find(|f| is_library(f));
        if let Some(found) = found {
            put(&found, directory, name)?;
            added.notes.push(format!("{name} is this host's {}, copied beside the program", found.display()));
        }
    }
    let missing = lacks()?;
    let wanted: BTreeSet<&'static str> = names(&missing).into_iter().filter_map(package_of).collect();
    if !wanted.is_empty() {
        let wanted: Vec<&'static str> = wanted.into_iter().collect();
        let (tree, packages) = match from_packages(&wanted) {
            Ok(got) => got,
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            // what is lacking is what a person can act on; why a package did not come is its cause
            Err(why) => {
                return Err(ArtifactError::LibrariesNotFetched {
                    program: program.to_owned(),
                    missing: names(&missing).into_iter().map(str::to_owned).collect(),
                    why: Box::new(why),
                });
            }
        };
        let inside = SearchPath::below(&tree).system;
        for name in names(&missing) {
            let other = RENAMED.iter().filter(|(asked, _)| *asked == name).map(|(_, other)| *other);
            let all = std::iter::once(name).chain(other).flat_map(|name| inside.iter().map(move |dir| dir.join(name)));
            let Some(found) = all.into_iter().find(|f| is_library(f)) else { continue };
            put(&found, directory, name)?;
            let from = package_of(name).unwrap_or("its package");
            added.notes.push(format!("{name} is from package {from}, put beside the program"));
        }
        added.packages = packages;
    }
    let left = lacks()?;
    if left.is_empty() { Ok(added) } else { Err(refused(&left)) }
}

/// Downloads packages of this host's own release into `work` and unpacks them there.
pub fn from_host_packages(
    packages: &[&'static str],
    host: &Host,
    work: &Work,
    part: Part,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(PathBuf, Vec<Package>), ArtifactError> {
    let mut failures = Vec::new();
    for archive in apt::host_archives(host, work, cancel)? {
        let Some(first) = archive.suites.first() else { continue };
        let attempt = AptRoot::make(host, work, &archive, &archive.suites, cancel).and_then(|root| {
            let mut all = Vec::new();
            for package in packages {
                // the directory keeps what came before
                all = root.download_one(package, part, progress, cancel)?;
            }
            let tree = unpack::unpack(host, work, "libraries", all.iter().map(|(path, _)| path.as_path()), cancel)?;
            Ok((tree, all.into_iter().map(|(_, package)| package).collect()))
        });
        match attempt {
            Ok(got) => return Ok(got),
            Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
            Err(e) => failures.push((format!("{} {}", first.uri, first.name), e)),
        }
    }
    Err(ArtifactError::of_sources(part, failures))
}

fn names(missing: &[Missing]) -> BTreeSet<&str> {
    missing.iter().map(|m| m.library.as_str()).collect()
}

fn is_library(file: &Path) -> bool {
    matches!(elf::kind(file), Ok(Kind::Elf))
}

/// A copy, not a link: the tree is whole by itself, and an update of the host's package changes nothing under a running server.
fn put(from: &Path, directory: &Path, name: &str) -> Result<(), SysError> {
    sysfs::make_dir(directory, 0o755)?;
    let to = directory.join(name);
    fs::copy(from, &to).map_err(|e| SysError::path("copy", from, e))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).map_err(|e| SysError::path("set the mode of", &to, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A program in `tree/bin` that asks for libaio.so.1 and libnuma.so.1 in `tree/lib/private`, as a vendor's mysqld does; a
    /// host that has the first under its new name; a package with the second.
    struct Bench {
        dir: tempfile::TempDir,
        search: SearchPath,
    }

    fn cc(dir: &Path, arguments: &[&str]) {
        let done = Command::new("cc").current_dir(dir).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path();
            for d in ["tree/bin", "tree/lib/private", "host", "stub", "package/usr/lib"] {
                fs::create_dir_all(at.join(d)).unwrap();
            }
            fs::write(at.join("aio.c"), "int aio(void) { return 40; }\n").unwrap();
            fs::write(at.join("numa.c"), "int numa(void) { return 2; }\n").unwrap();
            let main = "int aio(void); int numa(void); int main(void) { return aio() + numa() == 42 ? 0 : 1; }\n";
            fs::write(at.join("main.c"), main).unwrap();
            let library = |source: &str, soname: &str, to: &str| {
                let soname = format!("-Wl,-soname,{soname}");
                cc(at, &["-shared", "-fPIC", &soname, "-o", to, source]);
            };
            library("aio.c", "libaio.so.1", "stub/libaio.so.1");
            library("numa.c", "libnuma.so.1", "stub/libnuma.so.1");
            library("aio.c", "libaio.so.1t64", "host/libaio.so.1t64");
            library("numa.c", "libnuma.so.1", "package/usr/lib/libnuma.so.1");
            let run_path = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib/private";
            let out = ["-o", "tree/bin/server", "main.c", "stub/libaio.so.1", "stub/libnuma.so.1", run_path];
            cc(at, &out);
            // the C library of this machine and nothing else of it: whether it has a libaio does not matter
            let real = SearchPath::new(Vec::new()).system;
            for name in ["libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"] {
                if let Some(found) = real.iter().map(|d| d.join(name)).find(|f| f.exists()) {
                    std::os::unix::fs::symlink(found, at.join("host").join(name)).unwrap();
                }
            }
            let search = SearchPath { library_path: Vec::new(), system: vec![at.join("host")] };
            Self { dir, search }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn complete(&self, from_packages: FromPackages<'_>) -> Result<Added, ArtifactError> {
            complete(&self.path("tree/bin/server"), &self.path("tree/lib/private"), &self.search, from_packages)
        }

        fn runs(&self) -> bool {
            Command::new(self.path("tree/bin/server")).output().unwrap().status.success()
        }
    }

    #[test]
    fn what_is_missing_comes_from_the_hosts_other_name_and_from_a_package_and_the_program_runs() {
        let bench = Bench::new();
        assert!(!bench.runs());
        let asked = std::cell::RefCell::new(Vec::new());
        let package = Package {
            name: "libnuma1".into(),
            version: "2".into(),
            architecture: "amd64".into(),
            sha256: "00".into(),
            bytes: 1,
        };
        let added = bench
            .complete(&|packages| {
                asked.borrow_mut().extend_from_slice(packages);
                Ok((bench.path("package"), vec![package.clone()]))
            })
            .unwrap();
        assert_eq!(asked.into_inner(), ["libnuma1"], "the host has the other one");
        assert_eq!(added.packages, [package]);
        assert!(added.notes[0].starts_with("libaio.so.1 is this host's"), "{added:?}");
        assert_eq!(added.notes[1], "libnuma.so.1 is from package libnuma1, put beside the program");
        assert!(bench.runs());
        // a second look finds nothing to do
        assert_eq!(bench.complete(&|_| panic!("nothing is asked for")).unwrap(), Added::default());
        assert!(fs::symlink_metadata(bench.path("tree/lib/private/libaio.so.1")).unwrap().is_file(), "a copy, no link");
    }

    #[test]
    fn everything_that_stays_missing_is_named_at_once_with_its_packages() {
        let bench = Bench::new();
        fs::remove_file(bench.path("host/libaio.so.1t64")).unwrap();
        let e = bench.complete(&|_| Ok((bench.path("stub"), Vec::new()))).unwrap_err();
        assert!(e.to_string().ends_with("libaio.so.1, libnuma.so.1"), "{e}");
        assert_eq!(e.hint().as_deref(), Some("apt-get install libaio1t64 libnuma1"));
        let e = bench.complete(&|_| Err(ArtifactError::NoArchive)).unwrap_err();
        assert!(e.to_string().contains("libaio.so.1, libnuma.so.1"), "{e}");
        assert!(std::error::Error::source(&e).unwrap().to_string().contains("configured for no archive"));
        assert_eq!(e.hint().as_deref(), Some("apt-get install libaio1t64 libnuma1"));
    }

    #[test]
    fn a_library_of_the_wrong_kind_under_the_other_name_is_not_taken() {
        let bench = Bench::new();
        fs::write(bench.path("host/libaio.so.1t64"), "GROUP ( libaio.so.1 )").unwrap();
        let e = bench.complete(&|_| Err(ArtifactError::NoArchive)).unwrap_err();
        assert!(e.to_string().contains("libaio.so.1, libnuma.so.1"), "{e}");
        assert_eq!(fs::read_dir(bench.path("tree/lib/private")).unwrap().count(), 0);
    }
}
