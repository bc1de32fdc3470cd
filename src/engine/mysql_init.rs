//! Makes MySQL's data directory: initialise and provision a build directory, then rename it into place.
//!
//! The final name appears only when everything is in it, so a crash at any moment leaves either nothing or all of it; an
//! initialise that was cut short never becomes a data directory (a bad option leaves it half filled: MY-013236). While it is being
//! provisioned the server listens on a unix socket only.

use super::prepare::{PrepareError, blocking};
use crate::{
    base::{Cause, NodeName, outcome::Failure, recipe::MysqlInitialize},
    clients::mysql,
    sys::{
        clock,
        command::{Cancel, Command, Identity},
        error::SysError,
        failpoint::fail_point,
        fs,
    },
};
use nix::sys::signal::Signal;
use std::{path::Path, sync::mpsc, time::Duration};

/// Longest an initialise may take: 4-6 s on two cores, 11-13 s in a slow guest.
const INITIALIZE: Duration = Duration::from_secs(300);

/// Longest until the provisioning server answers on its socket.
const SERVE: Duration = Duration::from_secs(120);

/// Longest that one provisioning statement may take.
const STATEMENT: Duration = Duration::from_secs(60);

/// Longest from SIGTERM to its end.
const STOP: Duration = Duration::from_secs(120);

/// Does the step unless the data directory is there.
///
/// `user` is who the node runs as: its server makes the data here too, so that all of it is that user's from the start.
pub(super) async fn ensure(
    node: &NodeName,
    step: &MysqlInitialize,
    user: Option<&str>,
    cancel: &Cancel,
) -> Result<(), PrepareError> {
    let present = !is_missing_or_empty(&step.data_dir).map_err(|e| PrepareError::file(node, &e))?;
    if present {
        return existing(node, step);
    }
    let began = clock::now();
    let root = secret(node, &step.root_password)?;
    let debezium = secret(node, &step.debezium_password)?;
    let (fresh, initialize, stop) = (step.clone(), step.clone(), cancel.clone());
    let (owner, name) = (node.clone(), user.map(str::to_owned));
    let identity = blocking(move || {
        let failed = |e: SysError| PrepareError::file(&owner, &e);
        let identity = Identity::of(name.as_deref()).map_err(failed)?;
        fs::remove_dir_all_optional(&fresh.build_dir).map_err(failed)?;
        fs::remove_optional(&fresh.socket).map_err(failed)?;
        // Made where they are missing only: who set up a directory has given it the mode it shall have.
        fs::make_parents(&fresh.build_dir, identity.as_ref().map(|i| i.gid), 0o750).map_err(failed)?;
        if let Some(user) = &identity {
            // It may not make one in a directory of ours. mysqld takes an empty one (manual, "Initializing the Data Directory").
            fs::make_dir(&fresh.build_dir, 0o750).map_err(failed)?;
            fs::own_dir(&fresh.build_dir, (user.uid, user.gid), 0o750).map_err(failed)?;
        }
        fail_point!("mysql.cleared");
        Ok(identity)
    })
    .await?;
    let (owner, as_user) = (node.clone(), identity.clone());
    blocking(move || run_initialize(&owner, &initialize, as_user.as_ref(), &stop)).await?;
    fail_point!("mysql.initialized");
    provision(node, step, identity, cancel, &root, &debezium).await?;
    fail_point!("mysql.provisioned");
    let (done, owner) = (step.clone(), node.clone());
    blocking(move || {
        // An empty directory made by the layout may stand where the data goes; rename(2) replaces an empty one.
        let failed = |e| PrepareError::file(&owner, &SysError::path("move the data directory to", &done.data_dir, e));
        std::fs::rename(&done.build_dir, &done.data_dir).map_err(failed)?;
        fail_point!("mysql.moved");
        fs::sync_parent(&done.data_dir).map_err(failed)
    })
    .await?;
    tracing::info!(node = %node, took_ms = clock::now().since(began).as_millis(), "data directory initialised and provisioned");
    Ok(())
}

/// Data without its passwords cannot be looked after: say so instead of guessing.
fn existing(node: &NodeName, step: &MysqlInitialize) -> Result<(), PrepareError> {
    for path in [&step.root_password, &step.debezium_password] {
        if fs::read_optional(path).map_err(|e| PrepareError::file(node, &e))?.is_none() {
            return Err(PrepareError::Refused(Failure {
                cause: Cause::WrongIdentity,
                what: format!(
                    "{node}: data directory {} is there, but {} is missing",
                    step.data_dir.display(),
                    path.display()
                ),
                remedy: format!(
                    "put the password back (one line, mode 0600), or move the data directory away for a new one; then `cdc-supervisor start {node}`"
                ),
            }));
        }
    }
    Ok(())
}

fn is_missing_or_empty(dir: &Path) -> Result<bool, SysError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(SysError::path("look into", dir, e)),
    }
}

/// Reads a password, or makes one: 32 letters and digits (190 bits), so that no quoting rule anywhere can bite.
fn secret(node: &NodeName, path: &Path) -> Result<String, PrepareError> {
    use rand::{RngExt, distr::Alphanumeric};
    let failed = |e: SysError| PrepareError::file(node, &e);
    if let Some(text) = fs::read_optional(path).map_err(failed)? {
        let password = text.trim_end_matches('\n').to_owned();
        if !password.is_empty() {
            return Ok(password);
        }
    }
    let password: String = rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect();
    if let Some(dir) = path.parent() {
        fs::make_dir(dir, 0o700).map_err(failed)?;
    }
    fs::write_atomic(path, format!("{password}\n").as_bytes(), 0o600, fs::Durability::PowerLoss).map_err(failed)?;
    Ok(password)
}

fn run_initialize(
    node: &NodeName,
    step: &MysqlInitialize,
    user: Option<&Identity>,
    cancel: &Cancel,
) -> Result<(), PrepareError> {
    let command = Command { argv: step.initialize.clone(), env: step.env.clone(), dir: "/".into(), stdin: None };
    match command.run_as(user, INITIALIZE, cancel) {
        Ok(done) if done.ok() => Ok(()),
        Ok(done) => Err(PrepareError::Refused(Failure {
            cause: Cause::BadOption,
            what: format!("{node}: mysqld --initialize ended with {}: {}", done.status.describe(), done.last_lines(3)),
            remedy: format!(
                "mend what it names ([mysql.options] in supervisor.toml?), then `cdc-supervisor start {node}`"
            ),
        })),
        Err(_) if cancel.is_cancelled() => Err(PrepareError::Cancelled),
        Err(e) => Err(PrepareError::Passing(format!("{e}: {}", e.source))),
    }
}

/// Serves the build directory on its socket, runs the statements, stops the server.
async fn provision(
    node: &NodeName,
    step: &MysqlInitialize,
    user: Option<Identity>,
    cancel: &Cancel,
    root: &str,
    debezium: &str,
) -> Result<(), PrepareError> {
    let statements: Vec<String> = step
        .statements
        .iter()
        .map(|s| s.replace("@ROOT_PASSWORD@", &quoted(root)).replace("@DEBEZIUM_PASSWORD@", &quoted(debezium)))
        .collect();
    let (stop, stopped) = mpsc::channel::<()>();
    let (command, limit_cancel) =
        (Command { argv: step.serve.clone(), env: step.env.clone(), dir: "/".into(), stdin: None }, cancel.clone());
    // The thread that starts a helper must live as long as the helper (sys::command): its own thread does.
    let server = tokio::task::spawn_blocking(move || {
        let mut running = command.start_as(user.as_ref()).map_err(|e| format!("{e}: {}", e.source))?;
        while running.is_running() && !limit_cancel.is_cancelled() {
            match stopped.recv_timeout(Duration::from_millis(50)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        running.signal(Signal::SIGTERM);
        // `wait` counts from the start of the program
        running.wait(SERVE + STOP + STOP, &limit_cancel).map_err(|e| format!("{e}: {}", e.source))
    });
    let provisioned = async {
        let began = clock::now();
        let place = mysql::Place::Socket(step.socket.clone());
        // Until the server listens, connecting fails at once.
        loop {
            if cancel.is_cancelled() {
                return Err("cancelled".to_owned());
            }
            match mysql::Mysql::connect(&place, "root", None, Duration::from_secs(5)).await {
                Ok(connection) => {
                    connection.close().await;
                    break;
                }
                Err(e) if server.is_finished() || clock::now().since(began) > SERVE => return Err(chain(&e)),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        mysql::provision(&step.socket, None, &statements, STATEMENT).await.map_err(|e| chain(&e))
    }
    .await;
    // The server may have ended already, which the next line tells.
    let _ = stop.send(());
    let ended = server.await.map_err(|e| PrepareError::Passing(format!("{node}: {e}")))?;
    if cancel.is_cancelled() {
        return Err(PrepareError::Cancelled);
    }
    match (provisioned, ended) {
        (Ok(()), Ok(done)) if done.ok() => Ok(()),
        (Ok(()), Ok(done)) => Err(PrepareError::Passing(format!(
            "{node}: the provisioning server ended with {}: {}",
            done.status.describe(),
            done.last_lines(3)
        ))),
        (Err(why), Ok(done)) if !done.ok() => Err(PrepareError::Passing(format!(
            "{node}: provisioning: {why}; the server ended with {}: {}",
            done.status.describe(),
            done.last_lines(3)
        ))),
        (Err(why), Ok(_)) => Err(PrepareError::Passing(format!("{node}: provisioning: {why}"))),
        (_, Err(why)) => Err(PrepareError::Passing(format!("{node}: the provisioning server: {why}"))),
    }
}

/// A MySQL string literal. Our own passwords hold only letters and digits; a user's own may hold anything.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_with_quotes_stays_one_string_literal() {
        assert_eq!(quoted(r"a'b\c"), r"'a''b\\c'");
    }

    #[test]
    fn a_secret_is_made_once_and_kept() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets/root");
        let first = secret(&NodeName::mysql(), &path).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{first}\n"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(secret(&NodeName::mysql(), &path).unwrap(), first);
    }
}
