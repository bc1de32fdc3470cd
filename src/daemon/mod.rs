//! Wiring of the daemon: configuration, lock, programs, engine, control socket, signals.

mod convert;
mod handler;
mod inputs;
mod reload;
mod session;
mod systemd;

use crate::{
    base::{EventKind, EventLine, Layout, NodeName},
    control::server,
    engine::{Engine, EngineOrder, Handle, Journal, Settings},
    sys::{fs, process},
    telemetry,
};
use handler::DaemonHandler;
use inputs::{Applied, Inputs, StartError};
use reload::Reloads;
use std::{collections::BTreeSet, fs::Permissions, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

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
}

/// Runs the daemon until it is told to stop; returns the exit code of the contract.
pub fn run(args: DaemonArgs) -> u8 {
    telemetry::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!(error = %e, "the async runtime could not be started");
            return 1;
        }
    };
    let own_session = args.own_session;
    match runtime.block_on(serve(args)) {
        Ok(()) => 0,
        Err(e) if own_session && e.is_another_running() => {
            tracing::info!("{}", e.full_text());
            e.exit_code()
        }
        Err(e) => {
            tracing::error!("{}", e.full_text());
            e.exit_code()
        }
    }
}

async fn serve(args: DaemonArgs) -> Result<(), StartError> {
    // Orphans of a shim that was killed come to us, not to init: their exit codes stay knowable.
    process::set_child_subreaper().map_err(|e| StartError::other("become a child subreaper", e))?;
    let mut inputs = Inputs::gather(&args).await?;
    let layout = inputs.layout.clone();
    make_base(&layout)?;
    let lock = fs::Lock::try_take(&layout.daemon_lock()).map_err(StartError::file)?;
    let Some(_lock) = lock else { return Err(StartError::already_running(&layout)) };
    inputs.look_for_live_nodes().await?;
    let restore_wishes = session::begin(&layout).map_err(StartError::file)?;
    fs::write_atomic(&layout.plan(), inputs.plan_text.as_bytes(), 0o640, fs::Durability::PowerLoss)
        .map_err(StartError::file)?;
    let recipes = inputs::recipes(&inputs.plan, &layout, !inputs.nodes_live).await?;
    let applied = Applied::new(inputs.plan, recipes.clone(), &layout);
    let (cgroup, caps) = inputs::caps();
    if let Some(why) = &caps.why {
        tracing::info!("memory caps are not enforced: {why}");
    }
    let only = (!args.only.is_empty()).then(|| args.only.iter().cloned().collect::<BTreeSet<_>>());
    let journal = Journal::start(&layout);
    journal.note(EventLine::new(
        EventKind::DaemonStarted,
        format!(
            "cdc-supervisor {}, pid {}{}",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            if restore_wishes { "; the last daemon had not ended in order" } else { "" }
        ),
    ));
    let settings = Settings {
        layout: layout.clone(),
        recipes,
        shim_program: inputs::shim_program()?,
        cgroup: cgroup.clone(),
        only,
        restore_wishes: restore_wishes || inputs.nodes_live,
        journal,
    };
    let (engine, handle) = Engine::start(settings).await.map_err(|e| StartError::other("start the engine", e))?;
    let listener = listen(&layout)?;
    let (stop, stopped) = watch::channel(false);
    let reloads = Reloads::new(layout.clone(), args, cgroup.clone(), applied);
    let handler = Arc::new(DaemonHandler::new(layout.clone(), handle.clone(), caps, cgroup, reloads));
    let server = tokio::spawn(server::serve(listener, handler, stopped));
    tokio::spawn(obey_signals(handle));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), root = %layout.root().display(), "ready for orders");
    let mut systemd = systemd::Systemd::from_environment();
    let pulse_every = systemd.watchdog_interval();
    engine.run(move |snapshot| systemd.pulse(snapshot), pulse_every).await;
    session::end(&layout);
    // The last answers go out, then the socket goes.
    stop.send_replace(true);
    if let Err(e) = server.await {
        tracing::error!(error = %e, "the control server ended badly");
    }
    let _ = fs::remove_optional(&layout.control_socket());
    tracing::info!("all nodes are down; the daemon ends");
    Ok(())
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

/// Binds the control socket. The daemon lock is held, so a file that lies there is a leftover.
fn listen(layout: &Layout) -> Result<UnixListener, StartError> {
    let path = layout.control_socket();
    fs::remove_optional(&path).map_err(StartError::file)?;
    let listener =
        UnixListener::bind(&path).map_err(|e| StartError::other(&format!("listen on {}", path.display()), e))?;
    // run/ is 0750: who may not enter it cannot reach the socket; within it the group may give orders (the unit's group).
    std::fs::set_permissions(&path, Permissions::from_mode(0o660))
        .map_err(|e| StartError::other(&format!("set the mode of {}", path.display()), e))?;
    Ok(listener)
}

/// The first TERM, INT or HUP stops everything in order, a later one kills.
async fn obey_signals(handle: Handle) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let Ok(mut signals) = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>() else {
        tracing::error!("signals cannot be listened to; stop with `cdc-supervisor down`");
        return;
    };
    let [terminate, interrupt, hangup] = &mut signals[..] else { return };
    let mut now = false;
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
        };
        let doing = if now { "killing all nodes" } else { "stopping all nodes in order" };
        tracing::info!(signal = name, "{doing}");
        handle.journal().note(EventLine::new(EventKind::Order, format!("{name} to the daemon: {doing}")));
        let handle = handle.clone();
        // The loop must hear the second signal while the first is being carried out.
        tokio::spawn(async move { drop(handle.order(EngineOrder::Down { now }).await) });
        now = true;
    }
}
