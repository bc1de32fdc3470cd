//! Stops everything of a root without its daemon: through the shims, in the order of dependencies.

use super::{
    plan,
    shims::{self, Live, Shim},
    status,
    unit::ask_for,
};
use crate::{
    base::{ExitRecord, Layout, NodeName, outcome::ExitStatus},
    config::Plan,
    shim::wire::{Report, Request},
    sys::{
        error::SysError,
        fs::{Lock, remove_optional},
        process,
    },
};
use nix::libc::{SIGKILL, SIGTERM};
use std::{
    collections::BTreeMap,
    fmt, thread,
    time::{Duration, Instant},
};

/// The grace of a node of which no plan tells another: long enough for a broker to hand over and for InnoDB to flush.
const GRACE: Duration = Duration::from_secs(60);

/// How long after its grace a node may take to be gone: SIGKILL, and the kernel giving back its memory.
const AFTER_GRACE: Duration = Duration::from_secs(30);

/// How often it is looked whether processes without a shim are gone.
const LOOK: Duration = Duration::from_millis(50);

/// What happened to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Which.
    pub node: NodeName,
    /// Words: `stopped (exit 143) after 1.2 s`.
    pub text: String,
}

/// A stop without a daemon failed.
#[derive(Debug)]
pub enum DownError {
    /// A daemon holds the root: it starts, or it hangs.
    DaemonLives(Layout),
    /// The root cannot be looked at.
    System(SysError),
    /// Nodes that did not go, and why.
    Left(Vec<(NodeName, String)>),
}

impl fmt::Display for DownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DaemonLives(layout) => {
                write!(f, "a daemon holds {} but does not answer", layout.daemon_lock().display())
            }
            Self::System(e) => e.fmt(f),
            Self::Left(nodes) => {
                let names: Vec<&str> = nodes.iter().map(|(node, _)| node.as_str()).collect();
                write!(f, "not everything could be stopped: {}", names.join(", "))
            }
        }
    }
}

impl std::error::Error for DownError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(e) => e.source(),
            Self::DaemonLives(_) | Self::Left(_) => None,
        }
    }
}

/// Stops every node that runs under the root; `now` kills the trees instead of asking. `told` hears each stop as it comes
/// about. Empty when nothing ran. Blocks; holds the daemon's lock meanwhile, so that no daemon starts nodes again.
pub fn down(layout: &Layout, now: bool, told: &(dyn Fn(&Stopped) + Sync)) -> Result<Vec<Stopped>, DownError> {
    if !layout.run().exists() {
        return Ok(Vec::new());
    }
    let lock = Lock::try_take(&layout.daemon_lock()).map_err(DownError::System)?;
    let Some(_lock) = lock else { return Err(DownError::DaemonLives(layout.clone())) };
    let plan = last_plan(layout);
    let mut live = shims::live(layout);
    let (mut done, mut left) = (Vec::new(), Vec::new());
    while !live.is_empty() {
        let (wave, rest) = next_wave(live, |node| needs(plan.as_ref(), node));
        live = rest;
        let results: Vec<(NodeName, Result<Stopped, String>)> = thread::scope(|scope| {
            let stops: Vec<_> = wave
                .into_iter()
                .map(|one| {
                    let order = stop_order(plan.as_ref(), &one.state.node, now);
                    // What this wave may take, of which the unit knows nothing; a start-up that is waited for, as long as it gets on.
                    ask_for(order.1);
                    scope.spawn(move || {
                        if !now {
                            start_up::await_end(layout, &one.state.node, &|stopped| {
                                ask_for(start_up::TOLD_AGAIN_WITHIN + order.1);
                                told(stopped);
                            });
                        }
                        let stopped = stop(&one, order);
                        if let Ok(stopped) = &stopped {
                            told(stopped);
                        }
                        (one.state.node, stopped.map_err(|e| e.in_one_line()))
                    })
                })
                .collect();
            // A thread that panicked has said so itself; its node is found below by its lock.
            stops.into_iter().filter_map(|s| s.join().ok()).collect()
        });
        for (node, result) in results {
            match result {
                Ok(stopped) => done.push(stopped),
                Err(why) => left.push((node, why)),
            }
        }
    }
    // Shim and daemon killed together: the tree still holds the node's lock.
    for node in status::nodes_that_live(layout) {
        match clear(layout, &node, stop_words(plan.as_ref(), &node), now) {
            Ok(stopped) => {
                told(&stopped);
                left.retain(|(other, _)| *other != node);
                done.push(stopped);
            }
            Err(why) => {
                left.retain(|(other, _)| *other != node);
                left.push((node, why));
            }
        }
    }
    if !left.is_empty() {
        return Err(DownError::Left(left));
    }
    // The ordered end of a session (the daemon removes it in the same place of its own `down`).
    remove_optional(&layout.session()).map_err(DownError::System)?;
    Ok(done)
}

/// Ends a daemon of this root that does not answer, by SIGKILL. Its nodes run on: [`down`] ends them.
pub fn kill_daemon(layout: &Layout) {
    let lock = layout.daemon_lock();
    // This program looks at the lock itself now and then.
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    for pid in process::holders_of(&lock).into_iter().filter(|pid| *pid != own) {
        process::signal_holder(pid, &lock, SIGKILL);
    }
}

/// The plan that the nodes were started by; none when it cannot be read: then the products' own order holds.
fn last_plan(layout: &Layout) -> Option<Plan> {
    plan::applied(layout).ok().flatten()
}

/// What a node must outlive nothing of: it goes before these.
fn needs(plan: Option<&Plan>, node: &NodeName) -> Vec<NodeName> {
    let command = plan.and_then(|plan| plan.commands.iter().find(|c| c.name == *node));
    match command {
        Some(command) => command.after.clone(),
        None if node.as_str().starts_with("broker-") => vec![NodeName::zookeeper()],
        // Of a command whose plan is lost all products are taken to be needed.
        None if plan.is_none() && *node != NodeName::zookeeper() && *node != NodeName::mysql() => {
            vec![
                NodeName::zookeeper(),
                NodeName::mysql(),
                NodeName::broker(1),
                NodeName::broker(2),
                NodeName::broker(3),
            ]
        }
        None => Vec::new(),
    }
}

/// Splits into those that nothing living needs, and the rest. Never an empty wave: a circle is stopped at once.
fn next_wave(live: Vec<Live>, needs: impl Fn(&NodeName) -> Vec<NodeName>) -> (Vec<Live>, Vec<Live>) {
    let mut needed: BTreeMap<NodeName, bool> = live.iter().map(|l| (l.state.node.clone(), false)).collect();
    for one in &live {
        for need in needs(&one.state.node) {
            if let Some(entry) = needed.get_mut(&need) {
                *entry = true;
            }
        }
    }
    if needed.values().all(|n| *n) {
        return (live, Vec::new());
    }
    live.into_iter().partition(|one| !needed[&one.state.node])
}

/// The signal that asks a node to stop, and its grace.
fn stop_words(plan: Option<&Plan>, node: &NodeName) -> (i32, Duration) {
    let grace = plan.and_then(|plan| plan.node(node)).map_or(GRACE, |view| view.care.grace);
    let command = plan.and_then(|plan| plan.commands.iter().find(|c| c.name == *node));
    (command.map_or(SIGTERM, |c| c.stop_signal), grace)
}

/// What is sent, and how long its effect may take.
fn stop_order(plan: Option<&Plan>, node: &NodeName, now: bool) -> (Request, Duration) {
    if now {
        return (Request::KillTree, AFTER_GRACE);
    }
    let (signal, grace) = stop_words(plan, node);
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    (Request::Stop { signal, grace_ms }, grace + AFTER_GRACE)
}

fn stop(live: &Live, (order, within): (Request, Duration)) -> Result<Stopped, SysError> {
    let began = Instant::now();
    let node = live.state.node.clone();
    let mut shim = Shim::connect(&live.socket)?;
    // Subscribed, the connection also hears that the node is gone.
    shim.send(&Request::Subscribe)?;
    shim.send(&order)?;
    loop {
        match shim.report(within.saturating_sub(began.elapsed()))? {
            Some(Report::Gone(record)) => return Ok(Stopped { node, text: ended(&record, began.elapsed()) }),
            None => return Ok(Stopped { node, text: format!("gone after {:.1} s", began.elapsed().as_secs_f64()) }),
            Some(
                Report::State(_)
                | Report::LaunchFailed { .. }
                | Report::Notified(_)
                | Report::MainEnded(_)
                | Report::Trouble(_),
            ) => {}
        }
    }
}

fn ended(record: &ExitRecord, took: Duration) -> String {
    let how = match record.status {
        ExitStatus::Code(_) | ExitStatus::Signal(_) => record.status.describe(),
        ExitStatus::Unknown => "exit unknown".to_owned(),
    };
    format!("stopped ({how}) after {:.1} s", took.as_secs_f64())
}

/// Removes what is left of a tree without a shim: its stop signal, its grace, SIGKILL, until nobody holds the lock.
fn clear(layout: &Layout, node: &NodeName, (signal, grace): (i32, Duration), now: bool) -> Result<Stopped, String> {
    let lock = layout.node_lock(node);
    let holders = process::holders_of(&lock);
    if holders.is_empty() {
        return Err("its lock is held by processes that this user may not see".to_owned());
    }
    let began = Instant::now();
    let mut rounds = [(signal, grace), (SIGKILL, AFTER_GRACE)].into_iter().skip(usize::from(now));
    let mut round = rounds.next();
    while let Some((signal, patience)) = round {
        let asked = Instant::now();
        ask_for(patience + AFTER_GRACE);
        for pid in process::holders_of(&lock) {
            // Gone meanwhile, or not ours to signal: the lock tells in the end.
            process::signal_holder(pid, &lock, signal);
        }
        while asked.elapsed() < patience {
            if matches!(Lock::try_take(&lock), Ok(Some(_))) {
                let text = format!(
                    "{} processes without a shim stopped after {:.1} s",
                    holders.len(),
                    began.elapsed().as_secs_f64()
                );
                return Ok(Stopped { node: node.clone(), text });
            }
            thread::sleep(LOOK);
        }
        round = rounds.next();
    }
    let pids: Vec<String> = process::holders_of(&lock).iter().map(ToString::to_string).collect();
    Err(format!("still alive after SIGKILL: pid {}", pids.join(", ")))
}

mod start_up;
#[cfg(test)]
mod tests;
