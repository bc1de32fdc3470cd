//! Makes the changes: the value at once and whether it holds, then the file that keeps it.

use super::{
    Fix, Way,
    drop_in::{self, HUGE_PAGES},
};
use crate::sys::{
    command::{Cancel, Command},
    error::SysError,
    fs::{self, Durability},
    host, kernel,
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The tree of files that is changed: `/`, or a directory of a test.
#[derive(Clone, Debug)]
pub struct Host {
    /// What stands for `/`.
    pub top: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self { top: "/".into() }
    }
}

impl Host {
    fn at(&self, path: &str) -> PathBuf {
        self.top.join(path.trim_start_matches('/'))
    }

    /// What stands in a file of the host.
    pub fn text(&self, path: &str) -> Option<String> {
        fs::read_lossy_optional(&self.at(path)).ok().flatten()
    }
}

/// Whether this process may change the host at all.
pub fn may_change() -> bool {
    host::is_root()
}

/// What became of a change.
#[derive(Debug)]
pub struct Done {
    /// The change.
    pub fix: Fix,
    /// How it went.
    pub outcome: Result<Outcome, SysError>,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The file that keeps it.
    pub kept_in: Option<&'static str>,
    /// It counts from the next login on.
    pub at_login: bool,
    /// Another file that sets it to something else at the next boot.
    pub overruled_by: Option<String>,
}

/// Makes each change; one that fails does not hold up the others.
pub fn apply(host: &Host, fixes: Vec<Fix>) -> Vec<Done> {
    fixes.into_iter().map(|fix| Done { outcome: one(host, &fix), fix }).collect()
}

fn one(host: &Host, fix: &Fix) -> Result<Outcome, SysError> {
    let kept_in = drop_in::path(fix.way);
    let mut outcome = Outcome { kept_in, at_login: false, overruled_by: None };
    match fix.way {
        Way::Sysctl => {
            let file = host.at(&format!("/proc/sys/{}", fix.setting.replace('.', "/")));
            set(&file, &fix.wanted, |now| now == fix.wanted)?;
            outcome.overruled_by = drop_in::overruled_by(&sysctl_files(host), &fix.setting, &fix.wanted);
        }
        Way::HugePages => {
            let chosen = |now: &str| kernel::chosen(now).unwrap_or(now) == fix.wanted;
            set(&host.at(HUGE_PAGES), &fix.wanted, chosen)?;
        }
        Way::OpenFiles => outcome.at_login = true,
        Way::TimeSync => time_sync()?,
    }
    // Last: what the kernel does not take is not left for the next boot either.
    if let Some(path) = kept_in {
        keep(&host.at(path), fix)?;
    }
    Ok(outcome)
}

fn keep(path: &Path, fix: &Fix) -> Result<(), SysError> {
    let before = fs::read_lossy_optional(path)?.unwrap_or_default();
    let text = drop_in::contents(fix.way, &before, &[fix]);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| SysError::path("make", dir, e))?;
    }
    fs::write_if_different(path, text.as_bytes(), 0o644, Durability::PowerLoss)
}

/// Writes a kernel's setting, which takes a value in one write and may quietly take another one.
fn set(file: &Path, value: &str, holds: impl Fn(&str) -> bool) -> Result<(), SysError> {
    std::fs::write(file, format!("{value}\n")).map_err(|e| SysError::path("write", file, e))?;
    match kernel::read(file) {
        Some(now) if holds(&now) => Ok(()),
        now => {
            let now = now.unwrap_or_default();
            Err(SysError::path("set", file, io::Error::other(format!("it is {now:?} after {value:?} was written"))))
        }
    }
}

/// The files of sysctl.d(5) by name; one in /etc hides one of the same name elsewhere.
fn sysctl_files(host: &Host) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for dir in ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"] {
        for name in fs::names_in(&host.at(dir)).unwrap_or_default() {
            let known = !name.ends_with(".conf") || files.iter().any(|(other, _)| *other == name);
            if let Some(text) = (!known).then(|| host.text(&format!("{dir}/{name}"))).flatten() {
                files.push((name, text));
            }
        }
    }
    files
}

fn time_sync() -> Result<(), SysError> {
    let argv = ["timedatectl", "set-ntp", "true"].map(str::to_owned).to_vec();
    let env = std::env::var("PATH").map(|path| vec![("PATH".to_owned(), path)]).unwrap_or_default();
    let command = Command { argv, env, dir: "/".into(), stdin: None };
    // D-Bus gives a service that it starts 25 s
    let said = command.run(Duration::from_secs(30), &Cancel::default())?;
    if said.ok() {
        return Ok(());
    }
    Err(SysError::new("run timedatectl set-ntp true", io::Error::other(said.last_lines(3))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/vm/swappiness", "60\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
            ("usr/lib/sysctl.d/99-later.conf", "vm.swappiness = 60\n"),
        ] {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(path), text).unwrap();
        }
        let host = Host { top: dir.path().into() };
        (dir, host)
    }

    #[test]
    fn a_change_is_kept_and_holds_at_once_and_a_second_run_changes_nothing() {
        let (_dir, host) = host();
        let swappiness = || Fix::sysctl("swappiness", "vm.swappiness", "60", "1");
        for _ in 0..2 {
            let done = apply(&host, vec![swappiness(), Fix::huge_pages("always")]);
            let outcome = done[0].outcome.as_ref().unwrap();
            assert_eq!(outcome.kept_in, Some(drop_in::SYSCTL));
            assert_eq!(outcome.overruled_by.as_deref(), Some("99-later.conf"));
            assert!(done[1].outcome.is_ok(), "{done:?}");
            assert_eq!(host.text("/proc/sys/vm/swappiness").unwrap(), "1\n");
            assert!(host.text(drop_in::SYSCTL).unwrap().ends_with("# was: 60\nvm.swappiness = 1\n"));
            assert!(host.text(drop_in::TMPFILES).unwrap().contains("madvise"));
        }
    }

    #[test]
    fn a_change_that_the_kernel_refuses_is_told_and_the_others_are_made() {
        let (_dir, host) = host();
        let nothing = Fix::sysctl("aio", "fs/nothing/here", "1", "2");
        let done = apply(&host, vec![nothing, Fix::sysctl("swappiness", "vm.swappiness", "60", "1")]);
        let told = done[0].outcome.as_ref().unwrap_err().to_string();
        assert!(told.contains("proc/sys/fs/nothing/here"), "{told}");
        assert!(done[1].outcome.is_ok());
        assert!(!host.text(drop_in::SYSCTL).unwrap().contains("nothing"), "it is not kept");
    }
}
