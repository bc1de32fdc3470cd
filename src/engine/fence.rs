//! Closes the ZooKeeper session of a broker that is proven dead: at its death, before its next start, and by hand. What counts as
//! proof is decided in `services::fence`; here it is gathered, and the session closed.
//!
//! Until its session is gone a dead broker leads its partitions for everybody else: writes stall, and its next start would end
//! with NodeExists. With the session go all its ephemeral nodes, `/controller` among them, and new leaders are chosen at once.

use super::{
    Engine,
    identity::{Identities, cluster_reached},
    journal::Journal,
    node::{Happening, SeenRun},
    orders::{OrderReply, Rejection},
    snapshot::{LastExit, Snapshot},
};
use crate::{
    base::{
        Cause, EventKind, EventLine, Incarnation, Layout, Moment, NodeName, Timestamp, ids::ProcessId,
        recipe::BrokerSession,
    },
    clients::{
        ClientError,
        zookeeper::{self, Session, Stat},
    },
    lifecycle::{Node, State},
    logs::tail::{self, LogMark},
    services::{
        fence::{self, Facts, Registered, RunEnded, reason_not_to},
        identity::{Reached, Record},
    },
    sys::{clock, failpoint::fail_point, fs, net},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// Bound of one look into ZooKeeper, and of the close.
const ASK: Duration = Duration::from_secs(5);

/// How much of the end of a run's log is looked through for its registrations, bytes: a session that is not recorded is younger than the
/// last look at who is registered.
const WORD_IN: u64 = 4 << 20;

/// Pause before another attempt at a ZooKeeper that does not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// One at a time: what one has closed the next must see.
static ONE: Mutex<()> = Mutex::const_new(());

/// A broker whose last run is over, as far as this daemon knows.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    layout: Layout,
    node: NodeName,
    broker: u32,
    zookeeper: SocketAddr,
    /// Where the process of our ZooKeeper node stands: it may be another one at the next attempt.
    snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Longest that ZooKeeper keeps the session by itself.
    up_to: Duration,
    incarnation: Incarnation,
    end: Option<RunEnded>,
    /// The same run on the clock that nobody sets; none: this daemon has not seen its end.
    seen: Option<SeenRun>,
    recorded: Option<i64>,
    word: OwnWord,
    /// Where the broker says that it listens.
    endpoints: Vec<String>,
    ports: Vec<u16>,
    journal: Journal,
}

/// What a run of a broker has written of its registrations.
#[derive(Clone, Debug)]
struct OwnWord {
    log: PathBuf,
    broker: u32,
    /// Where its log began.
    start: LogMark,
    /// When the run began, where that is not known.
    started: Timestamp,
}

impl OwnWord {
    /// Of its current or last run.
    fn of(engine: &Engine, node: &NodeName, broker: u32) -> Self {
        let runtime = engine.nodes.get(node);
        let start = runtime.and_then(|runtime| runtime.log.start()).unwrap_or_default();
        let started = runtime.and_then(|runtime| runtime.started_at).unwrap_or(Timestamp(0));
        Self { log: engine.layout.log_dir(node), broker, start, started }
    }

    /// The transactions of its registrations, of those in the last megabytes of its log. Blocks.
    fn registrations(&self) -> Vec<i64> {
        let log = tail::since_up_to(&self.log, self.start, self.started, WORD_IN);
        fence::registrations(&log, self.broker)
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Fenced {
    /// Nobody is registered under this id.
    NobodyThere,
    /// This session was closed.
    Closed(i64),
    /// This session is left alone, because of that.
    Refused(i64, String),
}

/// What is known of the last run of a node; none: it is no broker.
fn known(engine: &Engine, node: &NodeName) -> Option<(Fence, bool)> {
    let runtime = engine.nodes.get(node)?;
    let BrokerSession { zookeeper, broker, up_to, fence: automatic, endpoints } = runtime.recipe.broker_session()?;
    let incarnation = engine.fleet.node(node).map_or_else(Incarnation::default, Node::incarnation);
    let end = runtime.last_exit.as_ref().filter(|exit| exit.incarnation == incarnation).map(run_ended);
    let fence = Fence {
        layout: engine.layout.clone(),
        node: node.clone(),
        broker,
        zookeeper,
        snapshot: engine.snapshot.subscribe(),
        up_to,
        incarnation,
        end,
        seen: end.and(runtime.seen_run),
        recorded: runtime.registered,
        word: OwnWord::of(engine, node, broker),
        endpoints: endpoints.to_vec(),
        ports: runtime.recipe.ports.iter().map(|used| used.port().0).collect(),
        journal: engine.journal.clone(),
    };
    Some((fence, automatic))
}

/// The run of an end. One that nobody saw tells nothing of its start; and a run that met another session under its name had none
/// itself, so a session that was made while it ran is not its own for that.
fn run_ended(exit: &LastExit) -> RunEnded {
    let ran = exit.ran_ms.filter(|_| exit.cause != Cause::OldSession);
    RunEnded { started: ran.map(|ms| Timestamp(exit.at.0 - i64::try_from(ms).unwrap_or(i64::MAX))), ended: exit.at }
}

/// For the preparation of a broker's next start; none: it is no broker, or its session is closed by order only.
pub(super) fn before_start(engine: &Engine, node: &NodeName) -> Option<Fence> {
    known(engine, node).filter(|(_, automatic)| *automatic).map(|(fence, _)| fence)
}

/// After a broker's end that was not a clean one: its leaders move now, whenever it is started again, if ever.
pub(super) fn after_death(engine: &Engine, node: &NodeName) {
    if engine.ending {
        return;
    }
    if let Some(fence) = before_start(engine, node) {
        tokio::spawn(fence.at_death());
    }
}

/// `fence NODE`: the same by hand, under the same guard.
pub(super) fn by_hand(engine: &Engine, node: &NodeName, reply: oneshot::Sender<OrderReply>) {
    let refused = |why| Err(Rejection::NotNow(why));
    let answer = match (engine.nodes.get(node), known(engine, node)) {
        (None, _) => Err(Rejection::UnknownNode(node.clone())),
        (Some(_), None) => refused(format!("{node} is no broker: it has no session to close")),
        (Some(runtime), Some(_)) if runtime.link.is_some() => {
            refused(format!("{node} runs: its session is its own. `cdc-supervisor stop {node}` ends both"))
        }
        (Some(_), Some((fence, _))) => {
            tokio::spawn(async move { drop(reply.send(fence.ordered().await)) });
            return;
        }
    };
    // A client that hung up does not hear it.
    drop(reply.send(answer));
}

/// After a broker has become ready, or has come back from a session that expired: the session it is registered with, for the day
/// when its end is not seen. Not of one that does not serve: somebody else may have taken its name.
pub(super) fn learn_session(engine: &Engine, node: &NodeName) {
    learn(engine, [node]);
}

/// The same now and then for brokers that this daemon has not started: of their run it does not know whether the clock was set
/// meanwhile, so only a session on record is closed at their death, and they may have another by then that nobody has told of.
pub(super) fn learn_adopted(engine: &mut Engine, now: Moment) {
    let adopted =
        engine.nodes.iter().filter(|(_, runtime)| runtime.adopted && runtime.recipe.broker_session().is_some());
    let serve = adopted.map(|(name, _)| name).filter(|name| serves(engine, name)).cloned();
    let mut due: Vec<NodeName> = serve.collect();
    due.retain(|name| engine.rounds.looks_at_session(name, now));
    learn(engine, &due);
}

fn serves(engine: &Engine, node: &NodeName) -> bool {
    engine.fleet.node(node).is_some_and(|n| matches!(n.state(), State::Ready { .. }))
}

/// Looks at all of them in one session: ZooKeeper writes each to its disk that is made, and that is closed. How far it has come is put on
/// record with them.
fn learn<'a>(engine: &Engine, nodes: impl IntoIterator<Item = &'a NodeName>) {
    let mut asked: BTreeMap<SocketAddr, Vec<Learner>> = BTreeMap::new();
    for name in nodes {
        let Some(runtime) = engine.nodes.get(name).filter(|_| serves(engine, name)) else { continue };
        if let Some(BrokerSession { zookeeper, broker, endpoints, .. }) = runtime.recipe.broker_session() {
            let node = name.clone();
            let incarnation = engine.fleet.node(name).map_or_else(Incarnation::default, Node::incarnation);
            asked.entry(zookeeper).or_default().push(Learner {
                word: OwnWord::of(engine, name, broker),
                known: runtime.registered,
                node,
                incarnation,
                broker,
                endpoints: endpoints.to_vec(),
            });
        }
    }
    for (zookeeper, learners) in asked {
        tokio::spawn(learn_at(zookeeper, learners, engine.sink.clone(), Arc::clone(&engine.identities)));
    }
}

/// One look, and what it means for each of them. Of one that is not told the times of its run still tell whose session it was, and if it is
/// adopted it is asked again soon.
async fn learn_at(
    zookeeper: SocketAddr,
    learners: Vec<Learner>,
    sink: mpsc::UnboundedSender<(NodeName, Happening)>,
    identities: Arc<Identities>,
) {
    let asked: Vec<NodeName> = learners.iter().map(|learner| learner.node.clone()).collect();
    let mut told = Vec::new();
    let tell = |learner: Learner, session| {
        told.push(learner.node.clone());
        // The dispatcher ends last.
        let _ = sink.send((learner.node, Happening::Registered(learner.incarnation, session)));
    };
    let seen = timeout(ASK, learned(zookeeper, learners, tell)).await;
    for node in asked.into_iter().filter(|node| !told.contains(node)) {
        let _ = sink.send((node, Happening::NotRegistered));
    }
    if let Ok(Ok(Some((cluster, reached)))) = seen {
        let learn = move |record: &mut Record| {
            record.learn_cluster(&cluster);
            record.learn_reached(&cluster, reached, clock::wall());
        };
        // What could not be written has been told of; it is learned again.
        let _ = spawn_blocking(move || identities.learn(learn)).await;
    }
}

/// A broker whose session is to be put on record.
#[derive(Debug)]
struct Learner {
    node: NodeName,
    incarnation: Incarnation,
    broker: u32,
    endpoints: Vec<String>,
    /// The session that is on record for this run.
    known: Option<i64>,
    word: OwnWord,
}

impl Learner {
    /// Whether who is registered is this run of the broker, by its own word. Where its log has none at all (its level is the user's), the
    /// first one is: a broker that is ready has registered. Blocks.
    fn is(&self, seen: Registered) -> bool {
        if self.known == Some(seen.session) {
            return true;
        }
        let told = self.word.registrations();
        told.contains(&seen.transaction) || (told.is_empty() && self.known.is_none())
    }
}

/// Tells of each whose session is its own. What is returned is of a ZooKeeper at which one of them is registered.
async fn learned(
    zookeeper: SocketAddr,
    learners: Vec<Learner>,
    mut tell: impl FnMut(Learner, i64),
) -> Result<Option<(String, Reached)>, ClientError> {
    let mut session = Session::connect(zookeeper, ASK).await?;
    let mut ours = false;
    for learner in learners {
        // Nor that of somebody else who took the name just now.
        if let Some((seen, data)) = registered(&mut session, learner.broker).await?
            && fence::elsewhere(&learner.endpoints, &data).is_none()
        {
            let looked = spawn_blocking(move || learner.is(seen).then_some(learner)).await;
            if let Ok(Some(learner)) = looked {
                tell(learner, seen.session);
                ours = true;
            }
        }
    }
    // The ZooKeeper at which a broker of ours is registered is ours.
    let reached = if ours { cluster_reached(&mut session).await } else { Ok(None) };
    // What was seen counts, also when the goodbye fails.
    let _ = session.close().await;
    reached
}

/// Who is registered, and what he says of himself.
async fn registered(session: &mut Session, broker: u32) -> Result<Option<(Registered, Vec<u8>)>, ClientError> {
    let node = session.get_data(&format!("/brokers/ids/{broker}")).await?;
    let of = |stat: Stat| Registered {
        session: stat.ephemeral_owner,
        created: Timestamp(stat.ctime),
        transaction: stat.czxid,
    };
    Ok(node.map(|(data, stat)| (of(stat), data)))
}

impl Fence {
    /// The last run ended just now.
    pub(super) fn is_fresh(&self) -> bool {
        const FRESH: Duration = Duration::from_secs(5);
        // An end that this daemon has not seen is older than the daemon.
        self.seen.is_some_and(|run| clock::now().since(run.ended) < FRESH)
    }

    /// One attempt. An error: ZooKeeper did not answer, and nothing is known.
    pub(super) async fn attempt(&self) -> Result<Fenced, ClientError> {
        let _one = ONE.lock().await;
        let mut session = Session::connect(self.zookeeper, ASK).await?;
        let done = self.with(&mut session).await;
        // Ours ends by itself if it cannot be closed.
        let _ = session.close().await;
        done
    }

    async fn with(&self, session: &mut Session) -> Result<Fenced, ClientError> {
        let Some((seen, data)) = registered(session, self.broker).await? else { return Ok(Fenced::NobodyThere) };
        if let Some(why) = self.doubt(seen, data).await {
            return Ok(Fenced::Refused(seen.session, why));
        }
        // Looking took its time.
        match registered(session, self.broker).await? {
            None => return Ok(Fenced::NobodyThere),
            Some((now, _)) if now != seen => {
                return Ok(Fenced::Refused(now.session, "another session took the broker's name just now".into()));
            }
            Some(_) => {}
        }
        fail_point!("fence.closing");
        let closed = zookeeper::close_session(self.zookeeper, ASK, seen.session).await;
        fail_point!("fence.closed");
        // What counts is what ZooKeeper says after it.
        match registered(session, self.broker).await? {
            Some((now, _)) if now.session == seen.session => {
                let why = closed.err().map_or_else(|| "ZooKeeper still holds it".to_owned(), |e| e.to_string());
                Ok(Fenced::Refused(seen.session, why))
            }
            // It went by itself while we tried, or the answer was lost: gone, and nothing that we may call ours.
            Some(_) | None if closed.is_err() => Ok(Fenced::NobodyThere),
            Some(_) | None => {
                self.note(seen.session);
                Ok(Fenced::Closed(seen.session))
            }
        }
    }

    /// Gathers the proof, off the async threads.
    async fn doubt(&self, seen: Registered, data: Vec<u8>) -> Option<String> {
        let this = self.clone();
        let looked = spawn_blocking(move || {
            let listener = this.ports.iter().find_map(|port| {
                let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port);
                // Bound first: the kernel's table of sockets takes it milliseconds to write.
                match net::is_taken(any) {
                    Ok(false) => None,
                    // A port that is taken has somebody, though the table does not show them: bound and not listening yet, or
                    // gone from one of the two looks.
                    Ok(true) => Some(net::listener_owner(any).map_or_else(
                        || format!("a program that cannot be seen has port {port}, and perhaps"),
                        |owner| owner.describe(),
                    )),
                    Err(e) => Some(format!("whether port {port} is free cannot be told ({e}), and perhaps the broker")),
                }
            });
            let strange = this.strange_zookeeper();
            let began = this.seen.and_then(|run| run.began);
            let own_word = || this.word.registrations().contains(&seen.transaction);
            let elsewhere = fence::elsewhere(&this.endpoints, &data);
            reason_not_to(&Facts {
                end: this.end,
                steady_clock: began.is_some_and(|began| clock::steady_since() <= began),
                lives: fs::Lock::is_held(&this.layout.node_lock(&this.node)),
                recorded: this.recorded,
                seen,
                own_word: this.recorded != Some(seen.session) && own_word(),
                elsewhere: elsewhere.as_deref(),
                listener: listener.as_deref(),
                strange_zookeeper: strange.as_deref(),
            })
        });
        looked.await.unwrap_or_else(|e| Some(format!("the look at it ended early: {e}")))
    }

    /// The process of our ZooKeeper node; none: it does not run.
    fn zookeeper_process(&self) -> Option<ProcessId> {
        let zookeeper = NodeName::zookeeper();
        self.snapshot.borrow().nodes.iter().find(|node| node.name == zookeeper)?.process.clone()
    }

    fn strange_zookeeper(&self) -> Option<String> {
        let Some(ours) = self.zookeeper_process() else { return Some("the supervisor's own does not run".into()) };
        match net::listener_owner(self.zookeeper) {
            Some(owner) if owner.pid == Some(ours.pid) => None,
            Some(owner) => Some(format!("{} listens at {}", owner.describe(), self.zookeeper)),
            None => Some(format!("nobody on this machine listens at {}", self.zookeeper)),
        }
    }

    /// Tried until ZooKeeper has answered, or would have closed the session by itself.
    async fn at_death(self) {
        let began = clock::now();
        let mut refused = 0;
        while clock::now().since(began) < self.up_to {
            match self.attempt().await {
                Ok(Fenced::NobodyThere | Fenced::Closed(_)) => return,
                // Somebody who looks whether the same ports are free, as the next start does, has them for a moment.
                Ok(Fenced::Refused(..)) if refused < 2 => refused += 1,
                // The next start says why it waits. One that is not wanted up again leaves no trace but this.
                Ok(Fenced::Refused(session, why)) => {
                    tracing::info!(node = %self.node, "its ZooKeeper session {session:#x} is not closed: {why}");
                    return;
                }
                Err(e) => tracing::debug!(node = %self.node, "its ZooKeeper session could not be looked at: {e}"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn ordered(&self) -> OrderReply {
        let node = &self.node;
        match self.attempt().await {
            Ok(Fenced::NobodyThere) => {
                Ok(vec![format!("{node} is not registered in ZooKeeper: there is nothing to close")])
            }
            Ok(Fenced::Closed(session)) => Ok(vec![format!("closed ZooKeeper session {session:#x} of {node}")]),
            Ok(Fenced::Refused(session, why)) => {
                Err(Rejection::NotNow(format!("ZooKeeper session {session:#x} of {node} is left alone: {why}")))
            }
            Err(e) => Err(Rejection::NotReady(vec![e.to_string()])),
        }
    }

    fn note(&self, session: i64) {
        let text = format!("ZooKeeper session {session:#x} of broker {} closed: its leaders move now", self.broker);
        tracing::info!(node = %self.node, "{text}");
        let event = EventLine::new(EventKind::Fenced, text).node(&self.node).incarnation(self.incarnation);
        // Of an end that nobody saw only the time of day is known, and the clock may have been set back since.
        let unseen = || u64::try_from(clock::wall().0 - self.end?.ended.0).ok();
        let took = match self.seen {
            Some(run) => u64::try_from(clock::now().since(run.ended).as_millis()).ok(),
            None => unseen(),
        };
        self.journal.note(EventLine { took_ms: took, ..event });
    }
}

#[cfg(test)]
pub(super) mod fake_zookeeper;
#[cfg(test)]
mod tests;
