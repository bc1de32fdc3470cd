//! Memory caps for an ordinary user: a scope of their own service manager, delegated to the daemon (systemd-run(1), "Control Group
//! APIs and Delegation").

use crate::sys::{
    cgroup,
    command::{Cancel, Command, client_environment, find_program},
    host,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the service manager may take to make a scope. It takes milliseconds.
const WITHIN: Duration = Duration::from_secs(5);

/// What has to be in front of a command line, so that it runs in a delegated scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `systemd-run` and its arguments.
    pub argv: Vec<String>,
    /// Variables it finds the service manager by.
    pub env: Vec<(String, String)>,
    /// The user's processes live on after the last logout (loginctl(1), enable-linger).
    pub lingers: bool,
}

/// A scope, where one is of use and can be had: an ordinary user whose service manager runs, in no group with caps to give. None:
/// the daemon is started plainly. Blocks for a start of a program.
pub fn wanted() -> Option<Scope> {
    if host::is_root() || !Path::new("/run/systemd/system").exists() || cgroup::look().is_ok() {
        return None;
    }
    let uid = host::euid();
    let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| format!("/run/user/{uid}"));
    // The socket of the user's own manager, or of the bus it is asked over.
    if !Path::new(&runtime).join("systemd").exists() {
        return None;
    }
    let mut env = vec![("XDG_RUNTIME_DIR".to_owned(), runtime)];
    env.extend(std::env::var("DBUS_SESSION_BUS_ADDRESS").ok().map(|bus| ("DBUS_SESSION_BUS_ADDRESS".to_owned(), bus)));
    let scope = Scope { argv: argv(&find_program("systemd-run")?), env, lingers: lingers(uid) };
    let mut trial = scope.argv.clone();
    trial.push("true".into());
    let mut all = client_environment();
    all.extend(scope.env.iter().cloned());
    let trial = Command { argv: trial, env: all, dir: "/".into(), stdin: None };
    trial.run(WITHIN, &Cancel::default()).is_ok_and(|ended| ended.ok()).then_some(scope)
}

/// `--scope`: this process becomes the command inside the new scope, so its pid is the daemon's.
fn argv(program: &Path) -> Vec<String> {
    let program: PathBuf = program.to_owned();
    let mut argv = vec![program.to_string_lossy().into_owned()];
    argv.extend(
        ["--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--description=cdc-supervisor", "--"]
            .map(str::to_owned),
    );
    argv
}

fn lingers(uid: u32) -> bool {
    Path::new("/var/lib/systemd/linger").join(host::user_name(uid)).exists()
}
