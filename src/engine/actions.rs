//! Carries out what the machine asks for. The only file that matches on `lifecycle::Action`.

use super::{
    Engine,
    last_words::LogMarks,
    link::{self, Launch, LinkContext},
    node::{Asked, Link},
    persist, prepare, watch,
};
use crate::{
    base::{EventKind, EventLine, Incarnation, Launched, NodeName, recipe::Recipe},
    lifecycle::{Action, StopReason},
    shim::wire::{Credentials, LaunchOrder, Notified, Request},
    sys::clock,
};
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, watch as watched};

/// What leftovers of a tree get between SIGTERM and SIGKILL once their main process is gone.
const LEFTOVERS: Duration = Duration::from_secs(1);

pub(super) fn perform(engine: &mut Engine, action: Action) {
    match action {
        Action::Prepare { node } => prepare::begin(engine, &node),
        Action::CancelPrepare { node } => {
            if let Some(task) = engine.nodes.get_mut(&node).and_then(|n| n.prepare.take()) {
                task.cancel.cancel();
            }
        }
        Action::Spawn { node, incarnation } => spawn(engine, &node, incarnation),
        Action::Watch { node, incarnation } => watch::begin(engine, &node, incarnation),
        Action::AskToStop { node, incarnation, reason } => {
            let Some(runtime) = engine.nodes.get_mut(&node) else { return };
            let (signal, grace) = (runtime.stop().signal, runtime.stop().grace);
            if reason == StopReason::Ordered {
                runtime.asked = Some(Asked::ToStop);
            }
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            tell(engine, &node, incarnation, Request::Stop { signal, grace_ms });
        }
        Action::KillTree { node, incarnation } => {
            if let Some(runtime) = engine.nodes.get_mut(&node)
                && matches!(runtime.asked, None | Some(Asked::BySignal(..)))
            {
                runtime.asked = Some(Asked::ToDieNow);
            }
            tell(engine, &node, incarnation, Request::KillTree);
        }
        Action::Signal { node, incarnation, signal } => {
            if let Some(runtime) = engine.nodes.get_mut(&node)
                && matches!(runtime.asked, None | Some(Asked::BySignal(..)))
            {
                runtime.asked = Some(Asked::BySignal(signal, clock::now()));
            }
            tell(engine, &node, incarnation, Request::Signal(signal));
        }
    }
}

fn tell(engine: &Engine, node: &NodeName, incarnation: Incarnation, request: Request) {
    let link = engine.nodes.get(node).and_then(|n| n.link.as_ref());
    if let Some(link) = link.filter(|l| l.incarnation == incarnation) {
        // A link that has ended has reported the end, which is the next thing to be handled.
        let _ = link.commands.send(request);
    }
}

fn spawn(engine: &mut Engine, node: &NodeName, incarnation: Incarnation) {
    let Some(runtime) = engine.nodes.get_mut(node) else { return };
    let recipe = Arc::clone(&runtime.recipe);
    engine.groups.started(node);
    let cgroup = match cgroup_of(engine, &recipe) {
        Ok(made) => made,
        Err(why) => {
            engine.launch_failed(node, incarnation, "cgroup", 0, &why);
            return;
        }
    };
    let Some(runtime) = engine.nodes.get_mut(node) else { return };
    runtime.asked = None;
    runtime.registered = None;
    runtime.adopted = false;
    runtime.started_at = None;
    runtime.memory = None;
    runtime.spawned = Some(clock::now());
    runtime.ready_since = None;
    runtime.ready_at = None;
    runtime.ready_after = None;
    let record = if runtime.note_launch() { runtime.launched.clone() } else { None };
    // Preparing has looked it up: it always comes right before.
    let found = runtime.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    runtime.log = LogMarks::begin(found.log);
    let credentials =
        found.credentials.filter(|(user, _)| recipe.launch.user.as_ref() == Some(user)).map(|(_, found)| found);
    if let (Some(user), None) = (&recipe.launch.user, &credentials) {
        return engine.launch_failed(node, incarnation, "user", 0, &format!("user {user:?} was not looked up"));
    }
    let order = launch_order(&engine.layout, &recipe, incarnation, cgroup.clone(), credentials);
    let frame = match order.encode() {
        Ok(frame) => frame,
        Err(e) => {
            engine.launch_failed(node, incarnation, "order", 0, &format!("the launch order is too long: {e}"));
            return;
        }
    };
    // At once, from here: a start after a death waits for nothing that can be left for later.
    let ordered = if record.is_none() { engine.reserve.order(&frame) } else { None };
    let (context, link) = connect(engine, node, &recipe, incarnation, cgroup);
    if let Some(runtime) = engine.nodes.get_mut(node) {
        runtime.link = Some(link);
    }
    let launch = Launch { reserve: Arc::clone(&engine.reserve), frame, ordered };
    let (layout, node) = (engine.layout.clone(), node.clone());
    tokio::spawn(async move {
        if let Some(launched) = record {
            write_down(layout, node, launched).await;
        }
        link::launch(context, launch).await;
    });
}

/// Writes down what a start is made of, before it: a daemon that comes later can then tell what runs.
async fn write_down(layout: crate::base::Layout, node: NodeName, launched: Arc<Launched>) {
    let name = node.clone();
    let written = tokio::task::spawn_blocking(move || persist::write_launched(&layout, &node, &launched)).await;
    // Only `plan` and a reload after a crash want it: no reason not to start the node.
    if let Ok(Err(e)) = written {
        tracing::warn!(node = %name, "{e}: {}", e.source);
    }
}

/// Makes the two ends of a link.
pub(super) fn connect(
    engine: &Engine,
    node: &NodeName,
    recipe: &Recipe,
    incarnation: Incarnation,
    cgroup: Option<PathBuf>,
) -> (LinkContext, Link) {
    let (commands, receiver) = mpsc::unbounded_channel();
    let (notified, seen) = watched::channel(Notified::default());
    let context = LinkContext {
        layout: engine.layout.clone(),
        node: node.clone(),
        incarnation,
        log_max_bytes: recipe.log.max_bytes.0,
        log_keep: recipe.log.keep,
        cgroup,
        sink: engine.sink.clone(),
        notified,
        commands: receiver,
    };
    (context, Link { incarnation, commands, notified: seen })
}

/// Makes the node's cgroup with its limits, when caps are enforced here.
fn cgroup_of(engine: &Engine, recipe: &Recipe) -> Result<Option<PathBuf>, String> {
    let Some(limits) = &engine.limits else { return Ok(None) };
    let (dir, missing) =
        limits.start(recipe).map_err(|e| format!("its cgroup could not be made: {e}: {}", e.source))?;
    for what in missing {
        // At each start: nobody else looks.
        tracing::warn!(node = %recipe.node, "{what}");
        engine.journal.note(EventLine::new(EventKind::Trouble, what).node(&recipe.node));
    }
    Ok(Some(dir))
}

fn launch_order(
    layout: &crate::base::Layout,
    recipe: &Recipe,
    incarnation: Incarnation,
    cgroup: Option<PathBuf>,
    credentials: Option<Credentials>,
) -> LaunchOrder {
    let launch = &recipe.launch;
    LaunchOrder {
        root: layout.root().to_owned(),
        node: recipe.node.clone(),
        incarnation,
        argv: launch.argv.clone(),
        env: launch.env.clone(),
        dir: launch.dir.clone(),
        credentials,
        nofile: launch.nofile,
        oom_score_adj: launch.oom_score_adj,
        cgroup,
        notify: launch.notify,
        log_max_bytes: recipe.log.max_bytes.0,
        log_keep: recipe.log.keep,
        leftovers_ms: u64::try_from(LEFTOVERS.as_millis()).unwrap_or(u64::MAX),
    }
}
