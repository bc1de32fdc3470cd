//! The peers, set up as their documents say, with a log each: runit (runsvdir, runsv, svlogd) and s6 (s6-svscan,
//! s6-supervise, s6-log). Both come as packages of the distribution; one that is not there is said in its row.

use crate::{ours::LIMIT, proc, report::Measured};
use nix::sys::signal::Signal;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Which peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// runit 2.
    Runit,
    /// s6 2.
    S6,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runit => "runit",
            Self::S6 => "s6",
        }
    }

    fn scanner(self) -> &'static str {
        match self {
            Self::Runit => "runsvdir",
            Self::S6 => "s6-svscan",
        }
    }

    /// Whether its programs are on this machine; else what to install.
    pub fn found(self) -> Measured<()> {
        find(self.scanner()).map(drop).ok_or_else(|| format!("{0} is not installed (package {0})", self.name()))
    }
}

/// A program on the path, also where only root looks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').map(|dir| Path::new(dir).join(program)).find(|p| p.is_file())
}

/// A directory of services and, while it runs, their supervisor.
pub struct Peer {
    kind: Kind,
    home: tempfile::TempDir,
    scanner: Option<Child>,
}

impl Peer {
    /// `many` services that run `command`, each with its log.
    pub fn new(kind: Kind, many: usize, command: &str) -> Measured<Self> {
        kind.found()?;
        let home = tempfile::Builder::new().prefix("cdcp").rand_bytes(4).tempdir().map_err(|e| e.to_string())?;
        let peer = Self { kind, home, scanner: None };
        for n in 1..=many {
            let service = peer.services().join(format!("n{n:03}"));
            let logs = peer.home.path().join("logs").join(format!("n{n:03}"));
            fs::create_dir_all(&logs).map_err(|e| e.to_string())?;
            script(&service.join("run"), &format!("exec 2>&1\nexec {command}"))?;
            let logger = match kind {
                Kind::Runit => format!("exec svlogd {}", logs.display()),
                Kind::S6 => format!("exec s6-log -b n8 s16777215 {}", logs.display()),
            };
            script(&service.join("log/run"), &logger)?;
        }
        Ok(peer)
    }

    fn services(&self) -> PathBuf {
        self.home.path().join("service")
    }

    /// Starts the supervisor; returns at once.
    pub fn start(&mut self) -> Measured<()> {
        let program = find(self.kind.scanner()).ok_or("it vanished")?;
        let mut command = Command::new(program);
        match self.kind {
            Kind::Runit => command.arg("-P").arg(self.services()),
            // room for the services of the largest row; the default is 500, two for each with a log
            Kind::S6 => command.args(["-c", "500"]).arg(self.services()),
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.scanner = Some(child.map_err(|e| e.to_string())?);
        Ok(())
    }

    /// Every process of the supervisor that runs, children of the bench excepted.
    pub fn own_processes(&self) -> Vec<i32> {
        let Some(scanner) = &self.scanner else { return Vec::new() };
        let root = i32::try_from(scanner.id()).unwrap_or(0);
        let all = std::iter::once(root).chain(proc::descendants(root));
        all.filter(|pid| proc::program(*pid) != "child").collect()
    }

    /// Tells it to stop everything; returns at once.
    pub fn terminate(&self) {
        let Some(scanner) = &self.scanner else { return };
        let signal = match self.kind {
            // runsvdir(8): on HUP it sends TERM to each runsv and exits
            Kind::Runit => Signal::SIGHUP,
            // s6-svscan(8): TERM brings everything down
            Kind::S6 => Signal::SIGTERM,
        };
        proc::kill(i32::try_from(scanner.id()).unwrap_or(0), signal);
    }

    /// Waits for the supervisor's end.
    pub fn ended(&mut self) -> Measured<()> {
        let Some(mut scanner) = self.scanner.take() else { return Ok(()) };
        let seen = proc::Ends::of(&[i32::try_from(scanner.id()).unwrap_or(0)]).wait(LIMIT);
        if seen.is_err() {
            let _ = scanner.kill();
        }
        let _ = scanner.wait();
        seen
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let own = proc::Ends::of(&self.own_processes());
        self.terminate();
        let _ = own.wait(std::time::Duration::from_secs(5));
        let _ = self.ended();
        proc::clear(self.home.path());
    }
}

fn script(path: &Path, text: &str) -> Measured<()> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    write().map_err(|e| format!("{}: {e}", path.display()))
}
