//! Wiring of the daemon: configuration, lock, programs, engine, control socket, signals.

mod by_hand;
mod check;
mod cluster;
mod convert;
mod door;
mod drilled;
mod finish;
mod handler;
mod handover;
mod inputs;
mod left;
mod logs;
mod panics;
mod programs;
mod reload;
mod roll;
mod session;
mod signals;
mod stores;
mod systemd;
mod topics;
mod unit;
mod zookeeper_first;

use crate::{
    base::{EventKind, EventLine, Layout, NodeName, Reason},
    engine::{self, Engine, Journal, Reserve, Settings, disk::Guard},
    offline::{self, plan},
    operate::{self, disk::Disks, operation::Operations, topics::keeper},
    sys::{children, clock, error::SysError, failpoint::fail_point, fs, process},
    telemetry,
};
use door::Door;
use handler::DaemonHandler;
use handover::{Handover, Inherited};
use inputs::{Applied, Care, Inputs, StartError};
use reload::{Reloads, Watchers};
use signals::{Ears, Taken};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

/// What `run` is told on its command line.
#[derive(Clone, Debug, Default)]
pub struct DaemonArgs {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// Only these nodes (and what they need) are wanted up; empty: all.
    pub only: Vec<NodeName>,
    /// An `up` started it. That another `up` was faster is then no fault: the caller attaches to the other's daemon.
    pub own_session: bool,
    /// Refuse to start where memory caps cannot be set. The unit says so: a stack without caps may take the machine down.
    pub require_caps: bool,
    /// Fetch nothing: in the unit nothing may reach the network. Nodes whose programs are missing wait for somebody else's fetch.
    pub no_fetch: bool,
    /// What an earlier program of this process hands over (`upgrade-self`).
    pub handed_over: Option<String>,
}

/// How long shims whose nodes are gone are waited for at the very end; they need a millisecond.
const LAST_SHIMS: Duration = Duration::from_millis(300);

/// `run --check`: whether this program could go on with the root as it is. The line that says so, or the exit code and why
/// not. Changes nothing.
pub fn check(args: &DaemonArgs) -> Result<String, (u8, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| (1, format!("the async runtime could not be started: {e}")))?;
    runtime.block_on(check::check(args)).map_err(|e| (e.exit_code(), e.full_text()))
}

/// Runs the daemon until it is told to stop; returns the exit code of the contract.
pub fn run(args: DaemonArgs) -> u8 {
    // Before anything else is opened: these numbers are ours.
    let inherited = args.handed_over.as_deref().and_then(Inherited::take);
    // Before there is another thread.
    let ears = Ears::listen(inherited.is_none());
    telemetry::start();
    panics::listen();
    let ears = match ears {
        Ok(ears) => ears,
        Err(e) => {
            tracing::error!(error = %e, "signals cannot be listened to");
            return 1;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!(error = %e, "the async runtime could not be started");
            return 1;
        }
    };
    let own_session = args.own_session;
    // A program that is missing is told of when it is needed.
    let reserve = inputs::shim_program().ok().map(Reserve::new);
    let served = runtime.block_on(serve(args, inherited, reserve.clone(), ears));
    if let Some(reserve) = &reserve {
        // Who hears that nothing was started, or that all is down, finds nothing.
        reserve.dismiss();
    }
    if served.is_ok() {
        // Shims that have told everything and are on their way out.
        children::await_none(LAST_SHIMS);
    }
    // What must be on disk is: the threads that wait for work are not waited for one by one.
    runtime.shutdown_background();
    match served {
        Ok(()) => 0,
        Err(e) if own_session && e.is_another_running() => {
            tracing::info!("{}", e.full_text());
            e.exit_code()
        }
        Err(e) => {
            systemd::failed(&e.full_text());
            tracing::error!("{}", e.full_text());
            e.exit_code()
        }
    }
}

async fn serve(
    args: DaemonArgs,
    inherited: Option<Inherited>,
    reserve: Option<Arc<Reserve>>,
    (ears, taken): (Arc<Ears>, Taken),
) -> Result<(), StartError> {
    // Orphans of a shim that was killed come to us, not to init: their exit codes stay knowable.
    process::set_child_subreaper().map_err(|e| StartError::other("become a child subreaper", e))?;
    let program = handover::own_program().map_err(|e| StartError::other("find this program's own path", e))?;
    let mut systemd = systemd::Systemd::from_environment();
    systemd.step("reading the configuration, looking at the host");
    let mut inputs =
        Inputs::gather(&args, inputs::unit_serves().as_deref(), inherited.is_some(), reserve.as_ref()).await?;
    let layout = inputs.layout.clone();
    let complaint = args.require_caps.then(unit::Complaint::default);
    if let Some(complaint) = &complaint {
        complaint.ask(inputs.plan.clone(), inputs.moved.clone());
    }
    make_base(&layout).map_err(|e| e.beside_nodes(inputs.nodes_live))?;
    telemetry::keep_within_bound(&layout.supervisor_log());
    telemetry::serve(layout.root());
    let from = inherited.as_ref().map(|i| i.from.clone());
    let (lock, listener) = inherited.map_or((None, None), |i| i.go_on(&layout));
    let lock = match lock {
        Some(lock) => Some(lock),
        None => take_lock(&layout, args.own_session).await.map_err(|e| e.beside_nodes(inputs.nodes_live))?,
    };
    let Some(lock) = lock else { return Err(StartError::already_running(&layout)) };
    let_go_on(&layout);
    inputs::note_served(&layout);
    fail_point!("daemon.locked");
    for dir in [layout.state(), layout.node_states(), layout.secrets()] {
        fs::remove_torn(&dir);
    }
    inputs.look_for_live_nodes().await?;
    if inputs.nodes_live {
        ears.keep();
    }
    match finish_exchange(&layout, &inputs.plan).await {
        Ok(None) => {}
        Ok(Some(finished)) => tracing::warn!("{finished}"),
        Err(e) if inputs.nodes_live => tracing::error!("nodes run, so the daemon goes on: {}", e.full_text()),
        Err(e) => return Err(e),
    }
    if inputs.nodes_live {
        inputs::no_foreign_shims(&layout).await?;
    }
    let (at, live) = (layout.clone(), inputs.nodes_live);
    let caps = tokio::task::spawn_blocking(move || inputs::caps(&at, live)).await;
    let (cgroup, caps) = caps.map_err(|e| StartError::other("look for memory caps", e))?;
    if let Some(why) = &caps.why {
        tracing::info!("memory caps are not enforced: {why}");
        if args.require_caps {
            let refused =
                format!("memory caps cannot be set, and the unit requires them: {why}; {}", offline::unit::remedy(why));
            // Nodes that live are not left alone for it.
            if !inputs.nodes_live {
                return Err(StartError::preflight(refused));
            }
            tracing::error!("nodes run, so the daemon goes on: {refused}");
        }
    }
    let past = session::past(&layout, inputs.nodes_live).map_err(StartError::file)?;
    let begun = Begun { goes_on: inputs.nodes_live || from.is_some(), owed: Vec::new() };
    let at = layout.clone();
    let begun = begun.write(move || session::begun(&at, past))?;
    let (at, text) = (layout.plan(), plan::enclosed(&inputs.plan_text));
    let begun = begun.write(move || fs::write_if_different(&at, text.as_bytes(), 0o640, fs::Durability::PowerLoss))?;
    fail_point!("daemon.planned");
    systemd.step("looking through the store of programs");
    let care = Care::of_start(&args, inputs.nodes_live);
    let mut recipes = inputs::recipes(&inputs.plan, &layout, care).await?;
    if past.wishes_hold || inputs.nodes_live {
        recipes.extend(inputs::added_by_unfinished_reload(&inputs.plan, &layout).await);
    } else {
        reload::forget_unfinished(&layout);
    }
    let applied = Applied::new(inputs.plan.clone(), recipes.clone(), &layout);
    let only = (!args.only.is_empty()).then(|| args.only.iter().cloned().collect::<BTreeSet<_>>());
    let journal = Journal::start(&layout);
    journal.note(EventLine::new(
        EventKind::DaemonStarted,
        format!(
            "cdc-supervisor {}, pid {}{}",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            match &from {
                Some(from) => format!(", handed over by version {from}"),
                None if past.unended => "; the last daemon had not ended in order".into(),
                None => String::new(),
            }
        ),
    ));
    let guard = Arc::new(Guard::new(&inputs.plan));
    let settings = Settings {
        layout: layout.clone(),
        recipes,
        reserve: match reserve {
            Some(reserve) => reserve,
            None => Reserve::new(inputs::shim_program()?),
        },
        cgroup: cgroup.clone(),
        only,
        restore_wishes: past.wishes_hold,
        journal,
        disk: Arc::clone(&guard),
    };
    if inputs.nodes_live {
        systemd.step("taking over the nodes that run");
        systemd.nodes_ran_on();
    }
    let bounds = logs::keep_within_bounds(&layout, &inputs.plan);
    let rest = bounds.clone();
    ears.keep();
    let (engine, handle) = Engine::start(settings).await.map_err(|e| StartError::other("start the engine", e))?;
    fail_point!("daemon.adopted");
    for write in begun.owed {
        engine.when_written(write);
    }
    if !past.wishes_hold {
        let layout = layout.clone();
        engine.when_written(move || session::wishes_written(&layout));
    }
    let at = layout.clone();
    engine.when_ending(move || session::ending(&at));
    // Children of the program before this one are ours too, and one may have ended when nobody listened.
    children::reap_orphans();
    let door = Arc::new(match listener {
        Some(listener) => Door::at(listener),
        None => Door::bind(&layout)?,
    });
    let handover = Handover {
        program,
        lock,
        door: Arc::clone(&door),
        engine: handle.clone(),
        ears,
        work: handover::Work::default(),
        one: tokio::sync::Mutex::default(),
        failed: std::sync::Mutex::default(),
    };
    let operations = Operations::new(layout.clone(), handle.journal().clone());
    let (keeper, inbox) = keeper();
    let watchers = Watchers { keeper: keeper.clone(), disk: Arc::clone(&guard), unit: complaint.clone() };
    let reloads = Reloads::new(layout.clone(), args.clone(), cgroup, applied, bounds, operations.clone(), watchers);
    let reloads = Arc::new(reloads);
    let unrolled = left::take_up(&layout, &handle, &operations, reloads.applied());
    let of = Arc::clone(&reloads);
    tokio::spawn(operate::drill::remove_when_whole(
        handle.because(Reason::Drill),
        layout.clone(),
        operations.clone(),
        move || of.applied().targets.clone(),
    ));
    programs::wait_for(handle.because(Reason::Programs), Arc::clone(&reloads));
    topics::keep(handle.clone(), layout.clone(), Arc::clone(&reloads), keeper.clone(), inbox);
    let disks = Disks::default();
    tokio::spawn(operate::disk::watch(handle.clone(), guard, disks.clone()));
    let clusters = cluster::Clusters::watch(handle.clone(), Arc::clone(&reloads), keeper, disks);
    let operations = (operations, unrolled);
    let handler = DaemonHandler::new(layout.clone(), handle.clone(), caps, reloads, clusters, operations, handover);
    let handler = Arc::new(handler);
    door.open(Arc::clone(&handler) as _).await.map_err(|e| StartError::other("serve the control socket", e))?;
    fail_point!("daemon.serving");
    handler.finish_roll();
    let journal = handle.journal().clone();
    let signals = tokio::spawn(signals::obey(taken, handle, rest));
    let version = env!("CARGO_PKG_VERSION");
    match from {
        Some(from) => {
            tracing::info!(from, version, root = %layout.root().display(), "took over from the program before, ready for orders");
        }
        None => tracing::info!(version, root = %layout.root().display(), "ready for orders"),
    }
    let (pulse_every, watched) = (systemd.watchdog_interval(), systemd.has_watchdog());
    let last_words = journal.clone();
    let served = Arc::clone(&door);
    let mut told = false;
    let pulse = move |snapshot: &engine::Snapshot| {
        let lost = if signals.is_finished() {
            Some("the task that hears signals")
        } else if served.is_lost() {
            Some("the control server")
        } else if panics::heard() {
            Some("a task that has panicked")
        } else {
            None
        };
        if let Some(lost) = lost.filter(|_| !std::mem::replace(&mut told, true)) {
            let text = words_of_a_loss(lost, watched);
            tracing::error!("{text}");
            journal.note(EventLine::new(EventKind::Trouble, text));
        }
        let complaint = complaint.as_ref().and_then(unit::Complaint::words);
        let complaint = complaint.as_deref();
        systemd.pulse(snapshot, &systemd::Around { applied: &|| handler.applied(), complaint, lost });
    };
    // On the runtime's own threads, where the tasks of nodes run: a turn then needs no other thread to wake up.
    let turning = tokio::spawn(engine.run(pulse, pulse_every, panics::stirred()));
    if let Err(e) = turning.await {
        // Nothing turns any more that could tell of it, and the next daemon sees only that this one is gone.
        let text = "the dispatcher has panicked: this daemon ends, nodes run on, and the next one takes them over: that of systemd, or `cdc-supervisor up`";
        last_words.note(EventLine::new(EventKind::Trouble, text));
        let _ = tokio::task::spawn_blocking(move || last_words.flush()).await;
        return Err(StartError::other("go on: the dispatcher ended early, and nodes run on without a daemon", e));
    }
    fail_point!("daemon.all-down");
    session::end(&layout);
    fail_point!("daemon.session-ended");
    // The last answers go out, then the socket goes.
    let _ = fs::remove_optional(&layout.control_socket());
    door.close().await;
    tracing::info!("all nodes are down; the daemon ends");
    Ok(())
}

/// What a part of the daemon that is gone for good means: nodes run on, and who brings another daemon.
fn words_of_a_loss(lost: &str, watched: bool) -> String {
    let what = if watched {
        "the watchdog is not fed any more, and systemd brings another one, which takes the nodes over".to_owned()
    } else {
        format!(
            "nobody watches over it: `kill -9 {}`, then `cdc-supervisor up` takes the nodes over",
            std::process::id()
        )
    };
    format!("this daemon has lost {lost}: nodes run on, {what}")
}

/// A node that a drill of an earlier daemon has stopped goes on, whatever becomes of this one. An event tells of it later.
fn let_go_on(layout: &Layout) {
    match offline::paused::go_on(layout) {
        Some((process, Ok(()))) => tracing::info!("a drill had stopped pid {}: it goes on (SIGCONT)", process.pid),
        Some((process, Err(why))) => {
            tracing::error!("a drill has stopped pid {}, and it could not be told to go on: {why}", process.pid);
        }
        None => {}
    }
}

/// Sets data directories right that a restore or a reset was exchanging when it was cut short: before anything looks at them.
async fn finish_exchange(layout: &Layout, plan: &crate::config::Plan) -> Result<Option<String>, StartError> {
    let (layout, stores) = (layout.clone(), offline::stores::of_plan(plan));
    let finished = tokio::task::spawn_blocking(move || offline::stores::exchange::finish(&layout, &stores)).await;
    finished.map_err(|e| StartError::other("set the data directories right", e))?.map_err(StartError::file)
}

/// What a start leaves on disk before the engine begins.
struct Begun {
    /// Nodes live, or this process has just become another program: a disk that takes nothing keeps no daemon from them.
    goes_on: bool,
    /// What was refused and is written as soon as it can be.
    owed: Vec<Box<dyn FnMut() -> Result<(), SysError> + Send>>,
}

impl Begun {
    fn write(mut self, mut write: impl FnMut() -> Result<(), SysError> + Send + 'static) -> Result<Self, StartError> {
        match write() {
            Ok(()) => {}
            Err(e) if self.goes_on => {
                tracing::error!(error = %e.source, "nodes run, so the daemon goes on: {e}; it is tried again");
                self.owed.push(Box::new(write));
            }
            Err(e) => return Err(StartError::file(e)),
        }
        Ok(self)
    }
}

/// How long the lock of a daemon that dies may still be held: its threads end one after the other, and its files are closed
/// with the last of them, after the process is seen as dead (exit_group(2), kernel/exit.c). Who only looks whether the lock
/// is held takes it for an instant, too (`fs::Lock::is_held`).
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Takes the root's lock; none: another daemon has it and keeps it. One that an `up` has started does not wait: the `up`
/// itself sees whether the other daemon answers, and starts another one when it is gone.
async fn take_lock(layout: &Layout, own_session: bool) -> Result<Option<fs::Lock>, StartError> {
    let began = clock::now();
    loop {
        let taken = fs::Lock::try_take(&layout.daemon_lock()).map_err(StartError::file)?;
        if taken.is_some() || own_session || clock::now().since(began) >= LOCK_WAIT {
            return Ok(taken);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn make_base(layout: &Layout) -> Result<(), StartError> {
    for (dir, mode) in [
        (layout.root().to_owned(), 0o755),
        (layout.state(), 0o755),
        (layout.node_states(), 0o755),
        (layout.secrets(), 0o700),
        (layout.run(), 0o750),
        (layout.nodes(), 0o755),
    ] {
        fs::make_dir(&dir, mode).map_err(StartError::file)?;
    }
    Ok(())
}
