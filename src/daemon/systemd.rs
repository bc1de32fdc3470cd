//! What systemd is told: READY, STATUS, and a watchdog fed by the engine's own loop.

use super::inputs::Applied;
use crate::{
    base::{Moment, NodeName},
    engine::{NodeSnapshot, Snapshot},
    lifecycle::Wanted,
    sys::{
        clock,
        manager::{self, more_time, tell},
        socket::Listener,
    },
};
use sd_notify::NotifyState;
use std::{collections::BTreeMap, env, io, sync::Arc, time::Duration};

/// A fixed bound for READY=1: a node that is still recovering must not fail the unit (DESIGN.md, "systemd").
pub(super) const READY_AFTER: Duration = Duration::from_secs(75);

/// How long one step before the engine runs may take: reading every program of the store on a slow disk. Each step that is
/// reached gives the next one as long again, so that only a daemon that gets nowhere meets `TimeoutStartSec=`.
const STEP_AT_MOST: Duration = Duration::from_secs(600);

/// What a stop that waits for a broker's start-up is given at least: `TimeoutStopSec=` of the unit, so that the graces have
/// their whole time once it is over.
const QUEUED_STOP_MORE: Duration = Duration::from_secs(360);

/// How long after its grace a node may take to be gone: SIGKILL, and the kernel giving back its memory.
const AFTER_GRACE: Duration = Duration::from_secs(30);

/// How often a stop that goes on asks for more time.
const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// The connection to a service manager, if there is one.
#[derive(Debug)]
pub(super) struct Systemd {
    manager: Option<Listener>,
    watchdog: Option<Duration>,
    began: Moment,
    ready: bool,
    status: String,
    fed: Moment,
    /// When more time for the stop was asked for, and how many nodes were left then.
    extended: Option<(Moment, usize)>,
    /// Nodes were found running: then adoption is all there is to wait for.
    adopted: bool,
}

/// What a turn of the loop knows besides the snapshot.
pub(super) struct Around<'a> {
    /// What is applied: it says how long which node may take to stop, and after which.
    pub(super) applied: &'a dyn Fn() -> Arc<Applied>,
    /// What was found wrong with the unit; told behind the status.
    pub(super) complaint: Option<&'a str>,
    /// A task of the daemon's own that has ended and must not have: then the watchdog is not fed, and systemd brings a
    /// daemon that has all of them.
    pub(super) lost: Option<&'static str>,
}

/// A start that failed, in the status line. What a process logs right before its end the journal may no longer count to its unit
/// (the process is gone when it looks for its cgroup), and `systemctl status` shows nothing of it then.
pub(super) fn failed(why: &str) {
    if let Some(manager) = manager() {
        // One line; the whole text is in the journal.
        let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = tell(&manager, &[NotifyState::Status(&line)]);
    }
}

impl Systemd {
    /// Reads NOTIFY_SOCKET and WATCHDOG_USEC. Children never see them: their environments are built from an empty one.
    pub(super) fn from_environment() -> Self {
        let manager = manager();
        let mine = env::var("WATCHDOG_PID").ok().is_none_or(|p| p == std::process::id().to_string());
        let watchdog =
            env::var("WATCHDOG_USEC").ok().filter(|_| mine).and_then(|t| t.parse().ok()).map(Duration::from_micros);
        Self {
            manager,
            watchdog,
            began: clock::now(),
            ready: false,
            status: String::new(),
            fed: clock::now(),
            extended: None,
            adopted: false,
        }
    }

    /// A step of the way to the engine begins: shown, and given its time.
    pub(super) fn step(&self, words: &str) {
        if let Some(manager) = &self.manager {
            // What it does not hear it does not miss: the unit's own time-out holds then.
            let _ = tell(manager, &[NotifyState::Status(words), more_time(STEP_AT_MOST)]);
        }
    }

    /// Nodes were found running: READY=1 comes with the first turn, the nodes having been ready before.
    pub(super) fn nodes_ran_on(&mut self) {
        self.adopted = true;
    }

    /// How often the loop must turn: half the watchdog's time (sd_watchdog_enabled(3)), and for READY's deadline.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        self.manager.as_ref()?;
        Some(self.watchdog.map_or(Duration::from_secs(5), |w| w / 2))
    }

    /// Whether a daemon that is not heard of any more is replaced. A unit may well have `Type=notify` without `WatchdogSec=`.
    pub(super) fn has_watchdog(&self) -> bool {
        self.manager.is_some() && self.watchdog.is_some()
    }

    /// Called on every turn of the engine's loop.
    pub(super) fn pulse(&mut self, snapshot: &Snapshot, around: &Around<'_>) {
        let Some(manager) = self.manager.take() else { return };
        self.pulse_to(&manager, snapshot, around);
        self.manager = Some(manager);
    }

    /// What was told is only taken as told when the message went out: a manager that does not read holds up nothing, and hears
    /// it at a later turn.
    fn pulse_to(&mut self, manager: &Listener, snapshot: &Snapshot, around: &Around<'_>) {
        let now = clock::now();
        let (mut ready, mut fed, extended) = (self.ready, self.fed, self.extended);
        let mut messages = Vec::new();
        let mut status = words(snapshot);
        if let Some(complaint) = around.complaint {
            status = format!("{status}; {complaint}");
        }
        if status != self.status {
            messages.push(NotifyState::Status(&status));
        }
        let settled =
            snapshot.nodes.iter().all(|n| n.wanted == Wanted::Down || n.serves || matches!(n.state, "failed" | "down"));
        let enough = settled || self.adopted || now.since(self.began) > READY_AFTER;
        if !ready && !snapshot.nodes.is_empty() && enough {
            ready = true;
            messages.push(NotifyState::Ready);
        }
        if snapshot.ending {
            messages.push(NotifyState::Stopping);
            if let Some(more) = self.more_for_stop(snapshot, around, now) {
                messages.push(more_time(more));
            }
        }
        if let Some(watchdog) = self.watchdog
            && around.lost.is_none()
            && now.since(self.fed) >= watchdog / 4
        {
            fed = now;
            messages.push(NotifyState::Watchdog);
        }
        let told = if messages.is_empty() { Ok(()) } else { tell(manager, &messages) };
        match told {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.extended = extended;
                return;
            }
            Err(e) => tracing::warn!(error = %e, "systemd could not be told"),
            Ok(()) => {}
        }
        (self.ready, self.fed, self.status) = (ready, fed, status);
    }

    /// The time that what is left of a stop may take, as often as it got on: a node is gone, or one waits for its own start-up.
    fn more_for_stop(&mut self, snapshot: &Snapshot, around: &Around<'_>, now: Moment) -> Option<Duration> {
        let left = snapshot.nodes.iter().filter(|n| n.process.is_some()).count();
        let queued = snapshot.nodes.iter().any(|n| n.queued_stop.is_some());
        let due = match self.extended {
            None => true,
            Some((_, then)) if left != then => true,
            Some((at, _)) => queued && now.since(at) >= EXTEND_EVERY,
        };
        if !due {
            return None;
        }
        self.extended = Some((now, left));
        let lives = |name: &NodeName| snapshot.nodes.iter().any(|n| n.name == *name && n.process.is_some());
        let applied = (around.applied)();
        let order: Vec<Stops<'_>> = applied.recipes.iter().map(|r| (&r.node, r.stop.grace, &r.after[..])).collect();
        let bound = stop_bound(&order, lives);
        Some(if queued { bound.max(QUEUED_STOP_MORE) } else { bound })
    }
}

/// The service manager that wants to be told, if there is one.
fn manager() -> Option<Listener> {
    let found = manager::of_environment();
    found.inspect_err(|e| tracing::warn!(error = %e, "NOTIFY_SOCKET is no address of a service manager")).ok().flatten()
}

/// A node, its grace, and what is stopped after it.
type Stops<'a> = (&'a NodeName, Duration, &'a [NodeName]);

/// How long the stop of what lives may take: graces one after the other along the longest way, a node being stopped when
/// those that come after it are gone. `order` is the order of starts.
fn stop_bound(order: &[Stops<'_>], lives: impl Fn(&NodeName) -> bool) -> Duration {
    let mut begins: BTreeMap<&NodeName, Duration> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for (node, grace, after) in order.iter().rev() {
        let begin = begins.get(node).copied().unwrap_or_default();
        let end = begin + if lives(node) { *grace + AFTER_GRACE } else { Duration::ZERO };
        longest = longest.max(end);
        for need in *after {
            let at = begins.entry(need).or_default();
            *at = (*at).max(end);
        }
    }
    longest
}

/// Right before this process becomes another program. The service manager is told nothing but words: the main process stays,
/// and its next READY=1 finds the unit active. The watchdog begins anew, so that the new program has all of its time.
pub(super) fn handing_over(version: &str) {
    let Some(manager) = manager() else { return };
    let status = format!("handing over to version {version}");
    // What it does not hear it does not miss.
    let _ = tell(&manager, &[NotifyState::Status(&status), NotifyState::Watchdog]);
}

/// The STATUS line: `5 of 5 nodes ready`, or what is missing and why.
fn words(snapshot: &Snapshot) -> String {
    let wanted: Vec<_> = snapshot.nodes.iter().filter(|n| n.wanted == Wanted::Up).collect();
    let ready = wanted.iter().filter(|n| n.serves).count();
    let word = |n: &NodeSnapshot| match (&n.failure, n.state) {
        (Some(failure), "failed") => {
            let what = failure.what.strip_prefix(n.name.as_str()).and_then(|rest| rest.strip_prefix(": "));
            format!("{} failed: {}", n.name, what.unwrap_or(&failure.what))
        }
        (_, state) => format!("{} {state}", n.name),
    };
    let mut rest: Vec<String> = wanted.iter().filter(|n| !n.serves).map(|n| word(n)).collect();
    // What to do about the first: the same for all of them, as a rule.
    let failed = wanted.iter().find(|n| n.state == "failed").and_then(|n| n.failure.as_ref());
    if let (Some(failure), Some(last)) = (failed, rest.last_mut()) {
        *last = format!("{last}; {}", failure.remedy);
    }
    match (snapshot.ending, rest.is_empty()) {
        (true, _) => {
            let left: Vec<&str> =
                snapshot.nodes.iter().filter(|n| n.process.is_some()).map(|n| n.name.as_str()).collect();
            let queued = snapshot.nodes.iter().find_map(|n| Some(format!("{}: {}", n.name, n.queued_stop.as_ref()?)));
            let left = if left.is_empty() { "no node left".to_owned() } else { format!("left: {}", left.join(", ")) };
            match queued {
                Some(queued) => format!("stopping in order, {left}; {queued}"),
                None => format!("stopping in order, {left}"),
            }
        }
        (false, true) => format!("{ready} of {} nodes ready", wanted.len()),
        (false, false) => format!("{ready} of {} nodes ready; {}", wanted.len(), rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::NodeKind, config};

    fn names(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|n| NodeName::new(*n).unwrap()).collect()
    }

    #[test]
    fn a_stop_is_given_the_graces_along_its_longest_way() {
        let nodes = names(&["zookeeper", "mysql", "broker-1", "broker-2", "reader"]);
        let after =
            [names(&[]), names(&[]), names(&["zookeeper"]), names(&["zookeeper"]), names(&["broker-1", "mysql"])];
        let graces = [20, 120, 180, 180, 60].map(Duration::from_secs);
        let order: Vec<Stops<'_>> = (0..5).map(|i| (&nodes[i], graces[i], &after[i][..])).collect();
        let seconds = |lives: &[&str]| stop_bound(&order, |n| lives.contains(&n.as_str())).as_secs();
        assert_eq!(seconds(&["zookeeper", "mysql", "broker-1", "broker-2", "reader"]), 60 + 180 + 20 + 3 * 30);
        assert_eq!(seconds(&["zookeeper", "mysql", "broker-2"]), 180 + 20 + 2 * 30);
        assert_eq!(seconds(&["zookeeper", "mysql"]), 120 + 30);
        assert_eq!(seconds(&[]), 0);
    }

    /// A daemon that began so long ago, with a broker that is not ready; what one turn tells, line by line.
    fn told(ago: Duration, lost: Option<&'static str>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().join("notify");
        let reader = std::os::unix::net::UnixDatagram::bind(&address).unwrap();
        let nodes = vec![
            Arc::new(NodeSnapshot::sample(NodeName::zookeeper(), NodeKind::Zookeeper, "ready", 1)),
            Arc::new(NodeSnapshot::sample(NodeName::broker(1), NodeKind::Broker(1), "starting", 1)),
        ];
        let mut systemd = Systemd {
            manager: None,
            watchdog: Some(Duration::from_secs(60)),
            began: clock::now() - ago,
            ready: false,
            status: String::new(),
            fed: clock::now() - Duration::from_secs(30),
            extended: None,
            adopted: false,
        };
        let applied = || unreachable!("nothing is stopped");
        let around = Around { applied: &applied, complaint: None, lost };
        systemd.pulse_to(&Listener::at(address.as_os_str()).unwrap(), &Snapshot { nodes, ending: false }, &around);
        let mut message = [0; 1024];
        let length = reader.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_start_is_over_at_its_deadline_at_the_latest_and_the_status_names_the_rest() {
        let rest = "STATUS=1 of 2 nodes ready; broker-1 starting";
        assert_eq!(told(Duration::ZERO, None), [rest, "WATCHDOG=1"]);
        assert_eq!(told(READY_AFTER + Duration::from_secs(1), None), [rest, "READY=1", "WATCHDOG=1"]);
    }

    #[test]
    fn a_daemon_without_one_of_its_own_tasks_does_not_feed_the_watchdog() {
        assert!(!told(Duration::ZERO, Some("the control server")).contains(&"WATCHDOG=1".to_owned()));
    }

    /// Seconds of a line like `TimeoutStopSec=6min`.
    fn time_of(unit: &str, key: &str) -> Duration {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let minutes = line.and_then(|time| time.strip_suffix("min")?.parse::<u64>().ok());
        Duration::from_secs(60 * minutes.unwrap_or_else(|| panic!("{key} is {line:?}, no minutes")))
    }

    #[test]
    fn the_units_times_are_those_that_are_reckoned_with_here() {
        let unit = include_str!("../../systemd/cdc-supervisor.service");
        let nodes = include_str!("../../systemd/cdc-supervisor-nodes.service");
        let text = "[zookeeper]\n[kafka]\n[mysql]\n";
        let source = config::Source { text, name: "supervisor.toml", root_override: None, default_root: "/r".into() };
        let plan = config::load(&source).unwrap_or_else(|e| panic!("{e}"));
        let grace = |name: &NodeName| plan.node(name).unwrap().care.grace;
        let needs = [NodeName::zookeeper()];
        let names =
            [NodeName::zookeeper(), NodeName::mysql(), NodeName::broker(1), NodeName::broker(2), NodeName::broker(3)];
        let of = |name: &NodeName| if name.as_str().starts_with("broker") { &needs[..] } else { &[] };
        let order: Vec<Stops<'_>> = names.iter().map(|name| (name, grace(name), of(name))).collect();
        let longest = stop_bound(&order, |_| true);
        for stop in [time_of(unit, "TimeoutStopSec"), time_of(nodes, "TimeoutStopSec")] {
            assert!(longest < stop, "the graces of the usual stack take {longest:?}, the unit gives {stop:?}");
            assert_eq!(stop, QUEUED_STOP_MORE);
        }
        assert_eq!(time_of(unit, "TimeoutStartSec"), STEP_AT_MOST);
    }
}
