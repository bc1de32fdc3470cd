//! When `up` has waited enough: a pure judgement over the statuses it sees. No clock, no terminal, no socket.

use crate::{
    base::{Cause, NodeName, Timestamp},
    control::wire::{Node, Status},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Deaths in a row without ever having been ready after which waiting is given up. The node itself is tried on.
const DEATHS_MAX: u32 = 3;

/// How many different reasons of one start count as progress: enough for a log recovery of many segments, and an end for
/// words that change for ever.
const REASONS_MAX: usize = 1_000;

/// What is known of a wait.
#[derive(Clone, Debug)]
pub struct Wait {
    timeout: Duration,
    /// When the last progress was seen.
    progress: Duration,
    nodes: BTreeMap<NodeName, Seen>,
    /// Nodes that were asked for by name: none of them is optional.
    named: Vec<NodeName>,
    /// Optional nodes that the last judgement went on without, with the reason.
    without: Vec<(NodeName, String)>,
}

/// What was seen of one node.
#[derive(Clone, Debug, Default)]
struct Seen {
    ready: bool,
    /// It was seen in a state that only a wanted node has, so `down` is an end and not a beginning.
    active: bool,
    incarnation: Option<u64>,
    reasons: BTreeSet<String>,
    /// When its start began, as the daemon says.
    starting: Option<Timestamp>,
    /// Restarts counted before this wait, or until it was last ready.
    restarts_before: Option<u32>,
}

/// What a status means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Not all are ready; for each why not.
    Waiting(Vec<(NodeName, String)>),
    /// All wanted nodes are.
    Ready,
    /// It will not come true by waiting; for each node that is not ready why.
    Failed {
        /// One sentence.
        why: String,
        /// Node and reason.
        nodes: Vec<(NodeName, String)>,
    },
}

/// A node that has become ready since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BecameReady {
    /// Which.
    pub node: NodeName,
    /// From the beginning of its start to ready; none when the start was too short to be seen.
    pub after: Option<Duration>,
}

impl Wait {
    /// A wait that begins at `now` (time on any clock that only goes on). `timeout` is the time without progress.
    pub fn new(timeout: Duration, now: Duration) -> Self {
        Self { timeout, progress: now, nodes: BTreeMap::new(), named: Vec::new(), without: Vec::new() }
    }

    /// The same for nodes that were asked for by name: they have to become ready, optional or not.
    #[must_use]
    pub fn named(mut self, nodes: &[NodeName]) -> Self {
        self.named = nodes.to_vec();
        self
    }

    /// Optional nodes that the last judgement went on without, with the reason.
    pub fn without(&self) -> &[(NodeName, String)] {
        &self.without
    }

    /// Takes a status seen at `now`; tells what it means and which nodes have become ready since the last one.
    pub fn look(&mut self, status: &Status, now: Duration) -> (Judgement, Vec<BecameReady>) {
        let mut became_ready = Vec::new();
        let mut not_ready = Vec::new();
        let mut hopeless: Vec<(NodeName, String)> = Vec::new();
        let mut optional_not_ready = Vec::new();
        self.without.clear();
        let began = status.supervisor.started_at;
        for node in status.nodes.iter().filter(|n| n.wanted == "up") {
            let seen = self.nodes.entry(node.name.clone()).or_default();
            if seen.progressed(node) {
                self.progress = now;
            }
            let optional = node.optional && !self.named.contains(&node.name);
            if let Some(why) = seen.hopeless(node, began) {
                let list = if optional { &mut self.without } else { &mut hopeless };
                list.push((node.name.clone(), why));
            } else if seen.is_done(node) {
                if !std::mem::replace(&mut seen.ready, true) && node.state == "ready" {
                    became_ready.push(BecameReady { node: node.name.clone(), after: seen.start_took(node) });
                }
            } else {
                let list = if optional { &mut optional_not_ready } else { &mut not_ready };
                list.push((node.name.clone(), reason(node)));
            }
        }
        // One that was waited for and is wanted down now will not come: that is no stack that is ready.
        for node in status.nodes.iter().filter(|n| n.wanted != "up") {
            if self.nodes.get(&node.name).is_some_and(|seen| !seen.ready) {
                hopeless.push((node.name.clone(), "somebody else has ordered it down meanwhile".to_owned()));
            }
        }
        // It is waited for as the others are; when nothing moves any more it is what is done without.
        let over = now.saturating_sub(self.progress) >= self.timeout;
        if not_ready.is_empty() && over {
            self.without.append(&mut optional_not_ready);
        } else {
            not_ready.append(&mut optional_not_ready);
        }
        let wanted = status.nodes.iter().filter(|n| n.wanted == "up").count();
        let judgement = if let [(first, _), ..] = hopeless.as_slice() {
            let why = match hopeless.len() {
                1 => format!("{first} cannot become ready"),
                n => format!("{n} of {wanted} nodes cannot become ready"),
            };
            Judgement::Failed { why, nodes: hopeless }
        } else if not_ready.is_empty() {
            Judgement::Ready
        } else if over {
            let seconds = self.timeout.as_secs();
            let why = format!("{} of {wanted} nodes not ready, and nothing moved for {seconds} s", not_ready.len());
            Judgement::Failed { why, nodes: not_ready }
        } else {
            Judgement::Waiting(not_ready)
        };
        (judgement, became_ready)
    }

    /// When the wait ends if nothing moves until then.
    pub fn deadline(&self) -> Duration {
        self.progress + self.timeout
    }
}

impl Seen {
    /// Preparing counts as progress as long as it lasts (it is bounded by its own limits); a start counts when it gives
    /// a reason it has not given before; a back-off, a dependency and a late start do not.
    fn progressed(&mut self, node: &Node) -> bool {
        if node.state != "down" {
            self.active = true;
        }
        if self.incarnation != node.incarnation {
            self.incarnation = node.incarnation;
            self.reasons.clear();
        }
        if node.state == "starting" {
            self.starting = node.since;
        }
        self.restarts_before.get_or_insert(node.restarts);
        match node.state.as_str() {
            "preparing" => true,
            "ready" => !self.ready,
            "starting" => self.reasons.len() < REASONS_MAX && self.reasons.insert(timeless(&node.detail)),
            _ => false,
        }
    }

    fn hopeless(&self, node: &Node, began: Option<Timestamp>) -> Option<String> {
        let deaths = self.deaths(node);
        match node.state.as_str() {
            "failed" => Some(reason(node)),
            "down" if self.is_end(node, began) && last_cause(node) != Some(Cause::Completed) => {
                Some(format!("it ended and is not started again; {}", reason(node)))
            }
            // The daemon calls a start late when it saw no progress for the node's own deadline.
            "degraded" if node.ready_since.is_none() && !self.ready => Some(reason(node)),
            "ready" => None,
            _ if deaths >= DEATHS_MAX => {
                Some(format!("it died {deaths} times in a row and was never ready; {}", reason(node)))
            }
            _ => None,
        }
    }

    /// Deaths in a row without having been ready: each start that nobody ordered came after one, and a pause after one more.
    fn deaths(&self, node: &Node) -> u32 {
        // A broker that meets its own old session waits; that is no crash.
        if self.ready || node.ready_since.is_some() || last_cause(node) == Some(Cause::OldSession) {
            return 0;
        }
        let restarts = node.restarts.saturating_sub(self.restarts_before.unwrap_or(node.restarts));
        let pausing = node.state == "waiting" && node.pid.is_none() && last_cause(node).is_some();
        restarts + u32::from(pausing && self.active && self.incarnation.is_some())
    }

    /// Whether `down` means that it has run and ended: the node was seen at work, or it ended under this daemon.
    fn is_end(&self, node: &Node, began: Option<Timestamp>) -> bool {
        let ended = node.last_exit.as_ref().map(|exit| exit.at);
        ended.is_some_and(|at| self.active || began.is_some_and(|began| at >= began))
    }

    /// Ready, or a command that has done its work.
    fn is_done(&self, node: &Node) -> bool {
        match node.state.as_str() {
            "ready" => true,
            // Whenever that was: nobody starts it again unless it is ordered, and then it is not down.
            "down" => last_cause(node) == Some(Cause::Completed),
            _ => false,
        }
    }

    fn start_took(&self, node: &Node) -> Option<Duration> {
        let millis = node.ready_since?.0.checked_sub(self.starting?.0)?;
        u64::try_from(millis).ok().map(Duration::from_millis)
    }
}

/// The reason without the time it has lasted: `starts since 3.2 s: no answer` and the same a second later are one.
fn timeless(detail: &str) -> String {
    match detail.split_once(" since ") {
        Some((before, after)) => format!("{before}{}", after.split_once(": ").map_or("", |(_, rest)| rest)),
        None => detail.to_owned(),
    }
}

fn last_cause(node: &Node) -> Option<Cause> {
    node.last_exit.as_ref().map(|exit| exit.cause)
}

fn reason(node: &Node) -> String {
    if node.detail.is_empty() { node.state.clone() } else { node.detail.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::samples::{NOW, node, stack},
        control::wire::LastExit,
    };

    const TIMEOUT: Duration = Duration::from_secs(180);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    fn wait() -> Wait {
        Wait::new(TIMEOUT, at(0))
    }

    fn one(state: &str, detail: &str) -> Status {
        let mut status = stack();
        let mut broker = node("broker-1", "broker", 0, 0, 768, &[]);
        broker.state = state.into();
        broker.detail = detail.into();
        if state == "ready" {
            broker.ready_since = Some(NOW);
        }
        status.nodes = vec![broker];
        status
    }

    fn died(restarts: u32, cause: Cause, state: &str) -> Status {
        let mut status = one(state, "starts again in 1.0 s");
        status.nodes[0].restarts = restarts;
        status.nodes[0].pid = None;
        status.nodes[0].last_exit = Some(LastExit { code: Some(1), signal: None, cause, at: NOW, oom_by: None });
        status
    }

    #[test]
    fn a_stack_of_ready_nodes_is_ready_and_each_node_is_announced_once() {
        let mut wait = wait();
        let (judgement, new) = wait.look(&stack(), at(0));
        assert_eq!(judgement, Judgement::Ready);
        assert_eq!(new.len(), 5);
        assert_eq!(new[0], BecameReady { node: NodeName::zookeeper(), after: None });
        assert!(wait.look(&stack(), at(1)).1.is_empty());
    }

    #[test]
    fn an_optional_node_is_waited_for_and_done_without_when_it_fails_or_nothing_moves() {
        let stack_and_ui = |state: &str| {
            let mut status = stack();
            let mut ui = node("kafka-ui", "kafka-ui", 0, 0, 384, &[]);
            (ui.optional, ui.state, ui.detail) = (true, state.into(), "port 8088 is taken".into());
            status.nodes.push(ui);
            status
        };
        let ui = (NodeName::kafka_ui(), "port 8088 is taken".to_owned());
        let mut seen = wait();
        assert_eq!(seen.look(&stack_and_ui("starting"), at(0)).0, Judgement::Waiting(vec![ui.clone()]));
        assert_eq!(seen.look(&stack_and_ui("failed"), at(1)).0, Judgement::Ready);
        assert_eq!(seen.without(), std::slice::from_ref(&ui));
        let mut slow = wait();
        slow.look(&stack_and_ui("waiting"), at(0));
        assert_eq!(slow.look(&stack_and_ui("waiting"), at(180)).0, Judgement::Ready);
        assert_eq!(slow.without(), std::slice::from_ref(&ui));
        let mut asked = wait().named(&[NodeName::kafka_ui()]);
        assert!(matches!(asked.look(&stack_and_ui("failed"), at(0)).0, Judgement::Failed { .. }), "it was asked for");
        let mut all = stack_and_ui("failed");
        all.nodes[1].state = "failed".into();
        let Judgement::Failed { nodes, .. } = wait().look(&all, at(0)).0 else { panic!() };
        assert_eq!(nodes.len(), 1, "only what counts is named");
    }

    #[test]
    fn nodes_that_nobody_wants_are_not_waited_for() {
        let mut status = one("down", "");
        status.nodes[0].wanted = "down".into();
        assert_eq!(wait().look(&status, at(0)).0, Judgement::Ready);
    }

    #[test]
    fn a_node_that_is_ordered_down_while_it_is_waited_for_never_counts_as_ready() {
        let mut wait = wait();
        assert!(matches!(wait.look(&one("starting", "503"), at(0)).0, Judgement::Waiting(_)));
        let mut status = one("stopping", "");
        status.nodes[0].wanted = "down".into();
        let Judgement::Failed { nodes, .. } = wait.look(&status, at(1)).0 else { panic!("it is no success") };
        assert!(nodes[0].1.contains("ordered it down"), "{nodes:?}");
    }

    #[test]
    fn waiting_says_for_whom_and_why() {
        let (judgement, _) = wait().look(&one("starting", "no answer on 29092"), at(1));
        assert_eq!(judgement, Judgement::Waiting(vec![(NodeName::broker(1), "no answer on 29092".into())]));
    }

    #[test]
    fn a_failed_node_ends_the_wait_at_once_with_its_reason() {
        let (judgement, _) = wait().look(&one("failed", "port 9092 is taken"), at(1));
        let nodes = vec![(NodeName::broker(1), "port 9092 is taken".to_owned())];
        assert_eq!(judgement, Judgement::Failed { why: "broker-1 cannot become ready".into(), nodes });
    }

    #[test]
    fn three_deaths_in_a_row_end_the_wait_unless_it_was_ready_before() {
        let waiting = |j: Judgement| matches!(j, Judgement::Waiting(_));
        let mut wait = wait();
        wait.look(&one("starting", ""), at(0));
        assert!(waiting(wait.look(&died(0, Cause::Crashed, "waiting"), at(1)).0));
        assert!(waiting(wait.look(&died(1, Cause::Crashed, "waiting"), at(2)).0));
        let (judgement, _) = wait.look(&died(2, Cause::Crashed, "waiting"), at(3));
        let Judgement::Failed { nodes, .. } = judgement else { panic!("{judgement:?}") };
        assert!(nodes[0].1.starts_with("it died 3 times in a row and was never ready"), "{nodes:?}");
        assert!(waiting(wait.look(&died(2, Cause::OldSession, "waiting"), at(4)).0), "that one only waits");
        let mut was_ready = self::wait();
        was_ready.look(&one("ready", ""), at(0));
        assert!(waiting(was_ready.look(&died(3, Cause::Crashed, "waiting"), at(1)).0));
    }

    #[test]
    fn deaths_before_the_wait_do_not_count() {
        let mut wait = wait();
        let (judgement, _) = wait.look(&died(7, Cause::Crashed, "waiting"), at(0));
        assert!(matches!(judgement, Judgement::Waiting(_)));
    }

    #[test]
    fn a_start_that_the_daemon_calls_late_ends_the_wait_and_one_that_was_ready_before_does_not() {
        let (judgement, _) = wait().look(&one("degraded", "not ready after 10.0 s"), at(1));
        assert!(matches!(judgement, Judgement::Failed { .. }));
        let mut was_ready = one("degraded", "a replica is missing");
        was_ready.nodes[0].ready_since = Some(NOW);
        assert!(matches!(wait().look(&was_ready, at(1)).0, Judgement::Waiting(_)));
    }

    #[test]
    fn a_start_is_timed_from_its_beginning() {
        let mut wait = wait();
        let mut status = one("starting", "");
        status.nodes[0].since = Some(Timestamp(NOW.0 - 2_300));
        wait.look(&status, at(1));
        let (_, new) = wait.look(&one("ready", ""), at(2));
        assert_eq!(new[0].after, Some(Duration::from_millis(2_300)));
    }

    #[test]
    fn silence_until_the_deadline_ends_the_wait() {
        let mut wait = wait();
        let status = one("waiting", "waits for zookeeper");
        assert!(matches!(wait.look(&status, at(179)).0, Judgement::Waiting(_)));
        let (judgement, _) = wait.look(&status, at(180));
        let Judgement::Failed { why, nodes } = judgement else { panic!("{judgement:?}") };
        assert_eq!(why, "1 of 1 nodes not ready, and nothing moved for 180 s");
        assert_eq!(nodes[0].1, "waits for zookeeper");
    }

    #[test]
    fn preparing_and_new_reasons_move_the_deadline_and_old_reasons_do_not() {
        let mut wait = wait();
        wait.look(&one("preparing", "class-data archive"), at(100));
        assert_eq!(wait.deadline(), at(280));
        wait.look(&one("starting", "recovering log 1 of 3"), at(200));
        wait.look(&one("starting", "recovering log 2 of 3"), at(300));
        assert_eq!(wait.deadline(), at(480));
        wait.look(&one("starting", "recovering log 1 of 3"), at(400));
        assert_eq!(wait.deadline(), at(480));
        wait.look(&one("waiting", "waits for zookeeper"), at(450));
        assert_eq!(wait.deadline(), at(480));
    }

    #[test]
    fn time_that_passes_is_no_progress() {
        let mut wait = wait();
        for i in 0..180 {
            wait.look(&one("starting", &format!("starts since {i}.0 s: no answer on 29092")), at(i));
        }
        assert_eq!(wait.deadline(), at(180));
    }

    #[test]
    fn reasons_that_change_for_ever_do_not_move_the_deadline_for_ever() {
        let mut wait = wait();
        for i in 0..4_000 {
            wait.look(&one("starting", &format!("for {i} s")), at(i));
        }
        assert!(wait.deadline() < at(1_200));
    }

    #[test]
    fn a_command_that_has_done_its_work_is_done_and_one_that_broke_is_not() {
        let mut wait = wait();
        wait.look(&one("starting", ""), at(0));
        assert_eq!(wait.look(&died(0, Cause::Completed, "down"), at(1)).0, Judgement::Ready);
        assert!(matches!(wait.look(&died(0, Cause::Crashed, "down"), at(1)).0, Judgement::Failed { .. }));
    }

    #[test]
    fn an_end_under_an_earlier_daemon_is_a_beginning_and_one_under_this_is_an_end() {
        let mut status = died(0, Cause::Crashed, "down");
        assert!(matches!(wait().look(&status, at(0)).0, Judgement::Failed { .. }));
        status.supervisor.started_at = Some(Timestamp(NOW.0 + 1));
        assert!(matches!(wait().look(&status, at(0)).0, Judgement::Waiting(_)));
        let mut status = died(0, Cause::Completed, "down");
        status.supervisor.started_at = Some(Timestamp(NOW.0 + 1));
        assert_eq!(wait().look(&status, at(0)).0, Judgement::Ready, "its work stays done under another daemon");
    }
}
