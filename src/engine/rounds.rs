//! Rounds over all nodes that run: memory for the record and for its trend, what held up those that have to do with ZooKeeper sessions, and
//! whether the limits still hold. They go on turns of the loop that come anyway (a probe, the service manager's watchdog), once soon
//! after a start, and where nodes have caps every half minute: nothing else is woken up for them while all is quiet.

use super::{
    Engine,
    incidents::MemorySeen,
    limits::Limits,
    node::Happening,
    stalls::{self, About, Watched},
    trend::{self, History, Trend},
};
use crate::{
    base::{ByteSize, EventKind, EventLine, Incarnation, Layout, Moment, NodeName, recipe::Recipe, stall},
    logs::tail::LogMark,
    services,
    sys::{
        cgroup::{self, Deviation},
        clock, memory, process,
    },
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Shortest time between two rounds.
const EVERY: Duration = Duration::from_secs(10);
/// Shortest time between two rounds that also look at limits.
const LIMITS_EVERY: Duration = Duration::from_secs(30);
/// Shortest time between two looks at the session of an adopted broker. Each costs ZooKeeper two writes to its disk, and a change that
/// somebody has told of is looked at then. One that told nothing is made again sooner (`SessionLook::pause`).
const SESSIONS_EVERY: Duration = Duration::from_secs(600);
/// How soon after a start there is a round: what is started together is looked at together.
const AFTER_START: Duration = Duration::from_secs(1);

/// When rounds went and what they have gathered.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    last: Option<Moment>,
    limits: Option<Moment>,
    /// Of adopted brokers: when each was last asked which session it has.
    sessions: BTreeMap<NodeName, SessionLook>,
    /// A node was started or adopted since the last round.
    started: Option<Moment>,
    under_way: Arc<AtomicBool>,
    /// Of each node, in its current run. Only the round that is under way has it.
    kept: Arc<Mutex<BTreeMap<NodeName, Kept>>>,
}

/// The last look at which session an adopted broker has.
#[derive(Clone, Copy, Debug)]
struct SessionLook {
    at: Moment,
    /// How many in a row told nothing: ZooKeeper did not answer, or the broker was not registered just then.
    in_vain: u32,
}

impl SessionLook {
    /// Until the next: soon where this one told nothing, and later each time.
    fn pause(&self) -> Duration {
        match self.in_vain {
            0 => SESSIONS_EVERY,
            n => LIMITS_EVERY.saturating_mul(1 << (n - 1).min(16)).min(SESSIONS_EVERY),
        }
    }
}

/// What is kept of a node from round to round, in one run of it.
#[derive(Debug, Default)]
struct Kept {
    incarnation: Incarnation,
    history: History,
    watched: Watched,
}

/// What a round saw of one node.
#[derive(Debug)]
pub(super) struct Look {
    incarnation: Incarnation,
    /// When and where the log stood.
    log: (Moment, LogMark),
    memory: Option<MemorySeen>,
    trend: Option<Trend>,
    stalls: Option<stalls::Seen>,
    /// Limits were looked at, and these did not hold.
    deviations: Option<Vec<Deviation>>,
}

impl Rounds {
    /// A node runs that was not there at the last round.
    pub(super) fn node_started(&mut self, now: Moment) {
        self.started.get_or_insert(now);
    }

    /// When the loop has to turn for a round; none: whenever it turns next. `capped`: nodes run whose limits may drift and whose
    /// caps they may come close to.
    pub(super) fn deadline(&self, capped: bool, now: Moment) -> Option<Moment> {
        let under_way = self.under_way.load(Ordering::Relaxed);
        let soon = self.started.map(|at| at + AFTER_START).filter(|_| !under_way);
        // One that is under way tells when it is over, and the loop turns for that.
        let again = self.last.filter(|_| capped).map(|at| at + LIMITS_EVERY).filter(|at| !under_way || *at > now);
        soon.into_iter().chain(again).min()
    }

    /// Whether the session of an adopted broker is to be looked at now; then it is not for a while.
    pub(super) fn looks_at_session(&mut self, node: &NodeName, now: Moment) -> bool {
        let last = self.sessions.get(node);
        let in_vain = last.map_or(0, |look| look.in_vain);
        let due = last.is_none_or(|look| now.since(look.at) >= look.pause());
        if due {
            self.sessions.insert(node.clone(), SessionLook { at: now, in_vain });
        }
        due
    }

    /// Whether a look told which session an adopted broker has.
    pub(super) fn session_is_known(&mut self, node: &NodeName, known: bool) {
        if let Some(look) = self.sessions.get_mut(node) {
            look.in_vain = if known { 0 } else { look.in_vain.saturating_add(1) };
        }
    }

    /// Whether a round is due, and whether it looks at limits.
    fn due(&self, now: Moment) -> Option<bool> {
        let passed = |since: Option<Moment>, time| since.is_none_or(|at| now.since(at) >= time);
        let soon = self.started.is_some_and(|at| now.since(at) >= AFTER_START);
        (soon || passed(self.last, EVERY)).then(|| soon || passed(self.limits, LIMITS_EVERY))
    }
}

/// After a turn: begins a round when one is due and none is under way.
pub(super) fn turn(engine: &mut Engine) {
    let now = clock::now();
    let Some(with_limits) = engine.rounds.due(now) else { return };
    if engine.rounds.under_way.swap(true, Ordering::Relaxed) {
        return;
    }
    let rounds = &mut engine.rounds;
    (rounds.last, rounds.started) = (Some(now), None);
    if with_limits {
        rounds.limits = Some(now);
        super::fence::learn_adopted(engine, now);
    }
    let shortest = engine.nodes.values().filter_map(|runtime| services::stalls::session(&runtime.recipe)).min();
    let nodes: Vec<Node> = engine
        .nodes
        .iter()
        .filter_map(|(name, runtime)| {
            let run = engine.fleet.node(name)?.state().run()?;
            let incarnation = runtime.link.as_ref()?.incarnation;
            let (process, recipe) = (run.process.clone(), Arc::clone(&runtime.recipe));
            let about = About::of(&recipe, &process, runtime.started_at, shortest);
            Some(Node { incarnation, process, recipe, about })
        })
        .collect();
    let layout = engine.layout.clone();
    let round =
        Round { layout, limits: engine.limits.clone(), with_limits, kept: Arc::clone(&engine.rounds.kept), now, nodes };
    let (sink, under_way) = (engine.sink.clone(), Arc::clone(&engine.rounds.under_way));
    // Files of /sys are read, and memory may be reclaimed while a limit is written.
    tokio::task::spawn_blocking(move || {
        round.go(&mut |node, look| {
            // The dispatcher ends last.
            let _ = sink.send((node, Happening::Looked(look)));
        });
        under_way.store(false, Ordering::Relaxed);
    });
}

struct Node {
    incarnation: Incarnation,
    process: crate::base::ids::ProcessId,
    recipe: Arc<Recipe>,
    /// What may hold it up, where that matters.
    about: Option<About>,
}

struct Round {
    layout: Layout,
    limits: Option<Limits>,
    with_limits: bool,
    kept: Arc<Mutex<BTreeMap<NodeName, Kept>>>,
    now: Moment,
    nodes: Vec<Node>,
}

impl Round {
    fn go(self, tell: &mut dyn FnMut(NodeName, Look)) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| self.nodes.iter().any(|n| n.recipe.node == *name));
        for node in &self.nodes {
            let name = &node.recipe.node;
            let memory = self.memory(node);
            let kept = all.entry(name.clone()).or_default();
            if kept.incarnation != node.incarnation {
                *kept = Kept { incarnation: node.incarnation, ..Kept::default() };
            }
            let Kept { history, watched, .. } = kept;
            if let Some(anon) = memory.and_then(|m| m.anon) {
                history.push(self.now, anon);
            }
            let stalls = node.about.as_ref().map(|about| watched.look(about, self.now));
            let trend = history.trend(node.recipe.launch.memory_max.map(|cap| cap.0));
            let deviations = self.limits.as_ref().filter(|_| self.with_limits).map(|limits| self.mend(limits, node));
            let log = (clock::now(), LogMark::now(&self.layout.log_dir(name)));
            tell(name.clone(), Look { incarnation: node.incarnation, log, memory, trend, stalls, deviations });
        }
    }

    fn memory(&self, node: &Node) -> Option<MemorySeen> {
        let at = clock::wall();
        match &self.limits {
            Some(limits) => {
                let now = cgroup::memory_now(&limits.group(&node.recipe.node));
                let seen = MemorySeen { at, anon: now.anon, file: now.file, kernel: now.kernel };
                seen.anon.is_some().then_some(seen)
            }
            None => {
                let (anon, file) = memory::anon_and_file(node.process.pid)?;
                Some(MemorySeen { at, anon: Some(anon), file: Some(file), kernel: None })
            }
        }
    }

    fn mend(&self, limits: &Limits, node: &Node) -> Vec<Deviation> {
        if !process::is_same_alive(&node.process) {
            return Vec::new();
        }
        let deviations = limits.mend(&node.recipe, node.process.pid);
        // One that ended meanwhile is in no group, and the next start makes its own anew.
        if process::is_same_alive(&node.process) { deviations } else { Vec::new() }
    }
}

/// Whether a reading is of a process that is being taken down: one that runs has anonymous memory, its stack at least. A process
/// killed for memory gives it back before its end is told (oom_reaper, mm/oom_kill.c); its record wants what it held before.
fn is_of_its_end(before: Option<MemorySeen>, now: MemorySeen) -> bool {
    now.anon == Some(0) && before.is_some_and(|before| before.anon > Some(0))
}

/// What a round saw reaches the dispatcher.
pub(super) fn looked(engine: &mut Engine, node: &NodeName, look: Look) {
    if engine.fleet.node(node).is_none_or(|n| n.incarnation() != look.incarnation) {
        return;
    }
    let Some(runtime) = engine.nodes.get_mut(node) else { return };
    runtime.trend = look.trend;
    runtime.log.saw(look.log.0, look.log.1);
    let mut events = Vec::new();
    if let Some(seen) = look.memory.filter(|seen| !is_of_its_end(runtime.memory, *seen)) {
        runtime.memory = Some(seen);
        if let (Some(anon), Some(cap)) = (seen.anon, runtime.recipe.launch.memory_max) {
            let was = runtime.memory_high;
            runtime.memory_high = trend::is_high(was, anon, cap.0);
            match (was, runtime.memory_high) {
                (false, true) => {
                    events.push(EventLine::new(EventKind::MemoryHigh, high_words(anon, cap.0, look.trend)));
                }
                (true, false) => {
                    let words =
                        format!("its own memory (anon) is {} again, of a cap of {cap}", ByteSize(anon).rounded());
                    events.push(EventLine::new(EventKind::MemoryEased, words));
                }
                (true, true) | (false, false) => {}
            }
        }
    }
    if let Some(seen) = look.stalls {
        if let Some((held, length, at)) = seen.long {
            let words = stall::words(held, length, at, seen.stalls.session());
            events.push(EventLine::new(EventKind::Stalled, words));
        }
        runtime.stalls = Some(seen.stalls);
    }
    if let Some(deviations) = look.deviations {
        let unmended: Vec<&str> = deviations.iter().filter(|d| !d.mended).map(|d| d.text.as_str()).collect();
        let words = (!unmended.is_empty()).then(|| unmended.join("; "));
        let news = words != runtime.unmended;
        for deviation in deviations.iter().filter(|d| d.mended || news) {
            events.push(EventLine::new(EventKind::LimitDrift, &deviation.text));
        }
        runtime.unmended = words;
    }
    for event in events {
        if event.is(EventKind::MemoryEased) {
            tracing::info!(node = %node, incarnation = look.incarnation.0, "{}", event.text);
        } else {
            tracing::warn!(node = %node, incarnation = look.incarnation.0, "{}", event.text);
        }
        engine.journal.note(event.node(node).incarnation(look.incarnation));
    }
}

/// What a node that is close to its cap is warned of.
fn high_words(anon: u64, cap: u64, trend: Option<Trend>) -> String {
    let per_cent = anon.saturating_mul(100).checked_div(cap).unwrap_or(0);
    let mut words = format!(
        "its own memory (anon) is {}, {per_cent} % of its cap of {}: at the cap the kernel kills it",
        ByteSize(anon).rounded(),
        ByteSize(cap)
    );
    if let Some(hours) = trend::hours_to_cap(trend, Some(anon), Some(cap)) {
        words.push_str(&format!("; as it grows, in {hours} h"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_on_turns_that_come_anyway_and_once_soon_after_a_start() {
        let mut rounds = Rounds { last: Some(Moment(0)), limits: Some(Moment(0)), ..Rounds::default() };
        assert_eq!(rounds.due(Moment(9_999)), None);
        assert_eq!(rounds.deadline(false, Moment(5_000)), None, "nothing is woken up for a round");
        assert_eq!(rounds.deadline(true, Moment(5_000)), Some(Moment(30_000)), "but for caps");
        assert_eq!(rounds.due(Moment(10_000)), Some(false), "memory");
        assert_eq!(rounds.due(Moment(30_000)), Some(true), "and limits");
        rounds.node_started(Moment(2_000));
        rounds.node_started(Moment(2_900));
        for capped in [false, true] {
            assert_eq!(rounds.deadline(capped, Moment(2_900)), Some(Moment(3_000)), "the first of a burst counts");
        }
        assert_eq!(rounds.due(Moment(2_999)), None);
        assert_eq!(rounds.due(Moment(3_000)), Some(true), "after a start limits are looked at");
        rounds.under_way.store(true, Ordering::Relaxed);
        for now in [3_000, 30_000, 40_000] {
            let again = Some(Moment(30_000)).filter(|at| at.0 > now);
            assert_eq!(rounds.deadline(true, Moment(now)), again, "one at a time, and no turn after the other");
            assert_eq!(rounds.deadline(false, Moment(now)), None);
        }
    }

    #[test]
    fn the_session_of_an_adopted_broker_is_looked_at_every_ten_minutes_however_many_rounds_there_are() {
        let mut rounds = Rounds::default();
        let mut looks = |node: &NodeName, from: u64| -> Vec<u64> {
            let at = (from..=1_300).step_by(10);
            at.filter(|second| rounds.looks_at_session(node, Moment(second * 1_000))).collect()
        };
        assert_eq!(looks(&NodeName::broker(1), 0), [0, 600, 1_200]);
        assert_eq!(looks(&NodeName::broker(2), 50), [50, 650, 1_250], "one that serves later is looked at then");
    }

    #[test]
    fn a_look_that_told_nothing_of_a_session_is_followed_by_another_soon_and_later_each_time() {
        let (mut rounds, node) = (Rounds::default(), NodeName::broker(1));
        let mut looks = |from: u64, to: u64, known: bool| -> Vec<u64> {
            let mut at: Vec<u64> = Vec::new();
            for second in (from..=to).step_by(10) {
                if rounds.looks_at_session(&node, Moment(second * 1_000)) {
                    at.push(second);
                    rounds.session_is_known(&node, known);
                }
            }
            at
        };
        assert_eq!(looks(0, 1_400, false), [0, 30, 90, 210, 450, 930]);
        assert_eq!(looks(1_530, 3_000, true), [1_530, 2_130, 2_730], "one that is known is looked at as ever");
        assert_eq!(looks(3_330, 3_400, false), [3_330, 3_360]);
        rounds.session_is_known(&NodeName::broker(2), false);
        assert!(rounds.looks_at_session(&NodeName::broker(2), Moment(0)), "one that nobody has looked at in a round");
    }

    /// A group of plain files for the node `a`, with so much anonymous memory.
    fn holds(limits: &Limits, anon: u64) {
        let group = limits.group(&NodeName::new("a").unwrap());
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(group.join("memory.stat"), format!("anon {anon}\nfile 4096\nkernel 8192\n")).unwrap();
    }

    #[test]
    fn rounds_over_hours_tell_the_trend_and_the_hours_to_the_cap_of_this_run() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::new(cgroup::CgroupRoot::at(dir.path()));
        let (cap, minute) = (64 << 20, 60_000);
        let mut recipe = crate::services::of_a_command();
        recipe.launch.memory_max = Some(ByteSize(cap));
        let recipe = Arc::new(recipe);
        let kept = Arc::default();
        let look = |incarnation, at: u64, anon: u64| {
            holds(&limits, anon);
            let node = Node {
                incarnation: Incarnation(incarnation),
                process: process::identity(i32::try_from(std::process::id()).unwrap()).unwrap(),
                recipe: Arc::clone(&recipe),
                about: None,
            };
            let (kept, limits) = (Arc::clone(&kept), Some(limits.clone()));
            let layout = Layout::new("/nowhere");
            let round = Round { layout, limits, with_limits: false, kept, now: Moment(at), nodes: vec![node] };
            let mut told = Vec::new();
            round.go(&mut |name, look| told.push((name, look)));
            let [(name, look)] = <[_; 1]>::try_from(told).unwrap();
            assert_eq!((name.as_str(), look.incarnation), ("a", Incarnation(incarnation)));
            assert_eq!(look.memory.and_then(|m| m.anon), Some(anon));
            look.trend
        };
        // 12 MiB an hour, two looks a minute
        let leak = |at: u64| (20 << 20) + at * (12 << 20) / (60 * minute);
        for at in (0..120).map(|n| n * minute / 2) {
            let trend = look(1, at, leak(at));
            assert_eq!(trend.is_some(), at >= 10 * minute, "after {at} ms");
            if let Some(trend) = trend {
                assert!(
                    trend.steady_rise && trend.bytes_per_hour.abs_diff(12 << 20) < 1_024,
                    "{trend:?} after {at} ms"
                );
                let hours = trend::hours_to_cap(Some(trend), Some(leak(at)), Some(cap)).unwrap();
                assert!(high_words(leak(at), cap, Some(trend)).ends_with(&format!("; as it grows, in {hours} h")));
            }
        }
        // 32 of 64 MiB are left
        let trend = look(1, 60 * minute, leak(60 * minute));
        assert_eq!(trend::hours_to_cap(trend, Some(32 << 20), Some(cap)), Some(2.7));
        assert_eq!(look(2, 61 * minute, 20 << 20), None, "another run begins anew");
    }

    #[test]
    fn what_a_dying_process_has_left_is_not_what_it_held() {
        let seen = |anon| MemorySeen { at: crate::base::Timestamp(0), anon, file: Some(0), kernel: Some(8192) };
        assert!(is_of_its_end(Some(seen(Some(300 << 20))), seen(Some(0))));
        assert!(!is_of_its_end(Some(seen(Some(300 << 20))), seen(Some(4096))));
        assert!(!is_of_its_end(None, seen(Some(0))), "nothing better is known");
        assert!(!is_of_its_end(Some(seen(Some(0))), seen(Some(0))));
        assert!(!is_of_its_end(Some(seen(Some(4096))), seen(None)), "not known is told as such");
    }

    #[test]
    fn a_warning_says_how_much_of_what_and_when() {
        let mib = |n: u64| n << 20;
        assert_eq!(
            high_words(mib(661), mib(768), None),
            "its own memory (anon) is 661M, 86 % of its cap of 768M: at the cap the kernel kills it"
        );
        let trend = Trend { bytes_per_hour: 12 << 20, steady_rise: true };
        assert!(high_words(mib(660), mib(768), Some(trend)).ends_with("; as it grows, in 9 h"));
    }
}
