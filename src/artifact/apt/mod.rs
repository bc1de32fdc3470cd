//! Source: packages of the distribution, downloaded by apt into a root of its own. Nothing is installed on the host and
//! no right but that to write the store is needed. What proves a package is the distribution's signature, which apt checks.

pub mod archive;
pub mod unpack;

use super::{ArtifactError, Host, Part, Progress, Step, lockfile::Package, manifest, store::Work};
use crate::sys::{
    command::{Cancel, Command, Finished},
    error::SysError,
    fs::{self as sysfs, Durability},
};
use archive::{HostArchive, Suite};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Longest time for one apt run: 65 MB at the 50 kB/s of a poor line, and then some.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// How often the arriving bytes are counted.
const COUNT: Duration = Duration::from_millis(250);

/// Runs helper programs for one purpose and turns their failures into our words.
pub struct Helper<'a> {
    /// The name people know it by.
    pub name: &'static str,
    /// Where it is.
    pub program: &'a Path,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub dir: &'a Path,
}

impl Helper<'_> {
    /// Runs it; an exit other than 0 is an error with its last lines.
    pub fn run(&self, args: &[&str], to: &str, limit: Duration, cancel: &Cancel) -> Result<Finished, ArtifactError> {
        let done = self.try_run(args, to, limit, cancel)?;
        if done.ok() {
            return Ok(done);
        }
        Err(ArtifactError::ToolFailed {
            program: self.name.to_owned(),
            to: to.to_owned(),
            status: done.status,
            said: last_words(&done),
        })
    }

    /// Runs it; how it ended is the caller's to judge.
    pub fn try_run(
        &self,
        args: &[&str],
        to: &str,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Finished, ArtifactError> {
        let mut argv = vec![utf8(self.program)?.to_owned()];
        argv.extend(args.iter().map(|a| (*a).to_owned()));
        let command = Command { argv, env: self.env.clone(), dir: self.dir.to_owned(), stdin: None };
        command.run(limit, cancel).map_err(|source| {
            if cancel.is_cancelled() {
                return ArtifactError::Cancelled;
            }
            ArtifactError::Tool { program: self.name.to_owned(), to: to.to_owned(), source }
        })
    }
}

/// What a failed helper said: Maven's first errors (the last are advice); else apt's first failed downloads, each two lines
/// of standard output, and the last lines of standard error; or of standard output when there is nothing on standard error.
/// Without terminal codes, which Maven writes even into a pipe.
fn last_words(done: &Finished) -> String {
    let plain = |text: &str| -> Vec<String> {
        text.replace("\u{1b}[0m", "").lines().map(str::trim_end).filter(|l| !l.is_empty()).map(str::to_owned).collect()
    };
    let (out, err) = (plain(&done.stdout), plain(&done.stderr));
    let errors = out.iter().filter(|l| l.starts_with("[ERROR] ") && l.len() > 8);
    let errors: Vec<String> = errors.take_while(|l| !l.contains("To see the full stack trace")).cloned().collect();
    if !errors.is_empty() {
        return errors.join("\n");
    }
    let mut downloads: Vec<String> =
        out.windows(2).filter(|w| w[0].starts_with("Err:")).take(2).flatten().cloned().collect();
    let rest = if err.is_empty() && downloads.is_empty() { out } else { err };
    downloads.extend_from_slice(&rest[rest.len().saturating_sub(8)..]);
    downloads.join("\n")
}

/// A path as text for a command line or a configuration file.
pub fn utf8(path: &Path) -> Result<&str, ArtifactError> {
    // a colon would split a library path, a quote would end a string of apt's configuration
    path.to_str().filter(|t| !t.contains(['\t', '\n', ':', '"'])).ok_or_else(|| ArtifactError::OddPath(path.to_owned()))
}

/// The archives of the host's distribution, best first.
pub fn host_archives(host: &Host, work: &Work, cancel: &Cancel) -> Result<Vec<HostArchive>, ArtifactError> {
    let apt = apt_get(host, work)?;
    let ask = |extra: &[&str]| {
        let args = [&["indextargets", "--format", archive::FORMAT, "Created-By: Packages"], extra].concat();
        apt.run(&args, "read the host's package sources", Duration::from_secs(60), cancel)
    };
    let mut found = archive::host_archives(&ask(&[])?.stdout, &host.os_release);
    if found.is_empty() {
        // Lists sources whose indexes were never downloaded too (apt-get(8), indextargets).
        found = archive::host_archives(&ask(&["--no-release-info"])?.stdout, &host.os_release);
    }
    if found.is_empty() { Err(ArtifactError::NoArchive) } else { Ok(found) }
}

fn apt_get<'a>(host: &'a Host, work: &'a Work) -> Result<Helper<'a>, ArtifactError> {
    let program = host
        .apt_get
        .as_deref()
        .ok_or(ArtifactError::NoTool { program: "apt-get", to: "fetch packages of the distribution" })?;
    Ok(Helper { name: "apt-get", program, env: host.helper_environment(work.path()), dir: work.path() })
}

/// A root of apt's own.
pub struct AptRoot<'a> {
    apt: Helper<'a>,
    root: PathBuf,
    config: String,
}

impl<'a> AptRoot<'a> {
    /// Makes the root in `work` and reads the indexes of `suites`.
    pub fn make(
        host: &'a Host,
        work: &'a Work,
        archive: &HostArchive,
        suites: &[Suite],
        cancel: &Cancel,
    ) -> Result<Self, ArtifactError> {
        let keyring = host.keyrings.join(archive.family.keyring());
        if !keyring.is_file() {
            let family = archive.family.as_str().to_owned();
            return Err(ArtifactError::NoKeyring { family, directory: host.keyrings.clone() });
        }
        let apt = apt_get(host, work)?;
        let root = work.path().join("root");
        sysfs::remove_dir_all_optional(&root)?;
        for directory in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/dpkg",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            sysfs::make_dir(&root.join(directory), 0o755)?;
        }
        let write = |name: &str, text: &str| {
            sysfs::write_atomic(&root.join(name), text.as_bytes(), 0o644, Durability::ProcessCrash)
        };
        write("var/lib/dpkg/status", "")?;
        write("etc/apt/sources.list", &archive::sources_list(suites, utf8(&keyring)?))?;
        write("apt.conf", &(configuration(utf8(&root)?) + &credentials()))?;
        let config = utf8(&root.join("apt.conf"))?.to_owned();
        let made = Self { apt, root, config };
        made.run(&["update"], "read the package indexes", cancel)?;
        Ok(made)
    }

    fn run(&self, args: &[&str], to: &str, cancel: &Cancel) -> Result<Finished, ArtifactError> {
        let args = [&["-c", &self.config, "-q"], args].concat();
        self.apt.run(&args, to, LIMIT, cancel)
    }

    /// Downloads `package` with everything it depends on.
    pub fn download_closure(
        &self,
        package: &str,
        part: Part,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<(PathBuf, Package)>, ArtifactError> {
        let install = ["-y", "--no-install-recommends", "install", package];
        let plan = self.run(&[&["--print-uris"], &install[..]].concat(), &format!("find {package}"), cancel)?;
        let total = announced_bytes(&plan.stdout);
        let archives = self.root.join("var/cache/apt/archives");
        counted(&archives, total, part, progress, || {
            self.run(&[&["--download-only"], &install[..]].concat(), &format!("download {package}"), cancel)
        })?;
        packages(&archives)
    }

    /// Downloads `package` alone, without what it depends on.
    pub fn download_one(
        &self,
        package: &str,
        part: Part,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<(PathBuf, Package)>, ArtifactError> {
        let plan = self.run(&["--print-uris", "download", package], &format!("find {package}"), cancel)?;
        let total = announced_bytes(&plan.stdout);
        // `download` puts the file into its working directory
        let here = self.root.join("downloads");
        sysfs::make_dir(&here, 0o755)?;
        let apt = Helper { name: self.apt.name, program: self.apt.program, env: self.apt.env.clone(), dir: &here };
        counted(&here, total, part, progress, || {
            let args = ["-c", &self.config, "-q", "download", package];
            apt.run(&args, &format!("download {package}"), LIMIT, cancel)
        })?;
        packages(&here)
    }
}

/// The root's own configuration, read after the host's (whose proxies, mirrors and date checks stay in force).
///
/// The host's hooks are cleared: Debian's images and appstream hang commands on every update that change the host.
/// Unsigned and weakly signed archives are refused even where the host's configuration would take them. `Error-Mode`
/// makes an index that cannot be read an error instead of a warning (apt.conf(5), since apt 2.1). The methods may keep
/// their user: apt's own cannot enter the store.
fn configuration(root: &str) -> String {
    format!(
        "#clear APT::Update;\n\
         #clear DPkg;\n\
         Dir \"{root}\";\n\
         Dir::State::status \"{root}/var/lib/dpkg/status\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Get::AllowUnauthenticated \"false\";\n\
         Acquire::AllowInsecureRepositories \"false\";\n\
         Acquire::AllowWeakRepositories \"false\";\n\
         Acquire::AllowDowngradeToInsecureRepositories \"false\";\n\
         Acquire::Retries \"3\";\n\
         APT::Update::Error-Mode \"any\";\n"
    )
}

/// The host's passwords for archives stay in force where this user may read them; apt fails on files it cannot open.
fn credentials() -> String {
    let (file, parts) = (Path::new("/etc/apt/auth.conf"), Path::new("/etc/apt/auth.conf.d"));
    let mut text = String::new();
    if fs::File::open(file).is_ok() {
        text += &format!("Dir::Etc::netrc \"{}\";\n", file.display());
    }
    if manifest::entries(parts).is_ok_and(|all| all.iter().all(|e| fs::File::open(e.path()).is_ok())) {
        text += &format!("Dir::Etc::netrcparts \"{}/\";\n", parts.display());
    }
    text
}

/// Sum of the sizes in the output of `--print-uris`: lines of `'URI' FILE BYTES HASH`.
fn announced_bytes(text: &str) -> u64 {
    text.lines().filter(|l| l.starts_with('\'')).filter_map(|l| l.rsplit(' ').nth(1)?.parse::<u64>().ok()).sum()
}

/// Runs `work` and tells meanwhile how many bytes lie in `directory`.
fn counted<T>(directory: &Path, total: u64, part: Part, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let counter = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let here = bytes_in(directory) + bytes_in(&directory.join("partial"));
                progress.step(&Step::Bytes { what: part, done: here.min(total), total });
                thread::park_timeout(COUNT);
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        counter.thread().unpark();
        result
    })
}

fn bytes_in(directory: &Path) -> u64 {
    let Ok(list) = fs::read_dir(directory) else { return 0 };
    list.flatten().filter_map(|e| e.metadata().ok()).filter(fs::Metadata::is_file).map(|m| m.len()).sum()
}

/// The downloaded packages, sorted by name, with their digests.
fn packages(directory: &Path) -> Result<Vec<(PathBuf, Package)>, ArtifactError> {
    let mut all = Vec::new();
    for entry in manifest::entries(directory)? {
        let path = entry.path();
        let Some((name, version, architecture)) = path.file_name().and_then(|n| parse_name(n.to_str()?)) else {
            continue;
        };
        let bytes = entry.metadata().map_err(|e| SysError::path("look at", &path, e))?.len();
        let sha256 = manifest::file_digest(&path)?;
        all.push((path, Package { name, version, architecture, sha256, bytes }));
    }
    if all.is_empty() {
        return Err(SysError::path("find a package in", directory, io::ErrorKind::NotFound).into());
    }
    Ok(all)
}

/// `NAME_VERSION_ARCHITECTURE.deb`; apt writes the colon of an epoch as `%3a`.
fn parse_name(file: &str) -> Option<(String, String, String)> {
    let fields: Vec<&str> = file.strip_suffix(".deb")?.split('_').collect();
    let [name, version, architecture] = fields[..] else { return None };
    Some((name.to_owned(), version.replace("%3a", ":"), architecture.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_of_packages_are_read_with_their_epochs() {
        let read = parse_name("zlib1g_1%3a1.3.dfsg-4_amd64.deb").unwrap();
        assert_eq!(read, ("zlib1g".into(), "1:1.3.dfsg-4".into(), "amd64".into()));
        assert_eq!(parse_name("lock"), None);
        assert_eq!(parse_name("odd.deb"), None);
    }

    #[test]
    fn announced_bytes_are_the_sum_of_all_uris() {
        let text = "Reading package lists...\n'http://a.test/x%20y.deb' x_1_amd64.deb 37596 MD5Sum:8e\n\
                    'http://a.test/z.deb' z_2_all.deb 4 SHA256:00\n";
        assert_eq!(announced_bytes(text), 37600);
        assert_eq!(announced_bytes(""), 0);
    }

    #[test]
    fn the_words_of_a_failed_helper_are_its_errors_without_terminal_codes() {
        let finished = |stdout: &str, stderr: &str| Finished {
            status: crate::base::ExitStatus::Code(1),
            stdout: stdout.into(),
            stderr: stderr.into(),
            took: Duration::ZERO,
        };
        let maven = "[INFO] x\n[ERROR] Failed: no route\n[ERROR] \n[ERROR] To see the full stack trace of\n[ERROR] a\n";
        let said = last_words(&finished(maven, "\u{1b}[0m\u{1b}[0m"));
        assert_eq!(said, "[ERROR] Failed: no route");
        assert_eq!(last_words(&finished("out\n", "E: gone\n")), "E: gone");
        let apt = "Get:1 a\nErr:2 http://a.test sid InRelease\n  Could not connect\nReading\n";
        let said = last_words(&finished(apt, "E: no Release file\n"));
        assert_eq!(said, "Err:2 http://a.test sid InRelease\n  Could not connect\nE: no Release file");
        assert_eq!(last_words(&finished("out\n", "\u{1b}[0m\n")), "out");
        assert_eq!(last_words(&finished("", "")), "");
    }

    #[test]
    fn a_path_with_a_colon_or_a_quote_is_refused() {
        assert!(utf8(Path::new("/a:b")).is_err());
        assert!(utf8(Path::new("/a\"b")).is_err());
        assert!(utf8(Path::new("/a b")).is_ok());
    }
}
