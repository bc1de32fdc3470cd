//! Makes MySQL's data directory: initialise and provision a build directory, then rename it into place.
//!
//! The final name appears only when everything is in it, so a crash at any moment leaves either nothing or all of it; an
//! initialise that was cut short never becomes a data directory (a bad option leaves it half filled: MY-013236). While it is being
//! provisioned the server listens on a unix socket only.

use super::{
    limits::Limits,
    prepare::{PrepareError, blocking},
};
use crate::{
    base::{
        Cause, ExitStatus, NodeKind, NodeName,
        outcome::{Failure, OomBy},
        recipe::{MysqlInitialize, Recipe},
    },
    clients::{ClientError, mysql},
    services,
    sys::{
        cgroup::{OomCounts, oom_by, oom_counts},
        clock,
        command::{Cancel, Command, Finished, Identity},
        error::SysError,
        failpoint::fail_point,
        fs,
    },
};
use nix::sys::signal::Signal;
use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

/// Longest an initialise may take: 4-6 s on two cores, 11-13 s in a slow guest.
const INITIALIZE: Duration = Duration::from_secs(300);

/// Longest until the provisioning server answers on its socket.
const SERVE: Duration = Duration::from_secs(120);

/// Longest that one provisioning statement may take.
const STATEMENT: Duration = Duration::from_secs(60);

/// Longest from SIGTERM to its end.
const STOP: Duration = Duration::from_secs(120);

/// Does the step of `recipe` unless the data directory is there.
///
/// Its server makes the data as the node's user, so that all of it is that user's from the start, and under the node's `limits`:
/// `mysqld --initialize` holds some 300 MB, which are the node's and not the supervisor's.
pub(super) async fn ensure(
    recipe: &Arc<Recipe>,
    step: &MysqlInitialize,
    limits: Option<Limits>,
    cancel: &Cancel,
) -> Result<(), PrepareError> {
    let node = &recipe.node;
    let present = !is_missing_or_empty(&step.data_dir).map_err(|e| PrepareError::file(node, &e))?;
    if present {
        let served = step.served.clone();
        blocking(move || {
            forget_old_lock(&served);
            Ok(())
        })
        .await?;
        return existing(node, step);
    }
    let began = clock::now();
    let root = secret(node, &step.root_password)?;
    let debezium = secret(node, &step.debezium_password)?;
    let (fresh, initialize, stop) = (step.clone(), step.clone(), cancel.clone());
    let owner = Arc::clone(recipe);
    let place = blocking(move || {
        let failed = |e: SysError| PrepareError::file(&owner.node, &e);
        let identity = Identity::of(owner.launch.user.as_deref()).map_err(failed)?;
        // What the host cannot give and the node can do without is told by the start that follows.
        let group = limits.map(|limits| limits.start(&owner).map(|(group, _)| group)).transpose().map_err(failed)?;
        fs::remove_dir_all_optional(&fresh.build_dir).map_err(failed)?;
        fs::remove_optional(&fresh.socket).map_err(failed)?;
        fs::remove_optional(&lock_of(&fresh.socket)).map_err(failed)?;
        // Made where they are missing only: who set up a directory has given it the mode it shall have.
        fs::make_parents(&fresh.build_dir, identity.as_ref().map(|i| i.gid), 0o750).map_err(failed)?;
        if let Some(user) = &identity {
            // It may not make one in a directory of ours. mysqld takes an empty one (manual, "Initializing the Data Directory").
            fs::make_dir(&fresh.build_dir, 0o750).map_err(failed)?;
            fs::own_dir(&fresh.build_dir, (user.uid, user.gid), 0o750).map_err(failed)?;
        }
        fail_point!("mysql.cleared");
        Ok(Place { user: identity, group })
    })
    .await?;
    let (owner, there) = (Arc::clone(recipe), place.clone());
    blocking(move || run_initialize(&owner, &initialize, &there, &stop)).await?;
    fail_point!("mysql.initialized");
    provision(recipe, step, place, cancel, &root, &debezium).await?;
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

/// Where the helper servers run.
#[derive(Clone, Debug)]
struct Place {
    /// As whom; none: as this process.
    user: Option<Identity>,
    /// The node's group; none: caps are not enforced.
    group: Option<PathBuf>,
}

/// mysqld's lock beside a unix socket (sql/conn_handler/socket_connection.cc: the name with `.lock`).
fn lock_of(socket: &Path) -> PathBuf {
    let mut lock = socket.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

/// The lock of a mysqld that lost its power names a process id, and after the next boot any process may have it: mysqld then
/// refuses to start (MY-010259; seen in the guest of tests/vm). Where nobody listens on the socket, nobody owns it. What cannot be
/// removed is left to mysqld's own words.
fn forget_old_lock(socket: &Path) {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let nobody = UnixStream::connect(socket).is_err_and(|e| matches!(e.kind(), ConnectionRefused | NotFound));
    let lock = lock_of(socket);
    if nobody && let Err(e) = fs::remove_optional(&lock) {
        tracing::warn!(error = %e.source, "cannot remove an old lock: {e}");
    }
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

fn run_initialize(recipe: &Recipe, step: &MysqlInitialize, place: &Place, cancel: &Cancel) -> Result<(), PrepareError> {
    let node = &recipe.node;
    let command = Command { argv: step.initialize.clone(), env: step.env.clone(), dir: "/".into(), stdin: None };
    let kills = Kills::from_now(place);
    let done = command
        .start_in(place.user.as_ref(), place.group.as_deref())
        .and_then(|running| running.wait(INITIALIZE, cancel));
    match done {
        Ok(done) if done.ok() => Ok(()),
        Ok(_) if kills.at_cap() => Err(refused_at_cap(recipe, "mysqld --initialize")),
        Ok(done) => Err(ended(node, "mysqld --initialize", &done)),
        Err(_) if cancel.is_cancelled() => Err(PrepareError::Cancelled),
        Err(e) => Err(not_run(recipe, &step.initialize, &e)),
    }
}

/// A helper server that did not end well: what it wrote says whether another try may end otherwise.
fn ended(node: &NodeName, what: &str, done: &Finished) -> PrepareError {
    let judged = services::classify_helper(NodeKind::Mysql, done.status, &format!("{}\n{}", done.stdout, done.stderr));
    let said = format!("{node}: {what} ended with {}", done.status.describe());
    match judged.failure {
        Some(failure) => refused(node, &said, failure),
        None => PrepareError::Passing(format!("{said}: {}", judged.note.unwrap_or_else(|| done.last_lines(3)))),
    }
}

/// `said` is what came to nothing.
fn refused(node: &NodeName, said: &str, failure: Failure) -> PrepareError {
    let what = format!("{said}: {}", failure.what);
    PrepareError::Refused(Failure { what, ..failure }.of_node(node))
}

/// A helper that came to no run. A program that is not there, or may not be run, stays so.
fn not_run(recipe: &Recipe, argv: &[String], e: &SysError) -> PrepareError {
    let what = format!("{}: {}", recipe.node, e.in_one_line());
    // Its cgroup may be what cannot be opened; that is made anew.
    let of_the_program = argv.first().is_some_and(|program| e.doing == format!("run {program}"));
    match e
        .errno()
        .filter(|_| of_the_program)
        .and_then(|errno| Some((errno, services::launch_fault::cause("exec", errno)?)))
    {
        Some((errno, cause)) => PrepareError::Refused(Failure {
            cause,
            what,
            remedy: services::launch_fault::remedy(recipe, "exec", errno),
        }),
        None => PrepareError::Passing(what),
    }
}

/// What the kernel has killed in the node's group, from one moment on.
struct Kills {
    group: Option<PathBuf>,
    before: Option<OomCounts>,
}

impl Kills {
    fn from_now(place: &Place) -> Self {
        Self { group: place.group.clone(), before: place.group.as_deref().and_then(oom_counts) }
    }

    /// Whether it was for the node's own cap since.
    fn at_cap(&self) -> bool {
        let by = || oom_by(self.before?, oom_counts(self.group.as_deref()?)?);
        self.before.is_some() && by() == Some(OomBy::Cap)
    }
}

/// More of the same memory would end in the same way, so nothing is tried again.
fn refused_at_cap(recipe: &Recipe, what: &str) -> PrepareError {
    let node = &recipe.node;
    let cap = recipe.launch.memory_max.map(|cap| format!(" of {cap}")).unwrap_or_default();
    PrepareError::Refused(Failure {
        cause: Cause::OutOfMemory,
        what: format!("{node}: the kernel killed {what} at the node's memory cap{cap}"),
        remedy: format!("raise [mysql] memory_max in supervisor.toml, then `cdc-supervisor start {node}`"),
    })
}

/// Serves the build directory on its socket, runs the statements, stops the server.
async fn provision(
    recipe: &Recipe,
    step: &MysqlInitialize,
    there: Place,
    cancel: &Cancel,
    root: &str,
    debezium: &str,
) -> Result<(), PrepareError> {
    let node = &recipe.node;
    let kills = Kills::from_now(&there);
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
        let mut running = command.start_in(there.user.as_ref(), there.group.as_deref())?;
        while running.is_running() && !limit_cancel.is_cancelled() {
            match stopped.recv_timeout(Duration::from_millis(50)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        running.signal(Signal::SIGTERM);
        // `wait` counts from the start of the program
        running.wait(SERVE + STOP + STOP, &limit_cancel)
    });
    let provisioned: Result<(), Option<ClientError>> = async {
        let began = clock::now();
        let place = mysql::Place::Socket(step.socket.clone());
        // Until the server listens, connecting fails at once.
        loop {
            if cancel.is_cancelled() {
                return Err(None);
            }
            match mysql::Mysql::connect(&place, "root", None, Duration::from_secs(5)).await {
                Ok(connection) => {
                    connection.close().await;
                    break;
                }
                Err(e) if server.is_finished() || clock::now().since(began) > SERVE => return Err(Some(e)),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        mysql::provision(&step.socket, None, &statements, STATEMENT).await.map_err(Some)
    }
    .await;
    // The server may have ended already, which the next line tells.
    let _ = stop.send(());
    let outcome = server.await.map_err(|e| PrepareError::Passing(format!("{node}: {e}")))?;
    if cancel.is_cancelled() {
        return Err(PrepareError::Cancelled);
    }
    match (provisioned, outcome) {
        (Ok(()), Ok(done)) if done.ok() => Ok(()),
        (_, Ok(done)) if !done.ok() && kills.at_cap() => Err(refused_at_cap(recipe, "the server that is provisioned")),
        (_, Ok(done)) if !done.ok() => Err(ended(node, "the server that is provisioned", &done)),
        (Err(Some(e)), Ok(_)) => Err(not_provisioned(node, &e)),
        // Without an error it was cancelled, which was looked at.
        (Ok(()) | Err(None), Ok(_)) => Err(PrepareError::Cancelled),
        (_, Err(e)) => Err(not_run(recipe, &step.serve, &e)),
    }
}

/// A statement that a server refuses it refuses again, but for these: too many connections, a shutdown, a lock, an interruption.
fn not_provisioned(node: &NodeName, e: &ClientError) -> PrepareError {
    const PASSING: [i32; 4] = [1040, 1053, 1205, 1317];
    let (said, why) = (format!("{node}: provisioning"), chain(e));
    match e {
        ClientError::Server { code, .. } if !PASSING.contains(code) => {
            let told = services::classify_helper(NodeKind::Mysql, ExitStatus::Code(1), &why);
            match told.failure {
                Some(failure) => refused(node, &said, failure),
                None => PrepareError::Passing(format!("{said}: {why}")),
            }
        }
        ClientError::Server { .. }
        | ClientError::Refused { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Closed { .. }
        | ClientError::Malformed { .. }
        | ClientError::Failed { .. } => PrepareError::Passing(format!("{said}: {why}")),
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
    fn a_lock_is_old_when_nobody_listens_on_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, lock) = (dir.path().join("mysqld.sock"), dir.path().join("mysqld.sock.lock"));
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::write(&lock, "1\n").unwrap();
        forget_old_lock(&socket);
        assert!(lock.exists(), "somebody listens");
        drop(listener);
        forget_old_lock(&socket);
        assert!(!lock.exists(), "the socket is left, its server is not");
    }

    /// A recipe, and a step whose programs are these scripts of sh.
    fn step(dir: &Path, initialize: &str, serve: &str) -> (Recipe, MysqlInitialize) {
        let source = crate::config::Source {
            text: "[command.a]\nargv = [\"/bin/true\"]\n",
            name: "t",
            root_override: Some(dir.to_owned()),
            default_root: "/r".into(),
        };
        let plan = crate::config::load(&source).unwrap();
        let inputs = services::Inputs {
            plan: &plan,
            programs: &crate::base::programs::Programs::default(),
            layout: &plan.layout(),
            cores: 1,
            running_as_root: false,
        };
        let sh = |script: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let step = MysqlInitialize {
            data_dir: dir.join("data"),
            build_dir: dir.join("build"),
            initialize: sh(initialize),
            serve: sh(serve),
            env: Vec::new(),
            socket: dir.join("s"),
            served: dir.join("served"),
            root_password: dir.join("root"),
            debezium_password: dir.join("debezium"),
            statements: vec!["SELECT 1".into()],
        };
        (services::recipes(&inputs).unwrap().remove(0), step)
    }

    const HERE: Place = Place { user: None, group: None };

    fn cause_of(done: Result<(), PrepareError>) -> Option<Cause> {
        match done.unwrap_err() {
            PrepareError::Refused(failure) => {
                assert!(failure.what.starts_with("a: ") && !failure.remedy.contains("the node"), "{failure:?}");
                Some(failure.cause)
            }
            PrepareError::Passing(_) => None,
            PrepareError::Cancelled => panic!("cancelled"),
        }
    }

    const ENDS: [(&str, Option<Cause>); 6] = [
        ("echo \"[ERROR] [MY-000067] [Server] unknown variable 'x=1'.\" >&2; exit 1", Some(Cause::BadOption)),
        ("echo \"[MY-012640] Error number 28 means 'No space left on device'\" >&2; exit 1", Some(Cause::DiskFull)),
        (
            "echo 'mysqld: error while loading shared libraries: libaio.so.1: none' >&2; exit 127",
            Some(Cause::CouldNotStart),
        ),
        ("echo 'something new'; exit 1", Some(Cause::CouldNotStart)),
        ("echo '[InnoDB] Cannot initialize AIO sub-system'; exit 1", None),
        ("kill -9 $$", None),
    ];

    #[test]
    fn an_initialise_that_fails_is_told_by_its_cause_and_tried_again_only_where_that_may_help() {
        let dir = tempfile::tempdir().unwrap();
        for (script, cause) in ENDS {
            let (recipe, step) = step(dir.path(), script, "exit 0");
            assert_eq!(cause_of(run_initialize(&recipe, &step, &HERE, &Cancel::default())), cause, "{script}");
        }
        let (recipe, mut step) = step(dir.path(), "", "");
        step.initialize = vec![dir.path().join("none").display().to_string()];
        let none = run_initialize(&recipe, &step, &HERE, &Cancel::default());
        assert_eq!(cause_of(none), Some(Cause::CouldNotStart), "a program that is not there");
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_provisioned_is_told_by_its_cause_too() {
        let dir = tempfile::tempdir().unwrap();
        for (script, cause) in ENDS {
            let (recipe, step) = step(dir.path(), "exit 0", script);
            let done = provision(&recipe, &step, HERE, &Cancel::default(), "r", "d").await;
            assert_eq!(cause_of(done), cause, "{script}");
        }
        let answered = |code, answer: &str| {
            let e = ClientError::Server { doing: "run CREATE USER …".into(), code, answer: answer.into() };
            cause_of(Err(not_provisioned(&NodeName::new("a").unwrap(), &e)))
        };
        assert_eq!(answered(1819, "Your password does not satisfy (1819)"), Some(Cause::CouldNotStart));
        assert_eq!(
            answered(3, "Error writing file 'x' (OS errno 28 - No space left on device)"),
            Some(Cause::DiskFull)
        );
        assert_eq!(answered(1205, "Lock wait timeout exceeded"), None);
    }

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

    #[test]
    fn a_kill_at_the_cap_while_it_is_provisioned_is_told_as_one_and_not_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let events = |oom: u64, kills: u64| {
            let text = format!("oom {oom}\noom_kill {kills}\noom_group_kill {kills}\n");
            std::fs::write(dir.path().join("memory.events"), text).unwrap();
        };
        events(2, 1);
        let place = Place { user: None, group: Some(dir.path().to_owned()) };
        let kills = Kills::from_now(&place);
        assert!(!kills.at_cap() && !Kills::from_now(&Place { user: None, group: None }).at_cap());
        events(3, 2);
        assert!(kills.at_cap() && !Kills::from_now(&place).at_cap());
    }
}
