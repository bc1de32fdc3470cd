//! The two programs in a directory of a test's own, where another version can be put in their place.

use super::client::SUPERVISOR;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// `cdc-supervisor` and `cdc-shim` side by side.
pub struct Pair {
    dir: PathBuf,
}

impl Pair {
    /// The programs under test, in a new directory `name` below `home`.
    pub fn new(home: &Path, name: &str) -> Self {
        let dir = home.join(name);
        fs::create_dir_all(&dir).expect("a directory for the programs");
        let pair = Self { dir };
        pair.install(None);
        pair
    }

    /// Puts the programs there by rename, as a package manager does (but for a moment without the file). With `last` the version's last digit is another one in
    /// every place where the program has its version: one that differs from the one before only in what it says it is.
    pub fn install(&self, last: Option<char>) {
        let original = Path::new(SUPERVISOR);
        let supervisor = last.map_or_else(|| original.to_owned(), version_of);
        for (name, from) in [("cdc-shim", original.with_file_name("cdc-shim")), ("cdc-supervisor", supervisor)] {
            let new = self.dir.join(format!("{name}.new"));
            // A link is enough, for nobody writes into a program; another file system takes a copy.
            if fs::hard_link(&from, &new).is_err() {
                fs::copy(&from, &new).expect("copy a program");
            }
            let place = self.dir.join(name);
            // rename(2) does nothing between two names of one file, and would leave the first of them.
            let _ = fs::remove_file(&place);
            fs::rename(new, place).expect("rename a program");
        }
    }

    /// The version that [`Pair::install`] makes with this last digit.
    pub fn version(last: char) -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!("{}{last}", &version[..version.len() - 1])
    }

    /// Puts any bytes in the place of a program, by rename.
    pub fn put(&self, name: &str, bytes: &[u8], mode: u32) {
        let new = self.dir.join(format!("{name}.new"));
        fs::write(&new, bytes).expect("write a program");
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("mode of a program");
        fs::rename(new, self.dir.join(name)).expect("rename a program");
    }

    /// Takes a program away.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.dir.join(name)).expect("remove a program");
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of `cdc-supervisor`.
    pub fn supervisor(&self) -> String {
        self.dir.join("cdc-supervisor").display().to_string()
    }
}

/// The program with another last digit in its version, made once per build.
fn version_of(last: char) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cdc-supervisor-{last}"));
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    if modified(&made) < modified(Path::new(SUPERVISOR)) {
        let mut bytes = fs::read(SUPERVISOR).expect("the program under test");
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let mut at = 0;
        while let Some(dot) = memchr::memchr(version[0], &bytes[at..]) {
            if bytes[at + dot..].starts_with(version) {
                bytes[at + dot + version.len() - 1] = u8::try_from(last).expect("a digit");
            }
            at += dot + 1;
        }
        let new = made.with_extension("new");
        fs::write(&new, bytes).expect("write a program");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("mode of a program");
        fs::rename(new, &made).expect("rename a program");
    }
    made
}
