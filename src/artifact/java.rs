//! Java runtimes of the host: found, asked who they are, judged, and recognised again without asking.

use super::{ArtifactError, FoundJava, Settings, apt::utf8, lockfile::JavaRecord, manifest};
use crate::{
    base::programs::JavaRuntime,
    sys::command::{Cancel, Command},
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest time for a runtime to say its version. It takes 0.1 s; a busy machine may take seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// The releases that Kafka 3.5 runs on and we accept, best first. 17 is the newest its documentation names
/// (apache/kafka@3.5.2 docs/ops.html, section 6.6); 21 runs it too and is all that some distributions have.
pub const ACCEPTED: [u32; 2] = [17, 21];

/// The files that tell one build of a runtime from another: its classes and its virtual machine.
const FILES: [&str; 2] = ["lib/modules", "lib/server/libjvm.so"];

/// A runtime that was asked and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// `java.home`.
    pub home: PathBuf,
    /// Feature release.
    pub major: u32,
    /// The full version text.
    pub version: String,
    /// See [`JavaRuntime::fingerprint`].
    pub fingerprint: String,
}

impl Checked {
    /// As recipes use it.
    pub fn runtime(&self) -> JavaRuntime {
        JavaRuntime {
            program: self.home.join("bin/java"),
            home: self.home.clone(),
            major: self.major,
            version: self.version.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// As it is recorded.
    pub fn record(&self, asked: Option<&Path>) -> JavaRecord {
        JavaRecord {
            asked: asked.map(Path::to_owned),
            home: self.home.clone(),
            major: self.major,
            version: self.version.clone(),
            fingerprint: self.fingerprint.clone(),
            tree: None,
            packages: Vec::new(),
            archive: None,
        }
    }
}

/// A recorded runtime whose files still look as they did then.
pub fn unchanged(record: &JavaRecord) -> Option<Checked> {
    let now = fingerprint(&record.home, &record.version)?;
    (now == record.fingerprint && record.home.join("bin/java").is_file()).then(|| Checked {
        home: record.home.clone(),
        major: record.major,
        version: record.version.clone(),
        fingerprint: now,
    })
}

/// Searches the host. With a configured `java_home` that one is used or refused, and nothing else is looked at.
pub fn search(settings: &Settings, cancel: &Cancel) -> Result<Checked, ArtifactError> {
    if let Some(home) = &settings.java_home {
        let checked = check(&home.join("bin/java"), cancel)?.and_then(accept);
        return checked.map_err(|why| ArtifactError::NoJava {
            found: vec![FoundJava { place: home.clone(), by: "java_home in the configuration".into(), why }],
        });
    }
    let mut refused = Vec::new();
    let mut second: Option<Checked> = None;
    for (program, by) in candidates(settings) {
        match check(&program, cancel)?.and_then(accept) {
            Ok(checked) if checked.major == ACCEPTED[0] => return Ok(checked),
            Ok(checked) => second = second.or(Some(checked)),
            Err(why) => refused.push(FoundJava { place: program, by, why }),
        }
    }
    second.ok_or(ArtifactError::NoJava { found: refused })
}

/// The programs to ask, each once, in order of preference.
pub fn candidates(settings: &Settings) -> Vec<(PathBuf, String)> {
    let host = &settings.host;
    let mut all: Vec<(PathBuf, String)> = Vec::new();
    let mut add = |program: PathBuf, by: &str| {
        // A name that leads nowhere is shown as it was written.
        let resolved = fs::canonicalize(&program).unwrap_or(program);
        if !all.iter().any(|(p, _)| *p == resolved) {
            all.push((resolved, by.to_owned()));
        }
    };
    if let Some(home) = &host.java_home {
        add(home.join("bin/java"), "JAVA_HOME");
    }
    if let Some(java) = &host.java {
        add(java.clone(), "PATH");
    }
    for entry in manifest::entries(&host.jvm_dir).unwrap_or_default() {
        let program = entry.path().join("bin/java");
        if program.is_file() {
            add(program, &host.jvm_dir.display().to_string());
        }
    }
    all
}

/// Runs a `java` and reads who it is. The inner error is a sentence about this runtime.
pub fn check(program: &Path, cancel: &Cancel) -> Result<Result<Checked, String>, ArtifactError> {
    if cancel.is_cancelled() {
        return Err(ArtifactError::Cancelled);
    }
    if !program.is_file() {
        return Ok(Err("there is no such program".into()));
    }
    let argv = vec![utf8(program)?.to_owned(), "-XshowSettings:properties".into(), "-version".into()];
    let command = Command { argv, env: vec![("LC_ALL".into(), "C.UTF-8".into())], dir: "/".into(), stdin: None };
    let said = match command.run(LIMIT, cancel) {
        Ok(done) if done.ok() => done.stderr,
        Ok(done) => return Ok(Err(format!("it ended with {}: {}", done.status.describe(), done.last_lines(1)))),
        Err(_) if cancel.is_cancelled() => return Err(ArtifactError::Cancelled),
        Err(e) => return Ok(Err(format!("it could not be run: {}", e.source))),
    };
    let Some((home, major, version)) = parse(&said) else {
        return Ok(Err("it does not say its version and home".into()));
    };
    Ok(match fingerprint(&home, &version) {
        Some(fingerprint) => Ok(Checked { home, major, version, fingerprint }),
        None => Err(format!("release {major}, but {} lacks {} or {}", home.display(), FILES[0], FILES[1])),
    })
}

/// Refuses releases we do not accept.
pub fn accept(checked: Checked) -> Result<Checked, String> {
    if ACCEPTED.contains(&checked.major) {
        return Ok(checked);
    }
    Err(format!("release {} ({}), wanted {} or {}", checked.major, checked.version, ACCEPTED[0], ACCEPTED[1]))
}

/// Home, release and version in the output of `-XshowSettings:properties`: lines of `    KEY = VALUE`.
fn parse(said: &str) -> Option<(PathBuf, u32, String)> {
    let property = |key: &str| {
        said.lines().find_map(|l| {
            let (k, v) = l.trim().split_once(" = ")?;
            (k == key).then(|| v.trim().to_owned())
        })
    };
    let specification = property("java.specification.version")?;
    // Java 8 and older call themselves 1.8
    let major = specification.strip_prefix("1.").unwrap_or(&specification).parse().ok()?;
    let version = property("java.runtime.version").or_else(|| property("java.version"))?;
    Some((PathBuf::from(property("java.home")?), major, version))
}

/// Changes when the files underneath are replaced: over version, and size, time and inode of the two large files.
fn fingerprint(home: &Path, version: &str) -> Option<String> {
    let mut text = version.to_owned();
    for file in FILES {
        let meta = fs::metadata(home.join(file)).ok()?;
        text += &format!("\n{file} {} {}.{} {}", meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino());
    }
    Some(manifest::text_digest(&text)[..16].to_owned())
}

/// Makes a runtime that says `major` of itself; for tests of whoever searches.
#[cfg(test)]
pub fn fake(home: &Path, major: u32) {
    for directory in ["bin", "lib/server"] {
        fs::create_dir_all(home.join(directory)).unwrap();
    }
    for file in FILES {
        fs::write(home.join(file), "x").unwrap();
    }
    let script = format!(
        "#!/bin/sh\ncat >&2 <<'END'\nProperty settings:\n    java.home = {}\n    java.specification.version = {major}\n    \
         java.runtime.version = {major}.0.1+2\n\nopenjdk version\nEND\n",
        home.display()
    );
    install_script(&home.join("bin/java"), &script);
}

/// Makes an executable script. Another process writes it: a file that this process had open for writing may be inherited
/// by a child that another test starts at that moment, and cannot be executed as long (ETXTBSY, execve(2)).
#[cfg(test)]
pub fn install_script(path: &Path, text: &str) {
    let write = Command {
        argv: ["/bin/sh", "-c", "rm -f \"$0\" && cat > \"$0\" && chmod 755 \"$0\"", path.to_str().unwrap()]
            .map(Into::into)
            .into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        dir: "/".into(),
        stdin: Some(text.into()),
    };
    assert!(write.run(LIMIT, &Cancel::default()).unwrap().ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &Path) -> Settings {
        let mut settings = Settings::new(dir.join("store"));
        settings.host.java_home = None;
        settings.host.java = None;
        settings.host.jvm_dir = dir.join("jvm");
        settings
    }

    #[test]
    fn home_release_and_version_are_read_from_the_properties() {
        let said = "Property settings:\n    java.home = /usr/lib/jvm/java-17-openjdk-amd64\n    java.library.path = /a\n        \
                    /b\n    java.runtime.version = 17.0.15+6-Debian-1deb12u1\n    java.specification.version = 17\n";
        let (home, major, version) = parse(said).unwrap();
        assert_eq!((major, version.as_str()), (17, "17.0.15+6-Debian-1deb12u1"));
        assert_eq!(home, Path::new("/usr/lib/jvm/java-17-openjdk-amd64"));
        let eight = said.replace("version = 17\n", "version = 1.8\n");
        assert_eq!(parse(&eight).unwrap().1, 8);
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn seventeen_is_taken_before_twenty_one_wherever_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        let (path, jvm) = (dir.path().join("21"), dir.path().join("jvm/17"));
        fake(&path, 21);
        settings.host.java = Some(path.join("bin/java"));
        assert_eq!(search(&settings, &Cancel::default()).unwrap().major, 21);
        fake(&jvm, 17);
        let found = search(&settings, &Cancel::default()).unwrap();
        assert_eq!((found.major, found.home), (17, jvm));
    }

    #[test]
    fn without_a_usable_runtime_everything_found_is_listed_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        fake(&dir.path().join("jvm/eleven"), 11);
        fake(&dir.path().join("jvm/hollow"), 17);
        fs::remove_file(dir.path().join("jvm/hollow/lib/modules")).unwrap();
        settings.host.java_home = Some(dir.path().join("gone"));
        let e = search(&settings, &Cancel::default()).unwrap_err();
        let text = e.to_string();
        assert!(text.contains("gone/bin/java (JAVA_HOME): there is no such program"), "{text}");
        assert!(text.contains("release 11 (11.0.1+2), wanted 17 or 21"), "{text}");
        assert!(text.contains("lacks lib/modules"), "{text}");
        assert!(e.hint().unwrap().contains("openjdk-17-jre-headless"));
        let nothing = ArtifactError::NoJava { found: vec![] }.to_string();
        assert!(nothing.ends_with("nothing was found in JAVA_HOME, on PATH or under /usr/lib/jvm"));
    }

    #[test]
    fn a_configured_home_of_a_wrong_release_is_refused_although_a_good_one_exists() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        fake(&dir.path().join("jvm/17"), 17);
        fake(&dir.path().join("25"), 25);
        settings.java_home = Some(dir.path().join("25"));
        let text = search(&settings, &Cancel::default()).unwrap_err().to_string();
        assert!(text.contains("release 25 (25.0.1+2), wanted 17 or 21") && !text.contains("jvm/17"), "{text}");
    }

    #[test]
    fn a_recorded_runtime_is_recognised_until_its_files_change() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("17");
        fake(&home, 17);
        let checked = check(&home.join("bin/java"), &Cancel::default()).unwrap().unwrap();
        let record = checked.record(None);
        assert_eq!(unchanged(&record).as_ref(), Some(&checked));
        fs::write(home.join("lib/modules"), "another build").unwrap();
        assert_eq!(unchanged(&record), None);
    }
}
