//! Carries out a reload: step by step, brokers one at a time, and back again when a node does not come up with its new
//! settings. A roll (`roll`) is the same road with the settings that hold already, and without a way back.
//!
//! Three ends. All done. A node that did not come back: it and what was changed before it get their old settings back. A
//! wait that took too long: the rest is left, what was changed stays changed, and a second reload goes on from there.
//!
//! A little past 500 lines: the one road that reload and roll share; gates, ends and the way back are files of their own.

mod back;
mod ends;
mod gates;

use super::{
    away::Absence,
    dynamic,
    gate::{Field, Terms, brokers},
    impact::Impact,
    whole::{self, Brokers},
};
use crate::{
    base::{
        NodeKind, NodeName, Reason,
        recipe::{ProbeKind, Recipe},
        units::human_duration,
    },
    engine::{Change, EngineOrder, Handle, NodeSnapshot, OrderReply, Rejection, Wanted},
    services::change::{Does, Dynamic, Gate, Step, next_broker},
};
use ends::{Broke, broke, over};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Pause between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a node that has no probe must have run before its new settings count as taken: nothing else can be seen of it,
/// and a wrong argument ends a program within milliseconds.
const STEADY: Duration = Duration::from_secs(1);

/// How long a node may take to be back, in which it neither ends (its grace) nor is prepared nor starts (its deadline moves with what it
/// does): another broker is not restarted before, and `--max-wait` is about what is waited for before a restart.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// How long it may be prepared beside that: `mysqld --initialize` has 300 s, provisioning behind it 120 s (`engine::mysql_init`), and
/// nothing is told meanwhile.
const PREPARED_WITHIN: Duration = Duration::from_secs(600);

/// What is said of a restart for which leaders are not waited for.
pub(super) const NOT_WAITED: &str =
    "leaders are not waited for: kafka.elect_preferred or a broker's auto.leader.rebalance.enable is false";

/// What is to be done.
#[derive(Debug)]
pub struct Work {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What is applied.
    pub old: Vec<Recipe>,
    /// What is wanted.
    pub new: Vec<Recipe>,
    /// What brokers that run on are given through the admin API.
    pub dynamic: BTreeMap<NodeName, Dynamic>,
    /// Longest wait for one thing before a restart: the cluster to be whole, leaders to be home.
    pub max_wait: Duration,
    /// Why.
    pub purpose: Purpose,
    /// What whoever ordered it has agreed to.
    pub terms: Terms,
    /// Before the next broker the last one leads again what it is the preferred leader of (`kafka.elect_preferred`).
    pub leaders_home: bool,
    /// How long sessions of brokers that run last in ZooKeeper (`kafka.session_timeout`); none: there are no brokers.
    pub sessions_last: Option<Duration>,
}

/// Why nodes are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The configuration has changed.
    Reload,
    /// Somebody wants it: nothing changes.
    Roll,
}

impl Purpose {
    fn reason(self) -> Reason {
        match self {
            Purpose::Reload => Reason::Configuration,
            Purpose::Roll => Reason::Roll,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Purpose::Reload => "reload",
            Purpose::Roll => "roll",
        }
    }
}

/// How a reload is told about while it runs.
pub trait Report: Send {
    /// A step is taken, or something is said about all.
    fn step(&mut self, node: Option<&NodeName>, text: String);
    /// What is waited for.
    fn waits(&mut self, node: &NodeName, text: String);
}

/// It was not carried out as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The exit code of the contract.
    pub exit: u8,
    /// One sentence.
    pub message: String,
    /// What led to it, what was put back, what is left.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// Carries it out; returns a line for each thing that was done.
pub async fn carry_out(engine: &Handle, work: Work, report: &mut dyn Report) -> Result<Vec<String>, Failed> {
    let engine = &engine.because(work.purpose.reason());
    let mut roll = Roll::of(engine, work);
    roll.scale_down_is_safe().await?;
    roll.refuse_what_is_never_safe().await?;
    dynamic::would_take(engine, &roll.dynamic, &roll.old, roll.max_wait, report).await?;
    roll.arrange().await;
    let outcome = roll.all(report).await;
    match outcome {
        Ok(()) => {
            roll.settle(report).await;
            Ok(roll.said())
        }
        Err((step, Broke::Node(why))) => Err(match roll.purpose {
            Purpose::Reload => roll.back(&step, why, report).await,
            Purpose::Roll => roll.stopped(&step, why),
        }),
        Err((step, Broke::Waited(obstacle))) => Err(roll.left(&step, &obstacle)),
        Err((step, Broke::Refused(refused))) => Err(roll.refused(&step, refused)),
        Err((step, Broke::Over(why))) => Err(Failed {
            exit: 7,
            message: format!("the {} stopped before {}: {why}", roll.purpose.verb(), step.node),
            causes: roll.summary(&step),
            hint: match roll.purpose {
                Purpose::Reload => {
                    Some("the nodes that were changed have their new settings; `cdc-supervisor plan` shows them".into())
                }
                Purpose::Roll => None,
            },
        }),
    }
}

struct Roll<'a> {
    engine: &'a Handle,
    /// What is in force now, by node: changes as steps are done.
    force: BTreeMap<NodeName, Recipe>,
    old: BTreeMap<NodeName, Recipe>,
    new: BTreeMap<NodeName, Recipe>,
    dynamic: BTreeMap<NodeName, Dynamic>,
    /// Start order: of all that there was, of all that there will be.
    orders: (Vec<NodeName>, Vec<NodeName>),
    left: VecDeque<Step>,
    done: Vec<Step>,
    max_wait: Duration,
    purpose: Purpose,
    terms: Terms,
    leaders_home: bool,
    sessions_last: Option<Duration>,
    /// While ZooKeeper is restarted, and what is said of it when it is back.
    absence: Absence,
    was_away: Option<String>,
    /// Since when every replica has been in sync and leaders are waited for.
    leaders_since: Option<Instant>,
    /// Leaders were waited for in vain.
    not_home: Option<String>,
    /// What the next restart breaks, and what is gone over, as last looked at.
    impact: Option<Impact>,
    over: Option<String>,
    /// The controller as last looked at.
    controller: Option<NodeName>,
}

impl<'a> Roll<'a> {
    fn of(engine: &'a Handle, work: Work) -> Self {
        let names = |recipes: &[Recipe]| recipes.iter().map(|r| r.node.clone()).collect::<Vec<_>>();
        Self {
            engine,
            force: by_name(&work.old),
            old: by_name(&work.old),
            new: by_name(&work.new),
            dynamic: work.dynamic,
            orders: (names(&work.old), names(&work.new)),
            left: work.steps.into(),
            done: Vec::new(),
            max_wait: work.max_wait,
            purpose: work.purpose,
            terms: work.terms,
            leaders_home: work.leaders_home,
            sessions_last: work.sessions_last,
            absence: Absence::default(),
            was_away: None,
            leaders_since: None,
            not_home: None,
            impact: None,
            over: None,
            controller: None,
        }
    }

    /// The start order while both old and new nodes are there: the new one, then what is only in the old.
    async fn arrange(&self) {
        let (old, new) = &self.orders;
        let gone = old.iter().filter(|n| !new.contains(n));
        let order = new.iter().chain(gone).cloned().collect();
        // Only the order of the list; nothing depends on an engine that ends just now.
        let _ = self.engine.order(EngineOrder::Change(Change::Order(order))).await;
    }

    async fn all(&mut self, report: &mut dyn Report) -> Result<(), (Step, Broke)> {
        let mut put_back = false;
        while let Some(step) = self.next().await {
            self.gate(&step, report).await.map_err(|broke| (step.clone(), broke))?;
            // Once: the controller may go to and fro as often as it likes.
            if !put_back && self.is_overtaken(&step) {
                put_back = true;
                self.left.push_front(step);
                continue;
            }
            put_back = false;
            if self.is_left_stopped(&step) {
                tell_stopped(&step.node, report);
                continue;
            }
            let mut impact = self.impact.take().map_or_else(String::new, |impact| format!("; {}", impact.words()));
            if let Some(over) = self.over.take() {
                impact = format!("{impact}; by force, although {over}");
            }
            if step.gate == Gate::InSync && !self.leaders_home {
                impact = format!("{impact}; {NOT_WAITED}");
            }
            if let Some(away) = self.not_home.take() {
                impact = format!("{impact}; {away}");
            }
            let text = match (step.does, self.purpose) {
                (Does::Restart, Purpose::Roll) => "restarts",
                (Does::Restart, Purpose::Reload) => "restarts with its new settings",
                (Does::Start, _) => "starts: it is new",
                (Does::Stop, _) => "stops: it is not in the file any more",
                (Does::Live, _) => "takes its new settings",
                (Does::Keep, _) => "has its new settings when it is started",
            };
            report.step(Some(&step.node), format!("{}: {text}{impact}", step.node));
            // From here on it is what a way back has to undo.
            self.done.push(step.clone());
            self.take(&step, report).await.map_err(|broke| (step.clone(), broke))?;
        }
        Ok(())
    }

    /// The next step; of brokers that stand together the one whose turn it is now.
    async fn next(&mut self) -> Option<Step> {
        let rolls = |s: &Step| s.gate == Gate::InSync;
        let group: Vec<NodeName> = self.left.iter().take_while(|s| rolls(s)).map(|s| s.node.clone()).collect();
        if group.len() < 2 {
            return self.left.pop_front();
        }
        let controller = whole::ask(&self.brokers()).await.controller().map(NodeName::broker);
        let snapshot = self.engine.snapshot();
        let ready = |node: &NodeName| snapshot.nodes.iter().any(|n| n.name == *node && n.serves);
        let next = next_broker(&group, ready, controller.as_ref())?;
        let at = self.left.iter().position(|s| s.node == *next)?;
        self.left.remove(at)
    }

    fn brokers(&self) -> Brokers {
        brokers(&self.engine.snapshot(), &self.force).0
    }

    async fn look(&self) -> Field {
        Field::look(self.engine, &self.force).await
    }

    async fn take(&mut self, step: &Step, report: &mut dyn Report) -> Result<(), Broke> {
        let node = &step.node;
        let wanted = self.new.get(node).cloned();
        match (step.does, wanted) {
            (Does::Restart, Some(recipe)) => self.restart(recipe, report).await,
            (Does::Start, Some(recipe)) => self.start(recipe, report).await,
            (Does::Live, Some(recipe)) => match self.dynamic.get(node).cloned() {
                Some(change) => {
                    self.force.insert(node.clone(), recipe.clone());
                    let given = dynamic::give(self.engine, recipe, &change.to, self.max_wait, report).await;
                    given.map_err(Broke::Node)
                }
                None => self.live(recipe).await,
            },
            (Does::Keep, Some(recipe)) => self.live(recipe).await,
            (Does::Stop, _) => self.leave(step, report).await,
            // The steps are made from the wanted recipes.
            (Does::Restart | Does::Start | Does::Live | Does::Keep, None) => Ok(()),
        }
    }

    async fn restart(&mut self, recipe: Recipe, report: &mut dyn Report) -> Result<(), Broke> {
        let node = recipe.node.clone();
        let no_probe = recipe.probe.kind == ProbeKind::None;
        let lasts = self.sessions_last.filter(|_| recipe.kind == NodeKind::Zookeeper);
        self.force.insert(node.clone(), recipe.clone());
        let mut stays_stopped = false;
        let mut absence = std::mem::take(&mut self.absence);
        let order = async {
            let order = match self.purpose {
                Purpose::Reload => EngineOrder::Change(Change::Restart(Box::new(recipe))),
                // One that was stopped by order stays so.
                Purpose::Roll => EngineOrder::RestartIfUp { node: node.clone() },
            };
            let order = self.engine.order(order);
            let done = match lasts {
                // What it does meanwhile is told anyway.
                Some(lasts) => absence.watch(self.engine, order, lasts, drop).await,
                None => order.await,
            };
            stays_stopped = self.purpose == Purpose::Roll && done.as_ref().is_ok_and(Vec::is_empty);
            done
        };
        let served = self.until_served(&node, no_probe, order, report).await;
        self.absence = absence;
        served?;
        if let Some(was_away) = lasts.and_then(|lasts| self.absence.end(self.engine, lasts)) {
            report.step(Some(&node), was_away.clone());
            self.was_away = Some(was_away);
        }
        if stays_stopped {
            self.done.retain(|done| done.node != node);
            tell_stopped(&node, report);
        }
        Ok(())
    }

    async fn start(&mut self, recipe: Recipe, report: &mut dyn Report) -> Result<(), Broke> {
        let node = recipe.node.clone();
        let no_probe = recipe.probe.kind == ProbeKind::None;
        self.force.insert(node.clone(), recipe.clone());
        let order = self.engine.add(recipe);
        self.until_served(&node, no_probe, order, report).await
    }

    async fn live(&mut self, recipe: Recipe) -> Result<(), Broke> {
        self.force.insert(recipe.node.clone(), recipe.clone());
        self.engine.take(recipe).await.map(drop).map_err(broke)
    }

    /// Stops a node and drops it. A broker is asked for once more when it has left: no topic comes to it from then on, so one that
    /// was made in its last moment is seen, and it goes back up.
    async fn leave(&mut self, step: &Step, report: &mut dyn Report) -> Result<(), Broke> {
        let node = &step.node;
        let was_up = self.node(node).is_some_and(|n| n.wanted == Wanted::Up);
        let order = self.engine.order(EngineOrder::Stop { nodes: vec![node.clone()], now: false });
        self.watched(node, order, report).await?;
        if step.gate == Gate::NoReplicas
            && !self.brokers().is_empty()
            && let Err(broke) = self.gate(step, report).await
        {
            if was_up {
                let order = self.engine.order(EngineOrder::Start { nodes: vec![node.clone()], with_needs: true });
                self.watched(node, order, report).await?;
            }
            self.done.retain(|done| done != step);
            return Err(broke);
        }
        self.engine.order(EngineOrder::Change(Change::Drop(node.clone()))).await.map_err(broke)?;
        self.force.remove(node);
        Ok(())
    }

    /// Waits for an order about one node and tells what the node does meanwhile.
    async fn watched(
        &self,
        node: &NodeName,
        order: impl Future<Output = OrderReply>,
        report: &mut dyn Report,
    ) -> Result<(), Broke> {
        let mut changes = self.engine.watch();
        let (mut told, mut state) = (String::new(), "");
        let within = back_within(self.force.get(node));
        let limit = sleep(within);
        tokio::pin!(order, limit);
        loop {
            tokio::select! {
                reply = &mut order => return reply.map(drop).map_err(|rejection| self.broke(rejection)),
                () = &mut limit => {
                    let detail = self.node(node).map_or_else(String::new, |n| n.detail.clone());
                    let within = human_duration(within);
                    return Err(Broke::Node(format!("{node}: not done within {within}: {detail}")));
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return order.await.map(drop).map_err(|rejection| self.broke(rejection));
                    }
                    let seen = changes.borrow_and_update().nodes.iter().find(|n| n.name == *node).cloned();
                    let Some(seen) = seen else { continue };
                    if let Some(more) = goes_on(std::mem::replace(&mut state, seen.state), seen.state, within) {
                        limit.as_mut().reset(Instant::now() + more);
                    }
                    if seen.detail != told {
                        seen.detail.clone_into(&mut told);
                        report.waits(node, format!("{node}: {}", seen.detail));
                    }
                }
            }
        }
    }

    /// The same, and a node without a probe has to live on for a moment.
    async fn until_served(
        &self,
        node: &NodeName,
        no_probe: bool,
        order: impl Future<Output = OrderReply>,
        report: &mut dyn Report,
    ) -> Result<(), Broke> {
        if let Err(broke) = self.watched(node, order, report).await {
            // A program that has done its work and is not to be started again has come up all the same.
            let completed = self.node(node).is_some_and(|n| {
                n.state == "down" && n.last_exit.as_ref().is_some_and(|e| e.cause == crate::base::Cause::Completed)
            });
            return if completed || self.was_stopped(node, &broke) { Ok(()) } else { Err(broke) };
        }
        let Some(served) = self.node(node).filter(|_| no_probe) else { return Ok(()) };
        let mut changes = self.engine.watch();
        let same = |n: &NodeSnapshot| n.incarnation == served.incarnation && (n.serves || n.state == "down");
        let fell = timeout(STEADY, async {
            loop {
                if let Some(seen) = self.node(node).filter(|n| !same(n)) {
                    return seen;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        match fell.await {
            Ok(_) if self.engine.snapshot().ending => Err(over()),
            Ok(seen) if seen.wanted == Wanted::Down => Ok(()),
            Ok(seen) => Err(Broke::Node(format!("{node}: it ran for less than a second: {}", seen.detail))),
            Err(_) => match self.node(node) {
                Some(n)
                    if n.state == "down"
                        && n.last_exit.as_ref().is_none_or(|e| e.cause != crate::base::Cause::Completed) =>
                {
                    Err(Broke::Node(format!("{node}: {}", n.detail)))
                }
                Some(_) | None => Ok(()),
            },
        }
    }

    /// A roll starts no node that somebody has stopped while it was on its way there.
    fn is_left_stopped(&self, step: &Step) -> bool {
        self.purpose == Purpose::Roll && self.node(&step.node).is_some_and(|n| n.wanted == Wanted::Down)
    }

    /// Whether somebody has stopped the node meanwhile: it has its settings and is where it is wanted.
    fn was_stopped(&self, node: &NodeName, broke: &Broke) -> bool {
        matches!(broke, Broke::Node(_)) && self.node(node).is_some_and(|n| n.wanted == Wanted::Down)
    }

    /// A node that does not come up because everything goes down is no fault of its settings.
    fn broke(&self, rejection: Rejection) -> Broke {
        if self.engine.snapshot().ending { over() } else { broke(rejection) }
    }

    fn node(&self, node: &NodeName) -> Option<Arc<NodeSnapshot>> {
        self.engine.snapshot().nodes.iter().find(|n| n.name == *node).cloned()
    }
}

/// How long from now on is waited for a node whose state was told; none: as long as before. `within`: see [`back_within`].
fn goes_on(was: &str, is: &str, within: Duration) -> Option<Duration> {
    match (was, is) {
        (_, "preparing") => Some(PREPARED_WITHIN.max(within)),
        (_, "stopping" | "starting") | ("preparing", _) => Some(within),
        _ => None,
    }
}

/// How long it may take to be back: at least as long as its stop may, and as a session of its last run is waited for.
fn back_within(recipe: Option<&Recipe>) -> Duration {
    let Some(recipe) = recipe else { return BACK_WITHIN };
    let session = recipe.broker_session().map(|session| session.up_to);
    // the wait for the session, and as much as anything else may take beside it
    BACK_WITHIN.max(recipe.stop.grace).max(session.map_or(Duration::ZERO, |up_to| up_to + BACK_WITHIN))
}

fn tell_stopped(node: &NodeName, report: &mut dyn Report) {
    report.step(Some(node), format!("{node}: stays stopped: that was ordered meanwhile"));
}

/// Recipes by the node they are for.
pub(super) fn by_name(recipes: &[Recipe]) -> BTreeMap<NodeName, Recipe> {
    recipes.iter().map(|r| (r.node.clone(), r.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Layout, recipe::PrepareStep},
        engine::Snapshot,
    };

    #[derive(Default)]
    struct Told(Vec<String>);

    impl Report for Told {
        fn step(&mut self, _: Option<&NodeName>, text: String) {
            self.0.push(text);
        }

        fn waits(&mut self, _: &NodeName, _: String) {}
    }

    fn work(recipe: &Recipe, max_wait: Duration) -> Work {
        Work {
            steps: Vec::new(),
            old: vec![recipe.clone()],
            new: vec![recipe.clone()],
            dynamic: BTreeMap::new(),
            max_wait,
            purpose: Purpose::Roll,
            terms: Terms::default(),
            leaders_home: false,
            sessions_last: None,
        }
    }

    #[tokio::test]
    async fn a_restart_may_take_longer_than_anybody_waits_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let recipe = crate::services::of_a_command();
        let step = Step { node: recipe.node.clone(), does: Does::Restart, gate: Gate::None };
        let after = Duration::from_millis(200);
        let engine =
            Handle::answering_after(&layout, Snapshot::default(), after, |_| Ok(vec!["restarted a".to_owned()]));
        let mut roll = Roll::of(&engine, work(&recipe, Duration::from_millis(1)));
        assert!(roll.take(&step, &mut Told::default()).await.is_ok());
    }

    #[test]
    fn a_node_that_is_prepared_or_waits_for_its_old_session_may_take_as_long_as_that_has() {
        let (short, long) = (BACK_WITHIN, PREPARED_WITHIN);
        assert_eq!(goes_on("down", "preparing", short), Some(long));
        assert_eq!(goes_on("preparing", "waiting", short), Some(short));
        assert_eq!(goes_on("preparing", "starting", short), Some(short));
        assert_eq!(goes_on("waiting", "waiting", short), None);
        let mut recipe = crate::services::of_a_command();
        assert_eq!(back_within(Some(&recipe)), short);
        let up_to = Duration::from_secs(1_204);
        let (zookeeper, endpoints) = (([127, 0, 0, 1], 2181).into(), Vec::new());
        recipe.prepare =
            vec![PrepareStep::AwaitBrokerSessionGone { zookeeper, broker_id: 1, up_to, fence: false, endpoints }];
        assert_eq!(back_within(Some(&recipe)), up_to + short);
    }

    #[tokio::test]
    async fn a_node_that_was_stopped_just_before_its_restart_is_not_said_to_be_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let recipe = crate::services::of_a_command();
        let step = Step { node: recipe.node.clone(), does: Does::Restart, gate: Gate::None };
        for (reply, told, said) in [
            (vec![], vec!["a: stays stopped: that was ordered meanwhile"], vec![]),
            (vec!["restarted a".to_owned()], vec![], vec!["restarted a"]),
        ] {
            let engine = Handle::answering(&layout, Snapshot::default(), move |_| Ok(reply.clone()));
            let (mut roll, mut report) = (Roll::of(&engine, work(&recipe, Duration::from_secs(60))), Told::default());
            roll.done.push(step.clone());
            assert!(roll.take(&step, &mut report).await.is_ok());
            assert_eq!(
                (report.0, roll.said()),
                (told.into_iter().map(String::from).collect(), said.into_iter().map(String::from).collect())
            );
        }
    }
}
