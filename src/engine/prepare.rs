//! Everything before a launch: ports free, directories, files, one-time work, the wait for a broker's old session.

use super::{
    Engine, class_data,
    disk::Guard,
    dynamic, exchanged,
    fence::{self, Fence, Fenced},
    identity,
    journal::Journal,
    limits::Limits,
    mysql_init,
    node::{Found, Happening, PrepareTask},
    orphan,
    orphan_stops::OrphanStop,
    places::{self, HandOver},
    takeover,
};
use crate::{
    base::{
        Cause, EventKind, EventLine, Layout, NodeName,
        outcome::Failure,
        printable::printable,
        recipe::{PrepareStep, Recipe},
        units::human_duration,
    },
    clients::zookeeper,
    lifecycle::{Event, Hold},
    logs::tail::LogMark,
    services::fence::registered_at,
    shim::wire::Credentials,
    sys::{clock, command::Cancel, error::SysError, failpoint::fail_point, fs, net, process},
};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

/// How a step can fail.
#[derive(Debug)]
pub(super) enum PrepareError {
    /// It may pass: tried again after a pause.
    Passing(String),
    /// Starting again cannot cure it.
    Refused(Failure),
    /// Nobody wants it any more.
    Cancelled,
}

impl PrepareError {
    /// A file error: a full disk and missing rights stay until somebody acts, the rest may pass.
    pub(super) fn file(node: &NodeName, e: &SysError) -> Self {
        let what = format!("{node}: {e}: {}", e.source);
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PrepareError::Refused(Failure {
                cause: Cause::DiskFull,
                what,
                remedy: format!("free space, then `cdc-supervisor start {node}`"),
            }),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PrepareError::Refused(Failure {
                cause: Cause::WrongOwner,
                what,
                remedy: format!(
                    "give the supervisor's user the right to write there, then `cdc-supervisor start {node}`"
                ),
            }),
            _ => PrepareError::Passing(what),
        }
    }
}

/// How many nodes have their files looked at, or their shims started, at the same time. That is short work of one core:
/// more at once would only be a thread for each of two hundred nodes.
pub(super) static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Starts the prepare task of a node.
pub(super) fn begin(engine: &mut Engine, node: &NodeName) {
    let layout = engine.layout.clone();
    let sink = engine.sink.clone();
    let (identities, journal) = (Arc::clone(&engine.identities), engine.journal.clone());
    let fence = fence::before_start(engine, node);
    let limits = engine.limits.clone();
    let Some(runtime) = engine.nodes.get_mut(node) else { return };
    runtime.prepares += 1;
    runtime.troubles.clear();
    let number = runtime.prepares;
    let cancel = Cancel::default();
    let preparing = Preparing {
        layout,
        node: node.clone(),
        recipe: Arc::clone(&runtime.recipe),
        number,
        cancel: cancel.clone(),
        sink,
        identities,
        journal,
        disk: Arc::clone(&engine.disk),
        fence,
        limits,
        found: Arc::clone(&runtime.found),
    };
    let leftovers = engine.orphan_stops.begin(node, &engine.sink, Some(preparing.cancel.clone()));
    if let Some(old) = runtime.prepare.replace(PrepareTask { number, cancel }) {
        old.cancel.cancel();
    }
    match AT_ONCE.try_acquire() {
        // Only files, and its turn is now: one thread does it and tells, and no task is woken in between. What comes after a
        // death waits for this.
        Ok(turn) if preparing.recipe.prepare.is_empty() => {
            let tasks = Handle::current();
            tokio::task::spawn_blocking(move || {
                let at_once = preparing.at_once();
                drop(turn);
                match at_once {
                    Some(result) => {
                        drop(leftovers);
                        preparing.told(result);
                    }
                    None => drop(tasks.spawn(preparing.run(leftovers))),
                }
            });
        }
        Ok(_) | Err(_) => drop(tokio::spawn(preparing.run(leftovers))),
    }
}

/// The preparation of one start of one node.
pub(super) struct Preparing {
    layout: Layout,
    pub(super) node: NodeName,
    recipe: Arc<Recipe>,
    number: u64,
    pub(super) cancel: Cancel,
    sink: mpsc::UnboundedSender<(NodeName, Happening)>,
    pub(super) identities: Arc<identity::Identities>,
    pub(super) journal: Journal,
    /// Asked whether its data have room.
    disk: Arc<Guard>,
    /// What is known of a broker's last run, when its session may be closed by us.
    fence: Option<Fence>,
    /// What its group has to hold; none: caps are not enforced.
    limits: Option<Limits>,
    /// Where the start finds what was looked up for it.
    found: Arc<Mutex<Found>>,
}

impl Preparing {
    async fn run(self, leftovers: OrphanStop) {
        let result = self.steps(leftovers).await;
        self.told(result);
    }

    /// The whole of it for a node that needs nothing but its files; none: processes of an earlier start are in the way. Blocks.
    fn at_once(&self) -> Option<Result<(), PrepareError>> {
        fail_point!("prepare.begun");
        if fs::Lock::is_held(&self.layout.node_lock(&self.node)) {
            return None;
        }
        Some(self.files())
    }

    fn files(&self) -> Result<(), PrepareError> {
        look_up(&self.layout, &self.recipe, &self.found)?;
        ports_free(&self.recipe)?;
        files(&self.layout, &self.recipe, &self.journal)
    }

    fn told(&self, result: Result<(), PrepareError>) {
        let event = match result {
            Ok(()) => Event::Prepared,
            Err(PrepareError::Passing(why)) => {
                tracing::warn!(node = %self.node, "not prepared: {why}");
                Event::PrepareFailed { why }
            }
            Err(PrepareError::Refused(failure)) => {
                tracing::error!(node = %self.node, cause = %failure.cause, "{}; {}", failure.what, failure.remedy);
                Event::Refused(failure)
            }
            Err(PrepareError::Cancelled) => return,
        };
        self.tell(event);
    }

    pub(super) fn tell(&self, event: Event) {
        // The dispatcher ends last.
        let _ = self.sink.send((self.node.clone(), Happening::Prepared(self.number, event)));
    }

    /// `leftovers`: over when nothing of an earlier start is left.
    async fn steps(&self, leftovers: OrphanStop) -> Result<(), PrepareError> {
        fail_point!("prepare.begun");
        // What an earlier start left without a shim holds data and ports; it goes first, in order.
        let held = |why| self.tell(Event::Held(Hold::Other { why }));
        orphan::stop_in_order(&self.layout, &self.node, &self.recipe.stop, &leftovers, Some(&held)).await;
        drop(leftovers);
        if self.cancel.is_cancelled() {
            return Err(PrepareError::Cancelled);
        }
        self.await_room().await?;
        let (layout, recipe, found) = (self.layout.clone(), Arc::clone(&self.recipe), Arc::clone(&self.found));
        let journal = self.journal.clone();
        {
            // Held until the work is done; a closed semaphore cannot be: nobody closes it.
            let _turn = AT_ONCE.acquire().await;
            blocking(move || {
                not_half_exchanged(&layout, &recipe)?;
                look_up(&layout, &recipe, &found)?;
                ports_free(&recipe)?;
                files(&layout, &recipe, &journal)
            })
            .await?;
        }
        // Looking at whose data it is opens a session; the wait for the old one goes on with it.
        let mut session = None;
        for step in &self.recipe.prepare {
            if self.cancel.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            match step {
                PrepareStep::ClassData(archive) => {
                    let (archive, cancel) = (archive.clone(), self.cancel.clone());
                    let (node, limits, recipe) = (self.node.clone(), self.limits.clone(), Arc::clone(&self.recipe));
                    let group = move || limits.map(|limits| limits.start(&recipe).map(|(group, _)| group)).transpose();
                    // An archive only makes a start faster: whatever goes wrong is said and the start goes on without.
                    let made = tokio::task::spawn_blocking(move || class_data::ensure(&archive, group, &cancel)).await;
                    if let Ok(Err(why)) = made {
                        tracing::info!(node = %node, "starts without a class-data archive: {why}");
                    }
                }
                PrepareStep::MysqlInitialize(step) => {
                    mysql_init::ensure(&self.recipe, step, self.limits.clone(), &self.cancel).await?;
                }
                PrepareStep::AwaitBrokerSessionGone { zookeeper, broker_id, up_to, fence: _, endpoints: _ } => {
                    self.await_session_gone(*zookeeper, *broker_id, *up_to, session.take()).await?;
                    dynamic::take_back(&self.layout, &self.node, &self.journal, *zookeeper, *broker_id).await?;
                }
                PrepareStep::AwaitTakeover { broker_id, others } => {
                    if self.fence.as_ref().is_some_and(Fence::is_fresh) {
                        takeover::wait(*broker_id, others, || self.cancel.is_cancelled()).await;
                    }
                }
                PrepareStep::DataVersion(step) => self.data_version(step).await?,
                PrepareStep::BrokerIdentity(step) => session = Some(self.broker_identity(step).await?),
                PrepareStep::MysqlIdentity { data_dir } => self.mysql_identity(data_dir).await?,
                PrepareStep::NoProgram { why, remedy } => {
                    return Err(PrepareError::Refused(Failure {
                        cause: Cause::CouldNotStart,
                        what: why.clone(),
                        remedy: remedy.clone(),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Waits while the file system of its data has too little room for it.
    async fn await_room(&self) -> Result<(), PrepareError> {
        const LOOK: Duration = Duration::from_secs(1);
        const ANSWER: Duration = Duration::from_secs(5);
        loop {
            if self.cancel.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            let (guard, node) = (Arc::clone(&self.disk), self.node.clone());
            let look = tokio::task::spawn_blocking(move || guard.holds(&node));
            // A look that came to nothing, or to no end, keeps nobody down.
            match tokio::time::timeout(ANSWER, look).await {
                Ok(Ok(None) | Err(_)) | Err(_) => return Ok(()),
                Ok(Ok(Some(why))) => self.tell(Event::Held(Hold::Other { why })),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Closes the session of the broker's last run if it is proven to be that; returns why not.
    async fn close_old_session(&self) -> Option<String> {
        match self.fence.as_ref()?.attempt().await {
            Ok(Fenced::NobodyThere | Fenced::Closed(_)) => None,
            Ok(Fenced::Refused(_, why)) => Some(why),
            Err(e) => Some(e.to_string()),
        }
    }

    /// Waits until ZooKeeper no longer holds the broker's registration. A broker that starts earlier exits 1 with
    /// NodeExists, after its whole start-up (KafkaZkClient.scala, registerBroker).
    async fn await_session_gone(
        &self,
        address: SocketAddr,
        broker: u32,
        up_to: Duration,
        mut open: Option<zookeeper::Session>,
    ) -> Result<(), PrepareError> {
        const LOOK: Duration = Duration::from_millis(250);
        let began = clock::now();
        let path = format!("/brokers/ids/{broker}");
        let mut closed = false;
        loop {
            if self.cancel.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            let seen = async {
                let mut session = match open.take() {
                    Some(session) => session,
                    None => zookeeper::Session::connect(address, Duration::from_secs(5)).await?,
                };
                let found = session.exists(&path).await;
                let advertised = match &found {
                    Ok(Some(_)) if clock::now().since(began) >= up_to => advertised(&mut session, &path).await,
                    Ok(_) | Err(_) => None,
                };
                // What was seen counts, also when the goodbye fails.
                let _ = session.close().await;
                found.map(|stat| stat.map(|stat| (stat.ephemeral_owner, advertised)))
            };
            match tokio::time::timeout(Duration::from_secs(5), seen).await {
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some((owner, advertised)))) => {
                    let doubt = self.close_old_session().await;
                    if doubt.is_none() && self.fence.is_some() && !std::mem::replace(&mut closed, true) {
                        // looked at once more; whoever registers again and again is waited for
                        continue;
                    }
                    let left = up_to.saturating_sub(clock::now().since(began));
                    let why = held_by(owner, broker, left, up_to, doubt.as_deref(), advertised.as_deref());
                    self.tell(Event::Held(Hold::OldSession { why }));
                }
                Ok(Err(e)) => {
                    self.tell(Event::Held(Hold::Other { why: format!("ZooKeeper at {address} does not tell: {e}") }));
                }
                Err(_) => {
                    self.tell(Event::Held(Hold::Other { why: format!("ZooKeeper at {address} does not answer") }));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What whoever holds the broker's name says of where it listens; none: it does not tell.
async fn advertised(session: &mut zookeeper::Session, path: &str) -> Option<String> {
    let (data, _) = session.get_data(path).await.ok()??;
    registered_at(&data).map(|endpoints| printable(&endpoints.join(", "), 200))
}

/// Why a broker waits for a session in ZooKeeper. One of ours is over after `up_to`, so what is still there then is somebody who lives.
fn held_by(
    session: i64,
    broker: u32,
    left: Duration,
    up_to: Duration,
    doubt: Option<&str>,
    advertised: Option<&str>,
) -> String {
    if left.is_zero() {
        let at = advertised.map_or_else(String::new, |at| format!(" at {at}"));
        return format!(
            "session 0x{session:x} has held the name of broker {broker} for longer than the {} after which one of ours expires: \
             another broker{at} runs with this id; stop it, or give one of the two another id (or the session is of a time with a longer \
             kafka.session_timeout, and ends by itself)",
            human_duration(up_to)
        );
    }
    let left = left.as_millis().div_ceil(1_000);
    let why = format!("old session 0x{session:x} of broker {broker} expires in up to {left} s");
    match doubt {
        Some(doubt) => format!("{why} and is not closed before: {doubt}"),
        None => why,
    }
}

/// Runs file work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrepareError> + Send + 'static,
) -> Result<T, PrepareError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(PrepareError::Passing(format!("preparing ended early: {e}"))),
    }
}

/// Whoever orders the start, and whatever orders it.
fn not_half_exchanged(layout: &Layout, recipe: &Recipe) -> Result<(), PrepareError> {
    let data_of = |step: &PrepareStep| match step {
        PrepareStep::DataVersion(version) => Some(version.data_dir.clone()),
        PrepareStep::ClassData(_)
        | PrepareStep::MysqlInitialize(_)
        | PrepareStep::BrokerIdentity(_)
        | PrepareStep::MysqlIdentity { .. }
        | PrepareStep::AwaitBrokerSessionGone { .. }
        | PrepareStep::AwaitTakeover { .. }
        | PrepareStep::NoProgram { .. } => None,
    };
    let Some(dir) = recipe.prepare.iter().find_map(data_of) else { return Ok(()) };
    let file = |e| PrepareError::file(&recipe.node, &e);
    if !exchanged::is_half(layout, &dir).map_err(file)? {
        return Ok(());
    }
    Err(PrepareError::Refused(Failure {
        cause: Cause::CouldNotStart,
        what: format!("{} is half exchanged by a restore or a reset ({})", dir.display(), layout.exchange().display()),
        remedy: format!(
            "mend what kept it from being exchanged and restart the daemon, which finishes; then `cdc-supervisor start {}`",
            recipe.node
        ),
    }))
}

/// What the dispatcher would have to wait for: a user's database, the disk of the log.
fn look_up(layout: &Layout, recipe: &Recipe, found: &Mutex<Found>) -> Result<(), PrepareError> {
    let credentials = find_user(recipe)?;
    let log = LogMark::now(&layout.log_dir(&recipe.node));
    *found.lock().unwrap_or_else(PoisonError::into_inner) = Found { credentials, log };
    Ok(())
}

fn find_user(recipe: &Recipe) -> Result<Option<(String, Credentials)>, PrepareError> {
    let Some(user) = recipe.launch.user.as_deref() else { return Ok(None) };
    match process::lookup_user(user) {
        Ok(Some((uid, gid, groups))) => return Ok(Some((user.to_owned(), Credentials { uid, gid, groups }))),
        Ok(None) => {}
        Err(e) => return Err(PrepareError::Passing(format!("{e}: {}", e.source))),
    }
    Err(PrepareError::Refused(Failure {
        cause: Cause::CouldNotStart,
        what: format!("{}: there is no user {user:?} on this machine", recipe.node),
        remedy: format!(
            "make the user or name another in supervisor.toml, then `cdc-supervisor start {}`",
            recipe.node
        ),
    }))
}

fn ports_free(recipe: &Recipe) -> Result<(), PrepareError> {
    for port in &recipe.ports {
        // Bound first: the kernel's table of sockets takes it 10 ms and more to write, for each port.
        if !net::is_taken(port.address).unwrap_or(true) {
            continue;
        }
        if let Some(owner) = net::listener_owner(port.address) {
            return Err(PrepareError::Refused(Failure {
                cause: Cause::PortTaken,
                what: format!("port {} is taken by {}", port.port(), owner.describe()),
                remedy: format!("stop that program, or set {}; then `cdc-supervisor start {}`", port.key, recipe.node),
            }));
        }
    }
    Ok(())
}

fn files(layout: &Layout, recipe: &Recipe, journal: &Journal) -> Result<(), PrepareError> {
    let file = |e| PrepareError::file(&recipe.node, &e);
    match places::hand_over(layout, recipe) {
        Ok(None) => {}
        Ok(Some(given)) => {
            tracing::info!(node = %recipe.node, "{given}");
            journal.note(EventLine::new(EventKind::Preparing, given).node(&recipe.node));
        }
        Err(HandOver::Refused(failure)) => return Err(PrepareError::Refused(failure)),
        Err(HandOver::Failed(e)) => return Err(file(e)),
    }
    places::make(layout, recipe).map_err(file)
}

#[cfg(test)]
mod tests;
